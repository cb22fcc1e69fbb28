
-- Settlement: the close. Periods are closed, and what is due goes on one statement for each payee, paying company, currency and
-- period. Nothing here goes row by row: a close is one statement of SQL per period, which reads only what is open.

CREATE FUNCTION prm._post_draws(program_id bigint, period_end date, period_kind text, payee_id bigint, forced boolean, held prm.settlement_hold) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_fiscal integer;
BEGIN
  SELECT p.fiscal_year_start INTO the_fiscal FROM prm.program p WHERE p.program_id = _post_draws.program_id;
  -- The draw itself is no earning: it is paid back from what is earned above it. Nor is money that came in, or what is brought
  -- forward: what plans and people post counts, that is what has a class of tax. Whoever accrues for a partner with a draw shares
  -- the calendar, so that nothing can come between this sum and the statement.
  WITH agreement AS MATERIALIZED (
    SELECT a.partner_id, a.legal_entity, a.currency, a.amount, a.is_recoverable, k.key
    FROM prm.draw_agreement a
    CROSS JOIN LATERAL (SELECT prm._payee_of(_post_draws.program_id, a.partner_id, a.currency, _post_draws.period_end) AS payee_id) y
    CROSS JOIN LATERAL prm._settlement_terms(_post_draws.program_id, ARRAY[y.payee_id], ARRAY[a.currency]) t
    CROSS JOIN LATERAL (SELECT prm.period_start(_post_draws.period_end, t.period_kind, the_fiscal) AS first_day) f
    CROSS JOIN LATERAL (SELECT concat_ws('/', 'draw', a.partner_id, a.currency, t.period_kind, f.first_day) AS key) k
    WHERE a.program_id = _post_draws.program_id AND a.valid @> _post_draws.period_end AND a.partner_id <> ALL ((_post_draws.held).partners || (_post_draws.held).banned)
      AND (_post_draws.forced OR t.period_kind = _post_draws.period_kind) AND (_post_draws.payee_id IS NULL OR y.payee_id = _post_draws.payee_id)
      -- Whoever has left draws no more, even where its agreement has no end; a forced close is its last.
      AND (_post_draws.forced OR NOT EXISTS (SELECT 1 FROM prm.partner p JOIN prm.machine_state s ON s.program_id = p.program_id AND s.machine = 'partner' AND s.state = p.state
        WHERE p.program_id = a.program_id AND p.partner_id = a.partner_id AND s.is_final))
      AND NOT EXISTS (SELECT 1 FROM prm.ledger l WHERE l.program_id = _post_draws.program_id AND l.idempotency_key = k.key)
      -- What was settled by another kind of period had its draws then: after a change of the profile the first whole period counts.
      AND NOT EXISTS (SELECT 1 FROM prm.statement s WHERE s.program_id = _post_draws.program_id AND s.payee_id = y.payee_id AND s.currency = a.currency
        AND s.period_end >= f.first_day AND s.period_kind <> t.period_kind AND s.state <> 'cancelled' AND NOT s.is_forced)
  ), item AS MATERIALIZED (
    SELECT a.key, o.partner_id, o.entry_id, o.amount, o.counted
    FROM agreement a
    CROSS JOIN LATERAL (SELECT i.partner_id, i.entry_id, i.amount, i.counted FROM prm.ledger_open i
      WHERE i.program_id = _post_draws.program_id AND i.partner_id = a.partner_id AND i.currency = a.currency AND i.due_on <= _post_draws.period_end
        AND NOT i.is_deferred AND i.tax_class <> 0 AND i.entry_id <> ALL ((_post_draws.held).entries) OFFSET 0) o
    UNION ALL
    SELECT a.key, r.partner_id, r.entry_id, r.release, o.counted
    FROM agreement a
    JOIN prm._deferred(_post_draws.program_id, _post_draws.period_end) r ON r.partner_id = a.partner_id AND r.currency = a.currency
    CROSS JOIN LATERAL (SELECT i.counted FROM prm.ledger_open i
      WHERE i.program_id = _post_draws.program_id AND i.partner_id = r.partner_id AND i.entry_id = r.entry_id OFFSET 0) o
    WHERE r.tax_class <> 0 AND r.entry_id <> ALL ((_post_draws.held).entries)
  ), counted AS (
    -- What stays open after this close, as it is below a minimum, is not earned again in the next period.
    UPDATE prm.ledger_open o SET counted = i.amount FROM item i
      WHERE o.program_id = _post_draws.program_id AND o.partner_id = i.partner_id AND o.entry_id = i.entry_id AND o.counted <> i.amount
  )
  INSERT INTO prm.ledger (program_id, partner_id, legal_entity, kind, component, amount, currency, earned_on, eligible_at, reason, idempotency_key, explain)
    SELECT _post_draws.program_id, d.partner_id, d.legal_entity, 'draw', CASE WHEN d.is_recoverable THEN 'recoverable' ELSE 'guarantee' END, d.posted, d.currency,
      _post_draws.period_end, _post_draws.period_end::timestamp AT TIME ZONE prm._program_time_zone(_post_draws.program_id),
      CASE WHEN d.posted > 0 THEN format('%s earned, %s guaranteed', d.earned, d.amount) ELSE format('repaid from %s earned above %s', d.earned - d.amount, d.amount) END,
      d.key, jsonb_build_object('earned', d.earned, 'draw', d.amount, 'debt_before', d.debt, 'amount', d.posted)
    FROM (
      SELECT a.*, e.earned, b.debt,
        CASE WHEN e.earned < a.amount THEN a.amount - greatest(e.earned, 0)
             WHEN a.is_recoverable THEN -least(b.debt, e.earned - a.amount) ELSE 0 END AS posted
      FROM agreement a
      LEFT JOIN (SELECT i.key, sum(i.amount - i.counted) AS sum FROM item i GROUP BY i.key) n ON n.key = a.key
      CROSS JOIN LATERAL (SELECT coalesce(n.sum, 0) AS earned) e
      CROSS JOIN LATERAL (
        SELECT coalesce(sum(l.amount), 0) AS debt FROM prm.ledger l
        WHERE l.program_id = _post_draws.program_id AND l.partner_id = a.partner_id AND (l.kind IN ('draw', 'payout', 'carry') OR l.kind = 'reversal' AND l.plan_id IS NULL)
          AND l.kind IN ('draw', 'reversal') AND l.component = 'recoverable' AND l.currency = a.currency) b
    ) d
    WHERE d.posted <> 0
    ORDER BY d.partner_id
    ON CONFLICT (program_id, idempotency_key) DO NOTHING;
