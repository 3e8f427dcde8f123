-- Statements of the worker's loop: who it is, what it takes, what came of it, and how long it may sleep.

-- name: register
SELECT worker_register(%(name)s, %(host)s, %(pid)s, %(version)s, %(types)s) AS worker_id

-- name: heartbeat
SELECT worker_heartbeat(%(worker)s) AS is_alive

-- name: deregister
SELECT worker_deregister(%(worker)s)

-- name: claim
SELECT job_id, claim_no, type, accreditation_id, reference_table, reference_id, data, state, attempts, max_attempts,
       parent_id, traceparent
FROM job_claim(%(worker)s, %(types)s, %(limit)s)

-- name: record
SELECT refused.job_id FROM job_record(%(worker)s, %(results)s) AS refused (job_id)

-- name: be_prompt
SET LOCAL lock_timeout = '200ms'

-- name: held
-- What the database believes this worker to hold; more than it knows of after a claim whose answer was lost.
SELECT job_id, claim_no FROM job_lease WHERE worker_id = %(worker)s

-- name: seconds_to_next_due
SELECT extract(EPOCH FROM job_next_due(%(types)s) - engine_now())::float8 AS seconds

-- name: sweep
SELECT engine_sweep(%(worker)s) AS counters

-- name: tick_clusters
SELECT cluster_tick(%(limit)s)

-- name: be_sentinel
-- The sleeper that holds this lock is the one whom new jobs wake.
SELECT pg_try_advisory_lock(job_wake_key()) AS is_sentinel

-- name: be_no_sentinel
SELECT pg_advisory_unlock(job_wake_key())

-- name: listen
LISTEN job_wake

-- name: unlisten
UNLISTEN job_wake

-- name: children
SELECT id, type, status, data, result, result_message FROM job_children(%(job)s)
