-- Recognition: leaderboards, points that follow what is earned, badges, missions, campaigns, streaks. Acceptance ids stand in the names.
BEGIN;
SET LOCAL datestyle = 'ISO, YMD';
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SET LOCAL prm.clock = '2026-03-01 12:00+00';
SELECT set_config('prm.program_id', prm.create_program('pgTAP recognition', 'blank', 'USD', 'UTC')::text, true) AS program \gset
INSERT INTO prm.partner (partner_id, name, country) VALUES (1, 'A', 'US'), (2, 'B', 'BR'), (3, 'C', 'US');
INSERT INTO prm.customer (customer_id, name, country) VALUES (1, 'Acme', 'US'), (2, 'Bolsa', 'BR');
CREATE FUNCTION pg_temp.points(the_partner bigint) RETURNS numeric LANGUAGE sql AS $$ SELECT sum(points) FROM prm.point_entry WHERE program_id = prm.current_program() AND partner_id = the_partner $$;

-- ENG-005.
INSERT INTO prm.point_entry (partner_id, points, source, cause_key, at)
  SELECT 1, 20, 'manual', 'a' || i, timestamptz '2025-04-01 00:00+00' + i * interval '30 days' FROM generate_series(0, 1) i
  UNION ALL SELECT 2, 10, 'manual', 'b' || i, timestamptz '2025-04-01 00:00+00' + i * interval '2 days' FROM generate_series(0, 19) i;
SELECT results_eq($$ SELECT place, partner, value FROM prm.leaderboard() $$, $$ VALUES (1::bigint, 'B', 200::numeric), (2, 'A', 40) $$, 'ENG-005 all');
SELECT results_eq($$ SELECT place, partner, value FROM prm.leaderboard('points', NULL, '2025-04-02 00:00+00') $$, $$ VALUES (1::bigint, 'A', 20::numeric), (2, 'B', 10) $$, 'ENG-005 to 2 April');
SELECT results_eq($$ SELECT place, partner, value FROM prm.leaderboard('points', '2025-05-01 00:00+00') $$, $$ VALUES (1::bigint, 'B', 50::numeric), (2, 'A', 20) $$, 'ENG-005 from 1 May');
SELECT is((SELECT array_agg(partner) FROM prm.leaderboard('points', NULL, '2025-04-01 00:00+00')), NULL, 'the end of the window does not belong to it');
SELECT results_eq($$ SELECT partner FROM prm.leaderboard('points', NULL, NULL, '{"limit": 1}') $$, $$ VALUES ('B') $$, 'a limit');
SELECT results_eq($$ SELECT partner FROM prm.leaderboard('points', NULL, NULL, '{"country": "US"}') $$, $$ VALUES ('A') $$, 'within a country');
SELECT throws_ok($$ SELECT prm.leaderboard('karma') $$, '42704', 'there is no leaderboard by "karma"', 'unknown metric');
SELECT throws_ok($$ SELECT prm.leaderboard('points', '2025-05-01', '2025-04-01') $$, '22023', NULL, 'a window that ends before it begins');
SELECT throws_ok($$ SELECT prm.leaderboard('points', NULL, NULL, '{"top": 3}') $$, '22023', 'leaderboard has no option "top"', 'unknown option');
SELECT throws_ok($$ SELECT prm.leaderboard('points', NULL, NULL, '{"limit": 0}') $$, '22023', NULL, 'no places');
SELECT throws_ok($$ SELECT prm.leaderboard('win_rate', '2025-01-01') $$, '22023', NULL, 'a metric has a window of its own');
INSERT INTO prm.metric (metric, label, higher_is_better) VALUES ('delay', 'Delay', false);
DO $$ BEGIN PERFORM prm.record_metric(i, 'delay', v) FROM (VALUES (1, 5), (2, 3), (3, 5)) AS t(i, v); END $$;
SELECT results_eq($$ SELECT place, partner FROM prm.leaderboard('delay') $$, $$ VALUES (1::bigint, 'B'), (2, 'A'), (2, 'C') $$, 'any metric; lower may be better; equals share a place');
SELECT throws_ok($$ UPDATE prm.point_entry SET points = 1 $$, '55000', NULL, 'points are never changed');
SELECT throws_ok($$ DELETE FROM prm.point_entry $$, '55000', NULL, 'nor deleted');

