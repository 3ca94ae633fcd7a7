"""Fixtures that the conftest of each folder of tests with boxes takes in: a home for one test, the test image, who has failed."""

import os
import shutil
import tempfile

import pytest

from boxlite_testing import identity, oci, outcome
from boxlite_testing.cli import Boxlite


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    report = (yield).get_result()
    if report.failed:
        item.session.stash.setdefault(outcome.FAILED, set()).update({item.nodeid, item.module.__name__})


@pytest.fixture
def boxlite(request):
    runner = Boxlite()
    yield runner
    runner.close(failed=outcome.has_failed(request, request.node.nodeid))


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
