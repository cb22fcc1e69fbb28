-- What happens between statements: debts that are carried into the next period, statements that are cancelled, amounts that are
-- converted when the statement is made, and draws of a partner that leaves. Acceptance ids stand in the names.
BEGIN;
\ir settlement.psql
CREATE FUNCTION pg_temp.month(the_month date) RETURNS text LANGUAGE sql AS
$$ SELECT pg_temp.at((the_month + interval '1 month')::date::text || ' 12:00+00'); SELECT pg_temp.closing((the_month + interval '1 month')::date - 1) $$;
CREATE FUNCTION pg_temp.statements() RETURNS text LANGUAGE sql AS
$$ SELECT string_agg(format('%s %s', total, state), ', ' ORDER BY statement_id) FROM prm.statement WHERE program_id = prm.current_program() $$;
CREATE FUNCTION pg_temp.carries() RETURNS text LANGUAGE sql AS
$$ SELECT string_agg(format('%s %s', component, amount), ', ' ORDER BY entry_id) FROM prm.ledger WHERE program_id = prm.current_program() AND kind = 'carry' $$;
CREATE FUNCTION pg_temp.sound() RETURNS text LANGUAGE sql AS $$ SELECT string_agg(rule || ': ' || detail, '; ') FROM prm.audit_ledger() $$;
-- Statements that stand, what is open: that is all of the ledger.
CREATE FUNCTION pg_temp.even() RETURNS numeric LANGUAGE sql AS $$
  SELECT coalesce((SELECT sum(total) FROM prm.statement WHERE program_id = prm.current_program() AND state NOT IN ('paid', 'carried', 'cancelled')), 0)
    + coalesce((SELECT sum(amount) FROM prm.ledger_open WHERE program_id = prm.current_program()), 0)
    - coalesce((SELECT sum(amount) FROM prm.ledger WHERE program_id = prm.current_program()), 0) $$;

-- ---- carry: CLB-005 ------------------------------------------------------------------------------------------------
SELECT pg_temp.program('Carry') AS program \gset
SELECT pg_temp.partner('Ann') AS ann \gset
SELECT pg_temp.at('2025-01-10 12:00+00');
SELECT prm.post_adjustment(:ann, 30, 'USD', 'open') AS a \gset
SELECT prm.post_adjustment(:ann, -100, 'USD', 'taken back') AS b \gset
SELECT is(pg_temp.month('2025-01-01'), 'carry Ann -70.00 USD 2025-01-01', 'CLB-005 a total below zero');
SELECT is(pg_temp.balance(:ann), 'USD pending 0 held 0 eligible 0 statement 0.00 paid 0 debt 70.00 draw 0', 'CLB-005 is a debt');
SELECT pg_temp.approve();
SELECT is(pg_temp.pay(), 'owes Ann -70.00 USD', 'CLB-005 that blocks payouts');
SELECT is(pg_temp.month('2025-02-01'), 'nothing', 'it stays where it is while there is nothing to pay it with');
SELECT is(pg_temp.carries(), NULL, 'no entry is written for that');
SELECT pg_temp.at('2025-03-05 12:00+00');
SELECT prm.post_adjustment(:ann, 20, 'USD', 'earned') AS c \gset
SELECT is(pg_temp.month('2025-03-01'), 'carry Ann -50.00 USD 2025-03-01', 'what is too little pays a part of it');
SELECT is(pg_temp.carries(), 'closed 70.00, debt -70.00', 'the debt is closed, and opened in the next period');
SELECT is(pg_temp.statements(), '-70.00 carried, -50.00 settled', 'the old statement is done with, the new one has the rest');
SELECT is((SELECT debt_since FROM prm.statement WHERE program_id = :program AND total = -50), date '2025-01-31', 'which is as old as it was');
SELECT is((SELECT format('%s %s', carried, entries) FROM prm.statement WHERE program_id = :program AND total = -50), '-70.00 2', 'and says how much was brought forward');
SELECT is(pg_temp.balance(:ann), 'USD pending 0 held 0 eligible 0 statement 0.00 paid 0 debt 50.00 draw 0', 'the balance counts it once');
SELECT is((SELECT string_agg(format('%s %s %s', side, days_61_90, total), ',') FROM prm.v_aged_balance WHERE program_id = :program), 'debt  -50.00', 'aged: once');
SELECT is((SELECT days_31_60 FROM prm.v_aged_balance WHERE program_id = :program), -50.00, 'and as old as the debt is');
SELECT pg_temp.at('2025-04-05 12:00+00');
SELECT prm.post_adjustment(:ann, 80, 'USD', 'earned') AS d \gset
SELECT is(pg_temp.month('2025-04-01'), 'settled Ann 30.00 USD 2025-04-01', 'CLB-005 later credits first pay the debt');
SELECT pg_temp.approve();
SELECT is(pg_temp.pay(), 'paid_out Ann 30.00 USD', 'CLB-005 only the excess is payable');
SELECT pg_temp.settle_all();
SELECT is(pg_temp.balance(:ann), 'USD pending 0 held 0 eligible 0 statement 0.00 paid 30.00 debt 0 draw 0', 'the debt is paid');
SELECT is(pg_temp.even(), 0.00, 'statements and what is open are the ledger');
SELECT is((SELECT sum(amount) FROM prm.ledger WHERE program_id = :program), 0.00, 'which comes out even');
SELECT is(pg_temp.sound(), NULL, 'the books are sound');
SELECT is((SELECT string_agg(DISTINCT status, ',') FROM prm.v_ledger WHERE kind = 'carry' AND component = 'closed' AND program_id = :program), 'carried', 'what closes a debt says so');
SELECT is((SELECT string_agg(format('%s %s', amount, running_total), ', ' ORDER BY line_no) FROM prm.my_statement((SELECT max(statement_id) FROM prm.statement WHERE program_id = :program))), '-50.00 -50.00, 80.00 30.00', 'the statement shows what was brought forward');
SELECT throws_ok(format('UPDATE prm.statement SET state = ''carried'' WHERE program_id = %s AND total = 30', :program), '23514', NULL, 'what is paid is not carried');

