-- Health: the published cases by id, what is missing, knock-outs, decay, trend, and the explanation that adds up.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();

-- normalize_metric
SELECT results_eq($$ SELECT prm.normalize_metric(v, 'linear', 0, 200) FROM unnest('{-5,0,50,200,300,0.25}'::numeric[]) v $$,
  $$ SELECT unnest('{0,0,25,100,100,0.125}'::numeric[]) $$, 'linear: low is 0, high is 100, beyond counts as the bound');
SELECT results_eq($$ SELECT prm.normalize_metric(v, 'inverse', 0, 96) FROM unnest('{-1,0,24,96,200}'::numeric[]) v $$,
  $$ SELECT unnest('{100,100,75,0,0}'::numeric[]) $$, 'inverse: less is better');
SELECT results_eq($$ SELECT prm.normalize_metric(v, 'as_is', NULL, NULL) FROM unnest('{-1,0,66.6,100,101}'::numeric[]) v $$,
  $$ SELECT unnest('{0,0,66.6,100,100}'::numeric[]) $$, 'as_is: a score already');
SELECT is(prm.normalize_metric(NULL, 'linear', 0, 1), NULL, 'NULL gives NULL');
SELECT is(prm.normalize_metric(-100, 'linear', -100, 100), 0::numeric, 'bounds may be negative');
SELECT is(prm.normalize_metric(v, 'linear', 0, v * 4), 25::numeric, 'a quarter of ' || v)
  FROM unnest('{1e-15,0.00000001,0.0001,0.7,12.34,9999.9999,10000,99999999,123456789012345678,1e20,1e30,1e100}'::numeric[]) v;
SELECT is(prm.normalize_metric(v, 'as_is', NULL, NULL), v, 'as it is: ' || v)
  FROM unnest('{0.1,0.7,12.34,33.3333,99.99999999,50.00005,0.000001}'::numeric[]) v;
SELECT throws_ok($$ SELECT prm.normalize_metric(1, 'sideways', 0, 1) $$, '22023', 'there is no way "sideways" to normalise a metric', 'an unknown way');
SELECT throws_ok($$ SELECT prm.normalize_metric(NULL, 'sideways', 0, 1) $$, '22023', NULL, 'an unknown way, also for NULL');
SELECT throws_ok($$ SELECT prm.normalize_metric(1, NULL, 0, 1) $$, '22023', 'the way to normalise a metric is missing', 'no way');
SELECT throws_ok($$ SELECT prm.normalize_metric(1, 'linear', 1, 1) $$, '22023', 'the bounds of a metric are not in order', 'empty bounds');
SELECT throws_ok($$ SELECT prm.normalize_metric(1, 'linear', NULL, 1) $$, '22023', 'a metric needs two bounds to be normalised', 'a bound is missing');
SELECT throws_ok($$ SELECT prm.normalize_metric('NaN', 'linear', 0, 1) $$, '22023', 'the value is not a finite number', 'NaN');
SELECT throws_ok($$ SELECT prm.normalize_metric('Infinity', 'linear', 0, 1) $$, '22023', 'the value is not a finite number', 'infinity');
SELECT throws_ok($$ SELECT prm.normalize_metric(1, 'linear', 0, 'Infinity') $$, '22023', 'the high bound is not a finite number', 'an infinite bound');
SELECT throws_ok($$ SELECT prm.normalize_metric(1, 'linear', 0, 1, '{"base": 2}') $$, '22023', 'normalize_metric has no such option', 'an unknown option');

