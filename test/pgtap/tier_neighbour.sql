-- The neighbours of the published cases: bounds, ties, nothing, zero; time zones and leap days; parents that change; decisions by hand
-- that meet evaluations; definitions that go; and that asking changes nothing.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
\ir tier.psql
SELECT no_plan();

-- ---- bounds, ties, nothing ----
DO $$ BEGIN PERFORM pg_temp.programme('neighbour bounds'); PERFORM pg_temp.metrics('m'); INSERT INTO prm.metric (metric, label, higher_is_better) VALUES ('late', 'Late', false); END $$;
INSERT INTO prm.tier (tier, rank, label) VALUES ('a', 1, 'A'), ('b', 2, 'B'), ('c', 3, 'C'), ('zero', 4, 'Zero'), ('below', 5, 'Below');
INSERT INTO prm.tier_requirement (tier, metric, op, threshold) VALUES ('a', 'm', '>=', 10), ('b', 'm', '>=', 10), ('c', 'm', '>=', 10.0000000001), ('zero', 'late', '<=', 0), ('below', 'm', '>=', -5), ('below', 'late', '<=', -1);
INSERT INTO prm.partner (partner_id, name) SELECT i, 'p' FROM generate_series(1, 8) i;
DO $$ BEGIN
  PERFORM prm.record_metric(i, 'm', v) FROM (VALUES (1, 10), (2, 9.9999999999), (3, 10.0000000001), (4, 0), (5, -5), (6, 10)) x(i, v);
  PERFORM prm.record_metric(4, 'late', 0), prm.record_metric(5, 'late', -1), prm.record_metric(7, 'late', 0), prm.record_metric(6, 'late', 0.01);
  PERFORM prm.record_metric(2, 'm', 99, prm.now() + interval '1 microsecond'), prm.record_metric(8, 'm', 99, '2026-03-03 00:00+01');
END $$;
SELECT results_eq($$ SELECT partner_id, qualified FROM prm.evaluate_tiers() $$, $$ VALUES (1::bigint, 'b'), (2, NULL), (3, 'c'), (4, 'zero'), (5, 'below'), (6, 'b'), (7, 'zero'), (8, NULL) $$,
  'on the bound is met; of equal tiers the higher; 0 and what lies below it are values; nothing known meets no limit; what is to come does not count');
SELECT results_eq($$ SELECT metric, have, missing, met FROM prm.tier_gap(8, 'below') ORDER BY metric $$, $$ VALUES ('late', NULL::numeric, NULL::numeric, false), ('m', NULL, -5, false) $$, 'the gap of nothing known');
DO $$ BEGIN PERFORM pg_temp.at('2026-03-02 12:00:00.000001+01'); END $$;
SELECT is((SELECT qualified FROM prm.evaluate_tiers(2)), 'c', 'a microsecond later it does');

