-- Metrics: what the built-in ones count, at the edges of their windows, and what record_metric refuses.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();

DO $$ BEGIN
  PERFORM set_config('prm.clock', '2025-06-15 12:00:00+02', true);
  PERFORM set_config('prm.program_id', prm.create_program('pgTAP metrics', 'blank', 'EUR', 'Europe/Berlin')::text, true);
END $$;
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'Aurora'), (2, 'Boreal'), (3, 'Corona');

-- A won deal is moved there at its time, with the clock.
CREATE FUNCTION pg_temp.close_deal(the_id bigint, the_partner bigint, the_state text, the_amount numeric, the_currency text, the_moment timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE the_clock text := current_setting('prm.clock');
BEGIN
  PERFORM set_config('prm.clock', the_moment::text, true);
  INSERT INTO prm.deal (deal_id, partner_id, name, amount, currency, created_at) VALUES (the_id, the_partner, 'deal ' || the_id, the_amount, the_currency, the_moment);
  IF the_state IS NOT NULL THEN
    UPDATE prm.deal d SET state = the_state, closed_at = the_moment WHERE d.program_id = prm.current_program() AND d.deal_id = the_id;
  END IF;
  PERFORM set_config('prm.clock', the_clock, true);
END $$;
CREATE FUNCTION pg_temp.metric(the_partner bigint, the_metric text) RETURNS numeric LANGUAGE sql AS
  $$ SELECT m.value FROM prm.partner_metrics(the_partner) m WHERE m.metric = the_metric $$;
DO $$ BEGIN
  PERFORM pg_temp.close_deal(1, 1, 'won', 100, 'EUR', '2025-06-15 12:00:00+02');
  PERFORM pg_temp.close_deal(2, 1, 'won', 200, 'EUR', '2025-06-15 12:00:01+02');
  PERFORM pg_temp.close_deal(3, 1, 'won', 400, 'EUR', '2026-06-15 12:00:00+02');
  PERFORM pg_temp.close_deal(4, 1, 'won', 800, 'USD', '2026-01-01 12:00:00+01');
  PERFORM pg_temp.close_deal(5, 1, 'lost', 1600, 'EUR', '2026-02-01 12:00:00+01');
  PERFORM pg_temp.close_deal(6, 1, NULL, 3200, 'EUR', '2026-03-01 12:00:00+01');
  PERFORM pg_temp.close_deal(7, 1, NULL, 6400, 'USD', '2026-03-01 12:00:00+01');
  PERFORM pg_temp.close_deal(8, 2, 'lost', 10, 'EUR', '2026-03-01 12:00:00+01');
END $$;
SET LOCAL prm.clock = '2026-06-15 12:00:00+02';
SELECT is(pg_temp.metric(1, 'revenue_12m'), 600::numeric, 'the window ends now, inclusive, and begins a year ago, exclusive; other currencies are not added');
SELECT is(pg_temp.metric(1, 'deals_won_12m'), 3::numeric, 'deals are counted in every currency');
SELECT is(pg_temp.metric(1, 'win_rate'), 0.75, 'three of four closed deals were won');
SELECT is(pg_temp.metric(1, 'average_deal'), 300.000000, 'the average won deal in the programme''s currency');
SELECT is(pg_temp.metric(1, 'open_pipeline'), 3200::numeric, 'open deals in the programme''s currency');
SET LOCAL prm.clock = '2026-06-15 11:59:59+02';
SELECT is(pg_temp.metric(1, 'revenue_12m'), 300::numeric, 'a second earlier the newest deal is not there yet, and the one of a year ago is');
SET LOCAL prm.clock = '2026-06-15 12:00:00+02';
SELECT is(pg_temp.metric(2, 'win_rate'), 0::numeric, 'lost only: a win rate of 0');
SELECT results_eq($$ SELECT metric, value FROM prm.partner_metrics(3) $$,
  $$ VALUES ('breaches_12m', 0::numeric), ('certified_people', 0), ('deals_won_12m', 0), ('open_pipeline', 0), ('payout_disputes_12m', 0), ('registrations_approved_12m', 0),
    ('registrations_refused_12m', 0), ('revenue_12m', 0), ('revenue_influenced_12m', 0), ('revenue_managed_12m', 0), ('revenue_sourced_12m', 0) $$,
  'without deals sums are 0, and rates are not known: no row');

-- Certificates are valid through their last day, in the programme's zone.
INSERT INTO prm.partner_user (partner_user_id, partner_id, name, is_active) VALUES (1, 1, 'Ada', true), (2, 1, 'Ben', true), (3, 1, 'Cem', false), (4, 1, 'Dee', true);
INSERT INTO prm.certification (certification, label) VALUES ('sales', 'Sales'), ('technical', 'Technical');
INSERT INTO prm.certificate (partner_user_id, certification, issued_on, valid_until) VALUES (1, 'sales', '2026-01-01', '2026-06-15'), (1, 'technical', '2026-01-01', '2026-06-15'),
  (2, 'sales', '2026-01-01', NULL), (3, 'sales', '2026-01-01', NULL), (4, 'sales', '2026-06-16', NULL);
SET LOCAL prm.clock = '2026-06-15 21:59:59+00';
SELECT is(pg_temp.metric(1, 'certified_people'), 2::numeric, 'distinct people; who left and whose certificate begins tomorrow does not count; the last day does');
SET LOCAL prm.clock = '2026-06-15 22:00:00+00';
SELECT is(pg_temp.metric(1, 'certified_people'), 2::numeric, 'midnight in Berlin: one ended, one began');
DELETE FROM prm.certificate WHERE partner_user_id = 4;
SELECT is(pg_temp.metric(1, 'certified_people'), 1::numeric, 'only the one without an end is left');
SET LOCAL prm.clock = '2026-06-15 12:00:00+02';

-- Leads: how many came back, how long the first qualification took.
INSERT INTO prm.lead (lead_id, partner_id, company, created_at) SELECT i, 1, 'lead ' || i, '2026-05-01 00:00:00+02' FROM generate_series(1, 4) i;
INSERT INTO prm.state_history (machine, machine_version, subject_id, event, from_state, to_state, actor, actor_kind, at) VALUES
  ('lead', 1, 1, 'qualify', 'new', 'partner_qualified', 'a', 'partner', '2026-05-01 02:00:00+02'),
  ('lead', 1, 2, 'qualify', 'new', 'partner_qualified', 'a', 'partner', '2026-05-01 04:00:00+02'),
  ('lead', 1, 2, 'return', 'partner_qualified', 'returned', 'v', 'vendor', '2026-05-02 04:00:00+02'),
  ('lead', 1, 2, 'qualify', 'returned', 'partner_qualified', 'a', 'partner', '2026-05-03 04:00:00+02'),
  ('lead', 1, 3, 'qualify', 'new', 'partner_qualified', 'a', 'partner', '2026-05-01 12:00:00+02'),
  ('lead', 1, 3, 'return', 'partner_qualified', 'returned', 'v', 'vendor', '2026-07-02 04:00:00+02');
SELECT is(pg_temp.metric(1, 'return_rate'), 0.333333, 'one of three qualified leads was returned; what comes later does not count yet');
SELECT is(pg_temp.metric(1, 'response_hours'), 4.0000, 'the median of 2, 4 and 12 hours');
SELECT is(pg_temp.metric(2, 'response_hours'), NULL::numeric, 'no leads: not known');

-- Pushed metrics.
SELECT lives_ok($$ SELECT prm.record_metric(1, 'logins_30d', 5, '2026-06-01') $$, 'a pushed metric is recorded');
SELECT lives_ok($$ SELECT prm.record_metric(1, 'logins_30d', 7) $$, 'by default for the present moment');
SELECT lives_ok($$ SELECT prm.record_metric(1, 'logins_30d', 99, '2026-07-01') $$, 'or for a later one');
SELECT results_eq($$ SELECT value, observed_at FROM prm.partner_metrics(1) WHERE metric = 'logins_30d' $$, $$ VALUES (7::numeric, '2026-06-15 12:00:00+02'::timestamptz) $$,
  'the newest value up to now counts');
SELECT lives_ok($$ SELECT prm.record_metric(1, 'logins_30d', 8) $$, 'the same moment again');
SELECT is(pg_temp.metric(1, 'logins_30d'), 8::numeric, 'takes the place of the first');
SELECT throws_ok($$ SELECT prm.record_metric(1, 'logins', 7) $$, '42704', 'metric "logins" does not exist', 'an unknown metric');
SELECT throws_ok($$ SELECT prm.record_metric(1, 'revenue_12m', 7) $$, '22023', 'metric "revenue_12m" is computed, not recorded', 'a built-in metric');
SELECT throws_ok($$ SELECT prm.record_metric(1, 'nps', 'NaN') $$, '22023', 'NaN is no value of a metric', 'NaN');
SELECT throws_ok($$ SELECT prm.record_metric(1, 'nps', 'Infinity') $$, '22023', 'Infinity is no value of a metric', 'infinity');
SELECT throws_ok($$ SELECT prm.record_metric(1, 'nps', NULL) $$, '22023', 'NULL is no value of a metric', 'NULL');
SELECT throws_ok($$ SELECT prm.record_metric(1, 'nps', 1, 'infinity') $$, '22023', NULL, 'no moment');
SELECT throws_ok($$ SELECT prm.record_metric(77, 'nps', 1) $$, '42704', 'partner 77 does not exist', 'an unknown partner');
SELECT throws_ok($$ SELECT * FROM prm.partner_metrics(77) $$, '42704', 'partner 77 does not exist', 'an unknown partner has no metrics');

-- The view says the same as the function, for every partner.
SELECT set_eq($$ SELECT partner_id, metric, value FROM prm.v_partner_metric WHERE program_id = prm.current_program() $$,
  $$ SELECT p.partner_id, m.metric, m.value FROM prm.partner p CROSS JOIN LATERAL prm.partner_metrics(p.partner_id) m WHERE p.program_id = prm.current_program() $$,
  'v_partner_metric agrees with partner_metrics');

-- An observation at the end of time would hide every later one.
SELECT throws_ok($$INSERT INTO prm.metric_value (partner_id, metric, observed_at, value) VALUES (1, 'nps', 'infinity', 5)$$, '23514', NULL, 'a value was observed at some moment');

-- A deal machine with other names for its states.
UPDATE prm.machine_state SET category = 'won' WHERE program_id = prm.current_program() AND machine = 'deal' AND state = 'lost';
SELECT is(pg_temp.metric(2, 'deals_won_12m'), 1::numeric, 'what is won is decided by the category of the state, not by its name');

-- Another tenant's deals never count.
DO $$ BEGIN PERFORM set_config('prm.program_id', prm.create_program('pgTAP metrics 2', 'blank', 'EUR')::text, true); END $$;
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'Aurora of another programme');
SELECT is(pg_temp.metric(1, 'revenue_12m'), 0::numeric, 'a partner of the same number in another programme has nothing');

SELECT * FROM finish();
ROLLBACK;
