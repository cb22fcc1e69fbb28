#!/usr/bin/env bash
# Two million rows in one UPDATE, against the floor (see machine.bash), and the memory that the backend takes for it: the
# anonymous memory of the process at its height, beside that of a tenth of the rows.
#   test/bench/machine_many.sh [rows] [rounds]
set -eu
. "$(dirname "$0")/machine.bash"
rows=${1:-2000000} rounds=${2:-3}
bench_begin
make_leads "$rows"
make_twin prm_bench
first_round=1 interleave many "$rounds" prm prm "$(update_of prm)" floor prm_bench "$(floor_history prm_bench)
$(update_of prm_bench)"
report many machine_2m_rows prm floor 1.25

# peak CONDITION: kilobytes of anonymous memory of the backend at its height while it updates these rows.
peak() {
  local pid highest=0 now fifo
  fifo=$(mktemp -u) && mkfifo "$fifo"
  psql >"$fifo" <<SQL &
SELECT pg_backend_pid();
SELECT set_config('prm.program_id', '$p', false) IS NULL;
SELECT pg_sleep(0.5) IS NULL;
BEGIN;
$(update_of prm "$1")
ROLLBACK;
SQL
  exec 7<"$fifo"       # held open: a session whose output nobody reads would end before its UPDATE
  read -r pid <&7
  while now=$(sed -n 's/^RssAnon:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$pid/status" 2>/dev/null) && [ -n "$now" ]; do
    if ((now > highest)); then highest=$now; fi
    sleep 0.02
  done
  exec 7<&-
  wait
  rm -f "$fifo"
  psql -c "VACUUM prm.lead" -c "VACUUM prm.state_history"
  echo "$highest"
}
few=$(peak "program_id = $p AND lead_id % 10 = 0") many=$(peak "program_id = $p")
psql -c "SELECT format('bench machine_memory_2m ratio=%s goal<=1.25 %s', round($many.0 / $few, 2), CASE WHEN $many.0 / $few <= 1.25 THEN 'ok' ELSE 'short' END)" \
  -c "SELECT '  anonymous memory of the backend: $few kB for a tenth of the rows, $many kB for all'"
