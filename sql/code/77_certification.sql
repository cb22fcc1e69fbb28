
-- Certification and training: what an LMS sends, certificates that tracks award, renewal, revocation, reminders, metrics.
-- What depends on a certificate stands in 77_certification_impact.sql.

CREATE TYPE prm.lms_ingest_row AS (item integer, kind text, outcome text, id bigint, message text);
COMMENT ON TYPE prm.lms_ingest_row IS
'A row of lms_ingest(): place in the batch (from 1), kind, inserted, updated, unchanged (it is there already) or rejected, the number of the attempt, completion or certificate (of an enrolment: of the person), and why it was rejected.';
CREATE TYPE prm.lms_item AS (item integer, kind text, external_ref text, partner_user_id bigint, subject text, score numeric, moment timestamptz, from_day date, until_day date, known_id bigint, outcome text, fault text);
COMMENT ON TYPE prm.lms_item IS 'An item of a batch of the LMS, as lms_ingest() understood it.';

CREATE FUNCTION prm._lms_day(day text) RETURNS date
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  IF length(_lms_day.day) = 10 AND prm._usage_moment(_lms_day.day || ' 12:00', 'UTC') IS NOT NULL THEN
    RETURN to_date(_lms_day.day, 'YYYY-MM-DD');
  END IF;
  RETURN NULL;
END
$prm$;
COMMENT ON FUNCTION prm._lms_day(text) IS 'A date YYYY-MM-DD; NULL for anything else.';

CREATE FUNCTION prm._award_certificates(program_id bigint, people bigint[]) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_zone text := prm._program_time_zone(_award_certificates.program_id);
  the_total bigint := 0;
  the_count bigint;
BEGIN
  IF NOT EXISTS (SELECT 1 FROM prm.track t WHERE t.program_id = _award_certificates.program_id AND t.is_active AND t.certification IS NOT NULL) THEN
    RETURN 0;
  END IF;
  -- Each round issues at most the next certificate of a person and track: years of history loaded at once take a round for each year.
  LOOP
    INSERT INTO prm.certificate (program_id, partner_user_id, certification, issued_on, source)
      SELECT DISTINCT ON (p.partner_user_id, t.certification) _award_certificates.program_id, p.partner_user_id, t.certification, d.done_on, 'track'
      FROM unnest(_award_certificates.people) AS p(partner_user_id)
      CROSS JOIN (
        SELECT x.track, c.certification, c.renewal_days FROM prm.track x
        JOIN prm.certification c ON c.program_id = x.program_id AND c.certification = x.certification AND c.is_active
        WHERE x.program_id = _award_certificates.program_id AND x.is_active) t
      LEFT JOIN LATERAL (
        SELECT c.certificate_id, c.issued_on, c.valid_until,
          (SELECT r.revoked_on FROM prm.certificate_revocation r WHERE r.program_id = _award_certificates.program_id AND r.certificate_id = c.certificate_id) AS revoked_on
        FROM prm.certificate c
        WHERE c.program_id = _award_certificates.program_id AND c.partner_user_id = p.partner_user_id AND c.certification = t.certification
        ORDER BY c.issued_on DESC, c.certificate_id DESC LIMIT 1) l ON true
      CROSS JOIN LATERAL (
        -- The first day from which a step counts for the next certificate.
        SELECT CASE WHEN l.certificate_id IS NULL THEN NULL
          ELSE greatest(l.issued_on + 1, l.revoked_on, CASE WHEN l.revoked_on IS NULL THEN l.valid_until - t.renewal_days END) END AS first_day) w
      CROSS JOIN LATERAL (
        SELECT max(s.done_on) AS done_on, bool_and(s.done_on IS NOT NULL) AS is_complete
        FROM prm.track_step k
        CROSS JOIN LATERAL (
          SELECT min(e.done_on) AS done_on FROM (
            SELECT (a.attempted_at AT TIME ZONE the_zone)::date AS done_on FROM prm.exam_attempt a
            WHERE a.program_id = _award_certificates.program_id AND a.partner_user_id = p.partner_user_id AND a.exam = k.exam AND a.passed
            UNION ALL
            SELECT (a.completed_at AT TIME ZONE the_zone)::date FROM prm.course_completion a
            WHERE a.program_id = _award_certificates.program_id AND a.partner_user_id = p.partner_user_id AND a.course = k.course) e
          WHERE w.first_day IS NULL OR e.done_on >= w.first_day) s
        WHERE k.program_id = _award_certificates.program_id AND k.track = t.track AND k.is_required AND (l.certificate_id IS NULL OR k.is_renewal)) d
      -- What has no end needs no renewal.
      WHERE d.is_complete AND (l.certificate_id IS NULL OR l.valid_until IS NOT NULL)
      ORDER BY p.partner_user_id, t.certification, d.done_on, t.track
      ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS the_count = ROW_COUNT;
    the_total := the_total + the_count;
    EXIT WHEN the_count = 0;
  END LOOP;
  RETURN the_total;
