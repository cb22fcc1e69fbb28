-- Health models: every way to normalise, the kinds of models, bands, what customers and members give; the published cases by id.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();

-- ---- normalize_metric: the ways with options ------------------------------------------------------------------------
SELECT results_eq($$ SELECT prm.normalize_metric(v, 'step', NULL, NULL, '{"steps": [{"from": 50, "score": 60}, {"from": 0, "score": 20}, {"from": 100, "score": 100}]}') FROM unnest('{-1,0,49.99,50,99,100,1e9}'::numeric[]) v $$,
  $$ SELECT unnest('{0,20,20,60,60,100,100}'::numeric[]) $$, 'step: a value on a bound belongs to the higher step, below the first is 0; the order of the steps does not matter');
SELECT results_eq($$ SELECT prm.normalize_metric(v, 'step', NULL, NULL, '{"steps": [{"from": 0, "score": 20}, {"from": 50, "score": 60}, {"from": 100, "score": 100}], "ties": "low"}') FROM unnest('{-1,0,50,50.01,100,101}'::numeric[]) v $$,
  $$ SELECT unnest('{0,20,20,60,60,100}'::numeric[]) $$, 'step, ties low: it belongs to the lower one, but for the first bound');
SELECT results_eq($$ SELECT prm.normalize_metric(v, 'step', NULL, NULL, '{"ranges": [{"range": "(0,50]", "score": 40}, {"range": "(50,100]", "score": 90}]}') FROM unnest('{50,50.0001,100,0.0001}'::numeric[]) v $$,
  $$ SELECT unnest('{40,90,90,40}'::numeric[]) $$, 'HS-021 top of a range inclusive, bottom exclusive: 50 is in (0,50]');
SELECT results_eq($$ SELECT prm.normalize_metric(v, 'step', NULL, NULL, '{"ranges": [{"range": "(0,50]", "score": 40}, {"range": "(50,100]", "score": 90}]}') FROM unnest('{0,100.1,-3}'::numeric[]) v $$,
  $$ SELECT unnest('{NULL,NULL,NULL}'::numeric[]) $$, 'a value in no range is not known');
SELECT results_eq($$ SELECT prm.normalize_metric(v, 'step', NULL, NULL, '{"ranges": [{"range": "[10,)", "score": 100}, {"range": "(,5)", "score": 10}, {"range": "[5,5]", "score": 33}, {"range": "(5,10)", "score": 50}]}') FROM unnest('{-1e6,4.9,5,5.1,9.9,10,1e6}'::numeric[]) v $$,
  $$ SELECT unnest('{10,10,33,50,50,100,100}'::numeric[]) $$, 'either bound may belong to a range, or be missing; one value may be a range');
SELECT results_eq($$ SELECT prm.normalize_metric(v, 'target', 0, 20, '{"target": 10, "tolerance": 2}') FROM unnest('{-1,0,4,8,10,12,16,20,30}'::numeric[]) v $$,
  $$ SELECT unnest('{0,0,50,100,100,100,50,0,0}'::numeric[]) $$, 'target: 100 within the tolerance, falling to 0 at both bounds');
SELECT results_eq($$ SELECT prm.normalize_metric(v, 'target', 0, NULL, '{"target": 10}') FROM unnest('{0,5,10,1000}'::numeric[]) v $$,
  $$ SELECT unnest('{0,50,100,100}'::numeric[]) $$, 'target: a side without a bound does not fall');
SELECT results_eq($$ SELECT prm.normalize_metric(v, 'percentile', NULL, NULL, '{"population": [30, 10, 20, 20, 50]}') FROM unnest('{10,20,30,50,5,60}'::numeric[]) v $$,
  $$ SELECT unnest('{0,37.5,75,100,0,100}'::numeric[]) $$, 'percentile: the place among the others, ties in the middle of their places');
SELECT is(prm.normalize_metric(7, 'percentile', NULL, NULL, '{"population": [7]}'), 50::numeric, 'alone among others is the middle');
SELECT results_eq($$ SELECT prm.normalize_metric(v, 'choice', NULL, NULL, '{"choices": {"1": 0, "2": 60, "3.50": 100, "good": 90}}') FROM unnest('{1,2.0,3.5,4}'::numeric[]) v $$,
  $$ SELECT unnest('{0,60,100,NULL}'::numeric[]) $$, 'choice: each number has its score, another one is not known');
SELECT is(prm.normalize_metric(4, 'choice', NULL, NULL, '{"choices": {"1": 0}, "other": 30}'), 30::numeric, 'choice: or has the score of all others');
SELECT is((SELECT count(DISTINCT prm.normalize_metric(i, 'step', NULL, NULL, jsonb_build_object('steps', jsonb_build_array(jsonb_build_object('from', 0, 'score', i))))) FROM generate_series(0, 100) i), 101::bigint,
  'more definitions in one query than are kept do not get mixed up');
