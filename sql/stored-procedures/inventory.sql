-- Lists of what exists, a page at a time. domain_page() and its like give the ids of a page, newest first, of what the
-- caller may see; v_domain has the rest. A page costs the same wherever in the list it is: ids are ordered by time, and
-- the next page begins below the last id of the one before.

CREATE OR REPLACE FUNCTION inventory_page(p_table text, p_conditions jsonb, p_filter jsonb, p_after uuid, p_limit int) RETURNS SETOF uuid
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _unknown constant text := (SELECT min(key) FROM jsonb_each(p_filter) WHERE NOT p_conditions ? key);
    _sees_all constant boolean := caller_sees_all();
    _where text;
BEGIN
    IF _unknown IS NOT NULL THEN
        PERFORM refuse('PV400', format('%s cannot be filtered by %s', p_table, left(_unknown, 100)), left(p_filter ->> _unknown, 200), 'filters are ' || (SELECT string_agg(key, ', ' ORDER BY key) FROM jsonb_each(p_conditions)));
    END IF;
    -- Only what is asked for stands in the statement, so that it is planned for just that. The texts are those of the functions
    -- below; what the caller gave is a parameter.
    _where := concat_ws(' AND ', CASE WHEN NOT _sees_all THEN 't.tenant_customer_id = $2' END, CASE WHEN NOT _sees_all AND caller_org() IS NOT NULL THEN 't.org_id = $3' END,
        CASE WHEN p_after IS NOT NULL THEN 't.id < $4' END, (SELECT string_agg('(' || (p_conditions ->> key) || ')', ' AND ') FROM jsonb_each(p_filter)), 'true');
    RETURN QUERY EXECUTE format('SELECT t.id FROM %I AS t WHERE %s ORDER BY t.id DESC LIMIT $5', p_table, _where)
    USING p_filter, caller_customer(), caller_org(), p_after, least(greatest(p_limit, 0), 1000);
END $$;
COMMENT ON FUNCTION inventory_page(text, jsonb, jsonb, uuid, int) IS 'Ids of a page of what the caller may see of a table, newest first: those below p_after, that fulfil the conditions of the given filters.';

