-- Benefits by tier and by certificate, what they are used for, tier plans, and who counts for the wrong tier.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
\ir tier.psql
SELECT no_plan();

-- By certificate: from the first day on which enough people have it, through the last.
DO $$ BEGIN PERFORM pg_temp.programme('benefits'); PERFORM pg_temp.metrics('m'); END $$;
INSERT INTO prm.certification (certification, label) VALUES ('security', 'Security'), ('sales', 'Sales');
INSERT INTO prm.ladder (ladder, label) VALUES ('services', 'Services');
INSERT INTO prm.tier (ladder, tier, rank, label) VALUES ('main', 'silver', 1, 'Silver'), ('main', 'gold', 2, 'Gold'), ('services', 'expert', 1, 'Expert');
INSERT INTO prm.tier_requirement (ladder, tier, metric, threshold) VALUES ('main', 'silver', 'm', 1), ('main', 'gold', 'm', 2), ('services', 'expert', 'm', 2);
INSERT INTO prm.benefit (ladder, tier, benefit, kind, value) VALUES ('main', 'silver', 'discount', 'discount', '10'), ('main', 'gold', 'discount', 'discount', '20'), ('main', 'silver', 'support', 'support_level', 'mail'),
  ('main', 'gold', 'support', 'support_level', 'phone'), ('services', 'expert', 'support', 'support_level', 'dedicated'), ('services', 'expert', 'priority', 'lead_priority', '9'), ('main', 'gold', 'priority', 'lead_priority', '10');
INSERT INTO prm.benefit (certification, min_people, benefit, kind, value) VALUES ('security', 2, 'appliance', 'product_access', 'appliance'), ('security', 1, 'discount', 'discount', '15');
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'one'), (2, 'two');
INSERT INTO prm.partner_user (partner_user_id, partner_id, name) VALUES (1, 1, 'Ada'), (2, 1, 'Ben'), (3, 1, 'Cem');
INSERT INTO prm.certificate (partner_user_id, certification, issued_on, valid_until) VALUES (1, 'security', '2026-01-01', '2026-06-30');
SELECT is(prm.entitlement(1, 'discount'), '15', 'one certified person gives what one gives');
SELECT is(prm.entitlement(1, 'appliance'), NULL, 'and not what takes two');
INSERT INTO prm.certificate (partner_user_id, certification, issued_on, valid_until) VALUES (2, 'security', '2026-01-01', '2026-12-31'), (3, 'sales', '2026-01-01', NULL);
SELECT results_eq($$ SELECT value, certification, valid_from, valid_until FROM prm.v_entitlement WHERE program_id = prm.current_program() AND partner_id = 1 AND benefit = 'appliance' $$,
  $$ VALUES ('appliance', 'security', '2026-03-02 12:00+01'::timestamptz, '2026-07-01 00:00+02'::timestamptz) $$, 'two have it, until the first of them lapses');
SELECT is((SELECT valid_until FROM prm.v_entitlement WHERE program_id = prm.current_program() AND partner_id = 1 AND benefit = 'discount'), '2027-01-01 00:00+01', 'for one it lasts as long as the last');
DO $$ BEGIN PERFORM pg_temp.at('2026-06-30 23:59+02'); END $$;
SELECT is(prm.entitlement(1, 'appliance'), 'appliance', 'valid through the day');
DO $$ BEGIN PERFORM pg_temp.at('2026-07-01 00:00+02'); END $$;
SELECT is(prm.entitlement(1, 'appliance'), NULL, 'and gone at its end, without any job');
INSERT INTO prm.certificate (partner_user_id, certification, issued_on, valid_until) VALUES (3, 'security', '2026-07-01', '2028-06-30');
SELECT is((SELECT valid_until FROM prm.v_entitlement WHERE program_id = prm.current_program() AND partner_id = 1 AND benefit = 'appliance'), '2027-01-01 00:00+01', 'a third person gives it back');
UPDATE prm.certificate SET valid_until = '2029-12-31' WHERE program_id = prm.current_program() AND partner_user_id = 2;
SELECT is((SELECT valid_until FROM prm.v_entitlement WHERE program_id = prm.current_program() AND partner_id = 1 AND benefit = 'appliance'), '2028-07-01 00:00+02', 'a renewal prolongs it');
SELECT results_eq($$ SELECT valid FROM prm.benefit_grant WHERE program_id = prm.current_program() AND partner_id = 1 AND benefit = 'appliance' ORDER BY valid $$,
  $$ VALUES (tstzrange('2026-03-02 12:00+01', '2026-07-01 00:00+02')), (tstzrange('2026-07-01 00:00+02', '2028-07-01 00:00+02')) $$, 'one range for each time it was had');