-- ---- asking changes nothing ----
CREATE FUNCTION pg_temp.all_rows() RETURNS text LANGUAGE plpgsql AS $$
DECLARE t record; s text := ''; x text;
BEGIN
  FOR t IN SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'prm'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1 LOOP
    EXECUTE format('SELECT count(*) || md5(coalesce(string_agg(r::text, '';'' ORDER BY r::text), '''')) FROM prm.%I r', t.relname) INTO x;
    s := s || t.relname || x || E'\n';
  END LOOP;
  RETURN md5(s);
END $$;
DO $$ BEGIN PERFORM pg_temp.programme('neighbour asking', 'reseller'); END $$;
INSERT INTO prm.tier_policy (ladder, promotion, plans) VALUES ('main', 'approval', 'at_risk') ON CONFLICT (program_id, ladder) DO UPDATE SET promotion = 'approval', plans = 'at_risk';
INSERT INTO prm.metric (metric, label) VALUES ('m', 'M');
INSERT INTO prm.tier_requirement (tier, track, metric, threshold) VALUES ('gold', 'm', 'm', 1);
INSERT INTO prm.outbox_rule (source, event, event_type, fields) VALUES ('tier', 'at_risk', 'tier.at_risk', '{partner_id}');
INSERT INTO prm.partner (partner_id, name) SELECT i, 'p' FROM generate_series(1, 3) i;
DO $$ BEGIN PERFORM prm.record_metric(1, 'm', 1); PERFORM prm.pin_tier(2, 'platinum', NULL, 'x'); PERFORM prm.pin_tier(2, NULL, NULL, 'x'); END $$;
CREATE TEMP TABLE before ON COMMIT DROP AS SELECT pg_temp.all_rows() AS hash;
SELECT set_eq($$ SELECT outcome FROM prm.evaluate_tiers(dry_run => true) $$, $$ VALUES ('needs_approval'), ('at_risk'), ('keep') $$, 'an approval would be asked for, a tier would be at risk');
DO $$ BEGIN
  PERFORM count(*) FROM prm.evaluate_tiers(1, dry_run => true); PERFORM count(*) FROM prm.evaluate_tiers(options => '{"changed": true}', dry_run => true); PERFORM count(*) FROM prm.tier_gap(1, 'gold'); PERFORM count(*) FROM prm.v_tier_mismatch;
  PERFORM count(*) FROM prm.benchmark('m'); PERFORM count(*) FROM prm.partner_metrics(1); PERFORM prm.entitlement(1, 'discount_percent'); PERFORM count(*) FROM prm.certificate_impact();
END $$;
SELECT is(pg_temp.all_rows(), (SELECT hash FROM before), 'no row of any table is another');
DO $$ BEGIN PERFORM pg_temp.evaluate(); END $$;
SELECT isnt(pg_temp.all_rows(), (SELECT hash FROM before), 'as it is after an evaluation');
UPDATE before SET hash = pg_temp.all_rows();
DO $$ BEGIN PERFORM pg_temp.evaluate(); END $$;
SELECT is(pg_temp.all_rows(), (SELECT hash FROM before), 'and a second one leaves every row as it was');

-- ---- the day begins where the programme is ----
-- Noon in Berlin on 2 March is the first moment of 3 March in Auckland.
DO $$ BEGIN PERFORM pg_temp.at('2026-03-02 12:00+01'); PERFORM pg_temp.programme('neighbour zone'); UPDATE prm.program SET time_zone = 'Pacific/Auckland' WHERE program_id = prm.current_program(); PERFORM pg_temp.metrics('m'); END $$;
INSERT INTO prm.tier (tier, rank, label) VALUES ('gold', 1, 'Gold'), ('member', 2, 'Member');
INSERT INTO prm.tier_policy (review, grace) VALUES ('0', '1 month');
INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('gold', 'm', 1);
INSERT INTO prm.benefit (tier, benefit, value, valid) VALUES ('gold', 'gift', 'a cup', '[2026-03-03,2026-03-04)'), ('gold', 'gift', 'a pen', '[2026-03-02,2026-03-03)');
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'one'), (2, 'two');
DO $$ BEGIN PERFORM prm.record_metric(1, 'm', 1); PERFORM pg_temp.evaluate(); END $$;
SELECT is((SELECT effective_on FROM prm.enrolment WHERE program_id = prm.current_program() AND partner_id = 1), '2026-03-03'::date, 'held since the day that it is there');
SELECT is(prm.entitlement(1, 'gift'), 'a cup', 'the benefit of that day');
DO $$ BEGIN PERFORM prm.record_metric(1, 'm', 0); PERFORM pg_temp.evaluate(); END $$;
SELECT is((SELECT review_on FROM prm.enrolment WHERE program_id = prm.current_program() AND partner_id = 1), '2026-04-03'::date, 'a month of grace');
DO $$ BEGIN PERFORM pg_temp.at('2026-04-03 00:00+13'); PERFORM pg_temp.at('2026-04-02 10:59:59.999999Z'); END $$;
SELECT is(pg_temp.outcome(1), 'grace 2026-04-03', 'which ends with its last moment there');
DO $$ BEGIN PERFORM pg_temp.at('2026-04-02 11:00Z'); END $$;
SELECT is(pg_temp.outcome(1), 'demote 2026-04-03', 'and not when the session''s day ends');
-- What is bought for a month ends at the same hour there, whatever zone the session has.
INSERT INTO prm.product (product, label) VALUES ('membership', 'Membership');
INSERT INTO prm.tier_product (product, tier, lasts) VALUES ('membership', 'member', '1 month');
DO $$ BEGIN PERFORM pg_temp.at('2026-03-31 00:30+13'); PERFORM pg_temp.win(2, 10, 'membership'); PERFORM pg_temp.at('2026-04-30 00:29:59+12'); PERFORM pg_temp.evaluate(); END $$;
SET LOCAL TimeZone = 'America/Los_Angeles';
SELECT is((SELECT qualified FROM prm.evaluate_tiers(2)), 'member', 'a month from 31 March, 0:30, until 30 April, 0:30');
DO $$ BEGIN PERFORM pg_temp.at('2026-04-30 00:30+12'); END $$;
SELECT is((SELECT qualified FROM prm.evaluate_tiers(2)), NULL, 'and no longer');
SET LOCAL TimeZone = 'Pacific/Auckland';
SELECT is((SELECT qualified FROM prm.evaluate_tiers(2)), NULL, 'in every session');
RESET TimeZone;

-- ---- leap days, and a fiscal year from July ----
DO $$ BEGIN PERFORM pg_temp.at('2028-02-29 12:00+01'); PERFORM pg_temp.programme('neighbour leap'); UPDATE prm.program SET fiscal_year_start = 7 WHERE program_id = prm.current_program(); PERFORM pg_temp.metrics('m'); END $$;
INSERT INTO prm.ladder (ladder, label) VALUES ('term', 'T'), ('anniversary', 'A'), ('fiscal', 'F');
INSERT INTO prm.tier (ladder, tier, rank, label) SELECT l, 'gold', 1, 'Gold' FROM unnest('{term,anniversary,fiscal}'::text[]) l;
INSERT INTO prm.tier_policy (ladder, review_kind, review, grace) VALUES ('term', 'term', '1 year', '1 month'), ('anniversary', 'anniversary', '1 year', '1 month'), ('fiscal', 'period', '1 year', '1 month');
INSERT INTO prm.tier_requirement (ladder, tier, metric, threshold) SELECT l, 'gold', 'm', 1 FROM unnest('{term,anniversary,fiscal}'::text[]) l;
INSERT INTO prm.partner (partner_id, name, joined_on) VALUES (1, 'of a leap day', '2024-02-29');
DO $$ BEGIN PERFORM prm.record_metric(1, 'm', 1); PERFORM pg_temp.evaluate(); PERFORM pg_temp.at('2028-06-01 00:00+02'); PERFORM prm.record_metric(1, 'm', 0); END $$;
SELECT results_eq($$ SELECT ladder, outcome, effective_on FROM prm.evaluate_tiers(1) WHERE ladder <> 'main' $$,
  $$ VALUES ('anniversary', 'at_risk', '2029-02-28'::date), ('fiscal', 'at_risk', '2028-07-01'), ('term', 'at_risk', '2029-02-28') $$, 'a year from 29 February ends on the 28th; a month from 1 June is 1 July, on which the fiscal year begins');
DO $$ BEGIN PERFORM pg_temp.at('2028-07-01 00:00+02'); END $$;
SELECT is(pg_temp.outcome(1, 'fiscal'), 'demote 2028-07-01', 'on the day');
-- One day later it would have been a year later.
DO $$ BEGIN PERFORM pg_temp.at('2028-06-02 00:00+02'); PERFORM pg_temp.programme('neighbour fiscal'); UPDATE prm.program SET fiscal_year_start = 7 WHERE program_id = prm.current_program(); PERFORM pg_temp.metrics('m'); END $$;
INSERT INTO prm.tier (tier, rank, label) VALUES ('gold', 1, 'Gold');
INSERT INTO prm.tier_policy (review_kind, review, grace) VALUES ('period', '1 year', '1 month');
INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('gold', 'm', 1);
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'one');
DO $$ BEGIN PERFORM prm.record_metric(1, 'm', 1, '2028-01-01'); PERFORM pg_temp.evaluate(); PERFORM prm.record_metric(1, 'm', 0); END $$;
SELECT is(pg_temp.outcome(1), 'at_risk 2029-07-01', 'a grace that would not be over makes it the next year');

-- ---- parents that change ----
DO $$ BEGIN PERFORM pg_temp.at('2026-03-02 12:00+01'); PERFORM pg_temp.programme('neighbour parents'); PERFORM pg_temp.metrics('m'); END $$;
INSERT INTO prm.tier (tier, rank, label, needs_approval) VALUES ('silver', 1, 'Silver', false), ('gold', 2, 'Gold', true);
INSERT INTO prm.tier_policy (inherits, review, grace) VALUES ('parent', '0', '1 month');
INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('silver', 'm', 1), ('gold', 'm', 2);
INSERT INTO prm.benefit (tier, benefit, value) VALUES ('silver', 'desk', 'mail'), ('gold', 'desk', 'phone');
INSERT INTO prm.partner (partner_id, name, parent_id) VALUES (1, 'gold house', NULL), (2, 'silver house', NULL), (3, 'child', 1), (4, 'its child', 3);
DO $$ BEGIN PERFORM prm.record_metric(1, 'm', 2), prm.record_metric(2, 'm', 1); PERFORM pg_temp.evaluate(); END $$;
SELECT results_eq($$ SELECT partner_id, tier FROM prm.enrolment WHERE program_id = prm.current_program() ORDER BY 1 $$, $$ VALUES (1::bigint, 'silver'), (2, 'silver'), (3, 'silver'), (4, 'silver') $$, 'gold waits, and is inherited by nobody meanwhile');
SELECT is(prm.approve_tier((SELECT tier_approval_id FROM prm.v_tier_approval WHERE program_id = prm.current_program() AND state = 'open')), 'gold', 'one approval, of the parent');
DO $$ BEGIN PERFORM pg_temp.evaluate(); END $$;
SELECT results_eq($$ SELECT partner_id, tier FROM prm.enrolment WHERE program_id = prm.current_program() ORDER BY 1 $$, $$ VALUES (1::bigint, 'gold'), (2, 'silver'), (3, 'gold'), (4, 'gold') $$, 'its house has it by the next evaluation');
SELECT is((SELECT count(*) FROM prm.v_tier_approval WHERE program_id = prm.current_program()), 1::bigint, 'without a question for each');
UPDATE prm.partner SET parent_id = 2 WHERE program_id = prm.current_program() AND partner_id = 3;
SELECT results_eq($$ SELECT partner_id, outcome, qualified, effective_on FROM prm.evaluate_tiers() WHERE partner_id >= 3 $$, $$ VALUES (3::bigint, 'at_risk', 'silver', '2026-04-02'::date), (4, 'keep', 'gold', NULL) $$,
  'sold to the other house: at risk, while what it still holds is still inherited');
DO $$ BEGIN PERFORM pg_temp.at('2026-03-20 12:00+01'); PERFORM prm.record_metric(3, 'm', 2); END $$;
SELECT results_eq($$ SELECT outcome, reason FROM prm.evaluate_tiers(3) WHERE partner_id = 3 $$, $$ VALUES ('keep', 'recovered before the review: m 2 >= 2') $$, 'by its own merit it keeps it');
DO $$ BEGIN PERFORM prm.record_metric(3, 'm', 0); PERFORM pg_temp.evaluate(); PERFORM pg_temp.at('2026-04-20 12:00+02'); PERFORM pg_temp.evaluate(); END $$;
SELECT results_eq($$ SELECT partner_id, tier, standing, prm.entitlement(partner_id, 'desk') FROM prm.enrolment WHERE program_id = prm.current_program() AND partner_id >= 3 ORDER BY 1 $$,
  $$ VALUES (3::bigint, 'silver', 'active', 'mail'), (4, 'gold', 'at_risk', 'phone') $$, 'the child falls, and then its child is at risk of its own');
SELECT throws_ok($$ UPDATE prm.partner SET parent_id = 4 WHERE program_id = prm.current_program() AND partner_id = 3 $$, '23514', NULL, 'nobody is above itself');

-- ---- decisions by hand that meet evaluations ----
DO $$ BEGIN PERFORM pg_temp.at('2026-03-02 12:00+01'); PERFORM pg_temp.programme('neighbour hands'); PERFORM pg_temp.metrics('m'); END $$;
INSERT INTO prm.tier (tier, rank, label, needs_approval) VALUES ('silver', 1, 'Silver', false), ('gold', 2, 'Gold', true), ('black', 3, 'Black', true);
INSERT INTO prm.tier_policy (entry_tier, review, grace) VALUES ('silver', '0', '0');
INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('gold', 'm', 2), ('black', 'm', 3);
INSERT INTO prm.partner (partner_id, name) SELECT i, 'p' FROM generate_series(1, 5) i;
CREATE FUNCTION pg_temp.open(the_partner bigint) RETURNS bigint LANGUAGE sql AS $$ SELECT a.tier_approval_id FROM prm.tier_approval a WHERE a.program_id = prm.current_program() AND a.partner_id = the_partner AND a.state = 'open' $$;
CREATE FUNCTION pg_temp.approvals(the_partner bigint) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(a.to_tier || ' ' || a.state, ', ' ORDER BY a.tier_approval_id) FROM prm.tier_approval a WHERE a.program_id = prm.current_program() AND a.partner_id = the_partner $$;
DO $$ BEGIN PERFORM prm.record_metric(i, 'm', 2) FROM generate_series(1, 5) i; PERFORM pg_temp.evaluate(); PERFORM prm.refuse_tier(pg_temp.open(1), 'no visit'), prm.refuse_tier(pg_temp.open(2), 'no visit', '2026-03-10'); END $$;
-- Refused: better numbers are another question, worse ones end the refusal.
DO $$ BEGIN PERFORM prm.record_metric(1, 'm', 3); PERFORM pg_temp.evaluate(); END $$;
SELECT is(pg_temp.approvals(1), 'gold refused, black open', 'who qualifies for more asks for that');
DO $$ BEGIN PERFORM prm.refuse_tier(pg_temp.open(1), 'nor this'), prm.record_metric(1, 'm', 1); PERFORM pg_temp.evaluate(); PERFORM prm.record_metric(1, 'm', 2); PERFORM pg_temp.evaluate(); END $$;
SELECT is(pg_temp.approvals(1), 'gold refused, black refused, gold open', 'who fell short and came back asks anew');
DO $$ BEGIN PERFORM pg_temp.at('2026-03-09 23:59:59+01'); PERFORM pg_temp.evaluate(); END $$;
SELECT is(pg_temp.approvals(2), 'gold refused', 'a refusal holds to the end of the day before');
DO $$ BEGIN PERFORM pg_temp.at('2026-03-10 00:00+01'); PERFORM pg_temp.evaluate(); PERFORM pg_temp.evaluate(); END $$;
SELECT is(pg_temp.approvals(2), 'gold refused, gold open', 'and is asked again on the day, once');
-- A pin answers the question, and asks none while it lasts.
DO $$ BEGIN PERFORM prm.pin_tier(3, 'gold', '2026-03-20 00:00+01', 'as a gift'), prm.pin_tier(4, 'silver', '2026-03-20 00:00+01', 'on watch'); PERFORM pg_temp.evaluate(); END $$;
SELECT is(pg_temp.approvals(3) || '; ' || pg_temp.approvals(4), 'gold approved; gold withdrawn', 'a pin answers what was asked');
DO $$ BEGIN PERFORM pg_temp.at('2026-03-20 00:00+01'); PERFORM pg_temp.evaluate(); END $$;
SELECT results_eq($$ SELECT pg_temp.held(i), pg_temp.approvals(i) FROM generate_series(3, 4) i $$, $$ VALUES ('gold', 'gold approved'), ('silver', 'gold withdrawn, gold open') $$, 'when it ends, who meets the tier keeps it, and who was kept down asks');
-- Approved, and short of it by then.
DO $$ BEGIN PERFORM prm.record_metric(5, 'm', 1); PERFORM prm.approve_tier(pg_temp.open(5), 'promised'); END $$;
SELECT is(pg_temp.held(5), 'gold', 'what was asked is approved as it was asked');
SELECT is(pg_temp.outcome(5), 'demote 2026-03-20', 'and judged by the next evaluation');
-- Two pins: the later one counts.
DO $$ BEGIN PERFORM prm.pin_tier(5, 'black', NULL, 'x'), prm.pin_tier(5, 'gold', '2026-03-21 00:00+01', 'y'); PERFORM pg_temp.at('2026-03-21 00:00+01'); END $$;
SELECT is(pg_temp.outcome(5), 'demote 2026-03-21', 'the later of two pins counts');
SELECT results_eq($$ SELECT from_tier, to_tier, reason FROM prm.tier_history WHERE program_id = prm.current_program() AND partner_id = 5 AND outcome = 'pinned' ORDER BY tier_history_id $$, $$ VALUES ('silver', 'black', 'x'), ('black', 'gold', 'y') $$, 'and both are told');

-- ---- definitions that go ----
SELECT throws_like($$ DELETE FROM prm.tier WHERE program_id = prm.current_program() AND tier = 'silver' $$, '%violates foreign key constraint%', 'a tier that is held is not deleted');
INSERT INTO prm.tier (tier, rank, label) VALUES ('bronze', 0, 'Bronze');
UPDATE prm.tier_policy SET entry_tier = 'bronze' WHERE program_id = prm.current_program();
DELETE FROM prm.tier_requirement WHERE program_id = prm.current_program();
DO $$ BEGIN PERFORM pg_temp.evaluate(); END $$;
SELECT set_eq($$ SELECT DISTINCT tier FROM prm.enrolment WHERE program_id = prm.current_program() $$, $$ VALUES ('bronze') $$, 'a tier that asks for nothing is not met by anybody');
SELECT is((SELECT DISTINCT reason FROM prm.tier_history WHERE program_id = prm.current_program() AND from_tier = 'gold' AND to_tier = 'bronze'), 'tier gold has no requirements that could be met', 'with the reason');
SELECT lives_ok($$ DELETE FROM prm.tier WHERE program_id = prm.current_program() AND tier IN ('silver', 'gold', 'black') $$, 'tiers that nobody holds go, with their requirements, plans and approvals');
SELECT results_eq($$ SELECT DISTINCT outcome FROM prm.evaluate_tiers() $$, $$ VALUES ('keep') $$, 'and evaluations go on');
-- Two tiers change places by way of a free rank.
INSERT INTO prm.tier (tier, rank, label) VALUES ('silver', 1, 'Silver'), ('gold', 2, 'Gold');
INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('silver', 'm', 1), ('gold', 'm', 2);
DO $$ BEGIN PERFORM pg_temp.evaluate(); END $$;
UPDATE prm.tier SET rank = -rank WHERE program_id = prm.current_program();
UPDATE prm.tier SET rank = CASE tier WHEN 'silver' THEN 2 WHEN 'gold' THEN 1 ELSE 0 END WHERE program_id = prm.current_program();
DO $$ BEGIN PERFORM pg_temp.evaluate(); END $$;
SELECT results_eq($$ SELECT partner_id, pg_temp.held(partner_id) FROM prm.partner WHERE program_id = prm.current_program() ORDER BY 1 $$, $$ VALUES (1::bigint, 'silver'), (2, 'silver'), (3, 'silver'), (4, 'silver'), (5, 'silver') $$, 'the higher rank counts, not the name');

-- ---- benefits on a day of ups and downs ----
DO $$ BEGIN PERFORM pg_temp.at('2026-03-02 12:00+01'); PERFORM pg_temp.programme('neighbour day'); PERFORM pg_temp.metrics('m'); END $$;
INSERT INTO prm.tier (tier, rank, label) VALUES ('silver', 1, 'S'), ('gold', 2, 'G');
INSERT INTO prm.tier_policy (review, grace) VALUES ('0', '0');
INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('silver', 'm', 1), ('gold', 'm', 2);
INSERT INTO prm.benefit (tier, benefit, kind, value) VALUES ('silver', 'discount', 'discount', '10'), ('gold', 'discount', 'discount', '20'), ('silver', 'desk', 'other', 'mail'), ('gold', 'desk', 'other', 'mail'), ('gold', 'lounge', 'other', 'yes');
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'one');
DO $$ DECLARE v numeric; BEGIN
  FOREACH v IN ARRAY '{1,2,1,2,0,2}'::numeric[] LOOP PERFORM prm.record_metric(1, 'm', v); PERFORM pg_temp.evaluate(); END LOOP;
  FOREACH v IN ARRAY '{1,2,0,1}'::numeric[] LOOP PERFORM pg_temp.at((prm.now() + interval '1 hour')::text); PERFORM prm.record_metric(1, 'm', v); PERFORM pg_temp.evaluate(); END LOOP;
END $$;
SELECT results_eq($$ SELECT benefit, value, to_char(lower(valid) AT TIME ZONE 'Europe/Berlin', 'HH24:MI') || '-' || coalesce(to_char(upper(valid) AT TIME ZONE 'Europe/Berlin', 'HH24:MI'), '') FROM prm.benefit_grant WHERE program_id = prm.current_program() ORDER BY benefit, lower(valid) $$,
  $$ VALUES ('desk', 'mail', '12:00-13:00'), ('desk', 'mail', '13:00-14:00'), ('desk', 'mail', '14:00-15:00'), ('desk', 'mail', '16:00-'), ('discount', '20', '12:00-13:00'), ('discount', '10', '13:00-14:00'),
     ('discount', '20', '14:00-15:00'), ('discount', '10', '16:00-'), ('lounge', 'yes', '12:00-13:00'), ('lounge', 'yes', '14:00-15:00') $$, 'without gaps or overlaps; what was had for no time was never had');
-- In a loop: where the clock is moved by one part of a statement, planners differ in when the other part looks at it.
CREATE FUNCTION pg_temp.told(the_moments text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE the_moment text; the_list text[];
BEGIN
  FOREACH the_moment IN ARRAY the_moments LOOP
    PERFORM pg_temp.at(the_moment);
    the_list := the_list || coalesce(prm.entitlement(1, 'discount'), '-');
  END LOOP;
  RETURN array_to_string(the_list, ' ');
END $$;
SELECT is(pg_temp.told('{2026-03-02 11:59+01,2026-03-02 12:00+01,2026-03-02 12:59+01,2026-03-02 13:00+01,2026-03-02 14:30+01,2026-03-02 15:00+01,2026-03-02 16:00+01}'), '- 20 20 10 20 - 10', 'and told at each hour');

SELECT * FROM finish();
ROLLBACK;
