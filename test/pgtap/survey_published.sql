-- Surveys by the published rules: margin of error of the score, the ends of the scale, waves that close, quarantine, answers once,
-- alerts; and what a clumsy sender may say.
BEGIN;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SET LOCAL prm.clock = '2026-06-15 12:00+02';
SELECT set_config('prm.program_id', prm.create_program('pgTAP surveys published', 'blank', 'EUR', 'Europe/Berlin')::text, true) AS program \gset
DELETE FROM prm.survey WHERE program_id = :program;

-- ---- the score and its margin ---------------------------------------------------------------------------------------
-- The variance is that of tickets of +1, 0 and -1: promoters + detractors - score squared.
CREATE FUNCTION pg_temp.answers(promoters integer, passives integer, detractors integer) RETURNS SETOF integer LANGUAGE sql AS $$
  SELECT 9 FROM generate_series(1, promoters) UNION ALL SELECT 8 FROM generate_series(1, passives) UNION ALL SELECT 0 FROM generate_series(1, detractors) $$;
SELECT results_eq(format($$ SELECT round(prm.nps(s), 2), round(prm.nps_margin(s), 2) FROM pg_temp.answers(%s) s $$, a), format('SELECT %s::numeric, %s::numeric', n, m), format('NPS-003 margin of error: %s answers', a))
  FROM (VALUES ('162, 108, 54', 33.33, 8.12), ('50, 30, 20', 30.00, 15.31), ('5, 0, 5', 0.00, 61.98), ('100, 0, 0', 100.00, 0.00), ('0, 7, 0', 0.00, 0.00), ('1, 0, 1', 0.00, 138.59), ('300, 200, 500', -20.00, 5.40)) AS t(a, n, m);
SELECT results_eq($$ SELECT round(prm.nps(s), 4), round(prm.nps_margin(s), 4) FROM (SELECT s FROM pg_temp.answers(50, 30, 20) s UNION ALL SELECT NULL FROM generate_series(1, 100)) a $$,
  $$ SELECT round(prm.nps(s), 4), round(prm.nps_margin(s), 4) FROM pg_temp.answers(50, 30, 20) s $$, 'who did not answer changes neither');
SELECT is((SELECT count(*) FROM generate_series(0, 10) s WHERE prm.nps_class(s) = CASE WHEN s >= 9 THEN 'promoter' WHEN s >= 7 THEN 'passive' ELSE 'detractor' END), 11::bigint, 'NPS-001 the whole scale');
SELECT is((SELECT round(prm.nps(s), 10) FROM generate_series(0, 10) s), round(-500 / 11.0, 10), 'one answer of each: 2 promoters and 7 detractors of 11');
SELECT is(prm.nps_class(6.0), 'detractor', '6.0 is a whole number');

-- ---- a wave, and when it is over ------------------------------------------------------------------------------------
INSERT INTO prm.partner (partner_id, name, kind) VALUES (1, 'A', 'reseller'), (2, 'B', 'reseller');
INSERT INTO prm.partner_user (partner_user_id, partner_id, name) VALUES (1, 1, 'Ada'), (2, 1, 'Ben'), (3, 2, 'Cem'), (4, 2, 'Dan');
INSERT INTO prm.customer (customer_id, name) VALUES (1, 'Acme');
INSERT INTO prm.survey (survey, label, asks, open_days, min_gap_days, min_answers, alert_due) VALUES ('p', 'P', 'partner', 14, 30, 1, '2 hours'), ('q', 'Q', 'partner', 5, 10, 1, '1 day');
INSERT INTO prm.survey (survey, label, asks, min_answers, alert_to) VALUES ('quiet', 'Quiet', 'customer', 1, 'none');
SELECT prm.open_survey_wave('p') AS wave \gset
SELECT survey_ask_id AS ada FROM prm.survey_ask WHERE program_id = :program AND partner_user_id = 1 \gset
SELECT survey_ask_id AS dan FROM prm.survey_ask WHERE program_id = :program AND partner_user_id = 4 \gset
SELECT is((SELECT count(*) FROM prm.v_survey_due WHERE program_id = :program), 4::bigint, 'four people are to be asked');
SET LOCAL prm.clock = '2026-06-28 23:59:59+02';
SELECT is((SELECT count(*) FROM prm.v_survey_due WHERE program_id = :program), 4::bigint, 'in the last second of the fourteenth day');
SELECT prm.nps_response(NULL, 9, 'p', 'a1', jsonb_build_object('survey_ask_id', :ada)) AS first \gset
SET LOCAL prm.clock = '2026-06-29 00:00+02';
SELECT is((SELECT count(*) FROM prm.v_survey_due WHERE program_id = :program), 0::bigint, 'then it is over');
SELECT prm.nps_response(NULL, 0, 'p', 'd1', jsonb_build_object('survey_ask_id', :dan)), prm.nps_response(1, 9, 'p', 'b1', '{"partner_user_id": 2}') \g /dev/null
SELECT prm.nps_response(2, 9, 'p', 'c1', '{"partner_user_id": 3, "answered_at": "2026-06-28T21:59:59Z"}') \g /dev/null
SELECT results_eq($$ SELECT external_ref, survey_wave_id IS NOT NULL, survey_ask_id IS NOT NULL FROM prm.survey_response WHERE program_id = prm.current_program() ORDER BY 1 $$,
  $$ VALUES ('a1', true, true), ('b1', false, false), ('c1', true, true), ('d1', false, true) $$, 'what is answered after the end counts for the survey, not for the wave; what was answered in time and comes in late does');
