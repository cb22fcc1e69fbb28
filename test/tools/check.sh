#!/usr/bin/env bash
# make check: everything, on a throw-away server built from a copy of the tree. Ends with the line "N passed, N failed".
#   check.sh          all suites          check.sh lint     the lints alone (source and catalog)
#   check.sh bench    test/bench/*.sh     check.sh fuzz     the fuzzers, PRM_FUZZ_SECONDS each (default 60)
# What can run side by side does, in as many lanes as there are cores, 4 at most (PRM_LANES), each with a server of its own.
# PRM_KEEP=1 keeps the working folder; PRM_ONLY="regress pgtap" runs only those stages. PRM_DATA names the folder of the real
# data set (default ../shared/data beside the tree); tests that need it skip themselves where it is absent.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/setup.sh"
. "$(dirname "$0")/server.sh"
. "$(dirname "$0")/suites.sh"
exec </dev/null
mode=${1:-all}

has_fuzz_targets() { compgen -G "$PRM_TREE/test/fuzz/*.c" >/dev/null; }

prepare() {
  PRM_WORK=$(mktemp -d "${PRM_TMP:-/var/tmp}/prm-check-XXXXXX") || fail "no temporary folder"
  export PRM_WORK
  # Others may look inside (a failed run is read there), but only its owner may reach the socket.
  chmod 755 "$PRM_WORK"
  trap 'finish_up' EXIT
  trap 'exit 130' INT TERM
  SOURCE=$PRM_WORK/source DEST=$PRM_WORK/installed
  copy_tree "$SOURCE"
  local data=${PRM_DATA:-$PRM_TREE/../shared/data}
  if [ -d "$data" ]; then
    cp -r "$data" "$PRM_WORK/data"
    chmod -R u+w,a+rX "$PRM_WORK/data"
    export PRM_DATA=$PRM_WORK/data
  else
    unset PRM_DATA
  fi
  mkdir -p "$PRM_WORK/server" "$PRM_WORK/out"
  [ "$(id -u)" != 0 ] || chown -R "$PRM_USER:" "$PRM_WORK"
}

build() {
  local begun=$SECONDS
  PRM_COPT="-Werror ${COPT:-}" build_into "$SOURCE" "$DEST"
  say "Built for PostgreSQL $("$PG_CONFIG" --version | cut -d' ' -f2) with -Werror in $((SECONDS - begun)) s, in $PRM_WORK"
}

finish_up() {
  local status=$?
  trap - EXIT
  local home
  for home in ${LANE_PIDS[@]+"${LANE_PIDS[@]}"}; do kill "$home" 2>/dev/null; done
  if [ -n "${PRM_WORK:-}" ]; then for home in "$PRM_WORK"/server*; do server_stop "$home"; done; fi
  if [ -n "${PRM_KEEP:-}" ]; then say "Kept: $PRM_WORK"; else rm -rf "${PRM_WORK:-/nonexistent}"; fi
  if [ "$mode" = bench ]; then exit $status; fi
  # A script that broke off (the build failed, the server did not start) is itself a failure.
  if [ -z "${PRM_DONE:-}" ]; then FAILED=$((FAILED + 1)); fi
  printf '%s passed, %s failed\n' "$PASSED" "$FAILED"
  [ "$FAILED" = 0 ] && [ "$PASSED" -gt 0 ]
  exit $?
}

wanted_stage() { [ -z "${PRM_ONLY:-}" ] || [[ " $PRM_ONLY " == *" $1 "* ]]; }
stage() {     # NAME TITLE FUNCTION...
  local name=$1 title=$2 begun=$SECONDS passed=$PASSED failed=$FAILED; shift 2
  wanted_stage "$name" || return 0
  say ""
  say "== $title"
  "$@"
  say "   $((PASSED - passed)) passed, $((FAILED - failed)) failed in $((SECONDS - begun)) s: $name"
}

throw_away_server() {   # HOME_DIR
  server_init "$1" "$DEST" "fsync = off" "synchronous_commit = off" "full_page_writes = off" \
    "shared_buffers = 256MB" "max_wal_size = 2GB" "max_connections = 60" "max_prepared_transactions = 10"
  server_start "$1"
  PSQL="$PG_BIN/psql -X -q -v ON_ERROR_STOP=1"
}

case $mode in
  all)
    setup_for check
    ! has_fuzz_targets || setup_for fuzz
    prepare
    stage lint "Lint of the sources" suite_source_lint
    stage embed "What the build refuses (sql/embed.sh)" suite_embed
    build
    throw_away_server "$PRM_WORK/server"
    stage regress "pg_regress: what a user types and sees" suite_regress
    stage isolation "Isolation: sessions against each other" suite_isolation
    stage pgtap "pgTAP: behaviour, contract and catalog" suite_pgtap
    stage settings "pgTAP again under other settings" suite_settings
    stage plpgsql "plpgsql_check of every function" suite_plpgsql_check
    stage readme "The README against the catalog and the tour" suite_readme
    stage tap "TAP: dumps, upgrades, drops, rights" suite_tap
    ! has_fuzz_targets || PRM_FUZZ_SECONDS=${PRM_FUZZ_SECONDS:-5} stage fuzz "Fuzzers, a short run" suite_fuzz
    stage log "The server's log" suite_server_log
    ;;
  lint)
    setup_for check
    prepare
    stage lint "Lint of the sources" suite_source_lint
    stage embed "What the build refuses (sql/embed.sh)" suite_embed
    build
    throw_away_server "$PRM_WORK/server"
    stage pgtap "Lint of the catalog" suite_pgtap catalog
    stage plpgsql "plpgsql_check of every function" suite_plpgsql_check
    ;;
  fuzz)
    setup_for fuzz
    has_fuzz_targets || fail "there are no fuzz targets in test/fuzz"
    prepare
    PRM_FUZZ_SECONDS=${PRM_FUZZ_SECONDS:-60} stage fuzz "Fuzzers" suite_fuzz
    ;;
  bench)
    setup_for bench
    prepare
    build
    # As a small server is run, except that commits do not wait for the disk: ratios of work are compared, not disks.
    server_init "$PRM_WORK/server" "$DEST" "synchronous_commit = off" "shared_buffers = 1GB" "max_wal_size = 8GB" \
      "checkpoint_timeout = 30min" "autovacuum = off" "jit = off" "maintenance_work_mem = 256MB"
    server_start "$PRM_WORK/server"
    export PATH="$PG_BIN:$PATH"
    status=0
    for script in "$SOURCE"/test/bench/*.sh; do
      [ -f "$script" ] || fail "there are no benchmarks in test/bench"
      say "-- ${script##*/}"
      (cd "$SOURCE" && bash "$script") || status=1
    done
    exit $status
    ;;
  *) fail "usage: check.sh [lint|bench|fuzz]" ;;
esac
PRM_DONE=1
