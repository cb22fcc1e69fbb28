-- Settlement: periods, payees, payouts, fees, disputes, what partners read, and what cannot be got round. Acceptance ids stand in the names.
BEGIN;
\ir settlement.psql

-- ---- STL -----------------------------------------------------------------------------------------------------------
-- STL-011: inside a running period.
SELECT pg_temp.program('Running') AS program \gset
SELECT pg_temp.partner('Ann') AS ann \gset
SELECT pg_temp.plan('ten', 'invoiced', 0, '10%') AS plan \gset
SELECT pg_temp.at('2025-07-20 12:00+00');
SELECT pg_temp.sale(:ann, 'invoiced', 1000, '2025-07-04') AS sold \gset
SELECT is((SELECT string_agg(format('%s %s %s %s', outcome, amount, statement_id, reason), '; ') FROM prm.close_period('2025-07-20')), 'period_open 100.00  period 2025-07 still open, closes 2025-08-01',
  'STL-011 a running period is not settled, and says so');
SELECT is((SELECT count(*) FROM prm.statement WHERE program_id = :program), 0::bigint, 'STL-011 no rows');
SELECT is((SELECT string_agg(format('%s %s %s', outcome, payee, amount), '; ') FROM prm.preview_period()), 'settled Ann 100.00', 'a preview of the running period');
SELECT is((SELECT count(*) FROM prm.statement WHERE program_id = :program), 0::bigint, 'writes nothing');
SELECT pg_temp.at('2025-08-01 00:00+00');
SELECT is(pg_temp.closing('2025-07-31', true), 'settled Ann 100.00 USD 2025-07-01', 'a dry run tells what the close will do');
SELECT is(pg_temp.closing('2025-07-31'), 'settled Ann 100.00 USD 2025-07-01', 'and the close does it');
SELECT is(pg_temp.closing('2025-07-31'), 'nothing', 'a second close settles nothing');
SELECT pg_temp.sale(:ann, 'invoiced', 500, '2025-07-30') AS late \gset
SELECT is((SELECT string_agg(format('%s %s', outcome, reason), '; ') FROM prm.close_period('2025-07-31')), 'period_closed period 2025-07 is closed; it goes on the next statement', 'what comes late waits for the first open period');
SELECT pg_temp.at('2025-09-01 00:00+00');
SELECT is(pg_temp.closing('2025-08-31'), 'settled Ann 50.00 USD 2025-08-01', 'and goes there');
SELECT is((SELECT string_agg(rule, ',') FROM prm._audit_settlement(:program)), NULL, 'the books are sound');
SELECT throws_ok('SELECT * FROM prm.close_period(NULL)', '22023', NULL, 'a period is named by a day');
SELECT throws_ok($$SELECT * FROM prm.close_period('2025-08-31', false, '{"payee": 1}')$$, '22023', NULL, 'an unknown option');

-- Zones: the business date decides.
SELECT set_config('prm.program_id', prm.create_program('East', 'blank', 'USD', 'Asia/Tokyo')::text, true)::bigint AS program \gset
SELECT pg_temp.partner('Aki') AS aki \gset
SELECT pg_temp.plan('ten', 'invoiced', 0, '10%') AS plan \gset
SELECT pg_temp.at('2025-07-31 16:00+00');
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at) VALUES ('invoiced', :aki, 100, 'USD', '2025-07-31 14:59+00'), ('invoiced', :aki, 1000, 'USD', '2025-07-31 15:01+00');
SELECT is(pg_temp.closing('2025-07-31'), 'pending Aki 100.00 USD 2025-07-01, settled Aki 10.00 USD 2025-07-01', 'August has begun in Tokyo, and the period ends there');

