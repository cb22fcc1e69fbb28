-- Deadlines of states: written as rows move, fired once, stopped by pauses. CALL prm.run_jobs() commits, so its job is called here.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SELECT set_config('prm.program_id', prm.create_program('Timers', 'reseller', 'USD', 'Europe/Berlin')::text, true) AS program \gset
SET LOCAL prm.clock = '2026-01-02 16:00 Europe/Berlin';  -- a Friday
CREATE FUNCTION pg_temp.timers(subject bigint) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(concat_ws(' ', delay, coalesce(event, action || coalesce(' ' || escalation_level, '')), status), ', ' ORDER BY timer_id)
  FROM prm.v_timer WHERE program_id = prm.current_program() AND subject_id = subject $$;
CREATE FUNCTION pg_temp.due(subject bigint, a_delay text) RETURNS timestamp LANGUAGE sql AS $$
  SELECT due_at AT TIME ZONE 'Europe/Berlin' FROM prm.timer WHERE program_id = prm.current_program() AND subject_id = subject AND delay = a_delay ORDER BY timer_id DESC LIMIT 1 $$;
CREATE FUNCTION pg_temp.run() RETURNS bigint LANGUAGE sql AS $$ SELECT prm._job_work(prm.current_program(), 'timers', 500) $$;
CREATE FUNCTION pg_temp.lead() RETURNS bigint LANGUAGE sql AS $$ INSERT INTO prm.lead (company) VALUES ('Alder') RETURNING lead_id $$;
CREATE FUNCTION pg_temp.machine(states jsonb) RETURNS integer LANGUAGE sql AS $$ SELECT prm.define_machine('lead', jsonb_build_object('initial', 'new', 'states', states)) $$;

-- ---- definitions: each fault with its place ---------------------------------------------------------------------------
CREATE FUNCTION pg_temp.fault(deadlines jsonb) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(f, '; ') FROM prm._check_after('lead', jsonb_build_object('initial', 'new', 'states', jsonb_build_object(
    'new', jsonb_build_object('on', '{"lapse": {"target": "gone"}, "mine": {"target": "gone", "actor": "partner"}, "ours": {"target": "gone", "actor": "system"}}'::jsonb, 'after', deadlines),
    'gone', '{"type": "final"}'::jsonb))) f $$;
SELECT is(pg_temp.fault('{"P2D": {"event": "lapse"}, "business:8h": {"escalate": 1}, "PT1H": {"warn": true}, "P1Y2M3W4DT5H6M7S": {"event": "ours"}, "business:P3D": {"escalate": 99}}'), NULL, 'good deadlines');
SELECT is(pg_temp.fault(jsonb_build_object(d, '{"warn": true}'::jsonb)), 'state "new", after "' || d || '": ' || f, d || ' is refused') FROM (VALUES
  ('2 days', 'it is no duration, write P2D, PT4H (ISO 8601) or business:8h'), ('P', 'it is no duration, write P2D, PT4H (ISO 8601) or business:8h'),
  ('P1DT', 'it is no duration, write P2D, PT4H (ISO 8601) or business:8h'), ('-P1D', 'it is no duration, write P2D, PT4H (ISO 8601) or business:8h'),
  ('P-1D', 'it is no duration, write P2D, PT4H (ISO 8601) or business:8h'), ('P0D', 'it is no time at all'), ('P11Y', 'it is longer than ten years'),
  ('business:', 'it is no duration in business time such as business:8h or business:3d (It has not the form of a duration)'),
  ('business:2d 4h', 'it is no duration in business time such as business:8h or business:3d (Business days end with the close of business, so they do not mix with hours)'),
  ('office:8h', 'it is no duration, write P2D, PT4H (ISO 8601) or business:8h')) v(d, f);
