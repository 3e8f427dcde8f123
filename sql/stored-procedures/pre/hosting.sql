-- From orders of web sites to their rows, from rows to their jobs, and how the converger is woken.
--
-- The job of provision_wpaas_converge never ends while its site lives. wpaas_wake() has it look now: it moves the job forward
-- in the queue, and notes the wish, so that one that is just looking looks again.

CREATE OR REPLACE FUNCTION wpaas_named(p_item plan_item) RETURNS wpaas_instance
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _site wpaas_instance;
BEGIN
    SELECT i.* INTO _site FROM wpaas_instance AS i
    WHERE i.tenant_customer_id = p_item.tenant_customer_id AND i.org_id = p_item.org_id AND i.name = lower(p_item.data ->> 'name') AND i.deleted_date IS NULL
        AND (session_user <> 'provision_api' OR space_is_reached(i.space_id));
    IF _site.id IS NULL THEN
        PERFORM refuse('PV404', 'web site not found', left(p_item.data ->> 'name', 100), CASE WHEN p_item.org_id IS NULL THEN 'order for the org it is in: option org_id' ELSE 'SELECT * FROM v_wpaas' END);
    END IF;
    RETURN _site;
END $$;
COMMENT ON FUNCTION wpaas_named(plan_item) IS 'The site that an item names, in the org of its order.';

CREATE OR REPLACE FUNCTION wpaas_space(p_item plan_item) RETURNS uuid
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _name constant text := p_item.data ->> 'space';
    _id uuid;
BEGIN
    IF p_item.org_id IS NULL THEN
        PERFORM refuse('PV400', 'a web site belongs to an org', 'the order names none', 'order with the option org_id; SELECT org_default(account) gives the default one');
    ELSIF COALESCE(_name, 'default') = 'default' THEN
        INSERT INTO space (tenant_customer_id, org_id, name) VALUES (p_item.tenant_customer_id, p_item.org_id, 'default') ON CONFLICT DO NOTHING;
    END IF;
    SELECT id INTO _id FROM space WHERE org_id = p_item.org_id AND status = 'active' AND (name = COALESCE(_name, 'default') OR id = uuid_of(_name)) AND (session_user <> 'provision_api' OR space_is_reached(id));
    IF _id IS NULL THEN
        PERFORM refuse('PV404', 'space not found', left(_name, 100), 'name a space of the org');
    END IF;
    RETURN _id;
END $$;
COMMENT ON FUNCTION wpaas_space(plan_item) IS 'The space that an item names (name or id), by default the default one of the org, which is made if need be.';

