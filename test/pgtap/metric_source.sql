-- Sources of metrics: registered relations, what is kept of them, bounds of what is pushed, and what partners enter and see.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();

DO $$ BEGIN
  PERFORM set_config('prm.clock', '2026-06-15 12:00:00+00', true);
  PERFORM set_config('prm.program_id', prm.create_program('pgTAP sources', 'blank', 'EUR')::text, true);
END $$;
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'Aurora'), (2, 'Boreal'), (3, 'Corona');
CREATE FUNCTION pg_temp.metric(the_partner bigint, the_metric text, the_moment timestamptz DEFAULT prm.now()) RETURNS numeric LANGUAGE sql AS
  $$ SELECT v.value FROM prm._metric_values(prm.current_program(), ARRAY[the_partner], the_moment, ARRAY[the_metric]) v $$;

-- ---- registered relations ----
CREATE SCHEMA "Reports of sales";
CREATE TABLE "Reports of sales"."the margin" (partner_id integer, value double precision);
INSERT INTO "Reports of sales"."the margin" VALUES (1, 12.5), (2, 'NaN'), (3, NULL), (4, 9);
CREATE VIEW "Reports of sales".margin AS SELECT * FROM "Reports of sales"."the margin";
SELECT lives_ok($$ INSERT INTO prm.metric (metric, label, source, relation) VALUES ('margin', 'Margin', 'view', '"Reports of sales".margin'), ('own', 'Own', 'view', '"Reports of sales"."the margin"') $$, 'a view, or a table');
SELECT is(pg_temp.metric(1, 'margin'), 12.5, 'its value is the metric''s');
SELECT is(pg_temp.metric(2, 'margin'), NULL::numeric, 'what is no number is not known');
SELECT is(pg_temp.metric(3, 'own'), NULL::numeric, 'nor is what is NULL');
SELECT set_eq($$ SELECT partner_id, value FROM prm.v_partner_metric WHERE program_id = prm.current_program() AND metric = 'margin' $$, $$ VALUES (1::bigint, 12.5) $$, 'only partners of the programme');
INSERT INTO prm.metric (metric, label, source, relation, any_day_window) VALUES ('worn', 'w', 'view', '"Reports of sales".margin', 'rolling_10_days');
SELECT is(pg_temp.metric(1, 'worn'), 12.5, 'over days: what is known of them');

-- What it shows now says nothing of the past, but for what was kept.
SELECT is(pg_temp.metric(1, 'margin', '2026-06-01'), NULL::numeric, 'without observed_at the past is not known');
UPDATE prm.metric SET keep_history = true WHERE program_id = prm.current_program() AND metric IN ('margin', 'open_pipeline');
SELECT is(prm.refresh_metrics() > 0, true, 'the values of today are kept');
SELECT set_config('prm.clock', '2026-06-16 12:00:00+00', true);
UPDATE "Reports of sales"."the margin" SET value = 13 WHERE partner_id = 1;
SELECT lives_ok($$ SELECT prm.refresh_metrics() $$, 'and those of tomorrow');
SELECT set_config('prm.clock', '2026-06-20 12:00:00+00', true);
SELECT lives_ok($$ SELECT prm.refresh_metrics(), prm.refresh_metrics() $$, 'twice is once');
SELECT results_eq($$ SELECT observed_at, value FROM prm.metric_value WHERE program_id = prm.current_program() AND partner_id = 1 AND metric = 'margin' ORDER BY 1 $$,
  $$ VALUES ('2026-06-15 12:00:00+00'::timestamptz, 12.5), ('2026-06-16 12:00:00+00', 13) $$, 'a value is written when it changes');
SELECT is(pg_temp.metric(1, 'margin', '2026-06-16 11:00:00+00'), 12.5, 'so the past can be told');
SELECT is(pg_temp.metric(1, 'margin'), 13::numeric, 'and the present is what the view shows');
SELECT is((SELECT count(*) FROM prm.metric_value WHERE program_id = prm.current_program() AND metric = 'open_pipeline'), 3::bigint, 'a built-in metric is kept as well');

CREATE VIEW "Reports of sales".rated AS SELECT * FROM (VALUES (1::bigint, 1, timestamptz '2026-06-01', prm.current_program()), (1, 2, '2026-06-10', prm.current_program()), (1, 3, '2026-07-10', prm.current_program()),
  (1, 99, '2026-06-11', prm.current_program() + 1)) AS v(partner_id, value, observed_at, program_id);
