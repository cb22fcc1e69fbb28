-- Criteria of a lead: what a vendor writes, what a partner answers, and what each refusal says.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT prm.install() IS NOT NULL AS installed;
RESET client_min_messages;
SELECT prm.create_program('Joint qualification', 'blank') > 0 AS made;
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'Alder'), (2, 'Birch');
INSERT INTO prm.lead (lead_id, partner_id, company, need, budget, timeline_on, decision_maker) VALUES (7, 1, 'Acme', 'books', 5000, '2030-06-01', 'Ann');

-- The vendor's questions.
INSERT INTO prm.lead_criterion (criterion, kind, label, position) VALUES
  ('budget_approved', 'boolean', 'Is the budget approved?', 1), ('seats', 'number', 'How many seats?', 2), ('decides_on', 'date', 'When do they decide?', 3);
INSERT INTO prm.lead_criterion (criterion, kind, label, allowed_values, position) VALUES ('industry', 'choice', 'Which industry?', '{retail,bank}', 4);
INSERT INTO prm.lead_criterion (criterion, kind, label) VALUES ('country', 'choice', 'Which country?');
INSERT INTO prm.lead_criterion (criterion, kind, label, allowed_values) VALUES ('floors', 'number', 'How many floors?', '{1,two}');

-- The partner's answers.
SET prm.partner_id = 1;
SELECT prm.answer_criteria(7, '{"seats": 20, "industry": "bank"}');
SELECT criterion, required, is_answered, value FROM prm.v_lead_checklist WHERE lead_id = 7 ORDER BY position;
SELECT prm.answer_criteria(7, '{"colour": "red"}');
SELECT prm.answer_criteria(7, '{"seats": "a few"}');
SELECT prm.answer_criteria(7, '{"decides_on": "next week"}');
SELECT prm.answer_criteria(7, '{"budget_approved": "perhaps"}');
SELECT prm.answer_criteria(7, '{"industry": "mining"}');
SELECT prm.answer_criteria(7, '["seats"]');
SELECT prm.answer_criteria(8, '{"seats": 1}');
INSERT INTO prm.lead_answer (lead_id, criterion, text_value) VALUES (7, 'decides_on', '2030-05-01');
UPDATE prm.lead_answer SET number_value = 'NaN' WHERE lead_id = 7 AND criterion = 'seats';
DELETE FROM prm.lead_answer_history;

-- The gate.
SELECT event, allowed, why_not FROM prm.allowed_events('lead', 7);
SELECT prm.fire('lead', 7, 'qualify');
UPDATE prm.lead SET state = 'partner_qualified' WHERE lead_id = 7;
SELECT prm.fire('lead', 7, 'approve');
SELECT prm.answer_criteria(7, '{"budget_approved": false, "decides_on": "2030-05-01"}');
SELECT prm.fire('lead', 7, 'qualify');
SET prm.partner_id = 2;
SELECT prm.answer_criteria(7, '{"seats": 1}');
RESET prm.partner_id;
SELECT criterion, label, kind, value, number_value, date_value FROM prm.v_lead_answer WHERE lead_id = 7 ORDER BY criterion;
SELECT criterion, action, number_value FROM prm.lead_answer_history WHERE lead_id = 7 AND criterion = 'seats';
UPDATE prm.lead_criterion SET kind = 'text' WHERE criterion = 'seats';
SELECT prm.fire('lead', 7, 'approve'), prm.fire('lead', 7, 'convert');
SELECT partner, received, qualified, returned, return_rate, approved, rework, converted FROM prm.v_lead_qualification ORDER BY partner_id;
SELECT d.lead_id, d.name, d.amount, d.state FROM prm.deal d;
SELECT regexp_replace(l, '^ *', '') AS arrow FROM regexp_split_to_table(prm.machine_mermaid('lead'), E'\n') l WHERE l ~ 'qualify';
