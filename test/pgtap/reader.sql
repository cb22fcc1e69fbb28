-- Partners read what concerns them, and nothing of anybody else: tiers, entitlements, health, metrics, tasks, segments, recognition and
-- leaderboards. Ann and Bob are partners of one programme, Zoe of another; each also attacks.
BEGIN;
SET LOCAL datestyle = 'ISO, YMD';
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SET LOCAL prm.clock = '2026-06-15 12:00+00';

CREATE ROLE prm_reader_ann;
CREATE ROLE prm_reader_bob;
CREATE ROLE prm_reader_zoe;
CREATE ROLE prm_reader_app;
CREATE ROLE prm_reader_analyst;
CREATE ROLE prm_reader_nobody;
DO $$ BEGIN
  PERFORM prm.grant_access(r, 'partner') FROM unnest('{prm_reader_ann,prm_reader_bob,prm_reader_zoe}'::text[]) r;
  PERFORM prm.grant_access('prm_reader_app', 'app'), prm.grant_access('prm_reader_analyst', 'analyst');
  EXECUTE format('GRANT USAGE ON SCHEMA %I TO prm_reader_ann, prm_reader_bob, prm_reader_zoe, prm_reader_app, prm_reader_analyst, prm_reader_nobody', (SELECT nspname FROM pg_namespace WHERE oid = pg_my_temp_schema()));
END $$;
GRANT USAGE ON SCHEMA prm TO prm_reader_nobody;

-- Zoe's programme first: her partner has the number of Ann's.
SELECT set_config('prm.program_id', prm.create_program('pgTAP readers elsewhere', 'blank', 'EUR')::text, true) AS elsewhere \gset
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'Zoe Ltd');
INSERT INTO prm.partner_login (role_name, partner_id) VALUES ('prm_reader_zoe', 1);

SELECT set_config('prm.program_id', prm.create_program('pgTAP readers', 'blank', 'EUR')::text, true) AS program \gset
INSERT INTO prm.partner (partner_id, name, kind) VALUES (1, 'Ann Ltd', 'reseller'), (2, 'Bob Ltd', 'reseller'), (3, 'Cyd Ltd', 'reseller');
INSERT INTO prm.partner_login (role_name, partner_id) VALUES ('prm_reader_ann', 1), ('prm_reader_bob', 2);
INSERT INTO prm.metric (metric, label, partner_visible) VALUES ('sales', 'Sales', true), ('calls', 'Calls', true), ('mood', 'Mood', false), ('risk', 'Risk', false);
UPDATE prm.metric SET partner_visible = metric = 'revenue_12m' WHERE program_id = :program AND NOT metric IN ('sales', 'calls', 'mood', 'risk');
INSERT INTO prm.tier (tier, rank, label) VALUES ('silver', 1, 'Silver'), ('gold', 2, 'Gold');
INSERT INTO prm.tier_policy (entry_tier, review, grace) VALUES ('silver', '0', '0');
INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('gold', 'sales', 100), ('gold', 'mood', 7);
INSERT INTO prm.benefit (tier, benefit, kind, value) VALUES ('silver', 'discount', 'discount', '10'), ('gold', 'discount', 'discount', '20');
INSERT INTO prm.deal (deal_id, partner_id, name, amount, currency) VALUES (1, 1, 'a', 500, 'EUR'), (2, 2, 'b', 900, 'EUR');
UPDATE prm.deal SET state = 'won', closed_at = '2026-06-01' WHERE program_id = :program;
DO $$ BEGIN
  PERFORM prm.record_metric(p, m, v, '2026-06-01') FROM (VALUES (1, 'sales', 60), (1, 'calls', 8), (1, 'mood', 5), (1, 'risk', 3), (2, 'sales', 80), (2, 'calls', 6), (2, 'mood', 9), (2, 'risk', 7), (3, 'sales', 10)) AS x(p, m, v);
  PERFORM count(*) FROM prm.evaluate_tiers();
END $$;

-- ---- what Ann needs for gold, and what she has ------------------------------------------------------------------------
SET LOCAL ROLE prm_reader_ann;
SELECT results_eq($$ SELECT metric, have, need, missing, met FROM prm.tier_gap(1) $$, $$ VALUES ('mood'::text, NULL::numeric, 7::numeric, NULL::numeric, false), ('sales', 60, 100, 40, false) $$,
  'a partner reads its gap; of a metric that it may not see only whether it is enough');
