-- Earning, what goes back: refunds of what accumulates, of overrides, of what was earned abroad; credits that come late; deals that are won again.
-- Acceptance ids stand in the names.
BEGIN;
\ir earning.psql
SELECT set_config('prm.program_id', prm.create_program('Earning refunds', 'blank', 'USD', 'UTC')::text, true) AS program \gset
SELECT pg_temp.partner('Ann') AS ann, pg_temp.partner('Bob') AS bob, pg_temp.partner('Cid') AS cid \gset

-- Before it is settled: a reversal that waits for the same day, so that nothing is payable.
SELECT pg_temp.plan('pending') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule) VALUES (:plan, '10%');
UPDATE prm.commission_plan SET hold_days = 30 WHERE plan_id = :plan AND program_id = :program;
SELECT pg_temp.sell('before payout', 'Ann', 1000);
SELECT pg_temp.refund('before payout', 1000) AS refund \gset
-- The case says "no new row"; the ledger is append-only, so the new row is one that can never be payable without its cause.
SELECT is((SELECT format('%s %s', sum(amount), count(DISTINCT (eligible_at, status))) FROM prm.v_ledger WHERE program_id = :program AND plan_id = :plan), '0.00 1', 'CLB-001 refunded before payout: nothing is payable');
SELECT is((SELECT array_agg(kind::text ORDER BY entry_id) FROM prm.ledger WHERE program_id = :program AND plan_id = :plan), ARRAY['commission', 'reversal'], 'CLB-004 what was never paid out is reversed, not clawed back');
SELECT is((SELECT r.cause_entry_id FROM prm.ledger r WHERE r.program_id = :program AND r.earning_event_id = :refund), (SELECT l.entry_id FROM prm.ledger l WHERE l.program_id = :program AND l.earning_event_id = pg_temp.event('before payout')),
  'CLB-001 it names its cause');
SELECT pg_temp.sell('part', 'Ann', 100);
SELECT pg_temp.refund('part', 40);
SELECT is(pg_temp.taken('part'), 'Ann -4.00', 'CLB-006 the part that was refunded');

-- Cumulative: F is unwound in the window of the sale, from the top.
SELECT pg_temp.plan('unwind') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule, accumulate, window_kind) VALUES (:plan, 'marginal 0: 1%, 1000: 2%, 3000: 3%, 8000: 5%', 'cumulative', 'quarter');
SELECT pg_temp.sell('w' || n, 'Ann', amount, jsonb_build_object('occurred_at', '2026-04-01 10:00+00'::timestamptz + n * interval '10 days'))
  FROM unnest(ARRAY[200, 300, 1500, 1200, 2000, 4500]) WITH ORDINALITY AS t(amount, n);
