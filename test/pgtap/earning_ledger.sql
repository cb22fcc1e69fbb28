-- Earning, what stands around the engine: what rules may say, bookings by line and bookings taken back, collections, late
-- credits, the intake of billing systems, rewards of hooks, subscriptions and quotas. Acceptance ids stand in the names.
BEGIN;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SET LOCAL prm.clock = '2026-06-15 12:00+00';
SELECT set_config('prm.program_id', prm.create_program('Ledger test', 'blank', 'USD', 'UTC')::text, true) AS program \gset

CREATE FUNCTION pg_temp.partner(the_name text, the_parent bigint DEFAULT NULL) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE id bigint;
BEGIN
  INSERT INTO prm.partner (name, kind, parent_id, external_ref) VALUES (the_name, 'reseller', the_parent, lower(the_name)) RETURNING partner_id INTO id;
  DELETE FROM prm.partner_history WHERE partner_id = id AND program_id = prm.current_program();
  INSERT INTO prm.partner_history (partner_id, valid, kind, parent_id) VALUES (id, tstzrange(NULL, NULL), 'reseller', the_parent);
  RETURN id;
END $$;
CREATE FUNCTION pg_temp.plan(the_name text, the_kind text DEFAULT 'booked', the_more jsonb DEFAULT '{}') RETURNS bigint LANGUAGE sql AS $$
  INSERT INTO prm.commission_plan (name, earn_on, currency, pay_on, hold_days)
  VALUES (the_name, the_kind, 'USD', coalesce(the_more ->> 'pay_on', 'earned'), coalesce((the_more ->> 'hold_days')::integer, 0)) RETURNING plan_id $$;
CREATE FUNCTION pg_temp.only(the_name text) RETURNS void LANGUAGE sql AS $$
  UPDATE prm.commission_plan SET is_active = (name = the_name) WHERE program_id = prm.current_program() $$;
-- What an event, and what was booked on it later, came to: partner and sum.
CREATE FUNCTION pg_temp.net(the_event bigint) RETURNS text LANGUAGE sql AS $$
  SELECT coalesce(string_agg(format('%s %s', p.name, s.amount), ', ' ORDER BY p.name), 'nothing')
  FROM (SELECT l.partner_id, sum(l.amount) AS amount FROM prm.ledger l JOIN prm.earning_event e USING (program_id, earning_event_id)
        WHERE l.program_id = prm.current_program() AND the_event IN (e.earning_event_id, e.applies_to_id) GROUP BY l.partner_id) s
  JOIN prm.partner p ON p.program_id = prm.current_program() AND p.partner_id = s.partner_id $$;
CREATE FUNCTION pg_temp.event(the_ref text) RETURNS bigint LANGUAGE sql AS $$
  SELECT earning_event_id FROM prm.earning_event WHERE external_ref = the_ref AND program_id = prm.current_program() $$;
SELECT pg_temp.partner('Top') AS top \gset
SELECT pg_temp.partner('Ann', :top) AS ann, pg_temp.partner('Bob') AS bob, pg_temp.partner('Cid') AS cid \gset

-- ---- what a rule may say ------------------------------------------------------------------------------------------------
SELECT pg_temp.plan('rules') AS rules \gset
CREATE FUNCTION pg_temp.refuses(the_columns text, the_values text, the_state text, the_message text) RETURNS text LANGUAGE sql AS $$
  SELECT throws_ok(format('INSERT INTO prm.commission_rule (plan_id, %s) VALUES ((SELECT plan_id FROM prm.commission_plan WHERE name = ''rules'' AND program_id = prm.current_program()), %s)',
    the_columns, the_values), the_state, the_message, the_message) $$;
SELECT pg_temp.refuses('schedule, measure', $$'marginal 0: 1%, 10: 2%', 'quantity'$$, '23514', 'a schedule that is marginal cannot measure quantity and pay on amount');
SELECT pg_temp.refuses('schedule, measure', $$'interpolated 0: 0, 10: 20', 'margin'$$, '23514', 'a schedule that is interpolated cannot measure margin and pay on amount');
SELECT pg_temp.refuses('schedule, accumulate', $$'5%', 'cumulative'$$, '23514', 'a rule with accumulate = cumulative needs a window_kind');
SELECT pg_temp.refuses('schedule, window_kind', $$'5%', 'year'$$, '23514', 'a rule with accumulate = transaction has no window');
SELECT pg_temp.refuses('schedule, measure', $$'slab 0: 5%, 1: 8%', 'attainment'$$, '23514', 'attainment of a quota is measured over a window');
SELECT pg_temp.refuses('schedule, cap_scope', $$'5%', 'partner'$$, '23514', 'a cap needs an amount');
SELECT pg_temp.refuses('schedule, cap_amount, cap_scope, cap_window', $$'5%', 10, 'event', 'month'$$, '23514', 'a cap of one event has no window');
SELECT pg_temp.refuses('schedule, override_mode', $$'5%', 'differential'$$, '23514', 'a rule of level 0 cannot have override_mode differential');
SELECT pg_temp.refuses('schedule, level, override_mode, accumulate, window_kind', $$'5%', 1, 'percent_of_below', 'lookup', 'month'$$, '23514', 'percent_of_below is paid on the entry below and counts nothing');
SELECT pg_temp.refuses('schedule, level', $$'5%', 11$$, '23514', 'plan "rules" looks only 10 levels up');
SELECT pg_temp.refuses('schedule, level, through_level', $$'5%', 2, 1$$, '23514', NULL);
SELECT pg_temp.refuses('schedule, cap_amount', $$'5%', -1$$, '23514', NULL);
SELECT pg_temp.refuses('schedule, min_amount', $$'5%', 'NaN'$$, '23514', NULL);
SELECT pg_temp.refuses('schedule, entry_kind', $$'5%', 'payout'$$, '23514', NULL);
INSERT INTO prm.commission_rule (plan_id, schedule, level, cap_amount, measure) VALUES (:rules, '5%', 1, 100, 'amount');
SELECT is((SELECT format('%s %s %s %s', override_mode, cap_scope, cap_window, measure) FROM prm.commission_rule WHERE plan_id = :rules),
  'percent_of_sale partner lifetime ', 'what follows from the rest of a rule is written out');