SELECT is(pg_temp.fault(jsonb_build_object('P2D', b)), 'state "new", after "P2D": ' || f, b::text || ' is refused') FROM (VALUES
  ('1'::jsonb, 'it is no JSON object with one of event, escalate and warn'), ('{}', 'it needs exactly one of event, escalate and warn'),
  ('{"warn": true, "escalate": 1}', 'it needs exactly one of event, escalate and warn'), ('{"event": 1}', 'key "event" is no text'),
  ('{"event": "win"}', 'event "win" does not leave the state'), ('{"event": "mine"}', 'event "mine" is for a partner, but a deadline is the system''s: its actor must be system or any'),
  ('{"escalate": 0}', 'key "escalate" is no level from 1 to 99'), ('{"escalate": "1"}', 'key "escalate" is no level from 1 to 99'), ('{"escalate": 1.5}', 'key "escalate" is no level from 1 to 99'),
  ('{"warn": false}', 'key "warn" can only be true'), ('{"shout": true}', 'unknown key "shout", it has one of event, escalate and warn')) v(b, f);
SELECT throws_ok($$SELECT pg_temp.machine('{"new": {"on": {"lapse": {"target": "gone"}}}, "gone": {"type": "final", "after": {"P1D": {"warn": true}}}}')$$, '22023',
  'machine "lead": state "gone", after "P1D": a final state has no deadlines', 'define_machine says so');

-- ---- a lead waits -------------------------------------------------------------------------------------------------------
SELECT pg_temp.machine('{
  "new": {"on": {"take": {"target": "working"}, "remind": {"target": "new"}, "lapse": {"target": "lapsed", "reason": true, "actor": "system"}},
          "after": {"PT1H": {"warn": true}, "business:8h": {"escalate": 1}, "business:3d": {"escalate": 2}, "P2D": {"event": "remind"}, "P1M": {"event": "lapse"}}},
  "working": {"on": {"win": {"target": "won", "guard": "$.budget > 0"}, "wait": {"target": "waiting"}, "drop": {"target": "lapsed"}, "back": {"target": "new"}},
              "after": {"PT10H": {"event": "win"}, "business:4h": {"escalate": 1}, "business:P2D": {"warn": true}}},
  "waiting": {"on": {"resume": {"target": "working"}, "rest": {"target": "resting"}, "drop": {"target": "lapsed"}}, "paused": true, "after": {"P30D": {"event": "drop"}}},
  "resting": {"on": {"resume": {"target": "working"}, "drop": {"target": "lapsed"}}, "paused": true},
  "won": {"type": "final"}, "lapsed": {"type": "final"}}');
INSERT INTO prm.outbox_rule (source, event, event_type, fields) VALUES ('lead', 'escalate', 'lead.escalated', '{company}'), ('lead', 'warn', 'lead.late', '{}');
SELECT pg_temp.lead() AS lead \gset
SELECT is(pg_temp.timers(:lead), 'PT1H warn due, P2D remind due, business:8h escalate 1 due, business:3d escalate 2 due, P1M lapse due', 'entering the first state starts its clocks');
SELECT is(pg_temp.due(:lead, 'business:8h'), '2026-01-05 15:00', 'SLA-001');
SELECT is(pg_temp.due(:lead, 'business:3d'), '2026-01-07 18:00', 'DR-002');
SELECT is(pg_temp.due(:lead, 'P1M'), '2026-02-02 16:00', 'a month by the calendar');
SELECT is(pg_temp.run(), 0::bigint, 'nothing is due yet');
SET LOCAL prm.clock = '2026-01-02 17:00 Europe/Berlin';
SELECT is(pg_temp.run(), 1::bigint, 'the warning');
SELECT is(pg_temp.run(), 0::bigint, 'once');
SET LOCAL prm.clock = '2026-01-04 16:00 Europe/Berlin';
SELECT is(pg_temp.run(), 1::bigint, 'the reminder');
SELECT is((SELECT concat_ws(' ', event, from_state, to_state, actor, actor_kind, reason) FROM prm.state_history WHERE program_id = :program AND machine = 'lead' AND subject_id = :lead
  ORDER BY history_id DESC LIMIT 1), 'remind new new deadline system deadline P2D', 'is an event, sent by the system');
