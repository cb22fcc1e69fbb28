
-- Where metrics that are not built in come from: registered relations, and the days over which a metric is looked at. And what is
-- kept of all of them by refresh_metrics().

CREATE TYPE prm.metric_relation AS (schema_name text, relation_name text, has_program boolean, has_observed_at boolean);
COMMENT ON TYPE prm.metric_relation IS 'A relation that a metric reads: its name, and which of the columns that it may have it has.';

CREATE FUNCTION prm._metric_relation(metric text, relation text, code text) RETURNS prm.metric_relation
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  found record;
  the_oid oid;
  the_fault text;
  the_advice text;
  the_code text := _metric_relation.code;
BEGIN
  -- What cannot be read as a name (a whole query, say) is no relation either.
  BEGIN
    the_oid := to_regclass(_metric_relation.relation);
  EXCEPTION WHEN invalid_name THEN
    the_oid := NULL;
  END;
  SELECT c.oid, n.nspname, c.relname, c.relkind, c.relowner, o.relowner AS model_owner INTO found
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN (SELECT x.relowner FROM pg_class x WHERE x.oid = 'prm.metric'::regclass) o
    WHERE c.oid = the_oid;
  IF found.oid IS NULL THEN
    the_fault := 'does not exist';
    the_advice := 'Create the view, or name another in prm.metric.relation, with its schema.';
  ELSIF found.relkind NOT IN ('v', 'm', 'r', 'p', 'f') THEN
    the_fault := 'is no view or table';
    the_advice := 'Name a view with the columns partner_id and value.';
  ELSE
    SELECT CASE
        WHEN NOT bool_or(a.attname = 'partner_id' AND a.atttypid IN ('int8'::regtype, 'int4'::regtype, 'int2'::regtype)) THEN 'has no column partner_id of an integer type'
        WHEN NOT bool_or(a.attname = 'value' AND a.atttypid IN ('numeric'::regtype, 'int8'::regtype, 'int4'::regtype, 'int2'::regtype, 'float8'::regtype, 'float4'::regtype))
          THEN 'has no column value of a numeric type'
        WHEN bool_or(a.attname = 'observed_at' AND a.atttypid <> 'timestamptz'::regtype) THEN 'has a column observed_at that is no timestamptz'
        WHEN bool_or(a.attname = 'program_id' AND a.atttypid NOT IN ('int8'::regtype, 'int4'::regtype, 'int2'::regtype)) THEN 'has a column program_id of no integer type' END
      INTO the_fault
      FROM pg_attribute a WHERE a.attrelid = found.oid AND a.attnum > 0 AND NOT a.attisdropped;
    the_advice := 'It needs the columns partner_id and value, and may have observed_at (timestamptz) and program_id.';
    -- Jobs and triggers read it as the owner of the model: who could change it must not be anybody else.
    IF the_fault IS NULL AND NOT pg_has_role(found.relowner, found.model_owner, 'MEMBER') THEN
      the_code := '42501';
      the_fault := format('belongs to %s, who may not act as the owner of the model', found.relowner::regrole);
      the_advice := format('ALTER VIEW %I.%I OWNER TO %s.', found.nspname, found.relname, found.model_owner::regrole);
    ELSIF the_fault IS NULL AND NOT (has_schema_privilege(found.nspname::text, 'USAGE') AND has_table_privilege(found.oid, 'SELECT')) THEN
      the_code := '42501';
      the_fault := format('may not be read by %s', current_user);
      the_advice := format('GRANT SELECT ON %I.%I TO %I, and USAGE on its schema.', found.nspname, found.relname, current_user);
    END IF;
  END IF;
  IF the_fault IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = the_code, MESSAGE = format('the relation of metric "%s" %s', _metric_relation.metric, the_fault),
      DETAIL = format('The metric reads %s.', coalesce(_metric_relation.relation, 'nothing')), HINT = the_advice, SCHEMA = 'prm', TABLE = 'metric', COLUMN = 'relation';
  END IF;
  RETURN (SELECT ROW(found.nspname, found.relname, bool_or(a.attname = 'program_id'), bool_or(a.attname = 'observed_at'))::prm.metric_relation
    FROM pg_attribute a WHERE a.attrelid = found.oid AND a.attnum > 0 AND NOT a.attisdropped);
END
$prm$;
COMMENT ON FUNCTION prm._metric_relation(text, text, text) IS
'Looks a metric''s relation up and checks that it can serve: columns, owner, rights of the caller. Errors: the code given where it does not exist or lacks columns, 42501 where its owner is a stranger or the caller may not read it.';