SELECT pg_temp.refund('w3', 1500, '2026-06-29Z');
SELECT is((SELECT sum(amount) FROM prm.ledger WHERE program_id = :program AND plan_id = :plan), prm.commission('marginal 0: 1%, 1000: 2%, 3000: 3%, 8000: 5%', 8200), 'BRK-024 after a return the total is that of what was kept');
SELECT is(pg_temp.taken('w3'), 'Ann -75.00', 'BRK-024 from the top: 1500 at 5 percent, not the 25 that it earned');
SELECT pg_temp.refund('w1', 200, '2026-07-15Z');
SELECT is((SELECT sum(amount) FROM prm.ledger WHERE program_id = :program AND plan_id = :plan), prm.commission('marginal 0: 1%, 1000: 2%, 3000: 3%, 8000: 5%', 8000), 'a refund of July unwinds the quarter of its sale');
SELECT pg_temp.sell('third quarter', 'Ann', 1000, '{"occurred_at": "2026-07-16Z"}');
SELECT is(pg_temp.earned('third quarter'), 'Ann 10.00', 'and not that of July');
SELECT pg_temp.sell('second again', 'Ann', 100, '{"occurred_at": "2026-06-30Z"}');
SELECT is(pg_temp.earned('second again'), 'Ann 5.00', 'a late sale of that quarter goes on from what was kept');
-- In parts that do not divide: together they are the whole.
SELECT pg_temp.plan('parts') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule, accumulate, window_kind) VALUES (:plan, 'marginal 0: 7.77%, 50: 11.11%', 'cumulative', 'month');
SELECT pg_temp.sell('x1', 'Ann', 33.33), pg_temp.sell('x2', 'Ann', 66.67);
SELECT pg_temp.refund('x1', 11.11), pg_temp.refund('x2', 22.22), pg_temp.refund('x1', 11.11), pg_temp.refund('x2', 44.45);
SELECT is((SELECT sum(amount) FROM prm.ledger WHERE program_id = :program AND plan_id = :plan), prm.round_money(prm.commission('marginal 0: 7.77%, 50: 11.11%', 11.11), 'USD'), 'in parts: what is kept is what the kept part earns');
SELECT pg_temp.refund('x1', 11.11);
SELECT is((SELECT sum(amount) FROM prm.ledger WHERE program_id = :program AND plan_id = :plan), 0.00, 'and at last nothing');
-- A sale that attained but earned nothing: its refund is unwound too.
SELECT pg_temp.plan('nothing below 1000') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule, accumulate, window_kind) VALUES (:plan, 'marginal 1000: 10%', 'cumulative', 'month');
SELECT pg_temp.sell('z1', 'Ann', 800), pg_temp.sell('z2', 'Ann', 700);
SELECT is(pg_temp.earned('z1') || ', ' || pg_temp.earned('z2'), 'nothing, Ann 50.00', 'what earned nothing was attained');
SELECT pg_temp.refund('z1', 800);
SELECT is(pg_temp.taken('z1'), 'Ann -50.00', 'and its refund unwinds what stood on it');
SELECT pg_temp.refund('z2', 700);
SELECT is((SELECT sum(amount) FROM prm.ledger WHERE program_id = :program AND plan_id = :plan), 0.00, 'nothing is taken twice');
-- Refund and sales in one statement, in the order in which they occurred.
SELECT pg_temp.plan('at once') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule, accumulate, window_kind) VALUES (:plan, 'marginal 0: 10%, 100: 20%', 'cumulative', 'month');
SELECT pg_temp.sell('o1', 'Ann', 100);
INSERT INTO prm.earning_event (kind, external_ref, applies_to_id, partner_id, amount, currency, occurred_at) VALUES
  ('at once', 'o3', NULL, :ann, 100, 'USD', prm.now() + interval '3 hours'),
  ('refunded', 'o2', pg_temp.event('o1'), NULL, -100, 'USD', prm.now() + interval '2 hours');
SELECT is(pg_temp.earned('o3') || ', ' || pg_temp.earned('o2'), 'Ann 10.00, Ann -10.00', 'a refund comes before the later sale of its own statement');

-- With a currency between.
SELECT pg_temp.plan('abroad') AS plan \gset
INSERT INTO prm.exchange_rate (from_currency, to_currency, valid_from, rate) VALUES ('EUR', 'USD', '2026-06-01', 1.10), ('EUR', 'USD', '2026-07-01', 2);
INSERT INTO prm.commission_rule (plan_id, schedule) VALUES (:plan, '10%');
SELECT pg_temp.sell('abroad', 'Ann', 333.33, '{"currency": "EUR"}');
SELECT pg_temp.refund('abroad', 333.33, '2026-07-10Z');
SELECT is(pg_temp.taken('abroad'), 'Ann -33.33', 'given back in its currency, at no other rate');