CREATE OR REPLACE FUNCTION inventory_conditions(p_own jsonb, p_end text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN p_own || jsonb_build_object('org_id', 't.org_id = ($1 ->> ''org_id'')::uuid', 'accreditation', 't.accreditation_id IN (SELECT a.id FROM accreditation AS a WHERE a.name = $1 ->> ''accreditation'')',
        'is_live', format('(t.%I IS NULL) = ($1 ->> ''is_live'')::boolean', p_end));
END $$;
COMMENT ON FUNCTION inventory_conditions(jsonb, text) IS 'The conditions of filters that one list has, with those of all; p_end is the column that says when a thing ended.';

CREATE OR REPLACE FUNCTION domain_page(p_filter jsonb DEFAULT '{}', p_after uuid DEFAULT NULL, p_limit int DEFAULT 50) RETURNS SETOF uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: callers read views only; whose things they are is a condition of the statement.
BEGIN
    RETURN QUERY SELECT inventory_page('domain', inventory_conditions('{
        "name": "t.name = $1 ->> ''name''",
        "zone": "t.accreditation_tld_id IN (SELECT x.id FROM accreditation_tld AS x JOIN tld AS z ON z.id = x.tld_id WHERE z.name = $1 ->> ''zone'')",
        "host": "EXISTS (SELECT FROM domain_host AS u JOIN host AS h ON h.id = u.host_id WHERE u.domain_id = t.id AND h.name = $1 ->> ''host'')",
        "contact": "EXISTS (SELECT FROM domain_contact AS u JOIN contact AS c ON c.id = u.contact_id WHERE u.domain_id = t.id AND c.reference = $1 ->> ''contact'')",
        "status": "t.statuses @> ARRAY[$1 ->> ''status'']",
        "expires_before": "t.ry_expiry_date < ($1 ->> ''expires_before'')::timestamptz",
        "expires_after": "t.ry_expiry_date > ($1 ->> ''expires_after'')::timestamptz"}', 'deleted_date'), p_filter, p_after, p_limit);
END $$;
COMMENT ON FUNCTION domain_page(jsonb, uuid, int) IS 'Ids of a page of names, newest first; filters name, zone, host, contact (a reference), status, expires_before, expires_after, accreditation, org_id, is_live.';

CREATE OR REPLACE FUNCTION contact_page(p_filter jsonb DEFAULT '{}', p_after uuid DEFAULT NULL, p_limit int DEFAULT 50) RETURNS SETOF uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: as domain_page.
BEGIN
    RETURN QUERY SELECT inventory_page('contact', inventory_conditions('{
        "reference": "t.reference = $1 ->> ''reference''",
        "handle": "t.handle = $1 ->> ''handle''",
        "email": "t.email = $1 ->> ''email''"}', 'deleted_date'), p_filter, p_after, p_limit);
END $$;
COMMENT ON FUNCTION contact_page(jsonb, uuid, int) IS 'Ids of a page of contacts, newest first; filters reference, handle, email, accreditation, org_id, is_live.';

CREATE OR REPLACE FUNCTION host_page(p_filter jsonb DEFAULT '{}', p_after uuid DEFAULT NULL, p_limit int DEFAULT 50) RETURNS SETOF uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: as domain_page.
BEGIN
    RETURN QUERY SELECT inventory_page('host', inventory_conditions('{"name": "t.name = $1 ->> ''name''"}', 'deleted_date'), p_filter, p_after, p_limit);
END $$;
COMMENT ON FUNCTION host_page(jsonb, uuid, int) IS 'Ids of a page of name servers, newest first; filters name, accreditation, org_id, is_live.';

CREATE OR REPLACE FUNCTION certificate_page(p_filter jsonb DEFAULT '{}', p_after uuid DEFAULT NULL, p_limit int DEFAULT 50) RETURNS SETOF uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: as domain_page.
BEGIN
    RETURN QUERY SELECT inventory_page('certificate', inventory_conditions('{
        "domain_name": "t.domain_name = $1 ->> ''domain_name''",
        "expires_before": "t.not_after < ($1 ->> ''expires_before'')::timestamptz"}', 'revoked_date'), p_filter, p_after, p_limit);
END $$;
COMMENT ON FUNCTION certificate_page(jsonb, uuid, int) IS 'Ids of a page of certificates, newest first; filters domain_name, expires_before, accreditation, org_id, is_live.';

CREATE OR REPLACE FUNCTION domain_auth_info(p_domain uuid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: nobody but the worker reads secrets; this shows one to whom it belongs.
DECLARE
    _domain domain;
    _secret text;
BEGIN
    -- Who sees all is not the owner of anything.
    SELECT * INTO _domain FROM domain WHERE id = p_domain AND deleted_date IS NULL AND tenant_customer_id = caller_customer() AND (caller_org() IS NULL OR org_id = caller_org());
    IF NOT FOUND THEN
        PERFORM refuse('PV404', 'domain not found', COALESCE(p_domain::text, 'no id given'), 'SELECT id, name FROM v_domain');
    END IF;
    IF session_user = 'provision_api' THEN
        PERFORM caller_require('order.create', _domain.tenant_customer_id, _domain.org_id, 'domain', p_domain::text);
    END IF;
    _secret := (SELECT s.value FROM secret AS s WHERE _domain.auth_info_ref = 'db:' || s.id);
    IF _secret IS NULL THEN
        PERFORM refuse('PV404', 'the auth info is not known', _domain.name, 'order domain.update with "pw": null to have a new one');
    END IF;
    PERFORM domain_note(ARRAY[_domain.id], 'auth_info_shown');
    RETURN _secret;
END $$;
COMMENT ON FUNCTION domain_auth_info(uuid) IS 'The transfer secret of a name of the caller''s, who must be allowed to order; that it was shown is an event.';

CREATE OR REPLACE FUNCTION job_auth_info(p_job uuid) RETURNS TABLE (auth_info text, new_auth_info text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: nobody but the worker reads secrets; this shows them to the person who does its work.
DECLARE
    _job constant job := job_for_update(p_job);
BEGIN
    IF _job.held_at IS NULL OR NOT EXISTS (SELECT FROM accreditation WHERE id = _job.accreditation_id AND provider = 'manual') THEN
        PERFORM refuse('PV422', 'the job is not done by hand', p_job::text, 'those that are: SELECT * FROM v_attention');
    END IF;
    auth_info := (SELECT s.value FROM secret AS s WHERE s.id = _job.reference_id);
    new_auth_info := (SELECT s.value FROM secret AS s WHERE s.id = _job.id);
    IF num_nonnulls(auth_info, new_auth_info) = 0 THEN
        PERFORM refuse('PV404', 'the job has no auth info', p_job::text, 'registrations, transfers and changes of the auth info have one');
    END IF;
    PERFORM job_log(_job, 'auth info shown');
    RETURN NEXT;
END $$;
COMMENT ON FUNCTION job_auth_info(uuid) IS 'For who does a job by hand: the transfer secret that a name is to be given, or that its holder told; and for a transfer the one to give it when it is here, noted with {"is_secret_new": true} in the result. That it was shown is in the audit trail.';
