-- Measures: what each built-in metric counts, who is credited, and what belongs to the window.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();

DO $$ BEGIN
  PERFORM set_config('prm.clock', '2025-01-01 12:00:00+00', true);
  PERFORM set_config('prm.program_id', prm.create_program('pgTAP measures', 'blank', 'EUR')::text, true);
END $$;
INSERT INTO prm.partner (partner_id, name, kind) VALUES (1, 'Aurora', 'reseller'), (2, 'Boreal', 'reseller'), (3, 'Corona', 'hub');
INSERT INTO prm.customer (customer_id, name) SELECT i, 'customer ' || i FROM generate_series(1, 9) i;
CREATE FUNCTION pg_temp.at(the_moment timestamptz) RETURNS void LANGUAGE sql AS $$ SELECT set_config('prm.clock', the_moment::text, true) $$;
CREATE FUNCTION pg_temp.close_deal(the_id bigint, the_partner bigint, the_amount numeric, the_created timestamptz, the_closed timestamptz, the_state text DEFAULT 'won',
  the_currency text DEFAULT 'EUR', the_customer bigint DEFAULT NULL, the_credits jsonb DEFAULT '[]') RETURNS void LANGUAGE plpgsql AS $$
DECLARE the_clock text := current_setting('prm.clock');
BEGIN
  PERFORM set_config('prm.clock', the_closed::text, true);
  INSERT INTO prm.deal (deal_id, partner_id, name, amount, currency, created_at, customer_id) VALUES (the_id, the_partner, 'deal ' || the_id, the_amount, the_currency, the_created, the_customer);
  INSERT INTO prm.deal_partner (deal_id, partner_id, credit_type, weight) SELECT the_id, r.partner_id, r.credit_type, r.weight
    FROM jsonb_to_recordset(the_credits) AS r(partner_id bigint, credit_type text, weight numeric);
  UPDATE prm.deal d SET state = the_state WHERE d.program_id = prm.current_program() AND d.deal_id = the_id;
  PERFORM set_config('prm.clock', the_clock, true);
END $$;
CREATE FUNCTION pg_temp.metric(the_partner bigint, the_metric text) RETURNS numeric LANGUAGE sql AS
  $$ SELECT m.value FROM prm.partner_metrics(the_partner) m WHERE m.metric = the_metric $$;

-- ---- credits ----
DO $$ BEGIN
  -- Nobody is named: its own partner sourced all of it.
  PERFORM pg_temp.close_deal(1, 1, 1000, '2026-01-01', '2026-02-01');
  -- Two share the sourcing, a third manages.
  PERFORM pg_temp.close_deal(2, 1, 900, '2026-01-01', '2026-02-11', the_credits =>
    '[{"partner_id": 1, "credit_type": "sourced", "weight": 33.33}, {"partner_id": 2, "credit_type": "sourced", "weight": 66.67}, {"partner_id": 3, "credit_type": "managed", "weight": 100}]');
  -- Somebody influenced, nobody is named as having sourced it.
  PERFORM pg_temp.close_deal(3, 2, 500, '2026-01-01', '2026-03-01', the_credits => '[{"partner_id": 1, "credit_type": "influenced", "weight": 100}]');
  PERFORM pg_temp.close_deal(4, 2, 7000, '2026-01-01', '2026-03-01', 'won', 'USD', NULL, '[{"partner_id": 1, "credit_type": "sourced", "weight": 100}]');
  PERFORM pg_temp.close_deal(5, 1, 7000, '2026-01-01', '2026-03-02', 'lost', 'EUR', NULL, '[{"partner_id": 1, "credit_type": "influenced", "weight": 100}]');
  PERFORM pg_temp.close_deal(6, 1, 40, '2025-01-02', '2025-06-01');
