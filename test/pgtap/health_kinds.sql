-- Health: score_metrics() says what health() says for every kind of model; extremes; models for segments; and what is not known yet
-- where prm.clock stands in the past.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
CREATE FUNCTION pg_temp.draw(VARIADIC parts text[]) RETURNS numeric LANGUAGE sql AS
$$ SELECT ((hashtextextended(array_to_string(parts, '/'), 17) & 1048575) / 1048576.0)::numeric $$;
DO $$ BEGIN
  PERFORM set_config('prm.clock', '2026-06-01 12:00:00+00', true);
  PERFORM set_config('prm.program_id', prm.create_program('pgTAP health kinds', 'blank')::text, true);
END $$;

-- ---- every kind of model, drawn at random but the same each time -------------------------------------------------------------
INSERT INTO prm.metric (metric, label) SELECT 'm' || i, 'm' FROM generate_series(0, 7) i;
INSERT INTO prm.partner_kind (kind, label) SELECT 'k' || i, 'k' FROM generate_series(1, 8) i;
INSERT INTO prm.health_model (model, label, partner_kind, kind, options) SELECT 'x' || i, 'x', 'k' || i, (ARRAY['weighted', 'additive', 'rules', 'rules'])[1 + (i - 1) % 4],
  (ARRAY['{}', '{}', '{}', '{"rule": "worst"}', '{}', '{"start": 55.5, "low": 5, "high": 72.25}', '{"good_from": 42.8571428571429, "average_from": 28.5714285714286, "scores": {"good": 95, "average": 66.6, "poor": 12}}', '{"rule": "worst"}'])[i]::jsonb
  FROM generate_series(1, 8) i;
-- Sevenths meet bounds only when they are compared as they are shown; the points of some are for each unit.
INSERT INTO prm.health_metric (model, metric, group_name, aspect, group_weight, weight, points, how, low, high, missing, knock_out_below, knock_out_above, knock_out_cap, options)
  SELECT 'x' || i, 'm' || m, 'g' || m % 3, CASE WHEN m % 3 = 0 THEN 'relationship' ELSE 'performance' END, 1 + m % 3 * 1.7, round(pg_temp.draw('weight', i::text, m::text) * 9 + 0.1, 2),
    CASE WHEN m = 6 THEN NULL ELSE round(pg_temp.draw('points', i::text, m::text) * 30 - 18, 1) END, h.how, CASE WHEN h.how IN ('linear', 'inverse') THEN 0 END, CASE WHEN h.how IN ('linear', 'inverse') THEN 7 END,
    CASE WHEN h.how = 'per_unit' THEN 'skip' ELSE (ARRAY['skip', 'zero', 'neutral', 'skip', 'skip'])[1 + (i + m) % 5] END,
    CASE WHEN i > 4 AND m = 5 THEN 1 END, CASE WHEN i > 4 AND m = 4 THEN 6 END, CASE WHEN i > 4 AND m IN (4, 5) THEN 30 + m END,
    CASE h.how WHEN 'step' THEN '{"steps": [{"from": 1, "score": 30}, {"from": 3, "score": 75.5}, {"from": 5, "score": 100}]}' WHEN 'choice' THEN '{"choices": {"1": 20, "2": 50, "3": 75}, "other": 90}' ELSE '{}' END::jsonb
  FROM generate_series(1, 8) i CROSS JOIN generate_series(0, 7) m
  CROSS JOIN LATERAL (SELECT CASE WHEN (i - 1) % 4 = 1 AND m IN (1, 5, 7) THEN 'per_unit' ELSE (ARRAY['linear', 'step', 'inverse', 'choice'])[1 + (i * 3 + m) % 4] END AS how) h;
INSERT INTO prm.health_band (model, band, lower, rank) SELECT 'x' || i, b.band, b.lower, b.rank FROM generate_series(1, 8) i CROSS JOIN (VALUES ('red', 0, 1), ('yellow', 40, 2), ('green', 70, 3)) b(band, lower, rank);
INSERT INTO prm.partner (partner_id, name, kind) SELECT i * 100 + p, 'p', 'k' || i FROM generate_series(1, 8) i CROSS JOIN generate_series(1, 40) p ORDER BY 1;
INSERT INTO prm.metric_value (partner_id, metric, observed_at, value) SELECT p.partner_id, 'm' || m, '2026-05-01', floor(pg_temp.draw('value', p.partner_id::text, m::text) * 8)
  FROM prm.partner p CROSS JOIN generate_series(0, 7) m WHERE p.program_id = prm.current_program() AND p.partner_id % 100 < 40
    AND pg_temp.draw('known', p.partner_id::text, m::text) < CASE WHEN p.partner_id % 100 > 30 THEN 0.2 ELSE 0.8 END;
