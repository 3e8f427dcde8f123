DELETE FROM order_operation WHERE name IN ('cluster.deploy', 'cluster.scale', 'cluster.shutdown');
DELETE FROM setting WHERE name LIKE 'cluster\_%';
DELETE FROM schedule WHERE job_type = 'cluster_observe';
DELETE FROM job_type WHERE name LIKE 'provision\_cluster\_%' OR name = 'cluster_observe';
DELETE FROM class.provision_kind WHERE table_name LIKE 'provision\_cluster%';
DROP TABLE provision_cluster_shutdown, provision_cluster_scale, provision_cluster, capacity_request, cluster_clock, cluster, cluster_version_org, cluster_version;
DELETE FROM state_transition WHERE machine IN ('cluster', 'capacity_request');
DELETE FROM role_permission WHERE permission IN ('capacity.request', 'cluster.change');
DELETE FROM permission WHERE name IN ('capacity.request', 'cluster.change');
