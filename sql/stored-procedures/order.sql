-- Orders: order_submit() takes one, order_submit_many() a set of them. The items' plan functions say which steps there
-- are; steps that wait for nothing become rows of provisioning tables at once (plan_start), the others when the last step
-- they wait for has completed (plan_settled). plan_settled → item_settled → order_settled count the endings upwards.
-- The entry points ask for plans made once and along keys, which holds for all they call: to plan anew each time costs more
-- than the work, and a plan made while the tables were empty must not read them from end to end later.

CREATE OR REPLACE FUNCTION check_fields(p_where text, p_data jsonb[], p_required text[], p_types jsonb) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
DECLARE
    _known constant text[] := ARRAY(SELECT jsonb_object_keys(p_types));
    _mixed constant text[] := ARRAY(SELECT t.key FROM jsonb_each_text(p_types) AS t WHERE t.value <> 'string');
    _data jsonb;
    _bad record;
BEGIN
    -- One look at each object: most fields are texts, and nearly all objects are as they should be.
    SELECT d INTO _data FROM unnest(p_data) AS d
    WHERE (CASE WHEN jsonb_typeof(d) = 'object' THEN d ?& p_required AND d - _known = '{}' AND NOT (d - _mixed) @? '$.* ? (@.type() != "string")'
        AND (SELECT COALESCE(bool_and(position(jsonb_typeof(d -> m) IN p_types ->> m) > 0), true) FROM unnest(_mixed) AS m WHERE d ? m) END) IS NOT TRUE LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    ELSIF jsonb_typeof(_data) IS DISTINCT FROM 'object' THEN
        PERFORM refuse('PV400', p_where || ' must be an object', COALESCE(left(_data::text, 200), 'it is missing'), 'give {' || array_to_string(_known, ', ') || '}');
    END IF;
    SELECT f.key, f.value INTO _bad FROM jsonb_each(_data) AS f
    WHERE NOT p_types ? f.key OR position(jsonb_typeof(f.value) IN p_types ->> f.key) = 0 LIMIT 1;
    IF FOUND AND NOT p_types ? _bad.key THEN
        PERFORM refuse('PV400', format('%s has no field %s', p_where, left(_bad.key, 100)), format('%s = %s', left(_bad.key, 100), left(_bad.value::text, 200)), 'fields are ' || array_to_string(_known, ', '));
    ELSIF FOUND THEN
        PERFORM refuse('PV400', format('%s: %s must be %s', p_where, _bad.key, replace(p_types ->> _bad.key, '|', ' or ')), format('%s = %s', _bad.key, left(_bad.value::text, 200)), 'give a value of that type');
    END IF;
    PERFORM refuse('PV400', format('%s: %s is missing', p_where, (SELECT r FROM unnest(p_required) AS r WHERE NOT _data ? r LIMIT 1)), left(_data::text, 200), 'required are ' || array_to_string(p_required, ', '));
END $$;
COMMENT ON FUNCTION check_fields(text, jsonb[], text[], jsonb) IS 'Refuses objects with an unknown field, a value of the wrong JSON type ({"field": "string|array"}), or a required field missing.';

-- Accepting ----------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION order_submit(p_tenant_customer uuid, p_items jsonb, p_idempotency_key text DEFAULT NULL, p_options jsonb DEFAULT '{}') RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_memoize = off SET jit = off AS $$
-- SECURITY DEFINER: orders are written only through here.
BEGIN
    IF jsonb_typeof(p_options) IS DISTINCT FROM 'object' OR p_options ?| '{tenant_customer_id,items,idempotency_key}' THEN
        PERFORM refuse('PV400', 'options must be an object of org_id, external_reference, metadata, traceparent, priority', left(p_options::text, 200), 'SELECT order_submit(tenant_customer, items, key, ''{"priority": 3}'')');
    END IF;
    RETURN order_submit_many(jsonb_build_array(
        p_options || jsonb_build_object('tenant_customer_id', p_tenant_customer, 'items', p_items) || CASE WHEN p_idempotency_key IS NULL THEN '{}' ELSE jsonb_build_object('idempotency_key', p_idempotency_key) END));
END $$;
COMMENT ON FUNCTION order_submit(uuid, jsonb, text, jsonb) IS 'Takes one order: items [{"operation": "domain.create", "data": {…}}, …]; options org_id, external_reference, metadata, traceparent, priority. The same key and request again is the same order. Returns its id.';

CREATE OR REPLACE FUNCTION order_submit_many(p_orders jsonb) RETURNS SETOF uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_memoize = off SET jit = off AS $$
-- SECURITY DEFINER: orders are written only through here.
DECLARE
    _ids uuid[];
BEGIN
    FOR _try IN 1 .. 5 LOOP
        BEGIN
            _ids := ARRAY(SELECT order_accept(p_orders));
            EXIT;
        EXCEPTION WHEN deadlock_detected THEN
            -- An order and a result can meet the same steps in different orders; the order begins anew.
            IF _try = 5 THEN
                RAISE;
            END IF;
        END;
    END LOOP;
    RETURN QUERY SELECT unnest(_ids);
END $$;
COMMENT ON FUNCTION order_submit_many(jsonb) IS 'Takes an array of orders [{"tenant_customer_id", "items", "idempotency_key"?, options of order_submit …}], all or none; returns their ids in that order.';

CREATE OR REPLACE FUNCTION order_accept(p_orders jsonb) RETURNS SETOF uuid
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _orders constant order_request[] := order_requests(p_orders);
BEGIN
    PERFORM order_check_caller(_orders);
    RETURN QUERY SELECT order_place(_orders);
END $$;
COMMENT ON FUNCTION order_accept(jsonb) IS 'What order_submit_many does, once.';

CREATE OR REPLACE FUNCTION order_place(p_orders order_request[]) RETURNS SETOF uuid
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _orders constant order_request[] := order_recognise(p_orders);
    _items constant plan_item[] := order_items(_orders);
    _steps constant plan_step[] := order_plan(_items);
BEGIN
    PERFORM plan_start(order_store(_orders, _items, _steps));
    RETURN QUERY SELECT COALESCE(o.same_as, o.id) FROM unnest(_orders) WITH ORDINALITY AS o ORDER BY o.ordinality;
END $$;
COMMENT ON FUNCTION order_place(order_request[]) IS 'Stores and begins orders of whomever; the engine orders by itself through this.';

