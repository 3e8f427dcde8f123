-- Statements of the actions on domains.

-- name: auth_info
-- Read by row because it is in no job: data of jobs is seen by too many.
SELECT pw FROM provision_domain WHERE id = %(id)s

-- name: new_auth_info
SELECT pw FROM provision_domain_update WHERE id = %(id)s

-- name: contacts_of_registration
-- For providers that have no contacts of their own, and want their details with the domain.
SELECT d.type, c.name, c.organization, c.street, c.city, c.state, c.postal_code, c.country_code, c.phone, c.fax, c.email
FROM provision_domain_contact AS d JOIN contact AS c ON c.id = d.contact_id
WHERE d.provision_domain_id = %(id)s ORDER BY d.type, c.id

-- name: contacts_of_change
-- Of a domain that is changed, or transferred here.
SELECT t.key AS type, c.name, c.organization, c.street, c.city, c.state, c.postal_code, c.country_code, c.phone, c.fax, c.email
FROM (SELECT id, tenant_customer_id, contacts FROM provision_domain_update UNION ALL SELECT id, tenant_customer_id, contacts FROM provision_domain_transfer) AS p
CROSS JOIN LATERAL jsonb_each(p.contacts) AS t CROSS JOIN LATERAL jsonb_array_elements_text(t.value) AS x (id) JOIN contact AS c ON c.id = x.id::uuid
WHERE p.id = %(id)s AND c.tenant_customer_id = p.tenant_customer_id ORDER BY t.key, c.id

-- name: keep_auth_info
SELECT domain_auth_code_keep(%(id)s, %(code)s)

-- name: secret
-- Of a transfer: what the holder told, by the id of the row, and what the name is given when it is here, by that of the job.
SELECT value FROM secret WHERE id = %(id)s

-- name: transfer_within
-- Whether a name only changes hands here, and may.
SELECT * FROM transfer_within(%(job)s, %(claim_no)s)

-- name: asked_since
-- When a job was made, as text: what it asked for outside is not older.
SELECT to_char(created_date AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS since FROM job WHERE id = %(job)s
