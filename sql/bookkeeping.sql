-- What `provision migrate` remembers, in a schema of its own beside the tables of yoyo, which runs the migrations.

CREATE TABLE IF NOT EXISTS migration.checksum (
    migration_id text NOT NULL,
    sha256 text NOT NULL,
    CONSTRAINT checksum_pk PRIMARY KEY (migration_id),
    CONSTRAINT checksum_sha256_ck CHECK (sha256 ~ '^[0-9a-f]{64}$')
);
COMMENT ON SCHEMA migration IS 'What `provision migrate` remembers.';
COMMENT ON TABLE migration.checksum IS 'The text of each applied migration, so that an edited one is noticed.';
COMMENT ON COLUMN migration.checksum.migration_id IS 'File name without its ending.';
COMMENT ON COLUMN migration.checksum.sha256 IS 'SHA-256 of the file when it was applied.';

CREATE TABLE IF NOT EXISTS migration.repeatable_file (
    name text NOT NULL,
    sha256 text NOT NULL,
    loaded_date timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT repeatable_file_pk PRIMARY KEY (name),
    CONSTRAINT repeatable_file_sha256_ck CHECK (sha256 ~ '^[0-9a-f]{64}$')
);
COMMENT ON TABLE migration.repeatable_file IS 'The procedures, views and grants as last loaded; if one file changes, all are loaded again.';
COMMENT ON COLUMN migration.repeatable_file.name IS 'Path below sql/.';
COMMENT ON COLUMN migration.repeatable_file.sha256 IS 'SHA-256 of the file when it was loaded.';
COMMENT ON COLUMN migration.repeatable_file.loaded_date IS 'When it was loaded.';

CREATE TABLE IF NOT EXISTS migration.repeatable_routine (
    routine text NOT NULL,
    CONSTRAINT repeatable_routine_pk PRIMARY KEY (routine)
);
COMMENT ON TABLE migration.repeatable_routine IS 'Functions and procedures that came with the loaded files and not with a migration: a rollback drops them first.';
COMMENT ON COLUMN migration.repeatable_routine.routine IS 'Name with argument types, as regprocedure shows it.';

COMMENT ON TABLE migration._yoyo_migration IS 'yoyo: the applied migrations.';
COMMENT ON COLUMN migration._yoyo_migration.migration_hash IS 'SHA-256 of the migration''s id.';
COMMENT ON COLUMN migration._yoyo_migration.migration_id IS 'File name without its ending.';
COMMENT ON COLUMN migration._yoyo_migration.applied_at_utc IS 'When it was applied, UTC.';
COMMENT ON TABLE migration._yoyo_log IS 'yoyo: every apply and rollback.';
COMMENT ON COLUMN migration._yoyo_log.id IS 'Id.';
COMMENT ON COLUMN migration._yoyo_log.migration_hash IS 'SHA-256 of the migration''s id.';
COMMENT ON COLUMN migration._yoyo_log.migration_id IS 'File name without its ending.';
COMMENT ON COLUMN migration._yoyo_log.operation IS 'apply or rollback.';
COMMENT ON COLUMN migration._yoyo_log.username IS 'Log-in in the database that did it.';
COMMENT ON COLUMN migration._yoyo_log.hostname IS 'Host that it was done from.';
COMMENT ON COLUMN migration._yoyo_log.comment IS 'Empty.';
COMMENT ON COLUMN migration._yoyo_log.created_at_utc IS 'When, UTC.';
COMMENT ON TABLE migration._yoyo_version IS 'yoyo: version of its own tables.';
COMMENT ON COLUMN migration._yoyo_version.version IS 'Version.';
COMMENT ON COLUMN migration._yoyo_version.installed_at_utc IS 'Since when, UTC.';