CREATE TEMP TABLE told AS SELECT p.partner_id, p.kind, h.score FROM prm.partner p CROSS JOIN LATERAL prm.health(p.partner_id) h WHERE p.program_id = prm.current_program();
CREATE TEMP TABLE summed AS SELECT p.partner_id, prm.score_metrics(v.metric, v.value, prm.health_definition(replace(p.kind, 'k', 'x'))) AS score
  FROM prm.partner p LEFT JOIN prm.metric_value v ON v.program_id = p.program_id AND v.partner_id = p.partner_id WHERE p.program_id = prm.current_program() GROUP BY p.partner_id;
SELECT is_empty(format($$ SELECT t.*, s.score FROM told t JOIN summed s USING (partner_id) WHERE t.kind = %L AND (abs(t.score - s.score) > 1e-11 OR (t.score IS NULL) <> (s.score IS NULL)) $$, k),
  'score_metrics() and health() agree on ' || (ARRAY['weighted', 'additive', 'rules', 'worst'])[1 + (i - 1) % 4] || CASE WHEN i > 4 THEN ' with options and knock-outs' ELSE '' END)
  FROM generate_series(1, 8) i CROSS JOIN LATERAL (SELECT 'k' || i AS k) k;
SELECT is_empty($$ SELECT kind, count(DISTINCT score), count(*) FROM told GROUP BY kind HAVING count(DISTINCT score) < CASE kind WHEN 'k3' THEN 2 ELSE 3 END OR count(*) FILTER (WHERE score IS NULL) = 0 $$, 'each kind had different scores, and partners without any');
SELECT is_empty($$ SELECT t.partner_id FROM told t CROSS JOIN LATERAL (SELECT sum(e.contribution) AS total FROM prm.explain_health(t.partner_id) e) e WHERE e.total IS DISTINCT FROM t.score $$, 'HS-019 the explanation sums to the score in every kind');
SELECT cmp_ok((SELECT count(*) FROM told t WHERE kind = 'k6' AND score IN (5, 34, 35, 72.25)), '>', 3::bigint, 'some additive scores were clamped or capped');
-- Two halves, made apart.
SELECT is_empty($$ SELECT t.partner_id FROM told t CROSS JOIN LATERAL prm.health_definition(replace(t.kind, 'k', 'x')) d
    CROSS JOIN LATERAL (SELECT array_agg(v.metric ORDER BY v.metric) AS names, array_agg(v.value ORDER BY v.metric) AS numbers FROM prm.metric_value v WHERE v.program_id = prm.current_program() AND v.partner_id = t.partner_id) a
    WHERE cardinality(a.names) >= 2 AND abs(prm._score_metrics_final(prm._score_metrics_combine(prm._score_metrics_add(NULL, a.names[1], a.numbers[1], d), prm._score_metrics_add(NULL, a.names[2], a.numbers[2], d)))
      - (SELECT prm.score_metrics(n, v, d) FROM unnest(a.names[1:2], a.numbers[1:2]) x(n, v))) > 1e-11 $$, 'two halves combine to the whole, in every kind');
SELECT throws_ok($$ SELECT prm._score_metrics_combine(prm._score_metrics_add(NULL, 'a', 1, '{"kind": "rules", "metrics": []}'), prm._score_metrics_add(NULL, 'a', 1, '{"kind": "additive", "metrics": []}')) $$, '22023',
  'score_metrics was given two models for one score', 'halves of two kinds are refused');

-- HS-010, HS-011, HS-020 by the aggregate.
SELECT results_eq($$ SELECT prm.score_metrics(m, v, '{"kind": "additive", "metrics": [{"metric": "critical", "group_name": "f", "how": "per_unit", "points": -20}, {"metric": "high", "group_name": "f", "how": "per_unit", "points": -12}, {"metric": "medium", "group_name": "f", "how": "per_unit", "points": -6}]}')
    FROM (VALUES (1, 'critical', 1::numeric), (1, 'high', 2), (1, 'medium', 1), (2, 'critical', 6)) x(p, m, v) GROUP BY p ORDER BY p $$, $$ SELECT unnest('{50,0}'::numeric[]) $$, 'HS-020 findings taken from 100, floor 0');
