"""Boxes that stand still, and go on."""

import hashlib
import os
import signal
import time

import pytest
from boxlite_testing import census, identity
from boxlite_testing.fixtures import used_warm as boxlite  # noqa: F401
from boxlite_testing.waiting import wait_until

pytestmark = identity.by_root

COUNT = "i=0; while :; do i=$((i+1)); echo $i >/count.new; mv /count.new /count; sleep 0.1; done"


@pytest.fixture
def paused(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", "-p", "0:80", demo, "sh", "-c", COUNT)
    wait_until(lambda: boxlite("exec", "a", "cat", "/count").out, "it counts")
    assert boxlite.ok("pause", "a") == "a\n"
    return boxlite


def others_count_on(boxlite, demo, steps):
    """Waits while another box counts so many steps of a tenth of a second: what a box would count in that goes on."""
    boxlite.ok("run", "-d", "--name", "other", demo, "sh", "-c", COUNT)
    wait_until(lambda: int(boxlite("exec", "other", "cat", "/count").out or 0) >= steps, "another box counts")


def cpu_ticks(process):
    with open(f"/proc/{process.pid}/stat") as file:
        return sum(map(int, file.read().rsplit(")", 1)[1].split()[11:13]))


def test_a_paused_box_uses_no_cpu_and_goes_on_where_it_stood(paused, demo):
    assert paused.status("a") == "paused"
    assert "(Paused)" in paused.ok("ls") and paused.ok("ls", "-q", "--filter", "status=paused") and not paused.ok("ls", "-q", "--filter", "status=running")
    qemu = census.qemu(paused.home, paused.inspect("a")["id"])
    before = cpu_ticks(qemu)
    others_count_on(paused, demo, 20)
    assert cpu_ticks(qemu) - before <= 5, "hundredths of a second"
    assert paused.ok("unpause", "a") == "a\n" and paused.status("a") == "running"
    count = int(paused.ok("exec", "a", "cat", "/count"))
    assert count < 1000
    wait_until(lambda: int(paused.ok("exec", "a", "cat", "/count")) > count, "it counts on")


def test_the_clock_of_a_box_that_goes_on_is_the_hosts(paused, demo):
    others_count_on(paused, demo, 30)
    paused.ok("unpause", "a")
    before = time.time()
    told = float(paused.ok("exec", "a", "date", "+%s"))
    assert before - 2 < told < time.time() + 2


@pytest.mark.parametrize("command", [["exec", "a", "true"], ["top", "a"], ["cp", "a:/count", "-"], ["attach", "a"], ["start", "a"],
                                     ["kill", "-s", "TERM", "a"], ["pause", "a"], ["network", "tunnel", "a", "80"],
                                     ["network", "tunnel", "--listen", "0", "a", "80"], ["rm", "a"]], ids=" ".join)
def test_what_needs_an_answer_of_a_paused_box_is_refused_and_nothing_of_it_changes(paused, command):
    paused.refused(*command, mentions=["a is paused", "unpause"] if command[0] != "rm" else ["box a"])
    assert paused.status("a") == "paused"
    paused.ok("unpause", "a")
    assert paused.ok("exec", "a", "echo", "well") == "well\n"


@pytest.mark.parametrize("command", [["stop", "-t", "1", "a"], ["kill", "a"], ["rm", "-f", "a"], ["restart", "-t", "1", "a"]], ids=" ".join)
def test_a_paused_box_is_ended_as_any_other(paused, command):
    paused.ok(*command)
    if command[0] == "rm":
        assert paused.list() == []
    else:
        assert paused.status("a") == ("running" if command[0] == "restart" else "stopped")


@pytest.mark.parametrize("victim", ["shim", "qemu"])
def test_a_paused_box_whose_processes_are_killed_is_told_as_such(paused, victim):
    box_id = paused.inspect("a")["id"]
    process = paused.shim("a") if victim == "shim" else census.qemu(paused.home, box_id)
    process.kill(signal.SIGKILL)
    wait_until(lambda: paused.status("a") == "failed", "it has failed")
    paused.ok("start", "a")
    assert paused.status("a") == "running"


def test_what_is_not_running_or_not_paused_is_told(boxlite, demo):
    boxlite.ok("create", "--name", "a", demo, "sleep", "infinity")
    boxlite.refused("pause", "a", mentions="box a is not running")
    boxlite.refused("unpause", "a", mentions="box a is not running")
    boxlite.ok("start", "a")
    boxlite.refused("unpause", "a", mentions=["box a", "not paused"])
    boxlite.refused("pause", "nobody", mentions="no box named nobody")


def test_a_stream_goes_on_over_a_pause_with_every_byte(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
    size = 30 << 20
    reader = boxlite.spawn("exec", "a", "sh", "-c", f"head -c {size} /dev/zero | tr '\\0' x")
    begun = os.read(reader.stdout.fileno(), 1 << 16)
    for _ in range(3):
        boxlite.ok("pause", "a")
        boxlite.ok("unpause", "a")
    rest, _ = reader.communicate(timeout=300)
    assert reader.returncode == 0
    assert hashlib.sha256(begun + rest).hexdigest() == hashlib.sha256(b"x" * size).hexdigest()


def test_the_stats_of_all_leave_a_paused_box_out(paused):
    assert "a" not in paused.ok("stats", "--no-stream").split()
