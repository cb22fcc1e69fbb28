-- Certification and training: terms and renewal, revocation, tracks that award, what an LMS sends, reminders, what depends on a
-- certificate, coverage, and who may see it. Acceptance case CRT-001.
BEGIN;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SET LOCAL prm.clock = '2026-01-10 12:00+00';
SELECT set_config('prm.program_id', prm.create_program('pgTAP certification', 'blank', 'EUR', 'Europe/Berlin')::text, true) AS program \gset
-- The numbers that are given out must not meet those that are written here.
SELECT setval(pg_get_serial_sequence('prm.certificate', 'certificate_id'), greatest(nextval(pg_get_serial_sequence('prm.certificate', 'certificate_id')), 1000));
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'Ann'), (2, 'Bob');
INSERT INTO prm.partner_user (partner_user_id, partner_id, name, email, external_ref) VALUES (1, 1, 'Ada', 'ada@ann.example', 'U1'), (2, 1, 'Abe', NULL, 'U2'), (3, 1, 'Amy', NULL, 'U3'), (4, 2, 'Ben', NULL, 'U4'), (5, 2, 'Bea', NULL, 'U5');
INSERT INTO prm.certification (certification, label, valid_months, renewal_days, renew_from, reminder_days) VALUES
  ('sales', 'Sales', 12, 60, 'end', '{30,7}'), ('technical', 'Technical', 12, 60, 'day', '{}'), ('ethics', 'Ethics', NULL, 90, 'end', '{}');

-- The term.
INSERT INTO prm.certificate (certificate_id, partner_user_id, certification, issued_on, valid_until) VALUES (1, 1, 'sales', '2026-01-10', NULL), (2, 1, 'ethics', '2026-01-10', NULL), (3, 2, 'technical', '2024-02-29', NULL),
  (4, 3, 'sales', '2026-01-10', '2026-03-31');
SELECT results_eq($$ SELECT certificate_id, partner_id, valid_until FROM prm.certificate WHERE program_id = prm.current_program() ORDER BY 1 $$,
  $$ VALUES (1::bigint, 1::bigint, '2027-01-09'::date), (2, 1, NULL), (3, 1, '2025-02-27'), (4, 1, '2026-03-31') $$, 'the term of the certification fills the last day, unless it is given; the partner is that of the person');
SELECT throws_ok($$ INSERT INTO prm.certificate (partner_user_id, certification, issued_on) VALUES (99, 'sales', '2026-01-10') $$, '23503', 'person 99 does not exist', 'of nobody');
SELECT throws_ok($$ INSERT INTO prm.certificate (partner_user_id, certification, issued_on) VALUES (1, 'magic', '2026-01-10') $$, '23503', NULL, 'of nothing');

-- Renewal: in the window from the end or from the day; before it and after the end from the day.
SELECT throws_ok($$ SELECT prm.renew_certificate(1) $$, '55000', 'certificate 1 cannot be renewed', 'too early');
SELECT throws_ok($$ SELECT prm.renew_certificate(2) $$, '55000', NULL, 'without end');
SELECT throws_ok($$ SELECT prm.renew_certificate(99) $$, '42704', 'certificate 99 does not exist', 'unknown');
SET LOCAL prm.clock = '2026-11-10 12:00+00';
SELECT prm.renew_certificate(1) AS renewal \gset
SELECT is((SELECT format('%s %s %s', issued_on, valid_until, renews_id) FROM prm.certificate WHERE program_id = :program AND certificate_id = :renewal), '2026-11-10 2028-01-09 1', 'on the first day of the window: it counts from the end of the old one');
SELECT is(prm.renew_certificate(1), :renewal::bigint, 'a second click renews nothing');
SELECT is((SELECT count(*) FROM prm.certificate WHERE program_id = :program AND partner_user_id = 1 AND certification = 'sales'), 2::bigint, 'one renewal');
INSERT INTO prm.certificate (certificate_id, partner_user_id, certification, issued_on) VALUES (10, 4, 'technical', '2026-01-10'), (11, 4, 'technical', '2026-11-20'), (12, 5, 'sales', '2026-01-10'), (13, 5, 'sales', '2026-11-09');
SELECT results_eq($$ SELECT certificate_id, valid_until, renews_id FROM prm.certificate WHERE program_id = prm.current_program() AND certificate_id IN (11, 13) ORDER BY 1 $$,
  $$ VALUES (11::bigint, '2027-11-19'::date, 10::bigint), (13, '2027-11-08', NULL) $$, 'by the policy from the day; and a day before the window it is a certificate of its own');