SELECT results_eq($$ SELECT prm.score_metrics(m, v, '{"kind": "rules", "metrics": [{"metric": "a", "group_name": "g", "how": "as_is"}, {"metric": "b", "group_name": "g", "how": "as_is"}, {"metric": "c", "group_name": "g", "how": "as_is"}]}')
    FROM (VALUES (1, 'a', 90::numeric), (1, 'b', 75), (1, 'c', NULL), (2, 'a', 90), (2, 'b', 10), (3, 'a', 90), (3, 'b', 60), (4, 'a', NULL)) x(p, m, v) GROUP BY p ORDER BY p $$, $$ SELECT unnest('{100,40,60,NULL}'::numeric[]) $$,
  'HS-010 HS-011 all good is good, any poor is poor, else average; nothing known is no score');
SELECT is((SELECT prm.score_metrics('a', 4, '{"kind": "rules", "options": {"good_from": 57.1428571428571}, "metrics": [{"metric": "a", "group_name": "g", "how": "linear", "low": 0, "high": 7}]}')), 100::numeric, 'a bound is compared with the score as it is shown');
SELECT throws_ok(format($$ SELECT prm.score_metrics('a', 1, %L) $$, d), '22023', 'this is no health model that score_metrics can use', 'no model: ' || d)
  FROM unnest(ARRAY['{"kind": "guess", "metrics": []}', '{"kind": "additive", "options": 3, "metrics": []}', '{"kind": "additive", "options": {"start": "x"}, "metrics": []}', '{"kind": "additive", "options": {"low": 5, "high": 5}, "metrics": []}',
    '{"kind": "rules", "options": {"rule": "guess"}, "metrics": []}', '{"kind": "rules", "options": {"good_from": 10, "average_from": 20}, "metrics": []}', '{"kind": "rules", "options": {"scores": []}, "metrics": []}',
    '{"kind": "rules", "metrics": [{"metric": "a", "group_name": "g", "how": "per_unit"}]}', '{"metrics": [{"metric": "a", "group_name": "g", "how": "per_unit"}]}', '{"kind": "additive", "metrics": [{"metric": "a", "group_name": "g", "how": "per_unit", "points": "x"}]}']) d;

-- ---- extremes ----------------------------------------------------------------------------------------------------------------
SELECT results_eq($$ SELECT prm.normalize_metric(v, 'step', NULL, NULL, '{"ranges": [{"range": "(,5)", "score": 10}, {"range": "[5,)", "score": 90}]}') FROM unnest('{-1e400,1e400}'::numeric[]) v $$, $$ SELECT unnest('{10,90}'::numeric[]) $$,
  'a value beyond every double lies in a range without an end');
SELECT throws_ok($$ SELECT prm.normalize_metric(1, 'linear', -1e308, 1e308) $$, '22023', 'the bounds of a metric are out of range', 'bounds so far apart that no score can be reckoned');
SELECT throws_ok($$ SELECT prm.normalize_metric(1, 'target', 0, NULL, '{"target": 1e307}') $$, '22023', 'an option of a metric is out of range', 'so with a target');
SELECT throws_ok($$ SELECT prm.weighted_score(100, 1e308) FROM generate_series(1, 3) $$, '22003', 'the score is out of range', 'weights beyond the range of numbers are no NaN');
SELECT throws_ok($$ SELECT prm.score_metrics(m, 100, '{"metrics": [{"metric": "a", "group_name": "g", "how": "as_is", "weight": 1e308}, {"metric": "b", "group_name": "g", "how": "as_is", "weight": 1e308}]}') FROM unnest('{a,b}'::text[]) m $$, '22003', 'the score is out of range', 'nor in score_metrics()');
SELECT is((SELECT prm.score_metrics(m, v, '{"kind": "additive", "metrics": [{"metric": "a", "group_name": "g", "how": "per_unit", "points": 1e300}, {"metric": "b", "group_name": "g", "how": "per_unit"}]}') FROM (VALUES ('a', 1e200), ('b', 1e400)) x(m, v)), 100::numeric,
  'points beyond the range of numbers are clamped; a metric without points adds none');

DO $$ BEGIN
  PERFORM set_config('prm.clock', '2026-02-01 12:00:00+00', true);
  PERFORM set_config('prm.program_id', prm.create_program('pgTAP health edges', 'blank')::text, true);
