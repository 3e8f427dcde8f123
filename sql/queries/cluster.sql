-- Statements about clusters and what runs of them.

-- name: wanted
-- Whether an operation is still worth going on with.
SELECT is_wanted FROM cluster WHERE id = %(cluster)s

-- name: look
SELECT cluster, generation, state, data FROM cluster_look(%(accreditation)s)

-- name: observed
SELECT cluster_observed(%(cluster)s, %(generation)s, %(nodes)s, %(drift)s) AS is_settled
