-- More rows in one statement than the trigger collects at a time: nothing is lost, doubled or mixed up where it writes in between,
-- by number and by uuid, with messages, deadlines and imports.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SELECT set_config('prm.program_id', prm.create_program('Bulk', 'blank')::text, true) AS p \gset
SELECT prm.define_machine('lead', '{"initial": "new", "states": {
  "new": {"on": {"go": {"target": "odd"}, "run": {"target": "even"}}},
  "odd": {"on": {"end": {"target": "done"}}}, "even": {"on": {"end": {"target": "done"}}, "after": {"P2D": {"warn": true}}}, "done": {"type": "final"}}}') > 0 AS d \gset
INSERT INTO prm.outbox_rule (source, to_state, event_type) VALUES ('lead', 'even', 'lead.even');
-- In no order of the keys.
INSERT INTO prm.lead (lead_id, company) SELECT 7000000 + i, 'C' FROM generate_series(1, 106000) i ORDER BY i % 7, i;
UPDATE prm.lead SET state = CASE WHEN lead_id % 5 = 1 THEN 'even' ELSE 'odd' END WHERE program_id = :p AND lead_id <= 7104000;
CREATE FUNCTION pg_temp.wrong() RETURNS bigint LANGUAGE sql AS $$
  SELECT count(*) FROM (
    SELECT l.lead_id, l.state, string_agg(h.to_state, '>' ORDER BY h.history_id) AS path
    FROM prm.lead l LEFT JOIN prm.state_history h ON h.program_id = l.program_id AND h.machine = 'lead' AND h.subject_id = l.lead_id
    WHERE l.program_id = prm.current_program() GROUP BY l.lead_id, l.state) x
  WHERE path IS DISTINCT FROM CASE WHEN x.lead_id > 7104000 THEN 'new' WHEN x.lead_id % 5 = 1 THEN 'new>even' ELSE 'new>odd' END $$;
-- Statistics of before would have the planner join row by row.
ANALYZE prm.lead, prm.state_history, prm.timer, prm.outbox;
SELECT is(pg_temp.wrong(), 0::bigint, 'each row has its own path');
SELECT is((SELECT count(*) FROM prm.state_history WHERE program_id = :p), 210000::bigint, 'and nothing more is written');
SELECT is((SELECT count(*) || ' ' || count(DISTINCT aggregate_id) FROM prm.outbox WHERE program_id = :p AND event_type = 'lead.even'), '20800 20800', 'one message for each row that a rule speaks of');
SELECT is((SELECT count(*) || ' ' || count(DISTINCT subject_id) || ' ' || count(*) FILTER (WHERE subject_id % 5 <> 1) FROM prm.timer WHERE program_id = :p), '20800 20800 0', 'and one deadline');

ANALYZE prm.lead, prm.state_history, prm.timer, prm.outbox;
-- An import: each row at its own moment, in whatever order the rows come.
SELECT prm._import_context();
INSERT INTO prm.lead (lead_id, company, state, created_at)
  SELECT 7300000 + i, 'I', CASE WHEN i % 8 = 0 THEN 'odd' ELSE 'even' END, timestamptz '2020-01-01 00:00+00' + i * interval '1 minute' FROM generate_series(1, 14000) i ORDER BY i % 11, i;
ANALYZE prm.lead, prm.state_history, prm.timer;
SELECT is((SELECT count(*) FROM prm.lead l JOIN prm.state_history h ON h.program_id = l.program_id AND h.subject_id = l.lead_id AND h.machine = 'lead'
    AND h.at = l.created_at AND h.to_state = l.state WHERE l.program_id = :p AND l.company = 'I'), 14000::bigint, 'an import: the moment of each row');
SELECT is((SELECT count(*) FROM prm.lead l JOIN prm.timer t ON t.program_id = l.program_id AND t.subject_id = l.lead_id AND t.due_at = l.created_at + interval '2 days'
    WHERE l.program_id = :p AND l.company = 'I' AND l.state = 'even'), 12250::bigint, 'and its deadline');
SELECT is((SELECT count(*) FROM prm.outbox WHERE program_id = :p AND aggregate_id::bigint > 7300000), 0::bigint, 'without a message');

-- Keys that are uuids.
CREATE SCHEMA prm_test_bulk;
CREATE TABLE prm_test_bulk.case_of (id uuid PRIMARY KEY, state text NOT NULL DEFAULT 'new', number integer);
SELECT prm.define_machine('case_of', prm.machine_json('lead')) > 0 AS d \gset
SELECT prm.attach_machine('prm_test_bulk.case_of', 'case_of') AS n \gset
INSERT INTO prm_test_bulk.case_of (id, number) SELECT md5(i::text)::uuid, i FROM generate_series(1, 20000) i ORDER BY i;
UPDATE prm_test_bulk.case_of SET state = CASE WHEN number % 5 < 3 THEN 'even' ELSE 'odd' END;
SELECT is((SELECT count(*) FROM (SELECT t.id FROM prm_test_bulk.case_of t JOIN prm.state_history h ON h.program_id = :p AND h.machine = 'case_of' AND h.subject_uuid = t.id
    GROUP BY t.id, t.number HAVING string_agg(h.to_state, '>' ORDER BY h.history_id) = CASE WHEN t.number % 5 < 3 THEN 'new>even' ELSE 'new>odd' END) x), 20000::bigint, 'uuid keys');
SELECT is((SELECT count(*) FROM prm.timer WHERE program_id = :p AND subject_uuid IS NOT NULL), 12000::bigint, 'with their deadlines');

SELECT * FROM finish();
ROLLBACK;