END
$prm$;
COMMENT ON FUNCTION prm._award_certificates(bigint, bigint[]) IS
'Issues the certificates of the tracks that the people completed, on the day of the last step; renewals too, where the steps that renew were done again in time. Returns how many.';

CREATE FUNCTION prm.award_certificates(program_id bigint DEFAULT prm.current_program()) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(award_certificates.program_id);
BEGIN
  RETURN prm._award_certificates(the_program, ARRAY(
    SELECT a.partner_user_id FROM prm.exam_attempt a WHERE a.program_id = the_program
    UNION
    SELECT c.partner_user_id FROM prm.course_completion c WHERE c.program_id = the_program
    ORDER BY 1));
END
$prm$;
COMMENT ON FUNCTION prm.award_certificates(bigint) IS
'Looks at everybody again and issues what the tracks, as they are now, award for what was done; for after a track was made or changed. Attempts and completions award by themselves. Returns how many certificates; a second run issues none.';

CREATE FUNCTION prm._lms_items(program_id bigint, batch jsonb) RETURNS SETOF prm.lms_item
LANGUAGE plpgsql STABLE ROWS 1000 SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_zone text := prm._program_time_zone(_lms_items.program_id);
  the_fields constant text[] := ARRAY['kind', 'external_ref', 'partner_user_id', 'partner_user_ref', 'exam', 'course', 'certification', 'track', 'score', 'at', 'issued_on', 'valid_until', 'assigned_on', 'due_on'];