-- Points by hand.
SELECT prm.add_points(3, 7, 'helped', 'X1') AS entry \gset
SELECT is(prm.add_points(3, 7, 'helped', 'X1'), :entry::bigint, 'the same reference: the same entry');
SELECT throws_ok($$ SELECT prm.add_points(3, 8, 'helped', 'X1') $$, '23505', NULL, 'the same reference with other points');
SELECT throws_ok($$ SELECT prm.add_points(3, 0, 'helped') $$, '22023', NULL, 'no points');
SELECT throws_ok($$ SELECT prm.add_points(3, 1, ' ') $$, '22023', NULL, 'no reason');
SELECT throws_ok($$ SELECT prm.add_points(99, 1, 'x') $$, '42704', NULL, 'no such partner');
SELECT is(prm.add_points(3, -7, 'by mistake') > 0, true, 'what is negative takes back');
SELECT is(pg_temp.points(3), 0::numeric, 'nothing is left');

-- ENG-010, ENG-011.
INSERT INTO prm.partner (partner_id, name, country) VALUES (11, 'D', 'US'), (12, 'E', 'US'), (13, 'F', 'US'), (14, 'G', 'US'), (15, 'H', 'US');
INSERT INTO prm.point_rule (point_rule, label, source, kind, points, per_amount) VALUES ('invoices', 'Invoices', 'earning', 'invoiced', 1, 1000);
INSERT INTO prm.earning_event (earning_event_id, kind, partner_id, amount, currency, occurred_at) VALUES (9100101, 'invoiced', 11, 20000, 'USD', prm.now());
SELECT is(pg_temp.points(11), 20::numeric, 'ENG-010 a point for each 1000');
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at, applies_to_id) VALUES ('refunded', 11, -10000, 'USD', prm.now(), 9100101);
SELECT is(pg_temp.points(11), 10::numeric, 'ENG-010 half returned');
SELECT is((SELECT array_agg(points ORDER BY point_entry_id) FROM prm.point_entry WHERE program_id = :program AND partner_id = 11), '{20,-10}', 'as an entry of its own');
UPDATE prm.point_rule SET is_active = false WHERE program_id = :program;
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at, applies_to_id) VALUES ('refunded', 11, -9500, 'USD', prm.now(), 9100101);
SELECT is(pg_temp.points(11), 0::numeric, 'whole points of what is left, also when the rule is no longer active');
UPDATE prm.point_rule SET is_active = true WHERE program_id = :program;
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at) VALUES ('invoiced', 12, 999.99, 'USD', prm.now()), ('invoiced', 12, 5000, 'EUR', prm.now()), ('booked', 12, 5000, 'USD', prm.now());
SELECT is(pg_temp.points(12), NULL::numeric, 'not for less, another currency, another kind');
UPDATE prm.point_rule SET kind = 'booked', points = 3, per_amount = 100 WHERE program_id = :program;
INSERT INTO prm.deal (deal_id, partner_id, name, amount, currency) VALUES (1, 13, 'deal', 1000, 'USD');
UPDATE prm.deal SET state = 'won' WHERE program_id = :program AND deal_id = 1;
SELECT is(pg_temp.points(13), 30::numeric, 'a won deal gives points');
DO $$ BEGIN PERFORM prm._import_context(); END $$;
UPDATE prm.deal SET state = 'lost' WHERE program_id = :program AND deal_id = 1;
SELECT is(pg_temp.points(13), 0::numeric, 'ENG-011 the sale is cancelled');
-- An event of no amount, with points as such.
INSERT INTO prm.point_rule (point_rule, label, source, kind, points) VALUES ('signups', 'Sign-ups', 'earning', 'signup', 5);
INSERT INTO prm.earning_event (earning_event_id, kind, partner_id, currency, occurred_at) VALUES (9100102, 'signup', 14, 'USD', prm.now());
SELECT is(pg_temp.points(14), 5::numeric, 'points for the event as such');
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at, applies_to_id) VALUES ('refunded', 14, 0, 'USD', prm.now(), 9100102);
SELECT is(pg_temp.points(14), 0::numeric, 'and back');

