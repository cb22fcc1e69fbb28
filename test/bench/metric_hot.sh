#!/usr/bin/env bash
# Eight clients record won deals of four hot partners: the same transaction (a deal, then its win, with history, booking and commission) with metrics and
# tiers, against the same where the triggers that evaluate tiers are switched off. Each partner has won 1,000 deals in the last twelve months, to which each run
# adds some hundreds, and misses the next tier by revenue alone, so that every win sums its window up again; no row counts for a partner, so nobody waits.
#   test/bench/metric_hot.sh [rounds] [seconds] [deals]     PGHOST, PGUSER ... name a server where prm is installed
set -eu
rounds=${1:-7} seconds=${2:-6} deals=${3:-1000}
groups=$(((rounds + 1) * 2)) group=0
psql() { command psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }
drop() { PGOPTIONS="-c client_min_messages=warning" psql -d postgres -c "DROP DATABASE IF EXISTS prm_bench_metric WITH (FORCE)"; }
trap 'rm -rf "${scratch:-}"; drop' EXIT
drop
scratch=$(mktemp -d)
psql -d postgres -c "CREATE DATABASE prm_bench_metric"
export PGDATABASE=prm_bench_metric
psql >/dev/null <<SQL
SET client_min_messages = warning;
CREATE EXTENSION prm;
SELECT prm.install();
CREATE SCHEMA prm_bench;
CREATE TABLE prm_bench.result (round int, kind text, rate numeric);
SELECT set_config('prm.program_id', prm.create_program('bench', 'reseller')::text, false);
ALTER DATABASE prm_bench_metric SET prm.program_id = '1';
SET session_replication_role = replica;
INSERT INTO prm.partner (partner_id, name, state, tier, joined_on) SELECT i, 'Partner ' || i, 'active', 'gold', '2024-01-01' FROM generate_series(0, $groups * 4 - 1) i;
INSERT INTO prm.enrolment (partner_id, tier, qualified_tier, effective_on) SELECT partner_id, 'gold', 'gold', current_date FROM prm.partner;
INSERT INTO prm.partner_user (partner_user_id, partner_id, name) SELECT i, i / 10, 'Person ' || i FROM generate_series(0, $groups * 40 - 1) i;
INSERT INTO prm.certificate (partner_user_id, partner_id, certification, issued_on) SELECT partner_user_id, partner_id, 'sales', current_date FROM prm.partner_user;
INSERT INTO prm.deal (partner_id, name, amount, currency, state, created_at, closed_at)
  SELECT i % ($groups * 4), 'Deal ' || i, 110, 'USD', 'won', now() - interval '300 days', now() - interval '200 days' FROM generate_series(0, $deals * $groups * 4 - 1) i;
SET session_replication_role = origin;
VACUUM ANALYZE;
SQL
p=$(psql -c "SELECT program_id FROM prm.program")
[ "$p" = 1 ] || psql -c "ALTER DATABASE prm_bench_metric SET prm.program_id = '$p'"
run() {           # KIND: transactions per second, in tps. Each run has four partners of its own, so that no round has more to sum than another.
  cat >"$scratch/deal" <<SQL
\set partner random($((group * 4)), $((group * 4 + 3)))
BEGIN;
INSERT INTO prm.deal (program_id, partner_id, name, amount, currency) VALUES ($p, :partner, 'hot', 1, 'USD') RETURNING deal_id \gset
UPDATE prm.deal SET state = 'won' WHERE program_id = $p AND deal_id = :deal_id;
COMMIT;
SQL
  for trigger in insert update; do psql -c "ALTER TABLE prm.deal $([ "$1" = with ] && echo ENABLE || echo DISABLE) TRIGGER prm_40_tiers_$trigger"; done
  tps=$(pgbench -n -M prepared -c 8 -j 2 -T "$seconds" -f "$scratch/deal" 2>/dev/null | sed -n 's/^tps = \([0-9.]*\).*/\1/p')
  looked=$(psql -c "SELECT (SELECT count(*) FROM prm.tier_due WHERE partner_id / 4 = $group) = CASE '$1' WHEN 'with' THEN count(*) ELSE 0 END AND count(*) > 0 FROM prm.deal WHERE name = 'hot' AND partner_id / 4 = $group AND state = 'won'")
  [ "$looked" = t ] || { echo "bench metric_hot FAILED: a win has not been looked at, or was although it should not"; exit 1; }
  psql -c "VACUUM prm.deal, prm.state_history, prm.ledger, prm.ledger_open, prm.earning_event, prm.tier_due"
  group=$((group + 1))
}
run with; run without
for ((round = 1; round <= rounds; round++)); do
  if ((round % 2)); then order="with without"; else order="without with"; fi
  for kind in $order; do run "$kind"; psql -c "INSERT INTO prm_bench.result VALUES ($round, '$kind', $tps)"; done
done
read -r ratio with without < <(psql -F ' ' -c "SELECT round(percentile_cont(0.5) WITHIN GROUP (ORDER BY a.rate / b.rate)::numeric, 2), round(max(a.rate)), round(max(b.rate))
  FROM prm_bench.result a JOIN prm_bench.result b USING (round) WHERE a.kind = 'with' AND b.kind = 'without'")
echo "bench metric_hot_partners ratio=$ratio goal>=0.75 ($with wins a second with metrics and tiers, $without without)"
[ "$(psql -c "SELECT $ratio >= 0.75")" = t ]
