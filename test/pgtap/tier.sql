-- Tiers: the published cases by id, time travel through risk, grace, demotion and recovery, pins, gaps, and won deals.
BEGIN;
-- The expectations below write dates as ISO does.
SET LOCAL datestyle = 'ISO, YMD';
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();

CREATE FUNCTION pg_temp.programme(the_name text, the_template text) RETURNS void LANGUAGE plpgsql AS
  $$ BEGIN PERFORM set_config('prm.program_id', prm.create_program('pgTAP ' || the_name, the_template, 'EUR', 'Europe/Berlin')::text, true); END $$;
CREATE FUNCTION pg_temp.at(the_moment text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('prm.clock', the_moment, true); END $$;
-- Wins a deal of a partner at the present moment of the clock.
CREATE FUNCTION pg_temp.win(the_partner bigint, the_amount numeric) RETURNS void LANGUAGE plpgsql AS $$
DECLARE the_id bigint;
BEGIN
  INSERT INTO prm.deal (partner_id, name, amount, currency) VALUES (the_partner, 'deal', the_amount, 'EUR') RETURNING deal_id INTO the_id;
  UPDATE prm.deal d SET state = 'won', closed_at = prm.now() WHERE d.program_id = prm.current_program() AND d.deal_id = the_id;
END $$;
CREATE FUNCTION pg_temp.held(the_partner bigint) RETURNS text LANGUAGE sql AS
  $$ SELECT p.tier FROM prm.partner p WHERE p.program_id = prm.current_program() AND p.partner_id = the_partner $$;
CREATE FUNCTION pg_temp.outcome(the_partner bigint) RETURNS text LANGUAGE sql AS
  $$ SELECT string_agg(e.outcome || coalesce(' ' || e.effective_on, ''), ',') FROM prm.evaluate_tiers(the_partner) e $$;
DO $$ BEGIN PERFORM pg_temp.at('2026-03-02 12:00+01'); END $$;

-- TIR-001: the highest tier comes first in the definition; the order must not matter.
DO $$ BEGIN PERFORM pg_temp.programme('tiers 1', 'blank'); END $$;
INSERT INTO prm.tier (tier, rank, label) VALUES ('gold', 3, 'Gold'), ('silver', 2, 'Silver'), ('bronze', 1, 'Bronze');
INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('gold', 'revenue_12m', 20000), ('silver', 'revenue_12m', 10000), ('bronze', 'revenue_12m', 0);
INSERT INTO prm.partner (partner_id, name) SELECT i, 'partner ' || i FROM generate_series(1, 8) i;
DO $$ BEGIN
  PERFORM pg_temp.win(i, b) FROM (VALUES (4, 4000), (5, 8000), (6, 18000), (7, 22000)) x(i, b);
  PERFORM pg_temp.win(i, s) FROM (VALUES (1, 6000), (2, 15000), (3, 25000), (4, 500), (5, 3000), (6, 3000), (7, 5000)) x(i, s);
END $$;
SELECT results_eq($$ SELECT pg_temp.held(i) FROM generate_series(1, 7) i $$, $$ SELECT unnest('{bronze,silver,gold,bronze,silver,gold,gold}'::text[]) $$,
  'TIR-001 the tier by what was spent before and this sale, in any order of definition');
SELECT is(pg_temp.held(1), 'bronze', 'TIR-002 the first sale does not skip the first tier');
SELECT is(pg_temp.held(8), NULL, 'who was never evaluated and has no entry tier holds none');
SELECT results_eq($$ SELECT held, qualified, outcome FROM prm.evaluate_tiers(8) $$, $$ VALUES (NULL::text, 'bronze', 'promote') $$, 'a threshold of 0 is met by nothing sold');

-- TIR-014
INSERT INTO prm.tier (tier, rank, label) VALUES ('empty', 9, 'Without conditions'), ('strange', 8, 'Unknown metric'), ('silent', 7, 'Metric without value');
INSERT INTO prm.tier_requirement (tier, metric, threshold, op) VALUES ('strange', 'no_such_metric', 0, '>='), ('strange', 'revenue_12m', 0, '>='), ('silent', 'nps', 1000, '<=');
SELECT is_empty($$ SELECT 1 FROM prm.evaluate_tiers() WHERE outcome <> 'keep' $$, 'TIR-014 a tier without conditions, or with a metric that is not known, is never given');

-- TIR-003
DO $$ BEGIN PERFORM pg_temp.programme('tiers 3', 'blank'); END $$;
INSERT INTO prm.tier (tier, rank, label) VALUES ('tier1', 1, '1'), ('tier2', 2, '2');
INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('tier1', 'revenue_12m', 40000), ('tier2', 'revenue_12m', 100000);
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'one');
CREATE TEMP TABLE seen ON COMMIT DROP AS SELECT 0 AS n, NULL::text AS tier WITH NO DATA;
DO $$ DECLARE s record; BEGIN
  FOR s IN SELECT * FROM unnest('{45000,25000,25000,10000}'::numeric[]) WITH ORDINALITY x(amount, n) LOOP
    PERFORM pg_temp.win(1, s.amount); INSERT INTO seen VALUES (s.n, pg_temp.held(1));
  END LOOP; END $$;
