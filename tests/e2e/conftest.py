"""Fixtures of the end-to-end tests.

boxlite     a home of its own for one test (fresh); removed afterwards, with the proof that nothing is left. Many modules take
            `used` or `used_warm` for it: a home that tests before have used (boxlite_testing/homes.py)
folder      a folder of the test's that the product's user reaches and owns
home        the same for all tests of a module, which leave no box behind themselves (run --rm)
shared      one home for the tests of a module, with one running box `box`; for tests that disturb nobody
demo        the test image as "oci:DIR": busybox, a few users, EXPOSE of three ports
registry    a real docker-registry holding it in several forms
"""

import os
import shutil
import tempfile

import pytest
from boxlite_testing import identity, oci, outcome
from boxlite_testing.cli import BIN_DIR
from boxlite_testing.fixtures import boxlite, demo, folder, fresh, homes, images, pytest_runtest_makereport, used, used_warm  # noqa: F401
from boxlite_testing.registry import Registry


def pytest_report_header():
    who = identity.USER.pw_name if identity.USER else f"uid {identity.UID}"
    return f"boxlite: {BIN_DIR}, run as {who}"


def pytest_sessionstart():
    for program in ("boxlite", "boxlite-shim"):
        if not os.access(os.path.join(BIN_DIR, program), os.X_OK):
            pytest.exit(f"{os.path.join(BIN_DIR, program)} is missing: run make first", returncode=4)


@pytest.fixture(scope="module")
def home(request, homes):
    runner = homes.take()
    yield runner
    homes.give_back(runner, outcome.has_failed(request, request.module.__name__))


@pytest.fixture(scope="module")
def shared(request, homes, demo):
    runner = homes.take()
    runner.ok("run", "-d", "--name", "box", "-e", "FROM_BOX=yes", demo, "sleep", "infinity")
    yield runner
    homes.give_back(runner, outcome.has_failed(request, request.module.__name__))


@pytest.fixture(scope="session")
def entrypoint_image(images):
    return "oci:" + oci.write_demo(f"{images}/entrypoint", Entrypoint=["echo", "entry"], Cmd=["from-cmd"])


@pytest.fixture(scope="session")
def user_image(images):
    return "oci:" + oci.write_demo(f"{images}/user", User="app", WorkingDir="/home/app", StopSignal="SIGUSR1")


@pytest.fixture(scope="session")
def registry(demo):
    server = Registry()
    server.demo = server.push(demo[len("oci:"):], "demo:latest")
    server.schema2 = server.push(demo[len("oci:"):], "schema2:latest", schema2=True)
    yield server
    server.close()
