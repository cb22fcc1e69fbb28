-- Deadlines, as a user sets and sees them.
\set ON_ERROR_STOP 0
\pset null '-'
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT prm.install() IS NOT NULL AS installed;
SELECT prm.create_program('Northwind Channel', 'reseller', 'EUR', 'Europe/Berlin') AS program;

-- Office hours come with the template; holidays are the user's.
SELECT weekday, opens, closes FROM prm.calendar_hours WHERE calendar = 'office' ORDER BY weekday, opens;
INSERT INTO prm.calendar_holiday (calendar, day, label, opens, closes) VALUES
  ('office', '2026-01-06', 'Epiphany', NULL, NULL), ('office', '2026-01-07', 'Stocktaking', '09:00', '12:00');
SET timezone = 'Europe/Berlin';
SELECT d AS duration, prm.business_add('2026-01-02 16:00', d) AS due FROM unnest(ARRAY['90m', '8h', 'PT8H', '3d', 'P3D']) AS d;
SELECT prm.business_between('2026-01-02 16:00', '2026-01-07 18:00');
-- A second calendar, round the clock in another zone; on the day that Sao Paulo skipped an hour it is an hour short.
INSERT INTO prm.calendar (calendar, label, time_zone) VALUES ('hotline', 'Hotline', 'America/Sao_Paulo');
INSERT INTO prm.calendar_hours (calendar, weekday, opens, closes) SELECT 'hotline', d, '00:00'::time, '24:00'::time FROM generate_series(1, 7) AS d;
SELECT prm.business_between('2018-11-04 00:00 America/Sao_Paulo', '2018-11-05 00:00 America/Sao_Paulo', 'hotline');
INSERT INTO prm.calendar_hours (calendar, weekday, opens, closes) VALUES ('hotline', 1, '08:00', '09:00');
SELECT prm.business_add('2026-01-02 16:00', '2d 4h');
SELECT prm.business_add('2026-01-02 16:00', '-1h');
SELECT prm.business_add('2026-01-02 16:00', '1h', 'weekend');
INSERT INTO prm.calendar (calendar) VALUES ('empty');
SELECT prm.business_add('2026-01-02 16:00', '1h', 'empty');

-- A machine with deadlines: a warning, two steps of escalation, an event; and a state that stops the clock.
SELECT prm.define_machine('lead', '{"initial": "new", "states": {
  "new": {"on": {"take": {"target": "taken", "actor": "partner"}}, "after": {"P2D": {"event": "take"}}}, "taken": {"type": "final"}}}');
SELECT prm.define_machine('lead', '{"initial": "new", "states": {
  "new": {"on": {"take": {"target": "taken"}}, "after": {"2 days": {"warn": true}, "P1D": {"event": "give"}, "business:8": {"escalate": 1}}}, "taken": {"type": "final"}}}');
SELECT prm.define_machine('lead', '{"initial": "new", "states": {
  "new": {"on": {"take": {"target": "taken"}, "ask": {"target": "asked"}, "lapse": {"target": "lapsed", "actor": "system"}},
          "after": {"PT4H": {"warn": true}, "business:8h": {"escalate": 1}, "business:3d": {"escalate": 2}, "P14D": {"event": "lapse"}}},
  "asked": {"label": "Waiting for the customer", "paused": true, "on": {"answer": {"target": "new"}}},
  "taken": {"type": "final", "category": "won"}, "lapsed": {"type": "final", "category": "lost"}}}') AS version;
\pset format unaligned
\pset tuples_only on
SELECT prm.machine_dot('lead');
SELECT prm.machine_mermaid('lead');
\pset format aligned
\pset tuples_only off
INSERT INTO prm.outbox_rule (source, event, event_type, fields) VALUES ('lead', 'escalate', 'lead.escalated', '{company}'), ('lead', 'warn', 'lead.late', '{company}');
SET prm.clock = '2026-01-09 10:00';
INSERT INTO prm.lead (company) VALUES ('Alder'), ('Birch');
SELECT subject_id, delay, action, escalation_level AS level, role_label, due_at, status FROM prm.v_timer ORDER BY subject_id, due_at;
SET prm.clock = '2026-01-09 17:00';
SELECT prm.fire('lead', 2, 'ask');
CALL prm.run_jobs();
SET prm.clock = '2026-01-13 19:00';
CALL prm.run_jobs();
CALL prm.run_jobs();
SELECT prm.fire('lead', 2, 'answer');
SELECT subject_id, delay, action, role_label, due_at, status FROM prm.v_timer ORDER BY subject_id, due_at, timer_id;
SELECT event_type, payload ->> 'company' AS company, payload ->> 'escalation_level' AS level, payload ->> 'role' AS role, occurred_at FROM prm.outbox ORDER BY outbox_id;
SET prm.clock = '2026-01-24 10:00';
CALL prm.run_jobs();
SELECT event, from_state, to_state, actor, actor_kind, reason, at FROM prm.v_state_history WHERE machine = 'lead' AND subject_id = 1 ORDER BY history_id;
SELECT subject_id, delay, status, detail FROM prm.v_timer ORDER BY subject_id, due_at, timer_id;
SELECT job, done, outcome FROM prm.job_run WHERE job = 'timers' ORDER BY job_run_id;
