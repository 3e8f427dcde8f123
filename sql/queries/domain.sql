-- Statements of the actions on domains.

-- name: auth_info
-- Read by row because it is in no job: data of jobs is seen by too many.
SELECT pw FROM provision_domain WHERE id = %(id)s

-- name: new_auth_info
SELECT pw FROM provision_domain_update WHERE id = %(id)s
