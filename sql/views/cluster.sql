-- Clusters and what is asked of them.

CREATE VIEW v_cluster AS
SELECT c.id, o.slug AS org, c.state, c.is_wanted, c.current_nodes, c.target_nodes, c.min_nodes, c.max_nodes, c.ceiling, c.destroy_when_no_nodes, c.allow_deploy_by_token, c.is_public,
    c.is_suspended, c.cluster_version, c.applied ->> 'version' AS deployed_version, c.spot_max_price, c.allocation_strategy, c.instance_types, c.zone, c.subnet_id, c.domain, c.address, c.overhead_cost, c.node_cost,
    c.cost_tag, c.generation, c.ready_date, c.drift, c.failure, k.failures, k.retry_date, k.observed_date,
    (SELECT p.tableoid::regclass::text FROM class.provision AS p WHERE p.id = c.operation_id) AS operation, c.operation_id,
    (SELECT p.result_message FROM class.provision AS p WHERE p.id = c.operation_id) AS progress,
    CASE WHEN c.state = 'deploying' THEN (SELECT p.created_date FROM provision_cluster AS p WHERE p.id = c.operation_id) + make_interval(secs => (SELECT value FROM setting WHERE name = 'cluster_deploy_seconds')::int) ELSE c.ready_date END AS ready_estimate_date,
    CASE WHEN c.destroy_when_no_nodes AND c.min_nodes = 0 THEN (SELECT max(r.expires_date) FROM capacity_request AS r WHERE r.cluster_id = c.id AND r.finished_date IS NULL AND r.expires_date > engine_now()) END AS shutdown_date,
    c.version, c.created_date, c.updated_date, c.accreditation_id, c.tenant_customer_id, c.org_id
FROM cluster AS c JOIN org AS o ON o.id = c.org_id JOIN cluster_clock AS k ON k.cluster_id = c.id;
COMMENT ON VIEW v_cluster IS 'Clusters: how they are configured and how they are. Act with cluster_configure, cluster_deploy, cluster_shutdown, cluster_refresh.';

CREATE VIEW v_capacity_request AS
SELECT r.id, r.cluster_id, u.username, r.user_id, r.nodes, CASE WHEN r.finished_date IS NULL AND r.expires_date <= engine_now() THEN 'expired' ELSE r.state END AS state, r.created_date, r.expires_date,
    COALESCE(r.effective_date, CASE WHEN r.finished_date IS NULL THEN r.created_date + make_interval(secs => (SELECT sum(value::int) FROM setting WHERE name = 'cluster_grow_seconds' OR (name = 'cluster_deploy_seconds' AND c.state <> 'up'))) END) AS ready_estimate_date,
    r.effective_date, COALESCE(r.finished_date, CASE WHEN r.expires_date <= engine_now() THEN r.expires_date END) AS finished_date, COALESCE(r.reason, CASE WHEN r.finished_date IS NULL THEN c.failure END) AS reason, r.tenant_customer_id, r.org_id
FROM capacity_request AS r JOIN cluster AS c ON c.id = r.cluster_id LEFT JOIN app_user AS u ON u.id = r.user_id;
COMMENT ON VIEW v_capacity_request IS 'Requests for nodes. Take them back with capacity_request_remove.';

CREATE VIEW v_cluster_operation AS
SELECT p.id, p.cluster_id, p.operation, s.name AS status, p.generation, p.nodes, p.created_date, p.processing_date, p.finished_date, p.job_attempts AS attempts, p.result_message AS message, p.tenant_customer_id, p.org_id
FROM (
    SELECT id, cluster_id, 'deploy'::text AS operation, generation, (plan ->> 'nodes')::int AS nodes, status_id, created_date, processing_date, finished_date, job_attempts, result_message, tenant_customer_id, org_id FROM provision_cluster
    UNION ALL SELECT id, cluster_id, CASE WHEN is_repair THEN 'repair' ELSE 'scale' END AS operation, generation, (plan ->> 'nodes')::int AS nodes, status_id, created_date, processing_date, finished_date, job_attempts, result_message, tenant_customer_id, org_id FROM provision_cluster_scale
    UNION ALL SELECT id, cluster_id, CASE WHEN is_redeploy THEN 'redeploy' ELSE 'shutdown' END AS operation, NULL::int AS generation, NULL::int AS nodes, status_id, created_date, processing_date, finished_date, job_attempts, result_message, tenant_customer_id, org_id FROM provision_cluster_shutdown
) AS p JOIN provision_status AS s ON s.id = p.status_id;
COMMENT ON VIEW v_cluster_operation IS 'What has been done with clusters: deploy, scale, repair, shutdown, redeploy (taken away to be deployed again); with how many nodes, and what came of it.';

CREATE VIEW v_cluster_version AS
SELECT v.name, v.description, v.node_image, v.overhead_image, v.overhead_instance_type, v.is_active, v.is_limited,
    ARRAY(SELECT o.slug FROM cluster_version_org AS p JOIN org AS o ON o.id = p.org_id WHERE p.cluster_version = v.name ORDER BY o.slug) AS orgs, v.created_date
FROM cluster_version AS v
WHERE NOT v.is_limited OR EXISTS (SELECT FROM cluster_version_org AS p WHERE p.cluster_version = v.name);
COMMENT ON VIEW v_cluster_version IS 'Software versions that clusters of the caller''s orgs may run; orgs: for which of them, if it is limited.';
