DELETE FROM setting WHERE name IN ('webhook_attempts', 'webhook_private');
DELETE FROM job_type WHERE name = 'webhook_deliver';
DROP TABLE webhook_dead_letter, webhook_delivery, webhook_secret, webhook;
DROP TYPE event_place;
DROP TABLE event_era;
DROP INDEX audit_trail_log_event_ix;
