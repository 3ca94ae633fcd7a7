"""The cgroup of a VM's processes on a host with cgroup v2. The guest's kernel has it whatever this host has, so boxlite's code runs in a
privileged box, as vm_cgroup_probe."""

import os

import pytest
from boxlite_testing import leftovers
from boxlite_testing.cli import BIN_DIR
from boxlite_testing.fixtures import used as boxlite  # noqa: F401

MIB = 1 << 20
# An ordinary user's as systemd delegates one: user/ is his, hands down what he may bound, and has no process of its own.
DELEGATE = """
cd /sys/fs/cgroup && mkdir -p user/session
echo '+memory +pids' >user/cgroup.subtree_control
chown app user user/cgroup.procs user/cgroup.subtree_control user/session user/session/cgroup.procs
echo $$ >user/session/cgroup.procs
cd / && exec su app -c "$0"
"""


@pytest.fixture(scope="module")
def box(home, demo):
    home.ok("run", "-d", "--privileged", "--name", "a", demo, "sleep", "infinity")
    home.ok("cp", os.path.join(BIN_DIR, "vm_cgroup_probe"), "a:/probe")
    yield home
    home.ok("rm", "-f", "a")


def as_root(bl, command):
    return bl("exec", "a", "sh", "-c", command)


def as_delegated_user(bl, command):
    return bl("exec", "a", "sh", "-c", DELEGATE, command)


WHO = {as_root: "/sys/fs/cgroup", as_delegated_user: "/sys/fs/cgroup/user"}
both = pytest.mark.parametrize("run", WHO, ids=lambda run: run.__name__)


def facts(finished):
    assert (finished.code, finished.err) == (0, ""), str(finished)
    return dict(line.split(": ", 1) for line in finished.out.splitlines())


@both
def test_the_place_is_the_highest_cgroup_that_is_ones_own_to_divide(box, run):
    assert facts(run(box, "/probe place")) == {"place": WHO[run]}


@both
def test_processes_are_bounded_from_their_first_moment_and_killed_together(box, run):
    seen = facts(run(box, "/probe bounds"))
    assert (seen["memory.max"], seen["memory.oom.group"], seen["pids.max"]) == (str(24 * MIB), "1", "8")
    assert seen["where"] == f"0::{WHO[run].removeprefix('/sys/fs/cgroup')}/boxlite/bounds"
    assert seen["processes"] == "8, then Resource temporarily unavailable"
    assert (seen["end of 8"], seen["before"]) == ("0", "killed false, own limit false")
    assert (seen["end of 64"], seen["end of bystander"]) == ("137", "137")
    assert (seen["after"], seen["directory"]) == ("killed true, own limit true", "gone")


@both
def test_what_a_killed_shim_has_left_is_found_ended_and_removed(box, run):
    left = f"{WHO[run]}/boxlite/left"
    assert "Killed" in run(box, f"/probe die left; test -d {left} && echo Killed").out
    seen = facts(run(box, "/probe remove left"))
    assert seen == {"removed": f"processes are left in the cgroup {left}", "directory": "gone"}


def test_a_user_to_whom_none_is_delegated_is_told_so(box):
    seen = facts(box("exec", "-u", "app", "a", "/probe", "place"))
    assert seen["none"].startswith("no cgroup from /sys/fs/cgroup/init/") and "is delegated to this user" in seen["none"]


@pytest.mark.parametrize("command", [["start", "a"], ["rm", "a"], ["gc"]], ids=lambda command: command[0])
def test_the_next_command_that_works_on_the_box_removes_what_its_shim_has_left(boxlite, demo, command):
    boxlite.ok("run", "--name", "a", demo, "true")
    left = leftovers.leave_cgroup(boxlite, "a")
    boxlite.ok(*command)
    assert not os.path.exists(left)
