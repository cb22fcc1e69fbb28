
-- Earning: what was not paid and why, and how recalculate() books its differences.

CREATE OR REPLACE VIEW prm.v_unpaid WITH (security_invoker = true) AS
  SELECT u.program_id, u.earning_event_id, e.kind AS event_kind, e.occurred_at, (e.occurred_at AT TIME ZONE prm._program_time_zone(u.program_id))::date AS occurred_on,
    u.credit_type, u.partner_id, p.name AS partner, u.plan_id, c.name AS plan, u.component, u.rule_id, r.label AS rule, u.level,
    u.reason_code, u.reason, u.amount, u.currency, e.amount AS event_amount, e.deal_id, e.customer_id, u.breakage_id, u.recorded_at
  FROM (
    SELECT b.program_id, b.earning_event_id, b.credit_type, b.partner_id, b.plan_id, b.component, b.rule_id, b.level,
      b.reason_code, b.reason, b.amount, b.currency, b.breakage_id, b.recorded_at
    FROM prm.breakage b
    UNION ALL
    -- Events of kinds that earn, on which somebody is credited, and of which nothing is said anywhere.
    SELECT e.program_id, e.earning_event_id, x.credit_type, x.partner_id, NULL::bigint AS plan_id, NULL::text AS component, NULL::bigint AS rule_id, 0 AS level,
      CASE WHEN x.counted THEN 'zero' ELSE 'no_rule' END AS reason_code,
      CASE WHEN x.counted THEN 'it counts for a rule, and pays nothing itself'
        ELSE 'no rule of a plan in force pays it; explain_commission() says of each why' END AS reason,
      NULL::numeric AS amount, e.currency, NULL::bigint AS breakage_id, e.recorded_at
    FROM prm.earning_event e
    CROSS JOIN LATERAL (
      SELECT coalesce(s.credit_type, 'sourced') AS credit_type, coalesce(s.partner_id, e.partner_id) AS partner_id,
        EXISTS (SELECT 1 FROM prm.accumulator_entry a WHERE a.program_id = e.program_id AND a.earning_event_id = e.earning_event_id) AS counted
      FROM (SELECT 1) AS one
      LEFT JOIN (SELECT i.credit_type, i.partner_id FROM prm.sales_credit i
        WHERE i.program_id = e.program_id AND i.earning_event_id = e.earning_event_id
          AND i.revision = (SELECT max(n.revision) FROM prm.sales_credit n
            WHERE n.program_id = i.program_id AND n.earning_event_id = i.earning_event_id AND n.credit_type = i.credit_type)) s ON true) x
    WHERE x.partner_id IS NOT NULL AND e.kind <> 'refunded'
      AND EXISTS (SELECT 1 FROM prm.commission_plan p WHERE p.program_id = e.program_id AND p.is_active AND p.earn_on = e.kind)
      AND NOT EXISTS (SELECT 1 FROM prm.ledger l WHERE l.program_id = e.program_id AND l.earning_event_id = e.earning_event_id)
      AND NOT EXISTS (SELECT 1 FROM prm.breakage b WHERE b.program_id = e.program_id AND b.earning_event_id = e.earning_event_id)
  ) u
  JOIN prm.earning_event e ON e.program_id = u.program_id AND e.earning_event_id = u.earning_event_id
  JOIN prm.partner p ON p.program_id = u.program_id AND p.partner_id = u.partner_id
  LEFT JOIN prm.commission_plan c ON c.program_id = u.program_id AND c.plan_id = u.plan_id
  LEFT JOIN prm.commission_rule r ON r.program_id = u.program_id AND r.rule_id = u.rule_id;
