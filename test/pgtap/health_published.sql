-- Health by published rules, beside the acceptance cases: weights of any sum (Gainsight), whole groups without a value, exceptions,
-- start and clamp (Planhat), ranges and sections (ChurnZero, HubSpot, Catalyst), inverse and choice (ServiceNow), decay, as-of.
BEGIN;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SET LOCAL prm.clock = '2026-06-01 12:00+00';
SELECT set_config('prm.program_id', prm.create_program('pgTAP health published', 'blank', 'USD', 'UTC')::text, true) AS program \gset
DELETE FROM prm.health_model WHERE program_id = :program;
INSERT INTO prm.metric (metric, label) SELECT m, m FROM unnest('{a,b,c,d,hours,findings,mood}'::text[]) m;
INSERT INTO prm.health_model (model, label) VALUES ('m', 'M');
INSERT INTO prm.health_band (model, band, lower, rank) VALUES ('m', 'red', 0, 1), ('m', 'yellow', 50, 2), ('m', 'green', 75, 3);
INSERT INTO prm.partner (partner_id, name) SELECT i, 'P' || i FROM generate_series(1, 40) i;
-- The metrics of the model: metric, group, group weight, weight, how and further columns as JSON.
CREATE FUNCTION pg_temp.model(the_metrics jsonb) RETURNS void LANGUAGE sql AS $$
  DELETE FROM prm.health_metric WHERE program_id = prm.current_program();
  INSERT INTO prm.health_metric (model, metric, group_name, group_weight, weight, how, low, high, missing, half_life, max_age, knock_out_below, knock_out_above, knock_out_cap, points, options)
    SELECT 'm', x.metric, coalesce(x.group_name, 'all'), coalesce(x.group_weight, 1), coalesce(x.weight, 1), coalesce(x.how, 'as_is'), x.low, x.high, coalesce(x.missing, 'skip'), x.half_life, x.max_age,
      x.knock_out_below, x.knock_out_above, x.knock_out_cap, x.points, coalesce(x.options, '{}') FROM jsonb_to_recordset(the_metrics) AS x(metric text, group_name text, group_weight numeric, weight numeric, how text,
      low numeric, high numeric, missing text, half_life interval, max_age interval, knock_out_below numeric, knock_out_above numeric, knock_out_cap numeric, points numeric, options jsonb) $$;
CREATE FUNCTION pg_temp.set(the_partner bigint, VARIADIC the_values text[]) RETURNS void LANGUAGE sql AS $$
  INSERT INTO prm.metric_value (partner_id, metric, observed_at, value) SELECT the_partner, split_part(v, '=', 1), '2026-05-01', split_part(v, '=', 2)::numeric FROM unnest(the_values) v $$;
CREATE FUNCTION pg_temp.score(the_partner bigint) RETURNS text LANGUAGE sql AS $$ SELECT format('%s %s %s', trim_scale(round(score, 4)), band, trim_scale(coverage)) FROM prm.health(the_partner) $$;
CREATE FUNCTION pg_temp.shares(the_partner bigint) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(format('%s %s', metric, trim_scale(round(share * 100, 4))), ', ' ORDER BY metric) FROM prm.explain_health(the_partner) WHERE metric IS NOT NULL $$;
SELECT pg_temp.set(1, 'a=80', 'b=60', 'c=40'), pg_temp.set(2, 'a=80', 'b=60'), pg_temp.set(3, 'c=0'), pg_temp.set(4, 'a=100', 'b=100', 'c=100'), pg_temp.set(5, 'a=0', 'b=0', 'c=0') \g /dev/null

