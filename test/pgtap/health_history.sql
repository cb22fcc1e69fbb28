-- Health over time: versions that are kept, what changed, the trend, and the backtest against what came of it.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
DO $$ BEGIN
  PERFORM set_config('prm.clock', '2026-01-01 12:00:00+00', true);
  PERFORM set_config('prm.program_id', prm.create_program('pgTAP health history', 'blank')::text, true);
END $$;
INSERT INTO prm.metric (metric, label) SELECT m, m FROM unnest('{a,b,c}'::text[]) m;
INSERT INTO prm.health_model (model, label) VALUES ('m', 'Model');
INSERT INTO prm.health_metric (model, metric, group_name, weight, how) VALUES ('m', 'a', 'all', 3, 'as_is'), ('m', 'b', 'all', 1, 'as_is');
INSERT INTO prm.health_band (model, band, lower, rank) VALUES ('m', 'red', 0, 1), ('m', 'green', 50, 2);
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'one'), (2, 'two');
SELECT prm.record_metric(1, 'a', 80), prm.record_metric(1, 'b', 40), prm.record_metric(2, 'a', 50);

-- ---- versions -------------------------------------------------------------------------------------------------------
SELECT is_empty($$ SELECT * FROM prm.health_model_version WHERE program_id = prm.current_program() $$, 'a model that was not used has no versions');
SELECT is((SELECT version FROM prm.health(1)), 1, 'its first use would be version 1');
SELECT prm.refresh_health();
SELECT prm.refresh_health();
SELECT results_eq($$ SELECT model, version, used_until, definition = prm.health_definition('m') FROM prm.health_model_version WHERE program_id = prm.current_program() $$,
  $$ VALUES ('m', 1, NULL::timestamptz, true) $$, 'a snapshot keeps the model as version 1, once');
SELECT results_eq($$ SELECT partner_id, version FROM prm.health_snapshot WHERE program_id = prm.current_program() ORDER BY 1 $$, $$ VALUES (1::bigint, 1), (2, 1) $$, 'snapshots name it');
UPDATE prm.health_model SET label = 'Another name' WHERE program_id = prm.current_program();
SELECT is((SELECT version FROM prm.health(1)), 1, 'a name is not a version');
SET LOCAL prm.clock = '2026-02-01 12:00:00+00';
UPDATE prm.health_metric SET weight = 1 WHERE program_id = prm.current_program() AND metric = 'a';
SELECT results_eq($$ SELECT score, version FROM prm.health(1) $$, $$ VALUES (60::numeric, 2) $$, 'an edited model is the next version');
SELECT prm.refresh_health();
SELECT results_eq($$ SELECT version, used_from, used_until, definition @> '{"metrics": [{"metric": "a", "weight": 3}]}' FROM prm.health_model_version WHERE program_id = prm.current_program() ORDER BY version $$,
  $$ VALUES (1, '2026-01-01 12:00+00'::timestamptz, '2026-02-01 12:00+00'::timestamptz, true), (2, '2026-02-01 12:00+00', NULL, false) $$, 'and the one that was used is kept as it was');
SELECT is(prm.health_definition('m', 1) -> 'metrics' -> 0 -> 'weight', '3', 'health_definition() tells of either');
SELECT is(prm.health_definition('m') -> 'metrics' -> 0 -> 'weight', '1', 'and of the model as it stands');
SELECT throws_ok($$ DELETE FROM prm.health_model_version WHERE program_id = prm.current_program() $$, '23503', NULL, 'a version that a snapshot names cannot go');
SELECT throws_ok($$ SELECT prm.health_definition('m', 3) $$, '42704', 'health model "m" version 3 does not exist', 'an unknown version');
SELECT throws_ok($$ SELECT prm.health_definition('x') $$, '42704', 'health model "x" does not exist', 'an unknown model');
UPDATE prm.health_band SET lower = 65 WHERE program_id = prm.current_program() AND band = 'green';
SELECT results_eq($$ SELECT band, version FROM prm.health(1) $$, $$ VALUES ('red', 3) $$, 'bands belong to the version');
UPDATE prm.health_band SET lower = 50 WHERE program_id = prm.current_program() AND band = 'green';
SELECT is((SELECT version FROM prm.health(1)), 2, 'undone before it was used, nothing happened');