SELECT is(pg_temp.timers(:lead), 'PT1H warn fired, P2D remind fired, business:8h escalate 1 due, business:3d escalate 2 due, P1M lapse due', 'an event back to the same state leaves the clocks alone');
SET LOCAL prm.clock = '2026-01-05 14:59:59 Europe/Berlin';
SELECT is(pg_temp.run(), 0::bigint, 'not a second early');
SET LOCAL prm.clock = '2026-01-05 15:00 Europe/Berlin';
SELECT is(ARRAY[pg_temp.run(), pg_temp.run(), pg_temp.run()], ARRAY[1, 0, 0]::bigint[], 'SLA-002: three ticks, one escalation');
SELECT is((SELECT string_agg(concat_ws(' ', event_type, payload ->> 'escalation_level', payload ->> 'role', payload ->> 'company', payload ->> 'state', payload ->> 'delay'), ', ' ORDER BY outbox_id)
  FROM prm.outbox WHERE program_id = :program), 'lead.late new PT1H, lead.escalated 1 channel_manager Alder new business:8h', 'the role of the level is told, once');
SELECT is((SELECT role_label FROM prm.v_timer WHERE program_id = :program AND subject_id = :lead AND delay = 'business:3d'), 'Channel director', 'the next step of the ladder');
SET LOCAL prm.clock = '2026-01-09 09:00 Europe/Berlin';
SELECT is((SELECT status FROM prm.v_timer WHERE program_id = :program AND subject_id = :lead AND delay = 'business:3d'), 'overdue', 'overdue until the job comes');
SELECT is(pg_temp.run(), 1::bigint, 'late, but once');
SET LOCAL prm.clock = '2026-02-02 16:00 Europe/Berlin';
SELECT is(pg_temp.run(), 1::bigint, 'an event that only the system may send and that needs a reason');
SELECT is((SELECT state FROM prm.lead WHERE program_id = :program AND lead_id = :lead), 'lapsed', 'has moved the lead');
SELECT is((SELECT count(*) FROM prm.timer WHERE program_id = :program AND subject_id = :lead AND ended_at IS NULL), 0::bigint, 'no clock of it is left open');

INSERT INTO prm.outbox_rule (source, to_state, event_type) VALUES ('lead', 'working', 'lead.working');

-- ---- moving on cancels --------------------------------------------------------------------------------------------------
SET LOCAL prm.clock = '2026-03-02 09:00 Europe/Berlin';  -- a Monday
SELECT pg_temp.lead() AS lead \gset
SELECT prm.fire('lead', :lead, 'take');
SELECT is(pg_temp.timers(:lead), 'PT1H warn canceled, business:8h escalate 1 canceled, P2D remind canceled, business:3d escalate 2 canceled, P1M lapse canceled, business:4h escalate 1 due, PT10H win due, business:P2D warn due',
  'leaving a state cancels its clocks');
SELECT prm.fire('lead', :lead, 'back');
SELECT is((SELECT count(*) FROM prm.v_timer WHERE program_id = :program AND subject_id = :lead AND status = 'due'), 5::bigint, 'coming back starts them anew');
SELECT prm.fire('lead', :lead, 'take');

-- ---- a refused event ----------------------------------------------------------------------------------------------------
SET LOCAL prm.clock = '2026-03-02 19:30 Europe/Berlin';
SELECT pg_temp.lead() AS other \gset
UPDATE prm.lead SET budget = 5 WHERE program_id = :program AND lead_id = :other;
SELECT prm.fire('lead', :other, 'take');
SET LOCAL prm.clock = '2026-03-03 05:30 Europe/Berlin';
SELECT is(pg_temp.run(), 3::bigint, 'one escalation and two events, of which one is refused');
SELECT is((SELECT state FROM prm.lead WHERE program_id = :program AND lead_id = :lead), 'working', 'the guard does not hold, so the lead stays');
SELECT is((SELECT state FROM prm.lead WHERE program_id = :program AND lead_id = :other), 'won', 'which does not stop the other');
SELECT is((SELECT status FROM prm.v_timer WHERE program_id = :program AND subject_id = :lead AND delay = 'PT10H' AND ended_at IS NULL), 'refused', 'it is shown as refused');
SELECT alike((SELECT detail FROM prm.v_timer WHERE program_id = :program AND subject_id = :lead AND delay = 'PT10H' AND ended_at IS NULL), '%guard $.budget > 0 does not hold%', 'with the reason');
SELECT is(pg_temp.run(), 0::bigint, 'and not tried again');

