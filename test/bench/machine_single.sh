#!/usr/bin/env bash
# One row per transaction, two clients, prepared statements: an UPDATE with the machine's trigger against the floor, the same
# UPDATE and the INSERT of its history row in one statement. Rounds of both in turn; the ratio of the costs is taken per round.
#   test/bench/machine_single.sh [rows] [rounds] [seconds]
set -eu
. "$(dirname "$0")/machine.bash"
rows=${1:-100000} rounds=${2:-7} seconds=${3:-4}
bench_begin
make_leads "$rows"
# Rows that go to and fro, so that the floor can tell the event from the new state.
psql >/dev/null <<SQL
SELECT set_config('prm.program_id', '$p', false);
UPDATE prm.lead SET state = 'warm' WHERE program_id = $p AND state = 'new';
SQL
make_twin prm_bench
scratch=$(mktemp -d)
read -r lowest highest < <(psql -F ' ' -c "SELECT min(lead_id), max(lead_id) FROM prm.lead WHERE program_id = $p")
cat >"$scratch/prm" <<SQL
\set id random($lowest, $highest)
UPDATE prm.lead SET state = CASE state WHEN 'warm' THEN 'cold' ELSE 'warm' END WHERE program_id = $p AND lead_id = :id;
SQL
cat >"$scratch/floor" <<SQL
\set id random($lowest, $highest)
WITH changed AS (UPDATE prm_bench.lead SET state = CASE state WHEN 'warm' THEN 'cold' ELSE 'warm' END WHERE program_id = $p AND lead_id = :id RETURNING program_id, lead_id, state)
INSERT INTO prm_bench.state_history ($history_columns)
  SELECT program_id, 'lead', $version, CASE state WHEN 'warm' THEN 'grow' ELSE 'cool' END, CASE state WHEN 'warm' THEN 'cold' ELSE 'warm' END, state, current_user, 'vendor', lead_id, now() FROM changed;
SQL
sed 's/prm\.lead/prm_bench.lead/' "$scratch/prm" >"$scratch/bare"

# One transaction of each must leave the same history row.
for kind in prm floor; do
  [ $kind = prm ] && schema=prm || schema=prm_bench
  digest=$(psql <<SQL | tail -1
SELECT coalesce(max(history_id), 0) AS before FROM $schema.state_history \gset
BEGIN;
$(sed "/^.set/d; s/:id/$lowest/" "$scratch/$kind")
SELECT prm_bench.digest('$schema', NULL, :before);
ROLLBACK;
SQL
)
  psql -c "INSERT INTO prm_bench.result VALUES ('single', 0, '$kind', 1, '$digest')"
done
run() { pgbench -n -M prepared -c 2 -j 1 -T "$seconds" -f "$scratch/$1" | sed -n 's/^tps = \([0-9.]*\).*/\1/p'; }
run prm >/dev/null; run floor >/dev/null
for ((round = 1; round <= rounds; round++)); do
  if ((round % 2)); then order="prm floor bare"; else order="bare floor prm"; fi
  for kind in $order; do
    psql -c "INSERT INTO prm_bench.result SELECT 'single', $round, '$kind', 1000000.0 / $(run $kind), max(history) FROM prm_bench.result WHERE name = 'single' AND kind = '$kind' AND round = 0"
  done
done
report single machine_single_row prm floor 1.15
psql -c "SELECT format('  the bare UPDATE without history costs %s of the floor', round(percentile_cont(0.5) WITHIN GROUP (ORDER BY a.cost / b.cost)::numeric, 2))
  FROM prm_bench.result a JOIN prm_bench.result b USING (name, round) WHERE a.kind = 'bare' AND b.kind = 'floor' AND round > 0"
