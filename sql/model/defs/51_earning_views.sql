
-- Earning: the views for people and tools, the commission of a deal, and the comments.

CREATE OR REPLACE VIEW prm.v_ledger WITH (security_invoker = true) AS
  SELECT l.program_id, l.entry_id, l.partner_id, p.name AS partner, l.kind, l.component, l.amount, l.currency,
    CASE
      WHEN EXISTS (SELECT 1 FROM prm.ledger c WHERE c.program_id = l.program_id AND c.cause_entry_id = CASE l.kind WHEN 'reversal' THEN l.cause_entry_id ELSE l.entry_id END
        AND c.kind = 'reversal' AND c.idempotency_key LIKE 'cancel/%') THEN 'canceled'
      WHEN l.kind IN ('commission', 'override', 'bonus', 'reversal') AND 0 = (
        SELECT sum(c.amount) FROM (
          SELECT o.amount FROM prm.ledger o WHERE o.program_id = l.program_id AND o.entry_id = CASE l.kind WHEN 'reversal' THEN l.cause_entry_id ELSE l.entry_id END
          UNION ALL
          SELECT r.amount FROM prm.ledger r WHERE r.program_id = l.program_id AND r.cause_entry_id = CASE l.kind WHEN 'reversal' THEN l.cause_entry_id ELSE l.entry_id END
            AND r.kind = 'reversal') c) THEN 'refunded'
      WHEN l.kind IN ('payout', 'payout_fee') AND l.component <> 'received' THEN 'paid'
      WHEN l.kind = 'carry' AND l.component = 'closed' THEN 'carried'
      WHEN o.entry_id IS NULL THEN CASE WHEN s.state = 'paid' THEN 'paid' ELSE 'on_statement' END
      WHEN h.hold_id IS NOT NULL THEN 'held'
      WHEN l.eligible_at > prm.now() THEN 'pending' ELSE 'eligible' END AS status,
    l.earned_on, l.eligible_at, l.credit_type, l.earning_event_id, e.kind AS event_kind, e.deal_id, d.name AS deal, e.occurred_at, e.document_ref,
    e.amount AS event_amount, l.plan_id, l.explain ->> 'plan' AS plan, l.rule_id, l.explain ->> 'rule' AS rule,
    l.explain ->> 'schedule' AS schedule, (l.explain ->> 'basis_amount')::numeric AS basis_amount,
    l.level, l.cause_entry_id, l.reason, l.payee_id, l.legal_entity, l.recorded_at,
    h.hold_id IS NOT NULL AS held, h.kind AS hold_kind, h.reason AS hold_reason, h.placed_at AS held_since, h.hold_id,
    e.customer_id, e.product, e.applies_to_id, l.lineage_id, l.sequence_no, l.attained_before, l.explain ->> 'override_mode' AS override_mode,
    (l.explain ->> 'exchange_rate')::numeric AS exchange_rate, s.statement_id, s.state AS statement_state, coalesce(o.amount, 0) AS open_amount
  FROM prm.ledger l
  JOIN prm.partner p ON p.program_id = l.program_id AND p.partner_id = l.partner_id
  LEFT JOIN prm.earning_event e ON e.program_id = l.program_id AND e.earning_event_id = l.earning_event_id
  LEFT JOIN prm.deal d ON d.program_id = e.program_id AND d.deal_id = e.deal_id
  LEFT JOIN prm.ledger_open o ON o.program_id = l.program_id AND o.partner_id = l.partner_id AND o.entry_id = l.entry_id
  LEFT JOIN LATERAL (SELECT i.statement_id, t.state FROM prm.statement_line i JOIN prm.statement t ON t.program_id = i.program_id AND t.statement_id = i.statement_id
    WHERE i.program_id = l.program_id AND i.entry_id = l.entry_id AND t.state <> 'cancelled' ORDER BY i.part DESC LIMIT 1) s ON true
  -- As in v_entry_hold.
  LEFT JOIN LATERAL (
    SELECT s.hold_id, s.kind, s.reason, s.placed_at FROM (
      SELECT i.hold_id, i.kind, i.reason, i.placed_at FROM prm._standing_hold i
      WHERE i.program_id = l.program_id AND i.partner_id = l.partner_id AND i.entry_id IS NULL AND (NOT i.is_ban OR l.kind NOT IN ('clawback', 'royalty', 'fee'))
      UNION ALL
      SELECT i.hold_id, i.kind, i.reason, i.placed_at FROM prm._standing_hold i
      WHERE i.program_id = l.program_id AND i.entry_id = ANY (ARRAY[l.entry_id, CASE WHEN l.kind = 'reversal' THEN l.cause_entry_id END])
    ) s ORDER BY s.placed_at, s.hold_id LIMIT 1) h ON true;
