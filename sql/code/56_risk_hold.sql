
-- Risk: what follows from a finding. A risk event holds what the partner earns; whoever resolves it releases that, or cancels it.

CREATE FUNCTION prm._raise_risks(program_id bigint, risk_findings prm.risk_finding[], once boolean) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_most constant integer := 20;
  the_count bigint;
BEGIN
  -- One open event per rule and partner: more of the same is added to it. Not raised: what somebody found to be benign, what
  -- is known already, and what a banned partner does.
  INSERT INTO prm.risk_event AS r (program_id, risk_rule, partner_id, earning_event_id, evidence, findings)
    SELECT _raise_risks.program_id, n.risk_rule, n.partner_id, min(n.earning_event_id),
      jsonb_agg(jsonb_strip_nulls(n.evidence || jsonb_build_object('mark', n.mark, 'earning_event_id', n.earning_event_id)) ORDER BY n.place)
        FILTER (WHERE n.place <= the_most), count(*)
    FROM (
      SELECT f.risk_rule, f.partner_id, f.earning_event_id, f.mark, f.evidence,
        row_number() OVER (PARTITION BY f.risk_rule, f.partner_id ORDER BY f.earning_event_id, f.mark) AS place
      FROM unnest(_raise_risks.risk_findings) f
      WHERE NOT EXISTS (SELECT 1 FROM prm.risk_event k
        WHERE k.program_id = _raise_risks.program_id AND k.partner_id = f.partner_id
          AND (k.state = 'banned' OR k.risk_rule = f.risk_rule AND (
            (k.state = 'benign' OR _raise_risks.once) AND k.evidence @> jsonb_build_array(jsonb_build_object('mark', f.mark))
            OR k.state = 'benign' AND k.resolved_at > f.since
            OR k.state = 'open' AND k.evidence @> jsonb_build_array(jsonb_build_object('earning_event_id', f.earning_event_id)))))
    ) n
    GROUP BY n.risk_rule, n.partner_id ORDER BY n.risk_rule, n.partner_id
    ON CONFLICT (program_id, risk_rule, partner_id) WHERE state = 'open' DO UPDATE SET
      evidence = CASE WHEN jsonb_array_length(r.evidence) < the_most THEN r.evidence || excluded.evidence ELSE r.evidence END,
      findings = r.findings + excluded.findings, last_found_at = prm.now();
  GET DIAGNOSTICS the_count = ROW_COUNT;
  RETURN the_count;
END
$prm$;
COMMENT ON FUNCTION prm._raise_risks(bigint, prm.risk_finding[], boolean) IS
'Opens risk events for findings, or adds to the open event of the same rule and partner, which keeps 20 pieces of evidence or a few more and counts all. once: what any earlier event of the rule and partner names is not raised again, also where that one expired. Returns how many events it touched.';

CREATE FUNCTION prm._cancel_unsettled(program_id bigint, partner_ids bigint[], earning_event_ids bigint[], again boolean) RETURNS bigint
-- A plan of its own: with events only their entries are looked at, without all of the partner's.
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $prm$
#variable_conflict use_column
DECLARE
  the_zone constant text := prm._program_time_zone(_cancel_unsettled.program_id);
  the_entries bigint[];
  the_nets numeric[];
  the_settled bigint[];
  the_new bigint[];
  the_causes bigint[];
  the_moment timestamptz;
