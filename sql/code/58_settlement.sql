
-- Settlement: periods are closed, and what is due goes on one statement for each payee, paying company, currency and period.
-- Nothing here goes row by row: a close is one statement of SQL per period, which reads only what is open.

CREATE TYPE prm.closing AS (payee_id bigint, currency text, statement_id bigint, amount numeric, outcome text, reason text,
  payee text, legal_entity text, period date, period_end date, entries bigint, auto_approve boolean);
COMMENT ON TYPE prm.closing IS
'What a close did with one payee, currency and paying company. outcome: settled, carry (a statement below zero: later ones pay it first), below_minimum, held, uncollected, pending, period_open or period_closed.';

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

CREATE FUNCTION prm._period_label(period date, period_kind text, fiscal_year_start integer) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
  SELECT CASE _period_label.period_kind WHEN 'month' THEN to_char(_period_label.period, 'YYYY-MM')
    ELSE to_char(_period_label.period, 'YYYY-MM-DD') || ' to '
      || to_char(prm.period_end(_period_label.period, _period_label.period_kind, _period_label.fiscal_year_start), 'YYYY-MM-DD') END
$prm$;
COMMENT ON FUNCTION prm._period_label(date, text, integer) IS 'A period for people: 2025-07, or its first and last day where it is no month.';

CREATE TYPE prm.settlement_terms AS (payee_id bigint, currency text, period_kind text, min_payout numeric, debt_policy text, write_off_days integer,
  auto_approve boolean, payout_mode text, payment_days integer, payout_method text, pay_currency text, document_grouping text);
COMMENT ON TYPE prm.settlement_terms IS 'The settlement profile that is in force for a payee and a currency.';

