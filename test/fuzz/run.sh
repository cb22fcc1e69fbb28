#!/usr/bin/env bash
# Builds and runs the fuzzer of commission schedules under ASan and UBSan: run.sh [seconds, default 60].
# libFuzzer where clang has it, otherwise the generator that is built into the target.
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-60}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sources="test/fuzz/schedule_fuzz.c src/schedule.c src/schedule_binary.c src/schedule_eval.c"
flags="-g -O1 -fno-omit-frame-pointer -fno-sanitize-recover=all -Isrc"
if clang $flags -fsanitize=fuzzer,address,undefined $sources -o "$work/fuzz" 2>"$work/log"; then
  mkdir -p "$work/corpus"
  n=0
  for seed in '10%' 'marginal 0: 1%, 1000: 2%, 3000: 3%, 8000: 5%' 'slab 0: 0, 100000: 1000 ties low' \
              'interpolated 0: 0, 1000: 10, 3000: 50' 'marginal 0: 10 each, 2: 20 each, 4: 30 each' 'slab 0.5: -2.25 each'; do
    n=$((n + 1)); printf '%s' "$seed" > "$work/corpus/$n"
  done
  printf '\001\001\001\001\000\000\000\012' > "$work/corpus/binary"
  printf 'word_1="marginal"\nword_2="slab"\nword_3="interpolated"\nword_4="each"\nword_5="ties low"\nword_6="%%"\nword_7=": "\nword_8=", "\n' > "$work/dictionary"
  "$work/fuzz" -max_total_time="$seconds" -dict="$work/dictionary" -verbosity=0 -print_final_stats=0 -artifact_prefix="$work/" -max_len=4096 "$work/corpus" 2>"$work/log" ||
    { tail -40 "$work/log"; echo "schedule_fuzz: failed on this input:"; od -c "$work"/crash-* | head -40; exit 1; }
else
  ${CC:-gcc} $flags -fsanitize=address,undefined -DPRM_FUZZ_STANDALONE $sources -o "$work/fuzz"
  "$work/fuzz" "$seconds"
fi
echo "schedule_fuzz: ok after $seconds s"
