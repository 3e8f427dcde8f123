-- Who may do what. Everything is taken away first, so that a right exists only if it stands here.
--
-- provision_owner owns all and logs in nowhere. provision_api calls the functions clients may call. provision_worker claims,
-- records, and reads what actions need. provision_operator reads the views and has the operators' functions.
-- provision_integration, for other systems, inserts given columns and reads views of its own rows. provision_reader owns the
-- views, so that row-level security applies to whoever reads them.

REVOKE ALL ON ALL TABLES IN SCHEMA public, class FROM PUBLIC, provision_api, provision_worker, provision_operator, provision_integration, provision_reader;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public, class FROM PUBLIC, provision_api, provision_worker, provision_operator, provision_integration, provision_reader;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public, class FROM PUBLIC, provision_api, provision_worker, provision_operator, provision_integration, provision_reader;
GRANT USAGE ON SCHEMA public TO provision_api, provision_worker, provision_operator, provision_integration, provision_reader;
GRANT USAGE ON SCHEMA class TO provision_reader, provision_worker, provision_operator, provision_integration;

-- Pure functions that defaults, checks, policies and views call in everybody's name.
GRANT EXECUTE ON FUNCTION new_id(), engine_now(), caller_name(), caller_setting(text), caller_user(), caller_platform(), caller_customer(), caller_org(), caller_customers(), caller_accounts(), caller_orgs(),
    caller_spaces(), caller_sees_all(), caller_may(text, uuid, uuid), tc_id_from_name(text, text), tc_gen_password(int), refuse(text, text, text, text) TO PUBLIC;

-- Views run as provision_reader, under its policies.
GRANT SELECT ON ALL TABLES IN SCHEMA public, class TO provision_reader;
REVOKE ALL ON secret, api_key, integration_login, webhook_secret, credential, identity, identity_flow, signing_key, session, refresh_token, access_token, login_attempt, login_token FROM provision_reader;
GRANT SELECT (id, user_id, tenant_customer_id, org_id, name, prefix, expires_date, revoked_date, version, created_date, updated_date) ON api_key TO provision_reader;
DO $$
DECLARE
    _view text;
BEGIN
    FOR _view IN SELECT c.relname FROM pg_class AS c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'v' AND c.relname LIKE 'v\_%' LOOP
        EXECUTE format('ALTER VIEW %I OWNER TO provision_reader', _view);
        EXECUTE format('REVOKE ALL ON %I FROM PUBLIC', _view);
        EXECUTE format('GRANT SELECT ON %I TO provision_operator', _view);
    END LOOP;
END $$;
DO $$
DECLARE
    _view text;
BEGIN
    FOREACH _view IN ARRAY '{v_order,v_order_item,v_order_item_plan,v_provision,v_audit,v_contact,v_host,v_domain,v_certificate,v_event,v_webhook,v_webhook_dead_letter,v_org,v_space,v_quota,v_cluster,v_capacity_request,v_cluster_operation,v_cluster_version,v_wpaas,v_wpaas_version,v_wpaas_backup,v_wpaas_profile}'::text[] LOOP
        EXECUTE format('GRANT SELECT ON %I TO provision_integration, provision_api', _view);
        -- Policies keep rows of the tables apart that have them. Names that are joined to those rows are kept apart by this:
        -- a condition of the reader's that says what it saw (by failing) is not run before the join.
        EXECUTE format('ALTER VIEW %I SET (security_barrier)', _view);
    END LOOP;
END $$;

DO $$
DECLARE
    _view text;
BEGIN
    FOREACH _view IN ARRAY '{v_project,v_offering_category,v_offering,v_allocation,v_allocation_order,v_allocation_usage,v_allocation_user_usage,v_invoice,v_invoice_item,v_customer_profile,v_member,v_offering_manager}'::text[] LOOP
        EXECUTE format('GRANT SELECT ON %I TO provision_integration, provision_api', _view);
        EXECUTE format('ALTER VIEW %I SET (security_barrier)', _view);
    END LOOP;
END $$;

-- Accounts, people and rights: for those who log in through the API.
DO $$
DECLARE
    _view text;