-- TIR-005, TIR-006.
DELETE FROM prm.point_rule WHERE program_id = :program;
INSERT INTO prm.point_rule (point_rule, label, source, kind, credit_type, points, per_amount, growth_countries, growth_factor) VALUES
  ('sourced', 'Sourced', 'earning', 'booked', 'sourced', 5, 100, '{BR}', 2), ('assisted', 'Assisted', 'earning', 'booked', 'assisted', 3, 100, '{BR}', 2), ('managed', 'Managed', 'earning', 'booked', 'managed', 1, 100, '{BR}', 2);
INSERT INTO prm.partner (partner_id, name, country) VALUES (21, 'I', 'US'), (22, 'J', 'US'), (23, 'K', 'US'), (24, 'L', 'US');
INSERT INTO prm.earning_event (earning_event_id, kind, customer_id, amount, currency, occurred_at) VALUES (9100201, 'booked', 1, 1000, 'USD', prm.now()), (9100202, 'booked', 1, 1000, 'USD', prm.now()), (9100203, 'booked', 2, 1000, 'USD', prm.now());
INSERT INTO prm.sales_credit (earning_event_id, credit_type, partner_id, weight) VALUES (9100201, 'assisted', 21, 100), (9100202, 'sourced', 22, 100), (9100203, 'sourced', 23, 100);
SELECT is(ARRAY[pg_temp.points(21), pg_temp.points(22), pg_temp.points(23)], '{30,50,100}', 'TIR-005 by credit type, and double in the growth market');
INSERT INTO prm.earning_event (earning_event_id, kind, customer_id, amount, currency, occurred_at) VALUES (9100204, 'booked', 1, 1000, 'USD', prm.now());
INSERT INTO prm.sales_credit (earning_event_id, credit_type, partner_id, weight) VALUES (9100204, 'sourced', 22, 60), (9100204, 'sourced', 24, 40), (9100204, 'managed', 24, 100);
SELECT is(ARRAY[pg_temp.points(22), pg_temp.points(24)], '{80,30}', 'shares of a credit, and each type is a full credit');
INSERT INTO prm.sales_credit (earning_event_id, credit_type, partner_id, weight, revision) VALUES (9100204, 'sourced', 22, 100, 2), (9100204, 'sourced', 24, 0, 2);
SELECT is(ARRAY[pg_temp.points(22), pg_temp.points(24)], '{100,10}', 'other credits move the points');
DELETE FROM prm.point_rule WHERE program_id = :program;
INSERT INTO prm.point_rule (point_rule, label, source, kind, points, per_amount, rate_policy, valid) VALUES
  ('old', 'Old rate', 'earning', 'booked', 3, 100, 'first_sale', '[,2026-01-01)'), ('new', 'New rate', 'earning', 'booked', 5, 100, 'first_sale', '[2026-01-01,)');
INSERT INTO prm.earning_event (kind, partner_id, customer_id, product_family, amount, currency, occurred_at) VALUES ('booked', 15, 1, 'crm', 100, 'USD', '2025-06-01'), ('booked', 15, 1, 'crm', 1000, 'USD', prm.now());
SELECT is((SELECT array_agg(points ORDER BY point_entry_id) FROM prm.point_entry WHERE program_id = :program AND partner_id = 15), '{3,30}', 'TIR-006 the rate of the first sale of the product line');
INSERT INTO prm.earning_event (kind, partner_id, customer_id, product_family, amount, currency, occurred_at) VALUES ('booked', 15, 1, 'erp', 1000, 'USD', prm.now());
SELECT is(pg_temp.points(15), 83::numeric, 'TIR-006 another line has the new rate');
DELETE FROM prm.point_rule WHERE program_id = :program;

