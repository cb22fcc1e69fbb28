-- What time makes due, step by step; CALL prm.run_jobs() itself commits, so it is tried in the regression test outbox.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SELECT set_config('prm.program_id', prm.create_program('Jobs', 'reseller', 'USD', 'America/Sao_Paulo')::text, true) AS program \gset
SET LOCAL prm.clock = '2026-03-02 09:00:00+00';
CREATE FUNCTION pg_temp.runs(name text) RETURNS text LANGUAGE sql AS
  $$SELECT string_agg(concat_ws(' ', outcome, done, message), ', ' ORDER BY job_run_id) FROM prm.v_job_run WHERE program_id = prm.current_program() AND job = name$$;

SELECT is(prm._job_programs(:program), ARRAY[:program::bigint], 'one programme');
SELECT ok(:program = ANY (prm._job_programs(NULL)), 'or all');
SELECT throws_ok('SELECT prm._job_programs(999999999)', '42704', NULL, 'an unknown one');
SELECT throws_ok('CALL prm.run_jobs()', '2D000', NULL, 'inside a transaction there is no committing');

-- Leases.
SELECT is(prm._job_step(:program, 'outbox_leases', NULL), NULL, 'nothing to do: no second batch');
SELECT is(pg_temp.runs('outbox_leases'), 'nothing_due 0', 'and so logged');
INSERT INTO prm.outbox (aggregate_type, aggregate_id, event_type, channel, payload, occurred_at)
  SELECT 'lead', n::text, 'lead.any', 'webhook', '{}', prm.now() FROM generate_series(1, 700) n;
SELECT is((SELECT count(*) FROM prm.claim_outbox('one', 1000)), 700::bigint, 'a consumer claims and dies');
SELECT is(prm._job_step(:program, 'outbox_leases', NULL), NULL, 'its lease holds');
SET LOCAL prm.clock = '2026-03-02 09:06:00+00';
SELECT prm._job_step(:program, 'outbox_leases', NULL) AS run \gset
SELECT ok(:run IS NOT NULL, 'a full batch: there is more');
SELECT is((SELECT outcome FROM prm.job_run WHERE program_id = :program AND job_run_id = :run), 'running', 'logged as running');
SELECT is(prm._job_step(:program, 'outbox_leases', :run), NULL, 'the rest');
SELECT is(pg_temp.runs('outbox_leases'), 'nothing_due 0, nothing_due 0, done 700', 'one run, all batches');
SELECT is((SELECT count(*) FROM prm.outbox WHERE program_id = :program AND status = 'pending' AND detail = 'the lease of one ended'), 700::bigint, 'the messages are free');

-- Once per business day, which is the programme's: 02:30 in UTC is still the day before in Sao Paulo.
INSERT INTO prm.partner (name) VALUES ('Alder');
SELECT is(prm._job_step(:program, 'health', NULL), NULL, 'health');
SELECT is(prm._job_step(:program, 'health', NULL), NULL, 'health again');
SELECT is(pg_temp.runs('health'), 'done 1, nothing_due 0 done already on this business day', 'once per day');
SELECT is((SELECT count(*) FROM prm.health_snapshot WHERE program_id = :program), 1::bigint, 'a snapshot');
SET LOCAL prm.clock = '2026-03-03 02:30:00+00';
SELECT prm._job_step(:program, 'health', NULL);
SELECT is((SELECT count(*) FROM prm.health_snapshot WHERE program_id = :program), 1::bigint, 'still the same day');
SET LOCAL prm.clock = '2026-03-03 03:30:00+00';
SELECT prm._job_step(:program, 'health', NULL);
SELECT is((SELECT count(*) FROM prm.health_snapshot WHERE program_id = :program), 2::bigint, 'the next day');
SELECT is(prm._job_step(:program, 'tiers', NULL), NULL, 'tiers');
SELECT is((SELECT outcome FROM prm.job_run WHERE program_id = :program AND job = 'tiers'), 'done', 'evaluated');
SELECT is(prm._job_step(:program, 'tier_due', NULL), NULL, 'partners that won');

-- A failure is a row, and everything that the batch did is undone.
CREATE FUNCTION pg_temp.break_it() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'the disk is on fire' USING DETAIL = 'It is hot.'; END$$;
CREATE TRIGGER break_it BEFORE INSERT ON prm.health_snapshot FOR EACH ROW EXECUTE FUNCTION pg_temp.break_it();
SET LOCAL prm.clock = '2026-03-04 09:00:00+00';
SELECT is(prm._job_step(:program, 'health', NULL), NULL, 'a failing job does not raise');
SELECT is((SELECT outcome || ': ' || message FROM prm.job_run WHERE program_id = :program AND job = 'health' ORDER BY job_run_id DESC LIMIT 1),
  'failed: the disk is on fire: It is hot. (SQLSTATE P0001)', 'but says what was wrong');
SELECT is((SELECT count(*) FROM prm.health_snapshot WHERE program_id = :program), 2::bigint, 'no half work');
DROP TRIGGER break_it ON prm.health_snapshot;
SELECT prm._job_step(:program, 'health', NULL);
SELECT is((SELECT count(*) FROM prm.health_snapshot WHERE program_id = :program), 3::bigint, 'the next run makes up for it');

-- The log forgets.
UPDATE prm.job_run SET started_at = started_at - CASE outcome WHEN 'nothing_due' THEN interval '25 hours' ELSE interval '91 days' END
  WHERE program_id = :program AND job = 'health';
