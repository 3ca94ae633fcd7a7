#!/usr/bin/env python3
"""Boots boxes one after the other on a busy machine and writes how it went.

    soak_cold_boot.py BOOTS RESULT.json

Fails if a single boot did not come up.
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
    boots, result_path = int(sys.argv[1]), sys.argv[2]
    boxlite, took, failures = Boxlite(), [], []
    with tempfile.TemporaryDirectory(prefix="boxlite-images-") as images:
        demo = "oci:" + oci.write_demo(f"{images}/demo")
        boxlite.ok("pull", demo)
        with busy_cores():
            for number in range(boots):
                begun = time.monotonic()
                finished = boxlite("run", "--rm", demo, "echo", f"boot {number}", timeout=600)
                took.append(time.monotonic() - begun)
                if finished.out != f"boot {number}\n":
                    failures.append(str(finished))
                print(f"boot {number + 1} of {boots}: {took[-1]:.2f} s, {len(failures)} failed so far", flush=True)
    accelerator = json.loads(boxlite.ok("info", "--format", "json"))["accelerator"]
    boxlite.close()
    took.sort()
    result = {"what": "cold boots (boxlite run --rm IMAGE echo) with a busy loop on every core", "boots": boots,
              "failed": len(failures), "cores": os.cpu_count(), "accelerator": accelerator, "seconds": {
                  "median": round(statistics.median(took), 3), "p95": round(took[int(len(took) * 0.95) - 1], 3),
                  "worst": round(took[-1], 3)}, "failures": failures}
    os.makedirs(os.path.dirname(result_path), exist_ok=True)
    with open(result_path, "w") as file:
        json.dump(result, file, indent=2)
        file.write("\n")
    print(f"{boots - len(failures)} passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
