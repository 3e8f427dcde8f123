-- What the surface of hosting needs beside the nouns of tenancy: customers who sign up by themselves, users of their spaces,
-- who may work with web sites, and log-in links. A customer's own log-in has the role `account`, which manages orgs, spaces,
-- users and quotas and has nothing to do with web sites; users have the role developer in the orgs of their spaces.

CREATE OR REPLACE FUNCTION wpaas_require(p_account uuid, p_org uuid) RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: reads memberships that the caller may not see.
BEGIN
    IF caller_platform() IS NOT NULL OR EXISTS (
        SELECT FROM membership_live(caller_user()) AS m WHERE m.tenant_customer_id = p_account AND (m.org_id IS NULL OR m.org_id = p_org) AND m.role <> 'account') THEN
        RETURN;
    ELSIF EXISTS (SELECT FROM membership_live(caller_user()) AS m WHERE m.tenant_customer_id = p_account AND m.org_id IS NULL) THEN
        PERFORM refuse('PV403', 'the right to do this is not held', 'web sites', 'act as a user; the customer''s own log-in manages orgs, spaces, users and quotas');
    END IF;
    PERFORM refuse('PV404', 'customer not found', p_account::text, 'name one of your own');
END $$;
COMMENT ON FUNCTION wpaas_require(uuid, uuid) IS 'Refuses those who have nothing to do with the web sites of an org, the customer''s own log-in among them.';

CREATE OR REPLACE FUNCTION wpaas_tenant(p_name text) RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _hosting constant uuid[] := ARRAY(SELECT DISTINCT tenant_id FROM accreditation WHERE is_active AND settings ? 'hosting');
BEGIN
    RETURN CASE WHEN p_name IS NULL AND cardinality(_hosting) = 1 THEN _hosting[1] ELSE tenant_named(p_name) END;
END $$;
COMMENT ON FUNCTION wpaas_tenant(text) IS 'The tenant of that name; NULL: the only one that hosts, or the only one.';