CREATE FUNCTION prm._settlement_terms(program_id bigint, payee_ids bigint[], currencies text[]) RETURNS SETOF prm.settlement_terms
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
  SELECT a.payee_id, a.currency, coalesce(p.period_kind, 'month'), coalesce(p.min_payout, 0), coalesce(p.debt_policy, 'net'), p.write_off_days,
    coalesce(p.auto_approve, false), coalesce(p.payout_mode, 'scheduled'), coalesce(p.payment_days, 0), p.payout_method, p.pay_currency,
    coalesce(p.document_grouping, 'separate')
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
    SELECT coalesce(sum(i.amount) FILTER (WHERE i.kind = 'collected'
        AND ((i.occurred_at AT TIME ZONE the_zone) + make_interval(days => coalesce(p.hold_days, 0)))::date <= _deferred.through), 0) AS collected,
      coalesce(sum(i.amount) FILTER (WHERE i.kind = 'refunded' AND (i.occurred_at AT TIME ZONE the_zone)::date <= _deferred.through), 0) AS refunded
    FROM (SELECT k.kind, k.amount, k.occurred_at FROM prm.earning_event k
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

CREATE FUNCTION prm._post_draws(program_id bigint, period date, period_end date, period_kind text, payee_id bigint, held prm.settlement_hold) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
BEGIN
  -- The draw itself is no earning: it is paid back from what is earned above it.
  INSERT INTO prm.ledger (program_id, partner_id, legal_entity, kind, component, amount, currency, earned_on, eligible_at, reason, idempotency_key, explain)
    SELECT _post_draws.program_id, d.partner_id, d.legal_entity, 'draw', CASE WHEN d.is_recoverable THEN 'recoverable' ELSE 'guarantee' END, d.posted, d.currency,
      _post_draws.period_end, _post_draws.period_end::timestamp AT TIME ZONE prm._program_time_zone(_post_draws.program_id),
      CASE WHEN d.posted > 0 THEN format('%s earned, %s guaranteed', d.earned, d.amount) ELSE format('repaid from %s earned above %s', d.earned - d.amount, d.amount) END,
      concat_ws('/', 'draw', d.partner_id, d.currency, _post_draws.period_kind, _post_draws.period),
      jsonb_build_object('earned', d.earned, 'draw', d.amount, 'debt_before', d.debt, 'amount', d.posted)
    FROM (
      SELECT a.*, e.earned, b.debt,
        CASE WHEN e.earned < a.amount THEN a.amount - greatest(e.earned, 0)
             WHEN a.is_recoverable THEN -least(b.debt, e.earned - a.amount) ELSE 0 END AS posted
      FROM prm.draw_agreement a
      CROSS JOIN LATERAL (
        SELECT coalesce(sum(o.amount), 0) AS earned FROM (
          SELECT i.amount FROM prm.ledger_open i
          WHERE i.program_id = _post_draws.program_id AND i.partner_id = a.partner_id AND i.currency = a.currency AND i.due_on <= _post_draws.period_end
            AND NOT i.is_deferred AND NOT i.is_receivable AND i.entry_id <> ALL ((_post_draws.held).entries)
          UNION ALL
          SELECT r.release FROM prm._deferred(_post_draws.program_id, _post_draws.period_end) r
          WHERE r.partner_id = a.partner_id AND r.currency = a.currency AND r.entry_id <> ALL ((_post_draws.held).entries)) o) e
      CROSS JOIN LATERAL (
        SELECT coalesce(sum(l.amount), 0) AS debt FROM prm.ledger l
        WHERE l.program_id = _post_draws.program_id AND l.partner_id = a.partner_id AND l.kind IN ('draw', 'payout') AND l.kind = 'draw' AND l.component = 'recoverable' AND l.currency = a.currency) b
      WHERE a.program_id = _post_draws.program_id AND a.valid @> _post_draws.period_end AND a.partner_id <> ALL ((_post_draws.held).partners || (_post_draws.held).banned)
    ) d
    CROSS JOIN LATERAL (SELECT prm._payee_of(_post_draws.program_id, d.partner_id, d.currency, _post_draws.period_end) AS payee_id) y
    CROSS JOIN LATERAL prm._settlement_terms(_post_draws.program_id, ARRAY[y.payee_id], ARRAY[d.currency]) t
    WHERE d.posted <> 0 AND t.period_kind = _post_draws.period_kind AND (_post_draws.payee_id IS NULL OR y.payee_id = _post_draws.payee_id)
    ORDER BY d.partner_id
    ON CONFLICT (program_id, idempotency_key) DO NOTHING;
END
$prm$;
COMMENT ON FUNCTION prm._post_draws(bigint, date, date, text, bigint, prm.settlement_hold) IS
'Writes what draws add to the earnings of a period, or take back of what is earned above them.';

CREATE FUNCTION prm._close_one(program_id bigint, period date, period_end date, period_kind text, payee_id bigint, forced boolean, held prm.settlement_hold)
RETURNS SETOF prm.closing
-- All of it is sets; the tables may have no statistics that know the programme.
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_held constant bigint[] := (_close_one.held).entries;
  the_partners constant bigint[] := (_close_one.held).partners;
  the_banned constant bigint[] := (_close_one.held).banned;
  the_free constant boolean := cardinality(the_held || the_partners || the_banned) = 0;
  the_due constant timestamptz := _close_one.period_end::timestamp AT TIME ZONE prm._program_time_zone(_close_one.program_id);
  the_entries constant regclass := pg_get_serial_sequence('prm.ledger', 'entry_id');
  the_rounding text;
BEGIN
  SELECT p.rounding INTO the_rounding FROM prm.program p WHERE p.program_id = _close_one.program_id;
  IF NOT _close_one.forced AND EXISTS (SELECT 1 FROM prm.draw_agreement a WHERE a.program_id = _close_one.program_id AND a.valid @> _close_one.period_end) THEN
    PERFORM prm._post_draws(_close_one.program_id, _close_one.period, _close_one.period_end, _close_one.period_kind, _close_one.payee_id,
      _close_one.held);
  END IF;
  PERFORM prm._make_payees(_close_one.program_id);
  RETURN QUERY
  WITH deferred AS MATERIALIZED (
    SELECT r.* FROM prm._deferred(_close_one.program_id, _close_one.period_end) r
    WHERE r.release <> 0 AND r.entry_id <> ALL (the_held) AND r.partner_id <> ALL (the_partners) AND (r.is_owed OR r.partner_id <> ALL (the_banned))
  ), bundle AS MATERIALIZED (
    -- First by what stands in the rows; then by payees, of which there are few.
    SELECT u.partner_id, u.payee_id AS named_id, u.legal_entity, u.currency, sum(u.amount) AS amount, sum(u.entries)::bigint AS entries, sum(u.receivable) AS receivable,
      sum(u.net) AS net, sum(u.gross) AS gross
    FROM (
      SELECT o.partner_id, o.payee_id, o.legal_entity, o.currency, sum(o.amount) AS amount, count(*) AS entries,
        coalesce(sum(o.amount) FILTER (WHERE o.is_receivable), 0) AS receivable, coalesce(sum(o.amount) FILTER (WHERE o.tax_class = 1), 0) AS net,
        coalesce(sum(o.amount) FILTER (WHERE o.tax_class = 2), 0) AS gross
      FROM prm.ledger_open o
      WHERE o.program_id = _close_one.program_id AND o.due_on <= _close_one.period_end AND NOT o.is_deferred
        AND (the_free OR (o.entry_id NOT IN (SELECT h FROM unnest(the_held) h) AND o.partner_id NOT IN (SELECT h FROM unnest(the_partners) h)
          AND (o.is_owed OR o.partner_id NOT IN (SELECT h FROM unnest(the_banned) h))))
      GROUP BY o.partner_id, o.payee_id, o.legal_entity, o.currency
      UNION ALL
      SELECT d.partner_id, d.payee_id, d.legal_entity, d.currency, sum(d.release), count(*), coalesce(sum(d.release) FILTER (WHERE d.is_receivable), 0),
        coalesce(sum(d.release) FILTER (WHERE d.tax_class = 1), 0), coalesce(sum(d.release) FILTER (WHERE d.tax_class = 2), 0)
      FROM deferred d GROUP BY d.partner_id, d.payee_id, d.legal_entity, d.currency
    ) u
    GROUP BY u.partner_id, u.payee_id, u.legal_entity, u.currency
  ), placed AS MATERIALIZED (
    -- As _payee_of() says, for many.
    SELECT b.*, coalesce(nullif(b.named_id, 0), d.payee_id, y.payee_id) AS payee_id
    FROM bundle b
    LEFT JOIN LATERAL (SELECT i.payee_id FROM prm.partner_payee i
      WHERE i.program_id = _close_one.program_id AND i.partner_id = b.partner_id AND i.valid @> _close_one.period_end OFFSET 0) d ON true
    LEFT JOIN LATERAL (SELECT i.payee_id FROM prm.payee i
      WHERE i.program_id = _close_one.program_id AND i.partner_id = b.partner_id ORDER BY i.currency <> b.currency, i.payee_id LIMIT 1) y ON true
  ), tax AS MATERIALIZED (
    -- Of each earning partner's part, rounded once; the number of the entry is taken now, so that its line can be written with the others.
    SELECT p.partner_id, p.named_id, p.legal_entity, p.currency, p.payee_id, k.kind, k.amount, k.base, k.rate, r.tax_rule,
      CASE WHEN k.amount <> 0 AND k.kind <> 'included' THEN nextval(the_entries) END AS entry_id
    FROM placed p
    JOIN prm.payee y ON y.program_id = _close_one.program_id AND y.payee_id = p.payee_id AND y.tax_rule IS NOT NULL
    JOIN prm.tax_rule r ON r.program_id = _close_one.program_id AND r.tax_rule = y.tax_rule
    CROSS JOIN LATERAL (VALUES
      ('vat', prm.round_money(p.net * r.vat_rate, p.currency, the_rounding), p.net, r.vat_rate),
      ('included', prm.round_money(p.gross * r.vat_rate / (1 + r.vat_rate), p.currency, the_rounding), p.gross, r.vat_rate),
      ('withholding', -prm.round_money((p.net + p.gross / (1 + r.vat_rate)) * r.withholding_rate, p.currency, the_rounding), p.net + p.gross / (1 + r.vat_rate), r.withholding_rate)
    ) AS k(kind, amount, base, rate)
    WHERE k.amount <> 0
  ), term AS MATERIALIZED (
    SELECT t.* FROM prm._settlement_terms(_close_one.program_id, (SELECT array_agg(p.payee_id) FROM placed p), (SELECT array_agg(p.currency) FROM placed p)) t
  ), total AS MATERIALIZED (
    SELECT u.payee_id, u.legal_entity, u.currency, sum(u.amount) AS amount, sum(u.entries)::bigint AS entries, sum(u.receivable) AS receivable,
      sum(u.vat) AS vat, sum(u.included) AS included, sum(u.withholding) AS withholding
    FROM (
      SELECT p.payee_id, p.legal_entity, p.currency, p.amount, p.entries, p.receivable, 0 AS vat, 0 AS included, 0 AS withholding FROM placed p
      UNION ALL
      SELECT x.payee_id, x.legal_entity, x.currency, CASE WHEN x.kind <> 'included' THEN x.amount ELSE 0 END, CASE WHEN x.kind <> 'included' THEN 1 ELSE 0 END, 0,
        CASE WHEN x.kind = 'vat' THEN x.amount ELSE 0 END, CASE WHEN x.kind = 'included' THEN x.amount ELSE 0 END, CASE WHEN x.kind = 'withholding' THEN -x.amount ELSE 0 END
      FROM tax x
    ) u
    WHERE u.payee_id IS NOT NULL AND (_close_one.payee_id IS NULL OR u.payee_id = _close_one.payee_id)
    GROUP BY u.payee_id, u.legal_entity, u.currency
  ), verdict AS MATERIALIZED (
    SELECT t.*, y.partner_id, y.legal_name, m.min_payout, m.auto_approve, f.is_leaving, s.last_end,
      CASE WHEN s.last_end >= _close_one.period THEN 'period_closed'
           WHEN t.amount > 0 AND t.amount < m.min_payout AND NOT (_close_one.forced OR f.is_leaving) THEN 'below_minimum'
           WHEN t.amount < 0 THEN 'carry' ELSE 'settled' END AS outcome
    FROM total t
    JOIN term m ON m.payee_id = t.payee_id AND m.currency = t.currency AND (_close_one.forced OR m.period_kind = _close_one.period_kind)
    JOIN prm.payee y ON y.program_id = _close_one.program_id AND y.payee_id = t.payee_id
    CROSS JOIN LATERAL (SELECT max(i.period_end) AS last_end FROM prm.statement i
      WHERE i.program_id = _close_one.program_id AND i.payee_id = t.payee_id AND i.currency = t.currency AND coalesce(i.legal_entity, '') = t.legal_entity) s
    -- Whoever leaves gets what is left, be it little.
    CROSS JOIN LATERAL (SELECT coalesce(p.state = 'offboarding' OR bool_or(k.is_final), false) AS is_leaving FROM prm.partner p
      LEFT JOIN prm.machine_state k ON k.program_id = p.program_id AND k.machine = 'partner' AND k.state = p.state
      WHERE p.program_id = _close_one.program_id AND p.partner_id = y.partner_id GROUP BY p.state) f
  ), made AS (
    INSERT INTO prm.statement (program_id, payee_id, partner_id, legal_entity, currency, period, period_end, period_kind, total, entries, receivable, vat, vat_included, withholding,
        is_forced, closed_at, closed_by)
      SELECT _close_one.program_id, v.payee_id, v.partner_id, nullif(v.legal_entity, ''), v.currency, _close_one.period, _close_one.period_end, _close_one.period_kind,
        v.amount, v.entries, least(greatest(-v.amount, 0), greatest(-v.receivable, 0)), v.vat, v.included, v.withholding, _close_one.forced, prm.now(), prm.current_actor()
      FROM verdict v WHERE v.outcome IN ('settled', 'carry') ORDER BY v.payee_id, v.legal_entity, v.currency
      RETURNING statement_id, payee_id, partner_id, coalesce(legal_entity, '') AS legal_entity, currency
  ), accepted AS MATERIALIZED (
    SELECT p.partner_id AS earner_id, p.named_id, p.legal_entity, p.currency, p.amount, p.entries, m.statement_id, m.partner_id
    FROM made m JOIN placed p ON p.payee_id = m.payee_id AND p.legal_entity = m.legal_entity AND p.currency = m.currency
  ), taken AS (
    DELETE FROM prm.ledger_open o USING accepted a
    WHERE o.program_id = _close_one.program_id AND o.due_on <= _close_one.period_end AND NOT o.is_deferred
      AND (the_free OR (o.entry_id NOT IN (SELECT h FROM unnest(the_held) h) AND o.partner_id NOT IN (SELECT h FROM unnest(the_partners) h)
          AND (o.is_owed OR o.partner_id NOT IN (SELECT h FROM unnest(the_banned) h))))
      AND a.earner_id = o.partner_id AND a.named_id = o.payee_id AND a.legal_entity = o.legal_entity AND a.currency = o.currency
    RETURNING o.entry_id, a.statement_id, a.partner_id, o.part, o.amount
  ), released AS MATERIALIZED (
    SELECT d.entry_id, d.partner_id AS earner_id, a.statement_id, a.partner_id, d.part, d.release, d.release = d.amount AS is_last
    FROM deferred d JOIN accepted a ON a.earner_id = d.partner_id AND a.named_id = d.payee_id AND a.legal_entity = d.legal_entity AND a.currency = d.currency
  ), finished AS (
    DELETE FROM prm.ledger_open o USING released r
    WHERE r.is_last AND o.program_id = _close_one.program_id AND o.partner_id = r.earner_id AND o.entry_id = r.entry_id
  ), lessened AS (
    UPDATE prm.ledger_open o SET amount = o.amount - r.release, part = o.part + 1 FROM released r
    WHERE NOT r.is_last AND o.program_id = _close_one.program_id AND o.partner_id = r.earner_id AND o.entry_id = r.entry_id
  ), taxed AS MATERIALIZED (
    SELECT x.*, a.statement_id, a.partner_id AS reader_id FROM tax x
    JOIN accepted a ON a.earner_id = x.partner_id AND a.named_id = x.named_id AND a.legal_entity = x.legal_entity AND a.currency = x.currency
    WHERE x.entry_id IS NOT NULL
  ), posted AS (
    INSERT INTO prm.ledger (program_id, entry_id, partner_id, payee_id, legal_entity, kind, component, amount, currency, earned_on, eligible_at, reason, idempotency_key, explain)
      SELECT _close_one.program_id, x.entry_id, x.partner_id, x.payee_id, nullif(x.legal_entity, ''), 'tax', x.kind, x.amount, x.currency, _close_one.period_end, the_due,
        format('%s, %s%% of %s', x.tax_rule, trim_scale(x.rate * 100), round(x.base, 2)), concat_ws('/', 'tax', x.statement_id, x.partner_id, x.named_id, x.kind),
        jsonb_build_object('statement', x.statement_id, 'tax_rule', x.tax_rule, 'rate', x.rate, 'basis_amount', x.base, 'amount', x.amount)
      FROM taxed x ORDER BY x.entry_id
  ), line AS (
    INSERT INTO prm.statement_line (program_id, entry_id, statement_id, partner_id, part, amount)
      SELECT _close_one.program_id, k.entry_id, k.statement_id, k.partner_id, k.part, k.amount FROM taken k
      UNION ALL
      SELECT _close_one.program_id, r.entry_id, r.statement_id, r.partner_id, r.part, r.release FROM released r
      UNION ALL
      SELECT _close_one.program_id, x.entry_id, x.statement_id, x.reader_id, 1, x.amount FROM taxed x
  ), shared AS (
    INSERT INTO prm.statement_share (program_id, partner_id, statement_id, currency, amount, entries)
      SELECT _close_one.program_id, a.earner_id, a.statement_id, a.currency, sum(a.amount), sum(a.entries) FROM (
        SELECT i.earner_id, i.statement_id, i.currency, i.amount, i.entries FROM accepted i
        UNION ALL SELECT x.partner_id, x.statement_id, x.currency, x.amount, 1 FROM taxed x) a
      GROUP BY a.earner_id, a.statement_id, a.currency
      ORDER BY a.earner_id, a.statement_id
  )
  SELECT v.payee_id, v.currency, m.statement_id, v.amount, v.outcome,
    CASE v.outcome
      WHEN 'period_closed' THEN format('settled through %s already; the rest goes on the next statement', to_char(v.last_end, 'YYYY-MM-DD'))
      WHEN 'below_minimum' THEN format('%s is below the minimum of %s; it stays open', v.amount, v.min_payout)
      WHEN 'carry' THEN format('the payee owes %s; later statements pay it first', -v.amount)
      ELSE CASE WHEN v.amount = 0 THEN 'the entries cancel out' WHEN v.amount < v.min_payout THEN
        format('below the minimum of %s, but %s', v.min_payout, CASE WHEN v.is_leaving THEN 'the partner leaves' ELSE 'settled out of turn' END) END END,
    v.legal_name, nullif(v.legal_entity, ''), _close_one.period, _close_one.period_end, v.entries, v.auto_approve
  FROM verdict v LEFT JOIN made m ON m.payee_id = v.payee_id AND m.legal_entity = v.legal_entity AND m.currency = v.currency;
END
$prm$;
COMMENT ON FUNCTION prm._close_one(bigint, date, date, text, bigint, boolean, prm.settlement_hold) IS
'Settles what is due by the end of one period: makes statements with their lines, and returns a row for each payee, company and currency. The caller holds the calendar.';

CREATE FUNCTION prm._unsettled(program_id bigint, period date, payee_id bigint, held prm.settlement_hold, done prm.closing[]) RETURNS SETOF prm.closing
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_fiscal integer;
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(_unsettled.program_id))::date;
BEGIN
  SELECT p.fiscal_year_start INTO the_fiscal FROM prm.program p WHERE p.program_id = _unsettled.program_id;
  RETURN QUERY
  WITH span AS MATERIALIZED (
    -- Of each kind: the period asked for, and through which day it could be closed.
    SELECT k.kind, prm.period_start(_unsettled.period, k.kind, the_fiscal) AS first_day, prm.period_end(_unsettled.period, k.kind, the_fiscal) AS last_day,
      least(prm.period_end(_unsettled.period, k.kind, the_fiscal), prm.period_start(the_today, k.kind, the_fiscal) - 1) AS through
    FROM unnest(ARRAY['half_month', 'month', 'quarter']) AS k(kind)
  ), bundle AS MATERIALIZED (
    SELECT o.partner_id, o.payee_id AS named_id, o.legal_entity, o.currency,
      -- With this many distinct days only, the periods can be told apart afterwards.
      o.due_on, o.is_deferred, o.entry_id = ANY ((_unsettled.held).entries) OR o.partner_id = ANY ((_unsettled.held).partners)
        OR NOT o.is_owed AND o.partner_id = ANY ((_unsettled.held).banned) AS is_held,
      sum(o.amount) AS amount, count(*) AS entries
    FROM prm.ledger_open o WHERE o.program_id = _unsettled.program_id GROUP BY 1, 2, 3, 4, 5, 6, 7
  ), placed AS MATERIALIZED (
    SELECT b.*, coalesce(nullif(b.named_id, 0), prm._payee_of(_unsettled.program_id, b.partner_id, b.currency, _unsettled.period)) AS payee_id
    FROM (SELECT DISTINCT i.partner_id, i.named_id, i.currency FROM bundle i) b
  ), term AS MATERIALIZED (
    SELECT t.* FROM prm._settlement_terms(_unsettled.program_id, (SELECT array_agg(p.payee_id) FROM placed p), (SELECT array_agg(p.currency) FROM placed p)) t
  ), sorted AS (
    SELECT p.payee_id, b.currency, b.legal_entity, b.amount, b.entries, b.due_on, s.kind, s.first_day, s.last_day, s.through,
      CASE WHEN b.is_held THEN 'held' WHEN b.due_on > s.last_day THEN 'pending' WHEN b.due_on > s.through THEN 'period_open'
           WHEN b.is_deferred THEN 'uncollected' ELSE 'period_closed' END AS outcome
    FROM bundle b
    JOIN placed p ON p.partner_id = b.partner_id AND p.named_id = b.named_id AND p.currency = b.currency
    LEFT JOIN term t ON t.payee_id = p.payee_id AND t.currency = p.currency
    JOIN span s ON s.kind = coalesce(t.period_kind, 'month')
    WHERE _unsettled.payee_id IS NULL OR p.payee_id = _unsettled.payee_id
  ), grouped AS (
    SELECT s.payee_id, s.currency, s.legal_entity, s.outcome, s.kind, s.first_day, s.last_day, s.through, sum(s.amount) AS amount, sum(s.entries)::bigint AS entries, min(s.due_on) AS due_on
    FROM sorted s GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
  )
  SELECT g.payee_id, g.currency, NULL::bigint, g.amount, g.outcome,
    CASE g.outcome
      WHEN 'held' THEN 'held: SELECT * FROM prm.v_ledger WHERE status = ''held'' lists the entries'
      WHEN 'pending' THEN format('not due before %s', to_char(g.due_on, 'YYYY-MM-DD'))
      WHEN 'period_open' THEN format('period %s still open, closes %s', prm._period_label(g.first_day, g.kind, the_fiscal), to_char(g.last_day + 1, 'YYYY-MM-DD'))
      WHEN 'uncollected' THEN 'the customer has not paid it yet'
      ELSE format('period %s is closed; it goes on the next statement', prm._period_label(g.first_day, g.kind, the_fiscal)) END,
    y.legal_name, nullif(g.legal_entity, ''), g.first_day, g.last_day, g.entries, false
  FROM grouped g
  LEFT JOIN prm.payee y ON y.program_id = _unsettled.program_id AND y.payee_id = g.payee_id
  -- What the close itself left has its reason already.
  WHERE NOT (g.outcome IN ('period_closed', 'period_open') AND EXISTS (SELECT 1 FROM unnest(_unsettled.done) d
    WHERE d.payee_id = g.payee_id AND d.currency = g.currency AND coalesce(d.legal_entity, '') = g.legal_entity AND d.outcome IN ('below_minimum', 'period_closed')));
