-- Health, what holds for every model: drawn at random, but the same each time.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
CREATE FUNCTION pg_temp.draw(VARIADIC parts text[]) RETURNS numeric LANGUAGE sql AS
$$ SELECT ((hashtextextended(array_to_string(parts, '/'), 42) & 1048575) / 1048576.0)::numeric $$;

-- Six models of every kind for six kinds of partners; ten metrics each, of every way that is monotone; 20 partners each.
DO $$ BEGIN
  PERFORM set_config('prm.clock', '2026-06-01 12:00:00+00', true);
  PERFORM set_config('prm.program_id', prm.create_program('pgTAP health property', 'blank')::text, true);
END $$;
INSERT INTO prm.metric (metric, label) SELECT 'm' || i, 'm' FROM generate_series(0, 9) i;
INSERT INTO prm.partner_kind (kind, label) SELECT 'k' || i, 'k' FROM generate_series(1, 6) i;
INSERT INTO prm.health_model (model, label, partner_kind, kind, options) SELECT 'x' || i, 'x', 'k' || i, (ARRAY['weighted', 'weighted', 'weighted', 'additive', 'rules', 'rules'])[i],
  (ARRAY['{}', '{}', '{}', '{"start": 40}', '{}', '{"rule": "worst"}'])[i]::jsonb FROM generate_series(1, 6) i;
INSERT INTO prm.health_metric (model, metric, group_name, aspect, group_weight, weight, points, how, low, high, missing, half_life, knock_out_below, knock_out_cap, options)
  SELECT 'x' || i, 'm' || m, 'g' || m % 3, CASE WHEN m % 3 = 0 THEN 'relationship' ELSE 'performance' END, 1 + m % 3 * 1.7, round(pg_temp.draw('weight', i::text, m::text) * 9 + 0.1, 2), round(pg_temp.draw('points', i::text, m::text) * 12, 1),
    h.how, CASE WHEN h.how IN ('linear', 'target') THEN 10 END, CASE WHEN h.how = 'linear' THEN 90 END, (ARRAY['skip', 'zero', 'neutral'])[1 + (i + m) % 3],
    CASE WHEN i = 2 AND m % 4 = 0 THEN interval '40 days' END, CASE WHEN i = 3 AND m = 5 THEN 20 END, CASE WHEN i = 3 AND m = 5 THEN 35 END,
    CASE h.how WHEN 'step' THEN '{"steps": [{"from": 0, "score": 10}, {"from": 30, "score": 55.5}, {"from": 70, "score": 100}]}' WHEN 'target' THEN '{"target": 60, "tolerance": 5}' ELSE '{}' END::jsonb
  FROM generate_series(1, 6) i CROSS JOIN generate_series(0, 9) m CROSS JOIN LATERAL (SELECT (ARRAY['linear', 'as_is', 'step', 'target', 'percentile'])[1 + (i * 3 + m) % CASE WHEN i = 1 THEN 4 ELSE 5 END] AS how) h;
INSERT INTO prm.health_band (model, band, lower, rank) SELECT 'x' || i, b.band, b.lower, b.rank FROM generate_series(1, 6) i CROSS JOIN (VALUES ('red', 0, 1), ('yellow', 40, 2), ('green', 70, 3)) b(band, lower, rank);
INSERT INTO prm.partner (partner_id, name, kind, parent_id) SELECT i * 100 + p, 'p', 'k' || i, CASE WHEN p > 12 THEN i * 100 + 1 END FROM generate_series(1, 6) i CROSS JOIN generate_series(1, 14) p ORDER BY 1;
INSERT INTO prm.metric_value (partner_id, metric, observed_at, value) SELECT p.partner_id, 'm' || m, '2026-05-01', round(pg_temp.draw('value', p.partner_id::text, m::text) * 110, 2)
  FROM prm.partner p CROSS JOIN generate_series(0, 9) m WHERE p.program_id = prm.current_program() AND pg_temp.draw('known', p.partner_id::text, m::text) < 0.8;
CREATE TEMP TABLE before AS SELECT h.partner_id, h.score, h.band, h.coverage, h.performance, h.relationship, h.parts FROM prm._health_scores(prm.current_program(), NULL, prm.now(), true) h;
SELECT cmp_ok((SELECT count(DISTINCT round(score, 6)) FROM before), '>', 50::bigint, 'the scores differ');
SELECT is_empty($$ SELECT * FROM before WHERE NOT (score >= 0 AND score <= 100 AND coverage >= 0 AND coverage <= 1) $$, 'scores lie in 0 to 100');

SELECT is_empty($$ SELECT b.partner_id, b.score, e.total FROM before b CROSS JOIN LATERAL (SELECT sum(e.contribution) AS total FROM prm.explain_health(b.partner_id) e) e WHERE e.total IS DISTINCT FROM b.score $$,
  'HS-019 the contributions sum to the score, in every kind of model');
