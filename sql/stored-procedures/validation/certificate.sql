-- What a certificate request must be like.

CREATE OR REPLACE FUNCTION certificate_check_names(p_names text[]) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
DECLARE
    _bad text;
BEGIN
    SELECT n INTO _bad FROM unnest(p_names) AS n
    WHERE n IS NULL OR length(n) > 253 OR n !~ '^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$' LIMIT 1;
    IF FOUND THEN
        PERFORM refuse('PV422', 'the name is malformed', COALESCE(left(_bad, 300), 'it is missing'), 'example.test or *.example.test, in lower-case A-labels');
    ELSIF cardinality(p_names) > 100 THEN
        PERFORM refuse('PV422', 'too many names', cardinality(p_names)::text, 'at most 99 alternative names');
    END IF;
END $$;
COMMENT ON FUNCTION certificate_check_names(text[]) IS 'Refuses malformed or too many names.';

CREATE OR REPLACE FUNCTION provision_ssl_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the rules read what the one who inserts may not.
BEGIN
    IF NEW.alternative_names IS NULL OR array_ndims(NEW.alternative_names) > 1 THEN
        PERFORM refuse('PV422', 'the alternative names are malformed', COALESCE(left(NEW.alternative_names::text, 300), 'NULL'), 'give a plain list: {www.example.test}');
    END IF;
    PERFORM certificate_check_names(NEW.domain_name || NEW.alternative_names);
    IF NEW.order_item_plan_ids = '{}' THEN
        PERFORM object_claim('certificate', object_key(NEW.tenant_customer_id, NEW.org_id, NEW.accreditation_id, NEW.domain_name), NEW.id, NULL, NEW.tenant_customer_id);
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_ssl_validate() IS 'Refuses malformed or too many names, and a second request while one is active.';

CREATE OR REPLACE FUNCTION certificate_for(p_tenant_customer uuid, p_org uuid, p_id uuid) RETURNS certificate
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _certificate certificate;
BEGIN
    SELECT * INTO _certificate FROM certificate
    WHERE id = p_id AND tenant_customer_id = p_tenant_customer AND (p_org IS NULL OR org_id IS NULL OR org_id = p_org) AND revoked_date IS NULL;
    IF NOT FOUND THEN
        PERFORM refuse('PV404', 'certificate not found', COALESCE(p_id::text, 'certificate_id is missing'), 'SELECT * FROM v_certificate');
    END IF;
    RETURN _certificate;
END $$;
COMMENT ON FUNCTION certificate_for(uuid, uuid, uuid) IS 'A certificate in force that may be acted on for an org, or for the customer; another''s answers as one that does not exist.';

CREATE OR REPLACE FUNCTION provision_ssl_renew_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the rules read what the one who inserts may not.
BEGIN
    NEW.accreditation_id := (certificate_for(NEW.tenant_customer_id, NEW.org_id, NEW.certificate_id)).accreditation_id;
    PERFORM change_claim('certificate', NEW.certificate_id, NEW);
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_ssl_renew_validate() IS 'Refuses the renewal of another''s certificate, and a second one while one is active.';

CREATE OR REPLACE FUNCTION provision_ssl_revoke_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the rules read what the one who inserts may not.
DECLARE
    _reasons constant text[] := '{UNSPECIFIED,KEY_COMPROMISE,CA_COMPROMISE,AFFILIATION_CHANGED,SUPERSEDED,CESSATION_OF_OPERATION,CERTIFICATE_HOLD,REMOVE_FROM_CRL,PRIVILEGE_WITHDRAWN,A_A_COMPROMISE}';
BEGIN
    NEW.accreditation_id := (certificate_for(NEW.tenant_customer_id, NEW.org_id, NEW.certificate_id)).accreditation_id;
    PERFORM change_claim('certificate', NEW.certificate_id, NEW);
    IF NEW.reason <> ALL (_reasons) THEN
        PERFORM refuse('PV422', 'not a reason for a revocation', left(NEW.reason, 300), 'reasons are ' || array_to_string(_reasons, ', '));
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_ssl_revoke_validate() IS 'Refuses the revocation of another''s certificate, or for a reason that there is not.';
