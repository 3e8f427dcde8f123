-- Accounts. account_moved(), a trigger, keeps every balance the sum of entries less costs. sweep_accounts() credits the
-- allowance of a month, once. account_import() takes what Cost Explorer says. What is left is arithmetic without tables:
-- account_project() says how a balance goes on at a rate, account_runs_out() when it is empty.

CREATE OR REPLACE FUNCTION account_month(p_date timestamptz, p_months int DEFAULT 0) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (date_trunc('month', p_date AT TIME ZONE 'UTC') + make_interval(months => p_months)) AT TIME ZONE 'UTC';
END $$;
COMMENT ON FUNCTION account_month(timestamptz, int) IS 'The beginning of a month in UTC, so many months on.';

CREATE OR REPLACE FUNCTION account_day(p_date timestamptz) RETURNS date
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (p_date AT TIME ZONE 'UTC')::date;
END $$;
COMMENT ON FUNCTION account_day(timestamptz) IS 'The day in UTC.';

-- Balances -----------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION account_begun() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: balances are written only through here.
BEGIN
    INSERT INTO account_balance (account_id, balance, next_allowance_date)
    SELECT n.id, -COALESCE((SELECT sum(c.charged) FROM account_cost AS c WHERE c.org_id = n.org_id), 0), account_month(engine_now(), 1) FROM new_rows AS n;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION account_begun() IS 'A new account has a balance, which begins with what the org has spent already, and gets its first allowance next month.';
CREATE OR REPLACE TRIGGER account_begun_tg AFTER INSERT ON account REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION account_begun();

CREATE OR REPLACE FUNCTION account_moved() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: balances are written only through here.
DECLARE
    _old constant jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
    _new constant jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
    _by constant numeric := COALESCE((_new ->> TG_ARGV[0])::numeric, 0) - COALESCE((_old ->> TG_ARGV[0])::numeric, 0);
BEGIN
    UPDATE account_balance AS b SET balance = b.balance + CASE TG_ARGV[0] WHEN 'amount' THEN _by ELSE -_by END
    FROM account AS a WHERE a.id = b.account_id AND a.org_id = (COALESCE(_new, _old) ->> 'org_id')::uuid AND _by <> 0;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION account_moved() IS 'Moves the balance by what an entry or a cost has changed; its argument is the column that says it.';
CREATE OR REPLACE TRIGGER account_entry_moved_tg AFTER INSERT OR UPDATE OR DELETE ON account_entry FOR EACH ROW EXECUTE FUNCTION account_moved('amount');
CREATE OR REPLACE TRIGGER account_cost_moved_tg AFTER INSERT OR UPDATE OR DELETE ON account_cost FOR EACH ROW EXECUTE FUNCTION account_moved('charged');

CREATE OR REPLACE FUNCTION account_allow(p_account uuid) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _account constant account := (SELECT a FROM account AS a WHERE a.id = p_account);
    _balance account_balance;
BEGIN
    -- Of two who come at once the second waits here, and finds the month credited.
    SELECT * INTO _balance FROM account_balance WHERE account_id = p_account FOR UPDATE;
    WHILE _balance.next_allowance_date <= engine_now() LOOP
        INSERT INTO account_entry (account_id, tenant_customer_id, org_id, kind, month, amount, description)
        VALUES (p_account, _account.tenant_customer_id, _account.org_id, 'allowance', account_day(_balance.next_allowance_date),
            greatest(0, least(_account.monthly_allowance, COALESCE(_account.max_allowance, 'infinity') - _balance.balance)), 'monthly allowance');
        UPDATE account_balance SET next_allowance_date = account_month(next_allowance_date, 1) WHERE account_id = p_account RETURNING * INTO _balance;
    END LOOP;
END $$;
COMMENT ON FUNCTION account_allow(uuid) IS 'Credits the allowance of every month that has begun since the last, each once and not above the cap.';

CREATE OR REPLACE FUNCTION sweep_accounts() RETURNS int
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _due constant uuid[] := ARRAY(SELECT b.account_id FROM account_balance AS b WHERE b.next_allowance_date <= engine_now() ORDER BY b.account_id LIMIT 100 FOR UPDATE SKIP LOCKED);
BEGIN
    PERFORM account_allow(a), account_warn(a) FROM unnest(_due) AS a;
    RETURN cardinality(_due);
END $$;
COMMENT ON FUNCTION sweep_accounts() IS 'Credits the allowances that are due; returns for how many accounts.';

CREATE OR REPLACE FUNCTION account_warn(p_account uuid) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _balance account_balance;
    _level numeric;
