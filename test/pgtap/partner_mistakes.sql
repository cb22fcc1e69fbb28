-- Metrics, health, tiers, benefits, certificates, segments, surveys, recognition and usage: what users get wrong, and what they are
-- told: an error of the right class, a message in lower case, the facts as DETAIL, the next step as HINT. Nothing is written by any of it.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT * FROM no_plan();
SET LOCAL client_min_messages = warning;
-- Errors are the same with workers, and two hundred of them start many.
SET LOCAL max_parallel_workers_per_gather = 0;
SELECT set_config('prm.clock', '2026-06-15 12:00+00', true);
SELECT prm.create_program('Mistakes', 'reseller', 'EUR', 'Europe/Berlin') AS program \gset
SELECT set_config('prm.program_id', :'program', true);
INSERT INTO prm.partner (name, external_ref) VALUES ('Ann', 'ann') RETURNING partner_id AS ann \gset
INSERT INTO prm.partner (name, external_ref) VALUES ('Bob', 'bob') RETURNING partner_id AS bob \gset
INSERT INTO prm.partner_user (partner_id, name, external_ref) VALUES (:ann, 'Eve', 'eve') RETURNING partner_user_id AS eve \gset
INSERT INTO prm.customer (name) VALUES ('Shop') RETURNING customer_id AS shop \gset
SELECT prm.fire('partner', :ann, 'admit'), prm.fire('partner', :ann, 'activate');
INSERT INTO prm.certificate (partner_user_id, certification, issued_on) VALUES (:eve, 'sales', '2025-06-01') RETURNING certificate_id AS cert \gset
INSERT INTO prm.metric (metric, label, plausible_low, plausible_high) VALUES ('projects', 'Projects', 0, 500);
INSERT INTO prm.ladder (ladder, label) VALUES ('cloud', 'Cloud');
INSERT INTO prm.tier (ladder, tier, rank, label) VALUES ('cloud', 'expert', 1, 'Expert');
INSERT INTO prm.tier_requirement (ladder, tier, metric, threshold) VALUES ('cloud', 'expert', 'projects', 5);
INSERT INTO prm.mission (mission, label) VALUES ('start', 'Start');
SELECT prm.join_mission(:ann, 'start');
SELECT prm.nps_response(:ann, 9, 'partner_nps', 'r1', format('{"partner_user_id": %s}', :eve)::jsonb);

