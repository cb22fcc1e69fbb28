-- Tiers beyond the plain ladder: the published cases by id, scores, growth markets, what is bought and inherited, approvals,
-- enrolments and the days of review.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
\ir tier.psql
SELECT no_plan();

-- TIR-009: a score of 70 and every metric above 0.
DO $$ BEGIN PERFORM pg_temp.programme('tiers 9'); PERFORM pg_temp.metrics('score_a', 'score_b'); END $$;
INSERT INTO prm.tier (tier, rank, label) VALUES ('designated', 1, 'Designated');
INSERT INTO prm.tier_policy (mode, mark, review, grace) VALUES ('score', 70, '0', '0');
INSERT INTO prm.tier_requirement (tier, metric, threshold, weight, floor) VALUES ('designated', 'score_a', 85, 85, 0), ('designated', 'score_b', 15, 15, 0);
INSERT INTO prm.partner (partner_id, name) SELECT i, 'partner ' || i FROM generate_series(1, 7) i;
DO $$ BEGIN
  PERFORM prm.record_metric(p, 'score_a', a), prm.record_metric(p, 'score_b', b)
    FROM (VALUES (1, 69, 1), (2, 85, 0), (3, 64.9, 5), (4, 60, 50), (6, 69.0001, 0.9999), (7, 50, 100)) x(p, a, b);
  PERFORM prm.record_metric(5, 'score_a', 100);
END $$;
SELECT results_eq($$ SELECT partner_id, qualified FROM prm.evaluate_tiers() $$, $$ VALUES (1::bigint, 'designated'), (2, NULL), (3, NULL), (4, 'designated'), (5, NULL), (6, 'designated'), (7, NULL) $$,
  'TIR-009 the mark is met at 70; a metric at its floor, or unknown, breaks it; more than the threshold gives no more points');
SELECT is((SELECT reason FROM prm.tier_history WHERE program_id = prm.current_program() AND partner_id = 4), 'score 75 >= 70 (score_a 60, score_b 50)', 'with the score');
SELECT is((SELECT reason FROM prm.tier_history WHERE program_id = prm.current_program() AND partner_id = 6), 'score 70 >= 70 (score_a 69.0001, score_b 0.9999)', 'exactly');
SELECT results_eq($$ SELECT track, metric, have, need, missing, met, points, weight FROM prm.tier_gap(3) $$,
  $$ VALUES ('standard', 'score', 69.9::numeric, 70::numeric, 0.1::numeric, false, 69.9::numeric, NULL::numeric), ('standard', 'score_a', 64.9, 85, 20.1, false, 64.9, 85), ('standard', 'score_b', 5, 15, 10, false, 5, 15) $$,
  'the gap shows the points of each metric and of the whole');

-- TIR-011: alternatives, partial credit, the better counts.
DO $$ BEGIN PERFORM pg_temp.programme('tiers 11'); PERFORM pg_temp.metrics('enterprise', 'small', 'other'); END $$;
INSERT INTO prm.tier (tier, rank, label) VALUES ('t14', 14, '14'), ('t15', 15, '15'), ('either', 20, 'Either');
INSERT INTO prm.tier_track (tier, track, mark) VALUES ('t14', 'standard', 14), ('t15', 'standard', 15);
INSERT INTO prm.tier_requirement (tier, metric, threshold, weight, alternative_group) VALUES ('t14', 'enterprise', 5, 20, 'adds'), ('t14', 'small', 10, 20, 'adds'),
  ('t15', 'enterprise', 5, 20, 'adds'), ('t15', 'small', 10, 20, 'adds'), ('either', 'enterprise', 5, 1, 'adds'), ('either', 'small', 10, 1, 'adds');
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'one'), (2, 'two');
DO $$ BEGIN PERFORM prm.record_metric(1, 'enterprise', 2), prm.record_metric(1, 'small', 7), prm.record_metric(2, 'small', 10); END $$;
SELECT results_eq($$ SELECT qualified FROM prm.evaluate_tiers() $$, $$ VALUES ('t14'), ('either') $$, 'TIR-011 14 points reach 14 and not 15; where all is asked, one of a group is enough');
SELECT is((SELECT have FROM prm.tier_gap(1, 't15') WHERE metric = 'score'), 14::numeric, 'TIR-011 14 points');
SELECT is((SELECT requirements FROM prm.v_tier WHERE program_id = prm.current_program() AND tier = 'either'), '(enterprise >= 5 or small >= 10)', 'v_tier says so in words');
SELECT is((SELECT requirements FROM prm.v_tier WHERE program_id = prm.current_program() AND tier = 't14'), 'score >= 14 of (enterprise >= 5 or small >= 10)', 'and a score');