SELECT results_eq('SELECT tier FROM seen ORDER BY n', $$ SELECT unnest('{tier1,tier1,tier1,tier2}'::text[]) $$, 'TIR-003 the windowed sum after each sale');

-- TIR-004, TIR-012: all requirements of a track; on the mark is met.
DO $$ BEGIN PERFORM pg_temp.programme('tiers 4', 'blank'); END $$;
INSERT INTO prm.metric (metric, label) VALUES ('sold', 'Sold'), ('managed', 'Managed'), ('commissions', 'Commissions');
INSERT INTO prm.tier (tier, rank, label) VALUES ('silver', 1, 'Silver'), ('gold', 2, 'Gold'), ('vip', 3, 'VIP');
INSERT INTO prm.tier_requirement (tier, track, metric, threshold) VALUES ('gold', 'standard', 'sold', 1125), ('gold', 'standard', 'managed', 6500), ('silver', 'standard', 'sold', 625), ('silver', 'standard', 'managed', 3500),
  ('gold', 'fast', 'commissions', 50), ('vip', 'standard', 'commissions', 100);
INSERT INTO prm.partner (partner_id, name) SELECT i, 'partner ' || i FROM generate_series(1, 4) i;
DO $$ BEGIN
  PERFORM prm.record_metric(1, 'sold', 1200), prm.record_metric(1, 'managed', 6000);
  PERFORM prm.record_metric(2, 'commissions', 99.99), prm.record_metric(3, 'commissions', 100.00);
END $$;
SELECT results_eq($$ SELECT partner_id, qualified, outcome FROM prm.evaluate_tiers() $$,
  $$ VALUES (1::bigint, 'silver', 'promote'), (2, 'gold', 'promote'), (3, 'vip', 'promote'), (4, NULL, 'keep') $$,
  'TIR-004 all requirements of a track; TIR-012 99.99 is not 100.00, and a second track leads to gold');
SELECT results_eq($$ SELECT track, metric, have, need, missing, met FROM prm.tier_gap(1) $$,
  $$ VALUES ('fast', 'commissions', NULL::numeric, 50::numeric, 50::numeric, false), ('standard', 'managed', 6000, 6500, 500, false), ('standard', 'sold', 1200, 1125, 0, true) $$, 'TIR-004 500 managed are missing');
SELECT is_empty($$ SELECT * FROM prm.evaluate_tiers() WHERE outcome <> 'keep' $$, 'evaluated twice is evaluated once');
SELECT is((SELECT count(*) FROM prm.tier_history WHERE program_id = prm.current_program()), 3::bigint, 'one row of history for each change');
SELECT results_eq($$ SELECT metrics, reason FROM prm.tier_history WHERE program_id = prm.current_program() AND partner_id = 1 $$,
  $$ VALUES ('{"sold": 1200, "managed": 6000}'::jsonb, 'managed 6000 >= 3500, sold 1200 >= 625') $$, 'with the metrics it was based on');

