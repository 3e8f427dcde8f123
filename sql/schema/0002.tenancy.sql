-- depends: 0001.class
--
-- Who the engine works for, who may ask, and where. A tenant is the brand that runs an installation, a customer a legal
-- entity, and tenant_customer the account of one with the other, carried by every row that belongs to somebody. An org is an
-- isolated part of a customer, a space a part of an org. Users act through memberships: a role in an org, or in the whole of
-- a customer; which role may do what is rows of role_permission. A provider is an outside system; an accreditation is a
-- tenant's right to use it, and the lane its jobs queue in. The caller_… functions say who is asking and what he reaches:
-- every policy stands on them.

CREATE TABLE class.audit_mask (
    table_name text NOT NULL,
    columns text[] NOT NULL,
    CONSTRAINT audit_mask_pk PRIMARY KEY (table_name)
);
COMMENT ON TABLE class.audit_mask IS 'Columns whose values the audit trail does not keep: secrets, and what people may ask us to forget.';
COMMENT ON COLUMN class.audit_mask.table_name IS 'The table.';
COMMENT ON COLUMN class.audit_mask.columns IS 'Its columns that are masked.';
INSERT INTO class.audit_mask VALUES ('app_user', '{email,name,username}'), ('customer', '{email}'), ('invite_code', '{code}'), ('api_key', '{key_hash}');

CREATE TABLE class.audit_omission (
    table_name text NOT NULL,
    columns text[] NOT NULL,
    CONSTRAINT audit_omission_pk PRIMARY KEY (table_name)
);
COMMENT ON TABLE class.audit_omission IS 'Columns whose changes the audit trail leaves out: the engine''s book-keeping, which follows from what is logged.';
COMMENT ON COLUMN class.audit_omission.table_name IS 'The table.';
COMMENT ON COLUMN class.audit_omission.columns IS 'Its columns that are left out.';

CREATE TABLE tenant (
    id uuid NOT NULL DEFAULT new_id(),
    name text NOT NULL,
    description text,
    CONSTRAINT tenant_pk PRIMARY KEY (id),
    CONSTRAINT tenant_name_uk UNIQUE (name)
) INHERITS (class.audit);
COMMENT ON TABLE tenant IS 'A brand that runs an installation.';
COMMENT ON COLUMN tenant.id IS 'Id.';
COMMENT ON COLUMN tenant.name IS 'Name, unique.';
COMMENT ON COLUMN tenant.description IS 'For people.';

CREATE TABLE quota_plan (
    name text NOT NULL,
    description text NOT NULL,
    CONSTRAINT quota_plan_pk PRIMARY KEY (name)
);
COMMENT ON TABLE quota_plan IS 'How much of what a customer, an org or a space may have.';
COMMENT ON COLUMN quota_plan.name IS 'Name.';
COMMENT ON COLUMN quota_plan.description IS 'For people.';

CREATE TABLE quota_plan_limit (
    plan text NOT NULL,
    resource text NOT NULL,
    maximum bigint NOT NULL,
    CONSTRAINT quota_plan_limit_pk PRIMARY KEY (plan, resource),
    CONSTRAINT quota_plan_limit_plan_fk FOREIGN KEY (plan) REFERENCES quota_plan (name),
    CONSTRAINT quota_plan_limit_resource_ck CHECK (resource ~ '^[a-z][a-z_]*$'),
    CONSTRAINT quota_plan_limit_maximum_ck CHECK (maximum >= -1)
);
COMMENT ON TABLE quota_plan_limit IS 'The limits of a plan; a resource that is not listed has none.';
COMMENT ON COLUMN quota_plan_limit.plan IS 'The plan.';
COMMENT ON COLUMN quota_plan_limit.resource IS 'What is counted: org, space, user, api_key, and what modules add.';
COMMENT ON COLUMN quota_plan_limit.maximum IS 'How many; -1: no limit.';
INSERT INTO quota_plan VALUES ('unlimited', 'no limits'), ('small', 'a few people in a few orgs');
INSERT INTO quota_plan_limit VALUES ('small', 'org', 3), ('small', 'space', 10), ('small', 'user', 10), ('small', 'api_key', 20);

CREATE TABLE customer (
    id uuid NOT NULL DEFAULT new_id(),
    cid text NOT NULL,
    name text NOT NULL,
    email text NOT NULL,
    status text NOT NULL DEFAULT 'free',
    previous_status text,
    payment_reference text,
    payment_status text,
    quota_plan text NOT NULL DEFAULT 'unlimited',
    removal_date timestamptz,
    removed_date timestamptz,
    version bigint NOT NULL DEFAULT 1,
    CONSTRAINT customer_pk PRIMARY KEY (id),
    CONSTRAINT customer_cid_uk UNIQUE (cid),
    CONSTRAINT customer_quota_plan_fk FOREIGN KEY (quota_plan) REFERENCES quota_plan (name),
    CONSTRAINT customer_name_ck CHECK (name <> '' AND length(name) <= 255),
    CONSTRAINT customer_email_ck CHECK (email LIKE '%@%' AND length(email) <= 254),
    CONSTRAINT customer_cid_ck CHECK (cid ~ '^[a-z0-9]{1,40}$'),
    CONSTRAINT customer_status_ck CHECK (status IN ('free', 'paid', 'suspended', 'to_be_removed')),
    CONSTRAINT customer_removal_ck CHECK ((removal_date IS NULL) = (status <> 'to_be_removed')),
    CONSTRAINT customer_removed_ck CHECK (removed_date IS NULL OR status = 'to_be_removed')
) INHERITS (class.audit_trail);
CREATE UNIQUE INDEX customer_email_uk ON customer (lower(email)) WHERE removed_date IS NULL;
CREATE INDEX customer_removal_ix ON customer (removal_date) WHERE removal_date IS NOT NULL AND removed_date IS NULL;
COMMENT ON TABLE customer IS 'A legal entity.';
COMMENT ON COLUMN customer.id IS 'Id.';
COMMENT ON COLUMN customer.cid IS 'Short name, made from the name when it is inserted, unique, never changed.';
COMMENT ON COLUMN customer.name IS 'Its name.';
COMMENT ON COLUMN customer.email IS 'Where it is reached; unique, case folded.';
COMMENT ON COLUMN customer.status IS 'free, paid, suspended (may look, not act) or to_be_removed (neither).';
COMMENT ON COLUMN customer.previous_status IS 'The status before the last transition; customer_restore() goes back to it.';
COMMENT ON COLUMN customer.payment_reference IS 'The customer at whoever collects payments.';
COMMENT ON COLUMN customer.payment_status IS 'What they last said about it.';
COMMENT ON COLUMN customer.quota_plan IS 'How much it may have.';
COMMENT ON COLUMN customer.removal_date IS 'From when it is removed for good; NULL unless to_be_removed.';
COMMENT ON COLUMN customer.removed_date IS 'When that was done: spaces, orgs and users are marked removed, personal data is gone, history stays.';
COMMENT ON COLUMN customer.version IS 'Rises with every change; clients name the one they know.';

