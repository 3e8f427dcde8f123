-- From an operation on a cluster to its job.

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
