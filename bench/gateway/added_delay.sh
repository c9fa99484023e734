#!/bin/sh
# What `sluice gateway` adds to the delay of an answer at a steady rate: the same open-loop load
# straight at the fixed backend and through the gateway, in alternating rounds; beside it nginx's
# plain proxying and the least that a proxy can do (floor_proxy.cpp), which sleeps between messages
# as they do, and, as `spin`, looks again and again instead. The gateway on core 0, load and backend
# on core 1. Printed are microseconds of each round, then the medians' differences to the direct
# path. With `awake` as the last argument a loop of the lowest priority (SCHED_IDLE) keeps each core
# from sleeping, which leaves out what a virtual machine's host takes to wake it up: on the direct
# path there is hardly any of that, since load and backend share a core.
#   bench/gateway/added_delay.sh BUILD_FOLDER [REQUESTS_PER_S] [ROUNDS] [SECONDS] [awake]
set -eu
. "$(dirname "$0")/gateway.sh"
need floor_proxy open_loop
rate="${2:-20000}"
rounds="${3:-5}"
seconds="${4:-3}"
start_backend
start_plain_proxy
start_gateway 9300 http://127.0.0.1:9000/v1
taskset -c 0 "$bin/floor_proxy" 9400 9000 &
also="$also $!"
if [ "${5:-}" = awake ]; then
  for core in 0 1; do
    taskset -c "$core" chrt -i 0 sh -c 'while :; do :; done' &
    also="$also $!"
  done
fi
stolen=$(stolen_time)
for round in $(seq "$rounds"); do
  for target in direct:9000 floor:9400 spin:9401 nginx:9200 sluice:9300; do
    spinning=
    if [ "$target" = spin:9401 ]; then
      taskset -c 0 "$bin/floor_proxy" 9401 9000 spin &
      spinning=$!
      sleep 0.2
    fi
    echo "${target%:*} $(taskset -c 1 "$bin/open_loop" "${target#*:}" "$rate" "$seconds")" |
      tee -a "$work/results"
    if [ "$spinning" ]; then kill "$spinning"; fi
  done
done
awk '
  function middle(of, name, n,   i, j, t, list) {
    for (i = 1; i <= n; i++) list[i] = of[name, i]
    for (i = 2; i <= n; i++) for (j = i; j > 1 && list[j - 1] > list[j]; j--) {
      t = list[j]; list[j] = list[j - 1]; list[j - 1] = t }
    return list[int((n + 1) / 2)] }
  { n = ++count[$1]; p50[$1, n] = $5 + 0; p99[$1, n] = $9 + 0 }
  END { n = count["direct"]
    for (i = split("floor spin nginx sluice", names, " "); i > 0; i--)
      printf "%-7s adds p50 %d us, p99 %d us\n", names[i],
        middle(p50, names[i], n) - middle(p50, "direct", n),
        middle(p99, names[i], n) - middle(p99, "direct", n) }
' "$work/results"
echo "the host has taken $((($(stolen_time) - stolen) * 10)) ms of both cores"
