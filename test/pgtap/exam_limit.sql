-- Limits of exam attempts: how many in what time, how long to wait after a failed one, what counts and from when on; and what
-- lms_ingest() says of items that repeat each other.
BEGIN;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SET LOCAL prm.clock = '2027-12-31 12:00+01';
SELECT set_config('prm.program_id', prm.create_program('pgTAP exam limits', 'blank', 'EUR', 'Europe/Berlin')::text, true) AS program \gset
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'Ann'), (2, 'Bob');
INSERT INTO prm.partner_user (partner_user_id, partner_id, name, external_ref) SELECT i, 1 + i % 2, 'p' || i, 'U' || i FROM generate_series(1, 9) i;
INSERT INTO prm.exam (exam, label, pass_mark) VALUES ('final', 'Final', 70), ('oral', 'Oral', 70), ('quiz', 'Quiz', 70), ('free', 'Free', 70);
INSERT INTO prm.certification (certification, label) VALUES ('expert', 'Expert');
INSERT INTO prm.track (track, label, certification) VALUES ('path', 'Path', 'expert'), ('side', 'Side', NULL);
INSERT INTO prm.track_step (track, position, exam) VALUES ('path', 1, 'oral'), ('path', 2, 'quiz'), ('side', 1, 'free');
-- A batch of attempts of a person: 'ref exam score moment', told as 'outcome' or the reason.
CREATE FUNCTION pg_temp.send(the_person bigint, VARIADIC the_items text[]) RETURNS text[] LANGUAGE sql AS $$
  SELECT array_agg(coalesce(r.message, r.outcome) ORDER BY r.item) FROM prm.lms_ingest((
    SELECT jsonb_agg(jsonb_build_object('kind', 'attempt', 'external_ref', the_person || '-' || split_part(i, ' ', 1), 'partner_user_id', the_person, 'exam', split_part(i, ' ', 2),
      'score', split_part(i, ' ', 3)::numeric, 'at', split_part(i, ' ', 4) || 'T' || coalesce(nullif(split_part(i, ' ', 5), ''), '09:00')) ORDER BY n) FROM unnest(the_items) WITH ORDINALITY AS u(i, n))) r $$;

SELECT is(pg_temp.send(1, 'a final 10 2027-01-01', 'b final 10 2027-01-02', 'c final 10 2027-01-03', 'd final 10 2027-01-04'), '{inserted,inserted,inserted,inserted}', 'without a limit as often as one likes');
SELECT results_eq($$ SELECT attempts, attempts_left, is_possible, next_at, reason FROM prm.exam_attempts_left(1, 'final') $$, $$ VALUES (4::bigint, NULL::integer, true, prm.now(), NULL::text) $$, 'and that is told');

-- Three in twelve months, 14 days after one that failed.
INSERT INTO prm.exam_limit (exam, max_attempts, period, retry_after) VALUES ('final', 3, '12 months', '14 days');
SELECT is(pg_temp.send(2, 'a final 10 2027-01-10', 'x free 10 2027-01-11', 'b final 20 2027-01-24 08:59', 'c final 20 2027-01-24', 'd final 20 2027-02-28', 'e final 90 2027-03-20', 'f final 90 2028-01-01'),
  ARRAY['inserted', 'inserted', 'the attempt of 2027-01-10 09:00 failed; the next is possible from 2027-01-24 09:00 on', 'inserted', 'inserted', 'the limit of 3 attempts in 1 year is used up; the next is possible from 2028-01-10 09:00 on',
    'the limit of 3 attempts in 1 year is used up; the next is possible from 2028-01-10 09:00 on'], 'what is over a limit is rejected with its reason, and the rest goes in');
SELECT is((SELECT string_agg(external_ref, ' ' ORDER BY attempted_at) FROM prm.exam_attempt WHERE program_id = :program AND partner_user_id = 2), '2-a 2-x 2-c 2-d', 'that is what is written');
SELECT results_eq($$ SELECT exam, attempts, attempts_left, is_possible, next_at, reason FROM prm.exam_attempts_left(2) WHERE exam IN ('final', 'free') $$,
  $$ VALUES ('final', 3::bigint, 0, false, '2028-01-10 09:00+01'::timestamptz, 'the limit of 3 attempts in 1 year is used up; the next is possible from 2028-01-10 09:00 on'), ('free', 1, NULL, true, prm.now(), NULL) $$,
  'what is left, and when the next is possible');
