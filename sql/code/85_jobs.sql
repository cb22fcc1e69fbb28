
-- Jobs: what time makes due. run_jobs() commits after every batch, so it can have no SET clause and holds nothing but calls of
-- functions that have one; the work and the checks stand in those.

CREATE FUNCTION prm._job_names() RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS
$prm$ SELECT ARRAY['outbox_leases', 'timers', 'subscriptions', 'risks', 'funds', 'tier_due', 'metrics', 'tiers', 'segments', 'health', 'risk_review', 'debts',
  'machine_versions', 'surveys', 'usage', 'recognition', 'certificates', 'outbox_purge', 'timer_purge', 'job_log'] $prm$;
COMMENT ON FUNCTION prm._job_names() IS
'The jobs in the order in which run_jobs() runs them: outbox_leases takes messages back whose lease ended, timers fires the deadlines that passed, subscriptions books the periods that began, risks expires risk events, funds returns what nobody claimed, tier_due looks again at partners that won deals, the jobs of _daily_jobs() run once per business day, outbox_purge and timer_purge forget what the programme''s retention says, job_log forgets old runs.';

CREATE FUNCTION prm._daily_jobs() RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS
$prm$ SELECT ARRAY['metrics', 'tiers', 'segments', 'health', 'risk_review', 'debts', 'machine_versions', 'surveys', 'usage', 'recognition', 'certificates'] $prm$;
COMMENT ON FUNCTION prm._daily_jobs() IS
'The jobs that run once per business day: metrics (their history, and where each partner stands), tiers, segments (who is in which), health, risk_review (duplicate and barred accounts), debts (what the profiles write off), machine_versions (which older versions of machines still have rows), surveys (waves whose turn it is, and who is to be asked), usage (drops and their rescue tasks), recognition (badges, missions, campaigns, streaks) and certificates (reminders of those that end). The unique index job_run_daily_key names the same.';

