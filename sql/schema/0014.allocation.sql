-- depends: 0011.cluster
--
-- Allocations: what allocators (portals, research communities) give their projects of what providers offer. A provider's
-- `offering` has components, each with a unit, bounds and perhaps a pool that all allocations share, and plans with prices.
-- `provision_allocation`, `provision_allocation_update` and `provision_allocation_terminate` change an `allocation`; each
-- is ordered (`allocation_order` is how allocator and provider see the order and who has approved it). What an open order
-- may come to take is reserved in the pool from the beginning. `allocation_usage` is what was used, `invoice` what it costs.
-- A project is an org of kind project, a member a membership in it.

ALTER TABLE org DROP CONSTRAINT org_name_ck, ADD CONSTRAINT org_name_ck CHECK (name <> '' AND length(name) <= CASE kind WHEN 'project' THEN 500 ELSE 255 END);

CREATE FUNCTION caller_direct_orgs() RETURNS uuid[]
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: as caller_reach.
BEGIN
    RETURN ARRAY(SELECT DISTINCT org_id FROM caller_reach() WHERE org_id IS NOT NULL);
END $$;
COMMENT ON FUNCTION caller_direct_orgs() IS 'The orgs the caller reaches and not as part of a whole account: few, where caller_orgs() may be thousands.';

-- The same rows as before, found without a list of all orgs of an account.
ALTER POLICY tenant ON org USING ((SELECT caller_sees_all()) OR tenant_customer_id = ANY ((SELECT caller_customers())::uuid[]) OR id = ANY ((SELECT caller_direct_orgs())::uuid[]));

ALTER TABLE customer
    ADD COLUMN abbreviation text NOT NULL DEFAULT '', ADD COLUMN native_name text NOT NULL DEFAULT '', ADD COLUMN backend_id text NOT NULL DEFAULT '', ADD COLUMN profile jsonb NOT NULL DEFAULT '{}',
    ADD CONSTRAINT customer_profile_ck CHECK (jsonb_typeof(profile) = 'object' AND length(abbreviation) <= 255 AND length(native_name) <= 255 AND length(backend_id) <= 255);
COMMENT ON COLUMN customer.abbreviation IS 'As allocators abbreviate it.';
COMMENT ON COLUMN customer.native_name IS 'Its name in its own language.';
COMMENT ON COLUMN customer.backend_id IS 'Another system''s own name for it.';
COMMENT ON COLUMN customer.profile IS 'What else allocators are told of it: phone_number, homepage, country and more.';

CREATE TABLE registry_person (
    cuid text NOT NULL,
    attributes jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT registry_person_pk PRIMARY KEY (cuid),
    CONSTRAINT registry_person_attributes_ck CHECK (jsonb_typeof(attributes) = 'object')
);
COMMENT ON TABLE registry_person IS 'The local registry of people, asked where no user_registry_url is set: for tests, demos and small installations.';
COMMENT ON COLUMN registry_person.cuid IS 'The name they are asked for by.';
COMMENT ON COLUMN registry_person.attributes IS 'What is told of them: name or given_name and family_name, email.';

CREATE TABLE project (
    id uuid NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid NOT NULL GENERATED ALWAYS AS (id) STORED,
    description text NOT NULL DEFAULT '',
    backend_id text NOT NULL DEFAULT '',
    start_date date,
    end_date date,
    end_date_requested_by uuid,
    end_notice_days int,
    type text,
    oecd_fos_2007_code text,
    is_industry boolean NOT NULL DEFAULT false,
    CONSTRAINT project_pk PRIMARY KEY (id),
    CONSTRAINT project_org_fk FOREIGN KEY (tenant_customer_id, id) REFERENCES org (tenant_customer_id, id),
    CONSTRAINT project_dates_ck CHECK (end_date >= start_date),
    CONSTRAINT project_end_notice_days_ck CHECK (end_notice_days IN (30, 7)),
    CONSTRAINT project_text_ck CHECK (length(description) <= 10000 AND length(backend_id) <= 255 AND length(type) <= 255 AND length(oecd_fos_2007_code) <= 80)
) INHERITS (class.audit_trail);
CREATE INDEX project_tenant_customer_ix ON project (tenant_customer_id, id);
CREATE INDEX project_end_date_ix ON project (end_date) WHERE end_date IS NOT NULL;
SELECT class.copy_comments('class.audit_trail', 'project');
COMMENT ON TABLE project IS 'What orgs of kind project have beyond what orgs have; a trigger makes the row with the org.';
COMMENT ON COLUMN project.id IS 'The org.';
COMMENT ON COLUMN project.org_id IS 'The same, so that it is logged and kept apart as what belongs to it.';
COMMENT ON COLUMN project.backend_id IS 'The allocator''s own name for it; may repeat.';
COMMENT ON COLUMN project.start_date IS 'Orders wait until that day; NULL: they do not.';
COMMENT ON COLUMN project.end_date IS 'The last day of its allocations; NULL: open.';
COMMENT ON COLUMN project.end_date_requested_by IS 'The user who set the end date.';
COMMENT ON COLUMN project.end_notice_days IS 'For how many days before the end it was told last: 30, 7; NULL: not yet.';
COMMENT ON COLUMN project.type IS 'The allocator''s own kind of project.';
COMMENT ON COLUMN project.oecd_fos_2007_code IS 'Field of science, as the OECD numbered them in 2007.';
COMMENT ON COLUMN project.is_industry IS 'Whether it is for industry.';

CREATE TABLE offering_category (
    id uuid NOT NULL DEFAULT new_id(),
    title text NOT NULL,
    description text NOT NULL DEFAULT '',
    CONSTRAINT offering_category_pk PRIMARY KEY (id),
    CONSTRAINT offering_category_title_uk UNIQUE (title),
    CONSTRAINT offering_category_title_ck CHECK (title <> '' AND length(title) <= 255)
) INHERITS (class.audit_trail);
SELECT class.copy_comments('class.audit_trail', 'offering_category');
COMMENT ON TABLE offering_category IS 'What offerings are grouped by.';
COMMENT ON COLUMN offering_category.title IS 'Title, unique.';