UPDATE prm.partner_user SET is_active = false WHERE program_id = prm.current_program() AND partner_user_id = 3;
DO $$ BEGIN PERFORM pg_temp.at('2026-07-02 00:00+02'); PERFORM pg_temp.evaluate(); END $$;
SELECT is(prm.entitlement(1, 'appliance'), NULL, 'who left counts no longer, with the next evaluation');

-- Several sources: the best of numbers, otherwise main before the other ladders before certifications.
DO $$ BEGIN PERFORM prm.record_metric(1, 'm', 1); PERFORM pg_temp.evaluate(); END $$;
SELECT results_eq($$ SELECT prm.entitlement(1, b) FROM unnest('{discount,support,priority}'::text[]) b $$, $$ VALUES ('15'), ('mail'), (NULL) $$, 'silver has 10 percent, its certificate 15');
DO $$ BEGIN PERFORM prm.record_metric(1, 'm', 2, '2026-07-02 00:00+02'); PERFORM pg_temp.evaluate(); END $$;
SELECT results_eq($$ SELECT prm.entitlement(1, b) FROM unnest('{discount,support,priority}'::text[]) b $$, $$ VALUES ('20'), ('phone'), ('10') $$, 'gold 20; 10 is more than 9, and main speaks before services');
SELECT is((SELECT count(*) FROM prm.v_entitlement WHERE program_id = prm.current_program() AND partner_id = 1), 3::bigint, 'one row for each benefit');
DO $$ BEGIN PERFORM prm.set_tier_cap(1, 'silver', NULL, 'x'); END $$;
SELECT results_eq($$ SELECT prm.entitlement(1, b) FROM unnest('{discount,support,priority}'::text[]) b $$, $$ VALUES ('15'), ('mail'), ('9') $$, 'a cap counts for the ladder it is on');
DO $$ BEGIN PERFORM prm.set_tier_cap(1, NULL, NULL, 'x'); END $$;
-- For a time.
UPDATE prm.benefit SET valid = '(,2026-08-01)' WHERE program_id = prm.current_program() AND tier = 'gold' AND benefit = 'discount';
INSERT INTO prm.benefit (tier, benefit, kind, value, valid) VALUES ('gold', 'discount', 'discount', '30', '[2026-08-01,2026-09-01)');
SELECT throws_ok($$ INSERT INTO prm.benefit (tier, benefit, kind, value, valid) VALUES ('gold', 'discount', 'discount', '31', '[2026-08-31,)') $$, '23P01', NULL, 'one value a day');
SELECT throws_ok($$ INSERT INTO prm.benefit (tier, benefit, kind, value) VALUES ('gold', 'x', 'discount', 'much') $$, '23514', NULL, 'a discount is a number');
SELECT throws_ok($$ INSERT INTO prm.benefit (tier, certification, benefit, value) VALUES ('gold', 'sales', 'x', '1') $$, '23514', NULL, 'a tier or a certification, not both');
DO $$ BEGIN PERFORM pg_temp.at('2026-07-31 23:59+02'); END $$;
SELECT is(prm.entitlement(1, 'discount'), '20', 'until the end of July');
DO $$ BEGIN PERFORM pg_temp.at('2026-08-01 01:00+02'); PERFORM pg_temp.evaluate(); END $$;
SELECT is(prm.entitlement(1, 'discount'), '30', 'in August');
DO $$ BEGIN PERFORM pg_temp.at('2026-09-01 00:00+02'); END $$;
SELECT is(prm.entitlement(1, 'discount'), '15', 'and then only what the certificate gives');

-- Product access and registrations.
SELECT throws_ok($$ INSERT INTO prm.registration (partner_id, product_family) VALUES (2, 'appliance') $$, '23514', 'partner 2 has no access to product family "appliance"', 'a family that a benefit opens is closed to others');
SELECT lives_ok($$ INSERT INTO prm.registration (partner_id, product_family) VALUES (2, 'cloud') $$, 'other families are open');
UPDATE prm.partner_user SET is_active = true WHERE program_id = prm.current_program() AND partner_user_id = 3;
DO $$ BEGIN PERFORM pg_temp.evaluate(); END $$;
SELECT lives_ok($$ INSERT INTO prm.registration (partner_id, product_family) VALUES (1, 'appliance') $$, 'and this one to those who have the benefit');
DELETE FROM prm.benefit WHERE program_id = prm.current_program() AND kind = 'product_access';
SELECT lives_ok($$ INSERT INTO prm.registration (partner_id, product_family) VALUES (2, 'appliance') $$, 'without such a benefit all are open');

