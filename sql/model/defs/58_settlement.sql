
-- Settlement: what is open, what a statement may be, disputes, and what the tables mean.

-- Every entry is open until it stands on a statement. What is paid out is no entry that a statement could hold.
CREATE OR REPLACE FUNCTION prm._ledger_opened() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_programs bigint[];
  the_program bigint;
  the_zone text;
  the_partners bigint[];
  the_deferred bigint[];
  the_gross bigint[];
BEGIN
  SELECT array_agg(DISTINCT n.program_id) INTO the_programs FROM new_rows n;
  FOREACH the_program IN ARRAY coalesce(the_programs, '{}')
  LOOP
    the_zone := prm._program_time_zone(the_program);
    -- What a draw adds depends on all that is earned: no close meanwhile, or it would count without what is coming.
    IF EXISTS (SELECT 1 FROM prm.draw_agreement a WHERE a.program_id = the_program) THEN
      SELECT array_agg(DISTINCT n.partner_id) INTO the_partners FROM new_rows n WHERE n.program_id = the_program;
      IF EXISTS (SELECT 1 FROM prm.draw_agreement a WHERE a.program_id = the_program AND a.partner_id = ANY (the_partners)) THEN
        PERFORM prm._lock_calendar(the_program, false);
      END IF;
    END IF;
    SELECT array_agg(p.plan_id) FILTER (WHERE p.pay_on = 'collected'), array_agg(p.plan_id) FILTER (WHERE p.includes_vat) INTO the_deferred, the_gross
      FROM prm.commission_plan p WHERE p.program_id = the_program AND (p.pay_on = 'collected' OR p.includes_vat);
    INSERT INTO prm.ledger_open (program_id, partner_id, entry_id, payee_id, eligible_at, due_on, part, is_receivable, is_owed, is_deferred, tax_class, amount, currency, legal_entity, is_carry)
      SELECT n.program_id, n.partner_id, n.entry_id, coalesce(n.payee_id, 0), n.eligible_at,
        greatest(n.earned_on, (n.eligible_at AT TIME ZONE the_zone)::date), 1, n.kind IN ('royalty', 'fee') OR n.kind = 'carry' AND n.component = 'receivable', n.kind IN ('clawback', 'royalty', 'fee', 'carry'),
        n.earning_event_id IS NOT NULL AND coalesce(n.plan_id = ANY (the_deferred), false),
        -- What cancels a fund's reimbursement or a draw is taxed as little as they are.
        CASE WHEN n.kind NOT IN ('commission', 'override', 'bonus', 'adjustment', 'reversal', 'clawback')
          OR n.kind = 'reversal' AND n.plan_id IS NULL AND n.component IN ('reimbursement', 'recoverable', 'guarantee') THEN 0 WHEN n.plan_id = ANY (the_gross) THEN 2 ELSE 1 END, n.amount, n.currency, coalesce(n.legal_entity, ''),
        n.kind = 'carry'
      FROM new_rows n
      WHERE n.program_id = the_program AND (n.kind NOT IN ('payout', 'payout_fee') OR n.component = 'received')
        -- A close writes taxes together with their lines.
        AND NOT (n.kind = 'tax' AND n.explain ? 'statement')
        -- What closes a debt stands beside its statement, as a payout does.
        AND NOT (n.kind = 'carry' AND n.component = 'closed')
      ORDER BY n.entry_id;
  END LOOP;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._ledger_opened() FROM PUBLIC;
COMMENT ON FUNCTION prm._ledger_opened() IS
'Trigger of ledger: lists each new entry in ledger_open, with the business day from which it may be settled. What was paid out is not listed.';
CREATE OR REPLACE TRIGGER prm_50_open AFTER INSERT ON prm.ledger REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION prm._ledger_opened();

-- Statements: the total is the sum of the lines. A statement says how many lines it has and what they come to, they come all
-- in the very statement of SQL that makes it, and nothing of it changes later.
CREATE OR REPLACE FUNCTION prm._statement_lines() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  batch record;
  said record;
  fault record;