END $$;
SELECT pg_temp.at('2026-06-15 00:00:00+00');
SELECT is(pg_temp.metric(1, 'revenue_12m'), 1900::numeric, 'its own deals, in full, whoever is credited');
SELECT is(pg_temp.metric(1, 'revenue_sourced_12m'), 1299.97, 'its deal without credits, and a third of the shared one; not what is in dollars, lost or a year ago');
SELECT is(pg_temp.metric(2, 'revenue_sourced_12m'), 1100.03, 'its share of a deal of another, and its own deal that somebody only influenced');
SELECT is(pg_temp.metric(1, 'revenue_sourced_12m') + pg_temp.metric(2, 'revenue_sourced_12m') + pg_temp.metric(3, 'revenue_sourced_12m'), 2400.00, 'the shares of all sum to the won amounts');
SELECT is(pg_temp.metric(1, 'revenue_influenced_12m'), 500::numeric, 'a lost deal counts for nobody');
SELECT is(pg_temp.metric(3, 'revenue_managed_12m'), 900::numeric, 'managed by one who is not the deal''s partner');
SELECT is(pg_temp.metric(3, 'revenue_12m'), 0::numeric, 'which does not make it its own');
INSERT INTO prm.metric (metric, label, source, measure, credit_type, window_kind) VALUES ('deals_sourced', 'Deals sourced', 'built_in', 'deals_won', 'sourced', 'rolling_12_months'),
  ('assisted', 'Assisted', 'built_in', 'revenue', 'assisted', 'lifetime');
SELECT is(pg_temp.metric(1, 'deals_sourced'), 3::numeric, 'deals in which it has a share, in every currency');
SELECT is(pg_temp.metric(1, 'assisted'), 0::numeric, 'another type of credit is another row');

-- ---- cycle time ----
SELECT is(pg_temp.metric(1, 'cycle_days'), 36.0000, 'the median of 31 and 41 days; lost deals and those before the window do not count');
SELECT is(pg_temp.metric(3, 'cycle_days'), NULL::numeric, 'without won deals it is not known');

-- ---- the past ----
SELECT is((SELECT v.value FROM prm._metric_values(prm.current_program(), '{1}', '2026-02-05', '{revenue_12m}') v), 1040::numeric, 'as it was at an earlier moment');
DO $$ BEGIN
  INSERT INTO prm.deal (deal_id, partner_id, name, amount, currency, created_at) VALUES (7, 1, 'open', 77, 'EUR', '2026-05-01');
END $$;
SELECT is((SELECT v.value FROM prm._metric_values(prm.current_program(), '{1}', '2026-01-15', '{open_pipeline}') v), 8900::numeric, 'what was open then and has closed since, not what was not there yet');
SELECT is(pg_temp.metric(1, 'open_pipeline'), 77::numeric, 'and what is open now');

-- ---- registrations ----
SELECT pg_temp.at('2025-06-01');
INSERT INTO prm.registration (registration_id, partner_id, customer_id, product_family) SELECT i, 1, i, 'f' FROM generate_series(1, 6) i;
DO $$ BEGIN
  PERFORM prm.fire('registration', i, 'submit') FROM generate_series(1, 6) i;
  PERFORM prm.fire('registration', 1, 'approve'), prm.fire('registration', 6, 'reject', 'no');
  PERFORM pg_temp.at('2026-03-01');
  PERFORM prm.fire('registration', 2, 'approve'), prm.fire('registration', 3, 'approve'), prm.fire('registration', 4, 'reject', 'no');
  PERFORM pg_temp.at('2026-03-02');
  PERFORM prm.fire('registration', 2, 'close');
  PERFORM pg_temp.at('2026-06-15 00:00:00+00');
END $$;
SELECT is(pg_temp.metric(1, 'registrations_approved_12m'), 2::numeric, 'approved in the window, also when closed since');
SELECT is(pg_temp.metric(1, 'registrations_refused_12m'), 1::numeric, 'refused in the window; who waits is neither');
INSERT INTO prm.metric (metric, label, source, measure, window_kind) VALUES ('approval', 'Approval', 'built_in', 'registration_approval', 'rolling_12_months'), ('leads', 'Leads', 'built_in', 'leads', 'rolling_12_months');
SELECT is(pg_temp.metric(1, 'approval'), 0.666667, 'two of three decided');
SELECT is(pg_temp.metric(2, 'approval'), NULL::numeric, 'nothing decided: not known');