CREATE OR REPLACE FUNCTION customer_sign_up(p jsonb, p_password_hash text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: who signs up is nobody yet.
DECLARE
    _account uuid;
    _user uuid;
BEGIN
    PERFORM check_fields('customer', ARRAY[p], '{name,email,username}', '{"name": "string", "email": "string", "username": "string", "tenant": "string|null", "issuer": "string|null", "subject": "string|null"}');
    IF setting_value('hosting_sign_up') <> 'true' THEN
        PERFORM refuse('PV403', 'nobody signs up here by himself', p ->> 'name', 'ask the operators');
    END IF;
    _account := customer_add(wpaas_tenant(p ->> 'tenant'), p ->> 'name', p ->> 'email');
    INSERT INTO app_user (customer_id, username, email, verified_date) SELECT customer_id, p ->> 'username', p ->> 'email', engine_now() FROM tenant_customer WHERE id = _account
    ON CONFLICT DO NOTHING RETURNING id INTO _user;
    IF _user IS NULL THEN
        PERFORM refuse('PV409', 'the username is taken', p ->> 'username', 'choose another');
    END IF;
    INSERT INTO membership (user_id, tenant_customer_id, role) VALUES (_user, _account, 'account');
    PERFORM password_store(_user, p_password_hash) WHERE p_password_hash IS NOT NULL;
    PERFORM identity_link(p ->> 'issuer', p ->> 'subject', _user) WHERE p ->> 'subject' IS NOT NULL;
    RETURN (SELECT c.cid FROM customer AS c JOIN tenant_customer AS a ON a.customer_id = c.id WHERE a.id = _account);
END $$;
COMMENT ON FUNCTION customer_sign_up(jsonb, text) IS 'Makes a customer with a log-in of its own: name, email, username, tenant (if several host), and a password or who it is elsewhere (issuer, subject); returns its cid. The setting hosting_sign_up says whether anybody may.';

CREATE OR REPLACE FUNCTION space_named(p_account uuid, p_space text) RETURNS space
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _space space;
BEGIN
    -- <org>/<space>, a space of the default org, or an id.
    SELECT s.* INTO _space FROM space AS s JOIN org AS o ON o.id = s.org_id AND o.status = 'active'
    WHERE s.tenant_customer_id = p_account AND s.status = 'active' AND (s.id = uuid_of(p_space) OR (o.kind = 'hosting'
        AND lower(o.name) = CASE WHEN p_space LIKE '%/%' THEN lower(split_part(p_space, '/', 1)) ELSE 'default' END AND s.name = split_part(p_space, '/', CASE WHEN p_space LIKE '%/%' THEN 2 ELSE 1 END)));
    IF _space.id IS NULL THEN
        PERFORM refuse('PV404', 'space not found', left(p_space, 100), 'name spaces as <space> or <org>/<space>');
    END IF;
    RETURN _space;
END $$;
COMMENT ON FUNCTION space_named(uuid, text) IS 'A space of a customer: by id, as org/space, or by its name in the default org.';

CREATE OR REPLACE FUNCTION customer_user_spaces(p_user uuid, p_account uuid, p_spaces jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _org record;
    _membership uuid;
BEGIN
    UPDATE membership SET state = 'removed' WHERE user_id = p_user AND tenant_customer_id = p_account AND org_id IS NOT NULL AND state <> 'removed'
        AND org_id NOT IN (SELECT (space_named(p_account, s)).org_id FROM jsonb_array_elements_text(p_spaces) AS s);
    FOR _org IN
        SELECT n.org_id AS id, jsonb_agg(n.id) AS spaces FROM (SELECT (space_named(p_account, s)).* FROM jsonb_array_elements_text(p_spaces) AS s) AS n GROUP BY 1 ORDER BY 1
    LOOP
        INSERT INTO membership (user_id, tenant_customer_id, org_id, role) VALUES (p_user, p_account, _org.id, 'developer') ON CONFLICT DO NOTHING;
        SELECT id INTO _membership FROM membership WHERE user_id = p_user AND org_id = _org.id AND state <> 'removed' LIMIT 1;
        DELETE FROM membership_space WHERE membership_id = _membership;
        INSERT INTO membership_space (membership_id, space_id, tenant_customer_id, org_id)
        SELECT DISTINCT _membership, s.id, s.tenant_customer_id, s.org_id FROM space AS s WHERE s.id::text IN (SELECT jsonb_array_elements_text(_org.spaces));
    END LOOP;
END $$;
COMMENT ON FUNCTION customer_user_spaces(uuid, uuid, jsonb) IS 'Lets a user act in these spaces of the customer and no others.';

CREATE OR REPLACE FUNCTION customer_user_create(p_cid text, p jsonb, p_password_hash text) RETURNS TABLE (id uuid, key text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside. Whoever manages a customer's users lets them into its spaces.
#variable_conflict use_column
DECLARE
    _account constant uuid := account_named(p_cid);
    _user uuid;
BEGIN
    PERFORM check_fields('user', ARRAY[p], '{name,email}', '{"name": "string", "email": "string", "spaces": "array|null", "enabled": "boolean"}');
    PERFORM caller_require('user.change', _account, NULL, 'customer', p_cid);
    IF EXISTS (SELECT FROM app_user AS u JOIN tenant_customer AS a ON a.customer_id = u.customer_id WHERE a.id = _account AND lower(u.name) = lower(p ->> 'name') AND u.removed_date IS NULL) THEN
        PERFORM refuse('PV409', 'the customer has a user of that name', p ->> 'name', 'take another');
    END IF;
    INSERT INTO app_user AS u (customer_id, username, email, name, verified_date, status)
    SELECT a.customer_id, p ->> 'email', p ->> 'email', p ->> 'name', engine_now(), CASE WHEN COALESCE((p ->> 'enabled')::boolean, true) THEN 'active' ELSE 'disabled' END FROM tenant_customer AS a WHERE a.id = _account
    ON CONFLICT DO NOTHING RETURNING u.id INTO _user;
    IF _user IS NULL THEN
        PERFORM refuse('PV409', 'the e-mail address is that of another user', p ->> 'email', 'take another');
    END IF;
    PERFORM password_store(_user, p_password_hash) WHERE p_password_hash IS NOT NULL;
    IF jsonb_typeof(p -> 'spaces') IS DISTINCT FROM 'array' THEN
        PERFORM space_default(org_default(_account));
    END IF;
    PERFORM customer_user_spaces(_user, _account, CASE jsonb_typeof(p -> 'spaces') WHEN 'array' THEN p -> 'spaces' ELSE '["default"]' END);
    RETURN QUERY SELECT k.id, k.key FROM api_key_add(_user, _account, NULL, 'hosting') AS k;
END $$;
COMMENT ON FUNCTION customer_user_create(text, jsonb, text) IS 'Makes a user of a customer who acts in spaces of it (name, email, spaces, enabled), with an API key, which is shown this once.';

CREATE OR REPLACE FUNCTION customer_user_for(p_cid text, p_name text) RETURNS app_user
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _account constant uuid := account_named(p_cid);
    _user app_user;
BEGIN
    PERFORM caller_require('user.change', _account, NULL, 'customer', p_cid);
    SELECT u.* INTO _user FROM app_user AS u JOIN tenant_customer AS a ON a.customer_id = u.customer_id WHERE a.id = _account AND u.removed_date IS NULL AND lower(COALESCE(u.name, u.username)) = lower(p_name);
    IF _user.id IS NULL THEN
        PERFORM refuse('PV404', 'user not found', left(p_name, 100), 'GET /users/<cid> lists them');
    END IF;
    RETURN _user;
END $$;
COMMENT ON FUNCTION customer_user_for(text, text) IS 'A user of a customer by name, if the caller manages the customer''s users.';

CREATE OR REPLACE FUNCTION customer_user_change(p_cid text, p_name text, p jsonb, p_password_hash text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _user constant app_user := customer_user_for(p_cid, p_name);
BEGIN
    PERFORM check_fields('user', ARRAY[p], '{}', '{"name": "string", "email": "string", "spaces": "array|null", "enabled": "boolean"}');
    UPDATE app_user SET name = COALESCE(p ->> 'name', name), email = COALESCE(p ->> 'email', email),
        status = CASE (p ->> 'enabled')::boolean WHEN true THEN 'active' WHEN false THEN 'disabled' ELSE status END WHERE id = _user.id;
    PERFORM customer_user_spaces(_user.id, account_named(p_cid), p -> 'spaces') WHERE jsonb_typeof(p -> 'spaces') = 'array';
    PERFORM password_store(_user.id, p_password_hash) WHERE p_password_hash IS NOT NULL;
END $$;
COMMENT ON FUNCTION customer_user_change(text, text, jsonb, text) IS 'Changes a user of a customer: name, email, spaces, enabled, password.';

CREATE OR REPLACE FUNCTION customer_user_remove(p_cid text, p_name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
BEGIN
    PERFORM user_forget((customer_user_for(p_cid, p_name)).id);
END $$;
COMMENT ON FUNCTION customer_user_remove(text, text) IS 'Removes a user of a customer, with memberships and keys.';

CREATE OR REPLACE FUNCTION customer_user_key(p_cid text, p_name text) RETURNS TABLE (id uuid, key text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
#variable_conflict use_column
DECLARE
    _user constant app_user := customer_user_for(p_cid, p_name);
BEGIN
    -- The one before is good for a day more, those before that no longer.
    UPDATE api_key AS k SET revoked_date = engine_now() WHERE k.user_id = _user.id AND k.name = 'hosting' AND k.revoked_date IS NULL
        AND k.id <> (SELECT l.id FROM api_key AS l WHERE l.user_id = _user.id AND l.name = 'hosting' AND l.revoked_date IS NULL ORDER BY l.id DESC LIMIT 1);
    UPDATE api_key AS k SET expires_date = least(k.expires_date, engine_now() + interval '24 hours') WHERE k.user_id = _user.id AND k.name = 'hosting' AND k.revoked_date IS NULL;
    RETURN QUERY SELECT k.id, k.key FROM api_key_add(_user.id, account_named(p_cid), NULL, 'hosting') AS k;
END $$;
COMMENT ON FUNCTION customer_user_key(text, text) IS 'Makes a new API key for a user of a customer; the one before is good for 24 hours more. Shows it this once.';

CREATE OR REPLACE FUNCTION customer_user_places(p_user uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: says in which spaces users act whom the caller sees.
BEGIN
    RETURN (SELECT COALESCE(jsonb_agg(o.name || '/' || s.name ORDER BY o.name, s.name), '[]') FROM membership AS m JOIN membership_space AS l ON l.membership_id = m.id JOIN space AS s ON s.id = l.space_id AND s.status = 'active'
        JOIN org AS o ON o.id = m.org_id WHERE m.user_id = p_user AND m.state = 'active' AND user_is_seen(p_user));
END $$;
COMMENT ON FUNCTION customer_user_places(uuid) IS 'The spaces in which a user acts, as org/space.';

-- Log-in links -----------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION wpaas_login_link(p_instance uuid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: links are written only through here; the caller is asked for the right inside.
DECLARE
    _token constant text := random_secret();
    _site wpaas_instance;
BEGIN
    SELECT * INTO _site FROM wpaas_instance WHERE id = p_instance AND deleted_date IS NULL AND space_is_reached(space_id);
    PERFORM caller_require('order.create', _site.tenant_customer_id, _site.org_id, 'web site', p_instance::text);
    DELETE FROM wpaas_link WHERE expires_date <= engine_now();
    INSERT INTO wpaas_link (token_hash, instance_id, tenant_customer_id, org_id, expires_date)
    VALUES (sha256(convert_to(_token, 'UTF8')), _site.id, _site.tenant_customer_id, _site.org_id, engine_now() + interval '5 minutes');
    RETURN format('https://%s/?provision-login=%s', _site.hostname, _token);
END $$;
COMMENT ON FUNCTION wpaas_login_link(uuid) IS 'A link that logs whoever opens it in to a site as its administrator, once, within 5 minutes.';

CREATE OR REPLACE FUNCTION wpaas_link_use(p_token text, p_host text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the node that asks is nobody; who has the token of a link may use it up.
BEGIN
    DELETE FROM wpaas_link AS l USING wpaas_instance AS i WHERE l.token_hash = sha256(convert_to(p_token, 'UTF8')) AND i.id = l.instance_id
        AND (lower(p_host) = i.hostname OR lower(p_host) LIKE '%.' || i.hostname OR lower(p_host) = ANY (i.domains)) AND l.expires_date > engine_now();
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION wpaas_link_use(text, text) IS 'Uses a log-in link of a site up; false: it was used, is too old, or is another site''s.';

CREATE OR REPLACE FUNCTION wpaas_backup_for(p_id uuid) RETURNS wpaas_backup
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _backup wpaas_backup;
BEGIN
    SELECT b.* INTO _backup FROM wpaas_backup AS b JOIN wpaas_instance AS i ON i.id = b.instance_id AND i.deleted_date IS NULL AND space_is_reached(i.space_id)
    WHERE b.id = p_id AND b.expired_date IS NULL AND b.removal_date IS NULL;
    -- Who may change a site may have all that is in it.
    PERFORM caller_require('order.create', _backup.tenant_customer_id, _backup.org_id, 'backup', p_id::text);
    RETURN _backup;
END $$;
COMMENT ON FUNCTION wpaas_backup_for(uuid) IS 'A backup that the caller may have and may remove.';

CREATE OR REPLACE FUNCTION wpaas_backup_remove(p_backup uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: backups are written only through here; the caller is asked for the right inside.
DECLARE
    _backup constant wpaas_backup := wpaas_backup_for(p_backup);
    _site wpaas_instance := wpaas_for(_backup.instance_id);
BEGIN
    -- The site is locked: nobody begins to use it now.
    IF EXISTS (SELECT FROM provision_wpaas_download WHERE backup_id = p_backup AND finished_date IS NULL)
        OR EXISTS (SELECT FROM provision_wpaas_restore WHERE instance_id = _site.id AND snapshot = _backup.snapshot AND finished_date IS NULL) THEN
        PERFORM refuse('PV409', 'the backup is just being used', _backup.snapshot, 'wait until its restore or download has ended');
    END IF;
    UPDATE wpaas_backup SET removal_date = engine_now(), updated_date = engine_now(), updated_by = caller_name() WHERE id = p_backup;
END $$;
COMMENT ON FUNCTION wpaas_backup_remove(uuid) IS 'Has a backup removed, with the dump of it: it cannot be used from now on, and is gone at RDS within half an hour.';

CREATE OR REPLACE FUNCTION wpaas_download_link(p_backup uuid) RETURNS TABLE (url text, expires_date timestamptz, size_bytes bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: links are read only through here; the caller is asked for the right inside.
DECLARE
    _backup constant wpaas_backup := wpaas_backup_for(p_backup);
BEGIN
    IF (_backup.link_date > engine_now()) IS NOT TRUE THEN
        PERFORM refuse('PV404', 'the backup has no link to download it by', p_backup::text, 'order one: POST where you have asked; when the order is complete, ask again');
    END IF;
    RETURN QUERY SELECT s.value, _backup.link_date, _backup.dump_bytes FROM secret AS s WHERE s.id = p_backup;
END $$;
COMMENT ON FUNCTION wpaas_download_link(uuid) IS 'Where a backup can be downloaded, and until when: a link that an order has made within the hour.';

-- Push hooks -------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION hmac_sha256(p_key bytea, p_message bytea) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = public, pg_temp AS $$
DECLARE
    _key constant bytea := CASE WHEN length(p_key) > 64 THEN sha256(p_key) ELSE p_key END;
    _inner bytea := decode(repeat('36', 64), 'hex');
    _outer bytea := decode(repeat('5c', 64), 'hex');
BEGIN
    FOR _at IN 0 .. length(_key) - 1 LOOP
        _inner := set_byte(_inner, _at, get_byte(_inner, _at) # get_byte(_key, _at));
        _outer := set_byte(_outer, _at, get_byte(_outer, _at) # get_byte(_key, _at));
    END LOOP;
    RETURN sha256(_outer || sha256(_inner || p_message));
END $$;
COMMENT ON FUNCTION hmac_sha256(bytea, bytea) IS 'HMAC with SHA-256 (RFC 2104) of a message.';

CREATE OR REPLACE FUNCTION wpaas_hook_site(p_instance uuid) RETURNS wpaas_instance
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _site wpaas_instance;
BEGIN
    SELECT * INTO _site FROM wpaas_instance WHERE id = p_instance AND deleted_date IS NULL AND space_is_reached(space_id);
    PERFORM caller_require('order.create', _site.tenant_customer_id, _site.org_id, 'web site', p_instance::text);
    RETURN _site;
END $$;
COMMENT ON FUNCTION wpaas_hook_site(uuid) IS 'A site whose push hook the caller may decide about.';

CREATE OR REPLACE FUNCTION wpaas_hook_make(p_instance uuid) RETURNS TABLE (id uuid, secret text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: hooks are written only through here; the caller is asked for the right inside.
DECLARE
    _site constant wpaas_instance := wpaas_hook_site(p_instance);
    _secret constant text := random_secret();
    _id uuid;
BEGIN
    IF _site.code_url IS NULL THEN
        PERFORM refuse('PV409', 'the site has no code that could be pushed', _site.hostname, 'it is a stock WordPress; give it code first');
    END IF;
    PERFORM wpaas_hook_forget(_site.id);
    INSERT INTO wpaas_hook AS h (instance_id, tenant_customer_id, org_id) VALUES (_site.id, _site.tenant_customer_id, _site.org_id) RETURNING h.id INTO _id;
    INSERT INTO secret AS s (id, value) VALUES (_id, _secret);
    RETURN QUERY SELECT _id, _secret;
END $$;
COMMENT ON FUNCTION wpaas_hook_make(uuid) IS 'A push hook for a site, in place of the one it had; shows the secret this once.';

CREATE OR REPLACE FUNCTION wpaas_hook_forget(p_instance uuid) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    WITH gone AS (DELETE FROM wpaas_hook WHERE instance_id = p_instance RETURNING id)
    DELETE FROM secret WHERE id IN (SELECT id FROM gone);
END $$;
COMMENT ON FUNCTION wpaas_hook_forget(uuid) IS 'A site has no push hook any more.';

CREATE OR REPLACE FUNCTION wpaas_hook_remove(p_instance uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: hooks are written only through here; the caller is asked for the right inside.
BEGIN
    PERFORM wpaas_hook_forget((wpaas_hook_site(p_instance)).id);
END $$;
COMMENT ON FUNCTION wpaas_hook_remove(uuid) IS 'Removes the push hook of a site.';

CREATE OR REPLACE FUNCTION wpaas_push(p_hook uuid, p_body bytea, p_signature text, p_token text, p jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: a git server is nobody; who signs with the secret of a hook may have the site take its code anew.
DECLARE
    _secret constant bytea := (SELECT convert_to(s.value, 'UTF8') FROM secret AS s JOIN wpaas_hook AS h ON h.id = s.id WHERE s.id = p_hook);
BEGIN
    -- What is compared are digests, so that the time it takes tells nothing.
    IF (sha256(convert_to(lower(p_signature), 'UTF8')) = sha256(convert_to('sha256=' || encode(hmac_sha256(_secret, p_body), 'hex'), 'UTF8'))
        OR sha256(convert_to(p_token, 'UTF8')) = sha256(_secret)) IS NOT TRUE THEN
        PERFORM refuse('PV404', 'push hook not found', p_hook::text, 'look at the address and at the secret');
    END IF;
    -- Of a branch or tag that the site does not run, or of what it has, there is nothing to do.
    UPDATE wpaas_hook AS h SET pushed_date = engine_now() FROM wpaas_instance AS i
    WHERE h.id = p_hook AND i.id = h.instance_id AND i.code_url IS NOT NULL AND NOT i.is_deletion_wanted
        AND (p ->> 'ref' IN ('refs/heads/' || COALESCE(i.code_ref, p ->> 'branch'), 'refs/tags/' || i.code_ref)) IS NOT FALSE
        AND NOT EXISTS (SELECT FROM wpaas_version AS v WHERE v.instance_id = i.id AND v.number = i.version_wanted AND v.resolved_ref = p ->> 'commit');
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION wpaas_push(uuid, bytea, text, text, jsonb) IS 'A git server tells of a push (ref, commit, and branch, its default one): signed (HMAC of the body) or with the secret itself. False: nothing to do.';

CREATE OR REPLACE FUNCTION wpaas_pull(p_site wpaas_instance) RETURNS text
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _reason text;
BEGIN
    INSERT INTO provision_wpaas_update (tenant_customer_id, org_id, accreditation_id, instance_id, changes)
    VALUES (p_site.tenant_customer_id, p_site.org_id, p_site.accreditation_id, p_site.id, jsonb_build_object('code_url', p_site.code_url, 'code_ref', p_site.code_ref));
    RETURN NULL;
EXCEPTION WHEN SQLSTATE 'PV404' OR SQLSTATE 'PV409' OR SQLSTATE 'PV422' THEN
    -- What the site has may be allowed no longer: then the push comes to nothing, as an update by hand would.
    GET STACKED DIAGNOSTICS _reason = MESSAGE_TEXT;
    RETURN _reason;
END $$;
COMMENT ON FUNCTION wpaas_pull(wpaas_instance) IS 'Has a site take its code anew; returns why it may not.';

CREATE OR REPLACE FUNCTION sweep_wpaas_pushes() RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    -- Pushes that come while one is being fetched are one update after it.
    UPDATE wpaas_hook AS h SET pushed_date = NULL, reason = wpaas_pull(i) FROM wpaas_instance AS i JOIN wpaas_version AS v ON v.instance_id = i.id AND v.number = i.version_wanted
    WHERE h.pushed_date IS NOT NULL AND i.id = h.instance_id AND i.deleted_date IS NULL AND v.resolved_ref IS NOT NULL;
END $$;
COMMENT ON FUNCTION sweep_wpaas_pushes() IS 'Begins the updates that pushes have asked for.';

-- What it costs ----------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION org_costs(p_org uuid, p_month text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _first constant date := COALESCE(to_date(p_month, 'YYYY-MM'), account_day(account_month(engine_now())));
BEGIN
    PERFORM caller_require('account.read', (SELECT tenant_customer_id FROM org WHERE id = p_org AND status = 'active'), p_org, 'org', p_org::text);
    RETURN (
        WITH cost AS (SELECT c.day, t.module, c.charged, c.imported_date FROM account_cost AS c JOIN cost_tag AS t ON t.tag = c.tag WHERE c.org_id = p_org AND c.day >= _first AND c.day < _first + interval '1 month')
        SELECT jsonb_build_object('month', to_char(_first, 'YYYY-MM'), 'currency', 'USD', 'total', COALESCE((SELECT sum(charged) FROM cost), 0), 'imported_date', (SELECT max(imported_date) FROM cost),
            'modules', (SELECT COALESCE(jsonb_agg(jsonb_build_object('module', module, 'amount', amount) ORDER BY module), '[]') FROM (SELECT module, sum(charged) AS amount FROM cost GROUP BY 1) AS m),
            'days', (SELECT COALESCE(jsonb_agg(jsonb_build_object('day', day, 'amount', amount) ORDER BY day), '[]') FROM (SELECT day, sum(charged) AS amount FROM cost GROUP BY 1) AS d)));
END $$;
COMMENT ON FUNCTION org_costs(uuid, text) IS 'The statement of an org for a month (YYYY-MM, else the present one), in US dollars: by module and by day.';
