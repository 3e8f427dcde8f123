-- depends: 0007.session
--
-- The outbox is audit_trail_log: whatever is logged of a customer's rows is an event, written by the transaction that did
-- it. event_page() reads events in the order (era, xid, id) and only those below the oldest transaction that is still
-- open, so whoever goes on from the last id it got misses nothing. Transaction numbers go back when a backup is restored
-- or a standby promoted; from then on it is another era, which event_era_check() notices. A webhook is sent its events by
-- the job webhook_deliver; those that it would not take are dead letters.

CREATE INDEX audit_trail_log_event_ix ON audit_trail_log (tenant_customer_id, xid, id);

CREATE TABLE event_era (
    id bigint NOT NULL,
    cluster text NOT NULL,
    after_id bigint NOT NULL,
    watermark_id bigint NOT NULL,
    watermark_date timestamptz NOT NULL DEFAULT engine_now(),
    CONSTRAINT event_era_pk PRIMARY KEY (id)
);
COMMENT ON TABLE event_era IS 'Times in which transaction numbers only rose. A restore or a promotion begins the next.';
COMMENT ON COLUMN event_era.id IS 'When it began, in seconds since 1970: an era that a restore has undone is followed by one with a higher number.';
COMMENT ON COLUMN event_era.cluster IS 'Where: system identifier and timeline of the server.';
COMMENT ON COLUMN event_era.after_id IS 'Entries of audit_trail_log with a higher id, up to the after_id of the next era, are its events.';
COMMENT ON COLUMN event_era.watermark_id IS 'An id that had been given out when this was last noted, about once a minute; if the server is restored, the next era begins here.';
COMMENT ON COLUMN event_era.watermark_date IS 'When it was noted.';
INSERT INTO event_era (id, cluster, after_id, watermark_id)
SELECT extract(EPOCH FROM clock_timestamp())::bigint, system_identifier || ' ' || left(pg_walfile_name(pg_current_wal_lsn()), 8), 0, 0 FROM pg_control_system();

CREATE TYPE event_place AS (era bigint, xid xid8, id bigint);
COMMENT ON TYPE event_place IS 'A place among the events; as text era-xid-id, the id of the event that lies there.';

-- Webhooks -----------------------------------------------------------------------------------------------------------

CREATE TABLE webhook (
    id uuid NOT NULL DEFAULT new_id(),
    tenant_customer_id uuid NOT NULL,
    org_id uuid,
    url text NOT NULL,
    types text[] NOT NULL DEFAULT '{}',
    is_active boolean NOT NULL DEFAULT true,
    version bigint NOT NULL DEFAULT 1,
    CONSTRAINT webhook_pk PRIMARY KEY (id),
    CONSTRAINT webhook_tenant_customer_fk FOREIGN KEY (tenant_customer_id) REFERENCES tenant_customer (id),
    CONSTRAINT webhook_org_fk FOREIGN KEY (tenant_customer_id, org_id) REFERENCES org (tenant_customer_id, id)
) INHERITS (class.audit_trail);
CREATE INDEX webhook_tenant_customer_ix ON webhook (tenant_customer_id, id);
SELECT class.copy_comments('class.audit_trail', 'webhook');
SELECT class.tenant_policy('webhook');
COMMENT ON TABLE webhook IS 'Where a customer wants its events sent.';
COMMENT ON COLUMN webhook.id IS 'Id.';
COMMENT ON COLUMN webhook.tenant_customer_id IS 'Whose it is.';
COMMENT ON COLUMN webhook.org_id IS 'The org whose events it gets; NULL: all of the customer''s.';
COMMENT ON COLUMN webhook.url IS 'Where events are posted.';
COMMENT ON COLUMN webhook.types IS 'Types of events it gets, such as order.completed or domain.*; empty: all.';
COMMENT ON COLUMN webhook.is_active IS 'Whether events are sent; what happens meanwhile is sent when it is active again.';
COMMENT ON COLUMN webhook.version IS 'Raised by every change.';

