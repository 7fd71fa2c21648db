#!/bin/sh
# Installs what building and running saediff needs on Debian 12 or Ubuntu, if it is missing.
#   sh jobs/setup.sh          build and run
#   sh jobs/setup.sh tests    and what the tests use
set -eu

packages="build-essential cmake ninja-build pkg-config libopenmpi-dev openmpi-bin libhdf5-openmpi-dev libcjson-dev libopenblas-dev"
[ "${1-}" = tests ] && packages="$packages hdf5-tools python3-numpy python3-h5py clang libclang-rt-14-dev"

missing=
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
[ -z "$missing" ] && exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "setup: these are needed, and this is no Debian or Ubuntu:$missing" >&2
    echo "setup: on a cluster, load modules for a C compiler, CMake >= 3.25, Open MPI, parallel HDF5, OpenBLAS and cJSON" >&2
    exit 4
fi
as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "setup: ask an administrator to install:$missing" >&2
        exit 4
    fi
    as_root=sudo
fi
echo "setup: installing$missing"
$as_root apt-get update -qq
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
