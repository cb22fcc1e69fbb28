-- Earning, random months: sales, split sales, refunds, rules that change, caps, windows, chains, recurring commission, currencies. The same months happen in
-- two programmes, in one event by event in their order, in the other with one statement for each month. The draw is always the same.
BEGIN;
\ir earning.psql
SET LOCAL prm.clock = '2026-12-31 12:00+00';
\if :{?seed} \else
\set seed 0.5
\endif
SELECT setseed(:seed);
SELECT prm.create_program('Random, one by one', 'blank', 'USD', 'UTC') AS single, prm.create_program('Random, in bulk', 'blank', 'USD', 'UTC') AS bulk \gset
SELECT set_config('test.single', :'single', true), set_config('test.bulk', :'bulk', true);
CREATE TEMP TABLE world (program bigint); INSERT INTO world VALUES (:single), (:bulk);

-- The same in both, with the same ids.
INSERT INTO prm.ladder (program_id, ladder, label) SELECT program, 'main', 'Main' FROM world ON CONFLICT DO NOTHING;
INSERT INTO prm.tier (program_id, tier, rank, label) SELECT program, tier, rank, tier FROM world, (VALUES ('bronze', 1), ('silver', 2), ('gold', 3)) t(tier, rank);
INSERT INTO prm.earning_kind (program_id, kind, label) SELECT program, kind, kind FROM world, unnest(ARRAY['booked', 'invoiced', 'lead']) kind ON CONFLICT DO NOTHING;
CREATE TEMP TABLE draw_partner AS SELECT 7000 + n AS id, CASE WHEN n > 3 THEN 7000 + 1 + floor(random() * (n - 1))::bigint END AS parent, (ARRAY['bronze', 'silver', 'gold'])[1 + n % 3] AS tier,
  '2026-01-01'::date + CASE WHEN n % 4 = 0 THEN n * 5 ELSE 0 END AS joined FROM generate_series(1, 12) n;
INSERT INTO prm.partner (program_id, partner_id, name, joined_on) SELECT program, id, 'Partner ' || id, joined FROM world, draw_partner;
DELETE FROM prm.partner_history WHERE program_id IN (:single, :bulk);
INSERT INTO prm.partner_history (program_id, partner_id, valid, kind, parent_id, tier)
  SELECT program, id, tstzrange(NULL, '2026-03-11 00:00Z'), 'reseller', parent, tier FROM world, draw_partner
  UNION ALL SELECT program, id, tstzrange('2026-03-11 00:00Z', NULL), 'reseller', CASE WHEN id % 5 <> 0 THEN parent END, CASE WHEN id % 2 = 0 THEN 'gold' ELSE tier END FROM world, draw_partner;
INSERT INTO prm.customer (program_id, customer_id, name, country) SELECT program, 7000 + n, 'Customer ' || n, CASE n % 2 WHEN 0 THEN 'US' ELSE 'DE' END FROM world, generate_series(1, 8) n;
INSERT INTO prm.product (program_id, product, label, commissionable) SELECT program, p, p, p <> 'freight' FROM world, unnest(ARRAY['suite', 'care', 'freight']) p;
INSERT INTO prm.exchange_rate (program_id, from_currency, to_currency, valid_from, rate) SELECT program, 'EUR', 'USD', d, r FROM world, (VALUES ('2026-01-20'::date, 1.1), ('2026-02-15', 1.25), ('2026-04-01', 0.9)) t(d, r);
INSERT INTO prm.quota (program_id, partner_id, measure, window_kind, amount, valid) SELECT program, id, 'amount', 'quarter', 20000 + 1000 * (id % 7), '[2026-01-01,2027-01-01)' FROM world, draw_partner WHERE id % 3 <> 0;

INSERT INTO prm.commission_plan (program_id, plan_id, name, earn_on, currency, pick, clawback_days, override_depth, compress) SELECT program, plan, name, earn_on, 'USD', pick, clawback, depth, compress FROM world, (VALUES
  (7001, 'plain', 'booked', 'most_specific', NULL::integer, 10, false), (7002, 'windows', 'booked', 'most_specific', NULL, 10, false), (7003, 'caps', 'booked', 'most_specific', NULL, 10, false),
  (7004, 'chain', 'invoiced', 'most_specific', 45, 3, false), (7005, 'recurring', 'booked', 'most_specific', NULL, 10, false), (7006, 'everything', 'invoiced', 'all', 60, 4, true),
  (7007, 'best', 'lead', 'highest_paying', NULL, 10, false)) t(plan, name, earn_on, pick, clawback, depth, compress);
