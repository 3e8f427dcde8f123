-- An installation with so many clusters, each of an org of its own with an account, and people who ask for nodes.
INSERT INTO tenant (id, name) VALUES ('00000000-0000-7000-8000-000000000001', 'benchmark');
INSERT INTO customer (id, name, email) VALUES ('00000000-0000-7000-8000-000000000002', 'shop', 'shop@example.net');
INSERT INTO tenant_customer (id, tenant_id, customer_id)
VALUES ('00000000-0000-7000-8000-000000000003', '00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000002');
INSERT INTO accreditation (id, tenant_id, provider, name) VALUES ('00000000-0000-7000-8000-000000000004', '00000000-0000-7000-8000-000000000001', 'manual', 'desk');
INSERT INTO cluster_version (name, node_image, overhead_image) VALUES ('v1', 'ami-1', 'ami-1');
INSERT INTO app_user (username, verified_date) SELECT 'user-' || n, now() FROM generate_series(1, 10) AS n;
INSERT INTO org (tenant_customer_id, slug) SELECT '00000000-0000-7000-8000-000000000003', 'org-' || n FROM generate_series(1, %(clusters)s) AS n;
INSERT INTO membership (user_id, tenant_customer_id, org_id, role)
SELECT u.id, o.tenant_customer_id, o.id, 'developer' FROM app_user AS u CROSS JOIN org AS o;
INSERT INTO cluster (tenant_customer_id, org_id, accreditation_id, domain, cost_tag, ceiling, max_nodes, destroy_when_no_nodes, cluster_version)
SELECT o.tenant_customer_id, o.id, '00000000-0000-7000-8000-000000000004', 'sr.test', o.slug, 1000, 1000, false, 'v1' FROM org AS o;
SELECT account_configure(o.id, '{"deposit": 1000000}') FROM org AS o;
