"""Fixtures that the conftest of each folder of tests with boxes takes in: a home for one test, the test image, who has failed.

A module whose tests want no more of a home than room for boxes of the test image says so, and goes through far faster:

    from boxlite_testing.fixtures import used as boxlite    # or used_warm, where going on from templates is what is tested
"""

import os
import shutil
import tempfile

import pytest

from boxlite_testing import identity, oci, outcome
from boxlite_testing.cli import Boxlite
from boxlite_testing.homes import Homes


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    report = (yield).get_result()
    if report.failed:
        item.session.stash.setdefault(outcome.FAILED, set()).update({item.nodeid, item.module.__name__})


@pytest.fixture
def fresh(request):
    """A home of its own, which does not exist yet."""
    runner = Boxlite()
    yield runner
    runner.close(failed=outcome.has_failed(request, request.node.nodeid))


@pytest.fixture
def boxlite(fresh):
    return fresh


@pytest.fixture(scope="session")
def homes(demo):
    homes = Homes(demo)
    yield homes
    homes.close()


@pytest.fixture
def used(request, homes):
    """As `boxlite`, in a home that other tests have used before."""
    runner = homes.take()
    yield runner
    homes.give_back(runner, outcome.has_failed(request, request.node.nodeid))


@pytest.fixture
def used_warm(used):
    """As `used`; boxes go on from templates, in a run in which all others boot too (BOXLITE_TEST_COLD=all: these boot as well)."""
    if os.environ.get("BOXLITE_TEST_COLD") != "all":
        used.environment.pop("BOXLITE_COLD", None)
    return used


@pytest.fixture
def folder(tmp_path):
    """A folder that the product's user reaches and owns."""
    for parent in (tmp_path, tmp_path.parent):
        parent.chmod(0o755)
    path = tmp_path / "host"
    path.mkdir()
    identity.give(str(path))
    return path


@pytest.fixture(scope="session")
def images():
    """A directory for image layouts, readable by all."""
    directory = tempfile.mkdtemp(prefix="boxlite-images-")
    os.chmod(directory, 0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def demo(images):
    return "oci:" + oci.write_demo(f"{images}/demo")