CREATE OR REPLACE FUNCTION wpaas_take_passwords(p_provision uuid, p_data jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _passwords constant jsonb := jsonb_strip_nulls(jsonb_build_object('admin_password', p_data -> 'admin_password', 'basic_auth_password', p_data -> 'basic_auth_password'));
    _short constant text := (SELECT length(value) FROM jsonb_each_text(_passwords) WHERE length(value) NOT BETWEEN 12 AND 128 LIMIT 1);
BEGIN
    IF _short IS NOT NULL THEN
        PERFORM refuse('PV422', 'the password does not do', _short || ' characters', 'give 12 to 128; without one for the administrator nobody has thought it up');
    END IF;
    -- The worker takes them from here into Secrets Manager; they stand nowhere else.
    INSERT INTO secret (id, value) SELECT p_provision, _passwords::text WHERE _passwords <> '{}';
END $$;
COMMENT ON FUNCTION wpaas_take_passwords(uuid, jsonb) IS 'Keeps the passwords of an item apart from it, for the worker.';

CREATE OR REPLACE FUNCTION wpaas_create_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _item plan_item;
    _id uuid;
BEGIN
    FOREACH _item IN ARRAY ARRAY(SELECT i FROM unnest(p_items) AS i ORDER BY i.data ->> 'name') LOOP
        PERFORM check_fields('wpaas.create', ARRAY[_item.data], '{name}', '{"name": "string", "space": "string|null", "num_instances": "number|null", "min_instances": "number|null", "max_instances": "number|null",
            "features": "array", "profile": "string|null", "code_url": "string|null", "code_ref": "string|null", "domains": "array", "routes": "array", "admin_password": "string|null", "basic_auth_password": "string|null", "accreditation": "string|null"}');
        _id := new_id();
        PERFORM wpaas_take_passwords(_id, _item.data);
        RETURN NEXT ROW(new_id(), _item.id, 'web site ' || (_item.data ->> 'name'), 'provision_wpaas', _id, _item.data - '{space,accreditation,admin_password,basic_auth_password}'::text[] || jsonb_build_object('space_id', wpaas_space(_item),
            'accreditation_id', accreditation_for(_item.tenant_customer_id, _item.data ->> 'accreditation', '{aws}')), '{}')::plan_step;
    END LOOP;
END $$;
COMMENT ON FUNCTION wpaas_create_plan(plan_item[]) IS 'wpaas.create: one step, the site.';

CREATE OR REPLACE FUNCTION order_item_without_password() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    NEW.data := NEW.data - '{admin_password,basic_auth_password}'::text[];
    RETURN NEW;
END $$;
COMMENT ON FUNCTION order_item_without_password() IS 'What was ordered is kept without the passwords that were in it.';
SELECT class.replace_trigger('order_item_without_password_tg', 'order_item', 'BEFORE INSERT ON {table} FOR EACH ROW WHEN (NEW.data ?| ''{admin_password,basic_auth_password}'')', 'order_item_without_password()');

CREATE OR REPLACE FUNCTION wpaas_step(p_item plan_item, p_what text, p_table text, p_data jsonb) RETURNS plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _site wpaas_instance := wpaas_named(p_item);
BEGIN
    RETURN ROW(new_id(), p_item.id, p_what || ' ' || _site.hostname, p_table, new_id(), p_data || jsonb_build_object('instance_id', _site.id, 'accreditation_id', _site.accreditation_id), '{}')::plan_step;
END $$;
COMMENT ON FUNCTION wpaas_step(plan_item, text, text, jsonb) IS 'The step of an order that does something to a site.';

CREATE OR REPLACE FUNCTION wpaas_update_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _item plan_item;
    _step plan_step;
BEGIN
    PERFORM check_fields('wpaas.update', ARRAY(SELECT data FROM unnest(p_items)), '{name,changes}', '{"name": "string", "changes": "object", "generation": "number|null", "basic_auth_password": "string|null"}');
    FOREACH _item IN ARRAY p_items LOOP
        _step := wpaas_step(_item, 'update', 'provision_wpaas_update', jsonb_build_object('changes', _item.data -> 'changes', 'known_generation', _item.data -> 'generation'));
        PERFORM wpaas_take_passwords(_step.provision_id, _item.data);
        RETURN NEXT _step;
    END LOOP;
END $$;
COMMENT ON FUNCTION wpaas_update_plan(plan_item[]) IS 'wpaas.update: one step, the change.';

CREATE OR REPLACE FUNCTION wpaas_backup_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM check_fields('wpaas.backup', ARRAY(SELECT data FROM unnest(p_items)), '{name}', '{"name": "string"}');
    RETURN QUERY SELECT (wpaas_step(i, 'backup', 'provision_wpaas_backup', '{}')).* FROM unnest(p_items) AS i;
END $$;
COMMENT ON FUNCTION wpaas_backup_plan(plan_item[]) IS 'wpaas.backup: one step, the snapshot.';

CREATE OR REPLACE FUNCTION wpaas_restore_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM check_fields('wpaas.restore', ARRAY(SELECT data FROM unnest(p_items)), '{name,snapshot}', '{"name": "string", "snapshot": "string"}');
    RETURN QUERY SELECT (wpaas_step(i, 'restore', 'provision_wpaas_restore', jsonb_build_object('snapshot', i.data -> 'snapshot'))).* FROM unnest(p_items) AS i;
END $$;
COMMENT ON FUNCTION wpaas_restore_plan(plan_item[]) IS 'wpaas.restore: one step, the new database.';

CREATE OR REPLACE FUNCTION wpaas_download_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM check_fields('wpaas.download', ARRAY(SELECT data FROM unnest(p_items)), '{name,backup}', '{"name": "string", "backup": "string"}');
    RETURN QUERY SELECT (wpaas_step(i, 'download', 'provision_wpaas_download', jsonb_build_object('backup_id', uuid_of(i.data ->> 'backup')))).* FROM unnest(p_items) AS i;
END $$;
COMMENT ON FUNCTION wpaas_download_plan(plan_item[]) IS 'wpaas.download: one step, the dump and its link.';

CREATE OR REPLACE FUNCTION wpaas_delete_plan(p_items plan_item[]) RETURNS SETOF plan_step
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM check_fields('wpaas.delete', ARRAY(SELECT data FROM unnest(p_items)), '{name}', '{"name": "string"}');
    RETURN QUERY SELECT (wpaas_step(i, 'delete', 'provision_wpaas_delete', '{}')).* FROM unnest(p_items) AS i;
END $$;
COMMENT ON FUNCTION wpaas_delete_plan(plan_item[]) IS 'wpaas.delete: one step, the end.';

-- Jobs -----------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION provision_wpaas_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT p.id, jsonb_build_object('instance', p.id, 'generation', 1) FROM provision_wpaas AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_wpaas_job(uuid[]) IS 'What making a site needs to know: which, and the generation that is to come true.';

CREATE OR REPLACE FUNCTION provision_wpaas_update_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT p.id, jsonb_build_object('instance', p.instance_id, 'generation', p.generation, 'has_password', wpaas_has_password(p.id)) FROM provision_wpaas_update AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_wpaas_update_job(uuid[]) IS 'What a change needs to know: the site, the generation that is to come true, and whether a password comes with it.';

CREATE OR REPLACE FUNCTION provision_wpaas_converge_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT p.id, jsonb_build_object('instance', p.instance_id) FROM provision_wpaas_converge AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_wpaas_converge_job(uuid[]) IS 'What the caretaker needs to know: which site; everything else it reads anew at every look.';

CREATE OR REPLACE FUNCTION provision_wpaas_backup_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT p.id, jsonb_build_object('instance', p.instance_id, 'snapshot', wpaas_snapshot_name(p.instance_id, p.id)) FROM provision_wpaas_backup AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_wpaas_backup_job(uuid[]) IS 'What a backup needs to know: the site, and the name of the snapshot.';

CREATE OR REPLACE FUNCTION provision_wpaas_restore_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT p.id, jsonb_build_object('instance', p.instance_id, 'snapshot', p.snapshot, 'database_revision', p.database_revision) FROM provision_wpaas_restore AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_wpaas_restore_job(uuid[]) IS 'What a restore needs to know: the site, the snapshot, the number of the new database.';

CREATE OR REPLACE FUNCTION provision_wpaas_download_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT p.id, wpaas_download_data(p) FROM provision_wpaas_download AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_wpaas_download_job(uuid[]) IS 'What a download needs to know: wpaas_download_data.';

CREATE OR REPLACE FUNCTION wpaas_download_data(p provision_wpaas_download) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (
        SELECT jsonb_build_object('instance', p.instance_id, 'backup', b.id, 'download', p.id, 'snapshot', b.snapshot, 'database', wpaas_snapshot_name(p.instance_id, p.id),
            'key', wpaas_dump_key(b), 'file', format('%s-%s.sql.gz', i.hostname, to_char(b.created_date AT TIME ZONE 'UTC', 'YYYYMMDD-HH24MISS')))
        FROM wpaas_backup AS b JOIN wpaas_instance AS i ON i.id = b.instance_id WHERE b.id = p.backup_id);
END $$;
COMMENT ON FUNCTION wpaas_download_data(provision_wpaas_download) IS 'The names of a download: the database that is made for it, and goes again, where the dump is, and what it is called.';

CREATE OR REPLACE FUNCTION wpaas_dump_key(p wpaas_backup) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN format('dumps/%s/%s.sql.gz', wpaas_key(p.instance_id), p.id);
END $$;
COMMENT ON FUNCTION wpaas_dump_key(wpaas_backup) IS 'Where the dump of a backup is in the operators'' bucket.';

CREATE OR REPLACE FUNCTION provision_wpaas_delete_job(p_ids uuid[]) RETURNS SETOF job_request
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT p.id, jsonb_build_object('instance', p.instance_id) FROM provision_wpaas_delete AS p WHERE p.id = ANY (p_ids);
END $$;
COMMENT ON FUNCTION provision_wpaas_delete_job(uuid[]) IS 'What a deletion needs to know: the site.';

CREATE OR REPLACE FUNCTION wpaas_key(p_instance uuid) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    -- The end of a time-ordered id is random.
    RETURN 'wp-' || right(p_instance::text, 12);
END $$;
COMMENT ON FUNCTION wpaas_key(uuid) IS 'What the things of a site are called at AWS, where most names may have 32 characters.';

CREATE OR REPLACE FUNCTION wpaas_snapshot_name(p_instance uuid, p_part uuid) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN wpaas_key(p_instance) || '-' || right(p_part::text, 12);
END $$;
COMMENT ON FUNCTION wpaas_snapshot_name(uuid, uuid) IS 'The name of the snapshot that a row makes: found again by it after a crash.';

-- Waking ---------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION wpaas_begin(p_instance uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: a worker begins to take care of a site whose secrets are kept, and may not write its rows.
BEGIN
    INSERT INTO provision_wpaas_converge (tenant_customer_id, org_id, accreditation_id, instance_id)
    SELECT i.tenant_customer_id, i.org_id, i.accreditation_id, i.id FROM wpaas_instance AS i WHERE i.id = p_instance AND i.deleted_date IS NULL
    ON CONFLICT (instance_id) WHERE finished_date IS NULL DO NOTHING;
END $$;
COMMENT ON FUNCTION wpaas_begin(uuid) IS 'Gives a site a caretaker, unless it has one.';

CREATE OR REPLACE FUNCTION wpaas_hurry(p_jobs uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    -- In an order, and none that somebody is at: what cannot be moved now is moved by the next sweep.
    UPDATE job_queue SET start_date = engine_now() WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM job_queue WHERE job_id = ANY (p_jobs) AND start_date > engine_now() ORDER BY job_id FOR UPDATE SKIP LOCKED));
    IF FOUND THEN
        PERFORM job_wake();
    END IF;
END $$;
COMMENT ON FUNCTION wpaas_hurry(uuid[]) IS 'Has waiting jobs run now.';

CREATE OR REPLACE FUNCTION wpaas_wake(p_instances uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE wpaas_watch SET wake_date = clock_timestamp() WHERE instance_id = ANY (p_instances);
    PERFORM wpaas_hurry(ARRAY(SELECT job_id FROM provision_wpaas_converge WHERE instance_id = ANY (p_instances) AND finished_date IS NULL));
END $$;
COMMENT ON FUNCTION wpaas_wake(uuid[]) IS 'Has the converger look at sites now, and once more if it is just looking.';

CREATE OR REPLACE FUNCTION wpaas_converge(p_instance uuid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: for operators, who have EXECUTE and no table rights.
BEGIN
    IF NOT EXISTS (SELECT FROM wpaas_instance WHERE id = p_instance AND deleted_date IS NULL) THEN
        PERFORM refuse('PV404', 'web site not found', p_instance::text, 'SELECT * FROM v_wpaas');
    END IF;
    PERFORM wpaas_begin(p_instance);
    UPDATE wpaas_watch SET failures = 0 WHERE instance_id = p_instance;
    PERFORM wpaas_wake(ARRAY[p_instance]);
    RETURN 'looking';
END $$;
COMMENT ON FUNCTION wpaas_converge(uuid) IS 'Has the converger look at a site now, whatever it waits for.';