SELECT prm.renew_certificate(4) AS late \gset
SELECT is((SELECT format('%s %s', valid_until, renews_id) FROM prm.certificate WHERE program_id = :program AND certificate_id = :late), '2027-11-09 4', 'after the end it counts from the day');

SELECT throws_ok($$ DELETE FROM prm.certificate WHERE program_id = prm.current_program() AND certificate_id = 1 $$, '23503', NULL, 'what was renewed is not deleted, and its renewal with it');
SELECT is((SELECT count(*) FROM prm.certificate WHERE program_id = :program AND certificate_id = :renewal), 1::bigint, 'the renewal stands');
INSERT INTO prm.partner_user (partner_user_id, partner_id, name) VALUES (91, 2, 'Bo');
INSERT INTO prm.certificate (partner_user_id, certification, issued_on) VALUES (91, 'sales', '2025-12-01'), (91, 'sales', '2026-10-20');
SELECT lives_ok($$ DELETE FROM prm.partner_user WHERE program_id = prm.current_program() AND partner_user_id = 91 $$, 'with the person all of them go');

-- Revocation is a row; the certificate ends the day before.
SET LOCAL prm.actor = 'auditor';
SELECT is(prm.revoke_certificate(13, 'not taken in person', '2026-12-01'), '2026-12-01'::date, 'revoked from a day on');
SELECT is((SELECT format('%s %s %s %s', c.valid_until, r.valid_until_before, r.partner_id, r.actor) FROM prm.certificate c JOIN prm.certificate_revocation r USING (program_id, certificate_id) WHERE program_id = :program AND certificate_id = 13),
  '2026-11-30 2027-11-08 2 auditor', 'what it was before is kept, and who did it');
SELECT throws_ok($$ SELECT prm.revoke_certificate(13, 'again') $$, '23505', NULL, 'once');
SELECT throws_ok($$ SELECT prm.revoke_certificate(3, 'late') $$, '55000', 'certificate 3 is not valid any more', 'what has ended cannot be revoked');
SELECT throws_ok($$ SELECT prm.revoke_certificate(1, ' ') $$, '22023', NULL, 'with a reason');
SELECT throws_ok($$ SELECT prm.revoke_certificate(99, 'x') $$, '42704', NULL, 'unknown');
SELECT throws_ok($$ UPDATE prm.certificate SET valid_until = '2028-01-01' WHERE certificate_id = 13 $$, '55000', 'certificate 13 was revoked', 'a revoked certificate is not prolonged');
SELECT throws_ok($$ UPDATE prm.certificate_revocation SET reason = 'other' WHERE certificate_id = 13 $$, '55000', NULL, 'a revocation is not changed');
SELECT throws_ok($$ SELECT prm.renew_certificate(13) $$, '55000', NULL, 'nor is it renewed');
INSERT INTO prm.certificate (certificate_id, partner_user_id, certification, issued_on) VALUES (14, 5, 'technical', '2026-11-10');
SELECT is(prm.revoke_certificate(14, 'by mistake'), '2026-11-10'::date, 'on the day of issue');
SELECT is((SELECT status FROM prm.v_certificate WHERE program_id = :program AND certificate_id = 14), 'revoked', 'it never held');
RESET prm.actor;

-- CRT-001: valid 12 months, the tier needs two valid; one expires.
INSERT INTO prm.metric (metric, label, source) VALUES ('certified_people', 'c', 'built_in') ON CONFLICT DO NOTHING;
INSERT INTO prm.tier (tier, rank, label) VALUES ('base', 1, 'Base'), ('silver', 2, 'Silver'), ('gold', 3, 'Gold');
INSERT INTO prm.tier_policy (promotion, review, grace, entry_tier) VALUES ('at_once', '0', '3 months', 'base');
INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('silver', 'certified_people', 1), ('gold', 'certified_people', 2);
INSERT INTO prm.benefit (tier, benefit, value) VALUES ('silver', 'discount', '10'), ('gold', 'discount', '20'), ('gold', 'support', 'dedicated'), ('base', 'portal', 'yes'), ('silver', 'portal', 'yes'), ('gold', 'portal', 'yes');
INSERT INTO prm.partner (partner_id, name) VALUES (3, 'Cid');
INSERT INTO prm.partner_user (partner_user_id, partner_id, name) VALUES (31, 3, 'Cara'), (32, 3, 'Carl');
SET LOCAL prm.clock = '2026-01-10 12:00+00';
INSERT INTO prm.certificate (certificate_id, partner_user_id, certification, issued_on) VALUES (31, 31, 'sales', '2026-01-01'), (32, 32, 'sales', '2026-01-10');
SELECT is((SELECT tier FROM prm.partner WHERE program_id = :program AND partner_id = 3), 'gold', 'CRT-001: two valid certificates give the tier');
SET LOCAL prm.clock = '2026-12-31 22:59+00';
SELECT is((SELECT array_agg(m.value ORDER BY t.at) FROM unnest('{2026-12-31 22:59+00,2026-12-31 23:00+00}'::timestamptz[]) AS t(at) CROSS JOIN LATERAL prm._certified_people(:program, '{3}', t.at, '{sales}') m),
  '{2,1}', 'CRT-001: the metric, too, counts through the last day');
