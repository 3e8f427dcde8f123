-- From what was ordered to plan steps, and from an accepted row to what its job needs to know.

CREATE OR REPLACE FUNCTION contact_fields(p_where text, p_data jsonb[], p_required text[]) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM check_fields(p_where, p_data, p_required, '{"reference": "string", "accreditation": "string", "name": "string", "organization": "string", "street": "array",
        "city": "string", "state": "string", "postal_code": "string", "country_code": "string", "phone": "string", "fax": "string", "email": "string"}');
    PERFORM refuse('PV400', p_where || ': street must be a list of texts', left(d ->> 'street', 200), 'give one to three lines: ["12 High Street"]')
    FROM unnest(p_data) AS d WHERE d -> 'street' @? 'strict $[*] ? (@.type() != "string")';
    PERFORM contact_check_reference(d ->> 'reference') FROM unnest(p_data) AS d WHERE length(d ->> 'reference') NOT BETWEEN 1 AND 255;
END $$;
COMMENT ON FUNCTION contact_fields(text, jsonb[], text[]) IS 'Checks the shape of contacts in orders.';

CREATE OR REPLACE FUNCTION contact_digest(p_data jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN 'sha256-' || substr(encode(sha256(convert_to((p_data - '{reference,accreditation}'::text[])::text, 'UTF8')), 'hex'), 1, 24);
END $$;
COMMENT ON FUNCTION contact_digest(jsonb) IS 'The reference of a contact that was given none: the same details have the same.';

CREATE OR REPLACE FUNCTION contact_create_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _steps plan_step[];
    _claims object_operation[];
    _customers uuid[];
    _orgs uuid[];
    _accreditations uuid[];
    _references text[];
    _taken text;
BEGIN
    PERFORM contact_fields('contact.create', ARRAY(SELECT data FROM unnest(p_items)), '{name,street,city,country_code,email}');
    WITH a AS MATERIALIZED (
        SELECT x.tenant_customer_id, x.name, accreditation_for(x.tenant_customer_id, x.name, '{epp,manual}') AS id
        FROM (SELECT DISTINCT tenant_customer_id, data ->> 'accreditation' AS name FROM unnest(p_items)) AS x),
        c AS MATERIALIZED (
            SELECT i.id AS item_id, i.tenant_customer_id, i.org_id, (SELECT a.id FROM a WHERE a.tenant_customer_id = i.tenant_customer_id AND a.name IS NOT DISTINCT FROM i.data ->> 'accreditation') AS accreditation_id, COALESCE(i.data ->> 'reference', contact_digest(i.data)) AS reference, i.data,
                new_id(i.id, 'step') AS id, new_id(i.id, 'contact') AS provision_id
            FROM unnest(p_items) AS i)
    SELECT array_agg(ROW(c.id, c.item_id, 'contact ' || c.reference, 'provision_contact', c.provision_id,
            c.data || CASE WHEN c.data ? 'reference' THEN jsonb_build_object('accreditation_id', c.accreditation_id) ELSE jsonb_build_object('accreditation_id', c.accreditation_id, 'reference', c.reference) END, '{}')::plan_step),
        array_agg(ROW('contact', concat(c.tenant_customer_id, ':', c.org_id, ':', c.accreditation_id, ':', c.reference), c.provision_id, c.id, c.tenant_customer_id, engine_now())::object_operation),
        array_agg(c.tenant_customer_id), array_agg(c.org_id), array_agg(c.accreditation_id), array_agg(c.reference)
    INTO _steps, _claims, _customers, _orgs, _accreditations, _references FROM c;
    PERFORM object_claim(_claims);
    -- After the claim: whoever had it before may just have completed.
    SELECT n.reference INTO _taken FROM unnest(_customers, _orgs, _accreditations, _references) AS n (customer, org, accreditation, reference)
    WHERE (SELECT true FROM contact AS c WHERE c.reference = n.reference AND c.accreditation_id = n.accreditation
        AND c.tenant_customer_id = n.customer AND c.org_id IS NOT DISTINCT FROM n.org AND c.deleted_date IS NULL) LIMIT 1;
    IF FOUND THEN
        PERFORM refuse('PV409', 'the contact exists', 'reference ' || _taken, 'use it by its reference, or take another one');
    END IF;
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
    -- By name, so that two orders for the same hosts claim them in the same order.
    FOREACH _item IN ARRAY ARRAY(SELECT i FROM unnest(p_items) AS i ORDER BY i.data ->> 'name', i.data ->> 'accreditation') LOOP
        PERFORM check_fields('host.create', ARRAY[_item.data], '{name}', '{"name": "string", "addresses": "array", "accreditation": "string"}');
        PERFORM domain_check_name(_item.data ->> 'name');
        _accreditation := accreditation_for(_item.tenant_customer_id, _item.data ->> 'accreditation', '{epp,manual}');
        _step := host_step(_item.id, _accreditation, _item.data - 'accreditation');
        PERFORM object_claim('host', object_key(_item.tenant_customer_id, _item.org_id, _accreditation, _item.data ->> 'name'), _step.provision_id, _step.id, _item.tenant_customer_id);
        PERFORM host_check_new(_item.tenant_customer_id, _item.org_id, _accreditation, _item.data ->> 'name');
        RETURN NEXT _step;
    END LOOP;
END $$;
COMMENT ON FUNCTION host_create_plan(plan_item[]) IS 'host.create: one step, the host.';

CREATE OR REPLACE FUNCTION host_check_addresses(p_addresses jsonb) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
DECLARE
    _address jsonb;
BEGIN
    FOR _address IN SELECT jsonb_array_elements(p_addresses) LOOP
        BEGIN
            PERFORM (_address ->> 0)::inet WHERE jsonb_typeof(_address) = 'string';
            IF NOT FOUND OR (_address ->> 0) LIKE '%/%' THEN
                RAISE invalid_text_representation;
            END IF;
        EXCEPTION WHEN invalid_text_representation THEN
            PERFORM refuse('PV422', 'not an IP address', left(_address::text, 200), 'addresses are strings: ["192.0.2.1", "2001:db8::1"]');
        END;
    END LOOP;
END $$;
COMMENT ON FUNCTION host_check_addresses(jsonb) IS 'Refuses what is not a list of IP addresses.';

CREATE OR REPLACE FUNCTION host_step(p_item uuid, p_accreditation uuid, p_data jsonb) RETURNS plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM host_check_addresses(COALESCE(p_data -> 'addresses', '[]'));
    RETURN ROW(new_id(), p_item, 'host ' || (p_data ->> 'name'), 'provision_host', new_id(), p_data || jsonb_build_object('accreditation_id', p_accreditation), '{}')::plan_step;
END $$;
COMMENT ON FUNCTION host_step(uuid, uuid, jsonb) IS 'The step that makes a host known.';

CREATE OR REPLACE FUNCTION contact_step(p_item uuid, p_accreditation uuid, p_reference text, p_data jsonb) RETURNS plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RETURN ROW(new_id(), p_item, 'contact ' || p_reference, 'provision_contact', new_id(), p_data || jsonb_build_object('accreditation_id', p_accreditation, 'reference', p_reference), '{}')::plan_step;
END $$;
COMMENT ON FUNCTION contact_step(uuid, uuid, text, jsonb) IS 'The step that creates a contact.';

-- A domain and its parts ---------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION domain_part_live(p_type text, p_accreditation uuid, p_name text, p_item plan_item) RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _id uuid;
BEGIN
    EXECUTE format('SELECT COALESCE(%1$I($1, $2, $3, $4), %1$I($1, NULL, $3, $4))', p_type || '_live') INTO _id USING p_item.tenant_customer_id, p_item.org_id, p_accreditation, p_name;
    RETURN _id;
END $$;
COMMENT ON FUNCTION domain_part_live(text, uuid, text, plan_item) IS 'The live contact or host of that name that an item may use: its org''s, else the customer''s own.';

CREATE OR REPLACE FUNCTION domain_part_awaited(p_type text, p_accreditation uuid, p_name text, p_item plan_item) RETURNS object_operation
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _operation object_operation := object_awaited(p_type, object_key(p_item.tenant_customer_id, p_item.org_id, p_accreditation, p_name));
BEGIN
    IF _operation.plan_id IS NULL AND p_item.org_id IS NOT NULL THEN
        _operation := object_awaited(p_type, object_key(p_item.tenant_customer_id, NULL, p_accreditation, p_name));
    END IF;
    RETURN _operation;
END $$;
COMMENT ON FUNCTION domain_part_awaited(text, uuid, text, plan_item) IS 'The same of one that is being created.';

CREATE OR REPLACE FUNCTION domain_part(p_type text, p_accreditation uuid, p_name text, p_step plan_step, p_item plan_item) RETURNS domain_part
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _part domain_part;
    _operation object_operation;
BEGIN
    LOOP
        _operation := domain_part_awaited(p_type, p_accreditation, p_name, p_item);
        IF _operation.plan_id IS NOT NULL THEN
            RETURN ROW(NULL, _operation.provision_id, _operation.plan_id, NULL)::domain_part;
        END IF;
        _part.object_id := domain_part_live(p_type, p_accreditation, p_name, p_item);
        IF _part.object_id IS NOT NULL THEN
            RETURN _part;
        ELSIF p_step.id IS NULL THEN
            PERFORM refuse('PV404', p_type || ' not found', p_name, 'give its details to have it created');
        END IF;
        -- Looked for once more under the claim: whoever had it before may just have completed.
        EXIT WHEN object_join(p_type, object_key(p_item.tenant_customer_id, p_item.org_id, p_accreditation, p_name), p_step, p_item.tenant_customer_id);
    END LOOP;
    _part.object_id := domain_part_live(p_type, p_accreditation, p_name, p_item);
    IF _part.object_id IS NOT NULL THEN
        DELETE FROM object_operation WHERE provision_id = p_step.provision_id;
        RETURN _part;
    END IF;
    RETURN ROW(NULL, p_step.provision_id, p_step.id, p_step)::domain_part;
END $$;
COMMENT ON FUNCTION domain_part(text, uuid, text, plan_step, plan_item) IS 'A contact or host that a domain needs: the live one, the one a step is creating, or else p_step, which then is the one that creates it.';

CREATE OR REPLACE FUNCTION domain_part_contact(p_item plan_item, p_accreditation uuid, p_type text, p_spec jsonb) RETURNS domain_part
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _is_reference constant boolean := jsonb_typeof(p_spec) = 'object' AND p_spec ? 'reference' AND NOT p_spec ? 'name';
    _reference text;
    _step plan_step;
BEGIN
    PERFORM contact_fields('contact ' || p_type, ARRAY[p_spec], CASE WHEN _is_reference THEN '{reference}' ELSE '{name,street,city,country_code,email}'::text[] END);
    _reference := COALESCE(p_spec ->> 'reference', contact_digest(p_spec));
    IF NOT _is_reference THEN
        _step := contact_step(p_item.id, p_accreditation, _reference, p_spec - 'accreditation');
    END IF;
    RETURN domain_part('contact', p_accreditation, _reference, _step, p_item);
END $$;
COMMENT ON FUNCTION domain_part_contact(plan_item, uuid, text, jsonb) IS 'A contact of a domain to be, given by its reference or with its details.';

CREATE OR REPLACE FUNCTION domain_part_host(p_item plan_item, p_accreditation uuid, p_spec jsonb) RETURNS domain_part
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _spec constant jsonb := CASE WHEN jsonb_typeof(p_spec) = 'string' THEN jsonb_build_object('name', p_spec) ELSE p_spec END;
    _name constant text := _spec ->> 'name';
BEGIN
    PERFORM check_fields('host', ARRAY[_spec], '{name}', '{"name": "string", "addresses": "array"}');
    PERFORM domain_check_name(_name);
    IF p_item.data ->> 'name' = ANY (domain_suffixes(_name)) THEN
        PERFORM refuse('PV422', 'a name server under the name itself cannot come before it', _name, 'register the name with other name servers, then add this one');
    END IF;
    RETURN domain_part('host', p_accreditation, _name, host_step(p_item.id, p_accreditation, _spec), p_item);
END $$;
COMMENT ON FUNCTION domain_part_host(plan_item, uuid, jsonb) IS 'A name server of a domain to be, given by its name or with its glue.';

CREATE OR REPLACE FUNCTION domain_parts(p_item plan_item, p_accreditation uuid) RETURNS SETOF domain_part
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _spec record;
    _part domain_part;
BEGIN
    FOR _spec IN
        SELECT t.key AS type, 'contact' AS kind, c, NOT c ? 'name' AS is_reference, COALESCE(c ->> 'reference', c::text) AS name FROM jsonb_each(p_item.data -> 'contacts') AS t
        CROSS JOIN LATERAL jsonb_array_elements(CASE WHEN jsonb_typeof(t.value) = 'array' THEN t.value ELSE jsonb_build_array(t.value) END) AS c
        UNION ALL SELECT NULL, 'host', h, false, COALESCE(h ->> 'name', h #>> '{}') FROM jsonb_array_elements(p_item.data -> 'hosts') AS h
        -- Details first: a mere reference may mean a contact described elsewhere in the same item. Then by name, so that two
        -- orders with the same parts claim them in the same order.
        ORDER BY is_reference, kind, name
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
    IF (p_data ->> 'period') ~ '[.eE]' OR abs((p_data ->> 'period')::numeric) > 99 THEN
        PERFORM refuse('PV422', 'the period is not allowed', (p_data ->> 'period') || ' years', 'allowed are ' || (p_settings ->> 'registration_periods'));
    END IF;
    PERFORM domain_check_create(p_data ->> 'name', COALESCE((p_data ->> 'period')::int, 1), p_settings);
    PERFORM check_fields('contacts', ARRAY[COALESCE(p_data -> 'contacts', '{}')], '{}', '{"registrant": "object", "admin": "object|array", "tech": "object|array", "billing": "object|array"}');
    PERFORM domain_check_parts(ARRAY(SELECT key FROM jsonb_each(p_data -> 'contacts') WHERE value <> '[]'),
        (SELECT count(DISTINCT COALESCE(h ->> 'name', h #>> '{}'))::int FROM jsonb_array_elements(p_data -> 'hosts') AS h), p_settings);
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
        PERFORM check_fields('domain.create', ARRAY[_item.data], '{name,hosts}', '{"name": "string", "period": "number", "accreditation": "string", "contacts": "object", "hosts": "array", "auto_renew": "boolean", "ds_records": "array",
            "max_price": "number", "currency": "string"}');
        PERFORM domain_check_name(_item.data ->> 'name');
        _zone := domain_zone(_item.tenant_customer_id, _item.data ->> 'name', _item.data ->> 'accreditation');
        _settings := tld_settings(_zone.id);
        PERFORM domain_check_item(_item.data, _settings);
        PERFORM price_check((_item.data ->> 'max_price')::numeric, _item.data ->> 'currency', _zone.accreditation_id);
        PERFORM domain_ds(_item.data -> 'ds_records', _settings, _zone.accreditation_id);
        _parts := ARRAY(SELECT p FROM domain_parts(_item, _zone.accreditation_id) AS p);
        _step := ROW(new_id(), _item.id, 'domain ' || (_item.data ->> 'name'), 'provision_domain', new_id(), NULL, NULL)::plan_step;
        PERFORM object_claim('domain', _item.data ->> 'name', _step.provision_id, _step.id, _item.tenant_customer_id);
        _step.depends_on := ARRAY(SELECT DISTINCT p.awaited FROM unnest(_parts) AS p WHERE p.awaited IS NOT NULL);
        _step.data := jsonb_build_object('name', _item.data ->> 'name', 'registration_period', COALESCE(_item.data -> 'period', '1'), 'accreditation_id', _zone.accreditation_id,
            'accreditation_tld_id', _zone.id, 'settings', _settings, 'auto_renew', _item.data -> 'auto_renew', 'ds_records', _item.data -> 'ds_records', 'max_price', _item.data -> 'max_price', 'currency', _item.data -> 'currency',
            'contacts', (SELECT COALESCE(jsonb_agg(jsonb_build_object('type', p.type, 'contact_id', p.object_id)), '[]') FROM unnest(_parts) AS p WHERE p.type IS NOT NULL),
            'hosts', (SELECT COALESCE(jsonb_agg(p.object_id), '[]') FROM unnest(_parts) AS p WHERE p.type IS NULL));
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
    SELECT p.id, (SELECT to_jsonb(x) FROM (SELECT p.handle, p.name, p.organization, p.street, p.city, p.state, p.postal_code, p.country_code, p.phone, p.fax, p.email) AS x)
    FROM provision_contact AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_contact_job(uuid[]) IS 'What creating a contact needs to know.';

CREATE OR REPLACE FUNCTION provision_host_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY
    SELECT p.id, jsonb_build_object('name', p.name, 'addresses', ARRAY(SELECT host(a) FROM unnest(p.addresses) AS a), 'is_object', host_is_object(p.accreditation_id)) FROM provision_host AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_host_job(uuid[]) IS 'What creating a host needs to know.';

CREATE OR REPLACE FUNCTION host_list(p_ids uuid[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (SELECT COALESCE(jsonb_agg(jsonb_build_object('name', h.name, 'addresses', ARRAY(SELECT host(a) FROM unnest(h.addresses) AS a)) ORDER BY h.name), '[]') FROM host AS h WHERE h.id = ANY (p_ids));
END $$;
COMMENT ON FUNCTION host_list(uuid[]) IS 'Name servers of a domain as its job has them: [{"name", "addresses"}].';

CREATE OR REPLACE FUNCTION provision_domain_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO secret (id, value) SELECT p.id, p.pw FROM provision_domain AS p WHERE p.id = ANY (p_ids);
    RETURN QUERY
    SELECT p.id, price_limit(p.max_price, p.currency) || jsonb_build_object('name', p.name, 'period', p.registration_period, 'ds_records', COALESCE(p.ds_records, '[]'), 'host_model', p.settings ->> 'host_model',
        'hosts', host_list(ARRAY(SELECT d.host_id FROM provision_domain_host AS d WHERE d.provision_domain_id = p.id)),
        'contacts', (
            SELECT jsonb_object_agg(c.type, CASE WHEN c.type = 'registrant' THEN to_jsonb(c.handles[1]) ELSE to_jsonb(c.handles) END)
            FROM (SELECT d.type, array_agg(c.handle ORDER BY c.handle) AS handles FROM provision_domain_contact AS d JOIN contact AS c ON c.id = d.contact_id
                WHERE d.provision_domain_id = p.id GROUP BY 1) AS c))
    FROM provision_domain AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_domain_job(uuid[]) IS 'What registering a domain needs to know; the auth info is kept apart and read by the worker by row.';