-- TIR-014 with scores: a metric that does not exist is never made up for by others, nor a mark that is missing.
INSERT INTO prm.tier (tier, rank, label) VALUES ('strange', 30, 'Strange'), ('open', 31, 'No mark');
INSERT INTO prm.tier_track (tier, mark) VALUES ('strange', 1), ('open', NULL);
INSERT INTO prm.tier_requirement (tier, metric, threshold, weight) VALUES ('strange', 'small', 1, 100), ('strange', 'nowhere', 1, 1), ('open', 'small', 1, 100);
SELECT results_eq($$ SELECT qualified FROM prm.evaluate_tiers(2) $$, $$ VALUES ('either') $$, 'TIR-014 an unknown metric, or a score without a mark, gives no tier');
SELECT results_eq($$ SELECT metric, met FROM prm.tier_gap(2, 'strange') ORDER BY metric $$, $$ VALUES ('nowhere', false), ('score', true), ('small', true) $$, 'but the gap names it');

-- TIR-005, TIR-006: points for deals, by credit and growth market, at the rate of the first sale of the line.
DO $$ BEGIN PERFORM pg_temp.programme('tiers 5'); END $$;
INSERT INTO prm.tier_point_rate (credit_type, points, valid) VALUES ('sourced', 5, '[2026-01-01,)'), ('sourced', 3, '(,2026-01-01)'), ('assisted', 3, '(,)'), ('managed', 1, '(,)');
INSERT INTO prm.tier_market (applies_to, country, value_multiplier) VALUES ('deal', 'IN', 2);
INSERT INTO prm.partner (partner_id, name, country) VALUES (1, 'one', 'DE');
INSERT INTO prm.customer (customer_id, name, country) VALUES (1, 'Growing', 'IN'), (2, 'Old', 'DE');
INSERT INTO prm.deal (deal_id, partner_id, name, amount, currency, customer_id, product_family) VALUES (1, 1, 'assisted', 1000, 'EUR', NULL, NULL), (2, 1, 'sourced', 1000, 'EUR', NULL, NULL),
  (3, 1, 'growth', 1000, 'EUR', 1, NULL), (4, 1, 'first of the line', 500, 'EUR', 2, 'crm'), (5, 1, 'upsell', 1000, 'EUR', 2, 'crm'), (6, 1, 'another line', 1000, 'EUR', 2, 'erp'), (7, 1, 'dollars', 1000, 'USD', NULL, NULL);
INSERT INTO prm.deal_partner (deal_id, partner_id, credit_type) VALUES (1, 1, 'assisted');
UPDATE prm.deal SET kind = 'upsell' WHERE program_id = prm.current_program() AND deal_id = 5;
UPDATE prm.deal SET state = 'won', closed_at = '2025-06-01' WHERE program_id = prm.current_program() AND deal_id = 4;
UPDATE prm.deal SET state = 'won', closed_at = prm.now() WHERE program_id = prm.current_program() AND deal_id <> 4;
SELECT results_eq($$ SELECT points FROM prm.v_deal_points WHERE program_id = prm.current_program() AND deal_id <= 3 ORDER BY deal_id $$, $$ VALUES (30::numeric), (50), (100) $$, 'TIR-005 assisted, sourced, and sourced in a growth market');
SELECT results_eq($$ SELECT deal_id, points FROM prm.v_deal_points WHERE program_id = prm.current_program() AND deal_id >= 5 ORDER BY deal_id $$, $$ VALUES (5::bigint, 30::numeric), (6, 50) $$,
  'TIR-006 an upsell on a line that was first sold under the old rate keeps it; another line does not, and other currencies give none');
SELECT is((SELECT value FROM prm.v_tier_points WHERE program_id = prm.current_program()), 275::numeric, 'the points of 12 months: 30 + 50 + 100 + 15 + 30 + 50');

-- TIR-005 by metrics: an uncapped score, and half the threshold in a growth market.
DO $$ BEGIN PERFORM pg_temp.programme('tiers 5b'); PERFORM pg_temp.metrics('sourced', 'assisted', 'certified'); END $$;
INSERT INTO prm.tier (tier, rank, label) VALUES ('gold', 1, 'Gold'), ('elite', 2, 'Elite');
INSERT INTO prm.tier_track (tier, mark) VALUES ('gold', 80);
INSERT INTO prm.tier_requirement (tier, metric, threshold, weight, is_capped) VALUES ('gold', 'sourced', 100, 5, false), ('gold', 'assisted', 100, 3, false);
INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('elite', 'certified', 4);
INSERT INTO prm.tier_market (country, metric, value_multiplier) VALUES ('IN', 'sourced', 2);
INSERT INTO prm.tier_market (country, region, threshold_multiplier) VALUES ('BR', 'south', 0.5);
INSERT INTO prm.tier_market (country) VALUES ('BR');
INSERT INTO prm.partner (partner_id, name, country, region) VALUES (1, 'DE', 'DE', 'south'), (2, 'IN', 'IN', 'south'), (3, 'BR south', 'BR', 'south'), (4, 'BR north', 'BR', 'north');
DO $$ BEGIN PERFORM prm.record_metric(i, 'sourced', 1000), prm.record_metric(i, 'assisted', 900), prm.record_metric(i, 'certified', 2) FROM generate_series(1, 4) i; END $$;
SELECT results_eq($$ SELECT partner_id, qualified FROM prm.evaluate_tiers() $$, $$ VALUES (1::bigint, NULL), (2, 'gold'), (3, 'elite'), (4, NULL) $$,
  'a growth market doubles the value or halves the threshold, by the row that names most of the place');
