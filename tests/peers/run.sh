#!/bin/sh
# Compares the program with the libraries that others use: transformers, tokenizers, peft, PyTorch, pyarrow. Needs build/saediff, the test data and
# PyPI; the libraries are installed in a virtual environment in the user's cache folder, PyTorch comes from Debian. Where one of these is missing,
# it prints "skipped" with the reason and exits 0. A difference exits 1 and names the judge.
#   sh tests/peers/run.sh [TEXTS]     every judge, with TEXTS (200) random texts for each variant of a tokenizer: under 8 minutes on two cores
#   sh tests/peers/run.sh all         every judge in full: 20000 texts for each variant
#   sh tests/peers/run.sh fixtures    writes tests/peers/fixtures again (fixtures.py)
set -eu
cd "$(dirname "$0")"
what=${1-200}
program=$(cd ../.. && pwd)/build/saediff
data=${SAEDIFF_DATA:-$(cd ../.. && pwd)/../shared/data}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/saediff-peers
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 PYTHONDONTWRITEBYTECODE=1

skip() {
    echo "peers: skipped, $1"
    exit 0
}

case $what in
all) texts=20000 ;;
fixtures) texts= ;;
'' | *[!0-9]*) sed -n '2,7s/^# //p' run.sh >&2; exit 2 ;;
*) texts=$what ;;
esac
[ -x "$program" ] || { echo "peers: build/saediff is not built; run tests/run.sh first" >&2; exit 1; }
[ "$what" = fixtures ] || [ -f "$data/README.md" ] || skip "no test data at SAEDIFF_DATA"

# transformers does not accept the newest tokenizers, which is installed in a folder of its own. peft rejects Debian's PyTorch by its version, 1.13.0a0.
newest=tokenizers==0.23.3
peft="peft==0.13.2 accelerate==0.34.2 psutil==6.1.1"
wanted=$(cat requirements.txt; echo "$newest $peft"; /usr/bin/python3 -V 2>&1)
if [ "$(cat "$cache/wanted" 2>/dev/null)" != "$wanted" ]; then
    sh ../../jobs/setup.sh peers || skip "Debian's packages for Python cannot be installed"
    rm -rf "$cache"
    mkdir -p "$cache"
    /usr/bin/python3 -m venv --system-site-packages "$cache/venv" || skip "python3-venv is missing"
    "$cache/venv/bin/pip" install -q --timeout 20 --retries 1 -r requirements.txt &&
        "$cache/venv/bin/pip" install -q --timeout 20 --retries 1 --no-deps --target "$cache/tokenizers" "$newest" &&
        "$cache/venv/bin/pip" install -q --timeout 20 --retries 1 --no-deps --target "$cache/peft" $peft ||
        skip "the packages cannot be installed from PyPI"
    echo "$wanted" >"$cache/wanted"
fi

if [ "$what" = fixtures ]; then
    PYTHONPATH="$cache/peft" "$cache/venv/bin/python" fixtures.py "$program" models torch finetune parquet templates
    PYTHONPATH="$cache/tokenizers" "$cache/venv/bin/python" fixtures.py "$program" tokenizers
    exit 0
fi

failed=
judge() { # script, arguments
    echo "== peers: $1"
    began=$(date +%s)
    "$cache/venv/bin/python" "$@" || failed="$failed $1"
    echo "   $(($(date +%s) - began)) s"
}

judge models_peer.py "$program" "$data"
judge parquet_peer.py "$program"
judge templates_peer.py "$program" "$data/tokenizers/llama3" "$data"/tokenizers/llama3/chat_templates/*.jinja
export PYTHONPATH="$cache/peft"
judge finetune_peer.py "$program"
export PYTHONPATH="$cache/tokenizers"
judge tokenizers_peer.py "$program" "$data" "$texts"
[ -z "$failed" ] || { echo "peers: differences found by$failed" >&2; exit 1; }
echo "peers: no differences"
