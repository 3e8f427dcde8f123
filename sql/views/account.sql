-- Accounts, for operators; and what was credited and spent, for those who may see it.

CREATE VIEW v_account AS
SELECT a.id, o.slug AS org, b.balance, a.monthly_allowance, a.max_allowance, b.warning_level, b.next_allowance_date, a.created_date, a.tenant_customer_id, a.org_id
FROM account AS a JOIN account_balance AS b ON b.account_id = a.id JOIN org AS o ON o.id = a.org_id;
COMMENT ON VIEW v_account IS 'Accounts and their balances as they were last counted. Act with account_configure; more of one: account_document.';

CREATE VIEW v_account_entry AS
SELECT e.id, o.slug AS org, e.kind, e.month, e.amount, e.description, e.created_date, e.created_by, e.tenant_customer_id, e.org_id
FROM account_entry AS e JOIN org AS o ON o.id = e.org_id WHERE (SELECT caller_sees_all()) OR caller_may('account.read', e.tenant_customer_id, e.org_id);
COMMENT ON VIEW v_account_entry IS 'What was credited to accounts.';

CREATE VIEW v_account_cost AS
SELECT c.day, o.slug AS org, t.module, c.tag, c.charged, c.metered, c.actual, c.imported_date, c.tenant_customer_id, c.org_id
FROM account_cost AS c JOIN cost_tag AS t ON t.tag = c.tag JOIN org AS o ON o.id = c.org_id WHERE (SELECT caller_sees_all()) OR caller_may('account.read', c.tenant_customer_id, c.org_id);
COMMENT ON VIEW v_account_cost IS 'What was spent, by day and cost tag.';
