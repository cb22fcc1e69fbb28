-- Benefits by segment, and what a cap leaves of benefits: who has what when, by what, and what registrations and commissions see.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
\ir tier.psql
SELECT no_plan();
DO $$ BEGIN PERFORM pg_temp.programme('segment benefits'); PERFORM pg_temp.metrics('m'); END $$;
CREATE FUNCTION pg_temp.has(the_partner bigint) RETURNS text LANGUAGE sql AS
  $$ SELECT string_agg(format('%s %s', v.benefit, v.value), ', ' ORDER BY v.benefit) FROM prm.v_entitlement v WHERE v.program_id = prm.current_program() AND v.partner_id = the_partner $$;
CREATE FUNCTION pg_temp.had(the_partner bigint, the_benefit text) RETURNS SETOF tstzrange LANGUAGE sql AS
  $$ SELECT g.valid FROM prm.benefit_grant g WHERE g.program_id = prm.current_program() AND g.partner_id = the_partner AND g.benefit = the_benefit ORDER BY g.valid $$;
INSERT INTO prm.segment (segment, label, criteria) VALUES ('dach', 'DACH', '$.partner.country == "DE"'), ('chosen', 'Chosen', NULL), ('again', 'Again', NULL);
INSERT INTO prm.partner (partner_id, name, country) VALUES (1, 'one', 'DE'), (2, 'two', 'FR'), (3, 'three', 'DE');
INSERT INTO prm.benefit (segment, benefit, kind, value) VALUES ('dach', 'discount', 'discount', '12'), ('chosen', 'support', 'support_level', 'phone'), ('again', 'support', 'support_level', 'mail');

-- By criteria and by hand: with the membership it comes and goes.
SELECT is(pg_temp.has(1), NULL, 'nobody is in a segment yet');
SELECT is((SELECT count(*) FROM prm.refresh_segments()), 2::bigint, 'two join');
SELECT is(pg_temp.has(1), 'discount 12', 'and have what the segment gives, at once');
SELECT is(prm.entitlement(2, 'discount'), NULL, 'others have not');
DO $$ BEGIN PERFORM pg_temp.at('2026-04-01 12:00+02'); UPDATE prm.partner SET country = 'AT' WHERE program_id = prm.current_program() AND partner_id = 1; END $$;
SELECT is(prm.entitlement(1, 'discount'), '12', 'what makes it leave is seen by the refresh');
SELECT is(prm._job_step(prm.current_program(), 'segments', NULL), NULL, 'which run_jobs() does each day');
SELECT is(prm.entitlement(1, 'discount'), NULL, 'who leaves loses it');
SELECT results_eq($$ SELECT pg_temp.had(1, 'discount') $$, $$ VALUES (tstzrange('2026-03-02 12:00+01', '2026-04-01 12:00+02')) $$, 'the history keeps when it was had');
SELECT prm.add_segment_member('chosen', 1, 'reference', '2026-05-01 00:00+02');
SELECT is((SELECT format('%s %s %s %s', segment, value, valid_from, valid_until) FROM prm.v_entitlement WHERE program_id = prm.current_program() AND partner_id = 1 AND benefit = 'support'),
  format('chosen phone %s %s', '2026-04-01 12:00+02'::timestamptz, '2026-05-01 00:00+02'::timestamptz), 'a membership that ends by itself says until when');
DO $$ BEGIN PERFORM pg_temp.at('2026-05-01 00:00+02'); END $$;
SELECT is(prm.entitlement(1, 'support'), NULL, 'and ends it without any job');
SELECT prm.add_segment_member('chosen', 1), prm.add_segment_member('again', 1);
SELECT is(prm.entitlement(1, 'support'), 'phone', 'of two segments the one that gave it first speaks');
SELECT prm.remove_segment_member('again', 1);
SELECT is(prm.entitlement(1, 'support'), 'phone', 'taken out of one, it has what the other gives');
SELECT is((SELECT count(*) FROM prm.benefit_grant WHERE program_id = prm.current_program() AND segment = 'again'), 0::bigint, 'what began and ended at one moment never was');
SELECT prm.remove_segment_member('chosen', 1);
SELECT is(pg_temp.has(1), NULL, 'by hand it ends now');
SELECT prm.add_segment_member('chosen', 2);

