
-- Surveys: net promoter scores, waves and their due lists, answers. The counting is C, see src/survey.c.

CREATE FUNCTION prm.nps_class(score numeric) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_nps_class';
COMMENT ON FUNCTION prm.nps_class(numeric) IS 'promoter for 9 and 10, passive for 7 and 8, detractor for 0 to 6. Error 22023 for anything but a whole number of 0 to 10.';

CREATE FUNCTION prm._nps_add(state bigint[], score numeric) RETURNS bigint[]
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_nps_add';
COMMENT ON FUNCTION prm._nps_add(bigint[], numeric) IS 'Transition function of the aggregates nps and nps_margin.';
CREATE FUNCTION prm._nps_combine(state bigint[], other bigint[]) RETURNS bigint[]
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_nps_combine';
COMMENT ON FUNCTION prm._nps_combine(bigint[], bigint[]) IS 'Combine function of the aggregates nps and nps_margin.';
CREATE FUNCTION prm._nps_final(state bigint[]) RETURNS numeric
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_nps_final';
COMMENT ON FUNCTION prm._nps_final(bigint[]) IS 'Final function of the aggregate nps.';
CREATE FUNCTION prm._nps_margin_final(state bigint[]) RETURNS numeric
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_nps_margin_final';
COMMENT ON FUNCTION prm._nps_margin_final(bigint[]) IS 'Final function of the aggregate nps_margin.';

CREATE AGGREGATE prm.nps(score numeric) (
  SFUNC = prm._nps_add, STYPE = bigint[], INITCOND = '{0,0,0}',
  COMBINEFUNC = prm._nps_combine, FINALFUNC = prm._nps_final, PARALLEL = safe);
COMMENT ON AGGREGATE prm.nps(numeric) IS
'Net promoter score, -100 to 100: the percentage of answers of 9 and 10 less that of 0 to 6, of all answers. NULLs are no answers; NULL without answers. Error 22023 for anything but a whole number of 0 to 10.';
CREATE AGGREGATE prm.nps_margin(score numeric) (
  SFUNC = prm._nps_add, STYPE = bigint[], INITCOND = '{0,0,0}',
  COMBINEFUNC = prm._nps_combine, FINALFUNC = prm._nps_margin_final, PARALLEL = safe);
COMMENT ON AGGREGATE prm.nps_margin(numeric) IS
'Margin of error of prm.nps() at 95 %, in points: the score of everybody lies within nps plus or minus this in 95 of 100 samples. NULL for fewer than two answers. Error 22023 as for nps.';

CREATE TYPE prm.survey_setting AS (survey text, asks text, partner_kind text, channel text, open_days integer, spread_days integer, min_gap_days integer);
COMMENT ON TYPE prm.survey_setting IS 'What a function needs to know of a survey.';

