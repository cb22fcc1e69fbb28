
-- Accrual: what the columns mean that rules need beyond single events, and the tables that count.

COMMENT ON COLUMN prm.earning_event.registered IS 'Whether an approved registration of the partner covered the sale; NULL: nobody said so, which is not registered.';
COMMENT ON COLUMN prm.earning_event.booking_no IS 'Which booking of the deal it is, from 1: a deal that was taken back and is won again books again.';
COMMENT ON COLUMN prm.sales_credit.revision IS 'Later credits are a full next revision of their type; the highest one counts. One that has weight 0 for all withdraws the type.';
COMMENT ON COLUMN prm.sales_credit.origin IS 'given (by whoever recorded the event, or corrected it), deal (copied when the deal booked) or late (the deal''s credits changed afterwards).';

COMMENT ON COLUMN prm.commission_plan.override_depth IS 'How many levels of parents are looked at for overrides, 0 to 100.';
COMMENT ON COLUMN prm.commission_plan.compress IS 'Whether a parent that qualifies for nothing is skipped, so that the next one takes its level; otherwise its level stays unpaid.';
COMMENT ON COLUMN prm.commission_plan.rules_changed_at IS 'When its rules or enrolments were last changed; set by the model. Accrual and such changes wait for each other by this row.';

COMMENT ON COLUMN prm.commission_rule.entry_kind IS 'Kind of the ledger entries: commission or bonus (the partner earns), royalty or fee (the partner owes: negative).';
COMMENT ON COLUMN prm.commission_rule.level IS 'Who is paid: 0 the seller, 1 its parent, 2 the parent of that ...';
COMMENT ON COLUMN prm.commission_rule.through_level IS 'Last level that the rule pays; NULL: only level.';
COMMENT ON COLUMN prm.commission_rule.override_mode IS
'How a level above 0 is paid: percent_of_sale (default), percent_of_below (of the entry below), differential (own schedule less what is paid below), rollup (a missing level goes to the seller), lower_of_plans (the lesser of own and the seller''s plan), top_of_chain (the last parent only). NULL at level 0.';
COMMENT ON COLUMN prm.commission_rule.measure IS 'What is looked up and counted: amount, list_amount, margin, quantity or attainment (of the quota, 1 = reached); NULL: the basis.';
COMMENT ON COLUMN prm.commission_rule.window_kind IS 'In which windows a rule counts: month, half_month, quarter, half, year or lifetime; NULL for accumulate = transaction.';
COMMENT ON COLUMN prm.commission_rule.recurring_months IS 'For how many months from the first sale to the customer the rule pays, 0 to 1200; 0: the first one only; NULL: for life.';
COMMENT ON COLUMN prm.commission_rule.recurring_policy IS 'first_sale: the version that paid the first sale governs; in_force: the one in force at the event.';
COMMENT ON COLUMN prm.commission_rule.registered IS 'Only for sales that were registered (true) or were not (false); NULL: both.';
COMMENT ON COLUMN prm.commission_rule.min_amount IS 'Less than this, in the plan''s currency, is not paid but recorded as breakage.';
COMMENT ON COLUMN prm.commission_rule.cap_amount IS 'Most that is paid within cap_scope and cap_window, in the plan''s currency; what is above is recorded as breakage.';
COMMENT ON COLUMN prm.commission_rule.cap_scope IS 'What shares the cap: each partner (default), each customer, the programme, the plan, or each event.';
COMMENT ON COLUMN prm.commission_rule.cap_window IS 'When the cap begins anew: month, half_month, quarter, half, year or lifetime (default).';

COMMENT ON TABLE prm.quota IS 'What a partner shall reach in each window of a kind; rules by attainment and v_quota measure against it.';
COMMENT ON COLUMN prm.quota.quota_id IS 'Number of the quota.';
COMMENT ON COLUMN prm.quota.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.quota.measure IS 'What is counted: amount, list_amount, margin or quantity.';
COMMENT ON COLUMN prm.quota.window_kind IS 'The windows it is for: month, half_month, quarter, half, year or lifetime.';
COMMENT ON COLUMN prm.quota.amount IS 'To reach in one whole window, above 0; money in the plan''s currency.';
COMMENT ON COLUMN prm.quota.valid IS 'The days for which it holds; a window that it covers in part, or before the partner joined, asks for that part of the amount only.';
COMMENT ON COLUMN prm.quota.label IS 'Name for people.';

