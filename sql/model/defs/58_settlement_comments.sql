
-- What the tables of settlement mean.

COMMENT ON TABLE prm.partner_payee IS 'Who is paid in place of a partner, and when. Without a row a partner is paid itself.';
COMMENT ON COLUMN prm.partner_payee.partner_id IS 'The partner that earns.';
COMMENT ON COLUMN prm.partner_payee.payee_id IS 'The payee that gets it.';
COMMENT ON COLUMN prm.partner_payee.valid IS 'The last days of the periods for which that holds; no two of a partner overlap.';

COMMENT ON TABLE prm.settlement_profile IS 'How payees are settled and paid, per payee and currency. NULL stands for all; the row of the payee and currency counts, else of the payee, else of the currency, else of all.';
COMMENT ON COLUMN prm.settlement_profile.settlement_profile_id IS 'Number of the profile.';
COMMENT ON COLUMN prm.settlement_profile.payee_id IS 'The payee; NULL: all.';
COMMENT ON COLUMN prm.settlement_profile.currency IS 'ISO 4217; NULL: all; needed for a minimum.';
COMMENT ON COLUMN prm.settlement_profile.period_kind IS 'How often statements are made: month, half_month (to the 15th and the last day), quarter (of the fiscal year).';
COMMENT ON COLUMN prm.settlement_profile.min_payout IS 'What a statement and a payout must reach; below it the entries stay open. 0: none.';
COMMENT ON COLUMN prm.settlement_profile.debt_policy IS 'What becomes of a debt: net (later statements pay it first), block (nothing is paid until it is settled), write_off (given up after write_off_days).';
COMMENT ON COLUMN prm.settlement_profile.write_off_days IS 'Days after the end of the period until a debt is given up; with write_off only. Royalties and fees never are.';
COMMENT ON COLUMN prm.settlement_profile.auto_approve IS 'Whether statements are approved as they are made.';
COMMENT ON COLUMN prm.settlement_profile.payout_mode IS 'scheduled: every create_payouts() pays; on_request: the payee asks.';
COMMENT ON COLUMN prm.settlement_profile.payment_days IS 'Days after the end of the period until a statement is paid, 0 to 365.';
COMMENT ON COLUMN prm.settlement_profile.payout_method IS 'How it is paid, in your own terms: sepa, check, paypal ...';
COMMENT ON COLUMN prm.settlement_profile.pay_currency IS 'Currency of the payment, ISO 4217; NULL: that of the statement. Converted as convert_at says.';
COMMENT ON COLUMN prm.settlement_profile.convert_at IS 'When amounts are converted to pay_currency: payout (at the rate of the day of the payout) or statement (at the rate of the last day of the period, kept with the statement).';
COMMENT ON COLUMN prm.settlement_profile.document_grouping IS 'One document for each statement (separate), or one for all that are invoiced together (grouped).';

COMMENT ON TABLE prm.settlement_calendar IS 'How far the periods of each kind are closed. Closes and holds meet at its rows.';
COMMENT ON COLUMN prm.settlement_calendar.period_kind IS 'month, half_month or quarter.';
COMMENT ON COLUMN prm.settlement_calendar.closed_through IS 'Last day of the last period that was closed; NULL: none.';
COMMENT ON COLUMN prm.settlement_calendar.closes IS 'How often a close began.';
COMMENT ON COLUMN prm.settlement_calendar.closed_at IS 'When the last one was.';

COMMENT ON TABLE prm.statement IS 'Statements: what a payee is paid, or owes, for a period, per paying company and currency. The total is the sum of its lines. Only its state changes; made by close_period().';
COMMENT ON COLUMN prm.statement.statement_id IS 'Number of the statement.';
COMMENT ON COLUMN prm.statement.payee_id IS 'Who is paid.';
COMMENT ON COLUMN prm.statement.partner_id IS 'The partner of the payee.';
COMMENT ON COLUMN prm.statement.legal_entity IS 'The vendors company that pays.';
COMMENT ON COLUMN prm.statement.currency IS 'ISO 4217.';
COMMENT ON COLUMN prm.statement.period IS 'First day of the period.';
COMMENT ON COLUMN prm.statement.period_end IS 'Last day of the period.';
COMMENT ON COLUMN prm.statement.period_kind IS 'month, half_month or quarter.';
COMMENT ON COLUMN prm.statement.state IS 'settled, approved, invoiced, paid, disputed, carried (a debt that a later statement has) or cancelled; the machine statement says what may follow.';
COMMENT ON COLUMN prm.statement.carried IS 'What its lines bring forward of debts of earlier periods, zero or less.';
COMMENT ON COLUMN prm.statement.debt_since IS 'Of a total below zero: the last day of the period that the debt comes from, which counts for its age.';
COMMENT ON COLUMN prm.statement.pay_currency IS 'What the total was converted to when the statement was made (settlement_profile.convert_at), ISO 4217; NULL: it was not. Debts are not.';
COMMENT ON COLUMN prm.statement.pay_total IS 'The total in that currency, rounded once.';
COMMENT ON COLUMN prm.statement.exchange_rate IS 'The rate of that conversion, in force on the last day of the period, kept.';
COMMENT ON COLUMN prm.statement.cancels_id IS 'The statement that this one takes back, line by line; both are cancelled.';
COMMENT ON COLUMN prm.statement.total IS 'Sum of its lines; below zero the payee owes it.';
COMMENT ON COLUMN prm.statement.entries IS 'Number of its lines.';
COMMENT ON COLUMN prm.statement.receivable IS 'The part of a debt that is royalties and fees.';
COMMENT ON COLUMN prm.statement.is_forced IS 'Whether it was made out of turn.';
COMMENT ON COLUMN prm.statement.closed_at IS 'When it was made.';
COMMENT ON COLUMN prm.statement.closed_by IS 'Who made it.';

