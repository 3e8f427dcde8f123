DROP FUNCTION job_wake_key();
DROP TABLE setting, schedule, engine_lock, effect, job_lease, worker, job_queue, job_lane, job, job_type;