CREATE OR REPLACE FUNCTION order_bad_option(p_order jsonb, OUT field text, OUT value text, OUT wanted text)
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
DECLARE
    _uuid constant text := '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$';
BEGIN
    field := CASE
        WHEN p_order ->> 'tenant_customer_id' !~ _uuid THEN 'tenant_customer_id'
        WHEN p_order ->> 'org_id' !~ _uuid THEN 'org_id'
        WHEN p_order ->> 'priority' !~ '^[0-9]$' THEN 'priority'
        WHEN p_order ->> 'idempotency_key' !~ '^[!-~]{1,255}$' THEN 'idempotency_key'
        WHEN p_order ->> 'traceparent' !~ '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$' THEN 'traceparent'
        WHEN length(p_order ->> 'external_reference') NOT BETWEEN 1 AND 255 THEN 'external_reference'
        WHEN length(p_order ->> 'metadata') > 16384 THEN 'metadata'
    END;
    value := p_order ->> field;
    wanted := CASE field WHEN 'priority' THEN '0 (first) to 9 (last)' WHEN 'idempotency_key' THEN '1 to 255 visible ASCII characters' WHEN 'traceparent' THEN 'as W3C Trace Context writes it: 00-<32 hex digits>-<16>-01'
        WHEN 'external_reference' THEN '1 to 255 characters' WHEN 'metadata' THEN 'at most 16384 characters of JSON' ELSE 'a UUID' END;
END $$;
COMMENT ON FUNCTION order_bad_option(jsonb) IS 'The first option of an order that cannot be taken, and what it should be; NULL: none.';

CREATE OR REPLACE FUNCTION order_requests(p_orders jsonb) RETURNS order_request[]
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _types constant jsonb := '{"tenant_customer_id": "string", "org_id": "string|null", "items": "array", "idempotency_key": "string|null", "external_reference": "string|null",
        "metadata": "object|null", "traceparent": "string|null", "priority": "number|null"}';
    -- Random, and known to nobody: so are ids made of it.
    _seed constant uuid := gen_random_uuid();
    _orders jsonb[];
BEGIN
    IF jsonb_typeof(p_orders) IS DISTINCT FROM 'array' THEN
        PERFORM refuse('PV400', 'orders must be an array', left(p_orders::text, 200), 'give [{"tenant_customer_id": …, "items": […]}, …]');
    END IF;
    _orders := ARRAY(SELECT jsonb_array_elements(p_orders));
    PERFORM check_fields('order', _orders, '{tenant_customer_id,items}', _types);
    PERFORM refuse('PV400', 'an order has at least one item and at most 1000', jsonb_array_length(o -> 'items') || ' items', 'put what is ordered into items')
    FROM unnest(_orders) AS o WHERE jsonb_array_length(o -> 'items') NOT BETWEEN 1 AND 1000;
    -- Most orders have no options, and all of a set are for a few customers.
    PERFORM refuse('PV400', format('order: %s is malformed', b.field), left(b.value, 300), b.wanted)
    FROM (SELECT o FROM unnest(_orders) AS o WHERE o ?| '{org_id,priority,idempotency_key,traceparent,external_reference,metadata}'
        UNION ALL SELECT jsonb_build_object('tenant_customer_id', c.id) FROM (SELECT DISTINCT o ->> 'tenant_customer_id' AS id FROM unnest(_orders) AS o) AS c) AS x (o)
    CROSS JOIN LATERAL order_bad_option(x.o) AS b WHERE b.field IS NOT NULL;
    RETURN ARRAY(
        SELECT ROW(new_id(_seed, n::text), NULL, r.tenant_customer_id, r.org_id, r.items, r.idempotency_key, CASE WHEN r.idempotency_key IS NOT NULL THEN md5((o - 'idempotency_key' - 'traceparent')::text) END, r.external_reference,
            nullif(r.metadata, 'null'), r.traceparent, COALESCE(r.priority, 5))::order_request
        FROM unnest(_orders) WITH ORDINALITY AS x (o, n)
        CROSS JOIN LATERAL jsonb_to_record(o) AS r (tenant_customer_id uuid, org_id uuid, items jsonb, idempotency_key text, external_reference text, metadata jsonb, traceparent text, priority smallint)
        ORDER BY n);
END $$;
COMMENT ON FUNCTION order_requests(jsonb) IS 'Reads an array of orders and checks its shape.';

