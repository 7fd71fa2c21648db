"""Counts what the last ctest of a build folder ran: tests, checks, launches of mpirun and the ranks that they started."""
import os
import re
import sys

with open(os.path.join(sys.argv[1], "Testing", "Temporary", "LastTest.log"), errors="replace") as f:
    log = f.read()
tests = len(re.findall(r"^Test (?:Passed|Failed|Skipped)", log, re.M))
skipped = len(re.findall(r"^Test Skipped", log, re.M))
checks = sum(int(n) for n in re.findall(r"(\d+) checks in \d+ tests", log))
functions = sum(int(n) for n in re.findall(r"\d+ checks in (\d+) tests", log)) + len(re.findall(r"^ok      ", log, re.M))
launches = [int(n) for n in re.findall(r'^Command: "[^"]*mpi\w+" "-n" "(\d+)"', log, re.M)]
scripts = [tuple(map(int, pair)) for pair in re.findall(r"(\d+) launches of mpirun, (\d+) ranks", log)]
print("  %-28s %d tests (%d skipped) of %d functions, %d checks; mpirun launched %d times with %d ranks" % (
    sys.argv[1] + ":", tests, skipped, functions, checks, len(launches) + sum(n for n, _ in scripts), sum(launches) + sum(n for _, n in scripts)))