COMMENT ON VIEW prm.v_ledger IS 'The ledger for people: each entry with its partner, its event and deal, the rule as it was labelled then, and whether it is payable yet.';
COMMENT ON COLUMN prm.v_ledger.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_ledger.entry_id IS 'The ledger entry.';
COMMENT ON COLUMN prm.v_ledger.partner_id IS 'Who earned it.';
COMMENT ON COLUMN prm.v_ledger.partner IS 'Name of the partner, as it is today.';
COMMENT ON COLUMN prm.v_ledger.kind IS 'commission, override, bonus, reversal ... (see prm.ledger.kind).';
COMMENT ON COLUMN prm.v_ledger.component IS 'Component of the plan.';
COMMENT ON COLUMN prm.v_ledger.amount IS 'Signed money; what goes back is negative.';
COMMENT ON COLUMN prm.v_ledger.currency IS 'ISO 4217.';
COMMENT ON COLUMN prm.v_ledger.status IS 'canceled (the partner was banned), refunded (all of it was given back while it was pending), paid, on_statement, carried (what closed a debt), held, pending until eligible_at, eligible from then on.';
COMMENT ON COLUMN prm.v_ledger.held IS 'Whether a hold stands on it, on what it takes back, or on all of its partner.';
COMMENT ON COLUMN prm.v_ledger.hold_kind IS 'risk, dispute or manual.';
COMMENT ON COLUMN prm.v_ledger.hold_reason IS 'Why it is held.';
COMMENT ON COLUMN prm.v_ledger.held_since IS 'Since when.';
COMMENT ON COLUMN prm.v_ledger.hold_id IS 'The hold; of several the oldest.';
COMMENT ON COLUMN prm.v_ledger.earned_on IS 'Business date of the event, in the time zone of the programme.';
COMMENT ON COLUMN prm.v_ledger.eligible_at IS 'From when on it may be paid.';
COMMENT ON COLUMN prm.v_ledger.credit_type IS 'The credit that it was earned with.';
COMMENT ON COLUMN prm.v_ledger.earning_event_id IS 'The event on which it was earned; explain_commission() takes it.';
COMMENT ON COLUMN prm.v_ledger.event_kind IS 'Kind of the event: booked, invoiced ...';
COMMENT ON COLUMN prm.v_ledger.deal_id IS 'The deal of the event.';
COMMENT ON COLUMN prm.v_ledger.deal IS 'Name of the deal; NULL where you may not see it.';
COMMENT ON COLUMN prm.v_ledger.occurred_at IS 'When the event happened.';
COMMENT ON COLUMN prm.v_ledger.document_ref IS 'Number of the document (invoice) behind the event.';
COMMENT ON COLUMN prm.v_ledger.event_amount IS 'Amount of the whole event.';
COMMENT ON COLUMN prm.v_ledger.plan_id IS 'The commission plan.';
COMMENT ON COLUMN prm.v_ledger.plan IS 'Name of the plan when the entry was written.';
COMMENT ON COLUMN prm.v_ledger.rule_id IS 'The version of the rule.';
COMMENT ON COLUMN prm.v_ledger.rule IS 'Label of the rule when the entry was written.';
COMMENT ON COLUMN prm.v_ledger.schedule IS 'The schedule that was applied.';
COMMENT ON COLUMN prm.v_ledger.basis_amount IS 'What the schedule was applied to: the partner''s share of amount, margin, list amount or quantity.';
COMMENT ON COLUMN prm.v_ledger.level IS '0 for the seller, 1 for its parent ...';
COMMENT ON COLUMN prm.v_ledger.cause_entry_id IS 'The entry that this one derives from or takes back.';
COMMENT ON COLUMN prm.v_ledger.reason IS 'Why, for entries made by hand.';
COMMENT ON COLUMN prm.v_ledger.payee_id IS 'Who is paid in place of the partner; NULL: the partner itself.';
COMMENT ON COLUMN prm.v_ledger.legal_entity IS 'The vendor''s company that pays.';
COMMENT ON COLUMN prm.v_ledger.recorded_at IS 'When the entry was written, wall clock.';
COMMENT ON COLUMN prm.v_ledger.customer_id IS 'The customer of the event.';
COMMENT ON COLUMN prm.v_ledger.product IS 'The product of the event.';
COMMENT ON COLUMN prm.v_ledger.applies_to_id IS 'The event that this one refunds or pays.';
COMMENT ON COLUMN prm.v_ledger.lineage_id IS 'The rule through all its versions.';
COMMENT ON COLUMN prm.v_ledger.sequence_no IS 'Tells apart several entries of one event, credit, rule, level and kind.';
COMMENT ON COLUMN prm.v_ledger.attained_before IS 'What had been counted in the window before, for rules that accumulate.';
COMMENT ON COLUMN prm.v_ledger.override_mode IS 'How a level above 0 was paid: percent_of_sale, percent_of_below ...';
COMMENT ON COLUMN prm.v_ledger.exchange_rate IS 'How much of the plan''s currency one unit of the entry''s currency was worth, where they differ.';

