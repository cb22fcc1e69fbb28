-- Analytics of machines, against figures computed by hand from six leads whose clock is set:
--   1 (Alpha)  new 10 h, review 10 h, new 4 h, review 6 h, approved 24 h, won; a note in review changes no state
--   2 (Beta)   new 6 h, lost          3 (Beta) new 2 h, review 10 h, lost        4 (nobody's) new, open for 48 h
--   5 (Alpha)  new 8 h, review, open for 40 h                                    6 (Alpha) new, then deleted
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SELECT set_config('prm.program_id', prm.create_program('Analytics', 'blank', 'USD', 'America/Sao_Paulo')::text, true) AS p \gset
SELECT prm.define_machine('lead', '{"initial": "new", "states": {
  "new": {"label": "Fresh", "on": {"work": {"target": "review"}, "lose": {"target": "lost"}}},
  "review": {"on": {"back": {"target": "new"}, "note": {"target": "review"}, "ok": {"target": "approved"}, "lose": {"target": "lost"}}},
  "approved": {"on": {"win": {"target": "won"}}},
  "won": {"type": "final", "category": "won"}, "lost": {"type": "final", "category": "lost"}}}') AS version \gset
INSERT INTO prm.partner (partner_id, name, kind, region) VALUES (9000001, 'Alpha', 'reseller', 'EU'), (9000002, 'Beta', 'affiliate', NULL);

CREATE FUNCTION pg_temp.at(moment text) RETURNS void LANGUAGE sql AS $$SELECT set_config('prm.clock', '2026-01-' || moment || ':00+00', true)$$;
DO $$
DECLARE step record;
BEGIN
  FOR step IN SELECT * FROM (VALUES
    (1, '01 00:00', NULL), (1, '01 10:00', 'work'), (2, '01 12:00', NULL), (1, '01 12:00', 'note'), (2, '01 18:00', 'lose'), (1, '01 20:00', 'back'),
    (1, '02 00:00', 'work'), (3, '02 00:00', NULL), (3, '02 02:00', 'work'), (1, '02 06:00', 'ok'), (3, '02 12:00', 'lose'),
    (4, '03 00:00', NULL), (5, '03 00:00', NULL), (1, '03 06:00', 'win'), (5, '03 08:00', 'work'), (6, '04 00:00', NULL)) v(lead, moment, event)
  LOOP
    PERFORM pg_temp.at(step.moment);
    IF step.event IS NULL THEN
      INSERT INTO prm.lead (lead_id, partner_id) VALUES (9000000 + step.lead, (ARRAY[9000001, 9000002, 9000002, NULL, 9000001, 9000001])[step.lead]);
    ELSE
      PERFORM prm.fire('lead', 9000000 + step.lead, step.event);
    END IF;
  END LOOP;
  DELETE FROM prm.lead WHERE lead_id = 9000006;
END $$;
SELECT pg_temp.at('05 00:00') \gset ignored_
CREATE VIEW pg_temp.stay AS SELECT d.*, d.subject_id - 9000000 AS lead FROM prm.v_state_duration d WHERE d.program_id = prm.current_program() AND d.machine = 'lead';

