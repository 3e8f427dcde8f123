-- The catalogue: categories, offerings with their components and plans. A provider makes and changes its own; categories are
-- the installation's.

CREATE OR REPLACE FUNCTION offering_category_create(p jsonb) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _id uuid;
BEGIN
    PERFORM check_fields('category', ARRAY[p], '{title}', '{"title": "string", "description": "string"}');
    IF caller_platform() IS DISTINCT FROM 'all' THEN
        PERFORM refuse('PV403', 'the right to do this is not held', 'categories', 'ask the operators');
    END IF;
    INSERT INTO offering_category (title, description) VALUES (p ->> 'title', COALESCE(p ->> 'description', '')) RETURNING id INTO _id;
    RETURN _id;
END $$;
COMMENT ON FUNCTION offering_category_create(jsonb) IS 'Makes a category: title, description. For operators and staff.';

CREATE OR REPLACE FUNCTION offering_create(p jsonb) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _account constant uuid := COALESCE(account_named(p ->> 'customer'), CASE WHEN p ->> 'customer' IS NULL THEN caller_customer() END);
    _backend constant text := COALESCE(p ->> 'backend', 'manual');
    _category uuid;
    _id uuid;
BEGIN
    PERFORM check_fields('offering', ARRAY[p], '{name,category}', '{"name": "string", "category": "string", "customer": "string|null", "description": "string", "state": "string", "backend": "string", "accreditation": "string|null",
        "is_shared": "boolean", "is_billable": "boolean", "is_immediate": "boolean", "auto_approve": "boolean", "auto_approve_own": "boolean", "details": "object", "backend_settings": "object"}');
    PERFORM caller_require_field('offering.change', _account, NULL, 'customer', p ->> 'customer');
    SELECT id INTO _category FROM offering_category WHERE id = uuid_of(p ->> 'category') OR title = p ->> 'category';
    IF _category IS NULL THEN
        PERFORM refuse_field('PV404', 'category', 'category not found', p ->> 'category', 'SELECT * FROM v_offering_category');
    END IF;
    INSERT INTO offering (provider_account_id, accreditation_id, category_id, name, description, state, backend, is_shared, is_billable, is_immediate, auto_approve, auto_approve_own, details, backend_settings)
    SELECT _account, accreditation_for(_account, p ->> 'accreditation', ARRAY[CASE _backend WHEN 'aws' THEN 'aws' ELSE 'manual' END]), _category, r.name, COALESCE(r.description, ''), COALESCE(r.state, 'draft'), _backend,
        COALESCE(r.is_shared, true), COALESCE(r.is_billable, true), COALESCE(r.is_immediate, true), COALESCE(r.auto_approve, false), COALESCE(r.auto_approve_own, false), COALESCE(r.details, '{}'), COALESCE(r.backend_settings, '{}')
    FROM jsonb_populate_record(NULL::offering, p) AS r RETURNING id INTO _id;
    IF _backend = 'cluster' THEN
        PERFORM offering_component_set(_id, '{"type": "node_hours", "name": "Node-hours", "measured_unit": "node-hours", "billing_type": "limit"}');
    END IF;
    RETURN _id;
END $$;
COMMENT ON FUNCTION offering_create(jsonb) IS 'Makes an offering: name, category (title or id), customer (the provider, else the caller''s), description, state, backend, accreditation (by name), is_shared, is_billable, is_immediate, auto_approve, auto_approve_own, details, backend_settings.';

CREATE OR REPLACE FUNCTION offering_for(p_id uuid) RETURNS offering
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _offering offering;
BEGIN
    SELECT * INTO _offering FROM offering WHERE id = p_id;
    PERFORM caller_require('offering.change', _offering.provider_account_id, NULL, 'offering', p_id::text) WHERE NOT offering_may(p_id);
    SELECT * INTO _offering FROM offering WHERE id = p_id FOR NO KEY UPDATE;
    RETURN _offering;
END $$;
COMMENT ON FUNCTION offering_for(uuid) IS 'An offering the caller may change, locked.';

