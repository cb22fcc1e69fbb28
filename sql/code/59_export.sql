
-- What finance takes over: payments as rows and as a bank's file (ISO 20022 pain.001.001.09), and the journal.

CREATE FUNCTION prm._bank_text(value text, charset text, size integer) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_text text := _bank_text.value;
BEGIN
  IF _bank_text.charset = 'sepa' THEN
    IF getdatabaseencoding() = 'UTF8' THEN
      -- Accents go, then the letters that are more than an accent: sharp s, ae, o with a stroke, thorn ...
      the_text := regexp_replace(normalize(the_text, NFKD), '[' || chr(768) || '-' || chr(879) || ']', '', 'g');
      the_text := replace(replace(replace(replace(replace(replace(replace(replace(the_text, chr(223), 'ss'), chr(7838), 'SS'), chr(230), 'ae'), chr(198), 'AE'),
        chr(339), 'oe'), chr(338), 'OE'), chr(254), 'th'), chr(222), 'Th');
      the_text := translate(the_text, chr(248) || chr(216) || chr(322) || chr(321) || chr(273) || chr(272) || chr(240) || chr(208) || chr(305) || chr(8217) || chr(8216) || chr(8211) || chr(8212), 'oOlLdDdDi''''--');
    END IF;
    the_text := regexp_replace(translate(the_text, '&_[]{}<>"', '+-()()()''') COLLATE "C", '[^a-zA-Z0-9/?:().,''+ -]', '.', 'g');
  END IF;
  RETURN btrim(left(btrim(regexp_replace(the_text, '[[:space:][:cntrl:]]+', ' ', 'g')), _bank_text.size));
END
$prm$;
COMMENT ON FUNCTION prm._bank_text(text, text, integer) IS
'A text for a bank, at most size characters: charset sepa writes it in the letters, digits and signs that every bank takes (accents go, anything else becomes a dot), utf8 leaves it as it is.';

CREATE TYPE prm.bank_details AS (iban text, account text, bic text, routing text, routing_system text, fault text);
COMMENT ON TYPE prm.bank_details IS 'An account as a bank wants it: iban or account, bic, routing number with its system; fault: what is wrong with it.';

CREATE FUNCTION prm._bank_details(bank jsonb) RETURNS prm.bank_details
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $prm$
  SELECT ROW(b.iban, b.account, b.bic, b.routing, b.routing_system, CASE
      WHEN b.iban IS NULL AND b.account IS NULL THEN 'no account'
      WHEN b.iban !~ '^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$' THEN format('"%s" is no IBAN', b.iban)
      WHEN b.iban IS NOT NULL AND (SELECT string_agg(CASE WHEN c ~ '[0-9]' THEN c ELSE (ascii(c) - 55)::text END, '' ORDER BY n)
        FROM regexp_split_to_table(substr(b.iban, 5) || left(b.iban, 4), '') WITH ORDINALITY AS x(c, n))::numeric % 97 <> 1 THEN format('the check digits of IBAN "%s" are wrong', b.iban)
      WHEN length(b.account) > 34 OR b.account !~ '^[A-Za-z0-9/?:().,+ -]+$' THEN format('"%s" is no account number', b.account)
      WHEN b.bic !~ '^[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}([A-Z0-9]{3})?$' THEN format('"%s" is no BIC', b.bic)
      WHEN b.routing !~ '^[A-Z0-9-]{1,35}$' OR b.routing_system !~ '^[A-Z0-9]{1,5}$' THEN format('"%s" is no routing number', concat_ws(' ', b.routing_system, b.routing))
      WHEN b.iban IS NULL AND b.bic IS NULL AND b.routing IS NULL THEN 'neither IBAN, BIC nor routing number' END)::prm.bank_details
  FROM (SELECT i.iban, CASE WHEN i.iban IS NULL THEN nullif(btrim(_bank_details.bank ->> 'account'), '') END AS account,
      nullif(upper(regexp_replace(_bank_details.bank ->> 'bic', '[[:space:]]', '', 'g')), '') AS bic,
      nullif(upper(btrim(_bank_details.bank ->> 'routing')), '') AS routing, nullif(upper(btrim(_bank_details.bank ->> 'routing_system')), '') AS routing_system
    FROM (SELECT nullif(upper(regexp_replace(coalesce(nullif(_bank_details.bank ->> 'iban', ''),
        CASE WHEN upper(regexp_replace(_bank_details.bank ->> 'account', '[[:space:]]', '', 'g')) ~ '^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$' THEN _bank_details.bank ->> 'account' END),
      '[[:space:]]', '', 'g')), '') AS iban) i) b