-- STL-006, STL-007, STL-008: currencies and months.
SELECT pg_temp.program('Currencies') AS program \gset
SELECT pg_temp.partner('Ann') AS ann \gset
SELECT pg_temp.plan('home', 'invoiced', 0, '10%') AS plan \gset
SELECT pg_temp.at('2025-07-10 12:00+00');
INSERT INTO prm.exchange_rate (from_currency, to_currency, valid_from, rate) VALUES ('EUR', 'USD', '2025-01-01', 1.1);
SELECT pg_temp.sale(:ann, 'invoiced', 1000, '2025-07-01') AS home, pg_temp.sale(:ann, 'invoiced', 100, '2025-07-01', 'EUR') AS abroad \gset
SELECT pg_temp.sale(:ann, 'invoiced', 200, '2025-07-05', 'EUR') AS second, pg_temp.sale(:ann, 'invoiced', 300, '2025-06-05', 'EUR') AS old1, pg_temp.sale(:ann, 'invoiced', 400, '2025-06-06', 'EUR') AS old2 \gset
SELECT pg_temp.at('2025-08-01 12:00+00');
SELECT is(pg_temp.closing('2025-07-31'), 'settled Ann 70.00 EUR 2025-06-01, settled Ann 30.00 EUR 2025-07-01, settled Ann 100.00 USD 2025-07-01', 'STL-006 STL-007 STL-008 a statement for each currency and month');

-- Quarters and half months side by side; each payee has its own kind of period.
SELECT pg_temp.program('Kinds') AS program \gset
SELECT pg_temp.partner('Half') AS half, pg_temp.partner('Quarter') AS quarter \gset
INSERT INTO prm.payee (partner_id, legal_name, currency) VALUES (:half, 'Half', 'USD') RETURNING payee_id AS ph \gset
INSERT INTO prm.payee (partner_id, legal_name, currency) VALUES (:quarter, 'Quarter', 'USD') RETURNING payee_id AS pq \gset
INSERT INTO prm.settlement_profile (payee_id, period_kind) VALUES (:ph, 'half_month'), (:pq, 'quarter');
SELECT pg_temp.plan('ten', 'invoiced', 0, '10%') AS plan \gset
SELECT pg_temp.at('2025-07-16 12:00+00');
SELECT pg_temp.sale(:half, 'invoiced', 100, '2025-07-15') AS a, pg_temp.sale(:half, 'invoiced', 200, '2025-07-16') AS b, pg_temp.sale(:quarter, 'invoiced', 300, '2025-06-30') AS c, pg_temp.sale(:quarter, 'invoiced', 400, '2025-07-01') AS d \gset
SELECT is(pg_temp.closing('2025-07-15'), 'pending Half 20.00 USD 2025-07-01, period_open Quarter 40.00 USD 2025-07-01, settled Half 10.00 USD 2025-07-01, settled Quarter 30.00 USD 2025-04-01', 'half months and quarters');
SELECT is((SELECT reason FROM prm.close_period('2025-07-15') WHERE payee = 'Quarter'), 'period 2025-07-01 to 2025-09-30 still open, closes 2025-10-01', 'and the reason names the period of the payee');

-- STL-012, STL-013, STL-014.
SELECT pg_temp.program('Collected') AS program \gset
SELECT pg_temp.partner('Ann') AS ann, pg_temp.partner('Bob') AS bob, pg_temp.partner('Cid') AS cid \gset
SELECT pg_temp.plan('pays', 'invoiced', 0, '10%', 'collected') AS plan \gset
SELECT pg_temp.at('2025-07-10 12:00+00');
SELECT pg_temp.sale(:ann, 'invoiced', 600, '2025-07-01') AS unpaid, pg_temp.sale(:bob, 'invoiced', 500, '2025-07-01') AS reversed, pg_temp.sale(:cid, 'invoiced', 600, '2025-07-01') AS part \gset
SELECT pg_temp.refund(:reversed, 500, '2025-07-09') AS note, pg_temp.collect(:part, 200, '2025-07-09') AS third \gset
SELECT pg_temp.at('2025-08-01 12:00+00');
SELECT is(pg_temp.closing('2025-07-31'), 'settled Bob 0.00 USD 2025-07-01, settled Cid 20.00 USD 2025-07-01, uncollected Ann 60.00 USD 2025-07-01, uncollected Cid 40.00 USD 2025-07-01',
  'STL-012 unpaid: no rows; STL-013 reversed: both rows close, net 0; STL-014 one third collected: 20 now, 40 remain');
