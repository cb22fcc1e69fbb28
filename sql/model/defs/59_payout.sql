
-- Payouts: what may change, what they sum to, and the views of settlement.

CREATE OR REPLACE FUNCTION prm._payout_guard() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_free constant text[] := ARRAY['state', 'reference', 'settled_at', 'attempts'];
BEGIN
  IF TG_OP <> 'UPDATE' OR to_jsonb(NEW) - the_free <> to_jsonb(OLD) - the_free THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('payout %s cannot be %s', OLD.payout_id, CASE TG_OP WHEN 'UPDATE' THEN 'changed' ELSE 'deleted' END),
      DETAIL = format('It is %s, of %s %s.', OLD.state, OLD.amount, OLD.currency),
      HINT = format('SELECT prm.settle_payout(%s, ''failed'') lets go of its statements.', OLD.payout_id), SCHEMA = 'prm', TABLE = 'payout';
  END IF;
  RETURN NEW;
END
$prm$;
REVOKE ALL ON FUNCTION prm._payout_guard() FROM PUBLIC;
COMMENT ON FUNCTION prm._payout_guard() IS 'Trigger of payout: only its state, reference and what settles it may change, and none is deleted (55000).';
CREATE OR REPLACE TRIGGER prm_00_guard BEFORE UPDATE OR DELETE ON prm.payout FOR EACH ROW EXECUTE FUNCTION prm._payout_guard();
CREATE OR REPLACE TRIGGER prm_10_machine_insert AFTER INSERT ON prm.payout
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger('payout', 'payout_id', 'state');
CREATE OR REPLACE TRIGGER prm_10_machine_update AFTER UPDATE ON prm.payout
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger('payout', 'payout_id', 'state');
CREATE OR REPLACE TRIGGER prm_10_machine_truncate BEFORE TRUNCATE ON prm.payout
  FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger('payout', 'payout_id', 'state');

CREATE OR REPLACE FUNCTION prm._payout_sum() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_sum numeric;
  the_strangers bigint;
BEGIN
  SELECT sum(c.amount), count(*) FILTER (WHERE s.payee_id <> NEW.payee_id OR s.currency <> NEW.currency OR s.legal_entity IS DISTINCT FROM NEW.legal_entity OR s.total <> c.amount)
    INTO the_sum, the_strangers
    FROM prm.payout_statement c JOIN prm.statement s ON s.program_id = c.program_id AND s.statement_id = c.statement_id
    WHERE c.program_id = NEW.program_id AND c.payout_id = NEW.payout_id;
  IF the_sum IS DISTINCT FROM NEW.amount OR the_strangers > 0 THEN
    RAISE EXCEPTION USING ERRCODE = '23514', MESSAGE = format('payout %s is not the sum of its statements', NEW.payout_id),
      DETAIL = format('It is of %s; its statements come to %s, %s of them of another payee, currency or company.', NEW.amount, coalesce(the_sum, 0), the_strangers),
      HINT = 'Payouts are made by SELECT * FROM prm.create_payouts().', SCHEMA = 'prm', TABLE = 'payout';
  END IF;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._payout_sum() FROM PUBLIC;
COMMENT ON FUNCTION prm._payout_sum() IS 'Trigger of payout: it comes with the statements that it pays, in one statement of SQL, and is their sum (23514).';
CREATE OR REPLACE TRIGGER prm_30_sum AFTER INSERT ON prm.payout FOR EACH ROW EXECUTE FUNCTION prm._payout_sum();

CREATE OR REPLACE FUNCTION prm._payout_claim_guard() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  IF TG_OP = 'UPDATE' AND to_jsonb(NEW) - 'released_at' = to_jsonb(OLD) - 'released_at' THEN
    RETURN NEW;
  END IF;
  -- What comes later than its payout would not be in its sum.
  IF TG_OP = 'INSERT' AND NOT EXISTS (SELECT 1 FROM prm.payout p JOIN prm.state_history h ON h.program_id = p.program_id AND h.machine = 'payout' AND h.subject_id = p.payout_id
      WHERE p.program_id = NEW.program_id AND p.payout_id = NEW.payout_id) THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('what payout %s pays cannot be changed', coalesce(OLD.payout_id, NEW.payout_id)),
    DETAIL = 'A payout claims its statements in the statement of SQL that makes it.', HINT = 'Settle it as failed, and make another one.',
    SCHEMA = 'prm', TABLE = 'payout_statement';
END
$prm$;
REVOKE ALL ON FUNCTION prm._payout_claim_guard() FROM PUBLIC;
COMMENT ON FUNCTION prm._payout_claim_guard() IS 'Trigger of payout_statement: a payout claims its statements when it is made, and only lets go of them or claims them again (55000).';
CREATE OR REPLACE TRIGGER prm_00_guard BEFORE INSERT OR UPDATE OR DELETE ON prm.payout_statement FOR EACH ROW EXECUTE FUNCTION prm._payout_claim_guard();

