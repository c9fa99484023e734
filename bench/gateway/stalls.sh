#!/bin/sh
# Where a long latency comes from: who had the core while the data loop, wrk or the backend could have
# run. The gateway is on core 0, wrk and the backend on core 1, as in compare.sh. Printed are wrk's
# latencies, each core's time by thread, and for each of the three its waits: how many, how long, and
# the eight longest with who ran meanwhile.
#   bench/gateway/stalls.sh BUILD_FOLDER [CONNECTIONS] [SECONDS]
# Needs perf and leave to trace the scheduler.
set -eu
. "$(dirname "$0")/gateway.sh"
need
connections="${2:-32}" seconds="${3:-4}"
start_backend
start_gateway 9300 http://127.0.0.1:9000/v1
stolen=$(stolen_time)
perf record -q -o "$work/perf" -C 0,1 -m 8M -e sched:sched_switch -e sched:sched_waking \
  taskset -c 1 wrk -t1 -c"$connections" -d"${seconds}s" --latency -s "$here/chat_post.lua" \
  http://127.0.0.1:9300/v1/chat/completions > "$work/wrk"
sed -n '/Latency Distribution/,/99%/p; /requests in/p; /Requests\/sec/p; /Non-2xx/p' "$work/wrk"
echo "the host has taken $((($(stolen_time) - stolen) * 10)) ms of both cores"

# The gateway's threads by their policy: SCHED_BATCH the journal's flusher, SCHED_IDLE who can wait
# (the store's writer); the data loop is the busiest of the others.
for task in /proc/"$gateway"/task/*; do
  sed "s/.*) //" "$task/stat" | awk -v id="${task##*/}" '{ print $39, $12 + $13, id }'
done | sort -k1,1rn -k2,2rn > "$work/threads"
threads=$(awk '{ print $3 "=" ($1 == 3 ? "flusher" : $1 == 5 ? "writer" : loops++ ? "gateway" : "loop") }' \
  "$work/threads")
backend=$(pgrep -P "$(cat "$work/backend/backend.pid")")
perf script -i "$work/perf" -F cpu,time,event,trace 2> "$work/perf.log" |
  awk -v threads="$threads $backend=backend 0=nobody" '
  function field(name,   at) {
    at = index($0, name "="); return at ? substr($0, at + length(name) + 1) : "" }
  function thread(side,   text, id) {
    id = field(side "_pid") + 0
    if (id in known) return known[id]
    text = field(side "_comm"); sub(/ [a-z]*_pid=.*/, "", text); sub(/[0-9]*:.*/, "", text)
    return text }
  BEGIN {
    count = split(threads, each, /[ \n]/)
    for (i = 1; i <= count; ++i) { split(each[i], part, "="); known[part[1] + 0] = part[2] } }
  { core = $1; gsub(/[^0-9]/, "", core); core += 0; now = $2 * 1000 }
  /sched_waking/ { id = field(" pid") + 0; if (id in asleep) { delete asleep[id]; since[id] = now; meanwhile[id] = "" } }
  /sched_switch/ {
    from = field("prev_pid") + 0; to = field("next_pid") + 0; who = thread("prev")
    if (!first) first = now
    last = now
    if (core in began) {
      busy[core " " who] += now - began[core]
      for (id in since) if (home[id] == core) {
        at = began[core] > since[id] ? began[core] : since[id]
        if (now - at >= 0.05) meanwhile[id] = meanwhile[id] sprintf(", %s %.1f", who, now - at) } }
    began[core] = now
    if (who == "loop" || who == "backend" || who == "wrk") {
      name[from] = who; home[from] = core
      if (field("prev_state") ~ /^R/) { since[from] = now; meanwhile[from] = "" } else asleep[from] = 1 }
    if (to in since) {
      wait = now - since[to]; delete since[to]
      ++waits[to]; sum[to] += wait
      if (wait >= 0.3) long[to] = long[to] sprintf("%6.1f ms%s\n", wait, meanwhile[to]) } }
  END {
    for (one in busy) if (busy[one] > (last - first) / 1000)
      printf "core %-24s %5.1f %%\n", one, busy[one] * 100 / (last - first) | "sort"
    close("sort")
    for (id in waits) {
      printf "%s: %d waits, %.1f ms of %.0f\n", name[id], waits[id], sum[id], last - first
      printf "%s", long[id] | "sort -rn | head -n 8"
      close("sort -rn | head -n 8") } }
'