COMMENT ON TABLE prm.exchange_rate IS 'Rates between currencies, by day: in force from valid_from until the next of the same pair.';
COMMENT ON COLUMN prm.exchange_rate.from_currency IS 'ISO 4217.';
COMMENT ON COLUMN prm.exchange_rate.to_currency IS 'ISO 4217, another one.';
COMMENT ON COLUMN prm.exchange_rate.valid_from IS 'First business date.';
COMMENT ON COLUMN prm.exchange_rate.rate IS 'How much of to_currency one unit of from_currency is, above 0. The other direction is its inverse unless it has rates of its own.';
COMMENT ON COLUMN prm.exchange_rate.source IS 'Where it comes from.';

COMMENT ON TABLE prm.accumulator IS 'Where the counts stand: attained amounts of rules that accumulate and the use of caps, in the plan''s currency; the rows that accruals wait for. Always the sum of accumulator_entry; written by accrual only.';
COMMENT ON COLUMN prm.accumulator.purpose IS 'attained (a rule''s sum of the window) or cap (what was used of a cap).';
COMMENT ON COLUMN prm.accumulator.lineage_id IS 'The rule through all its versions; 0: the whole plan.';
COMMENT ON COLUMN prm.accumulator.plan_id IS 'The plan.';
COMMENT ON COLUMN prm.accumulator.partner_id IS 'The partner; 0: all.';
COMMENT ON COLUMN prm.accumulator.customer_id IS 'The customer; 0: all.';
COMMENT ON COLUMN prm.accumulator.credit_type IS 'The type of the credits; empty for caps.';
COMMENT ON COLUMN prm.accumulator.window_start IS 'First day of the window; -infinity for lifetime.';
COMMENT ON COLUMN prm.accumulator.amount IS 'The sum so far: of the measure, or of what was paid under the cap.';
COMMENT ON COLUMN prm.accumulator.basis_amount IS 'The sum of the basis, where it is not the measure.';
COMMENT ON COLUMN prm.accumulator.entries IS 'How many entries it has.';

COMMENT ON TABLE prm.accumulator_entry IS 'Each step of a count, append-only: what an event added, and what stood before it. An event that pays nothing may count.';
COMMENT ON COLUMN prm.accumulator_entry.accumulator_entry_id IS 'Number of the step.';
COMMENT ON COLUMN prm.accumulator_entry.purpose IS 'attained or cap.';
COMMENT ON COLUMN prm.accumulator_entry.lineage_id IS 'The rule through all its versions; 0: the whole plan.';
COMMENT ON COLUMN prm.accumulator_entry.plan_id IS 'The plan.';
COMMENT ON COLUMN prm.accumulator_entry.partner_id IS 'The partner; 0: all.';
COMMENT ON COLUMN prm.accumulator_entry.customer_id IS 'The customer; 0: all.';
COMMENT ON COLUMN prm.accumulator_entry.credit_type IS 'The type of the credits; empty for caps.';
COMMENT ON COLUMN prm.accumulator_entry.window_start IS 'First day of the window; -infinity for lifetime.';
COMMENT ON COLUMN prm.accumulator_entry.sequence_no IS 'Place within the count, from 1, without gaps.';
COMMENT ON COLUMN prm.accumulator_entry.earning_event_id IS 'The event that counted.';
COMMENT ON COLUMN prm.accumulator_entry.entry_id IS 'The ledger entry, for caps.';
COMMENT ON COLUMN prm.accumulator_entry.amount IS 'What it added; negative where it was taken back.';
COMMENT ON COLUMN prm.accumulator_entry.basis_amount IS 'What it added to the sum of the basis.';
COMMENT ON COLUMN prm.accumulator_entry.amount_before IS 'The sum before it.';
COMMENT ON COLUMN prm.accumulator_entry.basis_before IS 'The sum of the basis before it.';