SELECT results_eq($$ SELECT metric FROM prm.tier_gap(1, 'gold', '{"ladder": "main"}') ORDER BY 1 $$, $$ VALUES ('mood'::text), ('sales') $$, 'with all arguments');
SELECT throws_ok($$ SELECT * FROM prm.tier_gap(1, 'bronze') $$, '42704', NULL, 'an unknown tier is an error as for staff');
SELECT throws_ok($$ SELECT * FROM prm.tier_gap(2) $$, '42704', 'partner 2 does not exist', 'not another''s');
SELECT throws_ok($$ SELECT * FROM prm._own_tier_gap(2, NULL, '{}', prm.current_program()) $$, '42704', 'partner 2 does not exist', 'nor by the function behind it');
SELECT throws_ok(format($$ SELECT * FROM prm.tier_gap(1, program_id => %s) $$, :elsewhere), '42704', NULL, 'nor of the same number in another programme');
SELECT throws_ok(format($$ SELECT * FROM prm._own_tier_gap(1, NULL, '{}', %s) $$, :elsewhere), '42501', 'no partner asks', 'nor so');
SELECT throws_ok($$ SELECT * FROM prm._tier_gap(prm.current_program(), 2, NULL, '{}') $$, '42501', NULL, 'nor with the function that does not ask who asks');
SET LOCAL prm.partner_id = '2';
SELECT is((SELECT have FROM prm.tier_gap(1) WHERE metric = 'sales'), 60::numeric, 'a partner''s role cannot choose to be another');
SELECT throws_ok($$ SELECT * FROM prm.tier_gap(2) $$, '42704', 'partner 2 does not exist', 'not by the setting');
SELECT throws_ok($$ SELECT * FROM prm._own_tier_gap(2, NULL, '{}', prm.current_program()) $$, '42704', 'partner 2 does not exist', 'which functions with the owner''s rights do not believe either');
SELECT throws_ok($$ SELECT * FROM prm._own_health(2, prm.current_program()) $$, '42704', NULL, 'health');
SELECT throws_ok($$ SELECT * FROM prm._own_explain_health(2, prm.current_program()) $$, '42704', NULL, 'its parts');
SELECT throws_ok($$ SELECT * FROM prm._own_segments(2, prm.current_program()) $$, '42704', NULL, 'segments');
SELECT throws_ok($$ SELECT * FROM prm._own_leaderboard(2, 'sales', prm.current_program()) $$, '42704', NULL, 'leaderboards');
SELECT throws_ok($$ SELECT * FROM prm._own_metric(2, 'sales', prm.current_program()) $$, '42704', NULL, 'metrics');
SET LOCAL request.jwt.claims = '{"partner_id": 2}';
SELECT is(prm._own_partner(prm.current_program(), 1), 1::bigint, 'nor by a claim');
SET LOCAL request.jwt.claims = '';
SET LOCAL prm.partner_id = '';
RESET ROLE;
SET LOCAL ROLE prm_reader_bob;
SELECT results_eq($$ SELECT metric, have, met FROM prm.tier_gap(2) $$, $$ VALUES ('sales'::text, 80::numeric, false), ('mood', NULL, true) $$, 'another partner reads another gap');
RESET ROLE;
SET LOCAL ROLE prm_reader_zoe;
SELECT throws_ok($$ SELECT * FROM prm.tier_gap(1) $$, '42704', NULL, 'a partner of another programme reads nothing here');
SELECT throws_ok($$ SELECT * FROM prm._own_tier_gap(1, NULL, '{}', prm.current_program()) $$, '42501', 'no partner asks', 'though it has the same number');
RESET ROLE;
SET LOCAL ROLE prm_reader_nobody;
SELECT throws_ok($$ SELECT * FROM prm._own_health(1, prm.current_program()) $$, '42501', NULL, 'a stranger may not call it');
RESET ROLE;
SET LOCAL ROLE prm_reader_app;
SELECT is((SELECT have FROM prm.tier_gap(2) WHERE metric = 'mood'), 9::numeric, 'an application that acts for nobody reads as staff');
SET LOCAL prm.partner_id = '2';
SELECT results_eq($$ SELECT metric, have FROM prm.tier_gap(2) $$, $$ VALUES ('sales'::text, 80::numeric), ('mood', NULL) $$, 'and what the partner reads for whom it acts');
SELECT throws_ok($$ SELECT * FROM prm.tier_gap(1) $$, '42704', 'partner 1 does not exist', 'not another''s');
SELECT throws_ok($$ SELECT * FROM prm._own_health(1, prm.current_program()) $$, '42704', NULL, 'by no way');
SET LOCAL prm.partner_id = '';
RESET ROLE;
SET LOCAL ROLE prm_reader_analyst;
SET LOCAL prm.partner_id = '2';
SELECT is((SELECT have FROM prm.tier_gap(1) WHERE metric = 'mood'), 5::numeric, 'the setting makes an analyst no partner');
SELECT throws_ok($$ SELECT * FROM prm._own_health(2, prm.current_program()) $$, '42501', 'no partner asks', 'nor here');
SET LOCAL prm.partner_id = '';
RESET ROLE;
-- A track with points: the sum would tell of the one metric that is hidden.
INSERT INTO prm.ladder (ladder, label) VALUES ('points', 'Points');
INSERT INTO prm.tier (ladder, tier, rank, label) VALUES ('points', 'star', 1, 'Star');
INSERT INTO prm.tier_policy (ladder, mode, mark, review, grace) VALUES ('points', 'score', 50, '0', '0');
INSERT INTO prm.tier_requirement (ladder, tier, track, metric, threshold, weight) VALUES ('points', 'star', 'a', 'sales', 100, 60), ('points', 'star', 'a', 'mood', 10, 40), ('points', 'star', 'b', 'sales', 100, 100);
SELECT results_eq($$ SELECT track, metric, have, points, met FROM prm.tier_gap(1, 'star') WHERE metric <> 'sales' $$, $$ VALUES ('a'::text, 'mood'::text, 5::numeric, 20::numeric, false), ('a', 'score', 56, 56, true), ('b', 'score', 60, 60, true) $$, 'staff reads the points');
SET LOCAL ROLE prm_reader_ann;
SELECT results_eq($$ SELECT track, metric, have, points, met FROM prm.tier_gap(1, 'star') $$,
  $$ VALUES ('a'::text, 'mood'::text, NULL::numeric, NULL::numeric, false), ('a', 'sales', 60, 36, false), ('a', 'score', NULL, NULL, true), ('b', 'sales', 60, 60, false), ('b', 'score', 60, 60, true) $$,
  'a partner those of what it sees, and a score only where it sees all of it');
RESET ROLE;

