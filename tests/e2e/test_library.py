"""A program that links the library ends in every way there is: detached boxes live, owner-bound ones end, no lock stays held."""

import os
import signal
import subprocess

import pytest
from boxlite_testing import census, identity, proc
from boxlite_testing.fixtures import used as boxlite  # noqa: F401
from boxlite_testing.waiting import wait_until

pytestmark = identity.by_user


def start(boxlite, demo, ending):
    """library_client with both boxes running."""
    client = boxlite.spawn(boxlite.home, demo, ending, program="library_client", stdin=subprocess.PIPE)
    line = client.stdout.readline()
    assert line == b"ready\n", client.stderr.read()
    return client


def statuses(boxlite):
    return {box["name"]: box["status"] for box in boxlite.list()}


def assert_bound_ends_and_detached_lives(boxlite):
    detached = boxlite.shim("detached")
    wait_until(lambda: statuses(boxlite)["bound"] in ("stopped", "failed"), "the owner-bound box has ended")
    assert statuses(boxlite)["detached"] == "running" and boxlite.shim("detached") == detached
    boxlite.ok("exec", "detached", "true")
    seen = boxlite.census()
    assert (seen.leases, seen.vm_locks, seen.shims, seen.vms) == (1, 1, 1, 1)
    for name in os.listdir(f"{boxlite.home}/locks"):
        assert not (name.endswith(".op") and proc.lock_held(f"{boxlite.home}/locks/{name}")), f"{name} is still held"
    boxlite.ok("start", "bound")
    boxlite.ok("exec", "bound", "true")
    boxlite.ok("rm", "-f", "bound", "detached")


@pytest.mark.parametrize("ending", ["exit", "abort", "killed"])
def test_boxes_end_or_live_as_they_were_started_when_their_program(boxlite, demo, ending):
    client = start(boxlite, demo, "wait" if ending == "killed" else ending)
    if ending == "killed":
        assert statuses(boxlite) == {"detached": "running", "bound": "running"}
        client.send_signal(signal.SIGKILL)
    client.wait(timeout=60)
    assert client.returncode == {"exit": 0, "abort": -signal.SIGABRT, "killed": -signal.SIGKILL}[ending]
    assert_bound_ends_and_detached_lives(boxlite)


def test_a_forked_child_that_executes_nothing_keeps_neither_locks_nor_boxes(boxlite, demo):
    client = start(boxlite, demo, "fork")
    child = proc.process(int(client.stdout.readline()))
    client.wait(timeout=60)
    assert child.alive()
    inside = os.path.realpath(boxlite.home)
    assert [link for link in proc.open_files(child.pid) if link.startswith(inside) and "/locks/" in link] == []
    assert_bound_ends_and_detached_lives(boxlite)
    assert child.alive(), "the child was to be there all the time"
    client.stdin.close()
    wait_until(lambda: not child.alive(), "the forked child has ended")


def test_nothing_is_left_of_a_program_that_was_killed_with_its_boxes_up(boxlite, demo):
    client = start(boxlite, demo, "wait")
    client.send_signal(signal.SIGKILL)
    client.wait(timeout=60)
    boxlite.ok("rm", "-f", "detached", "bound")
    boxlite.assert_nothing_left()
    assert census.processes(boxlite.home) == []
