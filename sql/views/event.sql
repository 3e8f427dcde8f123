-- Events and webhooks.

CREATE VIEW v_event AS
SELECT format('%s-%s-%s', (SELECT max(e.id) FROM event_era AS e WHERE e.after_id < l.id), l.xid, l.id) AS id,
    event_type(l.table_name, l.operation, l.to_state, l.changed) AS type, l.logged_date AS time, l.table_name AS subject_table, l.row_id AS subject_id,
    l.from_state, l.to_state, event_changed(l.operation, l.changed) AS changed, l.reason, o.id AS order_id, o.external_reference, o.traceparent, l.tenant_customer_id, l.org_id
FROM audit_trail_log AS l
LEFT JOIN LATERAL (
    SELECT s.order_id FROM class.provision AS p JOIN order_item_plan AS s ON s.id = p.order_item_plan_ids[1] WHERE p.id = l.row_id AND event_begets(l.table_name, l.operation)) AS s ON true
LEFT JOIN "order" AS o ON o.id = CASE WHEN l.table_name = 'order' THEN l.row_id ELSE s.order_id END
WHERE event_is_one(l.table_name) AND l.tenant_customer_id IS NOT NULL;
COMMENT ON VIEW v_event IS 'What happened to customers'' rows, as clients are told it. To follow events without missing one: event_page().';

CREATE VIEW v_webhook AS
SELECT w.id, w.url, w.types, w.is_active, w.version, d.delivered_date, d.failures, d.failing_since, CASE WHEN d.failures > 0 THEN d.last_error END AS last_error,
    (SELECT count(*) FROM webhook_dead_letter AS l WHERE l.webhook_id = w.id) AS dead_letters, w.created_date, w.updated_date, w.tenant_customer_id, w.org_id
FROM webhook AS w JOIN webhook_delivery AS d ON d.webhook_id = w.id;
COMMENT ON VIEW v_webhook IS 'Webhooks and how their deliveries go. Act with webhook_create, webhook_change, webhook_remove, webhook_secret_rotate, webhook_redeliver.';

CREATE VIEW v_webhook_dead_letter AS
SELECT l.id, l.webhook_id, l.event, l.attempts, l.reason, l.created_date, l.requested_date, l.tenant_customer_id, l.org_id FROM webhook_dead_letter AS l;
COMMENT ON VIEW v_webhook_dead_letter IS 'Events that webhooks did not take.';
