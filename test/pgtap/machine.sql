-- Machines: what a definition may be, every way to change a state, the checks in their order, and what others see of it.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();

SELECT set_config('prm.program_id', prm.create_program('Machine tests', 'blank')::text, true) AS p \gset
CREATE FUNCTION pg_temp.path(the_machine text, the_subject bigint) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(h.to_state, ' > ' ORDER BY h.history_id) FROM prm.state_history h
  WHERE h.program_id = prm.current_program() AND h.machine = the_machine AND h.subject_id = the_subject $$;
CREATE FUNCTION pg_temp.fault(definition text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE the_message text;
BEGIN
  PERFORM prm.define_machine('lead', definition::jsonb);
  RETURN 'accepted';
EXCEPTION WHEN invalid_parameter_value THEN
  GET STACKED DIAGNOSTICS the_message = MESSAGE_TEXT;
  RETURN the_message;
END $$;

-- ---- definitions ------------------------------------------------------------------------------------------------------
SELECT is(pg_temp.fault('{"states": {"a": {}}}'), 'machine "lead": there is no initial state: key "initial" is missing');
SELECT is(pg_temp.fault('{"initial": ["a", "b"], "states": {"a": {}, "b": {}}}'), 'machine "lead": exactly one initial state is needed, "initial" lists 2');
SELECT is(pg_temp.fault('{"initial": "x", "states": {"a": {}}}'), 'machine "lead": the initial state "x" is not among the states');
SELECT is(pg_temp.fault('{"initial": "a", "states": {}}'), 'machine "lead": there are no states: key "states" is missing, empty or no object');
SELECT is(pg_temp.fault('[]'), 'machine "lead": the definition is no JSON object');
SELECT is(pg_temp.fault('{"initial": "a", "states": {"a": {"on": {"go": {"target": "b"}}}}}'), 'machine "lead": state "a", event "go": unknown target "b"');
SELECT is(pg_temp.fault('{"initial": "a", "states": {"a": {}, "b": {}}}'), 'machine "lead": state "b" cannot be reached from the initial state "a"');
SELECT is(pg_temp.fault('{"initial": "a", "states": {"a": {"on": {"go": {"target": "b"}, "end": {"target": "f"}}}, "b": {}, "f": {"type": "final"}}}'),
  'machine "lead": state "b" is a trap: no final state can be reached from it');
SELECT is(pg_temp.fault('{"initial": "a", "states": {"a": {"on": {"end": {"target": "f"}}}, "f": {"type": "final", "on": {"back": {"target": "a"}}}}}'),
  'machine "lead": state "f" is final, but event "back" leaves it');
SELECT is(pg_temp.fault('{"initial": "a", "states": {"a": {"on": {"go": {"target": "a", "actor": "boss"}}}}}'),
  'machine "lead": state "a", event "go": unknown actor "boss", they are partner, vendor, system and any');
SELECT is(pg_temp.fault('{"initial": "a", "states": {"a": {"on": {"go": {"target": "a", "guards": "x"}}}}}'),
  'machine "lead": state "a", event "go": unknown key "guards"');
SELECT is(pg_temp.fault('{"initial": "a", "states": {"a": {"on": {"go": {"target": "a", "required": ["colour"]}}}}}'),
  'machine "lead": state "a", event "go": required column "colour" is not in table prm.lead');
SELECT is(pg_temp.fault('{"initial": "a", "states": {"a": {"on": {"go": {"target": "a", "guard": "$.budget >"}}}}}'),
  'machine "lead": state "a", event "go": guard $.budget > is no condition in jsonpath: syntax error at end of jsonpath input');
SELECT is(pg_temp.fault('{"initial": "a", "states": {"a": {"on": {"go": {"target": "a", "guard": "$.budget"}}}}}'),
  'machine "lead": state "a", event "go": guard $.budget is no condition in jsonpath: it yields a value instead of true or false');
SELECT is(pg_temp.fault('{"initial": "a", "states": {"a": {"on": {"go": {"target": "a", "guard": "$.budget > $limit"}}}}}'),
  'machine "lead": state "a", event "go": guard $.budget > $limit is no condition in jsonpath: it has a variable, which nobody sets');
SELECT is(pg_temp.fault('{"initial": "a", "states": {"a": {"on": {"go": {"target": "a", "guard": "$.colour == 1"}}}}}'),
  'machine "lead": state "a", event "go": guard $.colour == 1 names column "colour", which is not in table prm.lead');
SELECT is(pg_temp.fault('{"initial": "a", "states": {"a": {"type": "end"}}}'), 'machine "lead": state "a": unknown type "end", the only one is "final"');
SELECT throws_ok($$SELECT prm.define_machine('deal', '{"initial": "a", "states": {"a": {"on": {"go": {"target": "a", "creates": "deal"}}}}}')$$, '22023',
  'machine "deal": state "a", event "go": key "creates" can only be "deal", and only in the machine lead');
SELECT throws_ok($$SELECT prm.define_machine('Lead', '{"initial": "a", "states": {"a": {}}}')$$, '22023', '"Lead" is no name for a machine');
SELECT throws_ok($$SELECT prm.define_machine('lead', '{"initial": "a", "states": {"a": {}}}', 0)$$, '42704', 'programme 0 does not exist');
SELECT is((SELECT count(*) FROM prm.machine m WHERE m.program_id = :p AND m.machine = 'lead'), 1::bigint, 'a refused definition leaves no version');
SELECT is(prm.machine_json('lead') #>> '{states,new,on,qualify,target}', 'partner_qualified', 'machine_json returns what was defined');
SELECT throws_ok($$SELECT prm.machine_json('nothing')$$, '42704', format('programme %s has no machine "nothing"', :p));
SELECT is(prm._guard_columns('$.a >= 1 && exists($.b ? (@.c == $.d[0]))'), ARRAY['a', 'b', 'd'], 'the columns that a guard names');
SELECT is(prm._guard_columns('$.* == 1'), NULL, 'a guard over the whole row');

-- ---- FSM-004: the joint qualification of a lead --------------------------------------------------------------------------
INSERT INTO prm.partner (partner_id, name) VALUES (9000501, 'Alpha'), (9000502, 'Beta');
INSERT INTO prm.lead (lead_id, partner_id, company) VALUES (9000601, 9000501, 'Acme');
SELECT throws_ok($$SELECT prm.fire('lead', 9000601, 'qualify')$$, '42501',
  'lead 9000601 cannot take event "qualify" to "partner_qualified": it is for a partner, not for the vendor', 'the vendor does not qualify for the partner');
SET LOCAL prm.partner_id = 9000502;
SELECT throws_ok($$SELECT prm.fire('lead', 9000601, 'qualify')$$, '42501',
  'lead 9000601 cannot take event "qualify" to "partner_qualified": the row is not of partner 9000502, who acts', 'nor does another partner');
SET LOCAL prm.partner_id = '';
INSERT INTO prm.lead (lead_id, company) VALUES (9000602, 'Nobody''s');
SET LOCAL prm.partner_id = 9000502;
SELECT throws_ok($$SELECT prm.fire('lead', 9000602, 'qualify')$$, '42501', NULL, 'nor is a lead without a partner his');
SELECT throws_ok($$INSERT INTO prm.lead (lead_id, partner_id) VALUES (9000603, 9000501)$$, '42501',
  'lead 9000603 cannot begin in state "new": the row is not of partner 9000502, who acts', 'nor does he enter a lead for another');
SELECT throws_ok($$UPDATE prm.lead SET partner_id = 9000502, need = 'n', budget = 1, timeline_on = '2026-01-01', decision_maker = 'd', state = 'partner_qualified' WHERE lead_id = 9000601$$,
  '42501', NULL, 'nor by taking the lead over in the same statement');
SET LOCAL prm.partner_id = 9000501;
SELECT throws_ok($$SELECT prm.fire('lead', 9000601, 'qualify')$$, '23514',
  'lead 9000601 cannot take event "qualify" to "partner_qualified": "need" is empty', 'required fields come before');
SELECT throws_ok($$UPDATE prm.lead SET need = '  ', budget = 9000, timeline_on = '2026-01-01', decision_maker = 'Eve', state = 'partner_qualified' WHERE lead_id = 9000601$$,
  '23514', 'lead 9000601 cannot take event "qualify" to "partner_qualified": "need" is empty', 'blank is empty');
UPDATE prm.lead SET need = 'CRM', budget = 9000, timeline_on = '2026-01-01', decision_maker = 'Eve', state = 'partner_qualified' WHERE lead_id = 9000601;
SELECT throws_ok($$SELECT prm.fire('lead', 9000601, 'approve')$$, '42501', NULL, 'the partner does not approve');
SET LOCAL prm.partner_id = '';
SELECT throws_ok($$SELECT prm.fire('lead', 9000601, 'return')$$, '23514', 'lead 9000601 cannot take event "return" to "returned": no reason is given');
SELECT is(prm.fire('lead', 9000601, 'return', 'budget is too low'), 'returned');
SET LOCAL prm.partner_id = 9000501;
SELECT is(prm.fire('lead', 9000601, 'qualify'), 'partner_qualified');
SET LOCAL prm.partner_id = '';
SET LOCAL prm.actor = 'eve@vendor';
SELECT is(prm.fire('lead', 9000601, 'approve'), 'approved');
RESET prm.actor;
SELECT is(pg_temp.path('lead', 9000601), 'new > partner_qualified > returned > partner_qualified > approved', 'FSM-004');
SELECT results_eq(
  $$SELECT event, from_state, actor_kind, partner_id, reason FROM prm.v_state_history WHERE program_id = prm.current_program() AND machine = 'lead' AND subject_id = 9000601 ORDER BY history_id$$,
  $$VALUES (NULL::text, NULL::text, 'vendor', NULL::bigint, NULL::text), ('qualify', 'new', 'partner', 9000501, NULL),
    ('return', 'partner_qualified', 'vendor', NULL, 'budget is too low'), ('qualify', 'returned', 'partner', 9000501, NULL), ('approve', 'partner_qualified', 'vendor', NULL, NULL)$$,
  'the history says who, what and why');
SELECT is((SELECT actor FROM prm.state_history WHERE program_id = :p AND machine = 'lead' AND subject_id = 9000601 AND event = 'approve'), 'eve@vendor', 'prm.actor');
SELECT throws_ok($$UPDATE prm.lead SET state = 'new' WHERE lead_id = 9000601$$, '23514', 'lead 9000601 cannot go from "approved" to "new"');

-- ---- FSM-001 --------------------------------------------------------------------------------------------------------------
SELECT is(prm.define_machine('deal', '{"initial": "pending", "states": {
  "pending": {"on": {"approve": {"target": "approved"}, "reject": {"target": "rejected"}}},
  "approved": {"on": {"pay": {"target": "paid"}}}, "rejected": {"type": "final"}, "paid": {"type": "final"}}}'), 2, 'the second version');
INSERT INTO prm.deal (deal_id, name, state) SELECT 9000700 + i, 'd' || i, 'pending' FROM generate_series(1, 4) i;
SELECT lives_ok($$UPDATE prm.deal SET state = 'approved' WHERE deal_id IN (9000701, 9000704)$$, 'FSM-001 pending > approved');
SELECT throws_ok($$UPDATE prm.deal SET state = 'paid' WHERE deal_id = 9000702$$, '23514', 'deal 9000702 cannot go from "pending" to "paid"', 'FSM-001 pending > paid');
UPDATE prm.deal SET state = 'rejected' WHERE deal_id = 9000703;
SELECT throws_ok($$UPDATE prm.deal SET state = 'approved' WHERE deal_id = 9000703$$, '23514', 'deal 9000703 cannot go from "rejected" to "approved"', 'FSM-001 rejected > approved');
SELECT lives_ok($$UPDATE prm.deal SET state = 'paid' WHERE deal_id = 9000704$$, 'FSM-001 approved > paid');
SELECT is((SELECT string_agg(machine_version::text, ',' ORDER BY history_id) FROM prm.state_history WHERE program_id = :p AND machine = 'deal'), '2,2,2,2,2,2,2,2', 'each entry names the version');
SELECT is((SELECT count(closed_at) FROM prm.deal WHERE program_id = :p AND closed_at = prm.now()), 2::bigint, 'closed_at is set on reaching a final state, only then');
SELECT is((SELECT DISTINCT currency FROM prm.deal WHERE program_id = :p), 'USD', 'the currency comes from the programme');

-- ---- guards, fields of attributes, two events to one state, events that stay ---------------------------------------------
SELECT prm.define_machine('lead', '{"initial": "new", "states": {
  "new": {"on": {"rich": {"target": "hot", "guard": "$.budget >= 1000 && $.attributes.segment == \"A\""},
                 "known": {"target": "hot", "required": ["attributes.referrer"]},
                 "note": {"target": "new", "reason": true},
                 "all": {"target": "done", "guard": "exists($.* ? (@ == \"Open sesame\"))"},
                 "auto": {"target": "done", "actor": "system"}}},
  "hot": {"on": {"end": {"target": "done"}, "quit": {"target": "done"}}}, "done": {"type": "final"}}}');
INSERT INTO prm.lead (lead_id, company, budget, attributes) VALUES
  (9000610, 'a', 1000, '{"segment": "A"}'), (9000611, 'b', 999, '{"segment": "A"}'), (9000612, 'c', NULL, '{}'), (9000613, 'd', 1, '{"referrer": "  "}'),
  (9000614, 'e', 1, '{"referrer": "Bob"}'), (9000615, 'f', 5000, '{"segment": "A", "referrer": 7}'), (9000616, 'Open sesame', 1, '{}');
SELECT lives_ok($$UPDATE prm.lead SET state = 'hot' WHERE lead_id IN (9000610, 9000614)$$, 'of several events the one that is allowed counts');
SELECT is((SELECT string_agg(event, ',' ORDER BY subject_id) FROM prm.state_history WHERE program_id = :p AND machine = 'lead' AND to_state = 'hot'), 'rich,known');
SELECT throws_ok($$UPDATE prm.lead SET state = 'hot' WHERE lead_id = 9000611$$, '23514', 'lead 9000611 cannot take event "known" to "hot": "attributes.referrer" is empty');
SELECT throws_ok($$SELECT prm.fire('lead', 9000611, 'rich')$$, '23514',
  'lead 9000611 cannot take event "rich" to "hot": guard $.budget >= 1000 && $.attributes.segment == "A" does not hold for {"budget": 999, "attributes": {"segment": "A"}}', 'a guard that fails');
SELECT throws_ok($$SELECT prm.fire('lead', 9000612, 'rich')$$, '23514', NULL, 'a guard over NULL does not hold');
SELECT throws_ok($$SELECT prm.fire('lead', 9000613, 'known')$$, '23514', NULL, 'a blank attribute is empty');
SELECT throws_ok($$UPDATE prm.lead SET state = 'hot' WHERE lead_id = 9000615$$, '23514', 'lead 9000615 can go from "new" to "hot" by more than one event');
SELECT is(prm.fire('lead', 9000615, 'known'), 'hot', 'fire says which');
SELECT is(prm.fire('lead', 9000616, 'all'), 'done', 'a guard over the whole row');
SELECT throws_ok($$SELECT prm.fire('lead', 9000612, 'auto')$$, '42501', 'lead 9000612 cannot take event "auto" to "done": it is for the system, not for the vendor');
SELECT is(prm.fire('lead', 9000612, 'note', 'called'), 'new', 'an event that stays');
SELECT is(pg_temp.path('lead', 9000612), 'new > new', 'it leaves an entry');
UPDATE prm.lead SET state = 'new', company = 'cc' WHERE lead_id = 9000612;
SELECT is(pg_temp.path('lead', 9000612), 'new > new', 'an UPDATE without a change leaves none');
SELECT throws_ok($$SELECT prm.fire('lead', 9000612, 'end')$$, '23514', 'lead 9000612 cannot take event "end" in state "new"');
SELECT throws_ok($$SELECT prm.fire('lead', 9000612, 'nothing')$$, '42704', 'machine "lead" has no event "nothing"');
SELECT throws_ok($$SELECT prm.fire('lead', 9000699, 'note')$$, '42704', format('lead 9000699 does not exist in programme %s', :p));
SELECT throws_ok($$SELECT prm.fire('lead', NULL, 'note')$$, '22023', 'parameter "subject_id" is NULL');
SELECT throws_ok($$SELECT prm.fire('lead', 9000612, 'note', 'x', '{"force": true}')$$, '22023', 'unknown option "force"');
SELECT throws_ok($$SELECT prm.fire('lead', 9000612, 'note', 'x', '{"version": 1}')$$, '55000', 'lead 9000612 is no longer at version 1');
SELECT is(prm.fire('lead', 9000612, 'note', 'x', jsonb_build_object('version', (SELECT max(history_id) FROM prm.state_history WHERE program_id = :p AND machine = 'lead' AND subject_id = 9000612))), 'new', 'the version that was seen');
SET LOCAL prm.reason = 'asked to';
SELECT is(prm.fire('lead', 9000612, 'note'), 'new', 'the reason from the setting');
SET LOCAL prm.reason = '';
SELECT results_eq($$SELECT event, to_state, allowed, why_not, needs_reason FROM prm.allowed_events('lead', 9000613)$$,
  $$VALUES ('all', 'done', false, ARRAY['guard exists($.* ? (@ == "Open sesame")) does not hold for the row'], false),
    ('auto', 'done', false, ARRAY['it is for the system, not for the vendor'], false),
    ('known', 'hot', false, ARRAY['"attributes.referrer" is empty'], false), ('note', 'new', false, ARRAY['no reason is given'], true),
    ('rich', 'hot', false, ARRAY['guard $.budget >= 1000 && $.attributes.segment == "A" does not hold for {"budget": 1, "attributes": {"referrer": "  "}}'], false)$$,
  'allowed_events has every reason');
SELECT is_empty($$SELECT * FROM prm.allowed_events('lead', 9000616)$$, 'none leaves a final state');
SELECT throws_ok($$SELECT * FROM prm.allowed_events('lead', 9000699)$$, '42704');

-- ---- every way in ---------------------------------------------------------------------------------------------------------
SELECT prm.define_machine('lead', '{"initial": "new", "states": {"new": {"on": {"heat": {"target": "hot"}, "note": {"target": "new"}}},
  "hot": {"on": {"cool": {"target": "new"}, "end": {"target": "done"}}}, "done": {"type": "final"}}}');
