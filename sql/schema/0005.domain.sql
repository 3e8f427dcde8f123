-- depends: 0004.order
--
-- Names, contacts and hosts at registries. `tld` and its typed settings say what a zone allows; `contact`, `host` and
-- `domain` are the inventory of what exists; `provision_contact`, `provision_host` and `provision_domain` bring it about.

CREATE DOMAIN fqdn AS text
    CONSTRAINT fqdn_ck CHECK (
        length(VALUE) <= 253 AND VALUE ~ '^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'
    );
COMMENT ON DOMAIN fqdn IS 'A fully qualified name in lower-case A-labels, at least two, each 1-63 of [a-z0-9-] without a hyphen at either end.';

CREATE FUNCTION tc_gen_password(p_length int DEFAULT 16) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog AS $$
DECLARE
    _bytes constant bytea := sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));
    _text text;
BEGIN
    -- One of each class comes first, since many registries ask for that; base64 gives the rest six random bits a character.
    _text := chr(65 + get_byte(_bytes, 0) % 26) || chr(97 + get_byte(_bytes, 1) % 26) || chr(48 + get_byte(_bytes, 2) % 10)
        || CASE WHEN get_byte(_bytes, 3) % 2 = 0 THEN '-' ELSE '+' END || translate(encode(substr(_bytes, 5), 'base64'), '/=', '-');
    IF p_length > 40 THEN
        RETURN left(_text, 40) || public.tc_gen_password(p_length - 40);
    END IF;
    RETURN left(_text, p_length);
END $$;
COMMENT ON FUNCTION tc_gen_password(int) IS 'A transfer secret: cryptographically random printable ASCII, with an upper-case letter, a lower-case letter, a digit and one of - and +, nothing that XML escapes.';

-- What a zone allows -------------------------------------------------------------------------------------------------

CREATE TABLE tld (
    id uuid NOT NULL DEFAULT new_id(),
    name text NOT NULL,
    CONSTRAINT tld_pk PRIMARY KEY (id),
    CONSTRAINT tld_name_uk UNIQUE (name),
    CONSTRAINT tld_name_ck CHECK (name ~ '^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$')
) INHERITS (class.audit);
COMMENT ON TABLE tld IS 'A zone in which names are registered: test, co.test.';
COMMENT ON COLUMN tld.id IS 'Id.';
COMMENT ON COLUMN tld.name IS 'The zone, in A-labels, without a leading dot.';

CREATE TABLE accreditation_tld (
    id uuid NOT NULL DEFAULT new_id(),
    accreditation_id uuid NOT NULL,
    tld_id uuid NOT NULL,
    is_active boolean NOT NULL DEFAULT true,
    is_default boolean NOT NULL DEFAULT true,
    CONSTRAINT accreditation_tld_pk PRIMARY KEY (id),
    CONSTRAINT accreditation_tld_uk UNIQUE (accreditation_id, tld_id),
    CONSTRAINT accreditation_tld_accreditation_fk FOREIGN KEY (accreditation_id) REFERENCES accreditation (id),
    CONSTRAINT accreditation_tld_tld_fk FOREIGN KEY (tld_id) REFERENCES tld (id)
) INHERITS (class.audit);
COMMENT ON TABLE accreditation_tld IS 'Names of a zone can be registered with an accreditation.';
COMMENT ON COLUMN accreditation_tld.id IS 'Id.';
COMMENT ON COLUMN accreditation_tld.accreditation_id IS 'The accreditation.';
COMMENT ON COLUMN accreditation_tld.tld_id IS 'The zone.';
COMMENT ON COLUMN accreditation_tld.is_active IS 'Whether new orders are taken.';
COMMENT ON COLUMN accreditation_tld.is_default IS 'Taken where an order names no accreditation and several have the zone.';
SELECT class.copy_comments('class.audit', t::regclass) FROM unnest('{tld,accreditation_tld}'::text[]) AS t;

