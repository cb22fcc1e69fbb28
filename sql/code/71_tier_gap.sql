
-- Tiers, seen from the partner: what it has and needs, when that lapses, and the plan that closes the gap.

CREATE TYPE prm.tier_gap_row AS (track text, metric text, have numeric, need numeric, missing numeric, met boolean, lapses_on date,
  points numeric, weight numeric, alternative_group text, floor numeric);
COMMENT ON TYPE prm.tier_gap_row IS
'A row of tier_gap(): track, metric, the value the partner has (NULL: not known), what is needed, what is missing, whether it is met, and the day on which what is met now is met no longer if nothing new comes; on tracks with a score the points it adds, the most it can add, its alternative group, and the floor that the value must be above (below for <=) whatever the score. The row "score" of such a track is the score against its mark.';

CREATE FUNCTION prm._metric_lapse(program_id bigint, partner_id bigint, metric text, op text, need numeric) RETURNS date
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_zone text := prm._program_time_zone(_metric_lapse.program_id);
  the_now timestamptz := prm.now();
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(_metric_lapse.program_id))::date;
  the_currency text := prm._program_currency(_metric_lapse.program_id);
  the_won text[] := prm._won_states(_metric_lapse.program_id);
  the_start timestamptz := prm._year_before(_metric_lapse.program_id, prm.now());
  the_day date;
  the_value numeric;
  the_met boolean;
  the_low integer;
  the_high integer;
  the_measure text;