-- Several debts: the oldest is paid first, and only as many are carried as there is something to pay them with.
SELECT pg_temp.program('Layers') AS program \gset
SELECT pg_temp.partner('Ann') AS ann \gset
INSERT INTO prm.settlement_profile (debt_policy, write_off_days) VALUES ('write_off', 45);
SELECT pg_temp.at('2025-01-10 12:00+00');
SELECT prm.post_adjustment(:ann, -10, 'USD', 'first') AS a \gset
SELECT pg_temp.month('2025-01-01') AS january \gset
SELECT pg_temp.at('2025-02-10 12:00+00');
SELECT prm.post_adjustment(:ann, -20, 'USD', 'second') AS a \gset
SELECT pg_temp.month('2025-02-01') AS february \gset
SELECT prm.post_adjustment(:ann, 4, 'USD', 'earned') AS a \gset
SELECT is(pg_temp.month('2025-03-01'), 'carry Ann -6.00 USD 2025-03-01', 'the older debt goes on');
SELECT is(pg_temp.statements(), '-10.00 carried, -20.00 settled, -6.00 settled', 'the younger one waits');
SELECT is(prm.write_off_debts(), 1::bigint, 'what is old enough is written off');
SELECT is((SELECT string_agg(amount::text, ',') FROM prm.ledger WHERE program_id = :program AND component = 'write_off'), '6.00', 'by its own age');
SELECT is(pg_temp.month('2025-04-01'), 'settled Ann 0.00 USD 2025-04-01', 'and is gone with the next statement');
SELECT is(pg_temp.statements(), '-10.00 carried, -20.00 settled, -6.00 carried, 0.00 settled', 'the younger debt stays');
SELECT is(pg_temp.sound(), NULL, 'the books are sound');

