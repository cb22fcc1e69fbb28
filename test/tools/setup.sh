# Installs what is missing, by name, and says why. Sourced after lib.sh: setup_for demo|check|bench|fuzz|matrix
# A machine's own servers are never touched: no cluster is made or started, and a server package that is installed keeps its
# version (development files are taken in that version where the archive has it).

have_package() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
package_version() { dpkg-query -W -f '${Version}' "$1" 2>/dev/null; }
offered() { apt-cache show --no-all-versions "$1" >/dev/null 2>&1; }

# Runs apt as root; needs sudo where we are somebody else. Asks nothing where nobody could answer.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif ! command -v sudo >/dev/null; then fail "missing packages: ${PRM_MISSING:-}. Install them as root: apt-get install ${PRM_MISSING:-}"
  elif [ -t 0 ]; then sudo "$@"
  else sudo -n "$@" || fail "missing packages: ${PRM_MISSING:-}. Install them as root: apt-get install ${PRM_MISSING:-}"
  fi
}
apt_get() {
  as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 APT_LISTCHANGES_FRONTEND=none \
    apt-get -q -o Dpkg::Use-Pty=0 "$@" </dev/null
}
apt_log() { PRM_APT_LOG=${PRM_APT_LOG:-$(mktemp "${TMPDIR:-/tmp}/prm-apt.XXXXXX")}; }

apt_update_once() {
  [ -z "${PRM_APT_UPDATED:-}" ] || return 0
  PRM_APT_UPDATED=1
  apt_log
  say "Reading the lists of packages (apt-get update) ..."
  apt_get update >>"$PRM_APT_LOG" 2>&1 || say "apt-get update complained (see $PRM_APT_LOG); going on with the lists that are here."
}

# same_version PACKAGE AS: "PACKAGE=VERSION" with the version in which AS is installed, where the archive has that one.
same_version() {
  local version
  version=$(package_version "$2")
  if [ -n "$version" ] && have_package "$2" && apt-cache madison "$1" | awk -F'|' '{gsub(/ /, "", $2); print $2}' | grep -qxF "$version"; then
    printf '%s=%s\n' "$1" "$version"
  else
    printf '%s\n' "$1"
  fi
}

choose_major() {
  local major
  for major in $PRM_MAJORS; do
    if have_package "postgresql-$major"; then PG_MAJOR=$major; return 0; fi
  done
  apt_update_once
  for major in $PRM_MAJORS; do
    if offered "postgresql-$major" && offered "postgresql-server-dev-$major"; then PG_MAJOR=$major; return 0; fi
  done
  fail "this distribution offers none of PostgreSQL $PRM_MAJORS; install one and give PG_CONFIG=/path/to/pg_config"
}

# Installs the packages named. A server package that comes new must not make a cluster of its own.
install_packages() {
  local package wanted=() guard=/etc/postgresql-common/createcluster.d/prm.conf guarded= status=0
  PRM_MISSING="$*"
  apt_update_once
  for package in "$@"; do
    case $package in
      postgresql-server-dev-*) wanted+=("$(same_version "$package" "postgresql-${package##*-}")") ;;
      *) wanted+=("$package") ;;
    esac
  done
  # What is installed of a server stays as it is; apt would rather refuse than upgrade it.
  for package in $(dpkg-query -W -f '${Package} ${db:Status-Status}\n' 'postgresql-[0-9]*' 'postgresql-client-[0-9]*' 2>/dev/null |
                   awk '$2 == "installed" && $1 ~ /^postgresql-(client-)?[0-9]+$/ {print $1}'); do
    wanted+=("$package=$(package_version "$package")")
  done
  if have_package libpq5 && ! have_package libpq-dev && [[ " $* " == *" postgresql-server-dev-"* ]]; then
    wanted+=("$(same_version libpq-dev libpq5)")
  fi
  if [[ " $* " =~ \ postgresql-[0-9]+\  ]]; then
    if ! have_package postgresql-common; then
      apt_get install -y --no-install-recommends postgresql-common >>"$PRM_APT_LOG" 2>&1 ||
        { tail -20 "$PRM_APT_LOG" >&2; fail "apt-get could not install postgresql-common (log: $PRM_APT_LOG)"; }
    fi
    if [ ! -e "$guard" ]; then
      guarded=1
      trap 'as_root rm -f /etc/postgresql-common/createcluster.d/prm.conf' EXIT
      as_root mkdir -p "$(dirname "$guard")"
      printf '# For the moment of an installation by prm: no cluster of the system is made.\ncreate_main_cluster = false\n' |
        as_root tee "$guard" >/dev/null
    fi
  fi
  apt_get install -y --no-install-recommends "${wanted[@]}" >>"$PRM_APT_LOG" 2>&1 || status=$?
  if [ -n "$guarded" ]; then
    as_root rm -f "$guard"
    trap - EXIT
  fi
  [ "$status" = 0 ] || { tail -20 "$PRM_APT_LOG" >&2; fail "apt-get could not install: ${wanted[*]} (log: $PRM_APT_LOG)"; }
}

