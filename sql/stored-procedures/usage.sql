-- What was used of allocations, and what they cost. A report of a month replaces the one before; a month's invoice is
-- computed anew whenever something of it changes, until the month is over.

CREATE OR REPLACE FUNCTION usage_report(p jsonb) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _period allocation_period;
    _allocation allocation;
    _date constant timestamptz := COALESCE((p ->> 'date')::timestamptz, engine_now());
BEGIN
    IF p ->> 'resource' IS NULL AND p ->> 'plan_period' IS NULL THEN
        PERFORM refuse_field('PV422', 'non_field_errors', 'Either plan_period or resource should be provided.', left(p::text, 200), 'name the allocation');
    END IF;
    SELECT * INTO _period FROM allocation_period WHERE id = uuid_of(p ->> 'plan_period');
    SELECT * INTO _allocation FROM allocation WHERE id = COALESCE(_period.allocation_id, CASE WHEN p ->> 'plan_period' IS NULL THEN uuid_of(p ->> 'resource') END);
    IF _allocation.id IS NULL OR NOT caller_reaches(_allocation.tenant_customer_id, _allocation.org_id, _allocation.provider_account_id, _allocation.offering_id) THEN
        PERFORM refuse_field('PV404', CASE WHEN p ->> 'plan_period' IS NULL THEN 'resource' ELSE 'plan_period' END, 'allocation not found', COALESCE(p ->> 'plan_period', p ->> 'resource'), 'SELECT * FROM v_allocation');
    ELSIF NOT offering_may(_allocation.offering_id) THEN
        PERFORM refuse('PV403', 'the right to do this is not held', 'offering.change', 'the provider reports usage');
    END IF;
    RETURN usage_store(_allocation.id, COALESCE(_period.id, allocation_period_at(_allocation.id, _date)), p -> 'usages', _date);
END $$;
COMMENT ON FUNCTION usage_report(jsonb) IS 'Reports what was used of an allocation this month: resource (or plan_period), usages [{type, amount, description, recurring}], date (for an earlier month).';

CREATE OR REPLACE FUNCTION allocation_period_at(p_allocation uuid, p_date timestamptz) RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (SELECT id FROM allocation_period WHERE allocation_id = p_allocation ORDER BY start_date <= p_date AND (end_date IS NULL OR end_date > p_date) DESC, start_date DESC LIMIT 1);
END $$;
COMMENT ON FUNCTION allocation_period_at(uuid, timestamptz) IS 'The plan period of an allocation at a time, else the last.';

CREATE OR REPLACE FUNCTION usage_store(p_allocation uuid, p_period uuid, p_usages jsonb, p_date timestamptz) RETURNS uuid
LANGUAGE plpgsql SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    _allocation allocation;
    _bad text;
BEGIN
    -- Six reports at once come one after the other.
    SELECT * INTO _allocation FROM allocation WHERE id = p_allocation FOR NO KEY UPDATE;
    SELECT string_agg(u ->> 'type', ', ') INTO _bad FROM jsonb_array_elements(p_usages) AS u
    WHERE NOT EXISTS (SELECT FROM offering_component AS c WHERE c.offering_id = _allocation.offering_id AND c.type = u ->> 'type' AND c.billing_type IN ('usage', 'limit'));
    IF _allocation.state IN ('creating', 'terminated') OR p_period IS NULL THEN
        PERFORM refuse_field('PV409', 'resource', 'Resource is not in valid state.', format('%s is %s', p_allocation, allocation_state_name(_allocation.state)), 'report on one that can be used');
    ELSIF _bad IS NOT NULL THEN
        PERFORM refuse_field('PV422', 'non_field_errors', format('These components are invalid: %s.', _bad), left(p_usages::text, 200), 'report on components of the offering that are used or limited');
    ELSIF p_date > engine_now() + interval '1 day' THEN
        PERFORM refuse_field('PV422', 'date', 'The date is in the future.', p_date::text, 'report what was used');
    END IF;
    INSERT INTO allocation_usage AS x (tenant_customer_id, org_id, provider_account_id, offering_id, allocation_id, component_id, period_id, billing_period, amount, description, is_recurring, usage_date, modified_by_id)
    SELECT DISTINCT ON (c.id) _allocation.tenant_customer_id, _allocation.org_id, _allocation.provider_account_id, _allocation.offering_id, p_allocation, c.id, p_period, date_trunc('month', p_date)::date, (u ->> 'amount')::numeric,
        COALESCE(u ->> 'description', ''), COALESCE((u ->> 'recurring')::boolean, false), p_date, caller_user()
    FROM jsonb_array_elements(p_usages) WITH ORDINALITY AS r (u, n) JOIN offering_component AS c ON c.offering_id = _allocation.offering_id AND c.type = u ->> 'type' ORDER BY c.id, n DESC
    ON CONFLICT (allocation_id, component_id, period_id, billing_period) DO UPDATE SET amount = excluded.amount, description = excluded.description, is_recurring = excluded.is_recurring, usage_date = excluded.usage_date,
        modified_by_id = excluded.modified_by_id, updated_date = engine_now(), updated_by = caller_name();
    PERFORM usage_count(p_allocation);
    PERFORM invoice_refresh(_allocation, date_trunc('month', p_date)::date);
    RETURN p_allocation;
