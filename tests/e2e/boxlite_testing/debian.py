"""Layers of a real Debian, made by its own tools once and kept in the cache of who runs the tests."""

import contextlib
import fcntl
import gzip
import hashlib
import os
import subprocess
import tempfile

import pytest

CACHE = os.path.expanduser("~/.cache/boxlite/test-images")


@contextlib.contextmanager
def made_once(path):
    """True while a file must be made: for one process at a time, and only until the file is there."""
    os.makedirs(CACHE, exist_ok=True)
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not os.path.exists(path)


def layer(variant, *packages):
    """(path, diff_id) of the only layer of a Debian with these packages, compressed by gzip. Skips the test when the mirror cannot
    be reached."""
    arguments = [f"--variant={variant}", f"--include={','.join(packages)}", "bookworm"]
    path = f"{CACHE}/debian-{variant}-{hashlib.sha256(' '.join(arguments).encode()).hexdigest()[:12]}.tar.gz"
    with made_once(path) as wanted:
        if wanted:
            _make(path, arguments)
    with open(f"{path}.diff_id") as file:
        return path, file.read()


def _make(path, arguments):
    with tempfile.TemporaryDirectory(dir=CACHE) as making:
        made = subprocess.run(["mmdebstrap", "--quiet", *arguments, f"{making}/debian.tar"], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL)
        if made.returncode != 0 and "Temporary failure resolving" in made.stderr:
            pytest.skip("Debian's mirror cannot be reached")
        assert made.returncode == 0, made.stderr
        subprocess.run(["gzip", "-n6", f"{making}/debian.tar"], check=True)
        with gzip.open(f"{making}/debian.tar.gz") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        with open(f"{path}.diff_id", "w") as file:
            file.write(digest)
        os.rename(f"{making}/debian.tar.gz", path)