CREATE FUNCTION prm._job_programs(program_id bigint) RETURNS bigint[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  PERFORM prm._ready();
  IF _job_programs.program_id IS NOT NULL THEN
    RETURN ARRAY[prm._check_program(_job_programs.program_id)];
  END IF;
  RETURN coalesce((SELECT array_agg(p.program_id ORDER BY p.program_id) FROM prm.program p), '{}');
END
$prm$;
COMMENT ON FUNCTION prm._job_programs(bigint) IS 'The programmes that run_jobs() works for: the one given (42704 where it does not exist), or for NULL all.';

CREATE FUNCTION prm._job_work(program_id bigint, job text, batch integer) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_count bigint;
BEGIN
  CASE _job_work.job
    WHEN 'outbox_leases' THEN
      WITH ended AS (
        SELECT o.outbox_id FROM prm.outbox o
        WHERE o.program_id = _job_work.program_id AND o.done_at IS NULL AND o.status = 'claimed' AND o.available_at <= prm.now()
        ORDER BY o.outbox_id LIMIT _job_work.batch FOR UPDATE SKIP LOCKED
      )
      UPDATE prm.outbox o SET status = 'pending', detail = format('the lease of %s ended', o.claimed_by)
      FROM ended e WHERE o.program_id = _job_work.program_id AND o.outbox_id = e.outbox_id;
      GET DIAGNOSTICS the_count = ROW_COUNT;
    WHEN 'timers' THEN
      the_count := prm._work_timers(_job_work.program_id, _job_work.batch);
    WHEN 'subscriptions' THEN
      the_count := prm._work_subscriptions(_job_work.program_id, _job_work.batch);
    WHEN 'risks' THEN
      the_count := prm._work_risks(_job_work.program_id, _job_work.batch);
    WHEN 'funds' THEN
      the_count := prm._work_mdf(_job_work.program_id, _job_work.batch);
    WHEN 'debts' THEN
      the_count := prm.write_off_debts(_job_work.program_id);
    WHEN 'risk_review' THEN
      the_count := prm._work_risk_review(_job_work.program_id);
    WHEN 'tier_due' THEN
      the_count := prm._work_tier_due(_job_work.program_id, _job_work.batch)::bigint;
    WHEN 'metrics' THEN
      the_count := prm.refresh_metrics(_job_work.program_id);
    WHEN 'tiers' THEN
      SELECT count(*) INTO the_count FROM prm.evaluate_tiers(program_id => _job_work.program_id);
    WHEN 'segments' THEN
      SELECT count(*) INTO the_count FROM prm.refresh_segments(program_id => _job_work.program_id);
    WHEN 'health' THEN
      the_count := prm.refresh_health(_job_work.program_id);
    WHEN 'machine_versions' THEN
      SELECT count(*) INTO the_count FROM (
        SELECT DISTINCT m.machine FROM prm.machine m WHERE m.program_id = _job_work.program_id AND m.has_rows AND NOT m.is_current) o
      CROSS JOIN LATERAL prm._refresh_versions(o.machine, _job_work.program_id);
    WHEN 'surveys' THEN
      the_count := prm._work_surveys(_job_work.program_id);
    WHEN 'usage' THEN
      the_count := prm._work_usage(_job_work.program_id);
    WHEN 'recognition' THEN
      the_count := prm.refresh_recognition(_job_work.program_id);
    WHEN 'certificates' THEN
      the_count := prm._work_certificates(_job_work.program_id);
    WHEN 'outbox_purge' THEN
      WITH old AS (
        SELECT o.outbox_id FROM prm.outbox o
        WHERE o.program_id = _job_work.program_id AND o.status = 'done' AND o.done_at < prm.now() - (
          SELECT p.outbox_retention FROM prm.program p WHERE p.program_id = _job_work.program_id)
        ORDER BY o.done_at LIMIT _job_work.batch FOR UPDATE SKIP LOCKED
      )
      DELETE FROM prm.outbox o USING old d WHERE o.program_id = _job_work.program_id AND o.outbox_id = d.outbox_id;
      GET DIAGNOSTICS the_count = ROW_COUNT;
    WHEN 'timer_purge' THEN
      WITH old AS (
        SELECT t.timer_id FROM prm.timer t
        WHERE t.program_id = _job_work.program_id AND t.ended_at < prm.now() - (
          SELECT p.timer_retention FROM prm.program p WHERE p.program_id = _job_work.program_id)
        ORDER BY t.ended_at LIMIT _job_work.batch FOR UPDATE SKIP LOCKED
      )
      DELETE FROM prm.timer t USING old o WHERE t.program_id = _job_work.program_id AND t.timer_id = o.timer_id;
      GET DIAGNOSTICS the_count = ROW_COUNT;
    WHEN 'job_log' THEN
      WITH old AS (
        SELECT r.job_run_id FROM prm.job_run r
        WHERE r.program_id = _job_work.program_id
          AND r.started_at < clock_timestamp() - CASE r.outcome WHEN 'nothing_due' THEN interval '1 day' ELSE interval '90 days' END
        ORDER BY r.job_run_id LIMIT _job_work.batch FOR UPDATE SKIP LOCKED
      )
      DELETE FROM prm.job_run r USING old o WHERE r.program_id = _job_work.program_id AND r.job_run_id = o.job_run_id;
      GET DIAGNOSTICS the_count = ROW_COUNT;
  END CASE;
  RETURN the_count;
END
$prm$;
COMMENT ON FUNCTION prm._job_work(bigint, text, integer) IS 'One batch of a job: does up to batch units of work and returns how many it did.';

CREATE FUNCTION prm._job_step(program_id bigint, job text, job_run_id bigint) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_batch constant integer := 500;
  the_run bigint := _job_step.job_run_id;
  the_day date := (prm.now() AT TIME ZONE prm._program_time_zone(_job_step.program_id))::date;
  the_count bigint;
  the_message text;
  the_detail text;
BEGIN
  -- One session at a time for each programme and job; the next run does what this one leaves.
  IF NOT pg_try_advisory_xact_lock(hashtextextended(format('prm job %s %s', _job_step.program_id, _job_step.job), 7239211)) THEN
    IF the_run IS NULL THEN
      INSERT INTO prm.job_run (program_id, job, business_day, ended_at, outcome, message)
        VALUES (_job_step.program_id, _job_step.job, the_day, clock_timestamp(), 'nothing_due', 'another session is at it');
    ELSE
      UPDATE prm.job_run r SET outcome = 'done', ended_at = clock_timestamp(), message = 'another session went on with it'
        WHERE r.program_id = _job_step.program_id AND r.job_run_id = the_run;
    END IF;
    RETURN NULL;
  END IF;
  -- The lock says that no batch of this job is at work, so what still says running a day later lost its session.
  UPDATE prm.job_run r SET outcome = 'failed', ended_at = clock_timestamp(), message = 'its session ended before it did'
    WHERE r.program_id = _job_step.program_id AND r.job = _job_step.job AND r.outcome = 'running'
      AND r.started_at < clock_timestamp() - interval '1 day' AND r.job_run_id IS DISTINCT FROM the_run;
  IF _job_step.job = ANY (prm._daily_jobs()) AND EXISTS (SELECT 1 FROM prm.job_run r
      WHERE r.program_id = _job_step.program_id AND r.job = _job_step.job AND r.business_day = the_day AND r.outcome = 'done') THEN
    INSERT INTO prm.job_run (program_id, job, business_day, ended_at, outcome, message)
      VALUES (_job_step.program_id, _job_step.job, the_day, clock_timestamp(), 'nothing_due', 'done already on this business day');
    RETURN NULL;
  END IF;
  IF the_run IS NULL THEN
    INSERT INTO prm.job_run (program_id, job, business_day) VALUES (_job_step.program_id, _job_step.job, the_day)
      RETURNING job_run_id INTO the_run;
  END IF;

  BEGIN
    the_count := prm._job_work(_job_step.program_id, _job_step.job, the_batch);
  EXCEPTION
    WHEN serialization_failure OR deadlock_detected THEN
      RAISE;
    WHEN OTHERS THEN
      -- One job of one programme must not stop the others: the failure is a row, not an end.
      GET STACKED DIAGNOSTICS the_message = MESSAGE_TEXT, the_detail = PG_EXCEPTION_DETAIL;
      UPDATE prm.job_run r SET outcome = 'failed', ended_at = clock_timestamp(),
        message = concat_ws(': ', the_message, nullif(the_detail, '')) || format(' (SQLSTATE %s)', SQLSTATE)
        WHERE r.program_id = _job_step.program_id AND r.job_run_id = the_run;
      RETURN NULL;
  END;

  IF NOT _job_step.job = ANY (prm._daily_jobs()) AND the_count >= the_batch THEN
    UPDATE prm.job_run r SET done = r.done + the_count WHERE r.program_id = _job_step.program_id AND r.job_run_id = the_run;
    RETURN the_run;
  END IF;
  UPDATE prm.job_run r SET done = r.done + the_count, ended_at = clock_timestamp(),
    outcome = CASE WHEN r.done + the_count > 0 OR r.job = ANY (prm._daily_jobs()) THEN 'done' ELSE 'nothing_due' END
    WHERE r.program_id = _job_step.program_id AND r.job_run_id = the_run;
  RETURN NULL;
END
$prm$;
COMMENT ON FUNCTION prm._job_step(bigint, text, bigint) IS
'Runs one batch of a job in the transaction of the caller and logs it in job_run; job_run_id is NULL for the first batch. Returns the number of the run while more is due, else NULL.';

CREATE PROCEDURE prm.run_jobs(program_id bigint DEFAULT NULL)
LANGUAGE plpgsql AS $prm$
#variable_conflict use_column
DECLARE
  the_programs bigint[];
  the_program bigint;
  the_job text;
  the_run bigint;
BEGIN
  the_programs := prm._job_programs(run_jobs.program_id);
  FOREACH the_program IN ARRAY the_programs LOOP
    FOREACH the_job IN ARRAY prm._job_names() LOOP
      the_run := NULL;
      LOOP
        the_run := prm._job_step(the_program, the_job, the_run);
        COMMIT;
        EXIT WHEN the_run IS NULL;
      END LOOP;
    END LOOP;
  END LOOP;
END
$prm$;
COMMENT ON PROCEDURE prm.run_jobs(bigint) IS
'Does everything that time makes due, for one programme or (NULL) all: ended outbox leases, deadlines, subscription periods, risk events that expire, tiers after wins, and once per business day all tiers, the health snapshots, the look for duplicate accounts, surveys, drops of usage, and recognition; forgets delivered messages and ended deadlines after the programme''s outbox_retention and timer_retention. Commits after every batch, so it cannot be called inside a transaction; may run twice or in parallel without harm; logged in job_run. For the owner of schema prm.';

CREATE FUNCTION prm.schedule_jobs(program_id bigint DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_name text := 'prm';
  the_command text := 'CALL prm.run_jobs()';
  the_home text;
BEGIN
  PERFORM prm._ready();
  IF schedule_jobs.program_id IS NOT NULL THEN
    the_name := 'prm-' || prm._check_program(schedule_jobs.program_id);
    the_command := format('CALL prm.run_jobs(%s)', schedule_jobs.program_id);
  END IF;
  SELECT n.nspname INTO the_home FROM pg_extension e
    JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e' AND d.classid = 'pg_proc'::regclass
    JOIN pg_proc p ON p.oid = d.objid AND p.proname = 'schedule' AND p.pronargs = 3
    JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE e.extname = 'pg_cron' LIMIT 1;
  IF the_home IS NULL THEN
    RETURN format('pg_cron is not installed in this database; add this line to the crontab of a system user that connects as the owner of schema prm: '
      '* * * * * psql -X -q -d %s -c %s', quote_ident(current_database()), quote_literal(the_command));
  END IF;
  EXECUTE format('SELECT %I.schedule($1, $2, $3)', the_home) USING the_name, '* * * * *', the_command;
  RETURN format('pg_cron runs %s every minute as job "%s"', the_command, the_name);
END
$prm$;
COMMENT ON FUNCTION prm.schedule_jobs(bigint) IS
'Has run_jobs() run every minute, for one programme or (NULL) all: by pg_cron where it is installed in this database, otherwise the text returned is the crontab line to add. Safe to repeat.';
