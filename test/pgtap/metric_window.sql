-- Windows of metrics: rolling, calendar, point in time, and any day of a window; at their edges, in the programme's time zone and fiscal year.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();

DO $$ BEGIN
  PERFORM set_config('prm.clock', '2024-01-01 12:00:00+00', true);
  PERFORM set_config('prm.program_id', prm.create_program('pgTAP windows', 'blank', 'EUR', 'America/New_York')::text, true);
  UPDATE prm.program SET fiscal_year_start = 2 WHERE program_id = prm.current_program();
END $$;
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'Aurora'), (2, 'Boreal');

CREATE FUNCTION pg_temp.span(the_kind text, the_moment timestamptz) RETURNS text LANGUAGE sql AS $$
  SELECT to_char(w.after AT TIME ZONE 'America/New_York', 'YYYY-MM-DD HH24:MI:SS.US') || ' .. ' || to_char(w.until AT TIME ZONE 'America/New_York', 'YYYY-MM-DD HH24:MI:SS.US')
  FROM prm._metric_window(prm.current_program(), the_kind, the_moment) w $$;
-- 12:00 in New York on 15 May 2026; winter time ended on 8 March.
SELECT is(pg_temp.span('rolling_30_days', '2026-05-15 16:00Z'), '2026-04-15 12:00:00.000000 .. 2026-05-15 12:00:00.000000', 'days');
SELECT is(pg_temp.span('rolling_90_days', '2026-05-15 16:00Z'), '2026-02-14 12:00:00.000000 .. 2026-05-15 12:00:00.000000', 'by the clock on the wall, also where it was moved in between');
SELECT is(pg_temp.span('rolling_2_weeks', '2026-05-15 16:00Z'), '2026-05-01 12:00:00.000000 .. 2026-05-15 12:00:00.000000', 'weeks');
SELECT is(pg_temp.span('rolling_3_months', '2026-05-31 16:00Z'), '2026-02-28 12:00:00.000000 .. 2026-05-31 12:00:00.000000', 'months: to the last day where the month is shorter');
SELECT is(pg_temp.span('rolling_1_year', '2028-02-29 17:00Z'), '2027-02-28 12:00:00.000000 .. 2028-02-29 12:00:00.000000', 'a year');
SELECT is((prm._metric_window(prm.current_program(), 'rolling_12_months', '2026-05-15 16:00Z')).after, prm._year_before(prm.current_program(), '2026-05-15 16:00Z'), 'twelve months begin where they always did');
SELECT is(pg_temp.span('month_to_date', '2026-05-15 16:00Z'), '2026-04-30 23:59:59.999999 .. 2026-05-15 12:00:00.000000', 'a month begins with its first midnight');
SELECT is(pg_temp.span('month_to_date', '2026-05-01 03:59Z'), '2026-03-31 23:59:59.999999 .. 2026-04-30 23:59:00.000000', 'which is that of the programme''s zone');
SELECT is(pg_temp.span('last_month', '2026-05-15 16:00Z'), '2026-03-31 23:59:59.999999 .. 2026-04-30 23:59:59.999999', 'the last whole month');
SELECT is(pg_temp.span('quarter_to_date', '2026-05-15 16:00Z'), '2026-04-30 23:59:59.999999 .. 2026-05-15 12:00:00.000000', 'quarters of the fiscal year: the second begins on 1 May');
SELECT is(pg_temp.span('last_quarter', '2026-05-15 16:00Z'), '2026-01-31 23:59:59.999999 .. 2026-04-30 23:59:59.999999', 'and the first ended the day before');
SELECT is(pg_temp.span('last_half', '2026-05-15 16:00Z'), '2025-07-31 23:59:59.999999 .. 2026-01-31 23:59:59.999999', 'half years');
SELECT is(pg_temp.span('year_to_date', '2026-01-31 16:00Z'), '2025-01-31 23:59:59.999999 .. 2026-01-31 11:00:00.000000', 'the fiscal year to date');
SELECT is(pg_temp.span('last_year', '2026-05-15 16:00Z'), '2025-01-31 23:59:59.999999 .. 2026-01-31 23:59:59.999999', 'the last fiscal year');
SELECT ok((prm._metric_window(prm.current_program(), 'lifetime', '2026-05-15 16:00Z')).after = '-infinity', 'for life');

