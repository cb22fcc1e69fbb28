-- Metrics at their edges: views that read metrics themselves, ties, calendar windows of several months, leap days and moved clocks.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
\ir tier.psql
SELECT no_plan();

CREATE FUNCTION pg_temp.metric(the_partner bigint, the_metric text, the_moment timestamptz DEFAULT prm.now()) RETURNS numeric LANGUAGE sql AS
  $$ SELECT v.value FROM prm._metric_values(prm.current_program(), ARRAY[the_partner], the_moment, ARRAY[the_metric]) v $$;

-- ---- views that read metrics ----
DO $$ BEGIN PERFORM pg_temp.programme('metric views'); PERFORM pg_temp.metrics('sales', 'people'); END $$;
INSERT INTO prm.partner (partner_id, name, country) SELECT i, 'p' || i, CASE WHEN i <= 100 THEN 'DE' ELSE 'FR' END FROM generate_series(1, 140) i;
DO $$ BEGIN PERFORM prm.record_metric(i, 'sales', i) FROM generate_series(1, 140) i; PERFORM prm.record_metric(i, 'people', 2) FROM generate_series(1, 140) i; END $$;
-- Google's Premier Partners are the best 3 percent of each country.
CREATE VIEW public.pgtap_best AS
  SELECT p.program_id, b.partner_id, round(100 * cume_dist() OVER (PARTITION BY p.country ORDER BY b.value DESC)::numeric, 4) AS value
  FROM prm.benchmark('sales') b JOIN prm.partner p ON p.program_id = prm.current_program() AND p.partner_id = b.partner_id;
INSERT INTO prm.metric (metric, label, source, relation, higher_is_better) VALUES ('best_percent', 'Best percent of its country', 'view', 'public.pgtap_best', false);
INSERT INTO prm.tier (tier, rank, label) VALUES ('premier', 1, 'Premier');
INSERT INTO prm.tier_requirement (tier, metric, op, threshold) VALUES ('premier', 'best_percent', '<=', 3), ('premier', 'people', '>=', 2);
SELECT results_eq($$ SELECT partner_id FROM prm.evaluate_tiers() WHERE outcome = 'promote' $$, $$ VALUES (98::bigint), (99), (100), (140) $$, 'the best 3 percent of each country, by a view over benchmark()');
SELECT is((SELECT count(*) FROM prm.evaluate_tiers(99, dry_run => true) WHERE qualified = 'premier'), 1::bigint, 'and of one partner the same, since the view ranks them all');
-- A view that reads all metrics reads itself.
CREATE VIEW public.pgtap_round AS SELECT program_id, partner_id, 2 * value AS value FROM prm.v_partner_metric WHERE metric = 'sales';
INSERT INTO prm.metric (metric, label, source, relation) VALUES ('round', 'Round', 'view', 'public.pgtap_round');
SELECT throws_ok($$ SELECT * FROM prm.partner_metrics(1) $$, '55000', 'the relation of metric "round" reads that metric itself', 'a view over v_partner_metric cannot be a metric, and says so');
SELECT throws_ok($$ SELECT count(*) FROM prm.v_partner_metric $$, '55000', NULL, 'whoever asks');
SELECT is(pg_temp.metric(1, 'best_percent'), 100::numeric, 'others can be asked for all the same');
-- Through another.
CREATE OR REPLACE VIEW public.pgtap_round AS SELECT prm.current_program() AS program_id, b.partner_id, 2 * b.value AS value FROM prm.benchmark('about') b;
CREATE VIEW public.pgtap_about AS SELECT b.partner_id, b.value + 1 AS value FROM prm.benchmark('round') b;
INSERT INTO prm.metric (metric, label, source, relation) VALUES ('about', 'About', 'view', 'public.pgtap_about');
SELECT throws_ok($$ SELECT pg_temp.metric(1, 'about') $$, '55000', 'the relation of metric "about" reads that metric itself', 'nor two that read each other');
CREATE OR REPLACE VIEW public.pgtap_about AS SELECT b.partner_id, b.value + 1 AS value FROM prm.benchmark('sales') b;
SELECT is(pg_temp.metric(7, 'round'), 16::numeric, 'one that reads another is fine');
-- Two values of one moment: always the same of them counts.
CREATE TABLE public.pgtap_ties (partner_id bigint, value numeric, observed_at timestamptz);
INSERT INTO public.pgtap_ties VALUES (1, 3, '2026-01-01'), (1, 5, '2026-01-01'), (1, 4, '2026-01-01'), (2, 5, '2026-01-01'), (2, 3, '2026-01-01'), (3, 9, NULL), (3, 1, '2026-03-02 12:00:00.000001+01');
INSERT INTO prm.metric (metric, label, source, relation) VALUES ('ties', 'Ties', 'view', 'public.pgtap_ties');
SELECT results_eq($$ SELECT pg_temp.metric(i, 'ties') FROM generate_series(1, 3) i $$, $$ VALUES (5::numeric), (5), (NULL) $$, 'the highest; and nothing of no moment, or of one to come');

