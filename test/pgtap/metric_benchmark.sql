-- Benchmarks: percentiles among peers, in the market, and what a partner is told.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();

DO $$ BEGIN
  PERFORM set_config('prm.clock', '2026-06-15 12:00:00+00', true);
  PERFORM set_config('prm.program_id', prm.create_program('pgTAP benchmarks', 'blank', 'EUR')::text, true);
END $$;
INSERT INTO prm.partner (partner_id, name, kind, region) VALUES (1, 'A', 'reseller', 'north'), (2, 'B', 'reseller', 'north'), (3, 'C', 'reseller', 'south'), (4, 'D', 'hub', 'south'), (5, 'E', 'hub', NULL),
  (6, 'F', 'reseller', 'north'), (7, 'G', 'reseller', 'north');
INSERT INTO prm.metric (metric, label, unit) VALUES ('score', 'Score', 'points');
INSERT INTO prm.metric (metric, label, unit, higher_is_better, partner_visible) VALUES ('delay', 'Delay', 'days', false, true);
DO $$ BEGIN
  PERFORM prm.record_metric(i, 'score', v, '2026-06-01'), prm.record_metric(i, 'delay', v, '2026-06-01') FROM (VALUES (1, 10), (2, 20), (3, 20), (4, 40), (5, 50), (6, 5)) x(i, v);
  PERFORM prm.record_metric(1, 'score', 99, '2026-06-14');
END $$;

-- Six have a value; of 7 nothing is known.
SELECT results_eq($$ SELECT partner_id, partner, value, program_rank, program_peers, program_percentile FROM prm.benchmark('score', options => '{"at": "2026-06-10"}') $$,
  $$ VALUES (5::bigint, 'E', 50::numeric, 1::bigint, 6::bigint, 91.67), (4, 'D', 40, 2, 6, 75.00), (2, 'B', 20, 3, 6, 50.00), (3, 'C', 20, 3, 6, 50.00), (1, 'A', 10, 5, 6, 25.00), (6, 'F', 5, 6, 6, 8.33) $$,
  'a percentile is the share of those that are worse and half of those that are equal, itself included');
SELECT results_eq($$ SELECT partner_id, program_rank, program_percentile FROM prm.benchmark('delay') $$,
  $$ VALUES (6::bigint, 1::bigint, 91.67), (1, 2, 75.00), (2, 3, 50.00), (3, 3, 50.00), (4, 5, 25.00), (5, 6, 8.33) $$, 'where less is better, less is better');
SELECT is((SELECT value FROM prm.benchmark('score', 1)), 99::numeric, 'of one partner, now');
SELECT is((SELECT round(avg(program_percentile), 2) FROM prm.benchmark('score')), 50.00, 'percentiles are 50 on average');
SELECT results_eq($$ SELECT partner_id, kind, kind_percentile, kind_peers, region, region_percentile, region_peers FROM prm.benchmark('score', options => '{"at": "2026-06-10"}') ORDER BY 1 $$,
  $$ VALUES (1::bigint, 'reseller', 37.50, 4::bigint, 'north', 50.00, 3::bigint), (2, 'reseller', 75.00, 4, 'north', 83.33, 3), (3, 'reseller', 75.00, 4, 'south', 25.00, 2), (4, 'hub', 25.00, 2, 'south', 75.00, 2),
    (5, 'hub', 75.00, 2, NULL, NULL, NULL), (6, 'reseller', 12.50, 4, 'north', 16.67, 3) $$, 'among its kind and in its region; without a region there is none');
DO $$ BEGIN PERFORM prm.fire('partner', 5, 'reject', 'no'); END $$;
SELECT is((SELECT count(*) FROM prm.benchmark('score')), 5::bigint, 'who was turned away is nobody''s peer');

