-- Earning, for how long and how much: recurring commission, caps. Acceptance ids stand in the names.
BEGIN;
\ir earning.psql
SELECT set_config('prm.program_id', prm.create_program('Earning limits', 'blank', 'USD', 'UTC')::text, true) AS program \gset
SELECT pg_temp.partner('Ann') AS ann, pg_temp.partner('Bob') AS bob \gset
INSERT INTO prm.customer (name) VALUES ('Acme'), ('Nord'), ('Sud');
CREATE FUNCTION pg_temp.buys(the_name text, the_partner text, the_customer text, the_amount numeric, the_at timestamptz DEFAULT prm.now()) RETURNS bigint LANGUAGE sql AS $$
  SELECT pg_temp.sell(the_name, the_partner, the_amount, jsonb_build_object('occurred_at', the_at,
    'customer_id', (SELECT c.customer_id FROM prm.customer c WHERE c.program_id = prm.current_program() AND c.name = the_customer))) $$;

-- Recurring: months count from the first sale of the pair.
SELECT pg_temp.plan('once') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule, recurring_months) VALUES (:plan, '10%', 0);
SELECT pg_temp.buys('once 0', 'Ann', 'Acme', 100, '2026-01-15Z'), pg_temp.buys('once 0b', 'Ann', 'Acme', 100, '2026-01-15 00:00:01Z'), pg_temp.buys('once 1', 'Ann', 'Acme', 100, '2026-02-15Z');
SELECT is(pg_temp.earned('once 0') || ', ' || pg_temp.earned('once 0b') || ', ' || pg_temp.earned('once 1'), 'Ann 10.00, nothing, nothing', 'REC-001 zero months: the first sale only');
SELECT ok(pg_temp.outcomes('once 1') LIKE '%no_match%' OR pg_temp.outcomes('once 1') LIKE '%unpaid%', 'REC-001 explained');
SELECT pg_temp.buys('once other', 'Ann', 'Nord', 100, '2026-02-15Z'), pg_temp.buys('once bob', 'Bob', 'Acme', 100, '2026-02-15Z');
SELECT is(pg_temp.earned('once other') || ', ' || pg_temp.earned('once bob'), 'Ann 10.00, Bob 10.00', 'REC-001 by partner and customer');
SELECT pg_temp.refund('once 0', 100, '2026-02-20Z');
SELECT pg_temp.buys('once cancelled', 'Ann', 'Acme', 100, '2026-03-15Z');
SELECT is(pg_temp.earned('once cancelled'), 'nothing', 'REC-001 the first sale counts even if it was cancelled since');

SELECT pg_temp.plan('a year') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule, recurring_months) VALUES (:plan, '10%', 12);
SELECT pg_temp.buys('year ' || m, 'Ann', 'Acme', 100, '2025-01-31 10:00Z'::timestamptz + make_interval(months => m)) FROM unnest(ARRAY[0, 11, 12]) m;
SELECT is(pg_temp.earned('year 0') || ', ' || pg_temp.earned('year 11') || ', ' || pg_temp.earned('year 12'), 'Ann 10.00, Ann 10.00, nothing', 'REC-002 twelve months from the first one');
SELECT pg_temp.buys('day before', 'Ann', 'Acme', 100, '2026-01-30 23:59Z');
SELECT is(pg_temp.earned('day before'), 'Ann 10.00', 'REC-002 to the last day');
INSERT INTO prm.earning_event (kind, external_ref, partner_id, customer_id, amount, currency, occurred_at)
  SELECT 'a year', 'bulk ' || m, :ann, (SELECT customer_id FROM prm.customer WHERE program_id = :program AND name = 'Sud'), 100, 'USD', '2025-01-31 10:00Z'::timestamptz + make_interval(months => m) FROM generate_series(14, 0, -1) m;
SELECT is((SELECT string_agg(external_ref, ', ' ORDER BY occurred_at) FROM prm.earning_event e JOIN prm.ledger l USING (program_id, earning_event_id) WHERE program_id = :program AND external_ref LIKE 'bulk %'),
  'bulk 0, bulk 1, bulk 2, bulk 3, bulk 4, bulk 5, bulk 6, bulk 7, bulk 8, bulk 9, bulk 10, bulk 11', 'REC-002 in one statement, whatever the order of its rows');