CREATE TABLE offering (
    id uuid NOT NULL DEFAULT new_id(),
    provider_account_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    accreditation_id uuid NOT NULL,
    category_id uuid NOT NULL,
    name text NOT NULL,
    description text NOT NULL DEFAULT '',
    state text NOT NULL DEFAULT 'draft',
    previous_state text,
    paused_reason text NOT NULL DEFAULT '',
    backend text NOT NULL DEFAULT 'manual',
    is_shared boolean NOT NULL DEFAULT true,
    is_billable boolean NOT NULL DEFAULT true,
    is_immediate boolean NOT NULL DEFAULT true,
    auto_approve boolean NOT NULL DEFAULT false,
    auto_approve_own boolean NOT NULL DEFAULT false,
    details jsonb NOT NULL DEFAULT '{}',
    backend_settings jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT offering_pk PRIMARY KEY (id),
    CONSTRAINT offering_provider_fk FOREIGN KEY (provider_account_id) REFERENCES tenant_customer (id),
    CONSTRAINT offering_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenant (id),
    CONSTRAINT offering_accreditation_fk FOREIGN KEY (accreditation_id) REFERENCES accreditation (id),
    CONSTRAINT offering_category_fk FOREIGN KEY (category_id) REFERENCES offering_category (id),
    CONSTRAINT offering_state_ck CHECK (state IN ('draft', 'active', 'paused', 'archived')),
    CONSTRAINT offering_backend_ck CHECK (backend IN ('manual', 'aws', 'cluster')),
    CONSTRAINT offering_name_ck CHECK (name <> '' AND length(name) <= 255),
    CONSTRAINT offering_json_ck CHECK (jsonb_typeof(details) = 'object' AND jsonb_typeof(backend_settings) = 'object')
) INHERITS (class.audit_trail);
CREATE INDEX offering_provider_ix ON offering (provider_account_id);
SELECT class.copy_comments('class.audit_trail', 'offering');
COMMENT ON TABLE offering IS 'What a provider offers to allocators.';
COMMENT ON COLUMN offering.provider_account_id IS 'The provider''s account.';
COMMENT ON COLUMN offering.tenant_id IS 'Its tenant, whose customers may order; taken from the account.';
COMMENT ON COLUMN offering.accreditation_id IS 'Where it is done: an AWS account, or the desk of the provider''s people.';
COMMENT ON COLUMN offering.category_id IS 'The category.';
COMMENT ON COLUMN offering.description IS 'In a sentence.';
COMMENT ON COLUMN offering.state IS 'draft, active, paused or archived.';
COMMENT ON COLUMN offering.paused_reason IS 'Why it is paused.';
COMMENT ON COLUMN offering.backend IS 'manual (the provider''s people or program), aws (an account with budgets) or cluster (node-hours of this installation).';
COMMENT ON COLUMN offering.is_shared IS 'Whether every customer of the tenant may order; else its own and those in offering_grant.';
COMMENT ON COLUMN offering.is_billable IS 'Whether invoices have its items.';
COMMENT ON COLUMN offering.is_immediate IS 'Backend manual: whether approval applies a change at once; else the provider says when it is done.';
COMMENT ON COLUMN offering.auto_approve IS 'Whether the provider''s approval is not needed.';
COMMENT ON COLUMN offering.auto_approve_own IS 'Whether orders of the provider''s own projects need no approval of the consumer.';
COMMENT ON COLUMN offering.details IS 'What else is told about it: full_description, terms_of_service, getting_started, country, options, attributes and more.';
COMMENT ON COLUMN offering.backend_settings IS 'Backend aws: email, account_id, alerts; backend cluster: cluster. For the provider only.';

CREATE TABLE offering_component (
    id uuid NOT NULL DEFAULT new_id(),
    offering_id uuid NOT NULL,
    type text NOT NULL,
    name text NOT NULL,
    description text NOT NULL DEFAULT '',
    measured_unit text NOT NULL DEFAULT '',
    billing_type text NOT NULL DEFAULT 'limit',
    limit_period text,
    limit_amount bigint,
    article_code text NOT NULL DEFAULT '',
    min_value bigint,
    max_value bigint,
    max_available_limit bigint,
    is_boolean boolean NOT NULL DEFAULT false,
    default_limit bigint,
    factor int NOT NULL DEFAULT 1,
    disable_quotas boolean NOT NULL DEFAULT false,
    backend_settings jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT offering_component_pk PRIMARY KEY (id),
    CONSTRAINT offering_component_type_uk UNIQUE (offering_id, type),
    CONSTRAINT offering_component_offering_fk FOREIGN KEY (offering_id) REFERENCES offering (id),
    CONSTRAINT offering_component_billing_ck CHECK (billing_type IN ('fixed', 'usage', 'limit', 'one', 'few')),
    CONSTRAINT offering_component_period_ck CHECK (limit_period IN ('month', 'quarterly', 'annual', 'total')),
    CONSTRAINT offering_component_type_ck CHECK (type ~ '^[A-Za-z0-9_.-]{1,50}$'),
    CONSTRAINT offering_component_name_ck CHECK (name <> '' AND length(name) <= 150),
    CONSTRAINT offering_component_bounds_ck CHECK (min_value >= 0 AND max_value >= 0 AND factor > 0 AND limit_amount >= 0 AND max_available_limit >= 0),
    CONSTRAINT offering_component_settings_ck CHECK (jsonb_typeof(backend_settings) = 'object')
) INHERITS (class.audit_trail);
SELECT class.copy_comments('class.audit_trail', 'offering_component');
COMMENT ON TABLE offering_component IS 'What an offering consists of, each with its own unit: CPU hours, GB days.';
COMMENT ON COLUMN offering_component.type IS 'The key in limits, usages and prices.';
COMMENT ON COLUMN offering_component.measured_unit IS 'The unit: core-hours.';
COMMENT ON COLUMN offering_component.billing_type IS 'fixed (by the plan), usage (as reported), limit (as ordered), one (at activation) or few (at every change of plan).';
COMMENT ON COLUMN offering_component.limit_period IS 'What the limit is for: month, quarterly, annual or total; NULL: month.';
COMMENT ON COLUMN offering_component.limit_amount IS 'How much may be used per period.';
COMMENT ON COLUMN offering_component.min_value IS 'The least a limit may be.';
COMMENT ON COLUMN offering_component.max_value IS 'The most a limit may be.';
COMMENT ON COLUMN offering_component.max_available_limit IS 'The pool: what the limits of all allocations may sum up to; NULL: no pool.';
COMMENT ON COLUMN offering_component.is_boolean IS 'Whether a limit is 0 or 1.';
COMMENT ON COLUMN offering_component.default_limit IS 'A hint for user interfaces.';
COMMENT ON COLUMN offering_component.factor IS 'How many of the backend''s units make one.';
COMMENT ON COLUMN offering_component.disable_quotas IS 'Billing type usage: whether it takes no limit.';
COMMENT ON COLUMN offering_component.backend_settings IS 'Backend aws: metric and services of Cost Explorer.';

CREATE TABLE offering_pool (
    component_id uuid NOT NULL,
    offering_id uuid NOT NULL,
    capacity bigint NOT NULL,
    used bigint NOT NULL,
    CONSTRAINT offering_pool_pk PRIMARY KEY (component_id),
    CONSTRAINT offering_pool_component_fk FOREIGN KEY (component_id) REFERENCES offering_component (id),
    CONSTRAINT offering_pool_ck CHECK (used BETWEEN 0 AND capacity)
);
ALTER TABLE offering_pool SET (fillfactor = 50);
COMMENT ON TABLE offering_pool IS 'How much of a component with a pool is taken; its row makes those wait for each other who want the last of it.';
COMMENT ON COLUMN offering_pool.capacity IS 'How much there is (max_available_limit).';
COMMENT ON COLUMN offering_pool.used IS 'What allocations have, and what orders that wait have reserved.';

