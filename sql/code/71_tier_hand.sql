
-- Tiers by hand: pins, caps, approvals, enrolments; and who counts for the wrong tier, with the money at stake.

CREATE FUNCTION prm.pin_tier(partner_id bigint, tier text, until timestamptz, reason text, options jsonb DEFAULT '{}', program_id bigint DEFAULT prm.current_program()) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(pin_tier.program_id);
  the_partner bigint := prm._partner_argument(the_program, pin_tier.partner_id);
  the_ladder text := prm._ladder_option(the_program, 'pin_tier', pin_tier.options, '{}');
  the_held text;
BEGIN
  PERFORM prm._check_tier_writer();
  IF coalesce(btrim(pin_tier.reason), '') = '' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a pin needs a reason',
      DETAIL = 'A pinned tier overrides the rules of the programme.', HINT = 'Say why, for whoever reads the history.';
  END IF;
  PERFORM 1 FROM prm.partner p WHERE p.program_id = the_program AND p.partner_id = the_partner FOR NO KEY UPDATE;
  INSERT INTO prm.enrolment (program_id, partner_id, ladder, valid) VALUES (the_program, the_partner, the_ladder, tstzrange(prm.now(), NULL))
    ON CONFLICT (program_id, partner_id, ladder) DO NOTHING;
  SELECT e.tier INTO the_held FROM prm.enrolment e
    WHERE e.program_id = the_program AND e.partner_id = the_partner AND e.ladder = the_ladder FOR NO KEY UPDATE;
  IF pin_tier.tier IS NULL THEN
    UPDATE prm.enrolment e SET pinned_until = NULL, pin_reason = NULL
      WHERE e.program_id = the_program AND e.partner_id = the_partner AND e.ladder = the_ladder;
    INSERT INTO prm.tier_history (program_id, partner_id, ladder, from_tier, to_tier, outcome, reason, actor, at)
      VALUES (the_program, the_partner, the_ladder, the_held, the_held, 'unpinned', btrim(pin_tier.reason), prm._caller(), prm.now());
    RETURN the_held;
  END IF;
  PERFORM prm._tier_argument(the_program, the_ladder, pin_tier.tier, 'Name one of them, or NULL to end a pin.');
  IF pin_tier.until <= prm.now() THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a pin must end in the future',
      DETAIL = format('It would end at %s, and it is %s.', pin_tier.until, prm.now()),
      HINT = 'Give a later moment, NULL for a pin without end, or a NULL tier to end a pin.';
  END IF;
  PERFORM prm._apply_tiers(the_program, ARRAY[ROW(the_partner, the_ladder, the_held,
      (SELECT e.qualified_tier FROM prm.enrolment e WHERE e.program_id = the_program AND e.partner_id = the_partner AND e.ladder = the_ladder),
      'pinned', btrim(pin_tier.reason), NULL, pin_tier.tier, 'active', NULL, NULL, NULL, '{}', true, false)::prm.tier_finding]);
  UPDATE prm.enrolment e SET pinned_until = coalesce(pin_tier.until, 'infinity'), pin_reason = btrim(pin_tier.reason)
    WHERE e.program_id = the_program AND e.partner_id = the_partner AND e.ladder = the_ladder;
  IF the_held IS NOT DISTINCT FROM pin_tier.tier THEN
    INSERT INTO prm.tier_history (program_id, partner_id, ladder, from_tier, to_tier, outcome, reason, actor, at)
      VALUES (the_program, the_partner, the_ladder, the_held, the_held, 'pinned', btrim(pin_tier.reason), prm._caller(), prm.now());
  END IF;
  RETURN pin_tier.tier;
END
$prm$;
COMMENT ON FUNCTION prm.pin_tier(bigint, text, timestamptz, text, jsonb, bigint) IS
'Gives a partner a tier of ladder main (options: ladder) and keeps it there until a moment (NULL: without end), whatever it meets; returns the tier held. A NULL tier ends the pin: the next evaluation decides. Errors: 42704 unknown partner, ladder or tier, 22023 no reason, or an end that is past, 42501 not the owner of the model.';