-- ---- weights --------------------------------------------------------------------------------------------------------
SELECT pg_temp.model('[{"metric": "a", "weight": 1}, {"metric": "b", "weight": 1}, {"metric": "c", "weight": 2}]') \g /dev/null
SELECT is(pg_temp.shares(1) || ' = ' || pg_temp.score(1), 'a 25, b 25, c 50 = 55 yellow 1', 'HS-006 neighbours: weights of any sum become shares of 100 %');
SELECT pg_temp.model('[{"metric": "a", "weight": 999999}, {"metric": "b", "weight": 999999}, {"metric": "c", "weight": 1999998}]') \g /dev/null
SELECT is(pg_temp.shares(1) || ' = ' || pg_temp.score(1), 'a 25, b 25, c 50 = 55 yellow 1', 'and so do great ones');
SELECT pg_temp.model('[{"metric": "a", "weight": 0.001}, {"metric": "b", "weight": 0.001}, {"metric": "c", "weight": 0.002}]') \g /dev/null
SELECT is(pg_temp.shares(1) || ' = ' || pg_temp.score(1), 'a 25, b 25, c 50 = 55 yellow 1', 'and small ones');
SELECT is(ARRAY[pg_temp.score(4), pg_temp.score(5), pg_temp.score(6)], '{"100 green 1","0 red 1"," unknown 0"}', 'the best, the worst, and nothing known: three different things');
SELECT throws_ok($$ SELECT pg_temp.model('[{"metric": "a", "weight": 0}]') $$, '23514', NULL, 'what weighs nothing is left out of the model');
SELECT throws_ok($$ SELECT pg_temp.model('[{"metric": "a", "weight": -1}]') $$, '23514', NULL, 'no negative weights');
-- Two levels: the weight of a group holds for the group, however many metrics it has or has values of.
SELECT pg_temp.model('[{"metric": "a", "group_name": "g", "group_weight": 60}, {"metric": "b", "group_name": "g", "group_weight": 60}, {"metric": "c", "group_name": "h", "group_weight": 40}]') \g /dev/null
SELECT is(pg_temp.score(1) || ': ' || pg_temp.shares(1), '58 yellow 1: a 30, b 30, c 40', 'groups of 60 and 40: 0.6 x 70 + 0.4 x 40');
SELECT is(pg_temp.score(2) || ': ' || pg_temp.shares(2), '70 yellow 0.6: a 50, b 50, c 0', 'a group without any value leaves the denominator with its weight');
SELECT is(pg_temp.score(3) || ': ' || pg_temp.shares(3), '0 red 0.4: a 0, b 0, c 100', 'a zero is a value');
SELECT pg_temp.set(7, 'a=80', 'c=40') \g /dev/null
SELECT is(pg_temp.score(7) || ': ' || pg_temp.shares(7), '64 yellow 0.7: a 60, b 0, c 40', 'a metric without a value leaves its group, which keeps its weight');

-- ---- exceptions: knock-outs -----------------------------------------------------------------------------------------
SELECT pg_temp.model('[{"metric": "a", "knock_out_below": 30, "knock_out_cap": 50}, {"metric": "b", "knock_out_below": 30, "knock_out_cap": 20}, {"metric": "c", "knock_out_above": 90, "knock_out_cap": 40}]') \g /dev/null
SELECT pg_temp.set(11, 'a=30', 'b=100', 'c=90'), pg_temp.set(12, 'a=29.999', 'b=100', 'c=90'), pg_temp.set(13, 'a=20', 'b=20', 'c=100'), pg_temp.set(14, 'a=10', 'b=40', 'c=10'), pg_temp.set(15, 'b=100', 'c=90.001'), pg_temp.set(16, 'a=29', 'b=30', 'c=30') \g /dev/null
SELECT is(ARRAY[pg_temp.score(11), pg_temp.score(12), pg_temp.score(13), pg_temp.score(14), pg_temp.score(15), pg_temp.score(16)],
  '{"73.3333 yellow 1","50 yellow 1","20 red 1","20 red 1","40 red 0.666667","29.6667 red 1"}', 'not at the bound but beyond it; the lowest cap holds; a cap lifts nobody; what is missing knocks nobody out');
SELECT is((SELECT sum(contribution) FROM prm.explain_health(13)), 20::numeric, 'and the explanation adds up');

-- ---- decay and age, at the moment of reading ------------------------------------------------------------------------
SELECT pg_temp.model('[{"metric": "a", "half_life": "30 days"}]') \g /dev/null
INSERT INTO prm.metric_value (partner_id, metric, observed_at, value) VALUES (20, 'a', '2026-06-01 12:00+00', 80), (21, 'a', '2026-05-02 12:00+00', 80), (22, 'a', '2026-04-02 12:00+00', 80), (23, 'a', '2026-05-17 12:00+00', 80), (24, 'a', '2026-06-01 12:00:00.000001+00', 80), (25, 'a', '2016-06-01', 80);
SELECT is(ARRAY[pg_temp.score(20), pg_temp.score(21), pg_temp.score(22), pg_temp.score(23), pg_temp.score(24)], '{"80 green 1","40 red 1","20 red 1","56.5685 yellow 1"," unknown 0"}',
  'full at once, half after a half-life, a quarter after two, 0.7071 after half of one; what is observed later is not known yet');
SELECT is((SELECT score >= 0 AND score < 0.000001 FROM prm.health(25)), true, 'after ten years nearly nothing, and never less than that');
SET LOCAL prm.clock = '2026-05-02 12:00+00';
SELECT is(ARRAY[pg_temp.score(20), pg_temp.score(21), pg_temp.score(22)], '{" unknown 0","80 green 1","40 red 1"}', 'as of an earlier moment, from what was known then');
SET LOCAL prm.clock = '2026-06-01 12:00+00';
SELECT pg_temp.model('[{"metric": "a", "max_age": "30 days"}]') \g /dev/null
SELECT is(ARRAY[pg_temp.score(21), pg_temp.score(22)], '{"80 green 1"," unknown 0"}', 'a value exactly as old as may be counts');
SET LOCAL prm.clock = '2026-06-01 12:00:00.000001+00';
SELECT is(pg_temp.score(21), ' unknown 0', 'and a moment later it is missing');
SET LOCAL prm.clock = '2026-06-01 12:00+00';
SELECT pg_temp.model('[{"metric": "a", "half_life": "30 days", "knock_out_below": 60, "knock_out_cap": 10}]') \g /dev/null
SELECT is(pg_temp.score(21), '40 red 1', 'a knock-out looks at the value, which does not age');
SELECT throws_ok($$ SELECT pg_temp.model('[{"metric": "a", "half_life": "0"}]') $$, '23514', NULL, 'no half-life of nothing');
SELECT throws_ok($$ SELECT pg_temp.model('[{"metric": "a", "half_life": "-1 day"}]') $$, '23514', NULL, 'nor one that grows');

