-- Time travel by chance: some hundred days with values that come, change and are known in advance, with pins, missed days and looks
-- repeated, judged by a second engine of thirty lines that knows nothing of the first. Then every range that the walk left behind.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
\ir tier.psql
SELECT no_plan();

CREATE TEMP TABLE walker (partner_id bigint PRIMARY KEY, held int NOT NULL DEFAULT 0, standing text NOT NULL DEFAULT 'active', effective date, at_risk date, grace date, review date, pinned timestamptz) ON COMMIT DROP;
CREATE TEMP TABLE seen (round int, day date, moment timestamptz, partner_id bigint, held int, moved boolean) ON COMMIT DROP;
CREATE TEMP TABLE known (partner_id bigint, moment timestamptz, value numeric) ON COMMIT DROP;
CREATE TEMP TABLE fault (round int, day date, what text, partner_id bigint, have text, want text) ON COMMIT DROP;

DO $$
DECLARE
  r int; i bigint; d date; k int; the_moment timestamptz; v numeric; met int; was int; n bigint; w walker;
  need numeric[] := '{10,30,60,80}'; keep numeric[] := '{5,30,45,70}'; term int; grace int;
BEGIN
  FOR r IN 1 .. 3 LOOP
    PERFORM setseed(r / 7.0);
    term := (ARRAY[0, 30, 60])[r]; grace := (ARRAY[7, 14, 0])[r];
    PERFORM pg_temp.at('2026-01-15 12:00+01');
    PERFORM pg_temp.programme('walk ' || r), pg_temp.metrics('m');
    INSERT INTO prm.tier (tier, rank, label) SELECT 't' || x, 10 * x, 'T' FROM generate_series(1, 4) x ORDER BY random();
    INSERT INTO prm.tier_policy (review, grace) VALUES (term * interval '1 day', grace * interval '1 day');
    INSERT INTO prm.tier_requirement (tier, metric, threshold, keep_threshold) SELECT 't' || x, 'm', need[x], keep[x] FROM generate_series(1, 4) x;
    INSERT INTO prm.benefit (tier, benefit, kind, value) SELECT 't' || x, 'level', 'discount', x::text FROM generate_series(1, 4) x UNION ALL VALUES ('t2', 'desk', 'other', 'yes'), ('t3', 'desk', 'other', 'yes'), ('t4', 'desk', 'other', 'gold');
    INSERT INTO prm.partner (partner_id, name) SELECT x, 'p' FROM generate_series(1, 6) x;
    TRUNCATE walker, known;
    INSERT INTO walker (partner_id) SELECT x FROM generate_series(1, 6) x;
    FOR k IN 0 .. 79 LOOP
      CONTINUE WHEN k > 0 AND random() < 0.15;                                  -- a day on which no job ran
      d := DATE '2026-01-15' + k; the_moment := (d + time '12:00') AT TIME ZONE 'Europe/Berlin';
      PERFORM set_config('prm.clock', the_moment::text, true);
      FOR i IN 1 .. 6 LOOP
        IF random() < 0.12 THEN
          -- Sometimes it is known before it holds.
          INSERT INTO known SELECT i, the_moment + CASE WHEN random() < 0.2 THEN interval '9 days' ELSE interval '0' END, round((random() * 100)::numeric, 1);
          PERFORM prm.record_metric(x.partner_id, 'm', x.value, x.moment) FROM known x WHERE x.partner_id = i ORDER BY ctid DESC LIMIT 1;
        END IF;
        IF random() < 0.01 THEN
          met := 1 + floor(random() * 4)::int;
          PERFORM prm.pin_tier(i, 't' || met, the_moment + interval '5 days', 'by chance');
          UPDATE walker x SET held = met, effective = CASE WHEN x.held <> met THEN d ELSE x.effective END, pinned = the_moment + interval '5 days', standing = 'active', at_risk = NULL, grace = NULL, review = NULL WHERE x.partner_id = i;
        END IF;
      END LOOP;
      PERFORM pg_temp.evaluate();
      -- The second engine.
      FOR w IN SELECT * FROM walker LOOP
        SELECT x.value INTO v FROM known x WHERE x.partner_id = w.partner_id AND x.moment <= the_moment ORDER BY x.moment DESC, x.ctid DESC LIMIT 1;
        was := w.held;
        met := coalesce((SELECT max(x) FROM generate_series(1, 4) x WHERE v >= CASE WHEN x <= w.held THEN keep[x] ELSE need[x] END), 0);
        IF w.pinned > the_moment THEN
          NULL;
        ELSIF met >= w.held THEN
          IF met > w.held THEN w.effective := d; END IF;
          w.held := met; w.standing := 'active'; w.at_risk := NULL; w.grace := NULL; w.review := NULL;
        ELSE
          IF w.standing = 'active' THEN
            w.at_risk := d; w.review := greatest(d + grace, w.effective + term); w.grace := greatest(d + 1, w.review - grace);
          END IF;
          IF d >= w.review THEN
            w.held := met; w.effective := d; w.standing := 'active'; w.at_risk := NULL; w.grace := NULL; w.review := NULL;
          ELSE
            w.standing := CASE WHEN d >= w.grace THEN 'grace' ELSE 'at_risk' END;
          END IF;
        END IF;
        UPDATE walker x SET (held, standing, effective, at_risk, grace, review) = (w.held, w.standing, w.effective, w.at_risk, w.grace, w.review) WHERE x.partner_id = w.partner_id;
        INSERT INTO seen VALUES (r, d, the_moment, w.partner_id, w.held, w.held <> was);
      END LOOP;
      INSERT INTO fault SELECT r, d, 'standing', x.partner_id, concat_ws(' ', e.tier, e.standing, e.effective_on, e.at_risk_on, e.grace_on, e.review_on, p.tier),
          concat_ws(' ', 't' || nullif(x.held, 0), x.standing, x.effective, x.at_risk, x.grace, x.review, 't' || nullif(x.held, 0))
        FROM walker x JOIN prm.partner p ON p.program_id = prm.current_program() AND p.partner_id = x.partner_id LEFT JOIN prm.enrolment e ON e.program_id = p.program_id AND e.partner_id = x.partner_id AND e.ladder = 'main'
        WHERE (e.tier, e.standing, e.effective_on, e.at_risk_on, e.grace_on, e.review_on, p.tier) IS DISTINCT FROM ('t' || nullif(x.held, 0), x.standing, x.effective, x.at_risk, x.grace, x.review, 't' || nullif(x.held, 0));
      INSERT INTO fault SELECT r, d, 'entitlement', x.partner_id, prm.entitlement(x.partner_id, 'level'), nullif(x.held, 0)::text FROM walker x WHERE prm.entitlement(x.partner_id, 'level') IS DISTINCT FROM nullif(x.held, 0)::text;
      IF k % 5 = 0 THEN
        SELECT count(*) INTO n FROM prm.tier_history h WHERE h.program_id = prm.current_program();
        IF EXISTS (SELECT 1 FROM prm.evaluate_tiers(options => '{"changed": true}')) OR n <> (SELECT count(*) FROM prm.tier_history h WHERE h.program_id = prm.current_program()) THEN
          INSERT INTO fault VALUES (r, d, 'twice', NULL, NULL, NULL);
        END IF;
      END IF;
    END LOOP;
    -- Seen from the end: what was had on each of the days, and in no other way.
    INSERT INTO fault SELECT r, s.day, 'grant', s.partner_id, string_agg(g.value, ','), nullif(s.held, 0)::text FROM seen s
      LEFT JOIN prm.benefit_grant g ON g.program_id = prm.current_program() AND g.partner_id = s.partner_id AND g.benefit = 'level' AND g.valid @> s.moment
      WHERE s.round = r GROUP BY s.day, s.partner_id, s.held HAVING string_agg(g.value, ',') IS DISTINCT FROM nullif(s.held, 0)::text;
    INSERT INTO fault SELECT r, s.day, 'past', s.partner_id, prm.entitlement(s.partner_id, 'desk'), CASE WHEN s.held >= 4 THEN 'gold' WHEN s.held >= 2 THEN 'yes' END
      FROM (SELECT x.*, set_config('prm.clock', x.moment::text, true) FROM seen x WHERE x.round = r ORDER BY random() LIMIT 100) s
      WHERE prm.entitlement(s.partner_id, 'desk') IS DISTINCT FROM CASE WHEN s.held >= 4 THEN 'gold' WHEN s.held >= 2 THEN 'yes' END;
    INSERT INTO fault SELECT r, s.day, 'partner history', s.partner_id, h.tier, 't' || nullif(s.held, 0) FROM seen s
      LEFT JOIN prm.partner_history h ON h.program_id = prm.current_program() AND h.partner_id = s.partner_id AND h.valid @> s.moment
      WHERE s.round = r AND h.tier IS DISTINCT FROM 't' || nullif(s.held, 0);
    INSERT INTO fault SELECT r, NULL, 'gap in a range', g.partner_id, g.benefit, upper(g.valid)::text FROM prm.benefit_grant g
      WHERE g.program_id = prm.current_program() AND NOT upper_inf(g.valid)
        AND NOT EXISTS (SELECT 1 FROM prm.benefit_grant x WHERE x.program_id = g.program_id AND x.partner_id = g.partner_id AND x.benefit = g.benefit AND lower(x.valid) = upper(g.valid))
        AND EXISTS (SELECT 1 FROM seen s WHERE s.round = r AND s.partner_id = g.partner_id AND s.moment = upper(g.valid) AND s.held >= CASE g.benefit WHEN 'level' THEN 1 ELSE 2 END);
    -- The history tells each change of tier once, in order, from the tier of before.
    INSERT INTO fault SELECT r, NULL, 'history', h.partner_id, h.from_tier, h.last FROM (
        SELECT x.partner_id, x.from_tier, lag(x.to_tier) OVER (PARTITION BY x.partner_id ORDER BY x.tier_history_id) AS last FROM prm.tier_history x WHERE x.program_id = prm.current_program() AND x.ladder = 'main') h
      WHERE h.from_tier IS DISTINCT FROM h.last;
  END LOOP;
