-- Rules and what stands around them: what a rule may not say, credits that come late, deals taken back, what billing systems send.
SET client_min_messages = warning;
\set SHOW_CONTEXT never
SELECT prm.install() IS NOT NULL AS installed;
ALTER TABLE prm.program ALTER COLUMN program_id RESTART WITH 651;
SELECT prm.create_program('Earning rules', 'blank', 'EUR', 'Europe/Berlin') AS programme;
SET prm.program_id = '651';
SET prm.clock = '2026-06-30 21:30+00';
SET TIME ZONE 'UTC';
SET datestyle = 'ISO';
ALTER TABLE prm.partner ALTER COLUMN partner_id RESTART WITH 6501;
ALTER TABLE prm.deal ALTER COLUMN deal_id RESTART WITH 6501;
ALTER TABLE prm.earning_event ALTER COLUMN earning_event_id RESTART WITH 6501;
ALTER TABLE prm.ledger ALTER COLUMN entry_id RESTART WITH 6501;
ALTER TABLE prm.commission_plan ALTER COLUMN plan_id RESTART WITH 6501;
ALTER TABLE prm.commission_rule ALTER COLUMN rule_id RESTART WITH 6501;
INSERT INTO prm.partner (name, joined_on, external_ref) VALUES ('Alder', '2026-01-01', 'P-1'), ('Birch', '2026-01-01', 'P-2');
INSERT INTO prm.commission_plan (name, currency) VALUES ('Resale', 'EUR');

-- What a rule may not say.
INSERT INTO prm.commission_rule (plan_id, schedule, measure) VALUES (6501, 'marginal 0: 5%, 10: 6%', 'quantity');
INSERT INTO prm.commission_rule (plan_id, schedule, accumulate) VALUES (6501, '5%', 'cumulative');
INSERT INTO prm.commission_rule (plan_id, schedule, measure) VALUES (6501, 'slab 0: 5%, 1: 8%', 'attainment');
INSERT INTO prm.commission_rule (plan_id, schedule, window_kind) VALUES (6501, '5%', 'month');
INSERT INTO prm.commission_rule (plan_id, schedule, cap_window) VALUES (6501, '5%', 'month');
INSERT INTO prm.commission_rule (plan_id, schedule, override_mode) VALUES (6501, '5%', 'percent_of_below');
INSERT INTO prm.commission_rule (plan_id, schedule, level) VALUES (6501, '5%', 12);
INSERT INTO prm.commission_rule (plan_id, schedule, accumulate, window_kind) VALUES (6501, 'slab 0: 5%, 1000: 6%', 'lookup', 'year');
SELECT prm.supersede_rule(6508, '2026-07-01', '{"basis": "margin"}');
DELETE FROM prm.commission_rule WHERE program_id = 651;
INSERT INTO prm.commission_rule (plan_id, label, schedule) VALUES (6501, 'Everybody', '10%');

-- A deal of two lines is won, and each line is booked.
INSERT INTO prm.deal (partner_id, name, amount, currency, book_by, external_ref) VALUES (6501, 'Elm Energy', 300, 'EUR', 'line', 'D-1');
INSERT INTO prm.deal_line (deal_id, line_no, quantity, net) VALUES (6501, 1, 1, 100), (6501, 2, 4, 200);
SELECT prm.fire('deal', 6501, 'win');
SELECT earning_event_id, kind, line_no, amount, commission FROM prm.v_earning WHERE program_id = 651 ORDER BY 1;

-- Birch turns out to have helped with it, and shares the sale in the end.
INSERT INTO prm.deal_partner (deal_id, credit_type, partner_id) VALUES (6501, 'influenced', 6502);
INSERT INTO prm.deal_partner (deal_id, partner_id, weight) VALUES (6501, 6502, 25);
INSERT INTO prm.deal_partner (deal_id, partner_id, weight) VALUES (6501, 6501, 75), (6501, 6502, 25);
DELETE FROM prm.deal_partner WHERE program_id = 651 AND deal_id = 6501 AND credit_type = 'influenced';
SELECT entry_id, partner, kind, amount, credit_type, cause_entry_id AS cause, reason FROM prm.v_ledger WHERE program_id = 651 ORDER BY entry_id;