COMMENT ON VIEW prm.v_unpaid IS
'What was not paid: one row for each amount that a winning rule would have paid and did not (breakage), and for each credit of an event on which nobody earned anything.';
COMMENT ON COLUMN prm.v_unpaid.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_unpaid.earning_event_id IS 'The event; explain_commission() takes it.';
COMMENT ON COLUMN prm.v_unpaid.event_kind IS 'Kind of the event: booked, invoiced ...';
COMMENT ON COLUMN prm.v_unpaid.occurred_at IS 'When the event happened.';
COMMENT ON COLUMN prm.v_unpaid.occurred_on IS 'Its business date, in the time zone of the programme.';
COMMENT ON COLUMN prm.v_unpaid.credit_type IS 'The type of the credit.';
COMMENT ON COLUMN prm.v_unpaid.partner_id IS 'Who was not paid: the one whom the rule would have paid, or who is credited.';
COMMENT ON COLUMN prm.v_unpaid.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_unpaid.plan_id IS 'The plan; NULL where no rule won.';
COMMENT ON COLUMN prm.v_unpaid.plan IS 'Its name.';
COMMENT ON COLUMN prm.v_unpaid.component IS 'Component of the plan.';
COMMENT ON COLUMN prm.v_unpaid.rule_id IS 'The version of the rule that won.';
COMMENT ON COLUMN prm.v_unpaid.rule IS 'Its label.';
COMMENT ON COLUMN prm.v_unpaid.level IS '0 for the seller, 1 for its parent ...';
COMMENT ON COLUMN prm.v_unpaid.reason_code IS 'no_rule (nothing matched, or what matched pays zero), zero (counted only), or that of prm.breakage: below_minimum, capped, no_exchange_rate ...';
COMMENT ON COLUMN prm.v_unpaid.reason IS 'The same in words.';
COMMENT ON COLUMN prm.v_unpaid.amount IS 'What was not paid; NULL where it cannot be told.';
COMMENT ON COLUMN prm.v_unpaid.currency IS 'Currency of amount and event_amount, ISO 4217.';
COMMENT ON COLUMN prm.v_unpaid.event_amount IS 'Amount of the whole event.';
COMMENT ON COLUMN prm.v_unpaid.deal_id IS 'The deal of the event.';
COMMENT ON COLUMN prm.v_unpaid.customer_id IS 'The customer of the event.';
COMMENT ON COLUMN prm.v_unpaid.breakage_id IS 'The row of prm.breakage; NULL where no rule won.';
COMMENT ON COLUMN prm.v_unpaid.recorded_at IS 'When it was recorded, wall clock.';

CREATE OR REPLACE VIEW prm.v_unpaid_reason WITH (security_invoker = true) AS
  SELECT u.program_id, date_trunc('month', u.occurred_on::timestamp)::date AS period, u.reason_code, u.currency, count(*) AS cases,
    count(DISTINCT u.earning_event_id) AS events, count(DISTINCT u.partner_id) AS partners, sum(u.amount) AS amount, count(*) FILTER (WHERE u.amount IS NULL) AS unknown
  FROM prm.v_unpaid u
  GROUP BY u.program_id, date_trunc('month', u.occurred_on::timestamp)::date, u.reason_code, u.currency;
COMMENT ON VIEW prm.v_unpaid_reason IS 'What was not paid, by month, reason and currency.';
COMMENT ON COLUMN prm.v_unpaid_reason.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_unpaid_reason.period IS 'First day of the month of the events, in the time zone of the programme.';
COMMENT ON COLUMN prm.v_unpaid_reason.reason_code IS 'As in prm.v_unpaid.';
COMMENT ON COLUMN prm.v_unpaid_reason.currency IS 'ISO 4217; currencies are never added.';
COMMENT ON COLUMN prm.v_unpaid_reason.cases IS 'Rows of prm.v_unpaid.';
COMMENT ON COLUMN prm.v_unpaid_reason.events IS 'Number of events.';
COMMENT ON COLUMN prm.v_unpaid_reason.partners IS 'Number of partners.';
COMMENT ON COLUMN prm.v_unpaid_reason.amount IS 'What was not paid, as far as it can be told; NULL: of none it can.';
COMMENT ON COLUMN prm.v_unpaid_reason.unknown IS 'Of how many cases the amount cannot be told.';

-- Recalculation: the differences become adjustments, and counts and breakage follow, all in one transaction.

