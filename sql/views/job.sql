-- Jobs, workers and what needs a person.

CREATE VIEW v_job AS
SELECT j.id, j.type, CASE WHEN l.job_id IS NOT NULL THEN 'processing' ELSE j.status END AS status, a.name AS accreditation, j.attempts, j.max_attempts, j.result_message,
    CASE WHEN j.finished_date IS NULL AND l.job_id IS NULL AND j.held_at IS NULL THEN j.start_date END AS next_attempt_date, j.held_at, w.name AS worker, l.claim_no,
    j.priority, j.reference_table, j.reference_id, j.parent_id, j.open_count AS open_children, j.data, j.state, j.result,
    j.created_date, j.finished_date, j.traceparent, j.tenant_customer_id, j.org_id, j.accreditation_id
FROM job AS j LEFT JOIN job_lease AS l ON l.job_id = j.id LEFT JOIN worker AS w ON w.id = l.worker_id LEFT JOIN accreditation AS a ON a.id = j.accreditation_id;
COMMENT ON VIEW v_job IS 'Jobs; processing: a worker holds it. Act with job_retry, job_cancel, job_hold, job_release, job_complete.';

CREATE VIEW v_worker AS
SELECT w.id, w.name, w.host, w.pid, w.version, w.started_date, w.heartbeat_date, clock_timestamp() - w.heartbeat_date AS silent_for,
    (SELECT count(*) FROM job_lease AS l WHERE l.worker_id = w.id) AS jobs, w.types
FROM worker AS w;
COMMENT ON VIEW v_worker IS 'Workers that are alive, and how many jobs each holds.';

CREATE VIEW v_lane AS
SELECT l.lane AS accreditation_id, a.name AS accreditation, l.priority, a.max_concurrency,
    (SELECT count(*) FROM job_queue AS q WHERE q.lane = l.lane AND q.priority = l.priority AND q.start_date <= engine_now()) AS due,
    (SELECT count(*) FROM job_queue AS q WHERE q.lane = l.lane AND q.priority = l.priority AND q.start_date > engine_now()) AS later,
    (SELECT count(*) FROM job_lease AS s WHERE s.lane = l.lane) AS running,
    a.held_date, a.held_reason
FROM job_lane AS l LEFT JOIN accreditation AS a ON a.id = l.lane
WHERE EXISTS (SELECT FROM job_queue AS q WHERE q.lane = l.lane AND q.priority = l.priority) OR l.claimed_date > '-infinity';
COMMENT ON VIEW v_lane IS 'Queues that are or were in use: how much is due, waits for later, and runs, per accreditation and priority.';

CREATE VIEW v_effect AS
SELECT e.job_id, e.step, e.status, e.external_name, e.attempt, a.name AS accreditation, e.reference_table, e.reference_id, e.parameters, e.result, e.token, e.claim_no, e.intended_date, e.finished_date
FROM effect AS e LEFT JOIN accreditation AS a ON a.id = e.accreditation_id;
COMMENT ON VIEW v_effect IS 'Calls to the outside: intended before they were made, and what came of them.';

CREATE VIEW v_attention AS
SELECT 'held job' AS what, j.id, format('%s of %s is held%s%s', j.type, COALESCE(a.name, '-'), CASE WHEN a.provider = 'manual' THEN ' for a person to do' ELSE '' END, ': ' || j.result_message) AS reason,
    CASE WHEN a.provider = 'manual' THEN format('SELECT job_complete(%L, ''{"roid": "…"%s}'')', j.id, (SELECT string_agg(format(', "%s": "…"', c), '' ORDER BY n) FROM unnest(k.result_columns) WITH ORDINALITY AS r (c, n)))
        ELSE format('SELECT job_release(%L)', j.id) END AS call, j.held_at AS since
FROM job AS j LEFT JOIN accreditation AS a ON a.id = j.accreditation_id LEFT JOIN class.provision_kind AS k ON k.table_name = j.reference_table WHERE j.held_at IS NOT NULL AND j.finished_date IS NULL
UNION ALL
SELECT 'held accreditation', a.id, format('%s is held: %s; %s jobs wait', a.name, a.held_reason, (SELECT count(*) FROM job_queue AS q WHERE q.lane = a.id)), format('SELECT accreditation_release(%L)', a.id), a.held_date
FROM accreditation AS a WHERE a.held_date IS NOT NULL
UNION ALL
SELECT 'failing job', j.id, format('%s failed %s of %s times: %s', j.type, j.attempts, j.max_attempts, j.result_message), format('SELECT job_retry(%L)', j.id), j.created_date
FROM job AS j JOIN job_queue AS q ON q.job_id = j.id WHERE j.attempts >= 3
UNION ALL
SELECT 'approval', i.id, i.operation || ' waits for an approval', format('SELECT order_item_approve(%L)', i.id), i.created_date FROM order_item AS i WHERE i.status = 'waiting'
UNION ALL
SELECT 'orphan', o.reference_id, format('%s exist%s outside though its row did not complete', array_to_string(o.names, ', '), CASE WHEN cardinality(o.names) = 1 THEN 's' END),
    format('SELECT provision_adopt(%L, %L) or provision_forget(%1$L)', o.reference_id, o.names[1]), o.since
FROM (
    SELECT e.job_id, e.reference_id, array_agg(COALESCE(e.external_name, e.step) ORDER BY e.intended_date, e.step) AS names, min(e.finished_date) AS since
    FROM effect AS e WHERE e.status = 'orphaned' GROUP BY 1, 2) AS o
