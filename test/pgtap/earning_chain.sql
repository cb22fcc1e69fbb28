-- Earning, who shares: splits by credits, overrides along the chain of parents. Acceptance ids stand in the names.
BEGIN;
\ir earning.psql
SELECT set_config('prm.program_id', prm.create_program('Earning chains', 'blank', 'USD', 'UTC')::text, true) AS program \gset
INSERT INTO prm.ladder (ladder, label) VALUES ('main', 'Main') ON CONFLICT DO NOTHING;
INSERT INTO prm.tier (tier, rank, label) VALUES ('bronze', 1, 'Bronze'), ('silver', 2, 'Silver'), ('gold', 3, 'Gold'), ('diamond', 4, 'Diamond'), ('platinum', 5, 'Platinum');

-- Splits.
SELECT pg_temp.partner('Ref ' || n) FROM generate_series(1, 5) n;
SELECT pg_temp.plan('split') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule) VALUES (:plan, '100%');
CREATE FUNCTION pg_temp.split(the_name text) RETURNS void LANGUAGE sql AS $$
  INSERT INTO prm.sales_credit (earning_event_id, credit_type, partner_id, weight)
  SELECT pg_temp.event(the_name), 'sourced', pg_temp.id('Ref ' || n), weight FROM unnest(ARRAY[30, 5, 5, 5, 55]) WITH ORDINALITY AS t(weight, n) $$;
SELECT pg_temp.sell('split', NULL, 100);
SELECT pg_temp.split('split');
SELECT is(pg_temp.earned('split'), 'Ref 1 30.00, Ref 2 5.00, Ref 3 5.00, Ref 4 5.00, Ref 5 55.00', 'SPL-001 first and last get more, together the whole');
SELECT pg_temp.plan('split of at least 10') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule, min_amount) VALUES (:plan, '100%', 10);
SELECT pg_temp.sell('small shares', NULL, 100);
SELECT pg_temp.split('small shares');
SELECT is(pg_temp.earned('small shares'), 'Ref 1 30.00, Ref 5 55.00', 'SPL-002 shares under the minimum are not paid');
SELECT is(pg_temp.lost('small shares'), 'below_minimum 5, below_minimum 5, below_minimum 5', 'SPL-002 and are recorded');
SELECT is((SELECT sum(amount) FROM prm.ledger WHERE program_id = :program AND plan_id = :plan) + (SELECT sum(amount) FROM prm.breakage WHERE program_id = :program AND plan_id = :plan), 100.00, 'SPL-002 nothing is lost silently');
SELECT ok(pg_temp.outcomes('small shares') LIKE '%unpaid%', 'SPL-002 and explained');
SELECT is((SELECT sum(b.amount) FROM prm.breakage b WHERE b.program_id = :program AND b.reason_code = 'below_minimum' AND b.currency = 'USD'), 15::numeric, 'SPL-002 by reason');
-- A minimum is met by what is exactly there.
SELECT pg_temp.sell('just enough', 'Ref 1', 10), pg_temp.sell('not enough', 'Ref 1', 9.99);
SELECT is(pg_temp.earned('just enough') || ', ' || pg_temp.earned('not enough'), 'Ref 1 10.00, nothing', 'SPL-002 the minimum itself is paid');
-- Thirds of a cent that cannot be divided.
SELECT pg_temp.plan('thirds') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule) VALUES (:plan, '100%');
SELECT pg_temp.sell('thirds', NULL, 100.01);
INSERT INTO prm.sales_credit (earning_event_id, credit_type, partner_id, weight) SELECT pg_temp.event('thirds'), 'sourced', pg_temp.id('Ref ' || n), 25 FROM generate_series(1, 4) n;
SELECT is(pg_temp.earned('thirds'), 'Ref 1 25.01, Ref 2 25.00, Ref 3 25.00, Ref 4 25.00', 'SPL-003 shares sum to the whole');
SELECT throws_ok($$INSERT INTO prm.sales_credit (earning_event_id, credit_type, partner_id, weight) SELECT pg_temp.sell('short', NULL, 1), 'sourced', pg_temp.id('Ref 1'), 90$$, '23514', NULL, 'SPL-004 weights total 100');