CREATE TABLE tld_setting_key (
    name text NOT NULL,
    value_type text NOT NULL,
    description text NOT NULL,
    CONSTRAINT tld_setting_key_pk PRIMARY KEY (name),
    CONSTRAINT tld_setting_key_type_ck CHECK (value_type IN ('boolean', 'integer', 'text', 'integer[]', 'text[]'))
);
COMMENT ON TABLE tld_setting_key IS 'The settings a zone has. Every zone that takes orders gives each of them a value; there are no silent defaults.';
COMMENT ON COLUMN tld_setting_key.name IS 'Name.';
COMMENT ON COLUMN tld_setting_key.value_type IS 'boolean, integer, text, integer[] or text[].';
COMMENT ON COLUMN tld_setting_key.description IS 'What it decides.';
INSERT INTO tld_setting_key VALUES
    ('order_types', 'text[]', 'operations that may be ordered: create, renew, transfer, restore, delete, update'),
    ('registration_periods', 'integer[]', 'years a name may be registered for'),
    ('renewal_periods', 'integer[]', 'years it may be renewed for'),
    ('transfer_periods', 'integer[]', 'years a transfer may add'),
    ('maximum_lifetime', 'integer', 'years from today the expiry may lie ahead'),
    ('name_length_minimum', 'integer', 'shortest label'),
    ('name_length_maximum', 'integer', 'longest label'),
    ('host_count_minimum', 'integer', 'fewest name servers'),
    ('host_count_maximum', 'integer', 'most name servers'),
    ('host_model', 'text', 'objects or attributes (RFC 5731 hostObj or hostAttr)'),
    ('host_ipv6_allowed', 'boolean', 'whether glue may be IPv6'),
    ('contact_types_required', 'text[]', 'contacts a name must have: registrant, admin, tech, billing'),
    ('auth_info_pattern', 'text', 'regular expression a transfer secret matches'),
    ('dnssec_count_maximum', 'integer', 'most DS records'),
    ('grace_hours_add', 'integer', 'add grace period (RFC 3915)'),
    ('grace_hours_renew', 'integer', 'renew and auto-renew grace period'),
    ('grace_hours_transfer', 'integer', 'transfer grace period'),
    ('grace_hours_redemption', 'integer', 'redemption period after a deletion'),
    ('grace_hours_pending_delete', 'integer', 'between redemption and purge'),
    ('restore_report_required', 'boolean', 'whether a restore asks for a report (RFC 3915)');

CREATE TABLE tld_setting (
    tld_id uuid NOT NULL,
    accreditation_id uuid,
    name text NOT NULL,
    value jsonb NOT NULL,
    CONSTRAINT tld_setting_uk UNIQUE NULLS NOT DISTINCT (tld_id, accreditation_id, name),
    CONSTRAINT tld_setting_tld_fk FOREIGN KEY (tld_id) REFERENCES tld (id),
    CONSTRAINT tld_setting_accreditation_fk FOREIGN KEY (accreditation_id, tld_id) REFERENCES accreditation_tld (accreditation_id, tld_id),
    CONSTRAINT tld_setting_key_fk FOREIGN KEY (name) REFERENCES tld_setting_key (name)
);
COMMENT ON TABLE tld_setting IS 'The value of a setting for a zone, or for a zone at one accreditation, which wins.';
COMMENT ON COLUMN tld_setting.tld_id IS 'The zone.';
COMMENT ON COLUMN tld_setting.accreditation_id IS 'NULL: for every accreditation; else for this one.';
COMMENT ON COLUMN tld_setting.name IS 'The setting.';
COMMENT ON COLUMN tld_setting.value IS 'Its value, of the type tld_setting_key says.';

-- What exists --------------------------------------------------------------------------------------------------------

CREATE TABLE secret (
    id uuid NOT NULL,
    value text NOT NULL,
    CONSTRAINT secret_pk PRIMARY KEY (id)
);
COMMENT ON TABLE secret IS 'Transfer secrets of live names; read by workers only, named by domain.auth_info_ref.';
COMMENT ON COLUMN secret.id IS 'The row it was made for.';
COMMENT ON COLUMN secret.value IS 'The secret.';