BEGIN
  FOR batch IN
    SELECT s.program_id, array_agg(s.statement_id ORDER BY s.statement_id) AS ids, array_agg(s.amount ORDER BY s.statement_id) AS amounts,
      array_agg(s.lines ORDER BY s.statement_id) AS counts
    FROM (SELECT n.program_id, n.statement_id, sum(n.amount) AS amount, count(*) AS lines FROM new_rows n GROUP BY n.program_id, n.statement_id) s
    GROUP BY s.program_id
  LOOP
    -- All at once and in order, so that they are compared without looking up each.
    SELECT array_agg(t.statement_id ORDER BY t.statement_id) AS ids, array_agg(t.total ORDER BY t.statement_id) AS amounts, array_agg(t.entries ORDER BY t.statement_id) AS counts
      INTO said FROM prm.statement t WHERE t.program_id = batch.program_id AND t.statement_id = ANY (batch.ids);
    CONTINUE WHEN said.ids = batch.ids AND said.amounts = batch.amounts AND said.counts = batch.counts;
    SELECT i.statement_id, i.amount, i.lines, s.total, s.entries INTO fault
      FROM unnest(batch.ids, batch.amounts, batch.counts) AS i(statement_id, amount, lines)
      LEFT JOIN unnest(said.ids, said.amounts, said.counts) AS s(statement_id, total, entries) ON s.statement_id = i.statement_id
      WHERE s.total IS NULL OR s.total <> i.amount OR s.entries <> i.lines
      ORDER BY i.statement_id LIMIT 1;
    IF fault.statement_id IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = '23514',
        MESSAGE = CASE WHEN fault.total IS NULL THEN format('there is no statement %s', fault.statement_id)
                       ELSE format('the lines of statement %s are not what it says', fault.statement_id) END,
        DETAIL = format('%s lines came to %s; the statement has %s lines and a total of %s.', fault.lines, fault.amount,
          coalesce(fault.entries::text, 'no'), coalesce(fault.total::text, 'nothing')),
        HINT = 'All lines of a statement are written by one statement of SQL, together with it: SELECT * FROM prm.close_period(...).',
        SCHEMA = 'prm', TABLE = 'statement_line';
    END IF;
  END LOOP;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._statement_lines() FROM PUBLIC;
COMMENT ON FUNCTION prm._statement_lines() IS
'Trigger of statement_line: the lines that come must be as many as their statement says and sum to its total (23514), so no line can be added to a statement later.';
CREATE OR REPLACE TRIGGER prm_20_total AFTER INSERT ON prm.statement_line REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION prm._statement_lines();
ALTER TABLE prm.statement_line ENABLE ALWAYS TRIGGER prm_20_total;

CREATE OR REPLACE FUNCTION prm._statement_complete() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  IF (SELECT l.entry_id FROM prm.statement_line l WHERE l.program_id = NEW.program_id AND l.statement_id = NEW.statement_id LIMIT 1) IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '23514', MESSAGE = format('statement %s has no lines', NEW.statement_id),
      DETAIL = format('It says that it has %s, which come to %s.', NEW.entries, NEW.total),
      HINT = 'Statements are made by SELECT * FROM prm.close_period(...).', SCHEMA = 'prm', TABLE = 'statement';
  END IF;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._statement_complete() FROM PUBLIC;
COMMENT ON FUNCTION prm._statement_complete() IS 'Trigger of statement: it comes with its lines, in one statement of SQL (23514).';
CREATE OR REPLACE TRIGGER prm_30_complete AFTER INSERT ON prm.statement FOR EACH ROW EXECUTE FUNCTION prm._statement_complete();

CREATE OR REPLACE FUNCTION prm._statement_guard() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  IF TG_OP <> 'UPDATE' OR to_jsonb(NEW) - 'state' <> to_jsonb(OLD) - 'state' THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('statement %s cannot be %s', OLD.statement_id, CASE TG_OP WHEN 'UPDATE' THEN 'changed' ELSE 'deleted' END),
      DETAIL = format('It is %s; a statement and its lines stand for good, only its state goes on.', OLD.state),
      HINT = CASE WHEN OLD.state IN ('settled', 'approved') THEN format('SELECT prm.cancel_statement(%s, ''reason'') frees its entries for the next statement.', OLD.statement_id)
        WHEN OLD.state = 'invoiced' THEN 'Cancel its document first: prm.cancel_document(document_id, ''reason'').'
        ELSE 'Post an adjustment, which goes on the next statement.' END, SCHEMA = 'prm', TABLE = 'statement';
  END IF;
  RETURN NEW;
