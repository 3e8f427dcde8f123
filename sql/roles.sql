-- The roles, made once per cluster by whoever migrates, who needs CREATEROLE or to be a superuser.
--
-- provision_owner owns every object; the one who migrates becomes a member of it. provision_api and provision_worker
-- log in for the two processes. The others are groups: provision_operator for people in psql, provision_integration for
-- other systems, provision_reader to own the views that tenants see. What each may do is said in grants.sql.
-- Everything here asks first whether it is done: two databases of one cluster may be migrated at the same moment.

DO $$
DECLARE
    _role text;
    _login text;
BEGIN
    FOR _role, _login IN VALUES
        ('provision_owner', 'NOLOGIN'),
        ('provision_api', 'LOGIN NOINHERIT'),
        ('provision_worker', 'LOGIN'),
        ('provision_operator', 'NOLOGIN'),
        ('provision_integration', 'NOLOGIN'),
        ('provision_reader', 'NOLOGIN')
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = _role) THEN
            EXECUTE format('CREATE ROLE %I %s', _role, _login);
        END IF;
    END LOOP;
END $$;

-- A superuser is a member of everything and would still not be listed, so ask the catalogue. Since PostgreSQL 16 whoever
-- makes a role administers it without being able to become it; before, a membership has no such options (NULL here).
DO $$
DECLARE
    _role text;
    _member text;
BEGIN
    FOR _role, _member IN VALUES ('provision_owner', current_user), ('provision_reader', 'provision_owner') LOOP
        IF NOT EXISTS (
            SELECT FROM pg_auth_members AS m
            WHERE roleid = _role::regrole AND member = _member::regrole
              AND to_jsonb(m) ->> 'set_option' IS DISTINCT FROM 'false'
              AND to_jsonb(m) ->> 'inherit_option' IS DISTINCT FROM 'false'
        ) THEN
            EXECUTE format('GRANT %I TO %I', _role, _member);
        END IF;
    END LOOP;
END $$;

-- Time-outs belong to the log-in, so that they hold for every program that uses it.
DO $$
DECLARE
    _role text;
    _name text;
    _value text;
BEGIN
    FOR _role, _name, _value IN VALUES
        ('provision_api', 'statement_timeout', '30s'),
        ('provision_api', 'lock_timeout', '2s'),
        ('provision_api', 'idle_in_transaction_session_timeout', '30s'),
        ('provision_worker', 'statement_timeout', '60s'),
        ('provision_worker', 'lock_timeout', '2s'),
        ('provision_worker', 'idle_in_transaction_session_timeout', '60s')
    LOOP
        IF NOT EXISTS (
            SELECT FROM pg_db_role_setting
            WHERE setrole = _role::regrole AND setdatabase = 0 AND setconfig @> ARRAY[_name || '=' || _value]
        ) THEN
            EXECUTE format('ALTER ROLE %I SET %I = %L', _role, _name, _value);
        END IF;
    END LOOP;
END $$;

DO $$
BEGIN
    IF NOT has_database_privilege('provision_owner', current_database(), 'CREATE') THEN
        EXECUTE format('GRANT CREATE ON DATABASE %I TO provision_owner', current_database());
    END IF;
    IF (SELECT nspowner FROM pg_namespace WHERE nspname = 'public') <> 'provision_owner'::regrole THEN
        ALTER SCHEMA public OWNER TO provision_owner;
    END IF;
END $$;

-- To own a view, a role must be allowed to create in its schema.
GRANT USAGE, CREATE ON SCHEMA public TO provision_reader;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