CREATE TABLE contact (
    id uuid NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid,
    accreditation_id uuid NOT NULL,
    reference text NOT NULL,
    handle text NOT NULL,
    roid text,
    name text NOT NULL,
    organization text,
    street text[] NOT NULL,
    city text NOT NULL,
    state text,
    postal_code text,
    country_code text NOT NULL,
    phone text,
    fax text,
    email text NOT NULL,
    deleted_date timestamptz,
    missing_reason text,
    -- One index for both: an id is that of one row of provision_contact, and whoever points here names the owner too.
    CONSTRAINT contact_pk PRIMARY KEY (id, tenant_customer_id)
) INHERITS (class.audit_trail);
-- The column that tells most leads, so that no other index looks as good where statistics are old.
CREATE UNIQUE INDEX contact_reference_uk ON contact (reference, accreditation_id, tenant_customer_id, org_id) NULLS NOT DISTINCT WHERE deleted_date IS NULL;
CREATE UNIQUE INDEX contact_handle_uk ON contact (handle, accreditation_id) WHERE deleted_date IS NULL;
SELECT class.copy_comments('class.audit_trail', 'contact');
SELECT class.tenant_policy('contact');
COMMENT ON TABLE contact IS 'A contact at a registry (RFC 5733).';
COMMENT ON COLUMN contact.id IS 'Id of the provision row that made it.';
COMMENT ON COLUMN contact.tenant_customer_id IS 'Whose it is.';
COMMENT ON COLUMN contact.org_id IS 'The org it belongs to.';
COMMENT ON COLUMN contact.accreditation_id IS 'Where it exists.';
COMMENT ON COLUMN contact.reference IS 'The owner''s own name for it, unique among the live contacts of an org, or of the customer''s own, at the accreditation.';
COMMENT ON COLUMN contact.handle IS 'Its id at the registry.';
COMMENT ON COLUMN contact.roid IS 'Registry object id.';
COMMENT ON COLUMN contact.name IS 'Name of the person or role.';
COMMENT ON COLUMN contact.organization IS 'Organization.';
COMMENT ON COLUMN contact.street IS 'One to three lines.';
COMMENT ON COLUMN contact.city IS 'City.';
COMMENT ON COLUMN contact.state IS 'State or province.';
COMMENT ON COLUMN contact.postal_code IS 'Postal code.';
COMMENT ON COLUMN contact.country_code IS 'ISO 3166-1 alpha-2.';
COMMENT ON COLUMN contact.phone IS 'E.164 as EPP writes it: +49.301234567.';
COMMENT ON COLUMN contact.fax IS 'As phone.';
COMMENT ON COLUMN contact.email IS 'E-mail address.';
COMMENT ON COLUMN contact.deleted_date IS 'When it was deleted at the registry; history from then on.';
COMMENT ON COLUMN contact.missing_reason IS 'Set by the reconcile pass when the registry does not have it (or not as ours).';

CREATE TABLE host (
    id uuid NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid,
    accreditation_id uuid NOT NULL,
    name fqdn NOT NULL,
    addresses inet[] NOT NULL DEFAULT '{}',
    roid text,
    deleted_date timestamptz,
    missing_reason text,
    CONSTRAINT host_pk PRIMARY KEY (id),
    CONSTRAINT host_tenant_customer_uk UNIQUE (id, tenant_customer_id)
) INHERITS (class.audit_trail);
CREATE UNIQUE INDEX host_name_uk ON host (name, accreditation_id, tenant_customer_id, org_id) NULLS NOT DISTINCT WHERE deleted_date IS NULL;
SELECT class.copy_comments('class.audit_trail', 'host');
SELECT class.tenant_policy('host');
COMMENT ON TABLE host IS 'A name server known to a registry (RFC 5732). An outside name server may be known for several customers, and is one object at the registry.';
COMMENT ON COLUMN host.id IS 'Id of the provision row that made it.';
COMMENT ON COLUMN host.tenant_customer_id IS 'Whose it is.';
COMMENT ON COLUMN host.org_id IS 'The org it belongs to.';
COMMENT ON COLUMN host.accreditation_id IS 'Where it exists.';
COMMENT ON COLUMN host.name IS 'Its name.';
COMMENT ON COLUMN host.addresses IS 'Glue addresses, if it lies in a zone of the registry.';
COMMENT ON COLUMN host.roid IS 'Registry object id.';
COMMENT ON COLUMN host.deleted_date IS 'When it was deleted at the registry; history from then on.';
COMMENT ON COLUMN host.missing_reason IS 'Set by the reconcile pass when the registry does not have it.';

