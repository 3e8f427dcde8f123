-- Codes to pass on, keys, and who is logged in; for operators.

CREATE VIEW v_verification AS
SELECT v.id, u.username, u.email, v.purpose, v.code, v.attempts, v.created_date, v.expires_date FROM verification AS v JOIN app_user AS u ON u.id = v.user_id;
COMMENT ON VIEW v_verification IS 'Verification codes that have not come back; code: to be passed on to the user by hand, NULL: it was mailed.';

CREATE VIEW v_signing_key AS SELECT * FROM signing_key_list();
COMMENT ON VIEW v_signing_key IS 'Keys that tokens are signed with, without their secrets. Act with signing_key_rotate, signing_key_revoke, signing_key_share.';

CREATE VIEW v_session AS SELECT * FROM session_list();
COMMENT ON VIEW v_session IS 'Log-ins that have not expired.';