-- ---- what the vendor wrote down for itself ----------------------------------------------------------------------------
DO $$ BEGIN PERFORM prm.pin_tier(1, 'silver', '2027-01-01', 'too weak to lose'), prm.set_tier_cap(1, 'silver', NULL, 'late payer'); END $$;
SET LOCAL ROLE prm_reader_ann;
SELECT results_eq($$ SELECT ladder, tier, cap_tier FROM prm.enrolment WHERE ladder = 'main' $$, $$ VALUES ('main'::text, 'silver'::text, 'silver'::text) $$, 'a partner reads where it stands');
SELECT throws_ok($$ SELECT pin_reason FROM prm.enrolment $$, '42501', NULL, 'not why it is pinned');
SELECT throws_ok($$ SELECT cap_reason FROM prm.enrolment $$, '42501', NULL, 'nor why it is capped');
SELECT throws_ok($$ SELECT * FROM prm.enrolment $$, '42501', NULL, 'nor all at once');
SELECT isnt_empty($$ SELECT to_tier, outcome, at FROM prm.tier_history $$, 'what happened to it');
SELECT throws_ok($$ SELECT metrics FROM prm.tier_history $$, '42501', NULL, 'not by which values of metrics that it may not see');
SELECT throws_ok($$ SELECT reason FROM prm.tier_history $$, '42501', NULL, 'nor the notes');
SELECT throws_ok($$ SELECT metrics FROM prm.tier_approval $$, '42501', NULL, 'nor of approvals');
RESET ROLE;
DO $$ BEGIN PERFORM prm.pin_tier(1, NULL, NULL, 'over'), prm.set_tier_cap(1, NULL, NULL, 'over'); END $$;

-- ---- entitlements -----------------------------------------------------------------------------------------------------
SET LOCAL ROLE prm_reader_ann;
SELECT results_eq($$ SELECT partner_id, benefit, value, tier FROM prm.v_entitlement $$, $$ VALUES (1::bigint, 'discount'::text, '10'::text, 'silver'::text) $$, 'its own entitlements');
SELECT is(prm.entitlement(1, 'discount'), '10', 'by name');
SELECT throws_ok($$ SELECT prm.entitlement(2, 'discount') $$, '42704', 'partner 2 does not exist', 'not another''s');
RESET ROLE;
SET LOCAL ROLE prm_reader_app;
SET LOCAL prm.partner_id = '2';
SELECT results_eq($$ SELECT partner_id, value FROM prm.v_entitlement WHERE program_id = prm.current_program() $$, $$ VALUES (2::bigint, '10'::text) $$, 'an application reads those of the partner for whom it acts');
SET LOCAL prm.partner_id = '';
RESET ROLE;
SET LOCAL ROLE prm_reader_zoe;
SELECT is_empty($$ SELECT * FROM prm.v_entitlement $$, 'a partner of another programme none');
RESET ROLE;

-- ---- health -----------------------------------------------------------------------------------------------------------
INSERT INTO prm.health_model (model, label) VALUES ('standard', 'Standard');
INSERT INTO prm.health_metric (model, metric, group_name, aspect, weight, low, high) VALUES ('standard', 'sales', 'results', 'performance', 50, 0, 100), ('standard', 'calls', 'results', 'performance', 30, 0, 10),
  ('standard', 'mood', 'relation', 'relationship', 10, 0, 10), ('standard', 'risk', 'relation', 'relationship', 10, 0, 10);
INSERT INTO prm.health_band (model, band, lower, rank) VALUES ('standard', 'red', 0, 1), ('standard', 'green', 50, 2);
SELECT score AS score, performance AS performance FROM prm.health(1) \gset
SET LOCAL ROLE prm_reader_ann;
SELECT results_eq($$ SELECT score, band, coverage, model, performance, relationship FROM prm.health(1) $$, format($$ VALUES (%s::numeric, 'green'::text, 1::numeric, 'standard'::text, %s::numeric, NULL::numeric) $$, :score, :performance),
  'its health, the same as for staff; an aspect with hidden metrics has none');
SELECT results_eq($$ SELECT group_name, metric, value FROM prm.explain_health(1) $$, $$ VALUES ('results'::text, 'sales'::text, 60::numeric), ('results', 'calls', 8), ('other', NULL, NULL) $$, 'why, as far as it may know');
SELECT is((SELECT sum(contribution) FROM prm.explain_health(1)), :score::numeric, 'and it still sums to the score');
SELECT is((SELECT count(*) FROM prm.explain_health(1) WHERE aspect = 'relationship' OR choice IS NOT NULL OR note ~ 'mood|risk'), 0::bigint, 'nothing names what is hidden');
SELECT throws_ok($$ SELECT * FROM prm.health(2) $$, '42704', 'partner 2 does not exist', 'not another''s');
SELECT throws_ok($$ SELECT * FROM prm.explain_health(2) $$, '42704', 'partner 2 does not exist', 'nor its parts');
SELECT throws_ok($$ SELECT * FROM prm.health_metric $$, '42501', NULL, 'the model is the vendor''s');
SELECT throws_ok($$ SELECT * FROM prm.health_snapshot $$, '42501', NULL, 'so are the snapshots');
SELECT throws_ok($$ SELECT * FROM prm._health_scores(prm.current_program(), NULL, prm.now()) $$, '42501', NULL, 'the functions within read with its own rights');
SELECT throws_ok($$ SELECT * FROM prm._shown_health(prm.current_program(), 2, prm._own_health_definitions(prm.current_program())) $$, '42501', NULL, 'all of them');
RESET ROLE;
UPDATE prm.metric SET partner_visible = false WHERE program_id = :program AND metric = 'revenue_12m';
SET LOCAL ROLE prm_reader_ann;
SELECT is((SELECT prm.revenue_12m(p) FROM prm.partner p), NULL::numeric, 'what it may not see it does not see of its own row');
RESET ROLE;
UPDATE prm.metric SET partner_visible = true WHERE program_id = :program AND metric = 'revenue_12m';
SET LOCAL ROLE prm_reader_ann;
-- Functions over a row, which anybody can make up.
SELECT is((SELECT format('%s %s %s', prm.health_score(p) = :score, prm.health_band(p), prm.revenue_12m(p)) FROM prm.partner p), 't green 500', 'of its own row');
SELECT is(prm.health_score(jsonb_populate_record(NULL::prm.partner, jsonb_build_object('program_id', prm.current_program(), 'partner_id', 2))), NULL::numeric, 'a row that it made up tells nothing');
SELECT is(prm.health_band(jsonb_populate_record(NULL::prm.partner, jsonb_build_object('program_id', prm.current_program(), 'partner_id', 2))), 'unknown', 'no band');
SELECT is(prm.revenue_12m(jsonb_populate_record(NULL::prm.partner, jsonb_build_object('program_id', prm.current_program(), 'partner_id', 2))), NULL::numeric, 'no revenue');
SELECT throws_ok($$ SELECT * FROM prm.v_partner $$, '42501', NULL, 'views of all partners are the vendor''s');
SELECT throws_ok($$ SELECT * FROM prm.v_partner_metric $$, '42501', NULL, 'also those of metrics');
-- A view of its own without security_invoker, and a function with its rights, change nothing: they are its rights.
CREATE TEMP VIEW mine AS SELECT h.score, p.partner_id FROM prm.partner p CROSS JOIN LATERAL prm.health(p.partner_id) h;
GRANT SELECT ON mine TO prm_reader_bob;
SELECT results_eq($$ SELECT partner_id FROM mine $$, $$ VALUES (1::bigint) $$, 'through a view of its own');
RESET ROLE;
SET LOCAL ROLE prm_reader_bob;
SELECT results_eq($$ SELECT partner_id FROM mine $$, $$ VALUES (2::bigint) $$, 'which tells another of itself');
SELECT isnt((SELECT score FROM prm.health(2)), :score::numeric, 'another partner has another health');
RESET ROLE;
-- A function of the vendor's with the vendor's rights does not make the caller somebody else.
CREATE FUNCTION pg_temp.lent(the_partner bigint) RETURNS numeric LANGUAGE sql SECURITY DEFINER AS $$ SELECT h.score FROM prm._own_health(the_partner, prm.current_program()) h $$;
SET LOCAL ROLE prm_reader_ann;
SET LOCAL prm.partner_id = '2';
SELECT is(pg_temp.lent(1), :score::numeric, 'within a function with other rights the caller is still the partner');
SELECT throws_ok($$ SELECT pg_temp.lent(2) $$, '42704', NULL, 'and only that one');
SET LOCAL prm.partner_id = '';
RESET ROLE;