CREATE TABLE domain (
    id uuid NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid,
    accreditation_id uuid NOT NULL,
    accreditation_tld_id uuid NOT NULL,
    name fqdn NOT NULL,
    roid text,
    auth_info_ref text,
    ry_created_date timestamptz,
    ry_expiry_date timestamptz,
    deleted_date timestamptz,
    missing_reason text,
    CONSTRAINT domain_pk PRIMARY KEY (id),
    CONSTRAINT domain_tenant_customer_uk UNIQUE (id, tenant_customer_id),
    CONSTRAINT domain_accreditation_tld_fk FOREIGN KEY (accreditation_tld_id) REFERENCES accreditation_tld (id)
) INHERITS (class.audit_trail);
CREATE UNIQUE INDEX domain_name_uk ON domain (name) WHERE deleted_date IS NULL;
SELECT class.copy_comments('class.audit_trail', 'domain');
SELECT class.tenant_policy('domain');
COMMENT ON TABLE domain IS 'A registered name (RFC 5731).';
COMMENT ON COLUMN domain.id IS 'Id of the provision row that registered it.';
COMMENT ON COLUMN domain.tenant_customer_id IS 'Whose it is.';
COMMENT ON COLUMN domain.org_id IS 'The org it belongs to.';
COMMENT ON COLUMN domain.accreditation_id IS 'Where it is registered.';
COMMENT ON COLUMN domain.accreditation_tld_id IS 'In which zone of it.';
COMMENT ON COLUMN domain.name IS 'The name, unique among live ones.';
COMMENT ON COLUMN domain.roid IS 'Registry object id.';
COMMENT ON COLUMN domain.auth_info_ref IS 'Where the transfer secret is kept: db:<secret.id>; NULL: it is not known.';
COMMENT ON COLUMN domain.ry_created_date IS 'When the registry registered it.';
COMMENT ON COLUMN domain.ry_expiry_date IS 'When the registration ends, as the registry says.';
COMMENT ON COLUMN domain.deleted_date IS 'When it left us; history from then on.';
COMMENT ON COLUMN domain.missing_reason IS 'Set by the reconcile pass when the registry does not have it (or not as ours).';

CREATE TABLE domain_contact (
    domain_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    type text NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid,
    CONSTRAINT domain_contact_pk PRIMARY KEY (domain_id, type, contact_id),
    CONSTRAINT domain_contact_domain_fk FOREIGN KEY (tenant_customer_id, domain_id) REFERENCES domain (tenant_customer_id, id),
    CONSTRAINT domain_contact_contact_fk FOREIGN KEY (tenant_customer_id, contact_id) REFERENCES contact (tenant_customer_id, id),
    CONSTRAINT domain_contact_type_ck CHECK (type IN ('registrant', 'admin', 'tech', 'billing'))
);
CREATE INDEX domain_contact_contact_ix ON domain_contact (contact_id);
SELECT class.tenant_policy('domain_contact');
COMMENT ON TABLE domain_contact IS 'Contacts of a registered name.';
COMMENT ON COLUMN domain_contact.domain_id IS 'The name.';
COMMENT ON COLUMN domain_contact.contact_id IS 'The contact.';
COMMENT ON COLUMN domain_contact.type IS 'registrant, admin, tech or billing.';
COMMENT ON COLUMN domain_contact.tenant_customer_id IS 'Whose they are.';
COMMENT ON COLUMN domain_contact.org_id IS 'The org they belong to.';