SELECT is((SELECT format('%s %s', answers, nps) FROM prm.v_nps WHERE program_id = :program AND dimension = 'wave' AND survey_wave_id = :wave), '2 100.0000', 'the figures of a wave do not change when it is over');
SELECT is((SELECT format('%s %s', answers, nps) FROM prm.v_nps WHERE program_id = :program AND dimension = 'all' AND survey = 'p'), '4 50.0000', 'those of the survey do');
SELECT is((SELECT array_agg(due_at - prm.now()) FROM prm.task WHERE program_id = :program), '{02:00:00}', 'a detractor is one all the same: one task');
SELECT is(prm.nps_response(NULL, 0, 'p', 'd2', jsonb_build_object('survey_ask_id', :dan)), (SELECT survey_response_id FROM prm.survey_response WHERE program_id = :program AND external_ref = 'd1'), 'an ask is answered once, whatever the reference');
SELECT throws_ok(format($$ SELECT prm.nps_response(NULL, 9, 'p', 'd3', '{"survey_ask_id": %s}') $$, :dan), '23505', 'there is another answer already', 'nobody thinks better of it within a wave');
SELECT is((SELECT count(*) FROM prm.task WHERE program_id = :program), 1::bigint, 'one task, still');
-- What is answered at midnight of the first of a month in Berlin belongs to it.
INSERT INTO prm.survey_response (survey, partner_id, score, answered_at) VALUES ('quiet', 1, 9, '2026-03-31 21:59:59.999999+00'), ('quiet', 1, 6, '2026-03-31 22:00+00'), ('quiet', 1, 7, '2026-03-31 22:00+00');
SELECT is((SELECT string_agg(format('%s %s', member, answers), ', ' ORDER BY member) FROM prm.v_nps WHERE program_id = :program AND survey = 'quiet' AND dimension = 'month'), '2026-03 1, 2026-04 2', 'months of the programme''s zone');
SELECT is((SELECT count(*) FROM prm.task WHERE program_id = :program), 1::bigint, 'a survey without alerts opens none');

-- ---- quarantine -----------------------------------------------------------------------------------------------------
CREATE FUNCTION pg_temp.asked(the_survey text, the_day date) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  the_count bigint;
  the_wave bigint;
BEGIN
  -- Tried, and undone.
  BEGIN
    PERFORM set_config('prm.clock', the_day || ' 12:00+02', true);
    the_wave := prm.open_survey_wave(the_survey, the_day);
    SELECT count(*) INTO the_count FROM prm.survey_ask WHERE program_id = prm.current_program() AND survey_wave_id = the_wave;
    RAISE EXCEPTION USING ERRCODE = 'XX099', MESSAGE = 'undo';
  EXCEPTION WHEN SQLSTATE 'XX099' THEN
    RETURN the_count;
  END;
