#!/bin/sh
# Installs what is missing, builds, and carries out a whole study on this machine's cores: a small Llama learns made-up texts from
# random weights, is fine-tuned on one part of them, and what that did to its features is measured and reported.
#   sh jobs/quickstart.sh          the first time, and again after a stop: it continues
# SAEDIFF_STOP_BEFORE=study        ends where the study would start: installed and built
set -eu
cd "$(dirname "$0")/.."
cores=$(nproc)
[ "$cores" -le 16 ] || cores=16
if [ "$(id -u)" -eq 0 ]; then # Open MPI asks for this
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

sh jobs/setup.sh
echo "== building"
# A folder that was configured before keeps its generator and its tests.
[ -f build/CMakeCache.txt ] || set -- -G Ninja -DSAEDIFF_TESTS=OFF
cmake -S . -B build "$@" -DCMAKE_BUILD_TYPE=Release >build.log 2>&1 || { cat build.log; exit 1; }
cmake --build build -j "$(nproc)" --target saediff >build.log 2>&1 || { tail -60 build.log; exit 1; }
rm -f build.log
[ "${SAEDIFF_STOP_BEFORE-}" != study ] || exit 0

echo "== texts"
[ -s runs/quickstart/corpus/start/config.json ] || build/saediff corpus runs/quickstart/corpus --seed 1
echo "== a small model learns them"
mpirun -n "$cores" build/saediff run jobs/quickstart-learn.json
echo "== it is fine-tuned on finance, and compared with what it was"
mpirun -n "$cores" build/saediff run jobs/quickstart.json
echo "== to read on: $(pwd)/runs/quickstart/study/report/index.html"