CREATE OR REPLACE VIEW prm.v_statement_preview WITH (security_invoker = true) AS
  SELECT l.program_id, l.partner_id, p.name AS partner, l.currency, l.period, l.entry_id, l.earned_on,
    concat(CASE l.level WHEN 0 THEN l.kind ELSE format('%s, level %s', l.kind, l.level) END, ': ' || l.rule,
      ' on ' || coalesce(d.name, 'document ' || e.document_ref, e.kind || ' ' || e.earning_event_id), ', ' || l.reason) AS what,
    l.amount, CASE WHEN l.eligible_at > prm.now() THEN 'pending' ELSE 'eligible' END AS status, l.eligible_at,
    sum(l.amount) OVER (PARTITION BY l.program_id, l.partner_id, l.currency, l.period) AS total, l.earning_event_id, e.deal_id
  FROM (SELECT i.program_id, i.entry_id, i.partner_id, i.currency, o.amount, i.kind, i.level, i.reason, i.earned_on, i.eligible_at, i.earning_event_id,
          i.explain ->> 'rule' AS rule,
          date_trunc('month', greatest(i.earned_on, (i.eligible_at AT TIME ZONE prm._program_time_zone(i.program_id))::date)::timestamp)::date AS period
        FROM prm.ledger_open o JOIN prm.ledger i ON i.program_id = o.program_id AND i.entry_id = o.entry_id) l
  JOIN prm.partner p ON p.program_id = l.program_id AND p.partner_id = l.partner_id
  LEFT JOIN prm.earning_event e ON e.program_id = l.program_id AND e.earning_event_id = l.earning_event_id
  LEFT JOIN prm.deal d ON d.program_id = e.program_id AND d.deal_id = e.deal_id;
COMMENT ON COLUMN prm.v_ledger.statement_id IS 'The statement that it stands on; of parts the last.';
COMMENT ON COLUMN prm.v_ledger.statement_state IS 'State of that statement.';
COMMENT ON COLUMN prm.v_ledger.open_amount IS 'What of it is on no statement yet.';

