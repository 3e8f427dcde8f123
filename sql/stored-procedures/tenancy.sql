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
    _is_reading constant boolean := p_permission IN ('read', 'audit.read');
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

CREATE OR REPLACE FUNCTION label(p_name text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN trim('-' FROM left(trim('-' FROM regexp_replace(lower(normalize(p_name, NFKD)), '[^a-z0-9]+', '-', 'g')), 40));
END $$;
COMMENT ON FUNCTION label(text) IS 'A name as a DNS label; empty if nothing of it can be.';

CREATE OR REPLACE FUNCTION label_lock(p_label text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('label ' || left(p_label, 3), 0));
END $$;
COMMENT ON FUNCTION label_lock(text) IS 'Lets those who make labels that begin alike, a customer''s or an org''s, do so one after the other: each sees which are taken.';

CREATE OR REPLACE FUNCTION customer_cid(p_name text) RETURNS text
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _letters constant text := left(COALESCE(nullif(regexp_replace(lower(normalize(p_name, NFKD)), '[^a-z]', '', 'g'), ''), 'customer'), 30);
    _cid text;
BEGIN
    PERFORM label_lock(_letters);
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
    PERFORM label_lock(_label);
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
    PERFORM label_lock(NEW.slug);
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
    PERFORM pg_advisory_xact_lock(hashtextextended('owner ' || COALESCE(OLD.org_id, OLD.tenant_customer_id), 0));
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
    SELECT 'reconcile ' || a.id, 'reconcile', a.id, interval '1 hour', engine_now() + interval '1 hour' FROM new_rows AS a WHERE a.provider <> 'manual';
    RETURN NULL;
END $$;
COMMENT ON FUNCTION accreditation_scheduled() IS 'Every accreditation is reconciled once an hour.';
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
    _key constant text := substr(encode(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 'hex'), 1, 40);
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
