
-- Earning: who earned what on which event. One function computes it, for the accrual that writes the ledger and for the
-- explanation that shows it, so that the two cannot differ.

CREATE FUNCTION prm._condition(condition text) RETURNS jsonpath
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS
$prm$ SELECT ('strict ' || regexp_replace(_condition.condition, '^\s*strict\s+', ''))::jsonpath $prm$;
COMMENT ON FUNCTION prm._condition(text) IS 'A rule''s condition, made ready: always strict, so that an absent field satisfies nothing.';

CREATE FUNCTION prm._check_condition(condition text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $prm$
#variable_conflict use_column
DECLARE
  the_parts constant text[] := ARRAY['event', 'deal', 'customer', 'product', 'partner', 'level'];
  the_source text := regexp_replace(_check_condition.condition, '^\s*strict\s+', '');
  the_path text;
  the_bare text;
  the_fault text;
  the_hint text := 'Write a comparison, such as $.customer.country == "US" && $.event.amount >= 1000.';
BEGIN
  BEGIN
    the_path := ('lax ' || the_source)::jsonpath::text;
  EXCEPTION WHEN syntax_error OR invalid_regular_expression OR data_exception THEN
    RAISE EXCEPTION USING ERRCODE = '22P02', MESSAGE = format('the condition "%s" is no jsonpath', _check_condition.condition),
      DETAIL = format('The reader says: %s.', SQLERRM), HINT = the_hint, SCHEMA = 'prm', TABLE = 'commission_rule', COLUMN = 'condition';
  END;
  -- Quoted names and texts are emptied, so that what stands in them is not taken for syntax.
  the_bare := regexp_replace(the_path, '"(\\.|[^"\\])*"', '""', 'g');
  SELECT m[1] INTO the_fault FROM regexp_matches(the_path, '\$\."((?:\\.|[^"\\])*)"', 'g') AS m WHERE NOT m[1] = ANY (the_parts) LIMIT 1;
  IF the_bare ~ '\$""' THEN
    the_fault := 'It uses a variable, and there are none.';
  ELSIF the_fault IS NOT NULL THEN
    the_fault := format('There is no part "%s"; the parts are %s.', the_fault, array_to_string(the_parts, ', '));
  ELSIF the_bare ~ '\.(datetime|date|time|time_tz|timestamp|timestamp_tz)\(' THEN
    the_fault := 'Dates made inside a condition would depend on the reader''s time zone.';
    the_hint := 'Compare the text: $.event.occurred_on >= "2026-01-31".';
  ELSIF the_path ~ '(<|>|<=|>=) "[-+]?[0-9]+(\.[0-9]+)?"' OR the_path ~ '"[-+]?[0-9]+(\.[0-9]+)?" (<|>|<=|>=) '
     OR the_path ~ '"(amount|commissionable_amount|list_amount|cost|quantity|list_price)" (<|>|<=|>=|==|!=|<>) "'
     OR the_path ~ '\$\."level" (<|>|<=|>=|==|!=|<>) "' THEN
    the_fault := 'It compares a number with quoted text, which is never true.';
    the_hint := 'Write the number without quotes: $.event.amount > 100.';
  ELSIF coalesce(jsonb_typeof(jsonb_path_query_first('{}', the_path::jsonpath, '{}', true)), '') NOT IN ('boolean', 'null') THEN
    the_fault := 'It yields a value, not true or false.';
  ELSE
    RETURN true;
  END IF;
  RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('the condition "%s" can never be decided', _check_condition.condition),
    DETAIL = the_fault, HINT = the_hint, SCHEMA = 'prm', TABLE = 'commission_rule', COLUMN = 'condition';
END
$prm$;
COMMENT ON FUNCTION prm._check_condition(text) IS
'For a CHECK constraint: true for a condition that a rule may have, a jsonpath comparison over event, deal, customer, product, partner and level. Errors: 22P02 no jsonpath; 22023 unknown part, variable, date conversion, number against quoted text, no comparison.';

CREATE TYPE prm.earning_outcome AS (earning_event_id bigint, credit_type text, partner_id bigint, weight numeric, share numeric, plan_id bigint, plan_name text,
  component text, rule_id bigint, lineage_id bigint, rule_label text, outcome text, reason text, basis text, basis_amount numeric, schedule text,
  commission numeric, amount numeric, currency text, legal_entity text, place integer, earned_on date, eligible_at timestamptz, occurred_at timestamptz);
COMMENT ON TYPE prm.earning_outcome IS
'What one rule does with one credit of one event; outcome is won, lost (another rule of the component won), unpaid (won, but nothing can be paid) or no_match.';

CREATE FUNCTION prm._earning_outcome(program_id bigint, earning_event_ids bigint[], everything boolean) RETURNS SETOF prm.earning_outcome
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $prm$
#variable_conflict use_column
DECLARE
  the_zone constant text := prm._program_time_zone(_earning_outcome.program_id);
  the_rounding text;
  the_conditions boolean;
BEGIN
  SELECT p.rounding INTO the_rounding FROM prm.program p WHERE p.program_id = _earning_outcome.program_id;
  the_conditions := EXISTS (SELECT 1 FROM prm.commission_rule r WHERE r.program_id = _earning_outcome.program_id AND r.condition IS NOT NULL);
  -- The planner cannot join big tables (OFFSET 0, LIMIT), so one cached plan serves single events and bulk. The events are found
  -- by all their keys at once: with statistics that do not know the programme, any index that begins with program_id looks as
  -- good as the right one, and a look-up for each event would read all events of the programme each time.
  RETURN QUERY
  WITH RECURSIVE event AS MATERIALIZED (
    SELECT e.earning_event_id, e.kind, e.deal_id, e.partner_id, e.customer_id, e.product, e.product_family, e.deal_kind, e.currency, e.legal_entity,
      e.occurred_at, (e.occurred_at AT TIME ZONE the_zone)::date AS earned_on,
      coalesce(e.commissionable_amount, e.amount) AS amount, e.list_amount, e.quantity,
      greatest(coalesce(e.commissionable_amount, e.amount) - e.cost, 0) + 0 * (coalesce(e.commissionable_amount, e.amount) - e.cost) AS margin,
      CASE WHEN the_conditions THEN to_jsonb(e) END AS document
    FROM (SELECT * FROM prm.earning_event t
      WHERE t.program_id = _earning_outcome.program_id AND t.earning_event_id = ANY (_earning_outcome.earning_event_ids) OFFSET 0) e
  ),
  -- Variant -> product -> family, from each product that was sold upwards.
  chain AS (
    SELECT p.product AS sold, p.product, p.parent, p.family, 0 AS depth, p.commissionable
    FROM prm.product p WHERE p.program_id = _earning_outcome.program_id AND p.product IN (SELECT e.product FROM event e)
    UNION ALL
    SELECT c.sold, p.product, p.parent, p.family, c.depth + 1, c.commissionable
    FROM chain c JOIN prm.product p ON p.program_id = _earning_outcome.program_id AND p.product = c.parent WHERE c.depth < 9
  ),
  product AS MATERIALIZED (
    SELECT c.sold, c.commissionable, array_agg(c.product ORDER BY c.depth) AS products,
      array_agg(c.family) FILTER (WHERE c.family IS NOT NULL) AS families
    FROM chain c GROUP BY c.sold, c.commissionable
  ),
  -- Who is credited: the stored credits, else the event's own partner. Each row carries its event along, for the same
  -- reason.
  credit AS MATERIALIZED (
    SELECT e.earning_event_id, e.kind, e.deal_id, e.customer_id, e.product, e.product_family, e.deal_kind, e.currency, e.legal_entity, e.occurred_at,
      e.earned_on, e.amount, e.list_amount, e.quantity, e.margin, e.document,
      coalesce(c.credit_type, 'sourced') AS credit_type, coalesce(c.partner_id, e.partner_id) AS partner_id, coalesce(c.weight, 100) AS weight
    FROM event e
    LEFT JOIN LATERAL (SELECT i.credit_type, i.partner_id, i.weight FROM prm.sales_credit i
      WHERE i.program_id = _earning_outcome.program_id AND i.earning_event_id = e.earning_event_id OFFSET 0) c ON true
    WHERE coalesce(c.partner_id, e.partner_id) IS NOT NULL
  ),
  -- What each of them is credited with; shares of one credit type sum to the whole.
  share AS (
    SELECT c.*, c.amount AS amount_share, c.list_amount AS list_share, c.margin AS margin_share, c.quantity AS quantity_share
    FROM credit c WHERE c.weight = 100
    UNION ALL
    SELECT c.*,
      (prm.allocate(c.amount, array_agg(c.weight) OVER team, greatest(prm.minor_units(c.currency), scale(trim_scale(c.amount)))))[row_number() OVER team],
      (prm.allocate(c.list_amount, array_agg(c.weight) OVER team, greatest(prm.minor_units(c.currency), scale(trim_scale(c.list_amount)))))[row_number() OVER team],
      (prm.allocate(c.margin, array_agg(c.weight) OVER team, greatest(prm.minor_units(c.currency), scale(trim_scale(c.margin)))))[row_number() OVER team],
      (prm.allocate(c.quantity, array_agg(c.weight) OVER team, greatest(4, scale(trim_scale(c.quantity)))))[row_number() OVER team]
    FROM credit c WHERE c.weight <> 100
    WINDOW team AS (PARTITION BY c.earning_event_id, c.credit_type ORDER BY c.partner_id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
  ),
  -- Each credited partner beside each plan that earns on the event, with what was true of the partner just before it.
  holder AS MATERIALIZED (
    SELECT s.earning_event_id, s.credit_type, s.partner_id, s.weight, s.amount_share, s.list_share, s.margin_share, s.quantity_share,
      s.customer_id, s.product, s.product_family, s.deal_kind, s.currency, s.legal_entity, s.occurred_at, s.earned_on,
      coalesce(t.commissionable, true) AS commissionable, t.products, t.families || t.products AS families,
      h.kind AS partner_kind, h.tier, h.region,
      p.plan_id, p.name AS plan_name, p.currency AS plan_currency, p.hold_days, p.pick,
      p.enrol_all OR EXISTS (SELECT 1 FROM prm.plan_enrolment n WHERE n.program_id = _earning_outcome.program_id
        AND n.plan_id = p.plan_id AND n.partner_id = s.partner_id AND n.valid @> s.earned_on) AS enrolled,
      CASE WHEN the_conditions THEN jsonb_strip_nulls(jsonb_build_object(
        'event', s.document || jsonb_build_object('occurred_on', s.earned_on),
        'deal', (SELECT to_jsonb(d) FROM prm.deal d WHERE d.program_id = _earning_outcome.program_id AND d.deal_id = s.deal_id),
        'customer', (SELECT to_jsonb(c) FROM prm.customer c WHERE c.program_id = _earning_outcome.program_id AND c.customer_id = s.customer_id),
        'product', (SELECT to_jsonb(q) FROM prm.product q WHERE q.program_id = _earning_outcome.program_id AND q.product = s.product),
        'partner', to_jsonb(h), 'level', 0)) END AS document
    FROM share s
    JOIN prm.commission_plan p ON p.program_id = _earning_outcome.program_id AND p.earn_on = s.kind AND p.is_active
    LEFT JOIN product t ON t.sold = s.product
    LEFT JOIN LATERAL (SELECT i.partner_id, i.kind, i.parent_id, i.country, i.region, i.tier, i.attributes FROM prm.partner_history i
      WHERE i.program_id = _earning_outcome.program_id AND i.partner_id = s.partner_id
        AND coalesce(lower(i.valid), '-infinity') < s.occurred_at AND coalesce(upper(i.valid), 'infinity') >= s.occurred_at LIMIT 1) h ON true
  ),
  rule AS MATERIALIZED (
    SELECT p.plan_id, r.rule_id, r.lineage_id, coalesce(r.component, 'base') AS component, r.label, r.basis, r.schedule AS schedule_text,
      r.schedule::prm.commission_schedule AS schedule, prm._condition(r.condition) AS condition, r.condition AS condition_text,
      r.product, r.product_family, r.deal_kind, r.credit_type, r.tier, r.partner_kind, r.partner_id, r.customer_id, r.region, r.priority, r.valid,
      -- The specificity vector as one number; a product's place in its chain comes in between, from the event.
      (r.partner_id IS NOT NULL)::integer * 16384 + (r.customer_id IS NOT NULL)::integer * 8192
        + (r.product_family IS NOT NULL)::integer * 256 + (r.credit_type IS NOT NULL)::integer * 128 + (r.deal_kind IS NOT NULL)::integer * 64
        + (r.tier IS NOT NULL)::integer * 32 + (r.partner_kind IS NOT NULL)::integer * 16 + (r.region IS NOT NULL)::integer * 8 AS specificity
    FROM prm.commission_plan p
    LEFT JOIN prm.commission_rule r ON r.program_id = _earning_outcome.program_id AND r.plan_id = p.plan_id
    WHERE p.program_id = _earning_outcome.program_id AND p.is_active
  ),
  tried AS (
    SELECT h.earning_event_id, h.credit_type, h.partner_id, h.weight, h.amount_share AS share, h.plan_id, h.plan_name, h.currency, h.plan_currency,
      h.legal_entity, h.pick, h.occurred_at, h.earned_on, h.hold_days, r.component, r.rule_id, r.lineage_id, r.label, r.basis, r.schedule, r.schedule_text,
      r.priority, r.valid, r.specificity + coalesce(10 - array_position(h.products, r.product), 0) * 512 AS specificity,
      CASE r.basis WHEN 'amount' THEN h.amount_share WHEN 'margin' THEN h.margin_share WHEN 'quantity' THEN h.quantity_share ELSE h.list_share END AS basis_amount,
      CASE
        WHEN r.rule_id IS NULL THEN 'the plan has no rules'
        WHEN NOT h.enrolled THEN 'the partner is not enrolled in the plan on that date'
        WHEN NOT h.commissionable THEN 'the product earns no commission'
        WHEN NOT r.valid @> h.earned_on THEN 'the rule is not in force on that date'
        WHEN r.partner_id IS NOT NULL AND (r.partner_id = h.partner_id) IS NOT TRUE THEN 'the rule is for another partner'
        WHEN r.customer_id IS NOT NULL AND (r.customer_id = h.customer_id) IS NOT TRUE THEN 'the rule is for another customer'
        WHEN r.product IS NOT NULL AND (r.product = ANY (h.products)) IS NOT TRUE THEN
          CASE WHEN _earning_outcome.everything THEN format('the rule is for the product %s, sold was %s', r.product, coalesce(h.product, 'none in particular')) ELSE '' END
        WHEN r.product_family IS NOT NULL AND (r.product_family = h.product_family OR r.product_family = ANY (h.families)) IS NOT TRUE THEN
          CASE WHEN _earning_outcome.everything THEN format('the rule is for the product family %s, sold was %s', r.product_family, coalesce(h.product_family, 'none in particular')) ELSE '' END
        WHEN r.credit_type IS NOT NULL AND r.credit_type <> h.credit_type THEN
          CASE WHEN _earning_outcome.everything THEN format('the rule is for %s credit, this is %s', r.credit_type, h.credit_type) ELSE '' END
        WHEN r.deal_kind IS NOT NULL AND (r.deal_kind = h.deal_kind) IS NOT TRUE THEN
          CASE WHEN _earning_outcome.everything THEN format('the rule is for %s deals, this is %s', r.deal_kind, coalesce(h.deal_kind, 'none')) ELSE '' END
        WHEN r.tier IS NOT NULL AND (r.tier = h.tier) IS NOT TRUE THEN
          CASE WHEN _earning_outcome.everything THEN format('the rule is for tier %s, the partner held %s', r.tier, coalesce(h.tier, 'none')) ELSE '' END
        WHEN r.partner_kind IS NOT NULL AND (r.partner_kind = h.partner_kind) IS NOT TRUE THEN
          CASE WHEN _earning_outcome.everything THEN format('the rule is for partners of kind %s, the partner was %s', r.partner_kind, coalesce(h.partner_kind, 'of none')) ELSE '' END
        WHEN r.region IS NOT NULL AND (r.region = h.region) IS NOT TRUE THEN
          CASE WHEN _earning_outcome.everything THEN format('the rule is for region %s, the partner was in %s', r.region, coalesce(h.region, 'none')) ELSE '' END
        WHEN r.condition IS NOT NULL AND jsonb_path_match(h.document, r.condition, '{}', true) IS NOT TRUE THEN
          CASE WHEN _earning_outcome.everything THEN format('the condition %s is not true', r.condition_text) ELSE '' END
      END AS fault
    FROM holder h JOIN rule r ON r.plan_id = h.plan_id
  ),
  paying AS (
    SELECT t.*, CASE WHEN t.fault IS NULL AND t.currency = t.plan_currency THEN prm.commission(t.schedule, t.basis_amount) END AS commission
    FROM tried t WHERE t.fault IS NULL OR _earning_outcome.everything
  ),
  ranked AS (
    SELECT p.*, row_number() OVER (PARTITION BY p.earning_event_id, p.credit_type, p.partner_id, p.plan_id, p.component, p.fault IS NULL
      ORDER BY CASE WHEN p.pick = 'highest_paying' THEN p.commission END DESC NULLS LAST, p.priority DESC, p.specificity DESC,
        lower(p.valid) DESC NULLS LAST, p.rule_id DESC)::integer AS place
    FROM paying p
  ),
  rounded AS (
    SELECT r.*, CASE WHEN r.fault IS NULL AND (r.place = 1 OR r.pick = 'all') THEN prm.round_money(r.commission, r.plan_currency, the_rounding) END AS money
    FROM ranked r
  )
  SELECT r.earning_event_id, r.credit_type, r.partner_id, r.weight, r.share, r.plan_id, r.plan_name, r.component, r.rule_id, r.lineage_id, r.label,
    CASE WHEN r.fault IS NOT NULL THEN 'no_match' WHEN r.place > 1 AND r.pick <> 'all' THEN 'lost' WHEN r.money <> 0 THEN 'won' ELSE 'unpaid' END,
    CASE
      WHEN r.fault IS NOT NULL THEN r.fault
      WHEN r.place > 1 AND r.pick = 'most_specific' THEN 'a rule of higher priority, or more specific, or later, wins this component'
      WHEN r.place > 1 AND r.pick = 'highest_paying' THEN 'another rule of this component pays more'
      WHEN r.currency <> r.plan_currency THEN format('no exchange rate from %s to %s', r.currency, r.plan_currency)
      WHEN r.basis_amount IS NULL THEN format('the event has no %s', r.basis)
      WHEN r.money = 0 THEN 'the commission is zero'
      WHEN r.pick = 'all' THEN 'every rule that matches pays'
      WHEN r.pick = 'highest_paying' THEN 'pays most of the rules that match'
      ELSE 'the most specific of the rules that match'
    END,
    r.basis, r.basis_amount, r.schedule_text, r.commission, CASE WHEN r.money <> 0 THEN r.money END, r.plan_currency, r.legal_entity, r.place, r.earned_on,
    ((r.occurred_at AT TIME ZONE the_zone) + make_interval(days => r.hold_days)) AT TIME ZONE the_zone, r.occurred_at
  FROM rounded r
  WHERE _earning_outcome.everything OR r.money <> 0;
END
$prm$;
COMMENT ON FUNCTION prm._earning_outcome(bigint, bigint[], boolean) IS
'What the rules in force make of earning events: the rows that shall be paid or, with everything, also what lost, did not match or pays nothing, with the reason. Reads only; accrual and explain_commission() both use it.';
