-- From an ordered change to its step, and from the row to its job. A thing is named by one of its keys; which one is meant
-- is looked for among those that the order may act on, and another's is not found.

CREATE OR REPLACE FUNCTION object_named(p_table text, p_keys text[], p_item plan_item) RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _given constant text[] := ARRAY(SELECT k FROM unnest(p_keys) AS k WHERE p_item.data ? k);
    _value constant text := p_item.data ->> _given[1];
    _ids uuid[];
BEGIN
    IF cardinality(_given) <> 1 OR jsonb_typeof(p_item.data -> _given[1]) <> 'string' THEN
        PERFORM refuse('PV400', format('%s: name the %s by one of %s', p_item.operation, p_table, array_to_string(p_keys, ', ')), left(p_item.data::text, 200), format('{"%s": "…"}', p_keys[1]));
    END IF;
    -- Those of the order's own org, or of the customer where it is for none, come before others.
    EXECUTE format('SELECT array_agg(o.id) FROM (
            SELECT t.id, rank() OVER (ORDER BY t.org_id IS NOT DISTINCT FROM $3 DESC, t.org_id IS NULL DESC) AS place FROM %I AS t JOIN accreditation AS a ON a.id = t.accreditation_id
            WHERE t.%I = $1::%s AND t.tenant_customer_id = $2 AND ($3 IS NULL OR t.org_id IS NULL OR t.org_id = $3) AND ($4 IS NULL OR a.name = $4) AND t.%I IS NULL) AS o
        WHERE o.place = 1', p_table, _given[1], CASE _given[1] WHEN 'id' THEN 'uuid' ELSE 'text' END, CASE p_table WHEN 'certificate' THEN 'revoked_date' ELSE 'deleted_date' END)
    -- What is no id is none that exists.
    INTO _ids USING CASE WHEN _given[1] <> 'id' OR _value ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN _value END, p_item.tenant_customer_id, p_item.org_id, p_item.data ->> 'accreditation';
    IF _ids IS NULL THEN
        PERFORM refuse('PV404', p_table || ' not found', format('%s %s', _given[1], left(_value, 300)), format('SELECT * FROM v_%s', p_table));
    ELSIF cardinality(_ids) > 1 THEN
        PERFORM refuse('PV422', format('several are meant by this %s', p_table), format('%s %s', _given[1], left(_value, 300)), 'name it by its id, or name the accreditation');
    END IF;
    RETURN _ids[1];
END $$;
COMMENT ON FUNCTION object_named(text, text[], plan_item) IS 'The live object that an item names by one of the keys; refuses one that the item may not act on as it does one that does not exist.';

CREATE OR REPLACE FUNCTION change_steps(p_items plan_item[], p_table text, p_keys text[], p_kind text) RETURNS plan_step[]
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _verb constant text := regexp_replace(p_kind, '^.*_', '');
    _steps plan_step[];
BEGIN
    _steps := ARRAY(
        SELECT ROW(new_id(), i.id, concat_ws(' ', _verb, p_table, (SELECT i.data ->> k FROM unnest(p_keys) AS k WHERE i.data ? k LIMIT 1)), p_kind, new_id(),
            i.data - p_keys - 'accreditation' || jsonb_build_object(p_table || '_id', object_named(p_table, p_keys, i)), '{}')::plan_step
        FROM unnest(p_items) AS i);
    PERFORM object_claim(ARRAY(
        SELECT ROW(p_table, s.data ->> (p_table || '_id'), s.provision_id, s.id, i.tenant_customer_id, engine_now())::object_operation
        FROM unnest(_steps) AS s JOIN unnest(p_items) AS i ON i.id = s.item_id));
    RETURN _steps;
END $$;
COMMENT ON FUNCTION change_steps(plan_item[], text, text[], text) IS 'One step for each item that changes a thing of p_table, named by one of p_keys: a row of the kind, and the only active one on that thing.';

-- Contacts -----------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION contact_update_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _keys constant text[] := '{reference,handle,id}';
    _steps plan_step[];
