"""What is true of a home whenever nobody is at work in it, whatever has died before."""

import contextlib
import hashlib
import json
import os
import re
import sqlite3
import stat
import subprocess

from boxlite_testing import census
from boxlite_testing.waiting import wait_until

# A shim whose starter or VM was killed, or that is being stopped, needs a moment to see that and to end.
SETTLING = 60.0
_ALIVE = ("running", "unresponsive")
_SETTLED = ("created", "stopped", "failed", "suspended", *_ALIVE)


def settle(boxlite):
    """Waits until no box is on its way up or down and what the locks say, what runs and what `ls` says agree; returns the census
    and the boxes, as a new process lists them."""
    last = {}

    def look():
        boxes = boxlite.list()
        seen = boxlite.census()
        running = [box for box in boxes if box["status"] in _ALIVE]
        last.update(seen=seen, boxes=[(box["name"], box["status"], box["reason"]) for box in boxes])
        counts = (seen.leases, seen.shims, seen.vms, seen.vm_locks)
        if not all(box["status"] in _SETTLED for box in boxes) or counts != (len(running),) * len(counts):
            return None
        if seen.networks != sum(boxlite.inspect(box["id"])["options"]["network"] != "none" for box in running):
            return None
        # Nothing else belongs to the home: neither a helper of a command that was killed nor a part of a VM.
        everything = sum(1 + len(census.vm_processes(boxlite.home, box["id"])) for box in running)
        return (seen, boxes) if len(census.processes(boxlite.home)) == everything else None

    try:
        return wait_until(look, "boxes, locks and processes agree", SETTLING)
    except AssertionError as error:
        raise AssertionError(f"{error}; {last}; {census.processes(boxlite.home)}") from None


def check(boxlite):
    """Settles, and then wants every count equal: rows, directories, locks, processes, listeners, sockets, volumes, images."""
    seen, boxes = settle(boxlite)
    home = boxlite.home
    running = [box for box in boxes if box["status"] == "running"]
    details = {box["id"]: boxlite.inspect(box["id"]) for box in running}
    assert seen.rows == seen.directories == len(boxes), (seen, boxes)
    # That of a shim which was killed stays in its box's directory, until the next start or its removal.
    assert {box["id"] for box in running} <= _sockets(home) <= {box["id"] for box in boxes}, (_sockets(home), boxes)
    assert seen.listeners == sum(len(box["ports"]) for box in details.values()), (seen, details)
    assert seen.volume_servers == sum(len(box["mounts"]) for box in details.values()), (seen, details)
    ids = {box["id"] for box in boxes}
    assert set(os.listdir(f"{home}/boxes")) == ids
    locks = {name.split(".")[0] for name in os.listdir(f"{home}/locks")}
    assert {name for name in locks if re.fullmatch("[0-9a-f]{12}", name)} <= ids, f"locks of no box: {locks - ids}"
    for folder in ("tmp", "trash"):
        assert os.listdir(f"{home}/{folder}") == [], folder
    _check_database(home, ids)
    _check_images(home)


def _sockets(home):
    """The directories below boxes/ that hold one, or whatever else holds one."""
    return {parent.removeprefix(f"{home}/boxes/") for parent, _, files in os.walk(home) for name in files
            if stat.S_ISSOCK(os.lstat(f"{parent}/{name}").st_mode)}


def _check_database(home, ids):
    with contextlib.closing(sqlite3.connect(f"file:{home}/{census.DATABASE}?mode=ro", uri=True, timeout=30)) as database:
        assert database.execute("pragma integrity_check").fetchall() == [("ok",)]
        volumes = {name for name, in database.execute("select name from volumes")}
        uses = database.execute("select box_id, volume from volume_uses").fetchall()
        intents = database.execute("select name from boxes where remove_intent").fetchall()
    assert not intents, f"half removed: {intents}"
    assert {box for box, _ in uses} <= ids and {volume for _, volume in uses} <= volumes, (uses, ids, volumes)
    directories = set(os.listdir(f"{home}/volumes")) if os.path.isdir(f"{home}/volumes") else set()
    assert directories == volumes, f"volumes with a row: {volumes}, with files: {directories}"
    for name in volumes:
        assert os.stat(f"{home}/volumes/{name}/data").st_mode & 0o777 == 0o755, f"the box's users cannot reach volume {name}"


def _check_images(home):
    """Every blob is what its name says; every base is a file system without a fault and is not to be written to."""
    with contextlib.closing(sqlite3.connect(f"file:{home}/{census.DATABASE}?mode=ro", uri=True, timeout=30)) as database:
        images = [json.loads(info) for info, in database.execute("select info from images")]
    blobs = f"{home}/images/blobs/sha256"
    names = os.listdir(blobs) if os.path.isdir(blobs) else []
    for name in names:
        with open(f"{blobs}/{name}", "rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == name, f"blob {name} is not whole"
    for image in images:
        for digest in (image["id"], image["manifest_digest"], *image["layers"]):
            assert digest.removeprefix("sha256:") in names, f"blob {digest} of image {image['reference']} is not there"
        assert os.path.exists(f"{home}/bases/{image['id'].removeprefix('sha256:')}.ext4"), image["reference"]
    for name in os.listdir(f"{home}/bases"):
        path = f"{home}/bases/{name}"
        assert os.stat(path).st_mode & 0o777 == 0o444, name
        if name.startswith("import-"):
            continue  # not made here
        checked = subprocess.run(["e2fsck", "-fn", path], capture_output=True, text=True)
        assert checked.returncode == 0, f"{name}: {checked.stdout}{checked.stderr}"
