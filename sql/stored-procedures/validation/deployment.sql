-- What clusters and deployments must be like. The row of a cluster or a deployment in the inventory is made here, with the
-- request for it, so that the next request finds it.

CREATE OR REPLACE FUNCTION deployment_check_amounts(p_what text, p_cpu int, p_ram int, p_gpu int) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
DECLARE
    _bad record;
BEGIN
    SELECT * INTO _bad FROM (VALUES ('cpu', p_cpu), ('ram', p_ram), ('gpu', p_gpu)) AS a (axis, amount) WHERE (amount >= 0) IS NOT TRUE LIMIT 1;
    IF FOUND THEN
        PERFORM refuse('PV422', format('%s%s: must be a whole number, 0 or more', p_what, _bad.axis), COALESCE(_bad.amount::text, 'it is missing'), 'vCPU, GiB, devices');
    ELSIF greatest(p_cpu, p_ram, p_gpu) = 0 THEN
        PERFORM refuse('PV422', format('%scpu: not everything can be 0', p_what), 'cpu, ram and gpu are 0', 'say how much of what it takes');
    END IF;
END $$;
COMMENT ON FUNCTION deployment_check_amounts(text, int, int, int) IS 'Refuses amounts that are none, and all zero; p_what is put before the names of the fields.';