COMMENT ON VIEW prm.v_statement_preview IS 'Statements-to-be, line by line: what each partner will find on its statement of a month, per currency, with the total.';
COMMENT ON COLUMN prm.v_statement_preview.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_statement_preview.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_statement_preview.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_statement_preview.currency IS 'ISO 4217; currencies are never added.';
COMMENT ON COLUMN prm.v_statement_preview.period IS 'First day of the month that contains the later of earned_on and eligible_at, in the time zone of the programme.';
COMMENT ON COLUMN prm.v_statement_preview.entry_id IS 'The ledger entry.';
COMMENT ON COLUMN prm.v_statement_preview.earned_on IS 'Business date of the event.';
COMMENT ON COLUMN prm.v_statement_preview.what IS 'The line in words: kind, rule and deal or document.';
COMMENT ON COLUMN prm.v_statement_preview.amount IS 'Signed money.';
COMMENT ON COLUMN prm.v_statement_preview.status IS 'pending until eligible_at, eligible from then on.';
COMMENT ON COLUMN prm.v_statement_preview.eligible_at IS 'From when on it may be paid.';
COMMENT ON COLUMN prm.v_statement_preview.total IS 'Sum of the lines of this partner, currency and month.';
COMMENT ON COLUMN prm.v_statement_preview.earning_event_id IS 'The event; explain_commission() takes it.';
COMMENT ON COLUMN prm.v_statement_preview.deal_id IS 'The deal.';

CREATE OR REPLACE VIEW prm.v_commission_month WITH (security_invoker = true) AS
  SELECT l.program_id, date_trunc('month', l.earned_on::timestamp)::date AS month, l.currency, count(*) AS entries,
    count(DISTINCT l.partner_id) AS partners, count(DISTINCT l.earning_event_id) AS events, sum(l.amount) AS amount
  FROM prm.ledger l
  WHERE l.kind IN ('commission', 'override', 'bonus', 'adjustment', 'reversal', 'clawback')
  GROUP BY l.program_id, date_trunc('month', l.earned_on::timestamp)::date, l.currency;
COMMENT ON VIEW prm.v_commission_month IS 'What was earned each month in each currency: commissions, overrides, bonuses and what took them back.';
COMMENT ON COLUMN prm.v_commission_month.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_commission_month.month IS 'First day of the month of earned_on.';
COMMENT ON COLUMN prm.v_commission_month.currency IS 'ISO 4217; currencies are never added.';
COMMENT ON COLUMN prm.v_commission_month.entries IS 'Number of ledger entries.';
COMMENT ON COLUMN prm.v_commission_month.partners IS 'Number of partners that earned.';
COMMENT ON COLUMN prm.v_commission_month.events IS 'Number of events on which they earned.';
COMMENT ON COLUMN prm.v_commission_month.amount IS 'Sum of the entries.';

CREATE OR REPLACE VIEW prm.v_earning WITH (security_invoker = true) AS
  SELECT e.program_id, e.earning_event_id, e.kind, e.occurred_at, (e.occurred_at AT TIME ZONE prm._program_time_zone(e.program_id))::date AS occurred_on,
    e.deal_id, d.name AS deal, e.line_no, e.document_ref, e.partner_id, p.name AS partner, e.customer_id, c.name AS customer,
    e.product, e.product_family, e.deal_kind, e.quantity, e.amount, e.commissionable_amount, e.currency, e.applies_to_id, e.external_ref,
    l.entries, l.commission, l.commission_currency, e.recorded_at
  FROM prm.earning_event e
  LEFT JOIN prm.deal d ON d.program_id = e.program_id AND d.deal_id = e.deal_id
  LEFT JOIN prm.partner p ON p.program_id = e.program_id AND p.partner_id = e.partner_id
  LEFT JOIN prm.customer c ON c.program_id = e.program_id AND c.customer_id = e.customer_id
  LEFT JOIN LATERAL (
    SELECT count(*) AS entries, CASE WHEN count(DISTINCT i.currency) < 2 THEN coalesce(sum(i.amount), 0) END AS commission,
      CASE WHEN count(DISTINCT i.currency) < 2 THEN max(i.currency) END AS commission_currency
    FROM prm.ledger i WHERE i.program_id = e.program_id AND i.earning_event_id = e.earning_event_id) l ON true;
