
-- Settlement: what a close stands on: terms, payees, holds, the calendar where closes and others meet, and what collections release.

CREATE TYPE prm.closing AS (payee_id bigint, currency text, statement_id bigint, amount numeric, outcome text, reason text,
  payee text, legal_entity text, period date, period_end date, entries bigint, auto_approve boolean);
COMMENT ON TYPE prm.closing IS
'What a close did with one payee, currency and paying company. outcome: settled, carry (a statement below zero: later ones pay it first), below_minimum, no_rate, held, uncollected, pending, period_open or period_closed.';

CREATE FUNCTION prm._check_settler() RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
BEGIN
  IF NOT has_table_privilege('prm.statement_line', 'INSERT') THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'only the owner of the model settles and pays',
      DETAIL = format('Role %s may not write statements.', current_user),
      HINT = 'SELECT * FROM prm.v_statement shows what is settled, prm.v_statement_preview what will be.';
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._check_settler() IS 'Refuses (42501) a role that may not write statements, before anything is done.';

CREATE FUNCTION prm._check_payee(program_id bigint, payee_id bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
BEGIN
  IF NOT EXISTS (SELECT 1 FROM prm.payee y WHERE y.program_id = _check_payee.program_id AND y.payee_id = _check_payee.payee_id) AND _check_payee.payee_id IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no payee %s', _check_payee.payee_id),
      DETAIL = format('It was looked for in programme %s.', _check_payee.program_id), HINT = 'SELECT payee_id, legal_name FROM prm.payee lists them; a partner without one gets one with its first close.';
  END IF;
  RETURN _check_payee.payee_id;
END
$prm$;
COMMENT ON FUNCTION prm._check_payee(bigint, bigint) IS 'Refuses (42704) a payee that the programme does not have; NULL stands for all.';

CREATE FUNCTION prm._payee_option(program_id bigint, options jsonb) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
BEGIN
  IF _payee_option.options ->> 'payee_id' !~ '^[0-9]{1,18}$' AND _payee_option.options ->> 'payee_id' !~ '^-[0-9]{1,18}$' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'option payee_id is no number of a payee',
      DETAIL = format('It was given as %s.', _payee_option.options -> 'payee_id'), HINT = 'SELECT payee_id, legal_name FROM prm.payee lists them.';
  END IF;
  RETURN prm._check_payee(_payee_option.program_id, (_payee_option.options ->> 'payee_id')::bigint);
END
$prm$;
COMMENT ON FUNCTION prm._payee_option(bigint, jsonb) IS 'The option payee_id; NULL where it is not given. Errors: 22023 no number, 42704 no such payee.';

CREATE FUNCTION prm._company_option(program_id bigint, options jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
BEGIN
  IF _company_option.options ->> 'legal_entity' IS NOT NULL AND NOT EXISTS (SELECT 1 FROM prm.legal_entity e
      WHERE e.program_id = _company_option.program_id AND e.legal_entity = _company_option.options ->> 'legal_entity') THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no legal entity "%s"', _company_option.options ->> 'legal_entity'),
      DETAIL = format('It was looked for in programme %s.', _company_option.program_id), HINT = 'SELECT legal_entity, label FROM prm.legal_entity lists them.';
  END IF;
  RETURN _company_option.options ->> 'legal_entity';
END
$prm$;
COMMENT ON FUNCTION prm._company_option(bigint, jsonb) IS 'The option legal_entity; NULL where it is not given. Error 42704 no such company.';

CREATE FUNCTION prm._period_label(period date, period_kind text, fiscal_year_start integer) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
  SELECT CASE _period_label.period_kind WHEN 'month' THEN to_char(_period_label.period, 'YYYY-MM')
    ELSE to_char(_period_label.period, 'YYYY-MM-DD') || ' to '
      || to_char(prm.period_end(_period_label.period, _period_label.period_kind, _period_label.fiscal_year_start), 'YYYY-MM-DD') END
$prm$;
COMMENT ON FUNCTION prm._period_label(date, text, integer) IS 'A period for people: 2025-07, or its first and last day where it is no month.';

CREATE TYPE prm.settlement_terms AS (payee_id bigint, currency text, period_kind text, min_payout numeric, debt_policy text, write_off_days integer,
  auto_approve boolean, payout_mode text, payment_days integer, payout_method text, pay_currency text, document_grouping text, convert_at text);
COMMENT ON TYPE prm.settlement_terms IS 'The settlement profile that is in force for a payee and a currency.';

CREATE FUNCTION prm._settlement_terms(program_id bigint, payee_ids bigint[], currencies text[]) RETURNS SETOF prm.settlement_terms
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
  SELECT a.payee_id, a.currency, coalesce(p.period_kind, 'month'), coalesce(p.min_payout, 0), coalesce(p.debt_policy, 'net'), p.write_off_days,
    coalesce(p.auto_approve, false), coalesce(p.payout_mode, 'scheduled'), coalesce(p.payment_days, 0), p.payout_method, p.pay_currency,
    coalesce(p.document_grouping, 'separate'), coalesce(p.convert_at, 'payout')
  FROM (SELECT DISTINCT i.payee_id, i.currency FROM unnest(_settlement_terms.payee_ids, _settlement_terms.currencies) AS i(payee_id, currency)) a
  LEFT JOIN LATERAL (
    SELECT f.* FROM prm.settlement_profile f
    WHERE f.program_id = _settlement_terms.program_id AND (f.payee_id = a.payee_id OR f.payee_id IS NULL) AND (f.currency = a.currency OR f.currency IS NULL)
    ORDER BY f.payee_id IS NULL, f.currency IS NULL LIMIT 1) p ON true
$prm$;
COMMENT ON FUNCTION prm._settlement_terms(bigint, bigint[], text[]) IS
'The terms of payees in currencies, a row per pair: the profile of the payee and currency, else of the payee, else of the currency, else of all; without any: monthly, no minimum, debts are netted.';

CREATE FUNCTION prm._payee_of(program_id bigint, partner_id bigint, currency text, on_date date) RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
  SELECT coalesce(
    (SELECT d.payee_id FROM prm.partner_payee d WHERE d.program_id = _payee_of.program_id AND d.partner_id = _payee_of.partner_id AND d.valid @> _payee_of.on_date),
    (SELECT p.payee_id FROM prm.payee p WHERE p.program_id = _payee_of.program_id AND p.partner_id = _payee_of.partner_id
     ORDER BY p.currency <> _payee_of.currency, p.payee_id LIMIT 1))
$prm$;
COMMENT ON FUNCTION prm._payee_of(bigint, bigint, text, date) IS
'Who is paid for a partner on a day: the payee that it delegated to (partner_payee), else its own, one in this currency first; NULL where it has none.';

CREATE FUNCTION prm._make_payees(program_id bigint) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
  INSERT INTO prm.payee (program_id, partner_id, legal_name, tax_id, currency)
    SELECT p.program_id, p.partner_id, p.name, p.tax_id, prm._program_currency(p.program_id)
    FROM prm.partner p
    WHERE p.program_id = _make_payees.program_id
      AND NOT EXISTS (SELECT 1 FROM prm.payee y WHERE y.program_id = p.program_id AND y.partner_id = p.partner_id)
      AND (SELECT o.entry_id FROM prm.ledger_open o WHERE o.program_id = _make_payees.program_id AND o.partner_id = p.partner_id LIMIT 1) IS NOT NULL
    ORDER BY p.partner_id
$prm$;
COMMENT ON FUNCTION prm._make_payees(bigint) IS 'A partner that earned and has no payee is its own: makes the missing payees.';

CREATE TYPE prm.settlement_hold AS (entries bigint[], partners bigint[], banned bigint[]);
COMMENT ON TYPE prm.settlement_hold IS 'What is held: entries, partners with all that is theirs, and banned partners, of whom what they owe is not held.';

CREATE FUNCTION prm._settlement_hold(program_id bigint) RETURNS prm.settlement_hold
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
  -- As v_entry_hold says, for many: what takes an entry back is held with it.
  SELECT ROW(
    coalesce((SELECT array_agg(h.entry_id) FROM prm._standing_hold h WHERE h.program_id = _settlement_hold.program_id AND h.entry_id IS NOT NULL), '{}')
      || coalesce((SELECT array_agg(l.entry_id) FROM prm._standing_hold h
        JOIN prm.ledger l ON l.program_id = h.program_id AND l.cause_entry_id = h.entry_id AND l.kind = 'reversal'
        WHERE h.program_id = _settlement_hold.program_id AND h.entry_id IS NOT NULL), '{}'),
    coalesce((SELECT array_agg(DISTINCT h.partner_id) FROM prm._standing_hold h WHERE h.program_id = _settlement_hold.program_id AND h.entry_id IS NULL AND NOT h.is_ban), '{}'),
    coalesce((SELECT array_agg(DISTINCT h.partner_id) FROM prm._standing_hold h WHERE h.program_id = _settlement_hold.program_id AND h.entry_id IS NULL AND h.is_ban), '{}')
  )::prm.settlement_hold
$prm$;
COMMENT ON FUNCTION prm._settlement_hold(bigint) IS 'What is held now, for a close.';

-- Both call for the calendar: closes change its rows, whoever holds an entry shares them, so that neither misses the other.
CREATE FUNCTION prm._lock_calendar(program_id bigint, exclusive boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
BEGIN
  IF (SELECT count(*) FROM prm.settlement_calendar c WHERE c.program_id = _lock_calendar.program_id) < 3 THEN
    INSERT INTO prm.settlement_calendar (program_id, period_kind)
      VALUES (_lock_calendar.program_id, 'half_month'), (_lock_calendar.program_id, 'month'), (_lock_calendar.program_id, 'quarter')
      ON CONFLICT (program_id, period_kind) DO NOTHING;
  END IF;
  IF _lock_calendar.exclusive THEN
    PERFORM c.period_kind FROM prm.settlement_calendar c WHERE c.program_id = _lock_calendar.program_id ORDER BY c.period_kind FOR UPDATE;
    UPDATE prm.settlement_calendar c SET closes = c.closes + 1 WHERE c.program_id = _lock_calendar.program_id;
  ELSE
    PERFORM c.period_kind FROM prm.settlement_calendar c WHERE c.program_id = _lock_calendar.program_id ORDER BY c.period_kind FOR SHARE;
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._lock_calendar(bigint, boolean) IS
'Until the end of the transaction: exclusive, no other close and no new hold; shared, no close. A close that cannot see another one fails with 40001.';

CREATE TYPE prm.deferred_release AS (entry_id bigint, partner_id bigint, payee_id bigint, legal_entity text, currency text, part integer, amount numeric, release numeric, is_receivable boolean, is_owed boolean, tax_class smallint);
COMMENT ON TYPE prm.deferred_release IS 'An open entry of a plan that pays as the customer does: what is open of it, and what may be settled now.';

CREATE FUNCTION prm._deferred(program_id bigint, through date) RETURNS SETOF prm.deferred_release
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_zone constant text := prm._program_time_zone(_deferred.program_id);
  the_rounding text;
BEGIN
  IF (SELECT o.entry_id FROM prm.ledger_open o WHERE o.program_id = _deferred.program_id AND o.is_deferred LIMIT 1) IS NULL THEN
    RETURN;
  END IF;
  SELECT p.rounding INTO the_rounding FROM prm.program p WHERE p.program_id = _deferred.program_id;
  -- The share of the sale that was collected; of what is left of it after refunds, so a sale that was taken back altogether
  -- releases its commission and what takes it back together. The hold of the plan counts from each payment, too.
  RETURN QUERY
  SELECT o.entry_id, o.partner_id, o.payee_id, o.legal_entity, o.currency, o.part, o.amount,
    CASE WHEN s.share = 1 THEN o.amount
         WHEN sign(t.target - (l.amount - o.amount)) = sign(l.amount) THEN t.target - (l.amount - o.amount) ELSE 0 END, o.is_receivable, o.is_owed, o.tax_class
  FROM prm.ledger_open o
  CROSS JOIN LATERAL (SELECT i.amount, i.earning_event_id, i.plan_id FROM prm.ledger i
    WHERE i.program_id = _deferred.program_id AND i.entry_id = o.entry_id OFFSET 0) l
  CROSS JOIN LATERAL (SELECT CASE WHEN i.kind = 'refunded' THEN i.applies_to_id ELSE i.earning_event_id END AS earning_event_id FROM prm.earning_event i
    WHERE i.program_id = _deferred.program_id AND i.earning_event_id = l.earning_event_id OFFSET 0) b
  CROSS JOIN LATERAL (SELECT i.amount FROM prm.earning_event i
    WHERE i.program_id = _deferred.program_id AND i.earning_event_id = b.earning_event_id OFFSET 0) e
  CROSS JOIN LATERAL (
    SELECT coalesce(sum(i.amount + i.bounced) FILTER (WHERE i.kind = 'collected'
        AND ((i.occurred_at AT TIME ZONE the_zone) + make_interval(days => coalesce(p.hold_days, 0)))::date <= _deferred.through), 0) AS collected,
      coalesce(sum(i.amount) FILTER (WHERE i.kind = 'refunded' AND (i.occurred_at AT TIME ZONE the_zone)::date <= _deferred.through), 0) AS refunded
    -- A payment that bounced is a refund of the collection; what it had collected is open again.
    FROM (SELECT k.kind, k.amount, k.occurred_at, CASE WHEN k.kind = 'collected' THEN coalesce((SELECT sum(f.amount) FROM prm.earning_event f
          WHERE f.program_id = _deferred.program_id AND f.applies_to_id = k.earning_event_id AND f.kind = 'refunded' AND (f.occurred_at AT TIME ZONE the_zone)::date <= _deferred.through), 0) END AS bounced
      FROM prm.earning_event k
      WHERE k.program_id = _deferred.program_id AND k.applies_to_id = b.earning_event_id OFFSET 0) i
    LEFT JOIN prm.commission_plan p ON p.program_id = _deferred.program_id AND p.plan_id = l.plan_id) c
  CROSS JOIN LATERAL (SELECT CASE WHEN e.amount + c.refunded <= 0 THEN 1 ELSE least(1, greatest(0, c.collected / (e.amount + c.refunded))) END AS share) s
  CROSS JOIN LATERAL (SELECT prm.round_money(CASE WHEN e.amount + c.refunded <= 0 THEN l.amount
    ELSE l.amount * least(greatest(c.collected, 0), e.amount + c.refunded) / (e.amount + c.refunded) END, o.currency, the_rounding) AS target) t
  WHERE o.program_id = _deferred.program_id AND o.is_deferred AND o.due_on <= _deferred.through;
END
$prm$;
COMMENT ON FUNCTION prm._deferred(bigint, date) IS
'The open entries of plans that pay on collection, due by a day, each with round(entry * collected so far / invoiced) less what was released before.';
