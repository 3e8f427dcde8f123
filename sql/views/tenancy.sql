-- Who orders, and where things are provisioned.

CREATE VIEW v_tenant_customer AS
SELECT c.id, t.name AS tenant, u.name AS customer, u.email, c.is_active FROM tenant_customer AS c JOIN tenant AS t ON t.id = c.tenant_id JOIN customer AS u ON u.id = c.customer_id;
COMMENT ON VIEW v_tenant_customer IS 'Customers'' accounts; id is what order_submit takes.';

CREATE VIEW v_accreditation AS
SELECT a.id, t.name AS tenant, a.name, a.provider, a.is_active, a.registrar_id, a.endpoint, a.region, a.max_concurrency,
    a.held_date, a.held_reason,
    (SELECT array_agg(z.name ORDER BY z.name) FROM accreditation_tld AS x JOIN tld AS z ON z.id = x.tld_id WHERE x.accreditation_id = a.id AND x.is_active) AS zones
FROM accreditation AS a JOIN tenant AS t ON t.id = a.tenant_id;
COMMENT ON VIEW v_accreditation IS 'Accreditations and the zones names can be registered in.';