-- What changes the benefit reaches the members; a benefit for a time begins with the daily job.
UPDATE prm.benefit SET value = '24x7' WHERE program_id = prm.current_program() AND segment = 'chosen';
SELECT is(prm.entitlement(2, 'support'), '24x7', 'another value, at once');
INSERT INTO prm.benefit (segment, benefit, value, valid) VALUES ('chosen', 'gift', 'bag', '[2026-05-03,2026-05-05)');
SELECT is(prm.entitlement(2, 'gift'), NULL, 'not before its day');
DO $$ BEGIN PERFORM pg_temp.at('2026-05-03 01:00+02'); PERFORM prm._job_step(prm.current_program(), 'tiers', NULL); END $$;
SELECT is(prm.entitlement(2, 'gift'), 'bag', 'the daily job begins it');
SELECT is((SELECT valid_until FROM prm.v_entitlement WHERE program_id = prm.current_program() AND partner_id = 2 AND benefit = 'gift'), '2026-05-05 00:00+02', 'until its last day');
SELECT throws_ok($$ INSERT INTO prm.benefit (segment, benefit, value, valid) VALUES ('chosen', 'gift', 'cup', '[2026-05-04,)') $$, '23P01', NULL, 'one value a day');
SELECT throws_ok($$ INSERT INTO prm.benefit (segment, tier, benefit, value) VALUES ('chosen', 'x', 'gift', 'cup') $$, '23514', NULL, 'one source for a row');
SELECT throws_ok($$ INSERT INTO prm.benefit (segment, benefit, value) VALUES ('nobody', 'gift', 'cup') $$, '23503', NULL, 'of a segment that there is');
DELETE FROM prm.segment WHERE program_id = prm.current_program() AND segment = 'chosen';
SELECT is(pg_temp.has(2), NULL, 'a segment that is deleted takes along what it gave');
SELECT is_empty($$ SELECT pg_temp.had(2, 'gift') $$, 'what began at this very moment never was');
SELECT results_eq($$ SELECT pg_temp.had(2, 'support') $$, $$ VALUES (tstzrange('2026-05-01 00:00+02', '2026-05-03 01:00+02')) $$, 'but what it had before stays in the history');

-- Evaluations keep what is right, and a second one changes nothing.
CREATE TEMP TABLE kept ON COMMIT DROP AS SELECT to_jsonb(g) AS row FROM prm.benefit_grant g WHERE g.program_id = prm.current_program();
DO $$ BEGIN PERFORM pg_temp.evaluate(); PERFORM prm.refresh_segments(); PERFORM pg_temp.evaluate(); END $$;
SELECT is_empty($$ (TABLE kept EXCEPT ALL SELECT to_jsonb(g) FROM prm.benefit_grant g WHERE g.program_id = prm.current_program())
  UNION ALL (SELECT to_jsonb(g) FROM prm.benefit_grant g WHERE g.program_id = prm.current_program() EXCEPT ALL TABLE kept) $$, 'evaluated and refreshed again: not a row changes');

