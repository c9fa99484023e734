#!/usr/bin/env bash
# Process start to first token on a machine with a card, the model's file in the page cache: a random
# model of one geometry, a prompt of one token. Runs there, out of a folder of tools/device/pack.sh.
#   tools/device/cold_start.sh build/device [TYPE [TIMES]]
#   GEOMETRY=qwen2-1.5b tools/device/cold_start.sh build/device Q8_0
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,5p' "$0" >&2; exit 2; }
folder=$(cd "$1" && pwd)
type=${2:-BF16}
times=${3:-3}
geometry=${GEOMETRY:-llama3-8b}
export LD_LIBRARY_PATH=$folder/lib:/usr/local/cuda/lib64:${LD_LIBRARY_PATH:-}
models=$(mktemp -d /dev/shm/sluice.XXXXXX)  # memory, as the page cache is
trap 'rm -rf "$models"' EXIT
"$folder/sluice" synth "$geometry" "$models/model.gguf" --type "$type" --output-matrix "$type"
echo '[1]' >"$models/ids"
for ((i = 0; i < times; ++i)); do
  begin=$(date +%s%N)
  "$folder/sluice" generate "$models/model.gguf" --ids "$models/ids" -n 1 --greedy --device cuda \
    >"$models/out"
  echo "$geometry $type: $((($(date +%s%N) - begin) / 1000000)) ms"
done
