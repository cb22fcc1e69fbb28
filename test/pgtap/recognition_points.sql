-- Points as published loyalty and recognition systems promise them: whole points for each full measure, whatever the measure;
-- what is returned takes back; points lapse, and the oldest are spent first; places shared by equals; badges and edges of time.
BEGIN;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SET LOCAL prm.clock = '2026-03-01 12:00+00';
SELECT set_config('prm.program_id', prm.create_program('pgTAP points published', 'blank', 'USD', 'Europe/Berlin')::text, true) AS program \gset
INSERT INTO prm.partner (partner_id, name, joined_on, created_at) SELECT i, 'P' || i, '2026-01-15', '2026-01-15' FROM generate_series(1, 40) i;
INSERT INTO prm.customer (customer_id, name) VALUES (1, 'Acme');
CREATE FUNCTION pg_temp.points(the_partner bigint) RETURNS text LANGUAGE sql AS $$
  SELECT format('%s = %s', coalesce(sum(points), 0), coalesce(string_agg(points::text, ' ' ORDER BY point_entry_id), 'nothing')) FROM prm.point_entry WHERE program_id = prm.current_program() AND partner_id = the_partner $$;
CREATE FUNCTION pg_temp.balance(the_partner bigint) RETURNS numeric LANGUAGE sql AS $$ SELECT points FROM prm.v_points WHERE program_id = prm.current_program() AND partner_id = the_partner $$;
CREATE FUNCTION pg_temp.sale(the_partner bigint, the_kind text, the_amount numeric, the_ref text, the_moment timestamptz DEFAULT prm.now(), the_currency text DEFAULT 'USD') RETURNS void LANGUAGE sql AS $$
  INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at, external_ref) VALUES (the_kind, the_partner, the_amount, the_currency, the_moment, the_ref) $$;
CREATE FUNCTION pg_temp.back(the_ref text, the_amount numeric) RETURNS void LANGUAGE sql AS $$
  INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at, applies_to_id)
    SELECT 'refunded', partner_id, -the_amount, currency, prm.now(), earning_event_id FROM prm.earning_event WHERE program_id = prm.current_program() AND external_ref = the_ref $$;

-- ---- points for each full measure: measures that do not divide evenly are exact -------------------------------------
INSERT INTO prm.point_rule (point_rule, label, source, kind, points, per_amount) VALUES ('k', 'Per 1000', 'earning', 'invoiced', 1, 1000), ('three', 'Per 300', 'earning', 'booked', 1, 300), ('seven', '2 per 7', 'earning', 'collected', 2, 7);
SELECT pg_temp.sale(1, 'booked', 300, 'B1'), pg_temp.sale(2, 'booked', 299.99, 'B2'), pg_temp.sale(3, 'booked', 900, 'B3'), pg_temp.sale(4, 'booked', 899999999.99, 'B4'), pg_temp.sale(5, 'booked', 900000000, 'B5') \g /dev/null
SELECT results_eq($$ SELECT partner_id, points FROM prm.point_entry WHERE program_id = prm.current_program() ORDER BY 1 $$, $$ VALUES (1::bigint, 1::numeric), (3, 3), (4, 2999999), (5, 3000000) $$,
  'ENG-010 neighbours: a full measure of 300 is a point, a cent less is none');