COPY prm.lead (lead_id, external_ref) FROM stdin;
9000620	r620
9000621	r621
\.
SELECT is(pg_temp.path('lead', 9000621), 'new', 'COPY');
INSERT INTO prm.lead (lead_id, external_ref, state) VALUES (9000622, 'r620', 'hot'), (9000623, 'r623', 'new')
  ON CONFLICT (program_id, external_ref) DO UPDATE SET state = excluded.state;
SELECT is(pg_temp.path('lead', 9000620) || ' / ' || pg_temp.path('lead', 9000623), 'new > hot / new', 'ON CONFLICT DO UPDATE: one updated, one new');
MERGE INTO prm.lead l USING (VALUES ('r620', 'done'), ('r621', 'hot'), ('r624', 'new')) v(ref, state)
  ON l.program_id = prm.current_program() AND l.external_ref = v.ref
  WHEN MATCHED THEN UPDATE SET state = v.state
  WHEN NOT MATCHED THEN INSERT (lead_id, external_ref, state) VALUES (9000624, v.ref, v.state);
SELECT is(pg_temp.path('lead', 9000620) || ' / ' || pg_temp.path('lead', 9000621) || ' / ' || pg_temp.path('lead', 9000624), 'new > hot > done / new > hot / new', 'MERGE');
CREATE VIEW pg_temp.hot AS SELECT * FROM prm.lead WHERE external_ref LIKE 'r%';
UPDATE pg_temp.hot SET state = 'new' WHERE lead_id = 9000621;
SELECT is(pg_temp.path('lead', 9000621), 'new > hot > new', 'UPDATE through a view');
WITH a AS (UPDATE prm.lead SET state = 'hot' WHERE lead_id = 9000621 RETURNING 1), b AS (UPDATE prm.lead SET state = 'hot' WHERE lead_id = 9000623 RETURNING 1)
  SELECT count(*) AS n FROM a, b \gset
