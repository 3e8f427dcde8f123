-- Customers, orgs, spaces, users and what they may do.
--
-- caller_require() is asked before anything changes. Each noun has <noun>_create, <noun>_change and <noun>_remove, which take
-- what the client sent as one object, check its fields, and change the row, found by <noun>_for, only if it is still the
-- version the client knows. Names are made and things counted by triggers, so that it holds for rows inserted in psql too;
-- sweep_tenancy() ends what has lapsed and removes customers for good.

-- Who may ------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION caller_may(p_permission text, p_tenant_customer uuid, p_org uuid DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: reads memberships that the caller may not see.
DECLARE
    _is_reading constant boolean := p_permission IN ('read', 'audit.read', 'account.read');
    _platform constant text := caller_platform();
BEGIN
    -- Acting for one account, or one org, the caller holds no rights outside of it.
    IF p_tenant_customer IS DISTINCT FROM COALESCE(caller_setting('caller_customer'), p_tenant_customer) OR p_org IS DISTINCT FROM COALESCE(caller_setting('caller_org'), p_org) THEN
        RETURN false;
    ELSIF _platform = 'all' OR (_platform = 'read' AND _is_reading) THEN
        RETURN true;
    ELSIF session_user <> 'provision_api' THEN
        RETURN EXISTS (SELECT FROM integration_login WHERE login = session_user AND tenant_customer_id = p_tenant_customer AND (org_id IS NULL OR org_id = p_org));
    END IF;
    RETURN EXISTS (
        SELECT FROM membership_live(caller_user()) AS m JOIN role_permission AS r ON r.role = m.role AND r.permission = p_permission
        JOIN tenant_customer AS a ON a.id = m.tenant_customer_id JOIN customer AS c ON c.id = a.customer_id
        WHERE m.tenant_customer_id = p_tenant_customer AND (m.org_id IS NULL OR m.org_id = p_org) AND (_is_reading OR c.status <> 'suspended'));
END $$;
COMMENT ON FUNCTION caller_may(text, uuid, uuid) IS 'Whether the caller holds a right in an org, or (org NULL) in the whole of a customer. Log-ins of other systems hold all rights in their own; of a suspended customer nobody holds more than reading.';

CREATE OR REPLACE FUNCTION caller_require(p_permission text, p_tenant_customer uuid, p_org uuid DEFAULT NULL, p_what text DEFAULT 'account', p_which text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF p_tenant_customer IS NOT NULL AND caller_may(p_permission, p_tenant_customer, p_org) THEN
        RETURN;
    ELSIF caller_may('read', p_tenant_customer, p_org) AND p_tenant_customer IS NOT NULL OR (p_org IS NULL AND p_tenant_customer = ANY (caller_accounts())) THEN
        PERFORM refuse('PV403', 'the right to do this is not held', p_permission, 'ask an owner; v_role shows who may what');
    END IF;
    PERFORM refuse('PV404', p_what || ' not found', COALESCE(p_which, p_org::text, p_tenant_customer::text), 'name one of your own');
END $$;
COMMENT ON FUNCTION caller_require(text, uuid, uuid, text, text) IS 'Refuses a caller without the right: as not found if the thing is not the caller''s to see, else as not allowed. p_what and p_which are for the text.';

CREATE OR REPLACE FUNCTION caller_scope(p_user uuid, p_account text, p_org text, p_limit_customer uuid DEFAULT NULL, p_limit_org uuid DEFAULT NULL) RETURNS TABLE (tenant_customer_id uuid, org_id uuid)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: decides for whom a request acts before there is a caller.
#variable_conflict use_column
DECLARE
    _is_platform constant boolean := EXISTS (SELECT FROM app_user WHERE id = p_user AND status = 'active' AND (is_platform_admin OR is_staff OR is_support));
    _rows record;
BEGIN
    -- What the user reaches, less what the key or token is not for, less what was not named. An org that is named is one row.
    SELECT count(DISTINCT r.account) AS accounts, count(DISTINCT r.org) AS orgs, bool_or(r.org IS NULL) AS is_whole, min(r.account::text)::uuid AS account, min(r.org::text)::uuid AS org INTO _rows
    FROM (
        SELECT a.id AS account, COALESCE(o.id, m.org_id, p_limit_org) AS org
        FROM (SELECT l.tenant_customer_id, l.org_id FROM membership_live(p_user) AS l WHERE NOT _is_platform
            -- Who manages an offering acts for its provider too, if only in that.
            UNION ALL SELECT f.provider_account_id, NULL FROM offering_manager AS g JOIN offering AS f ON f.id = g.offering_id
            WHERE g.user_id = p_user AND g.removed_date IS NULL AND (g.expires_date IS NULL OR g.expires_date > engine_now()) AND NOT _is_platform AND p_org IS NULL
            UNION ALL SELECT id, NULL FROM tenant_customer WHERE _is_platform AND COALESCE(p_account, p_org, p_limit_customer::text) IS NOT NULL) AS m
        JOIN tenant_customer AS a ON a.id = m.tenant_customer_id JOIN customer AS c ON c.id = a.customer_id
        LEFT JOIN org AS o ON o.tenant_customer_id = a.id AND o.status = 'active' AND p_org IN (o.slug, o.id::text) AND (m.org_id IS NULL OR m.org_id = o.id)
        WHERE (p_account IS NULL OR p_account IN (c.cid, a.id::text)) AND (p_org IS NULL OR o.id IS NOT NULL)
            AND (p_limit_customer IS NULL OR a.id = p_limit_customer) AND (p_limit_org IS NULL OR p_limit_org = COALESCE(o.id, m.org_id, p_limit_org))) AS r;
    IF _rows.accounts = 0 AND COALESCE(p_account, p_org) IS NOT NULL THEN
        PERFORM refuse('PV404', CASE WHEN p_org IS NULL THEN 'account not found' ELSE 'org not found' END, left(COALESCE(p_org, p_account), 100), 'name one of your own');
    ELSIF _rows.accounts = 1 AND _rows.is_whole THEN
        RETURN QUERY SELECT _rows.account, NULL::uuid;
    ELSIF _rows.accounts = 1 AND _rows.orgs = 1 THEN
        RETURN QUERY SELECT _rows.account, _rows.org;
    ELSE
        RETURN QUERY SELECT NULL::uuid, NULL::uuid;
    END IF;
END $$;
COMMENT ON FUNCTION caller_scope(uuid, text, text, uuid, uuid) IS 'For which account and org a request acts: those that are named (cid or id, slug or id) within what the key or token is limited to, else the only one the user has; several and none named: NULL.';

CREATE OR REPLACE FUNCTION role_require(p_role text, p_tenant_customer uuid, p_org uuid) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM role WHERE name = p_role AND (scope = 'org' OR (scope = 'customer' AND p_org IS NULL))) THEN
        PERFORM refuse('PV422', 'there is no such role here', p_role, 'SELECT * FROM v_role');
    ELSIF EXISTS (SELECT FROM role_permission WHERE role = p_role AND NOT caller_may(permission, p_tenant_customer, p_org)) THEN
        PERFORM refuse('PV403', 'nobody decides about a role that may more than himself', p_role, 'ask an owner');
    END IF;
END $$;
COMMENT ON FUNCTION role_require(text, uuid, uuid) IS 'Refuses to give, change or take a role that has a right the caller does not hold there.';

CREATE OR REPLACE FUNCTION check_version(p_what text, p_version bigint, p_known bigint) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF p_known <> p_version THEN
        PERFORM refuse('PV412', format('the %s was changed meanwhile', p_what), format('version %s was given, it is %s', p_known, p_version), 'read it again and decide anew');
    END IF;
END $$;
COMMENT ON FUNCTION check_version(text, bigint, bigint) IS 'Refuses a change of a row that is not the version the client knows any more; NULL: the client does not mind.';

CREATE OR REPLACE FUNCTION caller_known() RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: reads the user.
DECLARE
    _user app_user;
BEGIN
    SELECT * INTO _user FROM app_user WHERE id = caller_user() AND status = 'active';
    IF _user.id IS NULL THEN
        PERFORM refuse('PV403', 'only users may do this', caller_name(), 'log in as a user');
    ELSIF _user.verified_date IS NULL AND _user.email IS NOT NULL THEN
        PERFORM refuse('PV403', 'the e-mail address is not verified yet', _user.username, 'verify it with the code that was sent');
    END IF;
    RETURN _user.id;
END $$;
COMMENT ON FUNCTION caller_known() IS 'The user who asks, if he may act for himself: active, and with a verified address.';

-- Rows on their way in and out ---------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION tenancy_touch() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    NEW.version := OLD.version + 1;
    NEW.updated_date := engine_now();
    NEW.updated_by := caller_name();
    RETURN NEW;
END $$;
COMMENT ON FUNCTION tenancy_touch() IS 'Every change raises the version and notes who and when.';

CREATE OR REPLACE FUNCTION uuid_of(p_text text) RETURNS uuid
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN CASE WHEN p_text ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' THEN p_text::uuid END;
END $$;
COMMENT ON FUNCTION uuid_of(text) IS 'The id, if it is one and not a name.';

CREATE OR REPLACE FUNCTION random_secret(p_length int DEFAULT 64) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN left(encode(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 'hex'), p_length);
END $$;
COMMENT ON FUNCTION random_secret(int) IS 'Hex digits, up to 64, that nobody guesses: 122 random bits from each of three ids of the server''s cryptographic source.';

CREATE OR REPLACE FUNCTION label(p_name text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN trim('-' FROM left(trim('-' FROM regexp_replace(lower(normalize(p_name, NFKD)), '[^a-z0-9]+', '-', 'g')), 40));
END $$;
COMMENT ON FUNCTION label(text) IS 'A name as a DNS label; empty if nothing of it can be.';

CREATE OR REPLACE FUNCTION label_lock() RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM FROM engine_lock WHERE name = 'label' FOR UPDATE;
END $$;
COMMENT ON FUNCTION label_lock() IS 'Lets those who make labels, customers'' and orgs'', do so one after the other: each sees which are taken.';

CREATE OR REPLACE FUNCTION customer_cid(p_name text) RETURNS text
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _letters constant text := left(COALESCE(nullif(regexp_replace(lower(normalize(p_name, NFKD)), '[^a-z]', '', 'g'), ''), 'customer'), 30);
    _cid text;
BEGIN
    PERFORM label_lock();
    FOR _n IN 3 .. 2147483647 LOOP
        _cid := CASE WHEN _n <= greatest(length(_letters), 3) THEN left(_letters, _n) ELSE _letters || (_n - greatest(length(_letters), 3)) END;
        EXIT WHEN NOT EXISTS (SELECT FROM customer WHERE cid = _cid) AND NOT EXISTS (SELECT FROM org WHERE slug = _cid AND status = 'active');
    END LOOP;
    RETURN _cid;
END $$;
COMMENT ON FUNCTION customer_cid(text) IS 'A free cid for a customer of that name, kept for this transaction: its first three letters, more until it is free, then digits.';

CREATE OR REPLACE FUNCTION customer_begin() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.cid := COALESCE(NEW.cid, customer_cid(NEW.name));
    ELSIF NEW.cid <> OLD.cid THEN
        PERFORM refuse('PV422', 'the cid of a customer never changes', OLD.cid, 'change its name');
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION customer_begin() IS 'Gives a new customer its cid and keeps it.';

CREATE OR REPLACE FUNCTION org_slug(p_account uuid, p_kind text, p_name text) RETURNS text
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _cid constant text := (SELECT c.cid FROM tenant_customer AS a JOIN customer AS c ON c.id = a.customer_id WHERE a.id = p_account);
    _label constant text := label(p_name);
    _slug text;
BEGIN
    IF _label = '' THEN
        PERFORM refuse('PV422', 'the name cannot be made a DNS label', p_name, 'use a letter or digit, or give a slug');
    ELSIF p_kind = 'organization' THEN
        RETURN _label;
    ELSIF p_kind = 'hosting' AND p_name = 'default' THEN
        RETURN _cid;
    END IF;
    PERFORM label_lock();
    FOR _n IN 1 .. 2147483647 LOOP
        _slug := left(_label, 62 - length(_cid) - CASE _n WHEN 1 THEN 0 ELSE length(_n::text) END) || CASE _n WHEN 1 THEN '' ELSE _n::text END || '-' || _cid;
        EXIT WHEN NOT EXISTS (SELECT FROM org WHERE slug = _slug AND status = 'active');
    END LOOP;
    RETURN _slug;
END $$;
COMMENT ON FUNCTION org_slug(uuid, text, text) IS 'The slug of a new org: an organization''s name, the cid for a customer''s default, <name>-<cid> for others.';

CREATE OR REPLACE FUNCTION org_begin() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF (NEW.slug, NEW.kind, NEW.tenant_customer_id) IS DISTINCT FROM (OLD.slug, OLD.kind, OLD.tenant_customer_id) THEN
            PERFORM refuse('PV422', 'slug, kind and customer of an org never change', OLD.slug, 'make another org');
        END IF;
        RETURN NEW;
    END IF;
    NEW.name := COALESCE(NEW.name, NEW.slug);
    NEW.slug := COALESCE(NEW.slug, org_slug(NEW.tenant_customer_id, NEW.kind, NEW.name));
    PERFORM label_lock();
    IF EXISTS (SELECT FROM customer AS c JOIN tenant_customer AS a ON a.customer_id = c.id WHERE c.cid = NEW.slug AND a.id <> NEW.tenant_customer_id) THEN
        PERFORM refuse('PV409', 'the name of the org is taken', NEW.slug, 'take another');
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION org_begin() IS 'Gives a new org its name and slug, never one that is kept for the default org of another customer, and keeps them.';

CREATE OR REPLACE FUNCTION membership_begin() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    NEW.org_kind := (SELECT kind FROM org WHERE id = NEW.org_id);
    IF NOT EXISTS (SELECT FROM role WHERE name = NEW.role AND (scope = 'org' OR (scope = 'customer' AND NEW.org_id IS NULL))) THEN
        PERFORM refuse('PV422', 'there is no such role here', NEW.role, 'SELECT * FROM v_role');
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION membership_begin() IS 'Notes the kind of a membership''s org, and refuses a role that cannot be held there.';

CREATE OR REPLACE FUNCTION membership_owner() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    -- What has lapsed has lapsed, and with an org or a customer all memberships end.
    IF OLD.org_kind = 'project' OR OLD.expires_date <= engine_now() OR (SELECT is_technical FROM app_user WHERE id = OLD.user_id)
        OR EXISTS (SELECT FROM org WHERE id = OLD.org_id AND status = 'removed')
        OR EXISTS (SELECT FROM tenant_customer AS a JOIN customer AS c ON c.id = a.customer_id WHERE a.id = OLD.tenant_customer_id AND c.status = 'to_be_removed') THEN
        RETURN NEW;
    END IF;
    -- Two owners who leave at once leave one after the other.
    PERFORM FROM org WHERE id = OLD.org_id FOR NO KEY UPDATE;
    PERFORM FROM tenant_customer WHERE id = OLD.tenant_customer_id AND OLD.org_id IS NULL FOR NO KEY UPDATE;
    IF NOT EXISTS (
        SELECT FROM membership AS m JOIN app_user AS u ON u.id = m.user_id AND u.status = 'active' AND NOT u.is_technical
        WHERE m.tenant_customer_id = OLD.tenant_customer_id AND m.org_id IS NOT DISTINCT FROM OLD.org_id AND m.id <> OLD.id
            AND m.role = 'owner' AND m.state = 'active' AND (m.expires_date IS NULL OR m.expires_date > engine_now())) THEN
        PERFORM refuse('PV409', 'the last owner stays', OLD.id::text, 'make somebody else an owner first');
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION membership_owner() IS 'Refuses to let the last owner of an org or a customer leave, be deactivated or be given another role; a program does not count as one.';

CREATE OR REPLACE FUNCTION tenancy_count() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: use is written only through here.
DECLARE
    _row constant jsonb := to_jsonb(COALESCE(NEW, OLD));
    _was constant boolean := TG_OP <> 'INSERT' AND tenancy_is_there(to_jsonb(OLD));
    _is constant boolean := TG_OP <> 'DELETE' AND tenancy_is_there(to_jsonb(NEW));
    _org constant uuid := CASE WHEN TG_ARGV[0] <> 'org' THEN _row ->> 'org_id' END;
BEGIN
    IF _is AND NOT _was THEN
        PERFORM quota_take(TG_ARGV[0], class.log_account(TG_TABLE_NAME, _row), _org, NULL, 1);
    ELSIF _was AND NOT _is THEN
        PERFORM quota_give(TG_ARGV[0], class.log_account(TG_TABLE_NAME, _row), _org, NULL, 1);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION tenancy_count() IS 'Counts a new row against the quotas and a removed one off; its argument is the resource.';

CREATE OR REPLACE FUNCTION tenancy_is_there(p_row jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN p_row ->> 'status' IS DISTINCT FROM 'removed' AND p_row ->> 'removed_date' IS NULL AND p_row ->> 'revoked_date' IS NULL;
END $$;
COMMENT ON FUNCTION tenancy_is_there(jsonb) IS 'Whether a row is not removed or revoked.';

SELECT class.replace_trigger(t || '_touch_tg', t, 'BEFORE UPDATE ON {table} FOR EACH ROW', 'tenancy_touch()') FROM unnest('{customer,org,space,app_user,membership,invite_code,api_key}'::text[]) AS t;
SELECT class.replace_trigger(t || '_begin_name_tg', t, 'BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW', t || '_begin()') FROM unnest('{customer,org}'::text[]) AS t;
SELECT class.replace_trigger('membership_begin_role_tg', 'membership', 'BEFORE INSERT OR UPDATE OF role ON {table} FOR EACH ROW', 'membership_begin()');
SELECT class.replace_trigger('membership_owner_tg', 'membership', 'BEFORE UPDATE ON {table} FOR EACH ROW WHEN (OLD.role = ''owner'' AND OLD.state = ''active'' AND (NEW.role <> ''owner'' OR NEW.state <> ''active'' OR NEW.expires_date IS NOT NULL))', 'membership_owner()');
SELECT class.replace_trigger(t || '_count_tg', t, 'AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW', format('tenancy_count(%L)', r))
FROM (VALUES ('org', 'org'), ('space', 'space'), ('app_user', 'user'), ('api_key', 'api_key')) AS x (t, r);

-- Quota --------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION quota_maximum(p_scope text, p_id uuid, p_resource text) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _plan constant text := CASE p_scope
        WHEN 'customer' THEN (SELECT c.quota_plan FROM tenant_customer AS a JOIN customer AS c ON c.id = a.customer_id WHERE a.id = p_id)
        WHEN 'org' THEN (SELECT quota_plan FROM org WHERE id = p_id)
        ELSE (SELECT quota_plan FROM space WHERE id = p_id) END;
BEGIN
    RETURN COALESCE((SELECT maximum FROM quota_plan_limit WHERE plan = _plan AND resource = p_resource), -1);
END $$;
COMMENT ON FUNCTION quota_maximum(text, uuid, text) IS 'How many of a resource an account, an org or a space may have; -1: no limit.';

CREATE OR REPLACE FUNCTION quota_take(p_resource text, p_tenant_customer uuid, p_org uuid, p_space uuid, p_count bigint DEFAULT 1) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: use is written only through here.
DECLARE
    _part record;
    _used bigint;
BEGIN
    -- From the widest to the narrowest, so that nobody waits in a circle. The row's lock lets two who want the last take it in turn.
    FOR _part IN SELECT * FROM (VALUES ('customer', p_tenant_customer, NULL), ('org', p_org, p_org), ('space', p_space, p_org)) AS s (scope, id, org) WHERE id IS NOT NULL LOOP
        INSERT INTO quota_use AS q (scope, scope_id, resource, tenant_customer_id, org_id, used)
        VALUES (_part.scope, _part.id, p_resource, p_tenant_customer, _part.org, p_count)
        ON CONFLICT (scope, scope_id, resource) DO UPDATE SET used = q.used + p_count RETURNING used INTO _used;
        IF _used > quota_maximum(_part.scope, _part.id, p_resource) AND quota_maximum(_part.scope, _part.id, p_resource) >= 0 THEN
            PERFORM refuse('PV409', format('the quota of the %s is used up', _part.scope), format('%s: %s of %s are in use', p_resource, _used - p_count, quota_maximum(_part.scope, _part.id, p_resource)), 'remove some, or ask for a larger plan');
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION quota_take(text, uuid, uuid, uuid, bigint) IS 'Raises the use of a resource by an account, and by an org and a space of it if given, or refuses; in the transaction that makes the thing.';

CREATE OR REPLACE FUNCTION quota_give(p_resource text, p_tenant_customer uuid, p_org uuid, p_space uuid, p_count bigint DEFAULT 1) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: use is written only through here.
DECLARE
    _part record;
BEGIN
    FOR _part IN SELECT * FROM (VALUES ('customer', p_tenant_customer), ('org', p_org), ('space', p_space)) AS s (scope, id) WHERE id IS NOT NULL LOOP
        UPDATE quota_use SET used = greatest(used - p_count, 0) WHERE scope = _part.scope AND scope_id = _part.id AND resource = p_resource;
    END LOOP;
END $$;
COMMENT ON FUNCTION quota_give(text, uuid, uuid, uuid, bigint) IS 'Lowers what quota_take() raised; in the transaction that removes the thing.';

CREATE OR REPLACE FUNCTION quota_change(p_scope text, p_scope_id uuid, p_plan text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _account uuid;
    _org uuid;
BEGIN
    IF p_scope NOT IN ('customer', 'org', 'space') THEN
        PERFORM refuse('PV400', 'there is no such scope', p_scope, 'customer, org or space');
    END IF;
    -- Nobody decides about his own: the operators about customers', a customer's owner about orgs', an org's about spaces'.
    SELECT s.account, s.org INTO _account, _org FROM (
        SELECT 'customer' AS scope, id, id AS account, NULL::uuid AS org FROM tenant_customer
        UNION ALL SELECT 'org', id, tenant_customer_id, id FROM org WHERE status = 'active'
        UNION ALL SELECT 'space', id, tenant_customer_id, org_id FROM space WHERE status = 'active') AS s WHERE s.scope = p_scope AND s.id = p_scope_id;
    PERFORM caller_require('read', _account, _org, p_scope, p_scope_id::text);
    IF p_scope = 'customer' AND caller_platform() IS DISTINCT FROM 'all' THEN
        PERFORM refuse('PV403', 'the right to do this is not held', 'quota.change', 'ask the operators');
    END IF;
    PERFORM caller_require('quota.change', _account, CASE WHEN p_scope = 'space' THEN _org END);
    IF NOT EXISTS (SELECT FROM quota_plan WHERE name = p_plan) THEN
        PERFORM refuse('PV422', 'there is no such quota plan', p_plan, (SELECT 'known are ' || string_agg(name, ', ' ORDER BY name) FROM quota_plan));
    END IF;
    UPDATE customer SET quota_plan = p_plan WHERE p_scope = 'customer' AND id = (SELECT customer_id FROM tenant_customer WHERE id = p_scope_id);
    UPDATE org SET quota_plan = p_plan WHERE p_scope = 'org' AND id = p_scope_id;
    UPDATE space SET quota_plan = p_plan WHERE p_scope = 'space' AND id = p_scope_id;
END $$;
COMMENT ON FUNCTION quota_change(text, uuid, text) IS 'Puts a customer''s account, an org or a space under another quota plan; what is there stays.';

-- Accreditations -----------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION accreditation_for(p_tenant_customer uuid, p_name text, p_providers text[]) RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _ids uuid[];
    _idle text;
    _several text;
BEGIN
    -- A desk where people work is taken only if it is named or there is nothing else.
    SELECT array_agg(a.id ORDER BY a.provider = 'manual', a.name) FILTER (WHERE a.is_active),
        string_agg(a.name, ', ' ORDER BY a.name) FILTER (WHERE NOT a.is_active AND (p_name IS NOT NULL OR a.provider <> 'manual')),
        CASE WHEN count(*) FILTER (WHERE a.is_active AND a.provider <> 'manual') > 1 THEN string_agg(a.name, ', ' ORDER BY a.name) FILTER (WHERE a.is_active) END
    INTO _ids, _idle, _several
    FROM tenant_customer AS c JOIN accreditation AS a ON a.tenant_id = c.tenant_id
    WHERE c.id = p_tenant_customer AND a.provider = ANY (p_providers) AND (p_name IS NULL OR a.name = p_name);
    IF _several IS NOT NULL THEN
        PERFORM refuse('PV422', 'several accreditations could do it', _several, 'name one of them in accreditation');
    ELSIF _idle IS NOT NULL AND (_ids IS NULL OR (SELECT provider = 'manual' FROM accreditation WHERE id = _ids[1])) THEN
        PERFORM refuse('PV409', 'the accreditation is not active', _idle, 'wait until it is active again, or name another one in accreditation');
    ELSIF _ids IS NULL THEN
        PERFORM refuse('PV404', 'accreditation not found', COALESCE(p_name, 'none at ' || array_to_string(p_providers, ', ')), 'name an active accreditation of your tenant');
    END IF;
    RETURN _ids[1];
END $$;
COMMENT ON FUNCTION accreditation_for(uuid, text, text[]) IS 'The accreditation of a customer''s tenant with that name, or the only one at these providers.';

CREATE OR REPLACE FUNCTION accreditation_scheduled() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: whoever adds an accreditation need not be allowed to write the schedule.
BEGIN
    INSERT INTO schedule (name, job_type, accreditation_id, every, next_date)
    SELECT 'reconcile ' || a.id, 'reconcile', a.id, interval '1 hour', engine_now() + interval '1 hour' FROM new_rows AS a WHERE a.provider <> 'manual'
    UNION ALL
    SELECT 'registry poll ' || a.id, 'registry_poll', a.id, e.every, engine_now() + e.every
    FROM new_rows AS a CROSS JOIN LATERAL (SELECT make_interval(secs => setting_value('registry_poll_seconds')::int) AS every) AS e WHERE a.provider = 'epp';
    RETURN NULL;
END $$;
COMMENT ON FUNCTION accreditation_scheduled() IS 'Every accreditation is reconciled once an hour, and the message queue of a registry read every registry_poll_seconds.';
SELECT class.replace_trigger('accreditation_scheduled_tg', 'accreditation', 'AFTER INSERT ON {table} REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT', 'accreditation_scheduled()');

CREATE OR REPLACE FUNCTION accreditation_queued() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: whoever adds an accreditation need not be allowed to write the queue.
BEGIN
    INSERT INTO job_lane (lane, priority) SELECT a.id, p FROM new_rows AS a CROSS JOIN generate_series(0, 9) AS p;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION accreditation_queued() IS 'Every accreditation has a lane for each priority. Made by the first job of each, a lane would make all others wait for that job''s transaction.';
SELECT class.replace_trigger('accreditation_queued_tg', 'accreditation', 'AFTER INSERT ON {table} REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT', 'accreditation_queued()');

CREATE OR REPLACE FUNCTION accreditation_hold(p_accreditation uuid, p_reason text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: for operators, who have EXECUTE and no table rights.
BEGIN
    IF COALESCE(p_reason, '') = '' THEN
        PERFORM refuse('PV400', 'why is it held?', 'no reason given', 'SELECT accreditation_hold(id, ''registry down until 6 o''''clock'')');
    END IF;
    UPDATE accreditation SET held_date = COALESCE(held_date, engine_now()), held_reason = p_reason, updated_date = engine_now(), updated_by = caller_name() WHERE id = p_accreditation;
    IF NOT FOUND THEN
        PERFORM refuse('PV404', 'accreditation not found', p_accreditation::text, 'SELECT * FROM v_accreditation');
    END IF;
    RETURN 'held';
END $$;
COMMENT ON FUNCTION accreditation_hold(uuid, text) IS 'Has all jobs of an accreditation wait in their queue until accreditation_release(); what workers have in hand goes on. Held already: changes the reason.';

CREATE OR REPLACE FUNCTION accreditation_release(p_accreditation uuid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: for operators, who have EXECUTE and no table rights.
BEGIN
    UPDATE accreditation SET held_date = NULL, held_reason = NULL, updated_date = engine_now(), updated_by = caller_name() WHERE id = p_accreditation AND held_date IS NOT NULL;
    IF NOT FOUND THEN
        PERFORM refuse('PV409', 'the accreditation is not held', p_accreditation::text, 'SELECT * FROM v_accreditation');
    END IF;
    PERFORM job_wake();
    RETURN 'released';
END $$;
COMMENT ON FUNCTION accreditation_release(uuid) IS 'Lets the jobs of a held accreditation go.';

CREATE OR REPLACE FUNCTION integration_login_limited() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _name text;
    _value text;
BEGIN
    -- Settings of the group are not inherited, and a transaction left open keeps what it has locked from everybody else.
    FOR _name, _value IN VALUES ('statement_timeout', '30s'), ('lock_timeout', '2s'), ('idle_in_transaction_session_timeout', '30s') LOOP
        IF NOT EXISTS (
            SELECT FROM pg_db_role_setting AS s JOIN pg_roles AS r ON r.oid = s.setrole CROSS JOIN unnest(s.setconfig) AS c
            WHERE r.rolname = NEW.login AND split_part(c, '=', 1) = _name)
        THEN
            EXECUTE format('ALTER ROLE %I SET %I = %L', NEW.login, _name, _value);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION integration_login_limited() IS 'Gives the log-in of another system time-outs, unless it has some of its own.';
SELECT class.replace_trigger('integration_login_limited_tg', 'integration_login', 'AFTER INSERT OR UPDATE OF login ON {table} FOR EACH ROW', 'integration_login_limited()');

-- API keys -----------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION api_key_add(p_user uuid, p_account uuid, p_org uuid, p_name text, p_expires timestamptz DEFAULT NULL) RETURNS TABLE (id uuid, key text)
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    _key constant text := random_secret(40);
    _id uuid;
BEGIN
    -- The user's row makes those wait who make keys of the same name.
    PERFORM FROM app_user AS u WHERE u.id = p_user FOR NO KEY UPDATE;
    IF (SELECT count(*) >= 2 FROM api_key AS k WHERE k.user_id = p_user AND k.name = p_name AND k.revoked_date IS NULL AND k.expires_date > engine_now()) THEN
        PERFORM refuse('PV409', 'two keys of that name are valid', p_name, 'revoke one, or take another name');
    END IF;
    INSERT INTO api_key (user_id, tenant_customer_id, org_id, name, prefix, key_hash, expires_date)
    VALUES (p_user, p_account, p_org, p_name, left(_key, 8), sha256(convert_to(_key, 'UTF8')), least(p_expires, engine_now() + interval '90 days')) RETURNING api_key.id INTO _id;
    RETURN QUERY SELECT _id, _key;
END $$;
COMMENT ON FUNCTION api_key_add(uuid, uuid, uuid, text, timestamptz) IS 'Makes a key of 40 hex digits, good for at most 90 days; at most two of a name are valid.';

CREATE OR REPLACE FUNCTION api_key_create(p_tenant_customer uuid, p_name text, p_org uuid DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: for operators, who have EXECUTE and no table rights.
DECLARE
    _customer customer;
    _user uuid;
BEGIN
    SELECT c.* INTO _customer FROM tenant_customer AS a JOIN customer AS c ON c.id = a.customer_id WHERE a.id = p_tenant_customer;
    IF _customer.id IS NULL OR label(p_name) = '' THEN
        PERFORM refuse('PV404', 'account not found', COALESCE(p_tenant_customer::text, p_name), 'SELECT * FROM v_tenant_customer; the key''s name has a letter or digit');
    END IF;
    INSERT INTO app_user (customer_id, username, is_technical, verified_date) VALUES (_customer.id, concat_ws('-', label(p_name), (SELECT nullif(slug, _customer.cid) FROM org WHERE id = p_org), _customer.cid), true, engine_now())
    ON CONFLICT (lower(username)) DO UPDATE SET status = 'active' WHERE app_user.is_technical AND app_user.customer_id = excluded.customer_id RETURNING id INTO _user;
    IF _user IS NULL THEN
        PERFORM refuse('PV409', 'the name is that of another user', p_name, 'take another');
    END IF;
    INSERT INTO membership (user_id, tenant_customer_id, org_id, role) VALUES (_user, p_tenant_customer, p_org, 'owner') ON CONFLICT DO NOTHING;
    RETURN (SELECT key FROM api_key_add(_user, p_tenant_customer, p_org, p_name));
END $$;
COMMENT ON FUNCTION api_key_create(uuid, text, uuid) IS 'Makes an API key for a program that may do everything in a customer, or one org of it, as the user <name>-<cid>; shows it this once.';

CREATE OR REPLACE FUNCTION api_key_caller(p_key_hash bytea) RETURNS TABLE (tenant_customer_id uuid, org_id uuid, name text, user_id uuid)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the API must recognise a key before it has a caller.
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT s.tenant_customer_id, s.org_id, k.name, u.id FROM api_key AS k JOIN app_user AS u ON u.id = k.user_id AND u.status = 'active'
    CROSS JOIN LATERAL caller_scope(u.id, NULL, NULL, k.tenant_customer_id, k.org_id) AS s
    WHERE k.key_hash = p_key_hash AND k.revoked_date IS NULL AND k.expires_date > engine_now() AND (k.tenant_customer_id IS NULL OR s.tenant_customer_id IS NOT NULL);
END $$;
COMMENT ON FUNCTION api_key_caller(bytea) IS 'Whose API key this is, by its SHA-256, and for what it acts; no row: unknown, expired, revoked, or its user may nothing there any more.';

CREATE OR REPLACE FUNCTION api_key_for(p_id uuid, p_version bigint DEFAULT NULL) RETURNS api_key
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _key api_key;
BEGIN
    SELECT * INTO _key FROM api_key WHERE id = p_id AND revoked_date IS NULL;
    IF _key.user_id IS DISTINCT FROM caller_user() OR _key.id IS NULL THEN
        PERFORM caller_require('api_key.change', COALESCE(_key.tenant_customer_id, user_account(_key.user_id)), _key.org_id, 'API key', p_id::text);
    END IF;
    SELECT * INTO _key FROM api_key WHERE id = p_id FOR NO KEY UPDATE;
    PERFORM check_version('API key', _key.version, p_version);
    RETURN _key;
END $$;
COMMENT ON FUNCTION api_key_for(uuid, bigint) IS 'An API key the caller may change, locked: his own, or one in what he manages.';

CREATE OR REPLACE FUNCTION api_key_issue(p jsonb) RETURNS TABLE (id uuid, key text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _user uuid;
    _scope record;
BEGIN
    PERFORM check_fields('API key', ARRAY[p], '{name}', '{"name": "string", "user": "string|null", "account": "string|null", "org": "string|null", "expires_date": "string|null"}');
    _user := CASE WHEN p ->> 'user' IS NULL THEN caller_known() ELSE (user_for(p ->> 'user', 'api_key.change')).id END;
    -- Made with a key that is limited, or for an account, it is limited alike.
    SELECT s.tenant_customer_id AS account, s.org_id AS org INTO _scope FROM caller_scope(_user, p ->> 'account', p ->> 'org', caller_customer(), caller_org()) AS s;
    RETURN QUERY SELECT * FROM api_key_add(_user,
        CASE WHEN COALESCE(p ->> 'account', p ->> 'org') IS NOT NULL THEN _scope.account ELSE caller_customer() END,
        CASE WHEN p ->> 'org' IS NOT NULL THEN COALESCE(_scope.org, caller_org()) ELSE caller_org() END, p ->> 'name', (p ->> 'expires_date')::timestamptz);
END $$;
COMMENT ON FUNCTION api_key_issue(jsonb) IS 'Makes an API key of the caller''s, or of a user he manages: name, user, account and org it is limited to, expires_date (at most 90 days away). Shows it this once.';

CREATE OR REPLACE FUNCTION api_key_change(p_id uuid, p jsonb, p_version bigint DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _new api_key;
BEGIN
    PERFORM check_fields('API key', ARRAY[p], '{}', '{"expires_date": "string"}');
    _new := jsonb_populate_record(api_key_for(p_id, p_version), p);
    UPDATE api_key SET expires_date = least(_new.expires_date, created_date + interval '90 days') WHERE id = p_id;
END $$;
COMMENT ON FUNCTION api_key_change(uuid, jsonb, bigint) IS 'Changes when an API key expires; not later than 90 days after it was made.';

CREATE OR REPLACE FUNCTION api_key_remove(p_id uuid, p_version bigint DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
BEGIN
    PERFORM api_key_for(p_id, p_version);
    UPDATE api_key SET revoked_date = engine_now() WHERE id = p_id;
END $$;
COMMENT ON FUNCTION api_key_remove(uuid, bigint) IS 'Revokes an API key, at once.';

CREATE OR REPLACE FUNCTION api_key_rotate(p_id uuid) RETURNS TABLE (id uuid, key text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _key api_key := api_key_for(p_id);
BEGIN
    -- Who gets a key of another acts as him.
    PERFORM user_for(_key.user_id::text, 'api_key.change');
    -- Who acts for one account, or one org, gets no key that opens more.
    IF _key.tenant_customer_id <> caller_customer() OR _key.org_id <> caller_org() THEN
        PERFORM refuse('PV404', 'API key not found', p_id::text, 'act for the account that it is limited to');
    END IF;
    RETURN QUERY SELECT * FROM api_key_add(_key.user_id, COALESCE(_key.tenant_customer_id, caller_customer()), COALESCE(_key.org_id, caller_org()), _key.name);
    UPDATE api_key AS k SET expires_date = least(k.expires_date, engine_now() + interval '24 hours') WHERE k.id = p_id;
END $$;
COMMENT ON FUNCTION api_key_rotate(uuid) IS 'Makes a new key in place of one, which is good for 24 hours more. Shows it this once.';

-- Customers ----------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION tenant_named(p_name text) RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _ids uuid[] := ARRAY(SELECT id FROM tenant WHERE name = COALESCE(p_name, name) ORDER BY id);
BEGIN
    IF p_name IS NULL AND caller_customer() IS NOT NULL THEN
        RETURN (SELECT tenant_id FROM tenant_customer WHERE id = caller_customer());
    ELSIF cardinality(_ids) <> 1 THEN
        PERFORM refuse(CASE WHEN p_name IS NULL THEN 'PV400' ELSE 'PV404' END, CASE WHEN p_name IS NULL THEN 'there is not just one tenant here' ELSE 'there is no such tenant' END,
            COALESCE(p_name, cardinality(_ids) || ' tenants'), 'name the tenant');
    END IF;
    RETURN _ids[1];
END $$;
COMMENT ON FUNCTION tenant_named(text) IS 'The tenant of that name; NULL: the caller''s, or the only one.';

CREATE OR REPLACE FUNCTION customer_add(p_tenant uuid, p_name text, p_email text, p_owner uuid DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _customer uuid;
    _account uuid;
BEGIN
    INSERT INTO customer (name, email) VALUES (p_name, p_email) RETURNING id INTO _customer;
    INSERT INTO tenant_customer (tenant_id, customer_id) VALUES (p_tenant, _customer) RETURNING id INTO _account;
    INSERT INTO membership (user_id, tenant_customer_id, role) SELECT p_owner, _account, 'owner' WHERE p_owner IS NOT NULL;
    RETURN _account;
END $$;
COMMENT ON FUNCTION customer_add(uuid, text, text, uuid) IS 'Makes a customer, its account with a tenant, and the membership of its owner; returns the account.';

CREATE OR REPLACE FUNCTION customer_create(p jsonb) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _is_platform constant boolean := caller_platform() = 'all' AND caller_setting('caller_customer') IS NULL;
    _account uuid;
BEGIN
    PERFORM check_fields('customer', ARRAY[p], '{name,email}', '{"name": "string", "email": "string", "tenant": "string|null"}');
    _account := customer_add(tenant_named(p ->> 'tenant'), p ->> 'name', p ->> 'email', CASE WHEN _is_platform IS NOT TRUE THEN caller_known() END);
    RETURN (SELECT customer_id FROM tenant_customer WHERE id = _account);
END $$;
COMMENT ON FUNCTION customer_create(jsonb) IS 'Makes a customer: name, email, tenant (if there are several). The user who makes it becomes its owner, unless it is staff.';

CREATE OR REPLACE FUNCTION customer_for(p_id uuid, p_permission text, p_version bigint DEFAULT NULL) RETURNS customer
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _customer customer;
BEGIN
    PERFORM caller_require(p_permission, (
        SELECT a.id FROM tenant_customer AS a JOIN customer AS c ON c.id = a.customer_id AND c.removed_date IS NULL
        WHERE c.id = p_id ORDER BY a.id = ANY (caller_accounts()) DESC, a.id LIMIT 1), NULL, 'customer', p_id::text);
    SELECT * INTO _customer FROM customer WHERE id = p_id FOR NO KEY UPDATE;
    PERFORM check_version('customer', _customer.version, p_version);
    RETURN _customer;
END $$;
COMMENT ON FUNCTION customer_for(uuid, text, bigint) IS 'A customer for which the caller holds a right, locked.';

CREATE OR REPLACE FUNCTION customer_change(p_id uuid, p jsonb, p_version bigint DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _new customer;
BEGIN
    PERFORM check_fields('customer', ARRAY[p], '{}', '{"name": "string", "email": "string", "status": "string", "payment_reference": "string|null", "payment_status": "string|null"}');
    _new := customer_for(p_id, 'customer.change', p_version);
    IF p ?| '{status,payment_reference,payment_status}' AND caller_platform() IS DISTINCT FROM 'all' THEN
        PERFORM refuse('PV403', 'the right to do this is not held', 'status and payment', 'ask the operators');
    ELSIF _new.status = 'to_be_removed' OR p ->> 'status' = 'to_be_removed' THEN
        PERFORM refuse('PV409', 'the customer is being removed', p_id::text, 'customer_remove() and customer_restore() decide about that');
    END IF;
    _new := jsonb_populate_record(_new, p);
    UPDATE customer SET name = _new.name, email = _new.email, status = _new.status, payment_reference = _new.payment_reference, payment_status = _new.payment_status WHERE id = p_id;
END $$;
COMMENT ON FUNCTION customer_change(uuid, jsonb, bigint) IS 'Changes a customer: name, email; by operators also status, payment_reference, payment_status.';

CREATE OR REPLACE FUNCTION customer_remove(p_id uuid, p_version bigint DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
BEGIN
    IF (customer_for(p_id, 'customer.remove', p_version)).status = 'to_be_removed' THEN
        PERFORM refuse('PV409', 'the customer is being removed', p_id::text, 'SELECT customer_restore(id)');
    END IF;
    UPDATE customer SET status = 'to_be_removed', removal_date = engine_now() + make_interval(days => setting_value('customer_removal_days')::int) WHERE id = p_id;
END $$;
COMMENT ON FUNCTION customer_remove(uuid, bigint) IS 'Has a customer removed: at once nobody acts for it any more; after the setting customer_removal_days it goes for good.';

CREATE OR REPLACE FUNCTION customer_restore(p_id uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _customer customer := customer_for(p_id, 'customer.remove');
BEGIN
    IF _customer.removal_date IS NULL OR _customer.removal_date <= engine_now() THEN
        PERFORM refuse('PV409', CASE WHEN _customer.removal_date IS NULL THEN 'the customer is not being removed' ELSE 'the time to restore the customer is over' END, p_id::text, 'make a new customer, or ask the operators');
    END IF;
    UPDATE customer SET status = previous_status, removal_date = NULL WHERE id = p_id;
END $$;
COMMENT ON FUNCTION customer_restore(uuid) IS 'Takes the removal of a customer back. Its users are locked out, so this is for operators and staff.';

CREATE OR REPLACE FUNCTION customer_forget(p_id uuid) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _accounts constant uuid[] := ARRAY(SELECT id FROM tenant_customer WHERE customer_id = p_id);
BEGIN
    UPDATE space SET status = 'removed' WHERE tenant_customer_id = ANY (_accounts) AND status = 'active';
    UPDATE org SET status = 'removed', contact_email = NULL, is_joinable = false WHERE tenant_customer_id = ANY (_accounts) AND status = 'active';
    UPDATE invite_code SET revoked_date = engine_now() WHERE tenant_customer_id = ANY (_accounts) AND revoked_date IS NULL;
    UPDATE api_key SET revoked_date = engine_now() WHERE tenant_customer_id = ANY (_accounts) AND revoked_date IS NULL;
    UPDATE membership SET state = 'removed' WHERE tenant_customer_id = ANY (_accounts) AND state <> 'removed';
    PERFORM user_forget(id) FROM app_user WHERE customer_id = p_id AND removed_date IS NULL ORDER BY id;
    UPDATE tenant_customer SET is_active = false WHERE customer_id = p_id;
    UPDATE customer SET removed_date = engine_now(), name = 'removed', email = 'removed@' || cid || '.invalid', payment_reference = NULL WHERE id = p_id;
END $$;
COMMENT ON FUNCTION customer_forget(uuid) IS 'Removes a customer for good: spaces, orgs, users, the customer. What happened stays in the history, without personal data.';

-- Orgs and spaces ----------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION things_in(p_column text, p_id uuid) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: v_attention asks it for operators, who have EXECUTE and no table rights.
DECLARE
    _table record;
    _count bigint;
    _found text[] := '{}';
BEGIN
    -- Whatever module it belongs to: what is not finished, and what is in an inventory.
    FOR _table IN
        SELECT c.relname AS name, a.attname AS ended FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname IN ('finished_date', 'deleted_date', 'revoked_date') AND NOT a.attisdropped
        JOIN pg_attribute AS o ON o.attrelid = c.oid AND o.attname = p_column AND NOT o.attisdropped
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname NOT IN ('job', 'order_item', 'order_item_plan', 'api_key', 'invite_code') ORDER BY c.relname
    LOOP
        EXECUTE format('SELECT count(*) FROM %I WHERE %I = $1 AND %I IS NULL', _table.name, p_column, _table.ended) INTO _count USING p_id;
        _found := _found || CASE WHEN _count > 0 THEN ARRAY[_count || ' ' || _table.name] ELSE '{}' END;
    END LOOP;
    RETURN nullif(array_to_string(_found, ', '), '');
END $$;
COMMENT ON FUNCTION things_in(text, uuid) IS 'What is open or exists outside in an account, an org or a space, for people; NULL: nothing. The column says which of them the id is.';

CREATE OR REPLACE FUNCTION account_named(p_account text) RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: finds what the caller may not see; whoever asks has to ask caller_require next.
BEGIN
    RETURN (SELECT a.id FROM tenant_customer AS a JOIN customer AS c ON c.id = a.customer_id
        WHERE (c.cid = p_account OR a.id = uuid_of(p_account) OR c.id = uuid_of(p_account)) AND c.removed_date IS NULL ORDER BY a.id = ANY (caller_accounts()) DESC, a.id LIMIT 1);
END $$;
COMMENT ON FUNCTION account_named(text) IS 'The account of a customer by its cid, its id or the customer''s.';

CREATE OR REPLACE FUNCTION org_home(p_name text, p_email text) RETURNS uuid
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _accounts constant uuid[] := CASE WHEN caller_customer() IS NOT NULL THEN ARRAY[caller_customer()] ELSE caller_customers() END;
    _user app_user;
BEGIN
    SELECT * INTO _user FROM app_user WHERE id = caller_user() AND customer_id IS NULL AND NOT EXISTS (SELECT FROM membership_live(id) AS m WHERE m.org_id IS NULL);
    IF FOUND THEN
        RETURN customer_add(tenant_named(NULL), p_name, COALESCE(p_email, _user.email), caller_known());
    ELSIF cardinality(_accounts) <> 1 THEN
        PERFORM refuse('PV400', 'it is not clear whose org it is to be', p_name, 'name the customer');
    END IF;
    PERFORM caller_require('org.create', _accounts[1]);
    RETURN _accounts[1];
END $$;
COMMENT ON FUNCTION org_home(text, text) IS 'The account a new org goes to if none is named: the caller''s, or that of a new customer for a user who has none.';

CREATE OR REPLACE FUNCTION org_create(p jsonb) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _account uuid := account_named(p ->> 'customer');
    _id uuid;
BEGIN
    PERFORM check_fields('org', ARRAY[p], '{name}', '{"name": "string", "description": "string|null", "kind": "string", "slug": "string|null", "customer": "string|null", "contact_email": "string|null", "is_joinable": "boolean", "is_public": "boolean"}');
    IF p ->> 'customer' IS NULL THEN
        _account := org_home(p ->> 'name', p ->> 'contact_email');
    ELSE
        PERFORM caller_require('org.create', _account, NULL, 'customer', p ->> 'customer');
    END IF;
    INSERT INTO org (tenant_customer_id, name, description, kind, slug, contact_email, is_joinable, is_public)
    SELECT _account, r.name, r.description, COALESCE(r.kind, 'organization'), r.slug, r.contact_email, COALESCE(r.is_joinable, false), COALESCE(r.is_public, false) FROM jsonb_populate_record(NULL::org, p) AS r RETURNING id INTO _id;
    INSERT INTO membership (user_id, tenant_customer_id, org_id, role) SELECT id, _account, _id, 'owner' FROM app_user WHERE id = caller_user() AND NOT is_technical AND caller_platform() IS NULL;
    RETURN _id;
END $$;
COMMENT ON FUNCTION org_create(jsonb) IS 'Makes an org: name, description, kind, slug, customer (else the caller''s; for a user who has none a new one), contact_email, is_joinable, is_public. Its maker becomes its owner.';

CREATE OR REPLACE FUNCTION org_for(p_id uuid, p_permission text, p_version bigint DEFAULT NULL) RETURNS org
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _org org;
BEGIN
    PERFORM caller_require(p_permission, (SELECT tenant_customer_id FROM org WHERE id = p_id AND status = 'active'), p_id, 'org', p_id::text);
    SELECT * INTO _org FROM org WHERE id = p_id FOR NO KEY UPDATE;
    PERFORM check_version('org', _org.version, p_version);
    RETURN _org;
END $$;
COMMENT ON FUNCTION org_for(uuid, text, bigint) IS 'An org in which the caller holds a right, locked.';

CREATE OR REPLACE FUNCTION org_change(p_id uuid, p jsonb, p_version bigint DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _new org;
BEGIN
    PERFORM check_fields('org', ARRAY[p], '{}', '{"name": "string", "description": "string|null", "contact_email": "string|null", "is_joinable": "boolean", "is_public": "boolean"}');
    _new := jsonb_populate_record(org_for(p_id, 'org.change', p_version), p);
    UPDATE org SET name = _new.name, description = _new.description, contact_email = _new.contact_email, is_joinable = _new.is_joinable, is_public = _new.is_public WHERE id = p_id;
END $$;
COMMENT ON FUNCTION org_change(uuid, jsonb, bigint) IS 'Changes an org: name, description, contact_email, is_joinable, is_public.';

CREATE OR REPLACE FUNCTION org_remove(p_id uuid, p_version bigint DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
BEGIN
    PERFORM org_for(p_id, 'org.remove', p_version);
    -- Orders that are just being accepted for it come first; those after find it removed.
    PERFORM FROM org WHERE id = p_id FOR UPDATE;
    IF things_in('org_id', p_id) IS NOT NULL THEN
        PERFORM refuse('PV409', 'the org still has things', things_in('org_id', p_id), 'end them first');
    END IF;
    UPDATE org SET status = 'removed', is_joinable = false WHERE id = p_id;
    UPDATE space SET status = 'removed' WHERE org_id = p_id AND status = 'active';
    UPDATE membership SET state = 'removed' WHERE org_id = p_id AND state <> 'removed';
    UPDATE invite_code SET revoked_date = engine_now() WHERE org_id = p_id AND revoked_date IS NULL;
    UPDATE api_key SET revoked_date = engine_now() WHERE org_id = p_id AND revoked_date IS NULL;
END $$;
COMMENT ON FUNCTION org_remove(uuid, bigint) IS 'Removes an org in which nothing is open or exists outside, with its spaces, memberships, codes and keys.';

CREATE OR REPLACE FUNCTION org_default(p_tenant_customer uuid) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _id uuid;
BEGIN
    PERFORM caller_require('read', (SELECT id FROM tenant_customer WHERE id = p_tenant_customer));
    SELECT id INTO _id FROM org WHERE tenant_customer_id = p_tenant_customer AND kind = 'hosting' AND lower(name) = 'default' AND status = 'active';
    IF _id IS NULL THEN
        INSERT INTO org (tenant_customer_id, kind, name) VALUES (p_tenant_customer, 'hosting', 'default') ON CONFLICT DO NOTHING;
        SELECT id INTO STRICT _id FROM org WHERE tenant_customer_id = p_tenant_customer AND kind = 'hosting' AND lower(name) = 'default' AND status = 'active';
    END IF;
    RETURN _id;
END $$;
COMMENT ON FUNCTION org_default(uuid) IS 'The default org of a customer''s account, made when it is first asked for.';

CREATE OR REPLACE FUNCTION space_default(p_org uuid) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _id uuid;
BEGIN
    PERFORM caller_require('read', (SELECT tenant_customer_id FROM org WHERE id = p_org AND status = 'active'), p_org, 'org');
    SELECT id INTO _id FROM space WHERE org_id = p_org AND name = 'default' AND status = 'active';
    IF _id IS NULL THEN
        INSERT INTO space (tenant_customer_id, org_id, name) SELECT tenant_customer_id, id, 'default' FROM org WHERE id = p_org ON CONFLICT DO NOTHING;
        SELECT id INTO STRICT _id FROM space WHERE org_id = p_org AND name = 'default' AND status = 'active';
    END IF;
    IF NOT space_is_reached(_id) THEN
        PERFORM refuse('PV404', 'space not found', p_org::text, 'name one of your own');
    END IF;
    RETURN _id;
END $$;
COMMENT ON FUNCTION space_default(uuid) IS 'The default space of an org, made when it is first asked for.';

CREATE OR REPLACE FUNCTION space_is_reached(p_id uuid) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN caller_sees_all() OR p_id = ANY (caller_spaces());
END $$;
COMMENT ON FUNCTION space_is_reached(uuid) IS 'Whether the caller''s memberships reach a space; they may name some.';

CREATE OR REPLACE FUNCTION space_create(p jsonb) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _org org := org_named(p ->> 'org');
    _id uuid;
BEGIN
    PERFORM check_fields('space', ARRAY[p], '{org,name}', '{"org": "string", "name": "string", "description": "string|null"}');
    PERFORM caller_require('space.change', _org.tenant_customer_id, _org.id, 'org', p ->> 'org');
    PERFORM caller_require_whole(_org);
    INSERT INTO space (tenant_customer_id, org_id, name, description) VALUES (_org.tenant_customer_id, _org.id, p ->> 'name', p ->> 'description') RETURNING id INTO _id;
    RETURN _id;
END $$;
COMMENT ON FUNCTION space_create(jsonb) IS 'Makes a space: org (id or slug), name, description.';

CREATE OR REPLACE FUNCTION org_named(p_org text) RETURNS org
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _org org;
BEGIN
    SELECT * INTO _org FROM org WHERE status = 'active' AND (slug = p_org OR id = uuid_of(p_org)) ORDER BY id = uuid_of(p_org) DESC NULLS LAST LIMIT 1;
    RETURN _org;
END $$;
COMMENT ON FUNCTION org_named(text) IS 'An org by its slug or id, whoever asks; NULL: none.';

CREATE OR REPLACE FUNCTION caller_require_whole(p_org org) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT caller_sees_all() AND EXISTS (SELECT FROM space WHERE org_id = p_org.id AND status = 'active' AND id <> ALL (caller_spaces())) THEN
        PERFORM refuse('PV403', 'the right to do this is held in some spaces only', p_org.slug, 'ask an owner');
    END IF;
END $$;
COMMENT ON FUNCTION caller_require_whole(org) IS 'Refuses those whose membership names spaces: they hold their rights in these, not in the whole org.';

CREATE OR REPLACE FUNCTION space_for(p_id uuid, p_permission text, p_version bigint DEFAULT NULL) RETURNS space
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _space space;
BEGIN
    SELECT * INTO _space FROM space WHERE id = p_id AND status = 'active' AND space_is_reached(id);
    PERFORM caller_require(p_permission, _space.tenant_customer_id, _space.org_id, 'space', p_id::text);
    SELECT * INTO _space FROM space WHERE id = p_id FOR NO KEY UPDATE;
    PERFORM check_version('space', _space.version, p_version);
    RETURN _space;
END $$;
COMMENT ON FUNCTION space_for(uuid, text, bigint) IS 'A space in which the caller holds a right, locked.';

CREATE OR REPLACE FUNCTION space_change(p_id uuid, p jsonb, p_version bigint DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _new space;
BEGIN
    PERFORM check_fields('space', ARRAY[p], '{}', '{"name": "string", "description": "string|null"}');
    _new := jsonb_populate_record(space_for(p_id, 'space.change', p_version), p);
    UPDATE space SET name = _new.name, description = _new.description WHERE id = p_id;
END $$;
COMMENT ON FUNCTION space_change(uuid, jsonb, bigint) IS 'Changes a space: name, description.';

CREATE OR REPLACE FUNCTION space_remove(p_id uuid, p_version bigint DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
BEGIN
    PERFORM space_for(p_id, 'space.change', p_version);
    IF things_in('space_id', p_id) IS NOT NULL THEN
        PERFORM refuse('PV409', 'the space still has things', things_in('space_id', p_id), 'end them first');
    END IF;
    UPDATE space SET status = 'removed' WHERE id = p_id;
END $$;
COMMENT ON FUNCTION space_remove(uuid, bigint) IS 'Removes a space in which nothing is open or exists outside.';

-- Users --------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION user_account(p_user uuid) RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (SELECT a.id FROM app_user AS u JOIN tenant_customer AS a ON a.customer_id = u.customer_id WHERE u.id = p_user ORDER BY a.id = ANY (caller_accounts()) DESC, a.id LIMIT 1);
END $$;
COMMENT ON FUNCTION user_account(uuid) IS 'The account of the customer that manages a user; NULL: he registered by himself.';

CREATE OR REPLACE FUNCTION user_is_seen(p_user uuid) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN p_user = caller_user() OR caller_sees_all() OR user_account(p_user) = ANY (caller_customers())
        OR EXISTS (SELECT FROM membership WHERE user_id = p_user AND state <> 'removed' AND (tenant_customer_id = ANY (caller_customers()) OR org_id = ANY (caller_orgs())))
        OR EXISTS (SELECT FROM offering_manager AS g JOIN offering AS o ON o.id = g.offering_id WHERE g.user_id = p_user AND g.removed_date IS NULL AND (o.provider_account_id = ANY (caller_customers()) OR o.id = ANY (caller_offerings())));
END $$;
COMMENT ON FUNCTION user_is_seen(uuid) IS 'Whether the caller sees a user: itself, those of its customer, members of what it reaches, and who manages an offering with it.';

CREATE OR REPLACE FUNCTION user_found(p_user text) RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _id uuid;
BEGIN
    SELECT id INTO _id FROM app_user WHERE (id = uuid_of(p_user) OR lower(username) = lower(p_user)) AND removed_date IS NULL ORDER BY id = uuid_of(p_user) DESC NULLS LAST LIMIT 1;
    IF _id IS NULL OR user_is_seen(_id) IS NOT TRUE THEN
        PERFORM refuse('PV404', 'user not found', left(p_user, 254), 'name a user of your customer or a member of your org; others join with an invite code');
    END IF;
    RETURN _id;
END $$;
COMMENT ON FUNCTION user_found(text) IS 'A user by id or name, if the caller sees him.';

CREATE OR REPLACE FUNCTION user_for(p_user text, p_permission text, p_version bigint DEFAULT NULL) RETURNS app_user
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _id constant uuid := user_found(p_user);
    _user app_user;
BEGIN
    SELECT * INTO _user FROM app_user WHERE id = _id;
    -- Who may change another's address can take over his log-in, so he must hold all rights that the other holds.
    IF _id IS DISTINCT FROM caller_user() AND caller_platform() IS DISTINCT FROM 'all' AND (
        user_account(_id) IS NULL OR NOT caller_may(p_permission, user_account(_id)) OR _user.is_platform_admin OR _user.is_staff OR _user.is_support OR _user.is_identity_manager
        OR EXISTS (SELECT FROM membership AS m JOIN role_permission AS r ON r.role = m.role WHERE m.user_id = _id AND m.state <> 'removed' AND NOT caller_may(r.permission, m.tenant_customer_id, m.org_id))) THEN
        PERFORM refuse('PV403', 'the right to do this is not held', p_permission, 'a user decides about himself, his customer about those who may no more than who asks');
    END IF;
    -- Only now: a lock that anybody could take would hold up the user's own changes.
    SELECT * INTO _user FROM app_user WHERE id = _id FOR NO KEY UPDATE;
    PERFORM check_version('user', _user.version, p_version);
    RETURN _user;
END $$;
COMMENT ON FUNCTION user_for(text, text, bigint) IS 'A user, by id or name, whom the caller may change, locked: himself, or one of his customer who may no more than he.';

CREATE OR REPLACE FUNCTION user_check_flags(p jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF p ?| '{is_platform_admin,is_staff,is_support,is_identity_manager}' AND (caller_platform() IS DISTINCT FROM 'all' OR caller_setting('caller_customer') IS NOT NULL) THEN
        PERFORM refuse('PV403', 'the right to do this is not held', 'rights over the whole installation', 'ask a platform admin');
    END IF;
END $$;
COMMENT ON FUNCTION user_check_flags(jsonb) IS 'Only those who do all give rights over the whole installation.';

CREATE OR REPLACE FUNCTION user_create(p jsonb) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _account uuid := COALESCE(account_named(p ->> 'customer'), CASE WHEN p ->> 'customer' IS NULL THEN caller_customer() END);
    _id uuid;
BEGIN
    PERFORM check_fields('user', ARRAY[p], '{}', '{"username": "string|null", "email": "string|null", "name": "string|null", "customer": "string|null",
        "is_platform_admin": "boolean", "is_staff": "boolean", "is_support": "boolean", "is_identity_manager": "boolean"}');
    PERFORM user_check_flags(p);
    IF COALESCE(p ->> 'username', p ->> 'email') IS NULL THEN
        PERFORM refuse('PV422', 'user: username is missing', left(p::text, 200), 'give a username, or an e-mail address to be it');
    ELSIF _account IS NOT NULL OR p ->> 'customer' IS NOT NULL OR caller_platform() IS DISTINCT FROM 'all' THEN
        PERFORM caller_require('user.change', _account, NULL, 'customer', p ->> 'customer');
    END IF;
    INSERT INTO app_user (customer_id, username, email, name, verified_date, is_platform_admin, is_staff, is_support, is_identity_manager)
    SELECT (SELECT customer_id FROM tenant_customer WHERE id = _account), COALESCE(r.username, r.email), r.email, r.name, CASE WHEN caller_platform() = 'all' THEN engine_now() END,
        COALESCE(r.is_platform_admin, false), COALESCE(r.is_staff, false), COALESCE(r.is_support, false), COALESCE(r.is_identity_manager, false)
    FROM jsonb_populate_record(NULL::app_user, p) AS r RETURNING id INTO _id;
    RETURN _id;
END $$;
COMMENT ON FUNCTION user_create(jsonb) IS 'Makes a user of a customer: username (else the e-mail address), email, name, customer (else the caller''s); operators also make users of none, and with rights over the whole installation.';

CREATE OR REPLACE FUNCTION user_change(p_id uuid, p jsonb, p_version bigint DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _old app_user;
    _new app_user;
BEGIN
    PERFORM check_fields('user', ARRAY[p], '{}', '{"email": "string|null", "name": "string|null", "status": "string", "is_platform_admin": "boolean", "is_staff": "boolean", "is_support": "boolean", "is_identity_manager": "boolean"}');
    PERFORM user_check_flags(p);
    _old := user_for(p_id::text, 'user.change', p_version);
    _new := jsonb_populate_record(_old, p);
    UPDATE app_user SET email = _new.email, name = _new.name, status = _new.status, verified_date = CASE WHEN _new.email IS NOT DISTINCT FROM _old.email THEN verified_date END,
        is_platform_admin = _new.is_platform_admin, is_staff = _new.is_staff, is_support = _new.is_support, is_identity_manager = _new.is_identity_manager WHERE id = p_id;
END $$;
COMMENT ON FUNCTION user_change(uuid, jsonb, bigint) IS 'Changes a user: email (to be verified anew), name, status; operators also rights over the whole installation.';

CREATE OR REPLACE FUNCTION user_forget(p_id uuid) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE membership SET state = 'removed' WHERE user_id = p_id AND state <> 'removed';
    UPDATE api_key SET revoked_date = engine_now() WHERE user_id = p_id AND revoked_date IS NULL;
    UPDATE app_user SET status = 'disabled', removed_date = engine_now(), username = 'removed-' || number || '-' || id, email = NULL, name = NULL,
        is_platform_admin = false, is_staff = false, is_support = false, is_identity_manager = false WHERE id = p_id;
END $$;
COMMENT ON FUNCTION user_forget(uuid) IS 'Ends what a user has and clears personal data.';

CREATE OR REPLACE FUNCTION user_remove(p_id uuid, p_version bigint DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
BEGIN
    PERFORM user_forget((user_for(p_id::text, 'user.change', p_version)).id);
END $$;
COMMENT ON FUNCTION user_remove(uuid, bigint) IS 'Removes a user, with memberships and API keys; the last owner of something stays.';

-- Memberships --------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION membership_for(p_id uuid, p_is_own_enough boolean DEFAULT false, p_version bigint DEFAULT NULL) RETURNS membership
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _membership membership;
BEGIN
    SELECT * INTO _membership FROM membership WHERE id = p_id;
    IF _membership.user_id = caller_user() AND NOT p_is_own_enough AND NOT caller_may('read', _membership.tenant_customer_id, _membership.org_id) THEN
        PERFORM refuse('PV403', 'the right to do this is not held', 'member.change', 'wait for an owner, or withdraw');
    ELSIF _membership.user_id IS DISTINCT FROM caller_user() OR NOT p_is_own_enough OR _membership.id IS NULL THEN
        PERFORM caller_require('member.change', _membership.tenant_customer_id, _membership.org_id, 'membership', p_id::text);
        PERFORM role_require(_membership.role, _membership.tenant_customer_id, _membership.org_id);
    END IF;
    SELECT * INTO _membership FROM membership WHERE id = p_id FOR NO KEY UPDATE;
    PERFORM check_version('membership', _membership.version, p_version);
    IF _membership.state = 'removed' THEN
        PERFORM refuse('PV409', 'the membership has ended', p_id::text, 'make a new one');
    END IF;
    RETURN _membership;
END $$;
COMMENT ON FUNCTION membership_for(uuid, boolean, bigint) IS 'A membership the caller may change, locked: one in what he manages and that may no more than he, or (if that is enough) his own.';

CREATE OR REPLACE FUNCTION membership_add(p_user uuid, p_account uuid, p_org uuid, p_role text, p_state text, p_expires timestamptz DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _id uuid;
BEGIN
    -- One that has lapsed and was not swept yet is not in the way.
    UPDATE membership SET state = 'removed' WHERE user_id = p_user AND tenant_customer_id = p_account AND org_id IS NOT DISTINCT FROM p_org AND state <> 'removed' AND expires_date <= engine_now();
    INSERT INTO membership (user_id, tenant_customer_id, org_id, role, state, expires_date) VALUES (p_user, p_account, p_org, p_role, p_state, p_expires) ON CONFLICT DO NOTHING RETURNING id INTO _id;
    IF _id IS NULL THEN
        PERFORM refuse('PV409', 'there is a membership already', p_role, 'change that one');
    END IF;
    RETURN _id;
END $$;
COMMENT ON FUNCTION membership_add(uuid, uuid, uuid, text, text, timestamptz) IS 'Makes a membership, unless there is one.';

CREATE OR REPLACE FUNCTION membership_limit(p_id uuid, p_spaces jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _membership membership;
    _space text;
BEGIN
    SELECT * INTO _membership FROM membership WHERE id = p_id;
    FOR _space IN SELECT jsonb_array_elements_text(nullif(p_spaces, 'null')) LOOP
        IF NOT EXISTS (SELECT FROM space WHERE org_id = _membership.org_id AND status = 'active' AND _space IN (id::text, name) AND space_is_reached(id)) THEN
            PERFORM refuse('PV404', 'space not found', left(_space, 100), 'name spaces of the org');
        END IF;
    END LOOP;
    DELETE FROM membership_space WHERE membership_id = p_id;
    INSERT INTO membership_space (membership_id, space_id, tenant_customer_id, org_id)
    SELECT DISTINCT p_id, s.id, s.tenant_customer_id, s.org_id FROM space AS s
    WHERE s.org_id = _membership.org_id AND s.status = 'active' AND nullif(p_spaces, 'null') ?| ARRAY[s.id::text, s.name];
END $$;
COMMENT ON FUNCTION membership_limit(uuid, jsonb) IS 'Limits a membership to spaces, named in an array; an empty one or null: to none.';

CREATE OR REPLACE FUNCTION membership_create(p jsonb) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _org org := org_named(p ->> 'org');
    _account uuid;
    _id uuid;
BEGIN
    PERFORM check_fields('membership', ARRAY[p], '{user,role}', '{"user": "string", "role": "string", "org": "string|null", "customer": "string|null", "expires_date": "string|null", "spaces": "array|null"}');
    _account := CASE WHEN p ->> 'org' IS NOT NULL THEN _org.tenant_customer_id WHEN p ->> 'customer' IS NOT NULL THEN account_named(p ->> 'customer') ELSE caller_customer() END;
    PERFORM caller_require('member.change', _account, _org.id, CASE WHEN p ->> 'org' IS NULL THEN 'customer' ELSE 'org' END, COALESCE(p ->> 'org', p ->> 'customer'));
    PERFORM role_require(p ->> 'role', _account, _org.id);
    _id := membership_add(user_found(p ->> 'user'), _account, _org.id, p ->> 'role', 'active', (p ->> 'expires_date')::timestamptz);
    PERFORM membership_limit(_id, p -> 'spaces');
    RETURN _id;
END $$;
COMMENT ON FUNCTION membership_create(jsonb) IS 'Makes a user a member: user (id or username), role, org (else all of the customer), customer, expires_date, spaces.';

CREATE OR REPLACE FUNCTION membership_change(p_id uuid, p jsonb, p_version bigint DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _new membership;
BEGIN
    PERFORM check_fields('membership', ARRAY[p], '{}', '{"role": "string", "expires_date": "string|null", "spaces": "array|null"}');
    _new := jsonb_populate_record(membership_for(p_id, false, p_version), p);
    PERFORM role_require(_new.role, _new.tenant_customer_id, _new.org_id);
    UPDATE membership SET role = _new.role, expires_date = _new.expires_date WHERE id = p_id;
    IF p ? 'spaces' THEN
        PERFORM membership_limit(p_id, p -> 'spaces');
    END IF;
END $$;
COMMENT ON FUNCTION membership_change(uuid, jsonb, bigint) IS 'Changes a membership: role, expires_date, spaces.';

CREATE OR REPLACE FUNCTION membership_move(p_membership membership, p_from text, p_to text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF p_membership.state <> p_from THEN
        PERFORM refuse('PV409', format('the membership is %s, not %s', p_membership.state, p_from), p_membership.id::text, 'SELECT * FROM v_membership');
    END IF;
    UPDATE membership SET state = p_to WHERE id = p_membership.id;
END $$;
COMMENT ON FUNCTION membership_move(membership, text, text) IS 'From one state to another, or refused.';

CREATE OR REPLACE FUNCTION membership_accept(p_id uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
BEGIN
    PERFORM membership_move(membership_for(p_id), 'requested', 'active');
END $$;
COMMENT ON FUNCTION membership_accept(uuid) IS 'Accepts a request.';

CREATE OR REPLACE FUNCTION membership_decline(p_id uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
BEGIN
    PERFORM membership_move(membership_for(p_id), 'requested', 'removed');
END $$;
COMMENT ON FUNCTION membership_decline(uuid) IS 'Declines a request.';

CREATE OR REPLACE FUNCTION membership_deactivate(p_id uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
BEGIN
    PERFORM membership_move(membership_for(p_id), 'active', 'inactive');
END $$;
COMMENT ON FUNCTION membership_deactivate(uuid) IS 'Stops a member, from his next request on.';

CREATE OR REPLACE FUNCTION membership_activate(p_id uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
BEGIN
    PERFORM membership_move(membership_for(p_id), 'inactive', 'active');
END $$;
COMMENT ON FUNCTION membership_activate(uuid) IS 'Lets a member go on who was deactivated.';

CREATE OR REPLACE FUNCTION membership_remove(p_id uuid, p_version bigint DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
BEGIN
    PERFORM membership_for(p_id, true, p_version);
    UPDATE membership SET state = 'removed' WHERE id = p_id;
END $$;
COMMENT ON FUNCTION membership_remove(uuid, bigint) IS 'Ends a membership: the member leaves or withdraws his request, or who manages members ends it.';

CREATE OR REPLACE FUNCTION org_joinable() RETURNS TABLE (id uuid, slug text, name text, contact_email text, is_public boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the one thing that everybody may know of what is another's.
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT o.id, o.slug, o.name, o.contact_email, o.is_public FROM org AS o JOIN tenant_customer AS a ON a.id = o.tenant_customer_id AND a.is_active
    JOIN customer AS c ON c.id = a.customer_id AND c.status <> 'to_be_removed' WHERE o.is_joinable AND o.status = 'active';
END $$;
COMMENT ON FUNCTION org_joinable() IS 'Orgs that accept requests for membership.';

CREATE OR REPLACE FUNCTION org_join(p_slug text) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: asks to be let into what is another's.
DECLARE
    _user constant uuid := caller_known();
    _org org;
BEGIN
    SELECT o.* INTO _org FROM org_joinable() AS j JOIN org AS o ON o.id = j.id WHERE j.slug = p_slug;
    IF _org.id IS NULL THEN
        PERFORM refuse('PV404', 'org not found', left(p_slug, 100), 'SELECT * FROM v_joinable_org');
    END IF;
    -- Members of an organization use what is there, such as its cluster; who accepts the request may give another role.
    RETURN membership_add(_user, _org.tenant_customer_id, _org.id, CASE _org.kind WHEN 'organization' THEN 'developer' ELSE 'viewer' END, 'requested');
END $$;
COMMENT ON FUNCTION org_join(text) IS 'Requests a membership of an org that accepts requests, as a developer of an organization and else as a viewer; returns it.';

-- Invite codes -------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION invite_code_new() RETURNS text
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _code text := '';
    _byte int;
BEGIN
    WHILE length(_code) < 10 LOOP
        -- The first six bytes of a random UUID are random throughout. 252 is 7 * 36: above it, some letters would come more often.
        FOR _at IN 0 .. 5 LOOP
            _byte := get_byte(uuid_send(gen_random_uuid()), _at);
            _code := _code || CASE WHEN _byte < 252 AND length(_code) < 10 THEN substr('ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789', _byte % 36 + 1, 1) ELSE '' END;
        END LOOP;
    END LOOP;
    RETURN _code;
END $$;
COMMENT ON FUNCTION invite_code_new() IS 'Ten letters and digits that nobody can guess.';

CREATE OR REPLACE FUNCTION invite_code_for(p_id uuid, p_version bigint DEFAULT NULL) RETURNS invite_code
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _code invite_code;
BEGIN
    SELECT * INTO _code FROM invite_code WHERE id = p_id AND revoked_date IS NULL;
    PERFORM caller_require('invite.change', _code.tenant_customer_id, _code.org_id, 'invite code', p_id::text);
    PERFORM role_require(_code.role, _code.tenant_customer_id, _code.org_id);
    SELECT * INTO _code FROM invite_code WHERE id = p_id FOR NO KEY UPDATE;
    PERFORM check_version('invite code', _code.version, p_version);
    RETURN _code;
END $$;
COMMENT ON FUNCTION invite_code_for(uuid, bigint) IS 'An invite code the caller may change, locked.';

CREATE OR REPLACE FUNCTION invite_code_create(p jsonb) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _org org := org_named(p ->> 'org');
    _id uuid;
BEGIN
    PERFORM check_fields('invite code', ARRAY[p], '{org}', '{"org": "string", "role": "string", "expires_date": "string|null", "uses_left": "number|null"}');
    PERFORM caller_require('invite.change', _org.tenant_customer_id, _org.id, 'org', p ->> 'org');
    PERFORM role_require(COALESCE(p ->> 'role', 'viewer'), _org.tenant_customer_id, _org.id);
    INSERT INTO invite_code (tenant_customer_id, org_id, code, role, expires_date, uses_left)
    VALUES (_org.tenant_customer_id, _org.id, invite_code_new(), COALESCE(p ->> 'role', 'viewer'), (p ->> 'expires_date')::timestamptz, (p ->> 'uses_left')::int) RETURNING id INTO _id;
    RETURN _id;
END $$;
COMMENT ON FUNCTION invite_code_create(jsonb) IS 'Makes an invite code: org (id or slug), role, expires_date, uses_left.';

CREATE OR REPLACE FUNCTION invite_code_change(p_id uuid, p jsonb, p_version bigint DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _new invite_code;
BEGIN
    PERFORM check_fields('invite code', ARRAY[p], '{}', '{"role": "string", "expires_date": "string|null", "uses_left": "number|null"}');
    _new := jsonb_populate_record(invite_code_for(p_id, p_version), p);
    PERFORM role_require(_new.role, _new.tenant_customer_id, _new.org_id);
    UPDATE invite_code SET role = _new.role, expires_date = _new.expires_date, uses_left = _new.uses_left WHERE id = p_id;
END $$;
COMMENT ON FUNCTION invite_code_change(uuid, jsonb, bigint) IS 'Changes an invite code: role, expires_date, uses_left.';

CREATE OR REPLACE FUNCTION invite_code_rotate(p_id uuid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _code constant text := invite_code_new();
BEGIN
    PERFORM invite_code_for(p_id);
    UPDATE invite_code SET code = _code WHERE id = p_id;
    RETURN _code;
END $$;
COMMENT ON FUNCTION invite_code_rotate(uuid) IS 'Gives an invite code another code; the old one is worth nothing any more.';

CREATE OR REPLACE FUNCTION invite_code_remove(p_id uuid, p_version bigint DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
BEGIN
    PERFORM invite_code_for(p_id, p_version);
    UPDATE invite_code SET revoked_date = engine_now() WHERE id = p_id;
END $$;
COMMENT ON FUNCTION invite_code_remove(uuid, bigint) IS 'Revokes an invite code.';

CREATE OR REPLACE FUNCTION invite_code_use(p_code text) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: who has the code is let into what is another's.
DECLARE
    _user constant uuid := caller_known();
    _code invite_code;
    _id uuid;
BEGIN
    -- Two who use the last at once meet at the row; the second finds none left.
    UPDATE invite_code AS i SET uses_left = i.uses_left - 1
    FROM org AS o JOIN tenant_customer AS a ON a.id = o.tenant_customer_id AND a.is_active JOIN customer AS c ON c.id = a.customer_id AND c.status IN ('free', 'paid')
    WHERE i.code = upper(p_code) AND i.revoked_date IS NULL AND (i.expires_date IS NULL OR i.expires_date > engine_now()) AND (i.uses_left IS NULL OR i.uses_left > 0)
        AND o.id = i.org_id AND o.status = 'active' RETURNING i.* INTO _code;
    IF _code.id IS NULL THEN
        PERFORM refuse('PV404', 'the invite code is not valid', left(p_code, 40), 'ask who gave it to you for another');
    END IF;
    UPDATE membership SET state = 'active', role = _code.role WHERE user_id = _user AND org_id = _code.org_id AND state = 'requested' RETURNING id INTO _id;
    RETURN COALESCE(_id, membership_add(_user, _code.tenant_customer_id, _code.org_id, _code.role, 'active'));
END $$;
COMMENT ON FUNCTION invite_code_use(text) IS 'Makes the caller a member of the org the code is for; returns the membership.';

-- In the course of time ----------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION sweep_tenancy() RETURNS int
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _customer uuid;
    _count int;
BEGIN
    UPDATE membership SET state = 'removed' WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM membership WHERE state <> 'removed' AND expires_date <= engine_now() FOR NO KEY UPDATE SKIP LOCKED));
    GET DIAGNOSTICS _count = ROW_COUNT;
    UPDATE api_key SET revoked_date = engine_now() WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM api_key WHERE revoked_date IS NULL AND expires_date <= engine_now() FOR NO KEY UPDATE SKIP LOCKED));
    -- One at a time; a customer who still has things waits for a person (v_attention).
    SELECT c.id INTO _customer FROM customer AS c WHERE c.removal_date <= engine_now() AND c.removed_date IS NULL
        AND NOT EXISTS (SELECT FROM tenant_customer AS a WHERE a.customer_id = c.id AND things_in('tenant_customer_id', a.id) IS NOT NULL)
    ORDER BY c.removal_date LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED;
    PERFORM customer_forget(_customer) WHERE _customer IS NOT NULL;
    RETURN _count;
EXCEPTION WHEN lock_not_available THEN
    -- Somebody is at one of these rows; the next sweep comes soon.
    RETURN 0;
END $$;
COMMENT ON FUNCTION sweep_tenancy() IS 'Ends memberships and API keys that have lapsed, and removes customers whose time has come; returns how many memberships lapsed.';
