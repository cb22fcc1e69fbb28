#!/usr/bin/env bash
# Settlement: how long close_period() takes against the floor, whether its memory grows with the entries, and whether
# partner_balance() grows with the ledger.
#   test/bench/settlement.sh [rows] [rounds] [small] [big] [memory]     PGHOST, PGUSER ... name a server that knows the extension
# The floor makes the same statements by one GROUP BY insert and their lines by one INSERT ... SELECT, into twins of the two
# tables (columns, keys, indexes, no triggers), with no regard to holds, profiles or what is settled already. Rounds of both in
# turn, each rolled back and followed by a VACUUM; the ratio is taken per round and the median counts. What both wrote is
# compared. Then partner_balance() of a partner whose ledger has grown from small to big, with as much open as before. Last the
# anonymous memory (RssAnon, read while it runs; only where /proc of the server is at hand) of a backend that closes a tenth of
# memory entries and all of them, of as many payees: statements come back as rows, entries do not. 0 for rows, big or memory leaves that part out.
# It runs in a database of its own, which is dropped at the end.
set -eu
rows=${1:-1000000} rounds=${2:-5} small=${3:-100000} big=${4:-10000000} memory=${5:-2000000} status=0
database=prm_bench_settlement
psql() { command psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }
drop() { PGOPTIONS="-c client_min_messages=warning" psql -d postgres -c "DROP DATABASE IF EXISTS $database WITH (FORCE)"; }
trap drop EXIT
drop
psql -d postgres -c "CREATE DATABASE $database"
export PGDATABASE=$database
verdict() {       # NAME RATIO GOAL REMARK
  if psql -c "SELECT 1 / ($2 <= $3)::int" >/dev/null 2>&1; then echo "bench $1 ratio=$2 goal<=$3 ok $4"; else echo "bench $1 ratio=$2 goal<=$3 short $4"; status=1; fi
}
psql -c "CREATE EXTENSION prm" -c "SELECT prm.install()" >/dev/null
if [ "$rows" != 0 ]; then
psql >/dev/null <<SQL
SELECT prm.create_program('bench', 'blank');
CREATE SCHEMA prm_bench;
CREATE TABLE prm_bench.result (name text, round int, kind text, cost numeric);
CREATE TABLE prm_bench.statement (LIKE prm.statement INCLUDING ALL);
CREATE TABLE prm_bench.statement_line (LIKE prm.statement_line INCLUDING ALL);
SET prm.clock = '2025-07-15 12:00+00';
INSERT INTO prm.partner (name) SELECT 'Partner ' || i FROM generate_series(1, $rows / 100) i;
INSERT INTO prm.payee (partner_id, legal_name, currency) SELECT partner_id, name, 'USD' FROM prm.partner ORDER BY partner_id;
-- As an accrual leaves them: many partners in turn, each with its explanation.
INSERT INTO prm.ledger (partner_id, kind, amount, currency, earned_on, eligible_at, idempotency_key, explain)
  SELECT p.partner_id, 'commission', round((random() * 100 + 0.01)::numeric, 2), 'USD', d.day, d.day::timestamp AT TIME ZONE 'UTC', 'bench/' || p.partner_id || '/' || i,
    jsonb_build_object('plan', 'Reseller commission', 'rule', 'Everybody', 'basis', 'amount', 'basis_amount', 1000, 'schedule', 'marginal 0: 5%, 10000: 6%, 50000: 8%',
      'commission', 50, 'amount', 50, 'parts', jsonb_build_array(jsonb_build_object('part', 1, 'lower', 0, 'upper', 10000, 'amount', 1000, 'rate', 0.05, 'commission', 50)))
  FROM generate_series(1, 100) i CROSS JOIN prm.partner p CROSS JOIN LATERAL (SELECT date '2025-07-01' + i % 31 AS day) d
  ORDER BY i, p.partner_id;
