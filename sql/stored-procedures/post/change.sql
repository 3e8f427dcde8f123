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

CREATE OR REPLACE FUNCTION provision_domain_update_success(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    DELETE FROM domain_host AS h USING provision_domain_update AS p WHERE p.id = ANY (p_ids) AND h.domain_id = p.domain_id AND p.hosts IS NOT NULL;
    INSERT INTO domain_host (domain_id, host_id, tenant_customer_id, org_id)
    SELECT DISTINCT d.id, h, d.tenant_customer_id, d.org_id FROM provision_domain_update AS p JOIN domain AS d ON d.id = p.domain_id CROSS JOIN unnest(p.hosts) AS h WHERE p.id = ANY (p_ids);
    DELETE FROM domain_contact AS c USING provision_domain_update AS p WHERE p.id = ANY (p_ids) AND c.domain_id = p.domain_id AND p.contacts ? c.type;
    INSERT INTO domain_contact (domain_id, contact_id, type, tenant_customer_id, org_id)
    SELECT DISTINCT d.id, c::uuid, t.key, d.tenant_customer_id, d.org_id
    FROM provision_domain_update AS p JOIN domain AS d ON d.id = p.domain_id CROSS JOIN LATERAL jsonb_each(p.contacts) AS t CROSS JOIN LATERAL jsonb_array_elements_text(t.value) AS c WHERE p.id = ANY (p_ids);
    DELETE FROM secret AS s USING provision_domain_update AS p JOIN domain AS d ON d.id = p.domain_id
    WHERE p.id = ANY (p_ids) AND d.auth_info_ref = 'db:' || s.id AND EXISTS (SELECT FROM secret AS n WHERE n.id = p.id);
    -- The registry's word counts for statuses; without it, those that were not asked about stay.
    UPDATE domain AS d SET ds_records = COALESCE(p.ds_records, d.ds_records), auto_renew = COALESCE(p.auto_renew, d.auto_renew),
        statuses = CASE WHEN p.result_data ? 'statuses' THEN ARRAY(SELECT jsonb_array_elements_text(p.result_data -> 'statuses'))
            ELSE ARRAY(SELECT x FROM unnest(d.statuses) AS x WHERE p.statuses IS NULL OR x <> ALL (domain_locks())) || p.statuses END,
        auth_info_ref = COALESCE((SELECT 'db:' || s.id FROM secret AS s WHERE s.id = p.id), d.auth_info_ref), updated_date = engine_now(), updated_by = caller_name()
    FROM provision_domain_update AS p WHERE p.id = ANY (p_ids) AND d.id = p.domain_id;
    PERFORM domain_update_forget(p_ids);
END $$;
COMMENT ON FUNCTION provision_domain_update_success(uuid[]) IS 'Changed names are in the inventory as they are now.';

CREATE OR REPLACE FUNCTION provision_domain_update_failure(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    -- A secret that may have been set all the same is kept until somebody decides.
    DELETE FROM secret AS s USING provision_domain_update AS p WHERE p.id = s.id AND p.id = ANY (p_ids)
        AND NOT EXISTS (SELECT FROM effect AS e WHERE e.job_id = p.job_id AND e.status IN ('intended', 'done', 'orphaned'));
    PERFORM domain_update_forget(p_ids);
END $$;
COMMENT ON FUNCTION provision_domain_update_failure(uuid[]) IS 'Changes that did not come about leave no secret behind.';

CREATE OR REPLACE FUNCTION domain_update_forget(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _plans constant uuid[] := ARRAY(SELECT unnest(order_item_plan_ids) FROM provision_domain_update WHERE id = ANY (p_ids));
BEGIN
    UPDATE order_item AS i SET data = i.data - 'pw' FROM order_item_plan AS p
    WHERE p.id = ANY (_plans) AND i.id = p.order_item_id AND i.data ? 'pw' AND i.finished_date IS NULL;
    UPDATE order_item_plan SET data = data - 'pw' WHERE id = ANY (_plans) AND data ? 'pw' AND finished_date IS NULL;
END $$;
COMMENT ON FUNCTION domain_update_forget(uuid[]) IS 'Takes the secret out of the order and the plan that brought it.';