SELECT throws_ok(format('UPDATE prm.commission_plan SET override_depth = 0 WHERE plan_id = %s', :rules), '23514', 'plan "rules" has rules for level 1', 'a plan is as deep as its rules');
SELECT throws_ok(format('UPDATE prm.commission_plan SET earn_on = ''collected'', pay_on = ''collected'' WHERE plan_id = %s', :rules), '23514', 'a plan that earns on collections pays as earned', 'collections are not collected');
-- Versions count the same thing.
INSERT INTO prm.commission_rule (plan_id, schedule, accumulate, window_kind, component) VALUES (:rules, '5%', 'cumulative', 'year', 'counting') RETURNING rule_id AS counting \gset
SELECT throws_ok(format('SELECT prm.supersede_rule(%s, ''2027-01-01'', ''{"window_kind": "month"}'')', :counting), '23514', 'the versions of a rule that accumulates count the same thing', 'a version counts what the first one began to count');
SELECT lives_ok(format('SELECT prm.supersede_rule(%s, ''2027-01-01'', ''{"schedule": "6%%"}'')', :counting), 'and may pay otherwise');
UPDATE prm.commission_plan SET rules_changed_at = '2000-01-01' WHERE plan_id = :rules;
SELECT is((SELECT rules_changed_at FROM prm.commission_plan WHERE plan_id = :rules), '2000-01-01'::timestamptz, 'the mark of changed rules');
SELECT is(prm._exchange_rate(:program, 'USD', 'USD', '2026-01-01'), 1::numeric, 'a currency is itself');
INSERT INTO prm.exchange_rate (from_currency, to_currency, valid_from, rate) VALUES ('EUR', 'USD', '2026-01-01', 1.25), ('EUR', 'USD', '2026-03-01', 1.5), ('USD', 'EUR', '2026-05-01', 0.5);
SELECT is(ARRAY[prm._exchange_rate(:program, 'EUR', 'USD', '2026-02-28'), prm._exchange_rate(:program, 'EUR', 'USD', '2026-03-01'),
  trim_scale(prm._exchange_rate(:program, 'USD', 'EUR', '2026-02-28')), prm._exchange_rate(:program, 'USD', 'EUR', '2026-05-01')], ARRAY[1.25, 1.5, 0.8, 0.5], 'rates are in force until the next; the inverse serves where there is none');
SELECT is(prm._exchange_rate(:program, 'EUR', 'USD', '2025-12-31'), NULL, 'before the first there is none');
SELECT throws_ok($$INSERT INTO prm.exchange_rate (from_currency, to_currency, valid_from, rate) VALUES ('EUR', 'CHF', '2026-01-01', 0)$$, '23514', NULL, 'a rate is above 0');

-- ---- bookings by line, taken back, booked again -----------------------------------------------------------------------------
SELECT pg_temp.plan('ten') AS ten \gset
SELECT pg_temp.only('ten');
INSERT INTO prm.commission_rule (plan_id, schedule) VALUES (:ten, '10%') RETURNING rule_id AS ten_rule \gset
INSERT INTO prm.product (product, label, family, commissionable) VALUES ('seat', 'Seat', 'software', true), ('freight', 'Freight', NULL, false);
INSERT INTO prm.deal (name, partner_id, amount, currency, book_by, external_ref) VALUES ('lines', :ann, 330, 'USD', 'line', 'lines') RETURNING deal_id AS lines \gset
INSERT INTO prm.deal_line (deal_id, line_no, product, quantity, net, list_amount, cost) VALUES (:lines, 1, 'seat', 3, 100, 120, 40), (:lines, 2, 'freight', 1, 30, NULL, NULL), (:lines, 3, 'seat', 5, 200, 250, 90);
SELECT prm.fire('deal', :lines, 'win');
SELECT is((SELECT array_agg(format('%s %s %s %s %s %s', line_no, product, quantity, amount, list_amount, cost) ORDER BY line_no) FROM prm.earning_event WHERE deal_id = :lines),
  ARRAY['1 seat 3 100 120 40', '2 freight 1 30  ', '3 seat 5 200 250 90'], 'one event a line, with what the line has');
SELECT is((SELECT array_agg(format('%s %s', e.line_no, l.amount) ORDER BY e.line_no) FROM prm.ledger l JOIN prm.earning_event e USING (program_id, earning_event_id) WHERE e.deal_id = :lines),
  ARRAY['1 10.00', '3 20.00'], 'a commission-free line earns nothing');
INSERT INTO prm.deal (name, partner_id, amount, currency, book_by) VALUES ('no lines', :ann, 50, 'USD', 'line') RETURNING deal_id AS nolines \gset
SELECT prm.fire('deal', :nolines, 'win');
SELECT is((SELECT format('%s %s', line_no, amount) FROM prm.earning_event WHERE deal_id = :nolines), ' 50', 'a deal without lines is booked whole');
-- By import, the only way back from a final state.
CREATE TEMP TABLE taken_back AS SELECT 'lines' AS id, 'negotiation' AS state;
SELECT is((SELECT outcome FROM prm.import('deal', 'pg_temp.taken_back', '{"external_ref": "id", "state": "state"}')), 'updated', 'a won deal is taken back');
SELECT is((SELECT array_agg(format('%s %s', line_no, amount) ORDER BY line_no) FROM prm.earning_event WHERE deal_id = :lines AND kind = 'refunded'),
  ARRAY['1 -100', '2 -30', '3 -200'], 'what it booked is refunded');
