-- Hooks as rows: messages from templates, tasks for roles, columns set, on entering, leaving and events; checked when written.
BEGIN;
-- The expectations write moments as ISO does.
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';
SET LOCAL intervalstyle = postgres;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SELECT set_config('prm.program_id', prm.create_program('Hooks', 'blank', 'EUR', 'Europe/Berlin')::text, true) AS p \gset
SET LOCAL prm.clock = '2026-03-02 23:30:00+00';
SET LOCAL prm.actor = 'vera';
INSERT INTO prm.partner (partner_id, name, region) VALUES (9200001, 'Alder', 'north');
INSERT INTO prm.lead (lead_id, partner_id, company, need, budget, timeline_on, decision_maker, attributes)
  SELECT 9200000 + n, 9200001, CASE n WHEN 1 THEN 'Acme "A" {reason}' ELSE 'Company ' || n END, 'books', 100, '2026-06-01', 'Ann', '{"fit": "good"}' FROM generate_series(1, 4) n;
CREATE FUNCTION pg_temp.hook(columns jsonb) RETURNS void LANGUAGE sql AS $$
  INSERT INTO prm.machine_hook (machine, fires_on, event, from_state, to_state, action, event_type, template, role_name, title, detail, due_after, column_name, value, position)
  SELECT coalesce(h.machine, 'lead'), coalesce(h.fires_on, 'event'), h.event, h.from_state, h.to_state, h.action, h.event_type, h.template, h.role_name, h.title, h.detail, h.due_after, h.column_name, columns -> 'value', coalesce(h.position, 0)
  FROM jsonb_populate_record(NULL::prm.machine_hook, columns - 'value') h $$;
