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