-- OVR-002 only the top.
SELECT pg_temp.partner('top'); SELECT pg_temp.partner('middle', 'top'); SELECT pg_temp.partner('seller', 'middle');
SELECT pg_temp.plan('top') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, component, level, through_level, override_mode, schedule) VALUES (:plan, 'base', 1, 10, 'top_of_chain', '3%'), (:plan, 'half', 1, 10, 'top_of_chain', '1.5%');
SELECT pg_temp.sell('top', 'seller', 100);
SELECT is(pg_temp.earned('top'), 'top 3.00, top 1.50', 'OVR-002 only the top of the chain is paid');
SELECT pg_temp.sell('top itself', 'top', 100);
SELECT is(pg_temp.earned('top itself'), 'nothing', 'OVR-002 the top has nobody above it');
SELECT is((SELECT array_agg(DISTINCT format('%s %s', l.kind, l.level)) FROM prm.ledger l WHERE l.program_id = :program AND l.earning_event_id = pg_temp.event('top')), ARRAY['override 2'], 'OVR-002 as overrides of its level');

-- OVR-003 a fixed pool; a missing level rolls to the seller.
SELECT pg_temp.plan('pool') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, level, override_mode, schedule) VALUES (:plan, 0, NULL, '5%'), (:plan, 1, 'rollup', '5%'), (:plan, 2, 'rollup', '5%');
SELECT pg_temp.sell('pool ' || partner, partner, 100) FROM unnest(ARRAY['seller', 'middle', 'top']) partner;
CREATE FUNCTION pg_temp.sums(the_name text) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(format('%s %s', s.partner, s.amount), ', ' ORDER BY s.lowest) FROM (SELECT l.partner, sum(l.amount) AS amount, min(l.level) AS lowest
    FROM prm.v_ledger l WHERE l.program_id = prm.current_program() AND l.earning_event_id = pg_temp.event(the_name) GROUP BY l.partner) s $$;
SELECT is(pg_temp.sums('pool seller'), 'seller 5.00, middle 5.00, top 5.00', 'OVR-003 three levels');
SELECT is(pg_temp.sums('pool middle'), 'middle 10.00, top 5.00', 'OVR-003 two levels');
SELECT is(pg_temp.sums('pool top'), 'top 15.00', 'OVR-003 one level');
SELECT pg_temp.refund('pool top', 50);
SELECT is((SELECT sum(l.amount) FROM prm.ledger l WHERE l.program_id = :program AND l.plan_id = :plan), 37.50, 'OVR-003 half of the last sale given back');

-- OVR-004 differential by rank.
SELECT pg_temp.partner('peter', NULL, 'silver'); SELECT pg_temp.partner('john', 'peter', 'platinum'); SELECT pg_temp.partner('kate', 'john', 'gold');
SELECT pg_temp.partner('simon', 'kate', 'bronze'); SELECT pg_temp.partner('tracy', 'simon', 'bronze');
SELECT pg_temp.plan('differential') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, level, through_level, override_mode, tier, schedule)
  SELECT :plan, l.level, l.through_level, l.override_mode, t.tier, t.schedule
  FROM (VALUES (0, NULL::integer, NULL), (1, 10, 'differential')) l(level, through_level, override_mode), (VALUES ('bronze', '5%'), ('silver', '10%'), ('gold', '20%'), ('platinum', '30%')) t(tier, schedule);
SELECT pg_temp.sell('rank', 'tracy', 100);
SELECT is(pg_temp.earned('rank'), 'tracy 5.00, kate 15.00, john 10.00', 'OVR-004 each its own rate less what is paid below, never negative, together the top rate');
SELECT is(pg_temp.lost('rank'), 'nothing', 'OVR-004 and what is not due is not lost');

