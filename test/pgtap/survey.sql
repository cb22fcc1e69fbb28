-- Surveys: classes and scores (NPS-*), due lists, answers once only, alerts, anonymity.
BEGIN;
SET LOCAL datestyle = 'ISO, YMD';
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SET LOCAL prm.clock = '2026-06-15 12:00+02';
SELECT set_config('prm.program_id', prm.create_program('pgTAP surveys', 'blank', 'EUR', 'Europe/Berlin')::text, true) AS program \gset

SELECT is(array_agg(prm.nps_class(s) ORDER BY o), '{detractor,detractor,passive,passive,promoter,promoter}', 'NPS-001 classes')
  FROM unnest('{0,6,7,8,9,10}'::int[]) WITH ORDINALITY AS t(s, o);
SELECT is(prm.nps(s), 10::numeric, 'NPS-002 30 % promoters, 20 % detractors')
  FROM (SELECT CASE WHEN i <= 3 THEN 9 WHEN i <= 5 THEN 6 ELSE 8 END AS s FROM generate_series(1, 10) i) a;
SELECT is(prm.nps(s), NULL::numeric, 'NPS-004 no answers') FROM (SELECT 1 AS s WHERE false) a;
SELECT is(prm.nps(s), NULL::numeric, 'NPS-004 who did not answer is no zero') FROM (VALUES (NULL::int), (NULL)) a(s);
SELECT is(prm.nps(s), 100::numeric, 'NPS-003 no answer leaves the denominator') FROM (VALUES (10), (NULL)) a(s);
SELECT is(round(prm.nps(s), 4), -33.3333, 'all answers are the denominator, passives too') FROM (VALUES (0), (7), (8)) a(s);
SELECT throws_ok(format('SELECT prm.nps(s) FROM (VALUES (%s::numeric)) v(s)', i), '22023', NULL, 'no answer: ' || i) FROM unnest('{-1,11,8.5,''NaN'',''Infinity''}'::text[]) i;
SELECT throws_ok('SELECT prm.nps_class(11)', '22023', '11 is no answer to a recommendation question', 'no class either');
-- 10 answers, 5 promoters, 5 detractors: standard deviation 100.
SELECT is(prm.nps_margin(s), 61.979503, 'margin of error: 1.96 * 100 / sqrt(10)') FROM (SELECT CASE WHEN i % 2 = 0 THEN 10 ELSE 0 END AS s FROM generate_series(1, 10) i) a;
SELECT is(prm.nps_margin(s), 0::numeric, 'all of one mind') FROM (VALUES (9), (10)) a(s);
SELECT is(prm.nps_margin(s), NULL::numeric, 'one answer has no margin') FROM (VALUES (9)) a(s);
SELECT is(prm._nps_final(prm._nps_combine('{3,2,1}', '{7,1,1}')), 10::numeric, 'parts are joined');
SELECT throws_ok('SELECT prm._nps_final(''{1,2}'')', '22023', NULL, 'a state of another shape');

-- Due lists.
INSERT INTO prm.partner (partner_id, name, kind, country) VALUES (1, 'Aurora', 'reseller', 'DE'), (2, 'Boreal', 'affiliate', 'FR'), (3, 'Gone', 'reseller', 'DE');
DO $$ BEGIN PERFORM prm.fire('partner', 3, 'reject', 'too far away'); END $$;
INSERT INTO prm.partner_user (partner_user_id, partner_id, name, email, is_active) VALUES (1, 1, 'Ada', 'ada@a.example', true), (2, 1, 'Ben', NULL, true), (3, 1, 'Left', NULL, false), (4, 2, 'Cem', NULL, true), (5, 3, 'Dee', NULL, true);
INSERT INTO prm.customer (customer_id, name, segment, country) VALUES (1, 'Acme', 'mid', 'DE'), (2, 'Bolt', 'mid', 'DE'), (3, 'Corp', 'big', 'FR');
INSERT INTO prm.deal (deal_id, partner_id, customer_id, name, amount, currency) VALUES
  (1, 1, 1, 'a', 1, 'EUR'), (2, 2, 1, 'b', 1, 'EUR'), (3, 1, 2, 'c', 1, 'EUR'), (4, 1, 3, 'd', 1, 'EUR');
