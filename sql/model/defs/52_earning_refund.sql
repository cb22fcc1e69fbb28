
-- Earning: what refunds and collections are counted on, and what they may be. What a refund takes back is computed by
-- prm._earning_outcome(), see src/earning_refund.c.

CREATE OR REPLACE FUNCTION prm._count_refunds(program_id bigint, earning_event_ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_originals bigint[];
  fault record;
BEGIN
  SELECT array_agg(DISTINCT r.applies_to_id) INTO the_originals FROM prm.earning_event r
    WHERE r.program_id = _count_refunds.program_id AND r.earning_event_id = ANY (_count_refunds.earning_event_ids) AND r.kind = 'refunded';
  IF the_originals IS NULL THEN
    RETURN;
  END IF;
  -- No close meanwhile: whether a cause stands on a statement says whether it is reversed or clawed back.
  PERFORM prm._lock_calendar(_count_refunds.program_id, false);
  -- Two refunds of one event go one after the other, or each would round without the other.
  INSERT INTO prm.refund_total AS t (program_id, earning_event_id, refunded, refunds)
    SELECT _count_refunds.program_id, r.applies_to_id, -sum(r.amount), count(*) FROM prm.earning_event r
    WHERE r.program_id = _count_refunds.program_id AND r.earning_event_id = ANY (_count_refunds.earning_event_ids) AND r.kind = 'refunded'
    GROUP BY r.applies_to_id ORDER BY r.applies_to_id
    ON CONFLICT (program_id, earning_event_id) DO UPDATE SET refunded = t.refunded + excluded.refunded, refunds = t.refunds + excluded.refunds;
  SELECT o.earning_event_id, o.kind, o.amount, o.currency, r.refunded, r.currencies INTO fault
    FROM (SELECT r.applies_to_id, -sum(r.amount) AS refunded, array_agg(DISTINCT r.currency) AS currencies FROM prm.earning_event r
          WHERE r.program_id = _count_refunds.program_id AND r.applies_to_id = ANY (the_originals) AND r.kind = 'refunded' GROUP BY r.applies_to_id) r
    CROSS JOIN LATERAL (SELECT * FROM prm.earning_event e
      WHERE e.program_id = _count_refunds.program_id AND e.earning_event_id = r.applies_to_id OFFSET 0) o
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
    SELECT _count_refunds.program_id, c.applies_to_id, sum(r.amount), 0
    FROM (SELECT * FROM prm.earning_event e WHERE e.program_id = _count_refunds.program_id AND e.earning_event_id = ANY (_count_refunds.earning_event_ids)
      AND e.kind = 'refunded' OFFSET 0) r
    CROSS JOIN LATERAL (SELECT e.applies_to_id FROM prm.earning_event e WHERE e.program_id = _count_refunds.program_id AND e.earning_event_id = r.applies_to_id
      AND e.kind = 'collected' OFFSET 0) c
    -- Asked in there, it would lead to an index that knows all refunds.
    WHERE c.applies_to_id IS NOT NULL
    GROUP BY c.applies_to_id ORDER BY c.applies_to_id
    ON CONFLICT (program_id, earning_event_id) DO UPDATE SET collected = t.collected + excluded.collected;
END
$prm$;
REVOKE ALL ON FUNCTION prm._count_refunds(bigint, bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION prm._count_refunds(bigint, bigint[]) IS
'Counts refunds on the events that they refund, where they wait for each other. Error 23514 where refunds exceed the event, differ in currency, or name a refund.';

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

-- How much of ledger entries their plan releases to be paid, to the cent as close_period() reckons.
CREATE OR REPLACE VIEW prm.v_released WITH (security_invoker = true) AS
  SELECT l.program_id, l.entry_id, l.partner_id, l.kind, l.currency, l.amount,
    CASE WHEN coalesce(o.amount, 0) - coalesce(r.refunded, 0) <= 0 THEN l.amount
      WHEN coalesce(c.collected, 0) <= 0 THEN 0
      ELSE prm.round_money(l.amount * least(c.collected, coalesce(o.amount, 0) - coalesce(r.refunded, 0)) / (coalesce(o.amount, 0) - coalesce(r.refunded, 0)), l.currency, g.rounding) END AS released,
    o.earning_event_id, coalesce(c.collected, 0) AS collected, coalesce(o.amount, 0) - coalesce(r.refunded, 0) AS collectable, o.currency AS event_currency
  FROM prm.commission_plan p
  JOIN prm.program g ON g.program_id = p.program_id
  JOIN prm.ledger l ON l.program_id = p.program_id AND l.plan_id = p.plan_id
  JOIN prm.earning_event e ON e.program_id = l.program_id AND e.earning_event_id = l.earning_event_id
  JOIN prm.earning_event o ON o.program_id = e.program_id AND o.earning_event_id = CASE WHEN e.kind = 'refunded' THEN e.applies_to_id ELSE e.earning_event_id END
  LEFT JOIN prm.collected_total c ON c.program_id = o.program_id AND c.earning_event_id = o.earning_event_id
  LEFT JOIN prm.refund_total r ON r.program_id = o.program_id AND r.earning_event_id = o.earning_event_id
  WHERE p.pay_on = 'collected';
COMMENT ON VIEW prm.v_released IS 'The ledger entries of plans that pay on collection, and how much of each the customers'' payments have released.';
COMMENT ON COLUMN prm.v_released.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_released.entry_id IS 'The ledger entry.';
COMMENT ON COLUMN prm.v_released.partner_id IS 'Who earned it.';
COMMENT ON COLUMN prm.v_released.kind IS 'Kind of the entry.';
COMMENT ON COLUMN prm.v_released.currency IS 'Currency of amount and released, ISO 4217.';
COMMENT ON COLUMN prm.v_released.amount IS 'Amount of the entry.';
COMMENT ON COLUMN prm.v_released.released IS 'What of it may be paid by now: round(amount * collected / collectable), never more than all; all of it where nothing is left of the sale.';
COMMENT ON COLUMN prm.v_released.earning_event_id IS 'The sale that customers pay.';
COMMENT ON COLUMN prm.v_released.collected IS 'What was collected of it.';
COMMENT ON COLUMN prm.v_released.collectable IS 'Its amount less its refunds.';
COMMENT ON COLUMN prm.v_released.event_currency IS 'Currency of collected and collectable.';
