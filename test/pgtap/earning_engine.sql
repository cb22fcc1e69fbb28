-- The earning engine through ledger rows: accumulation, windows, caps, minima, recurring months, overrides, currencies, quotas and
-- refunds, with the published figures. Acceptance ids stand in the names.
BEGIN;
SET LOCAL datestyle = 'ISO, YMD';
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SET LOCAL prm.clock = '2026-06-15 12:00+00';
SELECT set_config('prm.program_id', prm.create_program('Earning engine test', 'blank', 'USD', 'UTC')::text, true) AS program \gset
INSERT INTO prm.ladder (ladder, label) VALUES ('main', 'Main') ON CONFLICT DO NOTHING;
INSERT INTO prm.tier (tier, rank, label) VALUES ('bronze', 1, 'Bronze'), ('silver', 2, 'Silver'), ('gold', 3, 'Gold'), ('diamond', 4, 'Diamond'), ('platinum', 5, 'Platinum');

CREATE FUNCTION pg_temp.partner(the_name text, the_parent bigint DEFAULT NULL, the_tier text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE id bigint;
BEGIN
  INSERT INTO prm.partner (name, kind, parent_id) VALUES (the_name, 'reseller', the_parent) RETURNING partner_id INTO id;
  DELETE FROM prm.partner_history WHERE partner_id = id AND program_id = prm.current_program();
  INSERT INTO prm.partner_history (partner_id, valid, kind, parent_id, tier) VALUES (id, tstzrange(NULL, NULL), 'reseller', the_parent, the_tier);
  RETURN id;
END $$;
-- A plan that is the only one in force from now on.
CREATE FUNCTION pg_temp.plan(the_name text, the_more jsonb DEFAULT '{}') RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE id bigint;
BEGIN
  UPDATE prm.commission_plan SET is_active = false WHERE program_id = prm.current_program() AND is_active;
  INSERT INTO prm.commission_plan (name, pick, currency, hold_days, clawback_days)
    VALUES (the_name, coalesce(the_more ->> 'pick', 'most_specific'), coalesce(the_more ->> 'currency', 'USD'),
            coalesce((the_more ->> 'hold_days')::int, 0), (the_more ->> 'clawback_days')::int) RETURNING plan_id INTO id;
  RETURN id;
END $$;
CREATE FUNCTION pg_temp.sale(the_ref text, the_partner bigint, the_amount numeric, the_at timestamptz DEFAULT '2026-06-15 12:00+00', the_more jsonb DEFAULT '{}') RETURNS bigint
LANGUAGE sql AS $$
  INSERT INTO prm.earning_event (kind, external_ref, partner_id, amount, quantity, list_amount, cost, currency, customer_id, occurred_at)
  VALUES ('booked', the_ref, the_partner, the_amount, (the_more ->> 'quantity')::numeric, (the_more ->> 'list_amount')::numeric,
          (the_more ->> 'cost')::numeric, coalesce(the_more ->> 'currency', 'USD'), (the_more ->> 'customer_id')::bigint, the_at)
  RETURNING earning_event_id $$;
CREATE FUNCTION pg_temp.event(the_ref text) RETURNS bigint
LANGUAGE sql AS $$ SELECT earning_event_id FROM prm.earning_event WHERE external_ref = the_ref AND program_id = prm.current_program() $$;
CREATE FUNCTION pg_temp.refund(the_ref text, the_sale text, the_amount numeric, the_at timestamptz DEFAULT '2026-06-20 12:00+00') RETURNS bigint
LANGUAGE sql AS $$
  INSERT INTO prm.earning_event (kind, external_ref, applies_to_id, amount, currency, occurred_at)
  SELECT 'refunded', the_ref, e.earning_event_id, -the_amount, e.currency, the_at FROM prm.earning_event e
  WHERE e.external_ref = the_sale AND e.program_id = prm.current_program()
  RETURNING earning_event_id $$;
-- What one event earned, by level and payee; the sum of many, told by the beginning of their names.
CREATE FUNCTION pg_temp.paid(the_ref text) RETURNS text
LANGUAGE sql AS $$
  SELECT coalesce(string_agg(l.amount::text, ' ' ORDER BY l.level, l.entry_id), 'nothing') FROM prm.ledger l
  WHERE l.program_id = prm.current_program() AND l.earning_event_id = pg_temp.event(the_ref) $$;
CREATE FUNCTION pg_temp.paid_each(the_refs text[]) RETURNS text
LANGUAGE sql AS $$ SELECT string_agg(pg_temp.paid(r), ', ' ORDER BY n) FROM unnest(the_refs) WITH ORDINALITY AS u(r, n) $$;
CREATE FUNCTION pg_temp.paid_to(the_ref text) RETURNS text
LANGUAGE sql AS $$
  SELECT coalesce(string_agg(p.name || ' ' || l.amount, ', ' ORDER BY l.level, l.entry_id), 'nothing')
  FROM prm.ledger l JOIN prm.partner p ON p.program_id = l.program_id AND p.partner_id = l.partner_id
  WHERE l.program_id = prm.current_program() AND l.earning_event_id = pg_temp.event(the_ref) $$;
CREATE FUNCTION pg_temp.unpaid(the_ref text) RETURNS text
LANGUAGE sql AS $$
  SELECT coalesce(string_agg(format('%s %s', b.reason_code, coalesce(b.amount::text, '?')), ', ' ORDER BY b.breakage_id), 'nothing') FROM prm.breakage b
  WHERE b.program_id = prm.current_program() AND b.earning_event_id = pg_temp.event(the_ref) $$;
CREATE FUNCTION pg_temp.told(the_ref text) RETURNS text
LANGUAGE sql AS $$
  SELECT string_agg(concat_ws(' ', o.outcome, o.reason_code, trim_scale(o.amount), trim_scale(o.unpaid_amount)), ', ' ORDER BY o.ordinal)
  FROM prm._earning_outcome(prm.current_program(), ARRAY[pg_temp.event(the_ref)], 'explain') o WHERE o.outcome <> 'no_match' $$;
-- What all counts come to must be what their steps come to.
CREATE FUNCTION pg_temp.uneven_counts() RETURNS bigint
LANGUAGE sql AS $$
  SELECT count(*) FROM prm.accumulator a
  FULL JOIN (SELECT e.purpose, e.lineage_id, e.plan_id, e.partner_id, e.customer_id, e.credit_type, e.window_start, sum(e.amount) AS amount,
      sum(e.basis_amount) AS basis_amount, count(*) AS entries, max(e.sequence_no) AS last_no
    FROM prm.accumulator_entry e WHERE e.program_id = prm.current_program() GROUP BY 1, 2, 3, 4, 5, 6, 7) e
    USING (purpose, lineage_id, plan_id, partner_id, customer_id, credit_type, window_start)
  WHERE a.program_id = prm.current_program()
    AND (a.amount, a.basis_amount, a.entries, a.entries) IS DISTINCT FROM (coalesce(e.amount, 0), coalesce(e.basis_amount, 0), coalesce(e.entries, 0), coalesce(e.last_no, 0)) $$;

SELECT pg_temp.partner('Ann') AS ann, pg_temp.partner('Bob') AS bob \gset

-- ---- each transaction, cumulative, by month --------------------------------------------------------------------------------
SELECT pg_temp.plan('steps') AS steps \gset
INSERT INTO prm.commission_rule (plan_id, schedule) VALUES (:steps, 'marginal 0: 1%, 1000: 2%, 3000: 3%, 8000: 5%');
SELECT pg_temp.sale('BRK-006 ' || n, :ann, a) FROM unnest(ARRAY[200, 300, 1500, 1200, 2000, 4500]) WITH ORDINALITY AS s(a, n);
SELECT is(pg_temp.paid_each(ARRAY['BRK-006 1', 'BRK-006 2', 'BRK-006 3', 'BRK-006 4', 'BRK-006 5', 'BRK-006 6']),
  '2.00, 3.00, 20.00, 14.00, 30.00, 95.00', 'BRK-006 each transaction on its own');
SELECT is((SELECT count(*) FROM prm.accumulator WHERE program_id = :program), 0::bigint, 'rules that count nothing leave no counts');

SELECT pg_temp.plan('cumulative') AS cumulative \gset
INSERT INTO prm.commission_rule (plan_id, schedule, accumulate, window_kind) VALUES (:cumulative, 'marginal 0: 1%, 1000: 2%, 3000: 3%, 8000: 5%', 'cumulative', 'quarter');
SELECT pg_temp.sale('BRK-008 ' || n, :ann, a) FROM unnest(ARRAY[200, 300, 1500, 1200, 2000, 4500]) WITH ORDINALITY AS s(a, n);
SELECT is(pg_temp.paid_each(ARRAY['BRK-008 1', 'BRK-008 2', 'BRK-008 3', 'BRK-008 4', 'BRK-008 5', 'BRK-008 6']),
  '2.00, 3.00, 25.00, 26.00, 60.00, 169.00', 'BRK-008 cumulative within the quarter, one statement each');
SELECT pg_temp.sale('BRK-008 next', :ann, 200, '2026-07-01 00:00+00'), pg_temp.sale('BRK-008 Bob', :bob, 200);
SELECT is(pg_temp.paid_each(ARRAY['BRK-008 next', 'BRK-008 Bob']), '2.00, 2.00', 'the next quarter and another partner begin at nothing');
SELECT pg_temp.partner('Cid') AS cid \gset
INSERT INTO prm.earning_event (kind, external_ref, partner_id, amount, currency, occurred_at)
  SELECT 'booked', 'BRK-008b ' || n, :cid, a, 'USD', timestamptz '2026-06-15' + n * interval '1 hour' FROM unnest(ARRAY[200, 300, 1500, 1200, 2000, 4500]) WITH ORDINALITY AS s(a, n) ORDER BY n DESC;
SELECT is(pg_temp.paid_each(ARRAY['BRK-008b 1', 'BRK-008b 2', 'BRK-008b 3', 'BRK-008b 4', 'BRK-008b 5', 'BRK-008b 6']),
  '2.00, 3.00, 25.00, 26.00, 60.00, 169.00', 'BRK-008 all in one statement: the order is that of the events');
SELECT is((SELECT array_agg(attained_before ORDER BY entry_id) FROM prm.ledger WHERE partner_id = :cid AND program_id = :program), ARRAY[0, 200, 500, 2000, 3200, 5200]::numeric[], 'each row says what was attained before it');
SELECT pg_temp.plan('by month') AS bymonth \gset
INSERT INTO prm.commission_rule (plan_id, schedule, accumulate, window_kind) VALUES (:bymonth, 'marginal 0: 1%, 1000: 2%, 3000: 3%, 8000: 5%', 'cumulative', 'month');
SELECT pg_temp.sale('BRK-009 1a', :ann, 500, '2026-01-31 23:59+00'), pg_temp.sale('BRK-009 1b', :ann, 1500, '2026-01-02'), pg_temp.sale('BRK-009 2', :ann, 3200, '2026-02-01'), pg_temp.sale('BRK-009 3', :ann, 4500, '2026-03-31');
SELECT is((SELECT array_agg(m ORDER BY earned) FROM (SELECT date_trunc('month', earned_on) AS earned, sum(amount) AS m FROM prm.ledger WHERE plan_id = :bymonth AND program_id = :program GROUP BY 1) x),
  ARRAY[30.00, 56.00, 95.00], 'BRK-009 summed by month');

-- ---- slab true-up, lookup, measure apart from basis, attainment ---------------------------------------------------------------
SELECT pg_temp.plan('true-up') AS trueup \gset
INSERT INTO prm.commission_rule (plan_id, schedule, accumulate, window_kind) VALUES (:trueup, 'slab 0: 5%, 1000: 10%', 'cumulative', 'year');
SELECT pg_temp.sale('true-up 1', :ann, 600), pg_temp.sale('true-up 2', :ann, 600);
SELECT is(pg_temp.paid_each(ARRAY['true-up 1', 'true-up 2']), '30.00, 90.00', 'a cumulative slab trues up to the first unit');
SELECT pg_temp.plan('lookup') AS lookup \gset
INSERT INTO prm.commission_rule (plan_id, schedule, accumulate, window_kind) VALUES (:lookup, 'slab 0: 5%, 1000: 10%', 'lookup', 'year');
SELECT pg_temp.sale('lookup 1', :ann, 600), pg_temp.sale('lookup 2', :ann, 600);
SELECT is(pg_temp.paid_each(ARRAY['lookup 1', 'lookup 2']), '30.00, 60.00', 'a lookup pays the bracket that the sum reaches on this amount only');
SELECT pg_temp.plan('lookup of a bonus') AS lookupfixed \gset
INSERT INTO prm.commission_rule (plan_id, schedule, accumulate, window_kind) VALUES (:lookupfixed, 'slab 0: 0, 1000: 50, 2000: 80', 'lookup', 'year');
SELECT pg_temp.sale('bonus ' || n, :ann, 700) FROM generate_series(1, 3) n;
SELECT is(pg_temp.paid_each(ARRAY['bonus 1', 'bonus 2', 'bonus 3']), 'nothing, 50.00, 80.00', 'a lookup of fixed amounts');
SELECT pg_temp.plan('unit tiers') AS units \gset
INSERT INTO prm.commission_rule (plan_id, schedule, measure) VALUES (:units, 'slab 0: 0%, 500: 5%, 1000: 10%', 'quantity');
SELECT pg_temp.sale('BRK-021', :ann, 12000, the_more => '{"quantity": 1200}'), pg_temp.sale('BRK-021 fewer', :ann, 8000, the_more => '{"quantity": 800}'), pg_temp.sale('BRK-021 unknown', :ann, 8000);
SELECT is(pg_temp.paid_each(ARRAY['BRK-021', 'BRK-021 fewer', 'BRK-021 unknown']), '1200.00, 400.00, nothing', 'BRK-021 units choose the rate, value is paid on');
SELECT is(pg_temp.told('BRK-021 unknown'), 'unpaid missing_basis', 'without a quantity there is no rate');
SELECT pg_temp.plan('unit tiers over a year') AS unityear \gset
INSERT INTO prm.commission_rule (plan_id, schedule, measure, accumulate, window_kind) VALUES (:unityear, 'slab 0: 0%, 500: 5%, 1000: 10%', 'quantity', 'cumulative', 'year');
SELECT pg_temp.sale('units a', :ann, 7000, the_more => '{"quantity": 700}'), pg_temp.sale('units b', :ann, 5000, the_more => '{"quantity": 500}');
SELECT is(pg_temp.paid_each(ARRAY['units a', 'units b']), '350.00, 850.00', 'cumulative: the rate found by all units applies to all value');
SELECT pg_temp.plan('attainment') AS attainment \gset
INSERT INTO prm.commission_rule (plan_id, schedule, measure, accumulate, window_kind) VALUES (:attainment, 'slab 0: 6%, 1: 8%, 1.5: 10%', 'attainment', 'cumulative', 'quarter');
INSERT INTO prm.quota (partner_id, measure, window_kind, amount, valid) VALUES (:ann, 'amount', 'quarter', 100000, '[2026-01-01,2027-01-01)');
SELECT pg_temp.sale('BRK-019 a', :ann, 90000), pg_temp.sale('BRK-019 b', :ann, 20000), pg_temp.sale('BRK-019 Cid', :cid, 20000);
SELECT is((SELECT sum(amount) FROM prm.ledger WHERE plan_id = :attainment AND program_id = :program), 8800.00, 'BRK-019 attainment of 110 %: 8 % of all of it');
SELECT is(pg_temp.paid_each(ARRAY['BRK-019 a', 'BRK-019 b', 'BRK-019 Cid']), '5400.00, 3400.00, nothing', 'BRK-019 by event, nothing without a quota');
SELECT is(pg_temp.told('BRK-019 Cid') || ', ' || pg_temp.unpaid('BRK-019 Cid'), 'unpaid no_quota, no_quota ?', 'BRK-019 and that is told');
SELECT is((SELECT o.measure_amount FROM prm._earning_outcome(:program, ARRAY[pg_temp.event('BRK-019 b')], 'explain') o), 1.1, 'the attainment is told as a fraction');
UPDATE prm.partner SET joined_on = '2026-05-17' WHERE partner_id = :bob AND program_id = :program;
INSERT INTO prm.quota (partner_id, measure, window_kind, amount, valid) VALUES (:bob, 'amount', 'quarter', 91000, '[2026-01-01,2027-01-01)');
SELECT pg_temp.sale('prorated', :bob, 45000);
SELECT is(pg_temp.paid('prorated'), '3600.00', 'a quota of 91000 over 91 days is 45000 for whoever joined on the 47th day');
SELECT pg_temp.plan('marginal reading') AS reading \gset
INSERT INTO prm.commission_rule (plan_id, schedule, accumulate, window_kind) VALUES (:reading, 'marginal 0: 6%, 100000: 8%, 150000: 10%', 'cumulative', 'quarter');
SELECT pg_temp.sale('BRK-019 m', :ann, 110000);
SELECT is(pg_temp.paid('BRK-019 m'), '6800.00', 'BRK-019 the marginal reading');

-- ---- per unit, and the return that comes off the top ---------------------------------------------------------------------------
SELECT pg_temp.plan('per unit') AS perunit \gset
INSERT INTO prm.commission_rule (plan_id, schedule, basis, accumulate, window_kind) VALUES (:perunit, 'marginal 0: 10 each, 2: 20 each, 4: 30 each', 'quantity', 'cumulative', 'lifetime');
SELECT pg_temp.sale('BRK-023 ' || n, :ann, 100, '2026-06-15', '{"quantity": 2}') FROM generate_series(1, 3) n;
SELECT is(pg_temp.paid_each(ARRAY['BRK-023 1', 'BRK-023 2', 'BRK-023 3']), '20.00, 40.00, 60.00', 'BRK-023 marginal per unit');
SELECT pg_temp.refund('BRK-024', 'BRK-023 1', 100);
SELECT is(pg_temp.paid('BRK-024'), '-60.00', 'BRK-024 a full return unwinds from the top');
SELECT is((SELECT format('%s %s %s', kind, cause_entry_id = (SELECT entry_id FROM prm.ledger WHERE program_id = :program AND earning_event_id = pg_temp.event('BRK-023 1')), attained_before)
  FROM prm.ledger WHERE program_id = :program AND earning_event_id = pg_temp.event('BRK-024')), 'reversal t 6', 'and names its cause and what was attained');
SELECT pg_temp.refund('BRK-024 half', 'BRK-023 3', 50), pg_temp.refund('BRK-024 rest', 'BRK-023 3', 50), pg_temp.refund('BRK-024 last', 'BRK-023 2', 100);
SELECT is(pg_temp.paid_each(ARRAY['BRK-024 half', 'BRK-024 rest', 'BRK-024 last']), '-20.00, -20.00, -20.00', 'half by half, in whatever order');
SELECT is((SELECT sum(amount) FROM prm.ledger WHERE plan_id = :perunit AND program_id = :program), 0.00, 'all returned: nothing is left');
SELECT is((SELECT format('%s %s', amount, entries) FROM prm.accumulator WHERE plan_id = :perunit AND program_id = :program), '0 7', 'nor counted');

SELECT pg_temp.plan('threshold') AS threshold \gset
INSERT INTO prm.commission_rule (plan_id, schedule, accumulate, window_kind) VALUES (:threshold, 'marginal 0: 0%, 1000: 10%', 'cumulative', 'month');
SELECT pg_temp.sale('zero first', :ann, 1000), pg_temp.sale('then paid', :ann, 500);
SELECT is(pg_temp.paid_each(ARRAY['zero first', 'then paid']), 'nothing, 50.00', 'the first thousand attains and earns nothing');
SELECT pg_temp.refund('zero back', 'zero first', 1000, '2026-07-10');
SELECT is(pg_temp.paid('zero back'), '-50.00', 'its return takes back what it made the others earn, in the window of the original');
SELECT is((SELECT format('%s %s', partner_id = :ann, cause_entry_id IS NULL) FROM prm.ledger WHERE program_id = :program AND earning_event_id = pg_temp.event('zero back')), 't t', 'from whom it was earned; there is no row to name as cause');

-- ---- caps ------------------------------------------------------------------------------------------------------------------------
SELECT pg_temp.plan('capped') AS capped \gset
INSERT INTO prm.commission_rule (plan_id, schedule, cap_amount, cap_scope, cap_window) VALUES (:capped, '10%', 5000, 'partner', 'month');
SELECT pg_temp.sale('CAP-001 before', :ann, 42000), pg_temp.sale('CAP-001', :ann, 10000), pg_temp.sale('CAP-002', :ann, 10000);
SELECT is(pg_temp.paid_each(ARRAY['CAP-001 before', 'CAP-001', 'CAP-002']), '4200.00, 800.00, nothing', 'CAP-001 the last row is clamped, CAP-002 nothing more');
SELECT is(pg_temp.unpaid('CAP-001') || ', ' || pg_temp.unpaid('CAP-002'), 'capped 200.00, capped 1000.00', 'CAP what was clamped is breakage');
SELECT is(pg_temp.told('CAP-001') || ', ' || pg_temp.told('CAP-002'), 'won capped 800 200, unpaid capped 1000', 'CAP and explained from what was used then');
SELECT is((SELECT string_agg(reason, ', ' ORDER BY breakage_id) FROM prm.breakage WHERE program_id = :program AND plan_id = :capped), 'the cap of 5000 USD a month leaves only 800, the cap of 5000 USD a month is used up', 'CAP in words');
SELECT is((SELECT cap_used_before FROM prm._earning_outcome(:program, ARRAY[pg_temp.event('CAP-001')], 'explain') o), 4200.00, 'CAP with the usage before it');
SELECT pg_temp.sale('CAP next month', :ann, 10000, '2026-07-01'), pg_temp.sale('CAP Bob', :bob, 10000);
SELECT is(pg_temp.paid_each(ARRAY['CAP next month', 'CAP Bob']), '1000.00, 1000.00', 'another month, another partner');
SELECT pg_temp.refund('CAP refund', 'CAP-001 before', 21000, '2026-08-02'), pg_temp.sale('CAP again', :ann, 10000), pg_temp.sale('CAP again 2', :ann, 30000);
SELECT is(pg_temp.paid_each(ARRAY['CAP refund', 'CAP again', 'CAP again 2']), '-2100.00, 1000.00, 1100.00', 'a reversal gives its room back in the month of its cause, whenever it comes');
SELECT pg_temp.plan('CAP-003') AS cap3 \gset
INSERT INTO prm.commission_rule (plan_id, schedule, cap_amount, cap_window) VALUES (:cap3, '10%', 5000, 'month');
SELECT pg_temp.sale('CAP-003 paid', :ann, 30000), pg_temp.sale('CAP-003 refunded', :ann, 20000), pg_temp.refund('CAP-003 refund', 'CAP-003 refunded', 20000), pg_temp.sale('CAP-003', :ann, 25000);
SELECT is(pg_temp.paid('CAP-003'), '2000.00', 'CAP-003 what was refunded does not count as used');
INSERT INTO prm.customer (name) VALUES ('Acme') RETURNING customer_id AS acme \gset
INSERT INTO prm.customer (name) VALUES ('Bolt') RETURNING customer_id AS bolt \gset
SELECT pg_temp.plan('cap scopes') AS scopes \gset
INSERT INTO prm.commission_rule (plan_id, component, schedule, cap_amount, cap_scope) VALUES (:scopes, 'by customer', '10%', 150, 'customer'), (:scopes, 'by programme', '1%', 25, 'programme'), (:scopes, 'by event', '20%', 150, 'event');
SELECT pg_temp.sale('scope 1', :ann, 1000, the_more => jsonb_build_object('customer_id', :acme)), pg_temp.sale('scope 2', :bob, 1000, the_more => jsonb_build_object('customer_id', :acme)),
  pg_temp.sale('scope 3', :bob, 1000, the_more => jsonb_build_object('customer_id', :bolt)), pg_temp.sale('scope 4', :bob, 1600);
SELECT is((SELECT string_agg(pg_temp.event(r)::text || ' ' || coalesce((SELECT string_agg(component || ' ' || amount, ', ' ORDER BY component) FROM prm.ledger WHERE program_id = :program AND earning_event_id = pg_temp.event(r)), ''), '; ' ORDER BY n)
    FROM unnest(ARRAY['scope 1', 'scope 2', 'scope 3', 'scope 4']) WITH ORDINALITY AS u(r, n)),
  format('%s by customer 100.00, by event 150.00, by programme 10.00; %s by customer 50.00, by event 150.00, by programme 10.00; %s by customer 100.00, by event 150.00, by programme 5.00; %s by customer 150.00, by event 150.00',
    pg_temp.event('scope 1'), pg_temp.event('scope 2'), pg_temp.event('scope 3'), pg_temp.event('scope 4')),
  'caps by customer (an event without one stands for itself), by programme and by event');
INSERT INTO prm.earning_event (kind, external_ref, amount, currency, occurred_at) VALUES ('booked', 'scope 5', 1000, 'USD', '2026-06-15');
INSERT INTO prm.sales_credit (earning_event_id, credit_type, partner_id, weight) VALUES (pg_temp.event('scope 5'), 'sourced', :ann, 60), (pg_temp.event('scope 5'), 'sourced', :bob, 40);
SELECT is((SELECT string_agg(amount::text, ' ' ORDER BY entry_id) FROM prm.ledger WHERE program_id = :program AND earning_event_id = pg_temp.event('scope 5') AND component = 'by event'), '120.00 30.00', 'a cap of each event is shared by all that it pays');
SELECT pg_temp.plan('cap of the plan') AS capplan \gset
INSERT INTO prm.commission_rule (plan_id, component, schedule, cap_amount, cap_scope, cap_window) VALUES (:capplan, 'a', '10%', NULL, NULL, NULL), (:capplan, 'b', '10%', 250, 'plan', 'month');
SELECT pg_temp.sale('plan cap 1', :ann, 1000), pg_temp.sale('plan cap 2', :bob, 1000);
SELECT is(pg_temp.paid_each(ARRAY['plan cap 1', 'plan cap 2']), '100.00 100.00, 100.00', 'a cap of the plan counts what all of its rules pay; only the rule that has it is clamped');
SELECT pg_temp.refund('plan cap back', 'plan cap 1', 1000), pg_temp.sale('plan cap 3', :bob, 500);
SELECT is(pg_temp.paid_each(ARRAY['plan cap back', 'plan cap 3']), '-100.00 -100.00, 50.00 50.00', 'and goes down by what all of them give back');

-- ---- minimum ------------------------------------------------------------------------------------------------------------------------
SELECT pg_temp.plan('minimum') AS minimum \gset
INSERT INTO prm.commission_rule (plan_id, schedule, min_amount) VALUES (:minimum, '10%', 15);
SELECT pg_temp.sale('min 1', :ann, 100), pg_temp.sale('min 2', :ann, 150);
SELECT is(pg_temp.paid_each(ARRAY['min 1', 'min 2']) || ', ' || pg_temp.unpaid('min 1'), 'nothing, 15.00, below_minimum 10.00', 'below the minimum nothing, and it is not lost silently');
SELECT is(pg_temp.told('min 1'), 'unpaid below_minimum 10', 'and told');

-- ---- rounding, zero ---------------------------------------------------------------------------------------------------------------------
SELECT pg_temp.plan('nineteen') AS nineteen \gset
INSERT INTO prm.commission_rule (plan_id, schedule) VALUES (:nineteen, '19%');
SELECT pg_temp.sale('RND-001', :ann, 317.50), pg_temp.refund('RND-001 back', 'RND-001', 317.50), pg_temp.sale('COM-046', :ann, 0.02);
SELECT is(pg_temp.paid_each(ARRAY['RND-001', 'RND-001 back', 'COM-046']), '60.33, -60.33, nothing', 'RND-001 the reversal is the forward row; COM-046 a zero is no row');
SELECT is(pg_temp.told('COM-046') || ', ' || pg_temp.unpaid('COM-046'), 'unpaid zero, nothing', 'COM-046 nor breakage');

-- ---- recurring ----------------------------------------------------------------------------------------------------------------------------
CREATE FUNCTION pg_temp.months(the_ref text, the_customer bigint, the_months int[], the_partner bigint) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE m int;
BEGIN
  FOREACH m IN ARRAY the_months LOOP
    PERFORM pg_temp.sale(the_ref || ' ' || m, the_partner, 100, timestamptz '2020-03-31 12:00+00' + make_interval(months => m), jsonb_build_object('customer_id', the_customer));
  END LOOP;
  RETURN pg_temp.paid_each(ARRAY(SELECT the_ref || ' ' || i FROM unnest(the_months) i));
END $$;
SELECT pg_temp.plan('REC-001') AS rec1 \gset
INSERT INTO prm.commission_rule (plan_id, schedule, recurring_months) VALUES (:rec1, '20%', 0);
SELECT is(pg_temp.months('REC-001', :acme, ARRAY[0, 1], :ann), '20.00, nothing', 'REC-001 the first sale only');
SELECT is(pg_temp.unpaid('REC-001 1') || ', ' || pg_temp.told('REC-001 0'), 'recurring_over 20.00, won 20', 'REC-001 what the second would have paid is breakage; the first still explains as paid');
SELECT is(pg_temp.months('REC-001 Bob', :acme, ARRAY[0], :bob) || ', ' || pg_temp.months('REC-001 Bolt', :bolt, ARRAY[0], :ann), '20.00, 20.00', 'each pair of partner and customer has its own first sale');
SELECT pg_temp.plan('REC-002') AS rec2 \gset
INSERT INTO prm.commission_rule (plan_id, schedule, recurring_months) VALUES (:rec2, '20%', 12);
SELECT is(pg_temp.months('REC-002', :acme, ARRAY[0, 11, 12], :ann), '20.00, 20.00, nothing', 'REC-002 twelve months from the first');
SELECT pg_temp.sale('REC-002 eve', :ann, 100, '2021-03-30 23:59+00', jsonb_build_object('customer_id', :acme));
SELECT is(pg_temp.paid('REC-002 eve'), '20.00', 'REC-002 through the day before');
SELECT is((SELECT format('%s %s', started_on, earning_event_id = pg_temp.event('REC-002 0')) FROM prm.recurring_start WHERE plan_id = :rec2 AND program_id = :program), '2020-03-31 t', 'the first sale is kept');
SELECT pg_temp.plan('REC-003') AS rec3 \gset
INSERT INTO prm.commission_rule (plan_id, schedule) VALUES (:rec3, '20%');
SELECT is(pg_temp.months('REC-003', :acme, ARRAY[0, 240], :ann), '20.00, 20.00', 'REC-003 without months for life');
SELECT is((SELECT count(*) FROM prm.recurring_start WHERE plan_id = :rec3 AND program_id = :program), 0::bigint, 'and nothing is kept for it');
SELECT pg_temp.plan('REC-005') AS rec5 \gset
INSERT INTO prm.commission_rule (plan_id, schedule, recurring_months, priority) VALUES (:rec5, '25%', 12, 1), (:rec5, '10%', NULL, 0);
SELECT is(pg_temp.months('REC-005', :acme, ARRAY[0, 11, 13], :ann), '25.00, 25.00, 10.00', 'REC-005 an expired rule lets the next one win');
SELECT pg_temp.plan('REC-006') AS rec6 \gset
INSERT INTO prm.commission_rule (plan_id, schedule, recurring_months) VALUES (:rec6, 'slab 0: 5', 0);
INSERT INTO prm.earning_event (kind, external_ref, partner_id, customer_id, amount, currency, occurred_at)
  SELECT 'booked', 'REC-006 ' || n, :ann, :acme, 1, 'USD', '2026-06-15' FROM generate_series(1, 2) n;
SELECT is(pg_temp.paid_each(ARRAY['REC-006 1', 'REC-006 2']), '5.00, nothing', 'REC-006 one reward for each pair, also within one statement');
SELECT pg_temp.plan('REC-008') AS rec8 \gset
INSERT INTO prm.commission_rule (plan_id, schedule, recurring_months, valid) VALUES (:rec8, '20%', 0, '[,2020-04-15)') RETURNING lineage_id AS lineage8 \gset
INSERT INTO prm.commission_rule (plan_id, lineage_id, schedule, recurring_months, valid) VALUES (:rec8, :lineage8, '20%', 12, '[2020-04-15,)');
SELECT is(pg_temp.months('REC-008', :acme, ARRAY[0, 1], :ann), '20.00, nothing', 'REC-008 the version of the first sale governs');
SELECT is(pg_temp.months('REC-008 new', :bolt, ARRAY[1, 2], :ann), '20.00, 20.00', 'REC-008 whoever starts under the later one has its months');
SELECT pg_temp.plan('in force') AS inforce \gset
INSERT INTO prm.commission_rule (plan_id, schedule, recurring_months, valid) VALUES (:inforce, '20%', 0, '[,2020-04-15)') RETURNING lineage_id AS lineage9 \gset
INSERT INTO prm.commission_rule (plan_id, lineage_id, schedule, recurring_months, recurring_policy, valid) VALUES (:inforce, :lineage9, '30%', 12, 'in_force', '[2020-04-15,)');
SELECT is(pg_temp.months('in force', :acme, ARRAY[0, 1, 12], :ann), '20.00, 30.00, nothing', 'in_force: the version of the day governs, the months still count from the first sale');
SELECT pg_temp.plan('first sale rate') AS firstrate \gset
INSERT INTO prm.commission_rule (plan_id, schedule, recurring_months, valid) VALUES (:firstrate, '20%', 12, '[,2020-04-15)') RETURNING lineage_id AS lineage10 \gset
INSERT INTO prm.commission_rule (plan_id, lineage_id, schedule, recurring_months, valid) VALUES (:firstrate, :lineage10, '30%', 6, '[2020-04-15,)');
SELECT is(pg_temp.months('first rate', :acme, ARRAY[0, 1, 11], :ann), '20.00, 20.00, 20.00', 'first_sale: its rate and its months');
SELECT pg_temp.refund('first rate back', 'first rate 0', 100, '2020-05-01');
SELECT is(pg_temp.months('first rate after', :acme, ARRAY[10, 12], :ann), '20.00, nothing', 'months count from the first row even if it was taken back');
SELECT pg_temp.plan('later recurring') AS laterrec \gset
INSERT INTO prm.commission_rule (plan_id, schedule) VALUES (:laterrec, '20%') RETURNING rule_id AS laterrule \gset
SELECT pg_temp.months('later', :acme, ARRAY[0], :ann);
UPDATE prm.commission_rule SET valid = '[,2020-06-01)' WHERE rule_id = :laterrule AND program_id = :program;
INSERT INTO prm.commission_rule (plan_id, lineage_id, schedule, recurring_months, recurring_policy, valid) VALUES (:laterrec, :laterrule, '20%', 12, 'in_force', '[2020-06-01,)');
SELECT is(pg_temp.months('later', :acme, ARRAY[11, 12], :ann), '20.00, nothing', 'a rule that learns of months counts from the first row of the ledger');
SELECT is((SELECT string_agg(s.started_on::text, ',') FROM prm.recurring_start s WHERE s.program_id = :program AND s.plan_id = :laterrec),
  (SELECT min(l.earned_on)::text FROM prm.ledger l WHERE l.program_id = :program AND l.plan_id = :laterrec), 'which was noted when the rule was written');
-- A component that stops recurring and begins again: what was sold in between counts, what had begun before stays.
SELECT pg_temp.plan('again recurring') AS again \gset
INSERT INTO prm.commission_rule (plan_id, schedule) VALUES (:again, '20%');
INSERT INTO prm.commission_rule (plan_id, schedule, recurring_months, priority) VALUES (:again, '30%', 2, 1) RETURNING rule_id AS againrule \gset
DELETE FROM prm.commission_rule WHERE program_id = :program AND rule_id = :againrule;
SELECT pg_temp.months('again', :acme, ARRAY[0], :ann);
INSERT INTO prm.commission_rule (plan_id, schedule, recurring_months, priority, valid) VALUES (:again, '30%', 2, 1, '[2020-04-01,)'), (:again, '1%', 0, -1, '[2020-04-01,)');
SELECT is(pg_temp.months('again', :acme, ARRAY[1, 2], :ann), '30.00, 20.00', 'months count from what was sold while nothing recurred');
SELECT is((SELECT count(*) FROM prm.recurring_start s WHERE s.program_id = :program AND s.plan_id = :again), 1::bigint, 'and of two rules written at once the first notes it');
SELECT pg_temp.sale('pays nothing', :bob, 0.01, '2020-06-05', jsonb_build_object('customer_id', :bolt));
SELECT is((SELECT count(*) FROM prm.recurring_start WHERE program_id = :program AND started_on = 'infinity'), 0::bigint, 'no place is held for sales that did not come');

-- ---- overrides ------------------------------------------------------------------------------------------------------------------------------
SELECT pg_temp.partner('Top') AS top \gset
SELECT pg_temp.partner('Mid', :top) AS mid \gset
SELECT pg_temp.partner('Low', :mid) AS low \gset
SELECT pg_temp.plan('OVR-008') AS ovr8 \gset
INSERT INTO prm.commission_rule (plan_id, schedule, level) VALUES (:ovr8, '30%', 0), (:ovr8, '6%', 1), (:ovr8, '4%', 2);
SELECT pg_temp.sale('OVR-008', :low, 100);
SELECT is(pg_temp.paid_to('OVR-008'), 'Low 30.00, Mid 6.00, Top 4.00', 'OVR-008 a rate for each level');
SELECT is((SELECT string_agg(format('%s %s %s', l.kind, l.level, c.level), ', ' ORDER BY l.level) FROM prm.ledger l LEFT JOIN prm.ledger c ON c.program_id = l.program_id AND c.entry_id = l.cause_entry_id
  WHERE l.program_id = :program AND l.earning_event_id = pg_temp.event('OVR-008')), 'commission 0 , override 1 0, override 2 1', 'OVR-008 each row points to the one that it derives from');
SELECT pg_temp.refund('OVR-008 back', 'OVR-008', 50);
SELECT is(pg_temp.paid_to('OVR-008 back'), 'Low -15.00, Mid -3.00, Top -2.00', 'a refund takes back from every level');
SELECT pg_temp.plan('OVR-002') AS ovr2 \gset
INSERT INTO prm.commission_rule (plan_id, schedule, level, through_level, override_mode) VALUES (:ovr2, '3%', 0, 9, 'top_of_chain');
SELECT pg_temp.sale('OVR-002', :low, 100), pg_temp.sale('OVR-002 half', :low, 50);
SELECT is(pg_temp.paid_to('OVR-002') || ', ' || pg_temp.paid_to('OVR-002 half'), 'Top 3.00, Top 1.50', 'OVR-002 only the top of the chain');
SELECT pg_temp.plan('OVR-003') AS ovr3 \gset
INSERT INTO prm.commission_rule (plan_id, schedule, level, through_level, override_mode) VALUES (:ovr3, '5%', 0, 0, NULL), (:ovr3, '5%', 1, 2, 'rollup');
SELECT pg_temp.sale('OVR-003 3', :low, 100), pg_temp.sale('OVR-003 2', :mid, 100), pg_temp.sale('OVR-003 1', :top, 100);
SELECT is((SELECT string_agg((SELECT string_agg(name || ' ' || amount, ', ' ORDER BY level) FROM (SELECT p.name, sum(l.amount) AS amount, min(l.level) AS level FROM prm.ledger l JOIN prm.partner p ON p.program_id = l.program_id AND p.partner_id = l.partner_id
    WHERE l.program_id = :program AND l.earning_event_id = pg_temp.event(r) GROUP BY p.name) s), '; ' ORDER BY n) FROM unnest(ARRAY['OVR-003 3', 'OVR-003 2', 'OVR-003 1']) WITH ORDINALITY AS u(r, n)),
  'Low 5.00, Mid 5.00, Top 5.00; Mid 10.00, Top 5.00; Top 15.00', 'OVR-003 a missing level rolls to the seller');
-- tracy and simon bronze, kate gold, john platinum, peter silver.
SELECT pg_temp.partner('peter', NULL, 'silver') AS peter \gset
SELECT pg_temp.partner('john', :peter, 'platinum') AS john \gset
SELECT pg_temp.partner('kate', :john, 'gold') AS kate \gset
SELECT pg_temp.partner('simon', :kate, 'bronze') AS simon \gset
SELECT pg_temp.partner('tracy', :simon, 'bronze') AS tracy \gset
SELECT pg_temp.plan('OVR-004') AS ovr4 \gset
INSERT INTO prm.commission_rule (plan_id, schedule, tier, level, through_level, override_mode)
  SELECT :ovr4, s, t, l, th, m FROM (VALUES ('bronze', '5%'), ('silver', '10%'), ('gold', '20%'), ('platinum', '30%')) r(t, s) CROSS JOIN (VALUES (0, 0, NULL), (1, 9, 'differential')) v(l, th, m);
SELECT pg_temp.sale('OVR-004', :tracy, 100);
SELECT is(pg_temp.paid_to('OVR-004'), 'tracy 5.00, kate 15.00, john 10.00', 'OVR-004 each upline gets its own rate less what is paid below');
SELECT is((SELECT sum(amount) FROM prm.ledger WHERE program_id = :program AND earning_event_id = pg_temp.event('OVR-004')), 30.00, 'OVR-004 never above the top rate');
-- bronze, gold, gold, diamond, silver, gold, diamond, platinum, platinum from the seller up.
CREATE FUNCTION pg_temp.chain(the_tiers text[]) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE id bigint;
BEGIN
  FOR i IN REVERSE cardinality(the_tiers) .. 1 LOOP
    id := pg_temp.partner('link ' || i, id, the_tiers[i]);
  END LOOP;
  RETURN id;
END $$;
SELECT pg_temp.chain(ARRAY['bronze', 'gold', 'gold', 'diamond', 'silver', 'gold', 'diamond', 'platinum', 'platinum']) AS link \gset
SELECT pg_temp.plan('OVR-005') AS ovr5 \gset
INSERT INTO prm.commission_rule (plan_id, schedule, basis, tier, level, through_level, override_mode)
  SELECT :ovr5, s, 'quantity', t, l, th, m FROM (VALUES ('bronze', 'marginal 0: 1 each'), ('silver', 'marginal 0: 3 each'), ('gold', 'marginal 0: 6 each'), ('diamond', 'marginal 0: 10 each'), ('platinum', 'marginal 0: 15 each')) r(t, s)
  CROSS JOIN (VALUES (0, 0, NULL), (1, 9, 'differential')) v(l, th, m);
SELECT pg_temp.sale('OVR-005', :link, 100, the_more => '{"quantity": 1}');
SELECT is(pg_temp.paid_to('OVR-005'), 'link 1 1.00, link 2 5.00, link 4 4.00, link 8 5.00', 'OVR-005 ranks that are skipped roll up to the first higher one');
SELECT pg_temp.plan('OVR-006') AS ovr6 \gset
INSERT INTO prm.commission_rule (plan_id, schedule, level, through_level, override_mode) VALUES (:ovr6, '10%', 0, 0, NULL), (:ovr6, '10%', 1, 2, 'percent_of_below');
SELECT pg_temp.sale('OVR-006', :low, 10000);
SELECT is(pg_temp.paid_to('OVR-006'), 'Low 1000.00, Mid 100.00, Top 10.00', 'OVR-006 a tenth of the commission one level below');
SELECT pg_temp.plan('OVR-007') AS ovr7 \gset
INSERT INTO prm.commission_rule (plan_id, schedule, level, through_level, override_mode, min_amount) VALUES (:ovr7, '10%', 0, 0, NULL, 15), (:ovr7, '10%', 1, 1, 'percent_of_below', 15);
SELECT pg_temp.sale('OVR-007', :low, 1000);
SELECT is(pg_temp.paid_to('OVR-007') || ', ' || pg_temp.unpaid('OVR-007'), 'Low 100.00, below_minimum 10.00', 'OVR-007 below the minimum of 15 nothing');
-- A on P2 above B on P1 above the sellers: d on P1, e on P2.
SELECT pg_temp.partner('A') AS a \gset
SELECT pg_temp.partner('B', :a) AS b \gset
SELECT pg_temp.partner('d', :b) AS d, pg_temp.partner('e', :b) AS e \gset
SELECT pg_temp.plan('P1') AS p1 \gset
INSERT INTO prm.commission_plan (name, currency, enrol_all) VALUES ('P2', 'USD', false) RETURNING plan_id AS p2 \gset
UPDATE prm.commission_plan SET enrol_all = false WHERE plan_id = :p1 AND program_id = :program;
INSERT INTO prm.plan_enrolment (plan_id, partner_id) VALUES (:p1, :d), (:p1, :b), (:p2, :e), (:p2, :a);
INSERT INTO prm.commission_rule (plan_id, schedule, level, override_mode) VALUES (:p1, 'slab 0: 2.5', 1, 'lower_of_plans'), (:p1, 'slab 0: 2', 2, 'lower_of_plans'), (:p2, 'slab 0: 10', 1, 'lower_of_plans'), (:p2, 'slab 0: 9', 2, 'lower_of_plans');
SELECT pg_temp.sale('OVR-009 d', :d, 50), pg_temp.sale('OVR-009 e', :e, 100);
SELECT is(pg_temp.paid_to('OVR-009 d') || '; ' || pg_temp.paid_to('OVR-009 e'), 'B 2.50, A 2.00; B 2.50, A 9.00', 'OVR-009 the lower of the payer''s and the receiver''s plan');
UPDATE prm.commission_plan SET is_active = false WHERE plan_id = :p2 AND program_id = :program;
SELECT pg_temp.plan('unqualified') AS unqualified \gset
INSERT INTO prm.commission_rule (plan_id, schedule, tier, level, override_mode) VALUES (:unqualified, '10%', NULL, 0, NULL), (:unqualified, '5%', 'gold', 1, NULL), (:unqualified, '3%', NULL, 2, NULL);
SELECT pg_temp.sale('unqualified', :low, 100);
SELECT is(pg_temp.paid_to('unqualified') || ', ' || pg_temp.unpaid('unqualified'), 'Low 10.00, Top 3.00, unqualified_upline 5.00', 'an unqualified upline keeps its level unpaid, and what it misses is breakage');
SELECT pg_temp.plan('two sellers') AS sellers \gset
INSERT INTO prm.commission_rule (plan_id, schedule, level) VALUES (:sellers, '10%', 0), (:sellers, '5%', 1);
SELECT pg_temp.partner('Low 2', :mid) AS low2 \gset
INSERT INTO prm.earning_event (kind, external_ref, amount, currency, occurred_at) VALUES ('booked', 'two sellers', 100, 'USD', '2026-06-15');
INSERT INTO prm.sales_credit (earning_event_id, credit_type, partner_id, weight) VALUES (pg_temp.event('two sellers'), 'sourced', :low, 60), (pg_temp.event('two sellers'), 'sourced', :low2, 40);
SELECT is(pg_temp.paid_to('two sellers'), 'Low 6.00, Low 2 4.00, Mid 3.00, Mid 2.00', 'an upline of two sellers is paid for each');
SELECT pg_temp.refund('two sellers back', 'two sellers', 100);
SELECT is(pg_temp.paid_to('two sellers back'), 'Low -6.00, Low 2 -4.00, Mid -3.00, Mid -2.00', 'and gives back for each');

-- ---- royalties and fees -----------------------------------------------------------------------------------------------------------------------
SELECT pg_temp.plan('royalty') AS royalty \gset
INSERT INTO prm.commission_rule (plan_id, component, entry_kind, schedule, level, override_mode) VALUES (:royalty, 'royalty', 'royalty', '6%', 0, NULL), (:royalty, 'royalty', 'commission', '50%', 1, 'percent_of_below');
SELECT pg_temp.sale('royalty', :low, 1000), pg_temp.refund('royalty back', 'royalty', 500);
SELECT is(pg_temp.paid_to('royalty') || '; ' || pg_temp.paid_to('royalty back'), 'Low -60.00, Mid 30.00; Low 30.00, Mid -15.00', 'a royalty is owed; the master franchisee''s share of it is paid');

-- ---- currencies ---------------------------------------------------------------------------------------------------------------------------------
INSERT INTO prm.exchange_rate (from_currency, to_currency, valid_from, rate) VALUES ('EUR', 'USD', '2026-01-01', 1.10), ('EUR', 'USD', '2026-06-01', 1.25), ('USD', 'JPY', '2026-01-01', 150);
SELECT pg_temp.plan('dollars') AS dollars \gset
INSERT INTO prm.commission_rule (plan_id, schedule) VALUES (:dollars, 'slab 0: 10%, 1000: 20%');
SELECT pg_temp.sale('EUR 799.99', :ann, 799.99, the_more => '{"currency": "EUR"}'), pg_temp.sale('EUR 800', :ann, 800, the_more => '{"currency": "EUR"}'),
  pg_temp.sale('EUR in May', :ann, 800, '2026-05-31 23:59+00', '{"currency": "EUR"}'), pg_temp.sale('JPY', :ann, 150000, the_more => '{"currency": "JPY"}'),
  pg_temp.sale('JPY once', :ann, 12340, the_more => '{"currency": "JPY"}'), pg_temp.sale('JPY half', :ann, 12335, the_more => '{"currency": "JPY"}'), pg_temp.sale('JPY less', :ann, 149999, the_more => '{"currency": "JPY"}'), pg_temp.sale('CHF', :ann, 100, the_more => '{"currency": "CHF"}');
SELECT is(pg_temp.paid_each(ARRAY['EUR 799.99', 'EUR 800', 'EUR in May', 'JPY', 'JPY less', 'CHF']), '80.00, 160.00, 80.00, 30000, 15000, nothing',
  'bounds are in the plan''s currency, at the rate of the day, in either direction; rows in that of the event');
SELECT is(pg_temp.paid_each(ARRAY['JPY once', 'JPY half']), '1234, 1234', 'rounded once, and a tenth of 12335 is 1233.5 although a rate of 1/150 never ends');
SELECT is((SELECT format('%s %s', currency, explain ->> 'exchange_rate') FROM prm.ledger WHERE program_id = :program AND earning_event_id = pg_temp.event('EUR 800')), 'EUR 1.25', 'the row keeps its currency and the rate');
SELECT is(pg_temp.told('CHF') || ', ' || pg_temp.unpaid('CHF'), 'unpaid no_exchange_rate, no_exchange_rate ?', 'without a rate nothing is paid, and that is told');
SELECT pg_temp.plan('dollars fixed') AS dollarsfixed \gset
INSERT INTO prm.commission_rule (plan_id, schedule, cap_amount, cap_scope) VALUES (:dollarsfixed, 'slab 0: 50', 80, 'partner');
SELECT pg_temp.sale('EUR fixed', :ann, 10, the_more => '{"currency": "EUR"}'), pg_temp.sale('EUR clamped', :ann, 10, the_more => '{"currency": "EUR"}'), pg_temp.refund('EUR fixed back', 'EUR fixed', 10), pg_temp.sale('USD after', :ann, 10);
SELECT is(pg_temp.paid_each(ARRAY['EUR fixed', 'EUR clamped', 'EUR fixed back', 'USD after']) || ', ' || pg_temp.unpaid('EUR clamped'), '40.00, 24.00, -40.00, 50.00, capped 16.00', 'fixed amounts and caps are in the plan''s currency; breakage in that of the event');
SELECT pg_temp.plan('dollars cumulative') AS dollarscum \gset
INSERT INTO prm.commission_rule (plan_id, schedule, accumulate, window_kind) VALUES (:dollarscum, 'marginal 0: 1%, 1000: 10%', 'cumulative', 'year');
SELECT pg_temp.sale('EUR sum', :ann, 800, the_more => '{"currency": "EUR"}'), pg_temp.sale('USD sum', :ann, 100), pg_temp.refund('EUR sum back', 'EUR sum', 800);
SELECT is(pg_temp.paid_each(ARRAY['EUR sum', 'USD sum', 'EUR sum back']), '8.00, 10.00, -15.20', 'sums are in the plan''s currency and unwind at the rate of the original');

-- ---- refunds ------------------------------------------------------------------------------------------------------------------------------------
SELECT pg_temp.plan('CLB-006', '{"hold_days": 30, "clawback_days": 60}') AS clb6 \gset
INSERT INTO prm.commission_rule (plan_id, schedule) VALUES (:clb6, '20%');
SELECT pg_temp.sale('CLB-006', :ann, 100), pg_temp.refund('CLB-006 part', 'CLB-006', 40);
SELECT is((SELECT sum(amount) FROM prm.ledger WHERE plan_id = :clb6 AND program_id = :program), 12.00, 'CLB-006 the commission on the part kept stays');
SELECT is((SELECT eligible_at FROM prm.ledger WHERE program_id = :program AND earning_event_id = pg_temp.event('CLB-006 part')), timestamptz '2026-07-15 12:00+00', 'a reversal is eligible when its cause is');
SELECT pg_temp.sale('thirds', :ann, 1), pg_temp.refund('third 1', 'thirds', 0.33), pg_temp.refund('third 2', 'thirds', 0.33), pg_temp.refund('third 3', 'thirds', 0.34);
SELECT is(pg_temp.paid_each(ARRAY['thirds', 'third 1', 'third 2', 'third 3']), '0.20, -0.07, -0.06, -0.07', 'parts of a refund sum to the row');
SELECT is(concat_ws(', ', pg_temp.told('third 1'), pg_temp.told('third 2'), pg_temp.told('third 3'), pg_temp.told('BRK-024 half'), pg_temp.told('BRK-024 last')),
  'won -0.07, won -0.06, won -0.07, won -20, won -20', 'each refund is explained by what was refunded before it');
SELECT is((SELECT measure_amount FROM prm._earning_outcome(:program, ARRAY[pg_temp.event('third 1')], 'explain')), 0.33, 'and says how much that was, itself included');
SELECT pg_temp.refund('too late', 'CLB-006', 60, '2026-08-14 12:00:01+00'), pg_temp.sale('in time', :ann, 100), pg_temp.refund('in time back', 'in time', 100, '2026-08-14 12:00+00');
SELECT is(pg_temp.paid_each(ARRAY['too late', 'in time back']) || ', ' || pg_temp.told('too late'), 'nothing, -20.00, unpaid clawback_over', 'after clawback_days nothing is taken back, and that is told');
INSERT INTO prm.earning_event (earning_event_id, kind, external_ref, partner_id, applies_to_id, amount, currency, occurred_at)
  VALUES (900000000001, 'booked', 'same statement', :ann, NULL, 100, 'USD', '2026-06-15'), (900000000002, 'refunded', 'same statement back', NULL, 900000000001, -25, 'USD', '2026-06-14');
SELECT is(pg_temp.paid_each(ARRAY['same statement', 'same statement back']), '20.00, -5.00', 'a sale and its refund in one statement, even the wrong way round');
SELECT pg_temp.plan('lookup back') AS lookupback \gset
INSERT INTO prm.commission_rule (plan_id, schedule, accumulate, window_kind) VALUES (:lookupback, 'slab 0: 5%, 1000: 10%', 'lookup', 'year');
SELECT pg_temp.sale('look 1', :ann, 600), pg_temp.sale('look 2', :ann, 600), pg_temp.refund('look back', 'look 2', 300), pg_temp.sale('look 3', :ann, 50), pg_temp.sale('look 4', :ann, 50);
SELECT is(pg_temp.paid_each(ARRAY['look 1', 'look 2', 'look back', 'look 3', 'look 4']), '30.00, 60.00, -30.00, 2.50, 5.00', 'a lookup gives back its share, and what was attained goes down');
SELECT pg_temp.plan('cumulative and capped') AS cumcap \gset
INSERT INTO prm.commission_rule (plan_id, schedule, accumulate, window_kind, cap_amount, cap_window) VALUES (:cumcap, '10%', 'cumulative', 'year', 100, 'year');
SELECT pg_temp.sale('cumcap 1', :ann, 900), pg_temp.sale('cumcap 2', :ann, 300), pg_temp.refund('cumcap back', 'cumcap 2', 300), pg_temp.refund('cumcap back 1', 'cumcap 1', 900);
SELECT is(pg_temp.paid_each(ARRAY['cumcap 1', 'cumcap 2', 'cumcap back', 'cumcap back 1']), '90.00, 10.00, -10.00, -90.00', 'what the cap held back is not given back');

SELECT pg_temp.plan('cumulative levels') AS cumlevels \gset
INSERT INTO prm.commission_rule (plan_id, schedule, level, override_mode, accumulate, window_kind) VALUES (:cumlevels, '5%', 0, NULL, 'transaction', NULL), (:cumlevels, 'slab 0: 10%, 1000: 20%', 1, 'differential', 'cumulative', 'year'),
  (:cumlevels, 'marginal 0: 1%, 1000: 2%', 2, 'percent_of_sale', 'cumulative', 'year');
SELECT pg_temp.sale('cumlevel 1', :low, 500), pg_temp.sale('cumlevel 2', :low, 500), pg_temp.sale('cumlevel 3', :low, 500), pg_temp.refund('cumlevel back', 'cumlevel 2', 500);
SELECT is((SELECT string_agg(pg_temp.paid_to('cumlevel ' || r), '; ' ORDER BY n) FROM unnest(ARRAY['1', '2', '3', 'back']) WITH ORDINALITY AS u(r, n)),
  'Low 25.00, Mid 25.00, Top 5.00; Low 25.00, Mid 125.00, Top 5.00; Low 25.00, Mid 75.00, Top 10.00; Low -25.00, Mid -125.00, Top -10.00',
  'uplines add up for themselves; what others made smaller goes back in proportion');

-- ---- picks --------------------------------------------------------------------------------------------------------------------------------------
SELECT pg_temp.plan('highest', '{"pick": "highest_paying"}') AS highest \gset
INSERT INTO prm.commission_rule (plan_id, schedule, accumulate, window_kind, label) VALUES (:highest, 'slab 0: 5%, 1000: 30%', 'cumulative', 'year', 'sum'), (:highest, '10%', 'transaction', NULL, 'flat');
SELECT pg_temp.sale('high 1', :ann, 600), pg_temp.sale('high 2', :ann, 600), pg_temp.sale('high 3', :ann, 600);
SELECT is(pg_temp.paid_each(ARRAY['high 1', 'high 2', 'high 3']), '60.00, 60.00, 60.00', 'only the winner counts what it attains');
SELECT is(pg_temp.told('high 1'), 'won 60, lost', 'the loser is told');
SELECT is((SELECT string_agg(rule_label || ' ' || trim_scale(commission), ', ' ORDER BY ordinal) FROM prm._earning_outcome(:program, ARRAY[pg_temp.event('high 1')], 'explain')), 'flat 60, sum 30', 'with what it would have paid');
SELECT pg_temp.plan('all', '{"pick": "all"}') AS all \gset
INSERT INTO prm.commission_rule (plan_id, schedule, cap_amount) VALUES (:all, '10%', 15), (:all, '1%', NULL);
SELECT pg_temp.sale('all', :ann, 200);
SELECT is(pg_temp.paid('all'), '2.00 15.00', 'all: every rule pays, each under its own cap');

-- ---- forecast, rounding to even ----------------------------------------------------------------------------------------------------------------------
SELECT pg_temp.plan('forecast') AS forecast \gset
INSERT INTO prm.commission_rule (plan_id, schedule, cap_amount, cap_window) VALUES (:forecast, '10%', 5000, 'month');
INSERT INTO prm.commission_rule (plan_id, component, schedule, recurring_months) VALUES (:forecast, 'first', 'slab 0: 7', 0);
SELECT pg_temp.sale('forecast booked', :bob, 20000, the_more => jsonb_build_object('customer_id', :acme));
INSERT INTO prm.deal (partner_id, customer_id, name, kind, amount, currency) VALUES (:bob, :acme, 'forecast 1', 'new', 10000, 'USD'), (:bob, :bolt, 'forecast 2', 'new', 30000, 'USD'), (:bob, :bolt, 'forecast 3', 'new', 10, 'USD');
SELECT is((SELECT string_agg(format('%s %s %s', d.name, o.component, o.amount), ', ' ORDER BY o.ordinal) FROM prm._earning_outcome(:program, ARRAY(SELECT deal_id FROM prm.deal WHERE program_id = :program ORDER BY deal_id), 'deal') o
    JOIN prm.deal d ON d.program_id = :program AND d.deal_id = o.earning_event_id WHERE o.outcome = 'won'),
  'forecast 1 base 1000.00, forecast 2 base 2000.00, forecast 2 first 7.00', 'open deals share what the cap leaves and who is new, as if they were won one after the other');
SELECT is((SELECT sum(amount) FROM prm.accumulator WHERE program_id = :program AND plan_id = :forecast), 2000.00, 'and nothing is counted');
UPDATE prm.program SET rounding = 'half_even' WHERE program_id = :program;
SELECT pg_temp.plan('even') AS even \gset
INSERT INTO prm.commission_rule (plan_id, schedule) VALUES (:even, '50%');
SELECT pg_temp.sale('even 1', :ann, 0.05), pg_temp.sale('even 2', :ann, 0.07), pg_temp.refund('even back', 'even 1', 0.05);
SELECT is(pg_temp.paid_each(ARRAY['even 1', 'even 2', 'even back']), '0.02, 0.04, -0.02', 'the programme may round to even');
UPDATE prm.program SET rounding = 'half_up' WHERE program_id = :program;
UPDATE prm.commission_plan SET is_active = false WHERE plan_id = :even AND program_id = :program;

-- ---- once only, replayed, forecast ------------------------------------------------------------------------------------------------------------------
SELECT is(pg_temp.uneven_counts(), 0::bigint, 'every count is the sum of its steps, numbered without a gap');
-- What each plan has seen; what a run of the engine over it gives, beside what the ledger has.
CREATE FUNCTION pg_temp.differs(the_mode text, the_plans text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE the_program bigint := prm.current_program(); the_faults text;
BEGIN
  WITH plan AS MATERIALIZED (
    SELECT p.plan_id, p.name, ARRAY(SELECT l.earning_event_id FROM prm.ledger l WHERE l.program_id = the_program AND l.plan_id = p.plan_id
      UNION SELECT a.earning_event_id FROM prm.accumulator_entry a WHERE a.program_id = the_program AND a.plan_id = p.plan_id
      UNION SELECT b.earning_event_id FROM prm.breakage b WHERE b.program_id = the_program AND b.plan_id = p.plan_id) AS ids
    FROM prm.commission_plan p WHERE p.program_id = the_program AND p.name LIKE the_plans AND p.name NOT IN ('P1', 'P2', 'even')),
  computed AS MATERIALIZED (
    SELECT p.name, o.earning_event_id, o.credit_type, o.partner_id, o.rule_id, o.level, o.entry_kind, o.sequence_no, o.amount::text, o.attained_before::text
    FROM plan p CROSS JOIN LATERAL prm._earning_outcome(the_program, p.ids, the_mode, ARRAY[p.plan_id]) o WHERE o.outcome = 'won'),
  stored AS (
    SELECT p.name, l.earning_event_id, l.credit_type, l.partner_id, l.rule_id, l.level, l.kind, l.sequence_no, l.amount::text, l.attained_before::text
    FROM plan p JOIN prm.ledger l ON l.program_id = the_program AND l.plan_id = p.plan_id)
  SELECT string_agg(x::text, '; ') INTO the_faults FROM (
    (SELECT 'stored', t.* FROM (SELECT * FROM stored EXCEPT ALL SELECT * FROM computed) t) UNION ALL
    (SELECT 'computed', t.* FROM (SELECT * FROM computed EXCEPT ALL SELECT * FROM stored) t)) x;
  RETURN coalesce(the_faults, format('%s plans agree', (SELECT count(DISTINCT l.plan_id) FROM prm.ledger l JOIN prm.commission_plan p USING (program_id, plan_id) WHERE l.program_id = the_program AND p.name LIKE the_plans AND p.name NOT IN ('P1', 'P2', 'even'))));
END $$;
SELECT is(pg_temp.differs('replay', '%'), '48 plans agree', 'a replay of each plan from nothing gives the rows that were stored, reversals included');
SELECT count(*) AS steps, sum(sequence_no) AS numbers FROM prm.accumulator_entry WHERE program_id = :program \gset
SELECT count(*) AS broken FROM prm.breakage WHERE program_id = :program \gset
SELECT is(pg_temp.differs('accrue', '%'), '48 plans agree', 'an accrual that is repeated computes the same from what was counted then');
SELECT is((SELECT format('%s %s', count(*), sum(sequence_no)) FROM prm.accumulator_entry WHERE program_id = :program), format('%s %s', :steps, :numbers), 'and counts nothing twice');
SELECT is((SELECT count(*) FROM prm.breakage WHERE program_id = :program), :broken::bigint, 'nor tells breakage twice');
SELECT is(pg_temp.uneven_counts(), 0::bigint, 'every count is still the sum of its steps');
SELECT is(pg_temp.differs('explain', '%'), '48 plans agree', 'an explanation finds everything as it was then');
SELECT * FROM finish();
ROLLBACK;
