-- Accreditations, log-ins of other systems, and API keys.

CREATE OR REPLACE FUNCTION accreditation_for(p_tenant_customer uuid, p_name text, p_providers text[]) RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _ids uuid[];
    _idle text;
    _several text;
BEGIN
    -- A desk where people work is taken only if it is named or there is nothing else.
    SELECT array_agg(a.id ORDER BY a.provider = 'manual', a.name) FILTER (WHERE a.is_active),
        string_agg(a.name, ', ' ORDER BY a.name) FILTER (WHERE NOT a.is_active AND (p_name IS NOT NULL OR a.provider <> 'manual')),
        CASE WHEN count(*) FILTER (WHERE a.is_active AND a.provider <> 'manual') > 1 THEN string_agg(a.name, ', ' ORDER BY a.name) FILTER (WHERE a.is_active) END
    INTO _ids, _idle, _several
    FROM tenant_customer AS c JOIN accreditation AS a ON a.tenant_id = c.tenant_id
    WHERE c.id = p_tenant_customer AND a.provider = ANY (p_providers) AND (p_name IS NULL OR a.name = p_name);
    IF _several IS NOT NULL THEN
        PERFORM refuse('PV422', 'several accreditations could do it', _several, 'name one of them in accreditation');
    ELSIF _idle IS NOT NULL AND (_ids IS NULL OR (SELECT provider = 'manual' FROM accreditation WHERE id = _ids[1])) THEN
        PERFORM refuse('PV409', 'the accreditation is not active', _idle, 'wait until it is active again, or name another one in accreditation');
    ELSIF _ids IS NULL THEN
        PERFORM refuse('PV404', 'accreditation not found', COALESCE(p_name, 'none at ' || array_to_string(p_providers, ', ')), 'name an active accreditation of your tenant');
    END IF;
    RETURN _ids[1];
END $$;
COMMENT ON FUNCTION accreditation_for(uuid, text, text[]) IS 'The accreditation of a customer''s tenant with that name, or the only one at these providers.';

CREATE OR REPLACE FUNCTION accreditation_scheduled() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: whoever adds an accreditation need not be allowed to write the schedule.
BEGIN
    INSERT INTO schedule (name, job_type, accreditation_id, every, next_date)
    SELECT 'reconcile ' || a.id, 'reconcile', a.id, interval '1 hour', engine_now() + interval '1 hour' FROM new_rows AS a WHERE a.provider <> 'manual';
    RETURN NULL;
END $$;
COMMENT ON FUNCTION accreditation_scheduled() IS 'Every accreditation is reconciled once an hour.';
SELECT class.replace_trigger('accreditation_scheduled_tg', 'accreditation', 'AFTER INSERT ON {table} REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT', 'accreditation_scheduled()');

CREATE OR REPLACE FUNCTION accreditation_queued() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: whoever adds an accreditation need not be allowed to write the queue.
BEGIN
    INSERT INTO job_lane (lane, priority) SELECT a.id, p FROM new_rows AS a CROSS JOIN generate_series(0, 9) AS p;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION accreditation_queued() IS 'Every accreditation has a lane for each priority. Made by the first job of each, a lane would make all others wait for that job''s transaction.';
SELECT class.replace_trigger('accreditation_queued_tg', 'accreditation', 'AFTER INSERT ON {table} REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT', 'accreditation_queued()');

CREATE OR REPLACE FUNCTION accreditation_hold(p_accreditation uuid, p_reason text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: for operators, who have EXECUTE and no table rights.
BEGIN
    IF COALESCE(p_reason, '') = '' THEN
        PERFORM refuse('PV400', 'why is it held?', 'no reason given', 'SELECT accreditation_hold(id, ''registry down until 6 o''''clock'')');
    END IF;
    UPDATE accreditation SET held_date = COALESCE(held_date, engine_now()), held_reason = p_reason, updated_date = engine_now(), updated_by = caller_name() WHERE id = p_accreditation;
    IF NOT FOUND THEN
        PERFORM refuse('PV404', 'accreditation not found', p_accreditation::text, 'SELECT * FROM v_accreditation');
    END IF;
    RETURN 'held';
END $$;
COMMENT ON FUNCTION accreditation_hold(uuid, text) IS 'Has all jobs of an accreditation wait in their queue until accreditation_release(); what workers have in hand goes on. Held already: changes the reason.';

CREATE OR REPLACE FUNCTION accreditation_release(p_accreditation uuid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: for operators, who have EXECUTE and no table rights.
BEGIN
    UPDATE accreditation SET held_date = NULL, held_reason = NULL, updated_date = engine_now(), updated_by = caller_name() WHERE id = p_accreditation AND held_date IS NOT NULL;
    IF NOT FOUND THEN
        PERFORM refuse('PV409', 'the accreditation is not held', p_accreditation::text, 'SELECT * FROM v_accreditation');
    END IF;
    PERFORM job_wake();
    RETURN 'released';
END $$;
COMMENT ON FUNCTION accreditation_release(uuid) IS 'Lets the jobs of a held accreditation go.';

CREATE OR REPLACE FUNCTION integration_login_limited() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _name text;
    _value text;
BEGIN
    -- Settings of the group are not inherited, and a transaction left open keeps what it has locked from everybody else.
    FOR _name, _value IN VALUES ('statement_timeout', '30s'), ('lock_timeout', '2s'), ('idle_in_transaction_session_timeout', '30s') LOOP
        IF NOT EXISTS (
            SELECT FROM pg_db_role_setting AS s JOIN pg_roles AS r ON r.oid = s.setrole CROSS JOIN unnest(s.setconfig) AS c
            WHERE r.rolname = NEW.login AND split_part(c, '=', 1) = _name)
        THEN
            EXECUTE format('ALTER ROLE %I SET %I = %L', NEW.login, _name, _value);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION integration_login_limited() IS 'Gives the log-in of another system time-outs, unless it has some of its own.';
SELECT class.replace_trigger('integration_login_limited_tg', 'integration_login', 'AFTER INSERT OR UPDATE OF login ON {table} FOR EACH ROW', 'integration_login_limited()');

CREATE OR REPLACE FUNCTION api_key_create(p_tenant_customer uuid, p_name text, p_org uuid DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: for operators, who have EXECUTE and no table rights.
DECLARE
    _key constant text := substr(encode(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 'hex'), 1, 40);
BEGIN
    INSERT INTO api_key (tenant_customer_id, org_id, name, prefix, key_hash, expires_date)
    VALUES (p_tenant_customer, p_org, p_name, left(_key, 8), sha256(convert_to(_key, 'UTF8')), engine_now() + interval '90 days');
    RETURN _key;
END $$;
COMMENT ON FUNCTION api_key_create(uuid, text, uuid) IS 'Makes an API key of 40 hex digits, good for 90 days, and shows it this once.';

CREATE OR REPLACE FUNCTION api_key_caller(p_key_hash bytea) RETURNS TABLE (tenant_customer_id uuid, org_id uuid, name text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the API must recognise a key before it has a caller.
BEGIN
    RETURN QUERY
    SELECT k.tenant_customer_id, k.org_id, k.name FROM api_key AS k JOIN tenant_customer AS c ON c.id = k.tenant_customer_id AND c.is_active
    WHERE k.key_hash = p_key_hash AND k.revoked_date IS NULL AND k.expires_date > engine_now();
END $$;
COMMENT ON FUNCTION api_key_caller(bytea) IS 'Whose API key this is, by its SHA-256; no row: unknown, expired or revoked.';
