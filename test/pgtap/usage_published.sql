-- Usage at its edges: the first week across a change of clocks, classes at their bounds, drops that are noticed once, batches that
-- come twice, out of order and with contradictions.
BEGIN;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SET LOCAL prm.clock = '2026-06-15 12:00+00';
SELECT set_config('prm.program_id', prm.create_program('pgTAP usage published', 'blank', 'EUR', 'Europe/Berlin')::text, true) AS program \gset
INSERT INTO prm.partner (partner_id, name, external_ref, joined_on, created_at) SELECT i, 'P' || i, 'R' || i, '2026-03-25', '2026-03-25' FROM generate_series(1, 40) i;
INSERT INTO prm.partner_user (partner_user_id, partner_id, name, external_ref) VALUES (1, 1, 'Ada', 'U1'), (2, 2, 'Ben', 'U2');
CREATE FUNCTION pg_temp.used(the_partner bigint, the_activity text, VARIADIC the_moments text[]) RETURNS void LANGUAGE sql AS $$
  INSERT INTO prm.usage_event (partner_id, activity, at, external_ref) SELECT the_partner, the_activity, m::timestamptz, concat_ws('/', the_partner, the_activity, m) FROM unnest(the_moments) m $$;
CREATE FUNCTION pg_temp.many(the_partner bigint, the_number integer, the_moment timestamptz) RETURNS void LANGUAGE sql AS $$
  INSERT INTO prm.usage_event (partner_id, activity, at, external_ref) SELECT the_partner, 'login', the_moment + i * interval '1 minute', concat_ws('/', 'many', the_partner, the_moment, i) FROM generate_series(1, the_number) i $$;

-- ---- the first week: seven days by the clock of Berlin, 167 hours ------------------------------------------------------
SELECT pg_temp.used(1, 'login', '2026-03-24 23:00+00'), pg_temp.used(1, 'upload', '2026-03-31 21:59:59+00'),
  pg_temp.used(2, 'login', '2026-03-24 22:59:59+00'), pg_temp.used(2, 'upload', '2026-03-25 10:00+00'),
  pg_temp.used(3, 'login', '2026-03-25 10:00+00'), pg_temp.used(3, 'upload', '2026-03-31 22:00+00'),
  pg_temp.used(4, 'upload', '2026-03-25 10:00+00'), pg_temp.used(5, 'login', '2026-03-25 10:00+00'), pg_temp.used(5, 'content_view', '2026-03-25 10:00+00') \g /dev/null
SELECT results_eq($$ SELECT partner_id, until, logins, key_events, hours_to_login, is_activated FROM prm.v_activation WHERE program_id = prm.current_program() AND partner_id <= 5 ORDER BY 1 $$,
  $$ VALUES (1::bigint, '2026-03-31 22:00+00'::timestamptz, 1::bigint, 1::bigint, 0.00, true), (2, '2026-03-31 22:00+00', 0, 1, NULL, false), (3, '2026-03-31 22:00+00', 1, 0, 11.00, false),
     (4, '2026-03-31 22:00+00', 0, 1, NULL, false), (5, '2026-03-31 22:00+00', 1, 0, 11.00, false) $$, 'a login and a key activity, from the first moment of the day of joining until the week is over');
SET LOCAL prm.clock = '2026-03-31 21:59:59+00';
SELECT is((SELECT is_over FROM prm.v_activation WHERE program_id = :program AND partner_id = 1), false, 'a second before its end');
SET LOCAL prm.clock = '2026-03-31 22:00+00';
SELECT is((SELECT is_over FROM prm.v_activation WHERE program_id = :program AND partner_id = 1), true, 'and at its end');
SET LOCAL timezone = 'America/New_York';
SELECT is((SELECT until FROM prm.v_activation WHERE program_id = :program AND partner_id = 1), '2026-03-31 22:00+00'::timestamptz, 'the zone of the session does not matter');
SET LOCAL timezone = 'UTC';

