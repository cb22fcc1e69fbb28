-- Settlement: holds, periods, statements and debts. Acceptance ids stand in the names.
BEGIN;
\ir settlement.psql

-- ---- HLD -----------------------------------------------------------------------------------------------------------
SELECT pg_temp.program('Holds') AS program \gset
SELECT pg_temp.partner('Ann') AS ann \gset
SELECT pg_temp.plan('thirty', 'invoiced', 30, '10%') AS thirty \gset
SELECT pg_temp.at('2025-06-09 12:00+00');
SELECT pg_temp.sale(:ann, 'invoiced', 100, '2025-05-11') AS young, pg_temp.sale(:ann, 'invoiced', 1000, '2025-05-09') AS old \gset
SELECT is(pg_temp.balance(:ann), 'USD pending 10.00 held 0 eligible 100.00 statement 0 paid 0 debt 0 draw 0', 'HLD-001 29 days are pending, 31 are due');
SELECT pg_temp.refund(:old, 500, '2025-06-09') AS refund \gset
SELECT is((SELECT eligible_at FROM prm.ledger WHERE program_id = :program AND earning_event_id = :refund), (SELECT eligible_at FROM prm.ledger WHERE program_id = :program AND earning_event_id = :old),
  'a reversal is payable when its cause is');
SELECT prm.post_adjustment(:ann, 25, 'USD', 'a bonus by hand') > 0 AS posted;
SELECT is(pg_temp.balance(:ann), 'USD pending 10.00 held 0 eligible 75.00 statement 0 paid 0 debt 0 draw 0', 'HLD-002 what is posted by hand skips the hold');
SELECT pg_temp.plan('trial', 'signup', 37, 'slab 0: 100') AS trial \gset
SELECT pg_temp.sale(:ann, 'signup', 1, '2025-06-01') AS signup \gset
SELECT is((SELECT (eligible_at AT TIME ZONE 'UTC')::date - earned_on FROM prm.ledger WHERE program_id = :program AND earning_event_id = :signup), 37, 'HLD-003 trial and refund window together');

-- HLD-005: 60 days, paid in the run of the first.
SELECT pg_temp.program('Sixty') AS program \gset
SELECT pg_temp.partner('Ann') AS ann \gset
SELECT pg_temp.plan('sixty', 'invoiced', 60, '10%') AS sixty \gset
SELECT pg_temp.at('2024-03-20 12:00+00');
SELECT pg_temp.sale(:ann, 'invoiced', 1000, '2024-03-20') AS sold \gset
SELECT is((SELECT (eligible_at AT TIME ZONE 'UTC')::date FROM prm.ledger WHERE program_id = :program), date '2024-05-19', 'HLD-005 due on');
SELECT pg_temp.at('2024-05-01 08:00+00');
SELECT is(pg_temp.closing('2024-04-30'), 'pending Ann 100.00 USD 2024-04-01', 'HLD-005 the run of May pays nothing');
SELECT pg_temp.at('2024-06-01 08:00+00');
SELECT is(pg_temp.closing('2024-05-31'), 'settled Ann 100.00 USD 2024-05-01', 'HLD-005 the run of June settles it');
SELECT pg_temp.approve();
SELECT is(pg_temp.pay(), 'paid_out Ann 100.00 USD', 'HLD-005 and pays');
SELECT is((SELECT due_on FROM prm.payout WHERE program_id = :program), date '2024-06-01', 'HLD-005 on the first');

