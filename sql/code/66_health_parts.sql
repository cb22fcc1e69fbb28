
-- Health, the metrics: which model a partner has, what each of its metrics is worth, and what goes in beside plain metrics.

CREATE FUNCTION prm._health_subjects(program_id bigint, partner_ids bigint[], moment timestamptz) RETURNS SETOF prm.health_subject
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = auto AS $prm$
#variable_conflict use_column
DECLARE
  the_zone text := prm._program_time_zone(_health_subjects.program_id);
  the_gone text[] := prm._partner_final_states(_health_subjects.program_id);
BEGIN
  -- The row itself tells the present only: with prm.clock in the past, history does.
  IF _health_subjects.moment >= greatest(prm.now(), now()) THEN
    RETURN QUERY
      SELECT p.partner_id, p.kind, p.parent_id, p.region, p.country, p.tier, p.state = ANY (the_gone)
      FROM prm.partner p
      WHERE p.program_id = _health_subjects.program_id AND (_health_subjects.partner_ids IS NULL OR p.partner_id = ANY (_health_subjects.partner_ids));
    RETURN;
  END IF;
  RETURN QUERY
    SELECT p.partner_id, coalesce(h.kind, p.kind), CASE WHEN h.partner_id IS NULL THEN p.parent_id ELSE h.parent_id END,
      CASE WHEN h.partner_id IS NULL THEN p.region ELSE h.region END, CASE WHEN h.partner_id IS NULL THEN p.country ELSE h.country END,
      CASE WHEN h.partner_id IS NULL THEN p.tier ELSE h.tier END,
      coalesce(s.to_state = ANY (the_gone), least(p.created_at, p.joined_on::timestamp AT TIME ZONE the_zone) > _health_subjects.moment)
    FROM prm.partner p
    -- By key, one after the other: where nothing was analysed, two tables that seem to hold a row each would be looped over.
    LEFT JOIN LATERAL (
      SELECT x.partner_id, x.kind, x.parent_id, x.region, x.country, x.tier FROM prm.partner_history x
      WHERE x.program_id = _health_subjects.program_id AND x.partner_id = p.partner_id AND x.valid @> _health_subjects.moment LIMIT 1) h ON true
    LEFT JOIN LATERAL (
      SELECT x.to_state FROM prm.state_history x
      WHERE x.program_id = _health_subjects.program_id AND x.subject_id = p.partner_id AND x.machine = 'partner' AND x.at <= _health_subjects.moment
        AND x.subject_id IS NOT NULL
      ORDER BY x.at DESC, x.history_id DESC LIMIT 1) s ON true
    WHERE p.program_id = _health_subjects.program_id AND (_health_subjects.partner_ids IS NULL OR p.partner_id = ANY (_health_subjects.partner_ids));
END
$prm$;
COMMENT ON FUNCTION prm._health_subjects(bigint, bigint[], timestamptz) IS
'The partners (NULL: all) with kind, parent, region, country and tier as they were at a moment; is_gone: in a final state by then (terminated, rejected), or not there yet.';

CREATE FUNCTION prm._health_segments(program_id bigint, partner_ids bigint[], moment timestamptz, segments text[]) RETURNS SETOF prm.health_member
LANGUAGE plpgsql STABLE ROWS 2000 SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = auto AS $prm$
#variable_conflict use_column
BEGIN
  -- Most programmes have one model for all: then nobody looks.
  IF _health_segments.segments IS NULL THEN
    RETURN;
  END IF;
  RETURN QUERY
    SELECT s.partner_id, s.segment FROM prm.segment_member s
    WHERE s.program_id = _health_segments.program_id AND s.segment = ANY (_health_segments.segments) AND s.valid @> _health_segments.moment
      AND (_health_segments.partner_ids IS NULL OR s.partner_id = ANY (_health_segments.partner_ids));
