-- Business time against an oracle that looks at every minute, over days on which clocks change.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SELECT set_config('prm.program_id', prm.create_program('Calendar', 'blank', 'USD', 'UTC')::text, true) AS program \gset

-- The default calendar of a template: Monday to Friday, 09 to 18.
SELECT is(prm.business_add('2026-01-02 16:00Z', '8h'), '2026-01-05 15:00Z', 'SLA-001: 8 business hours from Friday 16:00 end on Monday at 15:00');
SELECT is(prm.business_add('2026-01-02 11:00Z', '3d'), '2026-01-07 18:00Z', 'DR-002: the third business day after a Friday is Wednesday');
SELECT is(prm.business_add('2026-01-03 11:00Z', '3d'), '2026-01-07 18:00Z', 'and after the Saturday');
SELECT is(prm.business_add('2026-01-05 08:00Z', '1d'), '2026-01-06 18:00Z', 'the day of the start does not count');
SELECT is(prm.business_add('2026-01-05 08:00Z', '9h'), '2026-01-05 18:00Z', 'the close, not the next opening');
SELECT is(prm.business_add('2026-01-03 12:00Z', '1m'), '2026-01-05 09:01Z', 'a start outside hours waits for the opening');
SELECT is(prm.business_add('2025-12-31 17:00Z', '2h'), '2026-01-01 10:00Z', 'over the end of the year');
SELECT is(prm.business_between('2026-01-02 16:00Z', '2026-01-05 15:00Z'), interval '8 hours', 'between');
SELECT is(prm.business_between('2026-01-05 15:00Z', '2026-01-02 16:00Z'), interval '-8 hours', 'between, the other way round');
SELECT is(prm.business_between('2026-01-03 00:00Z', '2026-01-04 00:00Z'), interval '0', 'a weekend is nothing');
SELECT is(prm.business_add(NULL, '8h'), NULL, 'no start');
SELECT is(prm.business_add('2026-01-02 16:00Z', NULL), NULL, 'no duration');
SELECT is(prm.business_between('2026-01-02 16:00Z', NULL), NULL, 'no end');
SELECT is(prm.business_add('1999-12-30 17:00Z', '2h'), '1999-12-31 10:00Z', 'before the epoch');
SELECT is(prm.business_add('1969-12-31 17:30:00.25Z', '1h'), '1970-01-01 09:30:00.25Z', 'before the other, to the microsecond');

-- Forms of a duration.
SELECT is(array_agg(prm.business_add('2026-01-05 09:00Z', d) ORDER BY o), array_fill('2026-01-05 10:30Z'::timestamptz, ARRAY[6]), 'forms of 90 minutes')
  FROM unnest(ARRAY['90m', '1h 30m', '1h30m', 'PT90M', 'PT1H30M', '5400s']) WITH ORDINALITY u(d, o);
SELECT is(prm.business_add('2026-01-05 09:00Z', 'P3D'), prm.business_add('2026-01-05 09:00Z', '3d'), 'forms of 3 days');
SELECT is(prm.business_add('2026-01-05 09:00Z', 'PT1.5S'), '2026-01-05 09:00:01.5Z', 'seconds have a fraction');
SELECT throws_ok(format('SELECT prm.business_add(now(), %L)', d), '22023', format('"%s" is no duration in business time', d), d || ' is refused')
  FROM unnest(ARRAY['', 'P', 'PT', '8', 'h', '-8h', 'P-3D', '0h', '0d', 'P0D', '2d 4h', 'P2DT4H', '1w', 'P1W', 'P1M', 'P1Y', '1.5h', '1m 1h', '1h 1h', '8h ', ' 8h',
    '8h  1m', 'PT8h', 'pt8h', 'P8H', 'PT1D', 'PTT1H', '8x', '1.0000001s', '1.s', '99999999h', '100000000000000000000h', '4000d', '8 hours', 'infinity']) d;

-- Other calendars.
INSERT INTO prm.calendar (calendar, time_zone) VALUES ('round', 'Europe/Berlin'), ('odd', 'America/Sao_Paulo'), ('shifts', 'Asia/Kolkata'), ('island', 'Pacific/Apia'),
  ('never', NULL), ('rare', NULL), ('night', 'Europe/Berlin'), ('harbour', 'America/St_Johns');