-- Commission rules see the benefits of the payee as they were just before the event.
DO $$ BEGIN PERFORM pg_temp.at('2026-03-02 12:00+01'); PERFORM pg_temp.programme('benefits and rules'); PERFORM pg_temp.metrics('m'); END $$;
INSERT INTO prm.certification (certification, label) VALUES ('security', 'Security');
INSERT INTO prm.tier (tier, rank, label) VALUES ('gold', 1, 'Gold');
INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('gold', 'deals_won_12m', 1);
INSERT INTO prm.benefit (tier, benefit, kind, value) VALUES ('gold', 'discount', 'discount', '20');
INSERT INTO prm.benefit (certification, benefit, kind, value) VALUES ('security', 'desk', 'support_level', 'phone'), ('security', 'discount', 'discount', '9');
INSERT INTO prm.commission_plan (plan_id, name, currency, pick) VALUES (88001, 'By benefit', 'EUR', 'all');
INSERT INTO prm.commission_rule (plan_id, label, component, schedule, condition) VALUES (88001, 'number', 'a', '1%', '$.benefits.discount >= 20'), (88001, 'small number', 'b', '2%', '$.benefits.discount < 20'),
  (88001, 'text', 'c', '4%', '$.benefits.desk == "phone"'), (88001, 'absent', 'd', '8%', '$.benefits.nothing != "x"');
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'one');
INSERT INTO prm.plan_enrolment (plan_id, partner_id, valid) VALUES (88001, 1, '(,)');
INSERT INTO prm.partner_user (partner_user_id, partner_id, name) VALUES (1, 1, 'Ada');
DO $$ BEGIN PERFORM pg_temp.win(1, 100); PERFORM pg_temp.at('2026-03-03 12:00+01'); END $$;
INSERT INTO prm.certificate (partner_user_id, certification, issued_on) VALUES (1, 'security', '2026-03-01');
DO $$ BEGIN PERFORM pg_temp.at('2026-03-04 12:00+01'); PERFORM pg_temp.win(1, 100); END $$;
SELECT results_eq($$ SELECT earned_on, string_agg(component || ' ' || amount, ', ' ORDER BY component) FROM prm.ledger WHERE program_id = prm.current_program() GROUP BY 1 ORDER BY 1 $$,
  $$ VALUES ('2026-03-04'::date, 'a 1.00, c 4.00') $$, 'the win that gives the tier is not paid by its benefits; the next one is, by the best of them and by what a certificate gives');
SELECT throws_ok($$ INSERT INTO prm.commission_rule (plan_id, schedule, condition) VALUES (88001, '1%', '$.benefit.discount > 5') $$, '22023', NULL, 'a part that does not exist is refused');

-- Tier plans.
DO $$ BEGIN PERFORM pg_temp.at('2026-03-02 12:00+01'); PERFORM pg_temp.programme('plans'); PERFORM pg_temp.metrics('people', 'cases', 'days', 'sales'); END $$;
UPDATE prm.metric SET partner_visible = true WHERE program_id = prm.current_program();
INSERT INTO prm.tier (tier, rank, label) VALUES ('silver', 1, 'Silver'), ('gold', 2, 'Gold'), ('none', 3, 'None');
INSERT INTO prm.tier_policy (entry_tier, review, grace) VALUES ('silver', '0', '0');
INSERT INTO prm.tier_requirement (tier, track, metric, op, threshold, alternative_group) VALUES ('gold', 'skill', 'people', '>=', 4, 'skill'), ('gold', 'skill', 'cases', '>=', 10, 'skill'), ('gold', 'skill', 'days', '<=', 3, NULL),
  ('gold', 'volume', 'sales', '>=', 1000, NULL), ('gold', 'volume', 'people', '>=', 10, NULL), ('gold', 'volume', 'cases', '>=', 10, NULL);
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'one'), (2, 'two');
DO $$ BEGIN PERFORM prm.record_metric(1, 'people', 2), prm.record_metric(1, 'days', 5), prm.record_metric(1, 'sales', 10); END $$;
CREATE TEMP TABLE plan ON COMMIT DROP AS SELECT prm.plan_tier(1, options => '{"due_on": "2026-06-30"}') AS id;
SELECT results_eq($$ SELECT track, task, due_on, task_state FROM prm.v_tier_plan WHERE program_id = prm.current_program() ORDER BY task $$,
  $$ VALUES ('skill', 'Reach Gold: Cases not known of 10, or People 2 of 4', '2026-06-30'::date, 'open'), ('skill', 'Reach Gold: Days 5 of at most 3', '2026-06-30', 'open') $$, 'a task for each requirement that is short, one for alternatives, on the nearest track');
