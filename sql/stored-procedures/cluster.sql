-- Clusters: capacity_request_create() and the owner's cluster_configure(), cluster_deploy(), cluster_shutdown() say what is
-- wanted; cluster_converge() compares it with what there is and begins the one operation that comes next (cluster_next), as a
-- row of provision_cluster, _scale or _shutdown; their post functions call it again. cluster_tick(), called by every worker
-- four times a second, does so for clusters whose time has come: an index of cluster_clock says which. The row of the cluster is
-- the lock: whoever decides about it has it locked.

-- What is wanted -----------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION cluster_asked(p_cluster uuid) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (
        SELECT sum(u.nodes) FROM (
            SELECT max(r.nodes) AS nodes FROM capacity_request AS r
            WHERE r.cluster_id = p_cluster AND r.finished_date IS NULL AND r.expires_date > engine_now() GROUP BY r.user_id) AS u);
END $$;
COMMENT ON FUNCTION cluster_asked(uuid) IS 'How many nodes are asked for: the largest live request of each user, added up; NULL: nobody asks.';

CREATE OR REPLACE FUNCTION cluster_target(p_cluster cluster) RETURNS int
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN greatest(least(COALESCE(cluster_asked(p_cluster.id), 0), p_cluster.max_nodes), p_cluster.min_nodes);
END $$;
COMMENT ON FUNCTION cluster_target(cluster) IS 'How many nodes a cluster is to have at this moment: what is asked for, within its limits.';

CREATE OR REPLACE FUNCTION cluster_plan(p_cluster cluster, p_nodes int) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN jsonb_build_object('version', p_cluster.cluster_version, 'is_public', p_cluster.is_public, 'nodes', p_nodes, 'min_nodes', p_cluster.min_nodes,
        'spot_max_price', p_cluster.spot_max_price::text, 'allocation_strategy', p_cluster.allocation_strategy, 'instance_types', p_cluster.instance_types);
END $$;
COMMENT ON FUNCTION cluster_plan(cluster, int) IS 'What a cluster is to be made like.';

CREATE OR REPLACE FUNCTION cluster_is_idle(p_cluster cluster) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN p_cluster.destroy_when_no_nodes AND p_cluster.min_nodes = 0 AND cluster_asked(p_cluster.id) IS NULL;
END $$;
COMMENT ON FUNCTION cluster_is_idle(cluster) IS 'Whether nothing keeps a cluster up.';

CREATE OR REPLACE FUNCTION cluster_next(p_cluster cluster) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN CASE
        WHEN p_cluster.operation_id IS NOT NULL OR (SELECT retry_date > engine_now() FROM cluster_clock WHERE cluster_id = p_cluster.id) THEN NULL
        WHEN p_cluster.state IN ('deploying', 'shutting_down') THEN 'shutdown'
        WHEN p_cluster.state = 'down' THEN CASE WHEN p_cluster.drift IS NOT NULL THEN 'shutdown' WHEN p_cluster.is_wanted AND setting_value('cluster_provisioning') = '1' THEN 'deploy' END
        WHEN NOT p_cluster.is_wanted THEN 'shutdown'
        WHEN p_cluster.applied -> 'version' <> to_jsonb(p_cluster.cluster_version) OR p_cluster.applied -> 'is_public' <> to_jsonb(p_cluster.is_public) THEN 'redeploy'
        WHEN p_cluster.drift IS NOT NULL THEN 'repair'
        WHEN p_cluster.applied <> cluster_plan(p_cluster, p_cluster.target_nodes) THEN 'scale' END;
END $$;
COMMENT ON FUNCTION cluster_next(cluster) IS 'What is to be done with a cluster next; NULL: nothing, or something is being done. What was broken off is cleared away before anything is made anew.';

