
-- Metrics: the definitions, the values that were pushed, and every metric of every partner as a view.

CREATE OR REPLACE FUNCTION prm._metric_defined() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  known prm.measure_kind;
  the_relation prm.metric_relation;
BEGIN
  IF NEW.source <> 'built_in' THEN
    NEW.measure := NULL;
    NEW.credit_type := NULL;
    NEW.certification := NULL;
  ELSE
    IF NEW.measure IS NULL AND starts_with(NEW.metric, 'certified_people_') THEN
      NEW.measure := 'certified_people';
      NEW.certification := substr(NEW.metric, 18);
    END IF;
    IF NEW.measure IS NULL THEN
      -- Metrics that had their name before measures had one.
      NEW.measure := CASE NEW.metric WHEN 'revenue_12m' THEN 'revenue' WHEN 'deals_won_12m' THEN 'deals_won' WHEN 'nps' THEN 'customer_nps' WHEN 'logins_30d' THEN 'logins'
        WHEN 'content_use_30d' THEN 'content_use' WHEN 'key_activities_30d' THEN 'key_activities' WHEN 'active_days_30d' THEN 'active_days' ELSE NEW.metric END;
      SELECT * INTO known FROM prm._measures() k WHERE k.measure = NEW.measure;
      IF NEW.window_kind = 'point' THEN
        NEW.window_kind := coalesce(known.default_window, NEW.window_kind);
      END IF;
    ELSE
      SELECT * INTO known FROM prm._measures() k WHERE k.measure = NEW.measure;
    END IF;
    IF known.measure IS NULL THEN
      RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('there is no measure "%s" for metric "%s"', NEW.measure, NEW.metric),
        DETAIL = format('The measures are %s.', (SELECT string_agg(k.measure, ', ' ORDER BY k.measure) FROM prm._measures() k)),
        HINT = 'Name one of them, or let a view be the source: source = ''view'', relation = ''schema.view''.', SCHEMA = 'prm', TABLE = 'metric', COLUMN = 'measure';
    END IF;
    IF known.is_windowed = (NEW.window_kind = 'point') OR (NEW.measure IN ('customer_churn', 'buyer_churn') AND NEW.window_kind = 'lifetime') THEN
      RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('measure "%s" has no window "%s"', NEW.measure, NEW.window_kind),
        DETAIL = CASE WHEN known.is_windowed THEN 'It counts what happens over time.' ELSE 'It tells how things stand at a moment.' END,
        HINT = CASE WHEN known.is_windowed THEN format('Give it a window that begins and ends, such as %s.', known.default_window)
          ELSE 'Its window_kind is point; to look at several days, name them in any_day_window.' END, SCHEMA = 'prm', TABLE = 'metric', COLUMN = 'window_kind';
    END IF;
  END IF;
  IF NEW.source <> 'view' THEN
    NEW.relation := NULL;
  ELSIF TG_OP = 'INSERT' OR NEW.relation IS DISTINCT FROM OLD.relation OR OLD.source <> 'view' THEN
    the_relation := prm._metric_relation(NEW.metric, NEW.relation, '22023');
    NEW.relation := format('%I.%I', the_relation.schema_name, the_relation.relation_name);
  END IF;
  RETURN NEW;
END
$prm$;
COMMENT ON FUNCTION prm._metric_defined() IS
'Row trigger of prm.metric: a built-in metric has a measure and a window that fits it, a view has the columns that it needs and a name with its schema. Errors: 22023, 42501.';
CREATE OR REPLACE TRIGGER prm_10_defined BEFORE INSERT OR UPDATE ON prm.metric FOR EACH ROW EXECUTE FUNCTION prm._metric_defined();

CREATE OR REPLACE FUNCTION prm._metric_valued() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_programs bigint[];
  the_program bigint;
  the_names text[];
  the_ids bigint[];
  the_metrics text[];
  the_moments timestamptz[];
  the_values numeric[];
  fault record;
