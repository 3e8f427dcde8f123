-- Transfers: to here, asked for with the secret that the holder told (`provision_domain_transfer`), and the answers to those
-- that other registrars ask for (`provision_domain_transfer_answer`).

CREATE OR REPLACE FUNCTION transfer_claim(p_tenant_customer uuid, p_name text, p_accreditation uuid, p_provision uuid, p_plan uuid) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM domain WHERE name = p_name AND deleted_date IS NULL AND tenant_customer_id = p_tenant_customer AND accreditation_id = p_accreditation) THEN
        PERFORM refuse('PV409', 'the domain is yours already', p_name, 'transfers come from other registrars');
    END IF;
    -- Who has the name here goes on with it as he likes until it is gone; nobody else may begin anything with it.
    PERFORM object_claim(
        ARRAY[ROW('domain transfer', p_name, p_provision, p_plan, p_tenant_customer, engine_now())::object_operation]
        || ARRAY(SELECT ROW('domain', p_name, p_provision, p_plan, p_tenant_customer, engine_now())::object_operation WHERE NOT EXISTS (SELECT FROM domain WHERE name = p_name AND deleted_date IS NULL)));
END $$;
COMMENT ON FUNCTION transfer_claim(uuid, text, uuid, uuid, uuid) IS 'Makes a row the one active transfer of a name to here; and the one active operation on it, unless another customer has it.';

CREATE OR REPLACE FUNCTION transfer_check(p_name text, p_period int, p_contacts jsonb, p_settings jsonb, p_accreditation uuid) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT p_settings -> 'order_types' ? 'transfer' THEN
        PERFORM refuse('PV422', 'transfer is not taken in this zone', p_name, 'allowed are ' || (p_settings ->> 'order_types'));
    END IF;
    PERFORM domain_period(to_jsonb(p_period), p_settings -> 'transfer_periods');
    IF p_settings ->> 'contact_model' = 'thin' AND p_contacts <> '{}' THEN
        PERFORM refuse('PV422', 'the zone keeps no contacts', (SELECT string_agg(key, ', ') FROM jsonb_each(p_contacts)), 'order the name without contacts');
    ELSIF NOT COALESCE(p_contacts ? 'registrant', false) AND (SELECT provider = 'aws' FROM accreditation WHERE id = p_accreditation) THEN
        PERFORM refuse('PV422', 'contacts are missing', 'registrant', 'Route 53 Domains wants them with the transfer: {"contacts": {"registrant": {…}}}');
    END IF;
END $$;
COMMENT ON FUNCTION transfer_check(text, int, jsonb, jsonb, uuid) IS 'Refuses a transfer to here that the zone''s settings do not allow.';

