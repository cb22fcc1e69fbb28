
-- Earning, what if: a draft plan over real history, history computed again, and what the open deals would earn.

CREATE FUNCTION prm._check_dates(date_from date, date_to date, what text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
BEGIN
  IF _check_dates.date_from IS NULL OR _check_dates.date_to IS NULL OR NOT isfinite(_check_dates.date_from) OR NOT isfinite(_check_dates.date_to)
     OR _check_dates.date_from > _check_dates.date_to THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('%s cannot go from %s to %s', _check_dates.what, coalesce(to_char(_check_dates.date_from, 'YYYY-MM-DD'), 'NULL'),
        coalesce(to_char(_check_dates.date_to, 'YYYY-MM-DD'), 'NULL')),
      DETAIL = 'Both are business dates, date_to is included, and date_from is not after it.',
      HINT = format('SELECT * FROM prm.%s(..., date ''2026-01-01'', date ''2026-03-31'').', _check_dates.what);
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._check_dates(date, date, text) IS 'Refuses a range of dates that is open, infinite or goes backwards (22023).';

CREATE FUNCTION prm._replay_events(date_from date, date_to date, plan_ids bigint[], program_id bigint) RETURNS bigint[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_zone constant text := prm._program_time_zone(_replay_events.program_id);
  the_fiscal integer;
  the_first date := _replay_events.date_from;
  the_begin date;
  the_end date := _replay_events.date_to;
  the_window text;
  the_ids bigint[];
BEGIN
  SELECT p.fiscal_year_start INTO the_fiscal FROM prm.program p WHERE p.program_id = _replay_events.program_id;
  LOOP
    -- Rules that count begin with the windows that contain the first day; what recurs began with the first sale, whenever.
    the_begin := the_first;
    FOR the_window IN
      SELECT DISTINCT w.window_kind FROM prm.commission_rule r
      CROSS JOIN LATERAL (VALUES (CASE WHEN r.accumulate <> 'transaction' THEN r.window_kind END), (CASE WHEN r.cap_amount IS NOT NULL THEN coalesce(r.cap_window, 'lifetime') END),
        (CASE WHEN r.recurring_months IS NOT NULL THEN 'lifetime' END)) AS w(window_kind)
      WHERE r.program_id = _replay_events.program_id AND r.plan_id = ANY (_replay_events.plan_ids) AND w.window_kind IS NOT NULL
    LOOP
      -- Later days may have been recorded before earlier ones, so what counts is replayed to its end.
      the_end := 'infinity';
      the_begin := least(the_begin, CASE WHEN the_window = 'lifetime' OR NOT isfinite(the_first) THEN '-infinity' ELSE prm.period_start(the_first, the_window, the_fiscal) END);
    END LOOP;
    EXIT WHEN the_begin = '-infinity';
    -- A refund needs what it refunds, in the windows of then.
    SELECT least(the_begin, min((o.occurred_at AT TIME ZONE the_zone)::date)) INTO the_first
      FROM prm.earning_event r JOIN prm.earning_event o ON o.program_id = _replay_events.program_id AND o.earning_event_id = r.applies_to_id
      WHERE r.program_id = _replay_events.program_id AND r.kind = 'refunded' AND r.occurred_at >= the_begin::timestamp AT TIME ZONE the_zone;
    EXIT WHEN the_first >= the_begin;
  END LOOP;
  WITH own AS MATERIALIZED (
    SELECT e.earning_event_id FROM prm.earning_event e
    WHERE e.program_id = _replay_events.program_id
      AND e.kind IN (SELECT p.earn_on FROM prm.commission_plan p WHERE p.program_id = _replay_events.program_id AND p.plan_id = ANY (_replay_events.plan_ids))
      AND (the_begin = '-infinity' OR e.occurred_at >= the_begin::timestamp AT TIME ZONE the_zone)
      AND (the_end = 'infinity' OR e.occurred_at < (the_end + 1)::timestamp AT TIME ZONE the_zone)
  )
  SELECT array_agg(i.earning_event_id) INTO the_ids
    FROM (SELECT o.earning_event_id FROM own o
      UNION ALL
      SELECT r.earning_event_id FROM prm.earning_event r JOIN own o ON o.earning_event_id = r.applies_to_id
      WHERE r.program_id = _replay_events.program_id AND r.kind = 'refunded') i;
  RETURN coalesce(the_ids, '{}');
END
$prm$;
COMMENT ON FUNCTION prm._replay_events(date, date, bigint[], bigint) IS
'The events that plans must see again so that those of a range of business dates come out right: from the beginning of the windows in which their rules count.';

-- ---- a draft plan ------------------------------------------------------------------------------------------------------

CREATE TYPE prm.plan_simulation AS (earning_event_id bigint, occurred_at timestamptz, partner_id bigint, level integer, component text, rule_id bigint,
  amount numeric, currency text, actual numeric, difference numeric, reason text, reason_code text, event_kind text, credit_type text, seller_id bigint,
  override_mode text, basis_amount numeric, attained_before numeric, unpaid_amount numeric);
COMMENT ON TYPE prm.plan_simulation IS 'A row of simulate_plan().';
COMMENT ON COLUMN prm.plan_simulation.earning_event_id IS 'The event.';
COMMENT ON COLUMN prm.plan_simulation.occurred_at IS 'When it happened.';
COMMENT ON COLUMN prm.plan_simulation.partner_id IS 'Who would be paid, or was.';
COMMENT ON COLUMN prm.plan_simulation.level IS '0 for the seller, 1 for its parent ...';
COMMENT ON COLUMN prm.plan_simulation.component IS 'The component of the plan; where only the ledger has something, the one that paid it.';
COMMENT ON COLUMN prm.plan_simulation.rule_id IS 'The rule that would pay; NULL where only the ledger has something.';
COMMENT ON COLUMN prm.plan_simulation.amount IS 'What the plan would pay; 0 where it would not.';
COMMENT ON COLUMN prm.plan_simulation.currency IS 'ISO 4217; currencies are never added.';
COMMENT ON COLUMN prm.plan_simulation.actual IS 'What the ledger has for the event, partner, level and component, by the plans that earn on the same kind of event. It stands in one row only, so that sums are right.';
COMMENT ON COLUMN prm.plan_simulation.difference IS 'amount less actual.';
COMMENT ON COLUMN prm.plan_simulation.reason IS 'Why, in words.';
COMMENT ON COLUMN prm.plan_simulation.reason_code IS 'The reason in one word, where a winner pays nothing or less.';
COMMENT ON COLUMN prm.plan_simulation.event_kind IS 'Kind of the event; refunded takes back.';
COMMENT ON COLUMN prm.plan_simulation.credit_type IS 'The type of the credit.';
COMMENT ON COLUMN prm.plan_simulation.seller_id IS 'The credited partner.';
COMMENT ON COLUMN prm.plan_simulation.override_mode IS 'How a level above 0 is paid.';
COMMENT ON COLUMN prm.plan_simulation.basis_amount IS 'What would be paid on.';
COMMENT ON COLUMN prm.plan_simulation.attained_before IS 'What would have been counted in the window before.';
COMMENT ON COLUMN prm.plan_simulation.unpaid_amount IS 'What the rule would pay, were it not for its minimum or cap.';

CREATE FUNCTION prm.simulate_plan(plan_id bigint, date_from date, date_to date, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.plan_simulation
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(simulate_plan.program_id);
  the_zone constant text := prm._program_time_zone(the_program);
  the_kind text;
  the_from timestamptz;
  the_until timestamptz;
BEGIN
  PERFORM prm._check_dates(simulate_plan.date_from, simulate_plan.date_to, 'simulate_plan');
  SELECT p.earn_on INTO the_kind FROM prm.commission_plan p WHERE p.program_id = the_program AND p.plan_id = simulate_plan.plan_id;
  IF the_kind IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no commission plan %s', coalesce(simulate_plan.plan_id::text, 'NULL')),
      DETAIL = format('It was looked for in programme %s.', the_program), HINT = 'SELECT plan_id, name, is_active FROM prm.commission_plan lists the plans.';
  END IF;
  the_from := simulate_plan.date_from::timestamp AT TIME ZONE the_zone;
  the_until := (simulate_plan.date_to + 1)::timestamp AT TIME ZONE the_zone;
  RETURN QUERY
    WITH event AS MATERIALIZED (
      SELECT e.earning_event_id, e.occurred_at, e.kind FROM prm.earning_event e
      WHERE e.program_id = the_program AND e.occurred_at >= the_from AND e.occurred_at < the_until AND e.kind IN (the_kind, 'refunded')
    ),
    simulated AS (
      SELECT o.*, row_number() OVER (PARTITION BY o.earning_event_id, o.partner_id, o.level, o.component, o.currency ORDER BY o.outcome <> 'won', o.ordinal, o.place, o.rule_id) AS place_here
      FROM prm._earning_outcome(the_program, prm._replay_events(simulate_plan.date_from, simulate_plan.date_to, ARRAY[simulate_plan.plan_id], the_program), 'replay',
        ARRAY[simulate_plan.plan_id]) o
      WHERE o.outcome IN ('won', 'unpaid')
    ),
    actual AS (
      SELECT l.earning_event_id, l.partner_id, l.level, l.component, l.currency, sum(l.amount) AS amount, string_agg(DISTINCT p.name, ', ') AS plans, min(l.credit_type) AS credit_type,
        1::bigint AS place_here
      FROM prm.ledger l JOIN prm.commission_plan p ON p.program_id = the_program AND p.plan_id = l.plan_id AND p.earn_on = the_kind
      JOIN event e ON e.earning_event_id = l.earning_event_id
      WHERE l.program_id = the_program
      GROUP BY l.earning_event_id, l.partner_id, l.level, l.component, l.currency
    )
    SELECT e.earning_event_id, e.occurred_at, x.partner_id, x.level, x.component, x.rule_id, x.amount, x.currency, x.actual, x.amount - x.actual, x.reason, x.reason_code, e.kind,
      x.credit_type, x.seller_id, x.override_mode, x.basis_amount, x.attained_before, x.unpaid_amount
    FROM (
      SELECT coalesce(s.earning_event_id, a.earning_event_id) AS earning_event_id, coalesce(s.partner_id, a.partner_id) AS partner_id, coalesce(s.level, a.level) AS level,
        coalesce(s.component, a.component) AS component, s.rule_id, coalesce(s.amount, 0) AS amount, coalesce(s.currency, a.currency) AS currency, coalesce(a.amount, 0) AS actual,
        CASE WHEN s.earning_event_id IS NULL THEN format('only the ledger pays this, by plan %s', a.plans) ELSE concat_ws(': ', s.rule_label, s.reason) END AS reason,
        s.reason_code, coalesce(s.credit_type, a.credit_type) AS credit_type, s.seller_id, s.override_mode, s.basis_amount, s.attained_before, s.unpaid_amount
      FROM simulated s
      FULL JOIN actual a ON a.earning_event_id = s.earning_event_id AND a.partner_id = s.partner_id AND a.level = s.level AND a.component = s.component
        AND a.currency = s.currency AND a.place_here = s.place_here
    ) x
    JOIN event e ON e.earning_event_id = x.earning_event_id
    ORDER BY e.occurred_at, e.earning_event_id, x.level, x.partner_id, x.component, x.rule_id NULLS LAST;
END
$prm$;
COMMENT ON FUNCTION prm.simulate_plan(bigint, date, date, bigint) IS
'What a plan, in force or a draft (is_active = false), would have paid on the events of a range of business dates, beside what the ledger has; writes nothing. Counting rules begin at the start of their windows. Sum amount, actual and difference by what you like. Errors: 42704 unknown plan, 22023 dates.';

-- ---- what a replay counts -----------------------------------------------------------------------------------------------

CREATE TYPE prm.earning_count AS (purpose text, lineage_id bigint, plan_id bigint, partner_id bigint, customer_id bigint, credit_type text, window_start date,
  earning_event_id bigint, amount numeric, basis_amount numeric);
COMMENT ON TYPE prm.earning_count IS 'A step of a count, as in prm.accumulator_entry: which count, by which event, and by how much.';

CREATE FUNCTION prm._earning_counts(program_id bigint, earning_event_ids bigint[], plan_ids bigint[]) RETURNS SETOF prm.earning_count
LANGUAGE c STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'prm_earning_counts';
COMMENT ON FUNCTION prm._earning_counts(bigint, bigint[], bigint[]) IS
'The steps by which a replay of events counts attained amounts and the use of caps, see prm._earning_outcome(). C, see src/earning_replay.c.';

-- ---- history again -----------------------------------------------------------------------------------------------------

CREATE TYPE prm.recalculation AS (earning_event_id bigint, partner_id bigint, component text, rule_id bigint, currency text, booked numeric, should_be numeric,
  difference numeric, entry_id bigint, reason text, plan_id bigint, level integer, credit_type text, lineage_id bigint, cause_entry_id bigint, occurred_at timestamptz);
COMMENT ON TYPE prm.recalculation IS 'A row of recalculate(): a difference between the ledger and what today''s rules and facts make of the events.';
COMMENT ON COLUMN prm.recalculation.earning_event_id IS 'The event.';
COMMENT ON COLUMN prm.recalculation.partner_id IS 'Who is paid.';
COMMENT ON COLUMN prm.recalculation.component IS 'The component of the plan.';
COMMENT ON COLUMN prm.recalculation.rule_id IS 'The version of the rule that pays, or that paid where none does any more.';
COMMENT ON COLUMN prm.recalculation.currency IS 'ISO 4217.';
COMMENT ON COLUMN prm.recalculation.booked IS 'What the ledger has, adjustments included.';
COMMENT ON COLUMN prm.recalculation.should_be IS 'What the rules make of it.';
COMMENT ON COLUMN prm.recalculation.difference IS 'should_be less booked: the adjustment.';
COMMENT ON COLUMN prm.recalculation.entry_id IS 'The ledger entry that books the difference; NULL with dry_run.';
COMMENT ON COLUMN prm.recalculation.reason IS 'Why, in words.';
COMMENT ON COLUMN prm.recalculation.plan_id IS 'The plan.';
COMMENT ON COLUMN prm.recalculation.level IS '0 for the seller, 1 for its parent ...';
COMMENT ON COLUMN prm.recalculation.credit_type IS 'The type of the credit.';
COMMENT ON COLUMN prm.recalculation.lineage_id IS 'The rule through all its versions.';
COMMENT ON COLUMN prm.recalculation.cause_entry_id IS 'The entry that is corrected; NULL where there was none.';
COMMENT ON COLUMN prm.recalculation.occurred_at IS 'When the event happened.';

-- Plans of which some rule counts over several events: what one event earns changes what others do.
CREATE FUNCTION prm._counting_plans(program_id bigint, plan_ids bigint[]) RETURNS bigint[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
BEGIN
  RETURN (SELECT array_agg(DISTINCT r.plan_id) FROM prm.commission_rule r
    WHERE r.program_id = _counting_plans.program_id AND r.plan_id = ANY (_counting_plans.plan_ids)
      AND (r.accumulate <> 'transaction' OR (r.cap_amount IS NOT NULL AND r.cap_scope <> 'event') OR r.recurring_months IS NOT NULL));
END
$prm$;
COMMENT ON FUNCTION prm._counting_plans(bigint, bigint[]) IS 'Those of the plans that count over several events: accumulate, are capped or recur; NULL for none.';

-- The events that must be seen again so that some events come out right in some plans, as they were counted then.
CREATE FUNCTION prm._recount_events(program_id bigint, earning_event_ids bigint[], plan_ids bigint[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_asked bigint[];
  the_counting bigint[] := prm._counting_plans(_recount_events.program_id, _recount_events.plan_ids);
  the_partners bigint[];
  the_lineages bigint[];
BEGIN
  SELECT array_agg(i.earning_event_id) INTO the_asked FROM (
    SELECT unnest(_recount_events.earning_event_ids) AS earning_event_id
    UNION
    SELECT r.earning_event_id FROM prm.earning_event r
    WHERE r.program_id = _recount_events.program_id AND r.applies_to_id = ANY (_recount_events.earning_event_ids) AND r.kind = 'refunded') i;
  IF the_counting IS NULL THEN
    RETURN the_asked;
  END IF;
  -- Counts are kept by partner, but for caps that several share: those need whoever used them.
  SELECT array_agg(DISTINCT t.partner_id) INTO the_partners FROM (
    SELECT o.partner_id FROM prm._earning_outcome(_recount_events.program_id, _recount_events.earning_event_ids, 'explain', the_counting) o WHERE o.outcome <> 'no_match'
    UNION ALL
    SELECT l.partner_id FROM prm.ledger l WHERE l.program_id = _recount_events.program_id AND l.earning_event_id = ANY (the_asked)
    UNION ALL
    SELECT a.partner_id FROM prm.accumulator_entry a WHERE a.program_id = _recount_events.program_id AND a.earning_event_id = ANY (the_asked)) t;
  SELECT array_agg(DISTINCT r.lineage_id) || 0::bigint, CASE WHEN bool_or(r.cap_scope IN ('customer', 'programme', 'plan')) THEN NULL ELSE the_partners END
    INTO the_lineages, the_partners FROM prm.commission_rule r WHERE r.program_id = _recount_events.program_id AND r.plan_id = ANY (the_counting);
  SELECT array_agg(i.earning_event_id) INTO the_asked FROM (
    SELECT unnest(the_asked) AS earning_event_id
    UNION
    SELECT l.earning_event_id FROM prm.ledger l
    WHERE l.program_id = _recount_events.program_id AND l.plan_id = ANY (the_counting) AND l.earning_event_id IS NOT NULL AND l.rule_id IS NOT NULL
      AND (the_partners IS NULL OR l.partner_id = ANY (the_partners))
    UNION
    SELECT a.earning_event_id FROM prm.accumulator_entry a
    WHERE a.program_id = _recount_events.program_id AND a.purpose IN ('attained', 'cap') AND a.lineage_id = ANY (the_lineages) AND a.plan_id = ANY (the_counting)
      AND (the_partners IS NULL OR a.partner_id = ANY (the_partners))
    UNION
    -- What found its cap used up may find it free now.
    SELECT b.earning_event_id FROM prm.commission_rule r
    JOIN prm.breakage b ON b.program_id = _recount_events.program_id AND b.rule_id = r.rule_id AND (the_partners IS NULL OR b.partner_id = ANY (the_partners))
    WHERE r.program_id = _recount_events.program_id AND r.plan_id = ANY (the_counting)) i;
  RETURN (SELECT array_agg(i.earning_event_id) FROM (
    SELECT unnest(the_asked) AS earning_event_id
    UNION
    SELECT r.earning_event_id FROM unnest(the_asked) AS a(earning_event_id)
    CROSS JOIN LATERAL (SELECT e.earning_event_id FROM prm.earning_event e
      WHERE e.program_id = _recount_events.program_id AND e.applies_to_id = a.earning_event_id AND e.kind = 'refunded' OFFSET 0) r) i);
END
$prm$;
COMMENT ON FUNCTION prm._recount_events(bigint, bigint[], bigint[]) IS
'The events to replay so that the given ones come out right: these and their refunds and, for plans that count, what was counted beside them.';

CREATE FUNCTION prm._recalculation(date_from date, date_to date, program_id bigint, earning_event_ids bigint[] DEFAULT NULL, plan_ids bigint[] DEFAULT NULL,
  replayed_ids bigint[] DEFAULT NULL) RETURNS SETOF prm.recalculation
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off AS $prm$
#variable_conflict use_column
DECLARE
  the_zone constant text := prm._program_time_zone(_recalculation.program_id);
  the_from timestamptz := _recalculation.date_from::timestamp AT TIME ZONE the_zone;
  the_until timestamptz := (_recalculation.date_to + 1)::timestamp AT TIME ZONE the_zone;
  the_plans bigint[];
  the_events bigint[];
  the_counting bigint[];
BEGIN
  SELECT array_agg(p.plan_id ORDER BY p.plan_id) INTO the_plans FROM prm.commission_plan p WHERE p.program_id = _recalculation.program_id AND p.is_active
    AND (_recalculation.plan_ids IS NULL OR p.plan_id = ANY (_recalculation.plan_ids));
  IF the_plans IS NULL THEN
    RETURN;
  END IF;
  the_events := coalesce(_recalculation.replayed_ids, prm._replay_events(_recalculation.date_from, _recalculation.date_to, the_plans, _recalculation.program_id));
  the_counting := prm._counting_plans(_recalculation.program_id, the_plans);
  RETURN QUERY
    WITH event AS MATERIALIZED (
      SELECT e.earning_event_id, e.occurred_at, e.kind, true AS is_asked FROM prm.earning_event e
      WHERE _recalculation.earning_event_ids IS NULL AND e.program_id = _recalculation.program_id AND e.occurred_at >= the_from AND e.occurred_at < the_until
      UNION ALL
      -- Of some events only: these, and what plans that count made of others.
      SELECT e.earning_event_id, e.occurred_at, e.kind, coalesce(e.earning_event_id = ANY (_recalculation.earning_event_ids)
        OR (e.kind = 'refunded' AND e.applies_to_id = ANY (_recalculation.earning_event_ids)), false)
      FROM prm.earning_event e
      WHERE _recalculation.earning_event_ids IS NOT NULL AND e.program_id = _recalculation.program_id AND e.earning_event_id = ANY (the_events)
    ),
    should AS (
      SELECT o.earning_event_id, o.credit_type, o.partner_id, o.plan_id, o.component, o.level, o.lineage_id, o.currency, sum(o.amount) AS amount,
        (array_agg(o.rule_id ORDER BY o.ordinal DESC))[1] AS rule_id, (array_agg(o.reason ORDER BY o.ordinal DESC))[1] AS reason
      FROM prm._earning_outcome(_recalculation.program_id, the_events, 'replay', the_plans) o
      WHERE o.outcome = 'won'
      GROUP BY o.earning_event_id, o.credit_type, o.partner_id, o.plan_id, o.component, o.level, o.lineage_id, o.currency
    ),
    booked AS (
      SELECT l.earning_event_id, l.credit_type, l.partner_id, l.plan_id, l.component, l.level, l.lineage_id, l.currency, sum(l.amount) AS amount,
        (array_agg(l.rule_id ORDER BY l.entry_id DESC))[1] AS rule_id,
        (array_agg(l.entry_id ORDER BY l.kind = 'adjustment', abs(l.amount) DESC, l.entry_id))[1] AS entry_id
      FROM prm.ledger l JOIN event e ON e.earning_event_id = l.earning_event_id
      WHERE l.program_id = _recalculation.program_id AND l.plan_id = ANY (the_plans) AND l.lineage_id IS NOT NULL
        AND l.kind IN ('commission', 'override', 'bonus', 'royalty', 'fee', 'reversal', 'clawback', 'adjustment')
        -- What a ban canceled is not earned anew.
        AND l.idempotency_key NOT LIKE 'cancel/%'
      GROUP BY l.earning_event_id, l.credit_type, l.partner_id, l.plan_id, l.component, l.level, l.lineage_id, l.currency
    ),
    difference AS (
      SELECT earning_event_id, credit_type, partner_id, plan_id, component, level, lineage_id, currency, coalesce(s.rule_id, b.rule_id) AS rule_id,
        coalesce(b.amount, 0) AS booked, coalesce(s.amount, 0) AS should_be, b.entry_id AS cause_entry_id, s.reason, s.rule_id IS NOT NULL AS is_due, b.rule_id AS booked_rule_id
      FROM should s FULL JOIN booked b USING (earning_event_id, credit_type, partner_id, plan_id, component, level, lineage_id, currency)
    ),
    touched AS (
      SELECT DISTINCT d.partner_id, d.plan_id FROM difference d JOIN event e ON e.earning_event_id = d.earning_event_id
      WHERE e.is_asked AND _recalculation.earning_event_ids IS NOT NULL
    )
    SELECT d.earning_event_id, d.partner_id, d.component, d.rule_id, d.currency, d.booked, d.should_be, d.should_be - d.booked, NULL::bigint,
      format('%s: %s was booked, ', CASE WHEN _recalculation.earning_event_ids IS NULL THEN 'recalculated' ELSE 'the credits changed' END, trim_scale(d.booked))
        || CASE WHEN NOT d.is_due THEN 'nothing is due by the rules' WHEN d.booked_rule_id <> d.rule_id THEN format('%s is due by rule %s: %s', trim_scale(d.should_be), d.rule_id, d.reason)
             ELSE format('%s is due: %s', trim_scale(d.should_be), d.reason) END,
      d.plan_id, d.level, d.credit_type, d.lineage_id, d.cause_entry_id, e.occurred_at
    FROM difference d JOIN event e ON e.earning_event_id = d.earning_event_id
    WHERE d.should_be <> d.booked
      AND (e.is_asked OR (d.plan_id = ANY (the_counting) AND EXISTS (SELECT 1 FROM touched t WHERE t.partner_id = d.partner_id AND t.plan_id = d.plan_id)))
    ORDER BY e.occurred_at, d.earning_event_id, d.credit_type, d.plan_id, d.component, d.level, d.partner_id, d.lineage_id, d.currency;
END
$prm$;
COMMENT ON FUNCTION prm._recalculation(date, date, bigint, bigint[], bigint[], bigint[]) IS 'The differences that recalculate() books, or those of some events and what follows from them; reads only.';

CREATE FUNCTION prm.recalculate(date_from date, date_to date, dry_run boolean DEFAULT false, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.recalculation
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(recalculate.program_id);
BEGIN
  PERFORM prm._check_dates(recalculate.date_from, recalculate.date_to, 'recalculate');
  IF recalculate.dry_run IS NOT FALSE THEN
    RETURN QUERY SELECT * FROM prm._recalculation(recalculate.date_from, recalculate.date_to, the_program);
  ELSE
    RETURN QUERY SELECT * FROM prm._book_recalculation(recalculate.date_from, recalculate.date_to, the_program);
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm.recalculate(date, date, boolean, bigint) IS
'Computes the events of a range of business dates again, in the order in which they were recorded, with the rules, credits and partner histories of today, and books only the differences, as adjustments that name what they correct; a second run finds nothing. Counting rules begin at the start of their windows; plans that are no longer active are left alone. Waits for running accruals. dry_run: shows the differences only. Errors: 22023 dates, 42501 without the right to book.';