BEGIN
    FOREACH _view IN ARRAY '{v_customer,v_user,v_membership,v_invite_code,v_api_key,v_joinable_org,v_role}'::text[] LOOP
        EXECUTE format('GRANT SELECT ON %I TO provision_api', _view);
        EXECUTE format('ALTER VIEW %I SET (security_barrier)', _view);
    END LOOP;
END $$;
GRANT EXECUTE ON FUNCTION customer_create(jsonb), customer_change(uuid, jsonb, bigint), customer_remove(uuid, bigint), customer_restore(uuid),
    org_create(jsonb), org_change(uuid, jsonb, bigint), org_remove(uuid, bigint), org_default(uuid), org_joinable(), org_join(text),
    space_create(jsonb), space_change(uuid, jsonb, bigint), space_remove(uuid, bigint), space_default(uuid),
    user_create(jsonb), user_change(uuid, jsonb, bigint), user_remove(uuid, bigint),
    membership_create(jsonb), membership_change(uuid, jsonb, bigint), membership_remove(uuid, bigint), membership_accept(uuid), membership_decline(uuid),
    membership_deactivate(uuid), membership_activate(uuid),
    invite_code_create(jsonb), invite_code_change(uuid, jsonb, bigint), invite_code_remove(uuid, bigint), invite_code_rotate(uuid), invite_code_use(text),
    api_key_issue(jsonb), api_key_change(uuid, jsonb, bigint), api_key_remove(uuid, bigint), api_key_rotate(uuid), quota_change(text, uuid, text) TO provision_api, provision_operator;

-- Clients.
GRANT EXECUTE ON FUNCTION order_submit(uuid, jsonb, text, jsonb), order_submit_many(jsonb), order_cancel(uuid, text), order_document(uuid), order_explain(uuid)
    TO provision_api, provision_integration, provision_operator;
GRANT EXECUTE ON FUNCTION domain_page(jsonb, uuid, int), contact_page(jsonb, uuid, int), host_page(jsonb, uuid, int), certificate_page(jsonb, uuid, int)
    TO provision_api, provision_integration, provision_operator;
GRANT EXECUTE ON FUNCTION domain_auth_info(uuid), domain_check_begin(text), domain_check_answer(uuid), domain_set_auto_renew(text, boolean) TO provision_api, provision_integration;
GRANT EXECUTE ON FUNCTION event_page(text, text[], int), webhook_create(jsonb) TO provision_api, provision_integration;
GRANT EXECUTE ON FUNCTION webhook_change(uuid, jsonb, bigint), webhook_remove(uuid, bigint), webhook_secret_rotate(uuid), webhook_redeliver(uuid, uuid)
    TO provision_api, provision_integration, provision_operator;
-- v_event calls these in the name of whoever reads it.
GRANT EXECUTE ON FUNCTION event_type(text, text, text, jsonb), event_changed(text, jsonb), event_is_one(text), event_begets(text, text)
    TO provision_api, provision_integration, provision_operator, provision_reader;
GRANT EXECUTE ON FUNCTION api_key_caller(bytea), caller_scope(uuid, text, text, uuid, uuid) TO provision_api;
-- Log-ins: the API compares passwords and codes, signs and verifies tokens.
GRANT EXECUTE ON FUNCTION attempt_take(text, text), login_begin(text, text), signing_key_find(uuid), signing_key_public(), session_open(uuid, text, bigint, text),
    session_refresh(uuid, uuid, uuid), session_caller(uuid, uuid, uuid), session_close(uuid, boolean), session_is_shut_out(uuid, uuid, uuid), session_blacklist(uuid, uuid, uuid), session_me(), user_register(text, text, text, text), user_verify(text, text),
    verification_again(text), credential_mine(), password_change(text, uuid), password_rehash(uuid, text, text), totp_enrol(text), totp_confirm(bigint), totp_remove(bigint),
    identity_begin(bytea, text, bytea, text, text, text), identity_take(bytea, bytea), identity_link(text, text, uuid), identity_login(text, text), identity_unlink(uuid) TO provision_api;