VACUUM ANALYZE;
SQL
# Each measurement is a session of its own.
measure() {       # KIND
  if [ "$1" = floor ]; then
    psql <<SQL | tail -1
SELECT clock_timestamp() AS began \gset
BEGIN;
INSERT INTO prm_bench.statement (program_id, payee_id, partner_id, currency, period, period_end, total, entries, closed_at, closed_by)
  SELECT l.program_id, y.payee_id, l.partner_id, l.currency, '2025-07-01', '2025-07-31', sum(l.amount), count(*), now(), current_user
  FROM prm.ledger l JOIN prm.payee y ON y.program_id = l.program_id AND y.partner_id = l.partner_id
  WHERE l.program_id = prm.current_program() AND l.earned_on <= '2025-07-31' GROUP BY 1, 2, 3, 4;
INSERT INTO prm_bench.statement_line (program_id, entry_id, statement_id, partner_id, amount)
  SELECT l.program_id, l.entry_id, s.statement_id, s.partner_id, l.amount FROM prm.ledger l
  JOIN prm_bench.statement s ON s.program_id = l.program_id AND s.partner_id = l.partner_id AND s.currency = l.currency
  WHERE l.program_id = prm.current_program() AND l.earned_on <= '2025-07-31';
SELECT extract(epoch FROM clock_timestamp() - :'began'::timestamptz) AS took \gset
SELECT :took || ' ' || (SELECT count(*) || '/' || sum(total) || '/' || sum(entries) FROM prm_bench.statement) || '/' || (SELECT count(*) || '/' || sum(amount) FROM prm_bench.statement_line);
ROLLBACK;
SQL
  else
    psql <<SQL | tail -1
SET prm.clock = '2025-08-01 12:00+00';
SELECT clock_timestamp() AS began \gset
BEGIN;
SELECT count(*) FROM prm.close_period('2025-07-31');
SELECT extract(epoch FROM clock_timestamp() - :'began'::timestamptz) AS took \gset
SELECT :took || ' ' || (SELECT count(*) || '/' || sum(total) || '/' || sum(entries) FROM prm.statement) || '/' || (SELECT count(*) || '/' || sum(amount) FROM prm.statement_line);
ROLLBACK;
SQL
  fi
  psql -c "VACUUM prm.ledger_open, prm.statement, prm.statement_line, prm.statement_share, prm.state_history, prm_bench.statement, prm_bench.statement_line"
}
measure floor >/dev/null
for ((round = 1; round <= rounds; round++)); do
  if ((round % 2)); then order="close floor"; else order="floor close"; fi
  for kind in $order; do
    # Not from a pipe: the VACUUM at the end of one measurement would run into the next.
    read -r took wrote <<<"$(measure $kind)"
    psql -c "INSERT INTO prm_bench.result VALUES ('close', $round, '$kind', $took)"
    if [ -n "${first:-}" ] && [ "$first" != "$wrote" ]; then echo "FAILED: $kind wrote $wrote, not $first"; exit 1; fi
    first=$wrote
  done
