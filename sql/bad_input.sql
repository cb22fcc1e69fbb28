-- What bad input gets: a specific error with DETAIL and HINT, and no row left behind.
SET client_min_messages = warning;
SET datestyle = 'ISO, YMD';
SET timezone = 'UTC';
\set SHOW_CONTEXT never
SELECT prm.install() IS NOT NULL AS installed;
ALTER TABLE prm.program ALTER COLUMN program_id RESTART WITH 501;
SELECT prm.create_program('Bad input', 'reseller') AS programme;
SET prm.program_id = '501';
ALTER TABLE prm.partner ALTER COLUMN partner_id RESTART WITH 5001;
ALTER TABLE prm.lead ALTER COLUMN lead_id RESTART WITH 5001;
ALTER TABLE prm.deal ALTER COLUMN deal_id RESTART WITH 5001;
INSERT INTO prm.partner (name, external_ref) VALUES ('Alder', 'P1');
INSERT INTO prm.lead (partner_id, company, external_ref) VALUES (5001, 'Acorn Foods', 'L1');
INSERT INTO prm.deal (partner_id, name, amount, external_ref) VALUES (5001, 'Acorn Foods', 1000, 'D1');

-- Text that is no schedule.
SELECT prm.commission('marginal 0: 5%, 10000: 6', 100);
SELECT '10 percent'::prm.commission_schedule;
SELECT 'slab 0: 5%, 0: 6%'::prm.commission_schedule;
INSERT INTO prm.commission_rule (plan_id, schedule) SELECT plan_id, 'five percent' FROM prm.commission_plan WHERE program_id = 501;

-- A transition that does not exist, by plain UPDATE and by its event.
UPDATE prm.lead SET state = 'converted' WHERE lead_id = 5001;
UPDATE prm.lead SET state = 'nowhere' WHERE lead_id = 5001;
SELECT prm.fire('lead', 5001, 'approve');
SELECT prm.fire('lead', 5001, 'fly');
SELECT prm.fire('dream', 5001, 'approve');

-- A missing required field, and the wrong actor.
BEGIN;
SET LOCAL prm.partner_id = '5001';
SELECT prm.fire('lead', 5001, 'qualify');
ROLLBACK;
SELECT prm.fire('lead', 5001, 'qualify');
SELECT prm.fire('lead', 5001, 'disqualify');

-- A lead of another programme.
SELECT prm.create_program('Another', 'blank') AS programme;
SET prm.program_id = '502';
SELECT prm.fire('lead', 5001, 'disqualify', 'not ours');
INSERT INTO prm.deal (lead_id, name, amount) VALUES (5001, 'not ours', 1);

-- No programme, where there are several.
RESET prm.program_id;
INSERT INTO prm.deal (name, amount) VALUES ('whose?', 1);
SELECT prm.fire('lead', 5001, 'disqualify', 'whose?', program_id => NULL);
SELECT prm.fire('lead', 5001, 'disqualify', 'whose?', program_id => 77777);
INSERT INTO prm.deal (program_id, deal_id, name, amount, created_at) VALUES (NULL, 7, 'whose?', 1, '2026-01-01');

-- Amounts.
SET prm.program_id = '501';
INSERT INTO prm.deal (name, amount) VALUES ('negative', -1);
INSERT INTO prm.deal (name, amount) VALUES ('not a number', 'NaN');
INSERT INTO prm.deal (name, amount) VALUES ('endless', 'Infinity');
UPDATE prm.deal SET amount = '-Infinity' WHERE deal_id = 5001;
SELECT prm.commission('10%', 'NaN');

-- The same thing twice.
INSERT INTO prm.deal (name, amount, external_ref) VALUES ('twice', 1, 'D1');
INSERT INTO prm.partner (name, external_ref) VALUES ('twice', 'P1');
SELECT prm.create_program('bad input');

-- Options and fields that do not exist.
SELECT prm.fire('lead', 5001, 'disqualify', 'x', '{"colour": "red"}');
SELECT * FROM prm.import('ship', 'prm.lead', '{}');
SELECT prm.record_metric(5001, 'height', 1);

-- Nothing was left behind.
SELECT (SELECT count(*) FROM prm.lead WHERE program_id IN (501, 502)) AS leads, (SELECT count(*) FROM prm.deal WHERE program_id IN (501, 502)) AS deals,
  (SELECT count(*) FROM prm.partner WHERE program_id IN (501, 502)) AS partners, (SELECT count(*) FROM prm.ledger WHERE program_id IN (501, 502)) AS entries,
  (SELECT count(*) FROM prm.commission_rule WHERE program_id = 501) AS rules,
  (SELECT state FROM prm.lead WHERE program_id = 501 AND lead_id = 5001) AS state;
