"""How the end of a box is told to those who wait for it, and what may follow at once."""

import shutil
import time

import pytest
from boxlite_testing import oci, proc
from boxlite_testing.fixtures import used as boxlite  # noqa: F401
from boxlite_testing.waiting import DEADLINE, wait_until


def test_who_waits_for_a_box_that_is_removed_by_force_hears_that_it_was_killed(boxlite, demo):
    for _ in range(3):
        boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
        waiter = boxlite.spawn("wait", "a")
        follower = boxlite.spawn("run", "--name", "b", demo, "sleep", "infinity")
        wait_until(lambda: any(box["name"] == "b" and box["status"] == "running" for box in boxlite.list()), "b runs")
        wait_until(lambda: "anon_inode:[pidfd]" in proc.open_files(waiter.pid), "the waiter has found the box")
        boxlite.ok("rm", "-f", "a", "b")
        out, err = waiter.communicate(timeout=DEADLINE)
        # Its record may be gone before the waiter looks: then it says that the box was removed, and never that it crashed.
        assert out == b"137\n" or b"was removed" in err, (out, err)
        assert b"crashed" not in err
        _, err = follower.communicate(timeout=DEADLINE)
        assert follower.returncode == 137 or b"was removed" in err, (follower.returncode, err)
        assert b"crashed" not in err


def test_a_killed_box_can_be_removed_or_started_at_once(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
    boxlite.ok("kill", "a")
    assert boxlite.status("a") == "stopped"
    boxlite.ok("start", "a")
    boxlite.ok("kill", "-s", "KILL", "a")
    boxlite.ok("rm", "a")
    boxlite.assert_nothing_left()


def test_exec_into_a_box_whose_shim_is_stopped_says_so_soon(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
    boxlite.shim("a").stop()
    began = time.monotonic()
    boxlite.refused("exec", "a", "true", mentions=["box a does not answer", "rm -f a"])
    assert time.monotonic() - began < 40


def test_a_layout_directory_is_remembered_by_its_absolute_path(boxlite, demo, images):
    boxlite.ok("run", "--rm", "oci:demo", "true", cwd=images)
    assert f"oci:{images}/demo" in boxlite.ok("images")
    boxlite.refused("run", "--rm", "oci:demo", "true", mentions="/demo")  # from another directory


def test_a_layout_that_was_built_anew_is_run_as_it_is_now(boxlite, images):
    layout = f"{images}/rebuilt"

    def build(text):
        shutil.rmtree(layout, ignore_errors=True)
        oci.write_demo(layout, oci.Layer().file("version", text).tar())

    build("one")
    assert boxlite.ok("run", "--name", "old", f"oci:{layout}", "cat", "/version") == "one"
    build("two")
    assert boxlite.ok("run", "--rm", "--pull", "never", f"oci:{layout}", "cat", "/version") == "one"
    boxlite.ok("create", "--name", "new", f"oci:{layout}", "cat", "/version")
    for box, text in (("new", "two"), ("old", "one")):
        boxlite.ok("start", box)
        boxlite.ok("wait", box)
        assert boxlite.ok("logs", box).endswith(text)
    shutil.rmtree(layout)
    assert boxlite.ok("run", "--rm", f"oci:{layout}", "cat", "/version") == "two"


def test_a_path_as_an_image_is_told_how_a_layout_is_named(boxlite, images):
    boxlite.refused("run", f"{images}/demo", mentions=f"oci:{images}/demo")
    boxlite.refused("run", "./demo", mentions="oci:./demo")


@pytest.mark.parametrize("command, code", [("no-such-command", 127), ("/no/such", 127), ("/etc/passwd", 126), ("/etc", 126)])
def test_a_command_that_cannot_be_run_leaves_its_exit_code(boxlite, demo, command, code):
    boxlite.refused("run", "-d", "--name", "a", demo, command, code=code, mentions=["box a", command])
    assert boxlite.ok("wait", "a") == f"{code}\n"
    seen = boxlite.inspect("a")
    assert (seen["status"], seen["exit_code"]) == ("stopped", code) and command in seen["reason"], seen
    assert f"Exited ({code})" in boxlite.ok("ls", "-a")


def test_a_command_that_ran_out_of_memory_is_told_so(boxlite, demo):
    finished = boxlite("run", "--name", "a", "-m", "128m", demo, "tail", "/dev/zero")
    assert finished.code == 137, str(finished)
    seen = boxlite.inspect("a")
    assert seen["oom_killed"] and seen["exit_code"] == 137, seen
    assert "out of memory" in boxlite.ok("ls", "-a")
    boxlite.ok("start", "a")
    assert boxlite.ok("wait", "a") == "137\n"


@pytest.mark.parametrize("command", [["stop", "-t", "600"], ["restart", "-t", "600"]])
def test_several_boxes_are_stopped_at_once_and_told_in_order(boxlite, demo, command):
    names = ["b", "c", "a"]
    for name in names:
        boxlite.ok("run", "-d", "--name", name, demo, "sleep", "infinity")  # as PID 1 it does not hear TERM
    child = boxlite.spawn(*command, "b", "nosuch", "c", "a")
    wait_until(lambda: [box["status"] for box in boxlite.list()] == ["stopping"] * 3, "all of them are asked to end, not one after another")
    assert boxlite.ok("kill", *names) == "b\nc\na\n"
    out, err = (text.decode() for text in child.communicate(timeout=DEADLINE))
    assert (child.returncode, out) == (125, "b\nc\na\n"), (out, err)
    assert len(err.splitlines()) == 1 and "nosuch" in err, err
    assert {box["status"] for box in boxlite.list()} == {"stopped" if command[0] == "stop" else "running"}
    if command[0] == "restart":
        assert boxlite.ok("kill", *names) == "b\nc\na\n"
    assert boxlite.ok("rm", "-f", *names) == "b\nc\na\n"
    boxlite.assert_nothing_left()


def test_help_in_all_its_forms(boxlite):
    overview = boxlite.ok("--help")
    assert boxlite.ok() == overview and boxlite.ok("help") == overview
    assert boxlite.ok("help", "run") == boxlite.ok("run", "--help")


CPU_LIMITS = """
cd /sys/fs/cgroup && mkdir init limited && for pid in $(cat cgroup.procs); do echo $pid >init/cgroup.procs 2>/dev/null; done
echo +cpu >cgroup.subtree_control || exit 1
while :; do :; done &
while :; do :; done &
for i in $(seq 2000); do echo 50000 100000 >limited/cpu.max; echo max 100000 >limited/cpu.max; done
kill %1 %2
echo lives
"""


def test_limits_of_cpu_time_that_come_and_go_do_not_end_a_box_with_two_cpus(boxlite, demo):
    """The kernel must not patch its own code for it: QEMU's TCG lost such a change on its way to the other CPU."""
    boxlite.ok("run", "-d", "--name", "a", "--privileged", "--cpus", "2", demo, "sleep", "infinity")
    assert boxlite.ok("exec", "a", "sh", "-c", CPU_LIMITS) == "lives\n"
