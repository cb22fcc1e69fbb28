-- Versions of machines: rows stay on the one they started with until somebody moves them.
SET client_min_messages = warning;
SELECT prm.install() IS NOT NULL AS installed;
ALTER TABLE prm.program ALTER COLUMN program_id RESTART WITH 702;
SELECT prm.create_program('Versions', 'blank') AS programme;
SET prm.program_id = '702';
ALTER TABLE prm.lead ALTER COLUMN lead_id RESTART WITH 7201;
ALTER TABLE prm.state_history ALTER COLUMN history_id RESTART WITH 720001;
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT prm.define_machine('lead', '{"initial": "new", "states": {"new": {"on": {"heat": {"target": "warm"}}},
  "warm": {"on": {"sell": {"target": "sold"}}}, "sold": {"type": "final"}}}') AS version;
INSERT INTO prm.lead (company) VALUES ('Acme'), ('Bolt'), ('Core');
UPDATE prm.lead SET state = 'warm' WHERE company <> 'Acme';
UPDATE prm.lead SET state = 'sold' WHERE company = 'Core';
-- The next version knows no "warm": nothing is stranded.
SELECT prm.define_machine('lead', '{"initial": "new", "states": {"new": {"on": {"meet": {"target": "met"}}},
  "met": {"on": {"sell": {"target": "sold", "reason": true}}}, "sold": {"on": {"refund": {"target": "lost"}}}, "lost": {"type": "final"}}}') AS version;
SELECT version, is_current, has_rows FROM prm.machine WHERE program_id = 702 AND machine = 'lead' ORDER BY version;
INSERT INTO prm.lead (company) VALUES ('Dune');
SELECT l.company, e.event, e.to_state FROM prm.lead l, prm.allowed_events('lead', l.lead_id) e ORDER BY l.lead_id;
SELECT prm.fire('lead', 7201, 'meet');
UPDATE prm.lead SET state = 'met';
UPDATE prm.lead SET state = CASE company WHEN 'Acme' THEN 'warm' ELSE 'met' END WHERE company IN ('Acme', 'Dune');
SELECT company, state, (SELECT machine_version FROM prm.state_history h WHERE h.program_id = 702 AND h.machine = 'lead' AND h.subject_id = l.lead_id ORDER BY history_id DESC LIMIT 1) AS version
  FROM prm.lead l ORDER BY lead_id;
-- What was final stays so.
UPDATE prm.lead SET state = 'lost' WHERE company = 'Core';
SELECT prm.machine_dot('lead', 7202);

-- Moving rows: first look, then map what has no place, then do it.
SELECT * FROM prm.migrate_subjects('lead', 2, 3, dry_run => true);
SELECT * FROM prm.migrate_subjects('lead', 2, 3);
SELECT * FROM prm.migrate_subjects('lead', 2, 3, '{"hot": "met"}');
SELECT * FROM prm.migrate_subjects('lead', 2, 3, '{"warm": "hot"}');
SELECT * FROM prm.migrate_subjects('lead', 2, 3, '["warm"]');
SELECT * FROM prm.migrate_subjects('lead', 2, 2);
SELECT * FROM prm.migrate_subjects('lead', 2, 9);
SELECT * FROM prm.migrate_subjects('nothing', 1, 2);
SELECT * FROM prm.migrate_subjects('lead', 2, 3, '{"warm": "met"}');
SELECT version, is_current, has_rows FROM prm.machine WHERE program_id = 702 AND machine = 'lead' ORDER BY version;
SELECT subject_id, machine_version, event, from_state, to_state, actor_kind FROM prm.state_history WHERE program_id = 702 AND machine = 'lead' ORDER BY history_id;
SELECT prm.fire('lead', 7202, 'sell', 'agreed');
-- Only where the map names it does a row in a final state move.
SELECT * FROM prm.migrate_subjects('lead', 2, 3, '{"sold": "sold"}');
UPDATE prm.lead SET state = 'lost' WHERE company = 'Core';
-- Back again, too.
SELECT * FROM prm.migrate_subjects('lead', 3, 2, '{"met": "warm", "lost": "sold"}');
-- Nobody else.
CREATE ROLE prm_test_mover;
GRANT USAGE ON SCHEMA prm TO prm_test_mover;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA prm TO prm_test_mover;
SET ROLE prm_test_mover;
SELECT * FROM prm.migrate_subjects('lead', 2, 3);
RESET ROLE;
DROP OWNED BY prm_test_mover;
DROP ROLE prm_test_mover;
-- The history goes with the row where the definition says so.
SELECT prm.define_machine('lead', '{"initial": "new", "on_delete": "forget", "states": {"new": {}}}');
SELECT prm.define_machine('lead', '{"initial": "new", "on_delete": "cascade", "states": {"new": {"on": {"heat": {"target": "warm"}}}, "warm": {"type": "final"}}}') AS version;
DELETE FROM prm.lead WHERE company IN ('Acme', 'Core');
SELECT DISTINCT subject_id FROM prm.state_history WHERE program_id = 702 AND machine = 'lead' ORDER BY 1;
DELETE FROM prm.state_history;