COMMENT ON VIEW prm.v_earning IS 'The earning events with their deal, partner and customer, and what was earned on each.';
COMMENT ON COLUMN prm.v_earning.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_earning.earning_event_id IS 'The event; explain_commission() takes it.';
COMMENT ON COLUMN prm.v_earning.kind IS 'Kind of the event: booked, invoiced, refunded ...';
COMMENT ON COLUMN prm.v_earning.occurred_at IS 'When it happened.';
COMMENT ON COLUMN prm.v_earning.occurred_on IS 'Its business date, in the time zone of the programme.';
COMMENT ON COLUMN prm.v_earning.deal_id IS 'The deal.';
COMMENT ON COLUMN prm.v_earning.deal IS 'Name of the deal.';
COMMENT ON COLUMN prm.v_earning.line_no IS 'Line of the deal; NULL for the whole deal.';
COMMENT ON COLUMN prm.v_earning.document_ref IS 'Number of the document (invoice) behind it.';
COMMENT ON COLUMN prm.v_earning.partner_id IS 'The partner of the event; who is credited may differ.';
COMMENT ON COLUMN prm.v_earning.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_earning.customer_id IS 'The customer.';
COMMENT ON COLUMN prm.v_earning.customer IS 'Its name.';
COMMENT ON COLUMN prm.v_earning.product IS 'The product that was sold.';
COMMENT ON COLUMN prm.v_earning.product_family IS 'Its family.';
COMMENT ON COLUMN prm.v_earning.deal_kind IS 'new, renewal or upsell.';
COMMENT ON COLUMN prm.v_earning.quantity IS 'Units.';
COMMENT ON COLUMN prm.v_earning.amount IS 'Amount of the event; negative for refunds.';
COMMENT ON COLUMN prm.v_earning.commissionable_amount IS 'The part of it that commission is due on; NULL: all of it.';
COMMENT ON COLUMN prm.v_earning.currency IS 'Currency of the amounts, ISO 4217.';
COMMENT ON COLUMN prm.v_earning.applies_to_id IS 'The event that this one refunds or pays.';
COMMENT ON COLUMN prm.v_earning.external_ref IS 'Its id in the system it came from.';
COMMENT ON COLUMN prm.v_earning.entries IS 'Number of ledger entries of the event.';
COMMENT ON COLUMN prm.v_earning.commission IS 'Sum of the ledger entries; NULL where they are in several currencies.';
COMMENT ON COLUMN prm.v_earning.commission_currency IS 'Currency of commission.';
COMMENT ON COLUMN prm.v_earning.recorded_at IS 'When it was recorded, wall clock.';

CREATE OR REPLACE FUNCTION prm.commission(deal prm.deal) RETURNS numeric
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT coalesce(sum(l.amount), 0)
  FROM prm.ledger l
  WHERE l.program_id = (commission.deal).program_id AND l.currency = (commission.deal).currency
    AND l.kind IN ('commission', 'override', 'bonus', 'adjustment', 'reversal', 'clawback')
    AND l.earning_event_id IN (
      SELECT e.earning_event_id FROM prm.earning_event e
      WHERE e.program_id = (commission.deal).program_id AND e.deal_id = (commission.deal).deal_id
      UNION
      -- A refund may name the sale only.
      SELECT r.earning_event_id FROM prm.earning_event e
      JOIN prm.earning_event r ON r.program_id = e.program_id AND r.applies_to_id = e.earning_event_id
      WHERE e.program_id = (commission.deal).program_id AND e.deal_id = (commission.deal).deal_id);
