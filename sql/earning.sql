-- A deal is won: what it earns, for whom, why, and when it is payable.
SET client_min_messages = warning;
\set SHOW_CONTEXT never
SELECT prm.install() IS NOT NULL AS installed;
ALTER TABLE prm.program ALTER COLUMN program_id RESTART WITH 601;
SELECT prm.create_program('Earning', 'reseller', 'EUR', 'Europe/Berlin') AS programme;
SET prm.program_id = '601';
SET prm.clock = '2026-06-30 21:30+00';
SET TIME ZONE 'UTC';
SET datestyle = 'ISO';
ALTER TABLE prm.partner ALTER COLUMN partner_id RESTART WITH 6001;
ALTER TABLE prm.deal ALTER COLUMN deal_id RESTART WITH 6001;
ALTER TABLE prm.earning_event ALTER COLUMN earning_event_id RESTART WITH 6001;
ALTER TABLE prm.ledger ALTER COLUMN entry_id RESTART WITH 6001;
ALTER TABLE prm.commission_plan ALTER COLUMN plan_id RESTART WITH 6001;
ALTER TABLE prm.commission_rule ALTER COLUMN rule_id RESTART WITH 6001;
DELETE FROM prm.commission_plan WHERE program_id = 601;
INSERT INTO prm.commission_plan (name, currency, hold_days) VALUES ('Reseller commission', 'EUR', 30);
INSERT INTO prm.commission_rule (plan_id, label, tier, deal_kind, schedule) VALUES
  (6001, 'Everybody', NULL, NULL, 'marginal 0: 5%, 10000: 6%'), (6001, 'Gold', 'gold', NULL, 'marginal 0: 8%, 10000: 9%'),
  (6001, 'Renewals', NULL, 'renewal', '3%');
INSERT INTO prm.partner (name, joined_on) VALUES ('Alder', '2026-01-01'), ('Birch', '2026-01-01');
-- Alder has been gold for as long as anybody knows.
INSERT INTO prm.partner_history (partner_id, valid, kind) SELECT partner_id, tstzrange(NULL, NULL), kind FROM prm.partner WHERE program_id = 601 ON CONFLICT DO NOTHING;
UPDATE prm.partner_history SET tier = 'gold' WHERE program_id = 601 AND partner_id = 6001;
INSERT INTO prm.deal (partner_id, name, amount, currency, kind) VALUES
  (6001, 'Acorn Foods', 12345.67, 'EUR', 'new'), (6001, 'Beech Bank', 500, 'EUR', 'renewal'), (6002, 'Cedar Clinics', 900, 'USD', 'new');
INSERT INTO prm.deal_partner (deal_id, partner_id, weight) VALUES (6001, 6001, 70), (6001, 6002, 30);

-- Win two of them, at 23:30 on June 30 in Berlin.
UPDATE prm.deal SET state = 'won' WHERE program_id = 601 AND deal_id IN (6001, 6002);
SELECT entry_id, partner, deal, rule, basis_amount, amount, currency, status, earned_on, eligible_at FROM prm.v_ledger WHERE program_id = 601 ORDER BY entry_id;
SELECT earning_event_id, deal, amount, entries, commission FROM prm.v_earning WHERE program_id = 601 ORDER BY 1;
SELECT step, partner_id AS partner, outcome, reason, amount, basis_amount AS basis, part_lower AS lower, part_upper AS upper, rate FROM prm.explain_commission(6001) ORDER BY step;
SELECT name, prm.commission(d) FROM prm.deal d WHERE program_id = 601 ORDER BY deal_id;

-- Nothing, because.
UPDATE prm.deal SET state = 'won' WHERE program_id = 601 AND deal_id = 6003;
SELECT outcome, reason, amount FROM prm.explain_commission(6003) ORDER BY step;
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at) VALUES ('click', 6001, 0, 'EUR', prm.now());
SELECT outcome, reason FROM prm.explain_commission(6004);
SELECT * FROM prm.explain_commission(6099);

-- The statement-to-be, and the months.
SELECT partner, period, earned_on, what, amount, currency, status, total FROM prm.v_statement_preview WHERE program_id = 601 ORDER BY partner, entry_id;
SET prm.clock = '2026-08-01 12:00+00';
SELECT entry_id, status FROM prm.v_ledger WHERE program_id = 601 ORDER BY entry_id;
SELECT month, currency, entries, partners, events, amount FROM prm.v_commission_month WHERE program_id = 601;

-- A rule that has earned does not change: its next version opens.
UPDATE prm.commission_rule SET schedule = '10%' WHERE program_id = 601 AND label = 'Gold';
DELETE FROM prm.commission_rule WHERE program_id = 601 AND label = 'Gold';
SELECT prm.supersede_rule(6002, '2026-06-30', '{"schedule": "10%"}');
SELECT prm.supersede_rule(6002, '2026-08-01', '{"schedule": "10 percent"}');
SELECT prm.supersede_rule(6002, '2026-08-01', '{"schedule": "slab 0:10.00%", "label": "Gold 2026"}') AS rule;
SELECT rule_id, lineage_id, label, schedule, valid FROM prm.commission_rule WHERE program_id = 601 AND tier = 'gold' ORDER BY 1;
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at, document_ref) VALUES
  ('booked', 6001, 100, 'EUR', '2026-07-31 12:00+02', 'late'), ('booked', 6001, 100, 'EUR', '2026-08-01 12:00+02', 'today');
SELECT document_ref, rule, amount FROM prm.v_ledger WHERE program_id = 601 AND document_ref IN ('late', 'today') ORDER BY entry_id;

-- Conditions: only a clear true matches; what can never be decided is refused.
INSERT INTO prm.commission_rule (plan_id, schedule, condition) VALUES (6001, '1%', '$.event.amount > "100"');
INSERT INTO prm.commission_rule (plan_id, schedule, condition) VALUES (6001, '1%', '$.client.country == "DE"');
INSERT INTO prm.commission_rule (plan_id, schedule, condition) VALUES (6001, '1%', '$.event.amount >');
INSERT INTO prm.commission_rule (plan_id, schedule, condition) VALUES (6001, '1%', '$.event.occurred_at.datetime() > $now');

-- Weights, and what never changes.
INSERT INTO prm.deal (partner_id, name, amount, currency) VALUES (6001, 'Dogwood Dairy', 100, 'EUR');
INSERT INTO prm.deal_partner (deal_id, partner_id, weight) VALUES (6004, 6001, 60), (6004, 6002, 30);
UPDATE prm.deal SET state = 'won' WHERE program_id = 601 AND deal_id = 6004;
INSERT INTO prm.sales_credit (earning_event_id, credit_type, partner_id, weight) VALUES (6001, 'managed', 6002, 100);
UPDATE prm.ledger SET amount = amount * 2;
DELETE FROM prm.earning_event;
TRUNCATE prm.sales_credit;
SELECT count(*), sum(amount) FROM prm.ledger WHERE program_id = 601;
