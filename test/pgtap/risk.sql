-- Risk: what the rules find, and the holds, releases, cancellations and expiries that follow. Acceptance ids stand in the names.
BEGIN;
-- The expectations write moments as ISO does.
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';
SET LOCAL intervalstyle = postgres;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SET LOCAL prm.clock = '2026-06-15 12:00+00';
SELECT set_config('prm.program_id', prm.create_program('Risk test', 'blank', 'USD', 'UTC')::text, true) AS program \gset

CREATE FUNCTION pg_temp.partner(the_name text, the_more jsonb DEFAULT '{}') RETURNS bigint LANGUAGE sql AS $$
  INSERT INTO prm.partner (name, email, domain, tax_id, parent_id)
  VALUES (the_name, the_more ->> 'email', the_more ->> 'domain', the_more ->> 'tax_id', (the_more ->> 'parent_id')::bigint) RETURNING partner_id $$;
CREATE FUNCTION pg_temp.sale(the_ref text, the_partner bigint, the_amount numeric, the_attributes jsonb DEFAULT '{}', the_customer bigint DEFAULT NULL, the_kind text DEFAULT 'booked') RETURNS bigint LANGUAGE sql AS $$
  INSERT INTO prm.earning_event (kind, partner_id, customer_id, amount, currency, occurred_at, external_ref, attributes)
  VALUES (the_kind, the_partner, the_customer, the_amount, 'USD', prm.now(), the_ref, the_attributes) RETURNING earning_event_id $$;
CREATE FUNCTION pg_temp.entry(the_ref text) RETURNS bigint LANGUAGE sql AS $$
  SELECT min(l.entry_id) FROM prm.ledger l JOIN prm.earning_event e USING (program_id, earning_event_id) WHERE e.external_ref = the_ref AND l.program_id = prm.current_program() $$;
CREATE FUNCTION pg_temp.status(the_ref text) RETURNS text LANGUAGE sql AS $$ SELECT status FROM prm.v_ledger WHERE entry_id = pg_temp.entry(the_ref) AND program_id = prm.current_program() $$;
CREATE FUNCTION pg_temp.risks(the_partner bigint) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(format('%s %s %s', risk_rule, state, findings), ', ' ORDER BY risk_event_id) FROM prm.v_risk_event WHERE partner_id = the_partner AND program_id = prm.current_program() $$;
CREATE FUNCTION pg_temp.risk(the_partner bigint, the_rule text) RETURNS bigint LANGUAGE sql AS $$
  SELECT max(risk_event_id) FROM prm.risk_event WHERE partner_id = the_partner AND risk_rule = the_rule AND program_id = prm.current_program() $$;
CREATE FUNCTION pg_temp.only(the_rules text[]) RETURNS void LANGUAGE sql AS $$
  UPDATE prm.risk_rule SET is_active = (risk_rule = ANY (the_rules)) WHERE program_id = prm.current_program() $$;

INSERT INTO prm.commission_plan (name, currency, hold_days) VALUES ('Ten', 'USD', 30) RETURNING plan_id AS plan \gset
INSERT INTO prm.commission_rule (plan_id, schedule) VALUES (:plan, '10%') RETURNING lineage_id AS lineage \gset
SELECT pg_temp.partner('Ann', '{"email": "Ann.A+shop@gmail.com", "domain": "https://www.ann.example/home", "tax_id": "DE 123-4"}') AS ann,
  pg_temp.partner('Bob', '{"email": "info@bob.example"}') AS bob, pg_temp.partner('Cid') AS cid \gset
INSERT INTO prm.partner_user (partner_id, name, email) VALUES (:bob, 'Bea', 'bea@gmx.net');
INSERT INTO prm.payee (partner_id, legal_name, tax_id, bank, currency) VALUES (:cid, 'Cid Ltd', 'GB-77', '{"email": "money@cid.example"}', 'USD');

-- Rules are checked when they are written.
SELECT throws_ok(format('INSERT INTO prm.risk_rule (risk_rule, label, kind, parameters) VALUES (''x'', ''x'', %L, %L)', k, p), '22023', format('a risk rule of kind %s cannot have these parameters', k), format('refused: %s %s', k, p))
  FROM (VALUES ('self_referral', '{"mach": ["email"]}'), ('self_referral', '{"match": ["e-mail"]}'), ('self_referral', '{"match": []}'), ('self_referral', '{"match": "email"}'), ('velocity', '{"events": 3}'),
    ('velocity', '{"within": "1 day"}'), ('velocity', '{"events": 3, "within": "soon"}'), ('velocity', '{"events": 3, "within": "-1 day"}'), ('velocity', '{"events": 0, "within": "1 day"}'),
    ('velocity', '{"events": "3", "within": "1 day"}'), ('velocity', '{"amount": 3, "currency": "dollars", "within": "1 day"}'), ('banned_source', '{}'), ('banned_source', '{"sources": [1]}'),
    ('banned_source', '{"sources": [" "]}'), ('duplicate_account', '{"within_group": "yes"}')) AS v(k, p);