BEGIN
    PERFORM check_fields('contact.update', ARRAY(SELECT data FROM unnest(p_items)), '{}', '{"reference": "string", "handle": "string", "id": "string", "accreditation": "string", "name": "string",
        "organization": "string|null", "street": "array", "city": "string", "state": "string|null", "postal_code": "string|null", "country_code": "string", "phone": "string|null", "fax": "string|null",
        "email": "string"}');
    PERFORM contact_fields('contact.update', ARRAY(SELECT jsonb_strip_nulls(data) - '{handle,id}'::text[] FROM unnest(p_items)), '{}');
    _steps := change_steps(p_items, 'contact', _keys, 'provision_contact_update');
    -- Null takes a detail away; the row says so with an empty one.
    RETURN QUERY SELECT s.id, s.item_id, s.name, s.provision_table, s.provision_id,
        (SELECT jsonb_object_agg(d.key, CASE WHEN d.value <> 'null' THEN d.value ELSE '""' END) FROM jsonb_each(s.data) AS d), s.depends_on
    FROM unnest(_steps) AS s;
END $$;
COMMENT ON FUNCTION contact_update_plan(plan_item[]) IS 'contact.update: one step, the change.';

CREATE OR REPLACE FUNCTION contact_delete_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM check_fields('contact.delete', ARRAY(SELECT data FROM unnest(p_items)), '{}', '{"reference": "string", "handle": "string", "id": "string", "accreditation": "string"}');
    RETURN QUERY SELECT * FROM unnest(change_steps(p_items, 'contact', '{reference,handle,id}', 'provision_contact_delete'));
END $$;
COMMENT ON FUNCTION contact_delete_plan(plan_item[]) IS 'contact.delete: one step, the deletion.';

CREATE OR REPLACE FUNCTION provision_contact_update_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    -- What is empty in the change is told as such, so that the registry forgets it.
    RETURN QUERY
    SELECT p.id, jsonb_strip_nulls(jsonb_build_object('handle', n.handle, 'phone', COALESCE(n.phone, p.phone), 'fax', COALESCE(n.fax, p.fax), 'email', n.email,
        'name', n.name, 'organization', COALESCE(n.organization, p.organization), 'street', n.street, 'city', n.city, 'state', n.state, 'postal_code', n.postal_code, 'country_code', n.country_code))
    FROM provision_contact_update AS p JOIN contact AS c ON c.id = p.contact_id CROSS JOIN LATERAL contact_changed(c, p) AS n WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_contact_update_job(uuid[]) IS 'What changing a contact needs to know: all its details as they are to be.';

CREATE OR REPLACE FUNCTION provision_contact_delete_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT p.id, jsonb_build_object('handle', c.handle) FROM provision_contact_delete AS p JOIN contact AS c ON c.id = p.contact_id WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_contact_delete_job(uuid[]) IS 'What deleting a contact needs to know.';

-- Hosts --------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION host_update_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM check_fields('host.update', ARRAY(SELECT data FROM unnest(p_items)), '{addresses}', '{"name": "string", "id": "string", "addresses": "array", "accreditation": "string"}');
    PERFORM host_check_addresses(data -> 'addresses') FROM unnest(p_items);
    RETURN QUERY SELECT * FROM unnest(change_steps(p_items, 'host', '{name,id}', 'provision_host_update'));
END $$;
COMMENT ON FUNCTION host_update_plan(plan_item[]) IS 'host.update: one step, the change.';

CREATE OR REPLACE FUNCTION host_delete_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM check_fields('host.delete', ARRAY(SELECT data FROM unnest(p_items)), '{}', '{"name": "string", "id": "string", "accreditation": "string"}');
    RETURN QUERY SELECT * FROM unnest(change_steps(p_items, 'host', '{name,id}', 'provision_host_delete'));
END $$;
COMMENT ON FUNCTION host_delete_plan(plan_item[]) IS 'host.delete: one step, the deletion.';

CREATE OR REPLACE FUNCTION provision_host_update_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY
    SELECT p.id, jsonb_build_object('name', h.name, 'addresses', ARRAY(SELECT host(a) FROM unnest(p.addresses) AS a), 'is_object', host_is_object(h.accreditation_id)) FROM provision_host_update AS p JOIN host AS h ON h.id = p.host_id WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_host_update_job(uuid[]) IS 'What changing a host needs to know.';

CREATE OR REPLACE FUNCTION provision_host_delete_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT p.id, jsonb_build_object('name', h.name, 'is_shared', host_is_shared(h), 'is_object', host_is_object(h.accreditation_id)) FROM provision_host_delete AS p JOIN host AS h ON h.id = p.host_id WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_host_delete_job(uuid[]) IS 'What deleting a host needs to know: one that is also another''s stays at the registry.';

