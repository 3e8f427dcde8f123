-- Log-ins, tokens, sign-ups. A log-in is login_begin() (counts the attempt; gives the hash to compare with, or none) and
-- session_open() (once the password was right); session_issue() makes each pair of tokens, session_refresh() the next one,
-- session_caller() is asked at every request. Whatever must stay although the caller is refused (a counted attempt, a
-- family that was ended) is returned as an outcome and not raised, since an error would undo it. The API compares
-- passwords and codes and signs tokens; these functions believe it, and nobody else may call them.

-- Attempts -----------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION attempt_take(p_kind text, p_key text) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: attempts have no grants.
DECLARE
    _limit constant int := setting_value('attempt_' || p_kind || '_limit');
    _end constant timestamptz := engine_now() + make_interval(secs => setting_value('attempt_' || p_kind || '_seconds')::int);
    _taken login_attempt;
BEGIN
    -- Counted before anything is tried, so that many at once do not get more than the limit.
    INSERT INTO login_attempt AS a (kind, key, window_end) VALUES (p_kind, p_key, _end)
    ON CONFLICT (kind, key) DO UPDATE SET
        attempts = CASE WHEN a.window_end <= engine_now() THEN 1 ELSE least(a.attempts, _limit) + 1 END,
        window_end = CASE WHEN a.window_end <= engine_now() THEN _end ELSE a.window_end END
    RETURNING * INTO _taken;
    RETURN CASE WHEN _taken.attempts > _limit THEN greatest(1, ceil(extract(EPOCH FROM _taken.window_end - engine_now()))::int) ELSE 0 END;
END $$;
COMMENT ON FUNCTION attempt_take(text, text) IS 'Counts an attempt; 0: it may be made, else the seconds until the next one may.';

CREATE OR REPLACE FUNCTION login_begin(p_username text, p_address text)
RETURNS TABLE (retry_after int, user_id uuid, password_hash text, totp_secret text, now_seconds float8)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: attempts and credentials have no grants.
DECLARE
    -- The address first: whoever is refused by it cannot lock a user out.
    _wait int := attempt_take('address', p_address);
BEGIN
    IF _wait = 0 THEN
        _wait := attempt_take('user', lower(p_username));
    END IF;
    RETURN QUERY
    SELECT _wait, u.id, p.secret, t.secret, extract(EPOCH FROM engine_now())::float8
    FROM (VALUES (true)) AS always
    LEFT JOIN app_user AS u ON lower(u.username) = lower(p_username) AND _wait = 0
    LEFT JOIN credential AS p ON p.user_id = u.id AND p.kind = 'password'
    LEFT JOIN credential AS t ON t.user_id = u.id AND t.kind = 'totp' AND t.confirmed_date IS NOT NULL;
END $$;
COMMENT ON FUNCTION login_begin(text, text) IS 'Counts a log-in and gives what to compare with; always one row, for an unknown user without a hash.';

-- Keys ---------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION signing_key_current(p_org uuid) RETURNS signing_key
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _algorithm constant text := CASE WHEN p_org IS NULL AND setting_value('token_eddsa') = '1' THEN 'EdDSA' ELSE 'HS256' END;
    _key signing_key;
BEGIN
    LOOP
        SELECT * INTO _key FROM signing_key WHERE org_id IS NOT DISTINCT FROM p_org AND algorithm = _algorithm AND retired_date IS NULL;
        EXIT WHEN FOUND;
        INSERT INTO signing_key (org_id, algorithm, secret)
        VALUES (p_org, _algorithm, decode(random_secret(), 'hex'))
        ON CONFLICT DO NOTHING;
    END LOOP;
    RETURN _key;
END $$;
COMMENT ON FUNCTION signing_key_current(uuid) IS 'The key that signs tokens of an org, or those for no org in particular; made when first asked for.';

