-- depends: 0003.job
--
-- What customers ask for. An order has items, an item becomes plan steps (its operation's plan function says which), and a
-- step whose dependencies are complete becomes a row of a provisioning table. Outcomes flow back the same way. Every parent
-- counts its open children and is settled by the one that brings the count to zero. Items and steps have no foreign key to
-- their parents: order_store() writes all three in one go and nobody else may, and to look up each time what was just written
-- took a twentieth of an order's time.

CREATE TABLE order_operation (
    name text NOT NULL,
    plan_function text NOT NULL,
    needs_approval boolean NOT NULL DEFAULT false,
    description text NOT NULL,
    has_parts boolean NOT NULL DEFAULT false,
    CONSTRAINT order_operation_pk PRIMARY KEY (name)
);
COMMENT ON TABLE order_operation IS 'What can be ordered.';
COMMENT ON COLUMN order_operation.name IS 'As orders name it: domain.create.';
COMMENT ON COLUMN order_operation.plan_function IS 'Function (plan_item[]) returning setof plan_step that makes the plan.';
COMMENT ON COLUMN order_operation.needs_approval IS 'Items wait for order_item_approve() before anything happens.';
COMMENT ON COLUMN order_operation.description IS 'What it does.';
COMMENT ON COLUMN order_operation.has_parts IS 'An item makes several things, which other orders may share; an order with several such items is accepted alone.';

CREATE TABLE "order" (
    id uuid NOT NULL DEFAULT new_id(),
    tenant_customer_id uuid NOT NULL,
    org_id uuid,
    status text NOT NULL,
    previous_status text,
    reason text,
    priority smallint NOT NULL DEFAULT 5,
    open_count int NOT NULL,
    completed_count int NOT NULL DEFAULT 0,
    failed_count int NOT NULL DEFAULT 0,
    cancelled_count int NOT NULL DEFAULT 0,
    external_reference text,
    metadata jsonb,
    traceparent text,
    finished_date timestamptz,
    CONSTRAINT order_pk PRIMARY KEY (id),
    CONSTRAINT order_org_fk FOREIGN KEY (tenant_customer_id, org_id) REFERENCES org (tenant_customer_id, id),
    CONSTRAINT order_status_ck CHECK (status IN ('created', 'processing', 'completed', 'partially_completed', 'failed', 'cancelled')),
    CONSTRAINT order_finished_ck CHECK ((finished_date IS NULL) = (status IN ('created', 'processing'))),
    CONSTRAINT order_open_ck CHECK (open_count >= 0 AND (open_count > 0) = (status IN ('created', 'processing'))),
    CONSTRAINT order_priority_ck CHECK (priority BETWEEN 0 AND 9),
    CONSTRAINT order_external_reference_ck CHECK (length(external_reference) <= 255),
    CONSTRAINT order_metadata_ck CHECK (jsonb_typeof(metadata) = 'object'),
    CONSTRAINT order_traceparent_ck CHECK (traceparent ~ '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$')
) INHERITS (class.audit_trail) WITH (fillfactor = 42);
CREATE INDEX order_tenant_customer_ix ON "order" (tenant_customer_id, id);
CREATE INDEX order_external_reference_ix ON "order" (tenant_customer_id, external_reference) WHERE external_reference IS NOT NULL;
SELECT class.copy_comments('class.audit_trail', '"order"');
SELECT class.tenant_policy('"order"');
COMMENT ON TABLE "order" IS 'What a customer asked for in one go.';
COMMENT ON COLUMN "order".id IS 'Id.';
COMMENT ON COLUMN "order".tenant_customer_id IS 'Who ordered.';
COMMENT ON COLUMN "order".org_id IS 'For which org.';
COMMENT ON COLUMN "order".status IS 'created, processing, completed, partially_completed, failed or cancelled.';
COMMENT ON COLUMN "order".previous_status IS 'The status before the last transition.';
COMMENT ON COLUMN "order".reason IS 'Why it did not complete: the first reason among its items.';
COMMENT ON COLUMN "order".priority IS 'Priority of its jobs, 0 (first) to 9.';
COMMENT ON COLUMN "order".open_count IS 'Items that have not ended.';
COMMENT ON COLUMN "order".completed_count IS 'Items that completed.';
COMMENT ON COLUMN "order".failed_count IS 'Items that failed.';
COMMENT ON COLUMN "order".cancelled_count IS 'Items that were cancelled.';
COMMENT ON COLUMN "order".external_reference IS 'The customer''s own number for it.';
COMMENT ON COLUMN "order".metadata IS 'The customer''s own notes.';
COMMENT ON COLUMN "order".traceparent IS 'W3C trace context of the request.';
COMMENT ON COLUMN "order".finished_date IS 'When it ended.';

CREATE TABLE order_idempotency (
    tenant_customer_id uuid NOT NULL,
    key text NOT NULL,
    request_hash text NOT NULL,
    order_id uuid NOT NULL,
    created_date timestamptz NOT NULL DEFAULT engine_now(),
    CONSTRAINT order_idempotency_pk PRIMARY KEY (tenant_customer_id, key),
    CONSTRAINT order_idempotency_key_ck CHECK (key ~ '^[!-~]{1,255}$')
);
CREATE INDEX order_idempotency_created_ix ON order_idempotency (created_date);
SELECT class.tenancy_policy('order_idempotency', 'tenant_customer_id = (SELECT caller_customer()) AND (SELECT caller_org()) IS NULL');
COMMENT ON TABLE order_idempotency IS 'Keys of requests already accepted: the same key and request again is the same order.';
COMMENT ON COLUMN order_idempotency.tenant_customer_id IS 'Whose key.';
COMMENT ON COLUMN order_idempotency.key IS 'The key, 1-255 visible ASCII characters.';
COMMENT ON COLUMN order_idempotency.request_hash IS 'Hash of the request; another request under the same key is refused.';
COMMENT ON COLUMN order_idempotency.order_id IS 'The order it became.';
COMMENT ON COLUMN order_idempotency.created_date IS 'When; forgotten after setting idempotency_days.';

CREATE TABLE order_item (
    id uuid NOT NULL DEFAULT new_id(),
    order_id uuid NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid,
    position int NOT NULL,
    operation text NOT NULL,
    data jsonb NOT NULL,
    status text NOT NULL,
    previous_status text,
    reason text,
    open_count int NOT NULL,
    failed_count int NOT NULL DEFAULT 0,
    cancelled_count int NOT NULL DEFAULT 0,
    created_date timestamptz NOT NULL DEFAULT engine_now(),
    finished_date timestamptz,
    CONSTRAINT order_item_pk PRIMARY KEY (id),
    CONSTRAINT order_item_status_ck CHECK (status IN ('waiting', 'processing', 'completed', 'failed', 'cancelled')),
    CONSTRAINT order_item_finished_ck CHECK ((finished_date IS NULL) = (status IN ('waiting', 'processing'))),
    CONSTRAINT order_item_open_ck CHECK (open_count >= 0 AND (open_count > 0) = (status IN ('waiting', 'processing')))
) WITH (fillfactor = 50);
CREATE INDEX order_item_order_ix ON order_item (order_id);
SELECT class.tenant_policy('order_item');
COMMENT ON TABLE order_item IS 'One thing of an order.';
COMMENT ON COLUMN order_item.id IS 'Id.';
COMMENT ON COLUMN order_item.order_id IS 'The order.';
COMMENT ON COLUMN order_item.tenant_customer_id IS 'Who ordered.';
COMMENT ON COLUMN order_item.org_id IS 'For which org.';
COMMENT ON COLUMN order_item.position IS 'Place in the order, from 1.';
COMMENT ON COLUMN order_item.operation IS 'What is to be done (order_operation).';
COMMENT ON COLUMN order_item.data IS 'With what, as it was ordered.';
COMMENT ON COLUMN order_item.status IS 'waiting (for an approval), processing, completed, failed or cancelled.';
COMMENT ON COLUMN order_item.previous_status IS 'The status before the last transition.';
COMMENT ON COLUMN order_item.reason IS 'Why it did not complete.';
COMMENT ON COLUMN order_item.open_count IS 'Steps that have not ended.';
COMMENT ON COLUMN order_item.failed_count IS 'Steps that failed.';
COMMENT ON COLUMN order_item.cancelled_count IS 'Steps that were cancelled.';
COMMENT ON COLUMN order_item.created_date IS 'When it was ordered.';
COMMENT ON COLUMN order_item.finished_date IS 'When it ended.';

CREATE TABLE order_item_plan (
    id uuid NOT NULL DEFAULT new_id(),
    order_item_id uuid NOT NULL,
    order_id uuid NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid,
    name text NOT NULL,
    provision_table text NOT NULL,
    provision_id uuid NOT NULL,
    data jsonb NOT NULL,
    status text NOT NULL,
    previous_status text,
    reason text,
    open_count int NOT NULL DEFAULT 0,
    priority smallint NOT NULL DEFAULT 5,
    traceparent text,
    created_date timestamptz NOT NULL DEFAULT engine_now(),
    processing_date timestamptz,
    finished_date timestamptz,
    CONSTRAINT order_item_plan_pk PRIMARY KEY (id),
    CONSTRAINT order_item_plan_status_ck CHECK (status IN ('new', 'waiting', 'processing', 'completed', 'failed', 'cancelled')),
    CONSTRAINT order_item_plan_finished_ck CHECK ((finished_date IS NULL) = (status IN ('new', 'waiting', 'processing'))),
    CONSTRAINT order_item_plan_open_ck CHECK (open_count >= 0 AND (status <> 'processing' OR open_count = 0))
) WITH (fillfactor = 45);
CREATE INDEX order_item_plan_item_ix ON order_item_plan (order_item_id);
SELECT class.tenant_policy('order_item_plan');
COMMENT ON TABLE order_item_plan IS 'A step of an item: becomes one row of a provisioning table once the steps it depends on are complete.';
COMMENT ON COLUMN order_item_plan.id IS 'Id.';
COMMENT ON COLUMN order_item_plan.order_item_id IS 'The item.';
COMMENT ON COLUMN order_item_plan.order_id IS 'The item''s order.';
COMMENT ON COLUMN order_item_plan.tenant_customer_id IS 'Who ordered.';
COMMENT ON COLUMN order_item_plan.org_id IS 'For which org.';
COMMENT ON COLUMN order_item_plan.name IS 'For people: contact jane, domain example.test.';
COMMENT ON COLUMN order_item_plan.provision_table IS 'The provisioning table.';
COMMENT ON COLUMN order_item_plan.provision_id IS 'The id its row there will have.';
COMMENT ON COLUMN order_item_plan.data IS 'The row''s columns.';
COMMENT ON COLUMN order_item_plan.status IS 'new, waiting, processing, completed, failed or cancelled.';
COMMENT ON COLUMN order_item_plan.previous_status IS 'The status before the last transition.';
COMMENT ON COLUMN order_item_plan.reason IS 'Why it did not complete.';
COMMENT ON COLUMN order_item_plan.open_count IS 'Dependencies that are not complete.';
COMMENT ON COLUMN order_item_plan.priority IS 'Priority of its job, as its order has it.';
COMMENT ON COLUMN order_item_plan.traceparent IS 'W3C trace context, as its order has it.';
COMMENT ON COLUMN order_item_plan.created_date IS 'When it was planned.';
COMMENT ON COLUMN order_item_plan.processing_date IS 'When its row was made.';
COMMENT ON COLUMN order_item_plan.finished_date IS 'When it ended.';

CREATE TABLE order_item_plan_dependency (
    plan_id uuid NOT NULL,
    depends_on_id uuid NOT NULL,
    CONSTRAINT order_item_plan_dependency_pk PRIMARY KEY (depends_on_id, plan_id),
    CONSTRAINT order_item_plan_dependency_plan_fk FOREIGN KEY (plan_id) REFERENCES order_item_plan (id),
    CONSTRAINT order_item_plan_dependency_on_fk FOREIGN KEY (depends_on_id) REFERENCES order_item_plan (id),
    CONSTRAINT order_item_plan_dependency_ck CHECK (plan_id <> depends_on_id)
);
CREATE INDEX order_item_plan_dependency_plan_ix ON order_item_plan_dependency (plan_id);
COMMENT ON TABLE order_item_plan_dependency IS 'Which step waits for which; the step waited for may belong to another order of the same customer.';
COMMENT ON COLUMN order_item_plan_dependency.plan_id IS 'The step that waits.';
COMMENT ON COLUMN order_item_plan_dependency.depends_on_id IS 'The step it waits for.';

CREATE TABLE object_operation (
    object_type text NOT NULL,
    object_key text NOT NULL,
    provision_id uuid NOT NULL,
    plan_id uuid,
    tenant_customer_id uuid NOT NULL,
    created_date timestamptz NOT NULL DEFAULT engine_now(),
    CONSTRAINT object_operation_pk PRIMARY KEY (object_type, object_key)
);
CREATE INDEX object_operation_provision_ix ON object_operation (provision_id);
SELECT class.tenancy_policy('object_operation', 'tenant_customer_id = (SELECT caller_customer()) AND (SELECT caller_org()) IS NULL');
COMMENT ON TABLE object_operation IS 'The one active operation on an object, over all kinds of operation: whoever inserts the row may go on, it goes when the provision row is final.';
COMMENT ON COLUMN object_operation.object_type IS 'domain, contact, host …';
COMMENT ON COLUMN object_operation.object_key IS 'What makes the object one: a domain''s name.';
COMMENT ON COLUMN object_operation.provision_id IS 'The provision row, made or still planned, that operates on it.';
COMMENT ON COLUMN object_operation.plan_id IS 'The plan step of that row, which others can wait for.';
COMMENT ON COLUMN object_operation.tenant_customer_id IS 'Whose operation.';
COMMENT ON COLUMN object_operation.created_date IS 'Since when.';

CREATE TABLE order_turn (
    tenant_customer_id uuid NOT NULL,
    CONSTRAINT order_turn_pk PRIMARY KEY (tenant_customer_id),
    CONSTRAINT order_turn_tenant_customer_fk FOREIGN KEY (tenant_customer_id) REFERENCES tenant_customer (id) ON DELETE CASCADE
);
SELECT class.tenancy_policy('order_turn', 'tenant_customer_id = (SELECT caller_customer()) AND (SELECT caller_org()) IS NULL');
COMMENT ON TABLE order_turn IS 'One row per customer, locked while orders are accepted that share parts in any order; an advisory lock could be taken by any log-in.';
COMMENT ON COLUMN order_turn.tenant_customer_id IS 'The customer.';

CREATE TYPE order_request AS (id uuid, same_as uuid, tenant_customer_id uuid, org_id uuid, items jsonb, key text, request_hash text,
    external_reference text, metadata jsonb, traceparent text, priority smallint);
COMMENT ON TYPE order_request IS 'An order on its way in; same_as is the order it turned out to be a repetition of.';
CREATE TYPE plan_item AS (id uuid, order_id uuid, tenant_customer_id uuid, org_id uuid, operation text, data jsonb, position int, priority smallint, traceparent text);
COMMENT ON TYPE plan_item IS 'An order item on its way to a plan: what a plan function is given.';
CREATE TYPE plan_step AS (id uuid, item_id uuid, name text, provision_table text, provision_id uuid, data jsonb, depends_on uuid[]);
COMMENT ON TYPE plan_step IS 'A step of a plan: what a plan function returns.';
CREATE TYPE job_request AS (provision_id uuid, data jsonb);
COMMENT ON TYPE job_request IS 'What a pre function returns: the row and what its job needs to know.';