BEGIN
    SELECT * INTO _balance FROM account_balance WHERE account_id = p_account FOR UPDATE;
    SELECT min(l) INTO _level FROM unnest(account_levels()) AS l WHERE _balance.balance < l;
    IF _level IS NOT DISTINCT FROM _balance.warning_level THEN
        RETURN;
    END IF;
    UPDATE account_balance SET warning_level = _level WHERE account_id = p_account;
    IF _level < COALESCE(_balance.warning_level, 'infinity') THEN
        INSERT INTO audit_trail_log (table_name, row_id, tenant_customer_id, org_id, operation, to_state, reason)
        SELECT 'account', a.id, a.tenant_customer_id, a.org_id, 'transition', CASE WHEN _level <= setting_value('account_minimum')::numeric THEN 'empty' ELSE 'low' END,
            format('the balance is %s dollars, below %s', round(_balance.balance, 2), _level)
        FROM account AS a WHERE a.id = p_account;
    END IF;
END $$;
COMMENT ON FUNCTION account_warn(uuid) IS 'Says once that a balance has fallen below a level (events account.low, account.empty), and again after it was above it.';

CREATE OR REPLACE FUNCTION account_levels() RETURNS numeric[]
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN setting_value('account_minimum')::numeric || ARRAY(SELECT l::numeric FROM regexp_split_to_table(setting_value('account_warning_levels'), '[^0-9.]+') AS l WHERE l ~ '^\d{1,9}(\.\d{1,9})?$');
END $$;
COMMENT ON FUNCTION account_levels() IS 'The balances that are told when an account falls below them; the least is that at which clusters are shut down.';

-- What AWS says ------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION cost_tag_begun() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: whoever registers a tag need not be allowed to write the schedule.
BEGIN
    INSERT INTO schedule (name, job_type, accreditation_id, every, next_date)
    SELECT DISTINCT 'import costs ' || a.id, 'account_import', a.id, interval '1 day', engine_now() + interval '1 day'
    FROM new_rows AS n JOIN accreditation AS a ON a.id = n.accreditation_id AND a.provider = 'aws' ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION cost_tag_begun() IS 'Every AWS account with cost tags is asked daily.';
CREATE OR REPLACE TRIGGER cost_tag_begun_tg AFTER INSERT ON cost_tag REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION cost_tag_begun();

CREATE OR REPLACE FUNCTION account_import_range(p_accreditation uuid) RETURNS TABLE (first_day date, after_day date)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: read by workers for what they ask.
BEGIN
    -- Today is not over: what AWS says of it is no day's cost yet.
    RETURN QUERY SELECT account_day(engine_now()) - setting_value('account_import_days')::int, account_day(engine_now())
    WHERE EXISTS (SELECT FROM cost_tag WHERE accreditation_id = p_accreditation);
END $$;
COMMENT ON FUNCTION account_import_range(uuid) IS 'The days that AWS is asked about; no row: nothing has a cost tag there.';

CREATE OR REPLACE FUNCTION account_import(p_accreditation uuid, p_costs jsonb) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: told by workers, who may not write accounts.
DECLARE
    _orgs uuid[];
BEGIN
    WITH told AS (
            SELECT t.tag, t.tenant_customer_id, t.org_id, x.day, x.amount
            FROM jsonb_to_recordset(p_costs) AS x (tag text, day date, amount numeric) JOIN cost_tag AS t ON t.tag = x.tag AND t.accreditation_id = p_accreditation
            ORDER BY t.org_id, t.tag, x.day),
        changed AS (
            INSERT INTO account_cost AS c (tag, day, tenant_customer_id, org_id, actual, imported_date)
            SELECT tag, day, tenant_customer_id, org_id, amount, engine_now() FROM told
            ON CONFLICT (tag, day) DO UPDATE SET actual = excluded.actual, imported_date = excluded.imported_date WHERE c.actual IS DISTINCT FROM excluded.actual
            RETURNING org_id)
    SELECT array_agg(org_id) INTO _orgs FROM changed;
    PERFORM account_warn(a.id) FROM (SELECT id FROM account WHERE org_id = ANY (_orgs) ORDER BY id) AS a;
    UPDATE cluster_clock SET next_date = engine_now(), money_date = engine_now() WHERE cluster_id IN (SELECT id FROM cluster WHERE org_id = ANY (_orgs));
    RETURN COALESCE(cardinality(_orgs), 0);
END $$;
COMMENT ON FUNCTION account_import(uuid, jsonb) IS 'Takes what AWS says that tags cost on days, [{"tag", "day", "amount"}], in place of what was metered or said before; returns how many changed.';

-- Arithmetic ---------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION account_spent(p_balance numeric, p_rate numeric, p_from timestamptz, p_until timestamptz) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN greatest(0, p_balance - p_rate * extract(EPOCH FROM p_until - p_from) / 3600);
END $$;
COMMENT ON FUNCTION account_spent(numeric, numeric, timestamptz, timestamptz) IS 'What is left of a balance after some time at a rate per hour; never less than nothing.';

