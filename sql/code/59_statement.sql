
-- What is read of settlement: statements and earnings for partners, the ledger as it was known, and the rules of its audit.

CREATE FUNCTION prm._statement_customer(program_id bigint, entry_id bigint) RETURNS text
LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'prm_statement_customer';
COMMENT ON FUNCTION prm._statement_customer(bigint, bigint) IS
'Name of the customer behind a ledger entry, as statement_policy lets partners see it. A partner is told of its own entries and of those on its statements only; NULL for others and where there is no customer.';

CREATE TYPE prm.statement_row AS (statement_id bigint, line_no bigint, entry_id bigint, earned_on date, what text, customer text, basis_amount numeric, schedule text,
  amount numeric, currency text, running_total numeric, part integer, kind text, deal text, document_ref text, partner_id bigint, state text, period date, total numeric);
COMMENT ON TYPE prm.statement_row IS 'A line of a statement as its partner reads it.';

CREATE FUNCTION prm.my_statement(statement_id bigint DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.statement_row
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(my_statement.program_id);
  the_partner bigint := prm._acting_partner(the_program);
  the_statement bigint := my_statement.statement_id;
  the_basis boolean;
BEGIN
  IF the_statement IS NULL THEN
    SELECT s.statement_id INTO the_statement FROM prm.statement s
      WHERE s.program_id = the_program AND s.partner_id = the_partner AND s.state <> 'cancelled' ORDER BY s.period_end DESC, s.statement_id DESC LIMIT 1;
    IF the_statement IS NULL THEN
      RETURN;
    END IF;
  ELSIF NOT EXISTS (SELECT 1 FROM prm.statement s WHERE s.program_id = the_program AND s.statement_id = the_statement AND (the_partner IS NULL OR s.partner_id = the_partner)) THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no statement %s', the_statement),
      DETAIL = 'None that you may see has this number.', HINT = 'SELECT statement_id, period, total FROM prm.v_statement lists them.';
  END IF;
  SELECT coalesce((SELECT p.basis_shown FROM prm.statement_policy p WHERE p.program_id = the_program), true) OR the_partner IS NULL INTO the_basis;
  RETURN QUERY
  SELECT the_statement, row_number() OVER line, l.entry_id, e.earned_on,
    concat_ws(', ', CASE e.level WHEN 0 THEN e.kind ELSE e.kind || ' level ' || e.level END, e.explain ->> 'rule', e.reason, CASE WHEN l.amount NOT IN (e.amount, -e.amount) THEN 'part ' || l.part END),
    prm._statement_customer(the_program, l.entry_id), CASE WHEN the_basis THEN (e.explain ->> 'basis_amount')::numeric END, CASE WHEN the_basis THEN e.explain ->> 'schedule' END,
    l.amount, s.currency, sum(l.amount) OVER line, l.part, e.kind, d.name, v.document_ref, e.partner_id, s.state, s.period, s.total
  FROM prm.statement s
  JOIN prm.statement_line l ON l.program_id = the_program AND l.statement_id = s.statement_id
  -- Whoever is paid for others reads what it gets for them, not what they did.
  LEFT JOIN prm.ledger e ON e.program_id = the_program AND e.entry_id = l.entry_id AND (the_partner IS NULL OR e.partner_id = the_partner)
  LEFT JOIN prm.earning_event v ON v.program_id = the_program AND v.earning_event_id = e.earning_event_id
  LEFT JOIN prm.deal d ON d.program_id = the_program AND d.deal_id = v.deal_id
  WHERE s.program_id = the_program AND s.statement_id = the_statement
  WINDOW line AS (ORDER BY e.earned_on, l.entry_id, l.part)
  ORDER BY 2;
END
$prm$;
COMMENT ON FUNCTION prm.my_statement(bigint, bigint) IS
'The lines of a statement, by default of the partner''s latest one, with customer and base as statement_policy allows, and the running total, which ends at the total of the statement, however old it is. Error 42704 no such statement, or another partner''s.';

CREATE TYPE prm.earning_summary AS (month date, currency text, kind text, entries bigint, amount numeric, settled numeric, open numeric);
COMMENT ON TYPE prm.earning_summary IS 'What a partner earned in a month, by kind and currency, and how much of it stands on statements.';

CREATE FUNCTION prm.my_earnings(date_from date DEFAULT NULL, date_to date DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.earning_summary
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(my_earnings.program_id);
  the_partner bigint := prm._self_argument(the_program, 'my_earnings() tells a partner what it earned', 'read prm.v_ledger');
  the_to date := coalesce(my_earnings.date_to, (prm.now() AT TIME ZONE prm._program_time_zone(the_program))::date);
BEGIN
  RETURN QUERY
  SELECT date_trunc('month', l.earned_on::timestamp)::date, l.currency, l.kind, count(*), sum(l.amount), sum(l.amount - coalesce(o.amount, 0)), coalesce(sum(o.amount), 0)
  FROM prm.ledger l
  LEFT JOIN prm.ledger_open o ON o.program_id = the_program AND o.partner_id = the_partner AND o.entry_id = l.entry_id
  WHERE l.program_id = the_program AND l.partner_id = the_partner AND l.kind NOT IN ('payout', 'payout_fee', 'carry')
    AND l.earned_on >= coalesce(my_earnings.date_from, date_trunc('month', the_to::timestamp)::date - 365) AND l.earned_on <= the_to
  GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
END
$prm$;
COMMENT ON FUNCTION prm.my_earnings(date, date, bigint) IS
'What the acting partner earned by month, currency and kind, with how much of it is settled; by default in the last year. Error 55000 where no partner acts.';

CREATE TYPE prm.ledger_known AS (entry_id bigint, partner_id bigint, kind text, component text, amount numeric, currency text, earned_on date, eligible_at timestamptz, status text,
  statement_id bigint, settled numeric, recorded_at timestamptz);
COMMENT ON TYPE prm.ledger_known IS 'A ledger entry as it was known at a moment: pending, eligible, held, partly_settled, on_statement, paid, or carried (what closed a debt).';

CREATE FUNCTION prm.ledger_as_of(known_at timestamptz, partner_id bigint DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.ledger_known
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(ledger_as_of.program_id);
BEGIN
  IF ledger_as_of.known_at IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'ledger_as_of needs a moment', DETAIL = 'known_at is NULL.',
      HINT = 'SELECT * FROM prm.ledger_as_of(''2026-01-31 23:59:59+00'').';
  END IF;
  RETURN QUERY
  SELECT l.entry_id, l.partner_id, l.kind, l.component, l.amount, l.currency, l.earned_on, l.eligible_at,
    CASE WHEN l.kind IN ('payout', 'payout_fee') AND s.statement_id IS NULL AND l.component <> 'received' THEN 'paid'
         WHEN l.kind = 'carry' AND l.component = 'closed' THEN 'carried'
         WHEN s.settled = l.amount THEN CASE WHEN s.is_paid THEN 'paid' ELSE 'on_statement' END
         WHEN s.settled IS NOT NULL THEN 'partly_settled'
         WHEN h.held THEN 'held' WHEN l.eligible_at > ledger_as_of.known_at THEN 'pending' ELSE 'eligible' END,
    s.statement_id, coalesce(s.settled, 0), l.recorded_at
  FROM prm.ledger l
  LEFT JOIN LATERAL (
    SELECT max(i.statement_id) AS statement_id, sum(i.amount) AS settled, bool_and(coalesce(y.to_state = 'paid', false)) AS is_paid
    FROM prm.statement_line i
    JOIN prm.statement t ON t.program_id = the_program AND t.statement_id = i.statement_id AND t.recorded_at <= ledger_as_of.known_at
    LEFT JOIN LATERAL (SELECT k.to_state FROM prm.state_history k
      WHERE k.program_id = the_program AND k.machine = 'statement' AND k.subject_id = i.statement_id AND k.recorded_at <= ledger_as_of.known_at
      ORDER BY k.history_id DESC LIMIT 1) y ON true
    -- A cancelled statement and the one that cancels it are none.
    WHERE i.program_id = the_program AND i.entry_id = l.entry_id AND y.to_state IS DISTINCT FROM 'cancelled' HAVING count(*) > 0) s ON true
  CROSS JOIN LATERAL (SELECT EXISTS (
    SELECT 1 FROM prm.ledger_hold p
    WHERE p.program_id = the_program AND p.partner_id = l.partner_id AND p.action = 'place' AND p.recorded_at <= ledger_as_of.known_at
      AND (p.entry_id IS NULL OR p.entry_id = l.entry_id OR l.kind = 'reversal' AND p.entry_id = l.cause_entry_id)
      AND NOT (p.entry_id IS NULL AND l.kind IN ('clawback', 'royalty', 'fee') AND EXISTS (SELECT 1 FROM prm.ledger_hold b
        WHERE b.program_id = the_program AND b.hold_ref = p.hold_id AND b.action = 'cancel' AND b.recorded_at <= ledger_as_of.known_at))
      AND NOT EXISTS (SELECT 1 FROM prm.ledger_hold r
        WHERE r.program_id = the_program AND r.hold_ref = p.hold_id AND r.action IN ('release', 'expire') AND r.recorded_at <= ledger_as_of.known_at)) AS held) h
  WHERE l.program_id = the_program AND l.recorded_at <= ledger_as_of.known_at AND (ledger_as_of.partner_id IS NULL OR l.partner_id = ledger_as_of.partner_id)
  ORDER BY l.entry_id;
END
$prm$;
COMMENT ON FUNCTION prm.ledger_as_of(timestamptz, bigint, bigint) IS
'The ledger as it was known at a moment of the wall clock: the entries, holds and statement lines that were recorded by then, however rules and facts were corrected since. Error 22023 no moment.';

CREATE FUNCTION prm._audit_settlement(program_id bigint) RETURNS SETOF prm.ledger_violation
-- All of it is sets; the tables may have no statistics that know the programme.
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET jit = off AS $prm$
  SELECT 'statement_total', NULL::bigint, format('statement %s has %s lines of %s and says %s of %s', s.statement_id, coalesce(l.entries, 0), coalesce(l.amount, 0), s.entries, s.total)
  FROM prm.statement s
  LEFT JOIN (SELECT i.statement_id, sum(i.amount) AS amount, count(*) AS entries FROM prm.statement_line i WHERE i.program_id = _audit_settlement.program_id GROUP BY i.statement_id) l
    ON l.statement_id = s.statement_id
  WHERE s.program_id = _audit_settlement.program_id AND (l.amount IS DISTINCT FROM s.total OR l.entries IS DISTINCT FROM s.entries)
  UNION ALL
  SELECT 'statement_share', NULL, format('statement %s has shares of %s and a total of %s', s.statement_id, coalesce(h.amount, 0), s.total)
  FROM prm.statement s
  LEFT JOIN (SELECT i.statement_id, sum(i.amount) AS amount, sum(i.entries) AS entries FROM prm.statement_share i WHERE i.program_id = _audit_settlement.program_id GROUP BY i.statement_id) h
    ON h.statement_id = s.statement_id
  WHERE s.program_id = _audit_settlement.program_id AND (h.amount IS DISTINCT FROM s.total OR h.entries IS DISTINCT FROM s.entries)
  UNION ALL
  -- Every entry is settled, open, or partly both; never more or less than its amount.
  SELECT CASE WHEN x.ledger IS NULL THEN 'unknown_entry' WHEN x.settled = x.ledger AND x.opened IS NOT NULL OR abs(coalesce(x.settled, 0)) > abs(x.ledger) THEN 'settled_twice' ELSE 'entry_lost' END,
    x.entry_id, format('the entry is of %s, %s is on statements and %s is open', x.ledger, coalesce(x.settled, 0), coalesce(x.opened, 0))
  FROM (
    SELECT u.entry_id, sum(u.ledger) AS ledger, sum(u.settled) AS settled, sum(u.opened) AS opened FROM (
      SELECT l.entry_id, l.amount AS ledger, NULL::numeric AS settled, NULL::numeric AS opened FROM prm.ledger l
      WHERE l.program_id = _audit_settlement.program_id AND (l.kind NOT IN ('payout', 'payout_fee') OR l.component = 'received')
        AND NOT (l.kind = 'carry' AND l.component = 'closed')
      UNION ALL SELECT i.entry_id, NULL, i.amount, NULL FROM prm.statement_line i WHERE i.program_id = _audit_settlement.program_id
      UNION ALL SELECT o.entry_id, NULL, NULL, o.amount FROM prm.ledger_open o WHERE o.program_id = _audit_settlement.program_id
    ) u GROUP BY u.entry_id
  ) x WHERE x.ledger IS DISTINCT FROM coalesce(x.settled, 0) + coalesce(x.opened, 0)
  UNION ALL
  SELECT 'statement_currency', l.entry_id, format('the entry is in %s for %s, statement %s in %s for %s', l.currency, coalesce(l.legal_entity, 'no company'), s.statement_id, s.currency, coalesce(s.legal_entity, 'no company'))
  FROM prm.statement_line i
  JOIN prm.statement s ON s.program_id = i.program_id AND s.statement_id = i.statement_id
  JOIN prm.ledger l ON l.program_id = i.program_id AND l.entry_id = i.entry_id
  WHERE i.program_id = _audit_settlement.program_id AND (l.currency <> s.currency OR l.legal_entity IS DISTINCT FROM s.legal_entity OR l.payee_id <> s.payee_id)
  UNION ALL
  -- What was carried is closed and opened by the same amount, of each partner; what was not has no such entries.
  SELECT 'carry', NULL, format('statement %s is %s, of %s, and its carry entries close %s and open %s', x.statement_id, coalesce(s.state, 'missing'), s.total, coalesce(x.closed, 0), coalesce(x.opened, 0))
  FROM (
    SELECT k.statement_id, k.partner_id, sum(k.share) AS share, sum(k.closed) AS closed, sum(k.opened) AS opened FROM (
      SELECT h.statement_id, h.partner_id, h.amount AS share, NULL::numeric AS closed, NULL::numeric AS opened FROM prm.statement_share h
      JOIN prm.statement i ON i.program_id = h.program_id AND i.statement_id = h.statement_id WHERE h.program_id = _audit_settlement.program_id AND i.state = 'carried'
      UNION ALL
      SELECT (l.explain ->> 'statement')::bigint, l.partner_id, NULL, CASE WHEN l.component = 'closed' THEN l.amount END, CASE WHEN l.component <> 'closed' THEN l.amount END
      FROM prm.ledger l WHERE l.program_id = _audit_settlement.program_id AND l.kind = 'carry') k
    GROUP BY k.statement_id, k.partner_id) x
  LEFT JOIN prm.statement s ON s.program_id = _audit_settlement.program_id AND s.statement_id = x.statement_id
  WHERE s.state IS DISTINCT FROM 'carried' OR coalesce(x.share, 0) <> -coalesce(x.closed, 0) OR coalesce(x.share, 0) <> coalesce(x.opened, 0)
  UNION ALL
  SELECT 'cancelled', NULL, format('statement %s is %s, of %s, and statement %s takes %s of it back', s.statement_id, s.state, s.total, coalesce(c.statement_id::text, '(none)'), coalesce(-c.total, 0))
  FROM prm.statement s LEFT JOIN prm.statement c ON c.program_id = s.program_id AND c.cancels_id = s.statement_id
  WHERE s.program_id = _audit_settlement.program_id AND s.cancels_id IS NULL
    AND CASE s.state WHEN 'cancelled' THEN c.total IS DISTINCT FROM -s.total OR c.state IS DISTINCT FROM 'cancelled' ELSE c.statement_id IS NOT NULL END
  UNION ALL
  SELECT 'statement_rate', NULL, format('statement %s of %s %s at %s is not %s %s', s.statement_id, s.total, s.currency, s.exchange_rate, s.pay_total, s.pay_currency)
  FROM prm.statement s JOIN prm.program p ON p.program_id = s.program_id
  WHERE s.program_id = _audit_settlement.program_id AND s.pay_currency IS NOT NULL AND s.pay_total <> prm.round_money(s.total * s.exchange_rate, s.pay_currency, p.rounding)
  UNION ALL
  SELECT 'payout_sum', NULL, format('payout %s is of %s, its statements come to %s', p.payout_id, p.amount, coalesce(c.amount, 0))
  FROM prm.payout p
  LEFT JOIN (SELECT i.payout_id, sum(s.total) AS amount FROM prm.payout_statement i JOIN prm.statement s ON s.program_id = i.program_id AND s.statement_id = i.statement_id
    WHERE i.program_id = _audit_settlement.program_id GROUP BY i.payout_id) c ON c.payout_id = p.payout_id
  WHERE p.program_id = _audit_settlement.program_id AND p.amount IS DISTINCT FROM c.amount
  UNION ALL
  SELECT 'payout_twice', NULL, format('statement %s is claimed by %s payouts', i.statement_id, count(*)) FROM prm.payout_statement i
  WHERE i.program_id = _audit_settlement.program_id AND i.released_at IS NULL GROUP BY i.statement_id HAVING count(*) > 1
  UNION ALL
  SELECT 'statement_paid', NULL, format('statement %s is %s and its payout is %s', s.statement_id, s.state, coalesce(p.state, 'missing'))
  FROM prm.statement s
  LEFT JOIN prm.payout_statement c ON c.program_id = s.program_id AND c.statement_id = s.statement_id AND c.released_at IS NULL
  LEFT JOIN prm.payout p ON p.program_id = c.program_id AND p.payout_id = c.payout_id
  WHERE s.program_id = _audit_settlement.program_id AND (s.state = 'paid') <> coalesce(p.state = 'paid', false)
  UNION ALL
  SELECT 'payout_ledger', NULL, format('payout %s is %s, of %s, and the ledger has %s for it', p.payout_id, p.state, p.amount, coalesce(-l.amount, 0))
  FROM prm.payout p
  LEFT JOIN (SELECT (i.explain ->> 'payout')::bigint AS payout_id, sum(i.amount) AS amount FROM prm.ledger i
    WHERE i.program_id = _audit_settlement.program_id AND i.kind IN ('payout', 'payout_fee') AND i.component <> 'received' GROUP BY 1) l ON l.payout_id = p.payout_id
  WHERE p.program_id = _audit_settlement.program_id AND coalesce(-l.amount, 0) <> CASE p.state WHEN 'paid' THEN p.amount ELSE 0 END
  ORDER BY 1, 2, 3
$prm$;
COMMENT ON FUNCTION prm._audit_settlement(bigint) IS
'What audit_ledger() asks of settlement: statements and shares sum, every entry is settled once or open, one currency and company each, debts are carried and statements cancelled by what they are, conversions follow their rate, payouts sum, claim once, and are in the ledger. Empty = sound.';
