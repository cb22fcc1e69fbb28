-- What certificate_impact() foretells, by chance: in programmes with tracks, scores, approvals, pins, caps, inherited and bought
-- tiers and enrolments that end, the tiers that it says fall on a day are those that an evaluation finds short from that day on.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
\ir tier.psql
SELECT no_plan();

CREATE FUNCTION pg_temp.world(the_seed double precision) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_temp.at('2026-03-02 12:00+01');
  PERFORM pg_temp.programme(format('impact %s', the_seed));
  PERFORM pg_temp.metrics('a');
  PERFORM setseed(the_seed);
  INSERT INTO prm.certification (certification, label) VALUES ('sales', 'Sales'), ('tech', 'Tech'), ('rare', 'Rare');
  INSERT INTO prm.metric (metric, label, source, measure, certification) VALUES ('people', 'People', 'built_in', 'certified_people', NULL), ('sales_people', 'Sales people', 'built_in', 'certified_people', 'sales'),
    ('tech_people', 'Technicians', 'built_in', 'certified_people', 'tech'), ('coverage', 'Coverage', 'built_in', 'training_coverage', NULL), ('tech_coverage', 'Coverage', 'built_in', 'training_coverage', 'tech');
  INSERT INTO prm.ladder (ladder, label) VALUES ('heirs', 'Heirs'), ('bought', 'Bought');
  INSERT INTO prm.tier (ladder, tier, rank, label, needs_approval) SELECT l, l || t, t, l || t, t = 3 AND random() < 0.5 FROM unnest('{main,heirs,bought}'::text[]) l CROSS JOIN generate_series(1, 4) t ORDER BY l, t;
  -- Whoever inherits takes the tier as the parent holds it, so that there nobody rises or falls by himself.
  INSERT INTO prm.tier_policy (ladder, promotion, review, grace, entry_tier, inherits) VALUES
    ('main', 'at_once', '0', CASE WHEN random() < 0.5 THEN interval '0' ELSE interval '1 month' END, CASE WHEN random() < 0.5 THEN 'main1' END, 'none'),
    ('heirs', 'approval', '0', '10 years', NULL, 'parent'), ('bought', 'at_once', '0', '0', NULL, 'none');
  CREATE TEMP TABLE wanted ON COMMIT DROP AS
    SELECT l AS ladder, l || t AS tier, format('track %s', k) AS track, m.metric, round((CASE WHEN m.metric LIKE '%coverage' THEN least(t * 0.3 * random(), 1) WHEN m.metric = 'a' THEN 12 * t * random() ELSE 0.5 + t * random() END)::numeric, 2) AS threshold,
      random() < 0.3 AS keeps, round((1 + random() * 30)::numeric, 2) AS weight, CASE WHEN random() < 0.15 THEN 0.5 END AS floor, CASE WHEN random() < 0.3 THEN 'either' END AS alternative_group,
      CASE WHEN min(random()) OVER (PARTITION BY l, t, k) < 0.1 THEN 'score' ELSE 'all' END AS mode, min(10 + random() * 30) OVER (PARTITION BY l, t, k) AS mark
    FROM unnest('{main,heirs,bought}'::text[]) l CROSS JOIN generate_series(1, 4) t CROSS JOIN generate_series(1, 2) k CROSS JOIN unnest('{a,people,sales_people,tech_people,coverage,tech_coverage}'::text[]) AS m(metric)
    WHERE random() < 0.35;
  INSERT INTO prm.tier_track (ladder, tier, track, mode, mark) SELECT DISTINCT ladder, tier, track, mode, round(mark::numeric, 2) FROM wanted WHERE mode = 'score';
  INSERT INTO prm.tier_requirement (ladder, tier, track, metric, threshold, keep_threshold, weight, floor, alternative_group)
    SELECT ladder, tier, track, metric, threshold, CASE WHEN keeps THEN threshold / 2 END, weight, floor, alternative_group FROM wanted;
  DROP TABLE wanted;
  INSERT INTO prm.tier_market (country, metric, value_multiplier, threshold_multiplier) VALUES ('IN', NULL, 1, 0.5), ('IN', 'people', 2, 1);
  INSERT INTO prm.product (product, label) SELECT 'grade ' || t, 'Grade' FROM generate_series(2, 4) t;
  INSERT INTO prm.tier_product (product, ladder, tier, lasts) SELECT 'grade ' || t, 'bought', 'bought' || t, make_interval(days => 30 + (random() * 300)::int) FROM generate_series(2, 4) t;
  INSERT INTO prm.partner (partner_id, name, country, parent_id) SELECT i, 'p' || i, CASE WHEN i % 5 = 0 THEN 'IN' END, CASE WHEN i > 10 THEN 1 + i % 10 END FROM generate_series(1, 24) i;
  PERFORM prm.record_metric(i, 'a', round((random() * 50)::numeric, 2)) FROM generate_series(1, 24) i;
  INSERT INTO prm.partner_user (partner_user_id, partner_id, name, is_active) SELECT p * 10 + u, p, 'u', random() < 0.9 FROM generate_series(1, 24) p CROSS JOIN generate_series(1, 4) u WHERE random() < 0.8;
  INSERT INTO prm.certificate (partner_user_id, certification, issued_on, valid_until)
    SELECT u.partner_user_id, c.name, d.day, CASE WHEN d.luck < 0.85 THEN greatest(d.day, '2026-01-01'::date + (d.day - '2026-01-01'::date + (20 + d.luck * 400)::int) / 11 * 11) END
    FROM prm.partner_user u CROSS JOIN unnest('{sales,tech,sales,rare}'::text[]) AS c(name)
    CROSS JOIN LATERAL (SELECT '2026-03-02'::date + (random() * 420 + u.partner_user_id * 0 - 330)::int AS day, random() AS luck, random() AS chosen OFFSET 0) d
    WHERE u.program_id = prm.current_program() AND d.chosen < 0.6;
  PERFORM pg_temp.win(i, 100, 'grade ' || (2 + i % 3)) FROM generate_series(1, 24) i WHERE random() < 0.4;
  PERFORM pg_temp.evaluate();
  -- Some hold what is approved, pinned or set by hand, some are capped, for some it ends.
  PERFORM prm.approve_tier(a.tier_approval_id) FROM prm.tier_approval a WHERE a.program_id = prm.current_program() AND a.state = 'open' AND random() < 0.7;
  PERFORM prm.pin_tier(i, 'main' || (1 + i % 4), '2026-03-02 14:30+01'::timestamptz + make_interval(days => (random() * 300)::int), 'by chance') FROM generate_series(1, 24) i WHERE random() < 0.25;
  PERFORM prm.set_tier_cap(i, 'heirs' || (1 + i % 2), '2026-03-02 15:30+01'::timestamptz + make_interval(days => (random() * 300)::int), 'by chance', '{"ladder": "heirs"}') FROM generate_series(1, 10) i WHERE random() < 0.4;
  PERFORM prm.enrol_partner(i, 'main', '2026-01-01 00:00+01', '2026-03-02 16:30+01'::timestamptz + make_interval(days => (random() * 300)::int)) FROM generate_series(1, 24) i WHERE random() < 0.2;
  PERFORM pg_temp.evaluate();