-- weighted_score
SELECT is((SELECT prm.weighted_score(m, w) FROM (VALUES (47::numeric, 20::numeric), (59, 15), (21, 22)) x(m, w)), 40.1228070175439, 'HS-004 group score, exact');
SELECT is((SELECT round(prm.weighted_score(m, w)) FROM (VALUES (47::numeric, 20::numeric), (59, 15), (21, 22)) x(m, w)), 40::numeric, 'HS-004 group score, as shown');
SELECT is((SELECT prm.weighted_score(m, w) FROM (VALUES (80::numeric, 50::numeric), (NULL, 30), (60, 20)) x(m, w)), 74.2857142857143, 'HS-015 a missing metric leaves the denominator');
SELECT is((SELECT prm.weighted_score(m, w) FROM (VALUES (NULL::numeric, 50::numeric), (NULL, 30)) x(m, w)), NULL, 'HS-016 nothing known: no score');
SELECT is((SELECT prm.weighted_score(1, 1) WHERE false), NULL, 'no rows: no score');
SELECT is((SELECT prm.weighted_score(m, w) FROM (VALUES (60::numeric, 20::numeric), (80, 30), (40, 50)) x(m, w)), 56::numeric, 'HS-017 custom impact');
SELECT is((SELECT prm.weighted_score(m, w) FROM (VALUES (80::numeric, 20::numeric), (70, 30), (50, 10), (60, 20), (90, 20)) x(m, w)), 72::numeric, 'HS-018 five metrics');
SELECT is((SELECT round(prm.weighted_score(g.score, g.weight)) FROM (
  SELECT 7::numeric AS weight, 83::numeric AS score UNION ALL
  SELECT 5, prm.weighted_score(m, 1) FROM unnest('{76,65}'::numeric[]) m UNION ALL
  SELECT 8, prm.weighted_score(m, 1) FROM unnest('{81,65,90}'::numeric[]) m UNION ALL
  SELECT 3, 54) g), 75::numeric, 'HS-001 components 7/5/8/3');
SELECT is((SELECT round(prm.weighted_score(m, 1)) FROM unnest('{76,65}'::numeric[]) m), 71::numeric, 'HS-001 engagement');
SELECT throws_ok($$ SELECT prm.weighted_score(1, -1) $$, '22023', 'a weight is negative', 'a negative weight');
SELECT throws_ok($$ SELECT prm.weighted_score('NaN', 1) $$, '22023', 'a score is not a finite number', 'NaN');
SELECT is(prm._weighted_score_final(prm._weighted_score_combine(prm._weighted_score_add('{0,0}', 80, 50), prm._weighted_score_add('{0,0}', 60, 20))), 74.2857142857143,
  'two halves combine to the whole');
SELECT throws_ok($$ SELECT prm._weighted_score_final('{1,2,3}') $$, '22023', NULL, 'a foreign state is refused');
SELECT is((SELECT count(*) FROM pg_aggregate a JOIN pg_proc p ON p.oid = a.aggfnoid WHERE p.proname = 'weighted_score' AND p.proparallel = 's' AND a.aggcombinefn <> 0), 1::bigint,
  'weighted_score may be computed in parallel');

-- The model of a programme.
DO $$ BEGIN
  PERFORM set_config('prm.clock', '2026-06-01 12:00:00+00', true);
  PERFORM set_config('prm.program_id', prm.create_program('pgTAP health', 'blank')::text, true);
END $$;
INSERT INTO prm.metric (metric, label) SELECT m, m FROM unnest('{churn,e1,e2,u1,u2,u3,pulse,support}'::text[]) m;
INSERT INTO prm.health_model (model, label) VALUES ('two', 'Two levels');
INSERT INTO prm.health_metric (model, metric, group_name, group_weight, how) VALUES
  ('two', 'support', 'support', 2, 'as_is'), ('two', 'e1', 'engagement', 3, 'as_is'), ('two', 'e2', 'engagement', 3, 'as_is'),
  ('two', 'u1', 'usage', 3, 'as_is'), ('two', 'u2', 'usage', 3, 'as_is'), ('two', 'u3', 'usage', 3, 'as_is'), ('two', 'pulse', 'pulse', 2, 'as_is');
