-- Projects of allocators (orgs of kind project), their members, and the users that a federation's registry knows.

CREATE OR REPLACE FUNCTION project_create(p jsonb, p_key text DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _account constant uuid := COALESCE(account_named(p ->> 'customer'), CASE WHEN p ->> 'customer' IS NULL THEN caller_customer() END);
    _id constant uuid := new_id();
    _known order_idempotency;
BEGIN
    PERFORM check_fields('project', ARRAY[p], '{name}', '{"name": "string", "customer": "string|null", "description": "string|null", "backend_id": "string|null", "start_date": "string|null", "end_date": "string|null",
        "type": "string|null", "oecd_fos_2007_code": "string|null", "is_industry": "boolean"}');
    IF (caller_sees_all() OR _account = ANY (caller_accounts())) IS NOT TRUE OR _account IS NULL THEN
        PERFORM refuse_field('PV404', 'customer', 'customer not found', p ->> 'customer', 'name your own');
    END IF;
    PERFORM caller_require('org.create', _account, NULL, 'customer', p ->> 'customer');
    IF p_key IS NOT NULL THEN
        INSERT INTO order_idempotency AS k (tenant_customer_id, key, request_hash, order_id) VALUES (_account, p_key, md5('project ' || p::text), _id)
        ON CONFLICT (tenant_customer_id, key) DO UPDATE SET key = k.key RETURNING * INTO _known;
        IF _known.request_hash <> md5('project ' || p::text) THEN
            PERFORM refuse('PV409', 'the idempotency key was used for another request', 'key ' || p_key, 'take a new key for a new request');
        ELSIF _known.order_id <> _id THEN
            RETURN _known.order_id;
        END IF;
    END IF;
    -- Names may repeat and be in any script, so the label does not stand on them alone.
    INSERT INTO org (id, tenant_customer_id, kind, name, slug) VALUES (_id, _account, 'project', p ->> 'name', concat_ws('-', nullif(label(p ->> 'name'), ''), right(_id::text, 12)));
    PERFORM project_write(_id, p);
    RETURN _id;
END $$;
COMMENT ON FUNCTION project_create(jsonb, text) IS 'Makes a project, or with the same key and request again gives the same: name, customer (else the caller''s), description, backend_id, start_date, end_date, type, oecd_fos_2007_code, is_industry.';

CREATE OR REPLACE FUNCTION project_write(p_id uuid, p jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _old project;
    _new project;
BEGIN
    SELECT * INTO _old FROM project WHERE id = p_id FOR NO KEY UPDATE;
    -- Clients send null for what they leave empty.
    _new := jsonb_populate_record(_old, (p - 'name' - 'customer') || CASE WHEN p -> 'description' = 'null' THEN '{"description": ""}'::jsonb ELSE '{}' END || CASE WHEN p -> 'backend_id' = 'null' THEN '{"backend_id": ""}'::jsonb ELSE '{}' END);
    IF _new.end_date < engine_now()::date AND _new.end_date IS DISTINCT FROM _old.end_date THEN
        PERFORM refuse_field('PV422', 'end_date', 'Cannot be earlier than the current date.', p ->> 'end_date', 'give today or a later day');
    ELSIF _new.end_date < _new.start_date THEN
        PERFORM refuse_field('PV422', 'end_date', 'End date cannot be earlier than start date.', p ->> 'end_date', 'put it off');
    END IF;
    PERFORM project_check_backend_id(_new) WHERE _new.backend_id NOT IN ('', _old.backend_id);
    UPDATE project SET description = _new.description, backend_id = _new.backend_id, start_date = _new.start_date, end_date = _new.end_date, type = _new.type, oecd_fos_2007_code = _new.oecd_fos_2007_code,
        is_industry = _new.is_industry, end_date_requested_by = CASE WHEN end_date IS DISTINCT FROM _new.end_date THEN caller_user() ELSE end_date_requested_by END,
        updated_date = engine_now(), updated_by = caller_name() WHERE id = p_id AND _old IS DISTINCT FROM _new;
    IF _new.end_date IS DISTINCT FROM _old.end_date THEN
        UPDATE allocation SET end_notice_days = NULL WHERE org_id = p_id AND end_notice_days IS NOT NULL AND deleted_date IS NULL;
    END IF;
    PERFORM allocation_order_advance(id) FROM allocation_order WHERE org_id = p_id AND state = 'pending_project';
END $$;
COMMENT ON FUNCTION project_write(uuid, jsonb) IS 'Stores what a project has beyond an org; orders that waited for its start go on.';

CREATE OR REPLACE FUNCTION project_check_backend_id(p_project project) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF setting_value('project_backend_id_unique') = '0' THEN
        RETURN;
    END IF;
    -- Those of a customer who name their projects at once do so one after the other.
    PERFORM FROM tenant_customer WHERE id = p_project.tenant_customer_id FOR NO KEY UPDATE;
    IF EXISTS (SELECT FROM project AS p JOIN org AS o ON o.id = p.id AND o.status = 'active' WHERE p.tenant_customer_id = p_project.tenant_customer_id AND p.backend_id = p_project.backend_id AND p.id <> p_project.id) THEN
        PERFORM refuse_field('PV409', 'backend_id', 'Project with this backend_id already exists.', p_project.backend_id, 'find it by its backend_id');
    END IF;
END $$;
COMMENT ON FUNCTION project_check_backend_id(project) IS 'Refuses the backend_id of another project of the customer, if the setting project_backend_id_unique says so.';

CREATE OR REPLACE FUNCTION project_for(p_id uuid, p_permission text) RETURNS org
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _org org;
BEGIN
    SELECT * INTO _org FROM org WHERE id = p_id AND kind = 'project' AND status = 'active';
    PERFORM caller_require(p_permission, _org.tenant_customer_id, _org.id, 'project', p_id::text);
    SELECT * INTO _org FROM org WHERE id = p_id FOR NO KEY UPDATE;
    RETURN _org;
END $$;
COMMENT ON FUNCTION project_for(uuid, text) IS 'A project in which the caller holds a right, locked.';

CREATE OR REPLACE FUNCTION project_change(p_id uuid, p jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _org constant org := project_for(p_id, 'org.change');
BEGIN
    PERFORM check_fields('project', ARRAY[p], '{}', '{"name": "string", "customer": "string|null", "description": "string|null", "backend_id": "string|null", "start_date": "string|null", "end_date": "string|null",
        "type": "string|null", "oecd_fos_2007_code": "string|null", "is_industry": "boolean"}');
    IF p ->> 'customer' IS NOT NULL AND account_named(p ->> 'customer') IS DISTINCT FROM _org.tenant_customer_id THEN
        PERFORM refuse_field('PV422', 'customer', 'The customer of a project cannot be changed.', p ->> 'customer', 'make another project');
    END IF;
    UPDATE org SET name = p ->> 'name' WHERE id = p_id AND name <> p ->> 'name';
    PERFORM project_write(p_id, p);
END $$;
COMMENT ON FUNCTION project_change(uuid, jsonb) IS 'Changes a project: what project_create takes but for the customer.';

CREATE OR REPLACE FUNCTION project_remove(p_id uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
BEGIN
    PERFORM project_for(p_id, 'org.remove');
    -- Orders that are just being accepted for it come first; those after find it removed.
    PERFORM FROM org WHERE id = p_id FOR UPDATE;
    IF EXISTS (SELECT FROM allocation WHERE org_id = p_id AND deleted_date IS NULL) THEN
        PERFORM refuse_field('PV409', '[]', 'Project contains active resources. Please terminate them first.', p_id::text, 'end its allocations');
    END IF;
    PERFORM org_remove(p_id);
END $$;
COMMENT ON FUNCTION project_remove(uuid) IS 'Removes a project all of whose allocations are terminated.';

-- Members ------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION member_user(p_user text) RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    -- Whom the registry knows may be named by everybody who was told the id.
    _id constant uuid := (SELECT u.id FROM app_user AS u WHERE u.id = uuid_of(p_user) AND u.removed_date IS NULL AND (user_is_seen(u.id) OR EXISTS (SELECT FROM remote_user AS r WHERE r.id = u.id)));
BEGIN
    IF _id IS NULL THEN
        PERFORM refuse_field('PV404', 'user', 'User is not found.', left(p_user, 254), 'map the CUID first, or name a user of your customer');
    END IF;
    RETURN _id;
END $$;
COMMENT ON FUNCTION member_user(text) IS 'A user who can be made a member: one the caller sees, or one of the federation''s registry.';

CREATE OR REPLACE FUNCTION member_scope(p_scope uuid, p_org OUT uuid, p_account OUT uuid)
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    SELECT id, tenant_customer_id INTO p_org, p_account FROM org WHERE id = p_scope AND kind = 'project' AND status = 'active';
    IF p_org IS NULL THEN
        p_account := account_named(p_scope::text);
    END IF;
    PERFORM caller_require('member.change', p_account, p_org, 'scope', p_scope::text);
END $$;
COMMENT ON FUNCTION member_scope(uuid) IS 'The project, or the account of the customer, in which the caller decides about members.';

CREATE OR REPLACE FUNCTION member_check(p_user uuid, p_role text, p_account uuid, p_org uuid, p_expires timestamptz) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM role WHERE name = p_role AND scope IN ('org', CASE WHEN p_org IS NULL THEN 'customer' END)) THEN
        PERFORM refuse_field('PV422', 'role', 'Role is not found.', p_role, 'SELECT * FROM v_role');
    END IF;
    PERFORM member_check_expiry(p_user, p_expires);
    PERFORM role_require(p_role, p_account, p_org);
END $$;
COMMENT ON FUNCTION member_check(uuid, text, uuid, uuid, timestamptz) IS 'Refuses to give or change a role that is none, one''s own, lapsed, or may more than the caller.';

CREATE OR REPLACE FUNCTION member_check_expiry(p_user uuid, p_expires timestamptz) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF p_user = caller_user() AND caller_platform() IS DISTINCT FROM 'all' THEN
        PERFORM refuse_field('PV422', 'non_field_errors', 'User can not manage own role.', p_user::text, 'ask somebody else who manages members');
    ELSIF p_expires <= engine_now() THEN
        PERFORM refuse_field('PV422', 'expiration_time', 'Role expiration time should be in the future.', p_expires::text, 'give a later time, or revoke it');
    END IF;
END $$;
COMMENT ON FUNCTION member_check_expiry(uuid, timestamptz) IS 'Refuses to give or change a role that is one''s own, or that has lapsed already.';

CREATE OR REPLACE FUNCTION member_add(p_scope uuid, p jsonb) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _scope constant record := member_scope(p_scope);
    _user constant uuid := member_user(p ->> 'user');
    _expires constant timestamptz := p ->> 'expiration_time';
    _id uuid;
BEGIN
    PERFORM member_check(_user, p ->> 'role', _scope.p_account, _scope.p_org, _expires);
    UPDATE membership SET state = 'removed' WHERE user_id = _user AND tenant_customer_id = _scope.p_account AND org_id IS NOT DISTINCT FROM _scope.p_org AND state <> 'removed' AND expires_date <= engine_now();
    IF (p ->> 'is_only')::boolean THEN
        -- Those who give roles to a user in the old way, one only, do so one after the other.
        PERFORM FROM org WHERE id = _scope.p_org FOR NO KEY UPDATE;
        IF EXISTS (SELECT FROM membership WHERE user_id = _user AND org_id = _scope.p_org AND state <> 'removed') THEN
            PERFORM refuse_field('PV409', 'non_field_errors', 'The fields project and user must make a unique set.', _user::text, 'change or revoke the role that is there');
        END IF;
    END IF;
    INSERT INTO membership (user_id, tenant_customer_id, org_id, role, expires_date) VALUES (_user, _scope.p_account, _scope.p_org, p ->> 'role', _expires) ON CONFLICT DO NOTHING RETURNING id INTO _id;
    IF _id IS NULL THEN
        PERFORM refuse_field('PV409', 'non_field_errors', 'User has already the same role in this scope.', _user::text, 'change its expiration time');
    END IF;
    RETURN _id;
END $$;
COMMENT ON FUNCTION member_add(uuid, jsonb) IS 'Gives a user a role in a project or a customer: user, role, expiration_time; is_only: refuses one who has another there.';

CREATE OR REPLACE FUNCTION member_change(p_scope uuid, p jsonb) RETURNS timestamptz
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _scope constant record := member_scope(p_scope);
    _user constant uuid := member_user(p ->> 'user');
    _expires constant timestamptz := p ->> 'expiration_time';
BEGIN
    PERFORM member_check(_user, p ->> 'role', _scope.p_account, _scope.p_org, _expires);
    UPDATE membership SET expires_date = _expires WHERE user_id = _user AND tenant_customer_id = _scope.p_account AND org_id IS NOT DISTINCT FROM _scope.p_org AND role = p ->> 'role' AND state = 'active';
    IF NOT FOUND THEN
        PERFORM refuse_field('PV422', 'non_field_errors', 'User does not have this role in this scope.', _user::text, 'grant it first');
    END IF;
    RETURN _expires;
END $$;
COMMENT ON FUNCTION member_change(uuid, jsonb) IS 'Changes when a role lapses: user, role, expiration_time (null: never).';

CREATE OR REPLACE FUNCTION member_remove(p_scope uuid, p jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _scope constant record := member_scope(p_scope);
    _user constant uuid := member_user(p ->> 'user');
BEGIN
    PERFORM member_check(_user, p ->> 'role', _scope.p_account, _scope.p_org, NULL);
    UPDATE membership SET state = 'removed' WHERE user_id = _user AND tenant_customer_id = _scope.p_account AND org_id IS NOT DISTINCT FROM _scope.p_org AND role = p ->> 'role' AND state <> 'removed';
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION member_remove(uuid, jsonb) IS 'Revokes a role: user, role; false: the user had none.';

-- Users --------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION user_identify(p_cuid text, p_attributes jsonb) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _name constant text := nullif(left(trim(COALESCE(p_attributes ->> 'name', concat_ws(' ', p_attributes ->> 'given_name', p_attributes ->> 'family_name'))), 255), '');
    _email constant text := (SELECT e FROM (SELECT COALESCE(p_attributes ->> 'email', p_attributes -> 'mail' ->> 0, p_attributes ->> 'mail') AS e) AS x WHERE e LIKE '%@%' AND length(e) <= 254);
    _id uuid;
BEGIN
    PERFORM user_identify_check();
    -- Six who ask for the same at once wait for the first.
    INSERT INTO app_user (username, name, email, verified_date) VALUES (p_cuid, _name, _email, engine_now()) ON CONFLICT (lower(username)) DO NOTHING RETURNING id INTO _id;
    IF _id IS NOT NULL THEN
        INSERT INTO remote_user (id, cuid, attributes) VALUES (_id, p_cuid, p_attributes);
        RETURN _id;
    END IF;
    UPDATE remote_user SET attributes = p_attributes, refreshed_date = engine_now() WHERE cuid = p_cuid RETURNING id INTO _id;
    IF _id IS NULL THEN
        PERFORM refuse_field('PV409', 'cuid', 'the name is that of another user', p_cuid, 'ask the operators to rename that one');
    END IF;
    UPDATE app_user SET name = _name, email = _email, verified_date = COALESCE(verified_date, engine_now()) WHERE id = _id AND removed_date IS NULL AND (name, email) IS DISTINCT FROM (_name, _email);
    RETURN _id;
END $$;
COMMENT ON FUNCTION user_identify(text, jsonb) IS 'The user of a name (CUID) that the federation''s registry knows, made when first asked for; name and address are what the registry now tells (name, given_name, family_name, email, mail).';

CREATE OR REPLACE FUNCTION user_identify_check() RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: reads the flags of the user.
BEGIN
    IF caller_platform() IS DISTINCT FROM 'all' AND NOT EXISTS (SELECT FROM app_user WHERE id = caller_user() AND is_identity_manager AND status = 'active') THEN
        PERFORM refuse('PV403', 'the right to do this is not held', 'user.identify', 'ask for is_identity_manager');
    END IF;
END $$;
COMMENT ON FUNCTION user_identify_check() IS 'Refuses those who are not staff or identity managers.';

CREATE OR REPLACE FUNCTION user_identify_local(p_cuid text, OUT is_there boolean, OUT attributes jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
BEGIN
    PERFORM user_identify_check();
    is_there := EXISTS (SELECT FROM registry_person);
    attributes := (SELECT r.attributes FROM registry_person AS r WHERE r.cuid = p_cuid);
END $$;
COMMENT ON FUNCTION user_identify_local(text) IS 'What the local registry tells of a name (NULL: it knows nobody of that name), and whether there is one.';

-- Log-in tokens ------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION login_token_issue(p_user uuid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: tokens have no grants.
DECLARE
    _token constant text := random_secret(40);
BEGIN
    IF NOT session_user_is_live(p_user) THEN
        PERFORM refuse('PV401', 'the log-in is not accepted', p_user::text, 'ask the operators');
    END IF;
    INSERT INTO login_token (token_hash, user_id, expires_date) VALUES (sha256(convert_to(_token, 'UTF8')), p_user, engine_now() + make_interval(days => setting_value('login_token_days')::int));
    DELETE FROM login_attempt AS a USING app_user AS u WHERE u.id = p_user AND a.kind IN ('token', 'user') AND a.key = lower(u.username);
    PERFORM session_log(p_user, 'logged in with a password for an opaque token');
    RETURN _token;
END $$;
COMMENT ON FUNCTION login_token_issue(uuid) IS 'A token of 40 hex digits for a user whose password was right; shown this once.';

CREATE OR REPLACE FUNCTION login_token_caller(p_hash bytea) RETURNS TABLE (user_id uuid, username text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the API must recognise a token before it has a caller.
#variable_conflict use_column
DECLARE
    _days constant interval := make_interval(days => setting_value('login_token_days')::int);
    _token login_token;
BEGIN
    SELECT t.* INTO _token FROM login_token AS t WHERE t.token_hash = p_hash AND t.expires_date > engine_now();
    -- Put off once a day and not with every request.
    IF _token.expires_date < engine_now() + _days - interval '1 day' THEN
        UPDATE login_token AS t SET expires_date = engine_now() + _days WHERE t.token_hash = p_hash;
    END IF;
    RETURN QUERY SELECT u.id, u.username FROM app_user AS u WHERE u.id = _token.user_id AND session_user_is_live(u.id);
END $$;
COMMENT ON FUNCTION login_token_caller(bytea) IS 'Whose log-in token this is, by its SHA-256; no row: unknown, expired, or of somebody who may not log in any more.';

CREATE OR REPLACE FUNCTION login_token_end(p_user uuid) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: tokens have no grants.
DECLARE
    _count int;
BEGIN
    DELETE FROM login_token WHERE user_id = p_user;
    GET DIAGNOSTICS _count = ROW_COUNT;
    RETURN _count;
END $$;
COMMENT ON FUNCTION login_token_end(uuid) IS 'Ends all log-in tokens of a user; returns how many.';
