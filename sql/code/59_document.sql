
-- Documents: self-billing invoices and credit notes for statements, and what finance takes over from payouts and the ledger.

CREATE TYPE prm.document_row AS (document_id bigint, document_no text, kind text, payee_id bigint, payee text, legal_entity text, currency text, statements bigint,
  net numeric, vat numeric, gross numeric, withholding numeric, payable numeric, carried numeric);
COMMENT ON TYPE prm.document_row IS 'A document that create_documents() issued.';

CREATE FUNCTION prm.create_documents(options jsonb DEFAULT '{}', program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.document_row
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(create_documents.program_id);
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(the_program))::date;
  the_payee bigint := (create_documents.options ->> 'payee_id')::bigint;
  the_grouping text := create_documents.options ->> 'grouping';
BEGIN
  PERFORM prm._check_settler();
  PERFORM prm._check_options(create_documents.options, ARRAY['payee_id', 'grouping'], 'create_documents');
  IF the_grouping NOT IN ('separate', 'grouped') THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('documents cannot be "%s"', the_grouping), DETAIL = 'grouping is separate or grouped.',
      HINT = 'Leave it out: the settlement_profile says it.';
  END IF;
  PERFORM prm._lock_calendar(the_program, true);
  INSERT INTO prm.document_series (program_id, legal_entity, kind, prefix)
    SELECT the_program, s.legal_entity, k.kind, concat_ws('-', nullif(upper(s.legal_entity), ''), k.letters) || '-'
    FROM (SELECT DISTINCT coalesce(i.legal_entity, '') AS legal_entity FROM prm.statement i WHERE i.program_id = the_program AND i.state IN ('approved', 'carried')) s
    CROSS JOIN (VALUES ('invoice', 'SB'), ('credit_note', 'CN')) AS k(kind, letters)
    ON CONFLICT (program_id, legal_entity, kind) DO NOTHING;
  RETURN QUERY
  WITH ready AS MATERIALIZED (
    SELECT s.statement_id, s.payee_id, s.partner_id, coalesce(s.legal_entity, '') AS legal_entity, s.currency, s.total, s.vat, s.vat_included, s.withholding, s.carried,
      CASE coalesce(the_grouping, t.document_grouping) WHEN 'separate' THEN s.statement_id ELSE 0 END AS group_no
    FROM prm.statement s
    CROSS JOIN LATERAL prm._settlement_terms(the_program, ARRAY[s.payee_id], ARRAY[s.currency]) t
    WHERE s.program_id = the_program AND s.state IN ('approved', 'carried') AND (the_payee IS NULL OR s.payee_id = the_payee)
      AND NOT EXISTS (SELECT 1 FROM prm.billing_document_statement c WHERE c.program_id = the_program AND c.statement_id = s.statement_id AND c.released_at IS NULL)
  ), planned AS MATERIALIZED (
    SELECT r.payee_id, r.partner_id, r.legal_entity, r.currency, r.group_no, count(*) AS statements, sum(r.total - r.carried + r.withholding) AS gross, sum(r.vat + r.vat_included) AS vat,
      sum(r.withholding) AS withholding, sum(r.carried) AS carried, CASE WHEN sum(r.total - r.carried + r.withholding) >= 0 THEN 'invoice' ELSE 'credit_note' END AS kind
    FROM ready r GROUP BY r.payee_id, r.partner_id, r.legal_entity, r.currency, r.group_no
  ), placed AS MATERIALIZED (
    SELECT p.*, row_number() OVER (PARTITION BY p.legal_entity, p.kind ORDER BY p.payee_id, p.currency, p.group_no) AS place,
      count(*) OVER (PARTITION BY p.legal_entity, p.kind) AS places FROM planned p
  ), counted AS (
    UPDATE prm.document_series d SET last_no = d.last_no + p.places FROM placed p
    WHERE p.place = 1 AND d.program_id = the_program AND d.legal_entity = p.legal_entity AND d.kind = p.kind
    RETURNING d.legal_entity, d.kind, d.prefix, d.last_no - p.places AS before
  ), made AS (
    INSERT INTO prm.billing_document (program_id, kind, document_no, payee_id, partner_id, legal_entity, currency, issued_on, net, vat, gross, withholding, carried, payable, note, created_at, created_by)
      SELECT the_program, p.kind, c.prefix || lpad((c.before + p.place)::text, 6, '0'), p.payee_id, p.partner_id, nullif(p.legal_entity, ''), p.currency, the_today,
        p.gross - p.vat, p.vat, p.gross, p.withholding, p.carried, p.gross - p.withholding + p.carried,
        (SELECT r.note FROM prm.payee y JOIN prm.tax_rule r ON r.program_id = y.program_id AND r.tax_rule = y.tax_rule WHERE y.program_id = the_program AND y.payee_id = p.payee_id),
        prm.now(), prm.current_actor()
      FROM placed p JOIN counted c ON c.legal_entity = p.legal_entity AND c.kind = p.kind ORDER BY p.legal_entity, p.kind, p.place
      RETURNING document_id, document_no, kind, payee_id, coalesce(legal_entity, '') AS legal_entity, currency, net, vat, gross, withholding, payable, carried
  ), numbered AS MATERIALIZED (
    SELECT m.*, p.group_no, p.statements FROM made m
    JOIN counted c ON c.legal_entity = m.legal_entity AND c.kind = m.kind
    JOIN placed p ON p.legal_entity = m.legal_entity AND p.kind = m.kind AND c.prefix || lpad((c.before + p.place)::text, 6, '0') = m.document_no
  ), claimed AS (
    INSERT INTO prm.billing_document_statement (program_id, document_id, statement_id, partner_id)
      SELECT the_program, n.document_id, r.statement_id, r.partner_id FROM numbered n
      JOIN ready r ON r.payee_id = n.payee_id AND r.legal_entity = n.legal_entity AND r.currency = n.currency AND r.group_no = n.group_no
      ORDER BY r.statement_id
  )
  SELECT n.document_id, n.document_no, n.kind, n.payee_id, y.legal_name, nullif(n.legal_entity, ''), n.currency, n.statements, n.net, n.vat, n.gross, n.withholding, n.payable, n.carried
  FROM numbered n JOIN prm.payee y ON y.program_id = the_program AND y.payee_id = n.payee_id ORDER BY n.legal_entity, n.kind, n.document_no;
  UPDATE prm.statement s SET state = 'invoiced'
    WHERE s.program_id = the_program AND s.state = 'approved'
      AND EXISTS (SELECT 1 FROM prm.billing_document_statement c WHERE c.program_id = the_program AND c.statement_id = s.statement_id AND c.released_at IS NULL);