CREATE OR REPLACE FUNCTION prm._book_recalculation(date_from date, date_to date, program_id bigint, earning_event_ids bigint[] DEFAULT NULL,
  plan_ids bigint[] DEFAULT NULL) RETURNS SETOF prm.recalculation
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_nestloop = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(_book_recalculation.program_id);
  the_zone constant text := prm._program_time_zone(the_program);
  the_from timestamptz := _book_recalculation.date_from::timestamp AT TIME ZONE the_zone;
  the_until timestamptz := (_book_recalculation.date_to + 1)::timestamp AT TIME ZONE the_zone;
  the_plans bigint[];
  the_events bigint[];
  the_rows prm.recalculation[];
  the_counts prm.earning_count[];
  the_moment timestamptz;
  the_asked bigint[];
  the_counting bigint[];
  the_touched bigint[];
BEGIN
  PERFORM prm._check_dates(_book_recalculation.date_from, _book_recalculation.date_to, 'recalculate');
  -- Accruals hold their plans shared: this waits for those under way, and keeps others off until it is done. The rows are
  -- changed, so that a recalculation which cannot see another one (REPEATABLE READ) fails with 40001.
  SELECT array_agg(p.plan_id) INTO the_plans
    FROM (SELECT i.plan_id FROM prm.commission_plan i WHERE i.program_id = the_program AND i.is_active
          AND (_book_recalculation.plan_ids IS NULL OR i.plan_id = ANY (_book_recalculation.plan_ids)) ORDER BY i.plan_id FOR NO KEY UPDATE) p;
  UPDATE prm.commission_plan SET rules_changed_at = clock_timestamp() WHERE program_id = the_program AND plan_id = ANY (the_plans);
  IF the_plans IS NULL THEN
    RETURN;
  END IF;
  the_events := CASE WHEN _book_recalculation.earning_event_ids IS NULL THEN prm._replay_events(_book_recalculation.date_from, _book_recalculation.date_to, the_plans, the_program)
    ELSE prm._recount_events(the_program, _book_recalculation.earning_event_ids, the_plans) END;
  IF _book_recalculation.earning_event_ids IS NOT NULL THEN
    the_counting := prm._counting_plans(the_program, the_plans);
    SELECT array_agg(e.earning_event_id) INTO the_asked FROM prm.earning_event e
      WHERE e.program_id = the_program AND (e.earning_event_id = ANY (_book_recalculation.earning_event_ids)
        OR (e.kind = 'refunded' AND e.applies_to_id = ANY (_book_recalculation.earning_event_ids)));
    SELECT array_agg(DISTINCT t.partner_id) INTO the_touched FROM (
      SELECT l.partner_id FROM prm.ledger l WHERE l.program_id = the_program AND l.earning_event_id = ANY (the_asked)
      UNION ALL
      SELECT c.partner_id FROM prm._earning_counts(the_program, the_events, the_plans) c WHERE c.earning_event_id = ANY (the_asked)
      UNION ALL
      SELECT a.partner_id FROM prm.accumulator_entry a WHERE a.program_id = the_program AND a.earning_event_id = ANY (the_asked)
      UNION ALL
      SELECT c.partner_id FROM prm.sales_credit c WHERE c.program_id = the_program AND c.earning_event_id = ANY (the_asked)) t;
  END IF;
  SELECT array_agg(r ORDER BY r.occurred_at, r.earning_event_id, r.credit_type, r.plan_id, r.component, r.level, r.partner_id, r.lineage_id) INTO the_rows
    FROM prm._recalculation(_book_recalculation.date_from, _book_recalculation.date_to, the_program, _book_recalculation.earning_event_ids, the_plans, the_events) r;

  -- What the replay counts and the counts do not have, of the events of these days.
  SELECT array_agg(ROW(d.purpose, d.lineage_id, d.plan_id, d.partner_id, d.customer_id, d.credit_type, d.window_start, d.earning_event_id, d.amount, d.basis_amount)::prm.earning_count
      ORDER BY e.occurred_at, d.earning_event_id) INTO the_counts
    FROM (
      SELECT purpose, lineage_id, plan_id, partner_id, customer_id, credit_type, window_start, earning_event_id,
        coalesce(n.amount, 0) - coalesce(o.amount, 0) AS amount, coalesce(n.basis_amount, 0) - coalesce(o.basis_amount, 0) AS basis_amount
      FROM (
        SELECT c.purpose, c.lineage_id, c.plan_id, c.partner_id, c.customer_id, c.credit_type, c.window_start, c.earning_event_id, sum(c.amount) AS amount, sum(c.basis_amount) AS basis_amount
        FROM prm._earning_counts(the_program, the_events, the_plans) c
        GROUP BY c.purpose, c.lineage_id, c.plan_id, c.partner_id, c.customer_id, c.credit_type, c.window_start, c.earning_event_id
      ) n
      FULL JOIN (
        SELECT a.purpose, a.lineage_id, a.plan_id, a.partner_id, a.customer_id, a.credit_type, a.window_start, a.earning_event_id, sum(a.amount) AS amount, sum(a.basis_amount) AS basis_amount
        FROM prm.accumulator_entry a WHERE a.program_id = the_program AND a.plan_id = ANY (the_plans)
        GROUP BY a.purpose, a.lineage_id, a.plan_id, a.partner_id, a.customer_id, a.credit_type, a.window_start, a.earning_event_id
      ) o USING (purpose, lineage_id, plan_id, partner_id, customer_id, credit_type, window_start, earning_event_id)
    ) d
    JOIN prm.earning_event e ON e.program_id = the_program AND e.earning_event_id = d.earning_event_id
      AND CASE WHEN the_asked IS NULL THEN e.occurred_at >= the_from AND e.occurred_at < the_until
          ELSE d.earning_event_id = ANY (the_asked) OR (d.earning_event_id = ANY (the_events) AND d.plan_id = ANY (the_counting) AND (d.partner_id = 0 OR d.partner_id = ANY (the_touched))) END
    LEFT JOIN (SELECT DISTINCT i.earning_event_id, i.plan_id FROM unnest(the_rows) i) r ON d.purpose = 'cap' AND r.earning_event_id = d.earning_event_id AND r.plan_id = d.plan_id
    -- Of those who share a cap one may use more of it and another less.
    WHERE d.amount <> 0 OR d.basis_amount <> 0 OR r.plan_id IS NOT NULL;
  the_moment := clock_timestamp();

  INSERT INTO prm.breakage (program_id, earning_event_id, credit_type, partner_id, plan_id, rule_id, lineage_id, component, level, reason_code, reason, amount, currency, recorded_at)
    SELECT the_program, d.earning_event_id, d.credit_type, d.partner_id, d.plan_id, d.rule_id, d.lineage_id, d.component, d.level, d.reason_code,
      CASE WHEN d.is_due THEN d.reason ELSE 'recalculated: ' || d.reason END, d.amount, d.currency, the_moment
    FROM (
      SELECT earning_event_id, credit_type, partner_id, plan_id, lineage_id, component, level, reason_code, currency, coalesce(n.rule_id, o.rule_id) AS rule_id,
        coalesce(n.reason, o.reason) AS reason, n.cases IS NOT NULL AS is_due, nullif(coalesce(n.amount, 0) - coalesce(o.amount, 0), 0) AS amount, n.amount IS NULL AND o.cases IS NULL AS is_untold
      FROM (
        SELECT o.earning_event_id, o.credit_type, o.partner_id, o.plan_id, o.lineage_id, o.component, o.level, o.reason_code, o.currency, max(o.rule_id) AS rule_id, max(o.reason) AS reason,
          sum(o.unpaid_amount) AS amount, count(*) AS cases
        FROM prm._earning_outcome(the_program, the_events, 'replay', the_plans) o
        WHERE o.unpaid_amount IS NOT NULL OR (o.outcome = 'unpaid' AND o.commission IS NULL AND o.reason_code NOT IN ('zero', 'missing_basis'))
        GROUP BY o.earning_event_id, o.credit_type, o.partner_id, o.plan_id, o.lineage_id, o.component, o.level, o.reason_code, o.currency
      ) n
      FULL JOIN (
        SELECT b.earning_event_id, b.credit_type, b.partner_id, b.plan_id, b.lineage_id, b.component, b.level, b.reason_code, b.currency, max(b.rule_id) AS rule_id, max(b.reason) AS reason,
          sum(b.amount) AS amount, count(*) AS cases
        FROM prm.breakage b WHERE b.program_id = the_program AND b.plan_id = ANY (the_plans)
        GROUP BY b.earning_event_id, b.credit_type, b.partner_id, b.plan_id, b.lineage_id, b.component, b.level, b.reason_code, b.currency
      ) o USING (earning_event_id, credit_type, partner_id, plan_id, lineage_id, component, level, reason_code, currency)
    ) d
    JOIN prm.earning_event e ON e.program_id = the_program AND e.earning_event_id = d.earning_event_id
      AND CASE WHEN the_asked IS NULL THEN e.occurred_at >= the_from AND e.occurred_at < the_until
          ELSE d.earning_event_id = ANY (the_asked) OR (d.earning_event_id = ANY (the_events) AND d.plan_id = ANY (the_counting) AND (d.partner_id = 0 OR d.partner_id = ANY (the_touched))) END
    WHERE d.amount IS NOT NULL OR d.is_untold
    ORDER BY e.occurred_at, d.earning_event_id;

  INSERT INTO prm.ledger (program_id, partner_id, payee_id, legal_entity, kind, component, amount, currency, earning_event_id, credit_type, plan_id, rule_id, lineage_id,
      level, cause_entry_id, sequence_no, earned_on, eligible_at, reason, idempotency_key, explain, recorded_at)
    SELECT the_program, d.partner_id, CASE WHEN c.partner_id = d.partner_id THEN c.payee_id END, coalesce(c.legal_entity, e.legal_entity), 'adjustment', d.component, d.difference, d.currency, d.earning_event_id, d.credit_type, d.plan_id, d.rule_id,
      d.lineage_id, d.level, c.entry_id, d.next_no, (prm.now() AT TIME ZONE the_zone)::date,
      -- Payable when what it corrects is, or would have been.
      coalesce(c.eligible_at, ((coalesce(a.occurred_at, e.occurred_at) AT TIME ZONE the_zone) + make_interval(days => p.hold_days)) AT TIME ZONE the_zone), d.reason,
      concat_ws('/', d.earning_event_id, d.credit_type, d.partner_id, d.lineage_id, d.level, 'adjustment', d.next_no),
      jsonb_build_object('plan', p.name, 'rule', r.label, 'recalculated', true, 'booked', d.booked, 'should_be', d.should_be, 'amount', d.difference), the_moment
    FROM (
      SELECT i.*, 1 + coalesce((SELECT max(l.sequence_no) FROM prm.ledger l WHERE l.program_id = the_program AND l.earning_event_id = i.earning_event_id AND l.credit_type = i.credit_type
          AND l.partner_id = i.partner_id AND l.lineage_id = i.lineage_id AND l.level = i.level AND l.kind = 'adjustment'), 0) AS next_no
      FROM unnest(the_rows) i
    ) d
    JOIN prm.earning_event e ON e.program_id = the_program AND e.earning_event_id = d.earning_event_id
    JOIN prm.commission_plan p ON p.program_id = the_program AND p.plan_id = d.plan_id
    JOIN prm.commission_rule r ON r.program_id = the_program AND r.rule_id = d.rule_id
    -- Who had nothing before is referred to the first entry of the event.
    LEFT JOIN prm.ledger c ON c.program_id = the_program AND c.entry_id = coalesce(d.cause_entry_id, CASE WHEN the_asked IS NOT NULL THEN
      (SELECT min(l.entry_id) FROM prm.ledger l WHERE l.program_id = the_program AND l.earning_event_id = d.earning_event_id AND l.plan_id = d.plan_id AND l.kind <> 'adjustment') END)
    LEFT JOIN prm.earning_event a ON a.program_id = the_program AND a.earning_event_id = e.applies_to_id AND e.kind = 'refunded'
    ORDER BY d.occurred_at, d.earning_event_id, d.credit_type, d.plan_id, d.component, d.level, d.partner_id, d.lineage_id;

  -- Whom a component pays for the first time has had its first sale: new sales are judged by it, as the next replay is.
  IF EXISTS (SELECT 1 FROM prm.commission_rule r WHERE r.program_id = the_program AND r.plan_id = ANY (the_plans) AND r.recurring_months IS NOT NULL) THEN
    INSERT INTO prm.recurring_start (program_id, plan_id, component, partner_id, customer_id, rule_id, lineage_id, started_on, earning_event_id, recorded_at)
      SELECT DISTINCT ON (d.plan_id, d.component, d.partner_id, e.customer_id)
        the_program, d.plan_id, d.component, d.partner_id, e.customer_id, d.rule_id, d.lineage_id, (e.occurred_at AT TIME ZONE the_zone)::date, d.earning_event_id, the_moment
      FROM unnest(the_rows) d
      JOIN prm.earning_event e ON e.program_id = the_program AND e.earning_event_id = d.earning_event_id AND e.kind <> 'refunded' AND e.customer_id IS NOT NULL
      WHERE d.booked = 0 AND d.should_be <> 0
        AND EXISTS (SELECT 1 FROM prm.commission_rule r JOIN prm.commission_rule v ON v.program_id = r.program_id AND v.lineage_id = r.lineage_id AND v.recurring_months IS NOT NULL
          WHERE r.program_id = the_program AND r.plan_id = d.plan_id AND r.component = d.component)
      ORDER BY d.plan_id, d.component, d.partner_id, e.customer_id,
        coalesce(least((SELECT min(i.recorded_at) FROM prm.accumulator_entry i WHERE i.program_id = the_program AND i.earning_event_id = d.earning_event_id AND i.recorded_at < the_moment),
          (SELECT min(l.recorded_at) FROM prm.ledger l WHERE l.program_id = the_program AND l.earning_event_id = d.earning_event_id AND l.kind <> 'adjustment'),
          (SELECT min(b.recorded_at) FROM prm.breakage b WHERE b.program_id = the_program AND b.earning_event_id = d.earning_event_id AND b.recorded_at < the_moment)), e.recorded_at),
        d.occurred_at, d.earning_event_id
      ON CONFLICT DO NOTHING;
  END IF;

  IF the_counts IS NOT NULL THEN
    INSERT INTO prm.accumulator (program_id, purpose, lineage_id, plan_id, partner_id, customer_id, credit_type, window_start)
      SELECT DISTINCT the_program, c.purpose, c.lineage_id, c.plan_id, c.partner_id, c.customer_id, c.credit_type, c.window_start FROM unnest(the_counts) c
      ORDER BY 2, 3, 4, 5, 6, 7, 8
      ON CONFLICT DO NOTHING;
    PERFORM a.amount FROM prm.accumulator a
      WHERE a.program_id = the_program AND (a.purpose, a.lineage_id, a.plan_id, a.partner_id, a.customer_id, a.credit_type, a.window_start)
        IN (SELECT c.purpose, c.lineage_id, c.plan_id, c.partner_id, c.customer_id, c.credit_type, c.window_start FROM unnest(the_counts) c)
      ORDER BY a.purpose, a.lineage_id, a.plan_id, a.partner_id, a.customer_id, a.credit_type, a.window_start FOR UPDATE;
    -- A step keeps the moment at which its event was counted first, which is the order of replays. Each adjustment says what it
    -- uses of a cap, so that a refund frees just that.
    WITH written AS (
      INSERT INTO prm.accumulator_entry (program_id, purpose, lineage_id, plan_id, partner_id, customer_id, credit_type, window_start, sequence_no, earning_event_id, entry_id,
          amount, basis_amount, amount_before, basis_before, recorded_at)
        SELECT the_program, c.purpose, c.lineage_id, c.plan_id, c.partner_id, c.customer_id, c.credit_type, c.window_start, a.entries + row_number() OVER steps, c.earning_event_id, u.entry_id,
          u.amount, c.basis_amount, a.amount + coalesce(sum(u.amount) OVER (steps ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0),
          a.basis_amount + coalesce(sum(c.basis_amount) OVER (steps ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0),
          coalesce(least((SELECT min(i.recorded_at) FROM prm.accumulator_entry i WHERE i.program_id = the_program AND i.earning_event_id = c.earning_event_id),
            (SELECT min(l.recorded_at) FROM prm.ledger l WHERE l.program_id = the_program AND l.earning_event_id = c.earning_event_id AND l.kind <> 'adjustment')), e.recorded_at)
        FROM unnest(the_counts) WITH ORDINALITY AS c(purpose, lineage_id, plan_id, partner_id, customer_id, credit_type, window_start, earning_event_id, amount, basis_amount, place)
        JOIN prm.accumulator a ON a.program_id = the_program AND a.purpose = c.purpose AND a.lineage_id = c.lineage_id AND a.plan_id = c.plan_id AND a.partner_id = c.partner_id
          AND a.customer_id = c.customer_id AND a.credit_type = c.credit_type AND a.window_start = c.window_start
        JOIN prm.earning_event e ON e.program_id = the_program AND e.earning_event_id = c.earning_event_id
        CROSS JOIN LATERAL (
          SELECT array_agg(x.entry_id ORDER BY x.entry_id) AS ids, array_agg(x.amount ORDER BY x.entry_id) AS amounts, sum(x.amount) AS total
          FROM (SELECT l.entry_id, l.amount * CASE (SELECT r.entry_kind FROM prm.commission_rule r WHERE r.program_id = the_program AND r.rule_id = l.rule_id)
                  WHEN 'royalty' THEN -1 WHEN 'fee' THEN -1 ELSE 1 END AS amount
                FROM prm.ledger l WHERE c.purpose = 'cap' AND l.program_id = the_program AND l.earning_event_id = c.earning_event_id AND l.recorded_at = the_moment
                  AND l.kind = 'adjustment' AND l.plan_id = c.plan_id AND c.lineage_id IN (0, l.lineage_id) AND c.partner_id IN (0, l.partner_id)) x) m
        CROSS JOIN LATERAL unnest(CASE WHEN m.total = c.amount THEN m.ids ELSE ARRAY[m.ids[1]] END, CASE WHEN m.total = c.amount THEN m.amounts ELSE ARRAY[c.amount] END)
          AS u(entry_id, amount)
        WHERE u.amount <> 0 OR c.basis_amount <> 0
        WINDOW steps AS (PARTITION BY c.purpose, c.lineage_id, c.plan_id, c.partner_id, c.customer_id, c.credit_type, c.window_start ORDER BY c.place, u.entry_id)
        RETURNING purpose, lineage_id, plan_id, partner_id, customer_id, credit_type, window_start, amount, basis_amount
    )
    UPDATE prm.accumulator a SET amount = a.amount + d.amount, basis_amount = a.basis_amount + d.basis_amount, entries = a.entries + d.steps
      FROM (SELECT c.purpose, c.lineage_id, c.plan_id, c.partner_id, c.customer_id, c.credit_type, c.window_start, sum(c.amount) AS amount, sum(c.basis_amount) AS basis_amount, count(*) AS steps
            FROM written c GROUP BY c.purpose, c.lineage_id, c.plan_id, c.partner_id, c.customer_id, c.credit_type, c.window_start) d
      WHERE a.program_id = the_program AND a.purpose = d.purpose AND a.lineage_id = d.lineage_id AND a.plan_id = d.plan_id AND a.partner_id = d.partner_id
        AND a.customer_id = d.customer_id AND a.credit_type = d.credit_type AND a.window_start = d.window_start;
  END IF;

  RETURN QUERY
    SELECT i.earning_event_id, i.partner_id, i.component, i.rule_id, i.currency, i.booked, i.should_be, i.difference, l.entry_id, i.reason, i.plan_id, i.level, i.credit_type,
      i.lineage_id, i.cause_entry_id, i.occurred_at
    FROM unnest(the_rows) i
    JOIN prm.ledger l ON l.program_id = the_program AND l.earning_event_id = i.earning_event_id AND l.kind = 'adjustment' AND l.recorded_at = the_moment
      AND l.credit_type = i.credit_type AND l.partner_id = i.partner_id AND l.lineage_id = i.lineage_id AND l.level = i.level
    ORDER BY l.entry_id;
END
$prm$;
REVOKE ALL ON FUNCTION prm._book_recalculation(date, date, bigint, bigint[], bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION prm._book_recalculation(date, date, bigint, bigint[], bigint[]) IS
'Books what recalculate() finds: adjustments in the ledger, and what follows in counts and breakage. For the profiles admin and manager, see grant_access(). Errors: 22023 dates, 40001 where another recalculation came first.';
