-- Quality gates: a state that asks for a review is left by its accept event only with a quorum of decisions, each recorded.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SELECT set_config('prm.program_id', prm.create_program('Gates', 'blank')::text, true) AS p \gset
SET LOCAL prm.clock = '2026-03-02 09:00:00+00';

-- ---- definitions -------------------------------------------------------------------------------------------------------
CREATE FUNCTION pg_temp.fault(review jsonb, actor text DEFAULT 'vendor') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM prm.define_machine('lead', jsonb_build_object('initial', 'a', 'states', jsonb_build_object(
    'a', jsonb_build_object('on', jsonb_build_object('yes', jsonb_build_object('target', 'b', 'actor', fault.actor), 'no', '{"target": "c", "reason": true}'::jsonb), 'review', fault.review),
    'b', '{"type": "final"}'::jsonb, 'c', '{"on": {"again": {"target": "a"}}}'::jsonb)));
  RETURN 'taken';
EXCEPTION WHEN invalid_parameter_value THEN
  RETURN SQLERRM;
END $$;
SELECT is(pg_temp.fault('{"accept": "yes", "return": "no", "size": 1}'), 'machine "lead": state "a": review has the unknown key "size"');
SELECT is(pg_temp.fault('{"return": "no"}'), 'machine "lead": state "a": review lacks the key "accept"');
SELECT is(pg_temp.fault('{"accept": "yes"}'), 'machine "lead": state "a": review lacks the key "return"');
SELECT is(pg_temp.fault('{"accept": "yes", "return": "maybe"}'), 'machine "lead": state "a": review names the event "maybe", which does not leave the state');
SELECT is(pg_temp.fault('{"accept": "yes", "return": "yes"}'), 'machine "lead": state "a": review has the same event for accept and return');
SELECT is(pg_temp.fault('{"accept": "yes", "return": 1}'), 'machine "lead": state "a": review key "return" is no text');
SELECT is(pg_temp.fault('{"accept": "yes", "return": "no", "role": ""}'), 'machine "lead": state "a": review key "role" is no text');
SELECT is(pg_temp.fault('{"accept": "yes", "return": "no", "quorum": 0}'), 'machine "lead": state "a": review key "quorum" is no whole number from 1 to 99');
SELECT is(pg_temp.fault('{"accept": "yes", "return": "no", "of": 1.5}'), 'machine "lead": state "a": review key "of" is no whole number from 1 to 99');
SELECT is(pg_temp.fault('{"accept": "yes", "return": "no", "quorum": 3, "of": 2}'), 'machine "lead": state "a": review asks for a quorum of more reviewers than there are');
SELECT is(pg_temp.fault('{"accept": "yes", "return": "no"}', 'partner'), 'machine "lead": state "a": review would send the event "yes", which is not for the vendor');
SELECT is(pg_temp.fault('[]'), 'machine "lead": state "a": key "review" is no JSON object');
SELECT is((SELECT count(*) FROM prm.machine WHERE program_id = :p AND machine = 'lead'), 1::bigint, 'no refused definition left a version');
SELECT is(pg_temp.fault('{"accept": "yes", "return": "no"}'), 'taken', 'quorum and panel are 1 where they are not given');