-- A version from the beginning for each; most of them are superseded at the first of some month below.
CREATE TEMP TABLE draw_rule (id bigint, plan bigint, component text, schedule text, more jsonb);
INSERT INTO draw_rule (id, plan, component, schedule, more) VALUES
  (7101, 7001, 'base', '10%', '{}'), (7102, 7001, 'base', '12.5%', '{"tier": "gold"}'), (7103, 7001, 'base', '3.3%', '{"product": "care"}'),
  (7111, 7002, 'month', 'marginal 0: 1%, 1000: 2.5%, 3000: 3.33%, 8000: 5%', '{"accumulate": "cumulative", "window_kind": "month"}'),
  (7112, 7002, 'quarter', 'slab 0: 1%, 9000: 2%, 20000: 3%', '{"accumulate": "cumulative", "window_kind": "quarter"}'),
  (7113, 7002, 'units', 'marginal 0: 1 each, 10: 2.5 each', '{"accumulate": "cumulative", "window_kind": "half_month", "basis": "quantity"}'),
  (7114, 7002, 'lookup', 'slab 0: 0.5%, 40: 1.5%, 90: 2.25%', '{"accumulate": "lookup", "window_kind": "quarter", "measure": "quantity", "basis": "amount"}'),
  (7115, 7002, 'quota', 'slab 0: 0.1%, 0.5: 0.7%, 1: 1.1%', '{"accumulate": "cumulative", "window_kind": "quarter", "measure": "attainment", "basis": "amount"}'),
  (7116, 7002, 'margin', 'interpolated 0: 0, 1000: 10, 5000: 100', '{"basis": "margin"}'),
  (7121, 7003, 'month', '5%', '{"cap_amount": 300, "cap_window": "month"}'), (7122, 7003, 'customer', '2%', '{"cap_amount": 150, "cap_scope": "customer", "cap_window": "quarter"}'),
  (7123, 7003, 'programme', '4%', '{"cap_amount": 2000, "cap_scope": "programme", "min_amount": 20}'), (7124, 7003, 'event', '7%', '{"cap_amount": 100.55, "cap_scope": "event"}'),
  (7125, 7003, 'both', 'marginal 0: 1%, 2000: 6%', '{"accumulate": "cumulative", "window_kind": "month", "cap_amount": 200, "cap_window": "month"}'),
  (7131, 7004, 'base', '10%', '{}'), (7132, 7004, 'base', '50%', '{"level": 1, "through_level": 2, "override_mode": "percent_of_below", "min_amount": 1}'),
  (7133, 7004, 'sale', '1.5%', '{"level": 1, "through_level": 3, "override_mode": "percent_of_sale", "cap_amount": 50, "cap_window": "month"}'), (7134, 7004, 'top', '0.75%', '{"level": 0, "through_level": 3, "override_mode": "top_of_chain"}'),
  (7135, 7004, 'diff', '3%', '{"tier": "bronze"}'), (7136, 7004, 'diff', '5%', '{"level": 1, "through_level": 3, "override_mode": "differential", "tier": "silver"}'),
  (7137, 7004, 'diff', '8%', '{"level": 1, "through_level": 3, "override_mode": "differential", "tier": "gold"}'), (7138, 7004, 'pool', '2%', '{"level": 1, "override_mode": "rollup"}'),
  (7141, 7005, 'sub', '9%', '{"recurring_months": 2}'), (7142, 7005, 'once', '4%', '{"recurring_months": 0}'), (7143, 7005, 'force', '6%', '{"recurring_months": 1, "recurring_policy": "in_force"}'),
  (7151, 7006, 'a', '1.11%', '{}'), (7152, 7006, 'a', '2.22%', '{"condition": "$.customer.country == \"US\" && $.event.amount >= 500"}'), (7153, 7006, 'a', '3.33%', '{"level": 1, "tier": "gold"}'),
  (7154, 7006, 'fee', '0.5%', '{"entry_kind": "fee"}'), (7155, 7006, 'team', '2%', '{"credit_type": "assisted"}'),
  (7161, 7007, 'lead', 'slab 0: 5', '{"recurring_months": 0, "basis": "quantity"}'), (7162, 7007, 'lead', 'slab 0: 4', '{"basis": "quantity", "product": "suite"}');