-- One hidden metric alone would be what is left of the score.
UPDATE prm.metric SET partner_visible = true WHERE program_id = :program AND metric = 'risk';
SET LOCAL ROLE prm_reader_ann;
SELECT results_eq($$ SELECT metric FROM prm.explain_health(1) $$, $$ VALUES ('sales'::text), ('calls'), (NULL) $$, 'one hidden metric takes another with it, that which counts least');
SELECT is((SELECT sum(contribution) FROM prm.explain_health(1)), :score::numeric, 'and the sum is right');
RESET ROLE;
UPDATE prm.metric SET partner_visible = true WHERE program_id = :program AND metric = 'mood';
SET LOCAL ROLE prm_reader_ann;
SELECT is((SELECT string_agg(metric, ',' ORDER BY metric) FROM prm.explain_health(1)), 'calls,mood,risk,sales', 'what may all be seen is all shown');
SELECT isnt((SELECT relationship FROM prm.health(1)), NULL, 'and the aspects');
RESET ROLE;
-- Knock-outs tell of the metric that did it.
UPDATE prm.health_metric SET knock_out_below = 4, knock_out_cap = 30 WHERE program_id = :program AND metric = 'risk';
SET LOCAL ROLE prm_reader_ann;
SELECT is((SELECT string_agg(coalesce(metric, group_name), ',' ORDER BY coalesce(metric, group_name)) FROM prm.explain_health(1)), 'calls,knock-out,mood,risk,sales', 'a cap by a metric that it sees');
RESET ROLE;
UPDATE prm.metric SET partner_visible = false WHERE program_id = :program AND metric IN ('mood', 'risk');
SET LOCAL ROLE prm_reader_ann;
SELECT is((SELECT string_agg(coalesce(metric, group_name), ',' ORDER BY coalesce(metric, group_name)) FROM prm.explain_health(1)), 'calls,other,sales', 'by one that it does not see it is among the rest');
SELECT is((SELECT sum(contribution) FROM prm.explain_health(1)), 30::numeric, 'and the sum is what is left');
RESET ROLE;
UPDATE prm.health_metric SET knock_out_below = NULL, knock_out_cap = NULL WHERE program_id = :program AND metric = 'risk';
-- Places among few partners.
UPDATE prm.health_metric SET how = 'percentile', low = NULL, high = NULL WHERE program_id = :program AND metric = 'sales';
SET LOCAL ROLE prm_reader_ann;
SELECT is((SELECT string_agg(coalesce(metric, group_name), ',' ORDER BY coalesce(metric, group_name)) FROM prm.explain_health(1)), 'calls,other', 'a place among three tells of the others, so it is not shown');
RESET ROLE;
INSERT INTO prm.partner (partner_id, name) SELECT i, 'P' || i FROM generate_series(11, 13) i;
DO $$ BEGIN PERFORM prm.record_metric(i, 'sales', i, '2026-06-01') FROM generate_series(11, 13) i; END $$;
SET LOCAL ROLE prm_reader_ann;
SELECT is((SELECT note FROM prm.explain_health(1) WHERE metric = 'sales'), 'place 2 of 6', 'among six it is');
RESET ROLE;
UPDATE prm.health_metric SET how = 'linear', low = 0, high = 100 WHERE program_id = :program AND metric = 'sales';
-- A hub does not read its members out of its own score.
UPDATE prm.partner SET parent_id = 1 WHERE program_id = :program AND partner_id = 2;
UPDATE prm.health_model SET rollup = 'mean' WHERE program_id = :program;
DO $$ BEGIN PERFORM prm.refresh_health(); END $$;
SELECT isnt((SELECT score FROM prm.health(1)), :score::numeric, 'for staff the hub has the mean');
SET LOCAL prm.clock = '2026-06-20 12:00+00';
SET LOCAL ROLE prm_reader_ann;
SELECT is((SELECT format('%s %s', score = :score, trend) FROM prm.health(1)), 't 0', 'the hub itself reads its own score, and its own trend');
SELECT is((SELECT count(*) FROM prm.explain_health(1) WHERE group_name = 'members'), 0::bigint, 'and no part of its members');
RESET ROLE;
UPDATE prm.health_model SET rollup = NULL WHERE program_id = :program;
-- Models that the vendor keeps to itself, and models whose name tells of a segment.
INSERT INTO prm.segment (segment, label, position) VALUES ('likely_to_churn', 'Likely to churn', 1), ('stars', 'Stars', 2);
INSERT INTO prm.segment_member (segment, partner_id, valid, actor) VALUES ('likely_to_churn', 1, '[2026-06-01 00:00+00,)', 'vendor'), ('stars', 1, '[2026-06-02 00:00+00,)', 'vendor'), ('stars', 2, '[2026-06-02 00:00+00,)', 'vendor');
INSERT INTO prm.health_model (model, label, segment) VALUES ('churn_watch', 'Churn watch', 'likely_to_churn');
INSERT INTO prm.health_metric (model, metric, group_name, low, high) VALUES ('churn_watch', 'sales', 'results', 0, 100), ('churn_watch', 'calls', 'results', 0, 10);
SET LOCAL ROLE prm_reader_ann;
SELECT results_eq($$ SELECT score, model, version FROM prm.health(1) $$, $$ VALUES (70::numeric, NULL::text, NULL::integer) $$, 'a model for a segment is not named');
RESET ROLE;
UPDATE prm.segment SET partner_visible = true WHERE program_id = :program AND segment = 'likely_to_churn';
SET LOCAL ROLE prm_reader_ann;
SELECT is((SELECT model FROM prm.health(1)), 'churn_watch', 'unless the segment is no secret');
RESET ROLE;
UPDATE prm.segment SET partner_visible = false WHERE program_id = :program AND segment = 'likely_to_churn';
UPDATE prm.health_model SET partner_visible = false WHERE program_id = :program AND model = 'churn_watch';
SET LOCAL ROLE prm_reader_ann;
SELECT results_eq($$ SELECT score, band, model FROM prm.health(1) $$, $$ VALUES (NULL::numeric, 'unknown'::text, NULL::text) $$, 'a model that is not for partners tells nothing');
SELECT is_empty($$ SELECT * FROM prm.explain_health(1) $$, 'nor why');
SELECT is((SELECT prm.health_score(p) FROM prm.partner p), NULL::numeric, 'nor by the row');
RESET ROLE;

