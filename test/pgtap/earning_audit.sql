-- Earning: audit_ledger() finds each kind of fault that is planted, and nothing else.
BEGIN;
SET LOCAL datestyle = 'ISO, YMD';
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SET LOCAL prm.clock = '2026-06-15 12:00+00';
SELECT set_config('prm.program_id', prm.create_program('Audit', 'blank', 'USD', 'UTC')::text, true) AS program \gset

CREATE FUNCTION pg_temp.partner(the_name text, the_parent bigint DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE id bigint;
BEGIN
  INSERT INTO prm.partner (name, kind, parent_id) VALUES (the_name, 'reseller', the_parent) RETURNING partner_id INTO id;
  DELETE FROM prm.partner_history WHERE partner_id = id AND program_id = prm.current_program();
  INSERT INTO prm.partner_history (partner_id, valid, kind, parent_id) VALUES (id, tstzrange(NULL, NULL), 'reseller', the_parent);
  RETURN id;
END $$;
CREATE FUNCTION pg_temp.event(the_kind text, the_partner bigint, the_amount numeric, the_ref text, the_day text DEFAULT '2026-06-10', the_customer bigint DEFAULT NULL, the_currency text DEFAULT 'USD') RETURNS bigint
LANGUAGE sql AS $$ INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at, external_ref, customer_id)
  VALUES (the_kind, the_partner, the_amount, the_currency, (the_day || ' 12:00+00')::timestamptz, the_ref, the_customer) RETURNING earning_event_id $$;
CREATE FUNCTION pg_temp.refund(the_ref text, the_amount numeric, the_new text) RETURNS bigint
LANGUAGE sql AS $$ INSERT INTO prm.earning_event (kind, applies_to_id, amount, currency, occurred_at, external_ref)
  SELECT 'refunded', e.earning_event_id, -the_amount, e.currency, '2026-06-12 12:00+00', the_new FROM prm.earning_event e
  WHERE e.program_id = prm.current_program() AND e.external_ref = the_ref RETURNING earning_event_id $$;
CREATE FUNCTION pg_temp.entry(the_ref text, the_level integer DEFAULT 0, the_kind text DEFAULT NULL) RETURNS bigint
LANGUAGE sql AS $$ SELECT l.entry_id FROM prm.ledger l JOIN prm.earning_event e USING (program_id, earning_event_id)
  WHERE l.program_id = prm.current_program() AND e.external_ref = the_ref AND l.level = the_level AND (the_kind IS NULL OR l.kind = the_kind) ORDER BY 1 LIMIT 1 $$;
CREATE FUNCTION pg_temp.id(the_ref text) RETURNS bigint
LANGUAGE sql AS $$ SELECT earning_event_id FROM prm.earning_event WHERE external_ref = the_ref AND program_id = prm.current_program() $$;
-- Plants a fault, which the append-only triggers would keep out, looks what the audit says of it, and takes it away again.
CREATE FUNCTION pg_temp.planted(the_fault text, VARIADIC the_arguments text[] DEFAULT '{}') RETURNS text
LANGUAGE plpgsql AS $$
DECLARE found text;
BEGIN
  BEGIN
    EXECUTE format(the_fault, VARIADIC the_arguments);
    SELECT coalesce(string_agg(concat_ws(' ', v.rule, v.entry_id), ', ' ORDER BY v.rule, v.entry_id), 'nothing') INTO found FROM prm.audit_ledger() v
      -- What is on statements and what is open is planted in settlement.sql.
      WHERE v.rule NOT IN ('entry_lost', 'settled_twice', 'unknown_entry');
    RAISE EXCEPTION USING ERRCODE = 'PR001', MESSAGE = found;
  EXCEPTION WHEN SQLSTATE 'PR001' THEN
    RETURN SQLERRM;
  END;
END $$;

