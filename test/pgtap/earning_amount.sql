-- Earning, what one event earns: amounts, rounding, brackets, measures, quotas, currencies, holds, versions. Acceptance ids stand in the names.
BEGIN;
\ir earning.psql
SELECT set_config('prm.program_id', prm.create_program('Earning amounts', 'blank', 'USD', 'UTC')::text, true) AS program \gset
SELECT pg_temp.partner('Ann') AS ann, pg_temp.partner('Bob') AS bob \gset

-- One event and one rule per row, told apart by the product; all in one statement. NULL: no row at all.
CREATE TEMP TABLE acceptance (number integer GENERATED ALWAYS AS IDENTITY, name text, schedule text, basis text, measure text, amount numeric, quantity numeric, earns numeric);
INSERT INTO acceptance (name, schedule, basis, amount, quantity, earns) VALUES
  ('COM-001', '20%', 'amount', 10.00, 1, 2.00),
  ('COM-003', '10%', 'amount', 19.00, 1, 1.90),
  ('COM-004 1.4 cents round down', '20%', 'amount', 0.07, 1, 0.01),
  ('COM-005 0.4 cents are no row', '20%', 'amount', 0.02, 1, NULL),
  ('COM-006 0.6 cents are one', '20%', 'amount', 0.03, 1, 0.01),
  ('COM-007', '10%', 'amount', 0.15, 1, 0.02),
  ('COM-008 half a cent goes up', '50%', 'amount', 0.01, 1, 0.01),
  ('COM-009 exact, not binary', '2.9%', 'amount', 5.00, 1, 0.15),
  ('COM-012 a percentage ignores the quantity', '20%', 'amount', 10.00, 5, 2.00),
  ('COM-013 per unit', 'marginal 0: 50 each', 'quantity', 10.00, 1, 50.00),
  ('COM-014 per unit, two of them', 'marginal 0: 5 each', 'quantity', 10.00, 2, 10.00),
  ('RND-003 rounded once, at the line', '100%', 'amount', 82.50 * 0.85 * 10, 10, 701.25),
  ('RND-004', '20%', 'amount', 19.99, 1, 4.00),
  ('BRK-002 first bracket', 'slab 0: 1%, 10000: 2%, 50000: 3%, 100000: 4%', 'amount', 5000, 1, 50),
  ('BRK-002 second bracket', 'slab 0: 1%, 10000: 2%, 50000: 3%, 100000: 4%', 'amount', 15000, 1, 300),
  ('BRK-002 third bracket', 'slab 0: 1%, 10000: 2%, 50000: 3%, 100000: 4%', 'amount', 60000, 1, 1800),
  ('BRK-003', 'marginal 0: 1%, 10000: 2%, 50000: 3%, 100000: 4%', 'amount', 15000, 1, 200),
  ('BRK-004', 'marginal 0: 1%, 10000: 2%, 50000: 3%, 100000: 4%', 'amount', 60000, 1, 1200),
  ('BRK-005 on the bound', 'slab 0: 1%, 25000: 2%, 50000: 3%, 75000: 4%', 'amount', 50000, 1, 1500),
  ('BRK-006 200', 'marginal 0: 1%, 1000: 2%, 3000: 3%, 8000: 5%', 'amount', 200, 1, 2),
  ('BRK-006 300', 'marginal 0: 1%, 1000: 2%, 3000: 3%, 8000: 5%', 'amount', 300, 1, 3),
  ('BRK-006 1500', 'marginal 0: 1%, 1000: 2%, 3000: 3%, 8000: 5%', 'amount', 1500, 1, 20),
  ('BRK-006 1200', 'marginal 0: 1%, 1000: 2%, 3000: 3%, 8000: 5%', 'amount', 1200, 1, 14),
  ('BRK-006 2000', 'marginal 0: 1%, 1000: 2%, 3000: 3%, 8000: 5%', 'amount', 2000, 1, 30),
  ('BRK-006 4500', 'marginal 0: 1%, 1000: 2%, 3000: 3%, 8000: 5%', 'amount', 4500, 1, 95),
  ('BRK-010 200', 'interpolated 0: 0, 1000: 10, 3000: 50, 8000: 150, 20000: 2150', 'amount', 200, 1, 2),
  ('BRK-010 300', 'interpolated 0: 0, 1000: 10, 3000: 50, 8000: 150, 20000: 2150', 'amount', 300, 1, 3),
  ('BRK-010 1500', 'interpolated 0: 0, 1000: 10, 3000: 50, 8000: 150, 20000: 2150', 'amount', 1500, 1, 20),
  ('BRK-010 1200', 'interpolated 0: 0, 1000: 10, 3000: 50, 8000: 150, 20000: 2150', 'amount', 1200, 1, 14),
  ('BRK-010 2000', 'interpolated 0: 0, 1000: 10, 3000: 50, 8000: 150, 20000: 2150', 'amount', 2000, 1, 30),
  ('BRK-010 4500', 'interpolated 0: 0, 1000: 10, 3000: 50, 8000: 150, 20000: 2150', 'amount', 4500, 1, 80),
  ('BRK-014', 'marginal 0: 5%, 50000: 6%, 100000: 7%', 'amount', 102000, 1, 5640),
  ('BRK-015', 'marginal 0: 10%, 10000: 20%', 'amount', 15000, 1, 2000),
  ('BRK-016', 'marginal 0: 5%, 10000: 7%, 25000: 10%', 'amount', 30000, 1, 2050),
  ('BRK-017', 'marginal 0: 5%, 100000: 6%, 125000: 7%', 'amount', 150000, 1, 8250),
  ('BRK-020 units', 'marginal 500: 2 each, 1000: 3 each', 'quantity', 1, 1200, 1600),
  ('BRK-022 reached', 'slab 0: 0, 100000: 1000', 'amount', 110000, 1, 1000),
  ('BRK-022 missed', 'slab 0: 0, 100000: 1000', 'amount', 90000, 1, NULL),
  ('BRK-026', 'slab 0: 10%, 15000: 20%', 'amount', 15100, 1, 3020);