-- HLD-004, HLD-007.
SELECT pg_temp.program('Life') AS program \gset
SELECT pg_temp.partner('Ann') AS ann, pg_temp.partner('Bob') AS bob \gset
INSERT INTO prm.settlement_profile (period_kind, auto_approve) VALUES ('half_month', true);
SELECT pg_temp.plan('approval', 'invoiced', 30, '10%') AS plan \gset
SELECT pg_temp.at('2025-01-01 12:00+00');
SELECT pg_temp.sale(:ann, 'invoiced', 1000, '2025-01-01') AS sold, pg_temp.sale(:bob, 'invoiced', 1000, '2025-01-01') AS returned \gset
SELECT pg_temp.refund(:returned, 1000, '2025-01-10') AS refund \gset
SELECT is(pg_temp.balance(:bob), 'USD pending 0.00 held 0 eligible 0 statement 0 paid 0 debt 0 draw 0', 'HLD-004 CLB-001 CLB-004 a full refund while pending leaves nothing');
SELECT is((SELECT string_agg(kind, ',' ORDER BY entry_id) FROM prm.ledger WHERE partner_id = :bob), 'commission,reversal', 'HLD-004 by a reversal, the original stays');
SELECT pg_temp.at('2025-02-01 12:00+00');
SELECT is(pg_temp.closing('2025-01-31'), 'settled Ann 100.00 USD 2025-01-16, settled Bob 0.00 USD 2025-01-16', 'HLD-007 approved on day 30, and rows that cancel out close together');
SELECT is((SELECT string_agg(state, ',' ORDER BY partner_id) FROM prm.statement WHERE program_id = :program), 'approved,approved', 'the profile approves them');
SELECT pg_temp.at('2025-02-15 12:00+00');
SELECT is(pg_temp.pay(), 'paid_out Ann 100.00 USD, offset Bob 0.00 USD', 'HLD-007 paid on day 45; nothing is paid where nothing is left');
SELECT is(pg_temp.settle_all(), 1::bigint, 'one payout is settled');
SELECT pg_temp.at('2025-03-02 12:00+00');
SELECT pg_temp.refund(:sold, 1000, '2025-03-02') AS late \gset
SELECT is((SELECT string_agg(format('%s %s', kind, amount), ', ' ORDER BY entry_id) FROM prm.ledger WHERE partner_id = :ann), 'commission 100.00, payout -100.00, clawback -100.00',
  'HLD-007 CLB-002 a refund after payout is a new negative row, the original is untouched');
SELECT is(pg_temp.balance(:ann), 'USD pending 0 held 0 eligible -100.00 statement 0.00 paid 100.00 debt 0 draw 0', 'HLD-002 a clawback skips the hold');
SELECT pg_temp.sale(:ann, 'invoiced', 3000, '2025-02-10') AS next \gset
SELECT pg_temp.at('2025-03-16 12:00+00');
SELECT is(pg_temp.closing('2025-03-15'), 'settled Ann 200.00 USD 2025-03-01', 'CLB-002 the next statement is less by it');

-- HLD-008: paid by the customer on 1 January, ten days of safety.
SELECT pg_temp.program('Cheque') AS program \gset
SELECT pg_temp.partner('Ann') AS ann \gset
INSERT INTO prm.settlement_profile (period_kind) VALUES ('half_month');
SELECT pg_temp.plan('safe', 'invoiced', 10, '10%', 'collected') AS plan \gset
SELECT pg_temp.at('2024-12-02 12:00+00');
SELECT pg_temp.sale(:ann, 'invoiced', 600, '2024-12-01') AS sold \gset
SELECT pg_temp.at('2025-01-02 12:00+00');
SELECT pg_temp.collect(:sold, 600, '2025-01-01') AS paid \gset
SELECT is(pg_temp.closing('2024-12-31'), 'uncollected Ann 60.00 USD 2024-12-16', 'HLD-008 not on 5 January');
SELECT pg_temp.at('2025-01-16 12:00+00');
SELECT is(pg_temp.closing('2025-01-15'), 'settled Ann 60.00 USD 2025-01-01', 'HLD-008 but on 15 January');

