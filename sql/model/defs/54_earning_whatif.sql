
-- Earning: what was not paid and why, and how recalculate() books its differences.

CREATE OR REPLACE VIEW prm.v_unpaid WITH (security_invoker = true) AS
  SELECT u.program_id, u.earning_event_id, e.kind AS event_kind, e.occurred_at, (e.occurred_at AT TIME ZONE prm._program_time_zone(u.program_id))::date AS occurred_on,
    u.credit_type, u.partner_id, p.name AS partner, u.plan_id, c.name AS plan, u.component, u.rule_id, r.label AS rule, u.level,
    u.reason_code, u.reason, u.amount, u.currency, e.amount AS event_amount, e.deal_id, e.customer_id, u.breakage_id, u.recorded_at
  FROM (
    SELECT b.program_id, b.earning_event_id, b.credit_type, b.partner_id, b.plan_id, b.component, b.rule_id, b.level,
      b.reason_code, b.reason, b.amount, b.currency, b.breakage_id, b.recorded_at
    FROM prm.breakage b
    UNION ALL
    -- Events of kinds that earn, on which somebody is credited, and of which nothing is said anywhere.
    SELECT e.program_id, e.earning_event_id, x.credit_type, x.partner_id, NULL, NULL, NULL, 0,
      CASE WHEN x.counted THEN 'zero' ELSE 'no_rule' END,
      CASE WHEN x.counted THEN 'it counts for a rule, and pays nothing itself'
        ELSE 'no rule of a plan in force pays it; explain_commission() says of each why' END,
      NULL, e.currency, NULL, e.recorded_at
    FROM prm.earning_event e
    CROSS JOIN LATERAL (
      SELECT coalesce(s.credit_type, 'sourced') AS credit_type, coalesce(s.partner_id, e.partner_id) AS partner_id,
        EXISTS (SELECT 1 FROM prm.accumulator_entry a WHERE a.program_id = e.program_id AND a.earning_event_id = e.earning_event_id) AS counted
      FROM (SELECT 1) AS one
      LEFT JOIN (SELECT i.credit_type, i.partner_id FROM prm.sales_credit i
        WHERE i.program_id = e.program_id AND i.earning_event_id = e.earning_event_id
          AND i.revision = (SELECT max(n.revision) FROM prm.sales_credit n
            WHERE n.program_id = i.program_id AND n.earning_event_id = i.earning_event_id AND n.credit_type = i.credit_type)) s ON true) x
    WHERE x.partner_id IS NOT NULL AND e.kind <> 'refunded'
      AND EXISTS (SELECT 1 FROM prm.commission_plan p WHERE p.program_id = e.program_id AND p.is_active AND p.earn_on = e.kind)
      AND NOT EXISTS (SELECT 1 FROM prm.ledger l WHERE l.program_id = e.program_id AND l.earning_event_id = e.earning_event_id)
      AND NOT EXISTS (SELECT 1 FROM prm.breakage b WHERE b.program_id = e.program_id AND b.earning_event_id = e.earning_event_id)
  ) u
  JOIN prm.earning_event e ON e.program_id = u.program_id AND e.earning_event_id = u.earning_event_id
  JOIN prm.partner p ON p.program_id = u.program_id AND p.partner_id = u.partner_id
  LEFT JOIN prm.commission_plan c ON c.program_id = u.program_id AND c.plan_id = u.plan_id
  LEFT JOIN prm.commission_rule r ON r.program_id = u.program_id AND r.rule_id = u.rule_id;
