-- depends: 0011.cluster
--
-- Accounts of orgs, in US dollars. What comes in is rows of `account_entry`; what goes out is `account_cost`, one row per cost
-- tag and day, in which the real cost (from AWS Cost Explorer) takes the place of what was metered. `account_balance` is
-- always the sum of both: a trigger moves it with every change of either. Whoever has cost in AWS registers a `cost_tag`,
-- meters into account_cost.metered, and gets the real cost in account_cost.actual.

INSERT INTO permission VALUES ('account.read', 'see what the org spends and for how long its money lasts');
INSERT INTO role_permission SELECT r, 'account.read' FROM unnest('{owner,manager,platform_admin,staff,support}'::text[]) AS r;

CREATE TABLE account (
    id uuid NOT NULL DEFAULT new_id(),
    tenant_customer_id uuid NOT NULL,
    org_id uuid NOT NULL,
    monthly_allowance numeric NOT NULL DEFAULT 0,
    max_allowance numeric,
    CONSTRAINT account_pk PRIMARY KEY (id),
    CONSTRAINT account_org_uk UNIQUE (org_id),
    CONSTRAINT account_org_fk FOREIGN KEY (tenant_customer_id, org_id) REFERENCES org (tenant_customer_id, id),
    CONSTRAINT account_allowance_ck CHECK (monthly_allowance >= 0 AND max_allowance >= 0 AND monthly_allowance < 1e12 AND max_allowance < 1e12)
) INHERITS (class.audit_trail);
SELECT class.copy_comments('class.audit_trail', 'account');
SELECT class.tenant_policy('account');
COMMENT ON TABLE account IS 'What an org may spend; an org without an account may spend what it likes.';
COMMENT ON COLUMN account.id IS 'Id.';
COMMENT ON COLUMN account.tenant_customer_id IS 'Whose it is.';
COMMENT ON COLUMN account.org_id IS 'The org.';
COMMENT ON COLUMN account.monthly_allowance IS 'US dollars credited at the beginning of each month (UTC).';
COMMENT ON COLUMN account.max_allowance IS 'The balance above which the allowance credits nothing; NULL: none.';

CREATE TABLE account_balance (
    account_id uuid NOT NULL,
    balance numeric NOT NULL DEFAULT 0,
    warning_level numeric,
    next_allowance_date timestamptz NOT NULL,
    CONSTRAINT account_balance_pk PRIMARY KEY (account_id),
    CONSTRAINT account_balance_account_fk FOREIGN KEY (account_id) REFERENCES account (id)
) WITH (fillfactor = 50);
CREATE INDEX account_balance_allowance_ix ON account_balance (next_allowance_date);
SELECT class.tenancy_policy('account_balance', 'account_id IN (SELECT id FROM account)');
COMMENT ON TABLE account_balance IS 'The sum of an account''s entries less its costs. Apart from it, since it changes often and tells nobody anything.';
COMMENT ON COLUMN account_balance.account_id IS 'The account.';
COMMENT ON COLUMN account_balance.balance IS 'US dollars, exact.';
COMMENT ON COLUMN account_balance.warning_level IS 'The lowest level it was warned of; NULL: none since it was last above all.';
COMMENT ON COLUMN account_balance.next_allowance_date IS 'The month whose allowance is credited next.';

CREATE TABLE account_entry (
    id uuid NOT NULL DEFAULT new_id(),
    account_id uuid NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid NOT NULL,
    kind text NOT NULL,
    month date,
    amount numeric NOT NULL,
    description text,
    CONSTRAINT account_entry_pk PRIMARY KEY (id),
    CONSTRAINT account_entry_account_fk FOREIGN KEY (account_id) REFERENCES account (id),
    CONSTRAINT account_entry_kind_ck CHECK (kind IN ('deposit', 'allowance', 'adjustment')),
    CONSTRAINT account_entry_month_ck CHECK ((month IS NOT NULL) = (kind = 'allowance')),
    CONSTRAINT account_entry_amount_ck CHECK (abs(amount) < 1e12 AND scale(amount) <= 10 AND (kind <> 'deposit' OR amount > 0))
) INHERITS (class.audit_trail);
CREATE UNIQUE INDEX account_entry_month_uk ON account_entry (account_id, month) WHERE kind = 'allowance';
CREATE INDEX account_entry_account_ix ON account_entry (account_id, id);
SELECT class.copy_comments('class.audit_trail', 'account_entry');
SELECT class.tenant_policy('account_entry');
COMMENT ON TABLE account_entry IS 'What was credited to an account.';
COMMENT ON COLUMN account_entry.id IS 'Id.';
COMMENT ON COLUMN account_entry.account_id IS 'The account.';
COMMENT ON COLUMN account_entry.tenant_customer_id IS 'Whose it is.';
COMMENT ON COLUMN account_entry.org_id IS 'The org.';
COMMENT ON COLUMN account_entry.kind IS 'deposit, allowance (of a month, once) or adjustment (by hand, may be negative).';
COMMENT ON COLUMN account_entry.month IS 'The month of an allowance.';
COMMENT ON COLUMN account_entry.amount IS 'US dollars.';
COMMENT ON COLUMN account_entry.description IS 'For people.';

