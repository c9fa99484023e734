# Read by the scripts of this folder (`. gateway.sh`, which set $here, $bin and $work): the programs
# that they measure, the measured ones on core 0, what drives them on core 1.
export KEY=sk-test
ulimit -n "$(ulimit -Hn)"

# A fixed answer at http://127.0.0.1:9000/v1.
start_backend() {
  mkdir "$work/backend"
  taskset -c 1 nginx -p "$work/backend" -c "$here/fixed_backend.nginx.conf"
}

# start_gateway PORT BACKEND_URL: `sluice gateway` with gateway.toml, its data in $work/data; its
# process is $gateway. It has made its first key when it listens.
start_gateway() {
  sed -e "s|@PORT@|$1|" -e "s|@ADMIN_PORT@|$(($1 + 1))|" -e "s|@BACKEND@|$2|" \
    -e "s|@DATA@|$work/data|" "$here/gateway.toml" > "$work/gateway.toml"
  taskset -c 0 "$bin/sluice" gateway --config "$work/gateway.toml" > "$work/gateway.log" 2>&1 &
  gateway=$!
  until grep -qs 'listening on' "$work/gateway.log"; do
    kill -0 "$gateway" || { cat "$work/gateway.log"; exit 1; }
    sleep 0.2
  done
}

# Ends what was started, and removes $work.
stop_all() {
  trap - EXIT
  for file in "$work"/*/*.pid; do
    if [ -e "$file" ]; then kill "$(cat "$file")"; fi
  done
  for process in ${gateway:-} "$@"; do kill "$process" || true; done
  wait
  rm -rf "$work"
}