-- ---- segments ---------------------------------------------------------------------------------------------------------
SET LOCAL ROLE prm_reader_ann;
SELECT is_empty($$ SELECT * FROM prm.my_segments() $$, 'no segment is told unless the vendor says so');
RESET ROLE;
UPDATE prm.segment SET partner_visible = true WHERE program_id = :program AND segment = 'stars';
SET LOCAL ROLE prm_reader_ann;
SELECT results_eq($$ SELECT segment, label, since FROM prm.my_segments() $$, $$ VALUES ('stars'::text, 'Stars'::text, '2026-06-02 00:00+00'::timestamptz) $$, 'then that one is');
SELECT throws_ok($$ SELECT * FROM prm.segment $$, '42501', NULL, 'the segments are the vendor''s');
SELECT throws_ok($$ SELECT * FROM prm.v_segment_member $$, '42501', NULL, 'also who is in them');
SELECT throws_ok($$ SELECT * FROM prm.explain_segment(1, 'likely_to_churn') $$, '42501', NULL, 'and why');
SELECT throws_ok($$ SELECT prm.segment_document(1) $$, '42501', NULL, 'and what decides');
SELECT throws_ok(format($$ SELECT * FROM prm.my_segments(%s) $$, :elsewhere), '55000', 'no partner acts', 'in another programme it is nobody');
RESET ROLE;
SET LOCAL ROLE prm_reader_app;
SET LOCAL prm.partner_id = '2';
SELECT results_eq($$ SELECT segment FROM prm.my_segments() $$, $$ VALUES ('stars'::text) $$, 'an application reads as the partner');
SET LOCAL prm.partner_id = '';
SELECT throws_ok($$ SELECT * FROM prm.my_segments() $$, '55000', 'no partner acts', 'as nobody it has none');
RESET ROLE;

