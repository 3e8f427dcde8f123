DELETE FROM order_operation WHERE name IN ('contact.create', 'host.create', 'domain.create');
DELETE FROM job_type WHERE name IN ('provision_contact_create', 'provision_host_create', 'provision_domain_create');
DELETE FROM class.provision_kind WHERE table_name IN ('provision_contact', 'provision_host', 'provision_domain');
DROP TYPE domain_part;
DROP TABLE provision_domain_host, provision_domain_contact, provision_domain, provision_host, provision_contact;
DROP TABLE domain_host, domain_contact, domain, host, contact, secret;
DROP TABLE tld_setting, tld_setting_key, accreditation_tld, tld;
DROP FUNCTION tc_gen_password(int);
DROP DOMAIN fqdn;