SELECT throws_ok($$INSERT INTO prm.risk_rule (risk_rule, label, kind) VALUES ('x', 'x', 'condition')$$, '23514', NULL, 'a condition is needed where nothing else is looked at');
SELECT throws_ok($$INSERT INTO prm.risk_rule (risk_rule, label, kind, condition) VALUES ('x', 'x', 'condition', '$.event.amount > "5"')$$, '22023', NULL, 'and is checked as those of commission rules');
SELECT throws_ok($$INSERT INTO prm.risk_rule (risk_rule, label, kind) VALUES ('x', 'x', 'astrology')$$, '23514', NULL, 'an unknown kind');
INSERT INTO prm.risk_rule (risk_rule, label, kind, parameters, action, expires_after_days, condition) VALUES
  ('self', 'The buyer is the partner itself', 'self_referral', '{}', 'hold', 30, NULL),
  ('ads', 'Advertisements', 'paid_traffic', '{}', 'flag', 30, NULL),
  ('source', 'Sources that do not count', 'banned_source', '{"sources": ["Coupon Site"], "referrers": ["spam.example"], "campaigns": ["old"]}', 'hold', 30, NULL),
  ('rush', 'Too much at once', 'velocity', '{"events": 3, "amount": 5000, "within": "1 hour"}', 'hold', 30, NULL),
  ('big', 'Big first sale', 'condition', '{"kinds": ["booked"]}', 'flag', 30, '$.event.amount >= 9000 && $.partner.kind == "reseller"'),
  ('twin', 'The same account twice', 'duplicate_account', '{}', 'hold', 30, NULL),
  ('barred', 'Barred', 'network_ban', '{"emails": ["crook@gmail.com"], "domains": ["crook.example"]}', 'hold', NULL, NULL);

-- FRD-005 and its relatives.
SELECT pg_temp.only('{self}');
SELECT pg_temp.sale('clean', :ann, 100, '{"email": "someone@gmail.com", "domain": "gmail.com"}') AS clean \gset
SELECT is(pg_temp.risks(:ann), NULL, 'a public mail provider is nobody''s domain');
SELECT is(pg_temp.status('clean'), 'pending', 'and nothing is held');
SELECT pg_temp.sale('own', :ann, 100, '{"email": "anna@gmail.com"}') AS own \gset
SELECT is(pg_temp.risks(:ann), 'self open 1', 'FRD-005 the customer''s e-mail is the partner''s own, however it is written');
SELECT is((SELECT found FROM prm.v_risk_event WHERE partner_id = :ann AND program_id = :program), 'the email of the event is that of the partner', 'FRD-005 in words');
SELECT is((SELECT format('%s %s %s', earning_event_id = :own, opened_at, expires_at) FROM prm.risk_event WHERE partner_id = :ann AND program_id = :program),
  't 2026-06-15 12:00:00+00 2026-07-15 12:00:00+00', 'with the event, and the day on which it expires');
SELECT is(ARRAY[pg_temp.status('clean'), pg_temp.status('own')], '{held,held}', 'a risk holds every entry of the partner');
SELECT is((SELECT format('%s %s %s %s', kind, entry_id, reason, stands) FROM prm.v_hold WHERE partner_id = :ann AND program_id = :program), 'risk  The buyer is the partner itself t', 'by one hold');
SELECT pg_temp.sale('later', :ann, 100), pg_temp.sale('other', :bob, 100);
SELECT is(ARRAY[pg_temp.status('later'), pg_temp.status('other')], '{held,pending}', 'also what comes later, and nobody else''s');
SELECT pg_temp.sale('again', :ann, 100, '{"domain": "ann.example"}');
SELECT is(pg_temp.risks(:ann), 'self open 2', 'one open event per rule and partner: more evidence is added');
SELECT is((SELECT count(*) FROM prm.ledger_hold WHERE partner_id = :ann AND program_id = :program), 1::bigint, 'and no second hold');
INSERT INTO prm.customer (name, domain, tax_id) VALUES ('Cid''s sister', 'sister.example', 'gb 77') RETURNING customer_id AS sister \gset
INSERT INTO prm.customer (name, domain) VALUES ('Bob''s own', 'www.BOB.example') RETURNING customer_id AS bobs \gset
SELECT pg_temp.sale('sister', :cid, 10, '{}', :sister), pg_temp.sale('bobs', :bob, 10, '{}', :bobs);
SELECT is((SELECT array_agg(found ORDER BY partner_id) FROM prm.v_risk_event WHERE program_id = :program AND partner_id IN (:bob, :cid)),
  ARRAY['the domain of the customer is that of the partner', 'the tax id of the customer is that of the partner''s payee'], 'the customer''s domain, and its tax number at the payee');
SELECT pg_temp.partner('Dot', '{"email": "d@dot.example"}') AS dot \gset
INSERT INTO prm.lead (partner_id, company, email) VALUES (:dot, 'Dot', 'D@dot.example') RETURNING lead_id AS lead \gset
INSERT INTO prm.deal (partner_id, lead_id, name, amount, currency) VALUES (:dot, :lead, 'Dot buys', 500, 'USD');
UPDATE prm.deal SET state = 'won' WHERE name = 'Dot buys' AND program_id = :program;
SELECT is((SELECT found FROM prm.v_risk_event WHERE program_id = :program AND partner_id = :dot), 'the email of the lead is that of the partner', 'the lead behind a won deal');
SELECT pg_temp.partner('Eve', '{"email": "e@eve.example"}') AS eve, pg_temp.partner('Fay') AS fay \gset
INSERT INTO prm.deal (partner_id, name, amount, currency, attributes) VALUES (:fay, 'Fay and Eve', 500, 'USD', '{"email": "e@eve.example"}') RETURNING deal_id AS team \gset
INSERT INTO prm.deal_partner (deal_id, partner_id, credit_type, weight) VALUES (:team, :fay, 'sourced', 100), (:team, :eve, 'assisted', 100);
UPDATE prm.deal SET state = 'won' WHERE deal_id = :team AND program_id = :program;
SELECT is(pg_temp.risks(:eve) || coalesce(pg_temp.risks(:fay), ''), 'self open 1', 'of several credited partners, the one that it is, once');

