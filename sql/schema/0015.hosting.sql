-- depends: 0008.event
--
-- Managed WordPress hosting. `wpaas_instance` is one web site: what is wanted of it (the spec, with a generation that every
-- change raises) and what is there (the status, which only the converger writes). `provision_wpaas` makes one,
-- `provision_wpaas_update` changes its spec, `_backup` and `_restore` keep and bring back its data, `_download` makes a file
-- of a backup, `_delete` takes it down: they write down what is wanted and wait until it is so. `provision_wpaas_converge` is the site's caretaker: its job lives as
-- long as the site, looks at AWS again and again, and does what is missing. `wpaas_watch` is what it remembers.

CREATE TABLE wpaas_feature (
    name text NOT NULL,
    description text NOT NULL,
    CONSTRAINT wpaas_feature_pk PRIMARY KEY (name),
    CONSTRAINT wpaas_feature_name_ck CHECK (name ~ '^[a-z][a-z_]{0,62}$')
);
COMMENT ON TABLE wpaas_feature IS 'What a web site can have beyond the ordinary.';
COMMENT ON COLUMN wpaas_feature.name IS 'Name, as requests say it.';
COMMENT ON COLUMN wpaas_feature.description IS 'What it does.';
INSERT INTO wpaas_feature VALUES
    ('autoscale', 'the load decides about the number of nodes, between min_instances and max_instances'),
    ('dedicated_ip', 'an IP address of its own, which never changes'),
    ('large_nodes', 'nodes with twice the memory'),
    ('database_standby', 'a second database in another zone, which takes over when the first fails');