-- TIR-015: hysteresis and a cap that is kept apart.
DO $$ BEGIN PERFORM pg_temp.programme('tiers 15', 'blank'); END $$;
INSERT INTO prm.metric (metric, label) VALUES ('share', 'Share');
INSERT INTO prm.tier (tier, rank, label) SELECT 't' || i, i, 'Tier ' || i FROM generate_series(1, 4) i;
INSERT INTO prm.tier_requirement (tier, metric, threshold, keep_threshold) VALUES ('t1', 'share', 0, NULL), ('t2', 'share', 0.2, NULL), ('t3', 'share', 0.4, NULL), ('t4', 'share', 0.6, 0.4);
INSERT INTO prm.benefit (tier, benefit, value) SELECT 't' || i, 'discount', i * 10 FROM generate_series(1, 4) i;
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'one');
SELECT prm.record_metric(1, 'share', 0.6);
SELECT is(pg_temp.outcome(1), 'promote 2026-03-02', 'TIR-015 promoted at 0.6');
SELECT prm.record_metric(1, 'share', 0.45);
UPDATE prm.enrolment SET cap_tier = 't2' WHERE program_id = prm.current_program();
SELECT is(pg_temp.outcome(1), 'keep', 'TIR-015 0.45 holds what 0.6 reached');
SELECT is(prm.entitlement(1, 'discount'), '20', 'TIR-015 while capped it counts for the cap');
UPDATE prm.enrolment SET cap_tier = NULL WHERE program_id = prm.current_program();
SELECT is(pg_temp.held(1), 't4', 'TIR-015 back from the cap it holds tier 4 again');
SELECT is(prm.entitlement(1, 'discount'), '40', 'TIR-015 and what it gives');
SELECT prm.record_metric(1, 'share', 0.399);
SELECT is((SELECT outcome FROM prm.evaluate_tiers(1, dry_run => true)), 'demote', 'below 0.4 it is lost');
SELECT is(pg_temp.held(1), 't4', 'but a dry run writes nothing');
SELECT is((SELECT count(*) FROM prm.tier_history WHERE program_id = prm.current_program()), 1::bigint, 'not even history');

-- Time travel with the reseller template: gold needs 2 certified people, 100000 (80000 to keep) and 5 deals.
DO $$ BEGIN PERFORM pg_temp.at('2026-03-02 12:00+01'); PERFORM pg_temp.programme('tiers time', 'reseller'); END $$;
INSERT INTO prm.partner (partner_id, name) SELECT i, 'partner ' || i FROM generate_series(1, 3) i;
INSERT INTO prm.partner_user (partner_user_id, partner_id, name) VALUES (1, 1, 'Ada'), (2, 1, 'Ben'), (3, 2, 'Cem'), (4, 3, 'Dee');
INSERT INTO prm.certificate (partner_user_id, certification, issued_on, valid_until) VALUES (1, 'sales', '2026-01-01', '2027-12-31'), (2, 'sales', '2026-01-01', '2027-06-30');
SELECT is(pg_temp.held(1), 'certified', 'a certificate promotes at once');
DO $$ BEGIN
  PERFORM pg_temp.win(1, 20000);
  PERFORM pg_temp.at('2026-04-01 12:00+02');
  FOR i IN 1 .. 4 LOOP PERFORM pg_temp.win(1, 22000); END LOOP;
END $$;
SELECT is(pg_temp.held(1), 'gold', 'won deals promote at once');
SELECT results_eq($$ SELECT from_tier, to_tier, outcome FROM prm.tier_history WHERE program_id = prm.current_program() AND partner_id = 1 ORDER BY tier_history_id $$,
  $$ VALUES (NULL, 'registered', 'entry'), ('registered', 'certified', 'promote'), ('certified', 'silver', 'promote'), ('silver', 'gold', 'promote') $$, 'step by step');
SELECT is((SELECT count(*) FROM prm.tier_due WHERE program_id = prm.current_program() AND cause = 'deal won'), 5::bigint, 'each win leaves a row in tier_due');
SELECT results_eq($$ SELECT metric, have, need, met, lapses_on FROM prm.tier_gap(1, 'gold') $$,
  $$ VALUES ('certified_people', 2::numeric, 2::numeric, true, '2027-07-01'::date), ('deals_won_12m', 5, 5, true, '2027-03-02'), ('revenue_12m', 108000, 80000, true, '2027-04-01') $$,
  'what it needs to keep gold, and when it lapses: the day after a certificate, the day a deal is a year old');
SELECT results_eq($$ SELECT metric, need, missing, met, lapses_on FROM prm.tier_gap(1) $$,
  $$ VALUES ('certified_people', 4::numeric, 2::numeric, false, NULL::date), ('deals_won_12m', 10, 5, false, NULL), ('revenue_12m', 250000, 142000, false, NULL) $$, 'and for the next tier');
