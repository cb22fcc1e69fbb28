
-- Health: one score of 0 to 100 for each partner, that can be explained. The arithmetic is C, see src/health.c.

CREATE FUNCTION prm.normalize_metric(value numeric, how text, low numeric, high numeric, options jsonb DEFAULT '{}') RETURNS numeric
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_normalize_metric';
COMMENT ON FUNCTION prm.normalize_metric(numeric, text, numeric, numeric, jsonb) IS
'Turns a measure into a score of 0 to 100. how: linear (low gives 0, high gives 100), inverse (low gives 100, high gives 0), as_is (it is a score already). What lies outside counts as the bound. NULL gives NULL. Error 22023: unknown way or option, bounds missing or not in order, NaN.';

CREATE FUNCTION prm._weighted_score_add(state float8[], score numeric, weight numeric) RETURNS float8[]
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_weighted_score_add';
COMMENT ON FUNCTION prm._weighted_score_add(float8[], numeric, numeric) IS 'Transition function of the aggregate weighted_score.';

CREATE FUNCTION prm._weighted_score_combine(state float8[], other float8[]) RETURNS float8[]
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_weighted_score_combine';
COMMENT ON FUNCTION prm._weighted_score_combine(float8[], float8[]) IS 'Combine function of the aggregate weighted_score.';

CREATE FUNCTION prm._weighted_score_final(state float8[]) RETURNS numeric
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_weighted_score_final';
COMMENT ON FUNCTION prm._weighted_score_final(float8[]) IS 'Final function of the aggregate weighted_score.';

CREATE AGGREGATE prm.weighted_score(score numeric, weight numeric) (
  SFUNC = prm._weighted_score_add, STYPE = float8[], INITCOND = '{0,0}',
  COMBINEFUNC = prm._weighted_score_combine, FINALFUNC = prm._weighted_score_final, PARALLEL = safe);
COMMENT ON AGGREGATE prm.weighted_score(numeric, numeric) IS
'Weighted mean of the scores that are known: sum(weight * score) / sum(weight), a NULL score leaves the denominator. NULL where no score is known, or all weigh nothing. Error 22023: negative weight, NaN.';

CREATE TYPE prm.health_row AS (score numeric, band text, coverage numeric, trend numeric);
COMMENT ON TYPE prm.health_row IS
'A row of health(): score 0 to 100 (NULL: nothing is known), band (unknown without a score), coverage: share of the weight for which a value is known, 0 to 1, trend: score less that of the latest earlier snapshot.';

CREATE TYPE prm.health_explanation AS (group_name text, metric text, value numeric, normalized numeric, share numeric, contribution numeric, note text);
COMMENT ON TYPE prm.health_explanation IS
'A row of explain_health(): group, metric, its value, its score of 0 to 100, its share of the weight that counts (0 to 1), what it contributes to the score, and a note. The contributions sum to the score exactly.';

CREATE TYPE prm.health_part AS (partner_id bigint, model text, metric text, group_name text, group_weight numeric, weight numeric,
  value numeric, normalized numeric, cap numeric, note text);
COMMENT ON TYPE prm.health_part IS 'A metric of a partner''s health model with its score; internal, a row of _health_parts().';

CREATE TYPE prm.health_score_row AS (partner_id bigint, model text, score numeric, band text, coverage numeric, uncapped numeric, parts jsonb);
COMMENT ON TYPE prm.health_score_row IS 'The health of a partner; internal, a row of _health_scores(): uncapped is the score before knock-outs, parts the score of each metric.';