SELECT results_eq($$ SELECT have, need, points FROM prm.tier_gap(2, 'gold') WHERE metric IN ('sourced', 'score') ORDER BY metric $$, $$ VALUES (127::numeric, 80::numeric, 127::numeric), (2000, 100, 100) $$, 'TIR-005 100 points where others get 50');
SELECT results_eq($$ SELECT have, need, met FROM prm.tier_gap(3, 'elite') $$, $$ VALUES (2::numeric, 2::numeric, true) $$, 'the gap shows the threshold of the market');

-- TIR-016, TIR-017, TIR-018: what is bought, and who inherits it.
DO $$ BEGIN PERFORM pg_temp.programme('tiers 16'); END $$;
INSERT INTO prm.tier (tier, rank, label) VALUES ('bronze', 1, 'Bronze'), ('gold', 2, 'Gold');
INSERT INTO prm.tier_policy (inherits, review, grace) VALUES ('parent', '0', '0');
INSERT INTO prm.product (product, label) VALUES ('gold membership', 'Gold'), ('bronze membership', 'Bronze'), ('screw', 'Screw');
INSERT INTO prm.tier_product (product, tier, lasts) VALUES ('gold membership', 'gold', '1 year'), ('bronze membership', 'bronze', NULL);
INSERT INTO prm.benefit (tier, benefit, value) VALUES ('gold', 'price_list', 'gold prices');
INSERT INTO prm.partner (partner_id, name, parent_id) VALUES (1, 'parent', NULL), (2, 'child 1', 1), (3, 'child 2', 1), (4, 'grandchild', 3), (11, 'parent', NULL), (12, 'child', 11), (13, 'sibling', 11);
DO $$ BEGIN PERFORM pg_temp.win(1, 100, 'gold membership'), pg_temp.win(12, 100, 'gold membership'), pg_temp.win(11, 100, 'screw'); END $$;
SELECT results_eq($$ SELECT partner_id, tier, prm.entitlement(partner_id, 'price_list') FROM prm.enrolment WHERE program_id = prm.current_program() AND partner_id < 10 ORDER BY 1 $$,
  $$ SELECT i::bigint, 'gold', 'gold prices' FROM generate_series(1, 4) i $$, 'TIR-016 bought by the parent: it and all below it have the tier and the price list, at once');
SELECT results_eq($$ SELECT partner_id, tier FROM prm.enrolment WHERE program_id = prm.current_program() AND partner_id > 10 ORDER BY 1 $$, $$ VALUES (11::bigint, NULL), (12, 'gold'), (13, NULL) $$,
  'TIR-017 bought by a child: neither its parent nor its sibling');
SELECT results_eq($$ SELECT partner_id, reason FROM prm.evaluate_tiers() WHERE partner_id IN (1, 4, 13) $$, $$ VALUES (1::bigint, 'it was bought'), (4, 'the parent holds it'), (13, 'no tier is met') $$, 'with the reason');
SELECT is_empty($$ SELECT * FROM prm.evaluate_tiers(options => '{"changed": true}') $$, 'evaluated again nothing changes');
INSERT INTO prm.deal (deal_id, partner_id, name, amount, currency) VALUES (1800, 13, 'order', 100, 'EUR');
SELECT throws_ok($$ INSERT INTO prm.deal_line (deal_id, line_no, product, net) VALUES (1800, 1, 'gold membership', 50), (1800, 2, 'bronze membership', 50) $$, '23514', 'deal 1800 would give two tiers at once', 'TIR-018 one order, two tiers');
INSERT INTO prm.deal_line (deal_id, line_no, product, net) VALUES (1800, 1, 'bronze membership', 50), (1800, 2, 'screw', 50);
SELECT throws_ok($$ UPDATE prm.deal_line SET product = 'gold membership' WHERE program_id = prm.current_program() AND deal_id = 1800 AND line_no = 2 $$, '23514', NULL, 'TIR-018 nor by a change');
UPDATE prm.deal SET state = 'won', closed_at = prm.now() WHERE program_id = prm.current_program() AND deal_id = 1800;
SELECT is(pg_temp.held(13), 'bronze', 'a line gives the tier as the deal itself does');
DO $$ BEGIN PERFORM prm.set_tier_cap(1, 'bronze', NULL, 'unpaid'); PERFORM pg_temp.evaluate(); END $$;
SELECT results_eq($$ SELECT partner_id, tier FROM prm.enrolment WHERE program_id = prm.current_program() AND partner_id < 10 ORDER BY 1 $$, $$ VALUES (1::bigint, 'gold'), (2, 'bronze'), (3, 'bronze'), (4, 'bronze') $$,
  'what a parent is capped to is what is inherited');