-- ---- the window and its classes ---------------------------------------------------------------------------------------
SET LOCAL prm.clock = '2026-06-15 12:00+00';
SELECT pg_temp.used(6, 'login', '2026-05-16 12:00+00'), pg_temp.used(7, 'login', '2026-05-16 12:00:00.000001+00'), pg_temp.used(8, 'login', '2026-06-15 12:00+00'), pg_temp.used(9, 'login', '2026-06-15 12:00:00.000001+00') \g /dev/null
SELECT results_eq($$ SELECT partner_id, class, events, events_before FROM prm.v_adoption WHERE program_id = prm.current_program() AND partner_id BETWEEN 6 AND 9 ORDER BY 1 $$,
  $$ VALUES (6::bigint, 'resistant', 0::bigint, 1::bigint), (7, 'ambivalent', 1, 0), (8, 'ambivalent', 1, 0), (9, 'resistant', 0, 0) $$, 'the window ends with this very moment and begins after the moment 30 days ago');
-- Four days, of Berlin, and four key activities.
SELECT pg_temp.used(10, 'upload', '2026-06-10 21:59+00', '2026-06-10 22:00+00', '2026-06-12 10:00+00', '2026-06-13 10:00+00'),
  pg_temp.used(11, 'upload', '2026-06-10 20:59+00', '2026-06-10 21:00+00', '2026-06-12 10:00+00', '2026-06-13 10:00+00'),
  pg_temp.used(12, 'upload', '2026-06-11 10:00+00', '2026-06-12 10:00+00', '2026-06-13 10:00+00'), pg_temp.used(12, 'login', '2026-06-10 10:00+00', '2026-06-09 10:00+00') \g /dev/null
SELECT results_eq($$ SELECT partner_id, class, active_days, key_events, reasons FROM prm.v_adoption WHERE program_id = prm.current_program() AND partner_id BETWEEN 10 AND 12 ORDER BY 1 $$,
  $$ VALUES (10::bigint, 'adopter', 4::bigint, 4::bigint, '{}'::text[]), (11, 'ambivalent', 3, 4, '{"active on 3 days"}'), (12, 'ambivalent', 5, 3, '{"3 key activities"}') $$, 'an adopter reaches both bounds, with days of the programme''s zone');
-- Who has just joined is not resistant yet.
INSERT INTO prm.partner (partner_id, name, joined_on, created_at) VALUES (50, 'new', '2026-06-09', '2026-06-09'), (51, 'settled', '2026-06-08', '2026-06-08');
SELECT is((SELECT array_agg(class ORDER BY partner_id) FROM prm.v_adoption WHERE program_id = :program AND partner_id >= 50), '{ambivalent,resistant}', 'nobody resists in the first week');

-- ---- drops: at the bound, once, and again after a recovery --------------------------------------------------------------
SELECT pg_temp.many(20, 10, '2026-05-01'), pg_temp.many(20, 5, '2026-06-01'), pg_temp.many(21, 10, '2026-05-01'), pg_temp.many(21, 6, '2026-06-01'),
  pg_temp.many(22, 4, '2026-05-01'), pg_temp.many(23, 5, '2026-05-01') \g /dev/null
SELECT results_eq($$ SELECT partner_id, drop_percent, has_dropped FROM prm.v_adoption WHERE program_id = prm.current_program() AND partner_id BETWEEN 20 AND 24 ORDER BY 1 $$,
  $$ VALUES (20::bigint, 50.0000, true), (21, 40.0000, false), (22, 100.0000, false), (23, 100.0000, true), (24, NULL, false) $$, 'a fall by half is a drop, by less is none; from five events on; nothing to fall from is none');
SELECT is(ARRAY[prm._work_usage(:program), prm._work_usage(:program)], '{2,0}', 'noticed once');
SELECT is((SELECT count(*) FROM prm.task WHERE program_id = :program AND cause_key LIKE 'drop/%'), 2::bigint, 'one task each');
SET LOCAL prm.clock = '2026-06-20 12:00+00';
SELECT is(prm._work_usage(:program), 0::bigint, 'nor the next days');
SELECT pg_temp.many(20, 1, '2026-06-20 10:00+00') \g /dev/null
SELECT is(prm._work_usage(:program), 1::bigint, 'one event more than half of what there was is a recovery');
SELECT is((SELECT recovered_on FROM prm.usage_drop WHERE program_id = :program AND partner_id = 20), '2026-06-20'::date, 'on that day');
SELECT is(prm._work_usage(:program), 0::bigint, 'once');