-- FRD-002 benign: released, and not raised for the same thing again.
SELECT throws_ok(format('SELECT prm.resolve_risk(%s, ''fine'', ''x'')', pg_temp.risk(:ann, 'self')), '22023', 'a risk cannot be resolved as "fine"', 'outcomes');
SELECT throws_ok(format('SELECT prm.resolve_risk(%s, ''benign'', '' '')', pg_temp.risk(:ann, 'self')), '22023', 'the resolution of a risk needs a reason', 'a reason is needed');
SELECT throws_ok('SELECT prm.resolve_risk(-1, ''benign'', ''x'')', '42704', 'there is no risk event -1', 'an unknown one');
SELECT throws_ok(format('SELECT prm.release_hold(%s, ''x'')', (SELECT hold_id FROM prm.v_hold WHERE partner_id = :ann AND program_id = :program)), '55000', NULL, 'its hold ends with it only');
SELECT is(prm.resolve_risk(pg_temp.risk(:ann, 'self'), 'benign', 'her sister'), 'benign', 'FRD-002 benign');
SELECT is(ARRAY[pg_temp.status('own'), pg_temp.status('later'), pg_temp.status('again')], '{pending,pending,pending}', 'FRD-002 pending again');
SELECT is((SELECT format('%s %s %s %s', stands, outcome, end_reason, ended_at) FROM prm.v_hold WHERE partner_id = :ann AND program_id = :program), 'f release her sister 2026-06-15 12:00:00+00', 'the hold says how it ended');
SELECT throws_ok(format('SELECT prm.resolve_risk(%s, ''banned'', ''x'')', pg_temp.risk(:ann, 'self')), '55000', format('risk event %s is resolved already', pg_temp.risk(:ann, 'self')), 'decided once');
SELECT pg_temp.sale('sister again', :ann, 100, '{"email": "ann.a@gmail.com"}');
SELECT is(pg_temp.risks(:ann), 'self benign 2', 'the same address is not raised again');
INSERT INTO prm.partner_user (partner_id, name, email) VALUES (:ann, 'Al', 'al@al.example');
SELECT pg_temp.sale('brother', :ann, 100, '{"email": "al@al.example"}');
SELECT is(pg_temp.risks(:ann), 'self benign 2, self open 1', 'another one is');
SELECT prm.resolve_risk(pg_temp.risk(:ann, 'self'), 'benign', 'fine too');

-- FRD-003 banned.
SELECT pg_temp.partner('Gus', '{"email": "gus@gus.example"}') AS gus \gset
SELECT pg_temp.sale('g' || n, :gus, 100 * n) FROM generate_series(1, 2) n;
INSERT INTO prm.earning_event (kind, applies_to_id, amount, currency, occurred_at) SELECT 'refunded', earning_event_id, -50, 'USD', prm.now() FROM prm.earning_event WHERE external_ref = 'g1' AND program_id = :program;
INSERT INTO prm.ledger (partner_id, kind, amount, currency, earned_on, eligible_at, idempotency_key) VALUES
  (:gus, 'bonus', 70, 'USD', '2026-06-01', prm.now(), 'bonus'), (:gus, 'clawback', -30, 'USD', '2026-06-01', prm.now(), 'debt');
SELECT pg_temp.sale('g3', :gus, 300, '{"email": "gus@gus.example"}');
SELECT is(ARRAY[pg_temp.status('g1'), pg_temp.status('g2'), pg_temp.status('g3')], '{held,held,held}', 'FRD-003 three entries held');
SELECT is(prm.resolve_risk(pg_temp.risk(:gus, 'self'), 'banned', 'bought from itself'), 'banned', 'FRD-003 banned');
SELECT is(ARRAY[pg_temp.status('g1'), pg_temp.status('g2'), pg_temp.status('g3')], '{canceled,canceled,canceled}', 'FRD-003 canceled');
SELECT is((SELECT array_agg(format('%s %s %s', kind, amount, status) ORDER BY entry_id) FROM prm.v_ledger WHERE partner_id = :gus AND program_id = :program AND kind NOT IN ('commission')),
  ARRAY['reversal -5.00 canceled', 'bonus 70 canceled', 'clawback -30 eligible', 'reversal -5.00 canceled', 'reversal -20.00 canceled', 'reversal -70 canceled', 'reversal -30.00 canceled'],
  'FRD-003 what was left of each is reversed; what the partner owes stays');
SELECT is((SELECT sum(amount) FROM prm.ledger WHERE partner_id = :gus AND program_id = :program), -30::numeric, 'nothing else is left');
SELECT is((SELECT array_agg(DISTINCT reason) FROM prm.v_ledger WHERE partner_id = :gus AND program_id = :program AND reason IS NOT NULL), ARRAY['canceled, the partner is banned: bought from itself'], 'with the reason');
SELECT is((SELECT bool_and(r.eligible_at = c.eligible_at AND r.earning_event_id IS NOT DISTINCT FROM c.earning_event_id AND r.rule_id IS NOT DISTINCT FROM c.rule_id AND r.explain @> '{"canceled": true}')
  FROM prm.ledger r JOIN prm.ledger c ON c.program_id = r.program_id AND c.entry_id = r.cause_entry_id WHERE r.idempotency_key LIKE 'cancel/%' AND r.program_id = :program), true, 'each row is that of its cause');
