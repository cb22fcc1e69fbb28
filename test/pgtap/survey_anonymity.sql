-- Surveys: what is hidden cannot be had by subtracting what is shown (complementary suppression).
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SET LOCAL prm.clock = '2026-06-15 12:00+00';
SELECT set_config('prm.program_id', prm.create_program('pgTAP anonymity', 'blank', 'EUR')::text, true) AS program \gset
INSERT INTO prm.survey (survey, label, asks, alert_to, min_answers) VALUES ('s', 'S', 'customer', 'none', 5);
INSERT INTO prm.partner (partner_id, name, kind) SELECT i, 'P' || i, CASE WHEN i <= 4 THEN 'reseller' ELSE 'hub' END FROM generate_series(1, 6) i;
CREATE FUNCTION pg_temp.answers(the_partner bigint, the_number integer, the_wave bigint DEFAULT NULL, the_moment timestamptz DEFAULT '2026-06-01') RETURNS void LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO prm.survey_response (survey, survey_wave_id, partner_id, score, answered_at) SELECT 's', the_wave, the_partner, (the_partner + i) % 11, the_moment FROM generate_series(1, the_number) i; END $$;
CREATE FUNCTION pg_temp.shown(the_dimension text) RETURNS text LANGUAGE sql AS
  $$ SELECT string_agg(member || ' ' || coalesce(answers::text, '-'), ', ' ORDER BY member) FROM prm.v_nps WHERE program_id = prm.current_program() AND survey = 's' AND dimension = the_dimension $$;
CREATE FUNCTION pg_temp.nothing() RETURNS void LANGUAGE plpgsql AS $$ BEGIN DELETE FROM prm.survey_response WHERE program_id = prm.current_program(); END $$;

-- ---- parts of all answers ----
SELECT pg_temp.answers(1, 20), pg_temp.answers(2, 9), pg_temp.answers(3, 7), pg_temp.answers(4, 2) \g /dev/null
SELECT is(pg_temp.shown('partner'), '1 20, 2 9, 3 -, 4 -', 'one too small: the next smallest is hidden with it');
SELECT is(pg_temp.shown('all'), 'all 38', 'the total is shown');
SELECT is((SELECT (promoters, passives, detractors, nps, margin, is_hidden)::text FROM prm.v_nps WHERE program_id = :program AND dimension = 'partner' AND partner_id = 3), '(,,,,,t)', 'nothing of it is shown');
SELECT pg_temp.nothing(), pg_temp.answers(1, 20), pg_temp.answers(2, 9), pg_temp.answers(3, 2), pg_temp.answers(4, 2) \g /dev/null
SELECT is(pg_temp.shown('partner'), '1 20, 2 -, 3 -, 4 -', 'two that are too small together as well');
SELECT pg_temp.nothing(), pg_temp.answers(1, 20), pg_temp.answers(2, 9), pg_temp.answers(3, 3), pg_temp.answers(4, 2) \g /dev/null
SELECT is(pg_temp.shown('partner'), '1 20, 2 9, 3 -, 4 -', 'two with enough answers together need no third');
SELECT pg_temp.nothing(), pg_temp.answers(1, 20), pg_temp.answers(2, 9) \g /dev/null
SELECT is(pg_temp.shown('partner'), '1 20, 2 9', 'enough everywhere: nothing is hidden');
SELECT pg_temp.nothing(), pg_temp.answers(1, 20), pg_temp.answers(2, 2) \g /dev/null
SELECT is(pg_temp.shown('partner'), '1 -, 2 -', 'of two both are hidden');
SELECT pg_temp.nothing(), pg_temp.answers(1, 4) \g /dev/null
SELECT is(pg_temp.shown('all') || ', ' || pg_temp.shown('partner'), 'all -, 1 -', 'too few at all');
SELECT pg_temp.nothing(), pg_temp.answers(1, 20), pg_temp.answers(2, 9), pg_temp.answers(4, 2, NULL, '2026-05-01') \g /dev/null
SELECT is(pg_temp.shown('month'), '2026-05 -, 2026-06 -', 'by month too');

