-- depends: 0008.event
--
-- Clusters of worker nodes in AWS, one per org, and who asks for how many nodes until when. `capacity_request` has the
-- requests; what a cluster should be like follows from its configuration and the live ones (cluster_target). Where that
-- differs from what was last made, cluster_converge() inserts a row of `provision_cluster` (make it), `_scale` (change or mend
-- it) or `_shutdown` (take it away): one at a time, noted in cluster.operation_id. `cluster_clock` says when to look at a
-- cluster next, so that expiry needs no timer per request.

INSERT INTO permission VALUES
    ('capacity.request', 'ask for nodes of the org''s cluster'),
    ('cluster.change', 'configure, deploy and shut down the org''s cluster');
INSERT INTO role_permission
SELECT r.role, p.name FROM (VALUES
    ('owner', '{capacity.request,cluster.change}'::text[]), ('manager', '{capacity.request,cluster.change}'), ('admin', '{capacity.request}'),
    ('developer', '{capacity.request}'), ('platform_admin', '{capacity.request,cluster.change}'), ('staff', '{capacity.request,cluster.change}')
) AS r (role, permissions) JOIN permission AS p ON p.name = ANY (r.permissions);

INSERT INTO state_transition (machine, from_state, to_state, meaning) VALUES
    ('cluster', NULL, 'down', 'made; nothing of it exists outside'),
    ('cluster', 'down', 'deploying', 'asked for by its owner or by the first request'),
    ('cluster', 'down', 'shutting_down', 'something of it was found outside'),
    ('cluster', 'deploying', 'up', 'it runs'),
    ('cluster', 'deploying', 'shutting_down', 'it could not be made, or is not wanted any more'),
    ('cluster', 'up', 'shutting_down', 'not wanted any more, or to be made anew'),
    ('cluster', 'shutting_down', 'down', 'nothing of it is left'),
    ('capacity_request', NULL, 'accepted', 'asked for'),
    ('capacity_request', 'accepted', 'in_effect', 'the nodes run'),
    ('capacity_request', 'accepted', 'expired', 'its time ran out before the nodes were there'),
    ('capacity_request', 'accepted', 'withdrawn', 'taken back, or the cluster was shut down'),
    ('capacity_request', 'accepted', 'refused', 'no money left, suspended, or the provider refused'),
    ('capacity_request', 'in_effect', 'expired', 'its time ran out'),
    ('capacity_request', 'in_effect', 'withdrawn', 'taken back, or the cluster was shut down'),
    ('capacity_request', 'in_effect', 'refused', 'no money left, or suspended');

-- What runs ----------------------------------------------------------------------------------------------------------

CREATE TABLE cluster_version (
    name text NOT NULL,
    description text,
    node_image text NOT NULL,
    overhead_image text NOT NULL,
    overhead_instance_type text NOT NULL DEFAULT 't3.medium',
    user_data text NOT NULL DEFAULT '',
    is_active boolean NOT NULL DEFAULT true,
    is_limited boolean NOT NULL DEFAULT false,
    CONSTRAINT cluster_version_pk PRIMARY KEY (name),
    CONSTRAINT cluster_version_name_ck CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$'),
    CONSTRAINT cluster_version_user_data_ck CHECK (length(user_data) <= 12000)
) INHERITS (class.audit);
SELECT class.copy_comments('class.audit', 'cluster_version');
COMMENT ON TABLE cluster_version IS 'A version of the software that runs on the nodes of clusters.';
COMMENT ON COLUMN cluster_version.name IS 'Name, such as v4.20.0.';
COMMENT ON COLUMN cluster_version.description IS 'For people.';
COMMENT ON COLUMN cluster_version.node_image IS 'Image (AMI) of worker nodes.';
COMMENT ON COLUMN cluster_version.overhead_image IS 'Image (AMI) of load balancer and monitor.';
COMMENT ON COLUMN cluster_version.overhead_instance_type IS 'Instance type of load balancer and monitor.';
COMMENT ON COLUMN cluster_version.user_data IS 'What nodes run when they start; {org}, {role} (ilb, monitor, node), {domain} and {is_public} are filled in. No secret: instances can read it.';
COMMENT ON COLUMN cluster_version.is_active IS 'Whether clusters may be configured to run it.';
COMMENT ON COLUMN cluster_version.is_limited IS 'Whether it is only for the orgs of cluster_version_org.';

