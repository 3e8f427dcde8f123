-- What a contact, a host and a domain must be like before anybody outside is asked. The _validate triggers see every row,
-- whoever inserts it; the domain_check functions also run when an order is accepted, so that a bad name is refused
-- at once and not after its contacts have been created.

CREATE OR REPLACE FUNCTION tld_settings(p_accreditation_tld uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _settings jsonb;
    _missing text;
BEGIN
    SELECT jsonb_object_agg(k.name, COALESCE(o.value, s.value)), string_agg(k.name, ', ' ORDER BY k.name) FILTER (WHERE COALESCE(o.value, s.value) IS NULL)
    INTO _settings, _missing
    FROM accreditation_tld AS t CROSS JOIN tld_setting_key AS k
    LEFT JOIN tld_setting AS s ON s.tld_id = t.tld_id AND s.accreditation_id IS NULL AND s.name = k.name
    LEFT JOIN tld_setting AS o ON o.tld_id = t.tld_id AND o.accreditation_id = t.accreditation_id AND o.name = k.name
    WHERE t.id = p_accreditation_tld;
    IF _missing IS NOT NULL THEN
        PERFORM refuse('PV503', 'the zone is not set up completely', 'missing settings: ' || _missing, 'an operator adds them to tld_setting');
    END IF;
    RETURN _settings;
END $$;
COMMENT ON FUNCTION tld_settings(uuid) IS 'All settings of a zone at an accreditation; one that is missing is refused with its name.';

CREATE OR REPLACE FUNCTION tld_setting_value(p_accreditation_tld uuid, p_name text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (SELECT s.value FROM accreditation_tld AS t JOIN tld_setting AS s ON s.tld_id = t.tld_id AND (s.accreditation_id IS NULL OR s.accreditation_id = t.accreditation_id)
        WHERE t.id = p_accreditation_tld AND s.name = p_name ORDER BY s.accreditation_id LIMIT 1);
END $$;
COMMENT ON FUNCTION tld_setting_value(uuid, text) IS 'One setting of a zone at an accreditation, for what must go on even if the zone is not set up completely; NULL: missing.';

CREATE OR REPLACE FUNCTION auth_info_made(p_settings jsonb, p_first text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _pattern constant text := p_settings ->> 'auth_info_pattern';
    _secret text := COALESCE(p_first, tc_gen_password(16));
    _length int;
BEGIN
    FOREACH _length IN ARRAY '{16,12,8,6,20,24,32,48,64}'::int[] LOOP
        -- Some patterns want what not every secret has: of 64, one has it unless hardly any has.
        FOR _try IN 1..64 LOOP
            IF _secret ~ _pattern THEN
                RETURN _secret;
            END IF;
            _secret := tc_gen_password(_length);
        END LOOP;
    END LOOP;
    PERFORM refuse('PV503', 'no auth info that is made suits the zone', 'it must match ' || _pattern, 'an operator changes auth_info_pattern of the zone');
    RETURN NULL;
END $$;
COMMENT ON FUNCTION auth_info_made(jsonb, text) IS 'A transfer secret that suits the zone; the first if that does.';

CREATE OR REPLACE FUNCTION tld_setting_check() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _type text := (SELECT value_type FROM tld_setting_key WHERE name = NEW.name);
    _element constant text := CASE rtrim(_type, '[]') WHEN 'text' THEN 'string' WHEN 'integer' THEN 'number' ELSE 'boolean' END;
    _good boolean;
BEGIN
    IF _type IS NULL THEN
        PERFORM refuse('PV400', format('unknown setting %s', NEW.name), NEW.value::text, 'SELECT * FROM tld_setting_key');
    END IF;
    IF _type LIKE '%[]' THEN
        _good := jsonb_typeof(NEW.value) = 'array' AND NOT EXISTS (SELECT FROM jsonb_array_elements(NEW.value) AS e WHERE jsonb_typeof(e) <> _element);
    ELSE
        _good := jsonb_typeof(NEW.value) = _element;
    END IF;
    IF _element = 'number' AND _good AND NEW.value::text ~ '[.eE]' THEN
        _good := false;
    END IF;
    IF NOT _good THEN
        PERFORM refuse('PV400', format('setting %s must be %s', NEW.name, _type), NEW.value::text, 'give a JSON value of that type');
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION tld_setting_check() IS 'Refuses a zone setting that is not of its type.';
SELECT class.replace_trigger('tld_setting_check_tg', 'tld_setting', 'BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW', 'tld_setting_check()');

-- Contacts -----------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION provision_contact_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the rules read what the one who inserts may not.
DECLARE
    _is_given constant boolean := NEW.handle IS NOT NULL;
BEGIN
    NEW.handle := COALESCE(NEW.handle, upper(right(replace(NEW.id::text, '-', ''), 16)));
    IF _is_given AND NEW.handle !~ '^[!-~]{3,16}$' THEN
        PERFORM refuse('PV422', 'the handle is malformed', NEW.handle, '3 to 16 visible characters (RFC 5730 clIDType), or leave it empty');
    END IF;
    CASE
        WHEN length(NEW.name) NOT BETWEEN 1 AND 255 THEN PERFORM refuse('PV422', 'the name is malformed', left(NEW.name, 300), '1 to 255 characters');
        WHEN length(NEW.city) NOT BETWEEN 1 AND 255 THEN PERFORM refuse('PV422', 'the city is malformed', left(NEW.city, 300), '1 to 255 characters');
        WHEN greatest(length(NEW.organization), length(NEW.state), length(NEW.postal_code), length(NEW.email), length(array_to_string(NEW.street, ''))) > 255
            THEN PERFORM refuse('PV422', 'a part of the address is too long', concat_ws(', ', left(NEW.organization, 300), left(NEW.state, 300), left(NEW.postal_code, 300)), 'at most 255 characters each');
        WHEN cardinality(NEW.street) NOT BETWEEN 1 AND 3 OR array_ndims(NEW.street) > 1 OR array_position(NEW.street, NULL) IS NOT NULL THEN PERFORM refuse('PV422', 'the street is malformed', NEW.street::text, 'one to three lines');
        WHEN NEW.country_code !~ '^[A-Z]{2}$' THEN PERFORM refuse('PV422', 'the country code is malformed', NEW.country_code, 'two capital letters (ISO 3166-1): DE');
        WHEN NEW.email !~ '^[^@[:space:]]+@[^@[:space:]]+\.[^@[:space:]]+$' THEN PERFORM refuse('PV422', 'the e-mail address is malformed', NEW.email, 'name@example.test');
        -- Expressions that count are dear.
        WHEN NEW.phone !~ '^\+[0-9]+\.[0-9]+$' OR position('.' IN NEW.phone) > 5 OR length(NEW.phone) - position('.' IN NEW.phone) > 14 THEN PERFORM refuse('PV422', 'the phone number is malformed', NEW.phone, 'as EPP writes it: +49.301234567');
        WHEN NEW.fax !~ '^\+[0-9]+\.[0-9]+$' OR position('.' IN NEW.fax) > 5 OR length(NEW.fax) - position('.' IN NEW.fax) > 14 THEN PERFORM refuse('PV422', 'the fax number is malformed', NEW.fax, 'as EPP writes it: +49.301234567');
        ELSE NULL;
    END CASE;
    -- The id of an order's row is the engine's and random, and so is a handle made of it. Others may have an id of their own.
    IF _is_given OR NEW.order_item_plan_ids = '{}' THEN
        PERFORM contact_check_handle(NEW);
    END IF;
    IF NEW.order_item_plan_ids = '{}' THEN
        PERFORM contact_check_reference(NEW.reference);
        PERFORM object_claim('contact', object_key(NEW.tenant_customer_id, NEW.org_id, NEW.accreditation_id, NEW.reference), NEW.id, NULL, NEW.tenant_customer_id);
        IF contact_live(NEW.tenant_customer_id, NEW.org_id, NEW.accreditation_id, NEW.reference) IS NOT NULL THEN
            PERFORM refuse('PV409', 'the contact exists', 'reference ' || NEW.reference, 'use it by its reference, or take another one');
        END IF;
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_contact_validate() IS 'Refuses a malformed contact (RFC 5733) or one whose reference is taken; makes the handle from the row''s id.';

-- The same rules for changes. Copied rather than called, as a call for each contact is a hundredth of an order's time.
DO $do$
DECLARE
    _rules constant text := (SELECT substring(prosrc FROM '\mCASE\M.*END CASE;') FROM pg_proc WHERE oid = 'provision_contact_validate()'::regprocedure);
BEGIN
    EXECUTE format('CREATE OR REPLACE FUNCTION contact_check_details(p_row provision_contact) RETURNS void LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS %L',
        'BEGIN ' || replace(_rules, 'NEW.', 'p_row.') || ' END');
END $do$;
COMMENT ON FUNCTION contact_check_details(provision_contact) IS 'Generated from provision_contact_validate(): refuses malformed details of a contact (RFC 5733).';

CREATE OR REPLACE FUNCTION contact_check_handle(p_row provision_contact) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    -- The registry would say of another customer's handle that it exists and is ours, and we would take it for this row's.
    PERFORM object_claim('handle', p_row.accreditation_id || ':' || p_row.handle, p_row.id, NULL, p_row.tenant_customer_id);
    IF EXISTS (SELECT FROM contact WHERE accreditation_id = p_row.accreditation_id AND handle = p_row.handle AND deleted_date IS NULL) THEN
        PERFORM refuse('PV409', 'the handle is taken', p_row.handle, 'take another one, or leave it empty');
    END IF;
END $$;
COMMENT ON FUNCTION contact_check_handle(provision_contact) IS 'Refuses a handle that is in use at the accreditation, by whomever.';

CREATE OR REPLACE FUNCTION contact_check_reference(p_reference text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF length(p_reference) NOT BETWEEN 1 AND 255 THEN
        PERFORM refuse('PV422', 'the reference is malformed', left(p_reference, 300), '1 to 255 characters');
    END IF;
END $$;
COMMENT ON FUNCTION contact_check_reference(text) IS 'Refuses an empty or overlong reference.';

CREATE OR REPLACE FUNCTION contact_live(p_tenant_customer uuid, p_org uuid, p_accreditation uuid, p_reference text) RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (SELECT id FROM contact WHERE tenant_customer_id = p_tenant_customer AND org_id IS NOT DISTINCT FROM p_org AND accreditation_id = p_accreditation AND reference = p_reference AND deleted_date IS NULL);
END $$;
COMMENT ON FUNCTION contact_live(uuid, uuid, uuid, text) IS 'The live contact of that reference of an org, or of the customer''s own; NULL: none.';

-- Hosts --------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION provision_host_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the rules read what the one who inserts may not.
BEGIN
    PERFORM host_check_list(NEW.addresses);
    PERFORM host_check(NEW.tenant_customer_id, NEW.org_id, NEW.accreditation_id, NEW.name, NEW.addresses);
    IF NEW.order_item_plan_ids = '{}' THEN
        PERFORM object_claim('host', object_key(NEW.tenant_customer_id, NEW.org_id, NEW.accreditation_id, NEW.name), NEW.id, NULL, NEW.tenant_customer_id);
        PERFORM host_check_new(NEW.tenant_customer_id, NEW.org_id, NEW.accreditation_id, NEW.name);
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_host_validate() IS 'Refuses a host with missing or needless glue, under another''s name, or that exists already.';

CREATE OR REPLACE FUNCTION host_check_list(p_addresses inet[]) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF p_addresses IS NULL OR array_ndims(p_addresses) > 1 OR EXISTS (SELECT FROM unnest(p_addresses) AS a WHERE (a = host(a)::inet) IS NOT TRUE) THEN
        PERFORM refuse('PV422', 'the addresses are malformed', COALESCE(left(p_addresses::text, 300), 'NULL'), 'give a plain list of addresses without masks: {192.0.2.1,2001:db8::1}');
    END IF;
END $$;
COMMENT ON FUNCTION host_check_list(inet[]) IS 'Refuses what is not a plain list of addresses: networks, lists of lists, NULL.';

CREATE OR REPLACE FUNCTION host_check(p_tenant_customer uuid, p_org uuid, p_accreditation uuid, p_name text, p_addresses inet[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _zone record;
BEGIN
    -- A registrar takes name servers in its zones that are somebody else's.
    SELECT t.id, z.name INTO _zone FROM accreditation_tld AS t JOIN tld AS z ON z.id = t.tld_id JOIN accreditation AS a ON a.id = t.accreditation_id AND a.provider <> 'aws'
    WHERE t.accreditation_id = p_accreditation AND z.name = ANY (domain_suffixes(p_name)) ORDER BY length(z.name) DESC LIMIT 1;
    IF NOT FOUND THEN
        IF (SELECT provider = 'aws' FROM accreditation WHERE id = p_accreditation) THEN
            PERFORM host_check_registrar(p_tenant_customer, p_org, p_accreditation, p_name, p_addresses);
        ELSIF cardinality(p_addresses) > 0 THEN
            PERFORM refuse('PV422', 'a name server outside the registry''s zones has no addresses there', p_name, 'leave addresses empty');
        END IF;
        RETURN;
    END IF;
    IF cardinality(p_addresses) NOT BETWEEN 1 AND 13 THEN
        PERFORM refuse('PV422', 'a name server inside the registry''s zone needs its addresses', p_name, 'give 1 to 13 addresses');
    ELSIF NOT (tld_settings(_zone.id) ->> 'host_ipv6_allowed')::boolean AND EXISTS (SELECT FROM unnest(p_addresses) AS a WHERE family(a) = 6) THEN
        PERFORM refuse('PV422', 'the zone takes no IPv6 glue', p_name, 'give IPv4 addresses only');
    ELSIF NOT EXISTS (SELECT FROM domain WHERE tenant_customer_id = p_tenant_customer AND COALESCE(org_id = p_org, org_id IS NULL) AND deleted_date IS NULL AND name = ANY (domain_suffixes(p_name))) THEN
        PERFORM refuse('PV404', 'the name server''s domain is not yours', p_name, 'register its domain first, with other name servers');
    END IF;
END $$;
COMMENT ON FUNCTION host_check(uuid, uuid, uuid, text, inet[]) IS 'Glue rules: addresses inside the registry''s zones and only there, under a domain of the same org or of the customer''s own (RFC 5732).';

CREATE OR REPLACE FUNCTION host_check_registrar(p_tenant_customer uuid, p_org uuid, p_accreditation uuid, p_name text, p_addresses inet[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _is_below_own constant boolean := EXISTS (SELECT FROM domain WHERE tenant_customer_id = p_tenant_customer AND COALESCE(org_id = p_org, org_id IS NULL) AND accreditation_id = p_accreditation AND deleted_date IS NULL AND name = ANY (domain_suffixes(p_name)));
BEGIN
    IF _is_below_own <> (cardinality(p_addresses) > 0) THEN
        PERFORM refuse('PV422', CASE WHEN _is_below_own THEN 'a name server under a domain of yours needs its addresses' ELSE 'a name server under no domain of yours has no addresses there' END, p_name,
            CASE WHEN _is_below_own THEN 'give an IPv4 address, an IPv6 address, or both' ELSE 'leave addresses empty' END);
    ELSIF EXISTS (SELECT FROM unnest(p_addresses) AS a GROUP BY family(a) HAVING count(*) > 1) THEN
        PERFORM refuse('PV422', 'too many addresses of a name server', format('%s: %s', p_name, array_to_string(ARRAY(SELECT host(a) FROM unnest(p_addresses) AS a), ', ')), 'Route 53 Domains takes one IPv4 address and one IPv6 address');
    END IF;
END $$;
COMMENT ON FUNCTION host_check_registrar(uuid, uuid, uuid, text, inet[]) IS 'Glue rules of Route 53 Domains: addresses for name servers under domains of the same org, or of the customer''s own, that are there, and only for those.';

CREATE OR REPLACE FUNCTION host_is_object(p_accreditation uuid) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the reconcile pass of the worker asks too, which may not read settings of zones.
BEGIN
    RETURN COALESCE((
        SELECT bool_or(COALESCE(o.value, s.value) IS DISTINCT FROM '"attributes"') FROM accreditation_tld AS t
        LEFT JOIN tld_setting AS s ON s.tld_id = t.tld_id AND s.accreditation_id IS NULL AND s.name = 'host_model'
        LEFT JOIN tld_setting AS o ON o.tld_id = t.tld_id AND o.accreditation_id = t.accreditation_id AND o.name = 'host_model'
        WHERE t.accreditation_id = p_accreditation), true);
END $$;
COMMENT ON FUNCTION host_is_object(uuid) IS 'Whether a registry has name servers as objects of their own; where all its zones have them as attributes of domains (RFC 5731 hostAttr) they are kept here only.';

CREATE OR REPLACE FUNCTION host_live(p_tenant_customer uuid, p_org uuid, p_accreditation uuid, p_name text) RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (SELECT id FROM host WHERE tenant_customer_id = p_tenant_customer AND org_id IS NOT DISTINCT FROM p_org AND accreditation_id = p_accreditation AND name = p_name AND deleted_date IS NULL);
END $$;
COMMENT ON FUNCTION host_live(uuid, uuid, uuid, text) IS 'The live host of that name of an org, or of the customer''s own; NULL: none.';

CREATE OR REPLACE FUNCTION host_check_new(p_tenant_customer uuid, p_org uuid, p_accreditation uuid, p_name text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF host_live(p_tenant_customer, p_org, p_accreditation, p_name) IS NOT NULL THEN
        PERFORM refuse('PV409', 'the host exists', p_name, 'use it by its name');
    END IF;
END $$;
COMMENT ON FUNCTION host_check_new(uuid, uuid, uuid, text) IS 'Refuses a host that exists already.';

-- Domains ------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION domain_check_name(p_name text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF p_name !~ '^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$' OR length(p_name) > 253 THEN
        PERFORM refuse('PV422', 'the name is malformed', p_name, 'lower-case A-labels of 1 to 63 letters, digits and inner hyphens: example.test');
    END IF;
END $$;
COMMENT ON FUNCTION domain_check_name(text) IS 'Refuses what is not a fully qualified name in A-labels.';

CREATE OR REPLACE FUNCTION domain_suffixes(p_name text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
DECLARE
    _labels constant text[] := string_to_array(p_name, '.');
BEGIN
    RETURN ARRAY(SELECT array_to_string(_labels[n:], '.') FROM generate_series(1, cardinality(_labels)) AS n);
END $$;
COMMENT ON FUNCTION domain_suffixes(text) IS 'A name and all names above it: matching on label borders, so that selfhelp is not help.';

CREATE OR REPLACE FUNCTION domain_zone(p_tenant_customer uuid, p_name text, p_accreditation_name text DEFAULT NULL, p_accreditation uuid DEFAULT NULL) RETURNS accreditation_tld
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    -- The longest zone wins: co.test before test.
    _zone constant text := (SELECT name FROM tld WHERE name = ANY (domain_suffixes(p_name)) AND name <> p_name ORDER BY length(name) DESC LIMIT 1);
    _found accreditation_tld;
BEGIN
    SELECT t.* INTO _found FROM accreditation_tld AS t JOIN tld AS z ON z.id = t.tld_id AND z.name = _zone
    JOIN accreditation AS a ON a.id = t.accreditation_id AND a.is_active
    JOIN tenant_customer AS c ON c.tenant_id = a.tenant_id AND c.id = p_tenant_customer
    WHERE t.is_active AND (p_accreditation_name IS NULL OR a.name = p_accreditation_name) AND (p_accreditation IS NULL OR a.id = p_accreditation)
    ORDER BY t.is_default DESC, a.name LIMIT 1;
    IF NOT FOUND THEN
        PERFORM refuse('PV422', 'no names can be registered in this zone', p_name || COALESCE(' with ' || p_accreditation_name, ''), 'zones are ' || COALESCE(
            (SELECT string_agg(DISTINCT z.name, ', ') FROM accreditation_tld AS t JOIN tld AS z ON z.id = t.tld_id JOIN accreditation AS a ON a.id = t.accreditation_id AND a.is_active JOIN tenant_customer AS c ON c.tenant_id = a.tenant_id AND c.id = p_tenant_customer WHERE t.is_active), 'not set up yet'));
    ELSIF p_name ~ ('\..*\.' || replace(_zone, '.', '\.') || '$') THEN
        PERFORM refuse('PV422', 'only names directly under the zone can be registered', p_name, format('give <name>.%s', _zone));
    END IF;
    RETURN _found;
END $$;
COMMENT ON FUNCTION domain_zone(uuid, text, text, uuid) IS 'The zone and accreditation a name is registered with; refuses a name in no zone of the tenant.';

CREATE OR REPLACE FUNCTION domain_check_create(p_name text, p_period int, p_settings jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _length constant int := length(split_part(p_name, '.', 1));
BEGIN
    IF NOT p_settings -> 'order_types' ? 'create' THEN
        PERFORM refuse('PV422', 'registrations are not taken in this zone', p_name, 'allowed are ' || (p_settings ->> 'order_types'));
    ELSIF _length NOT BETWEEN (p_settings ->> 'name_length_minimum')::int AND (p_settings ->> 'name_length_maximum')::int THEN
        PERFORM refuse('PV422', 'the name is too short or too long', format('%s has %s characters', p_name, _length), format('%s to %s', p_settings ->> 'name_length_minimum', p_settings ->> 'name_length_maximum'));
    ELSIF NOT p_settings -> 'registration_periods' @> to_jsonb(p_period) OR p_period > (p_settings ->> 'maximum_lifetime')::int THEN
        PERFORM refuse('PV422', 'the period is not allowed', p_period || ' years', 'allowed are ' || (p_settings ->> 'registration_periods'));
    ELSIF EXISTS (SELECT FROM domain WHERE name = p_name AND deleted_date IS NULL) THEN
        PERFORM refuse('PV409', 'the domain is registered', p_name, 'take another name');
    END IF;
END $$;
COMMENT ON FUNCTION domain_check_create(text, int, jsonb) IS 'Refuses a registration the zone''s settings do not allow, or of a name that is taken.';

CREATE OR REPLACE FUNCTION domain_check_parts(p_types text[], p_host_count int, p_settings jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _missing text := (SELECT string_agg(t, ', ') FROM jsonb_array_elements_text(p_settings -> 'contact_types_required') AS t WHERE t <> ALL (p_types));
BEGIN
    IF p_settings ->> 'contact_model' = 'thin' AND cardinality(p_types) > 0 THEN
        PERFORM refuse('PV422', 'the zone keeps no contacts', array_to_string(p_types, ', '), 'order the name without contacts');
    ELSIF _missing IS NOT NULL THEN
        PERFORM refuse('PV422', 'contacts are missing', _missing, 'required are ' || (p_settings ->> 'contact_types_required'));
    ELSIF p_host_count NOT BETWEEN (p_settings ->> 'host_count_minimum')::int AND (p_settings ->> 'host_count_maximum')::int THEN
        PERFORM refuse('PV422', 'too few or too many name servers', p_host_count::text, format('%s to %s', p_settings ->> 'host_count_minimum', p_settings ->> 'host_count_maximum'));
    END IF;
END $$;
COMMENT ON FUNCTION domain_check_parts(text[], int, jsonb) IS 'Refuses a registration without the contacts and name servers the zone asks for.';

CREATE OR REPLACE FUNCTION provision_domain_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the rules read what the one who inserts may not.
BEGIN
    IF NEW.settings IS NULL THEN
        PERFORM domain_check_name(NEW.name);
        NEW.accreditation_tld_id := (domain_zone(NEW.tenant_customer_id, NEW.name, NULL, NEW.accreditation_id)).id;
        NEW.settings := tld_settings(NEW.accreditation_tld_id);
    END IF;
    PERFORM object_claim('domain', NEW.name, NEW.id, NULL, NEW.tenant_customer_id);
    PERFORM price_check(NEW.max_price, NEW.currency, NEW.accreditation_id);
    PERFORM domain_check_create(NEW.name, NEW.registration_period, NEW.settings);
    NEW.ds_records := domain_ds(NEW.ds_records, NEW.settings, NEW.accreditation_id);
    -- An order of a domain gives none, so that it is the default.
    IF NEW.order_item_plan_ids <> '{}' THEN
        NEW.pw := auth_info_made(NEW.settings, NEW.pw);
    ELSIF (NEW.pw ~ (NEW.settings ->> 'auth_info_pattern')) IS NOT TRUE THEN
        PERFORM refuse('PV422', 'the auth info does not suit the zone', 'pw is not shown', 'it must match ' || (NEW.settings ->> 'auth_info_pattern') || '; order the domain to have one made');
    END IF;
    IF NEW.is_complete THEN
        NEW.status_id := tc_id_from_name('provision_status', 'processing');
        NEW.processing_date := engine_now();
        PERFORM domain_check_parts(
            ARRAY(SELECT type FROM provision_domain_contact WHERE provision_domain_id = NEW.id),
            (SELECT count(*)::int FROM provision_domain_host WHERE provision_domain_id = NEW.id), NEW.settings);
        PERFORM domain_check_live(NEW.id, NEW.org_id, NEW.accreditation_id);
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_domain_validate() IS 'Refuses a registration that breaks a rule of its zone or of the inventory; resolves and keeps the zone''s settings.';

CREATE OR REPLACE FUNCTION provision_domain_part_found() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
-- Not SECURITY DEFINER: what row-level security hides from the one who inserts does not exist.
BEGIN
    IF row_security_active(TG_RELID) AND NOT EXISTS (
        SELECT FROM provision_domain WHERE id = NEW.provision_domain_id AND tenant_customer_id = NEW.tenant_customer_id AND org_id IS NOT DISTINCT FROM NEW.org_id) THEN
        PERFORM refuse('PV404', 'registration not found', 'provision_domain_id ' || COALESCE(NEW.provision_domain_id::text, 'is missing'), 'name one of yours, with its tenant_customer_id and org_id');
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_domain_part_found() IS 'Refuses contacts and hosts for a registration of another customer or org as it does for none; the foreign key knows no orgs.';
SELECT class.replace_trigger(t || '_caller_tg', t, 'BEFORE INSERT ON {table} FOR EACH ROW', 'provision_domain_part_found()')
FROM unnest('{provision_domain_contact,provision_domain_host}'::text[]) AS t;

CREATE OR REPLACE FUNCTION provision_domain_part_check() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: whoever adds a part may not read the registration.
BEGIN
    -- Locked, so that the gate is not opened at the same moment: its job is made of the parts that are there then.
    PERFORM FROM provision_domain WHERE id IN (SELECT provision_domain_id FROM new_rows) ORDER BY id FOR NO KEY UPDATE;
    IF EXISTS (SELECT FROM new_rows AS n JOIN provision_domain AS p ON p.id = n.provision_domain_id WHERE p.is_complete) THEN
        PERFORM refuse('PV422', 'the registration takes no more contacts and hosts', (SELECT min(p.name) FROM new_rows AS n JOIN provision_domain AS p ON p.id = n.provision_domain_id WHERE p.is_complete), 'insert them before is_complete is set');
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION provision_domain_part_check() IS 'Refuses contacts and hosts that come after the gate was opened.';
SELECT class.replace_trigger(t || '_check_tg', t, 'AFTER INSERT ON {table} REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT', 'provision_domain_part_check()')
FROM unnest('{provision_domain_contact,provision_domain_host}'::text[]) AS t;

CREATE OR REPLACE FUNCTION domain_check_live(p_id uuid, p_org uuid, p_accreditation uuid) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _part record;
BEGIN
    FOR _part IN
        SELECT 'contact' AS type, c.id, c.reference AS name, c.org_id, c.deleted_date, c.accreditation_id FROM provision_domain_contact AS p JOIN contact AS c ON c.id = p.contact_id WHERE p.provision_domain_id = p_id
        UNION ALL SELECT 'host', h.id, h.name, h.org_id, h.deleted_date, h.accreditation_id FROM provision_domain_host AS p JOIN host AS h ON h.id = p.host_id WHERE p.provision_domain_id = p_id
    LOOP
        IF _part.org_id IS NOT NULL AND _part.org_id IS DISTINCT FROM p_org THEN
            -- Another org's: nothing of it is told.
            PERFORM refuse('PV404', _part.type || ' not found', _part.id::text, 'use those of the domain''s org, or of the customer''s own');
        ELSIF _part.deleted_date IS NOT NULL OR _part.accreditation_id <> p_accreditation THEN
            PERFORM refuse('PV422', 'not live at this accreditation', _part.type || ' ' || _part.name, 'use contacts and hosts of the domain''s accreditation');
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION domain_check_live(uuid, uuid, uuid) IS 'Refuses contacts and hosts that are deleted, belong to another org or to another accreditation.';
