"""Canaries planted where secrets go are looked for wherever somebody else could read them."""

import base64
import errno
import os
import secrets
import shutil
import stat
import subprocess
import threading
import time

import pytest
from boxlite_testing import identity, oci, proc
from boxlite_testing.fixtures import used as boxlite  # noqa: F401
from boxlite_testing.registry import Registry

pytestmark = identity.by_user


STARTED = time.time() - 1


def forms(canary, *more):
    return [text.encode() for text in (canary, *more)]


def process_hits(needles, own=frozenset()):
    """Processes with a needle in their command line or environment."""
    hits = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in ("cmdline", "environ"):
            try:
                with open(f"/proc/{pid}/{name}", "rb") as file:
                    data = file.read()
            except (FileNotFoundError, PermissionError, ProcessLookupError):
                continue
            if int(pid) not in own and any(needle in data for needle in needles):
                hits.append(f"/proc/{pid}/{name}: {proc.process(int(pid))}")
    return hits


def file_hits(folder, needles, wanted=lambda info: True):
    """Files below `folder` with a needle in them; holes of sparse files are skipped over."""
    hits = []
    # Not os.walk(), which cannot follow a tree as deep as the ones that a guest of another suite makes.
    found = subprocess.run(["find", folder, "-type", "f", "-print0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    for path in map(os.fsdecode, filter(None, found.split(b"\0"))):
        try:
            if wanted(os.lstat(path)) and any(needle in data for data in pieces(path) for needle in needles):
                hits.append(path)
        except (FileNotFoundError, PermissionError):
            continue
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
    return hits


def pieces(path):
    """The file's data, in overlapping pieces."""
    with open(path, "rb") as file:
        position, end = 0, os.fstat(file.fileno()).st_size
        while position < end:
            try:
                position = os.lseek(file.fileno(), position, os.SEEK_DATA)
            except OSError:
                return
            yield os.pread(file.fileno(), (1 << 20) + 256, position)
            position += 1 << 20


def assert_no_trace(boxlite, needles, allowed=()):
    assert process_hits(needles) == []
    assert [path for path in file_hits(boxlite.home, needles) if path not in allowed] == []
    public = lambda info: info.st_uid == identity.UID and info.st_mode & 0o044 and info.st_mtime >= STARTED
    assert [path for folder in ("/tmp", "/dev/shm", "/var/tmp") for path in file_hits(folder, needles, public)] == []


@pytest.mark.skipif(not identity.OBSERVER_IS_ROOT, reason="only root sees the environment of every process")
def test_a_value_given_by_name_is_in_no_command_line_environment_log_or_shared_file(boxlite, demo):
    canary = "canary" + secrets.token_hex(16)
    needles = forms(canary)
    boxlite.ok("run", "-d", "--name", "a", "-e", "TOKEN", demo, "sleep", "infinity", environment={"TOKEN": canary})
    box = boxlite.inspect("a")
    kept = f"{boxlite.home}/boxes/{box['id']}/secrets"
    assert boxlite.ok("exec", "a", "sh", "-c", "echo $TOKEN") == canary + "\n"

    assert file_hits(boxlite.home, needles) == [kept], "the one place it may be kept at"
    assert os.stat(kept).st_mode & 0o777 == 0o600 and os.stat(boxlite.home).st_mode & 0o777 == 0o700
    assert_no_trace(boxlite, needles, allowed=[kept])

    boxlite.ok("stop", "-t", "1", "a")
    boxlite.ok("start", "a")
    assert boxlite.ok("exec", "a", "sh", "-c", "echo $TOKEN") == canary + "\n"
    assert_no_trace(boxlite, needles, allowed=[kept])

    boxlite.ok("rm", "-f", "a")
    assert_no_trace(boxlite, needles)


def test_the_shim_is_called_by_its_name_and_the_box_id_and_nothing_else(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", "-e", "SECRET=1", demo, "sleep", "infinity")
    assert boxlite.shim("a").argv == ("boxlite-shim", boxlite.inspect("a")["id"])


@pytest.mark.skipif(not identity.OBSERVER_IS_ROOT, reason="only root sees the environment of every process")
def test_a_registry_password_is_in_no_command_line_environment_log_or_shared_file(boxlite, images):
    canary = "canary" + secrets.token_hex(16)
    needles = forms(canary, base64.b64encode(f"tester:{canary}".encode()).decode())
    server = Registry(password=canary)
    try:
        reference = server.push(oci.write_demo(f"{images}/private"), "private/demo:latest")
        boxlite.refused("pull", reference, mentions=[reference.split("/")[0]])
        config = os.path.dirname(server.write_docker_config(f"{boxlite.directory}/docker"))
        identity.give(config)

        seen, over = [], threading.Event()

        def watch():
            while not over.is_set():
                seen.extend(process_hits(needles))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            boxlite.ok("pull", reference, environment={"DOCKER_CONFIG": config})
        finally:
            over.set()
            watcher.join()
        assert seen == []
        shutil.rmtree(config)
        boxlite.ok("run", "-d", "--name", "a", reference, "sleep", "infinity")
        assert_no_trace(boxlite, needles)
        boxlite.ok("rm", "-f", "a")
        assert_no_trace(boxlite, needles)
    finally:
        server.close()


def test_the_files_of_a_home_are_for_its_owner_alone(shared):
    open_to_others = [os.path.join(parent, name) for parent, folders, files in os.walk(shared.home) for name in folders + files
                      if os.lstat(os.path.join(parent, name)).st_mode & 0o002]
    assert open_to_others == []
    assert os.stat(shared.home).st_mode & 0o077 == 0