-- ---- one reviewer ------------------------------------------------------------------------------------------------------
CREATE FUNCTION pg_temp.why(lead bigint, event text) RETURNS text[] LANGUAGE sql AS $$SELECT a.why_not FROM prm.allowed_events('lead', lead) a WHERE a.event = why.event$$;
INSERT INTO prm.partner (partner_id, name) VALUES (9300001, 'Alder');
INSERT INTO prm.lead (lead_id, partner_id, company, state) SELECT 9300000 + n, 9300001, 'Company ' || n, 'a' FROM generate_series(1, 9) n;
SELECT is(pg_temp.why(9300001, 'yes'), ARRAY['it has 0 of 1 reviews'], 'allowed_events says what is missing');
SELECT is(pg_temp.why(9300001, 'no'), ARRAY['no reason is given'], 'the return event is not held back');
SELECT throws_ok($$SELECT prm.fire('lead', 9300001, 'yes')$$, '23514', 'lead 9300001 cannot take event "yes" to "b": it has 0 of 1 reviews', 'fire waits for the review');
SELECT throws_ok($$UPDATE prm.lead SET state = 'b' WHERE lead_id = 9300001$$, '23514', 'lead 9300001 cannot take event "yes" to "b": it has 0 of 1 reviews', 'UPDATE too');
SELECT throws_ok($$UPDATE prm.lead SET state = 'b' WHERE program_id = prm.current_program()$$, '23514', NULL, 'and UPDATE of all');
SELECT throws_ok($$INSERT INTO prm.lead (lead_id, company, state) VALUES (9300001, 'x', 'a') ON CONFLICT (program_id, lead_id) DO UPDATE SET state = 'b'$$, '23514', NULL, 'and an upsert');
SELECT throws_ok($$SELECT prm.review('lead', 9300001, 'maybe')$$, '22023', 'a review cannot decide "maybe"', 'an unknown decision');
SELECT throws_ok($$SELECT prm.review('lead', 9300001, NULL)$$, '22023', NULL, 'no decision');
SELECT throws_ok($$SELECT prm.review('lead', 9300001, 'return')$$, '23514', 'a return needs a reason', 'a return without a reason');
SELECT throws_ok($$SELECT prm.review('lead', 9300001, 'return', ' ')$$, '23514', 'a return needs a reason', 'a blank reason is none');
SELECT throws_ok($$SELECT prm.review('lead', 1, 'accept')$$, '42704', format('lead 1 does not exist in programme %s', :p), 'an unknown row');
SELECT throws_ok($$SELECT prm.review('dream', 1, 'accept')$$, '42704', NULL, 'an unknown machine');
SELECT set_config('prm.partner_id', '9300001', true);
SELECT throws_ok($$SELECT prm.review('lead', 9300001, 'accept')$$, '42501', 'a partner cannot review', 'not by the partner');
SELECT throws_ok($$INSERT INTO prm.review_decision (machine, subject_id, decision) VALUES ('lead', 9300001, 'accept')$$, '42501', 'a partner cannot review', 'nor by INSERT');
SELECT set_config('prm.partner_id', '', true);
SELECT is((SELECT count(*) FROM prm.review_decision WHERE program_id = :p), 0::bigint, 'nothing refused was recorded');
SET LOCAL prm.actor = 'vera';
SELECT is(prm.review('lead', 9300001, 'accept', 'fine'), 'b', 'one decision is enough');
SELECT results_eq($$SELECT state, reviewer, decision, reason, at FROM prm.review_decision WHERE program_id = prm.current_program()$$, $$VALUES ('a', 'vera', 'accept', 'fine', prm.now())$$, 'and recorded');
SELECT results_eq($$SELECT event, to_state, actor, actor_kind, reason FROM prm.state_history WHERE program_id = prm.current_program() AND subject_id = 9300001 AND machine = 'lead' ORDER BY history_id DESC LIMIT 1$$,
  $$VALUES ('yes', 'b', 'vera', 'vendor', 'fine')$$, 'the event was sent by the reviewer');
SELECT throws_ok($$SELECT prm.review('lead', 9300001, 'accept')$$, '55000', 'lead 9300001: state "b" needs no review', 'not twice');
SELECT is(prm.review('lead', 9300002, 'return', 'too small'), 'c', 'a return');
SELECT is((SELECT reason FROM prm.state_history WHERE program_id = :p AND subject_id = 9300002 ORDER BY history_id DESC LIMIT 1), 'too small', 'with its reason');
SELECT prm.fire('lead', 9300002, 'again');
SELECT is(pg_temp.why(9300002, 'yes'), ARRAY['it has 0 of 1 reviews'], 'a new visit starts from nothing');
SELECT is(prm.review('lead', 9300002, 'accept'), 'b', 'and the same reviewer votes again');
SELECT throws_ok($$UPDATE prm.review_decision SET decision = 'return'$$, '55000', 'table "review_decision" is append-only', 'decisions are not changed');
SELECT throws_ok($$DELETE FROM prm.review_decision$$, '55000', NULL, 'or deleted');

