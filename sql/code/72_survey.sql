
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
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('options of %s() are no object', _known_options.verb),
      DETAIL = format('They are %s.', _known_options.options), HINT = format('Give a JSON object; the keys are %s.', array_to_string(_known_options.known, ', '));
  END IF;
  SELECT k.name INTO the_unknown FROM jsonb_object_keys(_known_options.options) AS k(name) WHERE NOT k.name = ANY (_known_options.known) ORDER BY k.name LIMIT 1;
  IF the_unknown IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('%s() has no option "%s"', _known_options.verb, the_unknown),
      DETAIL = format('The options are %s.', array_to_string(_known_options.known, ', ')), HINT = 'Correct the name or leave it out.';
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._known_options(text, jsonb, text[]) IS 'Error 22023 where options is no JSON object or has a key that is not known.';

CREATE FUNCTION prm._option_number(options jsonb, name text) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_text text := nullif(_option_number.options ->> _option_number.name, '');
BEGIN
  IF the_text !~ '^[0-9]{1,18}$' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('%s is no number', _option_number.name),
      DETAIL = format('It is %s.', _option_number.options -> _option_number.name), HINT = 'Give the whole number of a row, or leave the option out.';
  END IF;
  RETURN the_text::bigint;
END
$prm$;
COMMENT ON FUNCTION prm._option_number(jsonb, text) IS 'The number of a row among options; NULL where it is left out. Error 22023 for anything but a whole number.';

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
  the_ask bigint := prm._option_number(nps_response.options, 'survey_ask_id');
  the_wave bigint;
  the_user bigint := prm._option_number(nps_response.options, 'partner_user_id');
  the_customer bigint := prm._option_number(nps_response.options, 'customer_id');
  the_zone text := prm._program_time_zone(the_program);
  the_moment timestamptz := prm.now();
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
  IF nps_response.options ->> 'answered_at' IS NOT NULL THEN
    the_moment := prm._usage_moment(nps_response.options ->> 'answered_at', the_zone);
    IF the_moment IS NULL OR the_moment > prm.now() + interval '1 day' THEN
      RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = CASE WHEN the_moment IS NULL THEN 'answered_at is no moment' ELSE 'answered_at lies in the future' END,
        DETAIL = format('It is %s.', nps_response.options -> 'answered_at'), HINT = 'Give it in ISO 8601, such as 2026-06-01T09:00:00Z; without an offset it is of the programme''s zone.';
    END IF;
  END IF;
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