-- What a statement fails with: its state, and what is wrong with the error itself.
CREATE FUNCTION pg_temp.told(the_statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE the_state text; the_message text; the_detail text; the_hint text;
BEGIN
  EXECUTE replace(replace(replace(replace(replace(the_statement, '@ann', current_setting('test.ann')), '@bob', current_setting('test.bob')), '@eve', current_setting('test.eve')),
    '@shop', current_setting('test.shop')), '@cert', current_setting('test.cert'));
  RETURN 'nothing';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS the_state = RETURNED_SQLSTATE, the_message = MESSAGE_TEXT, the_detail = PG_EXCEPTION_DETAIL, the_hint = PG_EXCEPTION_HINT;
  RETURN concat_ws(' ', the_state, CASE WHEN the_message ~ '^(?!(NaN|Infinity) )[A-Z][a-z]|[.]$' THEN 'message: ' || the_message END, CASE WHEN the_detail !~ '[.)]$' THEN 'detail: ' || the_detail END,
    CASE WHEN the_hint !~ '[.]$' THEN 'hint: ' || the_hint END);
END $$;
CREATE FUNCTION pg_temp.hint(the_statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE the_hint text;
BEGIN
  EXECUTE the_statement;
  RETURN 'nothing';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS the_hint = PG_EXCEPTION_HINT;
  RETURN the_hint;
END $$;
-- How many rows each table has: what was written shows, wherever it was.
CREATE FUNCTION pg_temp.rows() RETURNS text LANGUAGE plpgsql AS $$
DECLARE the_table text; the_count bigint; the_sum text := '';
BEGIN
  FOR the_table IN SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'prm'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1 LOOP
    EXECUTE format('SELECT count(*) FROM prm.%I', the_table) INTO the_count;
    the_sum := the_sum || the_table || ' ' || the_count || ', ';
  END LOOP;
  RETURN the_sum;
END $$;
SELECT set_config('test.ann', :'ann', true), set_config('test.bob', :'bob', true), set_config('test.eve', :'eve', true), set_config('test.shop', :'shop', true), set_config('test.cert', :'cert', true);
SELECT set_config('test.before', pg_temp.rows(), true);

SELECT is(pg_temp.told(v.statement), v.told, v.statement) FROM (VALUES
  -- metrics
  ($$SELECT prm.record_metric(@ann, 'projects', 'NaN')$$, '22023'),
  ($$SELECT prm.record_metric(@ann, 'projects', 'Infinity')$$, '22023'),
  ($$SELECT prm.record_metric(@ann, 'projects', NULL)$$, '22023'),
  ($$SELECT prm.record_metric(@ann, 'projects', 501)$$, '23514'),
  ($$SELECT prm.record_metric(@ann, 'projects', -1)$$, '23514'),
  ($$SELECT prm.record_metric(@ann, 'project', 1)$$, '42704'),
  ($$SELECT prm.record_metric(@ann, 'revenue_12m', 1)$$, '22023'),
  ($$SELECT prm.record_metric(@ann, 'projects', 1, 'infinity')$$, '22023'),
  ($$SELECT prm.record_metric(-1, 'projects', 1)$$, '42704'),
  ($$SELECT prm.record_metric(NULL, NULL, NULL, NULL)$$, '42704'),
  ($$SELECT prm.record_metric(@ann, 'projects', 1, program_id => -1)$$, '42704'),
  ($$SELECT prm.record_customer_metric(@shop, 'projects', 'NaN')$$, '22023'),
  ($$SELECT prm.record_customer_metric(-1, 'projects', 1)$$, '42704'),
  ($$SELECT prm.record_customer_metric(@shop, 'nothing', 1)$$, '42704'),
  ($$INSERT INTO prm.metric (metric, label) VALUES ('projects', 'Again')$$, '23505'),
  ($$INSERT INTO prm.metric (metric, label) VALUES ('', 'None')$$, '23514'),
  ($$INSERT INTO prm.metric (metric, label) VALUES ('   ', 'Blank')$$, '23514'),
  ($$INSERT INTO prm.metric (metric, label) VALUES (repeat('x', 5000), 'Long')$$, '23514'),
  ($$INSERT INTO prm.metric (metric, label, source, measure, window_kind) VALUES ('a', 'A', 'built_in', 'revenu', 'rolling_90_days')$$, '22023'),
  ($$INSERT INTO prm.metric (metric, label, source, measure, window_kind) VALUES ('a', 'A', 'built_in', 'revenue', '90 days')$$, '23514'),
  ($$INSERT INTO prm.metric (metric, label, source, measure) VALUES ('a', 'A', 'built_in', 'revenue')$$, '22023'),
  ($$INSERT INTO prm.metric (metric, label, source, measure, certification) VALUES ('a', 'A', 'built_in', 'certified_people', 'salez')$$, '23503'),
  ($$INSERT INTO prm.metric (metric, label, plausible_low, plausible_high) VALUES ('a', 'A', 10, 1)$$, '23514'),
  ($$INSERT INTO prm.metric (metric, label, source, relation) VALUES ('a', 'A', 'view', 'public.nothing_there')$$, '22023'),
  ($$INSERT INTO prm.metric (metric, label, source, relation) VALUES ('a', 'A', 'view', 'SELECT 1; DROP TABLE x')$$, '22023'),
  ($$INSERT INTO prm.metric (metric, label, source, relation) VALUES ('a', 'A', 'view', 'pg_catalog.pg_class')$$, '22023'),
  ($$INSERT INTO prm.metric (metric, label, source) VALUES ('a', 'A', 'view')$$, '22023'),
  ($$DELETE FROM prm.metric WHERE metric = 'revenue_12m'$$, '23503'),
  ($$DELETE FROM prm.metric WHERE metric = 'projects'$$, '23503'),
  ($$UPDATE prm.metric SET metric = 'works' WHERE metric = 'projects'$$, '23503'),
  ($$SELECT * FROM prm.benchmark('win_rates')$$, '42704'),
  ($$SELECT * FROM prm.benchmark('win_rate', NULL, '{"att": "now"}')$$, '22023'),
  ($$SELECT * FROM prm.benchmark('win_rate', NULL, '{"at": "yesterdayish"}')$$, '22023'),
  ($$SELECT * FROM prm.benchmark('win_rate', NULL, '[]')$$, '22023'),
  ($$SELECT * FROM prm.benchmark('win_rate', NULL, '{"segment": "x"}')$$, '42704'),
  ($$INSERT INTO prm.metric_benchmark (metric, p25, p50, p75) VALUES ('win_rate', 0.5, 0.3, 0.2)$$, '23514'),
  ($$INSERT INTO prm.metric_benchmark (metric, p50) VALUES ('win_rate', 'NaN')$$, '22023'),
  ($$INSERT INTO prm.metric_benchmark (metric, p50) VALUES ('win_rate', 30)$$, '22023'),
  ($$INSERT INTO prm.metric_benchmark (metric, p50) VALUES ('win_rate', 0.3), ('win_rate', 0.4)$$, '23P01'),
  ($$INSERT INTO prm.metric_benchmark (metric, segment, p50) VALUES ('win_rate', 'top_sellers', 0.3)$$, '23503'),
  ($$INSERT INTO prm.health_model (model, label, segment) VALUES ('big', 'Big ones', 'bigs')$$, '23503'),
  -- health
  ($$SELECT * FROM prm.health(NULL)$$, '42704'),
  ($$SELECT * FROM prm.explain_health(-1)$$, '42704'),
  ($$SELECT * FROM prm.health_changes(@ann, '2030-01-01')$$, '22023'),
  ($$SELECT * FROM prm.health_trend(@ann, 0)$$, '22023'),
  ($$SELECT * FROM prm.health_portfolio('colour')$$, '22023'),
  ($$SELECT * FROM prm.health_portfolio('kind', '{"gold": 5}')$$, '42704'),
  ($$SELECT * FROM prm.health_portfolio('kind', '{"green": "lots"}')$$, '22023'),
  ($$SELECT * FROM prm.health_backtest('standrad')$$, '42704'),
  ($$SELECT * FROM prm.health_backtest('standard', '-3 days')$$, '22023'),
  ($$SELECT * FROM prm.health_backtest('standard', '3 days', '{"dates": "many"}')$$, '22023'),
  ($$SELECT * FROM prm.health_backtest('standard', '3 days', '{"dates": 1e30}')$$, '22023'),
  ($$SELECT * FROM prm.health_backtest('standard', '3 days', '{"every": "often"}')$$, '22023'),
  ($$SELECT * FROM prm.health_backtest('standard', '3 days', '{"drop_to": 50}')$$, '22023'),
  ($$SELECT * FROM prm.health_backtest('standard', '3 days', '{"drop_to": "NaN"}')$$, '22023'),
  ($$SELECT * FROM prm.health_backtest('standard', '3 days', '[]')$$, '22023'),
  ($$SELECT prm.record_choice(@ann, 'projects', 'good')$$, '42704'),
  ($$INSERT INTO prm.health_model (model, label) VALUES ('second', 'Another for everybody')$$, '23505'),
  ($$INSERT INTO prm.health_model (model, label, is_active, kind, options) VALUES ('m', 'M', false, 'additive', '{"strat": 5}')$$, '22023'),
  ($$INSERT INTO prm.health_metric (model, metric, group_name, how, low, high) VALUES ('standard', 'projects', 'g', 'linear', 10, 0)$$, '23514'),
  ($$INSERT INTO prm.health_metric (model, metric, group_name, how, low, high) VALUES ('standard', 'projects', 'g', 'linaer', 0, 10)$$, '23514'),
  ($$INSERT INTO prm.health_metric (model, metric, group_name, how, low, high) VALUES ('standard', 'return_rate', 'g', 'inverse', 0, 50)$$, '22023'),
  ($$INSERT INTO prm.health_metric (model, metric, group_name, how, low, high, weight) VALUES ('standard', 'projects', 'g', 'linear', 0, 10, -1)$$, '23514'),
  ($$INSERT INTO prm.health_metric (model, metric, group_name, how, low, high, knock_out_below, knock_out_cap) VALUES ('standard', 'projects', 'g', 'linear', 0, 10, 1, 'NaN')$$, '23514'),
  ($$INSERT INTO prm.health_metric (model, metric, group_name, how, options) VALUES ('standard', 'projects', 'g', 'choice', '{"choices": {}}')$$, '22023'),
  ($$INSERT INTO prm.health_metric (model, metric, group_name, how, low, high) VALUES ('standard', 'projcets', 'g', 'linear', 0, 10)$$, '23503'),
  ($$INSERT INTO prm.health_band (model, band, lower, rank) VALUES ('standard', 'blue', 'NaN', 4)$$, '23514'),
  ($$INSERT INTO prm.health_band (model, band, lower, rank) VALUES ('standard', '', 50, 4)$$, '23514'),
  ($$SELECT prm.normalize_metric(5, 'linear', 10, 0)$$, '22023'),
  ($$SELECT prm.normalize_metric('NaN', 'linear', 0, 10)$$, '22023'),
  -- tiers and benefits
  ($$INSERT INTO prm.tier_requirement (tier, metric, op, threshold) VALUES ('silver', 'win_rate', '=>', 0.2)$$, '23514'),
  ($$INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('silver', 'win_rate', 20)$$, '22023'),
  ($$INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('silver', 'win_rate', -0.2)$$, '22023'),
  ($$INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('silver', 'open_pipeline', -1)$$, '22023'),
  ($$INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('silver', 'projects', 1000)$$, '22023'),
  ($$INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('silver', 'ltv', 'NaN')$$, '23514'),
  ($$INSERT INTO prm.tier_requirement (tier, metric, threshold, keep_threshold) VALUES ('silver', 'win_rate', 0.2, 5)$$, '22023'),
  ($$INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('silver', 'win_rate', NULL)$$, '23502'),
  ($$INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('silver', 'revenue_12m', 1)$$, '23505'),
  ($$INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('bronze', 'revenue_12m', 1)$$, '23503'),
  ($$INSERT INTO prm.tier (ladder, tier, rank, label) VALUES ('cluod', 'x', 1, 'X')$$, '23503'),
  ($$INSERT INTO prm.tier (ladder, tier, rank, label) VALUES ('cloud', 'x', 1, 'X')$$, '23505'),
  ($$INSERT INTO prm.tier (tier, rank, label) VALUES ('', 9, 'X')$$, '23514'),
  ($$INSERT INTO prm.ladder (ladder, label) VALUES (' ', 'X')$$, '23514'),
  ($$INSERT INTO prm.tier_policy (ladder, mode) VALUES ('cloud', 'points')$$, '23514'),
  ($$INSERT INTO prm.tier_market (threshold_multiplier) VALUES (0.5)$$, '23514'),
  ($$DELETE FROM prm.tier WHERE tier = 'certified'$$, '23503'),
  ($$DELETE FROM prm.ladder WHERE ladder = 'main'$$, '23503'),
  ($$SELECT * FROM prm.evaluate_tiers(@ann, '{"lader": "main"}')$$, '22023'),
  ($$SELECT * FROM prm.evaluate_tiers(@ann, '{"ladder": "mian"}')$$, '42704'),
  ($$SELECT * FROM prm.evaluate_tiers(@ann, '[]')$$, '22023'),
  ($$SELECT * FROM prm.evaluate_tiers(NULL, '{"partners": ["a"]}')$$, '22023'),
  ($$SELECT * FROM prm.evaluate_tiers(NULL, '{"partners": [1.5]}')$$, '22023'),
  ($$SELECT * FROM prm.evaluate_tiers(NULL, '{"partners": [1e30]}')$$, '22023'),
  ($$SELECT * FROM prm.evaluate_tiers(NULL, '{"partners": [-1]}')$$, '42704'),
  ($$SELECT * FROM prm.tier_gap(@ann, 'platin')$$, '42704'),
  ($$SELECT * FROM prm.tier_gap(@ann, 'gold', '[]')$$, '22023'),
  ($$SELECT prm.plan_tier(@ann, 'gold', '{"due_on": "soon"}')$$, '22023'),
  ($$SELECT prm.plan_tier(@ann, 'gold', '{"due_on": "2020-01-01"}')$$, '22023'),
  ($$SELECT prm.plan_tier(@ann, 'gold', '{"due_on": "infinity"}')$$, '22023'),
  ($$SELECT prm.plan_tier(@ann, 'gold', '{"for": "me"}')$$, '22023'),
  ($$SELECT prm.plan_tier(@ann, 'gold', '{"role": "nobody_is_called_that"}')$$, '42704'),
  ($$SELECT prm.plan_tier(@ann, 'gold', '{"track": "quick"}')$$, '55000'),
  ($$SELECT prm.drop_tier_plan(-1)$$, '42704'),
  ($$SELECT prm.pin_tier(@ann, 'gold', NULL, '')$$, '22023'),
  ($$SELECT prm.pin_tier(@ann, 'gold', '2020-01-01', 'x')$$, '22023'),
  ($$SELECT prm.pin_tier(@ann, 'golden', NULL, 'x')$$, '42704'),
  ($$SELECT prm.set_tier_cap(@ann, 'gold', NULL, NULL)$$, '22023'),
  ($$SELECT prm.approve_tier(-1)$$, '42704'),
  ($$SELECT prm.refuse_tier(-1, ' ')$$, '22023'),
  ($$SELECT prm.enrol_partner(@ann, 'cluod')$$, '42704'),
  ($$SELECT prm.enrol_partner(@ann, 'cloud', '2026-12-01', '2026-11-01')$$, '22023'),
  ($$SELECT prm.enrol_partner(@ann, 'cloud', 'infinity')$$, '22023'),
  ($$SELECT prm.entitlement(@ann, 'discount')$$, '42704'),
  ($$INSERT INTO prm.benefit (tier, benefit, kind, value) VALUES ('gold', 'x', 'discount', '20%')$$, '23514'),
  ($$INSERT INTO prm.benefit (tier, benefit, kind, value) VALUES ('gold', 'x', 'discount', '250')$$, '23514'),
  ($$INSERT INTO prm.benefit (tier, benefit, kind, value) VALUES ('gold', 'x', 'discount', '-5')$$, '23514'),
  ($$INSERT INTO prm.benefit (tier, benefit, kind, value) VALUES ('gold', 'x', 'rebate', '5')$$, '23514'),
  ($$INSERT INTO prm.benefit (tier, benefit, value) VALUES ('gold', '', 'x')$$, '23514'),
  ($$INSERT INTO prm.benefit (tier, certification, benefit, value) VALUES ('gold', 'sales', 'x', 'x')$$, '23514'),
  ($$INSERT INTO prm.benefit (tier, benefit, kind, value) VALUES ('gold', 'discount_percent', 'discount', '22')$$, '23P01'),
  -- certificates
  ($$SELECT * FROM prm.lms_ingest('{}')$$, '22023'),
  ($$SELECT * FROM prm.lms_ingest(NULL)$$, '22023'),
  ($$SELECT prm.renew_certificate(-1)$$, '42704'),
  ($$SELECT prm.renew_certificate(@cert, '2031-01-01')$$, '55000'),
  ($$SELECT prm.renew_certificate(@cert, 'infinity')$$, '22023'),
  ($$SELECT prm.revoke_certificate(@cert, '')$$, '22023'),
  ($$SELECT prm.revoke_certificate(@cert, 'x', 'infinity')$$, '22023'),
  ($$SELECT prm.revoke_certificate(-1, 'x')$$, '42704'),
  ($$SELECT * FROM prm.certificate_impact(-1)$$, '42704'),
  ($$INSERT INTO prm.certification (certification, label, valid_months) VALUES ('c', 'C', -1)$$, '23514'),
  ($$INSERT INTO prm.certificate (partner_user_id, certification, issued_on, valid_until) VALUES (@eve, 'sales', '2026-06-01', '2020-06-01')$$, '23514'),
  ($$INSERT INTO prm.certificate (partner_user_id, certification, issued_on) VALUES (-1, 'sales', '2026-06-01')$$, '23503'),
  ($$INSERT INTO prm.certificate (partner_user_id, certification, issued_on) VALUES (@eve, 'slaes', '2026-06-01')$$, '23503'),
  ($$INSERT INTO prm.exam (exam, label, pass_mark) VALUES ('e', 'E', 120)$$, '23514'),
  ($$INSERT INTO prm.exam_attempt (partner_user_id, exam, score, attempted_at) VALUES (@eve, 'sales', 150, '2026-06-01')$$, '23514'),
  ($$INSERT INTO prm.track_step (track, position) VALUES ('sales', 9)$$, '23514'),
  ($$DELETE FROM prm.certification WHERE certification = 'sales'$$, '23503'),
  -- segments and the ideal partner
  ($$INSERT INTO prm.segment (segment, label, criteria) VALUES ('s', 'S', '$.partner.contry == "DE"')$$, '22023'),
  ($$INSERT INTO prm.segment (segment, label, criteria) VALUES ('s', 'S', '$.metrics.revenue >= 1')$$, '22023'),
  ($$INSERT INTO prm.segment (segment, label, criteria) VALUES ('s', 'S', '$.metrics.revenue_12m => 1')$$, '22P02'),
  ($$INSERT INTO prm.segment (segment, label, criteria) VALUES ('s', 'S', '$.metrics.revenue_12m >= "1000"')$$, '22023'),
  ($$INSERT INTO prm.segment (segment, label, criteria) VALUES ('s', 'S', '$.partner.country')$$, '22023'),
  ($$INSERT INTO prm.segment (segment, label, criteria) VALUES ('s', 'S', '')$$, '22P02'),
  ($$INSERT INTO prm.segment (segment, label) VALUES (' ', 'S')$$, '23514'),
  ($$SELECT prm.add_segment_member('nosuch', @ann)$$, '42704'),
  ($$SELECT prm.add_segment_member('handpicked', @ann, 'x', '2001-01-01')$$, '22023'),
  ($$SELECT * FROM prm.explain_segment(@ann, 'x')$$, '42704'),
  ($$SELECT * FROM prm.ipp_score(@ann, 'standard', '{"version": "two"}')$$, '22023'),
  ($$SELECT * FROM prm.ipp_score(@ann, 'standard', '{"version": 99999999999}')$$, '42704'),
  ($$SELECT * FROM prm.ipp_score(@ann, 'standard', '{"versoin": 1}')$$, '22023'),
  ($$SELECT * FROM prm.ipp_validate('standard', '1 month', '{"joined_from": "long ago"}')$$, '22023'),
  ($$INSERT INTO prm.ipp_criterion (criterion, criteria, weight) VALUES ('c', '$.partner.attributes.x >= 1', -1)$$, '23514'),
  -- surveys
  ($$SELECT prm.open_survey_wave('custmer_nps')$$, '42704'),
  ($$SELECT prm.open_survey_wave('customer_nps', '2001-01-01')$$, '22023'),
  ($$SELECT prm.open_survey_wave('customer_nps', 'infinity')$$, '22023'),
  ($$SELECT prm.nps_response(@ann, 11)$$, '22023'),
  ($$SELECT prm.nps_response(@ann, 7.5)$$, '22023'),
  ($$SELECT prm.nps_response(@ann, NULL)$$, '22023'),
  ($$SELECT prm.nps_response(-1, 5)$$, '42704'),
  ($$SELECT prm.nps_response(@ann, 5, 'nosuch')$$, '42704'),
  ($$SELECT prm.nps_response(@ann, 5, options => '{"customer": 1}')$$, '22023'),
  ($$SELECT prm.nps_response(@ann, 5, options => '{"customer_id": "one"}')$$, '22023'),
  ($$SELECT prm.nps_response(@ann, 5, options => '{"customer_id": -1}')$$, '42704'),
  ($$SELECT prm.nps_response(@ann, 5, options => '{"answered_at": "someday"}')$$, '22023'),
  ($$SELECT prm.nps_response(@ann, 5, options => '{"answered_at": "2031-01-01"}')$$, '22023'),
  ($$SELECT prm.nps_response(@bob, 4, 'partner_nps', 'r1')$$, '23505'),
  ($$INSERT INTO prm.survey (survey, label, asks) VALUES ('s', 'S', 'everyone')$$, '23514'),
  ($$DELETE FROM prm.survey WHERE survey = 'partner_nps'$$, '23503'),
  -- recognition
  ($$SELECT * FROM prm.leaderboard('revenu')$$, '42704'),
  ($$SELECT * FROM prm.leaderboard('usage:nosuch')$$, '42704'),
  ($$SELECT * FROM prm.leaderboard('revenue', '2026-12-01', '2026-01-01')$$, '22023'),
  ($$SELECT * FROM prm.leaderboard('revenue', NULL, NULL, '{"limit": -5}')$$, '22023'),
  ($$SELECT prm.add_points(@ann, 'NaN', 'x')$$, '22023'),
  ($$SELECT prm.add_points(@ann, 10, '')$$, '22023'),
  ($$SELECT prm.award_badge(@ann, 'nosuch')$$, '42704'),
  ($$SELECT prm.join_mission(@ann, 'nosuch')$$, '42704'),
  ($$SELECT prm.advance_mission(@ann, 'start', 'nostep')$$, '22023'),
  ($$SELECT prm.decide_mission(@ann, 'start', 'approved')$$, '55000'),
  ($$INSERT INTO prm.badge (badge, label, metric, threshold) VALUES ('b', 'B', 'revenue_12m', 'NaN')$$, '23514'),
  ($$INSERT INTO prm.badge (badge, label, metric, threshold) VALUES ('b', 'B', 'win_rate', 80)$$, '22023'),
  ($$INSERT INTO prm.badge (badge, label, metric, threshold) VALUES ('b', 'B', 'revenu', 1)$$, '23503'),
  ($$INSERT INTO prm.mission_step (mission, step, label, measure) VALUES ('start', 's', 'S', 'deals')$$, '23514'),
  ($$INSERT INTO prm.campaign (campaign, label, starts_at, ends_at, measure) VALUES ('c', 'C', '2026-02-01', '2026-01-01', 'leads')$$, '23514'),
  ($$INSERT INTO prm.campaign (campaign, label, starts_at, ends_at, measure, holdout_percent) VALUES ('c', 'C', '2026-01-01', '2026-02-01', 'leads', 0.1)$$, '23514'),
  -- usage
  ($$SELECT * FROM prm.usage_ingest('{}')$$, '22023'),
  ($$INSERT INTO prm.usage_activity (activity, label, weight) VALUES ('a', 'A', 'NaN')$$, '23514'),
  ($$INSERT INTO prm.adoption_policy (drop_percent) VALUES (0.5)$$, '23514'),
  ($$INSERT INTO prm.adoption_policy (drop_percent) VALUES (150)$$, '23514'),
  ($$INSERT INTO prm.usage_event (partner_id, activity, at, external_ref) VALUES (@ann, 'lgoin', '2026-06-01', 'q')$$, '23503')
) AS v(statement, told);
SELECT is(pg_temp.rows(), current_setting('test.before'), 'nothing was written by all of it');

-- Of a batch each item is told what is wrong with it.
SELECT results_eq($$ SELECT message FROM prm.lms_ingest('[1, {"kind": "exam"}, {"kind": "certificate", "external_ref": "z", "partner_user_ref": "nobody", "certification": "sales", "issued_on": "2026-01-01"},
    {"kind": "certificate", "external_ref": "z", "partner_user_ref": "eve", "certification": "sales", "issued_on": "2026-02-30"},
    {"kind": "attempt", "external_ref": "z", "partner_user_ref": "eve", "exam": "sales", "score": 820, "at": "2026-01-01T00:00:00Z"},
    {"kind": "completion", "external_ref": "z", "partner_user_ref": "eve", "couse": "sales_basics", "at": "2026-01-01T00:00:00Z"}, null]') WHERE outcome = 'rejected' ORDER BY item $$,
  ARRAY['it is no JSON object', 'kind is attempt, completion, certificate or enrolment', 'there is no such person', 'issued_on is no date', 'score is above 100, the highest there is', 'there is no field "couse"',
    'it is no JSON object'], 'what the learning system sends wrong');
SELECT results_eq($$ SELECT message FROM prm.usage_ingest('[null, {"external_ref": "q", "partner_ref": "nobody", "activity": "login", "at": "2026-01-01T00:00:00Z"},
    {"external_ref": "q", "partner_ref": "ann", "activity": "lgoin", "at": "2026-01-01T00:00:00Z"}, {"external_ref": "q", "partner_ref": "ann", "activity": "login", "at": "yesterday"},
    {"external_ref": "q", "partner_ref": "ann", "activity": "login", "at": "2046-01-01T00:00:00Z"}, {"external_ref": "q", "partner_ref": "ann", "activty": "login", "at": "2026-01-01T00:00:00Z"}]')
    WHERE outcome = 'rejected' ORDER BY item $$,
  ARRAY['it is no JSON object', 'there is no such partner', 'activity "lgoin" is not in prm.usage_activity', 'at is no moment in ISO 8601', 'at lies in the future', 'there is no field "activty"'],
  'what the portal sends wrong');
SELECT is((SELECT count(*) FROM prm.lms_ingest('[]')) + (SELECT count(*) FROM prm.usage_ingest('[]')) + (SELECT count(*) FROM prm.evaluate_tiers(NULL, '{"partners": []}')), 0::bigint, 'nothing in, nothing out');
SELECT is(pg_temp.rows(), current_setting('test.before'), 'nor was anything written by that');

-- The next step, where it is the point.
SELECT is(pg_temp.hint($$INSERT INTO prm.tier_requirement (tier, metric, op, threshold) VALUES ('silver', 'win_rate', '=>', 0.2)$$), 'What must hold is: op = ANY (ARRAY[''>='', ''<='']).', 'a broken rule is shown');
SELECT is(pg_temp.hint($$INSERT INTO prm.badge (badge, label, points) VALUES ('b', 'B', -1)$$), 'What must hold is: points >= 0 AND points < ''Infinity''.', 'without the types that nobody wrote');
SELECT is(pg_temp.hint($$INSERT INTO prm.point_rule (point_rule, label, source, points, per_amount) VALUES ('p', 'P', 'usage', 1, 5)$$),
  'What must hold is: CASE source WHEN ''earning'' THEN once_per = ''event'' ELSE per_amount IS NULL AND credit_type IS NULL AND rate_policy = ''in_force'' END.', 'one of several lines in one');
SELECT is(pg_temp.hint($$INSERT INTO prm.metric (metric, label, any_day_window) VALUES ('b', 'B', 'x')$$), '\d prm.metric shows the rule, constraint "metric_any_day_check".', 'a long rule is left to \d');
SELECT is(pg_temp.hint($$INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('silver', 'win_rate', 20)$$), 'It is a share: 20 % is 0.2.', 'percentages are shares');
SELECT is(pg_temp.hint($$DELETE FROM prm.survey WHERE survey = 'partner_nps'$$), 'UPDATE prm.survey SET is_active = false WHERE survey = ''partner_nps'' ends it and keeps them.', 'answers are kept');

-- What looks odd and is right.
SELECT prm.nps_response(:ann, 9, external_ref => 'day', options => '{"answered_at": "2026-06-01"}') AS day, prm.nps_response(:ann, 9, external_ref => 'hour', options => '{"answered_at": "2026-06-01T10:00"}') AS hour \gset
SELECT results_eq(format('SELECT answered_at FROM prm.survey_response WHERE program_id = %s AND external_ref IN (''day'', ''hour'') ORDER BY 1', :program),
  ARRAY['2026-05-31 22:00+00', '2026-06-01 08:00+00']::timestamptz[], 'an answer of a day, or without an offset, is of the zone of the programme');
INSERT INTO prm.metric (metric, label) VALUES ('Größe der Läden 店', 'Größe');
SELECT prm.record_metric(:ann, 'Größe der Läden 店', 3);
SELECT is((SELECT value FROM prm.partner_metrics(:ann) WHERE metric = 'Größe der Läden 店'), 3::numeric, 'names may have any letters');
INSERT INTO prm.tier_requirement (tier, metric, threshold, keep_threshold) VALUES ('silver', 'win_rate', 1, 0);
INSERT INTO prm.tier_requirement (tier, metric, op, threshold, keep_threshold) VALUES ('silver', 'response_hours', '<=', 24, 48);
SELECT is(count(*), 2::bigint, 'bounds at the ends of what a metric can be') FROM prm.tier_requirement WHERE program_id = :program AND tier = 'silver' AND metric IN ('win_rate', 'response_hours');

-- What can be defined, but never work, is found by check().
SELECT is((SELECT string_agg(c.object || ': ' || c.message, '; ') FROM prm.check() c WHERE c.object LIKE '%programme ' || :program || ')'), NULL, 'nothing is wrong yet');
INSERT INTO prm.tier_requirement (ladder, tier, metric, threshold) VALUES ('cloud', 'expert', 'projcets', 5);
INSERT INTO prm.tier_policy (ladder, mode) VALUES ('cloud', 'score');
UPDATE prm.tier_requirement SET keep_threshold = 12 WHERE program_id = :program AND tier = 'silver' AND metric = 'response_hours';
INSERT INTO prm.tier_market (country, metric, threshold_multiplier) VALUES ('IN', 'revenu', 0.5);
INSERT INTO prm.mission_step (mission, step, label, measure, kind) VALUES ('start', 's', 'S', 'usage', 'lgoin');
INSERT INTO prm.campaign (campaign, label, starts_at, ends_at, measure, kind) VALUES ('c', 'C', '2026-01-01', '2026-02-01', 'earning', 'boked');
INSERT INTO prm.point_rule (point_rule, label, source, kind, points) VALUES ('p', 'P', 'usage', 'lgoin', 5);
INSERT INTO prm.streak_rule (streak, label, activity) VALUES ('s', 'S', 'lgoin');
INSERT INTO prm.survey (survey, label, alert_role) VALUES ('s', 'S', 'nobody_is_called_that');
INSERT INTO prm.adoption_policy (rescue_role) VALUES ('nobody_is_called_that');
SELECT is((SELECT array_agg(w.line ORDER BY w.line COLLATE "C") FROM (SELECT replace(c.object, format(' (programme %s)', :program), '') || ': ' || c.message AS line FROM prm.check() c
    WHERE c.object LIKE '%programme ' || :program || ')') w), ARRAY[
  'adoption policy: it names role "nobody_is_called_that", which does not exist',
  'campaign c: it names earning kind "boked", which does not exist',
  'growth market IN: it names metric "revenu", which does not exist',
  'point rule p: it names activity "lgoin", which does not exist',
  'step s of mission start: it names activity "lgoin", which does not exist',
  'streak s: it names activity "lgoin", which does not exist',
  'survey s: it names role "nobody_is_called_that", which does not exist',
  'tier expert of ladder cloud: track "standard" is never met: it asks for metric "projcets", which does not exist',
  'tier expert of ladder cloud: track "standard" is never met: it goes by score, and no mark says how much is enough',
  'tier silver of ladder main: who reaches it is at risk at once: response_hours takes 12 to keep, and only 24 to reach'], 'definitions that can never work');

-- With its programme everything goes, also what is in use.
SELECT prm.create_program('Over', 'blank') AS over \gset
SELECT set_config('prm.program_id', :'over', true);
INSERT INTO prm.ladder (ladder, label) VALUES ('club', 'Club');
INSERT INTO prm.tier (ladder, tier, rank, label) VALUES ('club', 'member', 1, 'Member');
INSERT INTO prm.metric (metric, label) VALUES ('visits', 'Visits');
INSERT INTO prm.tier_requirement (ladder, tier, metric, threshold) VALUES ('club', 'member', 'visits', 1);
INSERT INTO prm.partner (name) VALUES ('Zoe') RETURNING partner_id AS zoe \gset
SELECT prm.record_metric(:zoe, 'visits', 3), prm.nps_response(:zoe, 9);
SELECT is((SELECT outcome FROM prm.evaluate_tiers(options => '{"ladder": "club"}')), 'promote', 'a ladder, a metric and a survey in use');
SELECT lives_ok(format('DELETE FROM prm.program WHERE program_id = %s', :over), 'go with the programme');

SELECT * FROM finish();
ROLLBACK;