-- ---- a pause stops the clock --------------------------------------------------------------------------------------------
SET LOCAL prm.clock = '2026-03-04 09:00 Europe/Berlin';  -- a Wednesday
SELECT pg_temp.lead() AS lead \gset
SELECT prm.fire('lead', :lead, 'take');
SET LOCAL prm.clock = '2026-03-04 11:00 Europe/Berlin';
SELECT prm.fire('lead', :lead, 'wait');
SELECT is((SELECT string_agg(concat_ws(' ', delay, status, remaining_seconds / 3600), ', ' ORDER BY delay COLLATE "C") FROM prm.v_timer
  WHERE program_id = :program AND subject_id = :lead AND ended_at IS NULL), 'P30D due, PT10H paused 8, business:4h paused 2, business:P2D paused 25', 'what is left is kept');
SET LOCAL prm.clock = '2026-03-05 11:00 Europe/Berlin';
SELECT pg_temp.run();
SELECT is((SELECT count(*) FROM prm.timer WHERE program_id = :program AND subject_id = :lead AND ended_at IS NULL AND fired_at IS NOT NULL), 0::bigint, 'nothing of it fires');
SELECT prm.fire('lead', :lead, 'rest');
SELECT is((SELECT string_agg(concat_ws(' ', delay, status), ', ' ORDER BY delay COLLATE "C") FROM prm.v_timer WHERE program_id = :program AND subject_id = :lead AND ended_at IS NULL),
  'PT10H paused, business:4h paused, business:P2D paused', 'from pause to pause, the clocks of the first pause end');
SET LOCAL prm.clock = '2026-03-06 17:00 Europe/Berlin';  -- a Friday
SELECT prm.fire('lead', :lead, 'resume');
SELECT is(pg_temp.due(:lead, 'business:4h'), '2026-03-09 10:00', 'business time runs on: one hour on Friday, one on Monday');
SELECT is(pg_temp.due(:lead, 'PT10H'), '2026-03-07 01:00', 'and so does time');
SELECT is((SELECT count(*) FROM prm.timer WHERE program_id = :program AND subject_id = :lead AND state = 'working'), 3::bigint, 'the same clocks, no new ones');
SET LOCAL prm.clock = '2026-03-09 10:00 Europe/Berlin';
SELECT is(pg_temp.run(), 2::bigint, 'an escalation and a refused event');
SELECT prm.fire('lead', :lead, 'wait');
SET LOCAL prm.clock = '2026-03-20 10:00 Europe/Berlin';
SELECT prm.fire('lead', :lead, 'resume');
SELECT is((SELECT count(*) FROM prm.timer WHERE program_id = :program AND subject_id = :lead AND state = 'working'), 3::bigint, 'what fired before a pause does not start again after it');
SELECT is(pg_temp.timers(:lead), 'PT1H warn canceled, business:8h escalate 1 canceled, P2D remind canceled, business:3d escalate 2 canceled, P1M lapse canceled, '
  'business:4h escalate 1 fired, PT10H win refused, business:P2D warn due, P30D drop canceled, P30D drop canceled', 'the whole story');
