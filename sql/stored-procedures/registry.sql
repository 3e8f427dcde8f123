-- What registries tell in their message queues. registry_message_take() stores a message once, before the worker acknowledges
-- it, and does at once what follows from it: jobs that wait for the other side look, names are renewed, wanted or gone.

CREATE OR REPLACE FUNCTION registry_message_take(p_job uuid, p_claim_no bigint, p_message jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: messages are written only through here.
DECLARE
    _message registry_message;
BEGIN
    PERFORM effect_fence(p_job, p_claim_no);
    INSERT INTO registry_message (accreditation_id, message_id, queued_date, text, kind, data, xml)
    SELECT j.accreditation_id, m.message_id, m.queued_date, m.text, m.kind, m.data, m.xml
    FROM job AS j CROSS JOIN jsonb_to_record(p_message) AS m (message_id text, queued_date timestamptz, text text, kind text, data jsonb, xml text) WHERE j.id = p_job
    ON CONFLICT DO NOTHING RETURNING * INTO _message;
    IF _message.id IS NULL THEN
        RETURN false;
    END IF;
    CASE _message.kind
        WHEN 'pending_action' THEN PERFORM registry_message_decided(_message);
        WHEN 'transfer' THEN PERFORM registry_message_transfer(_message);
        WHEN 'domain' THEN PERFORM registry_message_domain(_message);
        ELSE NULL;
    END CASE;
    RETURN true;
END $$;
COMMENT ON FUNCTION registry_message_take(uuid, bigint, jsonb) IS 'Stores a message of a registry and does what follows from it; false: it was there already.';

CREATE OR REPLACE FUNCTION registry_message_decided(p_message registry_message) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _trid constant text := p_message.data ->> 'cl_trid';
BEGIN
    -- The command had the token of its effect as client transaction id.
    IF _trid ~ '^pv-[0-9a-f]{32}$' THEN
        PERFORM job_poke(ARRAY(SELECT job_id FROM effect WHERE token = substr(_trid, 4)::uuid));
    END IF;
END $$;
COMMENT ON FUNCTION registry_message_decided(registry_message) IS 'The registry has decided about a command: its job looks now.';

CREATE OR REPLACE FUNCTION registry_message_transfer(p_message registry_message) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _name constant text := p_message.data ->> 'name';
    _status constant text := p_message.data ->> 'status';
    _by constant text := p_message.data ->> 'requested_by';
    _is_ours constant boolean := _by IS NOT DISTINCT FROM (SELECT registrar_id FROM accreditation WHERE id = p_message.accreditation_id);
    _domain domain;
BEGIN
    PERFORM job_poke(ARRAY(
        SELECT t.job_id FROM object_operation AS o JOIN provision_domain_transfer AS t ON t.id = o.provision_id
        WHERE o.object_type = 'domain transfer' AND o.object_key = _name AND t.accreditation_id = p_message.accreditation_id));
    SELECT * INTO _domain FROM domain WHERE name = _name AND accreditation_id = p_message.accreditation_id AND deleted_date IS NULL FOR UPDATE;
    IF NOT FOUND OR _is_ours THEN
        RETURN;
    ELSIF _status = 'pending' THEN
        UPDATE domain SET transfer_registrar = COALESCE(_by, 'another registrar'), transfer_due = COALESCE((p_message.data ->> 'acted_at')::timestamptz, engine_now()),
            updated_date = engine_now(), updated_by = caller_name() WHERE id = _domain.id;
        PERFORM domain_note(ARRAY[_domain.id], 'transfer_requested', format('%s is wanted by %s; without an answer the registry decides on %s', _name, _by, p_message.data ->> 'acted_at'));
    ELSIF _status LIKE '%Approved' THEN
        PERFORM domain_lost(_domain.id, _by);
    ELSE
        PERFORM domain_kept(_domain.id, CASE WHEN _status LIKE '%Rejected' THEN 'transfer_rejected' ELSE 'transfer_cancelled' END, format('%s stays: %s', _name, _status));
    END IF;
END $$;
COMMENT ON FUNCTION registry_message_transfer(registry_message) IS 'News of a transfer: one to here looks how it stands; a name of ours is wanted by another registrar, is gone, or stays.';

CREATE OR REPLACE FUNCTION registry_message_domain(p_message registry_message) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _expiry constant timestamptz := p_message.data ->> 'expires_at';
    _domain domain;
BEGIN
    SELECT * INTO _domain FROM domain WHERE name = p_message.data ->> 'name' AND accreditation_id = p_message.accreditation_id AND deleted_date IS NULL FOR UPDATE;
    IF FOUND AND _expiry > COALESCE(_domain.ry_expiry_date, '-infinity') THEN
        UPDATE domain SET ry_expiry_date = _expiry, rgp_state = 'autoRenewPeriod', rgp_until = engine_now() + make_interval(hours => COALESCE(tld_setting_value(accreditation_tld_id, 'grace_hours_renew')::int, 0)),
            updated_date = engine_now(), updated_by = caller_name() WHERE id = _domain.id;
        PERFORM domain_note(ARRAY[_domain.id], 'auto_renewed', format('%s expires on %s: the registry renewed it', _domain.name, domain_day(_expiry)));
    END IF;
END $$;
COMMENT ON FUNCTION registry_message_domain(registry_message) IS 'A name as it is now: the registry renewed it by itself.';

-- Looking at names ---------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION domain_check_begin(p_name text) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: jobs are written only through functions.
DECLARE
    _job uuid;
    _zone accreditation_tld;
BEGIN
    IF caller_customer() IS NULL THEN
        PERFORM refuse('PV400', 'for whom?', 'the caller acts for no account', 'act for an account');
    END IF;
    PERFORM domain_check_name(p_name);
    _zone := domain_zone(caller_customer(), p_name);
    IF NOT EXISTS (SELECT FROM accreditation WHERE id = _zone.accreditation_id AND provider = 'epp') THEN
        PERFORM refuse('PV422', 'nobody can be asked about names of this zone', p_name, 'order it; if it is taken, the order fails and says so');
    END IF;
    INSERT INTO job (type, tenant_customer_id, org_id, accreditation_id, data, priority, max_attempts)
    SELECT t.name, caller_customer(), caller_org(), _zone.accreditation_id, jsonb_build_object('name', p_name), 1, t.max_attempts FROM job_type AS t WHERE t.name = 'domain_check' RETURNING id INTO _job;
    RETURN _job;
END $$;
COMMENT ON FUNCTION domain_check_begin(text) IS 'Asks the registry of a name''s zone whether it is free; returns the job, of which domain_check_answer() tells.';

CREATE OR REPLACE FUNCTION domain_check_answer(p_job uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: jobs have no grants.
DECLARE
    _job job;
BEGIN
    SELECT * INTO _job FROM job WHERE id = p_job AND type = 'domain_check' AND tenant_customer_id = caller_customer() AND org_id IS NOT DISTINCT FROM caller_org();
    IF NOT FOUND THEN
        PERFORM refuse('PV404', 'check not found', p_job::text, 'SELECT domain_check_begin(name)');
    ELSIF _job.status IN ('failed', 'cancelled') THEN
        PERFORM refuse('PV503', 'the registry could not be asked', _job.result_message, 'try again later');
    END IF;
    RETURN CASE WHEN _job.status = 'completed' THEN jsonb_build_object('name', _job.data -> 'name') || _job.result END;
END $$;
COMMENT ON FUNCTION domain_check_answer(uuid) IS 'What a registry answered: {name, available, reason, premium, fee}; NULL: nothing yet.';

CREATE OR REPLACE FUNCTION domain_set_auto_renew(p_name text, p_on boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _domain domain := domain_live(caller_customer(), caller_org(), p_name);
BEGIN
    IF _domain.id IS NULL THEN
        PERFORM refuse('PV404', 'domain not found', p_name, 'name one of your own: SELECT name FROM v_domain');
    END IF;
    PERFORM caller_require('order.create', _domain.tenant_customer_id, caller_org());
    UPDATE domain SET auto_renew = p_on, updated_date = engine_now(), updated_by = caller_name() WHERE id = _domain.id AND auto_renew <> p_on;
END $$;
COMMENT ON FUNCTION domain_set_auto_renew(text, boolean) IS 'Whether a name of the caller''s is renewed by itself.';
