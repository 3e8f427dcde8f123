-- Statements of the reconcile pass: what the database believes to exist at one accreditation.

-- name: inventory
-- A page of it, in the order of table and id, after the given place.
SELECT thing.table_name, thing.id, thing.name, thing.missing_reason
FROM (
    SELECT 'allocation' AS table_name, id, backend_id AS name, missing_reason FROM allocation
    WHERE accreditation_id = %(accreditation)s AND deleted_date IS NULL AND backend_id <> '' AND state <> 'creating'
    UNION ALL
    SELECT 'certificate', id, arn, missing_reason FROM certificate
    WHERE accreditation_id = %(accreditation)s AND revoked_date IS NULL
    UNION ALL
    SELECT 'compute_cluster', id, arn, missing_reason FROM compute_cluster WHERE accreditation_id = %(accreditation)s AND state = 'active' AND arn IS NOT NULL
    UNION ALL
    -- Without those that came with a name: they may be its former registrar's.
    SELECT 'contact', id, handle, missing_reason FROM contact WHERE accreditation_id = %(accreditation)s AND deleted_date IS NULL AND id IN (SELECT id FROM provision_contact)
    UNION ALL
    SELECT 'domain', id, name::text, missing_reason FROM domain WHERE accreditation_id = %(accreditation)s AND deleted_date IS NULL
    UNION ALL
    SELECT 'host', id, name::text, missing_reason FROM host WHERE accreditation_id = %(accreditation)s AND deleted_date IS NULL AND host_is_object(%(accreditation)s)
    UNION ALL
    -- The last snapshots of sites that are gone are their owners' to remove.
    SELECT 'wpaas_backup', id, snapshot, missing_reason FROM wpaas_backup WHERE accreditation_id = %(accreditation)s AND expired_date IS NULL AND removal_date IS NULL AND reason <> 'final'
) AS thing
WHERE (thing.table_name, thing.id) > (%(after_table)s::text, %(after_id)s::uuid)
ORDER BY thing.table_name, thing.id
LIMIT %(limit)s

-- name: is_known
-- Whether a thing found outside has its row; then no crash has left it behind.
SELECT EXISTS (
    SELECT FROM allocation WHERE accreditation_id = %(accreditation)s AND (backend_id = %(name)s OR %(name)s LIKE 'allocation-' || id || '-%%')
    UNION ALL
    SELECT FROM certificate WHERE accreditation_id = %(accreditation)s AND arn = %(name)s
    UNION ALL
    SELECT FROM compute_cluster WHERE accreditation_id = %(accreditation)s AND deleted_date IS NULL AND (arn = %(name)s OR security_group = %(name)s)
    UNION ALL
    SELECT FROM contact WHERE accreditation_id = %(accreditation)s AND handle = %(name)s AND deleted_date IS NULL
    UNION ALL
    SELECT FROM domain WHERE accreditation_id = %(accreditation)s AND name = %(name)s AND deleted_date IS NULL
    UNION ALL
    SELECT FROM host WHERE accreditation_id = %(accreditation)s AND name = %(name)s AND deleted_date IS NULL
    UNION ALL
    SELECT WHERE wpaas_is_known(%(accreditation)s, %(name)s)
) AS is_known

-- name: accreditations
-- Where a pass over everything goes.
SELECT id, name FROM accreditation WHERE is_active AND provider <> 'manual' ORDER BY name