SELECT is((SELECT sum(l.amount) FROM prm.ledger l JOIN prm.earning_event e USING (program_id, earning_event_id) WHERE e.deal_id = :lines), 0.00, 'and given back');
UPDATE prm.deal SET name = 'lines again' WHERE deal_id = :lines;
SELECT is((SELECT count(*) FROM prm.earning_event WHERE deal_id = :lines), 6::bigint, 'once');
UPDATE prm.deal_line SET net = 150 WHERE deal_id = :lines AND line_no = 1;
SELECT prm.fire('deal', :lines, 'win');
SELECT is((SELECT array_agg(format('%s %s', line_no, amount) ORDER BY line_no) FROM prm.earning_event WHERE deal_id = :lines AND booking_no = 2 AND kind = 'booked'),
  ARRAY['1 150', '2 30', '3 200'], 'won again it books again, as it is now');
UPDATE prm.deal SET name = 'lines' WHERE deal_id = :lines;
SELECT is((SELECT count(*) FROM prm.earning_event WHERE deal_id = :lines), 9::bigint, 'and only then');
-- A refund in full is no reason to book the deal again while it stays won.
SELECT prm.cancel_event((SELECT earning_event_id FROM prm.earning_event WHERE deal_id = :nolines), 'fell through') AS refund \gset
UPDATE prm.deal SET name = 'no lines at all' WHERE deal_id = :nolines;
SELECT is((SELECT array_agg(format('%s %s', kind, amount) ORDER BY earning_event_id) FROM prm.earning_event WHERE deal_id = :nolines), ARRAY['booked 50', 'refunded -50'], 'a refunded deal that stays won is not booked again');

-- ---- cancelling -------------------------------------------------------------------------------------------------------------
SELECT is((SELECT format('%s %s', amount, attributes ->> 'reason') FROM prm.earning_event WHERE earning_event_id = :refund), '-50 fell through', 'a cancellation says why');
SELECT throws_ok(format('SELECT prm.cancel_event(%s, ''again'')', (SELECT min(earning_event_id) FROM prm.earning_event WHERE deal_id = :nolines)), '55000', NULL, 'nothing is left to cancel');
SELECT throws_ok(format('SELECT prm.cancel_event(%s, ''again'')', :refund), '55000', NULL, 'a refund is not cancelled');
SELECT throws_ok('SELECT prm.cancel_event(0, ''x'')', '42704', 'there is no earning event 0', 'unknown event');
SELECT throws_ok(format('SELECT prm.cancel_event(%s, '' '')', :refund), '22023', 'a cancellation needs a reason', 'no reason');

-- ---- intake -----------------------------------------------------------------------------------------------------------------
SELECT pg_temp.plan('invoices', 'invoiced') AS invoices \gset
SELECT pg_temp.only('invoices');
INSERT INTO prm.commission_rule (plan_id, schedule) VALUES (:invoices, '10%');
CREATE TEMP TABLE batch AS SELECT $$[
  {"external_ref": "R1", "kind": "refunded", "applies_to_ref": "I1", "amount": -40, "occurred_at": "2026-02-01"},
  {"external_ref": "I1", "kind": "invoiced", "partner_ref": "ann", "amount": 100, "occurred_at": "2026-01-31"},
  {"external_ref": "I1", "kind": "invoiced", "partner_ref": "ann", "amount": 100.00, "occurred_at": "2026-01-31 00:00"},
  {"external_ref": "I1", "kind": "invoiced", "partner_ref": "ann", "amount": 101, "occurred_at": "2026-01-31"},
  {"external_ref": "I2", "kind": "invoice", "partner_ref": "nobody", "amount": 101, "colour": 1},
  {"external_ref": "I3", "kind": "invoiced", "credits": [{"partner_ref": "ann", "weight": 60}, {"partner_ref": "bob", "weight": 40}], "amount": 200, "occurred_at": "2026-01-30"},
  {"external_ref": "I4", "kind": "invoiced", "partner_ref": "ann", "amount": "x", "occurred_at": "2026-01-31"},
  {"external_ref": "I5", "kind": "invoiced", "credits": [{"partner_ref": "ann", "weight": 60}], "amount": 200, "occurred_at": "2026-01-30"},
  {"external_ref": "R2", "kind": "refunded", "applies_to_ref": "I77", "amount": -40, "occurred_at": "2026-02-01"},
  5]$$::jsonb AS events;
SELECT is((SELECT array_agg(format('%s %s', external_ref, outcome) ORDER BY position) FROM batch, prm.earning_ingest(events)),
  ARRAY['R1 recorded', 'I1 recorded', 'I1 unchanged', 'I1 conflict', 'I2 rejected', 'I3 recorded', 'I4 rejected', 'I5 rejected', 'R2 rejected', ' rejected'],
  'each element of a batch has its outcome, and a refund may stand before its sale');
SELECT is((SELECT array_agg(format('%s %s', external_ref, outcome) ORDER BY position) FROM batch, prm.earning_ingest(events)),
  ARRAY['R1 unchanged', 'I1 unchanged', 'I1 unchanged', 'I1 conflict', 'I2 rejected', 'I3 unchanged', 'I4 rejected', 'I5 rejected', 'R2 rejected', ' rejected'],
  'IDM-001 IDM-002 sent again nothing is recorded again');
