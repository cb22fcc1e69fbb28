
-- Earning, for people: why an event paid what it paid, and the next version of a rule.

CREATE TYPE prm.commission_explanation AS (step integer, partner_id bigint, plan_id bigint, component text, rule_id bigint, outcome text, reason text,
  amount numeric, currency text, basis_amount numeric, part_lower numeric, part_upper numeric, rate numeric, credit_type text, entry_id bigint,
  level integer, seller_id bigint, override_mode text, reason_code text, measure text, measure_amount numeric, attained_before numeric, window_start date,
  exchange_rate numeric, unpaid_amount numeric, cause_entry_id bigint);
COMMENT ON TYPE prm.commission_explanation IS 'A row of explain_commission().';
COMMENT ON COLUMN prm.commission_explanation.step IS 'Order of the explanation, from 1.';
COMMENT ON COLUMN prm.commission_explanation.partner_id IS 'Who is credited, or paid: the seller, or at a level above 0 one of its parents.';
COMMENT ON COLUMN prm.commission_explanation.plan_id IS 'The commission plan.';
COMMENT ON COLUMN prm.commission_explanation.component IS 'The component of the plan; components add up.';
COMMENT ON COLUMN prm.commission_explanation.rule_id IS 'The rule that the row is about.';
COMMENT ON COLUMN prm.commission_explanation.outcome IS
'credit (what the partner is credited with), won, then what the winner is made of: attained (what was counted before), recurring (which month it is), part (a bracket), below (what other rows change), converted (into the currency of the event), capped, rounding; unpaid (won, but nothing can be paid), lost (another rule won), no_match, nothing (why nothing was earned at all); entry (the ledger), refund (what is taken back, or was), breakage (what was recorded as not paid).';
COMMENT ON COLUMN prm.commission_explanation.reason IS 'Why, in words.';
COMMENT ON COLUMN prm.commission_explanation.amount IS
'Money: what a rule pays or would pay, what a part earns (not rounded), what the ledger holds. What a winner is made of sums to it, in its own currency: part, below, converted, capped and rounding.';
COMMENT ON COLUMN prm.commission_explanation.currency IS 'Currency of amount, ISO 4217; parts are in the currency of the plan.';
COMMENT ON COLUMN prm.commission_explanation.basis_amount IS 'What is paid on: the share of the credit, the basis of a rule, the slice of a part.';
COMMENT ON COLUMN prm.commission_explanation.part_lower IS 'Lower bound of the part''s bracket.';
COMMENT ON COLUMN prm.commission_explanation.part_upper IS 'Upper bound of the part''s bracket; NULL for the last one.';
COMMENT ON COLUMN prm.commission_explanation.rate IS 'Factor that was applied (0.05 is 5%); NULL for a fixed amount.';
COMMENT ON COLUMN prm.commission_explanation.credit_type IS 'The type of the credit: sourced, influenced ...';
COMMENT ON COLUMN prm.commission_explanation.entry_id IS 'The ledger entry.';
COMMENT ON COLUMN prm.commission_explanation.level IS '0 for the seller, 1 for its parent ...';
COMMENT ON COLUMN prm.commission_explanation.seller_id IS 'The credited partner.';
COMMENT ON COLUMN prm.commission_explanation.override_mode IS 'How a level above 0 is paid: percent_of_sale, percent_of_below ...';
COMMENT ON COLUMN prm.commission_explanation.reason_code IS 'The reason in one word, where a winner pays nothing or less: below_minimum, capped, no_exchange_rate ...';
COMMENT ON COLUMN prm.commission_explanation.measure IS 'What is looked up and counted.';
COMMENT ON COLUMN prm.commission_explanation.measure_amount IS 'How much of it this event brings.';
COMMENT ON COLUMN prm.commission_explanation.attained_before IS 'What had been counted in the window before.';
COMMENT ON COLUMN prm.commission_explanation.window_start IS 'First day of the window; -infinity for lifetime.';
COMMENT ON COLUMN prm.commission_explanation.exchange_rate IS 'How much of the plan''s currency one unit of the event''s currency was worth.';
COMMENT ON COLUMN prm.commission_explanation.unpaid_amount IS 'What the winner would have paid and did not.';
COMMENT ON COLUMN prm.commission_explanation.cause_entry_id IS 'The entry below, or the one that is given back.';

