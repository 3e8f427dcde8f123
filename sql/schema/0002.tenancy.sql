-- depends: 0001.class
--
-- Who the engine works for, and where. A tenant is the brand that runs an installation, a customer a legal entity, and
-- tenant_customer the account of one with the other, carried by every row that belongs to somebody. A provider is an
-- outside system; an accreditation is a tenant's right to use it, and the lane its jobs queue in.
-- caller_customer() and caller_org() say who is asking; every policy stands on them.

CREATE TABLE tenant (
    id uuid NOT NULL DEFAULT new_id(),
    name text NOT NULL,
    description text,
    CONSTRAINT tenant_pk PRIMARY KEY (id),
    CONSTRAINT tenant_name_uk UNIQUE (name)
) INHERITS (class.audit);
COMMENT ON TABLE tenant IS 'A brand that runs an installation.';
COMMENT ON COLUMN tenant.id IS 'Id.';
COMMENT ON COLUMN tenant.name IS 'Name, unique.';
COMMENT ON COLUMN tenant.description IS 'For people.';

CREATE TABLE customer (
    id uuid NOT NULL DEFAULT new_id(),
    name text NOT NULL,
    email text NOT NULL,
    CONSTRAINT customer_pk PRIMARY KEY (id),
    CONSTRAINT customer_name_ck CHECK (name <> '')
) INHERITS (class.audit);
CREATE UNIQUE INDEX customer_email_uk ON customer (lower(email));
COMMENT ON TABLE customer IS 'A legal entity.';
COMMENT ON COLUMN customer.id IS 'Id.';
COMMENT ON COLUMN customer.name IS 'Its name.';
COMMENT ON COLUMN customer.email IS 'Where it is reached; unique, case folded.';

CREATE TABLE tenant_customer (
    id uuid NOT NULL DEFAULT new_id(),
    tenant_id uuid NOT NULL,
    customer_id uuid NOT NULL,
    is_active boolean NOT NULL DEFAULT true,
    CONSTRAINT tenant_customer_pk PRIMARY KEY (id),
    CONSTRAINT tenant_customer_uk UNIQUE (tenant_id, customer_id),
    CONSTRAINT tenant_customer_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenant (id),
    CONSTRAINT tenant_customer_customer_fk FOREIGN KEY (customer_id) REFERENCES customer (id)
) INHERITS (class.audit);
COMMENT ON TABLE tenant_customer IS 'A customer''s account with a tenant: the owner of orders and of everything provisioned.';
COMMENT ON COLUMN tenant_customer.id IS 'Id; on every row that belongs to the customer.';
COMMENT ON COLUMN tenant_customer.tenant_id IS 'The tenant.';
COMMENT ON COLUMN tenant_customer.customer_id IS 'The customer.';
COMMENT ON COLUMN tenant_customer.is_active IS 'Whether it may order.';

