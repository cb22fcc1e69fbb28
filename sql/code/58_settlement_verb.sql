
-- Settlement: what people do with statements and their entries: approve, cancel, dispute.

CREATE FUNCTION prm.approve_statement(statement_id bigint, reason text DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(approve_statement.program_id);
BEGIN
  RETURN prm.fire('statement', approve_statement.statement_id, 'approve', approve_statement.reason, '{}', the_program);
END
$prm$;
COMMENT ON FUNCTION prm.approve_statement(bigint, text, bigint) IS
'Approves a settled statement, so that it may be invoiced and paid. For many: UPDATE prm.statement SET state = ''approved'' WHERE .... Errors: 42704 no such statement, 23514 not in this state, 42501 not the vendor.';

CREATE FUNCTION prm.cancel_statement(statement_id bigint, reason text, program_id bigint DEFAULT prm.current_program()) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(cancel_statement.program_id);
BEGIN
  PERFORM prm._check_settler();
  IF coalesce(btrim(cancel_statement.reason), '') = '' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a cancelled statement needs a reason', DETAIL = 'The reason given is empty.',
      HINT = format('SELECT prm.cancel_statement(%s, ''wrong rate'').', coalesce(cancel_statement.statement_id::text, '...'));
  END IF;
  -- As closes and payouts do, before the row of the statement.
  PERFORM prm._lock_calendar(the_program, true);
  RETURN prm.fire('statement', cancel_statement.statement_id, 'cancel', cancel_statement.reason, '{}', the_program);
END
$prm$;
COMMENT ON FUNCTION prm.cancel_statement(bigint, text, bigint) IS
'Cancels a statement that is settled or approved: another one, which takes its lines back, is written, and its entries are open again and go on the next statement; taxes are taken back. An invoiced one is not cancelled before its document is. UPDATE prm.statement SET state = ''cancelled'' WHERE ... does the same for many. Errors: 42704 no such statement, 22023 no reason, 23514 not in this state, 55000 a payout is under way, 42501 not the owner.';

CREATE FUNCTION prm.dispute(entry_id bigint, reason text, program_id bigint DEFAULT prm.current_program()) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(dispute.program_id);
  the_partner bigint;
BEGIN
  SELECT l.partner_id INTO the_partner FROM prm.ledger l WHERE l.program_id = the_program AND l.entry_id = dispute.entry_id;
  IF the_partner IS NULL OR the_partner <> coalesce(prm._acting_partner(the_program), the_partner) THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no entry %s', coalesce(dispute.entry_id::text, 'NULL')),
      DETAIL = 'The ledger has none of this number that you may see.', HINT = 'SELECT entry_id FROM prm.v_ledger lists them.';
  END IF;
  IF coalesce(btrim(dispute.reason), '') = '' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a dispute needs a reason', DETAIL = 'The reason given is empty.',
      HINT = format('SELECT prm.dispute(%s, ''the rate should be 10 %%'').', dispute.entry_id);
  END IF;
  INSERT INTO prm.dispute (program_id, entry_id, partner_id, reason) VALUES (the_program, dispute.entry_id, the_partner, dispute.reason);
  RETURN dispute.entry_id;
END
$prm$;
COMMENT ON FUNCTION prm.dispute(bigint, text, bigint) IS
'Disputes a ledger entry: it is held, and the statement that it stands on is not paid, until resolve_dispute(). A partner disputes its own entries. Returns the entry. Errors: 42704 no such entry, 22023 no reason, 55000 disputed already, invoiced or paid.';

CREATE FUNCTION prm.resolve_dispute(entry_id bigint, outcome text, reason text, program_id bigint DEFAULT prm.current_program()) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(resolve_dispute.program_id);
  hold record;
  target record;
BEGIN
  PERFORM prm._check_settler();
  IF resolve_dispute.outcome IS NULL OR resolve_dispute.outcome NOT IN ('upheld', 'rejected', 'withdrawn') THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('a dispute cannot end as %s', coalesce('"' || resolve_dispute.outcome || '"', 'NULL')),
      DETAIL = 'The outcomes are upheld, rejected and withdrawn.', HINT = 'Where it is upheld, prm.post_adjustment(...) corrects the amount.';
  END IF;
  PERFORM prm._lock_calendar(the_program, false);
  -- The entry and its statement, in the order of dispute(). Whoever resolves the same dispute at this moment, or another one of the
  -- same statement, waits; or both would leave the statement to the other.
  PERFORM l.entry_id FROM prm.ledger l WHERE l.program_id = the_program AND l.entry_id = resolve_dispute.entry_id FOR NO KEY UPDATE;
  PERFORM s.statement_id FROM prm.statement s WHERE s.program_id = the_program AND s.state = 'disputed'
    AND s.statement_id IN (SELECT l.statement_id FROM prm.statement_line l WHERE l.program_id = the_program AND l.entry_id = resolve_dispute.entry_id)
    ORDER BY s.statement_id FOR UPDATE;
  SELECT h.hold_id INTO hold FROM prm._standing_hold h
    WHERE h.program_id = the_program AND h.entry_id = resolve_dispute.entry_id AND h.kind = 'dispute' ORDER BY h.hold_id LIMIT 1;
  IF hold.hold_id IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('entry %s is not disputed', coalesce(resolve_dispute.entry_id::text, 'NULL')),
      DETAIL = 'No dispute of it is open.', HINT = 'SELECT * FROM prm.v_dispute WHERE state = ''open'' lists the open ones.';
  END IF;
  INSERT INTO prm.ledger_hold (program_id, hold_ref, action, reason)
    VALUES (the_program, hold.hold_id, 'release', concat_ws(': ', resolve_dispute.outcome, resolve_dispute.reason));
  FOR target IN
    SELECT DISTINCT s.statement_id FROM prm.statement_line l JOIN prm.statement s ON s.program_id = l.program_id AND s.statement_id = l.statement_id
    WHERE l.program_id = the_program AND l.entry_id = resolve_dispute.entry_id AND s.state = 'disputed'
      -- Another entry of the statement may be disputed, too.
      AND NOT EXISTS (SELECT 1 FROM prm._standing_hold h
        JOIN prm.statement_line o ON o.program_id = h.program_id AND o.entry_id = h.entry_id
        WHERE h.program_id = the_program AND h.kind = 'dispute' AND o.statement_id = l.statement_id)
  LOOP
    PERFORM prm.fire('statement', target.statement_id, 'resolve', concat_ws(': ', resolve_dispute.outcome, resolve_dispute.reason), '{}', the_program);
  END LOOP;
  RETURN resolve_dispute.outcome;
END
$prm$;
COMMENT ON FUNCTION prm.resolve_dispute(bigint, text, text, bigint) IS
'Ends the dispute of an entry (upheld, rejected, withdrawn): the hold ends, and its statement may be approved again. The amount is never changed: post an adjustment. Errors: 42704 no open dispute, 22023 outcome, 42501 not the owner.';
