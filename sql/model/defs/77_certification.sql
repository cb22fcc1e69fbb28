
-- Certification: what fills and guards the rows. The views stand in 77_certification_views.sql.

CREATE OR REPLACE FUNCTION prm._certificate_row() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_partner bigint;
  rules record;
  prior record;
BEGIN
  SELECT u.partner_id INTO the_partner FROM prm.partner_user u WHERE u.program_id = NEW.program_id AND u.partner_user_id = NEW.partner_user_id;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '23503', MESSAGE = format('person %s does not exist', coalesce(NEW.partner_user_id::text, 'NULL')),
      DETAIL = format('Programme %s has no such row in prm.partner_user that you may see.', NEW.program_id), HINT = 'A certificate is of a person of a partner: add the person first.',
      SCHEMA = 'prm', TABLE = 'certificate', COLUMN = 'partner_user_id';
  END IF;
  NEW.partner_id := the_partner;
  IF TG_OP = 'UPDATE' THEN
    IF NEW.valid_until IS DISTINCT FROM OLD.valid_until OR NEW.certificate_id <> OLD.certificate_id THEN
      SELECT r.revoked_on INTO prior FROM prm.certificate_revocation r WHERE r.program_id = OLD.program_id AND r.certificate_id = OLD.certificate_id;
      IF FOUND AND (NEW.valid_until IS NULL OR NEW.valid_until >= prior.revoked_on OR NEW.certificate_id <> OLD.certificate_id) THEN
        RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('certificate %s was revoked', OLD.certificate_id),
          DETAIL = format('It does not hold from %s on.', to_char(prior.revoked_on, 'YYYY-MM-DD')), HINT = 'Issue a new certificate: INSERT INTO prm.certificate.',
          SCHEMA = 'prm', TABLE = 'certificate', COLUMN = 'valid_until';
      END IF;
    END IF;
    RETURN NEW;
  END IF;
  SELECT c.valid_months, c.renewal_days, c.renew_from INTO rules FROM prm.certification c
    WHERE c.program_id = NEW.program_id AND c.certification = NEW.certification;
  IF rules.valid_months IS NOT NULL THEN
    -- The one that it renews: still valid on the day, and near enough to its end.
    SELECT c.certificate_id, c.valid_until INTO prior FROM prm.certificate c
      WHERE c.program_id = NEW.program_id AND c.partner_user_id = NEW.partner_user_id AND c.certification = NEW.certification
        AND c.issued_on < NEW.issued_on AND c.valid_until >= NEW.issued_on
        -- Not the row that an upsert is about to correct.
        AND (NEW.external_ref IS NULL OR c.external_ref IS DISTINCT FROM NEW.external_ref)
      ORDER BY c.valid_until DESC, c.certificate_id DESC LIMIT 1;
    IF prior.certificate_id IS NOT NULL AND (rules.renewal_days IS NULL OR NEW.issued_on >= prior.valid_until - rules.renewal_days) THEN
      NEW.renews_id := coalesce(NEW.renews_id, prior.certificate_id);
      NEW.valid_until := coalesce(NEW.valid_until,
        (CASE rules.renew_from WHEN 'end' THEN prior.valid_until + 1 ELSE NEW.issued_on END + make_interval(months => rules.valid_months))::date - 1);
    END IF;
    NEW.valid_until := coalesce(NEW.valid_until, (NEW.issued_on + make_interval(months => rules.valid_months))::date - 1);
  END IF;
  RETURN NEW;
END
$prm$;
REVOKE ALL ON FUNCTION prm._certificate_row() FROM PUBLIC;
COMMENT ON FUNCTION prm._certificate_row() IS
'Trigger of certificate: fills the partner, what it renews, and, where the certification has a term, its last day. Errors: 23503 unknown person, 55000 a revoked certificate cannot be prolonged.';
CREATE OR REPLACE TRIGGER prm_10_certificate BEFORE INSERT OR UPDATE ON prm.certificate
  FOR EACH ROW EXECUTE FUNCTION prm._certificate_row();