SET LOCAL prm.clock = '2026-01-01 12:00+02';
UPDATE prm.deal SET state = 'won' WHERE program_id = :program AND deal_id IN (1, 3);
SET LOCAL prm.clock = '2026-02-01 12:00+02';
UPDATE prm.deal SET state = CASE deal_id WHEN 2 THEN 'won' ELSE 'lost' END WHERE program_id = :program AND deal_id IN (2, 4);
SET LOCAL prm.clock = '2026-06-15 12:00+02';
INSERT INTO prm.survey (survey, label, asks, alert_to, min_answers, channel) VALUES ('customers', 'Customers', 'customer', 'owner', 3, 'email');
INSERT INTO prm.survey (survey, label, asks, alert_to, min_answers, channel, every, spread_days) VALUES ('people', 'People', 'partner', 'partner', 2, 'whatsapp', '1 month', 1);
SELECT prm.open_survey_wave('customers') AS wave \gset
SELECT is((SELECT array_agg(format('%s/%s', customer_id, partner_id) ORDER BY customer_id) FROM prm.survey_ask WHERE program_id = :program AND survey = 'customers'), '{1/2,2/1}',
  'customers that bought, each once, about the partner that sold last');
SELECT is(prm.open_survey_wave('customers', '2026-06-15'), :wave::bigint, 'the same day again is the same wave');
SELECT is((SELECT count(*) FROM prm.survey_ask WHERE program_id = :program), 2::bigint, 'and nobody is asked twice');
SELECT prm.open_survey_wave('customers', '2026-06-20') AS soon \gset
SELECT is((SELECT count(*) FROM prm.survey_ask WHERE program_id = :program AND survey_wave_id = :soon), 0::bigint, 'nobody is asked again within min_gap_days');
SELECT throws_ok('SELECT prm.open_survey_wave(''nothing'')', '42704', 'survey "nothing" does not exist', 'an unknown survey');
SELECT is(prm._work_surveys(:program), 5::bigint, 'the job opens the wave of people and asks who is due: 2 customers, 2 people, the third tomorrow');
SELECT is((SELECT array_agg(partner_user_id ORDER BY partner_user_id) FROM prm.survey_ask WHERE program_id = :program AND survey = 'people'), '{1,2,4}', 'active people of living partners');
SELECT is((SELECT array_agg(format('%s %s %s', channel, payload ->> 'survey', coalesce(payload ->> 'customer_id', payload ->> 'partner_user_id')) ORDER BY outbox_id) FROM prm.outbox
  WHERE program_id = :program AND event_type = 'survey.ask'), '{email customers 1,email customers 2,whatsapp people 1,whatsapp people 4}', 'each by the channel of its survey');
SELECT is(prm._work_surveys(:program), 0::bigint, 'again: nothing');
SET LOCAL prm.clock = '2026-06-16 12:00+02';
SELECT is(prm._work_surveys(:program), 1::bigint, 'the next day: the one that was spread');
SELECT is((SELECT count(*) FROM prm.v_survey_due WHERE program_id = :program), 5::bigint, 'nobody has answered');

-- Answers.
SELECT prm.nps_response(2, 3, 'customers', 'R1', '{"customer_id": 1, "comment": "slow"}') AS first \gset
SELECT is(prm.nps_response(2, 3, 'customers', 'R1', '{"customer_id": 1}'), :first::bigint, 'NPS-005 sent again: the same answer');
SELECT is((SELECT array_agg(title || ' | ' || detail) FROM prm.task WHERE program_id = :program), '{"Unhappy answer (3 of 10) about Boreal | Survey \"Customers\": slow"}', 'NPS-005 exactly one alert');
SELECT is((SELECT format('%s %s %s', partner_id IS NULL, due_at AT TIME ZONE 'UTC', subject_id) FROM prm.task WHERE program_id = :program), 't 2026-06-17 10:00:00 2', 'for the owner, due a day later, about the partner');
SELECT isnt((SELECT survey_ask_id FROM prm.survey_response WHERE program_id = :program AND external_ref = 'R1'), NULL, 'the answer is the one to the ask of the customer');
SELECT is(prm.nps_response(2, 3, 'customers', NULL, '{"customer_id": 1}'), :first::bigint, 'without a reference the ask is answered once');
SELECT throws_ok('SELECT prm.nps_response(2, 9, ''customers'', ''R1'')', '23505', 'there is another answer already', 'the same reference with another score');
SELECT is((SELECT count(*) FROM prm.v_survey_due WHERE program_id = :program), 4::bigint, 'who answered leaves the due list');
SELECT lives_ok(format('SELECT prm.nps_response(NULL, 6, ''people'', NULL, ''{"survey_ask_id": %s}'')', survey_ask_id), 'by the number of the ask') FROM prm.survey_ask WHERE program_id = :program AND partner_user_id = 4;
SELECT is((SELECT partner_id FROM prm.task WHERE program_id = :program ORDER BY task_id DESC LIMIT 1), 2::bigint, 'by the policy of the survey the alert is for the partner');
SELECT throws_ok('SELECT prm.nps_response(1, 11, ''people'')', '22023', NULL, 'out of range');
SELECT throws_ok('SELECT prm.nps_response(1, 7.5, ''people'')', '22023', NULL, 'no whole number');
SELECT throws_ok('SELECT prm.nps_response(1, NULL, ''people'')', '22023', NULL, 'no score');
SELECT throws_ok('SELECT prm.nps_response(99, 7, ''people'')', '42704', NULL, 'unknown partner');
SELECT throws_ok('SELECT prm.nps_response(1, 7, ''people'', NULL, ''{"who": 1}'')', '22023', 'nps_response has no option "who"', 'unknown option');
SELECT throws_ok('SELECT prm.nps_response(1, 7, ''people'', NULL, ''{"survey_ask_id": 0}'')', '42704', NULL, 'unknown ask');
-- In bulk.
INSERT INTO prm.survey_response (survey, partner_id, customer_id, score, answered_at) SELECT 'customers', 1, 2, s, '2026-06-16 00:00+02' FROM unnest('{10,9,2,8}'::int[]) s;
SELECT is((SELECT count(*) FROM prm.task WHERE program_id = :program AND cause_key LIKE 'nps/%'), 3::bigint, 'a detractor in bulk opens one more');

