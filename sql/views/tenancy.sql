-- Who orders, who may do what, and where things are provisioned.

CREATE VIEW v_tenant_customer AS
SELECT c.id, t.name AS tenant, u.name AS customer, u.email, c.is_active FROM tenant_customer AS c JOIN tenant AS t ON t.id = c.tenant_id JOIN customer AS u ON u.id = c.customer_id;
COMMENT ON VIEW v_tenant_customer IS 'Customers'' accounts; id is what order_submit takes.';

CREATE VIEW v_accreditation AS
SELECT a.id, t.name AS tenant, a.name, a.provider, a.is_active, a.registrar_id, a.endpoint, a.region, a.max_concurrency,
    a.held_date, a.held_reason,
    (SELECT array_agg(z.name ORDER BY z.name) FROM accreditation_tld AS x JOIN tld AS z ON z.id = x.tld_id WHERE x.accreditation_id = a.id AND x.is_active) AS zones
FROM accreditation AS a JOIN tenant AS t ON t.id = a.tenant_id;
COMMENT ON VIEW v_accreditation IS 'Accreditations and the zones names can be registered in.';

CREATE VIEW v_customer AS
SELECT c.id, a.id AS tenant_customer_id, c.cid, t.name AS tenant, c.name, c.email, c.status,
    CASE WHEN o.is_whole THEN c.payment_reference END AS payment_reference, CASE WHEN o.is_whole THEN c.payment_status END AS payment_status, c.quota_plan, c.removal_date, a.is_active,
    c.version, c.created_date, c.updated_date
FROM customer AS c JOIN tenant_customer AS a ON a.customer_id = c.id JOIN tenant AS t ON t.id = a.tenant_id
CROSS JOIN LATERAL (SELECT caller_may('read', a.id) AS is_whole) AS o WHERE c.removed_date IS NULL;
COMMENT ON VIEW v_customer IS 'Customers, once for each of their accounts; id is what customer_change() takes, tenant_customer_id what orders take.';

CREATE VIEW v_org AS
SELECT o.id, o.tenant_customer_id, c.cid, o.slug, o.name, o.description, o.kind, o.contact_email, o.is_joinable, o.is_public, o.quota_plan, o.version, o.created_date, o.updated_date
FROM org AS o JOIN tenant_customer AS a ON a.id = o.tenant_customer_id JOIN customer AS c ON c.id = a.customer_id WHERE o.status = 'active';
COMMENT ON VIEW v_org IS 'Orgs. Act with org_change, org_remove.';

CREATE VIEW v_space AS
SELECT s.id, s.tenant_customer_id, s.org_id, o.slug AS org, s.name, s.description, s.quota_plan, s.version, s.created_date, s.updated_date
FROM space AS s JOIN org AS o ON o.id = s.org_id WHERE s.status = 'active';
COMMENT ON VIEW v_space IS 'Spaces. Act with space_change, space_remove.';

CREATE VIEW v_user AS
SELECT u.id, u.number, u.username, u.email, u.name, c.id AS customer_id, c.cid, u.status, u.verified_date, u.is_technical, u.is_platform_admin, u.is_staff, u.is_support, u.is_identity_manager,
    u.version, u.created_date, u.updated_date
FROM app_user AS u LEFT JOIN customer AS c ON c.id = u.customer_id WHERE u.removed_date IS NULL;
COMMENT ON VIEW v_user IS 'Users. Act with user_change, user_remove.';

CREATE VIEW v_membership AS
SELECT m.id, m.number, m.user_id, u.username, m.tenant_customer_id, c.cid, m.org_id, o.slug AS org, m.role, m.state, m.expires_date,
    m.state = 'active' AND (m.expires_date IS NULL OR m.expires_date > engine_now()) AS is_live,
    ARRAY(SELECT l.space_id FROM membership_space AS l WHERE l.membership_id = m.id ORDER BY l.space_id) AS spaces, m.version, m.created_date, m.updated_date
