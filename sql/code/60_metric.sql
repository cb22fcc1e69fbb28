
-- Metrics: how a partner is doing, as numbers. Built-in ones are computed from the model when asked, pushed ones are stored.

CREATE TYPE prm.metric_row AS (partner_id bigint, metric text, value numeric, observed_at timestamptz);
COMMENT ON TYPE prm.metric_row IS 'A value of a metric for a partner, and when it was observed.';

CREATE TYPE prm.partner_metric_row AS (metric text, value numeric, observed_at timestamptz);
COMMENT ON TYPE prm.partner_metric_row IS 'A row of partner_metrics(): metric, its value, and when it was observed (built-in ones: now).';

CREATE FUNCTION prm._won_states(program_id bigint) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $prm$
#variable_conflict use_column
DECLARE
  the_states text[];
BEGIN
  -- Of every version: deals that closed under an older machine are won all the same.
  SELECT array_agg(DISTINCT s.state) INTO the_states FROM prm.machine_state s
    WHERE s.program_id = _won_states.program_id AND s.machine = 'deal' AND s.category = 'won';
  RETURN coalesce(the_states, ARRAY['won']);
END
$prm$;
COMMENT ON FUNCTION prm._won_states(bigint) IS 'The states of the deal machine whose category is won, in any of its versions.';

CREATE FUNCTION prm._year_before(program_id bigint, moment timestamptz) RETURNS timestamptz
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_zone text := prm._program_time_zone(_year_before.program_id);
BEGIN
  RETURN ((_year_before.moment AT TIME ZONE the_zone) - interval '1 year') AT TIME ZONE the_zone;
END
$prm$;
COMMENT ON FUNCTION prm._year_before(bigint, timestamptz) IS 'The same wall-clock moment a calendar year earlier, in the programme''s time zone: where a rolling window of 12 months begins (it does not belong to the window).';

CREATE FUNCTION prm._metric_values(program_id bigint, partner_ids bigint[], moment timestamptz, metrics text[] DEFAULT NULL) RETURNS SETOF prm.metric_row
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp SET plan_cache_mode = auto AS $prm$
#variable_conflict use_column
DECLARE
  the_ids bigint[] := _metric_values.partner_ids;
  the_names text[];
  the_pushed boolean;
  the_won text[];
  the_start timestamptz := prm._year_before(_metric_values.program_id, _metric_values.moment);
  the_currency text := prm._program_currency(_metric_values.program_id);
  the_today date := (_metric_values.moment AT TIME ZONE prm._program_time_zone(_metric_values.program_id))::date;
