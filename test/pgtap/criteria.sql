-- Criteria of leads: questions as rows, typed answers with their history, the gate before qualification, how partners
-- qualify, and the deal that a converted lead becomes.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SELECT set_config('prm.program_id', prm.create_program('Criteria')::text, true) AS p \gset
SET LOCAL prm.clock = '2026-03-02 09:00:00+00';
INSERT INTO prm.partner (partner_id, name) VALUES (9100001, 'Alder'), (9100002, 'Birch');
INSERT INTO prm.lead (lead_id, partner_id, company, need, budget, timeline_on, decision_maker, created_at)
  SELECT 9100000 + n, 9100001 + (n > 5)::int, 'Company ' || n, 'books', 100 * n, '2026-06-01', 'Ann', prm.now() FROM generate_series(1, 8) n;

-- ---- questions ---------------------------------------------------------------------------------------------------------
SELECT lives_ok($$SELECT prm.fire('lead', 9100008, 'qualify') FROM (SELECT set_config('prm.partner_id', '9100002', true)) s$$, 'without criteria nothing is asked');
SELECT set_config('prm.partner_id', '', true);
INSERT INTO prm.lead_criterion (criterion, kind, label, allowed_values, position) VALUES
  ('budget_approved', 'boolean', 'Is the budget approved?', NULL, 1), ('seats', 'number', 'How many seats?', NULL, 2),
  ('decides_on', 'date', 'When do they decide?', NULL, 3), ('industry', 'choice', 'Which industry?', '{retail,bank}', 4);
INSERT INTO prm.lead_criterion (criterion, kind, label, required, position) VALUES ('portrait', 'text', 'Who are they?', false, 5);
SELECT throws_ok($$INSERT INTO prm.lead_criterion (criterion, kind, label) VALUES ('x', 'choice', 'X')$$, '22023', 'criterion "x": a choice needs allowed_values', 'a choice without choices');
SELECT throws_ok($$INSERT INTO prm.lead_criterion (criterion, kind, label, allowed_values) VALUES ('x', 'boolean', 'X', '{true}')$$, '22023', 'criterion "x": a boolean has no allowed_values', 'a boolean with choices');
SELECT throws_ok($$INSERT INTO prm.lead_criterion (criterion, kind, label, allowed_values) VALUES ('x', 'number', 'X', '{10,many}')$$, '22023', 'criterion "x": the allowed value "many" is no number', 'a choice of no number');
SELECT throws_ok($$INSERT INTO prm.lead_criterion (criterion, kind, label, allowed_values) VALUES ('x', 'number', 'X', '{NaN}')$$, '22023', 'criterion "x": the allowed value "NaN" is no finite number', 'a choice that is not finite');
SELECT throws_ok($$INSERT INTO prm.lead_criterion (criterion, kind, label, allowed_values) VALUES ('x', 'date', 'X', '{2026-02-30}')$$, '22023', 'criterion "x": the allowed value "2026-02-30" is no date', 'a choice of no date');
SELECT throws_ok($$INSERT INTO prm.lead_criterion (criterion, kind, label, allowed_values) VALUES ('x', 'text', 'X', '{a," "}')$$, '22023', 'criterion "x": one of the allowed_values is blank', 'a blank choice');
SELECT throws_ok($$INSERT INTO prm.lead_criterion (criterion, kind, label, allowed_values) VALUES ('x', 'text', 'X', '{}')$$, '22023', 'criterion "x": allowed_values is empty, so nothing could be answered', 'no choice');
SELECT throws_ok($$INSERT INTO prm.lead_criterion (criterion, kind, label) VALUES ('x', 'colour', 'X')$$, '23514', NULL, 'an unknown kind');
SELECT throws_ok($$INSERT INTO prm.lead_criterion (criterion, kind, label) VALUES ('X y', 'text', 'X')$$, '23514', NULL, 'a name that is none');

-- ---- answers -----------------------------------------------------------------------------------------------------------
SELECT is(prm.answer_criteria(9100001, '{"budget_approved": true, "seats": 12.5, "industry": "bank"}'), 3, 'three answers');
SELECT is(prm.answer_criteria(9100001, '{"budget_approved": true, "seats": "20", "industry": "bank", "decides_on": "2026-04-01"}'), 2, 'what is unchanged does not count');
SELECT results_eq($$SELECT criterion, kind, text_value, number_value, date_value, boolean_value, partner_id, answered_at FROM prm.lead_answer
    WHERE program_id = prm.current_program() AND lead_id = 9100001 ORDER BY criterion$$,
  $$VALUES ('budget_approved', 'boolean', NULL, NULL::numeric, NULL::date, true, 9100001::bigint, prm.now()), ('decides_on', 'date', NULL, NULL, '2026-04-01', NULL, 9100001, prm.now()),
    ('industry', 'choice', 'bank', NULL, NULL, NULL, 9100001, prm.now()), ('seats', 'number', NULL, 20, NULL, NULL, 9100001, prm.now())$$, 'each in the column of its kind');