SELECT is(pg_temp.path('lead', 9000621) || ' / ' || pg_temp.path('lead', 9000623), 'new > hot > new > hot / new > hot', 'two writing CTEs');
CREATE FUNCTION pg_temp.skip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.lead_id % 2 = 0 THEN RETURN NULL; END IF; RETURN NEW; END $$;
CREATE TRIGGER skip BEFORE UPDATE ON prm.lead FOR EACH ROW EXECUTE FUNCTION pg_temp.skip();
UPDATE prm.lead SET state = 'hot' WHERE lead_id IN (9000624, 9000620, 9000621);
SELECT throws_ok($$SELECT prm.fire('lead', 9000624, 'heat')$$, '55000', 'lead 9000624 did not take event "heat"', 'a trigger that skips the row');
DROP TRIGGER skip ON prm.lead;
SELECT is(pg_temp.path('lead', 9000624), 'new', 'rows that a trigger skips');
SELECT throws_ok($$UPDATE prm.lead SET lead_id = 9000690 WHERE lead_id = 9000624$$, '0A000', 'the key of a row with a state machine cannot change');
SELECT throws_ok($$INSERT INTO prm.lead (lead_id, state) VALUES (9000691, 'hot')$$, '23514', 'lead 9000691 cannot begin in state "hot"');
SELECT throws_ok($$INSERT INTO prm.lead (lead_id, state) VALUES (9000691, 'warm')$$, '23514', 'lead 9000691: machine "lead" has no state "warm"');
SELECT throws_ok($$UPDATE prm.lead SET state = 'warm' WHERE lead_id = 9000624$$, '23514', 'lead 9000624: machine "lead" has no state "warm"');
SELECT lives_ok($$UPDATE prm.lead SET state = state, company = 'z' WHERE lead_id = 9000624$$, 'a row whose state stays may change');
SELECT lives_ok($$DELETE FROM prm.lead WHERE lead_id = 9000624$$, 'a subject may go');
SELECT is(pg_temp.path('lead', 9000624), 'new', 'its history stays');
SELECT throws_ok($$UPDATE prm.state_history SET reason = 'x'$$, '55000', 'table "state_history" is append-only');
SELECT throws_ok($$DELETE FROM prm.state_history$$, '55000', 'table "state_history" is append-only');
SELECT throws_ok($$TRUNCATE prm.state_history$$, '55000', 'table "state_history" is append-only');
CREATE TABLE public.foreign_lead (program_id bigint, lead_id bigint, state text);
CREATE TRIGGER planted AFTER INSERT ON public.foreign_lead REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger('lead', 'lead_id', 'state');
SELECT throws_ok($$INSERT INTO public.foreign_lead VALUES (prm.current_program(), 1, 'new')$$, '42501', 'table "foreign_lead" is not registered for a state machine');
CREATE FUNCTION pg_temp.swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER swallow BEFORE INSERT ON prm.state_history FOR EACH ROW EXECUTE FUNCTION pg_temp.swallow();
SELECT throws_ok($$SELECT prm.fire('lead', 9000621, 'cool')$$, '55000', 'the history of states was not written', 'a trigger that swallows history is found');
DROP TRIGGER swallow ON prm.state_history;