CREATE FUNCTION prm._health_parts(program_id bigint, partner_ids bigint[], moment timestamptz) RETURNS SETOF prm.health_part
LANGUAGE plpgsql STABLE ROWS 20000 SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_metrics text[];
BEGIN
  SELECT array_agg(DISTINCT h.metric) INTO the_metrics FROM prm.health_metric h WHERE h.program_id = _health_parts.program_id;
  IF the_metrics IS NULL THEN
    RETURN;
  END IF;
  RETURN QUERY
    WITH subject AS (
      -- The model for the partner's kind, else the one for all the others.
      SELECT p.partner_id, coalesce(own.model, common.model) AS model
      FROM prm.partner p
      LEFT JOIN prm.health_model own ON own.program_id = _health_parts.program_id AND own.is_active AND own.partner_kind = p.kind
      LEFT JOIN prm.health_model common ON common.program_id = _health_parts.program_id AND common.is_active AND common.partner_kind IS NULL
      WHERE p.program_id = _health_parts.program_id
        AND (_health_parts.partner_ids IS NULL OR p.partner_id = ANY (_health_parts.partner_ids))),
    measured AS MATERIALIZED (
      SELECT v.partner_id, v.metric, v.value, v.observed_at
      FROM prm._metric_values(_health_parts.program_id, _health_parts.partner_ids, _health_parts.moment, the_metrics) v)
    SELECT s.partner_id, s.model, h.metric, h.group_name, h.group_weight, h.weight, v.value,
      CASE WHEN v.value IS NULL THEN CASE h.missing WHEN 'zero' THEN 0::numeric WHEN 'neutral' THEN 50::numeric END
           WHEN d.factor IS NULL THEN prm.normalize_metric(v.value, h.how, h.low, h.high, h.options)
           ELSE prm.normalize_metric(v.value, h.how, h.low, h.high, h.options) * d.factor END,
      CASE WHEN v.value < h.knock_out_below THEN h.knock_out_cap END,
      CASE WHEN v.value IS NULL THEN CASE h.missing WHEN 'zero' THEN 'no value: counts as 0' WHEN 'neutral' THEN 'no value: counts as 50'
                                     ELSE 'no value: left out' END
           WHEN v.value < h.knock_out_below THEN 'knock-out: below ' || trim_scale(h.knock_out_below)
           WHEN d.factor < 1 THEN 'decayed to ' || round(d.factor * 100, 1) || ' % of its score since '
             || to_char(v.observed_at AT TIME ZONE prm._program_time_zone(_health_parts.program_id), 'YYYY-MM-DD') END
    FROM subject s
    JOIN prm.health_metric h ON h.program_id = _health_parts.program_id AND h.model = s.model
    LEFT JOIN measured v ON v.partner_id = s.partner_id AND v.metric = h.metric
    LEFT JOIN LATERAL (
      SELECT power(0.5::float8, greatest(extract(epoch FROM _health_parts.moment - v.observed_at), 0)::float8
                                / extract(epoch FROM h.half_life)::float8)::numeric AS factor
      WHERE h.half_life IS NOT NULL) d ON true;
END
$prm$;
COMMENT ON FUNCTION prm._health_parts(bigint, bigint[], timestamptz) IS
'Every metric in the health models of the partners (NULL: of all), with its value and its score: the policy for a missing value, the half-life and the knock-out are applied here.';

CREATE FUNCTION prm._health_scores(program_id bigint, partner_ids bigint[], moment timestamptz) RETURNS SETOF prm.health_score_row
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  RETURN QUERY
    WITH grouped AS (
      SELECT h.partner_id, h.model, max(h.group_weight) AS group_weight, prm.weighted_score(h.normalized, h.weight) AS score,
        coalesce(sum(h.weight) FILTER (WHERE h.value IS NOT NULL), 0) / sum(h.weight) AS present, min(h.cap) AS cap,
        jsonb_object_agg(h.metric, round(h.normalized, 4)) AS parts
      FROM prm._health_parts(_health_scores.program_id, _health_scores.partner_ids, _health_scores.moment) h
      GROUP BY h.partner_id, h.model, h.group_name),
    scored AS (
      SELECT g.partner_id, g.model, prm.weighted_score(g.score, g.group_weight) AS score,
        round(sum(g.group_weight * g.present) / sum(g.group_weight), 6) AS coverage, min(g.cap) AS cap,
        jsonb_agg(g.parts) AS parts
      FROM grouped g GROUP BY g.partner_id, g.model)
    SELECT s.partner_id, s.model, f.score, coalesce(b.band, 'unknown'), s.coverage,
      CASE WHEN s.coverage > 0 THEN s.score END, s.parts
    FROM scored s
    -- Nothing known at all is no score, whatever the policies for single missing values say.
    CROSS JOIN LATERAL (SELECT CASE WHEN s.coverage > 0 THEN least(s.score, s.cap) END AS score) f
    LEFT JOIN LATERAL (
      SELECT x.band FROM prm.health_band x
      WHERE x.program_id = _health_scores.program_id AND x.model = s.model AND x.lower <= f.score
      ORDER BY x.lower DESC LIMIT 1) b ON true;
END
$prm$;
COMMENT ON FUNCTION prm._health_scores(bigint, bigint[], timestamptz) IS
'The health of the partners (NULL: of all) at a moment, in one pass: the weighted mean of the groups, each the weighted mean of its metrics, capped by knock-outs. A score on a band''s lower bound belongs to that band.';

