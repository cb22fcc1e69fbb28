
-- Tiers: what a partner holds, what it meets, and what it must do next. All of it is set-based.

CREATE TYPE prm.tier_evaluation AS (partner_id bigint, ladder text, held text, qualified text, outcome text, reason text, effective_on date);
COMMENT ON TYPE prm.tier_evaluation IS
'A row of evaluate_tiers(): partner, ladder, the tier held before, the highest tier met, the outcome (promote, keep, at_risk, grace, demote, pinned, needs_approval), why, and the day on which it takes effect (at_risk and grace: the day of the demotion to come).';

CREATE TYPE prm.tier_gap_row AS (track text, metric text, have numeric, need numeric, missing numeric, met boolean, lapses_on date);
COMMENT ON TYPE prm.tier_gap_row IS
'A row of tier_gap(): track, metric, the value the partner has (NULL: not known), what is needed, what is missing, whether it is met, and the day on which what is met now is met no longer if nothing new comes.';

CREATE TYPE prm.tier_finding AS (partner_id bigint, ladder text, held text, qualified text, outcome text, reason text, effective_on date,
  to_tier text, standing text, grace_on date, review_on date, at_risk_on date, metrics jsonb, changed boolean, recovered boolean);
COMMENT ON TYPE prm.tier_finding IS
'What an evaluation found for a partner on a ladder and what the enrolment should become; internal, between _tier_findings() and _apply_tiers().';

CREATE FUNCTION prm._tier_findings(program_id bigint, partner_ids bigint[], ladder text DEFAULT NULL) RETURNS SETOF prm.tier_finding
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_now timestamptz := prm.now();
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(_tier_findings.program_id))::date;
  the_ids bigint[] := _tier_findings.partner_ids;
  the_metrics text[];
