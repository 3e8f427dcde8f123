-- Projects, offerings, allocations and their orders as the allocators' API tells them: one function per kind, for the ids
-- of a page. A view has found the ids under the caller's policies; here is asked once more what the caller reaches, since
-- these functions also tell names of what it does not: a provider is told whose project it is.

CREATE OR REPLACE FUNCTION customer_documents(p_ids uuid[]) RETURNS SETOF jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
-- SECURITY DEFINER: see above.
DECLARE
    _all constant boolean := caller_sees_all();
    _accounts constant uuid[] := caller_accounts();
BEGIN
    RETURN QUERY SELECT to_jsonb(d) || c.profile FROM unnest(p_ids) WITH ORDINALITY AS i (id, n) JOIN customer AS c ON c.id = i.id JOIN tenant_customer AS a ON a.customer_id = c.id AND (_all OR a.id = ANY (_accounts))
    CROSS JOIN LATERAL (SELECT c.id AS uuid, c.created_date AS created, c.name, c.cid AS slug, c.native_name, c.abbreviation, COALESCE(nullif(c.abbreviation, ''), c.name) AS display_name, c.backend_id, c.email,
        '' AS contact_details, '' AS agreement_number, '' AS phone_number, '' AS registration_code, '' AS homepage, '' AS domain, '' AS vat_code, '' AS postal, '' AS address, '' AS bank_name, '' AS bank_account, '' AS country, '' AS country_name,
        NULL::numeric AS latitude, NULL::numeric AS longitude, NULL::text AS image, '0.00' AS default_tax_percent, c.created_date::date AS accounting_start_date, '[]'::jsonb AS projects, '[]'::jsonb AS payment_profiles,
        (SELECT count(*) FROM org AS o WHERE o.tenant_customer_id = a.id AND o.kind = 'project' AND o.status = 'active') AS projects_count, (SELECT count(DISTINCT m.user_id) FROM membership AS m WHERE m.tenant_customer_id = a.id AND m.state = 'active') AS users_count,
        c.status = 'suspended' AS blocked, c.status = 'to_be_removed' AS archived, EXISTS (SELECT FROM offering AS o WHERE o.provider_account_id = a.id) AS is_service_provider) AS d ORDER BY i.n;
END $$;
COMMENT ON FUNCTION customer_documents(uuid[]) IS 'Customers as the allocators'' API tells them.';

CREATE OR REPLACE FUNCTION project_documents(p_ids uuid[]) RETURNS SETOF jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
-- SECURITY DEFINER: see above.
DECLARE
    _all constant boolean := caller_sees_all();
    _accounts constant uuid[] := caller_customers();
    _orgs constant uuid[] := caller_direct_orgs();
BEGIN
    RETURN QUERY SELECT to_jsonb(d) FROM unnest(p_ids) WITH ORDINALITY AS i (id, n) JOIN org AS o ON o.id = i.id AND (_all OR o.tenant_customer_id = ANY (_accounts) OR o.id = ANY (_orgs))
    JOIN project AS p ON p.id = o.id JOIN tenant_customer AS a ON a.id = o.tenant_customer_id JOIN customer AS c ON c.id = a.customer_id
    CROSS JOIN LATERAL (SELECT COALESCE(jsonb_object_agg(r.category_id, r.number), '{}') AS counts, COALESCE(sum(r.number), 0)::int AS number
        FROM (SELECT f.category_id, count(*) AS number FROM allocation AS l JOIN offering AS f ON f.id = l.offering_id WHERE l.org_id = o.id AND l.deleted_date IS NULL GROUP BY 1) AS r) AS r
    CROSS JOIN LATERAL (SELECT o.id AS uuid, o.name, o.slug, p.description, c.id AS customer_uuid, c.name AS customer_name, c.cid AS customer_slug, c.native_name AS customer_native_name, c.abbreviation AS customer_abbreviation,
        o.created_date AS created, p.type, p.backend_id, p.start_date, p.end_date, p.end_date_requested_by AS end_date_requested_by_uuid, p.oecd_fos_2007_code, NULL::text AS oecd_fos_2007_label, p.is_industry, NULL::text AS image,
        r.number AS resources_count, r.counts AS marketplace_resource_count, '{"total": 0, "current": 0, "tax": 0, "tax_current": 0}'::jsonb AS billing_price_estimate) AS d ORDER BY i.n;
END $$;
COMMENT ON FUNCTION project_documents(uuid[]) IS 'Projects as the allocators'' API tells them.';