END
$prm$;
COMMENT ON FUNCTION prm._post_draws(bigint, date, text, bigint, boolean, prm.settlement_hold) IS
'Writes what draws add to the earnings of a period, or take back of what is earned above them; once for each partner, currency and period. forced: of the period that runs, for whichever kind of period the payee has.';

CREATE FUNCTION prm._carry_debts(program_id bigint, period date, period_end date, period_kind text, payee_id bigint, forced boolean, held prm.settlement_hold) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
BEGIN
  WITH debt AS MATERIALIZED (
    SELECT s.statement_id, s.payee_id, s.partner_id, coalesce(s.legal_entity, '') AS legal_entity, s.currency, s.total, coalesce(s.debt_since, s.period_end) AS since
    FROM prm.statement s
    WHERE s.program_id = _carry_debts.program_id AND s.state NOT IN ('paid', 'carried', 'cancelled') AND s.state <> 'disputed' AND s.total < 0
      AND s.period_end < _carry_debts.period AND (_carry_debts.payee_id IS NULL OR s.payee_id = _carry_debts.payee_id)
      -- What a payout takes off already is none of ours.
      AND NOT EXISTS (SELECT 1 FROM prm.payout_statement c WHERE c.program_id = s.program_id AND c.statement_id = s.statement_id AND c.released_at IS NULL)
      -- The period that is closed must have room for it.
      AND NOT EXISTS (SELECT 1 FROM prm.statement i WHERE i.program_id = s.program_id AND i.payee_id = s.payee_id AND i.currency = s.currency
        AND coalesce(i.legal_entity, '') = coalesce(s.legal_entity, '') AND i.period_end >= _carry_debts.period AND i.state <> 'cancelled')
  ), term AS MATERIALIZED (
    SELECT t.* FROM prm._settlement_terms(_carry_debts.program_id, (SELECT array_agg(d.payee_id) FROM debt d), (SELECT array_agg(d.currency) FROM debt d)) t
    -- A debt that blocks is paid by money that comes in, not by what is earned.
    WHERE t.debt_policy <> 'block' AND (_carry_debts.forced OR t.period_kind = _carry_debts.period_kind)
  ), earner AS (
    SELECT DISTINCT d.payee_id, d.partner_id FROM debt d
    UNION SELECT i.payee_id, i.partner_id FROM prm.partner_payee i
      WHERE i.program_id = _carry_debts.program_id AND i.valid @> _carry_debts.period_end AND i.payee_id IN (SELECT d.payee_id FROM debt d)
  ), credit AS MATERIALIZED (
    SELECT e.payee_id, o.legal_entity, o.currency, sum(o.amount) AS amount
    FROM earner e
    CROSS JOIN LATERAL (
      SELECT i.legal_entity, i.currency, i.payee_id AS named_id, i.amount FROM prm.ledger_open i
      WHERE i.program_id = _carry_debts.program_id AND i.partner_id = e.partner_id AND i.due_on <= _carry_debts.period_end AND NOT i.is_deferred
        AND i.entry_id <> ALL ((_carry_debts.held).entries) AND i.partner_id <> ALL ((_carry_debts.held).partners)
        AND (i.is_owed OR i.partner_id <> ALL ((_carry_debts.held).banned))
      UNION ALL
      SELECT r.legal_entity, r.currency, r.payee_id, r.release FROM prm._deferred(_carry_debts.program_id, _carry_debts.period_end) r
      WHERE r.partner_id = e.partner_id AND r.entry_id <> ALL ((_carry_debts.held).entries) AND r.partner_id <> ALL ((_carry_debts.held).partners)
        AND (r.is_owed OR r.partner_id <> ALL ((_carry_debts.held).banned))) o
    WHERE coalesce(nullif(o.named_id, 0), prm._payee_of(_carry_debts.program_id, e.partner_id, o.currency, _carry_debts.period_end)) = e.payee_id
    GROUP BY e.payee_id, o.legal_entity, o.currency
  ), ranked AS (
    -- The oldest first, and as many as there is something to pay them with.
    SELECT d.statement_id, c.amount, sum(-d.total) OVER (PARTITION BY d.payee_id, d.legal_entity, d.currency ORDER BY d.since, d.statement_id) + d.total AS before
    FROM debt d
    JOIN term t ON t.payee_id = d.payee_id AND t.currency = d.currency
    JOIN credit c ON c.payee_id = d.payee_id AND c.legal_entity = d.legal_entity AND c.currency = d.currency
  )
  -- The trigger of statement writes the entries.
  UPDATE prm.statement s SET state = 'carried' FROM ranked r
    WHERE s.program_id = _carry_debts.program_id AND s.statement_id = r.statement_id AND r.amount > r.before;
