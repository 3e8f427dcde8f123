-- What a web site must be like. The validation of each kind writes down what is wanted: provision_wpaas makes the
-- wpaas_instance, the others change it, so that a row that is accepted is wanted from that moment, however it came.

CREATE OR REPLACE FUNCTION wpaas_check_label(p_what text, p_label text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF p_label IS NULL OR p_label !~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$' THEN
        PERFORM refuse('PV400', format('the %s is no DNS label', p_what), COALESCE(left(p_label, 100), 'it is missing'), 'at most 63 of a-z, 0-9 and -, not at its ends');
    END IF;
END $$;
COMMENT ON FUNCTION wpaas_check_label(text, text) IS 'Refuses what cannot be one label of a host name.';

CREATE OR REPLACE FUNCTION wpaas_check_features(p_features text[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _unknown constant text := (SELECT COALESCE(left(f, 100), 'NULL') FROM unnest(p_features) AS f WHERE NOT EXISTS (SELECT FROM wpaas_feature WHERE name = f) LIMIT 1);
BEGIN
    IF _unknown IS NOT NULL THEN
        PERFORM refuse('PV422', 'there is no such feature', _unknown, 'there are ' || (SELECT string_agg(name, ', ' ORDER BY name) FROM wpaas_feature));
    END IF;
END $$;
COMMENT ON FUNCTION wpaas_check_features(text[]) IS 'Refuses features that do not exist.';

CREATE OR REPLACE FUNCTION wpaas_check_code(p_url text, p_ref text, p_site wpaas_instance) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _is_private_allowed constant boolean := setting_value('hosting_code_private') = 'true';
    _parts constant text[] := regexp_match(p_url, '^([a-z][a-z0-9+.-]*)://([^/]*)/(.+)$');
    _host constant text := lower(regexp_replace(_parts[2], ':\d+$', ''));
BEGIN
    IF p_url IS NULL AND p_ref IS NULL THEN
        RETURN;
    ELSIF p_url IS NULL OR _parts IS NULL OR length(p_url) > 2000 OR p_url ~ '[^!-~]' OR p_ref !~ '^[A-Za-z0-9][A-Za-z0-9._/+=-]{0,254}$' OR p_ref LIKE '%..%' THEN
        PERFORM refuse('PV422', 'the code cannot be fetched from there', left(COALESCE(p_url, 'code is missing') || COALESCE(' at ' || p_ref, ''), 300), 'give s3://bucket/key or https://host/repository.git, and a branch, tag, commit or version');
    ELSIF _parts[1] = 's3' THEN
        IF (SELECT settings -> 'hosting' -> 'code_buckets' ->> _host FROM accreditation WHERE id = p_site.accreditation_id) IS DISTINCT FROM
            (SELECT c.cid FROM tenant_customer AS a JOIN customer AS c ON c.id = a.customer_id WHERE a.id = p_site.tenant_customer_id) THEN
            PERFORM refuse('PV422', 'the bucket is not one of yours', left(_host, 100), 'ask the operators to enter it, or name one that they have entered for you');
        END IF;
    ELSIF _parts[1] <> 'https' AND NOT (_parts[1] = 'http' AND _is_private_allowed) THEN
        PERFORM refuse('PV422', 'code is fetched by https and from S3 only', left(p_url, 300), 'give s3://bucket/key or https://host/repository.git');
    ELSIF _host LIKE '%@%' THEN
        PERFORM refuse('PV422', 'no credentials in addresses', 'of ' || split_part(_host, '@', 2), 'the repository must be readable without');
    -- Names are looked at again, with their addresses, by the worker.
    ELSIF NOT _is_private_allowed AND (_host !~ '^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]$' OR _host ~ '\.(internal|local|localhost|arpa)$') THEN
        PERFORM refuse('PV422', 'code is fetched from public hosts only', left(_host, 100), 'name a host of the Internet, not an address');
    END IF;
END $$;
COMMENT ON FUNCTION wpaas_check_code(text, text, wpaas_instance) IS 'Refuses places that code may not come from: other schemes, addresses, hosts inside, buckets that were not entered for the customer.';

CREATE OR REPLACE FUNCTION wpaas_check_routes(p_routes jsonb, p_site wpaas_instance) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _version int;
BEGIN
    IF jsonb_typeof(p_routes) IS DISTINCT FROM 'array' OR jsonb_array_length(p_routes) > 20 THEN
        PERFORM refuse('PV422', 'routes are a list of at most 20', left(p_routes::text, 200), '[{"route": "v2", "version": 2}]');
    END IF;
    PERFORM check_fields('route', ARRAY(SELECT jsonb_array_elements(p_routes)), '{route}', '{"route": "string", "version": "number|null", "basic_auth": "boolean"}');
    PERFORM wpaas_check_label('route', r ->> 'route') FROM jsonb_array_elements(p_routes) AS r;
    IF (SELECT count(DISTINCT r ->> 'route') FROM jsonb_array_elements(p_routes) AS r) < jsonb_array_length(p_routes) THEN
        PERFORM refuse('PV422', 'a route is there twice', left(p_routes::text, 200), 'name each once');
    END IF;
    SELECT (r ->> 'version')::int INTO _version FROM jsonb_array_elements(p_routes) AS r
    WHERE r ->> 'version' IS NOT NULL AND NOT EXISTS (SELECT FROM wpaas_version AS v WHERE v.instance_id = p_site.id AND v.number = (r ->> 'version')::numeric) LIMIT 1;
    IF FOUND THEN
        PERFORM refuse('PV404', 'the site has no such version', _version::text, 'its versions list them');
    END IF;
END $$;
COMMENT ON FUNCTION wpaas_check_routes(jsonb, wpaas_instance) IS 'Refuses routes that are no labels, that are there twice, or that point at versions that are not.';

CREATE OR REPLACE FUNCTION wpaas_check_domains(p_site wpaas_instance) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _own constant text := wpaas_domain(p_site.accreditation_id);
    _bad text;
BEGIN
    SELECT COALESCE(d, 'NULL') INTO _bad FROM unnest(p_site.domains) AS d
    WHERE d IS NULL OR length(d) > 64 OR d !~ '^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$' OR d = _own OR d LIKE '%.' || _own LIMIT 1;
    IF FOUND OR cardinality(p_site.domains) > 20 THEN
        PERFORM refuse('PV422', 'not a name of the customer''s own', left(COALESCE(_bad, cardinality(p_site.domains) || ' domains'), 100), 'give at most 20 host names in lower case, of at most 64 characters each, as certificates have it, none of ours');
    END IF;
    SELECT d INTO _bad FROM unnest(p_site.domains) AS d JOIN wpaas_instance AS i ON i.domains @> ARRAY[d] AND i.deleted_date IS NULL AND i.id <> p_site.id LIMIT 1;
    IF FOUND THEN
        PERFORM refuse('PV409', 'another site has the name', _bad, 'take it from there first');
    END IF;
END $$;
COMMENT ON FUNCTION wpaas_check_domains(wpaas_instance) IS 'Refuses domains that are malformed, of ours, or of another site.';

CREATE OR REPLACE FUNCTION wpaas_check_room(p_site wpaas_instance) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _others constant bigint := (SELECT COALESCE(sum(1 + cardinality(i.domains)), 0) FROM wpaas_instance AS i
        WHERE i.org_id = p_site.org_id AND i.accreditation_id = p_site.accreditation_id AND i.id <> p_site.id AND i.deleted_date IS NULL AND 'dedicated_ip' <> ALL (i.features));
BEGIN
    IF 'dedicated_ip' <> ALL (p_site.features) AND _others + 1 + cardinality(p_site.domains) > setting_value('hosting_certificates')::int THEN
        PERFORM refuse('PV409', 'the load balancer of the org has no room for another certificate', format('%s are taken', _others), 'use another org, or the feature dedicated_ip; operators raise the quota and the setting hosting_certificates');
    END IF;
END $$;
COMMENT ON FUNCTION wpaas_check_room(wpaas_instance) IS 'Refuses a site or domain whose certificate the load balancer that the sites of its org share would not show.';

CREATE OR REPLACE FUNCTION wpaas_domain(p_accreditation uuid) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _hosting constant jsonb := (SELECT settings -> 'hosting' FROM accreditation WHERE id = p_accreditation);
BEGIN
    IF NOT COALESCE(_hosting ?& '{domain,zone_id,vpc_id,subnet_ids,image_id,bucket}', false) THEN
        PERFORM refuse('PV409', 'the AWS account is not set up for hosting', p_accreditation::text, 'its settings need {"hosting": {"domain", "zone_id", "vpc_id", "subnet_ids", "image_id", "bucket"}}');
    END IF;
    RETURN _hosting ->> 'domain';
END $$;
COMMENT ON FUNCTION wpaas_domain(uuid) IS 'The domain that sites of an AWS account lie in.';

CREATE OR REPLACE FUNCTION wpaas_nodes(p_site wpaas_instance) RETURNS int
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN CASE WHEN 'autoscale' = ANY (p_site.features) THEN p_site.max_instances ELSE p_site.num_instances END;
END $$;
COMMENT ON FUNCTION wpaas_nodes(wpaas_instance) IS 'How many nodes a site may have; so many are counted against quotas.';

CREATE OR REPLACE FUNCTION wpaas_check(p_site wpaas_instance) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF length(p_site.hostname) > 126 THEN
        PERFORM refuse('PV422', 'the host name is too long for a load balancer', p_site.hostname, 'take a shorter name, in an org with a shorter one: 126 characters in all');
    END IF;
    PERFORM wpaas_check_features(p_site.features);
    PERFORM wpaas_check_routes(p_site.routes, p_site);
    PERFORM wpaas_check_domains(p_site);
    PERFORM wpaas_check_room(p_site);
    IF p_site.num_instances NOT BETWEEN 1 AND 100 OR p_site.min_instances < 1 OR p_site.max_instances NOT BETWEEN p_site.min_instances AND 100 OR (p_site.min_instances IS NULL) <> (p_site.max_instances IS NULL) THEN
        PERFORM refuse('PV422', 'there cannot be so many nodes', format('num_instances %s, min_instances %s, max_instances %s', p_site.num_instances, COALESCE(p_site.min_instances::text, '-'), COALESCE(p_site.max_instances::text, '-')), 'from 1 to 100, the least not above the most');
    ELSIF p_site.basic_auth_revision = 0 AND p_site.routes @> '[{"basic_auth": true}]' THEN
        PERFORM refuse('PV422', 'there is no password that a route could ask for', 'basic_auth', 'give basic_auth_password with it; the user is admin');
    ELSIF 'autoscale' = ANY (p_site.features) AND p_site.min_instances IS NULL THEN
        PERFORM refuse('PV422', 'autoscale needs a range', 'min_instances and max_instances are missing', 'give both');
    ELSIF p_site.backup_hours NOT BETWEEN 0 AND 8760 OR p_site.backup_keep NOT BETWEEN 1 AND 90 THEN
        PERFORM refuse('PV422', 'backups cannot be made so', format('backup_hours %s, backup_keep %s', p_site.backup_hours, p_site.backup_keep), 'every 1 to 8760 hours (0: none), 1 to 90 kept');
    END IF;
END $$;
COMMENT ON FUNCTION wpaas_check(wpaas_instance) IS 'Refuses a site that cannot be wanted so.';

CREATE OR REPLACE FUNCTION wpaas_has_password(p_provision uuid) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: says whether there is one, not which.
BEGIN
    RETURN EXISTS (SELECT FROM secret WHERE id = p_provision AND value::jsonb ? 'basic_auth_password');
END $$;
COMMENT ON FUNCTION wpaas_has_password(uuid) IS 'Whether a password for routes comes with a row.';

CREATE OR REPLACE FUNCTION wpaas_quota(p_site wpaas_instance, p_sites int, p_nodes int) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM quota_take('wpaas', p_site.tenant_customer_id, p_site.org_id, p_site.space_id, p_sites) WHERE p_sites > 0;
    PERFORM quota_take('wpaas_node', p_site.tenant_customer_id, p_site.org_id, p_site.space_id, p_nodes) WHERE p_nodes > 0;
    PERFORM quota_give('wpaas', p_site.tenant_customer_id, p_site.org_id, p_site.space_id, -p_sites) WHERE p_sites < 0;
    PERFORM quota_give('wpaas_node', p_site.tenant_customer_id, p_site.org_id, p_site.space_id, -p_nodes) WHERE p_nodes < 0;
END $$;
COMMENT ON FUNCTION wpaas_quota(wpaas_instance, int, int) IS 'Counts sites and nodes against (or, negative, off) the quotas of space, org and customer.';

CREATE OR REPLACE FUNCTION wpaas_for(p_id uuid, p_generation bigint DEFAULT NULL) RETURNS wpaas_instance
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _site wpaas_instance;
BEGIN
    SELECT * INTO _site FROM wpaas_instance WHERE id = p_id FOR NO KEY UPDATE;
    IF _site.id IS NULL THEN
        PERFORM refuse('PV404', 'web site not found', COALESCE(p_id::text, 'none named'), 'SELECT * FROM v_wpaas');
    ELSIF _site.is_deletion_wanted THEN
        PERFORM refuse('PV409', 'the web site is being deleted', _site.hostname, 'make a new one when it is gone');
    ELSIF p_generation <> _site.generation THEN
        PERFORM refuse('PV412', 'the web site was changed meanwhile', format('generation %s was given, it is %s', p_generation, _site.generation), 'read it again and decide anew');
    END IF;
    RETURN _site;
END $$;
COMMENT ON FUNCTION wpaas_for(uuid, bigint) IS 'A site that is not being deleted, locked; refused if it is not of the generation the one who asks has seen.';

-- Kinds ----------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION provision_wpaas_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: sites are written only through here, and the rules read what the one who inserts may not.
DECLARE
    _profile wpaas_profile;
    _site wpaas_instance;
BEGIN
    NEW.name := lower(NEW.name);
    PERFORM wpaas_check_label('name', NEW.name);
    -- Whoever may insert here was asked already for whom; what is asked now is whether the space is within reach.
    IF NOT EXISTS (SELECT FROM space WHERE id = NEW.space_id AND org_id = NEW.org_id AND tenant_customer_id = NEW.tenant_customer_id AND status = 'active' FOR KEY SHARE)
        OR (session_user IN ('provision_api') AND NOT space_is_reached(NEW.space_id)) THEN
        PERFORM refuse('PV404', 'space not found', COALESCE(NEW.space_id::text, 'space_id is missing'), 'name a space of the org');
    ELSIF EXISTS (SELECT FROM wpaas_instance WHERE org_id = NEW.org_id AND name = NEW.name AND deleted_date IS NULL) THEN
        PERFORM refuse('PV409', 'the org has a site of that name', NEW.name, 'take another');
    END IF;
    SELECT * INTO _profile FROM wpaas_profile WHERE name = NEW.profile AND (tenant_customer_id IS NULL OR tenant_customer_id = NEW.tenant_customer_id) ORDER BY tenant_customer_id NULLS LAST LIMIT 1;
    IF NEW.profile IS NOT NULL AND _profile.id IS NULL THEN
        PERFORM refuse('PV422', 'there is no such profile', left(NEW.profile, 100), 'v_wpaas_profile and GET /profiles/<cid> list them');
    END IF;
    _site := jsonb_populate_record(NULL::wpaas_instance, jsonb_build_object(
        'id', NEW.id, 'tenant_customer_id', NEW.tenant_customer_id, 'org_id', NEW.org_id, 'space_id', NEW.space_id, 'accreditation_id', NEW.accreditation_id, 'name', NEW.name,
        'hostname', concat_ws('.', NEW.name, (SELECT slug FROM org WHERE id = NEW.org_id), 'www', wpaas_domain(NEW.accreditation_id)),
        'num_instances', COALESCE(NEW.num_instances, _profile.num_instances, 1), 'min_instances', COALESCE(NEW.min_instances, _profile.min_instances),
        'max_instances', COALESCE(NEW.max_instances, _profile.max_instances), 'features', ARRAY(SELECT DISTINCT f FROM unnest(NEW.features || COALESCE(_profile.features, '{}')) AS f ORDER BY f), 'profile', NEW.profile,
        'code_url', NEW.code_url, 'code_ref', NEW.code_ref, 'domains', NEW.domains, 'routes', NEW.routes, 'basic_auth_revision', wpaas_has_password(NEW.id)::int, 'version_wanted', CASE WHEN NEW.code_url IS NULL THEN 0 ELSE 1 END));
    PERFORM wpaas_check_code(NEW.code_url, NEW.code_ref, _site);
    PERFORM wpaas_make(_site);
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_wpaas_validate() IS 'Refuses a site that cannot be; makes its wpaas_instance, with the values of its profile where the request has none.';

CREATE OR REPLACE FUNCTION wpaas_make(p_site wpaas_instance) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _site wpaas_instance := p_site;
BEGIN
    _site := jsonb_populate_record(_site, '{"is_suspended": false, "is_deletion_wanted": false, "database_revision": 1, "backup_hours": 24, "backup_keep": 7}');
    PERFORM wpaas_check(_site);
    PERFORM wpaas_quota(_site, 1, wpaas_nodes(_site));
    INSERT INTO wpaas_instance (id, tenant_customer_id, org_id, space_id, accreditation_id, name, hostname, num_instances, min_instances, max_instances, features, profile, code_url, code_ref, domains, routes, basic_auth_revision, version_wanted)
    SELECT s.id, s.tenant_customer_id, s.org_id, s.space_id, s.accreditation_id, s.name, s.hostname, s.num_instances, s.min_instances, s.max_instances, s.features, s.profile, s.code_url, s.code_ref, s.domains, s.routes, s.basic_auth_revision, s.version_wanted
    FROM (SELECT _site.*) AS s;
    INSERT INTO wpaas_watch (instance_id, tenant_customer_id, org_id, backup_date) VALUES (_site.id, _site.tenant_customer_id, _site.org_id, engine_now() + interval '24 hours');
    INSERT INTO wpaas_version (instance_id, tenant_customer_id, org_id, number, resolved_ref) VALUES (_site.id, _site.tenant_customer_id, _site.org_id, 0, 'stock');
    INSERT INTO wpaas_version (instance_id, tenant_customer_id, org_id, number, code_url, code_ref)
    SELECT _site.id, _site.tenant_customer_id, _site.org_id, 1, _site.code_url, _site.code_ref WHERE _site.code_url IS NOT NULL;
    INSERT INTO cost_tag (tag, tenant_customer_id, org_id, accreditation_id, module)
    VALUES (wpaas_cost_tag(_site.org_id, _site.accreditation_id), _site.tenant_customer_id, _site.org_id, _site.accreditation_id, 'hosting') ON CONFLICT DO NOTHING;
    INSERT INTO schedule (name, job_type, accreditation_id, every, next_date)
    VALUES ('find strays ' || _site.accreditation_id, 'wpaas_stray', _site.accreditation_id, interval '30 minutes', engine_now() + interval '30 minutes') ON CONFLICT DO NOTHING;
END $$;
COMMENT ON FUNCTION wpaas_make(wpaas_instance) IS 'Stores a new site, counted against the quotas, with the versions of its code that are known; has the AWS account asked for costs and strays.';

CREATE OR REPLACE FUNCTION wpaas_cost_tag(p_org uuid, p_accreditation uuid) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    -- Tags are unique; an org may have sites in several accounts.
    RETURN format('hosting-%s-%s', (SELECT slug FROM org WHERE id = p_org), right(p_accreditation::text, 8));
END $$;
COMMENT ON FUNCTION wpaas_cost_tag(uuid, uuid) IS 'The tag by which AWS tells what the sites of an org cost.';

CREATE OR REPLACE FUNCTION wpaas_changed(p_site wpaas_instance, p_changes jsonb) RETURNS wpaas_instance
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _site wpaas_instance;
BEGIN
    PERFORM check_fields('web site', ARRAY[p_changes], '{}', '{"num_instances": "number", "min_instances": "number|null", "max_instances": "number|null", "features": "array", "code_url": "string|null", "code_ref": "string|null",
        "domains": "array", "routes": "array", "is_suspended": "boolean", "version": "number", "backup_hours": "number", "backup_keep": "number"}');
    _site := jsonb_populate_record(p_site, p_changes);
    IF p_changes ? 'version' THEN
        IF p_changes ?| '{code_url,code_ref}' OR NOT EXISTS (SELECT FROM wpaas_version AS v WHERE v.instance_id = p_site.id AND v.number = (p_changes ->> 'version')::int AND v.resolved_ref IS NOT NULL) THEN
            PERFORM refuse(CASE WHEN p_changes ?| '{code_url,code_ref}' THEN 'PV422' ELSE 'PV404' END, 'there is no such version to go back to', p_changes ->> 'version', 'name one of its versions that was fetched, and no code with it');
        END IF;
        SELECT v.number, v.code_url, v.code_ref INTO _site.version_wanted, _site.code_url, _site.code_ref FROM wpaas_version AS v WHERE v.instance_id = p_site.id AND v.number = (p_changes ->> 'version')::int;
    ELSIF p_changes ?| '{code_url,code_ref}' THEN
        _site.code_ref := CASE WHEN p_changes ? 'code_ref' OR _site.code_url IS NOT DISTINCT FROM p_site.code_url THEN _site.code_ref END;
        PERFORM wpaas_check_code(_site.code_url, _site.code_ref, _site);
        INSERT INTO wpaas_version (instance_id, tenant_customer_id, org_id, number, code_url, code_ref, resolved_ref)
        SELECT p_site.id, p_site.tenant_customer_id, p_site.org_id, max(number) + 1, _site.code_url, _site.code_ref, CASE WHEN _site.code_url IS NULL THEN 'stock' END FROM wpaas_version WHERE instance_id = p_site.id RETURNING number INTO _site.version_wanted;
    END IF;
    IF ('dedicated_ip' = ANY (p_site.features)) <> ('dedicated_ip' = ANY (_site.features)) THEN
        PERFORM refuse('PV409', 'a site keeps the kind of address it was made with', 'dedicated_ip', 'make a new site, and bring the data there');
    END IF;
    PERFORM wpaas_check(_site);
    RETURN _site;
END $$;
COMMENT ON FUNCTION wpaas_changed(wpaas_instance, jsonb) IS 'A site with changes applied and checked; other code is a new version of it.';

CREATE OR REPLACE FUNCTION provision_wpaas_update_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: sites are written only through here.
DECLARE
    _old wpaas_instance := wpaas_for(NEW.instance_id, NEW.known_generation);
    _new wpaas_instance := _old;
BEGIN
    -- A password that comes with it counts from when the worker has put it where nodes read it.
    _new.basic_auth_revision := _old.basic_auth_revision + wpaas_has_password(NEW.id)::int;
    _new := wpaas_changed(_new, NEW.changes);
    PERFORM wpaas_same_place(_old, NEW.tenant_customer_id, NEW.org_id);
    PERFORM wpaas_quota(_new, 0, wpaas_nodes(_new) - wpaas_nodes(_old));
    NEW.accreditation_id := _old.accreditation_id;
    NEW.generation := _old.generation + 1;
    UPDATE wpaas_instance SET generation = NEW.generation, num_instances = _new.num_instances, min_instances = _new.min_instances, max_instances = _new.max_instances, features = _new.features,
        code_url = _new.code_url, code_ref = _new.code_ref, version_wanted = _new.version_wanted, domains = _new.domains, routes = _new.routes, is_suspended = _new.is_suspended,
        backup_hours = _new.backup_hours, backup_keep = _new.backup_keep, updated_date = engine_now(), updated_by = caller_name() WHERE id = _old.id;
    UPDATE wpaas_watch SET backup_date = engine_now() + make_interval(hours => _new.backup_hours) WHERE instance_id = _old.id AND _new.backup_hours <> _old.backup_hours;
    PERFORM wpaas_wake(ARRAY[_old.id]);
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_wpaas_update_validate() IS 'Changes what is wanted of a site, or refuses to.';

CREATE OR REPLACE FUNCTION wpaas_same_place(p_site wpaas_instance, p_tenant_customer uuid, p_org uuid) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF p_site.tenant_customer_id <> p_tenant_customer OR p_site.org_id IS DISTINCT FROM p_org OR (session_user = 'provision_api' AND NOT space_is_reached(p_site.space_id)) THEN
        PERFORM refuse('PV404', 'web site not found', p_site.id::text, 'SELECT * FROM v_wpaas');
    END IF;
END $$;
COMMENT ON FUNCTION wpaas_same_place(wpaas_instance, uuid, uuid) IS 'Refuses a site of another customer or org, or in a space out of reach, as one that does not exist.';

CREATE OR REPLACE FUNCTION provision_wpaas_converge_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: reads what the one who inserts may not.
BEGIN
    IF NOT EXISTS (SELECT FROM wpaas_instance WHERE id = NEW.instance_id AND tenant_customer_id = NEW.tenant_customer_id AND org_id = NEW.org_id AND accreditation_id = NEW.accreditation_id AND deleted_date IS NULL) THEN
        PERFORM refuse('PV404', 'web site not found', NEW.instance_id::text, 'SELECT * FROM v_wpaas');
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_wpaas_converge_validate() IS 'Refuses a caretaker for a site that is not there.';

CREATE OR REPLACE FUNCTION provision_wpaas_backup_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: reads what the one who inserts may not.
DECLARE
    _site wpaas_instance := wpaas_for(NEW.instance_id);
BEGIN
    PERFORM wpaas_same_place(_site, NEW.tenant_customer_id, NEW.org_id);
    IF _site.observed_generation = 0 THEN
        PERFORM refuse('PV409', 'the web site has no data yet', _site.hostname, 'wait until it is ready');
    END IF;
    NEW.accreditation_id := _site.accreditation_id;
    PERFORM object_claim('backup', _site.id::text, NEW.id, NEW.order_item_plan_ids[1], NEW.tenant_customer_id);
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_wpaas_backup_validate() IS 'Refuses a backup of a site that has no database yet, and a second one while one is being made.';

CREATE OR REPLACE FUNCTION provision_wpaas_restore_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: reads what the one who inserts may not.
DECLARE
    _site wpaas_instance := wpaas_for(NEW.instance_id);
BEGIN
    PERFORM wpaas_same_place(_site, NEW.tenant_customer_id, NEW.org_id);
    IF NOT EXISTS (SELECT FROM wpaas_backup WHERE instance_id = _site.id AND snapshot = NEW.snapshot AND expired_date IS NULL AND removal_date IS NULL)
        AND NOT EXISTS (SELECT FROM wpaas_version WHERE instance_id = _site.id AND snapshot = NEW.snapshot) THEN
        PERFORM refuse('PV404', 'backup not found', left(NEW.snapshot, 300), 'the backups and versions of the site list their snapshots');
    END IF;
    NEW.accreditation_id := _site.accreditation_id;
    NEW.database_revision := greatest(_site.database_revision, (SELECT max(database_revision) FROM provision_wpaas_restore WHERE instance_id = _site.id)) + 1;
    PERFORM object_claim('restore', _site.id::text, NEW.id, NEW.order_item_plan_ids[1], NEW.tenant_customer_id);
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_wpaas_restore_validate() IS 'Refuses snapshots that are not the site''s, and a second restore while one is going on; numbers the database.';

CREATE OR REPLACE FUNCTION provision_wpaas_download_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: reads what the one who inserts may not.
DECLARE
    _site wpaas_instance := wpaas_for(NEW.instance_id);
BEGIN
    PERFORM wpaas_same_place(_site, NEW.tenant_customer_id, NEW.org_id);
    IF NOT EXISTS (SELECT FROM wpaas_backup WHERE id = NEW.backup_id AND instance_id = _site.id AND expired_date IS NULL AND removal_date IS NULL) THEN
        PERFORM refuse('PV404', 'backup not found', COALESCE(NEW.backup_id::text, 'none named'), 'the backups of the site are listed');
    END IF;
    NEW.accreditation_id := _site.accreditation_id;
    -- Each takes a database for a while: one at a time.
    PERFORM object_claim('download', _site.id::text, NEW.id, NEW.order_item_plan_ids[1], NEW.tenant_customer_id);
    INSERT INTO wpaas_dump VALUES (NEW.id, NEW.accreditation_id);
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_wpaas_download_validate() IS 'Refuses backups that are not the site''s, and a second download of the site while one is being made.';

CREATE OR REPLACE FUNCTION provision_wpaas_delete_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: sites are written only through here.
DECLARE
    _site wpaas_instance := wpaas_for(NEW.instance_id);
BEGIN
    PERFORM wpaas_same_place(_site, NEW.tenant_customer_id, NEW.org_id);
    NEW.accreditation_id := _site.accreditation_id;
    UPDATE wpaas_instance SET is_deletion_wanted = true, generation = generation + 1, phase = 'deleting', updated_date = engine_now(), updated_by = caller_name() WHERE id = _site.id;
    PERFORM wpaas_begin(_site.id);
    PERFORM wpaas_wake(ARRAY[_site.id]);
    -- Others that are at the site end now.
    PERFORM wpaas_hurry(ARRAY(SELECT job_id FROM wpaas_working(_site.id)));
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_wpaas_delete_validate() IS 'Has a site taken down.';
