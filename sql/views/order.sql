-- Orders as people look at them.

CREATE VIEW v_order AS
SELECT o.id, u.name AS customer, o.status, o.reason, (SELECT count(*) FROM order_item AS i WHERE i.order_id = o.id) AS items, o.open_count AS open_items,
    o.priority, o.external_reference, o.created_date, o.finished_date, COALESCE(o.finished_date, engine_now()) - o.created_date AS duration,
    o.created_by, o.metadata, o.tenant_customer_id, o.org_id
FROM "order" AS o JOIN tenant_customer AS c ON c.id = o.tenant_customer_id JOIN customer AS u ON u.id = c.customer_id;
COMMENT ON VIEW v_order IS 'Orders. More of one: SELECT order_explain(id).';

CREATE VIEW v_order_item AS
SELECT i.id, i.order_id, i.position, i.operation, i.status, i.reason, i.open_count AS open_steps, i.data - 'pw' AS data, i.created_date, i.finished_date, i.tenant_customer_id, i.org_id
FROM order_item AS i;
COMMENT ON VIEW v_order_item IS 'Items of orders.';

CREATE VIEW v_order_item_plan AS
SELECT p.id, p.order_id, p.order_item_id, i.position AS item, p.name, p.status, p.reason, p.open_count AS waits_for,
    (SELECT array_agg(x.name ORDER BY x.name) FROM order_item_plan_dependency AS d JOIN order_item_plan AS x ON x.id = d.depends_on_id WHERE d.plan_id = p.id) AS depends_on,
    p.provision_table, p.provision_id, p.created_date, p.processing_date, p.finished_date, p.tenant_customer_id, p.org_id
FROM order_item_plan AS p JOIN order_item AS i ON i.id = p.order_item_id;
COMMENT ON VIEW v_order_item_plan IS 'Steps of items: what they wait for and which provision row they became.';