CREATE TABLE offering_plan (
    id uuid NOT NULL DEFAULT new_id(),
    offering_id uuid NOT NULL,
    name text NOT NULL,
    description text NOT NULL DEFAULT '',
    article_code text NOT NULL DEFAULT '',
    unit text NOT NULL DEFAULT 'month',
    is_archived boolean NOT NULL DEFAULT false,
    max_amount int,
    backend_id text NOT NULL DEFAULT '',
    CONSTRAINT offering_plan_pk PRIMARY KEY (id),
    CONSTRAINT offering_plan_offering_uk UNIQUE (offering_id, id),
    CONSTRAINT offering_plan_offering_fk FOREIGN KEY (offering_id) REFERENCES offering (id),
    CONSTRAINT offering_plan_unit_ck CHECK (unit IN ('month', 'quarter', 'half_month', 'day', 'hour', 'quantity')),
    CONSTRAINT offering_plan_name_ck CHECK (name <> '' AND length(name) <= 150),
    CONSTRAINT offering_plan_max_amount_ck CHECK (max_amount > 0)
) INHERITS (class.audit_trail);
SELECT class.copy_comments('class.audit_trail', 'offering_plan');
COMMENT ON TABLE offering_plan IS 'A price list of an offering.';
COMMENT ON COLUMN offering_plan.unit IS 'What fixed prices are for: month, quarter, half_month, day, hour or quantity.';
COMMENT ON COLUMN offering_plan.is_archived IS 'Whether nothing new is ordered with it.';
COMMENT ON COLUMN offering_plan.max_amount IS 'How many allocations may have it; NULL: any number.';
COMMENT ON COLUMN offering_plan.backend_id IS 'The provider''s own name for it.';

CREATE TABLE offering_plan_component (
    plan_id uuid NOT NULL,
    component_id uuid NOT NULL,
    price numeric(22,10) NOT NULL DEFAULT 0,
    amount bigint NOT NULL DEFAULT 0,
    CONSTRAINT offering_plan_component_pk PRIMARY KEY (plan_id, component_id),
    CONSTRAINT offering_plan_component_plan_fk FOREIGN KEY (plan_id) REFERENCES offering_plan (id) ON DELETE CASCADE,
    CONSTRAINT offering_plan_component_component_fk FOREIGN KEY (component_id) REFERENCES offering_component (id),
    CONSTRAINT offering_plan_component_ck CHECK (price >= 0 AND amount >= 0)
);
COMMENT ON TABLE offering_plan_component IS 'What a component costs in a plan, and how much of it the plan includes.';
COMMENT ON COLUMN offering_plan_component.plan_id IS 'The plan.';
COMMENT ON COLUMN offering_plan_component.price IS 'For one unit.';
COMMENT ON COLUMN offering_plan_component.amount IS 'The quota: how many of a fixed component the plan includes.';

CREATE TABLE offering_grant (
    offering_id uuid NOT NULL,
    tenant_customer_id uuid NOT NULL,
    CONSTRAINT offering_grant_pk PRIMARY KEY (offering_id, tenant_customer_id),
    CONSTRAINT offering_grant_offering_fk FOREIGN KEY (offering_id) REFERENCES offering (id),
    CONSTRAINT offering_grant_tenant_customer_fk FOREIGN KEY (tenant_customer_id) REFERENCES tenant_customer (id)
);
COMMENT ON TABLE offering_grant IS 'Customers that may order an offering which is not shared.';

CREATE TABLE offering_manager (
    id uuid NOT NULL DEFAULT new_id(),
    number bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    offering_id uuid NOT NULL,
    user_id uuid NOT NULL,
    role text NOT NULL DEFAULT 'offering_manager',
    expires_date timestamptz,
    removed_date timestamptz,
    CONSTRAINT offering_manager_pk PRIMARY KEY (id),
    CONSTRAINT offering_manager_number_uk UNIQUE (number),
    CONSTRAINT offering_manager_offering_fk FOREIGN KEY (offering_id) REFERENCES offering (id),
    CONSTRAINT offering_manager_user_fk FOREIGN KEY (user_id) REFERENCES app_user (id),
    CONSTRAINT offering_manager_role_fk FOREIGN KEY (role) REFERENCES role (name)
) INHERITS (class.audit_trail);
CREATE UNIQUE INDEX offering_manager_live_uk ON offering_manager (user_id, offering_id, role) WHERE removed_date IS NULL;
CREATE INDEX offering_manager_offering_ix ON offering_manager (offering_id);
CREATE INDEX offering_manager_expires_ix ON offering_manager (expires_date) WHERE removed_date IS NULL AND expires_date IS NOT NULL;
SELECT class.copy_comments('class.audit_trail', 'offering_manager');
COMMENT ON TABLE offering_manager IS 'Who manages one offering of a provider without being its owner. Kept when it has ended.';
COMMENT ON COLUMN offering_manager.number IS 'Never-reused number.';
COMMENT ON COLUMN offering_manager.user_id IS 'The user.';
COMMENT ON COLUMN offering_manager.role IS 'The role.';
COMMENT ON COLUMN offering_manager.expires_date IS 'From when it counts no more; NULL: it does not lapse.';
COMMENT ON COLUMN offering_manager.removed_date IS 'When it was revoked or had lapsed; NULL: it holds.';

CREATE FUNCTION caller_offerings() RETURNS uuid[]
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: as caller_reach.
BEGIN
    -- Acting for one account the caller manages that one's offerings, acting for an org none.
    RETURN ARRAY(SELECT DISTINCT g.offering_id FROM offering_manager AS g JOIN offering AS o ON o.id = g.offering_id JOIN app_user AS u ON u.id = g.user_id AND u.status = 'active'
        JOIN tenant_customer AS a ON a.id = o.provider_account_id AND a.is_active JOIN customer AS c ON c.id = a.customer_id AND c.status <> 'to_be_removed'
        WHERE g.user_id = caller_user() AND g.removed_date IS NULL AND (g.expires_date IS NULL OR g.expires_date > engine_now())
            AND a.id = COALESCE(caller_setting('caller_customer'), a.id) AND caller_setting('caller_org') IS NULL);
END $$;
COMMENT ON FUNCTION caller_offerings() IS 'The offerings the caller manages by a role in them, and not in their provider''s whole account.';