-- Getting there ------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION cluster_begin(p_cluster cluster, p_operation text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _c constant cluster := p_cluster;
BEGIN
    IF p_operation = 'deploy' THEN
        INSERT INTO provision_cluster (tenant_customer_id, org_id, accreditation_id, cluster_id) VALUES (_c.tenant_customer_id, _c.org_id, _c.accreditation_id, _c.id);
    ELSIF p_operation IN ('scale', 'repair') THEN
        INSERT INTO provision_cluster_scale (tenant_customer_id, org_id, accreditation_id, cluster_id, is_repair)
        VALUES (_c.tenant_customer_id, _c.org_id, _c.accreditation_id, _c.id, p_operation = 'repair');
    ELSIF p_operation IN ('shutdown', 'redeploy') THEN
        INSERT INTO provision_cluster_shutdown (tenant_customer_id, org_id, accreditation_id, cluster_id, is_redeploy)
        VALUES (_c.tenant_customer_id, _c.org_id, _c.accreditation_id, _c.id, p_operation = 'redeploy');
    END IF;
END $$;
COMMENT ON FUNCTION cluster_begin(cluster, text) IS 'Begins an operation that cluster_next() named.';

CREATE OR REPLACE FUNCTION cluster_converge(p_cluster uuid) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _cluster cluster;
    _target int;
    _is_wanted boolean;
BEGIN
    SELECT * INTO _cluster FROM cluster WHERE id = p_cluster FOR NO KEY UPDATE;
    PERFORM capacity_request_expire(p_cluster);
    _cluster := cluster_spend(_cluster);
    _target := cluster_target(_cluster);
    _is_wanted := _cluster.is_wanted AND NOT cluster_is_idle(_cluster);
    IF (_cluster.target_nodes, _cluster.is_wanted) IS DISTINCT FROM (_target, _is_wanted) THEN
        UPDATE cluster SET target_nodes = _target, is_wanted = _is_wanted WHERE id = p_cluster RETURNING * INTO _cluster;
    END IF;
    PERFORM cluster_begin(_cluster, cluster_next(_cluster));
    PERFORM cluster_set_clock(p_cluster);
END $$;
COMMENT ON FUNCTION cluster_converge(uuid) IS 'Looks at what is wanted of a cluster and begins what is to be done next.';

CREATE OR REPLACE FUNCTION cluster_set_clock(p_cluster uuid) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE cluster_clock AS c SET money_date = m.date, next_date = least(m.date,
        (SELECT min(r.expires_date) FROM capacity_request AS r WHERE r.cluster_id = p_cluster AND r.finished_date IS NULL),
        CASE WHEN c.retry_date > engine_now() THEN c.retry_date END)
    FROM (SELECT cluster_money_date(k) AS date FROM cluster AS k WHERE k.id = p_cluster) AS m WHERE c.cluster_id = p_cluster;
END $$;
COMMENT ON FUNCTION cluster_set_clock(uuid) IS 'Notes when a cluster is to be looked at next.';

CREATE OR REPLACE FUNCTION cluster_tick(p_limit int DEFAULT 20) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '200ms' AS $$
-- SECURITY DEFINER: called by workers, who may not write clusters.
DECLARE
    _cluster uuid;
    _count int := 0;
BEGIN
    FOR _cluster IN SELECT k.cluster_id FROM cluster_clock AS k WHERE k.next_date <= engine_now() ORDER BY k.next_date LIMIT p_limit LOOP
        -- Whoever has the cluster locked decides about it, and sees what has expired too.
        PERFORM FROM cluster WHERE id = _cluster FOR NO KEY UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        PERFORM cluster_converge(_cluster);
        _count := _count + 1;
    END LOOP;
    RETURN _count;
END $$;
COMMENT ON FUNCTION cluster_tick(int) IS 'Looks at clusters whose time has come, at most p_limit; returns at how many.';

CREATE OR REPLACE FUNCTION cluster_take(p_cluster uuid, p_tenant_customer uuid, p_org uuid, p_accreditation uuid, p_states text[]) RETURNS cluster
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _cluster cluster;
BEGIN
    SELECT * INTO _cluster FROM cluster WHERE id = p_cluster AND tenant_customer_id = p_tenant_customer AND org_id = p_org AND accreditation_id = p_accreditation FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM refuse('PV404', 'cluster not found', 'cluster_id ' || COALESCE(p_cluster::text, 'is missing'), 'name one of your own, with its org and accreditation');
    ELSIF _cluster.operation_id IS NOT NULL THEN
        PERFORM refuse('PV409', 'something is being done with the cluster', _cluster.operation_id::text, 'wait until it has ended; SELECT * FROM v_provision');
    ELSIF _cluster.state <> ALL (p_states) THEN
        PERFORM refuse('PV409', format('the cluster is %s', _cluster.state), p_cluster::text, 'it must be ' || array_to_string(p_states, ' or '));
    END IF;
    RETURN _cluster;
END $$;
COMMENT ON FUNCTION cluster_take(uuid, uuid, uuid, uuid, text[]) IS 'A cluster for an operation that begins, locked; refuses if another is going on, or in a state where it makes no sense.';

CREATE OR REPLACE FUNCTION cluster_failed(p_cluster uuid, p_provision uuid, p_reason text, p_is_retried boolean) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM cluster_settle_effects(p_cluster, 'adopted');
    UPDATE cluster SET operation_id = NULL, failure = COALESCE(p_reason, 'it was cancelled') WHERE id = p_cluster AND operation_id = p_provision;
    UPDATE cluster_clock SET failures = CASE WHEN p_is_retried THEN failures + 1 ELSE 0 END,
        retry_date = CASE WHEN p_is_retried THEN engine_now() + make_interval(secs => least(3600, setting_value('cluster_retry_seconds')::float8 * 2 ^ least(failures, 10))) END
    WHERE cluster_id = p_cluster;
    PERFORM cluster_converge(p_cluster);
END $$;
COMMENT ON FUNCTION cluster_failed(uuid, uuid, text, boolean) IS 'An operation on a cluster failed: it is shown, and tried again later or not at all.';

CREATE OR REPLACE FUNCTION cluster_settle_effects(p_cluster uuid, p_status text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    -- All that belongs to a cluster carries its tag and is found by its next operation: none of it is an orphan.
    UPDATE effect AS e SET status = p_status, finished_date = COALESCE(e.finished_date, engine_now())
    FROM job AS j WHERE j.id = e.job_id AND j.finished_date IS NOT NULL AND e.status IN ('intended', 'orphaned') AND e.reference_id IN (
        SELECT id FROM provision_cluster WHERE cluster_id = p_cluster UNION ALL SELECT id FROM provision_cluster_scale WHERE cluster_id = p_cluster
        UNION ALL SELECT id FROM provision_cluster_shutdown WHERE cluster_id = p_cluster);
END $$;
COMMENT ON FUNCTION cluster_settle_effects(uuid, text) IS 'What operations on a cluster left open outside is the cluster''s (adopted), or gone with it (absent).';

-- Requests -----------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION capacity_request_expire(p_cluster uuid) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE capacity_request SET state = 'expired', previous_state = state, finished_date = expires_date
    WHERE cluster_id = p_cluster AND finished_date IS NULL AND expires_date <= engine_now();
END $$;
COMMENT ON FUNCTION capacity_request_expire(uuid) IS 'Ends the requests of a cluster whose time is over; they count for nothing from that moment on, whenever this is called.';

CREATE OR REPLACE FUNCTION capacity_request_end(p_cluster uuid, p_user uuid, p_state text, p_reason text) RETURNS int
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _count int;
BEGIN
    PERFORM capacity_request_expire(p_cluster);
    UPDATE capacity_request SET state = p_state, previous_state = state, finished_date = engine_now(), reason = p_reason
    WHERE cluster_id = p_cluster AND finished_date IS NULL AND (p_user IS NULL OR user_id = p_user);
    GET DIAGNOSTICS _count = ROW_COUNT;
    RETURN _count;
END $$;
COMMENT ON FUNCTION capacity_request_end(uuid, uuid, text, text) IS 'Ends live requests of a cluster, all or those of a user; returns how many.';

CREATE OR REPLACE FUNCTION cluster_for(p_org uuid, p_permission text, p_version bigint DEFAULT NULL) RETURNS cluster
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _cluster cluster;
BEGIN
    PERFORM caller_require(p_permission, (SELECT tenant_customer_id FROM org WHERE id = p_org AND status = 'active'), p_org, 'org', p_org::text);
    SELECT * INTO _cluster FROM cluster WHERE org_id = p_org FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM refuse('PV404', 'the org has no cluster', p_org::text, 'ask the operators for one');
    END IF;
    PERFORM check_version('cluster', _cluster.version, p_version);
    RETURN _cluster;
END $$;
COMMENT ON FUNCTION cluster_for(uuid, text, bigint) IS 'The cluster of an org in which the caller holds a right, locked.';

CREATE OR REPLACE FUNCTION capacity_request_create(p_org uuid, p_nodes int, p_minutes int, p_expires timestamptz DEFAULT NULL) RETURNS TABLE (id uuid, is_redundant boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
#variable_conflict use_column
DECLARE
    _cluster constant cluster := cluster_for(p_org, 'capacity.request');
    _user constant uuid := caller_known();
    _expires constant timestamptz := COALESCE(p_expires, engine_now() + make_interval(mins => p_minutes));
    _id uuid;
BEGIN
    IF p_expires IS NULL AND (p_minutes BETWEEN setting_value('cluster_minutes_minimum')::int AND setting_value('cluster_minutes_maximum')::int) IS NOT TRUE THEN
        PERFORM refuse('PV400', 'the time to live cannot be that', COALESCE(p_minutes::text, 'none') || ' minutes', format('give %s to %s minutes', setting_value('cluster_minutes_minimum'), setting_value('cluster_minutes_maximum')));
    END IF;
    SELECT r.id INTO _id FROM capacity_request AS r
    WHERE r.cluster_id = _cluster.id AND r.user_id = _user AND r.nodes = p_nodes AND r.finished_date IS NULL
        AND date_trunc('second', r.expires_date) = date_trunc('second', _expires) AND r.expires_date > engine_now();
    IF FOUND THEN
        RETURN QUERY SELECT _id, true;
        RETURN;
    END IF;
    INSERT INTO capacity_request (tenant_customer_id, org_id, cluster_id, user_id, nodes, expires_date)
    VALUES (_cluster.tenant_customer_id, _cluster.org_id, _cluster.id, _user, p_nodes, _expires) RETURNING capacity_request.id INTO _id;
    RETURN QUERY SELECT _id, false;
END $$;
COMMENT ON FUNCTION capacity_request_create(uuid, int, int, timestamptz) IS 'Asks for nodes of an org''s cluster, for some minutes or until p_expires; is_redundant: the same is asked for already.';

CREATE OR REPLACE FUNCTION capacity_request_remove(p_org uuid, p_of_all boolean DEFAULT false, p_id uuid DEFAULT NULL) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _cluster constant cluster := cluster_for(p_org, CASE WHEN p_of_all THEN 'cluster.change' ELSE 'capacity.request' END);
    _count int;
BEGIN
    IF p_id IS NULL THEN
        _count := capacity_request_end(_cluster.id, CASE WHEN NOT p_of_all THEN caller_known() END, 'withdrawn', 'withdrawn by ' || caller_name());
    ELSE
        UPDATE capacity_request SET state = 'withdrawn', previous_state = state, finished_date = engine_now(), reason = 'withdrawn by ' || caller_name()
        WHERE id = p_id AND cluster_id = _cluster.id AND finished_date IS NULL AND expires_date > engine_now()
            AND (user_id = caller_user() OR caller_may('cluster.change', _cluster.tenant_customer_id, p_org));
        GET DIAGNOSTICS _count = ROW_COUNT;
        IF _count = 0 THEN
            PERFORM refuse('PV404', 'live request not found', p_id::text, 'name one of your own; SELECT * FROM v_capacity_request');
        END IF;
    END IF;
    PERFORM cluster_converge(_cluster.id);
    RETURN _count;
END $$;
COMMENT ON FUNCTION capacity_request_remove(uuid, boolean, uuid) IS 'Takes live requests back: one, all of the caller''s, or (p_of_all) everybody''s; returns how many.';

CREATE OR REPLACE FUNCTION capacity_request_made() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: whoever asks need not be allowed to touch the cluster.
BEGIN
    PERFORM cluster_converge(c.id) FROM (SELECT DISTINCT cluster_id AS id FROM new_rows ORDER BY 1) AS c;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION capacity_request_made() IS 'What is asked for counts at once.';
SELECT class.replace_trigger('capacity_request_made_tg', 'capacity_request', 'AFTER INSERT ON {table} REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT', 'capacity_request_made()');

CREATE OR REPLACE FUNCTION capacity_request_member_ended() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: whoever changes a member or user need not be allowed to touch requests.
DECLARE
    _user constant uuid := to_jsonb(NEW) ->> CASE TG_TABLE_NAME WHEN 'app_user' THEN 'id' ELSE 'user_id' END;
    _row record;
BEGIN
    FOR _row IN
        SELECT DISTINCT r.cluster_id FROM capacity_request AS r
        WHERE r.user_id = _user AND r.finished_date IS NULL AND NOT session_org_is_open(_user, r.org_id) ORDER BY 1
    LOOP
        PERFORM FROM cluster WHERE id = _row.cluster_id FOR NO KEY UPDATE;
        PERFORM capacity_request_end(_row.cluster_id, _user, 'withdrawn', 'the membership ended');
        PERFORM cluster_converge(_row.cluster_id);
    END LOOP;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION capacity_request_member_ended() IS 'Ends what a user asked for in orgs of which he is no active member any more.';
SELECT class.replace_trigger('membership_capacity_tg', 'membership', 'AFTER UPDATE ON {table} FOR EACH ROW WHEN (OLD.state = ''active'' AND NEW.state <> ''active'')', 'capacity_request_member_ended()');
SELECT class.replace_trigger('app_user_capacity_tg', 'app_user', 'AFTER UPDATE ON {table} FOR EACH ROW WHEN (OLD.status = ''active'' AND NEW.status <> ''active'')', 'capacity_request_member_ended()');

-- The owner ----------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION cluster_create(p jsonb) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _org org := org_named(p ->> 'org');
    _id uuid;
BEGIN
    PERFORM check_fields('cluster', ARRAY[p], '{org,domain,ceiling,max_nodes,version}', '{"org": "string", "accreditation": "string|null", "domain": "string", "ceiling": "number", "min_nodes": "number", "max_nodes": "number", "version": "string"}');
    IF caller_platform() IS DISTINCT FROM 'all' THEN
        PERFORM caller_require('read', _org.tenant_customer_id, _org.id, 'org', p ->> 'org');
        PERFORM refuse('PV403', 'the right to do this is not held', 'making a cluster', 'ask the operators');
    ELSIF _org.id IS NULL THEN
        PERFORM refuse('PV404', 'org not found', p ->> 'org', 'SELECT * FROM v_org');
    END IF;
    INSERT INTO cluster (tenant_customer_id, org_id, accreditation_id, domain, cost_tag, ceiling, min_nodes, max_nodes, cluster_version)
    VALUES (_org.tenant_customer_id, _org.id, accreditation_for(_org.tenant_customer_id, p ->> 'accreditation', '{aws,manual}'), p ->> 'domain', 'cluster-' || _org.id,
        (p ->> 'ceiling')::int, COALESCE((p ->> 'min_nodes')::int, 0), (p ->> 'max_nodes')::int, p ->> 'version') RETURNING id INTO _id;
    RETURN _id;
END $$;
COMMENT ON FUNCTION cluster_create(jsonb) IS 'Makes an org''s cluster, which is down: org (slug or id), accreditation, domain, ceiling, min_nodes, max_nodes, version. For operators and platform admins.';

CREATE OR REPLACE FUNCTION cluster_configure(p_org uuid, p jsonb, p_version bigint DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _new cluster;
BEGIN
    PERFORM check_fields('cluster', ARRAY[p], '{}', '{"min_nodes": "number", "max_nodes": "number", "destroy_when_no_nodes": "boolean", "allow_deploy_by_token": "boolean", "is_public": "boolean", "version": "string",
        "is_suspended": "boolean", "spot_max_price": "string|number|null", "allocation_strategy": "string", "instance_types": "array", "zone": "string|null", "subnet_id": "string|null", "ceiling": "number", "overhead_cost": "string|number", "node_cost": "string|number"}');
    _new := cluster_for(p_org, 'cluster.change', p_version);
    IF p ?| '{ceiling,overhead_cost,node_cost}' AND caller_platform() IS DISTINCT FROM 'all' THEN
        PERFORM refuse('PV403', 'the right to do this is not held', 'ceiling and costs', 'ask a platform admin');
    END IF;
    _new := jsonb_populate_record(_new, p - 'version' || CASE WHEN p ? 'version' THEN jsonb_build_object('cluster_version', p -> 'version') ELSE '{}' END);
    UPDATE cluster SET min_nodes = _new.min_nodes, max_nodes = _new.max_nodes, destroy_when_no_nodes = _new.destroy_when_no_nodes, allow_deploy_by_token = _new.allow_deploy_by_token,
        is_public = _new.is_public, cluster_version = _new.cluster_version, is_suspended = _new.is_suspended, spot_max_price = _new.spot_max_price, allocation_strategy = _new.allocation_strategy,
        instance_types = _new.instance_types, zone = _new.zone, subnet_id = _new.subnet_id, ceiling = _new.ceiling, overhead_cost = _new.overhead_cost, node_cost = _new.node_cost,
        version = version + 1, updated_date = engine_now(), updated_by = caller_name()
    WHERE id = _new.id;
    IF _new.is_suspended THEN
        PERFORM capacity_request_end(_new.id, NULL, 'refused', 'the cluster is suspended');
    END IF;
    PERFORM cluster_converge(_new.id);
END $$;
COMMENT ON FUNCTION cluster_configure(uuid, jsonb, bigint) IS 'Configures an org''s cluster: min_nodes, max_nodes, destroy_when_no_nodes, allow_deploy_by_token, is_public, version, is_suspended, spot_max_price, allocation_strategy, instance_types, zone, subnet_id; by platform admins also ceiling, overhead_cost, node_cost. What is not named stays.';

CREATE OR REPLACE FUNCTION cluster_deploy(p_org uuid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _cluster constant cluster := cluster_for(p_org, 'cluster.change');
BEGIN
    IF _cluster.is_wanted THEN
        RETURN 'redundant';
    END IF;
    PERFORM cluster_check_deploy(_cluster);
    UPDATE cluster SET is_wanted = true WHERE id = _cluster.id;
    PERFORM cluster_converge(_cluster.id);
    RETURN 'queued';
END $$;
COMMENT ON FUNCTION cluster_deploy(uuid) IS 'Deploys an org''s cluster; redundant: it is up or on its way.';

CREATE OR REPLACE FUNCTION cluster_shutdown(p_org uuid, p_end_requests boolean DEFAULT false) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _cluster constant cluster := cluster_for(p_org, 'cluster.change');
BEGIN
    PERFORM capacity_request_expire(_cluster.id);
    PERFORM cluster_check_asked(_cluster) WHERE NOT p_end_requests;
    PERFORM capacity_request_end(_cluster.id, NULL, 'withdrawn', 'the cluster was shut down by ' || caller_name());
    IF NOT _cluster.is_wanted AND _cluster.state IN ('down', 'shutting_down') THEN
        RETURN 'redundant';
    END IF;
    UPDATE cluster SET is_wanted = false WHERE id = _cluster.id;
    PERFORM cluster_hurry(_cluster);
    PERFORM cluster_converge(_cluster.id);
    RETURN 'queued';
END $$;
COMMENT ON FUNCTION cluster_shutdown(uuid, boolean) IS 'Shuts an org''s cluster down; live requests end with it, or else it is refused while there are any. redundant: it is down or on its way.';

CREATE OR REPLACE FUNCTION cluster_hurry(p_cluster cluster) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _job constant uuid := (SELECT job_id FROM class.provision WHERE id = p_cluster.operation_id);
BEGIN
    -- What waits for its next look finds out at once that it is not wanted any more.
    UPDATE cluster_clock SET retry_date = NULL WHERE cluster_id = p_cluster.id;
    UPDATE job_queue SET start_date = engine_now() WHERE job_id = _job AND start_date > engine_now();
    IF FOUND THEN
        UPDATE job SET start_date = engine_now() WHERE id = _job;
        PERFORM job_wake();
    END IF;
END $$;
COMMENT ON FUNCTION cluster_hurry(cluster) IS 'Has the operation on a cluster look again now, and one that failed be followed by the next at once.';

CREATE OR REPLACE FUNCTION cluster_refresh(p_org uuid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _cluster constant cluster := cluster_for(p_org, 'cluster.change');
BEGIN
    PERFORM cluster_hurry(_cluster);
    PERFORM cluster_observe_soon(_cluster.accreditation_id);
    PERFORM cluster_converge(_cluster.id);
    RETURN 'queued';
END $$;
COMMENT ON FUNCTION cluster_refresh(uuid) IS 'Has it looked at what runs of a cluster, and what failed tried again, now.';

CREATE OR REPLACE FUNCTION cluster_check_open(p_cluster cluster) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF setting_value('cluster_provisioning') <> '1' THEN
        PERFORM refuse('PV409', 'provisioning is switched off', 'in the whole installation', 'wait until the administrators have switched it on again');
    ELSIF p_cluster.is_suspended THEN
        PERFORM refuse('PV409', 'the cluster is suspended', p_cluster.id::text, 'ask its owner');
    END IF;
END $$;
COMMENT ON FUNCTION cluster_check_open(cluster) IS 'Refuses while nothing may be asked of a cluster.';

CREATE OR REPLACE FUNCTION cluster_check_deploy(p_cluster cluster) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM cluster_check_open(p_cluster);
    IF account_balance_now(p_cluster.org_id) < setting_value('account_minimum')::numeric THEN
        PERFORM refuse('PV409', 'the account is empty', round(account_balance_now(p_cluster.org_id), 2) || ' dollars', 'ask the operators for a larger budget');
    ELSIF cluster_is_idle(p_cluster) THEN
        PERFORM refuse('PV409', 'the cluster would go at once', 'no nodes are asked for, min_nodes is 0 and destroy_when_no_nodes is on', 'ask for nodes, raise min_nodes, or switch destroy_when_no_nodes off');
    END IF;
END $$;
COMMENT ON FUNCTION cluster_check_deploy(cluster) IS 'Refuses to deploy a cluster that may not be up, or would not stay so.';

CREATE OR REPLACE FUNCTION cluster_check_asked(p_cluster cluster) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF cluster_asked(p_cluster.id) IS NOT NULL THEN
        PERFORM refuse('PV409', 'nodes of the cluster are asked for', cluster_asked(p_cluster.id) || ' nodes', 'end the requests with it, or wait until they have expired');
    END IF;
END $$;
COMMENT ON FUNCTION cluster_check_asked(cluster) IS 'Refuses to shut a cluster down while it is used.';

CREATE OR REPLACE FUNCTION cluster_switch(p_on boolean) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
BEGIN
    IF caller_platform() IS DISTINCT FROM 'all' THEN
        PERFORM refuse('PV403', 'the right to do this is not held', 'provisioning as a whole', 'ask a platform admin');
    END IF;
    UPDATE setting SET value = p_on::int::text WHERE name = 'cluster_provisioning' AND value <> p_on::int::text;
    IF p_on THEN
        PERFORM cluster_converge(c.id) FROM (SELECT id FROM cluster WHERE is_wanted AND state = 'down' ORDER BY id) AS c;
    END IF;
    RETURN p_on;
END $$;
COMMENT ON FUNCTION cluster_switch(boolean) IS 'Switches provisioning of clusters off and on, in the whole installation. What runs goes on; nothing is deployed and no request taken meanwhile.';

-- What is seen -------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION cluster_begun() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: whoever makes a cluster need not be allowed to write clock and schedule.
BEGIN
    INSERT INTO cluster_clock (cluster_id) SELECT id FROM new_rows;
    INSERT INTO schedule (name, job_type, accreditation_id, every, next_date)
    SELECT DISTINCT 'observe clusters ' || a.id, 'cluster_observe', a.id, make_interval(secs => setting_value('cluster_observe_seconds')::int), engine_now()
    FROM new_rows AS n JOIN accreditation AS a ON a.id = n.accreditation_id AND a.provider = 'aws' ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION cluster_begun() IS 'Every cluster has a clock, and every AWS account with clusters is looked at regularly.';
SELECT class.replace_trigger('cluster_begun_tg', 'cluster', 'AFTER INSERT ON {table} REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT', 'cluster_begun()');

CREATE OR REPLACE FUNCTION cluster_observe_soon(p_accreditation uuid) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _name constant text := 'observe clusters ' || p_accreditation;
    _job constant uuid := (SELECT job_id FROM schedule WHERE name = _name);
BEGIN
    UPDATE schedule SET next_date = engine_now() WHERE name = _name AND next_date > engine_now();
    UPDATE job_queue SET start_date = engine_now() WHERE job_id = _job AND start_date > engine_now();
    IF FOUND THEN
        UPDATE job SET start_date = engine_now() WHERE id = _job;
        PERFORM job_wake();
    END IF;
END $$;
COMMENT ON FUNCTION cluster_observe_soon(uuid) IS 'Has it looked at once at what runs in an AWS account.';

CREATE OR REPLACE FUNCTION cluster_look(p_accreditation uuid) RETURNS TABLE (cluster uuid, generation int, state text, data jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: told to workers, who may not read orgs.
BEGIN
    RETURN QUERY
    SELECT c.id, c.generation, CASE WHEN c.operation_id IS NULL THEN c.state ELSE 'busy' END, cluster_job_data(c.id, c.generation, c.applied)
    FROM cluster AS c WHERE c.accreditation_id = p_accreditation ORDER BY c.id;
END $$;
COMMENT ON FUNCTION cluster_look(uuid) IS 'The clusters of an AWS account and what they were made like; busy: something is being done.';

CREATE OR REPLACE FUNCTION cluster_observed(p_cluster uuid, p_generation int, p_nodes int, p_drift text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: told by workers, who may not write clusters.
DECLARE
    _cluster cluster;
BEGIN
    SELECT * INTO _cluster FROM cluster WHERE id = p_cluster FOR NO KEY UPDATE;
    -- While something is being done, and after, what was seen before is not how it is.
    IF _cluster.operation_id IS NOT NULL OR _cluster.generation <> p_generation THEN
        RETURN false;
    END IF;
    IF (_cluster.current_nodes, _cluster.drift) IS DISTINCT FROM (p_nodes, p_drift) THEN
        UPDATE cluster SET current_nodes = CASE WHEN state = 'down' THEN 0 ELSE p_nodes END, drift = p_drift WHERE id = p_cluster RETURNING * INTO _cluster;
    END IF;
    UPDATE cluster_clock SET observed_date = engine_now() WHERE cluster_id = p_cluster;
    IF _cluster.state = 'up' AND p_nodes >= (_cluster.applied ->> 'nodes')::int AND p_nodes >= cluster_target(_cluster) THEN
        UPDATE capacity_request SET state = 'in_effect', previous_state = state, effective_date = engine_now()
        WHERE cluster_id = p_cluster AND state = 'accepted' AND expires_date > engine_now();
    END IF;
    PERFORM cluster_converge(p_cluster);
    RETURN p_drift IS NULL AND (_cluster.state <> 'up' OR p_nodes = _cluster.target_nodes);
END $$;
COMMENT ON FUNCTION cluster_observed(uuid, int, int, text) IS 'Takes what was seen of a cluster outside: nodes that run, and what is other than it was made; false: it is worth another look soon.';

-- Money --------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION cluster_meter(p_cluster cluster, p_is_down boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    _c constant cluster := p_cluster;
    _from constant timestamptz := (SELECT metered_date FROM cluster_clock WHERE cluster_id = _c.id);
    _now constant timestamptz := engine_now();
BEGIN
    UPDATE cluster_clock SET metered_date = CASE WHEN NOT p_is_down THEN _now END WHERE cluster_id = _c.id;
    IF _from IS NULL OR _from >= _now THEN
        RETURN;
    END IF;
    INSERT INTO cluster_usage AS u (cluster_id, day, overhead_cost, node_cost, tenant_customer_id, org_id, overhead_seconds, node_seconds)
    SELECT _c.id, d.day::date, _c.overhead_cost, _c.node_cost, _c.tenant_customer_id, _c.org_id, d.seconds, d.seconds * _c.current_nodes
    FROM (SELECT s AS day, extract(EPOCH FROM least(_now, s + interval '1 day') - greatest(_from, s)) AS seconds FROM generate_series(date_trunc('day', _from), _now, interval '1 day') AS s) AS d
    WHERE d.seconds > 0
    ON CONFLICT (cluster_id, day, overhead_cost, node_cost) DO UPDATE SET overhead_seconds = u.overhead_seconds + excluded.overhead_seconds, node_seconds = u.node_seconds + excluded.node_seconds;
    -- The day's cost is reckoned anew out of all its seconds, so nothing is rounded twice.
    INSERT INTO account_cost (tag, day, tenant_customer_id, org_id, metered)
    SELECT _c.cost_tag, u.day, _c.tenant_customer_id, _c.org_id, round(sum(u.overhead_cost * u.overhead_seconds + u.node_cost * u.node_seconds) / 3600, 10)
    FROM cluster_usage AS u WHERE u.cluster_id = _c.id AND u.day >= account_day(_from) GROUP BY u.day
    ON CONFLICT (tag, day) DO UPDATE SET metered = excluded.metered;
END $$;
COMMENT ON FUNCTION cluster_meter(cluster, boolean) IS 'Counts the use of a cluster up to now, as it was until now.';

CREATE OR REPLACE FUNCTION cluster_rate(p_cluster cluster, p_nodes bigint) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN p_cluster.overhead_cost + p_cluster.node_cost * p_nodes;
END $$;
COMMENT ON FUNCTION cluster_rate(cluster, bigint) IS 'What a cluster costs per hour with so many nodes.';

CREATE OR REPLACE FUNCTION cluster_unmetered(p_cluster cluster) RETURNS numeric
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN round(cluster_rate(p_cluster, p_cluster.current_nodes) * COALESCE((SELECT extract(EPOCH FROM engine_now() - metered_date) FROM cluster_clock WHERE cluster_id = p_cluster.id), 0) / 3600, 10);
END $$;
COMMENT ON FUNCTION cluster_unmetered(cluster) IS 'What the use of a cluster costs that is not counted yet.';

CREATE OR REPLACE FUNCTION cluster_metered() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: whoever changes a cluster need not be allowed to book its cost.
BEGIN
    PERFORM cluster_meter(OLD, NEW.state = 'down');
    RETURN NEW;
END $$;
COMMENT ON FUNCTION cluster_metered() IS 'Before what a cluster costs changes, what it has cost is counted.';
SELECT class.replace_trigger('cluster_metered_tg', 'cluster', 'BEFORE UPDATE ON {table} FOR EACH ROW WHEN ((OLD.state = ''down'') <> (NEW.state = ''down'') OR OLD.current_nodes <> NEW.current_nodes OR OLD.overhead_cost <> NEW.overhead_cost OR OLD.node_cost <> NEW.node_cost)', 'cluster_metered()');

CREATE OR REPLACE FUNCTION cluster_tagged() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: whoever makes a cluster need not be allowed to register cost tags.
BEGIN
    INSERT INTO cost_tag (tag, tenant_customer_id, org_id, accreditation_id, module) SELECT cost_tag, tenant_customer_id, org_id, accreditation_id, 'cluster' FROM new_rows;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION cluster_tagged() IS 'A cluster''s cost is its org''s.';
SELECT class.replace_trigger('cluster_tagged_tg', 'cluster', 'AFTER INSERT ON {table} REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT', 'cluster_tagged()');

CREATE OR REPLACE FUNCTION cluster_admit(p_cluster cluster, p_nodes int) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _hours constant numeric := setting_value('account_admission_hours')::numeric;
    _balance constant numeric := account_balance_now(p_cluster.org_id);
    _rate constant numeric := cluster_rate(p_cluster, least(p_nodes, p_cluster.max_nodes));
BEGIN
    IF _balance < _rate * _hours THEN
        PERFORM refuse('PV409', format('the balance would be empty within %s hours', _hours), format('%s dollars, and %s nodes cost %s per hour', round(_balance, 2), least(p_nodes, p_cluster.max_nodes), round(_rate, 3)),
            'ask for fewer nodes, or the owner for a larger budget');
    END IF;
END $$;
COMMENT ON FUNCTION cluster_admit(cluster, int) IS 'Refuses a request that at its own cost would empty the account too soon.';

CREATE OR REPLACE FUNCTION cluster_spend(p_cluster cluster) RETURNS cluster
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _cluster cluster := p_cluster;
    _account constant uuid := (SELECT id FROM account WHERE org_id = p_cluster.org_id);
BEGIN
    -- What changes its cost is counted as it does (cluster_metered); beside that it is enough to count when it is due, and
    -- not with every request that expires.
    IF _cluster.state = 'down' OR (SELECT metered_date > engine_now() - interval '1 minute' AND (money_date <= engine_now()) IS NOT TRUE FROM cluster_clock WHERE cluster_id = _cluster.id) THEN
        RETURN _cluster;
    END IF;
    PERFORM cluster_meter(_cluster);
    IF _account IS NOT NULL THEN
        PERFORM account_allow(_account);
        PERFORM account_warn(_account);
        IF _cluster.is_wanted AND (SELECT balance < setting_value('account_minimum')::numeric FROM account_balance WHERE account_id = _account) THEN
            PERFORM capacity_request_end(_cluster.id, NULL, 'refused', 'the account is empty');
            UPDATE cluster SET is_wanted = false WHERE id = _cluster.id RETURNING * INTO _cluster;
            PERFORM cluster_hurry(_cluster);
        END IF;
    END IF;
    RETURN _cluster;
END $$;
COMMENT ON FUNCTION cluster_spend(cluster) IS 'Counts what a cluster has cost; with an empty account it is not wanted any more.';

CREATE OR REPLACE FUNCTION cluster_money_date(p_cluster cluster) RETURNS timestamptz
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _balance constant numeric := account_balance_now(p_cluster.org_id);
    _rate constant numeric := cluster_rate(p_cluster, p_cluster.current_nodes);
    _level constant numeric := (SELECT max(l) FROM unnest(account_levels()) AS l WHERE l <= _balance);
BEGIN
    -- A little later than the level is reached, when the balance is below it.
    RETURN CASE WHEN p_cluster.state <> 'down' THEN least(date_trunc('hour', engine_now(), 'UTC') + interval '1 hour',
        CASE WHEN _rate > 0 THEN engine_now() + make_interval(secs => least(86400, (_balance - _level) * 3600 / _rate)::float8) + interval '1 millisecond' END) END;
END $$;
COMMENT ON FUNCTION cluster_money_date(cluster) IS 'When the cost of a cluster is counted next: every hour, and when its account falls below the next level.';