END
$prm$;
COMMENT ON FUNCTION prm._unsettled(bigint, date, bigint, prm.settlement_hold, prm.closing[]) IS
'What a close left open, by payee, currency, company and reason; done: what the close said itself.';

CREATE FUNCTION prm._close(program_id bigint, period date, payee_id bigint, mode text) RETURNS SETOF prm.closing
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_fiscal integer;
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(_close.program_id))::date;
  the_held prm.settlement_hold;
  the_done prm.closing[] := '{}';
  the_rows prm.closing[];
  the_periods date[];
  the_start date;
  the_last date;
  kind record;
BEGIN
  PERFORM prm._lock_calendar(_close.program_id, true);
  SELECT p.fiscal_year_start INTO the_fiscal FROM prm.program p WHERE p.program_id = _close.program_id;
  the_held := prm._settlement_hold(_close.program_id);
  FOR kind IN
    SELECT c.period_kind, c.closed_through FROM prm.settlement_calendar c
    WHERE c.program_id = _close.program_id AND (_close.mode <> 'forced' OR c.period_kind = 'month')
      -- Only kinds that somebody is settled by; without a profile that is the month.
      AND (c.period_kind = 'month' OR EXISTS (SELECT 1 FROM prm.settlement_profile f WHERE f.program_id = _close.program_id AND f.period_kind = c.period_kind))
    ORDER BY c.period_kind
  LOOP
    the_last := prm.period_end(_close.period, kind.period_kind, the_fiscal);
    IF the_last >= the_today AND _close.mode = 'close' THEN
      -- A running period is not closed; those before it are.
      the_last := prm.period_start(least(_close.period, the_today), kind.period_kind, the_fiscal) - 1;
    END IF;
    CONTINUE WHEN the_last <= kind.closed_through AND _close.mode <> 'forced';
    the_start := prm.period_start(the_last, kind.period_kind, the_fiscal);
    IF _close.mode = 'forced' THEN
      -- Through today; what comes later in the month goes on the next statement.
      the_last := the_today;
      IF EXISTS (SELECT 1 FROM prm.statement s WHERE s.program_id = _close.program_id AND s.payee_id = _close.payee_id AND s.period_end >= the_start) THEN
        the_start := the_today;
      END IF;
    END IF;
    the_periods := ARRAY[the_start];
    -- Periods that nobody closed come first, each with its own statements.
    IF _close.mode <> 'forced' AND (kind.closed_through IS NULL OR kind.closed_through + 1 < the_start) THEN
      SELECT array_agg(DISTINCT p.first_day ORDER BY p.first_day) INTO the_periods FROM (
        SELECT greatest(prm.period_start(d.due_on, kind.period_kind, the_fiscal), prm.period_start(coalesce(kind.closed_through + 1, d.due_on), kind.period_kind, the_fiscal)) AS first_day
        FROM (SELECT DISTINCT o.due_on FROM prm.ledger_open o WHERE o.program_id = _close.program_id AND o.due_on <= the_last) d
        UNION ALL SELECT the_start
        UNION ALL SELECT prm.period_start(g::date, kind.period_kind, the_fiscal)
          FROM prm.draw_agreement a CROSS JOIN LATERAL generate_series(greatest(lower(a.valid), kind.closed_through + 1)::timestamp,
            least(coalesce(upper(a.valid) - 1, the_last), the_last)::timestamp, interval '15 days') g
          WHERE a.program_id = _close.program_id AND greatest(lower(a.valid), kind.closed_through + 1) IS NOT NULL) p;
    END IF;
    FOREACH the_start IN ARRAY the_periods
    LOOP
      -- What an earlier period was too little for comes up again.
      the_done := coalesce((SELECT array_agg(d) FROM unnest(the_done) d WHERE d.statement_id IS NOT NULL OR d.outcome = 'period_closed'), '{}');
      SELECT array_agg(r) INTO the_rows FROM prm._close_one(_close.program_id, the_start,
        least(prm.period_end(the_start, kind.period_kind, the_fiscal), the_last), kind.period_kind,
        _close.payee_id, _close.mode = 'forced', the_held) r;
      the_done := the_done || coalesce(the_rows, '{}');
    END LOOP;
    IF _close.mode = 'close' AND _close.payee_id IS NULL THEN
      UPDATE prm.settlement_calendar c SET closed_through = the_last, closed_at = prm.now() WHERE c.program_id = _close.program_id AND c.period_kind = kind.period_kind;
    END IF;
  END LOOP;
  IF EXISTS (SELECT 1 FROM unnest(the_done) d WHERE d.auto_approve AND d.statement_id IS NOT NULL) THEN
    UPDATE prm.statement s SET state = 'approved'
      WHERE s.program_id = _close.program_id AND s.statement_id IN (SELECT d.statement_id FROM unnest(the_done) d WHERE d.auto_approve);
  END IF;
  RETURN QUERY SELECT * FROM unnest(the_done);
  RETURN QUERY SELECT u.* FROM prm._unsettled(_close.program_id, _close.period, _close.payee_id, the_held, the_done) u;
