
-- Analytics of any machine by partner, month and segment: what the views over the history of states cannot be asked.

CREATE FUNCTION prm._check_analysis(options jsonb, what text, program_id bigint) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_key text;
BEGIN
  PERFORM prm._check_options(_check_analysis.options, ARRAY['date_from', 'date_to', 'partner_id', 'region', 'kind', 'group_by'], _check_analysis.what);
  FOREACH the_key IN ARRAY ARRAY['date_from', 'date_to'] LOOP
    BEGIN
      PERFORM (_check_analysis.options ->> the_key)::date;
    EXCEPTION WHEN data_exception THEN
      RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('option "%s" is no date: %s', the_key, _check_analysis.options -> the_key),
        DETAIL = SQLERRM || '.', HINT = 'Write it as "2026-03-31".';
    END;
  END LOOP;
  IF _check_analysis.options ->> 'partner_id' IS NOT NULL THEN
    IF NOT EXISTS (SELECT 1 FROM prm.partner p
      WHERE p.program_id = _check_analysis.program_id AND p.partner_id::text = _check_analysis.options ->> 'partner_id') THEN
      RAISE EXCEPTION USING ERRCODE = '42704',
        MESSAGE = format('partner %s does not exist in programme %s', _check_analysis.options ->> 'partner_id', _check_analysis.program_id),
        DETAIL = 'Option "partner_id" chooses the partner whose rows are looked at.',
        HINT = 'SELECT partner_id, name FROM prm.partner lists the partners.';
    END IF;
  END IF;
  IF _check_analysis.options ->> 'group_by' NOT IN ('partner', 'month', 'region', 'kind') THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('option "group_by" cannot be "%s"', _check_analysis.options ->> 'group_by'),
      DETAIL = 'It is partner, month, region or kind; without it all rows are one group.', HINT = 'Correct the option.';
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._check_analysis(jsonb, text, bigint) IS
'Refuses options of an analysis that are unknown or have an unfit value (22023), and an unknown partner (42704).';

CREATE FUNCTION prm._day_begins(day text, program_id bigint) RETURNS timestamptz
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  RETURN (SELECT _day_begins.day::date::timestamp AT TIME ZONE g.time_zone FROM prm.program g WHERE g.program_id = _day_begins.program_id);
END
$prm$;
COMMENT ON FUNCTION prm._day_begins(text, bigint) IS 'The moment when a day begins in the time zone of a programme; NULL for NULL.';

CREATE TYPE prm.state_time AS (group_value text, group_label text, state text, label text, stays bigint, open_stays bigint, returns bigint,
  waiting_hours numeric, p50_hours numeric, p75_hours numeric, p90_hours numeric, mean_hours numeric);
COMMENT ON TYPE prm.state_time IS
'A row of state_times(): the group (partner_id, month as YYYY-MM, region or kind; NULL without group_by and for rows without partner), its name for people, the state and its label, stays that began, those still open, those that were not the first of their row, hours of all together, median, 75 and 90 percent, mean.';

