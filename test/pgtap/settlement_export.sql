-- Exports: the bank's file against the structure that ISO 20022 publishes for pain.001.001.09, and the journal.
BEGIN;
\ir settlement.psql
\ir settlement_export.psql

-- The structure, as far as the file uses it, written down from the published message definition: the children of each type in
-- their order, how often each may come, and its own type. Children of one place are a choice: one of them, once.
CREATE TEMP TABLE shape (type text, place integer, element text, low integer, high integer, child text);
INSERT INTO shape VALUES
  ('Root', 1, 'Document', 1, 1, 'Document'),
  ('Document', 1, 'CstmrCdtTrfInitn', 1, 1, 'Initiation'),
  ('Initiation', 1, 'GrpHdr', 1, 1, 'Header'), ('Initiation', 2, 'PmtInf', 1, 100000, 'Block'),
  ('Header', 1, 'MsgId', 1, 1, 'Max35'), ('Header', 2, 'CreDtTm', 1, 1, 'DateTime'), ('Header', 4, 'NbOfTxs', 1, 1, 'Count'), ('Header', 5, 'CtrlSum', 0, 1, 'Decimal'), ('Header', 6, 'InitgPty', 1, 1, 'Party'),
  ('Party', 1, 'Nm', 0, 1, 'Max140'),
  ('Block', 1, 'PmtInfId', 1, 1, 'Max35'), ('Block', 2, 'PmtMtd', 1, 1, 'Method'), ('Block', 4, 'BtchBookg', 0, 1, 'Boolean'), ('Block', 5, 'NbOfTxs', 0, 1, 'Count'), ('Block', 6, 'CtrlSum', 0, 1, 'Decimal'),
  ('Block', 7, 'PmtTpInf', 0, 1, 'Kind'), ('Block', 8, 'ReqdExctnDt', 1, 1, 'When'), ('Block', 10, 'Dbtr', 1, 1, 'Party'), ('Block', 11, 'DbtrAcct', 1, 1, 'Account'), ('Block', 12, 'DbtrAgt', 1, 1, 'Agent'),
  ('Block', 16, 'ChrgBr', 0, 1, 'Bearer'), ('Block', 19, 'CdtTrfTxInf', 1, 100000, 'Transfer'),
  ('When', 1, 'Dt', 1, 1, 'Date'), ('When', 1, 'DtTm', 1, 1, 'DateTime'),
  ('Kind', 1, 'InstrPrty', 0, 1, 'Max35'), ('Kind', 2, 'SvcLvl', 0, 100, 'Level'), ('Level', 1, 'Cd', 1, 1, 'Code4'), ('Level', 1, 'Prtry', 1, 1, 'Max35'),
  ('Account', 1, 'Id', 1, 1, 'AccountId'), ('Account', 3, 'Ccy', 0, 1, 'Currency'),
  ('AccountId', 1, 'IBAN', 1, 1, 'Iban'), ('AccountId', 1, 'Othr', 1, 1, 'OtherAccount'), ('OtherAccount', 1, 'Id', 1, 1, 'Max34'),
  ('Agent', 1, 'FinInstnId', 1, 1, 'Bank'),
  ('Bank', 1, 'BICFI', 0, 1, 'Bic'), ('Bank', 2, 'ClrSysMmbId', 0, 1, 'Member'), ('Bank', 4, 'Nm', 0, 1, 'Max140'), ('Bank', 6, 'Othr', 0, 1, 'OtherBank'), ('OtherBank', 1, 'Id', 1, 1, 'Max35'),
  ('Member', 1, 'ClrSysId', 0, 1, 'System'), ('Member', 2, 'MmbId', 1, 1, 'Max35'), ('System', 1, 'Cd', 1, 1, 'Code5'), ('System', 1, 'Prtry', 1, 1, 'Max35'),
  ('Transfer', 1, 'PmtId', 1, 1, 'PaymentId'), ('Transfer', 2, 'PmtTpInf', 0, 1, 'Kind'), ('Transfer', 3, 'Amt', 1, 1, 'Amount'), ('Transfer', 5, 'ChrgBr', 0, 1, 'Bearer'),
  ('Transfer', 10, 'CdtrAgt', 0, 1, 'Agent'), ('Transfer', 12, 'Cdtr', 0, 1, 'Party'), ('Transfer', 13, 'CdtrAcct', 0, 1, 'Account'), ('Transfer', 21, 'RmtInf', 0, 1, 'Remittance'),
  ('PaymentId', 1, 'InstrId', 0, 1, 'Max35'), ('PaymentId', 2, 'EndToEndId', 1, 1, 'Max35'),
  ('Amount', 1, 'InstdAmt', 1, 1, 'Money'),
  ('Remittance', 1, 'Ustrd', 0, 100, 'Max140');
