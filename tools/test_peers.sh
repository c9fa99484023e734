#!/usr/bin/env bash
# Compares Sluice with test data that llama.cpp publishes (vocabularies with expected token ids,
# chat templates). Its sources come inside the Python package llama-cpp-python; they are read in the
# cache folder and never become part of this tree.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/cache.sh"

version=0.3.36
package=llama_cpp_python-$version
sha256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
peers="$cache/peers"
sources="$peers/$package/vendor/llama.cpp"

if [ ! -d "$sources" ]; then
  echo "fetching $package (77 MB; pip takes some minutes to read it)"
  mkdir -p "$peers"
  unpacked=$(mktemp -d -p "$peers")
  trap 'rm -rf "$unpacked"' EXIT
  "$venv/bin/pip" download -q --no-deps --no-binary :all: --no-input \
    --disable-pip-version-check -d "$unpacked" "llama-cpp-python==$version" </dev/null
  (cd "$unpacked" && sha256sum --quiet -c <<<"$sha256  $package.tar.gz")
  tar -xzf "$unpacked/$package.tar.gz" -C "$unpacked"
  mv "$unpacked/$package" "$peers/"
fi

built="$tools/../build/release/bin"
failed=0
"$tools/python" "$tools/peers/tokenizer_pairs.py" --sluice "$built/sluice" "$sources" || failed=1
"$tools/python" "$tools/peers/chat_templates.py" --renderer "$built/jinja_render" \
  "$sources/models/templates" || failed=1
if [ -n "${SLUICE_TRAINED_DEEPSEEK:-}" ]; then
  "$tools/python" "$tools/peers/folder_values.py" --sluice "$built/sluice" \
    "$SLUICE_TRAINED_DEEPSEEK/models/tiny-deepseek-v3" || failed=1
fi
# Where a built llama.cpp and a folder with a small trained model are at hand:
# SLUICE_LLAMA_SERVER=…/llama-server SLUICE_TRAINED_DEEPSEEK=… tools/test_peers.sh
if [ -n "${SLUICE_LLAMA_SERVER:-}" ] && [ -n "${SLUICE_TRAINED_DEEPSEEK:-}" ]; then
  "$tools/python" "$tools/peers/greedy_text.py" --sluice "$built/sluice" \
    --llama-server "$SLUICE_LLAMA_SERVER" "$SLUICE_TRAINED_DEEPSEEK/models/tiny-deepseek-v3" ||
    failed=1
fi
exit "$failed"