CREATE FUNCTION prm._measure_view(program_id bigint, partner_ids bigint[], metric text, relation text, moment timestamptz) RETURNS SETOF prm.metric_row
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_relation prm.metric_relation := prm._metric_relation(_measure_view.metric, _measure_view.relation, '55000');
  the_twice bigint;
  the_context text;
BEGIN
  -- A view may read other metrics. One that comes back to itself would do so until the stack is full.
  GET DIAGNOSTICS the_context = PG_CONTEXT;
  IF strpos(the_context, format(' FROM %I.%I v WHERE ', the_relation.schema_name, the_relation.relation_name)) > 0 THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('the relation of metric "%s" reads that metric itself', _measure_view.metric),
      DETAIL = format('%s reads metrics, and this one is among them: v_partner_metric and partner_metrics() compute all of them.', _measure_view.relation),
      HINT = 'Let it read single metrics by prm.benchmark(metric), and none that reads this one.', SCHEMA = 'prm', TABLE = 'metric', COLUMN = 'relation';
  END IF;
  IF NOT the_relation.has_observed_at AND _measure_view.moment < prm.now() THEN
    -- It shows the present only; the past is what was kept of it.
    RETURN QUERY
      SELECT i.partner_id, _measure_view.metric, v.value, v.observed_at
      FROM unnest(_measure_view.partner_ids) AS i(partner_id)
      CROSS JOIN LATERAL (
        SELECT x.value, x.observed_at FROM prm.metric_value x
        WHERE x.program_id = _measure_view.program_id AND x.partner_id = i.partner_id AND x.metric = _measure_view.metric AND x.observed_at <= _measure_view.moment
        ORDER BY x.observed_at DESC LIMIT 1) v;
    RETURN;
  END IF;
  IF NOT the_relation.has_observed_at THEN
    EXECUTE format('SELECT v.partner_id FROM %I.%I v WHERE v.partner_id = ANY ($1) %s AND v.value IS NOT NULL GROUP BY v.partner_id HAVING count(*) > 1 ORDER BY v.partner_id LIMIT 1',
        the_relation.schema_name, the_relation.relation_name, CASE WHEN the_relation.has_program THEN 'AND v.program_id = $2' ELSE '' END)
      INTO the_twice USING _measure_view.partner_ids, _measure_view.program_id;
    IF the_twice IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('the relation of metric "%s" has several values of partner %s', _measure_view.metric, the_twice),
        DETAIL = format('%s has no column observed_at that would tell which is the newest.', _measure_view.relation), HINT = 'Let it show one row for each partner, or add observed_at.';
    END IF;
  END IF;
  -- What is no finite number counts as not known.
  RETURN QUERY EXECUTE format(
    'SELECT DISTINCT ON (v.partner_id) v.partner_id::bigint, $4::text, v.value::numeric, %s FROM %I.%I v WHERE v.partner_id = ANY ($1) %s %s AND v.value::numeric > ''-Infinity'' AND v.value::numeric < ''Infinity'' ORDER BY v.partner_id%s',
    CASE WHEN the_relation.has_observed_at THEN 'v.observed_at' ELSE '$3' END, the_relation.schema_name, the_relation.relation_name,
    CASE WHEN the_relation.has_program THEN 'AND v.program_id = $2' ELSE '' END,
    CASE WHEN the_relation.has_observed_at THEN 'AND v.observed_at <= $3' ELSE '' END, CASE WHEN the_relation.has_observed_at THEN ', v.observed_at DESC, v.value DESC' ELSE '' END)
    USING _measure_view.partner_ids, _measure_view.program_id, _measure_view.moment, _measure_view.metric;
END
$prm$;
COMMENT ON FUNCTION prm._measure_view(bigint, bigint[], text, text, timestamptz) IS
'A metric that is read from a registered relation, with the caller''s rights: the newest value up to the moment where it has observed_at; otherwise what it shows now, and for past moments what refresh_metrics() kept. Of several values of one moment the highest. Error 55000: it reads the metric itself.';

CREATE FUNCTION prm._measure_any_day(program_id bigint, partner_ids bigint[], names text[], pick text, span prm.metric_window, moment timestamptz) RETURNS SETOF prm.metric_row
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_zone text := prm._program_time_zone(_measure_any_day.program_id);
  the_first date := (((_measure_any_day.span).after + interval '1 microsecond') AT TIME ZONE the_zone)::date;
  the_last date := ((_measure_any_day.span).until AT TIME ZONE the_zone)::date;