SET LOCAL prm.clock = '2028-01-10 09:00+01';
SELECT results_eq($$ SELECT attempts_left, is_possible, next_at FROM prm.exam_attempts_left(2, 'final') $$, $$ VALUES (1, true, prm.now()) $$, 'a year after the first one attempt is free again');
SELECT is(pg_temp.send(2, 'g final 10 2028-01-10 08:59', 'h final 75 2028-01-10 09:00', 'i final 75 2028-01-10 09:01'),
  ARRAY['the limit of 3 attempts in 1 year is used up; the next is possible from 2028-01-10 09:00 on', 'inserted', 'the limit of 3 attempts in 1 year is used up; the next is possible from 2028-01-24 09:00 on'], 'to the minute, and what is let in counts for what comes after it');
SELECT is(pg_temp.send(2, 'h final 75 2028-01-10 09:00', 'a final 10 2027-01-10'), '{unchanged,unchanged}', 'sent again they are unchanged, whatever the limits say');
SELECT is(pg_temp.send(2, 'd final 30 2027-02-28'), '{updated}', 'a correction is no new attempt');
SELECT is(pg_temp.send(2, 'x final 10 2027-01-11'), ARRAY['the attempt of 2027-01-10 09:00 failed; the next is possible from 2027-01-24 09:00 on'], 'unless it makes it one at another exam');
SELECT is((SELECT exam FROM prm.exam_attempt WHERE program_id = :program AND external_ref = '2-x'), 'free', 'which is not written then');
-- In a batch in any order, each by what lies before it; who is one person and who another.
SELECT is(pg_temp.send(3, 'b final 10 2027-06-10', 'a final 10 2027-06-01', 'c final 10 2027-06-15'), ARRAY['the attempt of 2027-06-01 09:00 failed; the next is possible from 2027-06-15 09:00 on', 'inserted', 'inserted'], 'by when they were made, not by their place');
SELECT is((SELECT array_agg(outcome ORDER BY item) FROM prm.lms_ingest((SELECT jsonb_agg(jsonb_build_object('kind', 'attempt', 'external_ref', 'm' || i, 'partner_user_id', 4 + i % 2, 'exam', 'final', 'score', 5, 'at', format('2027-%s-01', lpad((1 + i / 2)::text, 2, '0')) || 'T10:00') ORDER BY i)
  FROM generate_series(0, 7) i))), '{inserted,inserted,inserted,inserted,inserted,inserted,rejected,rejected}', 'three of each of two people');
SELECT is((SELECT array_agg(format('%s %s', outcome, message) ORDER BY item) FROM prm.lms_ingest('[{"kind": "attempt", "external_ref": "t", "partner_user_id": 4, "exam": "final", "score": 5, "at": "2027-03-20T10:00"}, {"kind": "attempt", "external_ref": "t", "partner_user_ref": "U4", "exam": "final", "score": 5.0, "at": "2027-03-20T10:00"}]')),
  ARRAY['rejected the limit of 3 attempts in 1 year is used up; the next is possible from 2028-01-01 10:00 on', 'rejected the limit of 3 attempts in 1 year is used up; the next is possible from 2028-01-01 10:00 on'], 'an item that stands twice is rejected twice');