-- ---- the market ----
INSERT INTO prm.metric_benchmark (metric, p10, p25, p50, p75, p90, source, valid) VALUES ('score', 0, 10, 20, 40, 80, 'a study', '[2026-01-01,2027-01-01)');
INSERT INTO prm.metric_benchmark (metric, partner_kind, p50, valid) VALUES ('score', 'hub', 40, '[2026-06-01,)');
INSERT INTO prm.metric_benchmark (metric, partner_kind, region, p25, p50, p75, valid) VALUES ('score', 'reseller', 'south', 10, 30, 50, '[2026-01-01,2026-06-15)');
INSERT INTO prm.metric_benchmark (metric, p25, p50, p75) VALUES ('delay', 10, 30, 30);
SELECT results_eq($$ SELECT partner_id, market, market_median, market_percentile, market_gap FROM prm.benchmark('score', options => '{"at": "2026-06-10"}') ORDER BY 1 $$,
  $$ VALUES (1::bigint, '', 20::numeric, 25.00, -10::numeric), (2, '', 20, 50.00, 0), (3, 'reseller, south', 30, 37.50, -10), (4, 'hub', 40, 50.00, 0), (6, '', 20, 17.50, -15) $$,
  'the row that names most; on a point its percentile, between two a straight line');
SELECT is((SELECT market FROM prm.benchmark('score', 3)), '', 'a row holds until its last day');
SELECT is((SELECT market_percentile FROM prm.benchmark('score', 1)), 90.00, 'beyond the outermost point nothing more is known');
SELECT is((SELECT market_median FROM prm.benchmark('score', 4, '{"at": "2026-05-20"}')), NULL::numeric, 'without a value there is no row');
SELECT results_eq($$ SELECT partner_id, market_percentile, market_gap FROM prm.benchmark('delay') ORDER BY 1 $$,
  $$ VALUES (1::bigint, 75.00, 20::numeric), (2, 62.50, 10), (3, 62.50, 10), (4, 25.00, -10), (6, 75.00, 25) $$, 'where less is better the market is turned round as well');
SELECT is(prm._market_percentile(30, NULL, 10, 30, 30, NULL), 62.50, 'a value that two points share gets the middle of them');
SELECT is(prm._market_percentile(5, NULL, NULL, 7, NULL, NULL), 50.00, 'one point tells little');
SELECT throws_ok($$ INSERT INTO prm.metric_benchmark (metric, p25, p50) VALUES ('score', 5, 4) $$, '23514', NULL, 'points are in order');
SELECT throws_ok($$ INSERT INTO prm.metric_benchmark (metric, p10, p50) VALUES ('score', 5, 4) $$, '23514', NULL, 'also where some are missing');
SELECT throws_ok($$ INSERT INTO prm.metric_benchmark (metric, p50, p90) VALUES ('score', 5, 'NaN') $$, '23514', NULL, 'and finite');
SELECT throws_ok($$ INSERT INTO prm.metric_benchmark (metric, p50, valid) VALUES ('score', 5, '[2026-12-31,2028-01-01)') $$, '23P01', NULL, 'two for the same partners on one day');
SELECT lives_ok($$ INSERT INTO prm.metric_benchmark (metric, p50, valid) VALUES ('score', 5, '[2027-01-01,2028-01-01)') $$, 'one after the other is right');

-- ---- segments ----
INSERT INTO prm.segment (segment, label, position) VALUES ('new', 'New', 2), ('big', 'Big', 1);
INSERT INTO prm.segment_member (segment, partner_id, valid, actor) VALUES ('new', 1, '[2026-06-01,)', 't'), ('new', 2, '[2026-06-01,)', 't'), ('new', 3, '[2026-06-01,)', 't'), ('big', 3, '[2026-06-01,)', 't'),
  ('big', 4, '[2026-06-01,)', 't'), ('big', 1, '[2026-06-01,2026-06-02)', 't'), ('new', 7, '[2026-06-01,)', 't');
