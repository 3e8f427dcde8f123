-- Statements about verification codes that are to be mailed.

-- name: mail
SELECT sender, region, email, name, code FROM verification_mail(%(verification)s)

-- name: mailed
SELECT verification_mailed(%(verification)s)
