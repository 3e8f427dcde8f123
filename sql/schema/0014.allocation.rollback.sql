DELETE FROM order_operation WHERE name LIKE 'allocation.%';
DELETE FROM job_type WHERE name LIKE '%allocation\_%';
DELETE FROM setting WHERE name IN ('login_token_days', 'invoice_due_days', 'project_backend_id_unique', 'attempt_token_limit', 'attempt_token_seconds');
DELETE FROM state_transition WHERE machine IN ('offering', 'allocation', 'allocation_order');
DELETE FROM role_permission WHERE permission LIKE 'allocation.%' OR permission = 'offering.change';
ALTER POLICY tenant ON app_user USING ((SELECT caller_sees_all()) OR id = (SELECT caller_user()) OR id IN (SELECT user_id FROM membership WHERE state <> 'removed')
    OR customer_id IN (SELECT customer_id FROM tenant_customer WHERE id = ANY ((SELECT caller_customers())::uuid[])));
DROP TABLE offering_manager CASCADE;
DROP FUNCTION caller_offerings() CASCADE;
DELETE FROM role WHERE scope = 'offering';
ALTER TABLE role DROP CONSTRAINT role_scope_ck, ADD CONSTRAINT role_scope_ck CHECK (scope IN ('platform', 'customer', 'org'));
COMMENT ON COLUMN role.scope IS 'The least it can be held in: org, customer or platform.';
DELETE FROM permission WHERE name LIKE 'allocation.%' OR name = 'offering.change';
DELETE FROM class.audit_mask WHERE table_name = 'remote_user';
DELETE FROM class.provision_kind WHERE table_name LIKE 'provision\_allocation%';
DROP TABLE provision_allocation, provision_allocation_update, provision_allocation_terminate;
DROP TABLE login_token, remote_user, invoice_item, invoice, allocation_user_usage, allocation_usage, allocation_limit, allocation_period, allocation_order, allocation,
    offering_plan_component, offering_plan, offering_pool, offering_component CASCADE;
DROP TABLE offering, offering_grant CASCADE;
DROP TABLE offering_category, project, registry_person;
ALTER TABLE customer DROP COLUMN abbreviation, DROP COLUMN native_name, DROP COLUMN backend_id, DROP COLUMN profile;
ALTER POLICY tenant ON org USING ((SELECT caller_sees_all()) OR id = ANY ((SELECT caller_orgs())::uuid[]));
ALTER POLICY tenant ON membership USING ((SELECT caller_sees_all()) OR user_id = (SELECT caller_user()) OR tenant_customer_id = ANY ((SELECT caller_customers())::uuid[]) OR org_id = ANY ((SELECT caller_orgs())::uuid[]));
DROP FUNCTION caller_direct_orgs();
ALTER TABLE org DROP CONSTRAINT org_name_ck, ADD CONSTRAINT org_name_ck CHECK (name <> '' AND length(name) <= 255);
DELETE FROM login_attempt WHERE kind = 'token';
ALTER TABLE login_attempt DROP CONSTRAINT login_attempt_kind_ck, ADD CONSTRAINT login_attempt_kind_ck CHECK (kind IN ('user', 'address', 'register'));