SELECT is((SELECT outcome FROM prm.evaluate_tiers(3, dry_run => true)), 'keep', 'CRT-001: the certificate counts through its last day in Berlin');
SET LOCAL prm.clock = '2026-12-31 23:00+00';
SELECT is((SELECT format('%s %s', outcome, effective_on) FROM prm.evaluate_tiers(3)), 'at_risk 2027-04-01', 'CRT-001: at midnight the tier is at risk, and the grace of three months has begun');
SELECT is((SELECT tier FROM prm.partner WHERE program_id = :program AND partner_id = 3), 'gold', 'CRT-001: which it keeps meanwhile');

-- What depends on it.
SET LOCAL prm.clock = '2026-10-01 12:00+00';
UPDATE prm.enrolment SET standing = 'active', at_risk_on = NULL, grace_on = NULL, review_on = NULL WHERE program_id = :program AND partner_id = 3;
SELECT results_eq($$ SELECT certificate_id, lapses_on, tier, metric, need, have, have_after, requirement_fails, tier_falls, to_tier, benefits FROM prm.certificate_impact(3) $$,
  $$ VALUES (31::bigint, '2027-01-01'::date, 'gold', 'certified_people', 2::numeric, 2::numeric, 1::numeric, true, true, 'silver', '{"discount: 20 -> 10","support: dedicated -> none"}'::text[]),
            (32, '2027-01-10', 'gold', 'certified_people', 2, 1, 0, false, false, NULL, NULL) $$, 'the first to end takes the tier with it; the other comes too late to matter');
INSERT INTO prm.tier_requirement (tier, track, metric, threshold) VALUES ('gold', 'other', 'revenue_12m', 1000);
INSERT INTO prm.metric (metric, label, source) VALUES ('revenue_12m', 'r', 'built_in') ON CONFLICT DO NOTHING;
INSERT INTO prm.deal (deal_id, partner_id, name, amount, currency) VALUES (1, 3, 'D', 5000, 'EUR');
UPDATE prm.deal SET state = 'proposal' WHERE program_id = :program;
UPDATE prm.deal SET state = 'negotiation' WHERE program_id = :program;
UPDATE prm.deal SET state = 'won' WHERE program_id = :program;
SELECT is((SELECT format('%s %s', requirement_fails, tier_falls) FROM prm.certificate_impact(3) WHERE certificate_id = 31), 't f', 'another track holds the tier');
DELETE FROM prm.tier_requirement WHERE program_id = :program AND track = 'other';
SELECT prm.pin_tier(3, 'gold', '2027-06-01', 'promised');
SELECT is((SELECT format('%s %s', requirement_fails, tier_falls) FROM prm.certificate_impact(3) WHERE certificate_id = 31), 't f', 'a pin does, too');
UPDATE prm.enrolment SET pinned_until = NULL, pin_reason = NULL WHERE program_id = :program AND partner_id = 3;
SET LOCAL prm.clock = '2026-12-01 12:00+00';
SELECT is((SELECT count(*) FROM prm.v_certificate_impact WHERE program_id = :program AND partner_id = 3 AND tier_falls), 1::bigint, 'the view says the same');
SELECT prm.renew_certificate(31) AS renewal31 \gset
SELECT is((SELECT format('%s %s', have_after, tier_falls) FROM prm.certificate_impact(3) WHERE certificate_id = 31), '2 f', 'a renewal in time saves it');
INSERT INTO prm.metric (metric, label, source, measure, certification) VALUES ('sales_people', 's', 'built_in', 'certified_people', 'sales');
INSERT INTO prm.tier_requirement (tier, metric, threshold, weight) VALUES ('gold', 'sales_people', 2, 10);
INSERT INTO prm.certificate (certificate_id, partner_user_id, certification, issued_on, valid_until) VALUES (33, 32, 'technical', '2026-11-01', '2028-11-01');
SELECT results_eq($$ SELECT certificate_id, lapses_on, metric, have, have_after, tier_falls FROM prm.certificate_impact(3) WHERE certificate_id = 32 ORDER BY metric $$,
  $$ VALUES (32::bigint, '2027-01-10'::date, 'certified_people', 2::numeric, 2::numeric, true), (32, '2027-01-10', 'sales_people', 2, 1, true) $$, 'a metric of one certification fails though people are certified otherwise');
