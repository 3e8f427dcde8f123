-- What operators decide about things whose row and whose outside no longer agree.

CREATE OR REPLACE FUNCTION provision_table(p_id uuid) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _table text := (SELECT c.relname FROM class.provision AS p JOIN pg_class AS c ON c.oid = p.tableoid WHERE p.id = p_id);
BEGIN
    IF _table IS NULL THEN
        PERFORM refuse('PV404', 'provision row not found', p_id::text, 'SELECT * FROM v_provision');
    END IF;
    RETURN _table;
END $$;
COMMENT ON FUNCTION provision_table(uuid) IS 'The table a provision row is in.';

CREATE OR REPLACE FUNCTION provision_adopt(p_id uuid, p_external_name text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: for operators, who have EXECUTE and no table rights.
DECLARE
    _table constant text := provision_table(p_id);
BEGIN
    IF EXISTS (SELECT FROM class.provision WHERE id = p_id AND status_id = tc_id_from_name('provision_status', 'completed')) THEN
        PERFORM refuse('PV409', 'the row completed', p_id::text, 'what it made is in the inventory; SELECT provision_forget(id) settles the rest');
    END IF;
    PERFORM effect_decide(p_id, 'adopted', p_external_name);
    EXECUTE format('SELECT %I($1)', _table || '_success') USING ARRAY[p_id];
    PERFORM provision_log(p_id, 'adopted as ' || p_external_name);
    RETURN 'adopted';
END $$;
COMMENT ON FUNCTION provision_adopt(uuid, text) IS 'A thing exists outside though its row did not complete: takes it into the inventory.';

CREATE OR REPLACE FUNCTION provision_forget(p_id uuid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: for operators, who have EXECUTE and no table rights.
BEGIN
    PERFORM effect_decide(p_id, 'forgotten', NULL);
    PERFORM provision_clear(p_id);
    PERFORM provision_log(p_id, 'forgotten');
    RETURN 'forgotten';
END $$;
COMMENT ON FUNCTION provision_forget(uuid) IS 'A thing outside is none of ours, or was removed by hand: no longer shown in v_attention.';

CREATE OR REPLACE FUNCTION provision_clear(p_id uuid) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _table constant text := provision_table(p_id);
BEGIN
    IF (SELECT has_failure FROM class.provision_kind WHERE table_name = _table)
        AND EXISTS (SELECT FROM class.provision WHERE id = p_id AND status_id IN (tc_id_from_name('provision_status', 'failed'), tc_id_from_name('provision_status', 'cancelled'))) THEN
        EXECUTE format('SELECT %I($1)', _table || '_failure') USING ARRAY[p_id];
    END IF;
END $$;
COMMENT ON FUNCTION provision_clear(uuid) IS 'Clears up after a row that did not complete once more, now that it is known what became of its effects.';

CREATE OR REPLACE FUNCTION provision_withdraw(p_table text, p_ids uuid[], p_reason text) RETURNS int
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _count int;
BEGIN
    IF (SELECT has_lock FROM class.provision_kind WHERE table_name = p_table) THEN
        EXECUTE format('SELECT %I($1)', p_table || '_lock') USING p_ids;
    END IF;
    EXECUTE format('UPDATE %I SET status_id = $2, result_message = $3 WHERE id = ANY ($1) AND status_id = $4', p_table)
    USING p_ids, tc_id_from_name('provision_status', 'cancelled'), p_reason, tc_id_from_name('provision_status', 'pending');
    GET DIAGNOSTICS _count = ROW_COUNT;
    RETURN _count;
END $$;
COMMENT ON FUNCTION provision_withdraw(text, uuid[], text) IS 'Cancels those rows of a kind whose gate nobody has opened yet, which have no job; returns how many.';

CREATE OR REPLACE FUNCTION provision_cancel(p_id uuid, p_reason text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: for operators, who have EXECUTE and no table rights.
BEGIN
    IF provision_withdraw(provision_table(p_id), ARRAY[p_id], COALESCE(p_reason, 'cancelled by ' || caller_name())) = 0 THEN
        PERFORM refuse('PV409', 'the row was handed to its job', p_id::text, 'SELECT job_cancel(job_id) if no worker has it');
    END IF;
    RETURN 'cancelled';
END $$;
COMMENT ON FUNCTION provision_cancel(uuid, text) IS 'Cancels a row whose gate nobody opens, so that its name is free again.';

CREATE OR REPLACE FUNCTION adopted_effect(p_job uuid) RETURNS effect
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (SELECT e FROM effect AS e WHERE e.job_id = p_job AND e.status = 'adopted' ORDER BY e.intended_date, e.step LIMIT 1);
END $$;
COMMENT ON FUNCTION adopted_effect(uuid) IS 'What an operator adopted of a job that did not complete: the first is the thing itself.';

CREATE OR REPLACE FUNCTION adopted_result(p_job uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (adopted_effect(p_job)).result;
END $$;
COMMENT ON FUNCTION adopted_result(uuid) IS 'What was known of it.';

CREATE OR REPLACE FUNCTION provision_log(p_id uuid, p_reason text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO audit_trail_log (table_name, row_id, tenant_customer_id, org_id, operation, reason)
    SELECT provision_table(p.id), p.id, p.tenant_customer_id, p.org_id, 'change', p_reason FROM class.provision AS p WHERE p.id = p_id;
END $$;
COMMENT ON FUNCTION provision_log(uuid, text) IS 'Notes an operator''s decision about a provision row in the audit trail.';

CREATE OR REPLACE FUNCTION inventory_missing(p_table text, p_id uuid, p_reason text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: called by the reconcile pass, which may not write the inventory.
BEGIN
    IF p_table NOT IN ('allocation', 'contact', 'host', 'domain', 'certificate', 'compute_cluster', 'wpaas_backup') THEN
        PERFORM refuse('PV400', 'not an inventory table', p_table, 'allocation, contact, host, domain, certificate, compute_cluster or wpaas_backup');
    END IF;
    EXECUTE format('UPDATE %I SET missing_reason = $2, updated_date = engine_now(), updated_by = caller_name() WHERE id = $1 AND missing_reason IS DISTINCT FROM $2', p_table) USING p_id, p_reason;
END $$;
COMMENT ON FUNCTION inventory_missing(text, uuid, text) IS 'Notes that the outside does not have something the inventory has; NULL: it has it again.';
