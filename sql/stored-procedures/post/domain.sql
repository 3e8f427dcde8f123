-- What exists after a provision row has ended.

CREATE OR REPLACE FUNCTION provision_contact_success(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO contact (id, tenant_customer_id, org_id, accreditation_id, reference, handle, roid, name, organization, street, city, state, postal_code, country_code, phone, fax, email)
    SELECT p.id, p.tenant_customer_id, p.org_id, p.accreditation_id, p.reference, p.handle, COALESCE(p.roid, adopted_result(p.job_id) ->> 'roid'), p.name, p.organization, p.street, p.city, p.state, p.postal_code, p.country_code, p.phone, p.fax, p.email
    FROM provision_contact AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_contact_success(uuid[]) IS 'Created contacts are in the inventory.';

CREATE OR REPLACE FUNCTION provision_host_success(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO host (id, tenant_customer_id, org_id, accreditation_id, name, addresses, roid)
    SELECT p.id, p.tenant_customer_id, p.org_id, p.accreditation_id, p.name, p.addresses, COALESCE(p.roid, adopted_result(p.job_id) ->> 'roid') FROM provision_host AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_host_success(uuid[]) IS 'Created hosts are in the inventory.';

CREATE OR REPLACE FUNCTION provision_domain_success(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO domain (id, tenant_customer_id, org_id, accreditation_id, accreditation_tld_id, name, roid, auth_info_ref, ry_created_date, ry_expiry_date, auto_renew, ds_records, statuses, rgp_state, rgp_until)
    SELECT p.id, p.tenant_customer_id, p.org_id, p.accreditation_id, p.accreditation_tld_id, p.name, COALESCE(p.roid, adopted_result(p.job_id) ->> 'roid'), (SELECT 'db:' || s.id FROM secret AS s WHERE s.id = p.id),
        COALESCE(p.ry_created_date, (adopted_result(p.job_id) ->> 'ry_created_date')::timestamptz), COALESCE(p.ry_expiry_date, (adopted_result(p.job_id) ->> 'ry_expiry_date')::timestamptz),
        p.auto_renew, COALESCE(p.ds_records, '[]'), ARRAY(SELECT jsonb_array_elements_text(p.result_data -> 'statuses')), 'addPeriod', COALESCE(p.ry_created_date, engine_now()) + make_interval(hours => (p.settings ->> 'grace_hours_add')::int)
    FROM provision_domain AS p WHERE p.id = ANY (p_ids);
    INSERT INTO domain_contact (domain_id, contact_id, type, tenant_customer_id, org_id)
    SELECT c.provision_domain_id, c.contact_id, c.type, c.tenant_customer_id, c.org_id FROM provision_domain_contact AS c WHERE c.provision_domain_id = ANY (p_ids);
    INSERT INTO domain_host (domain_id, host_id, tenant_customer_id, org_id)
    SELECT h.provision_domain_id, h.host_id, h.tenant_customer_id, h.org_id FROM provision_domain_host AS h WHERE h.provision_domain_id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_domain_success(uuid[]) IS 'Registered names are in the inventory, with their contacts and hosts.';

CREATE OR REPLACE FUNCTION provision_domain_failure(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    -- One that may have been registered all the same keeps it until somebody decides.
    DELETE FROM secret AS s USING provision_domain AS p WHERE p.id = s.id AND p.id = ANY (p_ids)
        AND NOT EXISTS (SELECT FROM effect AS e WHERE e.job_id = p.job_id AND e.status IN ('intended', 'done', 'orphaned'));
END $$;
COMMENT ON FUNCTION provision_domain_failure(uuid[]) IS 'Names that were not registered leave no secret behind.';
