-- name: requests
-- Who asks for what: each cluster's people in turn, in a fixed order.
SELECT c.id AS cluster, c.tenant_customer_id AS account, c.org_id AS org, u.id AS user, 1 + r %% 5 AS nodes
FROM generate_series(0, %(requests)s - 1) AS r CROSS JOIN cluster AS c
JOIN app_user AS u ON u.username = 'user-' || (1 + r %% 10) ORDER BY r, c.id

-- name: ask
INSERT INTO capacity_request (tenant_customer_id, org_id, cluster_id, user_id, nodes, expires_date)
VALUES (%(account)s, %(org)s, %(cluster)s, %(user)s, %(nodes)s, now() + interval '1 hour')

-- name: spread
-- All of them expire within some seconds, at any moment; the first after this and the clocks are committed.
UPDATE capacity_request SET expires_date = now() + make_interval(secs => %(after)s) + random() * make_interval(secs => %(seconds)s)

-- name: set_clocks
UPDATE cluster_clock AS k SET next_date = (SELECT min(r.expires_date) FROM capacity_request AS r WHERE r.cluster_id = k.cluster_id)

-- name: late
-- How long after its time each was ended, by when it was logged.
SELECT extract(EPOCH FROM l.logged_date - r.expires_date)::float8 AS seconds
FROM audit_trail_log AS l JOIN capacity_request AS r ON r.id = l.row_id
WHERE l.table_name = 'capacity_request' AND l.changed -> 'state' ->> 1 = 'expired'

-- name: wrong
-- Clusters whose target is not what the definition says.
SELECT count(*) FROM cluster AS c WHERE c.target_nodes <> cluster_target(c)