-- ---- ServiceNow: linear, inverse and choice within the weights of what is valid --------------------------------------------
SELECT pg_temp.model('[{"metric": "a", "weight": 10, "how": "linear", "low": 1, "high": 6}, {"metric": "hours", "weight": 15, "how": "inverse", "low": 1, "high": 6}, {"metric": "mood", "weight": 25, "how": "choice", "options": {"choices": {"1": 0, "2": 50, "3": 100}}},
  {"metric": "d", "weight": 50, "how": "linear", "low": 0, "high": 1}]') \g /dev/null
SELECT pg_temp.set(30, 'a=3', 'hours=3', 'mood=2') \g /dev/null
SELECT results_eq($$ SELECT metric, round(contribution / 10, 4) FROM prm.explain_health(30) WHERE metric <> 'd' ORDER BY 1 $$, $$ VALUES ('a', 0.8000), ('hours', 1.8000), ('mood', 2.5000) $$,
  'HS-012 to HS-014: (3 - 1) / 5 x 10 / 50 x 10; the same from the other end; a choice: the weights of what has no value are not counted');
SELECT is(pg_temp.score(30), '51 yellow 0.5', 'which sum to the score');

-- ---- Planhat: from 5, plus and minus, clamped to 0 to 10 at the end -------------------------------------------------------
UPDATE prm.health_model SET kind = 'additive', options = '{"start": 5, "low": 0, "high": 10}' WHERE program_id = :program;
DELETE FROM prm.health_band WHERE program_id = :program;
SELECT pg_temp.model('[{"metric": "a", "how": "per_unit", "points": 1}, {"metric": "b", "how": "per_unit", "points": 1}, {"metric": "c", "how": "per_unit", "points": 1}]') \g /dev/null
SELECT pg_temp.set(31, 'a=8', 'b=-4'), pg_temp.set(32, 'a=8', 'b=4'), pg_temp.set(33, 'a=-6', 'b=-1', 'c=3'), pg_temp.set(34, 'a=-9', 'b=1'), pg_temp.set(35, 'a=0'), pg_temp.set(36, 'a=5'), pg_temp.set(37, 'a=5.0001'), pg_temp.set(38, 'a=-5') \g /dev/null
SELECT results_eq($$ SELECT trim_scale((prm.health(i)).score) FROM generate_series(31, 38) i $$, $$ SELECT unnest('{9,10,1,0,5,10,10,0}'::numeric[]) $$, 'HS-009 neighbours: clamped last, so that the order does not matter: 5 + 8 - 4 is 9 and not 6');
SELECT is_empty($$ SELECT i FROM generate_series(31, 38) i, prm.health(i) h WHERE h.score IS DISTINCT FROM (SELECT sum(contribution) FROM prm.explain_health(i)) $$, 'and explained with the clamp');

-- ---- ranges and steps: bounds to either side ------------------------------------------------------------------------------
DELETE FROM prm.health_metric WHERE program_id = :program;
UPDATE prm.health_model SET kind = 'weighted', options = '{}' WHERE program_id = :program;
SELECT is((SELECT array_agg(prm.normalize_metric(v, 'step', NULL, NULL, '{"ranges": [{"range": "[0,5)", "score": 10}, {"range": "[5,25]", "score": 50}, {"range": "(25,)", "score": 100}]}') ORDER BY v) FROM unnest('{0,4.999,5,25,25.001,1e9}'::numeric[]) v),
  '{10,10,50,50,100,100}', 'Catalyst: at risk below 5, healthy above 25, neutral between and on both bounds');
SELECT is((SELECT array_agg(prm.normalize_metric(v, 'step', NULL, NULL, '{"ranges": [{"range": "(0,50]", "score": 50}, {"range": "(50,100]", "score": 100}]}') ORDER BY v) FROM unnest('{0.001,50,50.001,100}'::numeric[]) v),
  '{50,50,100,100}', 'ChurnZero: the top of a range belongs to it');
SELECT is((SELECT array_agg(round(prm.normalize_metric(v, 'linear', 0, 10), 4) ORDER BY v) FROM unnest('{0,2.4,5,7.7,10}'::numeric[]) v), '{0.0000,24.0000,50.0000,77.0000,100.0000}', 'Vitally: a scale of 0 to 10');

SELECT * FROM finish();
ROLLBACK;