BEGIN
  IF the_ids IS NULL THEN
    SELECT array_agg(p.partner_id ORDER BY p.partner_id) INTO the_ids FROM prm.partner p WHERE p.program_id = _tier_findings.program_id;
  END IF;
  SELECT coalesce(array_agg(DISTINCT r.metric), '{}') INTO the_metrics FROM prm.tier_requirement r
    WHERE r.program_id = _tier_findings.program_id AND (_tier_findings.ladder IS NULL OR r.ladder = _tier_findings.ladder);
  RETURN QUERY
    WITH standing AS (
      SELECT i.partner_id, l.ladder, e.tier, t.rank, e.qualified_tier, coalesce(e.standing, 'active') AS standing, e.pinned_until, e.pin_reason,
        e.at_risk_on, e.grace_on, e.review_on, e.effective_on, e.partner_id IS NULL AS is_new,
        coalesce(y.promotion, 'at_once') AS promotion, coalesce(y.review, interval '0') AS review, coalesce(y.grace, interval '0') AS grace,
        y.entry_tier
      FROM unnest(the_ids) AS i(partner_id)
      CROSS JOIN (SELECT x.ladder FROM prm.ladder x WHERE x.program_id = _tier_findings.program_id
                  AND (_tier_findings.ladder IS NULL OR x.ladder = _tier_findings.ladder)) l
      LEFT JOIN prm.enrolment e ON e.program_id = _tier_findings.program_id AND e.partner_id = i.partner_id AND e.ladder = l.ladder
      LEFT JOIN prm.tier t ON t.program_id = _tier_findings.program_id AND t.ladder = l.ladder AND t.tier = e.tier
      LEFT JOIN prm.tier_policy y ON y.program_id = _tier_findings.program_id AND y.ladder = l.ladder),
    measured AS MATERIALIZED (
      SELECT v.partner_id, v.metric, v.value FROM prm._metric_values(_tier_findings.program_id, the_ids, the_now, the_metrics) v),
    basis AS (
      SELECT m.partner_id, jsonb_object_agg(m.metric, m.value) AS metrics FROM measured m GROUP BY m.partner_id),
    checked AS (
      -- A metric that is unknown, or has no value, meets nothing. What is held already needs only its keep_threshold.
      SELECT s.partner_id, s.ladder, t.tier, t.rank, r.track, r.metric, r.op, v.value AS have, n.need,
        coalesce(CASE r.op WHEN '>=' THEN v.value >= n.need WHEN '<=' THEN v.value <= n.need END, false) AS met
      FROM standing s
      JOIN prm.tier t ON t.program_id = _tier_findings.program_id AND t.ladder = s.ladder
      JOIN prm.tier_requirement r ON r.program_id = _tier_findings.program_id AND r.ladder = t.ladder AND r.tier = t.tier
      CROSS JOIN LATERAL (SELECT CASE WHEN t.rank <= s.rank THEN coalesce(r.keep_threshold, r.threshold) ELSE r.threshold END AS need) n
      LEFT JOIN measured v ON v.partner_id = s.partner_id AND v.metric = r.metric),
    tracked AS (
      SELECT c.partner_id, c.ladder, c.tier, c.rank, c.track, bool_and(c.met) AS met,
        count(*) FILTER (WHERE NOT c.met) AS short,
        string_agg(c.metric || ' ' || coalesce(trim_scale(c.have)::text, 'unknown') || ' ' || c.op || ' ' || trim_scale(c.need), ', ' ORDER BY c.metric)
          FILTER (WHERE c.met) AS has,
        string_agg(c.metric || ' ' || coalesce(trim_scale(c.have)::text, 'unknown') || ', needed ' || c.op || ' ' || trim_scale(c.need), '; ' ORDER BY c.metric)
          FILTER (WHERE NOT c.met) AS lacks
      FROM checked c GROUP BY c.partner_id, c.ladder, c.tier, c.rank, c.track),
    best AS (
      SELECT DISTINCT ON (q.partner_id, q.ladder) q.partner_id, q.ladder, q.tier, q.rank, q.has
      FROM (
        SELECT k.partner_id, k.ladder, k.tier, k.rank, k.track, k.has FROM tracked k WHERE k.met
        UNION ALL
        SELECT s.partner_id, s.ladder, t.tier, t.rank, '', 'it is the entry tier' FROM standing s
        JOIN prm.tier t ON t.program_id = _tier_findings.program_id AND t.ladder = s.ladder AND t.tier = s.entry_tier) q
      ORDER BY q.partner_id, q.ladder, q.rank DESC, q.track),
    lacking AS (
      -- Why the tier held is not met: the track that is nearest.
      SELECT DISTINCT ON (k.partner_id, k.ladder) k.partner_id, k.ladder, k.lacks
      FROM tracked k JOIN standing s ON s.partner_id = k.partner_id AND s.ladder = k.ladder AND s.tier = k.tier
      WHERE NOT k.met ORDER BY k.partner_id, k.ladder, k.short, k.track),
    judged AS (
      SELECT s.partner_id, s.ladder, s.tier AS held, b.tier AS qualified, b.has, s.standing, s.pinned_until, s.pin_reason, s.is_new,
        s.qualified_tier, s.at_risk_on, s.grace_on, s.review_on, d.review_day, d.grace_day,
        CASE WHEN s.pinned_until > the_now THEN 'pinned'
             WHEN b.rank IS NOT DISTINCT FROM s.rank THEN 'keep'
             WHEN s.rank IS NULL OR b.rank > s.rank THEN CASE s.promotion WHEN 'approval' THEN 'needs_approval' ELSE 'promote' END
             WHEN the_today >= d.review_day THEN 'demote'
             WHEN the_today >= d.grace_day THEN 'grace'
             ELSE 'at_risk' END AS outcome
      FROM standing s
      LEFT JOIN best b ON b.partner_id = s.partner_id AND b.ladder = s.ladder
      CROSS JOIN LATERAL (
        -- The date stands once it is set; a tier is never lost before its term of review has run.
        SELECT CASE WHEN s.standing <> 'active' THEN s.review_on
                    ELSE greatest((the_today + s.grace)::date, (s.effective_on + s.review)::date) END AS review_day) r
      CROSS JOIN LATERAL (
        SELECT r.review_day, CASE WHEN s.standing <> 'active' THEN s.grace_on ELSE greatest(the_today + 1, (r.review_day - s.grace)::date) END AS grace_day) d)
    SELECT j.partner_id, j.ladder, j.held, j.qualified, j.outcome,
      CASE j.outcome
        WHEN 'pinned' THEN 'pinned' || CASE WHEN isfinite(j.pinned_until) THEN ' until ' || to_char(j.pinned_until AT TIME ZONE prm._program_time_zone(_tier_findings.program_id), 'YYYY-MM-DD') ELSE '' END
                           || coalesce(': ' || j.pin_reason, '')
        WHEN 'keep' THEN CASE WHEN j.standing <> 'active' THEN 'recovered before the review: ' ELSE '' END || coalesce(j.has, 'no tier is met')
        WHEN 'promote' THEN j.has
        WHEN 'needs_approval' THEN j.has
        ELSE coalesce(k.lacks, 'tier ' || j.held || ' has no requirements that could be met') END,
      CASE j.outcome WHEN 'promote' THEN the_today WHEN 'demote' THEN the_today WHEN 'at_risk' THEN j.review_day WHEN 'grace' THEN j.review_day
        WHEN 'pinned' THEN CASE WHEN isfinite(j.pinned_until) THEN (j.pinned_until AT TIME ZONE prm._program_time_zone(_tier_findings.program_id))::date END END,
      n.to_tier, n.standing, n.grace_on, n.review_on, n.at_risk_on, coalesce(m.metrics, '{}'),
      j.is_new OR (n.to_tier, n.standing, n.grace_on, n.review_on, j.qualified)
                  IS DISTINCT FROM (j.held, j.standing, j.grace_on, j.review_on, j.qualified_tier),
      j.outcome = 'keep' AND j.standing <> 'active'
    FROM judged j
    LEFT JOIN lacking k ON k.partner_id = j.partner_id AND k.ladder = j.ladder
    LEFT JOIN basis m ON m.partner_id = j.partner_id
    CROSS JOIN LATERAL (
      SELECT CASE WHEN j.outcome IN ('promote', 'demote') THEN j.qualified ELSE j.held END AS to_tier,
        CASE WHEN j.outcome IN ('at_risk', 'grace') THEN j.outcome ELSE 'active' END AS standing,
        CASE WHEN j.outcome IN ('at_risk', 'grace') THEN j.grace_day END AS grace_on,
        CASE WHEN j.outcome IN ('at_risk', 'grace') THEN j.review_day END AS review_on,
        CASE WHEN j.outcome IN ('at_risk', 'grace') THEN coalesce(j.at_risk_on, the_today) END AS at_risk_on) n;
