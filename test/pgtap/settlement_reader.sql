-- Settlement as partners see it: row security, statements with customers as the policy shows them, disputes and requests by partners.
BEGIN;
\ir settlement.psql

SELECT pg_temp.program('Readers') AS program \gset
SELECT pg_temp.partner('Ann') AS ann, pg_temp.partner('Bob') AS bob \gset
INSERT INTO prm.customer (name) VALUES ('Acorn Foods Ltd') RETURNING customer_id AS acorn \gset
INSERT INTO prm.payee (partner_id, legal_name, currency) VALUES (:bob, 'Bob Ltd', 'USD') RETURNING payee_id AS bobs \gset
SELECT pg_temp.plan('ten', 'invoiced', 0, '10%') AS plan \gset
SELECT pg_temp.at('2025-07-10 12:00+00');
INSERT INTO prm.earning_event (kind, partner_id, customer_id, amount, currency, occurred_at, external_ref) VALUES ('invoiced', :ann, :acorn, 1000, 'USD', '2025-07-05 12:00+00', 'a1'), ('invoiced', :bob, :acorn, 500, 'USD', '2025-07-05 12:00+00', 'b1');
SELECT pg_temp.at('2025-08-01 12:00+00');
SELECT prm.close_period('2025-07-31') IS NOT NULL AS closed;
-- In August Ann has Bob paid.
INSERT INTO prm.partner_payee (partner_id, payee_id, valid) VALUES (:ann, :bobs, '[2025-08-01,)');
INSERT INTO prm.earning_event (kind, partner_id, customer_id, amount, currency, occurred_at, external_ref) VALUES ('invoiced', :ann, :acorn, 2000, 'USD', '2025-08-05 12:00+00', 'a2'), ('invoiced', :bob, :acorn, 700, 'USD', '2025-08-05 12:00+00', 'b2');
SELECT pg_temp.at('2025-09-01 12:00+00');
SELECT prm.close_period('2025-08-31') IS NOT NULL AS closed;
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at, external_ref) VALUES ('invoiced', :ann, 300, 'USD', '2025-09-01 11:00+00', 'a3');
UPDATE prm.statement SET state = 'approved' WHERE program_id = :program AND total IN (100, 270);
SELECT prm.create_payouts() IS NOT NULL AS paid;
SELECT pg_temp.settle_all();
SELECT statement_id AS joint FROM prm.statement WHERE program_id = :program AND total = 270 \gset
SELECT statement_id AS anns FROM prm.statement WHERE program_id = :program AND total = 100 \gset
SELECT entry_id AS open_entry FROM prm.v_ledger l JOIN prm.earning_event e USING (program_id, earning_event_id) WHERE l.program_id = :program AND e.external_ref = 'a3' \gset
SELECT entry_id AS bobs_entry FROM prm.v_ledger l JOIN prm.earning_event e USING (program_id, earning_event_id) WHERE l.program_id = :program AND e.external_ref = 'b1' \gset

CREATE ROLE prm_settle_ann;
CREATE ROLE prm_settle_bob;
CREATE ROLE prm_settle_manager;
INSERT INTO prm.partner_login (role_name, partner_id) VALUES ('prm_settle_ann', :ann), ('prm_settle_bob', :bob);
SELECT prm.grant_access('prm_settle_ann', 'partner'), prm.grant_access('prm_settle_bob', 'partner'), prm.grant_access('prm_settle_manager', 'manager');
-- The test's own helpers.
DO $$ BEGIN EXECUTE format('GRANT USAGE ON SCHEMA %I TO prm_settle_ann, prm_settle_bob, prm_settle_manager', (SELECT nspname FROM pg_namespace WHERE oid = pg_my_temp_schema())); END $$;

