-- Earning: booking, credits, rules, conditions, accrual, explanation, append-only. Acceptance ids stand in the names.
BEGIN;
-- The expectations below write dates as ISO does.
SET LOCAL datestyle = 'ISO, YMD';
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SET LOCAL prm.clock = '2026-06-15 12:00+00';
SELECT set_config('prm.program_id', prm.create_program('Earning test', 'blank', 'USD', 'UTC')::text, true) AS program \gset

-- A partner as it was until and from a moment; a won deal in one call; a rule.
CREATE FUNCTION pg_temp.partner(the_name text, the_tier text DEFAULT NULL, the_region text DEFAULT NULL, the_kind text DEFAULT 'reseller') RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE id bigint;
BEGIN
  INSERT INTO prm.partner (name, kind, region) VALUES (the_name, the_kind, the_region) RETURNING partner_id INTO id;
  DELETE FROM prm.partner_history WHERE partner_id = id AND program_id = prm.current_program();
  INSERT INTO prm.partner_history (partner_id, valid, kind, region, tier) VALUES (id, tstzrange(NULL, NULL), the_kind, the_region, the_tier);
  RETURN id;
END $$;
CREATE FUNCTION pg_temp.open_deal(the_name text, the_partner bigint, the_amount numeric, the_more jsonb DEFAULT '{}') RETURNS bigint
LANGUAGE sql AS $$
  INSERT INTO prm.deal (partner_id, customer_id, name, product, product_family, kind, amount, cost, currency)
  VALUES (the_partner, (the_more ->> 'customer_id')::bigint, the_name, the_more ->> 'product', the_more ->> 'product_family',
          coalesce(the_more ->> 'kind', 'new'), the_amount, (the_more ->> 'cost')::numeric, coalesce(the_more ->> 'currency', 'USD'))
  RETURNING deal_id $$;
CREATE FUNCTION pg_temp.win(the_name text) RETURNS void
LANGUAGE sql AS $$ UPDATE prm.deal SET state = 'won' WHERE name = the_name AND program_id = prm.current_program() $$;
CREATE FUNCTION pg_temp.sell(the_name text, the_partner bigint, the_amount numeric, the_more jsonb DEFAULT '{}') RETURNS void
LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_temp.open_deal(the_name, the_partner, the_amount, the_more); PERFORM pg_temp.win(the_name); END $$;
CREATE FUNCTION pg_temp.earned(the_name text) RETURNS text
LANGUAGE sql AS $$
  SELECT coalesce(string_agg(format('%s %s', partner, amount), ', ' ORDER BY credit_type, partner_id, component, amount), 'nothing')
  FROM prm.v_ledger WHERE deal = the_name AND program_id = prm.current_program() $$;
CREATE FUNCTION pg_temp.event(the_name text) RETURNS bigint
LANGUAGE sql AS $$ SELECT earning_event_id FROM prm.v_earning WHERE deal = the_name AND kind = 'booked' AND program_id = prm.current_program() $$;
CREATE FUNCTION pg_temp.plan(the_name text, the_pick text DEFAULT 'most_specific', the_kind text DEFAULT 'booked') RETURNS bigint
LANGUAGE sql AS $$ INSERT INTO prm.commission_plan (name, pick, earn_on, currency) VALUES (the_name, the_pick, the_kind, 'USD') RETURNING plan_id $$;
CREATE FUNCTION pg_temp.only(the_name text) RETURNS void
LANGUAGE sql AS $$ UPDATE prm.commission_plan SET is_active = (name = the_name) WHERE program_id = prm.current_program() $$;

SELECT pg_temp.partner('Ann') AS ann, pg_temp.partner('Bob') AS bob, pg_temp.partner('Cid') AS cid \gset
INSERT INTO prm.ladder (ladder, label) VALUES ('main', 'Main') ON CONFLICT DO NOTHING;
INSERT INTO prm.tier (tier, rank, label) VALUES ('silver', 1, 'Silver'), ('gold', 2, 'Gold');

-- Booking.
SELECT pg_temp.plan('ten') AS ten \gset
INSERT INTO prm.commission_rule (plan_id, schedule) VALUES (:ten, '10 %');
SELECT is((SELECT schedule FROM prm.commission_rule WHERE plan_id = :ten), '10%', 'a schedule is kept in its canonical form');
SELECT is((SELECT lineage_id FROM prm.commission_rule WHERE plan_id = :ten), (SELECT rule_id FROM prm.commission_rule WHERE plan_id = :ten), 'the first version is the lineage');
SELECT pg_temp.open_deal('first', :ann, 1000, '{"cost": 400}') AS first \gset
SELECT is((SELECT count(*) FROM prm.earning_event WHERE deal_id = :first), 0::bigint, 'an open deal books nothing');
UPDATE prm.deal SET state = 'negotiation' WHERE deal_id = :first AND state = 'proposal';
SELECT pg_temp.win('first');
SELECT is((SELECT format('%s %s %s %s', kind, amount, cost, occurred_at = (SELECT closed_at FROM prm.deal WHERE deal_id = :first)) FROM prm.earning_event WHERE deal_id = :first),
  'booked 1000 400 t', 'a won deal books one event at its closing time');
SELECT is(pg_temp.earned('first'), 'Ann 100.00', 'and earns');
UPDATE prm.deal SET name = 'first', attributes = '{"a": 1}' WHERE deal_id = :first;
SELECT is((SELECT count(*) FROM prm.earning_event WHERE deal_id = :first), 1::bigint, 'touching it again books nothing more');
SELECT is((SELECT prm.commission(d) FROM prm.deal d WHERE deal_id = :first), 100.00, 'deal.commission');
SELECT is((SELECT count(*) FROM prm.ledger WHERE earning_event_id = pg_temp.event('first') AND idempotency_key = format('%s/sourced/%s/%s/0/commission/1', pg_temp.event('first'), :ann, lineage_id)),
  1::bigint, 'the idempotency key names event, credit, partner, lineage, level, kind and sequence');
SELECT throws_ok(format('INSERT INTO prm.earning_event (kind, deal_id, partner_id, amount, currency, occurred_at) VALUES (''booked'', %s, %s, 5, ''USD'', now())', :first, :ann),
  '23505', NULL, 'a deal is never booked twice');