END
$prm$;
COMMENT ON FUNCTION prm._tier_findings(bigint, bigint[], text) IS
'Evaluates the partners (NULL: all) on a ladder (NULL: all) in one pass and writes nothing: a row for each partner and ladder with the outcome and what the enrolment should become.';

CREATE FUNCTION prm._may_rise(program_id bigint, partner_ids bigint[], ladder text DEFAULT NULL) RETURNS bigint[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $prm$
#variable_conflict use_column
DECLARE
  the_metrics text[];
  the_values jsonb := '{}';
BEGIN
  SELECT array_agg(DISTINCT r.metric) INTO the_metrics FROM prm.tier_requirement r
    WHERE r.program_id = _may_rise.program_id AND (_may_rise.ladder IS NULL OR r.ladder = _may_rise.ladder);
  IF the_metrics IS NOT NULL THEN
    SELECT coalesce(jsonb_object_agg(v.partner_id || ' ' || v.metric, v.value), '{}') INTO the_values
      FROM prm._metric_values(_may_rise.program_id, _may_rise.partner_ids, prm.now(), the_metrics) v;
  END IF;
  RETURN (
    SELECT array_agg(DISTINCT i.partner_id)
    FROM unnest(_may_rise.partner_ids) AS i(partner_id)
    CROSS JOIN prm.ladder l
    LEFT JOIN LATERAL (
      SELECT e.standing, (SELECT h.rank FROM prm.tier h WHERE h.program_id = e.program_id AND h.ladder = e.ladder AND h.tier = e.tier) AS rank
      FROM prm.enrolment e WHERE e.program_id = _may_rise.program_id AND e.partner_id = i.partner_id AND e.ladder = l.ladder OFFSET 0) s ON true
    WHERE l.program_id = _may_rise.program_id AND (_may_rise.ladder IS NULL OR l.ladder = _may_rise.ladder)
      AND (s.standing <> 'active'
        OR EXISTS (SELECT 1 FROM prm.tier_policy y JOIN prm.tier t ON t.program_id = y.program_id AND t.ladder = y.ladder AND t.tier = y.entry_tier
          WHERE y.program_id = _may_rise.program_id AND y.ladder = l.ladder AND (s.rank IS NULL OR t.rank > s.rank))
        OR EXISTS (SELECT 1 FROM prm.tier_requirement r JOIN prm.tier t ON t.program_id = r.program_id AND t.ladder = r.ladder AND t.tier = r.tier
          WHERE r.program_id = _may_rise.program_id AND r.ladder = l.ladder AND (s.rank IS NULL OR t.rank > s.rank)
          GROUP BY r.tier, r.track
          HAVING bool_and(coalesce(CASE r.op WHEN '>=' THEN (the_values ->> (i.partner_id || ' ' || r.metric))::numeric >= r.threshold
            WHEN '<=' THEN (the_values ->> (i.partner_id || ' ' || r.metric))::numeric <= r.threshold END, false)))));
END
$prm$;
COMMENT ON FUNCTION prm._may_rise(bigint, bigint[], text) IS
'Those of a few partners whom an evaluation would promote or let recover; with them perhaps some that are pinned or do not recover after all. NULL for none: most wins lift nobody, and this costs less than the findings.';

CREATE FUNCTION prm._apply_tiers(program_id bigint, findings prm.tier_finding[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_now timestamptz := prm.now();
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(_apply_tiers.program_id))::date;
  the_moved bigint[];
  the_messages bigint[];
BEGIN
  INSERT INTO prm.enrolment (program_id, partner_id, ladder, valid)
    SELECT _apply_tiers.program_id, f.partner_id, f.ladder, tstzrange(the_now, NULL)
    FROM unnest(_apply_tiers.findings) f ORDER BY f.partner_id, f.ladder
    ON CONFLICT (program_id, partner_id, ladder) DO NOTHING;
  UPDATE prm.enrolment e
    SET tier = f.to_tier, qualified_tier = f.qualified, standing = f.standing, grace_on = f.grace_on, review_on = f.review_on,
      at_risk_on = f.at_risk_on, effective_on = CASE WHEN e.tier IS DISTINCT FROM f.to_tier THEN the_today ELSE e.effective_on END,
      evaluated_at = the_now
    FROM unnest(_apply_tiers.findings) f
    WHERE e.program_id = _apply_tiers.program_id AND e.partner_id = f.partner_id AND e.ladder = f.ladder;
  -- After the enrolment: the trigger of prm.partner takes a difference between the two for a change by hand.
  UPDATE prm.partner p SET tier = f.to_tier
    FROM unnest(_apply_tiers.findings) f
    WHERE p.program_id = _apply_tiers.program_id AND p.partner_id = f.partner_id AND f.ladder = 'main'
      AND p.tier IS DISTINCT FROM f.to_tier;
  WITH written AS (
    INSERT INTO prm.tier_history (program_id, partner_id, ladder, from_tier, to_tier, outcome, reason, metrics, actor, at)
      SELECT _apply_tiers.program_id, f.partner_id, f.ladder, f.held, f.to_tier, f.outcome, f.reason, f.metrics, prm._caller(), the_now
      FROM unnest(_apply_tiers.findings) f
      WHERE f.held IS DISTINCT FROM f.to_tier OR f.outcome IN ('at_risk', 'grace', 'needs_approval')
        OR f.recovered
      ORDER BY f.partner_id, f.ladder
      RETURNING tier_history_id, partner_id, from_tier, to_tier, outcome)
  SELECT array_agg(DISTINCT w.partner_id) FILTER (WHERE w.from_tier IS DISTINCT FROM w.to_tier),
      array_agg(w.tier_history_id ORDER BY w.tier_history_id) FILTER (WHERE w.from_tier IS DISTINCT FROM w.to_tier AND w.outcome <> 'entry')
    INTO the_moved, the_messages FROM written w;
  IF the_moved IS NOT NULL THEN
    PERFORM prm._sync_benefits(_apply_tiers.program_id, the_moved);
  END IF;
  IF the_messages IS NOT NULL THEN
    PERFORM prm._outbox_tier_changed(_apply_tiers.program_id, the_messages);
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._apply_tiers(bigint, prm.tier_finding[]) IS
'Makes findings true: enrolment, partner.tier, tier_history, benefits and one outbox message for each tier that changed. The caller holds the locks.';

CREATE FUNCTION prm._sync_benefits(program_id bigint, partner_ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_now timestamptz := prm.now();
BEGIN
  -- A grant that began at this moment never held: it goes. Others end now.
  DELETE FROM prm.benefit_grant g
    WHERE g.program_id = _sync_benefits.program_id AND g.partner_id = ANY (_sync_benefits.partner_ids)
      AND upper_inf(g.valid) AND lower(g.valid) >= the_now
      AND NOT EXISTS (SELECT 1 FROM prm.enrolment e JOIN prm.benefit b ON b.program_id = e.program_id AND b.ladder = e.ladder AND b.tier = e.tier
                      WHERE e.program_id = _sync_benefits.program_id AND e.partner_id = g.partner_id AND e.ladder = g.ladder
                        AND e.tier = g.tier AND b.benefit = g.benefit AND b.value = g.value);
  UPDATE prm.benefit_grant g SET valid = tstzrange(lower(g.valid), the_now)
    WHERE g.program_id = _sync_benefits.program_id AND g.partner_id = ANY (_sync_benefits.partner_ids)
      AND upper_inf(g.valid) AND lower(g.valid) < the_now
      AND NOT EXISTS (SELECT 1 FROM prm.enrolment e JOIN prm.benefit b ON b.program_id = e.program_id AND b.ladder = e.ladder AND b.tier = e.tier
                      WHERE e.program_id = _sync_benefits.program_id AND e.partner_id = g.partner_id AND e.ladder = g.ladder
                        AND e.tier = g.tier AND b.benefit = g.benefit AND b.value = g.value);
  INSERT INTO prm.benefit_grant (program_id, partner_id, benefit, ladder, tier, value, valid)
    SELECT _sync_benefits.program_id, e.partner_id, b.benefit, e.ladder, e.tier, b.value, tstzrange(the_now, NULL)
    FROM prm.enrolment e JOIN prm.benefit b ON b.program_id = e.program_id AND b.ladder = e.ladder AND b.tier = e.tier
    WHERE e.program_id = _sync_benefits.program_id AND e.partner_id = ANY (_sync_benefits.partner_ids)
      AND NOT EXISTS (SELECT 1 FROM prm.benefit_grant g
                      WHERE g.program_id = _sync_benefits.program_id AND g.partner_id = e.partner_id AND g.ladder = e.ladder
                        AND g.benefit = b.benefit AND upper_inf(g.valid))
    ORDER BY e.partner_id, e.ladder, b.benefit;
END
$prm$;
COMMENT ON FUNCTION prm._sync_benefits(bigint, bigint[]) IS
'Ends the grants that no longer follow from the tiers that the partners hold, and makes those that do, from prm.now() on.';

CREATE FUNCTION prm._evaluate_tiers(program_id bigint, partner_ids bigint[], ladder text, upward boolean, dry_run boolean) RETURNS SETOF prm.tier_finding
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_findings prm.tier_finding[];
  the_changes prm.tier_finding[];
  the_touched bigint[];
  the_ids bigint[] := _evaluate_tiers.partner_ids;
BEGIN
  IF _evaluate_tiers.upward AND cardinality(the_ids) <= 20 THEN
    the_ids := prm._may_rise(_evaluate_tiers.program_id, the_ids, _evaluate_tiers.ladder);
    IF the_ids IS NULL THEN
      RETURN;
    END IF;
  END IF;
  -- Looked at without a lock: most evaluations change nothing, and deals of a busy partner must not queue for its row.
  SELECT array_agg(f), array_agg(DISTINCT f.partner_id) FILTER (WHERE f.changed)
    INTO the_findings, the_touched
    FROM prm._tier_findings(_evaluate_tiers.program_id, the_ids, _evaluate_tiers.ladder) f
    WHERE NOT _evaluate_tiers.upward OR f.outcome IN ('promote', 'needs_approval') OR f.recovered;
  IF _evaluate_tiers.dry_run OR the_touched IS NULL THEN
    RETURN QUERY SELECT f.* FROM unnest(the_findings) f;
    RETURN;
  END IF;
  -- Who changes is locked, in key order, partner before enrolment as an UPDATE of the partner would, and looked at again.
  PERFORM 1 FROM prm.partner p WHERE p.program_id = _evaluate_tiers.program_id AND p.partner_id = ANY (the_touched)
    ORDER BY p.partner_id FOR NO KEY UPDATE;
  PERFORM 1 FROM prm.enrolment e WHERE e.program_id = _evaluate_tiers.program_id AND e.partner_id = ANY (the_touched)
    ORDER BY e.partner_id, e.ladder FOR NO KEY UPDATE;
  SELECT array_agg(f) INTO the_changes
    FROM prm._tier_findings(_evaluate_tiers.program_id, the_touched, _evaluate_tiers.ladder) f
    WHERE NOT _evaluate_tiers.upward OR f.outcome IN ('promote', 'needs_approval') OR f.recovered;
  PERFORM prm._apply_tiers(_evaluate_tiers.program_id, ARRAY(SELECT f FROM unnest(the_changes) f WHERE f.changed));
  RETURN QUERY
    SELECT f.* FROM unnest(the_findings) f WHERE NOT f.partner_id = ANY (the_touched)
    UNION ALL
    SELECT f.* FROM unnest(the_changes) f;
END
$prm$;
COMMENT ON FUNCTION prm._evaluate_tiers(bigint, bigint[], text, boolean, boolean) IS
'Evaluates the partners (NULL: all) and, unless dry_run, makes the findings true. upward: promotions and recoveries only.';

CREATE FUNCTION prm._check_tier_writer() RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  IF NOT has_table_privilege('prm.tier_history', 'INSERT') THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'only the owner of the model evaluates and pins tiers',
      DETAIL = format('Role %s may not write the history of tiers.', current_user),
      HINT = 'The jobs evaluate everybody each day; evaluate_tiers(dry_run => true) only tells; UPDATE prm.partner SET tier = ... sets a tier by hand.';
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._check_tier_writer() IS 'Refuses (42501) a role that may not write the history of tiers, before anything is done.';

CREATE FUNCTION prm.evaluate_tiers(partner_id bigint DEFAULT NULL, options jsonb DEFAULT '{}', dry_run boolean DEFAULT false, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.tier_evaluation
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(evaluate_tiers.program_id);
  the_ids bigint[];
  the_ladder text := evaluate_tiers.options ->> 'ladder';
  the_unknown text;
BEGIN
  SELECT k INTO the_unknown FROM jsonb_object_keys(coalesce(evaluate_tiers.options, '{}')) k WHERE k <> 'ladder' LIMIT 1;
  IF the_unknown IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('evaluate_tiers has no option "%s"', the_unknown),
      DETAIL = 'The option is ladder: the one ladder to evaluate; by default all of them.', HINT = 'Correct or leave out the option.';
  END IF;
  IF the_ladder IS NOT NULL AND NOT EXISTS (SELECT 1 FROM prm.ladder l WHERE l.program_id = the_program AND l.ladder = the_ladder) THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('ladder "%s" does not exist', the_ladder),
      DETAIL = format('Programme %s has no such ladder.', the_program), HINT = 'SELECT ladder FROM prm.ladder lists them.';
  END IF;
  IF NOT coalesce(evaluate_tiers.dry_run, false) THEN
    PERFORM prm._check_tier_writer();
  END IF;
  IF evaluate_tiers.partner_id IS NOT NULL THEN
    the_ids := ARRAY[prm._partner_argument(the_program, evaluate_tiers.partner_id)];
  END IF;
  RETURN QUERY
    SELECT f.partner_id, f.ladder, f.held, f.qualified, f.outcome, f.reason, f.effective_on
    FROM prm._evaluate_tiers(the_program, the_ids, the_ladder, false, coalesce(evaluate_tiers.dry_run, false)) f
    ORDER BY f.partner_id, f.ladder;
  IF NOT coalesce(evaluate_tiers.dry_run, false) THEN
    -- Benefits that were added to a tier, or changed, reach those who hold it.
    IF the_ids IS NULL THEN
      SELECT array_agg(p.partner_id) INTO the_ids FROM prm.partner p WHERE p.program_id = the_program;
    END IF;
    PERFORM prm._sync_benefits(the_program, the_ids);
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm.evaluate_tiers(bigint, jsonb, boolean, bigint) IS
'Evaluates one partner or all of them, in one pass, and writes what follows: promotion at once (or needs_approval), at_risk, grace, demotion at the review date. options: ladder. dry_run only tells. For the owner of the model and the jobs; dry_run for whoever may read. Errors: 42704 unknown partner or ladder, 22023 unknown option, 42501 no right to write.';

CREATE FUNCTION prm._work_tier_due(program_id bigint, batch integer) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_ids bigint[];
  the_count integer;
BEGIN
  -- A row is visible only after its transaction committed, so the evaluation below sees that transaction's deals.
  WITH due AS (
    SELECT d.tier_due_id FROM prm.tier_due d WHERE d.program_id = _work_tier_due.program_id
      ORDER BY d.tier_due_id LIMIT _work_tier_due.batch FOR UPDATE SKIP LOCKED),
  taken AS (
    DELETE FROM prm.tier_due d USING due x WHERE d.program_id = _work_tier_due.program_id AND d.tier_due_id = x.tier_due_id
      RETURNING d.partner_id)
  SELECT array_agg(DISTINCT t.partner_id ORDER BY t.partner_id), count(*) INTO the_ids, the_count FROM taken t;
  IF the_count > 0 THEN
    PERFORM prm._evaluate_tiers(_work_tier_due.program_id, the_ids, NULL, true, false);
  END IF;
  RETURN the_count;
END
$prm$;
COMMENT ON FUNCTION prm._work_tier_due(bigint, integer) IS
'A batch of work for run_jobs(): takes rows of tier_due, each by one session only, and evaluates their partners again for promotion. Returns how many rows it dealt with; 0: nothing is due. May run in parallel.';

CREATE FUNCTION prm._metric_lapse(program_id bigint, partner_id bigint, metric text, op text, need numeric) RETURNS date
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
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
BEGIN
  IF _metric_lapse.metric IN ('revenue_12m', 'deals_won_12m', 'win_rate', 'average_deal') THEN
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
      SELECT r.leaves, CASE _metric_lapse.metric WHEN 'revenue_12m' THEN r.revenue WHEN 'deals_won_12m' THEN r.won
          WHEN 'win_rate' THEN round(r.won / nullif(r.closed, 0), 6) ELSE round(r.revenue / nullif(r.priced, 0), 6) END AS value
      FROM remaining r)
    SELECT min(v.leaves) INTO the_day FROM valued v
      WHERE NOT coalesce(CASE _metric_lapse.op WHEN '>=' THEN v.value >= _metric_lapse.need ELSE v.value <= _metric_lapse.need END, false);
    RETURN the_day;
  ELSIF _metric_lapse.metric = 'certified_people' THEN
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
  ELSIF _metric_lapse.metric IN ('return_rate', 'response_hours') THEN
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
  END IF;
  RETURN NULL;
END
$prm$;
COMMENT ON FUNCTION prm._metric_lapse(bigint, bigint, text, text, numeric) IS
'The day on which a requirement that a partner meets now is met no longer if nothing new comes: deals leave the window of 12 months, certificates end. NULL: it does not lapse by itself.';

CREATE FUNCTION prm.tier_gap(partner_id bigint, tier text DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.tier_gap_row
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(tier_gap.program_id);
  the_partner bigint := prm._partner_argument(the_program, tier_gap.partner_id);
  the_rank integer;
  the_target text := tier_gap.tier;
  the_target_rank integer;
BEGIN
  SELECT t.rank INTO the_rank FROM prm.enrolment e
    JOIN prm.tier t ON t.program_id = the_program AND t.ladder = 'main' AND t.tier = e.tier
    WHERE e.program_id = the_program AND e.partner_id = the_partner AND e.ladder = 'main';
  IF the_target IS NULL THEN
    SELECT t.tier INTO the_target FROM prm.tier t
      WHERE t.program_id = the_program AND t.ladder = 'main' AND (the_rank IS NULL OR t.rank > the_rank) ORDER BY t.rank LIMIT 1;
    IF the_target IS NULL THEN
      RETURN;
    END IF;
  END IF;
  SELECT t.rank INTO the_target_rank FROM prm.tier t WHERE t.program_id = the_program AND t.ladder = 'main' AND t.tier = the_target;
  IF the_target_rank IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('tier "%s" does not exist', the_target),
      DETAIL = format('The tiers of ladder main are %s.',
        coalesce((SELECT string_agg(t.tier, ', ' ORDER BY t.rank) FROM prm.tier t WHERE t.program_id = the_program AND t.ladder = 'main'), 'none')),
      HINT = 'Name one of them, or none for the next tier.';
  END IF;
  RETURN QUERY
    SELECT r.track, r.metric, v.value, n.need,
      CASE WHEN m.met THEN 0 WHEN r.op = '>=' THEN n.need - coalesce(v.value, 0) ELSE v.value - n.need END,
      m.met, CASE WHEN m.met THEN prm._metric_lapse(the_program, the_partner, r.metric, r.op, n.need) END
    FROM prm.tier_requirement r
    CROSS JOIN LATERAL (SELECT CASE WHEN the_target_rank <= the_rank THEN coalesce(r.keep_threshold, r.threshold) ELSE r.threshold END AS need) n
    LEFT JOIN prm._metric_values(the_program, ARRAY[the_partner], prm.now()) v ON v.metric = r.metric
    CROSS JOIN LATERAL (SELECT coalesce(CASE r.op WHEN '>=' THEN v.value >= n.need ELSE v.value <= n.need END, false) AS met) m
    WHERE r.program_id = the_program AND r.ladder = 'main' AND r.tier = the_target
    ORDER BY r.track, m.met, r.metric;
END
$prm$;
COMMENT ON FUNCTION prm.tier_gap(bigint, text, bigint) IS
'What a partner has and needs for a tier of ladder main, by default the next one: a row for each requirement. For a tier it holds, what it needs to keep it. No rows: there is no next tier, or the tier has no requirements (and is never given). Errors: 42704 unknown partner or tier.';

CREATE FUNCTION prm.entitlement(partner_id bigint, benefit text, program_id bigint DEFAULT prm.current_program()) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(entitlement.program_id);
  the_partner bigint := prm._partner_argument(the_program, entitlement.partner_id);
  the_value text;
BEGIN
  IF NOT EXISTS (SELECT 1 FROM prm.benefit b WHERE b.program_id = the_program AND b.benefit = entitlement.benefit) THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('benefit "%s" does not exist', coalesce(entitlement.benefit, 'NULL')),
      DETAIL = format('The benefits of programme %s are %s.', the_program,
        coalesce((SELECT string_agg(DISTINCT b.benefit, ', ' ORDER BY b.benefit) FROM prm.benefit b WHERE b.program_id = the_program), 'none')),
      HINT = 'Name one of them, or add the benefit to prm.benefit first.';
  END IF;
  -- A cap counts for less than what is held. Of several ladders the first by name, main before the others.
  SELECT CASE WHEN c.rank < h.rank THEN b.value ELSE g.value END INTO the_value
    FROM prm.benefit_grant g
    JOIN prm.enrolment e ON e.program_id = the_program AND e.partner_id = the_partner AND e.ladder = g.ladder
    LEFT JOIN prm.tier h ON h.program_id = the_program AND h.ladder = g.ladder AND h.tier = g.tier
    LEFT JOIN prm.tier c ON c.program_id = the_program AND c.ladder = e.ladder AND c.tier = e.cap_tier
    LEFT JOIN prm.benefit b ON b.program_id = the_program AND b.ladder = e.ladder AND b.tier = e.cap_tier AND b.benefit = g.benefit
    WHERE g.program_id = the_program AND g.partner_id = the_partner AND g.benefit = entitlement.benefit AND g.valid @> prm.now()
    ORDER BY g.ladder <> 'main', g.ladder LIMIT 1;
  RETURN the_value;
END
$prm$;
COMMENT ON FUNCTION prm.entitlement(bigint, text, bigint) IS
'The value of a benefit that a partner has now by its tier; NULL: it has none. Where the enrolment is capped, the value of the capped tier. Errors: 42704 unknown partner or benefit.';

CREATE FUNCTION prm.pin_tier(partner_id bigint, tier text, until timestamptz, reason text, program_id bigint DEFAULT prm.current_program()) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(pin_tier.program_id);
  the_partner bigint := prm._partner_argument(the_program, pin_tier.partner_id);
  the_held text;
BEGIN
  PERFORM prm._check_tier_writer();
  IF coalesce(btrim(pin_tier.reason), '') = '' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a pin needs a reason',
      DETAIL = 'A pinned tier overrides the rules of the programme.', HINT = 'Say why, for whoever reads the history.';
  END IF;
  PERFORM 1 FROM prm.partner p WHERE p.program_id = the_program AND p.partner_id = the_partner FOR NO KEY UPDATE;
  INSERT INTO prm.enrolment (program_id, partner_id, ladder) VALUES (the_program, the_partner, 'main')
    ON CONFLICT (program_id, partner_id, ladder) DO NOTHING;
  SELECT e.tier INTO the_held FROM prm.enrolment e
    WHERE e.program_id = the_program AND e.partner_id = the_partner AND e.ladder = 'main' FOR NO KEY UPDATE;
  IF pin_tier.tier IS NULL THEN
    UPDATE prm.enrolment e SET pinned_until = NULL, pin_reason = NULL
      WHERE e.program_id = the_program AND e.partner_id = the_partner AND e.ladder = 'main';
    INSERT INTO prm.tier_history (program_id, partner_id, ladder, from_tier, to_tier, outcome, reason, actor, at)
      VALUES (the_program, the_partner, 'main', the_held, the_held, 'unpinned', btrim(pin_tier.reason), prm._caller(), prm.now());
    RETURN the_held;
  END IF;
  IF NOT EXISTS (SELECT 1 FROM prm.tier t WHERE t.program_id = the_program AND t.ladder = 'main' AND t.tier = pin_tier.tier) THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('tier "%s" does not exist', pin_tier.tier),
      DETAIL = format('The tiers of ladder main are %s.',
        coalesce((SELECT string_agg(t.tier, ', ' ORDER BY t.rank) FROM prm.tier t WHERE t.program_id = the_program AND t.ladder = 'main'), 'none')),
      HINT = 'Name one of them, or NULL to end a pin.';
  END IF;
  IF pin_tier.until <= prm.now() THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a pin must end in the future',
      DETAIL = format('It would end at %s, and it is %s.', pin_tier.until, prm.now()),
      HINT = 'Give a later moment, NULL for a pin without end, or a NULL tier to end a pin.';
  END IF;
  PERFORM prm._apply_tiers(the_program, ARRAY[ROW(the_partner, 'main', the_held,
      (SELECT e.qualified_tier FROM prm.enrolment e WHERE e.program_id = the_program AND e.partner_id = the_partner AND e.ladder = 'main'),
      'pinned', btrim(pin_tier.reason), NULL, pin_tier.tier, 'active', NULL, NULL, NULL, '{}', true, false)::prm.tier_finding]);
  UPDATE prm.enrolment e SET pinned_until = coalesce(pin_tier.until, 'infinity'), pin_reason = btrim(pin_tier.reason)
    WHERE e.program_id = the_program AND e.partner_id = the_partner AND e.ladder = 'main';
  IF the_held IS NOT DISTINCT FROM pin_tier.tier THEN
    INSERT INTO prm.tier_history (program_id, partner_id, ladder, from_tier, to_tier, outcome, reason, actor, at)
      VALUES (the_program, the_partner, 'main', the_held, the_held, 'pinned', btrim(pin_tier.reason), prm._caller(), prm.now());
  END IF;
  RETURN pin_tier.tier;
END
$prm$;
COMMENT ON FUNCTION prm.pin_tier(bigint, text, timestamptz, text, bigint) IS
'Gives a partner a tier of ladder main and keeps it there until a moment (NULL: without end), whatever it meets; returns the tier held. A NULL tier ends the pin: the next evaluation decides. Errors: 42704 unknown partner or tier, 22023 no reason, or an end that is past, 42501 not the owner of the model.';
