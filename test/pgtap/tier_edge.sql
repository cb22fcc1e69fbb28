-- Tiers at their edges: growth markets and measures where less is better, scores that add up to exactly the mark, floors, points that
-- are given whole or not at all, soft landings, ranks, pins by the movable clock, and partners that have left.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
\ir tier.psql
SELECT no_plan();

-- A growth market asks for less, or counts more, of what is good. It must not ask for less delay.
DO $$ BEGIN PERFORM pg_temp.programme('edge market'); PERFORM pg_temp.metrics('sales'); END $$;
INSERT INTO prm.metric (metric, label, higher_is_better) VALUES ('hours', 'Hours', false);
INSERT INTO prm.tier (tier, rank, label) VALUES ('gold', 1, 'Gold');
INSERT INTO prm.tier_requirement (tier, metric, op, threshold) VALUES ('gold', 'sales', '>=', 100), ('gold', 'hours', '<=', 24);
INSERT INTO prm.tier_market (country, threshold_multiplier, value_multiplier) VALUES ('IN', 0.5, 1), ('BR', 1, 2);
INSERT INTO prm.partner (partner_id, name, country) VALUES (1, 'home', 'DE'), (2, 'half is asked', 'IN'), (3, 'all counts twice', 'BR'), (4, 'too slow', 'IN');
DO $$ BEGIN PERFORM prm.record_metric(i, 'sales', CASE i WHEN 1 THEN 100 ELSE 50 END), prm.record_metric(i, 'hours', CASE i WHEN 4 THEN 24.5 ELSE 24 END) FROM generate_series(1, 4) i; END $$;
SELECT results_eq($$ SELECT partner_id, qualified FROM prm.evaluate_tiers(dry_run => true) $$, $$ VALUES (1::bigint, 'gold'), (2, 'gold'), (3, 'gold'), (4, NULL) $$,
  'a growth market that names no metric eases what is to be reached, and leaves alone what must not be exceeded');
SELECT results_eq($$ SELECT metric, have, need, met FROM prm.tier_gap(2) $$, $$ VALUES ('hours', 24::numeric, 24::numeric, true), ('sales', 50, 50, true) $$, 'the gap agrees');
INSERT INTO prm.tier_market (country, metric, threshold_multiplier) VALUES ('IN', 'hours', 2);
SELECT results_eq($$ SELECT metric, have, need, met FROM prm.tier_gap(4) ORDER BY metric $$, $$ VALUES ('hours', 24.5, 48::numeric, true), ('sales', 50, 50, true) $$, 'one that names the metric says what it says');

-- A score that adds up to exactly the mark reaches it, also where its parts are thirds.
DO $$ BEGIN PERFORM pg_temp.programme('edge thirds'); PERFORM pg_temp.metrics('a', 'b', 'c'); END $$;
INSERT INTO prm.tier (tier, rank, label) VALUES ('ten', 1, 'Ten');
INSERT INTO prm.tier_track (tier, mark) VALUES ('ten', 10);
INSERT INTO prm.tier_requirement (tier, metric, threshold, weight) SELECT 'ten', m, 3, 10 FROM unnest('{a,b,c}'::text[]) m;
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'three thirds'), (2, 'a little less');
DO $$ BEGIN
  PERFORM prm.record_metric(1, m, 1) FROM unnest('{a,b,c}'::text[]) m;
  PERFORM prm.record_metric(2, m, 0.999999) FROM unnest('{a,b,c}'::text[]) m;
END $$;
SELECT results_eq($$ SELECT have, need, met, missing FROM prm.tier_gap(1) WHERE metric = 'score' $$, $$ VALUES (10::numeric, 10::numeric, true, 0::numeric) $$, 'three thirds of 10 are 10');
SELECT results_eq($$ SELECT qualified, reason FROM prm.evaluate_tiers() $$, $$ VALUES ('ten', 'score 10 >= 10 (a 1, b 1, c 1)'), (NULL, 'no tier is met') $$, 'and the evaluation says the same');

