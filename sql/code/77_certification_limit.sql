
-- How often an exam may be taken: what the limits leave of attempts, and which attempts of a batch they let in.

CREATE TYPE prm.exam_covered AS (exam_limit_id bigint, exam text);
COMMENT ON TYPE prm.exam_covered IS 'An exam whose attempts a limit counts; internal.';

CREATE TYPE prm.exam_standing AS (place integer, attempts_left integer, next_at timestamptz, is_never boolean, reason text);
COMMENT ON TYPE prm.exam_standing IS
'What the limits leave to a person for an exam at a moment: place in what was asked, attempts left (NULL: their number is not limited), from when on another is possible (NULL: at that moment), whether never again, and why not then; internal.';

CREATE TYPE prm.exam_attempts_row AS (partner_user_id bigint, exam text, attempts bigint, last_attempt_at timestamptz, passed_at timestamptz, attempts_left integer, is_possible boolean, next_at timestamptz, reason text);
COMMENT ON TYPE prm.exam_attempts_row IS
'A row of exam_attempts_left(): person, exam, how often it was taken, when last, and when it was first passed, how many attempts are left (NULL: their number is not limited), whether one is possible now, from when on one is (now, or later; NULL: never), and why not now.';

CREATE FUNCTION prm._exams_covered(program_id bigint) RETURNS SETOF prm.exam_covered
LANGUAGE plpgsql STABLE ROWS 20 SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  RETURN QUERY
    SELECT l.exam_limit_id, l.exam FROM prm.exam_limit l WHERE l.program_id = _exams_covered.program_id AND l.is_active AND l.exam IS NOT NULL
    UNION
    -- Of a certification the exams of its tracks, all together.
    SELECT l.exam_limit_id, s.exam FROM prm.exam_limit l
    JOIN prm.track t ON t.program_id = _exams_covered.program_id AND t.certification = l.certification AND t.is_active
    JOIN prm.track_step s ON s.program_id = _exams_covered.program_id AND s.track = t.track AND s.exam IS NOT NULL
    WHERE l.program_id = _exams_covered.program_id AND l.is_active;
END
$prm$;
COMMENT ON FUNCTION prm._exams_covered(bigint) IS 'Which exams the limits in force count.';

CREATE FUNCTION prm._exam_standings(program_id bigint, people bigint[], exams text[], moments timestamptz[], refs text[], taken prm.lms_item[]) RETURNS SETOF prm.exam_standing
LANGUAGE plpgsql STABLE ROWS 1000 SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = force_custom_plan SET enable_nestloop = off SET intervalstyle = 'postgres' AS $prm$
#variable_conflict use_column
DECLARE
  the_zone text := prm._program_time_zone(_exam_standings.program_id);