# need PACKAGE WHY: notes a package that is missing.
need() {
  have_package "$1" && return 0
  missing+=("$1")
  reasons+=("  $1: $2")
}
# want PACKAGE WHY: the same, but goes without where the distribution does not offer it.
want() {
  have_package "$1" && return 0
  apt_update_once
  if offered "$1"; then need "$1" "$2"; else say "This distribution has no $1 ($2): that part is left out."; fi
}

setup_for() {
  local purpose=$1 missing=() reasons=() llvm
  if ! command -v dpkg-query >/dev/null; then
    find_postgres && command -v make gcc >/dev/null ||
      fail "this is no Debian: install make, gcc, and PostgreSQL with its development files, then give PG_CONFIG=/path/to/pg_config"
    return 0
  fi
  if [ -n "${PG_CONFIG:-}" ]; then
    find_postgres || fail "PG_CONFIG=$PG_CONFIG: its server (initdb) or its PGXS makefile is missing"
  elif ! find_postgres; then
    choose_major
    need "postgresql-$PG_MAJOR" "the server, run privately"
    need "postgresql-server-dev-$PG_MAJOR" "headers and makefiles for extensions"
  fi
  command -v make >/dev/null || need make "runs the build"
  command -v gcc >/dev/null || need gcc "compiles the library"
  [ -f /usr/include/stdio.h ] || need libc6-dev "headers of the C library"
  case $purpose in
    check)
      need libipc-run-perl "PostgreSQL's own test modules use it"
      if [[ "${PG_CONFIG:-/usr/lib/postgresql/}" == /usr/lib/postgresql/* ]]; then
        want "postgresql-$PG_MAJOR-pgtap" "tests in SQL"
        want "postgresql-$PG_MAJOR-plpgsql-check" "checks the PL/pgSQL functions"
      fi
      need libtap-parser-sourcehandler-pgtap-perl "runs the tests in SQL (pg_prove)"
      want libxml2-utils "checks the bank's file against its schema (xmllint)"
      ;;
    fuzz)
      llvm=$(ls /usr/bin/clang-[0-9]* 2>/dev/null | sed 's/.*-//' | sort -n | tail -1)
      if [ -z "$llvm" ]; then
        apt_update_once
        llvm=$(apt-cache depends clang 2>/dev/null | sed -n 's/.*Depends: clang-\([0-9]*\)$/\1/p' | head -1)
        [ -n "$llvm" ] || fail "this distribution offers no clang"
        need "clang-$llvm" "the compiler with the fuzzer"
      fi
      [ "$llvm" -lt 14 ] || need "libclang-rt-$llvm-dev" "the fuzzer and the sanitizers"
      ;;
    matrix)
      need debootstrap "makes the roots of the other distributions"
      ;;
  esac
  if [ ${#missing[@]} -gt 0 ]; then
    apt_log
    say "Installing missing Debian packages (log: $PRM_APT_LOG):"
    printf '%s\n' "${reasons[@]}"
    install_packages "${missing[@]}"
  fi
  find_postgres || fail "PostgreSQL ${PG_MAJOR:-} is not complete on this machine"
}
