
-- Earning: refunds. No rule is selected again; what the refunded event earned goes back in proportion.

CREATE OR REPLACE FUNCTION prm._take_back(program_id bigint, earning_event_ids bigint[], is_counted boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_zone constant text := prm._program_time_zone(_take_back.program_id);
  the_rounding text;
  the_originals bigint[];
  fault record;
BEGIN
  SELECT p.rounding INTO the_rounding FROM prm.program p WHERE p.program_id = _take_back.program_id;
  SELECT array_agg(DISTINCT r.applies_to_id) INTO the_originals FROM prm.earning_event r
    WHERE r.program_id = _take_back.program_id AND r.earning_event_id = ANY (_take_back.earning_event_ids) AND r.kind = 'refunded';
  IF the_originals IS NULL THEN
    RETURN;
  END IF;
  -- Two refunds of one event go one after the other, or each would round without the other.
  INSERT INTO prm.refund_total AS t (program_id, earning_event_id, refunded, refunds)
    SELECT _take_back.program_id, r.applies_to_id, -sum(r.amount), count(*) FROM prm.earning_event r
    WHERE r.program_id = _take_back.program_id AND r.earning_event_id = ANY (_take_back.earning_event_ids) AND r.kind = 'refunded'
      AND NOT _take_back.is_counted
    GROUP BY r.applies_to_id ORDER BY r.applies_to_id
    ON CONFLICT (program_id, earning_event_id) DO UPDATE SET refunded = t.refunded + excluded.refunded, refunds = t.refunds + excluded.refunds;
  SELECT o.earning_event_id, o.kind, o.amount, o.currency, r.refunded, r.currencies INTO fault
    FROM (SELECT r.applies_to_id, -sum(r.amount) AS refunded, array_agg(DISTINCT r.currency) AS currencies FROM prm.earning_event r
          WHERE r.program_id = _take_back.program_id AND r.applies_to_id = ANY (the_originals) AND r.kind = 'refunded' GROUP BY r.applies_to_id) r
    CROSS JOIN LATERAL (SELECT * FROM prm.earning_event e
      WHERE e.program_id = _take_back.program_id AND e.earning_event_id = r.applies_to_id OFFSET 0) o
    WHERE o.kind = 'refunded' OR r.currencies <> ARRAY[o.currency] OR r.refunded > coalesce(o.amount, 0)
    ORDER BY o.earning_event_id LIMIT 1;
  IF fault.earning_event_id IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '23514', MESSAGE = format('earning event %s cannot be refunded like this', fault.earning_event_id),
      DETAIL = format('It is of kind %s, of %s %s; its refunds come to %s %s.', fault.kind, trim_scale(coalesce(fault.amount, 0)), fault.currency,
        trim_scale(fault.refunded), array_to_string(fault.currencies, ', ')),
      HINT = 'A refund names a sale, is in its currency, and all refunds of a sale come to no more than its amount.',
      SCHEMA = 'prm', TABLE = 'earning_event', COLUMN = 'amount';
  END IF;

  -- What a bounced payment had collected is open again.
  INSERT INTO prm.collected_total AS t (program_id, earning_event_id, collected, collections)
    SELECT _take_back.program_id, c.applies_to_id, sum(r.amount), 0
    FROM (SELECT * FROM prm.earning_event e WHERE e.program_id = _take_back.program_id AND e.earning_event_id = ANY (_take_back.earning_event_ids)
      AND e.kind = 'refunded' AND NOT _take_back.is_counted OFFSET 0) r
    CROSS JOIN LATERAL (SELECT e.applies_to_id FROM prm.earning_event e WHERE e.program_id = _take_back.program_id AND e.earning_event_id = r.applies_to_id
      AND e.kind = 'collected' AND e.applies_to_id IS NOT NULL OFFSET 0) c
    GROUP BY c.applies_to_id ORDER BY c.applies_to_id
    ON CONFLICT (program_id, earning_event_id) DO UPDATE SET collected = t.collected + excluded.collected;

  INSERT INTO prm.ledger (program_id, partner_id, payee_id, legal_entity, kind, component, amount, currency, earning_event_id, credit_type, plan_id,
      rule_id, lineage_id, level, cause_entry_id, sequence_no, earned_on, eligible_at, idempotency_key, explain)
    SELECT _take_back.program_id, b.partner_id, b.payee_id, b.legal_entity, 'reversal', b.component, b.target - b.target_before, b.currency, b.refund_id,
      b.credit_type, b.plan_id, b.rule_id, b.lineage_id, b.level, b.entry_id, 1, (b.occurred_at AT TIME ZONE the_zone)::date, b.eligible_at,
      concat_ws('/', b.refund_id, b.credit_type, b.partner_id, b.lineage_id, b.level, 'reversal', 1),
      jsonb_build_object('plan', b.plan, 'rule', b.rule, 'cause', b.entry_id, 'earned', b.earned, 'event_amount', b.event_amount,
        'refunded_so_far', b.refunded, 'given_back_before', b.target_before, 'amount', b.target - b.target_before)
    FROM (
      SELECT t.*, CASE WHEN lag(t.is_new, 1, false) OVER entry THEN lag(t.target) OVER entry ELSE t.given_back END AS target_before
      FROM (
        SELECT l.entry_id, l.partner_id, l.payee_id, l.legal_entity, l.component, l.currency, l.credit_type, l.plan_id, l.rule_id, l.lineage_id, l.level,
          l.eligible_at, l.amount AS earned, l.explain ->> 'plan' AS plan, l.explain ->> 'rule' AS rule, o.amount AS event_amount,
          r.earning_event_id AS refund_id, r.occurred_at, r.earning_event_id = ANY (_take_back.earning_event_ids) AS is_new,
          sum(-r.amount) OVER entry AS refunded, -prm.round_money(CASE WHEN coalesce(o.amount, 0) = 0 THEN l.amount ELSE l.amount * (sum(-r.amount) OVER entry) / o.amount END, l.currency, the_rounding) AS target,
          coalesce((SELECT sum(g.amount) FROM prm.ledger g WHERE g.program_id = _take_back.program_id AND g.cause_entry_id = l.entry_id
                    AND g.kind IN ('reversal', 'clawback')), 0) AS given_back
        FROM unnest((SELECT the_originals)) AS i(earning_event_id)
        -- Look-ups by key, never a join that depends on statistics: see _earning_outcome().
        CROSS JOIN LATERAL (SELECT * FROM prm.earning_event e
          WHERE e.program_id = _take_back.program_id AND e.earning_event_id = i.earning_event_id OFFSET 0) o
        CROSS JOIN LATERAL (SELECT * FROM prm.ledger e WHERE e.program_id = _take_back.program_id AND e.earning_event_id = o.earning_event_id
          AND e.kind IN ('commission', 'override', 'bonus', 'royalty', 'fee', 'adjustment') OFFSET 0) l
        CROSS JOIN LATERAL (SELECT * FROM prm.earning_event e
          WHERE e.program_id = _take_back.program_id AND e.applies_to_id = o.earning_event_id AND e.kind = 'refunded' OFFSET 0) r
        LEFT JOIN prm.commission_plan p ON p.program_id = _take_back.program_id AND p.plan_id = l.plan_id
        -- After the days of the plan nothing is taken back.
        WHERE (p.clawback_days IS NULL OR r.occurred_at <= ((o.occurred_at AT TIME ZONE the_zone) + make_interval(days => p.clawback_days)) AT TIME ZONE the_zone)
        WINDOW entry AS (PARTITION BY l.entry_id ORDER BY r.earning_event_id = ANY (_take_back.earning_event_ids), r.occurred_at, r.earning_event_id)
      ) t
      WINDOW entry AS (PARTITION BY t.entry_id ORDER BY t.is_new, t.occurred_at, t.refund_id)
    ) b
    WHERE b.is_new AND b.target <> b.target_before
    ORDER BY b.occurred_at, b.refund_id, b.entry_id
    ON CONFLICT (program_id, idempotency_key) DO NOTHING;
END
$prm$;
REVOKE ALL ON FUNCTION prm._take_back(bigint, bigint[], boolean) FROM PUBLIC;
COMMENT ON FUNCTION prm._take_back(bigint, bigint[], boolean) IS
'Writes what refunds take back: of each entry of the refunded event round(entry * refunded so far / event amount) less what was given back before, as a reversal that is payable when its cause is. is_counted: they stand in refund_total already, and what they refund earned only now. Error 23514 where refunds exceed the event or differ in currency.';

-- Collections: what the customer paid of an event, for plans that pay on it.

CREATE OR REPLACE FUNCTION prm._collect(program_id bigint, earning_event_ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  fault record;
BEGIN
  INSERT INTO prm.collected_total AS t (program_id, earning_event_id, collected, collections)
    SELECT _collect.program_id, c.applies_to_id, coalesce(sum(c.amount), 0), count(*) FROM prm.earning_event c
    WHERE c.program_id = _collect.program_id AND c.earning_event_id = ANY (_collect.earning_event_ids) AND c.kind = 'collected' AND c.applies_to_id IS NOT NULL
    GROUP BY c.applies_to_id ORDER BY c.applies_to_id
    ON CONFLICT (program_id, earning_event_id) DO UPDATE SET collected = t.collected + excluded.collected, collections = t.collections + excluded.collections;
  SELECT c.earning_event_id, c.currency, c.amount, o.earning_event_id AS paid_id, o.kind AS paid_kind, o.currency AS paid_currency INTO fault
    FROM (SELECT * FROM prm.earning_event e WHERE e.program_id = _collect.program_id AND e.earning_event_id = ANY (_collect.earning_event_ids)
      AND e.kind = 'collected' AND e.applies_to_id IS NOT NULL OFFSET 0) c
    CROSS JOIN LATERAL (SELECT e.earning_event_id, e.kind, e.currency FROM prm.earning_event e
      WHERE e.program_id = _collect.program_id AND e.earning_event_id = c.applies_to_id OFFSET 0) o
    WHERE o.kind IN ('refunded', 'collected') OR o.currency <> c.currency OR c.amount IS NULL
    ORDER BY c.earning_event_id LIMIT 1;
  IF fault.earning_event_id IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '23514', MESSAGE = format('earning event %s cannot be collected like this', fault.paid_id),
      DETAIL = format('It is of kind %s, in %s; the collection is of %s %s.', fault.paid_kind, fault.paid_currency, coalesce(trim_scale(fault.amount)::text, 'no amount'), fault.currency),
      HINT = 'A collection names the invoice or sale that it pays, and is in its currency.', SCHEMA = 'prm', TABLE = 'earning_event', COLUMN = 'applies_to_id';
  END IF;
END
$prm$;
REVOKE ALL ON FUNCTION prm._collect(bigint, bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION prm._collect(bigint, bigint[]) IS
'Counts collections on the events that they pay. Error 23514 where a collection names a refund or another collection, or is in another currency.';

-- How much of ledger entries their plan releases to be paid. Set-wise, by keys.
CREATE OR REPLACE FUNCTION prm._released(program_id bigint, entry_ids bigint[]) RETURNS SETOF prm.released_entry
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_rounding text;
BEGIN
  SELECT p.rounding INTO the_rounding FROM prm.program p WHERE p.program_id = _released.program_id;
  RETURN QUERY
  SELECT l.entry_id, l.amount,
    CASE
      WHEN l.pay_on IS DISTINCT FROM 'collected' THEN l.amount
      -- Nothing is left of the sale: what was earned and what was taken back are free together, and cancel each other out.
      WHEN s.net <= 0 THEN l.amount
      WHEN coalesce(s.collected, 0) <= 0 THEN 0
      ELSE prm.round_money(l.amount * least(s.collected / s.net, 1), l.currency, the_rounding)
    END, CASE WHEN l.pay_on = 'collected' THEN s.earning_event_id END, s.collected, s.net
  FROM unnest(_released.entry_ids) AS i(entry_id)
  CROSS JOIN LATERAL (
    SELECT e.entry_id, e.amount, e.currency, e.earning_event_id,
      (SELECT p.pay_on FROM prm.commission_plan p WHERE p.program_id = e.program_id AND p.plan_id = e.plan_id) AS pay_on
    FROM prm.ledger e WHERE e.program_id = _released.program_id AND e.entry_id = i.entry_id OFFSET 0) l
  LEFT JOIN LATERAL (
    -- A refund is released as the sale that it refunds.
    SELECT o.earning_event_id, c.collected, coalesce(o.amount, 0) - coalesce(r.refunded, 0) AS net
    FROM prm.earning_event e
    CROSS JOIN LATERAL (SELECT b.earning_event_id, b.amount FROM prm.earning_event b WHERE b.program_id = _released.program_id
      AND b.earning_event_id = CASE WHEN e.kind = 'refunded' THEN e.applies_to_id ELSE e.earning_event_id END OFFSET 0) o
    LEFT JOIN LATERAL (SELECT t.collected FROM prm.collected_total t WHERE t.program_id = _released.program_id AND t.earning_event_id = o.earning_event_id OFFSET 0) c ON true
    LEFT JOIN LATERAL (SELECT t.refunded FROM prm.refund_total t WHERE t.program_id = _released.program_id AND t.earning_event_id = o.earning_event_id OFFSET 0) r ON true
    WHERE l.pay_on = 'collected' AND e.program_id = _released.program_id AND e.earning_event_id = l.earning_event_id OFFSET 0) s ON true;
END
$prm$;
REVOKE ALL ON FUNCTION prm._released(bigint, bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION prm._released(bigint, bigint[]) IS
'How much of each ledger entry may be paid by now, in its plan: all of it, or where pay_on is collected round(amount * collected / what is left of the sale), never more than all. What a statement pays is this less what earlier statements paid of the entry.';