-- IDM-001 the same invoice twice.
SELECT pg_temp.plan('invoices', 'most_specific', 'invoiced') AS invoices \gset
INSERT INTO prm.commission_rule (plan_id, schedule) VALUES (:invoices, '5%');
INSERT INTO prm.earning_event (kind, document_ref, external_ref, partner_id, amount, currency, occurred_at) VALUES ('invoiced', 'INV1', 'INV1', :ann, 200, 'USD', prm.now());
SELECT throws_ok(format('INSERT INTO prm.earning_event (kind, external_ref, partner_id, amount, currency, occurred_at) VALUES (''invoiced'', ''INV1'', %s, 200, ''USD'', now())', :ann),
  '23505', NULL, 'IDM-001 the second post of an invoice is a conflict');
SELECT is((SELECT format('%s %s', count(*), sum(amount)) FROM prm.v_ledger WHERE document_ref = 'INV1'), '1 10.00', 'IDM-001 one row');
SELECT prm._accrue(:program, array_agg(earning_event_id)) FROM prm.earning_event WHERE program_id = :program;
SELECT is((SELECT count(*) FROM prm.ledger WHERE program_id = :program), 2::bigint, 'IDM accruing again writes nothing');

-- COM: margin, quantity, zero, rounding, commission-free.
SELECT pg_temp.plan('margin') AS margin \gset
INSERT INTO prm.commission_rule (plan_id, schedule, basis) VALUES (:margin, '20%', 'margin');
SELECT pg_temp.only('margin');
SELECT pg_temp.sell('below cost', :ann, 80, '{"cost": 100}');
SELECT is(pg_temp.earned('below cost'), 'nothing', 'COM-021 a sale below cost earns nothing, COM-046 and a zero is no row');
SELECT pg_temp.sell('no cost', :ann, 80);
SELECT matches((SELECT reason FROM prm.explain_commission(pg_temp.event('no cost')) WHERE outcome = 'unpaid'), 'the event has no margin', 'an unknown margin is no margin of the whole amount');
SELECT pg_temp.sell('with margin', :ann, 100, '{"cost": 40.01}');
SELECT is(pg_temp.earned('with margin'), 'Ann 12.00', 'margin 59.99 at 20% rounds once');
SELECT pg_temp.only('ten');
SELECT pg_temp.sell('tiny', :ann, 0.04);
SELECT is(pg_temp.earned('tiny'), 'nothing', 'COM-046 what rounds to zero is no row');
SELECT matches((SELECT reason FROM prm.explain_commission(pg_temp.event('tiny')) WHERE outcome = 'unpaid'), 'the commission is zero', 'COM-046 and is explained');
SELECT pg_temp.sell('half', :ann, 0.05);
SELECT is(pg_temp.earned('half'), 'Ann 0.01', 'half a cent goes away from zero');
INSERT INTO prm.product (product, label, family, parent, commissionable) VALUES ('suite', 'Suite', 'software', NULL, true), ('suite-pro', 'Suite Pro', NULL, 'suite', true),
  ('shipping', 'Shipping', 'service', NULL, false);
SELECT pg_temp.sell('freight', :ann, 50, '{"product": "shipping"}');
SELECT is(pg_temp.earned('freight'), 'nothing', 'a commission-free product earns nothing');
SELECT pg_temp.open_deal('lines', :ann, 1000) AS lines \gset
INSERT INTO prm.deal_line (deal_id, line_no, product, net, quantity) VALUES (:lines, 1, 'suite', 500, 3), (:lines, 2, 'shipping', 500, 9);
SELECT pg_temp.win('lines');
SELECT is(pg_temp.earned('lines'), 'Ann 50.00', 'COM-017 commissionable lines only');
SELECT is((SELECT format('%s %s %s', amount, commissionable_amount, quantity) FROM prm.earning_event WHERE deal_id = :lines), '1000 500 3', 'COM-017 amount and eligible part are both kept');

-- COM-024 no rule matches.
SELECT pg_temp.plan('gold only') AS goldonly \gset
INSERT INTO prm.commission_rule (plan_id, schedule, tier, label) VALUES (:goldonly, '10%', 'gold', 'Gold');
SELECT pg_temp.only('gold only');
SELECT pg_temp.sell('no rule', :ann, 1000);
SELECT is(pg_temp.earned('no rule'), 'nothing', 'COM-024 earns nothing');
SELECT matches((SELECT reason FROM prm.explain_commission(pg_temp.event('no rule')) WHERE outcome = 'nothing'), 'no matching rule', 'COM-024 nothing, because');
SELECT is((SELECT reason FROM prm.explain_commission(pg_temp.event('no rule')) WHERE outcome = 'no_match'), 'Gold: the rule is for tier gold, the partner held none', 'COM-024 with the reason of each rule');
SELECT throws_ok($$SELECT * FROM prm.explain_commission(-1)$$, '42704', 'there is no earning event -1', 'an unknown event');
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at, external_ref) VALUES ('click', :ann, 1, 'USD', prm.now(), 'click'), ('booked', NULL, 10, 'USD', prm.now(), 'nobody');
SELECT matches((SELECT reason FROM prm.explain_commission((SELECT earning_event_id FROM prm.earning_event WHERE external_ref = 'click'))), 'no plan in force earns on events of kind click', 'nothing, because no plan');
SELECT matches((SELECT reason FROM prm.explain_commission((SELECT earning_event_id FROM prm.earning_event WHERE external_ref = 'nobody'))), 'no partner is credited', 'nothing, because nobody');
SELECT throws_ok(format($$INSERT INTO prm.commission_rule (plan_id, schedule, tier) VALUES (%s, '1%%', 'gould')$$, :ten), '23503', 'there is no tier "gould"', 'a mistyped tier is refused');

