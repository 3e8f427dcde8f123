-- The inventory of names, contacts and hosts.

CREATE VIEW v_contact AS
SELECT c.id, c.reference, c.handle, a.name AS accreditation, c.name, c.organization, c.street, c.city, c.state, c.postal_code, c.country_code, c.email, c.phone, c.fax, c.roid, c.created_date, c.deleted_date, c.missing_reason, c.tenant_customer_id, c.org_id
FROM contact AS c JOIN accreditation AS a ON a.id = c.accreditation_id;
COMMENT ON VIEW v_contact IS 'Contacts at registries.';

CREATE VIEW v_host AS
SELECT h.id, h.name, h.addresses, a.name AS accreditation, h.roid, h.created_date, h.deleted_date, h.missing_reason, h.tenant_customer_id, h.org_id
FROM host AS h JOIN accreditation AS a ON a.id = h.accreditation_id;
COMMENT ON VIEW v_host IS 'Name servers known to registries.';

CREATE VIEW v_domain AS
SELECT d.id, d.name, a.name AS accreditation, d.ry_created_date, d.ry_expiry_date, d.roid,
    (SELECT jsonb_object_agg(x.type, x.refs) FROM (SELECT dc.type, jsonb_agg(c.reference ORDER BY c.reference) AS refs FROM domain_contact AS dc JOIN contact AS c ON c.id = dc.contact_id WHERE dc.domain_id = d.id GROUP BY 1) AS x) AS contacts,
    (SELECT array_agg(h.name::text ORDER BY h.name) FROM domain_host AS dh JOIN host AS h ON h.id = dh.host_id WHERE dh.domain_id = d.id) AS hosts,
    d.statuses, d.ds_records, CASE WHEN d.purge_date IS NOT NULL OR d.rgp_until > engine_now() THEN d.rgp_state END AS rgp_state,
    CASE WHEN d.purge_date IS NOT NULL OR d.rgp_until > engine_now() THEN d.rgp_until END AS rgp_until, d.purge_date, d.auto_renew, d.transfer_registrar, d.transfer_due,
    d.created_date, d.deleted_date, d.missing_reason, d.tenant_customer_id, d.org_id
FROM domain AS d JOIN accreditation AS a ON a.id = d.accreditation_id;
COMMENT ON VIEW v_domain IS 'Registered names with their contacts, name servers and the grace period they are in.';
