
-- Tiers: evaluation, at once when something was won, and for everybody by the jobs.

CREATE FUNCTION prm.tier_trigger() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'prm_tier_trigger';
COMMENT ON FUNCTION prm.tier_trigger() IS
'Statement trigger of prm.deal: notes the partners of the deals that were won in tier_due, because concurrent wins do not see each other, and evaluates those who may rise, all in one pass, for promotions. Serves prm.deal only (42501 otherwise).';

CREATE FUNCTION prm._may_rise(program_id bigint, partner_ids bigint[], ladder text DEFAULT NULL) RETURNS bigint[]
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'prm_may_rise';
COMMENT ON FUNCTION prm._may_rise(bigint, bigint[], text) IS
'Those of a few partners whom an evaluation would promote or let recover; with them perhaps some that are pinned or do not recover after all. NULL for none: most wins lift nobody, and this costs less than the findings. All of them where there are more than 20, or where ladders have scores, alternatives, growth markets, bought or inherited tiers, or enrolment by row.';

CREATE FUNCTION prm._apply_tiers(program_id bigint, findings prm.tier_finding[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off SET enable_nestloop = on AS $prm$
#variable_conflict use_column
DECLARE
  the_now timestamptz := prm.now();
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(_apply_tiers.program_id))::date;
  the_moved bigint[];
  the_messages bigint[];
BEGIN
  -- Without statistics every table seems to hold one row of the programme, and a loop over two of them grows with the square.
  IF cardinality(_apply_tiers.findings) > 200 THEN
    PERFORM set_config('enable_nestloop', 'off', true);
  END IF;
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
      WHERE f.held IS DISTINCT FROM f.to_tier OR f.outcome IN ('at_risk', 'grace', 'needs_approval', 'approved', 'refused')
        OR f.recovered
      ORDER BY f.partner_id, f.ladder
      RETURNING tier_history_id, partner_id, from_tier, to_tier, outcome)
  SELECT array_agg(DISTINCT w.partner_id) FILTER (WHERE w.from_tier IS DISTINCT FROM w.to_tier),
      array_agg(w.tier_history_id ORDER BY w.tier_history_id) FILTER (WHERE w.outcome <> 'entry')
    INTO the_moved, the_messages FROM written w;
  PERFORM prm._sync_approvals(_apply_tiers.program_id, _apply_tiers.findings);
  IF the_moved IS NOT NULL THEN
    PERFORM prm._sync_benefits(_apply_tiers.program_id, the_moved);
  END IF;
  PERFORM prm._sync_tier_plans(_apply_tiers.program_id, _apply_tiers.findings);
  IF the_messages IS NOT NULL THEN
    PERFORM prm._outbox_tier_changed(_apply_tiers.program_id, the_messages);
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._apply_tiers(bigint, prm.tier_finding[]) IS
'Makes findings true: enrolment, partner.tier, tier_history, benefits approvals that are asked for, and the outbox messages. The caller holds the locks.';

CREATE FUNCTION prm._evaluate_tiers(program_id bigint, partner_ids bigint[], ladder text, upward boolean, dry_run boolean) RETURNS SETOF prm.tier_finding
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_findings prm.tier_finding[];
  the_changes prm.tier_finding[];
  the_touched bigint[];
  the_ids bigint[] := _evaluate_tiers.partner_ids;
BEGIN
  IF the_ids IS NOT NULL AND EXISTS (SELECT 1 FROM prm.tier_policy y WHERE y.program_id = _evaluate_tiers.program_id AND y.inherits = 'parent') THEN
    -- What a partner holds, those below it may inherit.
    WITH RECURSIVE below(partner_id) AS (
      SELECT i FROM unnest(the_ids) i
      UNION
      SELECT p.partner_id FROM below b JOIN prm.partner p ON p.program_id = _evaluate_tiers.program_id AND p.parent_id = b.partner_id)
    SELECT array_agg(b.partner_id ORDER BY b.partner_id) INTO the_ids FROM below b;
  ELSIF _evaluate_tiers.upward AND the_ids IS NOT NULL THEN
    the_ids := prm._may_rise(_evaluate_tiers.program_id, the_ids, _evaluate_tiers.ladder);
    IF the_ids IS NULL THEN
      RETURN;
    END IF;
  END IF;
  -- Looked at without a lock: most evaluations change nothing, and deals of a busy partner must not queue for its row.
  SELECT array_agg(f), array_agg(DISTINCT f.partner_id) FILTER (WHERE f.changed)
    INTO the_findings, the_touched
    FROM prm._tier_findings(_evaluate_tiers.program_id, the_ids, _evaluate_tiers.ladder, NOT _evaluate_tiers.upward) f
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
  the_options jsonb := coalesce(evaluate_tiers.options, '{}');
  the_dry boolean := coalesce(evaluate_tiers.dry_run, false);
  the_ids bigint[];
  the_ladder text := evaluate_tiers.options ->> 'ladder';
  the_changed boolean := false;
BEGIN
  PERFORM prm._known_options('evaluate_tiers', the_options, ARRAY['ladder', 'partners', 'changed']);
  IF coalesce(jsonb_typeof(the_options -> 'changed') <> 'boolean', false) OR coalesce(NOT the_options -> 'partners' @? 'strict $ ? (@.type() == "array" && !(exists (@[*] ? (@.type() != "number" || @ != @.floor() || @ > 9000000000000000000))))', false)
     OR coalesce(jsonb_typeof(the_options -> 'ladder') <> 'string', false) THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'an option of evaluate_tiers has another type',
      DETAIL = format('The options are %s; ladder is text, partners an array of numbers, changed true or false.', the_options),
      HINT = 'For example {"ladder": "main", "partners": [1, 2], "changed": true}.';
  END IF;
  IF the_ladder IS NOT NULL THEN
    the_ladder := prm._ladder_argument(the_program, the_ladder);
  END IF;
  the_changed := coalesce((the_options ->> 'changed')::boolean, false);
  IF NOT the_dry THEN
    PERFORM prm._check_tier_writer();
  END IF;
  IF evaluate_tiers.partner_id IS NOT NULL THEN
    the_ids := ARRAY[prm._partner_argument(the_program, evaluate_tiers.partner_id)];
  ELSIF the_options ? 'partners' THEN
    the_ids := ARRAY(SELECT DISTINCT prm._partner_argument(the_program, x.number::numeric::bigint) FROM jsonb_array_elements_text(the_options -> 'partners') AS x(number));
  END IF;
  RETURN QUERY
    SELECT f.partner_id, f.ladder, f.held, f.qualified, f.outcome, f.reason, f.effective_on
    FROM prm._evaluate_tiers(the_program, the_ids, the_ladder, false, the_dry) f
    WHERE f.changed OR NOT the_changed
    ORDER BY f.partner_id, f.ladder;
  IF NOT the_dry THEN
    -- Those whose tier moved have their benefits; what follows from certificates and from days is left.
    PERFORM prm._sync_dated_benefits(the_program, the_ids);
    PERFORM prm._refresh_tier_plans(the_program, the_ids);
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm.evaluate_tiers(bigint, jsonb, boolean, bigint) IS
'Evaluates one partner, those named, or all of them, in one pass, and writes what follows: promotion at once (or needs_approval), at_risk, grace, demotion at the review date; benefits that begin or end, and the tasks of tier plans. options: ladder; partners, an array; changed, true for only the rows that change something. Those who inherit from a partner are evaluated with it. dry_run only tells. For the owner of the model and the jobs; dry_run for whoever may read. Errors: 42704 unknown partner or ladder, 22023 unknown option, 42501 no right to write.';

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