CREATE OR REPLACE FUNCTION user_documents(p_ids uuid[]) RETURNS SETOF jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
-- SECURITY DEFINER: see above.
BEGIN
    RETURN QUERY SELECT to_jsonb(d) FROM unnest(p_ids) WITH ORDINALITY AS i (id, n) JOIN app_user AS u ON u.id = i.id AND u.removed_date IS NULL AND user_is_seen(u.id) LEFT JOIN remote_user AS r ON r.id = u.id
    CROSS JOIN LATERAL (SELECT u.id AS uuid, u.username, COALESCE(u.name, '') AS full_name, split_part(COALESCE(u.name, ''), ' ', 1) AS first_name, ltrim(substr(COALESCE(u.name, ''), length(split_part(COALESCE(u.name, ''), ' ', 1)) + 1)) AS last_name,
        '' AS native_name, COALESCE(u.email, '') AS email, '' AS phone_number, '' AS organization, '' AS job_title, '' AS civil_number, u.created_date AS date_joined, u.status = 'active' AS is_active, u.is_staff, u.is_support, u.is_identity_manager,
        CASE WHEN r.id IS NOT NULL THEN 'eduteams' ELSE 'default' END AS registration_method, NULL::text AS image, '[]'::jsonb AS permissions) AS d ORDER BY i.n;
END $$;
COMMENT ON FUNCTION user_documents(uuid[]) IS 'Users as the allocators'' API tells them.';

CREATE OR REPLACE FUNCTION member_documents(p_ids uuid[]) RETURNS SETOF jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
-- SECURITY DEFINER: see above.
DECLARE
    _all constant boolean := caller_sees_all();
    _accounts constant uuid[] := caller_customers();
    _orgs constant uuid[] := caller_direct_orgs();
BEGIN
    RETURN QUERY SELECT to_jsonb(d) FROM unnest(p_ids) WITH ORDINALITY AS i (id, n) JOIN membership AS m ON m.id = i.id AND (_all OR m.tenant_customer_id = ANY (_accounts) OR m.org_id = ANY (_orgs) OR m.user_id = caller_user())
    JOIN app_user AS u ON u.id = m.user_id JOIN tenant_customer AS a ON a.id = m.tenant_customer_id JOIN customer AS c ON c.id = a.customer_id LEFT JOIN org AS o ON o.id = m.org_id LEFT JOIN project AS p ON p.id = o.id
    LEFT JOIN app_user AS b ON lower(b.username) = lower(m.created_by)
    CROSS JOIN LATERAL (SELECT m.id AS uuid, m.number AS pk, m.role, m.created_date AS created, m.expires_date AS expiration_time, o.id AS project_uuid, o.name AS project_name, o.created_date AS project_created, p.end_date AS project_end_date,
        c.id AS customer_uuid, c.name AS customer_name, u.id AS user_uuid, u.username AS user_username, COALESCE(u.name, '') AS user_full_name, '' AS user_native_name, COALESCE(u.email, '') AS user_email, NULL::text AS user_image,
        b.id AS created_by_uuid, b.username AS created_by_username, b.name AS created_by_full_name) AS d ORDER BY i.n;
END $$;
COMMENT ON FUNCTION member_documents(uuid[]) IS 'Members of projects and customers as the allocators'' API tells them.';

CREATE OR REPLACE FUNCTION offering_manager_documents(p_ids uuid[]) RETURNS SETOF jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
-- SECURITY DEFINER: see above.
BEGIN
    RETURN QUERY SELECT to_jsonb(d) FROM unnest(p_ids) WITH ORDINALITY AS i (id, n) JOIN offering_manager AS m ON m.id = i.id JOIN offering AS o ON o.id = m.offering_id
        AND (caller_sees_all() OR o.provider_account_id = ANY (caller_customers()) OR o.id = ANY (caller_offerings()))
    JOIN app_user AS u ON u.id = m.user_id LEFT JOIN app_user AS b ON lower(b.username) = lower(m.created_by)
    CROSS JOIN LATERAL (SELECT m.id AS uuid, m.role, m.created_date AS created, m.expires_date AS expiration_time, u.id AS user_uuid, u.username AS user_username, COALESCE(u.name, '') AS user_full_name, COALESCE(u.email, '') AS user_email,
        NULL::text AS user_image, b.id AS created_by_uuid, b.name AS created_by_full_name) AS d ORDER BY i.n;
END $$;
COMMENT ON FUNCTION offering_manager_documents(uuid[]) IS 'Managers of offerings as the allocators'' API tells them.';