BEGIN
  -- Measures over 12 months and people have ways of their own; what is not built in does not lapse by itself.
  SELECT CASE WHEN m.any_day_window IS NULL AND m.credit_type IS NULL AND m.certification IS NULL AND m.window_kind IN ('rolling_12_months', 'point') THEN m.measure ELSE 'other' END INTO the_measure
    FROM prm.metric m WHERE m.program_id = _metric_lapse.program_id AND m.metric = _metric_lapse.metric AND m.source = 'built_in' AND m.measure <> 'open_pipeline';
  IF the_measure IS NULL THEN
    RETURN NULL;
  END IF;
  IF the_measure IN ('revenue', 'deals_won', 'win_rate', 'average_deal') THEN
    -- For each day on which deals leave the window: what is left of the measure once they are gone.
    WITH leaving AS (
      SELECT CASE WHEN (c.closed + interval '1 year') - interval '1 year' < c.closed THEN (c.closed + interval '1 year')::date + 1
                  ELSE (c.closed + interval '1 year')::date END AS leaves,
        count(*) AS closed, count(*) FILTER (WHERE c.won) AS won, coalesce(sum(c.amount) FILTER (WHERE c.won AND c.counts), 0) AS revenue,
        count(c.amount) FILTER (WHERE c.won AND c.counts) AS priced
      FROM (SELECT d.closed_at AT TIME ZONE the_zone AS closed, d.state = ANY (the_won) AS won, d.currency = the_currency AS counts, d.amount
            FROM prm.deal d
            WHERE d.program_id = _metric_lapse.program_id AND d.partner_id = _metric_lapse.partner_id
              AND d.closed_at > the_start AND d.closed_at <= the_now) c
      GROUP BY 1),
    remaining AS (
      SELECT l.leaves, coalesce(sum(l.closed) OVER later, 0) AS closed, coalesce(sum(l.won) OVER later, 0) AS won,
        coalesce(sum(l.revenue) OVER later, 0) AS revenue, coalesce(sum(l.priced) OVER later, 0) AS priced
      FROM leaving l WINDOW later AS (ORDER BY l.leaves DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)),
    valued AS (
      SELECT r.leaves, CASE the_measure WHEN 'revenue' THEN r.revenue WHEN 'deals_won' THEN r.won
          WHEN 'win_rate' THEN round(r.won / nullif(r.closed, 0), 6) ELSE round(r.revenue / nullif(r.priced, 0), 6) END AS value
      FROM remaining r)
    SELECT min(v.leaves) INTO the_day FROM valued v
      WHERE NOT coalesce(CASE _metric_lapse.op WHEN '>=' THEN v.value >= _metric_lapse.need ELSE v.value <= _metric_lapse.need END, false);
    RETURN the_day;
  ELSIF the_measure = 'certified_people' THEN
    WITH person AS (
      SELECT max(coalesce(c.valid_until, 'infinity')) AS until
      FROM prm.partner_user u JOIN prm.certificate c ON c.program_id = _metric_lapse.program_id AND c.partner_user_id = u.partner_user_id
      WHERE u.program_id = _metric_lapse.program_id AND u.partner_id = _metric_lapse.partner_id AND u.is_active
        AND c.issued_on <= the_today AND (c.valid_until IS NULL OR c.valid_until >= the_today)
      GROUP BY u.partner_user_id)
    SELECT min(p.until + 1) INTO the_day FROM person p
      WHERE isfinite(p.until)
        AND NOT CASE _metric_lapse.op WHEN '>=' THEN (SELECT count(*) FROM person q WHERE q.until > p.until) >= _metric_lapse.need
                                      ELSE (SELECT count(*) FROM person q WHERE q.until > p.until) <= _metric_lapse.need END;
    RETURN the_day;
  ELSIF the_measure IN ('return_rate', 'response_hours') THEN
    -- A rate and a median may get worse and better again as leads leave: day by day, as it will be at the end of each.
    FOR the_day IN
      SELECT DISTINCT ((h.at AT TIME ZONE the_zone) + interval '1 year')::date + o.n AS leaves
      FROM prm.lead l
      JOIN prm.state_history h ON h.program_id = _metric_lapse.program_id AND h.machine = 'lead' AND h.subject_id = l.lead_id
        AND h.event IN ('qualify', 'return') AND h.at > the_start AND h.at <= the_now
      -- What happened on 29 February leaves a day later.
      CROSS JOIN LATERAL (SELECT CASE WHEN ((h.at AT TIME ZONE the_zone) + interval '1 year') - interval '1 year' < h.at AT TIME ZONE the_zone THEN 1 ELSE 0 END AS n) o
      WHERE l.program_id = _metric_lapse.program_id AND l.partner_id = _metric_lapse.partner_id
      ORDER BY leaves
    LOOP
      SELECT v.value INTO the_value
        FROM prm._metric_values(_metric_lapse.program_id, ARRAY[_metric_lapse.partner_id],
                                ((the_day + 1)::timestamp - interval '1 microsecond') AT TIME ZONE the_zone, ARRAY[_metric_lapse.metric]) v;
      IF NOT coalesce(CASE _metric_lapse.op WHEN '>=' THEN the_value >= _metric_lapse.need ELSE the_value <= _metric_lapse.need END, false) THEN
        RETURN the_day;
      END IF;
    END LOOP;
  ELSE
    -- Of the others only the future can tell: by halves, since what lapses stays so while nothing new comes.
    the_low := 0;
    the_high := 400;
    LOOP
      the_day := the_today + CASE WHEN the_low = 0 AND the_high = 400 AND the_value IS NULL THEN 400 ELSE (the_low + the_high) / 2 END;
      SELECT v.value INTO the_value
        FROM prm._metric_values(_metric_lapse.program_id, ARRAY[_metric_lapse.partner_id], ((the_day + 1)::timestamp - interval '1 microsecond') AT TIME ZONE the_zone, ARRAY[_metric_lapse.metric]) v;
      the_met := coalesce(prm._tier_meets(_metric_lapse.op, the_value, _metric_lapse.need), false);
      the_value := coalesce(the_value, 0);
      IF the_met AND the_day = the_today + 400 THEN
        RETURN NULL;
      ELSIF the_met THEN
        the_low := the_day - the_today;
      ELSE
        the_high := the_day - the_today;
      END IF;
      EXIT WHEN the_high - the_low <= 1;
    END LOOP;
    RETURN the_today + the_high;
  END IF;
  RETURN NULL;
END
$prm$;
COMMENT ON FUNCTION prm._metric_lapse(bigint, bigint, text, text, numeric) IS
'The day on which a requirement that a partner meets now is met no longer if nothing new comes: deals leave the window of 12 months, certificates end; other built-in metrics are asked for the 400 days to come, by halves. NULL: it does not lapse by itself, or not within them.';