-- ---- bulk: several programmes in one statement, spilled transition tables, the same history as one by one -------------------
SELECT prm.create_program('Machine tests 2', 'blank') AS p2 \gset
SELECT prm.create_program('Machine tests 3', 'blank') AS p3 \gset
SELECT prm.define_machine('lead', prm.machine_json('lead'), :p2), prm.define_machine('lead', prm.machine_json('lead'), :p3);
SET LOCAL work_mem = '64kB';
INSERT INTO prm.lead (program_id, lead_id, company) SELECT (ARRAY[:p, :p2, :p3])[1 + i % 3], 9100000 + i, repeat('x', 50) FROM generate_series(1, 20000) i;
UPDATE prm.lead SET state = 'hot' WHERE lead_id > 9100000 AND lead_id % 2 = 0;
UPDATE prm.lead SET state = CASE state WHEN 'hot' THEN (CASE WHEN lead_id % 4 = 0 THEN 'done' ELSE 'new' END) ELSE 'hot' END WHERE lead_id > 9100000;
RESET work_mem;
SELECT results_eq($$SELECT event, from_state, to_state, count(*) FROM prm.state_history WHERE machine = 'lead' AND subject_id > 9100000 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3$$,
  $$VALUES ('cool', 'hot', 'new', 5000::bigint), ('end', 'hot', 'done', 5000), ('heat', 'new', 'hot', 20000), (NULL, NULL, 'new', 20000)$$, 'bulk over three programmes with work_mem = 64kB');