-- ---- what changed ---------------------------------------------------------------------------------------------------
SET LOCAL prm.clock = '2026-03-01 12:00:00+00';
SELECT prm.record_metric(1, 'b', 90);
SELECT results_eq($$ SELECT metric, value_before, value_after, contribution_before, contribution_after, effect, note FROM prm.health_changes(1, '2026-02-15') $$,
  $$ VALUES ('b', 40::numeric, 90::numeric, 20::numeric, 45::numeric, 25::numeric, 'its value changed'), ('a', 80, 80, 40, 40, 0, NULL) $$, 'what changed since: by metric');
SELECT results_eq($$ SELECT metric, contribution_before, contribution_after, effect, note FROM prm.health_changes(1, '2026-01-15') $$,
  $$ VALUES ('b', 10::numeric, 45::numeric, 35::numeric, 'its value changed'), ('a', 60, 40, -20, 'the weights that count changed') $$, 'also what another version changed: the score then was by version 1');
SELECT is((SELECT sum(effect) FROM prm.health_changes(1, '2026-01-15')), (SELECT score FROM prm.health(1)) - 70, 'the effects sum to the change');
UPDATE prm.health_metric SET knock_out_below = 85, knock_out_cap = 30 WHERE program_id = prm.current_program() AND metric = 'a';
SELECT results_eq($$ SELECT group_name, effect FROM prm.health_changes(1, '2026-02-15') WHERE metric IS NULL $$, $$ VALUES ('knock-out', -55::numeric) $$, 'a knock-out has its row');
SELECT is((SELECT sum(effect) FROM prm.health_changes(1, '2026-02-15')), -30::numeric, 'and is in the sum');
UPDATE prm.health_metric SET knock_out_below = NULL, knock_out_cap = NULL WHERE program_id = prm.current_program() AND metric = 'a';
SELECT results_eq($$ SELECT DISTINCT effect FROM prm.health_changes(1, '2025-06-01') $$, $$ VALUES (NULL::numeric) $$, 'before anything was known there is no change to tell');
SELECT prm.record_metric(2, 'b', 10);
SELECT is((SELECT note FROM prm.health_changes(2, '2026-02-15') WHERE metric = 'b'), 'known now', 'what is known only now');
INSERT INTO prm.health_metric (model, metric, group_name, how, missing) VALUES ('m', 'c', 'all', 'as_is', 'zero');
SELECT is((SELECT note FROM prm.health_changes(1, '2026-02-15') WHERE metric = 'c'), 'new in the model', 'what was not in the model then');
DELETE FROM prm.health_metric WHERE program_id = prm.current_program() AND metric = 'c';
SELECT throws_ok($$ SELECT prm.health_changes(1, '2027-01-01') $$, '22023', NULL, 'not since the future');
SELECT throws_ok($$ SELECT prm.health_changes(9, '2026-01-15') $$, '42704', NULL, 'an unknown partner');

-- ---- trend ----------------------------------------------------------------------------------------------------------
SELECT prm.refresh_health();
SELECT results_eq($$ SELECT taken_at::date, version, score, change, reason, reason_effect FROM prm.health_trend(1) $$,
  $$ VALUES ('2026-01-01'::date, 1, 70::numeric, NULL::numeric, NULL, NULL::numeric), ('2026-02-01', 2, 60, -10, 'a', -20), ('2026-03-01', 2, 85, 25, 'b', 25) $$, 'snapshots with what changed most');
SELECT is((SELECT count(*) FROM prm.health_trend(1, 2)), 2::bigint, 'the last two');
SELECT is((SELECT change FROM prm.health_trend(1, 1)), 25::numeric, 'the change of the first one shown is known as well');
SELECT throws_ok($$ SELECT prm.health_trend(1, 0) $$, '22023', NULL, 'no points');
SELECT is((SELECT slope FROM prm.health_trend(1) WHERE version = 1), NULL, 'one snapshot has no slope');
SELECT is((SELECT slope FROM prm.health_trend(1, 1)), (SELECT round(regr_slope(y, x)::numeric, 4) FROM (VALUES (0.0, 70.0), (31 / 30.0, 60), (59 / 30.0, 85)) AS v(x, y)), 'the slope of the last snapshot, over those before');
SET LOCAL prm.clock = '2026-03-31 12:00:00+00';
SELECT results_eq($$ SELECT trend, slope FROM prm.health(1) $$,
  $$ SELECT 0::numeric, round(regr_slope(y, x)::numeric, 4) FROM (VALUES (0.0, 70.0), (31 / 30.0, 60), (59 / 30.0, 85), (89 / 30.0, 85)) AS v(x, y) $$, 'the slope, in points per 30 days, over the snapshots and now');
