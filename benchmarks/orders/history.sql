-- Multiplies the finished orders of a database: every copy is a day older than the one before. Ids are time-ordered, and so
-- are those of the copies, so that tables and indexes look as if it had happened.
CREATE FUNCTION aged(p_id uuid, p_days int) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN encode(
    overlay(
        uuid_send(p_id)
        PLACING substring(int8send(('x' || left(replace(p_id::text, '-', ''), 12))::bit(48)::bigint - p_days * 86400000::bigint) FROM 3)
        FROM 1 FOR 6
    ), 'hex')::uuid;

CREATE PROCEDURE multiply(p_copies int) LANGUAGE plpgsql AS $$
DECLARE
    _tables constant regclass[] := '{"order",order_item,order_item_plan,provision_contact,job,contact,audit_trail_log}';
    _ids constant name[] := '{id,order_id,order_item_id,provision_id,reference_id,job_id,row_id}';
    _table regclass;
    _columns text;
    _values text;
BEGIN
    FOREACH _table IN ARRAY _tables LOOP
        SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum), string_agg(
            CASE WHEN atttypid = 'uuid'::regtype AND attname = ANY (_ids) THEN format('aged(%I, n)', attname)
                WHEN attname = 'order_item_plan_ids' THEN 'ARRAY[aged(order_item_plan_ids[1], n)]'
                WHEN attname IN ('reference', 'handle') THEN format('%I || ''-'' || n', attname)
                WHEN attname = 'id' THEN 'nextval(''audit_trail_log_id_seq'')'
                ELSE quote_ident(attname) END, ', ' ORDER BY attnum)
        INTO _columns, _values FROM pg_attribute WHERE attrelid = _table AND attnum > 0 AND NOT attisdropped;
        EXECUTE format('INSERT INTO %1$s (%2$s) SELECT %3$s FROM %1$s CROSS JOIN generate_series(1, %4$s) AS n ORDER BY n DESC', _table, _columns, _values, p_copies);
    END LOOP;
END $$;
