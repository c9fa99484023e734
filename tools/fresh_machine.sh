#!/usr/bin/env bash
# Shows that a clone of HEAD works on a Debian 12 that has nothing but git and make: makes such a
# root in FOLDER (kept; made again only where it is missing), gives it this machine's package and
# network configuration, clones the project into it and runs COMMAND there. Needs root and
# debootstrap. Without COMMAND: make test, then make up with one completion.
#   tools/fresh_machine.sh FOLDER [COMMAND] | tee transcript.txt
set -euo pipefail

root=${1:?usage: tools/fresh_machine.sh FOLDER [COMMAND]}
command=${2:-'make test && tools/try_up.sh'}
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '\n== %s  %s\n' "$(date -u +%H:%M:%S)" "$*"; }

make_root() {
  local mirror
  # shellcheck disable=SC2016  # $(REPO_URI) is apt's own template language
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' | head -n 1)
  say "debootstrap --variant=minbase bookworm"
  debootstrap --variant=minbase bookworm "$root" "$mirror" >"$root.log" 2>&1
}

# apt's sources and options, pip's configuration, name resolution, certificate authorities.
copy_configuration() {
  rm -f "$root/etc/apt/sources.list"
  cp -a /etc/apt/sources.list.d /etc/apt/apt.conf.d /etc/apt/auth.conf.d "$root/etc/apt/"
  [ ! -e /etc/apt/sources.list ] || cp /etc/apt/sources.list "$root/etc/apt/"
  [ ! -e /etc/pip.conf ] || cp /etc/pip.conf "$root/etc/"
  cp /etc/resolv.conf /etc/hosts "$root/etc/"
  mkdir -p "$root/usr/local/share/ca-certificates"
  cp /etc/ssl/certs/ca-certificates.crt "$root/usr/local/share/ca-certificates/host.crt"
}

# In its own mount and process namespaces: what the command starts ends with it.
# shellcheck disable=SC2016  # expanded by the inner shells
in_root() {
  unshare --mount --pid --fork bash -c '
    mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" &&
    exec chroot "$0" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb LANG=C.UTF-8 \
      bash -c "$1" </dev/null' "$root" "$1"
}

[ -e "$root/etc/debian_version" ] || make_root
copy_configuration
say "git and make, nothing else"
in_root 'apt-get update -qq && apt-get install -qq -y --no-install-recommends git make' \
  >>"$root.log" 2>&1
say "$(in_root 'dpkg-query -f . -W | wc -c') packages; $(nproc) cores; $(uname -m)"
rm -rf "$root/srv/sluice"
git clone -q --no-hardlinks "$project" "$root/srv/sluice"
say "commit $(git -C "$root/srv/sluice" rev-parse --short HEAD): $command"
in_root "cd /srv/sluice && $command"
say "done"
