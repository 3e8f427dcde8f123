DROP POLICY tenant ON class.provision;
DROP POLICY worker ON class.provision;
ALTER TABLE class.provision DISABLE ROW LEVEL SECURITY;
DROP FUNCTION caller_sees_all();
DROP FUNCTION caller_org();
DROP FUNCTION caller_customer();
DROP TABLE accreditation, provider, api_key, integration_login, org, tenant_customer, customer, tenant;