END
$prm$;
COMMENT ON FUNCTION prm._close(bigint, date, bigint, text) IS
'mode close: closes all periods that ended by the one that contains the day, in order; preview: also a running one; forced: one payee''s, through the end of the present month, whatever the amount.';

CREATE FUNCTION prm._close_dry(program_id bigint, period date, payee_id bigint, mode text) RETURNS SETOF prm.closing
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_rows prm.closing[];
BEGIN
  -- Done and undone, so that the answer is the very one that the close would give.
  BEGIN
    SELECT array_agg(c) INTO the_rows FROM prm._close(_close_dry.program_id, _close_dry.period, _close_dry.payee_id, _close_dry.mode) c;
    RAISE EXCEPTION USING ERRCODE = 'PRM01', MESSAGE = 'dry run', DETAIL = 'What it did is undone.', HINT = 'It is caught right below.';
  EXCEPTION WHEN SQLSTATE 'PRM01' THEN
    NULL;
  END;
  RETURN QUERY SELECT r.payee_id, r.currency, NULL::bigint, r.amount, r.outcome, r.reason, r.payee, r.legal_entity, r.period, r.period_end, r.entries, r.auto_approve
    FROM unnest(the_rows) r;
END
$prm$;
COMMENT ON FUNCTION prm._close_dry(bigint, date, bigint, text) IS 'What _close() would do, without doing it; statements have no number.';

