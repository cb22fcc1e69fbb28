-- The earning engine, which rules match: levels and chains, dimensions, conditions, registration, open deals, rights and the rule book.
BEGIN;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SET LOCAL prm.clock = '2026-06-15 12:00+00';
SELECT set_config('prm.program_id', prm.create_program('Matching', 'blank', 'USD', 'UTC')::text, true) AS program \gset
INSERT INTO prm.ladder (ladder, label) VALUES ('main', 'Main') ON CONFLICT DO NOTHING;
INSERT INTO prm.tier (tier, rank, label) VALUES ('silver', 1, 'Silver'), ('gold', 2, 'Gold');

CREATE FUNCTION pg_temp.partner(the_name text, the_parent text DEFAULT NULL, the_tier text DEFAULT NULL) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  the_id bigint;
  the_parent_id bigint := (SELECT p.partner_id FROM prm.partner p WHERE p.program_id = prm.current_program() AND p.name = the_parent);
BEGIN
  INSERT INTO prm.partner (name, parent_id) VALUES (the_name, the_parent_id) RETURNING partner_id INTO the_id;
  DELETE FROM prm.partner_history h WHERE h.partner_id = the_id AND h.program_id = prm.current_program();
  INSERT INTO prm.partner_history (partner_id, valid, kind, parent_id, tier) VALUES (the_id, tstzrange(NULL, NULL), 'reseller', the_parent_id, the_tier);
  RETURN the_id;
END $$;
CREATE FUNCTION pg_temp.plan(the_name text, the_more jsonb DEFAULT '{}') RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE the_id bigint;
BEGIN
  INSERT INTO prm.earning_kind (kind, label) VALUES (the_name, the_name);
  INSERT INTO prm.commission_plan (name, earn_on, currency, pick, compress, enrol_all, override_depth)
    VALUES (the_name, coalesce(the_more ->> 'earn_on', the_name), 'USD', coalesce(the_more ->> 'pick', 'all'), coalesce((the_more ->> 'compress')::boolean, false),
      coalesce((the_more ->> 'enrol_all')::boolean, true), coalesce((the_more ->> 'depth')::integer, 10)) RETURNING plan_id INTO the_id;
  RETURN the_id;
END $$;
CREATE FUNCTION pg_temp.event(the_kind text, the_partner text, the_more jsonb DEFAULT '{}') RETURNS bigint LANGUAGE sql AS $$
  INSERT INTO prm.earning_event (kind, partner_id, customer_id, product, product_family, deal_kind, amount, quantity, registered, currency, occurred_at)
  SELECT the_kind, (SELECT p.partner_id FROM prm.partner p WHERE p.program_id = prm.current_program() AND p.name = the_partner), e.customer_id, e.product, e.product_family, e.deal_kind,
    coalesce(e.amount, 1000), e.quantity, e.registered, 'USD', coalesce(e.occurred_at, prm.now()) FROM jsonb_populate_record(NULL::prm.earning_event, the_more) e
  RETURNING earning_event_id $$;
