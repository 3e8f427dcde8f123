-- What exists after a certificate request has ended.

CREATE OR REPLACE FUNCTION provision_ssl_success(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO certificate (id, tenant_customer_id, org_id, accreditation_id, domain_name, alternative_names, arn, not_before, not_after, renewal_date)
    SELECT p.id, p.tenant_customer_id, p.org_id, p.accreditation_id, p.domain_name, p.alternative_names,
        -- An adopted one was never told to its row.
        COALESCE(p.arn, (adopted_effect(p.job_id)).external_name), p.not_before, p.not_after, certificate_renewal(p.not_after)
    FROM provision_ssl AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_ssl_success(uuid[]) IS 'Issued certificates are in the inventory.';

CREATE OR REPLACE FUNCTION certificate_renewal(p_not_after timestamptz) RETURNS timestamptz
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _days constant int := setting_value('certificate_renewal_days');
BEGIN
    RETURN CASE WHEN _days > 0 THEN p_not_after - make_interval(days => _days) END;
END $$;
COMMENT ON FUNCTION certificate_renewal(timestamptz) IS 'When a certificate that ends then is renewed by itself.';

CREATE OR REPLACE FUNCTION provision_ssl_renew_success(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE certificate AS c SET arn = COALESCE(p.arn, (adopted_effect(p.job_id)).external_name, c.arn), not_before = COALESCE(p.not_before, c.not_before), not_after = COALESCE(p.not_after, c.not_after),
        renewal_date = certificate_renewal(COALESCE(p.not_after, c.not_after)), missing_reason = NULL, updated_date = engine_now(), updated_by = caller_name()
    FROM provision_ssl_renew AS p WHERE p.id = ANY (p_ids) AND c.id = p.certificate_id AND c.revoked_date IS NULL;
END $$;
COMMENT ON FUNCTION provision_ssl_renew_success(uuid[]) IS 'Renewed certificates end later, under another ARN if they were replaced.';

CREATE OR REPLACE FUNCTION provision_ssl_revoke_success(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE certificate AS c SET revoked_date = engine_now(), updated_date = engine_now(), updated_by = caller_name()
    FROM provision_ssl_revoke AS p WHERE p.id = ANY (p_ids) AND c.id = p.certificate_id AND c.revoked_date IS NULL;
END $$;
COMMENT ON FUNCTION provision_ssl_revoke_success(uuid[]) IS 'Revoked certificates are history.';

CREATE OR REPLACE FUNCTION sweep_certificates() RETURNS int
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _certificate certificate;
    _count int := 0;
BEGIN
    FOR _certificate IN
        SELECT * FROM certificate WHERE revoked_date IS NULL AND renewal_date <= engine_now() ORDER BY renewal_date LIMIT 100 FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        -- Tried again tomorrow, unless it has succeeded by then.
        UPDATE certificate SET renewal_date = engine_now() + interval '1 day' WHERE id = _certificate.id;
        PERFORM certificate_auto_renew(_certificate);
        _count := _count + 1;
    END LOOP;
    RETURN _count;
END $$;
COMMENT ON FUNCTION sweep_certificates() IS 'Orders the renewal of certificates whose time has come; returns of how many.';

CREATE OR REPLACE FUNCTION certificate_auto_renew(p_certificate certificate) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _order constant jsonb := jsonb_build_object('tenant_customer_id', p_certificate.tenant_customer_id, 'org_id', p_certificate.org_id, 'metadata', '{"auto_renew": true}'::jsonb,
        'items', jsonb_build_array(jsonb_build_object('operation', 'ssl.renew', 'data', jsonb_build_object('id', p_certificate.id))));
    _reason text;
    _detail text;
BEGIN
    IF EXISTS (SELECT FROM object_operation WHERE object_type = 'certificate' AND object_key = p_certificate.id::text)
        OR NOT (SELECT is_active FROM tenant_customer WHERE id = p_certificate.tenant_customer_id) THEN
        RETURN;
    END IF;
    BEGIN
        PERFORM order_place(order_requests(jsonb_build_array(_order)));
    EXCEPTION WHEN OTHERS THEN
        -- A refusal is told; anything else is the sweeper's.
        IF SQLSTATE NOT LIKE 'PV%' THEN
            RAISE;
        END IF;
        GET STACKED DIAGNOSTICS _reason = MESSAGE_TEXT, _detail = PG_EXCEPTION_DETAIL;
        INSERT INTO audit_trail_log (table_name, row_id, tenant_customer_id, org_id, operation, to_state, reason)
        VALUES ('certificate', p_certificate.id, p_certificate.tenant_customer_id, p_certificate.org_id, 'transition', 'auto_renew_refused', concat_ws(': ', _reason, nullif(_detail, '')));
    END;
END $$;
COMMENT ON FUNCTION certificate_auto_renew(certificate) IS 'Orders the renewal of a certificate by itself, unless something is being done with it; why that is refused is an event.';