GRANT SELECT ON "order", order_item TO provision_api;
-- /readyz compares the migrations of the database with those of its release.
GRANT USAGE ON SCHEMA migration TO provision_api;
GRANT SELECT ON migration.checksum TO provision_api;

-- Allocators and providers.
GRANT EXECUTE ON FUNCTION project_create(jsonb, text), customer_profile_set(uuid, jsonb), user_identify_local(text), project_change(uuid, jsonb), project_remove(uuid), member_add(uuid, jsonb), member_change(uuid, jsonb), member_remove(uuid, jsonb), user_identify(text, jsonb), user_identify_check(),
    offering_category_create(jsonb), offering_create(jsonb), offering_change(uuid, jsonb), offering_component_set(uuid, jsonb), offering_plan_set(uuid, jsonb), offering_manager_add(uuid, jsonb), offering_manager_change(uuid, jsonb), offering_manager_remove(uuid, jsonb),
    allocation_request(text, jsonb, text, boolean), allocation_order_act(uuid, text, jsonb), allocation_change(uuid, jsonb), allocation_provide(uuid, text, jsonb), usage_report(jsonb), user_usage_report(uuid, jsonb)
    TO provision_api, provision_operator;
GRANT EXECUTE ON FUNCTION customer_documents(uuid[]), project_documents(uuid[]), user_documents(uuid[]), member_documents(uuid[]), offering_manager_documents(uuid[]), offering_documents(uuid[]), offering_category_documents(uuid[]), allocation_documents(uuid[]),
    allocation_order_documents(uuid[]), allocation_period_documents(uuid), allocation_team(uuid), usage_documents(uuid[]), user_usage_documents(uuid[]), invoice_documents(uuid[]), invoice_item_documents(uuid[]), role_documents(), customer_accounts(uuid[]), plan_offering(uuid) TO provision_api;
GRANT EXECUTE ON FUNCTION offering_type(offering), offering_may(uuid) TO provision_api, provision_integration, provision_operator;
GRANT EXECUTE ON FUNCTION login_token_issue(uuid), login_token_caller(bytea) TO provision_api;
GRANT EXECUTE ON FUNCTION login_token_end(uuid) TO provision_operator;
-- Views and policies call these in the name of whoever reads.
GRANT EXECUTE ON FUNCTION caller_direct_orgs(), caller_offerings() TO PUBLIC;
GRANT INSERT (tenant_customer_id, org_id, offering_id, plan_id, name, description, limits, attributes) ON provision_allocation TO provision_integration;
GRANT INSERT (tenant_customer_id, org_id, allocation_id, plan_id, limits) ON provision_allocation_update TO provision_integration;
GRANT INSERT (tenant_customer_id, org_id, allocation_id, attributes) ON provision_allocation_terminate TO provision_integration;
GRANT SELECT (id, tenant_customer_id, org_id) ON provision_allocation, provision_allocation_update, provision_allocation_terminate TO provision_integration;
GRANT SELECT ON allocation, provision_allocation, provision_allocation_update, provision_allocation_terminate TO provision_worker;
GRANT EXECUTE ON FUNCTION usage_targets(uuid), usage_collected(uuid, bigint, uuid, date, jsonb) TO provision_worker;