-- OVR-005 amounts of skipped ranks go to the first that is high enough.
SELECT pg_temp.partner('d9', NULL, 'platinum'); SELECT pg_temp.partner('d8', 'd9', 'platinum'); SELECT pg_temp.partner('d7', 'd8', 'diamond'); SELECT pg_temp.partner('d6', 'd7', 'gold');
SELECT pg_temp.partner('d5', 'd6', 'silver'); SELECT pg_temp.partner('d4', 'd5', 'diamond'); SELECT pg_temp.partner('d3', 'd4', 'gold'); SELECT pg_temp.partner('d2', 'd3', 'gold'); SELECT pg_temp.partner('d1', 'd2', 'bronze');
SELECT pg_temp.plan('lots') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, level, through_level, override_mode, tier, basis, schedule)
  SELECT :plan, l.level, l.through_level, l.override_mode, t.tier, 'quantity', t.schedule
  FROM (VALUES (0, NULL::integer, NULL), (1, 10, 'differential')) l(level, through_level, override_mode),
    (VALUES ('bronze', 'marginal 0: 1 each'), ('silver', 'marginal 0: 3 each'), ('gold', 'marginal 0: 6 each'), ('diamond', 'marginal 0: 10 each'), ('platinum', 'marginal 0: 15 each')) t(tier, schedule);
SELECT pg_temp.sell('lot', 'd1', 1000, '{"quantity": 1}');
SELECT is(pg_temp.earned('lot'), 'd1 1.00, d2 5.00, d4 4.00, d8 5.00', 'OVR-005 nine levels');
SELECT is((SELECT sum(l.amount) FROM prm.ledger l WHERE l.program_id = :program AND l.plan_id = :plan), 15.00, 'OVR-005 in total the highest');
SELECT pg_temp.refund('lot', 500, prm.now(), 0.5);
SELECT is(pg_temp.taken('lot'), 'd1 -0.50, d2 -2.50, d4 -2.00, d8 -2.50', 'OVR-005 a refund takes from each row its part');

-- OVR-006 ten percent of the commission below.
SELECT pg_temp.plan('below') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, level, through_level, override_mode, schedule) VALUES (:plan, 0, NULL, NULL, '10%'), (:plan, 1, 9, 'percent_of_below', '10%');
SELECT pg_temp.sell('below', 'seller', 10000), pg_temp.sell('rounded below', 'seller', 33.33);
SELECT is(pg_temp.earned('below'), 'seller 1000.00, middle 100.00, top 10.00', 'OVR-006 each of the row below');
SELECT is(pg_temp.earned('rounded below'), 'seller 3.33, middle 0.33, top 0.03', 'OVR-006 of the rounded row');
SELECT is((SELECT array_agg(c.level ORDER BY l.level) FROM prm.ledger l JOIN prm.ledger c ON c.program_id = l.program_id AND c.entry_id = l.cause_entry_id
  WHERE l.program_id = :program AND l.earning_event_id = pg_temp.event('below')), ARRAY[0, 1], 'OVR-006 each points to the row that it derives from');
SELECT pg_temp.refund('below', 5000);
SELECT is(pg_temp.taken('below'), 'seller -500.00, middle -50.00, top -5.00', 'OVR-006 a refund takes back at every level');

-- OVR-007 with a minimum.
SELECT pg_temp.plan('at least 15') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, level, through_level, override_mode, schedule, min_amount) VALUES (:plan, 0, NULL, NULL, '10%', NULL), (:plan, 1, NULL, 'percent_of_below', '10%', 15);
SELECT pg_temp.sell('at least', 'seller', 1000);
SELECT is(pg_temp.earned('at least') || ', ' || pg_temp.lost('at least'), 'seller 100.00, below_minimum 10', 'OVR-007 ten is below the minimum of fifteen, and recorded');