-- A kind that is hidden for the sake of another must not be the sum of its partners: 12 are those of partner 1, and 28 less 12 less 13 the 3 of partner 5.
UPDATE prm.partner SET kind = 'affiliate' WHERE program_id = :program AND partner_id IN (2, 3);
SELECT pg_temp.nothing(), pg_temp.answers(1, 12), pg_temp.answers(2, 6), pg_temp.answers(3, 7), pg_temp.answers(5, 3) \g /dev/null
SELECT is(pg_temp.shown('partner') || ' | ' || pg_temp.shown('partner_kind'), '1 -, 2 -, 3 -, 5 - | affiliate 13, hub -, reseller -', 'nor a kind from its partners');
UPDATE prm.partner SET kind = 'reseller' WHERE program_id = :program AND partner_id IN (2, 3);

-- ---- answers that are in no group ----
UPDATE prm.partner SET tier = NULL WHERE program_id = :program;
INSERT INTO prm.ladder (ladder, label) VALUES ('main', 'Main') ON CONFLICT DO NOTHING;
INSERT INTO prm.tier (ladder, tier, rank, label) VALUES ('main', 't1', 91, 'T1'), ('main', 't2', 92, 'T2');
UPDATE prm.partner SET tier = CASE WHEN partner_id <= 2 THEN 't1' ELSE 't2' END WHERE program_id = :program AND partner_id IN (1, 2, 3);
SELECT pg_temp.nothing(), pg_temp.answers(1, 20), pg_temp.answers(3, 30), pg_temp.answers(6, 2), pg_temp.answers(5, 9) \g /dev/null
SELECT is(pg_temp.shown('tier'), 't1 20, t2 30', 'what no tier has is more than enough');
SELECT pg_temp.nothing(), pg_temp.answers(1, 20), pg_temp.answers(3, 9), pg_temp.answers(4, 2) \g /dev/null
SELECT is(pg_temp.shown('tier'), 't1 20, t2 -', 'where it is too little a tier is hidden with it');

-- ---- parts of parts ----
SELECT pg_temp.nothing(), pg_temp.answers(1, 20), pg_temp.answers(2, 9), pg_temp.answers(3, 30), pg_temp.answers(5, 3), pg_temp.answers(6, 12) \g /dev/null
-- Hubs 15 less 12 are the 3 of partner 5; so partner 6 goes, and not the smaller 2, which is no hub.
SELECT is(pg_temp.shown('partner') || ' | ' || pg_temp.shown('partner_kind'), '1 20, 2 9, 3 30, 5 -, 6 - | hub 15, reseller 59', 'nor from the kind of a partner');
INSERT INTO prm.survey_wave (survey_wave_id, survey, starts_on, ends_on) VALUES (9000001, 's', '2026-01-01', '2026-02-01'), (9000002, 's', '2026-03-01', '2026-04-01'), (9000003, 's', '2026-05-01', '2026-06-01');
SELECT pg_temp.nothing() \g /dev/null
SELECT pg_temp.answers(p, CASE WHEN p = 1 AND w = 9000001 THEN 2 ELSE 10 END, w) FROM generate_series(1, 3) p CROSS JOIN generate_series(9000001, 9000003) w \g /dev/null
SELECT is((SELECT string_agg(partner_id || '/' || survey_wave_id - 9000000, ', ' ORDER BY 1) FROM prm.v_nps WHERE program_id = :program AND dimension = 'partner_wave' AND is_hidden), '1/1, 1/2, 2/1, 2/2',
  'in a table of partners and waves neither a row nor a column tells');
SELECT is(pg_temp.shown('partner') || ' | ' || pg_temp.shown('wave'), '1 22, 2 30, 3 30 | 9000001 22, 9000002 30, 9000003 30', 'whose sums are shown');