CREATE TABLE allocation (
    id uuid NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid NOT NULL,
    provider_account_id uuid NOT NULL,
    offering_id uuid NOT NULL,
    plan_id uuid,
    accreditation_id uuid NOT NULL,
    name text NOT NULL,
    description text NOT NULL DEFAULT '',
    state text NOT NULL DEFAULT 'creating',
    previous_state text,
    limits jsonb NOT NULL DEFAULT '{}',
    reserved jsonb NOT NULL DEFAULT '{}',
    attributes jsonb NOT NULL DEFAULT '{}',
    options jsonb NOT NULL DEFAULT '{}',
    backend_id text NOT NULL DEFAULT '',
    backend_metadata jsonb NOT NULL DEFAULT '{}',
    report jsonb,
    current_usages jsonb NOT NULL DEFAULT '{}',
    usage_notice jsonb NOT NULL DEFAULT '{}',
    end_date date,
    end_notice_days int,
    error_message text NOT NULL DEFAULT '',
    error_traceback text NOT NULL DEFAULT '',
    last_sync_date timestamptz,
    activated_date timestamptz,
    deleted_date timestamptz,
    missing_reason text,
    CONSTRAINT allocation_pk PRIMARY KEY (id),
    CONSTRAINT allocation_org_fk FOREIGN KEY (tenant_customer_id, org_id) REFERENCES org (tenant_customer_id, id),
    CONSTRAINT allocation_provider_fk FOREIGN KEY (provider_account_id) REFERENCES tenant_customer (id),
    CONSTRAINT allocation_offering_fk FOREIGN KEY (offering_id) REFERENCES offering (id),
    CONSTRAINT allocation_plan_fk FOREIGN KEY (offering_id, plan_id) REFERENCES offering_plan (offering_id, id),
    CONSTRAINT allocation_accreditation_fk FOREIGN KEY (accreditation_id) REFERENCES accreditation (id),
    CONSTRAINT allocation_name_ck CHECK (name <> '' AND length(name) <= 255 AND length(backend_id) <= 255),
    CONSTRAINT allocation_state_ck CHECK (state IN ('creating', 'ok', 'updating', 'terminating', 'terminated', 'erred')),
    CONSTRAINT allocation_deleted_ck CHECK ((deleted_date IS NOT NULL) = (state = 'terminated')),
    CONSTRAINT allocation_json_ck CHECK (jsonb_typeof(limits) = 'object' AND jsonb_typeof(reserved) = 'object'),
    CONSTRAINT allocation_end_notice_days_ck CHECK (end_notice_days IN (30, 7))
) INHERITS (class.audit_trail);
CREATE INDEX allocation_tenant_customer_ix ON allocation (tenant_customer_id, id);
CREATE INDEX allocation_org_ix ON allocation (org_id, id);
CREATE INDEX allocation_provider_ix ON allocation (provider_account_id, id);
CREATE INDEX allocation_offering_ix ON allocation (offering_id, id);
CREATE INDEX allocation_plan_ix ON allocation (plan_id) WHERE deleted_date IS NULL;
CREATE INDEX allocation_end_date_ix ON allocation (end_date) WHERE end_date IS NOT NULL AND deleted_date IS NULL;
ALTER TABLE allocation SET (fillfactor = 70);
SELECT class.copy_comments('class.audit_trail', 'allocation');
COMMENT ON TABLE allocation IS 'What a project was given of an offering: the inventory. Its id is that of the provision row that made it.';
COMMENT ON COLUMN allocation.plan_id IS 'The plan; NULL: none.';
COMMENT ON COLUMN allocation.accreditation_id IS 'Where it is done.';
COMMENT ON COLUMN allocation.state IS 'creating, ok, updating, terminating, terminated or erred.';
COMMENT ON COLUMN allocation.limits IS 'How much of each component it has: {type: number}.';
COMMENT ON COLUMN allocation.reserved IS 'What it takes of the pools: its limits, and while an order changes them the larger of both.';
COMMENT ON COLUMN allocation.attributes IS 'As ordered.';
COMMENT ON COLUMN allocation.options IS 'As set by the consumer.';
COMMENT ON COLUMN allocation.backend_id IS 'The provider''s name for it.';
COMMENT ON COLUMN allocation.backend_metadata IS 'What the provider tells about it.';
COMMENT ON COLUMN allocation.report IS 'The provider''s report, for people: [{header, body}].';
COMMENT ON COLUMN allocation.current_usages IS 'What was used this month, as last reported: {type: number}.';
COMMENT ON COLUMN allocation.usage_notice IS 'The highest part of each limit, in percent, that was told as used: {type: 75 or 100}.';
COMMENT ON COLUMN allocation.end_date IS 'The last day; NULL: open.';
COMMENT ON COLUMN allocation.end_notice_days IS 'For how many days before the end it was told last; NULL: not yet.';
COMMENT ON COLUMN allocation.error_message IS 'What went wrong last.';
COMMENT ON COLUMN allocation.error_traceback IS 'Where, as the provider''s program tells it.';
COMMENT ON COLUMN allocation.last_sync_date IS 'When the provider last looked at it.';
COMMENT ON COLUMN allocation.activated_date IS 'When it became usable.';
COMMENT ON COLUMN allocation.deleted_date IS 'When it was terminated; history from then on.';
COMMENT ON COLUMN allocation.missing_reason IS 'Set by the reconcile pass when the outside does not have it.';

CREATE TABLE allocation_order (
    id uuid NOT NULL,
    item_id uuid NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid NOT NULL,
    provider_account_id uuid NOT NULL,
    allocation_id uuid NOT NULL,
    offering_id uuid NOT NULL,
    type text NOT NULL,
    state text NOT NULL,
    previous_state text,
    plan_id uuid,
    old_plan_id uuid,
    limits jsonb NOT NULL DEFAULT '{}',
    old_limits jsonb NOT NULL DEFAULT '{}',
    attributes jsonb NOT NULL DEFAULT '{}',
    cost numeric(22,10),
    start_date date,
    callback_url text,
    created_by_id uuid,
    consumer_reviewed_by_id uuid,
    consumer_reviewed_date timestamptz,
    provider_reviewed_by_id uuid,
    provider_reviewed_date timestamptz,
    comment text NOT NULL DEFAULT '',
    error_message text NOT NULL DEFAULT '',
    error_traceback text NOT NULL DEFAULT '',
    finished_date timestamptz,
    CONSTRAINT allocation_order_pk PRIMARY KEY (id),
    CONSTRAINT allocation_order_org_fk FOREIGN KEY (tenant_customer_id, org_id) REFERENCES org (tenant_customer_id, id),
    CONSTRAINT allocation_order_allocation_fk FOREIGN KEY (allocation_id) REFERENCES allocation (id),
    CONSTRAINT allocation_order_offering_fk FOREIGN KEY (offering_id) REFERENCES offering (id),
    CONSTRAINT allocation_order_type_ck CHECK (type IN ('create', 'update', 'terminate')),
    CONSTRAINT allocation_order_state_ck CHECK (state IN ('pending_consumer', 'pending_project', 'pending_start_date', 'pending_provider', 'executing', 'done', 'erred', 'rejected', 'canceled')),
    CONSTRAINT allocation_order_finished_ck CHECK ((finished_date IS NOT NULL) = (state IN ('done', 'erred', 'rejected', 'canceled')))
) INHERITS (class.audit_trail);
CREATE UNIQUE INDEX allocation_order_open_uk ON allocation_order (allocation_id) WHERE finished_date IS NULL;
CREATE INDEX allocation_order_tenant_customer_ix ON allocation_order (tenant_customer_id, id);
CREATE INDEX allocation_order_org_ix ON allocation_order (org_id, id);
CREATE INDEX allocation_order_offering_ix ON allocation_order (offering_id, id);
CREATE INDEX allocation_order_provider_ix ON allocation_order (provider_account_id, id);
CREATE INDEX allocation_order_allocation_ix ON allocation_order (allocation_id, id);
CREATE INDEX allocation_order_parked_ix ON allocation_order (state) WHERE state IN ('pending_project', 'pending_start_date');
ALTER TABLE allocation_order SET (fillfactor = 50);
SELECT class.copy_comments('class.audit_trail', 'allocation_order');
COMMENT ON TABLE allocation_order IS 'The order of a change of an allocation, as allocators and providers see it; one per order of ours.';
COMMENT ON COLUMN allocation_order.id IS 'The order.';
COMMENT ON COLUMN allocation_order.item_id IS 'Its item.';
COMMENT ON COLUMN allocation_order.allocation_id IS 'What it changes.';
COMMENT ON COLUMN allocation_order.type IS 'create, update or terminate.';
COMMENT ON COLUMN allocation_order.state IS 'pending_consumer, pending_project, pending_start_date, pending_provider, executing, done, erred, rejected or canceled.';
COMMENT ON COLUMN allocation_order.plan_id IS 'The plan asked for.';
COMMENT ON COLUMN allocation_order.old_plan_id IS 'The plan it had.';
COMMENT ON COLUMN allocation_order.limits IS 'The limits asked for, all of them.';
COMMENT ON COLUMN allocation_order.old_limits IS 'The limits it had.';
COMMENT ON COLUMN allocation_order.attributes IS 'As ordered.';
COMMENT ON COLUMN allocation_order.cost IS 'What it costs at first: prices of limits, fixed parts, activation; NULL: no plan.';
COMMENT ON COLUMN allocation_order.start_date IS 'Not before that day.';
COMMENT ON COLUMN allocation_order.callback_url IS 'As ordered; a note for whoever reads it.';
COMMENT ON COLUMN allocation_order.created_by_id IS 'The user who ordered; NULL: a program.';
COMMENT ON COLUMN allocation_order.consumer_reviewed_by_id IS 'The user who decided for the allocator.';
COMMENT ON COLUMN allocation_order.consumer_reviewed_date IS 'When.';
COMMENT ON COLUMN allocation_order.provider_reviewed_by_id IS 'The user who decided for the provider.';
COMMENT ON COLUMN allocation_order.provider_reviewed_date IS 'When.';
COMMENT ON COLUMN allocation_order.comment IS 'What was said when it was rejected or cancelled.';
COMMENT ON COLUMN allocation_order.error_message IS 'Why it erred.';
COMMENT ON COLUMN allocation_order.error_traceback IS 'Where, as the provider''s program tells it.';
COMMENT ON COLUMN allocation_order.finished_date IS 'When it ended.';

