-- depends: 0008.event
--
-- Clusters with a fixed capacity and the deployments that share it. `provision_compute_cluster` makes a cluster, whose row
-- in `compute_cluster` is there at once, so that deployments can wait for it; `_update` and `_delete` change and end it.
-- `provision_deployment` asks for a container with a demand (cpu, ram, gpu); its gate is opened, and its job made, when the
-- scheduler starts it, and it ends when the container has. `deployment` says how far it is, `deployment_wait` why it waits.
-- What is allocated is summed by a trigger from those that start or run, and can neither be more than there is nor anything
-- but that sum when a transaction commits.

INSERT INTO provider VALUES ('simulated', 'no outside: what runs there is only waited for');

-- Integers by which the root surface names what others name by UUID, and the role that it gives a user everywhere.
ALTER TABLE org ADD COLUMN number bigint NOT NULL GENERATED ALWAYS AS IDENTITY, ADD CONSTRAINT org_number_uk UNIQUE (number);
COMMENT ON COLUMN org.number IS 'The org for surfaces that know integers only; never used again.';
ALTER TABLE app_user ADD COLUMN default_role text NOT NULL DEFAULT 'viewer', ADD CONSTRAINT app_user_default_role_fk FOREIGN KEY (default_role) REFERENCES role (name),
    ADD CONSTRAINT app_user_default_role_ck CHECK (default_role IN ('developer', 'viewer'));
COMMENT ON COLUMN app_user.default_role IS 'The role the user gets in orgs that are joined on the deployment surface.';

INSERT INTO state_transition (machine, from_state, to_state, meaning) VALUES
    ('compute_cluster', NULL, 'creating', 'asked for; deployments may wait for it'),
    ('compute_cluster', 'creating', 'active', 'it is there'),
    ('compute_cluster', 'creating', 'failed', 'it could not be made'),
    ('compute_cluster', 'active', 'deleting', 'to be deleted; takes no deployments'),
    ('compute_cluster', 'deleting', 'active', 'it could not be deleted'),
    ('compute_cluster', 'deleting', 'deleted', 'gone'),
    ('deployment', NULL, 'pending', 'a dependency is open'),
    ('deployment', NULL, 'queued', 'waits to be started'),
    ('deployment', 'pending', 'queued', 'its dependencies are done'),
    ('deployment', 'pending', 'cancelled', 'cancelled, or a dependency will never be done'),
    ('deployment', 'pending', 'rejected', 'its cluster was made too small for it'),
    ('deployment', 'queued', 'starting', 'chosen by the scheduler; its share is taken'),
    ('deployment', 'queued', 'cancelled', 'cancelled, or waited too long'),
    ('deployment', 'queued', 'rejected', 'its cluster was made too small for it'),
    ('deployment', 'queued', 'done', 'had ended when it was preempted'),
    ('deployment', 'queued', 'failed', 'had failed when it was preempted'),
    ('deployment', 'starting', 'running', 'its container runs'),
    ('deployment', 'starting', 'failed', 'it could not be started'),
    ('deployment', 'starting', 'cancelled', 'cancelled'),
    ('deployment', 'starting', 'preempted', 'made room for a higher class'),
    ('deployment', 'running', 'done', 'its container has ended well, or its time was over'),
    ('deployment', 'running', 'failed', 'its container has failed or is gone'),
    ('deployment', 'running', 'cancelled', 'cancelled'),
    ('deployment', 'running', 'preempted', 'made room for a higher class'),
    ('deployment', 'preempted', 'queued', 'waits again, as if it had never started');

-- Clusters -----------------------------------------------------------------------------------------------------------