-- The texts. The two sides of Money are its currency and its amount; what SEPA asks beyond the schema stands in pattern, too.
CREATE TEMP TABLE leaf (type text PRIMARY KEY, pattern text, attribute text);
INSERT INTO leaf VALUES ('Max34', '^.{1,34}$', NULL), ('Max35', '^[A-Za-z0-9/?:().,''+ -]{1,35}$', NULL), ('Max140', '^.{1,140}$', NULL), ('DateTime', '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$', NULL), ('Date', '^\d{4}-\d\d-\d\d$', NULL),
  ('Count', '^[0-9]{1,15}$', NULL), ('Decimal', '^(?=.{1,19}$)[0-9]+([.][0-9]{1,17})?$', NULL), ('Boolean', '^(true|false)$', NULL), ('Method', '^(CHK|TRF|TRA)$', NULL), ('Bearer', '^(DEBT|CRED|SHAR|SLEV)$', NULL),
  ('Currency', '^[A-Z]{3}$', NULL), ('Iban', '^[A-Z]{2}[0-9]{2}[a-zA-Z0-9]{1,30}$', NULL), ('Bic', '^[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}([A-Z0-9]{3})?$', NULL), ('Code4', '^[A-Z0-9]{1,4}$', NULL), ('Code5', '^[A-Z0-9]{1,5}$', NULL),
  ('Money', '^(?=.{1,19}$)[0-9]+([.][0-9]{1,5})?$', 'Ccy');

CREATE FUNCTION pg_temp.faults(the_file xml) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
  RETURN QUERY
  WITH RECURSIVE node(path, key, type, body) AS (
    SELECT '/Document'::text, '/'::text, 'Document'::text, (xpath('/*', the_file))[1]
    UNION ALL
    SELECT n.path || '/' || c.element, n.key || '/' || c.place, coalesce(s.child, '?'), c.body
    FROM node n
    CROSS JOIN LATERAL (SELECT x.body, x.place, (xpath('local-name(/*)', x.body))[1]::text AS element FROM unnest(xpath('/*/*', n.body)) WITH ORDINALITY AS x(body, place)) c
    LEFT JOIN shape s ON s.type = n.type AND s.element = c.element
  ), child AS (
    SELECT n.path, n.key, c.element, c.place, s.place AS wanted FROM node n
    CROSS JOIN LATERAL (SELECT x.place, (xpath('local-name(/*)', x.body))[1]::text AS element FROM unnest(xpath('/*/*', n.body)) WITH ORDINALITY AS x(body, place)) c
    LEFT JOIN shape s ON s.type = n.type AND s.element = c.element
  )
  SELECT format('%s: no element of the schema', path) FROM node WHERE type = '?'
  UNION ALL
  SELECT format('%s: %s stands after %s', a.path, a.element, b.element) FROM child a JOIN child b ON b.key = a.key AND b.place = a.place - 1 AND b.wanted > a.wanted
  UNION ALL
  SELECT format('%s: %s comes %s times', n.path, string_agg(DISTINCT s.element, ' or '), count(c.element))
    FROM node n JOIN shape s ON s.type = n.type LEFT JOIN child c ON c.key = n.key AND c.element = s.element
    GROUP BY n.key, n.path, s.place HAVING count(c.element) < max(s.low) OR count(c.element) > max(s.high)
  UNION ALL
  SELECT format('%s: "%s" is no %s', n.path, t.value, n.type)
    FROM node n JOIN leaf l ON l.type = n.type
    CROSS JOIN LATERAL (SELECT (xpath('string(/*)', n.body))[1]::text AS value) t WHERE xpath('/*/*', n.body)::text <> '{}' OR replace(replace(replace(replace(t.value, '&amp;', '&'), '&lt;', '<'), '&gt;', '>'), '&quot;', '"') !~ l.pattern
  UNION ALL
  SELECT format('%s: attribute %s is "%s"', n.path, l.attribute, (xpath('string(/*/@' || l.attribute || ')', n.body))[1])
    FROM node n JOIN leaf l ON l.type = n.type WHERE l.attribute IS NOT NULL AND (xpath('string(/*/@' || l.attribute || ')', n.body))[1]::text !~ '^[A-Z]{3}$';
END $$;
CREATE FUNCTION pg_temp.file(the_options jsonb DEFAULT '{}') RETURNS xml LANGUAGE sql AS $$
  SELECT prm.payout_batch_xml((SELECT max(batch_id) FROM prm.payout WHERE program_id = prm.current_program()), the_options) $$;
