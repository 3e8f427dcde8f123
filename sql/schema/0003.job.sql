-- depends: 0002.tenancy
--
-- Work to be done outside. A job has a row in `job_queue` exactly while it can be claimed, and a row in `job_lease`
-- exactly while a worker holds it: job_claim() moves it from one to the other, job_record() takes the result and lets it
-- go, engine_sweep() gives back what a dead worker held. Neither claim nor lease touches `job` itself, so a job that
-- succeeds at once is updated once. `effect` remembers each call to the outside before it is made.

CREATE TABLE job_type (
    name text NOT NULL,
    description text NOT NULL,
    max_attempts int NOT NULL DEFAULT 20,
    CONSTRAINT job_type_pk PRIMARY KEY (name),
    CONSTRAINT job_type_attempts_ck CHECK (max_attempts > 0)
);
COMMENT ON TABLE job_type IS 'What a worker can be asked to do. Workers claim only the types they know, so old and new releases run side by side.';
COMMENT ON COLUMN job_type.name IS 'Name; the worker''s action of that name does it.';
COMMENT ON COLUMN job_type.description IS 'What it does.';
COMMENT ON COLUMN job_type.max_attempts IS 'Failed attempts and lost leases until the job fails; 20 with the usual back-off outlast an outage of some hours.';

