"""jobs/quickstart.sh and tests/run.sh in one checkout, in either order, twice, and after a configuration by hand: on a copy of the tree, each up to
where its study or its first test would start. Configured and linked for real; a compiler launcher takes the objects that were already compiled
of the same sources, so that this proves nothing about compiling. Setting up is left out: what a package manager does is not tried here."""
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile

SOURCE = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
BUILD = os.environ["SAEDIFF_BUILD"]
LAUNCHER = """#!/bin/sh
# Compiler launcher: an object that the first build has is copied from there.
last= out=
for word; do [ "$last" = -o ] && out=$word; last=$word; done
case $PWD in
"$COPY"/build*)
    have=$OBJECTS${PWD#"$COPY"/build}/$out
    case $out in *.o) [ -s "$have" ] && cp "$have" "$out" && exit 0 ;; esac ;;
esac
exec "$@"
"""


def copy_tree():
    folder = tempfile.mkdtemp(prefix="saediff-orders-")
    copy = os.path.join(folder, "saediff")
    os.mkdir(copy)
    for name in ("src", "include", "jobs", "tests"):
        shutil.copytree(os.path.join(SOURCE, name), os.path.join(copy, name))
    shutil.copy(os.path.join(SOURCE, "CMakeLists.txt"), copy)
    with open(os.path.join(copy, "jobs", "setup.sh"), "w") as f:
        f.write("exit 0\n")
    launcher = os.path.join(folder, "launcher")
    with open(launcher, "w") as f:
        f.write(LAUNCHER)
    os.chmod(launcher, stat.S_IRWXU)
    env = dict(os.environ, COPY=copy, OBJECTS=BUILD, CMAKE_C_COMPILER_LAUNCHER=launcher, CMAKE_CXX_COMPILER_LAUNCHER=launcher,
               CMAKE_CUDA_COMPILER_LAUNCHER=launcher)
    if not os.path.exists(os.path.join(BUILD, "libsaediff_cuda.so")):
        env["CUDACXX"] = "/nowhere/nvcc"  # the first build has no module for GPUs
    return folder, copy, env


def run(copy, env, *command):
    done = subprocess.run(command, cwd=copy, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=280)
    text = done.stdout.decode(errors="replace")
    assert done.returncode == 0, "%s: status %d\n%s" % (" ".join(command), done.returncode, text)
    return text


def quickstart(copy, env):
    run(copy, dict(env, SAEDIFF_STOP_BEFORE="study"), "sh", "jobs/quickstart.sh")
    assert "saediff" in run(copy, env, "build/saediff", "help")
    assert not os.path.exists(os.path.join(copy, "runs"))


def tests(copy, env):
    text = run(copy, dict(env, SAEDIFF_STOP_BEFORE="tests"), "sh", "tests/run.sh")
    found = re.search(r"Total Tests: (\d+)", text)
    assert found, text
    assert int(found.group(1)) > 100, text
    assert os.path.exists(os.path.join(copy, "build", "tests", "test_core_status"))


def by_hand(copy, env):
    run(copy, env, "cmake", "-S", ".", "-B", "build", "-G", "Unix Makefiles", "-DCMAKE_BUILD_TYPE=Debug", "-DSAEDIFF_TESTS=OFF")


ORDERS = [("the quickstart first", [quickstart, tests, quickstart, tests]),
          ("the tests first, after Makefiles by hand", [by_hand, tests, quickstart])]

failed = 0
for name, order in ORDERS:
    folder, copy, env = copy_tree()
    try:
        for step in order:
            step(copy, env)
        print("ok      %s" % name, flush=True)
    except AssertionError as e:
        failed += 1
        print("FAILED  %s: %s" % (name, e), flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
sys.exit(1 if failed else 0)