-- ---- CLB -----------------------------------------------------------------------------------------------------------
SELECT pg_temp.program('Clawbacks') AS program \gset
SELECT pg_temp.partner('Ann') AS ann, pg_temp.partner('Bob') AS bob, pg_temp.partner('Cid') AS cid \gset
SELECT pg_temp.plan('eighty', 'invoiced', 0, '80%') AS plan \gset
SELECT pg_temp.at('2025-01-10 12:00+00');
SELECT pg_temp.sale(:ann, 'invoiced', 100, '2025-01-05') AS returned, pg_temp.sale(:bob, 'invoiced', 125, '2025-01-05') AS bobs, pg_temp.sale(:cid, 'invoiced', 100, '2025-01-05') AS kept \gset
SELECT pg_temp.refund(:kept, 40, '2025-01-07') AS partly \gset
SELECT is((SELECT sum(amount) FROM prm.ledger WHERE partner_id = :cid), 48.00, 'CLB-006 a partial refund keeps the commission on the part kept (12 of 20, 48 of 80)');
SELECT pg_temp.at('2025-02-01 12:00+00');
SELECT is(pg_temp.closing('2025-01-31'), 'settled Ann 80.00 USD 2025-01-01, settled Bob 100.00 USD 2025-01-01, settled Cid 48.00 USD 2025-01-01', 'January');
SELECT pg_temp.approve();
SELECT is(pg_temp.pay(), 'paid_out Ann 80.00 USD, paid_out Bob 100.00 USD, paid_out Cid 48.00 USD', 'is paid');
SELECT pg_temp.settle_all();
SELECT pg_temp.refund(:returned, 100, '2025-02-03') AS r1, pg_temp.refund(:bobs, 125, '2025-02-03') AS r2, pg_temp.sale(:ann, 'invoiced', 1000, '2025-02-05') AS good, pg_temp.sale(:bob, 'invoiced', 37.50, '2025-02-05') AS small \gset
SELECT pg_temp.at('2025-03-01 12:00+00');
SELECT is(pg_temp.closing('2025-02-28'), 'carry Bob -70.00 USD 2025-02-01, settled Ann 720.00 USD 2025-02-01', 'CLB-003 the clawback is subtracted once; CLB-005 below zero');
SELECT is(pg_temp.balance(:bob), 'USD pending 0 held 0 eligible 0 statement 0.00 paid 100.00 debt 70.00 draw 0', 'CLB-005 the debt is shown');
SELECT pg_temp.approve();
SELECT is(pg_temp.pay(), 'paid_out Ann 720.00 USD, owes Bob -70.00 USD', 'CLB-005 and blocks payouts');
SELECT pg_temp.sale(:bob, 'invoiced', 125, '2025-03-05') AS more \gset
SELECT pg_temp.at('2025-04-01 12:00+00');
SELECT is(pg_temp.closing('2025-03-31'), 'settled Bob 30.00 USD 2025-03-01', 'CLB-005 later credits');
SELECT pg_temp.approve();
SELECT is(pg_temp.pay(), 'paid_out Bob 30.00 USD', 'CLB-005 first pay the debt, only the excess is payable');
SELECT pg_temp.settle_all();
SELECT is(pg_temp.balance(:bob), 'USD pending 0 held 0 eligible 0 statement 0.00 paid 130.00 debt 0 draw 0', 'CLB-005 the debt is paid');
SELECT is((SELECT sum(amount) FROM prm.ledger WHERE partner_id = :bob), 0::numeric, 'and the ledger comes out even');

-- The other policies.
SELECT pg_temp.program('Policies') AS program \gset
SELECT pg_temp.partner('Block') AS block, pg_temp.partner('Off') AS off, pg_temp.partner('Royal') AS royal \gset
INSERT INTO prm.payee (partner_id, legal_name, currency) VALUES (:block, 'Block', 'USD') RETURNING payee_id AS py_block \gset
INSERT INTO prm.payee (partner_id, legal_name, currency) VALUES (:off, 'Off', 'USD') RETURNING payee_id AS py_off \gset
INSERT INTO prm.payee (partner_id, legal_name, currency) VALUES (:royal, 'Royal', 'USD') RETURNING payee_id AS py_royal \gset
INSERT INTO prm.settlement_profile (payee_id, debt_policy, write_off_days) VALUES (:py_block, 'block', NULL), (:py_off, 'write_off', 30), (:py_royal, 'write_off', 30);
SELECT throws_ok(format('INSERT INTO prm.settlement_profile (payee_id, currency, debt_policy) VALUES (%s, ''USD'', ''write_off'')', :py_off), '23514', NULL, 'write_off needs its days');
SELECT pg_temp.at('2025-01-10 12:00+00');
SELECT prm.post_adjustment(:block, -50, 'USD', 'taken back') > 0, prm.post_adjustment(:off, -50, 'USD', 'taken back') > 0;
INSERT INTO prm.ledger (partner_id, kind, amount, currency, earned_on, eligible_at, idempotency_key) VALUES (:royal, 'royalty', -40, 'USD', '2025-01-10', prm.now(), 'r1'), (:royal, 'adjustment', -10, 'USD', '2025-01-10', prm.now(), 'r2');
SELECT pg_temp.at('2025-02-01 12:00+00');
SELECT is(pg_temp.closing('2025-01-31'), 'carry Block -50.00 USD 2025-01-01, carry Off -50.00 USD 2025-01-01, carry Royal -50 USD 2025-01-01', 'three debts');
SELECT is((SELECT receivable FROM prm.statement WHERE payee_id = :py_royal), 40::numeric, 'of which royalties are a claim');
SELECT prm.post_adjustment(:block, 80, 'USD', 'earned') > 0, prm.post_adjustment(:off, 20, 'USD', 'earned') > 0;
SELECT pg_temp.at('2025-02-20 12:00+00');
SELECT is(prm.write_off_debts(), 0::bigint, 'nothing is written off within the days');
SELECT pg_temp.at('2025-03-05 12:00+00');
SELECT is(prm.write_off_debts(), 2::bigint, 'CLB-005 write_off gives debts up after the days of the profile');
SELECT is(prm.write_off_debts(), 0::bigint, 'once');
SELECT is((SELECT string_agg(amount::text, ',') FROM prm.ledger WHERE program_id = :program AND component = 'write_off' AND partner_id = :royal), '10', 'royalties and fees are never written off');
SELECT prm.close_period('2025-02-28') IS NOT NULL AS closed;
SELECT pg_temp.at('2025-04-02 12:00+00');
SELECT prm.close_period('2025-03-31') IS NOT NULL AS closed;
SELECT pg_temp.approve();
SELECT is(pg_temp.pay(), 'blocked Block 30.00 USD, paid_out Off 20.00 USD, owes Royal -40 USD', 'block pays nothing until the debt is settled; what was written off does not stand against new credit; a claim stays');
SELECT prm.receive_payment(:block, 50, 'USD', 'wire 7') > 0 AS received;
SELECT throws_ok(format('SELECT prm.receive_payment(%s, 50, ''USD'', ''wire 7'')', :block), '23505', NULL, 'a payment is booked once');
SELECT throws_ok(format('SELECT prm.receive_payment(%s, 0.001, ''USD'', ''wire 8'')', :block), '22023', NULL, 'and is whole money');