-- ---- stays ------------------------------------------------------------------------------------------------------------------
SELECT results_eq('SELECT lead, stay_no, visit_no, state, entered_from, entered_by, left_to, left_by, is_open, hours, outcome, is_dropped FROM pg_temp.stay ORDER BY lead, stay_no',
  $$VALUES (1::bigint, 1::bigint, 1::bigint, 'new', NULL, NULL, 'review', 'work', false, 10.0, 'won', false),
    (1, 2, 1, 'review', 'new', 'work', 'new', 'back', false, 10.0, 'won', false), (1, 3, 2, 'new', 'review', 'back', 'review', 'work', false, 4.0, 'won', false),
    (1, 4, 2, 'review', 'new', 'work', 'approved', 'ok', false, 6.0, 'won', false), (1, 5, 1, 'approved', 'review', 'ok', 'won', 'win', false, 24.0, 'won', false),
    (1, 6, 1, 'won', 'approved', 'win', NULL, NULL, false, NULL, 'won', false),
    (2, 1, 1, 'new', NULL, NULL, 'lost', 'lose', false, 6.0, 'lost', true), (2, 2, 1, 'lost', 'new', 'lose', NULL, NULL, false, NULL, 'lost', false),
    (3, 1, 1, 'new', NULL, NULL, 'review', 'work', false, 2.0, 'lost', false), (3, 2, 1, 'review', 'new', 'work', 'lost', 'lose', false, 10.0, 'lost', true),
    (3, 3, 1, 'lost', 'review', 'lose', NULL, NULL, false, NULL, 'lost', false), (4, 1, 1, 'new', NULL, NULL, NULL, NULL, true, 48.0, NULL, false),
    (5, 1, 1, 'new', NULL, NULL, 'review', 'work', false, 8.0, NULL, false), (5, 2, 1, 'review', 'new', 'work', NULL, NULL, true, 40.0, NULL, false),
    (6, 1, 1, 'new', NULL, NULL, NULL, NULL, false, NULL, NULL, false)$$, 'one row per stay; an event that stays ends none, a deleted row does not wait');
SELECT results_eq('SELECT DISTINCT lead, partner_id FROM pg_temp.stay ORDER BY lead',
  'VALUES (1::bigint, 9000001::bigint), (2, 9000002), (3, 9000002), (4, NULL), (5, 9000001), (6, NULL)', 'whose lead it is');
SELECT is((SELECT sum(hours) FROM pg_temp.stay WHERE lead = 1), extract(epoch FROM timestamptz '2026-01-03 06:00+00' - '2026-01-01 00:00+00') / 3600, 'the stays of a life that ended sum to its length');

-- ---- times, bottlenecks, loops ----------------------------------------------------------------------------------------------------
SELECT results_eq($$SELECT state, label, stays, open_stays, returns, p50_hours, p75_hours, p90_hours, mean_hours FROM prm.v_state_time WHERE program_id = prm.current_program() AND machine = 'lead' ORDER BY state$$,
  $$VALUES ('approved', 'approved', 1::bigint, 0::bigint, 0::bigint, 24.00, 24.00, 24.00, 24.00), ('lost', 'lost', 2, 0, 0, NULL, NULL, NULL, NULL),
    ('new', 'Fresh', 7, 1, 1, 7.00, 9.50, 29.00, 13.00), ('review', 'review', 4, 1, 1, 10.00, 17.50, 31.00, 16.50), ('won', 'won', 1, 0, 0, NULL, NULL, NULL, NULL)$$,
  'percentiles of 2 4 6 8 10 48 and of 6 10 10 40');
SELECT results_eq($$SELECT rank, state, label, stays, open_stays, waiting_hours, open_hours, share_of_waiting, oldest_open_at FROM prm.v_machine_bottleneck
    WHERE program_id = prm.current_program() AND machine = 'lead' ORDER BY rank$$,
  $$VALUES (1, 'new', 'Fresh', 6::bigint, 1::bigint, 78.00, 48.00, 0.4643, timestamptz '2026-01-03 00:00+00'),
    (2, 'review', 'review', 4, 1, 66.00, 40.00, 0.3929, '2026-01-03 08:00+00'), (3, 'approved', 'approved', 1, 0, 24.00, 0.00, 0.1429, NULL)$$, 'where rows wait');
SELECT results_eq($$SELECT subject_id - 9000000, state, partner_id, entries, returns, first_entered_at, last_entered_at, hours_again FROM prm.v_machine_loop
    WHERE program_id = prm.current_program() AND machine = 'lead' ORDER BY state$$,
  $$VALUES (1::bigint, 'new', 9000001::bigint, 2::bigint, 1::bigint, timestamptz '2026-01-01 00:00+00', timestamptz '2026-01-01 20:00+00', 4.0),
    (1, 'review', 9000001, 2, 1, '2026-01-01 10:00+00', '2026-01-02 00:00+00', 6.0)$$, 'what came back');