INSERT INTO prm.metric (metric, label, source, relation) VALUES ('rated', 'Rated', 'view', '"Reports of sales".rated');
SELECT is(pg_temp.metric(1, 'rated'), 2::numeric, 'with observed_at the newest up to now, with program_id that of the programme');
SELECT is(pg_temp.metric(1, 'rated', '2026-06-05'), 1::numeric, 'and at any moment what was known then');
SELECT is((SELECT observed_at FROM prm.partner_metrics(1) WHERE metric = 'rated'), '2026-06-10'::timestamptz, 'with the moment at which it was observed');

-- What does not fit is refused when it is written.
SELECT throws_ok($$ INSERT INTO prm.metric (metric, label, source, relation) VALUES ('x', 'x', 'view', 'nowhere.at_all') $$, '22023', 'the relation of metric "x" does not exist', 'no relation');
SELECT throws_ok($$ INSERT INTO prm.metric (metric, label, source) VALUES ('x', 'x', 'view') $$, '22023', NULL, 'none named');
CREATE VIEW "Reports of sales".wrong AS SELECT 'a'::text AS partner_id, 1 AS value;
SELECT throws_like($$ INSERT INTO prm.metric (metric, label, source, relation) VALUES ('x', 'x', 'view', '"Reports of sales".wrong') $$, '%has no column partner_id of an integer type', 'a wrong key');
CREATE VIEW "Reports of sales".text AS SELECT 1 AS partner_id, 'a'::text AS value;
SELECT throws_like($$ INSERT INTO prm.metric (metric, label, source, relation) VALUES ('x', 'x', 'view', '"Reports of sales".text') $$, '%has no column value of a numeric type', 'no number');
SELECT throws_ok($$ INSERT INTO prm.metric (metric, label, source, relation) VALUES ('x', 'x', 'view', 'pg_class; DROP TABLE prm.deal') $$, '22023', 'the relation of metric "x" does not exist', 'text is never executed');
SELECT throws_ok($$ INSERT INTO prm.metric (metric, label, source, relation) VALUES ('x', 'x', 'view', 'prm.metric_pkey') $$, '22023', NULL, 'an index is no source');
-- The name is stored with its schema, whatever the search_path was.
SET LOCAL search_path = "Reports of sales", public;
SELECT throws_ok($$ INSERT INTO prm.metric (metric, label, source, relation) VALUES ('y', 'y', 'view', 'rated') $$, '22023', NULL, 'a name needs its schema');
RESET search_path;
-- And one that changes says which metric it was.
SELECT throws_ok($$ SELECT prm.record_metric(1, 'rated', 1) $$, '22023', 'metric "rated" is computed, not recorded', 'nothing is pushed into it');
DELETE FROM prm.metric WHERE program_id = prm.current_program() AND metric IN ('own', 'worn');
INSERT INTO "Reports of sales"."the margin" VALUES (1, 14);
SELECT throws_ok($$ SELECT * FROM prm.partner_metrics(1) $$, '55000', 'the relation of metric "margin" has several values of partner 1', 'several values, and none is the newest');
DELETE FROM "Reports of sales"."the margin" WHERE value = 14;
DROP VIEW "Reports of sales".margin;
SELECT throws_ok($$ SELECT * FROM prm.partner_metrics(1) $$, '55000', 'the relation of metric "margin" does not exist', 'a view that is gone');
CREATE VIEW "Reports of sales".margin AS SELECT partner_id, value::text FROM "Reports of sales"."the margin";
SELECT throws_ok($$ SELECT * FROM prm.partner_metrics(1) $$, '55000', 'the relation of metric "margin" has no column value of a numeric type', 'one that has changed');
SELECT lives_ok($$ UPDATE prm.metric SET label = 'Gross margin' WHERE program_id = prm.current_program() AND metric = 'margin' $$, 'its label can be changed all the same');
DELETE FROM prm.metric WHERE program_id = prm.current_program() AND metric = 'margin';
SELECT lives_ok($$ SELECT * FROM prm.partner_metrics(1) $$, 'without it all is well');

