-- Statements about what happens outside the database: intent, result, and what a crash left between the two.

-- name: begin
SELECT token, status, result, attempt FROM effect_begin(%(job)s, %(claim_no)s, %(step)s, %(parameters)s)

-- name: finish
SELECT effect_finish(%(job)s, %(claim_no)s, %(step)s, %(external_name)s, %(result)s)

-- name: open
SELECT job_id, step, token, parameters, claim_no FROM effect_open(%(accreditation)s, %(limit)s)

-- name: settle
-- Under the claim of the job that found it out; NULL: of none.
SELECT effect_settle(%(job)s, %(step)s, %(status)s, %(external_name)s, %(by_job)s, %(claim_no)s)

-- name: missing
SELECT inventory_missing(%(table)s, %(id)s, %(reason)s)