CREATE FUNCTION prm.set_tier_cap(partner_id bigint, tier text, until timestamptz, reason text, options jsonb DEFAULT '{}', program_id bigint DEFAULT prm.current_program()) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(set_tier_cap.program_id);
  the_partner bigint := prm._partner_argument(the_program, set_tier_cap.partner_id);
  the_ladder text := prm._ladder_option(the_program, 'set_tier_cap', set_tier_cap.options, '{}');
  the_held text;
  the_rank integer;
  the_cap integer;
BEGIN
  PERFORM prm._check_tier_writer();
  IF coalesce(btrim(set_tier_cap.reason), '') = '' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a cap needs a reason',
      DETAIL = 'A cap takes benefits from a partner that holds a higher tier.', HINT = 'Say why, for whoever reads the history.';
  END IF;
  IF set_tier_cap.tier IS NOT NULL THEN
    the_cap := prm._tier_argument(the_program, the_ladder, set_tier_cap.tier, 'Name one of them, or NULL to end a cap.');
    IF set_tier_cap.until <= prm.now() THEN
      RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a cap must end in the future',
        DETAIL = format('It would end at %s, and it is %s.', set_tier_cap.until, prm.now()),
        HINT = 'Give a later moment, NULL for a cap without end, or a NULL tier to end a cap.';
    END IF;
  END IF;
  PERFORM 1 FROM prm.partner p WHERE p.program_id = the_program AND p.partner_id = the_partner FOR NO KEY UPDATE;
  INSERT INTO prm.enrolment (program_id, partner_id, ladder, valid) VALUES (the_program, the_partner, the_ladder, tstzrange(prm.now(), NULL))
    ON CONFLICT (program_id, partner_id, ladder) DO NOTHING;
  UPDATE prm.enrolment e SET cap_tier = set_tier_cap.tier, cap_until = CASE WHEN set_tier_cap.tier IS NOT NULL THEN set_tier_cap.until END,
      cap_reason = CASE WHEN set_tier_cap.tier IS NOT NULL THEN btrim(set_tier_cap.reason) END
    WHERE e.program_id = the_program AND e.partner_id = the_partner AND e.ladder = the_ladder
    RETURNING e.tier INTO the_held;
  INSERT INTO prm.tier_history (program_id, partner_id, ladder, from_tier, to_tier, outcome, reason, actor, at)
    VALUES (the_program, the_partner, the_ladder, the_held, the_held, CASE WHEN set_tier_cap.tier IS NULL THEN 'uncapped' ELSE 'capped' END,
      CASE WHEN set_tier_cap.tier IS NOT NULL THEN set_tier_cap.tier || ': ' ELSE '' END || btrim(set_tier_cap.reason), prm._caller(), prm.now());
  SELECT t.rank INTO the_rank FROM prm.tier t WHERE t.program_id = the_program AND t.ladder = the_ladder AND t.tier = the_held;
  RETURN CASE WHEN the_cap < the_rank THEN set_tier_cap.tier ELSE the_held END;
END
$prm$;
COMMENT ON FUNCTION prm.set_tier_cap(bigint, text, timestamptz, text, jsonb, bigint) IS
'Lets a partner count for no more than a tier of ladder main (options: ladder) until a moment (NULL: without end), whatever it holds; the tier held goes on by its own rules and counts again when the cap ends. Benefits follow the cap at once, and with them product access in registrations and the benefits that commission rules see; commission rules for a tier go by the tier held. A NULL tier ends the cap. Returns the tier that counts: the lower of the two. Errors: 42704 unknown partner, ladder or tier, 22023 no reason, or an end that is past, 42501 not the owner of the model.';

