DELETE FROM order_operation WHERE name IN ('compute_cluster.create', 'compute_cluster.update', 'compute_cluster.delete', 'deployment.create', 'deployment.stop');
DELETE FROM schedule WHERE job_type = 'deployment_sweep';
DELETE FROM job_type WHERE name IN ('provision_compute_cluster_create', 'provision_compute_cluster_update', 'provision_compute_cluster_delete',
    'provision_deployment_run', 'provision_deployment_stop', 'deployment_schedule', 'deployment_sweep');
DELETE FROM class.provision_kind WHERE table_name IN ('provision_compute_cluster', 'provision_compute_cluster_update', 'provision_compute_cluster_delete',
    'provision_deployment', 'provision_deployment_stop');
DROP TABLE provision_deployment_stop, provision_deployment, deployment_wait, deployment_dependency, deployment, deployment_priority,
    provision_compute_cluster_delete, provision_compute_cluster_update, provision_compute_cluster, compute_cluster;
DELETE FROM class.audit_omission WHERE table_name = 'compute_cluster';
DROP FUNCTION compute_cluster_balance();
DELETE FROM state_transition WHERE machine IN ('compute_cluster', 'deployment');
ALTER TABLE app_user DROP COLUMN default_role;
ALTER TABLE org DROP COLUMN number;
DELETE FROM provider WHERE name = 'simulated';
