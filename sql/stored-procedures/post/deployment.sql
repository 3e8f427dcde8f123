-- What comes of clusters and deployments.

CREATE OR REPLACE FUNCTION provision_compute_cluster_success(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM FROM compute_cluster WHERE id = ANY (p_ids) ORDER BY id FOR NO KEY UPDATE;
    -- An adopted one was never told to its row, and its cluster had failed.
    UPDATE compute_cluster AS c SET state = 'active', arn = p.result_data ->> 'arn', security_group = p.result_data ->> 'security_group' FROM provision_compute_cluster AS p WHERE p.id = ANY (p_ids) AND c.id = p.id AND c.state = 'creating';
    PERFORM compute_cluster_changed(id) FROM compute_cluster WHERE id = ANY (p_ids) AND state = 'active' ORDER BY id;
END $$;
COMMENT ON FUNCTION provision_compute_cluster_success(uuid[]) IS 'Clusters that are there take deployments.';

CREATE OR REPLACE FUNCTION provision_compute_cluster_failure(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM FROM compute_cluster WHERE id = ANY (p_ids) ORDER BY id FOR NO KEY UPDATE;
    UPDATE compute_cluster AS c SET state = 'failed', deleted_date = engine_now(), result_message = p.result_message
    FROM provision_compute_cluster AS p WHERE p.id = ANY (p_ids) AND c.id = p.id AND c.state = 'creating';
    UPDATE provision_deployment SET status_id = tc_id_from_name('provision_status', 'cancelled'), result_message = 'its cluster could not be made'
    WHERE compute_cluster_id = ANY (p_ids) AND status_id = tc_id_from_name('provision_status', 'pending');
END $$;
COMMENT ON FUNCTION provision_compute_cluster_failure(uuid[]) IS 'A cluster that could not be made leaves its name, and what waited for it is cancelled.';

CREATE OR REPLACE FUNCTION provision_compute_cluster_update_success(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM FROM compute_cluster WHERE id IN (SELECT compute_cluster_id FROM provision_compute_cluster_update WHERE id = ANY (p_ids)) ORDER BY id FOR NO KEY UPDATE;
    UPDATE compute_cluster AS c SET total_cpu = p.total_cpu, total_ram = p.total_ram, total_gpu = p.total_gpu, objective = COALESCE(p.objective, c.objective), solver = COALESCE(p.solver, c.solver),
        backfill = COALESCE(p.backfill, c.backfill), preemption = COALESCE(p.preemption, c.preemption), max_wait_seconds = nullif(COALESCE(p.max_wait_seconds, c.max_wait_seconds), 0)
    FROM provision_compute_cluster_update AS p WHERE p.id = ANY (p_ids) AND c.id = p.compute_cluster_id;
    PERFORM compute_cluster_reject(p.compute_cluster_id) FROM provision_compute_cluster_update AS p WHERE p.id = ANY (p_ids) ORDER BY p.compute_cluster_id;
    PERFORM compute_cluster_changed(p.compute_cluster_id) FROM provision_compute_cluster_update AS p WHERE p.id = ANY (p_ids) ORDER BY p.compute_cluster_id;
END $$;
COMMENT ON FUNCTION provision_compute_cluster_update_success(uuid[]) IS 'The cluster is as it was asked to be; what cannot run there any more is rejected.';

CREATE OR REPLACE FUNCTION provision_compute_cluster_update_failure(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM FROM compute_cluster WHERE id IN (SELECT compute_cluster_id FROM provision_compute_cluster_update WHERE id = ANY (p_ids)) ORDER BY id FOR NO KEY UPDATE;
    UPDATE compute_cluster AS c SET total_cpu = p.previous_cpu, total_ram = p.previous_ram, total_gpu = p.previous_gpu, result_message = p.result_message
    FROM provision_compute_cluster_update AS p WHERE p.id = ANY (p_ids) AND c.id = p.compute_cluster_id;
    PERFORM compute_cluster_changed(p.compute_cluster_id) FROM provision_compute_cluster_update AS p WHERE p.id = ANY (p_ids) ORDER BY p.compute_cluster_id;
END $$;
COMMENT ON FUNCTION provision_compute_cluster_update_failure(uuid[]) IS 'The cluster has again what it had.';

CREATE OR REPLACE FUNCTION provision_compute_cluster_delete_success(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE compute_cluster SET state = 'deleted', deleted_date = engine_now(), generation = generation + 1
    WHERE id IN (SELECT compute_cluster_id FROM provision_compute_cluster_delete WHERE id = ANY (p_ids));
END $$;
COMMENT ON FUNCTION provision_compute_cluster_delete_success(uuid[]) IS 'A deleted cluster is history.';

CREATE OR REPLACE FUNCTION provision_compute_cluster_delete_failure(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE compute_cluster AS c SET state = 'active', generation = generation + 1, result_message = p.result_message
    FROM provision_compute_cluster_delete AS p WHERE p.id = ANY (p_ids) AND c.id = p.compute_cluster_id AND c.state = 'deleting';
END $$;
COMMENT ON FUNCTION provision_compute_cluster_delete_failure(uuid[]) IS 'A cluster that could not be deleted goes on.';

CREATE OR REPLACE FUNCTION provision_deployment_success(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM deployment_end(p_ids);
END $$;
COMMENT ON FUNCTION provision_deployment_success(uuid[]) IS 'Containers that ended well give back their share.';

CREATE OR REPLACE FUNCTION provision_deployment_failure(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM deployment_end(p_ids);
END $$;
COMMENT ON FUNCTION provision_deployment_failure(uuid[]) IS 'Containers that failed or were cancelled give back their share, once.';
