-- From an ordered certificate to its step, and from the row to its job.

CREATE OR REPLACE FUNCTION ssl_create_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _item plan_item;
    _accreditation uuid;
    _step plan_step;
BEGIN
    -- By name, so that two orders for the same names claim them in the same order.
    FOREACH _item IN ARRAY ARRAY(SELECT i FROM unnest(p_items) AS i ORDER BY i.data ->> 'domain_name', i.data ->> 'accreditation') LOOP
        PERFORM check_fields('ssl.create', ARRAY[_item.data], '{domain_name}', '{"domain_name": "string", "alternative_names": "array", "accreditation": "string"}');
        -- What is not a text stands as JSON here and is refused as a malformed name.
        PERFORM certificate_check_names((_item.data ->> 'domain_name')
            || ARRAY(SELECT CASE jsonb_typeof(n) WHEN 'string' THEN n ->> 0 WHEN 'null' THEN NULL ELSE n::text END FROM jsonb_array_elements(_item.data -> 'alternative_names') AS n));
        _accreditation := accreditation_for(_item.tenant_customer_id, _item.data ->> 'accreditation', '{aws,manual}');
        _step := ROW(new_id(), _item.id, 'certificate ' || (_item.data ->> 'domain_name'), 'provision_ssl', new_id(),
            (_item.data - 'accreditation') || jsonb_build_object('accreditation_id', _accreditation), '{}')::plan_step;
        PERFORM object_claim('certificate', object_key(_item.tenant_customer_id, _item.org_id, _accreditation, _item.data ->> 'domain_name'), _step.provision_id, _step.id, _item.tenant_customer_id);
        RETURN NEXT _step;
    END LOOP;
END $$;
COMMENT ON FUNCTION ssl_create_plan(plan_item[]) IS 'ssl.create: one step, the certificate.';

CREATE OR REPLACE FUNCTION provision_ssl_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT p.id, jsonb_build_object('domain_name', p.domain_name, 'alternative_names', p.alternative_names) FROM provision_ssl AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_ssl_job(uuid[]) IS 'What requesting a certificate needs to know.';

CREATE OR REPLACE FUNCTION ssl_renew_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM check_fields('ssl.renew', ARRAY(SELECT data FROM unnest(p_items)), '{}', '{"domain_name": "string", "arn": "string", "id": "string", "accreditation": "string"}');
    RETURN QUERY SELECT * FROM unnest(change_steps(p_items, 'certificate', '{domain_name,arn,id}', 'provision_ssl_renew'));
END $$;
COMMENT ON FUNCTION ssl_renew_plan(plan_item[]) IS 'ssl.renew: one step, the renewal.';

CREATE OR REPLACE FUNCTION ssl_revoke_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM check_fields('ssl.revoke', ARRAY(SELECT data FROM unnest(p_items)), '{}', '{"domain_name": "string", "arn": "string", "id": "string", "reason": "string", "accreditation": "string"}');
    RETURN QUERY SELECT * FROM unnest(change_steps(p_items, 'certificate', '{domain_name,arn,id}', 'provision_ssl_revoke'));
END $$;
COMMENT ON FUNCTION ssl_revoke_plan(plan_item[]) IS 'ssl.revoke: one step, the revocation.';

CREATE OR REPLACE FUNCTION provision_ssl_renew_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT p.id, jsonb_build_object('arn', c.arn, 'domain_name', c.domain_name, 'alternative_names', c.alternative_names, 'not_after', c.not_after)
    FROM provision_ssl_renew AS p JOIN certificate AS c ON c.id = p.certificate_id WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_ssl_renew_job(uuid[]) IS 'What renewing a certificate needs to know.';

CREATE OR REPLACE FUNCTION provision_ssl_revoke_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT p.id, jsonb_build_object('arn', c.arn, 'reason', p.reason) FROM provision_ssl_revoke AS p JOIN certificate AS c ON c.id = p.certificate_id WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_ssl_revoke_job(uuid[]) IS 'What revoking a certificate needs to know.';