SELECT is((SELECT prm.normalize_metric(3, 'linear', 1, 6) / 100 * 10 / 50 * 10), 0.8, 'HS-012 linear normalisation times weight share times scale');
SELECT throws_ok($$ SELECT prm.normalize_metric(1, 'step', NULL, NULL, '{"ranges": [{"range": "(0,50]", "score": 40}, {"range": "[50,100]", "score": 90}]}') $$, '22023', 'two ranges of a metric overlap', 'ranges that overlap');
SELECT throws_ok($$ SELECT prm.normalize_metric(NULL, 'step', NULL, NULL, '{"steps": [{"from": 1, "score": 40}, {"from": 1, "score": 90}]}') $$, '22023', 'two steps of a metric begin at the same value', 'a bound twice');
SELECT throws_ok(format($$ SELECT prm.normalize_metric(1, 'step', NULL, NULL, %L) $$, o), '22023', NULL, 'senseless steps: ' || o)
  FROM unnest(ARRAY['{"x": 1}', '{"steps": []}', '{"steps": 3}', '{"steps": [{"from": 1}]}', '{"steps": [{"score": 1}]}', '{"steps": [{"from": "a", "score": 1}]}', '{"steps": [{"from": 1, "score": 101}]}',
    '{"steps": [{"from": 1, "score": 1, "to": 3}]}', '{"steps": [5]}', '{"ties": "low"}', '{"steps": [{"from": 1, "score": 1}], "ties": "up"}', '{"ranges": [{"range": "(5,5]", "score": 1}]}',
    '{"ranges": [{"range": "0,50", "score": 1}]}', '{"ranges": [{"range": "(a,50]", "score": 1}]}', '{"ranges": [{"range": "(9,5]", "score": 1}]}', '{"ranges": [{"range": "(0,5]", "score": 1}], "steps": [{"from": 1, "score": 1}]}', '[1]']) o;
SELECT throws_ok(format($$ SELECT prm.normalize_metric(1, %L, %s, %s, %L) $$, h, l, u, o), '22023', NULL, format('senseless %s %s', h, o))
  FROM (VALUES ('target', '0', '20', '{}'), ('target', '0', '20', '{"target": 0}'), ('target', '0', '20', '{"target": 10, "tolerance": 10}'), ('target', '0', '20', '{"target": 10, "tolerance": -1}'), ('target', 'NULL', 'NULL', '{"target": 10}'),
    ('percentile', 'NULL', 'NULL', '{}'), ('percentile', 'NULL', 'NULL', '{"population": []}'), ('percentile', 'NULL', 'NULL', '{"within": "galaxy"}'), ('choice', 'NULL', 'NULL', '{}'), ('choice', 'NULL', 'NULL', '{"choices": {}}'),
    ('choice', 'NULL', 'NULL', '{"choices": {"1": "x"}}'), ('choice', 'NULL', 'NULL', '{"choices": {"1": 2, "1.0": 3}}'), ('linear', '0', '1', '{"target": 1}')) x(h, l, u, o);

-- ---- a programme whose metrics are given by hand --------------------------------------------------------------------
DO $$ BEGIN
  PERFORM set_config('prm.clock', '2026-06-01 12:00:00+00', true);
  PERFORM set_config('prm.program_id', prm.create_program('pgTAP health models', 'blank')::text, true);
