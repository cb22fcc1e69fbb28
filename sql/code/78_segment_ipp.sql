
-- The ideal partner profile: how near a partner is to it, and whether the profile tells who does well later.

CREATE TYPE prm.ipp_score_row AS (criterion text, label text, condition text, weight numeric, holds boolean, points numeric, possible numeric);
COMMENT ON TYPE prm.ipp_score_row IS
'A row of ipp_score(), one for each criterion: its condition and weight, whether it holds (NULL: it cannot be decided, which counts as no), the points that it gives and those that it could. The points sum to the score, the possible ones to 100.';
CREATE TYPE prm.ipp_point AS (partner_id bigint, moment timestamptz, criterion text, holds boolean, points numeric);
COMMENT ON TYPE prm.ipp_point IS 'What a criterion gives to a partner at a moment.';
CREATE TYPE prm.ipp_validation_row AS (part text, partners bigint, score_from numeric, score_to numeric, mean_revenue numeric, survived bigint, survival numeric, auc_survival numeric, auc_revenue numeric);
COMMENT ON TYPE prm.ipp_validation_row IS
'A row of ipp_validate(): all, or a quartile of the scores (quartile 1 the lowest; equal scores are in one quartile, so one may be missing); how many partners, their lowest and highest score, their mean revenue within the horizon, how many and which share were partners still at its end; for all of them also how often a survivor scores above one who left, and a partner with revenue above the median above one without (AUC: 0.5 tells nothing, 1 everything; NULL where there are not both).';

CREATE FUNCTION prm._ipp_version(program_id bigint, model text, version bigint) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_version integer;
BEGIN
  SELECT m.version INTO the_version FROM prm.ipp_model m
    WHERE m.program_id = _ipp_version.program_id AND m.model = _ipp_version.model AND CASE WHEN _ipp_version.version IS NULL THEN m.is_active ELSE m.version = _ipp_version.version END;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('ideal partner profile "%s"%s does not exist', coalesce(_ipp_version.model, 'NULL'),
        coalesce(' version ' || _ipp_version.version, '')),
      DETAIL = format('The profiles of programme %s are %s.', _ipp_version.program_id, coalesce((SELECT string_agg(format('%s version %s%s', m.model, m.version, CASE WHEN m.is_active THEN ' (in force)' ELSE '' END), ', '
        ORDER BY m.model, m.version) FROM prm.ipp_model m WHERE m.program_id = _ipp_version.program_id), 'none')),
      HINT = 'Correct the name, or define it: INSERT INTO prm.ipp_model (label) VALUES (...), and its criteria in prm.ipp_criterion.';
  END IF;
  RETURN the_version;
END
$prm$;
COMMENT ON FUNCTION prm._ipp_version(bigint, text, bigint) IS 'The version of a profile given, or for NULL the one in force. Error 42704 where there is none.';

CREATE FUNCTION prm._ipp_points(program_id bigint, model text, version integer, partner_ids bigint[], moments timestamptz[]) RETURNS SETOF prm.ipp_point
LANGUAGE plpgsql STABLE ROWS 10000 SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_names text[];
  the_criteria text[];
  the_points numeric[];
BEGIN
  SELECT array_agg(c.criterion ORDER BY c.position, c.criterion), array_agg(c.criteria ORDER BY c.position, c.criterion), prm.allocate(100, array_agg(c.weight ORDER BY c.position, c.criterion), 4)
    INTO the_names, the_criteria, the_points FROM prm.ipp_criterion c
    WHERE c.program_id = _ipp_points.program_id AND c.model = _ipp_points.model AND c.version = _ipp_points.version;
  IF the_names IS NULL OR cardinality(_ipp_points.partner_ids) = 0 THEN
    RETURN;
  END IF;
  RETURN QUERY
    WITH path AS MATERIALIZED (
      SELECT n.criterion, prm._condition(n.criteria) AS condition, n.points FROM unnest(the_names, the_criteria, the_points) AS n(criterion, criteria, points)),
    seen AS MATERIALIZED (
      SELECT d.partner_id, d.moment, d.document FROM prm._segment_documents(_ipp_points.program_id, _ipp_points.partner_ids, _ipp_points.moments, the_criteria) d)
    SELECT s.partner_id, s.moment, p.criterion, j.holds, CASE WHEN j.holds THEN p.points ELSE 0 END
    FROM seen s CROSS JOIN path p CROSS JOIN LATERAL (SELECT jsonb_path_match(s.document, p.condition, '{}', true) AS holds OFFSET 0) j;
