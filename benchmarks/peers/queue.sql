-- The plainest durable queue: one table, whose rows say how far they are. Half of each page is left free, so that the two
-- updates of a row find room beside it.
DROP TABLE IF EXISTS queue;
CREATE TABLE queue (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    status smallint NOT NULL DEFAULT 0,
    finished_date timestamptz,
    data jsonb NOT NULL DEFAULT '{}'
) WITH (fillfactor = 50);
CREATE INDEX queue_waiting_ix ON queue (id) WHERE status = 0;
