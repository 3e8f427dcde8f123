-- What exists after a transfer. A name that comes brings its expiry, name servers, contacts and DNSSEC records; one that goes
-- ends what its customer had still asked to be done with it.

CREATE OR REPLACE FUNCTION domain_stop(p_domain domain, p_reason text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _operations constant object_operation[] := ARRAY(
        SELECT o FROM object_operation AS o WHERE o.object_type IN ('domain', 'transfer answer') AND o.object_key = p_domain.name AND o.tenant_customer_id = p_domain.tenant_customer_id);
    _jobs uuid[];
BEGIN
    -- Begun or not: nothing can come of it any more. One that a worker holds is told so by the registry.
    _jobs := ARRAY(SELECT j.id FROM job AS j WHERE j.reference_id IN (SELECT o.provision_id FROM unnest(_operations) AS o) AND j.finished_date IS NULL);
    _jobs := job_dequeue(ARRAY(SELECT job_id FROM job_queue WHERE job_id = ANY (_jobs) FOR UPDATE SKIP LOCKED)) || ARRAY(SELECT id FROM job WHERE id = ANY (_jobs) AND held_at IS NOT NULL FOR UPDATE SKIP LOCKED);
    UPDATE job SET status = 'cancelled', finished_date = engine_now(), result_message = p_reason WHERE id = ANY (_jobs) AND finished_date IS NULL;
    PERFORM plan_stop(ARRAY(SELECT o.plan_id FROM unnest(_operations) AS o WHERE o.plan_id IS NOT NULL), p_reason);
END $$;
COMMENT ON FUNCTION domain_stop(domain, text) IS 'Ends the open orders of a name''s customer on it, and their jobs that wait.';

CREATE OR REPLACE FUNCTION domain_lost(p_id uuid, p_registrar text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _domain domain;
    _reason text;
BEGIN
    SELECT * INTO _domain FROM domain WHERE id = p_id AND deleted_date IS NULL FOR UPDATE;
    IF FOUND THEN
        _reason := format('%s was transferred to %s', _domain.name, COALESCE(p_registrar, 'another registrar'));
        PERFORM domain_leave(ARRAY[p_id], 'transferred_away', _reason);
        PERFORM domain_stop(_domain, _reason);
    END IF;
END $$;
COMMENT ON FUNCTION domain_lost(uuid, text) IS 'A name has gone to another registrar: it leaves the inventory, and what was still to be done with it ends.';

CREATE OR REPLACE FUNCTION domain_kept(p_id uuid, p_what text, p_reason text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE domain SET transfer_registrar = NULL, transfer_due = NULL, updated_date = engine_now(), updated_by = caller_name() WHERE id = p_id AND transfer_due IS NOT NULL;
    IF FOUND THEN
        PERFORM domain_note(ARRAY[p_id], p_what, p_reason);
    END IF;
END $$;
COMMENT ON FUNCTION domain_kept(uuid, text, text) IS 'A name that another registrar wanted stays.';

CREATE OR REPLACE FUNCTION job_poke(p_jobs uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE job_queue SET start_date = engine_now() WHERE job_id = ANY (p_jobs) AND start_date > engine_now();
    IF FOUND THEN
        UPDATE job SET start_date = engine_now() WHERE id = ANY (p_jobs) AND finished_date IS NULL;
        PERFORM job_wake();
    END IF;
END $$;
COMMENT ON FUNCTION job_poke(uuid[]) IS 'Has waiting jobs look now, because there is news for them.';

CREATE OR REPLACE FUNCTION transfer_take_hosts(p_row provision_domain_transfer) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO host (id, tenant_customer_id, org_id, accreditation_id, name, addresses, roid)
    SELECT new_id(), p_row.tenant_customer_id, p_row.org_id, p_row.accreditation_id, h.name, COALESCE(h.addresses, '{}'), h.roid
    FROM jsonb_to_recordset(COALESCE(p_row.result_data -> 'hosts', '[]')) AS h (name text, addresses inet[], roid text)
    WHERE COALESCE(host_live(p_row.tenant_customer_id, p_row.org_id, p_row.accreditation_id, h.name), host_live(p_row.tenant_customer_id, NULL, p_row.accreditation_id, h.name)) IS NULL
    ON CONFLICT DO NOTHING;
    INSERT INTO domain_host (domain_id, host_id, tenant_customer_id, org_id)
    SELECT p_row.id, COALESCE(host_live(p_row.tenant_customer_id, p_row.org_id, p_row.accreditation_id, h.name), host_live(p_row.tenant_customer_id, NULL, p_row.accreditation_id, h.name)),
        p_row.tenant_customer_id, p_row.org_id
    FROM jsonb_to_recordset(COALESCE(p_row.result_data -> 'hosts', '[]')) AS h (name text, serves boolean) WHERE h.serves;
END $$;
COMMENT ON FUNCTION transfer_take_hosts(provision_domain_transfer) IS 'Takes the name servers of a name that came, and those under it, into the inventory.';

CREATE OR REPLACE FUNCTION transfer_take_contacts(p_row provision_domain_transfer) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO contact (id, tenant_customer_id, org_id, accreditation_id, reference, handle, roid, name, organization, street, city, state, postal_code, country_code, phone, fax, email)
    SELECT new_id(), p_row.tenant_customer_id, p_row.org_id, p_row.accreditation_id, c.handle, c.handle, c.roid, c.name, c.organization, c.street, c.city, c.state, c.postal_code, c.country_code, c.phone, c.fax, c.email
    FROM (SELECT DISTINCT ON (x.handle) x.* FROM jsonb_to_recordset(COALESCE(p_row.result_data -> 'contacts', '[]')) AS x (
        handle text, roid text, name text, organization text, street text[], city text, state text, postal_code text, country_code text, phone text, fax text, email text) ORDER BY x.handle) AS c
    -- One that is another customer's is not made theirs too.
    ON CONFLICT DO NOTHING;
    INSERT INTO domain_contact (domain_id, contact_id, type, tenant_customer_id, org_id)
    SELECT p_row.id, o.id, c.type, p_row.tenant_customer_id, p_row.org_id
    FROM jsonb_to_recordset(COALESCE(p_row.result_data -> 'contacts', '[]')) AS c (type text, handle text)
    JOIN contact AS o ON o.handle = c.handle AND o.accreditation_id = p_row.accreditation_id AND o.deleted_date IS NULL AND o.tenant_customer_id = p_row.tenant_customer_id;
END $$;
COMMENT ON FUNCTION transfer_take_contacts(provision_domain_transfer) IS 'Takes the contacts of a name that came into the inventory: by their handles, with the details that the registry shows.';

CREATE OR REPLACE FUNCTION transfer_take_secret(p_row provision_domain_transfer) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE secret AS s SET value = n.value FROM secret AS n WHERE s.id = p_row.id AND n.id = p_row.job_id AND (p_row.result_data ->> 'is_secret_new')::boolean;
    DELETE FROM secret WHERE id = p_row.job_id OR (id = p_row.id AND NOT COALESCE((p_row.result_data ->> 'is_secret_known')::boolean, true));
    UPDATE domain SET auth_info_ref = (SELECT 'db:' || s.id FROM secret AS s WHERE s.id = p_row.id) WHERE id = p_row.id;
END $$;
COMMENT ON FUNCTION transfer_take_secret(provision_domain_transfer) IS 'Keeps the secret that a name has now.';

CREATE OR REPLACE FUNCTION provision_domain_transfer_success(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _row provision_domain_transfer;
    _grace record;
BEGIN
    FOR _row IN SELECT * FROM provision_domain_transfer WHERE id = ANY (p_ids) ORDER BY name LOOP
        -- What changes hands here was not transferred at the registry, and begins no grace period there.
        SELECT d.rgp_state AS state, d.rgp_until AS until INTO _grace FROM domain AS d WHERE d.name = _row.name AND d.accreditation_id = _row.accreditation_id AND d.deleted_date IS NULL;
        IF NOT FOUND THEN
            SELECT 'transferPeriod' AS state, engine_now() + make_interval(hours => (_row.settings ->> 'grace_hours_transfer')::int) AS until INTO _grace;
        END IF;
        PERFORM domain_lost(d.id, CASE WHEN d.accreditation_id = _row.accreditation_id THEN 'another customer' ELSE (SELECT COALESCE(registrar_id, name) FROM accreditation WHERE id = _row.accreditation_id) END) FROM domain AS d WHERE d.name = _row.name AND d.deleted_date IS NULL;
        INSERT INTO domain (id, tenant_customer_id, org_id, accreditation_id, accreditation_tld_id, name, roid, ry_created_date, ry_expiry_date, statuses, ds_records, rgp_state, rgp_until)
        VALUES (_row.id, _row.tenant_customer_id, _row.org_id, _row.accreditation_id, _row.accreditation_tld_id, _row.name, _row.roid, (_row.result_data ->> 'ry_created_date')::timestamptz,
            _row.ry_expiry_date, COALESCE((SELECT r.statuses FROM jsonb_to_record(_row.result_data) AS r (statuses text[])), '{}'), COALESCE(_row.result_data -> 'ds_records', '[]'),
            _grace.state, _grace.until);
        PERFORM transfer_take_secret(_row);
        PERFORM transfer_take_hosts(_row);
        PERFORM transfer_take_contacts(_row);
        PERFORM domain_note(ARRAY[_row.id], 'transferred_here');
    END LOOP;
END $$;
COMMENT ON FUNCTION provision_domain_transfer_success(uuid[]) IS 'Names that were transferred here are in the inventory with all they have; who had them here has them no more.';

CREATE OR REPLACE FUNCTION provision_domain_transfer_failure(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    -- One that may come all the same keeps its secrets until somebody decides.
    DELETE FROM secret AS s USING provision_domain_transfer AS p WHERE s.id IN (p.id, p.job_id) AND p.id = ANY (p_ids)
        AND NOT EXISTS (SELECT FROM effect AS e WHERE e.job_id = p.job_id AND e.status IN ('intended', 'done', 'orphaned'));
END $$;
COMMENT ON FUNCTION provision_domain_transfer_failure(uuid[]) IS 'Names that did not come leave no secret behind.';

CREATE OR REPLACE FUNCTION provision_domain_transfer_answer_success(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    -- The claim of the answer itself goes first: losing the name ends its customer's other orders, and not this one.
    DELETE FROM object_operation WHERE provision_id = ANY (p_ids);
    PERFORM domain_lost(p.object_id, d.transfer_registrar) FROM provision_domain_transfer_answer AS p JOIN domain AS d ON d.id = p.object_id
    WHERE p.id = ANY (p_ids) AND p.action = 'approve';
    PERFORM domain_kept(p.object_id, 'transfer_rejected', format('%s stays: the transfer was rejected', p.name)) FROM provision_domain_transfer_answer AS p WHERE p.id = ANY (p_ids) AND p.action = 'reject';
    PERFORM job_poke(ARRAY(SELECT t.job_id FROM provision_domain_transfer_answer AS p JOIN provision_domain_transfer AS t ON t.id = p.object_id WHERE p.id = ANY (p_ids) AND p.action = 'cancel'));
END $$;
COMMENT ON FUNCTION provision_domain_transfer_answer_success(uuid[]) IS 'Names whose transfer was approved are gone, those whose transfer was rejected stay; a transfer here that was cancelled is told so.';