INSERT INTO acceptance (name, schedule, basis, measure, amount, quantity, earns) VALUES
  ('BRK-021 the bracket by units, paid on value', 'slab 0: 0, 500: 5%, 1000: 10%', 'amount', 'quantity', 12000, 1200, 1200),
  ('BRK-021 below', 'slab 0: 0, 500: 5%, 1000: 10%', 'amount', 'quantity', 12000, 999, 600);
SELECT pg_temp.plan('acceptance') AS plan \gset
INSERT INTO prm.product (product, label) SELECT 'p' || number, name FROM acceptance;
INSERT INTO prm.commission_rule (plan_id, label, schedule, basis, measure, product) SELECT :plan, name, schedule, basis, measure, 'p' || number FROM acceptance;
INSERT INTO prm.earning_event (kind, external_ref, partner_id, product, quantity, amount, currency, occurred_at)
  SELECT 'acceptance', 'p' || number, :ann, 'p' || number, quantity, amount, 'USD', prm.now() FROM acceptance;
SELECT is((SELECT l.amount FROM prm.ledger l WHERE l.program_id = :program AND l.earning_event_id = pg_temp.event('p' || a.number)), a.earns, a.name) FROM acceptance a ORDER BY number;
SELECT is((SELECT count(*) FROM prm.ledger WHERE program_id = :program), (SELECT count(earns) FROM acceptance), 'COM-046 no rows but these');
-- Every one of them given back in full, in one statement.
INSERT INTO prm.earning_event (kind, applies_to_id, quantity, amount, currency, occurred_at)
  SELECT 'refunded', pg_temp.event('p' || number), -quantity, -amount, 'USD', prm.now() FROM acceptance;
