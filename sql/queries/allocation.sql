-- Statements of the actions of allocations.

-- name: targets
-- The allocations of which Cost Explorer is asked what was used.
SELECT * FROM usage_targets(%(accreditation)s)

-- name: collected
-- What it said.
SELECT usage_collected(%(job)s, %(claim_no)s, %(allocation)s, %(month)s, %(usages)s)