-- Caps: effective is the lower of held and cap, in grants, entitlements, registrations and the benefits that rules see.
DO $$ BEGIN PERFORM pg_temp.at('2026-03-02 12:00+01'); PERFORM pg_temp.programme('capped'); PERFORM pg_temp.metrics('m'); END $$;
INSERT INTO prm.certification (certification, label) VALUES ('security', 'Security');
INSERT INTO prm.segment (segment, label) VALUES ('friends', 'Friends');
INSERT INTO prm.tier (tier, rank, label) VALUES ('base', 1, 'Base'), ('silver', 2, 'Silver'), ('gold', 3, 'Gold');
INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('silver', 'm', 1), ('gold', 'm', 2);
INSERT INTO prm.benefit (tier, benefit, kind, value) VALUES ('base', 'discount', 'discount', '5'), ('silver', 'discount', 'discount', '10'), ('gold', 'discount', 'discount', '20'), ('gold', 'access', 'product_access', 'appliance');
INSERT INTO prm.benefit (certification, min_people, benefit, kind, value) VALUES ('security', 2, 'discount', 'discount', '15');
INSERT INTO prm.benefit (segment, benefit, kind, value) VALUES ('friends', 'discount', 'discount', '8');
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'one');
INSERT INTO prm.partner_user (partner_user_id, partner_id, name) VALUES (1, 1, 'Ada');
INSERT INTO prm.certificate (partner_user_id, certification, issued_on) VALUES (1, 'security', '2026-01-01');
DO $$ BEGIN PERFORM prm.record_metric(1, 'm', 2); PERFORM pg_temp.evaluate(); PERFORM pg_temp.at('2026-03-03 12:00+01'); END $$;
SELECT is(prm.set_tier_cap(1, 'silver', '2026-04-01 12:00+02', 'late payer'), 'silver', 'capped for a month');
SELECT is(pg_temp.has(1), 'discount 10', 'it has what the cap leaves');
SELECT throws_ok($$ INSERT INTO prm.registration (partner_id, product_family) VALUES (1, 'appliance') $$, '23514', 'partner 1 has no access to product family "appliance"', 'and registers what the cap leaves');
SELECT is(pg_temp.held(1), 'gold', 'though it holds gold');
SELECT is((SELECT format('%s %s', tier, is_capped) FROM prm.v_entitlement WHERE program_id = prm.current_program() AND partner_id = 1), 'silver t', 'the tier that counts is named');
SELECT prm.add_segment_member('friends', 1);
SELECT results_eq($$ SELECT value, counts, source, name, valid_from, valid_until, note FROM prm.explain_entitlement(1, 'discount') $$,
  $$ VALUES ('10', true, 'tier', 'silver', '2026-03-03 12:00+01'::timestamptz, '2026-04-01 12:00+02'::timestamptz, 'capped: it holds tier gold'),
    ('20', false, 'tier', 'gold', '2026-04-01 12:00+02', NULL, 'when the cap ends'), ('8', false, 'segment', 'friends', '2026-03-03 12:00+01', NULL, 'tier silver gives 10, which is more'),
    ('5', false, 'tier', 'base', NULL, NULL, 'it counts for tier silver'), ('15', false, 'certification', 'security', NULL, NULL, '1 of 2 people are certified') $$, 'each source, and why it does not count');
SELECT is((SELECT string_agg(benefit || ' ' || value, ', ') FROM prm.explain_entitlement(1) WHERE NOT counts AND valid_from IS NULL AND source = 'tier'), 'discount 5', 'of all benefits: what it has again later is not among what it lacks');
SELECT throws_ok($$ SELECT prm.explain_entitlement(1, 'none') $$, '42704', 'benefit "none" does not exist', 'an unknown benefit');
SELECT throws_ok($$ SELECT prm.explain_entitlement(99) $$, '42704', 'partner 99 does not exist', 'an unknown partner');
SELECT prm.set_tier_cap(1, 'silver', '2026-05-01 12:00+02', 'still late');
DO $$ BEGIN PERFORM pg_temp.evaluate(); PERFORM pg_temp.at('2026-05-01 11:59+02'); END $$;
SELECT is(prm.entitlement(1, 'discount'), '10', 'prolonged');
DO $$ BEGIN PERFORM pg_temp.at('2026-05-01 12:00+02'); END $$;
SELECT is(pg_temp.has(1), 'access appliance, discount 20', 'it ends by itself, without any job');
SELECT lives_ok($$ INSERT INTO prm.registration (partner_id, product_family) VALUES (1, 'appliance') $$, 'for registrations, too');
SELECT results_eq($$ SELECT pg_temp.had(1, 'discount') $$, $$ VALUES (tstzrange('2026-03-02 12:00+01', '2026-03-03 12:00+01')), (tstzrange('2026-03-03 12:00+01', '2026-05-01 12:00+02')),
  (tstzrange('2026-03-03 12:00+01', NULL)), (tstzrange('2026-05-01 12:00+02', NULL)) $$, 'the history tells what it had when');
