#!/usr/bin/env bash
# make matrix: make check on the other supported PostgreSQL versions, each in a root of the Debian release that has it, made by
# debootstrap from this machine's own mirror. Needs root (or sudo). matrix.sh [15|17|18]...; default 17 18.
# The roots stay in PRM_MATRIX (default /var/tmp/prm-matrix, about 2 GB each) for the next run; remove them when done.
# PRM_ONLY chooses suites as in check.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/setup.sh"
exec </dev/null

[ "$(id -u)" = 0 ] || exec sudo -n env PRM_MATRIX="${PRM_MATRIX:-}" PRM_ONLY="${PRM_ONLY:-}" bash "$0" "$@"
PRM_MISSING=debootstrap
command -v debootstrap >/dev/null || { say "Installing debootstrap, which makes the roots"; install_packages debootstrap; }

MATRIX=${PRM_MATRIX:-/var/tmp/prm-matrix}
suite_of() { case $1 in 15) echo bookworm ;; 17) echo trixie ;; 18) echo forky ;; *) fail "no Debian release is known for PostgreSQL $1" ;; esac; }

# The mirror that this machine uses for Debian itself.
mirror=$(apt-get indextargets --format '$(ORIGIN) $(SITE)' 'Created-By: Packages' | sed -n 's/^Debian //p' | grep -v security | sort -u | head -1)
[ -n "$mirror" ] || fail "apt's sources name no Debian mirror"

# in_root ROOT COMMAND: everything that it mounts and starts ends with it, so the root can be removed safely afterwards.
in_root() {
  unshare --mount --pid --fork --kill-child bash -c \
    'mount -t proc proc "$0/proc" && mount -t tmpfs tmpfs "$0/dev/shm" && exec chroot "$0" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive CI=true PRM_ONLY="$2" bash -c "$1"' \
    "$1" "$2" "${PRM_ONLY:-}"
}

make_root() {
  local root=$1 suite=$2
  [ ! -f "$root/prm-ready" ] || return 0
  say "Making a root of Debian $suite in $root (log: $root.log) ..."
  rm -rf "$root"
  mkdir -p "$(dirname "$root")"
  # An older debootstrap lacks the scripts of newer releases; that of sid serves them all.
  debootstrap --variant=minbase "$suite" "$root" "$mirror" sid >"$root.log" 2>&1 || { tail -5 "$root.log" >&2; fail "debootstrap $suite failed"; }
  # Mirrors of testing and of archives may be past the date that their index names.
  echo 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/99valid"
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
  chmod 755 "$root/usr/sbin/policy-rc.d"
  mkdir -p "$root/dev/shm"
  touch "$root/prm-ready"
}

[ $# -gt 0 ] || set -- 17 18
all_passed=0 all_failed=0
for version in "$@"; do
  root=$MATRIX/root$version
  make_root "$root" "$(suite_of "$version")"
  cp /etc/resolv.conf /etc/hosts "$root/etc/" 2>/dev/null || true
  rm -rf "$root/build"
  copy_tree "$root/build/prm"
  if [ -d "${PRM_DATA:-$PRM_TREE/../shared/data}" ]; then mkdir -p "$root/build/shared"; cp -r "${PRM_DATA:-$PRM_TREE/../shared/data}" "$root/build/shared/data"; fi
  say ""
  say "#### PostgreSQL $version ($(suite_of "$version"))"
  status=0
  # An earlier run may have been interrupted in the middle of an installation.
  in_root "$root" 'dpkg --configure -a >/dev/null 2>&1; cd /build/prm && bash test/tools/check.sh' 2>&1 | tee "$MATRIX/check$version.log" || status=$?
  line=$(grep -aE '^[0-9]+ passed, [0-9]+ failed$' "$MATRIX/check$version.log" | tail -1)
  if [ -z "$line" ]; then all_failed=$((all_failed + 1)); say "make check did not finish on PostgreSQL $version"; continue; fi
  all_passed=$((all_passed + ${line%% passed*}))
  failures=${line#*, }
  all_failed=$((all_failed + ${failures%% failed}))
done
say ""
say "The roots stay in $MATRIX; remove them with rm -rf $MATRIX"
printf '%s passed, %s failed\n' "$all_passed" "$all_failed"
[ "$all_failed" = 0 ] && [ "$all_passed" -gt 0 ]