-- A benefit that a segment gives is the partner's to know, the segment is not.
INSERT INTO prm.benefit (segment, benefit, kind, value) VALUES ('likely_to_churn', 'personal_visit', 'other', 'monthly');
DO $$ BEGIN PERFORM prm._sync_benefits(prm.current_program(), '{1,2}'); END $$;
SELECT is((SELECT segment FROM prm.v_entitlement WHERE program_id = :program AND partner_id = 1 AND benefit = 'personal_visit'), 'likely_to_churn', 'staff reads which segment gave it');
SET LOCAL ROLE prm_reader_ann;
SELECT results_eq($$ SELECT value, segment FROM prm.v_entitlement WHERE benefit = 'personal_visit' $$, $$ VALUES ('monthly'::text, NULL::text) $$, 'the partner what it has by it');
SELECT is(prm.entitlement(1, 'personal_visit'), 'monthly', 'also by name');
SELECT throws_ok($$ SELECT segment FROM prm.benefit_grant $$, '42501', NULL, 'not the segment behind it');
SELECT is_empty($$ SELECT * FROM prm.benefit WHERE segment IS NOT NULL OR benefit = 'personal_visit' $$, 'nor what segments give at all');
SELECT is((SELECT count(*) FROM (SELECT partner_id, benefit, value FROM prm.benefit_grant WHERE benefit = 'personal_visit') g), 1::bigint, 'its own grant it sees');
SELECT is(prm._grant_segment(prm.current_program(), g.benefit_grant_id), NULL, 'whose segment no function tells') FROM prm.benefit_grant g WHERE g.benefit = 'personal_visit';
RESET ROLE;
SET LOCAL ROLE prm_reader_bob;
SELECT throws_ok($$ SELECT prm.entitlement(2, 'personal_visit') $$, '42704', 'benefit "personal_visit" does not exist', 'who does not have it does not learn that it exists');
RESET ROLE;
SET LOCAL ROLE prm_reader_app;
SET LOCAL prm.partner_id = '1';
SELECT is((SELECT count(*) FROM prm.v_entitlement WHERE segment IS NOT NULL) + (SELECT count(*) FROM prm.benefit WHERE segment IS NOT NULL), 0::bigint, 'nor does the application that acts for the partner');
SELECT results_eq($$ SELECT counts, source, name FROM prm.explain_entitlement(1, 'personal_visit') $$, $$ VALUES (true, 'segment'::text, NULL::text) $$, 'which may say that it comes by a segment, not by which');
SET LOCAL prm.partner_id = '';
RESET ROLE;
SELECT results_eq($$ SELECT counts, source, name FROM prm.explain_entitlement(1, 'personal_visit') $$, $$ VALUES (true, 'segment'::text, 'likely_to_churn'::text) $$, 'staff may');

-- ---- metrics: neither segments nor the market by the back door --------------------------------------------------------
INSERT INTO prm.metric_benchmark (metric, p25, p50, p75) VALUES ('sales', 20, 40, 60);
INSERT INTO prm.metric_benchmark (metric, segment, p25, p50, p75) VALUES ('sales', 'likely_to_churn', 10, 20, 30);
DO $$ BEGIN PERFORM prm.refresh_metrics(); END $$;
SET LOCAL ROLE prm_reader_ann;
SELECT results_eq($$ SELECT metric, value FROM prm.partner_metrics(1) $$, $$ VALUES ('calls'::text, 8::numeric), ('revenue_12m', 500), ('sales', 60) $$, 'its own metrics that it may see');
SELECT throws_ok($$ SELECT * FROM prm.partner_metrics(2) $$, '42704', NULL, 'nobody else''s');
SELECT results_eq($$ SELECT partner_id, segment, market, market_median, market_percentile FROM prm.benchmark('sales') $$, $$ VALUES (1::bigint, 'stars'::text, ''::text, NULL::numeric, 75.00::numeric) $$,
  'it is compared in a segment of which it may know, and with the market of all, whose median it is not told');
SELECT is((SELECT count(*) FROM prm.metric_standing WHERE segment = 'likely_to_churn' OR market ~ 'churn'), 0::bigint, 'no row names the other segment');
SELECT throws_ok($$ SELECT * FROM prm.metric_benchmark $$, '42501', NULL, 'the benchmarks are the vendor''s');
RESET ROLE;
UPDATE prm.metric_benchmark SET partner_visible = true WHERE program_id = :program AND segment IS NULL;
SET LOCAL prm.clock = '2026-06-21 12:00+00';
DO $$ BEGIN PERFORM prm.refresh_metrics(); END $$;
SET LOCAL ROLE prm_reader_ann;
SELECT is((SELECT market_median FROM prm.benchmark('sales')), 40::numeric, 'unless the vendor tells it');
RESET ROLE;

-- ---- tasks ------------------------------------------------------------------------------------------------------------
INSERT INTO prm.survey (survey, label, alert_to) VALUES ('to_partner', 'P', 'partner'), ('to_owner', 'O', 'owner');
INSERT INTO prm.usage_activity (activity, label, kind) VALUES ('reader_login', 'Login', 'login');
DO $$ BEGIN
  PERFORM prm.plan_tier(1, 'gold'), prm.plan_tier(2, 'gold', '{"for": "owner"}');
  PERFORM prm.nps_response(1, 2, 'to_partner', 'N1', '{"comment": "slow"}'), prm.nps_response(1, 3, 'to_owner', 'N2'), prm.nps_response(2, 4, 'to_partner', 'N3');
END $$;
INSERT INTO prm.usage_event (partner_id, activity, at, external_ref) SELECT p, 'reader_login', '2026-04-25'::timestamptz + i * interval '1 hour', format('u%s/%s', p, i) FROM generate_series(1, 2) p CROSS JOIN generate_series(1, 9) i;
SELECT is(prm._work_usage(:program), 2::bigint, 'usage fell twice');
INSERT INTO prm.task (title, machine, subject_id) VALUES ('Find another partner before Ann leaves', 'partner', 1);
SET LOCAL ROLE prm_reader_ann;
SELECT is((SELECT string_agg(title, ' | ' ORDER BY title) FROM prm.task), 'Reach Gold: Mood at least 7 | Reach Gold: Sales 60 of 100 | Unhappy answer (2 of 10) about Ann Ltd',
  'its tasks: of its plan, without what it may not see, and the alert that is meant for it; none of the owner''s about it');