SELECT is(prm.entitlement(1, 'support_level'), 'dedicated', 'gold support');
DO $$ BEGIN PERFORM pg_temp.at('2027-03-02 11:59+01'); END $$;
SELECT is(pg_temp.outcome(1), 'keep', 'a minute before the first deal leaves the window gold is kept');
DO $$ BEGIN PERFORM pg_temp.at('2027-03-02 12:00+01'); END $$;
SELECT is(pg_temp.outcome(1), 'at_risk 2027-06-02', 'at that minute it is at risk; three months of grace, and the year of its term is over by then');
SELECT is((SELECT reason FROM prm.evaluate_tiers(1)), 'deals_won_12m 4, needed >= 5', 'with the reason');
SELECT is(pg_temp.held(1), 'gold', 'and held');
DO $$ BEGIN PERFORM pg_temp.at('2027-03-03 12:00+01'); END $$;
SELECT is(pg_temp.outcome(1), 'grace 2027-06-02', 'the last stretch before the review is called grace');
DO $$ BEGIN PERFORM pg_temp.at('2027-03-20 12:00+01'); PERFORM pg_temp.win(1, 1000); END $$;
SELECT results_eq($$ SELECT standing, review_on, grace_on, at_risk_on FROM prm.enrolment WHERE program_id = prm.current_program() AND partner_id = 1 $$,
  $$ VALUES ('active', NULL::date, NULL::date, NULL::date) $$, 'the fifth deal calls the demotion off at once');
SELECT is((SELECT reason FROM prm.tier_history WHERE program_id = prm.current_program() AND partner_id = 1 ORDER BY tier_history_id DESC LIMIT 1) LIKE 'recovered before the review%', true, 'and says so');
DO $$ BEGIN PERFORM pg_temp.at('2027-05-01 12:00+02'); END $$;
SELECT is(pg_temp.outcome(1), 'at_risk 2027-08-01', 'short again, a new date');
DO $$ BEGIN PERFORM pg_temp.at('2027-07-31 12:00+02'); END $$;
SELECT is(pg_temp.outcome(1), 'grace 2027-08-01', 'the day before');
DO $$ BEGIN PERFORM pg_temp.at('2027-08-01 00:00+02'); END $$;
SELECT is(pg_temp.outcome(1), 'demote 2027-08-01', 'on the review date it is demoted');
SELECT results_eq($$ SELECT p.tier, e.standing, e.effective_on FROM prm.partner p JOIN prm.enrolment e USING (program_id, partner_id) WHERE p.program_id = prm.current_program() AND p.partner_id = 1 $$,
  $$ VALUES ('certified', 'active', '2027-08-01'::date) $$, 'to the tier that it meets');
SELECT is(prm.entitlement(1, 'support_level'), NULL, 'and the benefits went with it');
SELECT results_eq($$ SELECT value, tier, valid FROM prm.benefit_grant WHERE program_id = prm.current_program() AND partner_id = 1 AND benefit = 'support_level' ORDER BY valid $$,
  $$ VALUES ('dedicated', 'gold', tstzrange('2026-04-01 12:00+02', '2027-08-01 00:00+02')) $$, 'with the range in which they held; what held for no time left no row');
SELECT results_eq($$ SELECT tier FROM prm.partner_history WHERE program_id = prm.current_program() AND partner_id = 1 ORDER BY valid $$,
  $$ SELECT unnest('{registered,certified,gold,certified}'::text[]) $$, 'the partner''s history knows each tier');

-- The term of a tier: it is not lost before a year has run.
DO $$ BEGIN PERFORM pg_temp.at('2027-08-02 12:00+02'); END $$;
UPDATE prm.partner SET tier = 'platinum' WHERE program_id = prm.current_program() AND partner_id = 2;
SELECT is(pg_temp.outcome(2), 'at_risk 2028-08-02', 'a tier set by hand is at risk when it is not met, and safe for its term');
DO $$ BEGIN PERFORM pg_temp.at('2028-05-01 12:00+02'); END $$;
SELECT is(pg_temp.outcome(2), 'at_risk 2028-08-02', 'at risk until three months before');
DO $$ BEGIN PERFORM pg_temp.at('2028-05-02 12:00+02'); END $$;
SELECT is(pg_temp.outcome(2), 'grace 2028-08-02', 'then in grace');