SELECT pg_temp.plan('for life') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule) VALUES (:plan, '10%');
SELECT pg_temp.buys('life 0', 'Ann', 'Acme', 100, '2006-06-15Z'), pg_temp.buys('life 240', 'Ann', 'Acme', 100, '2026-06-15Z');
SELECT is(pg_temp.earned('life 0') || ', ' || pg_temp.earned('life 240'), 'Ann 10.00, Ann 10.00', 'REC-003 without months for life');

SELECT pg_temp.plan('less later') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule, recurring_months, priority) VALUES (:plan, '25%', 12, 1), (:plan, '10%', NULL, 0);
SELECT pg_temp.buys('later ' || m, 'Ann', 'Acme', 100, '2025-01-15Z'::timestamptz + make_interval(months => m)) FROM unnest(ARRAY[0, 11, 12, 13]) m;
SELECT is(pg_temp.earned('later 11') || ', ' || pg_temp.earned('later 12') || ', ' || pg_temp.earned('later 13'), 'Ann 25.00, Ann 10.00, Ann 10.00', 'REC-005 then the rule below takes over');

SELECT pg_temp.plan('leads') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule, basis, recurring_months) VALUES (:plan, 'slab 0: 15', 'quantity', 0);
INSERT INTO prm.earning_event (kind, external_ref, partner_id, customer_id, quantity, currency, occurred_at)
  SELECT 'leads', 'lead ' || n, :ann, (SELECT customer_id FROM prm.customer WHERE program_id = :program AND name = 'Acme'), 1, 'USD', prm.now() FROM generate_series(1, 2) n;
SELECT is((SELECT format('%s %s', count(*), sum(amount)) FROM prm.ledger WHERE program_id = :program AND plan_id = :plan), '1 15.00', 'REC-006 one reward for one customer');

SELECT pg_temp.plan('became recurring') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, component, schedule, recurring_months, recurring_policy) VALUES (:plan, 'first', '10%', 0, 'first_sale') RETURNING rule_id AS first \gset
INSERT INTO prm.commission_rule (plan_id, component, schedule, recurring_months, recurring_policy) VALUES (:plan, 'in force', '10%', 0, 'in_force') RETURNING rule_id AS inforce \gset
SELECT pg_temp.buys('was once', 'Ann', 'Acme', 100, '2026-03-01Z');
SELECT prm.supersede_rule(:first, '2026-03-02', '{"recurring_months": 12, "schedule": "20%"}'), prm.supersede_rule(:inforce, '2026-03-02', '{"recurring_months": 12, "schedule": "20%"}');
SELECT pg_temp.buys('is recurring', 'Ann', 'Acme', 100, '2026-04-01Z'), pg_temp.buys('new customer', 'Ann', 'Nord', 100, '2026-04-01Z'), pg_temp.buys('new again', 'Ann', 'Nord', 100, '2026-05-01Z');
SELECT is((SELECT string_agg(format('%s %s', component, amount), ', ' ORDER BY component) FROM prm.ledger WHERE program_id = :program AND earning_event_id = pg_temp.event('is recurring')), 'in force 20.00',
  'REC-008 the version of the first sale governs, unless the policy is in_force');
SELECT is((SELECT string_agg(format('%s %s', component, amount), ', ' ORDER BY component) FROM prm.ledger WHERE program_id = :program AND earning_event_id = pg_temp.event('new again')), 'first 20.00, in force 20.00',
  'REC-008 who came later has the later version');

