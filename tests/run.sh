#!/bin/sh
# Installs what is missing, builds without warnings, runs every test.
#   sh tests/run.sh            everything: gcc Release (all tests), gcc Sanitize (all but the long ones), clang (build)
#   sh tests/run.sh quick      gcc Release, without the tests that take minutes
set -eu
cd "$(dirname "$0")/.."
root=$(pwd)
cores=$(nproc)
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

sh jobs/setup.sh tests

# Runs flush each file to the disk, which tests do not need: what they write is kept in memory where there are 4 GiB of it.
if [ "$(df --output=avail -k /dev/shm 2>/dev/null | tail -1)" -gt 4194304 ] 2>/dev/null; then
    TMPDIR=$(mktemp -d /dev/shm/saediff-tests-XXXXXX)
    export TMPDIR
    trap 'rm -rf "$TMPDIR"' EXIT
    trap 'exit 130' INT TERM
fi

build() { # folder, options of cmake
    folder=$1
    shift
    cmake -S "$root" -B "$folder" -G Ninja "$@" >"$folder.log" 2>&1 || { cat "$folder.log"; exit 1; }
    cmake --build "$folder" -j "$cores" >"$folder.log" 2>&1 || { grep -a -v '^\[' "$folder.log" | head -60; exit 1; }
    rm -f "$folder.log"
}

if [ "${1-}" != quick ]; then
    echo "== clang, Debug: builds without a warning"
    build build-clang -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=Debug -DSAEDIFF_CUDA=OFF
    echo "== gcc, address and undefined-behaviour sanitizers"
    build build-sanitize -DCMAKE_BUILD_TYPE=Sanitize -DSAEDIFF_CUDA=OFF
    ctest --test-dir build-sanitize -j "$cores" -LE long --output-on-failure --no-tests=error >build-sanitize/log 2>&1 ||
        { tail -100 build-sanitize/log; exit 1; }
    grep 'tests passed' build-sanitize/log
fi
build build -DCMAKE_BUILD_TYPE=Release
if [ "${1-}" = quick ]; then
    echo "== gcc, Release: the quick tests"
    ctest --test-dir build -j "$cores" -LE long --output-on-failure --no-tests=error
else
    echo "== gcc, Release: every test"
    ctest --test-dir build -j "$cores" --output-on-failure --no-tests=error
fi
