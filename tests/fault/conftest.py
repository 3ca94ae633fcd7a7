"""Fixtures of the tests that break things.

boxlite   a home of its own for one test; removed afterwards, with the proof that nothing is left
folder    a folder of the test's that the product's user reaches and owns
demo      the test image as "oci:DIR"
trace     what the programs of one test reach of their failpoints
"""

import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "e2e"))
from boxlite_testing import outcome  # noqa: E402
from boxlite_testing.failpoints import Trace  # noqa: E402
from boxlite_testing.fixtures import boxlite, demo, folder, fresh, images, pytest_runtest_makereport  # noqa: E402, F401


def pytest_terminal_summary(terminalreporter, config):
    for line in config.stash.get(outcome.TRIED, []):
        terminalreporter.write_line(line)


@pytest.fixture
def trace():
    trace = Trace()
    yield trace
    trace.close()