-- Caps.
SELECT pg_temp.plan('cap') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule, cap_amount, cap_window) VALUES (:plan, '100%', 5000, 'month');
SELECT pg_temp.sell('used', 'Ann', 4200), pg_temp.sell('clamped', 'Ann', 1000), pg_temp.sell('over', 'Ann', 1000), pg_temp.sell('bob', 'Bob', 5000), pg_temp.sell('july', 'Ann', 1000, '{"occurred_at": "2026-07-01Z"}');
SELECT is(pg_temp.earned('clamped') || ', ' || pg_temp.lost('clamped'), 'Ann 800.00, capped 200', 'CAP-001 the last row is clamped, the rest is recorded');
SELECT is(pg_temp.earned('over') || ', ' || pg_temp.lost('over'), 'nothing, capped 1000', 'CAP-002 no row');
SELECT ok(pg_temp.outcomes('over') LIKE '%unpaid%', 'CAP-002 explained');
SELECT is(pg_temp.earned('bob') || ', ' || pg_temp.earned('july'), 'Bob 5000.00, Ann 1000.00', 'CAP-001 by partner and month');
-- A refund gives the cap back, in the window of its cause.
SELECT pg_temp.refund('clamped', 500, '2026-07-02Z');
SELECT is(pg_temp.taken('clamped'), 'Ann -400.00', 'what was clamped gives back its part');
SELECT pg_temp.sell('june again', 'Ann', 1000), pg_temp.sell('july again', 'Ann', 5000, '{"occurred_at": "2026-07-03Z"}');
SELECT is(pg_temp.earned('june again') || ', ' || pg_temp.earned('july again'), 'Ann 400.00, Ann 4000.00', 'CAP-003 the cap is free again in June, where it was used, not in July');
SELECT is(pg_temp.earned('over'), 'nothing', 'CAP-003 a row that was clamped stays so');

SELECT pg_temp.plan('cap of all kinds') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule, cap_amount, cap_window) VALUES (:plan, '100%', 5000, 'month');
SELECT pg_temp.sell('paid', 'Ann', 3000), pg_temp.sell('refunded', 'Ann', 2000);
SELECT pg_temp.refund('refunded', 2000);
SELECT pg_temp.sell('next', 'Ann', 2500);
SELECT is(pg_temp.earned('next'), 'Ann 2000.00', 'CAP-003 what was refunded does not count');

-- One statement: in the order in which they occurred.
SELECT pg_temp.plan('cap at once') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule, cap_amount, cap_window) VALUES (:plan, '100%', 1000, 'month');
INSERT INTO prm.earning_event (kind, external_ref, partner_id, amount, currency, occurred_at) SELECT 'cap at once', 'in one ' || n, :ann, 300, 'USD', prm.now() - n * interval '1 hour' FROM generate_series(1, 5) n;
SELECT is((SELECT string_agg(format('%s %s', e.external_ref, l.amount), ', ' ORDER BY e.occurred_at) FROM prm.ledger l JOIN prm.earning_event e USING (program_id, earning_event_id) WHERE program_id = :program AND l.plan_id = :plan),
  'in one 5 300.00, in one 4 300.00, in one 3 300.00, in one 2 100.00', 'CAP-001 in one statement: the earliest first');

-- Of whom a cap is. The scopes are those of the contract.
SELECT pg_temp.plan('scopes') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, component, schedule, cap_amount, cap_scope) SELECT :plan, scope, '100%', 100, scope FROM unnest(ARRAY['partner', 'customer', 'programme', 'event']) scope;
SELECT pg_temp.buys('s1', 'Ann', 'Acme', 80), pg_temp.buys('s2', 'Ann', 'Nord', 80), pg_temp.buys('s3', 'Bob', 'Acme', 80), pg_temp.buys('s4', 'Bob', 'Sud', 150);
CREATE FUNCTION pg_temp.by_scope(the_scope text) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(coalesce(l.amount::text, '-'), ' ' ORDER BY s) FROM unnest(ARRAY['s1', 's2', 's3', 's4']) s
  LEFT JOIN prm.ledger l ON l.program_id = prm.current_program() AND l.earning_event_id = pg_temp.event(s) AND l.component = the_scope $$;
SELECT is(pg_temp.by_scope('partner'), '80.00 20.00 80.00 20.00', 'cap of a partner');
SELECT is(pg_temp.by_scope('customer'), '80.00 80.00 20.00 100.00', 'cap of a customer');
SELECT is(pg_temp.by_scope('programme'), '80.00 20.00 - -', 'cap of the programme');
SELECT is(pg_temp.by_scope('event'), '80.00 80.00 80.00 100.00', 'cap of an event');
SELECT pg_temp.plan('plan cap') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, component, schedule, cap_amount, cap_scope) VALUES (:plan, 'a', '100%', 100, 'plan'), (:plan, 'b', '50%', 100, 'plan');
SELECT pg_temp.sell('p1', 'Ann', 60), pg_temp.sell('p2', 'Bob', 60);
SELECT is(pg_temp.earned('p1') || ' / ' || pg_temp.earned('p2'), 'Ann 60.00, Ann 30.00 / Bob 10.00', 'cap of a plan: its rules use it together');