DO $$ BEGIN PERFORM prm.set_tier_cap(1, NULL, NULL, 'paid'); PERFORM pg_temp.at('2027-03-02 11:59+01'); PERFORM pg_temp.evaluate(); END $$;
SELECT is(pg_temp.held(4), 'gold', 'for a year');
DO $$ BEGIN PERFORM pg_temp.at('2027-03-02 12:00+01'); PERFORM pg_temp.evaluate(); END $$;
SELECT results_eq($$ SELECT partner_id, tier FROM prm.enrolment WHERE program_id = prm.current_program() ORDER BY 1 $$,
  $$ VALUES (1::bigint, NULL), (2, NULL), (3, NULL), (4, NULL), (11, NULL), (12, NULL), (13, 'bronze') $$, 'then it is over for all of them, but for what lasts for good');

-- TIR-019, TIR-020, TIR-021: 35 partners, a raised threshold, another order of ranks.
DO $$ BEGIN PERFORM pg_temp.at('2026-03-02 12:00+01'); PERFORM pg_temp.programme('tiers 19'); PERFORM pg_temp.metrics('points'); END $$;
INSERT INTO prm.tier (tier, rank, label) VALUES ('r1', 10, '1'), ('r2', 20, '2'), ('r3', 30, '3'), ('r4', 40, '4');
INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('r3', 'points', 500), ('r1', 'points', 0), ('r4', 'points', 1000), ('r2', 'points', 250);
INSERT INTO prm.partner (partner_id, name) SELECT i, 'partner ' || i FROM generate_series(0, 34) i;
DO $$ BEGIN PERFORM prm.record_metric(i, 'points', 30 * i - 5) FROM generate_series(0, 34) i; PERFORM pg_temp.evaluate(); END $$;
SELECT results_eq($$ SELECT coalesce(tier, 'none'), count(*) FROM prm.enrolment WHERE program_id = prm.current_program() GROUP BY 1 ORDER BY 1 $$,
  $$ VALUES ('none', 1::bigint), ('r1', 8), ('r2', 8), ('r3', 17), ('r4', 1) $$, 'TIR-019 counts');
UPDATE prm.tier_requirement SET threshold = 700 WHERE program_id = prm.current_program() AND tier = 'r3';
SELECT results_eq($$ SELECT count(*), min(partner_id), max(partner_id), min(outcome) FROM prm.evaluate_tiers(options => '{"changed": true}') $$, $$ VALUES (7::bigint, 17::bigint, 23::bigint, 'demote') $$,
  'TIR-020 500 raised to 700 touches the seven in between');
SELECT is((SELECT count(*) FROM prm.tier_history WHERE program_id = prm.current_program() AND outcome = 'demote'), 7::bigint, 'TIR-020 and writes about no other');
UPDATE prm.tier_requirement SET threshold = 100 WHERE program_id = prm.current_program() AND tier = 'r3';
UPDATE prm.tier SET rank = 15 WHERE program_id = prm.current_program() AND tier = 'r3';
DO $$ BEGIN PERFORM pg_temp.evaluate(); END $$;
SELECT results_eq($$ SELECT coalesce(tier, 'none'), count(*) FROM prm.enrolment WHERE program_id = prm.current_program() GROUP BY 1 ORDER BY 1 $$,
  $$ VALUES ('none', 1::bigint), ('r1', 3), ('r2', 25), ('r3', 5), ('r4', 1) $$, 'TIR-021 500 lowered to 100, and the tiers re-ranked');

-- TIR-022: a tier of its own needs approval.
DO $$ BEGIN PERFORM pg_temp.programme('tiers 22'); PERFORM pg_temp.metrics('units'); END $$;
INSERT INTO prm.tier (tier, rank, label, needs_approval) VALUES ('1', 1, '1', false), ('2', 2, '2', false), ('3', 3, '3', false), ('4', 4, '4', true);
INSERT INTO prm.tier_policy (review, grace) VALUES ('0', '0');
INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('1', 'units', 100), ('2', 'units', 500), ('3', 'units', 1500), ('4', 'units', 5000);
INSERT INTO prm.partner (partner_id, name) SELECT i, 'partner ' || i FROM generate_series(1, 4) i;
DO $$ BEGIN PERFORM prm.record_metric(1, 'units', 99), prm.record_metric(2, 'units', 100), prm.record_metric(3, 'units', 1499), prm.record_metric(4, 'units', 5000); END $$;
SELECT results_eq($$ SELECT qualified, outcome FROM prm.evaluate_tiers() $$, $$ VALUES (NULL, 'keep'), ('1', 'promote'), ('2', 'promote'), ('4', 'needs_approval') $$, 'TIR-022 99, 100, 1499, 5000 units');
SELECT is(pg_temp.held(4), '3', 'meanwhile it has the best tier that needs nobody');
SELECT results_eq($$ SELECT partner_id, from_tier, to_tier, state, reason, metrics FROM prm.v_tier_approval WHERE program_id = prm.current_program() $$,
  $$ VALUES (4::bigint, '3', '4', 'open', 'units 5000 >= 5000', '{"units": 5000}') $$, 'the approval waits, with what it is based on');