-- ---- leads ----
INSERT INTO prm.lead (lead_id, partner_id, company, created_at) VALUES (1, 1, 'a', '2026-05-01'), (2, 1, 'b', '2026-05-01'), (3, 1, 'c', '2026-05-01'), (4, 1, 'd', '2025-05-01'), (5, 2, 'e', '2026-05-01');
INSERT INTO prm.state_history (machine, machine_version, subject_id, event, from_state, to_state, actor, actor_kind, at) VALUES
  ('lead', 1, 1, 'qualify', 'new', 'partner_qualified', 'a', 'partner', '2026-05-02'), ('lead', 1, 2, 'disqualify', 'new', 'disqualified', 'a', 'partner', '2026-05-02'),
  ('lead', 1, 3, 'qualify', 'new', 'partner_qualified', 'a', 'partner', '2026-07-02'), ('lead', 1, 4, 'qualify', 'new', 'partner_qualified', 'a', 'partner', '2026-05-03');
SELECT is(pg_temp.metric(1, 'leads'), 3::numeric, 'leads that came in the window');
SELECT is(pg_temp.metric(1, 'lead_acceptance'), 0.333333, 'one was taken up, one declined, one has no answer yet');
SELECT is(pg_temp.metric(2, 'lead_acceptance'), 0.000000, 'a lead without an answer is not accepted');
SELECT is(pg_temp.metric(3, 'lead_acceptance'), NULL::numeric, 'without leads it is not known');

-- ---- people ----
INSERT INTO prm.partner_user (partner_user_id, partner_id, name, is_active) VALUES (1, 1, 'Ada', true), (2, 1, 'Ben', true), (3, 1, 'Cem', true), (4, 1, 'Dee', false);
INSERT INTO prm.certification (certification, label) VALUES ('sales', 'Sales'), ('technical', 'Technical');
INSERT INTO prm.certificate (partner_user_id, certification, issued_on, valid_until) VALUES (1, 'sales', '2026-01-01', NULL), (1, 'technical', '2026-01-01', NULL), (2, 'sales', '2026-01-01', '2026-06-14'), (4, 'sales', '2026-01-01', NULL);
SELECT is(pg_temp.metric(1, 'training_coverage'), 0.333333, 'one of three active people has a certificate that is valid');
SELECT is((SELECT v.value FROM prm._metric_values(prm.current_program(), '{1}', '2026-06-14 23:59:59+00', '{training_coverage}') v), 0.666667, 'a day earlier two had');
INSERT INTO prm.metric (metric, label, source) VALUES ('certified_people_technical', 'Technicians', 'built_in');
INSERT INTO prm.metric (metric, label, source, measure, certification) VALUES ('sellers', 'Sellers', 'built_in', 'certified_people', 'sales'), ('staff', 'Staff', 'built_in', 'active_people', NULL);
SELECT is(pg_temp.metric(1, 'certified_people_technical'), 1::numeric, 'of one certification, by the name of the metric');
SELECT is((SELECT v.value FROM prm._metric_values(prm.current_program(), '{1}', '2026-06-14', '{sellers}') v), 2::numeric, 'or by its own column');
SELECT is(pg_temp.metric(1, 'staff'), 3::numeric, 'who has left is no staff');
SELECT throws_ok($$ UPDATE prm.metric SET certification = 'sales' WHERE program_id = prm.current_program() AND metric = 'win_rate' $$, '23514', NULL, 'only people have certificates');
SELECT is(pg_temp.metric(2, 'training_coverage'), NULL::numeric, 'without people it is not known');