-- A version that follows goes on with the same cap; a cap of overrides; a minimum after the cap.
SELECT pg_temp.plan('cap goes on') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule, cap_amount, cap_window) VALUES (:plan, '100%', 100, 'year') RETURNING rule_id AS rule \gset
SELECT pg_temp.sell('c1', 'Ann', 80);
SELECT prm.supersede_rule(:rule, '2026-06-16', '{"cap_amount": 150}') AS next \gset
SELECT pg_temp.sell('c2', 'Ann', 80, '{"occurred_at": "2026-06-16Z"}');
SELECT is(pg_temp.earned('c2'), 'Ann 70.00', 'a superseding rule goes on with what was used');
SELECT pg_temp.plan('cap and minimum') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule, cap_amount, min_amount) VALUES (:plan, '100%', 100, 50);
SELECT pg_temp.sell('n1', 'Ann', 80), pg_temp.sell('n2', 'Ann', 80), pg_temp.sell('n3', 'Bob', 100);
SELECT is(pg_temp.earned('n1') || ', ' || pg_temp.earned('n2') || ', ' || pg_temp.earned('n3'), 'Ann 80.00, nothing, Bob 100.00', 'what is left of a cap may be below the minimum');
SELECT is((SELECT sum(amount) FROM prm.breakage WHERE program_id = :program AND earning_event_id = pg_temp.event('n2')), 80::numeric, 'and all of it is recorded');

-- Cumulative and capped at once; the refund unwinds the one and frees the other.
SELECT pg_temp.plan('both') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule, accumulate, window_kind, cap_amount, cap_window) VALUES (:plan, 'marginal 0: 10%, 1000: 20%', 'cumulative', 'month', 250, 'month');
SELECT pg_temp.sell('b1', 'Ann', 1000), pg_temp.sell('b2', 'Ann', 1000);
SELECT is(pg_temp.earned('b1') || ', ' || pg_temp.earned('b2'), 'Ann 100.00, Ann 150.00', 'a cumulative rule with a cap');
SELECT pg_temp.sell('b3', 'Ann', 500);
SELECT is(pg_temp.earned('b3') || ', ' || pg_temp.lost('b3'), 'nothing, capped 100', 'also what is capped is attained');

-- Refunds of it, one by one and in one statement: never below nothing, and nothing is left when all is given back.
CREATE FUNCTION pg_temp.left_of(the_plan bigint) RETURNS numeric LANGUAGE sql AS $$ SELECT sum(l.amount) FROM prm.ledger l WHERE l.program_id = prm.current_program() AND l.plan_id = the_plan $$;
SELECT pg_temp.refund('b2', 1000);
SELECT ok(pg_temp.left_of(:plan) BETWEEN 0 AND 250, 'both: refund of the second: ' || pg_temp.left_of(:plan));
SELECT pg_temp.refund('b3', 500);
SELECT ok(pg_temp.left_of(:plan) BETWEEN 0 AND 250, 'both: and of what had been capped: ' || pg_temp.left_of(:plan));
SELECT pg_temp.left_of(:plan) AS one_by_one \gset
SELECT pg_temp.refund('b1', 1000);
SELECT is(pg_temp.left_of(:plan), 0::numeric, 'both: at last nothing is left');
SELECT is((SELECT sum(a.amount) FROM prm.accumulator a WHERE a.program_id = :program AND a.plan_id = :plan), 0::numeric, 'both: neither attained nor used');
SELECT pg_temp.plan('both at once') AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule, accumulate, window_kind, cap_amount, cap_window) VALUES (:plan, 'marginal 0: 10%, 1000: 20%', 'cumulative', 'month', 250, 'month');
INSERT INTO prm.earning_event (kind, external_ref, partner_id, amount, currency, occurred_at) VALUES ('both at once', 'o1', :ann, 1000, 'USD', prm.now()), ('both at once', 'o2', :ann, 1000, 'USD', prm.now() + interval '1 second'), ('both at once', 'o3', :ann, 500, 'USD', prm.now() + interval '2 seconds');
INSERT INTO prm.earning_event (kind, applies_to_id, amount, currency, occurred_at) VALUES ('refunded', pg_temp.event('o2'), -1000, 'USD', prm.now() + interval '3 seconds'), ('refunded', pg_temp.event('o3'), -500, 'USD', prm.now() + interval '4 seconds');
SELECT is(pg_temp.left_of(:plan), :one_by_one::numeric, 'both: the same refunds in one statement come to the same');