SELECT pg_temp.sale('g4', :gus, 400, '{"email": "gus@gus.example"}');
SELECT is((SELECT array_agg(format('%s %s', amount, status) ORDER BY entry_id) FROM prm.v_ledger WHERE earning_event_id = (SELECT earning_event_id FROM prm.earning_event WHERE external_ref = 'g4' AND program_id = :program)),
  ARRAY['40.00 canceled', '-40.00 canceled'], 'what comes later is canceled at once');
SELECT is((SELECT count(*) FROM prm.risk_event WHERE partner_id = :gus AND program_id = :program), 1::bigint, 'and raises no more');
INSERT INTO prm.earning_event (kind, applies_to_id, amount, currency, occurred_at) SELECT 'refunded', earning_event_id, -100, 'USD', prm.now() FROM prm.earning_event WHERE external_ref = 'g2' AND program_id = :program;
SELECT is((SELECT sum(amount) FROM prm.ledger WHERE partner_id = :gus AND program_id = :program), -30::numeric, 'a refund of what was canceled changes nothing');
SELECT is((SELECT array_agg(entry_id) FROM prm.v_entry_hold WHERE program_id = :program AND partner_id = :gus AND NOT held),
  (SELECT array_agg(entry_id) FROM prm.ledger WHERE program_id = :program AND partner_id = :gus AND kind = 'clawback'), 'a ban holds everything but what the partner owes');
SELECT is(prm.resolve_risk(pg_temp.risk(:gus, 'self'), 'benign', 'it was a mistake'), 'benign', 'a ban can be lifted');
INSERT INTO prm.earning_event (kind, applies_to_id, amount, currency, occurred_at) SELECT 'refunded', earning_event_id, -150, 'USD', prm.now() FROM prm.earning_event WHERE external_ref = 'g3' AND program_id = :program;
SELECT is((SELECT sum(amount) FROM prm.ledger WHERE partner_id = :gus AND program_id = :program), -30::numeric, 'a refund of it then changes nothing either');
SELECT is_empty($$SELECT a.* FROM prm.audit_ledger() a JOIN prm.ledger l USING (entry_id) WHERE l.program_id = prm.current_program() AND l.idempotency_key <> 'debt'$$, 'and the ledger is sound, but for the debt made up above');
SELECT is_empty('SELECT * FROM prm.audit_ledger() WHERE entry_id IS NULL', 'its counts as well');
SELECT is_empty($$SELECT * FROM prm.recalculate('2026-06-01', '2026-06-30', true)$$, 'what was canceled is not earned anew');
SELECT pg_temp.sale('g5', :gus, 500);
SELECT is(ARRAY[pg_temp.status('g3'), pg_temp.status('g5')], '{canceled,pending}', 'what was canceled stays so, and what comes later is earned');
SELECT is((SELECT array_agg(h.action ORDER BY h.hold_id) FROM prm.ledger_hold h WHERE h.partner_id = :gus AND h.program_id = :program), '{place,cancel,release}', 'append-only');

-- The use of caps goes down by what is canceled.
SELECT pg_temp.partner('Hal', '{"email": "hal@hal.example"}') AS hal, pg_temp.partner('Ida') AS ida \gset
SELECT pg_temp.sale('h1', :hal, 100), pg_temp.sale('i1', :ida, 200), pg_temp.sale('h2', :hal, 300);
INSERT INTO prm.accumulator (purpose, lineage_id, plan_id, partner_id, customer_id, credit_type, window_start, amount, entries)
  VALUES ('cap', :lineage, :plan, 0, 0, '', '2026-06-01', 60, 3);
INSERT INTO prm.accumulator_entry (purpose, lineage_id, plan_id, partner_id, customer_id, credit_type, window_start, sequence_no, earning_event_id, entry_id, amount, amount_before)
  SELECT 'cap', :lineage, :plan, 0, 0, '', '2026-06-01', row_number() OVER (ORDER BY l.entry_id), l.earning_event_id, l.entry_id, l.amount, sum(l.amount) OVER (ORDER BY l.entry_id) - l.amount
  FROM prm.ledger l WHERE l.program_id = :program AND l.entry_id IN (pg_temp.entry('h1'), pg_temp.entry('i1'), pg_temp.entry('h2'));
INSERT INTO prm.risk_event (risk_rule, partner_id) VALUES ('self', :hal);
SELECT is(pg_temp.status('h1'), 'held', 'a suspicion reported by hand holds as well');
UPDATE prm.risk_event SET state = 'banned', reason = 'by hand' WHERE partner_id = :hal AND program_id = :program;
SELECT is((SELECT format('%s %s', amount, entries) FROM prm.accumulator WHERE program_id = :program AND purpose = 'cap'), '20.00 5', 'the use of the cap goes down by both entries');
SELECT is((SELECT array_agg(format('%s: %s %s', sequence_no, amount, amount_before) ORDER BY sequence_no) FROM prm.accumulator_entry WHERE program_id = :program AND purpose = 'cap'),
  ARRAY['1: 10.00 0.00', '2: 20.00 10.00', '3: 30.00 30.00', '4: -10.00 60', '5: -30.00 50.00'], 'each by a row of its own');
