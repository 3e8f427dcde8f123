-- depends: 0009.lifecycle
--
-- Changes to what exists at registries: `provision_contact_update` and `provision_host_update` change a contact and a
-- name server, `provision_contact_delete` and `provision_host_delete` delete them where no domain uses them, and
-- `provision_domain_update` gives a domain other name servers, contacts, auth info, locks or DNSSEC records.

-- Lists go through a customer's things in the order of their ids.
CREATE INDEX contact_list_ix ON contact (tenant_customer_id, id);
CREATE INDEX domain_list_ix ON domain (tenant_customer_id, id);
CREATE INDEX host_list_ix ON host (tenant_customer_id, id);
CREATE INDEX certificate_list_ix ON certificate (tenant_customer_id, id);

CREATE TABLE provision_contact_update (
    contact_id uuid NOT NULL,
    name text,
    organization text,
    street text[],
    city text,
    state text,
    postal_code text,
    country_code text,
    phone text,
    fax text,
    email text,
    CONSTRAINT provision_contact_update_contact_fk FOREIGN KEY (tenant_customer_id, contact_id) REFERENCES contact (tenant_customer_id, id)
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_contact_update', job_type => 'provision_contact_update', providers => '{epp,manual}');
CREATE INDEX provision_contact_update_contact_ix ON provision_contact_update (contact_id);
COMMENT ON TABLE provision_contact_update IS 'Changes a contact at a registry. What is NULL stays as it is; what is empty is taken away.';
COMMENT ON COLUMN provision_contact_update.contact_id IS 'The contact; its accreditation is the row''s.';
COMMENT ON COLUMN provision_contact_update.name IS 'New name of the person or role.';
COMMENT ON COLUMN provision_contact_update.organization IS 'New organization.';
COMMENT ON COLUMN provision_contact_update.street IS 'New street, one to three lines.';
COMMENT ON COLUMN provision_contact_update.city IS 'New city.';
COMMENT ON COLUMN provision_contact_update.state IS 'New state or province.';
COMMENT ON COLUMN provision_contact_update.postal_code IS 'New postal code.';
COMMENT ON COLUMN provision_contact_update.country_code IS 'New country, ISO 3166-1 alpha-2.';
COMMENT ON COLUMN provision_contact_update.phone IS 'New phone number, E.164 as EPP writes it: +49.301234567.';
COMMENT ON COLUMN provision_contact_update.fax IS 'New fax number, as phone.';
COMMENT ON COLUMN provision_contact_update.email IS 'New e-mail address.';

CREATE TABLE provision_contact_delete (
    contact_id uuid NOT NULL,
    CONSTRAINT provision_contact_delete_contact_fk FOREIGN KEY (tenant_customer_id, contact_id) REFERENCES contact (tenant_customer_id, id)
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_contact_delete', job_type => 'provision_contact_delete', providers => '{epp,manual}');
CREATE INDEX provision_contact_delete_contact_ix ON provision_contact_delete (contact_id);
COMMENT ON TABLE provision_contact_delete IS 'Deletes a contact that no domain uses.';
COMMENT ON COLUMN provision_contact_delete.contact_id IS 'The contact; its accreditation is the row''s.';

CREATE TABLE provision_host_update (
    host_id uuid NOT NULL,
    addresses inet[] NOT NULL,
    CONSTRAINT provision_host_update_host_fk FOREIGN KEY (tenant_customer_id, host_id) REFERENCES host (tenant_customer_id, id)
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_host_update', job_type => 'provision_host_update', providers => '{epp,manual}');
CREATE INDEX provision_host_update_host_ix ON provision_host_update (host_id);
COMMENT ON TABLE provision_host_update IS 'Gives a name server other glue addresses.';
COMMENT ON COLUMN provision_host_update.host_id IS 'The name server; its accreditation is the row''s.';
COMMENT ON COLUMN provision_host_update.addresses IS 'All its addresses from then on.';

CREATE TABLE provision_host_delete (
    host_id uuid NOT NULL,
    CONSTRAINT provision_host_delete_host_fk FOREIGN KEY (tenant_customer_id, host_id) REFERENCES host (tenant_customer_id, id)
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_host_delete', job_type => 'provision_host_delete', providers => '{epp,manual}');
CREATE INDEX provision_host_delete_host_ix ON provision_host_delete (host_id);
COMMENT ON TABLE provision_host_delete IS 'Deletes a name server that no domain uses; at the registry only if nobody else has made it known there.';
COMMENT ON COLUMN provision_host_delete.host_id IS 'The name server; its accreditation is the row''s.';

ALTER TABLE domain ADD COLUMN ds_records jsonb NOT NULL DEFAULT '[]';
COMMENT ON COLUMN domain.ds_records IS 'Its DNSSEC records (RFC 5910): [{"key_tag", "algorithm", "digest_type", "digest"}] or [{"flags", "protocol", "algorithm", "public_key"}].';

CREATE TABLE provision_domain_update (
    domain_id uuid NOT NULL,
    name fqdn NOT NULL,
    settings jsonb,
    hosts uuid[],
    contacts jsonb,
    pw text,
    statuses text[],
    ds_records jsonb,
    auto_renew boolean,
    CONSTRAINT provision_domain_update_domain_fk FOREIGN KEY (tenant_customer_id, domain_id) REFERENCES domain (tenant_customer_id, id)
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_domain_update', job_type => 'provision_domain_update', providers => '{epp,manual}', failure => true, secret_columns => '{pw}');
CREATE INDEX provision_domain_update_domain_ix ON provision_domain_update (domain_id);
COMMENT ON TABLE provision_domain_update IS 'Changes a domain. What is NULL stays as it is.';
COMMENT ON COLUMN provision_domain_update.domain_id IS 'The domain; found from the name if not given.';
COMMENT ON COLUMN provision_domain_update.name IS 'Its name; found from the id if not given.';
COMMENT ON COLUMN provision_domain_update.settings IS 'The zone''s settings when the order was accepted; later changes do not touch it.';
COMMENT ON COLUMN provision_domain_update.hosts IS 'Its name servers from then on: ids of hosts that are live at the same accreditation.';
COMMENT ON COLUMN provision_domain_update.contacts IS 'Its contacts from then on, {"type": [contact.id, …]}; types that are not named stay as they are.';
COMMENT ON COLUMN provision_domain_update.pw IS 'New transfer secret (auth info); NULL once the row is final, domain.auth_info_ref names where it is kept.';
COMMENT ON COLUMN provision_domain_update.statuses IS 'The locks it has from then on: clientTransferProhibited, clientUpdateProhibited, clientDeleteProhibited, clientRenewProhibited, clientHold.';
COMMENT ON COLUMN provision_domain_update.ds_records IS 'Its DNSSEC records from then on, as domain.ds_records.';
COMMENT ON COLUMN provision_domain_update.auto_renew IS 'Whether it is renewed by itself from then on.';

ALTER TABLE certificate ADD COLUMN renewal_date timestamptz;
CREATE INDEX certificate_renewal_ix ON certificate (renewal_date) WHERE revoked_date IS NULL;
COMMENT ON COLUMN certificate.renewal_date IS 'When it is next renewed by itself; NULL: never.';

CREATE TABLE provision_ssl_renew (
    certificate_id uuid NOT NULL,
    arn text,
    not_before timestamptz,
    not_after timestamptz,
    CONSTRAINT provision_ssl_renew_certificate_fk FOREIGN KEY (tenant_customer_id, certificate_id) REFERENCES certificate (tenant_customer_id, id)
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_ssl_renew', job_type => 'provision_ssl_renew', providers => '{aws,manual}', result_columns => '{arn,not_before,not_after}');
CREATE INDEX provision_ssl_renew_certificate_ix ON provision_ssl_renew (certificate_id);
COMMENT ON TABLE provision_ssl_renew IS 'Renews a certificate: what ACM has renewed by itself is noted, and one that it does not renew is replaced by a new one for the same names.';
COMMENT ON COLUMN provision_ssl_renew.certificate_id IS 'The certificate; its accreditation is the row''s.';
COMMENT ON COLUMN provision_ssl_renew.arn IS 'ARN of the certificate from then on.';
COMMENT ON COLUMN provision_ssl_renew.not_before IS 'Valid from.';
COMMENT ON COLUMN provision_ssl_renew.not_after IS 'Valid until.';

CREATE TABLE provision_ssl_revoke (
    certificate_id uuid NOT NULL,
    reason text NOT NULL DEFAULT 'UNSPECIFIED',
    CONSTRAINT provision_ssl_revoke_certificate_fk FOREIGN KEY (tenant_customer_id, certificate_id) REFERENCES certificate (tenant_customer_id, id)
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_ssl_revoke', job_type => 'provision_ssl_revoke', providers => '{aws,manual}');
CREATE INDEX provision_ssl_revoke_certificate_ix ON provision_ssl_revoke (certificate_id);
COMMENT ON TABLE provision_ssl_revoke IS 'Revokes a certificate, or deletes it with its key where ACM cannot revoke it because nobody ever had the key.';
COMMENT ON COLUMN provision_ssl_revoke.certificate_id IS 'The certificate; its accreditation is the row''s.';
COMMENT ON COLUMN provision_ssl_revoke.reason IS 'Why (RFC 5280 section 5.3.1): UNSPECIFIED, KEY_COMPROMISE, CA_COMPROMISE, AFFILIATION_CHANGED, SUPERSEDED, CESSATION_OF_OPERATION, CERTIFICATE_HOLD, REMOVE_FROM_CRL, PRIVILEGE_WITHDRAWN or A_A_COMPROMISE.';

-- At Route 53 Domains contacts and name servers are kept here only; their details travel with the domain.
UPDATE class.provision_kind SET providers = '{aws,epp,manual}'
WHERE table_name IN ('provision_contact', 'provision_contact_update', 'provision_contact_delete', 'provision_host', 'provision_host_update', 'provision_host_delete',
    'provision_domain', 'provision_domain_renew', 'provision_domain_transfer', 'provision_domain_delete', 'provision_domain_update');

INSERT INTO setting VALUES ('certificate_renewal_days', '30', 'so many days before they end, certificates are renewed; 0: not by themselves', 'integer', 0, 365);
INSERT INTO job_type VALUES
    ('provision_ssl_renew', 'renews a certificate at ACM', 20),
    ('provision_ssl_revoke', 'revokes a certificate at ACM', 20),
    ('provision_domain_update', 'changes a domain at a registry (RFC 5731, RFC 5910)', 20),
    ('provision_contact_update', 'changes a contact at a registry (RFC 5733)', 20),
    ('provision_contact_delete', 'deletes a contact at a registry (RFC 5733)', 20),
    ('provision_host_update', 'changes the addresses of a name server at a registry (RFC 5732)', 20),
    ('provision_host_delete', 'deletes a name server at a registry (RFC 5732)', 20);
INSERT INTO order_operation VALUES
    ('ssl.renew', 'ssl_renew_plan', false, 'renews a certificate', false),
    ('ssl.revoke', 'ssl_revoke_plan', false, 'revokes a certificate', false),
    ('domain.update', 'domain_update_plan', false, 'gives a domain other name servers, contacts, auth info, locks or DNSSEC records', true),
    ('contact.update', 'contact_update_plan', false, 'changes a contact', false),
    ('contact.delete', 'contact_delete_plan', false, 'deletes a contact that no domain uses', false),
    ('host.update', 'host_update_plan', false, 'gives a name server other addresses', false),
    ('host.delete', 'host_delete_plan', false, 'deletes a name server that no domain uses', false);