-- ---- the funnel ----------------------------------------------------------------------------------------------------------------------
SELECT results_eq($$SELECT state, label, is_final, category, started, reached, share_of_started, present, dropped, drop_share, won, won_share FROM prm.v_machine_funnel
    WHERE program_id = prm.current_program() AND machine = 'lead' ORDER BY position$$,
  $$VALUES ('new', 'Fresh', false, NULL, 6::bigint, 6::bigint, 1.0000, 2::bigint, 1::bigint, 0.1667, 1::bigint, 0.1667), ('review', 'review', false, NULL, 6, 3, 0.5000, 1, 1, 0.3333, 1, 0.3333),
    ('approved', 'approved', false, NULL, 6, 1, 0.1667, 0, 0, 0.0000, 1, 1.0000), ('lost', 'lost', true, 'lost', 6, 2, 0.3333, 2, 0, 0.0000, 0, 0.0000),
    ('won', 'won', true, 'won', 6, 1, 0.1667, 1, 0, 0.0000, 1, 1.0000)$$, 'the funnel comes from the history: lead 1 counts for every state it passed, once');
SELECT is((SELECT sum(dropped) FROM prm.v_machine_funnel WHERE program_id = :p AND machine = 'lead'), 2::numeric, 'who was lost was lost somewhere');
SELECT is((SELECT sum(present) FROM prm.v_machine_funnel WHERE program_id = :p AND machine = 'lead'), 6::numeric, 'everybody is somewhere');
SELECT results_eq($$SELECT state, started, reached, share_of_started, won_share FROM prm.v_machine_funnel WHERE program_id = prm.current_program() AND machine = 'deal' ORDER BY position LIMIT 2$$,
  $$VALUES ('prospecting', 0::bigint, 0::bigint, NULL::numeric, NULL::numeric), ('proposal', 0, 0, NULL, NULL)$$, 'a machine that nothing has entered');

-- ---- by partner, month and segment --------------------------------------------------------------------------------------------------
SELECT results_eq($$SELECT state, stays, open_stays, returns, waiting_hours, p50_hours, p75_hours, p90_hours, mean_hours FROM prm.state_times('lead')$$,
  $$SELECT t.state, t.stays, t.open_stays, t.returns, b.waiting_hours, t.p50_hours, t.p75_hours, t.p90_hours, t.mean_hours FROM prm.v_state_time t
    LEFT JOIN prm.v_machine_bottleneck b USING (program_id, machine, state) JOIN prm.v_machine_funnel f USING (program_id, machine, state)
    WHERE t.program_id = prm.current_program() AND t.machine = 'lead' ORDER BY f.position$$, 'state_times without options is the view');
SELECT results_eq($$SELECT position, state, label, is_final, category, started, reached, share_of_started, present, dropped, drop_share, won, won_share FROM prm.machine_funnel('lead')$$,
  $$SELECT position, state, label, is_final, category, started, reached, share_of_started, present, dropped, drop_share, won, won_share FROM prm.v_machine_funnel
    WHERE program_id = prm.current_program() AND machine = 'lead' ORDER BY position$$, 'machine_funnel without options is the view');
SELECT results_eq($$SELECT position, state, started, reached FROM prm.machine_funnel('deal')$$,
  $$SELECT position, state, started, reached FROM prm.v_machine_funnel WHERE program_id = prm.current_program() AND machine = 'deal' ORDER BY position$$, 'also where nothing started');