SELECT is((SELECT count(*) FROM prm.certificate_impact(3) WHERE certificate_id = 33 AND metric = 'sales_people'), 0::bigint, 'a certificate of another certification is none of its business');
INSERT INTO prm.tier_track (tier, mode, mark) VALUES ('gold', 'score', 6);
SELECT is((SELECT array_agg(DISTINCT tier_falls) FROM prm.certificate_impact(3) WHERE certificate_id = 32), '{f}', 'a track that is judged by a score: half of the sales people is still enough');
UPDATE prm.tier_track SET mark = 7 WHERE program_id = :program;
SELECT is((SELECT array_agg(DISTINCT tier_falls) FROM prm.certificate_impact(3) WHERE certificate_id = 32), '{t}', 'and here it is not');
DELETE FROM prm.tier_track WHERE program_id = :program;
DELETE FROM prm.tier_requirement WHERE program_id = :program AND metric = 'sales_people';
INSERT INTO prm.benefit (certification, min_people, benefit, value) VALUES ('sales', 2, 'demo kit', 'large'), ('sales', 1, 'logo', 'yes');
SELECT results_eq($$ SELECT lapses_on, need, have, have_after, benefits FROM prm.certificate_impact(3) WHERE ladder IS NULL AND certificate_id = 32 $$,
  $$ VALUES ('2027-01-10'::date, 2::numeric, 2::numeric, 1::numeric, '{"demo kit: large -> none"}'::text[]) $$, 'a benefit that comes with certificates goes with them');
DELETE FROM prm.benefit WHERE program_id = :program AND certification IS NOT NULL;
DELETE FROM prm.certificate WHERE program_id = :program AND certificate_id = 33;
SELECT throws_ok($$ SELECT prm.certificate_impact(99) $$, '42704', NULL, 'unknown partner');

-- Coverage and metrics: distinct active people, through the last day.
SELECT results_eq($$ SELECT partner_id, people, certified, coverage, next_lapse_on FROM prm.v_certification_coverage WHERE program_id = prm.current_program() AND certification = 'sales' ORDER BY 1 $$,
  $$ VALUES (1::bigint, 3::bigint, 2::bigint, 0.6667, '2027-11-10'::date), (2, 2, 1, 0.5, '2027-01-10'), (3, 2, 2, 1.0, '2027-01-10') $$, 'who covers what today, and when that lapses');
INSERT INTO prm.metric (metric, label, source, measure, certification) VALUES ('technical_people', 't', 'built_in', 'certified_people', 'technical'), ('coverage', 'c', 'built_in', 'training_coverage', NULL),
  ('technical_coverage', 'c', 'built_in', 'training_coverage', 'technical');
SELECT results_eq($$ SELECT partner_id, metric, value FROM prm._metric_values(prm.current_program(), '{1,2}', prm.now(), '{certified_people,technical_people,coverage,technical_coverage}') ORDER BY 1, 2 $$,
  $$ VALUES (1::bigint, 'certified_people', 2::numeric), (1, 'coverage', 0.666667), (1, 'technical_coverage', 0), (1, 'technical_people', 0), (2, 'certified_people', 2), (2, 'coverage', 1), (2, 'technical_coverage', 0.5), (2, 'technical_people', 1) $$,
  'as metrics, of one certification too');
SELECT is((SELECT array_agg(format('%s %s', metric, value) ORDER BY metric) FROM prm._certified_people(:program, '{2}', prm.now(), '{sales,technical,ethics}')), '{"ethics 0","sales 1","technical 1"}', 'people by certification');
UPDATE prm.partner_user SET is_active = false WHERE program_id = :program AND partner_user_id = 5;
SELECT is((SELECT value FROM prm._certified_people(:program, '{2}', prm.now(), '{sales}')), 0::numeric, 'who left does not count');
SELECT throws_ok($$ INSERT INTO prm.metric (metric, label, source, measure, certification) VALUES ('odd', 'o', 'built_in', 'active_people', 'technical') $$, '23514', NULL, 'only where certificates are counted');

-- A person who goes to another partner takes the certificates along.
UPDATE prm.partner_user SET partner_id = 2 WHERE program_id = :program AND partner_user_id = 2;
SELECT is((SELECT partner_id FROM prm.certificate WHERE program_id = :program AND certificate_id = 3), 2::bigint, 'they follow');
UPDATE prm.partner_user SET partner_id = 1 WHERE program_id = :program AND partner_user_id = 2;

