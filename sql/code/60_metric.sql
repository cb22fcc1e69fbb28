
-- Metrics: how a partner is doing, as numbers. Built-in ones are computed from the model when asked, pushed ones are stored.

CREATE TYPE prm.metric_row AS (partner_id bigint, metric text, value numeric, observed_at timestamptz);
COMMENT ON TYPE prm.metric_row IS 'A value of a metric for a partner, and when it was observed.';

CREATE TYPE prm.partner_metric_row AS (metric text, value numeric, observed_at timestamptz);
COMMENT ON TYPE prm.partner_metric_row IS 'A row of partner_metrics(): metric, its value, and when it was observed (built-in ones: now).';

CREATE TYPE prm.metric_window AS (after timestamptz, until timestamptz);
COMMENT ON TYPE prm.metric_window IS 'A window of a metric: what happened after the first moment and until the second, inclusive.';

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

CREATE FUNCTION prm._metric_window(program_id bigint, window_kind text, moment timestamptz) RETURNS prm.metric_window
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_zone text;
  the_local timestamp;
  the_unit text;
  the_count integer;
  the_step interval;
  the_fiscal integer;
  the_start date;
BEGIN
  IF _metric_window.window_kind IN ('point', 'lifetime') THEN
    RETURN ROW('-infinity'::timestamptz, _metric_window.moment)::prm.metric_window;
  END IF;
  the_zone := prm._program_time_zone(_metric_window.program_id);
  the_local := _metric_window.moment AT TIME ZONE the_zone;
  IF _metric_window.window_kind LIKE 'rolling%' THEN
    RETURN ROW((the_local - replace(substr(_metric_window.window_kind, 9), '_', ' ')::interval) AT TIME ZONE the_zone, _metric_window.moment)::prm.metric_window;
  END IF;
  SELECT p.fiscal_year_start INTO the_fiscal FROM prm.program p WHERE p.program_id = _metric_window.program_id;
  the_unit := substring(_metric_window.window_kind FROM 'month|quarter|half|year');
  the_count := coalesce(substring(_metric_window.window_kind FROM '[0-9]+')::integer, 1);
  the_step := CASE the_unit WHEN 'month' THEN interval '1 month' WHEN 'quarter' THEN '3 months' WHEN 'half' THEN '6 months' ELSE '1 year' END;
  the_start := prm.period_start(the_local::date, the_unit, the_fiscal);
  -- A microsecond before midnight is the last moment of the day before: calendar windows hold their first midnight.
  IF _metric_window.window_kind LIKE 'last%' THEN
    RETURN ROW(((the_start - the_count * the_step) AT TIME ZONE the_zone) - interval '1 microsecond',
      (the_start::timestamp AT TIME ZONE the_zone) - interval '1 microsecond')::prm.metric_window;
  END IF;
  RETURN ROW(((the_start - (the_count - 1) * the_step) AT TIME ZONE the_zone) - interval '1 microsecond', _metric_window.moment)::prm.metric_window;
END
$prm$;
COMMENT ON FUNCTION prm._metric_window(bigint, text, timestamptz) IS
'The window of a metric at a moment: what happened after the first moment and until the second, inclusive. Calendar windows follow the programme''s fiscal year and time zone.';

CREATE FUNCTION prm._metric_values(program_id bigint, partner_ids bigint[], moment timestamptz, metrics text[] DEFAULT NULL, plain boolean DEFAULT false) RETURNS SETOF prm.metric_row
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = auto AS $prm$
#variable_conflict use_column
DECLARE
  the_ids bigint[] := _metric_values.partner_ids;
  the_pushed text[];
  the_span prm.metric_window;
  batch record;
