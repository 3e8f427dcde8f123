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

CREATE OR REPLACE FUNCTION provision_ssl_validate(p_row provision_ssl) RETURNS provision_ssl
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM certificate_check_names(p_row.domain_name || p_row.alternative_names);
    IF p_row.order_item_plan_ids = '{}' THEN
        PERFORM object_claim('certificate', object_key(p_row.tenant_customer_id, p_row.accreditation_id, p_row.domain_name), p_row.id, NULL, p_row.tenant_customer_id);
    END IF;
    RETURN p_row;
END $$;
COMMENT ON FUNCTION provision_ssl_validate(provision_ssl) IS 'Refuses malformed or too many names, and a second request while one is active.';
