-- depends: 0008.event
--
-- The life of a registered name: it is renewed (`provision_domain_renew`), deleted (`provision_domain_delete`) and restored
-- (`provision_domain_restore`), and what time does to it is done by the sweeper: `domain_due` says when. `domain` keeps
-- where in its life a name is. It comes from other registrars by `provision_domain_transfer` and goes to them by
-- `provision_domain_transfer_answer`; `registry_message` is what registries tell. `tld_profile` has whole sets of settings to begin a zone with.

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
    CONSTRAINT domain_due_what_ck CHECK (what IN ('notice', 'auto_renew', 'pending_delete', 'purge', 'transfer'))
);
CREATE INDEX domain_due_date_ix ON domain_due (due_date);
SELECT class.tenancy_policy('domain_due', 'domain_id IN (SELECT id FROM domain)');
COMMENT ON TABLE domain_due IS 'What time will do to names, done by the sweeper: kept by a trigger of domain.';
COMMENT ON COLUMN domain_due.domain_id IS 'The name.';
COMMENT ON COLUMN domain_due.what IS 'notice (an event that it expires soon), auto_renew, pending_delete (redemption ends), purge or transfer (the registry answers one by itself).';
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
CREATE INDEX provision_domain_delete_domain_ix ON provision_domain_delete (domain_id);
COMMENT ON TABLE provision_domain_delete IS 'Deletes a domain.';
COMMENT ON COLUMN provision_domain_delete.domain_id IS 'The domain; found from the name if not given.';
COMMENT ON COLUMN provision_domain_delete.name IS 'Its name; found from the id if not given.';
COMMENT ON COLUMN provision_domain_delete.settings IS 'The zone''s settings when the order was accepted; later changes do not touch it.';
COMMENT ON COLUMN provision_domain_delete.ry_state IS 'What the registry made of it: gone, redemptionPeriod or pendingDelete.';

CREATE TABLE provision_domain_restore (
    domain_id uuid NOT NULL,
    name fqdn NOT NULL,
    reason text NOT NULL DEFAULT 'It was deleted by mistake, and its registrant wants it back.',
    settings jsonb,
    ry_expiry_date timestamptz,
    CONSTRAINT provision_domain_restore_domain_fk FOREIGN KEY (tenant_customer_id, domain_id) REFERENCES domain (tenant_customer_id, id)
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_domain_restore', job_type => 'provision_domain_restore', providers => '{epp,manual}', result_columns => '{ry_expiry_date}');
COMMENT ON TABLE provision_domain_restore IS 'Restores a deleted domain in its redemption period.';
COMMENT ON COLUMN provision_domain_restore.domain_id IS 'The domain; found from the name if not given.';
COMMENT ON COLUMN provision_domain_restore.name IS 'Its name; found from the id if not given.';
COMMENT ON COLUMN provision_domain_restore.reason IS 'Why, for the report that some registries want (RFC 3915).';
COMMENT ON COLUMN provision_domain_restore.settings IS 'The zone''s settings when the order was accepted; later changes do not touch it.';
COMMENT ON COLUMN provision_domain_restore.ry_expiry_date IS 'When the registration ends, as the registry says.';

CREATE TABLE tld_profile (
    name text NOT NULL,
    description text NOT NULL,
    settings jsonb NOT NULL,
    CONSTRAINT tld_profile_pk PRIMARY KEY (name)
);
COMMENT ON TABLE tld_profile IS 'Whole sets of settings, one of which tld_create() gives a new zone.';
COMMENT ON COLUMN tld_profile.name IS 'Name.';
COMMENT ON COLUMN tld_profile.description IS 'What kind of zone it is for.';
COMMENT ON COLUMN tld_profile.settings IS 'A value for each of tld_setting_key.';
INSERT INTO tld_setting_key VALUES ('contact_model', 'text', 'thick: the registry keeps contacts; thin: it has none, and names are registered without');
INSERT INTO tld_profile
SELECT p.name, p.description, '{"order_types": ["create", "renew", "transfer", "restore", "delete", "update"], "registration_periods": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
    "renewal_periods": [1, 2, 3, 4, 5, 6, 7, 8, 9], "transfer_periods": [1], "maximum_lifetime": 10, "name_length_minimum": 3, "name_length_maximum": 63,
    "host_count_minimum": 2, "host_count_maximum": 13, "host_model": "objects", "host_ipv6_allowed": true, "contact_model": "thick",
    "contact_types_required": ["registrant", "admin", "tech"], "auth_info_pattern": "^[!-~]{8,64}$", "dnssec_count_maximum": 8, "grace_hours_add": 120, "grace_hours_renew": 120,
    "grace_hours_transfer": 120, "grace_hours_redemption": 720, "grace_hours_pending_delete": 120, "restore_report_required": false}'::jsonb || p.settings::jsonb