-- OVR-008 fixed percentages of the sale.
SELECT pg_temp.plan('of the sale') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, level, schedule) VALUES (:plan, 0, '30%'), (:plan, 1, '6%'), (:plan, 2, '4%');
SELECT pg_temp.sell('of the sale', 'seller', 100);
SELECT is(pg_temp.earned('of the sale'), 'seller 30.00, middle 6.00, top 4.00', 'OVR-008 percentages of the sale');
SELECT is((SELECT array_agg(format('%s %s', l.kind, l.level) ORDER BY l.level) FROM prm.ledger l WHERE l.program_id = :program AND l.earning_event_id = pg_temp.event('of the sale')),
  ARRAY['commission 0', 'override 1', 'override 2'], 'OVR-008 the seller''s is a commission, the others are overrides');

-- OVR-009 by the lower of two plans.
SELECT pg_temp.partner('A'); SELECT pg_temp.partner('B', 'A'); SELECT pg_temp.partner('d', 'B'); SELECT pg_temp.partner('e', 'B');
SELECT pg_temp.plan('P1') AS p1 \gset
INSERT INTO prm.commission_plan (name, earn_on, currency) VALUES ('P2', 'P1', 'USD') RETURNING plan_id AS p2 \gset
UPDATE prm.commission_plan SET enrol_all = false WHERE plan_id IN (:p1, :p2) AND program_id = :program;
INSERT INTO prm.plan_enrolment (plan_id, partner_id) SELECT p, pg_temp.id(n) FROM (VALUES (:p1, 'd'), (:p1, 'B'), (:p2, 'e'), (:p2, 'A')) t(p, n);
INSERT INTO prm.commission_rule (plan_id, level, override_mode, schedule) VALUES (:p1, 1, 'lower_of_plans', 'slab 0: 2.5'), (:p1, 2, 'lower_of_plans', 'slab 0: 2'), (:p2, 1, 'lower_of_plans', 'slab 0: 10'), (:p2, 2, 'lower_of_plans', 'slab 0: 9');
SELECT pg_temp.sell('fee of d', 'd', 50), pg_temp.sell('fee of e', 'e', 100);
SELECT is(pg_temp.earned('fee of d'), 'B 2.50, A 2.00', 'OVR-009 d pays by P1: A gets what P1 gives its level');
SELECT is(pg_temp.earned('fee of e'), 'B 2.50, A 9.00', 'OVR-009 e pays by P2: B gets what its own plan gives');

