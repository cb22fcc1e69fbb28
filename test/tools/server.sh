# A private server in a folder of its own, reachable by its socket only. Sourced after lib.sh and find_postgres.
# HOME_DIR/data, HOME_DIR/log and HOME_DIR/socket (or, where that path is too long for a socket, a short one that
# HOME_DIR/socket_path names). Other servers on the machine are not touched: this one listens on no network address.

# socket_of HOME_DIR: where the socket of that server is. The system's limit is 107 bytes with the file name.
socket_of() {
  if [ -f "$1/socket_path" ]; then cat "$1/socket_path"; else printf '%s\n' "$1/socket"; fi
}

# extension_settings DEST: the lines of postgresql.conf by which this server finds an extension installed below DEST.
extension_settings() {
  local share lib
  if [ "$PG_MAJOR" -ge 18 ]; then
    share=$("$PG_CONFIG" --sharedir) lib=$("$PG_CONFIG" --pkglibdir)
    printf "extension_control_path = '%s%s:\$system'\ndynamic_library_path = '%s%s:\$libdir'\n" "$1" "$share" "$1" "$lib"
  elif grep -qa extension_destdir "$PG_BIN/postgres"; then
    printf "extension_destdir = '%s'\n" "$1"
  else
    fail "PostgreSQL $PG_MAJOR of $PG_CONFIG cannot load an extension from a private folder; use Debian's packages, or PostgreSQL 18"
  fi
}

# server_init HOME_DIR DEST [LINE OF postgresql.conf]...: makes the cluster where there is none, and writes its settings anew.
server_init() {
  local home=$1 dest=$2 socket; shift 2
  mkdir -p "$home"
  [ "$(id -u)" != 0 ] || chown "$PRM_USER:" "$home"
  if [ ! -f "$home/data/PG_VERSION" ]; then
    (cd "$home" && as_user "$PG_BIN/initdb" -D "$home/data" -U postgres -A trust --no-sync -E UTF8 --locale=C.UTF-8 >"$home/initdb.log" 2>&1) ||
      { cat "$home/initdb.log" >&2; fail "initdb failed"; }
  fi
  if [ "$(printf '%s' "$home/socket/.s.PGSQL.5432.lock" | wc -c)" -gt 100 ]; then
    socket=$(socket_of "$home")
    if [ "$socket" = "$home/socket" ] || [ ! -d "$socket" ]; then
      socket=$(mktemp -d "${TMPDIR:-/tmp}/prm-XXXXXX")
      printf '%s\n' "$socket" >"$home/socket_path"
    fi
  else
    socket=$home/socket
    mkdir -p "$socket"
  fi
  [ "$(id -u)" != 0 ] || chown "$PRM_USER:" "$socket"
  chmod 700 "$socket"
  {
    printf "listen_addresses = ''\nport = 5432\nunix_socket_directories = '%s'\n" "$socket"
    printf "log_min_messages = warning\nlogging_collector = off\n"
    extension_settings "$dest"
    printf '%s\n' "$@"
  } >"$home/prm.conf"
  chmod 644 "$home/prm.conf"
  grep -q '^include.*prm.conf' "$home/data/postgresql.conf" || printf "include '%s/prm.conf'\n" "$home" >>"$home/data/postgresql.conf"
}

server_running() { [ -f "$1/data/postmaster.pid" ] && (cd / && as_user "$PG_BIN/pg_ctl" -D "$1/data" status >/dev/null 2>&1); }

# The server gets no open file of ours beyond the standard ones, so that nobody waits for it to end.
server_start() {
  (cd / && as_user "$PG_BIN/pg_ctl" -D "$1/data" -l "$1/log" -w -t 60 start >"$1/pg_ctl.log" 2>&1 </dev/null) ||
    { tail -20 "$1/pg_ctl.log" "$1/log" >&2; fail "the private server did not start"; }
  export PGHOST PGUSER=postgres PGPORT=5432
  PGHOST=$(socket_of "$1")
}

server_stop() {
  if server_running "$1"; then
    (cd / && as_user "$PG_BIN/pg_ctl" -D "$1/data" -m fast -w -t 60 stop >/dev/null 2>&1) || true
  fi
  if [ -f "$1/socket_path" ]; then rmdir "$(cat "$1/socket_path")" 2>/dev/null || true; rm -f "$1/socket_path"; fi
}
