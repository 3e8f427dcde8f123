-- What becomes of allocations and their orders: <table>_success takes what was done into the inventory, allocation_undo
-- takes back what an order that did not succeed had reserved or begun. A step tells its order how it stands
-- (allocation_step_moved), by whichever way it moved: by a worker, a provider, an operator or the order's cancellation.

CREATE OR REPLACE FUNCTION provision_allocation_success(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    -- One that was adopted after it had failed was terminated, and stays so.
    UPDATE allocation AS a SET state = 'ok', activated_date = engine_now(), backend_id = COALESCE(nullif(p.roid, ''), (adopted_effect(p.job_id)).external_name, a.backend_id), error_message = ''
    FROM provision_allocation AS p WHERE p.id = ANY (p_ids) AND a.id = p.id AND a.state IN ('creating', 'erred');
    INSERT INTO allocation_period (tenant_customer_id, org_id, provider_account_id, offering_id, allocation_id, plan_id, start_date)
    SELECT a.tenant_customer_id, a.org_id, a.provider_account_id, a.offering_id, a.id, a.plan_id, engine_now() FROM allocation AS a WHERE a.id = ANY (p_ids) AND a.state = 'ok';
    INSERT INTO allocation_limit (allocation_id, start_date, limits) SELECT a.id, engine_now(), a.limits FROM allocation AS a WHERE a.id = ANY (p_ids) AND a.state = 'ok';
    PERFORM invoice_refresh(a) FROM allocation AS a WHERE a.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_allocation_success(uuid[]) IS 'Created allocations can be used, and their first plan period begins.';

CREATE OR REPLACE FUNCTION provision_allocation_update_success(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM allocation_set(p.allocation_id, p.limits, p.plan_id) FROM provision_allocation_update AS p WHERE p.id = ANY (p_ids) ORDER BY p.allocation_id;
END $$;
COMMENT ON FUNCTION provision_allocation_update_success(uuid[]) IS 'Changed allocations have their new limits and plan.';

CREATE OR REPLACE FUNCTION allocation_set(p_id uuid, p_limits jsonb, p_plan uuid) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _old allocation;
    _new allocation;
BEGIN
    SELECT * INTO _old FROM allocation WHERE id = p_id FOR NO KEY UPDATE;
    PERFORM allocation_reserve(p_id, p_limits);
    UPDATE allocation SET state = CASE state WHEN 'updating' THEN 'ok' ELSE state END, limits = p_limits, plan_id = p_plan, error_message = '',
        -- What was told of a limit is told again only of a lower one.
        usage_notice = CASE WHEN limits = p_limits THEN usage_notice ELSE '{}' END WHERE id = p_id RETURNING * INTO _new;
    INSERT INTO allocation_limit AS l (allocation_id, start_date, limits) SELECT p_id, engine_now(), p_limits WHERE _new.limits <> _old.limits
    ON CONFLICT (allocation_id, start_date) DO UPDATE SET limits = excluded.limits;
    IF _new.plan_id IS DISTINCT FROM _old.plan_id THEN
        UPDATE allocation_period SET end_date = greatest(engine_now(), start_date) WHERE allocation_id = p_id AND end_date IS NULL;
        INSERT INTO allocation_period (tenant_customer_id, org_id, provider_account_id, offering_id, allocation_id, plan_id, start_date)
        VALUES (_new.tenant_customer_id, _new.org_id, _new.provider_account_id, _new.offering_id, p_id, p_plan, engine_now());
    END IF;
    PERFORM invoice_refresh(_new);
END $$;
COMMENT ON FUNCTION allocation_set(uuid, jsonb, uuid) IS 'Gives an allocation limits and plan; with another plan another plan period begins.';

CREATE OR REPLACE FUNCTION provision_allocation_terminate_success(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _allocation allocation;
BEGIN
    FOR _allocation IN SELECT a.* FROM provision_allocation_terminate AS p JOIN allocation AS a ON a.id = p.allocation_id WHERE p.id = ANY (p_ids) AND a.deleted_date IS NULL ORDER BY a.id LOOP
        PERFORM allocation_terminated(_allocation.id);
    END LOOP;
END $$;
COMMENT ON FUNCTION provision_allocation_terminate_success(uuid[]) IS 'Ended allocations take nothing any more.';

CREATE OR REPLACE FUNCTION allocation_terminated(p_id uuid) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _allocation allocation;
BEGIN
    PERFORM allocation_reserve(p_id, '{}');
    UPDATE allocation_period SET end_date = greatest(engine_now(), start_date) WHERE allocation_id = p_id AND end_date IS NULL;
    UPDATE allocation SET state = 'terminated', deleted_date = engine_now() WHERE id = p_id RETURNING * INTO _allocation;
    PERFORM invoice_refresh(_allocation);
END $$;
COMMENT ON FUNCTION allocation_terminated(uuid) IS 'An allocation is no more: its part of the pools is given back, its plan period ends.';

CREATE OR REPLACE FUNCTION allocation_undo(p_id uuid, p_type text, p_outcome text, p_reason text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _allocation allocation;
BEGIN
    SELECT * INTO _allocation FROM allocation WHERE id = p_id FOR NO KEY UPDATE;
    IF _allocation.state IN ('terminated', 'erred') THEN
        RETURN;
    ELSIF p_outcome = 'failed' THEN
        UPDATE allocation SET error_message = COALESCE(p_reason, '') WHERE id = p_id;
    END IF;
    IF p_type = 'create' AND p_outcome = 'failed' AND _allocation.backend_id <> '' THEN
        UPDATE allocation SET state = 'erred' WHERE id = p_id;
    ELSIF p_type = 'create' THEN
        PERFORM allocation_terminated(p_id) WHERE _allocation.state = 'creating';
    ELSIF p_type = 'update' THEN
        PERFORM allocation_reserve(p_id, _allocation.limits);
        UPDATE allocation SET state = CASE p_outcome WHEN 'failed' THEN 'erred' ELSE 'ok' END WHERE id = p_id AND state = 'updating';
    ELSE
        UPDATE allocation SET state = 'ok' WHERE id = p_id AND state = 'terminating';
    END IF;
END $$;
COMMENT ON FUNCTION allocation_undo(uuid, text, text, text) IS 'After a change that failed or was cancelled: what was only to be is no more, what was to change is as before, and nothing is reserved.';

-- Rows without an order; those of orders follow their steps.

CREATE OR REPLACE FUNCTION provision_allocation_failure(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM allocation_undo(p.id, 'create', CASE p.status_id WHEN tc_id_from_name('provision_status', 'failed') THEN 'failed' ELSE 'cancelled' END, p.result_message)
    FROM provision_allocation AS p WHERE p.id = ANY (p_ids) AND p.order_item_plan_ids = '{}';
END $$;
COMMENT ON FUNCTION provision_allocation_failure(uuid[]) IS 'What was not created takes nothing.';

CREATE OR REPLACE FUNCTION provision_allocation_update_failure(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM allocation_undo(p.allocation_id, 'update', CASE p.status_id WHEN tc_id_from_name('provision_status', 'failed') THEN 'failed' ELSE 'cancelled' END, p.result_message)
    FROM provision_allocation_update AS p WHERE p.id = ANY (p_ids) AND p.order_item_plan_ids = '{}'
        AND NOT EXISTS (SELECT FROM allocation_order AS o WHERE o.allocation_id = p.allocation_id AND o.finished_date IS NULL);
END $$;
COMMENT ON FUNCTION provision_allocation_update_failure(uuid[]) IS 'What was not changed has its old limits.';

CREATE OR REPLACE FUNCTION provision_allocation_terminate_failure(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM allocation_undo(p.allocation_id, 'terminate', CASE p.status_id WHEN tc_id_from_name('provision_status', 'failed') THEN 'failed' ELSE 'cancelled' END, p.result_message)
    FROM provision_allocation_terminate AS p WHERE p.id = ANY (p_ids) AND p.order_item_plan_ids = '{}'
        AND NOT EXISTS (SELECT FROM allocation_order AS o WHERE o.allocation_id = p.allocation_id AND o.finished_date IS NULL);
END $$;
COMMENT ON FUNCTION provision_allocation_terminate_failure(uuid[]) IS 'What was not ended is there.';

CREATE OR REPLACE FUNCTION allocation_step_moved() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: allocations and their orders are written by no one else.
DECLARE
    _order allocation_order;
BEGIN
    SELECT * INTO _order FROM allocation_order WHERE id = NEW.order_id AND item_id = NEW.order_item_id;
    IF _order.id IS NULL THEN
        RETURN NULL;
    ELSIF NEW.status = 'processing' THEN
        UPDATE allocation SET state = CASE _order.type WHEN 'update' THEN 'updating' ELSE 'terminating' END WHERE id = _order.allocation_id AND _order.type <> 'create';
    ELSIF NEW.status IN ('failed', 'cancelled') THEN
        PERFORM allocation_undo(_order.allocation_id, _order.type, NEW.status, NEW.reason);
    END IF;
    -- One that was rejected has ended already.
    UPDATE allocation_order SET state = CASE NEW.status WHEN 'processing' THEN 'executing' WHEN 'completed' THEN 'done' WHEN 'failed' THEN 'erred' ELSE 'canceled' END,
        error_message = CASE NEW.status WHEN 'failed' THEN COALESCE(NEW.reason, '') ELSE error_message END, comment = CASE WHEN NEW.status = 'cancelled' AND comment = '' THEN COALESCE(NEW.reason, '') ELSE comment END,
        finished_date = CASE WHEN NEW.status <> 'processing' THEN engine_now() END
    WHERE id = NEW.order_id AND finished_date IS NULL;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION allocation_step_moved() IS 'Has an allocation and its order follow the step that changes it.';
SELECT class.replace_trigger('order_item_plan_allocation_tg', 'order_item_plan',
    'AFTER UPDATE ON {table} FOR EACH ROW WHEN (NEW.provision_table IN (''provision_allocation'', ''provision_allocation_update'', ''provision_allocation_terminate'') AND NEW.status <> OLD.status AND NEW.status <> ''waiting'')', 'allocation_step_moved()');