CREATE TABLE allocation_period (
    id uuid NOT NULL DEFAULT new_id(),
    tenant_customer_id uuid NOT NULL,
    org_id uuid NOT NULL,
    provider_account_id uuid NOT NULL,
    offering_id uuid NOT NULL,
    allocation_id uuid NOT NULL,
    plan_id uuid,
    start_date timestamptz NOT NULL,
    end_date timestamptz,
    CONSTRAINT allocation_period_pk PRIMARY KEY (id),
    CONSTRAINT allocation_period_offering_fk FOREIGN KEY (offering_id) REFERENCES offering (id),
    CONSTRAINT allocation_period_allocation_fk FOREIGN KEY (allocation_id) REFERENCES allocation (id),
    CONSTRAINT allocation_period_plan_fk FOREIGN KEY (plan_id) REFERENCES offering_plan (id),
    CONSTRAINT allocation_period_org_fk FOREIGN KEY (tenant_customer_id, org_id) REFERENCES org (tenant_customer_id, id),
    CONSTRAINT allocation_period_ck CHECK (end_date >= start_date)
) INHERITS (class.audit_trail);
CREATE UNIQUE INDEX allocation_period_open_uk ON allocation_period (allocation_id) WHERE end_date IS NULL;
CREATE INDEX allocation_period_allocation_ix ON allocation_period (allocation_id, start_date);
SELECT class.copy_comments('class.audit_trail', 'allocation_period');
COMMENT ON TABLE allocation_period IS 'When an allocation had which plan.';
COMMENT ON COLUMN allocation_period.plan_id IS 'The plan; NULL: none.';
COMMENT ON COLUMN allocation_period.start_date IS 'From.';
COMMENT ON COLUMN allocation_period.end_date IS 'To; NULL: it is the present one.';

CREATE TABLE allocation_limit (
    allocation_id uuid NOT NULL,
    start_date timestamptz NOT NULL,
    limits jsonb NOT NULL,
    CONSTRAINT allocation_limit_pk PRIMARY KEY (allocation_id, start_date),
    CONSTRAINT allocation_limit_allocation_fk FOREIGN KEY (allocation_id) REFERENCES allocation (id)
);
COMMENT ON TABLE allocation_limit IS 'Which limits an allocation had from when on: what is paid by the time is reckoned from it.';
COMMENT ON COLUMN allocation_limit.start_date IS 'From when, until the next.';
COMMENT ON COLUMN allocation_limit.limits IS 'As in allocation.';

CREATE TABLE allocation_usage (
    id uuid NOT NULL DEFAULT new_id(),
    tenant_customer_id uuid NOT NULL,
    org_id uuid NOT NULL,
    provider_account_id uuid NOT NULL,
    offering_id uuid NOT NULL,
    allocation_id uuid NOT NULL,
    component_id uuid NOT NULL,
    period_id uuid NOT NULL,
    billing_period date NOT NULL,
    amount numeric(20,2) NOT NULL,
    description text NOT NULL DEFAULT '',
    is_recurring boolean NOT NULL DEFAULT false,
    usage_date timestamptz NOT NULL,
    modified_by_id uuid,
    CONSTRAINT allocation_usage_pk PRIMARY KEY (id),
    CONSTRAINT allocation_usage_offering_fk FOREIGN KEY (offering_id) REFERENCES offering (id),
    CONSTRAINT allocation_usage_uk UNIQUE (allocation_id, component_id, period_id, billing_period),
    CONSTRAINT allocation_usage_allocation_fk FOREIGN KEY (allocation_id) REFERENCES allocation (id),
    CONSTRAINT allocation_usage_component_fk FOREIGN KEY (component_id) REFERENCES offering_component (id),
    CONSTRAINT allocation_usage_period_fk FOREIGN KEY (period_id) REFERENCES allocation_period (id),
    CONSTRAINT allocation_usage_org_fk FOREIGN KEY (tenant_customer_id, org_id) REFERENCES org (tenant_customer_id, id),
    CONSTRAINT allocation_usage_amount_ck CHECK (amount >= 0),
    CONSTRAINT allocation_usage_month_ck CHECK (billing_period = date_trunc('month', billing_period::timestamp)::date)
) INHERITS (class.audit_trail);
CREATE INDEX allocation_usage_tenant_customer_ix ON allocation_usage (tenant_customer_id, id);
CREATE INDEX allocation_usage_org_ix ON allocation_usage (org_id, id);
CREATE INDEX allocation_usage_offering_ix ON allocation_usage (offering_id, id);
CREATE INDEX allocation_usage_provider_ix ON allocation_usage (provider_account_id, id);
SELECT class.copy_comments('class.audit_trail', 'allocation_usage');
COMMENT ON TABLE allocation_usage IS 'How much of a component was used in a month.';
COMMENT ON COLUMN allocation_usage.billing_period IS 'The first day of the month.';
COMMENT ON COLUMN allocation_usage.amount IS 'How much; a later report of the month replaces it.';
COMMENT ON COLUMN allocation_usage.is_recurring IS 'Whether it is taken over into the next month, until another is reported.';
COMMENT ON COLUMN allocation_usage.usage_date IS 'When it was reported.';
COMMENT ON COLUMN allocation_usage.modified_by_id IS 'The user who reported it; NULL: a program.';