-- Pins.
SELECT is(prm.pin_tier(2, 'gold', '2028-10-01 00:00+02', 'strategic'), 'gold', 'a pin gives the tier at once');
SELECT results_eq($$ SELECT held, qualified, outcome, effective_on FROM prm.evaluate_tiers(2) $$, $$ VALUES ('gold', 'registered', 'pinned', '2028-10-01'::date) $$, 'and overrides demotion');
DO $$ BEGIN PERFORM pg_temp.at('2028-10-01 00:00+02'); END $$;
SELECT is(pg_temp.outcome(2), 'at_risk 2029-05-02', 'when it ends the rules hold again');
SELECT is(prm.pin_tier(2, 'registered', NULL, 'suspended'), 'registered', 'a pin without end');
INSERT INTO prm.certificate (partner_user_id, certification, issued_on) VALUES (3, 'sales', '2028-09-01');
SELECT is(pg_temp.held(2), 'registered', 'overrides promotion too');
SELECT is(prm.pin_tier(2, NULL, NULL, 'review done'), 'registered', 'a pin is ended with a NULL tier');
SELECT is(pg_temp.outcome(2), 'promote 2028-10-01', 'and the next evaluation decides');
SELECT results_eq($$ SELECT outcome, reason FROM prm.tier_history WHERE program_id = prm.current_program() AND partner_id = 2 AND outcome IN ('pinned', 'unpinned') ORDER BY tier_history_id $$,
  $$ VALUES ('pinned', 'strategic'), ('pinned', 'suspended'), ('unpinned', 'review done') $$, 'with their reasons in the history');
SELECT throws_ok($$ SELECT prm.pin_tier(2, 'gold', NULL, ' ') $$, '22023', 'a pin needs a reason', 'no reason');
SELECT throws_ok($$ SELECT prm.pin_tier(2, 'diamond', NULL, 'x') $$, '42704', 'tier "diamond" does not exist', 'an unknown tier');
SELECT throws_ok($$ SELECT prm.pin_tier(2, 'gold', '2028-01-01', 'x') $$, '22023', 'a pin must end in the future', 'an end that is past');

-- Approval.
UPDATE prm.tier_policy SET promotion = 'approval' WHERE program_id = prm.current_program();
INSERT INTO prm.certificate (partner_user_id, certification, issued_on) VALUES (4, 'sales', '2028-09-01');
SELECT is(pg_temp.held(3), 'registered', 'where promotion needs approval nobody is promoted at once');
SELECT results_eq($$ SELECT held, qualified, outcome, effective_on FROM prm.evaluate_tiers(3) $$, $$ VALUES ('registered', 'certified', 'needs_approval', NULL::date) $$, 'the evaluation asks for it');
UPDATE prm.partner SET tier = 'certified' WHERE program_id = prm.current_program() AND partner_id = 3;
SELECT is(pg_temp.outcome(3), 'keep', 'and approval is setting the tier');

-- Bulk: one statement over many deals is one pass; what was won long ago counts in no window.
DO $$ BEGIN PERFORM pg_temp.at('2026-03-02 12:00+01'); PERFORM pg_temp.programme('tiers bulk', 'reseller'); END $$;
INSERT INTO prm.partner (partner_id, name) SELECT i, 'partner ' || i FROM generate_series(1, 50) i;
DELETE FROM prm.tier_requirement WHERE program_id = prm.current_program() AND metric = 'certified_people';
INSERT INTO prm.deal (deal_id, partner_id, name, amount, currency) SELECT i, 1 + i % 50, 'deal ' || i, 3000, 'EUR' FROM generate_series(1, 1000) i;
UPDATE prm.deal SET state = 'won', closed_at = prm.now() WHERE program_id = prm.current_program() AND deal_id <= 500;
SELECT results_eq($$ SELECT tier, count(*) FROM prm.partner WHERE program_id = prm.current_program() GROUP BY 1 $$, $$ VALUES ('silver', 50::bigint) $$, '500 deals won in one statement: 10 each, 30000, silver');
SELECT is((SELECT count(*) FROM prm.tier_due WHERE program_id = prm.current_program()), 50::bigint, 'one row of tier_due for each partner, not for each deal');
SELECT is((SELECT count(*) FROM prm.tier_history WHERE program_id = prm.current_program() AND outcome = 'promote'), 50::bigint, 'one promotion for each partner');
SELECT is((SELECT count(*) FROM prm.outbox WHERE program_id = prm.current_program() AND event_type = 'tier.changed'), 50::bigint, 'and one message, none for the entry');
UPDATE prm.deal SET state = 'lost', closed_at = prm.now() WHERE program_id = prm.current_program() AND deal_id BETWEEN 501 AND 510;
UPDATE prm.deal SET state = 'won', closed_at = '2025-01-01' WHERE program_id = prm.current_program() AND deal_id BETWEEN 511 AND 900;
SELECT is((SELECT count(*) FROM prm.tier_due WHERE program_id = prm.current_program()), 50::bigint, 'lost deals, and deals won over a year ago, are no reason to evaluate');
SELECT is(prm._work_tier_due(prm.current_program(), 30), 30, 'the job takes a batch');
SELECT is(prm._work_tier_due(prm.current_program(), 30), 20, 'and the rest');
SELECT is(prm._work_tier_due(prm.current_program(), 30), 0, 'and then nothing is due');
-- Another session's win that the evaluation at once could not see is made up for by the job.
ALTER TABLE prm.deal DISABLE TRIGGER prm_40_tiers_update;
UPDATE prm.deal SET state = 'won', closed_at = prm.now() WHERE program_id = prm.current_program() AND deal_id BETWEEN 901 AND 1000;
UPDATE prm.deal SET amount = 90000 WHERE program_id = prm.current_program() AND deal_id IN (950);
ALTER TABLE prm.deal ENABLE TRIGGER prm_40_tiers_update;
INSERT INTO prm.tier_due (partner_id, cause) VALUES (1, 'deal won');
SELECT is(prm._work_tier_due(prm.current_program(), 30), 1, 'one partner is looked at again');
SELECT results_eq($$ SELECT pg_temp.held(i) FROM generate_series(1, 2) i $$, $$ VALUES ('gold'), ('silver') $$, 'and promoted, with everything that is committed');