-- ---- churn ----
INSERT INTO prm.subscription (subscription_id, partner_id, customer_id, amount, currency, started_on, ended_on) VALUES
  ('a', 1, 1, 10, 'EUR', '2025-01-01', NULL), ('b', 1, 2, 10, 'EUR', '2025-01-01', '2026-06-14'), ('c', 1, 3, 10, 'EUR', '2025-01-01', '2026-06-15'),
  ('d1', 1, 4, 10, 'EUR', '2025-01-01', '2025-12-31'), ('d2', 1, 4, 10, 'EUR', '2026-01-01', NULL), ('e', 1, 5, 10, 'EUR', '2025-07-01', '2025-12-31'), ('f', 1, 6, 10, 'EUR', '2025-01-01', '2025-06-14');
SELECT is(pg_temp.metric(1, 'customer_churn'), 0.250000, 'of four customers at the beginning one is gone: who left on the last day is there on it, who came in between and who had gone before does not count, another subscription keeps a customer');
SELECT is(pg_temp.metric(2, 'customer_churn'), NULL::numeric, 'without customers at the beginning it is not known');
DO $$ BEGIN
  PERFORM pg_temp.close_deal(21, 2, 1, '2025-01-02', '2025-03-01', 'won', 'EUR', 1);
  PERFORM pg_temp.close_deal(22, 2, 1, '2025-01-02', '2025-03-01', 'won', 'EUR', 2);
  PERFORM pg_temp.close_deal(23, 2, 1, '2025-07-02', '2026-03-01', 'won', 'EUR', 2);
  PERFORM pg_temp.close_deal(24, 2, 1, '2025-07-02', '2026-03-01', 'won', 'EUR', 3);
  PERFORM pg_temp.close_deal(25, 2, 1, '2025-07-02', '2026-03-01', 'lost', 'EUR', 1);
END $$;
INSERT INTO prm.metric (metric, label, source, measure, window_kind) VALUES ('buyer_churn', 'Buyers lost', 'built_in', 'buyer_churn', 'rolling_12_months');
SELECT is(pg_temp.metric(2, 'buyer_churn'), 0.500000, 'two bought in the year before, one of them in this one');

-- ---- breaches ----
INSERT INTO prm.timer (machine, machine_version, subject_id, state, delay, action, escalation_level, due_at, created_at, fired_at, canceled_at, outcome, ended_at) VALUES
  ('lead', 1, 1, 'new', 'P1D', 'escalate', 1, '2026-05-02', '2026-05-01', '2026-05-02', NULL, 'fired', '2026-05-04'),
  ('lead', 1, 1, 'new', 'P2D', 'escalate', 2, '2026-05-03', '2026-05-01', '2026-05-03', NULL, 'fired', '2026-05-04'),
  ('lead', 1, 2, 'new', 'P1D', 'escalate', 1, '2026-05-02', '2026-05-01', NULL, '2026-05-01', 'canceled', '2026-05-01'),
  ('lead', 1, 3, 'new', 'P1D', 'escalate', 1, '2026-05-02', '2026-05-01', NULL, NULL, NULL, NULL),
  ('lead', 1, 3, 'new', 'P1DT1H', 'warn', NULL, '2026-05-02', '2026-05-01', NULL, NULL, NULL, NULL),
  ('lead', 1, 1, 'partner_qualified', 'P1D', 'escalate', 1, '2026-05-05', '2026-05-04', '2026-05-05', NULL, 'fired', '2026-05-06'),
  ('lead', 1, 1, 'returned', 'P1D', 'escalate', 1, '2026-06-20', '2026-06-10', NULL, NULL, NULL, NULL),
  ('lead', 1, 4, 'new', 'P1D', 'escalate', 1, '2025-05-02', '2025-05-01', '2025-05-02', NULL, 'fired', '2025-05-04');
SELECT is(pg_temp.metric(1, 'breaches_12m'), 2::numeric,
  'two levels of one stay are one, due is due before the job comes, what was done in time, warned, waits for the vendor, is due later or was due a year ago does not count');
SELECT is(pg_temp.metric(2, 'breaches_12m'), 0::numeric, 'nobody else''s');

