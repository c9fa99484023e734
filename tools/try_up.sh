#!/usr/bin/env bash
# Starts "make up", waits for its URL, asks for one completion with the curl line that it prints,
# and stops it. For tools/fresh_machine.sh.
set -euo pipefail
log=$(mktemp)
trap 'rm -f "$log"' EXIT

make up >"$log" 2>&1 &
up=$!
for ((waited_s = 0; waited_s < 900; waited_s++)); do
  grep -q '^ *curl ' "$log" && break
  kill -0 "$up" 2>/dev/null || break
  sleep 1
done
cat "$log"
line=$(sed -nE '/^ *curl /,/[^\\]$/p' "$log")
[ -n "$line" ] || { echo "make up printed no curl line" >&2; exit 1; }
answer=$(bash -c "$line")
printf '\n%s\n' "$answer"
grep -q '"choices"' <<<"$answer"
pkill -INT -P "$up" || kill -INT "$up"
wait "$up" || true