CREATE OR REPLACE FUNCTION offering_change(p_id uuid, p jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _new offering;
BEGIN
    PERFORM check_fields('offering', ARRAY[p], '{}', '{"name": "string", "description": "string", "state": "string", "paused_reason": "string", "is_shared": "boolean", "is_billable": "boolean", "is_immediate": "boolean",
        "auto_approve": "boolean", "auto_approve_own": "boolean", "details": "object", "backend_settings": "object", "granted": "array"}');
    _new := jsonb_populate_record(offering_for(p_id), p - 'details');
    UPDATE offering SET name = _new.name, description = _new.description, state = _new.state, paused_reason = CASE WHEN _new.state = 'paused' THEN _new.paused_reason ELSE '' END, is_shared = _new.is_shared,
        is_billable = _new.is_billable, is_immediate = _new.is_immediate, auto_approve = _new.auto_approve, auto_approve_own = _new.auto_approve_own, details = details || COALESCE(p -> 'details', '{}'),
        backend_settings = _new.backend_settings WHERE id = p_id;
    IF p ? 'granted' THEN
        DELETE FROM offering_grant WHERE offering_id = p_id;
        INSERT INTO offering_grant (offering_id, tenant_customer_id)
        SELECT p_id, a.id FROM tenant_customer AS a JOIN customer AS c ON c.id = a.customer_id
        WHERE a.tenant_id = _new.tenant_id AND (p -> 'granted') ?| ARRAY[a.id::text, c.id::text, c.cid];
    END IF;
END $$;
COMMENT ON FUNCTION offering_change(uuid, jsonb) IS 'Changes an offering: what offering_create takes but for provider, backend and accreditation, paused_reason, and granted (customers that may order although it is not shared).';

CREATE OR REPLACE FUNCTION offering_component_set(p_offering uuid, p jsonb) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _offering constant offering := offering_for(p_offering);
    _old offering_component;
    _new offering_component;
BEGIN
    PERFORM check_fields('component', ARRAY[p], '{type}', '{"type": "string", "name": "string", "description": "string", "measured_unit": "string", "billing_type": "string", "limit_period": "string|null", "limit_amount": "number|null",
        "article_code": "string", "min_value": "number|null", "max_value": "number|null", "max_available_limit": "number|null", "is_boolean": "boolean", "default_limit": "number|null", "factor": "number", "disable_quotas": "boolean",
        "backend_settings": "object"}');
    SELECT * INTO _old FROM offering_component WHERE offering_id = _offering.id AND type = p ->> 'type';
    IF _old.id IS NULL THEN
        SELECT new_id() AS id, _offering.id AS offering_id, '' AS description, '' AS measured_unit, 'limit' AS billing_type, '' AS article_code, false AS is_boolean, 1 AS factor, false AS disable_quotas, '{}'::jsonb AS backend_settings,
            engine_now() AS created_date, caller_name() AS created_by, p ->> 'type' AS type, p ->> 'type' AS name INTO _old.id, _old.offering_id, _old.description, _old.measured_unit, _old.billing_type, _old.article_code,
            _old.is_boolean, _old.factor, _old.disable_quotas, _old.backend_settings, _old.created_date, _old.created_by, _old.type, _old.name;
        _new := jsonb_populate_record(_old, p);
        INSERT INTO offering_component SELECT _new.*;
        RETURN _new.id;
    END IF;
    _new := jsonb_populate_record(_old, p);
    UPDATE offering_component SET name = _new.name, description = _new.description, measured_unit = _new.measured_unit, billing_type = _new.billing_type, limit_period = _new.limit_period, limit_amount = _new.limit_amount,
        article_code = _new.article_code, min_value = _new.min_value, max_value = _new.max_value, max_available_limit = _new.max_available_limit, is_boolean = _new.is_boolean, default_limit = _new.default_limit, factor = _new.factor,
        disable_quotas = _new.disable_quotas, backend_settings = _new.backend_settings, updated_date = engine_now(), updated_by = caller_name() WHERE id = _old.id;
    RETURN _old.id;
END $$;
COMMENT ON FUNCTION offering_component_set(uuid, jsonb) IS 'Makes or changes the component of that type: name, description, measured_unit, billing_type, limit_period, limit_amount, article_code, min_value, max_value, max_available_limit (the pool), is_boolean, default_limit, factor, disable_quotas, backend_settings.';

CREATE OR REPLACE FUNCTION offering_plan_set(p_offering uuid, p jsonb) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _offering constant offering := offering_for(p_offering);
    _id uuid;
    _unknown text;
BEGIN
    PERFORM check_fields('plan', ARRAY[p], '{name}', '{"name": "string", "description": "string", "article_code": "string", "unit": "string", "is_archived": "boolean", "max_amount": "number|null", "backend_id": "string",
        "prices": "object", "quotas": "object"}');
    SELECT string_agg(k, ', ') INTO _unknown FROM jsonb_object_keys(COALESCE(p -> 'prices', '{}') || COALESCE(p -> 'quotas', '{}')) AS k
    WHERE NOT EXISTS (SELECT FROM offering_component WHERE offering_id = _offering.id AND type = k);
    IF _unknown IS NOT NULL THEN
        PERFORM refuse_field('PV422', 'prices', 'Invalid types: ' || _unknown, left(p::text, 200), 'make the components first');
    END IF;
    SELECT id INTO _id FROM offering_plan WHERE offering_id = _offering.id AND name = p ->> 'name';
    IF _id IS NULL THEN
        INSERT INTO offering_plan (offering_id, name) VALUES (_offering.id, p ->> 'name') RETURNING id INTO _id;
    END IF;
    UPDATE offering_plan AS o SET description = COALESCE(r.description, o.description), article_code = COALESCE(r.article_code, o.article_code), unit = COALESCE(r.unit, o.unit), is_archived = COALESCE(r.is_archived, o.is_archived),
        max_amount = CASE WHEN p ? 'max_amount' THEN r.max_amount ELSE o.max_amount END, backend_id = COALESCE(r.backend_id, o.backend_id), updated_date = engine_now(), updated_by = caller_name()
    FROM jsonb_populate_record(NULL::offering_plan, p) AS r WHERE o.id = _id;
    INSERT INTO offering_plan_component AS x (plan_id, component_id, price, amount)
    SELECT _id, c.id, COALESCE((p -> 'prices' ->> c.type)::numeric, 0), COALESCE((p -> 'quotas' ->> c.type)::bigint, 0) FROM offering_component AS c
    WHERE c.offering_id = _offering.id AND (COALESCE(p -> 'prices', '{}') || COALESCE(p -> 'quotas', '{}')) ? c.type
    ON CONFLICT (plan_id, component_id) DO UPDATE SET price = CASE WHEN (p -> 'prices') ? (SELECT type FROM offering_component WHERE id = x.component_id) THEN excluded.price ELSE x.price END,
        amount = CASE WHEN (p -> 'quotas') ? (SELECT type FROM offering_component WHERE id = x.component_id) THEN excluded.amount ELSE x.amount END;
    RETURN _id;
END $$;
COMMENT ON FUNCTION offering_plan_set(uuid, jsonb) IS 'Makes or changes the plan of that name: description, article_code, unit, is_archived, max_amount, backend_id, prices and quotas ({component type: number}).';

-- Managers -----------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION offering_manager_scope(p_offering uuid, p_role text) RETURNS offering
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _offering offering;
BEGIN
    SELECT * INTO _offering FROM offering WHERE id = p_offering;
    IF p_offering = ANY (caller_offerings()) AND NOT caller_may('member.change', _offering.provider_account_id) THEN
        PERFORM refuse('PV403', 'the right to do this is not held', 'member.change', 'ask an owner of the provider');
    END IF;
    PERFORM caller_require('member.change', _offering.provider_account_id, NULL, 'offering', p_offering::text);
    IF NOT EXISTS (SELECT FROM role WHERE name = p_role AND scope = 'offering') THEN
        PERFORM refuse_field('PV422', 'non_field_errors', 'Role is not valid for this scope.', p_role, 'SELECT * FROM v_role');
    END IF;
    RETURN _offering;
END $$;
COMMENT ON FUNCTION offering_manager_scope(uuid, text) IS 'An offering in which the caller decides who manages it; that is who decides about members of its provider.';

CREATE OR REPLACE FUNCTION offering_manager_add(p_offering uuid, p jsonb) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _offering constant offering := offering_manager_scope(p_offering, p ->> 'role');
    _user constant uuid := member_user(p ->> 'user');
    _expires constant timestamptz := p ->> 'expiration_time';
    _id uuid;
BEGIN
    PERFORM member_check_expiry(_user, _expires);
    UPDATE offering_manager SET removed_date = engine_now() WHERE user_id = _user AND offering_id = p_offering AND removed_date IS NULL AND expires_date <= engine_now();
    INSERT INTO offering_manager (offering_id, user_id, role, expires_date) VALUES (_offering.id, _user, p ->> 'role', _expires) ON CONFLICT DO NOTHING RETURNING id INTO _id;
    IF _id IS NULL THEN
        PERFORM refuse_field('PV409', 'non_field_errors', 'User has already the same role in this scope.', _user::text, 'change its expiration time');
    END IF;
    RETURN _id;
END $$;
COMMENT ON FUNCTION offering_manager_add(uuid, jsonb) IS 'Has a user manage an offering: user, role (offering_manager), expiration_time.';

CREATE OR REPLACE FUNCTION offering_manager_change(p_offering uuid, p jsonb) RETURNS timestamptz
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _offering constant offering := offering_manager_scope(p_offering, p ->> 'role');
    _user constant uuid := member_user(p ->> 'user');
    _expires constant timestamptz := p ->> 'expiration_time';
BEGIN
    PERFORM member_check_expiry(_user, _expires);
    UPDATE offering_manager SET expires_date = _expires WHERE user_id = _user AND offering_id = _offering.id AND role = p ->> 'role' AND removed_date IS NULL;
    IF NOT FOUND THEN
        PERFORM refuse_field('PV422', 'non_field_errors', 'User does not have this role in this scope.', _user::text, 'grant it first');
    END IF;
    RETURN _expires;
END $$;
COMMENT ON FUNCTION offering_manager_change(uuid, jsonb) IS 'Changes when a role in an offering lapses: user, role, expiration_time (null: never).';

CREATE OR REPLACE FUNCTION offering_manager_remove(p_offering uuid, p jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _offering constant offering := offering_manager_scope(p_offering, p ->> 'role');
    _user constant uuid := member_user(p ->> 'user');
BEGIN
    PERFORM member_check_expiry(_user, NULL);
    UPDATE offering_manager SET removed_date = engine_now() WHERE user_id = _user AND offering_id = _offering.id AND role = p ->> 'role' AND removed_date IS NULL;
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION offering_manager_remove(uuid, jsonb) IS 'Revokes a role in an offering: user, role; false: the user had none.';
