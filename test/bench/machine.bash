# What the benchmarks of the machines share. Sourced by test/bench/machine*.sh.
#
# The floor stands in the schema prm_bench: a twin of prm.lead (columns, keys, indexes, checks, foreign keys, no triggers) and
# of prm.state_history, on which the bare statement and one bare INSERT ... SELECT of the same history rows run. Other rivals
# stand beside it. Each measurement is a session and a transaction of its own that is rolled back, followed by a VACUUM; the
# variants of a round follow each other in alternating order; a ratio is taken per round and the median counts. What each
# variant wrote into its history is compared by count and checksum, in every round.
#   PGHOST, PGUSER ... name a server where prm is installed; all of it happens in a database of its own, which is dropped.
psql() { command psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }

the_definition='{"initial": "new", "states": {
  "new": {"on": {"grow": {"target": "warm"}, "cool": {"target": "cold"}}},
  "warm": {"on": {"close": {"target": "won"}, "cool": {"target": "cold"}}},
  "cold": {"on": {"grow": {"target": "warm"}}},
  "won": {"type": "final", "category": "won"}}}'
# Where the benchmarks move a row, and by which event.
next="CASE state WHEN 'new' THEN 'warm' WHEN 'warm' THEN 'cold' ELSE 'warm' END"
event="CASE state WHEN 'warm' THEN 'cool' ELSE 'grow' END"
history_columns="program_id, machine, machine_version, event, from_state, to_state, actor, actor_kind, subject_id, at"

bench_database() { PGDATABASE=postgres psql -c "SET client_min_messages = warning" -c "DROP DATABASE IF EXISTS prm_bench_machine WITH (FORCE)" "$@"; }
bench_begin() {      # makes the database, the programme and the empty schema
  bench_database -c "CREATE DATABASE prm_bench_machine"
  trap 'rm -rf "${scratch:-}"; bench_database' EXIT
  export PGDATABASE=prm_bench_machine
  psql >/dev/null <<SQL
SET client_min_messages = warning;
CREATE EXTENSION prm;
SELECT prm.install();
CREATE SCHEMA prm_bench;
CREATE TABLE prm_bench.result (name text, round int, kind text, cost numeric, history text);
CREATE TABLE prm_bench.setting AS SELECT prm.create_program('bench machine ' || clock_timestamp(), 'blank') AS program_id;
SELECT prm.define_machine('lead', '$the_definition', program_id) FROM prm_bench.setting;
-- What a history row says, as a number that does not depend on the order.
CREATE FUNCTION prm_bench.digest(schema_name text, program bigint, after bigint) RETURNS text LANGUAGE plpgsql AS \$\$
DECLARE the_digest text;
BEGIN
  EXECUTE format('SELECT count(*) || '' '' || coalesce(sum(hashtextextended(concat_ws(''|'', $(sed 's/, /, h./g; s/^/h./; s/h.at$/h.at = now()/' <<<"$history_columns")), 0) %% 1000000007), 0) FROM %I.state_history h WHERE history_id > \$2 AND (\$1 IS NULL OR program_id = \$1)', schema_name)
    INTO the_digest USING program, after;
  RETURN the_digest;
END \$\$;
SQL
  p=$(psql -c "SELECT program_id FROM prm_bench.setting")
  version=$(psql -c "SELECT version FROM prm.machine WHERE program_id = $p AND machine = 'lead' AND is_current")
}

# Random data: three states in no order, the usual columns filled.
make_leads() {       # ROWS [PROGRAMME EXPRESSION over i]
  psql >/dev/null <<SQL
SELECT set_config('prm.program_id', '$p', false);
INSERT INTO prm.lead (program_id, company, contact_name, email, need, budget, country)
  SELECT ${2:-$p}, 'Company ' || i, 'Contact ' || i, 'c' || i || '@example.org', 'need ' || i % 97, (random() * 100000)::numeric(12,2), 'DE'
  FROM generate_series(1, $1) i;
UPDATE prm.lead SET state = CASE WHEN random() < 0.5 THEN 'warm' ELSE 'cold' END WHERE random() < 0.66 AND program_id >= $p;
SQL
}