INSERT INTO prm.calendar_hours (calendar, weekday, opens, closes)
  SELECT 'round', d, time '00:00', time '24:00' FROM generate_series(1, 7) d UNION ALL
  SELECT 'odd', d, '00:00', '12:00' FROM generate_series(1, 7) d UNION ALL SELECT 'odd', d, '22:30', '24:00' FROM generate_series(1, 7) d UNION ALL
  SELECT 'shifts', d, '08:15', '12:45' FROM generate_series(1, 6) d UNION ALL SELECT 'shifts', d, '13:30', '17:00' FROM generate_series(1, 5) d UNION ALL
  SELECT 'harbour', d, '00:00', '24:00' FROM generate_series(1, 7) d UNION ALL
  SELECT 'island', d, '08:00', '16:30' FROM generate_series(1, 5) d UNION ALL
  SELECT 'night', d, '01:30', '02:30' FROM generate_series(1, 7) d UNION ALL SELECT 'night', d, '02:45', '05:00' FROM generate_series(1, 7) d;
INSERT INTO prm.calendar_holiday (calendar, day, label, opens, closes) VALUES
  ('odd', '2018-11-02', 'All Souls', NULL, NULL), ('odd', '2018-11-05', 'Short', '10:00', '11:30'), ('shifts', '2018-11-07', 'Diwali', NULL, NULL),
  ('night', '2018-10-29', 'Closed', NULL, NULL), ('rare', '2026-06-01', 'Open day', '09:00', '17:00');
SELECT is(prm.business_between('2018-10-28 00:00 Europe/Berlin', '2018-10-29 00:00 Europe/Berlin', 'round'), interval '25 hours', 'a day of 25 hours');
SELECT is(prm.business_between('2018-03-25 00:00 Europe/Berlin', '2018-03-26 00:00 Europe/Berlin', 'round'), interval '23 hours', 'and one of 23');
SELECT is(prm.business_between('2018-03-25 00:00 Europe/Berlin', '2018-03-26 00:00 Europe/Berlin', 'night'), interval '2 hours 30 minutes', 'hours in the gap shrink');
SELECT is(prm.business_between('2018-10-28 00:00 Europe/Berlin', '2018-10-29 00:00 Europe/Berlin', 'night'), interval '4 hours', 'hours shown twice count twice');
SELECT is(prm.business_add('2018-11-03 22:00 America/Sao_Paulo', '2h', 'odd'), '2018-11-04 03:30Z', 'Sao Paulo has no midnight on 4 November 2018');
SELECT is(prm.business_add('2011-12-29 12:00 Pacific/Apia', '1d', 'island'), '2012-01-02 16:30 Pacific/Apia', 'Apia left out Friday, 30 December 2011');
SELECT is(prm.business_between('2011-12-29 16:30 Pacific/Apia', '2012-01-02 08:00 Pacific/Apia', 'island'), interval '0', 'and nobody worked on it');
-- The last hour of 17 February 2018 in Sao Paulo came twice: one business day all the same.
SELECT is(prm.business_add('2018-02-16 12:00 America/Sao_Paulo', '1d', 'odd'), '2018-02-18 03:00Z', 'a date that is shown twice is one day');
SELECT is(prm.business_add('2018-02-16 12:00 America/Sao_Paulo', '2d', 'odd'), '2018-02-19 03:00Z', 'and the next is the second');
-- St. John's put its clocks back at 00:01: a minute of Sunday, an hour of Saturday again, then Sunday.
SELECT is(prm.business_add('2010-11-05 12:00 America/St_Johns', '2d', 'harbour'), '2010-11-08 00:00 America/St_Johns', 'a date that comes back is not counted again');
SELECT is(prm.business_add('2018-11-01 12:00 America/Sao_Paulo', '1d', 'odd'), '2018-11-04 03:00Z', 'a closed holiday is no business day');
SELECT is(prm.business_add('2018-11-04 12:00 America/Sao_Paulo', '1d', 'odd'), '2018-11-05 11:30 America/Sao_Paulo', 'a short one ends early');
SELECT is(prm.business_add('2026-01-01 00:00Z', '8h', 'rare'), '2026-06-01 17:00Z', 'open only on one day');
SELECT is(prm.business_add('2026-01-01 00:00Z', '1d', 'rare'), '2026-06-01 17:00Z', 'and by days');
SELECT throws_ok($$SELECT prm.business_add('2026-01-01 00:00Z', '9h', 'rare')$$, '55000', '9h of business time do not pass within ten years', 'but not longer');
SELECT throws_ok($$SELECT prm.business_add('2026-01-01 00:00Z', '2d', 'rare')$$, '55000', '2d of business time do not pass within ten years', 'and not on a second');
SELECT throws_ok($$SELECT prm.business_add('2026-01-01 00:00Z', '1m', 'never')$$, '55000', format('calendar "never" of programme %s is never open', :program), 'without hours');
SELECT is(prm.business_between('2026-01-01 00:00Z', '2026-02-01 00:00Z', 'never'), interval '0', 'nothing passes');
SELECT throws_ok($$SELECT prm.business_add('2026-01-01 00:00Z', '1m', 'nonesuch')$$, '42704', format('programme %s has no calendar "nonesuch"', :program), 'an unknown calendar');
SELECT throws_ok($$SELECT prm.business_add('2026-01-01 00:00Z', '1m', '')$$, '42704', NULL, 'an empty name');
SELECT throws_ok($$SELECT prm.business_add('2026-01-01 00:00Z', '1m', NULL, 999999999)$$, '42704', NULL, 'an unknown programme');
SELECT throws_ok($$SELECT prm.business_add('infinity', '1m')$$, '22008', NULL, 'infinity');
SELECT throws_ok($$SELECT prm.business_add('294276-12-01', '1m')$$, '22008', NULL, 'the end of time');
SELECT throws_ok($$SELECT prm.business_between('-infinity', now())$$, '22008', NULL, 'minus infinity');
SELECT throws_ok($$SELECT prm.business_between('0900-01-01', '2026-01-01')$$, '22008', NULL, 'a thousand years');