CREATE OR REPLACE FUNCTION prm._person_partner(program_id bigint, partner_user_id bigint, table_name text) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_partner bigint;
BEGIN
  SELECT u.partner_id INTO the_partner FROM prm.partner_user u WHERE u.program_id = _person_partner.program_id AND u.partner_user_id = _person_partner.partner_user_id;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '23503', MESSAGE = format('person %s does not exist', coalesce(_person_partner.partner_user_id::text, 'NULL')),
      DETAIL = format('Programme %s has no such row in prm.partner_user that you may see.', _person_partner.program_id), HINT = 'Add the person to prm.partner_user first.',
      SCHEMA = 'prm', TABLE = _person_partner.table_name, COLUMN = 'partner_user_id';
  END IF;
  RETURN the_partner;
END
$prm$;
COMMENT ON FUNCTION prm._person_partner(bigint, bigint, text) IS 'The partner of a person. Error 23503 where there is no such person.';

CREATE OR REPLACE FUNCTION prm._completion_row() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  NEW.partner_id := prm._person_partner(NEW.program_id, NEW.partner_user_id, 'course_completion');
  RETURN NEW;
END
$prm$;
REVOKE ALL ON FUNCTION prm._completion_row() FROM PUBLIC;
COMMENT ON FUNCTION prm._completion_row() IS 'Trigger of course_completion: fills the partner of the person. Error 23503 unknown person.';

CREATE OR REPLACE FUNCTION prm._track_enrolment_row() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  NEW.partner_id := prm._person_partner(NEW.program_id, NEW.partner_user_id, 'track_enrolment');
  -- What is reported late was assigned by the day it was due.
  NEW.assigned_on := coalesce(NEW.assigned_on, least((prm.now() AT TIME ZONE prm._program_time_zone(NEW.program_id))::date, NEW.due_on));
  RETURN NEW;
END
$prm$;
REVOKE ALL ON FUNCTION prm._track_enrolment_row() FROM PUBLIC;
COMMENT ON FUNCTION prm._track_enrolment_row() IS 'Trigger of track_enrolment: fills the partner of the person, and today where no day is given. Error 23503 unknown person.';

CREATE OR REPLACE FUNCTION prm._attempt_row() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_highest numeric;
BEGIN
  NEW.partner_id := prm._person_partner(NEW.program_id, NEW.partner_user_id, 'exam_attempt');
  -- An attempt is judged by the mark of its time, whatever it is raised to later.
  IF NEW.pass_mark IS NULL THEN
    SELECT e.pass_mark INTO NEW.pass_mark FROM prm.exam e WHERE e.program_id = NEW.program_id AND e.exam = NEW.exam;
    IF NOT FOUND THEN
      RAISE EXCEPTION USING ERRCODE = '23503', MESSAGE = format('exam "%s" does not exist', NEW.exam),
        DETAIL = format('Programme %s has no such exam.', NEW.program_id), HINT = 'SELECT exam FROM prm.exam lists them.',
        SCHEMA = 'prm', TABLE = 'exam_attempt', COLUMN = 'exam';
    END IF;
  END IF;
  SELECT e.max_score INTO the_highest FROM prm.exam e WHERE e.program_id = NEW.program_id AND e.exam = NEW.exam;
  IF TG_OP = 'INSERT' AND NEW.score > the_highest THEN
    RAISE EXCEPTION USING ERRCODE = '23514', MESSAGE = format('score %s is above the highest of exam "%s"', trim_scale(NEW.score), NEW.exam),
      DETAIL = format('The highest there is, is %s.', trim_scale(the_highest)), HINT = 'Correct the score, or raise prm.exam.max_score.', SCHEMA = 'prm', TABLE = 'exam_attempt', COLUMN = 'score';
  END IF;
  RETURN NEW;
END
$prm$;
REVOKE ALL ON FUNCTION prm._attempt_row() FROM PUBLIC;
COMMENT ON FUNCTION prm._attempt_row() IS 'Trigger of exam_attempt: fills the partner of the person, and the pass mark in force. Error 23503 unknown person or exam.';
CREATE OR REPLACE TRIGGER prm_10_person BEFORE INSERT OR UPDATE ON prm.track_enrolment FOR EACH ROW EXECUTE FUNCTION prm._track_enrolment_row();
CREATE OR REPLACE TRIGGER prm_10_person BEFORE INSERT OR UPDATE ON prm.course_completion FOR EACH ROW EXECUTE FUNCTION prm._completion_row();
CREATE OR REPLACE TRIGGER prm_10_person BEFORE INSERT OR UPDATE ON prm.exam_attempt FOR EACH ROW EXECUTE FUNCTION prm._attempt_row();