CREATE TABLE wpaas_profile (
    id uuid NOT NULL DEFAULT new_id(),
    tenant_customer_id uuid,
    name text NOT NULL,
    description text NOT NULL,
    features text[] NOT NULL DEFAULT '{}',
    num_instances int NOT NULL DEFAULT 1,
    min_instances int,
    max_instances int,
    CONSTRAINT wpaas_profile_pk PRIMARY KEY (id),
    CONSTRAINT wpaas_profile_tenant_customer_fk FOREIGN KEY (tenant_customer_id) REFERENCES tenant_customer (id),
    CONSTRAINT wpaas_profile_name_uk UNIQUE NULLS NOT DISTINCT (tenant_customer_id, name),
    CONSTRAINT wpaas_profile_name_ck CHECK (name ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    CONSTRAINT wpaas_profile_count_ck CHECK (num_instances BETWEEN 1 AND 100),
    CONSTRAINT wpaas_profile_range_ck CHECK (min_instances BETWEEN 1 AND max_instances),
    CONSTRAINT wpaas_profile_maximum_ck CHECK (max_instances <= 100)
);
COMMENT ON TABLE wpaas_profile IS 'Named bundles of features and a size; what a request says itself counts more.';
COMMENT ON COLUMN wpaas_profile.id IS 'Id.';
COMMENT ON COLUMN wpaas_profile.tenant_customer_id IS 'The customer whose profile it is; NULL: everybody''s.';
COMMENT ON COLUMN wpaas_profile.name IS 'Name.';
COMMENT ON COLUMN wpaas_profile.description IS 'For people.';
COMMENT ON COLUMN wpaas_profile.features IS 'Features that come with it.';
COMMENT ON COLUMN wpaas_profile.num_instances IS 'Nodes.';
COMMENT ON COLUMN wpaas_profile.min_instances IS 'Least nodes where the load decides.';
COMMENT ON COLUMN wpaas_profile.max_instances IS 'Most nodes where the load decides.';
INSERT INTO wpaas_profile (name, description, features, num_instances, min_instances, max_instances) VALUES
    ('small', 'one node', '{}', 1, NULL, NULL),
    ('standard', 'two nodes in two zones', '{}', 2, NULL, NULL),
    ('busy', 'two to ten large nodes, as the load asks, and a standby database', '{autoscale,large_nodes,database_standby}', 2, 2, 10);
SELECT class.tenancy_policy('wpaas_profile', 'tenant_customer_id IS NULL OR tenant_customer_id = ANY ((SELECT caller_accounts())::uuid[])');

-- Sites --------------------------------------------------------------------------------------------------------------

CREATE TABLE wpaas_instance (
    id uuid NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid NOT NULL,
    space_id uuid NOT NULL,
    accreditation_id uuid NOT NULL,
    name text NOT NULL,
    hostname text NOT NULL,
    num_instances int NOT NULL DEFAULT 1,
    min_instances int,
    max_instances int,
    features text[] NOT NULL DEFAULT '{}',
    profile text,
    code_url text,
    code_ref text,
    domains text[] NOT NULL DEFAULT '{}',
    routes jsonb NOT NULL DEFAULT '[]',
    is_suspended boolean NOT NULL DEFAULT false,
    is_deletion_wanted boolean NOT NULL DEFAULT false,
    version_wanted int NOT NULL DEFAULT 0,
    database_revision int NOT NULL DEFAULT 1,
    basic_auth_revision int NOT NULL DEFAULT 0,
    backup_hours int NOT NULL DEFAULT 24,
    backup_keep int NOT NULL DEFAULT 7,
    generation bigint NOT NULL DEFAULT 1,
    phase text NOT NULL DEFAULT 'pending',
    observed_generation bigint NOT NULL DEFAULT 0,
    ready_instances int NOT NULL DEFAULT 0,
    code_version int,
    conditions jsonb NOT NULL DEFAULT '{}',
    domain_states jsonb NOT NULL DEFAULT '[]',
    address text,
    alarm text,
    alarm_date timestamptz,
    deleted_date timestamptz,
    CONSTRAINT wpaas_instance_pk PRIMARY KEY (id),
    CONSTRAINT wpaas_instance_tenant_customer_uk UNIQUE (tenant_customer_id, id),
    CONSTRAINT wpaas_instance_org_fk FOREIGN KEY (tenant_customer_id, org_id) REFERENCES org (tenant_customer_id, id),
    CONSTRAINT wpaas_instance_space_fk FOREIGN KEY (org_id, space_id) REFERENCES space (org_id, id),
    CONSTRAINT wpaas_instance_accreditation_fk FOREIGN KEY (accreditation_id) REFERENCES accreditation (id),
    CONSTRAINT wpaas_instance_phase_ck CHECK (phase IN ('pending', 'creating', 'ready', 'updating', 'degraded', 'suspended', 'deleting', 'deleted', 'failed')),
    CONSTRAINT wpaas_instance_count_ck CHECK (num_instances BETWEEN 1 AND 100),
    CONSTRAINT wpaas_instance_range_ck CHECK ((min_instances IS NULL) = (max_instances IS NULL)),
    CONSTRAINT wpaas_instance_minimum_ck CHECK (min_instances BETWEEN 1 AND max_instances),
    CONSTRAINT wpaas_instance_maximum_ck CHECK (max_instances <= 100),
    CONSTRAINT wpaas_instance_autoscale_ck CHECK ('autoscale' <> ALL (features) OR min_instances IS NOT NULL),
    CONSTRAINT wpaas_instance_code_ck CHECK (code_ref IS NULL OR code_url IS NOT NULL),
    CONSTRAINT wpaas_instance_backup_hours_ck CHECK (backup_hours BETWEEN 0 AND 8760),
    CONSTRAINT wpaas_instance_backup_keep_ck CHECK (backup_keep BETWEEN 1 AND 90),
    CONSTRAINT wpaas_instance_generation_ck CHECK (observed_generation <= generation),
    CONSTRAINT wpaas_instance_alarm_ck CHECK ((alarm IS NULL) = (alarm_date IS NULL)),
    CONSTRAINT wpaas_instance_deleted_ck CHECK ((deleted_date IS NULL) = (phase <> 'deleted'))
) INHERITS (class.audit_trail);
CREATE UNIQUE INDEX wpaas_instance_name_uk ON wpaas_instance (org_id, name) WHERE deleted_date IS NULL;
CREATE INDEX wpaas_instance_org_ix ON wpaas_instance (org_id, id);
CREATE INDEX wpaas_instance_accreditation_ix ON wpaas_instance (accreditation_id, id) WHERE deleted_date IS NULL;
ALTER TABLE wpaas_instance SET (fillfactor = 50);
SELECT class.copy_comments('class.audit_trail', 'wpaas_instance');
SELECT class.tenancy_policy('wpaas_instance', 'space_id = ANY ((SELECT caller_spaces())::uuid[])');
COMMENT ON TABLE wpaas_instance IS 'A WordPress web site: one or more nodes, a database, an address, names. Kept when it is deleted.';
COMMENT ON COLUMN wpaas_instance.id IS 'Id of the provision row that made it.';
COMMENT ON COLUMN wpaas_instance.tenant_customer_id IS 'Whose it is.';
COMMENT ON COLUMN wpaas_instance.org_id IS 'The org it belongs to.';
COMMENT ON COLUMN wpaas_instance.space_id IS 'The space it is in.';
COMMENT ON COLUMN wpaas_instance.accreditation_id IS 'The AWS account it is in.';
COMMENT ON COLUMN wpaas_instance.name IS 'DNS label, unique in the org.';
COMMENT ON COLUMN wpaas_instance.hostname IS '<name>.<org>.www.<domain>; routes are names below it.';
COMMENT ON COLUMN wpaas_instance.num_instances IS 'Nodes wanted, where the load does not decide.';
COMMENT ON COLUMN wpaas_instance.min_instances IS 'Least nodes with the feature autoscale.';
COMMENT ON COLUMN wpaas_instance.max_instances IS 'Most nodes with the feature autoscale.';
COMMENT ON COLUMN wpaas_instance.features IS 'Features (wpaas_feature).';
COMMENT ON COLUMN wpaas_instance.profile IS 'The profile it was made from.';
COMMENT ON COLUMN wpaas_instance.code_url IS 'Where its code comes from: s3://bucket/key or https://…/repository.git; NULL: a stock WordPress.';
COMMENT ON COLUMN wpaas_instance.code_ref IS 'The branch, tag or commit, or the version of the S3 object; NULL: the newest.';
COMMENT ON COLUMN wpaas_instance.domains IS 'The customer''s own names for it.';
COMMENT ON COLUMN wpaas_instance.routes IS 'Further names below its own: [{"route", "version"?, "basic_auth"?}].';
COMMENT ON COLUMN wpaas_instance.is_suspended IS 'No node is to run; data stays.';
COMMENT ON COLUMN wpaas_instance.is_deletion_wanted IS 'It is to be taken down.';
COMMENT ON COLUMN wpaas_instance.version_wanted IS 'The version of the code that nodes are to run (wpaas_version.number); 0: the stock one.';
COMMENT ON COLUMN wpaas_instance.database_revision IS 'Which database is in use: a restore makes the next.';
COMMENT ON COLUMN wpaas_instance.basic_auth_revision IS 'How often the password was given that routes with basic_auth ask for; 0: never, and none may.';
COMMENT ON COLUMN wpaas_instance.backup_hours IS 'Hours between scheduled backups; 0: none.';
COMMENT ON COLUMN wpaas_instance.backup_keep IS 'How many scheduled backups are kept.';
COMMENT ON COLUMN wpaas_instance.generation IS 'Rises with every change of what is wanted; clients name the one they know.';
COMMENT ON COLUMN wpaas_instance.phase IS 'pending, creating, ready, updating, degraded, suspended, deleting, deleted or failed.';
COMMENT ON COLUMN wpaas_instance.observed_generation IS 'The generation that has come true; 0: none yet.';
COMMENT ON COLUMN wpaas_instance.ready_instances IS 'Nodes that serve.';
COMMENT ON COLUMN wpaas_instance.code_version IS 'The version that all nodes run; NULL: none has run yet.';
COMMENT ON COLUMN wpaas_instance.conditions IS 'What holds: {"DatabaseReady": {"status": true, "reason": "…"}, …}.';
COMMENT ON COLUMN wpaas_instance.domain_states IS 'The customer''s names: [{"name", "state", "required_records"}].';
COMMENT ON COLUMN wpaas_instance.address IS 'The load balancer''s name, or its own IP address.';
COMMENT ON COLUMN wpaas_instance.alarm IS 'What needs a person; NULL: nothing.';
COMMENT ON COLUMN wpaas_instance.alarm_date IS 'Since when.';
COMMENT ON COLUMN wpaas_instance.deleted_date IS 'When it was gone; history from then on.';

CREATE TABLE wpaas_watch (
    instance_id uuid NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid NOT NULL,
    memory jsonb NOT NULL DEFAULT '{}',
    pass_date timestamptz,
    passes bigint NOT NULL DEFAULT 0,
    failures int NOT NULL DEFAULT 0,
    wake_date timestamptz,
    backup_date timestamptz NOT NULL DEFAULT engine_now(),
    CONSTRAINT wpaas_watch_pk PRIMARY KEY (instance_id),
    CONSTRAINT wpaas_watch_instance_fk FOREIGN KEY (tenant_customer_id, instance_id) REFERENCES wpaas_instance (tenant_customer_id, id)
) WITH (fillfactor = 50);
CREATE INDEX wpaas_watch_wake_ix ON wpaas_watch (wake_date) WHERE wake_date IS NOT NULL;
CREATE INDEX wpaas_watch_backup_ix ON wpaas_watch (backup_date);
SELECT class.tenancy_policy('wpaas_watch', 'instance_id IN (SELECT id FROM wpaas_instance)');
COMMENT ON TABLE wpaas_watch IS 'What the converger remembers of a site from one look to the next.';
COMMENT ON COLUMN wpaas_watch.instance_id IS 'The site.';
COMMENT ON COLUMN wpaas_watch.tenant_customer_id IS 'Whose it is.';
COMMENT ON COLUMN wpaas_watch.org_id IS 'The org it belongs to.';
COMMENT ON COLUMN wpaas_watch.memory IS 'How often a node was found ill, failed starts, the last version that ran.';
COMMENT ON COLUMN wpaas_watch.pass_date IS 'When it last looked.';
COMMENT ON COLUMN wpaas_watch.passes IS 'How often it has looked.';
COMMENT ON COLUMN wpaas_watch.failures IS 'Looks that AWS did not answer or allow, in a row.';
COMMENT ON COLUMN wpaas_watch.wake_date IS 'Something changed then, and it has not looked since.';
COMMENT ON COLUMN wpaas_watch.backup_date IS 'When the next scheduled backup is due.';

CREATE TABLE wpaas_version (
    id uuid NOT NULL DEFAULT new_id(),
    instance_id uuid NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid NOT NULL,
    number int NOT NULL,
    code_url text,
    code_ref text,
    resolved_ref text,
    artifact text,
    snapshot text,
    snapshot_date timestamptz,
    CONSTRAINT wpaas_version_pk PRIMARY KEY (id),
    CONSTRAINT wpaas_version_number_uk UNIQUE (instance_id, number),
    CONSTRAINT wpaas_version_instance_fk FOREIGN KEY (tenant_customer_id, instance_id) REFERENCES wpaas_instance (tenant_customer_id, id)
) INHERITS (class.audit);
SELECT class.copy_comments('class.audit', 'wpaas_version');
SELECT class.tenancy_policy('wpaas_version', 'instance_id IN (SELECT id FROM wpaas_instance)');
COMMENT ON TABLE wpaas_version IS 'The versions of a site''s code: what a reference was resolved to, once.';
COMMENT ON COLUMN wpaas_version.id IS 'Id.';
COMMENT ON COLUMN wpaas_version.instance_id IS 'The site.';
COMMENT ON COLUMN wpaas_version.tenant_customer_id IS 'Whose it is.';
COMMENT ON COLUMN wpaas_version.org_id IS 'The org it belongs to.';
COMMENT ON COLUMN wpaas_version.number IS '0 is the one it began with; each update of the code makes the next.';
COMMENT ON COLUMN wpaas_version.code_url IS 'Where the code came from; NULL: a stock WordPress.';
COMMENT ON COLUMN wpaas_version.code_ref IS 'What was asked for.';
COMMENT ON COLUMN wpaas_version.resolved_ref IS 'The commit, or the version of the S3 object, that this was then; NULL: not resolved yet.';
COMMENT ON COLUMN wpaas_version.artifact IS 'Our copy of it, which nodes fetch: s3://bucket/key.';
COMMENT ON COLUMN wpaas_version.snapshot IS 'The database as it was when the next version came: a snapshot at RDS.';
COMMENT ON COLUMN wpaas_version.snapshot_date IS 'When that was.';

CREATE TABLE wpaas_backup (
    id uuid NOT NULL,
    instance_id uuid NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid NOT NULL,
    accreditation_id uuid NOT NULL,
    reason text NOT NULL,
    snapshot text NOT NULL,
    size_gib int,
    removal_date timestamptz,
    expired_date timestamptz,
    missing_reason text,
    dump_bytes bigint,
    dump_date timestamptz,
    link_date timestamptz,
    CONSTRAINT wpaas_backup_pk PRIMARY KEY (id),
    CONSTRAINT wpaas_backup_tenant_customer_uk UNIQUE (tenant_customer_id, id),
    CONSTRAINT wpaas_backup_snapshot_uk UNIQUE (accreditation_id, snapshot),
    CONSTRAINT wpaas_backup_instance_fk FOREIGN KEY (tenant_customer_id, instance_id) REFERENCES wpaas_instance (tenant_customer_id, id),
    CONSTRAINT wpaas_backup_reason_ck CHECK (reason IN ('asked', 'scheduled', 'replaced', 'final')),
    CONSTRAINT wpaas_backup_dump_ck CHECK ((dump_bytes IS NULL) = (dump_date IS NULL)),
    CONSTRAINT wpaas_backup_link_ck CHECK (link_date IS NULL OR dump_date IS NOT NULL)
) INHERITS (class.audit_trail);
CREATE INDEX wpaas_backup_instance_ix ON wpaas_backup (instance_id, id);
CREATE INDEX wpaas_backup_removal_ix ON wpaas_backup (accreditation_id) WHERE removal_date IS NOT NULL AND expired_date IS NULL;
CREATE INDEX wpaas_backup_dump_ix ON wpaas_backup (accreditation_id, dump_date) WHERE dump_date IS NOT NULL;
CREATE INDEX wpaas_backup_link_ix ON wpaas_backup (link_date) WHERE link_date IS NOT NULL;
SELECT class.copy_comments('class.audit_trail', 'wpaas_backup');
SELECT class.tenancy_policy('wpaas_backup', 'instance_id IN (SELECT id FROM wpaas_instance)');
COMMENT ON TABLE wpaas_backup IS 'Snapshots of sites'' databases.';
COMMENT ON COLUMN wpaas_backup.id IS 'Id of the provision row that made it.';
COMMENT ON COLUMN wpaas_backup.instance_id IS 'The site.';
COMMENT ON COLUMN wpaas_backup.tenant_customer_id IS 'Whose it is.';
COMMENT ON COLUMN wpaas_backup.org_id IS 'The org it belongs to.';
COMMENT ON COLUMN wpaas_backup.accreditation_id IS 'The AWS account it is in.';
COMMENT ON COLUMN wpaas_backup.reason IS 'asked, scheduled, replaced (of the database that a restore has replaced) or final (before the deletion).';
COMMENT ON COLUMN wpaas_backup.snapshot IS 'Its name at RDS.';
COMMENT ON COLUMN wpaas_backup.size_gib IS 'Size of the database''s disk in GiB.';
COMMENT ON COLUMN wpaas_backup.removal_date IS 'When its removal was asked for: it is nobody''s to use from then on; RDS is told within half an hour.';
COMMENT ON COLUMN wpaas_backup.expired_date IS 'When it was removed: that was asked for, newer ones are kept, or the site is gone.';
COMMENT ON COLUMN wpaas_backup.missing_reason IS 'Set by the reconcile pass when the account does not have it.';
COMMENT ON COLUMN wpaas_backup.dump_bytes IS 'Size of the dump of it that can be downloaded: SQL, gzipped.';
COMMENT ON COLUMN wpaas_backup.dump_date IS 'When that was made; it is kept for hosting_download_days. NULL: there is none.';
COMMENT ON COLUMN wpaas_backup.link_date IS 'Until when its link is good, which is the row of secret with the backup''s id; NULL: there is none.';

CREATE TABLE wpaas_dump (
    id uuid NOT NULL,
    accreditation_id uuid NOT NULL,
    CONSTRAINT wpaas_dump_pk PRIMARY KEY (id),
    CONSTRAINT wpaas_dump_accreditation_fk FOREIGN KEY (accreditation_id) REFERENCES accreditation (id)
);
COMMENT ON TABLE wpaas_dump IS 'Downloads that may have a database or a machine at AWS: from when they are ordered until it is sure that both are gone.';
COMMENT ON COLUMN wpaas_dump.id IS 'The download (provision_wpaas_download).';
COMMENT ON COLUMN wpaas_dump.accreditation_id IS 'The AWS account.';

CREATE TABLE wpaas_link (
    token_hash bytea NOT NULL,
    instance_id uuid NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid NOT NULL,
    expires_date timestamptz NOT NULL,
    CONSTRAINT wpaas_link_pk PRIMARY KEY (token_hash),
    CONSTRAINT wpaas_link_instance_fk FOREIGN KEY (tenant_customer_id, instance_id) REFERENCES wpaas_instance (tenant_customer_id, id)
);
SELECT class.tenancy_policy('wpaas_link', 'false');
COMMENT ON TABLE wpaas_link IS 'Log-in links of sites that nobody has used yet.';
COMMENT ON COLUMN wpaas_link.token_hash IS 'SHA-256 of what is in the link.';
COMMENT ON COLUMN wpaas_link.instance_id IS 'The site.';
COMMENT ON COLUMN wpaas_link.tenant_customer_id IS 'Whose it is.';
COMMENT ON COLUMN wpaas_link.org_id IS 'The org it belongs to.';
COMMENT ON COLUMN wpaas_link.expires_date IS 'From when it is worth nothing.';

CREATE TABLE wpaas_hook (
    id uuid NOT NULL DEFAULT new_id(),
    instance_id uuid NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid NOT NULL,
    pushed_date timestamptz,
    reason text,
    CONSTRAINT wpaas_hook_pk PRIMARY KEY (id),
    CONSTRAINT wpaas_hook_instance_uk UNIQUE (instance_id),
    CONSTRAINT wpaas_hook_instance_fk FOREIGN KEY (tenant_customer_id, instance_id) REFERENCES wpaas_instance (tenant_customer_id, id)
);
CREATE INDEX wpaas_hook_pushed_ix ON wpaas_hook (pushed_date) WHERE pushed_date IS NOT NULL;
SELECT class.tenancy_policy('wpaas_hook', 'false');
COMMENT ON TABLE wpaas_hook IS 'Push hooks of sites: where a git server tells that there is other code. The secret it signs with is a row of secret with the hook''s id.';
COMMENT ON COLUMN wpaas_hook.id IS 'Id, in the address.';
COMMENT ON COLUMN wpaas_hook.instance_id IS 'The site.';
COMMENT ON COLUMN wpaas_hook.tenant_customer_id IS 'Whose it is.';
COMMENT ON COLUMN wpaas_hook.org_id IS 'The org it belongs to.';
COMMENT ON COLUMN wpaas_hook.pushed_date IS 'Other code was pushed then, and no update was begun since.';
COMMENT ON COLUMN wpaas_hook.reason IS 'Why the last push came to nothing.';

CREATE TABLE wpaas_stray (
    accreditation_id uuid NOT NULL,
    arn text NOT NULL,
    instance text NOT NULL,
    seen_date timestamptz NOT NULL DEFAULT engine_now(),
    last_date timestamptz NOT NULL DEFAULT engine_now(),
    CONSTRAINT wpaas_stray_pk PRIMARY KEY (accreditation_id, arn),
    CONSTRAINT wpaas_stray_accreditation_fk FOREIGN KEY (accreditation_id) REFERENCES accreditation (id)
);
COMMENT ON TABLE wpaas_stray IS 'Things at AWS with the tag of a site that is not there, as they were last seen.';
COMMENT ON COLUMN wpaas_stray.accreditation_id IS 'The AWS account.';
COMMENT ON COLUMN wpaas_stray.arn IS 'The thing.';
COMMENT ON COLUMN wpaas_stray.instance IS 'The site whose tag it has.';
COMMENT ON COLUMN wpaas_stray.seen_date IS 'When it was first seen.';
COMMENT ON COLUMN wpaas_stray.last_date IS 'When it was last seen.';

INSERT INTO role VALUES ('account', 'customer', 'the customer itself: its orgs, spaces, users and quotas, not what is in them');
INSERT INTO role_permission
SELECT 'account', name FROM permission WHERE name IN ('read', 'customer.change', 'customer.remove', 'org.create', 'org.change', 'org.remove', 'space.change', 'member.change', 'user.change', 'api_key.change', 'quota.change', 'audit.read', 'account.read');

-- Kinds of provisioning ------------------------------------------------------------------------------------------------

CREATE TABLE provision_wpaas (
    space_id uuid NOT NULL,
    name text NOT NULL,
    num_instances int,
    min_instances int,
    max_instances int,
    features text[] NOT NULL DEFAULT '{}',
    profile text,
    code_url text,
    code_ref text,
    domains text[] NOT NULL DEFAULT '{}',
    routes jsonb NOT NULL DEFAULT '[]',
    CONSTRAINT provision_wpaas_space_fk FOREIGN KEY (org_id, space_id) REFERENCES space (org_id, id)
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_wpaas', job_type => 'provision_wpaas_create', providers => '{aws}', failure => true);
COMMENT ON TABLE provision_wpaas IS 'Makes a web site; ends when it serves.';
COMMENT ON COLUMN provision_wpaas.space_id IS 'The space it is to be in.';
COMMENT ON COLUMN provision_wpaas.name IS 'DNS label, unique in the org.';
COMMENT ON COLUMN provision_wpaas.num_instances IS 'Nodes; NULL: as the profile says, else one.';
COMMENT ON COLUMN provision_wpaas.min_instances IS 'Least nodes with the feature autoscale.';
COMMENT ON COLUMN provision_wpaas.max_instances IS 'Most nodes with the feature autoscale.';
COMMENT ON COLUMN provision_wpaas.features IS 'Features beside those of the profile.';
COMMENT ON COLUMN provision_wpaas.profile IS 'A profile.';
COMMENT ON COLUMN provision_wpaas.code_url IS 'Where its code comes from; NULL: a stock WordPress.';
COMMENT ON COLUMN provision_wpaas.code_ref IS 'The branch, tag, commit or object version.';
COMMENT ON COLUMN provision_wpaas.domains IS 'The customer''s own names.';
COMMENT ON COLUMN provision_wpaas.routes IS 'Further names below its own.';

CREATE TABLE provision_wpaas_update (
    instance_id uuid NOT NULL,
    changes jsonb NOT NULL,
    known_generation bigint,
    generation bigint NOT NULL DEFAULT 0,
    CONSTRAINT provision_wpaas_update_instance_fk FOREIGN KEY (tenant_customer_id, instance_id) REFERENCES wpaas_instance (tenant_customer_id, id)
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_wpaas_update', job_type => 'provision_wpaas_update', providers => '{aws}', success => false, failure => true);
CREATE INDEX provision_wpaas_update_instance_ix ON provision_wpaas_update (instance_id);
COMMENT ON TABLE provision_wpaas_update IS 'Changes what is wanted of a site; ends when it is so.';
COMMENT ON COLUMN provision_wpaas_update.instance_id IS 'The site.';
COMMENT ON COLUMN provision_wpaas_update.changes IS 'What changes: num_instances, min_instances, max_instances, features, code_url, code_ref, domains, routes, is_suspended, version, backup_hours, backup_keep.';
COMMENT ON COLUMN provision_wpaas_update.known_generation IS 'The generation the one who asks has seen; NULL: he does not mind.';
COMMENT ON COLUMN provision_wpaas_update.generation IS 'The generation that this change made.';

CREATE TABLE provision_wpaas_converge (
    instance_id uuid NOT NULL,
    CONSTRAINT provision_wpaas_converge_instance_fk FOREIGN KEY (tenant_customer_id, instance_id) REFERENCES wpaas_instance (tenant_customer_id, id)
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_wpaas_converge', job_type => 'provision_wpaas_converge', providers => '{aws}', success => false, failure => true);
CREATE UNIQUE INDEX provision_wpaas_converge_live_uk ON provision_wpaas_converge (instance_id) WHERE finished_date IS NULL;
COMMENT ON TABLE provision_wpaas_converge IS 'The caretaker of a site: its one job looks at it again and again until the site is deleted.';
COMMENT ON COLUMN provision_wpaas_converge.instance_id IS 'The site.';

CREATE TABLE provision_wpaas_backup (
    instance_id uuid NOT NULL,
    reason text NOT NULL DEFAULT 'asked',
    snapshot text,
    size_gib int,
    CONSTRAINT provision_wpaas_backup_instance_fk FOREIGN KEY (tenant_customer_id, instance_id) REFERENCES wpaas_instance (tenant_customer_id, id),
    CONSTRAINT provision_wpaas_backup_reason_ck CHECK (reason IN ('asked', 'scheduled'))
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_wpaas_backup', job_type => 'provision_wpaas_backup', providers => '{aws}', result_columns => '{snapshot,size_gib}');
COMMENT ON TABLE provision_wpaas_backup IS 'Makes a snapshot of a site''s database.';
COMMENT ON COLUMN provision_wpaas_backup.instance_id IS 'The site.';
COMMENT ON COLUMN provision_wpaas_backup.reason IS 'asked or scheduled.';
COMMENT ON COLUMN provision_wpaas_backup.snapshot IS 'Its name at RDS.';
COMMENT ON COLUMN provision_wpaas_backup.size_gib IS 'Size of the database''s disk in GiB.';

CREATE TABLE provision_wpaas_restore (
    instance_id uuid NOT NULL,
    snapshot text NOT NULL,
    database_revision int NOT NULL DEFAULT 0,
    generation bigint NOT NULL DEFAULT 0,
    CONSTRAINT provision_wpaas_restore_instance_fk FOREIGN KEY (tenant_customer_id, instance_id) REFERENCES wpaas_instance (tenant_customer_id, id)
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_wpaas_restore', job_type => 'provision_wpaas_restore', providers => '{aws}', success => false);
COMMENT ON TABLE provision_wpaas_restore IS 'Makes a new database from a snapshot and has the site use it; ends when it does.';
COMMENT ON COLUMN provision_wpaas_restore.instance_id IS 'The site.';
COMMENT ON COLUMN provision_wpaas_restore.snapshot IS 'The snapshot at RDS.';
COMMENT ON COLUMN provision_wpaas_restore.database_revision IS 'Number of the new database.';
COMMENT ON COLUMN provision_wpaas_restore.generation IS 'The generation of the site with it; 0: not switched yet.';

CREATE TABLE provision_wpaas_download (
    instance_id uuid NOT NULL,
    backup_id uuid NOT NULL,
    CONSTRAINT provision_wpaas_download_instance_fk FOREIGN KEY (tenant_customer_id, instance_id) REFERENCES wpaas_instance (tenant_customer_id, id),
    CONSTRAINT provision_wpaas_download_backup_fk FOREIGN KEY (tenant_customer_id, backup_id) REFERENCES wpaas_backup (tenant_customer_id, id)
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_wpaas_download', job_type => 'provision_wpaas_download', providers => '{aws}', success => false, failure => true);
CREATE INDEX provision_wpaas_download_instance_ix ON provision_wpaas_download (instance_id);
COMMENT ON TABLE provision_wpaas_download IS 'Makes a dump of a backup, unless there is one, and a link to it; ends when it can be downloaded.';
COMMENT ON COLUMN provision_wpaas_download.instance_id IS 'The site.';
COMMENT ON COLUMN provision_wpaas_download.backup_id IS 'The backup.';

CREATE TABLE provision_wpaas_delete (
    instance_id uuid NOT NULL,
    CONSTRAINT provision_wpaas_delete_instance_fk FOREIGN KEY (tenant_customer_id, instance_id) REFERENCES wpaas_instance (tenant_customer_id, id)
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_wpaas_delete', job_type => 'provision_wpaas_delete', providers => '{aws}', success => false);
COMMENT ON TABLE provision_wpaas_delete IS 'Takes a site down, after a last snapshot of its database; ends when nothing is left.';
COMMENT ON COLUMN provision_wpaas_delete.instance_id IS 'The site.';

INSERT INTO job_type VALUES
    ('provision_wpaas_create', 'waits for a web site to come up', 20),
    ('provision_wpaas_update', 'resolves code and waits until a site is as it is wanted', 20),
    ('provision_wpaas_converge', 'looks at a site and does what is missing, again and again', 20),
    ('provision_wpaas_backup', 'makes a snapshot of a site''s database', 20),
    ('provision_wpaas_restore', 'makes a database from a snapshot and has the site use it', 20),
    ('provision_wpaas_download', 'makes a dump of a backup of a web site, and a link to it', 20),
    ('provision_wpaas_delete', 'waits until a site is gone', 20),
    ('wpaas_stray', 'looks for things at AWS with the tag of a site that is not there, and removes dumps that are too old', 20);
INSERT INTO order_operation VALUES
    ('wpaas.create', 'wpaas_create_plan', false, 'makes a web site'),
    ('wpaas.update', 'wpaas_update_plan', false, 'changes a web site'),
    ('wpaas.backup', 'wpaas_backup_plan', false, 'makes a snapshot of a web site''s data'),
    ('wpaas.restore', 'wpaas_restore_plan', false, 'brings data of a web site back'),
    ('wpaas.download', 'wpaas_download_plan', false, 'makes a dump of a backup that can be downloaded'),
    ('wpaas.delete', 'wpaas_delete_plan', false, 'takes a web site down');
INSERT INTO quota_plan_limit VALUES ('small', 'wpaas', 3), ('small', 'wpaas_node', 10);
INSERT INTO setting VALUES ('hosting_converge_seconds', '60', 'how often each web site is looked at when nothing has changed', 'integer', 1, 86400);
INSERT INTO setting VALUES ('hosting_load_percent', '85', 'from which load of processor or memory on a site of fixed size is an event', 'integer', 1, 100);
INSERT INTO setting VALUES ('hosting_stray_removal', 'true', 'whether what is left of sites that are gone is removed when it was seen for an hour; data never are');
INSERT INTO setting VALUES ('hosting_certificates', '25', 'how many certificates a load balancer shows: a quota of the AWS accounts; sites of an org share one, each takes one, and one for each domain', 'integer', 1, 1000);
INSERT INTO setting VALUES ('hosting_download_days', '3', 'for how many days dumps of backups are kept that customers have asked for', 'integer', 1, 90);
INSERT INTO setting VALUES ('hosting_sign_up', 'true', 'whether anybody may make a customer at POST /customers');
INSERT INTO setting VALUES ('hosting_code_private', 'false', 'whether code may be fetched from private addresses and by http: for tests and demos');
