-- What registries told.

CREATE VIEW v_registry_message AS
SELECT m.id, a.name AS accreditation, m.message_id, m.queued_date, m.kind, m.text, m.data, m.created_date, m.xml, m.accreditation_id
FROM registry_message AS m JOIN accreditation AS a ON a.id = m.accreditation_id;
COMMENT ON VIEW v_registry_message IS 'Messages of registries, as they came.';
