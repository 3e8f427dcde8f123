DELETE FROM setting WHERE name IN ('token_access_seconds', 'token_refresh_seconds', 'token_eddsa', 'attempt_user_limit', 'attempt_user_seconds', 'attempt_address_limit',
    'attempt_address_seconds', 'attempt_register_limit', 'attempt_register_seconds', 'verification_attempts', 'verification_hours', 'allow_first_admin', 'mail_from', 'mail_region');
DELETE FROM job_type WHERE name = 'session_mail';
DROP TYPE token_pair;
DROP TABLE verification, login_attempt, access_token, refresh_token, session, signing_key, identity_flow, identity, credential;
