
-- Timers: deadlines of states, their definition and their firing. What writes them when a row moves is in the model.

CREATE FUNCTION prm._check_after(machine text, definition jsonb) RETURNS SETOF text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  deadline record;
  the_fault text;
  the_span interval;
BEGIN
  FOR deadline IN
    SELECT s.key AS state, coalesce(s.value ->> 'type' = 'final', false) AS is_final, coalesce(s.value -> 'on', '{}') AS events, a.key AS delay, a.value AS body
    FROM jsonb_each(_check_after.definition -> 'states') s, LATERAL jsonb_each(coalesce(s.value -> 'after', '{}')) a
    ORDER BY s.key, a.key
  LOOP
    the_fault := NULL;
    IF deadline.is_final THEN
      the_fault := 'a final state has no deadlines';
    ELSIF deadline.delay ~ '^business:' THEN
      the_fault := 'it is no duration in business time such as business:8h or business:3d (' || rtrim(prm._business_duration_fault(substr(deadline.delay, 10)), '.') || ')';
    ELSIF deadline.delay !~ '^P(?=[0-9T])([0-9]{1,4}Y)?([0-9]{1,5}M)?([0-9]{1,5}W)?([0-9]{1,6}D)?(T(?=[0-9])([0-9]{1,6}H)?([0-9]{1,7}M)?([0-9]{1,9}S)?)?$' THEN
      the_fault := 'it is no duration, write P2D, PT4H (ISO 8601) or business:8h';
    ELSE
      the_span := deadline.delay::interval;
      IF the_span <= interval '0' THEN
        the_fault := 'it is no time at all';
      ELSIF the_span > interval '10 years' THEN
        the_fault := 'it is longer than ten years';
      END IF;
    END IF;
    IF the_fault IS NULL AND jsonb_typeof(deadline.body) <> 'object' THEN
      the_fault := 'it is no JSON object with one of event, escalate and warn';
    END IF;
    IF the_fault IS NULL THEN
      SELECT format('unknown key "%s", it has one of event, escalate and warn', k) INTO the_fault FROM jsonb_object_keys(deadline.body) k
        WHERE k NOT IN ('event', 'escalate', 'warn') ORDER BY k LIMIT 1;
    END IF;
    IF the_fault IS NULL THEN
      the_fault := CASE
        WHEN (SELECT count(*) FROM jsonb_object_keys(deadline.body)) <> 1 THEN 'it needs exactly one of event, escalate and warn'
        WHEN jsonb_typeof(deadline.body -> 'event') <> 'string' THEN 'key "event" is no text'
        WHEN deadline.body ? 'event' AND NOT deadline.events ? (deadline.body ->> 'event')
          THEN format('event "%s" does not leave the state', deadline.body ->> 'event')
        WHEN deadline.events -> (deadline.body ->> 'event') ->> 'actor' IN ('partner', 'vendor')
          THEN format('event "%s" is for a %s, but a deadline is the system''s: its actor must be system or any', deadline.body ->> 'event',
                      deadline.events -> (deadline.body ->> 'event') ->> 'actor')
        WHEN deadline.body ? 'escalate' AND deadline.body ->> 'escalate' !~ '^[1-9][0-9]?$' THEN 'key "escalate" is no level from 1 to 99'
        WHEN jsonb_typeof(deadline.body -> 'escalate') <> 'number' THEN 'key "escalate" is no level from 1 to 99'
        WHEN deadline.body -> 'warn' <> 'true' THEN 'key "warn" can only be true'
      END;
    END IF;
    IF the_fault IS NOT NULL THEN
      RETURN NEXT format('state "%s", after "%s": %s', deadline.state, deadline.delay, the_fault);
    END IF;
  END LOOP;
END
$prm$;
COMMENT ON FUNCTION prm._check_after(text, jsonb) IS
'What is wrong with the deadlines (after) of a machine''s definition of right form, one text per fault with its place.';