SELECT is(pg_temp.net(pg_temp.event('I1')), 'Ann 6.00', 'it earned, and gave back');
SELECT is(pg_temp.net(pg_temp.event('I3')), 'Ann 12.00, Bob 8.00', 'by the credits that came with it');
SELECT is((SELECT array_agg(message ORDER BY position) FROM batch, prm.earning_ingest(events) WHERE outcome IN ('conflict', 'rejected') AND external_ref IN ('I1', 'I2', 'R2')),
  ARRAY['it was recorded with amount 100; events are never changed',
    'there is no field colour; there is no earning kind "invoice"; occurred_at is empty: when it happened decides what it earns; no partner has the external_ref "nobody"',
    'no earning event has the external_ref "I77", which it applies to'], 'with the reason');
SELECT matches((SELECT message FROM batch, prm.earning_ingest(events) WHERE external_ref = 'I5'), 'the sourced credits of earning event .* do not total 100', 'SPL-004 also for credits of a billing system');
SELECT is((SELECT count(*) FROM prm.earning_event WHERE program_id = :program AND external_ref IN ('I2', 'I4', 'I5', 'R2')), 0::bigint, 'what is rejected leaves no row');
SELECT is((SELECT outcome || ': ' || message FROM prm.earning_ingest('[{"external_ref": "I3", "kind": "invoiced", "credits": [{"partner_ref": "ann"}], "amount": 200, "occurred_at": "2026-01-30"}]')),
  'conflict: it was recorded with other credits; events are never changed', 'credits are facts, too');
SELECT throws_ok('SELECT prm.earning_ingest(''{}'')', '22023', 'the batch is no JSON array', 'a batch is an array');
SELECT throws_ok('SELECT prm.earning_ingest(''[]'', ''{"colour": 1}'')', '22023', 'earning_ingest has no option "colour"', 'and knows its options');
SELECT is_empty('SELECT prm.earning_ingest(''[]'')', 'an empty one is nothing');
-- Moments without a zone are the programme's, in whatever session.
SET LOCAL timezone = 'Pacific/Auckland';
SELECT is((SELECT outcome FROM prm.earning_ingest('[{"external_ref": "I1", "kind": "invoiced", "partner_ref": "ann", "amount": 100, "occurred_at": "2026-01-31"}]')), 'unchanged', 'the time zone of the session plays no part');
SELECT is(current_setting('timezone'), 'Pacific/Auckland', 'and is left alone');
SET LOCAL timezone = 'UTC';

-- ---- collections --------------------------------------------------------------------------------------------------------------
SELECT pg_temp.plan('on payment', 'invoiced', '{"pay_on": "collected"}') AS onpayment \gset
SELECT pg_temp.only('on payment');
INSERT INTO prm.commission_rule (plan_id, schedule) VALUES (:onpayment, '20%');
CREATE FUNCTION pg_temp.released(the_event bigint) RETURNS numeric[] LANGUAGE sql AS $$
  SELECT array_agg(r.released ORDER BY r.entry_id) FROM prm.v_released r WHERE r.program_id = prm.current_program() AND r.earning_event_id = the_event $$;
CREATE FUNCTION pg_temp.pay(the_event bigint, the_amount numeric) RETURNS bigint LANGUAGE sql AS $$
  INSERT INTO prm.earning_event (kind, applies_to_id, amount, currency, occurred_at) VALUES ('collected', the_event, the_amount, 'USD', prm.now()) RETURNING earning_event_id $$;
CREATE FUNCTION pg_temp.give_back(the_event bigint, the_amount numeric) RETURNS bigint LANGUAGE sql AS $$
  INSERT INTO prm.earning_event (kind, applies_to_id, amount, currency, occurred_at) VALUES ('refunded', the_event, -the_amount, 'USD', prm.now()) RETURNING earning_event_id $$;
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at) VALUES ('invoiced', :ann, 300, 'USD', '2026-06-01') RETURNING earning_event_id AS inv \gset
SELECT is(pg_temp.net(:inv), 'Ann 60.00', 'a plan that pays on collection computes on the invoice');
SELECT is(pg_temp.released(:inv), ARRAY[0]::numeric[], 'STL-012 nothing is released before the customer pays');
SELECT pg_temp.pay(:inv, 100) AS payment \gset
SELECT is(pg_temp.released(:inv), ARRAY[20.00], 'STL-014 a third paid releases a third');
SELECT pg_temp.give_back(:inv, 150);
SELECT is(pg_temp.released(:inv), ARRAY[40.00, -20.00], 'of what is left after a refund, two thirds are paid');
SELECT pg_temp.pay(:inv, 50);
SELECT is(pg_temp.released(:inv), ARRAY[60.00, -30.00], 'and all of it in the end');
SELECT pg_temp.give_back(:payment, 100);
SELECT is((SELECT collected FROM prm.collected_total WHERE earning_event_id = :inv), 50::numeric, 'a payment that bounces is open again');
SELECT is(pg_temp.released(:inv), ARRAY[20.00, -10.00], 'and releases less');
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at) VALUES ('invoiced', :ann, 100, 'USD', '2026-06-01') RETURNING earning_event_id AS unpaid \gset
SELECT pg_temp.give_back(:unpaid, 100);
SELECT is(pg_temp.released(:unpaid), ARRAY[20.00, -20.00], 'STL-013 an unpaid sale that is reversed is free as a whole, and comes to nothing');
SELECT throws_ok(format('SELECT pg_temp.pay(%s, 1)', :payment), '23514', format('earning event %s cannot be collected like this', :payment), 'a collection of a collection');
SELECT throws_ok(format('INSERT INTO prm.earning_event (kind, applies_to_id, amount, currency, occurred_at) VALUES (''collected'', %s, 1, ''EUR'', now())', :inv), '23514', NULL, 'a collection in another currency');
SELECT is((SELECT array_agg(format('%s %s', v.released, v.collectable) ORDER BY v.entry_id) FROM prm.v_released v WHERE v.program_id = :program),
  ARRAY['20.00 150', '-10.00 150', '20.00 0', '-20.00 0'], 'v_released shows the same');
