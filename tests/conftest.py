"""What all tests have in common: a place for their files that nobody else changes.

pytest shuts the folder it shares with every other run of the same user (/tmp/pytest-of-NAME) whenever one begins; tests that open
theirs to the ordinary user they run the product as would find it shut in the middle.
"""

import os
import subprocess
import tempfile

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    if config.option.basetemp is None:
        directory = tempfile.mkdtemp(prefix="boxlite-tests-")
        os.chmod(directory, 0o755)
        config.option.basetemp = os.path.join(directory, "t")
        # Not by shutil: a guest makes trees deeper than it can follow.
        config.add_cleanup(lambda: subprocess.run(["rm", "-rf", directory], check=True))
