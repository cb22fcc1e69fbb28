-- Settlement as a finance team sees it: earn, close, approve, pay, a refund afterwards, and the errors on the way.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET datestyle = 'ISO, YMD';
SET timezone = 'UTC';
SELECT prm.install() IS NOT NULL AS installed;
SET prm.clock = '2025-07-10 12:00+00';
SELECT prm.create_program('Settlement', 'blank', 'USD') > 0 AS created;
INSERT INTO prm.partner (name) VALUES ('Alder'), ('Birch'), ('Cedar');
INSERT INTO prm.commission_plan (name, earn_on, currency) VALUES ('Ten', 'invoiced', 'USD');
INSERT INTO prm.commission_rule (plan_id, schedule) SELECT plan_id, '10%' FROM prm.commission_plan;
INSERT INTO prm.settlement_profile (currency, min_payout) VALUES ('USD', 50);
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at, document_ref)
  SELECT 'invoiced', p.partner_id, v.amount, 'USD', '2025-07-05 12:00+00', v.ref
  FROM (VALUES ('Alder', 1000, 'I-1'), ('Alder', 500, 'I-2'), ('Birch', 300, 'I-3'), ('Cedar', 2000, 'I-4')) AS v(name, amount, ref) JOIN prm.partner p ON p.name = v.name
  ORDER BY v.ref;

-- A running period is not closed, but can be looked at.
SELECT payee, amount, outcome, reason FROM prm.close_period('2025-07-31') ORDER BY payee;
SELECT payee, amount, outcome, reason FROM prm.preview_period() ORDER BY payee;

-- In August July is closed. Too little stays open.
SET prm.clock = '2025-08-01 06:00+00';
SELECT payee, amount, entries, outcome, reason FROM prm.close_period('2025-07-31') ORDER BY payee;
SELECT payee, amount, outcome, reason FROM prm.close_period('2025-07-31') ORDER BY payee;
SELECT partner, period, total, state FROM prm.v_statement ORDER BY partner;

-- Nothing is paid before it is approved, and nothing twice.
SELECT payee, amount, outcome, reason FROM prm.create_payouts() ORDER BY payee;
UPDATE prm.statement SET state = 'paid';
UPDATE prm.statement SET state = 'approved';
SELECT payee, amount, outcome, reason FROM prm.create_payouts() ORDER BY payee;
SELECT payee, amount, outcome, reason FROM prm.create_payouts() ORDER BY payee;
SELECT payee, prm.settle_payout(payout_id, 'paid', 'batch 1') FROM prm.v_payout ORDER BY payee;
SELECT p.name, b.* FROM prm.partner p CROSS JOIN LATERAL prm.partner_balance(p.partner_id) b ORDER BY p.name;

-- A refund of what was paid is a debt; later earnings pay it first.
INSERT INTO prm.earning_event (kind, applies_to_id, amount, currency, occurred_at)
  SELECT 'refunded', earning_event_id, -2000, 'USD', '2025-08-02 12:00+00' FROM prm.earning_event WHERE document_ref = 'I-4';
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at) SELECT 'invoiced', partner_id, 1200, 'USD', '2025-08-05 12:00+00' FROM prm.partner WHERE name = 'Cedar';
SET prm.clock = '2025-09-01 06:00+00';
SELECT payee, amount, entries, outcome, reason FROM prm.close_period('2025-08-31') ORDER BY payee;
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at) SELECT 'invoiced', partner_id, 1500, 'USD', '2025-09-01 05:00+00' FROM prm.partner WHERE name = 'Cedar';
SELECT partner, side, days_0_30, total FROM prm.v_aged_balance ORDER BY partner, side;
SET prm.clock = '2025-10-01 06:00+00';
SELECT payee, amount, outcome, reason FROM prm.close_period('2025-09-30') ORDER BY payee;
UPDATE prm.statement SET state = 'approved' WHERE state = 'settled';
SELECT payee, amount, statements, outcome, reason FROM prm.create_payouts() ORDER BY payee;

-- What the partner reads.
SELECT set_config('prm.partner_id', partner_id::text, false) IS NOT NULL AS acts FROM prm.partner WHERE name = 'Alder';
SELECT line_no, earned_on, what, basis_amount, schedule, amount, running_total, document_ref FROM prm.my_statement();
SELECT month, currency, kind, entries, amount, settled, open FROM prm.my_earnings();
RESET prm.partner_id;

-- What is refused.
SELECT * FROM prm.close_period(NULL);
SELECT * FROM prm.close_period('2025-09-30', false, '{"payees": 1}');
SELECT prm.settle_payout(-1, 'paid');
SELECT prm.settle_payout(min(payout_id), 'paid') FROM prm.payout;
SELECT prm.dispute(-1, 'no');
SELECT * FROM prm.my_statement(-1);
DELETE FROM prm.statement;
UPDATE prm.statement_line SET amount = 0.01;
SELECT rule, detail FROM prm._audit_settlement(prm.current_program());