-- ---- DRW -----------------------------------------------------------------------------------------------------------
SELECT pg_temp.program('Draws') AS program \gset
SELECT pg_temp.partner('New') AS new \gset
INSERT INTO prm.draw_agreement (partner_id, currency, amount, valid) VALUES (:new, 'USD', 2000, '[2025-01-01,2025-07-01)');
CREATE FUNCTION pg_temp.draw_month(the_partner bigint, the_month date, the_earned numeric) RETURNS text LANGUAGE plpgsql AS $$
DECLARE the_paid numeric; the_debt numeric;
BEGIN
  PERFORM set_config('prm.clock', (the_month + 10)::text || ' 12:00+00', true);
  PERFORM prm.post_adjustment(the_partner, the_earned, 'USD', 'earned');
  PERFORM set_config('prm.clock', (the_month + interval '1 month')::date::text || ' 12:00+00', true);
  SELECT sum(c.amount) INTO the_paid FROM prm.close_period(the_month) c WHERE c.statement_id IS NOT NULL;
  SELECT draw_debt INTO the_debt FROM prm.partner_balance(the_partner);
  RETURN format('%s/%s', the_paid, the_debt);
END $$;
SELECT is((SELECT string_agg(pg_temp.draw_month(:new, m.month::date, m.earned), ', ' ORDER BY m.month) FROM (VALUES ('2025-01-01', 2750), ('2025-02-01', 3000), ('2025-03-01', 1500), ('2025-04-01', 2375), ('2025-05-01', 3000), ('2025-06-01', 2750)) AS m(month, earned)),
  '2750.00/0, 3000.00/0, 2000.00/500.00, 2000.00/125.00, 2875.00/0.00, 2750.00/0.00', 'DRW-001 a recoverable draw is repaid from what is earned above it only');
SELECT is((SELECT string_agg(rule, ',') FROM prm.audit_ledger(:program)), NULL, 'the books are sound');
-- Plants a fault, which the triggers would keep out, looks what the audit says of it, and takes it away again.
CREATE FUNCTION pg_temp.planted(the_fault text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE found text;
BEGIN
  ALTER TABLE prm.statement_line DISABLE TRIGGER prm_append_only;
  EXECUTE the_fault;
  SELECT coalesce(string_agg(DISTINCT v.rule, ', ' ORDER BY v.rule), 'nothing') INTO found FROM prm.audit_ledger() v;
  RAISE EXCEPTION USING ERRCODE = 'PR001', MESSAGE = found;
EXCEPTION WHEN SQLSTATE 'PR001' THEN
  RETURN SQLERRM;
END $$;
SELECT set_config('prm.program_id', :'program', true) AS back \gset
SELECT prm.post_adjustment((SELECT min(p.partner_id) FROM prm.partner p WHERE p.program_id = :program), 5, 'USD', 'still open') AS adjustment \gset
SELECT is(pg_temp.planted('DELETE FROM prm.ledger_open o WHERE o.program_id = prm.current_program() AND o.entry_id = (SELECT min(i.entry_id) FROM prm.ledger_open i WHERE i.program_id = prm.current_program())'),
  'entry_lost', 'an open entry that is gone is found');
SELECT is(pg_temp.planted('DELETE FROM prm.statement_line l WHERE l.program_id = prm.current_program() AND l.entry_id = (SELECT min(i.entry_id) FROM prm.statement_line i WHERE i.program_id = prm.current_program())'),
  'entry_lost, statement_total', 'and a line of a statement');

SELECT * FROM finish();
ROLLBACK;
