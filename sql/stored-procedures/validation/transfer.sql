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

CREATE OR REPLACE FUNCTION transfer_check(p_name text, p_period int, p_settings jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT p_settings -> 'order_types' ? 'transfer' THEN
        PERFORM refuse('PV422', 'transfer is not taken in this zone', p_name, 'allowed are ' || (p_settings ->> 'order_types'));
    END IF;
    PERFORM domain_period(to_jsonb(p_period), p_settings -> 'transfer_periods');
END $$;
COMMENT ON FUNCTION transfer_check(text, int, jsonb) IS 'Refuses a transfer to here that the zone''s settings do not allow.';

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
    PERFORM transfer_check(NEW.name, NEW.period, NEW.settings);
    PERFORM transfer_claim(NEW.tenant_customer_id, NEW.name, NEW.accreditation_id, NEW.id, NEW.order_item_plan_ids[1]);
    PERFORM transfer_secret(NEW.id, NEW.pw);
    NEW.pw := NULL;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_domain_transfer_validate() IS 'Refuses a transfer to here that breaks a rule of the zone; takes the secret out of the row.';

CREATE OR REPLACE FUNCTION transfer_object(p_tenant_customer uuid, p_org uuid, p_name text, p_action text) RETURNS TABLE (object_id uuid, accreditation_id uuid)
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _domain constant domain := domain_live(p_tenant_customer, p_org, p_name);
BEGIN
    IF p_action = 'cancel' THEN
        RETURN QUERY
        SELECT t.id, t.accreditation_id FROM object_operation AS o JOIN provision_domain_transfer AS t ON t.id = o.provision_id
        WHERE o.object_type = 'domain transfer' AND o.object_key = p_name AND t.tenant_customer_id = p_tenant_customer AND (p_org IS NULL OR t.org_id IS NULL OR t.org_id = p_org);
        IF NOT FOUND THEN
            PERFORM refuse('PV404', 'transfer not found', COALESCE(p_name, 'no name given'), 'only one of your own, that is not decided, is cancelled');
        END IF;
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
