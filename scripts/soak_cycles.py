#!/usr/bin/env python3
"""Creates, starts, uses and removes boxes one after the other beside one that stays, and writes how it went and what has grown.

    soak_cycles.py CYCLES RESULT.json

Fails if a cycle failed or anything is left.
"""

import json
import os
import statistics
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "e2e"))
from boxlite_testing import growth, invariants, oci  # noqa: E402
from boxlite_testing.cli import Boxlite  # noqa: E402


def cycle(boxlite, demo):
    """The first command that fails, or None."""
    for command in (["create", "--name", "a", "-p", "0:80", "-v", "/data", demo, "sleep", "infinity"], ["start", "a"],
                    ["exec", "a", "true"], ["rm", "-f", "-v", "a"]):
        finished = boxlite(*command, timeout=600)
        if finished.code != 0:
            return str(finished)
    return None


def main():
    cycles, result_path = int(sys.argv[1]), sys.argv[2]
    boxlite, took, failures = Boxlite(), [], []
    with tempfile.TemporaryDirectory(prefix="boxlite-images-") as images:
        demo = "oci:" + oci.write_demo(f"{images}/demo")
        boxlite.ok("run", "-d", "--name", "witness", "-p", "0:80", demo, "sleep", "infinity")
        before = growth.Sizes(boxlite, "witness")
        for number in range(cycles):
            begun = time.monotonic()
            failure = cycle(boxlite, demo)
            took.append(time.monotonic() - begun)
            if failure:
                failures.append(failure)
                boxlite("rm", "-f", "-v", "a")
            print(f"cycle {number + 1} of {cycles}: {took[-1]:.2f} s, {len(failures)} failed so far", flush=True)
        invariants.check(boxlite)
        grown = growth.Sizes(boxlite, "witness").grown_since(before)
    boxlite.close(failed=bool(failures))
    took.sort()
    result = {"what": "create, start, exec and rm -f of a box with a published port and a volume, one after the other", "cycles": cycles,
              "failed": len(failures), "grown": grown, "cores": os.cpu_count(), "seconds": {
                  "median": round(statistics.median(took), 3), "p95": round(took[int(len(took) * 0.95) - 1], 3),
                  "worst": round(took[-1], 3)}, "failures": failures}
    with open(result_path, "w") as file:
        json.dump(result, file, indent=2)
        file.write("\n")
    print(f"{cycles - len(failures)} passed, {len(failures)} failed; grown: {grown or 'nothing'}")
    return 1 if failures or grown else 0


if __name__ == "__main__":
    sys.exit(main())