FROM (VALUES
    ('generic', 'a generic zone: thick, with all operations and the usual grace periods', '{}'),
    ('report', 'a generic zone whose registry asks for a report on a restore', '{"restore_report_required": true}'),
    ('second_level', 'a zone below another, such as co.test: short names, no restore, no grace period after a renewal',
        '{"order_types": ["create", "renew", "transfer", "delete", "update"], "name_length_minimum": 2, "registration_periods": [1, 2, 5], "renewal_periods": [1, 2, 5], "transfer_periods": [0],
        "grace_hours_renew": 0, "grace_hours_transfer": 0}'),
    ('thick', 'a zone whose registry keeps all four contacts', '{"contact_types_required": ["registrant", "admin", "tech", "billing"]}'),
    ('thin', 'a zone whose registry keeps no contacts', '{"contact_model": "thin", "contact_types_required": []}')
) AS p (name, description, settings);

INSERT INTO setting VALUES ('auto_renew_days', '14', 'so many days before they expire, names with auto_renew are renewed', 'integer', 1, 365);
INSERT INTO job_type VALUES
    ('provision_domain_renew', 'renews a domain at a registry (RFC 5731)', 20),
    ('provision_domain_restore', 'restores a domain at a registry (RFC 3915)', 20),
    ('provision_domain_delete', 'deletes a domain at a registry (RFC 5731)', 20);
INSERT INTO order_operation VALUES
    ('domain.renew', 'domain_renew_plan', false, 'renews a domain'),
    ('domain.delete', 'domain_delete_plan', false, 'deletes a domain'),
    ('domain.restore', 'domain_restore_plan', false, 'restores a deleted domain');

-- Transfers ----------------------------------------------------------------------------------------------------------

ALTER TABLE domain
    ADD COLUMN transfer_registrar text,
    ADD COLUMN transfer_due timestamptz,
    ADD CONSTRAINT domain_transfer_ck CHECK ((transfer_registrar IS NULL) = (transfer_due IS NULL));
COMMENT ON COLUMN domain.transfer_registrar IS 'The registrar that wants it; NULL: none, or answered.';
COMMENT ON COLUMN domain.transfer_due IS 'When the registry answers that by itself.';
-- Of contacts that came with a name from another registrar no more than the handle may be known.
ALTER TABLE contact ALTER name DROP NOT NULL, ALTER street DROP NOT NULL, ALTER city DROP NOT NULL, ALTER country_code DROP NOT NULL, ALTER email DROP NOT NULL;
COMMENT ON COLUMN contact.name IS 'Name of the person or role; NULL: it came with a name that was transferred to us, and the registry does not tell.';

CREATE TABLE provision_domain_transfer (
    name fqdn NOT NULL,
    period int,
    pw text,
    contacts jsonb,
    accreditation_tld_id uuid,
    settings jsonb,
    ry_expiry_date timestamptz,
    CONSTRAINT provision_domain_transfer_accreditation_tld_fk FOREIGN KEY (accreditation_tld_id) REFERENCES accreditation_tld (id)
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_domain_transfer', job_type => 'provision_domain_transfer_request', providers => '{epp,manual}', failure => true,
    result_columns => '{ry_expiry_date}', secret_columns => '{pw}');
COMMENT ON TABLE provision_domain_transfer IS 'Transfers a domain here from another registrar.';
COMMENT ON COLUMN provision_domain_transfer.name IS 'The name.';
COMMENT ON COLUMN provision_domain_transfer.period IS 'Years the transfer adds; the first of the zone''s transfer_periods if not given.';
COMMENT ON COLUMN provision_domain_transfer.pw IS 'The transfer secret (auth info) that its holder has told; kept in secret from the start, and NULL here.';
COMMENT ON COLUMN provision_domain_transfer.contacts IS 'Its contacts once it is here, {"type": [contact.id, …]}; types that are not named stay as they come. NULL: all of them.';
COMMENT ON COLUMN provision_domain_transfer.accreditation_tld_id IS 'The zone at the accreditation; found from the name if not given.';
COMMENT ON COLUMN provision_domain_transfer.settings IS 'The zone''s settings when the order was accepted; later changes do not touch it.';
COMMENT ON COLUMN provision_domain_transfer.ry_expiry_date IS 'When the registration ends, as the registry says.';