CREATE TABLE cluster_version_org (
    cluster_version text NOT NULL,
    org_id uuid NOT NULL,
    CONSTRAINT cluster_version_org_pk PRIMARY KEY (cluster_version, org_id),
    CONSTRAINT cluster_version_org_version_fk FOREIGN KEY (cluster_version) REFERENCES cluster_version (name),
    CONSTRAINT cluster_version_org_org_fk FOREIGN KEY (org_id) REFERENCES org (id)
);
SELECT class.tenancy_policy('cluster_version_org', 'org_id = ANY ((SELECT caller_orgs())::uuid[])');
COMMENT ON TABLE cluster_version_org IS 'The orgs that may run a version that is limited.';
COMMENT ON COLUMN cluster_version_org.cluster_version IS 'The version.';
COMMENT ON COLUMN cluster_version_org.org_id IS 'The org.';

-- Clusters -----------------------------------------------------------------------------------------------------------

CREATE TABLE cluster (
    id uuid NOT NULL DEFAULT new_id(),
    tenant_customer_id uuid NOT NULL,
    org_id uuid NOT NULL,
    accreditation_id uuid NOT NULL,
    domain text NOT NULL,
    cost_tag text NOT NULL,
    ceiling int NOT NULL DEFAULT 0,
    overhead_cost numeric NOT NULL DEFAULT 0.153,
    node_cost numeric NOT NULL DEFAULT 0.226,
    min_nodes int NOT NULL DEFAULT 0,
    max_nodes int NOT NULL,
    destroy_when_no_nodes boolean NOT NULL DEFAULT true,
    allow_deploy_by_token boolean NOT NULL DEFAULT true,
    is_public boolean NOT NULL DEFAULT false,
    is_suspended boolean NOT NULL DEFAULT false,
    cluster_version text NOT NULL,
    spot_max_price numeric,
    allocation_strategy text NOT NULL DEFAULT 'price-capacity-optimized',
    instance_types text[] NOT NULL DEFAULT '{r8g.xlarge}',
    zone text,
    subnet_id text,
    version bigint NOT NULL DEFAULT 1,
    is_wanted boolean NOT NULL DEFAULT false,
    state text NOT NULL DEFAULT 'down',
    previous_state text,
    deleted_date timestamptz DEFAULT engine_now(),
    ready_date timestamptz,
    generation int NOT NULL DEFAULT 0,
    operation_id uuid,
    target_nodes int NOT NULL DEFAULT 0,
    current_nodes int NOT NULL DEFAULT 0,
    applied jsonb,
    address text,
    drift text,
    failure text,
    CONSTRAINT cluster_pk PRIMARY KEY (id),
    CONSTRAINT cluster_tenant_customer_uk UNIQUE (tenant_customer_id, id),
    CONSTRAINT cluster_org_uk UNIQUE (org_id),
    CONSTRAINT cluster_cost_tag_uk UNIQUE (cost_tag),
    CONSTRAINT cluster_tenant_customer_fk FOREIGN KEY (tenant_customer_id) REFERENCES tenant_customer (id),
    CONSTRAINT cluster_org_fk FOREIGN KEY (tenant_customer_id, org_id) REFERENCES org (tenant_customer_id, id),
    CONSTRAINT cluster_accreditation_fk FOREIGN KEY (accreditation_id) REFERENCES accreditation (id),
    CONSTRAINT cluster_version_fk FOREIGN KEY (cluster_version) REFERENCES cluster_version (name),
    CONSTRAINT cluster_nodes_ck CHECK (min_nodes >= 0 AND max_nodes > 0 AND min_nodes <= max_nodes AND max_nodes <= ceiling),
    CONSTRAINT cluster_current_ck CHECK (target_nodes >= 0 AND current_nodes >= 0),
    CONSTRAINT cluster_cost_ck CHECK (overhead_cost >= 0 AND node_cost >= 0),
    CONSTRAINT cluster_price_ck CHECK (spot_max_price > 0),
    CONSTRAINT cluster_strategy_ck CHECK (allocation_strategy IN ('lowest-price', 'capacity-optimized', 'price-capacity-optimized')),
    CONSTRAINT cluster_types_ck CHECK (cardinality(instance_types) BETWEEN 1 AND 20),
    CONSTRAINT cluster_domain_ck CHECK (domain ~ '^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    CONSTRAINT cluster_state_ck CHECK (state IN ('down', 'deploying', 'up', 'shutting_down')),
    CONSTRAINT cluster_deleted_ck CHECK ((deleted_date IS NOT NULL) = (state = 'down')),
    CONSTRAINT cluster_down_ck CHECK (state <> 'down' OR (current_nodes = 0 AND applied IS NULL AND ready_date IS NULL)),
    CONSTRAINT cluster_up_ck CHECK (state <> 'up' OR (applied IS NOT NULL AND ready_date IS NOT NULL))
) INHERITS (class.audit_trail) WITH (fillfactor = 50);
SELECT class.copy_comments('class.audit_trail', 'cluster');
SELECT class.tenant_policy('cluster');
COMMENT ON TABLE cluster IS 'An org''s cluster of worker nodes: how it is configured, and how it is.';
COMMENT ON COLUMN cluster.id IS 'Id.';
COMMENT ON COLUMN cluster.tenant_customer_id IS 'Whose it is.';
COMMENT ON COLUMN cluster.org_id IS 'The org; it has one cluster.';
COMMENT ON COLUMN cluster.accreditation_id IS 'The AWS account it runs in.';
COMMENT ON COLUMN cluster.domain IS 'The domain in which it is reached, as <org>.<domain>.';
COMMENT ON COLUMN cluster.cost_tag IS 'Value of the tag by which AWS tells its cost.';
COMMENT ON COLUMN cluster.ceiling IS 'The most that max_nodes may be; set by the administrators.';
COMMENT ON COLUMN cluster.overhead_cost IS 'US dollars per hour of load balancer and monitor.';
COMMENT ON COLUMN cluster.node_cost IS 'US dollars per node and hour.';
COMMENT ON COLUMN cluster.min_nodes IS 'Nodes it has at least while it is up.';
COMMENT ON COLUMN cluster.max_nodes IS 'Nodes it has at most.';
COMMENT ON COLUMN cluster.destroy_when_no_nodes IS 'Whether it goes when there is no live request and min_nodes is 0.';
COMMENT ON COLUMN cluster.allow_deploy_by_token IS 'Whether a request deploys it when it is down.';
COMMENT ON COLUMN cluster.is_public IS 'Whether it can be used without a membership.';
COMMENT ON COLUMN cluster.is_suspended IS 'Whether no requests are taken.';
COMMENT ON COLUMN cluster.cluster_version IS 'The software version it is to run.';
COMMENT ON COLUMN cluster.spot_max_price IS 'The most to pay for a spot node per hour; NULL: the on-demand price.';
COMMENT ON COLUMN cluster.allocation_strategy IS 'How spot nodes are chosen (EC2 Auto Scaling, SpotAllocationStrategy).';
COMMENT ON COLUMN cluster.instance_types IS 'Instance types of worker nodes, the preferred one first.';
COMMENT ON COLUMN cluster.zone IS 'Availability zone; NULL: AWS chooses.';
COMMENT ON COLUMN cluster.subnet_id IS 'A subnet that is there already; NULL: it gets a network of its own.';
COMMENT ON COLUMN cluster.version IS 'Rises with every change of the configuration.';
COMMENT ON COLUMN cluster.is_wanted IS 'Whether it is to be up.';
COMMENT ON COLUMN cluster.state IS 'down, deploying, up or shutting_down.';
COMMENT ON COLUMN cluster.previous_state IS 'The state before; noted by the guard.';
COMMENT ON COLUMN cluster.deleted_date IS 'Since when nothing of it is outside; NULL: something is.';
COMMENT ON COLUMN cluster.ready_date IS 'Since when it is up.';
COMMENT ON COLUMN cluster.generation IS 'How often it was deployed; on all that belongs to a deployment.';
COMMENT ON COLUMN cluster.operation_id IS 'The provision row that is being worked on; NULL: none.';
COMMENT ON COLUMN cluster.target_nodes IS 'Nodes it was to have when it was last looked at.';
COMMENT ON COLUMN cluster.current_nodes IS 'Nodes that run, as last observed.';
COMMENT ON COLUMN cluster.applied IS 'What was last made of it: software version, nodes, prices, as cluster_plan() says it.';
COMMENT ON COLUMN cluster.address IS 'IP address of the load balancer.';
COMMENT ON COLUMN cluster.drift IS 'What was observed to be other than it was made; NULL: nothing.';
COMMENT ON COLUMN cluster.failure IS 'Why the last operation failed; NULL: it did not.';

CREATE TABLE cluster_clock (
    cluster_id uuid NOT NULL,
    next_date timestamptz,
    retry_date timestamptz,
    failures int NOT NULL DEFAULT 0,
    observed_date timestamptz,
    CONSTRAINT cluster_clock_pk PRIMARY KEY (cluster_id),
    CONSTRAINT cluster_clock_cluster_fk FOREIGN KEY (cluster_id) REFERENCES cluster (id) ON DELETE CASCADE
) WITH (fillfactor = 50);
CREATE INDEX cluster_clock_next_ix ON cluster_clock (next_date) WHERE next_date IS NOT NULL;
SELECT class.tenancy_policy('cluster_clock', 'cluster_id IN (SELECT id FROM cluster)');
COMMENT ON TABLE cluster_clock IS 'When each cluster is looked at next. Apart from it, since it changes often and tells nobody anything.';
COMMENT ON COLUMN cluster_clock.cluster_id IS 'The cluster.';
COMMENT ON COLUMN cluster_clock.next_date IS 'When something is due: a request expires, an operation is tried again; NULL: nothing.';
COMMENT ON COLUMN cluster_clock.retry_date IS 'Before this no operation is begun, as the last one failed.';
COMMENT ON COLUMN cluster_clock.failures IS 'How many operations failed one after the other.';
COMMENT ON COLUMN cluster_clock.observed_date IS 'When it was last looked at outside.';

CREATE TABLE capacity_request (
    id uuid NOT NULL DEFAULT new_id(),
    tenant_customer_id uuid NOT NULL,
    org_id uuid NOT NULL,
    cluster_id uuid NOT NULL,
    user_id uuid NOT NULL,
    nodes int NOT NULL,
    expires_date timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'accepted',
    previous_state text,
    effective_date timestamptz,
    finished_date timestamptz,
    reason text,
    CONSTRAINT capacity_request_pk PRIMARY KEY (id),
    CONSTRAINT capacity_request_cluster_fk FOREIGN KEY (tenant_customer_id, cluster_id) REFERENCES cluster (tenant_customer_id, id),
    CONSTRAINT capacity_request_user_fk FOREIGN KEY (user_id) REFERENCES app_user (id),
    CONSTRAINT capacity_request_nodes_ck CHECK (nodes BETWEEN 0 AND 1000000),
    CONSTRAINT capacity_request_state_ck CHECK (state IN ('accepted', 'in_effect', 'expired', 'withdrawn', 'refused')),
    CONSTRAINT capacity_request_finished_ck CHECK ((finished_date IS NOT NULL) = (state IN ('expired', 'withdrawn', 'refused'))),
    CONSTRAINT capacity_request_effective_ck CHECK (state <> 'in_effect' OR effective_date IS NOT NULL),
    CONSTRAINT capacity_request_expired_ck CHECK (state <> 'expired' OR finished_date = expires_date)
) INHERITS (class.audit_trail) WITH (fillfactor = 70);
CREATE INDEX capacity_request_live_ix ON capacity_request (cluster_id, user_id, nodes, expires_date) WHERE finished_date IS NULL;
CREATE INDEX capacity_request_expires_ix ON capacity_request (cluster_id, expires_date) WHERE finished_date IS NULL;
CREATE INDEX capacity_request_org_ix ON capacity_request (org_id, id);
CREATE INDEX capacity_request_user_ix ON capacity_request (user_id) WHERE finished_date IS NULL;
SELECT class.copy_comments('class.audit_trail', 'capacity_request');
SELECT class.tenant_policy('capacity_request');
COMMENT ON TABLE capacity_request IS 'Somebody asks for a number of nodes until some time.';
COMMENT ON COLUMN capacity_request.id IS 'Id.';
COMMENT ON COLUMN capacity_request.tenant_customer_id IS 'Whose cluster it is.';
COMMENT ON COLUMN capacity_request.org_id IS 'The org of the cluster.';
COMMENT ON COLUMN capacity_request.cluster_id IS 'The cluster.';
COMMENT ON COLUMN capacity_request.user_id IS 'Who asks.';
COMMENT ON COLUMN capacity_request.nodes IS 'For how many nodes, as asked; what there is of them the cluster''s limits decide.';
COMMENT ON COLUMN capacity_request.expires_date IS 'Until when.';
COMMENT ON COLUMN capacity_request.state IS 'accepted, in_effect, and at last expired, withdrawn or refused.';
COMMENT ON COLUMN capacity_request.previous_state IS 'The state before; noted by the guard.';
COMMENT ON COLUMN capacity_request.effective_date IS 'Since when the nodes run.';
COMMENT ON COLUMN capacity_request.finished_date IS 'When it ended.';
COMMENT ON COLUMN capacity_request.reason IS 'Why it ended before its time.';

-- What is being done -------------------------------------------------------------------------------------------------

CREATE TABLE provision_cluster (
    cluster_id uuid NOT NULL,
    generation int,
    plan jsonb,
    address text
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_cluster', job_type => 'provision_cluster_deploy', providers => '{aws,manual}', failure => true, result_columns => '{address}');
COMMENT ON TABLE provision_cluster IS 'Deploys a cluster: network, load balancer, monitor, group of nodes, name.';
COMMENT ON COLUMN provision_cluster.cluster_id IS 'The cluster.';
COMMENT ON COLUMN provision_cluster.generation IS 'Which deployment of it this is; given when it is inserted.';
COMMENT ON COLUMN provision_cluster.plan IS 'What is to be made, as cluster_plan() said it.';
COMMENT ON COLUMN provision_cluster.address IS 'IP address of the load balancer.';

CREATE TABLE provision_cluster_scale (
    cluster_id uuid NOT NULL,
    generation int,
    plan jsonb,
    is_repair boolean NOT NULL DEFAULT false,
    min_nodes int,
    max_nodes int,
    address text
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_cluster_scale', job_type => 'provision_cluster_scale', providers => '{aws,manual}', failure => true, result_columns => '{address}');
COMMENT ON TABLE provision_cluster_scale IS 'Gives a cluster the number of nodes it is to have, or other limits, or mends it.';
COMMENT ON COLUMN provision_cluster_scale.cluster_id IS 'The cluster.';
COMMENT ON COLUMN provision_cluster_scale.generation IS 'The deployment that is changed.';
COMMENT ON COLUMN provision_cluster_scale.plan IS 'What is to be made, as cluster_plan() said it.';
COMMENT ON COLUMN provision_cluster_scale.is_repair IS 'Whether all its parts are looked at, and made again where they are missing.';
COMMENT ON COLUMN provision_cluster_scale.min_nodes IS 'The least number of nodes from now on; NULL: as it is.';
COMMENT ON COLUMN provision_cluster_scale.max_nodes IS 'The most; NULL: as it is.';
COMMENT ON COLUMN provision_cluster_scale.address IS 'IP address of the load balancer.';

CREATE TABLE provision_cluster_shutdown (
    cluster_id uuid NOT NULL,
    is_redeploy boolean NOT NULL DEFAULT false,
    end_requests boolean NOT NULL DEFAULT true
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_cluster_shutdown', job_type => 'provision_cluster_shutdown', providers => '{aws,manual}', failure => true);
COMMENT ON TABLE provision_cluster_shutdown IS 'Takes away all there is of a cluster.';
COMMENT ON COLUMN provision_cluster_shutdown.cluster_id IS 'The cluster.';
COMMENT ON COLUMN provision_cluster_shutdown.is_redeploy IS 'Whether it is deployed again afterwards; otherwise its live requests end.';
COMMENT ON COLUMN provision_cluster_shutdown.end_requests IS 'Whether live requests end with it; otherwise it is refused while there are any.';

INSERT INTO job_type VALUES
    ('provision_cluster_deploy', 'deploys a cluster', 20),
    ('provision_cluster_scale', 'changes or mends a cluster', 20),
    ('provision_cluster_shutdown', 'takes a cluster away', 20),
    ('cluster_observe', 'looks at what runs of the clusters of an AWS account', 20);

INSERT INTO order_operation VALUES
    ('cluster.deploy', 'cluster_deploy_plan', false, 'deploys the cluster of an org', false),
    ('cluster.scale', 'cluster_scale_plan', false, 'gives a cluster that is up other limits, and the nodes that are asked for', false),
    ('cluster.shutdown', 'cluster_shutdown_plan', false, 'takes the cluster of an org away', false);

INSERT INTO setting VALUES
    ('cluster_provisioning', '1', 'whether clusters are deployed and requests for nodes taken, in the whole installation', 'integer', 0, 1),
    ('cluster_minutes_minimum', '15', 'the shortest time nodes can be asked for, in minutes', 'integer', 1, 10080),
    ('cluster_minutes_maximum', '720', 'the longest', 'integer', 1, 10080),
    ('cluster_deploy_seconds', '300', 'how long a cluster takes to come up, for estimates', 'integer', 0, 86400),
    ('cluster_grow_seconds', '180', 'how long nodes take to come up, for estimates', 'integer', 0, 86400),
    ('cluster_retry_seconds', '60', 'an operation on a cluster that failed is tried again after so long, doubled each time', 'number', 0, 86400),
    ('cluster_observe_seconds', '60', 'how often it is looked at what runs of clusters', 'integer', 1, 86400);