-- Tracks: courses and exams in their order, and the certificate when the last required step is done.
SET LOCAL prm.clock = '2027-06-15 12:00+00';
INSERT INTO prm.certification (certification, label, valid_months, renewal_days) VALUES ('expert', 'Expert', 12, 60);
INSERT INTO prm.course (course, label) VALUES ('intro', 'Intro'), ('deep', 'Deep dive'), ('extra', 'Extra');
INSERT INTO prm.exam (exam, label, pass_mark) VALUES ('final', 'Final exam', 80);
INSERT INTO prm.track (track, label, certification) VALUES ('path', 'Path', 'expert');
INSERT INTO prm.track_step (track, position, course, exam, is_required, is_renewal) VALUES ('path', 1, 'intro', NULL, true, false), ('path', 2, 'deep', NULL, true, false), ('path', 3, 'extra', NULL, false, false), ('path', 4, NULL, 'final', true, true);
SELECT throws_ok($$ INSERT INTO prm.track_step (track, position, course, exam) VALUES ('path', 5, 'extra', 'final') $$, '23514', NULL, 'a step is one thing');

SELECT results_eq($$ SELECT item, outcome, message FROM prm.lms_ingest('[
  {"kind": "enrolment", "partner_user_ref": "U1", "track": "path", "due_on": "2027-06-10"},
  {"kind": "completion", "external_ref": "c1", "partner_user_ref": "U1", "course": "intro", "at": "2027-06-01T09:00:00Z"},
  {"kind": "attempt", "external_ref": "a1", "partner_user_id": 1, "exam": "final", "score": 79.5, "at": "2027-06-02T09:00:00Z"},
  {"kind": "attempt", "external_ref": "a2", "partner_user_id": "1", "exam": "final", "score": 80, "at": "2027-06-03 23:30"},
  {"kind": "attempt", "external_ref": "a1", "partner_user_id": 1, "exam": "final", "score": 79.5, "at": "2027-06-02T09:00:00Z"},
  {"kind": "certificate", "external_ref": "z1", "partner_user_ref": "U3", "certification": "technical", "issued_on": "2027-06-01"},
  {"kind": "attempt", "external_ref": "f1", "partner_user_ref": "U9", "exam": "final", "score": 80, "at": "2027-06-03"},
  {"kind": "attempt", "external_ref": "f2", "partner_user_ref": "U1", "exam": "finals", "score": 80, "at": "2027-06-03T00:00"},
  {"kind": "completion", "external_ref": "f3", "partner_user_ref": "U1", "course": "outro", "at": "2027-06-03T00:00"},
  {"kind": "attempt", "external_ref": "f4", "partner_user_ref": "U1", "exam": "final", "score": "good", "at": "2027-06-03T00:00"},
  {"kind": "attempt", "external_ref": "f5", "partner_user_ref": "U1", "exam": "final", "score": 101, "at": "2027-06-03T00:00"},
  {"kind": "attempt", "external_ref": "f6", "partner_user_ref": "U1", "exam": "final", "score": 80, "at": "2027-02-30T00:00"},
  {"kind": "attempt", "external_ref": "f7", "partner_user_ref": "U1", "exam": "final", "score": 80, "at": "2027-06-20T00:00"},
  {"kind": "certificate", "external_ref": "f8", "partner_user_ref": "U1", "certification": "sales", "issued_on": "2027-13-01"},
  {"kind": "certificate", "external_ref": "f9", "partner_user_ref": "U1", "certification": "sales", "issued_on": "2027-06-01", "valid_until": "2027-05-01"},
  {"kind": "certificate", "partner_user_ref": "U1", "certification": "sales", "issued_on": "2027-06-01"},
  {"kind": "degree", "external_ref": "g1", "partner_user_ref": "U1"},
  {"kind": "attempt", "external_ref": "g2", "partner_user_ref": "U1", "exam": "final", "score": 80, "at": "2027-06-03T00:00", "mark": 3},
  {"kind": "attempt", "external_ref": "a2", "partner_user_id": 1, "exam": "final", "score": 90, "at": "2027-06-03 23:30"},
  7, null]') $$, $$ VALUES (1, 'inserted', NULL), (2, 'inserted', NULL), (3, 'inserted', NULL), (4, 'inserted', NULL), (5, 'unchanged', NULL), (6, 'inserted', NULL), (7, 'rejected', 'there is no such person'),
  (8, 'rejected', 'exam "finals" is not in prm.exam'), (9, 'rejected', 'course "outro" is not in prm.course'), (10, 'rejected', 'score is no number of zero or more'), (11, 'rejected', 'score is above 100, the highest there is'),
  (12, 'rejected', 'at is no moment in ISO 8601'), (13, 'rejected', 'at lies in the future'), (14, 'rejected', 'issued_on is no date'), (15, 'rejected', 'valid_until lies before issued_on'),
  (16, 'rejected', 'external_ref is missing: without it a batch could not be sent again'), (17, 'rejected', 'kind is attempt, completion, certificate or enrolment'), (18, 'rejected', 'there is no field "mark"'),
  (19, 'rejected', 'an earlier item of the batch says something else under the same external_ref'), (20, 'rejected', 'it is no JSON object'), (21, 'rejected', 'it is no JSON object') $$, 'a bad item does not stop the others');