-- ---- batches ----------------------------------------------------------------------------------------------------------
SET LOCAL prm.clock = '2026-06-25 12:00+00';
CREATE FUNCTION pg_temp.batch(the_batch jsonb) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(outcome || coalesce(': ' || message, ''), ', ' ORDER BY item) FROM prm.usage_ingest(the_batch) $$;
SELECT is(pg_temp.batch('[{"external_ref": "b3", "partner_id": 30, "activity": "login", "at": "2026-06-24T10:00:00Z"}, {"external_ref": "b1", "partner_id": 30, "activity": "login", "at": "2026-06-01T10:00:00Z"},
  {"external_ref": "b3", "partner_id": 30, "activity": "upload", "at": "2026-06-02T10:00:00Z"}, {"external_ref": "b2", "partner_ref": "R30", "activity": "login", "at": "2026-06-10T10:00:00Z"}]'),
  'inserted, inserted, unchanged, inserted', 'out of order, and twice in one batch: the first of the same reference counts');
SELECT is(pg_temp.batch('[{"external_ref": "b2", "partner_id": 31, "activity": "upload", "at": "2026-06-11T10:00:00Z"}, {"external_ref": "b1", "partner_id": 30, "activity": "login", "at": "2026-06-01T10:00:00Z"}]'), 'unchanged, unchanged', 'sent again, in another order');
SELECT is((SELECT format('%s %s %s', logins, events, last_at) FROM prm.v_adoption WHERE program_id = :program AND partner_id = 30), '3 3 2026-06-24 10:00:00+00', 'each once');
SELECT is(pg_temp.batch('[{"external_ref": "c1", "partner_id": 30, "partner_ref": "R31", "activity": "login", "at": "2026-06-11T10:00:00Z"}, {"external_ref": "c2", "partner_id": 30, "partner_ref": "R30", "activity": "login", "at": "2026-06-11T10:00:00Z"},
  {"external_ref": "c3", "partner_id": 30, "partner_ref": "R99", "activity": "login", "at": "2026-06-11T10:00:00Z"}, {"external_ref": "c4", "partner_user_id": 1, "partner_user_ref": "U2", "activity": "login", "at": "2026-06-11T10:00:00Z"},
  {"external_ref": "c5", "partner_user_id": 1, "partner_user_ref": "U1", "activity": "login", "at": "2026-06-11T10:00:00Z"}]'),
  'rejected: partner_id and partner_ref name different partners, inserted, rejected: partner_id and partner_ref name different partners, rejected: partner_user_id and partner_user_ref name different people, inserted', 'names that contradict each other');
SELECT is(pg_temp.batch('[{"external_ref": "d1", "partner_id": 30, "activity": "login", "at": "2026-06-26T12:00:00Z"}, {"external_ref": "d2", "partner_id": 30, "activity": "login", "at": "2026-06-26T12:00:01Z"}]'),
  'inserted, rejected: at lies in the future', 'a clock that is ahead by a day is borne, no more');
SELECT is((SELECT events FROM prm.v_adoption WHERE program_id = :program AND partner_id = 30), 4::bigint, 'but what lies ahead does not count yet');
-- A day that has 25 hours, and one hour that is not there.
SELECT pg_temp.batch('[{"external_ref": "e1", "partner_id": 33, "activity": "login", "at": "2026-03-29 02:30"}, {"external_ref": "e2", "partner_id": 33, "activity": "login", "at": "2025-10-26 02:30"}]') \g /dev/null
SELECT is((SELECT array_agg((at AT TIME ZONE 'Europe/Berlin')::date ORDER BY at) FROM prm.usage_event WHERE program_id = :program AND partner_id = 33), '{2025-10-26,2026-03-29}', 'a moment that the clocks leave out, or have twice, stays on its day');

SELECT * FROM finish();
ROLLBACK;
