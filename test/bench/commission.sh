#!/usr/bin/env bash
# Commission arithmetic against the built-in sum, a generated CASE and a PL/pgSQL function; see commission.sql.
#   test/bench/commission.sh [rows] [rounds]     PGHOST, PGUSER ... name a server that knows the extension
# It runs in a database of its own, which is dropped at the end.
set -eu
database=prm_bench_commission
trap 'psql -X -q -d postgres -c "DROP DATABASE IF EXISTS $database WITH (FORCE)"' EXIT
PGOPTIONS="-c client_min_messages=warning" psql -X -q -v ON_ERROR_STOP=1 -d postgres \
  -c "DROP DATABASE IF EXISTS $database WITH (FORCE)" -c "CREATE DATABASE $database"
psql -X -q -v ON_ERROR_STOP=1 -d $database -c "CREATE EXTENSION prm"
psql -X -q -A -t -v ON_ERROR_STOP=1 -v rows="${1:-2000000}" -v rounds="${2:-7}" -d $database -f "$(dirname "$0")/commission.sql"