BEGIN
  RETURN QUERY
    -- An enrolment is known by person and track.
    SELECT j.item, j.kind, j.reference, j.partner_user_id, j.subject, j.score, j.moment, j.from_day, j.until_day, j.known_id,
      CASE WHEN j.fault IS NOT NULL THEN 'rejected' WHEN j.known_id IS NULL THEN 'inserted' WHEN j.is_same THEN 'unchanged' ELSE 'updated' END, j.fault
    FROM (
      SELECT i.*, x.known_id, x.is_same, coalesce(i.own_fault, CASE
          WHEN i.first_content <> i.content THEN CASE i.kind WHEN 'enrolment' THEN 'an earlier item of the batch says something else of the same person and track'
            ELSE 'an earlier item of the batch says something else under the same external_ref' END
          WHEN x.known_person <> i.partner_user_id THEN 'the external_ref is of another person'
          WHEN x.is_revoked AND NOT x.is_same THEN 'the certificate was revoked' END) AS fault
      FROM (
      -- Of the items with one reference the first sound one counts.
      SELECT c.*, first_value(c.content) OVER (PARTITION BY c.kind, c.reference ORDER BY c.own_fault IS NOT NULL, c.item) AS first_content
      FROM (
      SELECT i.*, CASE i.kind WHEN 'enrolment' THEN format('%s/%s', i.partner_user_id, i.subject) ELSE i.external_ref END AS reference,
        jsonb_build_array(i.partner_user_id, i.subject, i.score, extract(epoch FROM i.moment), i.from_day, i.until_day) AS content, CASE
          WHEN NOT i.is_object THEN 'it is no JSON object'
          WHEN i.stray IS NOT NULL THEN format('there is no field "%s"', i.stray)
          WHEN i.kind IS NULL OR i.kind NOT IN ('attempt', 'completion', 'certificate', 'enrolment') THEN 'kind is attempt, completion, certificate or enrolment'
          WHEN i.kind <> 'enrolment' AND coalesce(btrim(i.external_ref), '') = '' THEN 'external_ref is missing: without it a batch could not be sent again'
          WHEN i.partner_user_id IS NULL THEN 'there is no such person'
          WHEN i.named IS NULL THEN format('%s "%s" is not in prm.%s', i.field, coalesce(i.subject, ''), i.field)
          WHEN i.kind = 'attempt' AND i.score IS NULL THEN 'score is no number of zero or more'
          WHEN i.kind = 'attempt' AND i.score > i.max_score THEN format('score is above %s, the highest there is', trim_scale(i.max_score))
          WHEN i.kind IN ('attempt', 'completion') AND i.moment IS NULL THEN 'at is no moment in ISO 8601'
          WHEN i.moment > prm.now() + interval '1 day' THEN 'at lies in the future'
          WHEN i.kind = 'certificate' AND i.from_day IS NULL THEN 'issued_on is no date'
          WHEN i.kind = 'enrolment' AND i.from_text IS NOT NULL AND i.from_day IS NULL THEN 'assigned_on is no date'
          WHEN i.until_text IS NOT NULL AND i.until_day IS NULL THEN CASE i.kind WHEN 'enrolment' THEN 'due_on is no date' ELSE 'valid_until is no date' END
          WHEN i.until_day < i.from_day THEN CASE i.kind WHEN 'enrolment' THEN 'due_on lies before assigned_on' ELSE 'valid_until lies before issued_on' END END AS own_fault
      FROM (
        SELECT k.*, coalesce(f.partner_user_id, g.partner_user_id) AS partner_user_id, n.named, n.max_score
        FROM (
          SELECT b.place::integer AS item, jsonb_typeof(b.entry) = 'object' AS is_object, b.entry ->> 'kind' AS kind, b.entry ->> 'external_ref' AS external_ref,
            CASE WHEN b.entry ->> 'partner_user_id' ~ '^[0-9]{1,18}$' THEN (b.entry ->> 'partner_user_id')::bigint END AS user_number,
            CASE WHEN b.entry ->> 'partner_user_id' IS NULL THEN b.entry ->> 'partner_user_ref' END AS user_ref, s.field, b.entry ->> s.field AS subject,
            CASE WHEN b.entry ->> 'score' ~ '^[0-9]{1,15}([.][0-9]{1,15})?$' THEN (b.entry ->> 'score')::numeric END AS score,
            prm._usage_moment(b.entry ->> 'at', the_zone) AS moment, b.entry ->> s.from_field AS from_text, b.entry ->> s.until_field AS until_text,
            prm._lms_day(b.entry ->> s.from_field) AS from_day, prm._lms_day(b.entry ->> s.until_field) AS until_day,
            (SELECT o.name FROM jsonb_object_keys(CASE WHEN jsonb_typeof(b.entry) = 'object' THEN b.entry ELSE '{}' END) AS o(name)
              WHERE NOT o.name = ANY (the_fields) ORDER BY 1 LIMIT 1) AS stray
          FROM jsonb_array_elements(_lms_items.batch) WITH ORDINALITY AS b(entry, place)
          LEFT JOIN (VALUES ('attempt', 'exam', NULL, NULL), ('completion', 'course', NULL, NULL), ('certificate', 'certification', 'issued_on', 'valid_until'),
            ('enrolment', 'track', 'assigned_on', 'due_on')) AS s(kind, field, from_field, until_field) ON s.kind = b.entry ->> 'kind' OFFSET 0) k
        LEFT JOIN LATERAL (
          SELECT o.partner_user_id FROM prm.partner_user o WHERE o.program_id = _lms_items.program_id AND o.partner_user_id = k.user_number
          UNION ALL
          SELECT o.partner_user_id FROM prm.partner_user o WHERE o.program_id = _lms_items.program_id AND o.external_ref = k.user_ref OFFSET 0) f ON true
        -- Some systems know people by ids of their own.
        LEFT JOIN LATERAL (
          SELECT o.partner_user_id FROM prm.external_id e JOIN prm.partner_user o ON o.program_id = _lms_items.program_id AND o.partner_user_id = e.id
          WHERE e.program_id = _lms_items.program_id AND e.system = 'lms' AND e.kind = 'partner_user' AND e.external_ref = k.user_ref AND f.partner_user_id IS NULL OFFSET 0) g ON true
        LEFT JOIN LATERAL (
          SELECT o.exam AS named, o.max_score FROM prm.exam o WHERE o.program_id = _lms_items.program_id AND o.exam = k.subject AND k.kind = 'attempt'
          UNION ALL
          SELECT o.course, NULL FROM prm.course o WHERE o.program_id = _lms_items.program_id AND o.course = k.subject AND k.kind = 'completion'
          UNION ALL
          SELECT o.certification, NULL FROM prm.certification o WHERE o.program_id = _lms_items.program_id AND o.certification = k.subject AND k.kind = 'certificate'
          UNION ALL
          SELECT o.track, NULL FROM prm.track o WHERE o.program_id = _lms_items.program_id AND o.track = k.subject AND k.kind = 'enrolment' OFFSET 0) n ON true) i) c) i
      -- What is there already under the reference, and whether it says the same.
      LEFT JOIN LATERAL (
        SELECT o.exam_attempt_id AS known_id, o.partner_user_id AS known_person, (o.exam, o.score, o.attempted_at) = (i.subject, i.score, i.moment) AS is_same, false AS is_revoked
        FROM prm.exam_attempt o WHERE o.program_id = _lms_items.program_id AND o.external_ref = i.external_ref AND i.kind = 'attempt'
        UNION ALL
        SELECT o.course_completion_id, o.partner_user_id, (o.course, o.completed_at) = (i.subject, i.moment), false
        FROM prm.course_completion o WHERE o.program_id = _lms_items.program_id AND o.external_ref = i.external_ref AND i.kind = 'completion'
        UNION ALL
        SELECT o.certificate_id, o.partner_user_id, (o.certification, o.issued_on) = (i.subject, i.from_day)
            AND (i.until_text IS NULL OR i.until_day IS NOT DISTINCT FROM CASE WHEN r.certificate_id IS NULL THEN o.valid_until ELSE r.valid_until_before END), r.certificate_id IS NOT NULL
        FROM prm.certificate o
        LEFT JOIN prm.certificate_revocation r ON r.program_id = _lms_items.program_id AND r.certificate_id = o.certificate_id
        WHERE o.program_id = _lms_items.program_id AND o.external_ref = i.external_ref AND i.kind = 'certificate'
        UNION ALL
        SELECT o.partner_user_id, o.partner_user_id, (i.from_text IS NULL OR o.assigned_on = i.from_day) AND o.due_on IS NOT DISTINCT FROM i.until_day, false
        FROM prm.track_enrolment o WHERE o.program_id = _lms_items.program_id AND o.partner_user_id = i.partner_user_id AND o.track = i.subject AND i.kind = 'enrolment' OFFSET 0) x ON true) j
    ORDER BY j.item;
