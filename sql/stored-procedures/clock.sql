-- The injectable clock. In production engine_now() is the transaction's time and costs nothing; a test or a demo calls
-- clock_inject() once, and from then on every session reads a clock that clock_advance() turns forward.

CREATE OR REPLACE FUNCTION clock_inject() RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $outer$
BEGIN
    CREATE TABLE IF NOT EXISTS clock (ahead interval NOT NULL);
    COMMENT ON TABLE clock IS 'How far the injected clock is ahead of the machine''s. Exists only where clock_inject() was called.';
    COMMENT ON COLUMN clock.ahead IS 'Added to now().';
    GRANT SELECT ON clock TO PUBLIC;
    INSERT INTO clock SELECT interval '0' WHERE NOT EXISTS (SELECT FROM clock);
    CREATE OR REPLACE FUNCTION engine_now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
        RETURN now() + (SELECT ahead FROM public.clock);
END $outer$;
COMMENT ON FUNCTION clock_inject() IS 'Replaces engine_now() by a clock that can be turned forward. For tests and demos; the owner only.';

CREATE OR REPLACE FUNCTION clock_advance(p_by interval) RETURNS timestamptz
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE clock SET ahead = ahead + p_by;
    RETURN engine_now();
END $$;
COMMENT ON FUNCTION clock_advance(interval) IS 'Turns the injected clock forward and returns its time.';

CREATE OR REPLACE FUNCTION setting_value(p_name text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _value text := (SELECT value FROM setting WHERE name = p_name);
BEGIN
    IF _value IS NULL THEN
        PERFORM refuse('PV404', 'setting not found', p_name, 'SELECT * FROM setting');
    END IF;
    RETURN _value;
END $$;
COMMENT ON FUNCTION setting_value(text) IS 'Value of a setting; an unknown name is refused.';

CREATE OR REPLACE FUNCTION setting_validate() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _pattern constant text := CASE NEW.type WHEN 'integer' THEN '^-?\d{1,9}$' WHEN 'number' THEN '^-?\d{1,9}(\.\d{1,9})?$' ELSE '' END;
BEGIN
    IF NEW.value !~ _pattern OR (NEW.type <> 'text' AND NEW.value::numeric NOT BETWEEN COALESCE(NEW.minimum, '-infinity') AND COALESCE(NEW.maximum, 'infinity')) THEN
        PERFORM refuse('PV422', format('%s cannot be that', NEW.name), NEW.value,
            format('give %s %s from %s to %s', CASE NEW.type WHEN 'integer' THEN 'an' ELSE 'a' END, NEW.type, COALESCE(NEW.minimum::text, 'any'), COALESCE(NEW.maximum::text, 'any')));
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION setting_validate() IS 'Refuses values of settings that cannot be read as what they are.';
SELECT class.replace_trigger('setting_validate_tg', 'setting', 'BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW', 'setting_validate()');