-- ---- plausible values ----
SELECT lives_ok($$ SELECT prm.record_metric(1, 'conversion_gain', 10), prm.record_metric(2, 'conversion_gain', -1) $$, 'the bounds themselves are plausible');
SELECT throws_ok($$ SELECT prm.record_metric(1, 'conversion_gain', 10.1) $$, '23514', '10.1 is no plausible value of metric "conversion_gain"', 'above');
SELECT throws_ok($$ SELECT prm.record_metric(1, 'conversion_gain', -1.1) $$, '23514', NULL, 'below');
SELECT throws_ok($$ INSERT INTO prm.metric_value (partner_id, metric, observed_at, value) VALUES (3, 'ltv', '2026-06-01', 5), (2, 'cac_efficiency', '2026-06-01', 51) $$, '23514', NULL, 'by an INSERT too');
SELECT throws_ok($$ UPDATE prm.metric_value SET value = 99 WHERE program_id = prm.current_program() AND metric = 'conversion_gain' $$, '23514', NULL, 'by an UPDATE too');
SELECT lives_ok($$ SELECT prm.record_metric(1, 'ltv', 100, '2026-06-01'), prm.record_metric(1, 'ltv', 300, '2026-06-02') $$, 'a value may change by 200 percent');
SELECT throws_ok($$ SELECT prm.record_metric(1, 'ltv', 901, '2026-06-03') $$, '23514', NULL, 'not by more');
SELECT throws_ok($$ SELECT prm.record_metric(1, 'ltv', 301, '2026-06-02') $$, '23514', NULL, 'compared with the one before, not with itself');
UPDATE prm.metric SET max_change = 50 WHERE program_id = prm.current_program() AND metric = 'ltv';
SELECT throws_like($$ SELECT prm.record_metric(1, 'ltv', 360, '2026-06-04') $$, '360 is no plausible value of metric "ltv"', 'nor by more than 50 where that is the bound');
SELECT lives_ok($$ SELECT prm.record_metric(1, 'ltv', 350, '2026-06-04') $$, 'by 50 it may');
SELECT is((SELECT count(*) FROM prm.metric_value WHERE program_id = prm.current_program() AND metric = 'ltv'), 3::bigint, 'what was refused left nothing behind');
SELECT throws_ok($$ UPDATE prm.metric SET plausible_low = 5, plausible_high = 4 WHERE program_id = prm.current_program() AND metric = 'ltv' $$, '23514', NULL, 'bounds are in order');
SELECT throws_ok($$ UPDATE prm.metric SET plausible_low = 5 WHERE program_id = prm.current_program() AND metric = 'win_rate' $$, '23514', NULL, 'and only for what is pushed');

-- ---- partners ----
CREATE ROLE prm_test_metric_partner;
CREATE ROLE prm_test_metric_rival;
CREATE ROLE prm_test_metric_analyst;
CREATE ROLE prm_test_metric_admin;
CREATE ROLE prm_test_metric_app;
INSERT INTO prm.partner_login (role_name, partner_id) VALUES ('prm_test_metric_partner', 1), ('prm_test_metric_rival', 2);
DO $$ BEGIN
  PERFORM prm.grant_access('prm_test_metric_partner', 'partner');
  PERFORM prm.grant_access('prm_test_metric_rival', 'partner');
  PERFORM prm.grant_access('prm_test_metric_analyst', 'analyst');
  PERFORM prm.grant_access('prm_test_metric_admin', 'admin');
  PERFORM prm.grant_access('prm_test_metric_app', 'app');
  PERFORM prm.refresh_metrics();
