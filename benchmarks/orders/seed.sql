-- A customer who orders contacts at a registry, through a log-in of its own system. The worker's action does not ask the
-- registry, so nothing listens at its endpoint.
INSERT INTO tenant (id, name) VALUES ('00000000-0000-7000-8000-000000000001', 'benchmark');
INSERT INTO customer (id, name, email) VALUES ('00000000-0000-7000-8000-000000000002', 'Shop', 'shop@example.test');
INSERT INTO tenant_customer (id, tenant_id, customer_id)
VALUES ('00000000-0000-7000-8000-000000000003', '00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000002');
INSERT INTO accreditation (id, tenant_id, provider, name, registrar_id, endpoint, secret_ref)
VALUES ('00000000-0000-7000-8000-000000000004', '00000000-0000-7000-8000-000000000001', 'epp', 'registry', 'shop', '127.0.0.1:1', 'env:UNUSED');
CREATE ROLE shop LOGIN IN ROLE provision_integration;
-- For bare notifications.
CREATE TABLE news (happened_date timestamptz NOT NULL DEFAULT now());
GRANT INSERT ON news TO shop;
INSERT INTO integration_login (login, tenant_customer_id) VALUES ('shop', '00000000-0000-7000-8000-000000000003');
-- Its worker knows contacts only: what recurs in every installation would wait for ever.
DELETE FROM schedule;
