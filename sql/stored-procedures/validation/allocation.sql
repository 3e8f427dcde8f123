-- What offerings, projects and allocations must be like, and what keeps them so.

CREATE OR REPLACE FUNCTION refuse_field(p_code text, p_field text, p_message text, p_detail text DEFAULT NULL, p_hint text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = p_code, MESSAGE = p_message, DETAIL = COALESCE(left(p_detail, 1000), ''), HINT = COALESCE(p_hint, ''), COLUMN = p_field;
END $$;
COMMENT ON FUNCTION refuse_field(text, text, text, text, text) IS 'As refuse(), and says which field of a request it is about: its name, non_field_errors (several together), or [] (the request as a whole).';

CREATE OR REPLACE FUNCTION project_made() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: whoever makes an org need not be allowed to write projects.
BEGIN
    INSERT INTO project (id, tenant_customer_id) VALUES (NEW.id, NEW.tenant_customer_id);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION project_made() IS 'Every org of kind project has a row in project.';
SELECT class.replace_trigger('org_project_tg', 'org', 'AFTER INSERT ON {table} FOR EACH ROW WHEN (NEW.kind = ''project'')', 'project_made()');

-- Offerings ----------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION offering_check() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _accreditation accreditation;
BEGIN
    IF TG_OP = 'UPDATE' AND (NEW.provider_account_id, NEW.backend) IS DISTINCT FROM (OLD.provider_account_id, OLD.backend) THEN
        PERFORM refuse_field('PV422', 'backend', 'provider and backend of an offering never change', OLD.id::text, 'make another offering');
    END IF;
    NEW.tenant_id := (SELECT tenant_id FROM tenant_customer WHERE id = NEW.provider_account_id);
    SELECT * INTO _accreditation FROM accreditation WHERE id = NEW.accreditation_id AND tenant_id = NEW.tenant_id;
    IF _accreditation.provider IS DISTINCT FROM (CASE NEW.backend WHEN 'aws' THEN 'aws' ELSE 'manual' END) THEN
        PERFORM refuse_field('PV422', 'backend', 'the accreditation cannot do it', COALESCE(_accreditation.name, NEW.accreditation_id::text),
            CASE NEW.backend WHEN 'aws' THEN 'name an AWS account of the tenant' ELSE 'name a desk (provider manual) of the tenant' END);
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION offering_check() IS 'Keeps provider and backend of an offering, and has it done at an accreditation of its tenant that can.';
SELECT class.replace_trigger('offering_check_tg', 'offering', 'BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW', 'offering_check()');

CREATE OR REPLACE FUNCTION offering_metered() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: whoever makes an offering need not be allowed to write the schedule.
BEGIN
    INSERT INTO schedule (name, job_type, accreditation_id, every, next_date)
    VALUES ('usage ' || NEW.accreditation_id, 'allocation_usage', NEW.accreditation_id, interval '1 day', engine_now() + interval '1 day') ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION offering_metered() IS 'What offerings at an AWS account have used is collected once a day.';
SELECT class.replace_trigger('offering_metered_tg', 'offering', 'AFTER INSERT ON {table} FOR EACH ROW WHEN (NEW.backend = ''aws'')', 'offering_metered()');

CREATE OR REPLACE FUNCTION capacity_request_bound() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: whoever asks for nodes need not see allocations.
DECLARE
    _allocation allocation;
    _booked numeric;
    _asked numeric;
    _left numeric;
BEGIN
    -- Two who ask for the last node-hours at once meet at the allocation.
    SELECT a.* INTO _allocation FROM allocation AS a JOIN offering AS o ON o.id = a.offering_id AND o.backend = 'cluster'
    WHERE a.org_id = NEW.org_id AND a.state IN ('ok', 'updating') FOR NO KEY UPDATE OF a;
    IF _allocation.id IS NULL THEN
        RETURN NEW;
    END IF;
    _booked := node_hours_booked(NEW.org_id);
    _asked := node_hours_booked(NEW.org_id, NEW.user_id, NEW.nodes, NEW.expires_date) - _booked;
    _left := COALESCE((_allocation.limits ->> 'node_hours')::numeric, 0) - node_hours(NEW.org_id, date_trunc('month', engine_now() AT TIME ZONE 'UTC')::date) - _booked;
    IF _asked > greatest(_left, 0) THEN
        PERFORM refuse('PV409', 'the allocation of node-hours is used up', format('%s node-hours more are asked for, %s are left this month', _asked, greatest(_left, 0)), 'ask for less, or have the limit of the allocation raised');
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION capacity_request_bound() IS 'Refuses requests for nodes beyond the node-hours that were allocated to a project; one without such an allocation is not bound.';
SELECT class.replace_trigger('capacity_request_bound_tg', 'capacity_request', 'BEFORE INSERT ON {table} FOR EACH ROW', 'capacity_request_bound()');

CREATE OR REPLACE FUNCTION offering_pool_set() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: pools are written only by the engine.
DECLARE
    _used bigint;
BEGIN
    IF TG_OP = 'UPDATE' AND (NEW.offering_id, NEW.type) IS DISTINCT FROM (OLD.offering_id, OLD.type) THEN
        PERFORM refuse_field('PV422', 'type', 'the type of a component never changes', OLD.type, 'make another component');
    ELSIF NEW.max_available_limit IS NULL THEN
        DELETE FROM offering_pool WHERE component_id = NEW.id;
        RETURN NULL;
    END IF;
    -- Orders without a pool hold the component's row shared until they are stored, so all are counted here.
    SELECT COALESCE(sum((a.reserved ->> NEW.type)::bigint), 0) INTO _used FROM allocation AS a WHERE a.offering_id = NEW.offering_id AND a.deleted_date IS NULL;
    IF _used > NEW.max_available_limit THEN
        PERFORM refuse_field('PV422', 'max_available_limit', 'more than that is allocated', format('%s: %s', NEW.type, _used), 'end or lower allocations first');
    END IF;
    INSERT INTO offering_pool (component_id, offering_id, capacity, used) VALUES (NEW.id, NEW.offering_id, NEW.max_available_limit, _used)
    ON CONFLICT (component_id) DO UPDATE SET capacity = excluded.capacity;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION offering_pool_set() IS 'Gives a component with a pool its counter, beginning with what is allocated, and takes it from one without.';
SELECT class.replace_trigger('offering_component_pool_tg', 'offering_component', 'AFTER INSERT OR UPDATE ON {table} FOR EACH ROW', 'offering_pool_set()');

CREATE OR REPLACE FUNCTION allocation_period_check() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    -- Whoever writes periods of an allocation does so one after the other.
    PERFORM FROM allocation WHERE id = NEW.allocation_id FOR NO KEY UPDATE;
    IF EXISTS (SELECT FROM allocation_period AS p WHERE p.allocation_id = NEW.allocation_id AND p.id <> NEW.id
        AND tstzrange(p.start_date, p.end_date) && tstzrange(NEW.start_date, NEW.end_date)) THEN
        PERFORM refuse('PV409', 'plan periods of an allocation do not overlap', NEW.allocation_id::text, 'end the other one first');
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION allocation_period_check() IS 'Refuses a plan period that overlaps another of the allocation.';
SELECT class.replace_trigger('allocation_period_check_tg', 'allocation_period', 'BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW', 'allocation_period_check()');

-- At the end of the transaction: only then is the order stored that is to be approved. Such a trigger cannot be replaced.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgname = 'allocation_order_admit_tg') THEN
        CREATE CONSTRAINT TRIGGER allocation_order_admit_tg AFTER INSERT ON allocation_order DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION allocation_order_admit();
    END IF;