CREATE FUNCTION prm._is_live_partner(state text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS
$prm$ SELECT _is_live_partner.state NOT IN ('rejected', 'offboarding', 'terminated') $prm$;
COMMENT ON FUNCTION prm._is_live_partner(text) IS 'Whether a partner in this state takes part in surveys, recognition and adoption: all but rejected, offboarding and terminated ones.';

CREATE FUNCTION prm._known_options(verb text, options jsonb, known text[]) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_unknown text;
BEGIN
  IF jsonb_typeof(coalesce(_known_options.options, '{}')) <> 'object' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('the options of %s are no object', _known_options.verb),
      DETAIL = format('They are %s.', _known_options.options), HINT = format('Give a JSON object; the keys are %s.', array_to_string(_known_options.known, ', '));
  END IF;
  SELECT k.name INTO the_unknown FROM jsonb_object_keys(_known_options.options) AS k(name) WHERE NOT k.name = ANY (_known_options.known) ORDER BY k.name LIMIT 1;
  IF the_unknown IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('%s has no option "%s"', _known_options.verb, the_unknown),
      DETAIL = format('The options are %s.', array_to_string(_known_options.known, ', ')), HINT = 'Correct the name or leave it out.';
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._known_options(text, jsonb, text[]) IS 'Error 22023 where options is no JSON object or has a key that is not known.';

CREATE FUNCTION prm._survey_argument(program_id bigint, survey text) RETURNS prm.survey_setting
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_setting prm.survey_setting;
BEGIN
  SELECT s.survey, s.asks, s.partner_kind, s.channel, s.open_days, s.spread_days, s.min_gap_days INTO the_setting FROM prm.survey s
    WHERE s.program_id = _survey_argument.program_id AND s.survey = _survey_argument.survey;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('survey "%s" does not exist', coalesce(_survey_argument.survey, 'NULL')),
      DETAIL = format('The surveys of programme %s are %s.', _survey_argument.program_id,
        coalesce((SELECT string_agg(s.survey, ', ' ORDER BY s.survey) FROM prm.survey s WHERE s.program_id = _survey_argument.program_id), 'none')),
      HINT = 'Correct the name, or define it: INSERT INTO prm.survey (survey, label) VALUES (...).';
  END IF;
  RETURN the_setting;
END
$prm$;
COMMENT ON FUNCTION prm._survey_argument(bigint, text) IS 'The settings of a survey. Error 42704 where the programme has no such survey.';

CREATE FUNCTION prm.open_survey_wave(survey text, starts_on date DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(open_survey_wave.program_id);
  the_setting prm.survey_setting := prm._survey_argument(the_program, open_survey_wave.survey);
  the_zone text := prm._program_time_zone(the_program);
  the_start date := coalesce(open_survey_wave.starts_on, (prm.now() AT TIME ZONE the_zone)::date);
  the_moment timestamptz := the_start::timestamp AT TIME ZONE the_zone;
  -- Who is asked within these days, but not at their ends, is left in peace.
  the_quiet_from timestamptz := prm._days_later(the_program, the_moment, -the_setting.min_gap_days);
  the_quiet_to timestamptz := prm._days_later(the_program, the_moment, the_setting.min_gap_days);
  the_won text[];
  the_wave bigint;
BEGIN
  -- Waves are opened one after the other: each sees whom the one before asks.
  PERFORM pg_advisory_xact_lock(hashtextextended(format('prm survey waves %s', the_program), 7239211));
  IF NOT isfinite(the_start) OR the_start + the_setting.open_days <= (prm.now() AT TIME ZONE the_zone)::date THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a wave that is over asks nobody',
      DETAIL = format('It would be open from %s for %s days.', the_start, the_setting.open_days), HINT = 'Give a day from which it is open today or later, or leave it out for today.';
  END IF;
  INSERT INTO prm.survey_wave (program_id, survey, starts_on, ends_on) VALUES (the_program, the_setting.survey, the_start, the_start + the_setting.open_days)
    ON CONFLICT (program_id, survey, starts_on) DO NOTHING RETURNING survey_wave_id INTO the_wave;
  IF the_wave IS NULL THEN
    -- Whoever opened it before made its due list too, in the same transaction.
    SELECT w.survey_wave_id INTO the_wave FROM prm.survey_wave w WHERE w.program_id = the_program AND w.survey = the_setting.survey AND w.starts_on = the_start;
    RETURN the_wave;
  END IF;
  IF the_setting.asks = 'partner' THEN
    INSERT INTO prm.survey_ask (program_id, survey_wave_id, survey, partner_id, partner_user_id, channel, due_at)
      SELECT the_program, the_wave, the_setting.survey, u.partner_id, u.partner_user_id, the_setting.channel,
        ((the_start + ((row_number() OVER (ORDER BY u.partner_user_id) - 1) % (the_setting.spread_days + 1))::integer)::timestamp) AT TIME ZONE the_zone
      FROM prm.partner_user u JOIN prm.partner p ON p.program_id = the_program AND p.partner_id = u.partner_id
      WHERE u.program_id = the_program AND u.is_active AND prm._is_live_partner(p.state)
        AND (the_setting.partner_kind IS NULL OR p.kind = the_setting.partner_kind)
        AND NOT EXISTS (SELECT 1 FROM prm.survey_ask a WHERE a.program_id = the_program AND a.partner_user_id = u.partner_user_id
          AND a.due_at > the_quiet_from AND a.due_at < the_quiet_to)
      ORDER BY u.partner_user_id;
  ELSE
    -- A customer is asked once, about the partner that sold to it last.
    the_won := prm._won_states(the_program);
    INSERT INTO prm.survey_ask (program_id, survey_wave_id, survey, partner_id, customer_id, channel, due_at)
      SELECT the_program, the_wave, the_setting.survey, b.partner_id, b.customer_id, the_setting.channel,
        ((the_start + ((row_number() OVER (ORDER BY b.customer_id) - 1) % (the_setting.spread_days + 1))::integer)::timestamp) AT TIME ZONE the_zone
      FROM (
        SELECT DISTINCT ON (d.customer_id) d.customer_id, d.partner_id FROM prm.deal d
        WHERE d.program_id = the_program AND d.customer_id IS NOT NULL AND d.partner_id IS NOT NULL AND d.state = ANY (the_won)
          AND d.closed_at > prm._year_before(the_program, the_moment) AND d.closed_at < greatest(the_moment, prm.now())
        ORDER BY d.customer_id, d.closed_at DESC, d.deal_id DESC) b
      JOIN prm.partner p ON p.program_id = the_program AND p.partner_id = b.partner_id
      WHERE prm._is_live_partner(p.state) AND (the_setting.partner_kind IS NULL OR p.kind = the_setting.partner_kind)
        AND NOT EXISTS (SELECT 1 FROM prm.survey_ask a WHERE a.program_id = the_program AND a.customer_id = b.customer_id
          AND a.due_at > the_quiet_from AND a.due_at < the_quiet_to)
      ORDER BY b.customer_id;
  END IF;
  RETURN the_wave;
END
$prm$;
COMMENT ON FUNCTION prm.open_survey_wave(text, date, bigint) IS
'Opens a wave of a survey on a day (NULL: today) and writes its due list: the active people of the partners, or every customer that bought within the year, with the partner that sold to it last. Who was or will be asked by any survey within min_gap_days is left out. Returns the number of the wave; opening the same day twice gives the same wave. Error 42704 unknown survey.';

CREATE FUNCTION prm.nps_response(partner_id bigint, score numeric, survey text DEFAULT 'customer_nps', external_ref text DEFAULT NULL, options jsonb DEFAULT '{}',
  program_id bigint DEFAULT prm.current_program()) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(nps_response.program_id);
  the_partner bigint := nps_response.partner_id;
  the_setting prm.survey_setting := prm._survey_argument(the_program, nps_response.survey);
  the_ask bigint := prm._option_value('nps_response', nps_response.options, 'survey_ask_id', 'whole number')::bigint;
  the_wave bigint;
  the_user bigint := prm._option_value('nps_response', nps_response.options, 'partner_user_id', 'whole number')::bigint;
  the_customer bigint := prm._option_value('nps_response', nps_response.options, 'customer_id', 'whole number')::bigint;
  the_zone text := prm._program_time_zone(the_program);
  the_text text := prm._option_value('nps_response', nps_response.options, 'answered_at', 'moment');
  -- Without an offset it is of the programme's zone, and a day alone is its beginning.
  the_moment timestamptz := prm._not_to_come(coalesce(prm._usage_moment(the_text, the_zone), prm._usage_moment(the_text || ' 00:00', the_zone), the_text::timestamptz, prm.now()), 'an answer');
  the_id bigint;
  asked record;
  known record;
BEGIN
  PERFORM prm._known_options('nps_response', nps_response.options, ARRAY['survey_ask_id', 'partner_user_id', 'customer_id', 'answered_at', 'comment']);
  IF nps_response.score IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'an answer needs a score', DETAIL = 'The score is NULL.',
      HINT = 'Record nothing for who did not answer.';
  END IF;
  PERFORM prm.nps_class(nps_response.score);
  IF the_ask IS NOT NULL THEN
    SELECT a.survey, a.survey_wave_id, a.partner_id, a.partner_user_id, a.customer_id, w.ends_on INTO asked FROM prm.survey_ask a
      JOIN prm.survey_wave w ON w.program_id = the_program AND w.survey_wave_id = a.survey_wave_id
      WHERE a.program_id = the_program AND a.survey_ask_id = the_ask;
    IF NOT FOUND OR asked.survey <> the_setting.survey OR asked.partner_id <> coalesce(the_partner, asked.partner_id) THEN
      RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('ask %s of survey "%s" does not exist', the_ask, the_setting.survey),
        DETAIL = format('Programme %s has no such row of this survey and partner on a due list.', the_program),
        HINT = 'SELECT survey_ask_id, survey, partner_id FROM prm.survey_ask lists them.';
    END IF;
    -- What is answered after the wave is over does not change its figures any more.
    the_wave := CASE WHEN (the_moment AT TIME ZONE the_zone)::date < asked.ends_on THEN asked.survey_wave_id END;
    the_partner := asked.partner_id;
    the_user := asked.partner_user_id;
    the_customer := asked.customer_id;
  ELSE
    the_partner := prm._partner_argument(the_program, the_partner);
    IF the_user IS NOT NULL AND NOT EXISTS (SELECT 1 FROM prm.partner_user u WHERE u.program_id = the_program AND u.partner_user_id = the_user AND u.partner_id = the_partner) THEN
      RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('person %s of partner %s does not exist', the_user, the_partner),
        DETAIL = format('Programme %s has no such person of this partner that you may see.', the_program), HINT = 'SELECT partner_user_id, name FROM prm.partner_user lists them.';
    ELSIF the_customer IS NOT NULL AND NOT EXISTS (SELECT 1 FROM prm.customer c WHERE c.program_id = the_program AND c.customer_id = the_customer) THEN
      RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('customer %s does not exist', the_customer),
        DETAIL = format('Programme %s has no such customer that you may see.', the_program), HINT = 'SELECT customer_id, name FROM prm.customer lists them.';
    END IF;
    -- Without the number of the ask it is told by the person, where that is on the list of an open wave.
    SELECT a.survey_ask_id, a.survey_wave_id INTO the_ask, the_wave FROM prm.survey_ask a
      JOIN prm.survey_wave w ON w.program_id = the_program AND w.survey_wave_id = a.survey_wave_id
      WHERE a.program_id = the_program AND a.survey = the_setting.survey AND a.partner_id = the_partner
        AND (a.partner_user_id = the_user OR a.customer_id = the_customer)
        AND w.starts_on <= (the_moment AT TIME ZONE the_zone)::date AND w.ends_on > (the_moment AT TIME ZONE the_zone)::date
      ORDER BY a.due_at DESC LIMIT 1;
  END IF;
  INSERT INTO prm.survey_response (program_id, survey, survey_wave_id, survey_ask_id, partner_id, partner_user_id, customer_id, score, comment, answered_at, external_ref)
    VALUES (the_program, the_setting.survey, the_wave, the_ask, the_partner, the_user, the_customer, nps_response.score::integer,
      nps_response.options ->> 'comment', the_moment, nps_response.external_ref)
    ON CONFLICT DO NOTHING RETURNING survey_response_id INTO the_id;
  IF the_id IS NULL THEN
    SELECT r.survey_response_id, r.score, r.survey, r.partner_id INTO known FROM prm.survey_response r
      WHERE r.program_id = the_program AND (r.external_ref = nps_response.external_ref OR r.survey_ask_id = the_ask)
      ORDER BY r.external_ref = nps_response.external_ref DESC NULLS LAST LIMIT 1;
    IF known.survey_response_id IS NULL THEN
      RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = 'another session is recording this answer',
        DETAIL = 'It cannot be seen from this transaction.', HINT = 'Try the transaction again.';
    END IF;
    IF known.score <> nps_response.score OR known.survey <> the_setting.survey OR known.partner_id <> the_partner THEN
      RAISE EXCEPTION USING ERRCODE = '23505', MESSAGE = 'there is another answer already', TABLE = 'survey_response', SCHEMA = 'prm',
        DETAIL = format('Answer %s has the same reference or the same ask, and says %s about partner %s in survey "%s".', known.survey_response_id, known.score, known.partner_id, known.survey),
        HINT = 'The first answer stands; send a new one in the next wave, with a reference of its own.';
    END IF;
    the_id := known.survey_response_id;
  END IF;
  RETURN the_id;
END
$prm$;
COMMENT ON FUNCTION prm.nps_response(bigint, numeric, text, text, jsonb, bigint) IS
'Records an answer of 0 to 10 about a partner, once for each external_ref and for each ask of a wave, and returns its number; sent again it changes nothing. A detractor (0 to 6) opens exactly one alert task, as the survey says. What is answered after a wave has ended counts for the survey, but not for the wave. options: survey_ask_id, partner_user_id or customer_id (who answered), answered_at, comment. Errors: 22023 score or option, 42704 unknown survey, partner, person, customer or ask, 23505 the same reference with another score.';

CREATE FUNCTION prm._work_surveys(program_id bigint) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(_work_surveys.program_id))::date;
  the_waves bigint := 0;
  the_asked bigint;
BEGIN
  SELECT count(prm.open_survey_wave(s.survey, the_today, _work_surveys.program_id)) INTO the_waves FROM prm.survey s
    WHERE s.program_id = _work_surveys.program_id AND s.is_active AND s.every IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM prm.survey_wave w WHERE w.program_id = _work_surveys.program_id AND w.survey = s.survey
        AND (w.starts_on + s.every)::date > the_today);
  WITH due AS (
    UPDATE prm.survey_ask a SET asked_at = prm.now()
    FROM prm.survey_wave w, prm.survey s
    WHERE a.program_id = _work_surveys.program_id AND a.asked_at IS NULL AND a.due_at <= prm.now()
      AND w.program_id = _work_surveys.program_id AND w.survey_wave_id = a.survey_wave_id AND w.ends_on > the_today
      AND s.program_id = _work_surveys.program_id AND s.survey = a.survey AND s.is_active
      AND NOT EXISTS (SELECT 1 FROM prm.survey_response r WHERE r.program_id = _work_surveys.program_id AND r.survey_ask_id = a.survey_ask_id)
    RETURNING a.survey_ask_id, a.survey, a.survey_wave_id, a.partner_id, a.partner_user_id, a.customer_id, a.channel, s.question)
  INSERT INTO prm.outbox (program_id, aggregate_type, aggregate_id, event_type, channel, payload, occurred_at, available_at)
    SELECT _work_surveys.program_id, 'survey_ask', d.survey_ask_id::text, 'survey.ask', d.channel,
      jsonb_strip_nulls(jsonb_build_object('survey', d.survey, 'survey_wave_id', d.survey_wave_id, 'partner_id', d.partner_id,
        'partner_user_id', d.partner_user_id, 'customer_id', d.customer_id, 'question', d.question)), prm.now(), prm.now()
    FROM due d ORDER BY d.survey_ask_id;
  GET DIAGNOSTICS the_asked = ROW_COUNT;
  RETURN the_waves + the_asked;