-- Royalties stay claims wherever they are carried; a policy of block pays nothing until money came in.
SELECT pg_temp.program('Claims') AS program \gset
SELECT pg_temp.partner('Royal') AS royal, pg_temp.partner('Block') AS block \gset
INSERT INTO prm.payee (partner_id, legal_name, currency) VALUES (:block, 'Block', 'USD') RETURNING payee_id AS py \gset
INSERT INTO prm.settlement_profile (payee_id, debt_policy) VALUES (:py, 'block');
SELECT pg_temp.at('2025-01-10 12:00+00');
INSERT INTO prm.ledger (partner_id, kind, amount, currency, earned_on, eligible_at, idempotency_key) VALUES (:royal, 'royalty', -40, 'USD', '2025-01-10', prm.now(), 'r1'), (:royal, 'adjustment', -10, 'USD', '2025-01-10', prm.now(), 'r2');
SELECT prm.post_adjustment(:block, -50, 'USD', 'taken back') AS a \gset
SELECT pg_temp.month('2025-01-01') AS january \gset
SELECT prm.post_adjustment(:block, 80, 'USD', 'earned') AS a, prm.post_adjustment(:royal, 5, 'USD', 'earned') AS b \gset
SELECT is(pg_temp.month('2025-02-01'), 'carry Royal -45.00 USD 2025-02-01, settled Block 80.00 USD 2025-02-01', 'net carries, block does not');
SELECT is(pg_temp.carries(), 'closed 50, debt -10, receivable -40', 'claims and debts apart');
SELECT is((SELECT receivable FROM prm.statement WHERE program_id = :program AND total = -45), 40.00, 'a claim stays a claim');
SELECT pg_temp.approve();
SELECT is(pg_temp.pay(), 'blocked Block 30.00 USD, owes Royal -45.00 USD', 'block pays nothing');
SELECT prm.receive_payment(:block, 20, 'USD', 'wire 1') AS a \gset
SELECT is(pg_temp.month('2025-03-01'), 'settled Block 20 USD 2025-03-01', 'a part of it does not lift the block');
SELECT is(pg_temp.statements(), '-50.00 approved, -50 carried, 80.00 approved, -45.00 approved, 20 settled', 'nor carry the debt');
SELECT pg_temp.approve();
SELECT is(pg_temp.pay(), 'blocked Block 50.00 USD, owes Royal -45.00 USD', 'still blocked');
SELECT prm.receive_payment(:block, 30, 'USD', 'wire 2') AS a \gset
SELECT is(pg_temp.month('2025-04-01'), 'settled Block 30 USD 2025-04-01', 'the rest');
SELECT pg_temp.approve();
SELECT is(pg_temp.pay(), 'paid_out Block 80.00 USD, owes Royal -45.00 USD', 'once all of it came in, what was earned is paid');
SELECT is(pg_temp.even(), 0.00, 'statements and what is open are the ledger');
SELECT is(pg_temp.sound(), NULL, 'the books are sound');

-- A debt that is disputed is not carried; the documents of a month say what was earned in it, not what was brought forward.
SELECT pg_temp.program('Papers') AS program \gset
SELECT pg_temp.partner('Ann') AS ann \gset
SELECT pg_temp.at('2025-01-10 12:00+00');
SELECT prm.post_adjustment(:ann, -70, 'USD', 'taken back') AS b \gset
SELECT pg_temp.month('2025-01-01') AS january \gset
SELECT prm.dispute(:b, 'it was 60') AS d \gset
SELECT prm.post_adjustment(:ann, 100, 'USD', 'earned') AS a \gset
SELECT is(pg_temp.month('2025-02-01'), 'settled Ann 100.00 USD 2025-02-01', 'a disputed debt is not carried');
SELECT prm.resolve_dispute(:b, 'rejected', 'it is right') AS r \gset
SELECT prm.post_adjustment(:ann, 90, 'USD', 'earned') AS a \gset
SELECT is(pg_temp.month('2025-03-01'), 'settled Ann 20.00 USD 2025-03-01', 'then it is');
SELECT throws_ok(format('SELECT prm.dispute(%s, ''again'')', :b), '55000', NULL, 'what was carried is no longer disputed');
SELECT pg_temp.approve();
SELECT is((SELECT string_agg(format('%s net %s gross %s carried %s payable %s', kind, net, gross, carried, payable), ', ' ORDER BY document_id) FROM prm.create_documents()),
  'credit_note net -70.00 gross -70.00 carried 0 payable -70.00, invoice net 100.00 gross 100.00 carried 0 payable 100.00, invoice net 90.00 gross 90.00 carried -70.00 payable 20.00', 'a credit note for the debt, and an invoice for all that was earned');
SELECT is(pg_temp.statements(), '-70.00 carried, 100.00 invoiced, 20.00 invoiced', 'the carried one stays so');
SELECT is(prm.cancel_document((SELECT document_id FROM prm.billing_document WHERE program_id = :program AND kind = 'credit_note'), 'wrong name'), 'CN-000001', 'its document may be cancelled');
SELECT is(pg_temp.statements(), '-70.00 carried, 100.00 invoiced, 20.00 invoiced', 'and it stays carried');
SELECT is((SELECT count(*) FROM prm.create_documents()), 1::bigint, 'and gets a new one');