END $$;
COMMENT ON FUNCTION usage_store(uuid, uuid, jsonb, timestamptz) IS 'Stores what was used in the month of a time; one row per component, which a later report replaces.';

CREATE OR REPLACE FUNCTION usage_count(p_allocation uuid) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    _month constant date := date_trunc('month', engine_now())::date;
    _usages constant jsonb := COALESCE((SELECT jsonb_object_agg(s.type, s.amount) FROM (
        SELECT c.type, sum(u.amount) AS amount FROM allocation_usage AS u JOIN offering_component AS c ON c.id = u.component_id WHERE u.allocation_id = p_allocation AND u.billing_period = _month GROUP BY 1) AS s), '{}');
    _allocation allocation;
    _part record;
BEGIN
    UPDATE allocation SET current_usages = _usages WHERE id = p_allocation AND current_usages <> _usages;
    SELECT * INTO _allocation FROM allocation WHERE id = p_allocation;
    -- A period longer than a month is counted from its beginning.
    FOR _part IN
        SELECT c.type, c.name, (_allocation.limits ->> c.type)::numeric AS bound, sum(u.amount) AS used FROM offering_component AS c JOIN allocation_usage AS u ON u.component_id = c.id AND u.allocation_id = p_allocation
        WHERE (_allocation.limits ->> c.type)::numeric > 0 AND u.billing_period >= CASE c.limit_period WHEN 'total' THEN '-infinity'::date WHEN 'annual' THEN date_trunc('year', _month)::date
            WHEN 'quarterly' THEN date_trunc('quarter', _month)::date ELSE _month END GROUP BY 1, 2, 3 ORDER BY 1
    LOOP
        IF _part.used >= _part.bound AND COALESCE((_allocation.usage_notice ->> _part.type)::int, 0) < 100 THEN
            _allocation.usage_notice := _allocation.usage_notice || jsonb_build_object(_part.type, 100);
            PERFORM allocation_tell(_allocation, 'limit_reached', format('%s: %s of %s are used', _part.name, _part.used, _part.bound));
        ELSIF _part.used >= 0.75 * _part.bound AND COALESCE((_allocation.usage_notice ->> _part.type)::int, 0) < 75 THEN
            _allocation.usage_notice := _allocation.usage_notice || jsonb_build_object(_part.type, 75);
            PERFORM allocation_tell(_allocation, 'limit_near', format('%s: %s of %s are used', _part.name, _part.used, _part.bound));
        ELSIF _part.used < 0.75 * _part.bound THEN
            _allocation.usage_notice := _allocation.usage_notice - _part.type;
        END IF;
    END LOOP;
    UPDATE allocation SET usage_notice = _allocation.usage_notice WHERE id = p_allocation AND usage_notice <> _allocation.usage_notice;