SELECT is((SELECT count(*) FROM prm.statement_line l JOIN prm.ledger e ON e.program_id = l.program_id AND e.entry_id = l.entry_id WHERE e.partner_id = :bob), 2::bigint, 'STL-013 both rows are on it');
SELECT is(pg_temp.balance(:cid), 'USD pending 40.00 held 0 eligible 0 statement 20.00 paid 0 debt 0 draw 0', 'STL-014 the rest is pending');
SELECT pg_temp.collect(:part, 300, '2025-08-02') AS more, pg_temp.refund(:part, 100, '2025-08-03') AS less \gset
SELECT pg_temp.at('2025-09-01 12:00+00');
SELECT is((SELECT sum(amount) FROM prm.close_period('2025-08-31') WHERE statement_id IS NOT NULL AND payee = 'Cid'), 30.00, 'STL-014 when all that is left of the sale is collected, all that is left of the commission is paid');
SELECT is((SELECT string_agg(format('%s/%s', part, l.amount), ', ' ORDER BY l.entry_id, part) FROM prm.statement_line l JOIN prm.ledger e ON e.program_id = l.program_id AND e.entry_id = l.entry_id WHERE e.partner_id = :cid),
  '1/20.00, 2/40.00, 1/-10.00', 'STL-014 in parts');
SELECT pg_temp.partner('Dot') AS dot \gset
SELECT pg_temp.at('2025-10-01 12:00+00');
SELECT pg_temp.sale(:dot, 'invoiced', 600, '2025-09-02') AS sold \gset
SELECT pg_temp.collect(:sold, 600, '2025-09-03') AS cheque \gset
SELECT pg_temp.refund(:cheque, 600, '2025-09-04') AS bounced \gset
SELECT is((SELECT string_agg(outcome || ' ' || amount, ', ') FROM prm.close_period('2025-09-30') WHERE payee = 'Dot'), 'uncollected 60.00', 'a payment that bounced releases nothing');
SELECT pg_temp.collect(:sold, 300, '2025-10-03') AS half, pg_temp.at('2025-11-01 12:00+00');
SELECT is((SELECT amount FROM prm.close_period('2025-10-31') WHERE payee = 'Dot' AND outcome = 'settled'), 30.00, 'what is paid then does');
SELECT is((SELECT released FROM prm.v_released WHERE earning_event_id = :sold), 30.00, 'v_released says the same');
SELECT is((SELECT string_agg(rule, ',') FROM prm._audit_settlement(:program)), NULL, 'the books are sound');

-- ---- PAY -----------------------------------------------------------------------------------------------------------
SELECT pg_temp.program('Payees') AS program \gset
SELECT pg_temp.partner('Agent') AS agent, pg_temp.partner('Delegate') AS delegate \gset
INSERT INTO prm.payee (partner_id, legal_name, currency) VALUES (:delegate, 'Delegate Ltd', 'USD') RETURNING payee_id AS d \gset
INSERT INTO prm.partner_payee (partner_id, payee_id, valid) VALUES (:agent, :d, '[2025-01-01,2025-08-01)');
SELECT throws_ok(format('INSERT INTO prm.partner_payee (partner_id, payee_id, valid) VALUES (%s, %s, ''[2025-07-01,)'')', :agent, :d), '23P01', NULL, 'one delegation at a time');
SELECT pg_temp.plan('ten', 'invoiced', 0, '10%') AS plan \gset
SELECT pg_temp.at('2025-07-10 12:00+00');
SELECT pg_temp.sale(:agent, 'invoiced', 1000, '2025-07-01') AS a, pg_temp.sale(:delegate, 'invoiced', 500, '2025-07-01') AS b \gset
SELECT pg_temp.at('2025-08-01 12:00+00');
SELECT is(pg_temp.closing('2025-07-31'), 'settled Delegate Ltd 150.00 USD 2025-07-01', 'PAY-001 the rows of a partner go to the payee in force');
SELECT is(pg_temp.balance(:agent) || ' / ' || pg_temp.balance(:delegate), 'USD pending 0 held 0 eligible 0 statement 100.00 paid 0 debt 0 draw 0 / USD pending 0 held 0 eligible 0 statement 50.00 paid 0 debt 0 draw 0',
  'PAY-001 earned by one, paid to the other');
SELECT pg_temp.approve();
SELECT is(pg_temp.pay(), 'paid_out Delegate Ltd 150.00 USD', 'PAY-001 one payout');
SELECT is(pg_temp.pay(), 'nothing', 'a second click pays nothing');
SELECT pg_temp.settle_all();
SELECT is((SELECT string_agg(format('%s %s', partner_id = :agent, amount), ', ' ORDER BY partner_id) FROM prm.ledger WHERE program_id = :program AND kind = 'payout'), 't -100.00, f -50.00', 'PAY-001 the ledger of each partner comes out even');
SELECT pg_temp.sale(:agent, 'invoiced', 1000, '2025-08-05') AS a \gset
SELECT pg_temp.at('2025-09-01 12:00+00');
SELECT is(pg_temp.closing('2025-08-31'), 'settled Agent 100.00 USD 2025-08-01', 'without delegation a partner is its own payee');

