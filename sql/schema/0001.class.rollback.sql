DROP TABLE audit_trail_log, state_transition, class.provision, provision_status;
DROP SCHEMA class CASCADE;
DROP SEQUENCE audit_trail_log_id_seq;
DROP FUNCTION refuse(text, text, text, text);
DROP FUNCTION caller_name();
DROP FUNCTION tc_id_from_name(text, text);
DROP FUNCTION engine_now();
DROP FUNCTION new_id(uuid, text);
DROP FUNCTION new_id();
