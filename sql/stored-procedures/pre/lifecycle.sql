-- From orders about registered names to their steps, one each, and from a row to what its job needs to know.

CREATE OR REPLACE FUNCTION domain_operation_plan(p_items plan_item[], p_operation text, p_table text, p_fields jsonb) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _item plan_item;
    _domain domain;
    _step plan_step;
BEGIN
    -- By name, so that two orders for the same names claim them in the same order.
    FOREACH _item IN ARRAY ARRAY(SELECT i FROM unnest(p_items) AS i ORDER BY i.data ->> 'name') LOOP
        PERFORM check_fields(p_operation, ARRAY[_item.data], '{name}', p_fields || '{"name": "string"}');
        PERFORM domain_check_name(_item.data ->> 'name');
        _step := ROW(new_id(), _item.id, replace(p_operation, '.', ' ') || ' ' || (_item.data ->> 'name'), p_table, new_id(), NULL, '{}')::plan_step;
        _domain := domain_claim(_item.tenant_customer_id, _item.org_id, _item.data ->> 'name', _step.provision_id, _step.id);
        _step.data := _item.data || jsonb_build_object('domain_id', _domain.id, 'accreditation_id', _domain.accreditation_id, 'settings', tld_settings(_domain.accreditation_tld_id));
        RETURN NEXT _step;
    END LOOP;
END $$;
COMMENT ON FUNCTION domain_operation_plan(plan_item[], text, text, jsonb) IS 'One step for each item that is about a registered name, with the zone''s settings as they are now.';

CREATE OR REPLACE FUNCTION domain_renew_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _step plan_step;
    _period int;
BEGIN
    FOR _step IN SELECT * FROM domain_operation_plan(p_items, 'domain.renew', 'provision_domain_renew', '{"period": "number", "current_expiry": "string", "max_price": "number", "currency": "string"}') LOOP
        _period := domain_period(_step.data -> 'period', _step.data -> 'settings' -> 'renewal_periods');
        PERFORM domain_check_renew(d, _period, domain_day(_step.data ->> 'current_expiry'), _step.data -> 'settings') FROM domain AS d WHERE d.id = (_step.data ->> 'domain_id')::uuid;
        _step.data := _step.data || jsonb_build_object('period', _period);
        RETURN NEXT _step;
    END LOOP;
END $$;
COMMENT ON FUNCTION domain_renew_plan(plan_item[]) IS 'domain.renew: one step, the renewal.';

CREATE OR REPLACE FUNCTION domain_delete_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _step plan_step;
BEGIN
    FOR _step IN SELECT * FROM domain_operation_plan(p_items, 'domain.delete', 'provision_domain_delete', '{}') LOOP
        PERFORM domain_check_delete(d, _step.data -> 'settings') FROM domain AS d WHERE d.id = (_step.data ->> 'domain_id')::uuid;
        RETURN NEXT _step;
    END LOOP;
END $$;
COMMENT ON FUNCTION domain_delete_plan(plan_item[]) IS 'domain.delete: one step, the deletion.';

CREATE OR REPLACE FUNCTION domain_restore_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _step plan_step;
BEGIN
    FOR _step IN SELECT * FROM domain_operation_plan(p_items, 'domain.restore', 'provision_domain_restore', '{"reason": "string", "max_price": "number", "currency": "string"}') LOOP
        PERFORM domain_check_restore(d, _step.data ->> 'reason', _step.data -> 'settings') FROM domain AS d WHERE d.id = (_step.data ->> 'domain_id')::uuid;
        RETURN NEXT _step;
    END LOOP;
END $$;
COMMENT ON FUNCTION domain_restore_plan(plan_item[]) IS 'domain.restore: one step, the restoration.';

-- Jobs ---------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION price_limit(p_max_price numeric, p_currency text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    -- As text, so that no amount passes through a float.
    RETURN CASE WHEN p_max_price IS NULL THEN '{}'::jsonb ELSE jsonb_build_object('max_price', p_max_price::text, 'currency', p_currency) END;
END $$;
COMMENT ON FUNCTION price_limit(numeric, text) IS 'What a job needs to know of the most that it may cost.';

CREATE OR REPLACE FUNCTION provision_domain_renew_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    -- Until when it is asked to be there decides, so that a renewal done by whomever is not done again. PostgreSQL, as
    -- registries, makes 28 February of 29 February in a year that has none.
    RETURN QUERY
    SELECT p.id, price_limit(p.max_price, p.currency) || jsonb_build_object('name', p.name, 'period', p.period, 'current_expiry', p.current_expiry, 'target_expiry', (p.current_expiry + make_interval(years => p.period))::date)
    FROM provision_domain_renew AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_domain_renew_job(uuid[]) IS 'What renewing a domain needs to know.';

CREATE OR REPLACE FUNCTION provision_domain_delete_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT p.id, jsonb_build_object('name', p.name) FROM provision_domain_delete AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_domain_delete_job(uuid[]) IS 'What deleting a domain needs to know.';

CREATE OR REPLACE FUNCTION provision_domain_restore_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
BEGIN
    RETURN QUERY
    SELECT p.id, price_limit(p.max_price, p.currency) || jsonb_build_object('name', p.name, 'reason', p.reason, 'report', (p.settings ->> 'restore_report_required')::boolean,
        'deleted_date', COALESCE((SELECT max(x.finished_date) FROM provision_domain_delete AS x WHERE x.domain_id = p.domain_id AND x.status_id = tc_id_from_name('provision_status', 'completed')), engine_now()))
    FROM provision_domain_restore AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_domain_restore_job(uuid[]) IS 'What restoring a domain needs to know, and to report.';