END $$;
INSERT INTO prm.metric (metric, label) SELECT m, m FROM unnest('{a,b,c}'::text[]) m;
INSERT INTO prm.health_model (model, label) VALUES ('m', 'm');
INSERT INTO prm.health_metric (model, metric, group_name, weight, how) VALUES ('m', 'a', 'all', 0.0000001, 'as_is'), ('m', 'b', 'all', 100, 'as_is');
INSERT INTO prm.health_band (model, band, lower, rank) VALUES ('m', 'red', 0, 1), ('m', 'green', 50, 2);
INSERT INTO prm.partner (partner_id, name) SELECT i, 'partner ' || i FROM generate_series(1, 6) i;
SELECT prm.record_metric(1, 'a', 80);
SELECT results_eq($$ SELECT score, band, coverage FROM prm.health(1) $$, $$ VALUES (80::numeric, 'green', 0.000000) $$, 'one known metric is a score, however little it weighs');
SELECT throws_ok($$ UPDATE prm.health_metric SET how = 'per_unit' WHERE program_id = prm.current_program() AND metric = 'b' $$, '22023', 'metric "b" cannot count per unit in health model "m"', 'per unit is for additive models');
UPDATE prm.health_model SET kind = 'additive' WHERE program_id = prm.current_program();
SELECT lives_ok($$ UPDATE prm.health_metric SET how = 'per_unit' WHERE program_id = prm.current_program() AND metric = 'b' $$, 'and there it is possible');
SELECT throws_ok($$ UPDATE prm.health_model SET kind = 'rules' WHERE program_id = prm.current_program() $$, '22023', 'health model "m" cannot become one of kind rules', 'whose kind then stays');
UPDATE prm.health_metric SET how = 'as_is', weight = 100 WHERE program_id = prm.current_program();
SELECT lives_ok($$ UPDATE prm.health_model SET kind = 'weighted' WHERE program_id = prm.current_program() $$, 'until no metric counts per unit');

-- ---- a model for a segment ---------------------------------------------------------------------------------------------------
SELECT throws_ok($$ INSERT INTO prm.health_model (model, label, segment) VALUES ('vip', 'VIP', 'vip') $$, '23503', NULL, 'a model for a segment that is not there');
INSERT INTO prm.segment (segment, label) VALUES ('vip', 'VIP'), ('calm', 'Calm');
INSERT INTO prm.health_model (model, label, segment) VALUES ('vip', 'VIP', 'vip');
INSERT INTO prm.metric_benchmark (metric, segment, p50, source, valid) VALUES ('a', 'vip', 5, 'survey', '[2026-01-01,)');
SELECT throws_ok($$ INSERT INTO prm.metric_benchmark (metric, segment, p50, source, valid) VALUES ('a', 'nobody', 5, 'survey', '[2026-01-01,)') $$, '23503', NULL, 'a benchmark for a segment that is not there');
SELECT throws_ok($$ DELETE FROM prm.segment WHERE program_id = prm.current_program() AND segment = 'vip' $$, '23503', 'segment "vip" is in use', 'a segment that is used stays');
SELECT throws_ok($$ UPDATE prm.segment SET segment = 'gold' WHERE program_id = prm.current_program() AND segment = 'vip' $$, '23503', 'segment "vip" is in use', 'and keeps its name');
SELECT lives_ok($$ UPDATE prm.segment SET label = 'Very' WHERE program_id = prm.current_program() AND segment = 'vip' $$, 'all else of it may change');
SELECT lives_ok($$ DELETE FROM prm.segment WHERE program_id = prm.current_program() AND segment = 'calm' $$, 'one that nobody uses goes');
DELETE FROM prm.health_model WHERE program_id = prm.current_program() AND model = 'vip';
DELETE FROM prm.metric_benchmark WHERE program_id = prm.current_program();
SELECT lives_ok($$ DELETE FROM prm.segment WHERE program_id = prm.current_program() AND segment = 'vip' $$, 'as does this one when nothing is for it any more');
SELECT lives_ok($$ SELECT prm._load_definition(prm.current_program(), '{"health_model": [{"model": "vip", "label": "VIP", "segment": "vip"}], "segment": [{"segment": "vip", "label": "VIP"}], "metric_benchmark": [{"metric": "a", "segment": "vip", "p50": 5, "source": "s", "valid": "[2026-01-01,)"}]}') $$,
  'a definition brings segments before what is for them');
DELETE FROM prm.health_model WHERE program_id = prm.current_program() AND model = 'vip';