CREATE OR REPLACE FUNCTION prm._steps_done() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  batch record;
BEGIN
  FOR batch IN SELECT n.program_id AS number, array_agg(DISTINCT n.partner_user_id ORDER BY n.partner_user_id) AS people FROM new_rows n GROUP BY n.program_id ORDER BY n.program_id
  LOOP
    -- Two sessions that do the last two steps of a person at once would not see each other's, and nobody would award: the second waits.
    PERFORM 1 FROM prm.partner_user u WHERE u.program_id = batch.number AND u.partner_user_id = ANY (batch.people) ORDER BY u.partner_user_id FOR NO KEY UPDATE;
    PERFORM prm._award_certificates(batch.number, batch.people);
  END LOOP;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._steps_done() FROM PUBLIC;
COMMENT ON FUNCTION prm._steps_done() IS 'Statement trigger of course_completion and exam_attempt: issues the certificates of the tracks that their people completed.';
CREATE OR REPLACE TRIGGER prm_40_award_insert AFTER INSERT ON prm.course_completion
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm._steps_done();
CREATE OR REPLACE TRIGGER prm_40_award_insert AFTER INSERT ON prm.exam_attempt
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm._steps_done();
CREATE OR REPLACE TRIGGER prm_40_award_update AFTER UPDATE ON prm.course_completion
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm._steps_done();
CREATE OR REPLACE TRIGGER prm_40_award_update AFTER UPDATE ON prm.exam_attempt
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm._steps_done();

CREATE OR REPLACE FUNCTION prm._person_moved() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  -- The triggers of the tables fill the partner again.
  UPDATE prm.certificate c SET partner_id = NEW.partner_id WHERE c.program_id = NEW.program_id AND c.partner_user_id = NEW.partner_user_id;
  UPDATE prm.certificate_revocation r SET partner_id = NEW.partner_id FROM prm.certificate c
    WHERE c.program_id = NEW.program_id AND c.partner_user_id = NEW.partner_user_id AND r.program_id = NEW.program_id AND r.certificate_id = c.certificate_id;
  UPDATE prm.track_enrolment t SET partner_id = NEW.partner_id WHERE t.program_id = NEW.program_id AND t.partner_user_id = NEW.partner_user_id;
  UPDATE prm.course_completion t SET partner_id = NEW.partner_id WHERE t.program_id = NEW.program_id AND t.partner_user_id = NEW.partner_user_id;
  UPDATE prm.exam_attempt t SET partner_id = NEW.partner_id WHERE t.program_id = NEW.program_id AND t.partner_user_id = NEW.partner_user_id;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._person_moved() FROM PUBLIC;
COMMENT ON FUNCTION prm._person_moved() IS 'Trigger of partner_user: training and certificates follow a person who goes to another partner.';
CREATE OR REPLACE TRIGGER prm_40_person_moved AFTER UPDATE ON prm.partner_user
  FOR EACH ROW WHEN (OLD.partner_id <> NEW.partner_id) EXECUTE FUNCTION prm._person_moved();