CREATE OR REPLACE FUNCTION order_check_caller(p_orders order_request[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _sees_all constant boolean := caller_sees_all();
    _customer constant uuid := caller_customer();
    _org constant uuid := caller_org();
    _bad record;
BEGIN
    -- Kept from being removed until the order is there.
    PERFORM FROM tenant_customer WHERE id IN (SELECT tenant_customer_id FROM unnest(p_orders)) ORDER BY id FOR KEY SHARE;
    PERFORM FROM org WHERE id IN (SELECT org_id FROM unnest(p_orders)) ORDER BY id FOR KEY SHARE;
    -- A customer that is not the caller's answers as one that does not exist.
    SELECT o.tenant_customer_id AS customer, o.org_id AS org, c.is_active, g.id AS found INTO _bad
    FROM (SELECT DISTINCT tenant_customer_id, org_id FROM unnest(p_orders)) AS o
    LEFT JOIN tenant_customer AS c ON c.id = o.tenant_customer_id AND (_sees_all OR c.id = _customer)
    LEFT JOIN org AS g ON g.id = o.org_id AND g.tenant_customer_id = c.id AND g.status = 'active'
    WHERE c.id IS NULL OR NOT c.is_active OR (o.org_id IS NOT NULL AND g.id IS NULL) OR (_org IS NOT NULL AND NOT _sees_all AND o.org_id IS DISTINCT FROM _org) LIMIT 1;
    IF NOT FOUND THEN
        -- Log-ins of other systems hold all rights in what they may order for.
        PERFORM caller_require('order.create', o.tenant_customer_id, o.org_id) FROM (SELECT DISTINCT tenant_customer_id, org_id FROM unnest(p_orders)) AS o WHERE session_user = 'provision_api';
        RETURN;
    ELSIF _bad.is_active IS NULL THEN
        PERFORM refuse('PV404', 'customer not found', 'tenant_customer_id ' || _bad.customer, 'order for your own account');
    ELSIF NOT _bad.is_active THEN
        PERFORM refuse('PV403', 'the customer may not order', 'tenant_customer_id ' || _bad.customer, 'its account is not active');
    END IF;
    PERFORM refuse('PV404', 'org not found', COALESCE('org_id ' || _bad.org, 'no org_id given'), 'order for your own org');
END $$;
COMMENT ON FUNCTION order_check_caller(order_request[]) IS 'Refuses orders for customers and orgs that are not the caller''s.';

CREATE OR REPLACE FUNCTION tenant_customer_ordered() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: whoever deletes a customer need not be allowed to read orders.
BEGIN
    IF EXISTS (SELECT FROM "order" WHERE tenant_customer_id = OLD.id) THEN
        PERFORM refuse('PV409', 'the customer has orders', OLD.id::text, 'history stays: mark the customer to be removed instead');
    END IF;
    RETURN OLD;
END $$;
COMMENT ON FUNCTION tenant_customer_ordered() IS 'What a foreign key of orders would do: refuses to delete a customer who has some.';
SELECT class.replace_trigger('tenant_customer_ordered_tg', 'tenant_customer', 'BEFORE DELETE ON {table} FOR EACH ROW', 'tenant_customer_ordered()');

CREATE OR REPLACE FUNCTION order_recognise(p_orders order_request[]) RETURNS order_request[]
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _other text;
BEGIN
    IF NOT EXISTS (SELECT FROM unnest(p_orders) AS o WHERE o.key IS NOT NULL) THEN
        RETURN p_orders;
    END IF;
    INSERT INTO order_idempotency (tenant_customer_id, key, request_hash, order_id)
    SELECT o.tenant_customer_id, o.key, o.request_hash, o.id FROM unnest(p_orders) AS o WHERE o.key IS NOT NULL ORDER BY o.tenant_customer_id, o.key
    ON CONFLICT DO NOTHING;
    SELECT o.key INTO _other FROM unnest(p_orders) AS o JOIN order_idempotency AS i ON i.tenant_customer_id = o.tenant_customer_id AND i.key = o.key
    WHERE i.request_hash <> o.request_hash LIMIT 1;
    IF FOUND THEN
        PERFORM refuse('PV409', 'the idempotency key was used for another request', 'key ' || _other, 'take a new key for a new request');
    END IF;
    RETURN ARRAY(
        SELECT ROW(o.id, nullif(i.order_id, o.id), o.tenant_customer_id, o.org_id, o.items, o.key, o.request_hash, o.external_reference, o.metadata, o.traceparent, o.priority)::order_request
        FROM unnest(p_orders) WITH ORDINALITY AS o LEFT JOIN order_idempotency AS i ON i.tenant_customer_id = o.tenant_customer_id AND i.key = o.key ORDER BY o.ordinality);
END $$;
COMMENT ON FUNCTION order_recognise(order_request[]) IS 'Finds orders that were accepted before under the same key.';

CREATE OR REPLACE FUNCTION order_items(p_orders order_request[]) RETURNS plan_item[]
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _items plan_item[];
    _unknown text;
BEGIN
    PERFORM check_fields('item', ARRAY(SELECT jsonb_array_elements(o.items) FROM unnest(p_orders) AS o WHERE o.same_as IS NULL), '{operation,data}', '{"operation": "string", "data": "object"}');
    SELECT COALESCE(array_agg(ROW(new_id(o.id, n::text), o.id, o.tenant_customer_id, o.org_id, i ->> 'operation', i -> 'data', n, o.priority, o.traceparent)::plan_item), '{}') INTO _items
    FROM unnest(p_orders) AS o CROSS JOIN jsonb_array_elements(o.items) WITH ORDINALITY AS x (i, n) WHERE o.same_as IS NULL;
    SELECT i.operation INTO _unknown FROM unnest(_items) AS i WHERE NOT EXISTS (SELECT FROM order_operation AS p WHERE p.name = i.operation) LIMIT 1;
    IF FOUND THEN
        PERFORM refuse('PV400', 'unknown operation', _unknown, 'known are ' || (SELECT string_agg(name, ', ' ORDER BY name) FROM order_operation));
    END IF;
    RETURN _items;
END $$;
COMMENT ON FUNCTION order_items(order_request[]) IS 'The items of new orders.';

CREATE OR REPLACE FUNCTION order_turn_made() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: whoever adds a customer need not be allowed to touch orders.
BEGIN
    INSERT INTO order_turn (tenant_customer_id) SELECT id FROM new_rows;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION order_turn_made() IS 'Every customer has a row in order_turn.';
SELECT class.replace_trigger('tenant_customer_turn_tg', 'tenant_customer', 'AFTER INSERT ON {table} REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT', 'order_turn_made()');

CREATE OR REPLACE FUNCTION order_lock(p_items plan_item[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _with_parts constant text[] := ARRAY(SELECT name FROM order_operation WHERE has_parts);
    _customer record;
BEGIN
    -- One item claims its parts in order, and items without parts claim what they make in order: those pass each other.
    FOR _customer IN
        SELECT i.tenant_customer_id AS id, count(*) > 1 AS is_alone FROM unnest(p_items) AS i
        GROUP BY 1 HAVING bool_or(i.operation = ANY (_with_parts)) ORDER BY 1
    LOOP
        IF _customer.is_alone THEN
            PERFORM FROM order_turn WHERE tenant_customer_id = _customer.id FOR UPDATE;
        ELSE
            PERFORM FROM order_turn WHERE tenant_customer_id = _customer.id FOR SHARE;
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION order_lock(plan_item[]) IS 'Lets orders of a customer that share parts in any order be accepted one after the other; they would wait for each other.';

CREATE OR REPLACE FUNCTION order_plan(p_items plan_item[]) RETURNS plan_step[]
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _part record;
    _more plan_step[];
    _steps plan_step[] := '{}';
BEGIN
    PERFORM order_lock(p_items);
    FOR _part IN
        SELECT plan_function, array_agg(name) AS operations FROM order_operation WHERE name = ANY (ARRAY(SELECT DISTINCT operation FROM unnest(p_items))) GROUP BY 1 ORDER BY 1
    LOOP
        EXECUTE format('SELECT array_agg(s) FROM %I($1) AS s', _part.plan_function) INTO _more USING ARRAY(SELECT i FROM unnest(p_items) AS i WHERE i.operation = ANY (_part.operations));
        _steps := _steps || _more;
    END LOOP;
    RETURN _steps;
END $$;
COMMENT ON FUNCTION order_plan(plan_item[]) IS 'Asks each operation''s plan function for the steps of its items.';

CREATE OR REPLACE FUNCTION order_store(p_orders order_request[], p_items plan_item[], p_steps plan_step[]) RETURNS uuid[]
LANGUAGE plpgsql SET search_path = public, pg_temp SET enable_nestloop = off SET jit = off AS $$
-- No nested loops: the planner cannot know how long the arrays are, and a thousand orders joined so are a million rows.
-- No JIT: what has to be a nested loop all the same looks dear enough to be compiled.
DECLARE
    _approved constant text[] := ARRAY(SELECT name FROM order_operation WHERE needs_approval);
    _created constant uuid[] := ARRAY(SELECT order_id FROM unnest(p_items) GROUP BY 1 HAVING bool_and(operation = ANY (_approved)));
    _begun uuid[];
BEGIN
    INSERT INTO "order" (id, tenant_customer_id, org_id, status, open_count, priority, external_reference, metadata, traceparent)
    SELECT o.id, o.tenant_customer_id, o.org_id, CASE WHEN o.id = ANY (_created) THEN 'created' ELSE 'processing' END, jsonb_array_length(o.items), o.priority, o.external_reference, o.metadata, o.traceparent
    FROM unnest(p_orders) AS o WHERE o.same_as IS NULL;
    INSERT INTO order_item (id, order_id, tenant_customer_id, org_id, position, operation, data, status, open_count)
    SELECT i.id, i.order_id, i.tenant_customer_id, i.org_id, i.position, i.operation, CASE WHEN i.data ? 'pw' THEN i.data - 'pw' ELSE i.data END, CASE WHEN i.operation = ANY (_approved) THEN 'waiting' ELSE 'processing' END, s.n
    FROM unnest(p_items) AS i JOIN (SELECT item_id, count(*) AS n FROM unnest(p_steps) GROUP BY 1) AS s ON s.item_id = i.id;
    WITH stored AS (
        INSERT INTO order_item_plan (id, order_item_id, order_id, tenant_customer_id, org_id, name, provision_table, provision_id, data, open_count, priority, traceparent, status, processing_date)
        SELECT s.id, i.id, i.order_id, i.tenant_customer_id, i.org_id, s.name, s.provision_table, s.provision_id, s.data, cardinality(s.depends_on), i.priority, i.traceparent,
            CASE WHEN i.operation = ANY (_approved) THEN 'new' WHEN cardinality(s.depends_on) = 0 THEN 'processing' ELSE 'waiting' END,
            CASE WHEN i.operation <> ALL (_approved) AND cardinality(s.depends_on) = 0 THEN engine_now() END
        FROM unnest(p_steps) AS s JOIN unnest(p_items) AS i ON i.id = s.item_id RETURNING id, status)
    SELECT array_agg(id) INTO _begun FROM stored WHERE status = 'processing';
    INSERT INTO order_item_plan_dependency (plan_id, depends_on_id)
    SELECT s.id, d FROM unnest(p_steps) AS s CROSS JOIN unnest(s.depends_on) AS d;
    RETURN _begun;
END $$;
COMMENT ON FUNCTION order_store(order_request[], plan_item[], plan_step[]) IS 'Stores new orders with their items, steps and dependencies; returns the steps that wait for nothing.';

-- Objects ------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION object_key(p_tenant_customer uuid, p_org uuid, p_accreditation uuid, p_name text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN concat(p_tenant_customer, ':', p_org, ':', p_accreditation, ':', p_name);
END $$;
COMMENT ON FUNCTION object_key(uuid, uuid, uuid, text) IS 'The key of an object that is one of its org''s at an accreditation, or of the customer''s own (no org).';

CREATE OR REPLACE FUNCTION object_claim(p_claims object_operation[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _count int;
    _other object_operation;
BEGIN
    -- In key order, so that two orders for the same objects meet them in the same order. Hardly ever is one taken, and to
    -- look before each costs more than to try all.
    BEGIN
        INSERT INTO object_operation SELECT c.* FROM unnest(p_claims) AS c ORDER BY c.object_type, c.object_key;
        RETURN;
    EXCEPTION WHEN unique_violation THEN
        NULL;
    END;
    INSERT INTO object_operation SELECT c.* FROM unnest(p_claims) AS c ORDER BY c.object_type, c.object_key ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS _count = ROW_COUNT;
    IF _count = cardinality(p_claims) THEN
        RETURN;
    END IF;
    SELECT o.* INTO _other FROM unnest(p_claims) AS c JOIN object_operation AS o ON o.object_type = c.object_type AND o.object_key = c.object_key
    WHERE o.provision_id <> c.provision_id LIMIT 1;
    IF FOUND THEN
        PERFORM refuse('PV409', format('another operation on this %s is active', _other.object_type), regexp_replace(_other.object_key, '^.*:', ''), 'wait until it has ended');
    END IF;
END $$;
COMMENT ON FUNCTION object_claim(object_operation[]) IS 'Makes provision rows the one active operation on their objects, or refuses.';

CREATE OR REPLACE FUNCTION object_claim(p_type text, p_key text, p_provision uuid, p_plan uuid, p_tenant_customer uuid) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM object_claim(ARRAY[ROW(p_type, p_key, p_provision, p_plan, p_tenant_customer, engine_now())::object_operation]);
END $$;
COMMENT ON FUNCTION object_claim(text, text, uuid, uuid, uuid) IS 'The same for one.';

CREATE OR REPLACE FUNCTION object_awaited(p_type text, p_key text) RETURNS object_operation
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _operation object_operation;
    _status text;
BEGIN
    SELECT * INTO _operation FROM object_operation WHERE object_type = p_type AND object_key = p_key;
    IF _operation.plan_id IS NULL AND _operation.provision_id IS NOT NULL THEN
        PERFORM refuse('PV409', format('the %s is just being created', p_type), regexp_replace(p_key, '^.*:', ''), 'order again when it is there');
    END IF;
    -- The share lock makes the step's end wait until the dependency on it is stored.
    SELECT status INTO _status FROM order_item_plan WHERE id = _operation.plan_id FOR SHARE;
    IF _status IN ('completed', 'failed', 'cancelled') THEN
        RETURN NULL;
    END IF;
    RETURN _operation;
END $$;
COMMENT ON FUNCTION object_awaited(text, text) IS 'The operation on an object that is still open, with its step locked against ending; NULL: none. One without a step cannot be waited for and is refused.';

CREATE OR REPLACE FUNCTION object_join(p_type text, p_key text, p_step plan_step, p_tenant_customer uuid) RETURNS boolean
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO object_operation (object_type, object_key, provision_id, plan_id, tenant_customer_id)
    VALUES (p_type, p_key, p_step.provision_id, p_step.id, p_tenant_customer) ON CONFLICT DO NOTHING;
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION object_join(text, text, plan_step, uuid) IS 'Tries to make a step the one active operation on an object; false: another is, or was until now.';

-- Steps --------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION plan_start(p_plans uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _part record;
BEGIN
    -- OFFSET 0: grouped first and then sorted, not a thousand rows sorted to be grouped.
    FOR _part IN SELECT * FROM (SELECT provision_table, array_agg(id) AS ids FROM order_item_plan WHERE id = ANY (p_plans) GROUP BY 1 OFFSET 0) AS p ORDER BY 1 LOOP
        EXECUTE format('SELECT %I($1)', _part.provision_table || '_from_plan') USING _part.ids;
    END LOOP;
END $$;
COMMENT ON FUNCTION plan_start(uuid[]) IS 'Turns steps into rows of their provisioning tables.';

CREATE OR REPLACE FUNCTION plan_start_or_fail(p_plans uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _reason text;
    _detail text;
    _plan uuid;
BEGIN
    BEGIN
        PERFORM plan_start(p_plans);
        RETURN;
    EXCEPTION WHEN OTHERS THEN
        -- Only a refusal of the row is an outcome; anything else (deadlock, time-out, a bug) ends the transaction.
        IF SQLSTATE NOT LIKE 'PV%' AND left(SQLSTATE, 2) NOT IN ('22', '23') THEN
            RAISE;
        END IF;
        GET STACKED DIAGNOSTICS _reason = MESSAGE_TEXT, _detail = PG_EXCEPTION_DETAIL;
    END;
    IF cardinality(p_plans) > 1 THEN
        FOREACH _plan IN ARRAY p_plans LOOP
            PERFORM plan_start_or_fail(ARRAY[_plan]);
        END LOOP;
    ELSE
        UPDATE order_item_plan SET status = 'failed', reason = concat_ws(': ', _reason, nullif(_detail, '')), finished_date = engine_now() WHERE id = p_plans[1];
        DELETE FROM object_operation WHERE plan_id = p_plans[1];
    END IF;
END $$;
COMMENT ON FUNCTION plan_start_or_fail(uuid[]) IS 'Starts steps that waited; one whose row is refused now fails with the reason, and the others go on.';

CREATE OR REPLACE FUNCTION plan_lock(p_plans uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    -- Whoever ends one step touches others of its order, and of orders that wait for it: one at a time per order.
    PERFORM FROM "order" WHERE id IN (
        SELECT p.order_id FROM order_item_plan AS p WHERE p.id = ANY (p_plans)
        UNION SELECT p.order_id FROM order_item_plan_dependency AS d JOIN order_item_plan AS p ON p.id = d.plan_id WHERE d.depends_on_id = ANY (p_plans))
    ORDER BY id FOR NO KEY UPDATE;
END $$;
COMMENT ON FUNCTION plan_lock(uuid[]) IS 'Locks the orders of steps, and of the steps that wait for them, in id order.';

CREATE OR REPLACE FUNCTION plan_stop(p_plans uuid[], p_reason text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _jobs uuid[];
    _closed record;
BEGIN
    -- Rows whose gate is closed have no job; what they have locked is locked before their orders are.
    FOR _closed IN
        SELECT provision_table AS kind, array_agg(provision_id ORDER BY provision_id) AS ids FROM order_item_plan
        WHERE id = ANY (p_plans) AND status = 'processing' AND class.is_gated(provision_table) GROUP BY 1 ORDER BY 1
    LOOP
        PERFORM provision_withdraw(_closed.kind, _closed.ids, p_reason);
    END LOOP;
    -- A job that has begun once may have left traces outside, so it goes on; only what nobody has touched is stopped.
    SELECT array_agg(j.id) INTO _jobs FROM order_item_plan AS p JOIN job AS j ON j.reference_id = p.provision_id
    WHERE p.id = ANY (p_plans) AND p.status = 'processing' AND j.finished_date IS NULL AND j.started_date IS NULL
        AND NOT EXISTS (SELECT FROM effect AS e WHERE e.job_id = j.id);
    -- One that somebody has locked is being claimed, or an operator's; to wait for those under the order's lock is a deadlock.
    _jobs := job_dequeue(ARRAY(SELECT job_id FROM job_queue WHERE job_id = ANY (_jobs) FOR UPDATE SKIP LOCKED)) || ARRAY(SELECT id FROM job WHERE id = ANY (_jobs) AND held_at IS NOT NULL AND finished_date IS NULL FOR UPDATE SKIP LOCKED);
    UPDATE job SET status = 'cancelled', finished_date = engine_now(), result_message = p_reason WHERE id = ANY (_jobs) AND finished_date IS NULL;
    PERFORM plan_lock(p_plans);
    WITH stopped AS (
        UPDATE order_item_plan SET status = 'cancelled', reason = p_reason, finished_date = engine_now()
        WHERE id = ANY (p_plans) AND status IN ('new', 'waiting') RETURNING provision_id)
    DELETE FROM object_operation WHERE provision_id IN (SELECT provision_id FROM stopped);
END $$;
COMMENT ON FUNCTION plan_stop(uuid[], text) IS 'Cancels those of the steps that have not begun: the ones that wait, the ones whose row waits behind its gate, and the ones whose job nobody has touched.';

CREATE OR REPLACE FUNCTION plan_settled() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: plans are written by no one else.
DECLARE
    _completed uuid[];
    _broken uuid[];
    _waiting uuid[];
    _items uuid[];
    _statuses text[];
    _reasons text[];
BEGIN
    SELECT array_agg(id) FILTER (WHERE status = 'completed'), array_agg(id) FILTER (WHERE status <> 'completed'),
        array_agg(order_item_id), array_agg(status), array_agg(CASE status WHEN 'failed' THEN name || ': ' || reason ELSE reason END)
    INTO _completed, _broken, _items, _statuses, _reasons FROM new_rows WHERE finished_date IS NOT NULL;
    SELECT array_agg(DISTINCT d.plan_id) INTO _waiting FROM order_item_plan_dependency AS d WHERE d.depends_on_id = ANY (_completed);
    IF _waiting IS NOT NULL OR _broken IS NOT NULL THEN
        PERFORM plan_lock(_waiting || _broken);
    END IF;
    IF _waiting IS NOT NULL THEN
        PERFORM plan_release(_completed);
    END IF;
    IF _broken IS NOT NULL THEN
        PERFORM plan_break(_broken);
    END IF;
    IF _items IS NOT NULL THEN
        PERFORM item_count(_items, _statuses, _reasons);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION plan_settled() IS 'Steps ended: let go or cancel what waited for them, and count them off at their items.';
SELECT class.replace_trigger('order_item_plan_settled_tg', 'order_item_plan', 'AFTER UPDATE ON {table} REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT', 'plan_settled()');

CREATE OR REPLACE FUNCTION plan_release(p_completed uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _ready uuid[];
BEGIN
    WITH released AS (
        UPDATE order_item_plan AS p SET open_count = p.open_count - d.n,
            status = CASE WHEN p.open_count = d.n AND p.status = 'waiting' THEN 'processing' ELSE p.status END,
            processing_date = CASE WHEN p.open_count = d.n AND p.status = 'waiting' THEN engine_now() END
        FROM (SELECT plan_id, count(*) AS n FROM order_item_plan_dependency WHERE depends_on_id = ANY (p_completed) GROUP BY 1) AS d
        WHERE p.id = d.plan_id AND p.status IN ('new', 'waiting') RETURNING p.id, p.status)
    SELECT array_agg(id) FILTER (WHERE status = 'processing') INTO _ready FROM released;
    IF _ready IS NOT NULL THEN
        PERFORM plan_start_or_fail(_ready);
    END IF;
END $$;
COMMENT ON FUNCTION plan_release(uuid[]) IS 'Counts completed steps off at the steps that wait for them, and starts those that wait for nothing more.';

CREATE OR REPLACE FUNCTION plan_break(p_broken uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _part record;
BEGIN
    FOR _part IN
        SELECT b.id, CASE b.status WHEN 'failed' THEN format('%s failed%s', b.name, ': ' || b.reason) ELSE b.reason END AS reason,
            ARRAY(SELECT d.plan_id FROM order_item_plan_dependency AS d WHERE d.depends_on_id = b.id)
            || ARRAY(SELECT s.id FROM order_item_plan AS s WHERE s.order_item_id = b.order_item_id AND s.id <> b.id AND s.finished_date IS NULL) AS others
        FROM order_item_plan AS b WHERE b.id = ANY (p_broken) ORDER BY b.id
    LOOP
        IF cardinality(_part.others) > 0 THEN
            PERFORM plan_stop(_part.others, _part.reason);
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION plan_break(uuid[]) IS 'Cancels what depends on broken steps, and the steps of the same item that have not begun, since the item cannot complete any more. The reason is the first cause, however long the chain.';

-- Items and orders ---------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION item_count(p_items uuid[], p_statuses text[], p_reasons text[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp SET enable_hashjoin = off SET enable_mergejoin = off AS $$
-- Parents are locked in id order, so that two batches never wait for each other: a nested loop updates them in the order
-- of the sorted sub-select. The same holds for the orders that item_settled counts from here.
BEGIN
    UPDATE order_item AS i SET open_count = i.open_count - e.n, failed_count = i.failed_count + e.failed, cancelled_count = i.cancelled_count + e.cancelled,
        reason = COALESCE(CASE WHEN i.failed_count > 0 THEN i.reason END, e.reason, i.reason, e.cancel_reason), previous_status = i.status,
        status = CASE WHEN i.open_count > e.n THEN i.status WHEN i.failed_count + e.failed > 0 THEN 'failed' WHEN i.cancelled_count + e.cancelled > 0 THEN 'cancelled' ELSE 'completed' END,
        finished_date = CASE WHEN i.open_count = e.n THEN engine_now() END
    FROM (
        SELECT x.item, count(*) AS n, count(*) FILTER (WHERE x.status = 'failed') AS failed, count(*) FILTER (WHERE x.status = 'cancelled') AS cancelled,
            min(x.reason) FILTER (WHERE x.status = 'failed') AS reason, min(x.reason) FILTER (WHERE x.status = 'cancelled') AS cancel_reason
        FROM unnest(p_items, p_statuses, p_reasons) AS x (item, status, reason) GROUP BY 1 ORDER BY 1) AS e
    WHERE i.id = e.item;
END $$;
COMMENT ON FUNCTION item_count(uuid[], text[], text[]) IS 'Counts ended steps off at their items and settles items that have no open step left.';

CREATE OR REPLACE FUNCTION item_settled() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: orders are written by no one else.
BEGIN
    IF NOT EXISTS (SELECT FROM new_rows WHERE finished_date IS NOT NULL) THEN
        RETURN NULL;
    END IF;
    UPDATE "order" AS o SET open_count = o.open_count - e.n, completed_count = o.completed_count + e.completed, failed_count = o.failed_count + e.failed,
        cancelled_count = o.cancelled_count + e.cancelled,
        reason = COALESCE(CASE WHEN o.failed_count > 0 THEN o.reason END, e.reason, o.reason, e.cancel_reason), updated_date = engine_now(), updated_by = caller_name(), previous_status = o.status,
        status = CASE WHEN o.open_count > e.n THEN o.status
            WHEN o.failed_count + e.failed + o.cancelled_count + e.cancelled = 0 THEN 'completed'
            WHEN o.completed_count + e.completed > 0 THEN 'partially_completed'
            WHEN o.failed_count + e.failed > 0 THEN 'failed' ELSE 'cancelled' END,
        finished_date = CASE WHEN o.open_count = e.n THEN engine_now() END
    FROM (
        SELECT n.order_id, count(*) AS n, count(*) FILTER (WHERE n.status = 'completed') AS completed, count(*) FILTER (WHERE n.status = 'failed') AS failed,
            count(*) FILTER (WHERE n.status = 'cancelled') AS cancelled,
            min(n.reason) FILTER (WHERE n.status = 'failed') AS reason, min(n.reason) FILTER (WHERE n.status = 'cancelled') AS cancel_reason
        FROM new_rows AS n WHERE n.finished_date IS NOT NULL GROUP BY 1 ORDER BY 1) AS e
    WHERE o.id = e.order_id;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION item_settled() IS 'Items ended: count them off at their orders and settle orders that have none open.';
SELECT class.replace_trigger('order_item_settled_tg', 'order_item', 'AFTER UPDATE ON {table} REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT', 'item_settled()');

CREATE OR REPLACE FUNCTION order_settled() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: nobody writes the log but through this.
BEGIN
    INSERT INTO audit_trail_log (table_name, row_id, tenant_customer_id, org_id, operation, from_state, to_state, reason)
    SELECT 'order', id, tenant_customer_id, org_id, 'transition', previous_status, status, reason FROM new_rows
    WHERE finished_date IS NOT NULL;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION order_settled() IS 'Logs how orders ended.';
SELECT class.replace_trigger('order_settled_tg', 'order', 'AFTER UPDATE ON {table} REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT', 'order_settled()');

-- Operators and customers --------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION order_for_caller(p_order uuid) RETURNS "order"
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _order "order";
BEGIN
    SELECT * INTO _order FROM "order" WHERE id = p_order
        AND (caller_sees_all() OR (tenant_customer_id = caller_customer() AND (caller_org() IS NULL OR org_id = caller_org())));
    IF NOT FOUND THEN
        PERFORM refuse('PV404', 'order not found', p_order::text, 'SELECT * FROM v_order');
    END IF;
    RETURN _order;
END $$;
COMMENT ON FUNCTION order_for_caller(uuid) IS 'An order of the caller''s; another''s answers as one that does not exist.';

CREATE OR REPLACE FUNCTION order_cancel(p_order uuid, p_reason text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_memoize = off SET jit = off AS $$
-- SECURITY DEFINER: orders are written only through here.
DECLARE
    _order "order" := order_for_caller(p_order);
BEGIN
    PERFORM caller_require('order.cancel', _order.tenant_customer_id, _order.org_id, 'order', p_order::text);
    IF _order.finished_date IS NOT NULL THEN
        PERFORM refuse('PV409', 'the order has ended', format('%s is %s', p_order, _order.status), 'what was done is undone with an order of its own');
    END IF;
    -- First those that are being claimed, or that an operator is at, are waited for, while nothing else is locked.
    PERFORM FROM job_queue WHERE job_id IN (
        SELECT j.id FROM order_item_plan AS p JOIN job AS j ON j.reference_id = p.provision_id WHERE p.order_id = p_order AND p.finished_date IS NULL)
    ORDER BY job_id FOR UPDATE;
    -- Twice: a step that is being approved or let go while the first look waits for it has a job after that.
    FOR _look IN 1 .. 2 LOOP
        PERFORM plan_stop(ARRAY(SELECT id FROM order_item_plan WHERE order_id = p_order AND finished_date IS NULL ORDER BY id), COALESCE(p_reason, 'cancelled by ' || caller_name()));
    END LOOP;
    RETURN (SELECT status FROM "order" WHERE id = p_order);
END $$;
COMMENT ON FUNCTION order_cancel(uuid, text) IS 'Cancels what has not begun of an order; what runs goes on, what succeeded stays. Returns the order''s status then.';

CREATE OR REPLACE FUNCTION order_item_approve(p_item uuid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_memoize = off SET jit = off AS $$
-- SECURITY DEFINER: for operators, who have EXECUTE and no table rights.
DECLARE
    _order uuid;
    _ready uuid[];
BEGIN
    -- The order first, as for whatever changes several steps.
    PERFORM FROM "order" WHERE id = (SELECT order_id FROM order_item WHERE id = p_item) FOR NO KEY UPDATE;
    UPDATE order_item SET status = 'processing' WHERE id = p_item AND status = 'waiting' RETURNING order_id INTO _order;
    IF NOT FOUND THEN
        PERFORM refuse('PV409', 'the item does not wait for an approval', p_item::text, 'SELECT * FROM v_order_item WHERE status = ''waiting''');
    END IF;
    WITH approved AS (
        SELECT 'order_item' AS table_name, id, tenant_customer_id, org_id, 'waiting' AS was FROM order_item WHERE id = p_item),
        begun AS (
            UPDATE "order" SET status = 'processing' WHERE id = _order AND status = 'created' RETURNING 'order', id, tenant_customer_id, org_id, 'created')
    INSERT INTO audit_trail_log (table_name, row_id, tenant_customer_id, org_id, operation, from_state, to_state, reason)
    SELECT a.table_name, a.id, a.tenant_customer_id, a.org_id, 'transition', a.was, 'processing', 'approved' FROM (TABLE approved UNION ALL TABLE begun) AS a;
    WITH begun AS (
        UPDATE order_item_plan SET status = CASE WHEN open_count = 0 THEN 'processing' ELSE 'waiting' END, processing_date = CASE WHEN open_count = 0 THEN engine_now() END
        WHERE order_item_id = p_item AND status = 'new' RETURNING id, status)
    SELECT array_agg(id) FILTER (WHERE status = 'processing') INTO _ready FROM begun;
    PERFORM plan_start_or_fail(_ready);
    RETURN 'processing';
END $$;
COMMENT ON FUNCTION order_item_approve(uuid) IS 'Approves an item that waits for it.';

CREATE OR REPLACE FUNCTION order_item_reject(p_item uuid, p_reason text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: for operators, who have EXECUTE and no table rights.
BEGIN
    IF NOT EXISTS (SELECT FROM order_item WHERE id = p_item AND status = 'waiting') THEN
        PERFORM refuse('PV409', 'the item does not wait for an approval', p_item::text, 'SELECT * FROM v_order_item WHERE status = ''waiting''');
    END IF;
    PERFORM plan_stop(ARRAY(SELECT id FROM order_item_plan WHERE order_item_id = p_item), p_reason);
    INSERT INTO audit_trail_log (table_name, row_id, tenant_customer_id, org_id, operation, from_state, to_state, reason)
    SELECT 'order_item', id, tenant_customer_id, org_id, 'transition', 'waiting', status, reason FROM order_item WHERE id = p_item;
    RETURN 'cancelled';
END $$;
COMMENT ON FUNCTION order_item_reject(uuid, text) IS 'Rejects an item that waits for an approval.';

CREATE OR REPLACE FUNCTION order_document(p_order uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: shows the owner of an order jobs and plans, on which tenants have no grant.
BEGIN
    RETURN (
        SELECT jsonb_build_object('id', o.id, 'status', o.status, 'reason', o.reason, 'priority', o.priority, 'org_id', o.org_id,
            'created_date', o.created_date, 'finished_date', o.finished_date, 'external_reference', o.external_reference, 'metadata', o.metadata,
            'items', (SELECT jsonb_agg(item_document(i) ORDER BY i.position) FROM order_item AS i WHERE i.order_id = o.id))
        FROM "order" AS o
        WHERE o.id = p_order AND (caller_sees_all() OR (o.tenant_customer_id = caller_customer() AND (caller_org() IS NULL OR o.org_id = caller_org()))));
END $$;
COMMENT ON FUNCTION order_document(uuid) IS 'An order with its items, plan, provision rows and jobs; NULL if it is not the caller''s.';

CREATE OR REPLACE FUNCTION item_document(p_item order_item) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN jsonb_build_object('id', p_item.id, 'operation', p_item.operation, 'status', p_item.status, 'reason', p_item.reason, 'data', p_item.data - 'pw',
        'finished_date', p_item.finished_date, 'plan', (
            SELECT jsonb_agg(jsonb_build_object('id', p.id, 'name', p.name, 'status', p.status, 'reason', p.reason,
                'depends_on', COALESCE((SELECT jsonb_agg(d.depends_on_id ORDER BY d.depends_on_id) FROM order_item_plan_dependency AS d WHERE d.plan_id = p.id), '[]'),
                'provision', jsonb_build_object('table', p.provision_table, 'id', p.provision_id, 'status', v.status),
                'job', CASE WHEN v.job_id IS NOT NULL THEN jsonb_build_object('id', v.job_id, 'type', v.type, 'status', v.job_status, 'attempts', v.attempts,
                    'max_attempts', v.max_attempts, 'next_attempt_date', v.next_attempt_date, 'result_message', v.result_message) END) ORDER BY p.id)
            FROM order_item_plan AS p LEFT JOIN LATERAL plan_progress(p.provision_id) AS v ON true WHERE p.order_item_id = p_item.id));
END $$;
COMMENT ON FUNCTION item_document(order_item) IS 'An item with its plan, provision rows and jobs.';

CREATE OR REPLACE FUNCTION plan_progress(p_provision uuid)
RETURNS TABLE (status text, job_id uuid, type text, job_status text, attempts int, max_attempts int, next_attempt_date timestamptz, result_message text)
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY
    SELECT s.name, j.id, j.type, CASE WHEN l.job_id IS NOT NULL THEN 'processing' ELSE j.status END, j.attempts, j.max_attempts,
        CASE WHEN j.finished_date IS NULL AND l.job_id IS NULL THEN j.start_date END, j.result_message
    FROM class.provision AS p JOIN provision_status AS s ON s.id = p.status_id LEFT JOIN job AS j ON j.id = p.job_id LEFT JOIN job_lease AS l ON l.job_id = j.id
    WHERE p.id = p_provision;
END $$;
COMMENT ON FUNCTION plan_progress(uuid) IS 'How the provision row of a step and its job stand.';

CREATE OR REPLACE FUNCTION order_explain(p_order uuid) RETURNS SETOF text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: as order_document.
DECLARE
    _order "order" := order_for_caller(p_order);
    _row record;
BEGIN
    RETURN NEXT format('order %s  %s  %s%s', _order.id, _order.status, explain_span(_order.created_date, _order.finished_date), '  ' || _order.reason);
    FOR _row IN
        SELECT NULL::uuid AS plan, i.position AS item, format('├─ %s. %s  %s%s', i.position, i.operation, i.status, '  ' || i.reason) AS line FROM order_item AS i WHERE i.order_id = p_order
        UNION ALL
        SELECT p.id, i.position, format('│   ├─ %s  %s  %s%s%s%s', p.name, p.status, explain_span(p.created_date, p.finished_date), '  after ' || w.names,
            '  ' || COALESCE(p.reason, h.reason, deployment_why(p.provision_id), CASE WHEN v.job_status NOT IN ('completed', 'cancelled') THEN format('job %s %s, attempt %s of %s%s', v.type, v.job_status, v.attempts + 1, v.max_attempts, ': ' || v.result_message) END),
            CASE WHEN h.reason IS NULL THEN '  next at ' || to_char(v.next_attempt_date, 'HH24:MI:SS') END)
        FROM order_item AS i JOIN order_item_plan AS p ON p.order_item_id = i.id LEFT JOIN LATERAL plan_progress(p.provision_id) AS v ON true
        LEFT JOIN LATERAL (SELECT explain_held(v.job_id) AS reason) AS h ON v.job_status = 'submitted'
        LEFT JOIN LATERAL (SELECT string_agg(x.name, ', ' ORDER BY x.name) AS names FROM order_item_plan_dependency AS d JOIN order_item_plan AS x ON x.id = d.depends_on_id WHERE d.plan_id = p.id) AS w ON true
        WHERE i.order_id = p_order
        ORDER BY 2, 1 NULLS FIRST
    LOOP
        RETURN NEXT _row.line;
    END LOOP;
END $$;
COMMENT ON FUNCTION order_explain(uuid) IS 'An order as a tree: every item and step with its status, time, what it waited for and why it ended as it did.';

CREATE OR REPLACE FUNCTION explain_held(p_job uuid) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (
        SELECT CASE WHEN j.held_at IS NOT NULL THEN format('job %s held since %s%s', j.type, to_char(j.held_at, 'YYYY-MM-DD HH24:MI:SS'), ': ' || j.result_message)
            WHEN a.held_date IS NOT NULL THEN format('job %s waits, %s is held since %s: %s', j.type, a.name, to_char(a.held_date, 'YYYY-MM-DD HH24:MI:SS'), a.held_reason) END
        FROM job AS j LEFT JOIN accreditation AS a ON a.id = j.accreditation_id WHERE j.id = p_job);
END $$;
COMMENT ON FUNCTION explain_held(uuid) IS 'Since when and why a job, or its accreditation, is held; NULL: it is not.';

CREATE OR REPLACE FUNCTION explain_span(p_from timestamptz, p_to timestamptz) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN CASE WHEN p_to IS NULL THEN 'since ' ELSE '' END || round(extract(EPOCH FROM COALESCE(p_to, engine_now()) - p_from), 1) || ' s';
END $$;
COMMENT ON FUNCTION explain_span(timestamptz, timestamptz) IS 'How long something took or has been going on.';