BEGIN
  -- No close meanwhile: what stands on a statement is not canceled.
  PERFORM prm._lock_calendar(_cancel_unsettled.program_id, false);
  -- What is being earned by these partners holds their rows by foreign keys: wait for it, then look.
  PERFORM p.partner_id FROM prm.partner p
    WHERE p.program_id = _cancel_unsettled.program_id AND p.partner_id = ANY (_cancel_unsettled.partner_ids) ORDER BY p.partner_id FOR UPDATE;
  SELECT array_agg(n.entry_id ORDER BY n.entry_id) INTO the_entries FROM (
    SELECT l.entry_id, l.amount + coalesce(b.amount, 0) AS net, coalesce(b.is_canceled, false) AS is_canceled
    FROM prm.ledger l
    CROSS JOIN LATERAL (SELECT sum(r.amount) AS amount, bool_or(r.idempotency_key LIKE 'cancel/%') AS is_canceled FROM prm.ledger r
      WHERE r.program_id = _cancel_unsettled.program_id AND r.cause_entry_id = l.entry_id AND r.kind IN ('reversal', 'clawback')) b
    WHERE l.program_id = _cancel_unsettled.program_id AND l.partner_id = ANY (_cancel_unsettled.partner_ids)
      AND (_cancel_unsettled.earning_event_ids IS NULL OR l.earning_event_id = ANY (_cancel_unsettled.earning_event_ids))
      -- What the partner owes is not forgiven.
      AND l.kind IN ('commission', 'override', 'bonus', 'adjustment', 'mdf', 'draw')
  -- What is canceled stays so: a refund of it changes nothing.
  ) n WHERE CASE WHEN n.is_canceled THEN n.net <> 0 ELSE n.net > 0 AND NOT _cancel_unsettled.again END;
  IF the_entries IS NULL THEN
    RETURN 0;
  END IF;
  the_settled := coalesce(prm._is_settled(_cancel_unsettled.program_id, the_entries), '{}');

  -- The use of caps goes down with the entries: their counts are locked as accrual locks them, in key order.
  PERFORM a.entries FROM prm.accumulator a
    WHERE a.program_id = _cancel_unsettled.program_id
      AND (a.purpose, a.lineage_id, a.plan_id, a.partner_id, a.customer_id, a.credit_type, a.window_start) IN (
        SELECT i.purpose, i.lineage_id, i.plan_id, i.partner_id, i.customer_id, i.credit_type, i.window_start
        FROM unnest(the_entries) AS t(entry_id)
        CROSS JOIN LATERAL (SELECT l.earning_event_id FROM prm.ledger l WHERE l.program_id = _cancel_unsettled.program_id AND l.entry_id = t.entry_id OFFSET 0) l
        CROSS JOIN LATERAL (SELECT e.* FROM prm.accumulator_entry e
          WHERE e.program_id = _cancel_unsettled.program_id AND e.earning_event_id = l.earning_event_id AND e.entry_id = t.entry_id AND e.purpose = 'cap' OFFSET 0) i)
    ORDER BY a.purpose, a.lineage_id, a.plan_id, a.partner_id, a.customer_id, a.credit_type, a.window_start FOR UPDATE;
  -- With what came to be while the locks were waited for.
  SELECT array_agg(n.entry_id ORDER BY n.entry_id), array_agg(n.net ORDER BY n.entry_id) INTO the_entries, the_nets FROM (
    SELECT t.entry_id, l.amount + coalesce(b.amount, 0) AS net
    FROM unnest(the_entries) AS t(entry_id)
    CROSS JOIN LATERAL (SELECT i.amount FROM prm.ledger i WHERE i.program_id = _cancel_unsettled.program_id AND i.entry_id = t.entry_id OFFSET 0) l
    CROSS JOIN LATERAL (SELECT sum(r.amount) AS amount, bool_or(r.idempotency_key LIKE 'cancel/%') AS is_canceled FROM prm.ledger r
      WHERE r.program_id = _cancel_unsettled.program_id AND r.cause_entry_id = t.entry_id AND r.kind IN ('reversal', 'clawback')) b
    -- What was canceled and settled together with what cancels it was never paid: a refund takes nothing back of it either.
    WHERE NOT t.entry_id = ANY (the_settled) OR b.is_canceled
  ) n WHERE n.net <> 0;
  IF the_entries IS NULL THEN
    RETURN 0;
  END IF;
  the_moment := clock_timestamp();

  WITH written AS (
    INSERT INTO prm.ledger (program_id, partner_id, payee_id, legal_entity, kind, component, amount, currency, earning_event_id, credit_type, plan_id, rule_id,
        lineage_id, level, cause_entry_id, sequence_no, earned_on, eligible_at, reason, idempotency_key, explain, recorded_at)
      SELECT _cancel_unsettled.program_id, l.partner_id, l.payee_id, l.legal_entity, 'reversal', l.component, -t.net, l.currency, l.earning_event_id, l.credit_type,
        l.plan_id, l.rule_id, l.lineage_id, l.level, l.entry_id, g.reversals + 1, (prm.now() AT TIME ZONE the_zone)::date, l.eligible_at,
        CASE WHEN b.risk_event_id IS NULL THEN 'canceled before' ELSE concat_ws(': ', 'canceled, the partner is banned', b.reason) END, format('cancel/%s/%s', l.entry_id, g.reversals + 1),
        jsonb_strip_nulls(jsonb_build_object('plan', l.explain ->> 'plan', 'rule', l.explain ->> 'rule', 'cause', l.entry_id, 'earned', l.amount,
          'given_back_before', t.net - l.amount, 'amount', -t.net, 'canceled', true, 'risk_event', b.risk_event_id)), the_moment
      FROM unnest(the_entries, the_nets) AS t(entry_id, net)
      CROSS JOIN LATERAL (SELECT i.* FROM prm.ledger i WHERE i.program_id = _cancel_unsettled.program_id AND i.entry_id = t.entry_id OFFSET 0) l
      CROSS JOIN LATERAL (SELECT count(*)::integer AS reversals FROM prm.ledger i WHERE i.program_id = _cancel_unsettled.program_id AND i.cause_entry_id = t.entry_id OFFSET 0) g
      LEFT JOIN LATERAL (SELECT k.risk_event_id, k.reason FROM prm.risk_event k
        WHERE k.program_id = _cancel_unsettled.program_id AND k.partner_id = l.partner_id AND k.state = 'banned'
        ORDER BY k.resolved_at DESC, k.risk_event_id DESC LIMIT 1) b ON true
      ORDER BY t.entry_id
      RETURNING entry_id, cause_entry_id
  )
  SELECT array_agg(w.entry_id), array_agg(w.cause_entry_id) INTO the_new, the_causes FROM written w;

  WITH used AS MATERIALIZED (
    -- By what each entry, and what was given back of it, moved each count: all of it goes back.
    SELECT i.purpose, i.lineage_id, i.plan_id, i.partner_id, i.customer_id, i.credit_type, i.window_start, t.entry_id, t.cause_entry_id,
      (array_agg(i.earning_event_id ORDER BY i.entry_id = t.cause_entry_id DESC))[1] AS earning_event_id, sum(i.amount) AS amount
    FROM unnest(the_new, the_causes) AS t(entry_id, cause_entry_id)
    CROSS JOIN LATERAL (SELECT l.entry_id, l.earning_event_id FROM prm.ledger l WHERE l.program_id = _cancel_unsettled.program_id AND l.entry_id = t.cause_entry_id
                        UNION ALL
                        SELECT l.entry_id, l.earning_event_id FROM prm.ledger l WHERE l.program_id = _cancel_unsettled.program_id AND l.cause_entry_id = t.cause_entry_id
                          AND l.kind IN ('reversal', 'clawback')) l
    CROSS JOIN LATERAL (SELECT e.* FROM prm.accumulator_entry e
      WHERE e.program_id = _cancel_unsettled.program_id AND e.earning_event_id = l.earning_event_id AND e.entry_id = l.entry_id AND e.purpose = 'cap' OFFSET 0) i
    GROUP BY i.purpose, i.lineage_id, i.plan_id, i.partner_id, i.customer_id, i.credit_type, i.window_start, t.entry_id, t.cause_entry_id
    HAVING sum(i.amount) <> 0
  ), placed AS MATERIALIZED (
    SELECT u.*, row_number() OVER count AS place, coalesce(sum(u.amount) OVER (count ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS gone,
      row_number() OVER (PARTITION BY u.purpose, u.lineage_id, u.plan_id, u.partner_id, u.customer_id, u.credit_type, u.window_start ORDER BY u.entry_id DESC) = 1 AS is_last
    FROM used u
    WINDOW count AS (PARTITION BY u.purpose, u.lineage_id, u.plan_id, u.partner_id, u.customer_id, u.credit_type, u.window_start ORDER BY u.entry_id)
  ), counted AS MATERIALIZED (
    SELECT p.*, a.amount AS amount_before, a.basis_amount AS basis_before, a.entries FROM placed p
    CROSS JOIN LATERAL (SELECT i.amount, i.basis_amount, i.entries FROM prm.accumulator i
      WHERE i.program_id = _cancel_unsettled.program_id AND i.purpose = p.purpose AND i.lineage_id = p.lineage_id AND i.plan_id = p.plan_id AND i.partner_id = p.partner_id
        AND i.customer_id = p.customer_id AND i.credit_type = p.credit_type AND i.window_start = p.window_start OFFSET 0) a
  ), steps AS (
    INSERT INTO prm.accumulator_entry (program_id, purpose, lineage_id, plan_id, partner_id, customer_id, credit_type, window_start, sequence_no, earning_event_id,
        entry_id, amount, amount_before, basis_before, recorded_at)
      SELECT _cancel_unsettled.program_id, c.purpose, c.lineage_id, c.plan_id, c.partner_id, c.customer_id, c.credit_type, c.window_start, c.entries + c.place,
        c.earning_event_id, c.entry_id, -c.amount, c.amount_before - c.gone, c.basis_before, the_moment
      FROM counted c ORDER BY c.entry_id
  )
  UPDATE prm.accumulator a SET amount = a.amount - c.gone - c.amount, entries = a.entries + c.place
    FROM counted c
    WHERE c.is_last AND a.program_id = _cancel_unsettled.program_id AND a.purpose = c.purpose AND a.lineage_id = c.lineage_id AND a.plan_id = c.plan_id
      AND a.partner_id = c.partner_id AND a.customer_id = c.customer_id AND a.credit_type = c.credit_type AND a.window_start = c.window_start;
  RETURN cardinality(the_new);
END
$prm$;
COMMENT ON FUNCTION prm._cancel_unsettled(bigint, bigint[], bigint[], boolean) IS
'Cancels what banned partners earned and is on no statement yet: a reversal of what is left of each entry (of the events given, or for NULL of all), and the use of caps goes down by it. What a partner owes stays. again: only what was canceled before and was refunded since is brought back to nothing. Returns how many entries were canceled.';

CREATE FUNCTION prm._cancel_banned(program_id bigint, earning_event_ids bigint[]) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_banned bigint[];
  the_pardoned bigint[];
  the_events bigint[];
  the_count bigint := 0;
BEGIN
  SELECT array_agg(DISTINCT k.partner_id) INTO the_banned FROM prm.risk_event k WHERE k.program_id = _cancel_banned.program_id AND k.state = 'banned';
  -- A refund of what was canceled must not leave anything of it either, so its sale is looked at as well.
  SELECT array_agg(e.earning_event_id) || coalesce(array_agg(e.applies_to_id) FILTER (WHERE e.applies_to_id IS NOT NULL), '{}') INTO the_events
    FROM prm.earning_event e WHERE e.program_id = _cancel_banned.program_id AND e.earning_event_id = ANY (_cancel_banned.earning_event_ids);
  SELECT array_agg(DISTINCT l.partner_id) FILTER (WHERE l.partner_id = ANY (the_banned)),
      array_agg(DISTINCT l.partner_id) FILTER (WHERE (l.partner_id = ANY (the_banned)) IS NOT TRUE AND l.idempotency_key LIKE 'cancel/%')
    INTO the_banned, the_pardoned FROM prm.ledger l
    WHERE l.program_id = _cancel_banned.program_id AND l.earning_event_id = ANY (the_events);
  IF the_banned IS NOT NULL THEN
    the_count := prm._cancel_unsettled(_cancel_banned.program_id, the_banned, the_events, false);
  END IF;
  IF the_pardoned IS NOT NULL THEN
    the_count := the_count + prm._cancel_unsettled(_cancel_banned.program_id, the_pardoned, the_events, true);
  END IF;
  RETURN the_count;
END
$prm$;
COMMENT ON FUNCTION prm._cancel_banned(bigint, bigint[]) IS 'Cancels what banned partners earned on these events and on what they refund; what a lifted ban had canceled stays so. Returns how many entries were canceled.';

CREATE FUNCTION prm._assess_events(program_id bigint, earning_event_ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_findings prm.risk_finding[];
BEGIN
  SELECT array_agg(f) INTO the_findings FROM prm._find_event_risks(_assess_events.program_id, _assess_events.earning_event_ids) f;
  IF the_findings IS NOT NULL THEN
    PERFORM prm._raise_risks(_assess_events.program_id, the_findings, false);
  END IF;
  PERFORM prm._cancel_banned(_assess_events.program_id, _assess_events.earning_event_ids);
END
$prm$;
COMMENT ON FUNCTION prm._assess_events(bigint, bigint[]) IS
'What follows from earning events after they accrued: the risk rules look at them, and what banned partners earned is canceled.';

CREATE FUNCTION prm._work_risks(program_id bigint, batch integer) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_count bigint;
BEGIN
  WITH due AS (
    SELECT k.risk_event_id FROM prm.risk_event k
    WHERE k.program_id = _work_risks.program_id AND k.state = 'open' AND k.expires_at <= prm.now()
    ORDER BY k.expires_at, k.risk_event_id LIMIT _work_risks.batch FOR UPDATE SKIP LOCKED
  )
  UPDATE prm.risk_event k SET state = 'expired', reason = 'nobody resolved it in time'
  FROM due d WHERE k.program_id = _work_risks.program_id AND k.risk_event_id = d.risk_event_id;
  GET DIAGNOSTICS the_count = ROW_COUNT;
  RETURN the_count;
END
$prm$;
COMMENT ON FUNCTION prm._work_risks(bigint, integer) IS 'One batch of the job risks: expires risk events whose days are over, which releases what they held. Returns how many.';

CREATE FUNCTION prm._work_risk_review(program_id bigint) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_findings prm.risk_finding[];
  the_banned bigint[];
  the_events bigint[];
  the_count bigint := 0;
BEGIN
  SELECT array_agg(f) INTO the_findings FROM prm._find_account_risks(_work_risk_review.program_id) f;
  IF the_findings IS NOT NULL THEN
    the_count := prm._raise_risks(_work_risk_review.program_id, the_findings, true);
  END IF;
  -- What a transaction earned for a partner whose ban it could not see yet.
  SELECT array_agg(DISTINCT k.partner_id) INTO the_banned FROM prm.risk_event k WHERE k.program_id = _work_risk_review.program_id AND k.state = 'banned';
  SELECT array_agg(DISTINCT l.earning_event_id) INTO the_events FROM prm.ledger l
    WHERE l.program_id = _work_risk_review.program_id AND l.partner_id = ANY (the_banned) AND l.earning_event_id IS NOT NULL
      AND l.recorded_at > clock_timestamp() - interval '7 days';
  IF the_events IS NOT NULL THEN
    the_count := the_count + prm._cancel_banned(_work_risk_review.program_id, the_events);
  END IF;
  RETURN the_count;
END
$prm$;
COMMENT ON FUNCTION prm._work_risk_review(bigint) IS
'The job risk_review, once per business day: looks for duplicate and barred accounts among all partners, and cancels what a transaction earned for a partner while it was being banned. Returns how many risk events and entries that were.';

CREATE FUNCTION prm._check_reason(reason text, what text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  IF coalesce(btrim(_check_reason.reason), '') = '' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('%s needs a reason', _check_reason.what),
      DETAIL = 'The reason given is empty.', HINT = 'Say in a few words why; it is kept with the decision.';
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._check_reason(text, text) IS 'Refuses an empty reason (22023).';

CREATE FUNCTION prm.resolve_risk(risk_event_id bigint, outcome text, reason text, program_id bigint DEFAULT prm.current_program()) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(resolve_risk.program_id);
  the_state text;
BEGIN
  IF resolve_risk.outcome IS NULL OR resolve_risk.outcome NOT IN ('benign', 'banned') THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('a risk cannot be resolved as "%s"', coalesce(resolve_risk.outcome, 'NULL')),
      DETAIL = 'The outcomes are benign (what was held is released) and banned (what is not settled is canceled).',
      HINT = format('SELECT prm.resolve_risk(%s, ''benign'', ''...'').', resolve_risk.risk_event_id);
  END IF;
  PERFORM prm._check_reason(resolve_risk.reason, 'the resolution of a risk');
  SELECT k.state INTO the_state FROM prm.risk_event k WHERE k.program_id = the_program AND k.risk_event_id = resolve_risk.risk_event_id;
  IF the_state IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no risk event %s', coalesce(resolve_risk.risk_event_id::text, 'NULL')),
      DETAIL = format('It was looked for in programme %s.', the_program), HINT = 'SELECT * FROM prm.v_risk_event WHERE state = ''open'' lists what is to be resolved.';
  END IF;
  -- Of two who decide at once the second must not overrule the first unseen: benign would lift the other's ban.
  UPDATE prm.risk_event k SET state = resolve_risk.outcome, reason = btrim(resolve_risk.reason)
    WHERE k.program_id = the_program AND k.risk_event_id = resolve_risk.risk_event_id AND k.state = the_state;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('risk event %s was resolved by somebody else meanwhile', resolve_risk.risk_event_id),
      DETAIL = 'The state in which you saw it is no longer the present one.', HINT = 'SELECT * FROM prm.v_risk_event shows what was decided.', SCHEMA = 'prm', TABLE = 'risk_event';
  END IF;
  RETURN resolve_risk.outcome;
END
$prm$;
COMMENT ON FUNCTION prm.resolve_risk(bigint, text, text, bigint) IS
'Decides about a risk event. benign: what it held is released. banned: what the partner earned and is on no statement is canceled by reversals, and so is what it earns later, until the event is resolved as benign after all (what was canceled stays so). Returns the outcome. Errors: 22023 outcome or reason, 42704 unknown event, 55000 it is resolved already, 42501 a partner.';

CREATE FUNCTION prm.hold_entry(entry_id bigint, reason text, program_id bigint DEFAULT prm.current_program()) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(hold_entry.program_id);
  the_hold bigint;
BEGIN
  PERFORM prm._check_reason(hold_entry.reason, 'a hold');
  IF hold_entry.entry_id IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a hold needs a ledger entry', DETAIL = 'entry_id is NULL.',
      HINT = 'SELECT prm.hold_partner(partner_id, reason) holds all that a partner earned.';
  END IF;
  INSERT INTO prm.ledger_hold (program_id, entry_id, kind, reason) VALUES (the_program, hold_entry.entry_id, 'manual', btrim(hold_entry.reason))
    RETURNING hold_id INTO the_hold;
  RETURN the_hold;
END
$prm$;
COMMENT ON FUNCTION prm.hold_entry(bigint, text, bigint) IS
'Keeps one ledger entry from being paid until release_hold(). Returns the number of the hold. Errors: 22023 no reason, 42704 unknown entry, 55000 it is on a statement already, 42501 a partner.';

CREATE FUNCTION prm.hold_partner(partner_id bigint, reason text, program_id bigint DEFAULT prm.current_program()) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(hold_partner.program_id);
  the_hold bigint;
BEGIN
  PERFORM prm._check_reason(hold_partner.reason, 'a hold');
  IF NOT EXISTS (SELECT 1 FROM prm.partner p WHERE p.program_id = the_program AND p.partner_id = hold_partner.partner_id) THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no partner %s', coalesce(hold_partner.partner_id::text, 'NULL')),
      DETAIL = format('It was looked for in programme %s.', the_program), HINT = 'SELECT partner_id, name FROM prm.partner lists the partners.';
  END IF;
  INSERT INTO prm.ledger_hold (program_id, partner_id, kind, reason) VALUES (the_program, hold_partner.partner_id, 'manual', btrim(hold_partner.reason))
    RETURNING hold_id INTO the_hold;
  RETURN the_hold;
END
$prm$;
COMMENT ON FUNCTION prm.hold_partner(bigint, text, bigint) IS
'Keeps all that a partner earned, and earns while it stands, from being paid until release_hold(). Returns the number of the hold. Errors: 22023 no reason, 42704 unknown partner, 42501 a partner.';

CREATE FUNCTION prm.release_hold(hold_id bigint, reason text, program_id bigint DEFAULT prm.current_program()) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(release_hold.program_id);
  the_hold bigint;
BEGIN
  PERFORM prm._check_reason(release_hold.reason, 'the end of a hold');
  IF release_hold.hold_id IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'no hold is given', DETAIL = 'hold_id is NULL.', HINT = 'SELECT * FROM prm.v_hold WHERE stands lists the holds.';
  END IF;
  IF EXISTS (SELECT 1 FROM prm.ledger_hold h WHERE h.program_id = the_program AND h.hold_id = release_hold.hold_id AND h.kind = 'dispute') THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('hold %s belongs to a dispute', release_hold.hold_id),
      DETAIL = 'It ends when the dispute is resolved.', HINT = 'Resolve the dispute.';
  END IF;
  INSERT INTO prm.ledger_hold (program_id, hold_ref, action, reason) VALUES (the_program, release_hold.hold_id, 'release', btrim(release_hold.reason))
    RETURNING hold_id INTO the_hold;
  RETURN the_hold;
END
$prm$;
COMMENT ON FUNCTION prm.release_hold(bigint, text, bigint) IS
'Ends a hold. Returns the number of the row that ends it. Errors: 22023 no reason, 42704 unknown hold, 55000 it has ended already or belongs to a risk event (use resolve_risk()) or to a dispute, 42501 a partner.';