SELECT results_eq($$SELECT criterion, label, value FROM prm.v_lead_answer WHERE program_id = prm.current_program() AND lead_id = 9100001 ORDER BY criterion$$,
  $$VALUES ('budget_approved', 'Is the budget approved?', 'true'), ('decides_on', 'When do they decide?', '2026-04-01'), ('industry', 'Which industry?', 'bank'), ('seats', 'How many seats?', '20')$$,
  'for readers with the question and as text');
SELECT throws_ok($$SELECT prm.answer_criteria(9100001, '{"colour": 1}')$$, '22023', format('programme %s has no criterion "colour"', :p), 'an unknown criterion');
SELECT throws_ok($$SELECT prm.answer_criteria(9100001, '{"seats": "many"}')$$, '22023', '"many" is no answer to criterion "seats"', 'no number');
SELECT throws_ok($$SELECT prm.answer_criteria(9100001, '{"seats": "NaN"}')$$, '22023', '"NaN" is no answer to criterion "seats"', 'NaN');
SELECT throws_ok($$SELECT prm.answer_criteria(9100001, '{"decides_on": "2026-02-30"}')$$, '22023', '"2026-02-30" is no answer to criterion "decides_on"', 'no day of the calendar');
SELECT throws_ok($$SELECT prm.answer_criteria(9100001, '{"decides_on": "infinity"}')$$, '22023', '"infinity" is no answer to criterion "decides_on"', 'no finite day');
SELECT throws_ok($$SELECT prm.answer_criteria(9100001, '{"budget_approved": "perhaps"}')$$, '22023', '"perhaps" is no answer to criterion "budget_approved"', 'neither true nor false');
SELECT throws_ok($$SELECT prm.answer_criteria(9100001, '{"industry": "mining"}')$$, '22023', '"mining" is no allowed answer to criterion "industry"', 'not allowed');
SELECT throws_ok($$SELECT prm.answer_criteria(9100001, '{"portrait": " "}')$$, '22023', 'the answer to criterion "portrait" is blank', 'blank');
SELECT throws_ok($$SELECT prm.answer_criteria(9100001, '{"portrait": ["a"]}')$$, '22023', '["a"] is no answer to criterion "portrait"', 'a list is no text');
SELECT throws_ok($$SELECT prm.answer_criteria(9100001, '[1]')$$, '22023', 'the answers are no JSON object', 'no object');
SELECT throws_ok($$SELECT prm.answer_criteria(9100001, NULL)$$, '22023', 'the answers are no JSON object', 'no answers');
SELECT throws_ok($$SELECT prm.answer_criteria(1, '{"seats": 1}')$$, '42704', format('lead 1 does not exist in programme %s', :p), 'an unknown lead');
SELECT throws_ok($$INSERT INTO prm.lead_answer (lead_id, criterion, text_value) VALUES (9100002, 'seats', '5')$$, '23514', 'the answer to criterion "seats" belongs into number_value', 'the wrong column');
SELECT throws_ok($$INSERT INTO prm.lead_answer (lead_id, criterion, number_value, text_value) VALUES (9100002, 'seats', 5, '5')$$, '23514', 'the answer to criterion "seats" belongs into number_value', 'two columns');
SELECT throws_ok($$INSERT INTO prm.lead_answer (lead_id, criterion) VALUES (9100002, 'seats')$$, '23514', 'the answer to criterion "seats" belongs into number_value', 'no column');
SELECT throws_ok($$INSERT INTO prm.lead_answer (lead_id, criterion, number_value) VALUES (9100002, 'seats', 'Infinity')$$, '22023', 'the answer to criterion "seats" is not finite', 'not finite');
SELECT throws_ok($$INSERT INTO prm.lead_answer (lead_id, criterion, date_value) VALUES (9100002, 'decides_on', 'infinity')$$, '22023', 'the answer to criterion "decides_on" is not finite', 'no day without end');
SELECT throws_ok($$UPDATE prm.lead_criterion SET kind = 'text' WHERE criterion = 'seats' AND program_id = prm.current_program()$$, '23503', NULL, 'a criterion with answers keeps its kind');

