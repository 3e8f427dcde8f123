-- depends: 0006.certificate
--
-- How users get in. A log-in begins with login_begin(), which counts the attempt, and ends with session_open(), which makes
-- a `session` and its first pair of tokens; session_refresh() spends a refresh token for the next pair, and the session is
-- the family that dies when a spent one comes again. Every access token has a row here, so a token nobody was given is
-- worth nothing however well it is signed, and session_caller() ends one by looking once. No table of this file is granted
-- to anybody (the views' owner reads `verification`, for operators), and none is in the audit trail: session_log() writes
-- there what happened, without secrets.

CREATE TABLE credential (
    user_id uuid NOT NULL,
    kind text NOT NULL,
    secret text NOT NULL,
    confirmed_date timestamptz,
    last_step bigint NOT NULL DEFAULT 0,
    created_date timestamptz NOT NULL DEFAULT engine_now(),
    CONSTRAINT credential_pk PRIMARY KEY (user_id, kind),
    CONSTRAINT credential_user_fk FOREIGN KEY (user_id) REFERENCES app_user (id) ON DELETE CASCADE,
    CONSTRAINT credential_kind_ck CHECK (kind IN ('password', 'totp')),
    CONSTRAINT credential_confirmed_ck CHECK (kind = 'totp' OR confirmed_date IS NOT NULL),
    CONSTRAINT credential_secret_ck CHECK (secret LIKE CASE kind WHEN 'password' THEN '$argon2id$%' ELSE '%' END)
);
COMMENT ON TABLE credential IS 'What a user proves to be somebody with.';
COMMENT ON COLUMN credential.user_id IS 'Whose.';
COMMENT ON COLUMN credential.kind IS 'password, or totp: a second factor (RFC 6238).';
COMMENT ON COLUMN credential.secret IS 'The argon2id hash of a password, or the key of a TOTP generator in base32.';
COMMENT ON COLUMN credential.confirmed_date IS 'Since when it counts; a TOTP generator does once it has shown a right code.';
COMMENT ON COLUMN credential.last_step IS 'The time step of the last TOTP code that was accepted; it and earlier ones are refused.';
COMMENT ON COLUMN credential.created_date IS 'When it was set.';

CREATE TABLE identity (
    id uuid NOT NULL DEFAULT new_id(),
    issuer text NOT NULL,
    subject text NOT NULL,
    user_id uuid NOT NULL,
    created_date timestamptz NOT NULL DEFAULT engine_now(),
    CONSTRAINT identity_pk PRIMARY KEY (id),
    CONSTRAINT identity_uk UNIQUE (issuer, subject),
    CONSTRAINT identity_user_fk FOREIGN KEY (user_id) REFERENCES app_user (id) ON DELETE CASCADE
);
CREATE INDEX identity_user_ix ON identity (user_id);
COMMENT ON TABLE identity IS 'Who a user is elsewhere: an account at an OpenID Connect issuer or GitHub that may log in as the user.';
COMMENT ON COLUMN identity.id IS 'Id.';
COMMENT ON COLUMN identity.issuer IS 'The issuer''s URL.';
COMMENT ON COLUMN identity.subject IS 'The user''s name there that never changes (the claim sub; GitHub''s numeric id).';
COMMENT ON COLUMN identity.user_id IS 'The user.';
COMMENT ON COLUMN identity.created_date IS 'When it was linked.';

CREATE TABLE identity_flow (
    flow_hash bytea NOT NULL,
    provider text NOT NULL,
    state_hash bytea NOT NULL,
    nonce text NOT NULL,
    verifier text NOT NULL,
    redirect_uri text NOT NULL,
    user_id uuid,
    expires_date timestamptz NOT NULL,
    CONSTRAINT identity_flow_pk PRIMARY KEY (flow_hash),
    CONSTRAINT identity_flow_user_fk FOREIGN KEY (user_id) REFERENCES app_user (id) ON DELETE CASCADE
);
CREATE INDEX identity_flow_expires_ix ON identity_flow (expires_date);
CREATE INDEX identity_flow_user_ix ON identity_flow (user_id);
COMMENT ON TABLE identity_flow IS 'Log-ins elsewhere that have begun; each can be finished once.';
COMMENT ON COLUMN identity_flow.flow_hash IS 'SHA-256 of the secret that only the one who began has.';
COMMENT ON COLUMN identity_flow.provider IS 'Where.';
COMMENT ON COLUMN identity_flow.state_hash IS 'SHA-256 of the state that came with the redirection.';
COMMENT ON COLUMN identity_flow.nonce IS 'What the id token must repeat.';
COMMENT ON COLUMN identity_flow.verifier IS 'PKCE code verifier (RFC 7636).';
COMMENT ON COLUMN identity_flow.redirect_uri IS 'Where the issuer sends the browser back to.';
COMMENT ON COLUMN identity_flow.user_id IS 'Who links the identity; NULL: it is a log-in.';
COMMENT ON COLUMN identity_flow.expires_date IS 'From when it cannot be finished any more.';

CREATE TABLE signing_key (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    org_id uuid,
    algorithm text NOT NULL,
    secret bytea NOT NULL,
    created_date timestamptz NOT NULL DEFAULT engine_now(),
    retired_date timestamptz,
    not_after timestamptz,
    CONSTRAINT signing_key_pk PRIMARY KEY (id),
    CONSTRAINT signing_key_org_fk FOREIGN KEY (org_id) REFERENCES org (id),
    CONSTRAINT signing_key_algorithm_ck CHECK (algorithm IN ('HS256', 'EdDSA')),
    CONSTRAINT signing_key_secret_ck CHECK (length(secret) = 32),
    CONSTRAINT signing_key_org_ck CHECK (org_id IS NULL OR algorithm = 'HS256'),
    CONSTRAINT signing_key_retired_ck CHECK ((retired_date IS NULL) = (not_after IS NULL))
);
CREATE UNIQUE INDEX signing_key_current_uk ON signing_key (org_id, algorithm) NULLS NOT DISTINCT WHERE retired_date IS NULL;
CREATE INDEX signing_key_not_after_ix ON signing_key (not_after) WHERE not_after IS NOT NULL;
COMMENT ON TABLE signing_key IS 'Keys that tokens are signed with.';
COMMENT ON COLUMN signing_key.id IS 'The kid in the head of its tokens.';
COMMENT ON COLUMN signing_key.org_id IS 'The org whose tokens it signs, and whose cluster may know it; NULL: tokens for no org in particular.';
COMMENT ON COLUMN signing_key.algorithm IS 'HS256 or EdDSA (Ed25519); the only one accepted for its tokens.';
COMMENT ON COLUMN signing_key.secret IS 'The HMAC key, or the Ed25519 private key.';
COMMENT ON COLUMN signing_key.created_date IS 'When it was made.';
COMMENT ON COLUMN signing_key.retired_date IS 'From when it signs no more.';
COMMENT ON COLUMN signing_key.not_after IS 'From when its tokens are not accepted any more: the end of the last one, or when it was revoked.';

CREATE TABLE session (
    id uuid NOT NULL DEFAULT new_id(),
    user_id uuid NOT NULL,
    org_id uuid,
    created_date timestamptz NOT NULL DEFAULT engine_now(),
    expires_date timestamptz NOT NULL,
    ended_date timestamptz,
    ended_reason text,
    CONSTRAINT session_pk PRIMARY KEY (id),
    CONSTRAINT session_user_fk FOREIGN KEY (user_id) REFERENCES app_user (id) ON DELETE CASCADE,
    CONSTRAINT session_org_fk FOREIGN KEY (org_id) REFERENCES org (id),
    CONSTRAINT session_ended_ck CHECK ((ended_date IS NULL) = (ended_reason IS NULL))
);
CREATE INDEX session_user_ix ON session (user_id);
CREATE INDEX session_expires_ix ON session (expires_date);
COMMENT ON TABLE session IS 'A log-in and all tokens that came of it: the family that ends as a whole.';
COMMENT ON COLUMN session.id IS 'Id.';
COMMENT ON COLUMN session.user_id IS 'Who.';
COMMENT ON COLUMN session.org_id IS 'The only org its tokens are good for; NULL: all that the user is a member of.';
COMMENT ON COLUMN session.created_date IS 'When the user logged in.';
COMMENT ON COLUMN session.expires_date IS 'When its last token expires.';
COMMENT ON COLUMN session.ended_date IS 'When it was ended before; none of its tokens is accepted from then on.';
COMMENT ON COLUMN session.ended_reason IS 'Why.';

CREATE TABLE refresh_token (
    jti uuid NOT NULL DEFAULT gen_random_uuid(),
    session_id uuid NOT NULL,
    expires_date timestamptz NOT NULL,
    spent_date timestamptz,
    CONSTRAINT refresh_token_pk PRIMARY KEY (jti),
    CONSTRAINT refresh_token_session_fk FOREIGN KEY (session_id) REFERENCES session (id) ON DELETE CASCADE
);
CREATE INDEX refresh_token_session_ix ON refresh_token (session_id);
CREATE INDEX refresh_token_expires_ix ON refresh_token (expires_date);
COMMENT ON TABLE refresh_token IS 'Tokens of which each is good for one more pair. Spent ones are kept until they expire, to know them again.';
COMMENT ON COLUMN refresh_token.jti IS 'The token''s claim jti.';
COMMENT ON COLUMN refresh_token.session_id IS 'The log-in it comes from.';
COMMENT ON COLUMN refresh_token.expires_date IS 'Until when.';
COMMENT ON COLUMN refresh_token.spent_date IS 'When it was used.';

CREATE TABLE access_token (
    jti uuid NOT NULL DEFAULT gen_random_uuid(),
    session_id uuid NOT NULL,
    key_id uuid NOT NULL,
    expires_date timestamptz NOT NULL,
    CONSTRAINT access_token_pk PRIMARY KEY (jti),
    CONSTRAINT access_token_session_fk FOREIGN KEY (session_id) REFERENCES session (id) ON DELETE CASCADE,
    CONSTRAINT access_token_key_fk FOREIGN KEY (key_id) REFERENCES signing_key (id) ON DELETE CASCADE
);
CREATE INDEX access_token_session_ix ON access_token (session_id);
CREATE INDEX access_token_key_ix ON access_token (key_id);
CREATE INDEX access_token_expires_ix ON access_token (expires_date);
COMMENT ON TABLE access_token IS 'Access tokens that were given out; what is not here is refused.';
COMMENT ON COLUMN access_token.jti IS 'The token''s claim jti.';
COMMENT ON COLUMN access_token.session_id IS 'The log-in it comes from.';
COMMENT ON COLUMN access_token.key_id IS 'The key it is signed with; a token with this jti under another key is forged.';
COMMENT ON COLUMN access_token.expires_date IS 'Until when.';

CREATE TABLE login_attempt (
    kind text NOT NULL,
    key text NOT NULL,
    attempts int NOT NULL DEFAULT 1,
    window_end timestamptz NOT NULL,
    CONSTRAINT login_attempt_pk PRIMARY KEY (kind, key),
    CONSTRAINT login_attempt_kind_ck CHECK (kind IN ('user', 'address', 'register'))
) WITH (fillfactor = 70);
CREATE INDEX login_attempt_window_ix ON login_attempt (window_end);
COMMENT ON TABLE login_attempt IS 'How often somebody has tried to get in, per user and per address.';
COMMENT ON COLUMN login_attempt.kind IS 'user or address (log-ins and whatever else proves a secret), or register (an address that signs up).';
COMMENT ON COLUMN login_attempt.key IS 'The username, case folded, whether it exists or not; or the address.';
COMMENT ON COLUMN login_attempt.attempts IS 'Attempts since the window began.';
COMMENT ON COLUMN login_attempt.window_end IS 'When counting begins anew.';

CREATE TABLE verification (
    id uuid NOT NULL DEFAULT new_id(),
    user_id uuid NOT NULL,
    purpose text NOT NULL,
    code_hash bytea NOT NULL,
    code text,
    attempts int NOT NULL DEFAULT 0,
    created_date timestamptz NOT NULL DEFAULT engine_now(),
    expires_date timestamptz NOT NULL,
    CONSTRAINT verification_pk PRIMARY KEY (id),
    CONSTRAINT verification_uk UNIQUE (user_id, purpose),
    CONSTRAINT verification_user_fk FOREIGN KEY (user_id) REFERENCES app_user (id) ON DELETE CASCADE,
    CONSTRAINT verification_purpose_ck CHECK (purpose IN ('email')),
    CONSTRAINT verification_hash_ck CHECK (length(code_hash) = 32)
);
CREATE INDEX verification_expires_ix ON verification (expires_date);
COMMENT ON TABLE verification IS 'Codes that were sent to users, by mail or through an operator, and have not come back.';
COMMENT ON COLUMN verification.id IS 'Id.';
COMMENT ON COLUMN verification.user_id IS 'To whom.';
COMMENT ON COLUMN verification.purpose IS 'email: shows that the address is the user''s.';
COMMENT ON COLUMN verification.code_hash IS 'SHA-256 of the code.';
COMMENT ON COLUMN verification.code IS 'The code, until it is mailed.';
COMMENT ON COLUMN verification.attempts IS 'How often a code was tried.';
COMMENT ON COLUMN verification.created_date IS 'When it was made.';
COMMENT ON COLUMN verification.expires_date IS 'Until when it is accepted.';

CREATE TYPE token_pair AS (
    session_id uuid, user_id uuid, username text, org text, key_id uuid, algorithm text, secret bytea,
    issued_date timestamptz, access_jti uuid, access_date timestamptz, refresh_jti uuid, refresh_date timestamptz
);
COMMENT ON TYPE token_pair IS 'What the API needs to know to sign an access and a refresh token.';

INSERT INTO job_type VALUES ('session_mail', 'mails a verification code through SES', 20);
INSERT INTO setting VALUES
    ('token_access_seconds', '86400', 'how long an access token is good', 'integer', 60, 31536000),
    ('token_refresh_seconds', '2592000', 'how long a refresh token is good; never shorter than an access token', 'integer', 60, 63072000),
    ('token_eddsa', '0', '1: tokens for no org in particular are signed with EdDSA (Ed25519), which others can verify without a secret; 0: HS256', 'integer', 0, 1),
    ('attempt_user_limit', '10', 'log-ins tried per username in attempt_user_seconds; more are answered 429', 'integer', 1, 1000000),
    ('attempt_user_seconds', '900', 'the time after which attempts per username are counted anew', 'integer', 1, 604800),
    ('attempt_address_limit', '100', 'log-ins tried per address in attempt_address_seconds', 'integer', 1, 1000000),
    ('attempt_address_seconds', '900', 'the time after which attempts per address are counted anew', 'integer', 1, 604800),
    ('attempt_register_limit', '20', 'sign-ups, and codes asked for, per address in attempt_register_seconds', 'integer', 1, 1000000),
    ('attempt_register_seconds', '3600', 'the time after which sign-ups per address are counted anew', 'integer', 1, 604800),
    ('verification_attempts', '5', 'how often a verification code may be tried', 'integer', 1, 100),
    ('verification_hours', '24', 'how long a verification code is good', 'integer', 1, 720),
    ('allow_first_admin', '0', '1: the first user who signs up becomes platform admin while there is none', 'integer', 0, 1),
    ('mail_from', '', 'sender of mails through SES, a verified identity; empty: operators pass codes on (v_verification)', 'text', NULL, NULL),
    ('mail_region', 'us-east-1', 'AWS region of SES', 'text', NULL, NULL);

-- Only functions reach them; should somebody be granted one, there is nothing to see.
SELECT class.tenancy_policy(t::regclass, 'false') FROM unnest('{credential,identity,identity_flow,signing_key,session,refresh_token,access_token,verification}'::text[]) AS t;
