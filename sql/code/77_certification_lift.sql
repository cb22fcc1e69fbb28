
-- Whether training pays: partners before and after somebody there was certified, against partners without, in the same months.

CREATE TYPE prm.training_lift_row AS (measure text, trained_partners bigint, trained_before numeric, trained_after numeric, other_partners bigint, other_before numeric, other_after numeric,
  lift numeric, margin numeric, lift_low numeric, lift_high numeric, left_out bigint, note text);
COMMENT ON TYPE prm.training_lift_row IS
'A row of training_lift(): measure; the partners that were certified, with their mean before and after; the partners compared with and their mean in the same months, each month counted as often as partners were certified in it; lift: the change of the one less the change of the others, with its 95 % margin of error and bounds (NULL: one partner tells no spread); how many certified partners could not be compared; and what to be careful about. No proof of cause.';

CREATE FUNCTION prm._trained_on(program_id bigint, kind text, subject text) RETURNS SETOF prm.metric_row
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_zone text := prm._program_time_zone(_trained_on.program_id);
BEGIN
  IF _trained_on.kind = 'certification' THEN
    RETURN QUERY
      SELECT c.partner_id, _trained_on.subject, NULL::numeric, min(c.issued_on)::timestamp AT TIME ZONE the_zone FROM prm.certificate c
      WHERE c.program_id = _trained_on.program_id AND c.certification = _trained_on.subject AND (c.valid_until IS NULL OR c.valid_until >= c.issued_on) GROUP BY c.partner_id;
  ELSE
    RETURN QUERY
      SELECT c.partner_id, _trained_on.subject, NULL::numeric, min(c.completed_at) FROM prm.course_completion c
      WHERE c.program_id = _trained_on.program_id AND c.course = _trained_on.subject GROUP BY c.partner_id;
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._trained_on(bigint, text, text) IS 'When somebody of each partner was first certified, or completed the course first; certificates that never held do not count.';

CREATE FUNCTION prm._month_number(moment timestamptz, zone text) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT (extract(year FROM _month_number.moment AT TIME ZONE _month_number.zone) * 12 + extract(month FROM _month_number.moment AT TIME ZONE _month_number.zone))::integer;
END;
COMMENT ON FUNCTION prm._month_number(timestamptz, text) IS 'The calendar months counted through: year x 12 + month, in a zone.';