CREATE TABLE allocation_user_usage (
    id uuid NOT NULL DEFAULT new_id(),
    tenant_customer_id uuid NOT NULL,
    org_id uuid NOT NULL,
    provider_account_id uuid NOT NULL,
    offering_id uuid NOT NULL,
    usage_id uuid NOT NULL,
    username text NOT NULL,
    user_id uuid,
    amount numeric(20,2) NOT NULL,
    description text NOT NULL DEFAULT '',
    CONSTRAINT allocation_user_usage_pk PRIMARY KEY (id),
    CONSTRAINT allocation_user_usage_offering_fk FOREIGN KEY (offering_id) REFERENCES offering (id),
    CONSTRAINT allocation_user_usage_usage_fk FOREIGN KEY (usage_id) REFERENCES allocation_usage (id),
    CONSTRAINT allocation_user_usage_user_fk FOREIGN KEY (user_id) REFERENCES app_user (id),
    CONSTRAINT allocation_user_usage_org_fk FOREIGN KEY (tenant_customer_id, org_id) REFERENCES org (tenant_customer_id, id),
    CONSTRAINT allocation_user_usage_ck CHECK (amount >= 0 AND username <> '' AND length(username) <= 254)
) INHERITS (class.audit_trail);
CREATE UNIQUE INDEX allocation_user_usage_uk ON allocation_user_usage (usage_id, lower(username));
SELECT class.copy_comments('class.audit_trail', 'allocation_user_usage');
COMMENT ON TABLE allocation_user_usage IS 'Which user used how much of it.';
COMMENT ON COLUMN allocation_user_usage.usage_id IS 'The usage it is a part of.';
COMMENT ON COLUMN allocation_user_usage.username IS 'The user, as the provider names him.';
COMMENT ON COLUMN allocation_user_usage.user_id IS 'The user here, if he is one.';
COMMENT ON COLUMN allocation_user_usage.amount IS 'How much.';

CREATE TABLE invoice (
    id uuid NOT NULL DEFAULT new_id(),
    number bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    tenant_customer_id uuid NOT NULL,
    year int NOT NULL,
    month int NOT NULL,
    state text NOT NULL DEFAULT 'pending',
    tax_percent numeric(4,2) NOT NULL DEFAULT 0,
    invoice_date date,
    due_date date,
    CONSTRAINT invoice_pk PRIMARY KEY (id),
    CONSTRAINT invoice_month_uk UNIQUE (tenant_customer_id, year, month),
    CONSTRAINT invoice_tenant_customer_fk FOREIGN KEY (tenant_customer_id) REFERENCES tenant_customer (id),
    CONSTRAINT invoice_month_ck CHECK (month BETWEEN 1 AND 12),
    CONSTRAINT invoice_state_ck CHECK (state IN ('pending', 'created', 'paid', 'canceled')),
    CONSTRAINT invoice_date_ck CHECK ((invoice_date IS NULL) = (state = 'pending'))
) INHERITS (class.audit_trail);
SELECT class.copy_comments('class.audit_trail', 'invoice');
COMMENT ON TABLE invoice IS 'What a customer''s allocations cost in a month.';
COMMENT ON COLUMN invoice.number IS 'Its number.';
COMMENT ON COLUMN invoice.year IS 'The year.';
COMMENT ON COLUMN invoice.month IS 'The month, from 1.';
COMMENT ON COLUMN invoice.state IS 'pending (the month goes on), created, paid or canceled.';
COMMENT ON COLUMN invoice.tax_percent IS 'The tax on it.';
COMMENT ON COLUMN invoice.invoice_date IS 'When it was created; NULL: the month goes on.';
COMMENT ON COLUMN invoice.due_date IS 'When it is to be paid.';

CREATE TABLE invoice_item (
    id uuid NOT NULL DEFAULT new_id(),
    invoice_id uuid NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid NOT NULL,
    allocation_id uuid NOT NULL,
    component_id uuid NOT NULL,
    period_id uuid NOT NULL,
    name text NOT NULL,
    unit_price numeric(22,10) NOT NULL,
    quantity numeric(20,4) NOT NULL,
    start_date date NOT NULL,
    end_date date NOT NULL,
    CONSTRAINT invoice_item_pk PRIMARY KEY (id),
    CONSTRAINT invoice_item_uk UNIQUE (invoice_id, allocation_id, component_id, period_id),
    CONSTRAINT invoice_item_invoice_fk FOREIGN KEY (invoice_id) REFERENCES invoice (id),
    CONSTRAINT invoice_item_org_fk FOREIGN KEY (tenant_customer_id, org_id) REFERENCES org (tenant_customer_id, id),
    CONSTRAINT invoice_item_allocation_fk FOREIGN KEY (allocation_id) REFERENCES allocation (id),
    CONSTRAINT invoice_item_component_fk FOREIGN KEY (component_id) REFERENCES offering_component (id),
    CONSTRAINT invoice_item_period_fk FOREIGN KEY (period_id) REFERENCES allocation_period (id)
) INHERITS (class.audit_trail);
SELECT class.copy_comments('class.audit_trail', 'invoice_item');
COMMENT ON TABLE invoice_item IS 'What a component of an allocation costs in a month.';
COMMENT ON COLUMN invoice_item.invoice_id IS 'The invoice.';
COMMENT ON COLUMN invoice_item.name IS 'For people.';
COMMENT ON COLUMN invoice_item.unit_price IS 'For one unit.';
COMMENT ON COLUMN invoice_item.quantity IS 'How many.';
COMMENT ON COLUMN invoice_item.start_date IS 'From.';
COMMENT ON COLUMN invoice_item.end_date IS 'To.';

CREATE TABLE remote_user (
    id uuid NOT NULL,
    cuid text NOT NULL,
    attributes jsonb NOT NULL DEFAULT '{}',
    refreshed_date timestamptz NOT NULL DEFAULT engine_now(),
    CONSTRAINT remote_user_pk PRIMARY KEY (id),
    CONSTRAINT remote_user_cuid_uk UNIQUE (cuid),
    CONSTRAINT remote_user_user_fk FOREIGN KEY (id) REFERENCES app_user (id),
    CONSTRAINT remote_user_cuid_ck CHECK (cuid ~ '^[^[:space:][:cntrl:]]{1,254}$')
) INHERITS (class.audit_trail);
SELECT class.copy_comments('class.audit_trail', 'remote_user');
COMMENT ON TABLE remote_user IS 'Users that a registry of a federation knows by a name of theirs (CUID).';
COMMENT ON COLUMN remote_user.id IS 'The user.';
COMMENT ON COLUMN remote_user.cuid IS 'The registry''s name, unique.';
COMMENT ON COLUMN remote_user.attributes IS 'What the registry last told.';
COMMENT ON COLUMN remote_user.refreshed_date IS 'When.';

