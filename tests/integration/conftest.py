"""Fixtures of the tests of images.

home    a home of its own for one test, for boxlite-image
work    a directory of the module's tests, readable by all, for image layouts
"""

import os
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "e2e"))
from boxlite_testing import identity  # noqa: E402
from image_testing.home import Home  # noqa: E402


def pytest_collection_modifyitems(items):
    """Beside a run as an ordinary user (scripts/test.sh) these are his, but for what only root's does."""
    here = os.path.dirname(__file__)
    for item in items:
        if str(item.path).startswith(here) and identity.by_root.mark not in item.iter_markers():
            item.add_marker(identity.by_user)


@pytest.fixture
def home():
    home = Home()
    yield home
    shutil.rmtree(home.path)


@pytest.fixture(scope="module")
def work():
    directory = tempfile.mkdtemp(prefix="boxlite-images-work-")
    os.chmod(directory, 0o755)
    yield directory
    shutil.rmtree(directory)
