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
            WHERE o.data -> 'contacts' @> jsonb_build_array(jsonb_build_object('contact_id', NEW.contact_id))
                OR EXISTS (SELECT FROM provision_domain_contact AS c WHERE c.provision_domain_id = o.provision_id AND c.contact_id = NEW.contact_id)));
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_contact_delete_validate() IS 'Refuses the deletion of another''s contact, or of one that a domain uses or is about to use.';

CREATE OR REPLACE FUNCTION domain_operations(p_tenant_customer uuid) RETURNS TABLE (object_key text, provision_id uuid, data jsonb)
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT o.object_key, o.provision_id, p.data FROM object_operation AS o LEFT JOIN order_item_plan AS p ON p.id = o.plan_id
    WHERE o.object_type = 'domain' AND o.tenant_customer_id = p_tenant_customer;
END $$;
COMMENT ON FUNCTION domain_operations(uuid) IS 'What is being done to domains of a customer: the name, the row that does it, and its plan step''s data.';

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
            WHERE o.data -> 'hosts' @> to_jsonb(NEW.host_id)
                OR EXISTS (SELECT FROM provision_domain_host AS h WHERE h.provision_domain_id = o.provision_id AND h.host_id = NEW.host_id)));
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_host_delete_validate() IS 'Refuses the deletion of another''s host, or of one that a domain uses or is about to use.';