END $$;
SELECT is_empty('SELECT DISTINCT ON (round, partner_id) * FROM fault WHERE what = ''standing'' ORDER BY round, partner_id, day', 'both engines have the same tier, standing and dates on every day');
SELECT is_empty($$ SELECT * FROM fault WHERE what = 'entitlement' LIMIT 3 $$, 'benefits are those of the tier held, on the day');
SELECT is_empty($$ SELECT * FROM fault WHERE what = 'twice' LIMIT 3 $$, 'a second look changes nothing');
SELECT is_empty($$ SELECT * FROM fault WHERE what = 'grant' LIMIT 3 $$, 'seen from the end, one range for each day, with that day''s value');
SELECT is_empty($$ SELECT * FROM fault WHERE what = 'past' LIMIT 3 $$, 'entitlement() at a past moment');
SELECT is_empty($$ SELECT * FROM fault WHERE what = 'partner history' LIMIT 3 $$, 'partner_history has the tier of each day');
SELECT is_empty($$ SELECT * FROM fault WHERE what = 'gap in a range' LIMIT 3 $$, 'no range ends where it should go on');
SELECT is_empty($$ SELECT * FROM fault WHERE what = 'history' LIMIT 3 $$, 'each row of the history begins where the one before ended');
-- The walk went everywhere.
SELECT cmp_ok((SELECT count(*) FROM seen WHERE moved), '>=', 40::bigint, 'tiers moved');
SELECT set_has($$ SELECT DISTINCT outcome FROM prm.tier_history h JOIN prm.program p USING (program_id) WHERE p.name LIKE 'pgTAP walk%' $$, $$ VALUES ('promote'), ('demote'), ('at_risk'), ('grace'), ('keep'), ('pinned') $$, 'through risk, grace, recovery, demotion and pins');

SELECT * FROM finish();
ROLLBACK;
