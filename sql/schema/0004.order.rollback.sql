DROP TYPE job_request, plan_step, plan_item, order_request;
DROP TABLE order_turn, object_operation, order_item_plan_dependency, order_item_plan, order_item, order_idempotency, "order", order_operation;
