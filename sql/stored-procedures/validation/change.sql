-- What a change to a contact or host must be like: the thing is there and may be touched by the one who asks, nothing else
-- is being done to it, it looks as it must afterwards, and what is deleted is not in use. An order of an org may act on what
-- is the org's and on what is the customer's own; an order without an org on anything of the customer's.

CREATE OR REPLACE FUNCTION change_claim(p_type text, p_object uuid, p_row class.provision) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    -- By its id. Under the key by which a contact or host is created, orders of domains would wait for the change as if it
    -- made the thing. What comes from a plan was claimed there, all of it at once and in order.
    IF p_row.order_item_plan_ids = '{}' THEN
        PERFORM object_claim(p_type, p_object::text, p_row.id, NULL, p_row.tenant_customer_id);
    END IF;
END $$;
COMMENT ON FUNCTION change_claim(text, uuid, class.provision) IS 'Makes a row that was inserted without an order the one active change of its object, or refuses.';

-- Contacts -----------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION contact_for(p_tenant_customer uuid, p_org uuid, p_id uuid) RETURNS contact
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _contact contact;
BEGIN
    SELECT * INTO _contact FROM contact
    WHERE id = p_id AND tenant_customer_id = p_tenant_customer AND (p_org IS NULL OR org_id IS NULL OR org_id = p_org) AND deleted_date IS NULL;
    IF NOT FOUND THEN
        PERFORM refuse('PV404', 'contact not found', COALESCE(p_id::text, 'contact_id is missing'), 'SELECT * FROM v_contact');
    END IF;
    RETURN _contact;
END $$;
COMMENT ON FUNCTION contact_for(uuid, uuid, uuid) IS 'A live contact that may be acted on for an org, or for the customer; another''s answers as one that does not exist.';

CREATE OR REPLACE FUNCTION contact_changed(p_contact contact, p_change provision_contact_update) RETURNS provision_contact
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _row provision_contact;
BEGIN
    _row.handle := p_contact.handle;
    _row.name := COALESCE(p_change.name, p_contact.name);
    _row.organization := nullif(COALESCE(p_change.organization, p_contact.organization), '');
    _row.street := COALESCE(p_change.street, p_contact.street);
    _row.city := COALESCE(p_change.city, p_contact.city);
    _row.state := nullif(COALESCE(p_change.state, p_contact.state), '');
    _row.postal_code := nullif(COALESCE(p_change.postal_code, p_contact.postal_code), '');
    _row.country_code := COALESCE(p_change.country_code, p_contact.country_code);
    _row.phone := nullif(COALESCE(p_change.phone, p_contact.phone), '');
    _row.fax := nullif(COALESCE(p_change.fax, p_contact.fax), '');
    _row.email := COALESCE(p_change.email, p_contact.email);
    RETURN _row;
END $$;
COMMENT ON FUNCTION contact_changed(contact, provision_contact_update) IS 'The details of a contact after a change.';

CREATE OR REPLACE FUNCTION provision_contact_update_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the rules read what the one who inserts may not.
DECLARE
    _contact constant contact := contact_for(NEW.tenant_customer_id, NEW.org_id, NEW.contact_id);
BEGIN
    NEW.accreditation_id := _contact.accreditation_id;
    PERFORM change_claim('contact', NEW.contact_id, NEW);
    IF num_nonnulls(NEW.name, NEW.organization, NEW.street, NEW.city, NEW.state, NEW.postal_code, NEW.country_code, NEW.phone, NEW.fax, NEW.email) = 0 THEN
        PERFORM refuse('PV422', 'nothing is to be changed', 'contact ' || _contact.reference, 'give the details that are to be others');
    END IF;
    PERFORM contact_check_details(contact_changed(_contact, NEW));
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_contact_update_validate() IS 'Refuses a change of another''s contact, one after which it would be malformed (RFC 5733), and a second one while one is active.';

CREATE OR REPLACE FUNCTION provision_contact_delete_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the rules read what the one who inserts may not.
DECLARE
    _contact constant contact := contact_for(NEW.tenant_customer_id, NEW.org_id, NEW.contact_id);
