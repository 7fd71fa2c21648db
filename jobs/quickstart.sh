#!/bin/sh
# Installs missing packages, builds, and runs a whole study on this machine's cores: a small Llama is trained from scratch on generated texts
# and fine-tuned on part of them; the report shows how fine-tuning changed its features.
#   sh jobs/quickstart.sh          run it again after an interruption to continue
# SAEDIFF_STOP_BEFORE=study        end before the study starts: packages installed, program built
set -eu
cd "$(dirname "$0")/.."
cores=$(nproc)
[ "$cores" -le 16 ] || cores=16
if [ "$(id -u)" -eq 0 ]; then # required by Open MPI
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

echo "== generating texts"
[ -s runs/quickstart/corpus/start/config.json ] || build/saediff corpus runs/quickstart/corpus --seed 1
echo "== training a small model on them"
mpirun -n "$cores" build/saediff run jobs/quickstart-pretrain.json
echo "== fine-tuning it on finance, and comparing the two"
mpirun -n "$cores" build/saediff run jobs/quickstart.json
echo "== the report: $(pwd)/runs/quickstart/study/report/index.html"
