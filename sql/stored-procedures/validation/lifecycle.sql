-- What may be done with a name that is registered. domain_live() finds it among the caller's, domain_claim() makes a row
-- the one active operation on it; the domain_check functions refuse what the zone's settings, a lock or the name's place in
-- its life forbid, when an order is accepted and again when its row is made.

CREATE OR REPLACE FUNCTION domain_live(p_tenant_customer uuid, p_org uuid, p_name text) RETURNS domain
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _domain domain;
BEGIN
    SELECT * INTO _domain FROM domain WHERE name = p_name AND deleted_date IS NULL
        AND tenant_customer_id = p_tenant_customer AND (p_org IS NULL OR org_id IS NULL OR org_id = p_org);
    RETURN _domain;
END $$;
COMMENT ON FUNCTION domain_live(uuid, uuid, text) IS 'A live name that an order may act on: of an org, its own and the customer''s own; without one, any of the customer''s. NULL: none.';

CREATE OR REPLACE FUNCTION domain_claim(p_tenant_customer uuid, p_org uuid, p_name text, p_provision uuid, p_plan uuid) RETURNS domain
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _domain domain := domain_live(p_tenant_customer, p_org, p_name);
BEGIN
    -- Of a name that is not the caller's nothing is told, not even that something is being done with it.
    IF _domain.id IS NOT NULL THEN
        PERFORM object_claim('domain', p_name, p_provision, p_plan, p_tenant_customer);
        -- Looked at once more: whoever had the claim before may just have completed.
        _domain := domain_live(p_tenant_customer, p_org, p_name);
    END IF;
    IF _domain.id IS NULL THEN
        PERFORM refuse('PV404', 'domain not found', COALESCE(p_name, 'no name given'), 'name one of your own: SELECT name FROM v_domain');
    END IF;
    RETURN _domain;
END $$;
COMMENT ON FUNCTION domain_claim(uuid, uuid, text, uuid, uuid) IS 'Makes a row the one active operation on a name of the caller''s; another''s name answers as one that does not exist.';