-- With a delegate the debt stays with the payee, and with each partner what is its own.
SELECT pg_temp.program('Delegates') AS program \gset
SELECT pg_temp.partner('Agent') AS agent, pg_temp.partner('Office') AS office \gset
INSERT INTO prm.payee (partner_id, legal_name, currency) VALUES (:office, 'Office', 'USD') RETURNING payee_id AS py \gset
INSERT INTO prm.partner_payee (partner_id, payee_id) VALUES (:agent, :py);
SELECT pg_temp.at('2025-01-10 12:00+00');
SELECT prm.post_adjustment(:agent, -100, 'USD', 'taken back') AS a, prm.post_adjustment(:office, 30, 'USD', 'earned') AS b \gset
SELECT is(pg_temp.month('2025-01-01'), 'carry Office -70.00 USD 2025-01-01', 'two partners, one statement');
SELECT prm.post_adjustment(:office, 170, 'USD', 'earned') AS b \gset
SELECT is(pg_temp.month('2025-02-01'), 'settled Office 100.00 USD 2025-02-01', 'the payee pays the debt');
SELECT is(pg_temp.balance(:agent) || ' / ' || pg_temp.balance(:office), 'USD pending 0 held 0 eligible 0 statement 0.00 paid 0 debt 100.00 draw 0 / USD pending 0 held 0 eligible 0 statement 200.00 paid 0 debt 0 draw 0', 'each has what is its own');
SELECT is(pg_temp.sound(), NULL, 'the books are sound');
SELECT pg_temp.approve();
SELECT is(pg_temp.pay(), 'paid_out Office 100.00 USD', 'and is paid');
SELECT pg_temp.settle_all();
SELECT is(pg_temp.balance(:agent) || ' / ' || pg_temp.balance(:office), 'USD pending 0 held 0 eligible 0 statement 0.00 paid -100.00 debt 0 draw 0 / USD pending 0 held 0 eligible 0 statement 0.00 paid 200.00 debt 0 draw 0', 'and comes out even');
SELECT is(pg_temp.sound(), NULL, 'the books are sound');

