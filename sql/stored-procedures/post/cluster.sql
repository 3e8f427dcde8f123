-- What a cluster is like after an operation on it has ended.

CREATE OR REPLACE FUNCTION provision_cluster_success(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _row provision_cluster;
BEGIN
    FOR _row IN SELECT * FROM provision_cluster WHERE id = ANY (p_ids) ORDER BY cluster_id LOOP
        UPDATE cluster SET state = 'up', ready_date = engine_now(), applied = _row.plan, address = _row.address, drift = NULL, failure = NULL, operation_id = NULL WHERE id = _row.cluster_id;
        PERFORM cluster_succeeded(_row.cluster_id, _row.accreditation_id);
    END LOOP;
END $$;
COMMENT ON FUNCTION provision_cluster_success(uuid[]) IS 'Deployed clusters are up.';

CREATE OR REPLACE FUNCTION cluster_succeeded(p_cluster uuid, p_accreditation uuid) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    -- A person may have ended the job, when nobody knew what had become of its last call.
    PERFORM cluster_settle_effects(p_cluster, CASE WHEN (SELECT state FROM cluster WHERE id = p_cluster) = 'down' THEN 'absent' ELSE 'adopted' END);
    UPDATE cluster_clock SET failures = 0, retry_date = NULL WHERE cluster_id = p_cluster;
    PERFORM cluster_observe_soon(p_accreditation);
    PERFORM cluster_converge(p_cluster);
END $$;
COMMENT ON FUNCTION cluster_succeeded(uuid, uuid) IS 'An operation on a cluster is done: what comes next?';

CREATE OR REPLACE FUNCTION provision_cluster_failure(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _row provision_cluster;
BEGIN
    FOR _row IN SELECT * FROM provision_cluster WHERE id = ANY (p_ids) ORDER BY cluster_id LOOP
        UPDATE cluster SET is_wanted = false WHERE id = _row.cluster_id;
        -- Nobody waits for nodes that will not come; what was made of it is taken away.
        PERFORM capacity_request_end(_row.cluster_id, NULL, 'refused', 'the cluster could not be deployed: ' || COALESCE(_row.result_message, 'cancelled'));
        PERFORM cluster_failed(_row.cluster_id, _row.id, _row.result_message, false);
    END LOOP;
END $$;
COMMENT ON FUNCTION provision_cluster_failure(uuid[]) IS 'Clusters that could not be deployed are cleared away, and those who asked are told.';

CREATE OR REPLACE FUNCTION provision_cluster_scale_success(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _row provision_cluster_scale;
BEGIN
    FOR _row IN SELECT * FROM provision_cluster_scale WHERE id = ANY (p_ids) ORDER BY cluster_id LOOP
        UPDATE cluster SET applied = _row.plan, address = COALESCE(_row.address, address), drift = CASE WHEN NOT _row.is_repair THEN drift END, failure = NULL, operation_id = NULL WHERE id = _row.cluster_id;
        PERFORM cluster_succeeded(_row.cluster_id, _row.accreditation_id);
    END LOOP;
END $$;
COMMENT ON FUNCTION provision_cluster_scale_success(uuid[]) IS 'Changed clusters are as was asked; how many nodes run is observed.';

CREATE OR REPLACE FUNCTION provision_cluster_scale_failure(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    -- One that was given up because the cluster is to go makes nobody wait.
    PERFORM cluster_failed(p.cluster_id, p.id, p.result_message, p.is_wanted) FROM (
        SELECT s.*, c.is_wanted FROM provision_cluster_scale AS s JOIN cluster AS c ON c.id = s.cluster_id WHERE s.id = ANY (p_ids) ORDER BY s.cluster_id) AS p;
END $$;
COMMENT ON FUNCTION provision_cluster_scale_failure(uuid[]) IS 'A change that failed is tried again later; requests keep their time.';

CREATE OR REPLACE FUNCTION provision_cluster_shutdown_success(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _row provision_cluster_shutdown;
BEGIN
    FOR _row IN SELECT * FROM provision_cluster_shutdown WHERE id = ANY (p_ids) ORDER BY cluster_id LOOP
        -- Why it could not be deployed is still told.
        UPDATE cluster SET state = 'down', deleted_date = engine_now(), current_nodes = 0, address = NULL, drift = NULL, operation_id = NULL WHERE id = _row.cluster_id;
        PERFORM cluster_succeeded(_row.cluster_id, _row.accreditation_id);
    END LOOP;
END $$;
COMMENT ON FUNCTION provision_cluster_shutdown_success(uuid[]) IS 'Nothing is left of clusters that were shut down.';

CREATE OR REPLACE FUNCTION provision_cluster_shutdown_failure(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM cluster_failed(p.cluster_id, p.id, p.result_message, true) FROM (SELECT * FROM provision_cluster_shutdown WHERE id = ANY (p_ids) ORDER BY cluster_id) AS p;
END $$;
COMMENT ON FUNCTION provision_cluster_shutdown_failure(uuid[]) IS 'A cluster that could not be taken away is tried again, for as long as it takes.';