-- Benefits that are added or changed later reach those who hold the tier, at once.
INSERT INTO prm.benefit (tier, benefit, value) VALUES ('silver', 'lead_priority', '2');
SELECT is(prm.entitlement(2, 'lead_priority'), '2', 'a benefit added to a tier reaches its holders at once');
UPDATE prm.benefit SET value = '16' WHERE program_id = prm.current_program() AND tier = 'silver' AND benefit = 'discount_percent';
SELECT results_eq($$ SELECT prm.entitlement(i, 'discount_percent') FROM generate_series(2, 3) i $$, $$ VALUES ('16'), ('16') $$, 'and so does a new value');
DELETE FROM prm.benefit WHERE program_id = prm.current_program() AND tier = 'silver' AND benefit = 'support_level';
SELECT is(prm.entitlement(2, 'support_level'), NULL, 'and what is taken away is gone');

-- Several ladders.
INSERT INTO prm.ladder (ladder, label) VALUES ('services', 'Services');
INSERT INTO prm.tier (ladder, tier, rank, label) VALUES ('services', 'none', 1, 'None'), ('services', 'expert', 2, 'Expert');
INSERT INTO prm.tier_policy (ladder, entry_tier) VALUES ('services', 'none');
INSERT INTO prm.tier_requirement (ladder, tier, metric, threshold) VALUES ('services', 'expert', 'logins_30d', 3);
INSERT INTO prm.partner (partner_id, name) VALUES (60, 'new');
SELECT prm.record_metric(60, 'logins_30d', 3);
SELECT results_eq($$ SELECT ladder, held, qualified, outcome FROM prm.evaluate_tiers(60) $$, $$ VALUES ('main', 'registered', 'registered', 'keep'), ('services', 'none', 'expert', 'promote') $$, 'each ladder is evaluated');
SELECT results_eq($$ SELECT ladder, outcome FROM prm.evaluate_tiers(2, '{"ladder": "services"}') $$, $$ VALUES ('services', 'promote') $$, 'or one; who was there before the ladder is enrolled by the evaluation');
SELECT is(pg_temp.held(60), 'registered', 'partner.tier is that of main');
SELECT throws_ok($$ SELECT * FROM prm.evaluate_tiers(60, '{"ladders": "x"}') $$, '22023', 'evaluate_tiers has no option "ladders"', 'an unknown option');
SELECT throws_ok($$ SELECT * FROM prm.evaluate_tiers(60, '{"ladder": "x"}') $$, '42704', 'ladder "x" does not exist', 'an unknown ladder');
SELECT throws_ok($$ SELECT * FROM prm.evaluate_tiers(777) $$, '42704', 'partner 777 does not exist', 'an unknown partner');
SELECT throws_ok($$ SELECT * FROM prm.tier_gap(60, 'x') $$, '42704', 'tier "x" does not exist', 'an unknown tier has no gap');
SELECT throws_ok($$ SELECT prm.entitlement(60, 'x') $$, '42704', 'benefit "x" does not exist', 'an unknown benefit');