COMMENT ON TABLE prm.recurring_start IS 'The first sale of a partner to a customer that a component paid, from which recurring_months count; append-only.';
COMMENT ON COLUMN prm.recurring_start.plan_id IS 'The plan.';
COMMENT ON COLUMN prm.recurring_start.component IS 'The component of the plan.';
COMMENT ON COLUMN prm.recurring_start.partner_id IS 'The partner that is paid.';
COMMENT ON COLUMN prm.recurring_start.customer_id IS 'The customer.';
COMMENT ON COLUMN prm.recurring_start.rule_id IS 'The version of the rule that paid.';
COMMENT ON COLUMN prm.recurring_start.lineage_id IS 'The rule through all its versions.';
COMMENT ON COLUMN prm.recurring_start.started_on IS 'Business date of the sale.';
COMMENT ON COLUMN prm.recurring_start.earning_event_id IS 'The sale.';

COMMENT ON TABLE prm.breakage IS 'Money that a winning rule would have paid and did not, with the reason; append-only, so that nothing is lost silently.';
COMMENT ON COLUMN prm.breakage.breakage_id IS 'Number of the row.';
COMMENT ON COLUMN prm.breakage.earning_event_id IS 'The event.';
COMMENT ON COLUMN prm.breakage.credit_type IS 'The credit.';
COMMENT ON COLUMN prm.breakage.partner_id IS 'Who would have been paid.';
COMMENT ON COLUMN prm.breakage.plan_id IS 'The plan.';
COMMENT ON COLUMN prm.breakage.rule_id IS 'The version of the rule.';
COMMENT ON COLUMN prm.breakage.lineage_id IS 'The rule through all its versions.';
COMMENT ON COLUMN prm.breakage.component IS 'Component of the plan.';
COMMENT ON COLUMN prm.breakage.level IS '0 for the seller, 1 for its parent ...';
COMMENT ON COLUMN prm.breakage.reason_code IS 'below_minimum, capped, no_exchange_rate, recurring_over, unqualified_upline, no_seller_plan ...';
COMMENT ON COLUMN prm.breakage.reason IS 'The same in words.';
COMMENT ON COLUMN prm.breakage.amount IS 'What was not paid, signed as its entry would be (royalties and fees below zero); NULL where it cannot be told. Recalculations add what the difference is.';
COMMENT ON COLUMN prm.breakage.currency IS 'ISO 4217.';

COMMENT ON TABLE prm.collected_total IS 'What was collected of each event so far; the row that collections of one event wait for. Written by the triggers of earning_event only.';
COMMENT ON COLUMN prm.collected_total.earning_event_id IS 'The event that was paid by the customer.';
COMMENT ON COLUMN prm.collected_total.collected IS 'Sum of its collections, in the currency of the event.';
COMMENT ON COLUMN prm.collected_total.collections IS 'How many they were.';

COMMENT ON TABLE prm.subscription IS 'What customers pay period by period; run_jobs() books each period that has begun as an earning event, once.';
COMMENT ON COLUMN prm.subscription.subscription_id IS 'Its name, as the billing system calls it; its events carry it.';
COMMENT ON COLUMN prm.subscription.partner_id IS 'The partner that is credited with each period.';
COMMENT ON COLUMN prm.subscription.customer_id IS 'The customer.';
COMMENT ON COLUMN prm.subscription.product IS 'The product.';
COMMENT ON COLUMN prm.subscription.quantity IS 'Units, such as seats.';
COMMENT ON COLUMN prm.subscription.amount IS 'Money of one whole period, zero or more.';
COMMENT ON COLUMN prm.subscription.list_amount IS 'Money of one period at list prices.';
COMMENT ON COLUMN prm.subscription.cost IS 'Cost of one period to the vendor.';
COMMENT ON COLUMN prm.subscription.currency IS 'ISO 4217.';
COMMENT ON COLUMN prm.subscription.period_kind IS 'Length of a period: month, quarter or year.';
COMMENT ON COLUMN prm.subscription.started_on IS 'First day of the first period.';
COMMENT ON COLUMN prm.subscription.ended_on IS 'Last day that is paid for; NULL: it goes on. A period that begins later is not booked.';
COMMENT ON COLUMN prm.subscription.state IS 'active, paused (books nothing until it is active again, then what begins from then on) or ended.';
COMMENT ON COLUMN prm.subscription.earn_kind IS 'Kind of the earning events: invoiced, or another one of earning_kind.';
COMMENT ON COLUMN prm.subscription.deal_id IS 'The deal that it came from; its credits are those of the deal.';
COMMENT ON COLUMN prm.subscription.legal_entity IS 'The vendor''s company that sells, and pays.';
COMMENT ON COLUMN prm.subscription.next_period_on IS 'First day of the next period to book; kept by the model.';