END
$prm$;
COMMENT ON FUNCTION prm._ipp_points(bigint, text, integer, bigint[], timestamptz[]) IS 'What each criterion of a profile gives to the partners, each at the moment beside it, in one pass.';

CREATE FUNCTION prm.ipp_score(partner_id bigint, model text DEFAULT 'standard', options jsonb DEFAULT '{}', program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.ipp_score_row
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(ipp_score.program_id);
  the_partner bigint := prm._partner_argument(the_program, ipp_score.partner_id);
  the_version integer;
BEGIN
  PERFORM prm._known_options('ipp_score', ipp_score.options, ARRAY['version']);
  the_version := prm._ipp_version(the_program, ipp_score.model, prm._option_value('ipp_score', ipp_score.options, 'version', 'whole number')::bigint);
  RETURN QUERY
    SELECT c.criterion, c.label, c.criteria, c.weight, p.holds, p.points, c.possible
    FROM prm._ipp_points(the_program, ipp_score.model, the_version, ARRAY[the_partner], ARRAY[prm.now()]) p
    JOIN (SELECT k.criterion, k.label, k.criteria, k.weight, k.position,
        (prm.allocate(100, array_agg(k.weight) OVER (ORDER BY k.position, k.criterion ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING), 4))[row_number() OVER (ORDER BY k.position, k.criterion)] AS possible
      FROM prm.ipp_criterion k WHERE k.program_id = the_program AND k.model = ipp_score.model AND k.version = the_version) c ON c.criterion = p.criterion
    ORDER BY c.position, c.criterion;
END
$prm$;
COMMENT ON FUNCTION prm.ipp_score(bigint, text, jsonb, bigint) IS
'How near a partner, or a prospect, is to the ideal one: a row for each criterion with the points that it gives; they sum to the score of 0 to 100. options: version (default: the one in force). Errors: 42704 unknown partner, profile or version, 22023 unknown option.';

CREATE FUNCTION prm.ipp_validate(model text DEFAULT 'standard', horizon interval DEFAULT '12 months', options jsonb DEFAULT '{}', program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.ipp_validation_row
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(ipp_validate.program_id);
  the_zone text := prm._program_time_zone(the_program);
  the_currency text := prm._program_currency(the_program);
  the_won text[] := prm._won_states(the_program);
  the_version integer;
  the_from timestamptz;
  the_to timestamptz;
  the_ids bigint[];
  the_moments timestamptz[];
BEGIN
  PERFORM prm._known_options('ipp_validate', ipp_validate.options, ARRAY['version', 'joined_from', 'joined_to']);
  the_version := prm._ipp_version(the_program, ipp_validate.model, prm._option_value('ipp_validate', ipp_validate.options, 'version', 'whole number')::bigint);
  IF ipp_validate.horizon IS NULL OR ipp_validate.horizon <= interval '0' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'the horizon is no time after joining', DETAIL = format('It is %s.', coalesce(ipp_validate.horizon::text, 'NULL')),
      HINT = 'Give it as "12 months", which is the default.';
  END IF;
  the_from := coalesce(prm._option_value('ipp_validate', ipp_validate.options, 'joined_from', 'day')::date::timestamp AT TIME ZONE the_zone, '-infinity');
  the_to := coalesce((prm._option_value('ipp_validate', ipp_validate.options, 'joined_to', 'day')::date + 1)::timestamp AT TIME ZONE the_zone, 'infinity');
  -- Whoever joined so long ago that the horizon is over; each as it was when it joined.
  SELECT array_agg(j.partner_id ORDER BY j.partner_id), array_agg(j.moment ORDER BY j.partner_id) INTO the_ids, the_moments
    FROM (SELECT p.partner_id, coalesce(p.joined_on::timestamp AT TIME ZONE the_zone, p.created_at) AS moment FROM prm.partner p WHERE p.program_id = the_program) j
    WHERE j.moment >= the_from AND j.moment < the_to AND ((j.moment AT TIME ZONE the_zone) + ipp_validate.horizon) AT TIME ZONE the_zone <= prm.now();
  RETURN QUERY
    WITH joined AS MATERIALIZED (
      SELECT j.partner_id, j.moment, ((j.moment AT TIME ZONE the_zone) + ipp_validate.horizon) AT TIME ZONE the_zone AS until FROM unnest(the_ids, the_moments) AS j(partner_id, moment)),
    scored AS MATERIALIZED (
      SELECT p.partner_id, sum(p.points) AS score FROM prm._ipp_points(the_program, ipp_validate.model, the_version, the_ids, the_moments) p GROUP BY p.partner_id),
    outcome AS MATERIALIZED (
      -- Equal scores are in one quartile: that of their middle.
      SELECT j.partner_id, s.score, least(4, 1 + floor((rank() OVER (ORDER BY s.score) - 1 + (count(*) OVER (PARTITION BY s.score) - 1) / 2.0) * 4 / count(*) OVER ()))::integer AS quartile, d.revenue, prm._is_live_partner(h.state) AS survived
      FROM joined j
      JOIN scored s ON s.partner_id = j.partner_id
      CROSS JOIN LATERAL (SELECT coalesce(sum(d.amount), 0) AS revenue FROM prm.deal d
        WHERE d.program_id = the_program AND d.partner_id = j.partner_id AND d.state = ANY (the_won) AND d.currency = the_currency AND d.closed_at > j.moment AND d.closed_at <= j.until) d
      CROSS JOIN LATERAL (SELECT coalesce((SELECT x.to_state FROM prm.state_history x WHERE x.program_id = the_program AND x.machine = 'partner' AND x.subject_id = j.partner_id AND x.to_state IS NOT NULL AND x.at <= j.until
        ORDER BY x.history_id DESC LIMIT 1), (SELECT p.state FROM prm.partner p WHERE p.program_id = the_program AND p.partner_id = j.partner_id)) AS state) h),
    half AS (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY o.revenue) AS revenue FROM outcome o),
    ranked AS (
      -- Equal scores share the mean of their ranks.
      SELECT o.survived, o.revenue > h.revenue AS is_high, rank() OVER (ORDER BY o.score) + (count(*) OVER (PARTITION BY o.score) - 1) / 2.0 AS place FROM outcome o CROSS JOIN half h),
    total AS (
      SELECT count(*) FILTER (WHERE r.survived) AS live, count(*) FILTER (WHERE NOT r.survived) AS lost, sum(r.place) FILTER (WHERE r.survived) AS live_places,
        count(*) FILTER (WHERE r.is_high) AS high, count(*) FILTER (WHERE NOT r.is_high) AS low, sum(r.place) FILTER (WHERE r.is_high) AS high_places
      FROM ranked r)
    SELECT CASE WHEN g.quartile IS NULL THEN 'all' ELSE 'quartile ' || g.quartile END, g.partners, g.score_from, g.score_to, round(g.revenue, 2), g.survived, round(g.survived::numeric / g.partners, 4),
      CASE WHEN g.quartile IS NULL THEN round((t.live_places - t.live * (t.live + 1) / 2.0) / nullif(t.live * t.lost, 0), 4) END,
      CASE WHEN g.quartile IS NULL THEN round((t.high_places - t.high * (t.high + 1) / 2.0) / nullif(t.high * t.low, 0), 4) END
    FROM (SELECT o.quartile, count(*) AS partners, min(o.score) AS score_from, max(o.score) AS score_to, avg(o.revenue) AS revenue, count(*) FILTER (WHERE o.survived) AS survived
      FROM outcome o GROUP BY GROUPING SETS ((), (o.quartile))) g
    CROSS JOIN total t WHERE g.partners > 0 ORDER BY g.quartile NULLS FIRST;
END
$prm$;
COMMENT ON FUNCTION prm.ipp_validate(text, interval, jsonb, bigint) IS
'Whether a profile tells who does well: scores every partner whose horizon (12 months from joining) is over as it was when it joined, and compares with its won revenue and with whether it was a partner still at the end. Rows: all, then the quartiles of the score. Of two profiles the one with the higher AUC tells more. options: version, joined_from, joined_to (dates). Errors: 42704 unknown profile or version, 22023 unknown option or no horizon.';