-- Lapses, exactly: a leap day, the order of leaving, rates, leads.
DO $$ BEGIN PERFORM pg_temp.at('2028-02-29 12:00+01'); PERFORM pg_temp.programme('tiers lapse', 'blank'); END $$;
INSERT INTO prm.tier (tier, rank, label) VALUES ('a', 1, 'A');
INSERT INTO prm.tier_requirement (tier, metric, op, threshold) VALUES ('a', 'revenue_12m', '>=', 100), ('a', 'win_rate', '>=', 0.5), ('a', 'return_rate', '<=', 0.6), ('a', 'average_deal', '<=', 300), ('a', 'nps', '>=', 1);
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'one');
DO $$ BEGIN
  PERFORM pg_temp.win(1, 100);
  PERFORM pg_temp.at('2028-03-10 12:00+01'); PERFORM pg_temp.win(1, 99), prm.record_metric(1, 'nps', 50);
  INSERT INTO prm.deal (deal_id, partner_id, name, amount, currency) VALUES (900001, 1, 'x', 5, 'EUR');
  UPDATE prm.deal SET state = 'lost', closed_at = prm.now() WHERE program_id = prm.current_program() AND deal_id = 900001;
END $$;
INSERT INTO prm.lead (lead_id, partner_id, company, created_at) SELECT i, 1, 'lead', '2028-01-01' FROM generate_series(1, 2) i;
INSERT INTO prm.state_history (machine, machine_version, subject_id, event, from_state, to_state, actor, actor_kind, at) VALUES
  ('lead', 1, 1, 'qualify', 'new', 'partner_qualified', 'a', 'partner', '2028-02-01 12:00+01'), ('lead', 1, 2, 'qualify', 'new', 'partner_qualified', 'a', 'partner', '2028-02-05 12:00+01'),
  ('lead', 1, 2, 'return', 'partner_qualified', 'returned', 'v', 'vendor', '2028-02-06 12:00+01');
SELECT results_eq($$ SELECT metric, have, met, lapses_on FROM prm.tier_gap(1) $$,
  $$ VALUES ('average_deal', 99.5, true, '2029-03-10'::date), ('nps', 50, true, NULL), ('return_rate', 0.5, true, '2029-02-01'), ('revenue_12m', 199, true, '2029-03-01'), ('win_rate', 0.666667, true, '2029-03-10') $$,
  'what was won on 29 February leaves on 1 March; a rate lapses when nothing is left to rate');
SELECT is((SELECT have FROM (SELECT set_config('prm.clock', '2029-02-28 23:59:59+01', true)) c CROSS JOIN LATERAL prm.tier_gap(1) g WHERE g.metric = 'revenue_12m'), 199::numeric, 'it is still there at the end of February');
SELECT is((SELECT have FROM (SELECT set_config('prm.clock', '2029-03-01 00:00:00+01', true)) c CROSS JOIN LATERAL prm.tier_gap(1) g WHERE g.metric = 'revenue_12m'), 99::numeric, 'and gone on the first of March');

-- The same for one row, for all rows, and by the function.
SELECT set_eq($$ SELECT partner_id, tier, next_tier, revenue_12m FROM prm.v_partner WHERE program_id = prm.current_program() $$,
  $$ SELECT p.partner_id, p.tier, prm.next_tier(p), prm.revenue_12m(p) FROM prm.partner p WHERE p.program_id = prm.current_program() $$, 'v_partner agrees with the functions over the row');
SELECT results_eq($$ SELECT tier, partners, prm.partners(t) FROM prm.v_tier v JOIN prm.tier t USING (program_id, ladder, tier) WHERE v.program_id = prm.current_program() $$,
  $$ SELECT 'a', count(e.tier), count(e.tier) FROM prm.enrolment e WHERE e.program_id = prm.current_program() AND e.tier = 'a' $$, 'v_tier counts as partners(tier) does');
SELECT results_eq($$ SELECT lead_id, state_since, prm.state_since(l) FROM prm.v_lead v JOIN prm.lead l USING (program_id, lead_id) WHERE program_id = prm.current_program() ORDER BY 1 $$,
  $$ VALUES (1::bigint, '2028-02-01 12:00+01'::timestamptz, '2028-02-01 12:00+01'::timestamptz), (2, '2028-02-06 12:00+01', '2028-02-06 12:00+01') $$, 'v_lead and state_since() agree');
SELECT is((SELECT days_in_state FROM prm.v_lead WHERE program_id = prm.current_program() AND lead_id = 2), 388.50, 'days in the state, by the movable clock');