END
$prm$;
COMMENT ON FUNCTION prm._health_segments(bigint, bigint[], timestamptz, text[]) IS 'Which of the partners (NULL: of all) were in which of the segments at a moment; none where segments is NULL.';

CREATE FUNCTION prm._health_inputs(program_id bigint, partner_ids bigint[], moment timestamptz, definitions jsonb) RETURNS SETOF prm.health_input
LANGUAGE plpgsql STABLE ROWS 1000 SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = auto AS $prm$
#variable_conflict use_column
DECLARE
  the_percentiles text[];
  the_choices text[];
  the_customers text[];
  the_won text[];
  the_start timestamptz := prm._year_before(_health_inputs.program_id, _health_inputs.moment);
  the_currency text := prm._program_currency(_health_inputs.program_id);
  the_zone text := prm._program_time_zone(_health_inputs.program_id);
BEGIN
  SELECT array_agg(DISTINCT h ->> 'metric') FILTER (WHERE h ->> 'how' = 'percentile'),
         array_agg(DISTINCT h ->> 'metric') FILTER (WHERE h ->> 'how' = 'choice' AND h ->> 'customers' IS NULL),
         array_agg(DISTINCT h ->> 'metric') FILTER (WHERE h ->> 'customers' IS NOT NULL)
    INTO the_percentiles, the_choices, the_customers
    FROM jsonb_array_elements(_health_inputs.definitions) AS d, jsonb_array_elements(d -> 'metrics') AS h;

  IF the_percentiles IS NOT NULL THEN
    -- A place among others needs all the others, whoever is asked about.
    RETURN QUERY
      WITH measure AS MATERIALIZED (
        SELECT d ->> 'model' AS model, d ->> 'segment' AS segment, h ->> 'metric' AS metric, coalesce(h -> 'options' ->> 'within', 'program') AS within,
          m.higher_is_better
        FROM jsonb_array_elements(_health_inputs.definitions) AS d, jsonb_array_elements(d -> 'metrics') AS h
        JOIN prm.metric m ON m.program_id = _health_inputs.program_id AND m.metric = h ->> 'metric'
        WHERE h ->> 'how' = 'percentile'),
      member AS MATERIALIZED (
        SELECT x.partner_id, x.segment FROM prm._health_segments(_health_inputs.program_id, NULL, _health_inputs.moment,
          (SELECT array_agg(e.segment) FROM measure e WHERE e.within = 'segment' AND e.segment IS NOT NULL)) x),
      placed AS (
        SELECT e.model, e.metric, v.partner_id, v.value, v.observed_at, e.higher_is_better,
          rank() OVER w - 1 AS below, count(*) OVER (PARTITION BY e.model, e.metric, k.part, v.value) - 1 AS same,
          count(*) OVER (PARTITION BY e.model, e.metric, k.part) AS number
        FROM prm._metric_values(_health_inputs.program_id, NULL, _health_inputs.moment, the_percentiles) v
        JOIN prm._health_subjects(_health_inputs.program_id, NULL, _health_inputs.moment) s ON s.partner_id = v.partner_id
        JOIN measure e ON e.metric = v.metric
        LEFT JOIN member g ON g.partner_id = v.partner_id AND g.segment = e.segment AND e.within = 'segment'
        CROSS JOIN LATERAL (SELECT CASE e.within WHEN 'kind' THEN s.kind WHEN 'region' THEN s.region WHEN 'country' THEN s.country WHEN 'tier' THEN s.tier
                                                 WHEN 'segment' THEN (g.partner_id IS NOT NULL)::text END AS part) k
        WHERE NOT s.is_gone
        WINDOW w AS (PARTITION BY e.model, e.metric, k.part ORDER BY v.value))
      SELECT p.partner_id, p.model, p.metric, p.value,
        CASE WHEN p.number = 1 THEN 50 WHEN p.higher_is_better THEN r.place ELSE 100 - r.place END, p.observed_at, NULL::text,
        format('place %s of %s', CASE WHEN p.higher_is_better THEN p.number - p.below - p.same ELSE p.below + 1 END, p.number)
      FROM placed p
      CROSS JOIN LATERAL (SELECT round(100 * (p.below + p.same / 2.0) / nullif(p.number - 1, 0), 9) AS place) r
      WHERE _health_inputs.partner_ids IS NULL OR p.partner_id = ANY (_health_inputs.partner_ids);
  END IF;

  IF the_choices IS NOT NULL THEN
    RETURN QUERY
      SELECT c.partner_id, NULL::text, c.metric, NULL::numeric, NULL::numeric, c.observed_at, c.choice, NULL::text
      FROM (
        SELECT DISTINCT ON (x.partner_id, x.metric) x.partner_id, x.metric, x.observed_at, x.choice FROM prm.health_choice x
        WHERE x.program_id = _health_inputs.program_id AND x.metric = ANY (the_choices) AND x.observed_at <= _health_inputs.moment
          AND (_health_inputs.partner_ids IS NULL OR x.partner_id = ANY (_health_inputs.partner_ids))
        ORDER BY x.partner_id, x.metric, x.observed_at DESC) c;
  END IF;

  IF the_customers IS NOT NULL THEN
    the_won := prm._won_states(_health_inputs.program_id);
    RETURN QUERY
      WITH measure AS MATERIALIZED (
        SELECT d ->> 'model' AS model, h ->> 'metric' AS metric, h ->> 'customers' AS rollup, h ->> 'how' AS how, (h ->> 'low')::numeric AS low, (h ->> 'high')::numeric AS high,
          h -> 'options' AS options, (h ->> 'half_life')::interval AS half_life, (h ->> 'max_age')::interval AS max_age
        FROM jsonb_array_elements(_health_inputs.definitions) AS d, jsonb_array_elements(d -> 'metrics') AS h
        WHERE h ->> 'customers' IS NOT NULL),
      customer AS MATERIALIZED (
        SELECT d.partner_id, d.customer_id, coalesce(sum(d.amount) FILTER (WHERE d.currency = the_currency AND d.closed_at > the_start), 0) AS revenue
        FROM prm.deal d
        WHERE d.program_id = _health_inputs.program_id AND d.customer_id IS NOT NULL AND d.partner_id IS NOT NULL AND d.state = ANY (the_won)
          AND d.closed_at <= _health_inputs.moment AND (_health_inputs.partner_ids IS NULL OR d.partner_id = ANY (_health_inputs.partner_ids))
        GROUP BY d.partner_id, d.customer_id),
      newest AS MATERIALIZED (
        SELECT c.customer_id, e.metric, v.value, v.observed_at
        FROM (SELECT DISTINCT x.customer_id FROM customer x) c
        CROSS JOIN unnest(the_customers) AS e(metric)
        CROSS JOIN LATERAL (
          SELECT y.value, y.observed_at FROM prm.customer_metric_value y
          WHERE y.program_id = _health_inputs.program_id AND y.customer_id = c.customer_id AND y.metric = e.metric AND y.observed_at <= _health_inputs.moment
          ORDER BY y.observed_at DESC LIMIT 1) v),
      scored AS (
        SELECT c.partner_id, c.customer_id, e.model, e.metric, e.rollup, c.revenue, n.value, n.observed_at,
          prm.normalize_metric(n.value, e.how, e.low, e.high, e.options) * coalesce(power(0.5::float8, greatest(extract(epoch FROM _health_inputs.moment - n.observed_at), 0)::float8
            / extract(epoch FROM e.half_life)::float8)::numeric, 1) AS score
        FROM measure e JOIN newest n ON n.metric = e.metric JOIN customer c ON c.customer_id = n.customer_id
        WHERE e.max_age IS NULL OR n.observed_at >= ((_health_inputs.moment AT TIME ZONE the_zone) - e.max_age) AT TIME ZONE the_zone)
      SELECT s.partner_id, s.model, s.metric,
        -- The value that goes with the lowest score: where less is better, it is the highest.
        CASE s.rollup WHEN 'revenue_weighted' THEN coalesce(prm.weighted_score(s.value, s.revenue ORDER BY s.customer_id), prm.weighted_score(s.value, 1 ORDER BY s.customer_id))
                      WHEN 'minimum' THEN (array_agg(s.value ORDER BY s.score, s.customer_id))[1] ELSE prm.weighted_score(s.value, 1 ORDER BY s.customer_id) END,
        CASE s.rollup WHEN 'revenue_weighted' THEN coalesce(prm.weighted_score(s.score, s.revenue ORDER BY s.customer_id), prm.weighted_score(s.score, 1 ORDER BY s.customer_id))
                      WHEN 'minimum' THEN min(s.score) ELSE prm.weighted_score(s.score, 1 ORDER BY s.customer_id) END,
        max(s.observed_at), NULL::text,
        format('%s of %s customer(s)', CASE s.rollup WHEN 'minimum' THEN 'lowest' WHEN 'mean' THEN 'mean' ELSE 'mean by revenue' END, count(*))
      FROM scored s WHERE s.score IS NOT NULL GROUP BY s.partner_id, s.model, s.metric, s.rollup;
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._health_inputs(bigint, bigint[], timestamptz, jsonb) IS
'What goes into the health models beside plain metrics: percentiles among all partners that are not gone, answers in words (for every model), and what the customers (those of won deals) give, each scored first and then rolled up.';