CREATE OR REPLACE FUNCTION prm._revocation_row() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  certificate record;
BEGIN
  IF TG_OP = 'UPDATE' THEN
    IF (NEW.program_id, NEW.certificate_id, NEW.revoked_on, NEW.reason, NEW.valid_until_before, NEW.actor, NEW.recorded_at)
       IS DISTINCT FROM (OLD.program_id, OLD.certificate_id, OLD.revoked_on, OLD.reason, OLD.valid_until_before, OLD.actor, OLD.recorded_at) THEN
      RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = 'a revocation cannot be changed', DETAIL = format('Certificate %s was revoked on %s.', OLD.certificate_id, to_char(OLD.revoked_on, 'YYYY-MM-DD')),
        HINT = 'Issue a new certificate instead.', SCHEMA = 'prm', TABLE = 'certificate_revocation';
    END IF;
    RETURN NEW;
  END IF;
  SELECT c.partner_id, c.issued_on, c.valid_until INTO certificate FROM prm.certificate c
    WHERE c.program_id = NEW.program_id AND c.certificate_id = NEW.certificate_id FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('certificate %s does not exist', coalesce(NEW.certificate_id::text, 'NULL')),
      DETAIL = format('Programme %s has no such certificate that you may see.', NEW.program_id), HINT = 'SELECT certificate_id FROM prm.v_certificate lists them.',
      SCHEMA = 'prm', TABLE = 'certificate_revocation', COLUMN = 'certificate_id';
  END IF;
  NEW.partner_id := certificate.partner_id;
  NEW.actor := prm.current_actor();
  NEW.revoked_on := greatest(coalesce(NEW.revoked_on, (prm.now() AT TIME ZONE prm._program_time_zone(NEW.program_id))::date), certificate.issued_on);
  NEW.valid_until_before := certificate.valid_until;
  IF EXISTS (SELECT 1 FROM prm.certificate_revocation r WHERE r.program_id = NEW.program_id AND r.certificate_id = NEW.certificate_id) THEN
    RAISE EXCEPTION USING ERRCODE = '23505', MESSAGE = format('certificate %s was revoked already', NEW.certificate_id),
      DETAIL = format('Its last day was %s.', to_char(certificate.valid_until, 'YYYY-MM-DD')), HINT = 'Once is enough.', SCHEMA = 'prm', TABLE = 'certificate_revocation';
  ELSIF certificate.valid_until < NEW.revoked_on THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('certificate %s is not valid any more', NEW.certificate_id),
      DETAIL = format('Its last day was %s, and it would be revoked on %s.', to_char(certificate.valid_until, 'YYYY-MM-DD'), to_char(NEW.revoked_on, 'YYYY-MM-DD')),
      HINT = 'There is nothing to revoke.', SCHEMA = 'prm', TABLE = 'certificate_revocation';
  END IF;
  UPDATE prm.certificate c SET valid_until = NEW.revoked_on - 1 WHERE c.program_id = NEW.program_id AND c.certificate_id = NEW.certificate_id;
  RETURN NEW;
END
$prm$;
REVOKE ALL ON FUNCTION prm._revocation_row() FROM PUBLIC;
COMMENT ON FUNCTION prm._revocation_row() IS
'Trigger of certificate_revocation: ends the certificate the day before, keeps what its last day was, and lets nobody change a revocation. Errors: 42704 unknown certificate, 23505 revoked already, 55000 not valid any more, or a change.';
CREATE OR REPLACE TRIGGER prm_10_revocation BEFORE INSERT OR UPDATE ON prm.certificate_revocation
  FOR EACH ROW EXECUTE FUNCTION prm._revocation_row();

