DELETE FROM order_operation WHERE name IN ('contact.update', 'contact.delete', 'host.update', 'host.delete', 'domain.update');
DELETE FROM job_type WHERE name LIKE 'provision\_%\_update' OR name IN ('provision_contact_delete', 'provision_host_delete');
DELETE FROM class.provision_kind WHERE table_name LIKE 'provision\_%\_update' OR table_name IN ('provision_contact_delete', 'provision_host_delete');
DROP TABLE provision_contact_update, provision_contact_delete, provision_host_update, provision_host_delete, provision_domain_update;
ALTER TABLE domain DROP COLUMN ds_records;