SELECT prm.fire('lead', :lead, 'wait');
SELECT prm.fire('lead', :lead, 'drop');
SELECT is((SELECT count(*) FROM prm.timer WHERE program_id = :program AND subject_id = :lead AND (ended_at IS NULL OR paused_at IS NOT NULL)), 0::bigint, 'out of a pause to elsewhere: all is over');
-- Overdue when the pause begins: due as soon as it ends.
SELECT pg_temp.lead() AS lead \gset
SELECT prm.fire('lead', :lead, 'take');
SET LOCAL prm.clock = '2026-03-23 18:00 Europe/Berlin';
SELECT prm.fire('lead', :lead, 'wait');
SET LOCAL prm.clock = '2026-03-25 10:00 Europe/Berlin';
SELECT prm.fire('lead', :lead, 'resume');
SELECT is(pg_temp.due(:lead, 'business:4h'), '2026-03-25 10:00', 'what was overdue before the pause is due at its end');

-- ---- clocks are changed: two days later is the same time of day -----------------------------------------------------------
SET LOCAL prm.clock = '2026-03-28 12:00 Europe/Berlin';
SELECT pg_temp.lead() AS lead \gset
SET LOCAL timezone = 'America/New_York';
SELECT is(pg_temp.due(:lead, 'P2D'), '2026-03-30 12:00', 'days by the wall clock of the programme');

-- ---- sets -----------------------------------------------------------------------------------------------------------------
SET LOCAL prm.clock = '2026-05-04 09:00 Europe/Berlin';
INSERT INTO prm.lead (company) SELECT 'Birch' FROM generate_series(1, 1200) n;
SELECT is((SELECT count(*) FROM prm.timer t JOIN prm.lead l ON l.program_id = t.program_id AND l.lead_id = t.subject_id WHERE t.program_id = :program AND l.company = 'Birch'), 6000::bigint, 'in bulk');
UPDATE prm.lead SET state = 'working', budget = 1 WHERE program_id = :program AND company = 'Birch';
SELECT is((SELECT string_agg(outcome || ' ' || n, ', ' ORDER BY outcome) FROM (SELECT coalesce(t.outcome, 'open') AS outcome, count(*) AS n
  FROM prm.timer t JOIN prm.lead l ON l.program_id = t.program_id AND l.lead_id = t.subject_id WHERE t.program_id = :program AND l.company = 'Birch' GROUP BY 1) x),
  'canceled 6000, open 3600', 'moved in bulk');
ANALYZE prm.lead, prm.timer;
SET LOCAL prm.clock = '2026-05-04 19:00 Europe/Berlin';
DELETE FROM prm.timer t WHERE t.program_id = :program AND t.created_at < prm.now() - interval '1 day';
SELECT is(ARRAY[pg_temp.run(), pg_temp.run(), pg_temp.run(), pg_temp.run(), pg_temp.run(), pg_temp.run()], ARRAY[500, 500, 500, 500, 400, 0]::bigint[], 'fired batch by batch');
SELECT is((SELECT count(*) FROM prm.lead WHERE program_id = :program AND company = 'Birch' AND state = 'won'), 1200::bigint, 'all of them');

SELECT is((SELECT string_agg(DISTINCT payload ->> 'event', ', ') FROM prm.outbox WHERE program_id = :program AND event_type = 'lead.working'), 'resume, take',
  'a rule for any event speaks of changes of state, not of deadlines');