CREATE OR REPLACE FUNCTION prm._payout_request_row() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  IF NEW.is_forced AND prm._acting_partner(NEW.program_id) IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'a partner does not force payouts', DETAIL = 'A payout out of turn is the vendor''s to make.',
      HINT = 'SELECT prm.request_payout() asks for one in turn.', SCHEMA = 'prm', TABLE = 'payout_request';
  END IF;
  NEW.requested_by := prm.current_actor();
  NEW.requested_at := prm.now();
  NEW.recorded_at := clock_timestamp();
  RETURN NEW;
END
$prm$;
COMMENT ON FUNCTION prm._payout_request_row() IS 'Trigger of payout_request: fills who and when. Error 42501 where a partner would force one.';
CREATE OR REPLACE TRIGGER prm_00_request BEFORE INSERT ON prm.payout_request FOR EACH ROW EXECUTE FUNCTION prm._payout_request_row();

CREATE OR REPLACE VIEW prm.v_statement WITH (security_invoker = true) AS
  SELECT s.program_id, s.statement_id, s.payee_id, y.legal_name AS payee, s.partner_id, p.name AS partner, s.legal_entity, s.currency, s.period, s.period_end, s.period_kind,
    s.state, s.total, s.entries, s.receivable, s.is_forced, s.closed_at, o.payout_id, o.state AS payout_state, o.settled_at AS paid_at, o.reference,
    s.pay_currency, s.pay_total, s.exchange_rate, s.carried, s.debt_since, s.cancels_id
  FROM prm.statement s
  JOIN prm.partner p ON p.program_id = s.program_id AND p.partner_id = s.partner_id
  LEFT JOIN prm.payee y ON y.program_id = s.program_id AND y.payee_id = s.payee_id
  LEFT JOIN prm.payout_statement c ON c.program_id = s.program_id AND c.statement_id = s.statement_id AND c.released_at IS NULL
  LEFT JOIN prm.payout o ON o.program_id = c.program_id AND o.payout_id = c.payout_id;
COMMENT ON VIEW prm.v_statement IS 'The statements with their payee, state and payout.';
COMMENT ON COLUMN prm.v_statement.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_statement.statement_id IS 'Number of the statement; my_statement() has its lines.';
COMMENT ON COLUMN prm.v_statement.payee_id IS 'Who is paid.';
COMMENT ON COLUMN prm.v_statement.payee IS 'Its legal name.';
COMMENT ON COLUMN prm.v_statement.partner_id IS 'The partner of the payee; who earned it may be others, who delegated to it.';
COMMENT ON COLUMN prm.v_statement.partner IS 'Name of that partner.';
COMMENT ON COLUMN prm.v_statement.legal_entity IS 'The vendor''s company that pays.';
COMMENT ON COLUMN prm.v_statement.currency IS 'ISO 4217.';
COMMENT ON COLUMN prm.v_statement.period IS 'First day of the period.';
COMMENT ON COLUMN prm.v_statement.period_end IS 'Last day of the period.';
COMMENT ON COLUMN prm.v_statement.period_kind IS 'month, half_month or quarter.';
COMMENT ON COLUMN prm.v_statement.state IS 'settled, approved, invoiced, paid, disputed, carried (a debt that a later statement has) or cancelled.';
COMMENT ON COLUMN prm.v_statement.total IS 'Sum of its lines; below zero the payee owes it.';
COMMENT ON COLUMN prm.v_statement.entries IS 'Number of its lines.';
COMMENT ON COLUMN prm.v_statement.receivable IS 'The part of a debt that is royalties and fees, which are never written off.';
COMMENT ON COLUMN prm.v_statement.is_forced IS 'Whether it was made out of turn.';
COMMENT ON COLUMN prm.v_statement.closed_at IS 'When it was made.';
COMMENT ON COLUMN prm.v_statement.payout_id IS 'The payout that pays it.';
COMMENT ON COLUMN prm.v_statement.payout_state IS 'pending, paid or failed.';
COMMENT ON COLUMN prm.v_statement.paid_at IS 'When that payout was settled.';
COMMENT ON COLUMN prm.v_statement.reference IS 'Reference of the payment.';
COMMENT ON COLUMN prm.v_statement.pay_currency IS 'What it was converted to when it was made; NULL: it was not.';
COMMENT ON COLUMN prm.v_statement.pay_total IS 'total in that currency.';
COMMENT ON COLUMN prm.v_statement.exchange_rate IS 'The rate of that conversion.';
COMMENT ON COLUMN prm.v_statement.carried IS 'What was brought forward of debts, zero or less.';
COMMENT ON COLUMN prm.v_statement.debt_since IS 'Of a total below zero: the end of the period that it comes from.';
COMMENT ON COLUMN prm.v_statement.cancels_id IS 'The statement that it takes back.';