SELECT is((SELECT count(*) FROM prm.v_task WHERE partner_id = 1 AND subject = 'Ann Ltd' AND is_mine), 3::bigint, 'also in the view');
SELECT is((SELECT count(*) FROM prm.v_tier_plan WHERE task IS NOT NULL), 2::bigint, 'its plan');
SELECT task_id AS mine FROM prm.task WHERE title LIKE 'Unhappy%' \gset
SELECT lives_ok(format('SELECT prm.complete_task(%s)', :mine), 'it completes its own');
RESET ROLE;
SELECT task_id AS bobs FROM prm.task WHERE program_id = :program AND partner_id = 2 AND title LIKE 'Unhappy%' \gset
SELECT task_id AS owners FROM prm.task WHERE program_id = :program AND title LIKE 'Find another%' \gset
SET LOCAL ROLE prm_reader_ann;
SELECT throws_ok(format('SELECT prm.complete_task(%s)', :bobs), '42704', NULL, 'not another''s');
SELECT throws_ok(format('SELECT prm.complete_task(%s)', :owners), '42704', NULL, 'nor the owner''s about it');
SELECT throws_ok(format('UPDATE prm.task SET partner_id = 1 WHERE task_id = %s', :bobs), '42501', NULL, 'it draws none to itself');
SELECT throws_ok('UPDATE prm.task SET title = ''Nothing''', '42501', NULL, 'and rewrites none');
SELECT throws_ok('INSERT INTO prm.task (title, partner_id) VALUES (''x'', 2)', '42501', NULL, 'nor makes any');
RESET ROLE;
SET LOCAL ROLE prm_reader_bob;
SELECT is((SELECT string_agg(title, ' | ') FROM prm.task), 'Unhappy answer (4 of 10) about Bob Ltd', 'a plan for the owner is not the partner''s');
RESET ROLE;
SET LOCAL ROLE prm_reader_zoe;
SELECT is((SELECT count(*) FROM prm.task) + (SELECT count(*) FROM prm.v_task), 0::bigint, 'another programme''s partner has none');
RESET ROLE;
-- Rescue tasks for the partner say only what it knows itself.
INSERT INTO prm.adoption_policy (rescue_to) VALUES ('partner');
UPDATE prm.partner SET attributes = '{"resistance_reason": "sells for the rival"}' WHERE program_id = :program AND partner_id = 3;
INSERT INTO prm.usage_event (partner_id, activity, at, external_ref) SELECT 3, 'reader_login', '2026-04-25'::timestamptz + i * interval '1 hour', format('u3/%s', i) FROM generate_series(1, 9) i;
SELECT prm._work_usage(:program) \g /dev/null
SELECT results_eq($$ SELECT title, detail, partner_id FROM prm.task WHERE program_id = prm.current_program() AND subject_id = 3 $$, $$ VALUES ('Use the portal again: activity fell from 9 to 0'::text, NULL::text, 3::bigint) $$,
  'a rescue task for the partner tells no reasons');

-- ---- badges, missions, points -----------------------------------------------------------------------------------------
INSERT INTO prm.badge (badge, label, points) VALUES ('friend', 'Friend', 10);
INSERT INTO prm.mission (mission, label, enrol_all) VALUES ('calls', 'Calls', false);
INSERT INTO prm.mission_step (mission, step, label, measure) VALUES ('calls', 'call', 'Call', 'manual');
INSERT INTO prm.campaign (campaign, label, starts_at, ends_at, measure, points, holdout_percent) VALUES ('c', 'C', '2026-06-01', '2026-07-01', 'leads', 5, 50);
INSERT INTO prm.campaign_member (campaign, partner_id, held_out) VALUES ('c', 1, true);
DO $$ BEGIN
  PERFORM prm.award_badge(p, 'friend'), prm.add_points(p, 20 * p, 'bonus', 'b' || p), prm.join_mission(p, 'calls'), prm.advance_mission(p, 'calls', 'call') FROM generate_series(1, 3) p;
END $$;
SET LOCAL ROLE prm_reader_ann;
SELECT is((SELECT string_agg(format('%s %s', partner_id, points), ',') FROM prm.v_points), '1 30', 'its points');
SELECT is((SELECT string_agg(format('%s %s', partner_id, badge), ',') FROM prm.v_badge), '1 friend', 'its badges');
SELECT is((SELECT string_agg(format('%s %s', partner_id, mission), ',') FROM prm.v_mission), '1 calls', 'its missions');
SELECT is((SELECT count(DISTINCT partner_id) FROM (SELECT partner_id FROM prm.point_entry UNION ALL SELECT partner_id FROM prm.badge_award UNION ALL SELECT partner_id FROM prm.mission_run UNION ALL SELECT partner_id FROM prm.mission_progress) x), 1::bigint,
  'in the tables too');
SELECT throws_ok($$ SELECT * FROM prm.campaign_member $$, '42501', NULL, 'whether it is in the group that gets nothing it does not learn');
SELECT throws_ok($$ SELECT * FROM prm.v_campaign $$, '42501', NULL, 'by no view');