-- ---- firing is not for anybody else -----------------------------------------------------------------------------------------
SET LOCAL prm.clock = '2026-06-01 09:00 Europe/Berlin';
SELECT pg_temp.lead() AS lead \gset
SELECT timer_id AS timer FROM prm.timer WHERE program_id = :program AND subject_id = :lead AND delay = 'P1M' \gset
SELECT is(prm._fire_timer(:program, :timer), NULL, 'a timer that is not due does nothing');
SET LOCAL prm.clock = '2026-07-01 09:00 Europe/Berlin';
CREATE ROLE regress_prm_timer;
SELECT prm.grant_access('regress_prm_timer', 'admin');
SET LOCAL ROLE regress_prm_timer;
SELECT throws_ok(format('SELECT prm._fire_timer(%s, %s)', :program, :timer), '42501', NULL, 'nobody but the owner fires timers');
SELECT throws_ok(format('UPDATE prm.timer SET due_at = now() WHERE timer_id = %s', :timer), '42501', NULL, 'or writes them');
SELECT throws_ok(format('SELECT prm.fire(''lead'', %s, ''lapse'')', :lead), '42501', NULL, 'or sends an event of the system');
SELECT lives_ok(format('SELECT prm.fire(''lead'', %s, ''take'')', :lead), 'moving a lead needs no right on its timers');
RESET ROLE;
SELECT is(prm._fire_timer(:program, :timer), NULL, 'a cancelled timer does nothing');
SELECT is(prm._fire_timer(:program, NULL), NULL, 'nor does none');

-- A lead whose state changed behind the machine's back, and one that is gone.
SELECT pg_temp.lead() AS lead \gset
SELECT pg_temp.lead() AS other \gset
SET LOCAL session_replication_role = replica;
UPDATE prm.lead SET state = 'working' WHERE program_id = :program AND lead_id = :lead;
DELETE FROM prm.lead WHERE program_id = :program AND lead_id = :other;
RESET session_replication_role;
SET LOCAL prm.clock = '2026-07-03 10:00 Europe/Berlin';
SELECT lives_ok('SELECT pg_temp.run()', 'no error');
SELECT is((SELECT detail FROM prm.v_timer WHERE program_id = :program AND subject_id = :lead AND delay = 'P2D'), 'its subject was in state "working"', 'a timer of another state is cancelled');
SELECT is((SELECT detail FROM prm.v_timer WHERE program_id = :program AND subject_id = :other AND delay = 'P2D'), 'its subject is gone', 'and one of nobody');
SELECT is((SELECT state FROM prm.lead WHERE program_id = :program AND lead_id = :lead), 'working', 'nothing moved');

-- ---- another version of the machine ------------------------------------------------------------------------------------------
SET LOCAL prm.clock = '2026-08-03 09:00 Europe/Berlin';
UPDATE prm.lead SET state = 'lapsed' WHERE program_id = :program AND state = 'working';
SELECT pg_temp.lead() AS lead \gset
SELECT version AS old FROM prm.machine WHERE program_id = :program AND machine = 'lead' AND is_current \gset
SET LOCAL prm.clock = '2026-08-03 10:00 Europe/Berlin';
SELECT pg_temp.run();
SELECT pg_temp.machine('{"new": {"on": {"lapse": {"target": "lapsed"}, "wait": {"target": "resting"}}, "after": {"PT1H": {"warn": true}, "P2D": {"escalate": 1}, "P1M": {"event": "lapse"}, "P5D": {"warn": true}}},
  "resting": {"on": {"lapse": {"target": "lapsed"}}, "paused": true}, "lapsed": {"type": "final"}}') AS version \gset
SELECT is(pg_temp.timers(:lead), 'PT1H warn fired, business:8h escalate 1 due, P2D remind due, business:3d escalate 2 due, P1M lapse due', 'a new version leaves what runs alone');
SELECT ok(count(*) > 0, 'rows are moved to it') FROM prm.migrate_subjects('lead', :old, :version, '{"waiting": "resting"}');
SELECT is(pg_temp.timers(:lead), 'PT1H warn fired, business:8h escalate 1 canceled, P2D remind canceled, business:3d escalate 2 canceled, P1M lapse due, P2D escalate 1 due, P5D warn due',
  'moved to it: what it has goes on, what it lacks ends, what is new begins');
SELECT is(pg_temp.due(:lead, 'P5D'), '2026-08-08 10:00', 'from now on');
SELECT is(pg_temp.due(:lead, 'P1M'), '2026-09-03 09:00', 'or from when it began');

