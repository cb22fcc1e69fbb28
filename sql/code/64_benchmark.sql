
-- Benchmarks: where a partner stands among its peers, and in the market.

CREATE TYPE prm.benchmark_row AS (partner_id bigint, partner text, metric text, value numeric, observed_at timestamptz, program_percentile numeric, program_rank bigint, program_peers bigint,
  kind text, kind_percentile numeric, kind_peers bigint, region text, region_percentile numeric, region_peers bigint, segment text, segment_percentile numeric, segment_peers bigint,
  market text, market_median numeric, market_percentile numeric, market_gap numeric);
COMMENT ON TYPE prm.benchmark_row IS
'A row of benchmark(): a partner, its value of the metric, and its percentile (0 to 100, higher is better whatever the metric) among all partners of the programme, those of its kind, of its region and of a segment, each with their number; then the market: which benchmark row was used, its median, the percentile there, and by how much the value is better (negative: worse) than the median.';

CREATE FUNCTION prm._market_percentile(value numeric, p10 numeric, p25 numeric, p50 numeric, p75 numeric, p90 numeric) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $prm$
  -- Straight lines between the points that are known; beyond the outermost its percentile. A value that several points share gets the middle of them.
  WITH point AS (
    SELECT p.percentile, p.value FROM (VALUES (10::numeric, _market_percentile.p10), (25, _market_percentile.p25), (50, _market_percentile.p50), (75, _market_percentile.p75),
      (90, _market_percentile.p90)) AS p(percentile, value) WHERE p.value IS NOT NULL),
  around AS (
    SELECT (SELECT avg(p.percentile) FROM point p WHERE p.value = _market_percentile.value) AS at,
      (SELECT max(p.percentile) FROM point p WHERE p.value < _market_percentile.value) AS below,
      (SELECT min(p.percentile) FROM point p WHERE p.value > _market_percentile.value) AS above)
  SELECT round(CASE WHEN a.at IS NOT NULL THEN a.at WHEN a.below IS NULL THEN a.above WHEN a.above IS NULL THEN a.below
      ELSE a.below + (a.above - a.below) * (_market_percentile.value - b.value) / (c.value - b.value) END, 2)
  FROM around a LEFT JOIN point b ON b.percentile = a.below LEFT JOIN point c ON c.percentile = a.above
$prm$;
COMMENT ON FUNCTION prm._market_percentile(numeric, numeric, numeric, numeric, numeric, numeric) IS
'The percentile of a value in a distribution of which some points are known: straight lines between them, never beyond the outermost. NULL values are not known.';

CREATE FUNCTION prm._benchmark(program_id bigint, metrics text[], moment timestamptz, segment text, visible_only boolean DEFAULT false) RETURNS SETOF prm.benchmark_row
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_day date := (_benchmark.moment AT TIME ZONE prm._program_time_zone(_benchmark.program_id))::date;
BEGIN
  RETURN QUERY
    WITH peer AS (
      SELECT v.partner_id, p.name, p.kind, p.region, v.metric, v.value, v.observed_at, m.higher_is_better, CASE WHEN m.higher_is_better THEN v.value ELSE -v.value END AS merit
      FROM prm._metric_values(_benchmark.program_id, NULL, _benchmark.moment, _benchmark.metrics) v
      JOIN prm.metric m ON m.program_id = _benchmark.program_id AND m.metric = v.metric
      JOIN prm.partner p ON p.program_id = _benchmark.program_id AND p.partner_id = v.partner_id
      -- Who has left or was never let in is nobody's peer.
      WHERE NOT p.state = ANY ((SELECT prm._partner_final_states(_benchmark.program_id))::text[])),
    member AS MATERIALIZED (
      SELECT b.partner_id, b.segment, row_number() OVER (PARTITION BY b.partner_id ORDER BY b.segment IS DISTINCT FROM _benchmark.segment, s.position, b.segment) AS choice
      FROM prm.segment_member b JOIN prm.segment s ON s.program_id = _benchmark.program_id AND s.segment = b.segment
      WHERE b.program_id = _benchmark.program_id AND b.valid @> _benchmark.moment AND (s.partner_visible OR NOT _benchmark.visible_only)),
    grouped AS (
      SELECT w.partner_id, w.metric, g.segment, g.choice, count(*) OVER (PARTITION BY w.metric, g.segment) AS peers,
        rank() OVER (PARTITION BY w.metric, g.segment ORDER BY w.merit) - 1 AS worse, count(*) OVER (PARTITION BY w.metric, g.segment, w.merit) AS equals
      FROM peer w JOIN member g ON g.partner_id = w.partner_id),
    placed AS (
      SELECT w.partner_id, w.name, w.kind, w.region, w.metric, w.value, w.observed_at, w.higher_is_better,
        rank() OVER (PARTITION BY w.metric ORDER BY w.merit DESC) AS place,
        count(*) OVER (PARTITION BY w.metric) AS peers, rank() OVER (PARTITION BY w.metric ORDER BY w.merit) - 1 AS worse, count(*) OVER (PARTITION BY w.metric, w.merit) AS equals,
        count(*) OVER (PARTITION BY w.metric, w.kind) AS kind_peers, rank() OVER (PARTITION BY w.metric, w.kind ORDER BY w.merit) - 1 AS kind_worse,
        count(*) OVER (PARTITION BY w.metric, w.kind, w.merit) AS kind_equals,
        count(*) OVER (PARTITION BY w.metric, w.region) AS region_peers, rank() OVER (PARTITION BY w.metric, w.region ORDER BY w.merit) - 1 AS region_worse,
        count(*) OVER (PARTITION BY w.metric, w.region, w.merit) AS region_equals
      FROM peer w)
    SELECT w.partner_id, w.name, w.metric, w.value, w.observed_at, round(100 * (w.worse + w.equals / 2.0) / w.peers, 2), w.place, w.peers,
      w.kind, round(100 * (w.kind_worse + w.kind_equals / 2.0) / w.kind_peers, 2), w.kind_peers,
      w.region, CASE WHEN w.region IS NOT NULL THEN round(100 * (w.region_worse + w.region_equals / 2.0) / w.region_peers, 2) END, CASE WHEN w.region IS NOT NULL THEN w.region_peers END,
      x.segment, round(100 * (x.worse + x.equals / 2.0) / x.peers, 2), x.peers,
      k.market, CASE WHEN k.partner_visible OR NOT _benchmark.visible_only THEN k.p50 END, CASE WHEN w.higher_is_better THEN k.percentile ELSE 100 - k.percentile END, CASE WHEN w.higher_is_better THEN w.value - k.p50 ELSE k.p50 - w.value END
    FROM placed w
    LEFT JOIN grouped x ON x.partner_id = w.partner_id AND x.metric = w.metric AND x.choice = 1 AND (_benchmark.segment IS NULL OR x.segment = _benchmark.segment)
    LEFT JOIN LATERAL (
      -- The row that says most about the partner.
      SELECT coalesce(concat_ws(', ', b.segment, b.partner_kind, b.region), '') AS market, b.p50, b.partner_visible, prm._market_percentile(w.value, b.p10, b.p25, b.p50, b.p75, b.p90) AS percentile
      FROM prm.metric_benchmark b
      WHERE b.program_id = _benchmark.program_id AND b.metric = w.metric AND b.valid @> the_day
        AND (b.segment IS NULL OR EXISTS (SELECT 1 FROM member g WHERE g.partner_id = w.partner_id AND g.segment = b.segment))
        AND (b.partner_kind IS NULL OR b.partner_kind = w.kind) AND (b.region IS NULL OR b.region = w.region)
      ORDER BY b.segment IS NULL, b.partner_kind IS NULL, b.region IS NULL, b.metric_benchmark_id LIMIT 1) k ON true;