CREATE OR REPLACE FUNCTION account_project(p_balance numeric, p_rate numeric, p_allowance numeric, p_cap numeric, p_from timestamptz, p_step interval, p_points int)
RETURNS TABLE (at timestamptz, balance numeric)
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    _balance numeric := greatest(0, p_balance);
    _from timestamptz := p_from;
    _month timestamptz := account_month(p_from, 1);
BEGIN
    FOR _point IN 1 .. p_points LOOP
        at := p_from + p_step * _point;
        WHILE _month <= at LOOP
            _balance := account_spent(_balance, p_rate, _from, _month);
            _balance := _balance + greatest(0, least(p_allowance, COALESCE(p_cap, 'infinity') - _balance));
            _from := _month;
            _month := account_month(_month, 1);
        END LOOP;
        _balance := account_spent(_balance, p_rate, _from, at);
        _from := at;
        balance := round(_balance, 4);
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION account_project(numeric, numeric, numeric, numeric, timestamptz, interval, int) IS 'How a balance goes on at a rate per hour, at so many points a step apart: never below zero, with the allowance at the beginning of each month (UTC).';

CREATE OR REPLACE FUNCTION account_runs_out(p_balance numeric, p_rate numeric, p_allowance numeric, p_cap numeric, p_from timestamptz) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
DECLARE
    _balance numeric := greatest(0, p_balance);
    _from timestamptz := p_from;
    _month timestamptz := account_month(p_from, 1);
BEGIN
    FOR _n IN 1 .. 120 LOOP
        EXIT WHEN p_rate <= 0;
        IF _balance * 3600 <= p_rate * extract(EPOCH FROM _month - _from) THEN
            RETURN date_trunc('hour', _from + make_interval(secs => (_balance * 3600 / p_rate)::float8), 'UTC');
        END IF;
        _balance := account_spent(_balance, p_rate, _from, _month);
        _balance := _balance + greatest(0, least(p_allowance, COALESCE(p_cap, 'infinity') - _balance));
        _from := _month;
        _month := account_month(_month, 1);
    END LOOP;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION account_runs_out(numeric, numeric, numeric, numeric, timestamptz) IS 'The hour (UTC) in which a balance is empty at a rate per hour; NULL: not within ten years.';

-- Whoever asks -------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION account_for(p_org uuid, p_permission text) RETURNS account
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _account account;
BEGIN
    PERFORM caller_require(p_permission, (SELECT tenant_customer_id FROM org WHERE id = p_org AND status = 'active'), p_org, 'org', p_org::text);
    SELECT * INTO _account FROM account WHERE org_id = p_org;
    IF NOT FOUND THEN
        PERFORM refuse('PV404', 'the org has no account', p_org::text, 'ask the operators for one');
    END IF;
    RETURN _account;
END $$;
COMMENT ON FUNCTION account_for(uuid, text) IS 'The account of an org in which the caller holds a right.';

CREATE OR REPLACE FUNCTION account_configure(p_org uuid, p jsonb) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _account account;
BEGIN
    PERFORM check_fields('account', ARRAY[p], '{}', '{"monthly_allowance": "string|number", "max_allowance": "string|number|null", "deposit": "string|number", "adjustment": "string|number", "description": "string|null"}');
    PERFORM caller_require('read', (SELECT tenant_customer_id FROM org WHERE id = p_org AND status = 'active'), p_org, 'org', p_org::text);
    IF caller_platform() IS DISTINCT FROM 'all' THEN
        PERFORM refuse('PV403', 'the right to do this is not held', 'money', 'ask a platform admin');
    END IF;
    INSERT INTO account (tenant_customer_id, org_id) SELECT tenant_customer_id, id FROM org WHERE id = p_org ON CONFLICT (org_id) DO NOTHING;
    SELECT a.* INTO _account FROM account AS a WHERE a.org_id = p_org FOR NO KEY UPDATE;
    _account := jsonb_populate_record(_account, p - '{deposit,adjustment,description}'::text[]);
    UPDATE account SET monthly_allowance = _account.monthly_allowance, max_allowance = _account.max_allowance, updated_date = engine_now(), updated_by = caller_name()
    WHERE id = _account.id AND (monthly_allowance, max_allowance) IS DISTINCT FROM (_account.monthly_allowance, _account.max_allowance);
    INSERT INTO account_entry (account_id, tenant_customer_id, org_id, kind, amount, description)
    SELECT _account.id, _account.tenant_customer_id, p_org, k, (p ->> k)::numeric, p ->> 'description' FROM unnest('{deposit,adjustment}'::text[]) AS k WHERE p ? k;
    PERFORM account_warn(_account.id);
    UPDATE cluster_clock SET next_date = engine_now(), money_date = engine_now() WHERE cluster_id = (SELECT id FROM cluster WHERE org_id = p_org);
    RETURN _account.id;
