-- Projects, offerings, allocations, their orders, usage and invoices.

CREATE VIEW v_project AS
SELECT o.id, o.tenant_customer_id, o.id AS org_id, o.name, p.description, p.backend_id, p.start_date, p.end_date, p.type, p.oecd_fos_2007_code, p.is_industry, a.customer_id, c.cid, c.name AS customer_name, c.native_name AS customer_native_name,
    c.abbreviation AS customer_abbreviation, o.version, o.created_date,
    EXISTS (SELECT FROM membership AS m WHERE m.user_id = (SELECT caller_user()) AND m.tenant_customer_id = o.tenant_customer_id AND m.state = 'active' AND (m.expires_date IS NULL OR m.expires_date > engine_now()) AND ((m.org_id = o.id AND m.role = 'manager') OR (m.org_id IS NULL AND m.role = 'owner'))) AS can_manage,
    EXISTS (SELECT FROM membership AS m WHERE m.user_id = (SELECT caller_user()) AND m.org_id = o.id AND m.role = 'admin' AND m.state = 'active' AND (m.expires_date IS NULL OR m.expires_date > engine_now())) AS can_admin
FROM org AS o JOIN project AS p ON p.id = o.id LEFT JOIN tenant_customer AS a ON a.id = o.tenant_customer_id LEFT JOIN customer AS c ON c.id = a.customer_id WHERE o.kind = 'project' AND o.status = 'active';
COMMENT ON VIEW v_project IS 'Projects of allocators. Act with project_change, project_remove, member_add.';

CREATE VIEW v_offering_category AS
SELECT c.id, c.title, c.description, c.created_date FROM offering_category AS c;
COMMENT ON VIEW v_offering_category IS 'What offerings are grouped by.';

CREATE VIEW v_offering AS
SELECT o.id, o.name, o.description, o.state, o.backend, offering_type(o) AS type, t.customer_id, o.provider_account_id = ANY ((SELECT caller_customers())::uuid[]) OR o.id = ANY ((SELECT caller_offerings())::uuid[]) OR (SELECT caller_sees_all()) AS is_managed, o.is_shared, o.is_billable, o.is_immediate, o.auto_approve, o.category_id, g.title AS category, o.provider_account_id, o.details,
    (SELECT jsonb_object_agg(c.type, jsonb_build_object('name', c.name, 'unit', c.measured_unit, 'billing_type', c.billing_type, 'min', c.min_value, 'max', c.max_value, 'pool', p.capacity, 'pool_left', p.capacity - p.used))
        FROM offering_component AS c LEFT JOIN offering_pool AS p ON p.component_id = c.id WHERE c.offering_id = o.id) AS components,
    (SELECT jsonb_object_agg(n.name, n.id) FROM offering_plan AS n WHERE n.offering_id = o.id AND NOT n.is_archived) AS plans, o.created_date,
    ARRAY(SELECT a.customer_id FROM offering_grant AS n JOIN tenant_customer AS a ON a.id = n.tenant_customer_id WHERE n.offering_id = o.id) AS granted_ids
FROM offering AS o LEFT JOIN offering_category AS g ON g.id = o.category_id LEFT JOIN tenant_customer AS t ON t.id = o.provider_account_id;
COMMENT ON VIEW v_offering IS 'Offerings that can be ordered, and one''s own. Act with offering_change, offering_component_set, offering_plan_set.';

CREATE VIEW v_allocation AS
SELECT a.id, a.tenant_customer_id, a.org_id, a.provider_account_id, g.name AS project, a.offering_id, o.name AS offering, o.category_id, a.plan_id, a.name, a.description, a.state, a.limits, a.current_usages, a.backend_id, a.end_date,
    a.error_message, a.missing_reason, a.created_date, a.updated_date, COALESCE(a.updated_date, a.created_date) AS modified_date, a.activated_date, a.deleted_date, t.customer_id, a.provider_account_id = ANY ((SELECT caller_customers())::uuid[]) OR a.offering_id = ANY ((SELECT caller_offerings())::uuid[]) OR (SELECT caller_sees_all()) AS is_provided
FROM allocation AS a LEFT JOIN tenant_customer AS t ON t.id = a.tenant_customer_id LEFT JOIN org AS g ON g.id = a.org_id LEFT JOIN offering AS o ON o.id = a.offering_id;
COMMENT ON VIEW v_allocation IS 'Allocations of one''s projects, and those of one''s offerings. Act with orders, allocation_change, allocation_provide.';

CREATE VIEW v_allocation_order AS
SELECT o.id, o.tenant_customer_id, o.org_id, o.provider_account_id, o.allocation_id, a.name AS allocation, o.offering_id, o.type, o.state, o.limits, o.old_limits, o.plan_id, o.cost, o.start_date, o.consumer_reviewed_date,
    o.provider_reviewed_date, o.comment, o.error_message, o.created_by, o.created_date, o.updated_date, COALESCE(o.updated_date, o.finished_date, o.created_date) AS modified_date, o.finished_date, t.customer_id,
    o.state = 'pending_consumer' AND caller_may('allocation.approve', o.tenant_customer_id, o.org_id) AS can_approve_as_consumer,
    o.state = 'pending_provider' AND offering_may(o.offering_id) AS can_approve_as_provider