SELECT pg_temp.partner('Hub') AS hub \gset
SELECT pg_temp.partner('Ann', :hub) AS ann, pg_temp.partner('Bob') AS bob \gset
INSERT INTO prm.customer (name) VALUES ('Acme') RETURNING customer_id AS acme \gset
INSERT INTO prm.customer (name) VALUES ('Zeta') RETURNING customer_id AS zeta \gset
INSERT INTO prm.exchange_rate (from_currency, to_currency, valid_from, rate) VALUES ('EUR', 'USD', '2026-01-01', 1.25);
INSERT INTO prm.commission_plan (name, earn_on, currency) VALUES ('plain', 'booked', 'USD'), ('counting', 'invoiced', 'USD'), ('capped', 'sell_in', 'USD'), ('recurring', 'signup', 'USD');
SELECT plan_id AS plain FROM prm.commission_plan WHERE name = 'plain' AND program_id = :program \gset
SELECT plan_id AS counting FROM prm.commission_plan WHERE name = 'counting' AND program_id = :program \gset
SELECT plan_id AS capped FROM prm.commission_plan WHERE name = 'capped' AND program_id = :program \gset
SELECT plan_id AS recurring FROM prm.commission_plan WHERE name = 'recurring' AND program_id = :program \gset
INSERT INTO prm.commission_rule (plan_id, label, schedule, level, override_mode) VALUES (:plain, 'Own', '10%', 0, NULL), (:plain, 'Parent', '10%', 1, 'percent_of_below');
INSERT INTO prm.commission_rule (plan_id, label, schedule, accumulate, window_kind) VALUES (:counting, 'Count', 'marginal 0: 10%, 1000: 20%', 'cumulative', 'month');
INSERT INTO prm.commission_rule (plan_id, label, schedule, cap_amount, min_amount) VALUES (:capped, 'Cap', '10%', 100, 5);
INSERT INTO prm.commission_rule (plan_id, label, schedule, recurring_months) VALUES (:recurring, 'Recur', '10%', 2);
INSERT INTO prm.commission_rule (plan_id, label, schedule, valid) VALUES (:plain, 'Other', '3%', '[2027-01-01,)'), (:counting, 'Other count', '3%', '[2027-01-01,)');
SELECT rule_id AS other FROM prm.commission_rule WHERE label = 'Other' AND program_id = :program \gset
SELECT rule_id AS own FROM prm.commission_rule WHERE label = 'Own' AND program_id = :program \gset
SELECT rule_id AS cap FROM prm.commission_rule WHERE label = 'Cap' AND program_id = :program \gset

SELECT pg_temp.event('booked', :ann, 1000, 'b1'), pg_temp.event('booked', :bob, 500, 'b2', '2026-06-11'), pg_temp.event('booked', :bob, 100, 'b3', '2026-06-11', NULL, 'EUR');
INSERT INTO prm.earning_event (kind, amount, currency, occurred_at, external_ref) VALUES ('booked', 100, 'USD', '2026-06-10 12:00+00', 'team');
INSERT INTO prm.sales_credit (earning_event_id, credit_type, partner_id, weight) VALUES (pg_temp.id('team'), 'sourced', :ann, 33.34), (pg_temp.id('team'), 'sourced', :bob, 66.66);
SELECT pg_temp.event('invoiced', :ann, 800, 'c1', '2026-06-01'), pg_temp.event('invoiced', :ann, 400, 'c2', '2026-06-02'), pg_temp.event('invoiced', :ann, 100, 'c3', '2026-06-03');
SELECT pg_temp.event('sell_in', :bob, 800, 'k1', '2026-06-01'), pg_temp.event('sell_in', :bob, 500, 'k2', '2026-06-02'), pg_temp.event('sell_in', :ann, 40, 'k3', '2026-06-02');
SELECT pg_temp.event('signup', :ann, 100, 'r1', '2026-03-10', :acme), pg_temp.event('signup', :ann, 100, 'r2', '2026-04-10', :acme), pg_temp.event('signup', :ann, 100, 'r3', '2026-06-10', :acme);
SELECT pg_temp.refund('b1', 300, 'rb1'), pg_temp.refund('c2', 300, 'rc2'), pg_temp.refund('k1', 400, 'rk1');
SELECT is((SELECT count(*) FROM prm.ledger WHERE program_id = :program), 18::bigint, 'a ledger of every kind of entry');
SELECT is_empty($$SELECT * FROM prm.audit_ledger()$$, 'is sound');
SELECT is_empty($$SELECT * FROM prm.recalculate('2026-01-01', '2026-12-31', true)$$, 'and what the rules make of its events');
SELECT pg_temp.entry('b1') AS b1, pg_temp.entry('b1', 1) AS b1up, pg_temp.entry('b2') AS b2, pg_temp.entry('b3') AS b3, pg_temp.entry('c1') AS c1, pg_temp.entry('c2') AS c2, pg_temp.entry('c3') AS c3,
  pg_temp.entry('k1') AS k1, pg_temp.entry('k2') AS k2, pg_temp.entry('r1') AS r1, pg_temp.entry('r2') AS r2, pg_temp.entry('rb1') AS rb1, pg_temp.entry('rb1', 1) AS rb1up, pg_temp.entry('rk1') AS rk1, pg_temp.entry('team') AS team \gset