END;
COMMENT ON FUNCTION prm.commission(prm.deal) IS
'What was earned on a deal, less what refunds took back, in the deal''s currency; with prm on the search_path it can be written as a column: deal.commission. For many deals read prm.v_earning.';

COMMENT ON TABLE prm.legal_entity IS 'The vendor''s companies that pay.';
COMMENT ON COLUMN prm.legal_entity.legal_entity IS 'Short name, the key.';
COMMENT ON COLUMN prm.legal_entity.label IS 'Name for people.';
COMMENT ON COLUMN prm.legal_entity.country IS 'Country, ISO 3166.';
COMMENT ON COLUMN prm.legal_entity.currency IS 'Its currency, ISO 4217.';

COMMENT ON TABLE prm.earning_kind IS 'The kinds of earning events of a programme.';
COMMENT ON COLUMN prm.earning_kind.kind IS 'The kind: lead, signup, booked, invoiced, collected, refunded, sell_in, sell_out, click, or one of your own.';
COMMENT ON COLUMN prm.earning_kind.label IS 'Name for people.';

COMMENT ON TABLE prm.earning_event IS 'Facts on which somebody may earn, append-only. A won deal books one by itself; billing systems insert the others. Inserting one accrues commission.';
COMMENT ON COLUMN prm.earning_event.earning_event_id IS 'Number of the event.';
COMMENT ON COLUMN prm.earning_event.kind IS 'What happened; a row of earning_kind. A plan earns on one kind.';
COMMENT ON COLUMN prm.earning_event.deal_id IS 'The deal that it belongs to; its credits are those of the deal.';
COMMENT ON COLUMN prm.earning_event.line_no IS 'The line of the deal; NULL for the whole deal.';
COMMENT ON COLUMN prm.earning_event.document_ref IS 'Number of the document (invoice, payment) behind it.';
COMMENT ON COLUMN prm.earning_event.partner_id IS 'The partner that is credited where no credits are given; NULL for none.';
COMMENT ON COLUMN prm.earning_event.customer_id IS 'The customer.';
COMMENT ON COLUMN prm.earning_event.product IS 'The product that was sold.';
COMMENT ON COLUMN prm.earning_event.product_family IS 'Its family, as it was then.';
COMMENT ON COLUMN prm.earning_event.deal_kind IS 'new, renewal or upsell, as the deal was then.';
COMMENT ON COLUMN prm.earning_event.subscription_id IS 'The subscription, by its name in the billing system.';
COMMENT ON COLUMN prm.earning_event.service_period IS 'The days that were paid for.';
COMMENT ON COLUMN prm.earning_event.quantity IS 'Units.';
COMMENT ON COLUMN prm.earning_event.amount IS 'Money, finite, zero or more; negative for kind refunded only.';
COMMENT ON COLUMN prm.earning_event.commissionable_amount IS 'The part of amount that commission is due on; NULL: all of it. Booking leaves commission-free lines out.';
COMMENT ON COLUMN prm.earning_event.list_amount IS 'Money at list prices.';
COMMENT ON COLUMN prm.earning_event.cost IS 'Cost to the vendor; the margin is the commissionable amount less this, at least 0.';
COMMENT ON COLUMN prm.earning_event.currency IS 'Currency of all amounts, ISO 4217.';
COMMENT ON COLUMN prm.earning_event.legal_entity IS 'The vendor''s company that sold, and pays.';
COMMENT ON COLUMN prm.earning_event.occurred_at IS 'When it happened; decides the business date, the rules in force and what was true of the partner just before.';
COMMENT ON COLUMN prm.earning_event.applies_to_id IS 'The event that this one refunds or pays.';

