
-- Earning, for people: why an event paid what it paid, and the next version of a rule.

CREATE TYPE prm.commission_explanation AS (step integer, partner_id bigint, plan_id bigint, component text, rule_id bigint, outcome text, reason text,
  amount numeric, currency text, basis_amount numeric, part_lower numeric, part_upper numeric, rate numeric, credit_type text, entry_id bigint);
COMMENT ON TYPE prm.commission_explanation IS 'A row of explain_commission().';
COMMENT ON COLUMN prm.commission_explanation.step IS 'Order of the explanation, from 1.';
COMMENT ON COLUMN prm.commission_explanation.partner_id IS 'The credited partner.';
COMMENT ON COLUMN prm.commission_explanation.plan_id IS 'The commission plan.';
COMMENT ON COLUMN prm.commission_explanation.component IS 'The component of the plan; components add up.';
COMMENT ON COLUMN prm.commission_explanation.rule_id IS 'The rule that the row is about.';
COMMENT ON COLUMN prm.commission_explanation.outcome IS
'credit (what the partner is credited with), won, part (a bracket of the winner), rounding, entry (the ledger), refund (what is taken back), unpaid (won, but nothing can be paid), lost (another rule won), no_match, nothing (why nothing was earned at all).';
COMMENT ON COLUMN prm.commission_explanation.reason IS 'Why, in words.';
COMMENT ON COLUMN prm.commission_explanation.amount IS 'Money: what a rule pays or would pay, what a part earns (not rounded), what the ledger holds. The parts and the rounding sum to the winner.';
COMMENT ON COLUMN prm.commission_explanation.currency IS 'Currency of amount, ISO 4217.';
COMMENT ON COLUMN prm.commission_explanation.basis_amount IS 'What is paid on: the share of the credit, the basis of a rule, the slice of a part.';
COMMENT ON COLUMN prm.commission_explanation.part_lower IS 'Lower bound of the part''s bracket.';
COMMENT ON COLUMN prm.commission_explanation.part_upper IS 'Upper bound of the part''s bracket; NULL for the last one.';
COMMENT ON COLUMN prm.commission_explanation.rate IS 'Factor that was applied (0.05 is 5%); NULL for a fixed amount.';
COMMENT ON COLUMN prm.commission_explanation.credit_type IS 'The type of the credit: sourced, influenced ...';
COMMENT ON COLUMN prm.commission_explanation.entry_id IS 'The ledger entry.';

