-- From an ordered operation on a cluster to its step, and from the row to its job.

CREATE OR REPLACE FUNCTION cluster_ordered(p_item plan_item) RETURNS jsonb
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _cluster cluster;
BEGIN
    IF p_item.org_id IS NULL THEN
        PERFORM refuse('PV400', p_item.operation || ': of which org?', 'the order has no org_id', 'give org_id with the order, or act for the org');
    END IF;
    _cluster := cluster_for(p_item.org_id, 'cluster.change');
    RETURN p_item.data || jsonb_build_object('cluster_id', _cluster.id, 'accreditation_id', _cluster.accreditation_id);
END $$;
COMMENT ON FUNCTION cluster_ordered(plan_item) IS 'What an item orders of the cluster of its org; refuses who may not change that.';

CREATE OR REPLACE FUNCTION cluster_deploy_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM check_fields('cluster.deploy', ARRAY(SELECT data FROM unnest(p_items)), '{}', '{}');
    RETURN QUERY SELECT new_id(), i.id, 'deploy the cluster', 'provision_cluster', new_id(), cluster_ordered(i), '{}'::uuid[] FROM unnest(p_items) AS i;
END $$;
COMMENT ON FUNCTION cluster_deploy_plan(plan_item[]) IS 'cluster.deploy: one step, which ends when the cluster is up.';

CREATE OR REPLACE FUNCTION cluster_scale_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM check_fields('cluster.scale', ARRAY(SELECT data FROM unnest(p_items)), '{}', '{"min_nodes": "number", "max_nodes": "number"}');
    RETURN QUERY SELECT new_id(), i.id, 'scale the cluster', 'provision_cluster_scale', new_id(), cluster_ordered(i), '{}'::uuid[] FROM unnest(p_items) AS i;
END $$;
COMMENT ON FUNCTION cluster_scale_plan(plan_item[]) IS 'cluster.scale: one step, which ends when AWS has been told; the nodes come after it.';

CREATE OR REPLACE FUNCTION cluster_shutdown_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM check_fields('cluster.shutdown', ARRAY(SELECT data FROM unnest(p_items)), '{}', '{"end_requests": "boolean"}');
    RETURN QUERY SELECT new_id(), i.id, 'shut the cluster down', 'provision_cluster_shutdown', new_id(), '{"end_requests": false}' || cluster_ordered(i), '{}'::uuid[] FROM unnest(p_items) AS i;
END $$;
COMMENT ON FUNCTION cluster_shutdown_plan(plan_item[]) IS 'cluster.shutdown: one step, which ends when nothing of the cluster is left; refused while nodes are asked for, unless end_requests says otherwise.';

CREATE OR REPLACE FUNCTION cluster_job_data(p_cluster uuid, p_generation int, p_plan jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (
        SELECT jsonb_build_object('cluster', c.id, 'org', o.slug, 'domain', c.domain, 'cost_tag', c.cost_tag, 'generation', COALESCE(p_generation, c.generation), 'zone', c.zone, 'subnet_id', c.subnet_id,
            'plan', p_plan, 'node_image', v.node_image, 'overhead_image', v.overhead_image, 'overhead_instance_type', v.overhead_instance_type, 'user_data', v.user_data)
        FROM cluster AS c JOIN org AS o ON o.id = c.org_id JOIN cluster_version AS v ON v.name = COALESCE(p_plan ->> 'version', c.cluster_version) WHERE c.id = p_cluster);
END $$;
COMMENT ON FUNCTION cluster_job_data(uuid, int, jsonb) IS 'What a worker needs to know of a cluster.';

CREATE OR REPLACE FUNCTION provision_cluster_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT p.id, cluster_job_data(p.cluster_id, p.generation, p.plan) FROM provision_cluster AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_cluster_job(uuid[]) IS 'What deploying a cluster needs to know.';

CREATE OR REPLACE FUNCTION provision_cluster_scale_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT p.id, cluster_job_data(p.cluster_id, p.generation, p.plan) || jsonb_build_object('is_repair', p.is_repair) FROM provision_cluster_scale AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_cluster_scale_job(uuid[]) IS 'What changing a cluster needs to know.';

CREATE OR REPLACE FUNCTION provision_cluster_shutdown_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT p.id, cluster_job_data(p.cluster_id, NULL, NULL) FROM provision_cluster_shutdown AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_cluster_shutdown_job(uuid[]) IS 'What taking a cluster away needs to know.';