END
$prm$;
COMMENT ON FUNCTION prm._carry_debts(bigint, date, date, text, bigint, boolean, prm.settlement_hold) IS
'Carries statements below zero into the period that is closed, the oldest first, as far as there is something in it to pay them with. Where there is nothing they stay as they are; so do those that are disputed, that a payout takes off, or that block payouts by their policy.';

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
  IF EXISTS (SELECT 1 FROM prm.draw_agreement a WHERE a.program_id = _close_one.program_id AND a.valid @> _close_one.period_end) THEN
    PERFORM prm._post_draws(_close_one.program_id, _close_one.period_end, _close_one.period_kind, _close_one.payee_id, _close_one.forced, _close_one.held);
  END IF;
  PERFORM prm._make_payees(_close_one.program_id);
  IF EXISTS (SELECT 1 FROM prm.statement s WHERE s.program_id = _close_one.program_id AND s.state NOT IN ('paid', 'carried', 'cancelled') AND s.total < 0) THEN
    PERFORM prm._carry_debts(_close_one.program_id, _close_one.period, _close_one.period_end, _close_one.period_kind, _close_one.payee_id, _close_one.forced, _close_one.held);
  END IF;
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
  ), brought AS MATERIALIZED (
    -- What is brought forward of debts, and since when they are.
    SELECT o.payee_id, o.legal_entity, o.currency, sum(o.amount) AS amount, max((l.explain ->> 'since')::date) AS since
    FROM prm.ledger_open o
    CROSS JOIN LATERAL (SELECT i.explain FROM prm.ledger i WHERE i.program_id = _close_one.program_id AND i.entry_id = o.entry_id OFFSET 0) l
    WHERE o.program_id = _close_one.program_id AND o.is_carry AND o.due_on <= _close_one.period_end
      AND (the_free OR (o.entry_id NOT IN (SELECT h FROM unnest(the_held) h) AND o.partner_id NOT IN (SELECT h FROM unnest(the_partners) h)))
    GROUP BY o.payee_id, o.legal_entity, o.currency
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
    SELECT t.*, y.partner_id, y.legal_name, m.min_payout, m.auto_approve, f.is_leaving, s.last_end, coalesce(g.amount, 0) AS carried, g.since, m.pay_currency, x.rate,
      CASE WHEN s.last_end >= _close_one.period THEN 'period_closed'
           WHEN t.amount > 0 AND t.amount < m.min_payout AND NOT (_close_one.forced OR f.is_leaving) THEN 'below_minimum'
           WHEN t.amount > 0 AND m.convert_at = 'statement' AND m.pay_currency <> t.currency AND x.rate IS NULL THEN 'no_rate'
           WHEN t.amount < 0 THEN 'carry' ELSE 'settled' END AS outcome
    FROM total t
    JOIN term m ON m.payee_id = t.payee_id AND m.currency = t.currency AND (_close_one.forced OR m.period_kind = _close_one.period_kind)
    JOIN prm.payee y ON y.program_id = _close_one.program_id AND y.payee_id = t.payee_id
    LEFT JOIN brought g ON g.payee_id = t.payee_id AND g.legal_entity = t.legal_entity AND g.currency = t.currency
    -- Only what is paid is converted; a debt stays in its currency.
    CROSS JOIN LATERAL (SELECT CASE WHEN t.amount > 0 AND m.convert_at = 'statement' AND m.pay_currency <> t.currency
      THEN prm._exchange_rate(_close_one.program_id, t.currency, m.pay_currency, _close_one.period_end) END AS rate) x
    CROSS JOIN LATERAL (SELECT max(i.period_end) AS last_end FROM prm.statement i
      WHERE i.program_id = _close_one.program_id AND i.payee_id = t.payee_id AND i.currency = t.currency AND coalesce(i.legal_entity, '') = t.legal_entity
        AND i.state <> 'cancelled') s
    -- Whoever leaves gets what is left, be it little.
    CROSS JOIN LATERAL (SELECT coalesce(p.state = 'offboarding' OR bool_or(k.is_final), false) AS is_leaving FROM prm.partner p
      LEFT JOIN prm.machine_state k ON k.program_id = p.program_id AND k.machine = 'partner' AND k.state = p.state
      WHERE p.program_id = _close_one.program_id AND p.partner_id = y.partner_id GROUP BY p.state) f
  ), made AS (
    INSERT INTO prm.statement (program_id, payee_id, partner_id, legal_entity, currency, period, period_end, period_kind, total, entries, receivable, vat, vat_included, withholding,
        is_forced, carried, debt_since, pay_currency, pay_total, exchange_rate, closed_at, closed_by)
      SELECT _close_one.program_id, v.payee_id, v.partner_id, nullif(v.legal_entity, ''), v.currency, _close_one.period, _close_one.period_end, _close_one.period_kind,
        v.amount, v.entries, least(greatest(-v.amount, 0), greatest(-v.receivable, 0)), v.vat, v.included, v.withholding, _close_one.forced,
        v.carried, CASE WHEN v.amount < 0 THEN coalesce(v.since, _close_one.period_end) END,
        CASE WHEN v.rate IS NOT NULL THEN v.pay_currency END, prm.round_money(v.amount * v.rate, v.pay_currency, the_rounding), v.rate, prm.now(), prm.current_actor()
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
    UPDATE prm.ledger_open o SET amount = o.amount - r.release, part = o.part + 1, counted = CASE WHEN o.counted = 0 THEN 0 ELSE o.counted - r.release END FROM released r
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
      WHEN 'no_rate' THEN format('there is no exchange rate from %s to %s on %s; it stays open', v.currency, v.pay_currency, to_char(_close_one.period_end, 'YYYY-MM-DD'))
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
    WHERE d.payee_id = g.payee_id AND d.currency = g.currency AND coalesce(d.legal_entity, '') = g.legal_entity AND d.outcome IN ('below_minimum', 'no_rate', 'period_closed')));
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
  the_closed prm.closing[];
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
      IF EXISTS (SELECT 1 FROM prm.statement s WHERE s.program_id = _close.program_id AND s.payee_id = _close.payee_id AND s.period_end >= the_start AND s.state <> 'cancelled') THEN
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
            least(coalesce(upper(a.valid) - 1, the_last), the_last)::timestamp, interval '13 days') g
          -- No period is shorter than the second half of a February. Without a first day nothing is made up for.
          WHERE a.program_id = _close.program_id AND isfinite(greatest(lower(a.valid), kind.closed_through + 1))) p;
    END IF;
    the_closed := '{}';
    FOREACH the_start IN ARRAY the_periods
    LOOP
      -- What an earlier period was too little for comes up again, in a later one of the same kind.
      the_closed := coalesce((SELECT array_agg(d) FROM unnest(the_closed) d WHERE d.statement_id IS NOT NULL OR d.outcome = 'period_closed'), '{}');
      SELECT array_agg(r) INTO the_rows FROM prm._close_one(_close.program_id, the_start,
        least(prm.period_end(the_start, kind.period_kind, the_fiscal), the_last), kind.period_kind,
        _close.payee_id, _close.mode = 'forced', the_held) r;
      the_closed := the_closed || coalesce(the_rows, '{}');
    END LOOP;
    the_done := the_done || the_closed;
    IF _close.mode = 'close' AND _close.payee_id IS NULL THEN
      UPDATE prm.settlement_calendar c SET closed_through = the_last, closed_at = prm.now() WHERE c.program_id = _close.program_id AND c.period_kind = kind.period_kind;
    END IF;
  END LOOP;
  IF EXISTS (SELECT 1 FROM unnest(the_done) d WHERE d.auto_approve AND d.statement_id IS NOT NULL) THEN
    UPDATE prm.statement s SET state = 'approved'
      WHERE s.program_id = _close.program_id AND s.statement_id IN (SELECT d.statement_id FROM unnest(the_done) d WHERE d.auto_approve)
        -- A debt of an earlier period may have been carried into a later one meanwhile.
        AND s.state = 'settled';
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
  the_payee bigint;