END
$prm$;
COMMENT ON FUNCTION prm.create_documents(jsonb, bigint) IS
'Issues self-billing invoices, and credit notes where a total is below zero, for approved statements and for debts that were carried on: one for each, or one for all of a payee, paying company and currency (settlement_profile.document_grouping). A document says what was earned; what was brought forward of earlier debts stands apart, in carried. The approved statements are invoiced then. Numbers run without gaps per paying company and kind. options: payee_id, grouping. Errors: 22023 unknown option, 42501 not the owner.';

CREATE FUNCTION prm.cancel_document(document_id bigint, reason text, program_id bigint DEFAULT prm.current_program()) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(cancel_document.program_id);
  the_no text;
BEGIN
  PERFORM prm._check_settler();
  IF coalesce(btrim(cancel_document.reason), '') = '' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a cancelled document needs a reason', DETAIL = 'The reason given is empty.',
      HINT = format('SELECT prm.cancel_document(%s, ''wrong address'').', cancel_document.document_id);
  END IF;
  UPDATE prm.billing_document d SET cancelled_at = prm.now(), cancelled_by = prm.current_actor(), reason = cancel_document.reason
    WHERE d.program_id = the_program AND d.document_id = cancel_document.document_id AND d.cancelled_at IS NULL RETURNING d.document_no INTO the_no;
  IF the_no IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no document %s to be cancelled', coalesce(cancel_document.document_id::text, 'NULL')),
      DETAIL = 'None that stands has this number.', HINT = 'SELECT document_id, document_no FROM prm.billing_document WHERE cancelled_at IS NULL.';
  END IF;
  RETURN the_no;
END
$prm$;
COMMENT ON FUNCTION prm.cancel_document(bigint, text, bigint) IS
'Cancels a document; its number stays taken, and its statements are settled again. Returns its number. Errors: 42704 no such document, 22023 no reason, 55000 it was paid or a payout is under way, 42501 not the owner.';

CREATE TYPE prm.payment_row AS (payout_id bigint, payee text, account text, bic text, amount numeric, currency text, reference text, debtor text, debtor_account text);
COMMENT ON TYPE prm.payment_row IS 'A payment of a batch, with the bank details of payee and payer.';