SELECT results_eq($$ SELECT partner_id, segment, segment_percentile, segment_peers FROM prm.benchmark('score', options => '{"at": "2026-06-10"}') ORDER BY 1 $$,
  $$ VALUES (1::bigint, 'new', 16.67, 3::bigint), (2, 'new', 66.67, 3), (3, 'big', 25.00, 2), (4, 'big', 75.00, 2), (6, NULL, NULL, NULL) $$, 'its first segment, among all members that have a value then');
SELECT results_eq($$ SELECT partner_id, segment_percentile FROM prm.benchmark('score', options => '{"at": "2026-06-10", "segment": "new"}') WHERE segment = 'new' ORDER BY 1 $$,
  $$ VALUES (1::bigint, 16.67), (2, 66.67), (3, 66.67) $$, 'or the one that is named');
SELECT is((SELECT count(*) FROM prm.benchmark('score', options => '{"segment": "new"}')), 5::bigint, 'the others are there without it');
INSERT INTO prm.metric_benchmark (metric, segment, p50) VALUES ('score', 'new', 33);
SELECT is((SELECT market || ' ' || market_median FROM prm.benchmark('score', 3)), 'new 33', 'a row of the market for a segment comes before all others');
SELECT throws_ok($$ SELECT * FROM prm.benchmark('score', options => '{"segment": "old"}') $$, '42704', 'segment "old" does not exist', 'an unknown segment');

-- ---- what partners are told ----
DO $$ BEGIN PERFORM prm.refresh_metrics(); END $$;
SELECT results_eq($$ SELECT partner_id, program_percentile, program_peers, kind_percentile, region_percentile, market_percentile FROM prm.metric_standing WHERE program_id = prm.current_program() AND metric = 'delay' ORDER BY 1 $$,
  $$ VALUES (1::bigint, 70.00, 5::bigint, NULL::numeric, NULL::numeric, 75.00), (2, 40.00, 5, NULL, NULL, 62.50), (3, 40.00, 5, NULL, NULL, 62.50), (4, 10.00, 5, NULL, NULL, 25.00), (6, 90.00, 5, NULL, NULL, 75.00) $$,
  'where each stands is written down; among fewer than five it is not told');
SELECT is_empty($$ SELECT * FROM prm.metric_standing WHERE program_id = prm.current_program() AND metric = 'score' $$, 'not for metrics that partners do not see');
UPDATE prm.metric SET partner_visible = false WHERE program_id = prm.current_program() AND metric = 'delay';
SELECT set_config('prm.clock', '2026-06-16 12:00:00+00', true);
DO $$ BEGIN PERFORM prm.refresh_metrics(); END $$;
SELECT is_empty($$ SELECT * FROM prm.metric_standing WHERE program_id = prm.current_program() AND metric = 'delay' $$, 'what is hidden again goes');

SELECT throws_ok($$ SELECT * FROM prm.benchmark('height') $$, '42704', 'metric "height" does not exist', 'an unknown metric');
SELECT throws_ok($$ SELECT * FROM prm.benchmark('score', 77) $$, '42704', NULL, 'an unknown partner');
SELECT throws_ok($$ SELECT * FROM prm.benchmark('score', options => '{"when": 1}') $$, '22023', 'benchmark has no option "when"', 'an unknown option');

-- Another programme's partners are nobody's peers.
DO $$ BEGIN PERFORM set_config('prm.program_id', prm.create_program('pgTAP benchmarks 2', 'blank', 'EUR')::text, true); END $$;
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'A of another');
INSERT INTO prm.metric (metric, label) VALUES ('score', 'Score');
DO $$ BEGIN PERFORM prm.record_metric(1, 'score', 1); END $$;
SELECT results_eq($$ SELECT program_percentile, program_peers, market_median FROM prm.benchmark('score') $$, $$ VALUES (50.00, 1::bigint, NULL::numeric) $$, 'alone in its programme');

SELECT * FROM finish();
ROLLBACK;
