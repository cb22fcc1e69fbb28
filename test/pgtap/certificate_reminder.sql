-- Reminders of certificates that end, over time travel: the clock goes on day by day, the job of the day runs, and each reminder is
-- written once on its day, to whoever has not renewed by then.
BEGIN;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SET LOCAL prm.clock = '2027-01-01 12:00+01';
SELECT set_config('prm.program_id', prm.create_program('pgTAP reminders', 'blank', 'EUR', 'Europe/Berlin')::text, true) AS program \gset
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'Ann'), (2, 'Bob');
INSERT INTO prm.partner_user (partner_user_id, partner_id, name) SELECT i, 1 + i / 9, 'p' || i FROM generate_series(1, 10) i;
-- As the table says where nothing else is set; by other days; none at all.
INSERT INTO prm.certification (certification, label, valid_months, renewal_days) VALUES ('plain', 'Plain', 12, 90);
INSERT INTO prm.certification (certification, label, valid_months, renewal_days, reminder_days, reminder_channel) VALUES ('own', 'Own', 12, 90, '{10,1,0}', 'portal'), ('quiet', 'Quiet', 12, 90, '{}', 'email');
SELECT is((SELECT reminder_days FROM prm.certification WHERE program_id = :program AND certification = 'plain'), '{60,30,7}', 'by default 60, 30 and 7 days before');
INSERT INTO prm.certificate (certificate_id, partner_user_id, certification, issued_on, valid_until) SELECT 900000 + i, i, CASE i WHEN 2 THEN 'own' WHEN 3 THEN 'quiet' ELSE 'plain' END, '2027-01-01', '2027-12-31' FROM generate_series(1, 10) i;
-- The same person, the same day, by another way; and a certification that is no longer offered.
INSERT INTO prm.certificate (certificate_id, partner_user_id, certification, issued_on, valid_until, source) VALUES (900011, 1, 'plain', '2027-02-01', '2027-12-31', 'lms');
CREATE TEMP TABLE renewals (number bigint);
DO $$
DECLARE d date;
BEGIN
  FOR d IN SELECT generate_series('2027-10-20'::date, '2028-01-05', '1 day')::date LOOP
    PERFORM set_config('prm.clock', ((d + time '12:00') AT TIME ZONE 'Europe/Berlin')::text, true);
    -- Renewed between the first and the second, on the last day before the third, a day too late, by an LMS that issues one, and without end.
    IF d = '2027-11-15' THEN PERFORM prm.renew_certificate(900004); END IF;
    IF d = '2027-12-23' THEN PERFORM prm.renew_certificate(900005); END IF;
    IF d = '2027-12-25' THEN PERFORM prm.renew_certificate(900006); END IF;
    IF d = '2027-11-20' THEN
      PERFORM prm.lms_ingest('[{"kind": "certificate", "external_ref": "z7", "partner_user_id": 7, "certification": "plain", "issued_on": "2027-11-20", "valid_until": "2028-12-31"}]');
    END IF;
    -- Who leaves, is revoked, or prolonged.
    IF d = '2027-11-10' THEN UPDATE prm.partner_user SET is_active = false WHERE program_id = prm.current_program() AND partner_user_id = 8; END IF;
    IF d = '2027-11-12' THEN PERFORM prm.revoke_certificate(900009, 'fraud', '2027-12-20'); END IF;
    IF d = '2027-12-05' THEN UPDATE prm.certificate SET valid_until = '2028-01-10' WHERE program_id = prm.current_program() AND certificate_id = 900010; END IF;
    -- The job runs twice a day, and not at all for a while.
    CONTINUE WHEN d IN ('2027-12-24', '2027-12-25');
    PERFORM prm._job_step(prm.current_program(), 'certificates', NULL);
    PERFORM prm._job_step(prm.current_program(), 'certificates', NULL);
    PERFORM prm._work_certificates(prm.current_program());
  END LOOP;
