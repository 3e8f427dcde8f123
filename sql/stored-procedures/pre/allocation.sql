-- From an ordered change of an allocation to its step, and from the row to its job. What the order may come to take of the
-- pools is reserved here, before anybody approves it.

CREATE OR REPLACE FUNCTION allocation_begin(p_id uuid, p_account uuid, p_org uuid, p jsonb) RETURNS uuid
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _offering constant offering := offering_to_order(uuid_of(p ->> 'offering'), p_account);
    _plan constant uuid := (p ->> 'plan')::uuid;
    _limits constant jsonb := COALESCE(nullif(p -> 'limits', 'null'), '{}');
BEGIN
    IF NOT EXISTS (SELECT FROM org WHERE id = p_org AND tenant_customer_id = p_account AND kind = 'project' AND status = 'active' FOR KEY SHARE) THEN
        PERFORM refuse_field('PV404', 'project', 'project not found', p_org::text, 'allocations belong to an org of kind project: name it as the order''s org');
    ELSIF (SELECT end_date < engine_now()::date FROM project WHERE id = p_org) THEN
        PERFORM refuse_field('PV422', 'project', 'the project has ended', p_org::text, 'put off its end_date');
    END IF;
    PERFORM FROM project WHERE id = p_org AND _offering.backend = 'cluster' FOR NO KEY UPDATE;
    IF _offering.backend = 'cluster' AND EXISTS (SELECT FROM allocation AS a JOIN offering AS o ON o.id = a.offering_id AND o.backend = 'cluster' WHERE a.org_id = p_org AND a.deleted_date IS NULL) THEN
        PERFORM refuse_field('PV409', '[]', 'The project has an allocation of node-hours already.', p_org::text, 'change its limits');
    END IF;
    PERFORM offering_check_plan(_offering, _plan);
    PERFORM allocation_check_limits(_offering.id, _limits);
    INSERT INTO allocation (id, tenant_customer_id, org_id, provider_account_id, offering_id, plan_id, accreditation_id, name, description, limits, attributes, end_date)
    VALUES (p_id, p_account, p_org, _offering.provider_account_id, _offering.id, _plan, _offering.accreditation_id, left(COALESCE(nullif(p ->> 'name', ''), _offering.name), 255), COALESCE(p ->> 'description', ''),
        _limits, COALESCE(nullif(p -> 'attributes', 'null'), '{}'), (p ->> 'end_date')::date);
    PERFORM allocation_reserve(p_id, _limits);
    RETURN _offering.accreditation_id;
END $$;
COMMENT ON FUNCTION allocation_begin(uuid, uuid, uuid, jsonb) IS 'Makes an allocation that is to be created, with what it takes of the pools reserved; returns where it is done.';

CREATE OR REPLACE FUNCTION offering_to_order(p_offering uuid, p_account uuid) RETURNS offering
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _offering offering;
BEGIN
    SELECT o.* INTO _offering FROM offering AS o JOIN tenant_customer AS a ON a.id = p_account AND a.tenant_id = o.tenant_id
    WHERE o.id = p_offering AND (o.provider_account_id = p_account OR (o.state IN ('active', 'paused')
        AND (o.is_shared OR EXISTS (SELECT FROM offering_grant AS g WHERE g.offering_id = o.id AND g.tenant_customer_id = p_account))));
    IF _offering.id IS NULL THEN
        PERFORM refuse_field('PV404', 'offering', 'offering not found', p_offering::text, 'SELECT * FROM v_offering');
    ELSIF _offering.state <> 'active' THEN
        PERFORM refuse_field('PV422', 'offering', 'Offering is not available.', format('%s is %s', _offering.name, _offering.state), 'order one that is active');
    END IF;
    RETURN _offering;
END $$;
COMMENT ON FUNCTION offering_to_order(uuid, uuid) IS 'An offering that an account sees and may order of.';

CREATE OR REPLACE FUNCTION offering_check_plan(p_offering offering, p_plan uuid) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _plan offering_plan;
BEGIN
    SELECT * INTO _plan FROM offering_plan WHERE id = p_plan AND offering_id = p_offering.id;
    IF p_plan IS NULL THEN
        RETURN;
    ELSIF _plan.id IS NULL THEN
        PERFORM refuse_field('PV422', 'plan', 'This plan is not available for selected offering.', p_plan::text, 'name a plan of the offering');
    ELSIF _plan.is_archived THEN
        PERFORM refuse_field('PV422', 'plan', 'Plan is not available because it is archived.', _plan.name, 'name another plan of the offering');
    ELSIF _plan.max_amount IS NULL THEN
        RETURN;
    END IF;
    -- Two who want the last of it at once come one after the other.
    PERFORM FROM offering_plan WHERE id = p_plan FOR NO KEY UPDATE;
    IF (SELECT count(*) >= _plan.max_amount FROM allocation WHERE plan_id = _plan.id AND deleted_date IS NULL) THEN
        PERFORM refuse_field('PV422', 'plan', 'Plan is not available because limit has been reached.', _plan.name, 'name another plan of the offering');
    END IF;