-- ---- cancelling ----------------------------------------------------------------------------------------------------
SELECT pg_temp.program('Cancel') AS program \gset
SELECT pg_temp.partner('Ann') AS ann \gset
INSERT INTO prm.tax_rule (tax_rule, label, vat_rate, withholding_rate) VALUES ('de', 'Germany', 0.19, 0.1);
INSERT INTO prm.payee (partner_id, legal_name, currency, tax_rule) VALUES (:ann, 'Ann', 'USD', 'de') RETURNING payee_id AS py \gset
SELECT pg_temp.plan('now', 'invoiced', 0, '10%') AS now, pg_temp.plan('paid', 'booked', 0, '10%', 'collected') AS paid \gset
SELECT pg_temp.at('2025-01-10 12:00+00');
SELECT pg_temp.sale(:ann, 'invoiced', 1000, '2025-01-05') AS s1, pg_temp.sale(:ann, 'booked', 600, '2025-01-05') AS s2 \gset
SELECT pg_temp.collect(:s2, 200, '2025-01-09') AS c1 \gset
SELECT is(pg_temp.month('2025-01-01'), 'settled Ann 130.80 USD 2025-01-01, uncollected Ann 40.00 USD 2025-01-01', 'January');
SELECT statement_id AS st FROM prm.statement WHERE program_id = :program \gset
SELECT throws_ok(format('SELECT prm.cancel_statement(%s, '' '')', :st), '22023', NULL, 'cancelling needs a reason');
SELECT throws_ok('SELECT prm.cancel_statement(-1, ''x'')', '42704', NULL, 'and a statement');
SELECT is(prm.cancel_statement(:st, 'wrong rate'), 'cancelled', 'a settled statement is cancelled');
SELECT is(pg_temp.statements(), '130.80 cancelled, -130.80 cancelled', 'by a statement that takes its lines back');
SELECT is((SELECT cancels_id FROM prm.statement WHERE program_id = :program AND total < 0), :st::bigint, 'and names it');
SELECT is((SELECT string_agg(format('%s %s', o.amount, o.part), ', ' ORDER BY o.entry_id) FROM prm.ledger_open o WHERE o.program_id = :program), '100.00 3, 60.00 3', 'its entries are open again, with what was open of them');
SELECT is((SELECT sum(amount) FROM prm.ledger WHERE program_id = :program AND kind = 'tax'), 0.00, 'its taxes are taken back');
SELECT is((SELECT count(*) FROM prm.statement_line WHERE statement_id = :st), 4::bigint, 'its lines still stand');
SELECT is(pg_temp.sound(), NULL, 'the books are sound');
SELECT is(pg_temp.even(), 0.00, 'and even');
SELECT throws_ok(format('SELECT prm.cancel_statement(%s, ''again'')', :st), '23514', NULL, 'once');
SELECT is(pg_temp.balance(:ann), 'USD pending 60.00 held 0 eligible 100.00 statement 0.00 paid 0 debt 0 draw 0', 'the balance says so');
SELECT is((SELECT string_agg(status, ',' ORDER BY entry_id) FROM prm.ledger_as_of(clock_timestamp()) WHERE kind = 'commission'), 'eligible,eligible', 'as of now: open');
SELECT pg_temp.refund(:s1, 100, '2025-02-03') AS r1 \gset
SELECT is((SELECT kind FROM prm.ledger WHERE program_id = :program AND earning_event_id = :r1), 'reversal', 'what takes back an entry on no statement is a reversal again');
UPDATE prm.tax_rule SET withholding_rate = 0 WHERE program_id = :program;
SELECT is(pg_temp.month('2025-02-01'), 'settled Ann 130.90 USD 2025-02-01, uncollected Ann 40.00 USD 2025-02-01', 'they go on the next statement, with the taxes of now');
SELECT is((SELECT count(*) FROM prm.my_statement((SELECT statement_id FROM prm.statement WHERE program_id = :program AND total = 130.90)) WHERE what LIKE '%part%'), 1::bigint, 'only what is a part is called one');
SELECT is((SELECT string_agg(DISTINCT statement_state, ',') FROM prm.v_ledger WHERE program_id = :program AND kind = 'commission'), 'settled', 'the ledger shows the statement that stands');
SELECT pg_temp.approve();
SELECT is((SELECT total FROM prm.my_statement() LIMIT 1), NULL, 'nobody acts');
SELECT prm.create_documents() IS NOT NULL AS documents;
SELECT throws_ok(format('SELECT prm.cancel_statement(statement_id, ''x'') FROM prm.statement WHERE program_id = %s AND state = ''invoiced''', :program), '23514', NULL, 'STL-004 an invoiced statement is not cancelled');
SELECT throws_ok(format('UPDATE prm.statement SET state = ''settled'' WHERE program_id = %s AND state = ''invoiced''', :program), '55000', NULL, 'nor made settled while its document stands');
SELECT throws_ok(format('DELETE FROM prm.statement WHERE program_id = %s', :program), '55000', NULL, 'STL-004 nor deleted');
SELECT is(prm.cancel_document((SELECT document_id FROM prm.billing_document WHERE program_id = :program), 'mistake'), 'SB-000001', 'STL-005 its document is cancelled');
SELECT is((SELECT string_agg(state, ',') FROM prm.statement WHERE program_id = :program AND total = 130.90), 'settled', 'STL-005 and it is settled');
UPDATE prm.statement SET state = 'approved' WHERE program_id = :program AND state = 'settled';
SELECT throws_ok(format('UPDATE prm.statement SET state = ''paid'' WHERE program_id = %s AND state = ''approved''', :program), '55000', NULL, 'a statement is paid by a payout only');
SELECT is(pg_temp.pay(), 'paid_out Ann 130.90 USD', 'a payout is under way');
SELECT throws_ok(format('SELECT prm.cancel_statement(statement_id, ''x'') FROM prm.statement WHERE program_id = %s AND state = ''approved''', :program), '55000', NULL, 'what is being paid is not cancelled');
SELECT set_config('prm.reason', 'again', true);
SELECT throws_ok(format('UPDATE prm.statement SET state = ''settled'' WHERE program_id = %s AND state = ''approved''', :program), '55000', NULL, 'nor reopened');
SELECT throws_ok(format('SELECT prm.dispute(min(l.entry_id), ''wrong'') FROM prm.statement_line l JOIN prm.statement s USING (program_id, statement_id) JOIN prm.ledger e USING (program_id, entry_id) WHERE l.program_id = %s AND s.state = ''approved'' AND e.kind = ''commission'' AND l.amount = e.amount', :program), '55000', NULL, 'nor disputed');
SELECT payout_id AS failed, prm.settle_payout(payout_id, 'failed') AS outcome FROM prm.payout WHERE program_id = :program \gset
SELECT set_config('prm.reason', 'again', true);
UPDATE prm.statement SET state = 'cancelled' WHERE program_id = :program AND state = 'approved';
SELECT is(pg_temp.statements(), '130.80 cancelled, -130.80 cancelled, 130.90 cancelled, -130.90 cancelled', 'an UPDATE of the state is the same');
SELECT is((SELECT sum(amount) FROM prm.ledger_open WHERE program_id = :program), 150.00, 'all is open');
SELECT throws_ok(format('SELECT prm.settle_payout(%s, ''reissued'')', :failed), '55000', NULL, 'a payout whose statements are gone is not sent again');
SELECT is(pg_temp.sound(), NULL, 'the books are sound');
-- Two statements with parts of one entry, cancelled at once.
SELECT pg_temp.month('2025-03-01') AS march \gset
SELECT pg_temp.collect(:s2, 100, '2025-04-05') AS c2 \gset
SELECT pg_temp.month('2025-04-01') AS april \gset
UPDATE prm.statement SET state = 'cancelled' WHERE program_id = :program AND state = 'settled';
SELECT is((SELECT string_agg(format('%s %s', o.amount, o.part), ', ' ORDER BY o.amount) FROM prm.ledger_open o JOIN prm.ledger l USING (program_id, entry_id) WHERE o.program_id = :program AND l.kind = 'commission'), '60.00 9, 100.00 7', 'parts on two statements come back together');
SELECT is(pg_temp.sound(), NULL, 'the books are sound');
-- Nothing is closed twice where a period is still open.
SELECT pg_temp.at('2025-05-20 12:00+00');
SELECT count(*) AS forced FROM prm.force_payout(:ann, 'out of turn') \gset
SELECT prm.settle_payout(payout_id, 'failed') FROM prm.payout WHERE program_id = :program AND state = 'pending';
UPDATE prm.statement SET state = 'cancelled' WHERE program_id = :program AND state = 'approved';
SELECT is((SELECT count(*) FROM prm.force_payout(:ann, 'corrected')), 1::bigint, 'a cancelled statement makes room for another of its period');
SELECT is(pg_temp.sound(), NULL, 'the books are sound');