BEGIN
    NEW.accreditation_id := _contact.accreditation_id;
    PERFORM change_claim('contact', NEW.contact_id, NEW);
    PERFORM change_check_unused('contact', _contact.reference, NEW.org_id,
        ARRAY(SELECT d FROM domain_contact AS c JOIN domain AS d ON d.id = c.domain_id WHERE c.contact_id = NEW.contact_id AND d.deleted_date IS NULL),
        ARRAY(SELECT o.object_key FROM domain_operations(NEW.tenant_customer_id) AS o
            WHERE (o.data -> 'contacts')::text LIKE '%' || NEW.contact_id || '%'
                OR EXISTS (SELECT FROM provision_domain_contact AS c WHERE c.provision_domain_id = o.provision_id AND c.contact_id = NEW.contact_id)));
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_contact_delete_validate() IS 'Refuses the deletion of another''s contact, or of one that a domain uses or is about to use.';

CREATE OR REPLACE FUNCTION domain_operations(p_tenant_customer uuid) RETURNS TABLE (object_key text, provision_id uuid, data jsonb)
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT o.object_key, o.provision_id, COALESCE(p.data, to_jsonb(u)) FROM object_operation AS o
    LEFT JOIN order_item_plan AS p ON p.id = o.plan_id LEFT JOIN provision_domain_update AS u ON u.id = o.provision_id
    WHERE o.object_type = 'domain' AND o.tenant_customer_id = p_tenant_customer;
END $$;
COMMENT ON FUNCTION domain_operations(uuid) IS 'What is being done to domains of a customer: the name, the row that does it, and with which contacts and hosts, as the plan step or the row has it.';