SELECT is_empty($$SELECT lead_id FROM prm.lead l JOIN LATERAL (SELECT to_state FROM prm.state_history h WHERE h.program_id = l.program_id AND h.machine = 'lead'
    AND h.subject_id = l.lead_id ORDER BY history_id DESC LIMIT 1) x ON x.to_state <> l.state WHERE l.lead_id > 9100000$$, 'the history replays to the present state');
SELECT is((SELECT count(DISTINCT program_id) FROM prm.state_history WHERE subject_id > 9100000), 3::bigint, 'each entry in its programme');
SELECT throws_ok($$UPDATE prm.lead SET state = 'done' WHERE lead_id > 9100000$$, '23514', NULL, 'one illegal row refuses the statement');
SELECT is((SELECT count(*) FROM prm.state_history WHERE machine = 'lead' AND subject_id > 9100000), 50000::bigint, 'and leaves nothing behind');
SELECT throws_ok(format($$SELECT prm.fire('lead', 9100003, 'cool', program_id => %s)$$, :p2), '42704', NULL, 'a lead of another programme');

-- ---- caught errors ----------------------------------------------------------------------------------------------------------
DO $$
DECLARE the_failures integer := 0;
BEGIN
  FOR i IN 1..300 LOOP
    BEGIN
      -- Makes what is compiled stale, so that each round compiles anew.
      UPDATE prm.machine SET created_by = created_by WHERE program_id = prm.current_program();
      UPDATE prm.lead SET state = 'done' WHERE program_id = prm.current_program() AND lead_id BETWEEN 9100000 AND 9100060;
    EXCEPTION WHEN check_violation THEN the_failures := the_failures + 1;
    END;
  END LOOP;
  UPDATE prm.lead SET state = 'hot' WHERE program_id = prm.current_program() AND state = 'new' AND lead_id > 9100000;
  PERFORM set_config('prm_test.failures', the_failures::text, true);