END
$prm$;
COMMENT ON FUNCTION prm._work_surveys(bigint) IS 'The job surveys: opens the waves whose turn it is, and writes a message survey.ask for everybody on a due list whose time came. Returns how many waves and messages.';

CREATE TYPE prm.nps_group AS (group_no integer, survey text, dimension text, member text, partner_id bigint, survey_wave_id bigint, min_answers integer, answers bigint,
  promoters bigint, detractors bigint, score numeric, margin numeric, kind text, tier text, is_hidden boolean);
COMMENT ON TYPE prm.nps_group IS 'A group of answers with its scores, and whether they may be shown; internal, a row of _nps_groups().';
CREATE TYPE prm.nps_part AS (sum_of text, depth integer, group_no integer, is_whole boolean, answers bigint, min_answers integer);
COMMENT ON TYPE prm.nps_part IS 'That a group is one of the parts of a sum, or the whole: all answers are the sum of those about each partner, and so on; internal.';

CREATE FUNCTION prm._nps_hidden(parts prm.nps_part[], hidden integer[]) RETURNS integer[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = force_custom_plan AS $prm$
#variable_conflict use_column
DECLARE
  -- (A plan of its own each time: only then is the list of what is hidden looked up by hashing.)
  the_hidden integer[] := coalesce(_nps_hidden.hidden, '{}');
  the_next integer[];
BEGIN
  -- Complementary suppression. Whole = parts + rest, where the rest are answers that are in no part (outside of a wave, of a
  -- partner without a tier). Whoever knows the whole subtracts the parts that are shown and has what is left: that must be
  -- nothing, or at least min_answers answers that are not one hidden part alone. And a whole that is hidden itself must not be
  -- the sum of parts that are all shown. Where a sum breaks this, its smallest part that is shown is hidden too, or the whole
  -- where there is none. That may break other sums in which it stands, so this is done until none is broken; narrow sums first,
  -- since what is hidden for them serves the wide ones too. Each round hides something, so it ends.
  LOOP
    SELECT array_agg(DISTINCT b.group_no) INTO the_next
      FROM (
        SELECT coalesce(s.smallest, s.whole) AS group_no, s.depth, max(s.depth) OVER () AS deepest
        FROM (
          SELECT e.sum_of, max(e.depth) AS depth, max(e.min_answers) AS minimum, max(e.group_no) FILTER (WHERE e.is_whole) AS whole, bool_or(e.is_whole AND NOT e.is_hidden) AS is_known,
            coalesce(sum(e.answers) FILTER (WHERE e.is_whole), 0) - coalesce(sum(e.answers) FILTER (WHERE NOT e.is_whole), 0) AS rest,
            count(*) FILTER (WHERE NOT e.is_whole AND e.is_hidden) AS parts, coalesce(sum(e.answers) FILTER (WHERE NOT e.is_whole AND e.is_hidden), 0) AS answers,
            (array_agg(e.group_no ORDER BY e.answers, e.group_no) FILTER (WHERE NOT e.is_whole AND NOT e.is_hidden))[1] AS smallest
          FROM (SELECT p.sum_of, p.depth, p.group_no, p.is_whole, p.answers, p.min_answers, p.group_no = ANY (the_hidden) AS is_hidden FROM unnest(_nps_hidden.parts) p) e
          GROUP BY e.sum_of) s
        WHERE CASE WHEN s.is_known THEN (s.parts > 0 OR s.rest > 0) AND NOT (s.answers + s.rest >= s.minimum AND (s.parts <> 1 OR s.rest > 0))
                   ELSE s.parts = 0 AND s.rest = 0 AND s.smallest IS NOT NULL END) b
      WHERE b.depth = b.deepest;
    EXIT WHEN the_next IS NULL;
    the_hidden := the_hidden || the_next;
  END LOOP;
  RETURN the_hidden;
END
$prm$;
COMMENT ON FUNCTION prm._nps_hidden(prm.nps_part[], integer[]) IS
'The groups whose figures must not be shown, given those with too few answers: also those with whose help a hidden one, or fewer answers than the minimum, could be had by subtraction.';

CREATE FUNCTION prm._nps_groups(program_id bigint) RETURNS SETOF prm.nps_group
LANGUAGE plpgsql STABLE ROWS 200 SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_zone text := prm._program_time_zone(_nps_groups.program_id);
  the_groups prm.nps_group[];
  the_parts prm.nps_part[];
  the_hidden integer[];
BEGIN
  the_groups := ARRAY(
    SELECT ROW(row_number() OVER (ORDER BY r.survey, d.dimension, d.member), r.survey, d.dimension, d.member, d.partner_id, d.survey_wave_id, s.min_answers, count(*),
      count(*) FILTER (WHERE r.score >= 9), count(*) FILTER (WHERE r.score <= 6), prm.nps(r.score), prm.nps_margin(r.score), max(p.kind), max(p.tier), count(*) < s.min_answers)::prm.nps_group
    FROM prm.survey_response r
    JOIN prm.survey s ON s.program_id = _nps_groups.program_id AND s.survey = r.survey
    JOIN prm.partner p ON p.program_id = _nps_groups.program_id AND p.partner_id = r.partner_id
    LEFT JOIN prm.customer c ON c.program_id = _nps_groups.program_id AND c.customer_id = r.customer_id
    CROSS JOIN LATERAL (VALUES
      ('all', 'all', NULL::bigint, NULL::bigint),
      ('partner', r.partner_id::text, r.partner_id, NULL),
      ('wave', r.survey_wave_id::text, NULL, r.survey_wave_id),
      ('partner_wave', CASE WHEN r.survey_wave_id IS NOT NULL THEN format('%s/%s', r.partner_id, r.survey_wave_id) END, r.partner_id, r.survey_wave_id),
      ('month', to_char(r.answered_at AT TIME ZONE the_zone, 'YYYY-MM'), NULL, NULL),
      ('partner_kind', p.kind, NULL, NULL),
      ('tier', p.tier, NULL, NULL),
      ('country', coalesce(c.country, p.country), NULL, NULL),
      ('customer_segment', c.segment, NULL, NULL)) AS d(dimension, member, partner_id, survey_wave_id)
    WHERE r.program_id = _nps_groups.program_id AND d.member IS NOT NULL
    GROUP BY r.survey, d.dimension, d.member, d.partner_id, d.survey_wave_id, s.min_answers);
  SELECT array_agg(g.group_no) INTO the_hidden FROM unnest(the_groups) g WHERE g.is_hidden;
  -- All answers of a survey are those about each partner, in each wave, of each month and so on. A partner has one kind and one
  -- tier, so its answers are a part of theirs; those about it in a wave are a part of its own and of the wave's.
  SELECT array_agg(ROW(format('%s %s %s', length(g.survey), g.survey, x.name), CASE WHEN x.name LIKE 'by %' THEN 1 WHEN x.name ~ '^(kind|tier) ' THEN 2 ELSE 3 END, g.group_no, x.is_whole, g.answers, g.min_answers)::prm.nps_part) INTO the_parts
    FROM unnest(the_groups) g
    CROSS JOIN LATERAL (VALUES ('all', 'by partner', true), ('all', 'by wave', true), ('all', 'by month', true), ('all', 'by partner_kind', true), ('all', 'by tier', true),
      ('all', 'by country', true), ('all', 'by customer_segment', true), (nullif(nullif(g.dimension, 'partner_wave'), 'all'), 'by ' || g.dimension, false),
      ('partner_kind', 'kind ' || g.member, true), ('partner', 'kind ' || g.kind, false), ('tier', 'tier ' || g.member, true), ('partner', 'tier ' || g.tier, false),
      ('partner', 'partner ' || g.partner_id, true), ('partner_wave', 'partner ' || g.partner_id, false),
      ('wave', 'wave ' || g.survey_wave_id, true), ('partner_wave', 'wave ' || g.survey_wave_id, false)) AS x(dimension, name, is_whole)
    WHERE x.dimension = g.dimension AND x.name IS NOT NULL;
  the_hidden := prm._nps_hidden(the_parts, the_hidden);
  RETURN QUERY
    SELECT g.group_no, g.survey, g.dimension, g.member, g.partner_id, g.survey_wave_id, g.min_answers, g.answers, g.promoters, g.detractors, g.score, g.margin, g.kind, g.tier,
      g.group_no = ANY (the_hidden)
    FROM unnest(the_groups) g;
END
$prm$;
COMMENT ON FUNCTION prm._nps_groups(bigint) IS
'The answers of every survey by partner, wave, month and so on, with which of them may be shown. What it does not guard against: sums of several of these groups at once with knowledge of who is in which (months against waves), figures of yesterday against those of today, and the metrics customer_nps and partner_nps.';