-- The oracle: what the wall clock shows at each minute of three weeks.
CREATE TEMP TABLE minute AS
SELECT c.calendar, m.at, EXISTS (
    SELECT 1 FROM prm.calendar_hours h WHERE h.program_id = :program AND h.calendar = c.calendar AND h.weekday = extract(isodow FROM w.wall)
      AND w.wall::time >= h.opens AND (w.wall::time < h.closes) AND NOT EXISTS (SELECT 1 FROM prm.calendar_holiday d
        WHERE d.program_id = :program AND d.calendar = c.calendar AND d.day = w.wall::date)
    UNION ALL
    SELECT 1 FROM prm.calendar_holiday d WHERE d.program_id = :program AND d.calendar = c.calendar AND d.day = w.wall::date AND w.wall::time >= d.opens AND w.wall::time < d.closes
  ) AS open
FROM (VALUES ('odd', '2018-10-27 00:00Z'::timestamptz), ('odd', '2018-02-10 00:00Z'), ('night', '2018-03-20 00:00Z'), ('night', '2018-10-21 00:00Z'), ('shifts', '2018-11-01 00:00Z'),
             ('island', '2011-12-25 00:00Z'), ('office', '2025-12-24 00:00Z')) c(calendar, start)
JOIN prm.calendar k ON k.program_id = :program AND k.calendar = c.calendar
CROSS JOIN LATERAL generate_series(c.start, c.start + interval '14 days', interval '1 minute') m(at)
CROSS JOIN LATERAL (SELECT m.at AT TIME ZONE coalesce(k.time_zone, 'UTC') AS wall) w;
-- Business minutes passed before each minute, by calendar and stretch of days.
CREATE TEMP TABLE passed AS
SELECT calendar, at, part,
  count(*) FILTER (WHERE open) OVER (PARTITION BY calendar, part ORDER BY at ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
FROM (SELECT m.*, count(*) FILTER (WHERE gap) OVER (PARTITION BY calendar ORDER BY at) AS part
      FROM (SELECT m.*, at - lag(at) OVER (PARTITION BY calendar ORDER BY at) > interval '1 minute' AS gap FROM minute m) m) m;
CREATE INDEX ON passed (calendar, part, at);
CREATE INDEX ON passed (calendar, part, before, at);
ANALYZE passed;
CREATE TEMP TABLE pair AS
SELECT a.calendar, a.part, a.at AS a, b.at AS b, b.before - a.before AS minutes
FROM (SELECT calendar, part, at, before, row_number() OVER (PARTITION BY calendar, part ORDER BY hashtext(at::text)) AS n FROM passed) a
JOIN (SELECT calendar, part, at, before, row_number() OVER (PARTITION BY calendar, part ORDER BY hashtext(at::text || 'b')) AS n FROM passed) b USING (calendar, part, n)
WHERE n <= 2000 AND a.at <= b.at;
SELECT cmp_ok((SELECT count(*) FROM pair), '>', 5000::bigint, 'pairs of moments to compare');
SELECT is_empty($$ SELECT calendar, a, b, minutes, prm.business_between(a, b, calendar) FROM pair
  WHERE prm.business_between(a, b, calendar) <> minutes * interval '1 minute' $$, 'business_between is what the oracle counts');
SELECT is_empty($$ SELECT p.calendar, p.a, p.minutes, x.found, o.at FROM pair p
  CROSS JOIN LATERAL (SELECT prm.business_add(p.a, p.minutes || 'm', p.calendar) AS found) x
  CROSS JOIN LATERAL (SELECT min(q.at) AS at FROM passed q WHERE q.calendar = p.calendar AND q.part = p.part AND q.at > p.a AND q.before =
     (SELECT r.before FROM passed r WHERE r.calendar = p.calendar AND r.part = p.part AND r.at = p.a) + p.minutes) o
  WHERE p.minutes > 0 AND x.found IS DISTINCT FROM o.at $$, 'business_add is the first minute by which so many have passed');
SELECT is_empty($$ SELECT p.calendar, p.a FROM pair p CROSS JOIN LATERAL (SELECT (1 + p.minutes * 7 % 9000) AS d, (1 + p.minutes * 3 % 777) AS e) x
  WHERE prm.business_between(p.a, prm.business_add(p.a, x.d || 's', p.calendar), p.calendar) <> x.d * interval '1 second'
     OR prm.business_add(prm.business_add(p.a, x.d || 's', p.calendar), x.e || 's', p.calendar) <> prm.business_add(p.a, (x.d + x.e) || 's', p.calendar)
     OR prm.business_add(p.a, (x.d + 1) || 's', p.calendar) <= prm.business_add(p.a, x.d || 's', p.calendar) $$,
  'added time is between, adds up, and never goes back');
SELECT is_empty($$ SELECT calendar, a, b FROM pair CROSS JOIN LATERAL (SELECT a + (b - a) / 3 AS m) x
  WHERE prm.business_between(a, m, calendar) + prm.business_between(m, b, calendar) <> prm.business_between(a, b, calendar) $$, 'parts add up to the whole');

-- What the tables refuse.
SELECT throws_ok($$INSERT INTO prm.calendar_hours (calendar, weekday, opens, closes) VALUES ('office', 1, '17:00', '19:00')$$, '23P01', NULL, 'hours that overlap');
SELECT lives_ok($$INSERT INTO prm.calendar_hours (calendar, weekday, opens, closes) VALUES ('office', 1, '18:00', '24:00')$$, 'hours that follow');
SELECT throws_ok($$INSERT INTO prm.calendar_hours (calendar, weekday, opens, closes) VALUES ('office', 2, '19:00', '19:00')$$, '23514', NULL, 'no hours at all');
SELECT throws_ok($$INSERT INTO prm.calendar_hours (calendar, weekday, opens, closes) VALUES ('office', 8, '19:00', '20:00')$$, '23514', NULL, 'an eighth day');
SELECT throws_ok($$INSERT INTO prm.calendar_holiday (calendar, day, opens) VALUES ('office', '2026-12-24', '09:00')$$, '23514', NULL, 'half a short day');
SELECT throws_ok($$INSERT INTO prm.calendar (calendar, is_default) VALUES ('second', true)$$, '23505', NULL, 'two defaults');
SELECT throws_ok($$INSERT INTO prm.calendar (calendar, time_zone) VALUES ('second', 'Mars/Olympus')$$, '22023', NULL, 'no such zone');

-- A change is seen at once, and without a default there is no guess.
SELECT is(prm.business_add('2026-01-05 17:00Z', '2h'), '2026-01-05 19:00Z', 'longer hours count at once');
INSERT INTO prm.calendar_holiday (calendar, day) VALUES ('office', '2026-01-05');
SELECT is(prm.business_add('2026-01-05 17:00Z', '2h'), '2026-01-06 11:00Z', 'so does a holiday');
SAVEPOINT before;
DELETE FROM prm.calendar_holiday WHERE program_id = :program AND day = '2026-01-05';
SELECT is(prm.business_add('2026-01-05 17:00Z', '2h'), '2026-01-05 19:00Z', 'and its end');
ROLLBACK TO before;
SELECT is(prm.business_add('2026-01-05 17:00Z', '2h'), '2026-01-06 11:00Z', 'a change that was rolled back does not');
UPDATE prm.program SET time_zone = 'Asia/Tokyo' WHERE program_id = :program;
SELECT is(prm.business_add('2026-01-06 09:00 Asia/Tokyo', '1h'), '2026-01-06 10:00 Asia/Tokyo', 'the zone of the programme');
UPDATE prm.calendar SET is_default = false WHERE program_id = :program AND calendar = 'office';
SELECT throws_ok($$SELECT prm.business_add(now(), '1h')$$, '55000', format('programme %s has no default calendar', :program), 'no default calendar');
SELECT lives_ok($$SELECT prm.business_add(now(), '1h', 'office')$$, 'but by its name');

SELECT * FROM finish();
ROLLBACK;
