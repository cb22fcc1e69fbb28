#!/usr/bin/env bash
# 100,000 earning events in one statement, under 40 rules, against the bare inserts of the same events and entries; and against a row-wise trigger in PL/pgSQL
# that stands beside them and writes the same entries: for each event its credits, for each of them the seller and the uplines as they were, the product and what
# it is a variant of, the plans in which the holder is enrolled, the best rule of each component and level, conditions over the event's document; it computes, explains and inserts, counts
# and caps under a lock. It knows no minima, currencies, quotas, recurring months nor other modes of overrides than a percentage of the sale, in its favour. The floor is part of both, so it bounds what can be won over the trigger; the last line tells what both cost above it.
# Then a third of the events in a channel with hubs and conditions, and with two rules that count.
#   test/bench/earning.sh [events] [rounds]
set -eu
. "$(dirname "$0")/earning.bash"
rows=${1:-100000} rounds=${2:-3}
compare() {          # NAME CUSTOMERS
bench_begin "$2"
if [ "$1" = _channel ]; then make_channel; fi
make_source "$rows"
make_twin prm_bench prm_bench_row
keep_entries
psql >/dev/null <<SQL
CREATE TABLE prm_bench_row.accumulator (LIKE prm.accumulator INCLUDING ALL);
CREATE TABLE prm_bench_row.accumulator_entry (LIKE prm.accumulator_entry INCLUDING ALL);
CREATE TABLE prm_bench_row.breakage (LIKE prm.breakage INCLUDING ALL);
-- The count of a month, locked; and what is added to it.
CREATE FUNCTION prm_bench.next_count(purpose text, program bigint, lineage bigint, plan bigint, partner bigint, credit text, day date) RETURNS prm_bench_row.accumulator LANGUAGE plpgsql AS \$\$
DECLARE the_count prm_bench_row.accumulator;
BEGIN
  INSERT INTO prm_bench_row.accumulator (program_id, purpose, lineage_id, plan_id, partner_id, customer_id, credit_type, window_start)
    VALUES (program, next_count.purpose, lineage, plan, partner, 0, credit, date_trunc('month', day::timestamp)::date) ON CONFLICT DO NOTHING;
  SELECT a.* INTO the_count FROM prm_bench_row.accumulator a WHERE a.program_id = program AND a.purpose = next_count.purpose AND a.lineage_id = lineage AND a.plan_id = plan AND a.partner_id = partner
    AND a.customer_id = 0 AND a.credit_type = credit AND a.window_start = date_trunc('month', day::timestamp)::date FOR UPDATE;
  RETURN the_count;
END \$\$;
CREATE FUNCTION prm_bench.count(c prm_bench_row.accumulator, event bigint, added numeric) RETURNS void LANGUAGE plpgsql AS \$\$
BEGIN
  UPDATE prm_bench_row.accumulator a SET amount = a.amount + added, entries = a.entries + 1 WHERE a.program_id = c.program_id AND a.purpose = c.purpose AND a.lineage_id = c.lineage_id AND a.plan_id = c.plan_id
    AND a.partner_id = c.partner_id AND a.customer_id = c.customer_id AND a.credit_type = c.credit_type AND a.window_start = c.window_start;
  INSERT INTO prm_bench_row.accumulator_entry (program_id, purpose, lineage_id, plan_id, partner_id, customer_id, credit_type, window_start, sequence_no, earning_event_id, amount, amount_before)
    VALUES (c.program_id, c.purpose, c.lineage_id, c.plan_id, c.partner_id, c.customer_id, c.credit_type, c.window_start, c.entries + 1, event, added, c.amount);
END \$\$;
CREATE FUNCTION prm_bench.by_row() RETURNS trigger LANGUAGE plpgsql AS \$\$
DECLARE
  the_day date := (NEW.occurred_at AT TIME ZONE (SELECT g.time_zone FROM prm.program g WHERE g.program_id = NEW.program_id))::date;
  the_products text[];
  the_families text[];
  the_document jsonb;
  holder record;
  credit record;
  rule record;
  the_share numeric;
  the_commission numeric;
  the_amount numeric;
  the_count prm_bench_row.accumulator;
BEGIN
  WITH RECURSIVE chain AS (
    SELECT t.product, t.parent, t.family, 0 AS depth FROM prm.product t WHERE t.program_id = NEW.program_id AND t.product = NEW.product
    UNION ALL
    SELECT t.product, t.parent, t.family, c.depth + 1 FROM chain c JOIN prm.product t ON t.program_id = NEW.program_id AND t.product = c.parent WHERE c.depth < 9)
  SELECT array_agg(c.product ORDER BY c.depth), array_agg(c.family) || NEW.product_family INTO the_products, the_families FROM chain c;
  FOR credit IN
    SELECT c.credit_type, c.partner_id, c.weight FROM prm.sales_credit c WHERE c.program_id = NEW.program_id AND c.earning_event_id = NEW.earning_event_id
    UNION ALL
    SELECT 'sourced', NEW.partner_id, 100 WHERE NOT EXISTS (SELECT 1 FROM prm.sales_credit c WHERE c.program_id = NEW.program_id AND c.earning_event_id = NEW.earning_event_id)
  LOOP
  the_share := NEW.amount * credit.weight / 100;
  FOR holder IN
    WITH RECURSIVE chain AS (
      SELECT h.partner_id, 0 AS level, h.kind, h.tier, h.region, h.parent_id FROM prm.partner_history h
      WHERE h.program_id = NEW.program_id AND h.partner_id = credit.partner_id AND coalesce(lower(h.valid), '-infinity') < NEW.occurred_at AND coalesce(upper(h.valid), 'infinity') >= NEW.occurred_at
      UNION ALL
      SELECT h.partner_id, c.level + 1, h.kind, h.tier, h.region, h.parent_id FROM chain c JOIN prm.partner_history h ON h.program_id = NEW.program_id AND h.partner_id = c.parent_id
      WHERE c.level < 10 AND coalesce(lower(h.valid), '-infinity') < NEW.occurred_at AND coalesce(upper(h.valid), 'infinity') >= NEW.occurred_at)
    SELECT c.* FROM chain c ORDER BY c.level
  LOOP
  the_document := jsonb_strip_nulls(jsonb_build_object('event', to_jsonb(NEW), 'level', holder.level,
    'customer', (SELECT to_jsonb(c) FROM prm.customer c WHERE c.program_id = NEW.program_id AND c.customer_id = NEW.customer_id),
    'partner', jsonb_build_object('partner_id', holder.partner_id, 'kind', holder.kind, 'tier', holder.tier, 'region', holder.region)));
  FOR rule IN
    SELECT DISTINCT ON (r.plan_id, r.component) r.*, p.name AS plan, p.currency, p.hold_days FROM prm.commission_plan p JOIN prm.commission_rule r ON r.program_id = p.program_id AND r.plan_id = p.plan_id
    WHERE p.program_id = NEW.program_id AND p.is_active AND p.earn_on = NEW.kind AND holder.level BETWEEN r.level AND coalesce(r.through_level, r.level) AND r.valid @> the_day
      AND (p.enrol_all OR EXISTS (SELECT 1 FROM prm.plan_enrolment n WHERE n.program_id = p.program_id AND n.plan_id = p.plan_id AND n.partner_id = holder.partner_id AND n.valid @> the_day))
      AND (r.partner_id IS NULL OR r.partner_id = holder.partner_id) AND (r.customer_id IS NULL OR r.customer_id = NEW.customer_id)
      AND (r.product IS NULL OR r.product = ANY (the_products)) AND (r.product_family IS NULL OR r.product_family = ANY (the_families)) AND (r.credit_type IS NULL OR r.credit_type = credit.credit_type)
      AND (r.deal_kind IS NULL OR r.deal_kind = NEW.deal_kind) AND (r.tier IS NULL OR r.tier = holder.tier) AND (r.partner_kind IS NULL OR r.partner_kind = holder.kind)
      AND (r.region IS NULL OR r.region = holder.region)
      AND (r.condition IS NULL OR jsonb_path_match(the_document, r.condition::jsonpath, '{}', true))
    ORDER BY r.plan_id, r.component, r.priority DESC, (r.partner_id IS NOT NULL) DESC, (r.customer_id IS NOT NULL) DESC, coalesce(10 - array_position(the_products, r.product), 0) DESC, (r.product_family IS NOT NULL) DESC,
      (r.credit_type IS NOT NULL) DESC, (r.deal_kind IS NOT NULL) DESC, (r.tier IS NOT NULL) DESC, (r.partner_kind IS NOT NULL) DESC, (r.region IS NOT NULL) DESC, lower(r.valid) DESC NULLS LAST, r.rule_id DESC
  LOOP
    the_commission := prm.commission(rule.schedule::prm.commission_schedule, the_share);
    the_amount := prm.round_money(the_commission, NEW.currency);
    IF rule.accumulate = 'cumulative' THEN
      the_count := prm_bench.next_count('attained', NEW.program_id, rule.lineage_id, rule.plan_id, holder.partner_id, credit.credit_type, the_day);
      the_amount := prm.round_money(prm.commission(rule.schedule::prm.commission_schedule, the_count.amount + the_share), NEW.currency)
        - prm.round_money(prm.commission(rule.schedule::prm.commission_schedule, the_count.amount), NEW.currency);
      PERFORM prm_bench.count(the_count, NEW.earning_event_id, the_share);
    END IF;
    IF rule.cap_amount IS NOT NULL THEN
      the_count := prm_bench.next_count('cap', NEW.program_id, rule.lineage_id, rule.plan_id, holder.partner_id, '', the_day);
      IF the_count.amount + the_amount > rule.cap_amount THEN
        INSERT INTO prm_bench_row.breakage (program_id, earning_event_id, credit_type, partner_id, plan_id, rule_id, lineage_id, component, reason_code, reason, amount, currency)
          VALUES (NEW.program_id, NEW.earning_event_id, credit.credit_type, holder.partner_id, rule.plan_id, rule.rule_id, rule.lineage_id, rule.component, 'capped', 'the cap is used up',
            the_count.amount + the_amount - rule.cap_amount, NEW.currency);
        the_amount := rule.cap_amount - the_count.amount;
      END IF;
      IF the_amount <> 0 THEN PERFORM prm_bench.count(the_count, NEW.earning_event_id, the_amount); END IF;
    END IF;
    CONTINUE WHEN the_amount = 0;
    INSERT INTO prm_bench_row.ledger (program_id, partner_id, legal_entity, kind, component, amount, currency, earning_event_id, credit_type, plan_id, rule_id, lineage_id, level, sequence_no, earned_on, eligible_at, idempotency_key, explain)
      VALUES (NEW.program_id, holder.partner_id, NEW.legal_entity, CASE WHEN holder.level = 0 THEN 'commission' ELSE 'override' END, rule.component, the_amount, NEW.currency, NEW.earning_event_id, credit.credit_type, rule.plan_id, rule.rule_id, rule.lineage_id, holder.level, 1, the_day,
        NEW.occurred_at + make_interval(days => rule.hold_days), concat_ws('/', NEW.earning_event_id, credit.credit_type, holder.partner_id, rule.lineage_id, holder.level, CASE WHEN holder.level = 0 THEN 'commission' ELSE 'override' END, 1),
        jsonb_build_object('plan', rule.plan, 'rule', rule.label, 'basis', rule.basis, 'basis_amount', the_share, 'schedule', rule.schedule, 'commission', the_commission, 'amount', the_amount, 'parts',
          (SELECT jsonb_agg(to_jsonb(c) ORDER BY c.part) FROM prm.commission_parts(rule.schedule::prm.commission_schedule, the_share) c)));
  END LOOP;
  END LOOP;
  END LOOP;
  RETURN NULL;
END \$\$;
CREATE TRIGGER accrual AFTER INSERT ON prm_bench_row.earning_event FOR EACH ROW EXECUTE FUNCTION prm_bench.by_row();
SQL
interleave bulk "$rounds" prm prm "$(insert_events prm)" floor prm_bench "$(insert_events prm_bench)
$(insert_entries prm_bench)" row prm_bench_row "$(insert_events prm_bench_row)"
echo "  $rows events, $rules rules, $partners partners, $(psql -c "SELECT count(*) FROM prm_bench.entries") entries"
report bulk earning_bulk$1 prm floor '<=' 6
report bulk earning_rowwise_plpgsql$1 row prm '>=' 5
psql -c "SELECT format('  above the floor the trigger costs %s of prm; the trigger costs %s of the floor', round(percentile_cont(0.5) WITHIN GROUP (ORDER BY (r.cost - f.cost) / nullif(a.cost - f.cost, 0))::numeric, 2),
    round(percentile_cont(0.5) WITHIN GROUP (ORDER BY r.cost / f.cost)::numeric, 2))
  FROM prm_bench.result a JOIN prm_bench.result f USING (name, round) JOIN prm_bench.result r USING (name, round) WHERE a.name = 'bulk' AND a.kind = 'prm' AND f.kind = 'floor' AND r.kind = 'row' AND round > 0"
}
compare '' 4
# As a channel has them: four in five partners sell through a hub, which is paid of what they sell, and two rules have conditions.
rows=$((rows / 3))
compare _channel 0
# Two of the forty count: one by the month, with brackets, and one up to a cap. Each event takes a place in both.
compare _counting 2