CREATE FUNCTION prm.payout_batch(batch_id bigint, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.payment_row
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
  SELECT o.payout_id, y.legal_name, coalesce(y.bank ->> 'iban', y.bank ->> 'account'), y.bank ->> 'bic', o.pay_amount, o.pay_currency,
    concat('PRM-', o.payout_id, CASE WHEN o.attempts > 1 THEN '-' || o.attempts END), coalesce(e.label, g.name), coalesce(e.bank ->> 'iban', e.bank ->> 'account')
  FROM prm.payout o
  JOIN prm.program g ON g.program_id = o.program_id
  JOIN prm.payee y ON y.program_id = o.program_id AND y.payee_id = o.payee_id
  LEFT JOIN prm.legal_entity e ON e.program_id = o.program_id AND e.legal_entity = o.legal_entity
  WHERE o.program_id = prm._check_program(payout_batch.program_id) AND o.batch_id = payout_batch.batch_id AND o.state = 'pending' AND o.pay_amount > 0
  ORDER BY o.payout_id
$prm$;
COMMENT ON FUNCTION prm.payout_batch(bigint, bigint) IS 'The payments of a batch of payouts that are pending, as rows, with the bank details: iban or account, and bic, of payee.bank and legal_entity.bank.';

CREATE FUNCTION prm.payout_batch_xml(batch_id bigint, options jsonb DEFAULT '{}', program_id bigint DEFAULT prm.current_program()) RETURNS xml
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET xmloption = document AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(payout_batch_xml.program_id);
  the_zone text := prm._program_time_zone(the_program);
  the_faults text;
  the_text text;
BEGIN
  PERFORM prm._check_options(payout_batch_xml.options, ARRAY['execution_date'], 'payout_batch_xml');
  SELECT string_agg(format('%s (%s)', r.payout_id, concat_ws(', ', CASE WHEN r.account IS NULL THEN 'no account of ' || r.payee END, CASE WHEN r.debtor_account IS NULL THEN 'no account of ' || r.debtor END)), '; ')
    INTO the_faults FROM prm.payout_batch(payout_batch_xml.batch_id, the_program) r WHERE r.account IS NULL OR r.debtor_account IS NULL;
  IF the_faults IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('batch %s cannot be sent to a bank', payout_batch_xml.batch_id),
      DETAIL = format('Payouts without bank details: %s.', the_faults),
      HINT = 'UPDATE prm.payee SET bank = ''{"iban": "...", "bic": "..."}'', and the same for prm.legal_entity.';
  END IF;
  WITH payment AS (
    SELECT r.*, o.legal_entity, coalesce(o.legal_entity, '') || '-' || r.currency AS part FROM prm.payout_batch(payout_batch_xml.batch_id, the_program) r
    JOIN prm.payout o ON o.program_id = the_program AND o.payout_id = r.payout_id
  ), block AS (
    -- One block for each debtor account and currency.
    SELECT p.debtor, p.debtor_account, p.legal_entity, p.currency, count(*) AS payments, sum(p.amount) AS total,
      xmlagg(xmlelement(name "CdtTrfTxInf",
        xmlelement(name "PmtId", xmlelement(name "InstrId", p.reference), xmlelement(name "EndToEndId", p.reference)),
        xmlelement(name "Amt", xmlelement(name "InstdAmt", xmlattributes(p.currency AS "Ccy"), trim_scale(p.amount))),
        CASE WHEN p.bic IS NOT NULL THEN xmlelement(name "CdtrAgt", xmlelement(name "FinInstnId", xmlelement(name "BICFI", p.bic))) END,
        xmlelement(name "Cdtr", xmlelement(name "Nm", left(p.payee, 140))),
        xmlelement(name "CdtrAcct", xmlelement(name "Id", CASE WHEN p.account ~ '^[A-Z]{2}[0-9]{2}[A-Z0-9]{1,30}$' THEN xmlelement(name "IBAN", p.account)
          ELSE xmlelement(name "Othr", xmlelement(name "Id", left(p.account, 34))) END)),
        xmlelement(name "RmtInf", xmlelement(name "Ustrd", p.reference))) ORDER BY p.payout_id) AS transfers
    FROM payment p GROUP BY p.debtor, p.debtor_account, p.legal_entity, p.currency
  )
  SELECT xmlserialize(document xmlelement(name "Document", xmlattributes('urn:iso:std:iso:20022:tech:xsd:pain.001.001.09' AS xmlns),
    xmlelement(name "CstmrCdtTrfInitn",
      xmlelement(name "GrpHdr", xmlelement(name "MsgId", format('PRM-%s-%s', the_program, payout_batch_xml.batch_id)),
        xmlelement(name "CreDtTm", to_char(prm.now() AT TIME ZONE the_zone, 'YYYY-MM-DD"T"HH24:MI:SS')),
        xmlelement(name "NbOfTxs", (SELECT sum(b.payments) FROM block b)), xmlelement(name "CtrlSum", (SELECT trim_scale(sum(b.total)) FROM block b)),
        xmlelement(name "InitgPty", xmlelement(name "Nm", (SELECT left(g.name, 140) FROM prm.program g WHERE g.program_id = the_program)))),
      (SELECT xmlagg(xmlelement(name "PmtInf",
        xmlelement(name "PmtInfId", left(concat_ws('-', 'PRM', payout_batch_xml.batch_id, b.legal_entity, b.currency), 35)), xmlelement(name "PmtMtd", 'TRF'),
        xmlelement(name "NbOfTxs", b.payments), xmlelement(name "CtrlSum", trim_scale(b.total)),
        xmlelement(name "ReqdExctnDt", xmlelement(name "Dt", coalesce(payout_batch_xml.options ->> 'execution_date', to_char(prm.now() AT TIME ZONE the_zone, 'YYYY-MM-DD')))),
        xmlelement(name "Dbtr", xmlelement(name "Nm", left(b.debtor, 140))),
        xmlelement(name "DbtrAcct", xmlelement(name "Id", CASE WHEN b.debtor_account ~ '^[A-Z]{2}[0-9]{2}[A-Z0-9]{1,30}$' THEN xmlelement(name "IBAN", b.debtor_account)
          ELSE xmlelement(name "Othr", xmlelement(name "Id", left(b.debtor_account, 34))) END)),
        xmlelement(name "DbtrAgt", xmlelement(name "FinInstnId",
          CASE WHEN e.bank ->> 'bic' IS NOT NULL THEN xmlelement(name "BICFI", e.bank ->> 'bic') ELSE xmlelement(name "Othr", xmlelement(name "Id", 'NOTPROVIDED')) END)),
        b.transfers) ORDER BY b.legal_entity, b.currency)
        FROM block b LEFT JOIN prm.legal_entity e ON e.program_id = the_program AND e.legal_entity = b.legal_entity))) AS text)
    INTO the_text WHERE EXISTS (SELECT 1 FROM block);
  IF the_text IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('batch %s has nothing to be paid', coalesce(payout_batch_xml.batch_id::text, 'NULL')),
      DETAIL = 'None of its payouts is pending.', HINT = 'SELECT DISTINCT batch_id FROM prm.payout WHERE state = ''pending''.';
  END IF;
  RETURN the_text::xml;
END
$prm$;
COMMENT ON FUNCTION prm.payout_batch_xml(bigint, jsonb, bigint) IS
'The pending payouts of a batch as a credit transfer initiation, ISO 20022 pain.001.001.09: a block for each paying company and currency. options: execution_date. Errors: 42704 nothing to be paid, 55000 bank details are missing.';

CREATE TYPE prm.journal_row AS (entry_id bigint, booked_on date, kind text, partner_id bigint, legal_entity text, account text, debit numeric, credit numeric, currency text, reference text);
COMMENT ON TYPE prm.journal_row IS 'A side of a posting: debit or credit of an account.';

CREATE FUNCTION prm.journal(date_from date, date_to date, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.journal_row
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
  SELECT l.entry_id, l.earned_on, l.kind, l.partner_id, l.legal_entity,
    CASE k.side WHEN 'debit' THEN coalesce(m.debit, 'unmapped') ELSE coalesce(m.credit, 'unmapped') END,
    CASE WHEN (k.side = 'debit') = n.is_plain THEN abs(l.amount) END, CASE WHEN (k.side = 'debit') <> n.is_plain THEN abs(l.amount) END,
    l.currency, coalesce(l.reason, l.idempotency_key)
  FROM prm.ledger l
  LEFT JOIN LATERAL (SELECT a.debit, a.credit FROM prm.account_map a
    WHERE a.program_id = l.program_id AND a.kind IN (l.kind, '*') AND a.legal_entity IN (coalesce(l.legal_entity, ''), '')
    ORDER BY a.kind = '*', a.legal_entity = '' LIMIT 1) m ON true
  CROSS JOIN (VALUES ('debit'), ('credit')) AS k(side)
  -- What is paid out and what a partner is charged is below zero by nature.
  CROSS JOIN LATERAL (SELECT (l.amount > 0) <> (l.kind IN ('payout', 'payout_fee', 'royalty', 'fee')) AS is_plain) n
  WHERE l.program_id = prm._check_program(journal.program_id) AND l.earned_on BETWEEN journal.date_from AND journal.date_to
  ORDER BY l.entry_id, k.side DESC
$prm$;
COMMENT ON FUNCTION prm.journal(date, date, bigint) IS
'The ledger entries of business days as journal rows, two for each: debit and credit by account_map (its kind and company, * for all kinds); an entry that takes one back is booked the other way round. Debits and credits are equal in each currency.';