SELECT is_empty($$ SELECT b.partner_id FROM before b CROSS JOIN LATERAL (SELECT sum(v.value::numeric) AS total FROM jsonb_each_text(b.parts) v) e WHERE e.total IS DISTINCT FROM b.score $$, 'and so do the parts that a snapshot keeps');
SELECT is_empty($$ SELECT b.partner_id FROM before b JOIN prm.partner p USING (partner_id) CROSS JOIN LATERAL (SELECT sum(e.share) AS shares FROM prm.explain_health(b.partner_id) e) e
  WHERE p.program_id = prm.current_program() AND p.kind <> 'k4' AND abs(e.shares - 1) > 1e-9 $$, 'the shares sum to 1');
SELECT is_empty($$ SELECT b.partner_id FROM before b CROSS JOIN LATERAL (SELECT sum(g.contribution) FILTER (WHERE g.group_name IS NOT NULL) AS groups, sum(g.contribution) FILTER (WHERE g.group_name IS NULL AND g.aspect IS NOT NULL) AS aspects
    FROM prm.health_groups(b.partner_id) g) g WHERE g.groups IS DISTINCT FROM g.aspects $$, 'groups sum to aspects');
SELECT is_empty($$ SELECT b.partner_id FROM before b CROSS JOIN LATERAL prm.health(b.partner_id) h WHERE (h.score, h.band, h.coverage, h.performance, h.relationship) IS DISTINCT FROM (b.score, b.band, b.coverage, b.performance, b.relationship) $$,
  'one partner and all partners agree');

-- The same model, its rows written in another order.
CREATE TEMP TABLE kept AS SELECT * FROM prm.health_metric WHERE program_id = prm.current_program();
DELETE FROM prm.health_metric WHERE program_id = prm.current_program();
INSERT INTO prm.health_metric SELECT * FROM kept ORDER BY metric DESC, model;
SELECT is_empty($$ SELECT b.partner_id FROM before b FULL JOIN prm._health_scores(prm.current_program(), NULL, prm.now(), true) h USING (partner_id) WHERE (h.score, h.band, h.coverage, h.parts) IS DISTINCT FROM (b.score, b.band, b.coverage, b.parts) $$,
  'the order of definition does not matter');

-- The aggregate, over the plain rows of the metrics, says what health() says.
SELECT is_empty($$ SELECT p.partner_id, h.score, a.score FROM prm.partner p CROSS JOIN LATERAL prm.health(p.partner_id) h
    CROSS JOIN LATERAL (SELECT prm.score_metrics(v.metric, v.value, prm.health_definition('x1')) AS score FROM prm.metric_value v WHERE v.program_id = prm.current_program() AND v.partner_id = p.partner_id) a
    WHERE p.program_id = prm.current_program() AND p.kind = 'k1' AND abs(a.score - h.score) > 1e-11 OR (a.score IS NULL) <> (h.score IS NULL) AND p.program_id = prm.current_program() AND p.kind = 'k1' $$,
  'score_metrics() and health() agree');
SELECT cmp_ok((SELECT count(*) FROM prm.health_metric WHERE program_id = prm.current_program() AND model = 'x1' AND missing <> 'skip'), '>', 3::bigint, 'also where missing metrics count');
UPDATE prm.health_metric SET knock_out_below = 40, knock_out_cap = 33 WHERE program_id = prm.current_program() AND model = 'x1' AND metric = 'm2';
UPDATE prm.health_metric SET knock_out_above = 90, knock_out_cap = 11 WHERE program_id = prm.current_program() AND model = 'x1' AND metric = 'm3';
SELECT is_empty($$ SELECT p.partner_id FROM prm.partner p CROSS JOIN LATERAL prm.health(p.partner_id) h
    CROSS JOIN LATERAL (SELECT prm.score_metrics(v.metric, v.value, prm.health_definition('x1')) AS score FROM prm.metric_value v WHERE v.program_id = prm.current_program() AND v.partner_id = p.partner_id) a
    WHERE p.program_id = prm.current_program() AND p.kind = 'k1' AND abs(a.score - h.score) > 1e-11 $$, 'and on knock-outs');
SELECT cmp_ok((SELECT count(*) FROM prm.partner p CROSS JOIN LATERAL prm.health(p.partner_id) h WHERE p.program_id = prm.current_program() AND p.kind = 'k1' AND h.score IN (11, 33)), '>', 4::bigint, 'of which there were some');
SELECT throws_ok(format($$ SELECT prm.score_metrics('m1', 1, prm.health_definition(%L)) $$, m), '22023', 'this is no health model that score_metrics can use', 'score_metrics refuses ' || m) FROM unnest('{x2,x4,x5}'::text[]) m;
SELECT throws_ok(format($$ SELECT prm.score_metrics('a', 1, %L) $$, d), '22023', NULL, 'no model: ' || d)
  FROM unnest(ARRAY['{}', '[]', '3', '{"metrics": 3}', '{"metrics": [3]}', '{"metrics": [{}]}', '{"metrics": [{"metric": "a", "group_name": "g"}]}', '{"metrics": [{"metric": "a", "group_name": "g", "how": "as_is", "weight": 0}]}',
    '{"metrics": [{"metric": "a", "group_name": "g", "how": "as_is", "weight": "x"}]}', '{"metrics": [{"metric": "a", "group_name": "g", "how": "as_is"}, {"metric": "a", "group_name": "g", "how": "as_is"}]}',
    '{"metrics": [{"metric": "a", "group_name": "g", "how": "as_is", "customers": "mean"}]}']) d;