-- ---- disputes ----
INSERT INTO prm.ledger (entry_id, partner_id, kind, amount, currency, earned_on, eligible_at, idempotency_key) VALUES (1, 1, 'commission', 10, 'EUR', '2026-05-01', '2026-05-01', 'k1');
SELECT lives_ok($$ SELECT prm.dispute(1, 'too little') $$, 'an entry is disputed');
SELECT is(pg_temp.metric(1, 'payout_disputes_12m'), 1::numeric, 'which is counted');
SELECT pg_temp.at('2027-06-15 00:00:01+00');
SELECT is(pg_temp.metric(1, 'payout_disputes_12m'), 0::numeric, 'for a year');
SELECT pg_temp.at('2026-06-15 00:00:00+00');

-- ---- every measure at once, for one and for all ----
INSERT INTO prm.metric (metric, label, source, measure, window_kind) SELECT 'm_' || k.measure, k.measure, 'built_in', k.measure, k.default_window FROM prm._measures() k;
SELECT set_eq($$ SELECT v.partner_id, v.metric, v.value FROM prm._metric_values(prm.current_program(), NULL, prm.now()) v $$,
  $$ SELECT p.partner_id, v.metric, v.value FROM prm.partner p CROSS JOIN LATERAL prm._metric_values(prm.current_program(), ARRAY[p.partner_id], prm.now()) v WHERE p.program_id = prm.current_program() $$,
  'all partners at once have the values that each has alone');
SELECT is_empty($$ SELECT k.measure FROM prm._measures() k WHERE NOT EXISTS (SELECT 1 FROM prm._metric_values(prm.current_program(), NULL, prm.now()) v WHERE v.metric = 'm_' || k.measure)
  AND k.measure NOT IN ('customer_nps', 'partner_nps', 'logins', 'content_use', 'key_activities', 'active_days') $$, 'every measure has a value for somebody here, but for surveys and usage, which are tested with them');

-- ---- what is refused ----
SELECT throws_like($$ INSERT INTO prm.metric (metric, label, source, measure) VALUES ('x', 'x', 'built_in', 'revenu') $$, 'there is no measure "revenu" for metric "x"', 'an unknown measure');
SELECT throws_ok($$ INSERT INTO prm.metric (metric, label, source) VALUES ('x', 'x', 'built_in') $$, '22023', NULL, 'no measure, and a name that tells none');
SELECT throws_ok($$ INSERT INTO prm.metric (metric, label, source, measure) VALUES ('x', 'x', 'built_in', 'revenue') $$, '22023', 'measure "revenue" has no window "point"', 'a sum needs a window');
SELECT throws_ok($$ INSERT INTO prm.metric (metric, label, source, measure, window_kind) VALUES ('x', 'x', 'built_in', 'open_pipeline', 'rolling_30_days') $$, '22023', NULL, 'what stands at a moment has none');
SELECT throws_ok($$ INSERT INTO prm.metric (metric, label, source, measure, window_kind) VALUES ('x', 'x', 'built_in', 'buyer_churn', 'lifetime') $$, '22023', NULL, 'churn needs a beginning');
SELECT throws_ok($$ INSERT INTO prm.metric (metric, label, source, measure, window_kind, credit_type) VALUES ('x', 'x', 'built_in', 'win_rate', 'rolling_30_days', 'sourced') $$, '23514', NULL, 'a rate has no share');
SELECT throws_ok($$ INSERT INTO prm.metric (metric, label, window_kind) VALUES ('x', 'x', 'rolling_90_moons') $$, '23514', NULL, 'an unknown window');
SELECT lives_ok($$ UPDATE prm.metric SET source = 'built_in' WHERE program_id = prm.current_program() AND metric IN ('nps', 'logins_30d') $$, 'a pushed metric becomes a built-in one by its name');
SELECT results_eq($$ SELECT metric, measure, window_kind FROM prm.metric WHERE program_id = prm.current_program() AND metric IN ('nps', 'logins_30d') ORDER BY 1 $$,
  $$ VALUES ('logins_30d', 'logins', 'rolling_30_days'), ('nps', 'customer_nps', 'rolling_12_months') $$, 'with the measure and window that it always had');