-- Credits that come late post adjustments; the highest revision counts.
SELECT pg_temp.plan('booked deals') AS plan \gset
INSERT INTO prm.earning_kind (kind, label) VALUES ('booked', 'Booked'), ('refunded', 'Refunded') ON CONFLICT DO NOTHING;
UPDATE prm.commission_plan SET earn_on = 'booked' WHERE plan_id = :plan AND program_id = :program;
INSERT INTO prm.commission_rule (plan_id, schedule) VALUES (:plan, '10%');
INSERT INTO prm.deal (partner_id, name, amount, currency) VALUES (:ann, 'late', 1000, 'USD') RETURNING deal_id AS late \gset
UPDATE prm.deal SET state = 'won' WHERE program_id = :program AND deal_id = :late;
CREATE FUNCTION pg_temp.shares(the_deal bigint) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(format('%s %s', s.partner, s.amount), ', ' ORDER BY s.partner) FROM (SELECT l.partner, sum(l.amount) AS amount FROM prm.v_ledger l
    JOIN prm.earning_event e ON e.program_id = l.program_id AND e.earning_event_id = l.earning_event_id LEFT JOIN prm.earning_event o ON o.program_id = e.program_id AND o.earning_event_id = e.applies_to_id
    WHERE l.program_id = prm.current_program() AND the_deal IN (e.deal_id, o.deal_id) GROUP BY l.partner) s $$;
SELECT is(pg_temp.shares(:late), 'Ann 100.00', 'a deal without credits is its partner''s');
INSERT INTO prm.deal_partner (deal_id, partner_id, weight) VALUES (:late, :ann, 60), (:late, :bob, 40);
SELECT is(pg_temp.shares(:late), 'Ann 60.00, Bob 40.00', 'credits that come late: together what they would have been at once');
SELECT is((SELECT array_agg(DISTINCT kind::text ORDER BY kind::text) FROM prm.ledger WHERE program_id = :program AND plan_id = :plan), ARRAY['adjustment', 'commission'], 'posted as adjustments');
INSERT INTO prm.earning_event (kind, applies_to_id, amount, currency, occurred_at) SELECT 'refunded', earning_event_id, -500, 'USD', prm.now() FROM prm.earning_event WHERE program_id = :program AND deal_id = :late AND kind = 'booked';
SELECT is(pg_temp.shares(:late), 'Ann 30.00, Bob 20.00', 'a refund afterwards takes from each what it has');

-- Cancelled: what is left of it goes back; cancelled twice is refused.
SELECT pg_temp.plan('cancelled') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule) VALUES (:plan, '10%');
SELECT pg_temp.sell('cancelled', 'Cid', 200);
SELECT pg_temp.refund('cancelled', 50);
SELECT prm.cancel_event(pg_temp.event('cancelled'), 'ordered twice') AS cancellation \gset
SELECT is(pg_temp.taken('cancelled'), 'Cid -5.00, Cid -15.00', 'HLD-004 cancelled: what is left goes back');
SELECT throws_ok($$SELECT prm.cancel_event(pg_temp.event('cancelled'), 'once more')$$, '55000', NULL, 'and not twice');

-- What billing systems send, they send again.
SELECT pg_temp.plan('billing') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule, accumulate, window_kind) VALUES (:plan, 'marginal 0: 10%, 100: 20%', 'cumulative', 'month');
CREATE FUNCTION pg_temp.send(the_amount numeric) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(i.outcome, ', ' ORDER BY i.position) FROM prm.earning_ingest(jsonb_build_array(
    jsonb_build_object('kind', 'billing', 'external_ref', 'INV1', 'partner_id', pg_temp.id('Cid'), 'amount', 150, 'currency', 'USD', 'occurred_at', '2026-06-10T10:00:00Z'),
    jsonb_build_object('kind', 'billing', 'external_ref', 'INV2', 'partner_id', pg_temp.id('Cid'), 'amount', the_amount, 'currency', 'USD', 'occurred_at', '2026-06-11T10:00:00Z'))) i $$;
SELECT is(pg_temp.send(100) || ' / ' || pg_temp.send(100) || ' / ' || pg_temp.send(101), 'recorded, recorded / unchanged, unchanged / unchanged, conflict', 'IDM-001 sent three times');
SELECT is(pg_temp.earned('INV1') || ', ' || pg_temp.earned('INV2'), 'Cid 20.00, Cid 20.00', 'IDM-001 earned once');

SELECT pg_temp.sound('all of it');
SELECT * FROM finish();
ROLLBACK;
