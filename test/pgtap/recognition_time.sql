-- Streaks, missions and campaigns at the edges of time: days of the programme's zone, changes of clocks, first and last moments,
-- freezes (Odoo: used up before a streak breaks, full again on the first of the month), usage that comes in late, rewards once.
BEGIN;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SET LOCAL prm.clock = '2026-03-20 12:00+00';
SELECT set_config('prm.program_id', prm.create_program('pgTAP recognition in time', 'blank', 'USD', 'Europe/Berlin')::text, true) AS program \gset
INSERT INTO prm.partner (partner_id, name, joined_on, created_at) SELECT i, 'P' || i, '2026-01-15', '2026-01-15' FROM generate_series(1, 60) i;
UPDATE prm.partner SET kind = 'affiliate' WHERE program_id = :program AND partner_id > 40;
INSERT INTO prm.streak_rule (streak, label, activity, freezes, working_days_only, freezes_per) VALUES ('plain', 'Plain', 'login', 0, false, 'ever'), ('work', 'Work', 'login', 1, true, 'ever'), ('month', 'Month', 'login', 2, false, 'month');
CREATE FUNCTION pg_temp.login(the_partner bigint, VARIADIC the_moments text[]) RETURNS void LANGUAGE sql AS $$
  INSERT INTO prm.usage_event (partner_id, activity, at, external_ref) SELECT the_partner, 'login', m::timestamptz, format('%s/%s/%s', the_partner, m, n) FROM unnest(the_moments) WITH ORDINALITY AS t(m, n) $$;
CREATE FUNCTION pg_temp.streak(the_partner bigint, the_streak text) RETURNS text LANGUAGE sql AS $$
  SELECT format('%s of %s, %s freezes, %s', days, longest, freezes, state) FROM prm.streak WHERE program_id = prm.current_program() AND partner_id = the_partner AND streak = the_streak $$;
