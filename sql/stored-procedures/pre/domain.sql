-- From what was ordered to plan steps, and from an accepted row to what its job needs to know.

CREATE OR REPLACE FUNCTION contact_fields(p_where text, p_data jsonb, p_required text[]) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM check_fields(p_where, p_data, p_required, '{"reference": "string", "accreditation": "string", "name": "string", "organization": "string", "street": "array",
        "city": "string", "state": "string", "postal_code": "string", "country_code": "string", "phone": "string", "fax": "string", "email": "string"}');
    PERFORM contact_check_reference(p_data ->> 'reference');
END $$;
COMMENT ON FUNCTION contact_fields(text, jsonb, text[]) IS 'Checks the shape of a contact in an order.';

CREATE OR REPLACE FUNCTION contact_data(p_data jsonb, p_accreditation uuid) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
DECLARE
    _details constant jsonb := p_data - '{reference,accreditation}'::text[];
BEGIN
    RETURN _details || jsonb_build_object('accreditation_id', p_accreditation,
        'reference', COALESCE(p_data ->> 'reference', 'sha256-' || substr(encode(sha256(convert_to(_details::text, 'UTF8')), 'hex'), 1, 24)));
END $$;
COMMENT ON FUNCTION contact_data(jsonb, uuid) IS 'Columns of the provision row for a contact in an order; the same details without a reference get the same reference.';

CREATE OR REPLACE FUNCTION contact_create_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp SET enable_nestloop = off SET jit = off AS $$
-- No nested loops, as in order_store.
DECLARE
    _steps plan_step[];
    _claims object_operation[];
BEGIN
    PERFORM contact_fields('contact.create', i.data, '{name,street,city,country_code,email}') FROM unnest(p_items) AS i;
    _steps := ARRAY(
        SELECT ROW(new_id(), i.id, 'contact ' || (c ->> 'reference'), 'provision_contact', new_id(), c, '{}')::plan_step
        FROM (SELECT x.tenant_customer_id, x.name, accreditation_for(x.tenant_customer_id, x.name, '{epp,manual}') AS accreditation_id
            FROM (SELECT DISTINCT tenant_customer_id, data ->> 'accreditation' AS name FROM unnest(p_items)) AS x) AS a
        JOIN unnest(p_items) AS i ON i.tenant_customer_id = a.tenant_customer_id AND i.data ->> 'accreditation' IS NOT DISTINCT FROM a.name
        CROSS JOIN LATERAL contact_data(i.data, a.accreditation_id) AS c);
    PERFORM contact_check_new(i.tenant_customer_id, (s.data ->> 'accreditation_id')::uuid, s.data ->> 'reference') FROM unnest(_steps) AS s JOIN unnest(p_items) AS i ON i.id = s.item_id;
    _claims := ARRAY(
        SELECT ROW('contact', object_key(i.tenant_customer_id, (s.data ->> 'accreditation_id')::uuid, s.data ->> 'reference'), s.provision_id, s.id, i.tenant_customer_id, engine_now())::object_operation
        FROM unnest(_steps) AS s JOIN unnest(p_items) AS i ON i.id = s.item_id);
    PERFORM object_claim(_claims);
    RETURN QUERY SELECT * FROM unnest(_steps);
END $$;
COMMENT ON FUNCTION contact_create_plan(plan_item[]) IS 'contact.create: one step, the contact.';

CREATE OR REPLACE FUNCTION host_create_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _item plan_item;
    _accreditation uuid;
    _step plan_step;
BEGIN
    FOREACH _item IN ARRAY p_items LOOP
        PERFORM check_fields('host.create', _item.data, '{name}', '{"name": "string", "addresses": "array", "accreditation": "string"}');
        _accreditation := accreditation_for(_item.tenant_customer_id, _item.data ->> 'accreditation', '{epp,manual}');
        PERFORM host_check_new(_item.tenant_customer_id, _accreditation, _item.data ->> 'name');
        RETURN NEXT host_step(_item, _accreditation, _item.data);
    END LOOP;
END $$;
COMMENT ON FUNCTION host_create_plan(plan_item[]) IS 'host.create: one step, the host.';