FROM allocation_order AS o LEFT JOIN tenant_customer AS t ON t.id = o.tenant_customer_id LEFT JOIN allocation AS a ON a.id = o.allocation_id;
COMMENT ON VIEW v_allocation_order IS 'Orders of allocations and who has to approve them. Act with allocation_order_act.';

CREATE VIEW v_allocation_usage AS
SELECT u.id, u.tenant_customer_id, u.org_id, u.provider_account_id, u.allocation_id, a.name AS allocation, a.offering_id, u.component_id, c.type, c.measured_unit, u.period_id, u.billing_period, u.amount, u.description, u.is_recurring,
    u.usage_date, u.created_date, extract(year FROM u.billing_period)::int AS year, extract(month FROM u.billing_period)::int AS month, t.customer_id
FROM allocation_usage AS u LEFT JOIN tenant_customer AS t ON t.id = u.tenant_customer_id LEFT JOIN allocation AS a ON a.id = u.allocation_id LEFT JOIN offering_component AS c ON c.id = u.component_id;
COMMENT ON VIEW v_allocation_usage IS 'What was used, by month. Act with usage_report.';

CREATE VIEW v_allocation_user_usage AS
SELECT u.id, u.tenant_customer_id, u.org_id, u.provider_account_id, u.usage_id, u.username, u.user_id, u.amount, u.description, u.created_date, g.allocation_id FROM allocation_user_usage AS u LEFT JOIN allocation_usage AS g ON g.id = u.usage_id;
COMMENT ON VIEW v_allocation_user_usage IS 'Which user used how much of it. Act with user_usage_report.';

CREATE VIEW v_invoice AS
SELECT i.id, i.number, i.tenant_customer_id, i.year, i.month, i.state, COALESCE((SELECT sum(round(l.unit_price * l.quantity, 2)) FROM invoice_item AS l WHERE l.invoice_id = i.id), 0) AS price, i.tax_percent, i.invoice_date, i.due_date, i.created_date, t.customer_id
FROM invoice AS i LEFT JOIN tenant_customer AS t ON t.id = i.tenant_customer_id;
COMMENT ON VIEW v_invoice IS 'What a customer''s allocations cost, by month.';

CREATE VIEW v_invoice_item AS
SELECT l.id, l.invoice_id, l.tenant_customer_id, l.org_id, l.allocation_id, l.component_id, l.name, l.unit_price, l.quantity, round(l.unit_price * l.quantity, 2) AS price, l.start_date, l.end_date, l.created_date, t.customer_id FROM invoice_item AS l LEFT JOIN tenant_customer AS t ON t.id = l.tenant_customer_id;
COMMENT ON VIEW v_invoice_item IS 'What a component of an allocation costs in a month.';

CREATE VIEW v_customer_profile AS
SELECT c.id, c.name, c.abbreviation, c.native_name, c.backend_id, c.profile, c.status = 'to_be_removed' AS is_archived, EXISTS (SELECT FROM offering AS o WHERE o.provider_account_id = a.id) AS is_service_provider,
    EXISTS (SELECT FROM membership AS m WHERE m.user_id = (SELECT caller_user()) AND m.tenant_customer_id = a.id AND m.org_id IS NULL AND m.role = 'owner' AND m.state = 'active') AS is_owned, c.created_date
FROM customer AS c JOIN tenant_customer AS a ON a.customer_id = c.id WHERE c.removed_date IS NULL;
COMMENT ON VIEW v_customer_profile IS 'Customers as allocators are told of them. Act with customer_profile_set.';

CREATE VIEW v_member AS
SELECT m.id, m.number, m.user_id, u.username, u.name AS full_name, m.role, m.tenant_customer_id, m.org_id, t.customer_id, m.expires_date, m.created_date
FROM membership AS m LEFT JOIN app_user AS u ON u.id = m.user_id LEFT JOIN tenant_customer AS t ON t.id = m.tenant_customer_id
WHERE (m.org_kind = 'project' OR m.org_id IS NULL) AND m.state = 'active' AND (m.expires_date IS NULL OR m.expires_date > engine_now());
COMMENT ON VIEW v_member IS 'Members of projects, and of customers as a whole. Act with member_add, member_change, member_remove.';

CREATE VIEW v_offering_manager AS
SELECT m.id, m.number, m.offering_id, o.name AS offering, m.user_id, u.username, u.name AS full_name, m.role, m.expires_date, m.created_date
FROM offering_manager AS m LEFT JOIN offering AS o ON o.id = m.offering_id LEFT JOIN app_user AS u ON u.id = m.user_id
WHERE m.removed_date IS NULL AND (m.expires_date IS NULL OR m.expires_date > engine_now());
COMMENT ON VIEW v_offering_manager IS 'Who manages which offering of a provider. Act with offering_manager_add, offering_manager_change, offering_manager_remove.';
