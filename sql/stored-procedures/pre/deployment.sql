-- What the worker needs to know of clusters and deployments.

CREATE OR REPLACE FUNCTION provision_compute_cluster_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT p.id, jsonb_build_object('cluster', p.id, 'org', o.slug, 'launch_type', p.launch_type) FROM provision_compute_cluster AS p JOIN org AS o ON o.id = p.org_id WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_compute_cluster_job(uuid[]) IS 'What making a cluster needs to know.';

CREATE OR REPLACE FUNCTION provision_compute_cluster_update_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT p.id, jsonb_build_object('cluster', c.id, 'launch_type', c.launch_type, 'arn', c.arn, 'cpu', p.total_cpu, 'ram', p.total_ram, 'gpu', p.total_gpu)
    FROM provision_compute_cluster_update AS p JOIN compute_cluster AS c ON c.id = p.compute_cluster_id WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_compute_cluster_update_job(uuid[]) IS 'What changing a cluster needs to know.';

CREATE OR REPLACE FUNCTION provision_compute_cluster_delete_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT p.id, jsonb_build_object('cluster', c.id, 'launch_type', c.launch_type, 'arn', c.arn)
    FROM provision_compute_cluster_delete AS p JOIN compute_cluster AS c ON c.id = p.compute_cluster_id WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_compute_cluster_delete_job(uuid[]) IS 'What deleting a cluster needs to know.';

CREATE OR REPLACE FUNCTION provision_deployment_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT p.id, jsonb_build_object('deployment', p.id, 'cluster', p.compute_cluster_id, 'org', o.slug, 'name', p.name, 'cpu', p.cpu, 'ram', p.ram, 'gpu', p.gpu, 'docker_path', p.docker_path)
    FROM provision_deployment AS p JOIN org AS o ON o.id = p.org_id WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_deployment_job(uuid[]) IS 'What running a deployment needs to know; how far it is, is asked at every look.';

CREATE OR REPLACE FUNCTION provision_deployment_stop_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT p.id, jsonb_build_object('deployment', p.deployment_id) FROM provision_deployment_stop AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_deployment_stop_job(uuid[]) IS 'What waiting for the end of a cancelled deployment needs to know.';