CREATE FUNCTION pg_temp.x(the_path text, the_options jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(v::text, '|') FROM unnest(xpath(the_path, pg_temp.file(the_options), ARRAY[ARRAY['p', 'urn:iso:std:iso:20022:tech:xsd:pain.001.001.09']])) v $$;

SELECT is((SELECT string_agg(f, E'\n') FROM pg_temp.faults(pg_temp.file()) f), NULL, 'the file has the structure of the schema');
SELECT is((SELECT string_agg(f, E'\n') FROM pg_temp.faults(pg_temp.file('{"charset": "utf8", "execution_date": "2025-08-05"}')) f), NULL, 'with its options, too');
-- The check finds faults.
SELECT is((SELECT string_agg(f, '; ' ORDER BY f) FROM pg_temp.faults(replace(pg_temp.file()::text, bad, good)::xml) f), want, 'a fault is found: ' || want)
  FROM (VALUES ('<PmtMtd>TRF</PmtMtd>', '<PmtMtd>CASH</PmtMtd>', '/Document/CstmrCdtTrfInitn/PmtInf/PmtMtd: "CASH" is no Method; /Document/CstmrCdtTrfInitn/PmtInf/PmtMtd: "CASH" is no Method; /Document/CstmrCdtTrfInitn/PmtInf/PmtMtd: "CASH" is no Method'),
    ('<NbOfTxs>5</NbOfTxs>', '', '/Document/CstmrCdtTrfInitn/GrpHdr: NbOfTxs comes 0 times'),
    ('<NbOfTxs>5</NbOfTxs>', '<NbOfTxs>5</NbOfTxs><NbOfTxs>5</NbOfTxs>', '/Document/CstmrCdtTrfInitn/GrpHdr: NbOfTxs comes 2 times'),
    ('<NbOfTxs>5</NbOfTxs>', '<NbOfTxs>5</NbOfTxs><Hm/>', '/Document/CstmrCdtTrfInitn/GrpHdr/Hm: no element of the schema'),
    ('<IBAN>PL61109010140000071219812874</IBAN>', '<IBAN>61109010140000071219812874</IBAN>', '/Document/CstmrCdtTrfInitn/PmtInf/CdtTrfTxInf/CdtrAcct/Id/IBAN: "61109010140000071219812874" is no Iban'),
    ('<BICFI>BOTKJPJT</BICFI>', '<BICFI>BOTK</BICFI>', '/Document/CstmrCdtTrfInitn/PmtInf/CdtTrfTxInf/CdtrAgt/FinInstnId/BICFI: "BOTK" is no Bic'),
    (' Ccy="USD"', '', '/Document/CstmrCdtTrfInitn/PmtInf/CdtTrfTxInf/Amt/InstdAmt: attribute Ccy is ""')) AS v(bad, good, want);
SELECT matches((SELECT string_agg(f, '; ' ORDER BY f) FROM pg_temp.faults(regexp_replace(pg_temp.file()::text, '(<MsgId>[^<]*</MsgId>)(<CreDtTm>[^<]*</CreDtTm>)', '\2\1')::xml) f), 'MsgId stands after CreDtTm', 'a fault is found: order');

-- What is in it.
SELECT is(pg_temp.x('//p:GrpHdr/p:NbOfTxs/text()') || ' ' || pg_temp.x('//p:GrpHdr/p:CtrlSum/text()'), '5 1125.00', 'number and sum of all');
SELECT is(pg_temp.x('//p:PmtInf/p:NbOfTxs/text()') || ' ' || pg_temp.x('//p:PmtInf/p:CtrlSum/text()'), '3|1|1 75.00|1000|50.00', 'a block for each payer and currency');
SELECT is((SELECT sum(v::text::numeric) FROM unnest(xpath('//p:PmtInf/p:CtrlSum/text()', pg_temp.file(), ARRAY[ARRAY['p', 'urn:iso:std:iso:20022:tech:xsd:pain.001.001.09']])) v), pg_temp.x('//p:GrpHdr/p:CtrlSum/text()')::numeric, 'the blocks sum to the file');
SELECT is(pg_temp.x('//p:InstdAmt/text()'), '12.50|25.00|37.50|1000|50.00', 'amounts in the units of their currency');
SELECT is((SELECT count(DISTINCT v::text) FROM unnest(xpath('//p:PmtInfId/text()', pg_temp.file(), ARRAY[ARRAY['p', 'urn:iso:std:iso:20022:tech:xsd:pain.001.001.09']])) v), 3::bigint, 'each block has a number of its own');
SELECT is(pg_temp.x('//p:DbtrAcct/p:Id//text()'), 'DE89370400440532013000|DE89370400440532013000|000123', 'accounts of the payers, without spaces');
SELECT is(pg_temp.x('//p:CdtrAcct/p:Id/p:IBAN/text()'), 'FR1420041010050500013M02606|PL61109010140000071219812874|DE75512108001245126199', 'an IBAN is one, wherever it was written');
SELECT is(pg_temp.x('//p:CdtrAgt//p:MmbId/text()') || ' ' || pg_temp.x('//p:CdtrAgt//p:ClrSysId/p:Cd/text()'), '021000021 USABA', 'a routing number with its system');
SELECT is(pg_temp.x('//p:CdtTrfTxInf[p:PmtTpInf]/p:PmtId/p:EndToEndId/text()'), (SELECT string_agg(reference, '|' ORDER BY payout_id) FROM prm.payout_batch(:batch) WHERE currency = 'EUR'), 'SEPA where it is');
SELECT is(pg_temp.x('//p:Cdtr/p:Nm/text()'), 'Ann + Co (KG)|Zazolc ''Gesla'' Jazn Jazn Jazn Jazn Jazn Jazn Jazn Jazn Jazn Jazn Jazn|Bob. DROP|Yen|Joe', 'names in the letters that every bank takes, cut to 70');
SELECT is(pg_temp.x('//p:Dbtr/p:Nm/text()'), 'Vendor + Sohne GmbH|Vendor + Sohne GmbH|Vendor Inc', 'of the payers, too');
SELECT is(length(split_part(pg_temp.x('//p:Cdtr/p:Nm/text()', '{"charset": "utf8"}'), '|', 2)), 139, 'as they are, cut to 140');
SELECT is(split_part(pg_temp.x('//p:Cdtr/p:Nm/text()', '{"charset": "utf8"}'), '|', 1), 'Ann &amp; Co &lt;KG&gt;', 'and escaped');
SELECT is(pg_temp.x('//p:MsgId/text()'), format('PRM-%s-%s', :program, :batch), 'the message');
SELECT prm.settle_payout(payout_id, 'failed', 'closed') AS failed FROM prm.payout WHERE program_id = :program AND currency = 'USD';
SELECT is(pg_temp.x('//p:GrpHdr/p:NbOfTxs/text()'), '4', 'what failed is not sent');
SELECT prm.settle_payout(payout_id, 'reissued', 'again') AS again FROM prm.payout WHERE program_id = :program AND currency = 'USD';
SELECT is(pg_temp.x('//p:MsgId/text()'), format('PRM-%s-%s-2', :program, :batch), 'sent again it is another message');

-- Options.
SELECT throws_ok(format('SELECT prm.payout_batch_xml(%s, %L)', :batch, o), '22023', NULL, 'no option: ' || o)
  FROM unnest(ARRAY['{"execution_date": "soon"}', '{"execution_date": "2025-07-31"}', '{"execution_date": "2025-02-31"}', '{"execution_date": "infinity"}', '{"charset": "latin"}', '{"x": 1}', '[]']) o;
SELECT throws_ok(format('SELECT prm.payout_batch_xml(%s, NULL)', :batch), '22023', NULL, 'no options at all');
SELECT throws_ok('SELECT prm.payout_batch_xml(NULL)', '42704', NULL, 'no batch');
SELECT throws_ok(format('SELECT prm.payout_batch_xml(%s, ''{"method": "paypal"}'')', :batch), '42704', NULL, 'a method that pays nothing');

-- What a bank would refuse is said, each by its payout.
CREATE FUNCTION pg_temp.fault(the_bank text) RETURNS text LANGUAGE sql AS $$ SELECT (prm._bank_details(the_bank::jsonb)).fault $$;
SELECT is(pg_temp.fault(bank), want, coalesce(want, bank)) FROM (VALUES
  (NULL, 'no account'), ('{}', 'no account'), ('{"iban": " "}', 'no account'), ('"x"', 'no account'), ('{"iban": "DE00370400440532013000"}', 'the check digits of IBAN "DE00370400440532013000" are wrong'),
  ('{"iban": "DE8937040044053201300\u00d6"}', '"DE8937040044053201300' || chr(214) || '" is no IBAN'), ('{"iban": "DE89370400440532013000", "bic": "COBA"}', '"COBA" is no BIC'), ('{"account": "1"}', 'neither IBAN, BIC nor routing number'),
  ('{"account": "1<2", "bic": "COBADEFF"}', '"1<2" is no account number'), ('{"account": "1", "routing": "0 1"}', '"0 1" is no routing number'), ('{"account": "1", "bic": "COBADEFF"}', NULL), ('{"iban": "gb82 west 1234 5698 7654 32"}', NULL)) AS v(bank, want);
UPDATE prm.payee SET bank = '{"iban": "DE00370400440532013000"}' WHERE program_id = :program AND legal_name = 'Ann & Co <KG>';
UPDATE prm.payee SET legal_name = chr(26085) || chr(26412) WHERE program_id = :program AND legal_name = 'Yen';
UPDATE prm.legal_entity SET bank = NULL WHERE program_id = :program AND legal_entity = 'us';
SELECT is((SELECT string_agg(fault, ' | ' ORDER BY payout_id) FROM prm.payout_batch(:batch)), 'the check digits of IBAN "DE00370400440532013000" are wrong of Ann & Co <KG> | no account of Vendor Inc', 'payments as rows name their faults');
SELECT throws_matching(format('SELECT prm.payout_batch_xml(%s)', :batch), 'cannot be sent', 'and there is no file');
SELECT throws_ok(format('SELECT prm.payout_batch_xml(%s)', :batch), '55000', NULL, 'in the class of wrong states');
UPDATE prm.payee SET bank = '{"iban": "FR1420041010050500013M02606"}' WHERE program_id = :program AND legal_name = 'Ann & Co <KG>';
UPDATE prm.legal_entity SET bank = '{"account": "000123", "routing": "021000021"}' WHERE program_id = :program AND legal_entity = 'us';
SELECT throws_ok(format('SELECT prm.payout_batch_xml(%s)', :batch), '55000', NULL, 'a name without any letter that banks take');
SELECT is(split_part(pg_temp.x('//p:Cdtr/p:Nm/text()', '{"charset": "utf8"}'), '|', 4), chr(26085) || chr(26412), 'goes as it is where the bank takes it');
SELECT is((SELECT string_agg(f, E'\n') FROM pg_temp.faults(pg_temp.file('{"charset": "utf8"}')) f), NULL, 'still in the structure of the schema');

-- The journal.
SELECT throws_ok('SELECT * FROM prm.journal(''2025-07-01'', ''2025-08-31'')', '55000', NULL, 'no journal without accounts');
CREATE FUNCTION pg_temp.hint(q text) RETURNS text LANGUAGE plpgsql AS $$ DECLARE h text; BEGIN EXECUTE q; RETURN NULL; EXCEPTION WHEN object_not_in_prerequisite_state THEN GET STACKED DIAGNOSTICS h = PG_EXCEPTION_HINT; RETURN h; END $$;
SELECT is(pg_temp.hint('SELECT * FROM prm.journal(''2025-07-01'', ''2025-08-31'')'), 'INSERT INTO prm.account_map (kind, legal_entity, debit, credit) VALUES (''bonus'', ''de'', ''debit account'', ''credit account''), (''bonus'', ''us'', ''debit account'', ''credit account'');', 'the rows to add are named');
SELECT pg_temp.hint('SELECT * FROM prm.journal(''2025-07-01'', ''2025-08-31'')') AS hint \gset
:hint
SELECT is((SELECT count(*) FROM prm.journal('2025-07-01', '2025-08-31')), 10::bigint, 'and do it');
SELECT pg_temp.settle_all();
SELECT is(pg_temp.hint('SELECT * FROM prm.journal(''2025-07-01'', ''2025-08-31'')') ~ 'payout', true, 'payouts ask for theirs');
INSERT INTO prm.account_map (kind, debit, credit) VALUES ('*', '1610', '1800');
SELECT is((SELECT string_agg(format('%s %s', currency, sum), ', ' ORDER BY currency) FROM (SELECT currency, sum(debit) - sum(credit) AS sum FROM prm.journal('2025-01-01', '2025-12-31') GROUP BY currency) x), 'EUR 0.00, JPY 0, USD 0.00', 'debits are credits in each currency');
SELECT is((SELECT count(*) FROM (SELECT entry_id FROM prm.journal('2025-01-01', '2025-12-31') GROUP BY entry_id HAVING sum(debit) IS DISTINCT FROM sum(credit) OR count(*) <> 2) x), 0::bigint, 'and in each entry');
SELECT throws_ok(format('SELECT * FROM prm.journal(%s)', d), '22023', NULL, 'no journal: ' || d) FROM unnest(ARRAY['NULL, ''2025-01-01''', '''2025-01-01'', NULL', '''2025-02-01'', ''2025-01-01''']) d;
SELECT is((SELECT count(*) FROM prm.journal('-infinity', 'infinity')), (SELECT 2 * count(*) FROM prm.ledger WHERE program_id = :program), 'all of it');

SELECT * FROM finish();
ROLLBACK;
