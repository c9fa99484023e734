#!/usr/bin/env bash
# Installs what building and testing needs and this machine lacks: Debian packages
# (tools/packages.txt) and Python packages in a cache folder (tools/requirements.txt).
#   tools/setup.sh [test|all]
# Fast when nothing is missing. Without root it lists the missing packages and fails.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/cache.sh"

group=${1:-test}

wanted_packages() {
  awk -v group="$group" '/^[^#]/ && ($2 == "test" || group == "all") { print $1 }' \
    "$tools/packages.txt"
}

missing_packages() {
  local installed
  installed=$(dpkg-query --show --showformat='${db:Status-Abbrev} ${Package}\n' 2>/dev/null |
    awk '$1 == "ii" { print $2 }')
  wanted_packages | grep -vxF -f <(printf '%s\n' "$installed") || true
}

install_packages() {
  local missing
  mapfile -t missing < <(missing_packages)
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" -ne 0 ]; then
    {
      echo "Sluice needs these packages, and only root can install them:"
      printf '  %s\n' "${missing[@]}"
      echo "As root:"
      echo "  apt-get update && apt-get install --no-install-recommends ${missing[*]}"
    } >&2
    exit 1
  fi
  echo "Installing ${#missing[@]} packages: ${missing[*]}"
  apt-get update -qq </dev/null || echo "apt-get update failed; trying with the lists at hand" >&2
  DEBIAN_FRONTEND=noninteractive \
    apt-get install -qq -y -o Dpkg::Use-Pty=0 --no-install-recommends "${missing[@]}" </dev/null
}

# The mark is written last: an environment that was cut short is made again.
install_python() {
  [ ! -e "$venv/complete" ] || return 0
  echo "Python packages into $venv"
  rm -rf "$venv"
  /usr/bin/python3 -m venv "$venv"
  "$venv/bin/pip" install -q --no-input --disable-pip-version-check \
    -r "$tools/requirements.txt" </dev/null
  touch "$venv/complete"
}

command -v dpkg-query >/dev/null || {
  echo "tools/setup.sh knows Debian's packages only. On this system, install the likes of:" >&2
  wanted_packages | sed 's/^/  /' >&2
  exit 1
}
install_packages
install_python
