-- Machines: what a user types and sees. Every error names the row, all reasons and the next step.
SET client_min_messages = warning;
SELECT prm.install() IS NOT NULL AS installed;
ALTER TABLE prm.program ALTER COLUMN program_id RESTART WITH 701;
SELECT prm.create_program('Machines', 'blank') AS programme;
SET prm.program_id = '701';
ALTER TABLE prm.partner ALTER COLUMN partner_id RESTART WITH 7001;
ALTER TABLE prm.lead ALTER COLUMN lead_id RESTART WITH 7001;
ALTER TABLE prm.deal ALTER COLUMN deal_id RESTART WITH 7001;
ALTER TABLE prm.state_history ALTER COLUMN history_id RESTART WITH 700001;
\set VERBOSITY default
\set SHOW_CONTEXT never
-- The joint qualification of a lead: the partner qualifies, the vendor returns, the partner corrects, the vendor approves.
INSERT INTO prm.partner (name) VALUES ('Alpha'), ('Beta');
INSERT INTO prm.lead (partner_id, company) VALUES (7001, 'Acme');
SELECT * FROM prm.allowed_events('lead', 7001);
SELECT prm.fire('lead', 7001, 'qualify');
BEGIN;
SET LOCAL prm.partner_id = 7001;
SELECT prm.fire('lead', 7001, 'qualify');
ROLLBACK;
BEGIN;
SET LOCAL prm.partner_id = 7002;
SELECT prm.fire('lead', 7001, 'qualify');
ROLLBACK;
BEGIN;
SET LOCAL prm.partner_id = 7001;
UPDATE prm.lead SET need = 'CRM', budget = 500, timeline_on = '2026-06-30', decision_maker = 'Eve', state = 'partner_qualified' WHERE lead_id = 7001;
COMMIT;
SELECT prm.fire('lead', 7001, 'return');
SELECT prm.fire('lead', 7001, 'return', 'the budget is too low');
BEGIN;
SET LOCAL prm.partner_id = 7001;
UPDATE prm.lead SET budget = 5000 WHERE lead_id = 7001;
SELECT prm.fire('lead', 7001, 'qualify');
COMMIT;
UPDATE prm.lead SET state = 'approved' WHERE lead_id = 7001;
SELECT machine, subject_id, event, from_state, to_state, actor_kind, partner_id, reason FROM prm.v_state_history WHERE program_id = 701 AND machine = 'lead' ORDER BY history_id;
-- Nothing gets round the machine.
UPDATE prm.lead SET state = 'new' WHERE lead_id = 7001;
UPDATE prm.lead SET state = 'sold' WHERE lead_id = 7001;
INSERT INTO prm.lead (lead_id, state) VALUES (7002, 'approved');
UPDATE prm.lead SET lead_id = 7007 WHERE lead_id = 7001;
SELECT prm.fire('lead', 7001, 'qualify');
SELECT prm.fire('lead', 7001, 'sell');
SELECT prm.fire('lead', 7099, 'approve');
SELECT prm.fire('leads', 1, 'approve');
SELECT prm.fire('lead', 7001, 'approve', options => '{"silent": true}');
SELECT prm.fire('lead', 7001, 'deepen', options => '{"version": 1}');
UPDATE prm.state_history SET reason = 'another';
DELETE FROM prm.state_history;
-- A deal reaches its end once, and carries the moment.
INSERT INTO prm.deal (name) VALUES ('D1') RETURNING deal_id, state, currency, closed_at;
UPDATE prm.deal SET state = 'won' WHERE deal_id = 7001;
BEGIN;
SET LOCAL prm.clock = '2026-03-01 12:00+00';
SET LOCAL TIME ZONE 'UTC';
UPDATE prm.deal SET amount = 100, state = 'won' WHERE deal_id = 7001 RETURNING state, closed_at;
ROLLBACK;
-- A machine of one's own rules: guards, two events to one state, an event that stays.
SELECT prm.define_machine('lead', '{"initial": "new", "states": {"new": {"on": {"grow": {"target": "big", "guard": "$.budget >= 1000"},
  "swear": {"target": "big", "required": ["attributes.witness"]}, "note": {"target": "new"}}}, "big": {"type": "final", "label": "Big one"}}}');
INSERT INTO prm.lead (lead_id, budget, attributes) VALUES (7011, 500, '{}'), (7012, 5000, '{"witness": "Bob"}');
UPDATE prm.lead SET state = 'big' WHERE lead_id = 7011;
UPDATE prm.lead SET state = 'big' WHERE lead_id = 7012;
SELECT prm.fire('lead', 7012, 'swear');
SELECT prm.fire('lead', 7011, 'note');
SELECT prm.fire('lead', 7001, 'note');
-- An event with values: they are judged with it, and set with it.
SELECT prm.fire('lead', 7011, 'grow', options => '{"set": {"budget": 900}}');
SELECT prm.fire('lead', 7011, 'grow', options => '{"set": {"budget": "much"}}');
SELECT prm.fire('lead', 7011, 'grow', options => '{"set": {"budgt": 2000, "colour": "red"}}');
SELECT prm.fire('lead', 7011, 'grow', options => '{"set": {"budget": 2000, "state": "new"}}');
SELECT prm.fire('lead', 7011, 'grow', options => '{"set": {"attributes": "witness"}}');
SELECT prm.fire('lead', 7011, 'grow', options => '{"set": {"budget": 2000, "attributes": {"witness": "Ann"}}}');
SELECT state, budget, attributes FROM prm.lead WHERE lead_id = 7011;
\pset format unaligned
\pset tuples_only on
SELECT prm.machine_dot('lead', 7012);
SELECT prm.machine_mermaid('lead', 7012);
\pset format aligned
\pset tuples_only off
-- Definitions are checked whole, each fault with its place.
SELECT prm.define_machine('lead', '{"initial": "a", "states": {"a": {"on": {"go": {"target": "c", "required": ["colour"]}, "end": {"target": "b"}}}, "b": {"type": "final"}}}');
SELECT prm.define_machine('lead', '{"initial": "a", "states": {"a": {"on": {"go": {"target": "b", "who": "me"}}}, "b": {"type": "last"}}}');
SELECT prm.define_machine('lead', '{"initial": "a", "states": {"a": {"on": {"go": {"target": "a", "guard": "$.budget > $x"}}}}}');
-- A lead of another programme.
SELECT prm.create_program('Machines 2', 'blank') AS programme;
SELECT prm.fire('lead', 7001, 'approve', program_id => 702);
-- Who may record history as it was.
CREATE ROLE prm_regress_nobody;
GRANT USAGE ON SCHEMA prm TO prm_regress_nobody;
SET ROLE prm_regress_nobody;
SELECT prm._import_context();
RESET ROLE;
REVOKE USAGE ON SCHEMA prm FROM prm_regress_nobody;
DROP ROLE prm_regress_nobody;