END
$prm$;
REVOKE ALL ON FUNCTION prm._statement_guard() FROM PUBLIC;
COMMENT ON FUNCTION prm._statement_guard() IS 'Trigger of statement: only its state may change, and none is deleted (55000).';
CREATE OR REPLACE TRIGGER prm_00_guard BEFORE UPDATE OR DELETE ON prm.statement
  FOR EACH ROW EXECUTE FUNCTION prm._statement_guard();
CREATE OR REPLACE TRIGGER prm_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prm.statement_line
  FOR EACH STATEMENT EXECUTE FUNCTION prm.append_only();
ALTER TABLE prm.statement_line ENABLE ALWAYS TRIGGER prm_append_only;
CREATE OR REPLACE TRIGGER prm_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prm.statement_share
  FOR EACH STATEMENT EXECUTE FUNCTION prm.append_only();
ALTER TABLE prm.statement_share ENABLE ALWAYS TRIGGER prm_append_only;
CREATE OR REPLACE TRIGGER prm_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prm.dispute
  FOR EACH STATEMENT EXECUTE FUNCTION prm.append_only();
ALTER TABLE prm.dispute ENABLE ALWAYS TRIGGER prm_append_only;
CREATE OR REPLACE TRIGGER prm_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prm.payout_request
  FOR EACH STATEMENT EXECUTE FUNCTION prm.append_only();
ALTER TABLE prm.payout_request ENABLE ALWAYS TRIGGER prm_append_only;

CREATE OR REPLACE TRIGGER prm_10_machine_insert AFTER INSERT ON prm.statement
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger('statement', 'statement_id', 'state');
CREATE OR REPLACE TRIGGER prm_10_machine_update AFTER UPDATE ON prm.statement
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger('statement', 'statement_id', 'state');
CREATE OR REPLACE TRIGGER prm_10_machine_truncate BEFORE TRUNCATE ON prm.statement
  FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger('statement', 'statement_id', 'state');

ALTER TABLE prm.statement DROP CONSTRAINT IF EXISTS statement_total_check;
ALTER TABLE prm.statement ADD CONSTRAINT statement_total_check CHECK (prm.check_finite(total, 'statement.total'));
ALTER TABLE prm.settlement_profile DROP CONSTRAINT IF EXISTS settlement_profile_minor_unit_check;
ALTER TABLE prm.settlement_profile ADD CONSTRAINT settlement_profile_minor_unit_check
  CHECK ((pay_currency IS NULL OR prm.minor_units(pay_currency) IS NOT NULL) AND (currency IS NULL OR prm.minor_units(currency) IS NOT NULL));
ALTER TABLE prm.draw_agreement DROP CONSTRAINT IF EXISTS draw_agreement_minor_unit_check;
ALTER TABLE prm.draw_agreement ADD CONSTRAINT draw_agreement_minor_unit_check CHECK (amount = prm.round_money(amount, currency));
ALTER TABLE prm.payout_request DROP CONSTRAINT IF EXISTS payout_request_minor_unit_check;
ALTER TABLE prm.payout_request ADD CONSTRAINT payout_request_minor_unit_check CHECK (currency IS NULL OR prm.minor_units(currency) IS NOT NULL);
ALTER TABLE prm.payout_fee_rule DROP CONSTRAINT IF EXISTS payout_fee_rule_minor_unit_check;
ALTER TABLE prm.payout_fee_rule ADD CONSTRAINT payout_fee_rule_minor_unit_check CHECK (prm.minor_units(currency) IS NOT NULL);

-- Disputes. A partner may write its own; the hold that follows is written with the rights of the owner.
CREATE OR REPLACE FUNCTION prm._dispute_row() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  NEW.opened_by := prm.current_actor();
  NEW.opened_at := prm.now();
  RETURN NEW;
END
$prm$;
COMMENT ON FUNCTION prm._dispute_row() IS 'Trigger of dispute: fills who and when.';
CREATE OR REPLACE TRIGGER prm_00_dispute BEFORE INSERT ON prm.dispute FOR EACH ROW EXECUTE FUNCTION prm._dispute_row();

CREATE OR REPLACE FUNCTION prm._dispute_opened() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  entry record;
  the_statement bigint;
  the_state text;
