DELETE FROM order_operation WHERE name IN ('domain.renew', 'domain.delete', 'domain.restore');
DELETE FROM job_type WHERE name IN ('provision_domain_renew', 'provision_domain_delete', 'provision_domain_restore');
DELETE FROM setting WHERE name = 'auto_renew_days';
DELETE FROM tld_setting WHERE name = 'contact_model';
DELETE FROM tld_setting_key WHERE name = 'contact_model';
DELETE FROM class.provision_kind WHERE table_name IN ('provision_domain_renew', 'provision_domain_delete', 'provision_domain_restore');
DROP INDEX host_below_ix;
DROP TABLE tld_profile, provision_domain_restore, provision_domain_delete, provision_domain_renew, domain_due;
ALTER TABLE domain DROP COLUMN statuses, DROP COLUMN rgp_state, DROP COLUMN rgp_until, DROP COLUMN purge_date, DROP COLUMN auto_renew;