CREATE OR REPLACE VIEW prm.v_payout WITH (security_invoker = true) AS
  SELECT o.program_id, o.payout_id, o.batch_id, o.payee_id, y.legal_name AS payee, o.partner_id, o.legal_entity, o.currency, o.state, o.amount, o.fee, o.fee_borne_by, o.net,
    o.pay_currency, o.pay_amount, o.exchange_rate, o.is_forced, o.method, o.reference, o.due_on, o.created_at, o.settled_at, o.attempts, c.statements
  FROM prm.payout o
  LEFT JOIN prm.payee y ON y.program_id = o.program_id AND y.payee_id = o.payee_id
  LEFT JOIN LATERAL (SELECT count(*) AS statements FROM prm.payout_statement i WHERE i.program_id = o.program_id AND i.payout_id = o.payout_id) c ON true;
COMMENT ON VIEW prm.v_payout IS 'The payouts with their payee and how many statements each pays.';
COMMENT ON COLUMN prm.v_payout.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_payout.payout_id IS 'Number of the payout.';
COMMENT ON COLUMN prm.v_payout.batch_id IS 'Payouts of one create_payouts() have one number.';
COMMENT ON COLUMN prm.v_payout.payee_id IS 'Who is paid.';
COMMENT ON COLUMN prm.v_payout.payee IS 'Its legal name.';
COMMENT ON COLUMN prm.v_payout.partner_id IS 'The partner of the payee.';
COMMENT ON COLUMN prm.v_payout.legal_entity IS 'The vendor''s company that pays.';
COMMENT ON COLUMN prm.v_payout.currency IS 'Currency of amount, fee and net.';
COMMENT ON COLUMN prm.v_payout.state IS 'pending, paid or failed.';
COMMENT ON COLUMN prm.v_payout.amount IS 'Sum of the statements that it pays, debts taken off.';
COMMENT ON COLUMN prm.v_payout.fee IS 'What the payment costs.';
COMMENT ON COLUMN prm.v_payout.fee_borne_by IS 'vendor or payee.';
COMMENT ON COLUMN prm.v_payout.net IS 'What the payee gets: amount, less the fee where the payee bears it.';
COMMENT ON COLUMN prm.v_payout.pay_currency IS 'Currency of the payment.';
COMMENT ON COLUMN prm.v_payout.pay_amount IS 'net in that currency.';
COMMENT ON COLUMN prm.v_payout.exchange_rate IS 'The rate of that conversion; NULL: none.';
COMMENT ON COLUMN prm.v_payout.is_forced IS 'Whether it was made out of turn.';
COMMENT ON COLUMN prm.v_payout.method IS 'How it is paid, from the settlement_profile.';
COMMENT ON COLUMN prm.v_payout.reference IS 'Reference of the payment.';
COMMENT ON COLUMN prm.v_payout.due_on IS 'Business day on which it was made.';
COMMENT ON COLUMN prm.v_payout.created_at IS 'When it was made.';
COMMENT ON COLUMN prm.v_payout.settled_at IS 'When it was paid or failed.';
COMMENT ON COLUMN prm.v_payout.attempts IS 'How often it was sent.';
COMMENT ON COLUMN prm.v_payout.statements IS 'How many statements it pays.';

CREATE OR REPLACE VIEW prm.v_dispute WITH (security_invoker = true) AS
  SELECT d.program_id, d.dispute_id, d.entry_id, d.partner_id, d.reason, d.opened_at, d.opened_by,
    CASE WHEN EXISTS (SELECT 1 FROM prm._standing_hold h WHERE h.program_id = d.program_id AND h.entry_id = d.entry_id AND h.kind = 'dispute')
      AND NOT EXISTS (SELECT 1 FROM prm.dispute n WHERE n.program_id = d.program_id AND n.entry_id = d.entry_id AND n.dispute_id > d.dispute_id)
      THEN 'open' ELSE 'resolved' END AS state,
    l.amount, l.currency, l.kind
  FROM prm.dispute d JOIN prm.ledger l ON l.program_id = d.program_id AND l.entry_id = d.entry_id;