BEGIN
  PERFORM prm._check_settler();
  PERFORM prm._check_options(close_period.options, ARRAY['payee_id'], 'close_period');
  the_payee := prm._payee_option(the_program, close_period.options);
  IF close_period.period IS NULL OR NOT isfinite(close_period.period) THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a period is named by a day of it',
      DETAIL = format('period is %s.', coalesce(close_period.period::text, 'NULL')), HINT = 'SELECT * FROM prm.close_period(''2026-01-31'').';
  END IF;
  IF close_period.dry_run THEN
    RETURN QUERY SELECT * FROM prm._close_dry(the_program, close_period.period, the_payee, 'close');
  ELSE
    RETURN QUERY SELECT * FROM prm._close(the_program, close_period.period, the_payee, 'close');
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm.close_period(date, boolean, jsonb, bigint) IS
'Settles every period that ended by the one that contains the day (month, half month or quarter, by the payee''s settlement_profile): one statement per payee, paying company, currency and period. Returns a row for each statement, and one with the reason for each amount that stays open. options: payee_id (only this payee, the period stays open for the others). dry_run only tells. Closes go one after the other; a repeated one settles nothing twice. Errors: 22023 no day or a bad option, 42704 no such payee, 42501 not the owner.';

CREATE FUNCTION prm.preview_period(period date DEFAULT NULL, payee_id bigint DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.closing
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(preview_period.program_id);
BEGIN
  PERFORM prm._check_settler();
  IF NOT isfinite(preview_period.period) THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a period is named by a day of it',
      DETAIL = format('period is %s.', preview_period.period), HINT = 'SELECT * FROM prm.preview_period() shows the running one.';
  END IF;
  RETURN QUERY SELECT * FROM prm._close_dry(the_program, coalesce(preview_period.period, (prm.now() AT TIME ZONE prm._program_time_zone(the_program))::date),
    prm._check_payee(the_program, preview_period.payee_id), 'preview');
END
$prm$;
COMMENT ON FUNCTION prm.preview_period(date, bigint, bigint) IS
'What closing the period that contains the day (by default the running one) would give with what is known now. Writes nothing. v_statement_preview has the lines. Errors: 22023 no day, 42704 no such payee, 42501 not the owner.';