-- The rules that pay an event, as "label level payee".
CREATE FUNCTION pg_temp.won(the_event bigint, the_mode text DEFAULT 'replay', the_plans bigint[] DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
  SELECT coalesce(string_agg(concat_ws(' ', o.rule_label, nullif(o.level, 0), p.name), ', ' ORDER BY o.ordinal), 'nothing')
  FROM prm._earning_outcome(prm.current_program(), ARRAY[the_event], the_mode, the_plans) o JOIN prm.partner p ON p.program_id = prm.current_program() AND p.partner_id = o.partner_id
  WHERE o.outcome = 'won' $$;
-- Why a rule does not, at each level at which it was tried.
CREATE FUNCTION pg_temp.why(the_event bigint, the_label text) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(format('%s %s %s', o.level, o.reason_code, o.reason), ', ' ORDER BY o.level, o.ordinal)
  FROM prm._earning_outcome(prm.current_program(), ARRAY[the_event], 'explain') o WHERE o.rule_label = the_label AND o.outcome <> 'won' $$;

-- Levels: the seller, those above, what nobody is there for.
SELECT pg_temp.partner('top'), pg_temp.partner('middle', 'top', 'gold'), pg_temp.partner('low', 'middle', 'silver') \gset
SELECT pg_temp.plan('levels') AS levels \gset
INSERT INTO prm.commission_rule (plan_id, label, level, through_level, override_mode, schedule) VALUES
  (:levels, 'seller', 0, NULL, NULL, '10%'), (:levels, 'up', 1, 2, NULL, '5%'), (:levels, 'roll', 1, 4, 'rollup', '1%'), (:levels, 'top only', 0, 4, 'top_of_chain', '2%');
SELECT pg_temp.event('levels', 'low') AS sale, pg_temp.event('levels', 'top') AS direct \gset
SELECT is(pg_temp.won(:sale), 'seller low, roll 1 middle, up 1 middle, top only 2 top, roll 2 top, up 2 top, roll 3 low, roll 4 low',
  'each level its rules; rollup pays the seller for those that are missing, top_of_chain only the end of the chain');
SELECT is(pg_temp.won(:direct), 'top only top, seller top, roll 1 top, roll 2 top, roll 3 top, roll 4 top', 'a seller without parents is the top of its chain');
SELECT is(pg_temp.why(:sale, 'up'), NULL, 'a rule is tried at its own levels only');
SELECT is(pg_temp.why(:direct, 'up'), '1 no_such_level the chain above the seller has no level 1, 2 no_such_level the chain above the seller has no level 2', 'levels that nobody has are explained');
SELECT matches(pg_temp.why(:sale, 'top only'), '^0 not_top_of_chain only the top of the chain is paid, and partner \d+ has a parent, 1 not_top_of_chain .*, 3 no_such_level', 'and who is not the top');
SELECT is((SELECT array_agg(DISTINCT (o.seller_id = o.partner_id, o.level = 0)::text ORDER BY (o.seller_id = o.partner_id, o.level = 0)::text)
  FROM prm._earning_outcome(:program, ARRAY[:sale]::bigint[], 'replay') o), ARRAY['(f,f)', '(t,f)', '(t,t)'], 'payee and seller are told apart');
UPDATE prm.commission_plan SET override_depth = 4 WHERE plan_id = :levels;
SELECT is((SELECT max(o.level) FROM prm._earning_outcome(:program, ARRAY[:direct]::bigint[], 'replay') o), 4, 'as deep as the plan goes');

-- Unqualified uplines keep their level, or are passed over.
SELECT pg_temp.plan('kept') AS kept, pg_temp.plan('passed', '{"compress": true}') AS passed \gset
INSERT INTO prm.commission_rule (plan_id, label, level, tier, schedule) SELECT p, 'gold ' || n, n, 'gold', '5%' FROM unnest(ARRAY[:kept, :passed]::bigint[]) p, generate_series(1, 2) n;
SELECT pg_temp.partner('under low', 'low') \gset
SELECT pg_temp.event('kept', 'under low') AS kept_sale, pg_temp.event('passed', 'under low') AS passed_sale \gset
SELECT is(pg_temp.won(:kept_sale), 'gold 2 2 middle', 'an unqualified upline keeps its level');
SELECT is(pg_temp.why(:kept_sale, 'gold 1'), '1 unqualified_upline the rule is for tier gold, the partner held silver', 'which is explained');
SELECT is(pg_temp.won(:passed_sale), 'gold 1 1 middle', 'or is passed over');
SELECT pg_temp.plan('other sale') AS other \gset
INSERT INTO prm.product (product, label, family, parent) VALUES ('suite', 'Suite', 'software', NULL), ('suite-pro', 'Suite Pro', NULL, 'suite'), ('suite-pro-eu', 'Suite Pro EU', NULL, 'suite-pro'), ('box', 'Box', 'hardware', NULL);
INSERT INTO prm.commission_rule (plan_id, label, level, tier, product, schedule) VALUES (:other, 'boxes', 1, 'gold', 'box', '5%');
SELECT pg_temp.event('other sale', 'under low', '{"product": "suite"}') AS other_sale \gset
SELECT is((SELECT array_agg(o.outcome) FROM prm._earning_outcome(:program, ARRAY[:other_sale]::bigint[], 'explain') o), ARRAY['no_match'], 'what is not about the upline leaves nothing unpaid');

-- Products upwards, families by name, registration.
SELECT pg_temp.plan('dimensions') AS dimensions \gset
INSERT INTO prm.commission_rule (plan_id, label, product, product_family, registered, schedule) VALUES (:dimensions, 'suite', 'suite', NULL, NULL, '1%'), (:dimensions, 'pro', 'suite-pro', NULL, NULL, '1%'),
  (:dimensions, 'software', NULL, 'software', NULL, '1%'), (:dimensions, 'family pro', NULL, 'suite-pro', NULL, '1%'), (:dimensions, 'registered', NULL, NULL, true, '1%'), (:dimensions, 'not registered', NULL, NULL, false, '1%');
SELECT is(pg_temp.won(pg_temp.event('dimensions', 'low', '{"product": "suite-pro-eu", "registered": true}')), 'pro low, suite low, family pro low, software low, registered low',
  'a variant matches its products and their families, the nearest product first');
SELECT is(pg_temp.won(pg_temp.event('dimensions', 'low', '{"product": "suite", "registered": false}')), 'suite low, software low, not registered low', 'a product does not match its variants');
SELECT is(pg_temp.won(pg_temp.event('dimensions', 'low', '{"product": "box"}')), 'not registered low', 'a sale of which nobody says so is not registered');
SELECT is(pg_temp.won(pg_temp.event('dimensions', 'low', '{"product_family": "software"}')), 'software low, not registered low', 'a family without a product');
SELECT pg_temp.event('dimensions', 'low', '{"product": "box"}') AS box \gset
SELECT is(pg_temp.why(:box, 'registered') || ' / ' || pg_temp.why(:box, 'pro'), '0 other_registration the rule is for registered deals, and this one was not registered / 0 other_product the rule is for the product suite-pro, sold was box', 'and why not');

-- Conditions: the payee, its metrics as they were, the level.
INSERT INTO prm.metric (metric, label) VALUES ('revenue', 'Revenue');
INSERT INTO prm.metric_value (partner_id, metric, observed_at, value) SELECT p.partner_id, 'revenue', v.at, v.value FROM prm.partner p
  JOIN (VALUES ('low', '2026-05-01'::timestamptz, 5), ('low', '2026-06-20', 500), ('middle', '2026-06-15 12:00+00', 50)) v(name, at, value) USING (name) WHERE p.program_id = :program;
SELECT pg_temp.plan('conditions') AS conditions \gset
INSERT INTO prm.commission_rule (plan_id, label, level, through_level, schedule, condition) VALUES
  (:conditions, 'metric', 0, 2, '1%', '$.metrics.revenue >= 5'), (:conditions, 'rich', 0, 2, '1%', '$.metrics.revenue > 5'), (:conditions, 'payee', 0, 2, '1%', '$.payee.tier == "gold"'),
  (:conditions, 'seller', 0, 2, '1%', '$.partner.tier == "silver"'), (:conditions, 'upper', 0, 2, '1%', '$.level > 1'), (:conditions, 'no metric', 0, 2, '1%', '$.metrics.logins != 1');
SELECT is(pg_temp.won(pg_temp.event('conditions', 'low')), 'seller low, metric low, seller 1 middle, payee 1 middle, rich 1 middle, metric 1 middle, upper 2 top, seller 2 top',
  'conditions see the payee and the seller, the metrics of the payee up to the event, and the level');
SELECT is(pg_temp.won(pg_temp.event('conditions', 'low', '{"occurred_at": "2026-06-21 00:00+00"}')), 'seller low, rich low, metric low, seller 1 middle, payee 1 middle, rich 1 middle, metric 1 middle, upper 2 top, seller 2 top',
  'a metric that was observed since');
SELECT throws_ok(format('INSERT INTO prm.commission_rule (plan_id, schedule, condition) VALUES (%s, ''1%%'', ''$.metrics.revenue > "5"'')', :conditions), '22023', NULL, 'a metric against quoted text is refused');
SELECT lives_ok(format('INSERT INTO prm.commission_rule (plan_id, schedule, condition) VALUES (%s, ''1%%'', ''$.payee.tier == "5" && $.metrics.revenue > 5'')', :conditions), 'text of the payee may look like a number');

-- What was true just before the event.
SELECT pg_temp.plan('then') AS then \gset
INSERT INTO prm.commission_rule (plan_id, label, level, schedule) VALUES (:then, 'up', 1, '1%');
SELECT pg_temp.partner('mover', 'top') \gset
UPDATE prm.partner_history SET valid = tstzrange(NULL, '2026-06-15 12:00+00') WHERE program_id = :program AND partner_id = (SELECT partner_id FROM prm.partner WHERE name = 'mover' AND program_id = :program);
INSERT INTO prm.partner_history (partner_id, valid, kind, parent_id) SELECT m.partner_id, tstzrange('2026-06-15 12:00+00', NULL), 'reseller', l.partner_id
  FROM prm.partner m, prm.partner l WHERE m.name = 'mover' AND l.name = 'low' AND m.program_id = :program AND l.program_id = :program;
SELECT is(pg_temp.won(pg_temp.event('then', 'mover')) || ', ' || pg_temp.won(pg_temp.event('then', 'mover', '{"occurred_at": "2026-06-15 12:00:00.000001+00"}')), 'up 1 top, up 1 low', 'the parent just before the event');

-- A cycle.
UPDATE prm.partner_history SET parent_id = (SELECT partner_id FROM prm.partner WHERE name = 'under low' AND program_id = :program) WHERE program_id = :program AND partner_id = (SELECT partner_id FROM prm.partner WHERE name = 'top' AND program_id = :program);
SELECT throws_ok($$SELECT pg_temp.event('levels', 'low')$$, '23514', format('the parents of partner %s form a cycle', (SELECT partner_id FROM prm.partner WHERE name = 'low' AND program_id = :program)), 'a cycle of parents is refused');
SELECT lives_ok($$SELECT pg_temp.event('dimensions', 'low')$$, 'where no plan goes up the chain, nobody looks for one');
UPDATE prm.partner_history SET parent_id = NULL WHERE program_id = :program AND partner_id = (SELECT partner_id FROM prm.partner WHERE name = 'top' AND program_id = :program);

-- Open deals, as if they were booked now.
SELECT pg_temp.plan('deals', '{"earn_on": "booked"}') AS deals \gset
INSERT INTO prm.commission_rule (plan_id, label, basis, schedule, condition) VALUES (:deals, 'amount', 'amount', '10%', NULL), (:deals, 'quantity', 'quantity', 'marginal 0: 2 each', NULL),
  (:deals, 'margin', 'margin', '10%', NULL), (:deals, 'asked', 'amount', '1%', '$.event.amount == 900 && $.deal.name == "open" && $.event.occurred_on == "2026-06-15" && $.event.quantity == 3');
UPDATE prm.product SET commissionable = false WHERE program_id = :program AND product = 'box';
INSERT INTO prm.deal (partner_id, name, amount, cost, currency) SELECT partner_id, 'open', 900, 100, 'USD' FROM prm.partner WHERE name = 'low' AND program_id = :program RETURNING deal_id AS deal \gset
INSERT INTO prm.deal_line (deal_id, line_no, product, net, quantity, cost) VALUES (:deal, 1, 'suite', 600, 3, 200), (:deal, 2, 'box', 300, 5, 1);
SELECT is((SELECT string_agg(format('%s %s %s', o.rule_label, trim_scale(o.basis_amount), trim_scale(o.amount)), ', ' ORDER BY o.ordinal) FROM prm._earning_outcome(:program, ARRAY[:deal]::bigint[], 'deal') o WHERE o.outcome = 'won'),
  (SELECT string_agg(t, ', ') FROM unnest(ARRAY['asked 600 6', 'margin 400 40', 'quantity 3 6', 'amount 600 60']) t), 'an open deal is taken as its booking would be, lines and all');
INSERT INTO prm.deal_partner (deal_id, partner_id, weight) SELECT :deal, p.partner_id, w.weight FROM (VALUES ('low', 60), ('middle', 40)) w(name, weight) JOIN prm.partner p ON p.name = w.name AND p.program_id = :program;
SELECT is((SELECT array_agg(DISTINCT trim_scale(o.share) ORDER BY trim_scale(o.share)) FROM prm._earning_outcome(:program, ARRAY[:deal]::bigint[], 'deal') o), ARRAY[240, 360]::numeric[], 'with the credits that it has');
SELECT is((SELECT count(*) FROM prm.earning_event WHERE program_id = :program AND deal_id = :deal), 0::bigint, 'and nothing is booked');

-- Arguments.
SELECT is((SELECT count(*) FROM prm._earning_outcome(:program, '{}', 'explain')) + (SELECT count(*) FROM prm._earning_outcome(:program, NULL, 'explain')) + (SELECT count(*) FROM prm._earning_outcome(:program, ARRAY[-1, NULL]::bigint[], 'explain')), 0::numeric::bigint, 'of nothing comes nothing');
SELECT is((SELECT count(*) FROM prm._earning_outcome(:program, ARRAY[:sale, :sale, NULL]::bigint[], 'replay')), 8::bigint, 'an event that is named twice is taken once');
SELECT throws_ok(format('SELECT prm._earning_outcome(%s, ''{1}'', ''guess'')', :program), '22023', 'unknown mode "guess"', 'an unknown mode');
SELECT throws_ok('SELECT prm._earning_outcome(-1, ''{1}'', ''explain'')', '42704', NULL, 'an unknown programme');

-- The rule book: what this transaction changed counts at once, and what it took back does not.
SAVEPOINT before;
UPDATE prm.commission_plan SET is_active = false WHERE plan_id = :levels;
SELECT is(pg_temp.won(:sale), 'nothing', 'a plan that is not active pays nothing');
SELECT isnt(pg_temp.won(:sale, 'replay', ARRAY[:levels]::bigint[]), 'nothing', 'unless it is asked for: a draft');
ROLLBACK TO before;
SELECT isnt(pg_temp.won(:sale), 'nothing', 'taken back, it is active again');
SAVEPOINT before;
INSERT INTO prm.commission_rule (plan_id, label, schedule) VALUES (:levels, 'new', '1%');
SELECT matches(pg_temp.won(:sale), 'new low', 'a rule that was just written');
ROLLBACK TO before;
SELECT doesnt_match(pg_temp.won(:sale), 'new low', 'and one that was taken back');

-- Rights: whoever asks sees by the rules that he may read.
CREATE ROLE earning_match_reader;
GRANT USAGE ON SCHEMA prm TO earning_match_reader;
SET LOCAL ROLE earning_match_reader;
SELECT throws_ok(format('SELECT * FROM prm._earning_outcome(%s, ARRAY[%s]::bigint[], ''explain'')', :program, :sale), '42501', NULL, 'without rights nothing is explained');
RESET ROLE;
GRANT SELECT ON ALL TABLES IN SCHEMA prm TO earning_match_reader;
ALTER TABLE prm.commission_rule ENABLE ROW LEVEL SECURITY;
CREATE POLICY earning_match_some ON prm.commission_rule TO earning_match_reader USING (label = 'up');
SELECT is((SELECT count(*) FROM prm._earning_outcome(:program, ARRAY[:sale]::bigint[], 'replay')), 8::bigint, 'the owner sees every rule');
SET LOCAL ROLE earning_match_reader;
SELECT is((SELECT count(*) FROM prm._earning_outcome(:program, ARRAY[:sale]::bigint[], 'replay')), 2::bigint, 'row security counts, whoever asked before');
SELECT throws_ok(format('SELECT * FROM prm._earning_outcome(%s, ARRAY[%s]::bigint[], ''accrue'')', :program, :sale), '42501', NULL, 'and nobody accrues by hand');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