SELECT pg_temp.sale(6, 'collected', 49, 'C6'), pg_temp.sale(7, 'collected', 48.99, 'C7'), pg_temp.sale(8, 'collected', 3.5, 'C8') \g /dev/null
SELECT is(ARRAY[pg_temp.points(6), pg_temp.points(7), pg_temp.points(8)], '{14 = 14,13 = 13,1 = 1}', '2 points per 7: points x amount / per_amount, cut off');
SELECT is((SELECT rate::text || ' ' || amount FROM prm.point_entry WHERE program_id = :program AND partner_id = 3), '0.0033333333333333333333333333333333333333 900', 'the rate is kept exactly enough, the amount as it was');
SELECT pg_temp.sale(9, 'invoiced', 999.99, 'I9'), pg_temp.sale(10, 'invoiced', 1000, 'I10'), pg_temp.sale(11, 'invoiced', 20000, 'I11', prm.now(), 'EUR'), pg_temp.sale(12, 'invoiced', 0, 'I12') \g /dev/null
SELECT is(ARRAY[pg_temp.points(9), pg_temp.points(10), pg_temp.points(11), pg_temp.points(12)], '{0 = nothing,1 = 1,0 = nothing,0 = nothing}', 'no point below the measure, none in another currency, none for nothing, and no row either');
SELECT pg_temp.sale(13, 'invoiced', 20500, 'I13') \g /dev/null
SELECT pg_temp.back('I13', 500) \g /dev/null
SELECT is(pg_temp.points(13), '20 = 20', 'ENG-010 what is returned of the rest above the last full measure takes nothing');
SELECT pg_temp.back('I13', 0.01) \g /dev/null
SELECT is(pg_temp.points(13), '19 = 20 -1', 'a cent more takes the point');
SELECT pg_temp.back('I13', 19999.99) \g /dev/null
SELECT is(pg_temp.points(13), '0 = 20 -1 -19', 'ENG-011 all returned: nothing is left, in any number of returns');
SELECT pg_temp.back('B3', 600) \g /dev/null
SELECT is(pg_temp.points(3), '1 = 3 -2', 'a return of two measures of 300 takes two');
UPDATE prm.point_rule SET is_active = false WHERE program_id = :program AND point_rule = 'k';
SELECT pg_temp.back('I10', 1) \g /dev/null
SELECT is(pg_temp.points(10), '0 = 1 -1', 'a rule that was switched off gives nothing more, but still takes back');
-- An event as such: no noise behind the point, and the days of a rule are half-open in the programme's zone.
INSERT INTO prm.point_rule (point_rule, label, source, kind, points, valid) VALUES ('signup', 'Signup', 'earning', 'signup', 7.5, '[2026-03-01,2026-04-01)');
SET LOCAL prm.clock = '2026-04-02 12:00+00';
SELECT pg_temp.sale(14, 'signup', 1, 'S14', '2026-02-28 22:59:59+00'), pg_temp.sale(15, 'signup', 1, 'S15', '2026-02-28 23:00+00'), pg_temp.sale(16, 'signup', NULL, 'S16', '2026-03-31 21:59:59+00'), pg_temp.sale(17, 'signup', 1, 'S17', '2026-03-31 22:00+00') \g /dev/null
SELECT is(ARRAY[pg_temp.points(14), pg_temp.points(15), pg_temp.points(16), pg_temp.points(17)], '{0 = nothing,7.5 = 7.5,7.5 = 7.5,0 = nothing}', 'the first and the last moment of a rule in Berlin, before and after the change of clocks');
SELECT pg_temp.back('S15', 0.5) \g /dev/null
SELECT is(pg_temp.points(15), '7.5 = 7.5', 'points for an event as such stay while some of it stands');
SELECT pg_temp.back('S15', 0.5) \g /dev/null
SELECT is(pg_temp.points(15), '0.0 = 7.5 -7.5', 'and go with the last of it');
-- Sent twice.
SELECT throws_ok($$ SELECT pg_temp.sale(9, 'booked', 3000, 'B1') $$, '23505', NULL, 'the same event again is refused');
SELECT is(pg_temp.points(1), '1 = 1', 'and gives nothing');
-- Shared credits: each its own share, cut off on its own.
INSERT INTO prm.deal (deal_id, partner_id, customer_id, name, amount, currency) VALUES (1, 18, 1, 'shared', 1000, 'USD');
INSERT INTO prm.deal_partner (deal_id, partner_id, credit_type, weight) VALUES (1, 18, 'sourced', 60), (1, 19, 'sourced', 40);
UPDATE prm.deal SET state = 'won' WHERE program_id = :program AND deal_id = 1;
SELECT is(ARRAY[pg_temp.points(18), pg_temp.points(19)], '{2 = 2,1 = 1}', 'credits of 60 and 40 % of 1000 are 600 and 400: two points and one');
DELETE FROM prm.point_rule WHERE program_id = :program;

