
-- Earning: who earned what on which event. One function computes it, for the accrual that writes the ledger and for the
-- explanation that shows it, so that the two cannot differ. C, see src/earning.c.

CREATE FUNCTION prm._condition(condition text) RETURNS jsonpath
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS
$prm$ SELECT ('strict ' || regexp_replace(_condition.condition, '^\s*strict\s+', ''))::jsonpath $prm$;
COMMENT ON FUNCTION prm._condition(text) IS 'A rule''s condition, made ready: always strict, so that an absent field satisfies nothing.';

CREATE FUNCTION prm._check_comparison(condition text, parts text[], numeric_names text, numeric_paths text, example text, table_name text, column_name text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $prm$
#variable_conflict use_column
DECLARE
  the_source text := regexp_replace(_check_comparison.condition, '^\s*strict\s+', '');
  the_path text;
  the_bare text;
  the_fault text;
  the_hint text := format('Write a comparison, such as %s.', _check_comparison.example);
BEGIN
  BEGIN
    the_path := ('lax ' || the_source)::jsonpath::text;
  EXCEPTION WHEN syntax_error OR invalid_regular_expression OR data_exception THEN
    RAISE EXCEPTION USING ERRCODE = '22P02', MESSAGE = format('the condition "%s" is no jsonpath', _check_comparison.condition),
      DETAIL = format('The reader says: %s.', SQLERRM), HINT = the_hint, SCHEMA = 'prm', TABLE = _check_comparison.table_name, COLUMN = _check_comparison.column_name;
  END;
  -- Quoted names and texts are emptied, so that what stands in them is not taken for syntax.
  the_bare := regexp_replace(the_path, '"(\\.|[^"\\])*"', '""', 'g');
  SELECT m[1] INTO the_fault FROM regexp_matches(the_path, '\$\."((?:\\.|[^"\\])*)"', 'g') AS m WHERE NOT m[1] = ANY (_check_comparison.parts) LIMIT 1;
  IF the_bare ~ '\$""' THEN
    the_fault := 'It uses a variable, and there are none.';
  ELSIF the_fault IS NOT NULL THEN
    the_fault := format('There is no part "%s"; the parts are %s.', the_fault, array_to_string(_check_comparison.parts, ', '));
  ELSIF the_bare ~ '\.(datetime|date|time|time_tz|timestamp|timestamp_tz)\(' THEN
    the_fault := 'Dates made inside a condition would depend on the reader''s time zone.';
    the_hint := format('Compare the text: $.%s >= "2026-01-31".', CASE WHEN 'event' = ANY (_check_comparison.parts) THEN 'event.occurred_on' ELSE 'partner.joined_on' END);
  ELSIF the_path ~ '(<|>|<=|>=) "[-+]?[0-9]+(\.[0-9]+)?"' OR the_path ~ '"[-+]?[0-9]+(\.[0-9]+)?" (<|>|<=|>=) '
     OR the_path ~ ('"(' || _check_comparison.numeric_names || ')" (<|>|<=|>=|==|!=|<>) "')
     OR the_path ~ ('\$\."(' || _check_comparison.numeric_paths || ')" (<|>|<=|>=|==|!=|<>) "') THEN
    the_fault := 'It compares a number with quoted text, which is never true.';
    the_hint := format('Write the number without quotes: $.%s > 100.', CASE WHEN 'event' = ANY (_check_comparison.parts) THEN 'event.amount' ELSE 'metrics.revenue_12m' END);
  ELSIF coalesce(jsonb_typeof(jsonb_path_query_first('{}', the_path::jsonpath, '{}', true)), '') NOT IN ('boolean', 'null') THEN
    the_fault := 'It yields a value, not true or false.';
  ELSE
    RETURN true;
  END IF;
  RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('the condition "%s" can never be decided', _check_comparison.condition),
    DETAIL = the_fault, HINT = the_hint, SCHEMA = 'prm', TABLE = _check_comparison.table_name, COLUMN = _check_comparison.column_name;
END
$prm$;
COMMENT ON FUNCTION prm._check_comparison(text, text[], text, text, text, text, text) IS
'For checks: true for a jsonpath comparison over a document of these parts; numeric_names and numeric_paths are regular expressions of what is a number. Errors: 22P02 no jsonpath; 22023 unknown part, variable, date conversion, number against quoted text, no comparison.';

CREATE FUNCTION prm._check_condition(condition text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $prm$
#variable_conflict use_column
BEGIN
  RETURN prm._check_comparison(_check_condition.condition, ARRAY['event', 'deal', 'customer', 'product', 'partner', 'payee', 'metrics', 'level', 'benefits'],
    'amount|commissionable_amount|list_amount|cost|quantity|list_price', 'level|metrics"\."([^"\\]|\\.)*', '$.customer.country == "US" && $.event.amount >= 1000',
    'commission_rule', 'condition');
END
$prm$;
COMMENT ON FUNCTION prm._check_condition(text) IS
'For a CHECK constraint: true for a condition that a rule may have, a jsonpath comparison over event, deal, customer, product, partner (the credited one), payee, metrics and benefits (of the payee) and level. Errors: 22P02 no jsonpath; 22023 unknown part, variable, date conversion, number against quoted text, no comparison.';

CREATE TYPE prm.earning_outcome AS (
  earning_event_id bigint,
  credit_type text,
  partner_id bigint,
  seller_id bigint,
  level integer,
  weight numeric,
  share numeric,
  plan_id bigint,
  plan_name text,
  component text,
  rule_id bigint,
  lineage_id bigint,
  rule_label text,
  entry_kind text,
  override_mode text,
  outcome text,
  reason_code text,
  reason text,
  basis text,
  basis_amount numeric,
  measure text,
  measure_amount numeric,
  attained_before numeric,
  basis_before numeric,
  window_start date,
  schedule text,
  commission numeric,
  amount numeric,
  unpaid_amount numeric,
  currency text,
  exchange_rate numeric,
  cap_used_before numeric,
  legal_entity text,
  place integer,
  earned_on date,
  eligible_at timestamptz,
  occurred_at timestamptz,
  entry_id bigint,
  cause_entry_id bigint,
  sequence_no integer,
  recorded_at timestamptz,
  ordinal bigint,
  explain jsonb);
COMMENT ON TYPE prm.earning_outcome IS 'What one rule does with one credit of one event at one level. C, see src/earning.c.';
COMMENT ON COLUMN prm.earning_outcome.earning_event_id IS 'The earning event; in mode deal the deal.';
COMMENT ON COLUMN prm.earning_outcome.credit_type IS 'The type of the credit: sourced, influenced ...';
COMMENT ON COLUMN prm.earning_outcome.partner_id IS 'Who is paid.';
COMMENT ON COLUMN prm.earning_outcome.seller_id IS 'The credited partner; another one than partner_id for overrides.';
COMMENT ON COLUMN prm.earning_outcome.level IS '0 for the credited partner, 1 for its parent, and so on up the chain.';
COMMENT ON COLUMN prm.earning_outcome.weight IS 'Weight of the credit in its type, in percent.';
COMMENT ON COLUMN prm.earning_outcome.share IS 'The credited part of the event''s commissionable amount, in the event''s currency.';
COMMENT ON COLUMN prm.earning_outcome.plan_id IS 'The commission plan.';
COMMENT ON COLUMN prm.earning_outcome.plan_name IS 'Its name.';
COMMENT ON COLUMN prm.earning_outcome.component IS 'The component of the plan; components add up.';
COMMENT ON COLUMN prm.earning_outcome.rule_id IS 'The rule, in the version that governs; NULL where the plan has none.';
COMMENT ON COLUMN prm.earning_outcome.lineage_id IS 'What the versions of the rule have in common.';
COMMENT ON COLUMN prm.earning_outcome.rule_label IS 'The label of the rule.';
COMMENT ON COLUMN prm.earning_outcome.entry_kind IS 'Kind of the ledger row: commission, override, bonus, royalty, fee, reversal.';
COMMENT ON COLUMN prm.earning_outcome.override_mode IS 'How a rule of the levels above 0 pays; NULL at level 0.';
COMMENT ON COLUMN prm.earning_outcome.outcome IS 'won, lost (another rule of the component won), unpaid (won, but pays nothing) or no_match.';
COMMENT ON COLUMN prm.earning_outcome.reason_code IS 'Why, as one word that never changes.';
COMMENT ON COLUMN prm.earning_outcome.reason IS 'Why, in words.';
COMMENT ON COLUMN prm.earning_outcome.basis IS 'What is paid on: amount, list_amount, margin, quantity.';
COMMENT ON COLUMN prm.earning_outcome.basis_amount IS 'How much of it, in the plan''s currency where it is money.';
COMMENT ON COLUMN prm.earning_outcome.measure IS 'What chooses the bracket and is counted: basis, or another measure, or attainment of the quota.';
COMMENT ON COLUMN prm.earning_outcome.measure_amount IS 'How much of it this event has.';
COMMENT ON COLUMN prm.earning_outcome.attained_before IS 'What was counted in the window before this event; NULL for rules that count nothing.';
COMMENT ON COLUMN prm.earning_outcome.basis_before IS 'The basis that came with it.';
COMMENT ON COLUMN prm.earning_outcome.window_start IS 'First day of the window in which it is counted; -infinity for lifetime.';
COMMENT ON COLUMN prm.earning_outcome.schedule IS 'The schedule of the rule.';
COMMENT ON COLUMN prm.earning_outcome.commission IS 'What the rule gives, not rounded, in the plan''s currency.';
COMMENT ON COLUMN prm.earning_outcome.amount IS 'What the ledger row holds: rounded, in currency, signed. NULL unless won.';
COMMENT ON COLUMN prm.earning_outcome.unpaid_amount IS 'What was not paid though the rule won: below the minimum, above the cap. NULL where no amount can be told.';
COMMENT ON COLUMN prm.earning_outcome.currency IS 'Currency of amount and unpaid_amount: the event''s.';
COMMENT ON COLUMN prm.earning_outcome.exchange_rate IS 'Units of the plan''s currency for one of the event''s; NULL where they are the same.';
COMMENT ON COLUMN prm.earning_outcome.cap_used_before IS 'What was used of the rule''s cap before this row, in the plan''s currency; NULL without a cap.';
COMMENT ON COLUMN prm.earning_outcome.legal_entity IS 'The vendor''s paying company.';
COMMENT ON COLUMN prm.earning_outcome.place IS 'Place among the rules of the component that match; 1 wins unless the plan''s pick is all.';
COMMENT ON COLUMN prm.earning_outcome.earned_on IS 'Business date of the event in the programme''s time zone.';
COMMENT ON COLUMN prm.earning_outcome.eligible_at IS 'When the row becomes payable.';
COMMENT ON COLUMN prm.earning_outcome.occurred_at IS 'When the event occurred.';
COMMENT ON COLUMN prm.earning_outcome.entry_id IS 'Number of the ledger row to be, in mode accrue for rows that won.';
COMMENT ON COLUMN prm.earning_outcome.cause_entry_id IS 'The ledger row that this one derives from: the one below for overrides, what is taken back for reversals.';
COMMENT ON COLUMN prm.earning_outcome.sequence_no IS 'Which row of the same event, credit, partner, lineage, level and kind it is, from 1.';
COMMENT ON COLUMN prm.earning_outcome.recorded_at IS 'When it was computed, after all locks; one moment for all rows of a call.';
COMMENT ON COLUMN prm.earning_outcome.ordinal IS 'Order of processing, from 1.';
COMMENT ON COLUMN prm.earning_outcome.explain IS 'What the ledger row keeps as its explanation, in mode accrue for rows that won; NULL for reversals.';

CREATE FUNCTION prm._earning_outcome(program_id bigint, earning_event_ids bigint[], mode text, plan_ids bigint[] DEFAULT NULL) RETURNS SETOF prm.earning_outcome
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'prm_earning_outcome';
COMMENT ON FUNCTION prm._earning_outcome(bigint, bigint[], text, bigint[]) IS
'What the rules make of earning events, one after the other. mode accrue: locks, counts, writes accumulators and breakage, and returns the rows to be paid, for the ledger; explain: reads only, and returns also what lost, did not match or pays nothing; replay: from nothing, in the order in which they were accrued, writes nothing; deal: the ids are open deals, taken as if they were booked now. plan_ids: only these plans, also inactive ones; NULL: all active ones. Errors: 22023 unknown mode, 23514 the parents of a partner form a cycle.';