END $$;
CREATE TEMP VIEW sent AS SELECT (o.payload ->> 'partner_user_id')::bigint AS person, (o.payload ->> 'days_before')::int AS days, (o.occurred_at AT TIME ZONE 'Europe/Berlin')::date AS on_day, (o.payload ->> 'days_left')::int AS days_left, o.channel
  FROM prm.outbox o WHERE o.program_id = prm.current_program() AND o.event_type = 'certificate.expiring';
SELECT results_eq($$ SELECT days, on_day, days_left FROM sent WHERE person = 1 ORDER BY on_day $$, $$ VALUES (60, '2027-11-01'::date, 60), (30, '2027-12-01', 30), (7, '2027-12-26', 5) $$,
  'each once, on its day; the last when the job ran again; and one for two certificates that end on the same day');
SELECT results_eq($$ SELECT days, on_day, channel FROM sent WHERE person = 2 ORDER BY on_day $$, $$ VALUES (10, '2027-12-21'::date, 'portal'), (1, '2027-12-30', 'portal'), (0, '2027-12-31', 'portal') $$, 'by the days and the channel that are set, the last day too');
SELECT is_empty($$ SELECT * FROM sent WHERE person = 3 $$, 'none where none is wanted');
SELECT results_eq($$ SELECT days, on_day FROM sent WHERE person = 4 ORDER BY on_day $$, $$ VALUES (60, '2027-11-01'::date) $$, 'renewed after the first: no second');
SELECT results_eq($$ SELECT days FROM sent WHERE person = 5 ORDER BY on_day $$, $$ VALUES (60), (30) $$, 'renewed in time: no third');
SELECT results_eq($$ SELECT days FROM sent WHERE person = 6 ORDER BY on_day $$, $$ VALUES (60), (30) $$, 'renewed before the job ran again: none either');
SELECT results_eq($$ SELECT days FROM sent WHERE person = 7 ORDER BY on_day $$, $$ VALUES (60) $$, 'a later certificate from elsewhere is a renewal');
SELECT results_eq($$ SELECT days FROM sent WHERE person = 8 ORDER BY on_day $$, $$ VALUES (60) $$, 'who left is not told');
SELECT results_eq($$ SELECT days FROM sent WHERE person = 9 ORDER BY on_day $$, $$ VALUES (60) $$, 'nor whose certificate was revoked');
SELECT results_eq($$ SELECT days, on_day, days_left FROM sent WHERE person = 10 ORDER BY on_day $$, $$ VALUES (60, '2027-11-01'::date, 60), (30, '2027-12-01', 30), (60, '2027-12-05', 36), (30, '2027-12-11', 30), (7, '2028-01-03', 7) $$, 'prolonged, it is told of the new end anew, at once where its day has passed already');
SELECT is((SELECT count(*) FROM prm.certificate_reminder WHERE program_id = :program AND is_sent), (SELECT count(*) FROM sent), 'a row for each message');
-- The renewal has reminders of its own.
DO $$ DECLARE d date; BEGIN
  FOR d IN SELECT generate_series('2028-10-01'::date, '2029-01-05', '1 day')::date LOOP
    PERFORM set_config('prm.clock', ((d + time '00:30') AT TIME ZONE 'Europe/Berlin')::text, true);
    PERFORM prm._job_step(prm.current_program(), 'certificates', NULL);
  END LOOP;
END $$;
SELECT results_eq($$ SELECT days, on_day FROM sent WHERE person = 4 AND on_day > '2028-01-05' ORDER BY on_day $$, $$ VALUES (60, '2028-11-01'::date), (30, '2028-12-01'), (7, '2028-12-24') $$, 'a year later, of the renewal, from the first half hour of the day in Berlin');
SELECT is_empty($$ SELECT * FROM sent WHERE person = 1 AND on_day > '2028-01-05' $$, 'of what ended long ago nobody is told');
SELECT * FROM finish();
ROLLBACK;
