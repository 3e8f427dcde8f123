DO $$
DECLARE
    _table regclass;
BEGIN
    FOREACH _table IN ARRAY '{audit_trail_log,class.provision,class.audit,class.audit_trail}'::regclass[] LOOP
        EXECUTE format('DROP POLICY tenant ON %s', _table);
        EXECUTE format('DROP POLICY worker ON %s', _table);
        EXECUTE format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', _table);
    END LOOP;
END $$;
DROP TABLE accreditation, provider, api_key, integration_login, invite_code, membership_space, quota_use, space CASCADE;
DROP FUNCTION class.tenancy_policy(regclass, text), membership_live(uuid);
DROP TABLE membership, role_permission, role, permission, app_user, org, tenant_customer, customer, quota_plan_limit, quota_plan, tenant CASCADE;
DROP FUNCTION caller_spaces(), caller_orgs(), caller_accounts(), caller_customers(), caller_reach(), caller_org(), caller_customer(), caller_sees_all(), caller_platform(), caller_user(), caller_setting(text);
DELETE FROM state_transition WHERE machine IN ('customer', 'membership');
DROP TABLE class.audit_omission, class.audit_mask;