INSERT INTO prm.job_run (program_id, job, business_day, started_at) VALUES (:program, 'outbox_leases', '2026-03-01', clock_timestamp() - interval '2 days');
SELECT prm._job_step(:program, 'outbox_leases', NULL);
SELECT is((SELECT outcome || ': ' || message FROM prm.job_run WHERE program_id = :program AND business_day = '2026-03-01'),
  'failed: its session ended before it did', 'a run whose session was lost is closed');
SELECT prm._job_step(:program, 'job_log', NULL);
SELECT is(pg_temp.runs('health'), NULL, 'old runs are gone');
SELECT isnt(pg_temp.runs('outbox_leases'), NULL, 'new ones stay');

-- Retention: what was delivered, and the deadlines of stays that ended, each after the time that the programme says.
SET LOCAL prm.clock = '2026-06-01 09:00:00+00';
DELETE FROM prm.outbox WHERE program_id = :program;
INSERT INTO prm.outbox (aggregate_type, aggregate_id, event_type, channel, payload, occurred_at, status, done_at)
  SELECT 'lead', n::text, 'lead.any', 'webhook', '{}', prm.now(), CASE WHEN n <= 700 THEN 'done' ELSE 'failed' END, prm.now() - interval '91 days' FROM generate_series(1, 702) n;
INSERT INTO prm.outbox (aggregate_type, aggregate_id, event_type, channel, payload, occurred_at, status, done_at) VALUES
  ('lead', 'young', 'lead.any', 'webhook', '{}', prm.now(), 'done', prm.now() - interval '89 days'),
  ('lead', 'open', 'lead.any', 'webhook', '{}', prm.now() - interval '1 year', 'pending', NULL);
SELECT prm._job_step(:program, 'outbox_purge', NULL) AS run \gset
SELECT ok(:run IS NOT NULL, 'messages are forgotten in batches');
SELECT is(prm._job_step(:program, 'outbox_purge', :run), NULL, 'the second is the last');
SELECT is(pg_temp.runs('outbox_purge'), 'done 700', 'and it is logged');
SELECT is((SELECT string_agg(aggregate_id || ' ' || status, ', ' ORDER BY outbox_id) FROM prm.outbox WHERE program_id = :program),
  '701 failed, 702 failed, young done, open pending', 'what failed, is young or open stays');
UPDATE prm.program SET outbox_retention = NULL WHERE program_id = :program;
SET LOCAL prm.clock = '2027-06-01 09:00:00+00';
SELECT prm._job_step(:program, 'outbox_purge', NULL);
SELECT is((SELECT count(*) FROM prm.outbox WHERE program_id = :program), 4::bigint, 'NULL: for ever');
INSERT INTO prm.timer (machine, machine_version, subject_id, state, delay, action, due_at, fired_at, canceled_at, ended_at, outcome) VALUES
  ('lead', 1, 1, 'new', 'P1D', 'warn', '2026-05-30', '2026-05-30', NULL, '2026-05-31', 'fired'),
  ('lead', 1, 2, 'new', 'P1D', 'warn', '2026-05-30', NULL, '2026-05-31', '2026-05-31', 'canceled'),
  ('lead', 1, 3, 'new', 'P1D', 'warn', '2026-05-30', NULL, '2026-06-02', '2026-06-02', 'canceled'),
  ('lead', 1, 4, 'new', 'P1D', 'warn', '2026-01-30', '2026-01-30', NULL, NULL, 'fired');
SELECT prm._job_step(:program, 'timer_purge', NULL);
SELECT is((SELECT string_agg(subject_id::text, ', ' ORDER BY subject_id) FROM prm.timer WHERE program_id = :program), '3, 4',
  'deadlines of stays that ended more than a year ago are forgotten, those of a stay that goes on are not');
SELECT throws_ok(format('UPDATE prm.program SET timer_retention = interval ''-1 day'' WHERE program_id = %s', :program), '23514');

-- Once per day it is looked again which versions of a machine still have rows.
SELECT prm.define_machine('lead', '{"initial": "new", "states": {"new": {"on": {"end": {"target": "done"}}}, "done": {"type": "final"}}}') AS v1 \gset
INSERT INTO prm.lead (company) VALUES ('Open');
SELECT prm.define_machine('lead', prm.machine_json('lead')) AS v2 \gset
SELECT is((SELECT has_rows FROM prm.machine WHERE program_id = :program AND machine = 'lead' AND version = :v1), true, 'an open row on the version before');
UPDATE prm.lead SET state = 'done' WHERE program_id = :program AND company = 'Open';
SELECT prm._job_step(:program, 'machine_versions', NULL);
SELECT is((SELECT has_rows FROM prm.machine WHERE program_id = :program AND machine = 'lead' AND version = :v1), false, 'it ended, so none is left');
SELECT is(pg_temp.runs('machine_versions'), 'done 1', 'logged');
SELECT prm._job_step(:program, 'machine_versions', NULL);
SELECT is(pg_temp.runs('machine_versions'), 'done 1, nothing_due 0 done already on this business day', 'once per day');

SELECT alike(prm.schedule_jobs(), '%* * * * * psql -X -q -d % -c ''CALL prm.run_jobs()''', 'without pg_cron: the line for the crontab');
SELECT alike(prm.schedule_jobs(:program), '%CALL prm.run_jobs(' || :program || ')%', 'for one programme');
SELECT throws_ok('SELECT prm.schedule_jobs(999999999)', '42704', NULL, 'for an unknown one');

SELECT * FROM finish();
ROLLBACK;