$prm$;
COMMENT ON FUNCTION prm._bank_details(jsonb) IS
'Reads the account of payee.bank or legal_entity.bank: iban (spaces and small letters are mended, check digits tested) or account, bic, routing and routing_system. fault says what is wrong; NULL: nothing.';

CREATE TYPE prm.payment_row AS (payout_id bigint, payee text, account text, bic text, amount numeric, currency text, reference text, debtor text, debtor_account text,
  debtor_bic text, legal_entity text, method text, due_on date, fault text);
COMMENT ON TYPE prm.payment_row IS 'A payment of a batch, with the bank details of payee and payer. fault: why no bank would take it; NULL: nothing is wrong.';

CREATE FUNCTION prm.payout_batch(batch_id bigint, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.payment_row
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
  SELECT o.payout_id, y.legal_name, coalesce((c.b).iban, (c.b).account), (c.b).bic, o.pay_amount, o.pay_currency,
    concat('PRM-', o.payout_id, CASE WHEN o.attempts > 1 THEN '-' || o.attempts END), coalesce(e.label, g.name), coalesce((d.b).iban, (d.b).account),
    (d.b).bic, o.legal_entity, o.method, o.due_on,
    nullif(concat_ws('; ', (c.b).fault || ' of ' || y.legal_name, (d.b).fault || ' of ' || coalesce(e.label, g.name || ' (the payout names no company)'),
      CASE WHEN o.pay_amount >= 1000000000 AND o.pay_currency = 'EUR' OR o.pay_amount >= 10000000000000 THEN 'too much for one payment' END), '')
  FROM prm.payout o
  JOIN prm.program g ON g.program_id = o.program_id
  JOIN prm.payee y ON y.program_id = o.program_id AND y.payee_id = o.payee_id
  LEFT JOIN prm.legal_entity e ON e.program_id = o.program_id AND e.legal_entity = o.legal_entity
  CROSS JOIN LATERAL (SELECT prm._bank_details(y.bank) AS b OFFSET 0) c
  CROSS JOIN LATERAL (SELECT prm._bank_details(e.bank) AS b OFFSET 0) d
  WHERE o.program_id = prm._check_program(payout_batch.program_id) AND o.batch_id = payout_batch.batch_id AND o.state = 'pending' AND o.pay_amount > 0
  ORDER BY o.payout_id
$prm$;
COMMENT ON FUNCTION prm.payout_batch(bigint, bigint) IS
'The payments of a batch of payouts that are pending, as rows, with the bank details of payee.bank and legal_entity.bank: iban or account, and bic, or routing with routing_system. fault names what is missing or wrong.';

CREATE FUNCTION prm._pain_account(iban text, account text) RETURNS xml
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $prm$
  SELECT xmlelement(name "Id", CASE WHEN _pain_account.iban IS NOT NULL THEN xmlelement(name "IBAN", _pain_account.iban)
    ELSE xmlelement(name "Othr", xmlelement(name "Id", _pain_account.account)) END)
$prm$;
COMMENT ON FUNCTION prm._pain_account(text, text) IS 'An account in a pain.001 file.';

CREATE FUNCTION prm._pain_bank(bic text, routing text, routing_system text, or_unknown boolean) RETURNS xml
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $prm$
  SELECT CASE WHEN _pain_bank.bic IS NULL AND _pain_bank.routing IS NULL AND NOT _pain_bank.or_unknown THEN NULL
    ELSE xmlelement(name "FinInstnId",
      CASE WHEN _pain_bank.bic IS NOT NULL THEN xmlelement(name "BICFI", _pain_bank.bic) END,
      CASE WHEN _pain_bank.routing IS NOT NULL THEN xmlelement(name "ClrSysMmbId",
        CASE WHEN _pain_bank.routing_system IS NOT NULL THEN xmlelement(name "ClrSysId", xmlelement(name "Cd", _pain_bank.routing_system)) END, xmlelement(name "MmbId", _pain_bank.routing)) END,
      CASE WHEN _pain_bank.bic IS NULL AND _pain_bank.routing IS NULL THEN xmlelement(name "Othr", xmlelement(name "Id", 'NOTPROVIDED')) END) END
$prm$;
COMMENT ON FUNCTION prm._pain_bank(text, text, text, boolean) IS 'A bank in a pain.001 file; NULL where nothing is known of it, or NOTPROVIDED.';

CREATE FUNCTION prm._pain_options(options jsonb, today date) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_day date := _pain_options.today;
BEGIN
  PERFORM prm._check_options(_pain_options.options, ARRAY['execution_date', 'charset', 'method'], 'payout_batch_xml');
  IF coalesce(_pain_options.options ->> 'charset', 'sepa') NOT IN ('sepa', 'utf8') THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('there is no charset "%s"', _pain_options.options ->> 'charset'), DETAIL = 'charset is sepa or utf8.', HINT = 'Leave it out for what every bank takes.';
  END IF;
  IF _pain_options.options ->> 'execution_date' IS NOT NULL THEN
    BEGIN
      the_day := (_pain_options.options ->> 'execution_date')::date;
    EXCEPTION WHEN invalid_datetime_format OR datetime_field_overflow THEN
      the_day := NULL;
    END;
    IF the_day IS NULL OR the_day < _pain_options.today OR the_day > _pain_options.today + 366 THEN
      RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('execution_date cannot be "%s"', _pain_options.options ->> 'execution_date'),
        DETAIL = format('It is a day from %s on, within a year.', to_char(_pain_options.today, 'YYYY-MM-DD')), HINT = 'Leave it out for today.';
    END IF;
  END IF;
  RETURN jsonb_build_object('day', to_char(the_day, 'YYYY-MM-DD'), 'charset', coalesce(_pain_options.options ->> 'charset', 'sepa'), 'method', _pain_options.options ->> 'method');
END
$prm$;
COMMENT ON FUNCTION prm._pain_options(jsonb, date) IS 'The options of payout_batch_xml(), checked and with their defaults. Error 22023.';

CREATE FUNCTION prm.payout_batch_xml(batch_id bigint, options jsonb DEFAULT '{}', program_id bigint DEFAULT prm.current_program()) RETURNS xml
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET xmloption = document SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(payout_batch_xml.program_id);
  the_zone text := prm._program_time_zone(the_program);
  the_options jsonb := prm._pain_options(payout_batch_xml.options, (prm.now() AT TIME ZONE the_zone)::date);
  the_charset text := the_options ->> 'charset';
  -- What SEPA takes is less than what the schema does.
  the_size integer := CASE the_charset WHEN 'sepa' THEN 70 ELSE 140 END;
  the_faults text;
  the_text text;
BEGIN
  SELECT string_agg(format('%s: %s', r.payout_id, concat_ws('; ', r.fault,
      CASE WHEN prm._bank_text(r.payee, the_charset, the_size) !~ '[[:alnum:]]' THEN format('the name "%s" has no letter that every bank takes', r.payee) END,
      CASE WHEN prm._bank_text(r.debtor, the_charset, the_size) !~ '[[:alnum:]]' THEN format('the name "%s" has no letter that every bank takes', r.debtor) END)), '. ' ORDER BY r.payout_id)
    INTO the_faults FROM prm.payout_batch(payout_batch_xml.batch_id, the_program) r
    WHERE (the_options ->> 'method' IS NULL OR r.method = the_options ->> 'method')
      AND (r.fault IS NOT NULL OR prm._bank_text(r.payee, the_charset, the_size) !~ '[[:alnum:]]' OR prm._bank_text(r.debtor, the_charset, the_size) !~ '[[:alnum:]]');
  IF the_faults IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('batch %s cannot be sent to a bank', payout_batch_xml.batch_id),
      DETAIL = format('Payouts and what is wrong with them: %s.', the_faults),
      HINT = 'UPDATE prm.payee SET bank = ''{"iban": "...", "bic": "..."}'', and the same for prm.legal_entity; the option {"charset": "utf8"} leaves names as they are.';
  END IF;
  WITH payment AS MATERIALIZED (
    SELECT r.payout_id, prm._bank_text(r.payee, the_charset, the_size) AS payee, prm._bank_text(r.debtor, the_charset, the_size) AS debtor, r.currency, r.legal_entity, r.reference, o.attempts,
      prm.round_money(r.amount, r.currency) AS amount, prm._bank_details(y.bank) AS creditor, prm._bank_details(e.bank) AS payer
    FROM prm.payout_batch(payout_batch_xml.batch_id, the_program) r
    JOIN prm.payout o ON o.program_id = the_program AND o.payout_id = r.payout_id
    JOIN prm.payee y ON y.program_id = the_program AND y.payee_id = o.payee_id
    LEFT JOIN prm.legal_entity e ON e.program_id = the_program AND e.legal_entity = o.legal_entity
    WHERE the_options ->> 'method' IS NULL OR r.method = the_options ->> 'method'
  ), block AS (
    -- One block for each debtor account and currency.
    SELECT p.debtor, p.payer, p.legal_entity, p.currency, count(*) AS payments, sum(p.amount) AS total, row_number() OVER (ORDER BY p.legal_entity, p.currency) AS place,
      xmlagg(xmlelement(name "CdtTrfTxInf",
        xmlelement(name "PmtId", xmlelement(name "InstrId", p.reference), xmlelement(name "EndToEndId", p.reference)),
        CASE WHEN p.currency = 'EUR' AND (p.creditor).iban IS NOT NULL THEN xmlelement(name "PmtTpInf", xmlelement(name "SvcLvl", xmlelement(name "Cd", 'SEPA'))) END,
        xmlelement(name "Amt", xmlelement(name "InstdAmt", xmlattributes(p.currency AS "Ccy"), p.amount::text)),
        CASE WHEN p.currency = 'EUR' AND (p.creditor).iban IS NOT NULL THEN xmlelement(name "ChrgBr", 'SLEV') END,
        (SELECT xmlelement(name "CdtrAgt", b.bank) FROM (SELECT prm._pain_bank((p.creditor).bic, (p.creditor).routing, (p.creditor).routing_system, false) AS bank) b WHERE b.bank IS NOT NULL),
        xmlelement(name "Cdtr", xmlelement(name "Nm", p.payee)),
        xmlelement(name "CdtrAcct", prm._pain_account((p.creditor).iban, (p.creditor).account)),
        xmlelement(name "RmtInf", xmlelement(name "Ustrd", p.reference))) ORDER BY p.payout_id) AS transfers
    FROM payment p GROUP BY p.debtor, p.payer, p.legal_entity, p.currency
  )
  SELECT xmlserialize(document xmlelement(name "Document", xmlattributes('urn:iso:std:iso:20022:tech:xsd:pain.001.001.09' AS xmlns),
    xmlelement(name "CstmrCdtTrfInitn",
      xmlelement(name "GrpHdr",
        -- Banks refuse a message that they have had: what was sent again after it failed is another one.
        xmlelement(name "MsgId", left(concat_ws('-', 'PRM', the_program, payout_batch_xml.batch_id, (SELECT nullif(max(p.attempts), 1) FROM payment p)), 35)),
        xmlelement(name "CreDtTm", to_char(prm.now() AT TIME ZONE the_zone, 'YYYY-MM-DD"T"HH24:MI:SS')),
        xmlelement(name "NbOfTxs", (SELECT sum(b.payments) FROM block b)), xmlelement(name "CtrlSum", (SELECT sum(b.total)::text FROM block b)),
        xmlelement(name "InitgPty", xmlelement(name "Nm", (SELECT coalesce(nullif(prm._bank_text(g.name, the_charset, the_size), ''), 'PRM') FROM prm.program g WHERE g.program_id = the_program)))),
      (SELECT xmlagg(xmlelement(name "PmtInf",
        xmlelement(name "PmtInfId", left(concat_ws('-', 'PRM', the_program, payout_batch_xml.batch_id, (SELECT nullif(max(p.attempts), 1) FROM payment p)), 30) || '/' || b.place), xmlelement(name "PmtMtd", 'TRF'),
        xmlelement(name "NbOfTxs", b.payments), xmlelement(name "CtrlSum", b.total::text),
        xmlelement(name "ReqdExctnDt", xmlelement(name "Dt", the_options ->> 'day')),
        xmlelement(name "Dbtr", xmlelement(name "Nm", b.debtor)),
        xmlelement(name "DbtrAcct", prm._pain_account((b.payer).iban, (b.payer).account)),
        xmlelement(name "DbtrAgt", prm._pain_bank((b.payer).bic, (b.payer).routing, (b.payer).routing_system, true)),
        b.transfers) ORDER BY b.place)
        FROM block b))) AS text)
    INTO the_text WHERE EXISTS (SELECT 1 FROM block);
  IF the_text IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('batch %s has nothing to be paid', coalesce(payout_batch_xml.batch_id::text, 'NULL')),
      DETAIL = 'None of its payouts is pending' || coalesce(' by method "' || (the_options ->> 'method') || '"', '') || '.', HINT = 'SELECT DISTINCT batch_id FROM prm.payout WHERE state = ''pending''.';
  END IF;
  RETURN the_text::xml;
END
$prm$;
COMMENT ON FUNCTION prm.payout_batch_xml(bigint, jsonb, bigint) IS
'The pending payouts of a batch as a credit transfer initiation, ISO 20022 pain.001.001.09: a block for each paying company and currency. options: execution_date (today), charset (sepa: names in the letters that every bank takes, or utf8), method (only payouts of this settlement_profile.payout_method). Errors: 42704 nothing to be paid, 55000 bank details are missing or wrong, each named, 22023 bad option.';

CREATE TYPE prm.journal_row AS (entry_id bigint, booked_on date, kind text, partner_id bigint, legal_entity text, account text, debit numeric, credit numeric, currency text, reference text);
COMMENT ON TYPE prm.journal_row IS 'A side of a posting: debit or credit of an account.';

CREATE FUNCTION prm.journal(date_from date, date_to date, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.journal_row
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(journal.program_id);
  fault record;
BEGIN
  IF journal.date_from IS NULL OR journal.date_to IS NULL OR journal.date_from > journal.date_to THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'the journal needs a first and a last day', DETAIL = format('They were given as %s and %s.', coalesce(journal.date_from::text, 'NULL'), coalesce(journal.date_to::text, 'NULL')),
      HINT = 'SELECT * FROM prm.journal(''2026-01-01'', ''2026-01-31'').';
  END IF;
  SELECT string_agg(format('%s of %s (%s)', x.kind, CASE x.legal_entity WHEN '' THEN 'no company' ELSE format('company "%s"', x.legal_entity) END, x.entries), ', ' ORDER BY x.kind, x.legal_entity) AS missing,
      string_agg(format('(%L, %L, ''debit account'', ''credit account'')', x.kind, x.legal_entity), ', ' ORDER BY x.kind, x.legal_entity) AS rows
    INTO fault
    FROM (SELECT l.kind, coalesce(l.legal_entity, '') AS legal_entity, count(*) AS entries FROM prm.ledger l
      WHERE l.program_id = the_program AND l.earned_on >= journal.date_from AND l.earned_on <= journal.date_to GROUP BY 1, 2) x
    WHERE NOT EXISTS (SELECT 1 FROM prm.account_map a WHERE a.program_id = the_program AND a.kind IN (x.kind, '*') AND a.legal_entity IN (x.legal_entity, ''));
  IF fault.missing IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = 'the journal lacks accounts',
      DETAIL = format('Entries without accounts: %s.', fault.missing), HINT = format('INSERT INTO prm.account_map (kind, legal_entity, debit, credit) VALUES %s;', fault.rows),
      SCHEMA = 'prm', TABLE = 'account_map';
  END IF;
  RETURN QUERY
  SELECT l.entry_id, l.earned_on, l.kind, l.partner_id, l.legal_entity, CASE k.side WHEN 'debit' THEN m.debit ELSE m.credit END,
    CASE WHEN (k.side = 'debit') = n.is_plain THEN abs(l.amount) END, CASE WHEN (k.side = 'debit') <> n.is_plain THEN abs(l.amount) END,
    l.currency, coalesce(l.reason, l.idempotency_key)
  FROM prm.ledger l
  CROSS JOIN LATERAL (SELECT a.debit, a.credit FROM prm.account_map a
    WHERE a.program_id = the_program AND a.kind IN (l.kind, '*') AND a.legal_entity IN (coalesce(l.legal_entity, ''), '')
    ORDER BY a.kind = '*', a.legal_entity = '' LIMIT 1) m
  CROSS JOIN (VALUES ('debit'), ('credit')) AS k(side)
  -- What is paid out and what a partner is charged is below zero by nature.
  CROSS JOIN LATERAL (SELECT (l.amount > 0) <> (l.kind IN ('payout', 'payout_fee', 'royalty', 'fee')) AS is_plain) n
  WHERE l.program_id = the_program AND l.earned_on >= journal.date_from AND l.earned_on <= journal.date_to
  ORDER BY l.entry_id, k.side DESC;
END
$prm$;
COMMENT ON FUNCTION prm.journal(date, date, bigint) IS
'The ledger entries of business days as journal rows, two for each: debit and credit by account_map (of its kind and company, else of its kind, else of * and company, else of *); an entry that takes one back is booked the other way round. Debits and credits are equal in each currency. Errors: 55000 where accounts are missing, HINT is the row to add, 22023 days.';
