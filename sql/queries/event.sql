-- Statements of the worker's deliveries to webhooks.

-- name: take
SELECT url, secrets, may_be_private, id, event, dead_letter FROM webhook_take(%(webhook)s)

-- name: delivered
SELECT webhook_delivered(%(job)s, %(claim_no)s, %(webhook)s, %(id)s, %(dead_letter)s, %(is_event)s) AS go_on

-- name: failed
SELECT webhook_failed(%(job)s, %(claim_no)s, %(webhook)s, %(id)s, %(dead_letter)s, %(event)s, %(reason)s) AS seconds