END $$;
SELECT is(ARRAY[pg_temp.asked('p', '2026-07-14'), pg_temp.asked('p', '2026-07-15')], '{0,4}', 'quarantine of 30 days: not on the 29th day after, on the 30th');
SELECT is(ARRAY[pg_temp.asked('q', '2026-06-24'), pg_temp.asked('q', '2026-06-25')], '{0,4}', 'that of the survey that would ask counts, whichever asked');
SELECT is(ARRAY[pg_temp.asked('p', '2026-05-16'), pg_temp.asked('p', '2026-05-17')], '{4,0}', 'and backwards, from those who will be asked');
SELECT prm.open_survey_wave('p', '2027-03-10') \g /dev/null
SELECT is(ARRAY[pg_temp.asked('p', '2027-04-08'), pg_temp.asked('p', '2027-04-09')], '{0,4}', 'across the change of clocks, whatever the zone of the session');
SELECT prm.open_survey_wave('p', '2027-10-10') \g /dev/null
SELECT is(ARRAY[pg_temp.asked('p', '2027-11-08'), pg_temp.asked('p', '2027-11-09')], '{0,4}', 'and back');

-- ---- what a clumsy sender says --------------------------------------------------------------------------------------
SELECT throws_ok($$ SELECT prm.nps_response(1, 9, 'q', 'z', '{"customer_id": 77}') $$, '42704', 'customer 77 does not exist', 'an unknown customer');
SELECT throws_ok($$ SELECT prm.nps_response(1, 9, 'q', 'z', '{"partner_user_id": 77}') $$, '42704', 'person 77 of partner 1 does not exist', 'an unknown person');
SELECT throws_ok($$ SELECT prm.nps_response(1, 9, 'q', 'z', '{"partner_user_id": 3}') $$, '42704', 'person 3 of partner 1 does not exist', 'a person of somebody else''s');
SELECT throws_ok($$ SELECT prm.nps_response(1, 9, 'q', 'z', '{"answered_at": "soon"}') $$, '22023', 'option "answered_at" of nps_response is no moment', 'no moment');
SELECT throws_ok($$ SELECT prm.nps_response(1, 9, 'q', 'z', '{"answered_at": "2026-02-30T00:00:00Z"}') $$, '22023', 'option "answered_at" of nps_response is no moment', 'no day');
SELECT throws_ok($$ SELECT prm.nps_response(1, 9, 'q', 'z', '{"answered_at": "infinity"}') $$, '22023', 'option "answered_at" of nps_response is no moment', 'never');
SELECT throws_ok($$ SELECT prm.nps_response(1, 9, 'q', 'z', '{"answered_at": "2027-01-01T00:00:00Z"}') $$, '22023', 'an answer lies in the future', 'an answer that was not given yet');
SELECT throws_ok($$ SELECT prm.nps_response(1, 9, 'q', 'z', '{"survey_ask_id": "x"}') $$, '22023', 'option "survey_ask_id" of nps_response is no whole number', 'no number');
SELECT throws_ok($$ SELECT prm.nps_response(1, 9, 'q', 'z', '{"customer_id": 1.5}') $$, '22023', 'option "customer_id" of nps_response is no whole number', 'half a customer');
SELECT throws_ok($$ SELECT prm.nps_response(1, 9, 'q', 'z', '{"partner_user_id": 99999999999999999999}') $$, '22023', 'option "partner_user_id" of nps_response is no whole number', 'more than there are numbers');
SELECT is((SELECT count(*) FROM prm.survey_response WHERE program_id = :program AND external_ref = 'z'), 0::bigint, 'none of them left a row');
SELECT lives_ok($$ SELECT prm.nps_response(1, 9, 'quiet', 'y1', '{"customer_id": "1", "partner_user_id": null, "answered_at": null, "comment": ""}') $$, 'numbers as text, and nulls, are taken');
SELECT lives_ok($$ SELECT prm.nps_response(1, 9, 'quiet', 'y2', '{"answered_at": "2026-06-01 10:00"}') $$, 'a moment without an offset, too');
SELECT is((SELECT answered_at FROM prm.survey_response WHERE program_id = :program AND external_ref = 'y2'), '2026-06-01 10:00+02'::timestamptz, 'is one of the programme''s zone');

SELECT * FROM finish();
ROLLBACK;
