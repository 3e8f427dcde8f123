-- What clusters, requests for their nodes, and operations on them must be like.

CREATE OR REPLACE FUNCTION cluster_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the rules read what the one who inserts may not.
BEGIN
    IF NEW.min_nodes < 0 OR NEW.min_nodes > NEW.max_nodes THEN
        PERFORM refuse('PV400', 'min_nodes must lie between 0 and max_nodes', format('min_nodes %s, max_nodes %s', NEW.min_nodes, NEW.max_nodes), 'give a min_nodes not above max_nodes');
    ELSIF NEW.max_nodes <= 0 OR NEW.max_nodes > NEW.ceiling THEN
        PERFORM refuse('PV400', 'max_nodes must lie between 1 and the ceiling', format('max_nodes %s, the ceiling is %s', NEW.max_nodes, NEW.ceiling), 'give less, or ask the administrators to raise the ceiling');
    ELSIF (TG_OP = 'INSERT' OR OLD.cluster_version <> NEW.cluster_version) AND NOT EXISTS (
        SELECT FROM cluster_version AS v WHERE v.name = NEW.cluster_version AND v.is_active
            AND (NOT v.is_limited OR EXISTS (SELECT FROM cluster_version_org AS o WHERE o.cluster_version = v.name AND o.org_id = NEW.org_id))) THEN
        PERFORM refuse('PV422', 'there is no such version for this org', left(NEW.cluster_version, 100), 'GET /v1/cluster-versions lists them');
    ELSIF NEW.allocation_strategy NOT IN ('lowest-price', 'capacity-optimized', 'price-capacity-optimized') THEN
        PERFORM refuse('PV422', 'there is no such allocation strategy', left(NEW.allocation_strategy, 100), 'lowest-price, capacity-optimized or price-capacity-optimized');
    ELSIF NEW.spot_max_price <= 0 OR NEW.spot_max_price > 1000 OR NEW.overhead_cost NOT BETWEEN 0 AND 1000 OR NEW.node_cost NOT BETWEEN 0 AND 1000 THEN
        PERFORM refuse('PV422', 'a price cannot be that', concat_ws(', ', NEW.spot_max_price, NEW.overhead_cost, NEW.node_cost), 'give US dollars per hour, above 0');
    END IF;
    PERFORM cluster_check_names(NEW);
    RETURN NEW;
END $$;
COMMENT ON FUNCTION cluster_validate() IS 'Refuses a configuration that a cluster cannot have.';
SELECT class.replace_trigger('cluster_validate_tg', 'cluster', 'BEFORE INSERT OR UPDATE OF min_nodes, max_nodes, ceiling, cluster_version, allocation_strategy, spot_max_price, overhead_cost, node_cost, instance_types, zone, subnet_id ON {table} FOR EACH ROW', 'cluster_validate()');

CREATE OR REPLACE FUNCTION cluster_check_names(p_cluster cluster) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
DECLARE
    _bad text;
BEGIN
    SELECT t INTO _bad FROM unnest(p_cluster.instance_types) AS t WHERE t IS NULL OR t !~ '^[a-z][a-z0-9-]{0,30}\.[a-z0-9-]{1,30}$' LIMIT 1;
    IF FOUND OR cardinality(p_cluster.instance_types) NOT BETWEEN 1 AND 20 OR array_ndims(p_cluster.instance_types) <> 1 THEN
        PERFORM refuse('PV422', 'the instance types are malformed', COALESCE(left(_bad, 100), cardinality(p_cluster.instance_types) || ' types'), 'give 1 to 20, such as r8g.xlarge');
    ELSIF p_cluster.zone !~ '^[a-z]{2}(-[a-z]+)+-\d[a-z]$' THEN
        PERFORM refuse('PV422', 'the zone is malformed', left(p_cluster.zone, 100), 'an availability zone, such as us-west-2a');
    ELSIF p_cluster.subnet_id !~ '^subnet-[0-9a-f]{8,17}$' THEN
        PERFORM refuse('PV422', 'the subnet is malformed', left(p_cluster.subnet_id, 100), 'an id, such as subnet-0123456789abcdef0');
    END IF;
END $$;
COMMENT ON FUNCTION cluster_check_names(cluster) IS 'Refuses names that AWS cannot have.';

CREATE OR REPLACE FUNCTION capacity_request_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the rules read what the one who inserts may not.
DECLARE
    _cluster cluster;