-- ---- deleted rows ----------------------------------------------------------------------------------------------------------
DELETE FROM prm.lead WHERE program_id = :program AND lead_id = :lead;
SELECT is((SELECT count(*) FROM prm.timer WHERE program_id = :program AND subject_id = :lead AND ended_at IS NULL), 0::bigint, 'the clocks of a deleted row end');

-- ---- tables of one's own, with uuid keys ---------------------------------------------------------------------------------------
CREATE TABLE public.support_case (case_id uuid PRIMARY KEY, state text NOT NULL);
SELECT prm.define_machine('support_case', '{"initial": "open", "states": {"open": {"on": {"close": {"target": "closed"}, "hold": {"target": "held"}}, "after": {"business:4h": {"event": "close"}, "PT1H": {"escalate": 1}}},
  "held": {"paused": true, "on": {"resume": {"target": "open"}}}, "closed": {"type": "final"}}}');
SELECT prm.attach_machine('public.support_case', 'support_case', key_column => 'case_id');
INSERT INTO prm.escalation_role (machine, level, role) VALUES ('support_case', 1, 'support_lead');
INSERT INTO prm.outbox_rule (source, event, event_type) VALUES ('support_case', 'escalate', 'case.late');
INSERT INTO public.support_case VALUES ('00000000-0000-4000-8000-000000000001', 'open'), ('00000000-0000-4000-8000-000000000002', 'open'), ('00000000-0000-4000-8000-000000000003', 'open');
SELECT is((SELECT count(*) FROM prm.v_timer WHERE program_id = :program AND machine = 'support_case' AND subject_uuid IS NOT NULL AND status = 'due'), 6::bigint, 'a row of one''s own has its clocks');
SET LOCAL prm.clock = '2026-08-03 11:00 Europe/Berlin';
SELECT pg_temp.run();
SELECT is((SELECT count(*) FROM prm.v_timer WHERE program_id = :program AND machine = 'support_case' AND status = 'fired' AND role = 'support_lead'), 3::bigint, 'escalated');
SELECT is((SELECT string_agg(event_type || right(aggregate_id, 1) || (payload ->> 'role'), ', ' ORDER BY outbox_id) FROM prm.outbox WHERE program_id = :program AND aggregate_type = 'support_case'),
  'case.late1support_lead, case.late2support_lead, case.late3support_lead', 'and told');
UPDATE public.support_case SET state = 'held' WHERE case_id = '00000000-0000-4000-8000-000000000002';
DELETE FROM public.support_case WHERE case_id = '00000000-0000-4000-8000-000000000003';
SET LOCAL prm.clock = '2026-08-03 14:00 Europe/Berlin';
SELECT is(pg_temp.run(), 1::bigint, 'closed');
UPDATE public.support_case SET state = 'open' WHERE case_id = '00000000-0000-4000-8000-000000000002';
SELECT is((SELECT string_agg(right(subject_uuid::text, 1) || ' ' || delay || ' ' || status || ' ' || to_char(due_at AT TIME ZONE 'Europe/Berlin', 'HH24:MI'), ', ' ORDER BY subject_uuid, due_at)
  FROM prm.v_timer WHERE program_id = :program AND machine = 'support_case'),
  '1 PT1H fired 11:00, 1 business:4h fired 14:00, 2 PT1H fired 11:00, 2 business:4h due 17:00, 3 PT1H fired 11:00, 3 business:4h canceled 14:00', 'by event, by pause, by deletion');
SELECT is((SELECT string_agg(state, ',' ORDER BY case_id) FROM public.support_case), 'closed,open', 'the rows themselves');

-- Without a default calendar a move that needs business time says what is missing.
DELETE FROM prm.calendar WHERE program_id = :program;
SELECT throws_ok($$INSERT INTO public.support_case VALUES ('00000000-0000-4000-8000-000000000004', 'open')$$, '55000', format('programme %s has no default calendar', :program), 'no calendar, no deadline in business time');

