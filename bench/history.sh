#!/bin/sh
# Measures every line of bench/history/cpu.jsonl anew: history.sh SMOLLM2.gguf [GEOMETRY.gguf...]
# Nothing else should run; a geometry file takes a minute or two.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
smollm2=$1
shift
measure() { "$root/tools/bench_history.py" "$@"; }

measure "$smollm2" -p 512 -n 128
for streams in 4 16 64; do
  measure "$smollm2" -p 0 -n 48 -d 280 --streams "$streams" -r 3
done
for geometry in "$@"; do
  measure "$geometry" -p 512 -n 64 -r 3
  measure "$geometry" -p 0 -n 16 -d 16384 -r 2
  measure "$geometry" -p 0 -n 16 -d 16384 -r 2 --kv-type q8
done