END $$;
SELECT class.attach_guard(m, 'state') FROM unnest('{offering,allocation,allocation_order}'::text[]) AS m;

-- Limits -------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION component_takes_limit(p_component offering_component) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN p_component.billing_type = 'limit' OR (p_component.billing_type = 'usage' AND NOT p_component.disable_quotas);
END $$;
COMMENT ON FUNCTION component_takes_limit(offering_component) IS 'Whether the consumer asks for an amount of it.';

CREATE OR REPLACE FUNCTION allocation_check_limits(p_offering uuid, p_limits jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _bad record;
BEGIN
    SELECT string_agg(l.key, ', ' ORDER BY l.key) AS types INTO _bad FROM jsonb_each(p_limits) AS l
    WHERE NOT EXISTS (SELECT FROM offering_component AS c WHERE c.offering_id = p_offering AND c.type = l.key AND component_takes_limit(c));
    IF _bad.types IS NOT NULL THEN
        PERFORM refuse_field('PV422', 'limits', 'Invalid types: ' || left(_bad.types, 200), left(p_limits::text, 200), (SELECT 'known are ' || string_agg(c.type, ', ' ORDER BY c.type) FROM offering_component AS c WHERE c.offering_id = p_offering AND component_takes_limit(c)));
    END IF;
    SELECT l.key, l.value INTO _bad FROM jsonb_each(p_limits) AS l WHERE jsonb_typeof(l.value) <> 'number' OR l.value::text !~ '^-?[0-9]{1,18}$' LIMIT 1;
    IF FOUND THEN
        PERFORM refuse_field('PV422', 'limits', 'A valid integer is required.', format('%s = %s', _bad.key, left(_bad.value::text, 100)), 'give a whole number');
    END IF;
    SELECT c.type, l.value::bigint AS value, CASE WHEN l.value::bigint < COALESCE(c.min_value, 0) THEN 'less' ELSE 'greater' END AS how,
        CASE WHEN l.value::bigint < COALESCE(c.min_value, 0) THEN COALESCE(c.min_value, 0) WHEN c.is_boolean THEN 1 ELSE c.max_value END AS bound INTO _bad
    FROM jsonb_each(p_limits) AS l JOIN offering_component AS c ON c.offering_id = p_offering AND c.type = l.key
    WHERE l.value::bigint < COALESCE(c.min_value, 0) OR l.value::bigint > c.max_value OR (c.is_boolean AND l.value::bigint > 1) ORDER BY c.type LIMIT 1;
    IF FOUND THEN
        PERFORM refuse_field('PV422', 'non_field_errors', format('The limit %s value cannot be %s than %s.', _bad.value, _bad.how, _bad.bound), _bad.type, 'stay within the bounds of the component');
    END IF;
END $$;
COMMENT ON FUNCTION allocation_check_limits(uuid, jsonb) IS 'Refuses limits of components the offering does not have or that take none, and those out of bounds.';

-- Provision rows -----------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION provision_allocation_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the rules read, and the reservation writes, what the one who inserts may not.
BEGIN
    IF NEW.order_item_plan_ids = '{}' THEN
        NEW.accreditation_id := allocation_begin(NEW.id, NEW.tenant_customer_id, NEW.org_id, jsonb_build_object('offering', NEW.offering_id, 'plan', NEW.plan_id, 'name', NEW.name,
            'description', NEW.description, 'limits', NEW.limits, 'attributes', NEW.attributes));
        PERFORM object_claim('allocation', NEW.id::text, NEW.id, NULL, NEW.tenant_customer_id);
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_allocation_validate() IS 'A row without an order makes its allocation, as an order would have; it is done where its offering is.';

CREATE OR REPLACE FUNCTION provision_allocation_update_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the rules read, and the reservation writes, what the one who inserts may not.
DECLARE
    _allocation allocation;
BEGIN
    IF NEW.order_item_plan_ids = '{}' THEN
        _allocation := allocation_to_change(NEW.allocation_id, NEW.tenant_customer_id, NEW.org_id, '{ok}');
        PERFORM object_claim('allocation', NEW.allocation_id::text, NEW.id, NULL, NEW.tenant_customer_id);
        NEW.limits := allocation_check_change(_allocation, NEW.limits, NEW.plan_id);
        NEW.accreditation_id := _allocation.accreditation_id;
        UPDATE allocation SET state = 'updating' WHERE id = _allocation.id;
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_allocation_update_validate() IS 'Refuses a change that is none or not possible; the allocation must be well, and nothing else be done to it.';

CREATE OR REPLACE FUNCTION provision_allocation_terminate_validate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the rules read what the one who inserts may not.
DECLARE
    _allocation allocation;
BEGIN
    IF NEW.order_item_plan_ids = '{}' THEN
        _allocation := allocation_to_change(NEW.allocation_id, NEW.tenant_customer_id, NEW.org_id, '{ok,erred}');
        PERFORM object_claim('allocation', NEW.allocation_id::text, NEW.id, NULL, NEW.tenant_customer_id);
        NEW.accreditation_id := _allocation.accreditation_id;
        UPDATE allocation SET state = 'terminating' WHERE id = _allocation.id;
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION provision_allocation_terminate_validate() IS 'The allocation must be there, and nothing else be done to it.';