CREATE TABLE org (
    id uuid NOT NULL DEFAULT new_id(),
    tenant_customer_id uuid NOT NULL,
    slug text NOT NULL,
    kind text NOT NULL DEFAULT 'organization',
    CONSTRAINT org_pk PRIMARY KEY (id),
    CONSTRAINT org_slug_uk UNIQUE (slug),
    CONSTRAINT org_tenant_customer_uk UNIQUE (tenant_customer_id, id),
    CONSTRAINT org_tenant_customer_fk FOREIGN KEY (tenant_customer_id) REFERENCES tenant_customer (id),
    CONSTRAINT org_kind_ck CHECK (kind IN ('organization', 'project', 'hosting')),
    CONSTRAINT org_slug_ck CHECK (slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$')
) INHERITS (class.audit);
COMMENT ON TABLE org IS 'An independent, isolated, separately billed part of a customer.';
COMMENT ON COLUMN org.id IS 'Id; on rows that belong to the org.';
COMMENT ON COLUMN org.tenant_customer_id IS 'The customer''s account.';
COMMENT ON COLUMN org.slug IS 'DNS label, unique in the installation.';
COMMENT ON COLUMN org.kind IS 'organization, project or hosting.';

CREATE TABLE integration_login (
    login name NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid,
    CONSTRAINT integration_login_pk PRIMARY KEY (login),
    CONSTRAINT integration_login_tenant_customer_fk FOREIGN KEY (tenant_customer_id) REFERENCES tenant_customer (id),
    CONSTRAINT integration_login_org_fk FOREIGN KEY (tenant_customer_id, org_id) REFERENCES org (tenant_customer_id, id)
);
COMMENT ON TABLE integration_login IS 'Which customer a database log-in of another system acts for. GRANT provision_integration TO the log-in and add it here.';
COMMENT ON COLUMN integration_login.login IS 'The log-in (session_user).';
COMMENT ON COLUMN integration_login.tenant_customer_id IS 'The customer it acts for.';
COMMENT ON COLUMN integration_login.org_id IS 'The one org it is limited to; NULL: all of the customer''s.';

CREATE TABLE api_key (
    id uuid NOT NULL DEFAULT new_id(),
    tenant_customer_id uuid NOT NULL,
    org_id uuid,
    name text NOT NULL,
    prefix text NOT NULL,
    key_hash bytea NOT NULL,
    expires_date timestamptz NOT NULL,
    revoked_date timestamptz,
    CONSTRAINT api_key_pk PRIMARY KEY (id),
    CONSTRAINT api_key_hash_uk UNIQUE (key_hash),
    CONSTRAINT api_key_prefix_ck CHECK (prefix ~ '^[0-9a-f]{8}$'),
    CONSTRAINT api_key_hash_ck CHECK (length(key_hash) = 32),
    CONSTRAINT api_key_tenant_customer_fk FOREIGN KEY (tenant_customer_id) REFERENCES tenant_customer (id),
    CONSTRAINT api_key_org_fk FOREIGN KEY (tenant_customer_id, org_id) REFERENCES org (tenant_customer_id, id)
) INHERITS (class.audit);
COMMENT ON TABLE api_key IS 'Keys of API clients: shown once, kept as SHA-256.';
COMMENT ON COLUMN api_key.id IS 'Id.';
COMMENT ON COLUMN api_key.tenant_customer_id IS 'The customer the client acts for.';
COMMENT ON COLUMN api_key.org_id IS 'The one org it is limited to; NULL: all of the customer''s.';
COMMENT ON COLUMN api_key.name IS 'What it is for; the caller''s name in the audit trail.';
COMMENT ON COLUMN api_key.prefix IS 'The first 8 digits, for people to tell keys apart.';
COMMENT ON COLUMN api_key.key_hash IS 'SHA-256 of the key''s 40 hex digits.';
COMMENT ON COLUMN api_key.expires_date IS 'From when it is no longer accepted.';
COMMENT ON COLUMN api_key.revoked_date IS 'When it was revoked.';

CREATE TABLE provider (
    name text NOT NULL,
    description text NOT NULL,
    CONSTRAINT provider_pk PRIMARY KEY (name)
);
COMMENT ON TABLE provider IS 'The kinds of outside systems the engine can provision at.';
COMMENT ON COLUMN provider.name IS 'Name.';
COMMENT ON COLUMN provider.description IS 'What it is.';
INSERT INTO provider VALUES
    ('epp', 'a domain registry that speaks EPP (RFC 5730-5734)'),
    ('aws', 'an AWS account'),
    ('manual', 'a person, who does it by hand and says so with job_complete()');

CREATE TABLE accreditation (
    id uuid NOT NULL DEFAULT new_id(),
    tenant_id uuid NOT NULL,
    provider text NOT NULL,
    name text NOT NULL,
    is_active boolean NOT NULL DEFAULT true,
    registrar_id text,
    endpoint text,
    region text,
    role_arn text,
    external_id text,
    secret_ref text,
    settings jsonb NOT NULL DEFAULT '{}',
    max_concurrency int,
    held_date timestamptz,
    held_reason text,
    CONSTRAINT accreditation_pk PRIMARY KEY (id),
    CONSTRAINT accreditation_name_uk UNIQUE (tenant_id, name),
    CONSTRAINT accreditation_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenant (id),
    CONSTRAINT accreditation_provider_fk FOREIGN KEY (provider) REFERENCES provider (name),
    CONSTRAINT accreditation_concurrency_ck CHECK (max_concurrency > 0),
    CONSTRAINT accreditation_held_ck CHECK ((held_date IS NULL) = (held_reason IS NULL)),
    CONSTRAINT accreditation_secret_ref_ck CHECK (secret_ref ~ '^(env:|file:/|aws-sm:)'),
    CONSTRAINT accreditation_settings_ck CHECK (jsonb_typeof(settings) = 'object'),
    CONSTRAINT accreditation_epp_ck CHECK (provider <> 'epp' OR (registrar_id IS NOT NULL AND endpoint IS NOT NULL AND secret_ref IS NOT NULL))
) INHERITS (class.audit_trail);
COMMENT ON TABLE accreditation IS 'A tenant''s right to use a provider: a registry log-in, an AWS account, or a desk where people work. Its jobs queue in one lane.';
COMMENT ON COLUMN accreditation.id IS 'Id, and the lane of its jobs.';
COMMENT ON COLUMN accreditation.tenant_id IS 'Whose right it is.';
COMMENT ON COLUMN accreditation.provider IS 'At which kind of provider.';
COMMENT ON COLUMN accreditation.name IS 'Name, unique in the tenant; orders may name it.';
COMMENT ON COLUMN accreditation.is_active IS 'Whether new rows are accepted for it.';
COMMENT ON COLUMN accreditation.registrar_id IS 'Registrar id at the registry: the log-in name and the sponsor of what we create (EPP clID).';
COMMENT ON COLUMN accreditation.endpoint IS 'host:port of the registry, or the URL of a cloud endpoint; NULL: the provider''s own.';
COMMENT ON COLUMN accreditation.region IS 'AWS region.';
COMMENT ON COLUMN accreditation.role_arn IS 'AWS role to assume; NULL: the worker''s own credentials.';
COMMENT ON COLUMN accreditation.external_id IS 'AWS external id that goes with the role.';
COMMENT ON COLUMN accreditation.secret_ref IS 'Where the worker finds the secret: env:NAME, file:/path or aws-sm:arn. Never the secret itself.';
COMMENT ON COLUMN accreditation.settings IS 'Limits and details of the connection: max_sessions, commands_per_second, ca_file, client_certificate …';
COMMENT ON COLUMN accreditation.max_concurrency IS 'How many of its jobs may run at once over all workers; NULL: as many as there is room for.';
COMMENT ON COLUMN accreditation.held_date IS 'Since when its jobs wait in their queue (accreditation_hold()).';
COMMENT ON COLUMN accreditation.held_reason IS 'Why.';

SELECT class.copy_comments('class.audit', t::regclass) FROM unnest('{tenant,customer,tenant_customer,org,api_key}'::text[]) AS t;
SELECT class.copy_comments('class.audit_trail', 'accreditation');

-- Who is asking ------------------------------------------------------------------------------------------------------

CREATE FUNCTION caller_customer() RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: nobody reads integration_login but through this.
BEGIN
    -- Any SQL user can SET a variable, so only the API's own log-in is believed; all others are looked up.
    IF session_user = 'provision_api' THEN
        RETURN nullif(current_setting('provision.caller_customer', true), '')::uuid;
    END IF;
    RETURN (SELECT tenant_customer_id FROM integration_login WHERE login = session_user);
END $$;
COMMENT ON FUNCTION caller_customer() IS 'The customer''s account the caller acts for; NULL: none, and then no rows.';

CREATE FUNCTION caller_org() RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: as caller_customer.
BEGIN
    IF session_user = 'provision_api' THEN
        RETURN nullif(current_setting('provision.caller_org', true), '')::uuid;
    END IF;
    RETURN (SELECT org_id FROM integration_login WHERE login = session_user);
END $$;
COMMENT ON FUNCTION caller_org() IS 'The org the caller is limited to; NULL: all of the customer''s.';

CREATE FUNCTION caller_sees_all() RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN session_user <> 'provision_api' AND pg_has_role(session_user, 'provision_operator', 'MEMBER');
END $$;
COMMENT ON FUNCTION caller_sees_all() IS 'Whether the caller is an operator, who sees every tenant''s rows.';

SELECT class.tenant_policy('class.provision');
SELECT class.tenant_policy('audit_trail_log');