CREATE FUNCTION prm.state_times(machine text, options jsonb DEFAULT '{}', program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.state_time
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(state_times.program_id);
  the_from timestamptz;
  the_end timestamptz;
  the_partner bigint;
  the_group text := state_times.options ->> 'group_by';
BEGIN
  PERFORM prm._machine_version(state_times.machine, the_program);
  PERFORM prm._check_analysis(state_times.options, 'state_times', the_program);
  the_partner := (state_times.options ->> 'partner_id')::bigint;
  the_from := prm._day_begins(state_times.options ->> 'date_from', the_program);
  the_end := prm._day_begins(((state_times.options ->> 'date_to')::date + 1)::text, the_program);
  RETURN QUERY
    SELECT g.value, CASE the_group WHEN 'partner' THEN max(g.partner_name) WHEN 'kind' THEN max(g.kind_label) ELSE g.value END, g.state,
      coalesce((SELECT t.label FROM prm.machine_state t WHERE t.program_id = the_program AND t.machine = state_times.machine AND t.state = g.state
                ORDER BY t.version DESC LIMIT 1), g.state),
      count(*), count(*) FILTER (WHERE g.is_open), count(*) FILTER (WHERE g.visit_no > 1), round(sum(g.hours), 2),
      round((percentile_cont(0.5) WITHIN GROUP (ORDER BY g.hours::double precision))::numeric, 2),
      round((percentile_cont(0.75) WITHIN GROUP (ORDER BY g.hours::double precision))::numeric, 2),
      round((percentile_cont(0.9) WITHIN GROUP (ORDER BY g.hours::double precision))::numeric, 2),
      round(avg(g.hours), 2)
    FROM (
      SELECT d.state, d.is_open, d.hours, d.visit_no, p.name AS partner_name, k.label AS kind_label,
        CASE the_group WHEN 'partner' THEN d.partner_id::text WHEN 'region' THEN p.region WHEN 'kind' THEN p.kind
          WHEN 'month' THEN to_char(d.entered_at AT TIME ZONE o.time_zone, 'YYYY-MM') END AS value
      FROM prm.v_state_duration d
      JOIN prm.program o ON o.program_id = d.program_id
      LEFT JOIN prm.partner p ON p.program_id = d.program_id AND p.partner_id = d.partner_id
      LEFT JOIN prm.partner_kind k ON k.program_id = p.program_id AND k.kind = p.kind
      WHERE d.program_id = the_program AND d.machine = state_times.machine
        AND (the_from IS NULL OR d.entered_at >= the_from) AND (the_end IS NULL OR d.entered_at < the_end)
        AND (the_partner IS NULL OR d.partner_id = the_partner)
        AND (state_times.options ->> 'region' IS NULL OR p.region = state_times.options ->> 'region')
        AND (state_times.options ->> 'kind' IS NULL OR p.kind = state_times.options ->> 'kind')
    ) g
    GROUP BY g.value, g.state
    ORDER BY g.value, (SELECT t.position FROM prm.machine_state t WHERE t.program_id = the_program AND t.machine = state_times.machine AND t.state = g.state
                       ORDER BY t.version DESC LIMIT 1), g.state;
END
$prm$;
COMMENT ON FUNCTION prm.state_times(text, jsonb, bigint) IS
'How long rows of a machine stay in its states, as v_state_time, for a choice of stays. options: date_from and date_to (days in the programme''s time zone, both included, by the entry into the state), partner_id, region, kind (the partner''s present ones), group_by: partner, month (of the entry), region, kind. Errors: 42704 unknown machine or partner, 22023 bad option.';

CREATE TYPE prm.funnel_state AS (group_value text, group_label text, "position" integer, state text, label text, is_final boolean, category text,
  started bigint, reached bigint, share_of_started numeric, present bigint, dropped bigint, drop_share numeric, won bigint, won_share numeric);
COMMENT ON TYPE prm.funnel_state IS
'A row of machine_funnel(): the group (partner_id, month as YYYY-MM, region or kind; NULL without group_by and for rows without partner), its name for people, and the columns of v_machine_funnel.';

CREATE FUNCTION prm.machine_funnel(machine text, options jsonb DEFAULT '{}', program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.funnel_state
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(machine_funnel.program_id);
  the_version integer := prm._machine_version(machine_funnel.machine, the_program);
  the_from timestamptz;
  the_end timestamptz;
  the_partner bigint;
  the_group text := machine_funnel.options ->> 'group_by';
BEGIN
  PERFORM prm._check_analysis(machine_funnel.options, 'machine_funnel', the_program);
  the_partner := (machine_funnel.options ->> 'partner_id')::bigint;
  the_from := prm._day_begins(machine_funnel.options ->> 'date_from', the_program);
  the_end := prm._day_begins(((machine_funnel.options ->> 'date_to')::date + 1)::text, the_program);
  RETURN QUERY
    WITH known AS (
      SELECT DISTINCT ON (t.state) t.state, t.label, t.is_final, t.category, t.position, t.version = the_version AS is_in_force
      FROM prm.machine_state t
      WHERE t.program_id = the_program AND t.machine = machine_funnel.machine
      ORDER BY t.state, t.version DESC
    ), counted AS (
      SELECT g.value, g.state, max(g.partner_name) AS partner_name, max(g.kind_label) AS kind_label,
        count(*) FILTER (WHERE g.stay_no = 1) AS started, count(*) FILTER (WHERE g.visit_no = 1) AS reached,
        count(*) FILTER (WHERE g.left_at IS NULL) AS present, count(*) FILTER (WHERE g.is_dropped) AS dropped,
        count(*) FILTER (WHERE g.visit_no = 1 AND g.outcome = 'won') AS won
      FROM (
        SELECT d.state, d.stay_no, d.visit_no, d.left_at, d.is_dropped, d.outcome, p.name AS partner_name, k.label AS kind_label,
          CASE the_group WHEN 'partner' THEN d.partner_id::text WHEN 'region' THEN p.region WHEN 'kind' THEN p.kind
            WHEN 'month' THEN to_char(d.started_at AT TIME ZONE o.time_zone, 'YYYY-MM') END AS value
        FROM prm.v_state_duration d
        JOIN prm.program o ON o.program_id = d.program_id
        LEFT JOIN prm.partner p ON p.program_id = d.program_id AND p.partner_id = d.partner_id
        LEFT JOIN prm.partner_kind k ON k.program_id = p.program_id AND k.kind = p.kind
        WHERE d.program_id = the_program AND d.machine = machine_funnel.machine
          AND (the_from IS NULL OR d.started_at >= the_from) AND (the_end IS NULL OR d.started_at < the_end)
          AND (the_partner IS NULL OR d.partner_id = the_partner)
          AND (machine_funnel.options ->> 'region' IS NULL OR p.region = machine_funnel.options ->> 'region')
          AND (machine_funnel.options ->> 'kind' IS NULL OR p.kind = machine_funnel.options ->> 'kind')
      ) g
      GROUP BY g.value, g.state
    ), grouped AS (
      SELECT c.value, CASE the_group WHEN 'partner' THEN max(c.partner_name) WHEN 'kind' THEN max(c.kind_label) ELSE c.value END AS label,
        sum(c.started)::bigint AS started, jsonb_object_agg(c.state, to_jsonb(c)) AS counts
      FROM counted c
      GROUP BY c.value
      UNION ALL
      -- A machine that nothing has entered yet is shown too, unless groups are asked for.
      SELECT NULL, NULL, 0, '{}' WHERE the_group IS NULL AND NOT EXISTS (SELECT 1 FROM counted)
    )
    SELECT f.value, f.label, f.position, f.state, f.state_label, f.is_final, f.category, f.started, f.reached,
      round(f.reached::numeric / nullif(f.started, 0), 4), f.present, f.dropped, round(f.dropped::numeric / nullif(f.reached, 0), 4),
      f.won, round(f.won::numeric / nullif(f.reached, 0), 4)
    FROM (
      SELECT g.value, g.label, k.position, k.state, coalesce(k.label, k.state) AS state_label, k.is_final, k.category, g.started, k.is_in_force,
        coalesce((g.counts -> k.state ->> 'reached')::bigint, 0) AS reached, coalesce((g.counts -> k.state ->> 'present')::bigint, 0) AS present,
        coalesce((g.counts -> k.state ->> 'dropped')::bigint, 0) AS dropped, coalesce((g.counts -> k.state ->> 'won')::bigint, 0) AS won
      FROM grouped g CROSS JOIN known k
    ) f
    WHERE f.is_in_force OR f.reached > 0
    ORDER BY f.value, f.position, f.state;
END
$prm$;
COMMENT ON FUNCTION prm.machine_funnel(text, jsonb, bigint) IS
'How far rows of a machine get, as v_machine_funnel, for a choice of rows. options: date_from and date_to (days in the programme''s time zone, both included, by the entry into the first state), partner_id, region, kind (the partner''s present ones), group_by: partner, month (of the first state), region, kind. Errors: 42704 unknown machine or partner, 22023 bad option.';