-- ---- prm.clock in the past: what was recorded later does not count --------------------------------------------------------
SET LOCAL prm.clock = '2026-03-01 12:00:00+00';
SELECT prm.record_metric(2, 'a', 10), prm.record_metric(2, 'b', 20), prm.record_metric(3, 'a', 50), prm.record_metric(4, 'a', 70);
INSERT INTO prm.partner_kind (kind, label) VALUES ('star', 'Star');
INSERT INTO prm.health_model (model, label, partner_kind, rollup) VALUES ('star', 'Star', 'star', 'mean');
INSERT INTO prm.health_metric (model, metric, group_name, how) VALUES ('star', 'a', 'all', 'as_is');
UPDATE prm.partner SET parent_id = 2 WHERE program_id = prm.current_program() AND partner_id = 3;
SET LOCAL prm.clock = '2026-03-02 12:00:00+00';
CREATE TEMP TABLE then_told AS SELECT p.partner_id, h.* FROM prm.partner p CROSS JOIN LATERAL prm.health(p.partner_id) h WHERE p.program_id = prm.current_program();
SET LOCAL prm.clock = '2026-04-01 12:00:00+00';
SELECT prm.record_metric(2, 'a', 90), prm.record_metric(2, 'b', 95), prm.record_metric(3, 'a', 0), prm.record_metric(5, 'a', 33);
UPDATE prm.partner SET kind = 'star' WHERE program_id = prm.current_program() AND partner_id = 4;
UPDATE prm.partner SET parent_id = 4 WHERE program_id = prm.current_program() AND partner_id IN (3, 5);
SELECT prm.refresh_health();
SELECT results_eq($$ SELECT (prm.health(i)).score FROM generate_series(2, 5) i $$, $$ SELECT unnest('{92.5,0,34.3333333333333,33}'::numeric[]) $$, 'values, kinds and members as they are now');
SET LOCAL prm.clock = '2026-03-02 12:00:00+00';
SELECT results_eq($$ SELECT p.partner_id, h.score, h.band, h.coverage, h.trend, h.slope, h.model FROM prm.partner p CROSS JOIN LATERAL prm.health(p.partner_id) h WHERE p.program_id = prm.current_program() ORDER BY 1 $$,
  $$ SELECT partner_id, score, band, coverage, trend, slope, model FROM then_told ORDER BY 1 $$, 'with the clock turned back nothing of what came later counts: values, snapshots, kinds, members');

-- ---- a final state of the partner machine by another name ----------------------------------------------------------------
SET LOCAL prm.clock = '2026-05-01 12:00:00+00';
SELECT lives_ok($$ SELECT prm.define_machine('partner', '{"initial": "applicant", "states": {"applicant": {"on": {"leave": {"target": "gone"}}}, "gone": {"type": "final", "category": "lost"}}}') $$, 'a partner machine of the user''s own');
INSERT INTO prm.partner (partner_id, name, parent_id) VALUES (7, 'leaver', 4);
SELECT prm.record_metric(7, 'a', 100);
UPDATE prm.partner SET state = 'gone' WHERE program_id = prm.current_program() AND partner_id = 7;
SELECT is((SELECT score FROM prm.health(4)), 34.3333333333333, 'who has left is no member');
SELECT is((SELECT partners FROM prm.health_portfolio()), 6::bigint, 'and in no portfolio');
SET LOCAL prm.clock = '';
SELECT is((SELECT score FROM prm.health(4)), 34.3333333333333, 'nor in the present');

-- ---- the worst customer ------------------------------------------------------------------------------------------------------
SET LOCAL prm.clock = '2026-05-01 12:00:00+00';
INSERT INTO prm.metric (metric, label, higher_is_better) VALUES ('tickets', 'Tickets', false);
INSERT INTO prm.partner_kind (kind, label) VALUES ('finder', 'Finder');
INSERT INTO prm.health_model (model, label, partner_kind) VALUES ('worst', 'Worst', 'finder');
INSERT INTO prm.health_metric (model, metric, group_name, how, low, high, customers, knock_out_above, knock_out_cap) VALUES ('worst', 'tickets', 'all', 'inverse', 0, 100, 'minimum', 50, 15);
INSERT INTO prm.partner (partner_id, name, kind) VALUES (8, 'finder', 'finder');
INSERT INTO prm.customer (customer_id, name) VALUES (1, 'calm'), (2, 'angry');
INSERT INTO prm.deal (partner_id, customer_id, name, amount, currency) VALUES (8, 1, 'd', 100, 'USD'), (8, 2, 'd', 20, 'USD');
UPDATE prm.deal SET state = 'won' WHERE program_id = prm.current_program();
SELECT prm.record_customer_metric(1, 'tickets', 5), prm.record_customer_metric(2, 'tickets', 80);
SELECT results_eq($$ SELECT value, normalized, note FROM prm.explain_health(8) WHERE metric = 'tickets' $$, $$ VALUES (80::numeric, 20::numeric, 'knock-out: above 50') $$, 'where less is better, the lowest score is that of the highest value, and this knocks out');
SELECT is((SELECT score FROM prm.health(8)), 15::numeric, 'and caps');

SELECT * FROM finish();
ROLLBACK;
