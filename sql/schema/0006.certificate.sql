-- depends: 0004.order
--
-- Certificates: `provision_ssl` asks for one at AWS Certificate Manager, validated through a DNS record in Route 53;
-- `certificate` is the inventory of what was issued.

CREATE TABLE certificate (
    id uuid NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid,
    accreditation_id uuid NOT NULL,
    domain_name text NOT NULL,
    alternative_names text[] NOT NULL DEFAULT '{}',
    arn text NOT NULL,
    not_before timestamptz,
    not_after timestamptz,
    revoked_date timestamptz,
    missing_reason text,
    CONSTRAINT certificate_pk PRIMARY KEY (id),
    CONSTRAINT certificate_tenant_customer_uk UNIQUE (id, tenant_customer_id),
    CONSTRAINT certificate_arn_uk UNIQUE (arn)
) INHERITS (class.audit_trail);
SELECT class.copy_comments('class.audit_trail', 'certificate');
SELECT class.tenant_policy('certificate');
COMMENT ON TABLE certificate IS 'An issued certificate.';
COMMENT ON COLUMN certificate.id IS 'Id of the provision row that requested it.';
COMMENT ON COLUMN certificate.tenant_customer_id IS 'Whose it is.';
COMMENT ON COLUMN certificate.org_id IS 'The org it belongs to.';
COMMENT ON COLUMN certificate.accreditation_id IS 'The AWS account it is in.';
COMMENT ON COLUMN certificate.domain_name IS 'The name it is for.';
COMMENT ON COLUMN certificate.alternative_names IS 'Further names it is for.';
COMMENT ON COLUMN certificate.arn IS 'Its ARN.';
COMMENT ON COLUMN certificate.not_before IS 'Valid from.';
COMMENT ON COLUMN certificate.not_after IS 'Valid until.';
COMMENT ON COLUMN certificate.revoked_date IS 'When it was revoked.';
COMMENT ON COLUMN certificate.missing_reason IS 'Set by the reconcile pass when the account does not have it.';

CREATE TABLE provision_ssl (
    domain_name text NOT NULL,
    alternative_names text[] NOT NULL DEFAULT '{}',
    arn text,
    not_before timestamptz,
    not_after timestamptz
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_ssl', job_type => 'provision_ssl_create', providers => '{aws,manual}', result_columns => '{arn,not_before,not_after}');
COMMENT ON TABLE provision_ssl IS 'Requests a certificate and has it validated by DNS.';
COMMENT ON COLUMN provision_ssl.domain_name IS 'The name it is for; *.example.test covers one level.';
COMMENT ON COLUMN provision_ssl.alternative_names IS 'Further names, at most 99.';
COMMENT ON COLUMN provision_ssl.arn IS 'ARN of the certificate.';
COMMENT ON COLUMN provision_ssl.not_before IS 'Valid from.';
COMMENT ON COLUMN provision_ssl.not_after IS 'Valid until.';

INSERT INTO job_type VALUES ('provision_ssl_create', 'requests a certificate at ACM and validates it in Route 53', 20);
INSERT INTO order_operation VALUES ('ssl.create', 'ssl_create_plan', false, 'requests a certificate');
