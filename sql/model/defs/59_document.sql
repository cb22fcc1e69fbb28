
-- Documents: what may change, and what cancelling or deleting one does to its statements.

CREATE OR REPLACE FUNCTION prm._document_guard() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_free constant text[] := ARRAY['cancelled_at', 'cancelled_by', 'reason'];
  fault record;
  the_statements bigint[];
BEGIN
  IF TG_OP = 'UPDATE' AND (OLD.cancelled_at IS NOT NULL OR to_jsonb(NEW) - the_free <> to_jsonb(OLD) - the_free) THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('document %s cannot be changed', OLD.document_no),
      DETAIL = 'An issued document stands as it is, or is cancelled.', HINT = format('SELECT prm.cancel_document(%s, ''reason'').', OLD.document_id), SCHEMA = 'prm', TABLE = 'billing_document';
  END IF;
  SELECT s.statement_id, s.state, p.payout_id INTO fault FROM prm.billing_document_statement c
    JOIN prm.statement s ON s.program_id = c.program_id AND s.statement_id = c.statement_id
    LEFT JOIN prm.payout_statement p ON p.program_id = c.program_id AND p.statement_id = c.statement_id AND p.released_at IS NULL
    WHERE c.program_id = OLD.program_id AND c.document_id = OLD.document_id AND c.released_at IS NULL AND (s.state = 'paid' OR p.payout_id IS NOT NULL) LIMIT 1;
  IF fault.statement_id IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('document %s cannot be %s', OLD.document_no, CASE TG_OP WHEN 'DELETE' THEN 'deleted' ELSE 'cancelled' END),
      DETAIL = format('Statement %s is %s, by payout %s.', fault.statement_id, fault.state, coalesce(fault.payout_id::text, '(none)')),
      HINT = 'A payment is taken back first: prm.settle_payout(payout_id, ''failed'').', SCHEMA = 'prm', TABLE = 'billing_document';
  END IF;
  SELECT array_agg(c.statement_id) INTO the_statements FROM prm.billing_document_statement c
    WHERE c.program_id = OLD.program_id AND c.document_id = OLD.document_id AND c.released_at IS NULL;
  IF TG_OP = 'DELETE' THEN
    DELETE FROM prm.billing_document_statement c WHERE c.program_id = OLD.program_id AND c.document_id = OLD.document_id;
  ELSE
    UPDATE prm.billing_document_statement c SET released_at = NEW.cancelled_at WHERE c.program_id = OLD.program_id AND c.document_id = OLD.document_id AND c.released_at IS NULL;
  END IF;
  UPDATE prm.statement s SET state = 'settled' WHERE s.program_id = OLD.program_id AND s.statement_id = ANY (the_statements) AND s.state = 'invoiced';
  RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$prm$;
REVOKE ALL ON FUNCTION prm._document_guard() FROM PUBLIC;
COMMENT ON FUNCTION prm._document_guard() IS
'Trigger of billing_document: an issued document is only cancelled or deleted, which returns its statements to settled. Error 55000 where it was paid, a payout is under way, or anything else would change.';
CREATE OR REPLACE TRIGGER prm_00_guard BEFORE UPDATE OR DELETE ON prm.billing_document FOR EACH ROW EXECUTE FUNCTION prm._document_guard();

