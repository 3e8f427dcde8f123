-- From ordered transfers and answers to their steps, and from a row to what its job needs to know.

CREATE OR REPLACE FUNCTION domain_transfer_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _item plan_item;
    _zone accreditation_tld;
    _settings jsonb;
    _period int;
    _step plan_step;
    _parts domain_part[];
BEGIN
    FOREACH _item IN ARRAY ARRAY(SELECT i FROM unnest(p_items) AS i ORDER BY i.data ->> 'name') LOOP
        PERFORM check_fields('domain.transfer', ARRAY[_item.data], '{name,pw}', '{"name": "string", "pw": "string", "period": "number", "contacts": "object", "accreditation": "string", "max_price": "number", "currency": "string"}');
        PERFORM domain_check_name(_item.data ->> 'name');
        _zone := domain_zone(_item.tenant_customer_id, _item.data ->> 'name', _item.data ->> 'accreditation');
        _settings := tld_settings(_zone.id);
        _period := domain_period(COALESCE(_item.data -> 'period', _settings -> 'transfer_periods' -> 0), _settings -> 'transfer_periods');
        PERFORM check_fields('contacts', ARRAY[_item.data -> 'contacts'], '{}', '{"registrant": "object", "admin": "object|array", "tech": "object|array", "billing": "object|array"}') WHERE _item.data ? 'contacts';
        PERFORM transfer_check(_item.data ->> 'name', _period, _item.data -> 'contacts', _settings, _zone.accreditation_id);
        _step := ROW(new_id(), _item.id, 'domain transfer ' || (_item.data ->> 'name'), 'provision_domain_transfer', new_id(), NULL, '{}')::plan_step;
        PERFORM transfer_claim(_item.tenant_customer_id, _item.data ->> 'name', _zone.accreditation_id, _step.provision_id, _step.id);
        PERFORM transfer_secret(_step.provision_id, _item.data ->> 'pw');
        _step.data := jsonb_build_object('name', _item.data ->> 'name', 'period', _period, 'accreditation_id', _zone.accreditation_id, 'accreditation_tld_id', _zone.id, 'settings', _settings, 'max_price', _item.data -> 'max_price', 'currency', _item.data -> 'currency');
        _item.data := _item.data - 'hosts';
        _parts := ARRAY(SELECT p FROM domain_parts(_item, _zone.accreditation_id) AS p);
        _step.data := _step.data || CASE WHEN _item.data ? 'contacts' THEN jsonb_build_object('contacts', _item.data -> 'contacts') ELSE '{}' END;
        RETURN QUERY SELECT (x.step).* FROM unnest(_parts) AS x WHERE (x.step).id IS NOT NULL;
        RETURN QUERY SELECT (domain_update_step(_step, _item, _parts)).*;
    END LOOP;
END $$;
COMMENT ON FUNCTION domain_transfer_plan(plan_item[]) IS 'domain.transfer: the contacts that are not there yet side by side, then the transfer; the secret goes where only workers read it.';

CREATE OR REPLACE FUNCTION transfer_answer_plan(p_items plan_item[], p_action text) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _item plan_item;
    _step plan_step;
BEGIN
    FOREACH _item IN ARRAY ARRAY(SELECT i FROM unnest(p_items) AS i ORDER BY i.data ->> 'name') LOOP
        PERFORM check_fields('transfer.' || p_action, ARRAY[_item.data], '{name}', '{"name": "string"}');
        PERFORM domain_check_name(_item.data ->> 'name');
        _step := ROW(new_id(), _item.id, format('transfer %s %s', p_action, _item.data ->> 'name'), 'provision_domain_transfer_answer', new_id(), NULL, '{}')::plan_step;
        SELECT jsonb_build_object('name', _item.data ->> 'name', 'action', p_action, 'object_id', o.object_id, 'accreditation_id', o.accreditation_id) INTO _step.data
        FROM transfer_object(_item.tenant_customer_id, _item.org_id, _item.data ->> 'name', p_action) AS o;
        PERFORM object_claim(transfer_answer_type(p_action), _item.data ->> 'name', _step.provision_id, _step.id, _item.tenant_customer_id);
        RETURN NEXT _step;
    END LOOP;
END $$;
COMMENT ON FUNCTION transfer_answer_plan(plan_item[], text) IS 'One step for each answer to a transfer.';

CREATE OR REPLACE FUNCTION transfer_approve_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT * FROM transfer_answer_plan(p_items, 'approve');
END $$;
COMMENT ON FUNCTION transfer_approve_plan(plan_item[]) IS 'transfer.approve: one step, the answer.';

CREATE OR REPLACE FUNCTION transfer_reject_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT * FROM transfer_answer_plan(p_items, 'reject');
END $$;
COMMENT ON FUNCTION transfer_reject_plan(plan_item[]) IS 'transfer.reject: one step, the answer.';

CREATE OR REPLACE FUNCTION transfer_cancel_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT * FROM transfer_answer_plan(p_items, 'cancel');
END $$;
COMMENT ON FUNCTION transfer_cancel_plan(plan_item[]) IS 'transfer.cancel: one step, the cancellation.';

CREATE OR REPLACE FUNCTION provision_domain_transfer_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    -- The old secret is known to the losing side, so the name is given a new one.
    INSERT INTO secret (id, value) SELECT p.job_id, auth_info_made(p.settings) FROM provision_domain_transfer AS p WHERE p.id = ANY (p_ids);
    RETURN QUERY SELECT p.id, price_limit(p.max_price, p.currency) || jsonb_build_object('name', p.name, 'period', nullif(p.period, 0), 'contacts', contact_handles(p.contacts)) FROM provision_domain_transfer AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_domain_transfer_job(uuid[]) IS 'What transferring a domain here needs to know; the secrets are kept apart and read by the worker by row.';

CREATE OR REPLACE FUNCTION provision_domain_transfer_answer_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT p.id, jsonb_build_object('name', p.name, 'action', p.action) FROM provision_domain_transfer_answer AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_domain_transfer_answer_job(uuid[]) IS 'What answering a transfer needs to know.';