CREATE FUNCTION prm._health_parts(program_id bigint, partner_ids bigint[], moment timestamptz, definitions jsonb DEFAULT NULL) RETURNS SETOF prm.health_part
LANGUAGE plpgsql STABLE ROWS 20000 SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan AS $prm$
#variable_conflict use_column
DECLARE
  the_definitions jsonb := coalesce(_health_parts.definitions, prm._health_definitions(_health_parts.program_id, _health_parts.moment));
  the_zone text := prm._program_time_zone(_health_parts.program_id);
  the_metrics text[];
  the_segments text[];
BEGIN
  SELECT array_agg(DISTINCT h ->> 'metric') FILTER (WHERE h ->> 'customers' IS NULL AND h ->> 'how' <> 'percentile'), array_agg(DISTINCT d ->> 'segment')
    INTO the_metrics, the_segments
    FROM jsonb_array_elements(the_definitions) AS d, jsonb_array_elements(d -> 'metrics') AS h;
  IF NOT FOUND OR the_definitions IS NULL THEN
    RETURN;
  END IF;
  the_segments := array_remove(the_segments, NULL);
  RETURN QUERY
    WITH model AS MATERIALIZED (
      SELECT m.model, m.version, m.kind, m.partner_kind, m.segment, m.priority, m.options
      FROM jsonb_to_recordset(the_definitions) AS m(model text, version integer, kind text, partner_kind text, segment text, priority integer, options jsonb)),
    measure AS MATERIALIZED (
      SELECT d ->> 'model' AS model, d ->> 'kind' AS kind, (d ->> 'version')::integer AS version,
        coalesce((d -> 'options' ->> 'good_from')::numeric, 75) AS good_from, coalesce((d -> 'options' ->> 'average_from')::numeric, 50) AS average_from,
        h.metric, h.group_name, h.aspect, h.group_weight, h.weight, h.points, h.how, h.low, h.high, extract(epoch FROM h.half_life)::float8 AS half_life, h.max_age,
        h.missing, h.customers, h.knock_out_below, h.knock_out_above, h.knock_out_cap, coalesce(h.options, '{}') AS options
      FROM jsonb_array_elements(the_definitions) AS d,
        jsonb_to_recordset(d -> 'metrics') AS h(metric text, group_name text, aspect text, group_weight numeric, weight numeric, points numeric, how text,
          low numeric, high numeric, half_life interval, max_age interval, missing text, customers text, knock_out_below numeric, knock_out_above numeric,
          knock_out_cap numeric, options jsonb)),
    member AS MATERIALIZED (
      SELECT x.partner_id, x.segment FROM prm._health_segments(_health_parts.program_id, _health_parts.partner_ids, _health_parts.moment, nullif(the_segments, '{}')) x),
    subject AS MATERIALIZED (
      -- The model for the partner's segment and kind, else for its segment, else for its kind, else the one for all the others.
      SELECT s.partner_id, m.model
      FROM prm._health_subjects(_health_parts.program_id, _health_parts.partner_ids, _health_parts.moment) s
      CROSS JOIN LATERAL (
        SELECT x.model FROM model x
        WHERE (x.partner_kind IS NULL OR x.partner_kind = s.kind)
          AND (x.segment IS NULL OR EXISTS (SELECT 1 FROM member g WHERE g.partner_id = s.partner_id AND g.segment = x.segment))
        ORDER BY x.segment IS NULL, x.partner_kind IS NULL, x.priority DESC, x.model LIMIT 1) m),
    input AS MATERIALIZED (
      SELECT i.partner_id, i.model, i.metric, i.value, i.normalized, i.observed_at, i.choice, i.note
      FROM prm._health_inputs(_health_parts.program_id, _health_parts.partner_ids, _health_parts.moment, the_definitions) i),
    measured AS MATERIALIZED (
      SELECT v.partner_id, v.metric, v.value, v.observed_at
      FROM prm._metric_values(_health_parts.program_id, _health_parts.partner_ids, _health_parts.moment, coalesce(the_metrics, '{}')) v),
    -- Every metric of every partner, with the newest of what is known of it.
    known AS (
      SELECT s.partner_id, h.model, h.kind, h.version, h.metric, h.group_name, h.aspect, h.group_weight, h.weight, h.points, h.how, h.low, h.high, h.half_life,
        h.missing, h.knock_out_below, h.knock_out_above, h.knock_out_cap, h.options, h.good_from, h.average_from, i.note, i.normalized AS given,
        h.max_age IS NOT NULL AND coalesce(i.observed_at, v.observed_at) < ((_health_parts.moment AT TIME ZONE the_zone) - h.max_age) AT TIME ZONE the_zone AS is_old,
        CASE WHEN i.partner_id IS NULL THEN v.value ELSE i.value END AS value,
        CASE WHEN i.partner_id IS NULL AND h.how = 'choice' THEN trim_scale(v.value)::text ELSE i.choice END AS choice,
        coalesce(i.observed_at, v.observed_at) AS observed_at
      FROM subject s
      JOIN measure h ON h.model = s.model
      LEFT JOIN measured v ON v.partner_id = s.partner_id AND v.metric = h.metric AND h.customers IS NULL
      LEFT JOIN input i ON i.partner_id = s.partner_id AND i.metric = h.metric AND coalesce(i.model, h.model) = h.model
        AND (i.model IS NOT NULL OR h.how = 'choice' AND h.customers IS NULL) AND (i.model IS NOT NULL OR v.observed_at IS NULL OR v.observed_at < i.observed_at)),
    aged AS (
      SELECT k.partner_id, k.model, k.kind, k.version, k.metric, k.group_name, k.aspect, k.group_weight, k.weight, k.points, k.how, k.missing, k.knock_out_below,
        k.knock_out_above, k.knock_out_cap, k.good_from, k.average_from, k.note, k.is_old, k.observed_at, k.value, k.choice, f.factor,
        CASE WHEN k.is_old OR k.how = 'per_unit' THEN NULL WHEN k.given IS NOT NULL THEN k.given
             WHEN k.choice IS NOT NULL THEN coalesce((k.options -> 'choices' ->> k.choice)::numeric, prm.normalize_metric(k.value, 'choice', NULL, NULL, k.options),
               (k.options ->> 'other')::numeric)
             WHEN k.value IS NOT NULL THEN prm.normalize_metric(k.value, k.how, k.low, k.high, k.options) END AS score
      FROM known k
      -- What customers give has aged already, each at its own time.
      LEFT JOIN LATERAL (
        SELECT power(0.5::float8, greatest(extract(epoch FROM _health_parts.moment - k.observed_at)::float8, 0) / k.half_life)::numeric AS factor
        WHERE k.half_life IS NOT NULL AND (k.given IS NULL OR k.how = 'percentile')) f ON true
      -- A fence: without it each use of the score below would reckon it again.
      OFFSET 0),
    settled AS (
      SELECT a.partner_id, a.model, a.kind, a.version, a.metric, a.group_name, a.aspect, a.group_weight, a.weight, a.points, a.how, a.missing, a.knock_out_below, a.knock_out_above,
        a.knock_out_cap, a.good_from, a.average_from, a.note, a.is_old, a.observed_at, a.value, a.choice, a.factor,
        CASE WHEN a.how = 'per_unit' THEN a.value IS NOT NULL AND NOT a.is_old ELSE a.score IS NOT NULL END AS is_known,
        CASE WHEN a.how = 'per_unit' THEN NULL WHEN a.score IS NOT NULL THEN CASE WHEN a.factor IS NULL THEN a.score ELSE a.score * a.factor END
             ELSE CASE a.missing WHEN 'zero' THEN 0::numeric WHEN 'neutral' THEN 50::numeric END END AS normalized
      FROM aged a OFFSET 0)
    SELECT a.partner_id, a.model, a.metric, a.group_name, a.group_weight, a.weight, a.value, a.normalized,
      CASE WHEN a.is_known AND (coalesce(a.value, a.normalized) < a.knock_out_below OR coalesce(a.value, a.normalized) > a.knock_out_above) THEN a.knock_out_cap END,
      CASE WHEN NOT a.is_known THEN
             concat_ws(': ', CASE WHEN a.is_old THEN 'too old' WHEN a.choice IS NOT NULL THEN 'no such choice' WHEN a.value IS NOT NULL THEN 'in no range' ELSE 'no value' END,
               CASE a.missing WHEN 'zero' THEN 'counts as 0' WHEN 'neutral' THEN 'counts as 50' ELSE 'left out' END)
           WHEN coalesce(a.value, a.normalized) < a.knock_out_below THEN 'knock-out: below ' || trim_scale(a.knock_out_below)
           WHEN coalesce(a.value, a.normalized) > a.knock_out_above THEN 'knock-out: above ' || trim_scale(a.knock_out_above)
           WHEN a.factor < 1 THEN 'decayed to ' || round(a.factor * 100, 1) || ' % of its score since ' || to_char(a.observed_at AT TIME ZONE the_zone, 'YYYY-MM-DD')
           ELSE a.note END,
      a.version, a.kind, a.aspect,
      CASE WHEN a.kind = 'additive' THEN CASE WHEN a.how = 'per_unit' THEN coalesce(a.points, 0) * CASE WHEN a.is_known THEN a.value ELSE 0 END
                                              ELSE coalesce(a.points, 0) * coalesce(a.normalized, 0) / 100 END END,
      a.choice, a.is_known,
      CASE WHEN a.kind = 'rules' THEN CASE WHEN a.normalized < a.average_from THEN 'poor' WHEN a.normalized < a.good_from THEN 'average'
                                           WHEN a.normalized IS NOT NULL THEN 'good' END END
    FROM settled a;
END
$prm$;
COMMENT ON FUNCTION prm._health_parts(bigint, bigint[], timestamptz, jsonb) IS
'Every metric in the health models of the partners (NULL: of all), with its value and its score: the choice of the model, the policy for a missing value, the half-life and the knock-out are applied here. definitions: the models to use instead of those in force at the moment.';