CREATE FUNCTION prm._score_lapse(program_id bigint, partner_id bigint, ladder text, tier text, track text, asked prm.tier_asked[]) RETURNS date
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_zone text := prm._program_time_zone(_score_lapse.program_id);
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(_score_lapse.program_id))::date;
  the_asked prm.tier_asked[] := ARRAY(SELECT a FROM unnest(_score_lapse.asked) a WHERE a.ladder = _score_lapse.ladder AND a.tier = _score_lapse.tier AND a.track = _score_lapse.track);
  the_low integer := 0;
  the_high integer := 400;
  the_days integer := 400;
  the_met boolean;
BEGIN
  LOOP
    SELECT s.met INTO the_met FROM prm._track_states(ARRAY(
      SELECT c FROM prm._tier_checks(_score_lapse.program_id, ARRAY[_score_lapse.partner_id], ARRAY[_score_lapse.ladder], ARRAY[_score_lapse.tier], the_asked, ARRAY(
        SELECT v FROM prm._metric_values(_score_lapse.program_id, ARRAY[_score_lapse.partner_id], ((the_today + the_days + 1)::timestamp - interval '1 microsecond') AT TIME ZONE the_zone,
          ARRAY(SELECT a.metric FROM unnest(the_asked) a)) v)) c)) s;
    IF the_met AND the_days = 400 THEN
      RETURN NULL;
    ELSIF the_met THEN
      the_low := the_days;
    ELSE
      the_high := the_days;
    END IF;
    EXIT WHEN the_high - the_low <= 1;
    the_days := (the_low + the_high) / 2;
  END LOOP;
  RETURN the_today + the_high;
END
$prm$;
COMMENT ON FUNCTION prm._score_lapse(bigint, bigint, text, text, text, prm.tier_asked[]) IS
'The day within the next 400 on which a score that reaches its mark now reaches it no longer if nothing new comes, found by halves; NULL: none.';

CREATE FUNCTION prm._tier_gap(program_id bigint, partner_id bigint, tier text, options jsonb) RETURNS SETOF prm.tier_gap_row
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := _tier_gap.program_id;
  the_partner bigint := _tier_gap.partner_id;
  the_ladder text := prm._ladder_option(the_program, 'tier_gap', _tier_gap.options, '{}');
  the_target text := _tier_gap.tier;
  the_others text[];
  the_asked prm.tier_asked[];
  the_checks prm.tier_check[];
BEGIN
  IF the_target IS NULL THEN
    SELECT t.tier INTO the_target FROM prm.tier t
      LEFT JOIN prm.enrolment e ON e.program_id = the_program AND e.partner_id = the_partner AND e.ladder = the_ladder
      LEFT JOIN prm.tier h ON h.program_id = the_program AND h.ladder = the_ladder AND h.tier = e.tier
      WHERE t.program_id = the_program AND t.ladder = the_ladder AND (h.rank IS NULL OR t.rank > h.rank) ORDER BY t.rank LIMIT 1;
    IF the_target IS NULL THEN
      RETURN;
    END IF;
  ELSIF _tier_gap.options ->> 'ladder' IS NULL AND NOT EXISTS (SELECT 1 FROM prm.tier t WHERE t.program_id = the_program AND t.ladder = 'main' AND t.tier = the_target) THEN
    -- A name that only one other ladder has says which one is meant.
    SELECT array_agg(t.ladder ORDER BY t.ladder) INTO the_others FROM prm.tier t WHERE t.program_id = the_program AND t.tier = the_target;
    IF cardinality(the_others) > 1 THEN
      RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('tier "%s" stands on several ladders', the_target),
        DETAIL = format('They are %s.', array_to_string(the_others, ', ')), HINT = 'Choose one: tier_gap(partner_id, tier, ''{"ladder": "..."}'').';
    END IF;
    the_ladder := coalesce(the_others[1], 'main');
  END IF;
  PERFORM prm._tier_argument(the_program, the_ladder, the_target, 'Name one of them, or none for the next tier.');
  the_asked := ARRAY(SELECT a FROM prm._tier_asked(the_program, the_ladder, true) a WHERE a.tier = the_target);
  the_checks := ARRAY(SELECT c FROM prm._tier_checks(the_program, ARRAY[the_partner], ARRAY[the_ladder], ARRAY[the_target], the_asked,
    ARRAY(SELECT v FROM prm._metric_values(the_program, ARRAY[the_partner], prm.now(), ARRAY(SELECT a.metric FROM unnest(the_asked) a)) v)) c);
  RETURN QUERY
    SELECT c.track, c.metric, c.have, c.need,
      CASE WHEN c.met THEN 0 WHEN c.op = '>=' THEN c.need - coalesce(c.have, 0) ELSE c.have - c.need END,
      c.met, CASE WHEN c.met THEN prm._metric_lapse(the_program, the_partner, c.metric, c.op, c.raw_need) END,
      CASE WHEN c.mode = 'score' THEN trim_scale(round(c.points, 10)) END, CASE WHEN c.mode = 'score' THEN c.weight END, c.alternative_group, CASE WHEN c.mode = 'score' THEN c.floor END
    FROM unnest(the_checks) c
    UNION ALL
    SELECT s.track, 'score', n.score, s.mark, greatest(s.mark - n.score, 0), s.met,
      CASE WHEN s.met THEN prm._score_lapse(the_program, the_partner, the_ladder, the_target, s.track, the_asked) END, n.score, NULL, NULL, NULL
    FROM prm._track_states(the_checks) s CROSS JOIN LATERAL (SELECT trim_scale(round(s.score, 10)) AS score) n WHERE s.mode = 'score'
    ORDER BY 1, 6, 2;