-- ---- any data: nothing that is left is too small ----
-- The attacker: takes every total that is shown, subtracts every part of it that is shown, and counts the answers that remain.
SELECT pg_temp.nothing(), setseed(0.42) \g /dev/null
INSERT INTO prm.partner (partner_id, name, kind, country) SELECT i, 'R' || i, (ARRAY['reseller', 'hub', 'affiliate', 'referrer'])[1 + floor(random() * random() * 4)::int], (ARRAY['DE', 'FR', 'NL'])[1 + i % 3] FROM generate_series(101, 130) i;
UPDATE prm.partner SET tier = (ARRAY['t1', 't2', NULL])[1 + partner_id % 3] WHERE program_id = :program AND partner_id > 100;
CREATE FUNCTION pg_temp.leaks() RETURNS bigint LANGUAGE sql AS $$
  WITH answer AS (
    SELECT r.survey_response_id AS id, d.dimension, d.member, p.kind, p.tier, r.partner_id, r.survey_wave_id
    FROM prm.survey_response r JOIN prm.partner p USING (program_id, partner_id)
    CROSS JOIN LATERAL (VALUES ('partner', r.partner_id::text), ('wave', r.survey_wave_id::text), ('partner_wave', r.partner_id || '/' || r.survey_wave_id), ('month', to_char(r.answered_at, 'YYYY-MM')),
      ('partner_kind', p.kind), ('tier', p.tier), ('country', p.country)) AS d(dimension, member)
    WHERE r.program_id = prm.current_program()),
  shown AS (SELECT dimension, member FROM prm.v_nps WHERE program_id = prm.current_program() AND survey = 's' AND NOT is_hidden),
  -- Every pair of a total and a dimension that parts it.
  total AS (
    SELECT 'all' AS dimension, 'all' AS member, x AS by, a.id, a.member AS part FROM unnest('{partner,wave,month,partner_kind,tier,country}'::text[]) x JOIN answer a ON a.dimension = x
    UNION ALL SELECT 'partner_kind', a.kind, 'partner', a.id, a.member FROM answer a WHERE a.dimension = 'partner'
    UNION ALL SELECT 'tier', a.tier, 'partner', a.id, a.member FROM answer a WHERE a.dimension = 'partner' AND a.tier IS NOT NULL
    UNION ALL SELECT 'partner', a.partner_id::text, 'partner_wave', a.id, a.member FROM answer a WHERE a.dimension = 'partner_wave'
    UNION ALL SELECT 'wave', a.survey_wave_id::text, 'partner_wave', a.id, a.member FROM answer a WHERE a.dimension = 'partner_wave' AND a.survey_wave_id IS NOT NULL)
  SELECT (SELECT count(*) FROM (
    SELECT t.dimension, t.member, t.by, count(*) AS answers, count(DISTINCT coalesce(t.part, '')) AS parts, bool_or(t.part IS NULL) AS unnamed FROM total t
    WHERE EXISTS (SELECT 1 FROM shown s WHERE s.dimension = t.dimension AND s.member = t.member) AND NOT EXISTS (SELECT 1 FROM shown s WHERE s.dimension = t.by AND s.member = t.part)
    GROUP BY 1, 2, 3) r
  WHERE r.answers < 5 OR r.parts = 1 AND NOT r.unnamed)
  -- And totals that are hidden, though all their parts are shown.
  + (SELECT count(*) FROM (
    SELECT t.dimension, t.member, t.by FROM total t WHERE NOT EXISTS (SELECT 1 FROM shown s WHERE s.dimension = t.dimension AND s.member = t.member)
    GROUP BY 1, 2, 3 HAVING bool_and(EXISTS (SELECT 1 FROM shown s WHERE s.dimension = t.by AND s.member = t.part))) r)
$$;
CREATE FUNCTION pg_temp.attack(the_round integer) RETURNS text LANGUAGE plpgsql AS $$
DECLARE the_leaks bigint; the_shown bigint;
BEGIN
  PERFORM pg_temp.nothing();
  INSERT INTO prm.survey_response (survey, survey_wave_id, partner_id, score, answered_at)
    SELECT 's', CASE WHEN random() < 0.8 THEN 9000001 + floor(random() * 3)::int END, 101 + floor(power(random(), 1 + the_round % 3) * 30)::int, floor(random() * 11)::int, '2026-01-10'::timestamptz + random() * interval '90 days'
    FROM generate_series(1, 20 + the_round * 40);
  SELECT pg_temp.leaks(), (SELECT count(*) FROM prm.v_nps WHERE program_id = prm.current_program() AND NOT is_hidden) INTO the_leaks, the_shown;
  RETURN CASE WHEN the_leaks > 0 THEN 'leaks' WHEN the_round > 4 AND the_shown < 10 THEN 'hides all' ELSE 'safe' END;
END $$;
SELECT is((SELECT string_agg(DISTINCT pg_temp.attack(i), ', ') FROM generate_series(1, 10) i), 'safe', 'random answers of 30 partners in ten rounds');
-- With nothing to hide nothing is hidden.
UPDATE prm.survey SET min_answers = 1 WHERE program_id = :program AND survey = 's';
SELECT is((SELECT count(*) FROM prm.v_nps WHERE program_id = :program AND is_hidden), 0::bigint, 'a minimum of one hides nothing');

SELECT * FROM finish();
ROLLBACK;
