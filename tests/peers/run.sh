#!/bin/sh
# The program beside the libraries that others use: transformers, tokenizers, peft, PyTorch, pyarrow. Wants build/saediff, the test data and PyPI; the
# libraries go into a virtual environment in the user's cache folder, PyTorch comes from Debian. Says so and ends well where one is missing.
#   sh tests/peers/run.sh [TEXTS]     TEXTS: random texts for each variant of a tokenizer
set -eu
cd "$(dirname "$0")"
texts=${1-200}
program=$(cd ../.. && pwd)/build/saediff
data=${SAEDIFF_DATA:-$(cd ../.. && pwd)/../shared/data}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/saediff-peers
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 PYTHONDONTWRITEBYTECODE=1

skip() {
    echo "peers: skipped, $1"
    exit 0
}

[ -x "$program" ] || { echo "peers: build/saediff is not built; run tests/run.sh first" >&2; exit 1; }
[ -f "$data/README.md" ] || skip "no test data at SAEDIFF_DATA"

# The newest tokenizers is not one that transformers takes, so it lives beside. peft takes Debian's PyTorch for too old by its name, 1.13.0a0.
newest=tokenizers==0.23.3
peft="peft==0.13.2 accelerate==0.34.2 psutil==6.1.1"
wanted=$(cat requirements.txt; echo "$newest $peft"; /usr/bin/python3 -V 2>&1)
if [ "$(cat "$cache/wanted" 2>/dev/null)" != "$wanted" ]; then
    sh ../../jobs/setup.sh peers || skip "Debian's packages for Python cannot be had"
    rm -rf "$cache"
    mkdir -p "$cache"
    /usr/bin/python3 -m venv --system-site-packages "$cache/venv" || skip "python3-venv is missing"
    "$cache/venv/bin/pip" install -q --timeout 20 --retries 1 -r requirements.txt &&
        "$cache/venv/bin/pip" install -q --timeout 20 --retries 1 --no-deps --target "$cache/tokenizers" "$newest" &&
        "$cache/venv/bin/pip" install -q --timeout 20 --retries 1 --no-deps --target "$cache/peft" $peft ||
        skip "the packages cannot be had from PyPI"
    echo "$wanted" >"$cache/wanted"
fi

failed=
judge() { # script, arguments
    echo "== peers: $1"
    "$cache/venv/bin/python" "$@" || failed="$failed $1"
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