CREATE FUNCTION prm.training_lift(subject text, months integer DEFAULT 6, options jsonb DEFAULT '{}', program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.training_lift_row
LANGUAGE plpgsql STABLE ROWS 4 SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = force_custom_plan SET enable_nestloop = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(training_lift.program_id);
  the_zone text := prm._program_time_zone(the_program);
  the_currency text := prm._program_currency(the_program);
  the_won text[] := prm._won_states(the_program);
  the_kind text := training_lift.options ->> 'kind';
  the_span integer := training_lift.months;
  the_month integer := prm._month_number(prm.now(), prm._program_time_zone(the_program));
  the_from timestamptz;
  the_to timestamptz;
  the_known boolean;
BEGIN
  PERFORM prm._known_options('training_lift', training_lift.options, ARRAY['kind', 'from', 'to']);
  IF coalesce(the_kind, 'course') NOT IN ('certification', 'course') THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('training_lift knows no kind "%s"', the_kind), DETAIL = 'The kinds are certification and course.', HINT = 'Correct or leave out the option.';
  ELSIF coalesce(the_span NOT BETWEEN 1 AND 60, true) THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'training_lift compares 1 to 60 months before and after', DETAIL = format('%s were asked for.', coalesce(the_span::text, 'NULL')),
      HINT = 'Leave months out for 6.';
  END IF;
  IF the_kind IS NULL THEN
    the_kind := CASE WHEN EXISTS (SELECT 1 FROM prm.certification k WHERE k.program_id = the_program AND k.certification = training_lift.subject) THEN 'certification' ELSE 'course' END;
  END IF;
  the_known := CASE the_kind WHEN 'course' THEN EXISTS (SELECT 1 FROM prm.course k WHERE k.program_id = the_program AND k.course = training_lift.subject)
    ELSE EXISTS (SELECT 1 FROM prm.certification k WHERE k.program_id = the_program AND k.certification = training_lift.subject) END;
  IF NOT the_known THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('%s "%s" does not exist', CASE WHEN training_lift.options ->> 'kind' IS NULL THEN 'certification or course' ELSE the_kind END, coalesce(training_lift.subject, 'NULL')),
      DETAIL = format('Programme %s has none of this name.', the_program), HINT = 'SELECT certification FROM prm.certification and SELECT course FROM prm.course list them.';
  END IF;
  the_from := coalesce(prm._option_value('training_lift', training_lift.options, 'from', 'day')::date::timestamp AT TIME ZONE the_zone, '-infinity');
  the_to := coalesce((prm._option_value('training_lift', training_lift.options, 'to', 'day')::date + interval '1 day') AT TIME ZONE the_zone, 'infinity');
  RETURN QUERY
    WITH trained AS MATERIALIZED (
      SELECT t.partner_id, prm._month_number(t.observed_at, the_zone) AS month, t.observed_at >= the_from AND t.observed_at < the_to AS is_asked FROM prm._trained_on(the_program, the_kind, training_lift.subject) t),
    -- The month of the training itself belongs to neither side; both must be over.
    cohort AS MATERIALIZED (SELECT DISTINCT t.month FROM trained t WHERE t.is_asked AND t.month + the_span < the_month),
    monthly AS MATERIALIZED (
      SELECT d.partner_id, prm._month_number(d.closed_at, the_zone) AS month, coalesce(sum(d.amount) FILTER (WHERE d.state = ANY (the_won) AND d.currency = the_currency), 0) AS revenue,
        count(d.amount) FILTER (WHERE d.state = ANY (the_won) AND d.currency = the_currency) AS priced, count(*) FILTER (WHERE d.state = ANY (the_won)) AS won, count(*) AS closed
      FROM prm.deal d WHERE d.program_id = the_program AND d.partner_id IS NOT NULL AND d.closed_at <= prm.now() GROUP BY 1, 2),
    gone AS (
      SELECT h.subject_id AS partner_id, prm._month_number(max(h.at), the_zone) AS month FROM prm.state_history h
      WHERE h.program_id = the_program AND h.machine = 'partner' AND h.subject_id IS NOT NULL AND h.to_state IS NOT NULL AND h.from_state IS DISTINCT FROM h.to_state GROUP BY h.subject_id),
    present AS MATERIALIZED (
      -- The first whole month, and the one in which it left. Prospects that never closed a deal are nobody to compare with.
      SELECT p.partner_id, prm._month_number(coalesce(p.joined_on::timestamp AT TIME ZONE the_zone, p.created_at) - interval '1 day', the_zone) + 1 AS first_month,
        CASE WHEN NOT prm._is_live_partner(p.state) THEN coalesce(g.month, 0) END AS gone_month
      FROM prm.partner p LEFT JOIN gone g ON g.partner_id = p.partner_id
      WHERE p.program_id = the_program AND (p.state <> 'applicant' OR p.partner_id IN (SELECT m.partner_id FROM monthly m))),
    -- Who was there through both sides and not yet trained at their end stands for what would have been without.
    unit AS MATERIALIZED (
      SELECT c.month, p.partner_id, t.month IS NOT DISTINCT FROM c.month AND t.is_asked AS is_trained
      FROM cohort c
      CROSS JOIN present p
      LEFT JOIN trained t ON t.partner_id = p.partner_id
      WHERE p.first_month <= c.month - the_span AND (p.gone_month IS NULL OR p.gone_month > c.month) AND (t.month IS NULL OR t.month > c.month + the_span OR t.month = c.month AND t.is_asked)),
    flow AS (
      SELECT c.month, m.partner_id,
        sum(m.revenue) FILTER (WHERE m.month < c.month) AS revenue_before, sum(m.revenue) FILTER (WHERE m.month > c.month) AS revenue_after,
        sum(m.priced) FILTER (WHERE m.month < c.month) AS priced_before, sum(m.priced) FILTER (WHERE m.month > c.month) AS priced_after,
        sum(m.won) FILTER (WHERE m.month < c.month) AS won_before, sum(m.won) FILTER (WHERE m.month > c.month) AS won_after,
        sum(m.closed) FILTER (WHERE m.month < c.month) AS closed_before, sum(m.closed) FILTER (WHERE m.month > c.month) AS closed_after
      FROM monthly m JOIN cohort c ON m.month >= c.month - the_span AND m.month <= c.month + the_span AND m.month <> c.month
      GROUP BY c.month, m.partner_id),
    seen AS MATERIALIZED (
      SELECT v.measure, u.month, u.partner_id, u.is_trained, v.before, v.after, v.after - v.before AS change
      FROM unit u
      LEFT JOIN flow f ON f.month = u.month AND f.partner_id = u.partner_id
      CROSS JOIN LATERAL (VALUES ('revenue', coalesce(f.revenue_before, 0), coalesce(f.revenue_after, 0)), ('deals_won', coalesce(f.won_before, 0), coalesce(f.won_after, 0)),
        ('win_rate', f.won_before / nullif(f.closed_before, 0), f.won_after / nullif(f.closed_after, 0)),
        ('average_deal', f.revenue_before / nullif(f.priced_before, 0), f.revenue_after / nullif(f.priced_after, 0))) AS v(measure, before, after)
      WHERE v.before IS NOT NULL AND v.after IS NOT NULL),
    groups AS MATERIALIZED (
      SELECT s.measure, s.month, count(*) FILTER (WHERE s.is_trained) AS trained, count(*) FILTER (WHERE NOT s.is_trained) AS others,
        avg(s.before) FILTER (WHERE NOT s.is_trained) AS other_before, avg(s.after) FILTER (WHERE NOT s.is_trained) AS other_after, avg(s.change) FILTER (WHERE NOT s.is_trained) AS other_change
      FROM seen s GROUP BY s.measure, s.month
      HAVING count(*) FILTER (WHERE s.is_trained) > 0 AND count(*) FILTER (WHERE NOT s.is_trained) > 0),
    total AS MATERIALIZED (
      SELECT s.measure, count(*) AS trained, min(g.others) AS fewest, avg(s.before) AS trained_before, avg(s.after) AS trained_after, avg(g.other_before) AS other_before, avg(g.other_after) AS other_after,
        avg(s.change - g.other_change) AS lift
      FROM seen s JOIN groups g ON g.measure = s.measure AND g.month = s.month WHERE s.is_trained GROUP BY s.measure),
    -- What a partner moves the figure by, for each unit that it differs from its like; so that the squares sum to those of standard errors.
    weight AS MATERIALIZED (
      SELECT g.measure, g.month, g.other_change, t.lift, 1 / sqrt(t.trained::numeric * nullif(t.trained - 1, 0)) AS trained_weight,
        CASE WHEN g.others > 1 THEN g.trained::numeric / t.trained / sqrt(g.others::numeric * (g.others - 1)) ELSE 0 END AS other_weight
      FROM groups g JOIN total t ON t.measure = g.measure),
    -- One that is compared in several months counts once, with all of it.
    moved AS (
      SELECT s.measure, s.partner_id, bool_or(NOT s.is_trained) AS is_other,
        sum(CASE WHEN s.is_trained THEN (s.change - w.other_change - w.lift) * w.trained_weight ELSE (w.other_change - s.change) * w.other_weight END) AS part,
        bool_or(s.is_trained AND w.trained_weight IS NULL) AS is_alone
      FROM seen s JOIN weight w ON w.measure = s.measure AND w.month = s.month
      GROUP BY s.measure, s.partner_id),
    spread AS (
      SELECT m.measure, count(*) FILTER (WHERE m.is_other) AS others, CASE WHEN NOT bool_or(m.is_alone) THEN 1.96 * sqrt(sum(m.part * m.part)) END AS margin FROM moved m GROUP BY m.measure),
    asked AS (SELECT count(*) FILTER (WHERE t.is_asked) AS partners FROM trained t)
    SELECT n.measure, coalesce(t.trained, 0), round(t.trained_before, 4), round(t.trained_after, 4), coalesce(e.others, 0), round(t.other_before, 4), round(t.other_after, 4),
      round(t.lift, 4), round(e.margin, 4), round(t.lift - e.margin, 4), round(t.lift + e.margin, 4), a.partners - coalesce(t.trained, 0),
      concat_ws('; ',
        CASE WHEN a.partners = 0 THEN 'nobody was trained then' WHEN t.measure IS NULL THEN format('of %s trained partners none can be compared: it takes %s whole months on both sides, and partners without the training', a.partners, the_span)
          WHEN t.trained < 30 OR t.fewest < 30 THEN 'few partners, so the margin is rough' END,
        CASE WHEN t.lift - e.margin <= 0 AND t.lift + e.margin >= 0 THEN 'no difference can be told from chance' END)
    FROM unnest('{revenue,deals_won,win_rate,average_deal}'::text[]) WITH ORDINALITY AS n(measure, place)
    CROSS JOIN asked a
    LEFT JOIN total t ON t.measure = n.measure
    LEFT JOIN spread e ON e.measure = n.measure
    ORDER BY n.place;
END
$prm$;
COMMENT ON FUNCTION prm.training_lift(text, integer, jsonb, bigint) IS
'Whether training pays: what partners won (revenue in the programme''s currency, deals_won, win_rate, average_deal) in the whole months after the one in which somebody there was first certified (or completed a course), less what they won in as many before, against the same change of partners that had nobody so trained until the end of those months (difference in differences). A margin of error of 95 % goes with it. THIS IS NO PROOF OF CAUSE: who sends people to training may be growing anyway. options: kind (certification or course; by default what the name is of), from and to (days of the training). Errors: 42704 unknown certification or course, 22023 unknown option, one that is no day, or not 1 to 60 months.';