CREATE OR REPLACE FUNCTION deployment_check_name(p_name text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF (p_name ~ '^[^[:cntrl:]]{1,255}$' AND p_name ~ '[^[:space:]]') IS NOT TRUE THEN
        PERFORM refuse('PV422', 'name: is malformed', COALESCE(left(p_name, 300), 'it is missing'), '1 to 255 characters, not all of them blanks');
    END IF;
END $$;
COMMENT ON FUNCTION deployment_check_name(text) IS 'Refuses names that nobody can read.';

CREATE OR REPLACE FUNCTION compute_cluster_check_policy(p_objective text, p_solver text, p_backfill text, p_max_wait int) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
DECLARE
    _bad record;
BEGIN
    SELECT * INTO _bad FROM (VALUES
        ('objective', p_objective, '{auto,count,expansion}'::text[]),
        ('solver', p_solver, '{auto,combinations,genetic}'),
        ('backfill', p_backfill, '{none,reserve,any}')) AS a (field, value, known) WHERE value <> ALL (known) LIMIT 1;
    IF FOUND THEN
        PERFORM refuse('PV422', format('%s: is not known', _bad.field), left(_bad.value, 100), 'one of ' || array_to_string(_bad.known, ', '));
    ELSIF p_max_wait < 0 THEN
        PERFORM refuse('PV422', 'max_wait_seconds: must be 0 or more', p_max_wait::text, '0: nobody ever goes first for having waited long');
    END IF;
END $$;
COMMENT ON FUNCTION compute_cluster_check_policy(text, text, text, int) IS 'Refuses ways to decide that there are not; NULL: not given.';

CREATE OR REPLACE FUNCTION compute_cluster_place(p_account uuid, p_launch_type text, p_gpu int, p_accreditation uuid, OUT launch_type text, OUT accreditation_id uuid)
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _tenant constant uuid := (SELECT c.tenant_id FROM tenant_customer AS c WHERE c.id = p_account);
    _is_at_aws constant boolean := COALESCE(p_launch_type <> 'simulated',
        EXISTS (SELECT FROM accreditation AS a WHERE a.tenant_id = _tenant AND a.provider = 'aws' AND a.is_active AND (p_accreditation IS NULL OR a.id = p_accreditation)));
BEGIN
    launch_type := COALESCE(p_launch_type, CASE WHEN NOT _is_at_aws THEN 'simulated' WHEN p_gpu > 0 THEN 'ec2' ELSE 'fargate' END);
    IF launch_type NOT IN ('simulated', 'fargate', 'ec2') THEN
        PERFORM refuse('PV422', 'launch_type: is not known', left(launch_type, 100), 'one of simulated, fargate, ec2');
    ELSIF launch_type = 'fargate' AND p_gpu > 0 THEN
        PERFORM refuse('PV422', 'total_gpu: there are none at Fargate', p_gpu::text, 'launch_type ec2 has GPUs');
    ELSIF p_accreditation IS NOT NULL AND _is_at_aws <> EXISTS (SELECT FROM accreditation AS a WHERE a.id = p_accreditation AND a.provider = 'aws') THEN
        PERFORM refuse('PV422', 'launch_type: not at this accreditation', launch_type, 'simulated at one of the provider simulated, the others at aws');
    END IF;
    accreditation_id := COALESCE(p_accreditation, CASE WHEN _is_at_aws THEN accreditation_for(p_account, NULL, '{aws}') END);
    IF accreditation_id IS NULL AND _tenant IS NOT NULL THEN
        INSERT INTO accreditation (tenant_id, provider, name) VALUES (_tenant, 'simulated', 'simulated') ON CONFLICT DO NOTHING;
        SELECT a.id INTO accreditation_id FROM accreditation AS a WHERE a.tenant_id = _tenant AND a.provider = 'simulated' ORDER BY a.name = 'simulated' DESC, a.id LIMIT 1;
    END IF;
END $$;
COMMENT ON FUNCTION compute_cluster_place(uuid, text, int, uuid) IS 'How and where a cluster is to be: as asked, else at AWS if the tenant has an accreditation there, else simulated, which is made when it is first needed.';

CREATE OR REPLACE FUNCTION provision_compute_cluster_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the rules read, and the cluster is written, where the one who inserts may not.
BEGIN
    PERFORM deployment_check_name(NEW.name);
    PERFORM deployment_check_amounts('total_', NEW.total_cpu, NEW.total_ram, NEW.total_gpu);
    PERFORM compute_cluster_check_policy(NEW.objective, NEW.solver, NEW.backfill, NEW.max_wait_seconds);
    IF NEW.org_id IS NULL THEN
        PERFORM refuse('PV422', 'org_id: is missing', NEW.name, 'a cluster belongs to an org');
    END IF;
    SELECT p.launch_type, p.accreditation_id INTO NEW.launch_type, NEW.accreditation_id FROM compute_cluster_place(NEW.tenant_customer_id, NEW.launch_type, NEW.total_gpu, NEW.accreditation_id) AS p;
    INSERT INTO compute_cluster (id, tenant_customer_id, org_id, accreditation_id, name, total_cpu, total_ram, total_gpu, launch_type, objective, solver, backfill, preemption, max_wait_seconds)
    VALUES (NEW.id, NEW.tenant_customer_id, NEW.org_id, NEW.accreditation_id, NEW.name, NEW.total_cpu, NEW.total_ram, NEW.total_gpu, NEW.launch_type,
        NEW.objective, NEW.solver, NEW.backfill, NEW.preemption, nullif(NEW.max_wait_seconds, 0))
    ON CONFLICT (org_id, lower(name)) WHERE deleted_date IS NULL DO NOTHING;
    IF NOT FOUND THEN
        PERFORM refuse('PV409', 'name: the org has a cluster of that name', NEW.name, 'take another');
    END IF;
    INSERT INTO schedule (name, job_type, every, next_date) VALUES ('deployment', 'deployment_sweep', interval '1 minute', engine_now() + interval '1 minute') ON CONFLICT DO NOTHING;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_compute_cluster_validate() IS 'Refuses what cannot be a cluster and makes its row, as creating.';

CREATE OR REPLACE FUNCTION compute_cluster_lock(p_id uuid, p_account uuid, p_org uuid) RETURNS compute_cluster
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _cluster compute_cluster;
BEGIN
    SELECT * INTO _cluster FROM compute_cluster WHERE id = p_id FOR NO KEY UPDATE;
    IF _cluster.id IS NULL OR _cluster.deleted_date IS NOT NULL OR _cluster.tenant_customer_id <> p_account OR _cluster.org_id IS DISTINCT FROM COALESCE(p_org, _cluster.org_id) THEN
        PERFORM refuse('PV404', 'compute_cluster_id: cluster not found', COALESCE(p_id::text, 'it is missing'), 'name one of your own: SELECT * FROM v_compute_cluster');
    END IF;
    RETURN _cluster;
END $$;
COMMENT ON FUNCTION compute_cluster_lock(uuid, uuid, uuid) IS 'A cluster of an account, and org, locked; whatever changes what it has or who waits for it goes through this lock.';

CREATE OR REPLACE FUNCTION provision_compute_cluster_update_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: as provision_compute_cluster_validate.
DECLARE
    _cluster constant compute_cluster := compute_cluster_lock(NEW.compute_cluster_id, NEW.tenant_customer_id, NEW.org_id);
    _axis record;
BEGIN
    IF _cluster.state <> 'active' THEN
        PERFORM refuse('PV409', format('the cluster is %s', _cluster.state), _cluster.name, 'only an active one can be changed');
    END IF;
    SELECT _cluster.org_id, _cluster.accreditation_id, _cluster.total_cpu, _cluster.total_ram, _cluster.total_gpu INTO NEW.org_id, NEW.accreditation_id, NEW.previous_cpu, NEW.previous_ram, NEW.previous_gpu;
    SELECT COALESCE(NEW.total_cpu, _cluster.total_cpu), COALESCE(NEW.total_ram, _cluster.total_ram), COALESCE(NEW.total_gpu, _cluster.total_gpu) INTO NEW.total_cpu, NEW.total_ram, NEW.total_gpu;
    PERFORM deployment_check_amounts('total_', NEW.total_cpu, NEW.total_ram, NEW.total_gpu);
    PERFORM compute_cluster_check_policy(NEW.objective, NEW.solver, NEW.backfill, NEW.max_wait_seconds);
    IF _cluster.launch_type = 'fargate' AND NEW.total_gpu > 0 THEN
        PERFORM refuse('PV422', 'total_gpu: there are none at Fargate', NEW.total_gpu::text, 'make a cluster of launch_type ec2');
    END IF;
    SELECT * INTO _axis FROM (VALUES
        ('cpu', NEW.total_cpu, _cluster.allocated_cpu), ('ram', NEW.total_ram, _cluster.allocated_ram), ('gpu', NEW.total_gpu, _cluster.allocated_gpu)) AS a (name, total, allocated) WHERE total < allocated LIMIT 1;
    IF FOUND THEN
        PERFORM refuse('PV409', format('total_%s: more than that is in use', _axis.name), format('%s of %s', _axis.allocated, _axis.total), 'wait until less runs, or cancel something');
    END IF;
    PERFORM object_claim('compute_cluster', _cluster.id::text, NEW.id, NEW.order_item_plan_ids[1], NEW.tenant_customer_id);
    -- What is taken away is not given out any more.
    UPDATE compute_cluster SET total_cpu = least(total_cpu, NEW.total_cpu), total_ram = least(total_ram, NEW.total_ram), total_gpu = least(total_gpu, NEW.total_gpu),
        generation = generation + 1 WHERE id = _cluster.id;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_compute_cluster_update_validate() IS 'Refuses less than what is in use, and takes at once what is taken away.';

CREATE OR REPLACE FUNCTION provision_compute_cluster_delete_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: as provision_compute_cluster_validate.
DECLARE
    _cluster constant compute_cluster := compute_cluster_lock(NEW.compute_cluster_id, NEW.tenant_customer_id, NEW.org_id);
    _count constant bigint := (SELECT count(*) FROM deployment WHERE compute_cluster_id = NEW.compute_cluster_id AND finished_date IS NULL);
BEGIN
    IF _cluster.state <> 'active' THEN
        PERFORM refuse('PV409', format('the cluster is %s', _cluster.state), _cluster.name, 'wait until it is active');
    ELSIF _count > 0 THEN
        PERFORM refuse('PV409', 'the cluster has deployments', _count || ' wait or run', 'cancel them, or wait until they have ended');
    END IF;
    SELECT _cluster.org_id, _cluster.accreditation_id INTO NEW.org_id, NEW.accreditation_id;
    PERFORM object_claim('compute_cluster', _cluster.id::text, NEW.id, NEW.order_item_plan_ids[1], NEW.tenant_customer_id);
    UPDATE compute_cluster SET state = 'deleting', generation = generation + 1 WHERE id = _cluster.id;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_compute_cluster_delete_validate() IS 'Refuses while there are deployments, and takes no more from now on.';

-- Deployments --------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION deployment_check_fit(p_cluster compute_cluster, p_cpu int, p_ram int, p_gpu int) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
DECLARE
    _axis record;
BEGIN
    SELECT * INTO _axis FROM (VALUES ('cpu', p_cpu, p_cluster.total_cpu), ('ram', p_ram, p_cluster.total_ram), ('gpu', p_gpu, p_cluster.total_gpu)) AS a (name, wanted, total) WHERE wanted > total LIMIT 1;
    IF FOUND THEN
        PERFORM refuse('PV422', format('%s: more than the cluster has', _axis.name), format('%s of %s', _axis.wanted, _axis.total), 'it could never run there');
    END IF;
END $$;
COMMENT ON FUNCTION deployment_check_fit(compute_cluster, int, int, int) IS 'Refuses a demand that the cluster could never meet, naming the axis.';

CREATE OR REPLACE FUNCTION deployment_check_size(p_cluster compute_cluster, p_cpu int, p_ram int) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF p_cluster.launch_type = 'fargate' AND (p_cpu > 16 OR p_ram > 120) THEN
        PERFORM refuse('PV422', CASE WHEN p_cpu > 16 THEN 'cpu' ELSE 'ram' END || ': more than one container has at Fargate', format('%s vCPU and %s GiB', p_cpu, p_ram), 'at most 16 vCPU and 120 GiB');
    END IF;
END $$;
COMMENT ON FUNCTION deployment_check_size(compute_cluster, int, int) IS 'Refuses what Fargate has no task size for.';

CREATE OR REPLACE FUNCTION deployment_check_image(p_path text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    -- The grammar of github.com/distribution/reference, or an https URL.
    IF (length(p_path) <= 2048 AND (p_path ~ '^https://[^/?#@[:space:]]+/[!-~]*$' OR (p_path !~ '^[a-z]+://' AND p_path ~
        '^([A-Za-z0-9.-]+(:[0-9]{1,5})?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$'))) IS NOT TRUE THEN
        PERFORM refuse('PV422', 'docker_path: is malformed', COALESCE(left(p_path, 300), 'it is missing'), 'an image reference as registry/name:tag, or the https URL of a Dockerfile');
    END IF;
END $$;
COMMENT ON FUNCTION deployment_check_image(text) IS 'Refuses what is neither an image reference nor an https URL.';

CREATE OR REPLACE FUNCTION deployment_check_dependencies(p_id uuid, p_org uuid, p_depends_on uuid[]) RETURNS int
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _bad record;
    _open int;
BEGIN
    IF p_id = ANY (p_depends_on) THEN
        PERFORM refuse('PV422', 'depends_on: it cannot wait for itself', p_id::text, 'name others');
    ELSIF cardinality(p_depends_on) > 1000 THEN
        PERFORM refuse('PV422', 'depends_on: too many', cardinality(p_depends_on)::text, 'at most 1000');
    END IF;
    -- Locked, so that none ends between this look and the time the dependency is stored.
    PERFORM FROM deployment WHERE id = ANY (p_depends_on) ORDER BY id FOR SHARE;
    SELECT w.id, d.state INTO _bad FROM unnest(p_depends_on) AS w (id) LEFT JOIN deployment AS d ON d.id = w.id AND d.org_id = p_org
    WHERE d.id IS NULL OR d.state IN ('failed', 'cancelled', 'rejected') LIMIT 1;
    IF FOUND THEN
        PERFORM refuse(CASE WHEN _bad.state IS NULL THEN 'PV404' ELSE 'PV409' END, CASE WHEN _bad.state IS NULL THEN 'depends_on: deployment not found' ELSE 'depends_on: it will never be done' END,
            concat_ws(' is ', COALESCE(_bad.id::text, 'NULL'), _bad.state), 'name deployments of the same org that are done, run or wait');
    END IF;
    SELECT count(*) INTO _open FROM deployment WHERE id = ANY (p_depends_on) AND state <> 'done';
    RETURN _open;
END $$;
COMMENT ON FUNCTION deployment_check_dependencies(uuid, uuid, uuid[]) IS 'Refuses dependencies that are unknown, foreign or hopeless; returns how many are open.';

CREATE OR REPLACE FUNCTION provision_deployment_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the rules read, and the deployment is written, where the one who inserts may not.
DECLARE
    _cluster compute_cluster;
    _open int;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        RETURN NEW;
    ELSIF NEW.is_complete THEN
        PERFORM refuse('PV422', 'the scheduler opens the gate', 'is_complete', 'leave it out');
    END IF;
    PERFORM deployment_check_name(NEW.name);
    PERFORM deployment_check_amounts('', NEW.cpu, NEW.ram, NEW.gpu);
    PERFORM deployment_check_image(NEW.docker_path);
    IF NOT EXISTS (SELECT FROM deployment_priority WHERE priority = NEW.priority) THEN
        PERFORM refuse('PV422', 'priority: is not known', COALESCE(NEW.priority::text, 'it is missing'), (SELECT 'one of ' || string_agg(name, ', ' ORDER BY priority DESC) FROM deployment_priority));
    ELSIF NEW.ttl_seconds <= 0 OR NEW.queue_ttl_seconds <= 0 THEN
        PERFORM refuse('PV422', CASE WHEN NEW.ttl_seconds <= 0 THEN 'ttl_seconds' ELSE 'queue_ttl_seconds' END || ': must be 1 or more', least(NEW.ttl_seconds, NEW.queue_ttl_seconds)::text, 'leave it out for no limit');
    END IF;
    _cluster := compute_cluster_lock(NEW.compute_cluster_id, NEW.tenant_customer_id, NEW.org_id);
    IF _cluster.state NOT IN ('creating', 'active') THEN
        PERFORM refuse('PV409', format('the cluster is %s', _cluster.state), _cluster.name, 'deploy to another one');
    END IF;
    PERFORM deployment_check_fit(_cluster, NEW.cpu, NEW.ram, NEW.gpu);
    PERFORM deployment_check_size(_cluster, NEW.cpu, NEW.ram);
    SELECT _cluster.org_id, _cluster.accreditation_id INTO NEW.org_id, NEW.accreditation_id;
    NEW.depends_on := ARRAY(SELECT DISTINCT d FROM unnest(NEW.depends_on) AS d);
    _open := deployment_check_dependencies(NEW.id, NEW.org_id, NEW.depends_on);
    INSERT INTO deployment (id, tenant_customer_id, org_id, compute_cluster_id, name, cpu, ram, gpu, priority, docker_path, ttl_seconds, queue_ttl_seconds, state, open_dependencies)
    VALUES (NEW.id, NEW.tenant_customer_id, NEW.org_id, NEW.compute_cluster_id, NEW.name, NEW.cpu, NEW.ram, NEW.gpu, NEW.priority, NEW.docker_path, NEW.ttl_seconds, NEW.queue_ttl_seconds,
        CASE WHEN _open > 0 THEN 'pending' ELSE 'queued' END, _open)
    ON CONFLICT (org_id, lower(name)) WHERE finished_date IS NULL DO NOTHING;
    IF NOT FOUND THEN
        PERFORM refuse('PV409', 'name: the org has a deployment of that name', NEW.name, 'take another, or wait until it has ended');
    END IF;
    INSERT INTO deployment_dependency (deployment_id, depends_on_id, tenant_customer_id, org_id) SELECT NEW.id, d, NEW.tenant_customer_id, NEW.org_id FROM unnest(NEW.depends_on) AS d;
    PERFORM compute_cluster_changed(NEW.compute_cluster_id);
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_deployment_validate() IS 'Refuses what could never run, makes the row of the deployment, and has the cluster decided about.';

CREATE OR REPLACE FUNCTION provision_deployment_stop_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the rules read, and the deployment is changed, where the one who inserts may not.
DECLARE
    _deployment deployment;
    _reason constant text := COALESCE(nullif(NEW.reason, ''), 'cancelled by ' || caller_name());
BEGIN
    SELECT * INTO _deployment FROM deployment WHERE id = NEW.deployment_id AND tenant_customer_id = NEW.tenant_customer_id AND org_id = COALESCE(NEW.org_id, org_id);
    IF _deployment.id IS NULL THEN
        PERFORM refuse('PV404', 'deployment_id: deployment not found', COALESCE(NEW.deployment_id::text, 'it is missing'), 'name one of your own: SELECT * FROM v_deployment');
    END IF;
    SELECT c.org_id, c.accreditation_id INTO NEW.org_id, NEW.accreditation_id FROM compute_cluster AS c WHERE c.id = _deployment.compute_cluster_id FOR NO KEY UPDATE;
    SELECT * INTO _deployment FROM deployment WHERE id = NEW.deployment_id FOR NO KEY UPDATE;
    IF _deployment.finished_date IS NOT NULL OR _deployment.stop_kind = 'cancel' THEN
        PERFORM refuse('PV409', 'the deployment has ended', format('%s is %s', _deployment.name, COALESCE(_deployment.state, 'gone')), 'what has ended cannot be cancelled');
    END IF;
    PERFORM deployment_give_up(ARRAY[NEW.deployment_id], _reason);
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_deployment_stop_validate() IS 'Refuses one that has ended; ends one that waits, and has one that runs stopped.';

SELECT class.replace_trigger('deployment_touch_tg', 'deployment', 'BEFORE UPDATE ON {table} FOR EACH ROW', 'tenancy_touch()');