COMMENT ON VIEW prm.v_unpaid IS
'What was not paid: one row for each amount that a winning rule would have paid and did not (breakage), and for each credit of an event on which nobody earned anything.';
COMMENT ON COLUMN prm.v_unpaid.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_unpaid.earning_event_id IS 'The event; explain_commission() takes it.';
COMMENT ON COLUMN prm.v_unpaid.event_kind IS 'Kind of the event: booked, invoiced ...';
COMMENT ON COLUMN prm.v_unpaid.occurred_at IS 'When the event happened.';
COMMENT ON COLUMN prm.v_unpaid.occurred_on IS 'Its business date, in the time zone of the programme.';
COMMENT ON COLUMN prm.v_unpaid.credit_type IS 'The type of the credit.';
COMMENT ON COLUMN prm.v_unpaid.partner_id IS 'Who was not paid: the one whom the rule would have paid, or who is credited.';
COMMENT ON COLUMN prm.v_unpaid.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_unpaid.plan_id IS 'The plan; NULL where no rule won.';
COMMENT ON COLUMN prm.v_unpaid.plan IS 'Its name.';
COMMENT ON COLUMN prm.v_unpaid.component IS 'Component of the plan.';
COMMENT ON COLUMN prm.v_unpaid.rule_id IS 'The version of the rule that won.';
COMMENT ON COLUMN prm.v_unpaid.rule IS 'Its label.';
COMMENT ON COLUMN prm.v_unpaid.level IS '0 for the seller, 1 for its parent ...';
COMMENT ON COLUMN prm.v_unpaid.reason_code IS 'no_rule (nothing matched, or what matched pays zero), zero (counted only), or that of prm.breakage: below_minimum, capped, no_exchange_rate ...';
COMMENT ON COLUMN prm.v_unpaid.reason IS 'The same in words.';
COMMENT ON COLUMN prm.v_unpaid.amount IS 'What was not paid; NULL where it cannot be told.';
COMMENT ON COLUMN prm.v_unpaid.currency IS 'Currency of amount and event_amount, ISO 4217.';
COMMENT ON COLUMN prm.v_unpaid.event_amount IS 'Amount of the whole event.';
COMMENT ON COLUMN prm.v_unpaid.deal_id IS 'The deal of the event.';
COMMENT ON COLUMN prm.v_unpaid.customer_id IS 'The customer of the event.';
COMMENT ON COLUMN prm.v_unpaid.breakage_id IS 'The row of prm.breakage; NULL where no rule won.';
COMMENT ON COLUMN prm.v_unpaid.recorded_at IS 'When it was recorded, wall clock.';

CREATE OR REPLACE VIEW prm.v_unpaid_reason WITH (security_invoker = true) AS
  SELECT u.program_id, date_trunc('month', u.occurred_on::timestamp)::date AS period, u.reason_code, u.currency, count(*) AS cases,
    count(DISTINCT u.earning_event_id) AS events, count(DISTINCT u.partner_id) AS partners, sum(u.amount) AS amount, count(*) FILTER (WHERE u.amount IS NULL) AS unknown
  FROM prm.v_unpaid u
  GROUP BY u.program_id, date_trunc('month', u.occurred_on::timestamp)::date, u.reason_code, u.currency;
COMMENT ON VIEW prm.v_unpaid_reason IS 'What was not paid, by month, reason and currency.';
COMMENT ON COLUMN prm.v_unpaid_reason.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_unpaid_reason.period IS 'First day of the month of the events, in the time zone of the programme.';
COMMENT ON COLUMN prm.v_unpaid_reason.reason_code IS 'As in prm.v_unpaid.';
COMMENT ON COLUMN prm.v_unpaid_reason.currency IS 'ISO 4217; currencies are never added.';
COMMENT ON COLUMN prm.v_unpaid_reason.cases IS 'Rows of prm.v_unpaid.';
COMMENT ON COLUMN prm.v_unpaid_reason.events IS 'Number of events.';
COMMENT ON COLUMN prm.v_unpaid_reason.partners IS 'Number of partners.';
COMMENT ON COLUMN prm.v_unpaid_reason.amount IS 'What was not paid, as far as it can be told; NULL: of none it can.';
COMMENT ON COLUMN prm.v_unpaid_reason.unknown IS 'Of how many cases the amount cannot be told.';