CREATE TABLE provision_domain_transfer_answer (
    name fqdn NOT NULL,
    action text NOT NULL,
    object_id uuid NOT NULL,
    CONSTRAINT provision_domain_transfer_answer_action_ck CHECK (action IN ('approve', 'reject', 'cancel'))
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_domain_transfer_answer', job_type => 'provision_domain_transfer_answer', providers => '{epp,manual}');
COMMENT ON TABLE provision_domain_transfer_answer IS 'Approves or rejects the transfer of a domain to another registrar, or cancels that of one to here.';
COMMENT ON COLUMN provision_domain_transfer_answer.name IS 'The name.';
COMMENT ON COLUMN provision_domain_transfer_answer.action IS 'approve, reject or cancel.';
COMMENT ON COLUMN provision_domain_transfer_answer.object_id IS 'The domain that is wanted elsewhere, or the row of provision_domain_transfer to be cancelled; found from the name.';

CREATE TABLE registry_message (
    id uuid NOT NULL DEFAULT new_id(),
    accreditation_id uuid NOT NULL,
    message_id text NOT NULL,
    queued_date timestamptz,
    text text NOT NULL,
    kind text NOT NULL,
    data jsonb NOT NULL,
    xml text NOT NULL,
    created_date timestamptz NOT NULL DEFAULT engine_now(),
    CONSTRAINT registry_message_pk PRIMARY KEY (id),
    CONSTRAINT registry_message_uk UNIQUE (accreditation_id, message_id),
    CONSTRAINT registry_message_accreditation_fk FOREIGN KEY (accreditation_id) REFERENCES accreditation (id),
    CONSTRAINT registry_message_kind_ck CHECK (kind IN ('pending_action', 'transfer', 'domain', 'other'))
);
CREATE INDEX registry_message_trid_ix ON registry_message ((data ->> 'cl_trid')) WHERE kind = 'pending_action';
COMMENT ON TABLE registry_message IS 'What registries told in their poll queues (RFC 5730), each message once; acknowledged there after it is here.';
COMMENT ON COLUMN registry_message.id IS 'Id.';
COMMENT ON COLUMN registry_message.accreditation_id IS 'In whose queue it was.';
COMMENT ON COLUMN registry_message.message_id IS 'Its id there.';
COMMENT ON COLUMN registry_message.queued_date IS 'When the registry wrote it.';
COMMENT ON COLUMN registry_message.text IS 'What it says to people.';
COMMENT ON COLUMN registry_message.kind IS 'pending_action (the end of one), transfer, domain (as it is now, after an auto-renewal) or other.';
COMMENT ON COLUMN registry_message.data IS 'What it says to programs.';
COMMENT ON COLUMN registry_message.xml IS 'All of it, secrets masked.';
COMMENT ON COLUMN registry_message.created_date IS 'When it was stored.';

INSERT INTO setting VALUES ('registry_poll_seconds', '60', 'how often the message queue of a registry is looked at', 'integer', 1, 86400);
INSERT INTO job_type VALUES
    ('provision_domain_transfer_request', 'transfers a domain here (RFC 5731)', 20),
    ('provision_domain_transfer_answer', 'approves, rejects or cancels a transfer (RFC 5731)', 20),
    ('registry_poll', 'reads the message queue of a registry (RFC 5730)', 20);
INSERT INTO order_operation VALUES
    ('domain.transfer', 'domain_transfer_plan', false, 'transfers a domain here from another registrar'),
    ('transfer.approve', 'transfer_approve_plan', false, 'lets a domain go to the registrar that wants it'),
    ('transfer.reject', 'transfer_reject_plan', false, 'keeps a domain that another registrar wants'),
    ('transfer.cancel', 'transfer_cancel_plan', false, 'takes a transfer back that was asked for and is not decided');

-- Prices -------------------------------------------------------------------------------------------------------------

ALTER TABLE provision_domain ADD COLUMN auto_renew boolean NOT NULL DEFAULT false, ADD COLUMN ds_records jsonb, ADD COLUMN max_price numeric, ADD COLUMN currency text;
ALTER TABLE provision_domain_renew ADD COLUMN max_price numeric, ADD COLUMN currency text;
ALTER TABLE provision_domain_restore ADD COLUMN max_price numeric, ADD COLUMN currency text;
ALTER TABLE provision_domain_transfer ADD COLUMN max_price numeric, ADD COLUMN currency text;
COMMENT ON COLUMN provision_domain.auto_renew IS 'Whether the name is renewed by itself.';
COMMENT ON COLUMN provision_domain.ds_records IS 'The DNSSEC records it is registered with, as domain.ds_records; NULL: none.';
DO $$
DECLARE
    _table text;
BEGIN
    FOREACH _table IN ARRAY '{provision_domain,provision_domain_renew,provision_domain_restore,provision_domain_transfer}'::text[] LOOP
        EXECUTE format('COMMENT ON COLUMN %I.max_price IS %L', _table, 'What it may cost at most; what is dearer is not asked for. NULL: whatever it costs.');
        EXECUTE format('COMMENT ON COLUMN %I.currency IS %L', _table, 'The currency of max_price (ISO 4217); NULL: that of the registry.');
    END LOOP;
END $$;
INSERT INTO job_type VALUES ('domain_check', 'asks a registry whether a name is free, and what it costs', 3);
