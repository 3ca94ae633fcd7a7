"""A newer boxlite beside the boxes of an older one: its database has a schema more, its shim is another (build/next)."""

import contextlib
import json
import os
import socket
import sqlite3

import pytest
from boxlite_testing import census, invariants
from boxlite_testing.cli import BIN_DIR
from boxlite_testing.waiting import wait_until

NEXT = os.path.abspath(os.path.join(BIN_DIR, "..", "next", "boxlite"))
NEXT_SHIM = os.path.realpath(os.path.join(os.path.dirname(NEXT), "boxlite-shim"))


def schema(boxlite):
    with contextlib.closing(sqlite3.connect(f"{boxlite.home}/{census.DATABASE}", timeout=30)) as database:
        return database.execute("PRAGMA user_version").fetchone()[0]


@pytest.fixture
def newer(boxlite):
    """The newer program on the same home."""
    return lambda *arguments, **options: boxlite.ok(*arguments, program=NEXT, **options)


def shim_program(boxlite, box):
    return os.readlink(f"/proc/{boxlite.shim(box).pid}/exe")


def test_a_newer_boxlite_lists_enters_stops_starts_and_removes_the_boxes_of_an_older_one(boxlite, newer, demo, folder):
    boxlite.ok("run", "-d", "--name", "running", "-p", "0:80", "-v", "kept:/kept", demo, "sh", "-c", "echo word; sleep infinity")
    boxlite.ok("run", "-d", "--rm", "--name", "passing", demo, "sh", "-c", "while [ ! -e /tmp/go ]; do sleep 0.1; done")
    boxlite.ok("run", "-d", "--rm", "--name", "killed", demo, "sleep", "infinity")
    boxlite.ok("create", "--name", "made", demo, "echo", "made by the older")
    assert boxlite("run", "--name", "ended", demo, "sh", "-c", "exit 7").code == 7
    wait_until(lambda: boxlite.ok("logs", "running") == "word\n", "it has spoken")
    older = schema(boxlite)
    told = json.loads(boxlite.ok("inspect", "running", "made", "ended"))

    # It changes the database with the first command, under boxes that run.
    listed = {box["name"]: (box["status"], box["exit_code"]) for box in json.loads(newer("ls", "-a", "--format", "json"))}
    assert schema(boxlite) == older + 1
    assert listed == {"running": ("running", None), "passing": ("running", None), "killed": ("running", None),
                      "made": ("created", None), "ended": ("stopped", 7)}
    seen = json.loads(newer("inspect", "running", "made", "ended"))
    assert [{key: box[key] for key in ("id", "name", "status", "ports", "options", "created_at")} for box in seen] == \
        [{key: box[key] for key in ("id", "name", "status", "ports", "options", "created_at")} for box in told]
    assert newer("exec", "running", "echo", "here") == "here\n" and newer("logs", "running") == "word\n"
    (folder / "file").write_text("file\n")
    newer("cp", folder / "file", "running:/kept/file")
    assert "running" in newer("stats", "--no-stream", "running") and "sleep infinity" in newer("top", "running")
    assert newer("port", "running") == boxlite.ok("port", "running")
    newer("rename", "running", "renamed")

    # What the older shims do by themselves, they do in the newer database.
    newer("exec", "passing", "touch", "/tmp/go")
    newer("kill", "killed")
    wait_until(lambda: {box["name"] for box in boxlite.list()} == {"renamed", "made", "ended"}, "boxes with --rm are gone")

    # The same box with either shim; its disk, volume and name stay.
    assert "next" not in shim_program(boxlite, "renamed")
    newer("stop", "-t", "1", "renamed")
    newer("start", "renamed")
    assert shim_program(boxlite, "renamed") == NEXT_SHIM
    assert newer("exec", "renamed", "cat", "/kept/file") == boxlite.ok("exec", "renamed", "cat", "/kept/file") == "file\n"
    assert boxlite.status("renamed") == "running" and schema(boxlite) == older + 1
    boxlite.ok("stop", "-t", "1", "renamed")
    newer("start", "made")
    assert newer("wait", "made") == "0\n" and newer("logs", "made") == "made by the older\n"
    assert boxlite.ok("run", "--rm", demo, "echo", "older beside newer") == "older beside newer\n"
    assert newer("doctor", "--format", "json") is not None
    invariants.check(boxlite)

    newer("rm", "-f", "renamed", "made", "ended")
    newer("volume", "rm", "kept")
    boxlite.assert_nothing_left()


def test_what_only_a_newer_shim_can_do_is_refused_by_an_older_one_with_what_to_do(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
    path = f"{boxlite.home}/boxes/{boxlite.inspect('a')['id']}/portal.sock"
    for said in (b"control 2\n", b"agent 2\n", b'control 1\n{"call":"of the future"}\n'):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(said)
            error = json.loads(client.makefile().readline())["error"]
        assert error["code"] == "unsupported" and "start it again" in error["message"], error
    assert boxlite.ok("exec", "a", "echo", "here") == "here\n"


def test_a_database_that_an_older_boxlite_must_not_touch_is_left_alone(boxlite, newer, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
    newer("ls")
    with contextlib.closing(sqlite3.connect(f"{boxlite.home}/{census.DATABASE}", timeout=30)) as database, database:
        database.execute("UPDATE compatibility SET schema = (SELECT user_version FROM pragma_user_version)")
    for verb in (["ls"], ["exec", "a", "true"], ["rm", "-f", "a"]):
        boxlite.refused(*verb, mentions=[f"{boxlite.home}/{census.DATABASE}", "newer boxlite", "update this program"])
    assert newer("exec", "a", "echo", "here") == "here\n"
    newer("rm", "-f", "a")
    with contextlib.closing(sqlite3.connect(f"{boxlite.home}/{census.DATABASE}", timeout=30)) as database, database:
        database.execute("UPDATE compatibility SET schema = 3")
    boxlite.assert_nothing_left()