SELECT is_empty($$ SELECT * FROM prm.evaluate_tiers(options => '{"changed": true}') $$, 'and is asked for once');
SELECT is((SELECT outcome FROM prm.evaluate_tiers(4)), 'needs_approval', 'as long as it waits');
SELECT throws_ok($$ SELECT prm.refuse_tier((SELECT tier_approval_id FROM prm.v_tier_approval WHERE program_id = prm.current_program()), ' ') $$, '22023', 'a refusal needs a reason', 'a refusal says why');
SELECT throws_ok($$ SELECT prm.approve_tier(-1) $$, '42704', 'there is no tier approval -1', 'an unknown approval');
SELECT is(prm.refuse_tier((SELECT tier_approval_id FROM prm.v_tier_approval WHERE program_id = prm.current_program()), 'no site visit', '2026-06-01'), '4', 'refused');
SELECT results_eq($$ SELECT outcome, reason FROM prm.evaluate_tiers(4) $$, $$ VALUES ('keep', 'tier 4 was refused: no site visit') $$, 'it is not asked for again');
SELECT throws_ok($$ SELECT prm.approve_tier((SELECT tier_approval_id FROM prm.v_tier_approval WHERE program_id = prm.current_program())) $$, '55000', NULL, 'nor decided twice');
DO $$ BEGIN PERFORM pg_temp.at('2026-06-01 00:00+02'); END $$;
SELECT is((SELECT outcome FROM prm.evaluate_tiers(4)), 'needs_approval', 'until the day on which it may be');
SELECT is((SELECT outcome FROM prm.evaluate_tiers(2)), 'keep', 'who asked for nothing is not concerned');
CREATE ROLE pgtap_tier_manager;
DO $$ BEGIN PERFORM prm.grant_access('pgtap_tier_manager', 'manager'); END $$;
SET LOCAL ROLE pgtap_tier_manager;
SELECT throws_ok($$ UPDATE prm.tier_approval SET to_tier = '1' WHERE program_id = prm.current_program() AND state = 'open' $$, '23514', NULL, 'what is asked for cannot be changed');
SELECT is(prm.approve_tier((SELECT tier_approval_id FROM prm.v_tier_approval WHERE program_id = prm.current_program() AND state = 'open'), 'visited'), '4', 'a manager approves');
RESET ROLE;
SELECT is(pg_temp.held(4), '4', 'and the tier is held at once');
SELECT results_eq($$ SELECT from_tier, to_tier, outcome, actor, reason, metrics FROM prm.tier_history WHERE program_id = prm.current_program() AND partner_id = 4 ORDER BY tier_history_id $$,
  $$ VALUES (NULL, '3', 'needs_approval', prm._caller(), 'units 5000 >= 5000', '{"units": 5000}'::jsonb), ('3', '3', 'refused', prm._caller(), 'refused by ' || prm._caller() || ': no site visit', '{"units": 5000}'),
     ('3', '3', 'needs_approval', prm._caller(), 'units 5000 >= 5000', '{"units": 5000}'), ('3', '4', 'approved', 'pgtap_tier_manager', 'approved by pgtap_tier_manager: visited', '{"units": 5000}') $$, 'history says who and why');
SELECT is((SELECT outcome FROM prm.evaluate_tiers(4)), 'keep', 'and nothing more is asked');
DO $$ BEGIN PERFORM prm.record_metric(3, 'units', 6000, '2026-06-01 00:00+02'); PERFORM pg_temp.evaluate(); PERFORM prm.record_metric(3, 'units', 200, '2026-06-01 00:00+02'); PERFORM pg_temp.evaluate(); END $$;
SELECT results_eq($$ SELECT state FROM prm.v_tier_approval WHERE program_id = prm.current_program() AND partner_id = 3 $$, $$ VALUES ('withdrawn') $$, 'what is met no longer is withdrawn');

