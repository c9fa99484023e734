#!/usr/bin/env bash
# Speed of the CPU engine on the accelerator host beside its limits and beside llama-bench: prefill
# and decode of one geometry in each weight type, ours and theirs in turn. Runs there, in the
# repository's root, out of a folder made by pack.sh; OUT gets history.jsonl and llama.jsonl.
#   tools/device/cpu_roof.sh FOLDER OUT TYPE...
#   GEOMETRY=llama3-8b TURNS=1 tools/device/cpu_roof.sh build/device out BF16 Q8_0
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,7p' "$0" >&2; exit 2; }
folder=$(cd "$1" && pwd)
out=$2
shift 2
geometry=${GEOMETRY:-qwen2-1.5b}
export LD_LIBRARY_PATH=$folder/lib
mkdir -p "$out"

lscpu | grep -E '^(Model name|CPU\(s\)|Thread|Socket|NUMA node\(s\)|L[123])'
lscpu | grep -oE 'amx_[a-z0-9]+|avx512_(vnni|bf16)' | tr '\n' ' '
grep MemTotal /proc/meminfo

models=$(mktemp -d /dev/shm/sluice.XXXXXX)
trap 'rm -rf "$models"' EXIT
for type in "$@"; do
  model=$models/$geometry-$type.gguf
  python3 "$folder/make_random_gguf.py" "$geometry" "$model" --rest "$type" >/dev/null
  for _ in $(seq "${TURNS:-3}"); do
    tools/bench_history.py "$model" -p 512 -n 64 -r 2 --binary "$folder/sluice" \
      --commit "$(cat "$folder/commit")" --file "$(realpath "$out")/history.jsonl" |
      grep -oE '"(test|median_tok_s|roof_share)": [^,}]*' | paste -sd ' '
    "$folder/llama-bench" -m "$model" -p 512 -n 64 -t "$(nproc)" -r 2 -o jsonl |
      tee -a "$out/llama.jsonl" | grep -oE '"(n_prompt|model_type|avg_ts)": [^,}]*' | paste -sd ' '
  done
  rm -f "$model"
done
