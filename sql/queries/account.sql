-- Statements about what things cost.

-- name: range
SELECT first_day, after_day FROM account_import_range(%(accreditation)s)

-- name: import
SELECT account_import(%(accreditation)s, %(costs)s) AS changed
