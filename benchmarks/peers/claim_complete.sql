-- Claims 100 jobs in one transaction and completes them in another: what a worker costs at the very least.
WITH claimed AS (
    UPDATE queue SET status = 1
    WHERE id IN (SELECT id FROM queue WHERE status = 0 ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED) RETURNING id
)
SELECT array_agg(id) AS ids FROM claimed \gset
UPDATE queue SET status = 2, finished_date = now() WHERE id = ANY (:ids);