-- ---- n of m ------------------------------------------------------------------------------------------------------------
-- Rows stay on the version that they began with, so new ones.
SELECT is(pg_temp.fault('{"accept": "yes", "return": "no", "quorum": 2, "of": 3}'), 'taken');
INSERT INTO prm.lead (lead_id, partner_id, company, state) SELECT 9300010 + n, 9300001, 'Company ' || n, 'a' FROM generate_series(1, 5) n;
SELECT is(prm.review('lead', 9300011, 'accept'), 'a', 'the first of two waits');
SELECT is(pg_temp.why(9300011, 'yes'), ARRAY['it has 1 of 2 reviews'], 'and is seen');
SELECT throws_ok($$SELECT prm.fire('lead', 9300011, 'yes')$$, '23514', 'lead 9300011 cannot take event "yes" to "b": it has 1 of 2 reviews', 'one is not enough');
SELECT throws_ok($$SELECT prm.review('lead', 9300011, 'accept')$$, '23505', '"vera" has reviewed lead 9300011 already', 'nobody votes twice');
SELECT throws_ok($$SELECT prm.review('lead', 9300011, 'return', 'changed my mind')$$, '23505', NULL, 'nor both ways');
SET LOCAL prm.actor = 'will';
SELECT is(prm.review('lead', 9300011, 'accept'), 'b', 'the second moves it');
SELECT is(prm.review('lead', 9300012, 'return', 'one against'), 'a', 'one of three against leaves two to accept');
SET LOCAL prm.actor = 'vera';
SELECT is(prm.review('lead', 9300012, 'accept'), 'a', 'one for');
SET LOCAL prm.actor = 'xena';
SELECT is(prm.review('lead', 9300012, 'accept'), 'b', 'two for: accepted');
SELECT is(prm.review('lead', 9300013, 'return', 'no'), 'a', 'one against');
SET LOCAL prm.actor = 'vera';
SELECT is(prm.review('lead', 9300013, 'return', 'no, really'), 'c', 'two against: no quorum is left');
SELECT is((SELECT reason FROM prm.state_history WHERE program_id = :p AND subject_id = 9300013 ORDER BY history_id DESC LIMIT 1), 'no, really', 'the deciding reason');
-- Votes of several in one statement; then everybody with a quorum goes through by UPDATE.
INSERT INTO prm.review_decision (machine, subject_id, decision) SELECT 'lead', 9300010 + n, 'accept' FROM generate_series(4, 5) n;
SET LOCAL prm.actor = 'will';
INSERT INTO prm.review_decision (machine, subject_id, decision, reviewer, state, entered) VALUES ('lead', 9300014, 'accept', 'vera', 'x', 0);
SELECT is((SELECT string_agg(reviewer, ',' ORDER BY reviewer) FROM prm.review_decision WHERE program_id = :p AND subject_id = 9300014), 'vera,will', 'nobody votes under another name');
SELECT is(pg_temp.why(9300014, 'yes'), '{}', 'a quorum reached by INSERT opens the gate');
SELECT throws_ok($$UPDATE prm.lead SET state = 'b' WHERE lead_id IN (9300014, 9300015)$$, '23514', 'lead 9300015 cannot take event "yes" to "b": it has 1 of 2 reviews', 'one of two rows lacks votes');
SELECT lives_ok($$UPDATE prm.lead SET state = 'b' WHERE lead_id = 9300014$$, 'the other goes');

-- The whole update of many rows at once: each with its own votes.
INSERT INTO prm.lead (lead_id, company, state) SELECT 9310000 + n, 'Bulk ' || n, 'a' FROM generate_series(1, 300) n;
INSERT INTO prm.review_decision (machine, subject_id, decision) SELECT 'lead', 9310000 + n, 'accept' FROM generate_series(1, 300) n;
SET LOCAL prm.actor = 'vera';
INSERT INTO prm.review_decision (machine, subject_id, decision) SELECT 'lead', 9310000 + n, 'accept' FROM generate_series(1, 299) n;
SELECT throws_ok($$UPDATE prm.lead SET state = 'b' WHERE lead_id BETWEEN 9310001 AND 9310300$$, '23514', 'lead 9310300 cannot take event "yes" to "b": it has 1 of 2 reviews', 'the one of 300 is found');
UPDATE prm.lead SET state = 'b' WHERE lead_id BETWEEN 9310001 AND 9310299;
SELECT is((SELECT count(*) FROM prm.lead WHERE program_id = :p AND state = 'b' AND lead_id > 9310000), 299::bigint, 'and the others go');