-- ---- leaderboards -----------------------------------------------------------------------------------------------------
SELECT throws_ok($$ SELECT * FROM prm.leaderboard() $$, '42501', 'partners look at the leaderboards that are meant for them', 'a partner is not told that it is first among itself');
SELECT throws_ok($$ SELECT * FROM prm._leaderboard(prm.current_program(), 'points', NULL, NULL, '{}') $$, '42501', NULL, 'the function within reads with its own rights');
SELECT throws_ok($$ SELECT * FROM prm.my_leaderboard('points') $$, '42704', 'leaderboard "points" does not exist', 'there is none yet');
RESET ROLE;
-- Outside of June; and a hub, for the board that is for hubs.
INSERT INTO prm.deal (deal_id, partner_id, name, amount, currency) VALUES (3, 1, 'c', 7000, 'EUR');
UPDATE prm.deal SET state = 'won', closed_at = '2026-05-31 23:59+00' WHERE program_id = :program AND deal_id = 3;
UPDATE prm.partner SET kind = 'hub' WHERE program_id = :program AND partner_id = 13;
INSERT INTO prm.board (board, label, metric, shows) VALUES ('points', 'Points', 'points', 'own'), ('sales', 'Sales', 'sales', 'names');
INSERT INTO prm.board (board, label, metric, window_kind, is_active) VALUES ('june', 'June', 'revenue', 'month_to_date', true), ('secret', 'Secret', 'risk', NULL, false);
SET LOCAL ROLE prm_reader_ann;
SELECT results_eq($$ SELECT * FROM prm.my_leaderboard('points') $$, $$ VALUES (3::bigint, 'Ann Ltd'::text, 30::numeric, true, 3::bigint) $$, 'its own place, and among how many');
SELECT results_eq($$ SELECT place, partner, value, is_self FROM prm.my_leaderboard('sales') LIMIT 3 $$, $$ VALUES (1::bigint, 'Bob Ltd'::text, NULL::numeric, false), (2, 'Ann Ltd', 60, true), (3, 'P13', NULL, false) $$, 'with the names of the others, not what they have');
SELECT results_eq($$ SELECT place, value FROM prm.my_leaderboard('june') $$, $$ VALUES (2::bigint, 500::numeric) $$, 'over a window');
SELECT results_eq($$ SELECT board FROM prm.board ORDER BY 1 $$, $$ VALUES ('june'::text), ('points'), ('sales') $$, 'it finds those that are for it');
SELECT throws_ok($$ SELECT * FROM prm.my_leaderboard('secret') $$, '42704', NULL, 'no others');
SELECT throws_ok($$ UPDATE prm.board SET shows = 'names', shows_values = true $$, '42501', NULL, 'and does not set what they show');
RESET ROLE;
UPDATE prm.board SET shows = 'places', shows_values = true WHERE program_id = :program AND board = 'points';
SET LOCAL ROLE prm_reader_ann;
SELECT results_eq($$ SELECT place, partner, value FROM prm.my_leaderboard('points') $$, $$ VALUES (1::bigint, NULL::text, NULL::numeric), (2, NULL, NULL), (3, 'Ann Ltd', 30) $$, 'places without names; among three also without values');
RESET ROLE;
DO $$ BEGIN PERFORM prm.add_points(p, p, 'bonus', 'b' || p) FROM generate_series(11, 13) p; END $$;
UPDATE prm.board SET places = 1 WHERE program_id = :program AND board = 'points';
SET LOCAL ROLE prm_reader_ann;
SELECT results_eq($$ SELECT place, partner, value, partners FROM prm.my_leaderboard('points') $$, $$ VALUES (1::bigint, NULL::text, 70::numeric, 6::bigint), (3, 'Ann Ltd', 30, 6) $$, 'among six with values; the first, and its own place');
RESET ROLE;
UPDATE prm.board SET shows = 'names' WHERE program_id = :program AND board = 'points';
SET LOCAL ROLE prm_reader_ann;
SELECT results_eq($$ SELECT place, partner, value FROM prm.my_leaderboard('points') $$, $$ VALUES (1::bigint, 'Cyd Ltd'::text, 70::numeric), (3, 'Ann Ltd', 30) $$, 'with names and values, where the vendor says both');
RESET ROLE;
UPDATE prm.board SET partner_kind = 'hub' WHERE program_id = :program AND board = 'points';
SET LOCAL ROLE prm_reader_ann;
SELECT is_empty($$ SELECT * FROM prm.my_leaderboard('points') $$, 'a board for others is not for it');
SELECT throws_ok(format($$ SELECT * FROM prm._own_leaderboard(1, 'points', %s) $$, :elsewhere), '42501', 'no partner asks', 'nor is one of another programme');
RESET ROLE;
SET LOCAL ROLE prm_reader_zoe;
SELECT throws_ok($$ SELECT * FROM prm.my_leaderboard('sales') $$, '55000', 'no partner acts', 'whose partners see none of these');
SELECT is_empty($$ SELECT * FROM prm.board $$, 'nor that there are any');
RESET ROLE;
SET LOCAL ROLE prm_reader_app;
SET LOCAL prm.partner_id = '2';
SELECT is((SELECT place FROM prm.my_leaderboard('sales') WHERE is_self), 1::bigint, 'an application sees the board of the partner for whom it acts');
SELECT throws_ok($$ SELECT * FROM prm.leaderboard() $$, '42501', NULL, 'and no other');
SET LOCAL prm.partner_id = '';
SELECT is((SELECT count(*) FROM prm.leaderboard('sales')), 6::bigint, 'as staff it sees all of them');
SELECT throws_ok($$ SELECT * FROM prm.my_leaderboard('sales') $$, '55000', 'no partner acts', 'for which there is another function');
RESET ROLE;
SELECT throws_ok($$ INSERT INTO prm.board (board, label, metric) VALUES ('x', 'X', 'nothing') $$, '22023', 'there is no leaderboard by "nothing"', 'a board needs a metric');
SELECT throws_ok($$ INSERT INTO prm.board (board, label, metric, window_kind) VALUES ('x', 'X', 'sales', 'last_month') $$, '22023', 'the window of metric "sales" is its own', 'which has a window of its own');
SELECT throws_ok($$ INSERT INTO prm.board (board, label, window_kind) VALUES ('x', 'X', 'sometimes') $$, '23514', NULL, 'a window is one that is known');

-- ---- as the session's own role ----------------------------------------------------------------------------------------
SET LOCAL SESSION AUTHORIZATION prm_reader_bob;
SELECT is((SELECT have FROM prm.tier_gap(2) WHERE metric = 'sales'), 80::numeric, 'a session of its own reads the same');
SELECT throws_ok($$ SELECT * FROM prm._own_health(1, prm.current_program()) $$, '42704', NULL, 'and no more');
SELECT throws_ok($$ SET LOCAL ROLE prm_reader_ann $$, '42501', NULL, 'it cannot become another');
RESET SESSION AUTHORIZATION;
-- What was given is taken back.
DO $$ BEGIN PERFORM prm.revoke_access('prm_reader_bob'); END $$;
SELECT ok(NOT has_function_privilege('prm_reader_bob', 'prm._own_health(bigint, bigint)', 'EXECUTE'), 'with the profile goes the right to ask');
SELECT ok(NOT has_column_privilege('prm_reader_bob', 'prm.task', 'state', 'UPDATE'), 'and to complete tasks');

SELECT * FROM finish();
ROLLBACK;