SELECT is((SELECT count(*) FROM prm.v_task WHERE program_id = prm.current_program() AND partner_id = 1 AND due_at = '2026-07-01 00:00+02'), 2::bigint, 'they are tasks like others');
SELECT is(prm.plan_tier(1), (SELECT id FROM plan), 'the same plan again is the same plan');
SELECT is((SELECT count(*) FROM prm.task WHERE program_id = prm.current_program()), 2::bigint, 'with no further tasks');
DO $$ BEGIN PERFORM prm.record_metric(1, 'days', 3, '2026-03-02 13:00+01'); PERFORM pg_temp.at('2026-03-02 13:00+01'); PERFORM pg_temp.evaluate(); END $$;
SELECT results_eq($$ SELECT task, task_state, done_by FROM prm.v_tier_plan WHERE program_id = prm.current_program() ORDER BY task $$,
  $$ VALUES ('Reach Gold: Cases not known of 10, or People 2 of 4', 'open', NULL), ('Reach Gold: Days 5 of at most 3', 'done', 'tier plan') $$, 'what is met is closed');
DO $$ BEGIN PERFORM prm.record_metric(1, 'days', 4, '2026-03-02 13:00+01'); PERFORM pg_temp.evaluate(); END $$;
SELECT is((SELECT count(*) FROM prm.v_tier_plan WHERE program_id = prm.current_program() AND task_state = 'open'), 2::bigint, 'and open again when it falls short');
SELECT is(prm._refresh_tier_plans(prm.current_program(), NULL), 0::bigint, 'a second look changes nothing');
DO $$ BEGIN PERFORM prm.complete_task(task_id) FROM prm.v_tier_plan WHERE program_id = prm.current_program() AND task LIKE '%Days%'; PERFORM pg_temp.evaluate(); END $$;
SELECT is((SELECT task_state FROM prm.v_tier_plan WHERE program_id = prm.current_program() AND task LIKE '%Days%'), 'done', 'what a person has closed stays closed');
DO $$ BEGIN PERFORM prm.record_metric(1, 'days', 1, '2026-03-02 13:00+01'), prm.record_metric(1, 'cases', 10); PERFORM pg_temp.evaluate(); END $$;
SELECT results_eq($$ SELECT DISTINCT state, task_state, pg_temp.held(1) FROM prm.v_tier_plan WHERE program_id = prm.current_program() $$, $$ VALUES ('reached', 'done', 'gold') $$, 'the tier is reached, the plan ends, and its tasks with it');
SELECT is(prm.plan_tier(2, 'gold', '{"track": "volume", "for": "owner"}') > (SELECT id FROM plan), true, 'by a track of one''s choice, for the vendor''s people');
SELECT is((SELECT count(*) FROM prm.task WHERE program_id = prm.current_program() AND subject_id = 2 AND partner_id IS NULL AND state = 'open'), 3::bigint, 'three tasks');
SELECT throws_ok($$ SELECT prm.plan_tier(2, 'none') $$, '55000', 'tier "none" has no track that could be followed', 'a tier that is never given');
SELECT throws_ok($$ SELECT prm.plan_tier(2, 'gold', '{"for": "me"}') $$, '22023', 'tasks are not for "me"', 'for whom');
SELECT lives_ok($$ SELECT prm.drop_tier_plan((SELECT tier_plan_id FROM prm.tier_plan WHERE program_id = prm.current_program() AND partner_id = 2 AND state = 'open')) $$, 'a plan is dropped');
SELECT is((SELECT count(*) FROM prm.task WHERE program_id = prm.current_program() AND subject_id = 2 AND state = 'open'), 0::bigint, 'with its tasks');
SELECT throws_ok($$ SELECT prm.drop_tier_plan(-1) $$, '42704', 'there is no open tier plan -1', 'an unknown plan');

-- Who counts for the wrong tier, and the money.
DO $$ BEGIN PERFORM pg_temp.at('2026-03-02 12:00+01'); PERFORM pg_temp.programme('mismatch', 'reseller'); END $$;
DELETE FROM prm.tier_requirement WHERE program_id = prm.current_program() AND metric <> 'revenue_12m';
UPDATE prm.tier_policy SET promotion = 'approval' WHERE program_id = prm.current_program();
INSERT INTO prm.partner (partner_id, name) SELECT i, 'partner ' || i FROM generate_series(1, 4) i;
INSERT INTO prm.plan_enrolment (plan_id, partner_id) SELECT p.plan_id, i FROM prm.commission_plan p CROSS JOIN generate_series(1, 4) i WHERE p.program_id = prm.current_program()
  AND NOT EXISTS (SELECT 1 FROM prm.plan_enrolment e WHERE e.program_id = p.program_id AND e.plan_id = p.plan_id AND e.partner_id = i);
