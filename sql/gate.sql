-- Reviews and hooks: a state that only reviewers let go, and what follows a change of state, with what each refusal says.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT prm.install() IS NOT NULL AS installed;
RESET client_min_messages;
SELECT prm.create_program('Gates', 'blank') > 0 AS made;
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'Alder');

-- A state that asks two of three reviewers.
SELECT prm.define_machine('lead', '{"initial": "new", "states": {
  "new": {"on": {"approve": {"target": "approved"}, "return": {"target": "returned", "reason": true}}, "review": {"quorum": 2, "of": 1, "accept": "aprove", "return": "return"}},
  "returned": {"on": {"again": {"target": "new"}}}, "approved": {"type": "final"}}}');
SELECT prm.define_machine('lead', '{"initial": "new", "states": {
  "new": {"on": {"approve": {"target": "approved"}, "return": {"target": "returned", "reason": true}}, "review": {"quorum": 2, "of": 3, "accept": "approve", "return": "return"}},
  "returned": {"on": {"again": {"target": "new"}}}, "approved": {"type": "final"}}}');
INSERT INTO prm.lead (lead_id, partner_id, company) VALUES (7, 1, 'Acme'), (8, 1, 'Bolt');

-- What follows: a message, a task, a column.
INSERT INTO prm.machine_hook (machine, fires_on, event, action, event_type, template)
  VALUES ('lead', 'event', 'return', 'outbox', 'lead.returned', '{"text": "Lead {company} returned: {reason}"}');
INSERT INTO prm.machine_hook (machine, fires_on, to_state, action, title, due_after) VALUES ('lead', 'enter', 'approved', 'task', 'Call {company}', '1 day');
INSERT INTO prm.machine_hook (machine, fires_on, to_state, action, column_name, value) VALUES ('lead', 'enter', 'approved', 'set', 'source', '"{actor}"');
INSERT INTO prm.machine_hook (machine, fires_on, to_state, action, column_name, value) VALUES ('lead', 'enter', 'approved', 'set', 'source', '"reviewed by {actor}"');
INSERT INTO prm.machine_hook (machine, fires_on, to_state, action, column_name, value) VALUES ('lead', 'enter', 'approved', 'set', 'state', '"new"');
INSERT INTO prm.machine_hook (machine, fires_on, to_state, action, column_name, value) VALUES ('lead', 'enter', 'approved', 'set', 'budget', '"much"');
INSERT INTO prm.machine_hook (machine, fires_on, event, action, event_type, template) VALUES ('lead', 'event', 'return', 'outbox', 'x', '{"text": "{colour}"}');
INSERT INTO prm.machine_hook (machine, fires_on, event, action, title) VALUES ('lead', 'event', 'explode', 'task', 'x');

-- Reviews.
SET prm.actor = 'anna';
SELECT prm.fire('lead', 7, 'approve');
SELECT prm.review('lead', 7, 'accept');
SELECT prm.review('lead', 7, 'accept');
SELECT event, allowed, why_not FROM prm.allowed_events('lead', 7);
SELECT prm.review('lead', 7, 'agree');
SELECT prm.review('lead', 8, 'return');
SELECT prm.review('lead', 8, 'return', 'too small');
SET prm.partner_id = 1;
SELECT prm.review('lead', 7, 'accept');
RESET prm.partner_id;
SET prm.actor = 'bert';
SELECT prm.review('lead', 7, 'accept');
SELECT prm.review('lead', 7, 'accept');
SELECT prm.review('lead', 8, 'return', 'no {budget}');
UPDATE prm.review_decision SET decision = 'accept';
SELECT subject_id, state, reviewer, decision, reason FROM prm.review_decision ORDER BY review_decision_id;
SELECT lead_id, state, source FROM prm.lead ORDER BY lead_id;
SELECT aggregate_id, event_type, payload FROM prm.outbox;
SELECT title, role_name, subject_id, state, created_by FROM prm.task;
SELECT prm.complete_task(0);
SELECT prm.complete_task(task_id) IS NOT NULL AS done FROM prm.task;
SELECT state, done_by FROM prm.task;

-- A reviewer must be a member of the role.
SELECT prm.define_machine('lead', '{"initial": "new", "states": {
  "new": {"on": {"approve": {"target": "approved"}, "return": {"target": "returned", "reason": true}}, "review": {"role": "nobody_has_this_role", "accept": "approve", "return": "return"}},
  "returned": {"on": {"again": {"target": "new"}}}, "approved": {"type": "final"}}}');
INSERT INTO prm.lead (lead_id, company) VALUES (9, 'Crow');
\set VERBOSITY terse
SELECT prm.review('lead', 9, 'accept');
SELECT prm.fire('lead', 9, 'approve');