SELECT is_empty(format('SELECT l.rule_id, sum(l.amount) FROM prm.ledger l WHERE l.program_id = %s GROUP BY l.rule_id HAVING sum(l.amount) <> 0', :program), 'RND-003 a full refund gives back what was earned, to the cent');
SELECT throws_ok(format('INSERT INTO prm.commission_rule (plan_id, schedule) VALUES (%s, %L)', :plan, 'magic 0: 20%'), '22P02', NULL, 'COM-016 a rule of an unknown kind is refused');
SELECT is((SELECT array_agg(format('%s@%s', trim_scale((x ->> 'amount')::numeric), trim_scale((x ->> 'rate')::numeric)) ORDER BY (x ->> 'part')::integer)
  FROM prm.ledger l, jsonb_array_elements(l.explain -> 'parts') x WHERE l.program_id = :program AND l.kind = 'commission'
    AND l.earning_event_id = pg_temp.event('p' || (SELECT number FROM acceptance WHERE name = 'BRK-004'))), ARRAY['10000@0.01', '40000@0.02', '10000@0.03'], 'BRK-004 the parts are stored');
SELECT throws_ok(format($$INSERT INTO prm.commission_rule (plan_id, schedule, measure) VALUES (%s, 'marginal 0: 1%%, 10: 2%%', 'quantity')$$, :plan), '23514', NULL, 'BRK-021 marginal brackets of one measure on another are refused');

-- Compound: two components.
SELECT pg_temp.plan('compound') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, component, schedule) VALUES (:plan, 'base', '5%'), (:plan, 'on top', '0.5%');
SELECT pg_temp.sell('compound', 'Ann', 750);
SELECT is((SELECT sum(amount) FROM prm.ledger WHERE program_id = :program AND earning_event_id = pg_temp.event('compound')), 41.25, 'COM-019 5 percent and 10 percent of that');
SELECT pg_temp.refund('compound', 750);
SELECT is(pg_temp.taken('compound'), 'Ann -37.50, Ann -3.75', 'COM-020 and all of it back');

-- Windows: attained so far.
SELECT pg_temp.plan('quarter') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule, accumulate, window_kind) VALUES (:plan, 'marginal 0: 1%, 1000: 2%, 3000: 3%, 8000: 5%', 'cumulative', 'quarter');
SELECT pg_temp.sell('q' || n, 'Ann', amount, jsonb_build_object('occurred_at', '2026-04-01 10:00+00'::timestamptz + n * interval '10 days'))
  FROM unnest(ARRAY[200, 300, 1500, 1200, 2000, 4500]) WITH ORDINALITY AS t(amount, n);
SELECT is((SELECT array_agg(l.amount ORDER BY l.earned_on) FROM prm.ledger l WHERE l.program_id = :program AND l.plan_id = :plan), ARRAY[2.00, 3.00, 25.00, 26.00, 60.00, 169.00], 'BRK-008 cumulative within the quarter');
SELECT is((SELECT array_agg(trim_scale(l.attained_before) ORDER BY l.earned_on) FROM prm.ledger l WHERE l.program_id = :program AND l.plan_id = :plan), ARRAY[0, 200, 500, 2000, 3200, 5200]::numeric[], 'BRK-008 each row tells what was attained before it');
SELECT pg_temp.sell('next quarter', 'Ann', 500, '{"occurred_at": "2026-07-01 00:00+00"}');
SELECT is(pg_temp.earned('next quarter'), 'Ann 5.00', 'the next quarter begins at nothing');
SELECT pg_temp.sell('other partner', 'Bob', 500, '{"occurred_at": "2026-06-29 00:00+00"}');
SELECT is(pg_temp.earned('other partner'), 'Bob 5.00', 'each partner has its own');
-- The same sales in one statement and in another order of the rows: ordered by when they occurred.
SELECT pg_temp.plan('quarter at once') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule, accumulate, window_kind) VALUES (:plan, 'marginal 0: 1%, 1000: 2%, 3000: 3%, 8000: 5%', 'cumulative', 'quarter');
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at)
  SELECT 'quarter at once', :ann, amount, 'USD', '2026-04-01 10:00+00'::timestamptz + n * interval '10 days' FROM unnest(ARRAY[200, 300, 1500, 1200, 2000, 4500]) WITH ORDINALITY AS t(amount, n) ORDER BY n DESC;
