-- The ground everything stands on.
--
-- A thing to be provisioned is a row of a table `provision_…` that inherits `class.provision` (what is being asked,
-- for whom, how far it is) and `class.audit_trail` (who did what when). Inheritance passes on columns and nothing else,
-- so `class.adopt_provision()` gives each new table its keys, policies and comments, and `class.attach_triggers()`,
-- which runs after every load of the procedures, gives it its one path: validate, make the job, carry the result home.
-- States are rows of `state_transition`; the guards are generated from them.

CREATE SCHEMA class;
COMMENT ON SCHEMA class IS 'Abstract parents and the machinery of provisioning tables; nothing in here is written directly.';

CREATE FUNCTION new_id() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE
-- No SET search_path: it would stop the planner from inlining this expression; it names pg_catalog instead.
-- The time in 1/4096 ms is 15 hex digits: 12 of milliseconds, then the version, then the fraction (RFC 9562, method 3).
RETURN (
    overlay(
        lpad(to_hex((date_part('epoch', clock_timestamp()) * 1000000)::bigint * 512 / 125), 15, '0')
        PLACING '7' FROM 13 FOR 0
    ) || substr(gen_random_uuid()::text, 20)
)::uuid;
COMMENT ON FUNCTION new_id() IS 'A new UUID ordered by time, to the microsecond (version 7, RFC 9562): rows made together lie together in their indexes, and in the order they were made.';

CREATE FUNCTION new_id(p_whole uuid, p_part text) RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE
-- Many PostgreSQL servers ask the operating system each time they need a random number, which takes longer than the hash.
RETURN (
    overlay(
        lpad(to_hex((date_part('epoch', clock_timestamp()) * 1000000)::bigint * 512 / 125), 15, '0')
        PLACING '7' FROM 13 FOR 0
    ) || '8' || right(md5(p_whole || p_part), 15)
)::uuid;
COMMENT ON FUNCTION new_id(uuid, text) IS 'A new UUID ordered by time like those of new_id(), for a part of something whose id is random: no less unguessable, and made in a third of the time.';

CREATE FUNCTION engine_now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
RETURN now();
COMMENT ON FUNCTION engine_now() IS 'The engine''s clock: the transaction''s time. clock_inject() replaces it where tests or a demo must turn time forward.';

CREATE FUNCTION tc_id_from_name(p_table text, p_name text) RETURNS uuid
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog AS $$
BEGIN
    RETURN md5(p_table || ':' || p_name)::uuid;
END $$;
COMMENT ON FUNCTION tc_id_from_name(text, text) IS 'The id of a type code: a pure function of table and name, so it folds to a constant in defaults, indexes and plans and survives dump and restore.';

CREATE FUNCTION caller_name() RETURNS text LANGUAGE sql STABLE
RETURN CASE WHEN session_user = 'provision_api' THEN COALESCE(nullif(current_setting('provision.caller', true), ''), session_user::text) ELSE session_user::text END;
COMMENT ON FUNCTION caller_name() IS 'Who acts, for the audit trail: the API''s caller, else the log-in. Only the API''s own log-in may name somebody else.';