SELECT is((SELECT a.amount = sum(e.amount) FROM prm.accumulator a JOIN prm.accumulator_entry e USING (program_id, purpose, lineage_id, plan_id, partner_id, customer_id, credit_type, window_start)
  WHERE a.program_id = :program AND a.purpose = 'cap' GROUP BY a.amount), true, 'and the count is the sum of its rows');
SELECT is((SELECT array_agg(l.recorded_at = e.recorded_at AND l.kind = 'reversal') FROM prm.accumulator_entry e JOIN prm.ledger l USING (program_id, entry_id) WHERE e.program_id = :program AND e.sequence_no > 3 AND e.purpose = 'cap'),
  '{t,t}', 'recorded with its reversal');

-- With rules that are capped and that count: what the ban frees, others earn, and every recalculation knows it.
SELECT set_config('prm.program_id', prm.create_program('Risk test, capped', 'blank', 'USD', 'UTC')::text, true) AS capped \gset
INSERT INTO prm.partner (name) VALUES ('Xan') RETURNING partner_id AS xan \gset
INSERT INTO prm.partner (name) VALUES ('Yul') RETURNING partner_id AS yul \gset
INSERT INTO prm.commission_plan (name, currency) VALUES ('Capped', 'USD') RETURNING plan_id AS cappedplan \gset
INSERT INTO prm.commission_rule (plan_id, schedule, cap_amount, cap_scope, cap_window) VALUES (:cappedplan, '10%', 100, 'programme', 'lifetime');
INSERT INTO prm.commission_rule (plan_id, component, schedule, accumulate, window_kind) VALUES (:cappedplan, 'growth', 'slab 0: 1%, 1000: 2%', 'cumulative', 'month');
INSERT INTO prm.risk_rule (risk_rule, label, kind) VALUES ('self', 'Self', 'self_referral');
SELECT pg_temp.sale('x1', :xan, 500), pg_temp.sale('y1', :yul, 300), pg_temp.sale('x2', :xan, 400);
INSERT INTO prm.earning_event (kind, applies_to_id, amount, currency, occurred_at) SELECT 'refunded', earning_event_id, -100, 'USD', prm.now() FROM prm.earning_event WHERE external_ref = 'x1' AND program_id = :capped;
SELECT is((SELECT amount FROM prm.accumulator WHERE program_id = :capped AND purpose = 'cap'), 90::numeric, 'the cap of 100 was used up, and 10 came back by a refund');
INSERT INTO prm.risk_event (risk_rule, partner_id) VALUES ('self', :xan);
SELECT prm.resolve_risk(pg_temp.risk(:xan, 'self'), 'banned', 'a crook');
SELECT is((SELECT amount FROM prm.accumulator WHERE program_id = :capped AND purpose = 'cap'), 30::numeric, 'the ban frees what was left of it');
INSERT INTO prm.earning_event (kind, applies_to_id, amount, currency, occurred_at) SELECT 'refunded', earning_event_id, -200, 'USD', prm.now() FROM prm.earning_event WHERE external_ref = 'x1' AND program_id = :capped;
SELECT is((SELECT amount FROM prm.accumulator WHERE program_id = :capped AND purpose = 'cap'), 30::numeric, 'a later refund does not free it twice');
SELECT pg_temp.sale('y2', :yul, 900);
SELECT is((SELECT amount FROM prm.v_ledger WHERE entry_id = pg_temp.entry('y2') AND program_id = :capped), 70::numeric, 'others earn up to the cap');
SELECT is_empty('SELECT * FROM prm.audit_ledger()', 'the ledger is sound');
SELECT is_empty('SELECT * FROM prm.recalculate(''2026-06-01'', ''2026-06-30'')', 'and to recalculate it changes nothing');
SELECT is_empty('SELECT * FROM prm.audit_ledger()', 'nor the counts');
SELECT is((SELECT sum(amount) FROM prm.ledger WHERE program_id = :capped AND partner_id = :xan), 0::numeric, 'nothing is left to whoever was banned');
SELECT set_config('prm.program_id', :'program', true);

-- FRD-004 expired.
SELECT pg_temp.partner('Jim', '{"email": "j@jim.example"}') AS jim, pg_temp.partner('Kit', '{"domain": "crook.example"}') AS kit \gset
SELECT pg_temp.sale('j1', :jim, 100, '{"email": "j@jim.example"}');
SELECT pg_temp.only('{self,barred}');
SELECT is(prm._work_risk_review(:program), 1::bigint, 'one account is barred');
SELECT is((SELECT format('%s %s %s', found, expires_at, action) FROM prm.v_risk_event WHERE partner_id = :kit AND program_id = :program), 'the domain is one of the list of the rule  hold', 'FRD-004 network bans do not expire');
SELECT pg_temp.sale('k1', :kit, 100);
SET LOCAL prm.clock = '2026-07-15 11:59+00';
SELECT prm._work_risks(:program, 100);
SELECT is(pg_temp.risks(:jim), 'self open 1', 'FRD-004 before its days are over');
SELECT throws_ok(format('UPDATE prm.risk_event SET state = ''expired'', reason = ''x'' WHERE risk_event_id = %s', pg_temp.risk(:jim, 'self')), '55000', format('risk event %s has not expired', pg_temp.risk(:jim, 'self')), 'nobody makes it expire earlier');
SET LOCAL prm.clock = '2026-07-15 12:00+00';
SELECT cmp_ok(prm._work_risks(:program, 100), '>=', 1::bigint, 'FRD-004 30 days');
SELECT is(pg_temp.risks(:jim), 'self expired 1', 'FRD-004 expired');
SELECT is(ARRAY[pg_temp.status('j1'), pg_temp.status('k1')], '{eligible,held}', 'FRD-004 released, and the network ban is not');
SELECT is(prm._work_risks(:program, 100), 0::bigint, 'a second run finds nothing');
SELECT is((SELECT array_agg(action ORDER BY hold_id) FROM prm.ledger_hold WHERE partner_id = :jim AND program_id = :program), '{place,expire}', 'append-only');
SET LOCAL prm.clock = '2036-07-15 12:00+00';
SELECT prm._work_risks(:program, 100);
SELECT is(pg_temp.risks(:kit), 'barred open 1', 'not in ten years either');
SELECT is(prm._work_risk_review(:program), 0::bigint, 'and is not raised twice');
SET LOCAL prm.clock = '2026-07-15 12:00+00';