BEGIN
  -- Nobody knows how many rows come of a limit, and loops over loops would be taken for cheap; what is looked up by key is small.
  RETURN QUERY
    WITH cover AS MATERIALIZED (SELECT c.exam_limit_id, c.exam FROM prm._exams_covered(_exam_standings.program_id) c),
    asked AS MATERIALIZED (
      SELECT a.place, a.person, a.moment, a.ref, l.exam_limit_id, l.max_attempts, l.period, l.retry_after, l.counts, l.counts_from
      FROM unnest(_exam_standings.people, _exam_standings.exams, _exam_standings.moments, _exam_standings.refs) WITH ORDINALITY AS a(person, exam, moment, ref, place)
      JOIN cover c ON c.exam = a.exam
      JOIN prm.exam_limit l ON l.program_id = _exam_standings.program_id AND l.exam_limit_id = c.exam_limit_id),
    tried AS (
      -- What lies before, but not the attempt itself, which another session may just have written.
      SELECT a.place, a.exam_limit_id, o.attempted_at AS at, o.passed
      FROM asked a JOIN cover c ON c.exam_limit_id = a.exam_limit_id
      CROSS JOIN LATERAL (SELECT x.attempted_at, x.passed FROM prm.exam_attempt x WHERE x.program_id = _exam_standings.program_id AND x.partner_user_id = a.person AND x.exam = c.exam
        AND x.attempted_at <= a.moment AND (a.ref IS NULL OR x.external_ref IS DISTINCT FROM a.ref) OFFSET 0) o
      UNION ALL
      SELECT a.place, a.exam_limit_id, i.moment, i.score >= e.pass_mark
      FROM asked a
      JOIN unnest(_exam_standings.taken) i ON i.partner_user_id = a.person AND i.moment <= a.moment
      JOIN cover c ON c.exam_limit_id = a.exam_limit_id AND c.exam = i.subject
      JOIN prm.exam e ON e.program_id = _exam_standings.program_id AND e.exam = i.subject),
    seen AS (
      SELECT a.*, t.at, t.passed, coalesce(max(t.at) FILTER (WHERE t.passed) OVER (PARTITION BY a.place, a.exam_limit_id), '-infinity') AS passed_at
      FROM asked a
      LEFT JOIN tried t ON t.place = a.place AND t.exam_limit_id = a.exam_limit_id AND (a.counts_from IS NULL OR (t.at AT TIME ZONE the_zone)::date >= a.counts_from)),
    counted AS (
      SELECT s.*, s.at IS NOT NULL AND CASE s.counts WHEN 'failed' THEN NOT s.passed WHEN 'since_pass' THEN s.at > s.passed_at ELSE true END
        AND (s.period IS NULL OR ((s.at AT TIME ZONE the_zone) + s.period) AT TIME ZONE the_zone > s.moment) AS counts_now
      FROM seen s),
    used AS (
      SELECT c.place, c.moment, c.max_attempts, c.period, c.retry_after, count(*) FILTER (WHERE c.counts_now) AS number,
        -- When that many are left behind, one less than the limit counts.
        (array_agg(c.at ORDER BY c.at DESC) FILTER (WHERE c.counts_now))[c.max_attempts] AS edge, max(c.at) FILTER (WHERE NOT c.passed AND c.at > c.passed_at) AS failed_at
      FROM counted c GROUP BY c.place, c.exam_limit_id, c.moment, c.max_attempts, c.period, c.retry_after),
    judged AS (
      SELECT u.place, u.max_attempts, u.period, u.failed_at, n.attempts_left, n.attempts_left = 0 AND u.period IS NULL AS is_never, CASE WHEN n.attempts_left = 0 THEN ((u.edge AT TIME ZONE the_zone) + u.period) AT TIME ZONE the_zone END AS frees_at,
        CASE WHEN w.waits_until > u.moment THEN w.waits_until END AS waits_until
      FROM used u
      CROSS JOIN LATERAL (SELECT greatest(u.max_attempts - u.number, 0)::integer AS attempts_left WHERE u.max_attempts IS NOT NULL UNION ALL SELECT NULL WHERE u.max_attempts IS NULL) n
      CROSS JOIN LATERAL (SELECT ((u.failed_at AT TIME ZONE the_zone) + u.retry_after) AT TIME ZONE the_zone AS waits_until) w)
    SELECT j.place::integer, min(j.attempts_left), max(greatest(j.frees_at, j.waits_until)), bool_or(coalesce(j.is_never, false)),
      (array_agg(CASE
          WHEN j.is_never THEN format('the limit of %s attempts is used up', j.max_attempts)
          WHEN j.frees_at >= j.waits_until OR j.waits_until IS NULL THEN format('the limit of %s attempts in %s is used up; the next is possible from %s on', j.max_attempts, j.period, to_char(j.frees_at AT TIME ZONE the_zone, 'YYYY-MM-DD HH24:MI'))
          ELSE format('the attempt of %s failed; the next is possible from %s on', to_char(j.failed_at AT TIME ZONE the_zone, 'YYYY-MM-DD HH24:MI'), to_char(j.waits_until AT TIME ZONE the_zone, 'YYYY-MM-DD HH24:MI')) END
        ORDER BY coalesce(j.is_never, false) DESC, greatest(j.frees_at, j.waits_until) DESC NULLS LAST)
        FILTER (WHERE j.is_never OR j.frees_at IS NOT NULL OR j.waits_until IS NOT NULL))[1]
    FROM judged j GROUP BY j.place;
END
$prm$;
COMMENT ON FUNCTION prm._exam_standings(bigint, bigint[], text[], timestamptz[], text[], prm.lms_item[]) IS
'What the limits leave to each person for the exam at the moment beside it, by what was attempted before: what is stored (but not under the external_ref beside it) and the attempts of a batch that were let in already. No row: nothing limits it.';

