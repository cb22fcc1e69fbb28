#!/usr/bin/env bash
# Bulk change of state: one UPDATE of 200,000 leads with the machine's trigger, against the floor: the same UPDATE and one
# INSERT ... SELECT of the same history rows, on tables alike in columns, keys, indexes and checks but without triggers.
# Interleaved rounds, each in its own transaction that is rolled back; the ratio is taken per round, the median counts.
#   test/bench/machine.sh [rows] [rounds]     PGHOST, PGUSER, PGDATABASE ... name a database with prm installed
# It makes a programme of its own and leaves the schema prm_bench behind it only while it runs.
set -eu
rows=${1:-200000}; rounds=${2:-7}
psql() { command psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }

psql > /dev/null <<SQL
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS prm_bench CASCADE;
CREATE SCHEMA prm_bench;
CREATE TABLE prm_bench.result (round int, kind text, ms numeric, history bigint);
CREATE TABLE prm_bench.setting AS SELECT prm.create_program('bench machine ' || clock_timestamp(), 'blank') AS program_id;
SELECT set_config('prm.program_id', program_id::text, false) FROM prm_bench.setting;
SELECT prm.define_machine('lead', '{"initial": "new", "states": {
  "new": {"on": {"grow": {"target": "warm"}, "cool": {"target": "cold"}}},
  "warm": {"on": {"close": {"target": "won"}, "cool": {"target": "cold"}}},
  "cold": {"on": {"grow": {"target": "warm"}}},
  "won": {"type": "final", "category": "won"}}}');
-- Random data: three states in no order, the usual columns filled.
INSERT INTO prm.lead (company, contact_name, email, need, budget, country)
  SELECT 'Company ' || i, 'Contact ' || i, 'c' || i || '@example.org', 'need ' || i % 97, (random() * 100000)::numeric(12,2), 'DE'
  FROM generate_series(1, $rows) i;
UPDATE prm.lead SET state = CASE WHEN random() < 0.5 THEN 'warm' ELSE 'cold' END
  WHERE random() < 0.66 AND program_id = current_setting('prm.program_id')::bigint;
CREATE TABLE prm_bench.lead (LIKE prm.lead INCLUDING ALL);
ALTER TABLE prm_bench.lead ALTER COLUMN lead_id DROP IDENTITY;
ALTER TABLE prm_bench.lead
  ADD FOREIGN KEY (program_id) REFERENCES prm.program (program_id),
  ADD FOREIGN KEY (program_id, partner_id) REFERENCES prm.partner (program_id, partner_id),
  ADD FOREIGN KEY (program_id, customer_id) REFERENCES prm.customer (program_id, customer_id);
CREATE TABLE prm_bench.state_history (LIKE prm.state_history INCLUDING ALL);
-- The same rows in both, so that both indexes are as deep and as scattered.
INSERT INTO prm_bench.lead SELECT * FROM prm.lead ORDER BY program_id, lead_id;
INSERT INTO prm_bench.state_history SELECT * FROM prm.state_history ORDER BY history_id;
SELECT setval(pg_get_serial_sequence('prm_bench.state_history', 'history_id'), max(history_id)) FROM prm_bench.state_history;
VACUUM FULL prm.lead;
VACUUM FULL prm_bench.lead;
VACUUM FULL prm.state_history;
VACUUM FULL prm_bench.state_history;
ANALYZE;
SQL

trap 'psql -c "SET client_min_messages = warning; DROP SCHEMA prm_bench CASCADE" > /dev/null' EXIT
next="CASE state WHEN 'new' THEN 'warm' WHEN 'warm' THEN 'cold' ELSE 'warm' END"

measure() {   # KIND STATEMENTS: runs them in a transaction that is rolled back, prints milliseconds and history rows
  psql <<SQL
SELECT set_config('prm.program_id', program_id::text, false) AS p FROM prm_bench.setting \gset
CHECKPOINT;
BEGIN;
SELECT count(*) AS before FROM $1.state_history WHERE program_id = :p \gset
SELECT clock_timestamp() AS began \gset
$2
SELECT extract(epoch FROM clock_timestamp() - :'began') * 1000 || ' ' ||
  (SELECT count(*) FROM $1.state_history WHERE program_id = :p) - :before;
ROLLBACK;
VACUUM $1.lead;
VACUUM $1.state_history;
SQL
}

with_trigger="UPDATE prm.lead SET state = $next WHERE program_id = :p;"
floor="UPDATE prm_bench.lead SET state = $next WHERE program_id = :p;
INSERT INTO prm_bench.state_history (program_id, machine, machine_version, event, from_state, to_state, actor, actor_kind, subject_id, at)
  SELECT program_id, 'lead', 1, CASE state WHEN 'warm' THEN 'grow' ELSE 'cool' END, CASE state WHEN 'warm' THEN 'new' ELSE 'warm' END,
    state, current_user, 'vendor', lead_id, now() FROM prm_bench.lead WHERE program_id = :p;"

for round in $(seq 1 "$rounds"); do
  for kind in prm prm_bench; do
    [ $kind = prm ] && statements=$with_trigger || statements=$floor
    read -r ms history < <(measure $kind "$statements" | tail -1)
    psql -c "INSERT INTO prm_bench.result VALUES ($round, '$kind', $ms, $history)"
  done
done

psql <<SQL
SELECT 'bench machine_bulk FAILED: history rows differ: ' || string_agg(kind || '=' || history, ' ') FROM prm_bench.result
  HAVING count(DISTINCT history) <> 1 OR min(history) <> $rows;
SELECT format('bench machine_bulk ratio=%s goal<=1.15 %s', round(r, 2), CASE WHEN r <= 1.15 THEN 'ok' ELSE 'short' END)
  FROM (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a.ms / b.ms)::numeric AS r
        FROM prm_bench.result a JOIN prm_bench.result b USING (round) WHERE a.kind = 'prm' AND b.kind = 'prm_bench') x;
SELECT format('  rounds: %s (with trigger / floor, ms)', string_agg(round(a.ms) || '/' || round(b.ms), ' ' ORDER BY round))
  FROM prm_bench.result a JOIN prm_bench.result b USING (round) WHERE a.kind = 'prm' AND b.kind = 'prm_bench';
SQL
