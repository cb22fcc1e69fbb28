-- Settlement: what users get wrong, and what they are told. Nothing is changed by any of it.
BEGIN;
\ir settlement.psql
SELECT pg_temp.at('2025-01-05 12:00+00');
SELECT pg_temp.program('Mistakes') AS program \gset
SELECT pg_temp.partner('Ann') AS ann, pg_temp.partner('Bob') AS bob \gset
INSERT INTO prm.legal_entity (legal_entity, label) VALUES ('eu', 'EU');
INSERT INTO prm.payee (partner_id, legal_name, currency) VALUES (:ann, 'Ann Ltd', 'USD') RETURNING payee_id AS py \gset
-- What a statement fails with: its state, and whether it has a hint.
CREATE FUNCTION pg_temp.told(the_statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE the_state text; the_detail text; the_hint text;
BEGIN
  EXECUTE the_statement;
  RETURN 'nothing';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS the_state = RETURNED_SQLSTATE, the_detail = PG_EXCEPTION_DETAIL, the_hint = PG_EXCEPTION_HINT;
  RETURN concat_ws(' ', the_state, CASE WHEN the_detail = '' THEN 'no detail' END, CASE WHEN the_hint = '' THEN 'no hint' END);
END $$;
SELECT is(pg_temp.told(v.statement), v.told, v.statement) FROM (VALUES
  ($$SELECT * FROM prm.close_period('2025-05-31', false, '{"payee_id": "abc"}')$$, '22023'),
  ($$SELECT * FROM prm.close_period('2025-05-31', false, '{"payee_id": 1.5}')$$, '22023'),
  ($$SELECT * FROM prm.close_period('2025-05-31', false, '{"payee_id": -1}')$$, '42704'),
  ($$SELECT * FROM prm.preview_period('2025-06-01', -1)$$, '42704'),
  ($$SELECT * FROM prm.preview_period('infinity')$$, '22023'),
  ($$SELECT * FROM prm.create_payouts(false, '{"payee_id": "x"}')$$, '22023'),
  ($$SELECT * FROM prm.create_payouts(false, '{"payee_id": -1}')$$, '42704'),
  ($$SELECT * FROM prm.create_payouts(false, '{"forced": "maybe"}')$$, '22023'),
  ($$SELECT * FROM prm.create_payouts(false, '{"currency": "usd"}')$$, '22023'),
  ($$SELECT * FROM prm.create_payouts(false, '{"legal_entity": "mars"}')$$, '42704'),
  ($$SELECT * FROM prm.create_documents('{"payee_id": "zz"}')$$, '22023'),
  ($$SELECT * FROM prm.create_documents('{"payee_id": -1}')$$, '42704'),
  ($$SELECT prm.receive_payment(-1, 10, 'USD', 'x')$$, '42704'),
  ($$SELECT prm.receive_payment(NULL, 10, 'USD', 'x')$$, '42704'),
  (format($$SELECT prm.receive_payment(%s, 10, NULL, 'x')$$, :ann), '22023'),
  (format($$SELECT prm.receive_payment(%s, 10, 'usd', 'x')$$, :ann), '22023'),
  (format($$SELECT prm.receive_payment(%s, 'NaN', 'USD', 'x')$$, :ann), '22023'),
  (format($$SELECT prm.receive_payment(%s, 10, 'USD', 'x', '{"legal_entity": "mars"}')$$, :ann), '42704'),
  (format($$SELECT prm.receive_payment(%s, 10, 'USD', 'x', '{"company": "eu"}')$$, :ann), '22023'),
  (format($$SELECT prm.request_payout(%s, 'usd')$$, :ann), '22023'),
  ('SELECT prm.request_payout(NULL)', '42704'),
  ('SELECT * FROM prm.force_payout(-1, ''x'')', '42704'),
  ('SELECT prm.resolve_dispute(1, NULL, ''x'')', '22023'),
  ('SELECT prm.cancel_statement(NULL, ''x'')', '22023'),
  ($$INSERT INTO prm.settlement_profile (currency, min_payout) VALUES ('XXQ', 5)$$, '22023'),
  ($$INSERT INTO prm.settlement_profile (currency, min_payout) VALUES ('USD', 'NaN')$$, '23514'),
  (format($$INSERT INTO prm.draw_agreement (partner_id, currency, amount) VALUES (%s, 'XXQ', 5)$$, :ann), '22023'),
  (format($$INSERT INTO prm.draw_agreement (partner_id, currency, amount) VALUES (%s, 'USD', 5.001)$$, :ann), '23514'),
  ($$INSERT INTO prm.payout_fee_rule (currency, rate) VALUES ('XXQ', 0.1)$$, '22023'),
  ($$INSERT INTO prm.payout_fee_rule (currency, rate) VALUES ('USD', 'NaN')$$, '23514')
) AS v(statement, told);
SELECT is((SELECT count(*) FROM prm.ledger WHERE program_id = :program) + (SELECT count(*) FROM prm.payout_request WHERE program_id = :program) + (SELECT count(*) FROM prm.statement WHERE program_id = :program),
  0::bigint, 'nothing was written by all of it');
SELECT matches((SELECT pg_temp.told('SELECT * FROM prm.close_period(''2024-12-31'', NULL)')), 'nothing', 'no dry run unless asked for');

-- Debts are owed to one of the vendor's companies; what comes in goes there.
SELECT pg_temp.at('2025-01-10 12:00+00');
INSERT INTO prm.ledger (partner_id, legal_entity, kind, amount, currency, earned_on, eligible_at, idempotency_key) VALUES (:ann, 'eu', 'royalty', -40, 'USD', '2025-01-10', prm.now(), 'r1');
SELECT pg_temp.at('2025-02-01 12:00+00');
SELECT is(pg_temp.closing('2025-01-31'), 'carry Ann Ltd -40 USD 2025-01-01', 'a claim of one company');
SELECT prm.receive_payment(:ann, 40, 'USD', 'wire', '{"legal_entity": "eu"}') AS received \gset
SELECT pg_temp.at('2025-03-01 12:00+00');
SELECT is((SELECT string_agg(format('%s %s %s', outcome, amount, legal_entity), ', ') FROM prm.close_period('2025-02-28')), 'settled 0 eu', 'is paid to it');

-- Whoever is paid through another is paid out of turn there.
SELECT pg_temp.partner('Office') AS office \gset
INSERT INTO prm.payee (partner_id, legal_name, currency) VALUES (:office, 'Office', 'USD') RETURNING payee_id AS po \gset
INSERT INTO prm.partner_payee (partner_id, payee_id) VALUES (:bob, :po);
SELECT prm.post_adjustment(:bob, 10, 'USD', 'earned') AS a \gset
SELECT is((SELECT string_agg(format('%s %s %s', outcome, payee, amount), ', ') FROM prm.force_payout(:bob, 'leaves')), 'paid_out Office 10.00', 'a partner that has another paid');

-- A fee is waived once for each time that money is sent.
INSERT INTO prm.payout_fee_rule (currency, rate, waiver) VALUES ('USD', 0.1, 100);
SELECT prm.post_adjustment(:office, 20, 'USD', 'earned') AS a \gset
SELECT pg_temp.at('2025-03-02 12:00+00');
SELECT payout_id AS p FROM prm.force_payout(:office, 'now') WHERE payout_id IS NOT NULL \gset
SELECT is((SELECT waiver_used FROM prm.payout_fee_rule WHERE program_id = :program), 20.00, 'sent: used');
SELECT prm.settle_payout(:p, 'failed') AS failed \gset
SELECT is((SELECT waiver_used FROM prm.payout_fee_rule WHERE program_id = :program), 0.00, 'never sent: not used');
SELECT prm.settle_payout(:p, 'reissued') AS r, prm.settle_payout(:p, 'paid') AS p2, prm.settle_payout(:p, 'failed') AS f \gset
SELECT is((SELECT waiver_used FROM prm.payout_fee_rule WHERE program_id = :program), 20.00, 'sent and come back: used');
SELECT prm.settle_payout(:p, 'reissued') AS r \gset
SELECT is((SELECT waiver_used FROM prm.payout_fee_rule WHERE program_id = :program), 20.00, 'sent again under the same payout: its fee was reckoned once');
SELECT is((SELECT string_agg(rule || ': ' || detail, '; ') FROM prm.audit_ledger(:program)), NULL, 'the books are sound');

SELECT * FROM finish();
ROLLBACK;