-- OVR-010 a cycle; a limit; compression; unqualified uplines.
SELECT pg_temp.partner('loop a'); SELECT pg_temp.partner('loop b', 'loop a');
UPDATE prm.partner_history SET parent_id = pg_temp.id('loop b') WHERE program_id = :program AND partner_id = pg_temp.id('loop a');
SELECT pg_temp.plan('cycle') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, level, through_level, schedule) VALUES (:plan, 1, 9, '1%');
SELECT throws_ok($$SELECT pg_temp.sell('cycle', 'loop a', 100)$$, '23514', NULL, 'OVR-010 a cycle is refused');
SELECT is(pg_temp.event('cycle'), NULL, 'OVR-010 and nothing is left behind');
SELECT pg_temp.plan('two levels', 2) AS plan \gset
SELECT throws_ok(format($$INSERT INTO prm.commission_rule (plan_id, level, through_level, schedule) VALUES (%s, 1, 9, '1%%')$$, :plan), '23514', NULL, 'a plan says how deep a chain is followed');
INSERT INTO prm.commission_rule (plan_id, level, through_level, schedule) VALUES (:plan, 1, 2, '1%');
SELECT pg_temp.sell('deep', 'd1', 100);
SELECT is(pg_temp.earned('deep'), 'd2 1.00, d3 1.00', 'and no deeper');
-- tracy (bronze) - simon (bronze) - kate (gold) - john (platinum) - peter (silver)
SELECT pg_temp.plan('gold and above') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, level, tier, schedule) SELECT :plan, level, tier, schedule FROM (VALUES (1, '10%'), (2, '5%')) l(level, schedule), (VALUES ('gold'), ('platinum')) t(tier);
SELECT pg_temp.sell('unqualified', 'tracy', 100);
SELECT is(pg_temp.earned('unqualified'), 'kate 5.00', 'an unqualified upline keeps its level unpaid');
SELECT pg_temp.plan('compressed') AS plan \gset
UPDATE prm.commission_plan SET compress = true WHERE plan_id = :plan AND program_id = :program;
INSERT INTO prm.commission_rule (plan_id, level, tier, schedule) SELECT :plan, level, tier, schedule FROM (VALUES (1, '10%'), (2, '5%')) l(level, schedule), (VALUES ('gold'), ('platinum')) t(tier);
SELECT pg_temp.sell('compressed', 'tracy', 100);
SELECT is(pg_temp.earned('compressed'), 'kate 10.00, john 5.00', 'where the plan compresses, who is qualified moves up');
-- The chain as it was at the event.
SELECT pg_temp.plan('then') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, level, schedule) VALUES (:plan, 1, '10%');
UPDATE prm.partner_history SET valid = tstzrange(NULL, '2026-06-10 00:00+00') WHERE program_id = :program AND partner_id = pg_temp.id('Ref 1');
INSERT INTO prm.partner_history (partner_id, valid, kind, parent_id) VALUES (pg_temp.id('Ref 1'), tstzrange('2026-06-10 00:00+00', NULL), 'reseller', pg_temp.id('Ref 2'));
UPDATE prm.partner_history SET parent_id = pg_temp.id('Ref 3') WHERE program_id = :program AND partner_id = pg_temp.id('Ref 1') AND valid @> '2026-06-01 00:00+00'::timestamptz;
SELECT pg_temp.sell('before', 'Ref 1', 100, '{"occurred_at": "2026-06-09 10:00+00"}'), pg_temp.sell('after', 'Ref 1', 100);
SELECT is(pg_temp.earned('before') || ', ' || pg_temp.earned('after'), 'Ref 3 10.00, Ref 2 10.00', 'overrides go by the parents of then');
-- Each credited partner has a chain of its own; a split sale pays each upline on its part.
SELECT pg_temp.plan('split chains') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, level, override_mode, schedule) VALUES (:plan, 0, NULL, '10%'), (:plan, 1, 'percent_of_below', '50%');
SELECT pg_temp.sell('split chains', NULL, 100);
INSERT INTO prm.sales_credit (earning_event_id, credit_type, partner_id, weight) SELECT pg_temp.event('split chains'), 'sourced', pg_temp.id(n), w FROM (VALUES ('seller', 60), ('d', 40)) t(n, w);
SELECT is(pg_temp.earned('split chains'), 'seller 6.00, d 4.00, middle 3.00, B 2.00', 'each credited partner has its own chain');
-- One upline of two credited partners gets two rows.
SELECT pg_temp.sell('two below', NULL, 100);
INSERT INTO prm.sales_credit (earning_event_id, credit_type, partner_id, weight) SELECT pg_temp.event('two below'), 'sourced', pg_temp.id(n), w FROM (VALUES ('d', 60), ('e', 40)) t(n, w);
SELECT is(pg_temp.earned('two below'), 'd 6.00, e 4.00, B 2.00, B 3.00', 'an upline of both is paid for both');
SELECT pg_temp.refund('two below', 100);
SELECT is((SELECT sum(l.amount) FROM prm.ledger l JOIN prm.earning_event x ON x.program_id = l.program_id AND x.earning_event_id = l.earning_event_id
  WHERE l.program_id = :program AND pg_temp.event('two below') IN (x.earning_event_id, x.applies_to_id)), 0.00, 'and gives both back');

SELECT pg_temp.sound('all of it');
SELECT * FROM finish();
ROLLBACK;
