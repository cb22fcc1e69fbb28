#!/usr/bin/env bash
# Eight clients on four hot partners: single events under a rule with a cap, which each partner's events must count one after the other, against the same
# without the cap, where they pass each other. The rate with caps as a part of the rate without.
#   test/bench/earning_hot.sh [rounds] [seconds]
set -eu
. "$(dirname "$0")/earning.bash"
rounds=${1:-7} seconds=${2:-4}
bench_begin
psql >/dev/null <<SQL
SELECT set_config('prm.program_id', '$p', false);
UPDATE prm.commission_plan SET is_active = false WHERE program_id = $p;
INSERT INTO prm.commission_plan (plan_id, name, earn_on, currency) VALUES (11, 'capped', 'sell_in', 'USD'), (12, 'uncapped', 'sell_out', 'USD');
INSERT INTO prm.commission_rule (plan_id, schedule, cap_amount, cap_window) VALUES (11, '5%', 1000000000, 'year'), (12, '5%', NULL, NULL);
ANALYZE;
SQL
script() {
  echo "\\set partner random(1, 4)"
  echo "INSERT INTO prm.earning_event (program_id, kind, partner_id, amount, currency, occurred_at) VALUES ($p, '$1', :partner, 100, 'USD', '2026-03-01Z');"
}
script sell_in >"$scratch/capped"
script sell_out >"$scratch/uncapped"
run() { pgbench -n -M prepared -c 8 -j 2 -T "$seconds" -f "$scratch/$1" | sed -n 's/^tps = \([0-9.]*\).*/\1/p'; }
run capped >/dev/null; run uncapped >/dev/null
for ((round = 1; round <= rounds; round++)); do
  if ((round % 2)); then order="capped uncapped"; else order="uncapped capped"; fi
  for kind in $order; do psql -c "INSERT INTO prm_bench.result VALUES ('hot', $round, '$kind', $(run "$kind"), '1')"; done
done
psql -c "SELECT 'bench earning_hot_partners FAILED: an event has no entry, or the count is not the sum' WHERE (SELECT count(*) FROM prm.earning_event) <> (SELECT count(*) FROM prm.ledger WHERE amount = 5)
  OR (SELECT sum(amount) FROM prm.accumulator WHERE purpose = 'cap') <> (SELECT sum(amount) FROM prm.ledger WHERE plan_id = 11) OR (SELECT count(*) FROM prm.accumulator) <> 4"
report hot earning_hot_partners capped uncapped '>=' 0.35
