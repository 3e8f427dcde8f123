-- Statements about the rights to use a provider.

-- name: get
SELECT id, name, provider, registrar_id, endpoint, region, role_arn, external_id, secret_ref, settings
FROM accreditation
WHERE id = %(id)s