SELECT is((SELECT array_agg(passed ORDER BY external_ref) FROM prm.exam_attempt WHERE program_id = :program), '{f,t}', 'the pass mark is passed, a half below it is not');
SELECT is((SELECT format('%s %s %s %s %s', steps, done, progress, next_step, is_overdue) FROM prm.v_training WHERE program_id = :program AND partner_user_id = 1), '3 2 0.6667 deep t', 'how far she is');
SELECT is((SELECT count(*) FROM prm.certificate WHERE program_id = :program AND certification = 'expert'), 0::bigint, 'a step is missing: no certificate');
SELECT is((SELECT array_agg(outcome) FROM prm.lms_ingest('[{"kind": "completion", "external_ref": "c2", "partner_user_ref": "U1", "course": "deep", "at": "2027-06-04T22:30:00Z"}, {"kind": "completion", "external_ref": "c2", "partner_user_ref": "U1", "course": "deep", "at": "2027-06-04T22:30:00Z"}]')), '{inserted,unchanged}', 'the last step');
SELECT is((SELECT format('%s %s %s', issued_on, valid_until, source) FROM prm.certificate WHERE program_id = :program AND certification = 'expert'), '2027-06-05 2028-06-04 track', 'awards the certificate, on the day in Berlin');
SELECT is((SELECT format('%s %s %s', progress, completed_on, certified_until) FROM prm.v_training WHERE program_id = :program AND partner_user_id = 1), '1.0000 2027-06-05 2028-06-04', 'and she is done');
SELECT is(prm.award_certificates(), 0::bigint, 'looked at again: nothing');
CREATE TEMP TABLE before AS SELECT 'a' AS kind, exam_attempt_id AS id, to_jsonb(t) AS row FROM prm.exam_attempt t UNION ALL SELECT 'c', course_completion_id, to_jsonb(t) FROM prm.course_completion t
  UNION ALL SELECT 'z', certificate_id, to_jsonb(t) FROM prm.certificate t UNION ALL SELECT 'e', partner_user_id, to_jsonb(t) FROM prm.track_enrolment t;