END
$prm$;
COMMENT ON FUNCTION prm._tier_gap(bigint, bigint, text, jsonb) IS 'What tier_gap() tells, for a partner of which is known that it may be asked about.';

CREATE FUNCTION prm.tier_gap(partner_id bigint, tier text DEFAULT NULL, options jsonb DEFAULT '{}', program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.tier_gap_row
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(tier_gap.program_id);
  the_partner bigint := prm._partner_argument(the_program, tier_gap.partner_id);
BEGIN
  IF prm._acting_partner(the_program) IS NULL THEN
    RETURN QUERY SELECT g.* FROM prm._tier_gap(the_program, the_partner, tier_gap.tier, tier_gap.options) g;
  ELSE
    RETURN QUERY SELECT g.* FROM prm._own_tier_gap(the_partner, tier_gap.tier, tier_gap.options, the_program) g;
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm.tier_gap(bigint, text, jsonb, bigint) IS
'What a partner has and needs for a tier, by default the next one of ladder main: a row for each requirement, after growth markets. For a tier it holds, what it needs to keep it. Other ladders: options {"ladder": ...}, or a tier that only one ladder has. No rows: there is no next tier, or the tier has no requirements (and is never given). A partner reads its own; what it has of a metric that is not partner_visible stays empty, whether that is enough is told. Errors: 42704 unknown partner (or another''s), ladder or tier, 22023 unknown option, or a tier of several ladders.';

CREATE TYPE prm.tier_plan_item AS (tier_plan_id bigint, item text, met boolean, title text);
COMMENT ON TYPE prm.tier_plan_item IS 'A requirement, or a group of alternatives, of a tier plan: whether it is met, and what to do in words; internal.';

CREATE FUNCTION prm._tier_plan_items(program_id bigint, tier_plan_ids bigint[]) RETURNS SETOF prm.tier_plan_item
LANGUAGE plpgsql STABLE ROWS 500 SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = force_custom_plan AS $prm$
#variable_conflict use_column
DECLARE
  the_asked prm.tier_asked[] := ARRAY(SELECT a FROM prm._tier_asked(_tier_plan_items.program_id, NULL, true) a);
  the_partners bigint[];
  the_ladders text[];
  the_tiers text[];
  the_measured prm.metric_row[];
BEGIN
  IF cardinality(_tier_plan_items.tier_plan_ids) <= 20 THEN
    PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);
  END IF;
  SELECT array_agg(n.partner_id), array_agg(n.ladder), array_agg(n.tier) INTO the_partners, the_ladders, the_tiers
    FROM prm.tier_plan n WHERE n.program_id = _tier_plan_items.program_id AND n.tier_plan_id = ANY (_tier_plan_items.tier_plan_ids);
  the_measured := ARRAY(SELECT v FROM prm._metric_values(_tier_plan_items.program_id, ARRAY(SELECT DISTINCT i FROM unnest(the_partners) i), prm.now(),
    ARRAY(SELECT DISTINCT a.metric FROM unnest(the_asked) a WHERE a.ladder = ANY (the_ladders) AND a.tier = ANY (the_tiers))) v);
  RETURN QUERY
    SELECT n.tier_plan_id, coalesce('group ' || c.alternative_group, c.metric),
      bool_or(CASE WHEN c.mode = 'score' THEN c.points >= c.weight AND NOT c.is_low ELSE c.met END),
      format('%s %s: %s', CASE n.purpose WHEN 'keep' THEN 'Keep' ELSE 'Reach' END, min(t.label),
        string_agg(format('%s %s%s%s', m.label, CASE WHEN n.task_for = 'owner' OR m.partner_visible THEN coalesce(trim_scale(round(c.have, 4))::text, 'not known') || ' of ' ELSE '' END,
          CASE WHEN c.op = '<=' THEN 'at most ' WHEN n.task_for = 'owner' OR m.partner_visible THEN '' ELSE 'at least ' END, trim_scale(round(c.need, 4))), ', or ' ORDER BY c.metric))
    FROM prm.tier_plan n
    JOIN prm.tier t ON t.program_id = _tier_plan_items.program_id AND t.ladder = n.ladder AND t.tier = n.tier
    JOIN prm._tier_checks(_tier_plan_items.program_id, the_partners, the_ladders, the_tiers, the_asked, the_measured) c
      ON c.partner_id = n.partner_id AND c.ladder = n.ladder AND c.tier = n.tier AND c.track = n.track
    LEFT JOIN prm.metric m ON m.program_id = _tier_plan_items.program_id AND m.metric = c.metric
    WHERE n.program_id = _tier_plan_items.program_id AND n.tier_plan_id = ANY (_tier_plan_items.tier_plan_ids)
    GROUP BY n.tier_plan_id, n.purpose, coalesce('group ' || c.alternative_group, c.metric);
