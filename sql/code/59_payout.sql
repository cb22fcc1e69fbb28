
-- Payouts, balances and what partners read of their statements.

CREATE TYPE prm.payout_row AS (payee_id bigint, currency text, payout_id bigint, amount numeric, outcome text, reason text,
  payee text, legal_entity text, statements bigint, fee numeric, net numeric, pay_currency text, pay_amount numeric);
COMMENT ON TYPE prm.payout_row IS
'What create_payouts() did with the open statements of a payee, currency and paying company. outcome: paid_out, offset (nothing is left to pay), owes, blocked, below_minimum, not_approved, not_due, on_request or no_rate.';

CREATE FUNCTION prm._post_payouts(program_id bigint, payout_ids bigint[], sign integer) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
  -- To each earning partner what it had on the statements; a fee that the payee bears is what the payee's own partner paid less.
  INSERT INTO prm.ledger (program_id, partner_id, payee_id, legal_entity, kind, component, amount, currency, earned_on, eligible_at, reason, idempotency_key, explain)
    SELECT _post_payouts.program_id, x.partner_id, x.payee_id, x.legal_entity, x.kind, x.component, x.amount, x.currency,
      (prm.now() AT TIME ZONE prm._program_time_zone(_post_payouts.program_id))::date, prm.now(), x.reason, x.key, jsonb_build_object('payout', x.payout_id)
    FROM (
      SELECT o.payout_id, s.partner_id, o.payee_id, o.legal_entity, 'payout' AS kind, 'payout' AS component, -_post_payouts.sign * sum(s.amount) AS amount, o.currency,
        CASE _post_payouts.sign WHEN 1 THEN format('payout %s', o.payout_id) ELSE format('payout %s came back', o.payout_id) END AS reason,
        concat_ws('/', 'payout', o.payout_id, o.attempts, _post_payouts.sign, s.partner_id) AS key
      FROM prm.payout o
      JOIN prm.payout_statement c ON c.program_id = o.program_id AND c.payout_id = o.payout_id
      JOIN prm.statement_share s ON s.program_id = c.program_id AND s.statement_id = c.statement_id
      WHERE o.program_id = _post_payouts.program_id AND o.payout_id = ANY (_post_payouts.payout_ids) AND c.released_at IS NULL
      GROUP BY o.program_id, o.payout_id, s.partner_id HAVING sum(s.amount) <> 0
      UNION ALL
      -- The payee gets less by the fee and has paid it with that: two entries that cancel out.
      SELECT o.payout_id, o.partner_id, o.payee_id, o.legal_entity, f.kind, 'fee', _post_payouts.sign * f.amount, o.currency,
        format('fee of payout %s', o.payout_id), concat_ws('/', f.kind, o.payout_id, o.attempts, _post_payouts.sign, 'fee')
      FROM prm.payout o CROSS JOIN LATERAL (VALUES ('payout', o.fee), ('payout_fee', -o.fee)) AS f(kind, amount)
      WHERE o.program_id = _post_payouts.program_id AND o.payout_id = ANY (_post_payouts.payout_ids) AND o.fee <> 0 AND o.fee_borne_by = 'payee'
    ) x
    ORDER BY x.payout_id, x.partner_id, x.kind
$prm$;
COMMENT ON FUNCTION prm._post_payouts(bigint, bigint[], integer) IS 'Writes the ledger entries of payouts that were paid (sign 1) or came back (-1).';

CREATE FUNCTION prm._finish_payouts(program_id bigint, payout_ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
BEGIN
  PERFORM prm._post_payouts(_finish_payouts.program_id, _finish_payouts.payout_ids, 1);
  UPDATE prm.statement s SET state = 'paid'
    WHERE s.program_id = _finish_payouts.program_id AND s.statement_id IN (
      SELECT c.statement_id FROM prm.payout_statement c
      WHERE c.program_id = _finish_payouts.program_id AND c.payout_id = ANY (_finish_payouts.payout_ids) AND c.released_at IS NULL);
END
$prm$;
COMMENT ON FUNCTION prm._finish_payouts(bigint, bigint[]) IS 'Writes the ledger entries of payouts that were paid and marks their statements as paid.';

CREATE FUNCTION prm._create_payouts(program_id bigint, options jsonb) RETURNS SETOF prm.payout_row
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program constant bigint := _create_payouts.program_id;
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(the_program))::date;
  the_payee bigint := (_create_payouts.options ->> 'payee_id')::bigint;
  the_currency text := _create_payouts.options ->> 'currency';
  the_forced boolean := coalesce((_create_payouts.options ->> 'forced')::boolean, false);
  the_rounding text;
  the_settled bigint[];