SELECT is((SELECT sum(v.value::numeric) FROM prm.health_snapshot s CROSS JOIN LATERAL jsonb_each_text(s.parts) v WHERE s.program_id = prm.current_program() AND s.partner_id = 1 AND s.taken_at = '2026-03-01 12:00+00'), 85::numeric, 'the parts of a snapshot sum to its score');

-- ---- the partner as it was then -------------------------------------------------------------------------------------
INSERT INTO prm.health_model (model, label, partner_kind) VALUES ('hubs', 'Hubs', 'hub');
INSERT INTO prm.health_metric (model, metric, group_name, how) VALUES ('hubs', 'b', 'all', 'as_is');
UPDATE prm.partner SET kind = 'hub' WHERE program_id = prm.current_program() AND partner_id = 2;
SET LOCAL prm.clock = '2026-04-30 12:00:00+00';
SELECT prm.refresh_health();
SELECT is((SELECT model FROM prm._health_scores(prm.current_program(), '{2}', '2026-03-15')), 'm', 'a past score is by the kind that the partner had, and the model of that time');
SELECT is((SELECT model FROM prm.health(2)), 'hubs', 'the present one by its kind now');
SET LOCAL prm.clock = '2026-05-30 12:00:00+00';
UPDATE prm.partner SET kind = 'hub' WHERE program_id = prm.current_program() AND partner_id = 1;
SET LOCAL prm.clock = '2026-05-31 12:00:00+00';
SELECT results_eq($$ SELECT model FROM prm._health_scores(prm.current_program(), '{1,2}', '2026-05-15') ORDER BY partner_id $$, $$ SELECT unnest('{m,hubs}'::text[]) $$, 'with both models in force, the kind of that time chooses');

-- ---- backtest -------------------------------------------------------------------------------------------------------
DO $$ BEGIN
  PERFORM set_config('prm.clock', '2025-01-01 12:00:00+00', true);
  PERFORM set_config('prm.program_id', prm.create_program('pgTAP backtest', 'blank')::text, true);