-- Who: a partner for its own leads only, and nobody signs for another.
SELECT set_config('prm.partner_id', '9100002', true);
SELECT throws_ok($$SELECT prm.answer_criteria(9100001, '{"seats": 1}')$$, '42501', 'lead 9100001 is not of partner 9100002, who acts', 'another partner''s lead');
SELECT throws_ok($$SELECT prm.answer_criteria(9100001, '{"seats": null}')$$, '42501', NULL, 'nor are its answers withdrawn');
SELECT throws_ok($$UPDATE prm.lead_answer SET number_value = 1 WHERE lead_id = 9100001 AND criterion = 'seats'$$, '42501', NULL, 'not by UPDATE either');
SELECT is(prm.answer_criteria(9100006, '{"seats": 1}'), 1, 'its own');
SELECT set_config('prm.partner_id', '', true);
SET LOCAL prm.actor = 'vera';
INSERT INTO prm.lead_answer (lead_id, criterion, number_value, answered_by, partner_id) VALUES (9100007, 'seats', 5, 'somebody else', 9100001);
SELECT results_eq($$SELECT answered_by, partner_id FROM prm.lead_answer WHERE lead_id = 9100007$$, $$VALUES ('vera', 9100002::bigint)$$, 'who answered and whose lead it is are not the writer''s to say');

-- History.
SET LOCAL prm.clock = '2026-03-02 10:00:00+00';
SELECT is(prm.answer_criteria(9100001, '{"seats": null}'), 1, 'an answer is withdrawn');
SELECT results_eq($$SELECT action, number_value, answered_by, answered_at FROM prm.lead_answer_history WHERE program_id = prm.current_program() AND lead_id = 9100001 AND criterion = 'seats' ORDER BY lead_answer_history_id$$,
  $$VALUES ('given', 12.5, current_user::text COLLATE "default", '2026-03-02 09:00+00'::timestamptz), ('changed', 20, current_user::text COLLATE "default", '2026-03-02 09:00+00'), ('withdrawn', 20, 'vera', '2026-03-02 10:00+00')$$, 'and the history keeps all of it');
SELECT throws_ok($$DELETE FROM prm.lead_answer_history$$, '55000', 'table "lead_answer_history" is append-only', 'which nobody deletes');
SELECT throws_ok($$UPDATE prm.lead_answer_history SET number_value = 1$$, '55000', NULL, 'or changes');
UPDATE prm.lead SET partner_id = 9100001 WHERE lead_id = 9100007;
SELECT is((SELECT partner_id FROM prm.lead_answer WHERE lead_id = 9100007), 9100001::bigint, 'answers go with the lead to another partner');
SELECT is((SELECT answered_by FROM prm.lead_answer WHERE lead_id = 9100007), 'vera', 'and stay whose they were');

