#!/usr/bin/env bash
# Puts what a measurement on the accelerator host needs into one folder that needs nothing from
# that host but its C library: programs, stripped, with the shared libraries they load.
#   tools/device/pack.sh FOLDER PROGRAM...
#   tools/device/pack.sh build/device build/release/bin/sluice PEERS/llama-bench PEERS/make_random_gguf.py
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,5p' "$0" >&2; exit 2; }
folder=$1
shift

rm -rf "$folder"
mkdir -p "$folder/lib"
git describe --always --dirty >"$folder/commit"
for program in "$@"; do
  install -m 755 "$program" "$folder"
  [ "$(head -c 4 "$program" | tail -c 3)" = ELF ] || continue
  strip "$folder/$(basename "$program")"
  ldd "$program" | awk '$3 ~ /^\// {print $3}' | grep -vE '/(libc|libm|ld-linux[^/]*)\.so' |
    xargs -r cp -Lu -t "$folder/lib"
done
du -sh "$folder" | cut -f 1