BEGIN
  SELECT array_agg(DISTINCT n.program_id ORDER BY n.program_id) INTO the_programs FROM new_rows n;
  FOREACH the_program IN ARRAY coalesce(the_programs, '{}')
  LOOP
    SELECT array_agg(m.metric) INTO the_names FROM prm.metric m
      WHERE m.program_id = the_program AND num_nonnulls(m.plausible_low, m.plausible_high, m.max_change, m.max_change_percent) > 0;
    CONTINUE WHEN the_names IS NULL;
    SELECT array_agg(n.partner_id), array_agg(n.metric), array_agg(n.observed_at), array_agg(n.value) INTO the_ids, the_metrics, the_moments, the_values
      FROM new_rows n WHERE n.program_id = the_program AND n.metric = ANY (the_names);
    CONTINUE WHEN the_ids IS NULL;
    SELECT i.partner_id, i.metric, i.observed_at, i.value, m.plausible_low, m.plausible_high, m.max_change, m.max_change_percent, b.value AS before, b.observed_at AS before_at,
        i.value < m.plausible_low OR i.value > m.plausible_high AS out_of_bounds INTO fault
      FROM unnest(the_ids, the_metrics, the_moments, the_values) AS i(partner_id, metric, observed_at, value)
      JOIN prm.metric m ON m.program_id = the_program AND m.metric = i.metric
      LEFT JOIN LATERAL (
        SELECT x.value, x.observed_at FROM prm.metric_value x
        WHERE x.program_id = the_program AND x.partner_id = i.partner_id AND x.metric = i.metric AND x.observed_at < i.observed_at
        ORDER BY x.observed_at DESC LIMIT 1) b ON num_nonnulls(m.max_change, m.max_change_percent) > 0
      WHERE i.value < m.plausible_low OR i.value > m.plausible_high OR abs(i.value - b.value) > m.max_change
        OR abs(i.value - b.value) > abs(b.value) * m.max_change_percent / 100
      ORDER BY i.partner_id, i.metric, i.observed_at LIMIT 1;
    IF fault.partner_id IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = '23514', MESSAGE = format('%s is no plausible value of metric "%s"', trim_scale(fault.value), fault.metric),
        DETAIL = CASE WHEN fault.out_of_bounds THEN format('For partner %s: plausible is %s.', fault.partner_id, CASE WHEN fault.plausible_low IS NULL THEN format('at most %s', trim_scale(fault.plausible_high))
            WHEN fault.plausible_high IS NULL THEN format('at least %s', trim_scale(fault.plausible_low)) ELSE format('%s to %s', trim_scale(fault.plausible_low), trim_scale(fault.plausible_high)) END)
          ELSE format('For partner %s: the value before it, of %s, is %s, and it may change by at most %s.', fault.partner_id, to_char(fault.before_at AT TIME ZONE prm._program_time_zone(the_program), 'YYYY-MM-DD'),
            trim_scale(fault.before), concat_ws(' and by ', trim_scale(fault.max_change), trim_scale(fault.max_change_percent) || ' %')) END,
        HINT = format('Look whether the number and its unit (%s) are right. Bounds are columns of prm.metric: plausible_low, plausible_high, max_change, max_change_percent.',
          (SELECT m.unit FROM prm.metric m WHERE m.program_id = the_program AND m.metric = fault.metric)), SCHEMA = 'prm', TABLE = 'metric_value', COLUMN = 'value';
    END IF;
  END LOOP;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._metric_valued() FROM PUBLIC;
COMMENT ON FUNCTION prm._metric_valued() IS 'Statement trigger of prm.metric_value: refuses (23514) what lies outside the plausible bounds of its metric, or too far from the value before it.';
CREATE OR REPLACE TRIGGER prm_20_valued_insert AFTER INSERT ON prm.metric_value REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm._metric_valued();
CREATE OR REPLACE TRIGGER prm_20_valued_update AFTER UPDATE ON prm.metric_value REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm._metric_valued();

