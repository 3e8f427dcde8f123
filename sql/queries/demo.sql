-- Statements of `provision demo`: whom it works for, what it orders, and what it looks at afterwards.

-- name: tenant
INSERT INTO tenant (name) VALUES (%(name)s) RETURNING id

-- name: customer
WITH made AS (INSERT INTO customer (name, email) VALUES (%(name)s, %(email)s) RETURNING id)
INSERT INTO tenant_customer (tenant_id, customer_id) SELECT %(tenant)s, id FROM made RETURNING id

-- name: first_admin
UPDATE setting SET value = '1' WHERE name = 'allow_first_admin'

-- name: accreditation
INSERT INTO accreditation (tenant_id, provider, name, registrar_id, endpoint, region, secret_ref, settings)
VALUES (%(tenant)s, %(provider)s, %(name)s, %(registrar_id)s, %(endpoint)s, %(region)s, %(secret_ref)s, %(settings)s)
RETURNING id

-- name: zone
WITH zone AS (INSERT INTO tld (name) VALUES (%(name)s) RETURNING id),
    sold AS (INSERT INTO accreditation_tld (accreditation_id, tld_id) SELECT %(accreditation)s, id FROM zone)
INSERT INTO tld_setting (tld_id, name, value) SELECT zone.id, setting.key, setting.value FROM zone CROSS JOIN jsonb_each(%(settings)s) AS setting

-- name: api_key
SELECT api_key_create(%(customer)s, %(name)s)

-- name: login
CREATE ROLE {login} LOGIN PASSWORD {password} IN ROLE {group}

-- name: integration
INSERT INTO integration_login (login, tenant_customer_id) VALUES (%(login)s, %(customer)s)

-- name: order
SELECT order_submit(%(customer)s, %(items)s)

-- name: insert
INSERT INTO provision_contact (accreditation_id, tenant_customer_id, reference, name, street, city, country_code, email)
VALUES (%(accreditation)s, %(customer)s, %(reference)s, %(name)s, %(street)s, %(city)s, %(country_code)s, %(email)s)
RETURNING id

-- name: progress
-- Orders, and rows inserted without one. The note is what a job that looks again later has last heard.
SELECT o.id, o.status, o.reason, extract(EPOCH FROM o.duration)::float8 AS seconds,
    (SELECT array_agg(p.status ORDER BY p.id) FROM v_order_item_plan AS p WHERE p.order_id = o.id) AS steps,
    (SELECT min(v.result_message) FROM v_order_item_plan AS p JOIN v_provision AS v ON v.id = p.provision_id
        WHERE p.order_id = o.id AND v.finished_date IS NULL) AS note
FROM v_order AS o
WHERE o.id = ANY (%(ids)s)
UNION ALL
SELECT v.id, v.status, v.result_message, extract(EPOCH FROM COALESCE(v.finished_date, engine_now()) - v.processing_date)::float8,
    ARRAY[v.status], v.result_message
FROM v_provision AS v
WHERE v.id = ANY (%(ids)s)

-- name: orders
SELECT count(*) FROM v_order

-- name: plan
SELECT p.name, p.status, p.processing_date, p.finished_date, j.status AS job_status, j.attempts
FROM v_order_item_plan AS p LEFT JOIN v_job AS j ON j.reference_id = p.provision_id
WHERE p.order_id = %(order)s
ORDER BY p.id

-- name: effects
SELECT e.step, e.status, e.attempt
FROM v_effect AS e JOIN v_order_item_plan AS p ON p.provision_id = e.reference_id
WHERE p.order_id = %(order)s

-- name: domains
SELECT name FROM v_domain WHERE deleted_date IS NULL ORDER BY name

-- name: contacts
SELECT handle, reference FROM v_contact WHERE deleted_date IS NULL ORDER BY id

-- name: certificates
SELECT domain_name, alternative_names, not_after::date AS until, arn FROM v_certificate ORDER BY created_date

-- name: attention
SELECT what, id, reason, call, since FROM v_attention ORDER BY since

-- name: explain
SELECT line FROM order_explain(%(order)s) AS line

-- name: document
SELECT order_document(%(order)s)

-- name: clock
SELECT clock_inject()

-- name: advance
SELECT clock_advance(%(by)s::interval)

-- name: cluster
-- An org with a cluster and three people who may ask for nodes.
WITH version AS (INSERT INTO cluster_version (name, node_image, overhead_image) VALUES ('v4.20.0', 'ami-12c6146b', 'ami-12c6146b') RETURNING name),
    north AS (INSERT INTO org (tenant_customer_id, slug) VALUES (%(customer)s, 'north') RETURNING id, tenant_customer_id),
    person AS (INSERT INTO app_user (username, verified_date) SELECT n, engine_now() FROM unnest('{olga,dora,rune}'::text[]) AS n RETURNING id, username),
    membership AS (
        INSERT INTO membership (user_id, tenant_customer_id, org_id, role)
        SELECT p.id, o.tenant_customer_id, o.id, CASE p.username WHEN 'olga' THEN 'owner' ELSE 'developer' END FROM person AS p CROSS JOIN north AS o)
INSERT INTO cluster (tenant_customer_id, org_id, accreditation_id, domain, cost_tag, ceiling, max_nodes, cluster_version)
SELECT o.tenant_customer_id, o.id, (SELECT id FROM accreditation WHERE provider = 'aws' AND name = 'cloud'), 'example.test', 'cluster-north', 10, 10, v.name FROM north AS o CROSS JOIN version AS v
RETURNING id

-- name: capacity
INSERT INTO capacity_request (tenant_customer_id, org_id, cluster_id, user_id, nodes, expires_date)
SELECT c.tenant_customer_id, c.org_id, c.id, u.id, %(nodes)s, engine_now() + make_interval(mins => %(minutes)s)
FROM cluster AS c JOIN app_user AS u ON u.username = %(username)s WHERE c.id = %(cluster)s

-- name: cluster_now
SELECT state, current_nodes, target_nodes, address, generation, progress FROM v_cluster WHERE id = %(cluster)s
-- name: default_org
SELECT org_default(%(customer)s)

-- name: cid
SELECT c.cid FROM customer AS c JOIN tenant_customer AS a ON a.customer_id = c.id WHERE a.id = %(customer)s

-- name: hosting
UPDATE accreditation SET settings = settings || %(settings)s WHERE provider = 'aws'

-- name: org_order
SELECT order_submit(%(customer)s, %(items)s, NULL, jsonb_build_object('org_id', %(org)s::text))

-- name: order_status
SELECT status FROM "order" WHERE id = %(order)s

-- name: site
SELECT id FROM wpaas_instance WHERE name = %(name)s ORDER BY id DESC LIMIT 1

-- name: look
SELECT wpaas_converge(id) FROM wpaas_instance WHERE name = %(name)s AND deleted_date IS NULL
