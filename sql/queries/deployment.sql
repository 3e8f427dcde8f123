-- Statements of the actions on clusters and deployments.

-- name: snapshot
SELECT deployment_snapshot(%(cluster)s) AS snapshot

-- name: commit
SELECT deployment_commit(%(job)s, %(claim_no)s, %(cluster)s, %(generation)s, %(decision)s) AS is_applied

-- name: next
SELECT deployment_next(%(job)s, %(cluster)s) AS seconds

-- name: sweep
SELECT deployment_sweep() AS count

-- name: look
-- How far a deployment is, and the cluster it runs in.
SELECT d.state, d.stop_kind, d.result_message AS reason, d.starts, d.task_arn, d.image, d.finished_date IS NOT NULL AS is_over,
    extract(EPOCH FROM d.ends_date - engine_now())::float8 AS seconds_left, c.launch_type, c.arn AS cluster_arn, c.security_group
FROM deployment AS d JOIN compute_cluster AS c ON c.id = d.compute_cluster_id
WHERE d.id = %(id)s

-- name: runs
SELECT deployment_runs(%(job)s, %(claim_no)s, %(id)s, %(task_arn)s, %(image)s, %(is_running)s)

-- name: vacated
SELECT deployment_vacated(%(job)s, %(claim_no)s, %(id)s)

-- name: begun
-- What the deployment's job has begun outside.
SELECT step, token, external_name FROM effect WHERE job_id = %(job)s AND status IN ('intended', 'done') ORDER BY intended_date
