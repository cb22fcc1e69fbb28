
-- Deadlines: the clocks of states, calendars of business time, ladders of roles.

CREATE OR REPLACE TRIGGER prm_definition_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON prm.calendar
  FOR EACH STATEMENT EXECUTE FUNCTION prm.definition_changed();
ALTER TABLE prm.calendar ENABLE ALWAYS TRIGGER prm_definition_changed;
CREATE OR REPLACE TRIGGER prm_definition_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON prm.calendar_hours
  FOR EACH STATEMENT EXECUTE FUNCTION prm.definition_changed();
ALTER TABLE prm.calendar_hours ENABLE ALWAYS TRIGGER prm_definition_changed;
CREATE OR REPLACE TRIGGER prm_definition_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON prm.calendar_holiday
  FOR EACH STATEMENT EXECUTE FUNCTION prm.definition_changed();
ALTER TABLE prm.calendar_holiday ENABLE ALWAYS TRIGGER prm_definition_changed;

CREATE OR REPLACE FUNCTION prm._timers_moved(program_id bigint, machine text, event text, from_state text, to_state text, subjects bigint[],
  subject_uuids uuid[], at timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_version integer;
  the_after jsonb := '{}';
  the_pauses boolean := false;
  the_paused_before boolean := false;
  the_stays boolean;
  the_open bigint[];
  deadline record;
BEGIN
  -- An event that leads back to the same state leaves its clocks alone: a reminder must not put off what comes after it.
  the_stays := coalesce(_timers_moved.from_state = _timers_moved.to_state, false);
  IF (the_stays AND _timers_moved.event IS NOT NULL) OR NOT EXISTS (SELECT 1 FROM prm.machine_state s
      WHERE s.program_id = _timers_moved.program_id AND s.machine = _timers_moved.machine AND (s.is_paused OR s.after <> '{}')) THEN
    RETURN;
  END IF;
  -- All subjects of one call are on the same version; the trigger wrote it to the history just before.
  IF _timers_moved.subjects IS NOT NULL THEN
    SELECT h.machine_version INTO the_version FROM prm.state_history h
      WHERE h.program_id = _timers_moved.program_id AND h.subject_id = _timers_moved.subjects[1] AND h.machine = _timers_moved.machine
      ORDER BY h.history_id DESC LIMIT 1;
  ELSE
    SELECT h.machine_version INTO the_version FROM prm.state_history h
      WHERE h.program_id = _timers_moved.program_id AND h.subject_uuid = _timers_moved.subject_uuids[1] AND h.machine = _timers_moved.machine
      ORDER BY h.history_id DESC LIMIT 1;
  END IF;
  SELECT s.after, s.is_paused INTO the_after, the_pauses FROM prm.machine_state s
    WHERE s.program_id = _timers_moved.program_id AND s.machine = _timers_moved.machine AND s.version = the_version AND s.state = _timers_moved.to_state;
  SELECT s.is_paused INTO the_paused_before FROM prm.machine_state s
    WHERE s.program_id = _timers_moved.program_id AND s.machine = _timers_moved.machine AND s.version = the_version AND s.state = _timers_moved.from_state;
  the_paused_before := coalesce(the_paused_before, false);
  the_pauses := coalesce(the_pauses, false);

  -- The clocks of their present stays, looked up subject by subject whatever the statistics say.
  IF _timers_moved.subjects IS NOT NULL THEN
    the_open := ARRAY(SELECT t.timer_id FROM unnest(_timers_moved.subjects) u(id) CROSS JOIN LATERAL (SELECT t.timer_id FROM prm.timer t
      WHERE t.program_id = _timers_moved.program_id AND t.subject_id = u.id AND t.machine = _timers_moved.machine AND t.ended_at IS NULL OFFSET 0) t);
  ELSE
    the_open := ARRAY(SELECT t.timer_id FROM unnest(_timers_moved.subject_uuids) u(uuid) CROSS JOIN LATERAL (SELECT t.timer_id FROM prm.timer t
      WHERE t.program_id = _timers_moved.program_id AND t.subject_uuid = u.uuid AND t.machine = _timers_moved.machine AND t.ended_at IS NULL OFFSET 0) t);
  END IF;

  IF the_stays THEN
    -- Moved to another version of the machine: deadlines that it does not have end, those that it has go on.
    UPDATE prm.timer t SET ended_at = _timers_moved.at, paused_at = NULL, remaining = NULL,
        canceled_at = CASE WHEN t.fired_at IS NULL THEN _timers_moved.at END, outcome = coalesce(t.outcome, 'canceled')
      FROM unnest(the_open) o(timer_id) WHERE t.program_id = _timers_moved.program_id AND t.timer_id = o.timer_id AND t.state = _timers_moved.to_state
        AND the_after -> t.delay IS DISTINCT FROM CASE t.action WHEN 'event' THEN jsonb_build_object('event', t.event)
          WHEN 'escalate' THEN jsonb_build_object('escalate', t.escalation_level) ELSE '{"warn": true}' END;
  ELSIF cardinality(the_open) > 0 THEN
    IF the_pauses AND NOT the_paused_before THEN
      UPDATE prm.timer t SET paused_at = _timers_moved.at,
          remaining = CASE WHEN t.fired_at IS NULL THEN prm._timer_remaining(t.delay, _timers_moved.at, t.due_at, t.program_id) END
        FROM unnest(the_open) o(timer_id) WHERE t.program_id = _timers_moved.program_id AND t.timer_id = o.timer_id AND t.state = _timers_moved.from_state AND t.paused_at IS NULL;
    ELSIF the_paused_before AND NOT the_pauses THEN
      UPDATE prm.timer t SET paused_at = NULL, remaining = NULL,
          due_at = CASE WHEN t.fired_at IS NULL THEN prm._timer_resume(t.delay, t.remaining, _timers_moved.at, t.program_id) ELSE t.due_at END
        FROM unnest(the_open) o(timer_id) WHERE t.program_id = _timers_moved.program_id AND t.timer_id = o.timer_id AND t.state = _timers_moved.to_state AND t.paused_at IS NOT NULL;
    END IF;
    -- Every other stay is over: what waited is cancelled, what was fired belongs to the past.
    UPDATE prm.timer t SET ended_at = _timers_moved.at, paused_at = NULL, remaining = NULL,
        canceled_at = CASE WHEN t.fired_at IS NULL THEN _timers_moved.at END, outcome = coalesce(t.outcome, 'canceled')
      FROM unnest(the_open) o(timer_id) WHERE t.program_id = _timers_moved.program_id AND t.timer_id = o.timer_id
        AND NOT (the_pauses AND t.paused_at IS NOT NULL) AND NOT (the_paused_before AND NOT the_pauses AND t.state = _timers_moved.to_state);
  END IF;

  -- One moment for all subjects, so each deadline is computed once.
  FOR deadline IN
    SELECT a.key AS delay, k AS action, a.value ->> 'event' AS event, (a.value ->> 'escalate')::integer AS escalation_level,
      prm._timer_due(a.key, _timers_moved.at, _timers_moved.program_id) AS due_at
    FROM jsonb_each(the_after) a CROSS JOIN LATERAL jsonb_object_keys(a.value) k ORDER BY due_at, a.key
  LOOP
    IF the_stays OR the_paused_before THEN
      -- The clocks of a stay that goes on, on another version or after a pause, are there already.
      INSERT INTO prm.timer (program_id, machine, machine_version, state, delay, action, event, escalation_level, due_at, created_at, subject_id, subject_uuid)
      SELECT _timers_moved.program_id, _timers_moved.machine, the_version, _timers_moved.to_state, deadline.delay, deadline.action, deadline.event,
        deadline.escalation_level, deadline.due_at, _timers_moved.at, unnest(_timers_moved.subjects), unnest(_timers_moved.subject_uuids)
      ON CONFLICT DO NOTHING;
    ELSE
      INSERT INTO prm.timer (program_id, machine, machine_version, state, delay, action, event, escalation_level, due_at, created_at, subject_id, subject_uuid)
      SELECT _timers_moved.program_id, _timers_moved.machine, the_version, _timers_moved.to_state, deadline.delay, deadline.action, deadline.event,
        deadline.escalation_level, deadline.due_at, _timers_moved.at, unnest(_timers_moved.subjects), unnest(_timers_moved.subject_uuids);
    END IF;
  END LOOP;
END
$prm$;
REVOKE ALL ON FUNCTION prm._timers_moved(bigint, text, text, text, text, bigint[], uuid[], timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION prm._timers_moved(bigint, text, text, text, text, bigint[], uuid[], timestamptz) IS
'The clocks of subjects that moved: cancels those of the state left, stops them where the new state pauses, lets them run on where a pause ends, and starts those of the state entered (NULL: deleted). Called by prm._state_entered() once per transition and batch.';

CREATE OR REPLACE FUNCTION prm._timers_imported(program_id bigint, machine text, version integer, from_state text, to_state text, subjects bigint[],
  subject_uuids uuid[], moments timestamptz[], at timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_open bigint[];
BEGIN
  -- What they waited for before the import belongs to a state that they were never left in.
  IF _timers_imported.from_state IS NOT NULL THEN
    IF _timers_imported.subjects IS NOT NULL THEN
      the_open := ARRAY(SELECT t.timer_id FROM unnest(_timers_imported.subjects) u(id) CROSS JOIN LATERAL (SELECT t.timer_id FROM prm.timer t
        WHERE t.program_id = _timers_imported.program_id AND t.subject_id = u.id AND t.machine = _timers_imported.machine AND t.ended_at IS NULL OFFSET 0) t);
    ELSE
      the_open := ARRAY(SELECT t.timer_id FROM unnest(_timers_imported.subject_uuids) u(uuid) CROSS JOIN LATERAL (SELECT t.timer_id FROM prm.timer t
        WHERE t.program_id = _timers_imported.program_id AND t.subject_uuid = u.uuid AND t.machine = _timers_imported.machine AND t.ended_at IS NULL OFFSET 0) t);
    END IF;
    UPDATE prm.timer t SET ended_at = _timers_imported.at, paused_at = NULL, remaining = NULL,
        canceled_at = CASE WHEN t.fired_at IS NULL THEN _timers_imported.at END, outcome = coalesce(t.outcome, 'canceled')
      FROM unnest(the_open) o(timer_id) WHERE t.program_id = _timers_imported.program_id AND t.timer_id = o.timer_id;
  END IF;
  -- Each row has a moment of its own, the one that its history entry has.
  INSERT INTO prm.timer (program_id, machine, machine_version, state, delay, action, event, escalation_level, due_at, created_at, subject_id, subject_uuid)
  SELECT _timers_imported.program_id, _timers_imported.machine, _timers_imported.version, _timers_imported.to_state, d.delay, d.action, d.event,
    d.escalation_level, prm._timer_due(d.delay, r.moment, _timers_imported.program_id), r.moment, r.id, r.uuid
  FROM ROWS FROM (unnest(_timers_imported.subjects), unnest(_timers_imported.subject_uuids), unnest(_timers_imported.moments)) AS r(id, uuid, moment)
  CROSS JOIN (
    SELECT a.key AS delay, k AS action, a.value ->> 'event' AS event, (a.value ->> 'escalate')::integer AS escalation_level
    FROM prm.machine_state s CROSS JOIN LATERAL jsonb_each(s.after) a CROSS JOIN LATERAL jsonb_object_keys(a.value) k
    WHERE s.program_id = _timers_imported.program_id AND s.machine = _timers_imported.machine AND s.version = _timers_imported.version
      AND s.state = _timers_imported.to_state) d;
END
$prm$;
REVOKE ALL ON FUNCTION prm._timers_imported(bigint, text, integer, text, text, bigint[], uuid[], timestamptz[], timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION prm._timers_imported(bigint, text, integer, text, text, bigint[], uuid[], timestamptz[], timestamptz) IS
'The clocks of subjects that an import put into a state: those that ran are cancelled, those of the state start at the moment of each row, so they may be due already. Called by the machine''s trigger once per state and batch.';

CREATE OR REPLACE VIEW prm.v_timer WITH (security_invoker = true) AS
SELECT t.program_id, t.timer_id, t.machine, t.subject_id, t.subject_uuid, t.state, coalesce(s.label, t.state) AS state_label, t.delay, t.action, t.event,
  t.escalation_level, coalesce(t.role, r.role) AS role, coalesce(r.label, t.role, r.role) AS role_label, t.due_at,
  CASE WHEN t.outcome IS NOT NULL THEN t.outcome WHEN t.paused_at IS NOT NULL THEN 'paused' WHEN t.due_at <= prm.now() THEN 'overdue' ELSE 'due' END AS status,
  extract(epoch FROM t.remaining)::bigint AS remaining_seconds, t.created_at, t.paused_at, t.fired_at, t.canceled_at, t.ended_at, t.detail
FROM prm.timer t
LEFT JOIN prm.machine_state s ON s.program_id = t.program_id AND s.machine = t.machine AND s.version = t.machine_version AND s.state = t.state
LEFT JOIN prm.escalation_role r ON r.program_id = t.program_id AND r.machine = t.machine AND r.level = t.escalation_level;
COMMENT ON VIEW prm.v_timer IS 'Deadlines and how they stand, a row for each deadline of each stay in a state.';
COMMENT ON COLUMN prm.v_timer.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_timer.timer_id IS 'Number of the timer.';
COMMENT ON COLUMN prm.v_timer.machine IS 'The machine: lead, deal, partner, or one of your own.';
COMMENT ON COLUMN prm.v_timer.subject_id IS 'Key of the row: lead_id, deal_id, partner_id; NULL where the key is a uuid.';
COMMENT ON COLUMN prm.v_timer.subject_uuid IS 'Key of the row where it is a uuid.';
COMMENT ON COLUMN prm.v_timer.state IS 'The state whose deadline it is.';
COMMENT ON COLUMN prm.v_timer.state_label IS 'Label of the state.';
COMMENT ON COLUMN prm.v_timer.delay IS 'How long after entering the state, as the machine says: P2D, business:8h ...';
COMMENT ON COLUMN prm.v_timer.action IS 'What happens: event (it is sent), escalate (the role of the level is told) or warn.';
COMMENT ON COLUMN prm.v_timer.event IS 'The event, for action event.';
COMMENT ON COLUMN prm.v_timer.escalation_level IS 'The level, for action escalate.';
COMMENT ON COLUMN prm.v_timer.role IS 'The role that was told, or would be: that of the level in escalation_role.';
COMMENT ON COLUMN prm.v_timer.role_label IS 'Label of the role.';
COMMENT ON COLUMN prm.v_timer.due_at IS 'When it is due; while it is paused, when it would have been.';
COMMENT ON COLUMN prm.v_timer.status IS 'due (later), overdue (run_jobs() fires it next), paused, fired, refused (its event was not allowed, see detail) or canceled.';
COMMENT ON COLUMN prm.v_timer.remaining_seconds IS 'What is left while it is paused, in seconds; business time for a deadline in business time.';
COMMENT ON COLUMN prm.v_timer.created_at IS 'When the state was entered.';
COMMENT ON COLUMN prm.v_timer.paused_at IS 'When its clock was stopped; NULL while it runs.';
COMMENT ON COLUMN prm.v_timer.fired_at IS 'When it was fired, or refused.';
COMMENT ON COLUMN prm.v_timer.canceled_at IS 'When the row left the state before it was due.';
COMMENT ON COLUMN prm.v_timer.ended_at IS 'When the stay in the state ended.';
COMMENT ON COLUMN prm.v_timer.detail IS 'Why it was refused or cancelled.';

COMMENT ON TABLE prm.calendar IS 'Calendars of business time. One of a programme''s is the default, by which its deadlines run.';
COMMENT ON COLUMN prm.calendar.calendar IS 'Name of the calendar, up to 63 bytes.';
COMMENT ON COLUMN prm.calendar.label IS 'Name for people.';
COMMENT ON COLUMN prm.calendar.time_zone IS 'Whose wall clock its hours are on; NULL: the programme''s.';
COMMENT ON COLUMN prm.calendar.is_default IS 'Whether it counts where none is named; at most one is.';
COMMENT ON TABLE prm.calendar_hours IS 'When a calendar is open, by weekday; a day may have several rows, which do not overlap.';
COMMENT ON COLUMN prm.calendar_hours.calendar IS 'The calendar.';
COMMENT ON COLUMN prm.calendar_hours.weekday IS '1 Monday to 7 Sunday.';
COMMENT ON COLUMN prm.calendar_hours.opens IS 'From this time on, by the wall clock.';
COMMENT ON COLUMN prm.calendar_hours.closes IS 'Up to this time; 24:00 is the end of the day.';
COMMENT ON TABLE prm.calendar_holiday IS 'Dates on which the hours of the weekday do not hold.';
COMMENT ON COLUMN prm.calendar_holiday.calendar IS 'The calendar.';
COMMENT ON COLUMN prm.calendar_holiday.day IS 'The date.';
COMMENT ON COLUMN prm.calendar_holiday.label IS 'Name for people.';
COMMENT ON COLUMN prm.calendar_holiday.opens IS 'Opening time of a short day; NULL: closed all day.';
COMMENT ON COLUMN prm.calendar_holiday.closes IS 'Closing time of a short day; NULL: closed all day.';
COMMENT ON TABLE prm.escalation_role IS 'The ladder of roles of a machine: who is told at which level of escalation.';
COMMENT ON COLUMN prm.escalation_role.machine IS 'The machine.';
COMMENT ON COLUMN prm.escalation_role.level IS 'The level, from 1.';
COMMENT ON COLUMN prm.escalation_role.role IS 'The role, as the consumers of messages know it: channel_manager ...';
COMMENT ON COLUMN prm.escalation_role.label IS 'Name for people.';
COMMENT ON TABLE prm.timer IS 'Deadlines of rows in states, written and fired by the library only; v_timer shows how they stand.';
COMMENT ON COLUMN prm.timer.timer_id IS 'Number of the timer.';
COMMENT ON COLUMN prm.timer.machine IS 'The machine.';
COMMENT ON COLUMN prm.timer.machine_version IS 'The version whose deadline it is.';
COMMENT ON COLUMN prm.timer.subject_id IS 'Key of the row: lead_id, deal_id, partner_id; NULL where the key is a uuid.';
COMMENT ON COLUMN prm.timer.subject_uuid IS 'Key of the row where it is a uuid; exactly one of the two is filled.';
COMMENT ON COLUMN prm.timer.state IS 'The state whose deadline it is.';
COMMENT ON COLUMN prm.timer.delay IS 'How long after entering the state, as the machine says: P2D, business:8h ...';
COMMENT ON COLUMN prm.timer.action IS 'event, escalate or warn.';
COMMENT ON COLUMN prm.timer.event IS 'The event to be sent, for action event.';
COMMENT ON COLUMN prm.timer.escalation_level IS 'The level of the ladder, for action escalate.';
COMMENT ON COLUMN prm.timer.role IS 'The role that was told.';
COMMENT ON COLUMN prm.timer.due_at IS 'When it is due; a pause moves it.';
COMMENT ON COLUMN prm.timer.remaining IS 'What is left while the clock is stopped; business time for a deadline in business time.';
COMMENT ON COLUMN prm.timer.paused_at IS 'When the clock was stopped; NULL while it runs.';
COMMENT ON COLUMN prm.timer.fired_at IS 'When it was fired, or refused.';
COMMENT ON COLUMN prm.timer.canceled_at IS 'When the row left the state before it was due.';
COMMENT ON COLUMN prm.timer.ended_at IS 'When the stay in the state ended; NULL while the row is in it, or in a pause of it.';
COMMENT ON COLUMN prm.timer.outcome IS 'fired, refused or canceled; NULL while it waits.';
COMMENT ON COLUMN prm.timer.detail IS 'Why it was refused or cancelled.';