-- Badges.
INSERT INTO prm.badge (badge, label, points) VALUES ('friend', 'Friend', 10);
INSERT INTO prm.badge (badge, label, metric, threshold) VALUES ('quick', 'Quick', 'delay', 3);
SELECT is(prm.award_badge(3, 'friend', 'kind'), true, 'a badge');
SELECT is(prm.award_badge(3, 'friend', 'again'), false, 'once only');
SELECT is(pg_temp.points(3), 10::numeric, 'its points too');
SELECT throws_ok($$ SELECT prm.award_badge(3, 'foe') $$, '42704', 'badge "foe" does not exist', 'unknown badge');
SELECT is(prm.refresh_recognition(), 1::bigint, 'a badge by metric');
SELECT results_eq($$ SELECT partner, badge FROM prm.v_badge WHERE program_id = prm.current_program() ORDER BY 1 $$, $$ VALUES ('B', 'quick'), ('C', 'friend') $$, 'lower was better');

-- ENG-007 and its relatives.
INSERT INTO prm.mission (mission, label, enrol_all, points, badge) VALUES ('one', 'One lead', false, 50, 'friend'), ('two', 'Two leads', false, 50, NULL);
INSERT INTO prm.mission (mission, label, enrol_all, approval, points, within_days) VALUES ('talk', 'Talk to us', false, 'automatic', 5, 7);
INSERT INTO prm.mission_step (mission, step, label, measure, goal) VALUES ('one', 'lead', 'Lead', 'leads', 1), ('two', 'lead', 'Leads', 'leads', 2), ('talk', 'call', 'Call', 'manual', 2);
SELECT is(ARRAY[prm.join_mission(1, 'one'), prm.join_mission(1, 'two'), prm.join_mission(1, 'talk'), prm.join_mission(2, 'talk'), prm.join_mission(1, 'one')], '{t,t,t,t,f}', 'joined, once');
SELECT throws_ok($$ SELECT prm.join_mission(1, 'three') $$, '42704', NULL, 'unknown mission');
INSERT INTO prm.lead (partner_id, company, created_at) VALUES (1, 'before', '2026-02-01');
SELECT is(prm.refresh_recognition(), 0::bigint, 'what was before counts not');
INSERT INTO prm.lead (partner_id, company, created_at) VALUES (1, 'after', prm.now());
SELECT is(prm.refresh_recognition(), 1::bigint, 'one lead');
SELECT is((SELECT array_agg(state ORDER BY mission) FROM prm.v_mission WHERE program_id = :program AND partner_id = 1 AND mission IN ('one', 'two')), '{submitted,draft}', 'ENG-007 goal 1 is submitted, goal 2 a draft');
SELECT is((SELECT array_agg(progress ORDER BY mission) FROM prm.v_mission WHERE program_id = :program AND partner_id = 1 AND mission IN ('one', 'two')), '{1,1}', 'ENG-007 both at 1');
SELECT throws_ok($$ SELECT prm.decide_mission(1, 'two', 'approved') $$, '55000', NULL, 'a draft is not decided');
SELECT throws_ok($$ SELECT prm.decide_mission(1, 'one', 'rejected') $$, '22023', NULL, 'no without why');
SELECT throws_ok($$ SELECT prm.decide_mission(9, 'one', 'approved') $$, '42704', NULL, 'not in it');
SELECT is(ARRAY[prm.decide_mission(1, 'one', 'approved'), prm.decide_mission(1, 'one', 'approved')], '{approved,approved}', 'approved, twice');
SELECT is(pg_temp.points(1), 100::numeric, 'rewarded once: 40 + 50, and 10 of the badge');
SELECT is(prm.advance_mission(1, 'talk', 'call'), 1::numeric, 'by hand');
SELECT is(prm.refresh_recognition(), 0::bigint, 'one of two');
SELECT is(prm.advance_mission(1, 'talk', 'call'), 2::numeric, 'and again');
SELECT is(prm.refresh_recognition(), 1::bigint, 'two of two');
SELECT is(prm.refresh_recognition(), 0::bigint, 'once');
SELECT is(pg_temp.points(1), 105::numeric, 'approved by itself');
SELECT throws_ok($$ SELECT prm.advance_mission(1, 'talk', 'call') $$, '55000', NULL, 'it is over');
SELECT throws_ok($$ SELECT prm.advance_mission(1, 'two', 'lead') $$, '22023', NULL, 'what is counted is not counted by hand');
SET LOCAL prm.clock = '2026-03-08 12:00+00';
SELECT is(prm.refresh_recognition(), 1::bigint, 'the end of the seven days does not belong to them');
SELECT is((SELECT state FROM prm.v_mission WHERE program_id = :program AND partner_id = 2), 'expired', 'expired');