INSERT INTO prm.commission_rule (program_id, rule_id, plan_id, component, schedule, basis, measure, accumulate, window_kind, tier, product, credit_type, condition, level, through_level, override_mode, entry_kind,
    min_amount, cap_amount, cap_scope, cap_window, recurring_months, recurring_policy)
  SELECT w.program, d.id, d.plan, d.component, d.schedule, coalesce(r.basis, 'amount'), r.measure, coalesce(r.accumulate, 'transaction'), r.window_kind, r.tier, r.product, r.credit_type, r.condition,
    coalesce(r.level, 0), r.through_level, r.override_mode, coalesce(r.entry_kind, 'commission'), r.min_amount, r.cap_amount, r.cap_scope, r.cap_window, r.recurring_months, coalesce(r.recurring_policy, 'first_sale')
  FROM draw_rule d, world w, jsonb_populate_record(NULL::prm.commission_rule, d.more) r ORDER BY w.program, d.id;

-- The months: sales of five of them, some split, some refunded later, once or in parts.
CREATE TEMP TABLE draw_event AS
SELECT n AS id, (ARRAY['booked', 'booked', 'booked', 'invoiced', 'invoiced', 'lead'])[1 + floor(random() * 6)::integer] AS kind, NULL::bigint AS applies_to,
  CASE WHEN random() < 0.25 THEN NULL ELSE 7001 + floor(random() * 12)::bigint END AS partner, 7001 + floor(random() * 8)::bigint AS customer, (ARRAY['suite', 'care', 'freight', NULL])[1 + floor(random() * 4)::integer] AS product,
  (1 + floor(random() * 9))::numeric AS quantity, (20 * (1 + floor(random() * 200)))::numeric AS amount, (10 * floor(random() * 300))::numeric AS cost, CASE WHEN random() < 0.15 THEN 'EUR' ELSE 'USD' END AS currency,
  '2026-01-01 00:00Z'::timestamptz + floor(random() * 150 * 24) * interval '1 hour' AS at, random() AS split
FROM generate_series(100001, 100420) n;
-- Some sales are of the same moment.
INSERT INTO draw_event (id, kind, applies_to, quantity, amount, currency, at)
  SELECT 200000 + e.id * 2 % 200000 + p, 'refunded', e.id, -e.quantity * f.share, -e.amount * f.share, e.currency, e.at + f.days * interval '1 day' + interval '30 minutes'
  FROM draw_event e CROSS JOIN LATERAL (SELECT random() AS r, floor(random() * 70) AS days WHERE e.id IS NOT NULL) x
  CROSS JOIN LATERAL (SELECT 0 AS p, CASE WHEN x.r < 0.12 THEN 1 WHEN x.r < 0.2 THEN 0.5 ELSE 0.25 END AS share, x.days UNION ALL SELECT 1, 0.5, x.days + 3 WHERE x.r BETWEEN 0.12 AND 0.16) f
  WHERE x.r < 0.24 AND e.kind <> 'lead';
CREATE TEMP TABLE draw_credit AS
SELECT e.id, c.credit_type, c.partner, c.weight FROM draw_event e CROSS JOIN LATERAL (
  SELECT 'sourced' AS credit_type, 7001 + e.id % 12 AS partner, CASE WHEN e.split < 0.5 THEN 60 ELSE 100 END AS weight
  UNION ALL SELECT 'sourced', 7001 + (e.id + 5) % 12, 40 WHERE e.split < 0.5
  UNION ALL SELECT 'assisted', 7001 + (e.id + 3) % 12, 100 WHERE e.split < 0.3) c WHERE e.partner IS NULL AND e.kind <> 'refunded';