SELECT throws_ok('UPDATE prm.ledger SET amount = amount + 1', '55000', NULL, 'none of the following can be written');
ALTER TABLE prm.ledger DISABLE TRIGGER prm_append_only;
ALTER TABLE prm.accumulator_entry DISABLE TRIGGER prm_append_only;
ALTER TABLE prm.breakage DISABLE TRIGGER prm_append_only;
ALTER TABLE prm.sales_credit DISABLE TRIGGER prm_append_only;
ALTER TABLE prm.earning_event DISABLE TRIGGER prm_append_only;
ALTER TABLE prm.recurring_start DISABLE TRIGGER prm_append_only;

-- What an entry says of itself.
SELECT is(pg_temp.planted('UPDATE prm.ledger SET amount = amount + 0.01, explain = explain || jsonb_build_object(''amount'', amount + 0.01) WHERE entry_id = %s', :'b2'), 'amount ' || :b2, 'amount: a cent too much');
SELECT is(pg_temp.planted('UPDATE prm.ledger SET amount = 49.99 WHERE entry_id = %s', :'b2'), 'amount ' || :b2, 'amount: another one than it explains');
SELECT is_empty($$SELECT * FROM prm.audit_ledger()$$, 'planted faults are taken away again');
SELECT is(pg_temp.planted('UPDATE prm.ledger SET rule_id = NULL, lineage_id = NULL, plan_id = NULL WHERE entry_id = %s', :'b2'), 'rule ' || :b2, 'rule: none');
SELECT is(pg_temp.planted('UPDATE prm.ledger SET earning_event_id = NULL, idempotency_key = concat_ws(''/'', credit_type, partner_id, lineage_id, level, kind, sequence_no) WHERE entry_id = %s', :'b2'), 'event ' || :b2, 'event: none');
SELECT is(pg_temp.planted('UPDATE prm.ledger SET plan_id = %s WHERE entry_id = %s', :'counting', :'b2'), 'rule ' || :b2, 'rule: of another plan');
SELECT is(pg_temp.planted('UPDATE prm.ledger SET level = 1, idempotency_key = concat_ws(''/'', earning_event_id, credit_type, partner_id, lineage_id, 1, kind, sequence_no) WHERE entry_id = %s', :'b2'), 'rule ' || :b2, 'rule: of another level');
SELECT is(pg_temp.planted('UPDATE prm.ledger SET kind = ''bonus'', idempotency_key = concat_ws(''/'', earning_event_id, credit_type, partner_id, lineage_id, level, ''bonus'', sequence_no) WHERE entry_id = %s', :'b2'), 'rule ' || :b2, 'rule: of another kind');
SELECT is(pg_temp.planted('UPDATE prm.ledger SET rule_id = %1$s, lineage_id = %1$s, idempotency_key = concat_ws(''/'', earning_event_id, credit_type, partner_id, %1$s, level, kind, sequence_no) WHERE entry_id = %2$s', :'other', :'b2'),
  'amount ' || :b2 || ', rule_in_force ' || :b2, 'rule_in_force: a rule of next year, which would have paid something else');
SELECT is(pg_temp.planted('UPDATE prm.earning_event SET kind = ''invoiced'' WHERE earning_event_id = pg_temp.id(''b2'')'), 'event_kind ' || :b2, 'event_kind');
SELECT is(pg_temp.planted('ALTER TABLE prm.commission_rule DISABLE TRIGGER USER; UPDATE prm.commission_rule SET customer_id = %s WHERE rule_id = %s', :'acme', :'own'), format('rule_match %s, rule_match %s, rule_match %s, rule_match %s, rule_match %s', VARIADIC
  (SELECT array_agg(entry_id::text ORDER BY entry_id) FROM prm.ledger WHERE program_id = :program AND kind = 'commission' AND rule_id = :own)), 'rule_match: every entry of a rule that was changed behind the guard');
