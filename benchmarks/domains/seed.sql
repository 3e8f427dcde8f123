-- A customer with many domains, each with three contacts, two name servers and a lock, straight into the inventory.

INSERT INTO tenant (id, name) VALUES ('00000000-0000-7000-8000-000000000001', 'benchmark');
INSERT INTO accreditation (id, tenant_id, provider, name) VALUES ('00000000-0000-7000-8000-000000000004', '00000000-0000-7000-8000-000000000001', 'manual', 'desk');
INSERT INTO tld (id, name) VALUES ('00000000-0000-7000-8000-000000000005', 'test');
INSERT INTO accreditation_tld (id, accreditation_id, tld_id)
VALUES ('00000000-0000-7000-8000-000000000006', '00000000-0000-7000-8000-000000000004', '00000000-0000-7000-8000-000000000005');

CREATE FUNCTION benchmark_customer(p_domains int, p_name text) RETURNS uuid
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _desk constant uuid := '00000000-0000-7000-8000-000000000004';
    _account uuid;
BEGIN
    WITH made AS (INSERT INTO customer (name, email) VALUES (p_name, p_name || '@example.test') RETURNING id)
    INSERT INTO tenant_customer (tenant_id, customer_id) SELECT '00000000-0000-7000-8000-000000000001', id FROM made RETURNING id INTO _account;
    INSERT INTO contact (id, tenant_customer_id, accreditation_id, reference, handle, name, street, city, country_code, email)
    SELECT new_id(), _account, _desk, 'contact ' || n, upper(left(p_name, 2)) || n, 'Jane Doe', '{1 Road}', 'Bonn', 'DE', 'jane@example.test' FROM generate_series(1, 100) AS n;
    INSERT INTO host (id, tenant_customer_id, accreditation_id, name) SELECT new_id(), _account, _desk, 'ns' || n || '.example.net' FROM generate_series(1, 20) AS n;
    INSERT INTO domain (id, tenant_customer_id, accreditation_id, accreditation_tld_id, name, statuses, ry_created_date, ry_expiry_date)
    SELECT new_id(), _account, _desk, '00000000-0000-7000-8000-000000000006', p_name || '-' || n || '.test', '{clientTransferProhibited}', now(), now() + interval '1 year' FROM generate_series(1, p_domains) AS n;
    INSERT INTO domain_contact (domain_id, contact_id, type, tenant_customer_id)
    SELECT d.id, c.id, t, _account FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM domain WHERE tenant_customer_id = _account) AS d
    JOIN (SELECT id, row_number() OVER (ORDER BY id) AS n FROM contact WHERE tenant_customer_id = _account) AS c ON c.n = d.n % 100 + 1 CROSS JOIN unnest('{registrant,admin,tech}'::text[]) AS t;
    INSERT INTO domain_host (domain_id, host_id, tenant_customer_id)
    SELECT d.id, h.id, _account FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM domain WHERE tenant_customer_id = _account) AS d
    JOIN (SELECT id, row_number() OVER (ORDER BY id) AS n FROM host WHERE tenant_customer_id = _account) AS h ON h.n IN (d.n % 20 + 1, (d.n + 1) % 20 + 1);
    RETURN _account;
END $$;