CREATE TABLE webhook_secret (
    webhook_id uuid NOT NULL,
    secret text NOT NULL,
    previous_secret text,
    previous_until timestamptz,
    CONSTRAINT webhook_secret_pk PRIMARY KEY (webhook_id),
    CONSTRAINT webhook_secret_webhook_fk FOREIGN KEY (webhook_id) REFERENCES webhook (id) ON DELETE CASCADE,
    CONSTRAINT webhook_secret_previous_ck CHECK ((previous_secret IS NULL) = (previous_until IS NULL))
);
COMMENT ON TABLE webhook_secret IS 'What deliveries are signed with. Nobody has rights on it; workers get it with what they send.';
COMMENT ON COLUMN webhook_secret.webhook_id IS 'The webhook.';
COMMENT ON COLUMN webhook_secret.secret IS 'The secret, shown once when it is made.';
COMMENT ON COLUMN webhook_secret.previous_secret IS 'The one before; deliveries are signed with both for a day.';
COMMENT ON COLUMN webhook_secret.previous_until IS 'Until when.';

CREATE TABLE webhook_delivery (
    webhook_id uuid NOT NULL,
    place text NOT NULL,
    job_id uuid,
    failures int NOT NULL DEFAULT 0,
    failing_since timestamptz,
    last_error text,
    delivered_date timestamptz,
    CONSTRAINT webhook_delivery_pk PRIMARY KEY (webhook_id),
    CONSTRAINT webhook_delivery_webhook_fk FOREIGN KEY (webhook_id) REFERENCES webhook (id) ON DELETE CASCADE,
    CONSTRAINT webhook_delivery_failing_ck CHECK ((failures > 0) = (failing_since IS NOT NULL))
) WITH (fillfactor = 50);
COMMENT ON TABLE webhook_delivery IS 'How far the events of a webhook have been sent. Not logged: it would be an event.';
COMMENT ON COLUMN webhook_delivery.webhook_id IS 'The webhook.';
COMMENT ON COLUMN webhook_delivery.place IS 'Id of the last event that is dealt with.';
COMMENT ON COLUMN webhook_delivery.job_id IS 'The job that sends.';
COMMENT ON COLUMN webhook_delivery.failures IS 'How often the next event was refused.';
COMMENT ON COLUMN webhook_delivery.failing_since IS 'Since when.';
COMMENT ON COLUMN webhook_delivery.last_error IS 'Why, the last time.';
COMMENT ON COLUMN webhook_delivery.delivered_date IS 'When an event was last taken.';

SELECT class.tenancy_policy('webhook_delivery', 'webhook_id IN (SELECT id FROM webhook)');

CREATE TABLE webhook_dead_letter (
    id uuid NOT NULL DEFAULT new_id(),
    webhook_id uuid NOT NULL,
    tenant_customer_id uuid NOT NULL,
    org_id uuid,
    event jsonb NOT NULL,
    attempts int NOT NULL,
    reason text NOT NULL,
    created_date timestamptz NOT NULL DEFAULT engine_now(),
    requested_date timestamptz,
    CONSTRAINT webhook_dead_letter_pk PRIMARY KEY (id),
    CONSTRAINT webhook_dead_letter_webhook_fk FOREIGN KEY (webhook_id) REFERENCES webhook (id) ON DELETE CASCADE
);
CREATE INDEX webhook_dead_letter_webhook_ix ON webhook_dead_letter (webhook_id, id);
SELECT class.tenant_policy('webhook_dead_letter');
COMMENT ON TABLE webhook_dead_letter IS 'Events that a webhook did not take, however often they were sent. webhook_redeliver() sends them once more.';
COMMENT ON COLUMN webhook_dead_letter.id IS 'Id.';
COMMENT ON COLUMN webhook_dead_letter.webhook_id IS 'The webhook.';
COMMENT ON COLUMN webhook_dead_letter.tenant_customer_id IS 'Whose it is.';
COMMENT ON COLUMN webhook_dead_letter.org_id IS 'The org of the webhook.';
COMMENT ON COLUMN webhook_dead_letter.event IS 'The event.';
COMMENT ON COLUMN webhook_dead_letter.attempts IS 'How often it was sent.';
COMMENT ON COLUMN webhook_dead_letter.reason IS 'Why it was not taken, the last time.';
COMMENT ON COLUMN webhook_dead_letter.created_date IS 'When it was given up.';
COMMENT ON COLUMN webhook_dead_letter.requested_date IS 'When somebody asked to send it once more; it goes when it is taken.';

INSERT INTO job_type VALUES ('webhook_deliver', 'sends a webhook its events', 20);
INSERT INTO setting VALUES
    ('webhook_attempts', '12', 'an event that a webhook refused so often becomes a dead letter, and the next is sent'),
    ('webhook_private', 'false', 'whether webhooks may lie at private addresses and speak http: for tests and demos');