SELECT is(pg_temp.planted('UPDATE prm.ledger SET earned_on = earned_on - 1 WHERE entry_id = %s', :'b2'), 'earned_on ' || :b2, 'earned_on');
SELECT is(pg_temp.planted('UPDATE prm.ledger SET currency = ''EUR'' WHERE entry_id = %s', :'b2'), 'currency ' || :b2, 'currency');
SELECT is(pg_temp.planted('UPDATE prm.ledger SET idempotency_key = ''x'' WHERE entry_id = %s', :'b2'), 'idempotency_key ' || :b2, 'idempotency_key');
SELECT matches(pg_temp.planted('INSERT INTO prm.ledger (program_id, partner_id, kind, component, amount, currency, earning_event_id, credit_type, plan_id, rule_id, lineage_id, level, earned_on, eligible_at, idempotency_key, explain)
    SELECT program_id, partner_id, kind, component, amount, currency, earning_event_id, credit_type, plan_id, rule_id, lineage_id, level, earned_on, eligible_at, ''again'', explain FROM prm.ledger WHERE entry_id = %s', :'b2'),
  '^duplicate [0-9]+, idempotency_key [0-9]+$', 'duplicate: the same thing twice, under another key');

-- Its amount, computed again.
SELECT is(pg_temp.planted('UPDATE prm.ledger SET partner_id = %s, idempotency_key = concat_ws(''/'', earning_event_id, credit_type, %1$s, lineage_id, level, kind, sequence_no) WHERE entry_id = %s', :'hub', :'b2'), 'credit ' || :b2, 'credit: a partner that is not credited');
SELECT is(pg_temp.planted('UPDATE prm.earning_event SET amount = 501 WHERE earning_event_id = pg_temp.id(''b2'')'), 'amount ' || :b2, 'amount: of an event that was changed');
SELECT is(pg_temp.planted('UPDATE prm.sales_credit SET weight = CASE partner_id WHEN %s THEN 30 ELSE 70 END WHERE earning_event_id = pg_temp.id(''team'')', :'ann'),
  (SELECT string_agg('amount ' || entry_id, ', ' ORDER BY entry_id) FROM prm.ledger WHERE program_id = :program AND kind = 'commission' AND earning_event_id = pg_temp.id('team')), 'amount: of credits that were changed');
SELECT is(pg_temp.planted('UPDATE prm.ledger SET attained_before = 900 WHERE entry_id = %s', :'c2'), 'attained_before ' || :c2, 'attained_before');
SELECT is(pg_temp.planted('UPDATE prm.ledger SET cause_entry_id = NULL WHERE entry_id = %s', :'b1up'), 'below ' || :b1up, 'below: an override that names nothing below');
SELECT is(pg_temp.planted('UPDATE prm.ledger SET cause_entry_id = %s WHERE entry_id = %s', :'b2', :'b1up'), 'below ' || :b1up, 'below: of another event');
SELECT is(pg_temp.planted('UPDATE prm.ledger SET amount = 4, explain = explain || ''{"amount": 4}'' WHERE entry_id = %s; UPDATE prm.accumulator_entry SET amount = 4 WHERE entry_id = %1$s AND purpose = ''cap''', :'k2'),
  format('amount %s, count_chain %s, count_total, minimum %1$s', :'k2', :'rk1'), 'minimum: less than the rule pays at all');
SELECT is(pg_temp.planted('DELETE FROM prm.exchange_rate WHERE program_id = %s', :'program'), 'exchange_rate ' || :b3, 'exchange_rate: none on that day');
SELECT is(pg_temp.planted('UPDATE prm.ledger SET amount = 10.02, explain = explain || ''{"amount": 10.02}'' WHERE entry_id = %s', :'b3'), 'amount ' || :b3, 'amount: in another currency');

-- Counts.
SELECT is(pg_temp.planted('UPDATE prm.accumulator SET amount = amount + 1 WHERE program_id = %s AND purpose = ''attained''', :'program'), 'count_total, telescope', 'count_total: not the sum of its steps');
SELECT is(pg_temp.planted('UPDATE prm.accumulator_entry SET amount = amount + 1 WHERE program_id = %s AND purpose = ''attained'' AND earning_event_id = pg_temp.id(''c1'')', :'program'), 'count_chain ' || :c2 || ', count_total', 'count_chain: a step that the next one does not follow');
SELECT is(pg_temp.planted('UPDATE prm.accumulator_entry SET sequence_no = 99 WHERE program_id = %s AND purpose = ''attained'' AND sequence_no = (SELECT max(sequence_no) FROM prm.accumulator_entry WHERE program_id = %1$s AND purpose = ''attained'')', :'program'),
  'count_chain ' || pg_temp.entry('rc2'), 'count_chain: a gap');
SELECT is(pg_temp.planted('DELETE FROM prm.ledger WHERE entry_id = %s', :'c3'), 'telescope', 'telescope: an entry is missing');
SELECT is(pg_temp.planted('DELETE FROM prm.accumulator WHERE program_id = %s AND purpose = ''cap''', :'program'), 'count_total', 'count_total: steps without a count');
SELECT is(pg_temp.planted('UPDATE prm.accumulator_entry SET amount = 81 WHERE entry_id = %s AND purpose = ''cap''', :'k1'), format('cap_usage %s, count_chain %s, count_total', :'k1', :'k2'), 'cap_usage: not what was paid');
SELECT is(pg_temp.planted('UPDATE prm.accumulator_entry SET entry_id = NULL WHERE entry_id = %s', :'k1'), 'nothing', 'the entry that a step names is for people');
SELECT is(pg_temp.planted('ALTER TABLE prm.commission_rule DISABLE TRIGGER USER; UPDATE prm.commission_rule SET cap_amount = 99 WHERE rule_id = %s', :'cap'), 'cap_exceeded ' || :k2, 'cap_exceeded');
SELECT is(pg_temp.planted('DELETE FROM prm.breakage WHERE program_id = %s AND reason_code = ''capped''', :'program'), 'amount ' || :k2, 'amount: clamped, and nothing is said of the rest');
SELECT is(pg_temp.planted('UPDATE prm.recurring_start SET started_on = ''2026-01-10'' WHERE program_id = %s', :'program'), 'recurring ' || :r2, 'recurring: after its months');

-- Refunds, credits, breakage.
SELECT is(pg_temp.planted('UPDATE prm.ledger SET cause_entry_id = NULL WHERE entry_id = %s', :'rb1'), format('cause %s, given_back %s', :'rb1', :'b1'), 'cause: none, so that nothing was given back of the entry');
SELECT is(pg_temp.planted('UPDATE prm.ledger SET cause_entry_id = %s WHERE entry_id = %s', :'b2', :'rb1'), format('cause %s, given_back %s, given_back %s', :'rb1', :'b1', :'b2'), 'cause: an entry that was not refunded');
SELECT is(pg_temp.planted('UPDATE prm.ledger SET amount = -30.01 WHERE entry_id = %s', :'rb1'), 'given_back ' || :b1, 'given_back: a cent too much');
SELECT is(pg_temp.planted('UPDATE prm.ledger SET amount = -1000 WHERE entry_id = %s', :'rb1'), 'given_back ' || :b1, 'given_back: more than there was');
SELECT is(pg_temp.planted('UPDATE prm.refund_total SET refunded = refunded + 1 WHERE earning_event_id = pg_temp.id(''b1'')'), 'refund_total', 'refund_total');
SELECT is(pg_temp.planted('ALTER TABLE prm.sales_credit DISABLE TRIGGER USER; UPDATE prm.sales_credit SET weight = 60 WHERE earning_event_id = pg_temp.id(''team'') AND partner_id = %s', :'bob'),
  (SELECT string_agg('amount ' || entry_id, ', ' ORDER BY entry_id) || ', credits' FROM prm.ledger WHERE program_id = :program AND kind = 'commission' AND earning_event_id = pg_temp.id('team')), 'credits: not 100 percent');
SELECT is(pg_temp.planted('UPDATE prm.breakage SET component = ''other'' WHERE program_id = %s AND reason_code = ''below_minimum''', :'program'), 'breakage', 'breakage: of another component');
SELECT is(pg_temp.planted('UPDATE prm.breakage SET reason_code = ''no_exchange_rate'' WHERE program_id = %s AND reason_code = ''below_minimum''', :'program'), 'breakage', 'breakage: for a rate that is not needed');
SELECT is(pg_temp.planted('UPDATE prm.breakage SET currency = ''EUR'' WHERE program_id = %s AND reason_code = ''below_minimum''', :'program'), 'breakage', 'breakage: of another currency');

SELECT is_empty($$SELECT * FROM prm.audit_ledger()$$, 'without the faults it is sound');
SELECT is((SELECT string_agg(detail, '; ') FROM (SELECT 1) x LEFT JOIN LATERAL (SELECT * FROM prm.audit_ledger()) v ON true), NULL, 'and says nothing');

-- Set-wise: thousands of entries take no time.
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at) SELECT CASE n % 3 WHEN 0 THEN 'booked' WHEN 1 THEN 'invoiced' ELSE 'sell_in' END, CASE n % 2 WHEN 0 THEN :ann ELSE :bob END, n, 'USD', '2026-06-10 12:00+00'
  FROM generate_series(1, 3000) n;
SET LOCAL statement_timeout = '20s';
SELECT is_empty($$SELECT * FROM prm.audit_ledger()$$, '3,000 events more are sound, at once');

SELECT * FROM finish();
ROLLBACK;