-- CRT-001: two valid certificates are needed, and one expires.
DO $$ BEGIN PERFORM pg_temp.at('2026-03-02 12:00+01'); PERFORM pg_temp.programme('certificates 1'); END $$;
INSERT INTO prm.certification (certification, label, valid_months) VALUES ('sales', 'Sales', 12);
INSERT INTO prm.tier (tier, rank, label) VALUES ('base', 1, 'Base'), ('gold', 2, 'Gold');
INSERT INTO prm.tier_policy (entry_tier, review, grace, plans) VALUES ('base', '0', '30 days', 'at_risk');
INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('gold', 'certified_people', 2);
INSERT INTO prm.outbox_rule (source, event, event_type, fields) VALUES ('tier', 'at_risk', 'tier.at_risk', '{partner_id,reason}'), ('tier', NULL, 'tier.changed', '{partner_id}');
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'one');
INSERT INTO prm.partner_user (partner_user_id, partner_id, name) VALUES (1, 1, 'Ada'), (2, 1, 'Ben');
INSERT INTO prm.certificate (partner_user_id, certification, issued_on, valid_until) VALUES (1, 'sales', '2025-03-04', '2026-03-03'), (2, 'sales', '2026-03-01', '2027-02-28');
SELECT results_eq($$ SELECT tier, (SELECT lapses_on FROM prm.tier_gap(1, 'gold')) FROM prm.enrolment WHERE program_id = prm.current_program() $$, $$ VALUES ('gold', '2026-03-04'::date) $$, 'two are valid, and it is known when that ends');
DO $$ BEGIN PERFORM pg_temp.at('2026-03-04 00:00+01'); END $$;
SELECT is(pg_temp.outcome(1), 'at_risk 2026-04-03', 'CRT-001 the day one expires the tier is at risk and the grace begins');
SELECT results_eq($$ SELECT standing, at_risk_on, grace_on, review_on FROM prm.enrolment WHERE program_id = prm.current_program() $$, $$ VALUES ('at_risk', '2026-03-04'::date, '2026-03-05'::date, '2026-04-03'::date) $$, 'CRT-001 with its dates');
SELECT results_eq($$ SELECT payload ->> 'reason' FROM prm.outbox WHERE program_id = prm.current_program() AND event_type = 'tier.at_risk' $$, $$ VALUES ('certified_people 1, needed >= 2') $$, 'nobody loses a tier quietly: a rule that names at_risk is told');
SELECT is((SELECT count(*) FROM prm.outbox WHERE program_id = prm.current_program() AND event_type = 'tier.changed'), 1::bigint, 'a rule for changes is told of the promotion alone');
SELECT results_eq($$ SELECT task, due_on, purpose, task_state FROM prm.v_tier_plan WHERE program_id = prm.current_program() $$, $$ SELECT 'Keep Gold: ' || m.label || ' 1 of 2', '2026-04-03'::date, 'keep', 'open' FROM prm.metric m WHERE m.program_id = prm.current_program() AND m.metric = 'certified_people' $$,
  'and has a plan with what is to be done by when');
DO $$ BEGIN PERFORM pg_temp.at('2026-03-20 00:00+01'); END $$;
INSERT INTO prm.certificate (partner_user_id, certification, issued_on, valid_until) VALUES (1, 'sales', '2026-03-20', '2027-03-19');
SELECT results_eq($$ SELECT e.standing, v.state, v.task_state, v.done_by FROM prm.enrolment e JOIN prm.v_tier_plan v USING (program_id, partner_id) WHERE e.program_id = prm.current_program() $$,
  $$ VALUES ('active', 'reached', 'done', 'tier plan') $$, 'renewed in time: called off, the plan is reached and its task closed');

-- Days of review.
SELECT is(prm._next_review('2024-02-29', '1 year', '2026-02-01'), '2026-02-28'::date, 'anniversaries of a leap day');
SELECT is(prm._next_review('2020-01-31', '1 mon', '2026-02-28'), '2026-02-28'::date, 'months end where they end');
SELECT is(prm._next_review('2026-05-01', '6 mons', '2020-01-01'), '2026-05-01'::date, 'never before the first');
DO $$ BEGIN PERFORM pg_temp.at('2026-03-02 12:00+01'); PERFORM pg_temp.programme('tiers review'); PERFORM pg_temp.metrics('m'); END $$;
INSERT INTO prm.ladder (ladder, label) VALUES ('anniversary', 'A'), ('period', 'P'), ('fiscal', 'F');
UPDATE prm.program SET fiscal_year_start = 4 WHERE program_id = prm.current_program();
INSERT INTO prm.tier (ladder, tier, rank, label) SELECT l, 'gold', 1, 'Gold' FROM unnest('{anniversary,period,fiscal}'::text[]) l;
INSERT INTO prm.tier_policy (ladder, review_kind, review, grace, period_start) VALUES ('anniversary', 'anniversary', '1 year', '1 month', NULL), ('period', 'period', '6 months', '1 month', '2026-02-01'), ('fiscal', 'period', '1 year', '1 month', NULL);
INSERT INTO prm.tier_requirement (ladder, tier, metric, threshold) SELECT l, 'gold', 'm', 1 FROM unnest('{anniversary,period,fiscal}'::text[]) l;
INSERT INTO prm.partner (partner_id, name, joined_on) VALUES (1, 'one', '2020-05-15'), (2, 'two', '2020-03-20');
DO $$ BEGIN PERFORM prm.record_metric(i, 'm', 1, '2026-01-01') FROM generate_series(1, 2) i; PERFORM pg_temp.evaluate(); PERFORM prm.record_metric(i, 'm', 0, '2026-03-01') FROM generate_series(1, 2) i; END $$;
SELECT results_eq($$ SELECT partner_id, ladder, outcome, effective_on FROM prm.evaluate_tiers() WHERE ladder <> 'main' $$,
  $$ VALUES (1::bigint, 'anniversary', 'at_risk', '2026-05-15'::date), (1, 'fiscal', 'at_risk', '2027-04-01'), (1, 'period', 'at_risk', '2026-08-01'),
     (2, 'anniversary', 'at_risk', '2027-03-20'), (2, 'fiscal', 'at_risk', '2027-04-01'), (2, 'period', 'at_risk', '2026-08-01') $$,
  'reviewed on the anniversary, or at the end of the programme year, and never before the grace is over: of two ladders each by its own policy');