-- ---- historical imports: the clocks of the state that a row stands in, from the moment that it tells -------------------
DELETE FROM prm.calendar WHERE program_id = :program;
INSERT INTO prm.calendar (calendar, is_default) VALUES ('imports', true);
INSERT INTO prm.calendar_hours (calendar, weekday, opens, closes) SELECT 'imports', d, '09:00', '18:00' FROM generate_series(1, 5) d;
SELECT pg_temp.machine('{
  "new": {"on": {"go": {"target": "waiting"}, "end": {"target": "done"}}, "after": {"P10D": {"warn": true}}},
  "waiting": {"on": {"end": {"target": "done"}}, "after": {"P1D": {"event": "end"}, "business:8h": {"escalate": 1}}},
  "done": {"type": "final"}}') AS v \gset
INSERT INTO prm.machine_hook (machine, fires_on, to_state, action, title) VALUES ('lead', 'enter', 'waiting', 'task', 'Look at {subject}');
INSERT INTO prm.outbox_rule (source, to_state, event_type) VALUES ('lead', 'waiting', 'lead.waits');
SET LOCAL prm.clock = '2026-03-10 12:00 Europe/Berlin';
SELECT prm._import_context();
INSERT INTO prm.lead (lead_id, company, state, created_at) VALUES (9004001, 'A', 'waiting', '2026-03-06 16:00 Europe/Berlin'), (9004002, 'B', 'waiting', '2026-03-10 09:00 Europe/Berlin'),
  (9004003, 'C', 'done', '2026-03-01 00:00 Europe/Berlin');
INSERT INTO prm.lead (lead_id, company, created_at) VALUES (9004004, 'D', prm.now());
SELECT is(pg_temp.timers(9004001), 'P1D end overdue, business:8h escalate 1 overdue', 'the clocks of the state in which an imported row stands');
SELECT is(pg_temp.due(9004001, 'P1D'), '2026-03-07 16:00'::timestamp, 'from the moment that the row tells');
SELECT is(pg_temp.due(9004001, 'business:8h'), '2026-03-09 15:00'::timestamp, 'in business time too (SLA-001)');
SELECT is(pg_temp.due(9004002, 'P1D'), '2026-03-11 09:00'::timestamp, 'each row from its own');
SELECT is(pg_temp.timers(9004003), NULL, 'a final state has none');
SELECT is(pg_temp.due(9004004, 'P10D'), '2026-03-20 12:00'::timestamp, 'a first state too');
UPDATE prm.lead SET state = 'waiting' WHERE program_id = :program AND lead_id = 9004004;
SELECT is(pg_temp.timers(9004004), 'P10D warn canceled, P1D end due, business:8h escalate 1 due', 'an import that changes the state ends the clocks that ran');
UPDATE prm.lead SET state = 'done' WHERE program_id = :program AND lead_id = 9004004;
SELECT is(pg_temp.timers(9004004), 'P10D warn canceled, P1D end canceled, business:8h escalate 1 canceled', 'also into a state without clocks');
SELECT is((SELECT count(*) FROM prm.task WHERE program_id = :program AND machine = 'lead' AND subject_id BETWEEN 9004001 AND 9004004), 0::bigint, 'no hooks follow from an import');
SELECT is((SELECT count(*) FROM prm.outbox WHERE program_id = :program AND event_type = 'lead.waits'), 0::bigint, 'and no messages');

-- check() says which level of escalation reaches nobody.
DELETE FROM prm.escalation_role WHERE program_id = :program AND machine = 'lead';
SELECT is((SELECT concat_ws(': ', severity, message) FROM prm.check() WHERE object = format('machine lead of programme %s', :program)),
  'warning: state "waiting" escalates to level 1, which has no role, so nobody is told', 'a level without a role');
SELECT fix FROM prm.check() WHERE object = format('machine lead of programme %s', :program) \gset
:fix
SELECT is_empty(format($$SELECT * FROM prm.check() WHERE object = 'machine lead of programme %s'$$, :program), 'and the statement that mends it');

SELECT * FROM finish();
ROLLBACK;
