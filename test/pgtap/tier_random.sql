-- Tiers by chance: whatever the ladder asks, more of what is good never lowers a tier, the order of definition means nothing,
-- twice is once, and the set at once finds what each partner alone does.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
\ir tier.psql
SELECT no_plan();

-- A programme with a ladder of five tiers by chance: both modes, tracks, alternatives, floors, markets, both directions.
CREATE FUNCTION pg_temp.ladder(the_seed double precision, the_order text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_temp.programme(format('random %s %s', the_seed, the_order));
  PERFORM pg_temp.metrics('a', 'b', 'c');
  INSERT INTO prm.metric (metric, label, higher_is_better) VALUES ('bad', 'Bad', false);
  PERFORM setseed(the_seed);
  CREATE TEMP TABLE wanted ON COMMIT DROP AS
    SELECT format('t%s', t) AS tier, t AS rank, format('track %s', k) AS track, m.metric, CASE WHEN m.metric = 'bad' THEN '<=' ELSE '>=' END AS op,
      CASE WHEN m.metric = 'bad' THEN round((60 - 10 * t + random() * 20)::numeric, 2) ELSE round((10 * t * random())::numeric, 2) END AS threshold, round((random() * 30)::numeric, 2) AS weight,
      CASE WHEN random() < 0.3 THEN round((random() * 5)::numeric, 2) + CASE WHEN m.metric = 'bad' THEN 90 ELSE 0 END END AS floor, random() < 0.7 AS is_capped, CASE WHEN random() < 0.3 THEN 'either' END AS alternative_group,
      min(CASE WHEN random() < 0.5 THEN 'score' ELSE 'all' END) OVER (PARTITION BY t, k) AS mode, min(round((random() * 40)::numeric, 2)) OVER (PARTITION BY t, k) AS mark
    FROM generate_series(1, 5) t CROSS JOIN generate_series(1, 2) k CROSS JOIN unnest('{a,b,c,bad}'::text[]) AS m(metric) WHERE random() < 0.7;
  EXECUTE format('INSERT INTO prm.tier (tier, rank, label) SELECT tier, rank, tier FROM (SELECT DISTINCT tier, rank FROM wanted) w ORDER BY rank %s', the_order);
  EXECUTE format('INSERT INTO prm.tier_track (tier, track, mode, mark) SELECT tier, track, mode, mark FROM (SELECT DISTINCT tier, track, mode, mark FROM wanted) w ORDER BY rank() OVER (ORDER BY tier, track) %s', the_order);
  EXECUTE format('INSERT INTO prm.tier_requirement (tier, track, metric, op, threshold, weight, floor, is_capped, alternative_group) SELECT tier, track, metric, op, threshold, weight, floor, is_capped, alternative_group
    FROM wanted ORDER BY rank %1$s, track %1$s, metric %1$s', the_order);
  INSERT INTO prm.tier_market (country, value_multiplier, threshold_multiplier) VALUES ('IN', 2, 0.5);
  DROP TABLE wanted;
  INSERT INTO prm.partner (partner_id, name, country) SELECT i, 'p' || i, CASE WHEN i % 5 = 0 THEN 'IN' END FROM generate_series(1, 30) i;
  PERFORM setseed(the_seed);
  PERFORM prm.record_metric(i, m, round((random() * 60)::numeric, 2)) FROM (SELECT i, m, random() AS luck FROM generate_series(1, 30) i CROSS JOIN unnest('{a,b,c,bad}'::text[]) m ORDER BY i, m) x WHERE luck < 0.9;
END $$;
CREATE TEMP TABLE found (round int, the_order text, partner_id bigint, qualified text, outcome text) ON COMMIT DROP;
CREATE TEMP TABLE fault (round int, what text, partner_id bigint) ON COMMIT DROP;
DO $$
DECLARE r int; o text; p bigint; m text; before int; after int; h bigint;
BEGIN
  FOR r IN 1 .. 6 LOOP
    FOREACH o IN ARRAY '{ASC,DESC}'::text[] LOOP
      PERFORM pg_temp.ladder(r / 20.0, o);
      INSERT INTO found SELECT r, o, e.partner_id, e.qualified, e.outcome FROM prm.evaluate_tiers(dry_run => true) e;
    END LOOP;
    -- Each alone finds what all at once do.
    INSERT INTO fault SELECT r, 'alone', f.partner_id FROM found f CROSS JOIN LATERAL prm.evaluate_tiers(f.partner_id, dry_run => true) e
      WHERE f.round = r AND f.the_order = 'DESC' AND (e.qualified, e.outcome) IS DISTINCT FROM (f.qualified, f.outcome);
    -- The gap agrees: the highest tier with a track that is met is the one that an evaluation finds.
    INSERT INTO fault SELECT r, 'gap', f.partner_id FROM found f
      WHERE f.round = r AND f.the_order = 'DESC' AND f.partner_id <= 12 AND f.qualified IS DISTINCT FROM (
        SELECT t.tier FROM prm.tier t WHERE t.program_id = prm.current_program() AND EXISTS (
          SELECT 1 FROM (SELECT g.track, coalesce(g.alternative_group, g.metric) AS item, bool_or(g.met) AS met, bool_or(g.metric = 'score') AS is_score
                         FROM prm.tier_gap(f.partner_id, t.tier) g GROUP BY 1, 2) i
          GROUP BY i.track HAVING CASE WHEN bool_or(i.is_score) THEN bool_or(i.met) FILTER (WHERE i.is_score) ELSE bool_and(i.met) END)
        ORDER BY t.rank DESC LIMIT 1);
    -- What the gap shows of each requirement, the best of each group of alternatives, sums to the score.
    INSERT INTO fault SELECT r, 'sum', f.partner_id FROM found f CROSS JOIN prm.tier t CROSS JOIN LATERAL (
        SELECT i.track, sum(i.points) FILTER (WHERE i.item <> 'score') AS points, max(i.points) FILTER (WHERE i.item = 'score') AS score
        FROM (SELECT g.track, coalesce(g.alternative_group, g.metric) AS item, max(g.points) AS points FROM prm.tier_gap(f.partner_id, t.tier) g WHERE g.points IS NOT NULL GROUP BY 1, 2) i GROUP BY i.track) x
      WHERE f.round = r AND f.the_order = 'DESC' AND f.partner_id <= 12 AND t.program_id = prm.current_program() AND abs(x.points - x.score) > 0.000000001;
    -- What one finds the other makes true, once.
    PERFORM pg_temp.evaluate();
    SELECT count(*) INTO h FROM prm.tier_history x WHERE x.program_id = prm.current_program();
    IF EXISTS (SELECT 1 FROM prm.evaluate_tiers(options => '{"changed": true}')) OR h <> (SELECT count(*) FROM prm.tier_history x WHERE x.program_id = prm.current_program()) THEN
      INSERT INTO fault VALUES (r, 'twice', NULL);
    END IF;
    -- More of what is good, or less of what is bad, never lowers what is met.
    FOR p IN 1 .. 30 LOOP
      FOREACH m IN ARRAY '{a,b,c,bad}'::text[] LOOP
        SELECT t.rank INTO before FROM prm.evaluate_tiers(p, dry_run => true) e LEFT JOIN prm.tier t ON t.program_id = prm.current_program() AND t.tier = e.qualified;
        PERFORM prm.record_metric(p, m, coalesce((SELECT v.value FROM prm.partner_metrics(p) v WHERE v.metric = m), CASE m WHEN 'bad' THEN 60 ELSE 0 END) + (1 + p % 17) * CASE m WHEN 'bad' THEN -1 ELSE 1 END);
        SELECT t.rank INTO after FROM prm.evaluate_tiers(p, dry_run => true) e LEFT JOIN prm.tier t ON t.program_id = prm.current_program() AND t.tier = e.qualified;
        IF coalesce(after, 0) < coalesce(before, 0) THEN INSERT INTO fault VALUES (r, 'monotone ' || m, p); END IF;
        EXIT WHEN r > 2;
      END LOOP;
    END LOOP;
  END LOOP;
END $$;
SELECT cmp_ok((SELECT count(DISTINCT (round, qualified)) FROM found WHERE qualified IS NOT NULL), '>=', 10::bigint, 'the ladders by chance tell partners apart');
SELECT is_empty($$ SELECT a.round, a.partner_id, a.qualified, d.qualified FROM found a JOIN found d USING (round, partner_id) WHERE a.the_order = 'ASC' AND d.the_order = 'DESC' AND a.qualified IS DISTINCT FROM d.qualified $$,
  'the order of definition does not matter');
SELECT is_empty($$ SELECT * FROM fault WHERE what = 'alone' $$, 'all at once and each alone find the same');
SELECT is_empty($$ SELECT * FROM fault WHERE what = 'gap' $$, 'the gap agrees with the evaluation');
SELECT is_empty($$ SELECT * FROM fault WHERE what = 'sum' $$, 'the rows of the gap sum to the score');
SELECT is_empty($$ SELECT * FROM fault WHERE what = 'twice' $$, 'evaluated twice is evaluated once');
SELECT is_empty($$ SELECT * FROM fault WHERE what LIKE 'monotone%' $$, 'promotion is monotone in every metric');

SELECT * FROM finish();
ROLLBACK;