COMMENT ON VIEW prm.v_dispute IS 'What partners dispute, with the entry.';
COMMENT ON COLUMN prm.v_dispute.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_dispute.dispute_id IS 'Number of the dispute.';
COMMENT ON COLUMN prm.v_dispute.entry_id IS 'The ledger entry; resolve_dispute() takes it.';
COMMENT ON COLUMN prm.v_dispute.partner_id IS 'The partner whose entry it is.';
COMMENT ON COLUMN prm.v_dispute.reason IS 'What is wrong with it.';
COMMENT ON COLUMN prm.v_dispute.opened_at IS 'Since when.';
COMMENT ON COLUMN prm.v_dispute.opened_by IS 'Who says so.';
COMMENT ON COLUMN prm.v_dispute.state IS 'open or resolved.';
COMMENT ON COLUMN prm.v_dispute.amount IS 'Amount of the entry.';
COMMENT ON COLUMN prm.v_dispute.currency IS 'Its currency.';
COMMENT ON COLUMN prm.v_dispute.kind IS 'Its kind.';

CREATE OR REPLACE VIEW prm.v_aged_balance WITH (security_invoker = true) AS
  SELECT x.program_id, x.partner_id, p.name AS partner, x.payee_id, x.legal_entity, x.currency, x.side,
    sum(x.amount) FILTER (WHERE x.age < 0) AS not_due, sum(x.amount) FILTER (WHERE x.age BETWEEN 0 AND 30) AS days_0_30,
    sum(x.amount) FILTER (WHERE x.age BETWEEN 31 AND 60) AS days_31_60, sum(x.amount) FILTER (WHERE x.age BETWEEN 61 AND 90) AS days_61_90,
    sum(x.amount) FILTER (WHERE x.age > 90) AS days_over_90, sum(x.amount) AS total
  FROM (
    SELECT s.program_id, s.partner_id, s.payee_id, s.legal_entity, s.currency, CASE k.part WHEN 1 THEN CASE WHEN s.total >= 0 THEN 'payable' ELSE 'debt' END ELSE 'receivable' END AS side,
      CASE k.part WHEN 1 THEN s.total + s.receivable ELSE -s.receivable END AS amount,
      (prm.now() AT TIME ZONE prm._program_time_zone(s.program_id))::date - coalesce(s.debt_since, s.period_end) - 1 AS age
    FROM prm.statement s CROSS JOIN (VALUES (1), (2)) AS k(part) WHERE s.state NOT IN ('paid', 'carried', 'cancelled')
    UNION ALL
    SELECT o.program_id, o.partner_id, nullif(o.payee_id, 0), nullif(o.legal_entity, ''), o.currency, 'open' AS side, o.amount,
      (prm.now() AT TIME ZONE prm._program_time_zone(o.program_id))::date - o.due_on
    FROM prm.ledger_open o
    UNION ALL
    SELECT l.program_id, l.partner_id, l.payee_id, l.legal_entity, l.currency, 'draw' AS side, -l.amount, (prm.now() AT TIME ZONE prm._program_time_zone(l.program_id))::date - l.earned_on
    FROM prm.ledger l WHERE (l.kind IN ('draw', 'payout', 'carry') OR l.kind = 'reversal' AND l.plan_id IS NULL) AND l.kind IN ('draw', 'reversal') AND l.component = 'recoverable'
  ) x
  JOIN prm.partner p ON p.program_id = x.program_id AND p.partner_id = x.partner_id
  WHERE x.amount <> 0
  GROUP BY x.program_id, x.partner_id, p.name, x.payee_id, x.legal_entity, x.currency, x.side;
COMMENT ON VIEW prm.v_aged_balance IS 'What the vendor owes and is owed, by age: statements from the end of their period, open entries from the day they are due, draws from theirs. Below zero: the partner owes it.';
COMMENT ON COLUMN prm.v_aged_balance.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_aged_balance.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_aged_balance.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_aged_balance.payee_id IS 'The payee; NULL for what is on no statement.';
COMMENT ON COLUMN prm.v_aged_balance.legal_entity IS 'The vendor''s company.';
COMMENT ON COLUMN prm.v_aged_balance.currency IS 'ISO 4217; currencies are never added.';
COMMENT ON COLUMN prm.v_aged_balance.side IS 'payable (unpaid statements), debt (statements below zero), receivable (royalties and fees in them), open (on no statement yet), draw (what was drawn and not repaid).';
COMMENT ON COLUMN prm.v_aged_balance.not_due IS 'Not due yet.';
COMMENT ON COLUMN prm.v_aged_balance.days_0_30 IS 'Due for up to 30 days.';
COMMENT ON COLUMN prm.v_aged_balance.days_31_60 IS 'Due for 31 to 60 days.';
COMMENT ON COLUMN prm.v_aged_balance.days_61_90 IS 'Due for 61 to 90 days.';
COMMENT ON COLUMN prm.v_aged_balance.days_over_90 IS 'Due for longer.';
COMMENT ON COLUMN prm.v_aged_balance.total IS 'All of it.';