-- Views and anonymity.
SELECT is((SELECT format('%s %s %s %s', answers, promoters, passives, detractors) || ' ' || nps FROM prm.v_nps WHERE program_id = :program AND survey = 'customers' AND dimension = 'country'), '5 2 1 2 0.0000', 'a country');
SELECT is((SELECT (answers, nps, is_hidden)::text FROM prm.v_nps WHERE program_id = :program AND survey = 'customers' AND dimension = 'partner' AND partner_id = 1), '(,,t)', 'enough answers, but all less these are those of the other partner: see survey_anonymity.sql');
SELECT is((SELECT (answers, promoters, detractors, nps, margin, is_hidden)::text FROM prm.v_nps WHERE program_id = :program AND survey = 'customers' AND dimension = 'partner' AND partner_id = 2), '(,,,,,t)', 'too few answers: nothing is shown');
SELECT is((SELECT string_agg(dimension || ' ' || member || ' ' || coalesce(nps::text, '-'), ', ' ORDER BY dimension, member) FROM prm.v_nps WHERE program_id = :program AND survey = 'customers' AND dimension NOT IN ('partner', 'wave', 'partner_wave')),
  'all all 0.0000, country DE 0.0000, customer_segment mid 0.0000, month 2026-06 0.0000, partner_kind affiliate -, partner_kind reseller -', 'the other groups');
-- Metrics, where the programme has them computed.
INSERT INTO prm.metric (metric, label, source) VALUES ('partner_nps', 'p', 'built_in'), ('customer_nps', 'c', 'built_in')
  ON CONFLICT (program_id, metric) DO UPDATE SET source = 'built_in';
SELECT is((SELECT array_agg(value) FROM prm.partner_metrics(1) WHERE metric = 'customer_nps'), '{25}', 'customer_nps');
SELECT is((SELECT array_agg(value) FROM prm.partner_metrics(2) WHERE metric IN ('customer_nps', 'partner_nps')), NULL, 'below the minimum no metric');
INSERT INTO prm.survey_response (survey, partner_id, score, answered_at) VALUES ('people', 2, 9, '2026-06-16 00:00+02'), ('customers', 1, 0, '2025-06-16 12:00+02');
SELECT is((SELECT array_agg(value) FROM prm.partner_metrics(2) WHERE metric = 'partner_nps'), '{0}', 'partner_nps: one of each');
SELECT is((SELECT array_agg(value) FROM prm.partner_metrics(1) WHERE metric = 'customer_nps'), '{25}', 'an answer of a year ago counts no more');
SAVEPOINT answered;
SELECT prm.nps_response(1, 0, 'customers', 'at this very moment') AS this_moment \gset
SELECT is((SELECT array_agg(value) FROM prm.partner_metrics(1) WHERE metric = 'customer_nps'), '{0}', 'one of this very moment does');
ROLLBACK TO answered;
UPDATE prm.metric SET source = 'built_in' WHERE program_id = :program AND metric = 'nps';
SELECT is((SELECT array_agg(value) FROM prm.partner_metrics(1) WHERE metric = 'nps'), '{25}', 'nps may be computed instead of pushed');

SELECT * FROM finish();
ROLLBACK;
