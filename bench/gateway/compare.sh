#!/bin/sh
# The gateway with everything on beside nginx (and Envoy, where it is installed) that proxy plainly:
# each on core 0, wrk and a fixed-answer backend on core 1, every body different. Rounds alternate,
# so that what else the machine does hits all alike; printed are medians and shares of nginx.
#   bench/gateway/compare.sh BUILD_FOLDER [ROUNDS] [SECONDS]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
bin="$1/bin"
rounds="${2:-5}"
seconds="${3:-4}"
work=$(mktemp -d)
mkdir "$work/backend" "$work/proxy"
ulimit -n "$(ulimit -Hn)"
taskset -c 1 nginx -p "$work/backend" -c "$here/fixed_backend.nginx.conf"
taskset -c 0 nginx -p "$work/proxy" -c "$here/nginx_proxy.conf"
taskset -c 0 "$bin/edge_bench" 9300 http://127.0.0.1:9000/v1 "$work/journal" > "$work/log" & edge=$!
targets="nginx:9200 sluice:9300"
envoy=
if command -v envoy > /dev/null; then
  taskset -c 0 envoy -c "$here/envoy.yaml" --concurrency 1 -l error > "$work/envoy.log" 2>&1 & envoy=$!
  targets="$targets envoy:9500"
fi
trap 'kill $edge $envoy $(cat "$work"/*/*.pid); rm -rf "$work"' EXIT
sleep 2
for connections in 32 256; do
  for round in $(seq "$rounds"); do
    for target in $targets; do
      KEY=sk-test taskset -c 1 wrk -t1 -c"$connections" -d"${seconds}s" --latency \
        -s "$here/chat_post.lua" "http://127.0.0.1:${target#*:}/v1/chat/completions" > "$work/wrk"
      if grep -q Non-2xx "$work/wrk"; then cat "$work/wrk"; exit 1; fi
      echo "$connections ${target%:*} $(awk '/Requests\/sec/ {print $2}' "$work/wrk")" \
        "$(awk '/ 99%/ {print $2}' "$work/wrk")" >> "$work/results"
    done
  done
done
awk '
  function median(list, n,   i, j, t) {
    for (i = 2; i <= n; i++) for (j = i; j > 1 && list[j - 1] > list[j]; j--) {
      t = list[j]; list[j] = list[j - 1]; list[j - 1] = t }
    return list[int((n + 1) / 2)] }
  { key = $1 " " $2; if (!(key in count)) order[++keys] = key
    rate[key, ++count[key]] = $3 + 0; p99[key] = p99[key] " " $4 }
  END { for (k = 1; k <= keys; k++) { key = order[k]; n = count[key]
      for (i = 1; i <= n; i++) list[i] = rate[key, i]
      split(key, part, " "); m = median(list, n); if (part[2] == "nginx") base = m
      printf "%4d connections  %-7s %8.0f req/s  %.2f of nginx  p99%s\n", part[1], part[2], m, m / base, p99[key] } }
' "$work/results"