BEGIN
  SELECT p.rounding INTO the_rounding FROM prm.program p WHERE p.program_id = the_program;
  -- Whoever comes second waits here, and then sees the claims of the first.
  PERFORM prm._lock_calendar(the_program, true);
  PERFORM f.currency FROM prm.payout_fee_rule f WHERE f.program_id = the_program ORDER BY f.currency FOR UPDATE;
  RETURN QUERY
  WITH open AS MATERIALIZED (
    SELECT s.payee_id, s.partner_id, coalesce(s.legal_entity, '') AS legal_entity, s.currency, s.statement_id, s.total, s.state, s.period_end, s.is_forced, s.closed_at,
      s.state IN ('approved', 'invoiced') AS is_ready, s.pay_currency, s.pay_total
    FROM prm.statement s
    WHERE s.program_id = the_program AND s.state NOT IN ('paid', 'carried', 'cancelled')
      AND (the_payee IS NULL OR s.payee_id = the_payee) AND (the_currency IS NULL OR s.currency = the_currency)
      AND (_create_payouts.options ->> 'legal_entity' IS NULL OR s.legal_entity = _create_payouts.options ->> 'legal_entity')
      AND NOT EXISTS (SELECT 1 FROM prm.payout_statement c WHERE c.program_id = the_program AND c.statement_id = s.statement_id AND c.released_at IS NULL)
  ), term AS MATERIALIZED (
    SELECT t.* FROM prm._settlement_terms(the_program, (SELECT array_agg(o.payee_id) FROM open o), (SELECT array_agg(o.currency) FROM open o)) t
  ), request AS MATERIALIZED (
    -- What was asked for since the payee was last paid.
    SELECT a.payee_id, a.currency, bool_or(r.payout_request_id IS NOT NULL) AS is_requested, coalesce(bool_or(r.is_forced), false) AS is_forced
    FROM (SELECT DISTINCT o.payee_id, o.partner_id, o.currency FROM open o) a
    LEFT JOIN prm.payout_request r ON r.program_id = the_program AND r.partner_id = a.partner_id AND coalesce(r.currency, a.currency) = a.currency
      AND NOT EXISTS (SELECT 1 FROM prm.payout p WHERE p.program_id = the_program AND p.payee_id = a.payee_id AND p.currency = a.currency
        AND p.state <> 'failed' AND p.recorded_at > r.recorded_at)
    GROUP BY a.payee_id, a.currency
  ), account AS MATERIALIZED (
    SELECT o.payee_id, o.partner_id, o.legal_entity, o.currency,
      -- A debt counts as soon as it stands on a statement, unless that is disputed; a claim when it is approved and its days are over.
      coalesce(sum(o.total) FILTER (WHERE o.is_ready AND o.total >= 0 AND (o.period_end + t.payment_days < the_today OR o.is_forced OR the_forced)), 0) AS claim,
      coalesce(sum(o.total) FILTER (WHERE o.total < 0 AND o.state <> 'disputed'), 0) AS debt,
      -- What statements were converted to, where that is what is paid; the rest is converted now.
      coalesce(sum(o.pay_total) FILTER (WHERE o.pay_currency = t.pay_currency AND o.is_ready AND (o.period_end + t.payment_days < the_today OR o.is_forced OR the_forced)), 0) AS converted,
      coalesce(sum(o.total) FILTER (WHERE o.pay_currency IS DISTINCT FROM t.pay_currency AND o.is_ready AND o.total >= 0
        AND (o.period_end + t.payment_days < the_today OR o.is_forced OR the_forced)), 0) AS unconverted,
      count(*) FILTER (WHERE o.is_ready AND o.total >= 0 AND NOT (o.period_end + t.payment_days < the_today OR o.is_forced OR the_forced)) AS waiting,
      -- A debt that is disputed is none yet.
      count(*) FILTER (WHERE o.state = 'settled' AND o.total >= 0 OR o.state = 'disputed') AS unapproved, count(*) FILTER (WHERE o.state = 'disputed') AS disputed,
      bool_or(o.is_forced) AS has_forced, min(o.period_end + t.payment_days + 1) FILTER (WHERE o.is_ready AND o.total >= 0) AS first_due
    FROM open o JOIN term t ON t.payee_id = o.payee_id AND t.currency = o.currency
    GROUP BY o.payee_id, o.partner_id, o.legal_entity, o.currency
  ), judged AS MATERIALIZED (
    SELECT a.*, y.legal_name, t.min_payout, t.payout_method, coalesce(t.pay_currency, a.currency) AS pay_currency, x.rate,
      the_forced OR a.has_forced OR r.is_forced AS forced, f.currency IS NOT NULL AS has_fee, f.rate AS fee_rate, f.hard_rate, f.borne_by, f.waiver - f.waiver_used AS waiver_left,
      CASE WHEN a.claim = 0 AND a.debt = 0 AND a.waiting = 0 AND a.unapproved > 0 THEN 'not_approved'
           WHEN a.claim = 0 AND a.waiting > 0 THEN 'not_due'
           WHEN a.claim = 0 AND a.debt < 0 THEN 'owes'
           WHEN t.debt_policy = 'block' AND a.debt + v.received < 0 THEN 'blocked'
           WHEN a.claim + a.debt < 0 THEN 'owes'
           WHEN t.payout_mode = 'on_request' AND NOT (r.is_requested OR the_forced OR a.has_forced) THEN 'on_request'
           WHEN a.claim + a.debt > 0 AND a.claim + a.debt < t.min_payout AND NOT (the_forced OR a.has_forced OR r.is_forced) THEN 'below_minimum'
           WHEN t.pay_currency <> a.currency AND a.unconverted <> 0 AND x.rate IS NULL THEN 'no_rate'
           WHEN a.claim + a.debt = 0 THEN 'offset' ELSE 'paid_out' END AS outcome
    FROM account a
    JOIN prm.payee y ON y.program_id = the_program AND y.payee_id = a.payee_id
    JOIN term t ON t.payee_id = a.payee_id AND t.currency = a.currency
    JOIN request r ON r.payee_id = a.payee_id AND r.currency = a.currency
    LEFT JOIN prm.payout_fee_rule f ON f.program_id = the_program AND f.currency = a.currency
    CROSS JOIN LATERAL (SELECT CASE WHEN t.pay_currency <> a.currency AND a.unconverted <> 0 THEN prm._exchange_rate(the_program, a.currency, t.pay_currency, the_today) END AS rate) x
    -- A block is lifted by money that came in.
    CROSS JOIN LATERAL (SELECT CASE WHEN t.debt_policy = 'block' AND a.debt < 0 THEN (
      SELECT coalesce(sum(l.amount), 0) FROM open o
      JOIN prm.statement_line l ON l.program_id = the_program AND l.statement_id = o.statement_id
      JOIN prm.ledger e ON e.program_id = the_program AND e.entry_id = l.entry_id AND e.kind = 'payout' AND e.component = 'received'
      WHERE o.payee_id = a.payee_id AND o.legal_entity = a.legal_entity AND o.currency = a.currency AND o.is_ready AND o.total >= 0) END AS received) v
  ), priced AS MATERIALIZED (
    -- The free amount of fees is used up in the order of the payees.
    SELECT j.*, j.claim + j.debt AS amount,
      least(greatest(j.waiver_left - coalesce(sum(j.claim + j.debt) OVER used, 0), 0), j.claim + j.debt) AS free
    FROM judged j WHERE j.outcome IN ('paid_out', 'offset')
    WINDOW used AS (PARTITION BY j.currency ORDER BY j.payee_id, j.legal_entity ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
  ), costed AS MATERIALIZED (
    SELECT p.*, CASE WHEN p.has_fee THEN prm.round_money((p.amount - p.free) * p.fee_rate, p.currency, the_rounding) + prm.round_money(p.amount * p.hard_rate, p.currency, the_rounding) ELSE 0 END AS fee
    FROM priced p
  ), made AS (
    INSERT INTO prm.payout (program_id, batch_id, payee_id, partner_id, legal_entity, currency, amount, fee, fee_free, fee_charged, fee_borne_by, net, pay_currency, pay_amount,
        exchange_rate, is_forced, method, due_on, created_at)
      SELECT the_program, (SELECT coalesce(max(b.batch_id), 0) + 1 FROM prm.payout b WHERE b.program_id = the_program), c.payee_id, c.partner_id, nullif(c.legal_entity, ''), c.currency, c.amount, c.fee,
        CASE WHEN c.has_fee THEN c.free ELSE 0 END, CASE WHEN c.has_fee THEN c.amount - c.free ELSE 0 END, coalesce(c.borne_by, 'vendor'), n.net, c.pay_currency,
        -- Debts and fees are taken off at the rate of what is paid.
        CASE WHEN c.pay_currency = c.currency THEN n.net WHEN n.net = 0 THEN 0
          ELSE prm.round_money((c.converted + c.unconverted * coalesce(c.rate, 0)) * CASE WHEN n.net = c.claim THEN 1 ELSE n.net / c.claim END, c.pay_currency, the_rounding) END,
        CASE WHEN c.converted = 0 AND c.amount <> 0 THEN c.rate END, c.forced, c.payout_method, the_today, prm.now()
      FROM costed c CROSS JOIN LATERAL (SELECT c.amount - CASE c.borne_by WHEN 'payee' THEN c.fee ELSE 0 END AS net) n
      ORDER BY c.currency, c.payee_id, c.legal_entity
      RETURNING payout_id, payee_id, coalesce(legal_entity, '') AS legal_entity, currency, amount, fee, net, pay_currency, pay_amount
  ), claimed AS (
    INSERT INTO prm.payout_statement (program_id, payout_id, statement_id, partner_id, amount)
      SELECT the_program, m.payout_id, o.statement_id, o.partner_id, o.total
      FROM made m
      JOIN open o ON o.payee_id = m.payee_id AND o.legal_entity = m.legal_entity AND o.currency = m.currency
      JOIN term t ON t.payee_id = o.payee_id AND t.currency = o.currency
      WHERE o.total < 0 AND o.state <> 'disputed'
        OR o.is_ready AND o.total >= 0 AND (o.period_end + t.payment_days < the_today OR o.is_forced OR the_forced)
      ORDER BY o.statement_id
      RETURNING payout_id, statement_id
  ), waived AS (
    UPDATE prm.payout_fee_rule f SET waiver_used = f.waiver_used + u.free
      FROM (SELECT c.currency, sum(c.free) AS free FROM costed c WHERE c.has_fee GROUP BY c.currency) u
      WHERE f.program_id = the_program AND f.currency = u.currency AND u.free > 0
  )
  SELECT j.payee_id, j.currency, m.payout_id, coalesce(m.amount, j.claim + j.debt), j.outcome,
    CASE j.outcome
      WHEN 'not_approved' THEN CASE WHEN j.unapproved = j.disputed THEN CASE j.disputed WHEN 1 THEN 'a statement is disputed' ELSE format('%s statements are disputed', j.disputed) END
        WHEN j.unapproved = 1 THEN 'a statement waits for approval' ELSE format('%s statements wait for approval', j.unapproved) END
      WHEN 'not_due' THEN format('payable from %s', to_char(j.first_due, 'YYYY-MM-DD'))
      WHEN 'owes' THEN format('the payee owes %s; later statements pay it first', -(j.claim + j.debt))
      WHEN 'blocked' THEN format('blocked until the debt of %s is paid', -j.debt)
      WHEN 'on_request' THEN 'the payee asks for its payouts'
      WHEN 'below_minimum' THEN format('%s is below the minimum of %s', j.claim + j.debt, j.min_payout)
      WHEN 'no_rate' THEN format('there is no exchange rate from %s to %s', j.currency, j.pay_currency)
      WHEN 'offset' THEN 'the statements cancel out'
      ELSE CASE WHEN j.debt < 0 THEN format('less the debt of %s', -j.debt) END END,
    j.legal_name, nullif(j.legal_entity, ''), (SELECT count(*) FROM claimed c WHERE c.payout_id = m.payout_id), m.fee, m.net, m.pay_currency, m.pay_amount
  FROM judged j LEFT JOIN made m ON m.payee_id = j.payee_id AND m.legal_entity = j.legal_entity AND m.currency = j.currency
  ORDER BY j.currency, j.payee_id, j.legal_entity;

  -- Statements that only offset each other are done with; debts are approved by what pays them.
  UPDATE prm.statement s SET state = 'approved'
    WHERE s.program_id = the_program AND s.state = 'settled' AND s.statement_id IN (SELECT c.statement_id FROM prm.payout_statement c
      JOIN prm.payout p ON p.program_id = c.program_id AND p.payout_id = c.payout_id
      WHERE c.program_id = the_program AND p.state = 'pending' AND c.released_at IS NULL);
  SELECT array_agg(p.payout_id) INTO the_settled FROM prm.payout p WHERE p.program_id = the_program AND p.state = 'pending' AND p.amount = 0;
  IF the_settled IS NOT NULL THEN
    UPDATE prm.payout p SET state = 'paid' WHERE p.program_id = the_program AND p.payout_id = ANY (the_settled);
    PERFORM prm._finish_payouts(the_program, the_settled);
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._create_payouts(bigint, jsonb) IS 'What create_payouts() does.';

CREATE FUNCTION prm.create_payouts(dry_run boolean DEFAULT false, options jsonb DEFAULT '{}', program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.payout_row
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(create_payouts.program_id);
  the_rows prm.payout_row[];
BEGIN
  PERFORM prm._check_settler();
  PERFORM prm._check_options(create_payouts.options, ARRAY['payee_id', 'currency', 'legal_entity', 'forced'], 'create_payouts');
  IF create_payouts.options -> 'forced' NOT IN ('true', 'false', 'null') THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'option forced is neither true nor false',
      DETAIL = format('It was given as %s.', create_payouts.options -> 'forced'), HINT = 'SELECT * FROM prm.create_payouts(options => ''{"forced": true}'').';
  END IF;
  PERFORM prm._payee_option(the_program, create_payouts.options), prm._company_option(the_program, create_payouts.options), prm.minor_units(create_payouts.options ->> 'currency');
  IF NOT create_payouts.dry_run THEN
    RETURN QUERY SELECT * FROM prm._create_payouts(the_program, create_payouts.options);
    RETURN;
  END IF;
  -- Done and undone, so that the answer is the very one.
  BEGIN
    SELECT array_agg(p) INTO the_rows FROM prm._create_payouts(the_program, create_payouts.options) p;
    RAISE EXCEPTION USING ERRCODE = 'PRM01', MESSAGE = 'dry run', DETAIL = 'What it did is undone.', HINT = 'It is caught right below.';
  EXCEPTION WHEN SQLSTATE 'PRM01' THEN
    NULL;
  END;
  RETURN QUERY SELECT r.payee_id, r.currency, NULL::bigint, r.amount, r.outcome, r.reason, r.payee, r.legal_entity, r.statements, r.fee, r.net, r.pay_currency, r.pay_amount
    FROM unnest(the_rows) r;
END
$prm$;
COMMENT ON FUNCTION prm.create_payouts(boolean, jsonb, bigint) IS
'Makes a payout for each payee, currency and paying company with statements that are approved and due, less what it owes, and claims them in the same statement of SQL: two calls never pay twice. Returns a row with the reason also where nothing is paid. options: payee_id, currency, legal_entity, forced (no minimum, no waiting). Statements that cancel out are done with at once. Errors: 22023 a bad option, 42704 no such payee or company, 42501 not the owner.';

CREATE FUNCTION prm.settle_payout(payout_id bigint, outcome text, reference text DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(settle_payout.program_id);
  payout prm.payout;
  the_other bigint;
  fault record;
BEGIN
  PERFORM prm._check_settler();
  SELECT p.* INTO payout FROM prm.payout p WHERE p.program_id = the_program AND p.payout_id = settle_payout.payout_id FOR UPDATE;
  IF payout.payout_id IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no payout %s', coalesce(settle_payout.payout_id::text, 'NULL')),
      DETAIL = format('It was looked for in programme %s.', the_program), HINT = 'SELECT * FROM prm.v_payout lists them.';
  END IF;
  IF settle_payout.outcome IS NULL OR settle_payout.outcome NOT IN ('paid', 'failed', 'reissued') THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('a payout cannot be settled as %s', coalesce('"' || settle_payout.outcome || '"', 'NULL')),
      DETAIL = 'The outcomes are paid, failed and reissued.', HINT = format('SELECT prm.settle_payout(%s, ''paid'', ''bank reference'').', payout.payout_id);
  END IF;
  IF settle_payout.outcome = 'paid' AND payout.state <> 'pending' OR settle_payout.outcome = 'failed' AND payout.state = 'failed'
     OR settle_payout.outcome = 'reissued' AND payout.state = 'paid' THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('payout %s is %s', payout.payout_id, payout.state),
      DETAIL = format('It cannot be settled as %s now.', settle_payout.outcome),
      HINT = CASE payout.state WHEN 'failed' THEN 'Reissue it, or let create_payouts() make another one.' ELSE 'Settle it as failed first, if the money came back.' END,
      SCHEMA = 'prm', TABLE = 'payout';
  END IF;
  IF settle_payout.outcome = 'paid' THEN
    UPDATE prm.payout p SET state = 'paid', settled_at = prm.now(), reference = coalesce(settle_payout.reference, p.reference)
      WHERE p.program_id = the_program AND p.payout_id = payout.payout_id;
    PERFORM prm._finish_payouts(the_program, ARRAY[payout.payout_id]);
  ELSIF settle_payout.outcome = 'failed' THEN
    IF payout.state = 'paid' THEN
      PERFORM prm._post_payouts(the_program, ARRAY[payout.payout_id], -1);
      -- Back to where each statement was before it was paid.
      UPDATE prm.statement s SET state = h.from_state
        FROM prm.payout_statement c
        CROSS JOIN LATERAL (SELECT i.from_state FROM prm.state_history i
          WHERE i.program_id = the_program AND i.machine = 'statement' AND i.subject_id = c.statement_id AND i.to_state = 'paid' ORDER BY i.history_id DESC LIMIT 1) h
        WHERE c.program_id = the_program AND c.payout_id = payout.payout_id AND c.released_at IS NULL
          AND s.program_id = the_program AND s.statement_id = c.statement_id;
    ELSE
      UPDATE prm.payout_fee_rule f SET waiver_used = f.waiver_used - least(f.waiver_used, payout.fee_free)
        WHERE f.program_id = the_program AND f.currency = payout.currency AND payout.fee_free > 0;
    END IF;
    UPDATE prm.payout p SET state = 'failed', settled_at = prm.now(), reference = coalesce(settle_payout.reference, p.reference)
      WHERE p.program_id = the_program AND p.payout_id = payout.payout_id;
    UPDATE prm.payout_statement c SET released_at = prm.now() WHERE c.program_id = the_program AND c.payout_id = payout.payout_id AND c.released_at IS NULL;
  ELSE
    IF payout.state = 'failed' THEN
      -- No new payout may claim them meanwhile.
      PERFORM prm._lock_calendar(the_program, true);
      SELECT o.payout_id INTO the_other FROM prm.payout_statement c
        JOIN prm.payout_statement o ON o.program_id = c.program_id AND o.statement_id = c.statement_id AND o.released_at IS NULL
        WHERE c.program_id = the_program AND c.payout_id = payout.payout_id LIMIT 1;
      IF the_other IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('payout %s cannot be reissued', payout.payout_id),
          DETAIL = format('Payout %s pays its statements by now.', the_other), HINT = format('Settle payout %s.', the_other), SCHEMA = 'prm', TABLE = 'payout';
      END IF;
      SELECT c.statement_id, s.state INTO fault FROM prm.payout_statement c
        JOIN prm.statement s ON s.program_id = c.program_id AND s.statement_id = c.statement_id
        WHERE c.program_id = the_program AND c.payout_id = payout.payout_id AND s.state NOT IN ('approved', 'invoiced') ORDER BY c.statement_id LIMIT 1;
      IF fault.statement_id IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('payout %s cannot be reissued', payout.payout_id),
          DETAIL = format('Its statement %s is %s by now.', fault.statement_id, fault.state),
          HINT = CASE WHEN fault.state IN ('settled', 'disputed') THEN 'Have the statement approved first.' ELSE 'SELECT * FROM prm.create_payouts() pays what is open now.' END,
          SCHEMA = 'prm', TABLE = 'payout';
      END IF;
      UPDATE prm.payout_statement c SET released_at = NULL WHERE c.program_id = the_program AND c.payout_id = payout.payout_id;
      -- What was never sent had been given back; what came back had been used, and stays so.
      IF 'pending' = (SELECT h.from_state FROM prm.state_history h WHERE h.program_id = the_program AND h.machine = 'payout' AND h.subject_id = payout.payout_id
          AND h.to_state = 'failed' ORDER BY h.history_id DESC LIMIT 1) THEN
        UPDATE prm.payout_fee_rule f SET waiver_used = least(f.waiver, f.waiver_used + payout.fee_free)
          WHERE f.program_id = the_program AND f.currency = payout.currency AND payout.fee_free > 0;
      END IF;
    END IF;
    UPDATE prm.payout p SET state = 'pending', settled_at = NULL, reference = settle_payout.reference, attempts = p.attempts + 1
      WHERE p.program_id = the_program AND p.payout_id = payout.payout_id;
  END IF;
  RETURN settle_payout.outcome;
END
$prm$;
COMMENT ON FUNCTION prm.settle_payout(bigint, text, text, bigint) IS
'Says what became of a payout. paid: its statements are paid and the ledger has what each partner got. failed: it lets go of its statements, so another payout may take them; after paid, the ledger entries are taken back. reissued: it is sent again under a new reference. Errors: 42704 no such payout, 22023 outcome, 55000 not in this state, its statements are claimed by another or no longer approved, 42501 not the owner.';

CREATE FUNCTION prm.request_payout(partner_id bigint DEFAULT NULL, currency text DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(request_payout.program_id);
  the_partner bigint := coalesce(request_payout.partner_id, prm._acting_partner(the_program));
BEGIN
  IF the_partner IS NULL OR the_partner <> coalesce(prm._acting_partner(the_program), the_partner)
     OR NOT EXISTS (SELECT 1 FROM prm.partner p WHERE p.program_id = the_program AND p.partner_id = the_partner) THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = CASE WHEN the_partner IS NULL THEN 'no partner is given' ELSE format('there is no partner %s', the_partner) END,
      DETAIL = 'A payout is requested for a partner.', HINT = 'SELECT prm.request_payout(partner_id); partners may leave it out.';
  END IF;
  PERFORM prm.minor_units(request_payout.currency);
  INSERT INTO prm.payout_request (program_id, partner_id, currency) VALUES (the_program, the_partner, request_payout.currency);
  RETURN the_partner;
END
$prm$;
COMMENT ON FUNCTION prm.request_payout(bigint, text, bigint) IS
'A partner asks to be paid: where its profile says on_request, the next create_payouts() pays what is approved and reaches the minimum. Returns the partner. Errors: 42704 no such partner, 22023 no currency.';

CREATE FUNCTION prm.force_payout(partner_id bigint, reason text, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.payout_row
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(force_payout.program_id);
  the_payees bigint[];
  the_payee bigint;
BEGIN
  PERFORM prm._check_settler();
  IF coalesce(btrim(force_payout.reason), '') = '' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a payout out of turn needs a reason', DETAIL = 'The reason given is empty.',
      HINT = format('SELECT * FROM prm.force_payout(%s, ''the partner leaves'').', force_payout.partner_id);
  END IF;
  IF NOT EXISTS (SELECT 1 FROM prm.partner p WHERE p.program_id = the_program AND p.partner_id = force_payout.partner_id) THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no partner %s', coalesce(force_payout.partner_id::text, 'NULL')),
      DETAIL = format('It was looked for in programme %s.', the_program), HINT = 'SELECT partner_id, name FROM prm.partner.';
  END IF;
  PERFORM prm._make_payees(the_program);
  INSERT INTO prm.payout_request (program_id, partner_id, is_forced, reason) VALUES (the_program, force_payout.partner_id, true, force_payout.reason);
  -- Its own payees, and whoever is paid in its place.
  SELECT array_agg(p.payee_id ORDER BY p.payee_id) INTO the_payees FROM prm.payee p
    WHERE p.program_id = the_program AND (p.partner_id = force_payout.partner_id OR p.payee_id IN (SELECT d.payee_id FROM prm.partner_payee d
      WHERE d.program_id = the_program AND d.partner_id = force_payout.partner_id AND d.valid @> (prm.now() AT TIME ZONE prm._program_time_zone(the_program))::date));
  FOREACH the_payee IN ARRAY coalesce(the_payees, '{}')
  LOOP
    PERFORM c.statement_id FROM prm._close(the_program, (prm.now() AT TIME ZONE prm._program_time_zone(the_program))::date, the_payee, 'forced') c;
    UPDATE prm.statement s SET state = 'approved' WHERE s.program_id = the_program AND s.payee_id = the_payee AND s.state = 'settled';
    RETURN QUERY SELECT * FROM prm._create_payouts(the_program, jsonb_build_object('payee_id', the_payee, 'forced', true));
  END LOOP;
END
$prm$;
COMMENT ON FUNCTION prm.force_payout(bigint, text, bigint) IS
'Pays all that is due to a partner today, out of turn and whatever the amount, as when it leaves: closes its running period (with the draw of the period), approves its statements and makes the payouts; where another is paid in its place, that one''s. What is pending or held stays open. Returns the payouts. Errors: 22023 no reason, 42704 no such partner, 42501 not the owner.';

CREATE FUNCTION prm.receive_payment(partner_id bigint, amount numeric, currency text, reference text, options jsonb DEFAULT '{}', program_id bigint DEFAULT prm.current_program()) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(receive_payment.program_id);
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(the_program))::date;
  the_entry bigint;
  the_payee bigint;
  the_company text;
BEGIN
  PERFORM prm._check_settler();
  PERFORM prm._check_options(receive_payment.options, ARRAY['legal_entity', 'payee_id'], 'receive_payment');
  the_payee := prm._payee_option(the_program, receive_payment.options);
  the_company := prm._company_option(the_program, receive_payment.options);
  IF NOT EXISTS (SELECT 1 FROM prm.partner p WHERE p.program_id = the_program AND p.partner_id = receive_payment.partner_id) THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no partner %s', coalesce(receive_payment.partner_id::text, 'NULL')),
      DETAIL = format('It was looked for in programme %s.', the_program), HINT = 'SELECT partner_id, name FROM prm.partner.';
  END IF;
  IF receive_payment.amount IS NULL OR receive_payment.currency IS NULL OR NOT receive_payment.amount > 0 OR receive_payment.amount >= 'Infinity'
     OR receive_payment.amount <> prm.round_money(receive_payment.amount, receive_payment.currency) OR coalesce(btrim(receive_payment.reference), '') = '' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('%s %s is no payment', coalesce(receive_payment.amount::text, 'NULL'), coalesce(receive_payment.currency, 'NULL')),
      DETAIL = 'A payment is more than zero, in whole minor units of its currency, and has a reference.',
      HINT = 'SELECT prm.receive_payment(1, 250.00, ''USD'', ''bank reference'').';
  END IF;
  INSERT INTO prm.ledger (program_id, partner_id, payee_id, legal_entity, kind, component, amount, currency, earned_on, eligible_at, reason, idempotency_key)
    VALUES (the_program, receive_payment.partner_id, the_payee, the_company, 'payout', 'received', receive_payment.amount, receive_payment.currency, the_today, prm.now(),
      format('received: %s', receive_payment.reference), concat_ws('/', 'received', receive_payment.partner_id, receive_payment.reference))
    RETURNING entry_id INTO the_entry;
  RETURN the_entry;
END
$prm$;
COMMENT ON FUNCTION prm.receive_payment(bigint, numeric, text, text, jsonb, bigint) IS
'Money that came in from a partner that owes: an entry that goes on its next statement, which then offsets the debt. options: legal_entity (the company that it came to: debts are owed to one), payee_id (where another is paid in the partner''s place). Returns the entry. Errors: 22023 amount, currency, reference or a bad option, 23505 the reference was used before, 42704 no such partner, payee or company, 42501 not the owner.';

CREATE FUNCTION prm.write_off_debts(program_id bigint DEFAULT prm.current_program()) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(write_off_debts.program_id);
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(the_program))::date;
  the_count bigint;
BEGIN
  PERFORM prm._check_settler();
  IF NOT EXISTS (SELECT 1 FROM prm.settlement_profile f WHERE f.program_id = the_program AND f.debt_policy = 'write_off') THEN
    RETURN 0;
  END IF;
  PERFORM prm._lock_calendar(the_program, true);
  INSERT INTO prm.ledger (program_id, partner_id, payee_id, legal_entity, kind, component, amount, currency, earned_on, eligible_at, reason, idempotency_key, explain)
    SELECT the_program, s.partner_id, s.payee_id, s.legal_entity, 'adjustment', 'write_off', w.amount, s.currency, the_today, prm.now(),
      format('debt of statement %s written off after %s days', s.statement_id, t.write_off_days), concat_ws('/', 'write_off', s.statement_id),
      jsonb_build_object('statement', s.statement_id, 'total', s.total, 'receivable', s.receivable, 'given_up', g.amount)
    FROM (
      SELECT i.*, -i.total - i.receivable AS debt,
        coalesce(sum(-i.total - i.receivable) OVER (PARTITION BY i.payee_id, i.legal_entity, i.currency ORDER BY i.statement_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
      FROM prm.statement i WHERE i.program_id = the_program AND i.state IN ('settled', 'approved', 'invoiced') AND i.total < 0 AND -i.total > i.receivable) s
    CROSS JOIN LATERAL prm._settlement_terms(the_program, ARRAY[s.payee_id], ARRAY[s.currency]) t
    -- What was given up of a debt that has been carried on since, and is on no statement yet, is in this one and not given up twice.
    CROSS JOIN LATERAL (
      SELECT coalesce(sum(o.amount), 0) AS amount FROM prm.ledger_open o
      CROSS JOIN LATERAL (SELECT i.component, i.explain FROM prm.ledger i
        WHERE i.program_id = the_program AND i.entry_id = o.entry_id AND i.kind = 'adjustment' AND i.component = 'write_off' OFFSET 0) l
      JOIN prm.statement d ON d.program_id = the_program AND d.statement_id = (l.explain ->> 'statement')::bigint AND d.state = 'carried'
      WHERE o.program_id = the_program AND o.partner_id = s.partner_id AND o.payee_id = s.payee_id AND o.currency = s.currency AND o.legal_entity = coalesce(s.legal_entity, '')) g
    CROSS JOIN LATERAL (SELECT s.debt - least(s.debt, greatest(g.amount - s.before, 0)) AS amount) w
    WHERE t.debt_policy = 'write_off' AND coalesce(s.debt_since, s.period_end) + t.write_off_days < the_today AND w.amount > 0
      AND NOT EXISTS (SELECT 1 FROM prm.payout_statement c WHERE c.program_id = the_program AND c.statement_id = s.statement_id AND c.released_at IS NULL)
    ORDER BY s.statement_id
    ON CONFLICT (program_id, idempotency_key) DO NOTHING;
  GET DIAGNOSTICS the_count = ROW_COUNT;
  RETURN the_count;
END
$prm$;
COMMENT ON FUNCTION prm.write_off_debts(bigint) IS
'Where the profile says write_off: gives up the debts of statements that are older than its days by an adjustment on the next statement. Royalties and fees are claims of the vendor and are never written off. Returns how many. Error 42501 not the owner.';

CREATE TYPE prm.balance_row AS (currency text, pending numeric, held numeric, eligible numeric, on_statement numeric, paid numeric, debt numeric, draw_debt numeric);
COMMENT ON TYPE prm.balance_row IS
'What a partner has in one currency: not due yet, held, due and on no statement, on statements that are not paid, paid; what it owes on statements, and what it drew and has not repaid.';

CREATE FUNCTION prm.partner_balance(partner_id bigint, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.balance_row
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(partner_balance.program_id);
  the_now timestamptz := prm.now();
  the_free boolean := NOT EXISTS (SELECT 1 FROM prm._standing_hold h WHERE h.program_id = the_program AND h.partner_id = partner_balance.partner_id);
BEGIN
  IF NOT EXISTS (SELECT 1 FROM prm.partner p WHERE p.program_id = the_program AND p.partner_id = partner_balance.partner_id) THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no partner %s', coalesce(partner_balance.partner_id::text, 'NULL')),
      DETAIL = format('It was looked for in programme %s, among the partners that you may see.', the_program), HINT = 'SELECT partner_id, name FROM prm.partner lists the partners.';
  END IF;
  -- Only what is open, and sums by statement: neither grows with what was settled entry by entry.
  RETURN QUERY
  SELECT x.currency, sum(x.pending), sum(x.held), sum(x.eligible), sum(x.on_statement), sum(x.paid), sum(x.debt), sum(x.draw_debt)
  FROM (
    SELECT o.currency, coalesce(sum(o.amount) FILTER (WHERE NOT h.is_held AND (o.eligible_at > the_now OR o.is_deferred)), 0) AS pending,
      coalesce(sum(o.amount) FILTER (WHERE h.is_held), 0) AS held,
      coalesce(sum(o.amount) FILTER (WHERE NOT h.is_held AND o.eligible_at <= the_now AND NOT o.is_deferred), 0) AS eligible,
      0::numeric AS on_statement, 0::numeric AS paid, 0::numeric AS debt, 0::numeric AS draw_debt
    FROM prm.ledger_open o
    CROSS JOIN LATERAL (SELECT NOT the_free AND EXISTS (SELECT 1 FROM prm.v_entry_hold v
      WHERE v.program_id = the_program AND v.entry_id = o.entry_id AND v.held) AS is_held) h
    WHERE o.program_id = the_program AND o.partner_id = partner_balance.partner_id
    GROUP BY o.currency
    UNION ALL
    -- What is paid is told by the ledger: the statement of whoever is paid for others is not theirs to read.
    SELECT a.currency, 0, 0, 0, sum(a.amount) + coalesce(-sum(a.amount) FILTER (WHERE s.state NOT IN ('paid', 'carried', 'cancelled') AND a.amount < 0), 0), 0,
      coalesce(-sum(a.amount) FILTER (WHERE s.state NOT IN ('paid', 'carried', 'cancelled') AND a.amount < 0), 0), 0
    FROM prm.statement_share a
    LEFT JOIN LATERAL (SELECT i.state FROM prm.statement i WHERE i.program_id = the_program AND i.statement_id = a.statement_id OFFSET 0) s ON true
    WHERE a.program_id = the_program AND a.partner_id = partner_balance.partner_id
    GROUP BY a.currency
    UNION ALL
    SELECT l.currency, 0, 0, 0, coalesce(sum(l.amount) FILTER (WHERE l.kind = 'payout' AND l.component = 'payout' OR l.kind = 'carry' AND l.component = 'closed'), 0),
      -coalesce(sum(l.amount) FILTER (WHERE l.kind = 'payout' AND l.component = 'payout'), 0), 0,
      coalesce(sum(l.amount) FILTER (WHERE l.kind IN ('draw', 'reversal') AND l.component = 'recoverable'), 0)
    FROM prm.ledger l
    WHERE l.program_id = the_program AND l.partner_id = partner_balance.partner_id
      AND (l.kind IN ('draw', 'payout', 'carry') OR l.kind = 'reversal' AND l.plan_id IS NULL)
    GROUP BY l.currency
  ) x
  GROUP BY x.currency ORDER BY x.currency;
END
$prm$;
COMMENT ON FUNCTION prm.partner_balance(bigint, bigint) IS
'What a partner has and owes, a row per currency. pending + held + eligible + on_statement + paid - debt is all that it earned. Reads only open entries and one row per statement, so it stays fast however long the ledger is. Errors: 42704 no such partner, or none that the caller may see.';