SELECT is((SELECT array_agg(l.amount ORDER BY l.earned_on) FROM prm.ledger l WHERE l.program_id = :program AND l.plan_id = :plan), ARRAY[2.00, 3.00, 25.00, 26.00, 60.00, 169.00], 'BRK-008 in one statement');

SELECT pg_temp.plan('months') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule, accumulate, window_kind) VALUES (:plan, 'marginal 0: 1%, 1000: 2%, 3000: 3%, 8000: 5%', 'cumulative', 'month');
SELECT pg_temp.sell(format('m%s', n), 'Ann', amount, jsonb_build_object('occurred_at', at))
  FROM (VALUES (1, 200, '2026-01-05Z'), (2, 300, '2026-01-31T23:59Z'), (3, 1500, '2026-01-31T23:59:59Z'), (4, 1200, '2026-02-01T00:00Z'), (5, 2000, '2026-02-28Z'), (6, 4500, '2026-03-01Z')) AS t(n, amount, at) ORDER BY n;
SELECT is((SELECT array_agg(s ORDER BY m) FROM (SELECT date_trunc('month', l.earned_on) AS m, sum(l.amount) AS s FROM prm.ledger l WHERE l.program_id = :program AND l.plan_id = :plan GROUP BY 1) t),
  ARRAY[30.00, 56.00, 95.00], 'BRK-009 summed by month');

SELECT pg_temp.plan('accelerator') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule, accumulate, window_kind) VALUES (:plan, 'marginal 0: 4%, 150000: 6%, 250000: 8%', 'cumulative', 'year');
SELECT pg_temp.sell('a1', 'Ann', 145000), pg_temp.sell('a2', 'Ann', 20000);
SELECT is(pg_temp.earned('a2'), 'Ann 1100.00', 'BRK-012 the sale that crosses the bound');
SELECT is((SELECT array_agg(format('%s@%s', trim_scale((x ->> 'amount')::numeric), trim_scale((x ->> 'rate')::numeric)) ORDER BY (x ->> 'part')::integer)
  FROM prm.ledger l, jsonb_array_elements(l.explain -> 'parts') x WHERE l.program_id = :program AND l.earning_event_id = pg_temp.event('a2')), ARRAY['5000@0.04', '15000@0.06'], 'BRK-012 its parts');
SELECT is((SELECT sum(amount) FROM prm.explain_commission(pg_temp.event('a2')) WHERE outcome IN ('part', 'rounding')), 1100.00, 'BRK-012 explained: the parts sum to the row');

SELECT pg_temp.plan('units') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule, basis, accumulate, window_kind) VALUES (:plan, 'marginal 0: 10 each, 2: 20 each, 4: 30 each', 'quantity', 'cumulative', 'lifetime');
SELECT pg_temp.sell('u' || n, 'Ann', 100, jsonb_build_object('quantity', 2, 'occurred_at', prm.now() + n * interval '1 minute')) FROM generate_series(1, 3) n;
SELECT is(pg_temp.earned('u1') || ', ' || pg_temp.earned('u2') || ', ' || pg_temp.earned('u3'), 'Ann 20.00, Ann 40.00, Ann 60.00', 'BRK-023 per unit, in order');
SELECT pg_temp.refund('u1', 100, prm.now() + interval '1 hour', 2) AS returned \gset
SELECT is(pg_temp.taken('u1'), 'Ann -60.00', 'BRK-024 a return unwinds from the top');
SELECT pg_temp.sell('u4', 'Ann', 100, jsonb_build_object('quantity', 2, 'occurred_at', prm.now() + interval '2 hours'));
SELECT is(pg_temp.earned('u4'), 'Ann 60.00', 'and the next sale goes on from there');

