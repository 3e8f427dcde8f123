-- The inventory of certificates.

CREATE VIEW v_certificate AS
SELECT c.id, c.domain_name, c.alternative_names, a.name AS accreditation, c.arn, c.not_before, c.not_after, c.renewal_date, c.revoked_date, c.created_date, c.missing_reason, c.tenant_customer_id, c.org_id
FROM certificate AS c JOIN accreditation AS a ON a.id = c.accreditation_id;
COMMENT ON VIEW v_certificate IS 'Issued certificates.';