COMMENT ON TABLE prm.tax_rule IS 'How payees are taxed; payee.tax_rule names one. A close writes the taxes as entries of kind tax on the statement.';
COMMENT ON COLUMN prm.tax_rule.tax_rule IS 'Short name, the key.';
COMMENT ON COLUMN prm.tax_rule.label IS 'Name for people.';
COMMENT ON COLUMN prm.tax_rule.vat_rate IS 'Value added tax, 0.19 = 19 percent: added to what plans earn net, contained in what plans with includes_vat earn.';
COMMENT ON COLUMN prm.tax_rule.withholding_rate IS 'Share of the net amount that the vendor keeps for the authorities.';
COMMENT ON COLUMN prm.tax_rule.note IS 'What stands on the documents, such as reverse charge.';
COMMENT ON COLUMN prm.commission_plan.includes_vat IS 'Whether what the plan pays contains the value added tax of the payee; as it is when an entry is written.';
COMMENT ON COLUMN prm.legal_entity.bank IS 'Account from which it pays: {"iban": ..., "bic": ...}, or account in place of iban.';
COMMENT ON TABLE prm.document_series IS 'The last number of documents, per paying company and kind.';
COMMENT ON COLUMN prm.document_series.legal_entity IS 'The paying company; empty: none.';
COMMENT ON COLUMN prm.document_series.kind IS 'invoice or credit_note.';
COMMENT ON COLUMN prm.document_series.prefix IS 'What stands before the number.';
COMMENT ON COLUMN prm.document_series.last_no IS 'The last number that was given.';
COMMENT ON TABLE prm.billing_document IS 'Self-billing invoices and credit notes: what the vendor issues for its payees. Issued by create_documents(), only cancelled or deleted afterwards, which returns their statements to settled.';
COMMENT ON COLUMN prm.billing_document.document_id IS 'Number of the row.';
COMMENT ON COLUMN prm.billing_document.kind IS 'invoice, or credit_note below zero.';
COMMENT ON COLUMN prm.billing_document.document_no IS 'Number of the document, without gaps per paying company and kind.';
COMMENT ON COLUMN prm.billing_document.payee_id IS 'In whose name it is.';
COMMENT ON COLUMN prm.billing_document.partner_id IS 'The partner of the payee.';
COMMENT ON COLUMN prm.billing_document.legal_entity IS 'The vendor''s company.';
COMMENT ON COLUMN prm.billing_document.currency IS 'ISO 4217.';
COMMENT ON COLUMN prm.billing_document.issued_on IS 'Business day.';
COMMENT ON COLUMN prm.billing_document.net IS 'Without value added tax.';
COMMENT ON COLUMN prm.billing_document.vat IS 'Value added tax.';
COMMENT ON COLUMN prm.billing_document.gross IS 'net and vat.';
COMMENT ON COLUMN prm.billing_document.withholding IS 'What the vendor keeps for the authorities.';
COMMENT ON COLUMN prm.billing_document.carried IS 'Debts of earlier periods among its statements, zero or less; they were documented there.';
COMMENT ON COLUMN prm.billing_document.payable IS 'gross less withholding and what was carried: the sum of its statements.';
COMMENT ON COLUMN prm.billing_document.note IS 'The note of the tax rule.';
COMMENT ON COLUMN prm.billing_document.created_by IS 'Who issued it.';
COMMENT ON COLUMN prm.billing_document.cancelled_at IS 'When it was cancelled.';
COMMENT ON COLUMN prm.billing_document.cancelled_by IS 'By whom.';
COMMENT ON COLUMN prm.billing_document.reason IS 'Why.';
COMMENT ON TABLE prm.billing_document_statement IS 'The statements of each document; a statement has one document at a time.';
COMMENT ON COLUMN prm.billing_document_statement.document_id IS 'The document.';
COMMENT ON COLUMN prm.billing_document_statement.statement_id IS 'The statement.';
COMMENT ON COLUMN prm.billing_document_statement.partner_id IS 'The partner of the payee.';
COMMENT ON COLUMN prm.billing_document_statement.released_at IS 'When the document was cancelled; NULL: it stands.';
COMMENT ON TABLE prm.account_map IS 'On which accounts ledger entries are booked, for journal(): of the kind and company, else of the kind, else of * .';
COMMENT ON COLUMN prm.account_map.kind IS 'Kind of the ledger entry, * for all.';
COMMENT ON COLUMN prm.account_map.legal_entity IS 'The paying company; empty: all.';
COMMENT ON COLUMN prm.account_map.debit IS 'Account of the debit side, such as the cost of commissions; of payouts what is owed to partners.';
COMMENT ON COLUMN prm.account_map.credit IS 'Account of the credit side, such as what is owed to partners; of payouts the bank.';
COMMENT ON COLUMN prm.statement.vat IS 'Value added tax among its lines.';
COMMENT ON COLUMN prm.statement.vat_included IS 'Value added tax that other lines contain.';
COMMENT ON COLUMN prm.statement.withholding IS 'What was withheld, as a positive amount.';
COMMENT ON COLUMN prm.ledger_open.tax_class IS '0: not taxed; 1: net, 2: value added tax is contained.';