DO $$ BEGIN PERFORM pg_temp.win(1, 100000), pg_temp.win(2, 30000), pg_temp.win(3, 30000); PERFORM prm.pin_tier(2, 'gold', '2026-12-31 12:00+01', 'strategic'), prm.pin_tier(3, 'silver', NULL, 'as met'); END $$;
SELECT results_eq($$ SELECT partner_id, effective_tier, qualified_tier, direction, why, until, revenue_12m, discount_at_stake, mdf_at_stake FROM prm.v_tier_mismatch WHERE program_id = prm.current_program() ORDER BY 1 $$,
  $$ VALUES (1::bigint, 'registered', 'gold', 'below', 'needs_approval', NULL::date, 100000::numeric, -15000.00, -1000.00), (2, 'gold', 'silver', 'above', 'pinned', '2026-12-31', 30000, 1500.00, 300.00) $$,
  'who waits is short of 20 - 5 percent discount and 1 of funds, who is pinned has too much');
SELECT results_eq($$ SELECT partner_id, commission_at_stake, money_at_stake FROM prm.v_tier_mismatch WHERE program_id = prm.current_program() ORDER BY 1 $$,
  $$ SELECT x.i, x.c, x.c + x.o FROM (VALUES
      (1::bigint, prm.commission((SELECT schedule FROM prm.commission_rule WHERE program_id = prm.current_program() AND label = 'Everybody')::prm.commission_schedule, 100000)
                - prm.commission((SELECT schedule FROM prm.commission_rule WHERE program_id = prm.current_program() AND label = 'Gold')::prm.commission_schedule, 100000), -16000.00),
      (2, prm.commission((SELECT schedule FROM prm.commission_rule WHERE program_id = prm.current_program() AND label = 'Gold')::prm.commission_schedule, 30000)
        - prm.commission((SELECT schedule FROM prm.commission_rule WHERE program_id = prm.current_program() AND label = 'Silver')::prm.commission_schedule, 30000), 1800.00)) x(i, c, o) $$,
  'commission by the rule of the one tier against that of the other, and the sum');
DO $$ BEGIN PERFORM prm.set_tier_cap(3, 'registered', '2026-04-01 12:00+02', 'late payer'); END $$;
SELECT results_eq($$ SELECT held_tier, cap_tier, effective_tier, qualified_tier, direction, why, until, commission_at_stake FROM prm.v_tier_mismatch WHERE program_id = prm.current_program() AND partner_id = 3 $$,
  $$ VALUES ('silver', 'registered', 'registered', 'silver', 'below', 'capped', '2026-04-01'::date, 0::numeric) $$, 'a cap takes benefits, not commission');

-- A partner of one programme sees its own and nothing of another's.
CREATE ROLE pgtap_tier_partner;
DO $$ BEGIN
  PERFORM prm.grant_access('pgtap_tier_partner', 'partner');
  INSERT INTO prm.partner_login (role_name, partner_id) VALUES ('pgtap_tier_partner', 1);
  PERFORM prm.plan_tier(i, 'platinum') FROM generate_series(1, 2) i;
END $$;
SET LOCAL ROLE pgtap_tier_partner;
SELECT results_eq($$ SELECT DISTINCT partner_id, tier FROM prm.v_tier_plan $$, $$ VALUES (1::bigint, 'platinum') $$, 'its own plan');
SELECT results_eq($$ SELECT DISTINCT partner_id, to_tier FROM prm.tier_approval $$, $$ VALUES (1::bigint, 'gold') $$, 'its own approval');
SELECT throws_ok($$ UPDATE prm.tier_approval SET state = 'approved', decided_at = now(), decided_by = 'me' $$, '42501', NULL, 'which it does not decide');
SELECT throws_ok($$ SELECT prm.approve_tier((SELECT tier_approval_id FROM prm.tier_approval)) $$, '42501', NULL, 'by no way');
SELECT throws_ok($$ INSERT INTO prm.benefit_grant (partner_id, benefit, value, valid) VALUES (1, 'x', '1', '(,)') $$, '42501', NULL, 'nor grants itself a benefit');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