-- An event that returns to its own state is no new visit: the votes stay.
SELECT prm.define_machine('lead', '{"initial": "a", "states": {"a": {"on": {"yes": {"target": "b"}, "no": {"target": "c"}, "note": {"target": "a"}}, "review": {"quorum": 2, "of": 3, "accept": "yes", "return": "no"}}, "b": {"type": "final"}, "c": {"type": "final"}}}');
INSERT INTO prm.lead (lead_id, company, state) VALUES (9300041, 'Note', 'a');
SELECT prm.review('lead', 9300041, 'accept');
SELECT prm.fire('lead', 9300041, 'note');
SELECT is(pg_temp.why(9300041, 'yes'), ARRAY['it has 1 of 2 reviews'], 'a note leaves the vote');
SELECT throws_ok($$SELECT prm.review('lead', 9300041, 'accept')$$, '23505', NULL, 'and the voter without another');
SET LOCAL prm.actor = 'will';
SELECT is(prm.review('lead', 9300041, 'accept'), 'b', 'the second vote counts with it');
SET LOCAL prm.actor = 'vera';

-- ---- reviewers ---------------------------------------------------------------------------------------------------------
SELECT is(pg_temp.fault('{"accept": "yes", "return": "no", "role": "gate_test_reviewer"}'), 'taken');
INSERT INTO prm.lead (lead_id, company, state) SELECT 9300020 + n, 'Company ' || n, 'a' FROM generate_series(1, 3) n;
SELECT throws_ok($$SELECT prm.review('lead', 9300021, 'accept')$$, '42501', 'state "a" is reviewed by the role "gate_test_reviewer"', 'a role that does not exist has no members');
CREATE ROLE gate_test_reviewer;
CREATE ROLE gate_test_anna;
CREATE ROLE gate_test_bert;
GRANT gate_test_reviewer TO gate_test_anna;
SELECT prm.grant_access('gate_test_anna', 'manager'), prm.grant_access('gate_test_bert', 'manager');
SET LOCAL ROLE gate_test_bert;
DO $$ BEGIN PERFORM prm.review('lead', 9300021, 'accept'); EXCEPTION WHEN insufficient_privilege THEN PERFORM set_config('prm_test.refused', SQLERRM, true); END $$;
DO $$ BEGIN INSERT INTO prm.review_round (machine, entered, accepted) VALUES ('lead', 1, 9); EXCEPTION WHEN insufficient_privilege THEN PERFORM set_config('prm_test.refused_round', SQLERRM, true); END $$;
SET LOCAL ROLE gate_test_anna;
SELECT prm.review('lead', 9300021, 'accept') AS state \gset
RESET ROLE;
SELECT is(current_setting('prm_test.refused'), 'state "a" is reviewed by the role "gate_test_reviewer"', 'only members review');
SELECT is(current_setting('prm_test.refused_round'), 'permission denied for table review_round', 'nobody writes the count');
SELECT is(:'state'::text, 'b', 'a member does');
SELECT is((SELECT reviewer FROM prm.review_decision WHERE program_id = :p AND subject_id = 9300021), 'gate_test_anna', 'under the name of its role, whatever prm.actor says');

-- ---- a table of the user's, keys that are uuids -------------------------------------------------------------------------
CREATE TABLE public.gate_test_case (code uuid PRIMARY KEY, phase text NOT NULL DEFAULT 'open', customer text);
SELECT prm.define_machine('case', '{"initial": "open", "states": {"open": {"on": {"close": {"target": "closed"}, "back": {"target": "again", "reason": true}},
  "review": {"quorum": 2, "accept": "close", "return": "back"}}, "again": {"on": {"open": {"target": "open"}}}, "closed": {"type": "final"}}}');