END $$;
COMMENT ON FUNCTION usage_count(uuid) IS 'Notes on an allocation what was used this month, and tells once when 75 and 100 percent of a limit are reached.';

CREATE OR REPLACE FUNCTION user_usage_report(p_usage uuid, p jsonb) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _usage allocation_usage;
    _id uuid;
BEGIN
    SELECT * INTO _usage FROM allocation_usage WHERE id = p_usage;
    IF _usage.id IS NULL OR NOT caller_reaches(_usage.tenant_customer_id, _usage.org_id, _usage.provider_account_id, _usage.offering_id) THEN
        PERFORM refuse('PV404', 'usage not found', p_usage::text, 'SELECT * FROM v_allocation_usage');
    ELSIF NOT offering_may(_usage.offering_id) THEN
        PERFORM refuse('PV403', 'the right to do this is not held', 'offering.change', 'the provider reports usage');
    END IF;
    PERFORM FROM allocation_usage WHERE id = p_usage FOR NO KEY UPDATE;
    IF (SELECT COALESCE(sum(amount), 0) FROM allocation_user_usage WHERE usage_id = p_usage AND lower(username) <> lower(p ->> 'username')) + (p ->> 'usage')::numeric > _usage.amount THEN
        PERFORM refuse_field('PV422', 'usage', 'The users together cannot have used more than was used.', format('%s of %s', p ->> 'usage', _usage.amount), 'report the whole first');
    END IF;
    INSERT INTO allocation_user_usage AS u (tenant_customer_id, org_id, provider_account_id, offering_id, usage_id, username, user_id, amount, description)
    VALUES (_usage.tenant_customer_id, _usage.org_id, _usage.provider_account_id, _usage.offering_id, p_usage, p ->> 'username', (SELECT a.id FROM app_user AS a WHERE lower(a.username) = lower(p ->> 'username')), (p ->> 'usage')::numeric, COALESCE(p ->> 'description', ''))
    ON CONFLICT (usage_id, lower(username)) DO UPDATE SET amount = excluded.amount, description = excluded.description RETURNING id INTO _id;
    RETURN _id;
END $$;
COMMENT ON FUNCTION user_usage_report(uuid, jsonb) IS 'Reports which part of a usage was a user''s: username, usage, description.';