FROM membership AS m LEFT JOIN app_user AS u ON u.id = m.user_id LEFT JOIN org AS o ON o.id = m.org_id
LEFT JOIN tenant_customer AS a ON a.id = m.tenant_customer_id LEFT JOIN customer AS c ON c.id = a.customer_id;
COMMENT ON VIEW v_membership IS 'Memberships, ended ones too; org_id NULL: in the whole customer. Act with membership_accept, _decline, _deactivate, _activate, _change, _remove.';

CREATE VIEW v_invite_code AS
SELECT i.id, i.tenant_customer_id, i.org_id, o.slug AS org, i.code, i.role, i.expires_date, i.uses_left, i.version, i.created_date, i.updated_date
FROM invite_code AS i JOIN org AS o ON o.id = i.org_id WHERE i.revoked_date IS NULL AND caller_may('invite.change', i.tenant_customer_id, i.org_id);
COMMENT ON VIEW v_invite_code IS 'Invite codes, for those who may make them. Act with invite_code_rotate, _change, _remove.';

CREATE VIEW v_api_key AS
SELECT k.id, k.user_id, u.username, k.tenant_customer_id, k.org_id, k.name, k.prefix, k.expires_date, k.version, k.created_date, k.updated_date
FROM api_key AS k JOIN app_user AS u ON u.id = k.user_id LEFT JOIN tenant_customer AS a ON a.customer_id = u.customer_id AND k.tenant_customer_id IS NULL
WHERE k.revoked_date IS NULL AND (k.user_id = (SELECT caller_user()) OR caller_may('api_key.change', COALESCE(k.tenant_customer_id, a.id), k.org_id));
COMMENT ON VIEW v_api_key IS 'API keys that are not revoked: one''s own, and for those who may see them those of others. Act with api_key_rotate, api_key_remove.';

CREATE VIEW v_quota AS
SELECT s.scope, s.scope_id, s.plan, r.resource, COALESCE(l.maximum, -1) AS maximum, COALESCE(q.used, 0) AS used, s.tenant_customer_id, s.org_id
FROM (
    SELECT 'customer' AS scope, a.id AS scope_id, c.quota_plan AS plan, a.id AS tenant_customer_id, NULL::uuid AS org_id FROM tenant_customer AS a JOIN customer AS c ON c.id = a.customer_id
    WHERE c.removed_date IS NULL AND ((SELECT caller_sees_all()) OR a.id = ANY ((SELECT caller_customers())::uuid[]))
    UNION ALL SELECT 'org', id, quota_plan, tenant_customer_id, id FROM org WHERE status = 'active'
    UNION ALL SELECT 'space', id, quota_plan, tenant_customer_id, org_id FROM space WHERE status = 'active') AS s
CROSS JOIN LATERAL (SELECT p.resource FROM quota_plan_limit AS p WHERE p.plan = s.plan UNION SELECT x.resource FROM quota_use AS x WHERE x.scope = s.scope AND x.scope_id = s.scope_id) AS r
LEFT JOIN quota_plan_limit AS l ON l.plan = s.plan AND l.resource = r.resource
LEFT JOIN quota_use AS q ON q.scope = s.scope AND q.scope_id = s.scope_id AND q.resource = r.resource;
COMMENT ON VIEW v_quota IS 'How much of what is in use and allowed (-1: no limit); scope_id is an account, an org or a space. Act with quota_change.';

CREATE VIEW v_joinable_org AS
SELECT j.id, j.slug, j.name, j.contact_email, j.is_public FROM org_joinable() AS j;
COMMENT ON VIEW v_joinable_org IS 'Orgs that everybody may ask for a membership: org_join(slug).';

CREATE VIEW v_role AS
SELECT r.name AS role, r.scope, r.description, ARRAY(SELECT p.permission FROM role_permission AS p WHERE p.role = r.name ORDER BY p.permission) AS permissions FROM role AS r;
COMMENT ON VIEW v_role IS 'Roles and what they may do.';