-- It falls through, which only an import can say of a deal that was won.
CREATE TABLE correction AS SELECT 'D-1' AS id, 'lost' AS state;
SELECT outcome FROM prm.import('deal', 'correction', '{"external_ref": "id", "state": "state"}');
SELECT earning_event_id, kind, line_no, amount, applies_to_id AS applies_to, commission FROM prm.v_earning WHERE program_id = 651 ORDER BY 1;
SELECT partner, sum(amount) FROM prm.v_ledger WHERE program_id = 651 GROUP BY partner ORDER BY partner;

-- Rules that have earned, and their plan.
UPDATE prm.commission_rule SET cap_amount = 5 WHERE program_id = 651;
UPDATE prm.commission_plan SET currency = 'USD' WHERE program_id = 651;

-- What a billing system sends, twice.
UPDATE prm.commission_plan SET is_active = false WHERE program_id = 651;
INSERT INTO prm.commission_plan (name, currency, earn_on, pay_on) VALUES ('Invoices', 'EUR', 'invoiced', 'collected');
INSERT INTO prm.commission_rule (plan_id, schedule) VALUES (6502, '12%');
SELECT * FROM prm.earning_ingest('[
  {"external_ref": "INV-1", "kind": "invoiced", "partner_ref": "P-1", "amount": 500, "occurred_at": "2026-06-30"},
  {"external_ref": "PAY-1", "kind": "collected", "applies_to_ref": "INV-1", "amount": 200, "occurred_at": "2026-06-30"},
  {"external_ref": "INV-2", "kind": "invoiced", "partner_ref": "P-3", "amount": 500, "occurred_at": "2026-06-30"},
  {"external_ref": "INV-3", "kind": "invoiced", "partner_ref": "P-2", "amount": -500, "occurred_at": "2026-06-30"}]');
SELECT * FROM prm.earning_ingest('[{"external_ref": "INV-1", "kind": "invoiced", "partner_ref": "P-1", "amount": 505, "occurred_at": "2026-06-30"}]');
SELECT prm.earning_ingest('{"external_ref": "INV-1"}');
SELECT r.entry_id, r.amount, r.released, r.collected, r.collectable FROM prm.v_released r JOIN prm.ledger l USING (program_id, entry_id)
  WHERE r.program_id = 651 AND l.plan_id = 6502;
INSERT INTO prm.earning_event (kind, applies_to_id, amount, currency, occurred_at) SELECT 'collected', applies_to_id, 1, 'USD', prm.now() FROM prm.earning_event WHERE external_ref = 'PAY-1';
SELECT prm.cancel_event(earning_event_id, '') FROM prm.earning_event WHERE external_ref = 'INV-1';
SELECT prm.cancel_event(earning_event_id, 'the customer was never real') AS refund FROM prm.earning_event WHERE external_ref = 'INV-1' \gset
SELECT kind, amount, attributes FROM prm.earning_event WHERE program_id = 651 AND earning_event_id = :refund;
SELECT prm.cancel_event(earning_event_id, 'again') FROM prm.earning_event WHERE external_ref = 'INV-1';
SELECT prm.post_adjustment(6501, 10.005, 'EUR', 'rounding');
SELECT prm.post_adjustment(6501, 10, 'EUR', 'for the trouble') AS entry \gset
SELECT kind, amount, reason FROM prm.v_ledger WHERE program_id = 651 AND entry_id = :entry;

-- Subscriptions.
INSERT INTO prm.subscription (subscription_id, partner_id, amount, currency, started_on) VALUES ('SUB-1', 6502, 50, 'EUR', '2026-04-30');
CALL prm.run_jobs(651);
SELECT external_ref, service_period, amount FROM prm.earning_event WHERE program_id = 651 AND subscription_id = 'SUB-1' ORDER BY 1;
SELECT partner, subscriptions, monthly_revenue, currency FROM prm.v_recurring_revenue WHERE program_id = 651;
UPDATE prm.subscription SET started_on = '2026-01-01' WHERE program_id = 651;
DROP TABLE correction;