END
$prm$;
COMMENT ON FUNCTION prm._tier_plan_items(bigint, bigint[]) IS 'What the plans ask for, on the track they follow, and what of it is met now.';

CREATE FUNCTION prm._refresh_tier_plans(program_id bigint, partner_ids bigint[]) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_plans bigint[];
  the_items prm.tier_plan_item[];
  the_count bigint;
  the_sum bigint := 0;
BEGIN
  SELECT array_agg(n.tier_plan_id ORDER BY n.tier_plan_id) INTO the_plans FROM prm.tier_plan n
    WHERE n.program_id = _refresh_tier_plans.program_id AND n.state = 'open'
      AND (_refresh_tier_plans.partner_ids IS NULL OR n.partner_id = ANY (_refresh_tier_plans.partner_ids));
  IF the_plans IS NULL THEN
    RETURN 0;
  END IF;
  the_items := ARRAY(SELECT i FROM prm._tier_plan_items(_refresh_tier_plans.program_id, the_plans) i);
  -- A plan ends when the tier is held and not at risk; one that was to keep a tier which is lost ends without success.
  UPDATE prm.tier_plan n SET state = CASE WHEN h.rank >= t.rank THEN 'reached' ELSE 'dropped' END, closed_at = prm.now()
    FROM prm.tier t, prm.enrolment e
    LEFT JOIN prm.tier h ON h.program_id = _refresh_tier_plans.program_id AND h.ladder = e.ladder AND h.tier = e.tier
    WHERE n.program_id = _refresh_tier_plans.program_id AND n.tier_plan_id = ANY (the_plans) AND n.state = 'open'
      AND t.program_id = _refresh_tier_plans.program_id AND t.ladder = n.ladder AND t.tier = n.tier
      AND e.program_id = _refresh_tier_plans.program_id AND e.partner_id = n.partner_id AND e.ladder = n.ladder
      AND (h.rank >= t.rank AND e.standing = 'active' OR n.purpose = 'keep' AND coalesce(h.rank < t.rank, true));
  GET DIAGNOSTICS the_count = ROW_COUNT;
  the_sum := the_count;
  UPDATE prm.task k SET state = 'done', done_by = 'tier plan', done_at = prm.now()
    FROM unnest(the_items) i JOIN prm.tier_plan n ON n.program_id = _refresh_tier_plans.program_id AND n.tier_plan_id = i.tier_plan_id
    WHERE k.program_id = _refresh_tier_plans.program_id AND k.cause_key = format('tier_plan/%s/%s', i.tier_plan_id, i.item) AND k.state = 'open' AND (i.met OR n.state <> 'open');
  GET DIAGNOSTICS the_count = ROW_COUNT;
  the_sum := the_sum + the_count;
  -- What fell short again is open again, unless a person had closed it.
  UPDATE prm.task k SET state = 'open', done_by = NULL, done_at = NULL, title = i.title
    FROM unnest(the_items) i JOIN prm.tier_plan n ON n.program_id = _refresh_tier_plans.program_id AND n.tier_plan_id = i.tier_plan_id AND n.state = 'open'
    WHERE k.program_id = _refresh_tier_plans.program_id AND k.cause_key = format('tier_plan/%s/%s', i.tier_plan_id, i.item) AND NOT i.met
      AND (k.state = 'done' AND k.done_by = 'tier plan' OR k.state = 'open' AND k.title <> i.title);
  GET DIAGNOSTICS the_count = ROW_COUNT;
  the_sum := the_sum + the_count;
  INSERT INTO prm.task (program_id, role_name, title, detail, machine, subject_id, partner_id, cause_key, created_by, created_at, due_at)
    SELECT _refresh_tier_plans.program_id, n.role_name, i.title, format('Plan %s: tier %s of ladder %s, by track %s', n.tier_plan_id, n.tier, n.ladder, n.track), 'partner', n.partner_id,
      CASE n.task_for WHEN 'partner' THEN n.partner_id END, format('tier_plan/%s/%s', n.tier_plan_id, i.item), n.created_by, prm.now(),
      (n.due_on + 1)::timestamp AT TIME ZONE prm._program_time_zone(_refresh_tier_plans.program_id)
    FROM unnest(the_items) i
    JOIN prm.tier_plan n ON n.program_id = _refresh_tier_plans.program_id AND n.tier_plan_id = i.tier_plan_id AND n.state = 'open'
    WHERE NOT i.met ORDER BY n.tier_plan_id, i.item
    ON CONFLICT (program_id, cause_key) DO NOTHING;
  GET DIAGNOSTICS the_count = ROW_COUNT;
  RETURN the_sum + the_count;