DO $$ BEGIN PERFORM pg_temp.at('2026-05-14 12:00+02'); END $$;
SELECT is(pg_temp.outcome(1, 'anniversary'), 'grace 2026-05-15', 'the day before');
DO $$ BEGIN PERFORM pg_temp.at('2026-05-15 00:00+02'); END $$;
SELECT is(pg_temp.outcome(1, 'anniversary'), 'demote 2026-05-15', 'and on the day');
SELECT is(pg_temp.outcome(1, 'period'), 'at_risk 2026-08-01', 'the other ladder keeps its own date');

-- Enrolment for a time, on a ladder where only those enrolled stand.
DO $$ BEGIN PERFORM pg_temp.programme('tiers enrolment'); PERFORM pg_temp.metrics('m'); END $$;
INSERT INTO prm.ladder (ladder, label) VALUES ('club', 'Club');
INSERT INTO prm.tier (ladder, tier, rank, label) VALUES ('club', 'member', 1, 'Member'), ('club', 'star', 2, 'Star');
INSERT INTO prm.tier_policy (ladder, entry_tier, enrolment) VALUES ('club', 'member', 'by_row');
INSERT INTO prm.tier_requirement (ladder, tier, metric, threshold) VALUES ('club', 'star', 'm', 1);
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'one'), (2, 'two');
DO $$ BEGIN PERFORM prm.record_metric(1, 'm', 1), prm.record_metric(2, 'm', 1); END $$;
SELECT is_empty($$ SELECT * FROM prm.evaluate_tiers(options => '{"ladder": "club"}') $$, 'nobody is enrolled');
SELECT is(prm.enrol_partner(1, 'club', '2026-06-01 00:00+02', '2027-01-01 00:00+01'), NULL, 'an enrolment that is to come');
SELECT is_empty($$ SELECT * FROM prm.evaluate_tiers(options => '{"ladder": "club"}') $$, 'is not yet one');
DO $$ BEGIN PERFORM pg_temp.at('2026-06-01 00:00+02'); END $$;
SELECT is(pg_temp.outcome(1, 'club'), 'promote 2026-06-01', 'it begins');
SELECT is(pg_temp.held(1, 'club'), 'star', 'with what is met');
DO $$ BEGIN PERFORM pg_temp.at('2027-01-01 00:00+01'); END $$;
SELECT results_eq($$ SELECT partner_id, outcome, reason FROM prm.evaluate_tiers(options => '{"ladder": "club"}') $$, $$ VALUES (1::bigint, 'demote', 'the enrolment ended on 2027-01-01') $$, 'and ends, without risk or grace');
SELECT is(prm.enrol_partner(1, 'club'), 'star', 'enrolled again it is evaluated at once');
SELECT throws_ok($$ SELECT prm.enrol_partner(1, 'club', '2027-01-01', '2026-01-01') $$, '22023', 'an enrolment must end after it begins', 'an end before the beginning');
SELECT throws_ok($$ SELECT prm.enrol_partner(1, 'x') $$, '42704', 'ladder "x" does not exist', 'an unknown ladder');

