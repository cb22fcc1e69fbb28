-- Documents, taxes, payments and journal. Acceptance ids stand in the names.
BEGIN;
\ir settlement.psql

-- STL-001 to STL-005, STL-008.
SELECT pg_temp.program('Documents') AS program \gset
SELECT pg_temp.partner('Ann') AS ann, pg_temp.partner('Bob') AS bob \gset
INSERT INTO prm.payee (partner_id, legal_name, currency) VALUES (:bob, 'Bob Ltd', 'USD') RETURNING payee_id AS bobs \gset
INSERT INTO prm.settlement_profile (payee_id, document_grouping) VALUES (:bobs, 'grouped');
SELECT pg_temp.plan('ten', 'invoiced', 0, '10%') AS plan \gset
SELECT pg_temp.at('2025-06-10 12:00+00');
SELECT pg_temp.sale(:ann, 'invoiced', 1000, '2025-06-05') AS s1, pg_temp.sale(:bob, 'invoiced', 1000, '2025-06-05') AS s2 \gset
SELECT pg_temp.at('2025-07-01 12:00+00');
SELECT prm.close_period('2025-06-30') IS NOT NULL AS closed;
SELECT pg_temp.refund(:s1, 1000, '2025-07-01') AS r1, pg_temp.refund(:s2, 1000, '2025-07-01') AS r2 \gset
SELECT pg_temp.at('2025-08-01 12:00+00');
SELECT is(pg_temp.closing('2025-07-31'), 'carry Ann -100.00 USD 2025-07-01, carry Bob Ltd -100.00 USD 2025-07-01', 'STL-001 settled, then fully refunded');
SELECT pg_temp.approve();
SELECT is((SELECT string_agg(format('%s %s %s %s', payee, kind, gross, statements), ', ' ORDER BY payee, gross DESC) FROM prm.create_documents()),
  'Ann invoice 100.00 1, Ann credit_note -100.00 1, Bob Ltd invoice 0.00 2', 'STL-001 separate: bill and refund; STL-002 grouped: one document, total 0');