CREATE OR REPLACE FUNCTION host_step(p_item plan_item, p_accreditation uuid, p_data jsonb) RETURNS plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _step plan_step;
BEGIN
    PERFORM domain_check_name(p_data ->> 'name');
    _step := ROW(new_id(), p_item.id, 'host ' || (p_data ->> 'name'), 'provision_host', new_id(), (p_data - 'accreditation') || jsonb_build_object('accreditation_id', p_accreditation), '{}')::plan_step;
    PERFORM object_claim('host', object_key(p_item.tenant_customer_id, p_accreditation, p_data ->> 'name'), _step.provision_id, _step.id, p_item.tenant_customer_id);
    RETURN _step;
END $$;
COMMENT ON FUNCTION host_step(plan_item, uuid, jsonb) IS 'The step that makes a host known.';

CREATE OR REPLACE FUNCTION contact_step(p_item plan_item, p_data jsonb) RETURNS plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _step plan_step := ROW(new_id(), p_item.id, 'contact ' || (p_data ->> 'reference'), 'provision_contact', new_id(), p_data, '{}')::plan_step;
BEGIN
    PERFORM object_claim('contact', object_key(p_item.tenant_customer_id, (p_data ->> 'accreditation_id')::uuid, p_data ->> 'reference'), _step.provision_id, _step.id, p_item.tenant_customer_id);
    RETURN _step;
END $$;
COMMENT ON FUNCTION contact_step(plan_item, jsonb) IS 'The step that creates a contact.';

-- A domain and its parts ---------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION domain_part_contact(p_item plan_item, p_accreditation uuid, p_type text, p_spec jsonb) RETURNS domain_part
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _data jsonb;
    _part domain_part;
    _operation object_operation;
BEGIN
    PERFORM contact_fields('contact ' || p_type, p_spec, CASE WHEN p_spec - 'reference' = '{}' THEN '{reference}' ELSE '{name,street,city,country_code,email}'::text[] END);
    _data := contact_data(p_spec, p_accreditation);
    _operation := object_awaited('contact', object_key(p_item.tenant_customer_id, p_accreditation, _data ->> 'reference'));
    IF _operation.plan_id IS NOT NULL THEN
        _part.object_id := _operation.provision_id;
        _part.awaited := _operation.plan_id;
    ELSIF _operation.provision_id IS NOT NULL THEN
        PERFORM refuse('PV409', 'the contact is just being created', _data ->> 'reference', 'order again when it is there');
    ELSE
        SELECT id INTO _part.object_id FROM contact
        WHERE tenant_customer_id = p_item.tenant_customer_id AND accreditation_id = p_accreditation AND reference = _data ->> 'reference' AND deleted_date IS NULL;
        IF NOT FOUND AND p_spec - 'reference' = '{}' THEN
            PERFORM refuse('PV404', 'contact not found', _data ->> 'reference', 'give its details to have it created');
        ELSIF NOT FOUND THEN
            _part.step := contact_step(p_item, _data);
            _part.object_id := (_part.step).provision_id;
            _part.awaited := (_part.step).id;
        END IF;
    END IF;
    RETURN _part;
END $$;
COMMENT ON FUNCTION domain_part_contact(plan_item, uuid, text, jsonb) IS 'A contact of a domain to be: the live one of that reference, the one that is being created, or a step that creates it.';

CREATE OR REPLACE FUNCTION domain_part_host(p_item plan_item, p_accreditation uuid, p_spec jsonb) RETURNS domain_part
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _spec constant jsonb := CASE WHEN jsonb_typeof(p_spec) = 'string' THEN jsonb_build_object('name', p_spec) ELSE p_spec END;
    _part domain_part;
    _operation object_operation;
BEGIN
    PERFORM check_fields('host', _spec, '{name}', '{"name": "string", "addresses": "array"}');
    IF _spec ->> 'name' = p_item.data ->> 'name' OR _spec ->> 'name' LIKE '%.' || (p_item.data ->> 'name') THEN
        PERFORM refuse('PV422', 'a name server under the name itself cannot come before it', _spec ->> 'name', 'register the name with other name servers, then add this one');
    END IF;
    _operation := object_awaited('host', object_key(p_item.tenant_customer_id, p_accreditation, _spec ->> 'name'));
    IF _operation.plan_id IS NOT NULL THEN
        _part.object_id := _operation.provision_id;
        _part.awaited := _operation.plan_id;
    ELSIF _operation.provision_id IS NOT NULL THEN
        PERFORM refuse('PV409', 'the host is just being created', _spec ->> 'name', 'order again when it is there');
    ELSE
        SELECT id INTO _part.object_id FROM host
        WHERE tenant_customer_id = p_item.tenant_customer_id AND accreditation_id = p_accreditation AND name = _spec ->> 'name' AND deleted_date IS NULL;
        IF NOT FOUND THEN
            _part.step := host_step(p_item, p_accreditation, _spec);
            _part.object_id := (_part.step).provision_id;
            _part.awaited := (_part.step).id;
        END IF;
    END IF;
    RETURN _part;