COMMENT ON TABLE prm.refund_total IS 'What was refunded of each event so far; the row that refunds of one event wait for. Written by the triggers of earning_event only.';
COMMENT ON COLUMN prm.refund_total.earning_event_id IS 'The event that was refunded.';
COMMENT ON COLUMN prm.refund_total.refunded IS 'Sum of its refunds, in the currency of the event, positive.';
COMMENT ON COLUMN prm.refund_total.refunds IS 'How many refunds they were.';
COMMENT ON TABLE prm.sales_credit IS 'Who is credited with an event, append-only: copied from deal_partner, or given for an event without a partner. No rows: the event''s own partner, as sourced, with all of it.';
COMMENT ON COLUMN prm.sales_credit.earning_event_id IS 'The event.';
COMMENT ON COLUMN prm.sales_credit.credit_type IS 'sourced, influenced, managed, assisted ...; each type is a full credit of the event.';
COMMENT ON COLUMN prm.sales_credit.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.sales_credit.weight IS 'Its part of the type, in percent, above 0; the weights of a type total 100.';

COMMENT ON TABLE prm.commission_plan IS 'Commission plans: on what kind of event partners earn, when it is payable, and how one rule is picked.';
COMMENT ON COLUMN prm.commission_plan.plan_id IS 'Number of the plan.';
COMMENT ON COLUMN prm.commission_plan.name IS 'Name of the plan, unique in the programme.';
COMMENT ON COLUMN prm.commission_plan.earn_on IS 'The kind of event that earns; never refunded, since a refund takes back what its event earned.';
COMMENT ON COLUMN prm.commission_plan.pay_on IS 'What makes it payable: earned, as soon as it is earned and the hold is over; collected, in proportion to what the customer paid of the event.';
COMMENT ON COLUMN prm.commission_plan.currency IS 'Currency of what is earned and of all bounds and fixed amounts in its rules, ISO 4217.';
COMMENT ON COLUMN prm.commission_plan.hold_days IS 'Days from the event until an entry may be paid, 0 to 3650.';
COMMENT ON COLUMN prm.commission_plan.clawback_days IS 'Days from the event in which a refund takes commission back; NULL: always.';
COMMENT ON COLUMN prm.commission_plan.pick IS 'Which of the rules that match pays, per component: most_specific (after priority), highest_paying, or all.';
COMMENT ON COLUMN prm.commission_plan.enrol_all IS 'Whether every partner is in the plan; otherwise those of plan_enrolment.';
COMMENT ON COLUMN prm.commission_plan.is_active IS 'Whether the plan earns on new events.';

COMMENT ON TABLE prm.plan_enrolment IS 'The partners of a plan that does not enrol everybody, and when.';
COMMENT ON COLUMN prm.plan_enrolment.plan_id IS 'The plan.';
COMMENT ON COLUMN prm.plan_enrolment.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.plan_enrolment.valid IS 'The business dates on which it is enrolled.';

COMMENT ON TABLE prm.commission_rule IS 'The rules of the plans, by versions: a rule that has earned never changes, supersede_rule() opens its next version. NULL in a dimension matches everything.';
COMMENT ON COLUMN prm.commission_rule.rule_id IS 'Number of this version of the rule.';
COMMENT ON COLUMN prm.commission_rule.lineage_id IS 'The rule through all its versions: the number of its first one. Versions never overlap.';
COMMENT ON COLUMN prm.commission_rule.plan_id IS 'The plan.';
COMMENT ON COLUMN prm.commission_rule.component IS 'What the rule pays for; one rule wins per component, components add up.';
COMMENT ON COLUMN prm.commission_rule.basis IS 'What is paid on: amount, list_amount, margin (floor 0) or quantity; the partner''s share of it.';
COMMENT ON COLUMN prm.commission_rule.schedule IS 'What it pays, as prm.commission_schedule reads it; kept in its canonical form.';
COMMENT ON COLUMN prm.commission_rule.accumulate IS 'transaction: each event on its own; cumulative: the difference that the event makes to the sum of its window; lookup: the sum chooses the bracket, which pays on this event only.';
COMMENT ON COLUMN prm.commission_rule.product IS 'Only for this product and its variants.';
COMMENT ON COLUMN prm.commission_rule.product_family IS 'Only for this family.';
COMMENT ON COLUMN prm.commission_rule.deal_kind IS 'Only for deals of this kind: new, renewal, upsell.';
COMMENT ON COLUMN prm.commission_rule.credit_type IS 'Only for this type of credit.';
COMMENT ON COLUMN prm.commission_rule.tier IS 'Only for partners that held this tier (ladder main) just before the event; a cap changes the benefits, not the tier held.';
COMMENT ON COLUMN prm.commission_rule.partner_kind IS 'Only for partners that were of this kind.';
COMMENT ON COLUMN prm.commission_rule.partner_id IS 'Only for this partner.';
COMMENT ON COLUMN prm.commission_rule.customer_id IS 'Only for this customer.';
COMMENT ON COLUMN prm.commission_rule.region IS 'Only for partners that were in this region.';
COMMENT ON COLUMN prm.commission_rule.condition IS 'A jsonpath comparison over {event, deal, customer, product, partner, payee, metrics, level, benefits}, evaluated strictly: only a clear true matches.';
COMMENT ON COLUMN prm.commission_rule.priority IS 'Higher wins, before specificity.';
COMMENT ON COLUMN prm.commission_rule.valid IS 'The business dates on which this version is in force.';
COMMENT ON COLUMN prm.commission_rule.label IS 'Name for people.';