-- What a day-by-day count without any shortcut says.
CREATE FUNCTION pg_temp.slow_streak(the_partner bigint, the_streak text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  r record; d date; n integer := 0; longest integer := 0; f integer; s text := 'active'; the_through date;
BEGIN
  SELECT * INTO r FROM prm.streak_rule WHERE program_id = prm.current_program() AND streak = the_streak;
  SELECT through_on INTO the_through FROM prm.streak WHERE program_id = prm.current_program() AND partner_id = the_partner AND streak = the_streak;
  f := r.freezes;
  FOR d IN SELECT generate_series((SELECT min((at AT TIME ZONE 'Europe/Berlin')::date) FROM prm.usage_event WHERE program_id = prm.current_program() AND partner_id = the_partner), the_through, '1 day')::date LOOP
    IF r.freezes_per = 'month' AND extract(day FROM d) = 1 THEN f := r.freezes; END IF;
    IF EXISTS (SELECT 1 FROM prm.usage_event WHERE program_id = prm.current_program() AND partner_id = the_partner AND (at AT TIME ZONE 'Europe/Berlin')::date = d) THEN
      n := n + 1; longest := greatest(longest, n); s := 'active';
    ELSIF r.working_days_only AND extract(isodow FROM d) > 5 THEN
      NULL;
    ELSIF n > 0 AND f > 0 THEN
      f := f - 1;
    ELSE
      n := 0; s := 'broken';
    END IF;
  END LOOP;
  RETURN format('%s of %s, %s freezes, %s', n, longest, f, s);
END $$;

-- ---- streaks --------------------------------------------------------------------------------------------------------
-- In Berlin these are the 26th, 27th, 28th twice, 29th (of 23 hours) and 30th.
SELECT pg_temp.login(1, '2026-03-26 22:59:59+00', '2026-03-26 23:00+00', '2026-03-27 23:00+00', '2026-03-28 22:59:59+00', '2026-03-28 23:00+00', '2026-03-29 22:00+00') \g /dev/null
-- Friday and Monday; Friday and Tuesday; Friday, Saturday and Wednesday.
SELECT pg_temp.login(2, '2026-03-20 10:00+00', '2026-03-23 10:00+00'), pg_temp.login(3, '2026-03-20 10:00+00', '2026-03-24 10:00+00'), pg_temp.login(4, '2026-03-20 10:00+00', '2026-03-21 10:00+00', '2026-03-25 10:00+00') \g /dev/null
SET LOCAL prm.clock = '2026-03-26 12:00+00';
SELECT prm.refresh_recognition() \g /dev/null
SELECT is(ARRAY[pg_temp.streak(2, 'work'), pg_temp.streak(3, 'work'), pg_temp.streak(4, 'work')], '{"0 of 2, 0 freezes, broken","0 of 2, 0 freezes, broken","1 of 2, 0 freezes, active"}', 'weekends are no missed days, Mondays are; a day at the weekend counts');
SELECT is(ARRAY[pg_temp.streak(2, 'plain'), pg_temp.streak(3, 'plain')], '{"0 of 1, 0 freezes, broken","0 of 1, 0 freezes, broken"}', 'without freezes a missed day breaks');
SET LOCAL prm.clock = '2026-03-30 21:59:59+00';
SELECT prm.refresh_recognition() \g /dev/null
SELECT is(pg_temp.streak(1, 'plain'), '4 of 4, 0 freezes, active', 'ENG-002 neighbours: twice on a day counts once; before midnight in Berlin today is not counted');
SET LOCAL prm.clock = '2026-03-30 22:00+00';
SELECT prm.refresh_recognition() \g /dev/null
SELECT is(pg_temp.streak(1, 'plain'), '5 of 5, 0 freezes, active', 'at midnight it is: five days across the change of clocks');
-- Freezes by the month: two in March, two in April.
SELECT pg_temp.login(5, '2026-03-27 10:00+00', '2026-03-30 10:00+00', '2026-04-01 10:00+00', '2026-04-04 10:00+00', '2026-04-06 10:00+00') \g /dev/null
SET LOCAL prm.clock = '2026-03-31 10:00+00';
SELECT prm.refresh_recognition() \g /dev/null
SELECT is(pg_temp.streak(5, 'month'), '2 of 2, 0 freezes, active', 'two missed days of March take both freezes');
SET LOCAL prm.clock = '2026-04-01 10:00+00';
SELECT prm.refresh_recognition() \g /dev/null
SELECT is(pg_temp.streak(5, 'month'), '0 of 2, 0 freezes, broken', 'ENG-003 the third breaks it');
SET LOCAL prm.clock = '2026-04-05 10:00+00';
SELECT prm.refresh_recognition() \g /dev/null
SELECT is(pg_temp.streak(5, 'month'), '2 of 2, 0 freezes, active', 'on the first of April there are two again, and they carry it over two days');
SELECT is(pg_temp.streak(5, 'work'), '1 of 3, 0 freezes, active', 'a freeze that is for ever does not come again: Thursday broke it, Saturday began anew');
SELECT throws_ok($$ INSERT INTO prm.streak_rule (streak, label, freezes_per) VALUES ('x', 'x', 'week') $$, '23514', NULL, 'another way to give freezes');
-- Late and out of order: what a batch brings after the day was counted.
SELECT pg_temp.login(6, '2026-03-28 10:00+00', '2026-03-30 10:00+00') \g /dev/null
SELECT prm.refresh_recognition() \g /dev/null
SELECT is(pg_temp.streak(6, 'plain'), '0 of 1, 0 freezes, broken', 'as far as is known it broke');
SELECT pg_temp.login(6, '2026-03-31 10:00+00', '2026-03-29 10:00+00', '2026-03-27 10:00+00', '2026-04-02 10:00+00', '2026-04-01 10:00+00', '2026-04-03 10:00+00', '2026-04-04 10:00+00') \g /dev/null
SELECT is(prm.refresh_recognition(), 3::bigint, 'usage that came in late is counted, in each of the streaks');
SELECT is(pg_temp.streak(6, 'plain'), '9 of 9, 0 freezes, active', 'as if it had come in time');
SELECT is(prm.refresh_recognition(), 0::bigint, 'and then there is nothing to do');
-- The two ways of counting agree with a third, for made-up partners.
DO $$ BEGIN
  FOR i IN 10..40 LOOP
    INSERT INTO prm.usage_event (partner_id, activity, at, external_ref)
      SELECT i, 'login', timestamptz '2026-01-28 08:00+00' + d * interval '1 day', format('r%s/%s', i, d) FROM generate_series(0, 66) d WHERE (d * 31 + i * 17 + d * d * i) % 13 > 2 + i % 6;
  END LOOP;
END $$;
SELECT prm.refresh_recognition() \g /dev/null
SELECT is_empty($$ SELECT s.partner_id, s.streak, pg_temp.streak(s.partner_id, s.streak), pg_temp.slow_streak(s.partner_id, s.streak) FROM prm.streak s
  WHERE s.program_id = prm.current_program() AND pg_temp.streak(s.partner_id, s.streak) <> pg_temp.slow_streak(s.partner_id, s.streak) $$, 'day by day');
SELECT is_empty($$ SELECT s.partner_id, s.streak FROM prm.streak s, LATERAL prm._recount_streak(s.program_id, s.partner_id, s.streak, s.through_on) k
  WHERE s.program_id = prm.current_program() AND (s.days, s.longest, s.freezes, s.state) IS DISTINCT FROM (k.days, k.longest, k.freezes, k.state) $$, 'and from one active day to the next');
SELECT ok((SELECT count(DISTINCT (days, longest, freezes, state)) > 30 FROM prm.streak WHERE program_id = :program AND partner_id BETWEEN 10 AND 40), 'and they were of all sorts');
UPDATE prm.streak_rule SET is_active = false WHERE program_id = :program;

-- ---- missions -------------------------------------------------------------------------------------------------------
SET LOCAL prm.clock = '2026-03-25 12:00+01';
CREATE FUNCTION pg_temp.run(the_partner bigint, the_mission text) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(format('%s %s/%s', state, progress, goal), ', ' ORDER BY position) FROM prm.v_mission WHERE program_id = prm.current_program() AND partner_id = the_partner AND mission = the_mission $$;
CREATE FUNCTION pg_temp.points(the_partner bigint) RETURNS numeric LANGUAGE sql AS $$ SELECT coalesce(sum(points), 0) FROM prm.point_entry WHERE program_id = prm.current_program() AND partner_id = the_partner $$;
INSERT INTO prm.mission (mission, label, enrol_all, approval, points, within_days, starts_at, ends_at) VALUES ('first', 'First week', true, 'automatic', 5, 7, NULL, NULL), ('week', 'A week', false, 'automatic', 7, 7, NULL, NULL),
  ('spring', 'Spring', true, 'automatic', 3, NULL, '2026-03-25 12:00+01', '2026-03-30 12:00+02'), ('empty', 'No steps', true, 'automatic', 1000, NULL, NULL, NULL), ('two', 'Two steps', false, 'manual', 20, NULL, NULL, NULL);
INSERT INTO prm.mission_step (mission, step, label, position, measure, kind, goal) VALUES ('first', 'l', 'Lead', 1, 'leads', NULL, 1), ('week', 'l', 'Lead', 1, 'leads', NULL, 1), ('spring', 'l', 'Lead', 1, 'leads', NULL, 1),
  ('two', 'l', 'Leads', 1, 'leads', NULL, 2), ('two', 's', 'Sales', 2, 'earning', 'booked', 1);
-- The first week begins and ends at midnight in Berlin, and has an hour less.
INSERT INTO prm.partner (partner_id, name, joined_on, created_at) SELECT i, 'P' || i, '2026-03-25', '2026-03-24 22:00+00' FROM generate_series(101, 107) i;
INSERT INTO prm.lead (partner_id, company, created_at) VALUES (101, 'x', '2026-03-24 22:59:59+00'), (102, 'x', '2026-03-24 23:00+00'), (103, 'x', '2026-03-31 21:59:59+00'), (104, 'x', '2026-03-31 22:00+00'),
  (105, 'x', '2026-03-25 12:00+01'), (106, 'x', '2026-03-30 11:59:59+02'), (107, 'x', '2026-03-30 12:00+02');
SELECT prm.refresh_recognition() \g /dev/null
SELECT is((SELECT array_agg(DISTINCT ends_at) FROM prm.mission_run WHERE program_id = :program AND partner_id > 100 AND mission = 'first'), '{2026-03-31 22:00+00}', 'seven days by the clocks of Berlin, whatever the zone of the session');
SELECT prm.join_mission(101, 'week') \g /dev/null
SELECT is((SELECT ends_at FROM prm.mission_run WHERE program_id = :program AND partner_id = 101 AND mission = 'week'), '2026-04-01 12:00+02'::timestamptz, 'from joining a mission on, too');
SET LOCAL prm.clock = '2026-04-02 12:00+02';
SELECT prm.refresh_recognition() \g /dev/null
SELECT is(ARRAY[pg_temp.run(101, 'first'), pg_temp.run(102, 'first'), pg_temp.run(103, 'first'), pg_temp.run(104, 'first')], '{"expired 0/1","approved 1/1","approved 1/1","expired 0/1"}', 'ENG-007 neighbours: a window has its first moment, not its last');
SELECT is((SELECT DISTINCT state FROM prm.v_mission WHERE program_id = :program AND mission = 'empty'), NULL, 'a mission without steps shows nothing');
SELECT is((SELECT array_agg(DISTINCT state) FROM prm.mission_run WHERE program_id = :program AND mission = 'empty'), '{draft}', 'and is never reached');
SELECT is((SELECT array_agg(partner_id ORDER BY 1) FROM prm.mission_run WHERE program_id = :program AND mission = 'spring' AND state = 'approved'), '{105,106}', 'only what lies within the mission''s own days counts');
SELECT is(ARRAY[pg_temp.points(101), pg_temp.points(102), pg_temp.points(103), pg_temp.points(104)], '{0,5,5,0}', 'rewards of those that were reached');
SELECT is(prm.refresh_recognition(), 0::bigint, 'once');
-- All steps, and what was refunded altogether is no sale.
SELECT prm.join_mission(1, 'two') \g /dev/null
INSERT INTO prm.lead (partner_id, company, created_at) SELECT 1, 'x', prm.now() FROM generate_series(1, 5);
SELECT prm.refresh_recognition() \g /dev/null
SELECT is(pg_temp.run(1, 'two'), 'draft 5/2, draft 0/1', 'one of two steps, more than reached');
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at, external_ref) VALUES ('booked', 1, 100, 'USD', prm.now(), 'E1'), ('invoiced', 1, 100, 'USD', prm.now(), 'E2');
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at, applies_to_id) SELECT 'refunded', 1, -100, 'USD', prm.now(), earning_event_id FROM prm.earning_event WHERE program_id = :program AND external_ref = 'E1';
SELECT prm.refresh_recognition() \g /dev/null
SELECT is(pg_temp.run(1, 'two'), 'draft 5/2, draft 0/1', 'a sale that was refunded altogether does not count, nor does an event of another kind');
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at, external_ref) VALUES ('booked', 1, 100, 'USD', prm.now(), 'E3');
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at, applies_to_id) SELECT 'refunded', 1, -99, 'USD', prm.now(), earning_event_id FROM prm.earning_event WHERE program_id = :program AND external_ref = 'E3';
SELECT prm.refresh_recognition() \g /dev/null
SELECT is(pg_temp.run(1, 'two'), 'submitted 5/2, submitted 1/1', 'one of which something is left does');
SELECT is(pg_temp.points(1), 0::numeric, 'what is to be approved gives nothing before');
SELECT is(ARRAY[prm.decide_mission(1, 'two', 'rejected', 'leads were made up'), prm.decide_mission(1, 'two', 'rejected', 'again')], '{rejected,rejected}', 'rejected, with a reason');
SELECT throws_ok($$ SELECT prm.decide_mission(1, 'two', 'approved') $$, '55000', NULL, 'what was rejected is not approved');
SELECT is(pg_temp.points(1), 0::numeric, 'and gives nothing');