-- Offerings ----------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION component_documents(p_offering uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (SELECT COALESCE(jsonb_agg(jsonb_build_object('uuid', c.id, 'offering_uuid', c.offering_id, 'type', c.type, 'name', c.name, 'description', c.description, 'measured_unit', c.measured_unit, 'billing_type', c.billing_type, 'limit_period', c.limit_period,
            'limit_amount', c.limit_amount, 'article_code', c.article_code, 'min_value', c.min_value, 'max_value', c.max_value, 'max_available_limit', c.max_available_limit, 'is_boolean', c.is_boolean, 'default_limit', c.default_limit,
            'factor', c.factor, 'is_builtin', false, 'use_limit_for_billing', c.billing_type = 'limit') ORDER BY c.id), '[]') FROM offering_component AS c WHERE c.offering_id = p_offering);
END $$;
COMMENT ON FUNCTION component_documents(uuid) IS 'The components of an offering.';

CREATE OR REPLACE FUNCTION plan_documents(p_offering uuid, p_plan uuid DEFAULT NULL) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (SELECT COALESCE(jsonb_agg(jsonb_build_object('uuid', p.id, 'offering_uuid', p.offering_id, 'name', p.name, 'description', p.description, 'article_code', p.article_code, 'archived', p.is_archived, 'is_active', NOT p.is_archived,
            'max_amount', p.max_amount, 'unit', p.unit, 'backend_id', p.backend_id, 'organization_groups', '[]'::jsonb, 'plan_type', CASE WHEN x.has_usage THEN 'usage-based' ELSE 'fixed' END,
            'resources_count', (SELECT count(*) FROM allocation AS a WHERE a.plan_id = p.id AND a.deleted_date IS NULL), 'prices', COALESCE(x.prices, '{}'), 'future_prices', '{}'::jsonb, 'quotas', COALESCE(x.quotas, '{}'),
            'unit_price', COALESCE(x.unit_price, 0)::numeric(22,10)::text, 'init_price', COALESCE(x.init_price, 0), 'switch_price', COALESCE(x.switch_price, 0), 'minimal_price', COALESCE(x.unit_price, 0)) ORDER BY p.id), '[]')
        FROM offering_plan AS p CROSS JOIN LATERAL (SELECT jsonb_object_agg(c.type, n.price) AS prices, jsonb_object_agg(c.type, n.amount) AS quotas, bool_or(c.billing_type = 'usage') AS has_usage,
            sum(n.price * n.amount) FILTER (WHERE c.billing_type = 'fixed') AS unit_price, sum(n.price) FILTER (WHERE c.billing_type = 'one') AS init_price, sum(n.price) FILTER (WHERE c.billing_type = 'few') AS switch_price
            FROM offering_plan_component AS n JOIN offering_component AS c ON c.id = n.component_id WHERE n.plan_id = p.id) AS x
        WHERE p.offering_id = p_offering AND (p_plan IS NULL OR p.id = p_plan));
END $$;
COMMENT ON FUNCTION plan_documents(uuid, uuid) IS 'The plans of an offering, or one of them.';

CREATE OR REPLACE FUNCTION offering_documents(p_ids uuid[]) RETURNS SETOF jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
-- SECURITY DEFINER: see above.
DECLARE
    _all constant boolean := caller_sees_all();
    _accounts constant uuid[] := caller_accounts();
    _blank constant jsonb := '{"full_description": "", "terms_of_service": "", "terms_of_service_link": "", "privacy_policy_link": "", "getting_started": "", "integration_guide": "", "vendor_details": "", "native_name": "", "native_description": "",
        "thumbnail": null, "image": null, "rating": null, "screenshots": [], "files": [], "endpoints": [], "roles": [], "scope": null, "backend_id": "", "latitude": null, "longitude": null, "country": "", "citation_count": -1, "datacite_doi": "",
        "attributes": {}, "options": {"options": {}, "order": []}, "resource_options": {"options": {}, "order": []}, "plugin_options": {}, "backend_metadata": {}}';
BEGIN
    RETURN QUERY SELECT _blank || o.details || to_jsonb(d) FROM unnest(p_ids) WITH ORDINALITY AS i (id, n) JOIN offering AS o ON o.id = i.id AND (_all OR o.provider_account_id = ANY (_accounts) OR o.id = ANY (caller_offerings())
            OR EXISTS (SELECT FROM offering_grant AS g WHERE g.offering_id = o.id AND g.tenant_customer_id = ANY (_accounts)) OR (o.is_shared AND o.state IN ('active', 'paused') AND EXISTS (SELECT FROM tenant_customer AS t WHERE t.id = ANY (_accounts) AND t.tenant_id = o.tenant_id)))
    JOIN offering_category AS g ON g.id = o.category_id JOIN tenant_customer AS a ON a.id = o.provider_account_id JOIN customer AS c ON c.id = a.customer_id
    CROSS JOIN LATERAL (SELECT o.id AS uuid, o.name, label(o.name) AS slug, o.description, o.created_date AS created, allocation_state_name(o.state) AS state, offering_type(o) AS type, o.is_shared AS shared, o.is_billable AS billable,
        c.id AS customer_uuid, c.name AS customer_name, g.id AS category_uuid, g.title AS category_title, component_documents(o.id) AS components, plan_documents(o.id) AS plans, o.paused_reason,
        (SELECT count(*) FROM allocation_order AS r WHERE r.offering_id = o.id) AS order_count) AS d ORDER BY i.n;
