-- Statements of the actions on contacts.

-- name: auth_info
-- Read by row because it is in no job: data of jobs is seen by too many.
SELECT pw FROM provision_contact WHERE id = %(id)s
