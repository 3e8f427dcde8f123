-- What exists after a change.

CREATE OR REPLACE FUNCTION provision_contact_update_success(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE contact AS c SET (name, organization, street, city, state, postal_code, country_code, phone, fax, email, updated_date, updated_by)
        = (SELECT n.name, n.organization, n.street, n.city, n.state, n.postal_code, n.country_code, n.phone, n.fax, n.email, engine_now(), caller_name() FROM contact_changed(c, p) AS n)
    FROM provision_contact_update AS p WHERE p.id = ANY (p_ids) AND c.id = p.contact_id;
END $$;
COMMENT ON FUNCTION provision_contact_update_success(uuid[]) IS 'Changed contacts are in the inventory as they are now.';

CREATE OR REPLACE FUNCTION provision_contact_delete_success(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE contact AS c SET deleted_date = engine_now(), updated_date = engine_now(), updated_by = caller_name()
    FROM provision_contact_delete AS p WHERE p.id = ANY (p_ids) AND c.id = p.contact_id AND c.deleted_date IS NULL;
END $$;
COMMENT ON FUNCTION provision_contact_delete_success(uuid[]) IS 'Deleted contacts are history; their references are free again.';

CREATE OR REPLACE FUNCTION provision_host_update_success(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    -- It is one object at the registry, whoever has made it known.
    UPDATE host AS h SET addresses = p.addresses, updated_date = engine_now(), updated_by = caller_name()
    FROM provision_host_update AS p JOIN host AS o ON o.id = p.host_id
    WHERE p.id = ANY (p_ids) AND h.name = o.name AND h.accreditation_id = o.accreditation_id AND h.deleted_date IS NULL;
END $$;
COMMENT ON FUNCTION provision_host_update_success(uuid[]) IS 'Changed hosts are in the inventory with their addresses.';

CREATE OR REPLACE FUNCTION provision_host_delete_success(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE host AS h SET deleted_date = engine_now(), updated_date = engine_now(), updated_by = caller_name()
    FROM provision_host_delete AS p WHERE p.id = ANY (p_ids) AND h.id = p.host_id AND h.deleted_date IS NULL;
END $$;
COMMENT ON FUNCTION provision_host_delete_success(uuid[]) IS 'Deleted hosts are history; their names are free again.';