BEGIN
  IF the_ids IS NULL THEN
    SELECT array_agg(p.partner_id ORDER BY p.partner_id) INTO the_ids FROM prm.partner p WHERE p.program_id = _metric_values.program_id;
  ELSIF cardinality(the_ids) <= 20 THEN
    -- For a few partners one plan is as good as another, and making it would cost more than running it.
    PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);
  END IF;
  SELECT array_agg(m.metric) FILTER (WHERE m.source = 'built_in'), bool_or(m.source = 'pushed') INTO the_names, the_pushed FROM prm.metric m
    WHERE m.program_id = _metric_values.program_id
      AND (_metric_values.metrics IS NULL OR m.metric = ANY (_metric_values.metrics));
  the_won := prm._won_states(_metric_values.program_id);

  IF the_names && ARRAY['revenue_12m', 'deals_won_12m', 'win_rate', 'average_deal'] THEN
    RETURN QUERY
      SELECT i.partner_id, f.metric, f.value, _metric_values.moment
      FROM unnest(the_ids) AS i(partner_id)
      LEFT JOIN (
        SELECT d.partner_id, count(*) AS closed,
          count(*) FILTER (WHERE d.state = ANY (the_won)) AS won,
          sum(d.amount) FILTER (WHERE d.state = ANY (the_won) AND d.currency = the_currency) AS revenue,
          avg(d.amount) FILTER (WHERE d.state = ANY (the_won) AND d.currency = the_currency) AS average
        FROM prm.deal d
        WHERE d.program_id = _metric_values.program_id AND d.partner_id = ANY (the_ids)
          AND d.closed_at > the_start AND d.closed_at <= _metric_values.moment
        GROUP BY d.partner_id) s ON s.partner_id = i.partner_id
      CROSS JOIN LATERAL (VALUES ('revenue_12m', coalesce(s.revenue, 0)), ('deals_won_12m', coalesce(s.won, 0)::numeric),
        ('win_rate', round(s.won::numeric / s.closed, 6)), ('average_deal', round(s.average, 6))) AS f(metric, value)
      WHERE f.value IS NOT NULL AND f.metric = ANY (the_names);
  END IF;

  IF 'open_pipeline' = ANY (the_names) THEN
    RETURN QUERY
      SELECT i.partner_id, 'open_pipeline', coalesce(s.amount, 0), _metric_values.moment
      FROM unnest(the_ids) AS i(partner_id)
      LEFT JOIN (
        SELECT d.partner_id, sum(d.amount) AS amount FROM prm.deal d
        WHERE d.program_id = _metric_values.program_id AND d.partner_id = ANY (the_ids) AND d.closed_at IS NULL
          AND d.currency = the_currency
        GROUP BY d.partner_id) s ON s.partner_id = i.partner_id;
  END IF;

  IF the_names && ARRAY['return_rate', 'response_hours'] THEN
    RETURN QUERY
      SELECT s.partner_id, f.metric, f.value, _metric_values.moment
      FROM (
        SELECT q.partner_id, count(*) FILTER (WHERE q.qualified) AS qualified, count(*) FILTER (WHERE q.qualified AND q.returned) AS returned,
          percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM q.first_at - q.created_at)::float8)
            FILTER (WHERE q.first_at > the_start AND q.first_at >= q.created_at) AS seconds
        FROM (
          SELECT l.partner_id, l.created_at, min(h.at) FILTER (WHERE h.event = 'qualify') AS first_at,
            bool_or(h.event = 'qualify' AND h.at > the_start) AS qualified, bool_or(h.event = 'return' AND h.at > the_start) AS returned
          FROM prm.lead l
          JOIN prm.state_history h ON h.program_id = _metric_values.program_id AND h.machine = 'lead' AND h.subject_id = l.lead_id
            AND h.event IN ('qualify', 'return') AND h.at <= _metric_values.moment
          WHERE l.program_id = _metric_values.program_id AND l.partner_id = ANY (the_ids)
          GROUP BY l.lead_id, l.partner_id, l.created_at) q
        GROUP BY q.partner_id) s
      CROSS JOIN LATERAL (VALUES ('return_rate', round(s.returned::numeric / nullif(s.qualified, 0), 6)),
        ('response_hours', round(s.seconds::numeric / 3600, 4))) AS f(metric, value)
      WHERE f.value IS NOT NULL AND f.metric = ANY (the_names);
  END IF;

  IF 'certified_people' = ANY (the_names) THEN
    RETURN QUERY
      SELECT i.partner_id, 'certified_people', coalesce(s.people, 0)::numeric, _metric_values.moment
      FROM unnest(the_ids) AS i(partner_id)
      LEFT JOIN (
        SELECT u.partner_id, count(DISTINCT u.partner_user_id) AS people
        FROM prm.partner_user u
        JOIN prm.certificate c ON c.program_id = _metric_values.program_id AND c.partner_user_id = u.partner_user_id
        WHERE u.program_id = _metric_values.program_id AND u.partner_id = ANY (the_ids) AND u.is_active
          AND c.issued_on <= the_today AND (c.valid_until IS NULL OR c.valid_until >= the_today)
        GROUP BY u.partner_id) s ON s.partner_id = i.partner_id;
  END IF;

  IF the_names && ARRAY['nps', 'customer_nps', 'partner_nps'] THEN
    RETURN QUERY SELECT v.partner_id, v.metric, v.value, v.observed_at FROM prm._survey_metrics(_metric_values.program_id, the_ids, _metric_values.moment, the_names) v;
  END IF;

  IF the_names && ARRAY['logins_30d', 'content_use_30d', 'key_activities_30d', 'active_days_30d'] THEN
    RETURN QUERY SELECT v.partner_id, v.metric, v.value, v.observed_at FROM prm._usage_metrics(_metric_values.program_id, the_ids, _metric_values.moment, the_names) v;
  END IF;

  IF the_pushed IS NOT TRUE THEN
    RETURN;
  END IF;
  -- One look into the index for each partner and metric, however long the history of values is.
  RETURN QUERY
    SELECT i.partner_id, m.metric, v.value, v.observed_at
    FROM prm.metric m
    CROSS JOIN unnest(the_ids) AS i(partner_id)
    CROSS JOIN LATERAL (
      SELECT x.value, x.observed_at FROM prm.metric_value x
      WHERE x.program_id = _metric_values.program_id AND x.partner_id = i.partner_id AND x.metric = m.metric
        AND x.observed_at <= _metric_values.moment
      ORDER BY x.observed_at DESC LIMIT 1) v
    WHERE m.program_id = _metric_values.program_id AND m.source = 'pushed'
      AND (_metric_values.metrics IS NULL OR m.metric = ANY (_metric_values.metrics));