END $$;
GRANT USAGE ON SCHEMA "Reports of sales" TO prm_test_metric_admin, prm_test_metric_analyst;
SET LOCAL ROLE prm_test_metric_partner;
-- Without the clock, which is the owner's: the present.
SELECT lives_ok($$ SELECT prm.record_metric(1, 'cac_efficiency', 3, '2026-05-01') $$, 'a partner enters its own value');
SELECT throws_ok($$ SELECT prm.record_metric(1, 'cac_efficiency', 51, '2026-05-02') $$, '23514', NULL, 'which must be plausible');
SELECT throws_ok($$ SELECT prm.record_metric(1, 'nps', 100, '2026-05-02') $$, '42501', 'metric "nps" is not entered by partners', 'not of every metric');
SELECT throws_ok($$ SELECT prm.record_metric(1, 'cac_efficiency', 3, '2999-05-01') $$, '22023', NULL, 'not of times to come');
SELECT throws_ok($$ SELECT prm.record_metric(2, 'cac_efficiency', 3, '2026-05-01') $$, '42704', 'partner 2 does not exist', 'not for another');
SELECT throws_ok($$ INSERT INTO prm.metric_entry (partner_id, metric, observed_at, value) VALUES (2, 'cac_efficiency', '2026-05-01', 3) $$, '42501', NULL, 'by no other way either');
SELECT throws_ok($$ INSERT INTO prm.metric_value (partner_id, metric, observed_at, value) VALUES (1, 'cac_efficiency', '2026-05-01', 3) $$, '42501', NULL, 'nor past the checks');
SELECT throws_ok($$ SELECT * FROM prm.metric_value $$, '42501', NULL, 'and it does not read what the vendor recorded');
SELECT isnt_empty($$ SELECT * FROM prm.partner_metrics(1) WHERE metric = 'ltv' $$, 'it reads its own metrics');
SELECT is_empty($$ SELECT * FROM prm.partner_metrics(1) WHERE metric IN ('breaches_12m', 'rated', 'nps') $$, 'those that it may see');
SELECT throws_ok($$ SELECT * FROM prm.partner_metrics(2) $$, '42704', NULL, 'and nobody else''s');
SELECT is((SELECT count(DISTINCT partner_id) FROM prm.metric_standing), 1::bigint, 'only its own row');
SELECT results_eq($$ SELECT partner_id, value, program_peers, program_percentile FROM prm.benchmark('revenue_12m') $$, $$ VALUES (1::bigint, 0::numeric, 3::bigint, NULL::numeric) $$, 'of benchmark() too; among three it is not told where it stands');
SELECT is_empty($$ SELECT * FROM prm.benchmark('breaches_12m') $$, 'nothing of what it may not see');
SELECT throws_ok($$ UPDATE prm.metric SET partner_enters = true $$, '42501', NULL, 'definitions are the vendor''s');
RESET ROLE;
SET LOCAL ROLE prm_test_metric_app;
SET LOCAL prm.partner_id = '2';
SELECT results_eq($$ SELECT DISTINCT partner_id FROM prm.benchmark('revenue_12m') $$, $$ VALUES (2::bigint) $$, 'an application reads as the partner for whom it acts');
SELECT throws_ok($$ SELECT prm.record_metric(2, 'nps', 100, '2026-05-02') $$, '42501', NULL, 'and enters as it');
SET LOCAL prm.partner_id = '';
RESET ROLE;
SELECT results_eq($$ SELECT value, entered_by FROM prm.metric_entry WHERE program_id = prm.current_program() $$, $$ VALUES (3::numeric, 'prm_test_metric_partner') $$, 'who entered what is kept');
SELECT is((SELECT value FROM prm.metric_value WHERE program_id = prm.current_program() AND partner_id = 1 AND metric = 'cac_efficiency'), 3::numeric, 'and became a value of the metric');
-- Whoever may define metrics does not thereby act as the owner, who reads them in triggers and jobs.
SELECT throws_ok($$ SELECT set_config('role', 'prm_test_metric_analyst', true); SELECT * FROM prm.partner_metrics(1) $$, '42501', 'the relation of metric "rated" may not be read by prm_test_metric_analyst', 'a relation is read with the rights of whoever asks');
GRANT SELECT ON "Reports of sales".rated TO prm_test_metric_analyst;
SET LOCAL ROLE prm_test_metric_analyst;
SELECT isnt_empty($$ SELECT * FROM prm.partner_metrics(1) WHERE metric = 'rated' $$, 'granted, it is read');
RESET ROLE;
GRANT CREATE ON SCHEMA "Reports of sales" TO prm_test_metric_admin;
SET LOCAL ROLE prm_test_metric_admin;
CREATE VIEW "Reports of sales".trap AS SELECT 1 AS partner_id, 1 AS value;
SELECT throws_like($$ INSERT INTO prm.metric (metric, label, source, relation) VALUES ('trap', 'x', 'view', '"Reports of sales".trap') $$, '%belongs to prm_test_metric_admin, who may not act as the owner of the model', 'a stranger''s view is refused');
RESET ROLE;
ALTER VIEW "Reports of sales".rated OWNER TO prm_test_metric_admin;
SELECT throws_ok($$ SELECT * FROM prm.partner_metrics(1) $$, '42501', NULL, 'also when it was given away afterwards');

SELECT * FROM finish();
ROLLBACK;
