#!/usr/bin/env python3
"""Runs tests/fault/test_chaos.py time after time, with a seed of its own each, and writes how it went.

    soak_chaos.py RUNS SECONDS RESULT.json

Fails if a run did.
"""

import json
import os
import subprocess
import sys

REPOSITORY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")


def main():
    runs, seconds, result_path = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    results = []
    for number in range(runs):
        finished = subprocess.run([sys.executable, "-m", "pytest", "-q", "tests/fault/test_chaos.py"], cwd=REPOSITORY, check=False,
                                  env={**os.environ, "BOXLITE_CHAOS_SECONDS": seconds}, stdout=subprocess.PIPE, text=True)
        print(finished.stdout, flush=True)
        said = [line for line in finished.stdout.splitlines() if line.startswith("chaos: ")]
        results.append({"passed": finished.returncode == 0, "what": said[-1:] or finished.stdout.splitlines()[-3:]})
        print(f"run {number + 1} of {runs}: {'passed' if results[-1]['passed'] else 'failed'}", flush=True)
    with open(result_path, "w") as file:
        json.dump({"what": f"{seconds} s of chaos (tests/fault/test_chaos.py), {runs} times", "cores": os.cpu_count(), "runs": results},
                  file, indent=2)
        file.write("\n")
    return 0 if all(result["passed"] for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
