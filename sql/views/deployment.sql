-- Clusters and deployments as people look at them.

CREATE VIEW v_compute_cluster AS
SELECT c.id, c.number, c.name, c.total_cpu, c.total_ram, c.total_gpu, c.allocated_cpu, c.allocated_ram, c.allocated_gpu, c.launch_type, c.objective, c.solver, c.backfill, c.preemption, c.max_wait_seconds,
    c.state, c.result_message AS reason, a.name AS accreditation, c.arn,
    (SELECT count(*) FROM deployment AS d WHERE d.compute_cluster_id = c.id AND d.finished_date IS NULL AND d.state = 'queued') AS queued,
    (SELECT count(*) FROM deployment AS d WHERE d.compute_cluster_id = c.id AND d.finished_date IS NULL AND d.state IN ('starting', 'running')) AS running,
    c.decided_generation >= c.generation OR NOT EXISTS (SELECT FROM deployment AS d WHERE d.compute_cluster_id = c.id AND d.finished_date IS NULL AND d.state = 'queued') AS is_decided, c.generation AS version, c.created_date, c.updated_date, c.created_by, u.number AS user_number, c.missing_reason, o.number AS org_number, c.tenant_customer_id, c.org_id
FROM compute_cluster AS c JOIN accreditation AS a ON a.id = c.accreditation_id JOIN org AS o ON o.id = c.org_id LEFT JOIN app_user AS u ON u.id = c.user_id WHERE c.deleted_date IS NULL;
COMMENT ON VIEW v_compute_cluster IS 'Clusters that share a fixed capacity between deployments. Act with compute_cluster_change, _remove, _trigger.';

CREATE VIEW v_deployment AS
SELECT d.id, d.number, d.name, d.cpu, d.ram, d.gpu, p.name AS priority, d.docker_path, d.image, d.ttl_seconds, d.queue_ttl_seconds, d.state,
    CASE WHEN d.stop_kind = 'cancel' THEN d.result_message
        WHEN d.state = 'pending' THEN 'waits until these are done: ' || (
            SELECT string_agg(format('%s (%s)', x.name, x.number), ', ' ORDER BY x.number) FROM deployment_dependency AS n JOIN deployment AS x ON x.id = n.depends_on_id WHERE n.deployment_id = d.id AND x.state <> 'done')
        WHEN d.state = 'queued' THEN COALESCE(w.reason, CASE c.state WHEN 'active' THEN 'is about to be decided' ELSE 'its cluster is ' || c.state END)
        ELSE d.result_message END AS reason,
    nullif(w.promised_date, 'infinity') AS promised_date, d.compute_cluster_id, c.number AS cluster_number, c.name AS cluster, d.starts, d.arrived_date, d.started_date, d.running_date, d.ends_date, d.finished_date, d.task_arn,
    ARRAY(SELECT n.depends_on_id FROM deployment_dependency AS n WHERE n.deployment_id = d.id ORDER BY n.depends_on_id) AS depends_on,
    ARRAY(SELECT x.number FROM deployment_dependency AS n JOIN deployment AS x ON x.id = n.depends_on_id WHERE n.deployment_id = d.id ORDER BY x.number) AS depends_on_numbers, w.deployment_id IS NOT NULL AS is_decided,
    d.version + COALESCE(w.version, 0) AS version, d.created_date, d.updated_date, d.created_by, u.number AS user_number, d.tenant_customer_id, d.org_id
FROM deployment AS d JOIN deployment_priority AS p ON p.priority = d.priority JOIN compute_cluster AS c ON c.id = d.compute_cluster_id LEFT JOIN deployment_wait AS w ON w.deployment_id = d.id LEFT JOIN app_user AS u ON u.id = d.user_id;
COMMENT ON VIEW v_deployment IS 'Deployments; reason: why one waits, or ended as it did. Act with deployment_cancel.';

CREATE VIEW v_deployment_history AS
SELECT l.id, l.row_id AS deployment_id, l.logged_date AS time, l.logged_by AS by, l.changed -> 'state' ->> 0 AS from_state, COALESCE(l.to_state, l.changed -> 'state' ->> 1) AS to_state, l.reason, l.tenant_customer_id, l.org_id
FROM audit_trail_log AS l WHERE l.table_name = 'deployment' AND (l.operation = 'insert' OR l.changed ? 'state');
COMMENT ON VIEW v_deployment_history IS 'Which state of a deployment followed which, when, and why.';
