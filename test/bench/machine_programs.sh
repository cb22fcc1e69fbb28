#!/usr/bin/env bash
# One UPDATE of 200,000 rows over 1,000 programmes, whose rows lie in no order, against the floor (see machine.bash).
#   test/bench/machine_programs.sh [rows] [rounds] [programmes]
set -eu
. "$(dirname "$0")/machine.bash"
rows=${1:-200000} rounds=${2:-5} programmes=${3:-1000}
bench_begin
last=$(psql <<SQL
INSERT INTO prm.program (name) SELECT 'bench machine ' || clock_timestamp() || ' ' || i FROM generate_series(2, $programmes) i;
-- All of them on the same version number, which the floor's history has to name.
DO \$\$ BEGIN PERFORM prm.define_machine('lead', '$the_definition', g.program_id) FROM prm.program g, generate_series(1, $version) WHERE g.program_id > $p; END \$\$;
SELECT max(program_id) FROM prm.program;
SQL
)
make_leads "$rows" "$p + floor(random() * ($last - $p + 1))::bigint"
make_twin prm_bench
condition="program_id BETWEEN $p AND $last"
interleave programs "$rounds" prm prm "$(update_of prm "$condition")" floor prm_bench "$(floor_history prm_bench "$condition")
$(update_of prm_bench "$condition")"
report programs machine_1000_programs prm floor 1.15