-- Invoices -----------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION invoice_refresh(p_allocation allocation, p_month date DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    _month constant date := COALESCE(p_month, date_trunc('month', engine_now())::date);
    _invoice invoice;
BEGIN
    IF NOT EXISTS (SELECT FROM invoice_lines(p_allocation, _month)) OR NOT (SELECT is_billable FROM offering WHERE id = p_allocation.offering_id) THEN
        RETURN;
    END IF;
    INSERT INTO invoice (tenant_customer_id, year, month) VALUES (p_allocation.tenant_customer_id, extract(year FROM _month)::int, extract(month FROM _month)::int) ON CONFLICT DO NOTHING;
    SELECT * INTO _invoice FROM invoice WHERE tenant_customer_id = p_allocation.tenant_customer_id AND year = extract(year FROM _month)::int AND month = extract(month FROM _month)::int;
    -- What is closed stays as it was sent.
    INSERT INTO invoice_item AS i (invoice_id, tenant_customer_id, org_id, allocation_id, component_id, period_id, name, unit_price, quantity, start_date, end_date)
    SELECT _invoice.id, p_allocation.tenant_customer_id, p_allocation.org_id, p_allocation.id, l.component_id, l.period_id, p_allocation.name || ' / ' || l.name, l.price, l.quantity, l.start_date, l.end_date
    FROM invoice_lines(p_allocation, _month) AS l WHERE _invoice.state = 'pending'
    ON CONFLICT (invoice_id, allocation_id, component_id, period_id) DO UPDATE SET quantity = excluded.quantity, end_date = excluded.end_date, updated_date = engine_now()
    WHERE (i.quantity, i.end_date) IS DISTINCT FROM (excluded.quantity, excluded.end_date);
END $$;
COMMENT ON FUNCTION invoice_refresh(allocation, date) IS 'Computes anew what an allocation costs in a month (the present one) that is not closed.';

CREATE OR REPLACE FUNCTION unit_seconds(p_unit text, p_month date) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
DECLARE
    _from constant timestamp := CASE WHEN p_unit LIKE 'quarter%' THEN date_trunc('quarter', p_month::timestamp) WHEN p_unit = 'annual' THEN date_trunc('year', p_month::timestamp) ELSE p_month::timestamp END;
    _next constant timestamp := _from + CASE WHEN p_unit LIKE 'quarter%' THEN interval '3 months' WHEN p_unit = 'annual' THEN interval '1 year' ELSE interval '1 month' END;
BEGIN
    RETURN CASE p_unit WHEN 'hour' THEN 3600 WHEN 'day' THEN 86400 WHEN 'half_month' THEN extract(EPOCH FROM _next - _from) / 2 ELSE extract(EPOCH FROM _next - _from) END;
END $$;
COMMENT ON FUNCTION unit_seconds(text, date) IS 'How long that is for which a price, or a limit, is given: the month, or the quarter or year it is in, half a month, a day, an hour.';

CREATE OR REPLACE FUNCTION invoice_limit(p_allocation uuid, p_type text, p_from timestamptz, p_upto timestamptz) RETURNS numeric
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (
        SELECT sum((l.limits ->> p_type)::numeric * greatest(extract(EPOCH FROM least(l.end_date, p_upto) - greatest(l.start_date, p_from)), 0))
        FROM (SELECT h.limits, h.start_date, lead(h.start_date) OVER (ORDER BY h.start_date) AS end_date FROM allocation_limit AS h WHERE h.allocation_id = p_allocation) AS l
        WHERE l.limits ? p_type AND l.start_date < p_upto AND (l.end_date IS NULL OR l.end_date > p_from));
END $$;
COMMENT ON FUNCTION invoice_limit(uuid, text, timestamptz, timestamptz) IS 'A component''s limit times the seconds it was that; NULL: it had none.';

CREATE OR REPLACE FUNCTION invoice_lines(p_allocation allocation, p_month date)
RETURNS TABLE (component_id uuid, period_id uuid, name text, price numeric, quantity numeric, start_date date, end_date date)
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
#variable_conflict use_column
DECLARE
    _next constant date := (p_month + interval '1 month')::date;
BEGIN
    RETURN QUERY
    SELECT l.* FROM (
        SELECT c.id, t.id, c.name, x.price, CASE c.billing_type
                -- What there is for a time is paid for that time; an open period is taken to last.
                WHEN 'fixed' THEN CASE n.unit WHEN 'quantity' THEN x.amount ELSE round(x.amount * s.seconds / unit_seconds(n.unit, p_month), 4) END
                WHEN 'usage' THEN COALESCE((SELECT u.amount FROM allocation_usage AS u WHERE u.allocation_id = p_allocation.id AND u.component_id = c.id AND u.period_id = t.id AND u.billing_period = p_month), 0)
                WHEN 'limit' THEN CASE WHEN c.limit_period IS DISTINCT FROM 'total' THEN round(invoice_limit(p_allocation.id, c.type, s.start_date, s.end_date) / unit_seconds(COALESCE(c.limit_period, 'month'), p_month), 4)
                    -- Once over the lifetime; more is charged when the limit is raised.
                    WHEN t.end_date IS NULL THEN greatest((p_allocation.limits ->> c.type)::numeric - COALESCE((SELECT sum(i.quantity) FROM invoice_item AS i JOIN invoice AS v ON v.id = i.invoice_id
                        WHERE i.allocation_id = p_allocation.id AND i.component_id = c.id AND (i.period_id <> t.id OR make_date(v.year, v.month, 1) <> p_month)), 0), 0) END
                WHEN 'one' THEN CASE WHEN p_allocation.activated_date >= greatest(t.start_date, p_month) THEN greatest(x.amount, 1) ELSE 0 END
                -- Every plan but the first was switched to.
                ELSE CASE WHEN t.start_date >= p_month AND t.start_date > p_allocation.activated_date THEN greatest(x.amount, 1) ELSE 0 END END AS quantity,
            s.start_date::date, least(t.end_date::date, _next - 1)
        FROM allocation_period AS t JOIN offering_plan AS n ON n.id = t.plan_id JOIN offering_plan_component AS x ON x.plan_id = n.id AND x.price > 0 JOIN offering_component AS c ON c.id = x.component_id
        CROSS JOIN LATERAL (SELECT f, u, greatest(extract(EPOCH FROM u - f), 0) FROM (SELECT greatest(t.start_date, p_month::timestamptz), least(t.end_date, _next::timestamptz)) AS b (f, u)) AS s (start_date, end_date, seconds)
        WHERE t.allocation_id = p_allocation.id AND t.start_date < _next AND (t.end_date IS NULL OR t.end_date >= p_month)) AS l
    WHERE l.quantity IS NOT NULL;
END $$;
COMMENT ON FUNCTION invoice_lines(allocation, date) IS 'What an allocation costs in a month, per component and plan period: fixed parts and recurring limits for as long as they were, usage as reported, one-time parts when they fall due.';

CREATE OR REPLACE FUNCTION invoice_close(p_invoice invoice) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    _next constant date := (make_date(p_invoice.year, p_invoice.month, 1) + interval '1 month')::date;
    _allocation allocation;
BEGIN
    UPDATE invoice SET state = 'created', invoice_date = _next, due_date = _next + setting_value('invoice_due_days')::int WHERE id = p_invoice.id AND state = 'pending';
    IF NOT FOUND THEN
        RETURN;
    END IF;
    FOR _allocation IN SELECT * FROM allocation WHERE tenant_customer_id = p_invoice.tenant_customer_id AND deleted_date IS NULL AND activated_date IS NOT NULL ORDER BY id LOOP
        -- What recurs is taken over until another amount is reported.
        INSERT INTO allocation_usage (tenant_customer_id, org_id, provider_account_id, offering_id, allocation_id, component_id, period_id, billing_period, amount, description, is_recurring, usage_date)
        SELECT u.tenant_customer_id, u.org_id, u.provider_account_id, u.offering_id, u.allocation_id, u.component_id, t.id, _next, u.amount, u.description, true, engine_now()
        FROM allocation_usage AS u JOIN allocation_period AS t ON t.allocation_id = u.allocation_id AND t.end_date IS NULL
        WHERE u.allocation_id = _allocation.id AND u.is_recurring AND u.billing_period = make_date(p_invoice.year, p_invoice.month, 1) ON CONFLICT DO NOTHING;
        PERFORM usage_count(_allocation.id);
        PERFORM invoice_refresh(_allocation, _next);
    END LOOP;
END $$;
COMMENT ON FUNCTION invoice_close(invoice) IS 'Closes the invoice of a month that is over, and begins the next one''s with what goes on.';

-- Clusters -----------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION node_hours(p_org uuid, p_month date) RETURNS numeric
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    _next constant date := (p_month + interval '1 month')::date;
BEGIN
    RETURN (
        SELECT round(COALESCE(sum(s), 0) / 3600, 2) FROM (
            SELECT u.node_seconds FROM cluster_usage AS u WHERE u.org_id = p_org AND u.day >= p_month AND u.day < _next
            -- And what has not been counted yet.
            UNION ALL SELECT c.current_nodes * greatest(extract(EPOCH FROM least(engine_now(), _next) - greatest(k.metered_date, p_month)), 0)
            FROM cluster AS c JOIN cluster_clock AS k ON k.cluster_id = c.id AND k.metered_date IS NOT NULL WHERE c.org_id = p_org) AS n (s));
END $$;
COMMENT ON FUNCTION node_hours(uuid, date) IS 'How long the nodes of an org''s cluster ran in a month, added up.';

CREATE OR REPLACE FUNCTION node_hours_booked(p_org uuid, p_user uuid DEFAULT NULL, p_nodes int DEFAULT 0, p_expires timestamptz DEFAULT NULL) RETURNS numeric
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _now constant timestamptz := engine_now();
BEGIN
    -- As cluster_asked() counts: of each user the largest request that is live, at every moment.
    RETURN (
        SELECT round(COALESCE(sum(s.nodes * s.seconds), 0) / 3600, 2) FROM (
            SELECT max(r.nodes) OVER (PARTITION BY r.user_id ORDER BY r.expires_date DESC) AS nodes,
                extract(EPOCH FROM r.expires_date - COALESCE(lag(r.expires_date) OVER (PARTITION BY r.user_id ORDER BY r.expires_date), _now)) AS seconds
            FROM (SELECT q.user_id, q.nodes, q.expires_date FROM capacity_request AS q WHERE q.org_id = p_org AND q.finished_date IS NULL UNION ALL SELECT p_user, p_nodes, p_expires) AS r
            WHERE r.expires_date > _now) AS s);
END $$;
COMMENT ON FUNCTION node_hours_booked(uuid, uuid, int, timestamptz) IS 'How many node-hours the live requests of an org may still come to take, with one more if that is given.';

CREATE OR REPLACE FUNCTION sweep_node_hours() RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    _allocation allocation;
    _month date;
BEGIN
    FOR _allocation IN
        SELECT a.* FROM offering AS o JOIN allocation AS a ON a.offering_id = o.id AND a.state IN ('ok', 'updating', 'terminating')
        WHERE o.backend = 'cluster' AND COALESCE(a.last_sync_date, '-infinity') < engine_now() - interval '5 minutes' ORDER BY a.id FOR NO KEY UPDATE OF a SKIP LOCKED
    LOOP
        -- A month that has ended since is counted to its end.
        FOR _month IN SELECT generate_series(date_trunc('month', COALESCE(_allocation.last_sync_date, _allocation.activated_date)), engine_now(), interval '1 month') LOOP
            PERFORM usage_store(_allocation.id, allocation_period_at(_allocation.id, _month), jsonb_build_array(jsonb_build_object('type', 'node_hours', 'amount', node_hours(_allocation.org_id, _month))),
                least(engine_now(), _month + interval '1 month - 1 second'));
        END LOOP;
        UPDATE allocation SET last_sync_date = engine_now() WHERE id = _allocation.id;
    END LOOP;
END $$;
COMMENT ON FUNCTION sweep_node_hours() IS 'Notes every five minutes how many node-hours projects have used of what was allocated to them.';

-- Cost Explorer ------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION usage_targets(p_accreditation uuid) RETURNS TABLE (allocation_id uuid, backend_id text, components jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: for workers, who have EXECUTE and no rights on allocations.
BEGIN
    RETURN QUERY SELECT a.id, a.backend_id, allocation_job_data(a.id) -> 'components' FROM allocation AS a JOIN offering AS o ON o.id = a.offering_id AND o.backend = 'aws'
    WHERE a.accreditation_id = p_accreditation AND a.state IN ('ok', 'updating', 'terminating', 'erred') AND a.backend_id <> '' ORDER BY a.id;
END $$;
COMMENT ON FUNCTION usage_targets(uuid) IS 'The allocations at an AWS account of which Cost Explorer is asked what was used.';

CREATE OR REPLACE FUNCTION usage_collected(p_job uuid, p_claim_no bigint, p_allocation uuid, p_month date, p_usages jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
-- SECURITY DEFINER: for workers, who have EXECUTE and no rights on allocations.
BEGIN
    PERFORM effect_fence(p_job, p_claim_no);
    IF EXISTS (SELECT FROM allocation WHERE id = p_allocation AND state NOT IN ('creating', 'terminated') FOR NO KEY UPDATE) THEN
        PERFORM usage_store(p_allocation, allocation_period_at(p_allocation, p_month), p_usages, least((p_month + interval '1 month - 1 second')::timestamptz, engine_now()));
        UPDATE allocation SET last_sync_date = engine_now() WHERE id = p_allocation;
    END IF;
END $$;
COMMENT ON FUNCTION usage_collected(uuid, bigint, uuid, date, jsonb) IS 'What Cost Explorer said was used of an allocation in a month, while the claim of the job stands.';