CREATE FUNCTION prm._sync_approvals(program_id bigint, findings prm.tier_finding[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_now timestamptz := prm.now();
  the_ids bigint[];
BEGIN
  SELECT array_agg(a.tier_approval_id) INTO the_ids FROM unnest(_sync_approvals.findings) f
    CROSS JOIN LATERAL (
      SELECT x.tier_approval_id FROM prm.tier_approval x
      WHERE x.program_id = _sync_approvals.program_id AND x.partner_id = f.partner_id AND x.ladder = f.ladder AND x.stands AND x.state IN ('open', 'refused')
        AND NOT (x.state = 'open' AND f.outcome = 'needs_approval' AND f.qualified = x.to_tier)
        AND NOT (x.state = 'refused' AND f.outcome <> 'needs_approval' AND f.qualified = x.to_tier) OFFSET 0) a;
  IF the_ids IS NOT NULL THEN
    -- What is held by now was approved by hand; what is asked for no longer is withdrawn; a refusal ends with its cause.
    UPDATE prm.tier_approval a SET stands = false,
        state = CASE WHEN a.state = 'refused' THEN 'refused' WHEN f.to_tier = a.to_tier THEN 'approved' ELSE 'withdrawn' END,
        decided_at = coalesce(a.decided_at, the_now), decided_by = coalesce(a.decided_by, prm._caller()), decision_reason = coalesce(a.decision_reason, f.reason)
      FROM unnest(_sync_approvals.findings) f
      WHERE a.program_id = _sync_approvals.program_id AND a.tier_approval_id = ANY (the_ids) AND a.partner_id = f.partner_id AND a.ladder = f.ladder;
  END IF;
  INSERT INTO prm.tier_approval (program_id, partner_id, ladder, from_tier, to_tier, reason, metrics, requested_at)
    SELECT _sync_approvals.program_id, f.partner_id, f.ladder, f.to_tier, f.qualified, f.reason, f.metrics, the_now
    FROM unnest(_sync_approvals.findings) f WHERE f.outcome = 'needs_approval' ORDER BY f.partner_id, f.ladder
    ON CONFLICT (program_id, partner_id, ladder) WHERE stands AND state IN ('open', 'refused') DO NOTHING;
END
$prm$;
COMMENT ON FUNCTION prm._sync_approvals(bigint, prm.tier_finding[]) IS
'Asks for approval where findings need it, once, and ends what is asked for no longer.';

CREATE FUNCTION prm._decide_tier(program_id bigint, tier_approval_id bigint, state text, reason text, asks_again_on date) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  approval record;
BEGIN
  SELECT a.partner_id, a.to_tier, a.state, a.decided_by, a.decided_at INTO approval FROM prm.tier_approval a
    WHERE a.program_id = _decide_tier.program_id AND a.tier_approval_id = _decide_tier.tier_approval_id;
  IF approval.partner_id IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no tier approval %s', coalesce(_decide_tier.tier_approval_id::text, 'NULL')),
      DETAIL = format('Programme %s has none with this number that you may see.', _decide_tier.program_id),
      HINT = 'SELECT * FROM prm.v_tier_approval lists what waits.';
  END IF;
  -- In the order in which an evaluation locks: partner, enrolment, then what follows from them.
  PERFORM 1 FROM prm.partner p WHERE p.program_id = _decide_tier.program_id AND p.partner_id = approval.partner_id FOR NO KEY UPDATE;
  UPDATE prm.tier_approval a SET state = _decide_tier.state, decided_at = prm.now(), decided_by = prm.current_actor(),
      decision_reason = nullif(btrim(_decide_tier.reason), ''), asks_again_on = _decide_tier.asks_again_on
    WHERE a.program_id = _decide_tier.program_id AND a.tier_approval_id = _decide_tier.tier_approval_id AND a.state = 'open';
  IF NOT FOUND THEN
    SELECT a.partner_id, a.to_tier, a.state, a.decided_by, a.decided_at INTO approval FROM prm.tier_approval a
      WHERE a.program_id = _decide_tier.program_id AND a.tier_approval_id = _decide_tier.tier_approval_id;
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('tier approval %s is %s already', _decide_tier.tier_approval_id, approval.state),
      DETAIL = format('%s did that at %s.', approval.decided_by, approval.decided_at), HINT = 'The next evaluation asks again if the partner still qualifies.';
  END IF;
  RETURN approval.to_tier;
END
$prm$;
COMMENT ON FUNCTION prm._decide_tier(bigint, bigint, text, text, date) IS 'Decides an open approval. The trigger of tier_approval makes it true. Errors: 42704 no such approval, 55000 decided already.';

CREATE FUNCTION prm.approve_tier(tier_approval_id bigint, reason text DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  RETURN prm._decide_tier(prm._check_program(approve_tier.program_id), approve_tier.tier_approval_id, 'approved', approve_tier.reason, NULL);
END
$prm$;
COMMENT ON FUNCTION prm.approve_tier(bigint, text, bigint) IS
'Approves a promotion that waits (v_tier_approval): the partner has the tier at once. Returns the tier. Errors: 42704 no such approval, 55000 decided already.';

CREATE FUNCTION prm.refuse_tier(tier_approval_id bigint, reason text, asks_again_on date DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(refuse_tier.program_id);
BEGIN
  IF coalesce(btrim(refuse_tier.reason), '') = '' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a refusal needs a reason',
      DETAIL = 'The partner meets what the tier asks for.', HINT = 'Say why, for whoever reads the history.';
  END IF;
  RETURN prm._decide_tier(the_program, refuse_tier.tier_approval_id, 'refused', refuse_tier.reason, refuse_tier.asks_again_on);
END
$prm$;
COMMENT ON FUNCTION prm.refuse_tier(bigint, text, date, bigint) IS
'Refuses a promotion that waits (v_tier_approval), and returns the tier. It is not asked for again while the partner qualifies for the same tier, unless asks_again_on has come. Errors: 42704 no such approval, 55000 decided already, 22023 no reason.';

CREATE FUNCTION prm.enrol_partner(partner_id bigint, ladder text, valid_from timestamptz DEFAULT prm.now(), valid_until timestamptz DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(enrol_partner.program_id);
  the_partner bigint := prm._partner_argument(the_program, enrol_partner.partner_id);
  the_ladder text := prm._ladder_argument(the_program, enrol_partner.ladder);
  the_from timestamptz := coalesce(enrol_partner.valid_from, prm.now());
BEGIN
  PERFORM prm._check_tier_writer();
  IF enrol_partner.valid_until <= the_from OR NOT isfinite(the_from) THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'an enrolment must end after it begins',
      DETAIL = format('It would begin at %s and end at %s.', the_from, enrol_partner.valid_until), HINT = 'Give a later end, or NULL for one without end.';
  END IF;
  PERFORM 1 FROM prm.partner p WHERE p.program_id = the_program AND p.partner_id = the_partner FOR NO KEY UPDATE;
  INSERT INTO prm.enrolment (program_id, partner_id, ladder, valid) VALUES (the_program, the_partner, the_ladder, tstzrange(the_from, enrol_partner.valid_until))
    ON CONFLICT (program_id, partner_id, ladder) DO UPDATE SET valid = excluded.valid;
  PERFORM prm._evaluate_tiers(the_program, ARRAY[the_partner], the_ladder, false, false);
  RETURN (SELECT e.tier FROM prm.enrolment e WHERE e.program_id = the_program AND e.partner_id = the_partner AND e.ladder = the_ladder);
END
$prm$;
COMMENT ON FUNCTION prm.enrol_partner(bigint, text, timestamptz, timestamptz, bigint) IS
'Enrols a partner on a ladder for a time (valid_until NULL: without end), or changes that time, evaluates it and returns the tier held. When the time is over the tier is lost with the next evaluation. Errors: 42704 unknown partner or ladder, 22023 an end before the beginning, 42501 not the owner of the model.';

CREATE TYPE prm.tier_mismatch AS (partner_id bigint, ladder text, held text, cap text, effective text, qualified text, direction text, why text, until date,
  revenue_12m numeric, discount_at_stake numeric, mdf_at_stake numeric, commission_at_stake numeric);
COMMENT ON TYPE prm.tier_mismatch IS 'A partner that counts for another tier than it meets, why, and what the difference costs in a year; internal, for v_tier_mismatch.';

CREATE FUNCTION prm._tier_mismatches(program_id bigint) RETURNS SETOF prm.tier_mismatch
LANGUAGE plpgsql STABLE ROWS 100 SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = force_custom_plan AS $prm$
#variable_conflict use_column
DECLARE
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(_tier_mismatches.program_id))::date;
  the_currency text := prm._program_currency(_tier_mismatches.program_id);
  the_findings prm.tier_finding[] := ARRAY(SELECT f FROM prm._tier_findings(_tier_mismatches.program_id, NULL, NULL, false) f);
  the_rows prm.tier_mismatch[];
  the_measured prm.metric_row[];
BEGIN
  the_rows := ARRAY(
    SELECT ROW(f.partner_id, f.ladder, f.held, c.tier, x.tier, f.qualified, CASE WHEN coalesce(x.rank > q.rank, q.rank IS NULL) THEN 'above' ELSE 'below' END,
        CASE WHEN c.rank < h.rank THEN 'capped' WHEN f.outcome IN ('pinned', 'at_risk', 'grace', 'needs_approval') THEN f.outcome WHEN f.outcome = 'keep' THEN 'refused' ELSE 'due' END,
        CASE WHEN c.rank < h.rank THEN (e.cap_until AT TIME ZONE prm._program_time_zone(_tier_mismatches.program_id))::date ELSE f.effective_on END,
        NULL, NULL, NULL, NULL)::prm.tier_mismatch
    FROM unnest(the_findings) f
    LEFT JOIN prm.enrolment e ON e.program_id = _tier_mismatches.program_id AND e.partner_id = f.partner_id AND e.ladder = f.ladder
    LEFT JOIN prm.tier h ON h.program_id = _tier_mismatches.program_id AND h.ladder = f.ladder AND h.tier = f.held
    LEFT JOIN prm.tier q ON q.program_id = _tier_mismatches.program_id AND q.ladder = f.ladder AND q.tier = f.qualified
    LEFT JOIN prm.tier c ON c.program_id = _tier_mismatches.program_id AND c.ladder = f.ladder AND c.tier = e.cap_tier AND (e.cap_until IS NULL OR e.cap_until > prm.now())
    CROSS JOIN LATERAL (SELECT CASE WHEN c.rank < h.rank THEN c.tier ELSE h.tier END AS tier, CASE WHEN c.rank < h.rank THEN c.rank ELSE h.rank END AS rank) x
    WHERE x.tier IS DISTINCT FROM f.qualified);
  the_measured := ARRAY(SELECT v FROM prm._metric_values(_tier_mismatches.program_id, ARRAY(SELECT DISTINCT r.partner_id FROM unnest(the_rows) r), prm.now(), ARRAY['revenue_12m', 'deals_won_12m']) v);
  RETURN QUERY
    WITH shares AS (
      SELECT b.ladder, b.tier, coalesce(max(b.value::numeric) FILTER (WHERE b.kind = 'discount'), 0) AS discount, coalesce(max(b.value::numeric) FILTER (WHERE b.kind = 'mdf_share'), 0) AS mdf
      FROM prm.benefit b
      WHERE b.program_id = _tier_mismatches.program_id AND b.tier IS NOT NULL AND b.kind IN ('discount', 'mdf_share') AND b.valid @> the_today GROUP BY b.ladder, b.tier)
    SELECT r.partner_id, r.ladder, r.held, r.cap, r.effective, r.qualified, r.direction, r.why, r.until, m.revenue,
      round((coalesce(s.discount, 0) - coalesce(t.discount, 0)) * m.revenue / 100, 2), round((coalesce(s.mdf, 0) - coalesce(t.mdf, 0)) * m.revenue / 100, 2),
      CASE WHEN r.ladder = 'main' AND r.held IS DISTINCT FROM r.qualified THEN
        round(prm._tier_commission(_tier_mismatches.program_id, r.partner_id, r.held, m.revenue, m.deals, the_today, the_currency)
              - prm._tier_commission(_tier_mismatches.program_id, r.partner_id, r.qualified, m.revenue, m.deals, the_today, the_currency), 2) ELSE 0 END
    FROM unnest(the_rows) r
    LEFT JOIN shares s ON s.ladder = r.ladder AND s.tier = r.effective
    LEFT JOIN shares t ON t.ladder = r.ladder AND t.tier = r.qualified
    LEFT JOIN (SELECT v.partner_id, coalesce(max(v.value) FILTER (WHERE v.metric = 'revenue_12m'), 0) AS revenue, coalesce(max(v.value) FILTER (WHERE v.metric = 'deals_won_12m'), 0) AS deals
      FROM unnest(the_measured) v GROUP BY v.partner_id) m ON m.partner_id = r.partner_id;
END
$prm$;
COMMENT ON FUNCTION prm._tier_mismatches(bigint) IS
'The partners that count for another tier than they meet now, with the money of a year that hangs on it: the difference of discounts and marketing funds on the revenue of the last 12 months, and on ladder main of commissions.';

CREATE FUNCTION prm._tier_commission(program_id bigint, partner_id bigint, tier text, revenue numeric, deals numeric, day date, currency text) RETURNS numeric
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
BEGIN
  -- One rule of each plan and component, the tier's own before that for everybody. Rules for single products, customers,
  -- regions or kinds are left out: this is what the tier as such is worth.
  RETURN (
    SELECT coalesce(sum(CASE WHEN w.accumulate = 'transaction' THEN _tier_commission.deals * prm.commission(w.schedule::prm.commission_schedule, _tier_commission.revenue / nullif(_tier_commission.deals, 0))
                             ELSE prm.commission(w.schedule::prm.commission_schedule, _tier_commission.revenue) END), 0)
    FROM (
      SELECT DISTINCT ON (r.plan_id, r.component) r.accumulate, r.schedule
      FROM prm.commission_rule r
      JOIN prm.commission_plan n ON n.program_id = _tier_commission.program_id AND n.plan_id = r.plan_id AND n.is_active AND n.currency = _tier_commission.currency
      WHERE r.program_id = _tier_commission.program_id AND r.valid @> _tier_commission.day AND r.level = 0 AND r.entry_kind IN ('commission', 'bonus')
        AND r.basis = 'amount' AND coalesce(r.measure, 'amount') = 'amount'
        AND (r.tier IS NULL OR r.tier = _tier_commission.tier)
        AND num_nonnulls(r.product, r.product_family, r.deal_kind, r.partner_kind, r.partner_id, r.customer_id, r.region, r.condition) = 0 AND r.registered IS NULL
        AND EXISTS (SELECT 1 FROM prm.plan_enrolment e WHERE e.program_id = _tier_commission.program_id AND e.plan_id = r.plan_id
          AND e.partner_id = _tier_commission.partner_id AND e.valid @> _tier_commission.day)
      ORDER BY r.plan_id, r.component, r.priority DESC, r.tier IS NULL, lower(r.valid) DESC NULLS LAST, r.rule_id) w);
END
$prm$;
COMMENT ON FUNCTION prm._tier_commission(bigint, bigint, text, numeric, numeric, date, text) IS
'An estimate of a year''s commission of a partner if it held the tier: the year''s revenue, in as many deals, by the plans it is enrolled in and their rules for the tier or for everybody.';
