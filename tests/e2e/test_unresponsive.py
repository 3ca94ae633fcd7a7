"""Boxes that do not answer, and boxes that are removed while something is done with them: what is said, and how soon."""

import fcntl
import os
import signal
import struct
import subprocess
import time

import pytest
from boxlite_testing import census, identity, proc
from boxlite_testing.fixtures import used as boxlite  # noqa: F401
from boxlite_testing.waiting import DEADLINE, wait_until

pytestmark = identity.by_root

CALLS = [["exec", "a", "true"], ["attach", "--no-stdin", "a"], ["top", "a"], ["kill", "a"], ["cp", "a:/etc/passwd", "-"],
         ["cp", "a:/etc/passwd", "/nonexistent/never"], ["cp", "/etc/passwd", "a:/tmp"]]


def told_at_once(boxlite, mentions):
    for call in CALLS:
        began = time.monotonic()
        boxlite.refused(*call, mentions=[*mentions, "boxlite rm -f a"])
        assert time.monotonic() - began < 8, f"{call}: not at once"


def test_a_stopped_shim_is_told_at_once_by_every_command(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
    boxlite.shim("a").stop()
    told_at_once(boxlite, ["box a does not answer: its shim is alive and silent"])


def test_a_stopped_qemu_is_told_at_once_by_every_command_with_the_way_to_let_it_go_on(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
    qemu = census.qemu(boxlite.home, boxlite.inspect("a")["id"])
    qemu.stop()
    told_at_once(boxlite, ["box a does not answer: its QEMU", f"kill -CONT {qemu.pid}"])
    qemu.kill(signal.SIGCONT)
    boxlite.ok("exec", "a", "true")


def test_a_copy_from_a_box_that_is_removed_meanwhile_says_so_by_name(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
    box = boxlite.inspect("a")["id"]
    copy = boxlite.spawn("cp", "a:/dev/zero", "-", stdout=subprocess.PIPE)
    endless = boxlite.spawn("exec", "a", "sh", "-c", "echo here; sleep 1000")
    assert endless.stdout.readline() == b"here\n"
    copy.communicate(timeout=DEADLINE)
    boxlite.ok("exec", "a", "dd", "if=/dev/zero", "of=/root/big", "bs=1M", "count=64")
    held = boxlite.spawn("cp", "a:/root/big", "-", stdout=subprocess.PIPE)
    assert held.stdout.read(1)  # it is in the middle, and nobody reads the rest
    boxlite.ok("rm", "-f", "a")
    for child in (held, endless):
        _, err = child.communicate(timeout=DEADLINE)
        assert child.returncode == 125 and b"box a" in err and b"removed" in err and box.encode() not in err, err


def test_a_restart_of_a_box_that_is_removed_meanwhile_says_so_by_name(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")  # as PID 1 it does not hear TERM
    restart = boxlite.spawn("restart", "-t", "100", "a")
    wait_until(lambda: boxlite.status("a") == "stopping", "the restart is at its stop")
    boxlite.ok("rm", "-f", "a")
    _, err = restart.communicate(timeout=DEADLINE)
    assert (restart.returncode, err) == (125, b"boxlite: box a was removed; `boxlite ls -a` lists those that are here\n")


def test_a_box_named_twice_is_removed_once(boxlite, demo):
    boxlite.ok("create", "--name", "a", demo)
    assert boxlite.ok("rm", "-f", "a", "a") == "a\n"
    boxlite.ok("create", "--name", "a", demo)
    finished = boxlite("rm", "a", "a")
    assert (finished.code, finished.out) == (125, "a\n") and len(finished.err.splitlines()) == 1 and "a" in finished.err, str(finished)
    boxlite.assert_nothing_left()


def test_a_forced_removal_of_what_is_not_there_is_no_error(boxlite):
    finished = boxlite("rm", "-f", "nosuch")
    assert (finished.code, finished.out, finished.err) == (0, "", ""), str(finished)
    boxlite.refused("rm", "nosuch", mentions="nosuch")


class Held:
    """A box's operation lock, as another command has it."""

    def __init__(self, boxlite, box):
        self._fd = os.open(f"{boxlite.home}/locks/{boxlite.inspect(box)['id']}.op", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.fcntl(self._fd, 37, struct.pack(proc._FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))  # F_OFD_SETLK

    def release(self):
        os.close(self._fd)


@pytest.mark.skipif(os.getuid() != 0, reason="the lock file is another user's")
def test_several_boxes_are_started_at_once_and_told_in_order(boxlite, demo):
    for name in ("b", "a"):
        boxlite.ok("create", "--name", name, demo, "sleep", "infinity")
    held = Held(boxlite, "b")
    start = boxlite.spawn("start", "b", "nosuch", "a")
    wait_until(lambda: boxlite.status("a") == "running", "a runs, although b, which comes first, is held up")
    assert boxlite.status("b") != "running"
    held.release()
    out, err = start.communicate(timeout=DEADLINE)
    assert (start.returncode, out) == (125, b"b\na\n") and len(err.splitlines()) == 1 and b"nosuch" in err, (out, err)


def test_several_boxes_are_waited_for_at_once(boxlite, demo):
    boxlite.ok("run", "-d", "-i", "--name", "a", demo, "sh", "-c", "read x; exit 7")
    boxlite.ok("run", "-d", "-i", "--rm", "--name", "b", demo, "sh", "-c", "read x; exit 3")
    waiter = boxlite.spawn("wait", "a", "b")
    wait_until(lambda: proc.open_files(waiter.pid).count("anon_inode:[pidfd]") == 2, "it waits for both")
    assert boxlite("attach", "b", input=b"\n").code == 3
    wait_until(lambda: [box["name"] for box in boxlite.list()] == ["a"], "b has removed itself")
    assert boxlite("attach", "a", input=b"\n").code == 7
    assert waiter.communicate(timeout=DEADLINE) == (b"7\n3\n", b"")


def test_a_box_whose_time_was_up_says_so(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", "--timeout", "1", demo, "sleep", "infinity")
    assert boxlite.ok("wait", "a") == "124\n"
    assert boxlite.inspect("a")["reason"] == "its time was up (--timeout 1)"
    assert "Exited (124)" in boxlite.ok("ls", "-a") and "its time was up (--timeout 1)" in boxlite.ok("ls", "-a")


def test_stats_of_a_box_ends_when_the_box_is_removed(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
    stats = boxlite.spawn("stats", "--format", "json", "a")
    assert b'"name":"a"' in stats.stdout.readline()
    boxlite.ok("rm", "-f", "a")
    _, err = stats.communicate(timeout=DEADLINE)
    assert (stats.returncode, err) == (125, b"boxlite: box a was removed; `boxlite ls -a` lists those that are here\n")


def test_the_reason_of_a_crash_quotes_the_console_of_this_start_only(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
    boxlite.ok("stop", "-t", "0", "a")
    console = f"{boxlite.home}/boxes/{boxlite.inspect('a')['id']}/console.log"
    with open(console, "ab") as file:
        file.write(b"words of an earlier start\n")
    boxlite.ok("start", "a")
    boxlite.shim("a").kill(signal.SIGKILL)
    wait_until(lambda: boxlite.status("a") == "failed", "the end is noticed")
    assert "words of an earlier start" not in boxlite.inspect("a")["reason"]
    with open(console + ".1", "rb") as file:
        assert file.read().endswith(b"words of an earlier start\n")


def test_space_of_what_is_removed_in_a_box_goes_back_to_the_host(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
    disk = f"{boxlite.home}/boxes/{boxlite.inspect('a')['id']}/disk.qcow2"
    before = os.stat(disk).st_blocks * 512
    boxlite.ok("exec", "a", "sh", "-c", "dd if=/dev/urandom of=/root/big bs=1M count=32 2>/dev/null; sync")
    assert os.stat(disk).st_blocks * 512 > before + (32 << 20)
    boxlite.ok("exec", "a", "sh", "-c", "rm /root/big; sync")
    wait_until(lambda: os.stat(disk).st_blocks * 512 < before + (8 << 20), "the space is back")