END $$;
SELECT is(current_setting('prm_test.failures'), '300', '300 caught errors');
SELECT is((SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'prm machine') < 20, true, 'leave no machines behind');

-- ---- definitions that change --------------------------------------------------------------------------------------------------
INSERT INTO prm.lead (lead_id) VALUES (9000630), (9000631);
SAVEPOINT before_change;
SELECT prm.define_machine('lead', '{"initial": "new", "states": {"new": {"on": {"jump": {"target": "moon"}}}, "moon": {"type": "final"}}}');
INSERT INTO prm.lead (lead_id) VALUES (9000632);
SELECT lives_ok($$UPDATE prm.lead SET state = 'moon' WHERE lead_id = 9000632$$, 'a version made in this transaction is in force at once');
SELECT throws_ok($$UPDATE prm.lead SET state = 'moon' WHERE lead_id = 9000630$$, '23514', 'lead 9000630: machine "lead" has no state "moon"', 'for new rows');
SELECT lives_ok($$UPDATE prm.lead SET state = 'new' WHERE lead_id = 9000621$$, 'older rows stay on their version');
ROLLBACK TO before_change;
SELECT throws_ok($$UPDATE prm.lead SET state = 'moon' WHERE lead_id = 9000630$$, '23514', 'lead 9000630: machine "lead" has no state "moon"', 'a rolled-back version is not');
SELECT lives_ok($$UPDATE prm.lead SET state = 'hot' WHERE lead_id = 9000630$$);
DELETE FROM prm.machine WHERE program_id = :p3 AND machine = 'lead';
SELECT throws_ok(format('INSERT INTO prm.lead (program_id) VALUES (%s)', :p3), '42704', format('programme %s has no machine "lead"', :p3));