CREATE OR REPLACE FUNCTION transfer_secret(p_id uuid, p_secret text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF p_secret IS NOT NULL AND length(p_secret) NOT BETWEEN 1 AND 255 THEN
        PERFORM refuse('PV422', 'the auth info is malformed', 'pw is not shown', '1 to 255 characters, as the holder was told by his registrar');
    END IF;
    INSERT INTO secret (id, value) SELECT p_id, p_secret WHERE p_secret IS NOT NULL;
    IF NOT EXISTS (SELECT FROM secret WHERE id = p_id) THEN
        PERFORM refuse('PV422', 'the auth info is missing', 'no pw given', 'give the secret that the holder has from his registrar');
    END IF;
END $$;
COMMENT ON FUNCTION transfer_secret(uuid, text) IS 'Keeps the secret of a transfer where only workers read it; refuses a transfer without one.';

CREATE OR REPLACE FUNCTION provision_domain_transfer_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the rules read what the one who inserts may not.
BEGIN
    IF NEW.settings IS NULL THEN
        PERFORM domain_check_name(NEW.name);
        NEW.accreditation_tld_id := (domain_zone(NEW.tenant_customer_id, NEW.name, NULL, NEW.accreditation_id)).id;
        NEW.accreditation_id := (SELECT accreditation_id FROM accreditation_tld WHERE id = NEW.accreditation_tld_id);
        NEW.settings := tld_settings(NEW.accreditation_tld_id);
    END IF;
    NEW.period := COALESCE(NEW.period, (NEW.settings -> 'transfer_periods' ->> 0)::int);
    PERFORM price_check(NEW.max_price, NEW.currency, NEW.accreditation_id);
    NEW.contacts := domain_contact_ids(NEW.contacts);
    PERFORM transfer_check(NEW.name, NEW.period, NEW.contacts, NEW.settings, NEW.accreditation_id);
    PERFORM domain_check_new_parts(jsonb_populate_record(NULL::provision_domain_update, to_jsonb(NEW) - 'pw')) WHERE NEW.contacts IS NOT NULL;
    PERFORM transfer_claim(NEW.tenant_customer_id, NEW.name, NEW.accreditation_id, NEW.id, NEW.order_item_plan_ids[1]);
    PERFORM transfer_secret(NEW.id, NEW.pw);
    NEW.pw := NULL;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_domain_transfer_validate() IS 'Refuses a transfer to here that breaks a rule of the zone; takes the secret out of the row.';

CREATE OR REPLACE FUNCTION transfer_within(p_job uuid, p_claim_no bigint) RETURNS TABLE (is_within boolean, is_busy boolean, refusal text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the worker may claim nothing itself.
DECLARE
    _row provision_domain_transfer;
    _domain domain;
BEGIN
    PERFORM effect_fence(p_job, p_claim_no);
    SELECT t.* INTO _row FROM provision_domain_transfer AS t JOIN job AS j ON j.reference_id = t.id WHERE j.id = p_job;
    SELECT * INTO _domain FROM domain WHERE name = _row.name AND accreditation_id = _row.accreditation_id AND tenant_customer_id <> _row.tenant_customer_id AND deleted_date IS NULL;
    is_within := FOUND;
    is_busy := false;
    IF is_within THEN
        refusal := transfer_within_refusal(_row, _domain);
        IF refusal IS NULL THEN
            -- No registry keeps two orders apart that come from one registrar.
            INSERT INTO object_operation (object_type, object_key, provision_id, plan_id, tenant_customer_id)
            VALUES ('domain', _row.name, _row.id, _row.order_item_plan_ids[1], _row.tenant_customer_id) ON CONFLICT DO NOTHING;
            is_busy := NOT EXISTS (SELECT FROM object_operation WHERE object_type = 'domain' AND object_key = _row.name AND provision_id = _row.id);
        END IF;
    END IF;
    RETURN NEXT;
END $$;
COMMENT ON FUNCTION transfer_within(uuid, bigint) IS 'Whether the name of a transfer is another customer''s at the same accreditation, so that the registry has nothing to transfer; if so, why it stays there, or that something else is being done with it. Else the transfer has it to itself from now on.';

CREATE OR REPLACE FUNCTION transfer_within_refusal(p_row provision_domain_transfer, p_domain domain) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _locks constant text := (SELECT string_agg(s, ', ' ORDER BY s) FROM unnest(p_domain.statuses) AS s WHERE s ~ '^(client|server)(Transfer|Update)Prohibited$');
    _missing constant text := (
        SELECT string_agg(t.type, ', ' ORDER BY t.type) FROM (
            SELECT jsonb_array_elements_text(p_row.settings -> 'contact_types_required') AS type UNION SELECT c.type FROM domain_contact AS c WHERE c.domain_id = p_domain.id) AS t
        WHERE NOT COALESCE(p_row.contacts ? t.type, false));
BEGIN
    -- Who does not know the secret is told nothing else.
    IF (SELECT s.value FROM secret AS s WHERE p_domain.auth_info_ref = 'db:' || s.id) IS DISTINCT FROM (SELECT s.value FROM secret AS s WHERE s.id = p_row.id) THEN
        RETURN format('the auth info of %s is wrong', p_row.name);
    ELSIF _locks IS NOT NULL THEN
        RETURN format('%s has status %s', p_row.name, _locks);
    ELSIF p_domain.purge_date IS NOT NULL THEN
        RETURN format('%s is deleted', p_row.name);
    ELSIF p_domain.transfer_due IS NOT NULL THEN
        RETURN format('%s is wanted by another registrar already', p_row.name);
    ELSIF _missing IS NOT NULL THEN
        RETURN format('%s is with this registrar, and its contacts are its former holder''s: order it with contacts of your own (%s)', p_row.name, _missing);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION transfer_within_refusal(provision_domain_transfer, domain) IS 'Why a name does not go to another customer of the same accreditation: the secret is wrong, it is locked or on its way, or would keep contacts that are not the new holder''s. NULL: it goes.';

CREATE OR REPLACE FUNCTION transfer_object(p_tenant_customer uuid, p_org uuid, p_name text, p_action text) RETURNS TABLE (object_id uuid, accreditation_id uuid)
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _domain constant domain := domain_live(p_tenant_customer, p_org, p_name);
    _transfer provision_domain_transfer;
BEGIN
    IF p_action = 'cancel' THEN
        SELECT t.* INTO _transfer FROM object_operation AS o JOIN provision_domain_transfer AS t ON t.id = o.provision_id
        WHERE o.object_type = 'domain transfer' AND o.object_key = p_name AND t.tenant_customer_id = p_tenant_customer AND (p_org IS NULL OR t.org_id IS NULL OR t.org_id = p_org);
        IF NOT FOUND THEN
            PERFORM refuse('PV404', 'transfer not found', COALESCE(p_name, 'no name given'), 'only one of your own, that is not decided, is cancelled');
        ELSIF (SELECT provider = 'aws' FROM accreditation WHERE id = _transfer.accreditation_id) THEN
            PERFORM refuse('PV422', 'no command takes a transfer back there', p_name, 'AWS tells how it ends; its support can take it back');
        END IF;
        RETURN QUERY VALUES (_transfer.id, _transfer.accreditation_id);
    ELSIF _domain.id IS NULL THEN
        PERFORM refuse('PV404', 'domain not found', COALESCE(p_name, 'no name given'), 'name one of your own: SELECT name FROM v_domain');
    ELSIF _domain.transfer_due IS NULL THEN
        PERFORM refuse('PV409', 'nobody wants the domain', p_name, 'there is nothing to answer; an event tells when another registrar asks for it');
    ELSE
        RETURN QUERY VALUES (_domain.id, _domain.accreditation_id);
    END IF;
END $$;
COMMENT ON FUNCTION transfer_object(uuid, uuid, text, text) IS 'What an answer is about: the name that another registrar wants, or the transfer to here that is to be cancelled; refuses if there is none of the caller''s.';

CREATE OR REPLACE FUNCTION transfer_answer_type(p_action text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN CASE p_action WHEN 'cancel' THEN 'transfer cancellation' ELSE 'transfer answer' END;
END $$;
COMMENT ON FUNCTION transfer_answer_type(text) IS 'What an answer is the one active operation of: both sides, customers of ours, may answer at once, and each only once.';

CREATE OR REPLACE FUNCTION provision_domain_transfer_answer_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the rules read what the one who inserts may not.
BEGIN
    IF (NEW.action IN ('approve', 'reject', 'cancel')) IS NOT TRUE THEN
        PERFORM refuse('PV422', 'there is no such answer', COALESCE(NEW.action, 'none given'), 'approve, reject or cancel');
    END IF;
    SELECT o.object_id, o.accreditation_id INTO NEW.object_id, NEW.accreditation_id FROM transfer_object(NEW.tenant_customer_id, NEW.org_id, NEW.name, NEW.action) AS o;
    PERFORM object_claim(transfer_answer_type(NEW.action), NEW.name, NEW.id, NEW.order_item_plan_ids[1], NEW.tenant_customer_id);
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_domain_transfer_answer_validate() IS 'Refuses an answer to a transfer that there is not, or that is not the caller''s to answer.';
