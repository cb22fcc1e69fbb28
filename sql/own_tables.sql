-- Your own tables: what attaching a machine looks like, and what speaks against it.
SET client_min_messages = warning;
SELECT prm.install() IS NOT NULL AS installed;
ALTER TABLE prm.program ALTER COLUMN program_id RESTART WITH 703;
SELECT prm.create_program('Own tables', 'blank') AS programme;
SELECT prm.create_program('Another', 'blank') AS programme;
SET prm.program_id = '703';
ALTER TABLE prm.state_history ALTER COLUMN history_id RESTART WITH 730001;
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT prm.define_machine('ticket', '{"initial": "open", "states": {"open": {"on": {"take": {"target": "busy", "required": ["assignee"]}}},
  "busy": {"on": {"solve": {"target": "solved", "guard": "$.minutes > 0"}, "back": {"target": "open", "reason": true}}}, "solved": {"type": "final"}}}') AS version;
CREATE TABLE ticket (id integer PRIMARY KEY, subject text, assignee text, minutes integer, state text NOT NULL DEFAULT 'open', created_at timestamptz DEFAULT '2026-01-02 03:04:05+00');
INSERT INTO ticket (id, subject, assignee, state) VALUES (1, 'No power', NULL, 'open'), (2, 'No light', 'Eve', 'busy');
SELECT prm.attach_machine('ticket', 'ticket') AS present_rows;
SELECT history_id, subject_id, event, from_state, to_state, actor_kind, at AT TIME ZONE 'UTC' AS at FROM prm.state_history WHERE program_id = 703 ORDER BY history_id;
SELECT prm.attach_machine('ticket', 'ticket') AS again;
INSERT INTO ticket (id, subject) VALUES (3, 'No sound');
UPDATE ticket SET state = 'busy' WHERE id = 3;
UPDATE ticket SET state = 'busy', assignee = 'Bob' WHERE id = 3;
SELECT prm.fire('ticket', 3, 'solve');
SELECT prm.fire('ticket', 9, 'solve');
SELECT * FROM prm.allowed_events('ticket', 2);
UPDATE ticket SET minutes = 5, state = 'solved' WHERE id IN (2, 3);
INSERT INTO ticket (id, state) VALUES (4, 'solved');
UPDATE ticket SET id = 5 WHERE id = 1;
TRUNCATE ticket;
SELECT subject_id, event, from_state, to_state, actor_kind FROM prm.state_history WHERE program_id = 703 ORDER BY history_id;
-- A column that the machine needs is known to it now.
SELECT prm.define_machine('ticket', '{"initial": "open", "states": {"open": {"on": {"take": {"target": "open", "required": ["colour"]}}}}}');
-- The machine goes with the table when it is renamed; a column that is renamed must be attached anew.
ALTER TABLE ticket RENAME TO incident;
SELECT prm.fire('ticket', 1, 'take');
ALTER TABLE incident RENAME COLUMN state TO status;
UPDATE incident SET assignee = 'Eve', status = 'busy' WHERE id = 1;
ALTER TABLE incident RENAME COLUMN status TO state;
UPDATE incident SET assignee = 'Eve', state = 'busy' WHERE id = 1;