END $$;
INSERT INTO prm.metric (metric, label) SELECT m, m FROM unnest('{a,b,c,critical,high,medium,low,answer,custom}'::text[]) m;
INSERT INTO prm.metric (metric, label, higher_is_better) VALUES ('complaints', 'complaints', false);
INSERT INTO prm.partner_kind (kind, label) VALUES ('star', 'star'), ('finder', 'finder'), ('judged', 'judged'), ('tested', 'tested'), ('asked', 'asked') ON CONFLICT DO NOTHING;
CREATE FUNCTION pg_temp.partner(id bigint, kind text, VARIADIC metric_values text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO prm.partner (partner_id, name, kind) VALUES (id, 'partner ' || id, kind);
  INSERT INTO prm.metric_value (partner_id, metric, observed_at, value)
    SELECT id, split_part(v, '=', 1), '2026-05-01', split_part(v, '=', 2)::numeric FROM unnest(metric_values) v WHERE v <> '';
END $$;
-- A deal that the partner closed on a day.
CREATE FUNCTION pg_temp.closed(the_partner bigint, the_customer bigint, amount numeric, day text, state text DEFAULT 'won') RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  the_clock text := current_setting('prm.clock');
  the_deal bigint;
BEGIN
  PERFORM set_config('prm.clock', day || ' 12:00+00', true);
  INSERT INTO prm.deal (partner_id, customer_id, name, amount, currency) VALUES (the_partner, the_customer, 'deal', amount, 'USD') RETURNING deal_id INTO the_deal;
  UPDATE prm.deal SET state = closed.state WHERE program_id = prm.current_program() AND deal_id = the_deal;
  PERFORM set_config('prm.clock', the_clock, true);
END $$;
CREATE FUNCTION pg_temp.adds_up() RETURNS SETOF bigint LANGUAGE sql AS $$
  SELECT p.partner_id FROM prm.partner p CROSS JOIN LATERAL prm.health(p.partner_id) h
  CROSS JOIN LATERAL (SELECT sum(e.contribution) AS total FROM prm.explain_health(p.partner_id) e) e
  WHERE p.program_id = prm.current_program() AND e.total IS DISTINCT FROM h.score $$;

-- HS-005: bands.
INSERT INTO prm.health_model (model, label, partner_kind, band_ties) VALUES ('bands', 'Bands', 'star', 'low');
INSERT INTO prm.health_metric (model, metric, group_name, how) VALUES ('bands', 'a', 'all', 'as_is');
INSERT INTO prm.health_band (model, band, lower, rank) VALUES ('bands', 'red', 0, 1), ('bands', 'yellow', 50, 2), ('bands', 'green', 75, 3);
SELECT pg_temp.partner(100 + i, 'star', 'a=' || (ARRAY[0, 50, 51, 75, 76, 100])[i]) FROM generate_series(1, 6) i;
SELECT results_eq($$ SELECT (prm.health(100 + i)).band FROM generate_series(1, 6) i $$, $$ SELECT unnest('{red,red,yellow,yellow,green,green}'::text[]) $$,
  'HS-005 lower bound excluded except in the first band');
UPDATE prm.health_model SET band_ties = 'high' WHERE program_id = prm.current_program() AND model = 'bands';
SELECT results_eq($$ SELECT (prm.health(100 + i)).band FROM generate_series(1, 6) i $$, $$ SELECT unnest('{red,yellow,yellow,green,green,green}'::text[]) $$,
  'HS-005 the house rule: a bound belongs to the band it begins');

-- HS-020: additive.
INSERT INTO prm.health_model (model, label, partner_kind, kind) VALUES ('audit', 'Findings', 'finder', 'additive');
INSERT INTO prm.health_metric (model, metric, group_name, aspect, how, points) VALUES ('audit', 'critical', 'findings', 'performance', 'per_unit', -20), ('audit', 'high', 'findings', 'performance', 'per_unit', -12),
  ('audit', 'medium', 'findings', 'relationship', 'per_unit', -6), ('audit', 'low', 'findings', 'relationship', 'per_unit', -2);
INSERT INTO prm.health_band (model, band, lower, rank) VALUES ('audit', 'F', 0, 1), ('audit', 'D', 35, 2), ('audit', 'C', 50, 3), ('audit', 'B', 65, 4), ('audit', 'A', 80, 5);
SELECT pg_temp.partner(201, 'finder', 'critical=1', 'high=2', 'medium=1'), pg_temp.partner(202, 'finder', 'critical=6'), pg_temp.partner(203, 'finder', ''), pg_temp.partner(204, 'finder', 'low=0');
SELECT results_eq($$ SELECT (h).score, (h).band FROM (SELECT prm.health(i) AS h FROM generate_series(201, 204) i) x $$, $$ VALUES (50::numeric, 'C'), (0, 'F'), (NULL, 'unknown'), (100, 'A') $$,
  'HS-020 start 100, less points for each finding, floor 0; nothing known is no score');
SELECT results_eq($$ SELECT group_name, metric, contribution FROM prm.explain_health(202) WHERE contribution <> 0 $$,
  $$ VALUES ('start', NULL, 100::numeric), ('findings', 'critical', -120), ('clamp', NULL, 20) $$, 'HS-020 explained: it is clamped last');
SELECT results_eq($$ SELECT performance, relationship FROM prm.health(201) $$, $$ VALUES (56::numeric, 94::numeric) $$, 'additive: either aspect alone');
UPDATE prm.health_model SET options = '{"start": 5, "low": 0, "high": 10}' WHERE program_id = prm.current_program() AND model = 'audit';
UPDATE prm.health_metric SET points = 3, how = 'linear', low = 0, high = 4 WHERE program_id = prm.current_program() AND model = 'audit' AND metric = 'high';
SELECT results_eq($$ SELECT metric, contribution FROM prm.explain_health(201) WHERE metric = 'high' $$, $$ VALUES ('high', 1.5) $$, 'additive: another metric adds its points in proportion to its score');
SELECT is((SELECT score FROM prm.health(204)), 5::numeric, 'additive: start and bounds are settable');
SELECT throws_ok($$ UPDATE prm.health_model SET options = '{"start": "x"}' WHERE program_id = prm.current_program() AND model = 'audit' $$, '22023', 'the options of a health model make no sense', 'a start that is no number');
SELECT throws_ok($$ UPDATE prm.health_model SET options = '{"begin": 5}' WHERE program_id = prm.current_program() AND model = 'audit' $$, '22023', NULL, 'an unknown option of a model');
SELECT throws_ok($$ UPDATE prm.health_model SET options = '{"low": 5, "high": 5}' WHERE program_id = prm.current_program() AND model = 'audit' $$, '22023', NULL, 'bounds of the score out of order');
SELECT throws_ok($$ UPDATE prm.health_metric SET how = 'step', options = '{"stairs": 1}' WHERE program_id = prm.current_program() AND model = 'audit' AND metric = 'low' $$, '22023', 'normalize_metric has no such option', 'an unknown option of a metric does not get in');

-- HS-011: rules.
INSERT INTO prm.health_model (model, label, partner_kind, kind) VALUES ('judge', 'Rules', 'judged', 'rules');
INSERT INTO prm.health_metric (model, metric, group_name, how) SELECT 'judge', m, 'all', 'as_is' FROM unnest('{a,b,c}'::text[]) m;
SELECT pg_temp.partner(301, 'judged', 'a=90', 'b=75'), pg_temp.partner(302, 'judged', 'a=90', 'b=10'), pg_temp.partner(303, 'judged', 'a=90', 'b=60'), pg_temp.partner(304, 'judged', ''), pg_temp.partner(305, 'judged', 'a=49', 'b=60', 'c=10');
SELECT results_eq($$ SELECT (prm.health(i)).band FROM generate_series(301, 304) i $$, $$ SELECT unnest('{good,poor,average,unknown}'::text[]) $$,
  'HS-011 all good is good, any poor is poor, else average; without a value ignored');
SELECT results_eq($$ SELECT (prm.health(i)).score FROM generate_series(301, 305) i $$, $$ SELECT unnest('{100,40,60,NULL,40}'::numeric[]) $$, 'HS-010 good is worth 100, average 60, poor 40');
SELECT results_eq($$ SELECT metric, contribution FROM prm.explain_health(305) ORDER BY metric $$, $$ VALUES ('a', 20::numeric), ('b', 0), ('c', 20) $$, 'those that decide contribute the score');
UPDATE prm.health_model SET options = '{"rule": "worst"}' WHERE program_id = prm.current_program() AND model = 'judge';
SELECT results_eq($$ SELECT (prm.health(i)).score FROM generate_series(301, 305) i $$, $$ SELECT unnest('{75,10,60,NULL,10}'::numeric[]) $$, 'HS-011 worst-of: the worst metric is the score');
SELECT results_eq($$ SELECT metric, share, contribution FROM prm.explain_health(302) ORDER BY metric $$, $$ VALUES ('a', 0::numeric, 0::numeric), ('b', 1, 10), ('c', 0, 0) $$, 'and contributes it');
UPDATE prm.health_model SET options = '{}' WHERE program_id = prm.current_program() AND model = 'judge';
SELECT is_empty('SELECT * FROM pg_temp.adds_up()', 'HS-019 the contributions sum to the score in every kind of model');

-- HS-010: portfolio.
DO $$ BEGIN PERFORM set_config('prm.program_id', prm.create_program('pgTAP portfolio', 'blank')::text, true); END $$;
INSERT INTO prm.metric (metric, label) VALUES ('a', 'a');
INSERT INTO prm.health_model (model, label) VALUES ('m', 'm');
INSERT INTO prm.health_metric (model, metric, group_name, how) VALUES ('m', 'a', 'all', 'as_is');
INSERT INTO prm.health_band (model, band, lower, rank) VALUES ('m', 'poor', 0, 1), ('m', 'average', 50, 2), ('m', 'good', 75, 3);
SELECT pg_temp.partner(400 + i, 'reseller', 'a=' || CASE WHEN i <= 5 THEN 80 WHEN i <= 8 THEN 70 ELSE 10 END) FROM generate_series(1, 10) i;
SELECT pg_temp.partner(411, 'reseller', '');
-- Who was rejected is in no portfolio, and takes no place among the others.
CREATE FUNCTION pg_temp.rejected(the_partner bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('prm.reason', 'no fit', true);
  UPDATE prm.partner SET state = 'rejected' WHERE program_id = prm.current_program() AND partner_id = the_partner;
END $$;
SELECT pg_temp.partner(412, 'reseller', 'a=1');
SELECT pg_temp.rejected(412);
SELECT results_eq($$ SELECT portfolio, partners, scored, score, bands FROM prm.health_portfolio('program', '{"good": 100, "average": 60, "poor": 40}') $$,
  $$ VALUES ('all', 11::bigint, 10::bigint, 76::numeric, '{"good": 5, "poor": 2, "average": 3, "unknown": 1}'::jsonb) $$, 'HS-010 portfolio of 5 good, 3 average, 2 poor');
SELECT results_eq($$ SELECT portfolio, score, lowest FROM prm.health_portfolio() $$, $$ VALUES ('all', 63::numeric, 10::numeric) $$, 'or the mean of the scores');
SELECT results_eq($$ SELECT portfolio, partners FROM prm.health_portfolio('model') $$, $$ VALUES ('m', 11::bigint) $$, 'by model');
SELECT throws_ok($$ SELECT prm.health_portfolio('shoe size') $$, '22023', NULL, 'an unknown way to tell partners apart');
SELECT throws_ok($$ SELECT prm.health_portfolio('kind', '{"good": "x"}') $$, '22023', NULL, 'bands worth no number');

-- HS-008, HS-022: a hub from its members.
UPDATE prm.partner SET parent_id = 401 WHERE program_id = prm.current_program() AND partner_id IN (402, 403, 404);
UPDATE prm.metric_value SET value = CASE partner_id WHEN 401 THEN 10 ELSE 5 END WHERE program_id = prm.current_program() AND partner_id BETWEEN 401 AND 404;
UPDATE prm.health_model SET rollup = 'mean' WHERE program_id = prm.current_program();
SELECT is((SELECT score FROM prm.health(401)), 6.25, 'HS-008 mean of parent and children');
SELECT is((SELECT round(score) FROM prm.health(401)), 6::numeric, 'HS-008 as shown');
SELECT results_eq($$ SELECT group_name, metric, contribution, note FROM prm.explain_health(401) $$, $$ VALUES ('all', 'a', 10::numeric, NULL), ('members', NULL, -3.75, 'mean of 3 member(s) and its own') $$, 'HS-008 explained');
UPDATE prm.health_model SET rollup_own = false WHERE program_id = prm.current_program();
UPDATE prm.metric_value SET value = CASE partner_id WHEN 402 THEN 40 ELSE 60 END WHERE program_id = prm.current_program() AND partner_id IN (402, 403);
DELETE FROM prm.metric_value WHERE program_id = prm.current_program() AND partner_id = 404;
SELECT is((SELECT score FROM prm.health(401)), 50::numeric, 'HS-022 average of children; one without a score does not count');
SELECT is((SELECT score FROM prm.health(405)), 80::numeric, 'HS-022 who has none keeps its own');
DELETE FROM prm.metric_value WHERE program_id = prm.current_program() AND partner_id IN (402, 403);
SELECT is((SELECT score FROM prm.health(401)), 10::numeric, 'HS-022 the own score where no child qualifies');
INSERT INTO prm.metric_value (partner_id, metric, observed_at, value) VALUES (402, 'a', '2026-05-01', 40), (403, 'a', '2026-05-01', 60);
UPDATE prm.health_model SET rollup = 'minimum', rollup_own = true WHERE program_id = prm.current_program();
SELECT is((SELECT score FROM prm.health(401)), 10::numeric, 'minimum, with its own');
UPDATE prm.health_model SET rollup_own = false WHERE program_id = prm.current_program();
SELECT is((SELECT score FROM prm.health(401)), 40::numeric, 'minimum of the members');
UPDATE prm.health_model SET rollup = 'revenue_weighted' WHERE program_id = prm.current_program();
SELECT is((SELECT score FROM prm.health(401)), 50::numeric, 'by revenue: where nobody has any, the mean');
SELECT pg_temp.closed(402, NULL, 3000, '2026-03-01'), pg_temp.closed(403, NULL, 1000, '2026-03-01'), pg_temp.closed(403, NULL, 99000, '2024-03-01');
SELECT is((SELECT score FROM prm.health(401)), 45::numeric, 'by the revenue of the last 12 months');
UPDATE prm.partner SET parent_id = 403 WHERE program_id = prm.current_program() AND partner_id = 405;
UPDATE prm.health_model SET rollup = 'mean' WHERE program_id = prm.current_program();
SELECT is((SELECT score FROM prm.health(401)), 60::numeric, 'members are all those below, at any depth, with their own scores');
SELECT is((SELECT score FROM prm.health(403)), 80::numeric, 'also of a hub in between');
DELETE FROM prm.metric_value WHERE program_id = prm.current_program() AND partner_id = 401;
SELECT results_eq($$ SELECT (SELECT score FROM prm.health(401)), sum(contribution) FROM prm.explain_health(401) $$, $$ VALUES (60::numeric, 60::numeric) $$, 'a hub of which nothing is known has its members'' score');
SELECT is_empty('SELECT * FROM pg_temp.adds_up()', 'HS-019 the contributions sum to the score with members');
SELECT set_eq($$ SELECT partner_id, health_score, health_band FROM prm.v_partner WHERE program_id = prm.current_program() $$,
  $$ SELECT p.partner_id, h.score, h.band FROM prm.partner p CROSS JOIN LATERAL prm.health(p.partner_id) h WHERE p.program_id = prm.current_program() $$, 'one partner and all partners agree, with members');

-- ---- customers ------------------------------------------------------------------------------------------------------
DO $$ BEGIN PERFORM set_config('prm.program_id', prm.create_program('pgTAP customers', 'blank')::text, true); END $$;
INSERT INTO prm.metric (metric, label) VALUES ('waiting', 'hours its customers wait');
INSERT INTO prm.health_model (model, label) VALUES ('m', 'm');
INSERT INTO prm.health_metric (model, metric, group_name, how, low, high, customers) VALUES ('m', 'waiting', 'all', 'inverse', 0, 100, 'mean');
SELECT pg_temp.partner(501, 'reseller', ''), pg_temp.partner(502, 'reseller', '');
INSERT INTO prm.customer (customer_id, name) SELECT 5000 + i, 'customer ' || i FROM generate_series(1, 4) i;
SELECT pg_temp.closed(501, 5001, 3000, '2026-03-01'), pg_temp.closed(501, 5002, 1000, '2026-03-01'), pg_temp.closed(501, 5003, 1000, '2026-03-01', 'lost'), pg_temp.closed(502, 5004, 1000, '2026-03-01');
SELECT prm.record_customer_metric(5001, 'waiting', 99, '2026-01-01'), prm.record_customer_metric(5001, 'waiting', 20), prm.record_customer_metric(5002, 'waiting', 200), prm.record_customer_metric(5003, 'waiting', 0);
SELECT results_eq($$ SELECT value, normalized, note FROM prm.explain_health(501) $$, $$ VALUES (110::numeric, 40::numeric, 'mean of 2 customer(s)') $$,
  'each customer is scored before the mean is taken; the newest value counts; only customers of won deals');
SELECT is((SELECT score FROM prm.health(502)), NULL, 'customers of whom nothing is known give no score');
UPDATE prm.health_metric SET customers = 'minimum' WHERE program_id = prm.current_program();
SELECT is((SELECT score FROM prm.health(501)), 0::numeric, 'the worst customer, also where less is better');
UPDATE prm.health_metric SET customers = 'revenue_weighted' WHERE program_id = prm.current_program();
SELECT is((SELECT score FROM prm.health(501)), 60::numeric, 'by the revenue with each of them');
UPDATE prm.health_metric SET max_age = '30 days' WHERE program_id = prm.current_program();
SET LOCAL prm.clock = '2026-08-01 12:00:00+00';
SELECT is((SELECT score FROM prm.health(501)), NULL, 'values of customers may be too old as well');
SET LOCAL prm.clock = '2026-06-01 12:00:00+00';
SELECT throws_ok($$ SELECT prm.record_customer_metric(99, 'waiting', 1) $$, '42704', 'customer 99 does not exist', 'an unknown customer');
SELECT throws_ok($$ SELECT prm.record_customer_metric(5001, 'nothing', 1) $$, '42704', 'metric "nothing" does not exist', 'an unknown metric');
SELECT throws_ok($$ SELECT prm.record_customer_metric(5001, 'waiting', 'NaN') $$, '22023', NULL, 'no number');
SELECT throws_ok($$ SELECT prm.record_customer_metric(5001, 'waiting', 1, 'infinity') $$, '22023', NULL, 'no moment');

-- ---- choices --------------------------------------------------------------------------------------------------------
DO $$ BEGIN PERFORM set_config('prm.program_id', prm.create_program('pgTAP choices', 'blank')::text, true); END $$;
INSERT INTO prm.metric (metric, label) VALUES ('mood', 'How the owner sees it'), ('a', 'a');
INSERT INTO prm.health_model (model, label) VALUES ('m', 'm');
INSERT INTO prm.health_metric (model, metric, group_name, how, options) VALUES ('m', 'mood', 'all', 'choice', '{"choices": {"great": 100, "so so": 55, "awful": 5, "3": 42}}');
SELECT pg_temp.partner(600 + i, 'reseller', '') FROM generate_series(1, 4) i;
SELECT prm.record_choice(601, 'mood', 'awful', '2026-01-01'), prm.record_choice(601, 'mood', 'so so', '2026-05-01'), prm.record_choice(602, 'mood', 'great'), prm.record_metric(603, 'mood', 3.0);
SELECT results_eq($$ SELECT (prm.health(i)).score FROM generate_series(601, 604) i $$, $$ SELECT unnest('{55,100,42,NULL}'::numeric[]) $$, 'the newest answer counts, in words or as a number');
SELECT results_eq($$ SELECT choice, value, normalized FROM prm.explain_health(601) $$, $$ VALUES ('so so', NULL::numeric, 55::numeric) $$, 'and is told');
SELECT prm.record_metric(602, 'mood', 3, '2026-05-30');
SELECT is((SELECT score FROM prm.health(602)), 100::numeric, 'a number before the answer does not count');
SELECT prm.record_metric(601, 'mood', 3, '2026-05-30');
SELECT is((SELECT score FROM prm.health(601)), 42::numeric, 'one after it does');
UPDATE prm.health_metric SET knock_out_below = 50, knock_out_cap = 20 WHERE program_id = prm.current_program();
SELECT is((SELECT score FROM prm.health(603)), 20::numeric, 'a knock-out by a number');
SELECT prm.record_choice(604, 'mood', 'awful');
UPDATE prm.health_metric SET knock_out_cap = 2 WHERE program_id = prm.current_program();
SELECT is((SELECT score FROM prm.health(604)), 2::numeric, 'a knock-out by words: their score is what is compared');
UPDATE prm.health_metric SET options = '{"choices": {"great": 100}}', knock_out_below = NULL, knock_out_cap = NULL WHERE program_id = prm.current_program();
SELECT results_eq($$ SELECT choice, normalized, note FROM prm.explain_health(604) $$, $$ VALUES ('awful', NULL::numeric, 'no such choice: left out') $$, 'an answer that is no choice any more is not known');
SELECT throws_ok($$ SELECT prm.record_choice(601, 'mood', 'fine') $$, '22023', '"fine" is no choice of metric "mood"', 'no such choice');
SELECT throws_ok($$ SELECT prm.record_choice(601, 'a', 'fine') $$, '42704', 'metric "a" has no choices', 'a metric without choices');
SELECT throws_ok($$ SELECT prm.record_choice(699, 'mood', 'great') $$, '42704', 'partner 699 does not exist', 'an unknown partner');
SELECT throws_ok($$ SELECT prm.record_choice(601, 'mood', 'great', '-infinity') $$, '22023', NULL, 'no moment');

-- ---- percentiles, knock-out above, too old --------------------------------------------------------------------------
DO $$ BEGIN PERFORM set_config('prm.program_id', prm.create_program('pgTAP percentiles', 'blank')::text, true); END $$;
INSERT INTO prm.metric (metric, label, higher_is_better) VALUES ('a', 'a', true), ('breaches', 'breaches', false);
INSERT INTO prm.health_model (model, label) VALUES ('m', 'm');
INSERT INTO prm.health_metric (model, metric, group_name, how) VALUES ('m', 'a', 'all', 'percentile');
SELECT pg_temp.partner(700 + i, CASE WHEN i <= 5 THEN 'reseller' ELSE 'hub' END, 'a=' || (ARRAY[10, 20, 20, 30, 50, 1000, 2000])[i], 'breaches=' || i) FROM generate_series(1, 7) i;
SELECT pg_temp.partner(708, 'reseller', 'a=5'), pg_temp.partner(709, 'reseller', 'a=15');
SELECT pg_temp.rejected(709);
SELECT results_eq($$ SELECT round((prm.health(700 + i)).score, 4) FROM generate_series(1, 8) i $$, $$ SELECT unnest('{14.2857,35.7143,35.7143,57.1429,71.4286,85.7143,100,0}'::numeric[]) $$, 'percentile within the programme');
UPDATE prm.health_metric SET options = '{"within": "kind"}' WHERE program_id = prm.current_program();
SELECT results_eq($$ SELECT round((prm.health(700 + i)).score, 4) FROM generate_series(1, 8) i $$, $$ SELECT unnest('{20,50,50,80,100,0,100,0}'::numeric[]) $$, 'percentile within the kind');
SELECT is((SELECT note FROM prm.explain_health(704)), 'place 2 of 6', 'and is told');
UPDATE prm.metric SET higher_is_better = false WHERE program_id = prm.current_program() AND metric = 'a';
SELECT results_eq($$ SELECT round((prm.health(700 + i)).score, 4) FROM generate_series(4, 5) i $$, $$ SELECT unnest('{20,0}'::numeric[]) $$, 'percentile where less is better');
SELECT is((SELECT note FROM prm.explain_health(704)), 'place 5 of 6', 'the first place is the best');
UPDATE prm.metric SET higher_is_better = true WHERE program_id = prm.current_program() AND metric = 'a';
SELECT set_eq($$ SELECT partner_id, health_score FROM prm.v_partner WHERE program_id = prm.current_program() $$,
  $$ SELECT p.partner_id, h.score FROM prm.partner p CROSS JOIN LATERAL prm.health(p.partner_id) h WHERE p.program_id = prm.current_program() $$, 'one partner and all partners agree on percentiles');
INSERT INTO prm.health_metric (model, metric, group_name, how, low, high, knock_out_above, knock_out_cap) VALUES ('m', 'breaches', 'all', 'inverse', 0, 10, 6, 3);
SELECT results_eq($$ SELECT (prm.health(i)).score FROM generate_series(706, 707) i $$, $$ SELECT unnest('{20,3}'::numeric[]) $$, 'a knock-out above a bound, not on it');
UPDATE prm.health_metric SET max_age = '31 days' WHERE program_id = prm.current_program() AND metric = 'breaches';
SELECT is((SELECT note FROM prm.explain_health(707) WHERE metric = 'breaches'), 'too old: left out', 'a value older than the limit is missing');
SELECT is((SELECT score FROM prm.health(707)), 100::numeric, 'and knocks nobody out');

-- ---- segments -------------------------------------------------------------------------------------------------------
INSERT INTO prm.segment (segment, label) VALUES ('vip', 'VIP'), ('new', 'New');
INSERT INTO prm.health_model (model, label, segment, priority) VALUES ('vip', 'VIP', 'vip', 1), ('new', 'New', 'new', 2);
INSERT INTO prm.health_metric (model, metric, group_name, how, low, high) VALUES ('vip', 'a', 'all', 'linear', 0, 100), ('new', 'breaches', 'all', 'linear', 0, 100);
INSERT INTO prm.segment_member (segment, partner_id, valid, actor) VALUES ('vip', 703, '[2026-01-01,)', 'test'), ('vip', 704, '[2026-01-01,2026-05-01)', 'test'), ('vip', 705, '[2026-01-01,)', 'test'), ('new', 705, '[2026-01-01,)', 'test');
SELECT results_eq($$ SELECT (prm.health(i)).model FROM generate_series(702, 705) i $$, $$ SELECT unnest('{m,vip,m,new}'::text[]) $$, 'members of a segment have its model, while they are members; of several the one with the highest priority');
UPDATE prm.health_model SET partner_kind = 'reseller' WHERE program_id = prm.current_program() AND model = 'vip';
SELECT is((SELECT model FROM prm.health(705)), 'vip', 'the model for segment and kind goes before the one for the segment alone');
UPDATE prm.health_metric SET how = 'percentile', options = '{"within": "segment"}', low = NULL, high = NULL WHERE program_id = prm.current_program() AND model = 'vip';
SELECT results_eq($$ SELECT (prm.health(i)).score FROM unnest('{703,705}'::int[]) i $$, $$ SELECT unnest('{0,100}'::numeric[]) $$, 'percentile within the segment');

-- ---- aspects --------------------------------------------------------------------------------------------------------
DO $$ BEGIN PERFORM set_config('prm.program_id', prm.create_program('pgTAP aspects', 'blank')::text, true); END $$;
INSERT INTO prm.metric (metric, label) SELECT m, m FROM unnest('{a,b,c}'::text[]) m;
INSERT INTO prm.health_model (model, label) VALUES ('m', 'm');
INSERT INTO prm.health_metric (model, metric, group_name, aspect, group_weight, weight, how) VALUES ('m', 'a', 'sales', 'performance', 3, 1, 'as_is'), ('m', 'b', 'skill', 'performance', 1, 1, 'as_is'), ('m', 'c', 'trust', 'relationship', 4, 1, 'as_is');
SELECT pg_temp.partner(801, 'reseller', 'a=80', 'b=40', 'c=30'), pg_temp.partner(802, 'reseller', 'a=80');
SELECT results_eq($$ SELECT score, performance, relationship FROM prm.health(801) $$, $$ VALUES (50::numeric, 70::numeric, 30::numeric) $$, 'performance and relationship apart');
SELECT results_eq($$ SELECT score, performance, relationship FROM prm.health(802) $$, $$ VALUES (80::numeric, 80::numeric, NULL::numeric) $$, 'an aspect of which nothing is known has no score');
SELECT results_eq($$ SELECT aspect, group_name, score, coverage, contribution FROM prm.health_groups(801) $$,
  $$ VALUES ('performance', 'sales', 80::numeric, 1.000000, 30::numeric), ('performance', 'skill', 40, 1, 5), ('performance', NULL, 70, 1, 35), ('relationship', 'trust', 30, 1, 15), ('relationship', NULL, 30, 1, 15), (NULL, NULL, 50, 1, 50) $$,
  'groups, aspects and the whole');
SELECT is((SELECT round(coverage, 3) FROM prm.health_groups(802) WHERE aspect = 'performance' AND group_name IS NULL), 0.750, 'the coverage of an aspect');

SELECT * FROM finish();
ROLLBACK;