BEGIN
  IF cardinality(the_ids) <= 20 THEN
    -- For a few partners one plan is as good as another, and making it would cost more than running it.
    PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);
  END IF;
  -- What is measured over the same window is measured at once.
  FOR batch IN
    SELECT f.family, CASE WHEN f.family IN ('pushed', 'view', 'people', 'pipeline') THEN 'point' ELSE m.window_kind END AS window_kind, m.credit_type, m.relation, m.any_day_window, m.any_day_pick, m.certification,
      array_agg(m.metric) AS names, array_agg(m.measure) AS measures
    FROM prm.metric m
    CROSS JOIN LATERAL (SELECT CASE
      WHEN m.any_day_window IS NOT NULL AND _metric_values.plain IS NOT TRUE THEN 'any_day'
      WHEN m.source <> 'built_in' THEN m.source
      WHEN m.credit_type IS NOT NULL THEN 'credit'
      WHEN m.measure IN ('revenue', 'deals_won', 'win_rate', 'average_deal') THEN 'deal'
      WHEN m.measure IN ('certified_people', 'training_coverage', 'active_people') THEN 'people'
      WHEN m.measure = 'open_pipeline' THEN 'pipeline'
      WHEN m.measure IN ('leads', 'lead_acceptance', 'return_rate', 'response_hours') THEN 'lead'
      WHEN m.measure IN ('registrations_approved', 'registrations_refused', 'registration_approval') THEN 'registration'
      WHEN m.measure IN ('customer_nps', 'partner_nps') THEN 'survey'
      WHEN m.measure IN ('logins', 'content_use', 'key_activities', 'active_days') THEN 'usage'
      ELSE m.measure END AS family) f
    WHERE m.program_id = _metric_values.program_id AND (_metric_values.metrics IS NULL OR m.metric = ANY (_metric_values.metrics))
    GROUP BY 1, 2, 3, 4, 5, 6, 7
  LOOP
    IF the_ids IS NULL AND batch.family <> 'deal' THEN
      the_ids := ARRAY(SELECT p.partner_id FROM prm.partner p WHERE p.program_id = _metric_values.program_id ORDER BY p.partner_id);
    END IF;
    the_span := prm._metric_window(_metric_values.program_id, batch.window_kind, _metric_values.moment);
    CASE batch.family
      WHEN 'deal' THEN
        RETURN QUERY SELECT v.* FROM prm._measure_deals(_metric_values.program_id, _metric_values.partner_ids, batch.names, batch.measures, the_span, _metric_values.moment) v;
      WHEN 'credit' THEN
        RETURN QUERY SELECT v.* FROM prm._measure_credits(_metric_values.program_id, the_ids, batch.names, batch.measures, the_span, _metric_values.moment, batch.credit_type) v;
      WHEN 'cycle_days' THEN
        RETURN QUERY SELECT v.* FROM prm._measure_cycle(_metric_values.program_id, the_ids, batch.names, the_span, _metric_values.moment) v;
      WHEN 'pipeline' THEN
        RETURN QUERY SELECT v.* FROM prm._measure_pipeline(_metric_values.program_id, the_ids, batch.names, _metric_values.moment) v;
      WHEN 'people' THEN
        RETURN QUERY SELECT v.* FROM prm._measure_people(_metric_values.program_id, the_ids, batch.names, batch.measures, _metric_values.moment, batch.certification) v;
      WHEN 'lead' THEN
        RETURN QUERY SELECT v.* FROM prm._measure_leads(_metric_values.program_id, the_ids, batch.names, batch.measures, the_span, _metric_values.moment) v;
      WHEN 'registration' THEN
        RETURN QUERY SELECT v.* FROM prm._measure_registrations(_metric_values.program_id, the_ids, batch.names, batch.measures, the_span, _metric_values.moment) v;
      WHEN 'survey' THEN
        RETURN QUERY SELECT v.* FROM prm._measure_surveys(_metric_values.program_id, the_ids, batch.names, batch.measures, the_span, _metric_values.moment) v;
      WHEN 'usage' THEN
        RETURN QUERY SELECT v.* FROM prm._measure_usage(_metric_values.program_id, the_ids, batch.names, batch.measures, the_span, _metric_values.moment) v;
      WHEN 'customer_churn' THEN
        RETURN QUERY SELECT v.* FROM prm._measure_churn(_metric_values.program_id, the_ids, batch.names, the_span, _metric_values.moment) v;
      WHEN 'buyer_churn' THEN
        RETURN QUERY SELECT v.* FROM prm._measure_buyers(_metric_values.program_id, the_ids, batch.names, the_span, _metric_values.moment) v;
      WHEN 'breaches' THEN
        RETURN QUERY SELECT v.* FROM prm._measure_breaches(_metric_values.program_id, the_ids, batch.names, the_span, _metric_values.moment) v;
      WHEN 'payout_disputes' THEN
        RETURN QUERY SELECT v.* FROM prm._measure_disputes(_metric_values.program_id, the_ids, batch.names, the_span, _metric_values.moment) v;
      WHEN 'view' THEN
        RETURN QUERY SELECT v.* FROM unnest(batch.names) AS n(metric) CROSS JOIN LATERAL prm._measure_view(_metric_values.program_id, the_ids, n.metric, batch.relation, _metric_values.moment) v;
      WHEN 'any_day' THEN
        RETURN QUERY SELECT v.* FROM prm._measure_any_day(_metric_values.program_id, the_ids, batch.names, batch.any_day_pick,
          prm._metric_window(_metric_values.program_id, batch.any_day_window, _metric_values.moment), _metric_values.moment) v;
      WHEN 'pushed' THEN
        the_pushed := batch.names;
    END CASE;
  END LOOP;
  IF the_pushed IS NULL THEN
    RETURN;
  END IF;
  -- One look into the index for each partner and metric, however long the history of values is.
  RETURN QUERY
    SELECT i.partner_id, m.metric, v.value, v.observed_at
    FROM unnest(the_pushed) AS m(metric)
    CROSS JOIN unnest(the_ids) AS i(partner_id)
    CROSS JOIN LATERAL (
      SELECT x.value, x.observed_at FROM prm.metric_value x
      WHERE x.program_id = _metric_values.program_id AND x.partner_id = i.partner_id AND x.metric = m.metric
        AND x.observed_at <= _metric_values.moment
      ORDER BY x.observed_at DESC LIMIT 1) v;