END $$;
COMMENT ON FUNCTION offering_check_plan(offering, uuid) IS 'Refuses a plan that is another offering''s, archived or held by as many as may have it; NULL: no plan.';

CREATE OR REPLACE FUNCTION allocation_reserve(p_allocation uuid, p_reserved jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _allocation allocation;
    _part record;
BEGIN
    SELECT * INTO _allocation FROM allocation WHERE id = p_allocation FOR NO KEY UPDATE;
    IF _allocation.reserved = p_reserved THEN
        RETURN;
    END IF;
    -- In the order of ids, so that two who want the same pools meet at the first.
    FOR _part IN
        SELECT c.id, c.name, COALESCE((p_reserved ->> c.type)::bigint, 0) - COALESCE((_allocation.reserved ->> c.type)::bigint, 0) AS more
        FROM offering_component AS c WHERE c.offering_id = _allocation.offering_id AND (p_reserved || _allocation.reserved) ? c.type ORDER BY c.id
    LOOP
        -- Kept from being given a pool until this is stored.
        PERFORM FROM offering_component WHERE id = _part.id FOR SHARE;
        UPDATE offering_pool SET used = used + _part.more WHERE component_id = _part.id AND _part.more <> 0 AND (_part.more < 0 OR used + _part.more <= capacity);
        IF NOT FOUND AND _part.more > 0 AND EXISTS (SELECT FROM offering_pool WHERE component_id = _part.id) THEN
            PERFORM refuse_field('PV422', 'non_field_errors', format('The total limit of %s would exceed what is available.', _part.name),
                (SELECT format('%s of %s are left', capacity - used, capacity) FROM offering_pool WHERE component_id = _part.id), 'ask for less, or wait until some is given back');
        END IF;
    END LOOP;
    UPDATE allocation SET reserved = p_reserved WHERE id = p_allocation;
END $$;
COMMENT ON FUNCTION allocation_reserve(uuid, jsonb) IS 'Changes what an allocation takes of the pools, or refuses if there is not so much left.';

CREATE OR REPLACE FUNCTION limits_larger(p_one jsonb, p_other jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN COALESCE((SELECT jsonb_object_agg(k, greatest((p_one ->> k)::bigint, (p_other ->> k)::bigint)) FROM jsonb_object_keys(p_one || p_other) AS k), '{}');
END $$;
COMMENT ON FUNCTION limits_larger(jsonb, jsonb) IS 'The larger of two limits, for each component.';

CREATE OR REPLACE FUNCTION allocation_to_change(p_allocation uuid, p_account uuid, p_org uuid, p_states text[]) RETURNS allocation
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _allocation allocation;
BEGIN
    SELECT * INTO _allocation FROM allocation WHERE id = p_allocation AND tenant_customer_id = p_account AND (p_org IS NULL OR org_id = p_org) FOR NO KEY UPDATE;
    IF _allocation.id IS NULL THEN
        PERFORM refuse('PV404', 'allocation not found', p_allocation::text, 'SELECT * FROM v_allocation');
    ELSIF EXISTS (SELECT FROM allocation_order WHERE allocation_id = p_allocation AND finished_date IS NULL) THEN
        PERFORM refuse_field('PV409', '[]', 'Pending order for resource already exists.', p_allocation::text, 'wait until it has ended, or cancel it');
    ELSIF _allocation.state <> ALL (p_states) THEN
        PERFORM refuse('PV409', format('Valid states for operation: %s.', (SELECT string_agg(allocation_state_name(s), ', ') FROM unnest(p_states) AS s)),
            format('%s is %s', p_allocation, allocation_state_name(_allocation.state)), 'wait until it is');
    END IF;
    RETURN _allocation;
END $$;
COMMENT ON FUNCTION allocation_to_change(uuid, uuid, uuid, text[]) IS 'An allocation of an account (and org) in one of these states with which nothing else is being done, locked.';

CREATE OR REPLACE FUNCTION allocation_check_change(p_allocation allocation, p_limits jsonb, p_plan uuid) RETURNS jsonb
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    -- Naming one component keeps the others.
    _limits constant jsonb := p_allocation.limits || COALESCE(p_limits, '{}');
    _is_other_plan constant boolean := p_plan IS DISTINCT FROM p_allocation.plan_id AND p_plan IS NOT NULL;
BEGIN
    PERFORM allocation_check_limits(p_allocation.offering_id, p_limits);
    IF _is_other_plan THEN
        PERFORM offering_check_plan((SELECT o FROM offering AS o WHERE o.id = p_allocation.offering_id), p_plan);
    ELSIF _limits = p_allocation.limits THEN
        PERFORM refuse_field('PV422', '[]', 'Impossible to create update orders with limits set to exactly the same.', left(_limits::text, 200), 'ask for other limits');
    END IF;
    PERFORM allocation_reserve(p_allocation.id, limits_larger(_limits, p_allocation.limits));
    RETURN _limits;
END $$;
COMMENT ON FUNCTION allocation_check_change(allocation, jsonb, uuid) IS 'Refuses a change that is none, reserves what it may come to take, and returns all limits the allocation is to have.';

-- Plans --------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION allocation_order_add(p_item plan_item, p_type text, p_allocation uuid, p_limits jsonb, p_plan uuid) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _allocation constant allocation := (SELECT a FROM allocation AS a WHERE a.id = p_allocation);
BEGIN
    IF EXISTS (SELECT FROM allocation_order WHERE id = p_item.order_id) THEN
        PERFORM refuse('PV422', 'an order changes one allocation', p_item.operation, 'order the others on their own');
    END IF;
    INSERT INTO allocation_order (id, item_id, tenant_customer_id, org_id, provider_account_id, allocation_id, offering_id, type, state, plan_id, old_plan_id, limits, old_limits, attributes, cost,
        start_date, callback_url, created_by_id)
    VALUES (p_item.order_id, p_item.id, _allocation.tenant_customer_id, _allocation.org_id, _allocation.provider_account_id, p_allocation, _allocation.offering_id, p_type, 'pending_consumer', p_plan,
        CASE WHEN p_type <> 'create' THEN _allocation.plan_id END, p_limits, CASE p_type WHEN 'create' THEN '{}' ELSE _allocation.limits END, COALESCE(nullif(p_item.data -> 'attributes', 'null'), '{}'),
        CASE p_type WHEN 'terminate' THEN 0 ELSE allocation_cost(_allocation.offering_id, p_plan, p_limits, CASE WHEN p_type = 'create' THEN 'one' WHEN p_plan IS DISTINCT FROM _allocation.plan_id THEN 'few' END) END,
        (p_item.data ->> 'start_date')::date, p_item.data ->> 'callback_url', caller_user());
END $$;
COMMENT ON FUNCTION allocation_order_add(plan_item, text, uuid, jsonb, uuid) IS 'Notes the order of a change; whether it must be approved is asked at the end of the transaction, when it is stored (allocation_order_admit).';

CREATE OR REPLACE FUNCTION allocation_create_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _item plan_item;
    _id uuid;
    _allocation allocation;
BEGIN
    FOREACH _item IN ARRAY p_items LOOP
        PERFORM check_fields('allocation.create', ARRAY[_item.data], '{offering}', '{"offering": "string", "plan": "string|null", "name": "string|null", "description": "string|null", "limits": "object|null", "attributes": "object|null",
            "start_date": "string|null", "end_date": "string|null", "callback_url": "string|null"}');
        _id := new_id();
        PERFORM allocation_begin(_id, _item.tenant_customer_id, _item.org_id, _item.data);
        SELECT * INTO _allocation FROM allocation WHERE id = _id;
        PERFORM allocation_order_add(_item, 'create', _id, _allocation.limits, _allocation.plan_id);
        PERFORM object_claim('allocation', _id::text, _id, NULL, _item.tenant_customer_id);
        RETURN NEXT ROW(new_id(), _item.id, 'allocation ' || _allocation.name, 'provision_allocation', _id, jsonb_build_object('accreditation_id', _allocation.accreditation_id, 'offering_id', _allocation.offering_id,
            'plan_id', _allocation.plan_id, 'name', _allocation.name, 'description', _allocation.description, 'limits', _allocation.limits, 'attributes', _allocation.attributes), '{}')::plan_step;
    END LOOP;
END $$;
COMMENT ON FUNCTION allocation_create_plan(plan_item[]) IS 'allocation.create: one step, the allocation.';

CREATE OR REPLACE FUNCTION allocation_update_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _item plan_item;
    _allocation allocation;
    _limits jsonb;
    _plan uuid;
    _id uuid;
BEGIN
    FOREACH _item IN ARRAY p_items LOOP
        PERFORM check_fields('allocation.update', ARRAY[_item.data], '{allocation}', '{"allocation": "string", "limits": "object|null", "plan": "string|null", "attributes": "object|null"}');
        _allocation := allocation_to_change(uuid_of(_item.data ->> 'allocation'), _item.tenant_customer_id, _item.org_id, '{ok}');
        _plan := COALESCE((_item.data ->> 'plan')::uuid, _allocation.plan_id);
        _limits := allocation_check_change(_allocation, nullif(_item.data -> 'limits', 'null'), _plan);
        PERFORM allocation_order_add(_item, 'update', _allocation.id, _limits, _plan);
        _id := new_id();
        PERFORM object_claim('allocation', _allocation.id::text, _id, NULL, _item.tenant_customer_id);
        RETURN NEXT ROW(new_id(), _item.id, 'change ' || _allocation.name, 'provision_allocation_update', _id, jsonb_build_object('accreditation_id', _allocation.accreditation_id,
            'allocation_id', _allocation.id, 'plan_id', _plan, 'limits', _limits), '{}')::plan_step;
    END LOOP;
END $$;
COMMENT ON FUNCTION allocation_update_plan(plan_item[]) IS 'allocation.update: one step, the change of limits or plan.';

CREATE OR REPLACE FUNCTION allocation_terminate_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _item plan_item;
    _allocation allocation;
    _id uuid;
BEGIN
    FOREACH _item IN ARRAY p_items LOOP
        PERFORM check_fields('allocation.terminate', ARRAY[_item.data], '{allocation}', '{"allocation": "string", "attributes": "object|null"}');
        _allocation := allocation_to_change(uuid_of(_item.data ->> 'allocation'), _item.tenant_customer_id, _item.org_id, '{ok,erred}');
        PERFORM allocation_order_add(_item, 'terminate', _allocation.id, _allocation.limits, _allocation.plan_id);
        _id := new_id();
        PERFORM object_claim('allocation', _allocation.id::text, _id, NULL, _item.tenant_customer_id);
        RETURN NEXT ROW(new_id(), _item.id, 'end ' || _allocation.name, 'provision_allocation_terminate', _id, jsonb_build_object('accreditation_id', _allocation.accreditation_id,
            'allocation_id', _allocation.id, 'attributes', COALESCE(nullif(_item.data -> 'attributes', 'null'), '{}')), '{}')::plan_step;
    END LOOP;
END $$;
COMMENT ON FUNCTION allocation_terminate_plan(plan_item[]) IS 'allocation.terminate: one step, the end.';

CREATE OR REPLACE FUNCTION allocation_cost(p_offering uuid, p_plan uuid, p_limits jsonb, p_once text) RETURNS numeric
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (SELECT sum(p.price * CASE WHEN component_takes_limit(c) THEN COALESCE((p_limits ->> c.type)::bigint, 0) WHEN c.billing_type = 'fixed' THEN p.amount
            WHEN c.billing_type = p_once THEN greatest(p.amount, 1) ELSE 0 END)
        FROM offering_plan_component AS p JOIN offering_component AS c ON c.id = p.component_id WHERE p.plan_id = p_plan AND c.offering_id = p_offering);
END $$;
COMMENT ON FUNCTION allocation_cost(uuid, uuid, jsonb, text) IS 'What an order costs at first: price times limit, fixed parts, and what is paid once: at activation (one), at a change of plan (few); NULL: no plan.';

-- Jobs ---------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION allocation_job_data(p_allocation uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (SELECT jsonb_build_object('allocation_id', a.id, 'offering', o.name, 'backend', o.backend, 'name', a.name, 'backend_id', a.backend_id, 'settings', o.backend_settings,
            'org', g.slug, 'components', (SELECT jsonb_object_agg(c.type, jsonb_build_object('name', c.name, 'unit', c.measured_unit, 'period', COALESCE(c.limit_period, 'month'), 'settings', c.backend_settings)) FROM offering_component AS c
                WHERE c.offering_id = o.id AND component_takes_limit(c)))
        FROM allocation AS a JOIN offering AS o ON o.id = a.offering_id JOIN org AS g ON g.id = a.org_id WHERE a.id = p_allocation);
END $$;
COMMENT ON FUNCTION allocation_job_data(uuid) IS 'What a worker needs to know of an allocation.';

CREATE OR REPLACE FUNCTION provision_allocation_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT p.id, allocation_job_data(p.id) || jsonb_build_object('limits', p.limits) FROM provision_allocation AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_allocation_job(uuid[]) IS 'What creating an allocation needs to know.';

CREATE OR REPLACE FUNCTION provision_allocation_update_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT p.id, allocation_job_data(p.allocation_id) || jsonb_build_object('limits', p.limits) FROM provision_allocation_update AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_allocation_update_job(uuid[]) IS 'What changing an allocation needs to know.';

CREATE OR REPLACE FUNCTION provision_allocation_terminate_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT p.id, allocation_job_data(p.allocation_id) || jsonb_build_object('limits', a.limits) FROM provision_allocation_terminate AS p JOIN allocation AS a ON a.id = p.allocation_id WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_allocation_terminate_job(uuid[]) IS 'What ending an allocation needs to know.';