-- ENG-009 and campaigns.
INSERT INTO prm.campaign (campaign, label, starts_at, ends_at, measure) VALUES ('now', 'Now', prm.now(), prm.now(), 'leads'), ('open', 'Open', prm.now(), prm.now() + interval '1 day', 'leads');
SELECT results_eq($$ SELECT campaign, has_started, has_ended, is_running FROM prm.v_campaign WHERE program_id = prm.current_program() ORDER BY 1 $$,
  $$ VALUES ('now', true, true, false), ('open', true, false, true) $$, 'ENG-009 [start, end)');
DELETE FROM prm.campaign WHERE program_id = :program;
INSERT INTO prm.campaign (campaign, label, starts_at, ends_at, measure, goal, points, cost, lag_days, retained_days, holdout_percent)
  VALUES ('spring', 'Spring', '2026-03-08 12:00+00', '2026-03-10 12:00+00', 'leads', 1, 100, 50, 10, 10, 50);
INSERT INTO prm.partner (partner_id, name, created_at) SELECT i, 'P' || i, timestamptz '2026-03-01' FROM generate_series(101, 140) i;
INSERT INTO prm.lead (partner_id, company, created_at) SELECT i, 'x', timestamptz '2026-03-10 11:59:59+00' FROM generate_series(101, 120) i UNION ALL SELECT i, 'x', '2026-03-10 12:00:00+00' FROM generate_series(121, 140) i;
SET LOCAL prm.clock = '2026-03-11 12:00+00';
SELECT isnt(prm.refresh_recognition(), 0::bigint, 'rewards are given');
SELECT is((SELECT count(*) FROM prm.campaign_member WHERE program_id = :program AND rewarded_at IS NOT NULL), (SELECT count(*) FROM prm.campaign_member WHERE program_id = :program AND NOT held_out AND partner_id BETWEEN 101 AND 120),
  'to those in time and not held out');
SELECT ok((SELECT count(*) FROM prm.campaign_member WHERE program_id = :program AND held_out) BETWEEN 10 AND 45, 'about half is held out');
SELECT is((SELECT sum(points) FROM prm.point_entry WHERE program_id = :program AND source = 'campaign'), (SELECT 100.0 * count(*) FROM prm.campaign_member WHERE program_id = :program AND rewarded_at IS NOT NULL), 'each its points');
SELECT is(prm.refresh_recognition(), 0::bigint, 'a reward is given once');
SELECT is((SELECT treated_retention FROM prm.v_campaign_roi WHERE program_id = :program), NULL, 'retention is not known before its window is over');
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at) SELECT 'booked', partner_id, 100, 'USD', timestamptz '2026-03-21' FROM prm.campaign_member WHERE program_id = :program AND NOT held_out;
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at) SELECT 'booked', partner_id, 60, 'USD', timestamptz '2026-03-12' FROM prm.campaign_member WHERE program_id = :program AND held_out;
SET LOCAL prm.clock = '2026-03-30 12:00+00';
SELECT is((SELECT format('%s %s %s %s %s', is_final, treated_retention, held_out_retention, treated_revenue - held_out_revenue, extra_revenue = 40 * treated) FROM prm.v_campaign_roi WHERE program_id = :program),
  't 1.000000 0.000000 40.00 t', 'lagged retention and revenue, against the group that was held out');
SELECT is((SELECT roi FROM prm.v_campaign_roi WHERE program_id = :program), (SELECT round((40.0 * count(*) - 50) / 50, 6) FROM prm.campaign_member WHERE program_id = :program AND NOT held_out), 'its return');

-- ENG-002, ENG-003: streaks.
INSERT INTO prm.streak_rule (streak, label, activity, freezes) VALUES ('visits', 'Visits', 'login', 2);
CREATE FUNCTION pg_temp.login(the_partner bigint, the_days date[]) RETURNS void LANGUAGE sql AS $$
  INSERT INTO prm.usage_event (partner_id, activity, at, external_ref) SELECT the_partner, 'login', d + time '10:00', format('%s/%s', the_partner, d) FROM unnest(the_days) d $$;