END
$prm$;
COMMENT ON FUNCTION prm._refresh_tier_plans(bigint, bigint[]) IS
'Brings the tasks of the partners'' open plans (NULL: of all) up to date: opens what is short, closes what is met, and ends plans whose tier is held or lost. Returns how many rows it changed; a second call changes nothing.';

CREATE FUNCTION prm._open_tier_plans(program_id bigint, partner_ids bigint[], ladder text, tiers text[], purpose text, task_for text, role_name text, due_on date[], track text) RETURNS bigint[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_asked prm.tier_asked[] := ARRAY(SELECT a FROM prm._tier_asked(_open_tier_plans.program_id, _open_tier_plans.ladder) a);
  the_ladders text[] := array_fill(_open_tier_plans.ladder, ARRAY[cardinality(_open_tier_plans.partner_ids)]);
  the_checks prm.tier_check[];
  the_plans bigint[];
BEGIN
  the_checks := ARRAY(SELECT c FROM prm._tier_checks(_open_tier_plans.program_id, _open_tier_plans.partner_ids, the_ladders, _open_tier_plans.tiers, the_asked,
    ARRAY(SELECT v FROM prm._metric_values(_open_tier_plans.program_id, _open_tier_plans.partner_ids, prm.now(),
      ARRAY(SELECT DISTINCT a.metric FROM unnest(the_asked) a WHERE a.tier = ANY (_open_tier_plans.tiers))) v)) c);
  -- By the track that is nearest, where none is named.
  WITH nearest AS (
    SELECT DISTINCT ON (s.partner_id) s.partner_id, s.tier, s.track FROM prm._track_states(the_checks) s
    WHERE _open_tier_plans.track IS NULL OR s.track = _open_tier_plans.track ORDER BY s.partner_id, s.met DESC, s.short, s.track),
  made AS (
    INSERT INTO prm.tier_plan (program_id, partner_id, ladder, tier, track, purpose, task_for, role_name, due_on, created_by, created_at)
      SELECT _open_tier_plans.program_id, w.partner_id, _open_tier_plans.ladder, w.tier, n.track, _open_tier_plans.purpose, _open_tier_plans.task_for, _open_tier_plans.role_name,
        w.due_on, prm.current_actor(), prm.now()
      FROM unnest(_open_tier_plans.partner_ids, _open_tier_plans.tiers, _open_tier_plans.due_on) AS w(partner_id, tier, due_on)
      JOIN nearest n ON n.partner_id = w.partner_id AND n.tier = w.tier
      ORDER BY w.partner_id
      ON CONFLICT (program_id, partner_id, ladder) WHERE state = 'open' DO NOTHING
      RETURNING tier_plan_id)
  SELECT array_agg(m.tier_plan_id) INTO the_plans FROM made m;
  IF the_plans IS NOT NULL THEN
    PERFORM prm._refresh_tier_plans(_open_tier_plans.program_id, _open_tier_plans.partner_ids);
  END IF;
  RETURN the_plans;
END
$prm$;
COMMENT ON FUNCTION prm._open_tier_plans(bigint, bigint[], text, text[], text, text, text, date[], text) IS
'Opens a plan with its tasks for each partner that has none on the ladder; partner_ids, tiers and due_on stand side by side. Returns the new plans, NULL for none.';

CREATE FUNCTION prm._sync_tier_plans(program_id bigint, findings prm.tier_finding[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  batch record;
  the_ids bigint[];
BEGIN
  FOR batch IN
    SELECT f.ladder, array_agg(f.partner_id ORDER BY f.partner_id) AS ids, array_agg(f.held ORDER BY f.partner_id) AS tiers, array_agg(f.review_on ORDER BY f.partner_id) AS days
    FROM unnest(_sync_tier_plans.findings) f
    JOIN prm.tier_policy y ON y.program_id = _sync_tier_plans.program_id AND y.ladder = f.ladder AND y.plans = 'at_risk'
    WHERE f.outcome IN ('at_risk', 'grace') GROUP BY f.ladder ORDER BY f.ladder
  LOOP
    PERFORM prm._open_tier_plans(_sync_tier_plans.program_id, batch.ids, batch.ladder, batch.tiers, 'keep', 'partner', NULL, batch.days, NULL);
  END LOOP;
  SELECT array_agg(DISTINCT n.partner_id) INTO the_ids FROM unnest(_sync_tier_plans.findings) f
    CROSS JOIN LATERAL (SELECT x.partner_id FROM prm.tier_plan x
      WHERE x.program_id = _sync_tier_plans.program_id AND x.partner_id = f.partner_id AND x.ladder = f.ladder AND x.state = 'open' OFFSET 0) n;
  IF the_ids IS NOT NULL THEN
    PERFORM prm._refresh_tier_plans(_sync_tier_plans.program_id, the_ids);
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._sync_tier_plans(bigint, prm.tier_finding[]) IS
'What an evaluation means for plans: those at risk get one where the ladder''s policy says so, and the tasks of those concerned are brought up to date.';

CREATE FUNCTION prm.plan_tier(partner_id bigint, tier text DEFAULT NULL, options jsonb DEFAULT '{}', program_id bigint DEFAULT prm.current_program()) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(plan_tier.program_id);
  the_partner bigint := prm._partner_argument(the_program, plan_tier.partner_id);
  the_ladder text := prm._ladder_option(the_program, 'plan_tier', plan_tier.options, ARRAY['track', 'for', 'role', 'due_on']);
  the_target text := plan_tier.tier;
  the_for text := coalesce(plan_tier.options ->> 'for', 'partner');
  the_day date := prm._option_value('plan_tier', plan_tier.options, 'due_on', 'day')::date;
  plan record;
  the_held integer;
  the_rank integer;
  the_plans bigint[];
BEGIN
  IF the_for NOT IN ('partner', 'owner') THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('tasks are not for "%s"', the_for),
      DETAIL = 'The option "for" is partner (its people do the tasks) or owner (the vendor''s people do).', HINT = 'Correct or leave out the option.';
  END IF;
  IF the_day < (prm.now() AT TIME ZONE prm._program_time_zone(the_program))::date THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a plan is due on a day to come',
      DETAIL = format('The option due_on is %s, which is over.', to_char(the_day, 'YYYY-MM-DD')), HINT = 'Give a later day, or leave it out.';
  ELSIF plan_tier.options ->> 'role' IS NOT NULL AND NOT EXISTS (SELECT 1 FROM pg_roles r WHERE r.rolname = plan_tier.options ->> 'role') THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('role "%s" does not exist', plan_tier.options ->> 'role'),
      DETAIL = 'Only members of the role could do the tasks.', HINT = 'Name a database role, or leave it out.';
  END IF;
  SELECT h.rank INTO the_held FROM prm.enrolment e JOIN prm.tier h ON h.program_id = the_program AND h.ladder = the_ladder AND h.tier = e.tier
    WHERE e.program_id = the_program AND e.partner_id = the_partner AND e.ladder = the_ladder;
  IF the_target IS NULL THEN
    SELECT t.tier INTO the_target FROM prm.tier t WHERE t.program_id = the_program AND t.ladder = the_ladder AND (the_held IS NULL OR t.rank > the_held) ORDER BY t.rank LIMIT 1;
    IF the_target IS NULL THEN
      RETURN NULL;
    END IF;
  END IF;
  the_rank := prm._tier_argument(the_program, the_ladder, the_target, 'Name one of them, or none for the next tier.');
  SELECT n.tier_plan_id, n.tier INTO plan FROM prm.tier_plan n
    WHERE n.program_id = the_program AND n.partner_id = the_partner AND n.ladder = the_ladder AND n.state = 'open';
  IF plan.tier = the_target THEN
    PERFORM prm._refresh_tier_plans(the_program, ARRAY[the_partner]);
    RETURN plan.tier_plan_id;
  END IF;
  IF plan.tier_plan_id IS NOT NULL THEN
    PERFORM prm.drop_tier_plan(plan.tier_plan_id, the_program);
  END IF;
  the_plans := prm._open_tier_plans(the_program, ARRAY[the_partner], the_ladder, ARRAY[the_target], CASE WHEN the_rank <= the_held THEN 'keep' ELSE 'reach' END,
    the_for, plan_tier.options ->> 'role', ARRAY[the_day], plan_tier.options ->> 'track');
  IF the_plans IS NULL THEN
    SELECT n.tier_plan_id INTO plan FROM prm.tier_plan n WHERE n.program_id = the_program AND n.partner_id = the_partner AND n.ladder = the_ladder AND n.state = 'open';
    IF plan.tier_plan_id IS NULL THEN
      RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('tier "%s" has no track that could be followed', the_target),
        DETAIL = format('It has no requirements%s that could be met.', coalesce(format(' on track "%s"', plan_tier.options ->> 'track'), '')),
        HINT = 'SELECT track, metric FROM prm.tier_requirement shows them; a tier without any is never given.';
    END IF;
    RETURN plan.tier_plan_id;
  END IF;
  RETURN the_plans[1];
END
$prm$;
COMMENT ON FUNCTION prm.plan_tier(bigint, text, jsonb, bigint) IS
'Opens a plan towards a tier (by default the next one of ladder main; one that is held is to be kept), with a task for each requirement that is short, and returns its number; NULL: there is no next tier. The tasks close by themselves as they are met, the plan when the tier is held. The same plan again is the same number; a plan for another tier takes its place. options: ladder, track (by default the nearest), for (partner or owner), role, due_on. Errors: 42704 unknown partner, ladder, tier or role, 22023 unknown option, or a day that is none or over, 55000 a tier that cannot be met.';

CREATE FUNCTION prm.drop_tier_plan(tier_plan_id bigint, program_id bigint DEFAULT prm.current_program()) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(drop_tier_plan.program_id);
BEGIN
  UPDATE prm.tier_plan n SET state = 'dropped', closed_at = prm.now()
    WHERE n.program_id = the_program AND n.tier_plan_id = drop_tier_plan.tier_plan_id AND n.state = 'open';
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no open tier plan %s', coalesce(drop_tier_plan.tier_plan_id::text, 'NULL')),
      DETAIL = format('Programme %s has none with this number that you may see.', the_program), HINT = 'SELECT * FROM prm.v_tier_plan lists the open ones.';
  END IF;
  UPDATE prm.task k SET state = 'done', done_by = prm.current_actor(), done_at = prm.now()
    WHERE k.program_id = the_program AND k.cause_key LIKE format('tier@_plan/%s/%%', drop_tier_plan.tier_plan_id) ESCAPE '@' AND k.state = 'open';
END
$prm$;
COMMENT ON FUNCTION prm.drop_tier_plan(bigint, bigint) IS 'Ends a tier plan and closes its tasks. Error 42704: there is no such open plan.';