-- The other two ways of accumulating.
SELECT pg_temp.plan('true-up') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule, accumulate, window_kind) VALUES (:plan, 'slab 0: 1%, 1000: 2%', 'cumulative', 'month');
SELECT pg_temp.sell('t1', 'Ann', 900), pg_temp.sell('t2', 'Ann', 200);
SELECT is(pg_temp.earned('t1') || ', ' || pg_temp.earned('t2'), 'Ann 9.00, Ann 13.00', 'a cumulative slab is trued up back to the first unit');
SELECT pg_temp.plan('lookup') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule, accumulate, window_kind) VALUES (:plan, 'slab 0: 1%, 1000: 2%', 'lookup', 'month');
SELECT pg_temp.sell('k1', 'Ann', 900), pg_temp.sell('k2', 'Ann', 200);
SELECT is(pg_temp.earned('k1') || ', ' || pg_temp.earned('k2'), 'Ann 9.00, Ann 4.00', 'looked up by the sum so far, paid on this amount only');
-- A version that follows goes on counting.
SELECT pg_temp.plan('goes on') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule, accumulate, window_kind) VALUES (:plan, 'marginal 0: 1%, 1000: 2%', 'cumulative', 'year') RETURNING rule_id AS rule \gset
SELECT pg_temp.sell('g1', 'Ann', 900);
SELECT prm.supersede_rule(:rule, '2026-06-16', '{"schedule": "marginal 0: 1%, 1000: 10%"}') AS next \gset
SELECT pg_temp.sell('g2', 'Ann', 200, '{"occurred_at": "2026-06-16 00:00+00"}');
SELECT is(pg_temp.earned('g2'), 'Ann 11.00', 'a superseding rule goes on counting');

-- Quotas and attainment.
SELECT pg_temp.plan('quota') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule, measure, basis, accumulate, window_kind) VALUES (:plan, 'slab 0: 6%, 1: 8%, 1.5: 10%', 'attainment', 'amount', 'lookup', 'year');
SELECT pg_temp.sell('no quota', 'Bob', 1000);
SELECT is(pg_temp.earned('no quota'), 'nothing', 'without a quota there is no attainment');
SELECT ok(pg_temp.outcomes('no quota') LIKE '%unpaid%', 'and the explanation says so');
INSERT INTO prm.quota (partner_id, measure, window_kind, amount, valid) VALUES (:ann, 'amount', 'year', 100000, '[2026-01-01,2027-01-01)');
SELECT pg_temp.sell('over quota', 'Ann', 110000);
SELECT is(pg_temp.earned('over quota'), 'Ann 8800.00', 'BRK-019 the whole at the bracket of the attainment');
SELECT throws_ok(format($$INSERT INTO prm.commission_rule (plan_id, schedule, measure, accumulate, window_kind) VALUES (%s, 'marginal 0: 6%%, 1: 8%%', 'attainment', 'cumulative', 'year')$$, :plan),
  '23514', NULL, 'BRK-019 marginal on the attainment is refused');
SELECT throws_ok(format($$INSERT INTO prm.commission_rule (plan_id, schedule, measure, accumulate) VALUES (%s, 'slab 0: 6%%, 1: 8%%', 'attainment', 'transaction')$$, :plan), '23514', NULL, 'attainment needs a window');
SELECT throws_ok(format($$INSERT INTO prm.commission_rule (plan_id, schedule, accumulate) VALUES (%s, '6%%', 'cumulative')$$, :plan), '23514', NULL, 'and so does everything that accumulates');
SELECT pg_temp.partner('Late', NULL, NULL, '2026-07-02') AS late \gset
INSERT INTO prm.quota (partner_id, measure, window_kind, amount, valid) VALUES (:late, 'amount', 'year', 73000, '[2026-01-01,2027-01-01)');
SELECT pg_temp.sell('late 1', 'Late', 36599, '{"occurred_at": "2026-08-01 00:00+00"}'), pg_temp.sell('late 2', 'Late', 1, '{"occurred_at": "2026-08-02 00:00+00"}'), pg_temp.sell('late 3', 'Late', 100, '{"occurred_at": "2026-08-03 00:00+00"}');
SELECT is(pg_temp.earned('late 2') || ', ' || pg_temp.earned('late 3'), 'Late 0.08, Late 8.00', 'a quota of 73000 is 36600 for who joined with 183 days of the year left');
SELECT is((SELECT amount FROM prm.ledger WHERE program_id = :program AND earning_event_id = pg_temp.event('late 1')), 2195.94, 'and one short of it is at 6 percent');

