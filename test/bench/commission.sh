#!/usr/bin/env bash
# Commission arithmetic against the built-in sum, a generated CASE and a PL/pgSQL function; see commission.sql.
#   test/bench/commission.sh [rows] [rounds]     PGHOST, PGUSER, PGDATABASE ... name a database with prm installed
set -eu
psql -X -q -A -t -v ON_ERROR_STOP=1 -v rows="${1:-2000000}" -v rounds="${2:-7}" -f "$(dirname "$0")/commission.sql"