SELECT is(pg_temp.net(:payment), 'nothing', 'a collection earns nothing of itself');
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at) VALUES ('invoiced', :ann, 3, 'USD', '2026-06-01') RETURNING earning_event_id AS small \gset
SELECT pg_temp.pay(:small, 0.125);
SELECT is(pg_temp.released(:small), ARRAY[0.03], 'half a cent is not lost in the quotient: 0.60 * 0.125 / 3, as close_period() reckons');
SELECT pg_temp.plan('cash', 'collected') AS cash \gset
INSERT INTO prm.commission_rule (plan_id, schedule) VALUES (:cash, '5%');
SELECT pg_temp.only('cash');
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at) VALUES ('collected', :bob, 200, 'USD', '2026-06-01') RETURNING earning_event_id AS cashin \gset
SELECT pg_temp.give_back(:cashin, 50);
SELECT is(pg_temp.net(:cashin), 'Bob 7.50', 'but in a plan that earns on collections, and a bounced one gives back');
SELECT throws_ok(format('UPDATE prm.commission_plan SET currency = ''EUR'' WHERE plan_id = %s', :cash), '55000', 'plan "cash" has earned and keeps its currency', 'a plan that has earned keeps its currency');
SELECT throws_ok(format('UPDATE prm.commission_plan SET earn_on = ''booked'' WHERE plan_id = %s', :cash), '55000', 'plan "cash" has earned and keeps its earn_on', 'and what it earns on');
SELECT lives_ok(format('UPDATE prm.commission_plan SET hold_days = 10 WHERE plan_id = %s', :cash), 'the rest may change');

-- ---- late credits -----------------------------------------------------------------------------------------------------------------
SELECT pg_temp.only('ten');
CREATE FUNCTION pg_temp.sell(the_name text, the_partner bigint, the_amount numeric) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE the_id bigint;
BEGIN
  INSERT INTO prm.deal (name, partner_id, amount, currency) VALUES (the_name, the_partner, the_amount, 'USD') RETURNING deal_id INTO the_id;
  UPDATE prm.deal SET state = 'won' WHERE deal_id = the_id AND program_id = prm.current_program();
  RETURN the_id;
END $$;
CREATE FUNCTION pg_temp.booked(the_deal bigint) RETURNS bigint LANGUAGE sql AS $$
  SELECT earning_event_id FROM prm.earning_event WHERE deal_id = the_deal AND kind = 'booked' AND program_id = prm.current_program() $$;
SELECT pg_temp.sell('late', :ann, 1000) AS late \gset
INSERT INTO prm.deal_partner (deal_id, credit_type, partner_id, weight) VALUES (:late, 'influenced', :bob, 100);
SELECT is(pg_temp.net(pg_temp.booked(:late)), 'Ann 100.00, Bob 100.00', 'SPL-007 a further credit comes beside the seller''s');
SELECT is((SELECT format('%s %s %s %s', l.kind, l.amount, l.earned_on, l.cause_entry_id = (SELECT min(entry_id) FROM prm.ledger WHERE earning_event_id = pg_temp.booked(:late) AND program_id = :program))
  FROM prm.ledger l WHERE l.program_id = :program AND l.earning_event_id = pg_temp.booked(:late) AND l.partner_id = :bob), 'adjustment 100.00 2026-06-15 t', 'as an adjustment of today that names what it belongs to');
