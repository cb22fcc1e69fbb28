-- Analytics of a machine: what a user types and sees. The clock is set, so that the hours are always the same.
SET client_min_messages = warning;
SELECT prm.install() IS NOT NULL AS installed;
ALTER TABLE prm.program ALTER COLUMN program_id RESTART WITH 751;
SELECT prm.create_program('Analytics', 'blank', 'EUR', 'Europe/Berlin') AS programme;
SET prm.program_id = '751';
ALTER TABLE prm.partner ALTER COLUMN partner_id RESTART WITH 7501;
ALTER TABLE prm.deal ALTER COLUMN deal_id RESTART WITH 7501;
\set VERBOSITY default
\set SHOW_CONTEXT never
INSERT INTO prm.partner (name, kind, region) VALUES ('Alpha', 'reseller', 'North'), ('Beta', 'reseller', 'South'), ('Gamma', 'integrator', 'South');
-- Forty deals of three partners, one begun every six hours; what becomes of each depends on its number alone.
SET prm.clock = '2026-01-20 00:00+00';
DO $$
BEGIN
  FOR i IN 1..40 LOOP
    PERFORM set_config('prm.clock', (timestamptz '2026-01-20 00:00+00' + i * interval '6 hours')::text, false);
    INSERT INTO prm.deal (partner_id, name, amount) VALUES (7501 + i % 3, 'Deal ' || i, 1000 * i);
    CONTINUE WHEN i % 5 = 0;
    PERFORM set_config('prm.clock', (timestamptz '2026-01-20 00:00+00' + i * interval '10 hours')::text, false);
    PERFORM prm.fire('deal', 7500 + i, 'propose');
    CONTINUE WHEN i % 4 = 0;
    PERFORM set_config('prm.clock', (timestamptz '2026-01-20 00:00+00' + i * interval '13 hours')::text, false);
    PERFORM prm.fire('deal', 7500 + i, CASE WHEN i % 3 = 0 THEN 'lose' WHEN i % 7 = 0 THEN 'win' ELSE 'negotiate' END);
    CONTINUE WHEN i % 3 = 0 OR i % 7 = 0;
    PERFORM set_config('prm.clock', (timestamptz '2026-01-20 00:00+00' + i * interval '20 hours')::text, false);
    PERFORM prm.fire('deal', 7500 + i, CASE WHEN i % 2 = 0 THEN 'lose' ELSE 'win' END);
  END LOOP;
END $$;
SET prm.clock = '2026-03-01 00:00+00';
-- One deal, stay by stay.
SELECT stay_no, state, entered_at, entered_by, left_at, left_by, is_open, hours FROM prm.v_state_duration
  WHERE program_id = 751 AND machine = 'deal' AND subject_id = 7522 ORDER BY stay_no;
-- How long deals stay where, how far they get, where they wait.
SELECT state, stays, open_stays, returns, p50_hours, p75_hours, p90_hours, mean_hours FROM prm.v_state_time WHERE program_id = 751 AND machine = 'deal' ORDER BY state;
SELECT state, started, reached, share_of_started, present, dropped, drop_share, won, won_share FROM prm.v_machine_funnel
  WHERE program_id = 751 AND machine = 'deal' ORDER BY position;
SELECT rank, state, stays, open_stays, waiting_hours, open_hours, share_of_waiting FROM prm.v_machine_bottleneck WHERE program_id = 751 AND machine = 'deal' ORDER BY rank;
SELECT * FROM prm.v_machine_loop WHERE program_id = 751;
-- The same by partner, month and segment.
SELECT group_label, state, reached, share_of_started, dropped, won_share FROM prm.machine_funnel('deal', '{"group_by": "partner"}');
SELECT group_value, state, started, reached, share_of_started FROM prm.machine_funnel('deal', '{"group_by": "month", "region": "South"}') WHERE NOT is_final;
SELECT group_label, state, stays, p50_hours, mean_hours FROM prm.state_times('deal', '{"group_by": "kind", "date_from": "2026-02-01", "date_to": "2026-02-14"}');
-- Errors.
SELECT * FROM prm.state_times('deals');
SELECT * FROM prm.state_times('deal', '{"groupby": "partner"}');
SELECT * FROM prm.state_times('deal', '{"group_by": "colour"}');
SELECT * FROM prm.machine_funnel('deal', '{"date_from": "soon"}');
SELECT * FROM prm.machine_funnel('deal', '{"date_to": "2026-02-30"}');
SELECT * FROM prm.machine_funnel('deal', '{"partner_id": 1}');
SELECT * FROM prm.machine_funnel('deal', '[]');
SELECT * FROM prm.machine_funnel('deal', program_id => 750);
