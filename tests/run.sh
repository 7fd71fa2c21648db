#!/bin/sh
# Installs what is missing, builds without warnings, runs every test.
#   sh tests/run.sh            everything: clang with the sanitizers (what reads memory unsafely would show), gcc Release (all tests)
#   sh tests/run.sh quick      gcc Release, without the tests that take long
# SAEDIFF_STOP_BEFORE=tests    configures Release, builds the program and one test, and ends with how many tests were found
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

began=$(date +%s)
parts=
took() { # name of the part that ends here
    now=$(date +%s)
    parts="$parts$(printf '  %-28s %2d min %02d s' "$1" $(((now - began) / 60)) $(((now - began) % 60)))
"
    began=$now
}

targets=
[ "${SAEDIFF_STOP_BEFORE-}" != tests ] || targets="--target saediff test_core_status"
build() { # folder, options of cmake; a folder that was configured by hand keeps its generator
    folder=$1
    shift
    [ -f "$folder/CMakeCache.txt" ] || set -- -G Ninja "$@"
    cmake -S "$root" -B "$folder" -DSAEDIFF_TESTS=ON "$@" >"$folder.log" 2>&1 || { cat "$folder.log"; exit 1; }
    cmake --build "$folder" -j "$cores" $targets >"$folder.log" 2>&1 || { grep -a -v '^\[' "$folder.log" | head -60; exit 1; }
    rm -f "$folder.log"
}

if [ "${1-}" != quick ] && [ "${SAEDIFF_STOP_BEFORE-}" != tests ]; then
    echo "== clang, address and undefined-behaviour sanitizers"
    build build-sanitize -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_BUILD_TYPE=Sanitize -DSAEDIFF_CUDA=OFF
    took "building with sanitizers"
    ctest --test-dir build-sanitize -j "$cores" -LE long --output-on-failure --no-tests=error >build-sanitize/log 2>&1 ||
        { tail -100 build-sanitize/log; exit 1; }
    grep 'tests passed' build-sanitize/log
    took "tests with sanitizers"
fi
build build -DCMAKE_BUILD_TYPE=Release
took "building Release"
if [ "${SAEDIFF_STOP_BEFORE-}" = tests ]; then
    ctest --test-dir build -N --no-tests=error | tail -1
    exit 0
fi
if [ "${1-}" = quick ]; then
    echo "== gcc, Release: the quick tests"
    set -- -LE long
else
    echo "== gcc, Release: every test"
    set --
fi
ctest --test-dir build -j "$cores" "$@" --output-on-failure --no-tests=error
took "tests of Release"
echo "== what was run"
printf '%s' "$parts"
for folder in build-sanitize build; do
    [ "$#" -gt 0 ] && [ "$folder" = build-sanitize ] || python3 tests/summary.py "$folder"
done
