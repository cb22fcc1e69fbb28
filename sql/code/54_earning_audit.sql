
-- Earning, for auditors: everything in the ledger recomputed from events, credits and the versions of rules that it names.

CREATE TYPE prm.ledger_violation AS (rule text, entry_id bigint, detail text);
COMMENT ON TYPE prm.ledger_violation IS 'A row of audit_ledger().';
COMMENT ON COLUMN prm.ledger_violation.rule IS 'The invariant that does not hold, see audit_ledger().';
COMMENT ON COLUMN prm.ledger_violation.entry_id IS 'The ledger entry; NULL where it is about no entry in particular.';
COMMENT ON COLUMN prm.ledger_violation.detail IS 'What stands there, and what should.';

CREATE TYPE prm.credit_share AS (earning_event_id bigint, credit_type text, revision integer, partner_id bigint, weight numeric,
  amount numeric, list_amount numeric, margin numeric, quantity numeric);
COMMENT ON TYPE prm.credit_share IS 'What a partner is credited with of an event; shares of one credit type and revision sum to the whole.';

CREATE FUNCTION prm._credit_shares(program_id bigint) RETURNS SETOF prm.credit_share
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET jit = off AS $prm$
  WITH event AS MATERIALIZED (
    SELECT e.earning_event_id, e.partner_id, e.currency, coalesce(e.commissionable_amount, e.amount) AS amount, e.list_amount, e.quantity,
      greatest(coalesce(e.commissionable_amount, e.amount) - e.cost, 0) + 0 * (coalesce(e.commissionable_amount, e.amount) - e.cost) AS margin
    FROM prm.earning_event e WHERE e.program_id = _credit_shares.program_id AND e.kind <> 'refunded'
  ),
  credit AS MATERIALIZED (
    SELECT e.*, coalesce(c.credit_type, 'sourced') AS credit_type, coalesce(c.revision, 1) AS revision, coalesce(c.partner_id, e.partner_id) AS credited,
      coalesce(c.weight, 100) AS weight
    FROM event e LEFT JOIN prm.sales_credit c ON c.program_id = _credit_shares.program_id AND c.earning_event_id = e.earning_event_id
    WHERE coalesce(c.partner_id, e.partner_id) IS NOT NULL AND c.weight IS DISTINCT FROM 0
  )
  SELECT c.earning_event_id, c.credit_type, c.revision, c.credited, c.weight, c.amount, c.list_amount, c.margin, c.quantity FROM credit c WHERE c.weight = 100
  UNION ALL
  -- Where credits came later, the event's own partner was the first to be credited.
  SELECT c.earning_event_id, 'sourced', 0, c.partner_id, 100, c.amount, c.list_amount, c.margin, c.quantity FROM event c
  WHERE c.partner_id IS NOT NULL
    AND EXISTS (SELECT 1 FROM prm.sales_credit s WHERE s.program_id = _credit_shares.program_id AND s.earning_event_id = c.earning_event_id)
  UNION ALL
  SELECT c.earning_event_id, c.credit_type, c.revision, c.credited, c.weight,
    (prm.allocate(c.amount, array_agg(c.weight) OVER team, greatest(prm.minor_units(c.currency), scale(trim_scale(c.amount)))))[row_number() OVER team],
    (prm.allocate(c.list_amount, array_agg(c.weight) OVER team, greatest(prm.minor_units(c.currency), scale(trim_scale(c.list_amount)))))[row_number() OVER team],
    (prm.allocate(c.margin, array_agg(c.weight) OVER team, greatest(prm.minor_units(c.currency), scale(trim_scale(c.margin)))))[row_number() OVER team],
    (prm.allocate(c.quantity, array_agg(c.weight) OVER team, greatest(4, scale(trim_scale(c.quantity)))))[row_number() OVER team]
  FROM credit c WHERE c.weight <> 100
  WINDOW team AS (PARTITION BY c.earning_event_id, c.credit_type, c.revision ORDER BY c.credited ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
$prm$;
COMMENT ON FUNCTION prm._credit_shares(bigint) IS 'The shares of all credits of a programme, of each revision, dealt by largest remainder.';

CREATE FUNCTION prm._bracket_pays(schedule prm.commission_schedule, measure numeric, basis numeric) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
  SELECT CASE WHEN (p.part).rate IS NULL THEN (p.part).commission ELSE (p.part).rate * _bracket_pays.basis END
  FROM (SELECT prm.commission_parts(_bracket_pays.schedule, _bracket_pays.measure) AS part) p ORDER BY (p.part).upper DESC NULLS FIRST LIMIT 1
$prm$;
COMMENT ON FUNCTION prm._bracket_pays(prm.commission_schedule, numeric, numeric) IS 'What the bracket in which measure lies pays on basis: its rate of it, or its fixed amount.';

CREATE FUNCTION prm._audit_entries(program_id bigint) RETURNS SETOF prm.ledger_violation
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_zone constant text := prm._program_time_zone(_audit_entries.program_id);
BEGIN
  -- What an entry says of itself: event, rule, plan, date, currency, key.
  RETURN QUERY
    SELECT v.rule, l.entry_id, v.detail
    FROM prm.ledger l
    LEFT JOIN prm.earning_event e ON e.program_id = _audit_entries.program_id AND e.earning_event_id = l.earning_event_id
    LEFT JOIN prm.commission_rule r ON r.program_id = _audit_entries.program_id AND r.rule_id = l.rule_id
    LEFT JOIN prm.commission_plan p ON p.program_id = _audit_entries.program_id AND p.plan_id = r.plan_id
    LEFT JOIN prm.recurring_start s ON s.program_id = _audit_entries.program_id AND s.plan_id = r.plan_id AND s.component = r.component
      AND s.partner_id = l.partner_id AND s.customer_id = e.customer_id AND r.recurring_policy = 'first_sale'
    CROSS JOIN LATERAL (VALUES
      ('event', CASE WHEN l.kind IN ('commission', 'override', 'reversal', 'clawback') AND e.earning_event_id IS NULL AND l.idempotency_key NOT LIKE 'cancel/%' THEN 'it names no event' END),
      ('event_kind', CASE WHEN l.kind IN ('commission', 'override', 'bonus', 'royalty', 'fee') AND e.kind <> p.earn_on
        THEN format('the event is of kind %s, plan %s earns on %s', e.kind, p.plan_id, p.earn_on) END),
      ('rule', CASE
        WHEN l.kind IN ('commission', 'override') AND r.rule_id IS NULL THEN 'it names no rule'
        WHEN r.rule_id IS NOT NULL AND (r.plan_id, r.lineage_id, r.component) IS DISTINCT FROM (l.plan_id, l.lineage_id, l.component)
          THEN format('plan, lineage and component are %s, %s, %s, those of rule %s are %s, %s, %s', l.plan_id, l.lineage_id, l.component, r.rule_id, r.plan_id, r.lineage_id, r.component)
        WHEN l.level < r.level OR l.level > coalesce(r.through_level, r.level) AND r.override_mode IS DISTINCT FROM 'top_of_chain'
          THEN format('level %s, but rule %s pays level %s%s', l.level, r.rule_id, r.level, ' to ' || r.through_level)
        WHEN l.kind IN ('commission', 'override', 'bonus', 'royalty', 'fee') AND l.kind <> CASE WHEN r.entry_kind = 'commission' AND l.kind = 'override' THEN 'override' ELSE r.entry_kind END
          THEN format('it is of kind %s, rule %s makes %s', l.kind, r.rule_id, r.entry_kind) END),
      ('rule_in_force', CASE WHEN l.kind IN ('commission', 'override', 'bonus', 'royalty', 'fee') AND NOT r.valid @> l.earned_on AND s.rule_id IS DISTINCT FROM r.rule_id
        THEN format('rule %s is valid in %s, earned was on %s', r.rule_id, r.valid, to_char(l.earned_on, 'YYYY-MM-DD')) END),
      ('rule_match', CASE WHEN l.kind IN ('commission', 'override', 'bonus', 'royalty', 'fee') AND r.rule_id IS NOT NULL THEN concat_ws('; ',
        CASE WHEN r.customer_id IS NOT NULL AND r.customer_id IS DISTINCT FROM e.customer_id THEN format('rule %s is for customer %s, the event is of %s', r.rule_id, r.customer_id, coalesce(e.customer_id::text, 'none')) END,
        CASE WHEN r.partner_id IS NOT NULL AND r.partner_id <> l.partner_id AND r.override_mode IS DISTINCT FROM 'lower_of_plans' THEN format('rule %s is for partner %s, paid is %s', r.rule_id, r.partner_id, l.partner_id) END,
        CASE WHEN r.credit_type IS NOT NULL AND r.credit_type IS DISTINCT FROM l.credit_type THEN format('rule %s is for %s credit, this is %s', r.rule_id, r.credit_type, l.credit_type) END,
        CASE WHEN r.deal_kind IS NOT NULL AND r.deal_kind IS DISTINCT FROM e.deal_kind THEN format('rule %s is for %s deals, this is %s', r.rule_id, r.deal_kind, coalesce(e.deal_kind, 'none')) END,
        CASE WHEN r.registered IS NOT NULL AND r.registered IS DISTINCT FROM coalesce(e.registered, false) THEN format('rule %s is for sales that are %sregistered', r.rule_id, CASE WHEN r.registered THEN '' ELSE 'not ' END) END) END),
      -- What a ban canceled is canceled on the day of the ban.
      ('earned_on', CASE WHEN l.kind IN ('commission', 'override', 'bonus', 'royalty', 'fee', 'reversal', 'clawback') AND e.earning_event_id IS NOT NULL
          AND l.idempotency_key NOT LIKE 'cancel/%' AND l.earned_on <> (e.occurred_at AT TIME ZONE the_zone)::date
        THEN format('earned on %s, the event is of %s', to_char(l.earned_on, 'YYYY-MM-DD'), to_char((e.occurred_at AT TIME ZONE the_zone)::date, 'YYYY-MM-DD')) END),
      ('currency', CASE WHEN r.rule_id IS NOT NULL AND e.earning_event_id IS NOT NULL AND l.currency <> e.currency
        THEN format('it is in %s, the event in %s', l.currency, e.currency) END),
      ('recurring', CASE WHEN l.kind IN ('commission', 'override', 'bonus', 'royalty', 'fee') AND s.rule_id = r.rule_id AND r.recurring_months IS NOT NULL
          AND s.earning_event_id <> l.earning_event_id AND l.earned_on >= s.started_on + make_interval(months => r.recurring_months)
        THEN format('rule %s pays %s months from %s, earned was on %s', r.rule_id, r.recurring_months, to_char(s.started_on, 'YYYY-MM-DD'), to_char(l.earned_on, 'YYYY-MM-DD')) END),
      ('idempotency_key', CASE WHEN r.rule_id IS NOT NULL AND l.idempotency_key NOT LIKE 'cancel/%'
          AND l.idempotency_key <> concat_ws('/', l.earning_event_id, l.credit_type, l.partner_id, l.lineage_id, l.level, l.kind, l.sequence_no)
        THEN format('the key is %s, the facts say %s', l.idempotency_key,
          concat_ws('/', l.earning_event_id, l.credit_type, l.partner_id, l.lineage_id, l.level, l.kind, l.sequence_no)) END)
    ) AS v(rule, detail)
    WHERE l.program_id = _audit_entries.program_id AND v.detail <> '';

  RETURN QUERY
    SELECT 'duplicate', max(l.entry_id), format('%s entries of event %s, %s credit, partner %s, lineage %s, level %s, kind %s, sequence %s', count(*),
      l.earning_event_id, l.credit_type, l.partner_id, l.lineage_id, l.level, l.kind, l.sequence_no)
    FROM prm.ledger l WHERE l.program_id = _audit_entries.program_id AND l.lineage_id IS NOT NULL
    GROUP BY l.earning_event_id, l.credit_type, l.partner_id, l.lineage_id, l.level, l.kind, l.sequence_no, l.cause_entry_id HAVING count(*) > 1;
END
$prm$;
COMMENT ON FUNCTION prm._audit_entries(bigint) IS 'Part of audit_ledger(): what each entry says of itself, against its event, rule and plan.';

CREATE FUNCTION prm._audit_amounts(program_id bigint) RETURNS SETOF prm.ledger_violation
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_rounding text;
BEGIN
  SELECT p.rounding INTO the_rounding FROM prm.program p WHERE p.program_id = _audit_amounts.program_id;
  -- Each entry again: from the share of the credit, the version of the rule and what was attained before it.
  RETURN QUERY
    WITH entry AS MATERIALIZED (
      SELECT l.entry_id, l.partner_id, l.earning_event_id, l.credit_type, l.level, l.component, l.amount, l.currency, l.attained_before, l.cause_entry_id,
        l.plan_id, l.rule_id, l.lineage_id, r.basis, coalesce(r.measure, r.basis) AS measure, r.accumulate, r.override_mode, r.schedule::prm.commission_schedule AS schedule,
        r.min_amount, r.cap_amount, p.currency AS plan_currency, CASE WHEN r.entry_kind IN ('royalty', 'fee') THEN -1 ELSE 1 END AS sign,
        (l.explain ->> 'amount')::numeric AS said, coalesce((l.explain ->> 'exchange_rate')::numeric, 1) AS rate, (l.explain ->> 'basis_amount')::numeric AS said_basis,
        (l.explain ->> 'measure_amount')::numeric AS said_measure, l.earned_on, l.recorded_at
      FROM prm.ledger l
      JOIN prm.commission_rule r ON r.program_id = _audit_amounts.program_id AND r.rule_id = l.rule_id
      JOIN prm.commission_plan p ON p.program_id = _audit_amounts.program_id AND p.plan_id = r.plan_id
      WHERE l.program_id = _audit_amounts.program_id AND l.kind IN ('commission', 'override', 'bonus', 'royalty', 'fee')
    ),
    share AS MATERIALIZED (
      SELECT s.*, count(*) OVER (PARTITION BY s.earning_event_id, s.credit_type, s.revision) AS team FROM prm._credit_shares(_audit_amounts.program_id) s
    ),
    counted AS (
      -- Several steps may be of one event: the one that began where the entry says so.
      SELECT a.earning_event_id, a.lineage_id, a.partner_id, a.credit_type, a.amount_before, min(a.basis_before) AS basis_before
      FROM prm.accumulator_entry a WHERE a.program_id = _audit_amounts.program_id AND a.purpose = 'attained'
      GROUP BY a.earning_event_id, a.lineage_id, a.partner_id, a.credit_type, a.amount_before
    ),
    -- What the levels below one got under its component, and a whole level under all components.
    below AS (
      SELECT n.earning_event_id, n.credit_type, n.plan_id, n.component, n.level,
        sum(sum(n.amount)) OVER (PARTITION BY n.earning_event_id, n.credit_type, n.plan_id, n.component ORDER BY n.level) - sum(n.amount) AS amount FROM entry n
      GROUP BY n.earning_event_id, n.credit_type, n.plan_id, n.component, n.level
    ),
    whole AS (
      SELECT n.earning_event_id, n.credit_type, n.plan_id, n.level, sum(n.amount) AS amount FROM entry n
      GROUP BY n.earning_event_id, n.credit_type, n.plan_id, n.level
    ),
    capped AS (
      SELECT b.earning_event_id, b.credit_type, b.partner_id, b.rule_id, b.level, b.recorded_at, sum(b.amount) AS amount FROM prm.breakage b
      WHERE b.program_id = _audit_amounts.program_id AND b.reason_code = 'capped'
      GROUP BY b.earning_event_id, b.credit_type, b.partner_id, b.rule_id, b.level, b.recorded_at
    ),
    fact AS (
      SELECT n.*, c.amount_before IS NOT NULL AS is_counted, c.basis_before, coalesce(k.amount, 0) AS capped, s.team, w.amount AS below_amount, w.level AS below_level,
        b.amount AS paid_below, o.amount AS whole_below,
        (CASE n.basis WHEN 'amount' THEN s.amount WHEN 'margin' THEN s.margin WHEN 'quantity' THEN s.quantity ELSE s.list_amount END)
          * CASE WHEN n.basis = 'quantity' THEN 1 ELSE n.rate END AS basis_amount,
        -- Of attainment the entry says which part of the quota was reached with it.
        CASE n.measure WHEN 'attainment' THEN n.said_measure WHEN 'amount' THEN s.amount * n.rate WHEN 'margin' THEN s.margin * n.rate WHEN 'quantity' THEN s.quantity
          ELSE s.list_amount * n.rate END AS measure_amount
      FROM entry n
      LEFT JOIN share s ON s.earning_event_id = n.earning_event_id AND s.credit_type = n.credit_type AND (n.level > 0 OR s.partner_id = n.partner_id)
      LEFT JOIN counted c ON n.accumulate <> 'transaction' AND c.earning_event_id = n.earning_event_id AND c.lineage_id = n.lineage_id
        AND c.partner_id = n.partner_id AND c.credit_type = n.credit_type AND c.amount_before = n.attained_before
      LEFT JOIN capped k ON k.earning_event_id = n.earning_event_id AND k.credit_type = n.credit_type AND k.partner_id = n.partner_id
        AND k.rule_id = n.rule_id AND k.level = n.level AND k.recorded_at = n.recorded_at
      LEFT JOIN entry w ON w.entry_id = n.cause_entry_id
      LEFT JOIN below b ON n.override_mode = 'differential' AND (b.earning_event_id, b.credit_type, b.plan_id, b.component, b.level) = (n.earning_event_id, n.credit_type, n.plan_id, n.component, n.level)
      LEFT JOIN whole o ON n.override_mode = 'percent_of_below' AND (o.earning_event_id, o.credit_type, o.plan_id, o.level) = (n.earning_event_id, n.credit_type, n.plan_id, w.level)
    ),
    computed AS (
      SELECT f.*, x.basis_used,
        f.sign * CASE
          WHEN f.accumulate = 'cumulative' AND f.measure = f.basis THEN
            prm.round_money(prm.commission(f.schedule, f.attained_before + x.basis_used), f.plan_currency, the_rounding)
            - prm.round_money(prm.commission(f.schedule, f.attained_before), f.plan_currency, the_rounding)
          WHEN f.accumulate = 'cumulative' THEN
            prm.round_money(prm._bracket_pays(f.schedule, x.measure_after, f.basis_before + x.basis_used), f.plan_currency, the_rounding)
            - CASE WHEN f.basis_before = 0 THEN 0 ELSE prm.round_money(prm._bracket_pays(f.schedule, x.measure_before, f.basis_before), f.plan_currency, the_rounding) END
          WHEN f.accumulate = 'lookup' THEN prm._bracket_pays(f.schedule, x.measure_after, x.basis_used)
          WHEN f.measure <> f.basis THEN prm._bracket_pays(f.schedule, f.measure_amount, x.basis_used)
          ELSE prm.commission(f.schedule, x.basis_used)
        END AS gross
      FROM fact f
      CROSS JOIN LATERAL (SELECT CASE WHEN f.override_mode = 'percent_of_below' THEN f.said_basis ELSE f.basis_amount END AS basis_used,
        CASE f.measure WHEN 'attainment' THEN f.measure_amount ELSE f.attained_before + f.measure_amount END AS measure_after,
        CASE f.measure WHEN 'attainment' THEN f.attained_before * f.measure_amount / nullif(f.attained_before + f.basis_amount, 0) ELSE f.attained_before END AS measure_before) x
    ),
    judged AS (
      SELECT c.*, prm.round_money(c.gross / c.rate - coalesce(c.paid_below, 0), c.currency, the_rounding) AS expected
      FROM computed c
    )
    SELECT v.rule, j.entry_id, v.detail
    FROM (
      -- An upline does not say which credit it derives from: one of them must explain it.
      SELECT DISTINCT ON (j.entry_id) j.*
      FROM judged j ORDER BY j.entry_id, abs(j.amount + j.capped - j.expected) NULLS LAST
    ) j
    CROSS JOIN LATERAL (VALUES
      ('credit', CASE WHEN j.team IS NULL AND j.earning_event_id IS NOT NULL THEN format('event %s has no %s credit%s', j.earning_event_id, j.credit_type, CASE WHEN j.level = 0 THEN ' of partner ' || j.partner_id ELSE '' END) END),
      ('attained_before', CASE WHEN j.accumulate <> 'transaction' AND NOT j.is_counted
        THEN format('it says that %s was attained before; no step of the count of event %s begins there', coalesce(trim_scale(j.attained_before)::text, 'nothing'), j.earning_event_id) END),
      ('amount', CASE
        WHEN j.said <> j.amount THEN format('it is of %s, and explains %s', trim_scale(j.amount), trim_scale(j.said))
        WHEN j.team IS NULL OR (j.accumulate <> 'transaction' AND NOT j.is_counted)
          OR (j.override_mode = 'differential' AND j.team > 1) THEN NULL
        WHEN j.gross IS NULL THEN format('it is of %s, and the event has no %s', trim_scale(j.amount), j.basis)
        -- Of two credits with one upline nothing says which of them was capped.
        WHEN (j.override_mode = 'lower_of_plans' OR j.level > 0 AND j.team > 1 AND j.capped <> 0) AND abs(j.amount) <= abs(j.expected) THEN NULL
        WHEN abs(j.amount + j.capped - j.expected) > CASE WHEN j.currency = j.plan_currency THEN 0 ELSE power(10::numeric, -prm.minor_units(j.currency)) END
          THEN format('it is of %s%s; rule %s pays %s on %s%s', trim_scale(j.amount), CASE WHEN j.capped <> 0 THEN format(' and %s capped', trim_scale(j.capped)) ELSE '' END,
            j.rule_id, trim_scale(j.expected), trim_scale(j.basis_used), CASE WHEN j.accumulate <> 'transaction' THEN format(' after %s', trim_scale(j.attained_before)) ELSE '' END) END),
      ('below', CASE
        WHEN j.override_mode = 'percent_of_below' AND j.below_level IS NULL THEN 'it is a share of the entry below, and names none'
        WHEN j.cause_entry_id IS NOT NULL AND (j.below_level IS NULL OR j.below_level >= j.level)
          THEN format('it derives from entry %s, which is no entry of a lower level', j.cause_entry_id)
        WHEN j.override_mode = 'percent_of_below' AND j.currency = j.plan_currency
          AND j.said_basis <> j.below_amount AND j.said_basis IS DISTINCT FROM j.whole_below
          THEN format('it is paid on %s, entry %s below is of %s', trim_scale(j.said_basis), j.cause_entry_id, trim_scale(j.below_amount)) END),
      ('minimum', CASE WHEN j.currency = j.plan_currency AND abs(j.amount) < j.min_amount THEN format('it is of %s, rule %s pays no less than %s', trim_scale(j.amount), j.rule_id, trim_scale(j.min_amount)) END),
      ('cap', CASE WHEN j.cap_amount IS NULL AND j.capped <> 0 THEN format('%s of it were capped, and rule %s has no cap', trim_scale(j.capped), j.rule_id) END),
      ('exchange_rate', CASE WHEN j.currency <> j.plan_currency AND NOT EXISTS (SELECT 1 FROM prm.exchange_rate x WHERE x.program_id = _audit_amounts.program_id AND x.valid_from <= j.earned_on
          AND (x.from_currency, x.to_currency) IN ((j.currency, j.plan_currency), (j.plan_currency, j.currency)))
        THEN format('there is no rate from %s to %s on %s', j.currency, j.plan_currency, to_char(j.earned_on, 'YYYY-MM-DD')) END)
    ) AS v(rule, detail)
    WHERE v.detail IS NOT NULL;

  -- Below in the chain, but of another event, credit or plan.
  RETURN QUERY
    SELECT 'below', l.entry_id, format('entry %s, from which it derives, is of event %s, %s credit, plan %s; this one of event %s, %s credit, plan %s',
      b.entry_id, b.earning_event_id, b.credit_type, b.plan_id, l.earning_event_id, l.credit_type, l.plan_id)
    FROM prm.ledger l JOIN prm.ledger b ON b.program_id = _audit_amounts.program_id AND b.entry_id = l.cause_entry_id
    WHERE l.program_id = _audit_amounts.program_id AND l.kind = 'override'
      AND (b.earning_event_id, b.credit_type, b.plan_id) IS DISTINCT FROM (l.earning_event_id, l.credit_type, l.plan_id);
END
$prm$;
COMMENT ON FUNCTION prm._audit_amounts(bigint) IS 'Part of audit_ledger(): each earned amount computed again.';

CREATE FUNCTION prm._audit_counts(program_id bigint) RETURNS SETOF prm.ledger_violation
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_rounding text;
BEGIN
  SELECT p.rounding INTO the_rounding FROM prm.program p WHERE p.program_id = _audit_counts.program_id;
  RETURN QUERY
    WITH step AS (
      SELECT a.*, lag(a.amount_before + a.amount, 1, 0) OVER one AS reached, lag(a.basis_before + a.basis_amount, 1, 0) OVER one AS basis_reached,
        row_number() OVER one AS place
      FROM prm.accumulator_entry a WHERE a.program_id = _audit_counts.program_id
      WINDOW one AS (PARTITION BY a.purpose, a.lineage_id, a.plan_id, a.partner_id, a.customer_id, a.credit_type, a.window_start ORDER BY a.sequence_no)
    )
    SELECT 'count_chain', s.entry_id, format('step %s (event %s) of the count %s begins at %s%s, the steps before it end at %s', s.sequence_no, s.earning_event_id,
      concat_ws('/', s.purpose, s.lineage_id, s.plan_id, s.partner_id, s.customer_id, s.credit_type, s.window_start), trim_scale(s.amount_before),
      CASE WHEN s.basis_before <> s.basis_reached THEN format(' and basis %s', trim_scale(s.basis_before)) ELSE '' END,
      CASE WHEN s.place <> s.sequence_no THEN format('%s, number %s is missing', trim_scale(s.reached), s.place)
        WHEN s.basis_before <> s.basis_reached THEN format('%s and basis %s', trim_scale(s.reached), trim_scale(s.basis_reached)) ELSE trim_scale(s.reached)::text END)
    FROM step s WHERE s.amount_before <> s.reached OR s.basis_before <> s.basis_reached OR s.place <> s.sequence_no;

  RETURN QUERY
    SELECT 'count_total', NULL::bigint, format('the count %s stands at %s, basis %s, after %s steps; its steps sum to %s, basis %s, and are %s',
      concat_ws('/', k.purpose, k.lineage_id, k.plan_id, k.partner_id, k.customer_id, k.credit_type, k.window_start),
      coalesce(trim_scale(a.amount)::text, 'nothing'), trim_scale(a.basis_amount), a.entries, coalesce(trim_scale(s.amount)::text, 'nothing'), trim_scale(s.basis_amount), coalesce(s.entries, 0))
    FROM (SELECT i.* FROM prm.accumulator i WHERE i.program_id = _audit_counts.program_id) a
    FULL JOIN (
      SELECT i.purpose, i.lineage_id, i.plan_id, i.partner_id, i.customer_id, i.credit_type, i.window_start, sum(i.amount) AS amount,
        sum(i.basis_amount) AS basis_amount, count(*) AS entries
      FROM prm.accumulator_entry i WHERE i.program_id = _audit_counts.program_id
      GROUP BY i.purpose, i.lineage_id, i.plan_id, i.partner_id, i.customer_id, i.credit_type, i.window_start
    ) s USING (purpose, lineage_id, plan_id, partner_id, customer_id, credit_type, window_start)
    CROSS JOIN LATERAL (SELECT purpose, lineage_id, plan_id, partner_id, customer_id, credit_type, window_start) k
    WHERE coalesce(a.amount, 0) <> coalesce(s.amount, 0) OR coalesce(a.basis_amount, 0) <> coalesce(s.basis_amount, 0) OR coalesce(a.entries, 0) <> coalesce(s.entries, 0);

  -- Caps: what the entries of an event use of a cap is what they pay, and never goes beyond it.
  RETURN QUERY
    WITH used AS (
      SELECT a.earning_event_id, a.plan_id, a.lineage_id, a.partner_id, a.window_start, sum(a.amount) AS amount, bool_or(e.currency <> p.currency) AS converted
      FROM prm.accumulator_entry a
      JOIN prm.earning_event e ON e.program_id = _audit_counts.program_id AND e.earning_event_id = a.earning_event_id
      JOIN prm.commission_plan p ON p.program_id = _audit_counts.program_id AND p.plan_id = a.plan_id
      WHERE a.program_id = _audit_counts.program_id AND a.purpose = 'cap'
      GROUP BY a.earning_event_id, a.plan_id, a.lineage_id, a.partner_id, a.window_start
    ),
    entry AS MATERIALIZED (
      SELECT i.entry_id, i.amount * CASE WHEN r.entry_kind IN ('royalty', 'fee') THEN -1 ELSE 1 END AS amount, i.earning_event_id, i.plan_id, i.lineage_id, i.partner_id, i.currency <> p.currency AS converted,
        -- A cap of each event is counted nowhere, nor one of a customer where there is none.
        r.cap_amount IS NOT NULL AND NOT (r.cap_scope = 'event' OR r.cap_scope = 'customer' AND coalesce(o.customer_id, e.customer_id) IS NULL) AND r.cap_scope IS DISTINCT FROM 'plan' AS is_capped,
        r.cap_scope, i.kind IN ('commission', 'override', 'bonus', 'royalty', 'fee') AS is_new
      FROM prm.ledger i
      JOIN prm.commission_rule r ON r.program_id = _audit_counts.program_id AND r.rule_id = i.rule_id
      JOIN prm.commission_plan p ON p.program_id = _audit_counts.program_id AND p.plan_id = r.plan_id
      JOIN prm.earning_event e ON e.program_id = _audit_counts.program_id AND e.earning_event_id = i.earning_event_id
      -- A refund goes by the sale.
      LEFT JOIN prm.earning_event o ON o.program_id = _audit_counts.program_id AND o.earning_event_id = e.applies_to_id AND e.kind = 'refunded'
      WHERE i.program_id = _audit_counts.program_id
    ),
    -- By lineage, and by plan for caps of the whole plan (lineage 0).
    paid AS (
      SELECT n.earning_event_id, n.plan_id, n.lineage_id, CASE WHEN n.cap_scope IN ('customer', 'programme') THEN 0 ELSE n.partner_id END AS partner_id, sum(n.amount) AS amount,
        bool_or(n.converted) AS converted, min(n.entry_id) AS entry_id
      FROM entry n WHERE n.is_capped
      GROUP BY n.earning_event_id, n.plan_id, n.lineage_id, CASE WHEN n.cap_scope IN ('customer', 'programme') THEN 0 ELSE n.partner_id END
      UNION ALL
      SELECT n.earning_event_id, n.plan_id, 0, 0, sum(n.amount), bool_or(n.converted), min(n.entry_id)
      FROM entry n WHERE n.plan_id IN (SELECT r.plan_id FROM prm.commission_rule r WHERE r.program_id = _audit_counts.program_id AND r.cap_scope = 'plan')
      GROUP BY n.earning_event_id, n.plan_id
    )
    SELECT 'cap_usage', coalesce(n.entry_id, (SELECT min(l.entry_id) FROM prm.ledger l WHERE l.program_id = _audit_counts.program_id AND l.earning_event_id = u.earning_event_id)),
      format('the entries of event %s pay %s under %s, and use %s of its cap', coalesce(n.earning_event_id, u.earning_event_id), trim_scale(coalesce(n.amount, 0)),
        CASE coalesce(n.lineage_id, u.lineage_id) WHEN 0 THEN format('plan %s', coalesce(n.plan_id, u.plan_id)) ELSE format('lineage %s', coalesce(n.lineage_id, u.lineage_id)) END, trim_scale(coalesce(u.amount, 0)))
    FROM paid n FULL JOIN used u ON (u.earning_event_id, u.plan_id, u.lineage_id, u.partner_id) = (n.earning_event_id, n.plan_id, n.lineage_id, n.partner_id)
    WHERE coalesce(n.amount, 0) <> coalesce(u.amount, 0) AND NOT coalesce(n.converted, u.converted);

  RETURN QUERY
    SELECT 'cap_exceeded', a.entry_id, format('%s were used before it, with it %s; rule %s is capped at %s', trim_scale(a.amount_before), trim_scale(a.amount_before + a.amount), r.rule_id,
      trim_scale(r.cap_amount))
    FROM prm.accumulator_entry a
    JOIN prm.ledger l ON l.program_id = _audit_counts.program_id AND l.entry_id = a.entry_id AND l.kind IN ('commission', 'override', 'bonus', 'royalty', 'fee')
    JOIN prm.commission_rule r ON r.program_id = _audit_counts.program_id AND r.rule_id = l.rule_id AND (a.lineage_id <> 0 OR r.cap_scope = 'plan')
    WHERE a.program_id = _audit_counts.program_id AND a.purpose = 'cap' AND a.amount > 0 AND a.amount_before + a.amount > r.cap_amount;

  -- What a count of one version paid is F of what was attained: no entry is missing, none too much.
  RETURN QUERY
    SELECT 'telescope', NULL::bigint, format('rule %s paid partner %s %s in the window from %s; of the %s attained it pays %s', r.rule_id, a.partner_id, trim_scale(coalesce(w.paid, 0)), a.window_start,
      trim_scale(a.amount), trim_scale(w.expected))
    FROM prm.accumulator a
    JOIN prm.commission_rule r ON r.program_id = _audit_counts.program_id AND r.lineage_id = a.lineage_id
    JOIN prm.commission_plan p ON p.program_id = _audit_counts.program_id AND p.plan_id = a.plan_id
    LEFT JOIN (
      SELECT k.lineage_id, k.partner_id, k.credit_type, k.window_start, sum(k.paid) AS paid, bool_or(k.converted) AS converted
      FROM (
        SELECT DISTINCT c.earning_event_id, c.lineage_id, c.partner_id, c.credit_type, c.window_start, l.paid, e.currency <> g.currency AS converted
        FROM prm.accumulator_entry c
        JOIN prm.earning_event e ON e.program_id = _audit_counts.program_id AND e.earning_event_id = c.earning_event_id
        JOIN prm.commission_plan g ON g.program_id = _audit_counts.program_id AND g.plan_id = c.plan_id
        LEFT JOIN (
          SELECT i.earning_event_id, i.lineage_id, i.partner_id, i.credit_type, sum(i.amount) AS paid
          FROM prm.ledger i WHERE i.program_id = _audit_counts.program_id AND i.lineage_id IS NOT NULL AND i.idempotency_key NOT LIKE 'cancel/%'
          GROUP BY i.earning_event_id, i.lineage_id, i.partner_id, i.credit_type
        ) l ON (l.earning_event_id, l.lineage_id, l.partner_id, l.credit_type) = (c.earning_event_id, c.lineage_id, c.partner_id, c.credit_type)
        WHERE c.program_id = _audit_counts.program_id AND c.purpose = 'attained'
      ) k
      GROUP BY k.lineage_id, k.partner_id, k.credit_type, k.window_start
    ) w0 ON w0.lineage_id = a.lineage_id AND w0.partner_id = a.partner_id AND w0.credit_type = a.credit_type AND w0.window_start = a.window_start
    CROSS JOIN LATERAL (SELECT w0.paid, prm.round_money(prm.commission(r.schedule::prm.commission_schedule, a.amount), p.currency, the_rounding) AS expected) w
    WHERE a.program_id = _audit_counts.program_id AND a.purpose = 'attained' AND r.accumulate = 'cumulative' AND coalesce(r.measure, r.basis) = r.basis
      AND r.cap_amount IS NULL AND r.min_amount IS NULL AND r.entry_kind NOT IN ('royalty', 'fee') AND coalesce(r.override_mode, '') NOT IN ('differential', 'lower_of_plans')
      AND p.clawback_days IS NULL AND NOT coalesce(w0.converted, false)
      AND (SELECT count(*) FROM prm.commission_rule n WHERE n.program_id = _audit_counts.program_id AND n.lineage_id = a.lineage_id) = 1
      AND coalesce(w.paid, 0) <> w.expected;
END
$prm$;
COMMENT ON FUNCTION prm._audit_counts(bigint) IS 'Part of audit_ledger(): attained amounts and the use of caps.';

CREATE FUNCTION prm._audit_refunds(program_id bigint) RETURNS SETOF prm.ledger_violation
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_zone constant text := prm._program_time_zone(_audit_refunds.program_id);
  the_rounding text;
BEGIN
  SELECT p.rounding INTO the_rounding FROM prm.program p WHERE p.program_id = _audit_refunds.program_id;
  RETURN QUERY
    SELECT 'cause', b.entry_id, CASE
      WHEN l.entry_id IS NULL THEN 'it takes back, and names no entry'
      WHEN r.kind <> 'refunded' OR r.applies_to_id IS DISTINCT FROM l.earning_event_id
        THEN format('it takes back entry %s of event %s, and event %s refunds %s', l.entry_id, l.earning_event_id, r.earning_event_id, coalesce('event ' || r.applies_to_id, 'nothing'))
      ELSE format('it takes back entry %s of partner %s, %s, lineage %s, level %s, and is of partner %s, %s, lineage %s, level %s', l.entry_id, l.partner_id, l.currency, l.lineage_id, l.level,
        b.partner_id, b.currency, b.lineage_id, b.level) END
    FROM prm.ledger b
    LEFT JOIN prm.ledger l ON l.program_id = _audit_refunds.program_id AND l.entry_id = b.cause_entry_id
    LEFT JOIN prm.earning_event r ON r.program_id = _audit_refunds.program_id AND r.earning_event_id = b.earning_event_id
    WHERE b.program_id = _audit_refunds.program_id AND b.kind IN ('reversal', 'clawback') AND b.idempotency_key NOT LIKE 'cancel/%'
      -- What only counted is unwound, too; it has no entry to name.
      AND NOT (b.cause_entry_id IS NULL AND r.kind = 'refunded' AND EXISTS (SELECT 1 FROM prm.accumulator_entry c WHERE c.program_id = _audit_refunds.program_id
        AND c.purpose = 'attained' AND c.earning_event_id = r.applies_to_id AND c.lineage_id = b.lineage_id AND c.partner_id = b.partner_id)
        AND NOT EXISTS (SELECT 1 FROM prm.ledger n WHERE n.program_id = _audit_refunds.program_id AND n.earning_event_id = r.applies_to_id AND n.lineage_id = b.lineage_id
          AND n.partner_id = b.partner_id AND n.credit_type = b.credit_type AND n.entry_id < b.entry_id))
      AND (l.entry_id IS NULL OR r.kind IS DISTINCT FROM 'refunded' OR r.applies_to_id IS DISTINCT FROM l.earning_event_id
        OR (b.partner_id, b.currency, b.lineage_id, b.level) IS DISTINCT FROM (l.partner_id, l.currency, l.lineage_id, l.level));

  -- Of what a ban canceled nothing is left.
  RETURN QUERY
    SELECT 'canceled', c.entry_id, format('it was canceled, and %s %s are left of it', trim_scale(c.rest), c.currency)
    FROM (SELECT l.entry_id, l.currency, l.amount + sum(b.amount) AS rest FROM prm.ledger b
      JOIN prm.ledger l ON l.program_id = _audit_refunds.program_id AND l.entry_id = b.cause_entry_id
      WHERE b.program_id = _audit_refunds.program_id AND b.kind IN ('reversal', 'clawback')
      GROUP BY l.entry_id, l.currency, l.amount HAVING bool_or(b.idempotency_key LIKE 'cancel/%')) c
    WHERE c.rest <> 0;

  -- What was given back of each entry: never more than it, and of rules that do not count, exactly its part.
  RETURN QUERY
    WITH entry AS MATERIALIZED (
      SELECT l.entry_id, l.amount, l.currency, l.earning_event_id, l.lineage_id, l.partner_id, l.credit_type, l.level, r.accumulate, p.clawback_days, e.occurred_at, e.amount AS event_amount,
        -- Rows of the same thing (two sellers may share an upline) give back by their running sum; adjustments belong to the first.
        sum(l.amount) OVER w AS through, row_number() OVER w = 1 AS is_first
      FROM prm.ledger l
      JOIN prm.commission_rule r ON r.program_id = _audit_refunds.program_id AND r.rule_id = l.rule_id
      JOIN prm.commission_plan p ON p.program_id = _audit_refunds.program_id AND p.plan_id = r.plan_id
      JOIN prm.earning_event e ON e.program_id = _audit_refunds.program_id AND e.earning_event_id = l.earning_event_id
      WHERE l.program_id = _audit_refunds.program_id AND l.kind IN ('commission', 'override', 'bonus', 'royalty', 'fee')
      WINDOW w AS (PARTITION BY l.earning_event_id, l.lineage_id, l.partner_id, l.credit_type, l.level, l.currency ORDER BY l.entry_id)
    ),
    given AS (
      SELECT b.cause_entry_id AS entry_id, sum(b.amount) AS amount FROM prm.ledger b
      WHERE b.program_id = _audit_refunds.program_id AND b.kind IN ('reversal', 'clawback')
        AND b.idempotency_key NOT LIKE 'cancel/%' GROUP BY b.cause_entry_id
    ),
    refunded AS (
      SELECT n.entry_id, -sum(r.amount) AS amount FROM entry n
      JOIN prm.earning_event r ON r.program_id = _audit_refunds.program_id AND r.applies_to_id = n.earning_event_id AND r.kind = 'refunded'
      WHERE n.clawback_days IS NULL OR r.occurred_at <= ((n.occurred_at AT TIME ZONE the_zone) + make_interval(days => n.clawback_days)) AT TIME ZONE the_zone
      GROUP BY n.entry_id
    ),
    -- What later credits and recalculations adjusted is part of what an entry is worth, and of what it gave back.
    mended AS (
      SELECT CASE WHEN e.kind = 'refunded' THEN e.applies_to_id ELSE e.earning_event_id END AS earning_event_id, a.lineage_id, a.partner_id, a.credit_type, a.level,
        coalesce(sum(a.amount) FILTER (WHERE e.kind <> 'refunded'), 0) AS amount, coalesce(sum(a.amount) FILTER (WHERE e.kind = 'refunded'), 0) AS given
      FROM prm.ledger a JOIN prm.earning_event e ON e.program_id = _audit_refunds.program_id AND e.earning_event_id = a.earning_event_id
      WHERE a.program_id = _audit_refunds.program_id AND a.kind = 'adjustment' AND a.lineage_id IS NOT NULL
      GROUP BY CASE WHEN e.kind = 'refunded' THEN e.applies_to_id ELSE e.earning_event_id END, a.lineage_id, a.partner_id, a.credit_type, a.level
    )
    SELECT v.rule, n.entry_id, v.detail
    FROM entry n
    LEFT JOIN given g ON g.entry_id = n.entry_id
    LEFT JOIN refunded f ON f.entry_id = n.entry_id
    LEFT JOIN mended m ON (m.earning_event_id, m.lineage_id, m.partner_id, m.credit_type, m.level) = (n.earning_event_id, n.lineage_id, n.partner_id, n.credit_type, n.level)
    CROSS JOIN LATERAL (SELECT n.amount + CASE WHEN n.is_first THEN coalesce(m.amount, 0) ELSE 0 END AS worth,
        coalesce(g.amount, 0) + CASE WHEN n.is_first THEN coalesce(m.given, 0) ELSE 0 END AS given,
        prm.round_money(n.through * coalesce(f.amount, 0) / nullif(n.event_amount, 0), n.currency, the_rounding)
          - prm.round_money((n.through - n.amount) * coalesce(f.amount, 0) / nullif(n.event_amount, 0), n.currency, the_rounding) AS due) x
    CROSS JOIN LATERAL (VALUES
      ('given_back', CASE
        WHEN n.accumulate = 'cumulative' OR n.event_amount = 0 THEN NULL
        WHEN x.given <> 0 AND (sign(x.given) = sign(x.worth) OR abs(x.given) > abs(x.worth)) THEN format('%s of its %s were given back', trim_scale(-x.given), trim_scale(x.worth))
        WHEN m.earning_event_id IS NULL AND x.given <> -x.due
          THEN format('%s of its %s were given back; %s of %s refunded are %s', trim_scale(-x.given), trim_scale(n.amount), trim_scale(coalesce(f.amount, 0)), trim_scale(n.event_amount),
            trim_scale(x.due)) END)
    ) AS v(rule, detail)
    WHERE v.detail IS NOT NULL;

  RETURN QUERY
    SELECT 'refund_total', NULL::bigint, format('%s of event %s are noted as refunded in %s refunds, its refunds come to %s in %s', trim_scale(coalesce(t.refunded, 0)),
      coalesce(t.earning_event_id, r.earning_event_id), coalesce(t.refunds, 0), trim_scale(coalesce(r.amount, 0)), coalesce(r.refunds, 0))
    FROM (SELECT i.* FROM prm.refund_total i WHERE i.program_id = _audit_refunds.program_id) t
    FULL JOIN (
      SELECT e.applies_to_id AS earning_event_id, -sum(e.amount) AS amount, count(*) AS refunds FROM prm.earning_event e
      WHERE e.program_id = _audit_refunds.program_id AND e.kind = 'refunded' GROUP BY e.applies_to_id
    ) r ON r.earning_event_id = t.earning_event_id
    WHERE coalesce(t.refunded, 0) <> coalesce(r.amount, 0) OR coalesce(t.refunds, 0) <> coalesce(r.refunds, 0);

  -- Credits, and what was recorded as not paid.
  RETURN QUERY
    SELECT 'credits', NULL::bigint, format('the %s credits of event %s total %s', c.credit_type, c.earning_event_id, trim_scale(sum(c.weight)))
    FROM prm.sales_credit c WHERE c.program_id = _audit_refunds.program_id
    GROUP BY c.earning_event_id, c.credit_type, c.revision HAVING sum(c.weight) <> 100 AND (c.revision = 1 OR sum(c.weight) <> 0);

  RETURN QUERY
    SELECT 'breakage', l.entry_id, concat_ws('; ',
      CASE WHEN r.rule_id IS NOT NULL AND (r.plan_id, r.lineage_id, r.component) IS DISTINCT FROM (b.plan_id, b.lineage_id, b.component)
        THEN format('breakage %s is not of the plan, lineage and component of rule %s', b.breakage_id, r.rule_id) END,
      CASE WHEN b.currency <> e.currency THEN format('breakage %s is in %s, the event in %s', b.breakage_id, b.currency, e.currency) END,
      CASE WHEN b.reason_code = 'below_minimum' AND r.min_amount IS NULL THEN format('breakage %s is for a minimum, and rule %s has none', b.breakage_id, r.rule_id) END,
      CASE WHEN b.reason_code = 'below_minimum' AND b.currency = p.currency AND abs(b.amount) >= r.min_amount AND r.cap_amount IS NULL
        THEN format('breakage %s of %s is not below the minimum of %s', b.breakage_id, trim_scale(b.amount), trim_scale(r.min_amount)) END,
      CASE WHEN b.reason_code = 'below_minimum' AND l.entry_id IS NOT NULL THEN format('breakage %s says that nothing was paid, and entry %s pays', b.breakage_id, l.entry_id) END,
      CASE WHEN b.reason_code = 'capped' AND r.cap_amount IS NULL THEN format('breakage %s is for a cap, and rule %s has none', b.breakage_id, r.rule_id) END,
      CASE WHEN b.reason_code = 'no_exchange_rate' AND b.currency = p.currency THEN format('breakage %s is for a rate between %s and %s', b.breakage_id, b.currency, p.currency) END)
    FROM prm.breakage b
    JOIN prm.earning_event e ON e.program_id = _audit_refunds.program_id AND e.earning_event_id = b.earning_event_id
    LEFT JOIN prm.commission_rule r ON r.program_id = _audit_refunds.program_id AND r.rule_id = b.rule_id
    LEFT JOIN prm.commission_plan p ON p.program_id = _audit_refunds.program_id AND p.plan_id = b.plan_id
    -- With what later credits and recalculations made of both.
    LEFT JOIN (
      SELECT i.earning_event_id, i.credit_type, i.partner_id, i.lineage_id, i.level FROM prm.breakage i
      WHERE i.program_id = _audit_refunds.program_id AND i.reason_code = 'below_minimum'
      GROUP BY i.earning_event_id, i.credit_type, i.partner_id, i.lineage_id, i.level HAVING sum(i.amount) <> 0
    ) m ON b.reason_code = 'below_minimum' AND (m.earning_event_id, m.credit_type, m.partner_id, m.lineage_id, m.level) = (b.earning_event_id, b.credit_type, b.partner_id, b.lineage_id, b.level)
    LEFT JOIN (
      SELECT i.earning_event_id, i.credit_type, i.partner_id, i.lineage_id, i.level, min(i.entry_id) AS entry_id FROM prm.ledger i
      WHERE i.program_id = _audit_refunds.program_id AND i.kind IN ('commission', 'override', 'bonus', 'royalty', 'fee', 'adjustment') AND i.lineage_id IS NOT NULL
      GROUP BY i.earning_event_id, i.credit_type, i.partner_id, i.lineage_id, i.level HAVING sum(i.amount) <> 0
    ) l ON (l.earning_event_id, l.credit_type, l.partner_id, l.lineage_id, l.level) = (m.earning_event_id, m.credit_type, m.partner_id, m.lineage_id, m.level)
    WHERE b.program_id = _audit_refunds.program_id
      AND ((r.rule_id IS NOT NULL AND (r.plan_id, r.lineage_id, r.component) IS DISTINCT FROM (b.plan_id, b.lineage_id, b.component)) OR b.currency <> e.currency
        OR (b.reason_code = 'below_minimum' AND (r.min_amount IS NULL OR b.currency = p.currency AND abs(b.amount) >= r.min_amount AND r.cap_amount IS NULL OR l.entry_id IS NOT NULL))
        OR (b.reason_code = 'capped' AND r.cap_amount IS NULL) OR (b.reason_code = 'no_exchange_rate' AND b.currency = p.currency));
END
$prm$;
COMMENT ON FUNCTION prm._audit_refunds(bigint) IS 'Part of audit_ledger(): what was given back, credits and breakage.';

CREATE FUNCTION prm.audit_ledger(program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.ledger_violation
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(audit_ledger.program_id);
BEGIN
  RETURN QUERY
    SELECT v.rule, v.entry_id, v.detail
    FROM (SELECT * FROM prm._audit_entries(the_program) UNION ALL SELECT * FROM prm._audit_amounts(the_program)
      UNION ALL SELECT * FROM prm._audit_counts(the_program) UNION ALL SELECT * FROM prm._audit_refunds(the_program)
      UNION ALL SELECT * FROM prm._audit_settlement(the_program) UNION ALL SELECT * FROM prm._audit_mdf(the_program)) v
    ORDER BY v.entry_id NULLS LAST, v.rule, v.detail;
END
$prm$;
COMMENT ON FUNCTION prm.audit_ledger(bigint) IS
'Recomputes the ledger of a programme from its events, credits and the versions of rules that it names, and returns what does not hold; no rows: it is sound. Rules: event, event_kind, rule, rule_in_force, rule_match, earned_on, currency, recurring, idempotency_key, duplicate (what an entry says of itself); credit, attained_before, amount, below, minimum, cap, exchange_rate (its amount computed again); count_chain, count_total, cap_usage, cap_exceeded, telescope (attained amounts and caps); cause, given_back, canceled, refund_total, credits, breakage; statement_total, statement_share, statement_currency, statement_paid, settled_twice, entry_lost, unknown_entry, carry, cancelled, statement_rate, payout_sum, payout_twice, payout_ledger (of settlement: every entry is open or on statements, debts are carried and statements cancelled to the cent, and payouts are their statements); fund_request, fund_ledger, fund_carry (of funds: their entries are their requests and years). What today''s rules would make of the past is another question: recalculate() with dry_run answers it.';