-- ---- conversion at the statement -----------------------------------------------------------------------------------
SELECT pg_temp.program('Convert') AS program \gset
SELECT pg_temp.partner('Ann') AS ann \gset
SELECT throws_ok($$INSERT INTO prm.settlement_profile (pay_currency, convert_at) VALUES ('EUR', 'never')$$, '23514', NULL, 'statement or payout');
SELECT throws_ok($$INSERT INTO prm.settlement_profile (convert_at) VALUES ('statement')$$, '23514', NULL, 'there is something to convert to');
INSERT INTO prm.settlement_profile (pay_currency, convert_at, auto_approve) VALUES ('EUR', 'statement', true);
SELECT pg_temp.at('2025-01-10 12:00+00');
SELECT prm.post_adjustment(:ann, 100.10, 'USD', 'earned') AS a \gset
SELECT pg_temp.at('2025-02-01 12:00+00');
SELECT is((SELECT format('%s %s %s', outcome, amount, reason) FROM prm.close_period('2025-01-31')), 'no_rate 100.10 there is no exchange rate from USD to EUR on 2025-01-31; it stays open', 'no rate, no statement, with the reason');
INSERT INTO prm.exchange_rate (from_currency, to_currency, valid_from, rate) VALUES ('USD', 'EUR', '2025-01-01', 0.9), ('USD', 'EUR', '2025-02-01', 0.8), ('USD', 'EUR', '2025-03-01', 0.5);
SELECT is(pg_temp.month('2025-02-01'), 'settled Ann 100.10 USD 2025-02-01', 'with a rate');
SELECT is((SELECT format('%s %s %s', pay_total, pay_currency, exchange_rate) FROM prm.v_statement WHERE program_id = :program), '80.08 EUR 0.8', 'the rate of the last day of the period stands on the statement');
SELECT pg_temp.at('2025-03-10 12:00+00');
SELECT prm.post_adjustment(:ann, 50, 'USD', 'earned') AS a \gset
SELECT pg_temp.month('2025-03-01') AS march \gset
SELECT pg_temp.at('2025-04-01 12:00+00');
INSERT INTO prm.exchange_rate (from_currency, to_currency, valid_from, rate) VALUES ('USD', 'EUR', '2025-04-01', 7);
SELECT is((SELECT format('%s %s %s %s %s', amount, pay_amount, pay_currency, outcome, reason) FROM prm.create_payouts()), '150.10 105.08 EUR paid_out ', 'a payout pays what the statements say, whatever the rate is now');
SELECT is((SELECT format('%s %s', pay_amount, coalesce(exchange_rate::text, 'of its statements')) FROM prm.payout WHERE program_id = :program), '105.08 of its statements', 'it has no rate of its own');
SELECT is(pg_temp.sound(), NULL, 'the books are sound');
SELECT throws_ok(format('UPDATE prm.statement SET exchange_rate = 1 WHERE program_id = %s', :program), '55000', NULL, 'the rate is kept');
-- A debt is not converted: it takes its share of what is paid, at the rate of what is paid.
SELECT pg_temp.program('Convert less') AS program \gset
SELECT pg_temp.partner('Ann') AS ann, pg_temp.partner('Mix') AS mix \gset
INSERT INTO prm.settlement_profile (pay_currency, convert_at, auto_approve) VALUES ('EUR', 'statement', true);
INSERT INTO prm.payout_fee_rule (currency, hard_rate, borne_by) VALUES ('USD', 0.1, 'payee');
INSERT INTO prm.exchange_rate (from_currency, to_currency, valid_from, rate) VALUES ('USD', 'EUR', '2025-01-01', 0.9), ('USD', 'EUR', '2025-02-01', 0.5);
SELECT pg_temp.at('2025-01-10 12:00+00');
SELECT prm.post_adjustment(:ann, 100, 'USD', 'earned') AS a, prm.post_adjustment(:mix, 10, 'USD', 'earned') AS c \gset
SELECT pg_temp.month('2025-01-01') AS january \gset
SELECT prm.post_adjustment(:ann, -40, 'USD', 'back') AS b \gset
UPDATE prm.settlement_profile SET convert_at = 'payout' WHERE program_id = :program;
SELECT prm.post_adjustment(:mix, 10, 'USD', 'earned') AS c \gset
SELECT pg_temp.month('2025-02-01') AS february \gset
SELECT is((SELECT string_agg(format('%s %s %s %s', payee, amount, net, pay_amount), ', ' ORDER BY payee) FROM prm.create_payouts()), 'Ann 60.00 54.00 48.60, Mix 20.00 18.00 12.60', 'debts and fees are taken off at the rate of what is paid; statements with a rate and without are paid together');
SELECT is(pg_temp.sound(), NULL, 'the books are sound');