-- The aggregate that a whole programme is measured with, against what it stands for: amounts of every size and scale, some of them beyond
-- its fast path, of several states and currencies, and partners in runs and mixed; in one process and in several.
CREATE TABLE public.won_sample AS
  SELECT (CASE WHEN i % 3 = 0 THEN i % 7 ELSE i / 500 END)::bigint AS partner_id, (ARRAY['won', 'lost', 'closed won', NULL])[1 + (i * 7) % 4] AS state, (ARRAY['EUR', 'CHF', 'EUR', 'EUR', NULL])[1 + (i * 11) % 5] AS currency,
    CASE i % 9 WHEN 0 THEN NULL WHEN 1 THEN (i * 1.37)::numeric(20, 2) WHEN 2 THEN -i::numeric WHEN 3 THEN i / 7.0 WHEN 4 THEN i * 1e30 WHEN 5 THEN 0.00 WHEN 6 THEN round(i / 3.0, 4) WHEN 7 THEN 99999999999999.99 ELSE i * 100000000000000000::numeric END AS amount
  FROM generate_series(1, 6000) i;
ANALYZE public.won_sample;
PREPARE plain AS SELECT w.partner_id, count(*) AS won, sum(w.amount) FILTER (WHERE w.currency = 'EUR') AS amount FROM public.won_sample w WHERE w.state = ANY ('{closed won,won}') GROUP BY 1 ORDER BY 1;
PREPARE fast AS SELECT t.partner_id, t.won, t.amount FROM unnest((SELECT prm._deals_won(w.partner_id, w.state, w.amount, w.currency, '{closed won,won}', 'EUR') FROM public.won_sample w)) t ORDER BY 1;
SELECT results_eq('fast', 'plain', 'prm._deals_won() counts and sums as count(*) and sum() do');
CREATE TEMP TABLE shown AS EXECUTE fast;
SELECT is_empty($$ SELECT s.partner_id, s.amount FROM shown s JOIN (SELECT w.partner_id, sum(w.amount) AS amount FROM public.won_sample w WHERE w.currency = 'EUR' AND w.state IN ('closed won', 'won') GROUP BY 1) p USING (partner_id)
  WHERE s.amount::text <> p.amount::text $$, 'and shows as many places');
SELECT is((SELECT prm._deals_won(1, w.state, w.amount, w.currency, '{}', 'EUR') FROM public.won_sample w), '{}', 'nothing is won in no state');
SELECT is((SELECT prm._deals_won(1, w.state, w.amount, w.currency, '{won}', 'EUR') FROM public.won_sample w WHERE false), '{}', 'nor of no deals');
SELECT is((SELECT t.amount FROM unnest((SELECT prm._deals_won(w.partner_id, w.state, w.amount, w.currency, NULL, 'EUR') FROM public.won_sample w)) t), NULL, 'nor where it is not known what won means');
SELECT is((SELECT sum(t.won) FROM unnest((SELECT prm._deals_won(w.partner_id, w.state, w.amount, w.currency, CASE WHEN w.partner_id % 2 = 0 THEN '{won}' ELSE '{lost}' END::text[], 'EUR') FROM public.won_sample w)) t),
  (SELECT count(*)::numeric FROM public.won_sample w WHERE w.state = CASE WHEN w.partner_id % 2 = 0 THEN 'won' ELSE 'lost' END), 'the states may differ from row to row');
SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0; SET LOCAL min_parallel_table_scan_size = 0; SET LOCAL max_parallel_workers_per_gather = 3;
ALTER TABLE public.won_sample SET (parallel_workers = 3);
SELECT results_eq('fast', 'plain', 'in several processes it gives the same');
RESET parallel_setup_cost; RESET parallel_tuple_cost; RESET min_parallel_table_scan_size; RESET max_parallel_workers_per_gather;

SELECT * FROM finish();
ROLLBACK;
