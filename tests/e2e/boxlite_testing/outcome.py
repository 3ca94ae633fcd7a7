"""Which tests and modules have failed: what they used is kept. And what suites that break things have tried."""

import pytest

FAILED = pytest.StashKey()
TRIED = pytest.StashKey()  # lines that say what was tried, for the summary


def has_failed(request, name):
    return name in request.session.stash.get(FAILED, set())
