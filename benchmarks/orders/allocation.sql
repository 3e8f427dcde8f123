-- As many projects as asked for, each with an allocation; written past the triggers, which would take minutes.
INSERT INTO org (id, tenant_customer_id, slug, name, kind)
SELECT new_id(), a.id, 'bench-' || n, 'Project ' || n, 'project' FROM tenant_customer AS a CROSS JOIN generate_series(1, %(count)s) AS n WHERE a.customer_id = %(customer)s;
INSERT INTO project (id, tenant_customer_id, backend_id) SELECT o.id, o.tenant_customer_id, o.slug FROM org AS o WHERE o.slug LIKE 'bench-%%';
INSERT INTO allocation (id, tenant_customer_id, org_id, provider_account_id, offering_id, plan_id, accreditation_id, name, state, limits, reserved, activated_date)
SELECT new_id(), o.tenant_customer_id, o.id, f.provider_account_id, f.id, p.id, f.accreditation_id, 'Allocation of ' || o.name, 'ok', '{"cpu_hours": 5}', '{"cpu_hours": 5}', engine_now()
FROM org AS o CROSS JOIN offering AS f JOIN offering_plan AS p ON p.offering_id = f.id WHERE o.slug LIKE 'bench-%%' AND f.id = %(offering)s;