SELECT is((SELECT array_agg(format('%s %s %s', credit_type, weight, origin) ORDER BY credit_type) FROM prm.sales_credit WHERE earning_event_id = pg_temp.booked(:late)), ARRAY['influenced 100 late', 'sourced 100 given'], 'and is kept');
SELECT throws_ok(format('INSERT INTO prm.deal_partner (deal_id, partner_id, weight) VALUES (%s, %s, 40)', :late, :cid), '23514', format('the sourced credits of deal %s do not total 100', :late), 'SPL-004 of a booked deal, too');
INSERT INTO prm.deal_partner (deal_id, partner_id, weight) VALUES (:late, :ann, 60), (:late, :cid, 40);
SELECT is(pg_temp.net(pg_temp.booked(:late)), 'Ann 60.00, Bob 100.00, Cid 40.00', 'shares that change move the difference');
SELECT is((SELECT array_agg(amount ORDER BY entry_id) FROM prm.ledger WHERE program_id = :program AND earning_event_id = pg_temp.booked(:late) AND kind = 'adjustment'), ARRAY[100.00, -40.00, 40.00], 'payee by payee');
UPDATE prm.deal_partner SET weight = CASE partner_id WHEN :ann THEN 60 ELSE 40 END WHERE deal_id = :late AND credit_type = 'sourced';
SELECT is((SELECT count(*) FROM prm.ledger WHERE program_id = :program AND earning_event_id = pg_temp.booked(:late)), 4::bigint, 'the same again is nothing');
DELETE FROM prm.deal_partner WHERE deal_id = :late AND credit_type = 'influenced';
SELECT is(pg_temp.net(pg_temp.booked(:late)), 'Ann 60.00, Bob 0.00, Cid 40.00', 'SPL-007 a credit that is withdrawn goes back');
SELECT throws_ok(format('INSERT INTO prm.deal_partner (deal_id, partner_id, weight) VALUES (%s, %s, 1)', :late, :ann), '23505', NULL, 'SPL-006 the same payee twice');
SELECT pg_temp.give_back(pg_temp.booked(:late), 250);
SELECT is(pg_temp.net(pg_temp.booked(:late)), 'Ann 45.00, Bob 0.00, Cid 30.00', 'a refund takes from each what it has by now');
UPDATE prm.deal_partner SET weight = 50 WHERE deal_id = :late AND credit_type = 'sourced';
SELECT is(pg_temp.net(pg_temp.booked(:late)), 'Ann 37.50, Bob 0.00, Cid 37.50', 'credits that change after a refund share what is left');
SELECT pg_temp.give_back(pg_temp.booked(:late), 250);
SELECT is(pg_temp.net(pg_temp.booked(:late)), 'Ann 25.00, Bob 0.00, Cid 25.00', 'as the next refund does');
SELECT pg_temp.give_back(pg_temp.booked(:late), 500);
SELECT is(pg_temp.net(pg_temp.booked(:late)), 'Ann 0.00, Bob 0.00, Cid 0.00', 'and the last one leaves nothing');
-- The credits of an event by hand.
INSERT INTO prm.earning_event (kind, amount, currency, occurred_at) VALUES ('booked', 90, 'USD', prm.now()) RETURNING earning_event_id AS given \gset
INSERT INTO prm.sales_credit (earning_event_id, credit_type, partner_id, weight) VALUES (:given, 'sourced', :ann, 100);
INSERT INTO prm.sales_credit (earning_event_id, credit_type, partner_id, weight, revision) VALUES (:given, 'sourced', :ann, 33, 2), (:given, 'sourced', :bob, 33, 2), (:given, 'sourced', :cid, 34, 2);
SELECT is(pg_temp.net(:given), 'Ann 2.97, Bob 2.97, Cid 3.06', 'the next revision of a credit');
SELECT throws_ok(format('INSERT INTO prm.sales_credit (earning_event_id, credit_type, partner_id, weight, revision) VALUES (%s, ''sourced'', %s, 100, 4)', :given, :ann), '23514', format('revision 4 of the sourced credits of earning event %s leaves one out', :given), 'revisions have no gaps');
SELECT throws_ok(format('INSERT INTO prm.sales_credit (earning_event_id, credit_type, partner_id, weight, origin) VALUES (%s, ''x'', %s, 100, ''deal'')', :given, :ann), '22023', 'credits of origin deal are copied by the model only', 'nobody keeps a credit from earning');
-- Rules that count: the partners' later events follow.
SELECT pg_temp.plan('counting') AS counting \gset
SELECT pg_temp.only('counting');
INSERT INTO prm.commission_rule (plan_id, schedule, accumulate, window_kind) VALUES (:counting, 'marginal 0: 1%, 1000: 2%', 'cumulative', 'year');
SELECT pg_temp.sell('one', :ann, 1000) AS one, pg_temp.sell('two', :ann, 1000) AS two \gset
SELECT is(pg_temp.net(pg_temp.booked(:one)) || ' / ' || pg_temp.net(pg_temp.booked(:two)), 'Ann 10.00 / Ann 20.00', 'the second deal climbs');
INSERT INTO prm.deal_partner (deal_id, partner_id, weight) VALUES (:one, :ann, 60), (:one, :bob, 40);
SELECT is(pg_temp.net(pg_temp.booked(:one)) || ' / ' || pg_temp.net(pg_temp.booked(:two)), 'Ann 6.00, Bob 4.00 / Ann 16.00', 'with less before it, it climbs less');
SELECT is((SELECT array_agg(amount ORDER BY partner_id) FROM prm.accumulator WHERE program_id = :program AND plan_id = :counting), ARRAY[1600, 400]::numeric[], 'and the counts follow');
SELECT pg_temp.give_back(pg_temp.booked(:one), 1000);
SELECT is(pg_temp.net(pg_temp.booked(:one)), 'Ann -6.00, Bob 0.00', 'a return unwinds from the top: what is left of Ann earns 10.00');
SELECT is((SELECT array_agg(amount ORDER BY partner_id) FROM prm.accumulator WHERE program_id = :program AND plan_id = :counting), ARRAY[1000, 0]::numeric[], 'and is not counted any more');

-- ---- adjustments by hand ------------------------------------------------------------------------------------------------------------
SELECT prm.post_adjustment(:ann, 250, 'USD', 'launch bonus') AS bonus \gset
SELECT is((SELECT format('%s %s %s %s', kind, amount, eligible_at = prm.now(), reason) FROM prm.ledger WHERE entry_id = :bonus), 'adjustment 250.00 t launch bonus', 'HLD-002 an adjustment by hand is payable at once');
SELECT prm.post_adjustment(:ann, -250, 'USD', 'was Bob''s', :bonus) AS correction \gset
SELECT is((SELECT cause_entry_id FROM prm.ledger WHERE entry_id = :correction), :bonus::bigint, 'and names what it corrects');
SELECT throws_ok(format('SELECT prm.post_adjustment(%s, 1, ''USD'', NULL)', :ann), '22023', 'an adjustment needs a reason', 'no reason');
SELECT throws_ok(format('SELECT prm.post_adjustment(%s, 0, ''USD'', ''x'')', :ann), '22023', NULL, 'no amount');
SELECT throws_ok(format('SELECT prm.post_adjustment(%s, 1.001, ''USD'', ''x'')', :ann), '22023', '1.001 is no amount of USD', 'too many decimal places');
SELECT throws_ok(format('SELECT prm.post_adjustment(%s, 1, ''QQQ'', ''x'')', :ann), '22023', NULL, 'no currency');
SELECT throws_ok('SELECT prm.post_adjustment(0, 1, ''USD'', ''x'')', '42704', 'there is no partner 0', 'unknown partner');
SELECT throws_ok(format('SELECT prm.post_adjustment(%s, 1, ''USD'', ''x'', %s)', :bob, :bonus), '22023', format('ledger entry %s cannot be adjusted like this', :bonus), 'an entry of somebody else');