END $$;
COMMENT ON FUNCTION offering_documents(uuid[]) IS 'Offerings as the allocators'' API tells them.';

CREATE OR REPLACE FUNCTION offering_type(p_offering offering) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN CASE p_offering.backend WHEN 'manual' THEN CASE WHEN p_offering.is_immediate THEN 'Marketplace.Basic' ELSE 'Marketplace.Support' END WHEN 'aws' THEN 'Marketplace.AWS' ELSE 'Marketplace.Cluster' END;
END $$;
COMMENT ON FUNCTION offering_type(offering) IS 'The type of an offering as the allocators'' API names it.';

CREATE OR REPLACE FUNCTION offering_block(p_offering uuid, p_plan uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (SELECT to_jsonb(d) FROM (SELECT o.id AS offering_uuid, o.name AS offering_name, o.description AS offering_description, offering_type(o) AS offering_type, o.is_shared AS offering_shared, o.is_billable AS offering_billable,
            COALESCE(o.details ->> 'terms_of_service', '') AS offering_terms_of_service, COALESCE(o.details -> 'plugin_options', '{}') AS offering_plugin_options, allocation_state_name(o.state) AS offering_state,
            NULL::text AS offering_image, NULL::text AS offering_thumbnail, v.name AS provider_name, v.id AS provider_uuid, v.id AS offering_customer_uuid, g.title AS category_title, g.id AS category_uuid, NULL::text AS category_icon, p.id AS plan_uuid, p.name AS plan_name,
            p.unit AS plan_unit, p.description AS plan_description
        FROM offering AS o JOIN offering_category AS g ON g.id = o.category_id JOIN tenant_customer AS t ON t.id = o.provider_account_id JOIN customer AS v ON v.id = t.customer_id LEFT JOIN offering_plan AS p ON p.id = p_plan
        WHERE o.id = p_offering) AS d);
END $$;
COMMENT ON FUNCTION offering_block(uuid, uuid) IS 'What allocations and their orders tell of their offering and plan: asked for once for all of a page that have the same.';

-- Allocations and orders ---------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION allocation_documents(p_ids uuid[]) RETURNS SETOF jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
-- SECURITY DEFINER: see above.
DECLARE
    _all constant boolean := caller_sees_all();
    _accounts constant uuid[] := caller_customers();
    _orgs constant uuid[] := caller_direct_orgs();
    _offerings constant uuid[] := caller_offerings();
BEGIN
    RETURN QUERY WITH block AS MATERIALIZED (
        SELECT s.offering_id, s.plan_id, offering_block(s.offering_id, s.plan_id) AS told, (SELECT bool_or(c.billing_type = 'usage') FROM offering_component AS c WHERE c.offering_id = s.offering_id) AS has_usage,
            (SELECT bool_or(c.billing_type = 'limit') FROM offering_component AS c WHERE c.offering_id = s.offering_id) AS has_limit
        FROM (SELECT DISTINCT l.offering_id, l.plan_id FROM allocation AS l WHERE l.id = ANY (p_ids)) AS s)
    SELECT b.told || to_jsonb(d) FROM unnest(p_ids) WITH ORDINALITY AS i (id, n) JOIN allocation AS a ON a.id = i.id
        AND (_all OR a.tenant_customer_id = ANY (_accounts) OR a.org_id = ANY (_orgs) OR a.provider_account_id = ANY (_accounts) OR a.offering_id = ANY (_offerings))
    JOIN block AS b ON b.offering_id = a.offering_id AND b.plan_id IS NOT DISTINCT FROM a.plan_id
    JOIN org AS j ON j.id = a.org_id JOIN project AS x ON x.id = j.id JOIN tenant_customer AS y ON y.id = a.tenant_customer_id JOIN customer AS k ON k.id = y.customer_id
    LEFT JOIN LATERAL (SELECT jsonb_object_agg(s.type, s.amount) AS used FROM (SELECT c.type, sum(u.amount) AS amount FROM allocation_usage AS u JOIN offering_component AS c ON c.id = u.component_id WHERE u.allocation_id = a.id GROUP BY 1) AS s) AS t ON true
    LEFT JOIN allocation_order AS e ON e.allocation_id = a.id AND e.finished_date IS NULL LEFT JOIN allocation_order AS f ON f.allocation_id = a.id AND f.type = 'create'
    CROSS JOIN LATERAL (SELECT a.id AS uuid, a.name, label(a.name) AS slug, a.description, allocation_state_name(a.state) AS state, a.limits, a.attributes, a.backend_id, a.backend_id AS effective_id, a.backend_metadata, a.current_usages,
        COALESCE(t.used, '{}') AS limit_usage, COALESCE(b.has_usage, false) AS is_usage_based, COALESCE(b.has_limit, false) AS is_limit_based, NULL::text AS scope, a.report, a.end_date, a.state IN ('ok', 'erred') AND e.id IS NULL AS can_terminate,
        a.options, '[]'::jsonb AS endpoints, false AS paused, false AS downscaled, false AS restrict_member_access, a.error_message, a.error_traceback, a.last_sync_date AS last_sync, a.created_date AS created,
        COALESCE(a.updated_date, a.created_date) AS modified, e.id AS order_in_progress_uuid, f.id AS creation_order_uuid, a.id AS marketplace_resource_uuid,
        j.id AS project_uuid, j.name AS project_name, x.description AS project_description, x.end_date AS project_end_date, k.id AS customer_uuid, k.name AS customer_name) AS d ORDER BY i.n;
END $$;
COMMENT ON FUNCTION allocation_documents(uuid[]) IS 'Allocations as the allocators'' API tells them.';

CREATE OR REPLACE FUNCTION allocation_order_documents(p_ids uuid[]) RETURNS SETOF jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
-- SECURITY DEFINER: see above.
DECLARE
    _all constant boolean := caller_sees_all();
    _accounts constant uuid[] := caller_customers();
    _orgs constant uuid[] := caller_direct_orgs();
    _offerings constant uuid[] := caller_offerings();
BEGIN
    RETURN QUERY WITH block AS MATERIALIZED (
        SELECT s.offering_id, s.plan_id, offering_block(s.offering_id, s.plan_id) AS told FROM (SELECT DISTINCT l.offering_id, l.plan_id FROM allocation_order AS l WHERE l.id = ANY (p_ids)) AS s)
    SELECT q.told || to_jsonb(d) FROM unnest(p_ids) WITH ORDINALITY AS i (id, n) JOIN allocation_order AS o ON o.id = i.id
        AND (_all OR o.tenant_customer_id = ANY (_accounts) OR o.org_id = ANY (_orgs) OR o.provider_account_id = ANY (_accounts) OR o.offering_id = ANY (_offerings))
    JOIN allocation AS a ON a.id = o.allocation_id LEFT JOIN app_user AS b ON b.id = o.created_by_id LEFT JOIN app_user AS c ON c.id = o.consumer_reviewed_by_id LEFT JOIN app_user AS p ON p.id = o.provider_reviewed_by_id
    LEFT JOIN offering_plan AS z ON z.id = o.old_plan_id LEFT JOIN offering_plan AS y ON y.id = o.plan_id JOIN block AS q ON q.offering_id = o.offering_id AND q.plan_id IS NOT DISTINCT FROM o.plan_id
    JOIN org AS j ON j.id = o.org_id JOIN project AS x ON x.id = j.id JOIN tenant_customer AS t ON t.id = o.tenant_customer_id JOIN customer AS k ON k.id = t.customer_id
    CROSS JOIN LATERAL (SELECT o.id AS uuid, o.item_id AS item_uuid, upper(left(o.type, 1)) || substr(o.type, 2) AS type, replace(o.state, '_', '-') AS state, o.attributes || jsonb_build_object('name', a.name) AS attributes, o.limits, COALESCE(o.cost, 0)::numeric(22,10)::text AS cost,
        '' AS output, o.error_message, o.error_traceback, NULL::text AS resource_uuid, NULL::text AS resource_type, a.name AS resource_name, a.id AS marketplace_resource_uuid, o.callback_url, o.created_date AS created, COALESCE(o.updated_date, o.finished_date, o.created_date) AS modified,
        b.id AS created_by_uuid, COALESCE(b.name, '') AS created_by_full_name, b.username AS created_by_username, c.id AS consumer_reviewed_by_uuid, c.name AS consumer_reviewed_by_full_name, c.username AS consumer_reviewed_by_username, o.consumer_reviewed_date AS consumer_reviewed_at,
        p.id AS provider_reviewed_by_uuid, p.name AS provider_reviewed_by_full_name, p.username AS provider_reviewed_by_username, o.provider_reviewed_date AS provider_reviewed_at, o.comment, CASE WHEN o.type = 'terminate' THEN o.comment ELSE '' END AS termination_comment,
        z.id AS old_plan_uuid, z.name AS old_plan_name, CASE WHEN o.type = 'update' THEN y.id END AS new_plan_uuid, CASE WHEN o.type = 'update' THEN y.name END AS new_plan_name, o.old_limits,
        o.state LIKE 'pending%' OR o.state = 'executing' AS can_terminate, a.backend_id, NULL::text AS issue, o.start_date,
        j.id AS project_uuid, j.name AS project_name, x.description AS project_description, x.end_date AS project_end_date, k.id AS customer_uuid, k.name AS customer_name) AS d ORDER BY i.n;
END $$;
COMMENT ON FUNCTION allocation_order_documents(uuid[]) IS 'Orders of allocations as the allocators'' API tells them.';

CREATE OR REPLACE FUNCTION allocation_period_documents(p_allocation uuid) RETURNS SETOF jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
-- SECURITY DEFINER: see above.
BEGIN
    PERFORM allocation_seen(p_allocation);
    RETURN QUERY SELECT jsonb_build_object('uuid', t.id, 'plan_name', COALESCE(p.name, ''), 'plan_uuid', p.id, 'start', t.start_date, 'end', t.end_date, 'components',
        (SELECT COALESCE(jsonb_agg(d), '[]') FROM usage_documents(ARRAY(SELECT u.id FROM allocation_usage AS u WHERE u.period_id = t.id ORDER BY u.id)) AS d))
    FROM allocation_period AS t LEFT JOIN offering_plan AS p ON p.id = t.plan_id WHERE t.allocation_id = p_allocation AND t.plan_id IS NOT NULL ORDER BY t.start_date;
END $$;
COMMENT ON FUNCTION allocation_period_documents(uuid) IS 'The plan periods of an allocation with what was used in each.';

CREATE OR REPLACE FUNCTION allocation_team(p_allocation uuid) RETURNS SETOF jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
-- SECURITY DEFINER: see above.
BEGIN
    RETURN QUERY SELECT jsonb_build_object('uuid', u.id, 'username', u.username, 'full_name', COALESCE(u.name, ''), 'email', COALESCE(u.email, ''), 'role', m.role, 'expiration_time', m.expires_date, 'offering_user_username', NULL, 'offering_user_state', NULL)
    FROM membership AS m JOIN app_user AS u ON u.id = m.user_id WHERE m.org_id = (allocation_seen(p_allocation)).org_id AND m.state = 'active' AND (m.expires_date IS NULL OR m.expires_date > engine_now()) ORDER BY m.id;
END $$;
COMMENT ON FUNCTION allocation_team(uuid) IS 'The members of an allocation''s project.';

CREATE OR REPLACE FUNCTION allocation_seen(p_id uuid) RETURNS allocation
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _allocation allocation;
BEGIN
    SELECT * INTO _allocation FROM allocation WHERE id = p_id;
    IF _allocation.id IS NULL OR NOT caller_reaches(_allocation.tenant_customer_id, _allocation.org_id, _allocation.provider_account_id, _allocation.offering_id) THEN
        PERFORM refuse('PV404', 'allocation not found', p_id::text, 'SELECT * FROM v_allocation');
    END IF;
    RETURN _allocation;
END $$;
COMMENT ON FUNCTION allocation_seen(uuid) IS 'An allocation the caller sees.';

CREATE OR REPLACE FUNCTION usage_documents(p_ids uuid[]) RETURNS SETOF jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
-- SECURITY DEFINER: see above.
DECLARE
    _all constant boolean := caller_sees_all();
    _accounts constant uuid[] := caller_customers();
    _orgs constant uuid[] := caller_direct_orgs();
    _offerings constant uuid[] := caller_offerings();
BEGIN
    RETURN QUERY SELECT to_jsonb(d) FROM unnest(p_ids) WITH ORDINALITY AS i (id, n) JOIN allocation_usage AS u ON u.id = i.id
        AND (_all OR u.tenant_customer_id = ANY (_accounts) OR u.org_id = ANY (_orgs) OR u.provider_account_id = ANY (_accounts) OR u.offering_id = ANY (_offerings))
    JOIN offering_component AS c ON c.id = u.component_id JOIN allocation AS a ON a.id = u.allocation_id JOIN offering AS o ON o.id = a.offering_id JOIN org AS j ON j.id = u.org_id
    JOIN tenant_customer AS t ON t.id = u.tenant_customer_id JOIN customer AS k ON k.id = t.customer_id LEFT JOIN app_user AS m ON m.id = u.modified_by_id
    CROSS JOIN LATERAL (SELECT u.id AS uuid, u.created_date AS created, u.description, c.type, c.name, c.measured_unit, u.amount::text AS usage, u.usage_date AS date, u.is_recurring AS recurring, a.id AS resource_uuid, a.name AS resource_name,
        o.id AS offering_uuid, o.name AS offering_name, j.id AS project_uuid, j.name AS project_name, k.id AS customer_uuid, k.name AS customer_name, u.billing_period, m.id AS modified_by_uuid) AS d ORDER BY i.n;
END $$;
COMMENT ON FUNCTION usage_documents(uuid[]) IS 'Usage as the allocators'' API tells it.';

CREATE OR REPLACE FUNCTION user_usage_documents(p_ids uuid[]) RETURNS SETOF jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
-- SECURITY DEFINER: see above.
DECLARE
    _all constant boolean := caller_sees_all();
    _accounts constant uuid[] := caller_customers();
    _orgs constant uuid[] := caller_direct_orgs();
    _offerings constant uuid[] := caller_offerings();
BEGIN
    RETURN QUERY SELECT jsonb_build_object('uuid', u.id, 'username', u.username, 'user_uuid', u.user_id, 'usage', u.amount::text, 'description', u.description, 'component_usage_uuid', u.usage_id, 'component_type', c.type,
        'measured_unit', c.measured_unit, 'resource_uuid', g.allocation_id, 'billing_period', g.billing_period, 'created', u.created_date)
    FROM unnest(p_ids) WITH ORDINALITY AS i (id, n) JOIN allocation_user_usage AS u ON u.id = i.id AND (_all OR u.tenant_customer_id = ANY (_accounts) OR u.org_id = ANY (_orgs) OR u.provider_account_id = ANY (_accounts) OR u.offering_id = ANY (_offerings))
    JOIN allocation_usage AS g ON g.id = u.usage_id JOIN offering_component AS c ON c.id = g.component_id ORDER BY i.n;
END $$;
COMMENT ON FUNCTION user_usage_documents(uuid[]) IS 'What users used, as the allocators'' API tells it.';

CREATE OR REPLACE FUNCTION invoice_documents(p_ids uuid[]) RETURNS SETOF jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
-- SECURITY DEFINER: see above.
DECLARE
    _all constant boolean := caller_sees_all();
    _accounts constant uuid[] := caller_customers();
BEGIN
    RETURN QUERY SELECT jsonb_build_object('uuid', v.id, 'number', v.number, 'customer_uuid', c.id, 'customer_details', jsonb_build_object('uuid', c.id, 'name', c.name, 'email', c.email), 'issuer_details', jsonb_build_object('name', n.name),
        'state', v.state, 'year', v.year, 'month', v.month, 'invoice_date', v.invoice_date, 'due_date', v.due_date, 'price', x.price::numeric(22,2)::text, 'tax', round(x.price * v.tax_percent / 100, 2)::text,
        'total', round(x.price * (1 + v.tax_percent / 100), 2)::text, 'items', (SELECT COALESCE(jsonb_agg(d), '[]') FROM invoice_item_documents(x.items) AS d))
    FROM unnest(p_ids) WITH ORDINALITY AS i (id, n) JOIN invoice AS v ON v.id = i.id AND (_all OR v.tenant_customer_id = ANY (_accounts)) JOIN tenant_customer AS a ON a.id = v.tenant_customer_id JOIN customer AS c ON c.id = a.customer_id JOIN tenant AS n ON n.id = a.tenant_id
    CROSS JOIN LATERAL (SELECT COALESCE(sum(round(l.unit_price * l.quantity, 2)), 0) AS price, array_agg(l.id ORDER BY l.id) AS items FROM invoice_item AS l WHERE l.invoice_id = v.id) AS x ORDER BY i.n;
END $$;
COMMENT ON FUNCTION invoice_documents(uuid[]) IS 'Invoices as the allocators'' API tells them.';

CREATE OR REPLACE FUNCTION invoice_item_documents(p_ids uuid[]) RETURNS SETOF jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
-- SECURITY DEFINER: see above.
DECLARE
    _all constant boolean := caller_sees_all();
    _accounts constant uuid[] := caller_customers();
BEGIN
    RETURN QUERY SELECT jsonb_build_object('uuid', l.id, 'invoice_uuid', l.invoice_id, 'name', l.name, 'price', round(l.unit_price * l.quantity, 2)::text, 'tax', round(l.unit_price * l.quantity * v.tax_percent / 100, 2)::text,
        'total', round(l.unit_price * l.quantity * (1 + v.tax_percent / 100), 2)::text, 'unit_price', l.unit_price::text,
        'unit', CASE m.billing_type WHEN 'fixed' THEN n.unit WHEN 'limit' THEN CASE COALESCE(m.limit_period, 'month') WHEN 'month' THEN 'month' WHEN 'quarterly' THEN 'quarter' ELSE 'quantity' END ELSE 'quantity' END,
        'measured_unit', m.measured_unit, 'quantity', l.quantity::text, 'start', l.start_date, 'end', l.end_date, 'article_code', m.article_code, 'project_name', o.name, 'project_uuid', o.id,
        'resource_name', r.name, 'resource_uuid', r.id, 'details', jsonb_build_object('offering_component_type', m.type, 'resource_uuid', r.id))
    FROM unnest(p_ids) WITH ORDINALITY AS i (id, n) JOIN invoice_item AS l ON l.id = i.id AND (_all OR l.tenant_customer_id = ANY (_accounts)) JOIN invoice AS v ON v.id = l.invoice_id JOIN offering_component AS m ON m.id = l.component_id
    JOIN org AS o ON o.id = l.org_id JOIN allocation AS r ON r.id = l.allocation_id JOIN allocation_period AS t ON t.id = l.period_id LEFT JOIN offering_plan AS n ON n.id = t.plan_id ORDER BY i.n;
END $$;
COMMENT ON FUNCTION invoice_item_documents(uuid[]) IS 'Lines of invoices as the allocators'' API tells them.';

CREATE OR REPLACE FUNCTION customer_profile_set(p_id uuid, p jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
BEGIN
    PERFORM check_fields('customer', ARRAY[p], '{}', '{"abbreviation": "string", "native_name": "string", "backend_id": "string", "profile": "object"}');
    PERFORM customer_for(p_id, 'customer.change');
    UPDATE customer SET abbreviation = COALESCE(p ->> 'abbreviation', abbreviation), native_name = COALESCE(p ->> 'native_name', native_name), backend_id = COALESCE(p ->> 'backend_id', backend_id),
        profile = profile || COALESCE(p -> 'profile', '{}') WHERE id = p_id;
END $$;
COMMENT ON FUNCTION customer_profile_set(uuid, jsonb) IS 'Changes what allocators are told of a customer: abbreviation, native_name, backend_id, profile (phone_number, homepage, country and more).';

CREATE OR REPLACE FUNCTION offering_category_documents(p_ids uuid[]) RETURNS SETOF jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: see above.
BEGIN
    RETURN QUERY SELECT jsonb_build_object('uuid', c.id, 'title', c.title, 'description', c.description, 'icon', NULL, 'offering_count', (SELECT count(*) FROM offering AS o WHERE o.category_id = c.id AND o.state = 'active' AND o.is_shared))
    FROM unnest(p_ids) WITH ORDINALITY AS i (id, n) JOIN offering_category AS c ON c.id = i.id ORDER BY i.n;
END $$;
COMMENT ON FUNCTION offering_category_documents(uuid[]) IS 'Categories as the allocators'' API tells them.';

CREATE OR REPLACE FUNCTION customer_accounts(p_customers uuid[]) RETURNS uuid[]
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: allocators know providers by their ids, and see no accounts of theirs.
BEGIN
    RETURN ARRAY(SELECT a.id FROM tenant_customer AS a WHERE a.customer_id = ANY (p_customers));
END $$;
COMMENT ON FUNCTION customer_accounts(uuid[]) IS 'The accounts of customers: what lists are filtered by.';

CREATE OR REPLACE FUNCTION role_documents() RETURNS SETOF jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: roles are nobody's secret.
BEGIN
    RETURN QUERY SELECT to_jsonb(r) FROM v_role AS r;
END $$;
COMMENT ON FUNCTION role_documents() IS 'Roles with what they may do.';

CREATE OR REPLACE FUNCTION plan_offering(p_plan uuid) RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: plans have no grants.
BEGIN
    RETURN (SELECT p.offering_id FROM offering_plan AS p WHERE p.id = p_plan AND EXISTS (SELECT FROM offering_documents(ARRAY[p.offering_id])));
END $$;
COMMENT ON FUNCTION plan_offering(uuid) IS 'The offering of a plan, if the caller sees it.';