BEGIN
  -- No close meanwhile; and one dispute of an entry at a time.
  PERFORM prm._lock_calendar(NEW.program_id, false);
  SELECT l.partner_id, l.kind INTO entry FROM prm.ledger l WHERE l.program_id = NEW.program_id AND l.entry_id = NEW.entry_id;
  IF entry.partner_id IS DISTINCT FROM NEW.partner_id THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = format('entry %s is not partner %s''s', NEW.entry_id, NEW.partner_id),
      DETAIL = 'A partner disputes its own entries.', HINT = 'SELECT entry_id FROM prm.v_ledger lists them.', SCHEMA = 'prm', TABLE = 'dispute';
  END IF;
  PERFORM l.entry_id FROM prm.ledger l WHERE l.program_id = NEW.program_id AND l.entry_id = NEW.entry_id FOR NO KEY UPDATE;
  SELECT s.statement_id, s.state INTO the_statement, the_state FROM prm.statement_line l
    JOIN prm.statement s ON s.program_id = l.program_id AND s.statement_id = l.statement_id
    WHERE l.program_id = NEW.program_id AND l.entry_id = NEW.entry_id AND s.state <> 'cancelled' ORDER BY l.part DESC LIMIT 1 FOR UPDATE OF s;
  IF EXISTS (SELECT 1 FROM prm._standing_hold h WHERE h.program_id = NEW.program_id AND h.entry_id = NEW.entry_id AND h.kind = 'dispute') THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('entry %s is disputed already', NEW.entry_id),
      DETAIL = 'An entry has one open dispute.', HINT = 'SELECT prm.resolve_dispute(...) ends it.', SCHEMA = 'prm', TABLE = 'dispute';
  END IF;
  -- What is left of it can still be held.
  IF the_state IN ('invoiced', 'paid', 'carried') AND NOT EXISTS (SELECT 1 FROM prm.ledger_open o
      WHERE o.program_id = NEW.program_id AND o.partner_id = NEW.partner_id AND o.entry_id = NEW.entry_id) THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('entry %s stands on statement %s, which is %s', NEW.entry_id, the_statement, the_state),
      DETAIL = 'What was invoiced, paid or carried on is corrected by an adjustment on the next statement.',
      HINT = 'Ask the vendor for an adjustment: prm.post_adjustment(...).', SCHEMA = 'prm', TABLE = 'dispute';
  END IF;
  INSERT INTO prm.ledger_hold (program_id, entry_id, kind, reason) VALUES (NEW.program_id, NEW.entry_id, 'dispute', NEW.reason);
  IF the_state IN ('settled', 'approved') THEN
    PERFORM prm.fire('statement', the_statement, 'dispute', format('entry %s: %s', NEW.entry_id, NEW.reason), '{}', NEW.program_id);
  END IF;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._dispute_opened() FROM PUBLIC;
COMMENT ON FUNCTION prm._dispute_opened() IS
'Trigger of dispute: holds the entry, and stops the statement that it stands on. Errors: 42501 another partner''s entry, 55000 disputed already, invoiced or paid.';
CREATE OR REPLACE TRIGGER prm_20_dispute AFTER INSERT ON prm.dispute FOR EACH ROW EXECUTE FUNCTION prm._dispute_opened();

-- A hold waits for a close that is at work, and a close for holds: neither misses the other.
CREATE OR REPLACE FUNCTION prm._hold_meets_close() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  PERFORM prm._lock_calendar(NEW.program_id, false);
  RETURN NEW;
END
$prm$;
REVOKE ALL ON FUNCTION prm._hold_meets_close() FROM PUBLIC;
COMMENT ON FUNCTION prm._hold_meets_close() IS 'Trigger of ledger_hold: waits for a close that is at work, so that what is looked at next is what it left.';
CREATE OR REPLACE TRIGGER prm_00_close BEFORE INSERT ON prm.ledger_hold FOR EACH ROW EXECUTE FUNCTION prm._hold_meets_close();

-- The calendar of a programme is there from the beginning: nobody waits for whoever needs it first.
CREATE OR REPLACE FUNCTION prm._program_calendar() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  INSERT INTO prm.settlement_calendar (program_id, period_kind) VALUES (NEW.program_id, 'half_month'), (NEW.program_id, 'month'), (NEW.program_id, 'quarter')
    ON CONFLICT (program_id, period_kind) DO NOTHING;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._program_calendar() FROM PUBLIC;
COMMENT ON FUNCTION prm._program_calendar() IS 'Trigger of program: makes the rows of its settlement_calendar, where closes and others meet.';
CREATE OR REPLACE TRIGGER prm_50_calendar AFTER INSERT ON prm.program FOR EACH ROW EXECUTE FUNCTION prm._program_calendar();
