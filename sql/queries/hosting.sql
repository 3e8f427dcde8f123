-- What the converger of web sites asks and tells.

-- name: site
SELECT wpaas_site(%(instance)s) AS site

-- name: password
SELECT value::jsonb AS passwords FROM secret WHERE id = %(id)s

-- name: password_kept
SELECT wpaas_password_kept(%(job)s, %(claim_no)s, %(instance)s, %(provision)s)

-- name: fence
SELECT job_fence(%(job)s, %(claim_no)s)

-- name: observed
SELECT wpaas_observed(%(job)s, %(claim_no)s, %(instance)s, %(found)s)

-- name: resolved
SELECT wpaas_resolved(%(job)s, %(claim_no)s, %(instance)s, %(number)s, %(ref)s, %(artifact)s)

-- name: version_kept
SELECT wpaas_version_kept(%(job)s, %(claim_no)s, %(instance)s, %(number)s, %(snapshot)s)

-- name: secret_kept
SELECT wpaas_secret_kept(%(job)s, %(claim_no)s, %(instance)s)

-- name: switch
SELECT wpaas_switch(%(job)s, %(claim_no)s, %(provision)s)

-- name: expiring
SELECT id, snapshot, key FROM wpaas_expiring(%(instance)s)

-- name: backups_removed
SELECT id, snapshot, key FROM wpaas_backups_removed(%(accreditation)s)

-- name: expired
SELECT wpaas_expired(%(job)s, %(claim_no)s, %(backup)s)

-- name: dumped
SELECT wpaas_dumped(%(job)s, %(claim_no)s, %(backup)s, %(bytes)s, %(url)s, %(until)s)

-- name: tidied
SELECT wpaas_tidied(%(job)s, %(claim_no)s, %(download)s)

-- name: downloads_left
SELECT data FROM wpaas_downloads_left(%(accreditation)s)

-- name: dumps_old
SELECT id, key FROM wpaas_dumps_old(%(accreditation)s)

-- name: dump_gone
SELECT wpaas_dump_gone(%(job)s, %(claim_no)s, %(backup)s)

-- name: strays
SELECT arn FROM wpaas_strays(%(job)s, %(claim_no)s, %(accreditation)s, %(found)s)