-- The gap says which floor keeps a score that is high enough from being met.
DO $$ BEGIN PERFORM pg_temp.programme('edge floor'); PERFORM pg_temp.metrics('a', 'b'); END $$;
INSERT INTO prm.tier (tier, rank, label) VALUES ('designated', 1, 'Designated');
INSERT INTO prm.tier_track (tier, mark) VALUES ('designated', 70);
INSERT INTO prm.tier_requirement (tier, metric, threshold, weight, floor) VALUES ('designated', 'a', 85, 85, 0), ('designated', 'b', 15, 15, 0);
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'p');
DO $$ BEGIN PERFORM prm.record_metric(1, 'a', 85), prm.record_metric(1, 'b', 0); END $$;
SELECT results_eq($$ SELECT metric, have, missing, met, floor FROM prm.tier_gap(1) ORDER BY metric $$,
  $$ VALUES ('a', 85::numeric, 0::numeric, true, 0::numeric), ('b', 0, 15, false, 0), ('score', 85, 0, false, NULL) $$, 'nothing is missing of the score, and b stands at its floor of 0');

-- Points that are given whole or not at all: three of five, and so many for each full hundred.
DO $$ BEGIN PERFORM pg_temp.programme('edge whole'); PERFORM pg_temp.metrics('a', 'b', 'c', 'd', 'sales'); INSERT INTO prm.metric (metric, label, higher_is_better) VALUES ('late', 'Late', false); END $$;
INSERT INTO prm.tier (tier, rank, label) VALUES ('three', 1, 'Three of five'), ('points', 2, 'Points');
INSERT INTO prm.tier_track (tier, mark) VALUES ('three', 3), ('points', 20);
INSERT INTO prm.tier_requirement (tier, metric, op, threshold, is_partial) VALUES ('three', 'a', '>=', 10, false), ('three', 'b', '>=', 10, false), ('three', 'c', '>=', 10, false), ('three', 'd', '>=', 10, false), ('three', 'late', '<=', 2, false);
INSERT INTO prm.tier_requirement (tier, metric, threshold, weight, is_capped, is_partial) VALUES ('points', 'sales', 100, 5, false, false);
INSERT INTO prm.partner (partner_id, name) SELECT i, 'p' || i FROM generate_series(1, 5) i;
DO $$ BEGIN
  PERFORM prm.record_metric(1, m, 9.99) FROM unnest('{a,b,c,d}'::text[]) m;
  PERFORM prm.record_metric(1, 'late', 2);
  PERFORM prm.record_metric(2, m, 10) FROM unnest('{a,d}'::text[]) m;
  PERFORM prm.record_metric(2, 'late', 0), prm.record_metric(3, 'a', 500), prm.record_metric(3, 'b', 10), prm.record_metric(3, 'late', 2.1);
  PERFORM prm.record_metric(4, 'sales', 399.99), prm.record_metric(5, 'sales', 400);
END $$;
SELECT results_eq($$ SELECT partner_id, qualified FROM prm.evaluate_tiers() $$, $$ VALUES (1::bigint, NULL), (2, 'three'), (3, NULL), (4, NULL), (5, 'points') $$,
  'nearly all of four are not three of five; 399.99 are three full hundreds');
SELECT results_eq($$ SELECT metric, points FROM prm.tier_gap(4, 'points') ORDER BY metric $$, $$ VALUES ('sales', 15::numeric), ('score', 15) $$, 'the gap shows the points that are given');