INSERT INTO prm.health_band (model, band, lower, rank) VALUES ('two', 'red', 0, 1), ('two', 'yellow', 50, 2), ('two', 'green', 75, 3);
INSERT INTO prm.partner (partner_id, name) SELECT i, 'partner ' || i FROM generate_series(1, 9) i;
INSERT INTO prm.metric_value (partner_id, metric, observed_at, value) VALUES
  (1, 'support', '2026-05-01', 80), (1, 'e1', '2026-05-01', 76), (1, 'e2', '2026-05-01', 65), (1, 'u1', '2026-05-01', 81), (1, 'u2', '2026-05-01', 65), (1, 'u3', '2026-05-01', 90), (1, 'pulse', '2026-05-01', 54),
  (2, 'support', '2026-05-01', 80), (2, 'e1', '2026-05-01', 76), (2, 'e2', '2026-05-01', 65), (2, 'u3', '2026-05-01', 90), (2, 'pulse', '2026-05-01', 54);
SELECT is((SELECT round(score) FROM prm.health(1)), 72::numeric, 'HS-002 weights 2/3/3/2');
SELECT is((SELECT round(score) FROM prm.health(2)), 75::numeric, 'HS-003 a single usage metric');
SELECT is((SELECT round(sum(normalized) / 2) FROM prm.explain_health(1) WHERE group_name = 'engagement'), 71::numeric, 'HS-002 engagement');
SELECT is((SELECT round(sum(normalized) / 3) FROM prm.explain_health(1) WHERE group_name = 'usage'), 79::numeric, 'HS-002 usage');
SELECT is((SELECT coverage FROM prm.health(2)), 0.800000, 'two of three usage metrics without a value: a fifth of the weight is not known');
SELECT results_eq($$ SELECT score, band, coverage, trend FROM prm.health(3) $$, $$ VALUES (NULL::numeric, 'unknown', 0.000000, NULL::numeric) $$, 'HS-016 nothing known: no score, band unknown, never 0');
SELECT results_eq($$ SELECT DISTINCT contribution, note FROM prm.explain_health(3) $$, $$ VALUES (NULL::numeric, 'no value: left out') $$, 'HS-016 and the explanation says why');

-- HS-015 with the model.
DO $$ BEGIN PERFORM set_config('prm.program_id', prm.create_program('pgTAP health 2', 'blank')::text, true); END $$;
INSERT INTO prm.metric (metric, label) SELECT m, m FROM unnest('{a,b,c}'::text[]) m;
INSERT INTO prm.health_model (model, label) VALUES ('one', 'One group');
INSERT INTO prm.health_metric (model, metric, group_name, weight, how) VALUES ('one', 'a', 'all', 50, 'as_is'), ('one', 'b', 'all', 30, 'as_is'), ('one', 'c', 'all', 20, 'as_is');
INSERT INTO prm.health_band (model, band, lower, rank) VALUES ('one', 'red', 0, 1), ('one', 'yellow', 50, 2), ('one', 'green', 75, 3);
INSERT INTO prm.partner (partner_id, name) SELECT i, 'partner ' || i FROM generate_series(1, 60) i;
INSERT INTO prm.metric_value (partner_id, metric, observed_at, value) VALUES (1, 'a', '2026-05-02 12:00+00', 80), (1, 'c', '2026-05-02 12:00+00', 60), (2, 'a', '2026-05-02', 75), (3, 'a', '2026-05-02', 74.999);
SELECT results_eq($$ SELECT round(score, 4), band, coverage FROM prm.health(1) $$, $$ VALUES (74.2857, 'yellow', 0.700000) $$, 'HS-015 score and coverage');
SELECT results_eq($$ SELECT metric, share, round(contribution, 6), note FROM prm.explain_health(1) $$,
  $$ VALUES ('a', 0.714285714286, 57.142857, NULL), ('b', 0, 0, 'no value: left out'), ('c', 0.285714285714, 17.142857, NULL) $$, 'HS-015 explained');
SELECT results_eq($$ SELECT (prm.health(i)).band FROM generate_series(2, 3) i $$, $$ VALUES ('green'), ('yellow') $$, 'a score on a lower bound belongs to that band');