UPDATE prm.enrolment SET cap_tier = 'base' WHERE program_id = prm.current_program() AND partner_id = 1;
UPDATE prm.enrolment SET cap_until = NULL WHERE program_id = prm.current_program() AND partner_id = 1;
SELECT is(prm.entitlement(1, 'discount'), '8', 'a cap that is set in the table counts as well: 5 by the tier, 8 by the segment');
UPDATE prm.tier SET rank = 4 WHERE program_id = prm.current_program() AND tier = 'base';
DO $$ BEGIN PERFORM pg_temp.at('2026-05-02 12:00+02'); PERFORM pg_temp.evaluate(); END $$;
SELECT is(prm.entitlement(1, 'discount'), '20', 'ranked above the tier held it is no cap any more');
UPDATE prm.tier SET rank = 1 WHERE program_id = prm.current_program() AND tier = 'base';
DO $$ BEGIN PERFORM pg_temp.evaluate(); PERFORM prm.record_metric(1, 'm', 1, '2026-05-02 12:00+02'); UPDATE prm.partner SET tier = 'silver' WHERE program_id = prm.current_program(); END $$;
SELECT is(prm.entitlement(1, 'discount'), '8', 'and the cap stands through a change of tier');
SELECT prm.set_tier_cap(1, NULL, NULL, 'paid');
SELECT is(prm.entitlement(1, 'discount'), '10', 'until it is ended');

-- Who leaves has nothing any more, by segments and certificates neither.
DO $$ BEGIN PERFORM pg_temp.programme('leavers'); END $$;
INSERT INTO prm.certification (certification, label) VALUES ('security', 'Security');
INSERT INTO prm.segment (segment, label) VALUES ('friends', 'Friends');
INSERT INTO prm.benefit (certification, benefit, value) VALUES ('security', 'desk', 'yes');
INSERT INTO prm.benefit (segment, benefit, value) VALUES ('friends', 'gift', 'bag');
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'one');
INSERT INTO prm.partner_user (partner_user_id, partner_id, name) VALUES (1, 1, 'Ada');
INSERT INTO prm.certificate (partner_user_id, certification, issued_on) VALUES (1, 'security', '2026-01-01');
SELECT prm.add_segment_member('friends', 1);
SELECT is(pg_temp.has(1), 'desk yes, gift bag', 'it has what both give');
DO $$ BEGIN PERFORM pg_temp.at('2026-05-03 12:00+02'); PERFORM prm.fire('partner', 1, 'reject', 'no'); PERFORM pg_temp.evaluate(); END $$;
SELECT is(pg_temp.has(1), NULL, 'and nothing from the evaluation on after it is gone');

-- Commission: by tier it goes by the tier held, by benefits by those that counted just before the event.
DO $$ BEGIN PERFORM pg_temp.at('2026-03-02 12:00+01'); PERFORM pg_temp.programme('caps and rules'); PERFORM pg_temp.metrics('m'); END $$;
INSERT INTO prm.segment (segment, label) VALUES ('friends', 'Friends');
INSERT INTO prm.tier (tier, rank, label) VALUES ('silver', 1, 'Silver'), ('gold', 2, 'Gold');
INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('silver', 'm', 1), ('gold', 'm', 2);
INSERT INTO prm.benefit (tier, benefit, kind, value) VALUES ('silver', 'discount', 'discount', '10'), ('gold', 'discount', 'discount', '20');
INSERT INTO prm.benefit (segment, benefit, value) VALUES ('friends', 'friend', 'yes');
INSERT INTO prm.commission_plan (plan_id, name, currency, pick) VALUES (88101, 'By benefit', 'EUR', 'all');
INSERT INTO prm.commission_rule (plan_id, label, component, schedule, tier, condition) VALUES (88101, 'held', 'held', '1%', 'gold', NULL), (88101, 'twenty', 'twenty', '2%', NULL, '$.benefits.discount >= 20'),
  (88101, 'ten', 'ten', '4%', NULL, '$.benefits.discount == 10'), (88101, 'friend', 'friend', '8%', NULL, '$.benefits.friend == "yes"');
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'one');
INSERT INTO prm.plan_enrolment (plan_id, partner_id, valid) VALUES (88101, 1, '(,)');
DO $$ BEGIN PERFORM prm.record_metric(1, 'm', 2); PERFORM pg_temp.evaluate();
  PERFORM pg_temp.at('2026-03-03 12:00+01'); PERFORM prm.set_tier_cap(1, 'silver', '2026-03-05 12:00+01', 'x'); PERFORM pg_temp.win(1, 100);
  PERFORM pg_temp.at('2026-03-04 12:00+01'); PERFORM pg_temp.win(1, 100); PERFORM prm.add_segment_member('friends', 1, NULL, '2026-03-06 00:00+01');
  PERFORM pg_temp.at('2026-03-05 13:00+01'); PERFORM pg_temp.win(1, 100);
  PERFORM pg_temp.at('2026-03-06 13:00+01'); PERFORM pg_temp.win(1, 100); END $$;