END $$;
COMMENT ON FUNCTION domain_part_host(plan_item, uuid, jsonb) IS 'A name server of a domain to be: the live one, the one that is being created, or a step that makes it known.';

CREATE OR REPLACE FUNCTION domain_parts(p_item plan_item, p_accreditation uuid) RETURNS SETOF domain_part
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _spec record;
    _part domain_part;
BEGIN
    FOR _spec IN
        SELECT t.key AS type, c, NOT c ? 'name' AS is_reference FROM jsonb_each(p_item.data -> 'contacts') AS t
        CROSS JOIN LATERAL jsonb_array_elements(CASE WHEN jsonb_typeof(t.value) = 'array' THEN t.value ELSE jsonb_build_array(t.value) END) AS c
        UNION ALL SELECT NULL, h, false FROM jsonb_array_elements(p_item.data -> 'hosts') AS h
        -- Details first: a mere reference may mean a contact described elsewhere in the same order.
        ORDER BY is_reference
    LOOP
        IF _spec.type IS NULL THEN
            _part := domain_part_host(p_item, p_accreditation, _spec.c);
        ELSE
            _part := domain_part_contact(p_item, p_accreditation, _spec.type, _spec.c);
        END IF;
        _part.type := _spec.type;
        RETURN NEXT _part;
    END LOOP;
END $$;
COMMENT ON FUNCTION domain_parts(plan_item, uuid) IS 'The contacts and name servers of a domain to be.';