CREATE TABLE compute_cluster (
    id uuid NOT NULL,
    number bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    tenant_customer_id uuid NOT NULL,
    org_id uuid NOT NULL,
    accreditation_id uuid NOT NULL,
    name text NOT NULL,
    total_cpu int NOT NULL,
    total_ram int NOT NULL,
    total_gpu int NOT NULL,
    allocated_cpu int NOT NULL DEFAULT 0,
    allocated_ram int NOT NULL DEFAULT 0,
    allocated_gpu int NOT NULL DEFAULT 0,
    launch_type text NOT NULL,
    objective text NOT NULL,
    solver text NOT NULL,
    backfill text NOT NULL,
    preemption boolean NOT NULL,
    max_wait_seconds int,
    state text NOT NULL DEFAULT 'creating',
    previous_state text,
    result_message text,
    arn text,
    security_group text,
    user_id uuid DEFAULT caller_user(),
    generation bigint NOT NULL DEFAULT 1,
    decided_generation bigint NOT NULL DEFAULT 0,
    schedule_job_id uuid,
    deleted_date timestamptz,
    missing_reason text,
    CONSTRAINT compute_cluster_pk PRIMARY KEY (id),
    CONSTRAINT compute_cluster_number_uk UNIQUE (number),
    CONSTRAINT compute_cluster_org_uk UNIQUE (org_id, id),
    CONSTRAINT compute_cluster_org_fk FOREIGN KEY (tenant_customer_id, org_id) REFERENCES org (tenant_customer_id, id),
    CONSTRAINT compute_cluster_user_fk FOREIGN KEY (user_id) REFERENCES app_user (id),
    CONSTRAINT compute_cluster_accreditation_fk FOREIGN KEY (accreditation_id) REFERENCES accreditation (id),
    CONSTRAINT compute_cluster_name_ck CHECK (name ~ '^[^[:cntrl:]]{1,255}$' AND name ~ '[^[:space:]]'),
    CONSTRAINT compute_cluster_cpu_ck CHECK (allocated_cpu BETWEEN 0 AND total_cpu),
    CONSTRAINT compute_cluster_ram_ck CHECK (allocated_ram BETWEEN 0 AND total_ram),
    CONSTRAINT compute_cluster_gpu_ck CHECK (allocated_gpu BETWEEN 0 AND total_gpu),
    CONSTRAINT compute_cluster_total_ck CHECK (total_cpu > 0 OR total_ram > 0 OR total_gpu > 0),
    CONSTRAINT compute_cluster_launch_type_ck CHECK (launch_type IN ('simulated', 'fargate', 'ec2')),
    CONSTRAINT compute_cluster_objective_ck CHECK (objective IN ('auto', 'count', 'expansion')),
    CONSTRAINT compute_cluster_solver_ck CHECK (solver IN ('auto', 'combinations', 'genetic')),
    CONSTRAINT compute_cluster_backfill_ck CHECK (backfill IN ('none', 'reserve', 'any')),
    CONSTRAINT compute_cluster_max_wait_ck CHECK (max_wait_seconds > 0),
    CONSTRAINT compute_cluster_state_ck CHECK (state IN ('creating', 'active', 'failed', 'deleting', 'deleted')),
    CONSTRAINT compute_cluster_deleted_ck CHECK ((deleted_date IS NOT NULL) = (state IN ('failed', 'deleted')))
) INHERITS (class.audit_trail) WITH (fillfactor = 50);
CREATE UNIQUE INDEX compute_cluster_name_uk ON compute_cluster (org_id, lower(name)) WHERE deleted_date IS NULL;
SELECT class.copy_comments('class.audit_trail', 'compute_cluster');
SELECT class.tenant_policy('compute_cluster');
COMMENT ON TABLE compute_cluster IS 'A cluster of a fixed capacity, and how it is shared out. What is allocated is the sum over its deployments that start or run: a constraint.';
COMMENT ON COLUMN compute_cluster.id IS 'Id of the provision row that made it.';
COMMENT ON COLUMN compute_cluster.number IS 'The cluster for surfaces that know integers only.';
COMMENT ON COLUMN compute_cluster.tenant_customer_id IS 'Whose it is.';
COMMENT ON COLUMN compute_cluster.org_id IS 'The org it belongs to.';
COMMENT ON COLUMN compute_cluster.accreditation_id IS 'The AWS account it is in, or the tenant''s simulated outside.';
COMMENT ON COLUMN compute_cluster.name IS 'Unique in its org among those that are not deleted.';
COMMENT ON COLUMN compute_cluster.total_cpu IS 'Capacity in vCPU.';
COMMENT ON COLUMN compute_cluster.total_ram IS 'Capacity in GiB.';
COMMENT ON COLUMN compute_cluster.total_gpu IS 'Capacity in devices.';
COMMENT ON COLUMN compute_cluster.allocated_cpu IS 'vCPU of the deployments that start or run; written by deployment_allocated() only.';
COMMENT ON COLUMN compute_cluster.allocated_ram IS 'GiB of the deployments that start or run.';
COMMENT ON COLUMN compute_cluster.allocated_gpu IS 'Devices of the deployments that start or run.';
COMMENT ON COLUMN compute_cluster.launch_type IS 'simulated: nothing runs; fargate, ec2: ECS tasks of that launch type.';
COMMENT ON COLUMN compute_cluster.objective IS 'What the scheduler makes the most of: count, expansion, or auto: expansion if all that wait have a TTL.';
COMMENT ON COLUMN compute_cluster.solver IS 'auto: the exact one; combinations, genetic: simpler ones, for comparison.';
COMMENT ON COLUMN compute_cluster.backfill IS 'Who may overtake a head that does not fit: none, reserve (who does not delay it), any (who fits).';
COMMENT ON COLUMN compute_cluster.preemption IS 'Whether a higher class may displace running deployments of lower ones.';
COMMENT ON COLUMN compute_cluster.max_wait_seconds IS 'The oldest deployment that has waited longer comes next whatever its class; NULL: never.';
COMMENT ON COLUMN compute_cluster.state IS 'How far it is: creating, active, failed, deleting, deleted.';
COMMENT ON COLUMN compute_cluster.previous_state IS 'The state before; noted by the guard.';
COMMENT ON COLUMN compute_cluster.result_message IS 'Why it could not be made or deleted.';
COMMENT ON COLUMN compute_cluster.arn IS 'ARN of the ECS cluster; NULL: simulated.';
COMMENT ON COLUMN compute_cluster.security_group IS 'The security group its tasks at Fargate are in.';
COMMENT ON COLUMN compute_cluster.user_id IS 'The user who asked for it through the API.';
COMMENT ON COLUMN compute_cluster.generation IS 'Raised by whatever a decision depends on; a decision is applied only to the generation it was made for.';
COMMENT ON COLUMN compute_cluster.decided_generation IS 'The last generation that was decided about.';
COMMENT ON COLUMN compute_cluster.schedule_job_id IS 'The job that decides next.';
INSERT INTO class.audit_omission VALUES ('compute_cluster', '{allocated_cpu,allocated_ram,allocated_gpu,decided_generation,schedule_job_id}');
COMMENT ON COLUMN compute_cluster.deleted_date IS 'When it was deleted, or failed; history from then on.';
COMMENT ON COLUMN compute_cluster.missing_reason IS 'Set by the reconcile pass when the account does not have it.';

