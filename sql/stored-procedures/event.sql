-- Events: audit_trail_log, read in the order (era, xid, id). event_page() is what clients call: from the id of the last
-- event they got it reads on, at most to the oldest transaction that is still open, whose entries nobody has seen yet.
-- Era: event_era_check() compares the server with the one that the last events were written on; where it is another, or
-- one that was put back to an earlier time, event_era_begin() has ids go on in a way that no reader misses anything.

-- What an entry is ---------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION event_type(p_table text, p_operation text, p_to_state text, p_changed jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
DECLARE
    _is_request constant boolean := starts_with(p_table, 'provision_');
BEGIN
    RETURN CASE WHEN _is_request THEN substr(p_table, 11) ELSE p_table END || '.' || CASE
        WHEN p_operation = 'transition' OR (_is_request AND p_operation = 'insert') THEN p_to_state
        WHEN p_operation = 'insert' THEN 'created'
        WHEN p_operation = 'delete' THEN 'deleted'
        ELSE COALESCE(p_changed -> 'status' ->> 1, p_changed -> 'state' ->> 1, 'changed') END;
END $$;
COMMENT ON FUNCTION event_type(text, text, text, jsonb) IS 'Type of an event: what it is about and what happened, order.completed.';

CREATE OR REPLACE FUNCTION event_changed(p_operation text, p_changed jsonb) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF p_operation = 'change' THEN
        RETURN ARRAY(SELECT key FROM jsonb_each(p_changed) WHERE value <> '["***", "***"]' AND key <> 'version' ORDER BY key);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION event_changed(text, jsonb) IS 'Names of the columns that changed, without the secret ones; values are not told.';

CREATE OR REPLACE FUNCTION event_is_one(p_table text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN p_table NOT IN ('job', 'order_item');
END $$;
COMMENT ON FUNCTION event_is_one(text) IS 'Whether entries about a table are events: not the engine''s inner workings.';

CREATE OR REPLACE FUNCTION event_begets(p_table text, p_operation text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN starts_with(p_table, 'provision_') OR (p_operation = 'insert' AND p_table <> 'order');
END $$;
COMMENT ON FUNCTION event_begets(text, text) IS 'Whether an entry tells of something that an order brings about: a provision row, or the new thing that has its id.';

CREATE OR REPLACE FUNCTION event_document(p_entry audit_trail_log, p_id text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    _order uuid := p_entry.row_id;
BEGIN
    IF p_entry.table_name <> 'order' THEN
        _order := (SELECT s.order_id FROM class.provision AS p JOIN order_item_plan AS s ON s.id = p.order_item_plan_ids[1]
            WHERE p.id = p_entry.row_id AND event_begets(p_entry.table_name, p_entry.operation));
    END IF;
    RETURN jsonb_build_object(
        'id', p_id, 'type', event_type(p_entry.table_name, p_entry.operation, p_entry.to_state, p_entry.changed), 'time', p_entry.logged_date,
        'tenant_customer_id', p_entry.tenant_customer_id, 'org_id', p_entry.org_id, 'subject', jsonb_build_object('table', p_entry.table_name, 'id', p_entry.row_id),
        'from_state', p_entry.from_state, 'to_state', p_entry.to_state, 'changed', event_changed(p_entry.operation, p_entry.changed), 'reason', p_entry.reason)
        || COALESCE((SELECT jsonb_build_object('order_id', o.id, 'external_reference', o.external_reference, 'traceparent', o.traceparent) FROM "order" AS o WHERE o.id = _order),
            '{"order_id": null, "external_reference": null, "traceparent": null}');
END $$;
COMMENT ON FUNCTION event_document(audit_trail_log, text) IS 'An entry as clients are told it; v_event has the same in columns.';

CREATE OR REPLACE FUNCTION event_types_check(p_types text[]) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM refuse('PV400', 'the type of event is malformed', left(t, 100), 'name types as order.completed, or all of a kind as domain.*; at most 50')
    FROM unnest(p_types) AS t WHERE t !~ '^[a-z_]{1,60}\.([a-z_]{1,60}|\*)$' OR t IS NULL OR cardinality(p_types) > 50;
    RETURN p_types;
END $$;
COMMENT ON FUNCTION event_types_check(text[]) IS 'Refuses types of events that cannot be.';

CREATE OR REPLACE FUNCTION event_is_wanted(p_entry audit_trail_log, p_types text[]) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
DECLARE
    _type constant text := event_type(p_entry.table_name, p_entry.operation, p_entry.to_state, p_entry.changed);
BEGIN
    RETURN event_is_one(p_entry.table_name)
        AND ((cardinality(p_types) > 0) IS NOT TRUE OR _type = ANY (p_types) OR split_part(_type, '.', 1) || '.*' = ANY (p_types));
END $$;
COMMENT ON FUNCTION event_is_wanted(audit_trail_log, text[]) IS 'Whether an entry is an event of one of the types; none given: of any.';

-- Where it lies ------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION event_cluster() RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (SELECT system_identifier FROM pg_control_system()) || ' ' || left(pg_walfile_name(pg_current_wal_lsn()), 8);
END $$;
COMMENT ON FUNCTION event_cluster() IS 'The server and its timeline: another one after a restore from a dump, to a point in time, or a promotion.';

CREATE OR REPLACE FUNCTION event_era_check() RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF (SELECT cluster FROM event_era ORDER BY id DESC LIMIT 1) = event_cluster() THEN
        RETURN;
    END IF;
    PERFORM FROM event_era WHERE id = (SELECT max(id) FROM event_era) FOR UPDATE;
    IF (SELECT cluster FROM event_era ORDER BY id DESC LIMIT 1) <> event_cluster() THEN
        PERFORM event_era_begin();
    END IF;
END $$;
COMMENT ON FUNCTION event_era_check() IS 'Begins a new era if the server is not the one it was; whoever reads events asks first.';

CREATE OR REPLACE FUNCTION event_era_begin() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: for operators, who have EXECUTE and no table rights.
DECLARE
    _last event_era;
    _id bigint;
BEGIN
    SELECT * INTO _last FROM event_era ORDER BY id DESC LIMIT 1;
    -- Nobody knows which entries after the watermark were read before. All of them are events of the new era: some may be
    -- sent again, none is left out. One that is being written now has a number of its own, above or below this one.
    UPDATE audit_trail_log SET xid = DEFAULT WHERE id > _last.watermark_id AND logged_date > _last.watermark_date - interval '1 day';
    INSERT INTO event_era (id, cluster, after_id, watermark_id)
    VALUES (greatest(extract(EPOCH FROM clock_timestamp())::bigint, _last.id + 1), event_cluster(), _last.watermark_id, _last.watermark_id) RETURNING id INTO _id;
    RETURN _id;
END $$;
COMMENT ON FUNCTION event_era_begin() IS 'Has events after the last watermark be new ones. Done by itself; by hand after a disk was put back to an earlier state in a way the server cannot know.';

CREATE OR REPLACE FUNCTION sweep_events() RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _given constant bigint := (SELECT last_value FROM audit_trail_log_id_seq);
BEGIN
    PERFORM event_era_check();
    UPDATE event_era SET watermark_id = _given, watermark_date = engine_now()
    WHERE id = (SELECT max(id) FROM event_era) AND watermark_id < _given AND watermark_date < engine_now() - interval '1 minute';
END $$;
COMMENT ON FUNCTION sweep_events() IS 'Notes once a minute how far the log is.';

CREATE OR REPLACE FUNCTION event_cursor(p_place event_place) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN format('%s-%s-%s', p_place.era, p_place.xid, p_place.id);
END $$;
COMMENT ON FUNCTION event_cursor(event_place) IS 'A place as text.';

CREATE OR REPLACE FUNCTION event_horizon() RETURNS xid8
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _snapshot constant pg_snapshot := pg_current_snapshot();
BEGIN
    -- Transaction numbers are the whole server's. One that is known to be another database's writes nothing here: the locks
    -- tell whose it is, and anybody may see them. A snapshot leaves out the asking transaction, which is open too.
    RETURN least(pg_current_xact_id_if_assigned(), COALESCE((
        SELECT min(x) FROM pg_snapshot_xip(_snapshot) AS x
        WHERE NOT EXISTS (
            SELECT FROM pg_locks AS l CROSS JOIN LATERAL pg_stat_get_activity(l.pid) AS a
            WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.transactionid = x::xid
                AND a.datid <> (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database()))
    ), pg_snapshot_xmax(_snapshot)));
END $$;
COMMENT ON FUNCTION event_horizon() IS 'The oldest transaction of this database that is still open, the asking one included: all below it have ended, and the asking statement sees what they wrote.';

CREATE OR REPLACE FUNCTION event_now() RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM event_era_check();
    RETURN event_cursor(ROW((SELECT max(id) FROM event_era), event_horizon(), 0::bigint)::event_place);
END $$;
COMMENT ON FUNCTION event_now() IS 'The place before all that is still to come.';

CREATE OR REPLACE FUNCTION event_place(p_cursor text) RETURNS event_place
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _parts text[] := regexp_match(p_cursor, '^(\d{1,12})-(\d{1,19})-(\d{1,18})$');
    _era bigint;
BEGIN
    IF p_cursor = '0' THEN
        RETURN ROW((SELECT min(id) FROM event_era), '0'::xid8, 0::bigint)::event_place;
    END IF;
    -- An era that a restore has undone: what its readers had seen ended before the first era that came after.
    _era := (SELECT min(id) FROM event_era WHERE id >= _parts[1]::bigint);
    IF _era IS NULL OR (_era = _parts[1]::bigint AND _parts[2]::xid8 > pg_snapshot_xmax(pg_current_snapshot()) AND _era = (SELECT max(id) FROM event_era)) THEN
        PERFORM refuse('PV400', 'there is no such place among the events', left(p_cursor, 100), 'give the id of the last event you got; without one you get what happens from now on, with 0 all there is');
    END IF;
    RETURN CASE WHEN _era = _parts[1]::bigint THEN ROW(_era, _parts[2]::xid8, _parts[3]::bigint)::event_place ELSE ROW(_era, '0'::xid8, 0::bigint)::event_place END;
END $$;
COMMENT ON FUNCTION event_place(text) IS 'The place a reader has reached, by the id of its last event; 0: the beginning.';

-- Reading ------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION event_scan(p_customer uuid, p_org uuid, p_at event_place, p_after_id bigint, p_last_id bigint, p_limit int) RETURNS SETOF audit_trail_log
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_memoize = off SET jit = off AS $$
DECLARE
    -- An era that is over has no open transactions.
    _below constant xid8 := CASE WHEN p_last_id IS NULL THEN event_horizon() ELSE '9223372036854775807' END;
BEGIN
    RETURN QUERY
    SELECT l.* FROM audit_trail_log AS l
    WHERE l.tenant_customer_id = p_customer AND (p_org IS NULL OR l.org_id = p_org) AND (l.xid, l.id) > (p_at.xid, p_at.id) AND l.xid < _below
        AND l.id > p_after_id AND (p_last_id IS NULL OR l.id <= p_last_id)
    ORDER BY l.xid, l.id LIMIT p_limit;
END $$;
COMMENT ON FUNCTION event_scan(uuid, uuid, event_place, bigint, bigint, int) IS 'Entries of one era after a place, in order, below the oldest open transaction.';

CREATE OR REPLACE FUNCTION event_read(p_customer uuid, p_org uuid, p_after text, p_types text[], p_limit int) RETURNS TABLE (id text, event jsonb)
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    _at event_place := event_place(p_after);
    _left int := p_limit;
    _walk int := greatest(1000, p_limit);
    _era record;
    _entry audit_trail_log;
BEGIN
    <<pages>>
    FOR _era IN SELECT e.id, e.after_id, lead(e.after_id) OVER (ORDER BY e.id) AS last_id FROM event_era AS e WHERE e.id >= _at.era ORDER BY e.id LOOP
        _at := CASE WHEN _era.id = _at.era THEN _at ELSE ROW(_era.id, '0'::xid8, 0::bigint)::event_place END;
        FOR _entry IN SELECT * FROM event_scan(p_customer, p_org, _at, _era.after_id, _era.last_id, _walk) LOOP
            _at := ROW(_era.id, _entry.xid, _entry.id)::event_place;
            _walk := _walk - 1;
            CONTINUE WHEN NOT event_is_wanted(_entry, p_types);
            RETURN QUERY SELECT event_cursor(_at), event_document(_entry, event_cursor(_at));
            _left := _left - 1;
            EXIT pages WHEN _left = 0;
        END LOOP;
        EXIT WHEN _walk <= 0;
    END LOOP;
    -- However few of the entries were wanted, the next page begins behind all that were looked at.
    RETURN QUERY SELECT event_cursor(_at), NULL::jsonb;
END $$;
COMMENT ON FUNCTION event_read(uuid, uuid, text, text[], int) IS 'Events of a customer after a place, and at last, without an event, the place to go on from; the same as given: there is nothing more yet.';

CREATE OR REPLACE FUNCTION event_page(p_after text DEFAULT NULL, p_types text[] DEFAULT NULL, p_limit int DEFAULT 100) RETURNS TABLE (id text, event jsonb)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: reads the log, on which callers have no rights.
DECLARE
    _now constant text := event_now();
BEGIN
    IF caller_customer() IS NULL THEN
        PERFORM refuse('PV400', 'whose events?', 'the caller acts for no account', 'act for an account; operators SELECT * FROM v_event');
    END IF;
    RETURN QUERY SELECT * FROM event_read(caller_customer(), caller_org(), COALESCE(p_after, _now), event_types_check(p_types), least(greatest(p_limit, 1), 1000));
END $$;
COMMENT ON FUNCTION event_page(text, text[], int) IS 'The caller''s events after the one with this id, oldest first, at most p_limit and of these types; the last row has no event but the id to go on from. Without p_after: that of what comes from now on.';

-- Webhooks: what customers do with them ------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION webhook_url_check(p_url text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _parts text[] := regexp_match(p_url, '^(https?)://([^/?#@\s\\]+?)(?::(\d{1,5}))?([/?][!-~]*)?$', 'i');
    _private constant boolean := setting_value('webhook_private')::boolean;
BEGIN
    -- Addresses are looked at when something is sent, as a name can be made to point anywhere at any time.
    IF _parts IS NULL OR length(p_url) > 2000 OR p_url ~ '#' OR COALESCE(_parts[3]::int, 443) NOT BETWEEN 1 AND 65535 OR _parts[2] !~ '^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])$' THEN
        PERFORM refuse('PV422', 'the URL cannot be used', left(p_url, 200), 'give https://name/path, without user, password or fragment');
    ELSIF NOT _private AND (lower(_parts[1]) <> 'https' OR lower(_parts[2]) ~ '(^|\.)(localhost|local|internal)\.?$' OR _parts[2] !~ '\.') THEN
        PERFORM refuse('PV422', 'the URL is not a public one over TLS', left(p_url, 200), 'give https:// and a name that everybody can reach');
    END IF;
    RETURN p_url;
END $$;
COMMENT ON FUNCTION webhook_url_check(text) IS 'Refuses URLs that nothing may be sent to.';

CREATE OR REPLACE FUNCTION webhook_new_secret() RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN 'whsec_' || random_secret();
END $$;
COMMENT ON FUNCTION webhook_new_secret() IS 'A secret to sign with.';

CREATE OR REPLACE FUNCTION webhook_for_caller(p_id uuid, p_version bigint DEFAULT NULL) RETURNS webhook
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _webhook webhook;
BEGIN
    SELECT * INTO _webhook FROM webhook WHERE id = p_id
        AND (caller_sees_all() OR (tenant_customer_id = caller_customer() AND (caller_org() IS NULL OR org_id = caller_org()))) FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM refuse('PV404', 'webhook not found', p_id::text, 'SELECT * FROM v_webhook');
    END IF;
    PERFORM caller_require('webhook.change', _webhook.tenant_customer_id, _webhook.org_id, 'webhook', p_id::text);
    IF p_version <> _webhook.version THEN
        PERFORM refuse('PV412', 'the webhook has changed meanwhile', format('it is version %s, not %s', _webhook.version, p_version), 'read it again');
    END IF;
    RETURN _webhook;
END $$;
COMMENT ON FUNCTION webhook_for_caller(uuid, bigint) IS 'Locks a webhook of the caller''s; another''s answers as one that does not exist.';

CREATE OR REPLACE FUNCTION webhook_create(p jsonb) RETURNS TABLE (id uuid, secret text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: webhooks are written only through these functions.
#variable_conflict use_column
DECLARE
    _id constant uuid := new_id();
    _secret constant text := webhook_new_secret();
BEGIN
    PERFORM check_fields('webhook', ARRAY[p], '{url}', '{"url": "string", "types": "array", "is_active": "boolean"}');
    IF caller_customer() IS NULL THEN
        PERFORM refuse('PV400', 'whose webhook?', 'the caller acts for no account', 'act for an account');
    END IF;
    PERFORM caller_require('webhook.change', caller_customer(), caller_org());
    IF (SELECT count(*) >= 20 FROM webhook WHERE tenant_customer_id = caller_customer()) THEN
        PERFORM refuse('PV422', 'no more webhooks', '20 are there', 'remove one');
    END IF;
    INSERT INTO webhook (id, tenant_customer_id, org_id, url, types, is_active)
    VALUES (_id, caller_customer(), caller_org(), webhook_url_check(p ->> 'url'), webhook_types(p -> 'types'), COALESCE((p ->> 'is_active')::boolean, true));
    INSERT INTO webhook_secret (webhook_id, secret) VALUES (_id, _secret);
    INSERT INTO webhook_delivery (webhook_id, place) VALUES (_id, event_now());
    RETURN QUERY VALUES (_id, _secret);
END $$;
COMMENT ON FUNCTION webhook_create(jsonb) IS 'Makes a webhook of url, types and is_active, to which the caller''s events are sent from now on; shows its secret this once.';

CREATE OR REPLACE FUNCTION webhook_types(p_types jsonb) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN event_types_check(ARRAY(SELECT jsonb_array_elements_text(COALESCE(p_types, '[]'))));
END $$;
COMMENT ON FUNCTION webhook_types(jsonb) IS 'Types of events from a JSON array.';

CREATE OR REPLACE FUNCTION webhook_change(p_id uuid, p jsonb, p_version bigint DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: webhooks are written only through these functions.
DECLARE
    _webhook constant webhook := webhook_for_caller(p_id, p_version);
BEGIN
    PERFORM check_fields('webhook', ARRAY[p], '{}', '{"url": "string", "types": "array", "is_active": "boolean"}');
    UPDATE webhook SET version = version + 1, updated_date = engine_now(), updated_by = caller_name(),
        url = CASE WHEN p ? 'url' THEN webhook_url_check(p ->> 'url') ELSE url END,
        types = CASE WHEN p ? 'types' THEN webhook_types(p -> 'types') ELSE types END,
        is_active = COALESCE((p ->> 'is_active')::boolean, is_active)
    WHERE id = _webhook.id;
    -- Somebody has done something about it: tried again at once.
    UPDATE webhook_delivery SET failures = 0, failing_since = NULL WHERE webhook_id = _webhook.id;
END $$;
COMMENT ON FUNCTION webhook_change(uuid, jsonb, bigint) IS 'Changes url, types or is_active of a webhook; with p_version only if it is still that version.';

CREATE OR REPLACE FUNCTION webhook_remove(p_id uuid, p_version bigint DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: webhooks are written only through these functions.
DECLARE
    -- Not in the condition, where it would be asked for each row, and not find what was just deleted.
    _webhook constant webhook := webhook_for_caller(p_id, p_version);
BEGIN
    DELETE FROM webhook WHERE id = _webhook.id;
END $$;
COMMENT ON FUNCTION webhook_remove(uuid, bigint) IS 'Removes a webhook with its secret and its dead letters.';

CREATE OR REPLACE FUNCTION webhook_secret_rotate(p_id uuid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: secrets are written only through these functions.
DECLARE
    _webhook constant webhook := webhook_for_caller(p_id);
    _secret constant text := webhook_new_secret();
BEGIN
    UPDATE webhook_secret SET previous_secret = secret, previous_until = engine_now() + interval '24 hours', secret = _secret
    WHERE webhook_id = _webhook.id;
    RETURN _secret;
END $$;
COMMENT ON FUNCTION webhook_secret_rotate(uuid) IS 'Gives a webhook another secret and shows it this once; for a day deliveries are signed with the old one too.';

CREATE OR REPLACE FUNCTION webhook_redeliver(p_id uuid, p_dead_letter uuid DEFAULT NULL) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: dead letters are written only through these functions.
DECLARE
    _webhook constant webhook := webhook_for_caller(p_id);
    _count int;
BEGIN
    UPDATE webhook_dead_letter SET requested_date = engine_now() WHERE webhook_id = _webhook.id AND (p_dead_letter IS NULL OR id = p_dead_letter);
    GET DIAGNOSTICS _count = ROW_COUNT;
    IF _count = 0 AND p_dead_letter IS NOT NULL THEN
        PERFORM refuse('PV404', 'dead letter not found', p_dead_letter::text, 'SELECT * FROM v_webhook_dead_letter');
    END IF;
    RETURN _count;
END $$;
COMMENT ON FUNCTION webhook_redeliver(uuid, uuid) IS 'Has a dead letter, or all of a webhook, sent once more; returns how many.';

-- Webhooks: what workers do with them --------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION webhook_has_news(p_webhook webhook, p_place text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _at constant event_place := event_place(p_place);
BEGIN
    RETURN _at.era < (SELECT max(id) FROM event_era)
        OR EXISTS (SELECT FROM event_scan(p_webhook.tenant_customer_id, p_webhook.org_id, _at, (SELECT after_id FROM event_era WHERE id = _at.era), NULL, 1))
        OR EXISTS (SELECT FROM webhook_dead_letter WHERE webhook_id = p_webhook.id AND requested_date IS NOT NULL);
END $$;
COMMENT ON FUNCTION webhook_has_news(webhook, text) IS 'Whether there is something to send, or to pass over.';

CREATE OR REPLACE FUNCTION sweep_webhooks() RETURNS int
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _made int;
    _due uuid[];
BEGIN
    WITH idle AS (
            SELECT d.webhook_id, new_id() AS job_id, w.tenant_customer_id, w.org_id FROM webhook AS w JOIN webhook_delivery AS d ON d.webhook_id = w.id
            WHERE w.is_active AND NOT EXISTS (SELECT FROM job AS j WHERE j.id = d.job_id AND j.finished_date IS NULL) FOR UPDATE OF d SKIP LOCKED),
        made AS (
            INSERT INTO job (id, type, tenant_customer_id, org_id, data, priority)
            SELECT job_id, 'webhook_deliver', tenant_customer_id, org_id, jsonb_build_object('webhook', webhook_id), 9 FROM idle)
    UPDATE webhook_delivery AS d SET job_id = i.job_id FROM idle AS i WHERE i.webhook_id = d.webhook_id;
    GET DIAGNOSTICS _made = ROW_COUNT;
    -- A job that has nothing to send sleeps for a minute; one that failed waits for its time.
    _due := ARRAY(
        SELECT q.job_id FROM webhook AS w JOIN webhook_delivery AS d ON d.webhook_id = w.id JOIN job_queue AS q ON q.job_id = d.job_id JOIN job AS j ON j.id = d.job_id
        WHERE d.failures = 0 AND q.start_date > engine_now() AND webhook_has_news(w, d.place) FOR UPDATE OF q, j SKIP LOCKED);
    IF cardinality(_due) > 0 THEN
        UPDATE job_queue SET start_date = engine_now() WHERE job_id = ANY (_due);
        UPDATE job SET start_date = engine_now() WHERE id = ANY (_due);
        PERFORM job_wake();
    END IF;
    RETURN _made;
END $$;
COMMENT ON FUNCTION sweep_webhooks() IS 'Every active webhook has a job, which is woken when there are events for it; returns how many were made.';

CREATE OR REPLACE FUNCTION webhook_take(p_webhook uuid, p_limit int DEFAULT 50)
RETURNS TABLE (url text, secrets text[], may_be_private boolean, id text, event jsonb, dead_letter uuid)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the one way to a webhook's secret and to the events that are for it.
#variable_conflict use_column
DECLARE
    _webhook webhook;
    _private constant boolean := setting_value('webhook_private')::boolean;
    _secrets text[];
BEGIN
    PERFORM event_era_check();
    SELECT * INTO _webhook FROM webhook WHERE id = p_webhook AND is_active;
    SELECT ARRAY[secret] || CASE WHEN previous_until > engine_now() THEN ARRAY[previous_secret] ELSE '{}' END INTO _secrets FROM webhook_secret WHERE webhook_id = _webhook.id;
    RETURN QUERY SELECT _webhook.url, _secrets, _private, l.event ->> 'id', l.event, l.id FROM webhook_dead_letter AS l WHERE l.webhook_id = _webhook.id AND l.requested_date IS NOT NULL ORDER BY l.id LIMIT p_limit;
    IF NOT FOUND THEN
        RETURN QUERY SELECT _webhook.url, _secrets, _private, CASE WHEN r.event IS NOT NULL OR r.id <> d.place THEN r.id END, r.event, NULL::uuid
        FROM webhook_delivery AS d CROSS JOIN LATERAL event_read(_webhook.tenant_customer_id, _webhook.org_id, d.place, _webhook.types, p_limit) AS r
        WHERE d.webhook_id = _webhook.id;
    END IF;
END $$;
COMMENT ON FUNCTION webhook_take(uuid, int) IS 'What is to be sent next to a webhook: dead letters that were asked for, else events, then without an event the place reached, if it is another. Nothing: it is not active.';

CREATE OR REPLACE FUNCTION webhook_delivered(p_job uuid, p_claim_no bigint, p_webhook uuid, p_id text, p_dead_letter uuid, p_is_event boolean) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: written only through these functions.
BEGIN
    PERFORM effect_fence(p_job, p_claim_no);
    DELETE FROM webhook_dead_letter WHERE id = p_dead_letter;
    UPDATE webhook_delivery SET place = CASE WHEN p_dead_letter IS NULL THEN p_id ELSE place END,
        failures = CASE WHEN p_is_event THEN 0 ELSE failures END, failing_since = CASE WHEN p_is_event THEN NULL ELSE failing_since END,
        delivered_date = CASE WHEN p_is_event THEN engine_now() ELSE delivered_date END
    WHERE webhook_id = p_webhook;
    RETURN EXISTS (SELECT FROM webhook WHERE id = p_webhook AND is_active);
END $$;
COMMENT ON FUNCTION webhook_delivered(uuid, bigint, uuid, text, uuid, boolean) IS 'An event was taken, or none is left up to a place; whether to go on.';

CREATE OR REPLACE FUNCTION webhook_failed(p_job uuid, p_claim_no bigint, p_webhook uuid, p_id text, p_dead_letter uuid, p_event jsonb, p_reason text) RETURNS float8
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: written only through these functions.
DECLARE
    _failures int;
BEGIN
    PERFORM effect_fence(p_job, p_claim_no);
    UPDATE webhook_dead_letter SET requested_date = NULL, attempts = attempts + 1, reason = p_reason WHERE id = p_dead_letter;
    IF p_dead_letter IS NOT NULL THEN
        RETURN 0;
    END IF;
    UPDATE webhook_delivery SET failures = failures + 1, failing_since = COALESCE(failing_since, engine_now()), last_error = p_reason
    WHERE webhook_id = p_webhook RETURNING failures INTO _failures;
    IF _failures < setting_value('webhook_attempts')::int THEN
        RETURN job_backoff(_failures);
    END IF;
    INSERT INTO webhook_dead_letter (webhook_id, tenant_customer_id, org_id, event, attempts, reason)
    SELECT w.id, w.tenant_customer_id, w.org_id, p_event, _failures, p_reason FROM webhook AS w WHERE w.id = p_webhook;
    UPDATE webhook_delivery SET place = p_id, failures = 0, failing_since = NULL WHERE webhook_id = p_webhook;
    RETURN 0;
END $$;
COMMENT ON FUNCTION webhook_failed(uuid, bigint, uuid, text, uuid, jsonb, text) IS 'An event was not taken: it becomes a dead letter when that was the last attempt. Returns the seconds to wait.';
