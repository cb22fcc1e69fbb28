-- A partner buys from itself: what is found, held, looked at, released or canceled, and what is held by hand.
SET client_min_messages = warning;
\set SHOW_CONTEXT never
SELECT prm.install() IS NOT NULL AS installed;
ALTER TABLE prm.program ALTER COLUMN program_id RESTART WITH 651;
SELECT prm.create_program('Risk', 'reseller', 'EUR', 'Europe/Berlin') AS programme;
SET prm.program_id = '651';
SET prm.clock = '2026-06-15 12:00+00';
SET prm.actor = 'riley';
SET TIME ZONE 'UTC';
SET datestyle = 'ISO';
ALTER TABLE prm.partner ALTER COLUMN partner_id RESTART WITH 6501;
ALTER TABLE prm.customer ALTER COLUMN customer_id RESTART WITH 6501;
ALTER TABLE prm.deal ALTER COLUMN deal_id RESTART WITH 6501;
ALTER TABLE prm.earning_event ALTER COLUMN earning_event_id RESTART WITH 6501;
ALTER TABLE prm.ledger ALTER COLUMN entry_id RESTART WITH 6501;
ALTER TABLE prm.risk_event ALTER COLUMN risk_event_id RESTART WITH 6501;
ALTER TABLE prm.ledger_hold ALTER COLUMN hold_id RESTART WITH 6501;
-- The rules of the template; those about sales are asked for.
SELECT risk_rule, kind, parameters, action, expires_after_days AS days, is_active FROM prm.risk_rule WHERE program_id = 651 ORDER BY 1;
UPDATE prm.risk_rule SET is_active = true WHERE program_id = 651 AND risk_rule = 'self_referral';
INSERT INTO prm.risk_rule (risk_rule, label, kind, parameters) VALUES ('rush', 'Too fast', 'velocity', '{"events": 3, "with": "1 day"}');

INSERT INTO prm.partner (name, email, domain) VALUES ('Alder', 'sales@alder.example', 'alder.example'), ('Birch', 'b.birch+shop@gmail.com', NULL);
INSERT INTO prm.customer (name, domain) VALUES ('Alder Holding', 'www.alder.example'), ('Cedar', 'cedar.example');
INSERT INTO prm.deal (partner_id, customer_id, name, amount, currency) VALUES (6501, 6502, 'Cedar', 1000, 'EUR'), (6501, 6501, 'Alder Holding', 2000, 'EUR');
UPDATE prm.deal SET state = 'won' WHERE program_id = 651;
SELECT risk_event_id, label, partner, found, state, expires_at FROM prm.v_risk_event WHERE program_id = 651;
SELECT entry_id, deal, amount, status, hold_reason FROM prm.v_ledger WHERE program_id = 651 ORDER BY 1;

-- Nothing wrong with it: released.
SELECT prm.resolve_risk(6501, 'harmless', 'x');
SELECT prm.resolve_risk(6501, 'benign', '');
SELECT prm.resolve_risk(6501, 'benign', 'the mother company pays for the customers');
SELECT entry_id, deal, amount, status FROM prm.v_ledger WHERE program_id = 651 ORDER BY 1;
SELECT prm.resolve_risk(6501, 'banned', 'changed my mind');

-- Another one is banned: what was not settled is canceled, and what comes later as well.
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at, document_ref, attributes)
  VALUES ('booked', 6502, 500, 'EUR', prm.now(), 'B-1', '{"email": "BBirch@gmail.com"}');
SELECT risk_event_id, partner, found, state FROM prm.v_risk_event WHERE program_id = 651 AND state = 'open';
SELECT prm.resolve_risk(6502, 'banned', 'bought from itself');
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at, document_ref) VALUES ('booked', 6502, 700, 'EUR', prm.now(), 'B-2');
SELECT entry_id, document_ref, kind, amount, status, reason FROM prm.v_ledger WHERE program_id = 651 AND partner_id = 6502 ORDER BY 1;
SELECT hold_id, partner, kind, reason, placed_by, stands, outcome, end_reason FROM prm.v_hold WHERE program_id = 651 ORDER BY 1;

-- By hand: one entry, or a whole partner.
SELECT prm.hold_entry(6501, 'waiting for the contract') AS hold;
SELECT prm.hold_partner(6501, 'address unknown') AS hold;
SELECT entry_id, status, held, hold_kind, hold_reason FROM prm.v_ledger WHERE program_id = 651 AND partner_id = 6501 ORDER BY 1;
SELECT prm.release_hold(6506, 'moved') > 0 AS released;
SELECT entry_id, held, kind, reason FROM prm.v_entry_hold WHERE program_id = 651 AND partner_id = 6501 ORDER BY 1;
SELECT prm.release_hold(6506, 'moved');
SELECT prm.release_hold(6503, 'please');
SELECT prm.hold_entry(6999, 'x');
UPDATE prm.ledger_hold SET reason = 'x';

-- What nobody resolves expires; two accounts with one bank account are found by the jobs.
INSERT INTO prm.payee (partner_id, legal_name, bank, currency) VALUES (6501, 'Alder', '{"iban": "DE89 3704"}', 'EUR');
INSERT INTO prm.partner (name) VALUES ('Dogwood');
INSERT INTO prm.payee (partner_id, legal_name, bank, currency) VALUES (6503, 'Dogwood', '{"iban": "de893704"}', 'EUR');
CALL prm.run_jobs(651);
SELECT partner, risk_rule, found, state, expires_at FROM prm.v_risk_event WHERE program_id = 651 AND partner_id = 6503;
SET prm.clock = '2026-07-16 12:00+00';
CALL prm.run_jobs(651);
SELECT partner, risk_rule, state, resolved_at, reason FROM prm.v_risk_event WHERE program_id = 651 AND partner_id = 6503;
SELECT job, outcome, done FROM prm.v_job_run WHERE program_id = 651 AND job IN ('risks', 'risk_review') ORDER BY job_run_id;