-- Currencies: measures at the rate of the business date, results back at the same.
SELECT pg_temp.plan('currency') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule) VALUES (:plan, 'slab 0: 11, 1000: 10%');
SELECT pg_temp.sell('no rate', 'Ann', 100, '{"currency": "EUR"}');
SELECT is(pg_temp.earned('no rate') || ', ' || pg_temp.lost('no rate'), 'nothing, no_exchange_rate ?', 'no rate, no row, and it is recorded');
INSERT INTO prm.exchange_rate (from_currency, to_currency, valid_from, rate) VALUES ('EUR', 'USD', '2026-06-01', 1.25), ('EUR', 'USD', '2026-06-15', 1.10), ('USD', 'GBP', '2026-01-01', 0.8);
SELECT pg_temp.sell('euros', 'Ann', 100, '{"currency": "EUR"}'), pg_temp.sell('more euros', 'Ann', 909.10, '{"currency": "EUR"}'), pg_temp.sell('older euros', 'Ann', 100, '{"currency": "EUR", "occurred_at": "2026-06-14 23:59+00"}'),
  pg_temp.sell('pounds', 'Ann', 800, '{"currency": "GBP"}');
SELECT is((SELECT format('%s %s', amount, currency) FROM prm.ledger WHERE program_id = :program AND earning_event_id = pg_temp.event('euros')), '10.00 EUR', 'a fixed amount of 11 USD is 10 EUR');
SELECT is((SELECT amount FROM prm.ledger WHERE program_id = :program AND earning_event_id = pg_temp.event('more euros')), 90.91, 'bounds are in the plan''s currency: 1000.01 USD at 10 percent');
SELECT is((SELECT amount FROM prm.ledger WHERE program_id = :program AND earning_event_id = pg_temp.event('older euros')), 8.80, 'the rate of the business date');
SELECT is((SELECT format('%s %s', amount, currency) FROM prm.ledger WHERE program_id = :program AND earning_event_id = pg_temp.event('pounds')), '80.00 GBP', 'a rate stored the other way round serves as well');

-- What the partner owes.
SELECT pg_temp.plan('royalty') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, component, entry_kind, schedule) VALUES (:plan, 'royalty', 'royalty', '6%'), (:plan, 'base', 'bonus', '1%');
SELECT pg_temp.sell('franchise', 'Ann', 1000);
SELECT is((SELECT string_agg(format('%s %s', kind, amount), ', ' ORDER BY amount) FROM prm.ledger WHERE program_id = :program AND earning_event_id = pg_temp.event('franchise')), 'royalty -60.00, bonus 10.00', 'a royalty is owed, a bonus is earned');
SELECT pg_temp.refund('franchise', 500);
SELECT is((SELECT array_agg(l.amount ORDER BY l.amount) FROM prm.ledger l JOIN prm.earning_event e USING (program_id, earning_event_id) WHERE program_id = :program AND e.applies_to_id = pg_temp.event('franchise')),
  ARRAY[-5.00, 30.00], 'and a refund gives both back');

