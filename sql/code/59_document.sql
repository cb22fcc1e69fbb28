
-- Documents: self-billing invoices and credit notes for statements.

CREATE TYPE prm.document_row AS (document_id bigint, document_no text, kind text, payee_id bigint, payee text, legal_entity text, currency text, statements bigint,
  net numeric, vat numeric, gross numeric, withholding numeric, payable numeric, carried numeric);
COMMENT ON TYPE prm.document_row IS 'A document that create_documents() issued.';

CREATE FUNCTION prm.create_documents(options jsonb DEFAULT '{}', program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.document_row
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(create_documents.program_id);
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(the_program))::date;
  the_payee bigint;
  the_grouping text := create_documents.options ->> 'grouping';
BEGIN
  PERFORM prm._check_settler();
  PERFORM prm._check_options(create_documents.options, ARRAY['payee_id', 'grouping'], 'create_documents');
  the_payee := prm._payee_option(the_program, create_documents.options);
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
'Issues self-billing invoices, and credit notes where a total is below zero, for approved statements and for debts that were carried on: one for each, or one for all of a payee, paying company and currency (settlement_profile.document_grouping). A document says what was earned; what was brought forward of earlier debts stands apart, in carried. The approved statements are invoiced then. Numbers run without gaps per paying company and kind. options: payee_id, grouping. Errors: 22023 a bad option, 42704 no such payee, 42501 not the owner.';

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
