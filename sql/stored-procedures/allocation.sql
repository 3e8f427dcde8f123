-- Orders of allocations and what is said about them. allocation_request() takes an order of the API's (order_submit() takes
-- the same operations); allocation_order_admit() asks at the end of the transaction who has to approve it, and
-- allocation_order_advance() takes it as far as it may go: to the consumer, to the beginning of its project or its own day,
-- to the provider, to being done. allocation_order_act() is what consumers and providers say to it, allocation_provide() what
-- providers say of an allocation, usage_report() what was used. sweep_allocation() does what only time brings about.

CREATE OR REPLACE FUNCTION allocation_state_name(p_state text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN CASE p_state WHEN 'ok' THEN 'OK' ELSE upper(left(p_state, 1)) || substr(p_state, 2) END;
END $$;
COMMENT ON FUNCTION allocation_state_name(text) IS 'A state as people are shown it.';

CREATE OR REPLACE FUNCTION caller_reaches(p_account uuid, p_org uuid, p_provider uuid DEFAULT NULL, p_offering uuid DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN caller_sees_all() OR EXISTS (SELECT FROM caller_reach() AS r WHERE (r.org_id IS NULL AND r.tenant_customer_id IN (p_account, p_provider)) OR r.org_id = p_org) OR p_offering = ANY (caller_offerings());
END $$;
COMMENT ON FUNCTION caller_reaches(uuid, uuid, uuid, uuid) IS 'Whether the caller sees what is a project''s: as its allocator, as its member, as the provider of it, or as a manager of the offering.';

CREATE OR REPLACE FUNCTION offering_may(p_offering uuid) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: as caller_may.
DECLARE
    _account constant uuid := (SELECT provider_account_id FROM offering WHERE id = p_offering);
BEGIN
    RETURN _account IS NOT NULL AND (caller_may('offering.change', _account)
        OR (p_offering = ANY (caller_offerings()) AND EXISTS (SELECT FROM role_permission WHERE role = 'offering_manager' AND permission = 'offering.change')
            AND NOT EXISTS (SELECT FROM tenant_customer AS a JOIN customer AS c ON c.id = a.customer_id WHERE a.id = _account AND c.status = 'suspended')));
END $$;
COMMENT ON FUNCTION offering_may(uuid) IS 'Whether the caller provides what is ordered of an offering: by a right in its provider''s account, or by a role in the offering.';

CREATE OR REPLACE FUNCTION caller_require_field(p_permission text, p_account uuid, p_org uuid, p_field text, p_which text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF p_account IS NULL OR NOT caller_reaches(p_account, p_org) THEN
        PERFORM refuse_field('PV404', p_field, p_field || ' not found', p_which, 'name one of your own');
    END IF;
    PERFORM caller_require(p_permission, p_account, p_org, p_field, p_which);
END $$;
COMMENT ON FUNCTION caller_require_field(text, uuid, uuid, text, text) IS 'As caller_require, for what a field of the request names.';

-- Ordering -----------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION allocation_request(p_operation text, p jsonb, p_key text DEFAULT NULL, p_is_dry boolean DEFAULT false) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off AS $$
-- SECURITY DEFINER: orders are written only through here; the caller is asked for the right inside.
DECLARE
    _allocation allocation;
    _org org;
    _order allocation_order;
    _id uuid;
    _said text;
BEGIN
    IF p_operation = 'allocation.create' THEN
        SELECT * INTO _org FROM org WHERE id = uuid_of(p ->> 'project') AND kind = 'project' AND status = 'active';
        PERFORM caller_require_field('order.create', _org.tenant_customer_id, _org.id, 'project', p ->> 'project');
    ELSE
        SELECT * INTO _allocation FROM allocation WHERE id = uuid_of(p ->> 'allocation');
        PERFORM allocation_require_change(_allocation, p_operation, p ->> 'allocation');
        SELECT * INTO _org FROM org WHERE id = _allocation.org_id;
    END IF;
    BEGIN
        _id := allocation_submit(_org.tenant_customer_id, _org.id, p_operation, p - 'project', p_key);
        SELECT * INTO _order FROM allocation_order WHERE id = _id;
        IF p_is_dry THEN
            RAISE EXCEPTION USING ERRCODE = 'PVDRY', MESSAGE = jsonb_build_object('cost', _order.cost, 'state', _order.state, 'limits', _order.limits)::text;
        END IF;
    EXCEPTION WHEN SQLSTATE 'PVDRY' THEN
        -- Everything it would have done is undone.
        GET STACKED DIAGNOSTICS _said = MESSAGE_TEXT;
        RETURN _said::jsonb;
    END;
    RETURN jsonb_build_object('order', _order.id, 'allocation', _order.allocation_id, 'cost', _order.cost, 'state', _order.state);
END $$;
COMMENT ON FUNCTION allocation_request(text, jsonb, text, boolean) IS 'Orders allocation.create (project, offering, plan, name, limits, attributes …), allocation.update (allocation, limits, plan) or allocation.terminate (allocation); the same key and request again is the same order. Dry: says cost and state and leaves nothing.';

CREATE OR REPLACE FUNCTION allocation_require_change(p_allocation allocation, p_operation text, p_which text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF offering_may(p_allocation.offering_id) THEN
        IF p_operation = 'allocation.terminate' OR caller_may('allocation.change', p_allocation.tenant_customer_id, p_allocation.org_id) THEN
            RETURN;
        END IF;
        PERFORM refuse('PV403', 'the right to do this is not held', 'allocation.change', 'a provider ends allocations, or sets their limits');
    END IF;
    PERFORM caller_require('allocation.change', p_allocation.tenant_customer_id, p_allocation.org_id, 'allocation', p_which);
END $$;
COMMENT ON FUNCTION allocation_require_change(allocation, text, text) IS 'Refuses those who may not change an allocation: the allocator''s people may, and its provider may end it.';

CREATE OR REPLACE FUNCTION allocation_submit(p_account uuid, p_org uuid, p_operation text, p_data jsonb, p_key text DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _items constant jsonb := jsonb_build_array(jsonb_build_object('operation', p_operation, 'data', p_data));
    _orders order_request[] := order_requests(jsonb_build_array(jsonb_build_object('tenant_customer_id', p_account, 'org_id', p_org, 'items', _items, 'idempotency_key', p_key)));
    _planned plan_item[];
    _id uuid;
BEGIN
    -- Kept from being removed until the order is there.
    PERFORM FROM org WHERE id = p_org FOR KEY SHARE;
    _orders := order_recognise(_orders);
    IF _orders[1].same_as IS NOT NULL THEN
        RETURN _orders[1].same_as;
    END IF;
    _planned := order_items(_orders);
    _id := _orders[1].id;
    PERFORM order_store(_orders, _planned, order_plan(_planned));
    SET CONSTRAINTS allocation_order_admit_tg IMMEDIATE;
    SET CONSTRAINTS allocation_order_admit_tg DEFERRED;
    RETURN _id;
END $$;
COMMENT ON FUNCTION allocation_submit(uuid, uuid, text, jsonb, text) IS 'Takes an order whoever asks: rights were asked for before. A provider, and time, end what is another''s.';

-- Approval -----------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION allocation_order_admit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: whoever orders may not write orders.
DECLARE
    _is_provider constant boolean := NEW.type = 'terminate' AND offering_may(NEW.offering_id);
BEGIN
    IF _is_provider OR caller_may('allocation.approve', NEW.tenant_customer_id, NEW.org_id)
        OR EXISTS (SELECT FROM offering AS o WHERE o.id = NEW.offering_id AND ((NOT o.is_shared AND caller_may('allocation.change', NEW.tenant_customer_id, NEW.org_id))
            OR (o.auto_approve_own AND o.provider_account_id = NEW.tenant_customer_id))) THEN
        UPDATE allocation_order SET consumer_reviewed_date = engine_now(), consumer_reviewed_by_id = caller_user(),
            provider_reviewed_date = CASE WHEN _is_provider THEN engine_now() END, provider_reviewed_by_id = CASE WHEN _is_provider THEN caller_user() END WHERE id = NEW.id;
    END IF;
    PERFORM allocation_order_advance(NEW.id);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION allocation_order_admit() IS 'A new order is approved for the allocator if its maker may do that, and goes as far as it can.';

CREATE OR REPLACE FUNCTION allocation_order_advance(p_id uuid, p_is_done boolean DEFAULT true) RETURNS text
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _order allocation_order;
    _offering offering;
    _state text;
BEGIN
    -- The order first, as for whatever changes several of its parts.
    PERFORM FROM "order" WHERE id = p_id FOR NO KEY UPDATE;
    SELECT * INTO _order FROM allocation_order WHERE id = p_id FOR NO KEY UPDATE;
    SELECT * INTO _offering FROM offering WHERE id = _order.offering_id;
    IF _order.state NOT LIKE 'pending\_%' THEN
        RETURN _order.state;
    END IF;
    _state := CASE WHEN _order.consumer_reviewed_date IS NULL THEN 'pending_consumer'
        WHEN _order.type = 'create' AND (SELECT start_date > engine_now()::date FROM project WHERE id = _order.org_id) THEN 'pending_project'
        WHEN _order.start_date > engine_now()::date THEN 'pending_start_date'
        WHEN _order.provider_reviewed_date IS NULL AND _offering.backend = 'manual' AND NOT _offering.auto_approve THEN 'pending_provider' ELSE 'executing' END;
    IF _state = 'executing' THEN
        PERFORM order_item_approve(_order.item_id);
        -- Nothing outside has to be waited for.
        IF p_is_done AND (_offering.backend = 'cluster' OR (_offering.backend = 'manual' AND _offering.is_immediate)) THEN
            PERFORM job_complete(allocation_order_job(p_id), '{}', 'approved');
        END IF;
    ELSIF _state <> _order.state THEN
        UPDATE allocation_order SET state = _state WHERE id = p_id;
    END IF;
    RETURN _state;
END $$;
COMMENT ON FUNCTION allocation_order_advance(uuid, boolean) IS 'Takes an order as far as it may go; p_is_done: what needs nobody any more is done at once.';

CREATE OR REPLACE FUNCTION allocation_order_job(p_id uuid) RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (SELECT j.id FROM allocation_order AS o JOIN order_item_plan AS p ON p.order_item_id = o.item_id JOIN job AS j ON j.reference_id = p.provision_id
        WHERE o.id = p_id AND j.held_at IS NOT NULL AND j.finished_date IS NULL);
END $$;
COMMENT ON FUNCTION allocation_order_job(uuid) IS 'The job that a person, or the provider''s program, does for an order; NULL: none waits.';

CREATE OR REPLACE FUNCTION allocation_order_act(p_id uuid, p_action text, p jsonb DEFAULT '{}') RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _order allocation_order;
BEGIN
    SELECT * INTO _order FROM allocation_order WHERE id = p_id;
    IF _order.id IS NULL OR NOT caller_reaches(_order.tenant_customer_id, _order.org_id, _order.provider_account_id, _order.offering_id) THEN
        PERFORM refuse('PV404', 'order not found', p_id::text, 'SELECT * FROM v_allocation_order');
    ELSIF NOT allocation_order_may(_order, p_action) THEN
        PERFORM refuse('PV403', 'the right to do this is not held', p_action, 'v_role shows who may what');
    END IF;
    PERFORM FROM "order" WHERE id = p_id FOR NO KEY UPDATE;
    SELECT * INTO _order FROM allocation_order WHERE id = p_id FOR NO KEY UPDATE;
    PERFORM allocation_order_check(_order, p_action);
    CASE p_action
        WHEN 'approve_by_consumer' THEN
            UPDATE allocation_order SET consumer_reviewed_date = engine_now(), consumer_reviewed_by_id = caller_user() WHERE id = p_id;
            PERFORM allocation_order_advance(p_id);
        WHEN 'approve_by_provider', 'set_state_executing' THEN
            UPDATE allocation_order SET provider_reviewed_date = engine_now(), provider_reviewed_by_id = caller_user() WHERE id = p_id;
            PERFORM allocation_order_advance(p_id, p_action = 'approve_by_provider');
        WHEN 'reject_by_consumer', 'reject_by_provider' THEN
            PERFORM allocation_order_stop(_order, 'rejected', p ->> 'comment', p_action = 'reject_by_provider');
        WHEN 'cancel' THEN
            PERFORM allocation_order_stop(_order, 'canceled', p ->> 'comment');
        WHEN 'set_state_done' THEN
            PERFORM job_complete(allocation_order_job(p_id), jsonb_strip_nulls(jsonb_build_object('roid', nullif(p ->> 'backend_id', ''))), 'done by the provider');
        WHEN 'set_state_erred' THEN
            PERFORM allocation_order_fail(_order, COALESCE(p ->> 'error_message', ''), COALESCE(p ->> 'error_traceback', ''));
        WHEN 'retry' THEN
            RETURN allocation_order_again(_order);
    END CASE;
    RETURN jsonb_build_object('order', p_id, 'state', (SELECT state FROM allocation_order WHERE id = p_id));
END $$;
COMMENT ON FUNCTION allocation_order_act(uuid, text, jsonb) IS 'approve_by_consumer, approve_by_provider, reject_by_consumer, reject_by_provider, cancel (comment), set_state_executing, set_state_done (backend_id), set_state_erred (error_message, error_traceback), or retry, which orders anew what erred.';

CREATE OR REPLACE FUNCTION allocation_order_may(p_order allocation_order, p_action text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN CASE p_action
        WHEN 'approve_by_consumer' THEN caller_may('allocation.approve', p_order.tenant_customer_id, p_order.org_id)
        WHEN 'reject_by_consumer' THEN caller_may('allocation.approve', p_order.tenant_customer_id, p_order.org_id) OR (p_order.created_by_id = caller_user() AND caller_may('order.cancel', p_order.tenant_customer_id, p_order.org_id))
        WHEN 'cancel' THEN caller_may('order.cancel', p_order.tenant_customer_id, p_order.org_id)
        WHEN 'retry' THEN caller_may(CASE p_order.type WHEN 'create' THEN 'order.create' ELSE 'allocation.change' END, p_order.tenant_customer_id, p_order.org_id)
        ELSE p_action IN ('approve_by_provider', 'reject_by_provider', 'set_state_executing', 'set_state_done', 'set_state_erred') AND offering_may(p_order.offering_id) END;
END $$;
COMMENT ON FUNCTION allocation_order_may(allocation_order, text) IS 'Whether the caller may say that to an order.';

CREATE OR REPLACE FUNCTION allocation_order_check(p_order allocation_order, p_action text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _pending constant text[] := '{pending_consumer,pending_project,pending_start_date,pending_provider}';
    _valid constant text[] := CASE p_action WHEN 'approve_by_consumer' THEN '{pending_consumer}' WHEN 'reject_by_consumer' THEN '{pending_consumer}' WHEN 'approve_by_provider' THEN '{pending_provider}'
        WHEN 'reject_by_provider' THEN '{pending_provider}' WHEN 'set_state_executing' THEN '{pending_provider}' WHEN 'set_state_done' THEN '{executing}' WHEN 'retry' THEN '{erred}' ELSE _pending || 'executing'::text END;
BEGIN
    IF p_order.state <> ALL (_valid) OR (p_order.state = 'executing' AND allocation_order_job(p_order.id) IS NULL) THEN
        PERFORM refuse('PV409', format('Valid states for operation: %s.', replace(array_to_string(_valid, ', '), '_', '-')), format('%s is %s', p_order.id, replace(p_order.state, '_', '-')),
            CASE p_order.state WHEN 'executing' THEN 'it is being done' ELSE 'look at the order again' END);
    END IF;
END $$;
COMMENT ON FUNCTION allocation_order_check(allocation_order, text) IS 'Refuses what cannot be said to an order in its state; one that a worker is executing takes its course.';

CREATE OR REPLACE FUNCTION allocation_order_stop(p_order allocation_order, p_state text, p_comment text, p_is_provider boolean DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _reason constant text := COALESCE(nullif(left(p_comment, 1000), ''), p_state || ' by ' || caller_name());
BEGIN
    UPDATE allocation_order SET state = p_state, finished_date = engine_now(), comment = _reason,
        consumer_reviewed_date = CASE WHEN p_is_provider = false THEN engine_now() ELSE consumer_reviewed_date END, consumer_reviewed_by_id = CASE WHEN p_is_provider = false THEN caller_user() ELSE consumer_reviewed_by_id END,
        provider_reviewed_date = CASE WHEN p_is_provider THEN engine_now() ELSE provider_reviewed_date END, provider_reviewed_by_id = CASE WHEN p_is_provider THEN caller_user() ELSE provider_reviewed_by_id END
    WHERE id = p_order.id AND p_order.state <> 'executing';
    PERFORM plan_stop(ARRAY(SELECT id FROM order_item_plan WHERE order_item_id = p_order.item_id), _reason);
    IF EXISTS (SELECT FROM allocation_order WHERE id = p_order.id AND finished_date IS NULL) THEN
        PERFORM refuse('PV409', 'the order is being executed', p_order.id::text, 'wait for its result');
    END IF;
END $$;
COMMENT ON FUNCTION allocation_order_stop(allocation_order, text, text, boolean) IS 'Ends an order of which nothing was done.';

CREATE OR REPLACE FUNCTION allocation_order_fail(p_order allocation_order, p_message text, p_traceback text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE allocation SET error_traceback = p_traceback WHERE id = p_order.allocation_id AND error_traceback <> p_traceback;
    IF p_order.state = 'executing' THEN
        UPDATE allocation_order SET error_traceback = p_traceback WHERE id = p_order.id;
        UPDATE job SET status = 'failed', finished_date = engine_now(), result_message = COALESCE(nullif(p_message, ''), 'failed, says the provider') WHERE id = (job_for_update(allocation_order_job(p_order.id))).id;
    ELSE
        UPDATE allocation_order SET state = 'erred', finished_date = engine_now(), error_message = p_message, error_traceback = p_traceback WHERE id = p_order.id;
        PERFORM plan_stop(ARRAY(SELECT id FROM order_item_plan WHERE order_item_id = p_order.item_id), COALESCE(nullif(p_message, ''), 'failed, says the provider'));
    END IF;
END $$;
COMMENT ON FUNCTION allocation_order_fail(allocation_order, text, text) IS 'The provider says that it did not work.';

CREATE OR REPLACE FUNCTION allocation_order_again(p_order allocation_order) RETURNS jsonb
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _data jsonb := (SELECT data FROM order_item WHERE id = p_order.item_id);
    _id uuid;
BEGIN
    _id := allocation_submit(p_order.tenant_customer_id, p_order.org_id, 'allocation.' || p_order.type, _data);
    RETURN (SELECT jsonb_build_object('order', o.id, 'allocation', o.allocation_id, 'state', o.state) FROM allocation_order AS o WHERE o.id = _id);
END $$;
COMMENT ON FUNCTION allocation_order_again(allocation_order) IS 'Orders anew what erred; an order that has ended stays as it is.';

-- What is said of allocations ----------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION allocation_for(p_id uuid) RETURNS allocation
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _allocation allocation;
BEGIN
    SELECT * INTO _allocation FROM allocation WHERE id = p_id;
    IF _allocation.id IS NULL OR NOT caller_reaches(_allocation.tenant_customer_id, _allocation.org_id, _allocation.provider_account_id, _allocation.offering_id) THEN
        PERFORM refuse('PV404', 'allocation not found', p_id::text, 'SELECT * FROM v_allocation');
    END IF;
    SELECT * INTO _allocation FROM allocation WHERE id = p_id FOR NO KEY UPDATE;
    RETURN _allocation;
END $$;
COMMENT ON FUNCTION allocation_for(uuid) IS 'An allocation the caller sees, locked.';

CREATE OR REPLACE FUNCTION allocation_change(p_id uuid, p jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _allocation allocation := allocation_for(p_id);
    _new allocation;
BEGIN
    PERFORM check_fields('allocation', ARRAY[p], '{}', '{"name": "string", "description": "string", "end_date": "string|null", "options": "object"}');
    PERFORM caller_require('allocation.change', _allocation.tenant_customer_id, _allocation.org_id, 'allocation', p_id::text)
    WHERE NOT offering_may(_allocation.offering_id);
    _new := jsonb_populate_record(_allocation, p);
    IF _allocation.state = 'terminated' THEN
        PERFORM refuse('PV409', 'Valid states for operation: OK, Erred.', p_id || ' is Terminated', 'order another');
    ELSIF _new.end_date < engine_now()::date AND p ? 'end_date' THEN
        PERFORM refuse_field('PV422', 'end_date', 'Cannot be earlier than the current date.', p ->> 'end_date', 'terminate it to end it now');
    END IF;
    UPDATE allocation SET name = _new.name, description = _new.description, end_date = _new.end_date, options = _new.options, end_notice_days = CASE WHEN end_date IS NOT DISTINCT FROM _new.end_date THEN end_notice_days END WHERE id = p_id;
END $$;
COMMENT ON FUNCTION allocation_change(uuid, jsonb) IS 'Changes what of an allocation nobody has to do anything for: name, description, end_date, options.';

CREATE OR REPLACE FUNCTION allocation_provide(p_id uuid, p_action text, p jsonb DEFAULT '{}') RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _allocation allocation := allocation_for(p_id);
BEGIN
    IF NOT offering_may(_allocation.offering_id) THEN
        PERFORM refuse('PV403', 'the right to do this is not held', 'offering.change', 'ask the provider');
    ELSIF _allocation.state = 'terminated' OR (p_action IN ('set_limits', 'set_as_ok', 'set_as_erred') AND (_allocation.state NOT IN ('ok', 'erred')
        OR EXISTS (SELECT FROM allocation_order WHERE allocation_id = p_id AND finished_date IS NULL))) THEN
        PERFORM refuse('PV409', 'Valid states for operation: OK, Erred.', format('%s is %s', p_id, allocation_state_name(_allocation.state)), 'wait until no order is open');
    END IF;
    CASE p_action
        WHEN 'set_backend_id' THEN UPDATE allocation SET backend_id = p ->> 'backend_id' WHERE id = p_id;
        WHEN 'set_backend_metadata' THEN UPDATE allocation SET backend_metadata = p -> 'backend_metadata' WHERE id = p_id;
        WHEN 'submit_report' THEN UPDATE allocation SET report = p -> 'report' WHERE id = p_id;
        WHEN 'refresh_last_sync' THEN UPDATE allocation SET last_sync_date = engine_now() WHERE id = p_id;
        WHEN 'set_as_ok' THEN UPDATE allocation SET state = 'ok', error_message = '', error_traceback = '' WHERE id = p_id;
        WHEN 'set_as_erred' THEN UPDATE allocation SET state = 'erred', error_message = COALESCE(p ->> 'error_message', ''), error_traceback = COALESCE(p ->> 'error_traceback', '') WHERE id = p_id;
        WHEN 'set_limits' THEN
            PERFORM allocation_check_limits(_allocation.offering_id, p -> 'limits');
            PERFORM allocation_set(p_id, _allocation.limits || (p -> 'limits'), _allocation.plan_id);
        WHEN 'set_as_terminated' THEN
            PERFORM allocation_submit(_allocation.tenant_customer_id, _allocation.org_id, 'allocation.terminate', jsonb_build_object('allocation', p_id));
    END CASE;
END $$;
COMMENT ON FUNCTION allocation_provide(uuid, text, jsonb) IS 'What a provider says of an allocation: set_backend_id, set_backend_metadata, submit_report (report), refresh_last_sync, set_as_ok, set_as_erred (error_message, error_traceback), set_limits (limits), set_as_terminated.';

-- In the course of time ----------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION allocation_tell(p_allocation allocation, p_what text, p_reason text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO audit_trail_log (table_name, row_id, tenant_customer_id, org_id, operation, to_state, reason)
    VALUES ('allocation', p_allocation.id, p_allocation.tenant_customer_id, p_allocation.org_id, 'transition', p_what, p_reason);
END $$;
COMMENT ON FUNCTION allocation_tell(allocation, text, text) IS 'An event of an allocation: limit_near, limit_reached, ending, ending_soon.';

CREATE OR REPLACE FUNCTION allocation_end_day(p_allocation allocation) RETURNS date
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN least(p_allocation.end_date, (SELECT end_date FROM project WHERE id = p_allocation.org_id));
END $$;
COMMENT ON FUNCTION allocation_end_day(allocation) IS 'The last day of an allocation: its own, or its project''s if that is earlier; NULL: none.';

CREATE OR REPLACE FUNCTION sweep_allocation() RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _today constant date := engine_now()::date;
    _allocation allocation;
    _id uuid;
    _days int;
BEGIN
    PERFORM allocation_order_advance(o.id) FROM allocation_order AS o JOIN project AS p ON p.id = o.org_id
    WHERE o.state IN ('pending_project', 'pending_start_date') AND COALESCE(p.start_date, _today) <= _today AND COALESCE(o.start_date, _today) <= _today;
    FOR _allocation IN
        SELECT a.* FROM allocation AS a WHERE a.id IN (
            SELECT e.id FROM allocation AS e WHERE e.end_date <= _today + 30 AND e.deleted_date IS NULL
            UNION SELECT e.id FROM project AS p JOIN allocation AS e ON e.org_id = p.id AND e.deleted_date IS NULL WHERE p.end_date <= _today + 30)
        AND a.state IN ('ok', 'erred') AND NOT EXISTS (SELECT FROM allocation_order AS o WHERE o.allocation_id = a.id AND o.finished_date IS NULL)
        ORDER BY a.id FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        _days := allocation_end_day(_allocation) - _today;
        -- One that could not be ended is tried again the next day.
        IF _days < 0 AND NOT EXISTS (SELECT FROM allocation_order WHERE allocation_id = _allocation.id AND type = 'terminate' AND created_date > engine_now() - interval '1 day') THEN
            _id := allocation_submit(_allocation.tenant_customer_id, _allocation.org_id, 'allocation.terminate', jsonb_build_object('allocation', _allocation.id));
            UPDATE allocation_order SET consumer_reviewed_date = engine_now(), provider_reviewed_date = engine_now(), comment = 'its time is over' WHERE id = _id AND finished_date IS NULL;
            PERFORM allocation_order_advance(_id);
        ELSIF _days BETWEEN 0 AND 30 AND COALESCE(_allocation.end_notice_days, 999) > (CASE WHEN _days <= 7 THEN 7 ELSE 30 END) THEN
            UPDATE allocation SET end_notice_days = CASE WHEN _days <= 7 THEN 7 ELSE 30 END WHERE id = _allocation.id;
            PERFORM allocation_tell(_allocation, CASE WHEN _days <= 7 THEN 'ending_soon' ELSE 'ending' END, format('it ends on %s', allocation_end_day(_allocation)));
        END IF;
    END LOOP;
    PERFORM sweep_node_hours();
    PERFORM invoice_close(i) FROM invoice AS i WHERE i.state = 'pending' AND make_date(i.year, i.month, 1) < date_trunc('month', engine_now() AT TIME ZONE 'UTC');
    UPDATE offering_manager SET removed_date = engine_now() WHERE removed_date IS NULL AND expires_date <= engine_now();
    DELETE FROM login_token WHERE expires_date < engine_now();
EXCEPTION WHEN lock_not_available THEN
    -- Somebody is at one of these rows; the next sweep comes soon.
    RETURN;
END $$;
COMMENT ON FUNCTION sweep_allocation() IS 'Lets orders go whose day has come, ends allocations whose time is over and tells of it 30 and 7 days before, closes the invoices of past months.';
