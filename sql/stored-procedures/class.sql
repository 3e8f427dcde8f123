-- The path of every provisioning table, generated from class.provision_kind so that it is the same for all of them.
--
-- INSERT: <table>_validate, a trigger function, refuses a bad row; <table>_after_insert checks the rows of the statement
-- against tenants, logs them, makes the jobs out of what the pre function <table>_job says, and checks the plan steps.
-- UPDATE: <table>_guard refuses illegal transitions (its trigger's condition lets legal ones pass without calling it, since
-- they come by the thousand and note the previous status themselves); <table>_after_update logs them and
-- takes final rows home: inventory (<table>_success, <table>_failure), then their plan steps. Two functions are called
-- from outside the table: <table>_from_plan turns plan steps into rows, <table>_settle brings the outcome of jobs.

CREATE OR REPLACE FUNCTION class.log_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: nobody writes the log but through this.
DECLARE
    _old jsonb := to_jsonb(OLD);
    _new jsonb := to_jsonb(NEW);
    _omitted constant text[] := '{updated_date,updated_by,previous_status_id,previous_status,previous_state,version,next_attempt_date,claim_no,generation}'
        || COALESCE((SELECT columns FROM class.audit_omission WHERE table_name = TG_TABLE_NAME), '{}');
    _changed jsonb;
BEGIN
    SELECT jsonb_object_agg(n.key, CASE WHEN n.key = ANY (TG_ARGV) THEN '["***", "***"]' ELSE jsonb_build_array(_old -> n.key, n.value) END)
    INTO _changed
    FROM jsonb_each(_new) AS n
    WHERE n.value IS DISTINCT FROM _old -> n.key AND n.key <> ALL (_omitted);
    IF _changed IS NOT NULL THEN
        INSERT INTO audit_trail_log (table_name, row_id, tenant_customer_id, org_id, operation, changed, reason)
        VALUES (TG_TABLE_NAME, NEW.id, class.log_account(TG_TABLE_NAME, _new), (_new ->> 'org_id')::uuid, 'change', _changed, _new ->> 'result_message');
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION class.log_change() IS 'Writes a change outside the straight path to audit_trail_log; its arguments are the columns to mask.';

CREATE OR REPLACE FUNCTION class.log_account(p_table text, p_row jsonb) RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF p_row ? 'tenant_customer_id' THEN
        RETURN p_row ->> 'tenant_customer_id';
    END IF;
    -- What belongs to a customer is told to its account; only one of them, if it has several.
    RETURN (SELECT id FROM tenant_customer WHERE customer_id = (CASE p_table WHEN 'customer' THEN p_row ->> 'id' ELSE p_row ->> 'customer_id' END)::uuid ORDER BY id LIMIT 1);
END $$;
COMMENT ON FUNCTION class.log_account(text, jsonb) IS 'Whose row it is, for the log; NULL: the installation''s.';

CREATE OR REPLACE FUNCTION class.log_delete() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: nobody writes the log but through this.
DECLARE
    _old jsonb := to_jsonb(OLD) - TG_ARGV;
BEGIN
    INSERT INTO audit_trail_log (table_name, row_id, tenant_customer_id, org_id, operation, changed)
    VALUES (TG_TABLE_NAME, OLD.id, (_old ->> 'tenant_customer_id')::uuid, (_old ->> 'org_id')::uuid, 'delete', _old);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION class.log_delete() IS 'Writes a deleted row to audit_trail_log; its arguments are the columns to leave out.';

CREATE OR REPLACE FUNCTION class.log_partitions(p_months int DEFAULT 3) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
-- SECURITY DEFINER: the sweeper, which runs as a worker, makes them. UTC: whoever makes them, months meet at the same moment.
DECLARE
    _month timestamptz;
    _end timestamptz;
    _name text;
    _made int := 0;
BEGIN
    FOR _month IN
        SELECT date_trunc('month', engine_now()) + make_interval(months => n) FROM generate_series(0, p_months) AS n
        UNION SELECT date_trunc('month', logged_date) FROM audit_trail_log_default ORDER BY 1
    LOOP
        _name := 'audit_trail_log_' || to_char(_month, 'YYYY_MM');
        _end := _month + interval '1 month';
        CONTINUE WHEN to_regclass(_name) IS NOT NULL;
        -- Made apart and attached, which locks nobody out of the log; entries that came too early move there first.
        EXECUTE format('CREATE TABLE %I (LIKE audit_trail_log INCLUDING ALL)', _name);
        EXECUTE format('COMMENT ON TABLE %I IS %L', _name, 'Entries of audit_trail_log of ' || to_char(_month, 'YYYY-MM') || '.');
        EXECUTE format('WITH early AS (DELETE FROM audit_trail_log_default WHERE logged_date >= %L AND logged_date < %L RETURNING *) INSERT INTO %I TABLE early', _month, _end, _name);
        EXECUTE format('ALTER TABLE audit_trail_log ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', _name, _month, _end);
        _made := _made + 1;
    END LOOP;
    RETURN _made;