CREATE FUNCTION prm.health(partner_id bigint, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.health_row
LANGUAGE plpgsql STABLE ROWS 1 SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(health.program_id);
  the_partner bigint := prm._partner_argument(the_program, health.partner_id);
BEGIN
  RETURN QUERY
    SELECT h.score, h.band, h.coverage, h.score - e.score
    FROM prm._health_scores(the_program, ARRAY[the_partner], prm.now()) h
    LEFT JOIN LATERAL (
      SELECT s.score FROM prm.health_snapshot s
      WHERE s.program_id = the_program AND s.partner_id = the_partner AND s.model = h.model AND s.taken_at < prm.now() AND s.score IS NOT NULL
      ORDER BY s.taken_at DESC LIMIT 1) e ON true;
  IF NOT FOUND THEN
    RETURN NEXT ROW(NULL, 'unknown', 0, NULL)::prm.health_row;
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm.health(bigint, bigint) IS
'The health of a partner now: one row with score, band, coverage and trend. Without any known value the score is NULL and the band unknown, never 0. Error 42704 unknown partner.';

CREATE FUNCTION prm.explain_health(partner_id bigint, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.health_explanation
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(explain_health.program_id);
  the_partner bigint := prm._partner_argument(the_program, explain_health.partner_id);
  whole record;
BEGIN
  SELECT h.score, h.uncapped INTO whole FROM prm._health_scores(the_program, ARRAY[the_partner], prm.now()) h;
  RETURN QUERY
    WITH part AS (
      SELECT h.group_name, h.metric, h.value, h.normalized, h.note, h.weight, h.group_weight,
        sum(h.weight) FILTER (WHERE h.normalized IS NOT NULL) OVER (PARTITION BY h.group_name) AS group_sum,
        max(h.group_weight) OVER (PARTITION BY h.group_name) AS heavy
      FROM prm._health_parts(the_program, ARRAY[the_partner], prm.now()) h),
    total AS (
      SELECT sum(g.heavy) AS weight FROM (SELECT DISTINCT p.group_name, p.heavy FROM part p WHERE p.group_sum > 0) g),
    shared AS (
      SELECT p.group_name, p.metric, p.value, p.normalized, p.note, p.heavy, p.weight,
        CASE WHEN p.normalized IS NULL THEN 0 ELSE trim_scale(round(p.heavy / t.weight * p.weight / p.group_sum, 12)) END AS share
      FROM part p CROSS JOIN total t),
    counted AS (
      SELECT s.group_name, s.metric, s.value, s.normalized, s.note, s.heavy, s.weight, s.share,
        CASE WHEN whole.uncapped IS NULL THEN NULL ELSE trim_scale(round(s.share * coalesce(s.normalized, 0), 9)) END AS contribution
      FROM shared s),
    settled AS (
      -- The score has 15 digits, the parts have more: what rounding left over goes to the largest part.
      SELECT c.group_name, c.metric, c.value, c.normalized, c.share, c.note, c.heavy, c.weight,
        c.contribution + CASE WHEN row_number() OVER (ORDER BY c.contribution DESC NULLS LAST, c.metric) = 1
                              THEN whole.uncapped - sum(c.contribution) OVER () ELSE 0 END AS contribution
      FROM counted c)
    SELECT e.group_name, e.metric, e.value, e.normalized, e.share, e.contribution, e.note
    FROM (
      SELECT 1 AS place, s.heavy, s.group_name, s.weight, s.metric, s.value, s.normalized, s.share, s.contribution, s.note FROM settled s
      UNION ALL
      SELECT 2, NULL, 'knock-out', NULL, NULL, NULL, NULL, 0, whole.score - whole.uncapped, 'capped at ' || trim_scale(whole.score)
      WHERE whole.score < whole.uncapped) e
    ORDER BY e.place, e.heavy DESC, e.group_name, e.weight DESC, e.metric;
END
$prm$;
COMMENT ON FUNCTION prm.explain_health(bigint, bigint) IS
'Why the health of a partner is what it is: a row for each metric of its model, also for those without a value, and one for a knock-out. The contributions sum to the score exactly; they are NULL where there is no score. Error 42704 unknown partner.';

CREATE FUNCTION prm.refresh_health(program_id bigint DEFAULT prm.current_program()) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(refresh_health.program_id);
  the_count bigint;
BEGIN
  INSERT INTO prm.health_snapshot (program_id, partner_id, model, taken_at, score, band, coverage, parts)
    SELECT the_program, h.partner_id, h.model, prm.now(), h.score, h.band, h.coverage, h.parts
    FROM prm._health_scores(the_program, NULL, prm.now()) h
    ORDER BY h.partner_id
    ON CONFLICT (program_id, partner_id, model, taken_at) DO UPDATE
      SET score = excluded.score, band = excluded.band, coverage = excluded.coverage, parts = excluded.parts;
  GET DIAGNOSTICS the_count = ROW_COUNT;
  RETURN the_count;
END
$prm$;
COMMENT ON FUNCTION prm.refresh_health(bigint) IS
'Writes the health of every partner at prm.now() into health_snapshot, in one statement; returns how many. A second call for the same moment replaces the first.';
