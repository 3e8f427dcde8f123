-- How a cluster is shared out. Whatever changes what a decision depends on (an arrival, an end, a change of the cluster) locks
-- the cluster's row and calls compute_cluster_changed(), which raises its generation and has its one job decide: the worker
-- reads deployment_snapshot(), asks the scheduler, and calls deployment_commit(), which applies the decision to the
-- generation it was made for, all of it, or none. deployment_allocated() keeps the sum of what runs; deployment_end() is the
-- one way out, reached through the provision row, whose final states are never left: a share is given back once.

-- The sum ------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION deployment_allocated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the sum is right whoever changes a deployment.
BEGIN
    -- Two sums and no join of old with new rows; a cluster where both are the same is left alone.
    IF TG_OP = 'UPDATE' THEN
        UPDATE compute_cluster AS c SET allocated_cpu = c.allocated_cpu + s.cpu, allocated_ram = c.allocated_ram + s.ram, allocated_gpu = c.allocated_gpu + s.gpu
        FROM (
            SELECT x.cluster, sum(x.cpu) AS cpu, sum(x.ram) AS ram, sum(x.gpu) AS gpu FROM (
                SELECT compute_cluster_id AS cluster, cpu, ram, gpu FROM new_rows WHERE state IN ('starting', 'running')
                UNION ALL SELECT compute_cluster_id, -cpu, -ram, -gpu FROM old_rows WHERE state IN ('starting', 'running')) AS x
            GROUP BY x.cluster) AS s
        WHERE c.id = s.cluster AND (s.cpu, s.ram, s.gpu) <> (0, 0, 0);
    ELSE
        UPDATE compute_cluster AS c SET allocated_cpu = c.allocated_cpu - s.cpu, allocated_ram = c.allocated_ram - s.ram, allocated_gpu = c.allocated_gpu - s.gpu
        FROM (SELECT compute_cluster_id AS cluster, sum(cpu) AS cpu, sum(ram) AS ram, sum(gpu) AS gpu FROM old_rows WHERE state IN ('starting', 'running') GROUP BY 1) AS s
        WHERE c.id = s.cluster;
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION deployment_allocated() IS 'Keeps what is allocated of clusters: the sum over their deployments that start or run.';
SELECT class.replace_trigger('deployment_allocated_tg', 'deployment', 'AFTER UPDATE ON {table} REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT', 'deployment_allocated()');
SELECT class.replace_trigger('deployment_deleted_tg', 'deployment', 'AFTER DELETE ON {table} REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT', 'deployment_allocated()');

CREATE OR REPLACE FUNCTION compute_cluster_touch() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    NEW.updated_date := engine_now();
    NEW.updated_by := caller_name();
    RETURN NEW;
END $$;
COMMENT ON FUNCTION compute_cluster_touch() IS 'Notes who changed what a cluster has, gives out, or decides by, and when.';
SELECT class.replace_trigger('compute_cluster_touch_tg', 'compute_cluster',
    'BEFORE UPDATE OF total_cpu, total_ram, total_gpu, allocated_cpu, allocated_ram, allocated_gpu, objective, solver, backfill, preemption, max_wait_seconds, state ON {table} FOR EACH ROW', 'compute_cluster_touch()');
SELECT class.attach_guard(m, 'state') FROM unnest('{compute_cluster,deployment}'::text[]) AS m;