CREATE TABLE domain_host (
    domain_id uuid NOT NULL,
    host_id uuid NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid,
    CONSTRAINT domain_host_pk PRIMARY KEY (domain_id, host_id),
    CONSTRAINT domain_host_domain_fk FOREIGN KEY (tenant_customer_id, domain_id) REFERENCES domain (tenant_customer_id, id),
    CONSTRAINT domain_host_host_fk FOREIGN KEY (tenant_customer_id, host_id) REFERENCES host (tenant_customer_id, id)
);
CREATE INDEX domain_host_host_ix ON domain_host (host_id);
SELECT class.tenant_policy('domain_host');
COMMENT ON TABLE domain_host IS 'Name servers of a registered name.';
COMMENT ON COLUMN domain_host.domain_id IS 'The name.';
COMMENT ON COLUMN domain_host.host_id IS 'The name server.';
COMMENT ON COLUMN domain_host.tenant_customer_id IS 'Whose they are.';
COMMENT ON COLUMN domain_host.org_id IS 'The org they belong to.';

-- What is asked for --------------------------------------------------------------------------------------------------

CREATE TABLE provision_contact (
    reference text NOT NULL,
    handle text,
    name text NOT NULL,
    organization text,
    street text[] NOT NULL,
    city text NOT NULL,
    state text,
    postal_code text,
    country_code text NOT NULL,
    phone text,
    fax text,
    email text NOT NULL
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_contact', job_type => 'provision_contact_create', providers => '{epp,manual}');
COMMENT ON TABLE provision_contact IS 'Creates a contact at a registry.';
COMMENT ON COLUMN provision_contact.reference IS 'The customer''s own name for it.';
COMMENT ON COLUMN provision_contact.handle IS 'Its id at the registry; made from the row''s id if not given.';
COMMENT ON COLUMN provision_contact.name IS 'Name of the person or role.';
COMMENT ON COLUMN provision_contact.organization IS 'Organization.';
COMMENT ON COLUMN provision_contact.street IS 'One to three lines.';
COMMENT ON COLUMN provision_contact.city IS 'City.';
COMMENT ON COLUMN provision_contact.state IS 'State or province.';
COMMENT ON COLUMN provision_contact.postal_code IS 'Postal code.';
COMMENT ON COLUMN provision_contact.country_code IS 'ISO 3166-1 alpha-2.';
COMMENT ON COLUMN provision_contact.phone IS 'E.164 as EPP writes it: +49.301234567.';
COMMENT ON COLUMN provision_contact.fax IS 'As phone.';
COMMENT ON COLUMN provision_contact.email IS 'E-mail address.';

CREATE TABLE provision_host (
    name fqdn NOT NULL,
    addresses inet[] NOT NULL DEFAULT '{}'
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_host', job_type => 'provision_host_create', providers => '{epp,manual}');
COMMENT ON TABLE provision_host IS 'Creates a name server object at a registry.';
COMMENT ON COLUMN provision_host.name IS 'Its name.';
COMMENT ON COLUMN provision_host.addresses IS 'Glue addresses, if it lies in a zone of the registry.';

CREATE TABLE provision_domain (
    name fqdn NOT NULL,
    registration_period int NOT NULL DEFAULT 1,
    pw text DEFAULT tc_gen_password(16),
    is_complete boolean NOT NULL DEFAULT false,
    accreditation_tld_id uuid,
    settings jsonb,
    ry_created_date timestamptz,
    ry_expiry_date timestamptz,
    CONSTRAINT provision_domain_accreditation_tld_fk FOREIGN KEY (accreditation_tld_id) REFERENCES accreditation_tld (id)
) INHERITS (class.audit_trail, class.provision);
SELECT class.adopt_provision('provision_domain', job_type => 'provision_domain_create', providers => '{epp,manual}', failure => true, children => true,
    result_columns => '{ry_created_date,ry_expiry_date}', secret_columns => '{pw}');
COMMENT ON TABLE provision_domain IS 'Registers a domain.';
COMMENT ON COLUMN provision_domain.name IS 'The name.';
COMMENT ON COLUMN provision_domain.registration_period IS 'Years.';
COMMENT ON COLUMN provision_domain.pw IS 'Transfer secret (auth info); NULL once the row is final, domain.auth_info_ref names where it is kept.';
COMMENT ON COLUMN provision_domain.is_complete IS 'The gate: set once contacts and hosts are inserted, and the job is made.';
COMMENT ON COLUMN provision_domain.accreditation_tld_id IS 'The zone at the accreditation; found from the name if not given.';
COMMENT ON COLUMN provision_domain.settings IS 'The zone''s settings when the order was accepted; later changes do not touch it.';
COMMENT ON COLUMN provision_domain.ry_created_date IS 'When the registry registered it.';
COMMENT ON COLUMN provision_domain.ry_expiry_date IS 'When the registration ends, as the registry says.';

CREATE TABLE provision_domain_contact (
    provision_domain_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    type text NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid,
    CONSTRAINT provision_domain_contact_pk PRIMARY KEY (provision_domain_id, type, contact_id),
    CONSTRAINT provision_domain_contact_domain_fk FOREIGN KEY (tenant_customer_id, provision_domain_id) REFERENCES provision_domain (tenant_customer_id, id),
    CONSTRAINT provision_domain_contact_contact_fk FOREIGN KEY (tenant_customer_id, contact_id) REFERENCES contact (tenant_customer_id, id),
    CONSTRAINT provision_domain_contact_type_ck CHECK (type IN ('registrant', 'admin', 'tech', 'billing'))
);
CREATE UNIQUE INDEX provision_domain_contact_registrant_uk ON provision_domain_contact (provision_domain_id) WHERE type = 'registrant';
SELECT class.tenant_policy('provision_domain_contact');
COMMENT ON TABLE provision_domain_contact IS 'Contacts a name is registered with.';
COMMENT ON COLUMN provision_domain_contact.provision_domain_id IS 'The registration.';
COMMENT ON COLUMN provision_domain_contact.contact_id IS 'The contact, live at the same accreditation.';
COMMENT ON COLUMN provision_domain_contact.type IS 'registrant, admin, tech or billing.';
COMMENT ON COLUMN provision_domain_contact.tenant_customer_id IS 'Whose they are.';
COMMENT ON COLUMN provision_domain_contact.org_id IS 'The org they belong to.';

CREATE TABLE provision_domain_host (
    provision_domain_id uuid NOT NULL,
    host_id uuid NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid,
    CONSTRAINT provision_domain_host_pk PRIMARY KEY (provision_domain_id, host_id),
    CONSTRAINT provision_domain_host_domain_fk FOREIGN KEY (tenant_customer_id, provision_domain_id) REFERENCES provision_domain (tenant_customer_id, id),
    CONSTRAINT provision_domain_host_host_fk FOREIGN KEY (tenant_customer_id, host_id) REFERENCES host (tenant_customer_id, id)
);
SELECT class.tenant_policy('provision_domain_host');
COMMENT ON TABLE provision_domain_host IS 'Name servers a name is registered with.';
COMMENT ON COLUMN provision_domain_host.provision_domain_id IS 'The registration.';
COMMENT ON COLUMN provision_domain_host.host_id IS 'The name server, live at the same accreditation.';
COMMENT ON COLUMN provision_domain_host.tenant_customer_id IS 'Whose they are.';
COMMENT ON COLUMN provision_domain_host.org_id IS 'The org they belong to.';

CREATE TYPE domain_part AS (type text, object_id uuid, awaited uuid, step plan_step);
COMMENT ON TYPE domain_part IS 'A contact (of a type) or name server (type NULL) of a domain to be: the object, the step to wait for, and that step if it is new.';

INSERT INTO job_type VALUES
    ('provision_contact_create', 'creates a contact at a registry (RFC 5733)', 20),
    ('provision_host_create', 'creates a name server object at a registry (RFC 5732)', 20),
    ('provision_domain_create', 'registers a domain at a registry (RFC 5731)', 20);
INSERT INTO order_operation VALUES
    ('contact.create', 'contact_create_plan', false, 'creates a contact', false),
    ('host.create', 'host_create_plan', false, 'makes a name server known to a registry', false),
    ('domain.create', 'domain_create_plan', false, 'registers a domain, with the contacts and hosts it needs', true);