SELECT results_eq($$ SELECT earned_on, string_agg(component || ' ' || amount, ', ' ORDER BY component) FROM prm.ledger WHERE program_id = prm.current_program() GROUP BY 1 ORDER BY 1 $$,
  $$ VALUES ('2026-03-03'::date, 'held 1.00, twenty 2.00'), ('2026-03-04', 'held 1.00, ten 4.00'), ('2026-03-05', 'friend 8.00, held 1.00, twenty 2.00'), ('2026-03-06', 'held 1.00, twenty 2.00') $$,
  'a cap, and a segment, count from just after they begin until they end, in what rules see of benefits; the tier of a rule is the one held');

-- Of several segments the one that gave it first speaks, whoever asks: entitlement(), rules, and marketing funds.
INSERT INTO prm.segment (segment, label) VALUES ('buddies', 'Buddies');
INSERT INTO prm.benefit (segment, benefit, value) VALUES ('buddies', 'friend', 'no');
DO $$ BEGIN PERFORM pg_temp.at('2026-03-07 12:00+01'); PERFORM prm.add_segment_member('friends', 1);
  PERFORM pg_temp.at('2026-03-08 12:00+01'); PERFORM prm.add_segment_member('buddies', 1);
  PERFORM pg_temp.at('2026-03-09 12:00+01'); PERFORM pg_temp.win(1, 100); END $$;
SELECT is(prm.entitlement(1, 'friend'), 'yes', 'what it is entitled to');
SELECT is((SELECT string_agg(component || ' ' || amount, ', ' ORDER BY component) FROM prm.ledger WHERE program_id = prm.current_program() AND earned_on = '2026-03-09'),
  'friend 8.00, held 1.00, twenty 2.00', 'is what a rule sees');

-- Many at once, in tables that nothing was told of yet: one pass.
DO $$ BEGIN PERFORM pg_temp.at('2026-03-02 12:00+01'); PERFORM pg_temp.programme('many'); END $$;
INSERT INTO prm.partner (name, country) SELECT 'p' || i, CASE WHEN i % 2 = 0 THEN 'DE' ELSE 'FR' END FROM generate_series(1, 3000) i;
INSERT INTO prm.segment (segment, label, criteria) VALUES ('dach', 'DACH', '$.partner.country == "DE"');
INSERT INTO prm.benefit (segment, benefit, value) VALUES ('dach', 'a', '1'), ('dach', 'b', '1');
SELECT is((SELECT count(*) FROM prm.refresh_segments()), 1500::bigint, 'half of three thousand');
SELECT is((SELECT count(*) FROM prm.v_entitlement WHERE program_id = prm.current_program()), 3000::bigint, 'have two benefits each');
DO $$ BEGIN PERFORM pg_temp.at('2026-03-03 12:00+01'); END $$;
UPDATE prm.segment SET criteria = '$.partner.country == "FR"' WHERE program_id = prm.current_program();
SELECT is((SELECT count(*) FROM prm.refresh_segments()), 3000::bigint, 'they change places');
SELECT is((SELECT count(*) FROM prm.benefit_grant WHERE program_id = prm.current_program() AND valid @> prm.now()), 3000::bigint, 'the others have them now');

-- A partner sees its own grants.
CREATE ROLE pgtap_benefit_partner;
DO $$ BEGIN PERFORM prm.grant_access('pgtap_benefit_partner', 'partner'); END $$;
INSERT INTO prm.partner_login (role_name, partner_id) SELECT 'pgtap_benefit_partner', min(partner_id) FROM prm.partner WHERE program_id = prm.current_program() AND country = 'FR';
SET LOCAL ROLE pgtap_benefit_partner;
SELECT is((SELECT count(*) FROM prm.benefit_grant), 2::bigint, 'its own, and nobody else''s');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