-- Holds, versions, daily aggregates.
SELECT pg_temp.plan('held') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule) VALUES (:plan, '10%') RETURNING rule_id AS rule \gset
UPDATE prm.commission_plan SET hold_days = 7 + 30 WHERE plan_id = :plan AND program_id = :program;
SELECT pg_temp.sell('trial', 'Ann', 1000);
SELECT is((SELECT eligible_at - prm.now() FROM prm.ledger WHERE program_id = :program AND earning_event_id = pg_temp.event('trial')), interval '37 days', 'HLD-003 seven days of trial and thirty of refund');
SELECT pg_temp.refund('trial', 1000, prm.now() + interval '5 days');
SELECT is((SELECT format('%s %s %s', sum(amount), count(*), count(DISTINCT (status, eligible_at))) FROM prm.v_ledger WHERE program_id = :program AND plan_id = :plan), '0.00 2 1', 'HLD-004 refunded in full while pending: both rows wait for the same day and sum to nothing');
UPDATE prm.commission_plan SET hold_days = 60 WHERE plan_id = :plan AND program_id = :program;
SELECT pg_temp.sell('sixty', 'Ann', 1000, '{"occurred_at": "2024-03-20 09:00+00"}');
SELECT is((SELECT format('%s %s', eligible_at::date, period) FROM prm.v_statement_preview WHERE program_id = :program AND earning_event_id = pg_temp.event('sixty')), '2024-05-19 2024-05-01', 'HLD-005 due sixty days after, on the statement of that month');
SELECT prm.post_adjustment(:ann, 25, 'USD', 'a good quarter') AS bonus \gset
SELECT is((SELECT format('%s %s %s', sum(amount), bool_and(eligible_at <= prm.now()), bool_and(reason = 'a good quarter')) FROM prm.ledger WHERE program_id = :program AND kind = 'adjustment'), '25.00 t t', 'HLD-002 what is given by hand skips the hold');

-- A daily aggregate is sent again after midnight: its name is that of the window, not of the clock.
SELECT pg_temp.sell('daily/2026-06-14/ann', 'Ann', 100, '{"occurred_at": "2026-06-14 23:59:59+00"}');
SET LOCAL prm.clock = '2026-06-16 00:00:01+00';
SELECT throws_ok($$SELECT pg_temp.sell('daily/2026-06-14/ann', 'Ann', 100, '{"occurred_at": "2026-06-14 23:59:59+00"}')$$, '23505', NULL, 'IDM-002 the same window again is a conflict');
INSERT INTO prm.earning_event (kind, external_ref, partner_id, amount, currency, occurred_at) VALUES ('held', 'daily/2026-06-14/ann', :ann, 100, 'USD', '2026-06-14 23:59:59+00') ON CONFLICT DO NOTHING;
SELECT is(pg_temp.earned('daily/2026-06-14/ann'), 'Ann 10.00', 'IDM-002 one row, on whichever day it runs');

-- As it was known.
SET LOCAL prm.clock = '2026-07-31 23:00+00';
SELECT clock_timestamp() AS july, (SELECT sum(amount) FROM prm.ledger WHERE program_id = :program) AS known \gset
SET LOCAL prm.clock = '2026-08-10 10:00+00';
SELECT prm.post_adjustment(:ann, -3, 'USD', 'version A was wrong', (SELECT entry_id FROM prm.ledger WHERE program_id = :program AND earning_event_id = pg_temp.event('daily/2026-06-14/ann'))) AS corrected \gset
SELECT is((SELECT sum(amount) FROM prm.ledger WHERE program_id = :program AND recorded_at <= :'july'), :known, 'EFF-002 a correction of August does not change what was known in July');
SELECT is((SELECT sum(amount) FROM prm.ledger WHERE program_id = :program), :known - 3, 'EFF-002 and is there in August');

-- Once it is known what the euros were worth, the sale that had no rate is found, and paid as if the rate had been there.
SELECT is((SELECT count(*) FROM prm.recalculate('2026-01-01', '2026-12-31', true)), 1::bigint, 'recalculate() finds the one sale that has a rate by now');
SELECT count(*) FROM prm.recalculate('2026-01-01', '2026-12-31', false);
SELECT is((SELECT format('%s %s', sum(amount), min(currency)) FROM prm.ledger WHERE program_id = :program AND earning_event_id = pg_temp.event('no rate')), '10.00 EUR', 'and pays it');
SELECT pg_temp.sound('all of it');
SELECT * FROM finish();
ROLLBACK;
