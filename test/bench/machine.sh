#!/usr/bin/env bash
# Bulk: 200,000 rows by one UPDATE, one INSERT and one COPY with the machine's trigger, against the floor (see machine.bash).
#   test/bench/machine.sh [rows] [rounds]
set -eu
. "$(dirname "$0")/machine.bash"
rows=${1:-200000} rounds=${2:-5}
bench_begin
make_leads "$rows"
make_twin prm_bench
scratch=$(mktemp)
psql <<SQL
CREATE TABLE prm_bench.source AS
  SELECT ${p}::bigint AS program_id, 900000000 + i AS lead_id, 'Company ' || i AS company, 'Contact ' || i AS contact_name, 'c' || i || '@example.org' AS email,
    'need ' || i % 97 AS need, (random() * 100000)::numeric(12,2) AS budget, 'DE' AS country
  FROM generate_series(1, $rows) i ORDER BY random();
ANALYZE prm_bench.source;
\copy prm_bench.source TO '$scratch'
SQL
columns="program_id, lead_id, company, contact_name, email, need, budget, country"
insert() { echo "INSERT INTO $1.lead ($columns) SELECT $columns FROM prm_bench.source;"; }
copy() { echo "\\copy $1.lead ($columns) FROM '$scratch'"; }

interleave update "$rounds" prm prm "$(update_of prm)" floor prm_bench "$(floor_history prm_bench)
$(update_of prm_bench)"
report update machine_update prm floor 1.15
interleave insert "$rounds" prm prm "$(insert prm)" floor prm_bench "$(insert prm_bench)
$(first_history prm_bench)"
report insert machine_insert prm floor 1.15
interleave copy "$rounds" prm prm "$(copy prm)" floor prm_bench "$(copy prm_bench)
$(first_history prm_bench)"
report copy machine_copy prm floor 1.15
