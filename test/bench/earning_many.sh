#!/usr/bin/env bash
# What an event costs in a big ledger: batches of 1,000 events and single ones, at 100,000 entries and at ten million (and their events), which are filled in bare.
# The two ledgers stand in databases of their own and are measured in turn. Rules with and without a window. The line names the rows that were there; with
# fewer rows than ten million it proves less.
#   test/bench/earning_many.sh [entries, 0 = leave it out] [rounds]
set -eu
. "$(dirname "$0")/earning.bash"
rows=${1:-10000000} rounds=${2:-9}
if [ "$rows" = 0 ]; then echo "  left out"; exit 0; fi
trap 'rm -rf "${scratch:-}"; for bench_name in prm_bench_few prm_bench_many; do bench_database; done' EXIT
begin() {            # NAME: a database with the rules and the events to come
  bench_name=prm_bench_$1
  bench_begin
  trap 'rm -rf "${scratch:-}"; for bench_name in prm_bench_few prm_bench_many; do bench_database; done' EXIT
  psql >/dev/null <<SQL
SELECT set_config('prm.program_id', '$p', false);
INSERT INTO prm.commission_rule (plan_id, component, schedule, accumulate, window_kind) VALUES (1, 'window', 'marginal 0: 1%, 1000: 2%', 'cumulative', 'quarter');
INSERT INTO prm.commission_rule (plan_id, component, schedule, recurring_months) VALUES (1, 'recurring', '1%', 12);
SQL
  make_source 1000
}
# As replication would bring them: no triggers, no checks of foreign keys.
fill() {             # FROM TO
  psql >/dev/null <<SQL
SELECT set_config('prm.program_id', '$p', false);
SET session_replication_role = replica;
INSERT INTO prm.earning_event ($event_columns)
  SELECT $p, 2000000 + i, 'booked', 1 + (i * 7919) % $partners, 1 + i % 500, 'p' || i % 20, 'f' || i % 4, 'new', 1, 100, 'USD', '2024-01-01Z'::timestamptz + (i % 700) * interval '1 day' FROM generate_series($1::bigint, $2) i;
INSERT INTO prm.ledger (program_id, partner_id, kind, component, amount, currency, earning_event_id, credit_type, plan_id, rule_id, lineage_id, level, earned_on, eligible_at, idempotency_key, explain)
  SELECT $p, 1 + (i * 7919) % $partners, 'commission', 'base', 5, 'USD', 2000000 + i, 'sourced', 1, 1, 1, 0, '2024-01-01'::date + (i % 700)::integer, '2024-02-01Z'::timestamptz + (i % 700) * interval '1 day',
    (2000000 + i) || '/sourced/' || (1 + (i * 7919) % $partners) || '/1/0/commission/1', '{"plan": "bench", "basis": "amount", "basis_amount": 100, "schedule": "5%", "commission": 5.00, "amount": 5.00}' FROM generate_series($1::bigint, $2) i;
SQL
  psql -c "VACUUM (ANALYZE) prm.earning_event" -c "VACUUM (ANALYZE) prm.ledger"
}
single="INSERT INTO prm.earning_event ($event_columns) SELECT $event_columns FROM prm_bench.source WHERE earning_event_id = 1000000 + "
# A thousand events by one statement, and a thousand by a statement each after one that warms the session: a page that is touched for the first time after a
# checkpoint is logged as a whole, so a few events alone would tell how many pages there are, not what an event costs.
measures() {         # NAME ROUND
  local n one
  export PGDATABASE=prm_bench_$1
  measure "$1" "$2" batch prm "$(insert_events prm)"
  one="${single}1; SELECT clock_timestamp() AS began \\gset
"
  for ((n = 2; n <= 1000; n++)); do one+="$single$n;
"; done
  measure "$1" "$2" single prm "$one"
}
single="INSERT INTO prm.earning_event ($event_columns) SELECT $event_columns FROM prm_bench.source WHERE earning_event_id = 1000000 + "
begin few
fill 1 100000
begin many
for ((from = 1; from <= rows; from += 1000000)); do fill "$from" $((from + 999999 < rows ? from + 999999 : rows)); done
for ((round = 0; round <= rounds; round++)); do
  if ((round % 2)); then measures few "$round"; measures many "$round"; else measures many "$round"; measures few "$round"; fi
done
PGDATABASE=prm_bench_few psql -c "COPY (SELECT * FROM prm_bench.result) TO STDOUT" | PGDATABASE=prm_bench_many psql -c "COPY prm_bench.result FROM STDIN"
PGDATABASE=prm_bench_many
for kind in batch single; do
  psql <<SQL
SELECT 'bench earning_at_${rows}_${kind} FAILED: the entries differ' FROM prm_bench.result WHERE kind = '$kind' HAVING count(DISTINCT digest) <> 1 OR min(digest) LIKE '0 %';
SELECT format('bench earning_at_${rows}_${kind} ratio=%s goal<=1.3 %s', round(r, 2), CASE WHEN r <= 1.3 THEN 'ok' ELSE 'short' END)
  FROM (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a.cost / b.cost)::numeric AS r FROM prm_bench.result a JOIN prm_bench.result b USING (round, kind)
        WHERE kind = '$kind' AND a.name = 'many' AND b.name = 'few' AND round > 0) x;
SELECT format('  ms at %s entries: %s', CASE name WHEN 'few' THEN '100000' ELSE '$rows' END, string_agg(round(cost, 1)::text, ' ' ORDER BY round)) FROM prm_bench.result WHERE kind = '$kind' AND round > 0 GROUP BY name ORDER BY name;
SQL
done