SELECT results_eq($$SELECT group_value, group_label, state, stays, returns, waiting_hours, p50_hours FROM prm.state_times('lead', '{"group_by": "partner"}') WHERE state IN ('new', 'review')$$,
  $$VALUES ('9000001', 'Alpha', 'new', 3::bigint, 1::bigint, 22.00, 8.00), ('9000001', 'Alpha', 'review', 3, 1, 56.00, 10.00), ('9000002', 'Beta', 'new', 2, 0, 8.00, 4.00),
    ('9000002', 'Beta', 'review', 1, 0, 10.00, 10.00), (NULL, NULL, 'new', 2, 0, 48.00, 48.00)$$, 'by partner');
SELECT results_eq($$SELECT group_value, state, stays FROM prm.state_times('lead', '{"group_by": "month"}') WHERE state IN ('new', 'review')$$,
  $$VALUES ('2025-12', 'new', 1::bigint), ('2026-01', 'new', 6), ('2026-01', 'review', 4)$$, 'by month of the entry, in the time zone of the programme');
SELECT results_eq($$SELECT group_value, state, started, reached FROM prm.machine_funnel('lead', '{"group_by": "month"}') WHERE state IN ('new', 'won')$$,
  $$VALUES ('2025-12', 'new', 1::bigint, 1::bigint), ('2025-12', 'won', 1, 1), ('2026-01', 'new', 5, 5), ('2026-01', 'won', 5, 0)$$, 'a funnel by month follows the rows that started in it');
SELECT results_eq($$SELECT group_value, group_label, state, started, reached, dropped, won_share FROM prm.machine_funnel('lead', '{"group_by": "kind"}') WHERE state = 'new'$$,
  $$VALUES ('affiliate', 'Affiliate', 'new', 2::bigint, 2::bigint, 1::bigint, 0.0000), ('reseller', 'Reseller', 'new', 2, 2, 0, 0.5000), (NULL, NULL, 'new', 2, 2, 0, 0.0000)$$, 'by kind of partner');
SELECT results_eq($$SELECT group_value, stays FROM prm.state_times('lead', '{"group_by": "region"}') WHERE state = 'new'$$, $$VALUES ('EU', 3::bigint), (NULL, 4)$$, 'by region');
SELECT results_eq($$SELECT state, stays FROM prm.state_times('lead', '{"region": "EU", "kind": "reseller", "date_from": "2026-01-01"}')$$,
  $$VALUES ('new', 2::bigint), ('review', 3), ('approved', 1), ('won', 1)$$, 'segment and first day');
SELECT results_eq($$SELECT state, stays FROM prm.state_times('lead', '{"date_from": "2026-01-01", "date_to": "2026-01-01"}')$$,
  $$VALUES ('new', 3::bigint), ('review', 3), ('lost', 1)$$, 'one day, both ends included');
SELECT results_eq($$SELECT state, started, reached FROM prm.machine_funnel('lead', '{"partner_id": 9000002, "date_to": "2026-01-01"}') WHERE reached > 0$$,
  $$VALUES ('new', 2::bigint, 2::bigint), ('review', 2, 1), ('lost', 2, 2)$$, 'one partner');
SELECT is_empty($$SELECT * FROM prm.machine_funnel('lead', '{"group_by": "partner", "kind": "hub"}')$$, 'no rows, no groups');
SELECT throws_ok($$SELECT * FROM prm.state_times('lead', '{"groupby": "partner"}')$$, '22023', 'state_times has no option "groupby"');
SELECT throws_ok($$SELECT * FROM prm.machine_funnel('lead', '{"group_by": "colour"}')$$, '22023', 'option "group_by" cannot be "colour"');
SELECT throws_ok($$SELECT * FROM prm.machine_funnel('lead', '{"date_to": "31.13.2026"}')$$, '22023', 'option "date_to" is no date: "31.13.2026"');
SELECT throws_ok($$SELECT * FROM prm.state_times('lead', '{"date_from": "soon"}')$$, '22023', 'option "date_from" is no date: "soon"');
SELECT throws_ok($$SELECT * FROM prm.state_times('lead', '{"partner_id": 9000009}')$$, '42704', format('partner 9000009 does not exist in programme %s', :p));
SELECT throws_ok($$SELECT * FROM prm.state_times('lead', '{"partner_id": "Alpha"}')$$, '42704', format('partner Alpha does not exist in programme %s', :p));
SELECT throws_ok($$SELECT * FROM prm.state_times('nothing')$$, '42704', format('programme %s has no machine "nothing"', :p));
SELECT throws_ok($$SELECT * FROM prm.machine_funnel('lead', NULL)$$, '22023', 'the options of machine_funnel are no JSON object');