COMMENT ON TABLE prm.certification IS 'What people can be certified for.';
COMMENT ON COLUMN prm.certification.certification IS 'Short name.';
COMMENT ON COLUMN prm.certification.label IS 'Name for people.';
COMMENT ON COLUMN prm.certification.valid_months IS 'How many months a certificate is valid; NULL: without end.';
COMMENT ON COLUMN prm.certification.renewal_days IS 'How many days before its end a certificate may be renewed; NULL: at any time. What is issued earlier counts from its own day.';
COMMENT ON COLUMN prm.certification.renew_from IS 'From when a renewal in time counts: end (of the old certificate, so that nothing is lost by being early) or day (of the renewal).';
COMMENT ON COLUMN prm.certification.reminder_days IS 'How many days before the last day a reminder is written, one for each number; empty: none.';
COMMENT ON COLUMN prm.certification.reminder_channel IS 'The channel of the outbox that reminders are for.';
COMMENT ON COLUMN prm.certification.is_active IS 'False: no longer offered; its tracks award nothing and nobody is reminded. Certificates stay valid.';
COMMENT ON TABLE prm.certificate IS 'Who is certified for what, a row for each certificate; a renewal is a row of its own.';
COMMENT ON COLUMN prm.certificate.certificate_id IS 'Number of the certificate.';
COMMENT ON COLUMN prm.certificate.partner_user_id IS 'The person.';
COMMENT ON COLUMN prm.certificate.certification IS 'The certification.';
COMMENT ON COLUMN prm.certificate.issued_on IS 'First day on which it counts.';
COMMENT ON COLUMN prm.certificate.valid_until IS 'Last day on which it counts, in the programme''s zone; filled from the certification''s term where it is left out; empty: no end. A revocation brings it forward.';
COMMENT ON COLUMN prm.certificate.partner_id IS 'The partner of the person; filled by the model, and follows the person.';
COMMENT ON COLUMN prm.certificate.renews_id IS 'The certificate that it renews in time; filled by the model.';
COMMENT ON COLUMN prm.certificate.source IS 'manual, lms (sent by lms_ingest), or track (issued because a track was completed).';
COMMENT ON TABLE prm.certificate_revocation IS 'Certificates that were taken back, and why. A row is never changed.';
COMMENT ON COLUMN prm.certificate_revocation.certificate_id IS 'The certificate.';
COMMENT ON COLUMN prm.certificate_revocation.partner_id IS 'The partner of the person; filled by the model.';
COMMENT ON COLUMN prm.certificate_revocation.revoked_on IS 'First day on which it does not count any more.';
COMMENT ON COLUMN prm.certificate_revocation.reason IS 'Why.';
COMMENT ON COLUMN prm.certificate_revocation.valid_until_before IS 'What its last day was before; NULL: it had no end.';
COMMENT ON COLUMN prm.certificate_revocation.actor IS 'Who did it: the setting prm.actor, else the role.';
COMMENT ON TABLE prm.certificate_reminder IS 'Which reminders of certificates that end were written. Written by the job certificates.';
COMMENT ON COLUMN prm.certificate_reminder.certificate_id IS 'The certificate.';
COMMENT ON COLUMN prm.certificate_reminder.days_before IS 'Which of the certification''s reminder_days.';
COMMENT ON COLUMN prm.certificate_reminder.valid_until IS 'The last day of the certificate that it was about.';
COMMENT ON COLUMN prm.certificate_reminder.is_sent IS 'Whether a message was written; false: a later reminder was due on the same day and took its place.';
COMMENT ON COLUMN prm.certificate_reminder.reminded_at IS 'When, prm.now().';
COMMENT ON TABLE prm.course IS 'What is taught.';
COMMENT ON COLUMN prm.course.course IS 'Short name.';
COMMENT ON COLUMN prm.course.label IS 'Name for people.';
COMMENT ON COLUMN prm.course.kind IS 'How: online, classroom, video, tutorial, faq ...';
COMMENT ON COLUMN prm.course.difficulty IS 'How hard, in your own words.';
COMMENT ON COLUMN prm.course.hours IS 'How long it takes.';
COMMENT ON COLUMN prm.course.url IS 'Where it is.';
COMMENT ON COLUMN prm.course.is_active IS 'False: no longer offered.';
COMMENT ON TABLE prm.exam IS 'Exams and their pass marks.';
COMMENT ON COLUMN prm.exam.exam IS 'Short name.';
COMMENT ON COLUMN prm.exam.label IS 'Name for people.';
COMMENT ON COLUMN prm.exam.pass_mark IS 'The score at which it is passed. A new mark holds for attempts recorded from then on.';
COMMENT ON COLUMN prm.exam.max_score IS 'The highest score there is.';
COMMENT ON COLUMN prm.exam.is_active IS 'False: no longer held.';
COMMENT ON TABLE prm.exam_limit IS 'How often an exam may be taken: lms_ingest() rejects what is over a limit, each attempt judged by those that lie before it. Several limits of an exam all count. A row in prm.exam_attempt that is inserted by hand is an exception, and is not judged.';
COMMENT ON COLUMN prm.exam_limit.exam_limit_id IS 'Number of the limit.';
COMMENT ON COLUMN prm.exam_limit.exam IS 'The exam; empty where it is for a certification.';
COMMENT ON COLUMN prm.exam_limit.certification IS 'The certification, for the exams of its active tracks, whose attempts are counted together; empty where it is for an exam.';
COMMENT ON COLUMN prm.exam_limit.max_attempts IS 'How many attempts there are; empty: as many as one likes.';
COMMENT ON COLUMN prm.exam_limit.period IS 'Within what time: an attempt counts for so long after it, by the calendar of the programme''s zone; empty: for good.';
COMMENT ON COLUMN prm.exam_limit.retry_after IS 'How long to wait after an attempt that failed; empty: not at all.';
COMMENT ON COLUMN prm.exam_limit.counts IS 'What counts towards max_attempts: all attempts, only the failed ones, or those since one was passed last (since_pass).';
COMMENT ON COLUMN prm.exam_limit.counts_from IS 'Attempts before this day neither count nor are judged; empty: all of them are.';
COMMENT ON COLUMN prm.exam_limit.is_active IS 'False: it limits nothing.';
COMMENT ON TABLE prm.track IS 'Learning paths: courses and exams in their order.';
COMMENT ON COLUMN prm.track.track IS 'Short name.';
COMMENT ON COLUMN prm.track.label IS 'Name for people.';
COMMENT ON COLUMN prm.track.certification IS 'What it certifies: whoever did all required steps gets the certificate at once; NULL: nothing.';
COMMENT ON COLUMN prm.track.is_active IS 'False: it awards nothing any more.';
COMMENT ON TABLE prm.track_step IS 'The steps of a learning path: each a course to complete or an exam to pass.';
COMMENT ON COLUMN prm.track_step.track IS 'The track.';
COMMENT ON COLUMN prm.track_step.position IS 'Place of the step.';
COMMENT ON COLUMN prm.track_step.course IS 'The course to complete, or';
COMMENT ON COLUMN prm.track_step.exam IS 'the exam to pass.';
COMMENT ON COLUMN prm.track_step.is_required IS 'Whether the certificate waits for it.';
COMMENT ON COLUMN prm.track_step.is_renewal IS 'Whether it must be done again, in the renewal window or after the end, for a new certificate. A track without such steps renews nothing.';
COMMENT ON TABLE prm.track_enrolment IS 'Who is to take which track.';
COMMENT ON COLUMN prm.track_enrolment.partner_user_id IS 'The person.';
COMMENT ON COLUMN prm.track_enrolment.track IS 'The track.';
COMMENT ON COLUMN prm.track_enrolment.partner_id IS 'The partner of the person; filled by the model.';
COMMENT ON COLUMN prm.track_enrolment.assigned_on IS 'The day on which it was assigned; by default today.';
COMMENT ON COLUMN prm.track_enrolment.due_on IS 'The day by which it should be done.';
COMMENT ON TABLE prm.course_completion IS 'Who completed which course when.';
COMMENT ON COLUMN prm.course_completion.course_completion_id IS 'Number of the row.';
COMMENT ON COLUMN prm.course_completion.partner_user_id IS 'The person.';
COMMENT ON COLUMN prm.course_completion.partner_id IS 'The partner of the person; filled by the model.';
COMMENT ON COLUMN prm.course_completion.course IS 'The course.';
COMMENT ON COLUMN prm.course_completion.completed_at IS 'When.';
COMMENT ON TABLE prm.exam_attempt IS 'Who took which exam when, and how well.';
COMMENT ON COLUMN prm.exam_attempt.exam_attempt_id IS 'Number of the attempt.';
COMMENT ON COLUMN prm.exam_attempt.partner_user_id IS 'The person.';
COMMENT ON COLUMN prm.exam_attempt.partner_id IS 'The partner of the person; filled by the model.';
COMMENT ON COLUMN prm.exam_attempt.exam IS 'The exam.';
COMMENT ON COLUMN prm.exam_attempt.score IS 'The score, from 0.';
COMMENT ON COLUMN prm.exam_attempt.pass_mark IS 'The mark by which it was judged; filled from the exam.';
COMMENT ON COLUMN prm.exam_attempt.passed IS 'Whether the score reached the mark.';
COMMENT ON COLUMN prm.exam_attempt.attempted_at IS 'When.';