-- COM-048 and "the tier held just before it".
SELECT pg_temp.plan('groups') AS groups \gset
INSERT INTO prm.commission_rule (plan_id, schedule, tier) VALUES (:groups, '20%', 'silver'), (:groups, '25%', 'gold');
SELECT pg_temp.only('groups');
SELECT pg_temp.partner('Mover', 'silver') AS mover \gset
SELECT pg_temp.sell('before', :mover, 10000);
UPDATE prm.partner_history SET valid = tstzrange(NULL, '2026-06-15 12:00+00') WHERE partner_id = :mover;
INSERT INTO prm.partner_history (partner_id, valid, kind, tier) VALUES (:mover, tstzrange('2026-06-15 12:00+00', NULL), 'reseller', 'gold');
SELECT pg_temp.sell('same moment', :mover, 10000);
SELECT is(pg_temp.earned('same moment'), 'Mover 2000.00', 'an event is paid at the tier held just before it');
SET LOCAL prm.clock = '2026-06-16 12:00+00';
SELECT pg_temp.sell('after', :mover, 5000);
SELECT is(pg_temp.earned('before') || ', ' || pg_temp.earned('after'), 'Mover 2000.00, Mover 1250.00', 'COM-048 each at the rate of its time');
SELECT is((SELECT amount FROM prm.explain_commission(pg_temp.event('before')) WHERE outcome = 'won'), 2000.00, 'COM-048 explained by what was true then');

-- SPL: credits.
SELECT pg_temp.only('ten');
SELECT pg_temp.open_deal('team', :ann, 500) AS team \gset
INSERT INTO prm.deal_partner (deal_id, partner_id, weight) VALUES (:team, :ann, 60), (:team, :bob, 40);
SELECT pg_temp.win('team');
SELECT is(pg_temp.earned('team'), 'Ann 30.00, Bob 20.00', 'SPL-005 60/40 of 500 at 10%');
SELECT is((SELECT array_agg(basis_amount ORDER BY step) FROM prm.explain_commission(pg_temp.event('team')) WHERE outcome = 'credit'), ARRAY[300, 200]::numeric[], 'SPL-005 the shares are explained');
SELECT pg_temp.open_deal('thirds', :ann, 100) AS thirds \gset
INSERT INTO prm.deal_partner (deal_id, partner_id, weight) VALUES (:thirds, :ann, 33.34), (:thirds, :bob, 33.33), (:thirds, :cid, 33.33);
SELECT pg_temp.win('thirds');
SELECT is((SELECT sum(basis_amount) FROM prm.explain_commission(pg_temp.event('thirds')) WHERE outcome = 'credit'), 100::numeric, 'SPL-003 shares sum to the whole');
SELECT pg_temp.open_deal('lopsided', :ann, 500) AS lopsided \gset
INSERT INTO prm.deal_partner (deal_id, partner_id, weight) VALUES (:lopsided, :ann, 60), (:lopsided, :bob, 30);
SELECT throws_ok($$SELECT pg_temp.win('lopsided')$$, '23514', format('the sourced credits of deal %s do not total 100', :lopsided), 'SPL-004 weights total 100');
SELECT is((SELECT format('%s %s', state <> 'won', (SELECT count(*) FROM prm.earning_event WHERE deal_id = :lopsided)) FROM prm.deal WHERE deal_id = :lopsided), 't 0', 'SPL-004 and nothing is left behind');
SELECT throws_ok(format('INSERT INTO prm.deal_partner (deal_id, partner_id, weight) VALUES (%s, %s, 10)', :lopsided, :bob), '23505', NULL, 'SPL-006 the same payee twice is refused');
SELECT pg_temp.open_deal('two types', :ann, 1000) AS twotypes \gset
INSERT INTO prm.deal_partner (deal_id, credit_type, partner_id, weight) VALUES (:twotypes, 'sourced', :ann, 100), (:twotypes, 'managed', :bob, 100);
SELECT pg_temp.win('two types');
SELECT is(pg_temp.earned('two types'), 'Bob 100.00, Ann 100.00', 'SPL-007 each credit type is a full credit');
INSERT INTO prm.earning_event (kind, amount, currency, occurred_at, external_ref) VALUES ('booked', 1000, 'USD', prm.now(), 'given');
INSERT INTO prm.sales_credit (earning_event_id, credit_type, partner_id, weight) SELECT earning_event_id, 'sourced', p, 50 FROM prm.earning_event, unnest(ARRAY[:ann, :bob]) p WHERE external_ref = 'given';
SELECT is((SELECT array_agg(l.amount) FROM prm.ledger l JOIN prm.earning_event e USING (program_id, earning_event_id) WHERE e.external_ref = 'given'), ARRAY[50.00, 50.00], 'credits given by a billing system accrue');
SELECT throws_ok(format('INSERT INTO prm.sales_credit (earning_event_id, credit_type, partner_id, weight) VALUES (%s, ''sourced'', %s, 90)', pg_temp.event('first'), :bob),
  '23514', format('the sourced credits of deal %s do not total 100', :first), 'later credits total 100, too');