-- ---- campaigns ------------------------------------------------------------------------------------------------------
SET LOCAL prm.clock = '2026-03-20 12:00+01';
CREATE FUNCTION pg_temp.member(the_partner bigint) RETURNS text LANGUAGE sql AS $$ SELECT format('%s %s', progress, CASE WHEN rewarded_at IS NULL THEN 'not' ELSE 'rewarded' END) FROM prm.campaign_member WHERE program_id = prm.current_program() AND campaign = 'push' AND partner_id = the_partner $$;
INSERT INTO prm.campaign (campaign, label, starts_at, ends_at, measure, partner_kind, goal, points, cost, lag_days, retained_days) VALUES ('push', 'Push', '2026-03-20 12:00+01', '2026-03-27 12:00+01', 'leads', 'affiliate', 1, 10, 50, 5, 10);
DELETE FROM prm.lead WHERE program_id = :program;
INSERT INTO prm.lead (partner_id, company, created_at) VALUES (41, 'x', '2026-03-20 11:59:59.999999+01'), (42, 'x', '2026-03-20 12:00+01'), (43, 'x', '2026-03-27 11:59:59.999999+01'), (44, 'x', '2026-03-27 12:00+01');
SELECT prm.refresh_recognition() \g /dev/null
SELECT is(ARRAY[pg_temp.member(41), pg_temp.member(42), pg_temp.member(43)], '{"0 not","1 rewarded","0 not"}', 'ENG-009 neighbours: what happens at the very start counts, and nothing of the future');
SET LOCAL prm.clock = '2026-03-27 12:00+01';
SELECT prm.refresh_recognition() \g /dev/null
SELECT is(ARRAY[pg_temp.member(41), pg_temp.member(42), pg_temp.member(43), pg_temp.member(44)], '{"0 not","1 rewarded","1 rewarded","0 not"}', 'what happens at the very end does not');
SELECT is((SELECT has_started::text || has_ended || is_running FROM prm.v_campaign WHERE program_id = :program), 'truetruefalse', 'it is over at its end');
-- Late data count until the lag is over: five days by the clock of Berlin are an hour less.
SET LOCAL prm.clock = '2026-04-01 11:59:59+02';
INSERT INTO prm.lead (partner_id, company, created_at) VALUES (45, 'x', '2026-03-22');
SELECT prm.refresh_recognition() \g /dev/null
SELECT is(pg_temp.member(45), '1 rewarded', 'a late event in the last moment of the lag');
SET LOCAL prm.clock = '2026-04-01 12:00+02';
INSERT INTO prm.lead (partner_id, company, created_at) VALUES (46, 'x', '2026-03-22');
SELECT is(prm.refresh_recognition(), 0::bigint, 'and after it');
SELECT is(pg_temp.member(46), '0 not', 'nothing');
-- Retention: [1 April 12:00, 11 April 12:00) in Berlin.
INSERT INTO prm.usage_event (partner_id, activity, at, external_ref) VALUES (41, 'login', '2026-04-01 11:59:59+02', 'q1'), (42, 'login', '2026-04-01 12:00+02', 'q2'), (43, 'login', '2026-04-11 11:59:59+02', 'q3'), (44, 'login', '2026-04-11 12:00+02', 'q4');
SET LOCAL prm.clock = '2026-04-11 11:59:59+02';
SELECT is((SELECT is_final FROM prm.v_campaign_roi WHERE program_id = :program), false, 'not final before');
SET LOCAL prm.clock = '2026-04-11 12:00+02';
SELECT is((SELECT format('%s %s', is_final, round(treated_retention * treated)) FROM prm.v_campaign_roi WHERE program_id = :program), 't 2', 'lagged retention, with its first moment and without its last');
SELECT is((SELECT (held_out_retention, retention_lift, extra_revenue, roi)::text FROM prm.v_campaign_roi WHERE program_id = :program), '(,,,)', 'nothing to compare with: no lift and no return');

SELECT * FROM finish();
ROLLBACK;
