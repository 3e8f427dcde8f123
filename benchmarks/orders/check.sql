-- What there must be as many of as orders (is_per_order), and what there must be none of.
SELECT what, number, is_per_order FROM (
    VALUES
        ('completed orders', (SELECT count(*) FROM v_order WHERE status = 'completed'), true),
        ('orders that are not completed', (SELECT count(*) FROM v_order WHERE status <> 'completed'), false),
        ('completed items', (SELECT count(*) FROM v_order_item WHERE status = 'completed'), true),
        ('items that are not completed', (SELECT count(*) FROM v_order_item WHERE status <> 'completed'), false),
        ('completed steps', (SELECT count(*) FROM v_order_item_plan WHERE status = 'completed'), true),
        ('steps that are not completed', (SELECT count(*) FROM v_order_item_plan WHERE status <> 'completed'), false),
        ('completed provision rows', (SELECT count(*) FROM v_provision WHERE status = 'completed'), true),
        ('provision rows that are not completed', (SELECT count(*) FROM v_provision WHERE status <> 'completed'), false),
        ('completed jobs', (SELECT count(*) FROM v_job WHERE status = 'completed'), true),
        ('jobs that are not completed', (SELECT count(*) FROM v_job WHERE status <> 'completed'), false),
        ('contacts', (SELECT count(*) FROM v_contact WHERE roid IS NOT NULL), true),
        ('logged completions of orders', (SELECT count(*) FROM v_audit WHERE table_name = 'order' AND to_state = 'completed'), true),
        ('jobs in the queue', (SELECT count(*) FROM job_queue), false),
        ('leases', (SELECT count(*) FROM job_lease), false),
        ('claimed objects', (SELECT count(*) FROM object_operation), false),
        ('workers', (SELECT count(*) FROM worker), false)
) AS checks (what, number, is_per_order)