CREATE OR REPLACE FUNCTION prm._metric_entered() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  entered record;
BEGIN
  SELECT n.metric, m.source, n.observed_at INTO entered FROM (SELECT x.program_id, x.metric, x.observed_at FROM new_rows x OFFSET 0) n
    CROSS JOIN LATERAL (SELECT o.source, o.partner_enters FROM prm.metric o WHERE o.program_id = n.program_id AND o.metric = n.metric OFFSET 0) m
    WHERE NOT m.partner_enters OR n.observed_at > prm.now() ORDER BY n.metric LIMIT 1;
  IF entered.observed_at > prm.now() THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('a value of metric "%s" cannot have been observed in the future', entered.metric),
      DETAIL = format('It is %s, and it is %s.', entered.observed_at, prm.now()), HINT = 'Leave observed_at out for the present moment.';
  ELSIF entered.metric IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = format('metric "%s" is not entered by partners', entered.metric),
      DETAIL = 'Its values come from the vendor.', HINT = 'SELECT metric, label FROM prm.metric WHERE partner_enters lists those that you can enter.';
  END IF;
  INSERT INTO prm.metric_value (program_id, partner_id, metric, observed_at, value)
    SELECT DISTINCT ON (n.program_id, n.partner_id, n.metric, n.observed_at) n.program_id, n.partner_id, n.metric, n.observed_at, n.value FROM new_rows n
    ORDER BY n.program_id, n.partner_id, n.metric, n.observed_at, n.metric_entry_id DESC
    ON CONFLICT (program_id, partner_id, metric, observed_at) DO UPDATE SET value = excluded.value, recorded_at = clock_timestamp();
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._metric_entered() FROM PUBLIC;
COMMENT ON FUNCTION prm._metric_entered() IS
'Statement trigger of prm.metric_entry: what a partner enters becomes a value of the metric. Errors: 42501 a metric that partners do not enter, 22023 a moment to come, 23514 not plausible.';
CREATE OR REPLACE TRIGGER prm_20_entered AFTER INSERT ON prm.metric_entry REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm._metric_entered();

COMMENT ON TABLE prm.metric IS 'Metrics of a programme: numbers that say how a partner is doing. A metric is a measure over a window, so a new one is a row.';
COMMENT ON COLUMN prm.metric.metric IS 'The metric.';
COMMENT ON COLUMN prm.metric.label IS 'Name for people.';
COMMENT ON COLUMN prm.metric.unit IS 'money (in the programme''s currency), count, ratio (0 to 1), hours, people, points ...';
COMMENT ON COLUMN prm.metric.higher_is_better IS 'Whether more is better.';
COMMENT ON COLUMN prm.metric.source IS 'built_in: computed from the model when asked. pushed: recorded with record_metric(). view: read from a relation of the user''s.';
COMMENT ON COLUMN prm.metric.measure IS 'What a built-in metric counts: revenue, deals_won, win_rate, average_deal, cycle_days, open_pipeline, registrations_approved, registrations_refused, registration_approval, leads, lead_acceptance, return_rate, response_hours, certified_people, training_coverage, active_people, customer_nps, partner_nps, customer_churn, buyer_churn, logins, content_use, key_activities, active_days, breaches, payout_disputes. SELECT * FROM prm._measures() explains them.';
COMMENT ON COLUMN prm.metric.credit_type IS 'For revenue and deals_won: the type of credit (sourced, influenced, managed ...) by which the partner''s share counts; empty: the partner''s own deals in full.';
COMMENT ON COLUMN prm.metric.certification IS 'For certified_people and training_coverage: only people with this certification count; empty: with any. Where a built-in metric is called certified_people_X and names no measure, it is X.';
COMMENT ON COLUMN prm.metric.relation IS 'For source view: the view or table, schema.name, with the columns partner_id and value, and if wished observed_at (its newest value up to the moment counts) and program_id. It belongs to the owner of the model and is read with the rights of whoever asks.';
COMMENT ON COLUMN prm.metric.window_kind IS 'What a metric counts over. point: as it is at a moment. lifetime. rolling_N_days, _weeks, _months, _years: up to the moment, inclusive. month_to_date, quarter_to_date, half_to_date, year_to_date, last_month, last_quarter, last_half, last_year: calendar, from the programme''s fiscal year; N_months_to_date, N_quarters_to_date, N_years_to_date: the running one and the N - 1 before it; last_N_months, last_N_quarters, last_N_years: the last N whole ones. For pushed metrics and views it only says what the sender counts.';
COMMENT ON COLUMN prm.metric.any_day_window IS 'The metric is measured at the end of each day of this window, a window_kind of at most a year, and the best day counts (or the worst, see any_day_pick); empty: only the moment itself.';
COMMENT ON COLUMN prm.metric.any_day_pick IS 'With any_day_window: maximum (reached on any day) or minimum (held on every day).';
COMMENT ON COLUMN prm.metric.plausible_low IS 'A pushed value below this is refused; empty: no bound.';
COMMENT ON COLUMN prm.metric.plausible_high IS 'A pushed value above this is refused; empty: no bound.';
COMMENT ON COLUMN prm.metric.max_change IS 'By how much a pushed value may differ from the one before it, in the metric''s unit; empty: by any amount.';
COMMENT ON COLUMN prm.metric.max_change_percent IS 'By how many percent of the one before it a pushed value may differ from it; empty: by any.';
COMMENT ON COLUMN prm.metric.partner_enters IS 'Whether partners enter the values of this pushed metric themselves.';
COMMENT ON COLUMN prm.metric.partner_visible IS 'Whether partners see their own value and where they stand by it (never the values of others).';
COMMENT ON COLUMN prm.metric.keep_history IS 'Whether refresh_metrics() writes the values of this computed metric into prm.metric_value when they change.';