-- Sources and advertisements.
SELECT pg_temp.only('{source,ads}');
SELECT pg_temp.partner('Lou') AS lou, pg_temp.partner('Mia') AS mia \gset
SELECT pg_temp.sale('l1', :lou, 100, '{"source": "newsletter", "referrer": "https://notspam.example/"}');
SELECT is(pg_temp.risks(:lou), NULL, 'other sources count');
SELECT pg_temp.sale('l2', :lou, 100, '{"utm_source": " coupon site "}'), pg_temp.sale('l3', :lou, 100, '{"referrer": "https://www.deals.spam.example/a?b=c"}');
SELECT is((SELECT format('%s %s', findings, evidence -> 1 ->> 'found') FROM prm.risk_event WHERE partner_id = :lou AND program_id = :program), '2 the referrer is "deals.spam.example"', 'banned source and referrer');
SELECT pg_temp.sale('m1', :mia, 100, '{"landing_url": "https://shop.example/?x=1&gclid=abc"}'), pg_temp.sale('m2', :mia, 100, '{"utm_medium": "CPC"}'), pg_temp.sale('m3', :mia, 100, '{"landing_url": "https://shop.example/gclid"}');
SELECT is(pg_temp.risks(:mia), 'ads open 2', 'click ids and paid media');
SELECT is(ARRAY[pg_temp.status('l1'), pg_temp.status('m1')], '{held,pending}', 'a rule that flags holds nothing');
UPDATE prm.risk_event SET state = 'banned', reason = 'flagged and banned' WHERE partner_id = :mia AND program_id = :program;
SELECT is((SELECT array_agg(DISTINCT status) FROM prm.v_ledger WHERE partner_id = :mia AND program_id = :program), '{canceled}', 'but can be resolved as banned');

-- Velocity.
SELECT pg_temp.only('{rush}');
SELECT pg_temp.partner('Ned') AS ned, pg_temp.partner('Ola') AS ola \gset
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at) SELECT 'booked', :ned, 10, 'USD', prm.now() + n * interval '21 minutes' FROM generate_series(1, 40) n;
SELECT is(pg_temp.risks(:ned), NULL, 'three in any hour are no rush');
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at) VALUES ('booked', :ned, 10, 'USD', prm.now() + interval '50 minutes');
SELECT is((SELECT format('%s %s', findings, found) FROM prm.v_risk_event WHERE partner_id = :ned AND program_id = :program), '1 4 events within 1 hour up to 2026-07-15 13:45', 'a late event that makes it four is found, wherever it falls');
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at) VALUES ('booked', :ola, 4000, 'USD', prm.now()), ('booked', :ola, 9000, 'EUR', prm.now());
SELECT is(pg_temp.risks(:ola), NULL, 'currencies are not added');
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at) VALUES ('booked', :ola, 1000.01, 'USD', prm.now());
SELECT is((SELECT found FROM prm.v_risk_event WHERE partner_id = :ola AND program_id = :program), '5000.01 USD within 1 hour up to 2026-07-15 12:00', 'amount');
SELECT prm.resolve_risk(pg_temp.risk(:ola, 'rush'), 'benign', 'a fair');
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at) VALUES ('booked', :ola, 10, 'USD', prm.now() + interval '1 minute');
SELECT is(pg_temp.risks(:ola), 'rush benign 1', 'what was looked at is not raised again by the next sale');

-- Conditions.
SELECT pg_temp.only('{big}');
SELECT pg_temp.sale('n1', :ida, 8999), pg_temp.sale('n2', :ida, 9000), pg_temp.sale('n3', :ida, 9999, '{}', NULL, 'click');
SELECT is((SELECT format('%s %s', findings, earning_event_id = (SELECT earning_event_id FROM prm.earning_event WHERE external_ref = 'n2' AND program_id = :program)) FROM prm.risk_event WHERE partner_id = :ida AND program_id = :program), '1 t', 'a condition over the document of commission rules');
INSERT INTO prm.risk_rule (risk_rule, label, kind, condition) VALUES ('self abroad', 'x', 'self_referral', '$.event.amount > 50');
SELECT pg_temp.only('{self abroad}');
SELECT pg_temp.partner('Pat', '{"email": "p@pat.example"}') AS pat \gset
SELECT pg_temp.sale('p1', :pat, 50, '{"email": "p@pat.example"}');
SELECT is(pg_temp.risks(:pat), NULL, 'a condition narrows another kind');
SELECT pg_temp.sale('p2', :pat, 51, '{"email": "p@pat.example"}');
SELECT is(pg_temp.risks(:pat), 'self abroad open 1', 'a condition narrows another kind: found');