CREATE TABLE cost_tag (
    tag text NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid NOT NULL,
    accreditation_id uuid NOT NULL,
    module text NOT NULL,
    CONSTRAINT cost_tag_pk PRIMARY KEY (tag),
    CONSTRAINT cost_tag_org_fk FOREIGN KEY (tenant_customer_id, org_id) REFERENCES org (tenant_customer_id, id),
    CONSTRAINT cost_tag_accreditation_fk FOREIGN KEY (accreditation_id) REFERENCES accreditation (id),
    CONSTRAINT cost_tag_tag_ck CHECK (tag ~ '^[A-Za-z0-9._:/=+@-]+$' AND length(tag) <= 256)
);
SELECT class.tenant_policy('cost_tag');
COMMENT ON TABLE cost_tag IS 'Values of the tag provision:cost, by which AWS tells what things cost.';
COMMENT ON COLUMN cost_tag.tag IS 'The value.';
COMMENT ON COLUMN cost_tag.tenant_customer_id IS 'Who pays.';
COMMENT ON COLUMN cost_tag.org_id IS 'The org that pays.';
COMMENT ON COLUMN cost_tag.accreditation_id IS 'The AWS account that tells it.';
COMMENT ON COLUMN cost_tag.module IS 'What it is the cost of: cluster, …';

CREATE TABLE account_cost (
    tag text NOT NULL,
    day date NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid NOT NULL,
    metered numeric NOT NULL DEFAULT 0,
    actual numeric,
    imported_date timestamptz,
    charged numeric NOT NULL GENERATED ALWAYS AS (COALESCE(actual, metered)) STORED,
    CONSTRAINT account_cost_pk PRIMARY KEY (tag, day),
    CONSTRAINT account_cost_tag_fk FOREIGN KEY (tag) REFERENCES cost_tag (tag),
    CONSTRAINT account_cost_metered_ck CHECK (metered >= 0),
    CONSTRAINT account_cost_imported_ck CHECK ((actual IS NULL) = (imported_date IS NULL))
) WITH (fillfactor = 50);
CREATE INDEX account_cost_org_ix ON account_cost (org_id, day);
SELECT class.tenant_policy('account_cost');
COMMENT ON TABLE account_cost IS 'What an org spent on a day (UTC), by cost tag.';
COMMENT ON COLUMN account_cost.tag IS 'The cost tag.';
COMMENT ON COLUMN account_cost.day IS 'The day, in UTC.';
COMMENT ON COLUMN account_cost.tenant_customer_id IS 'Who pays.';
COMMENT ON COLUMN account_cost.org_id IS 'The org that pays.';
COMMENT ON COLUMN account_cost.metered IS 'What we reckon that it costs, until AWS has told; US dollars, to ten places.';
COMMENT ON COLUMN account_cost.actual IS 'What AWS says that it costs, as it last said; NULL: not yet.';
COMMENT ON COLUMN account_cost.imported_date IS 'When it last said so.';
COMMENT ON COLUMN account_cost.charged IS 'What counts: the actual cost, else what was metered.';

CREATE TABLE cluster_usage (
    cluster_id uuid NOT NULL,
    day date NOT NULL,
    overhead_cost numeric NOT NULL,
    node_cost numeric NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid NOT NULL,
    overhead_seconds numeric NOT NULL,
    node_seconds numeric NOT NULL,
    CONSTRAINT cluster_usage_pk PRIMARY KEY (cluster_id, day, overhead_cost, node_cost),
    CONSTRAINT cluster_usage_cluster_fk FOREIGN KEY (cluster_id) REFERENCES cluster (id)
) WITH (fillfactor = 50);
SELECT class.tenant_policy('cluster_usage');
COMMENT ON TABLE cluster_usage IS 'How long a cluster ran on a day (UTC), and its nodes, at which prices. Seconds add up exactly, whatever pieces they come in.';
COMMENT ON COLUMN cluster_usage.cluster_id IS 'The cluster.';
COMMENT ON COLUMN cluster_usage.day IS 'The day, in UTC.';
COMMENT ON COLUMN cluster_usage.overhead_cost IS 'US dollars per hour of load balancer and monitor.';
COMMENT ON COLUMN cluster_usage.node_cost IS 'US dollars per node and hour.';
COMMENT ON COLUMN cluster_usage.tenant_customer_id IS 'Whose it is.';
COMMENT ON COLUMN cluster_usage.org_id IS 'The org of the cluster.';
COMMENT ON COLUMN cluster_usage.overhead_seconds IS 'Seconds that the cluster was there.';
COMMENT ON COLUMN cluster_usage.node_seconds IS 'Seconds of all its nodes, added up.';

ALTER TABLE cluster_clock ADD COLUMN metered_date timestamptz, ADD COLUMN money_date timestamptz;
COMMENT ON COLUMN cluster_clock.metered_date IS 'Up to when its use is counted; NULL: it is down.';
COMMENT ON COLUMN cluster_clock.money_date IS 'When its use is counted next; NULL: it is down.';

INSERT INTO job_type VALUES ('account_import', 'asks AWS Cost Explorer what things cost', 20);
INSERT INTO setting VALUES
    ('account_minimum', '0.50', 'a cluster whose account falls below so many dollars is shut down', 'number', 0, 1000000),
    ('account_warning_levels', '100,20,5', 'balances in dollars at which an org is warned: events of type account.low', 'text', NULL, NULL),
    ('account_admission_hours', '24', 'a request that at its own cost would empty the balance within so many hours is refused', 'number', 0, 8760),
    ('account_import_days', '35', 'how many days back Cost Explorer is asked anew, as it revises them', 'integer', 1, 365),
    ('account_fiscal_month', '10', 'the month that the fiscal year begins with', 'integer', 1, 12);
