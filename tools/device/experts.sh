#!/usr/bin/env bash
# Decode of deepseek-v3's geometry on the accelerator host's processor, out of a folder made by
# pack.sh: routed experts as half of the bytes, FP8 and INT4 folders, several streams. Models are
# made in its memory. OUT gets history.jsonl.
#   tools/device/experts.sh FOLDER OUT THREADS...
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,5p' "$0" >&2; exit 2; }
folder=$(cd "$1" && pwd)
out=$2
shift 2
export LD_LIBRARY_PATH=$folder/lib
mkdir -p "$out"
models=$(mktemp -d /dev/shm/sluice.XXXXXX)
trap 'rm -rf "$models"' EXIT

# Makes NAME by the options of synth, then a line for each number of threads and streams.
measure() { # NAME "STREAMS..." THREADS... -- SYNTH_OPTION...
  local model=$models/$1 all_streams=$2
  shift 2
  local threads=()
  while [ "$1" != -- ]; do threads+=("$1"); shift; done
  shift
  "$folder/sluice" synth deepseek-v3 "$model" "$@" >/dev/null
  for count in "${threads[@]}"; do
    for streams in $all_streams; do
      "$folder/sluice" bench "$model" -p 0 -n 32 -r 2 -t "$count" --streams "$streams" -o json |
        tr -d '\n' | tee -a "$out/history.jsonl" |
        grep -oE '"(n_threads|n_streams|avg_ts|roof_gb_s|roof_share|experts_per_step)": ?[^,}]*' |
        paste -sd ' ' | sed "s/^/$(basename "$model"), ${SECONDS} s: /"
      echo >>"$out/history.jsonl"
    done
  done
  rm -rf "$model"
}

measure fp8 1 "$@" -- --layers 2 --dense-layers 1 --vocab 8192 --type fp8
measure int4 1 "$@" -- --layers 2 --dense-layers 1 --vocab 8192 --type int4
measure dense-and-experts.gguf "1 4 8" "$@" -- --layers 2 --dense-layers 1
measure experts.gguf 1 "$@" -- --layers 3 --dense-layers 0 --vocab 8192