END
$prm$;
COMMENT ON FUNCTION prm._lms_items(bigint, jsonb) IS 'What a batch of the LMS says, item by item, looked up by key: who, what, what is there already, and what is wrong with it.';

CREATE FUNCTION prm.lms_ingest(batch jsonb, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.lms_ingest_row
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(lms_ingest.program_id);
  the_items prm.lms_item[];
  the_work prm.lms_item[];
  the_done prm.lms_item[] := '{}';
  the_written text[];
  the_left integer[];
  the_round integer := 0;
BEGIN
  IF lms_ingest.batch IS NULL OR jsonb_typeof(lms_ingest.batch) <> 'array' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a batch of the LMS is a JSON array',
      DETAIL = format('It is %s.', coalesce(jsonb_typeof(lms_ingest.batch), 'NULL')),
      HINT = 'Give [{"kind": "attempt", "external_ref": "a1", "partner_user_id": 1, "exam": "sales", "score": 82, "at": "2026-06-01T09:00:00Z"}, ...].';
  END IF;
  SELECT array_agg(i ORDER BY i.item) INTO the_items FROM prm._lms_items(the_program, lms_ingest.batch) i;
  -- Of an item that stands twice in the batch the first is written.
  SELECT array_agg(f.i ORDER BY (f.i).item) INTO the_work FROM (
    SELECT DISTINCT ON (j.kind, j.external_ref) j AS i FROM unnest(the_items) j WHERE j.outcome IN ('inserted', 'updated') ORDER BY j.kind, j.external_ref, j.item) f;
  WHILE the_work IS NOT NULL LOOP
    the_work := prm._judge_attempts(the_program, the_work);
    the_written := '{}';
    -- What is there is corrected ...
    INSERT INTO prm.track_enrolment AS o (program_id, partner_user_id, track, assigned_on, due_on)
      SELECT the_program, i.partner_user_id, i.subject, coalesce(i.from_day, least((SELECT e.assigned_on FROM prm.track_enrolment e
          WHERE e.program_id = the_program AND e.partner_user_id = i.partner_user_id AND e.track = i.subject), i.until_day)), i.until_day
      FROM unnest(the_work) i WHERE i.kind = 'enrolment' AND i.outcome = 'updated' ORDER BY i.partner_user_id, i.item
      ON CONFLICT (program_id, partner_user_id, track) DO UPDATE SET assigned_on = excluded.assigned_on, due_on = excluded.due_on;
    INSERT INTO prm.certificate AS o (program_id, partner_user_id, certification, issued_on, valid_until, external_ref, source)
      SELECT the_program, i.partner_user_id, i.subject, i.from_day, i.until_day, i.external_ref, 'lms' FROM unnest(the_work) i WHERE i.kind = 'certificate' AND i.outcome = 'updated' ORDER BY i.external_ref
      ON CONFLICT (program_id, external_ref) DO UPDATE SET certification = excluded.certification, issued_on = excluded.issued_on, valid_until = excluded.valid_until;
    INSERT INTO prm.course_completion AS o (program_id, partner_user_id, course, completed_at, external_ref)
      SELECT the_program, i.partner_user_id, i.subject, i.moment, i.external_ref FROM unnest(the_work) i WHERE i.kind = 'completion' AND i.outcome = 'updated' ORDER BY i.external_ref
      ON CONFLICT (program_id, external_ref) DO UPDATE SET course = excluded.course, completed_at = excluded.completed_at;
    INSERT INTO prm.exam_attempt AS o (program_id, partner_user_id, exam, score, attempted_at, external_ref)
      SELECT the_program, i.partner_user_id, i.subject, i.score, i.moment, i.external_ref FROM unnest(the_work) i WHERE i.kind = 'attempt' AND i.outcome = 'updated' ORDER BY i.external_ref
      ON CONFLICT (program_id, external_ref) DO UPDATE SET exam = excluded.exam, score = excluded.score, attempted_at = excluded.attempted_at,
        pass_mark = CASE WHEN o.exam = excluded.exam THEN o.pass_mark ELSE excluded.pass_mark END;
    -- ... and what is new is written, unless another session did so meanwhile.
    WITH made AS (
      INSERT INTO prm.track_enrolment AS o (program_id, partner_user_id, track, assigned_on, due_on)
        SELECT the_program, i.partner_user_id, i.subject, i.from_day, i.until_day FROM unnest(the_work) i WHERE i.kind = 'enrolment' AND i.outcome = 'inserted' ORDER BY i.partner_user_id, i.item
        ON CONFLICT (program_id, partner_user_id, track) DO NOTHING RETURNING o.partner_user_id, o.track)
    SELECT the_written || array_agg(format('enrolment %s/%s', m.partner_user_id, m.track)) INTO the_written FROM made m;
    WITH made AS (
      INSERT INTO prm.certificate AS o (program_id, partner_user_id, certification, issued_on, valid_until, external_ref, source)
        SELECT the_program, i.partner_user_id, i.subject, i.from_day, i.until_day, i.external_ref, 'lms' FROM unnest(the_work) i WHERE i.kind = 'certificate' AND i.outcome = 'inserted' ORDER BY i.external_ref
        ON CONFLICT (program_id, external_ref) DO NOTHING RETURNING o.external_ref)
    SELECT the_written || array_agg('certificate ' || m.external_ref) INTO the_written FROM made m;
    WITH made AS (
      INSERT INTO prm.course_completion AS o (program_id, partner_user_id, course, completed_at, external_ref)
        SELECT the_program, i.partner_user_id, i.subject, i.moment, i.external_ref FROM unnest(the_work) i WHERE i.kind = 'completion' AND i.outcome = 'inserted' ORDER BY i.external_ref
        ON CONFLICT (program_id, external_ref) DO NOTHING RETURNING o.external_ref)
    SELECT the_written || array_agg('completion ' || m.external_ref) INTO the_written FROM made m;
    WITH made AS (
      INSERT INTO prm.exam_attempt AS o (program_id, partner_user_id, exam, score, attempted_at, external_ref)
        SELECT the_program, i.partner_user_id, i.subject, i.score, i.moment, i.external_ref FROM unnest(the_work) i WHERE i.kind = 'attempt' AND i.outcome = 'inserted' ORDER BY i.external_ref
        ON CONFLICT (program_id, external_ref) DO NOTHING RETURNING o.external_ref)
    SELECT the_written || array_agg('attempt ' || m.external_ref) INTO the_written FROM made m;
    the_left := ARRAY(SELECT i.item FROM unnest(the_work) i WHERE i.outcome = 'inserted' AND i.kind || ' ' || i.external_ref NOT IN (SELECT w.key FROM unnest(the_written) AS w(key)) ORDER BY i.item);
    the_done := the_done || ARRAY(SELECT i FROM unnest(the_work) i WHERE i.item NOT IN (SELECT l.item FROM unnest(the_left) AS l(item)));
    EXIT WHEN cardinality(the_left) = 0;
    -- What another session wrote under the same reference is there by now: looked at again, it is the same, or it is corrected.
    the_round := the_round + 1;
    SELECT array_agg(ROW(the_left[a.item], a.kind, a.external_ref, a.partner_user_id, a.subject, a.score, a.moment, a.from_day, a.until_day, a.known_id,
          CASE WHEN a.outcome = 'inserted' AND the_round > 2 THEN 'rejected' ELSE a.outcome END,
          CASE WHEN a.outcome = 'inserted' AND the_round > 2 THEN 'its reference is taken by what you may not see' ELSE a.fault END)::prm.lms_item ORDER BY a.item)
      INTO the_work FROM prm._lms_items(the_program, (SELECT jsonb_agg(lms_ingest.batch -> (l.item - 1) ORDER BY l.item) FROM unnest(the_left) AS l(item))) a;
  END LOOP;
  RETURN QUERY
    SELECT j.item, j.kind, CASE WHEN j.item > j.first_item AND coalesce(d.outcome, j.outcome) <> 'rejected' THEN 'unchanged' ELSE coalesce(d.outcome, j.outcome) END,
      CASE WHEN coalesce(d.outcome, j.outcome) <> 'rejected' THEN coalesce(j.known_id, d.known_id, CASE j.kind
        WHEN 'attempt' THEN (SELECT o.exam_attempt_id FROM prm.exam_attempt o WHERE o.program_id = the_program AND o.external_ref = j.external_ref)
        WHEN 'completion' THEN (SELECT o.course_completion_id FROM prm.course_completion o WHERE o.program_id = the_program AND o.external_ref = j.external_ref)
        WHEN 'certificate' THEN (SELECT o.certificate_id FROM prm.certificate o WHERE o.program_id = the_program AND o.external_ref = j.external_ref)
        ELSE j.partner_user_id END) END, coalesce(d.fault, j.fault)
    FROM (SELECT k.*, CASE WHEN k.outcome <> 'rejected' THEN min(k.item) FILTER (WHERE k.outcome <> 'rejected') OVER (PARTITION BY k.kind, k.external_ref) END AS first_item FROM unnest(the_items) k) j
    LEFT JOIN unnest(the_done) d ON d.item = j.first_item
    ORDER BY j.item;
END
$prm$;
COMMENT ON FUNCTION prm.lms_ingest(jsonb, bigint) IS
'Takes what a learning system reports, a JSON array of {kind, external_ref, partner_user_id or partner_user_ref, ...}: attempt {exam, score, at}, completion {course, at}, certificate {certification, issued_on, valid_until}, enrolment {track, assigned_on, due_on}. People may also be known by an external_id of system lms and kind partner_user. Each external_ref is taken once, however often it is sent; sent with other content it is corrected. Completed tracks award their certificates at once. Attempts over a limit of prm.exam_limit are rejected, with when the next is possible. Returns a row for each item: inserted, updated, unchanged or rejected with the reason; a bad item does not stop the others. Of two sessions that send an item at once one is told inserted. Error 22023 where the batch is no array.';

CREATE FUNCTION prm.renew_certificate(certificate_id bigint, renewed_on date DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(renew_certificate.program_id);
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(the_program))::date;
  the_day date := coalesce(renew_certificate.renewed_on, the_today);
  the_id bigint;
  the_fault text;
  certificate record;
BEGIN
  -- Locked, so that two clicks renew once.
  SELECT c.partner_user_id, c.certification, c.issued_on, c.valid_until, k.renewal_days, k.valid_months INTO certificate FROM prm.certificate c
    JOIN prm.certification k ON k.program_id = the_program AND k.certification = c.certification
    WHERE c.program_id = the_program AND c.certificate_id = renew_certificate.certificate_id FOR UPDATE OF c;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('certificate %s does not exist', coalesce(renew_certificate.certificate_id::text, 'NULL')),
      DETAIL = format('Programme %s has no such certificate that you may see.', the_program), HINT = 'SELECT certificate_id FROM prm.v_certificate lists them.';
  END IF;
  SELECT c.certificate_id INTO the_id FROM prm.certificate c
    WHERE c.program_id = the_program AND c.partner_user_id = certificate.partner_user_id AND c.certification = certificate.certification
      AND (c.renews_id = renew_certificate.certificate_id OR c.issued_on > certificate.issued_on)
    ORDER BY c.issued_on, c.certificate_id LIMIT 1;
  IF the_id IS NOT NULL THEN
    RETURN the_id;
  END IF;
  IF NOT isfinite(the_day) THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a certificate is renewed on a day', DETAIL = format('renewed_on is %s.', the_day), HINT = 'Leave renewed_on out for today.';
  END IF;
  the_fault := CASE WHEN certificate.valid_until IS NULL THEN 'It has no end.'
    WHEN certificate.valid_months IS NULL THEN format('Certification "%s" has no term of its own, so nobody can say until when.', certificate.certification)
    WHEN the_day <= certificate.issued_on THEN format('It was issued on %s.', to_char(certificate.issued_on, 'YYYY-MM-DD'))
    WHEN the_day > the_today THEN format('%s lies in the future.', to_char(the_day, 'YYYY-MM-DD'))
    WHEN the_day < certificate.valid_until - certificate.renewal_days THEN format('It is valid until %s and can be renewed from %s on.', to_char(certificate.valid_until, 'YYYY-MM-DD'),
      to_char(certificate.valid_until - certificate.renewal_days, 'YYYY-MM-DD'))
    WHEN EXISTS (SELECT 1 FROM prm.certificate_revocation r WHERE r.program_id = the_program AND r.certificate_id = renew_certificate.certificate_id) THEN 'It was revoked.' END;
  IF the_fault IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('certificate %s cannot be renewed', renew_certificate.certificate_id), DETAIL = the_fault,
      HINT = 'INSERT INTO prm.certificate issues one that stands for itself.', SCHEMA = 'prm', TABLE = 'certificate';
  END IF;
  INSERT INTO prm.certificate AS n (program_id, partner_user_id, certification, issued_on, renews_id)
    VALUES (the_program, certificate.partner_user_id, certificate.certification, the_day, renew_certificate.certificate_id)
    RETURNING n.certificate_id INTO the_id;
  RETURN the_id;
END
$prm$;
COMMENT ON FUNCTION prm.renew_certificate(bigint, date, bigint) IS
'Renews a certificate by a new one, on a day (NULL: today), and returns its number. In the renewal window it counts from the end of the old one or from the day, as the certification''s renew_from says; after the end from the day. Where it was renewed already, the number of that renewal. Errors: 42704 unknown certificate, 55000 too early, revoked, or without end.';

CREATE FUNCTION prm.revoke_certificate(certificate_id bigint, reason text, revoked_on date DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS date
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(revoke_certificate.program_id);
  the_day date;
BEGIN
  IF coalesce(btrim(revoke_certificate.reason), '') = '' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a revocation needs a reason', DETAIL = 'The reason given is empty.',
      HINT = 'SELECT prm.revoke_certificate(7, ''exam was not taken in person'').';
  END IF;
  IF NOT isfinite(revoke_certificate.revoked_on) THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a certificate is revoked from a day on', DETAIL = format('revoked_on is %s.', revoke_certificate.revoked_on),
      HINT = 'Leave revoked_on out for today.';
  END IF;
  -- The trigger of the table does the rest, and fills the other columns.
  INSERT INTO prm.certificate_revocation AS n (program_id, certificate_id, revoked_on, reason)
    VALUES (the_program, revoke_certificate.certificate_id, revoke_certificate.revoked_on, revoke_certificate.reason)
    RETURNING n.revoked_on INTO the_day;
  RETURN the_day;
END
$prm$;
COMMENT ON FUNCTION prm.revoke_certificate(bigint, text, date, bigint) IS
'Takes a certificate back from a day on (NULL: today), with a reason, and returns that day. Errors: 22023 no reason, 42704 unknown certificate, 23505 revoked already, 55000 not valid any more.';

CREATE FUNCTION prm._certified_people(program_id bigint, partner_ids bigint[], moment timestamptz, certifications text[]) RETURNS SETOF prm.metric_row
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_today date := (_certified_people.moment AT TIME ZONE prm._program_time_zone(_certified_people.program_id))::date;
BEGIN
  RETURN QUERY
    SELECT i.partner_id, k.certification, count(DISTINCT c.partner_user_id)::numeric, _certified_people.moment
    FROM unnest(_certified_people.partner_ids) AS i(partner_id)
    CROSS JOIN unnest(_certified_people.certifications) AS k(certification)
    LEFT JOIN LATERAL (
      SELECT u.partner_user_id FROM prm.partner_user u
      JOIN prm.certificate x ON x.program_id = _certified_people.program_id AND x.partner_user_id = u.partner_user_id AND x.certification = k.certification
        AND x.issued_on <= the_today AND (x.valid_until IS NULL OR x.valid_until >= the_today)
      WHERE u.program_id = _certified_people.program_id AND u.partner_id = i.partner_id AND u.is_active OFFSET 0) c ON true
    GROUP BY i.partner_id, k.certification;
END
$prm$;
COMMENT ON FUNCTION prm._certified_people(bigint, bigint[], timestamptz, text[]) IS
'How many active people of the partners hold each certification at a moment; the certification stands where a metric would. Certificates count through their last day in the programme''s zone.';

CREATE FUNCTION prm._work_certificates(program_id bigint) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(_work_certificates.program_id))::date;
  the_horizon integer;
  the_awarded bigint;
  the_count bigint;
BEGIN
  -- What transactions that could not see each other did in the last days is looked at once more.
  the_awarded := prm._award_certificates(_work_certificates.program_id, ARRAY(
    SELECT a.partner_user_id FROM prm.exam_attempt a WHERE a.program_id = _work_certificates.program_id AND a.recorded_at > clock_timestamp() - interval '3 days'
    UNION
    SELECT c.partner_user_id FROM prm.course_completion c WHERE c.program_id = _work_certificates.program_id AND c.recorded_at > clock_timestamp() - interval '3 days'
    ORDER BY 1));
  SELECT max(d.days) INTO the_horizon FROM prm.certification k CROSS JOIN LATERAL unnest(k.reminder_days) AS d(days)
    WHERE k.program_id = _work_certificates.program_id AND k.is_active;
  -- The row that says that it was done comes first: of two sessions one finds it there and writes no message.
  WITH due AS (
    SELECT c.certificate_id, c.valid_until, d.days, d.days = min(d.days) OVER (PARTITION BY c.certificate_id) AS is_sent
    FROM prm.certificate c
    JOIN prm.certification k ON k.program_id = _work_certificates.program_id AND k.certification = c.certification AND k.is_active
    JOIN prm.partner_user u ON u.program_id = _work_certificates.program_id AND u.partner_user_id = c.partner_user_id AND u.is_active
    JOIN prm.partner p ON p.program_id = _work_certificates.program_id AND p.partner_id = c.partner_id
    CROSS JOIN LATERAL (SELECT DISTINCT r.days FROM unnest(k.reminder_days) AS r(days)) d
    WHERE c.program_id = _work_certificates.program_id AND c.valid_until >= the_today AND c.valid_until <= the_today + the_horizon
      AND d.days >= c.valid_until - the_today AND prm._is_live_partner(p.state)
      -- Whoever holds a later one need not be told.
      AND NOT EXISTS (SELECT 1 FROM prm.certificate l WHERE l.program_id = _work_certificates.program_id AND l.partner_user_id = c.partner_user_id
        AND l.certification = c.certification AND (l.valid_until IS NULL OR l.valid_until > c.valid_until))
      AND NOT EXISTS (SELECT 1 FROM prm.certificate_revocation r WHERE r.program_id = _work_certificates.program_id AND r.certificate_id = c.certificate_id)),
  written AS (
    INSERT INTO prm.certificate_reminder (program_id, certificate_id, days_before, valid_until, is_sent, reminded_at)
      SELECT _work_certificates.program_id, d.certificate_id, d.days, d.valid_until, d.is_sent, prm.now() FROM due d ORDER BY d.certificate_id, d.days
      ON CONFLICT DO NOTHING RETURNING certificate_id, days_before, valid_until, is_sent)
  INSERT INTO prm.outbox (program_id, aggregate_type, aggregate_id, event_type, channel, payload, occurred_at, available_at)
    SELECT _work_certificates.program_id, 'certificate', w.certificate_id::text, 'certificate.expiring', k.reminder_channel,
      jsonb_strip_nulls(jsonb_build_object('certification', c.certification, 'label', k.label, 'partner_id', c.partner_id, 'partner_user_id', c.partner_user_id, 'person', u.name, 'email', u.email,
        'valid_until', w.valid_until, 'days_left', w.valid_until - the_today, 'days_before', w.days_before, 'renewable_from', w.valid_until - k.renewal_days)), prm.now(), prm.now()
    FROM written w
    JOIN prm.certificate c ON c.program_id = _work_certificates.program_id AND c.certificate_id = w.certificate_id
    JOIN prm.certification k ON k.program_id = _work_certificates.program_id AND k.certification = c.certification
    JOIN prm.partner_user u ON u.program_id = _work_certificates.program_id AND u.partner_user_id = c.partner_user_id
    WHERE w.is_sent ORDER BY w.certificate_id;
  GET DIAGNOSTICS the_count = ROW_COUNT;
  RETURN the_awarded + the_count;
END
$prm$;
COMMENT ON FUNCTION prm._work_certificates(bigint) IS
'The job certificates: issues what concurrent steps hid from each other, and writes a message certificate.expiring for each certificate whose end is as near as one of the reminder_days of its certification, once for each; of several that are due on one day the nearest. Nobody is told who holds a later certificate, was revoked or left. Returns how many certificates and messages.';
