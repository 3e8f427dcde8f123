-- From ordered clusters and deployments to their steps, and from the rows to what the worker needs to know.

CREATE OR REPLACE FUNCTION compute_cluster_create_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM check_fields('compute_cluster.create', ARRAY(SELECT data FROM unnest(p_items)), '{name,total_cpu,total_ram,total_gpu}', '{"name": "string", "total_cpu": "number", "total_ram": "number", "total_gpu": "number",
        "launch_type": "string", "objective": "string", "solver": "string", "backfill": "string", "preemption": "boolean", "max_wait_seconds": "number", "accreditation": "string"}');
    PERFORM deployment_check_whole(ARRAY(SELECT data FROM unnest(p_items)));
    RETURN QUERY
    SELECT new_id(), i.id, 'cluster ' || (i.data ->> 'name'), 'provision_compute_cluster', new_id(), (i.data - 'accreditation')
        || CASE WHEN i.data ? 'accreditation' THEN jsonb_build_object('accreditation_id', accreditation_for(i.tenant_customer_id, i.data ->> 'accreditation', '{aws,simulated}')) ELSE '{}' END, '{}'::uuid[]
    FROM unnest(p_items) AS i;
END $$;
COMMENT ON FUNCTION compute_cluster_create_plan(plan_item[]) IS 'compute_cluster.create: one step, the cluster.';

CREATE OR REPLACE FUNCTION compute_cluster_update_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM check_fields('compute_cluster.update', ARRAY(SELECT data FROM unnest(p_items)), '{cluster}', '{"cluster": "string", "total_cpu": "number", "total_ram": "number", "total_gpu": "number",
        "objective": "string", "solver": "string", "backfill": "string", "preemption": "boolean", "max_wait_seconds": "number"}');
    PERFORM deployment_check_whole(ARRAY(SELECT data FROM unnest(p_items)));
    RETURN QUERY
    SELECT new_id(), i.id, 'change cluster ' || (i.data ->> 'cluster'), 'provision_compute_cluster_update', new_id(),
        i.data - 'cluster' || jsonb_build_object('compute_cluster_id', compute_cluster_named(i.org_id, i.data ->> 'cluster')), '{}'::uuid[]
    FROM unnest(p_items) AS i;
END $$;
COMMENT ON FUNCTION compute_cluster_update_plan(plan_item[]) IS 'compute_cluster.update: one step.';

CREATE OR REPLACE FUNCTION compute_cluster_delete_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM check_fields('compute_cluster.delete', ARRAY(SELECT data FROM unnest(p_items)), '{cluster}', '{"cluster": "string"}');
    RETURN QUERY
    SELECT new_id(), i.id, 'delete cluster ' || (i.data ->> 'cluster'), 'provision_compute_cluster_delete', new_id(), jsonb_build_object('compute_cluster_id', compute_cluster_named(i.org_id, i.data ->> 'cluster')), '{}'::uuid[]
    FROM unnest(p_items) AS i;
END $$;
COMMENT ON FUNCTION compute_cluster_delete_plan(plan_item[]) IS 'compute_cluster.delete: one step.';

CREATE OR REPLACE FUNCTION deployment_create_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM check_fields('deployment.create', ARRAY(SELECT data FROM unnest(p_items)), '{name,cpu,ram,docker_path,cluster}', '{"name": "string", "cpu": "number", "ram": "number", "gpu": "number", "priority": "string|number",
        "docker_path": "string", "cluster": "string", "ttl_seconds": "number", "queue_ttl_seconds": "number", "depends_on": "array"}');
    PERFORM deployment_check_whole(ARRAY(SELECT data FROM unnest(p_items)));
    RETURN QUERY
    SELECT new_id(), i.id, 'deployment ' || (i.data ->> 'name'), 'provision_deployment', new_id(), deployment_resolved(i.org_id, i.data), '{}'::uuid[] FROM unnest(p_items) AS i;
END $$;
COMMENT ON FUNCTION deployment_create_plan(plan_item[]) IS 'deployment.create: one step, which ends when the deployment has.';

CREATE OR REPLACE FUNCTION deployment_stop_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM check_fields('deployment.stop', ARRAY(SELECT data FROM unnest(p_items)), '{deployment}', '{"deployment": "string|number", "reason": "string"}');
    RETURN QUERY
    SELECT new_id(), i.id, 'stop deployment ' || (i.data ->> 'deployment'), 'provision_deployment_stop', new_id(),
        i.data - 'deployment' || jsonb_build_object('deployment_id', (deployment_named(i.org_id, 'deployment', jsonb_build_array(i.data -> 'deployment')))[1]), '{}'::uuid[]
    FROM unnest(p_items) AS i;
END $$;
COMMENT ON FUNCTION deployment_stop_plan(plan_item[]) IS 'deployment.stop: one step, which ends when the deployment has.';

CREATE OR REPLACE FUNCTION provision_compute_cluster_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT p.id, jsonb_build_object('cluster', p.id, 'org', o.slug, 'launch_type', p.launch_type, 'cpu', p.total_cpu, 'ram', p.total_ram, 'gpu', p.total_gpu) FROM provision_compute_cluster AS p JOIN org AS o ON o.id = p.org_id WHERE p.id = ANY (p_ids);
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
    RETURN QUERY SELECT p.id, jsonb_build_object('cluster', c.id, 'launch_type', c.launch_type, 'arn', c.arn, 'security_group', c.security_group)
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