-- Picking a rule.
INSERT INTO prm.customer (name, country, segment) VALUES ('Acme', 'US', 'premium'), ('Basic', 'US', 'basic'), ('Nord', 'CA', 'basic'), ('Blank', NULL, NULL);
SELECT customer_id AS acme FROM prm.customer WHERE name = 'Acme' AND program_id = :program \gset
SELECT pg_temp.plan('pick') AS pick \gset
SELECT pg_temp.only('pick');
INSERT INTO prm.commission_rule (plan_id, label, schedule, partner_id, customer_id, product, product_family, credit_type, deal_kind, tier, partner_kind, region) VALUES
  (:pick, 'partner', '11%', :bob, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (:pick, 'customer', '10%', NULL, :acme, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (:pick, 'variant', '9%', NULL, NULL, 'suite-pro', NULL, NULL, NULL, NULL, NULL, NULL),
  (:pick, 'product', '8%', NULL, NULL, 'suite', NULL, NULL, NULL, NULL, NULL, NULL),
  (:pick, 'family', '7%', NULL, NULL, NULL, 'software', NULL, NULL, NULL, NULL, NULL),
  (:pick, 'credit type', '6%', NULL, NULL, NULL, NULL, 'sourced', NULL, NULL, NULL, NULL),
  (:pick, 'deal kind', '5%', NULL, NULL, NULL, NULL, NULL, 'renewal', NULL, NULL, NULL),
  (:pick, 'tier', '4%', NULL, NULL, NULL, NULL, NULL, NULL, 'gold', NULL, NULL),
  (:pick, 'kind', '3%', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'reseller', NULL),
  (:pick, 'region', '2%', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'north'),
  (:pick, 'any', '1%', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
SELECT pg_temp.partner('North', 'gold', 'north') AS north \gset
-- Each deal matches one dimension more than the one before; the expected winner is the strongest.
UPDATE prm.commission_rule SET credit_type = 'unlikely' WHERE label = 'credit type' AND plan_id = :pick;
UPDATE prm.commission_rule SET tier = 'silver' WHERE label = 'tier' AND plan_id = :pick;
UPDATE prm.commission_rule SET partner_kind = 'hub' WHERE label = 'kind' AND plan_id = :pick;
SELECT pg_temp.sell('s1', :ann, 100); SELECT pg_temp.sell('s2', :north, 100);
UPDATE prm.commission_rule SET partner_kind = 'reseller' WHERE label = 'kind' AND plan_id = :pick;
SELECT pg_temp.sell('s3', :north, 100);
UPDATE prm.commission_rule SET tier = 'gold' WHERE label = 'tier' AND plan_id = :pick;
SELECT pg_temp.sell('s4', :north, 100); SELECT pg_temp.sell('s5', :north, 100, '{"kind": "renewal"}');
UPDATE prm.commission_rule SET credit_type = 'sourced' WHERE label = 'credit type' AND plan_id = :pick;
SELECT pg_temp.sell('s6', :north, 100, '{"kind": "renewal"}');
SELECT pg_temp.sell('s7', :north, 100, '{"kind": "renewal", "product_family": "software"}');
SELECT pg_temp.sell('s8', :north, 100, '{"kind": "renewal", "product": "suite"}');
SELECT pg_temp.sell('s9', :north, 100, '{"kind": "renewal", "product": "suite-pro"}');
SELECT pg_temp.sell('s10', :north, 100, jsonb_build_object('product', 'suite-pro', 'customer_id', :acme));
SELECT pg_temp.sell('s11', :bob, 100, jsonb_build_object('product', 'suite-pro', 'customer_id', :acme));
SELECT is((SELECT array_agg(rule ORDER BY deal_id) FROM prm.v_ledger WHERE plan = 'pick' AND program_id = :program),
  ARRAY['any', 'region', 'kind', 'tier', 'deal kind', 'credit type', 'family', 'product', 'variant', 'customer', 'partner'], 'most specific: the vector in its order');
SELECT is((SELECT string_agg(reason, '|' ORDER BY rule_id) FROM prm.explain_commission(pg_temp.event('s8')) WHERE outcome = 'no_match'),
  (SELECT string_agg(format('%s: the rule is for %s', label, why), '|' ORDER BY rule_id)
   FROM prm.commission_rule JOIN (VALUES ('variant', 'the product suite-pro, sold was suite'), ('customer', 'another customer'), ('partner', 'another partner')) v(label, why) USING (label) WHERE plan_id = :pick),
  'losers say why');
SELECT pg_temp.plan('ties') AS ties \gset
SELECT pg_temp.only('ties');
INSERT INTO prm.commission_rule (plan_id, label, schedule, valid) VALUES (:ties, 'since June', '3%', '[2026-06-01,)'), (:ties, 'since May', '2%', '[2026-05-01,)'), (:ties, 'always', '1%', '(,)');
SELECT pg_temp.sell('tie 1', :ann, 100);
INSERT INTO prm.commission_rule (plan_id, label, schedule, valid) VALUES (:ties, 'since June too', '4%', '[2026-06-01,)');
SELECT pg_temp.sell('tie 2', :ann, 100);
SELECT is((SELECT array_agg(rule ORDER BY deal) FROM prm.v_ledger WHERE plan = 'ties' AND program_id = :program), ARRAY['since June', 'since June too'],
  'among equals the one that is valid later, then the one written later');
SELECT pg_temp.only('pick');
INSERT INTO prm.commission_rule (plan_id, label, schedule, priority) VALUES (:pick, 'first of all', '0.5%', 5);
SELECT pg_temp.sell('s12', :bob, 100, jsonb_build_object('customer_id', :acme));
SELECT is((SELECT rule FROM prm.v_ledger WHERE deal = 's12' AND program_id = :program), 'first of all', 'priority goes before specificity');
SELECT pg_temp.plan('most', 'highest_paying') AS most \gset
INSERT INTO prm.commission_rule (plan_id, label, schedule) VALUES (:most, 'a', 'slab 0: 1000'), (:most, 'b', 'slab 0: 3000'), (:most, 'c', 'slab 0: 2000');
SELECT pg_temp.only('most');
SELECT pg_temp.sell('clicks', :ann, 100);
SELECT is(pg_temp.earned('clicks'), 'Ann 3000.00', 'CND-003 the highest amount wins where the plan says so');
UPDATE prm.commission_plan SET pick = 'all' WHERE plan_id = :most;
SELECT pg_temp.sell('all three', :ann, 100);
SELECT is(pg_temp.earned('all three'), 'Ann 1000.00, Ann 2000.00, Ann 3000.00', 'pick all: every rule that matches');
INSERT INTO prm.commission_rule (plan_id, label, schedule, component) VALUES (:pick, 'extra', '1%', 'bonus');
SELECT pg_temp.only('pick');
SELECT pg_temp.sell('components', :ann, 100);
SELECT is(pg_temp.earned('components'), 'Ann 0.50, Ann 1.00', 'components add up');
UPDATE prm.commission_plan SET enrol_all = false WHERE plan_id = :pick;
INSERT INTO prm.plan_enrolment (plan_id, partner_id, valid) VALUES (:pick, :bob, '[2026-06-16,2026-06-17)'), (:pick, :ann, '[2026-06-17,)');
SELECT pg_temp.sell('enrolled', :bob, 100), pg_temp.sell('not yet', :ann, 100);
SELECT is(pg_temp.earned('enrolled') || ' / ' || pg_temp.earned('not yet'), 'Bob 0.50, Bob 1.00 / nothing', 'enrolment by business date');

-- CND: conditions.
SELECT pg_temp.plan('conditions', 'all') AS conditions \gset
SELECT pg_temp.only('conditions');
INSERT INTO prm.commission_rule (plan_id, label, schedule, condition) VALUES
  (:conditions, 'and', 'slab 0: 1', '$.customer.country == "US" && $.customer.segment == "premium"'),
  (:conditions, 'or', 'slab 0: 2', '$.customer.country == "US" || $.customer.segment == "premium"'),
  (:conditions, 'not', 'slab 0: 3', '$.customer.country != "DE"'),
  (:conditions, 'negated', 'slab 0: 4', '!($.customer.country == "DE")'),
  (:conditions, 'greater', 'slab 0: 5', '$.event.amount > 100'),
  (:conditions, 'or equal', 'slab 0: 6', 'strict $.event.amount >= 100'),
  (:conditions, 'cutoff', 'slab 0: 7', '$.event.occurred_on >= "2026-06-16" && $.event.occurred_at starts with "2026-06-16T12:00"'),
  (:conditions, 'deal field', 'slab 0: 8', '$.deal.attributes.channel == "web" && $.partner.kind == "reseller" && $.level == 0');
SET LOCAL timezone = 'Asia/Tokyo';  -- moments in conditions are those of UTC, whatever the session has
CREATE FUNCTION pg_temp.matched(the_customer text, the_amount numeric) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_temp.sell('cnd ' || the_customer || the_amount, (SELECT partner_id FROM prm.partner WHERE name = 'Ann' AND program_id = prm.current_program()), the_amount,
    jsonb_build_object('customer_id', (SELECT customer_id FROM prm.customer WHERE name = the_customer AND program_id = prm.current_program())));
  RETURN (SELECT string_agg(rule, ', ' ORDER BY amount) FROM prm.v_ledger WHERE deal = 'cnd ' || the_customer || the_amount AND program_id = prm.current_program());
END $$;
SELECT is(pg_temp.matched('Acme', 100), 'and, or, not, negated, or equal, cutoff', 'CND-001, CND-002, CND-007, CND-009 US premium, 100 on the cutoff');
SELECT is(pg_temp.matched('Basic', 101), 'or, not, negated, greater, or equal, cutoff', 'CND-001, CND-002 US basic; CND-007 101');
SELECT is(pg_temp.matched('Nord', 99), 'not, negated, cutoff', 'CND-001, CND-002 CA basic');
SELECT is(pg_temp.matched('Blank', 99), 'cutoff', 'CND-004 an absent field satisfies nothing, not even not-equal');
SELECT pg_temp.open_deal('web', :ann, 99) AS web \gset
UPDATE prm.deal SET attributes = '{"channel": "web"}' WHERE deal_id = :web;
SELECT pg_temp.win('web');
SELECT is((SELECT string_agg(rule, ', ' ORDER BY amount) FROM prm.v_ledger WHERE deal_id = :web), 'cutoff, deal field', 'deal, partner and level are in the document');
SELECT matches((SELECT reason FROM prm.explain_commission(pg_temp.event('web')) WHERE reason LIKE 'greater%'), 'the condition \$\.event\.amount > 100 is not true', 'a condition that fails is shown');
SET LOCAL timezone = 'UTC';
CREATE FUNCTION pg_temp.bad(the_condition text) RETURNS text LANGUAGE sql AS $$ SELECT format('INSERT INTO prm.commission_rule (plan_id, schedule, condition)
  SELECT plan_id, ''1%%'', %L FROM prm.commission_plan WHERE name = ''conditions'' AND program_id = prm.current_program()', the_condition) $$;
SELECT throws_ok(pg_temp.bad('$.event.amount >'), '22P02', 'the condition "$.event.amount >" is no jsonpath', 'a condition that cannot be read');
SELECT throws_ok(pg_temp.bad('$.event.quantity > "100"'), '22023', 'the condition "$.event.quantity > "100"" can never be decided', 'CND-008 a number against quoted text is refused');
SELECT throws_ok(pg_temp.bad('$.deal.attributes.clicks >= "100"'), '22023', NULL, 'CND-008 for any field');
SELECT lives_ok(pg_temp.bad('$.customer.attributes.postal == "10115" && $.deal.name != "$x.y"'), 'text that looks like a number may be compared as text');
SELECT throws_ok(pg_temp.bad('$.customer.country in ()'), '22P02', NULL, 'CND-005 an empty list cannot be written');
SELECT throws_ok(pg_temp.bad('$.client.country == "US"'), '22023', NULL, 'an unknown part');
SELECT throws_ok(pg_temp.bad('$.event ? (@.amount > 5)'), '22023', NULL, 'a filter is no comparison');
SELECT throws_ok(pg_temp.bad('$.event.amount == $limit'), '22023', NULL, 'a variable');
SELECT throws_ok(pg_temp.bad('$.event.occurred_at.datetime() > "2026-01-01".datetime()'), '22023', NULL, 'a date conversion');
SELECT throws_ok(pg_temp.bad('lax $.event.amount > 5'), '22P02', NULL, 'lax');

-- COM-026 a used rule does not change; EFF-001 versions.
SELECT pg_temp.plan('versions') AS versions \gset
SELECT pg_temp.only('versions');
INSERT INTO prm.commission_rule (plan_id, label, schedule) VALUES (:versions, 'A', '10%') RETURNING rule_id AS a \gset
UPDATE prm.commission_rule SET schedule = '12%' WHERE rule_id = :a;
SELECT pass('an unused rule may be changed');
UPDATE prm.commission_rule SET schedule = '10%' WHERE rule_id = :a;
SET LOCAL prm.clock = '2026-06-20 12:00+00';
SELECT pg_temp.sell('v1', :ann, 100);
SELECT throws_ok(format('UPDATE prm.commission_rule SET schedule = ''12%%'' WHERE rule_id = %s', :a), '55000', format('commission rule %s has earned and cannot be changed', :a), 'COM-026');
SELECT throws_ok(format('DELETE FROM prm.commission_rule WHERE rule_id = %s', :a), '55000', format('commission rule %s has earned and cannot be deleted', :a), 'COM-026 nor deleted');
SELECT throws_ok(format('UPDATE prm.commission_rule SET valid = ''[,2026-06-20)'' WHERE rule_id = %s', :a), '55000', NULL, 'COM-026 nor ended before it earned');
SELECT lives_ok(format('UPDATE prm.commission_rule SET label = ''A!'' WHERE rule_id = %s', :a), 'its label may change');
SELECT throws_ok(format('SELECT prm.supersede_rule(%s, ''2026-06-20'', ''{"schedule": "5%%"}'')', :a), '55000', NULL, 'superseding from a day on which it earned');
SELECT throws_ok(format('SELECT prm.supersede_rule(%s, ''2026-07-01'', ''{"plan_id": 1}'')', :a), '22023', 'the next version of a rule cannot change "plan_id"', 'what identifies a rule stays');
SELECT throws_ok(format('SELECT prm.supersede_rule(%s, ''2026-07-01'', ''{"shedule": "5%%"}'')', :a), '22023', 'the next version of a rule cannot change "shedule"', 'an unknown field');
SELECT throws_ok(format('SELECT prm.supersede_rule(%s, ''2026-07-01'', ''{}'')', :a), '22023', NULL, 'no change at all');
SELECT throws_ok('SELECT prm.supersede_rule(-1, ''2026-07-01'', ''{"schedule": "5%"}'')', '42704', 'there is no commission rule -1', 'an unknown rule');
SELECT prm.supersede_rule(:a, '2026-07-01', '{"schedule": "5%", "label": "B"}') AS b \gset
SELECT is((SELECT array_agg(format('%s %s %s %s', label, schedule, valid, lineage_id = :a) ORDER BY rule_id) FROM prm.commission_rule WHERE plan_id = :versions),
  ARRAY['A! 10% (,2026-07-01) t', 'B 5% [2026-07-01,) t'], 'the next version of the same lineage');
SELECT throws_ok(format('INSERT INTO prm.commission_rule (plan_id, lineage_id, schedule, valid) VALUES (%s, %s, ''1%%'', ''[2026-08-01,)'')', :versions, :a), '23P01', NULL, 'versions never overlap');
SET LOCAL prm.clock = '2026-07-05 12:00+00';
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at, external_ref) VALUES
  ('booked', :ann, 100, 'USD', '2026-06-30 23:59+00', 'june'), ('booked', :ann, 100, 'USD', '2026-07-01 00:00+00', 'july');
SELECT is((SELECT array_agg(l.amount ORDER BY e.occurred_at) FROM prm.ledger l JOIN prm.earning_event e USING (program_id, earning_event_id) WHERE e.external_ref IN ('june', 'july')),
  ARRAY[10.00, 5.00], 'EFF-001 the version of the sale''s date, whenever it is entered');
UPDATE prm.program SET time_zone = 'America/New_York' WHERE program_id = :program;
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at, external_ref) VALUES ('booked', :ann, 100, 'USD', '2026-07-01 03:59+00', 'late june');
SELECT is((SELECT format('%s %s', l.amount, l.earned_on) FROM prm.ledger l JOIN prm.earning_event e USING (program_id, earning_event_id) WHERE e.external_ref = 'late june'), '10.00 2026-06-30', 'EFF-001 by the business date of the programme''s zone');

-- Currency, hold, status, views.
SELECT pg_temp.sell('euros', :ann, 100, '{"currency": "EUR"}');
SELECT is(pg_temp.earned('euros'), 'nothing', 'another currency earns nothing');
SELECT matches((SELECT reason FROM prm.explain_commission(pg_temp.event('euros')) WHERE outcome = 'unpaid'), 'no exchange rate from EUR to USD', 'with the reason');
UPDATE prm.commission_plan SET hold_days = 30 WHERE plan_id = :versions;
SELECT pg_temp.sell('held', :ann, 100);
SELECT is((SELECT format('%s %s', status, eligible_at = '2026-08-04 12:00+00') FROM prm.v_ledger WHERE deal = 'held' AND program_id = :program), 'pending t', 'HLD-001 pending until the hold is over');
SET LOCAL prm.clock = '2026-08-03 12:00+00';
SELECT is((SELECT status FROM prm.v_ledger WHERE deal = 'held' AND program_id = :program), 'pending', 'HLD-001 day 29');
SET LOCAL prm.clock = '2026-08-05 12:00+00';
SELECT is((SELECT status FROM prm.v_ledger WHERE deal = 'held' AND program_id = :program), 'eligible', 'HLD-001 day 31');
SELECT is((SELECT format('%s %s %s', period, what, amount) FROM prm.v_statement_preview WHERE deal_id = (SELECT deal_id FROM prm.deal WHERE name = 'held' AND program_id = :program)),
  '2026-08-01 commission: B on held 5.00', 'the statement of the month in which it becomes payable');
SELECT is((SELECT sum(amount) FROM prm.v_commission_month WHERE program_id = :program), (SELECT sum(amount) FROM prm.ledger WHERE program_id = :program), 'months add up to the ledger');

-- Explained: parts and rounding sum to the entry.
SELECT pg_temp.plan('steps') AS steps \gset
SELECT pg_temp.only('steps');
INSERT INTO prm.commission_rule (plan_id, schedule) VALUES (:steps, 'marginal 0: 1%, 1000: 2%, 3000: 3.3%');
SELECT pg_temp.sell('stepped', :ann, 4567.89);
SELECT is((SELECT array_agg(format('%s-%s %s %s', part_lower, part_upper, trim_scale(rate), trim_scale(amount)) ORDER BY step) FROM prm.explain_commission(pg_temp.event('stepped')) WHERE outcome = 'part'),
  ARRAY['0-1000 0.01 10', '1000-3000 0.02 40', '3000- 0.033 51.74037'], 'the parts');
SELECT is((SELECT sum(amount) FROM prm.explain_commission(pg_temp.event('stepped')) WHERE outcome IN ('part', 'rounding')), 101.74, 'parts and rounding sum to the entry');
SELECT is((SELECT amount FROM prm.explain_commission(pg_temp.event('stepped')) WHERE outcome = 'entry'), 101.74, 'which is shown');
SELECT is((SELECT format('%s %s', explain ->> 'schedule', jsonb_array_length(explain -> 'parts')) FROM prm.ledger WHERE earning_event_id = pg_temp.event('stepped')), 'marginal 0: 1%, 1000: 2%, 3000: 3.3% 3', 'and stored');
UPDATE prm.program SET rounding = 'half_even' WHERE program_id = :program;
SELECT pg_temp.sell('even', :ann, 0.50), pg_temp.sell('odd', :ann, 1.50);
SELECT is(pg_temp.earned('even') || ' / ' || pg_temp.earned('odd'), 'nothing / Ann 0.02', 'rounding half to even where the programme says so: 0.005 and 0.02');
UPDATE prm.program SET rounding = 'half_up' WHERE program_id = :program;

-- Refunds.
SELECT pg_temp.plan('refunds') AS refunds \gset
SELECT pg_temp.only('refunds');
UPDATE prm.commission_plan SET hold_days = 30, clawback_days = 90 WHERE plan_id = :refunds;
INSERT INTO prm.commission_rule (plan_id, schedule) VALUES (:refunds, '19%');
CREATE FUNCTION pg_temp.refund(the_name text, the_amount numeric, the_at timestamptz DEFAULT prm.now()) RETURNS bigint LANGUAGE sql AS $$
  INSERT INTO prm.earning_event (kind, applies_to_id, amount, currency, occurred_at) VALUES ('refunded', pg_temp.event(the_name), -the_amount, 'USD', the_at) RETURNING earning_event_id $$;
CREATE FUNCTION pg_temp.taken(the_name text) RETURNS numeric[] LANGUAGE sql AS $$
  SELECT array_agg(l.amount ORDER BY l.entry_id) FROM prm.ledger l JOIN prm.earning_event r USING (program_id, earning_event_id)
  WHERE r.applies_to_id = pg_temp.event(the_name) AND l.kind = 'reversal' AND l.program_id = prm.current_program() $$;
SELECT pg_temp.sell('rnd', :ann, 317.50);
SELECT is((SELECT format('%s', sum(amount)) FROM prm.v_ledger WHERE deal = 'rnd' AND program_id = :program), '60.33', 'RND-001 forward');
SELECT pg_temp.refund('rnd', 317.50) AS full \gset
SELECT is(pg_temp.taken('rnd'), ARRAY[-60.33], 'RND-001 and back');
SELECT is((SELECT prm.commission(d) FROM prm.deal d WHERE name = 'rnd' AND program_id = :program), 0.00, 'nothing is left of the deal');
SELECT is((SELECT r.eligible_at = c.eligible_at AND r.rule_id = c.rule_id FROM prm.ledger r JOIN prm.ledger c ON c.program_id = r.program_id AND c.entry_id = r.cause_entry_id
  WHERE r.earning_event_id = :full), true, 'a reversal is payable when its cause is');
SELECT is((SELECT array_agg(outcome ORDER BY step) FROM prm.explain_commission(:full)), ARRAY['refund', 'entry'], 'and is explained');
SELECT pg_temp.sell('thirds back', :ann, 100);
SELECT pg_temp.refund('thirds back', 33.33), pg_temp.refund('thirds back', 33.33);
INSERT INTO prm.earning_event (kind, applies_to_id, amount, currency, occurred_at) SELECT 'refunded', pg_temp.event('thirds back'), -n, 'USD', prm.now() FROM unnest(ARRAY[0.01, 33.33]) n;
SELECT is((SELECT sum(a) FROM unnest(pg_temp.taken('thirds back')) a), -19.00, 'parts of a refund give back exactly what was earned, also two in one statement');
SELECT is(pg_temp.taken('thirds back'), ARRAY[-6.33, -6.34, -6.33], 'each the difference of the rounded totals, and a zero is no row');
SELECT pg_temp.sell('kept', :ann, 100);
SELECT pg_temp.refund('kept', 40) AS kept \gset
SELECT is((SELECT prm.commission(d) FROM prm.deal d WHERE name = 'kept' AND program_id = :program), 11.40, 'CLB-006 the commission on the part kept');
SELECT throws_ok($$SELECT pg_temp.refund('kept', 60.01)$$, '23514', format('earning event %s cannot be refunded like this', pg_temp.event('kept')), 'refunds never exceed the sale');
SELECT throws_ok(format('INSERT INTO prm.earning_event (kind, applies_to_id, amount, currency, occurred_at) VALUES (''refunded'', %s, -1, ''EUR'', now())', pg_temp.event('kept')), '23514', NULL, 'nor are in another currency');
SELECT throws_ok(format('INSERT INTO prm.earning_event (kind, applies_to_id, amount, currency, occurred_at) VALUES (''refunded'', %s, -1, ''USD'', now())', :kept), '23514', NULL, 'nor of a refund');
SELECT pg_temp.sell('old', :ann, 100);
SELECT pg_temp.refund('old', 50, prm.now() + interval '90 days') AS intime, pg_temp.refund('old', 50, prm.now() + interval '91 days') AS late \gset
SELECT is(pg_temp.taken('old'), ARRAY[-9.50], 'after clawback_days nothing is taken back');
SELECT matches((SELECT reason FROM prm.explain_commission(:late) WHERE step = 1), 'after the days of the plan', 'with the reason');
SELECT pg_temp.open_deal('team back', :ann, 500) AS teamback \gset
INSERT INTO prm.deal_partner (deal_id, partner_id, weight) VALUES (:teamback, :ann, 60), (:teamback, :bob, 40);
SELECT pg_temp.win('team back');
SELECT pg_temp.refund('team back', 250);
SELECT is(pg_temp.taken('team back'), ARRAY[-28.50, -19.00], 'every partner of the sale gives back its part');
INSERT INTO prm.earning_event (kind, amount, currency, occurred_at) VALUES ('booked', 100, 'USD', prm.now()) RETURNING earning_event_id AS nobodys \gset
INSERT INTO prm.earning_event (kind, applies_to_id, amount, currency, occurred_at) VALUES ('refunded', :nobodys, -25, 'USD', prm.now());
INSERT INTO prm.sales_credit (earning_event_id, credit_type, partner_id, weight) VALUES (:nobodys, 'sourced', :ann, 100);
SELECT is((SELECT array_agg(l.amount ORDER BY l.entry_id) FROM prm.ledger l JOIN prm.earning_event e USING (program_id, earning_event_id)
  WHERE program_id = :program AND :nobodys IN (e.earning_event_id, e.applies_to_id)), ARRAY[19.00, -4.75], 'who is credited after a refund earns on what was kept');
SELECT is((SELECT format('%s %s', refunded, refunds) FROM prm.refund_total WHERE program_id = :program AND earning_event_id = :nobodys), '25 1', 'and the refund is counted once');

-- Append-only, and what an amount may be.
SELECT throws_ok('UPDATE prm.ledger SET amount = 1', '55000', 'table "ledger" is append-only', 'ledger: no update');
SELECT throws_ok('DELETE FROM prm.ledger WHERE false', '55000', 'table "ledger" is append-only', 'ledger: no delete, not even of no row');
SET LOCAL client_min_messages = warning;
SELECT throws_ok('TRUNCATE prm.ledger CASCADE', '55000', NULL, 'ledger: no truncate');
SELECT throws_ok('TRUNCATE prm.partner CASCADE', '55000', NULL, 'nor through another table');
SELECT throws_ok('UPDATE prm.earning_event SET amount = 1', '55000', NULL, 'earning_event: no update');
SELECT throws_ok('DELETE FROM prm.earning_event', '55000', NULL, 'earning_event: no delete');
SELECT throws_ok('UPDATE prm.sales_credit SET weight = 1', '55000', NULL, 'sales_credit: no update');
SET LOCAL session_replication_role = replica;
SELECT throws_ok('UPDATE prm.ledger SET amount = 1', '55000', NULL, 'ledger: no update as a replica either');
SET LOCAL session_replication_role = origin;
SELECT throws_ok(format('INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at) VALUES (''booked'', %s, ''NaN'', ''USD'', now())', :ann), '23514', NULL, 'NaN is no amount');
SELECT throws_ok(format('INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at) VALUES (''booked'', %s, -1, ''USD'', now())', :ann), '23514', NULL, 'a negative amount');
SELECT throws_ok(format('INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at) VALUES (''refunded'', %s, -1, ''USD'', now())', :ann), '23514', NULL, 'a refund names what it refunds');
SELECT throws_ok(format('INSERT INTO prm.earning_event (kind, applies_to_id, currency, occurred_at) VALUES (''refunded'', %s, ''USD'', now())', (SELECT max(earning_event_id) FROM prm.earning_event WHERE program_id = :program AND kind = 'booked')),
  '23514', NULL, 'a refund has an amount');
SELECT throws_ok(format('INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at) VALUES (''booked'', %s, 1, ''USD'', %L)', :ann, m), '23514', NULL, 'no event at ' || m)
  FROM unnest(ARRAY['infinity', '-infinity']) m;
SELECT throws_ok(format('INSERT INTO prm.deal (partner_id, name, amount, currency, closed_at) VALUES (%s, ''never'', 1, ''USD'', ''infinity'')', :ann), '23514', NULL, 'no deal closes at the end of time');
SELECT throws_ok(format('INSERT INTO prm.ledger (partner_id, kind, amount, currency, earned_on, eligible_at, idempotency_key) VALUES (%s, ''bonus'', ''Infinity'', ''USD'', ''2026-01-01'', now(), ''x'')', :ann), '23514', NULL, 'no infinite entry');
SELECT throws_ok(format('INSERT INTO prm.commission_rule (plan_id, schedule) VALUES (%s, ''10 percent of it'')', :steps), '22P02', NULL, 'text that is no schedule');
SELECT throws_ok($$INSERT INTO prm.commission_plan (name, currency) VALUES ('x', 'ABC')$$, '22023', NULL, 'a currency that nobody knows');

-- Bulk: one statement wins 5,000 deals; an update that wins nothing books nothing.
SELECT pg_temp.only('ten');
INSERT INTO prm.deal (partner_id, name, amount, currency) SELECT CASE n % 3 WHEN 0 THEN :ann WHEN 1 THEN :bob ELSE :cid END, 'bulk', n, 'USD' FROM generate_series(1, 5000) n;
SELECT count(*) AS events, coalesce(sum(amount), 0) AS earned FROM prm.v_earning WHERE deal = 'bulk' AND program_id = :program \gset
SELECT is(:events, 0, 'nothing is booked before');
UPDATE prm.deal SET state = 'won' WHERE name = 'bulk' AND program_id = :program;
-- The views below join what was written just now; autovacuum has had no chance to count it.
ANALYZE prm.deal, prm.earning_event, prm.ledger, prm.partner;
SELECT is((SELECT format('%s %s', count(*), sum(amount)) FROM prm.v_earning WHERE deal = 'bulk' AND program_id = :program), '5000 12502500', 'bulk: 5,000 events');
SELECT is((SELECT format('%s %s', count(*), sum(amount)) FROM prm.v_ledger WHERE deal = 'bulk' AND program_id = :program), '5000 1250250.00', 'bulk: 5,000 entries, the right total');
SELECT is((SELECT sum(round(n * 0.1, 2)) FROM generate_series(1, 5000) n WHERE n % 3 = 1), (SELECT sum(amount) FROM prm.v_ledger WHERE deal = 'bulk' AND partner_id = :bob), 'bulk: each partner its own');
UPDATE prm.deal SET attributes = '{"x": 1}' WHERE name = 'bulk' AND program_id = :program;
SELECT is((SELECT count(*) FROM prm.v_earning WHERE deal = 'bulk' AND program_id = :program), 5000::bigint, 'bulk: touched again, booked once');

-- Programmes are apart.
SELECT count(*) AS entries FROM prm.ledger WHERE program_id = :program \gset
SELECT set_config('prm.program_id', prm.create_program('Earning test, the other one', 'reseller')::text, true) AS other \gset
SELECT throws_ok(format('SELECT * FROM prm.explain_commission(%s)', (SELECT max(earning_event_id) FROM prm.earning_event WHERE program_id = :program)), '42704', NULL, 'an event of another programme is not seen');
SELECT pg_temp.partner('Zoe', 'gold') AS zoe \gset
SELECT pg_temp.sell('elsewhere', :zoe, 20000);
SELECT is(pg_temp.earned('elsewhere'), 'Zoe 1700.00', 'the template''s gold rule: 8% of 10,000 and 9% of the rest');
SELECT is((SELECT count(*) FROM prm.ledger WHERE program_id = :program), :entries::bigint, 'and nothing in the first programme');

SELECT * FROM finish();
ROLLBACK;