-- ---- calendar windows of several months ----
-- A fiscal year that begins in July, in a zone where the clock is moved at midnight.
DO $$ BEGIN PERFORM pg_temp.programme('metric windows'); UPDATE prm.program SET fiscal_year_start = 7, time_zone = 'America/Asuncion' WHERE program_id = prm.current_program(); END $$;
CREATE FUNCTION pg_temp.span(the_kind text, the_moment timestamp) RETURNS text LANGUAGE sql AS $$
  SELECT to_char(w.after AT TIME ZONE 'America/Asuncion', 'YYYY-MM-DD HH24:MI:SS.US') || ' .. ' || to_char(w.until AT TIME ZONE 'America/Asuncion', 'YYYY-MM-DD HH24:MI:SS.US')
  FROM prm._metric_window(prm.current_program(), the_kind, the_moment AT TIME ZONE 'America/Asuncion') w $$;
SELECT is(pg_temp.span('6_months_to_date', '2024-07-31 12:00'), '2024-01-31 23:59:59.999999 .. 2024-07-31 12:00:00.000000', 'this month and five full ones');
SELECT is(pg_temp.span('6_months_to_date', '2024-08-01 00:00'), '2024-02-29 23:59:59.999999 .. 2024-08-01 00:00:00.000000', 'from its first moment on');
SELECT is(pg_temp.span('last_3_months', '2024-05-31 12:00'), '2024-01-31 23:59:59.999999 .. 2024-04-30 23:59:59.999999', 'the last three full months, of different length');
SELECT is(pg_temp.span('last_4_quarters', '2024-08-15 12:00'), '2023-06-30 23:59:59.999999 .. 2024-06-30 23:59:59.999999', 'the last four fiscal quarters are a fiscal year here');
SELECT is(pg_temp.span('last_4_quarters', '2024-10-01 00:00'), '2023-09-30 23:59:59.999999 .. 2024-09-30 23:59:59.999999', 'and later another twelve months');
SELECT is(pg_temp.span('2_quarters_to_date', '2024-06-30 23:59:59'), '2023-12-31 23:59:59.999999 .. 2024-06-30 23:59:59.000000', 'the running quarter and the one before');
SELECT is(pg_temp.span('year_to_date', '2024-06-30 23:59:59'), '2023-06-30 23:59:59.999999 .. 2024-06-30 23:59:59.000000', 'the year that began in July');
SELECT is(pg_temp.span('last_year', '2024-07-01 00:00'), '2023-06-30 23:59:59.999999 .. 2024-06-30 23:59:59.999999', 'over with its last moment');
SELECT is(pg_temp.span('last_2_years', '2024-07-01 00:00'), '2022-06-30 23:59:59.999999 .. 2024-06-30 23:59:59.999999', 'two of them');
SELECT is(pg_temp.span('1_months_to_date', '2024-03-24 12:00'), pg_temp.span('month_to_date', '2024-03-24 12:00'), 'one month to date is the month to date');
SELECT is(pg_temp.span('rolling_12_months', '2025-02-28 12:00'), '2024-02-28 12:00:00.000000 .. 2025-02-28 12:00:00.000000', 'the year before 28 February holds the leap day');
SELECT throws_ok(format($$ INSERT INTO prm.metric (metric, label, source, measure, window_kind) VALUES ('x', 'x', 'built_in', 'revenue', %L) $$, k), '23514', NULL, 'no window: ' || k)
  FROM unnest('{0_months_to_date,6_month_to_date,last_0_months,last_100_months,6_halfs_to_date,last_months}'::text[]) k;
SELECT throws_ok($$ INSERT INTO prm.metric (metric, label, any_day_window) VALUES ('x', 'x', '13_months_to_date') $$, '23514', NULL, 'days of a year at most');

-- Microsoft: qualified on at least one day of this month or of the five full months before.
DO $$ BEGIN PERFORM pg_temp.at('2026-03-02 12:00+01'); PERFORM pg_temp.programme('metric any day'); END $$;
INSERT INTO prm.metric (metric, label, any_day_window) VALUES ('score', 'Score', '6_months_to_date');
INSERT INTO prm.tier (tier, rank, label) VALUES ('designated', 1, 'Designated');
INSERT INTO prm.tier_policy (review, grace) VALUES ('0', '0');
INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('designated', 'score', 70);
INSERT INTO prm.partner (partner_id, name, joined_on) VALUES (1, 'a day in October', '2020-01-01'), (2, 'until the last moment of September', '2020-01-01'), (3, 'an hour that is no day''s end', '2020-01-01');
DO $$ BEGIN
  PERFORM prm.record_metric(1, 'score', 70, '2025-10-01 09:00+02'), prm.record_metric(1, 'score', 10, '2025-10-02 09:00+02'), prm.record_metric(2, 'score', 90, '2025-09-01 09:00+02'),
    prm.record_metric(2, 'score', 10, '2025-09-30 23:59+02'), prm.record_metric(3, 'score', 90, '2025-12-01 09:00+01'), prm.record_metric(3, 'score', 10, '2025-12-01 10:00+01');
END $$;
SELECT results_eq($$ SELECT partner_id, qualified FROM prm.evaluate_tiers() $$, $$ VALUES (1::bigint, 'designated'), (2, NULL), (3, NULL) $$, 'one day of the window is enough');
DO $$ BEGIN PERFORM pg_temp.at('2026-03-31 23:59:59+02'); END $$;
SELECT is(pg_temp.outcome(1), 'keep', 'to the end of March');
DO $$ BEGIN PERFORM pg_temp.at('2026-04-01 00:00+02'); END $$;
SELECT is(pg_temp.outcome(1), 'demote 2026-04-01', 'and not on the first of April');

SELECT * FROM finish();
ROLLBACK;
