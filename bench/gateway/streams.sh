#!/bin/sh
# 9,000 concurrent streams of two tokens a second through the gateway on one core; mock engine and
# load generator on the others. Prints what came through the gateway and what comes without it.
#   bench/gateway/streams.sh BUILD_FOLDER [STREAMS]
set -eu
bin="$1/bin"
streams="${2:-9000}"
work=$(mktemp -d)
ulimit -n "$(ulimit -Hn)"
taskset -c 1 "$bin/streams_bench" engine 9401 40 & engine=$!
taskset -c 0 "$bin/edge_bench" 9400 http://127.0.0.1:9401/v1 "$work/journal" > "$work/log" & gateway=$!
trap 'kill $engine $gateway; rm -rf "$work"' EXIT
sleep 1
before=$(awk '/VmRSS/ {print $2}' "/proc/$gateway/status")
echo "direct:  $(taskset -c 1 "$bin/streams_bench" load 9401 "$streams" 5)"
taskset -c 1 "$bin/streams_bench" load 9400 "$streams" 5 > "$work/through" & load=$!
sleep 12
during=$(awk '/VmRSS/ {print $2}' "/proc/$gateway/status")
wait $load || true
echo "gateway: $(cat "$work/through")"
echo "resident per stream: $(( (during - before) * 1024 / streams )) bytes"