CREATE FUNCTION prm._part_reason(part prm.commission_part) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
  SELECT format('%s from %s%s', trim_scale((_part_reason.part).amount), trim_scale((_part_reason.part).lower),
      coalesce(' to ' || trim_scale((_part_reason.part).upper), ' on'))
    || CASE WHEN (_part_reason.part).rate IS NULL THEN ': a fixed amount'
            WHEN (_part_reason.part).commission = (_part_reason.part).amount * (_part_reason.part).rate AND abs((_part_reason.part).rate) <= 1
              THEN format(' at %s%%', trim_scale((_part_reason.part).rate * 100))
            ELSE format(' at %s each', trim_scale((_part_reason.part).rate)) END
$prm$;
COMMENT ON FUNCTION prm._part_reason(prm.commission_part) IS 'A part of a commission in words.';

CREATE FUNCTION prm._winner_steps(won_row prm.earning_outcome, program_id bigint) RETURNS SETOF prm.commission_explanation
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  winner prm.earning_outcome := _winner_steps.won_row;
  rule prm.commission_rule;
  started prm.recurring_start;
  the_plan_currency text;
  the_window text;
  the_customer bigint;
  the_sign integer := 1;
  the_sum numeric := 0;
  piece prm.commission_part;
  found_one record;
  the_head prm.commission_explanation;
  result prm.commission_explanation;
