-- What the worker has found out about web sites, and what follows. wpaas_site() gives it all it needs to know at the
-- beginning of a look, wpaas_observed() takes what it saw at the end.

CREATE OR REPLACE FUNCTION job_fence(p_job uuid, p_claim_no bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: leases are locked only through here.
BEGIN
    PERFORM effect_fence(p_job, p_claim_no);
END $$;
COMMENT ON FUNCTION job_fence(uuid, bigint) IS 'Refuses (PVF01) unless the claim still stands: asked before each change outside by jobs that do not note each one down.';

CREATE OR REPLACE FUNCTION wpaas_site(p_instance uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the worker reads it for its own jobs.
BEGIN
    RETURN (
        SELECT jsonb_build_object('id', i.id, 'key', wpaas_key(i.id), 'name', i.name, 'hostname', i.hostname, 'org', o.slug, 'org_key', wpaas_key(o.id), 'cid', c.cid,
            'num_instances', i.num_instances, 'min_instances', i.min_instances, 'max_instances', i.max_instances, 'features', i.features,
            'version', i.version_wanted, 'artifact', v.artifact, 'is_resolved', v.resolved_ref IS NOT NULL, 'domains', i.domains, 'routes', i.routes,
            'artifacts', (SELECT COALESCE(jsonb_object_agg(a.number, a.artifact), '{}') FROM wpaas_version AS a WHERE a.instance_id = i.id AND a.artifact IS NOT NULL),
            'basic_auth_revision', i.basic_auth_revision, 'is_suspended', i.is_suspended, 'is_deletion_wanted', i.is_deletion_wanted, 'database_revision', i.database_revision, 'generation', i.generation,
            'cost_tag', wpaas_cost_tag(i.org_id, i.accreditation_id), 'load_percent', setting_value('hosting_load_percent')::int, 'has_served', i.observed_generation > 0, 'is_changing', i.observed_generation < i.generation, 'memory', w.memory, 'failures', w.failures, 'read_date', clock_timestamp(), 'now', engine_now(),
            'is_busy', EXISTS (SELECT FROM wpaas_working(i.id)), 'is_last_of_org', NOT EXISTS (SELECT FROM wpaas_instance AS s WHERE s.org_id = i.org_id AND s.accreditation_id = i.accreditation_id AND s.id <> i.id AND s.deleted_date IS NULL),
            'phase', i.phase, 'observed_generation', i.observed_generation, 'conditions', i.conditions, 'code_version', i.code_version, 'code_url', v.code_url, 'code_ref', v.code_ref,
            'may_be_private', setting_value('hosting_code_private') = 'true', 'hosting', a.settings -> 'hosting', 'every', setting_value('hosting_converge_seconds')::int)
        FROM wpaas_instance AS i JOIN org AS o ON o.id = i.org_id JOIN tenant_customer AS t ON t.id = i.tenant_customer_id JOIN customer AS c ON c.id = t.customer_id
        JOIN accreditation AS a ON a.id = i.accreditation_id JOIN wpaas_watch AS w ON w.instance_id = i.id JOIN wpaas_version AS v ON v.instance_id = i.id AND v.number = i.version_wanted
        WHERE i.id = p_instance);
END $$;
COMMENT ON FUNCTION wpaas_site(uuid) IS 'A site as the converger wants to know it: what is wanted, and what it remembers.';

CREATE OR REPLACE FUNCTION wpaas_observed(p_job uuid, p_claim_no bigint, p_instance uuid, p jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the status of sites is written only through here.
DECLARE
    _old wpaas_instance;
    _new wpaas_instance;
    _is_woken boolean;
BEGIN
    PERFORM effect_fence(p_job, p_claim_no);
    SELECT * INTO _old FROM wpaas_instance WHERE id = p_instance FOR NO KEY UPDATE;
    _new := jsonb_populate_record(_old, p -> 'status');
    _new.alarm_date := CASE WHEN _new.alarm IS NOT NULL THEN COALESCE(_old.alarm_date, engine_now()) END;
    -- A deletion that came meanwhile stays one.
    _new.phase := CASE WHEN _old.is_deletion_wanted AND _new.phase <> 'deleted' THEN 'deleting' ELSE _new.phase END;
    _new.deleted_date := CASE WHEN _new.phase = 'deleted' THEN engine_now() END;
    IF _new.phase = 'deleted' AND _old.phase <> 'deleted' THEN
        PERFORM wpaas_quota(_old, -1, -wpaas_nodes(_old));
        PERFORM wpaas_gone(p_instance);
        PERFORM wpaas_keep(_old, 'final', p ->> 'final_snapshot') WHERE p ->> 'final_snapshot' IS NOT NULL;
    END IF;
    PERFORM wpaas_keep(_old, 'replaced', s) FROM jsonb_array_elements_text(p -> 'replaced') AS s;
    PERFORM wpaas_load(_old, _new);
    IF _new IS DISTINCT FROM _old THEN
        UPDATE wpaas_instance SET phase = _new.phase, observed_generation = greatest(observed_generation, _new.observed_generation), ready_instances = _new.ready_instances, code_version = _new.code_version,
            version_wanted = COALESCE((p ->> 'fall_back')::int, version_wanted), conditions = _new.conditions, domain_states = _new.domain_states, address = _new.address, alarm = _new.alarm, alarm_date = _new.alarm_date,
            deleted_date = _new.deleted_date, updated_date = engine_now(), updated_by = caller_name() WHERE id = p_instance;
        PERFORM wpaas_hurry(ARRAY(SELECT job_id FROM wpaas_waiting(p_instance)));
    END IF;
    UPDATE wpaas_watch SET memory = COALESCE(p -> 'memory', memory), failures = (p ->> 'failures')::int, pass_date = engine_now(), passes = passes + 1,
        wake_date = CASE WHEN wake_date > (p ->> 'read_date')::timestamptz THEN wake_date END WHERE instance_id = p_instance RETURNING wake_date IS NOT NULL INTO _is_woken;
    RETURN _is_woken;
END $$;
COMMENT ON FUNCTION wpaas_observed(uuid, bigint, uuid, jsonb) IS 'Takes what a look at a site came to, under the claim of the look; true: something has changed meanwhile, look again at once.';

CREATE OR REPLACE FUNCTION wpaas_waiting(p_instance uuid) RETURNS TABLE (job_id uuid)
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY
    SELECT p.job_id FROM provision_wpaas AS p WHERE p.id = p_instance AND p.finished_date IS NULL
    UNION ALL SELECT p.job_id FROM provision_wpaas_update AS p WHERE p.instance_id = p_instance AND p.finished_date IS NULL
    UNION ALL SELECT p.job_id FROM provision_wpaas_restore AS p WHERE p.instance_id = p_instance AND p.finished_date IS NULL
    UNION ALL SELECT p.job_id FROM provision_wpaas_delete AS p WHERE p.instance_id = p_instance AND p.finished_date IS NULL;
END $$;
COMMENT ON FUNCTION wpaas_waiting(uuid) IS 'The jobs that wait for a site to come to be as it is wanted.';

CREATE OR REPLACE FUNCTION wpaas_working(p_instance uuid) RETURNS TABLE (job_id uuid)
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY
    SELECT p.job_id FROM provision_wpaas AS p WHERE p.id = p_instance AND p.finished_date IS NULL
    UNION ALL SELECT p.job_id FROM provision_wpaas_update AS p WHERE p.instance_id = p_instance AND p.finished_date IS NULL
    UNION ALL SELECT p.job_id FROM provision_wpaas_backup AS p WHERE p.instance_id = p_instance AND p.finished_date IS NULL
    UNION ALL SELECT p.job_id FROM provision_wpaas_restore AS p WHERE p.instance_id = p_instance AND p.finished_date IS NULL
    UNION ALL SELECT p.job_id FROM provision_wpaas_download AS p WHERE p.instance_id = p_instance AND p.finished_date IS NULL;
END $$;
COMMENT ON FUNCTION wpaas_working(uuid) IS 'The jobs beside its caretaker that may make something for a site: its deletion is not done before they have ended.';

CREATE OR REPLACE FUNCTION wpaas_keep(p_site wpaas_instance, p_reason text, p_snapshot text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO wpaas_backup (id, instance_id, tenant_customer_id, org_id, accreditation_id, reason, snapshot)
    VALUES (new_id(), p_site.id, p_site.tenant_customer_id, p_site.org_id, p_site.accreditation_id, p_reason, p_snapshot) ON CONFLICT DO NOTHING;
END $$;
COMMENT ON FUNCTION wpaas_keep(wpaas_instance, text, text) IS 'A snapshot that is left of a database that was removed.';

CREATE OR REPLACE FUNCTION wpaas_gone(p_instance uuid) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE wpaas_backup SET expired_date = engine_now(), updated_date = engine_now(), updated_by = caller_name() WHERE instance_id = p_instance AND expired_date IS NULL AND reason <> 'final';
    PERFORM wpaas_dump_forget(ARRAY(SELECT id FROM wpaas_backup WHERE instance_id = p_instance AND dump_date IS NOT NULL));
    UPDATE wpaas_version SET snapshot = NULL, artifact = NULL, updated_date = engine_now(), updated_by = caller_name() WHERE instance_id = p_instance AND (snapshot IS NOT NULL OR artifact IS NOT NULL);
    PERFORM wpaas_hook_forget(p_instance);
    DELETE FROM wpaas_link WHERE instance_id = p_instance;
END $$;
COMMENT ON FUNCTION wpaas_gone(uuid) IS 'What went with a site: its backups but the last, its code, hook and links.';

CREATE OR REPLACE FUNCTION wpaas_load(p_old wpaas_instance, p_new wpaas_instance) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _is constant boolean := p_new.conditions ? 'LoadHigh';
BEGIN
    INSERT INTO audit_trail_log (table_name, row_id, tenant_customer_id, org_id, operation, to_state, reason)
    SELECT 'wpaas_instance', p_new.id, p_new.tenant_customer_id, p_new.org_id, 'transition', CASE WHEN _is THEN 'overloaded' ELSE 'relieved' END, p_new.conditions -> 'LoadHigh' ->> 'reason'
    WHERE _is <> (p_old.conditions ? 'LoadHigh');
END $$;
COMMENT ON FUNCTION wpaas_load(wpaas_instance, wpaas_instance) IS 'Tells once that the nodes of a site have too much to do, and once that they have not any more: events wpaas_instance.overloaded, .relieved.';

CREATE OR REPLACE FUNCTION wpaas_is_known(p_accreditation uuid, p_name text) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: asked by the reconcile pass.
BEGIN
    RETURN EXISTS (SELECT FROM wpaas_backup WHERE accreditation_id = p_accreditation AND snapshot = p_name)
        OR EXISTS (SELECT FROM wpaas_version AS v JOIN wpaas_instance AS i ON i.id = v.instance_id WHERE i.accreditation_id = p_accreditation AND v.snapshot = p_name)
        OR EXISTS (SELECT FROM wpaas_instance AS i JOIN org AS o ON o.id = i.org_id WHERE i.accreditation_id = p_accreditation AND i.deleted_date IS NULL
            AND p_name IN (format('provision/%s/%s', o.slug, wpaas_key(i.id)), format('%s-%s', wpaas_key(i.id), i.database_revision)))
        -- What is left of downloads goes by itself.
        OR EXISTS (SELECT FROM wpaas_dump AS d JOIN provision_wpaas_download AS p ON p.id = d.id WHERE d.accreditation_id = p_accreditation AND p_name IN (wpaas_snapshot_name(p.instance_id, p.id), p.id::text));
END $$;
COMMENT ON FUNCTION wpaas_is_known(uuid, text) IS 'Whether a snapshot, database or secret that was found belongs to a site.';

-- Strays ---------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION wpaas_strays(p_job uuid, p_claim_no bigint, p_accreditation uuid, p_found jsonb) RETURNS TABLE (arn text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: strays are written only through here.
#variable_conflict use_column
BEGIN
    PERFORM effect_fence(p_job, p_claim_no);
    WITH found AS (
        SELECT DISTINCT x.arn, x.instance FROM jsonb_to_recordset(p_found) AS x (arn text, instance text)
        WHERE NOT EXISTS (SELECT FROM wpaas_instance AS i WHERE i.id = uuid_of(x.instance) AND i.accreditation_id = p_accreditation AND i.deleted_date IS NULL)
            -- The last snapshots of those that are gone are to stay.
            AND NOT EXISTS (SELECT FROM wpaas_backup AS b WHERE b.instance_id = uuid_of(x.instance) AND x.arn LIKE '%:snapshot:' || b.snapshot)),
        seen AS (INSERT INTO wpaas_stray AS s (accreditation_id, arn, instance) SELECT p_accreditation, f.arn, f.instance FROM found AS f ON CONFLICT (accreditation_id, arn) DO UPDATE SET last_date = engine_now())
    DELETE FROM wpaas_stray AS s WHERE s.accreditation_id = p_accreditation AND s.arn NOT IN (SELECT f.arn FROM found AS f);
    RETURN QUERY SELECT s.arn FROM wpaas_stray AS s WHERE s.accreditation_id = p_accreditation AND wpaas_stray_goes(s);
END $$;
COMMENT ON FUNCTION wpaas_strays(uuid, bigint, uuid, jsonb) IS 'Takes all things of an account that have the tag of a site, [{"arn", "instance"}]; returns those without a site that are to be removed.';

CREATE OR REPLACE FUNCTION wpaas_stray_goes(p wpaas_stray) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    -- A database that was put back to an earlier time has forgotten sites: what holds data is for a person to decide.
    RETURN p.last_date - p.seen_date >= interval '1 hour' AND setting_value('hosting_stray_removal') = 'true' AND p.arn !~ ':(rds|elasticfilesystem|secretsmanager|s3):';
END $$;
COMMENT ON FUNCTION wpaas_stray_goes(wpaas_stray) IS 'Whether a stray is removed: seen twice, an hour apart, and not somebody''s data.';

CREATE OR REPLACE FUNCTION wpaas_resolved(p_job uuid, p_claim_no bigint, p_instance uuid, p_number int, p_ref text, p_artifact text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: versions are written only through here.
BEGIN
    PERFORM effect_fence(p_job, p_claim_no);
    UPDATE wpaas_version SET resolved_ref = p_ref, artifact = p_artifact, updated_date = engine_now(), updated_by = caller_name() WHERE instance_id = p_instance AND number = p_number AND resolved_ref IS NULL;
    PERFORM wpaas_wake(ARRAY[p_instance]);
END $$;
COMMENT ON FUNCTION wpaas_resolved(uuid, bigint, uuid, int, text, text) IS 'The code of a version was found and copied: once, and for good.';

CREATE OR REPLACE FUNCTION wpaas_version_kept(p_job uuid, p_claim_no bigint, p_instance uuid, p_number int, p_snapshot text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: versions are written only through here.
BEGIN
    PERFORM effect_fence(p_job, p_claim_no);
    UPDATE wpaas_version SET snapshot = p_snapshot, snapshot_date = engine_now(), updated_date = engine_now(), updated_by = caller_name() WHERE instance_id = p_instance AND number = p_number;
END $$;
COMMENT ON FUNCTION wpaas_version_kept(uuid, bigint, uuid, int, text) IS 'A version that is being left keeps the database as it is now.';

CREATE OR REPLACE FUNCTION wpaas_secret_kept(p_job uuid, p_claim_no bigint, p_instance uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: secrets are removed only through here.
BEGIN
    PERFORM effect_fence(p_job, p_claim_no);
    DELETE FROM secret WHERE id = p_instance;
    PERFORM wpaas_begin(p_instance);
END $$;
COMMENT ON FUNCTION wpaas_secret_kept(uuid, bigint, uuid) IS 'The password of a new site is in Secrets Manager: forgets it here, and lets the converger begin.';

CREATE OR REPLACE FUNCTION wpaas_password_kept(p_job uuid, p_claim_no bigint, p_instance uuid, p_provision uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: sites are written, and secrets removed, only through here.
BEGIN
    PERFORM effect_fence(p_job, p_claim_no);
    DELETE FROM secret WHERE id = p_provision;
    UPDATE wpaas_instance SET basic_auth_revision = basic_auth_revision + 1, generation = generation + 1, updated_date = engine_now(), updated_by = caller_name() WHERE id = p_instance AND FOUND;
    PERFORM wpaas_wake(ARRAY[p_instance]);
END $$;
COMMENT ON FUNCTION wpaas_password_kept(uuid, bigint, uuid, uuid) IS 'The password that came with a change is in Secrets Manager: forgets it here, and has the nodes replaced by such as ask for it.';

CREATE OR REPLACE FUNCTION wpaas_switch(p_job uuid, p_claim_no bigint, p_provision uuid) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: sites are written only through here.
DECLARE
    _row provision_wpaas_restore;
BEGIN
    PERFORM effect_fence(p_job, p_claim_no);
    SELECT * INTO _row FROM provision_wpaas_restore WHERE id = p_provision;
    IF _row.generation = 0 THEN
        UPDATE wpaas_instance SET database_revision = _row.database_revision, generation = generation + 1, updated_date = engine_now(), updated_by = caller_name()
        WHERE id = _row.instance_id AND NOT is_deletion_wanted RETURNING generation INTO _row.generation;
        UPDATE provision_wpaas_restore SET generation = COALESCE(_row.generation, 0) WHERE id = p_provision;
        PERFORM wpaas_wake(ARRAY[_row.instance_id]);
    END IF;
    RETURN _row.generation;
END $$;
COMMENT ON FUNCTION wpaas_switch(uuid, bigint, uuid) IS 'The new database of a restore is there: has the site use it; returns the generation that is to come true.';

CREATE OR REPLACE FUNCTION wpaas_expiring(p_instance uuid) RETURNS TABLE (id uuid, snapshot text, key text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the worker reads it for its own jobs.
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT e.id, e.snapshot, e.key FROM (
        SELECT b.id, b.snapshot, CASE WHEN b.dump_date IS NOT NULL THEN wpaas_dump_key(b) END AS key FROM wpaas_backup AS b WHERE b.instance_id = p_instance AND b.reason = 'scheduled' AND b.expired_date IS NULL AND b.removal_date IS NULL
        ORDER BY b.id DESC OFFSET (SELECT backup_keep FROM wpaas_instance WHERE id = p_instance)) AS e
    WHERE NOT EXISTS (SELECT FROM provision_wpaas_download AS p WHERE p.backup_id = e.id AND p.finished_date IS NULL);
END $$;
COMMENT ON FUNCTION wpaas_expiring(uuid) IS 'Scheduled backups beyond those that are kept, with their dumps; not one that is just being downloaded.';

CREATE OR REPLACE FUNCTION wpaas_backups_removed(p_accreditation uuid) RETURNS TABLE (id uuid, snapshot text, key text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: asked by the pass that clears up.
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT b.id, b.snapshot, CASE WHEN b.dump_date IS NOT NULL THEN wpaas_dump_key(b) END FROM wpaas_backup AS b
    WHERE b.accreditation_id = p_accreditation AND b.removal_date IS NOT NULL AND b.expired_date IS NULL ORDER BY b.id;
END $$;
COMMENT ON FUNCTION wpaas_backups_removed(uuid) IS 'Backups whose removal was asked for, with their dumps.';

CREATE OR REPLACE FUNCTION wpaas_expired(p_job uuid, p_claim_no bigint, p_backup uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: backups are written only through here.
BEGIN
    PERFORM effect_fence(p_job, p_claim_no);
    UPDATE wpaas_backup SET expired_date = engine_now(), updated_date = engine_now(), updated_by = caller_name() WHERE id = p_backup AND expired_date IS NULL;
    PERFORM wpaas_dump_forget(ARRAY[p_backup]);
END $$;
COMMENT ON FUNCTION wpaas_expired(uuid, bigint, uuid) IS 'A backup is gone: newer ones are kept, or that was asked for.';

-- Downloads ------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION wpaas_dumped(p_job uuid, p_claim_no bigint, p_backup uuid, p_bytes bigint, p_url text, p_until timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: backups are written only through here.
BEGIN
    PERFORM effect_fence(p_job, p_claim_no);
    UPDATE wpaas_backup SET dump_bytes = p_bytes, dump_date = COALESCE(dump_date, engine_now()), link_date = p_until, updated_date = engine_now(), updated_by = caller_name() WHERE id = p_backup AND expired_date IS NULL;
    IF FOUND THEN
        -- Whoever has the link has the data; it stands nowhere else, and no longer than it is good.
        INSERT INTO secret AS s (id, value) VALUES (p_backup, p_url) ON CONFLICT (id) DO UPDATE SET value = EXCLUDED.value;
    END IF;
END $$;
COMMENT ON FUNCTION wpaas_dumped(uuid, bigint, uuid, bigint, text, timestamptz) IS 'A dump of a backup is there, and can be had by a link until then.';

CREATE OR REPLACE FUNCTION wpaas_tidied(p_job uuid, p_claim_no bigint, p_download uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: what downloads have is noted only through here.
BEGIN
    PERFORM effect_fence(p_job, p_claim_no);
    DELETE FROM wpaas_dump WHERE id = p_download;
END $$;
COMMENT ON FUNCTION wpaas_tidied(uuid, bigint, uuid) IS 'Nothing is left of what a download needed.';

CREATE OR REPLACE FUNCTION wpaas_downloads_left(p_accreditation uuid) RETURNS TABLE (data jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: asked by the pass that clears up.
BEGIN
    RETURN QUERY SELECT wpaas_download_data(p) FROM wpaas_dump AS d JOIN provision_wpaas_download AS p ON p.id = d.id WHERE d.accreditation_id = p_accreditation AND p.finished_date IS NOT NULL ORDER BY p.id;
END $$;
COMMENT ON FUNCTION wpaas_downloads_left(uuid) IS 'Downloads whose jobs have ended before they could tidy up: cancelled, or their workers died too often.';

CREATE OR REPLACE FUNCTION wpaas_dumps_old(p_accreditation uuid) RETURNS TABLE (id uuid, key text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: asked by the pass that clears up.
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT b.id, wpaas_dump_key(b) FROM wpaas_backup AS b
    WHERE b.accreditation_id = p_accreditation AND b.dump_date <= engine_now() - make_interval(days => setting_value('hosting_download_days')::int) AND b.link_date IS NULL
        AND NOT EXISTS (SELECT FROM provision_wpaas_download AS p WHERE p.backup_id = b.id AND p.finished_date IS NULL) ORDER BY b.id;
END $$;
COMMENT ON FUNCTION wpaas_dumps_old(uuid) IS 'Dumps that were kept long enough, and that no link leads to.';

CREATE OR REPLACE FUNCTION wpaas_dump_gone(p_job uuid, p_claim_no bigint, p_backup uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: backups are written only through here.
BEGIN
    PERFORM effect_fence(p_job, p_claim_no);
    PERFORM wpaas_dump_forget(ARRAY[p_backup]);
END $$;
COMMENT ON FUNCTION wpaas_dump_gone(uuid, bigint, uuid) IS 'The dump of a backup was removed.';

CREATE OR REPLACE FUNCTION wpaas_dump_forget(p_backups uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE wpaas_backup SET dump_bytes = NULL, dump_date = NULL, link_date = NULL, updated_date = engine_now(), updated_by = caller_name() WHERE id = ANY (p_backups) AND dump_date IS NOT NULL;
    DELETE FROM secret WHERE id = ANY (p_backups);
END $$;
COMMENT ON FUNCTION wpaas_dump_forget(uuid[]) IS 'Backups have no dumps and no links any more.';

CREATE OR REPLACE FUNCTION sweep_wpaas_links() RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    WITH ended AS (UPDATE wpaas_backup SET link_date = NULL, updated_date = engine_now(), updated_by = caller_name() WHERE link_date <= engine_now() RETURNING id)
    DELETE FROM secret WHERE id IN (SELECT id FROM ended);
END $$;
COMMENT ON FUNCTION sweep_wpaas_links() IS 'Forgets links that are good no longer.';

-- Ends -----------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION provision_wpaas_success(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM wpaas_wake(p_ids);
END $$;
COMMENT ON FUNCTION provision_wpaas_success(uuid[]) IS 'The site was made long ago, by the validation; it is looked at once more.';

CREATE OR REPLACE FUNCTION provision_wpaas_failure(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    DELETE FROM secret WHERE id = ANY (p_ids);
    -- One that nobody has begun to build is gone at once; the others are there for their owner to delete, or to correct.
    PERFORM wpaas_quota(i, -1, -wpaas_nodes(i)) FROM wpaas_instance AS i WHERE i.id = ANY (p_ids) AND i.deleted_date IS NULL AND NOT EXISTS (SELECT FROM provision_wpaas_converge AS c WHERE c.instance_id = i.id);
    UPDATE wpaas_instance AS i SET phase = CASE WHEN n.is_new THEN 'deleted' ELSE 'failed' END, deleted_date = CASE WHEN n.is_new THEN engine_now() END, updated_date = engine_now(), updated_by = caller_name()
    FROM (SELECT s.id, NOT EXISTS (SELECT FROM provision_wpaas_converge AS c WHERE c.instance_id = s.id) AS is_new FROM wpaas_instance AS s WHERE s.id = ANY (p_ids)) AS n
    WHERE i.id = n.id AND i.deleted_date IS NULL AND NOT i.is_deletion_wanted;
END $$;
COMMENT ON FUNCTION provision_wpaas_failure(uuid[]) IS 'A site that did not come up: gone, if nothing was begun outside.';

CREATE OR REPLACE FUNCTION provision_wpaas_update_failure(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    DELETE FROM secret WHERE id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_wpaas_update_failure(uuid[]) IS 'A password that came with a change goes with it.';

CREATE OR REPLACE FUNCTION provision_wpaas_converge_failure(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM wpaas_begin(p.instance_id) FROM provision_wpaas_converge AS p JOIN wpaas_instance AS i ON i.id = p.instance_id AND i.deleted_date IS NULL WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_wpaas_converge_failure(uuid[]) IS 'A caretaker that ended, whyever, is followed by another while its site lives.';

CREATE OR REPLACE FUNCTION provision_wpaas_backup_success(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO wpaas_backup (id, instance_id, tenant_customer_id, org_id, accreditation_id, reason, snapshot, size_gib)
    SELECT p.id, p.instance_id, p.tenant_customer_id, p.org_id, p.accreditation_id, p.reason, COALESCE(p.snapshot, (adopted_effect(p.job_id)).external_name), p.size_gib FROM provision_wpaas_backup AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_wpaas_backup_success(uuid[]) IS 'Snapshots are in the inventory.';

CREATE OR REPLACE FUNCTION provision_wpaas_download_failure(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM wpaas_wake(ARRAY(SELECT i.id FROM provision_wpaas_download AS p JOIN wpaas_instance AS i ON i.id = p.instance_id AND i.is_deletion_wanted AND i.deleted_date IS NULL WHERE p.id = ANY (p_ids)));
END $$;
COMMENT ON FUNCTION provision_wpaas_download_failure(uuid[]) IS 'The deletion of a site waits for its downloads to end.';

CREATE OR REPLACE FUNCTION sweep_wpaas() RETURNS int
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _count int;
BEGIN
    -- Who was woken while its job was in a worker's hands, or locked.
    PERFORM wpaas_hurry(ARRAY(SELECT c.job_id FROM wpaas_watch AS w JOIN provision_wpaas_converge AS c ON c.instance_id = w.instance_id AND c.finished_date IS NULL
        WHERE w.wake_date IS NOT NULL AND w.failures = 0));
    -- Customers whose time has come: their sites go first.
    INSERT INTO provision_wpaas_delete (tenant_customer_id, org_id, accreditation_id, instance_id)
    SELECT i.tenant_customer_id, i.org_id, i.accreditation_id, i.id FROM customer AS c JOIN tenant_customer AS a ON a.customer_id = c.id JOIN wpaas_instance AS i ON i.tenant_customer_id = a.id
    WHERE c.removal_date <= engine_now() AND c.removed_date IS NULL AND i.deleted_date IS NULL AND NOT i.is_deletion_wanted;
    PERFORM sweep_wpaas_pushes();
    PERFORM sweep_wpaas_links();
    INSERT INTO provision_wpaas_backup (tenant_customer_id, org_id, accreditation_id, instance_id, reason)
    SELECT i.tenant_customer_id, i.org_id, i.accreditation_id, i.id, 'scheduled' FROM wpaas_watch AS w JOIN wpaas_instance AS i ON i.id = w.instance_id
    WHERE w.backup_date <= engine_now() AND i.backup_hours > 0 AND i.deleted_date IS NULL AND NOT i.is_deletion_wanted AND i.observed_generation > 0
        AND NOT EXISTS (SELECT FROM object_operation AS o WHERE o.object_type = 'backup' AND o.object_key = i.id::text);
    GET DIAGNOSTICS _count = ROW_COUNT;
    UPDATE wpaas_watch AS w SET backup_date = engine_now() + make_interval(hours => greatest(i.backup_hours, 1)) FROM wpaas_instance AS i WHERE i.id = w.instance_id AND w.backup_date <= engine_now();
    RETURN _count;
EXCEPTION WHEN lock_not_available THEN
    -- Somebody is at one of these rows; the next sweep comes soon.
    RETURN 0;
END $$;
COMMENT ON FUNCTION sweep_wpaas() IS 'Wakes who was woken too early, begins what was pushed, makes the backups that are due, and takes down the sites of customers that go; returns how many backups.';
