#!/bin/sh
# Installs the packages that building and running saediff require on Debian 12 or Ubuntu, if they are missing.
#   sh jobs/setup.sh          build and run
#   sh jobs/setup.sh tests    also those of the tests
#   sh jobs/setup.sh peers    only those of tests/peers
set -eu

packages="build-essential cmake ninja-build pkg-config libopenmpi-dev openmpi-bin libhdf5-openmpi-dev libcjson-dev libopenblas-dev libdnnl-dev libzip-dev libonig-dev libutf8proc-dev zlib1g-dev libzstd-dev libsnappy-dev liblz4-dev gnuplot-nox fonts-dejavu-core"
[ "${1-}" = tests ] && packages="$packages hdf5-tools python3-numpy python3-scipy python3-h5py clang libclang-rt-14-dev"
[ "${1-}" = peers ] && packages="python3-venv python3-torch python3-numpy python3-h5py"

missing=
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done

# Plotly's script for the report's interactive panels, from the Python package that contains it, into the user's data
# folder. Without it reports have static pictures only.
fetch_plotly() {
    folder=${XDG_DATA_HOME:-$HOME/.local/share}/saediff
    [ -n "${SAEDIFF_PLOTLY-}" ] || [ -s "$folder/plotly.min.js" ] && return 0
    command -v python3 >/dev/null 2>&1 && python3 -m pip --version >/dev/null 2>&1 || return 0
    scratch=$(mktemp -d) || return 0
    if python3 -m pip download -q --no-deps --only-binary :all: --timeout 15 --retries 1 -d "$scratch" plotly >/dev/null 2>&1 &&
        python3 -m zipfile -e "$scratch"/plotly-*.whl "$scratch/wheel" &&
        mkdir -p "$folder" && cp "$scratch/wheel/plotly/package_data/plotly.min.js" "$folder/plotly.min.js.tmp" &&
        mv "$folder/plotly.min.js.tmp" "$folder/plotly.min.js"; then
        echo "setup: reports have interactive panels, drawn by $folder/plotly.min.js"
    else
        echo "setup: plotly.min.js could not be downloaded; reports have static pictures only"
    fi
    rm -rf "$scratch"
}

if [ -z "$missing" ]; then
    fetch_plotly || true
    exit 0
fi

if ! command -v apt-get >/dev/null 2>&1; then
    echo "setup: this system is not Debian or Ubuntu; install these packages by its own means:$missing" >&2
    echo "setup: on a cluster, load modules for a C compiler, CMake >= 3.25, Open MPI, parallel HDF5, OpenBLAS, cJSON," >&2
    echo "setup: libzip, Oniguruma, utf8proc, zlib, zstd, snappy and lz4" >&2
    exit 4
fi
as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        # These are optional: bf16 products and pictures.
        needed=$(printf '%s\n' $missing | grep -vxE 'libdnnl-dev|gnuplot-nox|fonts-dejavu-core' | tr '\n' ' ')
        if [ -z "$needed" ]; then
            echo "setup: continuing without the optional packages:$missing"
            fetch_plotly || true
            exit 0
        fi
        echo "setup: installing packages requires root or sudo. Ask an administrator for:" >&2
        echo "  apt-get install --no-install-recommends$missing" >&2
        exit 4
    fi
    as_root=sudo
fi
echo "setup: installing$missing"
$as_root apt-get update -qq
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
fetch_plotly || true