-- ---- the gate ----------------------------------------------------------------------------------------------------------
CREATE FUNCTION pg_temp.why(lead bigint, event text) RETURNS text[] LANGUAGE sql AS $$SELECT a.why_not FROM prm.allowed_events('lead', lead) a WHERE a.event = why.event$$;
SELECT set_config('prm.partner_id', '9100001', true);
SELECT is(pg_temp.why(9100001, 'qualify'), ARRAY['criterion "seats" is not answered'], 'allowed_events names what is missing');
SELECT is((SELECT allowed FROM prm.allowed_events('lead', 9100001) WHERE event = 'qualify'), false, 'and does not allow it');
SELECT throws_ok($$SELECT prm.fire('lead', 9100001, 'qualify')$$, '23514', 'lead 9100001 cannot take event "qualify" to "partner_qualified": criterion "seats" is not answered', 'fire waits for it');
SELECT throws_ok($$UPDATE prm.lead SET state = 'partner_qualified' WHERE lead_id = 9100001$$, '23514', 'lead 9100001 cannot take event "qualify" to "partner_qualified": criterion "seats" is not answered', 'UPDATE too');
SELECT throws_ok($$UPDATE prm.lead SET state = 'partner_qualified' WHERE lead_id BETWEEN 9100001 AND 9100005$$, '23514', NULL, 'and one of many');
SELECT is((SELECT count(*) FROM prm.lead WHERE program_id = :p AND state = 'new' AND partner_id = 9100001), 6::bigint, 'nothing moved');
SELECT lives_ok($$SELECT prm.answer_criteria(9100001, '{"seats": 30}')$$, 'the last answer');
SELECT is(pg_temp.why(9100001, 'qualify'), '{}', 'opens the gate');
SELECT is(prm.fire('lead', 9100001, 'qualify'), 'partner_qualified', 'for fire');
SELECT prm.answer_criteria(lead_id, '{"seats": 3, "budget_approved": false, "industry": "retail", "decides_on": "2026-05-01"}') FROM prm.lead WHERE program_id = :p AND lead_id BETWEEN 9100002 AND 9100004;
SELECT lives_ok($$UPDATE prm.lead SET state = 'partner_qualified' WHERE lead_id BETWEEN 9100002 AND 9100004$$, 'and for UPDATE of many; false is an answer');
SELECT lives_ok($$SELECT prm.fire('lead', 9100005, 'disqualify', 'no budget')$$, 'an event without the flag waits for nothing');
SELECT set_config('prm.partner_id', '9100002', true);
UPDATE prm.lead_criterion SET is_active = false WHERE program_id = :p AND criterion <> 'seats';
SELECT lives_ok($$SELECT prm.fire('lead', 9100006, 'qualify')$$, 'criteria that are no longer asked hold nobody back');
SELECT set_config('prm.partner_id', '9100001', true);
UPDATE prm.lead_criterion SET is_active = true, valid_from = '2026-03-03' WHERE program_id = :p AND criterion = 'budget_approved';
SELECT is(pg_temp.why(9100007, 'qualify'), '{}', 'nor those that are asked from tomorrow');
SET LOCAL prm.clock = '2026-03-03 09:00:00+00';
SELECT is(pg_temp.why(9100007, 'qualify'), ARRAY['criterion "budget_approved" is not answered'], 'until then');
UPDATE prm.lead_criterion SET valid_until = '2026-03-03' WHERE program_id = :p AND criterion = 'budget_approved';
SET LOCAL prm.clock = '2026-03-04 09:00:00+00';
SELECT is(pg_temp.why(9100007, 'qualify'), '{}', 'or until yesterday');
SELECT throws_ok($$SELECT prm.answer_criteria(9100007, '{"industry": "bank"}')$$, '22023', NULL, 'what is not asked is not answered');
SELECT results_eq($$SELECT criterion, is_answered, value FROM prm.v_lead_checklist WHERE program_id = prm.current_program() AND lead_id = 9100007$$, $$VALUES ('seats', true, '5')$$, 'the form shows what is asked');
SELECT set_config('prm.partner_id', '', true);
SELECT throws_ok($$SELECT prm.define_machine('deal', '{"initial": "a", "states": {"a": {"on": {"go": {"target": "b", "criteria": true}}}, "b": {"type": "final"}}}')$$, '22023',
  'machine "deal": state "a", event "go": key "criteria" can only be true or false, and only in the machine lead', 'criteria are for leads');

-- ---- who qualifies how -------------------------------------------------------------------------------------------------
-- 9100001: qualified 10:00, returned at 12:00, again at 13:00, approved at 17:00 (4 h). 9100002: approved 10 h after.
SET LOCAL prm.clock = '2026-03-02 12:00:00+00';
SELECT prm.fire('lead', 9100001, 'return', 'no need');
SET LOCAL prm.clock = '2026-03-02 13:00:00+00';
SELECT set_config('prm.partner_id', '9100001', true);
SELECT prm.fire('lead', 9100001, 'qualify');
SELECT set_config('prm.partner_id', '', true);
SET LOCAL prm.clock = '2026-03-02 17:00:00+00';
SELECT prm.fire('lead', 9100001, 'approve');
SET LOCAL prm.clock = '2026-03-02 20:00:00+00';
SELECT prm.fire('lead', 9100002, 'approve');
SET LOCAL prm.clock = '2026-04-02 20:00:00+00';
SELECT is(prm.fire('lead', 9100001, 'convert'), 'converted', 'a lead is converted');
SELECT results_eq($$SELECT partner, received, qualified, returned, return_rate, approved, approval_hours, rework, converted, conversion_rate FROM prm.v_lead_qualification WHERE program_id = prm.current_program() ORDER BY partner_id$$,
  $$VALUES ('Alder', 6::bigint, 4::bigint, 1::bigint, 0.2500, 2::bigint, 7.00, 0.2500, 1::bigint, 0.1667), ('Birch', 2, 2, 0, 0.0000, 0, NULL, 0.0000, 0, 0.0000)$$, 'per partner');