END
$prm$;
COMMENT ON FUNCTION prm._metric_values(bigint, bigint[], timestamptz, text[]) IS
'The metrics of the partners (NULL: of all) at a moment, a row for each value that is known, in one pass. Windows of 12 months end at that moment and do not hold the moment a year before. Amounts count only in the programme''s currency: currencies are never added; deals_won_12m and win_rate count deals in every currency. metrics limits the work to those names.';

CREATE FUNCTION prm._partner_argument(program_id bigint, partner_id bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  IF NOT EXISTS (SELECT 1 FROM prm.partner p WHERE p.program_id = _partner_argument.program_id AND p.partner_id = _partner_argument.partner_id) THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('partner %s does not exist', coalesce(_partner_argument.partner_id::text, 'NULL')),
      DETAIL = format('Programme %s has no such partner that you may see.', _partner_argument.program_id),
      HINT = 'SELECT partner_id, name FROM prm.partner lists them; other programmes are chosen with program_id.';
  END IF;
  RETURN _partner_argument.partner_id;
END
$prm$;
COMMENT ON FUNCTION prm._partner_argument(bigint, bigint) IS 'Returns the partner given. Error 42704 where the programme has no such partner.';

CREATE FUNCTION prm.partner_metrics(partner_id bigint, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.partner_metric_row
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(partner_metrics.program_id);
  the_partner bigint := prm._partner_argument(the_program, partner_metrics.partner_id);
BEGIN
  RETURN QUERY SELECT v.metric, v.value, v.observed_at FROM prm._metric_values(the_program, ARRAY[the_partner], prm.now()) v ORDER BY v.metric;
END
$prm$;
COMMENT ON FUNCTION prm.partner_metrics(bigint, bigint) IS
'The metrics of a partner, a row for each value that is known. Error 42704 unknown partner.';

CREATE FUNCTION prm.record_metric(partner_id bigint, metric text, value numeric, observed_at timestamptz DEFAULT prm.now(), program_id bigint DEFAULT prm.current_program()) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(record_metric.program_id);
  the_partner bigint := prm._partner_argument(the_program, record_metric.partner_id);
  the_source text;
BEGIN
  SELECT m.source INTO the_source FROM prm.metric m WHERE m.program_id = the_program AND m.metric = record_metric.metric;
  IF the_source IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('metric "%s" does not exist', coalesce(record_metric.metric, 'NULL')),
      DETAIL = format('The pushed metrics of programme %s are %s.', the_program,
        coalesce((SELECT string_agg(m.metric, ', ' ORDER BY m.metric) FROM prm.metric m WHERE m.program_id = the_program AND m.source = 'pushed'), 'none')),
      HINT = 'Correct the name, or define the metric: INSERT INTO prm.metric (metric, label) VALUES (...).';
  END IF;
  IF the_source = 'built_in' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('metric "%s" is computed, not recorded', record_metric.metric),
      DETAIL = 'It is a built-in metric: its value follows from deals, leads and certificates.',
      HINT = 'Record the deals, leads or certificates themselves, or define a metric of your own in prm.metric.';
  END IF;
  IF record_metric.value IS NULL OR record_metric.value IN ('NaN', 'Infinity', '-Infinity') THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('%s is no value of a metric', coalesce(record_metric.value::text, 'NULL')),
      DETAIL = format('It was given for metric "%s".', record_metric.metric),
      HINT = 'Give a finite number; where nothing is known, record nothing.';
  END IF;
  IF record_metric.observed_at IS NULL OR NOT isfinite(record_metric.observed_at) THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a value needs the moment at which it was observed',
      DETAIL = format('observed_at is %s.', coalesce(record_metric.observed_at::text, 'NULL')),
      HINT = 'Leave observed_at out for the present moment.';
  END IF;
  INSERT INTO prm.metric_value (program_id, partner_id, metric, observed_at, value)
    VALUES (the_program, the_partner, record_metric.metric, record_metric.observed_at, record_metric.value)
    ON CONFLICT (program_id, partner_id, metric, observed_at) DO UPDATE SET value = excluded.value, recorded_at = clock_timestamp();
END
$prm$;
COMMENT ON FUNCTION prm.record_metric(bigint, text, numeric, timestamptz, bigint) IS
'Stores a value of a pushed metric; a second value for the same moment takes the place of the first. Errors: 42704 unknown metric or partner, 22023 a built-in metric, or no finite number.';