BEGIN
  -- Each day counts as it ended, the last as it is now; days before a partner joined do not count.
  RETURN QUERY
    SELECT v.partner_id, v.metric, CASE _measure_any_day.pick WHEN 'maximum' THEN max(v.value) ELSE min(v.value) END, _measure_any_day.moment
    FROM generate_series(the_first::timestamp, the_last::timestamp, '1 day') AS d(day)
    CROSS JOIN LATERAL prm._metric_values(_measure_any_day.program_id, _measure_any_day.partner_ids,
      least(((d.day + interval '1 day') AT TIME ZONE the_zone) - interval '1 microsecond', (_measure_any_day.span).until), _measure_any_day.names, true) v
    JOIN prm.partner p ON p.program_id = _measure_any_day.program_id AND p.partner_id = v.partner_id AND (p.joined_on IS NULL OR p.joined_on <= d.day::date)
    GROUP BY v.partner_id, v.metric;
END
$prm$;
COMMENT ON FUNCTION prm._measure_any_day(bigint, bigint[], text[], text, prm.metric_window, timestamptz) IS
'The best or the worst of a metric over the days of a window: it is measured at the end of each.';

CREATE FUNCTION prm.refresh_metrics(program_id bigint DEFAULT prm.current_program()) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(refresh_metrics.program_id);
  the_names text[];
  the_count bigint;
  the_kept bigint;
BEGIN
  SELECT array_agg(m.metric) INTO the_names FROM prm.metric m WHERE m.program_id = the_program AND m.keep_history AND m.source <> 'pushed';
  -- Only what is new: a value holds until the next.
  INSERT INTO prm.metric_value (program_id, partner_id, metric, observed_at, value)
    SELECT the_program, v.partner_id, v.metric, prm.now(), v.value
    FROM prm._metric_values(the_program, NULL, prm.now(), coalesce(the_names, '{}')) v
    WHERE v.value IS DISTINCT FROM (SELECT x.value FROM prm.metric_value x
      WHERE x.program_id = the_program AND x.partner_id = v.partner_id AND x.metric = v.metric AND x.observed_at <= prm.now() ORDER BY x.observed_at DESC LIMIT 1)
    ORDER BY v.partner_id, v.metric
    ON CONFLICT (program_id, partner_id, metric, observed_at) DO UPDATE SET value = excluded.value, recorded_at = clock_timestamp();
  GET DIAGNOSTICS the_kept = ROW_COUNT;
  SELECT array_agg(m.metric ORDER BY m.metric) INTO the_names FROM prm.metric m WHERE m.program_id = the_program AND m.partner_visible;
  -- A few peers would give each other away: below five of them a partner is not told where it stands.
  INSERT INTO prm.metric_standing (program_id, partner_id, metric, value, observed_at, program_percentile, program_peers, kind_percentile, kind_peers,
      region_percentile, region_peers, segment, segment_percentile, segment_peers, market, market_median, market_percentile, taken_at)
    SELECT the_program, b.partner_id, b.metric, b.value, b.observed_at, CASE WHEN b.program_peers >= 5 THEN b.program_percentile END, b.program_peers,
      CASE WHEN b.kind_peers >= 5 THEN b.kind_percentile END, b.kind_peers, CASE WHEN b.region_peers >= 5 THEN b.region_percentile END, b.region_peers,
      b.segment, CASE WHEN b.segment_peers >= 5 THEN b.segment_percentile END, b.segment_peers, b.market, b.market_median, b.market_percentile, prm.now()
    FROM prm._benchmark(the_program, coalesce(the_names, '{}'), prm.now(), NULL, true) b
    ORDER BY b.partner_id, b.metric
    ON CONFLICT (program_id, partner_id, metric) DO UPDATE SET value = excluded.value, observed_at = excluded.observed_at, program_percentile = excluded.program_percentile,
      program_peers = excluded.program_peers, kind_percentile = excluded.kind_percentile, kind_peers = excluded.kind_peers, region_percentile = excluded.region_percentile,
      region_peers = excluded.region_peers, segment = excluded.segment, segment_percentile = excluded.segment_percentile, segment_peers = excluded.segment_peers,
      market = excluded.market, market_median = excluded.market_median, market_percentile = excluded.market_percentile, taken_at = excluded.taken_at;
  GET DIAGNOSTICS the_count = ROW_COUNT;
  DELETE FROM prm.metric_standing s WHERE s.program_id = the_program AND s.taken_at <> prm.now();
  RETURN the_count + the_kept;
END
$prm$;
COMMENT ON FUNCTION prm.refresh_metrics(bigint) IS
'Writes down, at prm.now(), the values of computed metrics with keep_history that changed, into prm.metric_value, and where each partner stands by the metrics with partner_visible, into prm.metric_standing. Returns how many rows it wrote. run_jobs() does it once per business day. Twice is once.';
