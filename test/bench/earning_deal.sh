#!/usr/bin/env bash
# One won deal per transaction, two clients, prepared statements: the UPDATE that wins it (machine, history, booking, accrual, tiers) against what has to be
# written in any case, the bare statements in one transaction: UPDATE of the deal, INSERT of its history, of its event and of its entry. The same four in one
# statement, without the round trips between them, are printed below it.
#   test/bench/earning_deal.sh [rounds] [seconds] [deals]
set -eu
. "$(dirname "$0")/earning.bash"
rounds=${1:-7} seconds=${2:-4}
bench_begin
deals=${3:-400000}
psql >/dev/null <<SQL
SELECT set_config('prm.program_id', '$p', false);
INSERT INTO prm.deal (deal_id, partner_id, customer_id, name, product, product_family, amount, currency, created_at)
  SELECT i, 1 + (i * 7919::bigint) % $partners, 1 + i % 500, 'Deal ' || i, 'p' || i % 20, 'f' || i % 4, 100 + i % 900, 'USD', '2026-01-01Z' FROM generate_series(1, $deals) i;
SQL
make_twin prm_bench
psql >/dev/null <<SQL
INSERT INTO prm_bench.deal SELECT * FROM prm.deal;
CREATE SEQUENCE prm_bench.prm_next; CREATE SEQUENCE prm_bench.floor_next;
VACUUM (ANALYZE) prm.deal;
VACUUM (ANALYZE) prm_bench.deal;
ANALYZE;
SQL
machine_version=$(psql -c "SELECT version FROM prm.machine WHERE program_id = $p AND machine = 'deal' AND is_current")
echo "UPDATE prm.deal SET state = 'won' WHERE program_id = $p AND deal_id = (SELECT nextval('prm_bench.prm_next'));" >"$scratch/prm"
key="'1000/sourced/5000/1/0/commission/1'"
history="INSERT INTO prm_bench.state_history (program_id, machine, machine_version, event, from_state, to_state, actor, actor_kind, subject_id, at)"
event="INSERT INTO prm_bench.earning_event (program_id, kind, deal_id, partner_id, customer_id, product, product_family, deal_kind, amount, currency, occurred_at)"
entry="INSERT INTO prm_bench.ledger (program_id, partner_id, kind, component, amount, currency, earning_event_id, credit_type, plan_id, rule_id, lineage_id, level, sequence_no, earned_on, eligible_at, idempotency_key, explain)"
explain="'{\"plan\": \"bench\", \"rule\": null, \"basis\": \"amount\", \"basis_amount\": 100, \"schedule\": \"5%\", \"commission\": 5.00, \"amount\": 5.00, \"parts\": [{\"part\": 1, \"lower\": 0, \"upper\": null, \"amount\": 100, \"rate\": 0.05, \"commission\": 5.00}]}'"
cat >"$scratch/floor" <<SQL
BEGIN;
UPDATE prm_bench.deal SET state = 'won', closed_at = now() WHERE program_id = $p AND deal_id = (SELECT nextval('prm_bench.floor_next')) RETURNING deal_id, partner_id, customer_id, product, product_family, amount \gset
$history VALUES ($p, 'deal', $machine_version, 'win', 'prospecting', 'won', current_user, 'vendor', :deal_id, now());
$event VALUES ($p, 'booked', :deal_id, :partner_id, :customer_id, :product, :product_family, 'new', :amount, 'USD', now()) RETURNING earning_event_id \gset
$entry VALUES ($p, :partner_id, 'commission', 'base', :amount * 0.05, 'USD', :earning_event_id, 'sourced', 1, 1, 1, 0, 1, now()::date, now() + interval '30 days', :earning_event_id || $key, $explain);
COMMIT;
SQL
cat >"$scratch/single" <<SQL
WITH won AS (UPDATE prm_bench.deal SET state = 'won', closed_at = now() WHERE program_id = $p AND deal_id = (SELECT nextval('prm_bench.floor_next')) RETURNING *),
history AS ($history SELECT $p, 'deal', $machine_version, 'win', 'prospecting', 'won', current_user, 'vendor', deal_id, now() FROM won),
event AS ($event SELECT $p, 'booked', deal_id, partner_id, customer_id, product, product_family, 'new', amount, 'USD', now() FROM won RETURNING *)
$entry SELECT $p, partner_id, 'commission', 'base', amount * 0.05, 'USD', earning_event_id, 'sourced', 1, 1, 1, 0, 1, now()::date, now() + interval '30 days', earning_event_id || $key, $explain FROM event;
SQL
# Each of them leaves one deal, one step of history, one event and the entries.
wrote() {            # SCHEMA: what the last deal left
  psql -c "SELECT (SELECT count(*) FROM $1.state_history WHERE machine = 'deal' AND to_state = 'won') || ' ' || (SELECT count(*) FROM $1.earning_event) || ' ' || (SELECT count(DISTINCT earning_event_id) FROM $1.ledger) || ' '
    || (SELECT count(*) FROM $1.deal WHERE state = 'won' AND closed_at IS NOT NULL)"
}
run() { pgbench -n -M prepared -c 2 -j 1 -T "${2:-$seconds}" -f "$scratch/$1" | sed -n 's/^tps = \([0-9.]*\).*/\1/p'; }
once() { pgbench -n -M prepared -c 1 -t 1 -f "$scratch/$1" >/dev/null; }
once prm; once floor; once single
for schema in prm prm_bench; do
  n=1; [ $schema = prm_bench ] && n=2
  [ "$(wrote $schema)" = "$n $n $n $n" ] || echo "bench earning_won_deal FAILED: $schema left $(wrote $schema)"
done
run prm 2 >/dev/null; run floor 2 >/dev/null
for ((round = 1; round <= rounds; round++)); do
  if ((round % 2)); then order="prm floor single"; else order="single floor prm"; fi
  for kind in $order; do psql -c "INSERT INTO prm_bench.result VALUES ('deal', $round, '$kind', 1000000.0 / $(run "$kind"), '1')"; done
done
left=$(psql -c "SELECT $deals - greatest((SELECT last_value FROM prm_bench.prm_next), (SELECT last_value FROM prm_bench.floor_next))")
((left > 0)) || echo "bench earning_won_deal FAILED: there were too few deals"
report deal earning_won_deal prm floor '<=' 3
report deal earning_won_deal_against_one_statement prm single '<=' 3
