
-- Jobs: their log.

COMMENT ON TABLE prm.job_run IS 'What run_jobs() did, a row for each programme, job and run. Runs without work are forgotten after a day, the others after 90.';
COMMENT ON COLUMN prm.job_run.job_run_id IS 'Number of the run.';
COMMENT ON COLUMN prm.job_run.job IS 'Its name, one of prm._job_names(), which tells the order in which they run.';
COMMENT ON COLUMN prm.job_run.business_day IS 'The business day it was for, in the programme''s time zone, by prm.now().';
COMMENT ON COLUMN prm.job_run.started_at IS 'When its first batch began, wall clock.';
COMMENT ON COLUMN prm.job_run.ended_at IS 'When it ended, wall clock; NULL while it runs.';
COMMENT ON COLUMN prm.job_run.done IS 'Units of work done: messages, deadlines, partners, rows.';
COMMENT ON COLUMN prm.job_run.outcome IS 'running, done, nothing_due or failed.';
COMMENT ON COLUMN prm.job_run.message IS 'Why it failed, or why nothing was due.';

CREATE OR REPLACE VIEW prm.v_job_run WITH (security_invoker = true) AS
SELECT r.program_id, r.job_run_id, r.job, r.business_day, r.started_at, r.ended_at,
  round(extract(epoch FROM r.ended_at - r.started_at), 3) AS seconds, r.done, r.outcome, r.message
FROM prm.job_run r;
COMMENT ON VIEW prm.v_job_run IS 'What run_jobs() did and how long it took. One row for each programme, job and run.';
COMMENT ON COLUMN prm.v_job_run.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_job_run.job_run_id IS 'Number of the run.';
COMMENT ON COLUMN prm.v_job_run.job IS 'Its name, one of prm._job_names(), which tells the order in which they run.';
COMMENT ON COLUMN prm.v_job_run.business_day IS 'The business day it was for.';
COMMENT ON COLUMN prm.v_job_run.started_at IS 'When it began.';
COMMENT ON COLUMN prm.v_job_run.ended_at IS 'When it ended; NULL while it runs.';
COMMENT ON COLUMN prm.v_job_run.seconds IS 'How long it took.';
COMMENT ON COLUMN prm.v_job_run.done IS 'Units of work done.';
COMMENT ON COLUMN prm.v_job_run.outcome IS 'running, done, nothing_due or failed.';
COMMENT ON COLUMN prm.v_job_run.message IS 'Why it failed, or why nothing was due.';
