DELETE FROM setting WHERE name LIKE 'account\_%';
DELETE FROM schedule WHERE job_type = 'account_import';
DELETE FROM job_type WHERE name = 'account_import';
ALTER TABLE cluster_clock DROP COLUMN metered_date, DROP COLUMN money_date;
DROP TABLE cluster_usage, account_cost, cost_tag, account_entry, account_balance, account;
DELETE FROM role_permission WHERE permission = 'account.read';
DELETE FROM permission WHERE name = 'account.read';