-- A soft landing: at the end of the year one tier down, and not to what is met, a year for each.
DO $$ BEGIN PERFORM pg_temp.programme('edge landing'); PERFORM pg_temp.metrics('points'); END $$;
INSERT INTO prm.tier (tier, rank, label) VALUES ('blue', 10, 'Blue'), ('silver', 20, 'Silver'), ('gold', 30, 'Gold'), ('platinum', 40, 'Platinum');
INSERT INTO prm.tier_policy (entry_tier, review_kind, review, grace, period_start, demotion) VALUES ('blue', 'period', '1 year', '0', '2026-01-01', 'one_step');
INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('silver', 'points', 300), ('gold', 'points', 600), ('platinum', 'points', 1000);
INSERT INTO prm.benefit (tier, benefit, value) VALUES ('gold', 'lounge', 'yes');
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'falls'), (2, 'falls a little'), (3, 'ends');
DO $$ BEGIN
  PERFORM prm.record_metric(i, 'points', 1000) FROM generate_series(1, 3) i; PERFORM pg_temp.evaluate();
  PERFORM pg_temp.at('2026-06-01 12:00+02');
  PERFORM prm.record_metric(1, 'points', 0), prm.record_metric(2, 'points', 700), prm.record_metric(3, 'points', 0);
  PERFORM pg_temp.evaluate(); PERFORM pg_temp.at('2027-01-01 00:00+01');
END $$;
SELECT results_eq($$ SELECT partner_id, held, qualified, outcome FROM prm.evaluate_tiers() $$, $$ VALUES (1::bigint, 'platinum', 'blue', 'demote'), (2, 'platinum', 'gold', 'demote'), (3, 'platinum', 'blue', 'demote') $$, 'short at the end of the year');
SELECT results_eq($$ SELECT pg_temp.held(i), prm.entitlement(i, 'lounge') FROM generate_series(1, 2) i $$, $$ VALUES ('gold', 'yes'), ('gold', 'yes') $$, 'one step down, with what that tier gives');
SELECT is((SELECT reason FROM prm.tier_history WHERE program_id = prm.current_program() AND partner_id = 1 AND outcome = 'demote'), 'points 0, needed >= 1000; one step down', 'the history says that it was a step');
SELECT results_eq($$ SELECT outcome, effective_on FROM prm.evaluate_tiers(1) $$, $$ VALUES ('at_risk', '2028-01-01'::date) $$, 'and there it is short again, until the end of the next year');
SELECT is((SELECT outcome FROM prm.evaluate_tiers(2)), 'keep', 'who meets the next tier keeps that');
DO $$ BEGIN PERFORM pg_temp.at('2028-01-01 00:00+01'); PERFORM pg_temp.evaluate(); PERFORM pg_temp.at('2029-01-01 00:00+01'); PERFORM pg_temp.evaluate(); END $$;
DO $$ BEGIN PERFORM pg_temp.evaluate(); PERFORM pg_temp.at('2030-01-01 00:00+01'); PERFORM pg_temp.evaluate(); PERFORM pg_temp.evaluate(); PERFORM pg_temp.at('2031-01-01 00:00+01'); PERFORM pg_temp.evaluate(); END $$;
SELECT is(pg_temp.held(1), 'blue', 'in the end it is what it meets');
SELECT results_eq($$ SELECT array_agg(to_tier ORDER BY tier_history_id) FROM prm.tier_history WHERE program_id = prm.current_program() AND partner_id = 1 AND outcome IN ('promote', 'demote') $$,
  $$ VALUES ('{platinum,gold,silver,blue}'::text[]) $$, 'step by step');
DO $$ BEGIN PERFORM prm.pin_tier(3, 'platinum', NULL, 'x'); PERFORM prm.pin_tier(3, NULL, NULL, 'x'); PERFORM prm.enrol_partner(3, 'main', '2026-01-01', '2031-01-01 00:00+01'); END $$;
SELECT is(pg_temp.held(3), NULL, 'an enrolment that ends takes all of it at once');

-- Ranks are any numbers.
DO $$ BEGIN PERFORM pg_temp.at('2026-03-02 12:00+01'); PERFORM pg_temp.programme('edge ranks'); PERFORM pg_temp.metrics('m'); END $$;
INSERT INTO prm.tier (tier, rank, label) VALUES ('low', -20, 'Low'), ('mid', -3, 'Mid'), ('high', 2000000000, 'High');
INSERT INTO prm.tier_policy (entry_tier, review, grace) VALUES ('low', '0', '0');
INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('low', 'm', 0), ('mid', 'm', 1), ('high', 'm', 2);
INSERT INTO prm.partner (partner_id, name) SELECT i, 'p' || i FROM generate_series(0, 2) i;
DO $$ BEGIN PERFORM prm.record_metric(i, 'm', i) FROM generate_series(0, 2) i; END $$;
SELECT results_eq($$ SELECT held, qualified FROM prm.evaluate_tiers() $$, $$ VALUES ('low', 'low'), ('low', 'mid'), ('low', 'high') $$, 'also below zero');

