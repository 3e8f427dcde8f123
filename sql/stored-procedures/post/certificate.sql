-- What exists after a certificate request has ended.

CREATE OR REPLACE FUNCTION provision_ssl_success(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO certificate (id, tenant_customer_id, org_id, accreditation_id, domain_name, alternative_names, arn, not_before, not_after)
    SELECT p.id, p.tenant_customer_id, p.org_id, p.accreditation_id, p.domain_name, p.alternative_names,
        -- An adopted one was never told to its row.
        COALESCE(p.arn, (adopted_effect(p.job_id)).external_name), p.not_before, p.not_after
    FROM provision_ssl AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_ssl_success(uuid[]) IS 'Issued certificates are in the inventory.';
