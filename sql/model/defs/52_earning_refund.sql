
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
    WHERE o.kind IN ('refunded', 'collected') OR r.currencies <> ARRAY[o.currency] OR r.refunded > coalesce(o.amount, 0)
    ORDER BY o.earning_event_id LIMIT 1;
  IF fault.earning_event_id IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '23514', MESSAGE = format('earning event %s cannot be refunded like this', fault.earning_event_id),
      DETAIL = format('It is of kind %s, of %s %s; its refunds come to %s %s.', fault.kind, trim_scale(coalesce(fault.amount, 0)), fault.currency,
        trim_scale(fault.refunded), array_to_string(fault.currencies, ', ')),
      HINT = 'A refund names a sale, is in its currency, and all refunds of a sale come to no more than its amount.',
      SCHEMA = 'prm', TABLE = 'earning_event', COLUMN = 'amount';
  END IF;

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
          sum(-r.amount) OVER entry AS refunded, -prm.round_money(l.amount * (sum(-r.amount) OVER entry) / o.amount, l.currency, the_rounding) AS target,
          coalesce((SELECT sum(g.amount) FROM prm.ledger g WHERE g.program_id = _take_back.program_id AND g.cause_entry_id = l.entry_id
                    AND g.kind IN ('reversal', 'clawback')), 0) AS given_back
        FROM unnest((SELECT the_originals)) AS i(earning_event_id)
        -- Look-ups by key, never a join that depends on statistics: see _earning_outcome().
        CROSS JOIN LATERAL (SELECT * FROM prm.earning_event e
          WHERE e.program_id = _take_back.program_id AND e.earning_event_id = i.earning_event_id AND e.amount <> 0 OFFSET 0) o
        CROSS JOIN LATERAL (SELECT * FROM prm.ledger e WHERE e.program_id = _take_back.program_id AND e.earning_event_id = o.earning_event_id
          AND e.kind IN ('commission', 'override', 'bonus') OFFSET 0) l
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