CREATE FUNCTION pg_temp.refused(columns jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_temp.hook(columns);
  RETURN 'taken';
EXCEPTION WHEN invalid_parameter_value THEN
  RETURN SQLERRM;
END $$;

-- ---- what is refused -------------------------------------------------------------------------------------------------
SELECT is(pg_temp.refused('{"machine": "dream", "event": "x", "action": "task", "title": "x"}'), 'hook of machine "dream": there is no machine "dream"', 'an unknown machine');
SELECT is(pg_temp.refused('{"event": "explode", "action": "task", "title": "x"}'), 'hook of machine "lead": machine "lead" has no event "explode"', 'an unknown event');
SELECT is(pg_temp.refused('{"action": "task", "title": "x"}'), 'hook of machine "lead": a hook on an event must name it', 'no event');
SELECT is(pg_temp.refused('{"fires_on": "enter", "to_state": "limbo", "action": "task", "title": "x"}'), 'hook of machine "lead": machine "lead" has no state "limbo"', 'an unknown state');
SELECT is(pg_temp.refused('{"event": "return", "action": "outbox", "template": {}}'), 'hook of machine "lead": a message needs an event_type', 'a message of no type');
SELECT is(pg_temp.refused('{"event": "return", "action": "outbox", "event_type": "x"}'), 'hook of machine "lead": the template is no object of texts', 'no template');
SELECT is(pg_temp.refused('{"event": "return", "action": "outbox", "event_type": "x", "template": {"a": {"b": "c"}}}'), 'hook of machine "lead": the template is no object of texts', 'a nested template');
SELECT is(pg_temp.refused('{"event": "return", "action": "outbox", "event_type": "x", "template": {"a": "of {colour}"}}'), 'hook of machine "lead": there is no field {colour}', 'a field that the table lacks');
SELECT is(pg_temp.refused('{"event": "return", "action": "task", "title": " "}'), 'hook of machine "lead": a task needs a title', 'a task without a title');
SELECT is(pg_temp.refused('{"event": "return", "action": "task", "title": "x {budget} {size}"}'), 'hook of machine "lead": there is no field {size}', 'a field of the title');
SELECT is(pg_temp.refused('{"event": "return", "action": "task", "title": "x", "detail": "{attributesx}"}'), 'hook of machine "lead": there is no field {attributesx}', 'a field of the detail');
SELECT is(pg_temp.refused('{"event": "return", "action": "set", "value": 1}'), 'hook of machine "lead": a column to set needs column_name and value', 'no column');
SELECT is(pg_temp.refused('{"event": "return", "action": "set", "column_name": "budget"}'), 'hook of machine "lead": a column to set needs column_name and value', 'no value');
SELECT is(pg_temp.refused('{"event": "return", "action": "set", "column_name": "colour", "value": 1}'), 'hook of machine "lead": table prm.lead has no column "colour"', 'an unknown column');
SELECT is(pg_temp.refused('{"event": "return", "action": "set", "column_name": "state", "value": "new"}'), 'hook of machine "lead": column "state" cannot be set by a hook', 'the state');
SELECT is(pg_temp.refused('{"event": "return", "action": "set", "column_name": "lead_id", "value": 1}'), 'hook of machine "lead": column "lead_id" cannot be set by a hook', 'the key');
SELECT is(pg_temp.refused('{"event": "return", "action": "set", "column_name": "program_id", "value": 1}'), 'hook of machine "lead": column "program_id" cannot be set by a hook', 'the programme');
SELECT is(pg_temp.refused('{"event": "return", "action": "set", "column_name": "created_at", "value": null}'), 'hook of machine "lead": column "created_at" cannot be empty', 'NULL where it may not be');
SELECT is(pg_temp.refused('{"event": "return", "action": "set", "column_name": "budget", "value": "much"}'), 'hook of machine "lead": "much" is no value for column "budget": invalid input syntax for type numeric: "much"', 'a value of another type');
SELECT is(pg_temp.refused('{"event": "return", "action": "set", "column_name": "budget", "value": "{actor}"}'), 'hook of machine "lead": "{actor}" is no value for column "budget": invalid input syntax for type numeric: "actor"', 'a name is no number');
SELECT is(pg_temp.refused('{"event": "return", "action": "set", "column_name": "source", "value": "by {actor}"}'), 'hook of machine "lead": "by {actor}" is no value: a column is set to a constant, to {now} or to {actor}', 'no template');
SELECT is(pg_temp.refused('{"event": "return", "action": "set", "column_name": "email); DROP TABLE prm.lead; --", "value": "x"}'), 'hook of machine "lead": table prm.lead has no column "email); DROP TABLE prm.lead; --"', 'a column is a name, not text to run');
SELECT throws_ok($$SELECT pg_temp.hook('{"event": "return", "action": "call", "title": "x"}')$$, '23514', NULL, 'an unknown action');
SELECT throws_ok($$SELECT pg_temp.hook('{"fires_on": "dawn", "event": "return", "action": "task", "title": "x"}')$$, '23514', NULL, 'an unknown occasion');
SELECT is((SELECT count(*) FROM prm.machine_hook WHERE program_id = :p), 0::bigint, 'nothing was taken');

-- ---- what hooks do -----------------------------------------------------------------------------------------------------
SELECT prm._fill_template('{a}{b.c} {x}{ {A} {{a}} }', '{"a": 1, "b": {"c": "{a}"}}') AS filled \gset
SELECT is(:'filled'::text, '1{a} { {A} {1} }', 'fields are filled once; what is no field stays');
SELECT pg_temp.hook('{"event": "return", "action": "outbox", "event_type": "lead.back", "template": {"text": "Lead {company} returned by {actor} at {now}: {reason}", "fit": "{attributes.fit}", "campaign": "{campaign}", "number": "{subject}", "way": "{from_state} -{event}- {to_state}"}}');
SELECT pg_temp.hook('{"fires_on": "enter", "to_state": "partner_qualified", "action": "task", "title": "Check {company}", "detail": "Budget {budget}, source {source}", "role_name": "hook_test_coordinator", "due_after": "2 days"}');
SELECT pg_temp.hook('{"fires_on": "enter", "to_state": "partner_qualified", "action": "set", "column_name": "source", "value": "{actor}", "position": 1}');
SELECT pg_temp.hook('{"fires_on": "leave", "from_state": "new", "action": "set", "column_name": "timeline_on", "value": "{now}"}');
SELECT pg_temp.hook('{"fires_on": "leave", "from_state": "new", "action": "set", "column_name": "budget", "value": 250.5}');
SELECT pg_temp.hook('{"event": "return", "action": "set", "column_name": "decision_maker", "value": null}');
SELECT set_config('prm.partner_id', '9200001', true);
UPDATE prm.lead SET state = 'partner_qualified' WHERE program_id = :p AND lead_id <= 9200003;
SELECT set_config('prm.partner_id', '', true);
SELECT results_eq($$SELECT lead_id, source, timeline_on, budget, state FROM prm.lead WHERE program_id = prm.current_program() ORDER BY lead_id$$,
  $$VALUES (9200001::bigint, 'vera', '2026-03-03'::date, 250.5, 'partner_qualified'), (9200002, 'vera', '2026-03-03', 250.5, 'partner_qualified'),
    (9200003, 'vera', '2026-03-03', 250.5, 'partner_qualified'), (9200004, NULL, '2026-06-01', 100, 'new')$$, 'columns of the rows that moved, the day in the programme''s time zone');
SELECT results_eq($$SELECT title, detail, role_name, machine, subject_id, state, created_by, due_at FROM prm.task WHERE program_id = prm.current_program() ORDER BY subject_id$$,
  $$VALUES ('Check Acme "A" {reason}', 'Budget 250.5, source vera', 'hook_test_coordinator', 'lead', 9200001::bigint, 'open', 'vera', prm.now() + interval '2 days'),
    ('Check Company 2', 'Budget 250.5, source vera', 'hook_test_coordinator', 'lead', 9200002, 'open', 'vera', prm.now() + interval '2 days'),
    ('Check Company 3', 'Budget 250.5, source vera', 'hook_test_coordinator', 'lead', 9200003, 'open', 'vera', prm.now() + interval '2 days')$$, 'a task for each, after the columns were set');
SELECT is((SELECT count(*) FROM prm.state_history WHERE program_id = :p AND machine = 'lead'), 7::bigint, 'setting columns is no change of state');
SELECT is((SELECT count(*) FROM prm.outbox WHERE program_id = :p), 0::bigint, 'no message yet');
SELECT prm.fire('lead', 9200001, 'return', 'no {company}');
SELECT results_eq($$SELECT aggregate_type, aggregate_id, event_type, channel, payload, status FROM prm.outbox WHERE program_id = prm.current_program()$$,
  $$VALUES ('lead', '9200001', 'lead.back', 'webhook', '{"text": "Lead Acme \"A\" {reason} returned by vera at 2026-03-03 00:30: no {company}", "fit": "good", "campaign": "", "number": "9200001", "way": "partner_qualified -return- returned"}'::jsonb, 'pending')$$,
  'a message from the template, its values taken as they are');
SELECT is((SELECT decision_maker FROM prm.lead WHERE lead_id = 9200001 AND program_id = :p), NULL, 'a column emptied');
UPDATE prm.machine_hook SET is_active = false WHERE program_id = :p;
SELECT prm.fire('lead', 9200002, 'return', 'again');
SELECT is((SELECT count(*) FROM prm.outbox WHERE program_id = :p), 1::bigint, 'a hook that is switched off does nothing');
SELECT pg_temp.hook('{"event": "return", "action": "task", "title": "Back: {company}"}');
SELECT prm.fire('lead', 9200003, 'return', 'too');
SELECT is((SELECT count(*) FROM prm.outbox WHERE program_id = :p), 1::bigint, 'not even beside one that is on');
SELECT is((SELECT title FROM prm.task WHERE program_id = :p AND title LIKE 'Back%'), 'Back: Company 3', 'which acts');
SELECT pg_temp.hook('{"fires_on": "enter", "to_state": "new", "action": "task", "title": "New: {company}"}');
INSERT INTO prm.lead (lead_id, company) VALUES (9200009, 'Nine');
SELECT is((SELECT title FROM prm.task WHERE program_id = :p AND subject_id = 9200009), 'New: Nine', 'a first state is entered too');

-- A won deal: the column is set before booking, which happens once.
INSERT INTO prm.machine_hook (machine, fires_on, event, action, column_name, value) VALUES ('deal', 'event', 'win', 'set', 'cost', '12');
INSERT INTO prm.deal (deal_id, partner_id, name, amount, currency) VALUES (9200001, 9200001, 'D', 100, 'EUR');
SELECT prm.fire('deal', 9200001, 'win');
SELECT results_eq($$SELECT count(*), max(amount), max(cost) FROM prm.earning_event WHERE program_id = prm.current_program() AND deal_id = 9200001$$, $$VALUES (1::bigint, 100::numeric, 12::numeric)$$, 'booked once, with what the hook set');
-- A machine with an event that stays where it is, under a name of the user's, on no table: the function itself.
SELECT prm.define_machine('ticket', '{"initial": "open", "states": {"open": {"on": {"note": {"target": "open"}, "close": {"target": "closed"}}}, "closed": {"type": "final"}}}');
INSERT INTO prm.machine_hook (machine, fires_on, event, action, title) VALUES ('ticket', 'event', 'note', 'task', 'Read {subject}: {event}'), ('ticket', 'enter', NULL, 'task', 'Entered {subject}'), ('ticket', 'leave', NULL, 'task', 'Left {subject}');
SELECT is(pg_temp.refused('{"machine": "ticket", "event": "note", "action": "task", "title": "{company}"}'), 'hook of machine "ticket": there is no field {company}', 'such a machine has no columns');
SELECT is(pg_temp.refused('{"machine": "ticket", "event": "note", "action": "set", "column_name": "x", "value": 1}'), 'hook of machine "ticket": only columns of prm.lead, prm.deal and prm.partner can be set', 'that a hook could set');
SELECT prm._hooks_run(:p, 'ticket', 'note', 'open', 'open', NULL, ARRAY['00000000-0000-0000-0000-000000000007']::uuid[], 'vera', prm.now());
SELECT results_eq($$SELECT title, subject_uuid FROM prm.task WHERE program_id = prm.current_program() AND machine = 'ticket'$$, $$VALUES ('Read 00000000-0000-0000-0000-000000000007: note', '00000000-0000-0000-0000-000000000007'::uuid)$$, 'an event that stays neither enters nor leaves');
SELECT prm._hooks_run(:p, 'ticket', 'close', 'open', 'closed', ARRAY[5], NULL, 'vera', prm.now());
SELECT is((SELECT string_agg(title, ', ' ORDER BY title) FROM prm.task WHERE program_id = :p AND machine = 'ticket' AND subject_id = 5), 'Entered 5, Left 5', 'one that moves does both');
SELECT prm._hooks_run(:p, 'ticket', NULL, 'open', NULL, ARRAY[6], NULL, 'vera', prm.now());
SELECT is((SELECT count(*) FROM prm.task WHERE program_id = :p AND subject_id = 6), 0::bigint, 'a deletion is followed by nothing');
SELECT prm._hooks_run(:p, 'ticket', NULL, 'open', 'closed', ARRAY[7], NULL, 'vera', prm.now());
SELECT is((SELECT count(*) FROM prm.task WHERE program_id = :p AND subject_id = 7), 0::bigint, 'nor is a migration');

-- ---- tasks -------------------------------------------------------------------------------------------------------------
CREATE ROLE hook_test_coordinator;
CREATE ROLE hook_test_anna;
CREATE ROLE hook_test_bert;
GRANT hook_test_coordinator TO hook_test_anna;
SELECT prm.grant_access('hook_test_anna', 'manager'), prm.grant_access('hook_test_bert', 'manager');
SELECT task_id AS task FROM prm.task WHERE program_id = :p AND subject_id = 9200001 \gset
SET LOCAL prm.actor = '';
SET LOCAL ROLE hook_test_bert;
DO $$ BEGIN PERFORM prm.complete_task(task_id) FROM prm.task WHERE program_id = prm.current_program() AND subject_id = 9200001; EXCEPTION WHEN insufficient_privilege THEN PERFORM set_config('prm_test.refused', SQLERRM, true); END $$;
SET LOCAL ROLE hook_test_anna;
SELECT prm.complete_task(:task) AS done_at \gset
RESET ROLE;
SELECT is(current_setting('prm_test.refused'), format('task %s is for the role "hook_test_coordinator"', :task), 'not everybody may complete it');
SELECT results_eq(format('SELECT state, done_by, done_at FROM prm.task WHERE task_id = %s', :task), format('VALUES (%L, %L, %L::timestamptz)', 'done', 'hook_test_anna', :'done_at'), 'a member of the role does');
SELECT throws_ok(format('SELECT prm.complete_task(%s)', :task), '55000', format('task %s is done already', :task), 'once');
SELECT throws_ok('SELECT prm.complete_task(0)', '42704', format('task 0 does not exist in programme %s', :p), 'an unknown task');
SELECT throws_ok('SELECT prm.complete_task(NULL)', '42704', NULL, 'no task');

-- ---- tasks: when they are due, and who sees what is open ---------------------------------------------------------------
SELECT is(pg_temp.refused('{"event": "return", "action": "task", "title": "x", "due_after": "soon"}'), 'hook of machine "lead": due_after "soon" is no duration');
SELECT is(pg_temp.refused('{"event": "return", "action": "task", "title": "x", "due_after": "-1 day"}'), 'hook of machine "lead": due_after -1 day lies in the past');
SELECT alike(pg_temp.refused('{"event": "return", "action": "task", "title": "x", "due_after": "business:soon"}'), 'hook of machine "lead": due_after is no duration: %');
DELETE FROM prm.machine_hook WHERE program_id = :p;
DELETE FROM prm.task WHERE program_id = :p;
DELETE FROM prm.calendar WHERE program_id = :p;
INSERT INTO prm.calendar (calendar, is_default) VALUES ('office', true);
INSERT INTO prm.calendar_hours (calendar, weekday, opens, closes) SELECT 'office', d, '09:00', '18:00' FROM generate_series(1, 5) d;
SELECT set_config('prm.partner_id', '', true);
SELECT prm.define_machine('lead', '{"initial": "new", "states": {"new": {"on": {"look": {"target": "seen"}}}, "seen": {"on": {"end": {"target": "over"}}}, "over": {"type": "final"}}}') AS v \gset
SELECT pg_temp.hook('{"event": "look", "action": "task", "title": "In office hours", "due_after": "business:8h"}');
SELECT pg_temp.hook('{"event": "look", "action": "task", "title": "By the calendar", "due_after": "P2D", "role_name": "hook_test_coordinator"}');
SELECT pg_temp.hook('{"event": "look", "action": "task", "title": "At no time"}');
SET LOCAL prm.clock = '2026-01-02 16:00 Europe/Berlin';  -- a Friday
INSERT INTO prm.lead (lead_id, partner_id, company) VALUES (9200101, 9200001, 'Birch');
SELECT prm.fire('lead', 9200101, 'look') AS seen \gset
SELECT is((SELECT string_agg(concat_ws('|', title, due_at AT TIME ZONE 'Europe/Berlin', is_overdue, overdue_hours), ', ' ORDER BY task_id) FROM prm.v_task WHERE program_id = :p),
  'In office hours|2026-01-05 15:00:00|f, By the calendar|2026-01-04 16:00:00|f, At no time|f', 'business time as for deadlines (SLA-001)');
SET LOCAL prm.clock = '2026-01-05 10:30 Europe/Berlin';
SELECT is((SELECT concat_ws('|', subject, subject_state, partner_id, role_name, is_overdue, overdue_hours, is_mine) FROM prm.v_task WHERE program_id = :p AND title = 'By the calendar'),
  'Birch|seen|9200001|hook_test_coordinator|t|18.50|t', 'an overdue task says of whom, for whom and how late');
SELECT prm.complete_task((SELECT task_id FROM prm.v_task WHERE program_id = :p AND title = 'By the calendar')) IS NOT NULL AS done \gset
SELECT is((SELECT string_agg(title, ', ' ORDER BY task_id) FROM prm.v_task WHERE program_id = :p), 'In office hours, At no time', 'what is done is not open');

SELECT * FROM finish();
ROLLBACK;