CREATE TEMP TABLE draw_change (month date, rule bigint, changes jsonb);
INSERT INTO draw_change VALUES ('2026-02-01', 7101, '{"schedule": "11%"}'), ('2026-03-01', 7101, '{"schedule": "9.9%"}'), ('2026-03-01', 7111, '{"schedule": "marginal 0: 2%, 2000: 4%"}'), ('2026-04-01', 7112, '{"schedule": "slab 0: 2%, 5000: 2.5%"}'),
  ('2026-03-01', 7121, '{"cap_amount": 400}'), ('2026-02-01', 7122, '{"cap_amount": 180}'), ('2026-04-01', 7123, '{"min_amount": null, "schedule": "3%"}'), ('2026-03-01', 7132, '{"schedule": "40%"}'), ('2026-02-01', 7141, '{"schedule": "8%", "recurring_months": 4}'),
  ('2026-03-01', 7142, '{"recurring_months": 3}'), ('2026-03-01', 7143, '{"recurring_months": 4}'), ('2026-04-01', 7152, '{"condition": null}'), ('2026-02-01', 7137, '{"schedule": "7%"}');

CREATE FUNCTION pg_temp.changes(the_month date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE change record; world record;
BEGIN
  FOR world IN SELECT w.program FROM world w ORDER BY 1 LOOP
    FOR change IN SELECT * FROM draw_change d WHERE d.month = the_month ORDER BY d.rule LOOP
      -- The version in force; ids of the following ones are drawn from the sequence, so what is compared goes by lineage.
      PERFORM prm.supersede_rule((SELECT r.rule_id FROM prm.commission_rule r WHERE r.program_id = world.program AND r.lineage_id = change.rule AND upper_inf(r.valid)), the_month, change.changes, world.program);
    END LOOP;
  END LOOP;
END $$;
CREATE FUNCTION pg_temp.insert_events(the_program bigint, the_ids bigint[]) RETURNS void LANGUAGE sql AS $$
  INSERT INTO prm.earning_event (program_id, earning_event_id, kind, applies_to_id, partner_id, customer_id, product, quantity, amount, cost, currency, occurred_at)
  SELECT the_program, e.id, e.kind, e.applies_to, e.partner, e.customer, e.product, e.quantity, e.amount, e.cost, e.currency, e.at FROM draw_event e WHERE e.id = ANY (the_ids) ORDER BY e.id DESC $$;
CREATE FUNCTION pg_temp.insert_credits(the_program bigint, the_ids bigint[]) RETURNS void LANGUAGE sql AS $$
  INSERT INTO prm.sales_credit (program_id, earning_event_id, credit_type, partner_id, weight) SELECT the_program, c.id, c.credit_type, c.partner, c.weight FROM draw_credit c WHERE c.id = ANY (the_ids) $$;

-- Who is credited is said after the sale of that month; what accumulates is counted in the order of its statements, so those sales come first in both.
CREATE FUNCTION pg_temp.months() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  the_single bigint := current_setting('test.single')::bigint;
  the_bulk bigint := current_setting('test.bulk')::bigint;
  the_month date;
  event record;
BEGIN
  FOR the_month IN SELECT generate_series('2026-01-01'::timestamp, '2026-08-01', '1 month')::date LOOP
    PERFORM pg_temp.changes(the_month);
    FOR event IN SELECT e.id FROM draw_event e WHERE e.at >= the_month AND e.at < the_month + interval '1 month' AND e.id IN (SELECT c.id FROM draw_credit c) ORDER BY e.at, e.id LOOP
      PERFORM pg_temp.insert_events(the_single, ARRAY[event.id]);
      PERFORM pg_temp.insert_credits(the_single, ARRAY[event.id]);
    END LOOP;
    FOR event IN SELECT e.id FROM draw_event e WHERE e.at >= the_month AND e.at < the_month + interval '1 month' AND e.id NOT IN (SELECT c.id FROM draw_credit c) ORDER BY e.at, e.id LOOP
      PERFORM pg_temp.insert_events(the_single, ARRAY[event.id]);
    END LOOP;
    PERFORM pg_temp.insert_events(the_bulk, ARRAY(SELECT e.id FROM draw_event e WHERE e.at >= the_month AND e.at < the_month + interval '1 month' AND e.id IN (SELECT c.id FROM draw_credit c)));
    PERFORM pg_temp.insert_credits(the_bulk, ARRAY(SELECT e.id FROM draw_event e WHERE e.at >= the_month AND e.at < the_month + interval '1 month' AND e.id IN (SELECT c.id FROM draw_credit c)));
    PERFORM pg_temp.insert_events(the_bulk, ARRAY(SELECT e.id FROM draw_event e WHERE e.at >= the_month AND e.at < the_month + interval '1 month' AND e.id NOT IN (SELECT c.id FROM draw_credit c)));
  END LOOP;
END $$;
SELECT pg_temp.months();
ANALYZE prm.earning_event, prm.ledger, prm.accumulator, prm.accumulator_entry, prm.sales_credit;

-- The draw was worth it.
CREATE FUNCTION pg_temp.many(the_what text, the_number bigint, the_least bigint) RETURNS text LANGUAGE sql AS $$ SELECT cmp_ok(the_number, '>=', the_least, format('the draw has %s: %s', the_what, the_number)) $$;
SELECT pg_temp.many('entries', (SELECT count(*) FROM prm.ledger WHERE program_id = :single), 1500);
SELECT pg_temp.many('reversals', (SELECT count(*) FROM prm.ledger WHERE program_id = :single AND kind = 'reversal'), 200);
SELECT pg_temp.many('overrides', (SELECT count(*) FROM prm.ledger WHERE program_id = :single AND level > 0), 150);
SELECT pg_temp.many('breakage of kind ' || word, (SELECT count(*) FROM prm.breakage b WHERE b.program_id = :single AND b.reason_code = word), 3) FROM unnest(ARRAY['capped', 'below_minimum', 'no_exchange_rate', 'recurring_over']) word;
SELECT pg_temp.many('entries of lineage ' || id, (SELECT count(*) FROM prm.ledger WHERE program_id = :single AND lineage_id = id), 1) FROM draw_rule ORDER BY id;

-- One by one or in bulk: the same.
CREATE FUNCTION pg_temp.same(the_what text, the_columns text, the_table text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE the_query text := format('SELECT %s FROM prm.%I t WHERE t.program_id = %%s', the_columns, the_table);
BEGIN
  RETURN NEXT is_empty(format(the_query || ' EXCEPT ALL ' || the_query, current_setting('test.single'), current_setting('test.bulk')), 'one by one: ' || the_what || ' that are not there in bulk');
  RETURN NEXT is_empty(format(the_query || ' EXCEPT ALL ' || the_query, current_setting('test.bulk'), current_setting('test.single')), 'in bulk: ' || the_what || ' that are not there one by one');
END $$;
SELECT pg_temp.same('entries', 'partner_id, kind, component, amount, currency, earning_event_id, credit_type, plan_id, lineage_id, level, earned_on, eligible_at, idempotency_key, trim_scale(attained_before)', 'ledger');
SELECT pg_temp.same('losses', 'earning_event_id, credit_type, partner_id, lineage_id, component, level, reason_code, trim_scale(amount), currency', 'breakage');
SELECT pg_temp.same('accumulators', 'purpose, lineage_id, plan_id, partner_id, customer_id, credit_type, window_start, trim_scale(amount), trim_scale(basis_amount), entries', 'accumulator');
SELECT pg_temp.same('first sales', 'plan_id, component, partner_id, customer_id, lineage_id, started_on, earning_event_id', 'recurring_start');

-- By plain SQL, from the draw alone: what the plain plan pays.
CREATE TEMP VIEW share AS
SELECT e.id, e.kind, e.at, e.product, e.currency, coalesce(c.partner, e.partner) AS partner, coalesce(c.credit_type, 'sourced') AS credit_type, e.amount * coalesce(c.weight, 100) / 100 AS amount,
  coalesce((SELECT -sum(r.amount) FROM draw_event r WHERE r.applies_to = e.id), 0) / e.amount AS refunded
FROM draw_event e LEFT JOIN draw_credit c ON c.id = e.id WHERE e.kind <> 'refunded' AND e.product IS DISTINCT FROM 'freight';
CREATE TEMP VIEW plain AS
SELECT s.id, s.partner, s.credit_type, round(s.amount * CASE WHEN s.product = 'care' THEN 0.033 WHEN (SELECT h.tier FROM prm.partner_history h WHERE h.program_id = current_setting('test.single')::bigint AND h.partner_id = s.partner
      AND coalesce(lower(h.valid), '-infinity') < s.at AND coalesce(upper(h.valid), 'infinity') >= s.at) = 'gold' THEN 0.125
    WHEN s.at >= '2026-03-01Z' THEN 0.099 WHEN s.at >= '2026-02-01Z' THEN 0.11 ELSE 0.10 END, 2) AS earned, s.refunded
FROM share s WHERE s.kind = 'booked' AND (s.currency = 'USD' OR s.at >= '2026-01-20Z');
SELECT is((SELECT sum(amount) FROM prm.ledger WHERE program_id = :single AND plan_id = 7001 AND kind = 'commission'), (SELECT sum(earned) FROM plain), 'the plain plan earns what plain SQL gives');
SELECT is_empty(format($$SELECT id, partner, credit_type, earned - round(earned * refunded, 2) FROM plain EXCEPT SELECT coalesce(e.applies_to_id, e.earning_event_id), l.partner_id, l.credit_type, sum(l.amount)
  FROM prm.ledger l JOIN prm.earning_event e USING (program_id, earning_event_id) WHERE program_id = %s AND l.plan_id = 7001 GROUP BY 1, 2, 3$$, :single), 'and so does each sale, less what was refunded');
-- What accumulates: at the end each window holds F of what was kept, to the cent. The cumulative rules telescope, refunds of later months included.
CREATE TEMP VIEW kept AS SELECT s.partner, s.credit_type, date_trunc('month', s.at AT TIME ZONE 'UTC')::date AS month, date_trunc('quarter', s.at AT TIME ZONE 'UTC')::date AS quarter,
  s.amount * (1 - s.refunded) * CASE s.currency WHEN 'USD' THEN 1 ELSE CASE WHEN s.at < '2026-02-15Z' THEN 1.1 WHEN s.at < '2026-04-01Z' THEN 1.25 ELSE 0.9 END END AS amount, s.currency
FROM share s WHERE s.kind = 'booked' AND (s.currency = 'USD' OR s.at >= '2026-01-20Z');
SELECT is_empty(format($$SELECT k.partner, k.credit_type, k.month, prm.round_money(prm.commission((CASE WHEN k.month >= '2026-03-01' THEN 'marginal 0: 2%%, 2000: 4%%' ELSE 'marginal 0: 1%%, 1000: 2.5%%, 3000: 3.33%%, 8000: 5%%' END)::prm.commission_schedule, sum(k.amount)), 'USD') AS due,
    (SELECT sum(l.amount) FROM prm.ledger l JOIN prm.earning_event e USING (program_id, earning_event_id) LEFT JOIN prm.earning_event o ON o.program_id = l.program_id AND o.earning_event_id = e.applies_to_id
     WHERE l.program_id = %s AND l.lineage_id = 7111 AND l.partner_id = k.partner AND l.credit_type = k.credit_type AND date_trunc('month', coalesce(o.occurred_at, e.occurred_at) AT TIME ZONE 'UTC')::date = k.month) AS paid
  FROM kept k GROUP BY k.partner, k.credit_type, k.month HAVING bool_and(k.currency = 'USD') AND sum(k.amount) > 0
    AND prm.round_money(prm.commission((CASE WHEN k.month >= '2026-03-01' THEN 'marginal 0: 2%%, 2000: 4%%' ELSE 'marginal 0: 1%%, 1000: 2.5%%, 3000: 3.33%%, 8000: 5%%' END)::prm.commission_schedule, sum(k.amount)), 'USD')
      IS DISTINCT FROM coalesce((SELECT sum(l.amount) FROM prm.ledger l JOIN prm.earning_event e USING (program_id, earning_event_id) LEFT JOIN prm.earning_event o ON o.program_id = l.program_id AND o.earning_event_id = e.applies_to_id
     WHERE l.program_id = %s AND l.lineage_id = 7111 AND l.partner_id = k.partner AND l.credit_type = k.credit_type AND date_trunc('month', coalesce(o.occurred_at, e.occurred_at) AT TIME ZONE 'UTC')::date = k.month), 0)$$, :single, :single),
  'cumulative by month: the sum is F of what was kept');
SELECT is_empty(format($$SELECT a.partner_id, a.credit_type, a.window_start, a.amount, k.amount FROM prm.accumulator a FULL JOIN (SELECT partner, credit_type, month, sum(amount) AS amount FROM kept GROUP BY 1, 2, 3) k
  ON k.partner = a.partner_id AND k.credit_type = a.credit_type AND k.month = a.window_start WHERE a.program_id = %s AND a.lineage_id = 7111 AND a.purpose = 'attained' AND a.amount <> k.amount$$, :single), 'and what is attained is what was kept');
-- Caps: never more than the cap in a window, and what a row did not get is recorded.
SELECT is_empty(format($$SELECT partner_id, lineage_id, window_start, amount FROM prm.accumulator WHERE program_id = %s AND purpose = 'cap' AND amount > CASE lineage_id WHEN 7121 THEN 400 WHEN 7122 THEN 180 WHEN 7123 THEN 2000 WHEN 7125 THEN 200 WHEN 7133 THEN 50 ELSE 100.55 END$$, :single),
  'no cap is exceeded');
SELECT is_empty(format($$SELECT l.entry_id, l.amount FROM prm.ledger l WHERE l.program_id = %s AND l.lineage_id IN (7121, 7122, 7123, 7125, 7133) AND l.currency = 'USD' AND l.amount IS DISTINCT FROM
  (SELECT sum(a.amount) FROM prm.accumulator_entry a WHERE a.program_id = l.program_id AND a.earning_event_id = l.earning_event_id AND a.purpose = 'cap' AND a.entry_id = l.entry_id)$$, :single), 'what each entry used of its cap is what it paid');
SELECT is((SELECT count(*) FROM prm.ledger WHERE program_id = :single AND lineage_id = 7124 AND currency = 'USD' AND amount > 100.55), 0::bigint, 'nor that of an event');
-- Together what is refunded and what was earned never change sign.
SELECT is_empty(format($$SELECT c.entry_id, c.amount, sum(r.amount) FROM prm.ledger c JOIN prm.ledger r ON r.program_id = c.program_id AND r.cause_entry_id = c.entry_id AND r.kind IN ('reversal', 'clawback')
  WHERE c.program_id = %s AND c.lineage_id NOT IN (SELECT id FROM draw_rule WHERE more ? 'accumulate') GROUP BY 1, 2 HAVING abs(c.amount + sum(r.amount)) > abs(c.amount) OR sign(c.amount + sum(r.amount)) = -sign(c.amount)$$, :single), 'no refund takes back more than was earned');

SELECT set_config('prm.program_id', :'single', true) \g /dev/null
SELECT pg_temp.sound('one by one');
SELECT set_config('prm.program_id', :'bulk', true) \g /dev/null
SELECT pg_temp.sound('in bulk');

-- Afterwards in one of them: credits that come late, what is left of sales is cancelled, entries by hand, and more sales.
SELECT set_config('prm.program_id', :'single', true) \g /dev/null
SELECT set_config('prm.clock', '2027-01-10 12:00+00', true) \g /dev/null
CREATE TEMP TABLE late AS SELECT c.id, 7001 + (c.id + 7) % 12 AS partner, row_number() OVER (ORDER BY md5(c.id::text)) AS n FROM draw_credit c WHERE c.credit_type = 'sourced' AND c.weight = 60 OR c.weight = 100 AND c.credit_type = 'sourced' ORDER BY n LIMIT 24;
DO $$ DECLARE late late; BEGIN
  FOR late IN SELECT * FROM late ORDER BY n LOOP
    IF late.n % 3 = 0 THEN
      INSERT INTO prm.sales_credit (earning_event_id, credit_type, partner_id, weight, revision) VALUES (late.id, 'sourced', late.partner, 100, 2);
    ELSE
      INSERT INTO prm.sales_credit (earning_event_id, credit_type, partner_id, weight, revision) VALUES (late.id, 'sourced', late.partner, 50, 2), (late.id, 'sourced', 7001 + (late.partner - 7000) % 12, 50, 2);
    END IF;
    IF late.n % 6 = 1 THEN
      INSERT INTO prm.sales_credit (earning_event_id, credit_type, partner_id, weight, revision) VALUES (late.id, 'sourced', late.partner, 25, 3), (late.id, 'sourced', 7001 + (late.partner - 7000 + 3) % 12, 75, 3);
    END IF;
  END LOOP;
END $$;
SELECT pg_temp.sound('after late credits');
SELECT count(prm.cancel_event(e.earning_event_id, 'returned')) AS cancelled FROM prm.earning_event e LEFT JOIN prm.refund_total t ON t.program_id = e.program_id AND t.earning_event_id = e.earning_event_id
  WHERE e.program_id = :single AND e.kind IN ('booked', 'invoiced') AND e.earning_event_id % 9 = 0 AND coalesce(t.refunded, 0) < e.amount \gset
SELECT cmp_ok(:cancelled, '>=', 20, 'sales are cancelled');
SELECT count(prm.post_adjustment(7001 + n, 1.23 - n, 'USD', 'by hand')) FROM generate_series(0, 5) n;
INSERT INTO prm.earning_event (kind, partner_id, customer_id, amount, quantity, cost, currency, occurred_at) SELECT 'booked', 7001 + n % 12, 7001 + n % 8, 100 + n, 1, 10, 'USD', '2026-03-01Z'::timestamptz + n * interval '36 hours' FROM generate_series(1, 40) n;
SELECT pg_temp.sound('afterwards');
CREATE TEMP VIEW worth AS
SELECT s.earning_event_id AS id, s.partner, s.credit_type, round(s.amount * s.weight / 100 * CASE WHEN s.product = 'care' THEN 0.033 WHEN (SELECT h.tier FROM prm.partner_history h WHERE h.program_id = s.program_id AND h.partner_id = s.partner
      AND coalesce(lower(h.valid), '-infinity') < s.occurred_at AND coalesce(upper(h.valid), 'infinity') >= s.occurred_at) = 'gold' THEN 0.125
    WHEN s.occurred_at >= '2026-03-01Z' THEN 0.099 WHEN s.occurred_at >= '2026-02-01Z' THEN 0.11 ELSE 0.10 END, 2) AS earned,
  coalesce((SELECT t.refunded FROM prm.refund_total t WHERE t.program_id = s.program_id AND t.earning_event_id = s.earning_event_id), 0) / s.amount AS refunded
FROM (SELECT e.*, coalesce(c.partner_id, e.partner_id) AS partner, coalesce(c.credit_type, 'sourced') AS credit_type, coalesce(c.weight, 100) AS weight FROM prm.earning_event e
  LEFT JOIN prm.sales_credit c ON c.program_id = e.program_id AND c.earning_event_id = e.earning_event_id
    AND c.revision = (SELECT max(m.revision) FROM prm.sales_credit m WHERE m.program_id = c.program_id AND m.earning_event_id = c.earning_event_id AND m.credit_type = c.credit_type)
  WHERE e.program_id = current_setting('test.single')::bigint AND e.kind = 'booked' AND e.product IS DISTINCT FROM 'freight' AND (e.currency = 'USD' OR e.occurred_at >= '2026-01-20Z')) s;
SELECT is_empty(format($$SELECT id, partner, credit_type, earned, refunded, l.amount FROM worth FULL JOIN (SELECT coalesce(e.applies_to_id, e.earning_event_id) AS id, i.partner_id AS partner, i.credit_type, sum(i.amount) AS amount
  FROM prm.ledger i JOIN prm.earning_event e USING (program_id, earning_event_id) WHERE program_id = %s AND i.plan_id = 7001 GROUP BY 1, 2, 3) l USING (id, partner, credit_type)
  WHERE coalesce(earned - round(earned * refunded, 2), 0) <> coalesce(l.amount, 0)$$, :single), 'afterwards each sale of the plain plan is worth what plain SQL gives, to each who is credited now');
SELECT * FROM finish();
ROLLBACK;
