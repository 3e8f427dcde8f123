DELETE FROM order_operation WHERE name IN ('contact.update', 'contact.delete', 'host.update', 'host.delete', 'domain.update', 'ssl.renew', 'ssl.revoke');
DELETE FROM setting WHERE name = 'certificate_renewal_days';
DELETE FROM job_type WHERE name IN ('provision_contact_update', 'provision_contact_delete', 'provision_host_update', 'provision_host_delete', 'provision_domain_update', 'provision_ssl_renew', 'provision_ssl_revoke');
DELETE FROM class.provision_kind WHERE table_name IN ('provision_contact_update', 'provision_contact_delete', 'provision_host_update', 'provision_host_delete', 'provision_domain_update', 'provision_ssl_renew', 'provision_ssl_revoke');
DROP TABLE provision_contact_update, provision_contact_delete, provision_host_update, provision_host_delete, provision_domain_update, provision_ssl_renew, provision_ssl_revoke;
ALTER TABLE domain DROP COLUMN ds_records;
ALTER TABLE certificate DROP COLUMN renewal_date;
UPDATE class.provision_kind SET providers = '{epp,manual}' WHERE table_name IN ('provision_contact', 'provision_host', 'provision_domain', 'provision_domain_renew', 'provision_domain_delete');
DROP INDEX contact_list_ix, domain_list_ix, host_list_ix, certificate_list_ix;