-- ---- import --------------------------------------------------------------------------------------------------------------------
SAVEPOINT import;
SELECT prm._import_context();
INSERT INTO prm.lead (lead_id, state, created_at) VALUES (9000640, 'done', '2020-02-02 00:00+00'), (9000641, 'hot', '2020-02-03 00:00+00');
INSERT INTO prm.deal (deal_id, name, state, created_at, closed_at) VALUES (9000740, 'old', 'paid', '2020-01-01 00:00+00', '2020-03-03 00:00+00'), (9000741, 'open', 'approved', '2020-01-01 00:00+00', NULL);
UPDATE prm.lead SET state = 'new' WHERE lead_id = 9000640;
SELECT throws_ok($$INSERT INTO prm.lead (lead_id, state) VALUES (9000642, 'warm')$$, '23514', 'lead 9000642: machine "lead" has no state "warm"', 'an import knows only the states of the machine');
RELEASE import;
SELECT results_eq($$SELECT subject_id, event, from_state, to_state, actor_kind, at FROM prm.state_history WHERE actor_kind = 'import' AND program_id = prm.current_program() ORDER BY subject_id, history_id$$,
  $$VALUES (9000640::bigint, NULL::text, NULL::text, 'done', 'import', '2020-02-02 00:00+00'::timestamptz), (9000640, NULL, 'done', 'new', 'import', '2020-02-02 00:00+00'),
    (9000641, NULL, NULL, 'hot', 'import', '2020-02-03 00:00+00'), (9000740, NULL, NULL, 'paid', 'import', '2020-03-03 00:00+00'), (9000741, NULL, NULL, 'approved', 'import', '2020-01-01 00:00+00')$$,
  'an import records states and dates as given');
SELECT throws_ok($$INSERT INTO prm.lead (lead_id, state) VALUES (9000642, 'hot')$$, '23514', NULL, 'it ends with its subtransaction');
SAVEPOINT import;
SELECT prm._import_context();
ROLLBACK TO import;
SELECT throws_ok($$INSERT INTO prm.lead (lead_id, state) VALUES (9000642, 'hot')$$, '23514', NULL, 'also when that is rolled back');

-- ---- a role without rights on the history -----------------------------------------------------------------------------------
CREATE ROLE prm_test_partner;
GRANT USAGE ON SCHEMA prm TO prm_test_partner;
GRANT SELECT, INSERT, UPDATE ON prm.lead TO prm_test_partner;
INSERT INTO prm.partner_login (role_name, partner_id) VALUES ('prm_test_partner', 9000501);
INSERT INTO prm.lead (lead_id, partner_id) VALUES (9000650, 9000501), (9000651, 9000502);
SET LOCAL ROLE prm_test_partner;
SELECT prm.fire('lead', 9000650, 'heat') AS fired \gset
SELECT current_user AS still \gset
DO $$ BEGIN PERFORM prm.fire('lead', 9000651, 'heat'); EXCEPTION WHEN insufficient_privilege THEN PERFORM set_config('prm_test.rival', SQLERRM, true); END $$;
DO $$ BEGIN PERFORM prm._import_context(); EXCEPTION WHEN insufficient_privilege THEN PERFORM set_config('prm_test.import', SQLERRM, true); END $$;
DO $$ BEGIN PERFORM 1 FROM prm.state_history; EXCEPTION WHEN insufficient_privilege THEN PERFORM set_config('prm_test.history', SQLERRM, true); END $$;
RESET ROLE;
SELECT is(:'fired' || ' by ' || :'still', 'hot by prm_test_partner', 'a role that may only update leads sends events, and stays who it is');
SELECT is((SELECT actor || ' ' || actor_kind || ' ' || partner_id FROM prm.state_history WHERE program_id = :p AND machine = 'lead' AND subject_id = 9000650 ORDER BY history_id DESC LIMIT 1),
  'prm_test_partner partner 9000501', 'the history names the role and its partner');