-- Other systems insert what they want, and the engine's columns stay the engine's.
GRANT INSERT (accreditation_id, tenant_customer_id, org_id, reference, handle, name, organization, street, city, state, postal_code, country_code, phone, fax, email) ON provision_contact TO provision_integration;
GRANT INSERT (accreditation_id, tenant_customer_id, org_id, name, addresses) ON provision_host TO provision_integration;
GRANT INSERT (accreditation_id, tenant_customer_id, org_id, name, registration_period, pw, auto_renew, ds_records, max_price, currency, is_complete) ON provision_domain TO provision_integration;
GRANT UPDATE (is_complete) ON provision_domain TO provision_integration;
GRANT INSERT ON provision_domain_contact, provision_domain_host TO provision_integration;
GRANT INSERT (accreditation_id, tenant_customer_id, org_id, domain_name, alternative_names) ON provision_ssl TO provision_integration;
GRANT INSERT (tenant_customer_id, org_id, contact_id, name, organization, street, city, state, postal_code, country_code, phone, fax, email) ON provision_contact_update TO provision_integration;
GRANT INSERT (tenant_customer_id, org_id, contact_id) ON provision_contact_delete TO provision_integration;
GRANT INSERT (tenant_customer_id, org_id, host_id, addresses) ON provision_host_update TO provision_integration;
GRANT INSERT (tenant_customer_id, org_id, host_id) ON provision_host_delete TO provision_integration;
GRANT INSERT (tenant_customer_id, org_id, domain_id, name, period, current_expiry, max_price, currency) ON provision_domain_renew TO provision_integration;
GRANT INSERT (tenant_customer_id, org_id, domain_id, name) ON provision_domain_delete TO provision_integration;
GRANT INSERT (tenant_customer_id, org_id, domain_id, name, reason, max_price, currency) ON provision_domain_restore TO provision_integration;
GRANT INSERT (tenant_customer_id, org_id, domain_id, name, hosts, contacts, pw, statuses, ds_records, auto_renew) ON provision_domain_update TO provision_integration;
GRANT INSERT (tenant_customer_id, org_id, certificate_id) ON provision_ssl_renew TO provision_integration;
GRANT INSERT (tenant_customer_id, org_id, certificate_id, reason) ON provision_ssl_revoke TO provision_integration;
GRANT INSERT (tenant_customer_id, org_id, accreditation_id, name, period, pw, contacts, max_price, currency) ON provision_domain_transfer TO provision_integration;
GRANT INSERT (tenant_customer_id, org_id, name, action) ON provision_domain_transfer_answer TO provision_integration;
-- Naming a row to update or return it takes the right to read its key.
GRANT SELECT (id, tenant_customer_id, org_id) ON provision_contact, provision_host, provision_domain, provision_ssl TO provision_integration;
GRANT SELECT (id, tenant_customer_id, org_id) ON provision_contact_update, provision_contact_delete, provision_host_update, provision_host_delete TO provision_integration;
GRANT SELECT (id, tenant_customer_id, org_id) ON provision_domain_renew, provision_domain_delete, provision_domain_restore, provision_domain_update, provision_domain_transfer, provision_domain_transfer_answer
    TO provision_integration;
GRANT SELECT (id, tenant_customer_id, org_id) ON provision_ssl_renew, provision_ssl_revoke TO provision_integration;

-- Clusters and deployments.
DO $$
DECLARE
    _view text;
BEGIN
    FOREACH _view IN ARRAY '{v_compute_cluster,v_deployment,v_deployment_history}'::text[] LOOP
        EXECUTE format('GRANT SELECT ON %I TO provision_integration, provision_api', _view);
        EXECUTE format('ALTER VIEW %I SET (security_barrier)', _view);
    END LOOP;
END $$;
GRANT EXECUTE ON FUNCTION compute_cluster_create(jsonb), compute_cluster_change(uuid, jsonb, bigint), compute_cluster_remove(uuid, bigint), compute_cluster_trigger(uuid),
    deployment_create(jsonb), deployment_cancel(uuid, text) TO provision_api, provision_operator, provision_integration;
GRANT EXECUTE ON FUNCTION deployment_register(text, text), deployment_home(uuid, uuid, uuid), deployment_role_change(bigint, text), deployment_org_create(text), deployment_org_join(text) TO provision_api;
GRANT INSERT (accreditation_id, tenant_customer_id, org_id, name, total_cpu, total_ram, total_gpu, launch_type, objective, solver, backfill, preemption, max_wait_seconds) ON provision_compute_cluster TO provision_integration;
GRANT INSERT (tenant_customer_id, org_id, compute_cluster_id, total_cpu, total_ram, total_gpu, objective, solver, backfill, preemption, max_wait_seconds) ON provision_compute_cluster_update TO provision_integration;
GRANT INSERT (tenant_customer_id, org_id, compute_cluster_id) ON provision_compute_cluster_delete TO provision_integration;
GRANT INSERT (id, tenant_customer_id, org_id, compute_cluster_id, name, cpu, ram, gpu, priority, docker_path, ttl_seconds, queue_ttl_seconds, depends_on) ON provision_deployment TO provision_integration;
GRANT INSERT (tenant_customer_id, org_id, deployment_id, reason) ON provision_deployment_stop TO provision_integration;
GRANT SELECT (id, tenant_customer_id, org_id) ON provision_compute_cluster, provision_compute_cluster_update, provision_compute_cluster_delete, provision_deployment, provision_deployment_stop TO provision_integration;
GRANT EXECUTE ON FUNCTION deployment_snapshot(uuid), deployment_commit(uuid, bigint, uuid, bigint, jsonb), deployment_next(uuid, uuid), deployment_sweep(),
    deployment_runs(uuid, bigint, uuid, text, text, boolean), deployment_vacated(uuid, bigint, uuid) TO provision_worker;