UNION ALL
SELECT 'uncertain effect', e.reference_id, format('%s was begun and its job has ended; nobody knows whether it happened', e.step), 'provision reconcile', e.intended_date
FROM effect AS e JOIN job AS j ON j.id = e.job_id WHERE e.status = 'intended' AND j.finished_date IS NOT NULL
UNION ALL
SELECT 'missing ' || m.what, m.id, m.name || ': ' || m.missing_reason, 'find out what happened outside', m.updated_date
FROM (
    SELECT 'contact' AS what, id, reference AS name, missing_reason, updated_date FROM contact WHERE deleted_date IS NULL
    UNION ALL SELECT 'host', id, name, missing_reason, updated_date FROM host WHERE deleted_date IS NULL
    UNION ALL SELECT 'domain', id, name, missing_reason, updated_date FROM domain WHERE deleted_date IS NULL
    UNION ALL SELECT 'compute cluster', id, name, missing_reason, updated_date FROM compute_cluster WHERE deleted_date IS NULL
    UNION ALL SELECT 'backup', id, snapshot, missing_reason, updated_date FROM wpaas_backup WHERE expired_date IS NULL
    UNION ALL SELECT 'certificate', id, domain_name, missing_reason, updated_date FROM certificate WHERE revoked_date IS NULL) AS m
WHERE m.missing_reason IS NOT NULL
UNION ALL
SELECT 'open gate', p.id, 'registration of ' || p.name || ' has waited for its contacts and hosts for over an hour', format('SELECT provision_cancel(%L)', p.id), p.created_date
FROM provision_domain AS p WHERE p.status_id = tc_id_from_name('provision_status', 'pending') AND p.created_date < engine_now() - interval '1 hour'
UNION ALL
SELECT 'web site', i.id, format('%s: %s', i.hostname, i.alarm), format('SELECT wpaas_converge(%L)', i.id), i.alarm_date FROM wpaas_instance AS i WHERE i.alarm IS NOT NULL AND i.deleted_date IS NULL
UNION ALL
SELECT 'stray', s.accreditation_id, format('%s in %s has the tag of a web site that is not there', s.arn, a.name), CASE WHEN s.arn ~ ':(rds|elasticfilesystem|secretsmanager|s3):' THEN 'it holds data: remove it at AWS when nobody needs them'
    ELSE 'nothing: it is removed when it was seen for an hour' END, s.seen_date
FROM wpaas_stray AS s JOIN accreditation AS a ON a.id = s.accreditation_id
UNION ALL
SELECT 'failing webhook', w.id, format('%s did not take an event %s times: %s', w.url, d.failures, d.last_error), format('SELECT webhook_change(%L, ''{"is_active": false}'') if nobody mends it', w.id), d.failing_since
FROM webhook AS w JOIN webhook_delivery AS d ON d.webhook_id = w.id WHERE w.is_active AND d.failures >= 3
UNION ALL
SELECT 'dead letters', l.webhook_id, format('%s events were not taken by %s: %s', count(*), w.url, min(l.reason)), format('SELECT webhook_redeliver(%L)', l.webhook_id), min(l.created_date)
FROM webhook_dead_letter AS l JOIN webhook AS w ON w.id = l.webhook_id WHERE l.requested_date IS NULL GROUP BY l.webhook_id, w.url
UNION ALL
SELECT 'cluster', c.id, format('%s is %s: %s', o.slug, c.state, COALESCE(c.failure, c.drift)), format('SELECT cluster_refresh(%L)', c.org_id), COALESCE(k.retry_date, c.deleted_date, k.observed_date)
FROM cluster AS c JOIN org AS o ON o.id = c.org_id JOIN cluster_clock AS k ON k.cluster_id = c.id WHERE k.failures > 0
UNION ALL
SELECT 'customer to be removed', c.id, format('%s (%s) is removed for good on %s%s', c.name, c.cid, to_char(c.removal_date, 'YYYY-MM-DD'),
    (SELECT '; it still has ' || string_agg(things_in('tenant_customer_id', a.id), ', ') FROM tenant_customer AS a WHERE a.customer_id = c.id)), format('SELECT customer_restore(%L)', c.id), c.updated_date
FROM customer AS c WHERE c.status = 'to_be_removed' AND c.removed_date IS NULL
UNION ALL
SELECT 'verification', v.id, format('%s waits for the code that shows that %s is theirs', u.username, u.email), format('SELECT code FROM v_verification WHERE id = %L', v.id), v.created_date
FROM verification AS v JOIN app_user AS u ON u.id = v.user_id WHERE v.code IS NOT NULL AND (SELECT value FROM setting WHERE name = 'mail_from') = ''
UNION ALL
SELECT 'no worker', NULL, format('%s jobs are due and no worker is alive', count(*)), 'provision worker', min(q.start_date)
FROM job_queue AS q WHERE q.start_date <= engine_now() AND NOT EXISTS (SELECT FROM worker) HAVING count(*) > 0
UNION ALL
SELECT 'audit', NULL, format('%s entries lie outside every monthly partition', count(*)), 'SELECT class.log_partitions()', min(d.logged_date) FROM audit_trail_log_default AS d HAVING count(*) > 0;
COMMENT ON VIEW v_attention IS 'What needs a person: why, since when, and the call that deals with it.';