-- ---- rewards ----------------------------------------------------------------------------------------------------------------------
SELECT pg_temp.plan('rewards', 'lead') AS rewards \gset
SELECT pg_temp.only('rewards');
INSERT INTO prm.commission_rule (plan_id, basis, schedule, recurring_months) VALUES (:rewards, 'quantity', 'slab 0: 25 each', 0);
CREATE FUNCTION pg_temp.refused_hook(the_columns text, the_values text, the_message text) RETURNS text LANGUAGE sql AS $$
  SELECT throws_ok(format('INSERT INTO prm.machine_hook (machine, fires_on, to_state, action, %s) VALUES (''lead'', ''enter'', ''approved'', ''earn'', %s)', the_columns, the_values), '22023', the_message, the_message) $$;
SELECT pg_temp.refused_hook('earn_kind', 'NULL', 'hook of machine "lead": an earning event needs its kind, earn_kind');
SELECT pg_temp.refused_hook('earn_kind', '''booked''', 'hook of machine "lead": an event of kind booked is not booked by a hook');
SELECT pg_temp.refused_hook('earn_kind', '''party''', 'hook of machine "lead": there is no earning kind "party"');
SELECT pg_temp.refused_hook('earn_kind, amount', '''lead'', -1', 'hook of machine "lead": an event cannot have the amount -1');
INSERT INTO prm.machine_hook (machine, fires_on, to_state, action, earn_kind) VALUES ('lead', 'enter', 'approved', 'earn', 'lead');
INSERT INTO prm.customer (name) VALUES ('Acme') RETURNING customer_id AS acme \gset
SET LOCAL prm.partner_id = :ann;
INSERT INTO prm.lead (partner_id, customer_id, company, need, budget, timeline_on, decision_maker) VALUES (:ann, :acme, 'Acme', 'x', 1, '2026-07-01', 'CEO') RETURNING lead_id AS lead1 \gset
INSERT INTO prm.lead (partner_id, customer_id, company, need, budget, timeline_on, decision_maker) VALUES (:ann, :acme, 'Acme', 'y', 1, '2026-07-01', 'CEO') RETURNING lead_id AS lead2 \gset
UPDATE prm.lead SET state = 'partner_qualified' WHERE lead_id IN (:lead1, :lead2);
RESET prm.partner_id;
SELECT prm.fire('lead', :lead1, 'approve');
SELECT is((SELECT format('%s %s %s %s', kind, partner_id = :ann, customer_id = :acme, quantity) FROM prm.earning_event WHERE program_id = :program AND kind = 'lead'), 'lead t t 1', 'a hook books a reward');
SELECT is((SELECT array_agg(l.amount) FROM prm.ledger l JOIN prm.earning_event e USING (program_id, earning_event_id) WHERE e.program_id = :program AND e.kind = 'lead'), ARRAY[25.00], 'which earns');
SELECT prm.fire('lead', :lead2, 'approve');
SELECT is((SELECT array_agg(l.amount) FROM prm.ledger l JOIN prm.earning_event e USING (program_id, earning_event_id) WHERE e.program_id = :program AND e.kind = 'lead'), ARRAY[25.00], 'REC-006 once for each partner and customer');
SELECT prm.cancel_event((SELECT min(earning_event_id) FROM prm.earning_event WHERE program_id = :program AND kind = 'lead'), 'a fake') AS fake \gset
SELECT is((SELECT array_agg(l.amount) FROM prm.ledger l WHERE program_id = :program AND earning_event_id = :fake), ARRAY[-25.00], 'an event without an amount is taken back as a whole');
SELECT throws_ok(format('SELECT prm.cancel_event(%s, ''twice'')', (SELECT min(earning_event_id) FROM prm.earning_event WHERE program_id = :program AND kind = 'lead')), '55000', NULL, 'once');

-- ---- subscriptions ----------------------------------------------------------------------------------------------------------------
SELECT pg_temp.only('invoices');
INSERT INTO prm.subscription (subscription_id, partner_id, customer_id, product, quantity, amount, currency, period_kind, started_on)
  VALUES ('S1', :ann, :acme, 'seat', 3, 30, 'USD', 'month', '2026-01-31'), ('S2', :bob, :acme, NULL, NULL, 120, 'USD', 'year', '2026-06-15'),
    ('S3', :bob, :acme, NULL, NULL, 90, 'USD', 'quarter', '2026-06-16'), ('S4', :bob, NULL, NULL, NULL, 10, 'USD', 'month', '2026-03-01');
UPDATE prm.subscription SET ended_on = '2026-04-15' WHERE subscription_id = 'S4';
SELECT is(prm._work_subscriptions(:program, 100), 3::bigint, 'three of four subscriptions are due');
SELECT is((SELECT array_agg(service_period::text ORDER BY occurred_at) FROM prm.earning_event WHERE program_id = :program AND subscription_id = 'S1'),
  ARRAY['[2026-01-31,2026-02-28)', '[2026-02-28,2026-03-31)', '[2026-03-31,2026-04-30)', '[2026-04-30,2026-05-31)', '[2026-05-31,2026-06-30)'], 'the periods of a month that begins on the 31st');
SELECT is((SELECT array_agg(service_period::text ORDER BY occurred_at) FROM prm.earning_event WHERE program_id = :program AND subscription_id = 'S4'),
  ARRAY['[2026-03-01,2026-04-01)', '[2026-04-01,2026-04-16)'], 'after its end nothing is booked');
SELECT is((SELECT array_agg(format('%s %s %s', subscription_id, state, next_period_on) ORDER BY subscription_id) FROM prm.subscription WHERE program_id = :program),
  ARRAY['S1 active 2026-06-30', 'S2 active 2027-06-15', 'S3 active 2026-06-16', 'S4 ended 2026-07-01'], 'each knows its next period');
SELECT is(prm._work_subscriptions(:program, 100), 0::bigint, 'and nothing is due again');
UPDATE prm.subscription SET next_period_on = '2026-05-31' WHERE subscription_id = 'S1';
SELECT is((SELECT prm._work_subscriptions(:program, 100)) || ' ' || (SELECT count(*) FROM prm.earning_event WHERE program_id = :program AND subscription_id = 'S1'), '1 5', 'a period is booked once, whatever happens to the row');
SELECT is((SELECT sum(l.amount) FROM prm.ledger l JOIN prm.earning_event e USING (program_id, earning_event_id) WHERE e.program_id = :program AND e.subscription_id = 'S1'), 15.00, 'each earns');
SELECT is((SELECT array_agg(format('%s %s %s %s', partner, subscriptions, monthly_revenue, yearly_revenue) ORDER BY partner) FROM prm.v_recurring_revenue WHERE program_id = :program),
  ARRAY['Ann 1 30.00 360.00', 'Bob 1 10.00 120.00'], 'recurring revenue by the month');
SELECT throws_ok($$UPDATE prm.subscription SET period_kind = 'year' WHERE subscription_id = 'S1'$$, '55000', 'subscription "S1" has booked periods and keeps them', 'what has booked keeps its periods');
UPDATE prm.subscription SET state = 'paused' WHERE subscription_id = 'S1';
SET LOCAL prm.clock = '2026-09-15 12:00+00';
SELECT is(prm._work_subscriptions(:program, 100), 1::bigint, 'a paused one books nothing');
UPDATE prm.subscription SET state = 'active' WHERE subscription_id = 'S1';
SELECT is((SELECT next_period_on FROM prm.subscription WHERE subscription_id = 'S1'), '2026-09-30'::date, 'and goes on from where it is taken up');
SET LOCAL prm.clock = '2026-06-15 12:00+00';

-- ---- quotas -----------------------------------------------------------------------------------------------------------------------
SELECT pg_temp.only('ten');
SELECT pg_temp.partner('Quo') AS quo \gset
UPDATE prm.partner SET joined_on = '2026-04-16' WHERE partner_id = :quo;
INSERT INTO prm.quota (partner_id, window_kind, amount) VALUES (:quo, 'quarter', 9100);
SELECT is((SELECT format('%s %s %s %s %s', window_start, window_end, trim_scale(quota_prorated), attained, attainment) FROM prm.v_quota WHERE partner_id = :quo), '2026-04-01 2026-06-30 7600 0.00 0.0000', 'a quota is prorated by the days in the programme');
SELECT pg_temp.sell('quo 1', :quo, 3800) AS quo1 \gset
INSERT INTO prm.deal_partner (deal_id, partner_id, weight) VALUES (:quo1, :quo, 50), (:quo1, :bob, 50);
SELECT pg_temp.sell('quo 2', :quo, 3800) AS quo2 \gset
SELECT is((SELECT format('%s %s', attained, attainment) FROM prm.v_quota WHERE partner_id = :quo), '5700.00 0.7500', 'the credited share counts');
SELECT pg_temp.give_back(pg_temp.booked(:quo2), 1900);
SELECT is((SELECT format('%s %s', attained, attainment) FROM prm.v_quota WHERE partner_id = :quo), '3800.00 0.5000', 'what was refunded does not');
SELECT throws_ok(format('INSERT INTO prm.quota (partner_id, window_kind, amount, valid) VALUES (%s, ''quarter'', 1, daterange(''2026-05-01'', NULL))', :quo), '23P01', NULL, 'one quota at a time');

-- ---- in the end -------------------------------------------------------------------------------------------------------------------
UPDATE prm.commission_plan SET is_active = name <> 'rules' WHERE program_id = :program;
SELECT is_empty('SELECT rule, entry_id, detail FROM prm.audit_ledger()', 'the ledger is sound');
SELECT is((SELECT count(*) FROM prm.accumulator a LEFT JOIN (SELECT purpose, lineage_id, plan_id, partner_id, customer_id, credit_type, window_start, sum(amount) AS amount, count(*) AS entries
    FROM prm.accumulator_entry WHERE program_id = :program GROUP BY 1, 2, 3, 4, 5, 6, 7) e USING (purpose, lineage_id, plan_id, partner_id, customer_id, credit_type, window_start)
  WHERE a.program_id = :program AND (a.amount, a.entries) IS DISTINCT FROM (e.amount, e.entries)), 0::bigint, 'a count is the sum of its steps');
SELECT throws_ok('UPDATE prm.accumulator_entry SET amount = 1', '55000', NULL, 'the steps of a count are not changed');
SELECT throws_ok('DELETE FROM prm.breakage', '55000', NULL, 'nor is what was not paid');
SELECT throws_ok('DELETE FROM prm.recurring_start', '55000', NULL, 'nor when a pair began');
SELECT throws_ok('TRUNCATE prm.recurring_start', '55000', NULL, 'in no way');

SELECT * FROM finish();
ROLLBACK;