make_twin() {        # SCHEMA...: the same rows in both, so that the indexes are as deep and as scattered
  local schema
  for schema in "$@"; do
    psql >/dev/null <<SQL
SET client_min_messages = warning;
CREATE SCHEMA IF NOT EXISTS $schema;
CREATE TABLE $schema.lead (LIKE prm.lead INCLUDING ALL);
ALTER TABLE $schema.lead ALTER COLUMN lead_id DROP IDENTITY;
CREATE TABLE $schema.state_history (LIKE prm.state_history INCLUDING ALL);
-- In the order in which they lie: it decides what the indexes cost.
INSERT INTO $schema.lead SELECT * FROM prm.lead;
INSERT INTO $schema.state_history SELECT * FROM prm.state_history;
SELECT setval(pg_get_serial_sequence('$schema.state_history', 'history_id'), max(history_id)) FROM $schema.state_history;
-- The foreign keys of the original, pointing to the same tables.
DO \$\$ DECLARE the_key record; BEGIN
  FOR the_key IN SELECT pg_get_constraintdef(oid) AS definition FROM pg_constraint WHERE conrelid = 'prm.lead'::regclass AND contype = 'f' LOOP
    EXECUTE 'ALTER TABLE $schema.lead ADD ' || the_key.definition;
  END LOOP;
END \$\$;
SQL
  done
  for schema in prm "$@"; do
    psql -c "VACUUM FULL $schema.lead" -c "VACUUM FULL $schema.state_history"
  done
  psql -c "ANALYZE"
}

# NAME ROUND KIND SCHEMA STATEMENTS: the milliseconds of the statements. A line \copy may be among them.
measure() {
  local answer
  answer=$(psql <<SQL | tail -1
SELECT set_config('prm.program_id', '$p', false) AS ignored \gset
CHECKPOINT;
SELECT coalesce(max(history_id), 0) AS before FROM $4.state_history \gset
BEGIN;
SELECT clock_timestamp() AS began \gset
$5
SELECT extract(epoch FROM clock_timestamp() - :'began') * 1000 AS ms \gset
SELECT :ms || ' ' || prm_bench.digest('$4', NULL, :before);
ROLLBACK;
VACUUM $4.lead;
VACUUM $4.state_history;
SQL
)
  psql -c "INSERT INTO prm_bench.result VALUES ('$1', $2, '$3', ${answer%% *}, '${answer#* }')"
}

# NAME ROUNDS then KIND SCHEMA STATEMENTS for each variant; round 0 warms up and does not count.
# first_round=1 leaves it out, where a round takes long.
interleave() {
  local name=$1 rounds=$2 round i variants=() order; shift 2
  variants=("$@")
  for ((round = ${first_round:-0}; round <= rounds; round++)); do
    order=()
    for ((i = 0; i < ${#variants[@]}; i += 3)); do
      if ((round % 2)); then order+=("$i"); else order=("$i" "${order[@]}"); fi
    done
    for i in "${order[@]}"; do measure "$name" "$round" "${variants[i]}" "${variants[i + 1]}" "${variants[i + 2]}"; done
  done
}

# NAME LINE KIND FLOOR GOAL: the line of the result. A history that differs is a failure, whatever the ratio.
report() {
  psql <<SQL
SELECT 'bench $2 FAILED: the histories differ: ' || string_agg(DISTINCT kind || '=' || history, ' ') FROM prm_bench.result
  WHERE name = '$1' AND kind IN ('$3', '$4') HAVING count(DISTINCT history) <> 1 OR min(history) LIKE '0 %';
SELECT format('bench %s ratio=%s goal<=%s %s', '$2', round(r, 2), '$5', CASE WHEN r <= $5 THEN 'ok' ELSE 'short' END)
  FROM (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a.cost / b.cost)::numeric AS r
        FROM prm_bench.result a JOIN prm_bench.result b USING (name, round) WHERE a.name = '$1' AND a.kind = '$3' AND b.kind = '$4' AND round > 0) x;
SELECT format('  rounds: %s (%s / %s)', string_agg(round(a.cost) || '/' || round(b.cost), ' ' ORDER BY round), '$3', '$4')
  FROM prm_bench.result a JOIN prm_bench.result b USING (name, round) WHERE a.name = '$1' AND a.kind = '$3' AND b.kind = '$4' AND round > 0;
SQL
}

# The floors, by what is done. The history comes first, while the states before the change can still be read.
floor_history() {    # SCHEMA [CONDITION]
  echo "INSERT INTO $1.state_history ($history_columns)
  SELECT program_id, 'lead', $version, $event, state, $next, current_user, 'vendor', lead_id, now() FROM $1.lead WHERE ${2:-program_id = $p};"
}
update_of() {        # SCHEMA [CONDITION]
  echo "UPDATE $1.lead SET state = $next WHERE ${2:-program_id = $p};"
}
first_history() {    # SCHEMA: of the rows that the source gave
  echo "INSERT INTO $1.state_history ($history_columns)
  SELECT program_id, 'lead', $version, NULL, NULL, 'new', current_user, 'vendor', lead_id, now() FROM prm_bench.source;"
}