GRANT SELECT ON compute_cluster, deployment TO provision_worker;

-- Workers.
GRANT EXECUTE ON FUNCTION worker_register(text, text, int, text, text[]), worker_heartbeat(uuid), worker_deregister(uuid), job_claim(uuid, text[], int), job_record(uuid, jsonb),
    job_next_due(text[]), job_children(uuid), job_wake_key(), engine_sweep(uuid), effect_begin(uuid, bigint, text, jsonb), effect_finish(uuid, bigint, text, text, jsonb),
    registry_message_take(uuid, bigint, jsonb), effect_open(uuid, int), effect_settle(uuid, text, text, text, uuid, bigint), inventory_missing(text, uuid, text), domain_auth_code_keep(uuid, text), transfer_within(uuid, bigint), host_is_object(uuid),
    webhook_take(uuid, int), webhook_delivered(uuid, bigint, uuid, text, uuid, boolean), webhook_failed(uuid, bigint, uuid, text, uuid, jsonb, text) TO provision_worker;
GRANT SELECT ON accreditation, job, job_lease, effect, registry_message, schedule, setting, contact, host, domain, certificate, domain_contact, domain_host, provision_domain_contact, provision_contact, provision_host, provision_domain, provision_domain_update, provision_domain_transfer, provision_ssl, secret TO provision_worker;

GRANT EXECUTE ON FUNCTION verification_mail(uuid), verification_mailed(uuid) TO provision_worker;

-- Clusters.
GRANT EXECUTE ON FUNCTION cluster_create(jsonb), cluster_configure(uuid, jsonb, bigint), cluster_deploy(uuid), cluster_shutdown(uuid, boolean), cluster_refresh(uuid), cluster_switch(boolean),
    capacity_request_remove(uuid, boolean, uuid) TO provision_api, provision_operator;
GRANT EXECUTE ON FUNCTION capacity_request_create(uuid, int, int, timestamptz) TO provision_api;
GRANT INSERT (id, accreditation_id, tenant_customer_id, org_id, cluster_id) ON provision_cluster TO provision_integration;
GRANT INSERT (id, accreditation_id, tenant_customer_id, org_id, cluster_id, is_redeploy, end_requests) ON provision_cluster_shutdown TO provision_integration;
GRANT SELECT (id, tenant_customer_id, org_id) ON provision_cluster, provision_cluster_scale, provision_cluster_shutdown TO provision_integration;
GRANT EXECUTE ON FUNCTION cluster_tick(int), cluster_look(uuid), cluster_observed(uuid, int, int, text) TO provision_worker;
GRANT SELECT ON cluster, provision_cluster, provision_cluster_scale, provision_cluster_shutdown TO provision_worker;