SELECT results_eq($$SELECT month, received, qualified, returned, return_rate, approved, approval_hours, rework, converted FROM prm.v_lead_qualification_month WHERE program_id = prm.current_program() AND partner_id = 9100001 ORDER BY month$$,
  $$VALUES ('2026-03-01'::date, 6::bigint, 4::bigint, 1::bigint, 0.2500, 2::bigint, 7.00, 0.2500, 0::bigint), ('2026-04-01', 0, 0, 0, NULL, 0, NULL, NULL, 1)$$, 'and month');
SELECT results_eq($$SELECT d.lead_id, d.partner_id, d.name, d.amount, d.state, c.name FROM prm.deal d JOIN prm.customer c USING (program_id, customer_id) JOIN prm.lead l ON l.program_id = d.program_id AND l.lead_id = d.lead_id AND l.customer_id = d.customer_id
    WHERE d.program_id = prm.current_program()$$, $$VALUES (9100001::bigint, 9100001::bigint, 'Company 1', 100.0, 'prospecting', 'Company 1')$$, 'the deal is made and linked to lead, partner and customer');

-- A lead that is deleted takes its answers, not their history.
DELETE FROM prm.lead WHERE lead_id = 9100003;
SELECT is((SELECT string_agg(DISTINCT action, ',' ORDER BY action) FROM prm.lead_answer_history WHERE lead_id = 9100003), 'given,withdrawn', 'the history outlives the lead');

-- A partner's own role sees and answers its own leads, and nothing else.
CREATE ROLE criteria_test_partner;
SELECT set_config('prm.program_id', prm.create_program('Criteria for partners', 'blank')::text, true) AS q \gset
INSERT INTO prm.partner (partner_id, name) VALUES (9100001, 'Alder'), (9100002, 'Birch');
INSERT INTO prm.lead (lead_id, partner_id, company) VALUES (9100001, 9100001, 'One'), (9100002, 9100002, 'Two');
INSERT INTO prm.partner_login (role_name, partner_id) VALUES ('criteria_test_partner', 9100001);
INSERT INTO prm.lead_criterion (criterion, kind, label) VALUES ('seats', 'number', 'Seats');
SELECT prm.answer_criteria(9100002, '{"seats": 2}');
SELECT prm.grant_access('criteria_test_partner', 'partner');
GRANT USAGE ON SCHEMA public TO criteria_test_partner;
SET LOCAL ROLE criteria_test_partner;
SELECT prm.answer_criteria(9100001, '{"seats": 7}') AS given \gset
SELECT string_agg(lead_id || '=' || number_value, ',') AS seen FROM prm.lead_answer \gset
SELECT string_agg(lead_id || '=' || action, ',') AS history FROM prm.lead_answer_history \gset
DO $$ BEGIN PERFORM prm.answer_criteria(9100002, '{"seats": 7}'); EXCEPTION WHEN OTHERS THEN PERFORM set_config('prm_test.refused', SQLSTATE, true); END $$;
DO $$ BEGIN INSERT INTO prm.lead_answer (lead_id, criterion, number_value) VALUES (9100002, 'seats', 1); EXCEPTION WHEN OTHERS THEN PERFORM set_config('prm_test.refused_row', SQLSTATE, true); END $$;
DO $$ BEGIN PERFORM prm._gate_faults(1, 'lead', 1, 'new', 'qualify', ARRAY[1], NULL); EXCEPTION WHEN OTHERS THEN PERFORM set_config('prm_test.refused_gate', SQLSTATE, true); END $$;
RESET ROLE;
SELECT is(:given::int, 1, 'a partner''s role answers');
SELECT is(:'seen'::text, '9100001=7', 'sees its own answers');
SELECT is(:'history'::text, '9100001=given', 'and their history');
SELECT is(current_setting('prm_test.refused'), '42704', 'does not see another partner''s lead');
SELECT is(current_setting('prm_test.refused_row'), '42704', 'nor answers for it by INSERT');
SELECT is(current_setting('prm_test.refused_gate'), '42501', 'and cannot ask the gate itself');

SELECT lives_ok(format('DELETE FROM prm.program WHERE program_id = %s', :q), 'a programme with criteria and answers can be deleted');

SELECT * FROM finish();
ROLLBACK;