SET LOCAL ROLE prm_settle_ann;
SELECT is((SELECT string_agg(format('%s %s', total, state), ', ') FROM prm.v_statement), '100.00 paid', 'a partner sees its own statements');
SELECT is((SELECT string_agg(format('%s %s %s', amount, status, statement_id IS NOT NULL), ', ' ORDER BY entry_id) FROM prm.v_ledger WHERE kind = 'commission'), '100.00 paid t, 200.00 on_statement f, 30.00 eligible f', 'and what became of its entries');
SELECT is(pg_temp.balance(:ann), 'USD pending 0 held 0 eligible 30.00 statement 0.00 paid 300.00 debt 0 draw 0', 'its balance, with what another is paid for it');
SELECT is((SELECT string_agg(format('%s %s %s %s', amount, customer, basis_amount, schedule), ', ') FROM prm.my_statement()), '100.00 Acorn Foods Ltd 1000 10%', 'its statement names the customer');
SELECT throws_ok(format('SELECT * FROM prm.my_statement(%s)', :joint), '42704', NULL, 'another''s statement is not there');
SELECT is((SELECT count(*) FROM prm.payout_statement), 1::bigint, 'nor are the payouts of others');
SELECT throws_ok('SELECT * FROM prm.close_period(''2025-08-31'')', '42501', NULL, 'a partner closes nothing');
SELECT throws_ok('SELECT * FROM prm.create_payouts()', '42501', NULL, 'and pays nothing');
SELECT throws_ok(format('INSERT INTO prm.dispute (entry_id, partner_id, reason) VALUES (%s, %s, ''mine'')', :bobs_entry, :ann), '42501', NULL, 'it cannot dispute another''s entry as its own');
SELECT throws_ok(format('INSERT INTO prm.dispute (entry_id, partner_id, reason) VALUES (%s, %s, ''his'')', :bobs_entry, :bob), '42501', NULL, 'nor in its name');
SELECT is(prm.dispute(:open_entry, 'the price was 400'), :open_entry::bigint, 'it disputes its own');
SELECT is((SELECT format('%s %s', opened_by, state) FROM prm.v_dispute), 'prm_settle_ann open', 'in its own name');
SELECT is((SELECT status FROM prm.v_ledger WHERE entry_id = :open_entry), 'held', 'and the entry is held');
SELECT is(prm.request_payout(), :ann::bigint, 'it asks to be paid');
SELECT throws_ok(format('SELECT prm.request_payout(%s)', :bob), '42704', NULL, 'for itself only');
SELECT throws_ok('SELECT prm.resolve_dispute(' || :open_entry || ', ''upheld'', ''yes'')', '42501', NULL, 'it does not resolve');
SELECT throws_ok('UPDATE prm.statement SET state = ''paid''', '42501', NULL, 'nor change a statement');
RESET ROLE;

SET LOCAL ROLE prm_settle_bob;
SELECT is((SELECT string_agg(format('%s %s %s', amount, coalesce(customer, '-'), coalesce(basis_amount::text, '-')), ', ' ORDER BY amount) FROM prm.my_statement(:joint)), '70.00 Acorn Foods Ltd 700, 200.00 - -',
  'whoever is paid for others reads the amounts, not their customers');
SELECT is((SELECT running_total FROM prm.my_statement(:joint) ORDER BY line_no DESC LIMIT 1), 270.00, 'and the total');
SELECT is((SELECT count(*) FROM prm.dispute), 0::bigint, 'disputes of others are not there');
RESET ROLE;

INSERT INTO prm.statement_policy (customer_shown, basis_shown) VALUES ('initials', false);
SET LOCAL ROLE prm_settle_ann;
SELECT is((SELECT string_agg(format('%s %s %s', amount, customer, coalesce(basis_amount::text, '-')), ', ') FROM prm.my_statement()), '100.00 A. F. L. -', 'masked: initials, no base');
RESET ROLE;
UPDATE prm.statement_policy SET customer_shown = 'hidden' WHERE program_id = :program;
SET LOCAL ROLE prm_settle_ann;
SELECT is((SELECT string_agg(coalesce(customer, '-'), ', ') FROM prm.my_statement()), '-', 'masked: hidden');
SELECT is(prm._statement_customer(:program, :bobs_entry), NULL, 'and nothing else is told');
RESET ROLE;
SET LOCAL ROLE prm_settle_manager;
SELECT is((SELECT customer FROM prm.my_statement(:anns)), 'Acorn Foods Ltd', 'staff reads all of it');
SELECT throws_ok('SELECT * FROM prm.close_period(''2025-08-31'')', '42501', 'only the owner of the model settles and pays', 'but does not settle');
SELECT throws_ok('INSERT INTO prm.statement_share (partner_id, statement_id, currency, amount, entries) VALUES (1, 1, ''USD'', 1, 1)', '42501', NULL, 'nor write what settlement writes');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