CREATE FUNCTION prm.close_period(period date, dry_run boolean DEFAULT false, options jsonb DEFAULT '{}', program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.closing
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(close_period.program_id);
BEGIN
  PERFORM prm._check_settler();
  PERFORM prm._check_options(close_period.options, ARRAY['payee_id'], 'close_period');
  IF close_period.period IS NULL OR NOT isfinite(close_period.period) THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a period is named by a day of it',
      DETAIL = format('period is %s.', coalesce(close_period.period::text, 'NULL')), HINT = 'SELECT * FROM prm.close_period(''2026-01-31'').';
  END IF;
  IF close_period.dry_run THEN
    RETURN QUERY SELECT * FROM prm._close_dry(the_program, close_period.period, (close_period.options ->> 'payee_id')::bigint, 'close');
  ELSE
    RETURN QUERY SELECT * FROM prm._close(the_program, close_period.period, (close_period.options ->> 'payee_id')::bigint, 'close');
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm.close_period(date, boolean, jsonb, bigint) IS
'Settles every period that ended by the one that contains the day (month, half month or quarter, by the payee''s settlement_profile): one statement per payee, paying company, currency and period. Returns a row for each statement, and one with the reason for each amount that stays open. options: payee_id (only this payee, the period stays open for the others). dry_run only tells. Closes go one after the other; a repeated one settles nothing twice. Errors: 22023 no day, 42501 not the owner.';

CREATE FUNCTION prm.preview_period(period date DEFAULT NULL, payee_id bigint DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.closing
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(preview_period.program_id);
BEGIN
  PERFORM prm._check_settler();
  RETURN QUERY SELECT * FROM prm._close_dry(the_program, coalesce(preview_period.period, (prm.now() AT TIME ZONE prm._program_time_zone(the_program))::date),
    preview_period.payee_id, 'preview');
END
$prm$;
COMMENT ON FUNCTION prm.preview_period(date, bigint, bigint) IS
'What closing the period that contains the day (by default the running one) would give with what is known now. Writes nothing. v_statement_preview has the lines. Error 42501 not the owner.';

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
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('a dispute cannot end as "%s"', resolve_dispute.outcome),
      DETAIL = 'The outcomes are upheld, rejected and withdrawn.', HINT = 'Where it is upheld, prm.post_adjustment(...) corrects the amount.';
  END IF;
  PERFORM prm._lock_calendar(the_program, false);
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