-- ---- points that lapse, and are spent -------------------------------------------------------------------------------
SET LOCAL prm.clock = '2026-03-20 12:00+01';
INSERT INTO prm.point_rule (point_rule, label, source, kind, points, per_amount, expires_days) VALUES ('year', 'Lapses', 'earning', 'booked', 1, 10, 30);
INSERT INTO prm.point_rule (point_rule, label, source, kind, points, expires_days) VALUES ('visit', 'Visit', 'usage', 'login', 5, 10);
SELECT pg_temp.sale(20, 'booked', 1000, 'X20', '2026-03-20 12:00+01'), pg_temp.sale(21, 'booked', 1000, 'X21', '2026-03-20 12:00+01'), pg_temp.sale(22, 'booked', 1000, 'X22', '2026-03-20 12:00+01') \g /dev/null
SELECT prm.add_points(20, 40, 'welcome') \g /dev/null
SELECT is((SELECT expires_at FROM prm.point_entry WHERE program_id = :program AND partner_id = 21), '2026-04-19 12:00+02'::timestamptz, 'thirty days later by the clock of Berlin, across the change of clocks');
INSERT INTO prm.usage_event (partner_id, activity, at, external_ref) VALUES (20, 'login', '2026-03-20 09:00+01', 'u20');
SELECT is((SELECT format('%s %s %s', points, expired, expiring_30d) FROM prm.v_points WHERE program_id = :program AND partner_id = 20), '145 0 105', 'what is there, and what of it lapses within 30 days');
SET LOCAL prm.clock = '2026-03-25 12:00+01';
SELECT prm.add_points(20, -30, 'a mug', 'M1') AS mug \gset
SELECT is(prm.add_points(20, -30, 'a mug', 'M1'), :mug::bigint, 'spent once, however often it is sent');
SELECT throws_ok($$ SELECT prm.add_points(20, -31, 'a mug', 'M1') $$, '23505', NULL, 'the same reference with another number');
SELECT is(pg_temp.balance(20), 115::numeric, 'spent');
SELECT results_eq($$ SELECT points, expires_at FROM prm.point_entry WHERE program_id = prm.current_program() AND partner_id = 20 AND points < 0 ORDER BY point_entry_id $$,
  $$ VALUES (-5::numeric, '2026-03-30 09:00+02'::timestamptz), (-25, '2026-04-19 12:00+02') $$, 'what lapses first is spent first');
SET LOCAL prm.clock = '2026-03-30 09:00+02';
SELECT is(pg_temp.balance(20), 115::numeric, 'the points of the visit lapse together with what was spent of them');
SELECT pg_temp.back('X21', 400) \g /dev/null
SELECT is(pg_temp.balance(21), 60::numeric, 'a return takes back before the end');
SET LOCAL prm.clock = '2026-04-19 11:59:59.999999+02';
SELECT is(ARRAY[pg_temp.balance(20), pg_temp.balance(21), pg_temp.balance(22)], '{115,60,100}', 'in the last moment all are there');
SET LOCAL prm.clock = '2026-04-19 12:00+02';
SELECT is(ARRAY[pg_temp.balance(20), pg_temp.balance(21), pg_temp.balance(22)], '{40,0,0}', 'at the end they are gone; what never lapses stays');
SELECT is((SELECT format('%s %s %s', gained, taken_back, expired) FROM prm.v_points WHERE program_id = :program AND partner_id = 21), '100 40 60', 'and one sees what became of them');
SELECT pg_temp.back('X22', 500) \g /dev/null
SELECT is(pg_temp.balance(22), 0::numeric, 'a return after the end takes nothing that was not lapsed already');
SELECT prm.add_points(20, -50, 'more than there is') \g /dev/null
SELECT is(pg_temp.balance(20), -10::numeric, 'who spends more than there is owes');
SET LOCAL prm.clock = '2026-03-25 12:00+01';
SELECT is(pg_temp.balance(22), 100::numeric, 'the balance as of an earlier day is that of the day');
SET LOCAL prm.clock = '2026-04-19 12:00+02';
SELECT throws_ok($$ INSERT INTO prm.point_rule (point_rule, label, source, points, expires_days) VALUES ('zero', 'x', 'usage', 1, 0) $$, '23514', NULL, 'points that lapse at once');
DELETE FROM prm.point_rule WHERE program_id = :program;