SELECT is((SELECT string_agg(document_no, ', ' ORDER BY document_no) FROM prm.billing_document WHERE program_id = :program), 'CN-000001, SB-000001, SB-000002', 'numbers without gaps for each kind');
SELECT is((SELECT string_agg(DISTINCT state, ',') FROM prm.statement WHERE program_id = :program), 'invoiced', 'the statements are invoiced');
SELECT is((SELECT count(*) FROM prm.create_documents()), 0::bigint, 'and not twice');
SELECT throws_ok(format('DELETE FROM prm.statement WHERE program_id = %s', :program), '55000', NULL, 'STL-004 an invoiced statement is not deleted');
SELECT throws_ok(format('UPDATE prm.statement SET state = ''disputed'' WHERE program_id = %s', :program), '23514', NULL, 'STL-004 nor taken back by itself');
SELECT document_id AS bill FROM prm.billing_document WHERE program_id = :program AND gross = 100 \gset
SELECT document_id AS note FROM prm.billing_document WHERE program_id = :program AND gross = -100 \gset
DELETE FROM prm.billing_document WHERE program_id = :program AND document_id = :bill;
SELECT is((SELECT string_agg(format('%s %s', total, state), ', ' ORDER BY total) FROM prm.statement WHERE program_id = :program AND partner_id = :ann), '-100.00 invoiced, 100.00 settled', 'STL-005 the document is deleted: its statement is settled');
SELECT throws_ok(format('SELECT prm.cancel_document(%s, '''')', :note), '22023', NULL, 'cancelling needs a reason');
SELECT is(prm.cancel_document(:note, 'wrong name'), 'CN-000001', 'a document is cancelled');
SELECT throws_ok(format('SELECT prm.cancel_document(%s, ''x'')', :note), '42704', NULL, 'once');
SELECT throws_ok(format('UPDATE prm.billing_document SET net = 1, gross = 1 WHERE document_id = %s', :note), '55000', NULL, 'an issued document is never changed');
SELECT pg_temp.approve();
SELECT is((SELECT string_agg(format('%s %s %s', payee, kind, gross), ', ') FROM prm.create_documents('{"grouping": "grouped"}')), 'Ann invoice 0.00', 'STL-008 grouped: one document for both months');
SELECT is(pg_temp.pay(), 'offset Ann 0.00 USD, offset Bob Ltd 0.00 USD', 'nothing is paid');
SELECT throws_ok(format('SELECT prm.cancel_document(%s, ''x'')', (SELECT max(document_id) FROM prm.billing_document WHERE program_id = :program)), '55000', NULL, 'what is paid is not cancelled');
SELECT throws_ok($$SELECT * FROM prm.create_documents('{"grouping": "both"}')$$, '22023', NULL, 'separate or grouped');

-- Taxes.
SELECT pg_temp.program('Taxes') AS program \gset
SELECT pg_temp.partner('Vat') AS vat, pg_temp.partner('Keep') AS keep, pg_temp.partner('Both') AS both \gset
INSERT INTO prm.tax_rule (tax_rule, label, vat_rate, withholding_rate, note) VALUES ('de', 'Germany', 0.19, 0, NULL), ('br', 'Brazil', 0, 0.015, NULL), ('in', 'India', 0.18, 0.1, 'Rule 46');
INSERT INTO prm.payee (partner_id, legal_name, currency, tax_rule) VALUES (:vat, 'Vat', 'EUR', 'de'), (:keep, 'Keep', 'EUR', 'br'), (:both, 'Both', 'EUR', 'in');
SELECT throws_ok(format('INSERT INTO prm.payee (partner_id, legal_name, currency, tax_rule) VALUES (%s, ''X'', ''EUR'', ''xx'')', :vat), '23503', NULL, 'an unknown tax rule');
SELECT pg_temp.plan('net', 'invoiced', 0, '10%', 'earned', 'EUR') AS net, pg_temp.plan('gross', 'booked', 0, '10%', 'earned', 'EUR') AS gross \gset
UPDATE prm.commission_plan SET includes_vat = true WHERE plan_id = :gross;
SELECT pg_temp.at('2025-07-10 12:00+00');
SELECT pg_temp.sale(p, 'invoiced', 1003.30, '2025-07-05', 'EUR') AS s, pg_temp.sale(p, 'booked', 1190, '2025-07-05', 'EUR') AS t FROM unnest(ARRAY[:vat, :keep, :both]::bigint[]) p;
SELECT pg_temp.at('2025-08-01 12:00+00');
SELECT is(pg_temp.closing('2025-07-31', true), 'settled Both 217.27 EUR 2025-07-01, settled Keep 216.04 EUR 2025-07-01, settled Vat 238.39 EUR 2025-07-01', 'taxes in a dry run');
SELECT is(pg_temp.closing('2025-07-31'), 'settled Both 217.27 EUR 2025-07-01, settled Keep 216.04 EUR 2025-07-01, settled Vat 238.39 EUR 2025-07-01', 'taxes are entries of the statement');
SELECT is((SELECT string_agg(format('%s %s %s', component, amount, explain ->> 'tax_rule'), ', ' ORDER BY entry_id) FROM prm.ledger WHERE program_id = :program AND kind = 'tax' AND partner_id = :both), 'vat 18.06 in, withholding -20.12 in', 'value added tax on what is net, withholding on all of it without the tax');
SELECT pg_temp.approve();
SELECT is((SELECT string_agg(format('%s: net %s vat %s gross %s withheld %s payable %s', payee, net, vat, gross, withholding, payable), '; ' ORDER BY payee) FROM prm.create_documents()),
  'Both: net 201.18 vat 36.21 gross 237.39 withheld 20.12 payable 217.27; Keep: net 219.33 vat 0 gross 219.33 withheld 3.29 payable 216.04; Vat: net 200.33 vat 38.06 gross 238.39 withheld 0 payable 238.39', 'documents show them');
SELECT is((SELECT note FROM prm.billing_document d JOIN prm.payee y USING (program_id, payee_id) WHERE d.program_id = :program AND y.legal_name = 'Both'), 'Rule 46', 'with the note of the rule');
SELECT is((SELECT string_agg(rule || detail, ',') FROM prm._audit_settlement(:program)), NULL, 'the books are sound');
SELECT is((SELECT count(*) FROM prm.ledger_open WHERE program_id = :program), 0::bigint, 'and nothing is open');

-- Payments: rows and pain.001.
SELECT pg_temp.pay();
SELECT batch_id AS batch FROM prm.payout WHERE program_id = :program LIMIT 1 \gset
SELECT throws_ok(format('SELECT prm.payout_batch_xml(%s)', :batch), '55000', NULL, 'no file without bank details');
SELECT throws_ok('SELECT prm.payout_batch_xml(-1)', '42704', NULL, 'nor of nothing');
SELECT pg_temp.program('Bank') AS program \gset
INSERT INTO prm.legal_entity (legal_entity, label, bank) VALUES ('de', 'Vendor GmbH', '{"iban": "DE89370400440532013000", "bic": "COBADEFFXXX"}');
INSERT INTO prm.partner (name) VALUES ('Ann & Co <KG>'), ('Bob') ;
INSERT INTO prm.payee (partner_id, legal_name, currency, bank) SELECT partner_id, name, 'EUR', CASE name WHEN 'Bob' THEN '{"account": "123-456", "bic": "CHASUS33"}' ELSE '{"iban": "FR1420041010050500013M02606", "bic": "PSSTFRPPXXX"}' END::jsonb FROM prm.partner WHERE program_id = :program;
INSERT INTO prm.settlement_profile (auto_approve) VALUES (true);
SELECT pg_temp.at('2025-07-10 12:00+00');
INSERT INTO prm.ledger (partner_id, legal_entity, kind, amount, currency, earned_on, eligible_at, idempotency_key)
  SELECT partner_id, 'de', 'bonus', 12.50 * row_number() OVER (ORDER BY partner_id), 'EUR', '2025-07-10', prm.now(), 'b' || partner_id FROM prm.partner WHERE program_id = :program;
SELECT pg_temp.at('2025-08-01 12:00+00');
SELECT prm.close_period('2025-07-31') IS NOT NULL AS closed;
SELECT prm.create_payouts() IS NOT NULL AS paid;
SELECT batch_id AS batch FROM prm.payout WHERE program_id = :program LIMIT 1 \gset
SELECT is((SELECT string_agg(format('%s %s %s %s %s', payee, account, bic, amount, debtor_account), '; ' ORDER BY payout_id) FROM prm.payout_batch(:batch)),
  'Ann & Co <KG> FR1420041010050500013M02606 PSSTFRPPXXX 12.50 DE89370400440532013000; Bob 123-456 CHASUS33 25.00 DE89370400440532013000', 'payments as rows');
CREATE FUNCTION pg_temp.x(the_path text) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(v::text, '|') FROM unnest(xpath(the_path, prm.payout_batch_xml((SELECT max(batch_id) FROM prm.payout WHERE program_id = prm.current_program()), '{"execution_date": "2025-08-04", "charset": "utf8"}'), ARRAY[ARRAY['p', 'urn:iso:std:iso:20022:tech:xsd:pain.001.001.09']])) v $$;
SELECT is(pg_temp.x('/p:Document/p:CstmrCdtTrfInitn/p:GrpHdr/p:NbOfTxs/text()'), '2', 'pain.001: the number of payments');
SELECT is(pg_temp.x('//p:GrpHdr/p:CtrlSum/text()'), '37.50', 'pain.001: their sum');
SELECT is(pg_temp.x('//p:PmtInf/p:ReqdExctnDt/p:Dt/text()'), '2025-08-04', 'pain.001: when');
SELECT is(pg_temp.x('//p:Cdtr/p:Nm/text()'), 'Ann &amp; Co &lt;KG&gt;|Bob', 'pain.001: names are escaped');
SELECT is(pg_temp.x('//p:CdtrAcct/p:Id/p:IBAN/text()') || ' ' || pg_temp.x('//p:CdtrAcct/p:Id/p:Othr/p:Id/text()'), 'FR1420041010050500013M02606 123-456', 'pain.001: IBAN or other accounts');
SELECT is(pg_temp.x('//p:InstdAmt/@Ccy') || ' ' || pg_temp.x('//p:InstdAmt/text()'), 'EUR|EUR 12.50|25.00', 'pain.001: amounts');
-- The order of elements, as the published schema has it.
SELECT is((SELECT string_agg(DISTINCT substring(v::text FROM '^<([A-Za-z]+)'), ' ') FROM unnest(xpath('//p:PmtInf/p:PmtInfId/following-sibling::*[1]', prm.payout_batch_xml(:batch), ARRAY[ARRAY['p', 'urn:iso:std:iso:20022:tech:xsd:pain.001.001.09']])) v), 'PmtMtd', 'pain.001: the order of the schema');

-- The journal.
INSERT INTO prm.account_map (kind, debit, credit) VALUES ('*', '6000', '1600'), ('payout', '1610', '1800');
SELECT pg_temp.settle_all();
SELECT is((SELECT string_agg(format('%s %s/%s', account, debit, credit), ', ' ORDER BY entry_id, account) FROM prm.journal('2025-07-01', '2025-08-31')),
  '1600 /12.50, 6000 12.50/, 1600 /25.00, 6000 25.00/, 1610 12.50/, 1800 /12.50, 1610 25.00/, 1800 /25.00', 'the journal');
SELECT is((SELECT sum(debit) - sum(credit) FROM prm.journal('2025-01-01', '2025-12-31')), 0.00, 'debits are credits');

SELECT * FROM finish();
ROLLBACK;