SELECT pg_temp.sound('all of it');
-- What is held back of a royalty is negative, as the royalty is.
SELECT pg_temp.plan('owed') AS owed \gset
INSERT INTO prm.commission_rule (plan_id, schedule, entry_kind, cap_amount) VALUES (:owed, '10%', 'royalty', 15);
SELECT pg_temp.sell('owed 1', 'Ann', 100) > 0 AS sold, pg_temp.sell('owed 2', 'Ann', 100) > 0 AS sold_again \gset
SELECT is(pg_temp.earned('owed 2') || ', ' || pg_temp.lost('owed 2'), 'Ann -5.00, capped -5', 'a royalty that is capped');
-- A sale that was paid, and whose shares are too little since somebody else is credited, too.
SELECT pg_temp.plan('least') AS least \gset
INSERT INTO prm.commission_rule (plan_id, schedule, min_amount) VALUES (:least, '10%', 8);
SELECT pg_temp.sell('least 1', 'Ann', 100) AS sale \gset
INSERT INTO prm.sales_credit (earning_event_id, credit_type, partner_id, weight, revision) VALUES (:sale, 'sourced', pg_temp.id('Ann'), 50, 1), (:sale, 'sourced', pg_temp.id('Bob'), 50, 1);
SELECT is(pg_temp.earned('least 1') || ', ' || pg_temp.lost('least 1'), 'Ann -10.00, Ann 10.00, below_minimum 5, below_minimum 5', 'is paid no more');
SELECT pg_temp.sound('held back');

-- Within a cap that several share, credits move what each used of it; what a ban cancels is free again.
SELECT pg_temp.plan('shared') AS shared \gset
INSERT INTO prm.customer (name) VALUES ('Shared') RETURNING customer_id AS shared_customer \gset
INSERT INTO prm.commission_rule (plan_id, schedule, cap_amount, cap_scope, cap_window) VALUES (:shared, '10%', 50, 'customer', 'quarter');
INSERT INTO prm.risk_rule (risk_rule, label, kind, parameters) VALUES ('shared', 'Shared', 'velocity', '{"events": 100000, "within": "1 hour"}');
SELECT pg_temp.sell('shared 1', 'Ann', 100, jsonb_build_object('customer_id', :shared_customer::bigint)) AS sale \gset
INSERT INTO prm.sales_credit (earning_event_id, credit_type, partner_id, weight, revision) VALUES (:sale, 'sourced', pg_temp.id('Ann'), 60, 1), (:sale, 'sourced', pg_temp.id('Bob'), 40, 1);
SELECT is(pg_temp.earned('shared 1'), 'Ann -4.00, Ann 10.00, Bob 4.00', 'the credits of a sale under a shared cap change');
SELECT is((SELECT string_agg(format('%s %s', p.name, a.amount), ', ' ORDER BY a.accumulator_entry_id) FROM prm.accumulator_entry a LEFT JOIN prm.ledger l ON l.program_id = a.program_id AND l.entry_id = a.entry_id
  LEFT JOIN prm.partner p ON p.program_id = l.program_id AND p.partner_id = l.partner_id WHERE a.program_id = prm.current_program() AND a.plan_id = :shared AND a.purpose = 'cap'), 'Ann 10.00, Ann -4.00, Bob 4.00', 'and each adjustment says what it uses');
SELECT pg_temp.sound('shared');
INSERT INTO prm.risk_event (risk_rule, partner_id, evidence) VALUES ('shared', pg_temp.id('Bob'), '[]') RETURNING risk_event_id AS risk \gset
SELECT prm.resolve_risk(:risk, 'banned', 'fraud');
SELECT is((SELECT a.amount FROM prm.accumulator a WHERE a.program_id = prm.current_program() AND a.plan_id = :shared AND a.purpose = 'cap'), 6.00, 'a ban frees what one of them used');
SELECT pg_temp.sound('shared, after a ban');

SELECT * FROM finish();
ROLLBACK;
