-- depends: 0008.event
--
-- The life of a registered name: it is renewed (`provision_domain_renew`), deleted (`provision_domain_delete`), and what
-- time does to it is done by the sweeper: `domain_due` says when. `domain` keeps where in its life a name is.

ALTER TABLE domain
    ADD COLUMN statuses text[] NOT NULL DEFAULT '{}',
    ADD COLUMN rgp_state text,
    ADD COLUMN rgp_until timestamptz,
    ADD COLUMN purge_date timestamptz,
    ADD COLUMN auto_renew boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT domain_rgp_ck CHECK (rgp_state IN ('addPeriod', 'autoRenewPeriod', 'renewPeriod', 'transferPeriod', 'pendingRestore', 'redemptionPeriod', 'pendingDelete')),
    ADD CONSTRAINT domain_purge_ck CHECK (purge_date IS NULL OR rgp_state IN ('pendingRestore', 'redemptionPeriod', 'pendingDelete'));
COMMENT ON COLUMN domain.statuses IS 'Its statuses at the registry (RFC 5731), locks among them, as last seen.';
COMMENT ON COLUMN domain.rgp_state IS 'The grace period it is or was last in (RFC 3915).';
COMMENT ON COLUMN domain.rgp_until IS 'When that period ends.';
COMMENT ON COLUMN domain.purge_date IS 'When a deleted name is purged at the registry and can be registered again.';
COMMENT ON COLUMN domain.auto_renew IS 'Whether it is renewed by itself, setting auto_renew_days before it expires.';

CREATE INDEX host_below_ix ON host (accreditation_id, reverse(name::text) COLLATE "C") WHERE deleted_date IS NULL;

CREATE TABLE domain_due (
    domain_id uuid NOT NULL,
    what text NOT NULL,
    due_date timestamptz NOT NULL,
    basis_date timestamptz NOT NULL,
    CONSTRAINT domain_due_pk PRIMARY KEY (domain_id, what),
    CONSTRAINT domain_due_domain_fk FOREIGN KEY (domain_id) REFERENCES domain (id) ON DELETE CASCADE,
    CONSTRAINT domain_due_what_ck CHECK (what IN ('notice', 'auto_renew', 'pending_delete', 'purge'))
);
CREATE INDEX domain_due_date_ix ON domain_due (due_date);
SELECT class.tenancy_policy('domain_due', 'domain_id IN (SELECT id FROM domain)');
COMMENT ON TABLE domain_due IS 'What time will do to names, done by the sweeper: kept by a trigger of domain.';
COMMENT ON COLUMN domain_due.domain_id IS 'The name.';
COMMENT ON COLUMN domain_due.what IS 'notice (an event that it expires soon), auto_renew, pending_delete (redemption ends) or purge.';
COMMENT ON COLUMN domain_due.due_date IS 'When.';
COMMENT ON COLUMN domain_due.basis_date IS 'The date of the name that it follows from; if that stays, due_date does too.';

CREATE TABLE provision_domain_renew (
    domain_id uuid NOT NULL,
    name fqdn NOT NULL,
    period int NOT NULL DEFAULT 1,
    current_expiry date,
    settings jsonb,
    ry_expiry_date timestamptz,
    CONSTRAINT provision_domain_renew_domain_fk FOREIGN KEY (tenant_customer_id, domain_id) REFERENCES domain (tenant_customer_id, id)
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_domain_renew', job_type => 'provision_domain_renew', providers => '{epp,manual}', result_columns => '{ry_expiry_date}');
COMMENT ON TABLE provision_domain_renew IS 'Renews a domain.';
COMMENT ON COLUMN provision_domain_renew.domain_id IS 'The domain; found from the name if not given.';
COMMENT ON COLUMN provision_domain_renew.name IS 'Its name; found from the id if not given.';
COMMENT ON COLUMN provision_domain_renew.period IS 'Years.';
COMMENT ON COLUMN provision_domain_renew.current_expiry IS 'The day it expires, as far as the inventory knows; if given, it must be that one.';
COMMENT ON COLUMN provision_domain_renew.settings IS 'The zone''s settings when the order was accepted; later changes do not touch it.';
COMMENT ON COLUMN provision_domain_renew.ry_expiry_date IS 'When the registration ends now, as the registry says.';

CREATE TABLE provision_domain_delete (
    domain_id uuid NOT NULL,
    name fqdn NOT NULL,
    settings jsonb,
    ry_state text,
    CONSTRAINT provision_domain_delete_domain_fk FOREIGN KEY (tenant_customer_id, domain_id) REFERENCES domain (tenant_customer_id, id),
    CONSTRAINT provision_domain_delete_state_ck CHECK (ry_state IN ('gone', 'redemptionPeriod', 'pendingDelete'))
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_domain_delete', job_type => 'provision_domain_delete', providers => '{epp,manual}', result_columns => '{ry_state}');
COMMENT ON TABLE provision_domain_delete IS 'Deletes a domain.';
COMMENT ON COLUMN provision_domain_delete.domain_id IS 'The domain; found from the name if not given.';
COMMENT ON COLUMN provision_domain_delete.name IS 'Its name; found from the id if not given.';
COMMENT ON COLUMN provision_domain_delete.settings IS 'The zone''s settings when the order was accepted; later changes do not touch it.';
COMMENT ON COLUMN provision_domain_delete.ry_state IS 'What the registry made of it: gone, redemptionPeriod or pendingDelete.';

INSERT INTO setting VALUES ('auto_renew_days', '14', 'so many days before they expire, names with auto_renew are renewed', 'integer', 1, 365);
INSERT INTO job_type VALUES
    ('provision_domain_renew', 'renews a domain at a registry (RFC 5731)', 20),
    ('provision_domain_delete', 'deletes a domain at a registry (RFC 5731)', 20);
INSERT INTO order_operation VALUES
    ('domain.renew', 'domain_renew_plan', false, 'renews a domain'),
    ('domain.delete', 'domain_delete_plan', false, 'deletes a domain');