-- What counts, and from when on.
DELETE FROM prm.exam_limit WHERE program_id = :program;
INSERT INTO prm.exam_limit (exam, max_attempts, counts) VALUES ('free', 2, 'failed');
SELECT is(pg_temp.send(6, 'a free 90 2027-01-01', 'b free 10 2027-01-02', 'c free 90 2027-01-03', 'd free 10 2027-01-04', 'e free 90 2027-01-05'), '{inserted,inserted,inserted,inserted,the limit of 2 attempts is used up}', 'only those that failed');
SELECT results_eq($$ SELECT attempts_left, is_possible, next_at FROM prm.exam_attempts_left(6, 'free') $$, $$ VALUES (0, false, NULL::timestamptz) $$, 'and then never again');
UPDATE prm.exam_limit SET counts = 'since_pass' WHERE program_id = :program;
SELECT is((SELECT attempts_left FROM prm.exam_attempts_left(6, 'free')), 1, 'those since it was passed last');
UPDATE prm.exam_limit SET counts = 'all' WHERE program_id = :program;
SELECT is((SELECT attempts_left FROM prm.exam_attempts_left(6, 'free')), 0, 'all');
UPDATE prm.exam_limit SET counts_from = '2027-01-04' WHERE program_id = :program;
SELECT is((SELECT attempts_left FROM prm.exam_attempts_left(6, 'free')), 1, 'from a day on');
SELECT is(pg_temp.send(6, 'f free 1 2027-01-03 23:59', 'g free 1 2027-01-04 00:00', 'h free 1 2027-01-05 00:00'), '{inserted,inserted,the limit of 2 attempts is used up}', 'in the zone of the programme: what lies before neither counts nor is judged');
UPDATE prm.exam_limit SET is_active = false WHERE program_id = :program;
SELECT is((SELECT attempts_left FROM prm.exam_attempts_left(6, 'free')), NULL, 'a limit that is off limits nothing');
INSERT INTO prm.exam_limit (exam, retry_after) VALUES ('free', '1 day');
SELECT is(pg_temp.send(7, 'a free 1 2027-03-27 12:00', 'b free 90 2027-03-28 11:59', 'c free 90 2027-03-28 12:00', 'd free 1 2027-03-28 12:01'), ARRAY['inserted', 'the attempt of 2027-03-27 12:00 failed; the next is possible from 2027-03-28 12:00 on', 'inserted', 'inserted'],
  'a wait alone, by the calendar: that night an hour was missing; after a passed one there is none');

INSERT INTO prm.exam_attempt (partner_user_id, exam, score, attempted_at) VALUES (7, 'free', 90, '2027-03-28 13:00+02');
SELECT is(pg_temp.send(7, 'e free 1 2027-03-28 12:30', 'f free 90 2027-03-28 13:30'), ARRAY['the attempt of 2027-03-28 12:01 failed; the next is possible from 2027-03-29 12:01 on', 'inserted'], 'once it was passed, what failed before makes nobody wait');

-- Of a certification: the exams of its tracks together. Several limits all count.
INSERT INTO prm.exam_limit (certification, max_attempts, period) VALUES ('expert', 3, '6 months');
INSERT INTO prm.exam_limit (exam, max_attempts) VALUES ('quiz', 1);
SELECT is(pg_temp.send(8, 'a oral 1 2027-01-01', 'b quiz 1 2027-01-02', 'c oral 1 2027-01-03', 'd oral 90 2027-01-04', 'e quiz 1 2027-09-01'),
  ARRAY['inserted', 'inserted', 'inserted', 'the limit of 3 attempts in 6 mons is used up; the next is possible from 2027-07-01 09:00 on', 'the limit of 1 attempts is used up'], 'two exams, one limit');
UPDATE prm.track SET is_active = false WHERE program_id = :program AND track = 'path';
SELECT is(pg_temp.send(8, 'd oral 90 2027-01-04'), '{inserted}', 'of active tracks');
UPDATE prm.track SET is_active = true WHERE program_id = :program AND track = 'path';
INSERT INTO prm.exam_attempt (partner_user_id, exam, score, attempted_at) VALUES (8, 'quiz', 90, '2027-10-01');
SELECT is((SELECT count(*) FROM prm.exam_attempt WHERE program_id = :program AND partner_user_id = 8 AND exam = 'quiz'), 2::bigint, 'a row that is inserted by hand is an exception');
INSERT INTO prm.track_enrolment (partner_user_id, track) VALUES (9, 'path');
SELECT results_eq($$ SELECT exam, label, attempts, attempts_left, is_possible FROM prm.v_exam_attempts WHERE program_id = prm.current_program() AND partner_user_id IN (8, 9) ORDER BY partner_user_id, exam $$,
  $$ VALUES ('oral', 'Oral', 3::bigint, 2, true), ('quiz', 'Quiz', 2, 0, false), ('oral', 'Oral', 0, 3, true), ('quiz', 'Quiz', 0, 1, true) $$, 'who is to take an exam, too');
SELECT throws_ok($$ INSERT INTO prm.exam_limit (exam, period) VALUES ('quiz', '1 year') $$, '23514', NULL, 'a period without a number');
SELECT throws_ok($$ INSERT INTO prm.exam_limit (max_attempts) VALUES (1) $$, '23514', NULL, 'of nothing');
SELECT throws_ok($$ SELECT prm.exam_attempts_left(99) $$, '42704', 'person 99 does not exist', 'unknown person');
SELECT throws_ok($$ SELECT prm.exam_attempts_left(1, 'x') $$, '42704', 'exam "x" does not exist', 'unknown exam');

