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

SELECT * FROM finish();
ROLLBACK;