-- ---- versions, other programmes, uuid keys, moments that run backwards --------------------------------------------------------------------
SELECT prm.define_machine('ticket', '{"initial": "a", "states": {"a": {"on": {"go": {"target": "b"}}}, "b": {"on": {"end": {"target": "c"}}}, "c": {"type": "final"}}}') AS version \gset
INSERT INTO prm.state_history (machine, machine_version, subject_uuid, from_state, to_state, event, actor, actor_kind, partner_id, at) VALUES
  ('ticket', 1, '00000000-0000-0000-0000-000000000001', NULL, 'a', NULL, 'x', 'vendor', NULL, '2026-01-01 00:00+00'),
  ('ticket', 1, '00000000-0000-0000-0000-000000000002', NULL, 'a', NULL, 'x', 'partner', 9000001, '2026-01-01 00:00+00'),
  ('ticket', 1, '00000000-0000-0000-0000-000000000001', 'a', 'b', 'go', 'x', 'partner', 9000002, '2026-01-01 02:00+00'),
  ('ticket', 1, '00000000-0000-0000-0000-000000000002', 'a', 'b', 'go', 'x', 'partner', 9000002, '2025-12-31 23:00+00'),
  ('ticket', 1, '00000000-0000-0000-0000-000000000001', 'b', 'c', 'end', 'x', 'vendor', NULL, '2026-01-01 05:00+00');
SELECT results_eq($$SELECT right(subject_uuid::text, 1), state, partner_id, is_open, hours, outcome FROM prm.v_state_duration WHERE program_id = prm.current_program() AND machine = 'ticket' ORDER BY 1, stay_no$$,
  $$VALUES ('1', 'a', 9000002::bigint, false, 2.0, 'ended'), ('1', 'b', 9000002, false, 3.0, 'ended'), ('1', 'c', 9000002, false, NULL, 'ended'),
    ('2', 'a', NULL, false, 0.0, NULL), ('2', 'b', NULL, true, 97.0, NULL)$$, 'a table of your own: uuid keys, its only partner, no stay is shorter than nothing');
SELECT prm.define_machine('ticket', '{"initial": "a", "states": {"a": {"label": "Open", "on": {"end": {"target": "c"}}}, "c": {"type": "final", "category": "won"}, "d": {"type": "final"}}}'
  #- '{states,d}') AS version \gset
SELECT results_eq($$SELECT state, label, reached, category FROM prm.v_machine_funnel WHERE program_id = prm.current_program() AND machine = 'ticket' ORDER BY state$$,
  $$VALUES ('a', 'Open', 2::bigint, NULL), ('b', 'b', 2, NULL), ('c', 'c', 1, 'won')$$, 'a state of an older version stays while rows have been in it; labels are of the newest');
SELECT prm.create_program('Analytics 2', 'blank') AS p2 \gset
INSERT INTO prm.lead (program_id, lead_id) VALUES (:p2, 9000001);
SELECT is((SELECT count(*) FROM prm.state_times('lead', program_id => :p2)), 1::bigint, 'another programme with the same keys is its own');
SELECT is((SELECT count(*) FROM pg_temp.stay), 15::bigint, 'and does not mix in');

SELECT * FROM finish();
ROLLBACK;