SELECT is(current_setting('prm_test.rival'), 'lead 9000651 cannot take event "heat" to "hot": the row is not of partner 9000501, who acts', 'not for the lead of another partner');
SELECT is(current_setting('prm_test.import'), 'role "prm_test_partner" may not record historical states', 'no import');
SELECT is(current_setting('prm_test.history'), 'permission denied for table state_history', 'no look at the history');

-- ---- hooks ---------------------------------------------------------------------------------------------------------------------
SET LOCAL client_min_messages = warning;
DROP FUNCTION IF EXISTS prm._state_entered(bigint, text, text, text, text, bigint[], uuid[], text, timestamptz);
RESET client_min_messages;
CREATE TABLE public.entered (machine text, event text, from_state text, to_state text, subjects bigint[], actor text);
CREATE FUNCTION prm._state_entered(program_id bigint, machine text, event text, from_state text, to_state text, subjects bigint[], subject_uuids uuid[], actor text, at timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO public.entered VALUES ($2, $3, $4, $5, $6, $8);
  IF $5 = 'done' THEN
    INSERT INTO prm.deal (program_id, deal_id, lead_id, name, state) SELECT $1, 9000800 + s, s, 'from lead', 'pending' FROM unnest($6) s;
  END IF;
END $$;
SELECT prm.define_machine('lead', '{"initial": "new", "states": {"new": {"on": {"heat": {"target": "hot"}}}, "hot": {"on": {"end": {"target": "done", "creates": "deal"}}}, "done": {"type": "final"}}}');
INSERT INTO prm.lead (lead_id) VALUES (9000660), (9000661), (9000662);
UPDATE prm.lead SET state = 'hot' WHERE lead_id IN (9000660, 9000661, 9000662);
SELECT is_empty('SELECT * FROM public.entered', 'no hook, no call');
UPDATE prm.lead SET state = 'done' WHERE lead_id IN (9000660, 9000661);
SELECT results_eq('SELECT machine, event, from_state, to_state, subjects, actor FROM public.entered', format($$VALUES ('lead', 'end', 'hot', 'done', ARRAY[9000660, 9000661]::bigint[], %L)$$, current_user),
  'creates: one call for all rows');
SELECT is((SELECT string_agg(actor_kind || ' ' || actor, ', ') FROM prm.state_history WHERE program_id = :p AND machine = 'deal' AND subject_id > 9000800), format('system %1$s, system %1$s', current_user), 'what a hook does is done by the system, for the actor');
INSERT INTO prm.outbox_rule (source, to_state, event_type) VALUES ('lead', 'new', 'lead.new'), ('lead', 'hot', 'lead.hot');
DELETE FROM public.entered;
INSERT INTO prm.lead (lead_id) VALUES (9000663);
UPDATE prm.lead SET state = 'hot' WHERE lead_id = 9000663;
SELECT results_eq('SELECT event, to_state, subjects FROM public.entered', $$VALUES (NULL::text, 'new', ARRAY[9000663::bigint]), ('heat', 'hot', ARRAY[9000663::bigint])$$, 'an outbox rule asks for a call, also for a first state');
UPDATE prm.outbox_rule SET is_active = false WHERE program_id = :p;
DELETE FROM public.entered;
INSERT INTO prm.lead (lead_id) VALUES (9000664);
SELECT is_empty('SELECT * FROM public.entered', 'an inactive rule does not');

-- ---- pictures -------------------------------------------------------------------------------------------------------------------
SELECT alike(prm.machine_dot('lead', 9000663), '%"hot" [label="hot", color="#1f6feb", penwidth=2, style="rounded,filled"%', 'dot fills the present state');
SELECT alike(prm.machine_dot('lead', 9000663), '%"new" -> "hot" [label="heat", color="#1f6feb", penwidth=2];%', 'dot draws the path');
SELECT alike(prm.machine_dot('lead'), '%"hot" -> "done" [label="end\\ncreates a deal"];%', 'dot labels the events');
SELECT alike(prm.machine_mermaid('lead', 9000663), E'stateDiagram-v2\n  state "new" as s1%[*] --> s1%s1 --> s2: heat%class s2 present\n', 'mermaid');
SELECT throws_ok($$SELECT prm.machine_dot('nothing')$$, '42704');

SELECT * FROM finish();
ROLLBACK;
