-- Every kind of provisioning at once, and the history of everything.

CREATE VIEW v_provision AS
SELECT p.id, p.tableoid::regclass::text AS kind, s.name AS status, p.result_message, a.name AS accreditation, p.roid, p.job_attempts, p.next_attempt_date,
    p.processing_date, p.provisioned_date, p.finished_date, p.job_id, p.order_item_plan_ids, p.result_data, p.tenant_customer_id, p.org_id
FROM class.provision AS p JOIN provision_status AS s ON s.id = p.status_id JOIN accreditation AS a ON a.id = p.accreditation_id;
COMMENT ON VIEW v_provision IS 'Provision rows of all kinds.';

CREATE VIEW v_audit AS
SELECT l.id, l.logged_date, l.logged_by, l.table_name, l.row_id, l.operation, l.from_state, l.to_state, l.changed, l.reason, l.claim_no, l.tenant_customer_id, l.org_id
FROM audit_trail_log AS l WHERE (SELECT caller_sees_all() OR caller_may('audit.read', caller_customer(), caller_org()));
COMMENT ON VIEW v_audit IS 'History: what happened to a row, WHERE row_id = … ORDER BY id.';