-- What speaks against a table.
CREATE TABLE bare (n integer, state text);
SELECT prm.attach_machine('bare', 'ticket');
SELECT prm.attach_machine('bare', 'ticket', key_column => 'n');
CREATE TABLE wrong (id text PRIMARY KEY, state integer);
SELECT prm.attach_machine('wrong', 'ticket');
CREATE TABLE parted (id integer, region integer, state text, assignee text, minutes integer, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
SELECT prm.attach_machine('parted', 'ticket');
SELECT prm.attach_machine('parted_1', 'ticket');
CREATE VIEW seen AS SELECT * FROM incident;
SELECT prm.attach_machine('seen', 'ticket');
SELECT prm.attach_machine('prm.customer', 'ticket');
CREATE TABLE heir () INHERITS (bare);
SELECT prm.attach_machine('bare', 'ticket', key_column => 'n');
CREATE TABLE other (id uuid PRIMARY KEY, state text);
SELECT prm.attach_machine('other', 'ticket');
SELECT prm.attach_machine('other', 'lead');
SELECT prm.attach_machine('other', 'nothing');
SELECT prm.define_machine('plain', '{"initial": "a", "states": {"a": {"on": {"go": {"target": "b"}}}, "b": {"type": "final"}}}') AS version;
SELECT prm.attach_machine('incident', 'plain');
INSERT INTO other VALUES ('00000000-0000-0000-0000-000000000001', 'x'), ('00000000-0000-0000-0000-000000000002', NULL), ('00000000-0000-0000-0000-000000000003', 'a');
SELECT prm.attach_machine('other', 'plain');
UPDATE other SET state = 'a';
SELECT prm.attach_machine('other', 'plain') AS present_rows;
SELECT prm.fire_uuid('plain', '00000000-0000-0000-0000-000000000003', 'go');
SELECT prm.fire('plain', 3, 'go');
SELECT event, to_state, allowed FROM prm.allowed_events_uuid('plain', '00000000-0000-0000-0000-000000000001');
UPDATE other SET state = 'a' WHERE state = 'b';

-- A table that several programmes share.
CREATE TABLE shared (tenant bigint NOT NULL, id bigint, state text NOT NULL DEFAULT 'a', PRIMARY KEY (tenant, id));
SELECT prm.define_machine('shared', prm.machine_json('plain')) AS version;
SELECT prm.define_machine('shared', prm.machine_json('plain'), 704) AS version;
SELECT prm.attach_machine('shared', 'shared', program_column => 'tenant');
INSERT INTO shared VALUES (703, 1);
INSERT INTO shared VALUES (704, 1);
SELECT prm.attach_machine('shared', 'shared', program_id => 704);
SELECT prm.attach_machine('shared', 'shared', program_column => 'tenant', program_id => 704);
INSERT INTO shared VALUES (703, 2), (704, 1);
UPDATE shared SET state = 'b';
SELECT program_id, subject_id, event, to_state FROM prm.state_history WHERE machine = 'shared' ORDER BY program_id, history_id;

-- The rights: the owner of schema prm must agree, and a trigger that somebody makes himself writes nothing.
CREATE ROLE prm_test_own;
GRANT USAGE ON SCHEMA prm TO prm_test_own;
GRANT SELECT ON prm.program, prm.machine, prm.machine_target, prm.access_grant, prm.model TO prm_test_own;
CREATE SCHEMA own AUTHORIZATION prm_test_own;
SET ROLE prm_test_own;
CREATE TABLE own.thing (id bigint PRIMARY KEY, state text);
SELECT prm.attach_machine('own.thing', 'plain');
CREATE TRIGGER mine AFTER INSERT ON own.thing REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger('plain', 'id', 'state', '', '703');
INSERT INTO own.thing VALUES (1, 'a');
INSERT INTO prm.machine_target VALUES (703, 'mine', 'own.thing', 'id', 'state');
RESET ROLE;
SELECT prm.detach_machine('own.thing');
SELECT * FROM prm.check();

-- Letting go: the history stays.
SELECT prm.detach_machine('incident');
UPDATE incident SET state = 'anything' WHERE id = 1;
SELECT prm.fire('ticket', 1, 'solve');
SELECT count(*) FROM prm.state_history WHERE program_id = 703 AND machine = 'ticket';
SELECT prm.detach_machine('shared');
INSERT INTO shared VALUES (704, 3);
INSERT INTO shared VALUES (703, 3);
DELETE FROM shared WHERE id = 1;
SELECT prm.detach_machine('shared', 704);
INSERT INTO shared VALUES (703, 3);
DROP TABLE other CASCADE;
SELECT object, regexp_replace(message, '[0-9]+', 'n') AS message FROM prm.check();
DROP SCHEMA own CASCADE;
DROP OWNED BY prm_test_own;
DROP ROLE prm_test_own;