-- Accounts.
SELECT pg_temp.only('{twin,barred}');
SELECT pg_temp.partner('Quy', '{"tax_id": "FR-9"}') AS quy \gset
SELECT pg_temp.partner('Ray', '{"domain": "www.ray.example"}') AS ray, pg_temp.partner('Sue', '{"email": "x@RAY.example"}') AS sue, pg_temp.partner('Tim', '{"email": "tim@gmail.com"}') AS tim,
  pg_temp.partner('Una', jsonb_build_object('tax_id', 'F R 9', 'parent_id', :quy)) AS una \gset
INSERT INTO prm.payee (partner_id, legal_name, bank, currency) VALUES (:tim, 'T', '{"iban": "DE89 3704 0044"}', 'USD'), (:una, 'U', '{"iban": "DE8937040044"}', 'USD');
SELECT prm._work_risk_review(:program);
SELECT is(pg_temp.risks(:sue), 'twin open 1', 'the same domain, of the web site and of an address');
SELECT is(pg_temp.risks(:una), 'twin open 1', 'the same bank account');
SELECT is((SELECT found FROM prm.v_risk_event WHERE partner_id = :una AND program_id = :program), format('the same bank account as partner %s', :tim), 'but not the same tax number as its parent');
SELECT is(coalesce(pg_temp.risks(:ray), pg_temp.risks(:tim), pg_temp.risks(:quy)), NULL, 'the account that came first need not answer for it');
SELECT is(prm._work_risk_review(:program), 0::bigint, 'the next day finds nothing new');
SELECT prm.resolve_risk(pg_temp.risk(:sue, 'twin'), 'benign', 'two shops of a family'), prm.resolve_risk(pg_temp.risk(:una, 'twin'), 'banned', 'the same crook');
SELECT is(prm._work_risk_review(:program), 2::bigint, 'who shares an account or a tax number with a banned partner is barred');
SELECT is((SELECT found FROM prm.v_risk_event WHERE partner_id = :tim AND program_id = :program AND risk_rule = 'barred'), format('the bank account is one of partner %s, which is banned', :una), 'with the reason');
SELECT is(pg_temp.risks(:sue), 'twin benign 1', 'and what is benign stays so');

-- Holds by hand.
SELECT pg_temp.only('{}');
SELECT pg_temp.partner('Vic') AS vic \gset
SELECT pg_temp.sale('v1', :vic, 100), pg_temp.sale('v2', :vic, 100);
SELECT prm.hold_entry(pg_temp.entry('v1'), 'invoice missing') AS hold \gset
SELECT is(ARRAY[pg_temp.status('v1'), pg_temp.status('v2')], '{held,pending}', 'one entry');
SELECT is((SELECT format('%s %s %s', hold_kind, hold_reason, held_since) FROM prm.v_ledger WHERE entry_id = pg_temp.entry('v1') AND program_id = :program), 'manual invoice missing 2026-07-15 12:00:00+00', 'v_ledger has kind, reason and time');
INSERT INTO prm.earning_event (kind, applies_to_id, amount, currency, occurred_at) SELECT 'refunded', earning_event_id, -50, 'USD', prm.now() FROM prm.earning_event WHERE external_ref IN ('v1', 'v2') AND program_id = :program;
SELECT is((SELECT array_agg(format('%s %s', amount, status) ORDER BY entry_id) FROM prm.v_ledger WHERE partner_id = :vic AND kind = 'reversal' AND program_id = :program), '{-5.00 held,-5.00 pending}', 'a reversal is held with its cause');
SELECT is((SELECT array_agg(v.held ORDER BY v.entry_id) FROM prm.v_entry_hold v WHERE program_id = :program), (SELECT array_agg(v.held ORDER BY v.entry_id) FROM prm.v_ledger v WHERE program_id = :program), 'both views say so of all entries');
SELECT cmp_ok(prm.release_hold(:hold, 'it came'), '>', :hold::bigint, 'released by a row of its own');
SELECT is(pg_temp.status('v1'), 'pending', 'and pending again');
SELECT throws_ok(format('SELECT prm.release_hold(%s, ''x'')', :hold), '55000', format('hold %s has ended already', :hold), 'a hold ends once');
SELECT throws_ok('SELECT prm.release_hold(-1, ''x'')', '42704', 'there is no hold -1', 'an unknown hold');
SELECT throws_ok('SELECT prm.hold_entry(-1, ''x'')', '42704', 'there is no ledger entry -1', 'an unknown entry');
SELECT throws_ok('SELECT prm.hold_entry(NULL, ''x'')', '22023', NULL, 'no entry');
SELECT throws_ok('SELECT prm.hold_partner(-1, ''x'')', '42704', 'there is no partner -1', 'an unknown partner');
SELECT throws_ok(format('SELECT prm.hold_partner(%s, NULL)', :vic), '22023', 'a hold needs a reason', 'a hold needs a reason');
SELECT prm.hold_partner(:vic, 'contract ended') AS hold \gset
SELECT prm.hold_entry(pg_temp.entry('v1'), 'once more') AS second \gset
SELECT pg_temp.sale('v3', :vic, 100);
SELECT is(ARRAY[pg_temp.status('v1'), pg_temp.status('v3')], '{held,held}', 'a whole partner');
SELECT prm.release_hold(:hold, 'a new one');
SELECT is(ARRAY[pg_temp.status('v1'), pg_temp.status('v3')], '{held,pending}', 'another hold still stands');
SELECT throws_ok('UPDATE prm.ledger_hold SET reason = ''x''', '55000', 'table "ledger_hold" is append-only', 'holds are append-only');
SELECT throws_ok('DELETE FROM prm.ledger_hold', '55000', NULL, 'holds are never deleted');
SELECT throws_ok(format('INSERT INTO prm.ledger_hold (hold_ref, action, reason) VALUES (%s, ''cancel'', ''x'')', :second), '55000', NULL, 'a hold by hand is no ban');
SELECT throws_ok(format('UPDATE prm.risk_event SET partner_id = %s WHERE partner_id = %s', :vic, :ola), '55000', NULL, 'what was found does not change');
SELECT throws_ok(format('UPDATE prm.risk_event SET evidence = ''[]'' WHERE partner_id = %s', :pat), '55000', NULL, 'evidence is only added to');

