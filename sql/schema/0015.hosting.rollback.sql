DELETE FROM role_permission WHERE role = 'account';
DELETE FROM role WHERE name = 'account';
DELETE FROM quota_plan_limit WHERE resource IN ('wpaas', 'wpaas_node');
DELETE FROM quota_use WHERE resource IN ('wpaas', 'wpaas_node');
DELETE FROM setting WHERE name LIKE 'hosting\_%';
DELETE FROM order_operation WHERE name LIKE 'wpaas.%';
DELETE FROM schedule WHERE job_type = 'wpaas_stray';
DELETE FROM job_type WHERE name LIKE 'provision\_wpaas\_%' OR name = 'wpaas_stray';
DELETE FROM account_cost WHERE tag IN (SELECT tag FROM cost_tag WHERE module = 'hosting');
DELETE FROM cost_tag WHERE module = 'hosting';
DELETE FROM secret WHERE id IN (SELECT id FROM wpaas_hook UNION ALL SELECT id FROM wpaas_backup);
DELETE FROM class.provision_kind WHERE table_name LIKE 'provision\_wpaas%';
DROP TABLE provision_wpaas, provision_wpaas_update, provision_wpaas_converge, provision_wpaas_backup, provision_wpaas_restore, provision_wpaas_download, provision_wpaas_delete,
    wpaas_stray, wpaas_hook, wpaas_link, wpaas_dump, wpaas_backup, wpaas_version, wpaas_watch, wpaas_instance, wpaas_profile, wpaas_feature;
