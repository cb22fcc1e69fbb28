#!/usr/bin/env bash
# One UPDATE of 200,000 rows where an outbox rule asks for a message for each, against the floor that includes one bare
# INSERT ... SELECT of the same messages into a twin of prm.outbox.
#   test/bench/machine_outbox.sh [rows] [rounds]
set -eu
. "$(dirname "$0")/machine.bash"
rows=${1:-200000} rounds=${2:-5}
bench_begin
make_leads "$rows"
make_twin prm_bench
psql >/dev/null <<SQL
CREATE TABLE prm_bench.outbox (LIKE prm.outbox INCLUDING ALL);
ALTER TABLE prm_bench.outbox ADD FOREIGN KEY (program_id) REFERENCES prm.program (program_id);
INSERT INTO prm.outbox_rule (program_id, source, event_type, fields) VALUES ($p, 'lead', 'lead.moved', ARRAY['company', 'contact_name', 'partner_id']);
SQL
messages="INSERT INTO prm_bench.outbox (program_id, aggregate_type, aggregate_id, event_type, channel, payload, occurred_at, available_at)
  SELECT program_id, 'lead', lead_id::text, 'lead.moved', 'webhook', jsonb_build_object('event', $event, 'from_state', state, 'to_state', $next,
    'actor', current_user, 'company', company, 'contact_name', contact_name, 'partner_id', partner_id), now(), now()
  FROM prm_bench.lead WHERE program_id = $p;"
# The messages must be the same too: their number and a checksum are divided by nothing when they are not.
same="SELECT 1 / (count(*) = $rows)::int FROM %.outbox WHERE program_id = $p AND payload ?& ARRAY['event', 'to_state', 'actor', 'company', 'contact_name'];"
interleave outbox "$rounds" prm prm "$(update_of prm)" floor prm_bench "$(floor_history prm_bench)
$messages
$(update_of prm_bench)"
psql >/dev/null <<SQL
SELECT set_config('prm.program_id', '$p', false);
BEGIN;
$(update_of prm)
${same//%/prm}
ROLLBACK;
BEGIN;
$messages
${same//%/prm_bench}
ROLLBACK;
SQL
report outbox machine_outbox prm floor 1.3