CREATE FUNCTION pg_temp.streak(the_partner bigint) RETURNS text LANGUAGE sql AS $$
  SELECT format('%s longest %s freezes %s %s', days, longest, freezes, state) FROM prm.streak WHERE program_id = prm.current_program() AND partner_id = the_partner $$;
SET LOCAL timezone = 'UTC';
SELECT pg_temp.login(1, '{2026-03-26,2026-03-27,2026-03-28}'), pg_temp.login(2, '{2026-03-20,2026-03-21,2026-03-22,2026-03-23,2026-03-24,2026-03-30}') \g /dev/null
UPDATE prm.streak_rule SET is_active = true WHERE program_id = :program;
SELECT isnt(prm.refresh_recognition(), 0::bigint, 'streaks are counted');
SELECT is(pg_temp.streak(1), '3 longest 3 freezes 1 active', 'ENG-002 a missed day takes a freeze');
SELECT is(pg_temp.streak(2), '0 longest 5 freezes 0 broken', 'ENG-003 without a freeze the streak is broken, the longest stays');
SELECT is(prm.refresh_recognition(), 0::bigint, 'a day is counted once, and today is not over');
SET LOCAL prm.clock = '2026-03-31 12:00+00';
SELECT isnt(prm.refresh_recognition(), 0::bigint, 'the next day');
SELECT is(ARRAY[pg_temp.streak(1), pg_temp.streak(2)], '{3 longest 3 freezes 0 active,1 longest 5 freezes 0 active}', 'the last freeze is taken; the other begins again');

-- Usage gives points, too.
INSERT INTO prm.point_rule (point_rule, label, source, kind, points, once_per) VALUES ('visit', 'Visit', 'usage', 'login', 1, 'day'), ('first', 'First', 'usage', 'login', 20, 'ever'), ('view', 'View', 'usage', 'content_view', 2, 'event');
INSERT INTO prm.usage_event (partner_id, activity, at, external_ref) VALUES (101, 'login', '2026-03-31 01:00+00', 'u1'), (101, 'login', '2026-03-31 23:00+00', 'u2'), (101, 'login', '2026-04-01 00:00+00', 'u3'),
  (101, 'content_view', '2026-03-31 01:00+00', 'u4'), (101, 'content_view', '2026-03-31 01:00+00', 'u5');
SELECT is((SELECT array_agg(format('%s %s', point_rule, points) ORDER BY point_rule) FROM (SELECT point_rule, sum(points) AS points FROM prm.point_entry WHERE program_id = :program AND partner_id = 101 AND source = 'usage' GROUP BY 1) s),
  '{"first 20","view 4","visit 2"}', 'a day is not counted twice');
SELECT throws_ok($$ INSERT INTO prm.point_rule (point_rule, label, source, points, per_amount) VALUES ('x', 'x', 'usage', 1, 100) $$, '23514', NULL, 'usage has no amount');

-- Who may what: a manager does the daily work, a partner's role sees its own points and missions and tasks, and writes nothing.
CREATE ROLE recognition_test_manager; CREATE ROLE recognition_test_partner;
SELECT set_config('prm.program_id', prm.create_program('pgTAP recognition 2', 'blank')::text, true) AS other \gset
INSERT INTO prm.partner (partner_id, name, external_ref) VALUES (1, 'A', 'PA'), (2, 'B', 'PB');
INSERT INTO prm.badge (badge, label, points) VALUES ('friend', 'Friend', 10);
INSERT INTO prm.point_rule (point_rule, label, source, points) VALUES ('any', 'Any', 'usage', 1);
INSERT INTO prm.mission (mission, label, enrol_all) VALUES ('calls', 'Calls', false);
INSERT INTO prm.mission_step (mission, step, label, measure) VALUES ('calls', 'call', 'Call', 'manual');
UPDATE prm.survey SET alert_to = 'partner' WHERE program_id = :other;
INSERT INTO prm.partner_login (role_name, partner_id) VALUES ('recognition_test_partner', 1);
SELECT prm.grant_access('recognition_test_manager', 'manager'), prm.grant_access('recognition_test_partner', 'partner') \g /dev/null
GRANT USAGE ON SCHEMA public TO recognition_test_partner;
SET LOCAL ROLE recognition_test_manager;
SELECT prm.award_badge(1, 'friend') AS badge1, prm.award_badge(2, 'friend') AS badge2, prm.add_points(1, 5, 'x') > 0 AS added, prm.join_mission(1, 'calls') AS joined, prm.advance_mission(1, 'calls', 'call') AS advanced,
  prm.nps_response(1, 2, 'customer_nps', 'N1') > 0 AS answered, prm.nps_response(2, 2, 'customer_nps', 'N2') > 0 AS answered2, prm.open_survey_wave('customer_nps') > 0 AS opened,
  (SELECT outcome FROM prm.usage_ingest('[{"external_ref": "m1", "partner_id": 1, "activity": "login", "at": "2026-03-30T10:00:00Z"}]')) AS ingested \gset m_