CREATE OR REPLACE FUNCTION domain_named(p_tenant_customer uuid, p_domain uuid, p_name text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _name text := (SELECT name FROM domain WHERE id = p_domain AND tenant_customer_id = p_tenant_customer);
BEGIN
    IF p_domain IS NOT NULL AND _name IS DISTINCT FROM COALESCE(p_name, _name) OR (p_domain IS NOT NULL AND _name IS NULL) THEN
        PERFORM refuse('PV404', 'domain not found', 'domain_id ' || p_domain, 'name one of your own: SELECT id, name FROM v_domain');
    END IF;
    RETURN COALESCE(p_name, _name);
END $$;
COMMENT ON FUNCTION domain_named(uuid, uuid, text) IS 'The name that a row is about, given by name, by id, or by both if they agree.';

CREATE OR REPLACE FUNCTION domain_day(p_date timestamptz) RETURNS date
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (p_date AT TIME ZONE 'UTC')::date;
END $$;
COMMENT ON FUNCTION domain_day(timestamptz) IS 'The day of a date as registries count it, in UTC.';

CREATE OR REPLACE FUNCTION domain_day(p_day text) RETURNS date
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF p_day !~ '^\d{4}-\d\d-\d\d$' THEN
        RAISE invalid_datetime_format;
    END IF;
    RETURN p_day::date;
EXCEPTION WHEN invalid_datetime_format OR datetime_field_overflow THEN
    PERFORM refuse('PV422', 'that is no day', left(p_day, 100), 'give it as 2027-03-01');
END $$;
COMMENT ON FUNCTION domain_day(text) IS 'The day that was given in an order.';

CREATE OR REPLACE FUNCTION domain_check_open(p_domain domain, p_operation text, p_settings jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _locks constant text := (SELECT string_agg(s, ', ' ORDER BY s) FROM unnest(p_domain.statuses) AS s WHERE s ~ format('^(client|server)%sProhibited$', initcap(p_operation)));
BEGIN
    IF NOT p_settings -> 'order_types' ? p_operation THEN
        PERFORM refuse('PV422', format('%s is not taken in this zone', p_operation), p_domain.name, 'allowed are ' || (p_settings ->> 'order_types'));
    ELSIF _locks IS NOT NULL THEN
        PERFORM refuse('PV409', 'the domain is locked', format('%s has status %s', p_domain.name, _locks), 'remove the lock first; those of the server only the registry removes');
    ELSIF p_domain.purge_date IS NOT NULL AND p_operation <> 'restore' THEN
        PERFORM refuse('PV409', 'the domain is deleted', format('%s is in %s until %s', p_domain.name, p_domain.rgp_state, domain_day(p_domain.rgp_until)),
            CASE p_domain.rgp_state WHEN 'redemptionPeriod' THEN 'restore it first, if its zone allows that' ELSE 'it can be registered again when it is purged' END);
    END IF;
END $$;
COMMENT ON FUNCTION domain_check_open(domain, text, jsonb) IS 'Refuses an operation that the zone does not have, that a status of the name forbids, or that comes after its deletion.';

CREATE OR REPLACE FUNCTION price_check(p_max_price numeric, p_currency text, p_accreditation uuid) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF p_max_price < 0 OR p_max_price >= 1000000000 OR scale(p_max_price) > 4 THEN
        PERFORM refuse('PV422', 'max_price cannot be that', left(p_max_price::text, 100), 'give an amount of money: 12.50');
    ELSIF p_currency !~ '^[A-Z]{3}$' OR (p_currency IS NOT NULL AND p_max_price IS NULL) THEN
        PERFORM refuse('PV422', 'the currency cannot be that', left(p_currency, 100), 'three capital letters (ISO 4217), beside max_price: EUR');
    ELSIF p_max_price IS NOT NULL AND EXISTS (SELECT FROM accreditation WHERE id = p_accreditation AND provider <> 'epp') THEN
        PERFORM refuse('PV422', 'max_price cannot be kept there', 'max_price ' || p_max_price, 'prices are asked of registries only; leave max_price out');
    END IF;
END $$;
COMMENT ON FUNCTION price_check(numeric, text, uuid) IS 'Refuses what cannot be the most that an order may cost.';

-- Renewal ------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION domain_period(p_period jsonb, p_allowed jsonb) RETURNS int
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT p_allowed @> COALESCE(p_period, '1') THEN
        PERFORM refuse('PV422', 'the period is not allowed', left(COALESCE(p_period, '1')::text, 100) || ' years', 'allowed are ' || p_allowed::text);
    END IF;
    RETURN COALESCE((p_period #>> '{}')::numeric::int, 1);
END $$;
COMMENT ON FUNCTION domain_period(jsonb, jsonb) IS 'A number of years, one if none is given; refused unless it is among those allowed.';

CREATE OR REPLACE FUNCTION domain_check_renew(p_domain domain, p_period int, p_current_expiry date, p_settings jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM domain_check_open(p_domain, 'renew', p_settings);
    PERFORM domain_period(to_jsonb(p_period), p_settings -> 'renewal_periods');
    IF p_current_expiry IS DISTINCT FROM COALESCE(domain_day(p_domain.ry_expiry_date), p_current_expiry) AND p_current_expiry IS NOT NULL THEN
        PERFORM refuse('PV409', 'the domain does not expire on that day', format('%s was given, %s expires on %s', p_current_expiry, p_domain.name, domain_day(p_domain.ry_expiry_date)),
            'perhaps it was renewed already; look at it and decide anew');
    ELSIF p_domain.ry_expiry_date + make_interval(years => p_period) > engine_now() + make_interval(years => (p_settings ->> 'maximum_lifetime')::int) THEN
        PERFORM refuse('PV422', 'the domain would live too long', format('%s expires on %s', p_domain.name, domain_day(p_domain.ry_expiry_date)), format('it may expire in %s years at most', p_settings ->> 'maximum_lifetime'));
    END IF;
END $$;
COMMENT ON FUNCTION domain_check_renew(domain, int, date, jsonb) IS 'Refuses a renewal for a period the zone does not have, beyond its longest lifetime, or of a name that does not expire when the client believes.';

CREATE OR REPLACE FUNCTION provision_domain_renew_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the rules read what the one who inserts may not.
DECLARE
    _domain domain;
BEGIN
    NEW.name := domain_named(NEW.tenant_customer_id, NEW.domain_id, NEW.name);
    _domain := domain_claim(NEW.tenant_customer_id, NEW.org_id, NEW.name, NEW.id, NEW.order_item_plan_ids[1]);
    NEW.domain_id := _domain.id;
    NEW.accreditation_id := _domain.accreditation_id;
    NEW.settings := COALESCE(NEW.settings, tld_settings(_domain.accreditation_tld_id));
    PERFORM price_check(NEW.max_price, NEW.currency, NEW.accreditation_id);
    PERFORM domain_check_renew(_domain, NEW.period, NEW.current_expiry, NEW.settings);
    NEW.current_expiry := domain_day(_domain.ry_expiry_date);
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_domain_renew_validate() IS 'Refuses a renewal that breaks a rule of the zone or of the name; notes the expiry it begins from.';

-- Deletion -----------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION domain_hosts_below(p_domain domain) RETURNS SETOF host
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT h.* FROM host AS h
    WHERE h.tenant_customer_id = p_domain.tenant_customer_id AND h.accreditation_id = p_domain.accreditation_id AND h.deleted_date IS NULL
        -- '/' is what follows '.': a range that the index of reversed names has.
        AND reverse(h.name::text) COLLATE "C" > reverse(p_domain.name) || '.' AND reverse(h.name::text) COLLATE "C" < reverse(p_domain.name) || '/';
END $$;
COMMENT ON FUNCTION domain_hosts_below(domain) IS 'Name servers under a name, which go when it goes.';

CREATE OR REPLACE FUNCTION domain_check_delete(p_domain domain, p_settings jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _used constant text := (
        SELECT string_agg(DISTINCT h.name, ', ') FROM domain_hosts_below(p_domain) AS h
        JOIN domain_host AS u ON u.host_id = h.id JOIN domain AS d ON d.id = u.domain_id AND d.deleted_date IS NULL AND d.id <> p_domain.id);
BEGIN
    PERFORM domain_check_open(p_domain, 'delete', p_settings);
    IF _used IS NOT NULL THEN
        PERFORM refuse('PV409', 'name servers under the domain serve other domains', _used, 'give those other name servers first');
    END IF;
END $$;
COMMENT ON FUNCTION domain_check_delete(domain, jsonb) IS 'Refuses to delete a name whose name servers are in use.';

CREATE OR REPLACE FUNCTION provision_domain_delete_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the rules read what the one who inserts may not.
DECLARE
    _domain domain;
BEGIN
    NEW.name := domain_named(NEW.tenant_customer_id, NEW.domain_id, NEW.name);
    _domain := domain_claim(NEW.tenant_customer_id, NEW.org_id, NEW.name, NEW.id, NEW.order_item_plan_ids[1]);
    NEW.domain_id := _domain.id;
    NEW.accreditation_id := _domain.accreditation_id;
    NEW.settings := COALESCE(NEW.settings, tld_settings(_domain.accreditation_tld_id));
    PERFORM domain_check_delete(_domain, NEW.settings);
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_domain_delete_validate() IS 'Refuses a deletion that breaks a rule of the zone or of the name.';

-- Restoration --------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION domain_check_restore(p_domain domain, p_reason text, p_settings jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _provider constant text := (SELECT provider FROM accreditation WHERE id = p_domain.accreditation_id);
BEGIN
    IF _provider NOT IN ('epp', 'manual') THEN
        PERFORM refuse('PV422', 'names are not restored there', format('%s is registered at %s', p_domain.name, _provider), 'ask its support to restore it');
    END IF;
    PERFORM domain_check_open(p_domain, 'restore', p_settings);
    IF p_domain.rgp_state IS DISTINCT FROM 'redemptionPeriod' OR p_domain.purge_date IS NULL THEN
        PERFORM refuse('PV409', 'the domain is not in its redemption period', p_domain.name || COALESCE(' is in ' || p_domain.rgp_state, ''), 'only a name that was deleted, and not yet for long, is restored');
    ELSIF length(p_reason) NOT BETWEEN 1 AND 1000 THEN
        PERFORM refuse('PV422', 'the reason is empty or too long', left(p_reason, 100), '1 to 1000 characters, for the registry');
    END IF;
END $$;
COMMENT ON FUNCTION domain_check_restore(domain, text, jsonb) IS 'Refuses to restore a name that is not in its redemption period, or where names are not restored.';

CREATE OR REPLACE FUNCTION provision_domain_restore_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the rules read what the one who inserts may not.
DECLARE
    _domain domain;
BEGIN
    NEW.name := domain_named(NEW.tenant_customer_id, NEW.domain_id, NEW.name);
    _domain := domain_claim(NEW.tenant_customer_id, NEW.org_id, NEW.name, NEW.id, NEW.order_item_plan_ids[1]);
    NEW.domain_id := _domain.id;
    NEW.accreditation_id := _domain.accreditation_id;
    NEW.settings := COALESCE(NEW.settings, tld_settings(_domain.accreditation_tld_id));
    PERFORM price_check(NEW.max_price, NEW.currency, NEW.accreditation_id);
    PERFORM domain_check_restore(_domain, NEW.reason, NEW.settings);
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_domain_restore_validate() IS 'Refuses a restoration that breaks a rule of the zone or of the name.';

-- Zones --------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION tld_create(p_accreditation uuid, p_zone text, p_profile text, p_changes jsonb DEFAULT '{}') RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: for operators, who have EXECUTE and no table rights.
DECLARE
    _settings constant jsonb := (SELECT settings FROM tld_profile WHERE name = p_profile);
    _tld uuid;
    _id uuid;
BEGIN
    IF _settings IS NULL THEN
        PERFORM refuse('PV404', 'profile not found', p_profile, 'profiles are ' || (SELECT string_agg(name, ', ' ORDER BY name) FROM tld_profile));
    ELSIF NOT EXISTS (SELECT FROM accreditation WHERE id = p_accreditation) THEN
        PERFORM refuse('PV404', 'accreditation not found', p_accreditation::text, 'SELECT id, name FROM accreditation');
    ELSIF p_zone !~ '^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$' THEN
        PERFORM refuse('PV422', 'the zone is malformed', p_zone, 'A-labels in lower case, without a leading dot: co.test');
    END IF;
    INSERT INTO tld (name) VALUES (p_zone) ON CONFLICT (name) DO NOTHING;
    SELECT id INTO _tld FROM tld WHERE name = p_zone;
    INSERT INTO accreditation_tld (accreditation_id, tld_id) VALUES (p_accreditation, _tld) ON CONFLICT DO NOTHING RETURNING id INTO _id;
    IF _id IS NULL THEN
        PERFORM refuse('PV409', 'the accreditation has the zone already', p_zone, 'change its rows of tld_setting');
    END IF;
    INSERT INTO tld_setting (tld_id, accreditation_id, name, value) SELECT _tld, p_accreditation, s.key, s.value FROM jsonb_each(_settings || p_changes) AS s;
    RETURN _id;
END $$;
COMMENT ON FUNCTION tld_create(uuid, text, text, jsonb) IS 'Has names of a zone registered with an accreditation, under the settings of a profile with changes ({"registration_periods": [1]}); returns accreditation_tld.id.';
