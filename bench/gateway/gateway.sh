# The set-up of the scripts of this folder, which begin with `. gateway.sh` and have the build folder
# as their first argument: the programs that they measure, the measured ones on core 0, what drives
# them on core 1. Whatever was started ends with the script.
if [ $# -eq 0 ]; then
  echo "usage: $0 BUILD_FOLDER ...; what it measures stands at its top" >&2
  exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
bin="$1/bin"
work=$(mktemp -d)
gateway=
also=  # further processes to end
export KEY=sk-test
ulimit -n "$(ulimit -Hn)"
trap stop_all EXIT

# Ends the script, before it has started anything, where one of these programs of the build is missing.
need() {
  for program in sluice "$@"; do
    if [ ! -x "$bin/$program" ]; then
      echo "$0: $bin/$program is missing: configure the build with -DSLUICE_BENCH=ON and build all" >&2
      exit 1
    fi
  done
}

# A fixed answer at http://127.0.0.1:9000/v1.
start_backend() {
  mkdir "$work/backend"
  taskset -c 1 nginx -p "$work/backend" -c "$here/fixed_backend.nginx.conf"
}

# nginx that proxies to it and does nothing else, at port 9200.
start_plain_proxy() {
  mkdir "$work/proxy"
  taskset -c 0 nginx -p "$work/proxy" -c "$here/nginx_proxy.conf"
}

# start_gateway PORT BACKEND_URL: `sluice gateway` with gateway.toml, its data in $work/data; its
# process is $gateway. It has made its first key when it listens.
start_gateway() {
  sed -e "s|@PORT@|$1|" -e "s|@ADMIN_PORT@|$(($1 + 1))|" -e "s|@BACKEND@|$2|" \
    -e "s|@DATA@|$work/data|" -e "s|@SPIN@|${SPIN_US:-0}|" "$here/gateway.toml" > "$work/gateway.toml"
  taskset -c 0 "$bin/sluice" gateway --config "$work/gateway.toml" > "$work/gateway.log" 2>&1 &
  gateway=$!
  until grep -qs 'listening on' "$work/gateway.log"; do
    kill -0 "$gateway" 2> /dev/null || { cat "$work/gateway.log"; exit 1; }
    sleep 0.2
  done
}

# Time that the host has taken from cores 0 and 1 of a virtual machine, in ticks of 10 ms: what a
# round suffers of it is nobody's who is measured.
stolen_time() {
  awk '/^cpu[01] / { sum += $9 } END { print sum }' /proc/stat
}

# Ends what was started, and removes $work.
stop_all() {
  trap - EXIT
  for file in "$work"/*/*.pid; do
    if [ -e "$file" ]; then kill "$(cat "$file")"; fi
  done
  for process in $gateway $also; do kill "$process" 2> /dev/null || true; done
  wait
  rm -rf "$work"
}