END
$prm$;
COMMENT ON FUNCTION prm._benchmark(bigint, text[], timestamptz, text, boolean) IS
'Where all partners stand by the metrics at a moment. visible_only: as partners may know it, without segments and medians that they are not told. A percentile is the share of the peers that are worse, plus half of those that are equal, the partner itself among them.';

CREATE FUNCTION prm.benchmark(metric text, partner_id bigint DEFAULT NULL, options jsonb DEFAULT '{}', program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.benchmark_row
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(benchmark.program_id);
  the_self bigint := prm._acting_partner(the_program);
  the_partner bigint := benchmark.partner_id;
  the_moment timestamptz;
BEGIN
  PERFORM prm._known_options('benchmark', benchmark.options, ARRAY['at', 'segment']);
  IF NOT EXISTS (SELECT 1 FROM prm.metric m WHERE m.program_id = the_program AND m.metric = benchmark.metric) THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('metric "%s" does not exist', coalesce(benchmark.metric, 'NULL')),
      DETAIL = format('Programme %s has no such metric.', the_program), HINT = 'SELECT metric, label FROM prm.metric lists them.';
  END IF;
  IF the_partner IS NOT NULL THEN
    the_partner := prm._partner_argument(the_program, the_partner);
  END IF;
  IF the_self IS NOT NULL THEN
    -- A partner reads where it stands itself, as it was written down: not the values of its rivals.
    RETURN QUERY
      SELECT s.partner_id, p.name, s.metric, s.value, s.observed_at, s.program_percentile, NULL::bigint, s.program_peers, p.kind, s.kind_percentile, s.kind_peers, p.region, s.region_percentile,
        s.region_peers, s.segment, s.segment_percentile, s.segment_peers, s.market, s.market_median, s.market_percentile, NULL::numeric
      FROM prm.metric_standing s JOIN prm.partner p ON p.program_id = the_program AND p.partner_id = s.partner_id
      WHERE s.program_id = the_program AND s.partner_id = the_self AND s.metric = benchmark.metric AND (the_partner IS NULL OR s.partner_id = the_partner);
    RETURN;
  END IF;
  IF benchmark.options ->> 'segment' IS NOT NULL AND NOT EXISTS (SELECT 1 FROM prm.segment s WHERE s.program_id = the_program AND s.segment = benchmark.options ->> 'segment') THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('segment "%s" does not exist', benchmark.options ->> 'segment'),
      DETAIL = format('Programme %s has no such segment.', the_program), HINT = 'SELECT segment, label FROM prm.segment lists them.';
  END IF;
  the_moment := coalesce(prm._option_value('benchmark', benchmark.options, 'at', 'moment')::timestamptz, prm.now());
  RETURN QUERY
    SELECT b.* FROM prm._benchmark(the_program, ARRAY[benchmark.metric], the_moment, benchmark.options ->> 'segment') b
    WHERE the_partner IS NULL OR b.partner_id = the_partner ORDER BY b.program_rank, b.partner_id;
END
$prm$;
COMMENT ON FUNCTION prm.benchmark(text, bigint, jsonb, bigint) IS
'Where the partners (or one) stand by a metric, best first: a row for each with its value, its percentile in the programme, among its kind, region and segment, and in the market as prm.metric_benchmark tells. Who has left the programme is not among them. A partner reads its own row only, as of the last refresh_metrics(). options: at (a moment, by default now), segment (the peers to compare with, by default the partner''s first by position). Errors: 42704 unknown metric, partner or segment, 22023 unknown option, or one that is no moment.';