CREATE FUNCTION prm._deadline_label(after jsonb, is_paused boolean, separator text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  RETURN coalesce(_deadline_label.separator || nullif(concat_ws(_deadline_label.separator,
    (SELECT string_agg(format('after %s: %s', a.key, CASE WHEN a.value ? 'event' THEN a.value ->> 'event' WHEN a.value ? 'warn' THEN 'warn'
        ELSE 'escalate to level ' || (a.value ->> 'escalate') END), _deadline_label.separator ORDER BY a.key COLLATE "C") FROM jsonb_each(_deadline_label.after) a),
    CASE WHEN _deadline_label.is_paused THEN 'stops clocks' END), ''), '');
END
$prm$;
COMMENT ON FUNCTION prm._deadline_label(jsonb, boolean, text) IS 'What a picture says below the name of a state: its deadlines, and whether it stops clocks. Begins with the separator; empty where there is nothing to say.';

CREATE FUNCTION prm._timer_due(delay text, at timestamptz, program_id bigint) RETURNS timestamptz
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_zone text;
BEGIN
  IF _timer_due.delay ~ '^business:' THEN
    RETURN prm.business_add(_timer_due.at, substr(_timer_due.delay, 10), NULL, _timer_due.program_id);
  END IF;
  -- By the programme's clock, so that two days later is the same time of the day whatever the session's zone.
  the_zone := prm._program_time_zone(_timer_due.program_id);
  RETURN ((_timer_due.at AT TIME ZONE the_zone) + date_trunc('day', _timer_due.delay::interval)) AT TIME ZONE the_zone
    + (_timer_due.delay::interval - date_trunc('day', _timer_due.delay::interval));
END
$prm$;
COMMENT ON FUNCTION prm._timer_due(text, timestamptz, bigint) IS
'When a deadline that begins to run at a moment is due: business time by the default calendar, days and months by the programme''s clock, hours as they pass.';

CREATE FUNCTION prm._timer_remaining(delay text, at timestamptz, due_at timestamptz, program_id bigint) RETURNS interval
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  IF _timer_remaining.due_at <= _timer_remaining.at THEN
    RETURN interval '0';
  ELSIF _timer_remaining.delay ~ '^business:' THEN
    RETURN prm.business_between(_timer_remaining.at, _timer_remaining.due_at, NULL, _timer_remaining.program_id);
  END IF;
  RETURN make_interval(secs => extract(epoch FROM _timer_remaining.due_at - _timer_remaining.at)::double precision);
END
$prm$;
COMMENT ON FUNCTION prm._timer_remaining(text, timestamptz, timestamptz, bigint) IS
'What is left of a deadline at a moment: business time for a deadline in business time, otherwise time.';

CREATE FUNCTION prm._timer_resume(delay text, remaining interval, at timestamptz, program_id bigint) RETURNS timestamptz
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  IF _timer_resume.remaining > interval '0' AND _timer_resume.delay ~ '^business:' THEN
    RETURN prm.business_add(_timer_resume.at, format('%ss', extract(epoch FROM _timer_resume.remaining)), NULL, _timer_resume.program_id);
  END IF;
  RETURN _timer_resume.at + _timer_resume.remaining;
END
$prm$;
COMMENT ON FUNCTION prm._timer_resume(text, interval, timestamptz, bigint) IS 'When a deadline of which so much is left is due, if it runs on from a moment.';

CREATE FUNCTION prm._fire_timer(program_id bigint, timer_id bigint) RETURNS text
LANGUAGE c AS 'MODULE_PATHNAME', 'prm_fire_timer';
COMMENT ON FUNCTION prm._fire_timer(bigint, bigint) IS
'Sends the event of a due timer as the system and returns fired; canceled where its row is gone or in another state; NULL where it is not due, was fired, or where another session has the row. Part of run_jobs(): needs the right to write prm.timer, which only the owner of schema prm has. Errors: as prm.fire().';

CREATE FUNCTION prm._work_timers(program_id bigint, batch integer) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_count bigint;
  the_timer bigint;
  the_message text;
  the_detail text;
BEGIN
  the_count := prm._tell_timers(_work_timers.program_id, _work_timers.batch);
  FOREACH the_timer IN ARRAY ARRAY(
    SELECT t.timer_id FROM prm.timer t
    WHERE t.program_id = _work_timers.program_id AND t.action = 'event' AND t.due_at <= prm.now()
      AND t.fired_at IS NULL AND t.canceled_at IS NULL AND t.paused_at IS NULL
    ORDER BY t.due_at, t.timer_id LIMIT _work_timers.batch - the_count)
  LOOP
    BEGIN
      IF prm._fire_timer(_work_timers.program_id, the_timer) IS NOT NULL THEN
        the_count := the_count + 1;
      END IF;
    EXCEPTION
      WHEN serialization_failure OR deadlock_detected THEN
        RAISE;
      WHEN OTHERS THEN
        -- A guard that does not hold must not stop the other deadlines; it is tried once and then shown by v_timer.
        GET STACKED DIAGNOSTICS the_message = MESSAGE_TEXT, the_detail = PG_EXCEPTION_DETAIL;
        UPDATE prm.timer t SET fired_at = prm.now(), outcome = 'refused', detail = concat_ws(': ', the_message, nullif(the_detail, ''))
          WHERE t.program_id = _work_timers.program_id AND t.timer_id = the_timer AND t.fired_at IS NULL AND t.canceled_at IS NULL;
        the_count := the_count + 1;
    END;
  END LOOP;
  RETURN the_count;
END
$prm$;
COMMENT ON FUNCTION prm._work_timers(bigint, integer) IS
'Fires up to batch due timers: escalations and warnings become messages, events are sent as the system, each once. Returns how many were dealt with.';

CREATE FUNCTION prm._tell_timers(program_id bigint, batch integer) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_timers bigint[];
BEGIN
  WITH claimed AS (
    SELECT t.timer_id FROM prm.timer t
    WHERE t.program_id = _tell_timers.program_id AND t.action IN ('escalate', 'warn') AND t.due_at <= prm.now()
      AND t.fired_at IS NULL AND t.canceled_at IS NULL AND t.paused_at IS NULL
    ORDER BY t.due_at, t.timer_id LIMIT _tell_timers.batch FOR UPDATE SKIP LOCKED
  ), told AS (
    UPDATE prm.timer t SET fired_at = prm.now(), outcome = 'fired',
      role = (SELECT r.role FROM prm.escalation_role r WHERE r.program_id = t.program_id AND r.machine = t.machine AND r.level = t.escalation_level)
    FROM claimed c WHERE t.program_id = _tell_timers.program_id AND t.timer_id = c.timer_id
    RETURNING t.timer_id
  )
  SELECT array_agg(d.timer_id) INTO the_timers FROM told d;
  IF the_timers IS NULL THEN
    RETURN 0;
  END IF;
  WITH told AS (
    SELECT t.*, CASE t.machine
        WHEN 'lead' THEN (SELECT to_jsonb(l) FROM prm.lead l WHERE l.program_id = t.program_id AND l.lead_id = t.subject_id)
        WHEN 'deal' THEN (SELECT to_jsonb(d) FROM prm.deal d WHERE d.program_id = t.program_id AND d.deal_id = t.subject_id)
        WHEN 'registration' THEN (SELECT to_jsonb(r) FROM prm.registration r WHERE r.program_id = t.program_id AND r.registration_id = t.subject_id)
        WHEN 'partner' THEN (SELECT to_jsonb(p) FROM prm.partner p WHERE p.program_id = t.program_id AND p.partner_id = t.subject_id)
      END AS row_values
    FROM prm.timer t WHERE t.program_id = _tell_timers.program_id AND t.timer_id = ANY (the_timers)
  )
  INSERT INTO prm.outbox (program_id, aggregate_type, aggregate_id, event_type, channel, payload, occurred_at, available_at)
  SELECT t.program_id, t.machine, coalesce(t.subject_id::text, t.subject_uuid::text), r.event_type, r.channel,
    jsonb_strip_nulls(jsonb_build_object('event', t.action, 'state', t.state, 'delay', t.delay, 'due_at', t.due_at, 'escalation_level', t.escalation_level,
      'role', t.role)) || coalesce((SELECT jsonb_object_agg(f, t.row_values -> f) FROM unnest(r.fields) f), '{}'),
    prm.now(), prm.now()
  FROM told t
  -- Only rules that name it: one for any event speaks of changes of state, and a deadline that passes is none.
  JOIN prm.outbox_rule r ON r.program_id = t.program_id AND r.source = t.machine AND r.is_active AND r.event = t.action
    AND (r.to_state IS NULL OR r.to_state = t.state)
  ORDER BY t.timer_id, r.outbox_rule_id;
  RETURN cardinality(the_timers);
END
$prm$;
COMMENT ON FUNCTION prm._tell_timers(bigint, integer) IS
'Fires up to batch due escalations and warnings: marks each once, with the role of its level, and writes a message where an outbox rule with event escalate or warn asks for it.';