CREATE TABLE provision_compute_cluster (
    name text NOT NULL,
    total_cpu int NOT NULL,
    total_ram int NOT NULL,
    total_gpu int NOT NULL DEFAULT 0,
    launch_type text,
    objective text NOT NULL DEFAULT 'auto',
    solver text NOT NULL DEFAULT 'auto',
    backfill text NOT NULL DEFAULT 'reserve',
    preemption boolean NOT NULL DEFAULT false,
    max_wait_seconds int
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_compute_cluster', job_type => 'provision_compute_cluster_create', providers => '{aws,simulated}', failure => true);
COMMENT ON TABLE provision_compute_cluster IS 'Makes a cluster; its row in compute_cluster is there at once, as creating.';
COMMENT ON COLUMN provision_compute_cluster.name IS 'Its name, at most 255 characters.';
COMMENT ON COLUMN provision_compute_cluster.total_cpu IS 'Capacity in vCPU.';
COMMENT ON COLUMN provision_compute_cluster.total_ram IS 'Capacity in GiB.';
COMMENT ON COLUMN provision_compute_cluster.total_gpu IS 'Capacity in devices.';
COMMENT ON COLUMN provision_compute_cluster.launch_type IS 'simulated, fargate or ec2; NULL: at AWS if the tenant has an accreditation there, else simulated.';
COMMENT ON COLUMN provision_compute_cluster.objective IS 'As compute_cluster.objective.';
COMMENT ON COLUMN provision_compute_cluster.solver IS 'As compute_cluster.solver.';
COMMENT ON COLUMN provision_compute_cluster.backfill IS 'As compute_cluster.backfill.';
COMMENT ON COLUMN provision_compute_cluster.preemption IS 'As compute_cluster.preemption.';
COMMENT ON COLUMN provision_compute_cluster.max_wait_seconds IS 'As compute_cluster.max_wait_seconds.';

CREATE TABLE provision_compute_cluster_update (
    compute_cluster_id uuid NOT NULL,
    total_cpu int,
    total_ram int,
    total_gpu int,
    objective text,
    solver text,
    backfill text,
    preemption boolean,
    max_wait_seconds int,
    previous_cpu int,
    previous_ram int,
    previous_gpu int,
    CONSTRAINT provision_compute_cluster_update_cluster_fk FOREIGN KEY (compute_cluster_id) REFERENCES compute_cluster (id)
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_compute_cluster_update', job_type => 'provision_compute_cluster_update', providers => '{aws,simulated}', failure => true);
COMMENT ON TABLE provision_compute_cluster_update IS 'Changes a cluster. Capacity that is taken away is gone at once, capacity that is added counts when it is there.';
COMMENT ON COLUMN provision_compute_cluster_update.compute_cluster_id IS 'The cluster.';
COMMENT ON COLUMN provision_compute_cluster_update.total_cpu IS 'New capacity in vCPU; NULL, here and below: as it is.';
COMMENT ON COLUMN provision_compute_cluster_update.total_ram IS 'New capacity in GiB.';
COMMENT ON COLUMN provision_compute_cluster_update.total_gpu IS 'New capacity in devices.';
COMMENT ON COLUMN provision_compute_cluster_update.objective IS 'As compute_cluster.objective.';
COMMENT ON COLUMN provision_compute_cluster_update.solver IS 'As compute_cluster.solver.';
COMMENT ON COLUMN provision_compute_cluster_update.backfill IS 'As compute_cluster.backfill.';
COMMENT ON COLUMN provision_compute_cluster_update.preemption IS 'As compute_cluster.preemption.';
COMMENT ON COLUMN provision_compute_cluster_update.max_wait_seconds IS 'As compute_cluster.max_wait_seconds; 0: never.';
COMMENT ON COLUMN provision_compute_cluster_update.previous_cpu IS 'What it had; it has it again if the update fails.';
COMMENT ON COLUMN provision_compute_cluster_update.previous_ram IS 'What it had.';
COMMENT ON COLUMN provision_compute_cluster_update.previous_gpu IS 'What it had.';

CREATE TABLE provision_compute_cluster_delete (
    compute_cluster_id uuid NOT NULL,
    CONSTRAINT provision_compute_cluster_delete_cluster_fk FOREIGN KEY (compute_cluster_id) REFERENCES compute_cluster (id)
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_compute_cluster_delete', job_type => 'provision_compute_cluster_delete', providers => '{aws,simulated}', failure => true);
COMMENT ON TABLE provision_compute_cluster_delete IS 'Deletes a cluster that has no deployments any more.';
COMMENT ON COLUMN provision_compute_cluster_delete.compute_cluster_id IS 'The cluster.';

-- Deployments --------------------------------------------------------------------------------------------------------

CREATE TABLE deployment_priority (
    priority smallint NOT NULL,
    name text NOT NULL,
    CONSTRAINT deployment_priority_pk PRIMARY KEY (priority),
    CONSTRAINT deployment_priority_name_uk UNIQUE (name),
    CONSTRAINT deployment_priority_name_ck CHECK (name ~ '^[A-Z][A-Z_]*$')
);
COMMENT ON TABLE deployment_priority IS 'Classes of deployments; a higher one goes first.';
COMMENT ON COLUMN deployment_priority.priority IS 'The class; the higher the better.';
COMMENT ON COLUMN deployment_priority.name IS 'What it is called.';
INSERT INTO deployment_priority VALUES (1, 'HIGH'), (0, 'LOW');

CREATE TABLE deployment (
    id uuid NOT NULL,
    number bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    tenant_customer_id uuid NOT NULL,
    org_id uuid NOT NULL,
    compute_cluster_id uuid NOT NULL,
    name text NOT NULL,
    cpu int NOT NULL,
    ram int NOT NULL,
    gpu int NOT NULL,
    priority smallint NOT NULL,
    docker_path text NOT NULL,
    image text,
    ttl_seconds int,
    queue_ttl_seconds int,
    state text NOT NULL,
    previous_state text,
    result_message text,
    open_dependencies int NOT NULL DEFAULT 0,
    starts int NOT NULL DEFAULT 0,
    arrived_date timestamptz NOT NULL DEFAULT engine_now(),
    started_date timestamptz,
    running_date timestamptz,
    ends_date timestamptz,
    stop_kind text,
    task_arn text,
    user_id uuid DEFAULT caller_user(),
    version bigint NOT NULL DEFAULT 1,
    finished_date timestamptz,
    CONSTRAINT deployment_pk PRIMARY KEY (id),
    CONSTRAINT deployment_number_uk UNIQUE (number),
    CONSTRAINT deployment_org_uk UNIQUE (org_id, id),
    CONSTRAINT deployment_org_fk FOREIGN KEY (tenant_customer_id, org_id) REFERENCES org (tenant_customer_id, id),
    CONSTRAINT deployment_compute_cluster_fk FOREIGN KEY (org_id, compute_cluster_id) REFERENCES compute_cluster (org_id, id),
    CONSTRAINT deployment_user_fk FOREIGN KEY (user_id) REFERENCES app_user (id),
    CONSTRAINT deployment_priority_fk FOREIGN KEY (priority) REFERENCES deployment_priority (priority),
    CONSTRAINT deployment_name_ck CHECK (name ~ '^[^[:cntrl:]]{1,255}$' AND name ~ '[^[:space:]]'),
    CONSTRAINT deployment_demand_ck CHECK (least(cpu, ram, gpu) >= 0 AND greatest(cpu, ram, gpu) > 0),
    CONSTRAINT deployment_ttl_ck CHECK (ttl_seconds > 0 AND queue_ttl_seconds > 0),
    CONSTRAINT deployment_open_ck CHECK (open_dependencies >= 0 AND (state <> 'pending' OR open_dependencies > 0)),
    CONSTRAINT deployment_state_ck CHECK (state IN ('pending', 'queued', 'starting', 'running', 'preempted', 'done', 'failed', 'cancelled', 'rejected')),
    CONSTRAINT deployment_started_ck CHECK (started_date IS NOT NULL OR state NOT IN ('starting', 'running')),
    CONSTRAINT deployment_running_ck CHECK (running_date IS NOT NULL OR state <> 'running'),
    CONSTRAINT deployment_stop_ck CHECK (stop_kind IN ('cancel', 'ttl', 'preempt')),
    CONSTRAINT deployment_finished_ck CHECK ((finished_date IS NOT NULL) = (state IN ('done', 'failed', 'cancelled', 'rejected')))
) INHERITS (class.audit_trail) WITH (fillfactor = 50);
CREATE UNIQUE INDEX deployment_name_uk ON deployment (org_id, lower(name)) WHERE finished_date IS NULL;
CREATE INDEX deployment_live_ix ON deployment (compute_cluster_id) WHERE finished_date IS NULL;
SELECT class.copy_comments('class.audit_trail', 'deployment');
SELECT class.tenant_policy('deployment');
COMMENT ON TABLE deployment IS 'A container with a demand and a class that waits for its share of a cluster, runs, and ends.';
COMMENT ON COLUMN deployment.id IS 'Id of the provision row that asked for it.';
COMMENT ON COLUMN deployment.number IS 'The deployment for surfaces that know integers only.';
COMMENT ON COLUMN deployment.tenant_customer_id IS 'Whose it is.';
COMMENT ON COLUMN deployment.org_id IS 'The org it belongs to.';
COMMENT ON COLUMN deployment.compute_cluster_id IS 'Where it is to run.';
COMMENT ON COLUMN deployment.name IS 'Unique in its org among those that have not ended.';
COMMENT ON COLUMN deployment.cpu IS 'Demand in vCPU.';
COMMENT ON COLUMN deployment.ram IS 'Demand in GiB.';
COMMENT ON COLUMN deployment.gpu IS 'Demand in devices.';
COMMENT ON COLUMN deployment.priority IS 'Its class (deployment_priority).';
COMMENT ON COLUMN deployment.docker_path IS 'An image reference, or the https URL of a Dockerfile.';
COMMENT ON COLUMN deployment.image IS 'The image that runs, pinned to a digest.';
COMMENT ON COLUMN deployment.ttl_seconds IS 'How long it may run; NULL: no limit.';
COMMENT ON COLUMN deployment.queue_ttl_seconds IS 'How long it may wait; NULL: no limit.';
COMMENT ON COLUMN deployment.state IS 'pending, queued, starting, running, preempted, done, failed, cancelled or rejected.';
COMMENT ON COLUMN deployment.previous_state IS 'The state before; noted by the guard.';
COMMENT ON COLUMN deployment.result_message IS 'Why it is in its state; why it waits is in deployment_wait.';
COMMENT ON COLUMN deployment.open_dependencies IS 'Dependencies that are not done.';
COMMENT ON COLUMN deployment.starts IS 'How often it was started; preempted ones start again.';
COMMENT ON COLUMN deployment.arrived_date IS 'When it came; kept when it is preempted.';
COMMENT ON COLUMN deployment.started_date IS 'When it was last given its share.';
COMMENT ON COLUMN deployment.running_date IS 'When its container last began to run.';
COMMENT ON COLUMN deployment.ends_date IS 'When its time is over: the TTL, or what a simulated one takes.';
COMMENT ON COLUMN deployment.stop_kind IS 'Why it is being stopped: cancel, ttl or preempt; NULL: it is not.';
COMMENT ON COLUMN deployment.task_arn IS 'ARN of its ECS task.';
COMMENT ON COLUMN deployment.user_id IS 'The user who asked for it through the API.';
COMMENT ON COLUMN deployment.version IS 'Raised with every change, for ETags.';
COMMENT ON COLUMN deployment.finished_date IS 'When it ended.';

CREATE TABLE deployment_dependency (
    deployment_id uuid NOT NULL,
    depends_on_id uuid NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid NOT NULL,
    CONSTRAINT deployment_dependency_pk PRIMARY KEY (deployment_id, depends_on_id),
    CONSTRAINT deployment_dependency_deployment_fk FOREIGN KEY (org_id, deployment_id) REFERENCES deployment (org_id, id),
    CONSTRAINT deployment_dependency_depends_on_fk FOREIGN KEY (org_id, depends_on_id) REFERENCES deployment (org_id, id),
    CONSTRAINT deployment_dependency_self_ck CHECK (deployment_id <> depends_on_id)
);
CREATE INDEX deployment_dependency_depends_on_ix ON deployment_dependency (depends_on_id);
SELECT class.tenant_policy('deployment_dependency');
COMMENT ON TABLE deployment_dependency IS 'Which deployments wait for which to be done. They name older ones only, so there is no circle.';
COMMENT ON COLUMN deployment_dependency.deployment_id IS 'The one that waits.';
COMMENT ON COLUMN deployment_dependency.depends_on_id IS 'The one it waits for.';
COMMENT ON COLUMN deployment_dependency.tenant_customer_id IS 'Whose they are.';
COMMENT ON COLUMN deployment_dependency.org_id IS 'The org of both.';

CREATE TABLE deployment_wait (
    deployment_id uuid NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid NOT NULL,
    code text NOT NULL,
    reason text NOT NULL,
    promised_date timestamptz,
    version bigint NOT NULL DEFAULT 1,
    decided_date timestamptz NOT NULL DEFAULT engine_now(),
    CONSTRAINT deployment_wait_pk PRIMARY KEY (deployment_id),
    CONSTRAINT deployment_wait_deployment_fk FOREIGN KEY (org_id, deployment_id) REFERENCES deployment (org_id, id)
) WITH (fillfactor = 50);
SELECT class.tenant_policy('deployment_wait');
COMMENT ON TABLE deployment_wait IS 'Why deployments wait, as the last decision said; not kept when they start.';
COMMENT ON COLUMN deployment_wait.deployment_id IS 'The one that waits.';
COMMENT ON COLUMN deployment_wait.tenant_customer_id IS 'Whose it is.';
COMMENT ON COLUMN deployment_wait.org_id IS 'Its org.';
COMMENT ON COLUMN deployment_wait.code IS 'Why, as a word: no_room, reserved, delays, …';
COMMENT ON COLUMN deployment_wait.reason IS 'Why, as a sentence.';
COMMENT ON COLUMN deployment_wait.promised_date IS 'By when it starts at the latest, if it is the head of the queue; infinity: that depends on something without a TTL.';
COMMENT ON COLUMN deployment_wait.version IS 'Raised with every change, for ETags.';
COMMENT ON COLUMN deployment_wait.decided_date IS 'When that was decided.';

CREATE TABLE provision_deployment (
    compute_cluster_id uuid NOT NULL,
    name text NOT NULL,
    cpu int NOT NULL,
    ram int NOT NULL,
    gpu int NOT NULL DEFAULT 0,
    priority smallint NOT NULL DEFAULT 0,
    docker_path text NOT NULL,
    ttl_seconds int,
    queue_ttl_seconds int,
    depends_on uuid[] NOT NULL DEFAULT '{}',
    is_complete boolean NOT NULL DEFAULT false,
    CONSTRAINT provision_deployment_compute_cluster_fk FOREIGN KEY (compute_cluster_id) REFERENCES compute_cluster (id)
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_deployment', job_type => 'provision_deployment_run', providers => '{aws,simulated}', failure => true, lock => true);
COMMENT ON TABLE provision_deployment IS 'Asks for a deployment. Pending while it waits, processing from its start, completed when it is done.';
COMMENT ON COLUMN provision_deployment.compute_cluster_id IS 'Where it is to run.';
COMMENT ON COLUMN provision_deployment.name IS 'Its name, at most 255 characters.';
COMMENT ON COLUMN provision_deployment.cpu IS 'Demand in vCPU.';
COMMENT ON COLUMN provision_deployment.ram IS 'Demand in GiB.';
COMMENT ON COLUMN provision_deployment.gpu IS 'Demand in devices.';
COMMENT ON COLUMN provision_deployment.priority IS 'Its class (deployment_priority).';
COMMENT ON COLUMN provision_deployment.docker_path IS 'An image reference, or the https URL of a Dockerfile.';
COMMENT ON COLUMN provision_deployment.ttl_seconds IS 'How long it may run; NULL: no limit.';
COMMENT ON COLUMN provision_deployment.queue_ttl_seconds IS 'How long it may wait; NULL: no limit.';
COMMENT ON COLUMN provision_deployment.depends_on IS 'Deployments of the same org that have to be done first.';
COMMENT ON COLUMN provision_deployment.is_complete IS 'The gate: opened by the scheduler, which starts it.';

CREATE TABLE provision_deployment_stop (
    deployment_id uuid NOT NULL,
    reason text,
    CONSTRAINT provision_deployment_stop_deployment_fk FOREIGN KEY (deployment_id) REFERENCES deployment (id)
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_deployment_stop', job_type => 'provision_deployment_stop', providers => '{aws,simulated}', success => false);
COMMENT ON TABLE provision_deployment_stop IS 'Cancels a deployment: at once if it waits, else when its container was seen to have ended.';
COMMENT ON COLUMN provision_deployment_stop.deployment_id IS 'The deployment.';
COMMENT ON COLUMN provision_deployment_stop.reason IS 'Why.';

INSERT INTO job_type VALUES
    ('provision_compute_cluster_create', 'makes an ECS cluster', 20),
    ('provision_compute_cluster_update', 'changes an ECS cluster', 20),
    ('provision_compute_cluster_delete', 'deletes an ECS cluster', 20),
    ('provision_deployment_run', 'starts a deployment''s container, and looks at it until it has ended', 20),
    ('provision_deployment_stop', 'waits until a cancelled deployment has ended', 20),
    ('deployment_schedule', 'decides which deployments of a cluster start', 20),
    ('deployment_sweep', 'has clusters decided about whose job has failed', 20);

INSERT INTO order_operation VALUES
    ('compute_cluster.create', 'compute_cluster_create_plan', false, 'makes a cluster that deployments share'),
    ('compute_cluster.update', 'compute_cluster_update_plan', false, 'changes a cluster that deployments share'),
    ('compute_cluster.delete', 'compute_cluster_delete_plan', false, 'deletes a cluster that deployments share'),
    ('deployment.create', 'deployment_create_plan', false, 'has a container run'),
    ('deployment.stop', 'deployment_stop_plan', false, 'cancels a deployment');

-- The sum ------------------------------------------------------------------------------------------------------------

CREATE FUNCTION compute_cluster_balance() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: it is checked whoever commits.
BEGIN
    IF EXISTS (
        SELECT FROM compute_cluster AS c CROSS JOIN LATERAL (
            SELECT COALESCE(sum(d.cpu), 0) AS cpu, COALESCE(sum(d.ram), 0) AS ram, COALESCE(sum(d.gpu), 0) AS gpu
            FROM deployment AS d WHERE d.compute_cluster_id = c.id AND d.finished_date IS NULL AND d.state IN ('starting', 'running')) AS s
        WHERE c.id = NEW.id AND (c.allocated_cpu, c.allocated_ram, c.allocated_gpu) <> (s.cpu, s.ram, s.gpu)) THEN
        PERFORM refuse('PV409', 'what is allocated is not what runs', format('cluster %s', NEW.id), 'leave allocated_cpu, allocated_ram and allocated_gpu to the engine');
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION compute_cluster_balance() IS 'Asked at commit: what is allocated of a cluster is the sum over its deployments that start or run.';

CREATE CONSTRAINT TRIGGER compute_cluster_balance_tg AFTER INSERT OR UPDATE OF allocated_cpu, allocated_ram, allocated_gpu ON compute_cluster
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION compute_cluster_balance();