CREATE OR REPLACE FUNCTION signing_key_find(p_kid uuid) RETURNS TABLE (org_id uuid, org text, algorithm text, secret bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: keys have no grants.
BEGIN
    RETURN QUERY
    SELECT k.org_id, o.slug, k.algorithm, k.secret FROM signing_key AS k LEFT JOIN org AS o ON o.id = k.org_id
    WHERE k.id = p_kid AND (k.not_after IS NULL OR k.not_after > engine_now());
END $$;
COMMENT ON FUNCTION signing_key_find(uuid) IS 'The key of a token''s kid, for the API to verify it; no row: unknown, or over.';

CREATE OR REPLACE FUNCTION signing_key_public() RETURNS TABLE (kid uuid, secret bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: keys have no grants.
BEGIN
    RETURN QUERY SELECT k.id, k.secret FROM signing_key AS k WHERE k.algorithm = 'EdDSA' AND (k.not_after IS NULL OR k.not_after > engine_now()) ORDER BY k.created_date, k.id;
END $$;
COMMENT ON FUNCTION signing_key_public() IS 'The keys whose public half the API shows.';

CREATE OR REPLACE FUNCTION signing_key_rotate(p_org uuid DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: for operators, who have EXECUTE and no table rights.
BEGIN
    UPDATE signing_key SET retired_date = engine_now(), not_after = engine_now() + token_refresh_lifetime()
    WHERE org_id IS NOT DISTINCT FROM p_org AND retired_date IS NULL;
    RETURN (signing_key_current(p_org)).id;
END $$;
COMMENT ON FUNCTION signing_key_rotate(uuid) IS 'Makes a new key for an org (NULL: for no org in particular). Tokens of the old one are good until they end.';

CREATE OR REPLACE FUNCTION signing_key_revoke(p_kid uuid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: for operators, who have EXECUTE and no table rights.
BEGIN
    UPDATE signing_key SET retired_date = COALESCE(retired_date, engine_now()), not_after = least(not_after, engine_now()) WHERE id = p_kid;
    IF NOT FOUND THEN
        PERFORM refuse('PV404', 'signing key not found', p_kid::text, 'SELECT * FROM v_signing_key');
    END IF;
    RETURN 'revoked';
END $$;
COMMENT ON FUNCTION signing_key_revoke(uuid) IS 'Ends a key that got into wrong hands, and with it every token it signed.';

CREATE OR REPLACE FUNCTION signing_key_share(p_org uuid) RETURNS TABLE (kid uuid, algorithm text, secret text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: for operators, who have EXECUTE and no table rights.
DECLARE
    _key signing_key;
BEGIN
    IF p_org IS NULL THEN
        PERFORM refuse('PV400', 'which org?', 'none named', 'the key for no org in particular is given to nobody; set token_eddsa and use its public half');
    END IF;
    _key := signing_key_current(p_org);
    RETURN QUERY SELECT _key.id, _key.algorithm, encode(_key.secret, 'hex');
END $$;
COMMENT ON FUNCTION signing_key_share(uuid) IS 'The key that an org''s cluster verifies tokens with, its secret in hex.';

CREATE OR REPLACE FUNCTION signing_key_list() RETURNS TABLE (kid uuid, org text, algorithm text, created_date timestamptz, retired_date timestamptz, not_after timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: keys have no grants; this leaves their secrets out.
BEGIN
    RETURN QUERY SELECT k.id, o.slug, k.algorithm, k.created_date, k.retired_date, k.not_after FROM signing_key AS k LEFT JOIN org AS o ON o.id = k.org_id;
END $$;
COMMENT ON FUNCTION signing_key_list() IS 'All keys, without their secrets.';

-- Sessions -----------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION session_log(p_user uuid, p_what text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO audit_trail_log (table_name, row_id, operation, reason, logged_by)
    SELECT 'app_user', u.id, 'change', p_what, COALESCE(nullif(caller_name(), session_user), u.username) FROM app_user AS u WHERE u.id = p_user;
END $$;
COMMENT ON FUNCTION session_log(uuid, text) IS 'Notes in the audit trail of a user what happened to credentials and sessions.';

CREATE OR REPLACE FUNCTION token_refresh_lifetime() RETURNS interval
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN make_interval(secs => greatest(setting_value('token_refresh_seconds')::int, setting_value('token_access_seconds')::int));
END $$;
COMMENT ON FUNCTION token_refresh_lifetime() IS 'How long a refresh token is good: never shorter than an access token.';

CREATE OR REPLACE FUNCTION session_user_is_live(p_user uuid) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM app_user AS u LEFT JOIN customer AS c ON c.id = u.customer_id
        WHERE u.id = p_user AND u.status = 'active' AND (u.verified_date IS NOT NULL OR u.email IS NULL) AND (c.id IS NULL OR c.status NOT IN ('suspended', 'to_be_removed')));
END $$;
COMMENT ON FUNCTION session_user_is_live(uuid) IS 'Whether a user may be logged in: not disabled, verified, and not of a customer that is suspended or to be removed.';

CREATE OR REPLACE FUNCTION session_org_is_open(p_user uuid, p_org uuid) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM org AS o JOIN tenant_customer AS t ON t.id = o.tenant_customer_id JOIN customer AS c ON c.id = t.customer_id
        WHERE o.id = p_org AND o.status = 'active' AND t.is_active AND c.status NOT IN ('suspended', 'to_be_removed')
            AND (EXISTS (SELECT FROM membership_live(p_user) AS m WHERE m.tenant_customer_id = o.tenant_customer_id AND (m.org_id IS NULL OR m.org_id = o.id))
                OR EXISTS (SELECT FROM app_user AS u WHERE u.id = p_user AND (u.is_platform_admin OR u.is_staff OR u.is_support))));
END $$;
COMMENT ON FUNCTION session_org_is_open(uuid, uuid) IS 'Whether a user may be logged in to an org: a live membership reaches it, and neither it nor its customer is suspended or being removed.';

CREATE OR REPLACE FUNCTION session_org(p_user uuid, p_org text) RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    _org constant uuid := (SELECT id FROM org WHERE status = 'active' AND p_org IN (slug, id::text));
BEGIN
    IF p_org IS NULL OR session_org_is_open(p_user, _org) THEN
        RETURN _org;
    ELSIF EXISTS (SELECT FROM membership AS m WHERE m.user_id = p_user AND m.org_id = _org) THEN
        PERFORM refuse('PV403', 'you are not an active member of this org', p_org, 'ask an owner of the org');
    END IF;
    PERFORM refuse('PV404', 'org not found', p_org, 'name an org you are a member of, by slug or id, or none');
END $$;
COMMENT ON FUNCTION session_org(uuid, text) IS 'The org that a user wants to log in to; NULL: none named.';

CREATE OR REPLACE FUNCTION session_issue(p_session uuid) RETURNS token_pair
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    -- To the second, as tokens tell the time.
    _now constant timestamptz := date_trunc('second', engine_now());
    _pair token_pair;
    _key signing_key;
BEGIN
    SELECT s.id, s.user_id, u.username, o.slug INTO _pair.session_id, _pair.user_id, _pair.username, _pair.org
    FROM session AS s JOIN app_user AS u ON u.id = s.user_id LEFT JOIN org AS o ON o.id = s.org_id WHERE s.id = p_session;
    _key := signing_key_current((SELECT org_id FROM session WHERE id = p_session));
    SELECT _key.id, _key.algorithm, _key.secret INTO _pair.key_id, _pair.algorithm, _pair.secret;
    _pair.issued_date := _now;
    INSERT INTO access_token (session_id, key_id, expires_date) VALUES (p_session, _key.id, _now + make_interval(secs => setting_value('token_access_seconds')::int))
    RETURNING jti, expires_date INTO _pair.access_jti, _pair.access_date;
    INSERT INTO refresh_token (session_id, expires_date) VALUES (p_session, _now + token_refresh_lifetime())
    RETURNING jti, expires_date INTO _pair.refresh_jti, _pair.refresh_date;
    UPDATE session SET expires_date = _pair.refresh_date WHERE id = p_session;
    RETURN _pair;
END $$;
COMMENT ON FUNCTION session_issue(uuid) IS 'The next pair of tokens of a session.';

CREATE OR REPLACE FUNCTION session_open(p_user uuid, p_org text, p_step bigint, p_how text) RETURNS token_pair
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: sessions have no grants.
DECLARE
    _session uuid;
BEGIN
    IF EXISTS (SELECT FROM app_user WHERE id = p_user AND status = 'active' AND verified_date IS NULL AND email IS NOT NULL) THEN
        PERFORM refuse('PV403', 'the e-mail address is not verified', 'a code was sent to it', 'POST /v1/register/verify');
    ELSIF NOT session_user_is_live(p_user) THEN
        PERFORM refuse('PV401', 'this user may not log in', 'the user is disabled, or the customer suspended or to be removed', 'ask whoever looks after your account');
    END IF;
    PERFORM totp_spend(p_user, p_step);
    INSERT INTO session (user_id, org_id, expires_date) VALUES (p_user, session_org(p_user, p_org), engine_now()) RETURNING id INTO _session;
    DELETE FROM login_attempt WHERE kind = 'user' AND key = (SELECT lower(username) FROM app_user WHERE id = p_user);
    PERFORM session_log(p_user, 'logged in by ' || p_how);
    RETURN session_issue(_session);
END $$;
COMMENT ON FUNCTION session_open(uuid, text, bigint, text) IS 'Logs a user in whose password or identity was found right: an org (slug or id) to limit the session to, the time step of the TOTP code, and how it was shown.';

CREATE OR REPLACE FUNCTION session_refresh(p_kid uuid, p_jti uuid, p_user uuid) RETURNS SETOF token_pair
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: sessions have no grants.
DECLARE
    _session session;
BEGIN
    SELECT s.* INTO _session FROM refresh_token AS r JOIN session AS s ON s.id = r.session_id JOIN signing_key AS k ON k.id = p_kid AND k.org_id IS NOT DISTINCT FROM s.org_id
    WHERE r.jti = p_jti AND s.user_id = p_user AND (k.not_after IS NULL OR k.not_after > engine_now());
    IF NOT FOUND OR _session.ended_date IS NOT NULL THEN
        RETURN;
    END IF;
    -- Whoever comes at the same moment waits here, and finds it spent. What the other was given dies with the session.
    UPDATE refresh_token SET spent_date = engine_now() WHERE jti = p_jti AND spent_date IS NULL AND expires_date > engine_now();
    IF NOT FOUND THEN
        PERFORM session_end(_session.id, 'a spent refresh token was used again');
    ELSIF session_user_is_live(p_user) AND (_session.org_id IS NULL OR session_org_is_open(p_user, _session.org_id)) THEN
        RETURN NEXT session_issue(_session.id);
    END IF;
END $$;
COMMENT ON FUNCTION session_refresh(uuid, uuid, uuid) IS 'Spends a refresh token for the next pair; no row: refused, and if it had been spent before, the whole session is ended.';

CREATE OR REPLACE FUNCTION session_caller(p_kid uuid, p_jti uuid, p_user uuid)
RETURNS TABLE (session_id uuid, user_id uuid, username text, tenant_customer_id uuid, org_id uuid)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: the API must recognise a token before it has a caller.
BEGIN
    RETURN QUERY
    SELECT s.id, s.user_id, u.username, o.tenant_customer_id, s.org_id
    FROM access_token AS t JOIN session AS s ON s.id = t.session_id JOIN signing_key AS k ON k.id = t.key_id JOIN app_user AS u ON u.id = s.user_id LEFT JOIN org AS o ON o.id = s.org_id
    WHERE t.jti = p_jti AND t.key_id = p_kid AND s.user_id = p_user AND t.expires_date > engine_now() AND s.ended_date IS NULL
        AND (k.not_after IS NULL OR k.not_after > engine_now())
        AND session_user_is_live(s.user_id) AND (s.org_id IS NULL OR session_org_is_open(s.user_id, s.org_id));
END $$;
COMMENT ON FUNCTION session_caller(uuid, uuid, uuid) IS 'Whose access token this is and what it is good for; no row: never given out, expired, ended, or its user, membership, org or customer no longer allows it.';

CREATE OR REPLACE FUNCTION session_end(p_session uuid, p_reason text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _user uuid;
BEGIN
    UPDATE session SET ended_date = engine_now(), ended_reason = p_reason WHERE id = p_session AND ended_date IS NULL RETURNING user_id INTO _user;
    IF FOUND THEN
        PERFORM session_log(_user, 'session ended: ' || p_reason);
    END IF;
END $$;
COMMENT ON FUNCTION session_end(uuid, text) IS 'Ends a session and all its tokens.';

CREATE OR REPLACE FUNCTION session_end_all(p_user uuid, p_reason text, p_but uuid DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM session_end(s.id, p_reason) FROM session AS s WHERE s.user_id = p_user AND s.ended_date IS NULL AND s.id IS DISTINCT FROM p_but;
END $$;
COMMENT ON FUNCTION session_end_all(uuid, text, uuid) IS 'Ends all sessions of a user, but one if it is named.';

CREATE OR REPLACE FUNCTION session_is_shut_out(p_kid uuid, p_jti uuid, p_user uuid) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: sessions have no grants.
BEGIN
    RETURN EXISTS (
        SELECT FROM session AS s JOIN signing_key AS k ON k.id = p_kid AND k.org_id = s.org_id
        WHERE s.user_id = p_user AND NOT session_org_is_open(s.user_id, s.org_id) AND (s.ended_date IS NULL OR s.ended_reason = 'the membership ended')
            AND (EXISTS (SELECT FROM access_token AS t WHERE t.jti = p_jti AND t.session_id = s.id AND t.expires_date > engine_now())
                OR EXISTS (SELECT FROM refresh_token AS t WHERE t.jti = p_jti AND t.session_id = s.id AND t.spent_date IS NULL AND t.expires_date > engine_now())));
END $$;
COMMENT ON FUNCTION session_is_shut_out(uuid, uuid, uuid) IS 'Whether all that is wrong with a token is that its user is no active member of the org any more.';

CREATE OR REPLACE FUNCTION session_blacklist(p_kid uuid, p_jti uuid, p_user uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: sessions have no grants; whoever has a refresh token may end it.
DECLARE
    _session constant uuid := (
        SELECT s.id FROM refresh_token AS r JOIN session AS s ON s.id = r.session_id JOIN signing_key AS k ON k.id = p_kid AND k.org_id IS NOT DISTINCT FROM s.org_id
        WHERE r.jti = p_jti AND s.user_id = p_user);
BEGIN
    PERFORM session_end(_session, 'its refresh token was blacklisted');
    RETURN _session IS NOT NULL;
END $$;
COMMENT ON FUNCTION session_blacklist(uuid, uuid, uuid) IS 'Ends the session of a refresh token, and all its tokens; false: there is none.';

CREATE OR REPLACE FUNCTION session_close(p_session uuid, p_all boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: sessions have no grants.
BEGIN
    IF p_all THEN
        PERFORM session_end_all(caller_user(), 'logged out everywhere');
    ELSE
        PERFORM session_end(s.id, 'logged out') FROM session AS s WHERE s.id = p_session AND s.user_id = caller_user();
    END IF;
END $$;
COMMENT ON FUNCTION session_close(uuid, boolean) IS 'Logs the caller out, of this session or of all.';

CREATE OR REPLACE FUNCTION session_user_ended() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: whoever changes a user need not be allowed to see sessions.
BEGIN
    -- For good: whoever is let in again logs in again.
    PERFORM session_end_all(NEW.id, 'the user was disabled');
    IF NEW.removed_date IS NOT NULL THEN
        DELETE FROM credential WHERE user_id = NEW.id;
        DELETE FROM identity WHERE user_id = NEW.id;
        DELETE FROM verification WHERE user_id = NEW.id;
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION session_user_ended() IS 'Ends the sessions of a user who is disabled, and forgets the credentials and identities of one who is removed.';
SELECT class.replace_trigger('app_user_ended_tg', 'app_user', 'AFTER UPDATE ON {table} FOR EACH ROW WHEN (NEW.status = ''disabled'' AND (OLD.status, OLD.removed_date) IS DISTINCT FROM (NEW.status, NEW.removed_date))', 'session_user_ended()');

CREATE OR REPLACE FUNCTION session_member_ended() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: whoever changes a member need not be allowed to see sessions.
BEGIN
    PERFORM session_end(s.id, 'the membership ended') FROM session AS s
    WHERE s.user_id = NEW.user_id AND s.ended_date IS NULL AND s.org_id IS NOT NULL AND NOT session_org_is_open(s.user_id, s.org_id);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION session_member_ended() IS 'Ends the sessions for orgs that a user is no longer an active member of.';
SELECT class.replace_trigger('membership_ended_tg', 'membership', 'AFTER UPDATE ON {table} FOR EACH ROW WHEN (OLD.state = ''active'' AND NEW.state <> ''active'')', 'session_member_ended()');

CREATE OR REPLACE FUNCTION session_list() RETURNS TABLE (id uuid, username text, org text, created_date timestamptz, expires_date timestamptz, ended_date timestamptz, ended_reason text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: sessions have no grants.
BEGIN
    RETURN QUERY
    SELECT s.id, u.username, o.slug, s.created_date, s.expires_date, s.ended_date, s.ended_reason
    FROM session AS s JOIN app_user AS u ON u.id = s.user_id LEFT JOIN org AS o ON o.id = s.org_id;
END $$;
COMMENT ON FUNCTION session_list() IS 'All sessions that are kept.';

CREATE OR REPLACE FUNCTION session_sweep() RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _now constant timestamptz := engine_now();
BEGIN
    DELETE FROM access_token WHERE expires_date <= _now;
    DELETE FROM refresh_token WHERE expires_date <= _now;
    DELETE FROM session WHERE expires_date <= _now;
    DELETE FROM signing_key WHERE not_after <= _now;
    DELETE FROM login_attempt WHERE window_end <= _now;
    DELETE FROM verification WHERE expires_date <= _now;
    DELETE FROM identity_flow WHERE expires_date <= _now;
END $$;
COMMENT ON FUNCTION session_sweep() IS 'Forgets what has expired.';

-- Signing up ---------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION user_register(p_username text, p_email text, p_name text, p_password_hash text) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: users are made only through functions.
DECLARE
    _user uuid;
BEGIN
    INSERT INTO app_user (username, email, name) VALUES (p_username, p_email, nullif(p_name, '')) ON CONFLICT DO NOTHING RETURNING id INTO _user;
    IF _user IS NULL THEN
        PERFORM refuse('PV409', 'the username is taken', p_username, 'choose another');
    END IF;
    PERFORM password_store(_user, p_password_hash);
    PERFORM verification_make(_user, 'email');
    RETURN _user;
END $$;
COMMENT ON FUNCTION user_register(text, text, text, text) IS 'Signs somebody up, who can log in once the e-mail address is verified.';

CREATE OR REPLACE FUNCTION verification_make(p_user uuid, p_purpose text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    -- 40 random bits as 8 of 32 characters that are not taken for each other; the first bytes of a random UUID are all random.
    _bits constant bytea := substr(uuid_send(gen_random_uuid()), 1, 5) || substr(uuid_send(gen_random_uuid()), 1, 3);
    _code constant text := (SELECT string_agg(substr('ABCDEFGHJKLMNPQRSTUVWXYZ23456789', 1 + get_byte(_bits, n) % 32, 1), '') FROM generate_series(0, 7) AS n);
    _id uuid;
BEGIN
    DELETE FROM verification WHERE user_id = p_user AND purpose = p_purpose;
    INSERT INTO verification (user_id, purpose, code_hash, code, expires_date)
    VALUES (p_user, p_purpose, sha256(convert_to(_code, 'UTF8')), _code, engine_now() + make_interval(hours => setting_value('verification_hours')::int)) RETURNING id INTO _id;
    IF setting_value('mail_from') <> '' THEN
        INSERT INTO job (type, data, max_attempts) SELECT name, jsonb_build_object('verification', _id), max_attempts FROM job_type WHERE name = 'session_mail';
    END IF;
END $$;
COMMENT ON FUNCTION verification_make(uuid, text) IS 'Makes a code instead of the one before, and has it mailed if mails can be sent.';

CREATE OR REPLACE FUNCTION verification_again(p_username text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: verifications have no grants.
BEGIN
    PERFORM verification_make(u.id, 'email') FROM app_user AS u WHERE lower(u.username) = lower(p_username) AND u.verified_date IS NULL AND u.status = 'active';
END $$;
COMMENT ON FUNCTION verification_again(text) IS 'A new code for a user who is not verified; does nothing, and says nothing, for any other.';

CREATE OR REPLACE FUNCTION user_verify(p_username text, p_code text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: verifications have no grants.
DECLARE
    _verification verification;
BEGIN
    UPDATE verification AS v SET attempts = v.attempts + 1 FROM app_user AS u
    WHERE u.id = v.user_id AND lower(u.username) = lower(p_username) AND v.purpose = 'email' AND v.expires_date > engine_now() AND v.attempts < setting_value('verification_attempts')::int
    RETURNING v.* INTO _verification;
    IF NOT FOUND OR _verification.code_hash <> sha256(convert_to(upper(p_code), 'UTF8')) THEN
        RETURN false;
    END IF;
    DELETE FROM verification WHERE id = _verification.id;
    UPDATE app_user SET verified_date = engine_now(), is_platform_admin = is_platform_admin OR first_admin_wanted() WHERE id = _verification.user_id;
    PERFORM session_log(_verification.user_id, 'e-mail address verified');
    RETURN true;
END $$;
COMMENT ON FUNCTION user_verify(text, text) IS 'Takes a verification code; false: wrong, expired or tried too often.';

CREATE OR REPLACE FUNCTION first_admin_wanted() RETURNS boolean
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    -- The setting's row stays locked to the end of the transaction: of two who come at once the second sees the first.
    PERFORM FROM setting WHERE name = 'allow_first_admin' AND value = '1' FOR UPDATE;
    RETURN FOUND AND NOT EXISTS (SELECT FROM app_user WHERE is_platform_admin);
END $$;
COMMENT ON FUNCTION first_admin_wanted() IS 'Whether the user who is being verified becomes platform admin, being the first, where that is allowed.';

CREATE OR REPLACE FUNCTION verification_mail(p_verification uuid) RETURNS TABLE (sender text, region text, email text, name text, code text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: verifications have no grants.
BEGIN
    RETURN QUERY
    SELECT setting_value('mail_from'), setting_value('mail_region'), u.email, u.username, v.code FROM verification AS v JOIN app_user AS u ON u.id = v.user_id
    WHERE v.id = p_verification AND v.code IS NOT NULL AND v.expires_date > engine_now();
END $$;
COMMENT ON FUNCTION verification_mail(uuid) IS 'What a worker is to mail; no row: it is mailed, used or over.';

CREATE OR REPLACE FUNCTION verification_mailed(p_verification uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: verifications have no grants.
BEGIN
    UPDATE verification SET code = NULL WHERE id = p_verification;
END $$;
COMMENT ON FUNCTION verification_mailed(uuid) IS 'Forgets a code that was mailed; its hash is enough.';

-- What a user has ----------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION session_me() RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: credentials and identities have no grants; it shows what is the caller's.
BEGIN
    RETURN (
        SELECT jsonb_build_object('id', u.id, 'username', u.username, 'name', u.name, 'email', u.email, 'is_platform_admin', u.is_platform_admin,
            'is_staff', u.is_staff, 'is_support', u.is_support, 'is_identity_manager', u.is_identity_manager, 'tenant_customer_id', caller_customer(), 'org_id', caller_org(),
            'has_password', EXISTS (SELECT FROM credential AS c WHERE c.user_id = u.id AND c.kind = 'password'),
            'has_totp', EXISTS (SELECT FROM credential AS c WHERE c.user_id = u.id AND c.kind = 'totp' AND c.confirmed_date IS NOT NULL),
            'identities', (SELECT COALESCE(jsonb_agg(jsonb_build_object('id', i.id, 'issuer', i.issuer, 'subject', i.subject) ORDER BY i.id), '[]') FROM identity AS i WHERE i.user_id = u.id))
        FROM app_user AS u WHERE u.id = caller_user());
END $$;
COMMENT ON FUNCTION session_me() IS 'The caller as a user, and the account and org this request is for.';

CREATE OR REPLACE FUNCTION credential_mine() RETURNS TABLE (retry_after int, password_hash text, totp_secret text, is_confirmed boolean, now_seconds float8)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: credentials have no grants; it gives the caller's to the API, which compares.
BEGIN
    RETURN QUERY
    SELECT attempt_take('user', lower(u.username)), p.secret, t.secret, t.confirmed_date IS NOT NULL, extract(EPOCH FROM engine_now())::float8
    FROM app_user AS u LEFT JOIN credential AS p ON p.user_id = u.id AND p.kind = 'password' LEFT JOIN credential AS t ON t.user_id = u.id AND t.kind = 'totp'
    WHERE u.id = caller_user();
END $$;
COMMENT ON FUNCTION credential_mine() IS 'What a password or code that the caller shows is compared with; counts as an attempt.';

CREATE OR REPLACE FUNCTION password_store(p_user uuid, p_password_hash text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO credential (user_id, kind, secret, confirmed_date) VALUES (p_user, 'password', p_password_hash, engine_now())
    ON CONFLICT (user_id, kind) DO UPDATE SET secret = excluded.secret, confirmed_date = excluded.confirmed_date;
    PERFORM session_log(p_user, 'password set');
END $$;
COMMENT ON FUNCTION password_store(uuid, text) IS 'Gives a user a password, as its argon2id hash.';

CREATE OR REPLACE FUNCTION password_change(p_password_hash text, p_session uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: credentials have no grants; it changes the caller's.
BEGIN
    PERFORM password_store(caller_user(), p_password_hash);
    PERFORM session_end_all(caller_user(), 'the password was changed', p_session);
    PERFORM attempt_forget();
END $$;
COMMENT ON FUNCTION password_change(text, uuid) IS 'Changes the caller''s password and ends the other sessions.';

CREATE OR REPLACE FUNCTION password_rehash(p_user uuid, p_old text, p_new text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: credentials have no grants.
BEGIN
    UPDATE credential SET secret = p_new WHERE user_id = p_user AND kind = 'password' AND secret = p_old;
END $$;
COMMENT ON FUNCTION password_rehash(uuid, text, text) IS 'Keeps the same password under newer parameters, unless it was changed meanwhile.';

CREATE OR REPLACE FUNCTION attempt_forget() RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    DELETE FROM login_attempt WHERE kind = 'user' AND key = (SELECT lower(username) FROM app_user WHERE id = caller_user());
END $$;
COMMENT ON FUNCTION attempt_forget() IS 'The caller has shown a right secret: attempts are counted anew.';

CREATE OR REPLACE FUNCTION totp_spend(p_user uuid, p_step bigint) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM credential WHERE user_id = p_user AND kind = 'totp' AND confirmed_date IS NOT NULL) THEN
        RETURN;
    END IF;
    UPDATE credential SET last_step = p_step WHERE user_id = p_user AND kind = 'totp' AND last_step < p_step;
    IF NOT FOUND THEN
        PERFORM refuse('PV401', 'a second factor is required', CASE WHEN p_step IS NULL THEN 'no valid code was given' ELSE 'the code was used already' END, 'send the present code of your authenticator as totp');
    END IF;
END $$;
COMMENT ON FUNCTION totp_spend(uuid, bigint) IS 'Accepts a TOTP code once (RFC 6238, 5.2), by its time step; a user without a generator needs none.';

CREATE OR REPLACE FUNCTION totp_enrol(p_secret text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: credentials have no grants; it changes the caller's.
BEGIN
    INSERT INTO credential AS c (user_id, kind, secret) VALUES (caller_user(), 'totp', p_secret)
    ON CONFLICT (user_id, kind) DO UPDATE SET secret = excluded.secret WHERE c.confirmed_date IS NULL;
    IF NOT FOUND THEN
        PERFORM refuse('PV409', 'there is a second factor already', 'totp', 'POST /v1/me/totp/remove first');
    END IF;
    PERFORM attempt_forget();
END $$;
COMMENT ON FUNCTION totp_enrol(text) IS 'Keeps the key of a TOTP generator of the caller''s, which counts once it is confirmed.';

CREATE OR REPLACE FUNCTION totp_confirm(p_step bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: credentials have no grants; it changes the caller's.
BEGIN
    UPDATE credential SET confirmed_date = engine_now(), last_step = p_step WHERE user_id = caller_user() AND kind = 'totp' AND confirmed_date IS NULL;
    IF FOUND THEN
        PERFORM session_log(caller_user(), 'second factor added');
        PERFORM attempt_forget();
    END IF;
END $$;
COMMENT ON FUNCTION totp_confirm(bigint) IS 'The caller''s generator has shown a right code: log-ins ask for one from now on.';

CREATE OR REPLACE FUNCTION totp_remove(p_step bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: credentials have no grants; it changes the caller's.
BEGIN
    PERFORM totp_spend(caller_user(), p_step);
    DELETE FROM credential WHERE user_id = caller_user() AND kind = 'totp';
    PERFORM session_log(caller_user(), 'second factor removed');
    PERFORM attempt_forget();
END $$;
COMMENT ON FUNCTION totp_remove(bigint) IS 'Takes the caller''s TOTP generator away; needs a code of it.';

CREATE OR REPLACE FUNCTION totp_give(p_username text, p_secret text) RETURNS uuid
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    _user constant uuid := (SELECT id FROM app_user WHERE lower(username) = lower(p_username) AND removed_date IS NULL);
BEGIN
    IF _user IS NULL THEN
        PERFORM refuse('PV404', 'user not found', p_username, 'SELECT username FROM v_user');
    END IF;
    INSERT INTO credential (user_id, kind, secret, confirmed_date) VALUES (_user, 'totp', p_secret, engine_now())
    ON CONFLICT (user_id, kind) DO UPDATE SET secret = excluded.secret, confirmed_date = excluded.confirmed_date, last_step = DEFAULT;
    PERFORM session_log(_user, 'second factor given by hand');
    RETURN _user;
END $$;
COMMENT ON FUNCTION totp_give(text, text) IS 'Gives a user a TOTP generator, instead of one there may be, that counts at once. For the owner of the database.';

CREATE OR REPLACE FUNCTION credential_reset(p_username text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: for operators, who have EXECUTE and no table rights.
DECLARE
    _user constant uuid := (SELECT id FROM app_user WHERE lower(username) = lower(p_username));
BEGIN
    IF _user IS NULL THEN
        PERFORM refuse('PV404', 'user not found', p_username, 'SELECT username FROM v_user');
    END IF;
    DELETE FROM credential WHERE user_id = _user AND kind = 'totp';
    DELETE FROM login_attempt WHERE kind = 'user' AND key = lower(p_username);
    PERFORM session_end_all(_user, 'reset by ' || caller_name());
    PERFORM session_log(_user, 'second factor removed by hand');
    RETURN 'reset';
END $$;
COMMENT ON FUNCTION credential_reset(text) IS 'For a user who lost the authenticator or is locked out: no second factor, no counted attempts, no sessions.';

-- Identities ---------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION identity_begin(p_flow_hash bytea, p_provider text, p_state_hash bytea, p_nonce text, p_verifier text, p_redirect_uri text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: flows have no grants.
BEGIN
    INSERT INTO identity_flow (flow_hash, provider, state_hash, nonce, verifier, redirect_uri, user_id, expires_date)
    VALUES (p_flow_hash, p_provider, p_state_hash, p_nonce, p_verifier, p_redirect_uri, caller_user(), engine_now() + interval '10 minutes');
END $$;
COMMENT ON FUNCTION identity_begin(bytea, text, bytea, text, text, text) IS 'Begins a log-in elsewhere; of a caller who is logged in, to link the identity.';

CREATE OR REPLACE FUNCTION identity_take(p_flow_hash bytea, p_state_hash bytea) RETURNS TABLE (provider text, nonce text, verifier text, redirect_uri text, user_id uuid)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: flows have no grants.
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH gone AS (DELETE FROM identity_flow WHERE flow_hash = p_flow_hash RETURNING *)
    SELECT g.provider, g.nonce, g.verifier, g.redirect_uri, g.user_id FROM gone AS g WHERE g.state_hash = p_state_hash AND g.expires_date > engine_now();
END $$;
COMMENT ON FUNCTION identity_take(bytea, bytea) IS 'Ends a log-in elsewhere, whatever comes of it: no flow is finished twice, nor with a second guess of its state.';

CREATE OR REPLACE FUNCTION identity_link(p_issuer text, p_subject text, p_user uuid) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: identities have no grants.
DECLARE
    _identity identity;
BEGIN
    INSERT INTO identity (issuer, subject, user_id) VALUES (p_issuer, p_subject, p_user) ON CONFLICT DO NOTHING;
    SELECT * INTO _identity FROM identity WHERE issuer = p_issuer AND subject = p_subject;
    IF _identity.user_id <> p_user THEN
        PERFORM refuse('PV409', 'the identity belongs to another user', p_issuer, 'log in as that user and remove it there first');
    END IF;
    PERFORM session_log(p_user, 'identity linked: ' || p_issuer);
    RETURN _identity.id;
END $$;
COMMENT ON FUNCTION identity_link(text, text, uuid) IS 'Lets an account elsewhere log in as a user, who began the flow that showed it.';

CREATE OR REPLACE FUNCTION identity_login(p_issuer text, p_subject text) RETURNS TABLE (user_id uuid, totp_secret text, now_seconds float8)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: identities and credentials have no grants.
BEGIN
    RETURN QUERY
    SELECT i.user_id, t.secret, extract(EPOCH FROM engine_now())::float8
    FROM identity AS i LEFT JOIN credential AS t ON t.user_id = i.user_id AND t.kind = 'totp' AND t.confirmed_date IS NOT NULL
    WHERE i.issuer = p_issuer AND i.subject = p_subject;
END $$;
COMMENT ON FUNCTION identity_login(text, text) IS 'The user whom an account elsewhere may log in as.';

CREATE OR REPLACE FUNCTION identity_unlink(p_id uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
-- SECURITY DEFINER: identities have no grants; it removes the caller's.
DECLARE
    _issuer text;
BEGIN
    DELETE FROM identity WHERE id = p_id AND user_id = caller_user() RETURNING issuer INTO _issuer;
    IF NOT FOUND THEN
        PERFORM refuse('PV404', 'identity not found', p_id::text, 'GET /v1/me lists yours');
    END IF;
    PERFORM session_log(caller_user(), 'identity unlinked: ' || _issuer);
END $$;
COMMENT ON FUNCTION identity_unlink(uuid) IS 'Takes an identity of the caller''s away.';
