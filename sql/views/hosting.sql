-- Web sites, their versions, backups and profiles.

CREATE VIEW v_wpaas AS
SELECT i.id, i.name, i.hostname, c.cid, o.slug AS org, o.name AS org_name, s.name AS space, i.phase, i.ready_instances, i.num_instances, i.min_instances, i.max_instances, i.features, i.profile, i.code_url, i.code_ref, i.code_version, i.version_wanted,
    i.domains, i.domain_states, i.routes, i.is_suspended, i.address, i.conditions, i.alarm, i.generation, i.observed_generation, i.backup_hours, i.backup_keep, i.created_date, i.updated_date, i.deleted_date,
    i.tenant_customer_id, i.org_id, i.space_id
FROM wpaas_instance AS i JOIN org AS o ON o.id = i.org_id JOIN space AS s ON s.id = i.space_id JOIN tenant_customer AS a ON a.id = i.tenant_customer_id JOIN customer AS c ON c.id = a.customer_id;
COMMENT ON VIEW v_wpaas IS 'Web sites: what is wanted of them and what is there.';

CREATE VIEW v_wpaas_version AS
SELECT v.id, v.instance_id, v.number, v.number = i.version_wanted AS is_wanted, v.code_url, v.code_ref, v.resolved_ref, v.snapshot, v.snapshot_date, v.created_date, v.tenant_customer_id, v.org_id
FROM wpaas_version AS v JOIN wpaas_instance AS i ON i.id = v.instance_id;
COMMENT ON VIEW v_wpaas_version IS 'The versions of the code of web sites.';

CREATE VIEW v_wpaas_backup AS
SELECT b.id, b.instance_id, i.hostname, b.reason, b.snapshot, b.size_gib, b.dump_bytes, b.dump_date, b.created_date, b.removal_date, b.expired_date, b.tenant_customer_id, b.org_id
FROM wpaas_backup AS b JOIN wpaas_instance AS i ON i.id = b.instance_id;
COMMENT ON VIEW v_wpaas_backup IS 'Snapshots of the databases of web sites.';

CREATE VIEW v_wpaas_profile AS
SELECT p.id, p.name, p.description, p.features, p.num_instances, p.min_instances, p.max_instances, p.tenant_customer_id FROM wpaas_profile AS p;
COMMENT ON VIEW v_wpaas_profile IS 'Profiles for web sites: everybody''s, and customers'' own.';

CREATE VIEW v_wpaas_watch AS
SELECT w.instance_id, i.hostname, i.phase, w.pass_date, w.passes, w.failures, w.wake_date, w.backup_date, w.memory, j.start_date AS next_pass_date, c.job_id
FROM wpaas_watch AS w JOIN wpaas_instance AS i ON i.id = w.instance_id
LEFT JOIN provision_wpaas_converge AS c ON c.instance_id = i.id AND c.finished_date IS NULL LEFT JOIN job AS j ON j.id = c.job_id;
COMMENT ON VIEW v_wpaas_watch IS 'What the converger knows of web sites and when it looks next; SELECT wpaas_converge(instance_id) has it look now.';

CREATE VIEW v_wpaas_stray AS
SELECT a.name AS accreditation, s.arn, s.instance, s.seen_date, s.last_date, s.accreditation_id FROM wpaas_stray AS s JOIN accreditation AS a ON a.id = s.accreditation_id;
COMMENT ON VIEW v_wpaas_stray IS 'Things at AWS with the tag of a web site that is not there; but for data they are removed when they were seen for an hour.';