-- A pin on a ladder for which partners are enrolled counts from the movable clock on.
DO $$ BEGIN PERFORM pg_temp.programme('edge pin'); PERFORM pg_temp.metrics('m'); END $$;
INSERT INTO prm.ladder (ladder, label) VALUES ('club', 'Club');
INSERT INTO prm.tier (ladder, tier, rank, label) VALUES ('club', 'member', 1, 'Member');
INSERT INTO prm.tier_policy (ladder, enrolment, review, grace) VALUES ('club', 'by_row', '0', '0');
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'p');
SELECT prm.pin_tier(1, 'member', '2026-04-01 00:00+02', 'a friend', '{"ladder": "club"}');
SELECT results_eq($$ SELECT held, outcome, effective_on FROM prm.evaluate_tiers(1, '{"ladder": "club"}') $$, $$ VALUES ('member', 'pinned', '2026-04-01'::date) $$, 'it is enrolled from the moment of the pin');
DO $$ BEGIN PERFORM pg_temp.at('2026-03-31 23:59:59.999999+02'); END $$;
SELECT is(pg_temp.outcome(1, 'club'), 'pinned 2026-04-01', 'to the last moment');
DO $$ BEGIN PERFORM pg_temp.at('2026-04-01 00:00+02'); END $$;
SELECT is(pg_temp.outcome(1, 'club'), 'demote 2026-04-01', 'and not at its end');

-- Who has left, or was never let in, holds nothing.
DO $$ BEGIN PERFORM pg_temp.at('2026-03-02 12:00+01'); PERFORM pg_temp.programme('edge left', 'reseller'); PERFORM pg_temp.metrics('m'); END $$;
DELETE FROM prm.tier_requirement WHERE program_id = prm.current_program();
INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('silver', 'm', 1), ('gold', 'm', 2);
INSERT INTO prm.partner (partner_id, name) SELECT i, 'p' || i FROM generate_series(1, 4) i;
DO $$ BEGIN
  PERFORM prm.record_metric(i, 'm', 1) FROM generate_series(1, 4) i; PERFORM pg_temp.evaluate();
  PERFORM prm.fire('partner', i, e) FROM generate_series(2, 4) i CROSS JOIN unnest('{admit,activate}'::text[]) e;
  PERFORM prm.fire('partner', 1, 'reject', 'no'), prm.fire('partner', 2, 'offboard', 'bye'), prm.fire('partner', 2, 'terminate'), prm.fire('partner', 3, 'suspend');
  PERFORM prm.pin_tier(2, 'gold', NULL, 'strategic');
  PERFORM prm.record_metric(i, 'm', 2) FROM generate_series(1, 4) i;
END $$;
SELECT results_eq($$ SELECT partner_id, outcome, reason FROM prm.evaluate_tiers() $$,
  $$ VALUES (1::bigint, 'demote', 'the partner is rejected'), (2, 'demote', 'the partner is terminated'), (3, 'promote', 'm 2 >= 2'), (4, 'promote', 'm 2 >= 2') $$, 'what it met no longer counts, nor what was pinned; who is suspended may come back');
SELECT results_eq($$ SELECT p.tier, prm.entitlement(p.partner_id, 'discount_percent') FROM prm.partner p WHERE program_id = prm.current_program() ORDER BY partner_id $$,
  $$ VALUES (NULL, NULL), (NULL, NULL), ('gold', '20'), ('gold', '20') $$, 'the benefits went with it');
SELECT is_empty($$ SELECT * FROM prm.evaluate_tiers(options => '{"changed": true}') $$, 'once');

SELECT * FROM finish();
ROLLBACK;