COMMENT ON TABLE prm.metric_value IS 'Values of pushed metrics, and of computed ones with keep_history. The newest up to a moment counts.';
COMMENT ON COLUMN prm.metric_value.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.metric_value.metric IS 'The metric.';
COMMENT ON COLUMN prm.metric_value.observed_at IS 'The moment for which the value holds.';
COMMENT ON COLUMN prm.metric_value.value IS 'The value, in the metric''s unit; finite.';

COMMENT ON TABLE prm.metric_entry IS 'What partners entered themselves, append-only; each row became one of prm.metric_value.';
COMMENT ON COLUMN prm.metric_entry.metric_entry_id IS 'Number of the row.';
COMMENT ON COLUMN prm.metric_entry.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.metric_entry.metric IS 'The metric.';
COMMENT ON COLUMN prm.metric_entry.observed_at IS 'The moment for which the value holds.';
COMMENT ON COLUMN prm.metric_entry.value IS 'The value, in the metric''s unit.';
COMMENT ON COLUMN prm.metric_entry.entered_by IS 'The role that entered it.';

COMMENT ON TABLE prm.metric_benchmark IS 'What is usual in the market: points of the distribution of a metric, for everybody or for a kind, a region or a segment of partners. Of the rows that fit a partner the one counts that names most: segment before kind before region.';
COMMENT ON COLUMN prm.metric_benchmark.metric_benchmark_id IS 'Number of the row.';
COMMENT ON COLUMN prm.metric_benchmark.metric IS 'The metric.';
COMMENT ON COLUMN prm.metric_benchmark.partner_kind IS 'Only for partners of this kind; empty: of any.';
COMMENT ON COLUMN prm.metric_benchmark.region IS 'Only for partners of this region; empty: of any.';
COMMENT ON COLUMN prm.metric_benchmark.segment IS 'Only for members of this segment; empty: for all.';
COMMENT ON COLUMN prm.metric_benchmark.p10 IS 'A tenth of the market lies below this value.';
COMMENT ON COLUMN prm.metric_benchmark.p25 IS 'A quarter of the market lies below this value.';
COMMENT ON COLUMN prm.metric_benchmark.p50 IS 'Half of the market lies below this value.';
COMMENT ON COLUMN prm.metric_benchmark.p75 IS 'Three quarters of the market lie below this value.';
COMMENT ON COLUMN prm.metric_benchmark.p90 IS 'Nine tenths of the market lie below this value.';
COMMENT ON COLUMN prm.metric_benchmark.valid IS 'Business days on which it holds; rows for the same partners do not overlap.';
COMMENT ON COLUMN prm.metric_benchmark.source IS 'Where it comes from.';
COMMENT ON COLUMN prm.metric_benchmark.partner_visible IS 'Whether partners are told the median; the percentile they are told in any case, the other points never.';

