# shellcheck shell=bash
# Sourced by the other scripts: where things that are fetched stand, outside the tree.
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/sluice"
requirements_sum=$(sha256sum "$tools/requirements.txt")
export cache venv="$cache/python-${requirements_sum:0:12}"