-- HLD-004, CLB-001: refunded while pending.
SELECT pg_temp.sale('w', :vic, 1000);
INSERT INTO prm.earning_event (kind, applies_to_id, amount, currency, occurred_at) SELECT 'refunded', earning_event_id, -400, 'USD', prm.now() FROM prm.earning_event WHERE external_ref = 'w' AND program_id = :program;
SELECT is(pg_temp.status('w'), 'pending', 'HLD-004 refunded in part');
INSERT INTO prm.earning_event (kind, applies_to_id, amount, currency, occurred_at) SELECT 'refunded', earning_event_id, -600, 'USD', prm.now() FROM prm.earning_event WHERE external_ref = 'w' AND program_id = :program;
SELECT is((SELECT array_agg(DISTINCT status) FROM prm.v_ledger WHERE pg_temp.entry('w') IN (entry_id, cause_entry_id) AND program_id = :program), '{refunded}', 'HLD-004, CLB-001 refunded in full');

-- Messages.
SELECT throws_ok($$INSERT INTO prm.outbox_rule (source, event_type, fields) VALUES ('risk', 'risk', '{colour}')$$, '22023', NULL, 'an unknown field');
INSERT INTO prm.outbox_rule (source, event, event_type, fields) VALUES ('risk', NULL, 'risk.changed', '{risk_rule,partner_id}'), ('risk', 'banned', 'risk.banned', '{}');
INSERT INTO prm.risk_event (risk_rule, partner_id) VALUES ('self', :vic);
SELECT prm.resolve_risk(pg_temp.risk(:vic, 'self'), 'banned', 'enough');
SELECT is((SELECT array_agg(format('%s %s %s %s', aggregate_type, event_type, payload ->> 'event', payload ->> 'risk_rule') ORDER BY outbox_id) FROM prm.outbox WHERE program_id = :program),
  ARRAY['risk_event risk.changed opened self', 'risk_event risk.changed banned self', 'risk_event risk.banned banned '], 'opened and resolved, where a rule asks for it');

-- Partners see their own holds, and decide nothing.
CREATE ROLE risk_test_app;
SELECT prm.grant_access('risk_test_app', 'app');
SET LOCAL ROLE risk_test_app;
SELECT is((SELECT count(*) > 0 FROM prm.v_hold), true, 'an application reads holds');
SELECT prm.hold_partner(:ida, 'by the application') AS hold \gset
SELECT set_config('prm.partner_id', :'ida', true);
SELECT throws_ok(format('SELECT prm.release_hold(%s, ''x'')', :hold), '42501', NULL, 'a partner ends no hold');
SELECT throws_ok(format('UPDATE prm.risk_event SET state = ''benign'', reason = ''x'' WHERE partner_id = %s', :ida), '42501', NULL, 'nor resolves a risk');
SELECT is((SELECT array_agg(DISTINCT partner_id) FROM prm.v_ledger), ARRAY[:ida::bigint], 'and sees its own entries');
SELECT is((SELECT bool_and(held) FROM prm.v_ledger), true, 'with their holds');
SELECT is((SELECT array_agg(DISTINCT partner_id) FROM prm.ledger_hold), ARRAY[:ida::bigint], 'and its own holds only');
RESET ROLE;
SELECT set_config('prm.partner_id', '', true);

-- Bulk.
SELECT pg_temp.only('{self,rush,source}');
INSERT INTO prm.partner (name, email) SELECT 'bulk ' || n, n || '@bulk' || n || '.example' FROM generate_series(1, 200) n;
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at, attributes)
  SELECT 'click', p.partner_id, 1, 'USD', prm.now() + n * interval '1 day', jsonb_build_object('email', CASE WHEN n = 7 THEN p.email ELSE 'customer' || n || '@else.example' END)
  FROM prm.partner p CROSS JOIN generate_series(1, 20) n WHERE p.program_id = :program AND p.name LIKE 'bulk %';
SELECT is((SELECT format('%s %s', count(*), count(DISTINCT partner_id)) FROM prm.v_risk_event WHERE program_id = :program AND partner LIKE 'bulk %'), '200 200', 'bulk: one event for each of 200 partners');

SELECT * FROM finish();
ROLLBACK;
