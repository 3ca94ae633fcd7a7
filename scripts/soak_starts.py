#!/usr/bin/env python3
"""Starts boxes one after the other on a busy machine and writes how it went.

    soak_starts.py booted|restored COUNT RESULT.json

Fails if a single one did not come up.
"""

import json
import os
import statistics
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "e2e"))
from boxlite_testing import oci  # noqa: E402
from boxlite_testing.cli import Boxlite  # noqa: E402
from boxlite_testing.load import busy_cores  # noqa: E402


def main():
    kind, count, result_path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    boxlite, took, failures = Boxlite(BOXLITE_COLD="1" if kind == "booted" else ""), [], []
    with tempfile.TemporaryDirectory(prefix="boxlite-images-") as images:
        demo = "oci:" + oci.write_demo(f"{images}/demo")
        boxlite.ok("run", "--rm", demo, "true")
        with busy_cores():
            for number in range(count):
                begun = time.monotonic()
                finished = boxlite("run", "--rm", demo, "echo", f"start {number}", timeout=600)
                took.append(time.monotonic() - begun)
                if finished.out != f"start {number}\n":
                    failures.append(str(finished))
                print(f"start {number + 1} of {count}: {took[-1]:.2f} s, {len(failures)} failed so far", flush=True)
    info = json.loads(boxlite.ok("info", "--format", "json"))
    if info[f"starts_{kind}"] != count + 1:
        failures.append(f"{info['starts_restored']} were restored, {info['starts_booted']} booted")
    boxlite.close()
    took.sort()
    result = {"what": f"starts (boxlite run --rm IMAGE echo), {kind}, with a busy loop on every core", "starts": count,
              "failed": len(failures), "cores": os.cpu_count(), "accelerator": info["accelerator"], "seconds": {
                  "median": round(statistics.median(took), 3), "p95": round(took[int(len(took) * 0.95) - 1], 3),
                  "worst": round(took[-1], 3)}, "failures": failures}
    os.makedirs(os.path.dirname(result_path), exist_ok=True)
    with open(result_path, "w") as file:
        json.dump(result, file, indent=2)
        file.write("\n")
    print(f"{count - len(failures)} passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