-- Many people at once.
INSERT INTO prm.partner_user (partner_user_id, partner_id, name) SELECT i, 1, 'm' FROM generate_series(1001, 3000) i;
SELECT is((SELECT array_agg(format('%s %s', outcome, n) ORDER BY outcome) FROM (SELECT outcome, count(*) AS n FROM prm.lms_ingest((SELECT jsonb_agg(jsonb_build_object('kind', 'attempt', 'external_ref', 'many' || i, 'partner_user_id', 1001 + i % 2000, 'exam', 'quiz', 'score', 5, 'at', '2027-01-01T10:00')) FROM generate_series(0, 3999) i)) GROUP BY 1) x),
  '{"inserted 2000","rejected 2000"}', 'one of two thousand people each');

-- Items that repeat each other: the first sound one counts, by what they mean; an enrolment that says something else is not lost in silence.
SELECT results_eq($$ SELECT outcome, message FROM prm.lms_ingest('[
  {"kind": "attempt", "external_ref": "q1", "partner_user_id": 1, "exam": "final", "score": "bad", "at": "2027-03-20T10:00"},
  {"kind": "attempt", "external_ref": "q1", "partner_user_id": 1, "exam": "final", "score": 60, "at": "2027-03-20T10:00"},
  {"kind": "attempt", "external_ref": "q1", "partner_user_ref": "U1", "exam": "final", "score": 60.0, "at": "2027-03-20T09:00:00Z"},
  {"kind": "attempt", "external_ref": "q1", "partner_user_ref": "U1", "exam": "final", "score": 61, "at": "2027-03-20T09:00:00Z"},
  {"kind": "enrolment", "partner_user_id": 1, "track": "path", "due_on": "2028-06-01"},
  {"kind": "enrolment", "partner_user_ref": "U1", "track": "path", "due_on": "2028-06-01"},
  {"kind": "enrolment", "partner_user_id": 1, "track": "path", "due_on": "2028-07-01"}]') $$,
  $$ VALUES ('rejected', 'score is no number of zero or more'), ('inserted', NULL), ('unchanged', NULL), ('rejected', 'an earlier item of the batch says something else under the same external_ref'),
    ('inserted', NULL), ('unchanged', NULL), ('rejected', 'an earlier item of the batch says something else of the same person and track') $$, 'by their meaning');

-- A completion that is corrected awards, too.
INSERT INTO prm.course (course, label) VALUES ('one', 'One'), ('two', 'Two');
INSERT INTO prm.certification (certification, label) VALUES ('short', 'Short');
INSERT INTO prm.track (track, label, certification) VALUES ('short', 'Short', 'short');
INSERT INTO prm.track_step (track, position, course) VALUES ('short', 1, 'two');
SELECT prm.lms_ingest('[{"kind": "completion", "external_ref": "k1", "partner_user_id": 1, "course": "one", "at": "2027-03-20T10:00"}]');
SELECT prm.lms_ingest('[{"kind": "completion", "external_ref": "k1", "partner_user_id": 1, "course": "two", "at": "2027-03-20T10:00"}]');
SELECT is((SELECT issued_on FROM prm.certificate WHERE program_id = :program AND certification = 'short'), '2027-03-20'::date, 'a course that was reported wrongly and is corrected');

-- A partner sees how its own people stand.
CREATE ROLE exam_limit_test_partner;
SELECT prm.grant_access('exam_limit_test_partner', 'partner');
INSERT INTO prm.partner_login (role_name, partner_id) VALUES ('exam_limit_test_partner', 2);
SET LOCAL ROLE exam_limit_test_partner;
SELECT is((SELECT array_agg(DISTINCT partner_id) FROM prm.v_exam_attempts), '{2}', 'its own people');
SELECT is((SELECT attempts_left FROM prm.exam_attempts_left(9, 'quiz')), 1, 'with what is left to them');
SELECT throws_ok($$ SELECT prm.exam_attempts_left(2, 'quiz') $$, '42704', NULL, 'nobody else''s');
SELECT throws_ok($$ DELETE FROM prm.exam_limit $$, '42501', NULL, 'which it does not change');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