-- The same measure over many windows: each is a row.
CREATE FUNCTION pg_temp.metric(the_partner bigint, the_metric text, the_moment timestamptz DEFAULT prm.now()) RETURNS numeric LANGUAGE sql AS
  $$ SELECT v.value FROM prm._metric_values(prm.current_program(), ARRAY[the_partner], the_moment, ARRAY[the_metric]) v $$;
INSERT INTO prm.metric (metric, label, unit, source, measure, window_kind) VALUES ('r90', 'r', 'money', 'built_in', 'revenue', 'rolling_90_days'), ('rm', 'r', 'money', 'built_in', 'revenue', 'month_to_date'),
  ('rlm', 'r', 'money', 'built_in', 'revenue', 'last_month'), ('rq', 'r', 'money', 'built_in', 'revenue', 'quarter_to_date'), ('rlq', 'r', 'money', 'built_in', 'revenue', 'last_quarter'),
  ('ry', 'r', 'money', 'built_in', 'revenue', 'year_to_date'), ('rly', 'r', 'money', 'built_in', 'revenue', 'last_year'), ('rl', 'r', 'money', 'built_in', 'revenue', 'lifetime'),
  ('dlm', 'd', 'count', 'built_in', 'deals_won', 'last_month');
DO $$ DECLARE d record; BEGIN
  FOR d IN SELECT * FROM (VALUES (1, '2026-05-01 04:00:00Z', 1), (2, '2026-05-01 03:59:59.999999Z', 2), (3, '2026-04-01 04:00Z', 4), (4, '2026-02-01 05:00Z', 8), (5, '2026-02-01 04:59Z', 16), (6, '2025-02-01 05:00Z', 32),
    (7, '2025-02-01 04:59Z', 64), (8, '2026-05-15 16:00Z', 128), (9, '2026-05-15 16:00:00.000001Z', 256)) AS v(id, moment, amount) LOOP
    PERFORM set_config('prm.clock', d.moment, true);
    INSERT INTO prm.deal (deal_id, partner_id, name, amount, currency, created_at) VALUES (d.id, 1, 'd' || d.id, d.amount, 'EUR', d.moment::timestamptz);
    UPDATE prm.deal SET state = 'won' WHERE program_id = prm.current_program() AND deal_id = d.id;
  END LOOP;
  PERFORM set_config('prm.clock', '2026-05-15 16:00Z', true);
END $$;
SELECT is(pg_temp.metric(1, 'r90'), 135::numeric, 'rolling 90 days');
SELECT is(pg_temp.metric(1, 'rm'), 129::numeric, 'the month so far, its first moment included');
SELECT is(pg_temp.metric(1, 'rlm'), 6::numeric, 'the last month, from its first moment to its last');
SELECT is(pg_temp.metric(1, 'rq'), 129::numeric, 'the quarter so far');
SELECT is(pg_temp.metric(1, 'rlq'), 14::numeric, 'the last quarter');
SELECT is(pg_temp.metric(1, 'ry'), 143::numeric, 'the fiscal year so far');
SELECT is(pg_temp.metric(1, 'rly'), 48::numeric, 'the last fiscal year');
SELECT is(pg_temp.metric(1, 'rl'), 255::numeric, 'everything, but not what is to come');
SELECT is(pg_temp.metric(1, 'dlm'), 2::numeric, 'another measure over the same window');
SELECT is(pg_temp.metric(1, 'rlm', '2026-06-15 16:00Z'), 385::numeric, 'at a later moment the last month is another');
SELECT is(pg_temp.metric(2, 'rl'), 0::numeric, 'nobody else''s');
SELECT set_eq($$ SELECT v.partner_id, v.metric, v.value FROM prm._metric_values(prm.current_program(), NULL, prm.now()) v $$,
  $$ SELECT p.partner_id, v.metric, v.value FROM prm.partner p CROSS JOIN LATERAL prm._metric_values(prm.current_program(), ARRAY[p.partner_id], prm.now()) v WHERE p.program_id = prm.current_program() $$,
  'all at once have what each has alone, in every window');

