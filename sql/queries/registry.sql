-- Statements of the actions that wait for a registry.

-- name: take
-- A message of its queue, under the claim of the job that reads it.
SELECT registry_message_take(%(job)s, %(claim_no)s, %(message)s)

-- name: verdict
-- What the registry told about a command of the job that it had to look into.
SELECT (m.data ->> 'is_done')::boolean AS is_done, m.text
FROM effect AS e JOIN registry_message AS m ON m.kind = 'pending_action' AND m.data ->> 'cl_trid' = 'pv-' || replace(e.token::text, '-', '') AND m.accreditation_id = e.accreditation_id
WHERE e.job_id = %(job)s
ORDER BY m.created_date DESC
LIMIT 1

-- name: seconds_since
-- On the engine's clock.
SELECT extract(EPOCH FROM engine_now() - %(due)s)::float8 AS seconds