BEGIN
  SELECT r.* INTO rule FROM prm.commission_rule r WHERE r.program_id = _winner_steps.program_id AND r.rule_id = winner.rule_id;
  SELECT p.currency INTO the_plan_currency FROM prm.commission_plan p WHERE p.program_id = _winner_steps.program_id AND p.plan_id = winner.plan_id;
  the_head.partner_id := winner.partner_id;
  the_head.plan_id := winner.plan_id;
  the_head.component := winner.component;
  the_head.rule_id := winner.rule_id;
  the_head.credit_type := winner.credit_type;
  the_head.level := winner.level;
  the_head.seller_id := winner.seller_id;

  IF winner.window_start IS NOT NULL AND rule.accumulate <> 'transaction' THEN
    the_window := CASE WHEN isfinite(winner.window_start) THEN format('in the %s from %s', replace(rule.window_kind, '_', ' '), to_char(winner.window_start, 'YYYY-MM-DD'))
      ELSE 'ever' END;
    result := the_head;
    result.outcome := 'attained';
    result.measure := winner.measure;
    result.measure_amount := winner.measure_amount;
    result.attained_before := winner.attained_before;
    result.window_start := winner.window_start;
    result.reason := format('%s of %s was counted %s before; ', trim_scale(coalesce(winner.attained_before, 0)),
        CASE WHEN winner.measure = 'attainment' THEN winner.basis ELSE winner.measure END, the_window)
      || CASE WHEN winner.measure = 'attainment' THEN format('with this event %s of the quota', trim_scale(round(winner.measure_amount, 6)))
              WHEN rule.accumulate = 'lookup' THEN format('with this event %s, which chooses the bracket', trim_scale(winner.attained_before + winner.measure_amount))
              WHEN winner.measure <> winner.basis THEN format('with this event %s', trim_scale(winner.attained_before + winner.measure_amount))
              ELSE format('the event pays F(%s) - F(%s)', trim_scale(winner.attained_before + winner.measure_amount), trim_scale(winner.attained_before)) END;
    RETURN NEXT result;
  END IF;
  SELECT e.customer_id INTO the_customer FROM prm.earning_event e WHERE e.program_id = _winner_steps.program_id AND e.earning_event_id = winner.earning_event_id;
  SELECT s.* INTO started FROM prm.recurring_start s WHERE s.program_id = _winner_steps.program_id AND s.plan_id = winner.plan_id
    AND s.component = winner.component AND s.partner_id = winner.partner_id AND s.customer_id = the_customer;
  IF rule.recurring_months IS NOT NULL AND started.started_on IS NOT NULL THEN
    result := the_head;
    result.outcome := 'recurring';
    result.reason := CASE WHEN rule.recurring_months = 0 THEN format('pays the first sale to the customer only, which was on %s', to_char(started.started_on, 'YYYY-MM-DD'))
      ELSE format('pays for %s months from the first sale to the customer on %s, until %s', rule.recurring_months, to_char(started.started_on, 'YYYY-MM-DD'),
        to_char((started.started_on + make_interval(months => rule.recurring_months))::date - 1, 'YYYY-MM-DD')) END;
    RETURN NEXT result;
  END IF;

  -- What is owed is computed as what is earned, and negated.
  IF winner.entry_kind IN ('royalty', 'fee') THEN
    the_sign := -1;
  END IF;
  result := the_head;
  result.currency := the_plan_currency;
  result.outcome := 'part';
  IF winner.measure = winner.basis AND rule.accumulate <> 'lookup' THEN
    FOR piece IN SELECT p.* FROM prm.commission_parts(winner.schedule::prm.commission_schedule, winner.basis_amount,
        CASE WHEN rule.accumulate = 'cumulative' THEN winner.attained_before ELSE 0 END) p ORDER BY p.part
    LOOP
      result.reason := prm._part_reason(piece);
      result.amount := the_sign * piece.commission;
      result.basis_amount := piece.amount;
      result.part_lower := piece.lower;
      result.part_upper := piece.upper;
      result.rate := piece.rate;
      the_sum := the_sum + result.amount;
      RETURN NEXT result;
    END LOOP;
  ELSE
    -- The bracket is found by one thing and pays on another: on this event, or on all of the window less what it was before.
    FOR found_one IN
      SELECT b.*, p.lower, p.upper, p.rate
      FROM (SELECT 1 AS place, 1 AS factor, CASE WHEN winner.measure = 'attainment' OR rule.accumulate = 'transaction' THEN winner.measure_amount
              ELSE winner.attained_before + winner.measure_amount END AS measured,
            winner.basis_amount + CASE WHEN rule.accumulate = 'cumulative' THEN winner.basis_before ELSE 0 END AS basis
          UNION ALL
          SELECT 2, -1, CASE WHEN winner.measure <> 'attainment' THEN winner.attained_before
              WHEN winner.measure_amount <> 0 THEN winner.attained_before * winner.measure_amount / (winner.attained_before + winner.basis_amount) END, winner.basis_before
            WHERE rule.accumulate = 'cumulative' AND winner.basis_before <> 0) b
      CROSS JOIN LATERAL (SELECT i.* FROM prm.commission_parts(winner.schedule::prm.commission_schedule, b.measured) i ORDER BY i.upper DESC NULLS FIRST LIMIT 1) p
      ORDER BY b.place
    LOOP
      result.reason := format('%s %s from %s%s, so %s', trim_scale(round(found_one.measured, 6)), CASE WHEN winner.measure = 'attainment' THEN 'of the quota lies' ELSE winner.measure || ' lies' END,
        trim_scale(found_one.lower), coalesce(' to ' || trim_scale(found_one.upper), ' on'),
        CASE WHEN found_one.rate IS NULL THEN 'a fixed amount' WHEN abs(found_one.rate) <= 1 THEN format('%s%% of %s', trim_scale(found_one.rate * 100), trim_scale(found_one.basis))
          ELSE format('%s each of %s', trim_scale(found_one.rate), trim_scale(found_one.basis)) END)
        || CASE WHEN found_one.place = 2 THEN ', which was due before' ELSE '' END;
      result.amount := the_sign * found_one.factor * prm._bracket_pays(winner.schedule::prm.commission_schedule, found_one.measured, found_one.basis);
      result.basis_amount := found_one.basis;
      result.part_lower := found_one.lower;
      result.part_upper := found_one.upper;
      result.rate := found_one.rate;
      the_sum := the_sum + result.amount;
      RETURN NEXT result;
    END LOOP;
  END IF;
  IF the_sum <> the_sign * winner.commission THEN
    result := the_head;
    result.outcome := 'below';
    result.currency := the_plan_currency;
    result.override_mode := winner.override_mode;
    result.cause_entry_id := winner.cause_entry_id;
    result.amount := the_sign * winner.commission - the_sum;
    result.reason := CASE winner.override_mode
      WHEN 'differential' THEN 'less what the levels below are paid'
      WHEN 'lower_of_plans' THEN 'no more than the plan of the seller would pay'
      ELSE 'what division cannot express exactly' END;
    RETURN NEXT result;
  END IF;
  the_sum := the_sign * winner.commission;

  IF the_plan_currency <> winner.currency THEN
    the_sum := trim_scale(the_sum / winner.exchange_rate);
    result := the_head;
    result.outcome := 'converted';
    result.currency := winner.currency;
    result.exchange_rate := winner.exchange_rate;
    result.amount := the_sum;
    result.reason := format('1 %s was %s %s on %s', winner.currency, trim_scale(winner.exchange_rate), the_plan_currency, to_char(winner.earned_on, 'YYYY-MM-DD'));
    RETURN NEXT result;
  END IF;
  IF coalesce(winner.unpaid_amount, 0) <> 0 THEN
    result := the_head;
    result.outcome := 'capped';
    result.currency := winner.currency;
    result.amount := -winner.unpaid_amount;
    result.unpaid_amount := winner.unpaid_amount;
    result.reason_code := coalesce(winner.reason_code, 'capped');
    result.reason := format('at most %s %s are paid%s%s; %s were used before', trim_scale(rule.cap_amount), the_plan_currency,
      CASE rule.cap_scope WHEN 'customer' THEN ' per customer' WHEN 'programme' THEN ' in the whole programme' WHEN 'plan' THEN ' by the whole plan'
        WHEN 'event' THEN ' per event' ELSE ' per partner' END,
      CASE WHEN coalesce(rule.cap_window, 'lifetime') = 'lifetime' THEN '' ELSE format(' and %s', replace(rule.cap_window, '_', ' ')) END,
      trim_scale(coalesce(winner.cap_used_before, 0)));
    RETURN NEXT result;
    the_sum := the_sum - winner.unpaid_amount;
  END IF;
  IF winner.amount <> the_sum THEN
    result := the_head;
    result.outcome := 'rounding';
    result.currency := winner.currency;
    result.amount := winner.amount - the_sum;
    result.reason := format('to the minor unit of %s', winner.currency);
    RETURN NEXT result;
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._winner_steps(prm.earning_outcome, bigint) IS
'What the amount of a winning rule is made of: what was attained, the parts, what levels below change, conversion, cap and rounding. They sum to the amount.';