INSERT INTO public.gate_test_case (code, customer) SELECT ('00000000-0000-0000-0000-00000000000' || n)::uuid, 'Customer ' || n FROM generate_series(1, 3) n;
SELECT is(prm.attach_machine('public.gate_test_case', 'case', 'phase', 'code'), 3::bigint, 'a table is attached');
INSERT INTO prm.machine_hook (machine, fires_on, to_state, action, title) VALUES ('case', 'enter', 'closed', 'task', 'Tell {customer} about {code}');
SELECT throws_ok($$INSERT INTO prm.machine_hook (machine, fires_on, to_state, action, title) VALUES ('case', 'enter', 'closed', 'task', '{company}')$$, '22023', 'hook of machine "case": there is no field {company}', 'its columns are the fields');
CREATE FUNCTION pg_temp.case_why(event text) RETURNS text[] LANGUAGE sql AS $$SELECT a.why_not FROM prm.allowed_events_uuid('case', '00000000-0000-0000-0000-000000000001') a WHERE a.event = case_why.event$$;
SELECT is(pg_temp.case_why('close'), ARRAY['it has 0 of 2 reviews'], 'its rows wait for reviews');
SELECT is(prm.review_uuid('case', '00000000-0000-0000-0000-000000000001', 'accept'), 'open', 'one of two');
SELECT is(pg_temp.case_why('close'), ARRAY['it has 1 of 2 reviews'], 'is seen');
SELECT throws_ok($$UPDATE public.gate_test_case SET phase = 'closed'$$, '23514', 'case 00000000-0000-0000-0000-000000000001 cannot take event "close" to "closed": it has 1 of 2 reviews', 'UPDATE is refused by the key');
SELECT throws_ok($$SELECT prm.review_uuid('case', '00000000-0000-0000-0000-000000000001', 'accept')$$, '23505', '"vera" has reviewed case 00000000-0000-0000-0000-000000000001 already', 'one vote each');
SELECT throws_ok($$SELECT prm.review_uuid('case', '00000000-0000-0000-0000-000000000009', 'accept')$$, '42704', format('case 00000000-0000-0000-0000-000000000009 does not exist in programme %s', :p), 'an unknown key');
SELECT throws_ok($$SELECT prm.review('case', 1, 'accept')$$, '55000', 'machine "case" serves no table with such a key', 'a number is no uuid');
SELECT throws_ok($$SELECT prm.review_uuid('lead', '00000000-0000-0000-0000-000000000001', 'accept')$$, '55000', 'machine "lead" serves no table with such a key', 'nor the other way round');
SET LOCAL prm.actor = 'will';
SELECT is(prm.review_uuid('case', '00000000-0000-0000-0000-000000000001', 'accept'), 'closed', 'the second closes it');
SELECT is((SELECT phase FROM public.gate_test_case WHERE code = '00000000-0000-0000-0000-000000000001'), 'closed', 'in the table');
SELECT is((SELECT title FROM prm.task WHERE program_id = :p AND machine = 'case'), 'Tell Customer 1 about 00000000-0000-0000-0000-000000000001', 'and its hook sees the row');
SELECT is(prm.review_uuid('case', '00000000-0000-0000-0000-000000000002', 'return', 'no'), 'again', 'quorum of all: one against returns it');
SELECT prm.define_machine('idle', '{"initial": "a", "states": {"a": {"type": "final"}}}');
SELECT throws_ok($$SELECT prm.review('idle', 1, 'accept')$$, '55000', 'machine "idle" serves no table with such a key', 'a machine without a table');

-- A version without the review asks nothing; rows that began with it stay with it.
SELECT prm.define_machine('lead', '{"initial": "a", "states": {"a": {"on": {"yes": {"target": "b"}, "no": {"target": "c"}}}, "b": {"type": "final"}, "c": {"on": {"again": {"target": "a"}}}}}');
INSERT INTO prm.lead (lead_id, company, state) VALUES (9300031, 'Company', 'a');
SELECT throws_ok($$SELECT prm.fire('lead', 9300022, 'yes')$$, '23514', NULL, 'a row of the version before still waits');
SELECT is(prm.fire('lead', 9300031, 'yes'), 'b', 'a row of a version without a review does not');
SELECT throws_ok($$SELECT prm.review('lead', 9300031, 'accept')$$, '55000', 'lead 9300031: state "b" needs no review', 'takes no decision');

SELECT * FROM finish();
ROLLBACK;