-- Missing values by policy.
UPDATE prm.health_metric SET missing = 'zero' WHERE program_id = prm.current_program() AND metric = 'b';
SELECT results_eq($$ SELECT score, coverage FROM prm.health(1) $$, $$ VALUES (52::numeric, 0.700000) $$, 'zero: counts as 0, and is still not known');
UPDATE prm.health_metric SET missing = 'neutral' WHERE program_id = prm.current_program() AND metric = 'b';
SELECT results_eq($$ SELECT score, coverage FROM prm.health(1) $$, $$ VALUES (67::numeric, 0.700000) $$, 'neutral: counts as 50');
SELECT results_eq($$ SELECT score, band FROM prm.health(4) $$, $$ VALUES (NULL::numeric, 'unknown') $$, 'HS-016 holds whatever the policies for missing values say');
UPDATE prm.health_metric SET missing = 'skip' WHERE program_id = prm.current_program() AND metric = 'b';

-- Knock-out.
UPDATE prm.health_metric SET knock_out_below = 61, knock_out_cap = 30 WHERE program_id = prm.current_program() AND metric = 'c';
SELECT results_eq($$ SELECT score, band FROM prm.health(1) $$, $$ VALUES (30::numeric, 'red') $$, 'a knock-out caps the score');
SELECT results_eq($$ SELECT group_name, note FROM prm.explain_health(1) WHERE contribution < 0 $$, $$ VALUES ('knock-out', 'capped at 30') $$, 'and is a row of the explanation');
SELECT is((SELECT sum(contribution) FROM prm.explain_health(1)), 30::numeric, 'HS-019 the contributions sum to the capped score');
SELECT is((SELECT score FROM prm.health(2)), 75::numeric, 'what has no value knocks nobody out');
UPDATE prm.health_metric SET knock_out_below = NULL, knock_out_cap = NULL WHERE program_id = prm.current_program();

-- Half-life, at read.
UPDATE prm.health_metric SET half_life = '30 days' WHERE program_id = prm.current_program() AND metric = 'a';
SELECT results_eq($$ SELECT normalized, note FROM prm.explain_health(1) WHERE metric = 'a' $$, $$ VALUES (40.0000000000000000, 'decayed to 50.0 % of its score since 2026-05-02') $$, 'after one half-life a score counts half');
SET LOCAL prm.clock = '2026-07-01 12:00:00+00';
SELECT is((SELECT round(normalized, 6) FROM prm.explain_health(1) WHERE metric = 'a'), 20.000000, 'after two a quarter');
SET LOCAL prm.clock = '2026-06-01 12:00:00+00';
UPDATE prm.health_metric SET half_life = NULL WHERE program_id = prm.current_program();

-- Snapshots and trend.
SELECT is(prm.refresh_health(), 60::bigint, 'a snapshot of everybody');
SELECT is(prm.refresh_health(), 60::bigint, 'again at the same moment');
SELECT is((SELECT count(*) FROM prm.health_snapshot WHERE program_id = prm.current_program()), 60::bigint, 'is the same snapshot');
SELECT is((SELECT trend FROM prm.health(1)), NULL::numeric, 'there is no earlier one yet');
SET LOCAL prm.clock = '2026-06-08 12:00:00+00';
SELECT prm.record_metric(1, 'b', 100);
SELECT results_eq($$ SELECT score, round(trend, 4) FROM prm.health(1) $$, $$ VALUES (82::numeric, 7.7143) $$, 'the trend is the score less that of the latest earlier snapshot');

-- HS-019, as a property: for made-up partners the contributions sum to the score, digit by digit.
INSERT INTO prm.health_metric (model, metric, group_name, group_weight, weight, how, low, high, missing)
  SELECT 'one', m, 'more', 7, 3, 'linear', 0, 7, 'neutral' FROM unnest('{logins_30d,nps}'::text[]) m;