END $$;
INSERT INTO prm.metric (metric, label) SELECT m, m FROM unnest('{a,b}'::text[]) m;
INSERT INTO prm.health_model (model, label) VALUES ('m', 'Model');
INSERT INTO prm.health_metric (model, metric, group_name, how) VALUES ('m', 'a', 'all', 'as_is');
INSERT INTO prm.partner (partner_id, name, created_at) SELECT i, 'partner ' || i, prm.now() FROM generate_series(1, 22) i;
UPDATE prm.partner SET state = 'onboarding' WHERE program_id = prm.current_program();
-- The lower the number the worse; the 21st left long before, of the 22nd nothing is known.
INSERT INTO prm.metric_value (partner_id, metric, observed_at, value) SELECT i, m, '2025-01-01 12:00+00', CASE m WHEN 'a' THEN i * 4 ELSE 100 - i * 4 END FROM generate_series(1, 21) i, unnest('{a,b}'::text[]) m;
CREATE FUNCTION pg_temp.leaves(who bigint[], day text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('prm.clock', day || ' 12:00+00', true);
  PERFORM set_config('prm.reason', 'no sales', true);
  UPDATE prm.partner SET state = 'offboarding' WHERE program_id = prm.current_program() AND partner_id = ANY (who);
END $$;
SELECT pg_temp.leaves('{21}', '2025-01-15');
SET LOCAL prm.clock = '2025-02-01 12:00+00';
SELECT prm.refresh_health();
SELECT pg_temp.leaves('{1,2,10}', '2025-03-01');
-- What is learnt later does not help to foretell.
INSERT INTO prm.metric_value (partner_id, metric, observed_at, value) SELECT i, 'a', '2025-03-02 12:00+00', 100 - i FROM generate_series(1, 20) i;
SELECT pg_temp.leaves('{3}', '2025-06-20');
SET LOCAL prm.clock = '2025-05-02 12:00+00';
SELECT results_eq($$ SELECT version, outcome, dates, observations, lost, base_rate, auc, lift FROM prm.health_backtest('m', '90 days', '{"dates": 1}') $$,
  $$ VALUES (1, 'churn', 1, 20::bigint, 3::bigint, 0.150000, 0.862745, 6.666667) $$, 'as of a past date: 44 of 51 pairs in the right order, both of the lowest tenth were lost');
UPDATE prm.health_metric SET metric = 'b' WHERE program_id = prm.current_program();
SELECT results_eq($$ SELECT version, auc, lift, note FROM prm.health_backtest('m', '90 days', '{"dates": 1}') $$,
  $$ VALUES (1, 0.862745, 6.666667, ''), (2, 0.137255, 0.000000, 'as it stands now, not used yet') $$, 'a worse model is seen to be worse');
UPDATE prm.metric_value SET value = 50 WHERE program_id = prm.current_program() AND metric = 'b';
SELECT results_eq($$ SELECT auc, lift FROM prm.health_backtest('m', '90 days', '{"dates": 1}') WHERE version = 2 $$, $$ VALUES (0.500000, 1.000000) $$, 'a score that is the same for all is no better than chance');
SELECT results_eq($$ SELECT dates, observations, lost, note FROM prm.health_backtest('m', '30 days', '{"dates": 1}') WHERE version = 1 $$, $$ VALUES (1, 17::bigint, 0::bigint, 'nobody was lost') $$, 'who is on the way out already is not counted');
SELECT results_eq($$ SELECT dates, observations, lost FROM prm.health_backtest('m', '90 days', '{"dates": 3, "every": "15 days"}') WHERE version = 1 $$, $$ VALUES (3, 61::bigint, 10::bigint) $$, 'several dates are taken together');
SELECT results_eq($$ SELECT dates, observations, note FROM prm.health_backtest('m', '900 days', '{"dates": 2}') WHERE version = 1 $$, $$ VALUES (0, 0::bigint, 'no partner had a score then') $$, 'before there was anything there is nothing to test');
INSERT INTO prm.health_model (model, label, partner_kind) VALUES ('hubs', 'Hubs', 'hub');
INSERT INTO prm.health_metric (model, metric, group_name, how) VALUES ('hubs', 'a', 'all', 'as_is');
SELECT is((SELECT observations FROM prm.health_backtest('hubs', '90 days', '{"dates": 1}')), 0::bigint, 'a model is tested on the partners that it is for');
-- Lost revenue: two that sold before the date; one of them sells on.
SET LOCAL prm.clock = '2025-01-20 12:00+00';
INSERT INTO prm.deal (partner_id, name, amount, currency) SELECT p, 'before', 100, 'USD' FROM unnest('{4,9}'::int[]) p;
UPDATE prm.deal SET state = 'won' WHERE program_id = prm.current_program();
SET LOCAL prm.clock = '2025-02-20 12:00+00';
INSERT INTO prm.deal (partner_id, name, amount, currency) VALUES (4, 'after', 49.99, 'USD'), (9, 'after', 50, 'USD'), (5, 'after', 500, 'USD');
UPDATE prm.deal SET state = 'won' WHERE program_id = prm.current_program() AND name = 'after';
SET LOCAL prm.clock = '2025-05-02 12:00+00';
SELECT results_eq($$ SELECT outcome, observations, lost, auc FROM prm.health_backtest('m', '90 days', '{"dates": 1, "outcome": "revenue"}') WHERE version = 1 $$, $$ VALUES ('revenue', 2::bigint, 1::bigint, 1.000000) $$, 'lost revenue: less than half of what it was');
SELECT results_eq($$ SELECT lost FROM prm.health_backtest('m', '90 days', '{"dates": 1, "outcome": "revenue", "drop_to": 0.4}') WHERE version = 1 $$, $$ VALUES (0::bigint) $$, 'how much less is settable');
SELECT throws_ok(format($$ SELECT prm.health_backtest('m', '90 days', %L) $$, o), '22023', NULL, 'senseless: ' || o) FROM unnest(ARRAY['{"x": 1}', '{"outcome": "luck"}', '{"dates": 0}', '{"every": "0"}', '{"drop_to": 2}']) o;
SELECT throws_ok($$ SELECT prm.health_backtest('m', '-1 day') $$, '22023', NULL, 'a horizon in the past');
SELECT throws_ok($$ SELECT prm.health_backtest('x') $$, '42704', NULL, 'an unknown model');

SELECT * FROM finish();
ROLLBACK;
