#!/usr/bin/env bash
# Runs each fuzz target for some time, as many at once as there are cores; fails on a finding.
#   tools/fuzz.sh FOLDER SECONDS     FOLDER holds the fuzz_* programs
# Inputs that reach new code stand in the cache folder, so that the next run goes on from them;
# seeds are read from tests/data/fuzz/NAME where that exists.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/cache.sh"

folder=${1:?usage: tools/fuzz.sh FOLDER SECONDS}
seconds=${2:?usage: tools/fuzz.sh FOLDER SECONDS}
shopt -s nullglob
targets=("$folder"/fuzz_*)
[ ${#targets[@]} -gt 0 ] || { echo "no fuzz_* programs in $folder" >&2; exit 1; }

run_target() {
  local name corpus seeds
  name=$(basename "$1")
  corpus="$cache/fuzz/$name"
  seeds="$tools/../tests/data/fuzz/${name#fuzz_}"
  mkdir -p "$corpus"
  [ -d "$seeds" ] || seeds=$corpus
  if "$1" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 \
    -print_final_stats=1 -artifact_prefix="$corpus-" "$corpus" "$seeds" >"$corpus.log" 2>&1; then
    echo "$name: no finding, $(sed -n 's/^stat::number_of_executed_units: *//p' "$corpus.log") inputs"
  else
    tail -n 60 "$corpus.log"
    echo "$name: FOUND something; the input stands beside $corpus" >&2
    return 1
  fi
}
export -f run_target
export seconds tools

echo "${#targets[@]} fuzz targets, $seconds s each"
# shellcheck disable=SC2016  # expanded by the inner shell
printf '%s\0' "${targets[@]}" | xargs -0 -n 1 -P "$(nproc)" bash -c 'set -e; run_target "$1"' run