-- ---- draws of a partner that leaves --------------------------------------------------------------------------------
SELECT pg_temp.program('Leaving') AS program \gset
SELECT pg_temp.partner('New') AS new, pg_temp.partner('Other') AS other \gset
INSERT INTO prm.draw_agreement (partner_id, currency, amount) VALUES (:new, 'USD', 2000), (:other, 'USD', 500);
SELECT pg_temp.at('2025-01-10 12:00+00');
SELECT prm.post_adjustment(:new, 1500, 'USD', 'earned') AS a \gset
SELECT is((SELECT string_agg(format('%s %s', outcome, amount), ', ') FROM prm.force_payout(:new, 'leaves')), 'paid_out 2000.00', 'a forced close posts the draw of the period');
SELECT is((SELECT string_agg(format('%s %s %s', kind, amount, partner_id = :new), ', ') FROM prm.ledger WHERE program_id = :program AND kind = 'draw'), 'draw 500.00 t', 'of this partner only');
SELECT pg_temp.at('2025-01-12 12:00+00');
SELECT is((SELECT count(*) FROM prm.force_payout(:new, 'again') WHERE amount > 0), 0::bigint, 'once in a period');
SELECT is(pg_temp.month('2025-01-01'), 'settled Other 500 USD 2025-01-01', 'the close of the month does not post it again');
SELECT prm.fire('partner', :other, 'reject', 'gone') AS state \gset
SELECT is(pg_temp.month('2025-02-01'), 'settled New 2000 USD 2025-02-01', 'whoever has left draws no more, though the agreement was forgotten');
SELECT is(pg_temp.sound(), NULL, 'the books are sound');

SELECT * FROM finish();
ROLLBACK;