COMMENT ON TABLE prm.ledger IS 'Who earned and owes what: append-only, signed, never updated or deleted by anybody. Each entry names its event, its rule and that rule''s version.';
COMMENT ON COLUMN prm.ledger.entry_id IS 'Number of the entry.';
COMMENT ON COLUMN prm.ledger.partner_id IS 'Who earned it.';
COMMENT ON COLUMN prm.ledger.payee_id IS 'Who is paid in place of the partner; NULL: the partner itself.';
COMMENT ON COLUMN prm.ledger.legal_entity IS 'The vendor''s company that pays.';
COMMENT ON COLUMN prm.ledger.kind IS 'commission, override, bonus, royalty, fee, mdf, draw, adjustment, reversal, clawback, tax, carry, payout or payout_fee.';
COMMENT ON COLUMN prm.ledger.component IS 'Component of the plan.';
COMMENT ON COLUMN prm.ledger.amount IS 'Signed money, finite, never zero, rounded to the minor unit.';
COMMENT ON COLUMN prm.ledger.currency IS 'ISO 4217; currencies are never added.';
COMMENT ON COLUMN prm.ledger.earning_event_id IS 'The event on which it was earned.';
COMMENT ON COLUMN prm.ledger.credit_type IS 'The credit that it was earned with.';
COMMENT ON COLUMN prm.ledger.plan_id IS 'The plan.';
COMMENT ON COLUMN prm.ledger.rule_id IS 'The version of the rule.';
COMMENT ON COLUMN prm.ledger.lineage_id IS 'The rule through all its versions.';
COMMENT ON COLUMN prm.ledger.level IS '0 for the seller, 1 for its parent ...';
COMMENT ON COLUMN prm.ledger.cause_entry_id IS 'The entry that this one derives from or takes back.';
COMMENT ON COLUMN prm.ledger.attained_before IS 'What had been attained in the window before, for rules that accumulate.';
COMMENT ON COLUMN prm.ledger.sequence_no IS 'Tells apart several entries of one event, credit, rule, level and kind.';
COMMENT ON COLUMN prm.ledger.earned_on IS 'Business date of the event, in the time zone of the programme.';
COMMENT ON COLUMN prm.ledger.eligible_at IS 'From when on it may be paid: the event and the hold of the plan.';
COMMENT ON COLUMN prm.ledger.reason IS 'Why, for entries made by hand.';
COMMENT ON COLUMN prm.ledger.idempotency_key IS 'Event, credit type, partner, rule lineage, level, kind and sequence: the same thing is never earned twice.';
COMMENT ON COLUMN prm.ledger.explain IS 'How it was computed: plan, rule, basis, basis_amount, schedule, commission (not rounded), amount and parts.';