CREATE FUNCTION refuse(p_code text, p_message text, p_detail text DEFAULT NULL, p_hint text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = p_code, MESSAGE = p_message, DETAIL = COALESCE(left(p_detail, 1000), ''), HINT = COALESCE(p_hint, '');
END $$;
COMMENT ON FUNCTION refuse(text, text, text, text) IS 'Refuses with an SQLSTATE of ours (PV + the HTTP status it corresponds to), what is wrong, which value, and the way out.';

-- Type codes ---------------------------------------------------------------------------------------------------------

CREATE TABLE class.type_code (
    id uuid NOT NULL,
    name text NOT NULL,
    description text NOT NULL,
    CONSTRAINT type_code_abstract CHECK (false) NO INHERIT
);
COMMENT ON TABLE class.type_code IS 'Abstract: a named code whose id is tc_id_from_name(table, name).';
COMMENT ON COLUMN class.type_code.id IS 'tc_id_from_name(table, name).';
COMMENT ON COLUMN class.type_code.name IS 'The code''s name, as people and programs say it.';
COMMENT ON COLUMN class.type_code.description IS 'What it means.';

CREATE TABLE provision_status (
    CONSTRAINT provision_status_pk PRIMARY KEY (id),
    CONSTRAINT provision_status_name_uk UNIQUE (name),
    CONSTRAINT provision_status_id_ck CHECK (id = tc_id_from_name('provision_status', name))
) INHERITS (class.type_code);
COMMENT ON TABLE provision_status IS 'How far a provision row is.';

INSERT INTO provision_status (id, name, description)
SELECT tc_id_from_name('provision_status', s.name), s.name, s.description
FROM (VALUES
    ('pending', 'accepted; its parts are still being put together'),
    ('processing', 'handed to a job'),
    ('pending_action', 'accepted outside; waiting for the other side'),
    ('completed', 'done; the thing exists'),
    ('failed', 'refused outside, or attempts used up'),
    ('cancelled', 'stopped before anything happened outside')
) AS s (name, description);

-- State machines -----------------------------------------------------------------------------------------------------

CREATE TABLE state_transition (
    machine text NOT NULL,
    from_state text,
    to_state text NOT NULL,
    meaning text NOT NULL,
    CONSTRAINT state_transition_uk UNIQUE NULLS NOT DISTINCT (machine, from_state, to_state)
);
COMMENT ON TABLE state_transition IS 'Which state may follow which. The guards on the tables and docs/states.md are generated from these rows.';
COMMENT ON COLUMN state_transition.machine IS 'The state machine: provision, order, order_item, order_item_plan or job.';
COMMENT ON COLUMN state_transition.from_state IS 'The state left; NULL: a state a new row may begin in.';
COMMENT ON COLUMN state_transition.to_state IS 'The state entered. A state that no row leaves is final: rows in it do not change any more.';
COMMENT ON COLUMN state_transition.meaning IS 'What happened.';

INSERT INTO state_transition (machine, from_state, to_state, meaning) VALUES
    ('provision', NULL, 'pending', 'inserted; children follow'),
    ('provision', NULL, 'processing', 'inserted complete; its job was made at once'),
    ('provision', 'pending', 'processing', 'complete; its job was made'),
    ('provision', 'pending', 'cancelled', 'cancelled before it was complete'),
    ('provision', 'processing', 'pending_action', 'accepted outside; the other side decides'),
    ('provision', 'processing', 'completed', 'the job succeeded'),
    ('provision', 'processing', 'failed', 'the job failed'),
    ('provision', 'processing', 'cancelled', 'the job was cancelled before it began'),
    ('provision', 'pending_action', 'completed', 'the other side agreed'),
    ('provision', 'pending_action', 'failed', 'the other side refused, or time ran out'),
    ('provision', 'pending_action', 'cancelled', 'withdrawn'),
    ('order', NULL, 'created', 'accepted; an approval is awaited'),
    ('order', NULL, 'processing', 'accepted and begun'),
    ('order', 'created', 'processing', 'approved'),
    ('order', 'created', 'cancelled', 'cancelled before it began'),
    ('order', 'processing', 'completed', 'every item completed'),
    ('order', 'processing', 'partially_completed', 'some items completed, some did not'),
    ('order', 'processing', 'failed', 'no item completed and at least one failed'),
    ('order', 'processing', 'cancelled', 'no item completed and none failed'),
    ('order_item', NULL, 'waiting', 'an approval is awaited'),
    ('order_item', NULL, 'processing', 'begun'),
    ('order_item', 'waiting', 'processing', 'approved'),
    ('order_item', 'waiting', 'cancelled', 'cancelled before it was approved'),
    ('order_item', 'processing', 'completed', 'every step completed'),
    ('order_item', 'processing', 'failed', 'a step failed'),
    ('order_item', 'processing', 'cancelled', 'a step was cancelled and none failed'),
    ('order_item_plan', NULL, 'new', 'its item waits for an approval'),
    ('order_item_plan', NULL, 'waiting', 'other steps come first'),
    ('order_item_plan', NULL, 'processing', 'its provision row is being made'),
    ('order_item_plan', 'new', 'waiting', 'approved; other steps come first'),
    ('order_item_plan', 'new', 'processing', 'approved; its provision row is being made'),
    ('order_item_plan', 'new', 'cancelled', 'cancelled before it began'),
    ('order_item_plan', 'waiting', 'processing', 'what it waited for is complete'),
    ('order_item_plan', 'waiting', 'cancelled', 'what it waited for did not complete, or the order was cancelled'),
    ('order_item_plan', 'processing', 'completed', 'its provision row completed'),
    ('order_item_plan', 'processing', 'failed', 'its provision row failed or was refused'),
    ('order_item_plan', 'processing', 'cancelled', 'its provision row was cancelled'),
    ('job', NULL, 'created', 'waits for its child jobs'),
    ('job', NULL, 'submitted', 'ready to be claimed when its time comes'),
    ('job', 'created', 'submitted', 'its child jobs have ended'),
    ('job', 'created', 'cancelled', 'cancelled'),
    ('job', 'submitted', 'created', 'it made child jobs and waits for them'),
    ('job', 'submitted', 'completed', 'done'),
    ('job', 'submitted', 'failed', 'refused outside, or attempts used up'),
    ('job', 'submitted', 'cancelled', 'cancelled');

-- Audit --------------------------------------------------------------------------------------------------------------

CREATE TABLE class.audit (
    created_date timestamptz NOT NULL DEFAULT engine_now(),
    updated_date timestamptz,
    created_by text NOT NULL DEFAULT caller_name(),
    updated_by text,
    CONSTRAINT audit_abstract CHECK (false) NO INHERIT
);
COMMENT ON TABLE class.audit IS 'Abstract: who made and last changed a row, and when.';
COMMENT ON COLUMN class.audit.created_date IS 'When the row was made.';
COMMENT ON COLUMN class.audit.updated_date IS 'When it last changed; NULL: never.';
COMMENT ON COLUMN class.audit.created_by IS 'Who made it: the API''s caller, else the log-in.';
COMMENT ON COLUMN class.audit.updated_by IS 'Who last changed it.';

CREATE TABLE class.audit_trail (
    CONSTRAINT audit_trail_abstract CHECK (false) NO INHERIT
) INHERITS (class.audit);
COMMENT ON TABLE class.audit_trail IS 'Abstract: as class.audit, and every insert, change and delete is written to audit_trail_log.';

CREATE SEQUENCE audit_trail_log_id_seq;
COMMENT ON SEQUENCE audit_trail_log_id_seq IS 'Orders the entries of audit_trail_log.';

CREATE TABLE audit_trail_log (
    id bigint NOT NULL DEFAULT nextval('audit_trail_log_id_seq'),
    logged_date timestamptz NOT NULL DEFAULT engine_now(),
    logged_by text NOT NULL DEFAULT caller_name(),
    table_name text NOT NULL,
    row_id uuid NOT NULL,
    tenant_customer_id uuid,
    org_id uuid,
    operation text NOT NULL,
    from_state text,
    to_state text,
    changed jsonb,
    reason text,
    claim_no bigint,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    CONSTRAINT audit_trail_log_operation_ck CHECK (operation IN ('insert', 'transition', 'change', 'delete'))
) PARTITION BY RANGE (logged_date);
CREATE INDEX audit_trail_log_row_ix ON audit_trail_log (row_id, id);
COMMENT ON TABLE audit_trail_log IS 'What happened to every row that inherits class.audit_trail: one entry per inserted, changed or deleted row, in monthly partitions.';
COMMENT ON COLUMN audit_trail_log.id IS 'Order of the entries.';
COMMENT ON COLUMN audit_trail_log.logged_date IS 'When.';
COMMENT ON COLUMN audit_trail_log.logged_by IS 'Who.';
COMMENT ON COLUMN audit_trail_log.table_name IS 'The row''s table.';
COMMENT ON COLUMN audit_trail_log.row_id IS 'The row.';
COMMENT ON COLUMN audit_trail_log.tenant_customer_id IS 'Whose row it is.';
COMMENT ON COLUMN audit_trail_log.org_id IS 'The org it belongs to.';
COMMENT ON COLUMN audit_trail_log.operation IS 'insert, transition (a state followed another), change (columns changed outside the straight path) or delete.';
COMMENT ON COLUMN audit_trail_log.from_state IS 'The state left.';
COMMENT ON COLUMN audit_trail_log.to_state IS 'The state entered.';
COMMENT ON COLUMN audit_trail_log.changed IS 'Changed columns as {"column": [old, new]}, the whole row for a delete; secrets are masked.';
COMMENT ON COLUMN audit_trail_log.reason IS 'Why, in words: the registry''s or provider''s answer, the operator''s reason.';
COMMENT ON COLUMN audit_trail_log.claim_no IS 'The fencing token of the claim whose result this is.';
COMMENT ON COLUMN audit_trail_log.xid IS 'The transaction that wrote it: entries of transactions below the oldest that is still open are all there, and are events that nobody can miss.';

CREATE TABLE audit_trail_log_default PARTITION OF audit_trail_log DEFAULT;
COMMENT ON TABLE audit_trail_log_default IS 'Entries outside every monthly partition; should be empty, v_attention says when it is not.';

-- Provisioning -------------------------------------------------------------------------------------------------------

CREATE TABLE class.provision (
    id uuid NOT NULL DEFAULT new_id(),
    accreditation_id uuid NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid,
    provisioned_date timestamptz,
    status_id uuid NOT NULL DEFAULT tc_id_from_name('provision_status', 'pending'),
    previous_status_id uuid,
    roid text,
    job_id uuid DEFAULT new_id(),
    order_item_plan_ids uuid[] NOT NULL DEFAULT '{}',
    result_message text,
    result_data jsonb,
    processing_date timestamptz,
    finished_date timestamptz,
    job_attempts int NOT NULL DEFAULT 0,
    next_attempt_date timestamptz,
    claim_no bigint,
    CONSTRAINT provision_status_fk FOREIGN KEY (status_id) REFERENCES provision_status (id),
    CONSTRAINT provision_abstract CHECK (false) NO INHERIT
);
COMMENT ON TABLE class.provision IS 'Abstract: something to be provisioned outside for a tenant''s customer. Reading it shows every kind at once (v_provision).';
COMMENT ON COLUMN class.provision.id IS 'Id of the row, and of the object it brings into being.';
COMMENT ON COLUMN class.provision.accreditation_id IS 'The registry log-in, AWS account or manual desk it is provisioned at.';
COMMENT ON COLUMN class.provision.tenant_customer_id IS 'Whose it is.';
COMMENT ON COLUMN class.provision.org_id IS 'The org of that customer it belongs to; NULL: the customer''s own.';
COMMENT ON COLUMN class.provision.provisioned_date IS 'When the thing came into being outside.';
COMMENT ON COLUMN class.provision.status_id IS 'How far it is (provision_status).';
COMMENT ON COLUMN class.provision.previous_status_id IS 'The status before the last update; noted by the guard.';
COMMENT ON COLUMN class.provision.roid IS 'Registry object id (RFC 5730), or the provider''s name for the thing.';
COMMENT ON COLUMN class.provision.job_id IS 'The job that does it; the id is there before the job is.';
COMMENT ON COLUMN class.provision.order_item_plan_ids IS 'The plan steps its outcome flows back to; empty for a row inserted without an order.';
COMMENT ON COLUMN class.provision.result_message IS 'Why it ended as it did, in the provider''s words.';
COMMENT ON COLUMN class.provision.result_data IS 'What the provider answered.';
COMMENT ON COLUMN class.provision.processing_date IS 'When it was handed to its job.';
COMMENT ON COLUMN class.provision.finished_date IS 'When it reached its final status.';
COMMENT ON COLUMN class.provision.job_attempts IS 'Failed attempts of the job so far; read-only mirror.';
COMMENT ON COLUMN class.provision.next_attempt_date IS 'When the job looks again; read-only mirror.';
COMMENT ON COLUMN class.provision.claim_no IS 'The claim of the job whose result this is; read-only mirror.';

CREATE TABLE class.provision_kind (
    table_name text NOT NULL,
    job_type text NOT NULL,
    providers text[] NOT NULL,
    has_success boolean NOT NULL,
    has_failure boolean NOT NULL,
    has_children boolean NOT NULL,
    has_lock boolean NOT NULL,
    result_columns text[] NOT NULL,
    secret_columns text[] NOT NULL,
    CONSTRAINT provision_kind_pk PRIMARY KEY (table_name)
);
COMMENT ON TABLE class.provision_kind IS 'The adopted provisioning tables: what class.attach_triggers() generates for each.';
COMMENT ON COLUMN class.provision_kind.table_name IS 'The table.';
COMMENT ON COLUMN class.provision_kind.job_type IS 'The type of the job made for a row of it.';
COMMENT ON COLUMN class.provision_kind.providers IS 'Kinds of providers it can be provisioned at.';
COMMENT ON COLUMN class.provision_kind.has_success IS 'A function <table>_success(uuid[]) takes completed rows into the inventory.';
COMMENT ON COLUMN class.provision_kind.has_failure IS 'A function <table>_failure(uuid[]) clears up after failed and cancelled rows.';
COMMENT ON COLUMN class.provision_kind.has_children IS 'A function <table>_children(uuid[]) makes the rows'' children from their plan steps and opens the gate is_complete.';
COMMENT ON COLUMN class.provision_kind.has_lock IS 'A function <table>_lock(uuid[]) locks what others lock before the rows, so that cancelling those whose gate is closed waits its turn.';
COMMENT ON COLUMN class.provision_kind.result_columns IS 'Columns that are taken from the job''s result.';
COMMENT ON COLUMN class.provision_kind.secret_columns IS 'Columns masked in the audit trail and emptied when a row is final.';

CREATE FUNCTION class.tenant_policy(p_table regclass) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    -- Sub-selects, so that the caller is looked up once per statement and not once per row.
    _own constant text := '(SELECT caller_sees_all()) OR (tenant_customer_id = (SELECT caller_customer())'
        ' AND ((SELECT caller_org()) IS NULL OR org_id = (SELECT caller_org())))';
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', p_table);
    EXECUTE format('CREATE POLICY tenant ON %s TO provision_api, provision_integration, provision_reader, provision_operator USING (%s) WITH CHECK (%2$s)', p_table, _own);
    EXECUTE format('CREATE POLICY worker ON %s TO provision_worker USING (true) WITH CHECK (true)', p_table);
END $$;
COMMENT ON FUNCTION class.tenant_policy(regclass) IS 'Row-level security of a table with tenant_customer_id and org_id: tenants see and write their own rows, operators and workers all.';

CREATE FUNCTION class.copy_comments(p_parent regclass, p_child regclass) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _column record;
BEGIN
    FOR _column IN
        SELECT c.attname, col_description(p_parent, p.attnum) AS comment
        FROM pg_attribute p
        JOIN pg_attribute c ON c.attrelid = p_child AND c.attname = p.attname AND c.attinhcount > 0
        WHERE p.attrelid = p_parent AND p.attnum > 0 AND NOT p.attisdropped
    LOOP
        EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', p_child, _column.attname, _column.comment);
    END LOOP;
END $$;
COMMENT ON FUNCTION class.copy_comments(regclass, regclass) IS 'Inheritance passes on no column comments; this does.';
SELECT class.copy_comments('class.audit', 'class.audit_trail');
SELECT class.copy_comments('class.type_code', 'provision_status');

CREATE FUNCTION class.adopt_provision(
    p_table text, job_type text, providers text[], success boolean DEFAULT true, failure boolean DEFAULT false,
    children boolean DEFAULT false, lock boolean DEFAULT false, result_columns text[] DEFAULT '{}', secret_columns text[] DEFAULT '{}'
) RETURNS void LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _statuses text;
BEGIN
    IF p_table NOT LIKE 'provision\_%' OR to_regclass(quote_ident(p_table)) IS NULL THEN
        PERFORM refuse('PV400', format('%s cannot be adopted', p_table), 'a provisioning table exists and is named provision_…', 'create it first: CREATE TABLE provision_… (…) INHERITS (class.audit_trail, class.provision)');
    END IF;
    INSERT INTO class.provision_kind VALUES (p_table, job_type, providers, success, failure, children, lock, result_columns, secret_columns);
    SELECT string_agg(quote_literal(id), ', ' ORDER BY name) INTO _statuses FROM provision_status;

    EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I PRIMARY KEY (id)', p_table, p_table || '_pk');
    EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I FOREIGN KEY (tenant_customer_id) REFERENCES tenant_customer (id)', p_table, p_table || '_tenant_customer_fk');
    EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I FOREIGN KEY (tenant_customer_id, org_id) REFERENCES org (tenant_customer_id, id)', p_table, p_table || '_org_fk');
    EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I CHECK (status_id IN (%s))', p_table, p_table || '_status_ck', _statuses);
    IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = quote_ident(p_table)::regclass AND attname = 'is_complete') THEN
        -- The rows that come before the gate is opened point at this key.
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I UNIQUE (tenant_customer_id, id)', p_table, p_table || '_tenant_customer_uk');
    ELSE
        -- Rows without a gate are for their job at once.
        EXECUTE format('ALTER TABLE %I ALTER status_id SET DEFAULT tc_id_from_name(''provision_status'', ''processing''), ALTER processing_date SET DEFAULT engine_now()', p_table);
    END IF;
    -- Rows change soon after they are inserted, and no index holds a column that changes: updates stay on their page.
    EXECUTE format('ALTER TABLE %I SET (fillfactor = 45)', p_table);
    PERFORM class.tenant_policy(quote_ident(p_table)::regclass);
    PERFORM class.copy_comments('class.audit_trail', quote_ident(p_table)::regclass);
    PERFORM class.copy_comments('class.provision', quote_ident(p_table)::regclass);
END $$;
COMMENT ON FUNCTION class.adopt_provision(text, text, text[], boolean, boolean, boolean, boolean, text[], text[]) IS 'Makes a table that inherits class.provision a kind of provisioning: keys, foreign keys, the check of its statuses, policies, comments, and its entry in class.provision_kind.';