SELECT count(*) AS places FROM prm.leaderboard() \gset m_
RESET ROLE;
SELECT is(ARRAY[:'m_badge1', :'m_badge2', :'m_added', :'m_joined', :'m_answered', :'m_opened', :'m_ingested', :'m_places'], '{t,t,t,t,t,t,inserted,2}', 'a manager needs no more than the profile');
SELECT is((SELECT sum(points) FROM prm.point_entry WHERE program_id = :other AND partner_id = 1), 16::numeric, 'and triggers write past it');
SET LOCAL ROLE recognition_test_partner;
SELECT (SELECT string_agg(partner_id || '=' || points, ',') FROM prm.v_points) AS points, (SELECT string_agg(partner_id || '=' || badge, ',') FROM prm.v_badge) AS badges,
  (SELECT string_agg(partner_id || '=' || progress, ',') FROM prm.v_mission) AS missions, (SELECT count(*) FROM prm.task) AS tasks \gset p_
DO $$ BEGIN PERFORM prm.add_points(1, 1000, 'me'); EXCEPTION WHEN OTHERS THEN PERFORM set_config('prm_test.points', SQLSTATE, true); END $$;
DO $$ BEGIN PERFORM prm.award_badge(1, 'friend'); EXCEPTION WHEN OTHERS THEN PERFORM set_config('prm_test.badge', SQLSTATE, true); END $$;
DO $$ BEGIN PERFORM count(*) FROM prm.survey_response; EXCEPTION WHEN OTHERS THEN PERFORM set_config('prm_test.answers', SQLSTATE, true); END $$;
DO $$ BEGIN PERFORM prm._points_of_events(prm.current_program(), '{1}'); EXCEPTION WHEN OTHERS THEN PERFORM set_config('prm_test.definer', SQLSTATE, true); END $$;
RESET ROLE;
SELECT is(ARRAY[:'p_points', :'p_badges', :'p_missions', :'p_tasks'], '{1=16,1=friend,1=1,1}', 'a partner''s role sees what is its own, its alert too');
SELECT is(ARRAY[current_setting('prm_test.points'), current_setting('prm_test.badge'), current_setting('prm_test.answers'), current_setting('prm_test.definer')], '{42501,42501,42501,42501}', 'and gives itself nothing');

-- Definitions travel with a programme's.
SELECT lives_ok($$ SELECT prm._load_definition(prm.create_program('pgTAP recognition 3', 'blank'), '{"badge": [{"badge": "b", "label": "B"}], "point_rule": [{"point_rule": "r", "label": "R", "source": "usage", "points": 1}],
  "mission": [{"mission": "m", "label": "M", "badge": "b"}], "mission_step": [{"mission": "m", "step": "s", "label": "S", "measure": "leads"}], "survey": [{"survey": "s", "label": "S"}],
  "campaign": [{"campaign": "c", "label": "C", "starts_at": "2026-01-01", "ends_at": "2026-02-01", "measure": "leads", "badge": "b"}], "streak_rule": [{"streak": "s", "label": "S"}],
  "usage_activity": [{"activity": "a", "label": "A"}], "adoption_policy": [{"window_days": 14}]}') $$, 'the definition tables are parts of a programme''s definition');

SELECT * FROM finish();
ROLLBACK;
