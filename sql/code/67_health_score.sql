
-- Health, the score: the metrics of a partner weighed, added or judged, clamped, capped, rolled up and put into a band.

CREATE FUNCTION prm._health_below(program_id bigint, partner_ids bigint[], moment timestamptz) RETURNS SETOF prm.health_below
LANGUAGE plpgsql STABLE ROWS 1000 SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = auto AS $prm$
#variable_conflict use_column
DECLARE
  the_gone text[];
BEGIN
  -- UNION and not UNION ALL: a circle of parents ends.
  IF _health_below.moment >= greatest(prm.now(), now()) THEN
    the_gone := prm._partner_final_states(_health_below.program_id);
    RETURN QUERY
      WITH RECURSIVE below AS (
        SELECT p.parent_id AS hub, p.partner_id FROM prm.partner p
        WHERE p.program_id = _health_below.program_id AND p.parent_id IS NOT NULL AND NOT p.state = ANY (the_gone)
          AND (_health_below.partner_ids IS NULL OR p.parent_id = ANY (_health_below.partner_ids))
        UNION
        SELECT b.hub, p.partner_id FROM below b
        JOIN prm.partner p ON p.program_id = _health_below.program_id AND p.parent_id = b.partner_id AND p.partner_id <> b.hub
          AND NOT p.state = ANY (the_gone))
      SELECT b.hub, b.partner_id FROM below b;
  ELSE
    RETURN QUERY
      WITH RECURSIVE subject AS MATERIALIZED (
        SELECT s.partner_id, s.parent_id FROM prm._health_subjects(_health_below.program_id, NULL, _health_below.moment) s
        WHERE s.parent_id IS NOT NULL AND NOT s.is_gone),
      below AS (
        SELECT s.parent_id AS hub, s.partner_id FROM subject s WHERE _health_below.partner_ids IS NULL OR s.parent_id = ANY (_health_below.partner_ids)
        UNION
        SELECT b.hub, s.partner_id FROM below b JOIN subject s ON s.parent_id = b.partner_id AND s.partner_id <> b.hub)
      SELECT b.hub, b.partner_id FROM below b;
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._health_below(bigint, bigint[], timestamptz) IS 'Every partner below each of the hubs (NULL: all), at any depth, as it was at a moment. Who has left or was never let in (a final state) does not count.';

CREATE FUNCTION prm._health_scores(program_id bigint, partner_ids bigint[], moment timestamptz, with_parts boolean DEFAULT false, definitions jsonb DEFAULT NULL)
RETURNS SETOF prm.health_score_row
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan AS $prm$
#variable_conflict use_column
DECLARE
  the_definitions jsonb := coalesce(_health_scores.definitions, prm._health_definitions(_health_scores.program_id, _health_scores.moment));
  the_ids bigint[] := _health_scores.partner_ids;
  the_rollups boolean;
  the_revenue text[];
