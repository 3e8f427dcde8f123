DELETE FROM order_operation WHERE name = 'ssl.create';
DELETE FROM job_type WHERE name = 'provision_ssl_create';
DELETE FROM class.provision_kind WHERE table_name = 'provision_ssl';
DROP TABLE provision_ssl, certificate;