done
read -r ratio ours floor < <(psql -F ' ' -c "SELECT round(percentile_cont(0.5) WITHIN GROUP (ORDER BY c.cost / f.cost)::numeric, 2), round(min(c.cost), 2), round(min(f.cost), 2)
  FROM prm_bench.result c JOIN prm_bench.result f USING (name, round) WHERE c.kind = 'close' AND f.kind = 'floor'")
verdict settlement_close "$ratio" 1.5 "($rows entries, best $ours s against $floor s)"
fi

# The ledger of a hundred partners, all of it settled but for a hundred entries each. As replication would bring it: no triggers.
fill() {          # ROWS OPEN LABEL PARTNERS DAYS: prints the number of the programme
  psql >/dev/null <<SQL
SET session_replication_role = replica;
SELECT prm.create_program('$3 $1', 'blank') AS p \gset
SELECT set_config('prm.program_id', :'p', false);
INSERT INTO prm.partner (name, partner_id) SELECT 'Partner ' || i, :p * 1000000 + i FROM generate_series(1, $4) i;
INSERT INTO prm.payee (partner_id, legal_name, currency, payee_id) SELECT :p * 1000000 + i, 'Partner ' || i, 'USD', :p * 1000000 + i FROM generate_series(1, $4) i;
INSERT INTO prm.ledger (partner_id, kind, amount, currency, earned_on, eligible_at, idempotency_key)
  SELECT :p * 1000000 + 1 + i % $4, 'commission', 1, 'USD', date '2024-01-01' + (i * $5 / $1)::int, '2024-01-01 00:00+00', '$3/' || i FROM generate_series(0::bigint, $1 - 1) i;
INSERT INTO prm.ledger_open (program_id, partner_id, entry_id, payee_id, eligible_at, due_on, part, is_receivable, is_owed, is_deferred, tax_class, amount, currency, legal_entity)
  SELECT program_id, partner_id, entry_id, 0, eligible_at, earned_on, 1, false, false, false, 1, amount, currency, '' FROM prm.ledger WHERE program_id = :p ORDER BY entry_id DESC LIMIT $2;
SQL
  psql -c "SELECT max(program_id) FROM prm.program"
}
settled() {       # PROGRAMME ROWS: twelve statements of each partner
  psql >/dev/null <<SQL
SET session_replication_role = replica;
SELECT set_config('prm.program_id', '$1', false);
WITH s AS (INSERT INTO prm.statement (payee_id, partner_id, currency, period, period_end, total, entries, closed_at, closed_by, state)
    SELECT $1 * 1000000 + i, $1 * 1000000 + i, 'USD', date '2024-01-01' + m * 31, date '2024-01-31' + m * 31, $2 / 1200, $2 / 1200, now(), 'bench', 'paid'
    FROM generate_series(1, 100) i CROSS JOIN generate_series(0, 11) m RETURNING statement_id, partner_id, total, entries)
INSERT INTO prm.statement_share (partner_id, statement_id, currency, amount, entries) SELECT partner_id, statement_id, 'USD', total, entries FROM s;
INSERT INTO prm.ledger (partner_id, kind, component, amount, currency, earned_on, eligible_at, idempotency_key)
  SELECT h.partner_id, 'payout', 'payout', -h.amount, 'USD', '2025-01-01', '2025-01-01 00:00+00', 'paid/' || h.statement_id FROM prm.statement_share h WHERE h.program_id = $1;
SQL
}
# Milliseconds of one call, the middle of many; both programmes in turn.
balance() {       # PROGRAMME PROGRAMME
  psql <<SQL
CREATE TEMP TABLE took (program bigint, ms numeric);
DO \$\$ DECLARE began timestamptz; p bigint; sums numeric; BEGIN
  FOR i IN 1 .. 600 LOOP
    FOREACH p IN ARRAY ARRAY[$1, $2] LOOP
      PERFORM set_config('prm.program_id', p::text, false);
      began := clock_timestamp();
      PERFORM * FROM prm.partner_balance(p * 1000000 + 1 + i % 100);
      IF i > 100 THEN INSERT INTO took VALUES (p, extract(epoch FROM clock_timestamp() - began) * 1000); END IF;
    END LOOP;
  END LOOP; END \$\$;
SELECT format('%s %s', round((m->>'$1')::numeric, 4), round((m->>'$2')::numeric, 4))
  FROM (SELECT jsonb_object_agg(program, ms) AS m FROM (SELECT program, percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) AS ms FROM took GROUP BY program) x) y;
SQL
}
if [ "$big" != 0 ]; then
  few=$(fill "$small" 10000 balance 100 360) many=$(fill "$big" 10000 balance 100 360)
  settled "$few" "$small"; settled "$many" "$big"
  psql -c "VACUUM ANALYZE"
  read -r small_ms big_ms < <(balance "$few" "$many" | tail -1)
  verdict "partner_balance_at_$big" "$(psql -c "SELECT round($big_ms / $small_ms, 2)")" 1.5 "($big_ms ms against $small_ms ms at $small entries)"
fi

# Kilobytes of anonymous memory at most, while a backend closes.
peak() {          # ROWS
  local program pid child most=0 now
  program=$(fill "$1" "$1" memory 1000 30)
  psql -c "VACUUM ANALYZE" >/dev/null
  coproc CLOSE { psql 2>&1; }
  child=$CLOSE_PID
  printf '%s\n' "SELECT pg_backend_pid();" >&"${CLOSE[1]}"
  read -r pid <&"${CLOSE[0]}"
  printf '%s\n' "SET prm.clock = '2025-08-01 12:00+00'; SELECT set_config('prm.program_id', '$program', false); SELECT count(*) FROM prm.close_period('2025-07-31'); \\q" >&"${CLOSE[1]}"
  while now=$(awk '/^RssAnon/ { print $2 }' "/proc/$pid/status" 2>/dev/null) && [ -n "$now" ]; do
    if [ "$now" -gt "$most" ]; then most=$now; fi
    sleep 0.05
  done
  wait "$child" 2>/dev/null || true
  [ "$(psql -c "SELECT sum(entries) FROM prm.statement WHERE program_id = $program")" = "$1" ] || { echo "FAILED: not all of $1 entries are on statements" >&2; exit 1; }
  echo "$most"
}
if [ "$memory" != 0 ]; then
  few=$(peak $((memory / 10))) many=$(peak "$memory")
  if [ "$few" = 0 ]; then echo "  memory: /proc of the server cannot be read"
  else verdict settlement_close_memory "$(psql -c "SELECT round($many.0 / $few, 2)")" 1.5 "($many kB at $memory entries, $few kB at $((memory / 10)))"; fi
fi
exit $status