CREATE TABLE job (
    id uuid NOT NULL DEFAULT new_id(),
    type text NOT NULL,
    tenant_customer_id uuid,
    org_id uuid,
    accreditation_id uuid,
    reference_table text,
    reference_id uuid,
    data jsonb NOT NULL DEFAULT '{}',
    state jsonb,
    priority smallint NOT NULL DEFAULT 5,
    status text NOT NULL DEFAULT 'submitted',
    previous_status text,
    start_date timestamptz NOT NULL DEFAULT engine_now(),
    held_at timestamptz,
    attempts int NOT NULL DEFAULT 0,
    max_attempts int NOT NULL DEFAULT 8,
    parent_id uuid,
    open_count int NOT NULL DEFAULT 0,
    claim_no bigint,
    result jsonb,
    result_message text,
    traceparent text,
    created_date timestamptz NOT NULL DEFAULT engine_now(),
    started_date timestamptz,
    finished_date timestamptz,
    CONSTRAINT job_pk PRIMARY KEY (id),
    CONSTRAINT job_parent_fk FOREIGN KEY (parent_id) REFERENCES job (id),
    CONSTRAINT job_status_ck CHECK (status IN ('created', 'submitted', 'completed', 'failed', 'cancelled')),
    CONSTRAINT job_finished_ck CHECK ((finished_date IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled'))),
    CONSTRAINT job_open_ck CHECK (open_count >= 0 AND (status <> 'created' OR open_count > 0)),
    CONSTRAINT job_attempts_ck CHECK (attempts BETWEEN 0 AND max_attempts),
    CONSTRAINT job_reference_ck CHECK ((reference_table IS NULL) = (reference_id IS NULL)),
    CONSTRAINT job_priority_ck CHECK (priority BETWEEN 0 AND 9)
) WITH (fillfactor = 50);
CREATE INDEX job_reference_ix ON job (reference_id);
CREATE INDEX job_held_ix ON job (held_at) WHERE held_at IS NOT NULL;
CREATE INDEX job_parent_ix ON job (parent_id) WHERE parent_id IS NOT NULL;
SELECT class.tenant_policy('job');
COMMENT ON TABLE job IS 'A piece of work for a worker. That a worker holds it is said by job_lease, so v_job shows it as processing; retries belong to the job alone.';
COMMENT ON COLUMN job.id IS 'Id.';
COMMENT ON COLUMN job.type IS 'What to do (job_type).';
COMMENT ON COLUMN job.tenant_customer_id IS 'For whom; NULL: for the installation.';
COMMENT ON COLUMN job.org_id IS 'The org it is for.';
COMMENT ON COLUMN job.accreditation_id IS 'Where; also the lane it queues in.';
COMMENT ON COLUMN job.reference_table IS 'The provisioning table its outcome flows to.';
COMMENT ON COLUMN job.reference_id IS 'The row of that table.';
COMMENT ON COLUMN job.data IS 'What the action needs to know; never changes, never holds a secret.';
COMMENT ON COLUMN job.state IS 'What the action remembered for when it looks again.';
COMMENT ON COLUMN job.priority IS '0 (first) to 9 (last).';
COMMENT ON COLUMN job.status IS 'created (waits for child jobs), submitted, completed, failed, cancelled.';
COMMENT ON COLUMN job.previous_status IS 'The status before the last transition.';
COMMENT ON COLUMN job.start_date IS 'Not before.';
COMMENT ON COLUMN job.held_at IS 'Held back since; job_release() lets it go. Jobs of a manual desk are held until a person completes them.';
COMMENT ON COLUMN job.attempts IS 'Failed attempts and lost leases.';
COMMENT ON COLUMN job.max_attempts IS 'How many it may have.';
COMMENT ON COLUMN job.parent_id IS 'The job that made it.';
COMMENT ON COLUMN job.open_count IS 'Child jobs that have not ended.';
COMMENT ON COLUMN job.claim_no IS 'The claim whose result stands.';
COMMENT ON COLUMN job.result IS 'What came of it.';
COMMENT ON COLUMN job.result_message IS 'In words; while it is retried, why the last attempt failed.';
COMMENT ON COLUMN job.traceparent IS 'W3C trace context of the request that led to it.';
COMMENT ON COLUMN job.created_date IS 'When it was made.';
COMMENT ON COLUMN job.started_date IS 'When a first attempt is known to have begun that did not end it; it may have left traces outside.';
COMMENT ON COLUMN job.finished_date IS 'When it ended.';

CREATE TABLE job_lane (
    lane uuid NOT NULL,
    priority smallint NOT NULL,
    mark_date timestamptz NOT NULL DEFAULT '-infinity',
    mark_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    claimed_date timestamptz NOT NULL DEFAULT '-infinity',
    CONSTRAINT job_lane_pk PRIMARY KEY (lane, priority)
) WITH (fillfactor = 20);
INSERT INTO job_lane (lane, priority) SELECT '00000000-0000-0000-0000-000000000000', p FROM generate_series(0, 9) AS p;
COMMENT ON TABLE job_lane IS 'One queue: an accreditation and a priority, made with the accreditation. Its row is the lock under which jobs are claimed from it.';
COMMENT ON COLUMN job_lane.lane IS 'The accreditation; all zeros for jobs without one.';
COMMENT ON COLUMN job_lane.priority IS 'The priority.';
COMMENT ON COLUMN job_lane.mark_date IS 'Low-water mark: claims read on from here, so that rows already claimed but still visible to an old snapshot are not walked again. Dropped every second.';
COMMENT ON COLUMN job_lane.mark_id IS 'The mark''s job.';
COMMENT ON COLUMN job_lane.claimed_date IS 'When it was last served; lanes take turns.';

CREATE TABLE job_queue (
    lane uuid NOT NULL,
    priority smallint NOT NULL,
    start_date timestamptz NOT NULL,
    job_id uuid NOT NULL,
    type text NOT NULL,
    CONSTRAINT job_queue_pk PRIMARY KEY (lane, priority, start_date, job_id)
);
CREATE UNIQUE INDEX job_queue_job_uk ON job_queue (job_id);
COMMENT ON TABLE job_queue IS 'A row here is a job that can be claimed once start_date has come.';
COMMENT ON COLUMN job_queue.lane IS 'job_lane.lane.';
COMMENT ON COLUMN job_queue.priority IS 'job_lane.priority.';
COMMENT ON COLUMN job_queue.start_date IS 'Not before.';
COMMENT ON COLUMN job_queue.job_id IS 'The job.';
COMMENT ON COLUMN job_queue.type IS 'Its type; workers pick the types they know.';

CREATE TABLE worker (
    id uuid NOT NULL DEFAULT new_id(),
    name text NOT NULL,
    host text NOT NULL,
    pid int NOT NULL,
    version text NOT NULL,
    types text[] NOT NULL,
    started_date timestamptz NOT NULL DEFAULT clock_timestamp(),
    heartbeat_date timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT worker_pk PRIMARY KEY (id)
) WITH (fillfactor = 50);
COMMENT ON TABLE worker IS 'The workers that are alive. One whose heartbeat is 30 seconds old is taken out, and all it held is given back.';
COMMENT ON COLUMN worker.id IS 'Id of one run of a worker process.';
COMMENT ON COLUMN worker.name IS 'Its name.';
COMMENT ON COLUMN worker.host IS 'The machine.';
COMMENT ON COLUMN worker.pid IS 'The process.';
COMMENT ON COLUMN worker.version IS 'The release.';
COMMENT ON COLUMN worker.types IS 'The job types it knows.';
COMMENT ON COLUMN worker.started_date IS 'When it registered (the machine''s clock, as leases are real time).';
COMMENT ON COLUMN worker.heartbeat_date IS 'When it was last heard of (the database''s real clock).';

CREATE TABLE job_lease (
    job_id uuid NOT NULL,
    worker_id uuid NOT NULL,
    claim_no bigint NOT NULL,
    lane uuid NOT NULL,
    claimed_date timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT job_lease_pk PRIMARY KEY (job_id)
);
CREATE INDEX job_lease_lane_ix ON job_lease (lane);
COMMENT ON TABLE job_lease IS 'A row here is a job in a worker''s hands. A result is taken only with the claim_no that stands here.';
COMMENT ON COLUMN job_lease.job_id IS 'The job.';
COMMENT ON COLUMN job_lease.worker_id IS 'Who holds it.';
COMMENT ON COLUMN job_lease.claim_no IS 'The fencing token: the microsecond of the claim, and for the further jobs of the same claim the numbers after it.';
COMMENT ON COLUMN job_lease.lane IS 'Its lane, counted against the accreditation''s max_concurrency.';
COMMENT ON COLUMN job_lease.claimed_date IS 'Since when (the database''s real clock).';

CREATE TABLE effect (
    job_id uuid NOT NULL,
    step text NOT NULL,
    token uuid NOT NULL,
    accreditation_id uuid,
    reference_table text,
    reference_id uuid,
    status text NOT NULL DEFAULT 'intended',
    parameters jsonb NOT NULL,
    external_name text,
    result jsonb,
    attempt int NOT NULL DEFAULT 1,
    claim_no bigint NOT NULL,
    intended_date timestamptz NOT NULL DEFAULT engine_now(),
    finished_date timestamptz,
    CONSTRAINT effect_pk PRIMARY KEY (job_id, step),
    CONSTRAINT effect_token_uk UNIQUE (token),
    CONSTRAINT effect_job_fk FOREIGN KEY (job_id) REFERENCES job (id),
    CONSTRAINT effect_status_ck CHECK (status IN ('intended', 'done', 'absent', 'orphaned', 'adopted', 'forgotten')),
    CONSTRAINT effect_finished_ck CHECK ((finished_date IS NULL) = (status = 'intended'))
) WITH (fillfactor = 70);
CREATE INDEX effect_open_ix ON effect (accreditation_id, intended_date) WHERE status = 'intended';
CREATE INDEX effect_orphaned_ix ON effect (token) WHERE status = 'orphaned';
COMMENT ON TABLE effect IS 'A call to the outside, committed before it is made. One that stays intended after its job has ended is looked for by the reconcile pass.';
COMMENT ON COLUMN effect.job_id IS 'The job that makes it.';
COMMENT ON COLUMN effect.step IS 'Which call of the job.';
COMMENT ON COLUMN effect.token IS 'Idempotency token, a pure function of row, job, step and parameters; given to the provider where its API takes one, and part of tags and names.';
COMMENT ON COLUMN effect.accreditation_id IS 'Where.';
COMMENT ON COLUMN effect.reference_table IS 'The provisioning table of its row.';
COMMENT ON COLUMN effect.reference_id IS 'Its row.';
COMMENT ON COLUMN effect.status IS 'intended, done, absent (looked for and not there), orphaned (there, but its job did not succeed), adopted or forgotten (an operator decided).';
COMMENT ON COLUMN effect.parameters IS 'What is asked for.';
COMMENT ON COLUMN effect.external_name IS 'The thing''s name outside.';
COMMENT ON COLUMN effect.result IS 'What came of it.';
COMMENT ON COLUMN effect.attempt IS 'How often it was begun; above 1 an earlier call may have arrived.';
COMMENT ON COLUMN effect.claim_no IS 'The claim under which it was last begun.';
COMMENT ON COLUMN effect.intended_date IS 'When it was first intended.';
COMMENT ON COLUMN effect.finished_date IS 'When its fate became known.';

CREATE TABLE engine_lock (
    name text NOT NULL,
    CONSTRAINT engine_lock_pk PRIMARY KEY (name)
);
COMMENT ON TABLE engine_lock IS 'Rows that are locked and never read: an advisory lock could be taken by any log-in that knows its number.';
COMMENT ON COLUMN engine_lock.name IS 'What only one may do at a time.';
INSERT INTO engine_lock VALUES ('sweep'), ('label');

CREATE TABLE schedule (
    name text NOT NULL,
    job_type text NOT NULL,
    accreditation_id uuid,
    every interval NOT NULL,
    next_date timestamptz NOT NULL DEFAULT engine_now(),
    job_id uuid,
    CONSTRAINT schedule_pk PRIMARY KEY (name),
    CONSTRAINT schedule_every_ck CHECK (every > interval '0'),
    CONSTRAINT schedule_type_fk FOREIGN KEY (job_type) REFERENCES job_type (name),
    CONSTRAINT schedule_accreditation_fk FOREIGN KEY (accreditation_id) REFERENCES accreditation (id)
);
COMMENT ON TABLE schedule IS 'Work that recurs: the sweeper makes a job of it when its time has come and the last one has ended.';
COMMENT ON COLUMN schedule.name IS 'Name.';
COMMENT ON COLUMN schedule.job_type IS 'Type of the job to make.';
COMMENT ON COLUMN schedule.accreditation_id IS 'Where; NULL: nowhere in particular.';
COMMENT ON COLUMN schedule.every IS 'How often.';
COMMENT ON COLUMN schedule.next_date IS 'When next.';
COMMENT ON COLUMN schedule.job_id IS 'The last job made of it.';

CREATE TABLE setting (
    name text NOT NULL,
    value text NOT NULL,
    description text NOT NULL,
    type text NOT NULL DEFAULT 'text',
    minimum numeric,
    maximum numeric,
    CONSTRAINT setting_pk PRIMARY KEY (name),
    CONSTRAINT setting_type_ck CHECK (type IN ('text', 'integer', 'number')),
    CONSTRAINT setting_range_ck CHECK (type <> 'text' OR (minimum IS NULL AND maximum IS NULL))
);
COMMENT ON TABLE setting IS 'Settings that rules in the database read.';
COMMENT ON COLUMN setting.name IS 'Name.';
COMMENT ON COLUMN setting.value IS 'Value, as text.';
COMMENT ON COLUMN setting.description IS 'What it does.';
COMMENT ON COLUMN setting.type IS 'text, integer or number.';
COMMENT ON COLUMN setting.minimum IS 'The least a number may be.';
COMMENT ON COLUMN setting.maximum IS 'The most a number may be.';
INSERT INTO setting VALUES
    ('lease_seconds', '30', 'a worker not heard of for so long loses what it holds', 'integer', 1, 3600),
    ('audit_retention_months', '120', 'audit partitions older than this are dropped by the sweeper', 'integer', 1, 1200),
    ('customer_removal_days', '30', 'how long the removal of a customer can be taken back', 'integer', 1, 3650),
    ('idempotency_days', '7', 'how long an Idempotency-Key is remembered', 'integer', 1, 3650),
    ('retry_base_seconds', '1', 'the first retry waits up to this long; it doubles with each attempt', 'number', 0, 86400),
    ('retry_limit_seconds', '3600', 'no retry waits longer than this', 'number', 0, 604800);

INSERT INTO job_type VALUES ('reconcile', 'looks for what a crash left: things without rows, rows without things', 20);

CREATE FUNCTION job_wake_key() RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 7236837654321987;
COMMENT ON FUNCTION job_wake_key() IS 'The advisory lock a sleeping worker holds; whoever makes a job notifies only while it is held.';