CREATE TABLE tenant_customer (
    id uuid NOT NULL DEFAULT new_id(),
    tenant_id uuid NOT NULL,
    customer_id uuid NOT NULL,
    is_active boolean NOT NULL DEFAULT true,
    CONSTRAINT tenant_customer_pk PRIMARY KEY (id),
    CONSTRAINT tenant_customer_uk UNIQUE (tenant_id, customer_id),
    CONSTRAINT tenant_customer_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenant (id),
    CONSTRAINT tenant_customer_customer_fk FOREIGN KEY (customer_id) REFERENCES customer (id)
) INHERITS (class.audit);
CREATE INDEX tenant_customer_customer_ix ON tenant_customer (customer_id);
COMMENT ON TABLE tenant_customer IS 'A customer''s account with a tenant: the owner of orders and of everything provisioned.';
COMMENT ON COLUMN tenant_customer.id IS 'Id; on every row that belongs to the customer.';
COMMENT ON COLUMN tenant_customer.tenant_id IS 'The tenant.';
COMMENT ON COLUMN tenant_customer.customer_id IS 'The customer.';
COMMENT ON COLUMN tenant_customer.is_active IS 'Whether it may order.';

CREATE TABLE org (
    id uuid NOT NULL DEFAULT new_id(),
    org_id uuid NOT NULL GENERATED ALWAYS AS (id) STORED,
    tenant_customer_id uuid NOT NULL,
    slug text NOT NULL,
    name text NOT NULL,
    kind text NOT NULL DEFAULT 'organization',
    status text NOT NULL DEFAULT 'active',
    description text,
    contact_email text,
    is_joinable boolean NOT NULL DEFAULT false,
    is_public boolean NOT NULL DEFAULT false,
    quota_plan text NOT NULL DEFAULT 'unlimited',
    version bigint NOT NULL DEFAULT 1,
    CONSTRAINT org_pk PRIMARY KEY (id),
    CONSTRAINT org_tenant_customer_uk UNIQUE (tenant_customer_id, id),
    CONSTRAINT org_kind_uk UNIQUE (id, kind),
    CONSTRAINT org_tenant_customer_fk FOREIGN KEY (tenant_customer_id) REFERENCES tenant_customer (id),
    CONSTRAINT org_quota_plan_fk FOREIGN KEY (quota_plan) REFERENCES quota_plan (name),
    CONSTRAINT org_kind_ck CHECK (kind IN ('organization', 'project', 'hosting')),
    CONSTRAINT org_status_ck CHECK (status IN ('active', 'removed')),
    CONSTRAINT org_name_ck CHECK (name <> '' AND length(name) <= 255),
    CONSTRAINT org_contact_email_ck CHECK (contact_email LIKE '%@%' AND length(contact_email) <= 254),
    CONSTRAINT org_slug_ck CHECK (slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$')
) INHERITS (class.audit_trail);
CREATE UNIQUE INDEX org_slug_uk ON org (slug) WHERE status = 'active';
CREATE UNIQUE INDEX org_name_uk ON org (tenant_customer_id, lower(name)) WHERE kind = 'hosting' AND status = 'active';
COMMENT ON TABLE org IS 'An independent, isolated, separately billed part of a customer.';
COMMENT ON COLUMN org.id IS 'Id; on rows that belong to the org.';
COMMENT ON COLUMN org.org_id IS 'The same, so that it is logged and kept apart as what belongs to it.';
COMMENT ON COLUMN org.tenant_customer_id IS 'The customer''s account.';
COMMENT ON COLUMN org.slug IS 'DNS label, unique in the installation, made from the name when it is inserted without one.';
COMMENT ON COLUMN org.name IS 'Its name; unique in the customer for kind hosting.';
COMMENT ON COLUMN org.kind IS 'organization, project or hosting; never changed.';
COMMENT ON COLUMN org.status IS 'active or removed.';
COMMENT ON COLUMN org.description IS 'For people.';
COMMENT ON COLUMN org.contact_email IS 'Whom to ask about it; shown to those who may join.';
COMMENT ON COLUMN org.is_joinable IS 'Whether everybody sees its name and may request a membership.';
COMMENT ON COLUMN org.is_public IS 'Whether what it offers can be used without a membership.';
COMMENT ON COLUMN org.quota_plan IS 'How much it may have, within its customer''s plan.';
COMMENT ON COLUMN org.version IS 'Rises with every change.';

CREATE TABLE space (
    id uuid NOT NULL DEFAULT new_id(),
    tenant_customer_id uuid NOT NULL,
    org_id uuid NOT NULL,
    name text NOT NULL,
    description text,
    status text NOT NULL DEFAULT 'active',
    quota_plan text NOT NULL DEFAULT 'unlimited',
    version bigint NOT NULL DEFAULT 1,
    CONSTRAINT space_pk PRIMARY KEY (id),
    CONSTRAINT space_org_uk UNIQUE (org_id, id),
    CONSTRAINT space_org_fk FOREIGN KEY (tenant_customer_id, org_id) REFERENCES org (tenant_customer_id, id),
    CONSTRAINT space_quota_plan_fk FOREIGN KEY (quota_plan) REFERENCES quota_plan (name),
    CONSTRAINT space_name_ck CHECK (name ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    CONSTRAINT space_status_ck CHECK (status IN ('active', 'removed'))
) INHERITS (class.audit_trail);
CREATE UNIQUE INDEX space_name_uk ON space (org_id, name) WHERE status = 'active';
COMMENT ON TABLE space IS 'A part of an org with a quota and members of its own.';
COMMENT ON COLUMN space.id IS 'Id.';
COMMENT ON COLUMN space.tenant_customer_id IS 'The customer''s account.';
COMMENT ON COLUMN space.org_id IS 'The org.';
COMMENT ON COLUMN space.name IS 'DNS label, unique in the org.';
COMMENT ON COLUMN space.description IS 'For people.';
COMMENT ON COLUMN space.status IS 'active or removed.';
COMMENT ON COLUMN space.quota_plan IS 'How much it may have, within its org''s plan.';
COMMENT ON COLUMN space.version IS 'Rises with every change.';

CREATE TABLE quota_use (
    scope text NOT NULL,
    scope_id uuid NOT NULL,
    resource text NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid,
    used bigint NOT NULL,
    CONSTRAINT quota_use_pk PRIMARY KEY (scope, scope_id, resource),
    CONSTRAINT quota_use_org_fk FOREIGN KEY (tenant_customer_id, org_id) REFERENCES org (tenant_customer_id, id),
    CONSTRAINT quota_use_tenant_customer_fk FOREIGN KEY (tenant_customer_id) REFERENCES tenant_customer (id),
    CONSTRAINT quota_use_scope_ck CHECK (scope IN ('customer', 'org', 'space')),
    CONSTRAINT quota_use_used_ck CHECK (used >= 0)
) WITH (fillfactor = 50);
COMMENT ON TABLE quota_use IS 'How much is in use: raised and lowered in the transaction that makes or removes the thing, so that of two requests for the last slot one waits for the other.';
COMMENT ON COLUMN quota_use.scope IS 'customer, org or space.';
COMMENT ON COLUMN quota_use.scope_id IS 'The customer''s account, the org or the space.';
COMMENT ON COLUMN quota_use.resource IS 'What is counted.';
COMMENT ON COLUMN quota_use.tenant_customer_id IS 'The customer''s account.';
COMMENT ON COLUMN quota_use.org_id IS 'The org; NULL for scope customer.';
COMMENT ON COLUMN quota_use.used IS 'How many there are.';

-- People and rights --------------------------------------------------------------------------------------------------

CREATE TABLE app_user (
    id uuid NOT NULL DEFAULT new_id(),
    number bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    customer_id uuid,
    username text NOT NULL,
    email text,
    name text,
    status text NOT NULL DEFAULT 'active',
    verified_date timestamptz,
    removed_date timestamptz,
    is_technical boolean NOT NULL DEFAULT false,
    is_platform_admin boolean NOT NULL DEFAULT false,
    is_staff boolean NOT NULL DEFAULT false,
    is_support boolean NOT NULL DEFAULT false,
    is_identity_manager boolean NOT NULL DEFAULT false,
    version bigint NOT NULL DEFAULT 1,
    CONSTRAINT app_user_pk PRIMARY KEY (id),
    CONSTRAINT app_user_number_uk UNIQUE (number),
    CONSTRAINT app_user_customer_fk FOREIGN KEY (customer_id) REFERENCES customer (id),
    CONSTRAINT app_user_username_ck CHECK (username ~ '^[^[:space:][:cntrl:]]{1,254}$'),
    CONSTRAINT app_user_email_ck CHECK (email LIKE '%@%' AND length(email) <= 254),
    CONSTRAINT app_user_name_ck CHECK (name <> '' AND length(name) <= 255),
    CONSTRAINT app_user_status_ck CHECK (status IN ('active', 'disabled')),
    CONSTRAINT app_user_removed_ck CHECK (removed_date IS NULL OR (status = 'disabled' AND email IS NULL AND name IS NULL))
) INHERITS (class.audit_trail);
CREATE UNIQUE INDEX app_user_username_uk ON app_user (lower(username));
CREATE INDEX app_user_customer_ix ON app_user (customer_id) WHERE customer_id IS NOT NULL;
CREATE INDEX app_user_email_ix ON app_user (lower(email));
COMMENT ON TABLE app_user IS 'Somebody, or something, that logs in or has API keys. Passwords and other secrets are elsewhere.';
COMMENT ON COLUMN app_user.id IS 'Id.';
COMMENT ON COLUMN app_user.number IS 'Never-reused number, for surfaces whose ids are integers.';
COMMENT ON COLUMN app_user.customer_id IS 'The customer that manages the user; NULL: registered by himself.';
COMMENT ON COLUMN app_user.username IS 'Unique in the installation, case folded.';
COMMENT ON COLUMN app_user.email IS 'Where the user is reached; NULL: nowhere.';
COMMENT ON COLUMN app_user.name IS 'What people call the user.';
COMMENT ON COLUMN app_user.status IS 'active or disabled.';
COMMENT ON COLUMN app_user.verified_date IS 'When the e-mail address was shown to be the user''s; NULL: not yet.';
COMMENT ON COLUMN app_user.removed_date IS 'When the user was removed and personal data cleared.';
COMMENT ON COLUMN app_user.is_technical IS 'A program: it has API keys and no password, and does not count as an owner who is left.';
COMMENT ON COLUMN app_user.is_platform_admin IS 'Runs the installation.';
COMMENT ON COLUMN app_user.is_staff IS 'Sees and does all.';
COMMENT ON COLUMN app_user.is_support IS 'Reads all.';
COMMENT ON COLUMN app_user.is_identity_manager IS 'Maps identities of other systems to users.';
COMMENT ON COLUMN app_user.version IS 'Rises with every change.';

CREATE TABLE permission (
    name text NOT NULL,
    description text NOT NULL,
    CONSTRAINT permission_pk PRIMARY KEY (name)
);
COMMENT ON TABLE permission IS 'What there is to be allowed.';
COMMENT ON COLUMN permission.name IS 'Name.';
COMMENT ON COLUMN permission.description IS 'What it allows.';
INSERT INTO permission VALUES
    ('read', 'see the org (or all of the customer) and what belongs to it'),
    ('order.create', 'place orders'),
    ('order.cancel', 'cancel orders'),
    ('order.approve', 'approve and reject what waits for it'),
    ('customer.change', 'change the customer''s name and address'),
    ('customer.remove', 'have the customer removed'),
    ('org.create', 'make orgs'),
    ('org.change', 'change an org'),
    ('org.remove', 'remove an org'),
    ('space.change', 'make, change and remove spaces'),
    ('member.change', 'accept, deactivate and remove members, and give them roles'),
    ('user.change', 'make, change and remove the customer''s users'),
    ('invite.change', 'see, make, rotate and revoke invite codes'),
    ('api_key.change', 'see and revoke the API keys of others'),
    ('quota.change', 'give orgs and spaces their quota'),
    ('webhook.change', 'make, change and remove webhooks'),
    ('audit.read', 'read who changed what'),
    ('user.identify', 'map identities of other systems to users');

CREATE TABLE role (
    name text NOT NULL,
    scope text NOT NULL,
    description text NOT NULL,
    CONSTRAINT role_pk PRIMARY KEY (name),
    CONSTRAINT role_scope_ck CHECK (scope IN ('platform', 'customer', 'org'))
);
COMMENT ON TABLE role IS 'Roles. Those of scope org are held in an org or in the whole of a customer, those of scope customer only there, those of the platform are flags of app_user.';
COMMENT ON COLUMN role.name IS 'Name.';
COMMENT ON COLUMN role.scope IS 'The least it can be held in: org, customer or platform.';
COMMENT ON COLUMN role.description IS 'Who that is.';
INSERT INTO role VALUES
    ('owner', 'org', 'answers for it'),
    ('manager', 'org', 'runs it from day to day: its members, spaces and orders'),
    ('admin', 'org', 'looks after its technology'),
    ('developer', 'org', 'uses it; called member where a surface has that word'),
    ('viewer', 'org', 'looks at it'),
    ('allocator', 'customer', 'decides about the customer''s orders'),
    ('platform_admin', 'platform', 'runs the installation'),
    ('staff', 'platform', 'sees and does all'),
    ('support', 'platform', 'reads all'),
    ('identity_manager', 'platform', 'maps identities of other systems to users');

CREATE TABLE role_permission (
    role text NOT NULL,
    permission text NOT NULL,
    CONSTRAINT role_permission_pk PRIMARY KEY (role, permission),
    CONSTRAINT role_permission_role_fk FOREIGN KEY (role) REFERENCES role (name),
    CONSTRAINT role_permission_permission_fk FOREIGN KEY (permission) REFERENCES permission (name)
);
COMMENT ON TABLE role_permission IS 'Which role may do what.';
COMMENT ON COLUMN role_permission.role IS 'The role.';
COMMENT ON COLUMN role_permission.permission IS 'What it may do.';
INSERT INTO role_permission
SELECT r.role, p.name FROM (VALUES
    ('owner', '{read,order.create,order.cancel,order.approve,customer.change,customer.remove,org.create,org.change,org.remove,space.change,member.change,user.change,invite.change,api_key.change,quota.change,webhook.change,audit.read}'::text[]),
    ('manager', '{read,order.create,order.cancel,order.approve,org.change,space.change,member.change,user.change,invite.change,webhook.change,audit.read}'),
    ('admin', '{read,order.create,order.cancel,space.change,webhook.change,audit.read}'),
    ('developer', '{read,order.create,order.cancel}'),
    ('viewer', '{read}'),
    ('allocator', '{read,order.create,order.cancel,order.approve,audit.read}'),
    ('support', '{read,audit.read}'),
    ('identity_manager', '{user.identify}')
) AS r (role, permissions) JOIN permission AS p ON p.name = ANY (r.permissions)
UNION ALL
SELECT r.role, p.name FROM (VALUES ('platform_admin'), ('staff')) AS r (role) CROSS JOIN permission AS p;

INSERT INTO state_transition (machine, from_state, to_state, meaning) VALUES
    ('customer', NULL, 'free', 'made'),
    ('customer', NULL, 'paid', 'made, and pays from the beginning'),
    ('customer', 'free', 'paid', 'pays'),
    ('customer', 'paid', 'free', 'pays no more'),
    ('customer', 'free', 'suspended', 'stopped by the operators'),
    ('customer', 'paid', 'suspended', 'did not pay, or stopped by the operators'),
    ('customer', 'suspended', 'free', 'let go on'),
    ('customer', 'suspended', 'paid', 'paid'),
    ('customer', 'free', 'to_be_removed', 'removal asked for'),
    ('customer', 'paid', 'to_be_removed', 'removal asked for'),
    ('customer', 'suspended', 'to_be_removed', 'removal asked for'),
    ('customer', 'to_be_removed', 'free', 'restored'),
    ('customer', 'to_be_removed', 'paid', 'restored'),
    ('customer', 'to_be_removed', 'suspended', 'restored'),
    ('membership', NULL, 'requested', 'asked for by the user'),
    ('membership', NULL, 'active', 'given, or taken with an invite code'),
    ('membership', 'requested', 'active', 'accepted'),
    ('membership', 'requested', 'removed', 'withdrawn or declined'),
    ('membership', 'active', 'inactive', 'deactivated'),
    ('membership', 'active', 'removed', 'left, removed or lapsed'),
    ('membership', 'inactive', 'active', 'activated again'),
    ('membership', 'inactive', 'removed', 'left, removed or lapsed');

CREATE TABLE membership (
    id uuid NOT NULL DEFAULT new_id(),
    number bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    user_id uuid NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid,
    org_kind text,
    role text NOT NULL,
    state text NOT NULL DEFAULT 'active',
    previous_state text,
    expires_date timestamptz,
    version bigint NOT NULL DEFAULT 1,
    CONSTRAINT membership_pk PRIMARY KEY (id),
    CONSTRAINT membership_number_uk UNIQUE (number),
    CONSTRAINT membership_org_uk UNIQUE (org_id, id),
    CONSTRAINT membership_user_fk FOREIGN KEY (user_id) REFERENCES app_user (id),
    CONSTRAINT membership_tenant_customer_fk FOREIGN KEY (tenant_customer_id) REFERENCES tenant_customer (id),
    CONSTRAINT membership_org_fk FOREIGN KEY (tenant_customer_id, org_id) REFERENCES org (tenant_customer_id, id),
    CONSTRAINT membership_org_kind_fk FOREIGN KEY (org_id, org_kind) REFERENCES org (id, kind),
    CONSTRAINT membership_role_fk FOREIGN KEY (role) REFERENCES role (name),
    CONSTRAINT membership_org_kind_ck CHECK ((org_id IS NULL) = (org_kind IS NULL)),
    CONSTRAINT membership_state_ck CHECK (state IN ('requested', 'active', 'inactive', 'removed'))
) INHERITS (class.audit_trail);
CREATE UNIQUE INDEX membership_live_uk ON membership (user_id, org_id) WHERE state <> 'removed' AND org_kind <> 'project';
CREATE UNIQUE INDEX membership_project_uk ON membership (user_id, org_id, role) WHERE state <> 'removed' AND org_kind = 'project';
CREATE UNIQUE INDEX membership_customer_uk ON membership (user_id, tenant_customer_id, role) WHERE state <> 'removed' AND org_id IS NULL;
CREATE INDEX membership_tenant_customer_ix ON membership (tenant_customer_id, org_id);
CREATE INDEX membership_expires_ix ON membership (expires_date) WHERE state <> 'removed' AND expires_date IS NOT NULL;
COMMENT ON TABLE membership IS 'A user''s role in an org, or in the whole of a customer. Kept when it has ended.';
COMMENT ON COLUMN membership.id IS 'Id.';
COMMENT ON COLUMN membership.number IS 'Never-reused number, for surfaces whose ids are integers.';
COMMENT ON COLUMN membership.user_id IS 'The user.';
COMMENT ON COLUMN membership.tenant_customer_id IS 'The customer''s account.';
COMMENT ON COLUMN membership.org_id IS 'The org; NULL: the whole customer.';
COMMENT ON COLUMN membership.org_kind IS 'The org''s kind: in a project a user may hold several roles, elsewhere one.';
COMMENT ON COLUMN membership.role IS 'The role.';
COMMENT ON COLUMN membership.state IS 'requested, active, inactive or removed.';
COMMENT ON COLUMN membership.previous_state IS 'The state before the last transition.';
COMMENT ON COLUMN membership.expires_date IS 'From when it counts no more; NULL: it does not lapse.';
COMMENT ON COLUMN membership.version IS 'Rises with every change.';

CREATE TABLE membership_space (
    membership_id uuid NOT NULL,
    space_id uuid NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid NOT NULL,
    CONSTRAINT membership_space_pk PRIMARY KEY (membership_id, space_id),
    CONSTRAINT membership_space_membership_fk FOREIGN KEY (org_id, membership_id) REFERENCES membership (org_id, id),
    CONSTRAINT membership_space_space_fk FOREIGN KEY (org_id, space_id) REFERENCES space (org_id, id),
    CONSTRAINT membership_space_org_fk FOREIGN KEY (tenant_customer_id, org_id) REFERENCES org (tenant_customer_id, id)
);
COMMENT ON TABLE membership_space IS 'The spaces a membership is limited to; without a row it reaches all of the org''s.';
COMMENT ON COLUMN membership_space.membership_id IS 'The membership.';
COMMENT ON COLUMN membership_space.space_id IS 'A space it reaches.';
COMMENT ON COLUMN membership_space.tenant_customer_id IS 'The customer''s account.';
COMMENT ON COLUMN membership_space.org_id IS 'The org of both.';

CREATE TABLE invite_code (
    id uuid NOT NULL DEFAULT new_id(),
    tenant_customer_id uuid NOT NULL,
    org_id uuid NOT NULL,
    code text NOT NULL,
    role text NOT NULL DEFAULT 'viewer',
    expires_date timestamptz,
    uses_left int,
    revoked_date timestamptz,
    version bigint NOT NULL DEFAULT 1,
    CONSTRAINT invite_code_pk PRIMARY KEY (id),
    CONSTRAINT invite_code_code_uk UNIQUE (code),
    CONSTRAINT invite_code_org_fk FOREIGN KEY (tenant_customer_id, org_id) REFERENCES org (tenant_customer_id, id),
    CONSTRAINT invite_code_role_fk FOREIGN KEY (role) REFERENCES role (name),
    CONSTRAINT invite_code_code_ck CHECK (code ~ '^[A-Z0-9]{6,32}$'),
    CONSTRAINT invite_code_uses_left_ck CHECK (uses_left >= 0)
) INHERITS (class.audit_trail);
CREATE INDEX invite_code_org_ix ON invite_code (org_id);
COMMENT ON TABLE invite_code IS 'Codes with which a user becomes a member of an org.';
COMMENT ON COLUMN invite_code.id IS 'Id.';
COMMENT ON COLUMN invite_code.tenant_customer_id IS 'The customer''s account.';
COMMENT ON COLUMN invite_code.org_id IS 'The org.';
COMMENT ON COLUMN invite_code.code IS 'The code.';
COMMENT ON COLUMN invite_code.role IS 'The role that comes with it.';
COMMENT ON COLUMN invite_code.expires_date IS 'From when it is no longer accepted; NULL: it does not lapse.';
COMMENT ON COLUMN invite_code.uses_left IS 'How often it can still be used; NULL: any number of times.';
COMMENT ON COLUMN invite_code.revoked_date IS 'When it was revoked.';
COMMENT ON COLUMN invite_code.version IS 'Rises with every change.';

CREATE TABLE integration_login (
    login name NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid,
    CONSTRAINT integration_login_pk PRIMARY KEY (login),
    CONSTRAINT integration_login_tenant_customer_fk FOREIGN KEY (tenant_customer_id) REFERENCES tenant_customer (id),
    CONSTRAINT integration_login_org_fk FOREIGN KEY (tenant_customer_id, org_id) REFERENCES org (tenant_customer_id, id)
);
COMMENT ON TABLE integration_login IS 'Which customer a database log-in of another system acts for. GRANT provision_integration TO the log-in and add it here.';
COMMENT ON COLUMN integration_login.login IS 'The log-in (session_user).';
COMMENT ON COLUMN integration_login.tenant_customer_id IS 'The customer it acts for.';
COMMENT ON COLUMN integration_login.org_id IS 'The one org it is limited to; NULL: all of the customer''s.';

CREATE TABLE api_key (
    id uuid NOT NULL DEFAULT new_id(),
    user_id uuid NOT NULL,
    tenant_customer_id uuid,
    org_id uuid,
    name text NOT NULL,
    prefix text NOT NULL,
    key_hash bytea NOT NULL,
    expires_date timestamptz NOT NULL,
    revoked_date timestamptz,
    version bigint NOT NULL DEFAULT 1,
    CONSTRAINT api_key_pk PRIMARY KEY (id),
    CONSTRAINT api_key_hash_uk UNIQUE (key_hash),
    CONSTRAINT api_key_name_ck CHECK (name <> '' AND length(name) <= 255),
    CONSTRAINT api_key_prefix_ck CHECK (prefix ~ '^[0-9a-f]{8}$'),
    CONSTRAINT api_key_hash_ck CHECK (length(key_hash) = 32),
    CONSTRAINT api_key_org_ck CHECK (org_id IS NULL OR tenant_customer_id IS NOT NULL),
    CONSTRAINT api_key_user_fk FOREIGN KEY (user_id) REFERENCES app_user (id),
    CONSTRAINT api_key_tenant_customer_fk FOREIGN KEY (tenant_customer_id) REFERENCES tenant_customer (id),
    CONSTRAINT api_key_org_fk FOREIGN KEY (tenant_customer_id, org_id) REFERENCES org (tenant_customer_id, id)
) INHERITS (class.audit_trail);
CREATE INDEX api_key_user_ix ON api_key (user_id);
COMMENT ON TABLE api_key IS 'Keys of API clients: shown once, kept as SHA-256.';
COMMENT ON COLUMN api_key.id IS 'Id.';
COMMENT ON COLUMN api_key.user_id IS 'Whose key it is: it can do what the user can.';
COMMENT ON COLUMN api_key.tenant_customer_id IS 'The one customer''s account it is limited to; NULL: all of the user''s.';
COMMENT ON COLUMN api_key.org_id IS 'The one org it is limited to; NULL: all of that customer''s.';
COMMENT ON COLUMN api_key.name IS 'What it is for. Two of a name are valid at a time, so that it can be rotated.';
COMMENT ON COLUMN api_key.prefix IS 'The first 8 digits, for people to tell keys apart.';
COMMENT ON COLUMN api_key.key_hash IS 'SHA-256 of the key''s 40 hex digits.';
COMMENT ON COLUMN api_key.expires_date IS 'From when it is no longer accepted.';
COMMENT ON COLUMN api_key.revoked_date IS 'When it was revoked.';
COMMENT ON COLUMN api_key.version IS 'Rises with every change.';

-- Where --------------------------------------------------------------------------------------------------------------

CREATE TABLE provider (
    name text NOT NULL,
    description text NOT NULL,
    CONSTRAINT provider_pk PRIMARY KEY (name)
);
COMMENT ON TABLE provider IS 'The kinds of outside systems the engine can provision at.';
COMMENT ON COLUMN provider.name IS 'Name.';
COMMENT ON COLUMN provider.description IS 'What it is.';
INSERT INTO provider VALUES
    ('epp', 'a domain registry that speaks EPP (RFC 5730-5734)'),
    ('aws', 'an AWS account'),
    ('manual', 'a person, who does it by hand and says so with job_complete()');

CREATE TABLE accreditation (
    id uuid NOT NULL DEFAULT new_id(),
    tenant_id uuid NOT NULL,
    provider text NOT NULL,
    name text NOT NULL,
    is_active boolean NOT NULL DEFAULT true,
    registrar_id text,
    endpoint text,
    region text,
    role_arn text,
    external_id text,
    secret_ref text,
    settings jsonb NOT NULL DEFAULT '{}',
    max_concurrency int,
    held_date timestamptz,
    held_reason text,
    CONSTRAINT accreditation_pk PRIMARY KEY (id),
    CONSTRAINT accreditation_name_uk UNIQUE (tenant_id, name),
    CONSTRAINT accreditation_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenant (id),
    CONSTRAINT accreditation_provider_fk FOREIGN KEY (provider) REFERENCES provider (name),
    CONSTRAINT accreditation_concurrency_ck CHECK (max_concurrency > 0),
    CONSTRAINT accreditation_held_ck CHECK ((held_date IS NULL) = (held_reason IS NULL)),
    CONSTRAINT accreditation_secret_ref_ck CHECK (secret_ref ~ '^(env:|file:/|aws-sm:)'),
    CONSTRAINT accreditation_settings_ck CHECK (jsonb_typeof(settings) = 'object'),
    CONSTRAINT accreditation_epp_ck CHECK (provider <> 'epp' OR (registrar_id IS NOT NULL AND endpoint IS NOT NULL AND secret_ref IS NOT NULL))
) INHERITS (class.audit_trail);
COMMENT ON TABLE accreditation IS 'A tenant''s right to use a provider: a registry log-in, an AWS account, or a desk where people work. Its jobs queue in one lane.';
COMMENT ON COLUMN accreditation.id IS 'Id, and the lane of its jobs.';
COMMENT ON COLUMN accreditation.tenant_id IS 'Whose right it is.';
COMMENT ON COLUMN accreditation.provider IS 'At which kind of provider.';
COMMENT ON COLUMN accreditation.name IS 'Name, unique in the tenant; orders may name it.';
COMMENT ON COLUMN accreditation.is_active IS 'Whether new rows are accepted for it.';
COMMENT ON COLUMN accreditation.registrar_id IS 'Registrar id at the registry: the log-in name and the sponsor of what we create (EPP clID).';
COMMENT ON COLUMN accreditation.endpoint IS 'host:port of the registry, or the URL of a cloud endpoint; NULL: the provider''s own.';
COMMENT ON COLUMN accreditation.region IS 'AWS region.';
COMMENT ON COLUMN accreditation.role_arn IS 'AWS role to assume; NULL: the worker''s own credentials.';
COMMENT ON COLUMN accreditation.external_id IS 'AWS external id that goes with the role.';
COMMENT ON COLUMN accreditation.secret_ref IS 'Where the worker finds the secret: env:NAME, file:/path or aws-sm:arn. Never the secret itself.';
COMMENT ON COLUMN accreditation.settings IS 'Limits and details of the connection: max_sessions, commands_per_second, ca_file, client_certificate …';
COMMENT ON COLUMN accreditation.max_concurrency IS 'How many of its jobs may run at once over all workers; NULL: as many as there is room for.';
COMMENT ON COLUMN accreditation.held_date IS 'Since when its jobs wait in their queue (accreditation_hold()).';
COMMENT ON COLUMN accreditation.held_reason IS 'Why.';

SELECT class.copy_comments('class.audit', t::regclass) FROM unnest('{tenant,tenant_customer}'::text[]) AS t;
SELECT class.copy_comments('class.audit_trail', t::regclass) FROM unnest('{accreditation,customer,org,space,app_user,membership,invite_code,api_key}'::text[]) AS t;

-- Who is asking ------------------------------------------------------------------------------------------------------
--
-- Any SQL user can SET a variable, so only the API's own log-in is believed; all others are looked up.

CREATE FUNCTION caller_setting(p_name text) RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF session_user = 'provision_api' THEN
        RETURN nullif(current_setting('provision.' || p_name, true), '')::uuid;
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION caller_setting(text) IS 'What the API''s log-in has set for its transaction; NULL for all others. A rolled-back SET LOCAL leaves an empty string.';

CREATE FUNCTION caller_user() RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN caller_setting('caller_user');
END $$;
COMMENT ON FUNCTION caller_user() IS 'The user who asks through the API; NULL: none, or a log-in of SQL.';

CREATE FUNCTION membership_live(p_user uuid) RETURNS SETOF membership
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY
    SELECT m.* FROM membership AS m
    JOIN app_user AS u ON u.id = m.user_id AND u.status = 'active'
    JOIN tenant_customer AS a ON a.id = m.tenant_customer_id AND a.is_active
    JOIN customer AS c ON c.id = a.customer_id AND c.status <> 'to_be_removed'
    LEFT JOIN org AS o ON o.id = m.org_id
    WHERE m.user_id = p_user AND m.state = 'active' AND (m.expires_date IS NULL OR m.expires_date > engine_now()) AND (m.org_id IS NULL OR o.status = 'active');
END $$;
COMMENT ON FUNCTION membership_live(uuid) IS 'The memberships that count at this moment: active, not lapsed, of a user who is not disabled, in what is not removed.';

CREATE FUNCTION caller_platform() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the flags of a user decide before anybody sees a row.
BEGIN
    IF session_user <> 'provision_api' THEN
        RETURN CASE WHEN pg_has_role(session_user, 'provision_operator', 'MEMBER') OR pg_has_role(session_user, 'provision_owner', 'MEMBER') THEN 'all' END;
    END IF;
    RETURN (SELECT CASE WHEN is_platform_admin OR is_staff THEN 'all' WHEN is_support THEN 'read' END FROM app_user WHERE id = caller_user() AND status = 'active');
END $$;
COMMENT ON FUNCTION caller_platform() IS 'all: an operator, the database''s owner, platform admin or staff, who sees and does everything; read: support, who sees everything; NULL: the others.';

CREATE FUNCTION caller_sees_all() RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN caller_setting('caller_customer') IS NULL AND caller_platform() IS NOT NULL;
END $$;
COMMENT ON FUNCTION caller_sees_all() IS 'Whether the caller sees every tenant''s rows. Whoever acts for one account sees that.';

CREATE FUNCTION caller_customer() RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: nobody reads integration_login but through this.
DECLARE
    _customer constant uuid := caller_setting('caller_customer');
    _org constant uuid := caller_setting('caller_org');
BEGIN
    IF session_user <> 'provision_api' THEN
        RETURN (SELECT tenant_customer_id FROM integration_login WHERE login = session_user);
    ELSIF _customer IS NULL OR EXISTS (SELECT FROM membership_live(caller_user()) WHERE tenant_customer_id = _customer AND (org_id IS NULL OR org_id = _org)) OR caller_platform() IS NOT NULL THEN
        RETURN _customer;
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION caller_customer() IS 'The customer''s account the caller acts for; NULL: none (any more), and then no rows.';

CREATE FUNCTION caller_org() RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: as caller_customer.
BEGIN
    IF session_user = 'provision_api' THEN
        RETURN caller_setting('caller_org');
    END IF;
    RETURN (SELECT org_id FROM integration_login WHERE login = session_user);
END $$;
COMMENT ON FUNCTION caller_org() IS 'The org the caller is limited to; NULL: all of the customer''s.';

CREATE FUNCTION caller_reach() RETURNS TABLE (tenant_customer_id uuid, org_id uuid, membership_id uuid)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: says what the caller sees before it sees anything.
#variable_conflict use_column
DECLARE
    _customer constant uuid := caller_customer();
    _org constant uuid := caller_org();
BEGIN
    IF session_user <> 'provision_api' OR (_customer IS NOT NULL AND caller_platform() IS NOT NULL) THEN
        RETURN QUERY SELECT _customer, _org, NULL::uuid WHERE _customer IS NOT NULL;
    ELSIF _customer IS NOT NULL OR caller_setting('caller_customer') IS NULL THEN
        -- Acting for one account, or one org, it reaches no further.
        RETURN QUERY SELECT m.tenant_customer_id, COALESCE(m.org_id, _org), m.id FROM membership_live(caller_user()) AS m
        WHERE (_customer IS NULL OR m.tenant_customer_id = _customer) AND (_org IS NULL OR m.org_id IS NULL OR m.org_id = _org);
    END IF;
END $$;
COMMENT ON FUNCTION caller_reach() IS 'What the caller reaches: accounts (org_id NULL: all of it) and orgs, and by which membership.';

CREATE FUNCTION caller_customers() RETURNS uuid[]
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: as caller_reach.
BEGIN
    RETURN ARRAY(SELECT DISTINCT tenant_customer_id FROM caller_reach() WHERE org_id IS NULL);
END $$;
COMMENT ON FUNCTION caller_customers() IS 'The accounts of which the caller reaches everything.';

CREATE FUNCTION caller_accounts() RETURNS uuid[]
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: as caller_reach.
BEGIN
    RETURN ARRAY(SELECT DISTINCT tenant_customer_id FROM caller_reach());
END $$;
COMMENT ON FUNCTION caller_accounts() IS 'The accounts whose names the caller sees: those of which it reaches everything or an org.';

CREATE FUNCTION caller_orgs() RETURNS uuid[]
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: as caller_reach.
BEGIN
    RETURN ARRAY(SELECT DISTINCT o.id FROM caller_reach() AS r JOIN org AS o ON o.tenant_customer_id = r.tenant_customer_id AND (r.org_id IS NULL OR r.org_id = o.id));
END $$;
COMMENT ON FUNCTION caller_orgs() IS 'The orgs the caller reaches.';

CREATE FUNCTION caller_spaces() RETURNS uuid[]
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: as caller_reach.
BEGIN
    RETURN ARRAY(
        SELECT DISTINCT s.id FROM caller_reach() AS r JOIN space AS s ON s.tenant_customer_id = r.tenant_customer_id AND (r.org_id IS NULL OR r.org_id = s.org_id)
        WHERE NOT EXISTS (SELECT FROM membership_space AS l WHERE l.membership_id = r.membership_id)
            OR EXISTS (SELECT FROM membership_space AS l WHERE l.membership_id = r.membership_id AND l.space_id = s.id));
END $$;
COMMENT ON FUNCTION caller_spaces() IS 'The spaces the caller reaches: all of its orgs, or those its memberships name.';

CREATE FUNCTION class.tenancy_policy(p_table regclass, p_own text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', p_table);
    EXECUTE format('CREATE POLICY tenant ON %s TO provision_api, provision_integration, provision_reader, provision_operator USING ((SELECT caller_sees_all()) OR %s)', p_table, p_own);
    EXECUTE format('CREATE POLICY worker ON %s TO provision_worker USING (true) WITH CHECK (true)', p_table);
END $$;
COMMENT ON FUNCTION class.tenancy_policy(regclass, text) IS 'Row-level security of a table of accounts, orgs and people: tenants see what the condition says, operators and workers all.';

SELECT class.tenancy_policy(t, o) FROM (VALUES
    ('tenant'::regclass, 'id IN (SELECT tenant_id FROM tenant_customer)'),
    ('tenant_customer', 'id = ANY ((SELECT caller_accounts())::uuid[])'),
    ('customer', 'id IN (SELECT customer_id FROM tenant_customer)'),
    ('org', 'id = ANY ((SELECT caller_orgs())::uuid[])'),
    ('space', 'id = ANY ((SELECT caller_spaces())::uuid[])'),
    ('membership', 'user_id = (SELECT caller_user()) OR tenant_customer_id = ANY ((SELECT caller_customers())::uuid[]) OR org_id = ANY ((SELECT caller_orgs())::uuid[])'),
    ('membership_space', 'space_id = ANY ((SELECT caller_spaces())::uuid[])'),
    ('app_user', 'id = (SELECT caller_user()) OR id IN (SELECT user_id FROM membership WHERE state <> ''removed'')'
        ' OR customer_id IN (SELECT customer_id FROM tenant_customer WHERE id = ANY ((SELECT caller_customers())::uuid[]))'),
    ('invite_code', 'org_id = ANY ((SELECT caller_orgs())::uuid[])'),
    ('api_key', 'user_id = (SELECT caller_user()) OR tenant_customer_id = ANY ((SELECT caller_customers())::uuid[]) OR org_id = ANY ((SELECT caller_orgs())::uuid[])'
        ' OR (tenant_customer_id IS NULL AND user_id IN (SELECT u.id FROM app_user AS u JOIN tenant_customer AS a ON a.customer_id = u.customer_id WHERE a.id = ANY ((SELECT caller_customers())::uuid[])))'),
    ('quota_use', 'CASE scope WHEN ''customer'' THEN scope_id = ANY ((SELECT caller_customers())::uuid[]) WHEN ''org'' THEN scope_id = ANY ((SELECT caller_orgs())::uuid[]) ELSE scope_id = ANY ((SELECT caller_spaces())::uuid[]) END'),
    ('integration_login', 'login = session_user'),
    ('accreditation', 'tenant_id IN (SELECT tenant_id FROM tenant_customer)'),
    ('class.audit', 'false'),
    ('class.audit_trail', 'false')
) AS p (t, o);

SELECT class.tenant_policy('class.provision');
SELECT class.tenant_policy('audit_trail_log');
