-- What becomes of names: after an operation that completed, and with time. A trigger of domain notes in domain_due what is
-- to come, and sweep_domains() does it when its time has come.

CREATE OR REPLACE FUNCTION domain_note(p_ids uuid[], p_what text, p_reason text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO audit_trail_log (table_name, row_id, tenant_customer_id, org_id, operation, to_state, reason)
    SELECT 'domain', d.id, d.tenant_customer_id, d.org_id, 'transition', p_what, COALESCE(p_reason, d.name) FROM domain AS d WHERE d.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION domain_note(uuid[], text, text) IS 'An event of names: domain.renewed, domain.expiring …; the reason tells more than the name, if given.';

CREATE OR REPLACE FUNCTION domain_hosts_leave(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _hosts constant uuid[] := ARRAY(SELECT b.id FROM domain AS d CROSS JOIN LATERAL domain_hosts_below(d) AS b WHERE d.id = ANY (p_ids));
BEGIN
    -- A name that is restored later does not have those again that were its own.
    DELETE FROM domain_host WHERE domain_id = ANY (p_ids) AND host_id = ANY (_hosts);
    UPDATE host SET deleted_date = engine_now(), updated_date = engine_now(), updated_by = caller_name() WHERE id = ANY (_hosts);
END $$;
COMMENT ON FUNCTION domain_hosts_leave(uuid[]) IS 'The name servers under names are no more.';

CREATE OR REPLACE FUNCTION domain_leave(p_ids uuid[], p_what text, p_reason text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM domain_note(p_ids, p_what, p_reason);
    DELETE FROM secret AS s USING domain AS d WHERE d.id = ANY (p_ids) AND d.auth_info_ref = 'db:' || s.id;
    PERFORM domain_hosts_leave(p_ids);
    UPDATE domain SET deleted_date = engine_now(), auth_info_ref = NULL, missing_reason = NULL, updated_date = engine_now(), updated_by = caller_name()
    WHERE id = ANY (p_ids) AND deleted_date IS NULL;
END $$;
COMMENT ON FUNCTION domain_leave(uuid[], text, text) IS 'Names, and the name servers under them, are ours no more: history from now on, their names free, their secrets forgotten.';

CREATE OR REPLACE FUNCTION provision_domain_renew_success(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    -- In the add grace period a name stays in that, whatever else begins.
    UPDATE domain AS d SET ry_expiry_date = COALESCE(p.ry_expiry_date, (adopted_result(p.job_id) ->> 'ry_expiry_date')::timestamptz, (p.current_expiry + make_interval(years => p.period)) AT TIME ZONE 'UTC', d.ry_expiry_date),
        rgp_state = CASE WHEN d.rgp_state = 'addPeriod' AND d.rgp_until > engine_now() THEN d.rgp_state ELSE 'renewPeriod' END,
        rgp_until = CASE WHEN d.rgp_state = 'addPeriod' AND d.rgp_until > engine_now() THEN d.rgp_until ELSE engine_now() + make_interval(hours => (p.settings ->> 'grace_hours_renew')::int) END,
        updated_date = engine_now(), updated_by = caller_name()
    FROM provision_domain_renew AS p WHERE p.id = ANY (p_ids) AND d.id = p.domain_id AND d.deleted_date IS NULL;
    PERFORM domain_note(ARRAY[p.domain_id], 'renewed', format('%s expires on %s', p.name, domain_day(d.ry_expiry_date)))
    FROM provision_domain_renew AS p JOIN domain AS d ON d.id = p.domain_id WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_domain_renew_success(uuid[]) IS 'Renewed names expire later.';

CREATE OR REPLACE FUNCTION provision_domain_delete_success(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _deleted record;
BEGIN
    FOR _deleted IN
        SELECT d.id, s.state, make_interval(hours => (p.settings ->> 'grace_hours_redemption')::int) AS redemption, make_interval(hours => (p.settings ->> 'grace_hours_pending_delete')::int) AS pending
        FROM provision_domain_delete AS p JOIN domain AS d ON d.id = p.domain_id AND d.deleted_date IS NULL
        CROSS JOIN LATERAL (SELECT COALESCE(p.ry_state, adopted_result(p.job_id) ->> 'ry_state', CASE WHEN d.rgp_state = 'addPeriod' AND d.rgp_until > engine_now() THEN 'gone' ELSE 'redemptionPeriod' END) AS state) AS s
        WHERE p.id = ANY (p_ids) ORDER BY d.id
    LOOP
        IF _deleted.state = 'gone' THEN
            PERFORM domain_leave(ARRAY[_deleted.id], 'deleted');
            CONTINUE;
        END IF;
        PERFORM domain_hosts_leave(ARRAY[_deleted.id]);
        UPDATE domain SET rgp_state = _deleted.state, updated_date = engine_now(), updated_by = caller_name(),
            rgp_until = engine_now() + CASE _deleted.state WHEN 'redemptionPeriod' THEN _deleted.redemption ELSE _deleted.pending END,
            purge_date = engine_now() + CASE _deleted.state WHEN 'redemptionPeriod' THEN _deleted.redemption + _deleted.pending ELSE _deleted.pending END
        WHERE id = _deleted.id;
        PERFORM domain_note(ARRAY[_deleted.id], CASE _deleted.state WHEN 'redemptionPeriod' THEN 'in_redemption' ELSE 'pending_delete' END);
    END LOOP;
END $$;
COMMENT ON FUNCTION provision_domain_delete_success(uuid[]) IS 'Deleted names are gone, or in redemption until they are purged.';

CREATE OR REPLACE FUNCTION provision_domain_restore_success(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE domain AS d SET ry_expiry_date = COALESCE(p.ry_expiry_date, (adopted_result(p.job_id) ->> 'ry_expiry_date')::timestamptz, d.ry_expiry_date),
        rgp_state = NULL, rgp_until = NULL, purge_date = NULL, updated_date = engine_now(), updated_by = caller_name()
    FROM provision_domain_restore AS p WHERE p.id = ANY (p_ids) AND d.id = p.domain_id AND d.deleted_date IS NULL;
    PERFORM domain_note(ARRAY(SELECT domain_id FROM provision_domain_restore WHERE id = ANY (p_ids)), 'restored');
END $$;
COMMENT ON FUNCTION provision_domain_restore_success(uuid[]) IS 'Restored names live on.';

-- What time does -----------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION domain_dues(p_domain domain) RETURNS TABLE (what text, due_date timestamptz, basis_date timestamptz)
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF p_domain.deleted_date IS NOT NULL THEN
        RETURN;
    END IF;
    RETURN QUERY SELECT 'transfer', p_domain.transfer_due, p_domain.transfer_due WHERE p_domain.transfer_due IS NOT NULL;
    IF p_domain.purge_date IS NOT NULL THEN
        RETURN QUERY VALUES ('purge', p_domain.purge_date, p_domain.purge_date);
        RETURN QUERY SELECT 'pending_delete', p_domain.rgp_until, p_domain.rgp_until WHERE p_domain.rgp_state = 'redemptionPeriod';
    ELSIF p_domain.ry_expiry_date IS NOT NULL THEN
        RETURN QUERY SELECT 'notice', domain_next_notice(p_domain.ry_expiry_date), p_domain.ry_expiry_date WHERE domain_next_notice(p_domain.ry_expiry_date) IS NOT NULL;
        RETURN QUERY SELECT 'auto_renew', p_domain.ry_expiry_date - make_interval(days => setting_value('auto_renew_days')::int), p_domain.ry_expiry_date WHERE p_domain.auto_renew;
    END IF;
END $$;
COMMENT ON FUNCTION domain_dues(domain) IS 'What is to come for a name.';

CREATE OR REPLACE FUNCTION domain_next_notice(p_expiry timestamptz) RETURNS timestamptz
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (SELECT min(p_expiry - make_interval(days => d)) FROM unnest('{30,7,1}'::int[]) AS d WHERE p_expiry - make_interval(days => d) > engine_now());
END $$;
COMMENT ON FUNCTION domain_next_notice(timestamptz) IS 'When it is next told that a name expires: 30, 7 and 1 days before; NULL: no more.';

CREATE OR REPLACE FUNCTION domain_plan_due() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: whoever changes a name need not be allowed to write what is due.
BEGIN
    DELETE FROM domain_due AS u USING domain AS d WHERE d.id IN (SELECT id FROM new_rows) AND u.domain_id = d.id AND u.what NOT IN (SELECT w.what FROM domain_dues(d) AS w);
    INSERT INTO domain_due AS u (domain_id, what, due_date, basis_date)
    SELECT d.id, w.what, w.due_date, w.basis_date FROM domain AS d CROSS JOIN LATERAL domain_dues(d) AS w WHERE d.id IN (SELECT id FROM new_rows)
    -- What was put off stays so until the date it follows from is another.
    ON CONFLICT (domain_id, what) DO UPDATE SET due_date = EXCLUDED.due_date, basis_date = EXCLUDED.basis_date WHERE u.basis_date <> EXCLUDED.basis_date;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION domain_plan_due() IS 'Notes what is to come for names that are new or changed.';
SELECT class.replace_trigger('domain_due_' || lower(w) || '_tg', 'domain', format('AFTER %s ON {table} REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT', w), 'domain_plan_due()')
FROM unnest('{INSERT,UPDATE}'::text[]) AS w;

CREATE OR REPLACE FUNCTION sweep_domains() RETURNS int
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _due domain_due;
    _done int := 0;
BEGIN
    FOR _due IN SELECT * FROM domain_due WHERE due_date <= engine_now() ORDER BY due_date LIMIT 100 FOR UPDATE SKIP LOCKED LOOP
        BEGIN
            PERFORM domain_due_now(_due, d) FROM domain AS d WHERE d.id = _due.domain_id;
            _done := _done + 1;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            -- Somebody is at it just now. Put off a little, so that it keeps nothing else waiting.
            UPDATE domain_due SET due_date = engine_now() + interval '1 minute' WHERE domain_id = _due.domain_id AND what = _due.what;
        END;
    END LOOP;
    RETURN _done;
END $$;
COMMENT ON FUNCTION sweep_domains() IS 'Does with names what is due: tells that they expire, renews, purges, asks how a transfer ended. Returns how many things.';

CREATE OR REPLACE FUNCTION domain_due_now(p_due domain_due, p_domain domain) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _next timestamptz;
BEGIN
    CASE p_due.what
        WHEN 'notice' THEN
            PERFORM domain_note(ARRAY[p_domain.id], 'expiring', format('%s expires on %s', p_domain.name, domain_day(p_domain.ry_expiry_date)));
            _next := domain_next_notice(p_domain.ry_expiry_date);
        WHEN 'auto_renew' THEN
            PERFORM domain_auto_renew(p_domain);
            _next := engine_now() + interval '1 day';
        WHEN 'transfer' THEN
            -- The registry has decided by now, and its message says how; the queue is read at once.
            UPDATE schedule SET next_date = engine_now() WHERE job_type = 'registry_poll' AND accreditation_id = p_domain.accreditation_id AND next_date > engine_now();
            _next := engine_now() + interval '1 hour';
        WHEN 'pending_delete' THEN
            UPDATE domain SET rgp_state = 'pendingDelete', rgp_until = purge_date, updated_date = engine_now(), updated_by = caller_name() WHERE id = p_domain.id;
            PERFORM domain_note(ARRAY[p_domain.id], 'pending_delete');
        WHEN 'purge' THEN
            -- While something is still being done with it, that decides.
            IF EXISTS (SELECT FROM object_operation WHERE object_type = 'domain' AND object_key = p_domain.name) THEN
                _next := engine_now() + interval '1 hour';
            ELSE
                PERFORM domain_leave(ARRAY[p_domain.id], 'purged');
            END IF;
    END CASE;
    IF _next IS NULL THEN
        DELETE FROM domain_due WHERE domain_id = p_due.domain_id AND what = p_due.what;
    ELSE
        UPDATE domain_due SET due_date = _next WHERE domain_id = p_due.domain_id AND what = p_due.what;
    END IF;
END $$;
COMMENT ON FUNCTION domain_due_now(domain_due, domain) IS 'Does one thing that is due, and notes when it is due again.';

CREATE OR REPLACE FUNCTION domain_auto_renew(p_domain domain) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _order constant jsonb := jsonb_build_object('tenant_customer_id', p_domain.tenant_customer_id, 'org_id', p_domain.org_id, 'metadata', '{"auto_renew": true}'::jsonb,
        'items', jsonb_build_array(jsonb_build_object('operation', 'domain.renew', 'data', jsonb_build_object('name', p_domain.name, 'current_expiry', domain_day(p_domain.ry_expiry_date)))));
    _reason text;
    _detail text;
BEGIN
    IF NOT (SELECT is_active FROM tenant_customer WHERE id = p_domain.tenant_customer_id) THEN
        _reason := 'the customer may not order';
    ELSE
        BEGIN
            PERFORM order_place(order_requests(jsonb_build_array(_order)));
            RETURN;
        EXCEPTION WHEN OTHERS THEN
            -- A refusal is told, and tried again tomorrow; anything else is the sweeper's.
            IF SQLSTATE NOT LIKE 'PV%' THEN
                RAISE;
            END IF;
            GET STACKED DIAGNOSTICS _reason = MESSAGE_TEXT, _detail = PG_EXCEPTION_DETAIL;
        END;
    END IF;
    PERFORM domain_note(ARRAY[p_domain.id], 'auto_renew_refused', concat_ws(': ', _reason, nullif(_detail, '')));
END $$;
COMMENT ON FUNCTION domain_auto_renew(domain) IS 'Orders the renewal of a name by itself; why that is refused is an event.';
