#!/usr/bin/env bash
# Writes the install script of one version to standard output:
#   embed.sh VERSION code.sql ... -- step.sql ... -- defs.sql ...
# The code parts are copied as they are. The model's text is embedded as PL/pgSQL functions whose body is the SQL, one per
# frozen step and one for the part that every install() may repeat, so that an error names the one statement that failed.
# CREATE EXTENSION substitutes tokens in the whole script, also inside the bodies and comments, so whatever it or the
# quoting could change is refused here, at build time.
set -eu
version=$1; shift
fail() { echo "embed.sh: $*" >&2; exit 1; }

code=(); steps=(); defs=(); part=0
for word in "$@"; do
  if [ "$word" = "--" ]; then part=$((part + 1)); continue; fi
  case $part in 0) code+=("$word") ;; 1) steps+=("$word") ;; *) defs+=("$word") ;; esac
done
[ ${#code[@]} -gt 0 ] && [ ${#steps[@]} -gt 0 ] && [ ${#defs[@]} -gt 0 ] || fail "code, steps and defs are all needed"

refuse() {    # PATTERN WHY FILES...
  local pattern=$1 why=$2; shift 2
  local found
  if found=$(LC_ALL=C grep -aPn "$pattern" "$@" /dev/null); then
    printf '%s\n' "$found" | head -5 >&2
    fail "$why"
  fi
}
refuse '@ext(schema|owner)' 'the tokens @extschema and @extowner are substituted by CREATE EXTENSION' "${code[@]}" "${steps[@]}" "${defs[@]}"
refuse '[^\t\x20-\x7e]' 'only tab, newline and printable ASCII may stand in the install script' "${code[@]}" "${steps[@]}" "${defs[@]}"
refuse 'MODULE_PATHNAME' 'the model may not name the library, only the code may' "${steps[@]}" "${defs[@]}"
refuse '\$prm_model\$' 'the tag $prm_model$ quotes the embedded text' "${steps[@]}" "${defs[@]}"
refuse '(?i)^(CREATE|ALTER|DROP)\s+(TABLE|SEQUENCE|VIEW|MATERIALIZED|POLICY|TRIGGER|INDEX|SCHEMA)\b' \
  'the code part holds no relation and no schema: those belong to the model' "${code[@]}"

number=0
for step in "${steps[@]}"; do
  number=$((number + 1))
  case $(basename "$step") in
    "$(printf '%04d' $number)"_*) ;;
    *) fail "$step: steps are numbered 0001, 0002, ... without a gap; expected $(printf '%04d' $number)_NAME.sql" ;;
  esac
done

embed() {     # FUNCTION COMMENT FILES...
  local name=$1 comment=$2; shift 2
  printf '\nCREATE FUNCTION prm.%s() RETURNS void\nLANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm_model$\n#variable_conflict use_column\nBEGIN\n' "$name"
  cat "$@"
  printf 'END\n$prm_model$;\nCOMMENT ON FUNCTION prm.%s() IS %s;\n' "$name" "'$comment'"
}

printf '%s\n' "-- prm $version: built from sql/code and sql/model; do not edit." \
              '\echo Use "CREATE EXTENSION prm" to load this file. \quit'
cat "${code[@]}"
for step in "${steps[@]}"; do
  embed "_step_$(basename "$step" | cut -c1-4)" \
    "Frozen step of the model: $(basename "$step" .sql). Run once by install(), never changed after its release; not for direct use." "$step"
done
embed _defs "The re-creatable part of the model: views, functions over tables, triggers, policies, defaults and comments. Run by install() when its text changed; not for direct use." "${defs[@]}"
