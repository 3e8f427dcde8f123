-- Jobs: made by job inserts (the trigger job_inserted queues them and wakes a sleeper), claimed with job_claim(), ended or
-- put off with job_record(), given back by engine_sweep(). When jobs end, job_settled carries the outcome to their
-- provision rows and counts them off at their parents. Operators have job_hold, job_release, job_retry, job_cancel and
-- job_complete.

CREATE OR REPLACE FUNCTION job_enqueue(p_jobs uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _lane constant uuid := '00000000-0000-0000-0000-000000000000';
BEGIN
    INSERT INTO job_queue (lane, priority, start_date, job_id, type)
    SELECT COALESCE(j.accreditation_id, _lane), j.priority, j.start_date, j.id, j.type
    FROM job AS j WHERE j.id = ANY (p_jobs) AND j.status = 'submitted' AND j.held_at IS NULL;
    -- A job that waited before may lie below its lane's mark, where no claim looks. Nobody waits for a lane: one that is
    -- being claimed from is left to the sweeper.
    UPDATE job_lane SET mark_date = '-infinity', mark_id = _lane WHERE ctid = ANY (ARRAY(
        SELECT l.ctid FROM job_lane AS l
        WHERE l.mark_date > '-infinity' AND EXISTS (
            SELECT FROM job_queue AS q WHERE q.job_id = ANY (p_jobs) AND q.lane = l.lane AND q.priority = l.priority AND (q.start_date, q.job_id) <= (l.mark_date, l.mark_id))
        FOR UPDATE SKIP LOCKED));
    PERFORM job_wake();
END $$;
COMMENT ON FUNCTION job_enqueue(uuid[]) IS 'Makes jobs claimable.';

CREATE OR REPLACE FUNCTION job_wake() RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    -- A NOTIFY ends group commit, so it is sent only while somebody sleeps: the sleeper holds the lock exclusively.
    IF NOT pg_try_advisory_xact_lock_shared(job_wake_key()) THEN
        NOTIFY job_wake;
    END IF;
END $$;
COMMENT ON FUNCTION job_wake() IS 'Wakes a sleeping worker at commit, if one sleeps.';

CREATE OR REPLACE FUNCTION job_hasten(p_jobs uuid[]) RETURNS uuid[]
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    -- What is being claimed at this moment is waited for, and is not in the queue any more then.
    _jobs constant uuid[] := job_dequeue(p_jobs);
BEGIN
    IF cardinality(_jobs) > 0 THEN
        UPDATE job SET start_date = least(start_date, engine_now()) WHERE id = ANY (_jobs);
        PERFORM job_enqueue(_jobs);
    END IF;
    RETURN _jobs;
END $$;
COMMENT ON FUNCTION job_hasten(uuid[]) IS 'Has jobs that wait look again now; returns those that waited: the others are in a worker''s hands, held, or have ended. Nobody claims them before this transaction ends.';

CREATE OR REPLACE FUNCTION job_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the queue is written only through here.
DECLARE
    _lane constant uuid := '00000000-0000-0000-0000-000000000000';
BEGIN
    INSERT INTO job_queue (lane, priority, start_date, job_id, type)
    SELECT COALESCE(accreditation_id, _lane), priority, start_date, id, type FROM new_rows WHERE status = 'submitted' AND held_at IS NULL;
    PERFORM job_wake();
    RETURN NULL;
END $$;
COMMENT ON FUNCTION job_inserted() IS 'Queues new jobs.';
SELECT class.replace_trigger('job_inserted_tg', 'job', 'AFTER INSERT ON {table} REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT', 'job_inserted()');

-- Workers ------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION worker_register(p_name text, p_host text, p_pid int, p_version text, p_types text[]) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: workers are written only through these functions.
DECLARE
    _id uuid;
BEGIN
    INSERT INTO worker (name, host, pid, version, types) VALUES (p_name, p_host, p_pid, p_version, p_types) RETURNING id INTO _id;
    RETURN _id;
END $$;
COMMENT ON FUNCTION worker_register(text, text, int, text, text[]) IS 'A worker begins; returns the id it claims with.';

CREATE OR REPLACE FUNCTION worker_heartbeat(p_worker uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: workers are written only through these functions.
BEGIN
    UPDATE worker SET heartbeat_date = clock_timestamp() WHERE id = p_worker;
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION worker_heartbeat(uuid) IS 'A worker is alive; false: it was taken for dead, and everything it held was given back.';

CREATE OR REPLACE FUNCTION worker_deregister(p_worker uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: workers are written only through these functions.
DECLARE
    _jobs uuid[];
BEGIN
    DELETE FROM worker WHERE id = p_worker;
    _jobs := job_lease_end(ARRAY(SELECT job_id FROM job_lease WHERE worker_id = p_worker));
    PERFORM job_enqueue(_jobs);
END $$;
COMMENT ON FUNCTION worker_deregister(uuid) IS 'A worker ends; what it still holds goes back to the queue.';

CREATE OR REPLACE FUNCTION job_lease_end(p_jobs uuid[]) RETURNS uuid[]
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _jobs uuid[];
BEGIN
    WITH gone AS (DELETE FROM job_lease WHERE job_id = ANY (p_jobs) RETURNING job_id)
    SELECT COALESCE(array_agg(job_id), '{}') INTO _jobs FROM gone;
    RETURN _jobs;
END $$;
COMMENT ON FUNCTION job_lease_end(uuid[]) IS 'Ends leases; returns the jobs that had one.';

CREATE OR REPLACE FUNCTION job_claim_lane(p_worker uuid, p_types text[], p_lane job_lane, p_limit int, p_claim_no bigint) RETURNS uuid[]
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _rows tid[];
    _jobs uuid[];
    _mark_date timestamptz;
    _mark_id uuid;
BEGIN
    SELECT array_agg(q.ctid) INTO _rows FROM (
        SELECT ctid FROM job_queue
        WHERE lane = p_lane.lane AND priority = p_lane.priority AND (start_date, job_id) > (p_lane.mark_date, p_lane.mark_id)
            AND start_date <= engine_now() AND type = ANY (p_types)
        ORDER BY start_date, job_id LIMIT p_limit FOR UPDATE SKIP LOCKED) AS q;
    WITH gone AS (DELETE FROM job_queue WHERE ctid = ANY (_rows) RETURNING *),
        leased AS (
            INSERT INTO job_lease (job_id, worker_id, claim_no, lane)
            SELECT g.job_id, p_worker, p_claim_no + row_number() OVER (ORDER BY g.start_date, g.job_id), g.lane FROM gone AS g RETURNING job_id)
    SELECT l.jobs, g.start_date, g.job_id INTO _jobs, _mark_date, _mark_id
    FROM (SELECT array_agg(job_id) AS jobs FROM leased) AS l
    LEFT JOIN (SELECT start_date, job_id FROM gone ORDER BY start_date DESC, job_id DESC LIMIT 1) AS g ON true;
    UPDATE job_lane SET claimed_date = clock_timestamp(), mark_date = COALESCE(_mark_date, mark_date), mark_id = COALESCE(_mark_id, mark_id)
    WHERE lane = p_lane.lane AND priority = p_lane.priority;
    RETURN _jobs;
END $$;
COMMENT ON FUNCTION job_claim_lane(uuid, text[], job_lane, int, bigint) IS 'Moves due jobs of one locked lane from the queue to leases, oldest first; returns them; their claim numbers follow p_claim_no.';

CREATE OR REPLACE FUNCTION job_lane_room(p_lane uuid) RETURNS int
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _limit int := (SELECT CASE WHEN held_date IS NULL THEN max_concurrency ELSE 0 END FROM accreditation WHERE id = p_lane);
BEGIN
    IF _limit IS NULL THEN
        RETURN 2147483647;
    END IF;
    RETURN _limit - (SELECT count(*) FROM job_lease WHERE lane = p_lane);
END $$;
COMMENT ON FUNCTION job_lane_room(uuid) IS 'How many more jobs of a lane may run at once; none of one that is held.';

CREATE OR REPLACE FUNCTION job_lanes_full() RETURNS uuid[]
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN ARRAY(
        SELECT id FROM accreditation WHERE held_date IS NOT NULL
        UNION ALL
        SELECT a.id FROM (SELECT lane, count(*) AS number FROM job_lease GROUP BY lane) AS l JOIN accreditation AS a ON a.id = l.lane WHERE l.number >= a.max_concurrency);
END $$;
COMMENT ON FUNCTION job_lanes_full() IS 'Lanes that take no further job now: held, or at their limit.';

CREATE OR REPLACE FUNCTION job_claim(p_worker uuid, p_types text[], p_limit int)
RETURNS TABLE (job_id uuid, claim_no bigint, type text, accreditation_id uuid, reference_table text, reference_id uuid,
    data jsonb, state jsonb, attempts int, max_attempts int, parent_id uuid, traceparent text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_memoize = off SET jit = off AS $$
-- SECURITY DEFINER: queue and leases are written only through here.
#variable_conflict use_column
DECLARE
    _lane job_lane;
    _jobs uuid[] := '{}';
    _room int;
    -- A time and not a sequence: a number must not come again after a crash that forgot the claim.
    _claim_no constant bigint := extract(EPOCH FROM clock_timestamp()) * 1000000;
    -- Asked once for all lanes; whether there is room is asked again under the lock.
    _full constant uuid[] := job_lanes_full();
    _now constant timestamptz := engine_now();
BEGIN
    -- A claim need not wait for the disk. If a crash forgets it, the job is in the queue as before, and whoever still holds
    -- it is refused; what it does outside begins with effect_begin(), whose commit brings the claim to the disk first.
    PERFORM set_config('synchronous_commit', 'off', true);
    IF NOT EXISTS (SELECT FROM worker WHERE id = p_worker) THEN
        PERFORM refuse('PVF01', 'the worker is not registered', p_worker::text, 'register anew; what it held was given back');
    END IF;
    FOR _lane IN
        SELECT l.* FROM job_lane AS l
        WHERE EXISTS (
            SELECT FROM job_queue AS q WHERE q.lane = l.lane AND q.priority = l.priority
                AND (q.start_date, q.job_id) > (l.mark_date, l.mark_id) AND q.start_date <= _now AND q.type = ANY (p_types))
            AND l.lane <> ALL (_full)
        ORDER BY l.priority, l.claimed_date LIMIT p_limit FOR UPDATE OF l SKIP LOCKED
    LOOP
        EXIT WHEN cardinality(_jobs) >= p_limit;
        -- Several priorities of one accreditation are several lanes; only this lock makes their count of leases one.
        PERFORM FROM job_lane AS l WHERE l.lane = _lane.lane AND l.priority = 0 FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        _room := least(job_lane_room(_lane.lane), p_limit - cardinality(_jobs));
        CONTINUE WHEN _room <= 0;
        _jobs := _jobs || COALESCE(job_claim_lane(p_worker, p_types, _lane, _room, _claim_no + cardinality(_jobs)), '{}');
    END LOOP;
    RETURN QUERY
    SELECT j.id, l.claim_no, j.type, j.accreditation_id, j.reference_table, j.reference_id, j.data, j.state, j.attempts, j.max_attempts, j.parent_id, j.traceparent
    FROM job_lease AS l JOIN job AS j ON j.id = l.job_id
    WHERE l.job_id = ANY (_jobs) AND l.worker_id = p_worker ORDER BY l.claim_no;
END $$;
COMMENT ON FUNCTION job_claim(uuid, text[], int) IS 'Takes up to p_limit due jobs of the given types from lanes that have room, most urgent lanes first and the longest unserved among those; claim_no is the fencing token of the result.';

CREATE OR REPLACE FUNCTION job_next_due(p_types text[]) RETURNS timestamptz
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the queue has no grants.
BEGIN
    -- From lane to lane that has jobs: of many accreditations few have.
    RETURN (
        WITH RECURSIVE used AS (
            (SELECT q.lane, q.priority FROM job_queue AS q ORDER BY q.lane, q.priority LIMIT 1)
            UNION ALL
            SELECT n.lane, n.priority FROM used AS u CROSS JOIN LATERAL (
                SELECT q.lane, q.priority FROM job_queue AS q WHERE (q.lane, q.priority) > (u.lane, u.priority) ORDER BY q.lane, q.priority LIMIT 1) AS n)
        SELECT min((SELECT q.start_date FROM job_queue AS q
            WHERE q.lane = u.lane AND q.priority = u.priority AND q.type = ANY (p_types) ORDER BY q.start_date, q.job_id LIMIT 1))
        FROM used AS u WHERE u.lane <> ALL (ARRAY(SELECT a.id FROM accreditation AS a WHERE a.held_date IS NOT NULL)));
END $$;
COMMENT ON FUNCTION job_next_due(text[]) IS 'When the next job of these types can be claimed; NULL: none waits, but where accreditations are held.';

CREATE OR REPLACE FUNCTION job_children(p_job uuid)
RETURNS TABLE (id uuid, type text, status text, data jsonb, result jsonb, result_message text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: read by the worker for its own jobs.
BEGIN
    RETURN QUERY SELECT j.id, j.type, j.status, j.data, j.result, j.result_message FROM job AS j WHERE j.parent_id = p_job ORDER BY j.id;
END $$;
COMMENT ON FUNCTION job_children(uuid) IS 'The child jobs of a job and what came of them.';

-- Results ------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION job_record(p_worker uuid, p_results jsonb) RETURNS SETOF uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_memoize = off SET jit = off AS $$
-- SECURITY DEFINER: jobs and leases are written only through here.
DECLARE
    _refused uuid[];
    _open uuid[];
BEGIN
    WITH r AS MATERIALIZED (
            SELECT * FROM jsonb_to_recordset(p_results) AS x (job_id uuid, claim_no bigint, outcome text, message text, result jsonb)),
        held AS (
            DELETE FROM job_lease AS l USING r WHERE l.job_id = r.job_id AND l.claim_no = r.claim_no AND l.worker_id = p_worker RETURNING r.*),
        ended AS (
            UPDATE job AS j SET status = h.outcome, previous_status = j.status, result = h.result, result_message = left(h.message, 1000), claim_no = h.claim_no, finished_date = engine_now()
            FROM held AS h WHERE j.id = h.job_id AND h.outcome IN ('completed', 'failed', 'cancelled') RETURNING j.id)
    SELECT (SELECT array_agg(job_id) FROM r WHERE NOT EXISTS (SELECT FROM held AS h WHERE h.job_id = r.job_id)),
        (SELECT array_agg(job_id) FROM held WHERE (outcome IN ('completed', 'failed', 'cancelled')) IS NOT TRUE)
    INTO _refused, _open;
    IF _open IS NOT NULL THEN
        PERFORM job_put_off(p_results, _open);
    END IF;
    RETURN QUERY SELECT unnest(_refused);
END $$;
COMMENT ON FUNCTION job_record(uuid, jsonb) IS 'Takes the results of a worker in one go, each only under its claim_no; returns the jobs whose lease it no longer held.';

CREATE OR REPLACE FUNCTION job_put_off(p_results jsonb, p_jobs uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _unknown text;
    _spent uuid[];
    _pending uuid[];
BEGIN
    SELECT COALESCE(x ->> 'outcome', 'none given') INTO _unknown FROM jsonb_array_elements(p_results) AS x
    WHERE (x ->> 'outcome' IN ('completed', 'failed', 'cancelled', 'retry', 'again', 'pending', 'hand_back', 'children', 'hold')) IS NOT TRUE LIMIT 1;
    IF FOUND THEN
        PERFORM refuse('PV400', 'unknown outcome', _unknown, 'completed, failed, cancelled, retry, again, pending, hand_back, children or hold');
    END IF;
    WITH r AS (
        SELECT * FROM jsonb_to_recordset(p_results) AS x (job_id uuid, claim_no bigint, outcome text, message text, state jsonb, after_seconds float8, children jsonb)
        WHERE x.job_id = ANY (p_jobs))
    UPDATE job AS j SET
        attempts = j.attempts + (r.outcome = 'retry')::int,
        state = COALESCE(r.state, j.state),
        result_message = COALESCE(left(r.message, 1000), j.result_message),
        claim_no = r.claim_no,
        held_at = CASE WHEN r.outcome = 'hold' THEN engine_now() END,
        started_date = CASE WHEN r.outcome = 'hand_back' THEN j.started_date ELSE COALESCE(j.started_date, engine_now()) END,
        start_date = CASE r.outcome WHEN 'hand_back' THEN j.start_date
            ELSE engine_now() + make_interval(secs => greatest(COALESCE(r.after_seconds, 0), CASE WHEN r.outcome = 'retry' THEN job_backoff(j.attempts) ELSE 0 END)) END
    FROM r WHERE j.id = r.job_id;
    SELECT array_agg(id) FILTER (WHERE attempts >= max_attempts) INTO _spent FROM job WHERE id = ANY (p_jobs);
    IF _spent IS NOT NULL THEN
        UPDATE job SET status = 'failed', finished_date = engine_now() WHERE id = ANY (_spent);
    END IF;
    PERFORM job_spawn((x ->> 'job_id')::uuid, x -> 'children') FROM jsonb_array_elements(p_results) AS x
    WHERE x ->> 'outcome' = 'children' AND (x ->> 'job_id')::uuid = ANY (p_jobs);
    SELECT array_agg((x ->> 'job_id')::uuid) INTO _pending FROM jsonb_array_elements(p_results) AS x WHERE x ->> 'outcome' = 'pending';
    PERFORM job_enqueue(p_jobs);
    -- What was not begun shows nothing new, and must not wait for a row that somebody else has locked; what is held may be
    -- held because its row takes nothing.
    PERFORM job_mirror(ARRAY(SELECT (x ->> 'job_id')::uuid FROM jsonb_array_elements(p_results) AS x
        WHERE x ->> 'outcome' NOT IN ('hand_back', 'hold') AND (x ->> 'job_id')::uuid = ANY (p_jobs)), COALESCE(_pending, '{}'));
END $$;
COMMENT ON FUNCTION job_put_off(jsonb, uuid[]) IS 'What job_record does with jobs that have not ended: count the attempt, remember the state, queue them for later, hold them for a person, or fail them when their attempts are used up.';

CREATE OR REPLACE FUNCTION job_backoff(p_attempts int) RETURNS float8
LANGUAGE plpgsql VOLATILE SET search_path = public, pg_temp AS $$
BEGIN
    -- Full jitter: anywhere between now and the doubled limit, so that those who failed together do not return together.
    RETURN random() * least(setting_value('retry_limit_seconds')::float8, setting_value('retry_base_seconds')::float8 * 2 ^ least(p_attempts, 30));
END $$;
COMMENT ON FUNCTION job_backoff(int) IS 'Seconds to wait after a failed attempt: exponential with full jitter.';

CREATE OR REPLACE FUNCTION job_spawn(p_parent uuid, p_children jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _count int := jsonb_array_length(p_children);
BEGIN
    IF COALESCE(_count, 0) = 0 THEN
        PERFORM refuse('PV400', 'no child jobs given', p_parent::text, 'outcome children needs a list of {"type", "data"}');
    END IF;
    UPDATE job SET status = 'created', open_count = _count WHERE id = p_parent;
    INSERT INTO job (type, tenant_customer_id, org_id, accreditation_id, data, priority, max_attempts, parent_id, traceparent)
    SELECT c.type, p.tenant_customer_id, p.org_id, p.accreditation_id, COALESCE(c.data, '{}'), p.priority,
        (SELECT t.max_attempts FROM job_type AS t WHERE t.name = c.type), p.id, p.traceparent
    FROM job AS p CROSS JOIN LATERAL jsonb_to_recordset(p_children) AS c (type text, data jsonb) WHERE p.id = p_parent;
END $$;
COMMENT ON FUNCTION job_spawn(uuid, jsonb) IS 'Gives a job children; it is claimed again when all of them have ended.';

CREATE OR REPLACE FUNCTION job_mirror(p_jobs uuid[], p_pending uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _part record;
BEGIN
    FOR _part IN
        SELECT reference_table, array_agg(id) AS ids FROM job
        WHERE id = ANY (p_jobs) AND reference_table IS NOT NULL AND started_date IS NOT NULL AND finished_date IS NULL GROUP BY 1 ORDER BY 1
    LOOP
        EXECUTE format('SELECT %I($1, $2)', _part.reference_table || '_mirror') USING _part.ids, p_pending;
    END LOOP;
END $$;
COMMENT ON FUNCTION job_mirror(uuid[], uuid[]) IS 'Shows on provision rows how their unfinished jobs stand.';

CREATE OR REPLACE FUNCTION job_settled() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: carries outcomes to rows no worker may write.
DECLARE
    _part record;
    _ready uuid[];
    _kinds int;
    _is_broken boolean;
BEGIN
    SELECT count(DISTINCT reference_table), bool_or(status <> 'completed') INTO _kinds, _is_broken FROM new_rows WHERE finished_date IS NOT NULL;
    IF _is_broken THEN
        -- What these have done outside is there, and no row will say so.
        UPDATE effect SET status = 'orphaned' WHERE status = 'done' AND job_id IN (SELECT id FROM new_rows WHERE status IN ('failed', 'cancelled'));
    END IF;
    -- Several kinds lock their orders in several goes, unless all of them are locked before.
    IF _kinds > 1 THEN
        PERFORM plan_lock(ARRAY(SELECT unnest(p.order_item_plan_ids) FROM class.provision AS p WHERE p.id IN (SELECT reference_id FROM new_rows WHERE finished_date IS NOT NULL)));
    END IF;
    FOR _part IN
        SELECT reference_table, array_agg(id) AS ids FROM new_rows
        WHERE finished_date IS NOT NULL AND reference_table IS NOT NULL GROUP BY 1 ORDER BY 1
    LOOP
        EXECUTE format('SELECT %I($1)', _part.reference_table || '_settle') USING _part.ids;
    END LOOP;
    IF EXISTS (SELECT FROM new_rows WHERE finished_date IS NOT NULL AND parent_id IS NOT NULL) THEN
        PERFORM FROM job WHERE id IN (SELECT parent_id FROM new_rows WHERE finished_date IS NOT NULL) ORDER BY id FOR UPDATE;
        WITH counted AS (
            UPDATE job AS p SET open_count = p.open_count - c.n, status = CASE WHEN p.open_count = c.n THEN 'submitted' ELSE p.status END, start_date = engine_now()
            FROM (SELECT parent_id, count(*) AS n FROM new_rows WHERE finished_date IS NOT NULL AND parent_id IS NOT NULL GROUP BY 1) AS c
            WHERE p.id = c.parent_id AND p.status = 'created' RETURNING p.id, p.open_count)
        SELECT array_agg(id) INTO _ready FROM counted WHERE open_count = 0;
        PERFORM job_enqueue(_ready);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION job_settled() IS 'Carries the outcome of ended jobs to their provision rows, makes what the others have left outside known, and counts them off at their parents.';
SELECT class.replace_trigger('job_settled_tg', 'job', 'AFTER UPDATE ON {table} REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT', 'job_settled()');

-- The sweeper --------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION engine_sweep(p_worker uuid) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_memoize = off SET jit = off SET lock_timeout = '100ms' AS $$
-- SECURITY DEFINER: it keeps house in tables no worker may write.
-- Lock time-out: whatever somebody else has locked is left to a later sweep; it must not keep the sweeper from the rest.
DECLARE
    _lost int;
    _scheduled int;
BEGIN
    PERFORM FROM engine_lock WHERE name = 'sweep' FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN '{}';
    END IF;
    _lost := sweep_leases();
    _scheduled := sweep_schedule();
    PERFORM sweep_events();
    _scheduled := _scheduled + sweep_webhooks();
    UPDATE job_lane SET mark_date = '-infinity', mark_id = '00000000-0000-0000-0000-000000000000'
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM job_lane WHERE mark_date > '-infinity' FOR UPDATE SKIP LOCKED));
    PERFORM sweep_domains();
    PERFORM sweep_certificates();
    PERFORM session_sweep();
    PERFORM sweep_allocation();
    PERFORM sweep_wpaas();
    PERFORM sweep_accounts();
    DELETE FROM order_idempotency WHERE created_date < engine_now() - make_interval(days => setting_value('idempotency_days')::int);
    RETURN jsonb_build_object('leases_lost', _lost, 'jobs_scheduled', _scheduled, 'partitions', sweep_partitions(), 'memberships_lapsed', sweep_tenancy());
END $$;
COMMENT ON FUNCTION engine_sweep(uuid) IS 'House-keeping, called by every worker about once a second and done by one: dead leases, due schedules, names and certificates whose time has come, queue marks, partitions, old keys, the log''s watermark. Returns what it did.';

CREATE OR REPLACE FUNCTION sweep_partitions() RETURNS int
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RETURN class.log_partitions() + class.log_expire();
EXCEPTION WHEN lock_not_available THEN
    -- Somebody reads the log in an open transaction. There are months to make the next partition in.
    RETURN 0;
END $$;
COMMENT ON FUNCTION sweep_partitions() IS 'Makes and drops partitions of the log unless somebody has it locked; returns how many.';

CREATE OR REPLACE FUNCTION job_lost(p_jobs uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM job_lease_end(p_jobs);
    UPDATE job SET attempts = attempts + 1, started_date = COALESCE(started_date, engine_now()), result_message = 'its worker was lost', start_date = engine_now() WHERE id = ANY (p_jobs);
    UPDATE job SET status = 'failed', finished_date = engine_now() WHERE id = ANY (p_jobs) AND attempts >= max_attempts;
    PERFORM job_enqueue(p_jobs);
    PERFORM job_mirror(p_jobs, '{}');
END $$;
COMMENT ON FUNCTION job_lost(uuid[]) IS 'Jobs whose worker is gone have had a failed attempt, and are queued again or fail.';

CREATE OR REPLACE FUNCTION job_lost_or_hold(p_jobs uuid[]) RETURNS int
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _reason text;
BEGIN
    BEGIN
        PERFORM job_lost(p_jobs);
        RETURN cardinality(p_jobs);
    EXCEPTION WHEN OTHERS THEN
        -- One job that cannot be carried home must not keep the sweeper from all others. What passes by itself may.
        IF left(SQLSTATE, 2) IN ('40', '53', '57') THEN
            RAISE;
        ELSIF SQLSTATE <> '55P03' THEN
            _reason := 'its worker was lost, and that cannot be recorded: ' || SQLERRM;
        END IF;
    END;
    IF cardinality(p_jobs) > 1 THEN
        RETURN (SELECT sum(job_lost_or_hold(ARRAY[j])) FROM unnest(p_jobs) AS j);
    ELSIF _reason IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM job_lease_end(p_jobs);
    UPDATE job SET held_at = engine_now(), result_message = left(_reason, 1000) WHERE id = p_jobs[1];
    RETURN 1;
END $$;
COMMENT ON FUNCTION job_lost_or_hold(uuid[]) IS 'The same one by one where it must be: a job whose row somebody has locked keeps its lease for a later sweep, one whose row''s triggers refuse it is held for a person. Returns how many lost their lease.';

CREATE OR REPLACE FUNCTION sweep_leases() RETURNS int
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _jobs uuid[];
BEGIN
    -- Real time, not the injectable clock: turning time forward must not kill live workers.
    DELETE FROM worker WHERE id IN (
        SELECT id FROM worker WHERE heartbeat_date < clock_timestamp() - make_interval(secs => setting_value('lease_seconds')::int) FOR UPDATE SKIP LOCKED);
    -- Not too many, since each that somebody has locked takes its time; in no order, so that those hold up no others.
    _jobs := ARRAY(SELECT l.job_id FROM job_lease AS l WHERE NOT EXISTS (SELECT FROM worker AS w WHERE w.id = l.worker_id) ORDER BY random() LIMIT 250 FOR UPDATE SKIP LOCKED);
    RETURN CASE WHEN cardinality(_jobs) > 0 THEN job_lost_or_hold(_jobs) ELSE 0 END;
END $$;
COMMENT ON FUNCTION sweep_leases() IS 'Takes out workers that are no longer heard of and gives back what they held, as a failed attempt.';

CREATE OR REPLACE FUNCTION sweep_schedule() RETURNS int
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _due schedule;
    _made int := 0;
BEGIN
    FOR _due IN
        SELECT s.* FROM schedule AS s
        WHERE s.next_date <= engine_now() AND NOT EXISTS (SELECT FROM job AS j WHERE j.id = s.job_id AND j.finished_date IS NULL)
        ORDER BY s.next_date FOR UPDATE SKIP LOCKED
    LOOP
        WITH made AS (
            INSERT INTO job (type, accreditation_id, data, max_attempts)
            SELECT _due.job_type, _due.accreditation_id, jsonb_build_object('schedule', _due.name), t.max_attempts FROM job_type AS t WHERE t.name = _due.job_type RETURNING id)
        UPDATE schedule SET job_id = (SELECT id FROM made), next_date = engine_now() + every WHERE name = _due.name;
        _made := _made + 1;
    END LOOP;
    RETURN _made;
END $$;
COMMENT ON FUNCTION sweep_schedule() IS 'Makes the jobs of schedules whose time has come, one at a time per schedule; returns how many.';

-- Operators ----------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION job_for_update(p_job uuid) RETURNS job
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _job job;
BEGIN
    SELECT * INTO _job FROM job WHERE id = p_job FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM refuse('PV404', 'job not found', p_job::text, 'SELECT * FROM v_job');
    ELSIF _job.finished_date IS NOT NULL THEN
        PERFORM refuse('PV409', 'the job has ended', format('%s is %s', p_job, _job.status), 'order again; ended jobs do not change');
    END IF;
    RETURN _job;
END $$;
COMMENT ON FUNCTION job_for_update(uuid) IS 'Locks a job that has not ended.';

CREATE OR REPLACE FUNCTION job_log(p_job job, p_what text, p_reason text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO audit_trail_log (table_name, row_id, tenant_customer_id, org_id, operation, reason)
    VALUES ('job', p_job.id, p_job.tenant_customer_id, p_job.org_id, 'change', concat_ws(': ', p_what || ' by hand', p_reason));
END $$;
COMMENT ON FUNCTION job_log(job, text, text) IS 'Notes in the audit trail that a person intervened.';

CREATE OR REPLACE FUNCTION job_dequeue(p_jobs uuid[]) RETURNS uuid[]
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _jobs uuid[];
BEGIN
    -- Always before the rows of the jobs are locked, so that an operator and a cancelled order meet them in one order.
    _jobs := ARRAY(SELECT job_id FROM job_queue WHERE job_id = ANY (p_jobs) ORDER BY job_id FOR UPDATE);
    DELETE FROM job_queue WHERE job_id = ANY (_jobs);
    RETURN _jobs;
END $$;
COMMENT ON FUNCTION job_dequeue(uuid[]) IS 'Takes jobs out of the queue; returns those that were there, which nobody can claim any more.';

CREATE OR REPLACE FUNCTION job_hold(p_job uuid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: for operators, who have EXECUTE and no table rights.
DECLARE
    _waited constant boolean := cardinality(job_dequeue(ARRAY[p_job])) > 0;
    _job constant job := job_for_update(p_job);
BEGIN
    IF _job.held_at IS NULL AND NOT _waited THEN
        PERFORM refuse('PV409', 'the job cannot be held now', p_job::text, 'a worker has it, or it waits for its child jobs; try again');
    END IF;
    UPDATE job SET held_at = COALESCE(held_at, engine_now()) WHERE id = p_job;
    PERFORM job_log(_job, 'held');
    RETURN 'held';
END $$;
COMMENT ON FUNCTION job_hold(uuid) IS 'Holds a waiting job back until job_release().';

CREATE OR REPLACE FUNCTION job_release(p_job uuid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: for operators, who have EXECUTE and no table rights.
DECLARE
    _job job := job_for_update(p_job);
BEGIN
    IF _job.held_at IS NULL THEN
        PERFORM refuse('PV409', 'the job is not held', p_job::text, 'SELECT * FROM v_job');
    ELSIF EXISTS (SELECT FROM accreditation WHERE id = _job.accreditation_id AND provider = 'manual') THEN
        PERFORM refuse('PV422', 'the job is done by hand', p_job::text, 'do it, then SELECT job_complete(id, result)');
    END IF;
    UPDATE job SET held_at = NULL WHERE id = p_job;
    PERFORM job_enqueue(ARRAY[p_job]);
    PERFORM job_log(_job, 'released');
    RETURN 'submitted';
END $$;
COMMENT ON FUNCTION job_release(uuid) IS 'Lets a held job go.';

CREATE OR REPLACE FUNCTION job_retry(p_job uuid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: for operators, who have EXECUTE and no table rights.
DECLARE
    _waited boolean;
    _job job;
BEGIN
    -- Moved within the queue and not out of it, so that whoever wants to stop the job meanwhile finds it.
    UPDATE job_queue SET start_date = engine_now() WHERE job_id = p_job;
    _waited := FOUND;
    _job := job_for_update(p_job);
    IF NOT _waited THEN
        PERFORM refuse('PV409', 'the job is not waiting', p_job::text, CASE WHEN _job.held_at IS NULL THEN 'a worker has it, or it waits for its child jobs' ELSE 'SELECT job_release(id)' END);
    END IF;
    UPDATE job SET start_date = engine_now(), attempts = 0 WHERE id = p_job;
    PERFORM job_wake();
    PERFORM job_log(_job, 'retried');
    RETURN 'submitted';
END $$;
COMMENT ON FUNCTION job_retry(uuid) IS 'Has a waiting job tried now, with all its attempts before it again.';

CREATE OR REPLACE FUNCTION job_retry_where(p_type text DEFAULT NULL, p_accreditation uuid DEFAULT NULL, p_message_like text DEFAULT NULL, p_limit int DEFAULT 1000) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: for operators, who have EXECUTE and no table rights.
BEGIN
    IF num_nonnulls(p_type, p_accreditation, p_message_like) = 0 THEN
        PERFORM refuse('PV400', 'which jobs?', 'no condition given', 'give at least one of p_type, p_accreditation, p_message_like');
    ELSIF (p_limit >= 0) IS NOT TRUE THEN
        PERFORM refuse('PV400', 'how many jobs at most?', 'p_limit is ' || COALESCE(p_limit::text, 'NULL'), 'give a number, or leave p_limit out for 1000');
    END IF;
    RETURN (
        SELECT count(job_retry(w.id)) FROM (
            SELECT j.id FROM job AS j JOIN job_queue AS q ON q.job_id = j.id
            WHERE j.attempts > 0 AND j.type = COALESCE(p_type, j.type) AND (p_accreditation IS NULL OR j.accreditation_id = p_accreditation)
                AND (p_message_like IS NULL OR j.result_message LIKE p_message_like)
            ORDER BY j.id LIMIT p_limit FOR UPDATE OF q SKIP LOCKED) AS w);
END $$;
COMMENT ON FUNCTION job_retry_where(text, uuid, text, int) IS 'Has all waiting jobs that failed at least once and match tried now, at most p_limit; returns how many. Without a condition or a limit it refuses.';

CREATE OR REPLACE FUNCTION job_cancel(p_job uuid, p_reason text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: for operators, who have EXECUTE and no table rights.
DECLARE
    _waited constant boolean := cardinality(job_dequeue(ARRAY[p_job])) > 0;
    _job constant job := job_for_update(p_job);
    _begun constant text := (SELECT string_agg(e.step, ', ' ORDER BY e.intended_date, e.step) FROM effect AS e WHERE e.job_id = p_job AND e.status IN ('intended', 'done'));
BEGIN
    IF _job.held_at IS NULL AND NOT _waited THEN
        PERFORM refuse('PV409', 'the job is being executed', p_job::text, 'wait for its result, or cancel its child jobs');
    END IF;
    UPDATE job SET status = 'cancelled', finished_date = engine_now(), result_message = COALESCE(p_reason, 'cancelled by ' || caller_name()) WHERE id = p_job;
    PERFORM job_log(_job, 'cancelled', p_reason);
    RETURN 'cancelled' || COALESCE('; ' || _begun || ' had begun outside: SELECT * FROM v_attention', '');
END $$;
COMMENT ON FUNCTION job_cancel(uuid, text) IS 'Cancels a job that no worker holds; its provision row, plan step, item and order follow. Says what the job had begun outside, which stays there and is in v_attention.';

CREATE OR REPLACE FUNCTION job_complete(p_job uuid, p_result jsonb DEFAULT '{}', p_message text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: for operators, who have EXECUTE and no table rights.
DECLARE
    _job job := job_for_update(p_job);
    _missing constant text := (
        SELECT string_agg(c, ', ' ORDER BY n) FROM class.provision_kind AS k CROSS JOIN unnest(k.result_columns) WITH ORDINALITY AS r (c, n)
        WHERE k.table_name = _job.reference_table AND p_result ->> c IS NULL);
BEGIN
    IF _job.held_at IS NULL THEN
        PERFORM refuse('PV409', 'the job is not held', p_job::text, 'workers do it; SELECT job_hold(id) first to do it by hand');
    ELSIF _missing IS NOT NULL THEN
        PERFORM refuse('PV422', 'the result does not say all that the row needs', 'missing: ' || _missing, 'SELECT call FROM v_attention shows the whole of it');
    END IF;
    UPDATE job SET status = 'completed', finished_date = engine_now(), result = p_result, result_message = COALESCE(p_message, 'done by ' || caller_name()) WHERE id = p_job;
    PERFORM job_log(_job, 'completed', p_message);
    RETURN 'completed';
END $$;
COMMENT ON FUNCTION job_complete(uuid, jsonb, text) IS 'Says that a held job was done by hand, with what came of it (roid, dates …); what its kind takes from results must be there.';

-- Effects ------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION effect_fence(p_job uuid, p_claim_no bigint) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    -- The share lock keeps the sweeper from giving the job away before this transaction ends.
    PERFORM FROM job_lease WHERE job_id = p_job AND claim_no = p_claim_no FOR SHARE;
    IF NOT FOUND THEN
        PERFORM refuse('PVF01', 'the lease is lost', format('job %s, claim %s', p_job, p_claim_no), 'stop: another claim goes on with it');
    END IF;
END $$;
COMMENT ON FUNCTION effect_fence(uuid, bigint) IS 'Refuses (PVF01) unless the claim still stands.';

CREATE OR REPLACE FUNCTION effect_begin(p_job uuid, p_claim_no bigint, p_step text, p_parameters jsonb)
RETURNS TABLE (token uuid, status text, result jsonb, attempt int)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_memoize = off SET jit = off AS $$
-- SECURITY DEFINER: effects are written only through these functions.
#variable_conflict use_column
BEGIN
    PERFORM effect_fence(p_job, p_claim_no);
    RETURN QUERY
    INSERT INTO effect AS e (job_id, step, token, accreditation_id, reference_table, reference_id, parameters, claim_no)
    SELECT j.id, p_step, md5(concat_ws(':', COALESCE(j.reference_id, j.id), j.id, p_step, p_parameters))::uuid, j.accreditation_id, j.reference_table, j.reference_id, p_parameters, p_claim_no
    FROM job AS j WHERE j.id = p_job
    ON CONFLICT (job_id, step) DO UPDATE SET attempt = e.attempt + (e.status = 'intended')::int, claim_no = p_claim_no
    RETURNING e.token, e.status, e.result, e.attempt;
END $$;
COMMENT ON FUNCTION effect_begin(uuid, bigint, text, jsonb) IS 'Commits the intent of a call to the outside and returns its token, or its result if it was made already; attempt above 1: an earlier call may have arrived.';

CREATE OR REPLACE FUNCTION effect_finish(p_job uuid, p_claim_no bigint, p_step text, p_external_name text, p_result jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_memoize = off SET jit = off AS $$
-- SECURITY DEFINER: effects are written only through these functions.
BEGIN
    PERFORM effect_fence(p_job, p_claim_no);
    UPDATE effect SET status = 'done', external_name = p_external_name, result = p_result, finished_date = engine_now()
    WHERE job_id = p_job AND step = p_step AND status = 'intended';
END $$;
COMMENT ON FUNCTION effect_finish(uuid, bigint, text, text, jsonb) IS 'Commits what came of a call, only while the claim stands.';

CREATE OR REPLACE FUNCTION effect_open(p_accreditation uuid, p_limit int DEFAULT 100) RETURNS SETOF effect
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: effects have no grants.
BEGIN
    RETURN QUERY
    SELECT e.* FROM effect AS e JOIN job AS j ON j.id = e.job_id
    WHERE e.accreditation_id = p_accreditation AND e.status = 'intended' AND j.finished_date IS NOT NULL
    ORDER BY e.intended_date LIMIT p_limit;
END $$;
COMMENT ON FUNCTION effect_open(uuid, int) IS 'Effects whose job ended without their fate being known, oldest first.';

CREATE OR REPLACE FUNCTION effect_settle(p_job uuid, p_step text, p_status text, p_external_name text, p_by_job uuid, p_claim_no bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: effects are written only through these functions.
BEGIN
    IF p_by_job IS NOT NULL THEN
        PERFORM effect_fence(p_by_job, p_claim_no);
    END IF;
    UPDATE effect SET status = p_status, external_name = COALESCE(p_external_name, external_name), finished_date = engine_now()
    WHERE job_id = p_job AND step = p_step AND CASE WHEN p_by_job = p_job THEN status IN ('intended', 'done')
        ELSE status = 'intended' AND EXISTS (SELECT FROM job WHERE id = p_job AND finished_date IS NOT NULL) END;
    IF FOUND AND p_status = 'absent' THEN
        PERFORM provision_clear(e.reference_id) FROM effect AS e WHERE e.job_id = p_job AND e.step = p_step AND e.reference_table LIKE 'provision\_%';
    END IF;
END $$;
COMMENT ON FUNCTION effect_settle(uuid, text, text, text, uuid, bigint) IS 'What a job found out about its own effect, or p_by_job, the reconcile pass (NULL: a person''s), about one whose job has ended: absent, or orphaned (there, but its job did not succeed).';

CREATE OR REPLACE FUNCTION effect_decide(p_provision uuid, p_status text, p_external_name text) RETURNS int
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _count int;
BEGIN
    -- The first is the thing itself; the others, a certificate's records in a zone, keep their names.
    UPDATE effect AS e SET status = p_status, external_name = CASE o.n WHEN 1 THEN COALESCE(p_external_name, e.external_name) ELSE e.external_name END, finished_date = engine_now()
    FROM (
        SELECT u.job_id, u.step, row_number() OVER (ORDER BY u.intended_date, u.step) AS n FROM effect AS u JOIN job AS j ON j.id = u.job_id
        WHERE j.reference_id = p_provision AND j.finished_date IS NOT NULL AND u.status IN ('intended', 'orphaned', 'absent')) AS o
    WHERE e.job_id = o.job_id AND e.step = o.step;
    GET DIAGNOSTICS _count = ROW_COUNT;
    IF _count = 0 THEN
        PERFORM refuse('PV404', 'nothing to decide', 'provision row ' || p_provision, 'SELECT * FROM v_attention');
    END IF;
    RETURN _count;
END $$;
COMMENT ON FUNCTION effect_decide(uuid, text, text) IS 'Notes an operator''s decision on the open effects of a provision row.';
