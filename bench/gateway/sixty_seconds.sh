#!/bin/sh
# A minute of load on `sluice gateway`, journal and store writer on the same core: how long the store
# needs to catch up, and whether `sluice usage verify` then finds as many events as wrk has counted
# answers. Exit code 1 where it does not, or not within 60 s.
#   bench/gateway/sixty_seconds.sh BUILD_FOLDER [CONNECTIONS] [SECONDS]
set -eu
. "$(dirname "$0")/gateway.sh"
need
connections="${2:-32}"
export SECONDS_OF_LOAD="${3:-60}" HERE="$here"
start_backend
start_gateway 9300 http://127.0.0.1:9000/v1
taskset -c 1 wrk -t1 -c"$connections" -d"$((SECONDS_OF_LOAD + 3))s" --timeout 30s \
  -s "$here/sixty_seconds.lua" http://127.0.0.1:9300/v1/chat/completions > "$work/wrk"
ended=$(date +%s)
if ! grep -q 'errors 0' "$work/wrk"; then cat "$work/wrk"; exit 1; fi
answers=$(sed -n 's/chats \([0-9]*\),.*/\1/p' "$work/wrk")
echo "$answers answers, $((answers / SECONDS_OF_LOAD)) req/s"

in_store() {
  "$bin/sluice" usage --data-folder "$work/data" -o csv | awk -F, 'NR == 2 { print $2 }'
}
until [ "$(in_store)" = "$answers" ]; do
  if [ $(($(date +%s) - ended)) -gt 60 ]; then
    echo "after 60 s the store has $(in_store) requests of $answers"
    exit 1
  fi
  sleep 1
done
echo "the store has all of them $(($(date +%s) - ended)) s after the last"
"$bin/sluice" usage verify --data-folder "$work/data" | tee "$work/verified"
grep -q "^events $answers," "$work/verified" && grep -q '^all equal' "$work/verified"
