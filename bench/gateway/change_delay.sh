#!/bin/sh
# How long a change of keys takes until it holds, with 30,000 keys and a steady load; all of the
# gateway on core 0. See change_delay.py.
#   bench/gateway/change_delay.sh BUILD_FOLDER [KEYS] [REQUESTS_PER_S] [CHANGES]
set -eu
. "$(dirname "$0")/gateway.sh"
need open_loop
keys="${2:-30000}"
rate="${3:-10000}"
changes="${4:-10}"
start_backend
start_gateway 9300 http://127.0.0.1:9000/v1
admin_key=$(sed -n 's/.*"key": *"\([^"]*\)".*/\1/p' "$work/data/admin.json")
taskset -c 1 "$bin/open_loop" 9300 "$rate" 120 > /dev/null & also=$!
taskset -c 1 python3 "$here/change_delay.py" http://127.0.0.1:9301 "$admin_key" \
  http://127.0.0.1:9300 "$keys" "$changes"
