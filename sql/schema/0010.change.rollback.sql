DELETE FROM order_operation WHERE name IN ('contact.update', 'contact.delete', 'host.update', 'host.delete');
DELETE FROM job_type WHERE name IN ('provision_contact_update', 'provision_contact_delete', 'provision_host_update', 'provision_host_delete');
DELETE FROM class.provision_kind WHERE table_name IN ('provision_contact_update', 'provision_contact_delete', 'provision_host_update', 'provision_host_delete');
DROP TABLE provision_contact_update, provision_contact_delete, provision_host_update, provision_host_delete;