SELECT is((SELECT array_agg(outcome ORDER BY item) FROM prm.lms_ingest('[
  {"kind": "enrolment", "partner_user_ref": "U1", "track": "path", "due_on": "2027-06-10"},
  {"kind": "completion", "external_ref": "c1", "partner_user_ref": "U1", "course": "intro", "at": "2027-06-01T09:00:00Z"},
  {"kind": "attempt", "external_ref": "a2", "partner_user_id": 1, "exam": "final", "score": 80.0, "at": "2027-06-03 23:30"},
  {"kind": "certificate", "external_ref": "z1", "partner_user_ref": "U3", "certification": "technical", "issued_on": "2027-06-01"}]')), '{unchanged,unchanged,unchanged,unchanged}', 'sent again');
SELECT is_empty($$ (TABLE before EXCEPT ALL (SELECT 'a' AS kind, exam_attempt_id, to_jsonb(t) FROM prm.exam_attempt t UNION ALL SELECT 'c', course_completion_id, to_jsonb(t) FROM prm.course_completion t
  UNION ALL SELECT 'z', certificate_id, to_jsonb(t) FROM prm.certificate t UNION ALL SELECT 'e', partner_user_id, to_jsonb(t) FROM prm.track_enrolment t)) $$, 'not a row is written');
SELECT results_eq($$ SELECT outcome, message FROM prm.lms_ingest('[
  {"kind": "attempt", "external_ref": "a1", "partner_user_id": 1, "exam": "final", "score": 85, "at": "2027-06-02T09:00:00Z"},
  {"kind": "attempt", "external_ref": "a2", "partner_user_id": 2, "exam": "final", "score": 80, "at": "2027-06-03 23:30"},
  {"kind": "certificate", "external_ref": "z1", "partner_user_ref": "U3", "certification": "technical", "issued_on": "2027-06-01", "valid_until": "2027-12-31"},
  {"kind": "enrolment", "partner_user_ref": "U1", "track": "path", "due_on": "2027-07-10"}]') $$,
  $$ VALUES ('updated', NULL), ('rejected', 'the external_ref is of another person'), ('updated', NULL), ('updated', NULL) $$, 'corrections are taken');
SELECT is((SELECT format('%s %s', valid_until, (SELECT passed FROM prm.exam_attempt WHERE program_id = :program AND external_ref = 'a1')) FROM prm.certificate WHERE program_id = :program AND external_ref = 'z1'), '2027-12-31 t', 'and written');
SELECT prm.revoke_certificate((SELECT certificate_id FROM prm.certificate WHERE program_id = :program AND external_ref = 'z1'), 'fraud');
SELECT results_eq($$ SELECT outcome, message FROM prm.lms_ingest('[{"kind": "certificate", "external_ref": "z1", "partner_user_ref": "U3", "certification": "technical", "issued_on": "2027-06-01", "valid_until": "2027-12-31"},
  {"kind": "certificate", "external_ref": "z1 ", "partner_user_ref": "U3", "certification": "ethics", "issued_on": "2027-06-01"}]') $$, $$ VALUES ('unchanged', NULL), ('inserted', NULL) $$, 'a revoked one that is sent again stays revoked');
SELECT results_eq($$ SELECT outcome, message FROM prm.lms_ingest('[{"kind": "certificate", "external_ref": "z1", "partner_user_ref": "U3", "certification": "technical", "issued_on": "2027-06-01", "valid_until": "2028-12-31"}]') $$,
  $$ VALUES ('rejected', 'the certificate was revoked') $$, 'and cannot be corrected');
INSERT INTO prm.external_id (system, kind, external_ref, id) VALUES ('lms', 'partner_user', 'moodle-7', 2);
SELECT is((SELECT outcome FROM prm.lms_ingest('[{"kind": "completion", "external_ref": "c9", "partner_user_ref": "moodle-7", "course": "intro", "at": "2027-06-01T09:00:00Z"}]')), 'inserted', 'the LMS''s own id of a person');
SELECT throws_ok($$ SELECT prm.lms_ingest('{}') $$, '22023', 'a batch of the LMS is a JSON array', 'no batch');
SELECT throws_ok($$ SELECT prm.lms_ingest(NULL) $$, '22023', NULL, 'nothing');
SELECT is((SELECT count(*) FROM prm.lms_ingest('[]')), 0::bigint, 'an empty batch');

-- Renewal by a track: only the steps that renew, in the window.
SELECT prm.lms_ingest('[{"kind": "attempt", "external_ref": "r0", "partner_user_id": 1, "exam": "final", "score": 99, "at": "2027-06-10T09:00:00Z"}]');
SELECT is((SELECT count(*) FROM prm.certificate WHERE program_id = :program AND certification = 'expert'), 1::bigint, 'passed again long before the window: nothing');
SET LOCAL prm.clock = '2029-12-01 12:00+00';
SELECT prm.lms_ingest('[{"kind": "attempt", "external_ref": "r1", "partner_user_id": 1, "exam": "final", "score": 99, "at": "2028-05-10T09:00:00Z"}, {"kind": "attempt", "external_ref": "r2", "partner_user_id": 1, "exam": "final", "score": 99, "at": "2029-08-01T09:00:00Z"}]');
SELECT results_eq($$ SELECT issued_on, valid_until FROM prm.certificate WHERE program_id = prm.current_program() AND certification = 'expert' ORDER BY 1 $$,
  $$ VALUES ('2027-06-05'::date, '2028-06-04'::date), ('2028-05-10', '2029-06-04'), ('2029-08-01', '2030-07-31') $$, 'in the window from the end, after the end from the day, also when it is loaded late');
-- A new pass mark judges only what comes.
UPDATE prm.exam SET pass_mark = 100 WHERE program_id = :program;
SELECT is((SELECT count(*) FROM prm.exam_attempt WHERE program_id = :program AND passed), 5::bigint, 'who passed has passed');

-- Reminders: each once, by the job.
DELETE FROM prm.outbox WHERE program_id = :program;
INSERT INTO prm.certificate (certificate_id, partner_user_id, certification, issued_on, valid_until) VALUES (50, 3, 'sales', '2029-06-01', '2030-01-31');
SELECT is(prm._work_certificates(:program), 0::bigint, '61 days before: nothing');
SET LOCAL prm.clock = '2029-12-31 22:30+00';
SELECT is(prm._work_certificates(:program), 0::bigint, '31 days before in Berlin');
SET LOCAL prm.clock = '2029-12-31 23:30+00';
SELECT is(prm._work_certificates(:program), 1::bigint, '30 days before');
SELECT is(prm._work_certificates(:program), 0::bigint, 'and again: nothing');
SELECT is((SELECT format('%s %s %s %s', event_type, channel, aggregate_id, payload - 'label' - 'person') FROM prm.outbox WHERE program_id = :program AND aggregate_type = 'certificate'),
  'certificate.expiring email 50 {"days_left": 30, "partner_id": 1, "days_before": 30, "valid_until": "2030-01-31", "certification": "sales", "renewable_from": "2029-12-02", "partner_user_id": 3}', 'what it says');
SET LOCAL prm.clock = '2030-01-26 12:00+00';
SELECT is(prm._work_certificates(:program), 1::bigint, 'the second one, though its day was missed');
SELECT is(prm._work_certificates(:program), 0::bigint, 'once');
INSERT INTO prm.certificate (certificate_id, partner_user_id, certification, issued_on, valid_until) VALUES (51, 2, 'sales', '2029-06-01', '2030-01-31'), (52, 4, 'sales', '2029-06-01', '2030-01-31'), (53, 5, 'sales', '2029-06-01', '2030-01-31'), (54, 4, 'sales', '2030-01-05', '2031-01-31');
SELECT is(prm._work_certificates(:program), 1::bigint, 'of two that are due at once only the nearest; not who renewed, not who left');
SELECT is((SELECT array_agg(format('%s %s', days_before, is_sent) ORDER BY days_before) FROM prm.certificate_reminder WHERE program_id = :program AND certificate_id = 51), '{"7 t","30 f"}', 'and what it took the place of');
SET LOCAL prm.clock = '2030-02-01 12:00+00';
SELECT is(prm._work_certificates(:program), 0::bigint, 'nothing after the end');
SELECT ok('certificates' = ANY (prm._job_names()), 'run_jobs() does it');
SELECT is(prm._job_step(:program, 'certificates', NULL), NULL, 'by its step');
SELECT is((SELECT outcome FROM prm.job_run WHERE program_id = :program AND job = 'certificates'), 'done', 'once per business day');

-- A partner sees its own people's training and nobody else's; a manager works.
CREATE ROLE certification_test_partner;
CREATE ROLE certification_test_manager;
SELECT prm.grant_access('certification_test_partner', 'partner');
SELECT prm.grant_access('certification_test_manager', 'manager');
INSERT INTO prm.partner_login (role_name, partner_id) VALUES ('certification_test_partner', 2);
SELECT set_config('prm.program_id', prm.create_program('pgTAP certification B', 'blank', 'EUR', 'UTC')::text, true) AS other \gset
INSERT INTO prm.partner (partner_id, name) VALUES (2, 'Other');
INSERT INTO prm.partner_user (partner_user_id, partner_id, name) VALUES (4, 2, 'Olga');
INSERT INTO prm.certification (certification, label) VALUES ('sales', 'Sales');
INSERT INTO prm.certificate (partner_user_id, certification, issued_on) VALUES (4, 'sales', '2026-01-01');
SELECT set_config('prm.program_id', :'program', true);
SET LOCAL ROLE certification_test_partner;
SELECT is((SELECT array_agg(DISTINCT format('%s %s', program_id = :program, partner_id)) FROM prm.certificate), '{"t 2"}', 'certificates of its own people, in its own programme');
SELECT is((SELECT array_agg(DISTINCT partner_id) FROM prm.v_certificate), '{2}', 'the view, too');
SELECT is((SELECT array_agg(DISTINCT partner_id) FROM prm.v_certification_coverage), '{2}', 'and coverage');
SELECT is((SELECT count(*) FROM prm.exam_attempt) + (SELECT count(*) FROM prm.v_training), 0::bigint, 'no attempts of others');
SELECT throws_ok($$ INSERT INTO prm.certificate (partner_user_id, certification, issued_on) VALUES (4, 'sales', '2030-01-01') $$, '42501', NULL, 'it certifies nobody');
SELECT throws_ok($$ SELECT prm.lms_ingest('[{"kind": "completion", "external_ref": "p1", "partner_user_id": 4, "course": "intro", "at": "2027-06-01T09:00:00Z"}]') $$, '42501', NULL, 'nor does it report');
RESET ROLE;
SET LOCAL ROLE certification_test_manager;
SELECT is((SELECT outcome FROM prm.lms_ingest('[{"kind": "completion", "external_ref": "p1", "partner_user_id": 4, "course": "intro", "at": "2027-06-01T09:00:00Z"}]')), 'inserted', 'a manager does');
SELECT is(prm.revoke_certificate(54, 'error'), '2030-02-01'::date, 'and revokes');
SELECT throws_ok($$ DELETE FROM prm.certificate_revocation $$, '42501', NULL, 'but undoes nothing');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
