-- The outbox and the jobs, as a consumer and a DBA see them.
SET client_min_messages = warning;
\set SHOW_CONTEXT never
SELECT prm.install() IS NOT NULL AS installed;
ALTER TABLE prm.program ALTER COLUMN program_id RESTART WITH 601;
SELECT prm.create_program('Outbox', 'reseller') AS programme;
SET prm.program_id = '601';
SET prm.actor = 'vera';
SET prm.clock = '2026-03-02 09:00:00+00';
ALTER TABLE prm.partner ALTER COLUMN partner_id RESTART WITH 6001;
ALTER TABLE prm.lead ALTER COLUMN lead_id RESTART WITH 6001;
ALTER TABLE prm.deal ALTER COLUMN deal_id RESTART WITH 6001;
ALTER TABLE prm.customer ALTER COLUMN customer_id RESTART WITH 6001;
ALTER TABLE prm.outbox ALTER COLUMN outbox_id RESTART WITH 6001;
INSERT INTO prm.partner (name, external_ref) VALUES ('Alder', 'P1');
INSERT INTO prm.lead (partner_id, company, contact_name, domain, need, budget, timeline_on, decision_maker)
  VALUES (6001, 'Acorn Foods', 'Ann', 'acorn.example', 'books', 5000, '2026-06-01', 'Ann');

-- Which happenings become messages.
SELECT source, event, to_state, event_type, channel, fields FROM prm.outbox_rule WHERE program_id = 601 ORDER BY outbox_rule_id;
INSERT INTO prm.outbox_rule (source, event_type, fields) VALUES ('lead', 'lead.new', '{company,colour}');
INSERT INTO prm.outbox_rule (source, event_type) VALUES ('ticket', 'ticket.opened');

-- A lead is qualified by its partner, returned, qualified again, approved and converted; the deal is won.
BEGIN;
SET LOCAL prm.partner_id = '6001';
SELECT prm.fire('lead', 6001, 'qualify');
COMMIT;
SELECT prm.fire('lead', 6001, 'return', 'which books?');
BEGIN;
SET LOCAL prm.partner_id = '6001';
SELECT prm.fire('lead', 6001, 'qualify');
COMMIT;
SELECT prm.fire('lead', 6001, 'approve');
SELECT prm.fire('lead', 6001, 'convert');
SELECT deal_id, name, partner, customer, amount, currency, state, is_open FROM prm.v_deal WHERE program_id = 601;
SELECT prm.fire('deal', 6001, 'win');
SELECT stage_no, stage, reached, present, share_of_previous, share_of_first FROM prm.v_lead_funnel WHERE program_id = 601 ORDER BY stage_no;

-- A consumer takes them, delivers and reports; what it does not report comes back when its lease ends.
SELECT outbox_id, aggregate_type, aggregate_id, event_type, payload, attempts, lease_until AT TIME ZONE 'UTC' AS lease_until
  FROM prm.claim_outbox('mailer-1', 2);
SELECT outbox_id, event_type FROM prm.claim_outbox('mailer-2');
SELECT prm.ack_outbox(6001);
SELECT prm.ack_outbox(6002, 'failed', 'connection refused');
SELECT prm.ack_outbox(6002);
SELECT prm.ack_outbox(6001);
SELECT prm.ack_outbox(7777);
SELECT prm.ack_outbox(6003, 'perhaps');
SELECT * FROM prm.claim_outbox('', 1);
SELECT * FROM prm.claim_outbox('mailer-1', 1, '{"lease": "1 day", "colour": "red"}');
SELECT outbox_id, event_type, status, attempts, claimed_by, available_at AT TIME ZONE 'UTC' AS available_at, detail
  FROM prm.v_outbox WHERE program_id = 601 AND outbox_id <= 6003 ORDER BY outbox_id;

-- What time makes due.
SET prm.clock = '2026-03-02 09:10:00+00';
CALL prm.run_jobs(601);
SELECT job, business_day, done > 0 AS did_something, outcome, message FROM prm.v_job_run WHERE program_id = 601 AND job <> 'tier_due' ORDER BY job_run_id;
SELECT outbox_id, status, detail FROM prm.v_outbox WHERE program_id = 601 AND outbox_id <= 6003 ORDER BY outbox_id;
CALL prm.run_jobs(601);
SELECT job, outcome, message FROM prm.v_job_run WHERE program_id = 601 AND job IN ('tiers', 'health') ORDER BY job_run_id;
BEGIN;
CALL prm.run_jobs(601);
ROLLBACK;
SELECT regexp_replace(prm.schedule_jobs(601), '-d [^ ]+', '-d ...') AS schedule;