-- Domains ------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION domain_update_step(p_step plan_step, p_item plan_item, p_parts domain_part[]) RETURNS plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _data jsonb := p_step.data;
BEGIN
    IF _data ? 'contacts' THEN
        _data := jsonb_set(_data, '{contacts}', (
            SELECT COALESCE(jsonb_object_agg(t.key, (SELECT COALESCE(jsonb_agg(DISTINCT x.object_id), '[]') FROM unnest(p_parts) AS x WHERE x.type = t.key)), '{}') FROM jsonb_each(_data -> 'contacts') AS t));
    END IF;
    IF _data ? 'hosts' THEN
        _data := jsonb_set(_data, '{hosts}', (SELECT COALESCE(jsonb_agg(DISTINCT x.object_id), '[]') FROM unnest(p_parts) AS x WHERE x.type IS NULL));
    END IF;
    IF _data -> 'pw' = 'null' THEN
        _data := jsonb_set(_data, '{pw}', to_jsonb(auth_info_made(_data -> 'settings')));
    END IF;
    p_step.data := _data;
    p_step.depends_on := ARRAY(SELECT DISTINCT x.awaited FROM unnest(p_parts) AS x WHERE x.awaited IS NOT NULL);
    RETURN p_step;
END $$;
COMMENT ON FUNCTION domain_update_step(plan_step, plan_item, domain_part[]) IS 'The step that changes a domain, with its contacts and hosts by id, after the steps that create those that are new.';

CREATE OR REPLACE FUNCTION domain_update_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _step plan_step;
    _item plan_item;
    _parts domain_part[];
BEGIN
    FOR _step IN SELECT * FROM domain_operation_plan(p_items, 'domain.update', 'provision_domain_update', '{"contacts": "object", "hosts": "array", "pw": "string|null", "statuses": "array", "ds_records": "array", "auto_renew": "boolean"}') LOOP
        SELECT i.* INTO _item FROM unnest(p_items) AS i WHERE i.id = _step.item_id;
        PERFORM check_fields('contacts', ARRAY[_item.data -> 'contacts'], '{}', '{"registrant": "object", "admin": "object|array", "tech": "object|array", "billing": "object|array"}') WHERE _item.data ? 'contacts';
        -- The name is there: a name server under it can come before the change.
        _item.data := _item.data - 'name';
        _parts := ARRAY(SELECT p FROM domain_parts(_item, (_step.data ->> 'accreditation_id')::uuid) AS p);
        PERFORM refuse('PV422', 'the provider chooses the auth info itself', 'pw is not shown', 'give null to have it asked for')
        FROM accreditation AS a WHERE a.id = (_step.data ->> 'accreditation_id')::uuid AND a.provider = 'aws' AND _item.data ->> 'pw' IS NOT NULL;
        _step := domain_update_step(_step, _item, _parts);
        PERFORM domain_check_update(d, jsonb_populate_record(NULL::provision_domain_update, _step.data)) FROM domain AS d WHERE d.id = (_step.data ->> 'domain_id')::uuid;
        RETURN QUERY SELECT (x.step).* FROM unnest(_parts) AS x WHERE (x.step).id IS NOT NULL;
        RETURN NEXT _step;
    END LOOP;
END $$;
COMMENT ON FUNCTION domain_update_plan(plan_item[]) IS 'domain.update: the contacts and hosts that are not there yet side by side, then the change.';

CREATE OR REPLACE FUNCTION contact_handles(p_contacts jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (SELECT jsonb_object_agg(t.key, (SELECT COALESCE(jsonb_agg(c.handle ORDER BY c.handle), '[]') FROM jsonb_array_elements_text(t.value) AS x (id) JOIN contact AS c ON c.id = x.id::uuid)) FROM jsonb_each(p_contacts) AS t);
END $$;
COMMENT ON FUNCTION contact_handles(jsonb) IS 'Contacts that are given by type and id, by type and handle.';

CREATE OR REPLACE FUNCTION provision_domain_update_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO secret (id, value) SELECT p.id, p.pw FROM provision_domain_update AS p WHERE p.id = ANY (p_ids) AND p.pw IS NOT NULL;
    RETURN QUERY
    SELECT p.id, jsonb_strip_nulls(jsonb_build_object('name', p.name, 'statuses', p.statuses, 'ds_records', p.ds_records, 'has_auth_info', p.pw IS NOT NULL,
        'host_model', p.settings ->> 'host_model',
        'hosts', CASE WHEN p.hosts IS NOT NULL THEN host_list(p.hosts) END, 'contacts', contact_handles(p.contacts)))
    FROM provision_domain_update AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_domain_update_job(uuid[]) IS 'What changing a domain needs to know: how that is to be which changes. The auth info is kept apart and read by the worker by row.';