CREATE TABLE login_token (
    token_hash bytea NOT NULL,
    user_id uuid NOT NULL,
    expires_date timestamptz NOT NULL,
    created_date timestamptz NOT NULL DEFAULT engine_now(),
    CONSTRAINT login_token_pk PRIMARY KEY (token_hash),
    CONSTRAINT login_token_user_fk FOREIGN KEY (user_id) REFERENCES app_user (id),
    CONSTRAINT login_token_hash_ck CHECK (length(token_hash) = 32)
);
CREATE INDEX login_token_user_ix ON login_token (user_id);
CREATE INDEX login_token_expires_ix ON login_token (expires_date);
COMMENT ON TABLE login_token IS 'Opaque tokens of log-ins with a password; any number of a user is good.';
COMMENT ON COLUMN login_token.token_hash IS 'SHA-256 of the token''s 40 hex digits.';
COMMENT ON COLUMN login_token.user_id IS 'Whose.';
COMMENT ON COLUMN login_token.expires_date IS 'From when it is no longer accepted; put off by use.';
COMMENT ON COLUMN login_token.created_date IS 'When it was issued.';

CREATE TABLE provision_allocation (
    offering_id uuid NOT NULL,
    plan_id uuid,
    name text NOT NULL,
    description text NOT NULL DEFAULT '',
    limits jsonb NOT NULL DEFAULT '{}',
    attributes jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT provision_allocation_offering_fk FOREIGN KEY (offering_id) REFERENCES offering (id),
    CONSTRAINT provision_allocation_plan_fk FOREIGN KEY (plan_id) REFERENCES offering_plan (id)
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_allocation', job_type => 'provision_allocation_create', providers => '{aws,manual}', failure => true);
COMMENT ON TABLE provision_allocation IS 'Gives a project something of an offering.';
COMMENT ON COLUMN provision_allocation.plan_id IS 'The plan.';
COMMENT ON COLUMN provision_allocation.limits IS 'How much of each component.';
COMMENT ON COLUMN provision_allocation.attributes IS 'What else the provider wants to know.';

CREATE TABLE provision_allocation_update (
    allocation_id uuid NOT NULL,
    plan_id uuid,
    limits jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT provision_allocation_update_allocation_fk FOREIGN KEY (allocation_id) REFERENCES allocation (id),
    CONSTRAINT provision_allocation_update_plan_fk FOREIGN KEY (plan_id) REFERENCES offering_plan (id)
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_allocation_update', job_type => 'provision_allocation_update', providers => '{aws,manual}', failure => true);
COMMENT ON TABLE provision_allocation_update IS 'Changes limits or plan of an allocation.';
COMMENT ON COLUMN provision_allocation_update.plan_id IS 'The plan it is to have.';
COMMENT ON COLUMN provision_allocation_update.limits IS 'The limits it is to have; a component that is not named keeps its own.';

CREATE TABLE provision_allocation_terminate (
    allocation_id uuid NOT NULL,
    attributes jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT provision_allocation_terminate_allocation_fk FOREIGN KEY (allocation_id) REFERENCES allocation (id)
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_allocation_terminate', job_type => 'provision_allocation_terminate', providers => '{aws,manual}', failure => true);
COMMENT ON TABLE provision_allocation_terminate IS 'Ends an allocation.';
COMMENT ON COLUMN provision_allocation_terminate.attributes IS 'How.';

-- What means the same everywhere.
DO $$
DECLARE
    _column record;
BEGIN
    FOR _column IN
        SELECT a.attrelid::regclass AS place, a.attname AS name, m.meaning FROM (VALUES
            ('id', 'Id.'), ('tenant_customer_id', 'The allocator''s account.'), ('org_id', 'The project.'), ('provider_account_id', 'The account of the offering''s provider, who sees it too.'),
            ('offering_id', 'The offering.'), ('allocation_id', 'The allocation.'), ('component_id', 'The component.'), ('period_id', 'The plan period.'), ('name', 'Name.'), ('description', 'For people.'),
            ('article_code', 'For bookkeeping.'), ('previous_state', 'The state before the last transition.')) AS m (name, meaning)
        JOIN pg_attribute AS a ON a.attname = m.name AND col_description(a.attrelid, a.attnum) IS NULL
        WHERE a.attrelid = ANY ('{project,offering_category,offering,offering_component,offering_pool,offering_plan,offering_plan_component,offering_grant,offering_manager,allocation,allocation_order,allocation_period,allocation_limit,allocation_usage,allocation_user_usage,invoice,invoice_item,provision_allocation,provision_allocation_update,provision_allocation_terminate}'::regclass[])
    LOOP
        EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', _column.place, _column.name, _column.meaning);
    END LOOP;
END $$;

SELECT class.tenancy_policy('project', $$tenant_customer_id = ANY ((SELECT caller_customers())::uuid[]) OR org_id = ANY ((SELECT caller_direct_orgs())::uuid[])$$);
SELECT class.tenancy_policy('offering_grant', $$tenant_customer_id = ANY ((SELECT caller_accounts())::uuid[])$$);
SELECT class.tenancy_policy(t, $$tenant_customer_id = ANY ((SELECT caller_customers())::uuid[]) OR org_id = ANY ((SELECT caller_direct_orgs())::uuid[]) OR provider_account_id = ANY ((SELECT caller_customers())::uuid[])
    OR offering_id = ANY ((SELECT caller_offerings())::uuid[])$$) FROM unnest('{allocation,allocation_order,allocation_period,allocation_usage,allocation_user_usage}'::regclass[]) AS t;
SELECT class.tenancy_policy('allocation_limit', $$allocation_id IN (SELECT id FROM allocation)$$);
SELECT class.tenancy_policy('offering_manager', $$user_id = (SELECT caller_user()) OR offering_id = ANY ((SELECT caller_offerings())::uuid[]) OR offering_id IN (SELECT id FROM offering WHERE provider_account_id = ANY ((SELECT caller_customers())::uuid[]))$$);
SELECT class.tenancy_policy('invoice', $$tenant_customer_id = ANY ((SELECT caller_customers())::uuid[])$$);
SELECT class.tenancy_policy('invoice_item', $$tenant_customer_id = ANY ((SELECT caller_customers())::uuid[])$$);
SELECT class.tenancy_policy('login_token', $$false$$);
SELECT class.tenancy_policy('offering', $$provider_account_id = ANY ((SELECT caller_customers())::uuid[]) OR id = ANY ((SELECT caller_offerings())::uuid[]) OR (state IN ('active', 'paused') AND (is_shared OR id IN (SELECT offering_id FROM offering_grant)) AND tenant_id IN (SELECT tenant_id FROM tenant_customer))$$);
SELECT class.tenancy_policy('offering_component', $$offering_id IN (SELECT id FROM offering)$$);
SELECT class.tenancy_policy('offering_pool', $$offering_id IN (SELECT id FROM offering)$$);
SELECT class.tenancy_policy('offering_plan', $$offering_id IN (SELECT id FROM offering)$$);
SELECT class.tenancy_policy('offering_plan_component', $$plan_id IN (SELECT id FROM offering_plan)$$);
SELECT class.tenancy_policy('remote_user', $$id IN (SELECT id FROM app_user)$$);

-- Whoever decides about an offering sees who manages it.
ALTER POLICY tenant ON app_user USING ((SELECT caller_sees_all()) OR id = (SELECT caller_user()) OR id IN (SELECT user_id FROM membership WHERE state <> 'removed')
    OR customer_id IN (SELECT customer_id FROM tenant_customer WHERE id = ANY ((SELECT caller_customers())::uuid[])) OR id IN (SELECT user_id FROM offering_manager WHERE removed_date IS NULL));

INSERT INTO class.audit_mask VALUES ('remote_user', '{cuid,attributes}');

ALTER TABLE role DROP CONSTRAINT role_scope_ck, ADD CONSTRAINT role_scope_ck CHECK (scope IN ('platform', 'customer', 'org', 'offering'));
COMMENT ON COLUMN role.scope IS 'The least it can be held in: org, customer, offering or platform.';
INSERT INTO role VALUES ('offering_manager', 'offering', 'provides what is ordered of an offering');
INSERT INTO permission VALUES
    ('allocation.change', 'change and end allocations'),
    ('allocation.approve', 'approve orders of allocations for the allocator'),
    ('offering.change', 'make and change offerings, and provide what is ordered of them');
INSERT INTO role_permission VALUES
    ('owner', 'allocation.change'), ('manager', 'allocation.change'), ('admin', 'allocation.change'), ('allocator', 'allocation.change'),
    ('owner', 'allocation.approve'), ('allocator', 'allocation.approve'), ('owner', 'offering.change'), ('offering_manager', 'offering.change');
INSERT INTO role_permission SELECT r, p FROM unnest('{platform_admin,staff}'::text[]) AS r CROSS JOIN unnest('{allocation.change,allocation.approve,offering.change}'::text[]) AS p;

INSERT INTO state_transition (machine, from_state, to_state, meaning) VALUES
    ('offering', NULL, 'draft', 'made; only the provider sees it'),
    ('offering', NULL, 'active', 'made, and can be ordered'),
    ('offering', 'draft', 'active', 'can be ordered'),
    ('offering', 'draft', 'archived', 'given up'),
    ('offering', 'active', 'paused', 'cannot be ordered for a while'),
    ('offering', 'active', 'archived', 'cannot be ordered any more'),
    ('offering', 'paused', 'active', 'can be ordered again'),
    ('offering', 'paused', 'archived', 'cannot be ordered any more'),
    ('offering', 'archived', 'active', 'can be ordered again after all'),
    ('allocation', NULL, 'creating', 'ordered'),
    ('allocation', 'creating', 'ok', 'it can be used'),
    ('allocation', 'creating', 'erred', 'creating it failed, and something of it is there'),
    ('allocation', 'creating', 'terminated', 'rejected, cancelled, or failed before anything was there'),
    ('allocation', 'ok', 'updating', 'its limits or plan are being changed'),
    ('allocation', 'ok', 'terminating', 'it is being ended'),
    ('allocation', 'ok', 'erred', 'the provider says that something is wrong with it'),
    ('allocation', 'updating', 'ok', 'changed, or left as it was'),
    ('allocation', 'updating', 'erred', 'the change failed'),
    ('allocation', 'terminating', 'terminated', 'ended'),
    ('allocation', 'terminating', 'ok', 'ending it failed; it is still there'),
    ('allocation', 'erred', 'ok', 'the provider says that it is well again'),
    ('allocation', 'erred', 'terminating', 'it is being ended'),
    ('allocation', 'erred', 'terminated', 'ended'),
    ('allocation_order', NULL, 'pending_consumer', 'the allocator is to approve it'),
    ('allocation_order', 'pending_consumer', 'pending_project', 'approved by the allocator; its project begins later'),
    ('allocation_order', 'pending_consumer', 'pending_start_date', 'approved by the allocator; it is for later'),
    ('allocation_order', 'pending_consumer', 'pending_provider', 'approved by the allocator; the provider is to approve it'),
    ('allocation_order', 'pending_consumer', 'executing', 'approved; being done'),
    ('allocation_order', 'pending_project', 'pending_start_date', 'the project has begun; it is for later'),
    ('allocation_order', 'pending_project', 'pending_provider', 'the project has begun; the provider is to approve it'),
    ('allocation_order', 'pending_project', 'executing', 'the project has begun; being done'),
    ('allocation_order', 'pending_start_date', 'pending_provider', 'its day has come; the provider is to approve it'),
    ('allocation_order', 'pending_start_date', 'executing', 'its day has come; being done'),
    ('allocation_order', 'pending_provider', 'executing', 'approved by the provider; being done'),
    ('allocation_order', 'executing', 'done', 'done'),
    ('allocation_order', 'executing', 'erred', 'it failed'),
    ('allocation_order', 'executing', 'canceled', 'cancelled before anything was done');
INSERT INTO state_transition (machine, from_state, to_state, meaning)
SELECT 'allocation_order', f, t, m FROM unnest('{pending_consumer,pending_project,pending_start_date,pending_provider}'::text[]) AS f
CROSS JOIN (VALUES ('rejected', 'rejected'), ('canceled', 'cancelled'), ('erred', 'what it needs is not there any more')) AS x (t, m);

INSERT INTO setting VALUES
    ('login_token_days', '30', 'how long an opaque log-in token is good after it was last used', 'integer', 1, 3650),
    ('attempt_token_limit', '5', 'log-ins for an opaque token tried per username in attempt_token_seconds', 'integer', 1, 1000000),
    ('attempt_token_seconds', '600', 'the time after which they are counted anew', 'integer', 1, 604800),
    ('project_backend_id_unique', '0', 'whether a project''s backend_id is unique in its customer (1) or may repeat (0)', 'integer', 0, 1),
    ('invoice_due_days', '30', 'how long after the end of its month an invoice is due', 'integer', 0, 3650);

INSERT INTO job_type VALUES
    ('provision_allocation_create', 'gives a project something of an offering', 20),
    ('provision_allocation_update', 'changes limits or plan of an allocation', 20),
    ('provision_allocation_terminate', 'ends an allocation', 20),
    ('allocation_usage', 'collects what was used, from Cost Explorer', 20);
INSERT INTO order_operation VALUES
    ('allocation.create', 'allocation_create_plan', true, 'gives a project something of an offering', false),
    ('allocation.update', 'allocation_update_plan', true, 'changes limits or plan of an allocation', false),
    ('allocation.terminate', 'allocation_terminate_plan', true, 'ends an allocation', false);

-- Projects that were made before.
INSERT INTO project (id, tenant_customer_id) SELECT id, tenant_customer_id FROM org WHERE kind = 'project';

-- As for orgs above.
ALTER POLICY tenant ON membership USING ((SELECT caller_sees_all()) OR user_id = (SELECT caller_user()) OR tenant_customer_id = ANY ((SELECT caller_customers())::uuid[]) OR org_id = ANY ((SELECT caller_direct_orgs())::uuid[]));

ALTER TABLE login_attempt DROP CONSTRAINT login_attempt_kind_ck, ADD CONSTRAINT login_attempt_kind_ck CHECK (kind IN ('user', 'address', 'register', 'token'));
