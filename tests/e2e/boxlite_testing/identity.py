"""Who the product runs as. A root test run may run it as an ordinary user: BOXLITE_TEST_USER names him (made on first use)."""

import os
import pwd
import subprocess

import pytest


def _user():
    name = os.environ.get("BOXLITE_TEST_USER", "")
    if not name:
        return None
    if os.geteuid() != 0:
        raise SystemExit("BOXLITE_TEST_USER needs a test run as root")
    try:
        return pwd.getpwnam(name)
    except KeyError:
        subprocess.run(["useradd", "--system", "--user-group", "--shell", "/bin/sh", "--home-dir", "/nonexistent", name],
                       check=True)
        return pwd.getpwnam(name)


USER = _user()
UID = USER.pw_uid if USER else os.geteuid()
GID = USER.pw_gid if USER else os.getegid()

# The tests themselves may look everywhere and mount things.
OBSERVER_IS_ROOT = os.geteuid() == 0
PRODUCT_IS_ROOT = UID == 0

# scripts/test.sh runs everything twice, side by side. What takes long and shows the same for both users is done by one of the two.
by_root = pytest.mark.skipif(USER is not None, reason="done by the run as oneself")
by_user = pytest.mark.skipif("BOXLITE_BESIDE_USER" in os.environ, reason="done by the run as an ordinary user")


def as_user(argv):
    """The command that runs argv as the product's user."""
    if USER is None:
        return list(argv)
    return ["/usr/bin/setpriv", f"--reuid={UID}", f"--regid={GID}", "--clear-groups", "--inh-caps=-all", *argv]


def give(path):
    """Makes a file or tree the product's user's own."""
    if USER is None:
        return path
    # Not by os.walk(): a guest makes trees deeper than it can follow.
    subprocess.run(["chown", "--recursive", "--no-dereference", f"{UID}:{GID}", path], check=True)
    return path