SELECT throws_ok($$ SELECT prm.score_metrics('a', 1, NULL) $$, '22023', 'score_metrics needs a model', 'no model at all');
SELECT is((SELECT prm.score_metrics(m, v, '{"metrics": [{"metric": "a", "group_name": "g", "how": "as_is"}]}') FROM (VALUES ('b', 1::numeric), (NULL, 2), ('a', NULL)) x(m, v)), NULL, 'nothing that the model knows: no score');
SELECT throws_ok($$ SELECT prm._score_metrics_final('\x0011') $$, '22023', 'the state of score_metrics is not its own', 'a foreign state is refused');
SELECT is(prm._score_metrics_final(prm._score_metrics_combine(prm._score_metrics_add(NULL, 'm1', 50, d), prm._score_metrics_add(NULL, 'm2', 70, d))), (SELECT prm.score_metrics(m, v, d) FROM (VALUES ('m1', 50::numeric), ('m2', 70)) x(m, v)), 'two halves combine to the whole')
  FROM prm.health_definition('x1') d;
SELECT is((SELECT prm.score_metrics('a', 10 * i, format('{"metrics": [{"metric": "a", "group_name": "g", "how": "linear", "low": 0, "high": %s}]}', 100 * i)::jsonb) FROM generate_series(1, 1) i), 10::numeric, 'one model');
SELECT results_eq($$ SELECT prm.score_metrics('a', 10, format('{"metrics": [{"metric": "a", "group_name": "g", "how": "linear", "low": 0, "high": %s}]}', 20 * i)::jsonb) FROM generate_series(1, 5) i GROUP BY i ORDER BY i $$,
  $$ SELECT unnest('{50,25,16.6666666666667,12.5,10}'::numeric[]) $$, 'a model of its own for each group');
SELECT is((SELECT count(*) FROM pg_aggregate a JOIN pg_proc p ON p.oid = a.aggfnoid WHERE p.proname = 'score_metrics' AND p.proparallel = 's' AND a.aggcombinefn <> 0), 1::bigint, 'score_metrics may be computed in parallel');

-- More is never worse, in every metric in which more is better: half-life, knock-outs, percentiles and rules included. (Above a
-- target more is worse by definition, so these have an open side here; who is without a value may lose by the first one.)
CREATE TEMP TABLE base AS SELECT h.partner_id, h.score FROM prm._health_scores(prm.current_program(), NULL, prm.now()) h;
UPDATE prm.health_metric SET knock_out_above = NULL, knock_out_cap = NULL WHERE program_id = prm.current_program() AND knock_out_above IS NOT NULL;
DO $$
DECLARE
  metric_no integer;
BEGIN
  CREATE TEMP TABLE worse (partner_id bigint, metric text, before numeric, after numeric);
  CREATE TEMP TABLE gained (partner_id bigint);
  FOR metric_no IN 0 .. 9 LOOP
    DELETE FROM base;
    INSERT INTO base SELECT h.partner_id, h.score FROM prm._health_scores(prm.current_program(), NULL, prm.now()) h;
    -- One partner of each kind at a time: a percentile falls when others rise.
    UPDATE prm.metric_value v SET value = value + 5 + metric_no * 3 WHERE v.program_id = prm.current_program() AND v.metric = 'm' || metric_no AND v.partner_id % 100 = 3 + metric_no;
    INSERT INTO worse SELECT b.partner_id, 'm' || metric_no, b.score, h.score FROM base b JOIN prm._health_scores(prm.current_program(), NULL, prm.now()) h USING (partner_id)
      WHERE b.partner_id % 100 = 3 + metric_no AND h.score < b.score;
    INSERT INTO gained SELECT b.partner_id FROM base b JOIN prm._health_scores(prm.current_program(), NULL, prm.now()) h USING (partner_id) WHERE h.score > b.score;
  END LOOP;
END $$;
SELECT is_empty('SELECT * FROM worse', 'a metric that rises never lowers the score');
SELECT cmp_ok((SELECT count(*) FROM gained), '>', 15::bigint, 'and often raises it');

-- Twice is once.
SELECT prm.refresh_health();
CREATE TEMP TABLE shot AS SELECT * FROM prm.health_snapshot WHERE program_id = prm.current_program();
SELECT prm.refresh_health();
SELECT set_eq($$ SELECT * FROM prm.health_snapshot WHERE program_id = prm.current_program() $$, 'SELECT * FROM shot', 'refresh_health() twice is refresh_health() once');

SELECT * FROM finish();
ROLLBACK;