CREATE OR REPLACE FUNCTION change_check_unused(p_type text, p_name text, p_org uuid, p_domains domain[], p_coming text[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    -- An org is not told the names of another.
    _names constant text := (SELECT string_agg(d.name, ', ' ORDER BY d.name) FROM (SELECT DISTINCT x.name FROM unnest(p_domains) AS x WHERE p_org IS NULL OR x.org_id IS NULL OR x.org_id = p_org ORDER BY x.name LIMIT 5) AS d);
BEGIN
    IF cardinality(p_domains) > 0 THEN
        PERFORM refuse('PV409', format('the %s is in use by domains', p_type), format('%s: %s', p_name, COALESCE(_names, 'domains of another org')), 'order domain.update with others in its place first');
    ELSIF cardinality(p_coming) > 0 THEN
        PERFORM refuse('PV409', format('the %s is about to be used by a domain', p_type), format('%s: %s', p_name, CASE WHEN p_org IS NULL THEN p_coming[1] ELSE 'an order that has not ended' END), 'wait until that order has ended');
    END IF;
END $$;
COMMENT ON FUNCTION change_check_unused(text, text, uuid, domain[], text[]) IS 'Refuses to delete what domains use, or orders of domains are about to use.';

-- Hosts --------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION host_for(p_tenant_customer uuid, p_org uuid, p_id uuid) RETURNS host
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _host host;
BEGIN
    SELECT * INTO _host FROM host
    WHERE id = p_id AND tenant_customer_id = p_tenant_customer AND (p_org IS NULL OR org_id IS NULL OR org_id = p_org) AND deleted_date IS NULL;
    IF NOT FOUND THEN
        PERFORM refuse('PV404', 'host not found', COALESCE(p_id::text, 'host_id is missing'), 'SELECT * FROM v_host');
    END IF;
    RETURN _host;
END $$;
COMMENT ON FUNCTION host_for(uuid, uuid, uuid) IS 'A live host that may be acted on for an org, or for the customer; another''s answers as one that does not exist.';

CREATE OR REPLACE FUNCTION host_is_shared(p_host host) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT FROM host WHERE name = p_host.name AND accreditation_id = p_host.accreditation_id AND id <> p_host.id AND deleted_date IS NULL)
        OR EXISTS (SELECT FROM object_operation WHERE object_type = 'host' AND object_key LIKE '%:' || p_host.accreditation_id || ':' || p_host.name);
END $$;
COMMENT ON FUNCTION host_is_shared(host) IS 'Whether the one object at the registry is also another org''s or customer''s, or about to be.';

CREATE OR REPLACE FUNCTION provision_host_update_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the rules read what the one who inserts may not.
DECLARE
    _host constant host := host_for(NEW.tenant_customer_id, NEW.org_id, NEW.host_id);
BEGIN
    NEW.accreditation_id := _host.accreditation_id;
    PERFORM change_claim('host', NEW.host_id, NEW);
    PERFORM host_check_list(NEW.addresses);
    PERFORM host_check(_host.tenant_customer_id, _host.org_id, _host.accreditation_id, _host.name, NEW.addresses);
    IF cardinality(NEW.addresses) = 0 THEN
        PERFORM refuse('PV422', 'nothing is to be changed', 'host ' || _host.name, 'a name server outside the registry''s zones has no addresses there');
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_host_update_validate() IS 'Refuses other addresses for another''s host, or ones that break the rules of glue, and a second change while one is active.';

CREATE OR REPLACE FUNCTION provision_host_delete_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the rules read what the one who inserts may not.
DECLARE
    _host constant host := host_for(NEW.tenant_customer_id, NEW.org_id, NEW.host_id);
BEGIN
    NEW.accreditation_id := _host.accreditation_id;
    PERFORM change_claim('host', NEW.host_id, NEW);
    PERFORM change_check_unused('host', _host.name, NEW.org_id,
        ARRAY(SELECT d FROM domain_host AS h JOIN domain AS d ON d.id = h.domain_id WHERE h.host_id = NEW.host_id AND d.deleted_date IS NULL),
        ARRAY(SELECT o.object_key FROM domain_operations(NEW.tenant_customer_id) AS o
            WHERE o.data -> 'hosts' ? NEW.host_id::text
                OR EXISTS (SELECT FROM provision_domain_host AS h WHERE h.provision_domain_id = o.provision_id AND h.host_id = NEW.host_id)));
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_host_delete_validate() IS 'Refuses the deletion of another''s host, or of one that a domain uses or is about to use.';

-- Domains ------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION domain_locks() RETURNS text[]
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN '{clientTransferProhibited,clientUpdateProhibited,clientDeleteProhibited,clientRenewProhibited,clientHold}';
END $$;
COMMENT ON FUNCTION domain_locks() IS 'The statuses of a domain that are a client''s to set (RFC 5731 section 2.3).';

CREATE OR REPLACE FUNCTION domain_ds_is_well_formed(p_record jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF p_record @? '$.* ? (@.type() == "number" && @.floor() != @)' THEN
        RETURN false;
    ELSIF p_record ? 'public_key' THEN
        RETURN p_record @? '$ ? (@.flags >= 0 && @.flags <= 65535 && @.protocol == 3 && @.algorithm > 0 && @.algorithm <= 255)' AND p_record ->> 'public_key' ~ '^[A-Za-z0-9+/]{20,}={0,2}$';
    END IF;
    RETURN p_record @? '$ ? (@.key_tag >= 0 && @.key_tag <= 65535 && @.algorithm > 0 && @.algorithm <= 255 && @.digest_type > 0 && @.digest_type <= 255)'
        AND p_record ->> 'digest' ~ '^([0-9A-F]{2})+$'
        AND length(p_record ->> 'digest') = CASE p_record ->> 'digest_type' WHEN '1' THEN 40 WHEN '2' THEN 64 WHEN '4' THEN 96 ELSE length(p_record ->> 'digest') END;
END $$;
COMMENT ON FUNCTION domain_ds_is_well_formed(jsonb) IS 'Whether numbers, digest or key of a DNSSEC record can be (RFC 4034; lengths of SHA-1, SHA-256 and SHA-384).';

CREATE OR REPLACE FUNCTION domain_ds(p_records jsonb, p_settings jsonb, p_accreditation uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _maximum constant int := p_settings ->> 'dnssec_count_maximum';
    _records jsonb[];
    _bad jsonb;
BEGIN
    IF p_records IS NULL OR p_records = '[]' THEN
        RETURN p_records;
    ELSIF jsonb_typeof(p_records) <> 'array' THEN
        PERFORM refuse('PV422', 'DNSSEC records are a list', left(p_records::text, 300), '[] for none');
    END IF;
    _records := ARRAY(SELECT CASE WHEN r @? 'strict $.digest ? (@.type() == "string")' THEN jsonb_set(r, '{digest}', to_jsonb(upper(r ->> 'digest'))) ELSE r END FROM jsonb_array_elements(p_records) AS r);
    -- RFC 5910 section 4: a registry has one of the two interfaces, so both in one list are never right.
    IF EXISTS (SELECT FROM unnest(_records) AS r WHERE jsonb_typeof(r) = 'object' AND r ? 'public_key') THEN
        PERFORM check_fields('DNSSEC key', _records, '{flags,protocol,algorithm,public_key}', '{"flags": "number", "protocol": "number", "algorithm": "number", "public_key": "string"}');
    ELSE
        PERFORM check_fields('DS record', _records, '{key_tag,algorithm,digest_type,digest}', '{"key_tag": "number", "algorithm": "number", "digest_type": "number", "digest": "string"}');
    END IF;
    SELECT r INTO _bad FROM unnest(_records) AS r WHERE NOT domain_ds_is_well_formed(r) LIMIT 1;
    IF FOUND THEN
        PERFORM refuse('PV422', 'a DNSSEC record is malformed', left(_bad::text, 300), 'as the zone has it (RFC 4034): digests in hexadecimal, keys in base64, protocol 3');
    ELSIF cardinality(_records) > _maximum THEN
        PERFORM refuse('PV422', 'too many DNSSEC records', cardinality(_records)::text, format('at most %s in this zone', _maximum));
    ELSIF (SELECT count(DISTINCT r) FROM unnest(_records) AS r) < cardinality(_records) THEN
        PERFORM refuse('PV422', 'a DNSSEC record is given twice', left(p_records::text, 300), 'give each once');
    ELSIF NOT _records[1] ? 'public_key' AND (SELECT provider = 'aws' FROM accreditation WHERE id = p_accreditation) THEN
        PERFORM refuse('PV422', 'the provider makes DS records itself', left(p_records::text, 300), 'give the keys: flags, protocol, algorithm and public_key');
    END IF;
    RETURN to_jsonb(_records);
END $$;
COMMENT ON FUNCTION domain_ds(jsonb, jsonb, uuid) IS 'DNSSEC records in one spelling; refuses those that are malformed, mixed with keys, too many for the zone, or not what the provider takes.';

CREATE OR REPLACE FUNCTION domain_is_at_registrar(p_domain domain) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (SELECT provider = 'aws' FROM accreditation WHERE id = p_domain.accreditation_id);
END $$;
COMMENT ON FUNCTION domain_is_at_registrar(domain) IS 'Whether a name is at Route 53 Domains, which does not take all that registries do.';

CREATE OR REPLACE FUNCTION domain_check_registrar(p_domain domain, p_change provision_domain_update) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _others constant text := (SELECT string_agg(s, ', ') FROM unnest(p_change.statuses) AS s WHERE s <> 'clientTransferProhibited');
BEGIN
    IF NOT domain_is_at_registrar(p_domain) THEN
        RETURN;
    ELSIF _others IS NOT NULL THEN
        PERFORM refuse('PV422', 'the provider has no such lock', _others, 'the lock of Route 53 Domains is clientTransferProhibited');
    END IF;
END $$;
COMMENT ON FUNCTION domain_check_registrar(domain, provision_domain_update) IS 'Refuses changes that Route 53 Domains does not have.';

CREATE OR REPLACE FUNCTION domain_check_update(p_domain domain, p_change provision_domain_update) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _bad constant text := (SELECT string_agg(COALESCE(s, 'null'), ', ') FROM unnest(p_change.statuses) AS s WHERE (s = ANY (domain_locks())) IS NOT TRUE);
    _types constant text[] := ARRAY(SELECT type FROM domain_contact WHERE domain_id = p_domain.id AND NOT COALESCE(p_change.contacts ? type, false))
        || ARRAY(SELECT key FROM jsonb_each(p_change.contacts) WHERE value <> '[]');
    _hosts constant int := CASE WHEN p_change.hosts IS NULL THEN (SELECT count(*) FROM domain_host WHERE domain_id = p_domain.id) ELSE (SELECT count(DISTINCT h) FROM unnest(p_change.hosts) AS h) END;
BEGIN
    -- The one change that a lock against changes lets pass is that which takes it away.
    IF NOT 'clientUpdateProhibited' = ANY (p_change.statuses) THEN
        p_domain.statuses := array_remove(p_domain.statuses, 'clientUpdateProhibited');
    END IF;
    PERFORM domain_check_open(p_domain, 'update', p_change.settings);
    IF num_nonnulls(p_change.hosts, p_change.contacts, p_change.pw, p_change.statuses, p_change.ds_records, p_change.auto_renew) = 0 THEN
        PERFORM refuse('PV422', 'nothing is to be changed', p_domain.name, 'give hosts, contacts, pw, statuses, ds_records or auto_renew');
    ELSIF _bad IS NOT NULL THEN
        PERFORM refuse('PV422', 'not a lock', left(_bad, 300), 'locks are ' || array_to_string(domain_locks(), ', '));
    ELSIF p_change.pw !~ (p_change.settings ->> 'auth_info_pattern') THEN
        PERFORM refuse('PV422', 'the auth info does not suit the zone', 'pw is not shown', 'it must match ' || (p_change.settings ->> 'auth_info_pattern') || '; give null to have one made');
    END IF;
    PERFORM domain_check_registrar(p_domain, p_change);
    PERFORM domain_ds(p_change.ds_records, p_change.settings, p_domain.accreditation_id);
    IF num_nonnulls(p_change.hosts, p_change.contacts) > 0 THEN
        PERFORM domain_check_parts(_types, _hosts, p_change.settings);
    END IF;
END $$;
COMMENT ON FUNCTION domain_check_update(domain, provision_domain_update) IS 'Refuses a change that a lock, the name''s place in its life or the zone''s settings forbid.';

CREATE OR REPLACE FUNCTION domain_check_new_parts(p_change provision_domain_update) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _lost record;
BEGIN
    SELECT w.type, w.id INTO _lost FROM (
        SELECT 'host' AS type, h AS id, EXISTS (SELECT FROM host AS x WHERE x.id = h AND x.tenant_customer_id = p_change.tenant_customer_id AND x.accreditation_id = p_change.accreditation_id
            AND x.deleted_date IS NULL AND (x.org_id IS NULL OR p_change.org_id IS NULL OR x.org_id = p_change.org_id)) AS is_there FROM unnest(p_change.hosts) AS h
        UNION ALL
        SELECT 'contact', c::uuid, EXISTS (SELECT FROM contact AS x WHERE x.id = c::uuid AND x.tenant_customer_id = p_change.tenant_customer_id AND x.accreditation_id = p_change.accreditation_id
            AND x.deleted_date IS NULL AND (x.org_id IS NULL OR p_change.org_id IS NULL OR x.org_id = p_change.org_id))
        FROM jsonb_each(p_change.contacts) AS t CROSS JOIN LATERAL jsonb_array_elements_text(t.value) AS c) AS w
    WHERE NOT w.is_there LIMIT 1;
    IF FOUND THEN
        PERFORM refuse('PV404', _lost.type || ' not found', _lost.id::text, 'use those that are live at the domain''s accreditation, of its org or of the customer''s own');
    END IF;
END $$;
COMMENT ON FUNCTION domain_check_new_parts(provision_domain_update) IS 'Refuses contacts and hosts that are deleted, another''s, or of another accreditation.';

CREATE OR REPLACE FUNCTION provision_domain_update_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the rules read what the one who inserts may not.
DECLARE
    _domain domain;
BEGIN
    NEW.name := domain_named(NEW.tenant_customer_id, NEW.domain_id, NEW.name);
    _domain := domain_claim(NEW.tenant_customer_id, NEW.org_id, NEW.name, NEW.id, NEW.order_item_plan_ids[1]);
    NEW.domain_id := _domain.id;
    NEW.accreditation_id := _domain.accreditation_id;
    NEW.settings := COALESCE(NEW.settings, tld_settings(_domain.accreditation_tld_id));
    NEW.contacts := domain_contact_ids(NEW.contacts);
    PERFORM domain_check_update(_domain, NEW);
    PERFORM domain_check_new_parts(NEW);
    NEW.ds_records := domain_ds(NEW.ds_records, NEW.settings, NEW.accreditation_id);
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_domain_update_validate() IS 'Refuses a change that breaks a rule of the zone, of the name or of the inventory.';

CREATE OR REPLACE FUNCTION domain_contact_ids(p_contacts jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF p_contacts IS NULL THEN
        RETURN NULL;
    END IF;
    PERFORM check_fields('contacts', ARRAY[p_contacts], '{}', '{"registrant": "array", "admin": "array", "tech": "array", "billing": "array"}');
    IF jsonb_array_length(p_contacts -> 'registrant') <> 1 OR p_contacts @? 'strict $.*[*] ? (@.type() != "string" || !(@ like_regex "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"))' THEN
        PERFORM refuse('PV422', 'the contacts are malformed', left(p_contacts::text, 300), 'give ids of contacts by type, one registrant at most: {"tech": ["…"]}');
    END IF;
    RETURN p_contacts;
END $$;
COMMENT ON FUNCTION domain_contact_ids(jsonb) IS 'Refuses contacts that are not ids by type, or several registrants.';

CREATE OR REPLACE FUNCTION domain_auth_code_keep(p_provision uuid, p_code text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: called by the worker, which may not write secrets.
BEGIN
    UPDATE secret SET value = p_code WHERE id = p_provision AND p_code IS NOT NULL;
    DELETE FROM secret WHERE id = p_provision AND p_code IS NULL;
END $$;
COMMENT ON FUNCTION domain_auth_code_keep(uuid, text) IS 'Keeps the transfer secret that a registrar chose in place of the one it was offered; NULL: it tells none yet.';