CREATE OR REPLACE FUNCTION provision_deployment_lock(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM FROM compute_cluster WHERE id IN (SELECT compute_cluster_id FROM provision_deployment WHERE id = ANY (p_ids)) ORDER BY id FOR NO KEY UPDATE;
END $$;
COMMENT ON FUNCTION provision_deployment_lock(uuid[]) IS 'Locks the clusters of deployments: whoever starts or ends one that waits has its cluster before its row.';

-- Deciding -----------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION compute_cluster_changed(p_cluster uuid) RETURNS bigint
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _cluster compute_cluster;
BEGIN
    UPDATE compute_cluster SET generation = generation + 1 WHERE id = p_cluster RETURNING * INTO _cluster;
    IF _cluster.state = 'active' AND EXISTS (SELECT FROM deployment WHERE compute_cluster_id = p_cluster AND finished_date IS NULL AND state = 'queued') THEN
        PERFORM compute_cluster_wake(_cluster);
    END IF;
    RETURN _cluster.generation;
END $$;
COMMENT ON FUNCTION compute_cluster_changed(uuid) IS 'A decision made before is worth nothing any more; has one made if somebody waits. Returns the new generation.';

CREATE OR REPLACE FUNCTION compute_cluster_wake(p_cluster compute_cluster) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _job uuid;
BEGIN
    -- A job that waits is claimed after this transaction, and sees what it did. One in a worker's hands may have looked
    -- before: another takes its place, and it ends (deployment_next).
    IF p_cluster.schedule_job_id IS NOT NULL AND cardinality(job_hasten(ARRAY[p_cluster.schedule_job_id])) > 0 THEN
        RETURN;
    END IF;
    INSERT INTO job (type, tenant_customer_id, org_id, data, priority, max_attempts)
    SELECT t.name, p_cluster.tenant_customer_id, p_cluster.org_id, jsonb_build_object('cluster', p_cluster.id), 2, t.max_attempts FROM job_type AS t WHERE t.name = 'deployment_schedule' RETURNING id INTO _job;
    UPDATE compute_cluster SET schedule_job_id = _job WHERE id = p_cluster.id;
END $$;
COMMENT ON FUNCTION compute_cluster_wake(compute_cluster) IS 'Has a cluster, whose row is locked, decided about: by the job that waits for it, or a new one.';

CREATE OR REPLACE FUNCTION deployment_snapshot(p_cluster uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: what the scheduler is told, in one statement, so that all of it is of one moment.
BEGIN
    RETURN (
        SELECT jsonb_build_object('generation', c.generation, 'now', extract(EPOCH FROM engine_now()), 'capacity', jsonb_build_array(c.total_cpu, c.total_ram, c.total_gpu),
            'policy', jsonb_build_object('objective', nullif(c.objective, 'auto'), 'solver', c.solver, 'backfill', c.backfill, 'max_wait', c.max_wait_seconds,
                -- Who was displaced and has not ended yet makes room already.
                'preemption', c.preemption AND NOT EXISTS (SELECT FROM deployment AS v WHERE v.compute_cluster_id = c.id AND v.finished_date IS NULL AND v.stop_kind = 'preempt')),
            'running', COALESCE((
                SELECT jsonb_agg(jsonb_build_object('id', d.number, 'demand', jsonb_build_array(d.cpu, d.ram, d.gpu), 'priority', d.priority, 'arrival', extract(EPOCH FROM d.arrived_date),
                    'started', extract(EPOCH FROM COALESCE(d.running_date, d.started_date)), 'ttl', CASE WHEN d.stop_kind IS NOT NULL THEN 0 ELSE d.ttl_seconds END))
                FROM deployment AS d WHERE d.compute_cluster_id = c.id AND d.finished_date IS NULL AND d.state IN ('starting', 'running')), '[]'),
            'queue', COALESCE((
                SELECT jsonb_agg(jsonb_build_object('id', d.number, 'demand', jsonb_build_array(d.cpu, d.ram, d.gpu), 'priority', d.priority, 'arrival', extract(EPOCH FROM d.arrived_date),
                    'ttl', d.ttl_seconds, 'expires', extract(EPOCH FROM d.arrived_date) + d.queue_ttl_seconds,
                    'promised', CASE WHEN w.promised_date = 'infinity' THEN to_jsonb('inf'::text) ELSE to_jsonb(extract(EPOCH FROM w.promised_date)) END))
                FROM deployment AS d LEFT JOIN deployment_wait AS w ON w.deployment_id = d.id WHERE d.compute_cluster_id = c.id AND d.finished_date IS NULL AND d.state = 'queued' AND d.stop_kind IS NULL), '[]'))
        FROM compute_cluster AS c WHERE c.id = p_cluster AND c.state = 'active');
END $$;
COMMENT ON FUNCTION deployment_snapshot(uuid) IS 'A cluster, what runs and what waits, as the scheduler takes it, with the generation; NULL: the cluster is not active.';

CREATE OR REPLACE FUNCTION deployment_commit(p_job uuid, p_claim_no bigint, p_cluster uuid, p_generation bigint, p_decision jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: deployments are started only through here.
DECLARE
    _cluster compute_cluster;
    _start bigint[] := ARRAY(SELECT jsonb_array_elements_text(p_decision -> 'start')::bigint);
    _evict constant bigint[] := ARRAY(SELECT jsonb_array_elements_text(p_decision -> 'evict')::bigint);
    _displacing constant bigint[] := ARRAY(SELECT jsonb_object_keys(p_decision -> 'displaces')::bigint);
BEGIN
    PERFORM effect_fence(p_job, p_claim_no);
    SELECT * INTO _cluster FROM compute_cluster WHERE id = p_cluster FOR NO KEY UPDATE;
    IF _cluster.state <> 'active' OR _cluster.generation <> p_generation THEN
        RETURN false;
    END IF;
    PERFORM deployment_drop(_cluster.id, p_decision);
    IF _cluster.launch_type = 'simulated' THEN
        _start := ARRAY(SELECT unnest(_start) UNION SELECT unnest(_displacing));
        PERFORM deployment_evict(_cluster.id, _evict);
    ELSE
        -- A container has its share until it was seen to have ended; whom it made room for starts after that.
        _start := ARRAY(SELECT unnest(_start) EXCEPT SELECT unnest(_displacing));
        PERFORM deployment_displace(_cluster.id, _evict);
    END IF;
    PERFORM deployment_start(_cluster, _start, to_timestamp((p_decision ->> 'now')::float8));
    PERFORM deployment_explain(_cluster.id, p_decision);
    UPDATE compute_cluster SET generation = generation + 1, decided_generation = generation + 1 WHERE id = p_cluster;
    RETURN true;
END $$;
COMMENT ON FUNCTION deployment_commit(uuid, bigint, uuid, bigint, jsonb) IS 'Applies a decision to the generation it was made for, under the claim of the job that made it; false: the cluster has changed, decide anew. More than there is, is refused by the cluster''s constraints.';

CREATE OR REPLACE FUNCTION deployment_count(p_found bigint, p_wanted bigint[], p_what text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF p_found <> cardinality(p_wanted) THEN
        PERFORM refuse('PV409', 'the decision does not fit the cluster', format('%s of %s to %s', p_found, p_wanted::text, p_what), 'decide anew');
    END IF;
END $$;
COMMENT ON FUNCTION deployment_count(bigint, bigint[], text) IS 'Refuses a decision about deployments that are not in the state it takes them to be in.';

CREATE OR REPLACE FUNCTION deployment_drop(p_cluster uuid, p_decision jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM deployment_reject(ARRAY(SELECT d.id FROM deployment AS d WHERE d.compute_cluster_id = p_cluster AND d.finished_date IS NULL AND d.state = 'queued' AND p_decision -> 'reject' ? d.number::text));
    PERFORM deployment_give_up(ARRAY(SELECT d.id FROM deployment AS d WHERE d.compute_cluster_id = p_cluster AND d.finished_date IS NULL AND d.state = 'queued' AND p_decision -> 'expire' @> to_jsonb(d.number)),
        'waited longer than queue_ttl_seconds');
END $$;
COMMENT ON FUNCTION deployment_drop(uuid, jsonb) IS 'Ends what has waited too long, or can never run.';

CREATE OR REPLACE FUNCTION deployment_give_up(p_ids uuid[], p_reason text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE deployment SET stop_kind = 'cancel', result_message = p_reason WHERE id = ANY (p_ids) AND finished_date IS NULL AND stop_kind IS DISTINCT FROM 'cancel';
    -- One that never started has no job: it ends here. Of others the job sees to it that what runs ends.
    UPDATE provision_deployment SET status_id = tc_id_from_name('provision_status', 'cancelled'), result_message = p_reason WHERE id = ANY (p_ids) AND status_id = tc_id_from_name('provision_status', 'pending');
    PERFORM job_hasten(ARRAY(SELECT job_id FROM provision_deployment WHERE id = ANY (p_ids) AND status_id = tc_id_from_name('provision_status', 'processing')));
END $$;
COMMENT ON FUNCTION deployment_give_up(uuid[], text) IS 'Cancels deployments: those that never started at once, the others when their containers were seen to have ended.';

CREATE OR REPLACE FUNCTION deployment_reject(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _reason constant text := 'its cluster was made too small for it';
BEGIN
    UPDATE deployment SET state = 'rejected', finished_date = engine_now(), result_message = _reason WHERE id = ANY (p_ids) AND state IN ('pending', 'queued') AND starts = 0;
    PERFORM deployment_give_up(p_ids, _reason);
END $$;
COMMENT ON FUNCTION deployment_reject(uuid[]) IS 'Rejects deployments that can never run.';

CREATE OR REPLACE FUNCTION compute_cluster_reject(p_cluster uuid) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM deployment_reject(ARRAY(
        SELECT d.id FROM compute_cluster AS c JOIN deployment AS d ON d.compute_cluster_id = c.id AND d.finished_date IS NULL AND d.state IN ('pending', 'queued')
        WHERE c.id = p_cluster AND (d.cpu > c.total_cpu OR d.ram > c.total_ram OR d.gpu > c.total_gpu)));
END $$;
COMMENT ON FUNCTION compute_cluster_reject(uuid) IS 'Rejects what waits for a cluster that was made too small for it.';

CREATE OR REPLACE FUNCTION deployment_evict(p_cluster uuid, p_numbers bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _count bigint;
BEGIN
    UPDATE deployment SET state = 'preempted', result_message = 'made room for a higher class' WHERE compute_cluster_id = p_cluster AND number = ANY (p_numbers) AND state IN ('starting', 'running');
    GET DIAGNOSTICS _count = ROW_COUNT;
    PERFORM deployment_count(_count, p_numbers, 'preempt');
    UPDATE deployment SET state = 'queued', started_date = NULL, running_date = NULL, ends_date = NULL WHERE compute_cluster_id = p_cluster AND number = ANY (p_numbers);
END $$;
COMMENT ON FUNCTION deployment_evict(uuid, bigint[]) IS 'Has deployments that are only simulated end at once and wait again, with the arrival they had.';

CREATE OR REPLACE FUNCTION deployment_displace(p_cluster uuid, p_numbers bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _count bigint;
BEGIN
    -- One that is being cancelled makes room as well.
    UPDATE deployment SET stop_kind = COALESCE(stop_kind, 'preempt'), result_message = CASE WHEN stop_kind IS NULL THEN 'makes room for a higher class' ELSE result_message END
    WHERE compute_cluster_id = p_cluster AND number = ANY (p_numbers) AND state IN ('starting', 'running');
    GET DIAGNOSTICS _count = ROW_COUNT;
    PERFORM deployment_count(_count, p_numbers, 'preempt');
    PERFORM job_hasten(ARRAY(SELECT p.job_id FROM deployment AS d JOIN provision_deployment AS p ON p.id = d.id WHERE d.compute_cluster_id = p_cluster AND d.number = ANY (p_numbers)));
END $$;
COMMENT ON FUNCTION deployment_displace(uuid, bigint[]) IS 'Has containers stopped; their deployments wait again when they were seen to have ended.';

CREATE OR REPLACE FUNCTION deployment_start(p_cluster compute_cluster, p_numbers bigint[], p_now timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _ids uuid[];
BEGIN
    WITH started AS (
        UPDATE deployment SET state = 'starting', starts = starts + 1, started_date = p_now, running_date = NULL, ends_date = NULL, task_arn = NULL, result_message = NULL
        WHERE compute_cluster_id = p_cluster.id AND number = ANY (p_numbers) AND state = 'queued' AND stop_kind IS NULL RETURNING id)
    SELECT COALESCE(array_agg(id), '{}') INTO _ids FROM started;
    PERFORM deployment_count(cardinality(_ids), p_numbers, 'start');
    IF p_cluster.launch_type = 'simulated' THEN
        -- Without a TTL it takes 20 to 30 seconds, which its id decides.
        UPDATE deployment SET state = 'running', running_date = p_now,
            ends_date = p_now + make_interval(secs => COALESCE(ttl_seconds, 20 + get_byte(decode(md5(id::text), 'hex'), 0) / 25.5)) WHERE id = ANY (_ids);
    END IF;
    DELETE FROM deployment_wait WHERE deployment_id = ANY (_ids);
    PERFORM job_hasten(ARRAY(SELECT job_id FROM provision_deployment WHERE id = ANY (_ids) AND is_complete));
    UPDATE provision_deployment SET is_complete = true WHERE id = ANY (_ids) AND NOT is_complete;
END $$;
COMMENT ON FUNCTION deployment_start(compute_cluster, bigint[], timestamptz) IS 'Gives deployments their share and opens their gates.';

CREATE OR REPLACE FUNCTION deployment_explain(p_cluster uuid, p_decision jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO deployment_wait AS w (deployment_id, tenant_customer_id, org_id, code, reason, promised_date)
    SELECT d.id, d.tenant_customer_id, d.org_id, COALESCE(p_decision -> 'waiting' -> d.number::text ->> 'code', 'reserved'), COALESCE(p_decision -> 'waiting' -> d.number::text ->> 'text', 'waits for room that is being made'),
        CASE p_decision -> 'reservations' ->> d.number::text WHEN 'inf' THEN 'infinity' ELSE to_timestamp((p_decision -> 'reservations' ->> d.number::text)::float8) END
    FROM deployment AS d WHERE d.compute_cluster_id = p_cluster AND d.finished_date IS NULL AND d.state = 'queued'
    ON CONFLICT (deployment_id) DO UPDATE SET code = excluded.code, reason = excluded.reason, promised_date = excluded.promised_date, version = w.version + 1, decided_date = excluded.decided_date
    WHERE (w.code, w.reason, w.promised_date) IS DISTINCT FROM (excluded.code, excluded.reason, excluded.promised_date);
END $$;
COMMENT ON FUNCTION deployment_explain(uuid, jsonb) IS 'Notes why those wait that go on waiting, and what the head was promised.';

CREATE OR REPLACE FUNCTION deployment_next(p_job uuid, p_cluster uuid) RETURNS float8
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: asked by the worker for its own job.
BEGIN
    RETURN (
        SELECT greatest(least(60, extract(EPOCH FROM min(least(d.arrived_date + make_interval(secs => d.queue_ttl_seconds),
            CASE WHEN w.promised_date > engine_now() THEN nullif(w.promised_date, 'infinity') END,
            CASE WHEN d.arrived_date + make_interval(secs => c.max_wait_seconds) > engine_now() THEN d.arrived_date + make_interval(secs => c.max_wait_seconds) END)) - engine_now())), 0.5)
        FROM compute_cluster AS c JOIN deployment AS d ON d.compute_cluster_id = c.id AND d.finished_date IS NULL AND d.state = 'queued' LEFT JOIN deployment_wait AS w ON w.deployment_id = d.id
        WHERE c.id = p_cluster AND c.schedule_job_id = p_job AND c.state = 'active' GROUP BY c.id);
END $$;
COMMENT ON FUNCTION deployment_next(uuid, uuid) IS 'In how many seconds the job has to decide again: somebody''s time to wait is over, or a minute; NULL: another job does, or nobody waits.';

CREATE OR REPLACE FUNCTION deployment_sweep() RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: called by the worker, which may write none of this.
DECLARE
    _cluster compute_cluster;
    _count int := 0;
BEGIN
    FOR _cluster IN
        SELECT c.* FROM compute_cluster AS c WHERE c.state = 'active' AND EXISTS (SELECT FROM deployment AS d WHERE d.compute_cluster_id = c.id AND d.finished_date IS NULL AND d.state = 'queued')
            AND NOT EXISTS (SELECT FROM job AS j WHERE j.id = c.schedule_job_id AND j.finished_date IS NULL)
        ORDER BY c.id FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        PERFORM compute_cluster_wake(_cluster);
        _count := _count + 1;
    END LOOP;
    RETURN _count;
END $$;
COMMENT ON FUNCTION deployment_sweep() IS 'Has clusters decided about that somebody waits for and that have no job, because it failed; returns how many.';

CREATE OR REPLACE FUNCTION deployment_why(p_id uuid) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (SELECT d.reason FROM v_deployment AS d WHERE d.id = p_id AND d.state IN ('pending', 'queued'));
END $$;
COMMENT ON FUNCTION deployment_why(uuid) IS 'Why a deployment waits, as orders explain it; NULL: it does not, or is none.';

-- Running ------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION deployment_runs(p_job uuid, p_claim_no bigint, p_id uuid, p_task_arn text, p_image text, p_is_running boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: told by the worker that has the deployment's job.
BEGIN
    PERFORM effect_fence(p_job, p_claim_no);
    PERFORM FROM compute_cluster WHERE id = (SELECT compute_cluster_id FROM deployment WHERE id = p_id) FOR NO KEY UPDATE;
    UPDATE deployment SET task_arn = p_task_arn, image = COALESCE(p_image, image) WHERE id = p_id AND state IN ('starting', 'running') AND (task_arn, image) IS DISTINCT FROM (p_task_arn, COALESCE(p_image, image));
    UPDATE deployment SET state = 'running', running_date = engine_now(), ends_date = engine_now() + make_interval(secs => ttl_seconds) WHERE p_is_running AND id = p_id AND state = 'starting';
    IF FOUND THEN
        PERFORM compute_cluster_changed((SELECT compute_cluster_id FROM deployment WHERE id = p_id));
    END IF;
END $$;
COMMENT ON FUNCTION deployment_runs(uuid, bigint, uuid, text, text, boolean) IS 'Notes the task of a deployment, the image it is of, and when its container was first seen running; the TTL counts from then.';

CREATE OR REPLACE FUNCTION deployment_vacated(p_job uuid, p_claim_no bigint, p_id uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: told by the worker that has the deployment's job.
BEGIN
    PERFORM effect_fence(p_job, p_claim_no);
    PERFORM FROM compute_cluster WHERE id = (SELECT compute_cluster_id FROM deployment WHERE id = p_id) FOR NO KEY UPDATE;
    UPDATE deployment SET state = 'preempted', result_message = 'made room for a higher class' WHERE id = p_id AND state IN ('starting', 'running') AND stop_kind = 'preempt';
    UPDATE deployment SET state = 'queued', stop_kind = NULL, started_date = NULL, running_date = NULL, ends_date = NULL, task_arn = NULL WHERE id = p_id AND state = 'preempted';
    PERFORM compute_cluster_changed((SELECT compute_cluster_id FROM deployment WHERE id = p_id));
END $$;
COMMENT ON FUNCTION deployment_vacated(uuid, bigint, uuid) IS 'The container of a preempted deployment has ended: it waits again, with the arrival it had.';

CREATE OR REPLACE FUNCTION deployment_end(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _clusters uuid[];
    _done uuid[];
    _broken uuid[];
BEGIN
    _clusters := ARRAY(
        SELECT compute_cluster_id FROM deployment WHERE id = ANY (p_ids)
        UNION SELECT d.compute_cluster_id FROM deployment_dependency AS n JOIN deployment AS d ON d.id = n.deployment_id WHERE n.depends_on_id = ANY (p_ids) AND d.finished_date IS NULL);
    PERFORM FROM compute_cluster WHERE id = ANY (_clusters) ORDER BY id FOR NO KEY UPDATE;
    UPDATE deployment AS d SET finished_date = engine_now(), result_message = COALESCE(CASE WHEN d.stop_kind = 'cancel' THEN d.result_message END, p.result_message),
        state = CASE WHEN p.status_id = tc_id_from_name('provision_status', 'completed') AND d.stop_kind IS DISTINCT FROM 'cancel' THEN 'done'
            WHEN p.status_id = tc_id_from_name('provision_status', 'failed') AND d.stop_kind IS DISTINCT FROM 'cancel' THEN 'failed' ELSE 'cancelled' END
    FROM provision_deployment AS p WHERE p.id = ANY (p_ids) AND d.id = p.id AND d.finished_date IS NULL;
    DELETE FROM deployment_wait WHERE deployment_id = ANY (p_ids);
    SELECT array_agg(id) FILTER (WHERE state = 'done'), array_agg(id) FILTER (WHERE state <> 'done') INTO _done, _broken FROM deployment WHERE id = ANY (p_ids);
    PERFORM deployment_release(_done);
    PERFORM deployment_break(_broken);
    PERFORM compute_cluster_changed(c) FROM unnest(_clusters) AS c ORDER BY c;
    PERFORM job_hasten(ARRAY(SELECT job_id FROM provision_deployment_stop WHERE deployment_id = ANY (p_ids) AND status_id = tc_id_from_name('provision_status', 'processing')));
END $$;
COMMENT ON FUNCTION deployment_end(uuid[]) IS 'Ends deployments as their provision rows have ended: gives back their shares, lets go or cancels who waits for them, and has their clusters decided about.';

CREATE OR REPLACE FUNCTION deployment_release(p_done uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE deployment AS d SET open_dependencies = d.open_dependencies - n.n, state = CASE WHEN d.open_dependencies = n.n THEN 'queued' ELSE d.state END
    FROM (SELECT deployment_id, count(*) AS n FROM deployment_dependency WHERE depends_on_id = ANY (p_done) GROUP BY 1) AS n WHERE d.id = n.deployment_id AND d.state = 'pending';
END $$;
COMMENT ON FUNCTION deployment_release(uuid[]) IS 'Counts deployments that are done off at those that wait for them, and queues those that wait for no more.';

CREATE OR REPLACE FUNCTION deployment_break(p_broken uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE provision_deployment AS p SET status_id = tc_id_from_name('provision_status', 'cancelled'), result_message = n.reason
    FROM (
        SELECT x.deployment_id, min(format('depends on %s (%s), which is %s', d.name, d.number, d.state)) AS reason
        FROM deployment_dependency AS x JOIN deployment AS d ON d.id = x.depends_on_id WHERE x.depends_on_id = ANY (p_broken) GROUP BY 1) AS n
    WHERE p.id = n.deployment_id AND p.status_id = tc_id_from_name('provision_status', 'pending');
END $$;
COMMENT ON FUNCTION deployment_break(uuid[]) IS 'Cancels what waits for deployments that will never be done, which cancels what waits for those.';

-- Clients ------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION deployment_org(p_org text) RETURNS org
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _org org;
BEGIN
    IF p_org IS NULL AND caller_org() IS NULL THEN
        PERFORM refuse('PV422', 'org: is missing', 'none given', 'name the org it is to belong to, by slug or id');
    END IF;
    _org := org_named(COALESCE(p_org, caller_org()::text));
    PERFORM caller_require('order.create', _org.tenant_customer_id, _org.id, 'org', p_org);
    RETURN _org;
END $$;
COMMENT ON FUNCTION deployment_org(text) IS 'The org a new cluster or deployment is to belong to, in which the caller may order: the one named, else the one he acts for.';

CREATE OR REPLACE FUNCTION deployment_check_whole(p_data jsonb[]) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
DECLARE
    _bad record;
BEGIN
    SELECT f.key, f.value INTO _bad FROM unnest(p_data) AS d CROSS JOIN LATERAL jsonb_each(d) AS f
    WHERE f.key = ANY ('{cpu,ram,gpu,total_cpu,total_ram,total_gpu,ttl_seconds,queue_ttl_seconds,max_wait_seconds}') AND jsonb_typeof(f.value) = 'number'
        AND (f.value::numeric % 1 <> 0 OR abs(f.value::numeric) > 2147483647) LIMIT 1;
    IF FOUND THEN
        PERFORM refuse('PV422', _bad.key || ': must be a whole number', left(_bad.value::text, 100), 'at most 2147483647');
    END IF;
END $$;
COMMENT ON FUNCTION deployment_check_whole(jsonb[]) IS 'Refuses fractions and numbers too large for where whole ones are asked for, naming the field.';

CREATE OR REPLACE FUNCTION compute_cluster_create(p jsonb) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _org org;
    _id uuid;
BEGIN
    PERFORM check_fields('cluster', ARRAY[p], '{name,total_cpu,total_ram,total_gpu}', '{"name": "string", "total_cpu": "number", "total_ram": "number", "total_gpu": "number", "launch_type": "string|null",
        "objective": "string|null", "solver": "string|null", "backfill": "string|null", "preemption": "boolean|null", "max_wait_seconds": "number|null", "org": "string|null"}');
    PERFORM deployment_check_whole(ARRAY[p]);
    _org := deployment_org(p ->> 'org');
    INSERT INTO provision_compute_cluster (tenant_customer_id, org_id, name, total_cpu, total_ram, total_gpu, launch_type, objective, solver, backfill, preemption, max_wait_seconds)
    SELECT _org.tenant_customer_id, _org.id, r.name, r.total_cpu, r.total_ram, r.total_gpu, lower(r.launch_type), COALESCE(r.objective, 'auto'), COALESCE(r.solver, 'auto'), COALESCE(r.backfill, 'reserve'),
        COALESCE(r.preemption, false), r.max_wait_seconds FROM jsonb_populate_record(NULL::provision_compute_cluster, p - 'org') AS r RETURNING id INTO _id;
    RETURN _id;
END $$;
COMMENT ON FUNCTION compute_cluster_create(jsonb) IS 'Makes a cluster: name, total_cpu, total_ram, total_gpu, launch_type, objective, solver, backfill, preemption, max_wait_seconds, org. Deployments may wait for it at once.';

CREATE OR REPLACE FUNCTION compute_cluster_for(p_id uuid, p_permission text, p_version bigint DEFAULT NULL) RETURNS compute_cluster
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _cluster compute_cluster;
BEGIN
    SELECT * INTO _cluster FROM compute_cluster WHERE id = p_id AND deleted_date IS NULL;
    PERFORM caller_require(p_permission, _cluster.tenant_customer_id, _cluster.org_id, 'cluster', p_id::text);
    SELECT * INTO _cluster FROM compute_cluster WHERE id = p_id FOR NO KEY UPDATE;
    PERFORM check_version('cluster', _cluster.generation, p_version);
    RETURN _cluster;
END $$;
COMMENT ON FUNCTION compute_cluster_for(uuid, text, bigint) IS 'A cluster for which the caller holds a right, locked.';

CREATE OR REPLACE FUNCTION compute_cluster_change(p_id uuid, p jsonb, p_version bigint DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _cluster compute_cluster;
BEGIN
    PERFORM check_fields('cluster', ARRAY[p], '{}', '{"total_cpu": "number", "total_ram": "number", "total_gpu": "number", "objective": "string", "solver": "string", "backfill": "string", "preemption": "boolean", "max_wait_seconds": "number|null"}');
    PERFORM deployment_check_whole(ARRAY[p]);
    _cluster := compute_cluster_for(p_id, 'order.create', p_version);
    INSERT INTO provision_compute_cluster_update (tenant_customer_id, org_id, compute_cluster_id, total_cpu, total_ram, total_gpu, objective, solver, backfill, preemption, max_wait_seconds)
    SELECT _cluster.tenant_customer_id, _cluster.org_id, p_id, r.total_cpu, r.total_ram, r.total_gpu, r.objective, r.solver, r.backfill, r.preemption,
        CASE WHEN p -> 'max_wait_seconds' = 'null' THEN 0 ELSE r.max_wait_seconds END FROM jsonb_populate_record(NULL::provision_compute_cluster_update, p) AS r;
END $$;
COMMENT ON FUNCTION compute_cluster_change(uuid, jsonb, bigint) IS 'Changes a cluster: total_cpu, total_ram, total_gpu, objective, solver, backfill, preemption, max_wait_seconds.';

CREATE OR REPLACE FUNCTION compute_cluster_remove(p_id uuid, p_version bigint DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _cluster constant compute_cluster := compute_cluster_for(p_id, 'order.create', p_version);
BEGIN
    INSERT INTO provision_compute_cluster_delete (tenant_customer_id, org_id, compute_cluster_id) VALUES (_cluster.tenant_customer_id, _cluster.org_id, p_id);
END $$;
COMMENT ON FUNCTION compute_cluster_remove(uuid, bigint) IS 'Deletes a cluster in which nothing waits or runs.';

CREATE OR REPLACE FUNCTION compute_cluster_trigger(p_id uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
BEGIN
    PERFORM compute_cluster_changed((compute_cluster_for(p_id, 'order.create')).id);
END $$;
COMMENT ON FUNCTION compute_cluster_trigger(uuid) IS 'Has a cluster decided about anew.';

CREATE OR REPLACE FUNCTION deployment_named(p_org uuid, p_field text, p_names jsonb) RETURNS uuid[]
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _unknown text;
BEGIN
    SELECT n INTO _unknown FROM jsonb_array_elements_text(p_names) AS n WHERE NOT EXISTS (SELECT FROM deployment AS d WHERE d.org_id = p_org AND n IN (d.number::text, d.id::text)) LIMIT 1;
    IF FOUND THEN
        PERFORM refuse('PV404', p_field || ': deployment not found', left(_unknown, 100), 'name deployments of the same org by id');
    END IF;
    RETURN ARRAY(SELECT d.id FROM deployment AS d WHERE d.org_id = p_org AND (p_names ?| ARRAY[d.number::text, d.id::text] OR p_names @> to_jsonb(d.number)));
END $$;
COMMENT ON FUNCTION deployment_named(uuid, text, jsonb) IS 'Deployments of an org by their numbers or ids; p_field: where they were named.';

CREATE OR REPLACE FUNCTION compute_cluster_named(p_org uuid, p_name text) RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _id constant uuid := (
        SELECT id FROM compute_cluster WHERE org_id = p_org AND deleted_date IS NULL AND (lower(name) = lower(p_name) OR id = uuid_of(p_name)) ORDER BY id = uuid_of(p_name) DESC NULLS LAST LIMIT 1);
BEGIN
    IF _id IS NULL THEN
        PERFORM refuse('PV404', 'cluster: cluster not found', left(p_name, 100), 'name one of your org');
    END IF;
    RETURN _id;
END $$;
COMMENT ON FUNCTION compute_cluster_named(uuid, text) IS 'A cluster of an org by its name or id.';

CREATE OR REPLACE FUNCTION deployment_resolved(p_org uuid, p jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _priority constant smallint := (SELECT priority FROM deployment_priority WHERE COALESCE(p ->> 'priority', '0') IN (name, lower(name), priority::text));
BEGIN
    IF _priority IS NULL THEN
        PERFORM refuse('PV422', 'priority: is not known', left(p ->> 'priority', 100), (SELECT 'one of ' || string_agg(name, ', ' ORDER BY priority DESC) FROM deployment_priority));
    END IF;
    RETURN p - 'cluster' || jsonb_build_object('compute_cluster_id', compute_cluster_named(p_org, p ->> 'cluster'), 'priority', _priority,
        'depends_on', deployment_named(p_org, 'depends_on', COALESCE(nullif(p -> 'depends_on', 'null'), '[]')));
END $$;
COMMENT ON FUNCTION deployment_resolved(uuid, jsonb) IS 'What was asked for with names turned into ids: cluster, priority, depends_on.';

CREATE OR REPLACE FUNCTION deployment_create(p jsonb) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _org org;
    _id uuid;
BEGIN
    PERFORM check_fields('deployment', ARRAY[p], '{name,cpu,ram,gpu,priority,docker_path,cluster}', '{"name": "string", "cpu": "number", "ram": "number", "gpu": "number", "priority": "string|number", "docker_path": "string",
        "cluster": "string", "ttl_seconds": "number|null", "queue_ttl_seconds": "number|null", "depends_on": "array|null", "org": "string|null"}');
    PERFORM deployment_check_whole(ARRAY[p]);
    _org := deployment_org(p ->> 'org');
    INSERT INTO provision_deployment (tenant_customer_id, org_id, compute_cluster_id, name, cpu, ram, gpu, priority, docker_path, ttl_seconds, queue_ttl_seconds, depends_on)
    SELECT _org.tenant_customer_id, _org.id, r.compute_cluster_id, r.name, r.cpu, r.ram, r.gpu, r.priority, r.docker_path, r.ttl_seconds, r.queue_ttl_seconds, r.depends_on
    FROM jsonb_populate_record(NULL::provision_deployment, deployment_resolved(_org.id, p - 'org')) AS r RETURNING id INTO _id;
    RETURN _id;
END $$;
COMMENT ON FUNCTION deployment_create(jsonb) IS 'Asks for a deployment: name, cpu, ram, gpu, priority, docker_path, cluster (name or id), ttl_seconds, queue_ttl_seconds, depends_on (numbers or ids), org.';

CREATE OR REPLACE FUNCTION deployment_cancel(p_id uuid, p_reason text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _deployment deployment;
BEGIN
    SELECT * INTO _deployment FROM deployment WHERE id = p_id;
    PERFORM caller_require('order.cancel', _deployment.tenant_customer_id, _deployment.org_id, 'deployment', p_id::text);
    INSERT INTO provision_deployment_stop (tenant_customer_id, org_id, deployment_id, reason) VALUES (_deployment.tenant_customer_id, _deployment.org_id, p_id, p_reason);
END $$;
COMMENT ON FUNCTION deployment_cancel(uuid, text) IS 'Cancels a deployment: at once if it waits, else as soon as its container has ended.';

-- Users of the root surface ------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION deployment_register(p_username text, p_password_hash text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: users are made only through functions.
DECLARE
    _user app_user;
BEGIN
    INSERT INTO app_user (username, is_platform_admin) VALUES (p_username, first_admin_wanted()) ON CONFLICT DO NOTHING RETURNING * INTO _user;
    IF _user.id IS NULL THEN
        PERFORM refuse('PV409', 'username: is taken', p_username, 'choose another');
    END IF;
    PERFORM password_store(_user.id, p_password_hash);
    RETURN _user.number;
END $$;
COMMENT ON FUNCTION deployment_register(text, text) IS 'Signs somebody up without an e-mail address; the first becomes platform admin where that is allowed.';

CREATE OR REPLACE FUNCTION deployment_home(p_user uuid, p_customer uuid, p_org uuid) RETURNS TABLE (tenant_customer_id uuid, org_id uuid)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: decides for whom a request acts before there is a caller.
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT m.tenant_customer_id, m.org_id FROM membership_live(p_user) AS m
    WHERE m.org_kind = 'organization' AND (p_customer IS NULL OR m.tenant_customer_id = p_customer) AND (p_org IS NULL OR m.org_id = p_org)
    ORDER BY m.number DESC LIMIT 1;
END $$;
COMMENT ON FUNCTION deployment_home(uuid, uuid, uuid) IS 'The organization a user has last joined, within what a key is limited to; no row: none.';

CREATE OR REPLACE FUNCTION deployment_admin() RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF caller_platform() IS DISTINCT FROM 'all' OR caller_setting('caller_customer') IS NOT NULL THEN
        PERFORM refuse('PV403', 'the right to do this is not held', 'ADMIN', 'ask an admin');
    END IF;
END $$;
COMMENT ON FUNCTION deployment_admin() IS 'Refuses whoever is not an admin of the whole installation.';

CREATE OR REPLACE FUNCTION deployment_role(p_user uuid) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (SELECT CASE WHEN is_platform_admin THEN 'ADMIN' ELSE upper(default_role) END FROM app_user WHERE id = p_user);
END $$;
COMMENT ON FUNCTION deployment_role(uuid) IS 'The role of a user as the root surface has it: ADMIN, DEVELOPER or VIEWER.';

CREATE OR REPLACE FUNCTION deployment_role_change(p_number bigint, p_role text) RETURNS TABLE (id bigint, username text, role text, organization_id bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
#variable_conflict use_column
DECLARE
    _user app_user;
    _role constant text := lower(p_role);
BEGIN
    PERFORM deployment_admin();
    IF _role NOT IN ('admin', 'developer', 'viewer') THEN
        PERFORM refuse('PV422', 'role: is not known', left(p_role, 100), 'ADMIN, DEVELOPER or VIEWER');
    END IF;
    -- As first_admin_wanted() does: of two who take the role from each other one comes second.
    PERFORM FROM setting WHERE name = 'allow_first_admin' FOR UPDATE;
    SELECT * INTO _user FROM app_user AS u WHERE u.number = p_number AND u.removed_date IS NULL AND NOT u.is_technical FOR NO KEY UPDATE;
    IF _user.id IS NULL THEN
        PERFORM refuse('PV404', 'user_id: user not found', p_number::text, 'name somebody who has registered');
    ELSIF _user.is_platform_admin AND _role <> 'admin' AND NOT EXISTS (SELECT FROM app_user AS u WHERE u.is_platform_admin AND u.status = 'active' AND u.id <> _user.id) THEN
        PERFORM refuse('PV409', 'role: the last admin stays', _user.username, 'make somebody else an admin first');
    END IF;
    UPDATE app_user AS u SET is_platform_admin = _role = 'admin', default_role = CASE _role WHEN 'admin' THEN u.default_role ELSE _role END WHERE u.id = _user.id;
    UPDATE membership AS m SET role = _role FROM membership_live(_user.id) AS l WHERE m.id = l.id AND l.org_kind = 'organization' AND l.role IN ('developer', 'viewer') AND _role <> 'admin' AND l.role <> _role;
    RETURN QUERY SELECT _user.number, _user.username, deployment_role(_user.id), (SELECT o.number FROM deployment_home(_user.id, NULL, NULL) AS h JOIN org AS o ON o.id = h.org_id);
END $$;
COMMENT ON FUNCTION deployment_role_change(bigint, text) IS 'Makes a user ADMIN, DEVELOPER or VIEWER: the platform''s flag, or the default role with the memberships that have one of the two.';

CREATE OR REPLACE FUNCTION deployment_org_create(p_name text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the caller is asked for the right inside.
DECLARE
    _account uuid;
    _org uuid;
    _code text;
BEGIN
    PERFORM deployment_admin();
    PERFORM deployment_check_name(p_name);
    PERFORM label_lock();
    IF EXISTS (SELECT FROM org WHERE slug = label(p_name) AND status = 'active') THEN
        PERFORM refuse('PV409', 'name: there is an organization of that name', p_name, 'take another');
    END IF;
    INSERT INTO tenant (name) SELECT 'default' WHERE NOT EXISTS (SELECT FROM tenant);
    _account := customer_add(tenant_named(NULL), p_name, new_id() || '@organization.invalid');
    INSERT INTO org (tenant_customer_id, name) VALUES (_account, p_name) RETURNING id INTO _org;
    INSERT INTO membership (user_id, tenant_customer_id, org_id, role) SELECT u.id, _account, _org, 'owner' FROM app_user AS u WHERE u.id = caller_user() AND NOT u.is_technical;
    INSERT INTO invite_code (tenant_customer_id, org_id, code) VALUES (_account, _org, invite_code_new()) RETURNING code INTO _code;
    RETURN _code;
END $$;
COMMENT ON FUNCTION deployment_org_create(text) IS 'Makes an organization with a customer of its own, whose owner the caller becomes; returns its invite code.';

CREATE OR REPLACE FUNCTION deployment_org_join(p_code text) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: who has the code is let into what is another's.
DECLARE
    _id constant uuid := invite_code_use(p_code);
BEGIN
    UPDATE membership AS m SET role = u.default_role FROM app_user AS u WHERE m.id = _id AND m.role = 'viewer' AND u.id = m.user_id AND u.default_role <> 'viewer';
    RETURN _id;
END $$;
COMMENT ON FUNCTION deployment_org_join(text) IS 'Makes the caller a member of the organization an invite code is for, in his default role if that is more than the code''s; returns the membership.';