-- Web sites.
GRANT INSERT (accreditation_id, tenant_customer_id, org_id, space_id, name, num_instances, min_instances, max_instances, features, profile, code_url, code_ref, domains, routes) ON provision_wpaas TO provision_integration;
GRANT INSERT (accreditation_id, tenant_customer_id, org_id, instance_id, changes, known_generation) ON provision_wpaas_update TO provision_integration;
GRANT INSERT (accreditation_id, tenant_customer_id, org_id, instance_id, snapshot) ON provision_wpaas_restore TO provision_integration;
GRANT INSERT (accreditation_id, tenant_customer_id, org_id, instance_id, backup_id) ON provision_wpaas_download TO provision_integration;
GRANT INSERT (accreditation_id, tenant_customer_id, org_id, instance_id) ON provision_wpaas_backup, provision_wpaas_delete TO provision_integration;
GRANT SELECT (id, tenant_customer_id, org_id) ON provision_wpaas, provision_wpaas_update, provision_wpaas_converge, provision_wpaas_backup, provision_wpaas_restore, provision_wpaas_download, provision_wpaas_delete TO provision_integration;
GRANT EXECUTE ON FUNCTION job_fence(uuid, bigint), wpaas_site(uuid), wpaas_observed(uuid, bigint, uuid, jsonb), wpaas_resolved(uuid, bigint, uuid, int, text, text), wpaas_version_kept(uuid, bigint, uuid, int, text),
    wpaas_secret_kept(uuid, bigint, uuid), wpaas_password_kept(uuid, bigint, uuid, uuid), wpaas_switch(uuid, bigint, uuid), wpaas_expiring(uuid), wpaas_backups_removed(uuid), wpaas_expired(uuid, bigint, uuid),
    wpaas_dumped(uuid, bigint, uuid, bigint, text, timestamptz), wpaas_tidied(uuid, bigint, uuid), wpaas_downloads_left(uuid), wpaas_dumps_old(uuid), wpaas_dump_gone(uuid, bigint, uuid),
    wpaas_strays(uuid, bigint, uuid, jsonb), wpaas_is_known(uuid, text) TO provision_worker;
GRANT SELECT ON wpaas_backup TO provision_worker;
GRANT EXECUTE ON FUNCTION wpaas_converge(uuid) TO provision_operator;
GRANT EXECUTE ON FUNCTION wpaas_download_link(uuid), wpaas_backup_remove(uuid) TO provision_integration;
GRANT EXECUTE ON FUNCTION wpaas_require(uuid, uuid), customer_sign_up(jsonb, text), customer_user_create(text, jsonb, text), customer_user_change(text, text, jsonb, text), customer_user_remove(text, text),
    customer_user_key(text, text), customer_user_places(uuid), wpaas_login_link(uuid), wpaas_link_use(text, text), wpaas_download_link(uuid), wpaas_backup_remove(uuid),
    wpaas_hook_make(uuid), wpaas_hook_remove(uuid), wpaas_push(uuid, bytea, text, text, jsonb), org_costs(uuid, text) TO provision_api;
REVOKE ALL ON wpaas_link, wpaas_hook FROM provision_reader;

-- Accounts.
GRANT SELECT ON v_account_entry, v_account_cost TO provision_integration, provision_api;
ALTER VIEW v_account_entry SET (security_barrier);
ALTER VIEW v_account_cost SET (security_barrier);
GRANT EXECUTE ON FUNCTION account_document(uuid), account_forecast(uuid, text), account_configure(uuid, jsonb) TO provision_api, provision_operator;
GRANT EXECUTE ON FUNCTION account_import_range(uuid), account_import(uuid, jsonb) TO provision_worker;

-- Operators.
GRANT EXECUTE ON FUNCTION signing_key_rotate(uuid), signing_key_revoke(uuid), signing_key_share(uuid), signing_key_list(), session_list(), credential_reset(text) TO provision_operator;
GRANT EXECUTE ON FUNCTION job_hold(uuid), job_release(uuid), job_retry(uuid), job_retry_where(text, uuid, text, int), job_cancel(uuid, text), job_complete(uuid, jsonb, text), job_auth_info(uuid),
    order_item_approve(uuid), order_item_reject(uuid, text), provision_adopt(uuid, text), provision_forget(uuid), provision_cancel(uuid, text), accreditation_hold(uuid, text), accreditation_release(uuid), api_key_create(uuid, text, uuid), event_era_begin(), things_in(text, uuid), tld_create(uuid, text, text, jsonb) TO provision_operator;
GRANT SELECT ON tenant, customer, tenant_customer, org, provider, accreditation, tld, tld_setting, tld_setting_key, tld_profile, accreditation_tld, schedule, setting, job_type, order_operation, provision_status, state_transition TO provision_operator;