COMMENT ON TABLE prm.metric_standing IS 'Where each partner stands by the metrics with partner_visible, as of the last refresh_metrics(). A partner reads its own rows. Percentiles are 0 to 100, higher is better, and empty among fewer than five peers.';
COMMENT ON COLUMN prm.metric_standing.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.metric_standing.metric IS 'The metric.';
COMMENT ON COLUMN prm.metric_standing.value IS 'Its value, in the metric''s unit.';
COMMENT ON COLUMN prm.metric_standing.observed_at IS 'When the value was observed.';
COMMENT ON COLUMN prm.metric_standing.program_percentile IS 'Percentile among the partners of the programme.';
COMMENT ON COLUMN prm.metric_standing.program_peers IS 'How many they are.';
COMMENT ON COLUMN prm.metric_standing.kind_percentile IS 'Percentile among partners of its kind.';
COMMENT ON COLUMN prm.metric_standing.kind_peers IS 'How many they are.';
COMMENT ON COLUMN prm.metric_standing.region_percentile IS 'Percentile among partners of its region.';
COMMENT ON COLUMN prm.metric_standing.region_peers IS 'How many they are.';
COMMENT ON COLUMN prm.metric_standing.segment IS 'The segment with whose members it is compared, of those that are partner_visible.';
COMMENT ON COLUMN prm.metric_standing.segment_percentile IS 'Percentile among them.';
COMMENT ON COLUMN prm.metric_standing.segment_peers IS 'How many they are.';
COMMENT ON COLUMN prm.metric_standing.market IS 'Whom the market benchmark is about: segment, kind and region that it names.';
COMMENT ON COLUMN prm.metric_standing.market_median IS 'The median of the market; empty where its benchmark is not partner_visible.';
COMMENT ON COLUMN prm.metric_standing.market_percentile IS 'Percentile in the market.';
COMMENT ON COLUMN prm.metric_standing.taken_at IS 'When this was written down.';

-- What is named is looked up for each row of the function: a join that began with partners or metrics would measure everything once for each
-- of them, which without statistics the planner does. Other views too.
CREATE OR REPLACE VIEW prm.v_partner_metric WITH (security_invoker = true) AS
  SELECT g.program_id, v.partner_id, p.name AS partner, v.metric, m.label, m.unit, v.value, v.observed_at
  FROM prm.program g
  CROSS JOIN LATERAL prm._metric_values(g.program_id, NULL, prm.now()) v
  CROSS JOIN LATERAL (SELECT x.label, x.unit FROM prm.metric x WHERE x.program_id = g.program_id AND x.metric = v.metric OFFSET 0) m
  CROSS JOIN LATERAL (SELECT x.name FROM prm.partner x WHERE x.program_id = g.program_id AND x.partner_id = v.partner_id OFFSET 0) p;
COMMENT ON VIEW prm.v_partner_metric IS 'Every metric of every partner at prm.now(), a row for each value that is known. For one partner partner_metrics() is quicker.';
COMMENT ON COLUMN prm.v_partner_metric.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_partner_metric.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_partner_metric.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_partner_metric.metric IS 'The metric.';
COMMENT ON COLUMN prm.v_partner_metric.label IS 'Its name for people.';
COMMENT ON COLUMN prm.v_partner_metric.unit IS 'Its unit.';
COMMENT ON COLUMN prm.v_partner_metric.value IS 'Its value.';
COMMENT ON COLUMN prm.v_partner_metric.observed_at IS 'When it was observed; for built-in metrics prm.now().';