CREATE OR REPLACE FUNCTION domain_check_item(p_data jsonb, p_settings jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF (p_data ->> 'period') ~ '[.eE]' OR (p_data ->> 'period')::numeric > 99 THEN
        PERFORM refuse('PV422', 'the period is not allowed', (p_data ->> 'period') || ' years', 'allowed are ' || (p_settings ->> 'registration_periods'));
    END IF;
    PERFORM domain_check_create(p_data ->> 'name', COALESCE((p_data ->> 'period')::int, 1), p_settings);
    PERFORM check_fields('contacts', p_data -> 'contacts', '{}', '{"registrant": "object", "admin": "object|array", "tech": "object|array", "billing": "object|array"}');
    PERFORM domain_check_parts(ARRAY(SELECT key FROM jsonb_each(p_data -> 'contacts') WHERE value <> '[]'), jsonb_array_length(p_data -> 'hosts'), p_settings);
END $$;
COMMENT ON FUNCTION domain_check_item(jsonb, jsonb) IS 'Refuses at once what the row would be refused for later.';

CREATE OR REPLACE FUNCTION domain_create_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _item plan_item;
    _zone accreditation_tld;
    _settings jsonb;
    _step plan_step;
    _parts domain_part[];
BEGIN
    FOREACH _item IN ARRAY p_items LOOP
        PERFORM check_fields('domain.create', _item.data, '{name,contacts,hosts}', '{"name": "string", "period": "number", "accreditation": "string", "contacts": "object", "hosts": "array"}');
        PERFORM domain_check_name(_item.data ->> 'name');
        _zone := domain_zone(_item.tenant_customer_id, _item.data ->> 'name', _item.data ->> 'accreditation');
        _settings := tld_settings(_zone.id);
        PERFORM domain_check_item(_item.data, _settings);
        _parts := ARRAY(SELECT p FROM domain_parts(_item, _zone.accreditation_id) AS p);
        _step := ROW(new_id(), _item.id, 'domain ' || (_item.data ->> 'name'), 'provision_domain', new_id(), NULL, NULL)::plan_step;
        PERFORM object_claim('domain', _item.data ->> 'name', _step.provision_id, _step.id, _item.tenant_customer_id);
        _step.depends_on := ARRAY(SELECT DISTINCT p.awaited FROM unnest(_parts) AS p WHERE p.awaited IS NOT NULL);
        _step.data := jsonb_build_object('name', _item.data ->> 'name', 'registration_period', COALESCE(_item.data -> 'period', '1'), 'accreditation_id', _zone.accreditation_id,
            'accreditation_tld_id', _zone.id, 'settings', _settings,
            'contacts', (SELECT jsonb_agg(jsonb_build_object('type', p.type, 'contact_id', p.object_id)) FROM unnest(_parts) AS p WHERE p.type IS NOT NULL),
            'hosts', (SELECT jsonb_agg(p.object_id) FROM unnest(_parts) AS p WHERE p.type IS NULL));
        RETURN QUERY SELECT (p.step).* FROM unnest(_parts) AS p WHERE (p.step).id IS NOT NULL;
        RETURN NEXT _step;
    END LOOP;
END $$;
COMMENT ON FUNCTION domain_create_plan(plan_item[]) IS 'domain.create: the contacts and hosts that are not there yet side by side, then the domain.';

CREATE OR REPLACE FUNCTION provision_domain_children(p_plans uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO provision_domain_contact (provision_domain_id, contact_id, type, tenant_customer_id, org_id)
    SELECT DISTINCT s.provision_id, c.contact_id, c.type, s.tenant_customer_id, s.org_id
    FROM order_item_plan AS s CROSS JOIN LATERAL jsonb_to_recordset(s.data -> 'contacts') AS c (type text, contact_id uuid) WHERE s.id = ANY (p_plans);
    INSERT INTO provision_domain_host (provision_domain_id, host_id, tenant_customer_id, org_id)
    SELECT DISTINCT s.provision_id, h::uuid, s.tenant_customer_id, s.org_id
    FROM order_item_plan AS s CROSS JOIN LATERAL jsonb_array_elements_text(s.data -> 'hosts') AS h WHERE s.id = ANY (p_plans);
    UPDATE provision_domain SET is_complete = true WHERE id IN (SELECT s.provision_id FROM order_item_plan AS s WHERE s.id = ANY (p_plans));
END $$;
COMMENT ON FUNCTION provision_domain_children(uuid[]) IS 'Gives registrations their contacts and hosts from their plan steps, and opens the gate.';

-- Jobs ---------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION provision_contact_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY
    SELECT p.id, jsonb_strip_nulls(jsonb_build_object('handle', p.handle, 'phone', p.phone, 'fax', p.fax, 'email', p.email,
        'postal', jsonb_build_object('name', p.name, 'organization', p.organization, 'street', p.street, 'city', p.city, 'state', p.state,
            'postal_code', p.postal_code, 'country_code', p.country_code)))
    FROM provision_contact AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_contact_job(uuid[]) IS 'What creating a contact needs to know.';

CREATE OR REPLACE FUNCTION provision_host_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY
    SELECT p.id, jsonb_build_object('name', p.name, 'addresses', ARRAY(SELECT host(a) FROM unnest(p.addresses) AS a)) FROM provision_host AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_host_job(uuid[]) IS 'What creating a host needs to know.';

CREATE OR REPLACE FUNCTION provision_domain_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO secret (id, value) SELECT p.id, p.pw FROM provision_domain AS p WHERE p.id = ANY (p_ids);
    RETURN QUERY
    SELECT p.id, jsonb_build_object('name', p.name, 'period', p.registration_period,
        'hosts', ARRAY(SELECT h.name FROM provision_domain_host AS d JOIN host AS h ON h.id = d.host_id WHERE d.provision_domain_id = p.id ORDER BY h.name),
        'contacts', (
            SELECT jsonb_object_agg(c.type, CASE WHEN c.type = 'registrant' THEN to_jsonb(c.handles[1]) ELSE to_jsonb(c.handles) END)
            FROM (SELECT d.type, array_agg(c.handle ORDER BY c.handle) AS handles FROM provision_domain_contact AS d JOIN contact AS c ON c.id = d.contact_id
                WHERE d.provision_domain_id = p.id GROUP BY 1) AS c))
    FROM provision_domain AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_domain_job(uuid[]) IS 'What registering a domain needs to know; the auth info is kept apart and read by the worker by row.';