-- Ladders by option or by the name of the tier.
INSERT INTO prm.tier (tier, rank, label) VALUES ('star', 1, 'Star of main');
SELECT is((SELECT count(*) FROM prm.tier_gap(2, 'member')), 0::bigint, 'a tier that only one ladder has says which; this one asks for nothing');
SELECT results_eq($$ SELECT metric, met FROM prm.tier_gap(2, 'star', '{"ladder": "club"}') $$, $$ VALUES ('m', true) $$, 'a ladder by option');
SELECT is_empty($$ SELECT * FROM prm.tier_gap(2, 'star') $$, 'main comes first');
INSERT INTO prm.ladder (ladder, label) VALUES ('club2', 'Club 2');
INSERT INTO prm.tier (ladder, tier, rank, label) VALUES ('club2', 'member', 1, 'Member');
SELECT throws_ok($$ SELECT * FROM prm.tier_gap(2, 'member') $$, '22023', 'tier "member" stands on several ladders', 'a name of several ladders');
SELECT throws_ok($$ SELECT * FROM prm.tier_gap(2, 'member', '{"lader": "club"}') $$, '22023', 'tier_gap has no option "lader"', 'an unknown option');
SELECT is(prm.pin_tier(2, 'member', NULL, 'a friend', '{"ladder": "club2"}'), 'member', 'a pin on another ladder');
SELECT is(pg_temp.held(2, 'club2'), 'member', 'is held there');
SELECT is(prm.set_tier_cap(1, 'member', '2027-02-01 00:00+01', 'complaint', '{"ladder": "club"}'), 'member', 'a cap says what counts');
SELECT results_eq($$ SELECT held_tier, cap_tier, effective_tier, cap_reason FROM prm.v_tier_standing WHERE program_id = prm.current_program() AND partner_id = 1 AND ladder = 'club' $$, $$ VALUES ('star', 'member', 'member', 'complaint') $$, 'held, cap and what counts are kept apart');
DO $$ BEGIN PERFORM pg_temp.at('2027-02-01 00:00+01'); END $$;
SELECT results_eq($$ SELECT held_tier, cap_tier, effective_tier, cap_reason FROM prm.v_tier_standing WHERE program_id = prm.current_program() AND partner_id = 1 AND ladder = 'club' $$, $$ VALUES ('star', NULL, 'star', NULL) $$, 'and it ends by itself');
SELECT results_eq($$ SELECT outcome, reason FROM prm.tier_history WHERE program_id = prm.current_program() AND partner_id = 1 AND outcome LIKE '%capped' $$, $$ VALUES ('capped', 'member: complaint') $$, 'history has it');
SELECT throws_ok($$ SELECT prm.set_tier_cap(1, 'member', NULL, '', '{"ladder": "club"}') $$, '22023', 'a cap needs a reason', 'no reason');
SELECT throws_ok($$ SELECT prm.set_tier_cap(1, 'member', '2026-01-01', 'x', '{"ladder": "club"}') $$, '22023', 'a cap must end in the future', 'an end that is past');
SELECT throws_ok($$ SELECT * FROM prm.evaluate_tiers(options => '{"partners": ["x"]}') $$, '22023', 'an option of evaluate_tiers has another type', 'partners are numbers');
SELECT results_eq($$ SELECT partner_id FROM prm.evaluate_tiers(options => '{"partners": [2], "ladder": "club2"}', dry_run => true) $$, $$ VALUES (2::bigint) $$, 'some partners of one ladder');

-- When it lapses, whatever the window: days by halves agree with what is counted from the deals.
DO $$ BEGIN PERFORM pg_temp.at('2026-03-02 12:00+01'); PERFORM pg_temp.programme('tiers lapse'); END $$;
INSERT INTO prm.metric (metric, label, source, measure, window_kind) VALUES ('sold_90d', 'Sold', 'built_in', 'revenue', 'rolling_90_days'), ('sold_year', 'Sold this year', 'built_in', 'revenue', 'year_to_date');
INSERT INTO prm.tier (tier, rank, label) VALUES ('quick', 1, 'Quick'), ('score', 2, 'Score');
INSERT INTO prm.tier_track (tier, mark) VALUES ('score', 60);
INSERT INTO prm.tier_requirement (tier, metric, threshold, weight) VALUES ('quick', 'sold_90d', 100, 1), ('quick', 'sold_year', 100, 1), ('quick', 'revenue_12m', 100, 1), ('score', 'sold_90d', 200, 50), ('score', 'revenue_12m', 200, 50);
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'one');
DO $$ BEGIN PERFORM pg_temp.win(1, 150); PERFORM pg_temp.at('2026-03-12 12:00+01'); PERFORM pg_temp.win(1, 120); END $$;
SELECT results_eq($$ SELECT metric, met, lapses_on FROM prm.tier_gap(1, 'quick') $$, $$ VALUES ('revenue_12m', true, '2027-03-12'::date), ('sold_90d', true, '2026-06-10'), ('sold_year', true, '2027-01-01') $$,
  'a rolling window by its days, a year to date at new year, 12 months by the deals');
SELECT results_eq($$ SELECT metric, have, lapses_on FROM prm.tier_gap(1, 'score') WHERE metric = 'score' $$, $$ VALUES ('score', 100::numeric, '2026-06-10'::date) $$, 'and a score, when too much of it has gone: 30 + 50 at the end of May, 50 after the 10th of June');

SELECT * FROM finish();
ROLLBACK;
