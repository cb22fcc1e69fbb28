#!/usr/bin/env bash
# make demo: packages, build, a private server in .demo/, the demonstration programme and its report. make demo-stop ends it.
# Nothing outside .demo/ changes, but for missing packages; where the server's user may not enter the tree (/root), the
# folder is /var/tmp/prm-demo-NUMBER instead.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/setup.sh"
. "$(dirname "$0")/server.sh"

elsewhere=/var/tmp/prm-demo-$(printf '%s' "$PRM_TREE" | cksum | cut -d' ' -f1)

stop_demo() {
  local folder stopped=
  for folder in "$PRM_TREE/.demo" "$elsewhere"; do
    [ -f "$folder/data/PG_VERSION" ] || continue
    # The cluster's own major version, which need not be the newest on this machine.
    PG_CONFIG=$(cat "$folder/pg_config" 2>/dev/null || true)
    find_postgres || continue
    if server_running "$folder"; then say "Stopping the demo server in $folder."; else say "The demo server in $folder is not running."; fi
    server_stop "$folder"
    say "To remove it with its data: rm -rf $folder"
    stopped=1
  done
  [ -n "$stopped" ] || say "There is no demo here; make demo makes one."
}
if [ "${1:-}" = stop ]; then stop_demo; exit 0; fi

started=$SECONDS
setup_for demo
packaged=$SECONDS
DEMO=$PRM_TREE/.demo
if [ ! -w "$PRM_TREE" ]; then DEMO=$elsewhere
elif ! reachable "$PRM_TREE"; then DEMO=$elsewhere; fi
mkdir -p "$DEMO"
# Only the server's user may look inside: the socket trusts whoever reaches it.
[ "$(id -u)" != 0 ] || chown "$PRM_USER:" "$DEMO"
chmod 700 "$DEMO"
export PRM_WORK=$DEMO

server_stop "$DEMO"
if [ -f "$DEMO/data/PG_VERSION" ] && [ "$(cat "$DEMO/data/PG_VERSION")" != "$PG_MAJOR" ]; then rm -rf "$DEMO/data"; fi
printf '%s\n' "$PG_CONFIG" >"$DEMO/pg_config"

say "Building prm for PostgreSQL $PG_MAJOR ..."
copy_tree "$DEMO/source"
[ "$(id -u)" != 0 ] || chown -R "$PRM_USER:" "$DEMO/source"
rm -rf "$DEMO/installed"
build_into "$DEMO/source" "$DEMO/installed"

say "Starting a private server in $DEMO ..."
server_init "$DEMO" "$DEMO/installed" "shared_buffers = 128MB" "max_connections = 20" "synchronous_commit = off"
server_start "$DEMO"
psql() { "$PG_BIN/psql" -X -q -v ON_ERROR_STOP=1 "$@"; }
PGOPTIONS="-c client_min_messages=warning" psql -d postgres -c "DROP DATABASE IF EXISTS prm WITH (FORCE)" -c "CREATE DATABASE prm"
say "Making the demonstration programme ..."
psql -d prm -At -c "CREATE EXTENSION prm" -c "SELECT 'Installed the model of prm ' || prm.install()" -c "SELECT 'Demonstration programme number ' || prm.demo()"

psql -d prm -f "$PRM_TREE/test/tools/demo_report.sql"

say ""
say "The demo stands after $((SECONDS - packaged)) s (packages: $((packaged - started)) s). Look around:"
say "  $PG_BIN/psql -h $PGHOST -U postgres prm"
say "Running make demo again makes it anew; make demo-stop ends it."