CREATE FUNCTION prm._refund_steps(refund_id bigint, program_id bigint) RETURNS SETOF prm.commission_explanation
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  refund prm.earning_event;
  the_zone constant text := prm._program_time_zone(_refund_steps.program_id);
  original prm.earning_event;
  the_refunded numeric;
  the_last date;
  piece record;
  result prm.commission_explanation;
  nothing prm.commission_explanation;
BEGIN
  SELECT e.* INTO refund FROM prm.earning_event e WHERE e.program_id = _refund_steps.program_id AND e.earning_event_id = _refund_steps.refund_id;
  SELECT e.* INTO original FROM prm.earning_event e WHERE e.program_id = refund.program_id AND e.earning_event_id = refund.applies_to_id;
  SELECT -sum(e.amount) INTO the_refunded FROM prm.earning_event e
    WHERE e.program_id = refund.program_id AND e.applies_to_id = refund.applies_to_id AND e.kind = 'refunded'
      AND (e.recorded_at, e.occurred_at, e.earning_event_id) <= (refund.recorded_at, refund.occurred_at, refund.earning_event_id);
  SELECT CASE WHEN bool_or(l.earning_event_id = refund.earning_event_id) THEN 'refund' ELSE 'nothing' END,
      CASE
        WHEN bool_or(l.earning_event_id = refund.earning_event_id) THEN format('refunds %s of event %s', trim_scale(-refund.amount), refund.applies_to_id)
        WHEN bool_or(l.earning_event_id = refund.applies_to_id) THEN 'nothing is taken back, because the refund came after the days of the plan, or it rounds to zero'
        ELSE format('nothing is taken back, because event %s earned nothing', refund.applies_to_id) END
    INTO result.outcome, result.reason
    FROM prm.ledger l WHERE l.program_id = refund.program_id AND l.earning_event_id IN (refund.earning_event_id, refund.applies_to_id);
  result.basis_amount := refund.amount;
  result.currency := refund.currency;
  RETURN NEXT result;
  FOR piece IN
    SELECT l.*, p.clawback_days, coalesce(g.amount, 0) AS given_back, coalesce(b.amount, 0) AS given_before
    FROM prm.ledger l
    LEFT JOIN prm.commission_plan p ON p.program_id = l.program_id AND p.plan_id = l.plan_id
    LEFT JOIN LATERAL (SELECT sum(i.amount) AS amount FROM prm.ledger i WHERE i.program_id = refund.program_id AND i.cause_entry_id = l.entry_id
      AND i.earning_event_id = refund.earning_event_id AND i.kind IN ('reversal', 'clawback') AND i.idempotency_key NOT LIKE 'cancel/%') g ON true
    LEFT JOIN LATERAL (SELECT sum(i.amount) AS amount FROM prm.ledger i WHERE i.program_id = refund.program_id AND i.cause_entry_id = l.entry_id
      AND i.earning_event_id <> refund.earning_event_id AND i.kind IN ('reversal', 'clawback') AND i.idempotency_key NOT LIKE 'cancel/%'
      AND i.entry_id < coalesce((SELECT min(n.entry_id) FROM prm.ledger n WHERE n.program_id = refund.program_id AND n.earning_event_id = refund.earning_event_id), i.entry_id + 1)) b ON true
    WHERE l.program_id = refund.program_id AND l.earning_event_id = refund.applies_to_id AND l.kind IN ('commission', 'override', 'bonus', 'royalty', 'fee')
    ORDER BY l.entry_id
  LOOP
    the_last := (original.occurred_at AT TIME ZONE the_zone)::date + piece.clawback_days;
    -- What is given back stands among the entries; here is why some entries give back nothing.
    CONTINUE WHEN piece.given_back <> 0;
    result := nothing;
    result.outcome := 'nothing';
    result.partner_id := piece.partner_id;
    result.plan_id := piece.plan_id;
    result.component := piece.component;
    result.rule_id := piece.rule_id;
    result.credit_type := piece.credit_type;
    result.level := piece.level;
    result.cause_entry_id := piece.entry_id;
    result.currency := piece.currency;
    result.amount := 0;
    result.reason := format('entry %s gives nothing back: ', piece.entry_id)
      || CASE WHEN refund.occurred_at > ((original.occurred_at AT TIME ZONE the_zone) + make_interval(days => piece.clawback_days)) AT TIME ZONE the_zone
           THEN format('the plan takes back until %s only', to_char(the_last, 'YYYY-MM-DD'))
         WHEN piece.given_before = -piece.amount THEN 'it was given back before'
         ELSE format('of %s, %s of %s refunded is no more than was given back before', trim_scale(piece.amount), trim_scale(the_refunded), trim_scale(original.amount)) END;
    RETURN NEXT result;
  END LOOP;
