# The suites of make check. Sourced by check.sh after the server was started; each adds to PASSED and FAILED.

PASSED=0
FAILED=0
passed() { PASSED=$((PASSED + ${1:-1})); }
failed() { FAILED=$((FAILED + 1)); printf '   FAILED: %s\n' "$*"; }

# --- lanes -----------------------------------------------------------------------------------------------------------
# What one core can do alone is done side by side, in as many lanes as there are cores. Each lane has a server of its own:
# tests make roles, which belong to a whole server, so in two databases of one server they would wait for each other.

PRM_LANES=${PRM_LANES:-$(nproc)}
[ "$PRM_LANES" -le 4 ] || PRM_LANES=4
LANE_PIDS=()

lane_home() { if [ "$1" = 1 ]; then printf '%s\n' "$PRM_WORK/server"; else printf '%s\n' "$PRM_WORK/server-$1"; fi; }

lane_servers() {        # starts those of the other lanes, once
  local lane host=$PGHOST
  for ((lane = 2; lane <= PRM_LANES; lane++)); do
    [ -d "$(lane_home $lane)" ] || throw_away_server "$(lane_home $lane)"
  done
  PGHOST=$host
}

# On the server that PGHOST names.
database_with_prm() {   # NAME
  $PSQL -d postgres -c "DROP DATABASE IF EXISTS $1" -c "CREATE DATABASE $1" 2>/dev/null
  $PSQL -d "$1" -c "CREATE EXTENSION prm" -c "SELECT prm.install()" >/dev/null || { failed "no database with prm installed"; return 1; }
}

# Whichever lane is free takes the next item. What a function finds out it leaves in files: it runs in a shell of its own, and
# the caller counts afterwards, in the order of the items.
in_lanes() {            # FUNCTION ITEM...
  local function=$1 taken lane item number; shift
  taken=$(mktemp -d "$PRM_WORK/out/taken-XXXXXX")
  LANE_PIDS=()
  for ((lane = 1; lane <= PRM_LANES; lane++)); do
    (
      if [ -n "${PGHOST:-}" ]; then PGHOST=$(socket_of "$(lane_home $lane)"); fi
      number=0
      for item in "$@"; do
        number=$((number + 1))
        if mkdir "$taken/$number" 2>/dev/null; then "$function" "$item"; fi
      done
    ) &
    LANE_PIDS+=($!)
  done
  wait "${LANE_PIDS[@]}"
  LANE_PIDS=()
}

