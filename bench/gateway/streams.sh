#!/bin/sh
# 9,000 concurrent streams of two tokens a second through the gateway on one core; mock engine and
# load generator on the other. Prints what came through the gateway and what comes without it.
#   bench/gateway/streams.sh BUILD_FOLDER [STREAMS]
set -eu
. "$(dirname "$0")/gateway.sh"
need streams_bench
streams="${2:-9000}"
taskset -c 1 "$bin/streams_bench" engine 9401 40 & also=$!
start_gateway 9410 http://127.0.0.1:9401/v1
resident() {
  awk '/VmRSS/ { print $2 }' "/proc/$gateway/status"
}
before=$(resident)
echo "direct:  $(taskset -c 1 "$bin/streams_bench" load 9401 "$streams" 5)"
taskset -c 1 "$bin/streams_bench" load 9410 "$streams" 5 > "$work/through" & load=$!
sleep 12
during=$(resident)
wait $load || true
echo "gateway: $(cat "$work/through")"
echo "resident per stream: $(((during - before) * 1024 / streams)) bytes"