END $$;
COMMENT ON FUNCTION class.log_partitions(int) IS 'Makes the monthly partitions of audit_trail_log that are missing, from this month to p_months ahead and for entries in the default one; returns how many.';

CREATE OR REPLACE FUNCTION class.log_expire() RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
-- SECURITY DEFINER: the sweeper, which runs as a worker, drops them.
DECLARE
    _limit text := 'audit_trail_log_' || to_char(engine_now() - make_interval(months => setting_value('audit_retention_months')::int), 'YYYY_MM');
    _table text;
    _dropped int := 0;
BEGIN
    FOR _table IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'audit_trail_log'::regclass AND c.relname ~ '_\d{4}_\d\d$' AND c.relname < _limit
    LOOP
        EXECUTE format('DROP TABLE %I', _table);
        _dropped := _dropped + 1;
    END LOOP;
    RETURN _dropped;
END $$;
COMMENT ON FUNCTION class.log_expire() IS 'Drops partitions of audit_trail_log older than the setting audit_retention_months; returns how many.';

CREATE OR REPLACE FUNCTION class.replace_trigger(p_name text, p_table text, p_when text, p_call text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    EXECUTE format('CREATE OR REPLACE TRIGGER %I %s EXECUTE FUNCTION %s', p_name, replace(p_when, '{table}', quote_ident(p_table)), p_call);
END $$;
COMMENT ON FUNCTION class.replace_trigger(text, text, text, text) IS 'CREATE OR REPLACE TRIGGER with the table''s name filled in.';

-- Guards -------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION class.transition_check(p_machine text, p_id_function text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _cases text;
BEGIN
    SELECT string_agg(format('WHEN %s THEN {new} IN (%s)', class.state_literal(p_id_function, s.from_state), s.targets), ' ' ORDER BY s.from_state)
    INTO _cases
    FROM (
        SELECT from_state, string_agg(class.state_literal(p_id_function, to_state), ', ' ORDER BY to_state) AS targets
        FROM state_transition WHERE machine = p_machine AND from_state IS NOT NULL GROUP BY from_state
    ) AS s;
    RETURN format('(CASE {old} %s ELSE false END)', _cases);
END $$;
COMMENT ON FUNCTION class.transition_check(text, text) IS 'SQL text that is true when {old} may be followed by {new}.';

CREATE OR REPLACE FUNCTION class.state_literal(p_id_function text, p_state text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN quote_literal(CASE WHEN p_id_function IS NULL THEN p_state ELSE tc_id_from_name(p_id_function, p_state)::text END);
END $$;
COMMENT ON FUNCTION class.state_literal(text, text) IS 'A state as an SQL literal: its name, or the id of its type code.';

CREATE OR REPLACE FUNCTION class.final_states(p_machine text, p_id_function text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (
        SELECT string_agg(DISTINCT class.state_literal(p_id_function, t.to_state), ', ')
        FROM state_transition AS t
        WHERE t.machine = p_machine
            AND NOT EXISTS (SELECT FROM state_transition AS n WHERE n.machine = p_machine AND n.from_state = t.to_state)
    );
END $$;
COMMENT ON FUNCTION class.final_states(text, text) IS 'SQL list of the states nothing leaves.';

CREATE OR REPLACE FUNCTION class.attach_guard(p_machine text, p_column text DEFAULT 'status') RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _finals text := COALESCE(class.final_states(p_machine), 'NULL');
    _legal text := replace(replace(class.transition_check(p_machine), '{old}', 'OLD.' || p_column), '{new}', 'NEW.' || p_column);
    _starts text;
BEGIN
    SELECT string_agg(quote_literal(to_state), ', ' ORDER BY to_state) INTO _starts FROM state_transition WHERE machine = p_machine AND from_state IS NULL;
    EXECUTE format($template$
        CREATE OR REPLACE FUNCTION %1$I() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $body$
        BEGIN
            IF TG_OP = 'INSERT' THEN
                PERFORM refuse('PV422', '%2$s cannot begin as ' || NEW.%5$s, NEW.id::text, 'state_transition lists where it may begin');
            ELSIF OLD.%5$s IN (%4$s) OR (OLD.%5$s <> NEW.%5$s AND NOT %3$s) THEN
                PERFORM refuse('PV422', '%2$s cannot go from ' || OLD.%5$s || ' to ' || NEW.%5$s, OLD.id::text, 'rows in a final state never change; state_transition lists what may follow what');
            END IF;
            NEW.previous_%5$s := OLD.%5$s;
            RETURN NEW;
        END $body$ $template$, p_machine || '_guard', p_machine, _legal, _finals, p_column);
    EXECUTE format('COMMENT ON FUNCTION %I() IS %L', p_machine || '_guard', 'Generated from state_transition: refuses what is not listed there and notes the previous status.');
    PERFORM class.replace_trigger(p_machine || '_guard_tg', p_machine,
        format('BEFORE UPDATE ON {table} FOR EACH ROW WHEN (OLD.%3$s IN (%1$s) OR (OLD.%3$s <> NEW.%3$s AND (NEW.previous_%3$s IS DISTINCT FROM OLD.%3$s OR NOT %2$s)))', _finals, _legal, p_column), p_machine || '_guard()');
    PERFORM class.replace_trigger(p_machine || '_begin_tg', p_machine,
        format('BEFORE INSERT ON {table} FOR EACH ROW WHEN (NEW.%s NOT IN (%s))', p_column, _starts), p_machine || '_guard()');
END $$;
COMMENT ON FUNCTION class.attach_guard(text, text) IS 'Generates the guard of a table with a status (or other) column from state_transition.';

-- The generated path -------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION class.is_gated(p_table text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT FROM pg_attribute WHERE attrelid = quote_ident(p_table)::regclass AND attname = 'is_complete' AND NOT attisdropped);
END $$;
COMMENT ON FUNCTION class.is_gated(text) IS 'Whether rows of a kind wait for is_complete before their job is made.';

CREATE OR REPLACE FUNCTION class.render(p_table text, p_template text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _kind class.provision_kind := (SELECT k FROM class.provision_kind AS k WHERE k.table_name = p_table);
    _text text := replace(p_template, '{submit}', regexp_replace(class.submit_statement(), '\s+', ' ', 'g'));
BEGIN
    -- Lines that begin with {gate} or another condition are there only for kinds that have it.
    _text := regexp_replace(_text, '^\s*\{gate\}' || CASE WHEN class.is_gated(p_table) THEN '' ELSE '[^\n]*\n' END, '', 'ng');
    _text := regexp_replace(_text, '^\s*\{success\}' || CASE WHEN _kind.has_success THEN '' ELSE '[^\n]*\n' END, '', 'ng');
    _text := regexp_replace(_text, '^\s*\{failure\}' || CASE WHEN _kind.has_failure THEN '' ELSE '[^\n]*\n' END, '', 'ng');
    _text := regexp_replace(_text, '^\s*\{children\}' || CASE WHEN _kind.has_children THEN '' ELSE '[^\n]*\n' END, '', 'ng');
    _text := replace(_text, '{closing}', CASE WHEN class.is_gated(p_table) THEN ' OR (OLD.is_complete AND NOT NEW.is_complete)' ELSE '' END);
    _text := replace(_text, '{legal}', replace(replace(class.transition_check('provision', 'provision_status'), '{old}', 'OLD.status_id'), '{new}', 'NEW.status_id'));
    _text := replace(_text, '{finals}', class.final_states('provision', 'provision_status'));
    _text := replace(_text, '{providers}', quote_literal(_kind.providers));
    _text := replace(_text, '{job_type}', quote_literal(_kind.job_type));
    _text := replace(_text, '{forget}', COALESCE((SELECT string_agg(format('NEW.%I := NULL;', c), ' ') FROM unnest(_kind.secret_columns) AS c), ''));
    _text := replace(_text, '{forgotten}', COALESCE((SELECT string_agg(format(', %I = NULL', c), '') FROM unnest(_kind.secret_columns) AS c), ''));
    _text := replace(_text, '{unforgotten}', format(' OR (NEW.status_id IN (%s) AND (NEW.finished_date IS NULL%s))', class.final_states('provision', 'provision_status'),
        (SELECT string_agg(format(' OR NEW.%I IS NOT NULL', c), '') FROM unnest(_kind.secret_columns) AS c)));
    _text := replace(_text, '{results}', class.result_assignments(_kind));
    SELECT regexp_replace(_text, '\{name:([A-Za-z_.]+)\}', '(CASE \1 ' || string_agg(format('WHEN %L THEN %L', id, name), ' ') || ' END)', 'g') INTO _text FROM provision_status;
    _text := regexp_replace(_text, '\{is:([a-z_]+)\}', 'tc_id_from_name(''provision_status'', ''\1'')', 'g');
    RETURN replace(_text, '{table}', p_table);
END $$;
COMMENT ON FUNCTION class.render(text, text) IS 'Fills a template for one kind of provisioning.';

CREATE OR REPLACE FUNCTION class.submit_statement() RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $outer$
BEGIN
    -- From the rows of the statement, which are at hand. OFFSET 0: one look-up per row along the key, whatever the planner
    -- believes about the sizes of tables.
    RETURN $$
        INSERT INTO job (id, type, tenant_customer_id, org_id, accreditation_id, reference_table, reference_id, data, priority, max_attempts, held_at, traceparent)
        SELECT n.job_id, {job_type}, n.tenant_customer_id, n.org_id, n.accreditation_id, '{table}', n.id, r.data, COALESCE(s.priority, 5),
            (SELECT max_attempts FROM job_type WHERE name = {job_type}), CASE WHEN n.accreditation_id = ANY (_manual) THEN engine_now() END, s.traceparent
        FROM new_rows n
        JOIN {table}_job(_ids) r ON r.provision_id = n.id
        LEFT JOIN LATERAL (SELECT p.* FROM order_item_plan p WHERE p.id = n.order_item_plan_ids[1] OFFSET 0) s ON true
        WHERE n.order_item_plan_ids = '{}' OR (s.provision_id = n.id AND s.tenant_customer_id = n.tenant_customer_id AND s.status = 'processing');
    $$;
END $outer$;
COMMENT ON FUNCTION class.submit_statement() IS 'The statement by which the triggers of a kind make the jobs of rows that are ready.';

CREATE OR REPLACE FUNCTION class.manual_of(p_accreditations uuid[]) RETURNS uuid[]
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN ARRAY(SELECT id FROM accreditation WHERE id = ANY (p_accreditations) AND provider = 'manual');
END $$;
COMMENT ON FUNCTION class.manual_of(uuid[]) IS 'Those of the accreditations where people work: their jobs are held until a person completes them.';

CREATE OR REPLACE FUNCTION class.result_assignments(p_kind class.provision_kind) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN COALESCE((
        SELECT string_agg(format(
            -- The text of a JSON array is none of an SQL array.
            CASE t.typcategory WHEN 'A' THEN ', %1$I = COALESCE((SELECT r.%1$I FROM jsonb_to_record(j.result) AS r (%1$I %2$s)), p.%1$I)' ELSE ', %1$I = COALESCE((j.result ->> %1$L)::%2$s, p.%1$I)' END,
            a.attname, format_type(a.atttypid, a.atttypmod)), '' ORDER BY a.attnum)
        FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
        WHERE a.attrelid = quote_ident(p_kind.table_name)::regclass AND a.attname = ANY (p_kind.result_columns)
    ), '');
END $$;
COMMENT ON FUNCTION class.result_assignments(class.provision_kind) IS 'SET clauses that take a kind''s result columns from its job''s result.';

CREATE OR REPLACE FUNCTION class.generate(p_table text, p_function text, p_signature text, p_comment text, p_body text, p_settings text DEFAULT '') RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    -- SECURITY DEFINER: a tenant's insert must write jobs, logs and plans that no tenant may write.
    EXECUTE format('CREATE OR REPLACE FUNCTION %I%s LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp %s AS %L',
        p_table || p_function, p_signature, p_settings, class.render(p_table, p_body));
    EXECUTE format('COMMENT ON FUNCTION %I%s IS %L', p_table || p_function, split_part(p_signature, ' RETURNS', 1), 'Generated: ' || p_comment);
END $$;
COMMENT ON FUNCTION class.generate(text, text, text, text, text, text) IS 'Creates one generated function of a kind.';

CREATE OR REPLACE FUNCTION class.check_caller() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
-- Not SECURITY DEFINER: it asks whether row-level security holds for the one who inserts.
BEGIN
    IF NOT row_security_active(TG_RELID) OR caller_sees_all() THEN
        RETURN NEW;
    ELSIF NEW.tenant_customer_id IS DISTINCT FROM caller_customer() THEN
        PERFORM refuse('PV404', 'customer not found', 'tenant_customer_id ' || COALESCE(NEW.tenant_customer_id::text, 'is missing'), 'insert for your own account');
    ELSIF caller_org() IS NOT NULL AND NEW.org_id IS DISTINCT FROM caller_org() THEN
        PERFORM refuse('PV404', 'org not found', 'org_id ' || COALESCE(NEW.org_id::text, 'is missing'), 'insert for your own org');
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION class.check_caller() IS 'Refuses rows that are not the caller''s before anything is said about them; the policies would, but only after every other rule had its say.';

CREATE OR REPLACE FUNCTION class.check_org() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the one who inserts need not see the org. The lock is the foreign key's, taken before the question.
BEGIN
    PERFORM FROM org WHERE id = NEW.org_id AND tenant_customer_id = NEW.tenant_customer_id AND status = 'active' FOR KEY SHARE;
    IF NOT FOUND THEN
        PERFORM refuse('PV404', 'org not found', 'org_id ' || NEW.org_id, 'name an org of the customer that was not removed');
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION class.check_org() IS 'Refuses rows for an org that was removed, or is another customer''s.';

CREATE OR REPLACE FUNCTION class.attach_caller_check(p_table text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _first text;
BEGIN
    -- What comes from a plan step was checked with its order, and no caller can name one.
    PERFORM class.replace_trigger(p_table || '_caller_tg', p_table, 'BEFORE INSERT ON {table} FOR EACH ROW WHEN (NEW.order_item_plan_ids = ''{}'')', 'class.check_caller()');
    PERFORM class.replace_trigger(p_table || '_org_tg', p_table, 'BEFORE INSERT ON {table} FOR EACH ROW WHEN (NEW.order_item_plan_ids = ''{}'' AND NEW.org_id IS NOT NULL)', 'class.check_org()');
    -- PostgreSQL fires triggers by name; 7: before insert, for each row.
    SELECT min(tgname) INTO _first FROM pg_trigger WHERE tgrelid = quote_ident(p_table)::regclass AND NOT tgisinternal AND tgtype & 7 = 7;
    IF _first <> p_table || '_caller_tg' THEN
        PERFORM refuse('PV422', 'a trigger comes before the check of the caller', _first, 'give it a name that sorts after ' || p_table || '_caller_tg');
    END IF;
END $$;
COMMENT ON FUNCTION class.attach_caller_check(text) IS 'Has class.check_caller() see every row of a kind first, and class.check_org() those that name an org.';

CREATE OR REPLACE FUNCTION class.generate_row_triggers(p_table text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $outer$
BEGIN
    PERFORM class.attach_caller_check(p_table);
    PERFORM class.generate(p_table, '_guard', '() RETURNS trigger', 'refuses illegal transitions, keeps final rows as they are, opens the gate, notes the previous status.', $$
        BEGIN
            IF OLD.status_id IN ({finals}) THEN
                PERFORM refuse('PV422', '{table} row is final', OLD.id::text || ' is ' || {name:OLD.status_id}, 'insert a new row');
            END IF;
            {gate}IF OLD.is_complete AND NOT NEW.is_complete THEN
            {gate}    PERFORM refuse('PV422', 'the gate of {table} stays open', OLD.id::text, 'its job was made when is_complete was set');
            {gate}END IF;
            {gate}IF NEW.is_complete AND NOT OLD.is_complete THEN
            {gate}    NEW.status_id := {is:processing};
            {gate}    NEW.processing_date := engine_now();
            {gate}END IF;
            IF NEW.status_id <> OLD.status_id AND NOT {legal} THEN
                PERFORM refuse('PV422', '{table} cannot go from ' || {name:OLD.status_id} || ' to ' || COALESCE({name:NEW.status_id}, 'an unknown status'), OLD.id::text, 'state_transition lists what may follow what');
            END IF;
            IF NEW.status_id IN ({finals}) THEN
                NEW.finished_date := engine_now();
                {forget}
            END IF;
            NEW.previous_status_id := OLD.status_id;
            NEW.updated_date := engine_now();
            NEW.updated_by := caller_name();
            RETURN NEW;
        END $$);
    PERFORM class.replace_trigger(p_table || '_guard_tg', p_table, class.render(p_table, 'BEFORE UPDATE ON {table} FOR EACH ROW WHEN (OLD.status_id IN ({finals})'
        ' OR NEW.previous_status_id IS DISTINCT FROM OLD.status_id OR (NEW.status_id <> OLD.status_id AND NOT {legal}){unforgotten}{closing})'), p_table || '_guard()');
    PERFORM class.replace_trigger(p_table || '_validate_tg', p_table, 'BEFORE INSERT ON {table} FOR EACH ROW', p_table || '_validate()');
    IF class.is_gated(p_table) THEN
        PERFORM class.replace_trigger(p_table || '_gate_tg', p_table, 'BEFORE UPDATE OF is_complete ON {table} FOR EACH ROW WHEN (NEW.is_complete AND NOT OLD.is_complete)', p_table || '_validate()');
    END IF;
END $outer$;
COMMENT ON FUNCTION class.generate_row_triggers(text) IS 'Generates what happens to each row of a kind before it is stored.';

CREATE OR REPLACE FUNCTION class.fixed_plans() RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN 'SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_memoize = off SET jit = off';
END $$;
COMMENT ON FUNCTION class.fixed_plans() IS 'Settings of functions whose plans are made once and along keys, whatever was in the tables when they were made; they hold for all these call.';

CREATE OR REPLACE FUNCTION class.check_accredited(p_pairs uuid[], p_providers text[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _accreditation uuid;
BEGIN
    -- What a foreign key would do for each row: kept from being deleted until the rows are there.
    PERFORM FROM accreditation WHERE id = ANY (ARRAY(SELECT p_pairs[n][2] FROM generate_subscripts(p_pairs, 1) AS n)) ORDER BY id FOR KEY SHARE;
    SELECT p_pairs[n][2] INTO _accreditation FROM generate_subscripts(p_pairs, 1) AS n
    LEFT JOIN tenant_customer AS c ON c.id = p_pairs[n][1] AND c.is_active
    LEFT JOIN accreditation AS a ON a.id = p_pairs[n][2] AND a.tenant_id = c.tenant_id AND a.is_active AND a.provider = ANY (p_providers)
    WHERE a.id IS NULL LIMIT 1;
    IF FOUND THEN
        PERFORM refuse('PV404', 'accreditation not found', 'accreditation_id ' || COALESCE(_accreditation::text, 'is missing'), 'use an active accreditation of your tenant at one of ' || p_providers::text);
    END IF;
END $$;
COMMENT ON FUNCTION class.check_accredited(uuid[], text[]) IS 'Keeps the accreditations from being deleted, and refuses pairs of a customer and an accreditation unless both are active, of one tenant, and the accreditation is at one of the providers.';

CREATE OR REPLACE FUNCTION class.accreditation_used() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: whoever deletes an accreditation need not be allowed to read what was provisioned there.
DECLARE
    _table regclass := (SELECT tableoid FROM class.provision WHERE accreditation_id = OLD.id LIMIT 1);
BEGIN
    IF _table IS NOT NULL THEN
        PERFORM refuse('PV409', 'the accreditation is in use', format('%s, by rows of %s', OLD.name, _table), 'history stays: set is_active to false instead');
    END IF;
    RETURN OLD;
END $$;
COMMENT ON FUNCTION class.accreditation_used() IS 'Refuses to delete an accreditation that rows of any kind name. With class.check_accredited() it is their foreign key, which would be looked up for each row: a fortieth of an order''s time.';
SELECT class.replace_trigger('accreditation_used_tg', 'accreditation', 'BEFORE DELETE ON {table} FOR EACH ROW', 'class.accreditation_used()');

CREATE OR REPLACE FUNCTION class.generate_after_insert(p_table text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $outer$
BEGIN
    PERFORM class.generate(p_table, '_after_insert', '() RETURNS trigger', 'checks and logs the rows of a statement and makes their jobs.', $$
        DECLARE
            _row record;
            _manual uuid[] := class.manual_of(ARRAY(SELECT DISTINCT accreditation_id FROM new_rows));
            _ids uuid[];
            _is_odd boolean;
            _made int := 0;
        BEGIN
            SELECT n.id INTO _row FROM new_rows n WHERE n.status_id NOT IN ({is:pending}, {is:processing}) LIMIT 1;
            IF FOUND THEN
                PERFORM refuse('PV422', '{table} begins as pending or processing', _row.id::text, 'leave status_id to the engine');
            END IF;
            PERFORM class.check_accredited(ARRAY(SELECT DISTINCT ARRAY[n.tenant_customer_id, n.accreditation_id] FROM new_rows n), {providers});
            INSERT INTO audit_trail_log (table_name, row_id, tenant_customer_id, org_id, operation, to_state)
            SELECT '{table}', id, tenant_customer_id, org_id, 'insert', {name:status_id} FROM new_rows;
            SELECT array_agg(id) FILTER (WHERE status_id = {is:processing}), bool_or(order_item_plan_ids <> '{}' AND (status_id = {is:pending} OR cardinality(order_item_plan_ids) > 1))
            INTO _ids, _is_odd FROM new_rows;
            IF _ids IS NOT NULL THEN
                {submit}
                GET DIAGNOSTICS _made = ROW_COUNT;
            END IF;
            -- A row without a job names a step that is none of its own, or several, or has no job yet.
            IF _is_odd OR _made < cardinality(_ids) THEN
                PERFORM refuse('PV422', 'no such open plan step of this customer', 'order_item_plan_ids is ' || n.order_item_plan_ids::text, 'leave order_item_plan_ids empty; orders fill it')
                FROM new_rows n WHERE n.order_item_plan_ids <> '{}' AND cardinality(n.order_item_plan_ids) <> (
                    SELECT count(*) FROM order_item_plan p WHERE p.id = ANY (n.order_item_plan_ids)
                    AND p.provision_id = n.id AND p.tenant_customer_id = n.tenant_customer_id AND p.status = 'processing');
            END IF;
            RETURN NULL;
        END $$, class.fixed_plans());
    PERFORM class.replace_trigger(p_table || '_after_insert_tg', p_table, 'AFTER INSERT ON {table} REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT', p_table || '_after_insert()');
END $outer$;
COMMENT ON FUNCTION class.generate_after_insert(text) IS 'Generates what follows when rows of a kind were inserted.';

CREATE OR REPLACE FUNCTION class.generate_after_update(p_table text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $outer$
BEGIN
    PERFORM class.generate(p_table, '_after_update', '() RETURNS trigger', 'logs transitions and takes final rows home.', $$
        DECLARE
            _ids uuid[];
            {gate}_manual uuid[];
            _completed uuid[];
            _ended uuid[];
        BEGIN
            INSERT INTO audit_trail_log (table_name, row_id, tenant_customer_id, org_id, operation, from_state, to_state, reason, claim_no)
            SELECT '{table}', n.id, n.tenant_customer_id, n.org_id, 'transition', {name:n.previous_status_id}, {name:n.status_id}, n.result_message, n.claim_no
            FROM new_rows n WHERE n.previous_status_id <> n.status_id;
            SELECT array_agg(id) FILTER (WHERE status_id = {is:processing} AND previous_status_id = {is:pending}),
                array_agg(id) FILTER (WHERE status_id = {is:completed}),
                array_agg(id) FILTER (WHERE status_id IN ({is:failed}, {is:cancelled}))
            INTO _ids, _completed, _ended FROM new_rows;
            {gate}IF _ids IS NOT NULL THEN
            {gate}    PERFORM class.check_accredited(ARRAY(SELECT DISTINCT ARRAY[n.tenant_customer_id, n.accreditation_id] FROM new_rows n WHERE n.id = ANY (_ids)), {providers});
            {gate}    _manual := class.manual_of(ARRAY(SELECT DISTINCT accreditation_id FROM new_rows n WHERE n.id = ANY (_ids)));
            {gate}    {submit}
            {gate}END IF;
            IF _completed IS NULL AND _ended IS NULL THEN
                RETURN NULL;
            END IF;
            {success}IF _completed IS NOT NULL THEN
            {success}    PERFORM {table}_success(_completed);
            {success}END IF;
            {failure}IF _ended IS NOT NULL THEN
            {failure}    PERFORM {table}_failure(_ended);
            {failure}END IF;
            DELETE FROM object_operation WHERE provision_id = ANY (_completed || _ended);
            UPDATE order_item_plan p SET status = {name:n.status_id}, previous_status = p.status, reason = CASE WHEN n.status_id <> {is:completed} THEN n.result_message END, finished_date = n.finished_date
            FROM new_rows n CROSS JOIN unnest(n.order_item_plan_ids) AS x WHERE p.id = x AND n.status_id IN ({finals});
            RETURN NULL;
        END $$, class.fixed_plans());
    PERFORM class.replace_trigger(p_table || '_after_update_tg', p_table, 'AFTER UPDATE ON {table} REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT', p_table || '_after_update()');
END $outer$;
COMMENT ON FUNCTION class.generate_after_update(text) IS 'Generates what follows when rows of a kind were updated.';

CREATE OR REPLACE FUNCTION class.generate_transfers(p_table text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $outer$
BEGIN
    PERFORM class.generate(p_table, '_settle', '(p_jobs uuid[]) RETURNS void', 'brings the outcome of jobs to their rows.', $$
        BEGIN
            UPDATE {table} p SET status_id = CASE j.status WHEN 'completed' THEN {is:completed} WHEN 'failed' THEN {is:failed} ELSE {is:cancelled} END,
                previous_status_id = p.status_id, finished_date = j.finished_date, updated_date = j.finished_date, updated_by = caller_name(){forgotten},
                result_message = j.result_message, result_data = j.result, roid = COALESCE(j.result ->> 'roid', p.roid),
                provisioned_date = CASE WHEN j.status = 'completed' THEN j.finished_date END, job_attempts = j.attempts, next_attempt_date = NULL, claim_no = j.claim_no{results}
            FROM job j WHERE j.id = ANY (p_jobs) AND p.id = j.reference_id;
        END $$);
    PERFORM class.generate(p_table, '_mirror', '(p_jobs uuid[], p_pending uuid[]) RETURNS void', 'shows on the rows that their jobs look again later, p_pending of them because the other side decides.', $$
        BEGIN
            UPDATE {table} p SET job_attempts = j.attempts, next_attempt_date = j.start_date, claim_no = j.claim_no, result_message = j.result_message, previous_status_id = p.status_id,
                updated_date = engine_now(), updated_by = caller_name(),
                status_id = CASE WHEN j.id = ANY (p_pending) THEN {is:pending_action} ELSE p.status_id END
            FROM job j WHERE j.id = ANY (p_jobs) AND p.id = j.reference_id;
        END $$);
    PERFORM class.generate_from_plan(p_table);
END $outer$;
COMMENT ON FUNCTION class.generate_transfers(text) IS 'Generates what carries rows from plan steps to jobs and outcomes back.';

CREATE OR REPLACE FUNCTION class.generate_from_plan(p_table text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $outer$
DECLARE
    _engine constant text[] := '{id,tenant_customer_id,org_id,order_item_plan_ids,status_id,previous_status_id,job_id,roid,provisioned_date,result_message,result_data,processing_date,finished_date,job_attempts,next_attempt_date,claim_no,created_date,created_by,updated_date,updated_by}';
    _columns text;
    _values text;
    _types text;
BEGIN
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum), string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum),
        string_agg(CASE WHEN d.adbin IS NULL THEN format('r.%I', a.attname) ELSE format('COALESCE(r.%I, %s)', a.attname, pg_get_expr(d.adbin, d.adrelid)) END, ', ' ORDER BY a.attnum)
    INTO _columns, _types, _values
    FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = quote_ident(p_table)::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attname <> ALL (_engine);
    PERFORM class.generate(p_table, '_from_plan', '(p_plans uuid[]) RETURNS void', 'turns plan steps into rows.', format($$
        BEGIN
            INSERT INTO {table} (id, job_id, tenant_customer_id, org_id, order_item_plan_ids, %s)
            SELECT s.provision_id, new_id(s.provision_id, 'job'), s.tenant_customer_id, s.org_id, ARRAY[s.id], %s
            FROM order_item_plan s CROSS JOIN LATERAL jsonb_to_record(s.data) AS r (%s) WHERE s.id = ANY (p_plans);
            {children}PERFORM {table}_children(p_plans);
        END $$, _columns, _values, _types));
END $outer$;
COMMENT ON FUNCTION class.generate_from_plan(text) IS 'Generates the function that turns a kind''s plan steps into rows, defaults included.';

CREATE OR REPLACE FUNCTION class.attach_audit(p_table text, p_secrets text[] DEFAULT '{}') RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $outer$
DECLARE
    _columns text[] := ARRAY(SELECT attname FROM pg_attribute WHERE attrelid = quote_ident(p_table)::regclass AND attnum > 0 AND NOT attisdropped);
    _arguments text := COALESCE((SELECT string_agg(quote_literal(s), ', ') FROM unnest(p_secrets) AS s), '');
BEGIN
    IF 'status_id' <> ALL (_columns) THEN
        EXECUTE format($$
            CREATE OR REPLACE FUNCTION %1$I() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $body$
            BEGIN
                INSERT INTO audit_trail_log (table_name, row_id, tenant_customer_id, org_id, operation, to_state)
                SELECT %2$L, id, %3$s, %4$s, 'insert', %5$s FROM new_rows;
                RETURN NULL;
            END $body$ $$, p_table || '_log_insert', p_table,
            CASE WHEN 'tenant_customer_id' = ANY (_columns) THEN 'tenant_customer_id' ELSE 'NULL::uuid' END,
            CASE WHEN 'org_id' = ANY (_columns) THEN 'org_id' ELSE 'NULL::uuid' END,
            CASE WHEN 'status' = ANY (_columns) THEN 'status' WHEN 'state' = ANY (_columns) THEN 'state' ELSE 'NULL' END);
        EXECUTE format('COMMENT ON FUNCTION %I() IS %L', p_table || '_log_insert', 'Generated: logs inserted rows.');
        PERFORM class.replace_trigger(p_table || '_log_insert_tg', p_table, 'AFTER INSERT ON {table} REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT', quote_ident(p_table || '_log_insert') || '()');
    END IF;
    -- A transition is logged by the path itself; what is left is what happened outside it.
    PERFORM class.replace_trigger(p_table || '_log_change_tg', p_table, 'AFTER UPDATE ON {table} FOR EACH ROW'
        || CASE WHEN 'status_id' = ANY (_columns) THEN ' WHEN (OLD.status_id = NEW.status_id)' WHEN 'open_count' = ANY (_columns) THEN ' WHEN (OLD.status = NEW.status AND OLD.open_count = NEW.open_count)' ELSE '' END,
        'class.log_change(' || _arguments || ')');
    PERFORM class.replace_trigger(p_table || '_log_delete_tg', p_table, 'AFTER DELETE ON {table} FOR EACH ROW', 'class.log_delete(' || _arguments || ')');
END $outer$;
COMMENT ON FUNCTION class.attach_audit(text, text[]) IS 'Makes a child of class.audit_trail write audit_trail_log.';

CREATE OR REPLACE FUNCTION class.attach_triggers() RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _kind class.provision_kind;
    _table text;
    _function text;
BEGIN
    PERFORM class.attach_guard(m) FROM unnest('{order,order_item,order_item_plan,job,customer}'::text[]) AS m;
    PERFORM class.attach_guard(m, 'state') FROM unnest('{membership,cluster,capacity_request}'::text[]) AS m;
    FOR _kind IN SELECT * FROM class.provision_kind ORDER BY table_name LOOP
        FOREACH _function IN ARRAY ARRAY['_validate', '_job'] || CASE WHEN _kind.has_success THEN '{_success}' ELSE '{}'::text[] END || CASE WHEN _kind.has_failure THEN '{_failure}' ELSE '{}'::text[] END
            || CASE WHEN _kind.has_children THEN '{_children}' ELSE '{}'::text[] END || CASE WHEN _kind.has_lock THEN '{_lock}' ELSE '{}'::text[] END
        LOOP
            IF NOT EXISTS (SELECT FROM pg_proc WHERE proname = _kind.table_name || _function AND pronamespace = 'public'::regnamespace) THEN
                PERFORM refuse('PV422', format('%s has no function %s%1$s', _kind.table_name, _function), _kind.table_name || _function, 'write it under stored-procedures/, or adopt the table without it');
            END IF;
        END LOOP;
        PERFORM class.generate_row_triggers(_kind.table_name);
        PERFORM class.generate_transfers(_kind.table_name);
        PERFORM class.generate_after_insert(_kind.table_name);
        PERFORM class.generate_after_update(_kind.table_name);
    END LOOP;
    FOR _table IN
        WITH RECURSIVE child AS (
            SELECT inhrelid FROM pg_inherits WHERE inhparent = 'class.audit_trail'::regclass
            UNION SELECT i.inhrelid FROM pg_inherits AS i JOIN child ON i.inhparent = child.inhrelid)
        SELECT c.relname FROM child JOIN pg_class AS c ON c.oid = child.inhrelid ORDER BY c.relname
    LOOP
        PERFORM class.attach_audit(_table, COALESCE((SELECT secret_columns FROM class.provision_kind WHERE table_name = _table), (SELECT columns FROM class.audit_mask WHERE table_name = _table), '{}'));
    END LOOP;
    PERFORM class.log_partitions();
END $$;
COMMENT ON FUNCTION class.attach_triggers() IS 'Generates guards, paths and logs of all tables anew; runs at the end of every load of the procedures.';