CREATE FUNCTION prm._judge_attempts(program_id bigint, items prm.lms_item[]) RETURNS prm.lms_item[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = force_custom_plan AS $prm$
#variable_conflict use_column
DECLARE
  the_open prm.lms_item[];
  the_turn prm.lms_item[];
  the_taken prm.lms_item[] := '{}';
  the_standings prm.exam_standing[];
  the_people bigint[];
  the_numbers integer[] := '{}';
  the_reasons text[] := '{}';
BEGIN
  -- A new attempt, and one that is moved to another exam.
  SELECT array_agg(i), array_agg(DISTINCT i.partner_user_id ORDER BY i.partner_user_id) INTO the_open, the_people FROM unnest(_judge_attempts.items) i
    WHERE i.kind = 'attempt' AND i.subject IN (SELECT c.exam FROM prm._exams_covered(_judge_attempts.program_id) c)
      AND (i.outcome = 'inserted' OR i.outcome = 'updated' AND NOT EXISTS (SELECT 1 FROM prm.exam_attempt o
        WHERE o.program_id = _judge_attempts.program_id AND o.exam_attempt_id = i.known_id AND o.exam = i.subject));
  IF the_open IS NULL THEN
    RETURN _judge_attempts.items;
  END IF;
  -- Two sessions that report attempts of a person at once must see each other: the second waits, and where it may not see the
  -- first it is told to try again (40001), which a lock alone would not do.
  PERFORM 1 FROM prm.partner_user u WHERE u.program_id = _judge_attempts.program_id AND u.partner_user_id = ANY (the_people) ORDER BY u.partner_user_id FOR NO KEY UPDATE;
  UPDATE prm.partner_user u SET name = u.name WHERE u.program_id = _judge_attempts.program_id AND u.partner_user_id = ANY (the_people);
  -- In turns, the earliest of each person first: what is let in counts for what comes after it.
  LOOP
    the_turn := ARRAY(SELECT DISTINCT ON (i.partner_user_id) i FROM unnest(the_open) i ORDER BY i.partner_user_id, i.moment, i.item);
    EXIT WHEN cardinality(the_turn) = 0;
    the_standings := ARRAY(SELECT s FROM prm._exam_standings(_judge_attempts.program_id, ARRAY(SELECT i.partner_user_id FROM unnest(the_turn) WITH ORDINALITY i ORDER BY i.ordinality),
      ARRAY(SELECT i.subject FROM unnest(the_turn) WITH ORDINALITY i ORDER BY i.ordinality), ARRAY(SELECT i.moment FROM unnest(the_turn) WITH ORDINALITY i ORDER BY i.ordinality),
      ARRAY(SELECT i.external_ref FROM unnest(the_turn) WITH ORDINALITY i ORDER BY i.ordinality), the_taken) s WHERE s.is_never OR s.next_at IS NOT NULL);
    the_numbers := the_numbers || ARRAY(SELECT (the_turn[s.place]).item FROM unnest(the_standings) WITH ORDINALITY s ORDER BY s.ordinality);
    the_reasons := the_reasons || ARRAY(SELECT s.reason FROM unnest(the_standings) WITH ORDINALITY s ORDER BY s.ordinality);
    the_taken := the_taken || ARRAY(SELECT i FROM unnest(the_turn) i WHERE i.item NOT IN (SELECT n.number FROM unnest(the_numbers) AS n(number)));
    the_open := ARRAY(SELECT i FROM unnest(the_open) i WHERE i.item NOT IN (SELECT t.item FROM unnest(the_turn) t));
  END LOOP;
  RETURN ARRAY(
    SELECT ROW(i.item, i.kind, i.external_ref, i.partner_user_id, i.subject, i.score, i.moment, i.from_day, i.until_day, i.known_id, CASE WHEN r.number IS NULL THEN i.outcome ELSE 'rejected' END, coalesce(r.reason, i.fault))::prm.lms_item
    FROM unnest(_judge_attempts.items) i LEFT JOIN unnest(the_numbers, the_reasons) AS r(number, reason) ON r.number = i.item ORDER BY i.item);
END
$prm$;
COMMENT ON FUNCTION prm._judge_attempts(bigint, prm.lms_item[]) IS
'The items with the attempts rejected that are over a limit, each judged by what lies before it. Locks the people concerned until the end of the transaction.';

CREATE FUNCTION prm._exam_attempts(program_id bigint, people bigint[], exam text) RETURNS SETOF prm.exam_attempts_row
LANGUAGE plpgsql STABLE ROWS 1000 SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = force_custom_plan AS $prm$
#variable_conflict use_column
DECLARE
  the_people bigint[];
  the_exams text[];
BEGIN
  SELECT array_agg(p.partner_user_id ORDER BY p.partner_user_id, p.exam), array_agg(p.exam ORDER BY p.partner_user_id, p.exam) INTO the_people, the_exams
    FROM (
      SELECT t.partner_user_id, s.exam FROM prm.track_enrolment t JOIN prm.track_step s ON s.program_id = _exam_attempts.program_id AND s.track = t.track
      WHERE t.program_id = _exam_attempts.program_id AND s.exam IS NOT NULL AND (_exam_attempts.people IS NULL OR t.partner_user_id = ANY (_exam_attempts.people))
      UNION
      SELECT a.partner_user_id, a.exam FROM prm.exam_attempt a
      WHERE a.program_id = _exam_attempts.program_id AND (_exam_attempts.people IS NULL OR a.partner_user_id = ANY (_exam_attempts.people))
      UNION
      -- Of people who are named, every exam that is held.
      SELECT i.partner_user_id, e.exam FROM unnest(_exam_attempts.people) AS i(partner_user_id) CROSS JOIN prm.exam e WHERE e.program_id = _exam_attempts.program_id AND e.is_active) p
    WHERE _exam_attempts.exam IS NULL OR p.exam = _exam_attempts.exam;
  RETURN QUERY
    SELECT p.partner_user_id, p.exam, coalesce(a.attempts, 0), a.last_at, a.passed_at, s.attempts_left, NOT coalesce(s.is_never, false) AND s.next_at IS NULL,
      CASE WHEN NOT coalesce(s.is_never, false) THEN coalesce(s.next_at, prm.now()) END, s.reason
    FROM unnest(the_people, the_exams) WITH ORDINALITY AS p(partner_user_id, exam, place)
    LEFT JOIN prm._exam_standings(_exam_attempts.program_id, the_people, the_exams, array_fill(prm.now(), ARRAY[coalesce(cardinality(the_people), 0)]), NULL, NULL) s ON s.place = p.place
    CROSS JOIN LATERAL (SELECT count(*) AS attempts, max(x.attempted_at) AS last_at, min(x.attempted_at) FILTER (WHERE x.passed) AS passed_at FROM prm.exam_attempt x
      WHERE x.program_id = _exam_attempts.program_id AND x.partner_user_id = p.partner_user_id AND x.exam = p.exam AND x.attempted_at <= prm.now() OFFSET 0) a;
END
$prm$;
COMMENT ON FUNCTION prm._exam_attempts(bigint, bigint[], text) IS
'How the people (NULL: everybody who is to take or took an exam) stand with an exam (NULL: with each), see exam_attempts_left().';

CREATE FUNCTION prm.exam_attempts_left(partner_user_id bigint DEFAULT NULL, exam text DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.exam_attempts_row
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(exam_attempts_left.program_id);
BEGIN
  IF exam_attempts_left.partner_user_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM prm.partner_user u WHERE u.program_id = the_program AND u.partner_user_id = exam_attempts_left.partner_user_id) THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('person %s does not exist', exam_attempts_left.partner_user_id),
      DETAIL = format('Programme %s has no such row in prm.partner_user that you may see.', the_program), HINT = 'SELECT partner_user_id, name FROM prm.partner_user lists them.';
  ELSIF exam_attempts_left.exam IS NOT NULL AND NOT EXISTS (SELECT 1 FROM prm.exam e WHERE e.program_id = the_program AND e.exam = exam_attempts_left.exam) THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('exam "%s" does not exist', exam_attempts_left.exam),
      DETAIL = format('Programme %s has no such exam.', the_program), HINT = 'SELECT exam FROM prm.exam lists them.';
  END IF;
  RETURN QUERY SELECT a.* FROM prm._exam_attempts(the_program, CASE WHEN exam_attempts_left.partner_user_id IS NOT NULL THEN ARRAY[exam_attempts_left.partner_user_id] END, exam_attempts_left.exam) a
    ORDER BY a.partner_user_id, a.exam;
END
$prm$;
COMMENT ON FUNCTION prm.exam_attempts_left(bigint, text, bigint) IS
'How many attempts prm.exam_limit leaves to a person (NULL: to everybody who is to take or took one) for an exam (NULL: for each), and when the next is possible. Errors: 42704 unknown person or exam.';