-- History that is imported: what counts in the window promotes, what is older is no reason to evaluate.
DO $$ BEGIN PERFORM pg_temp.at('2026-03-02 12:00+01'); PERFORM pg_temp.programme('tiers import', 'reseller'); END $$;
DELETE FROM prm.tier_requirement WHERE program_id = prm.current_program() AND metric = 'certified_people';
INSERT INTO prm.partner (partner_id, name, external_ref) VALUES (71, 'imported', 'P71'), (72, 'imported long ago', 'P72');
CREATE TABLE public.pgtap_tier_deals (ref text, partner text, amount text, closed text);
INSERT INTO public.pgtap_tier_deals VALUES ('D1', 'P71', '30000', '2026-02-01 10:00:00'), ('D2', 'P72', '30000', '2024-01-01 10:00:00');
SELECT is((SELECT count(*) FROM prm.import('deal', 'public.pgtap_tier_deals', '{"external_ref": "ref", "partner_ref": "partner", "name": "ref", "amount": "amount", "state": {"value": "won"}, "closed_at": "closed"}')
           WHERE outcome = 'inserted'), 2::bigint, 'two won deals come in by import');
SELECT results_eq($$ SELECT pg_temp.held(i) FROM generate_series(71, 72) i $$, $$ VALUES ('silver'), ('registered') $$, 'the one in the window promotes');
SELECT is((SELECT count(*) FROM prm.tier_due WHERE program_id = prm.current_program() AND partner_id IN (71, 72)), 1::bigint, 'the other leaves not even a row to look at');

-- Who may what: winning a deal promotes with the owner's rights, the history names who did it.
DO $$ BEGIN PERFORM pg_temp.at('2026-03-02 12:00+01'); PERFORM pg_temp.programme('tiers rights', 'reseller'); END $$;
DELETE FROM prm.tier_requirement WHERE program_id = prm.current_program() AND metric = 'certified_people';
INSERT INTO prm.partner (partner_id, name) SELECT i, 'partner ' || i FROM generate_series(1, 3) i;
INSERT INTO prm.deal (deal_id, partner_id, name, amount, currency) SELECT 910000 + i, i, 'deal', 30000, 'EUR' FROM generate_series(1, 3) i;
CREATE ROLE pgtap_tier_manager;
CREATE ROLE pgtap_tier_partner;
DO $$ BEGIN
  PERFORM prm.grant_access('pgtap_tier_manager', 'manager'), prm.grant_access('pgtap_tier_partner', 'partner');
  INSERT INTO prm.partner_login (role_name, partner_id) VALUES ('pgtap_tier_partner', 2);
END $$;
SET LOCAL ROLE pgtap_tier_manager;
UPDATE prm.deal SET state = 'won' WHERE program_id = prm.current_program() AND deal_id = 910001;
UPDATE prm.partner SET tier = 'gold' WHERE program_id = prm.current_program() AND partner_id = 3;
SELECT is((SELECT count(*) FROM prm.v_partner v CROSS JOIN LATERAL prm.health(v.partner_id) h CROSS JOIN LATERAL prm.tier_gap(v.partner_id, 'platinum') g WHERE v.program_id = prm.current_program() AND g.metric = 'revenue_12m'), 3::bigint, 'a manager reads');
SELECT is((SELECT count(*) FROM prm.evaluate_tiers(dry_run => true)), 3::bigint, 'and asks what an evaluation would do');
SELECT throws_ok($$ SELECT * FROM prm.evaluate_tiers() $$, '42501', 'only the owner of the model evaluates and pins tiers', 'but does not evaluate');
SELECT throws_ok($$ SELECT prm.pin_tier(1, 'gold', NULL, 'x') $$, '42501', 'only the owner of the model evaluates and pins tiers', 'nor pin');
SET LOCAL ROLE pgtap_tier_partner;
UPDATE prm.deal SET state = 'won' WHERE program_id = prm.current_program() AND deal_id IN (910002, 910003);
SELECT throws_ok($$ UPDATE prm.partner SET tier = 'platinum' WHERE program_id = prm.current_program() AND partner_id = 2 $$, '42501', NULL, 'a partner sets no tier');
SELECT throws_ok($$ INSERT INTO prm.tier_history (partner_id, ladder, outcome, actor, at) VALUES (2, 'main', 'promote', 'me', now()) $$, '42501', NULL, 'and writes no history');
RESET ROLE;
SELECT results_eq($$ SELECT partner_id, to_tier, outcome, actor FROM prm.tier_history WHERE program_id = prm.current_program() AND outcome <> 'entry' ORDER BY tier_history_id $$,
  $$ VALUES (1::bigint, 'silver', 'promote', 'pgtap_tier_manager'), (3, 'gold', 'manual', 'pgtap_tier_manager'), (2, 'silver', 'promote', 'pgtap_tier_partner') $$,
  'each change names who caused it; a partner wins only its own deals');

SELECT * FROM finish();
ROLLBACK;