END
$prm$;
COMMENT ON FUNCTION prm._refund_steps(bigint, bigint) IS 'What a refund takes back, and of each entry that gives nothing back why not.';

CREATE FUNCTION prm.explain_commission(earning_event_id bigint, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.commission_explanation
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(explain_commission.program_id);
  event prm.earning_event;
  result prm.commission_explanation;
  nothing prm.commission_explanation;
  found_one prm.earning_outcome;
  piece record;
  the_step integer := 0;
  the_credit text;
  the_plan bigint;
BEGIN
  SELECT e.* INTO event FROM prm.earning_event e WHERE e.program_id = the_program AND e.earning_event_id = explain_commission.earning_event_id;
  IF event.earning_event_id IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no earning event %s', explain_commission.earning_event_id),
      DETAIL = format('It was looked for in programme %s.', the_program), HINT = 'SELECT * FROM prm.v_earning lists the events and their deals.';
  END IF;

  IF event.kind = 'refunded' THEN
    FOR result IN SELECT s.* FROM prm._refund_steps(event.earning_event_id, the_program) s
    LOOP
      the_step := the_step + 1;
      result.step := the_step;
      RETURN NEXT result;
    END LOOP;
  END IF;

  FOR found_one IN
    SELECT o.*
    FROM prm._earning_outcome(the_program, ARRAY[event.earning_event_id], 'explain') o
    WHERE event.kind <> 'refunded'
    ORDER BY o.credit_type, o.seller_id, o.plan_id, o.outcome = 'no_match', o.level, o.partner_id, o.component, o.place, o.rule_id
  LOOP
    IF the_credit IS DISTINCT FROM format('%s %s', found_one.seller_id, found_one.credit_type) THEN
      the_credit := format('%s %s', found_one.seller_id, found_one.credit_type);
      the_plan := NULL;
      the_step := the_step + 1;
      result := nothing;
      result.step := the_step;
      result.partner_id := found_one.seller_id;
      result.seller_id := found_one.seller_id;
      result.credit_type := found_one.credit_type;
      result.outcome := 'credit';
      result.reason := format('%s credit, %s%% of the event', found_one.credit_type, trim_scale(found_one.weight));
      result.basis_amount := found_one.share;
      result.currency := event.currency;
      RETURN NEXT result;
    END IF;
    result := nothing;
    result.partner_id := found_one.partner_id;
    result.seller_id := found_one.seller_id;
    result.credit_type := found_one.credit_type;
    result.plan_id := found_one.plan_id;
    IF the_plan IS DISTINCT FROM found_one.plan_id THEN
      the_plan := found_one.plan_id;
      -- What does not match comes last of a plan, so a plan that begins with it has nothing else.
      IF found_one.outcome = 'no_match' THEN
        the_step := the_step + 1;
        result.step := the_step;
        result.outcome := 'nothing';
        result.partner_id := found_one.seller_id;
        result.reason := format('nothing, because there is no matching rule in plan "%s"', found_one.plan_name);
        RETURN NEXT result;
        result.partner_id := found_one.partner_id;
      END IF;
    END IF;
    the_step := the_step + 1;
    result.step := the_step;
    result.component := found_one.component;
    result.rule_id := found_one.rule_id;
    result.outcome := found_one.outcome;
    result.level := found_one.level;
    result.override_mode := found_one.override_mode;
    result.reason_code := found_one.reason_code;
    result.cause_entry_id := found_one.cause_entry_id;
    result.reason := concat_ws(': ', CASE WHEN found_one.level > 0 THEN format('level %s, %s', found_one.level, coalesce(replace(found_one.override_mode, '_', ' '), 'override')) END,
      found_one.rule_label, found_one.reason || CASE WHEN found_one.outcome = 'won' THEN ', ' || found_one.schedule ELSE '' END);
    result.amount := CASE WHEN found_one.outcome = 'won' THEN found_one.amount
      WHEN found_one.outcome = 'lost' THEN found_one.commission WHEN found_one.outcome = 'unpaid' THEN 0 END;
    result.currency := CASE WHEN result.amount IS NOT NULL THEN found_one.currency END;
    IF found_one.outcome <> 'no_match' THEN
      result.basis_amount := found_one.basis_amount;
      result.measure := found_one.measure;
      result.measure_amount := found_one.measure_amount;
      result.attained_before := found_one.attained_before;
      result.window_start := found_one.window_start;
      result.exchange_rate := found_one.exchange_rate;
      result.unpaid_amount := found_one.unpaid_amount;
    END IF;
    RETURN NEXT result;
    CONTINUE WHEN found_one.outcome <> 'won';

    FOR result IN SELECT s.* FROM prm._winner_steps(found_one, the_program) s
    LOOP
      the_step := the_step + 1;
      result.step := the_step;
      RETURN NEXT result;
    END LOOP;
    IF NOT EXISTS (SELECT 1 FROM prm.ledger l WHERE l.program_id = the_program AND l.earning_event_id = event.earning_event_id
                   AND l.partner_id = found_one.partner_id AND l.credit_type = found_one.credit_type AND l.lineage_id = found_one.lineage_id
                   AND l.level = found_one.level) THEN
      the_step := the_step + 1;
      result := nothing;
      result.step := the_step;
      result.partner_id := found_one.partner_id;
      result.seller_id := found_one.seller_id;
      result.credit_type := found_one.credit_type;
      result.plan_id := found_one.plan_id;
      result.component := found_one.component;
      result.rule_id := found_one.rule_id;
      result.level := found_one.level;
      result.outcome := 'nothing';
      result.reason := 'the ledger has no entry of this rule: it was written after the event was recorded';
      result.currency := found_one.currency;
      result.amount := 0;
      RETURN NEXT result;
    END IF;
  END LOOP;

  IF the_step = 0 THEN
    the_step := 1;
    result := nothing;
    result.step := 1;
    result.outcome := 'nothing';
    result.partner_id := event.partner_id;
    result.reason := CASE
      WHEN NOT EXISTS (SELECT 1 FROM prm.commission_plan p WHERE p.program_id = the_program AND p.is_active AND p.earn_on = event.kind)
        THEN format('nothing, because no plan in force earns on events of kind %s', event.kind)
      ELSE 'nothing, because no partner is credited with the event' END;
    RETURN NEXT result;
  END IF;

  -- What the ledger has of the event, and what later refunds took of it.
  FOR piece IN
    SELECT l.*, r.occurred_at AS refunded_at FROM prm.ledger l
    LEFT JOIN prm.earning_event r ON r.program_id = the_program AND r.earning_event_id = l.earning_event_id AND r.applies_to_id = event.earning_event_id
      AND r.kind = 'refunded'
    WHERE l.program_id = the_program AND (l.earning_event_id = event.earning_event_id
      OR l.earning_event_id IN (SELECT e.earning_event_id FROM prm.earning_event e WHERE e.program_id = the_program AND e.applies_to_id = event.earning_event_id AND e.kind = 'refunded'))
    ORDER BY l.earning_event_id <> event.earning_event_id, l.entry_id
  LOOP
    the_step := the_step + 1;
    result := nothing;
    result.step := the_step;
    result.partner_id := piece.partner_id;
    result.credit_type := piece.credit_type;
    result.plan_id := piece.plan_id;
    result.component := piece.component;
    result.rule_id := piece.rule_id;
    result.entry_id := piece.entry_id;
    result.cause_entry_id := piece.cause_entry_id;
    result.level := piece.level;
    result.attained_before := piece.attained_before;
    IF piece.refunded_at IS NULL THEN
      result.outcome := 'entry';
      result.reason := concat_ws(': ', format('in the ledger as %s%s, earned on %s, payable from %s', piece.kind, ' of entry ' || piece.cause_entry_id, to_char(piece.earned_on, 'YYYY-MM-DD'),
        to_char(piece.eligible_at AT TIME ZONE prm._program_time_zone(the_program), 'YYYY-MM-DD')), piece.reason);
    ELSE
      result.outcome := 'refund';
      result.reason := concat_ws(': ', format('taken back as %s by refund %s on %s%s', piece.kind, piece.earning_event_id, to_char(piece.earned_on, 'YYYY-MM-DD'),
        ', of entry ' || piece.cause_entry_id), piece.reason);
    END IF;
    result.amount := piece.amount;
    result.currency := piece.currency;
    RETURN NEXT result;
  END LOOP;
  FOR piece IN
    SELECT b.* FROM prm.breakage b WHERE b.program_id = the_program AND b.earning_event_id = event.earning_event_id ORDER BY b.breakage_id
  LOOP
    the_step := the_step + 1;
    result := nothing;
    result.step := the_step;
    result.partner_id := piece.partner_id;
    result.credit_type := piece.credit_type;
    result.plan_id := piece.plan_id;
    result.component := piece.component;
    result.rule_id := piece.rule_id;
    result.level := piece.level;
    result.outcome := 'breakage';
    result.reason_code := piece.reason_code;
    result.reason := 'recorded as not paid: ' || piece.reason;
    result.unpaid_amount := piece.amount;
    result.currency := piece.currency;
    RETURN NEXT result;
  END LOOP;
END
$prm$;
COMMENT ON FUNCTION prm.explain_commission(bigint, bigint) IS
'Why an earning event paid what it paid: the credits, the winning rules of each level with all that their amount is made of, the losers with their reason, why nothing was earned, the ledger entries, what refunds took of them, and what was recorded as not paid. Error 42704 for an unknown event.';

CREATE FUNCTION prm.supersede_rule(rule_id bigint, valid_from date, changes jsonb, program_id bigint DEFAULT prm.current_program()) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(supersede_rule.program_id);
  the_rule prm.commission_rule;
  the_next prm.commission_rule;
  the_fault text;
BEGIN
  SELECT r.* INTO the_rule FROM prm.commission_rule r WHERE r.program_id = the_program AND r.rule_id = supersede_rule.rule_id FOR UPDATE;
  IF the_rule.rule_id IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no commission rule %s', supersede_rule.rule_id),
      DETAIL = format('It was looked for in programme %s.', the_program), HINT = 'SELECT rule_id, label, valid FROM prm.commission_rule lists the rules.';
  END IF;
  IF supersede_rule.valid_from IS NULL OR NOT the_rule.valid @> supersede_rule.valid_from OR lower(the_rule.valid) = supersede_rule.valid_from THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('rule %s cannot be superseded from %s', the_rule.rule_id, coalesce(to_char(supersede_rule.valid_from, 'YYYY-MM-DD'), 'NULL')),
      DETAIL = format('The rule is valid in %s, and must keep at least one day of it.', the_rule.valid), HINT = 'Give a later day on which this version would still be in force.';
  END IF;
  SELECT k INTO the_fault FROM jsonb_object_keys(CASE WHEN jsonb_typeof(supersede_rule.changes) = 'object' THEN supersede_rule.changes ELSE '{}' END) k
    WHERE k IN ('program_id', 'rule_id', 'lineage_id', 'plan_id', 'component', 'valid', 'created_at')
       OR NOT EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = 'prm.commission_rule'::regclass AND a.attname = k AND a.attnum > 0 AND NOT a.attisdropped)
    ORDER BY k LIMIT 1;
  IF the_fault IS NOT NULL OR coalesce(supersede_rule.changes, '{}') = '{}' OR jsonb_typeof(supersede_rule.changes) <> 'object' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = CASE WHEN the_fault IS NULL THEN 'changes is no object that names a field of the rule'
        ELSE format('the next version of a rule cannot change "%s"', the_fault) END,
      DETAIL = 'A version keeps the plan, component and lineage of the rule; its validity follows from valid_from.',
      HINT = 'Give the fields that change, such as {"schedule": "12%"}.';
  END IF;
  UPDATE prm.commission_rule r SET valid = daterange(lower(the_rule.valid), supersede_rule.valid_from)
    WHERE r.program_id = the_program AND r.rule_id = the_rule.rule_id;
  the_next := jsonb_populate_record(the_rule, supersede_rule.changes);
  the_next.valid := daterange(supersede_rule.valid_from, upper(the_rule.valid));
  the_next.created_at := now();
  -- Whole rows, so that columns which the user added come along; the number is a new one.
  INSERT INTO prm.commission_rule OVERRIDING USER VALUE SELECT the_next.* RETURNING rule_id INTO the_next.rule_id;
  RETURN the_next.rule_id;
END
$prm$;
COMMENT ON FUNCTION prm.supersede_rule(bigint, date, jsonb, bigint) IS
'Closes a rule on the day before valid_from and opens its next version with the fields of changes, in the same lineage; returns the new rule''s number. Errors: 42704 unknown rule, 22023 valid_from outside its validity or a field that cannot change, 55000 it has earned on or after valid_from.';