INSERT INTO prm.metric_value (partner_id, metric, observed_at, value)
  SELECT p, m, '2026-06-02', (p * 37 + length(m) * 11) % 101 / 3.0 FROM generate_series(10, 60) p, unnest('{a,b,c,logins_30d,nps}'::text[]) m WHERE (p * length(m)) % 4 <> 1;
SELECT is_empty($$ SELECT p.partner_id FROM prm.partner p CROSS JOIN LATERAL prm.health(p.partner_id) h
                   CROSS JOIN LATERAL (SELECT sum(e.contribution) AS total, sum(e.share) AS shares FROM prm.explain_health(p.partner_id) e) e
                   WHERE p.program_id = prm.current_program() AND (e.total IS DISTINCT FROM h.score OR abs(e.shares - 1) > 1e-9) $$,
  'HS-019 for every partner the contributions sum to the score exactly');
SELECT ok((SELECT count(*) > 50 FROM prm.partner p CROSS JOIN LATERAL prm.health(p.partner_id) h WHERE p.program_id = prm.current_program() AND h.score IS NOT NULL), 'and there were scores');

-- A model for one kind of partner.
INSERT INTO prm.health_model (model, label, partner_kind) VALUES ('hubs', 'Hubs', 'hub');
INSERT INTO prm.health_metric (model, metric, group_name, how) VALUES ('hubs', 'c', 'all', 'as_is');
UPDATE prm.partner SET kind = 'hub' WHERE program_id = prm.current_program() AND partner_id = 1;
SELECT results_eq($$ SELECT score, band, trend FROM prm.health(1) $$, $$ VALUES (60::numeric, 'unknown', NULL::numeric) $$, 'the model of its own kind goes first; other models'' snapshots are no trend');

-- The same for one row, for all rows, and by the function.
SELECT set_eq($$ SELECT partner_id, health_score, health_band FROM prm.v_partner WHERE program_id = prm.current_program() $$,
  $$ SELECT p.partner_id, h.score, h.band FROM prm.partner p CROSS JOIN LATERAL prm.health(p.partner_id) h WHERE p.program_id = prm.current_program() $$, 'v_partner agrees with health()');
SELECT set_eq($$ SELECT p.partner_id, prm.health_score(p), prm.health_band(p) FROM prm.partner p WHERE p.program_id = prm.current_program() AND p.partner_id < 12 $$,
  $$ SELECT v.partner_id, v.health_score, v.health_band FROM prm.v_partner v WHERE v.program_id = prm.current_program() AND v.partner_id < 12 $$, 'and so do the functions over the row');

-- Definitions that make no sense do not get in; who is unknown has no health.
SELECT throws_ok($$ INSERT INTO prm.health_metric (model, metric, group_name, how, low, high) VALUES ('hubs', 'a', 'all', 'linear', 5, 5) $$, '23514', NULL, 'bounds out of order');
SELECT throws_ok($$ INSERT INTO prm.health_metric (model, metric, group_name, how) VALUES ('hubs', 'a', 'all', 'linear') $$, '23514', NULL, 'no bounds');
SELECT throws_ok($$ SELECT * FROM prm.health(777) $$, '42704', 'partner 777 does not exist', 'an unknown partner');
SELECT throws_ok($$ SELECT * FROM prm.explain_health(777) $$, '42704', 'partner 777 does not exist', 'an unknown partner is not explained');
DO $$ BEGIN PERFORM set_config('prm.program_id', prm.create_program('pgTAP health 3', 'blank')::text, true); END $$;
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'without a model');
SELECT results_eq($$ SELECT score, band, coverage FROM prm.health(1) $$, $$ VALUES (NULL::numeric, 'unknown', 0::numeric) $$, 'a programme without a model');
SELECT is_empty($$ SELECT * FROM prm.explain_health(1) $$, 'has nothing to explain');
SELECT is(prm.refresh_health(), 0::bigint, 'and no snapshots');

SELECT * FROM finish();
ROLLBACK;