END $$;
COMMENT ON FUNCTION account_configure(uuid, jsonb) IS 'Makes or changes an org''s account: monthly_allowance, max_allowance; deposit or adjustment, with a description, are booked. For operators and platform admins.';

CREATE OR REPLACE FUNCTION account_balance_now(p_org uuid) RETURNS numeric
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (SELECT b.balance FROM account AS a JOIN account_balance AS b ON b.account_id = a.id WHERE a.org_id = p_org) - COALESCE((SELECT sum(cluster_unmetered(c)) FROM cluster AS c WHERE c.org_id = p_org), 0);
END $$;
COMMENT ON FUNCTION account_balance_now(uuid) IS 'The balance of an org with what is not yet counted; NULL: it has no account.';

CREATE OR REPLACE FUNCTION account_document(p_org uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _account constant account := account_for(p_org, 'read');
    _balance constant numeric := account_balance_now(p_org);
    _levels constant numeric[] := account_levels();
    _today constant date := account_day(engine_now());
    _year constant date := account_day(account_month(engine_now(), -((extract(MONTH FROM _today)::int - setting_value('account_fiscal_month')::int + 12) % 12)));
    _known jsonb;
BEGIN
    _known := jsonb_build_object('org_id', p_org, 'currency', 'USD', 'balance', round(_balance, 4)::text,
        'state', CASE WHEN _balance < _levels[1] THEN 'empty' WHEN _balance < ANY (_levels) THEN 'low' ELSE 'ok' END);
    IF NOT caller_may('account.read', _account.tenant_customer_id, p_org) THEN
        RETURN _known;
    END IF;
    RETURN _known || (
        SELECT jsonb_build_object('monthly_allowance', _account.monthly_allowance::text, 'max_allowance', _account.max_allowance::text, 'fiscal_year_start', _year,
            'spent', jsonb_build_object('today', COALESCE(sum(c.charged) FILTER (WHERE c.day = _today), 0)::text,
                'month', COALESCE(sum(c.charged) FILTER (WHERE c.day >= date_trunc('month', _today)), 0)::text, 'fiscal_year', COALESCE(sum(c.charged), 0)::text))
        FROM account_cost AS c WHERE c.org_id = p_org AND c.day >= _year)
        || (SELECT COALESCE(jsonb_build_object('burn_rates', jsonb_object_agg(r.name, r.rate::text),
            'runs_out', jsonb_object_agg(r.name, account_runs_out(_balance, r.rate, _account.monthly_allowance, _account.max_allowance, engine_now()))), '{}') FROM account_rates(p_org) AS r);
END $$;
COMMENT ON FUNCTION account_document(uuid) IS 'An org''s account: balance and state for all members; allowance, what was spent, rates per hour and when it is empty at each, for those who may see that. Amounts are texts, exact.';

CREATE OR REPLACE FUNCTION account_rates(p_org uuid) RETURNS TABLE (name text, rate numeric)
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY
    SELECT r.name, CASE WHEN r.nodes IS NULL THEN 0 ELSE c.overhead_cost + c.node_cost * r.nodes END FROM cluster AS c
    CROSS JOIN LATERAL (VALUES ('min', c.min_nodes), ('current', CASE WHEN c.state <> 'down' THEN c.current_nodes END), ('max', c.max_nodes)) AS r (name, nodes) WHERE c.org_id = p_org;
END $$;
COMMENT ON FUNCTION account_rates(uuid) IS 'What an org''s cluster costs per hour with its least, present and most nodes.';

CREATE OR REPLACE FUNCTION account_forecast(p_org uuid, p_step text) RETURNS TABLE (at timestamptz, min numeric, current numeric, max numeric)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
#variable_conflict use_column
DECLARE
    _account constant account := account_for(p_org, 'account.read');
    _points constant int := CASE p_step WHEN 'hour' THEN 336 WHEN 'day' THEN 90 WHEN 'month' THEN 12 END;
BEGIN
    IF _points IS NULL THEN
        PERFORM refuse('PV400', 'there is no such step', left(p_step, 20), 'hour (14 days), day (90 days) or month (12 months)');
    END IF;
    RETURN QUERY
    SELECT p.at, min(p.balance) FILTER (WHERE r.name = 'min'), min(p.balance) FILTER (WHERE r.name = 'current'), min(p.balance) FILTER (WHERE r.name = 'max')
    FROM account_rates(p_org) AS r
    CROSS JOIN LATERAL account_project(account_balance_now(p_org), r.rate, _account.monthly_allowance, _account.max_allowance, engine_now(), ('1 ' || p_step)::interval, _points) AS p
    GROUP BY p.at ORDER BY p.at;
END $$;
COMMENT ON FUNCTION account_forecast(uuid, text) IS 'How an org''s balance goes on with the least, present and most nodes: hourly for 14 days, daily for 90, monthly for 12 months.';