COMMENT ON TABLE prm.statement_line IS 'The ledger entries on statements, append-only. All lines of a statement come in one statement of SQL, and sum to its total.';
COMMENT ON COLUMN prm.statement_line.entry_id IS 'The ledger entry; on one statement only, but in parts where its plan pays as the customer does.';
COMMENT ON COLUMN prm.statement_line.statement_id IS 'The statement.';
COMMENT ON COLUMN prm.statement_line.partner_id IS 'The partner of the payee, who may read the line.';
COMMENT ON COLUMN prm.statement_line.part IS '1, or the number of the part; what a cancelled statement takes back is a part of its own.';
COMMENT ON COLUMN prm.statement_line.amount IS 'The amount of the entry, or of the part.';

COMMENT ON TABLE prm.statement_share IS 'What each earning partner has on each statement, append-only; with delegation it is not the payee.';
COMMENT ON COLUMN prm.statement_share.partner_id IS 'The partner that earned it.';
COMMENT ON COLUMN prm.statement_share.statement_id IS 'The statement.';
COMMENT ON COLUMN prm.statement_share.currency IS 'Currency of the statement.';
COMMENT ON COLUMN prm.statement_share.amount IS 'Sum of its lines.';
COMMENT ON COLUMN prm.statement_share.entries IS 'Number of its lines.';

COMMENT ON TABLE prm.ledger_open IS 'The ledger entries that stand on no statement yet: the work list of settlement, kept by the triggers of the ledger and by close_period(). Not for direct use: read v_ledger.';
COMMENT ON COLUMN prm.ledger_open.partner_id IS 'Who earned it.';
COMMENT ON COLUMN prm.ledger_open.entry_id IS 'The entry.';
COMMENT ON COLUMN prm.ledger_open.payee_id IS 'The payee that the entry names; 0: none.';
COMMENT ON COLUMN prm.ledger_open.eligible_at IS 'From when on it may be paid.';
COMMENT ON COLUMN prm.ledger_open.due_on IS 'The later of earned_on and the business day of eligible_at: its period.';
COMMENT ON COLUMN prm.ledger_open.part IS 'The part that comes next.';
COMMENT ON COLUMN prm.ledger_open.is_receivable IS 'Royalties and fees.';
COMMENT ON COLUMN prm.ledger_open.is_owed IS 'What the partner owes: clawbacks, royalties, fees; a ban does not hold it.';
COMMENT ON COLUMN prm.ledger_open.is_deferred IS 'Whether its plan pays as the customer does.';
COMMENT ON COLUMN prm.ledger_open.amount IS 'What is open of it.';
COMMENT ON COLUMN prm.ledger_open.is_carry IS 'Whether it brings a debt forward.';
COMMENT ON COLUMN prm.ledger_open.counted IS 'What of it a draw has counted as earned: a period counts only what none before it did.';
COMMENT ON COLUMN prm.ledger_open.currency IS 'ISO 4217.';
COMMENT ON COLUMN prm.ledger_open.legal_entity IS 'The paying company; empty: none.';

COMMENT ON TABLE prm.draw_agreement IS 'What a partner may count on in each period: where it earns less, the rest is drawn; a recoverable draw is repaid from what it earns above it, never from the draw.';
COMMENT ON COLUMN prm.draw_agreement.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.draw_agreement.currency IS 'ISO 4217.';
COMMENT ON COLUMN prm.draw_agreement.amount IS 'Amount for each period of its profile, above zero; all of it also where the partner leaves within the period. After a change of period_kind the first whole period counts.';
COMMENT ON COLUMN prm.draw_agreement.is_recoverable IS 'False: the guarantee is a gift.';
COMMENT ON COLUMN prm.draw_agreement.legal_entity IS 'The paying company.';
COMMENT ON COLUMN prm.draw_agreement.valid IS 'The last days of the periods for which it holds.';

COMMENT ON TABLE prm.dispute IS 'What partners say against ledger entries, append-only. A dispute holds the entry, or stops its statement, until resolve_dispute().';
COMMENT ON COLUMN prm.dispute.dispute_id IS 'Number of the dispute.';
COMMENT ON COLUMN prm.dispute.entry_id IS 'The entry.';
COMMENT ON COLUMN prm.dispute.partner_id IS 'The partner whose entry it is.';
COMMENT ON COLUMN prm.dispute.reason IS 'What is wrong with it.';
COMMENT ON COLUMN prm.dispute.opened_at IS 'Since when.';
COMMENT ON COLUMN prm.dispute.opened_by IS 'Who says so.';

