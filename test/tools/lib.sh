# What the scripts of test/tools share: messages, who we are, where PostgreSQL is, a copy of the tree. Sourced, never run.
# Nothing here installs or starts anything; setup.sh does the first, server.sh the second.

PRM_TREE=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export LC_ALL=C.UTF-8
unset PGDATABASE PGUSER PGPORT PGPASSWORD PGSERVICE PGOPTIONS PGHOSTADDR PGSSLMODE

say() { printf '%s\n' "$*"; }
fail() { printf 'prm: %s\n' "$*" >&2; exit 1; }

# The server refuses to run as root, so root hands everything to the user postgres, and everybody else stays oneself.
if [ "$(id -u)" = 0 ]; then PRM_USER=postgres; else PRM_USER=$(id -un); fi

# as_user COMMAND...: runs it as the unprivileged user, in the present folder.
as_user() {
  if [ "$(id -u)" = 0 ]; then
    runuser -u "$PRM_USER" -- env HOME="${PRM_WORK:-/tmp}" USER="$PRM_USER" LOGNAME="$PRM_USER" "$@"
  else
    "$@"
  fi
}

# find_postgres: sets PG_CONFIG, PG_MAJOR, PG_BIN and PG_PGXS from the PG_CONFIG given or from the highest supported version
# that is complete on this machine (server and development files). Returns 1 where there is none.
PRM_MAJORS="18 17 15"
find_postgres() {
  local major candidate
  if [ -z "${PG_CONFIG:-}" ]; then
    for major in $PRM_MAJORS; do
      candidate=/usr/lib/postgresql/$major/bin
      # The makefiles of PGXS come with the client's package, the headers do not.
      if [ -x "$candidate/pg_config" ] && [ -x "$candidate/initdb" ] && [ -f "$("$candidate/pg_config" --pgxs)" ] &&
         [ -f "$("$candidate/pg_config" --includedir-server)/postgres.h" ]; then
        PG_CONFIG=$candidate/pg_config
        break
      fi
    done
  fi
  [ -n "${PG_CONFIG:-}" ] || return 1
  PG_BIN=$("$PG_CONFIG" --bindir) && PG_PGXS=$("$PG_CONFIG" --pgxs) || fail "PG_CONFIG=$PG_CONFIG does not run"
  PG_MAJOR=$("$PG_CONFIG" --version | sed -E 's/^PostgreSQL ([0-9]+).*/\1/')
  PG_TEST=$(cd "$(dirname "$PG_PGXS")/.." 2>/dev/null && pwd)/test
  [ -x "$PG_BIN/initdb" ] && [ -f "$PG_PGXS" ] && [ -f "$("$PG_CONFIG" --includedir-server)/postgres.h" ] || return 1
  export PG_CONFIG
}

# reachable PATH: can the unprivileged user enter this folder? (/root is 0700.)
reachable() {
  if [ "$(id -u)" = 0 ]; then (cd / && runuser -u "$PRM_USER" -- test -x "$1" -a -r "$1"); else [ -x "$1" ]; fi
}

# copy_tree TARGET: the sources as they stand (tracked, and new files that are not ignored), without anything built.
# Time stamps are kept, so that a second copy over the first rebuilds only what changed.
copy_tree() {
  mkdir -p "$1"
  (
    cd "$PRM_TREE"
    if git -c safe.directory='*' rev-parse --is-inside-work-tree >/dev/null 2>&1; then
      git -c safe.directory='*' ls-files -z --cached --others --exclude-standard
    else
      find . \( -name .git -o -name .demo -o -name .build -o -name .matrix -o -name tmp_check \) -prune -o -type f \
        ! -name '*.o' ! -name '*.so' ! -name '*.bc' ! -path './sql/prm--*' -print0
    fi | while IFS= read -r -d '' file; do [ -e "$file" ] && printf '%s\0' "$file"; done | tar --null -T - -cf -
  ) | tar -xf - -C "$1"
}

# build_into SOURCE DEST: compiles the copy as the unprivileged user and installs it below DEST, which is no system folder.
build_into() {
  (
    cd "$1"
    as_user make -s -j"$(nproc)" with_llvm=no COPT="${PRM_COPT-}" PG_CONFIG="$PG_CONFIG" MAKEFLAGS= >"$1/build.log" 2>&1 &&
      as_user make -s with_llvm=no COPT="${PRM_COPT-}" PG_CONFIG="$PG_CONFIG" MAKEFLAGS= DESTDIR="$2" install >>"$1/build.log" 2>&1
  ) || { tail -40 "$1/build.log" >&2; fail "the build failed"; }
}
