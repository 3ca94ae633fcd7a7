#!/usr/bin/env python3
"""Runs the tests that take less data in `make test` than they could, with all of it, and writes how it went.

    soak_full_size.py RESULT.json
"""

import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

REPOSITORY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
TESTS = ["tests/e2e/test_cp.py::test_many_files_go_in_and_out", "tests/e2e/test_cp.py::test_a_large_file_goes_in_and_out_unharmed",
         "tests/e2e/test_volumes.py::test_many_files_and_a_large_one_arrive_whole",
         "tests/e2e/test_docker_in_box.py::test_the_scenario_of_the_report_time_after_time",
         "tests/e2e/test_exec_limits.py::test_much_goes_each_way_at_once_with_the_right_checksums"]


def main():
    with tempfile.TemporaryDirectory() as directory:
        report = f"{directory}/report.xml"
        finished = subprocess.run([sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *TESTS], cwd=REPOSITORY,
                                  env={**os.environ, "BOXLITE_FULL_SIZE": "1"}, check=False)
        tests = [{"test": f"{case.get('classname')}.{case.get('name')}", "seconds": float(case.get("time")),
                  "passed": len(case) == 0} for case in ElementTree.parse(report).iter("testcase")]
    with open(sys.argv[1], "w") as file:
        json.dump({"what": "tests with data of full size (BOXLITE_FULL_SIZE=1)", "cores": os.cpu_count(), "tests": tests}, file, indent=2)
        file.write("\n")
    return finished.returncode


if __name__ == "__main__":
    sys.exit(main())