names() {     # FOLDER SUFFIX: the names of the files, in order
  local file
  for file in "$1"/*"$2"; do [ -f "$file" ] && basename "$file" "$2"; done
}

# --- the sources -----------------------------------------------------------------------------------------------------

suite_source_lint() {
  local line
  while IFS= read -r line; do
    case $line in
      "ok "*) passed ;;
      "not ok "*) failed "${line#not ok }" ;;
      *) printf '     %s\n' "$line" ;;
    esac
  done < <(perl "$SOURCE/test/tools/lint.pl" "$SOURCE")
}

# Each fault, planted alone into a copy of what is embedded, must make the build tool fail with the reason.
suite_embed() {
  local box=$PRM_WORK/embed name part text reason
  while IFS='|' read -r name part text reason; do
    rm -rf "$box"; mkdir -p "$box"
    echo "SELECT 1;" >"$box/code.sql"; echo "CREATE TABLE prm.a ();" >"$box/0001_a.sql"; echo "CREATE TABLE prm.b ();" >"$box/0002_b.sql"
    echo "PERFORM 1;" >"$box/defs.sql"
    case $part in
      gap) mv "$box/0002_b.sql" "$box/0003_b.sql" ;;
      none) ;;
      empty) rm "$box"/0*.sql ;;
      *) printf -- "$text\n" >>"$box/$part" ;;
    esac
    if bash "$SOURCE/sql/embed.sh" 1.0.0 "$box/code.sql" -- $(ls "$box"/0*.sql 2>/dev/null) -- "$box/defs.sql" >"$box/out" 2>"$box/err"; then
      if [ "$part" = none ]; then passed; else failed "embed: $name was not refused"; fi
    elif [ "$part" = none ]; then failed "embed: $name: $(cat "$box/err")"
    elif grep -q -e "$reason" "$box/err"; then passed
    else failed "embed: $name was refused for another reason: $(cat "$box/err")"; fi
  done <<'CASES'
sound parts|none||
the token extschema in the model|defs.sql|COMMENT ON TABLE prm.a IS 'in @extschema@';|substituted
the token extowner in the code|code.sql|-- @extowner@|substituted
a letter outside ASCII|0001_a.sql|-- caf\303\251|ASCII
a NUL byte|defs.sql|-- \000|ASCII
a carriage return|code.sql|SELECT 2;\r|ASCII
the name of the library in the model|0002_b.sql|-- MODULE_PATHNAME|library
the tag of the embedding in the model|defs.sql|PERFORM $prm_model$x$prm_model$;|tag
a table in the code|code.sql|CREATE TABLE prm.c ();|relation
a view in the code|code.sql|create view prm.v AS SELECT 1;|relation
a policy in the code|code.sql|CREATE POLICY p ON prm.a;|relation
steps with a gap|gap||gap
no steps|empty||needed
CASES
}

# --- pg_regress and isolation ----------------------------------------------------------------------------------------

# One database per test: a programme that one test makes is not in another's way. Those of pg_regress are empty but for the
# extension; those of isolation are copies of one where the model is installed already, which is what takes longest.
regress_job() {         # "KIND NAME"
  local kind=${1% *} name=${1#* } out=$PRM_WORK/out/${1/ /-} program=$PG_TEST/regress/pg_regress input=$SOURCE how=--load-extension=prm
  if [ "$kind" = isolation ]; then
    program=$PG_TEST/isolation/pg_isolation_regress input=$SOURCE/test/isolation how=--use-existing
    $PSQL -d postgres -c "CREATE DATABASE isolation_$name TEMPLATE isolation"
  fi
  mkdir -p "$out/expected" "$out/specs"
  [ "$(id -u)" != 0 ] || chown -R "$PRM_USER:" "$out"
  if (cd "$SOURCE" && as_user env PGHOST="$PGHOST" PGPORT=5432 PGUSER=postgres PG_ABS_SRCDIR="$SOURCE" PRM_DATA="${PRM_DATA:-}" \
        "$program" --bindir="$PG_BIN" --inputdir="$input" --outputdir="$out" --dbname="${kind}_$name" "$how" "$name" \
        >"$out/run.log" 2>&1); then
    touch "$out/passed"
  fi
  $PSQL -d postgres -c "DROP DATABASE IF EXISTS \"${kind}_$name\" WITH (FORCE)" >/dev/null 2>&1
}
count_regress() {       # "KIND NAME"...
  local item out
  for item in "$@"; do
    out=$PRM_WORK/out/${item/ /-}
    if [ -f "$out/passed" ]; then passed; continue; fi
    failed "${item/ /: }"
    if [ -s "$out/regression.diffs" ]; then head -${PRM_DIFF_LINES:-60} "$out/regression.diffs"; else tail -20 "$out/run.log"; fi
  done
}
suite_regress() {
  local list
  mapfile -t list < <(names "$SOURCE/sql" .sql | grep -v '^prm--' | sed 's/^/regress /')
  [ ${#list[@]} -gt 0 ] || { failed "no pg_regress tests"; return; }
  lane_servers
  in_lanes regress_job "${list[@]}"
  count_regress "${list[@]}"
}
# That other sessions are at work in other lanes changes no outcome: isolationtester asks the server who waits for whom.
suite_isolation() {
  local list lane
  mapfile -t list < <(names "$SOURCE/test/isolation/specs" .spec | sed 's/^/isolation /')
  [ ${#list[@]} -gt 0 ] || { say "   no specs"; return; }
  lane_servers
  for ((lane = 1; lane <= PRM_LANES; lane++)); do
    PGHOST=$(socket_of "$(lane_home $lane)") database_with_prm isolation || return
  done
  in_lanes regress_job "${list[@]}"
  count_regress "${list[@]}"
}

# --- TAP of both kinds -----------------------------------------------------------------------------------------------

# Counts the assertions in a verbose TAP log. A file that died, or whose plan did not fit, is a failure of its own.
count_tap() {           # NAME STATUS LOG
  local good bad
  good=$(grep -cE '^ok [0-9]+' "$3")
  bad=$(grep -cE '^not ok [0-9]+' "$3")
  passed "$good"
  FAILED=$((FAILED + bad))
  if [ "$bad" -gt 0 ] || [ "$2" != 0 ]; then
    printf '   FAILED: %s (%s of %s)\n' "$1" "$bad" "$((good + bad))"
    if [ "$bad" = 0 ]; then FAILED=$((FAILED + 1)); grep -aE -A4 'ERROR:|FATAL:' "$3" | head -20; tail -15 "$3"
    else grep -E -A14 '^not ok' "$3" | grep -vE '^ok ' | cut -c1-400 | head -100; fi
  elif grep -qiE '^1\.\.0 # skip|# skip' "$3"; then
    printf '   skipped: %s: %s\n' "$1" "$(grep -iEm1 '# skip' "$3")"
  fi
}

# Without a status the lane itself broke off, which no log tells.
ended() { [ -s "$1.status" ] || { echo "ERROR: this file was not run to its end" >>"$1.log"; echo 1 >"$1.status"; }; }

pgtap_available() { [ -f "$("$PG_CONFIG" --sharedir)/extension/pgtap.control" ] && command -v pg_prove >/dev/null; }
pgtap_database() {      # of one server
  database_with_prm pgtap && $PSQL -d pgtap -c "CREATE EXTENSION pgtap SCHEMA public"
}
pgtap_databases() {     # of every lane
  local lane
  lane_servers
  for ((lane = 1; lane <= PRM_LANES; lane++)); do
    PGHOST=$(socket_of "$(lane_home $lane)") pgtap_database || return
  done
}
# The settings under which the files of pgTAP are run: the key stands in the name of the log, the words in what is said.
pgtap_words() {
  case $1 in
    parallel) printf ' (work_mem=64kB, %s)\n' "$PARALLEL" ;;
    serializable) printf ' (serializable, Sao Paulo)\n' ;;
    jit) printf ' (jit)\n' ;;
  esac
}
pgtap_options() {
  case $1 in
    # Not compiled: what compiling costs would hide what these settings do, and takes minutes.
    parallel) printf '%s\n' "-c jit=off -c work_mem=64kB -c $PARALLEL=regress" ;;
    # Nothing may depend on where and how the session shows dates, nor on the level of isolation.
    serializable) printf '%s\n' "-c jit=off -c default_transaction_isolation=serializable -c timezone=America/Sao_Paulo -c datestyle=SQL,DMY -c intervalstyle=iso_8601" ;;
    jit) printf '%s\n' "-c jit=on -c jit_above_cost=0 -c jit_inline_above_cost=-1 -c jit_optimize_above_cost=-1" ;;
  esac
}
pgtap_job() {           # "SETTING NAME"
  local setting=${1% *} name=${1#* } log=$PRM_WORK/out/pgtap-${1/ /-} status=0
  (cd "$SOURCE" && PATH="$PG_BIN:$PATH" PGOPTIONS=$(pgtap_options "$setting") pg_prove -v -d pgtap "test/pgtap/$name.sql") >"$log.log" 2>&1 || status=$?
  printf '%s\n' "$status" >"$log.status"
}
run_pgtap() {           # "SETTING NAME"...
  local item log
  in_lanes pgtap_job "$@"
  for item in "$@"; do
    log=$PRM_WORK/out/pgtap-${item/ /-}
    ended "$log"
    count_tap "pgTAP: ${item#* }$(pgtap_words "${item% *}")" "$(cat "$log.status")" "$log.log"
  done
}
suite_pgtap() {
  local list=("$@")
  pgtap_available || { failed "pgTAP is not installed"; return; }
  [ $# -gt 0 ] || mapfile -t list < <(names "$SOURCE/test/pgtap" .sql)
  [ ${#list[@]} -gt 0 ] || { failed "no pgTAP tests"; return; }
  [ ${#list[@]} -gt 1 ] || local PRM_LANES=1
  pgtap_databases || return
  run_pgtap "${list[@]/#/plain }"
}

# The same promises must hold when sorts spill and when every plan that may be is run by workers.
suite_settings() {
  local list PARALLEL=debug_parallel_query
  pgtap_available || return 0
  [ "$PG_MAJOR" -ge 16 ] || PARALLEL=force_parallel_mode
  # The lint of the catalog does not depend on settings.
  mapfile -t list < <(names "$SOURCE/test/pgtap" .sql | grep -vx catalog)
  [ ${#list[@]} -gt 0 ] || return 0
  pgtap_databases || return
  # Compiling every expression is slow, so only the arithmetic is run compiled.
  mapfile -t list < <(printf 'parallel %s\n' "${list[@]}"; printf 'serializable %s\n' "${list[@]}"
    printf '%s\n' "${list[@]}" | sed -n 's/^commission/jit &/p')
  run_pgtap "${list[@]}"
}

# Each file makes the servers that it needs, in a folder of its own.
tap_job() {             # NAME
  local name=$1 folder=$PRM_WORK/tap/$1 log=$PRM_WORK/out/tap-$1 status=0
  mkdir -p "$folder"
  [ "$(id -u)" != 0 ] || chown "$PRM_USER:" "$folder"
  (cd "$SOURCE" && as_user env PATH="$PG_BIN:$PATH" TEMP_CONFIG="$PRM_WORK/tap.conf" PGPORT=65432 PG_TEST_PORT_DIR="$PRM_WORK/tap/ports" \
    TESTDIR="$SOURCE" TESTDATADIR="$folder" TESTLOGDIR="$folder/log" PG_REGRESS="$PG_TEST/regress/pg_regress" \
    PRM_DEST="$DEST" PRM_DATA="${PRM_DATA:-}" PG_CONFIG="$PG_CONFIG" \
    prove -v -I "$PG_TEST/perl" -I test/t "test/t/$name.pl") >"$log.log" 2>&1 || status=$?
  printf '%s\n' "$status" >"$log.status"
}
run_tap() {             # NAME...
  local name log
  in_lanes tap_job "$@"
  for name in "$@"; do
    log=$PRM_WORK/out/tap-$name
    ended "$log"
    count_tap "TAP: $name" "$(cat "$log.status")" "$log.log"
    if [ "$(cat "$log.status")" != 0 ]; then tail -25 "$PRM_WORK/tap/$name/log/regress_log_$name" 2>/dev/null; fi
  done
}
suite_tap() {
  local list crashes
  extension_settings "$DEST" >"$PRM_WORK/tap.conf"
  mkdir -p "$PRM_WORK/tap/ports"
  [ "$(id -u)" != 0 ] || chown -R "$PRM_USER:" "$PRM_WORK/tap"
  mapfile -t list < <(names "$SOURCE/test/t" .pl | grep -v '_crash$')
  mapfile -t crashes < <(names "$SOURCE/test/t" .pl | grep '_crash$')
  [ ${#list[@]} = 0 ] || run_tap "${list[@]}"
  # Those that kill a server under load need both cores to have come far when it dies.
  local PRM_LANES=1
  [ ${#crashes[@]} = 0 ] || run_tap "${crashes[@]}"
}

# --- plpgsql_check ---------------------------------------------------------------------------------------------------

# Errors and security warnings fail; so do performance warnings that test/tools/plpgsql_check.allow does not list.
suite_plpgsql_check() {
  local out=$PRM_WORK/out/plpgsql.txt line script
  if [ ! -f "$("$PG_CONFIG" --sharedir)/extension/plpgsql_check.control" ]; then say "   plpgsql_check is not installed: left out"; return 0; fi
  [ -n "$($PSQL -d postgres -At -c "SELECT 1 FROM pg_database WHERE datname = 'pgtap'")" ] || pgtap_database || return
  $PSQL -d pgtap -c "CREATE EXTENSION IF NOT EXISTS plpgsql_check SCHEMA public" 2>/dev/null
  for script in plpgsql_check parameters; do
    if ! $PSQL -d pgtap -At -F '|' -f "$SOURCE/test/tools/$script.sql" >"$out" 2>"$out.err"; then
      failed "$script.sql: $(cat "$out.err")"
      continue
    fi
    while IFS= read -r line; do
      case $line in
        "") ;;
        "checked|"*) passed "${line#checked|}" ;;
        *) if grep -v '^#' "$SOURCE/test/tools/plpgsql_check.allow" | grep -qxF -- "$line"; then passed; else failed "plpgsql_check: $line"; fi ;;
      esac
    done <"$out"
  done
}

# --- the README ------------------------------------------------------------------------------------------------------

suite_readme() {
  local api=$PRM_WORK/out/api.txt message
  [ -f "$SOURCE/expected/tour.out" ] || { failed "README: there is no expected/tour.out to compare the tour with"; return; }
  [ -n "$($PSQL -d postgres -At -c "SELECT 1 FROM pg_database WHERE datname = 'pgtap'")" ] || pgtap_database || return
  $PSQL -d pgtap -f "$SOURCE/test/tools/api_table.sql" >"$api" || { failed "README: api_table.sql"; return; }
  if message=$(perl "$SOURCE/test/tools/readme.pl" check "$SOURCE/README.md" "$api" "$SOURCE/expected/tour.out" 2>&1); then passed
  else failed "README: $message"; fi
  # What is shown of metrics, tiers and all that follows from them runs as it stands, in its order, on a demonstration programme.
  $PSQL -d postgres -c "DROP DATABASE IF EXISTS readme" -c "CREATE DATABASE readme" 2>/dev/null
  if perl "$SOURCE/test/tools/readme.pl" sql "$SOURCE/README.md" "Metrics and benchmarks" "Bring your data" >"$PRM_WORK/out/readme.sql" &&
     $PSQL -d readme -c "CREATE EXTENSION prm" -c "SELECT prm.install()" -c "SELECT prm.demo(1, 20, 200)" >/dev/null &&
     message=$($PSQL -d readme -f "$PRM_WORK/out/readme.sql" 2>&1 >/dev/null); then passed
  else failed "README: $message"; fi
}

# --- fuzzers and the log ---------------------------------------------------------------------------------------------

# test/fuzz/NAME.c; a line "fuzz-sources: src/a.c src/b.c" in it names what is compiled with it.
fuzz_job() {            # NAME
  local name=$1 sources target=$PRM_WORK/fuzz-$1 log=$PRM_WORK/out/fuzz-$1.log
  sources=$(sed -n 's/.*fuzz-sources: *//p' "$SOURCE/test/fuzz/$name.c" | sed 's:\*/::' | head -1)
  mkdir -p "$PRM_WORK/corpus-$name" "$PRM_WORK/crash-$name"
  if [ -d "$SOURCE/test/fuzz/seeds/$name" ]; then cp "$SOURCE/test/fuzz/seeds/$name"/* "$PRM_WORK/corpus-$name/"; fi
  (cd "$SOURCE" && "$CLANG" -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -Isrc \
      "test/fuzz/$name.c" $sources -lm -o "$target") >"$log" 2>&1 &&
    timeout $((PRM_FUZZ_SECONDS * 4 + 60)) "$target" -max_total_time="$PRM_FUZZ_SECONDS" -timeout=10 -print_final_stats=1 \
      -artifact_prefix="$PRM_WORK/crash-$name/" "$PRM_WORK/corpus-$name" >>"$log" 2>&1 && touch "$log.passed"
}
suite_fuzz() {
  local CLANG list name log artifact
  CLANG=$(command -v clang || ls /usr/bin/clang-[0-9]* 2>/dev/null | sort -V | tail -1)
  [ -n "$CLANG" ] || { say "   no clang: left out"; return 0; }
  mapfile -t list < <(names "$SOURCE/test/fuzz" .c)
  in_lanes fuzz_job "${list[@]}"
  for name in "${list[@]}"; do
    log=$PRM_WORK/out/fuzz-$name.log
    if [ -f "$log.passed" ]; then
      passed
      say "   $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs in $PRM_FUZZ_SECONDS s"
    else
      failed "fuzz: $name"
      tail -40 "$log"
      for artifact in "$PRM_WORK/crash-$name"/*; do [ -f "$artifact" ] && { say "   input: ${artifact##*/}"; od -c "$artifact" | head -20; }; done
    fi
  done
}

suite_server_log() {
  local lane log
  for ((lane = 1; lane <= PRM_LANES; lane++)); do
    log=$(lane_home $lane)/log
    [ -f "$log" ] || continue
    if grep -nE 'WARNING:' "$log" | head -10 | grep .; then failed "the log of server $lane holds a WARNING"; else passed; fi
    if grep -nE 'terminated by signal|PANIC:|TRAP:|server process .* exited' "$log" | head -10 | grep .; then failed "the log of server $lane tells of a crash"; else passed; fi
  done
}