CREATE FUNCTION prm.explain_commission(earning_event_id bigint, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.commission_explanation
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(explain_commission.program_id);
  event prm.earning_event;
  result prm.commission_explanation;
  nothing prm.commission_explanation;
  found_one record;
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

  FOR found_one IN
    SELECT o.*, bool_or(o.outcome <> 'no_match') OVER (PARTITION BY o.credit_type, o.partner_id, o.plan_id) AS matched
    FROM prm._earning_outcome(the_program, ARRAY[event.earning_event_id], true) o
    ORDER BY o.credit_type, o.partner_id, o.plan_id, o.outcome = 'no_match', o.component, o.place, o.rule_id
  LOOP
    IF the_credit IS DISTINCT FROM format('%s %s', found_one.partner_id, found_one.credit_type) THEN
      the_credit := format('%s %s', found_one.partner_id, found_one.credit_type);
      the_plan := NULL;
      the_step := the_step + 1;
      result := nothing;
      result.step := the_step;
      result.partner_id := found_one.partner_id;
      result.credit_type := found_one.credit_type;
      result.outcome := 'credit';
      result.reason := format('%s credit, %s%% of the event', found_one.credit_type, trim_scale(found_one.weight));
      result.basis_amount := found_one.share;
      result.currency := event.currency;
      RETURN NEXT result;
    END IF;
    result := nothing;
    result.partner_id := found_one.partner_id;
    result.credit_type := found_one.credit_type;
    result.plan_id := found_one.plan_id;
    IF the_plan IS DISTINCT FROM found_one.plan_id THEN
      the_plan := found_one.plan_id;
      IF NOT found_one.matched THEN
        the_step := the_step + 1;
        result.step := the_step;
        result.outcome := 'nothing';
        result.reason := format('nothing, because there is no matching rule in plan "%s"', found_one.plan_name);
        RETURN NEXT result;
      END IF;
    END IF;
    the_step := the_step + 1;
    result.step := the_step;
    result.component := found_one.component;
    result.rule_id := found_one.rule_id;
    result.outcome := found_one.outcome;
    result.reason := concat_ws(': ', found_one.rule_label, found_one.reason || CASE WHEN found_one.outcome = 'won' THEN ', ' || found_one.schedule ELSE '' END);
    result.amount := CASE WHEN found_one.outcome = 'won' THEN found_one.amount
      WHEN found_one.outcome = 'lost' THEN found_one.commission WHEN found_one.outcome = 'unpaid' THEN 0 END;
    result.currency := CASE WHEN result.amount IS NOT NULL THEN found_one.currency END;
    result.basis_amount := CASE WHEN found_one.outcome <> 'no_match' THEN found_one.basis_amount END;
    RETURN NEXT result;
    CONTINUE WHEN found_one.outcome <> 'won';

    FOR piece IN SELECT p.* FROM prm.commission_parts(found_one.schedule::prm.commission_schedule, found_one.basis_amount) p ORDER BY p.part
    LOOP
      the_step := the_step + 1;
      result.step := the_step;
      result.outcome := 'part';
      result.reason := format('%s from %s%s', trim_scale(piece.amount), trim_scale(piece.lower), coalesce(' to ' || trim_scale(piece.upper), ' on'))
        || CASE WHEN piece.rate IS NULL THEN ': a fixed amount'
                WHEN piece.commission = piece.amount * piece.rate AND abs(piece.rate) <= 1 THEN format(' at %s%%', trim_scale(piece.rate * 100))
                ELSE format(' at %s each', trim_scale(piece.rate)) END;
      result.amount := piece.commission;
      result.basis_amount := piece.amount;
      result.part_lower := piece.lower;
      result.part_upper := piece.upper;
      result.rate := piece.rate;
      RETURN NEXT result;
    END LOOP;
    result.basis_amount := NULL;
    result.part_lower := NULL;
    result.part_upper := NULL;
    result.rate := NULL;
    IF found_one.amount <> found_one.commission THEN
      the_step := the_step + 1;
      result.step := the_step;
      result.outcome := 'rounding';
      result.reason := format('to the minor unit of %s', found_one.currency);
      result.amount := found_one.amount - found_one.commission;
      RETURN NEXT result;
    END IF;
    IF NOT EXISTS (SELECT 1 FROM prm.ledger l WHERE l.program_id = the_program AND l.earning_event_id = event.earning_event_id
                   AND l.partner_id = found_one.partner_id AND l.credit_type = found_one.credit_type AND l.lineage_id = found_one.lineage_id) THEN
      the_step := the_step + 1;
      result.step := the_step;
      result.outcome := 'nothing';
      result.reason := 'the ledger has no entry of this rule: it was written after the event was recorded';
      result.amount := 0;
      RETURN NEXT result;
    END IF;
  END LOOP;

  IF event.kind = 'refunded' THEN
    the_step := 1;
    result := nothing;
    result.step := 1;
    SELECT CASE
        WHEN bool_or(l.earning_event_id = event.earning_event_id) THEN 'refund' ELSE 'nothing' END,
      CASE
        WHEN bool_or(l.earning_event_id = event.earning_event_id) THEN format('refunds %s of event %s', trim_scale(-event.amount), event.applies_to_id)
        WHEN bool_or(l.earning_event_id = event.applies_to_id) THEN 'nothing is taken back, because the refund came after the days of the plan, or it rounds to zero'
        ELSE format('nothing is taken back, because event %s earned nothing', event.applies_to_id) END
      INTO result.outcome, result.reason
      FROM prm.ledger l WHERE l.program_id = the_program AND l.earning_event_id IN (event.earning_event_id, event.applies_to_id);
    result.basis_amount := event.amount;
    result.currency := event.currency;
    RETURN NEXT result;
  ELSIF the_step = 0 THEN
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

  FOR piece IN
    SELECT l.* FROM prm.ledger l WHERE l.program_id = the_program AND l.earning_event_id = event.earning_event_id ORDER BY l.entry_id
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
    result.outcome := 'entry';
    result.reason := format('in the ledger as %s%s, earned on %s, payable from %s', piece.kind, ' of entry ' || piece.cause_entry_id, to_char(piece.earned_on, 'YYYY-MM-DD'),
      to_char(piece.eligible_at AT TIME ZONE prm._program_time_zone(the_program), 'YYYY-MM-DD'));
    result.amount := piece.amount;
    result.currency := piece.currency;
    RETURN NEXT result;
  END LOOP;
END
$prm$;
COMMENT ON FUNCTION prm.explain_commission(bigint, bigint) IS
'Why an earning event paid what it paid: the credits, the winning rules with each part, the losers with their reason, the ledger entries, and why nothing was earned. Error 42704 for an unknown event.';

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