-- PAY-002, PAY-004.
SELECT pg_temp.program('Minimum') AS program \gset
SELECT pg_temp.partner('Under') AS under, pg_temp.partner('Over') AS over, pg_temp.partner('Fifty') AS fifty \gset
INSERT INTO prm.payee (partner_id, legal_name, currency) VALUES (:fifty, 'Fifty', 'USD') RETURNING payee_id AS f \gset
INSERT INTO prm.settlement_profile (payee_id, currency, min_payout) VALUES (NULL, 'USD', 200), (:f, 'USD', 50);
SELECT throws_ok('INSERT INTO prm.settlement_profile (min_payout) VALUES (10)', '23514', NULL, 'a minimum is of a currency');
SELECT pg_temp.at('2025-07-10 12:00+00');
SELECT prm.post_adjustment(:under, 199.99, 'USD', 'earned') > 0, prm.post_adjustment(:over, 200, 'USD', 'earned') > 0, prm.post_adjustment(:fifty, 58.80, 'USD', 'earned') > 0;
SELECT pg_temp.at('2025-08-01 12:00+00');
SELECT is(pg_temp.closing('2025-07-31'), 'below_minimum Under 199.99 USD 2025-07-01, settled Fifty 58.80 USD 2025-07-01, settled Over 200.00 USD 2025-07-01', 'PAY-002 PAY-004 no statement below the minimum');
SELECT is((SELECT reason FROM prm.close_period('2025-07-31') WHERE payee = 'Under'), 'period 2025-07 is closed; it goes on the next statement', 'the rows stay open');
SELECT pg_temp.approve();
SELECT is(pg_temp.pay(), 'paid_out Fifty 58.80 USD, paid_out Over 200.00 USD', 'PAY-002 PAY-004 what reaches it is paid');
SELECT prm.post_adjustment(:under, 0.01, 'USD', 'earned') > 0;
SELECT pg_temp.at('2025-09-01 12:00+00');
SELECT is(pg_temp.closing('2025-08-31'), 'settled Under 200.00 USD 2025-08-01', 'PAY-004 with what was left open');
-- A partner that leaves gets the rest, be it little.
SELECT prm.post_adjustment(:over, 3, 'USD', 'earned') > 0;
SELECT throws_ok(format('SELECT * FROM prm.force_payout(%s, '''')', :over), '22023', NULL, 'a payout out of turn has a reason');
SELECT is((SELECT string_agg(format('%s %s', outcome, amount), ', ') FROM prm.force_payout(:over, 'it leaves')), 'paid_out 3.00', 'forced: at once, below the minimum');
SELECT is((SELECT format('%s %s %s', period, period_end, is_forced) FROM prm.statement WHERE program_id = :program AND is_forced), '2025-09-01 2025-09-01 t', 'on a statement of its own');
SELECT prm.post_adjustment(:over, 4, 'USD', 'earned') > 0;
UPDATE prm.partner SET state = 'onboarding' WHERE partner_id = :over;
SELECT prm.fire('partner', :over, 'offboard', 'it leaves');
SELECT pg_temp.at('2025-10-01 12:00+00');
SELECT is(pg_temp.closing('2025-09-30'), 'period_closed Over 4.00 USD 2025-09-01', 'what comes after it in the same month');
SELECT pg_temp.at('2025-11-01 12:00+00');
SELECT is((SELECT string_agg(format('%s %s %s', outcome, amount, reason), ', ') FROM prm.close_period('2025-10-31')), 'settled 4.00 below the minimum of 200, but the partner leaves', 'is settled next, whatever the minimum, since it leaves');

-- On request, with waiting days.
SELECT pg_temp.program('Request') AS program \gset
SELECT pg_temp.partner('Ann') AS ann \gset
INSERT INTO prm.settlement_profile (payout_mode, payment_days, auto_approve) VALUES ('on_request', 10, true);
SELECT pg_temp.at('2025-07-10 12:00+00');
SELECT prm.post_adjustment(:ann, 100, 'USD', 'earned') > 0;
SELECT pg_temp.at('2025-08-01 12:00+00');
SELECT prm.close_period('2025-07-31') IS NOT NULL AS closed;
SELECT is((SELECT format('%s %s', outcome, reason) FROM prm.create_payouts()), 'not_due payable from 2025-08-11', 'payment days');
SELECT pg_temp.at('2025-08-11 12:00+00');
SELECT is((SELECT format('%s %s', outcome, reason) FROM prm.create_payouts()), 'on_request the payee asks for its payouts', 'nobody asked');
SELECT prm.request_payout(:ann) > 0 AS asked;
SELECT is((SELECT format('%s %s', outcome, amount) FROM prm.create_payouts(true)), 'paid_out 100.00', 'a dry run');
SELECT is((SELECT count(*) FROM prm.payout WHERE program_id = :program), 0::bigint, 'writes nothing');
SELECT is((SELECT format('%s %s', outcome, amount) FROM prm.create_payouts()), 'paid_out 100.00', 'asked for and paid');

-- Failed, reissued, come back.
SELECT payout_id AS p FROM prm.payout WHERE program_id = :program \gset
SELECT is(prm.settle_payout(:p, 'failed', 'closed account'), 'failed', 'a payout fails');
SELECT throws_ok(format('SELECT prm.settle_payout(%s, ''paid'')', :p), '55000', NULL, 'and is not paid after that');
SELECT is(prm.settle_payout(:p, 'reissued', 'second try'), 'reissued', 'it is sent again');
SELECT is(prm.settle_payout(:p, 'paid', 'bank 1'), 'paid', 'and paid');
SELECT is((SELECT state FROM prm.statement WHERE program_id = :program), 'paid', 'and so is its statement');
SELECT is(pg_temp.balance(:ann), 'USD pending 0 held 0 eligible 0 statement 0.00 paid 100.00 debt 0 draw 0', 'and the balance says so');
SELECT is(prm.settle_payout(:p, 'failed', 'came back'), 'failed', 'the money comes back');
SELECT is((SELECT format('%s %s', (SELECT state FROM prm.statement WHERE program_id = :program), sum(amount)) FROM prm.ledger WHERE program_id = :program), 'approved 100.00', 'the statement is to be paid again, and the ledger says so');
SELECT prm.request_payout(:ann) > 0 AS asked;
SELECT is((SELECT format('%s %s', outcome, amount) FROM prm.create_payouts()), 'paid_out 100.00', 'another payout takes it');
SELECT throws_ok(format('SELECT prm.settle_payout(%s, ''reissued'')', :p), '55000', NULL, 'the first can no longer');
SELECT throws_ok('SELECT prm.settle_payout(-1, ''paid'')', '42704', NULL, 'an unknown payout');
SELECT throws_ok(format('SELECT prm.settle_payout(%s, ''lost'')', :p), '22023', NULL, 'an unknown outcome');
SELECT pg_temp.settle_all();
SELECT is((SELECT string_agg(rule, ',') FROM prm._audit_settlement(:program)), NULL, 'the books are sound');

-- Another currency of payment, at the rate of the day, which is kept.
SELECT pg_temp.program('Foreign') AS program \gset
SELECT pg_temp.partner('Ann') AS ann \gset
INSERT INTO prm.settlement_profile (pay_currency, auto_approve) VALUES ('JPY', true);
SELECT pg_temp.at('2025-07-10 12:00+00');
SELECT prm.post_adjustment(:ann, 100.10, 'USD', 'earned') > 0;
SELECT pg_temp.at('2025-08-01 12:00+00');
SELECT prm.close_period('2025-07-31') IS NOT NULL AS closed;
SELECT is((SELECT format('%s %s', outcome, reason) FROM prm.create_payouts()), 'no_rate there is no exchange rate from USD to JPY', 'no rate, no payout, with the reason');
INSERT INTO prm.exchange_rate (from_currency, to_currency, valid_from, rate) VALUES ('USD', 'JPY', '2025-07-15', 151.37), ('USD', 'JPY', '2025-08-02', 99);
SELECT is((SELECT format('%s %s %s %s', amount, currency, pay_amount, pay_currency) FROM prm.create_payouts()), '100.10 USD 15152 JPY', 'converted at the rate in force, once, to whole yen');
SELECT is((SELECT exchange_rate FROM prm.payout WHERE program_id = :program), 151.37, 'and the rate is kept');

-- ---- FEE -----------------------------------------------------------------------------------------------------------
CREATE FUNCTION pg_temp.fee(the_name text, the_rate numeric, the_hard numeric, the_waiver numeric, the_used numeric, the_bearer text DEFAULT 'vendor') RETURNS text LANGUAGE plpgsql AS $$
DECLARE the_partner bigint; the_result text;
BEGIN
  PERFORM pg_temp.program(the_name);
  PERFORM set_config('prm.clock', '2025-07-10 12:00+00', true);
  the_partner := pg_temp.partner('Ann');
  INSERT INTO prm.settlement_profile (auto_approve) VALUES (true);
  INSERT INTO prm.payout_fee_rule (currency, rate, hard_rate, waiver, waiver_used, borne_by) VALUES ('USD', the_rate, the_hard, the_waiver, the_used, the_bearer);
  PERFORM prm.post_adjustment(the_partner, 100.00, 'USD', 'earned');
  PERFORM set_config('prm.clock', '2025-08-01 12:00+00', true);
  PERFORM prm.close_period('2025-07-31');
  PERFORM prm.create_payouts();
  SELECT format('fee %s free %s charged %s left %s net %s', trim_scale(p.fee), trim_scale(p.fee_free), trim_scale(p.fee_charged), trim_scale(f.waiver - f.waiver_used), trim_scale(p.net)) INTO the_result
    FROM prm.payout p JOIN prm.payout_fee_rule f ON f.program_id = p.program_id AND f.currency = p.currency WHERE p.program_id = prm.current_program();
  RETURN the_result;
END $$;
SELECT is(pg_temp.fee('FEE-002', 0.03, 0, 500, 0), 'fee 0 free 100 charged 0 left 400 net 100', 'FEE-002 the waiver covers it (what is left is counted after the payout)');
SELECT is(pg_temp.fee('FEE-003', 0.03, 0, 500, 450), 'fee 1.5 free 50 charged 50 left 0 net 100', 'FEE-003 the waiver covers half of it');
SELECT is(pg_temp.fee('FEE-004', 0.03, 0, 500, 500), 'fee 3 free 0 charged 100 left 0 net 100', 'FEE-004 the waiver is used up');
SELECT is(pg_temp.fee('FEE-005', 0.03, 0.03, 500, 450), 'fee 4.5 free 50 charged 50 left 0 net 100', 'FEE-005 hard costs are never waived');
SELECT is(pg_temp.fee('borne', 0.03, 0, 0, 0, 'payee'), 'fee 3 free 0 charged 100 left 0 net 97', 'a fee that the payee bears');
SELECT pg_temp.settle_all();
SELECT is((SELECT string_agg(format('%s %s', kind, amount), ', ' ORDER BY kind, amount) FROM prm.ledger WHERE program_id = prm.current_program() AND kind LIKE 'payout%'), 'payout -100.00, payout 3.00, payout_fee -3.00', 'is in the ledger');
SELECT is((SELECT string_agg(rule, ',') FROM prm._audit_settlement(prm.current_program())), NULL, 'the books are sound');

-- ---- holds and disputes --------------------------------------------------------------------------------------------
SELECT pg_temp.program('Disputes') AS program \gset
SELECT pg_temp.partner('Ann') AS ann, pg_temp.partner('Bob') AS bob \gset
SELECT pg_temp.plan('ten', 'invoiced', 0, '10%') AS plan \gset
SELECT pg_temp.at('2025-07-10 12:00+00');
SELECT pg_temp.sale(:ann, 'invoiced', 100, '2025-07-01') AS s1, pg_temp.sale(:ann, 'invoiced', 200, '2025-07-02') AS s2, pg_temp.sale(:bob, 'invoiced', 300, '2025-07-02') AS s3 \gset
SELECT entry_id AS e1 FROM prm.ledger WHERE earning_event_id = :s1 AND program_id = :program \gset
SELECT entry_id AS e2 FROM prm.ledger WHERE earning_event_id = :s2 AND program_id = :program \gset
SELECT is(prm.dispute(:e1, 'it was 200'), :e1::bigint, 'an entry is disputed');
SELECT throws_ok(format('SELECT prm.dispute(%s, ''again'')', :e1), '55000', NULL, 'once');
SELECT throws_ok(format('SELECT prm.dispute(%s, '' '')', :e2), '22023', NULL, 'with a reason');
SELECT throws_ok('SELECT prm.dispute(-1, ''x'')', '42704', NULL, 'an entry that exists');
SELECT prm.hold_partner(:bob, 'looked at') AS hold \gset
SELECT is(pg_temp.balance(:ann), 'USD pending 0 held 10.00 eligible 20.00 statement 0 paid 0 debt 0 draw 0', 'what is disputed is held');
SELECT pg_temp.at('2025-08-01 12:00+00');
SELECT is(pg_temp.closing('2025-07-31'), 'held Ann 10.00 USD 2025-07-01, held Bob 30.00 USD 2025-07-01, settled Ann 20.00 USD 2025-07-01', 'held rows stay off, with the reason');
SELECT prm.dispute(:e2, 'wrong customer') AS disputed;
SELECT is((SELECT state FROM prm.statement WHERE program_id = :program), 'disputed', 'a dispute of a settled entry stops its statement');
SELECT pg_temp.approve();
SELECT is(pg_temp.pay(), 'not_approved Ann 0 USD', 'which is not paid');
SELECT is((SELECT string_agg(state, ',' ORDER BY dispute_id) FROM prm.v_dispute WHERE program_id = :program), 'open,open', 'two disputes');
SELECT throws_ok(format('SELECT prm.resolve_dispute(%s, ''maybe'', ''x'')', :e2), '22023', NULL, 'outcomes are upheld, rejected, withdrawn');
SELECT is(prm.resolve_dispute(:e2, 'rejected', 'it is right'), 'rejected', 'it is resolved');
SELECT throws_ok(format('SELECT prm.resolve_dispute(%s, ''rejected'', ''x'')', :e2), '42704', NULL, 'once');
SELECT is((SELECT state FROM prm.statement WHERE program_id = :program), 'settled', 'and the statement goes on');
SELECT prm.resolve_dispute(:e1, 'upheld', 'our mistake') AS resolved, prm.release_hold(:hold, 'all is well') > 0 AS released;
SELECT is((SELECT string_agg(state, ',' ORDER BY dispute_id) FROM prm.v_dispute WHERE program_id = :program), 'resolved,resolved', 'both are resolved');
SELECT pg_temp.at('2025-09-01 12:00+00');
SELECT is(pg_temp.closing('2025-08-31'), 'settled Ann 10.00 USD 2025-08-01, settled Bob 30.00 USD 2025-08-01', 'what was held goes on the next statement');
SELECT statement_id AS bobs FROM prm.statement WHERE program_id = :program AND total = 30 \gset
SELECT statement_id AS st FROM prm.statement WHERE program_id = :program AND total = 20 \gset
SELECT is(prm.approve_statement(:bobs), 'approved', 'a statement is approved');
SELECT throws_ok(format('SELECT prm.approve_statement(%s)', :bobs), '23514', NULL, 'once');

-- What the partner reads.
SELECT set_config('prm.partner_id', :'ann', true);
SELECT is((SELECT string_agg(format('%s %s %s', line_no, basis_amount, running_total), ', ') FROM prm.my_statement()), '1 100 10.00', 'my_statement: the latest');
SELECT is((SELECT string_agg(format('%s %s', amount, total), ', ') FROM prm.my_statement(:st)), '20.00 20.00', 'my_statement: an older one');
SELECT throws_ok(format('SELECT * FROM prm.my_statement(%s)', :bobs), '42704', NULL, 'my_statement: not another partner''s');
SELECT is((SELECT string_agg(format('%s %s %s %s', month, kind, amount, open), ', ') FROM prm.my_earnings()), '2025-07-01 commission 30.00 0', 'my_earnings');
SELECT throws_ok(format('SELECT prm.dispute(%s, ''x'')', (SELECT entry_id FROM prm.ledger WHERE earning_event_id = :s3 AND program_id = :program)), '42704', NULL, 'a partner disputes its own entries only');
SELECT throws_ok(format('INSERT INTO prm.payout_request (partner_id, is_forced, reason) VALUES (%s, true, ''now'')', :ann), '42501', NULL, 'and forces no payout');
SELECT set_config('prm.partner_id', '', true);

-- ---- what cannot be got round --------------------------------------------------------------------------------------
SELECT throws_ok(format('UPDATE prm.statement_line SET amount = 5 WHERE statement_id = %s AND program_id = %s', :st, :program), '55000', NULL, 'STL-003 a settled line is never changed');
SELECT throws_ok(format('DELETE FROM prm.statement_line WHERE statement_id = %s AND program_id = %s', :st, :program), '55000', NULL, 'STL-003 nor deleted');
SELECT throws_ok(format('UPDATE prm.statement SET total = 25 WHERE statement_id = %s AND program_id = %s', :st, :program), '55000', NULL, 'a total is never changed');
SELECT throws_ok(format('DELETE FROM prm.statement WHERE statement_id = %s AND program_id = %s', :st, :program), '55000', NULL, 'STL-004 a statement is never deleted');
SELECT throws_ok(format('INSERT INTO prm.statement_line (entry_id, statement_id, partner_id, part, amount) VALUES (%s, %s, %s, 9, 5)', :e1, :st, :ann), '23514', NULL, 'no line is added to a statement');
SELECT throws_ok(format('INSERT INTO prm.statement_line (entry_id, statement_id, partner_id, amount) VALUES (-9, -5, %s, 5)', :ann), '23514', NULL, 'nor to none');
SELECT throws_ok(format($$WITH s AS (INSERT INTO prm.statement (payee_id, partner_id, currency, period, period_end, total, entries, closed_at, closed_by)
    SELECT payee_id, partner_id, currency, '2030-01-01', '2030-01-31', 5, 1, now(), 'me' FROM prm.statement WHERE statement_id = %s AND program_id = %s RETURNING statement_id, partner_id)
  INSERT INTO prm.statement_line (entry_id, statement_id, partner_id, part, amount) SELECT -1, statement_id, partner_id, 1, 6 FROM s$$, :st, :program), '23514', NULL, 'the total is the sum of the lines');
SELECT throws_ok(format($$INSERT INTO prm.statement (payee_id, partner_id, currency, period, period_end, total, entries, closed_at, closed_by)
  SELECT payee_id, partner_id, currency, '2030-01-01', '2030-01-31', 5, 1, now(), 'me' FROM prm.statement WHERE statement_id = %s AND program_id = %s$$, :st, :program), '23514', NULL, 'a statement comes with its lines');
SELECT throws_ok(format($$INSERT INTO prm.payout (batch_id, payee_id, partner_id, currency, amount, net, pay_currency, pay_amount, due_on)
  SELECT 9, payee_id, partner_id, currency, 5, 5, currency, 5, '2030-01-31' FROM prm.statement WHERE statement_id = %s AND program_id = %s$$, :st, :program), '23514', NULL, 'and a payout with its statements');
SELECT throws_ok('UPDATE prm.payout SET amount = 1, net = 1', '55000', NULL, 'a payout is never changed');
SELECT throws_ok('DELETE FROM prm.payout_statement', '55000', NULL, 'nor what it pays');
SELECT throws_ok(format('UPDATE prm.statement SET state = ''paid'' WHERE statement_id = %s AND program_id = %s', :st, :program), '23514', NULL, 'a statement that nobody approved is not paid');
SELECT is((SELECT string_agg(DISTINCT rule, ',') FROM prm._audit_settlement(:program)), NULL, 'the books are sound');

-- ---- as of ---------------------------------------------------------------------------------------------------------
SELECT is((SELECT count(*) FROM prm.ledger_as_of(clock_timestamp())), (SELECT count(*) FROM prm.ledger WHERE program_id = :program), 'all that is known now');
SELECT is((SELECT string_agg(status, ',' ORDER BY entry_id) FROM prm.ledger_as_of(clock_timestamp())), 'on_statement,on_statement,on_statement', 'with its status');
SELECT is((SELECT string_agg(statement_id::text, ',') FROM prm.ledger_as_of((SELECT min(recorded_at) FROM prm.statement WHERE program_id = :program) - interval '1 microsecond')), NULL, 'nothing was settled before the first close');
SELECT is((SELECT count(*) FROM prm.ledger_as_of((SELECT min(recorded_at) FROM prm.ledger WHERE program_id = :program) - interval '1 microsecond')), 0::bigint, 'nothing was known before');
SELECT is((SELECT string_agg(format('%s %s %s', partner, side, total), ', ' ORDER BY partner, side) FROM prm.v_aged_balance WHERE program_id = :program), 'Ann payable 30.00, Bob payable 30.00', 'aged balances');

SELECT * FROM finish();
ROLLBACK;