END
$prm$;
COMMENT ON FUNCTION prm._metric_values(bigint, bigint[], timestamptz, text[], boolean) IS
'The metrics of the partners (NULL: of all) at a moment, past or present, a row for each value that is known; what has the same window is measured in one pass. Rolling windows end at that moment, inclusive, and do not hold the moment at which they begin. Amounts count only in the programme''s currency: currencies are never added. metrics limits the work to those names. plain: as if no metric had an any_day_window.';

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

CREATE FUNCTION prm._own_partner(program_id bigint, partner_id bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_self bigint := prm._calling_partner(_own_partner.program_id);
BEGIN
  IF the_self IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'no partner asks',
      DETAIL = format('Role "%s" acts for none in programme %s.', CASE current_setting('role') WHEN 'none' THEN session_user ELSE current_setting('role') END, _own_partner.program_id),
      HINT = 'What counts is the role of the session or of SET ROLE, not that of a SECURITY DEFINER function around the call: give it a row of prm.partner_login, or let an application SET LOCAL prm.partner_id.';
  ELSIF the_self IS DISTINCT FROM _own_partner.partner_id THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('partner %s does not exist', coalesce(_own_partner.partner_id::text, 'NULL')),
      DETAIL = format('Programme %s has no such partner that you may see.', _own_partner.program_id), HINT = 'A partner is told of itself only.';
  END IF;
  RETURN the_self;
END
$prm$;
COMMENT ON FUNCTION prm._own_partner(bigint, bigint) IS
'The check of every function that reads for a partner with the owner''s rights: returns the partner where it is the caller''s own. Errors: 42501 the caller is no partner, 42704 it is another.';

CREATE FUNCTION prm.partner_metrics(partner_id bigint, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.partner_metric_row
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(partner_metrics.program_id);
  the_partner bigint := prm._partner_argument(the_program, partner_metrics.partner_id);
  the_self bigint := prm._acting_partner(the_program);
BEGIN
  IF the_self IS NULL THEN
    RETURN QUERY SELECT v.metric, v.value, v.observed_at FROM prm._metric_values(the_program, ARRAY[the_partner], prm.now()) v ORDER BY v.metric;
  ELSE
    -- A partner reads what refresh_metrics() wrote down for it: to compute it here, it would have to read the tables behind it.
    RETURN QUERY SELECT s.metric, s.value, s.observed_at FROM prm.metric_standing s
      WHERE s.program_id = the_program AND s.partner_id = the_partner AND s.partner_id = the_self ORDER BY s.metric;
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm.partner_metrics(bigint, bigint) IS
'The metrics of a partner, a row for each value that is known. A partner itself reads those that are partner_visible, as of the last refresh_metrics(). Errors: 42704 unknown partner; 55000 a registered view that is gone or has changed.';

CREATE FUNCTION prm._row_metric(program_id bigint, partner_id bigint, metric text) RETURNS SETOF prm.metric_row
LANGUAGE plpgsql STABLE ROWS 1 SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_self bigint := prm._acting_partner(_row_metric.program_id);
BEGIN
  IF the_self IS NULL THEN
    RETURN QUERY SELECT v.* FROM prm._metric_values(_row_metric.program_id, ARRAY[_row_metric.partner_id], prm.now(), ARRAY[_row_metric.metric]) v WHERE v.metric = _row_metric.metric;
  ELSIF the_self = _row_metric.partner_id THEN
    RETURN QUERY SELECT v.* FROM prm._own_metric(the_self, _row_metric.metric, _row_metric.program_id) v;
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._row_metric(bigint, bigint, text) IS 'The metric behind the functions over a row of prm.partner, which anybody may make up: a partner gets no row for another.';

CREATE FUNCTION prm.record_metric(partner_id bigint, metric text, value numeric, observed_at timestamptz DEFAULT prm.now(), program_id bigint DEFAULT prm.current_program()) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(record_metric.program_id);
  the_partner bigint := prm._partner_argument(the_program, record_metric.partner_id);
  the_self bigint := prm._acting_partner(the_program);
  the_source text;
  the_relation text;
BEGIN
  SELECT m.source, m.relation INTO the_source, the_relation FROM prm.metric m WHERE m.program_id = the_program AND m.metric = record_metric.metric;
  IF the_source IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('metric "%s" does not exist', coalesce(record_metric.metric, 'NULL')),
      DETAIL = format('The pushed metrics of programme %s are %s.', the_program,
        coalesce((SELECT string_agg(m.metric, ', ' ORDER BY m.metric) FROM prm.metric m WHERE m.program_id = the_program AND m.source = 'pushed'), 'none')),
      HINT = 'Correct the name, or define the metric: INSERT INTO prm.metric (metric, label) VALUES (...).';
  END IF;
  IF the_source <> 'pushed' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('metric "%s" is computed, not recorded', record_metric.metric),
      DETAIL = CASE the_source WHEN 'built_in' THEN 'It is a built-in metric: its value follows from deals, leads and certificates.' ELSE format('It is read from %s.', the_relation) END,
      HINT = CASE the_source WHEN 'built_in' THEN 'Record the deals, leads or certificates themselves, or define a metric of your own in prm.metric.'
        ELSE 'Change what the relation shows, or define a metric of your own in prm.metric.' END;
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
  IF the_self IS NOT NULL THEN
    -- A partner enters; the trigger of prm.metric_entry judges and stores.
    INSERT INTO prm.metric_entry (program_id, partner_id, metric, observed_at, value)
      VALUES (the_program, the_partner, record_metric.metric, record_metric.observed_at, record_metric.value);
    RETURN;
  END IF;
  INSERT INTO prm.metric_value (program_id, partner_id, metric, observed_at, value)
    VALUES (the_program, the_partner, record_metric.metric, record_metric.observed_at, record_metric.value)
    ON CONFLICT (program_id, partner_id, metric, observed_at) DO UPDATE SET value = excluded.value, recorded_at = clock_timestamp();
END
$prm$;
COMMENT ON FUNCTION prm.record_metric(bigint, text, numeric, timestamptz, bigint) IS
'Stores a value of a pushed metric; a second value for the same moment takes the place of the first. A partner enters its own values, of metrics with partner_enters. Errors: 42704 unknown metric or partner, 22023 a computed metric, or no finite number, 23514 a value that is not plausible (see prm.metric), 42501 a metric that partners do not enter.';
