#!/usr/bin/env bash
# Correctness and speed of the CUDA backend on a machine with a card: the tests of tests/cuda, then
# `sluice bench` over random models of one geometry. Runs there, out of a folder made here (first
# two lines); OUT gets tests.log and bench.jsonl.
#   tools/device/pack.sh build/device build/cuda/bin/sluice build/cuda/bin/test_cuda
#   cp -r --parents tests/data/models build/device; pwd >build/device/built_in
#   tools/device/cuda.sh build/device OUT BF16 Q4_K
#   GEOMETRY=qwen2-1.5b tools/device/cuda.sh build/device OUT Q8_0
set -uo pipefail
[ $# -ge 2 ] || { sed -n '2,9p' "$0" >&2; exit 2; }
folder=$(cd "$1" && pwd)
out=$2
shift 2
geometry=${GEOMETRY:-llama3-8b}
export LD_LIBRARY_PATH=$folder/lib:/usr/local/cuda/lib64:${LD_LIBRARY_PATH:-}
mkdir -p "$out"
status=0

nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem --format=csv,noheader

# The test program looks for its data where it was built.
tests=$(cat "$folder/built_in")/tests
[ -e "$tests" ] || { mkdir -p "$(dirname "$tests")" && ln -s "$folder/tests" "$tests"; }
timeout "${TEST_SECONDS:-120}" "$folder/test_cuda" >"$out/tests.log" 2>&1 || status=1
grep -E '^\[  (PASSED|FAILED)|Failure|error:|failed' "$out/tests.log" | head -n "${TEST_LINES:-30}"

models=$(mktemp -d /dev/shm/sluice.XXXXXX)
trap 'rm -rf "$models"' EXIT
bench() { # MODEL ARGUMENTS…
  timeout 120 "$folder/sluice" bench "$@" --device cuda -o json >"$models/rows.json" || { status=1; return; }
  python3 - "$models/rows.json" "$(cat "$folder/commit")" >>"$out/bench.jsonl" <<'PY'
import json, sys
for row in json.load(open(sys.argv[1])):
    row["commit"] = sys.argv[2]
    print(json.dumps(row))
PY
  python3 - "$models/rows.json" <<'PY'
import json, sys
for row in json.load(open(sys.argv[1])):
    test = f"pp{row['n_prompt']}" if row["n_prompt"] else f"tg{row['n_gen']}"
    print(f"{row['model_name']:<28} {test:<8} depth {row['n_depth']:>5} streams {row['n_streams']:>3}"
          f" {row['avg_ts']:>10.1f} ± {row['stddev_ts']:<7.1f} tok/s  {100 * row['roof_share']:.0f} % of the roof",
          flush=True)
PY
}
for type in "$@"; do
  output_matrix=$type
  [ "$type" = Q4_K ] && output_matrix=Q6_K
  model=$models/$geometry-$type.gguf
  "$folder/sluice" synth "$geometry" "$model" --type "$type" --output-matrix "$output_matrix" ||
    { status=1; continue; }
  bench "$model" -p 2048 -n 128 -b 2048 -r 3
  bench "$model" -p 0 -n 128 -d 512 -b 2048 --streams 64 -r 2
  rm -f "$model"
done
exit "$status"