COMMENT ON TABLE prm.payout_fee_rule IS 'What payments cost the vendor, or the payee: a rate on what is beyond the free amount, and a hard rate on all of it.';
COMMENT ON COLUMN prm.payout_fee_rule.currency IS 'ISO 4217.';
COMMENT ON COLUMN prm.payout_fee_rule.rate IS 'Share of what is beyond the free amount, 0.03 = 3 percent.';
COMMENT ON COLUMN prm.payout_fee_rule.hard_rate IS 'Share of all of it, never waived.';
COMMENT ON COLUMN prm.payout_fee_rule.waiver IS 'Amount of payouts that is free of the rate.';
COMMENT ON COLUMN prm.payout_fee_rule.waiver_used IS 'How much of it was used; kept by create_payouts().';
COMMENT ON COLUMN prm.payout_fee_rule.borne_by IS 'vendor or payee; the payee gets less by it.';

COMMENT ON TABLE prm.payout_request IS 'That a partner is to be paid, append-only: asked for by the partner, or forced by the vendor. A later payout serves it.';
COMMENT ON COLUMN prm.payout_request.payout_request_id IS 'Number of the request.';
COMMENT ON COLUMN prm.payout_request.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.payout_request.currency IS 'Only this currency; NULL: all.';
COMMENT ON COLUMN prm.payout_request.is_forced IS 'Whether the vendor forced it: no minimum, no waiting.';
COMMENT ON COLUMN prm.payout_request.reason IS 'Why; needed where it is forced.';
COMMENT ON COLUMN prm.payout_request.requested_at IS 'When.';
COMMENT ON COLUMN prm.payout_request.requested_by IS 'By whom.';

COMMENT ON TABLE prm.payout IS 'Payouts: what is paid to a payee for its statements. Made by create_payouts(), settled by settle_payout(); only its state changes.';
COMMENT ON COLUMN prm.payout.payout_id IS 'Number of the payout.';
COMMENT ON COLUMN prm.payout.batch_id IS 'Payouts of one create_payouts() have one number.';
COMMENT ON COLUMN prm.payout.payee_id IS 'Who is paid.';
COMMENT ON COLUMN prm.payout.partner_id IS 'The partner of the payee.';
COMMENT ON COLUMN prm.payout.legal_entity IS 'The vendors company that pays.';
COMMENT ON COLUMN prm.payout.currency IS 'ISO 4217.';
COMMENT ON COLUMN prm.payout.state IS 'pending, paid or failed.';
COMMENT ON COLUMN prm.payout.amount IS 'Sum of the statements that it pays, debts taken off; never below zero.';
COMMENT ON COLUMN prm.payout.fee IS 'What the payment costs.';
COMMENT ON COLUMN prm.payout.fee_free IS 'The part of amount that was free of the rate.';
COMMENT ON COLUMN prm.payout.fee_charged IS 'The part of amount that the rate was taken on.';
COMMENT ON COLUMN prm.payout.fee_borne_by IS 'vendor or payee.';
COMMENT ON COLUMN prm.payout.net IS 'What the payee gets.';
COMMENT ON COLUMN prm.payout.pay_currency IS 'Currency of the payment.';
COMMENT ON COLUMN prm.payout.pay_amount IS 'net in that currency.';
COMMENT ON COLUMN prm.payout.exchange_rate IS 'The rate of that conversion, kept; NULL: none, or its statements have the rates.';
COMMENT ON COLUMN prm.payout.is_forced IS 'Whether it was made out of turn.';
COMMENT ON COLUMN prm.payout.method IS 'How it is paid.';
COMMENT ON COLUMN prm.payout.reference IS 'Reference of the payment.';
COMMENT ON COLUMN prm.payout.due_on IS 'Business day on which it was made.';
COMMENT ON COLUMN prm.payout.settled_at IS 'When it was paid or failed.';
COMMENT ON COLUMN prm.payout.attempts IS 'How often it was sent.';

COMMENT ON TABLE prm.payout_statement IS 'Which statements a payout pays. A statement has one payout at a time: a failed one lets go of it.';
COMMENT ON COLUMN prm.payout_statement.payout_id IS 'The payout.';
COMMENT ON COLUMN prm.payout_statement.statement_id IS 'The statement.';
COMMENT ON COLUMN prm.payout_statement.partner_id IS 'The partner of the payee.';
COMMENT ON COLUMN prm.payout_statement.amount IS 'Total of the statement.';
COMMENT ON COLUMN prm.payout_statement.released_at IS 'When the payout let go of it; NULL: it pays it.';

COMMENT ON TABLE prm.statement_policy IS 'What my_statement() tells partners of their statements. Without a row: everything. It is no right: roles of the profile partner read their rows of ledger and earning_event as they are.';
COMMENT ON COLUMN prm.statement_policy.customer_shown IS 'Names of customers: full, initials or hidden.';
COMMENT ON COLUMN prm.statement_policy.basis_shown IS 'Whether my_statement() shows what the commission was taken on, and the schedule.';