BEGIN
  IF the_definitions IS NULL THEN
    RETURN;
  END IF;
  the_rollups := jsonb_path_exists(the_definitions, '$[*] ? (@.rollup != null)');
  IF the_rollups AND the_ids IS NOT NULL THEN
    -- Whoever is asked about may stand above others.
    SELECT array_agg(DISTINCT i.partner_id) INTO the_ids FROM (
      SELECT unnest(_health_scores.partner_ids) AS partner_id
      UNION ALL SELECT b.partner_id FROM prm._health_below(_health_scores.program_id, _health_scores.partner_ids, _health_scores.moment) b) i;
  END IF;
  IF jsonb_path_exists(the_definitions, '$[*] ? (@.rollup == "revenue_weighted")') THEN
    the_revenue := ARRAY['revenue_12m'];
  END IF;
  RETURN QUERY
    WITH model AS MATERIALIZED (
      SELECT m.model, m.kind, m.band_ties, m.rollup, m.rollup_own, coalesce(m.options ->> 'rule', 'all_good') AS rule,
        coalesce((m.options ->> 'start')::numeric, 100) AS start, coalesce((m.options ->> 'low')::numeric, 0) AS low, coalesce((m.options ->> 'high')::numeric, 100) AS high,
        coalesce((m.options -> 'scores' ->> 'good')::numeric, 100) AS good, coalesce((m.options -> 'scores' ->> 'average')::numeric, 60) AS average,
        coalesce((m.options -> 'scores' ->> 'poor')::numeric, 40) AS poor, m.bands
      FROM jsonb_to_recordset(the_definitions) AS m(model text, kind text, band_ties text, rollup text, rollup_own boolean, options jsonb, bands jsonb)),
    band AS MATERIALIZED (
      SELECT m.model, b.band, b.lower, lead(b.lower) OVER w AS upper, m.band_ties, row_number() OVER w = 1 AS is_first
      FROM model m CROSS JOIN LATERAL jsonb_to_recordset(m.bands) AS b(band text, lower numeric)
      WINDOW w AS (PARTITION BY m.model ORDER BY b.lower)),
    member AS MATERIALIZED (
      SELECT b.hub, b.partner_id FROM prm._health_below(_health_scores.program_id, _health_scores.partner_ids, _health_scores.moment) b WHERE the_rollups),
    revenue AS MATERIALIZED (
      SELECT v.partner_id, v.value FROM prm._metric_values(_health_scores.program_id, the_ids, _health_scores.moment, the_revenue) v WHERE the_revenue IS NOT NULL),
    part AS MATERIALIZED (
      SELECT h.partner_id, h.model, h.version, h.kind, h.metric, h.aspect, h.group_name, h.group_weight, h.weight, h.normalized, h.cap, h.points, h.known, h.class
      FROM prm._health_parts(_health_scores.program_id, the_ids, _health_scores.moment, the_definitions) h),
    grouped AS MATERIALIZED (
      SELECT h.partner_id, h.model, h.version, h.kind, h.aspect, h.group_name, max(h.group_weight) AS group_weight,
        -- In one order: floating point sums of the same numbers in another differ in the last digit.
        prm.weighted_score(h.normalized, h.weight ORDER BY h.metric) AS score,
        sum(h.weight) FILTER (WHERE h.normalized IS NOT NULL) AS counted, coalesce(sum(h.weight) FILTER (WHERE h.known), 0) / sum(h.weight) AS present, bool_or(h.known) AS is_known,
        min(h.cap) AS cap, min(h.normalized) AS worst, sum(h.points) AS points,
        count(*) FILTER (WHERE h.class = 'poor') AS poor, count(*) FILTER (WHERE h.class = 'average') AS average, count(*) FILTER (WHERE h.class = 'good') AS good
      FROM part h GROUP BY h.partner_id, h.model, h.version, h.kind, h.aspect, h.group_name),
    -- Once for the whole, and once for each aspect.
    judged AS (
      SELECT g.partner_id, g.model, max(g.version) AS version, g.aspect, prm.weighted_score(g.score, g.group_weight ORDER BY g.group_name, g.aspect) AS score,
        round(sum(g.group_weight * g.present) / sum(g.group_weight), 6) AS coverage, bool_or(g.is_known) AS is_known, min(g.cap) AS cap, min(g.worst) AS worst, sum(g.points) AS points,
        sum(g.poor) AS poor, sum(g.average) AS average, sum(g.good) AS good, sum(g.group_weight) FILTER (WHERE g.counted > 0) AS total
      FROM grouped g GROUP BY GROUPING SETS ((g.partner_id, g.model), (g.partner_id, g.model, g.aspect))),
    raw AS (
      SELECT j.partner_id, j.model, j.version, j.aspect, j.coverage, j.cap, j.total, j.poor, j.average, j.good,
        -- Nothing known at all is no score, whatever the policies for single missing values say.
        CASE WHEN j.is_known THEN
          CASE m.kind WHEN 'weighted' THEN j.score WHEN 'additive' THEN m.start + j.points
            ELSE CASE WHEN m.rule = 'worst' THEN j.worst WHEN j.poor > 0 THEN m.poor WHEN j.average > 0 THEN m.average WHEN j.good > 0 THEN m.good END END END AS raw
      FROM judged j JOIN model m ON m.model = j.model),
    clamped AS (
      SELECT r.partner_id, r.model, r.version, r.aspect, r.coverage, r.cap, r.total, r.poor, r.average, r.good, r.raw,
        CASE WHEN m.kind = 'additive' AND r.raw IS NOT NULL THEN least(greatest(r.raw, m.low), m.high) ELSE r.raw END AS score
      FROM raw r JOIN model m ON m.model = r.model),
    -- Set beside each other by aggregation: a join would be planned before anybody knows how many they are.
    own AS MATERIALIZED (
      SELECT c.partner_id, c.model, max(c.version) AS version, max(c.coverage) FILTER (WHERE c.aspect IS NULL) AS coverage, max(c.total) FILTER (WHERE c.aspect IS NULL) AS total,
        max(c.poor) FILTER (WHERE c.aspect IS NULL) AS poor, max(c.average) FILTER (WHERE c.aspect IS NULL) AS average, max(c.good) FILTER (WHERE c.aspect IS NULL) AS good,
        max(c.raw) FILTER (WHERE c.aspect IS NULL) AS raw, max(c.score) FILTER (WHERE c.aspect IS NULL) AS uncapped,
        max(CASE WHEN c.score IS NOT NULL THEN least(c.score, c.cap) END) FILTER (WHERE c.aspect IS NULL) AS score,
        max(c.score) FILTER (WHERE c.aspect = 'performance') AS performance, max(c.score) FILTER (WHERE c.aspect = 'relationship') AS relationship
      FROM clamped c GROUP BY c.partner_id, c.model),
    -- The own score is left out where it does not count, unless no member has one.
    candidate AS (
      SELECT o.partner_id, o.model, m.rollup, m.rollup_own, o.score, o.partner_id AS whose, true AS is_own
      FROM own o JOIN model m ON m.model = o.model AND m.rollup IS NOT NULL WHERE o.score IS NOT NULL
      UNION ALL
      SELECT o.partner_id, o.model, m.rollup, m.rollup_own, y.score, y.partner_id, false
      FROM own o JOIN model m ON m.model = o.model AND m.rollup IS NOT NULL
      JOIN member b ON b.hub = o.partner_id JOIN own y ON y.partner_id = b.partner_id WHERE y.score IS NOT NULL),
    weighed AS (
      SELECT c.partner_id, c.whose, c.model, c.rollup, c.rollup_own, c.score, c.is_own, greatest(v.value, 0) AS revenue,
        count(*) FILTER (WHERE NOT c.is_own) OVER (PARTITION BY c.partner_id) AS members
      FROM candidate c LEFT JOIN revenue v ON v.partner_id = c.whose),
    rolled AS MATERIALIZED (
      SELECT w.partner_id, CASE w.rollup WHEN 'minimum' THEN min(w.score)
          WHEN 'revenue_weighted' THEN coalesce(prm.weighted_score(w.score, w.revenue ORDER BY w.whose), prm.weighted_score(w.score, 1 ORDER BY w.whose)) ELSE prm.weighted_score(w.score, 1 ORDER BY w.whose) END AS score,
        CASE w.rollup WHEN 'minimum' THEN 'lowest of ' WHEN 'revenue_weighted' THEN 'mean by revenue of ' ELSE 'mean of ' END || w.members || ' member(s)'
          || CASE WHEN bool_or(w.is_own) THEN ' and its own' ELSE '' END AS note
      FROM weighed w WHERE w.members > 0 AND (w.rollup_own OR NOT w.is_own) GROUP BY w.partner_id, w.rollup, w.members),
    final AS (
      SELECT o.partner_id, o.model, o.version, o.coverage, o.total, o.poor, o.average, o.good, o.raw, o.uncapped, o.score AS own, o.performance, o.relationship,
        CASE WHEN r.partner_id IS NULL THEN o.score ELSE r.score END AS score, r.note
      FROM own o LEFT JOIN rolled r ON r.partner_id = o.partner_id
      WHERE _health_scores.partner_ids IS NULL OR o.partner_id = ANY (_health_scores.partner_ids)),
    -- What each metric contributes: the score has 15 digits, the parts have more, so what rounding leaves over goes to the largest part.
    share AS (
      SELECT p.partner_id, p.metric, f.raw, f.score, p.points, p.normalized, p.kind, m.start,
        CASE WHEN p.normalized IS NULL THEN 0
             WHEN p.kind = 'weighted' THEN trim_scale(round(g.group_weight / f.total * p.weight / g.counted, 12))
             WHEN p.kind = 'rules' THEN trim_scale(round(coalesce(CASE WHEN m.rule = 'worst' THEN CASE WHEN p.normalized = f.raw THEN 1.0 / count(*) FILTER (WHERE p.normalized = f.raw) OVER w END
               WHEN f.poor > 0 THEN CASE WHEN p.class = 'poor' THEN 1.0 / f.poor END
               WHEN f.average > 0 THEN CASE WHEN p.class = 'average' THEN 1.0 / f.average END
               ELSE 1.0 / f.good END, 0), 12)) END AS share
      FROM part p
      JOIN final f ON f.partner_id = p.partner_id
      JOIN model m ON m.model = p.model
      JOIN grouped g ON g.partner_id = p.partner_id AND g.aspect = p.aspect AND g.group_name = p.group_name
      WHERE _health_scores.with_parts
      WINDOW w AS (PARTITION BY p.partner_id)),
    counted AS (
      SELECT s.partner_id, s.metric, s.share, s.kind, CASE WHEN s.kind = 'additive' THEN s.raw - s.start ELSE s.raw END AS whole,
        CASE WHEN s.score IS NULL THEN NULL WHEN s.raw IS NULL THEN 0 WHEN s.kind = 'additive' THEN trim_scale(s.points)
             ELSE trim_scale(round(s.share * CASE WHEN s.kind = 'rules' THEN s.raw ELSE coalesce(s.normalized, 0) END, 9)) END AS contribution
      FROM share s),
    settled AS (
      SELECT c.partner_id, c.metric, c.share, trim_scale(c.contribution
        + CASE WHEN row_number() OVER (PARTITION BY c.partner_id ORDER BY c.contribution DESC NULLS LAST, c.metric) = 1
               THEN coalesce(c.whole - sum(c.contribution) OVER (PARTITION BY c.partner_id), 0) ELSE 0 END) AS contribution
      FROM counted c),
    told AS (
      SELECT s.partner_id, jsonb_object_agg(s.metric, s.contribution) AS parts, jsonb_object_agg(s.metric, s.share) AS shares FROM settled s GROUP BY s.partner_id)
    SELECT f.partner_id, f.model, f.score, CASE WHEN f.score IS NULL THEN 'unknown' ELSE coalesce(b.band,
        CASE WHEN m.kind = 'rules' AND m.rule = 'all_good' AND jsonb_array_length(m.bands) = 0
             THEN CASE WHEN f.score >= m.good THEN 'good' WHEN f.score > m.poor THEN 'average' ELSE 'poor' END END, 'unknown') END,
      f.coverage, f.uncapped,
      CASE WHEN _health_scores.with_parts AND f.score IS NULL THEN '{}'
           WHEN _health_scores.with_parts THEN t.parts
             || CASE WHEN m.kind = 'additive' AND f.raw IS NOT NULL THEN jsonb_build_object('(start)', m.start) ELSE '{}' END
             || CASE WHEN f.uncapped <> f.raw THEN jsonb_build_object('(clamp)', f.uncapped - f.raw) ELSE '{}' END
             || CASE WHEN f.own <> f.uncapped THEN jsonb_build_object('(knock-out)', f.own - f.uncapped) ELSE '{}' END
             || CASE WHEN f.note IS NOT NULL THEN jsonb_build_object('(members)', f.score - coalesce(f.own, 0)) ELSE '{}' END END,
      f.version, f.performance, f.relationship, f.own, f.raw, CASE WHEN m.kind = 'additive' THEN m.start END, t.shares, f.note
    FROM final f
    JOIN model m ON m.model = f.model
    LEFT JOIN told t ON t.partner_id = f.partner_id
    LEFT JOIN band b ON b.model = f.model AND CASE WHEN b.band_ties = 'high' THEN f.score >= b.lower AND (b.upper IS NULL OR f.score < b.upper)
      ELSE (f.score > b.lower OR b.is_first AND f.score = b.lower) AND (b.upper IS NULL OR f.score <= b.upper) END;
END
$prm$;
COMMENT ON FUNCTION prm._health_scores(bigint, bigint[], timestamptz, boolean, jsonb) IS
'The health of the partners (NULL: of all) at a moment, in one pass: groups weighed, points added or rules judged, clamped, capped by knock-outs, rolled up from the partners below, and put into a band. with_parts: also what each metric contributes. definitions: the models to use instead of those in force at the moment.';