-- ---- any day in the window ----
INSERT INTO prm.partner_user (partner_user_id, partner_id, name) VALUES (1, 1, 'Ada'), (2, 1, 'Ben'), (3, 1, 'Cem');
INSERT INTO prm.certification (certification, label) VALUES ('sales', 'Sales');
INSERT INTO prm.certificate (partner_user_id, certification, issued_on, valid_until) VALUES (1, 'sales', '2026-01-01', '2026-04-20'), (2, 'sales', '2026-01-01', '2026-04-20'), (3, 'sales', '2026-04-20', NULL);
INSERT INTO prm.metric (metric, label, source, measure, any_day_window, any_day_pick) VALUES ('any', 'a', 'built_in', 'certified_people', 'rolling_30_days', 'maximum'),
  ('every', 'a', 'built_in', 'certified_people', 'rolling_30_days', 'minimum'), ('last', 'a', 'built_in', 'certified_people', 'last_month', 'maximum');
SELECT is(pg_temp.metric(1, 'certified_people'), 1::numeric, 'today one is certified');
SELECT is(pg_temp.metric(1, 'any'), 3::numeric, 'on one day of the last thirty all three were');
SELECT is(pg_temp.metric(1, 'every'), 1::numeric, 'and on every day at least one');
SELECT is(pg_temp.metric(1, 'any', '2026-05-20 16:00Z'), 3::numeric, 'thirty days later that day is still the first');
SELECT is(pg_temp.metric(1, 'any', '2026-05-21 16:00Z'), 1::numeric, 'and a day after it is not');
SELECT is(pg_temp.metric(1, 'every', '2026-04-19 16:00Z'), 2::numeric, 'in the past it is told of the past');
SELECT is(pg_temp.metric(1, 'last'), 3::numeric, 'on some day of the last month');
UPDATE prm.partner SET joined_on = '2026-04-25' WHERE program_id = prm.current_program() AND partner_id = 1;
SELECT is(pg_temp.metric(1, 'any'), 1::numeric, 'days before it joined do not count');
INSERT INTO prm.metric (metric, label, any_day_window, any_day_pick) VALUES ('staff', 's', 'rolling_10_days', 'minimum');
DO $$ BEGIN
  PERFORM prm.record_metric(1, 'staff', v, m::timestamptz) FROM (VALUES (9, '2026-05-01Z'), (4, '2026-05-10 12:00Z'), (2, '2026-05-11 12:00Z'), (6, '2026-05-11 13:00Z'), (7, '2026-05-14Z')) AS x(v, m);
END $$;
SELECT is(pg_temp.metric(1, 'staff'), 4::numeric, 'a pushed metric: each day counts as it ended');
INSERT INTO prm.metric (metric, label, source, measure, window_kind, any_day_window) VALUES ('peak', 'p', 'built_in', 'revenue', 'rolling_30_days', 'quarter_to_date');
SELECT is(pg_temp.metric(1, 'peak'), 131::numeric, 'two windows: the best rolling 30 days that ended in this quarter');
SELECT throws_ok($$ INSERT INTO prm.metric (metric, label, any_day_window) VALUES ('x', 'x', 'rolling_24_months') $$, '23514', NULL, 'at most a year of days');
SELECT throws_ok($$ INSERT INTO prm.metric (metric, label, any_day_window) VALUES ('x', 'x', 'point') $$, '23514', NULL, 'days, not a moment');

SELECT * FROM finish();
ROLLBACK;