-- ---- places ---------------------------------------------------------------------------------------------------------
INSERT INTO prm.point_entry (partner_id, points, source, cause_key, at) SELECT i + 30, v, 'manual', 'place' || i, '2027-01-10' FROM unnest('{30,20,20,10}'::numeric[]) WITH ORDINALITY AS t(v, i);
SELECT results_eq($$ SELECT place, partner_id FROM prm.leaderboard('points', '2027-01-01', '2027-02-01') $$, $$ VALUES (1::bigint, 31::bigint), (2, 32), (2, 33), (4, 34) $$, 'equals share a place, and the next place is left out');
SELECT results_eq($$ SELECT place, partner_id FROM prm.leaderboard('points', '2027-01-01', '2027-02-01', '{"limit": 2}') $$, $$ VALUES (1::bigint, 31::bigint), (2, 32), (2, 33) $$, 'a limit is one of places: nobody is cut off from equals');
SELECT is((SELECT count(*) FROM prm.leaderboard('points', '2027-01-10', '2027-01-10')), 0::bigint, 'an empty window');
SELECT is((SELECT count(*) FROM prm.leaderboard('points', '2027-01-10', '2027-01-10 00:00:00.000001')), 4::bigint, 'the first moment belongs to it');
INSERT INTO prm.point_entry (partner_id, points, source, cause_key, at) VALUES (35, 10, 'manual', 'place5', '2027-01-11'), (35, -10, 'manual', 'place5b', '2027-01-12');
SELECT is((SELECT count(*) FROM prm.leaderboard('points', '2027-01-01', '2027-02-01') WHERE partner_id = 35), 0::bigint, 'who has nothing left of the window is left out');

-- ---- badges ---------------------------------------------------------------------------------------------------------
INSERT INTO prm.metric (metric, label, higher_is_better) VALUES ('more', 'm', true), ('less', 'l', false);
INSERT INTO prm.badge (badge, label, metric, threshold, points) VALUES ('high', 'High', 'more', 10, 5), ('low', 'Low', 'less', 3, 0);
DO $$ BEGIN PERFORM prm.record_metric(p, m, v) FROM (VALUES (25, 'more', 10), (26, 'more', 9.999999), (27, 'more', -1), (25, 'less', 3), (26, 'less', 3.000001), (27, 'less', 0)) AS t(p, m, v); END $$;
SELECT prm.refresh_recognition() \g /dev/null
SELECT results_eq($$ SELECT partner_id, badge FROM prm.badge_award WHERE program_id = prm.current_program() ORDER BY 1, 2 $$, $$ VALUES (25::bigint, 'high'), (25, 'low'), (27, 'low') $$, 'a badge exactly at its threshold, whichever way is better');
SET LOCAL prm.clock = '2026-04-20 12:00+02';
DO $$ BEGIN PERFORM prm.record_metric(25, 'more', 1); END $$;
SELECT is(prm.refresh_recognition(), 0::bigint, 'a badge is not lost');
SET LOCAL prm.clock = '2026-04-21 12:00+02';
DO $$ BEGIN PERFORM prm.record_metric(25, 'more', 50); END $$;
SELECT is(prm.refresh_recognition(), 0::bigint, 'nor given again');
SELECT is(prm.award_badge(25, 'high'), false, 'by hand neither');
SELECT is(pg_temp.points(25), '5 = 5', 'its points come once');

SELECT * FROM finish();
ROLLBACK;
