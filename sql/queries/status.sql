-- Statements of `provision status` and `provision order`. They read views only, so any operator's log-in will do.

-- name: orders
-- New ids begin with the time they were made at, so that the last hours are a range of the primary key.
SELECT status, count(*) AS count
FROM v_order
WHERE id >= (lpad(to_hex((extract(EPOCH FROM now() - make_interval(hours => %(hours)s)) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
GROUP BY status
ORDER BY status

-- name: jobs
SELECT status, count(*) AS count
FROM v_job
WHERE id >= (lpad(to_hex((extract(EPOCH FROM now() - make_interval(hours => %(hours)s)) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
GROUP BY status
ORDER BY status

-- name: lanes
SELECT COALESCE(accreditation, '-') AS accreditation, priority, due, later, running, max_concurrency
FROM v_lane
ORDER BY due DESC, accreditation, priority

-- name: workers
SELECT name, host, pid, version, started_date, extract(EPOCH FROM silent_for)::float8 AS silent_seconds, jobs
FROM v_worker
ORDER BY name

-- name: attention
SELECT what, id, reason, call, since
FROM v_attention
ORDER BY since
LIMIT %(limit)s

-- name: explain
SELECT line FROM order_explain(%(order)s) AS line

-- name: document
SELECT order_document(%(order)s) AS document