END $$;
CREATE TEMP TABLE said (round int, partner_id bigint, ladder text, day date, to_tier text) ON COMMIT DROP;
CREATE TEMP TABLE found (LIKE said) ON COMMIT DROP;
CREATE TEMP TABLE looked (round int, day date, ladders bigint) ON COMMIT DROP;
DO $$
DECLARE r int; d date;
BEGIN
  FOR r IN 1 .. coalesce(nullif(current_setting('pgtap.rounds', true), '')::int, 3) LOOP
    PERFORM pg_temp.world(r / 40.0);
    INSERT INTO said SELECT DISTINCT r, i.partner_id, i.ladder, i.lapses_on, i.to_tier FROM prm.certificate_impact() i WHERE i.tier_falls;
    -- The clock is moved to the last moment with each certificate, and to the first without it.
    FOR d IN SELECT DISTINCT c.valid_until + 1 FROM prm.certificate c WHERE c.program_id = prm.current_program() AND c.valid_until >= '2026-03-02' ORDER BY 1 LOOP
      CREATE TEMP TABLE ends ON COMMIT DROP AS SELECT DISTINCT u.partner_id FROM prm.certificate c JOIN prm.partner_user u ON u.program_id = prm.current_program() AND u.partner_user_id = c.partner_user_id AND u.is_active
        WHERE c.program_id = prm.current_program() AND c.valid_until + 1 = d;
      PERFORM set_config('prm.clock', ((d::timestamp AT TIME ZONE 'Europe/Berlin') - interval '1 microsecond')::text, true);
      CREATE TEMP TABLE before ON COMMIT DROP AS SELECT e.* FROM prm.evaluate_tiers(dry_run => true) e;
      PERFORM set_config('prm.clock', (d::timestamp AT TIME ZONE 'Europe/Berlin')::text, true);
      INSERT INTO found SELECT r, a.partner_id, a.ladder, d, a.qualified FROM prm.evaluate_tiers(dry_run => true) a JOIN before b USING (partner_id, ladder) JOIN ends USING (partner_id)
        WHERE a.held IS NOT NULL AND a.outcome IN ('at_risk', 'grace', 'demote') AND b.outcome NOT IN ('at_risk', 'grace', 'demote');
      INSERT INTO looked SELECT r, d, count(*) FROM before;
      DROP TABLE ends, before;
    END LOOP;
  END LOOP;
END $$;
SELECT cmp_ok((SELECT count(DISTINCT (round, ladder)) FROM found), '>=', 4::bigint, 'tiers fall in many of these programmes');
SELECT cmp_ok((SELECT count(*) FROM found), '>=', 12::bigint, 'and often');
SELECT is_empty($$ TABLE found EXCEPT TABLE said ORDER BY 1, 2, 3, 4 $$, 'what falls was foretold, with the tier that is left');
SELECT is_empty($$ TABLE said EXCEPT TABLE found ORDER BY 1, 2, 3, 4 $$, 'and what was foretold falls');
SELECT * FROM finish();
ROLLBACK;