BEGIN
    SELECT * INTO _cluster FROM cluster WHERE id = NEW.cluster_id AND org_id = NEW.org_id AND tenant_customer_id = NEW.tenant_customer_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM refuse('PV404', 'cluster not found', 'cluster_id ' || COALESCE(NEW.cluster_id::text, 'is missing'), 'name one of your own');
    ELSIF (NEW.nodes BETWEEN 0 AND 1000000) IS NOT TRUE THEN
        PERFORM refuse('PV400', 'the number of nodes cannot be that', COALESCE(NEW.nodes::text, 'none'), 'give 0 to 1000000');
    ELSIF NEW.expires_date <= engine_now() THEN
        PERFORM refuse('PV400', 'the time to live is over', NEW.expires_date::text, 'ask for some time to come');
    END IF;
    PERFORM cluster_check_open(_cluster);
    PERFORM cluster_admit(_cluster, NEW.nodes);
    IF NOT _cluster.is_wanted THEN
        IF NOT _cluster.allow_deploy_by_token THEN
            PERFORM refuse('PV503', 'the cluster is not deployed', _cluster.state, 'ask its owner to deploy it');
        END IF;
        UPDATE cluster SET is_wanted = true WHERE id = _cluster.id;
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION capacity_request_validate() IS 'Refuses requests that cannot be met; the first one wants a cluster that is down.';
SELECT class.replace_trigger('capacity_request_validate_tg', 'capacity_request', 'BEFORE INSERT ON {table} FOR EACH ROW', 'capacity_request_validate()');

CREATE OR REPLACE FUNCTION provision_cluster_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the rules read what the one who inserts may not.
DECLARE
    _cluster constant cluster := cluster_take(NEW.cluster_id, NEW.tenant_customer_id, NEW.org_id, NEW.accreditation_id, '{down}');
BEGIN
    PERFORM cluster_check_deploy(_cluster) WHERE NOT _cluster.is_wanted;
    NEW.generation := _cluster.generation + 1;
    NEW.plan := cluster_plan(_cluster, cluster_target(_cluster));
    UPDATE cluster SET is_wanted = true, state = 'deploying', deleted_date = NULL, generation = NEW.generation, operation_id = NEW.id WHERE id = _cluster.id;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_cluster_validate() IS 'Refuses to deploy a cluster that is not down, and begins its next generation.';

CREATE OR REPLACE FUNCTION provision_cluster_scale_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the rules read what the one who inserts may not.
DECLARE
    _cluster cluster := cluster_take(NEW.cluster_id, NEW.tenant_customer_id, NEW.org_id, NEW.accreditation_id, '{up}');
BEGIN
    IF COALESCE(NEW.min_nodes, NEW.max_nodes) IS NOT NULL THEN
        UPDATE cluster SET min_nodes = COALESCE(NEW.min_nodes, min_nodes), max_nodes = COALESCE(NEW.max_nodes, max_nodes), version = version + 1, updated_date = engine_now(), updated_by = caller_name()
        WHERE id = _cluster.id RETURNING * INTO _cluster;
    END IF;
    NEW.generation := _cluster.generation;
    -- What takes another deployment stays as it is until then.
    NEW.plan := cluster_plan(_cluster, cluster_target(_cluster)) || jsonb_build_object('version', _cluster.applied -> 'version', 'is_public', _cluster.applied -> 'is_public');
    UPDATE cluster SET operation_id = NEW.id, target_nodes = (NEW.plan ->> 'nodes')::int WHERE id = _cluster.id;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_cluster_scale_validate() IS 'Refuses to change a cluster that is not up; sets the limits it is given and says how many nodes there are to be.';

CREATE OR REPLACE FUNCTION provision_cluster_shutdown_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the rules read what the one who inserts may not.
DECLARE
    _cluster constant cluster := cluster_take(NEW.cluster_id, NEW.tenant_customer_id, NEW.org_id, NEW.accreditation_id, '{down,deploying,up,shutting_down}');
BEGIN
    IF NOT NEW.is_redeploy AND _cluster.state IN ('up', 'deploying') THEN
        PERFORM cluster_check_asked(_cluster) WHERE NOT NEW.end_requests;
        PERFORM capacity_request_end(_cluster.id, NULL, 'withdrawn', 'the cluster was shut down');
    END IF;
    UPDATE cluster SET is_wanted = is_wanted AND (NEW.is_redeploy OR state IN ('down', 'shutting_down')), state = 'shutting_down', deleted_date = NULL, ready_date = NULL, applied = NULL, operation_id = NEW.id WHERE id = _cluster.id;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_cluster_shutdown_validate() IS 'Ends the requests for a cluster that goes, unless it is to be deployed again.';
