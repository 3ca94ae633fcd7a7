"""start, stop, kill, wait, logs, rm: what they do to a box and to its disk."""

import os
import subprocess
import time

from boxlite_testing import identity
from boxlite_testing.fixtures import used as boxlite  # noqa: F401
from boxlite_testing.waiting import wait_until

# A main command that says which signals it gets, and ends at TERM.
LISTENS = ("for s in HUP INT USR1 USR2; do trap \"echo got $s\" $s; done; trap 'echo got TERM; exit 3' TERM; "
           "echo ready; while :; do sleep 0.1; done")
IGNORES = "trap '' TERM; echo ready; while :; do sleep 0.1; done"


def ready(boxlite, box):
    wait_until(lambda: "ready" in boxlite.ok("logs", box), f"box {box} has printed ready")


def test_stop_sends_the_stop_signal_and_the_command_ends_the_box(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sh", "-c", LISTENS)
    ready(boxlite, "a")
    begun = time.monotonic()
    boxlite.ok("stop", "-t", "60", "a")
    assert time.monotonic() - begun < 50, "the grace was waited for although the command had ended"
    box = boxlite.inspect("a")
    assert (box["status"], box["exit_code"]) == ("stopped", 3)
    assert "got TERM" in boxlite.ok("logs", "a")
    assert boxlite.census().shims == 0
    boxlite.ok("stop", "a")  # once more is no error


def test_stop_kills_what_does_not_listen_after_the_grace(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sh", "-c", IGNORES)
    ready(boxlite, "a")
    begun = time.monotonic()
    boxlite.ok("stop", "-t", "2", "a")
    assert time.monotonic() - begun >= 2
    assert (boxlite.status("a"), boxlite.inspect("a")["exit_code"]) == ("stopped", 137)


def test_kill_and_rm_overtake_a_stop_that_waits(boxlite, demo):
    for name in ("a", "b"):
        boxlite.ok("run", "-d", "--name", name, demo, "sh", "-c", IGNORES)
        ready(boxlite, name)
    stops = {name: boxlite.spawn("stop", "-t", "600", name) for name in ("a", "b")}
    wait_until(lambda: {box["status"] for box in boxlite.list()} == {"stopping"}, "both boxes are stopping")
    boxlite.ok("kill", "a")
    boxlite.ok("rm", "-f", "b")
    for name, child in stops.items():
        child.communicate(timeout=60)
    assert boxlite.inspect("a")["exit_code"] == 137
    assert [box["name"] for box in boxlite.list()] == ["a"]


def test_kill_sends_the_named_signal_to_the_command(boxlite, user_image, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sh", "-c", LISTENS)
    ready(boxlite, "a")
    for name in ("HUP", "SIGUSR1", "12"):
        boxlite.ok("kill", "-s", name, "a")
    wait_until(lambda: all(f"got {name}\n" in boxlite.ok("logs", "a") for name in ("HUP", "USR1", "USR2")),
               "all three signals arrive")
    assert boxlite.status("a") == "running"
    boxlite.ok("kill", "a")
    assert boxlite.ok("wait", "a") == "137\n"
    assert boxlite.inspect("a")["exit_code"] == 137

    # The image's own stop signal.
    boxlite.ok("run", "-d", "--name", "b", user_image, "sh", "-c", "trap 'exit 8' USR1; echo ready; while :; do sleep 0.1; done")
    ready(boxlite, "b")
    boxlite.ok("stop", "-t", "60", "b")
    assert boxlite.inspect("b")["exit_code"] == 8


def check_disk(boxlite, box):
    """e2fsck of the stopped box's disk, read through qemu-img with every format said explicitly."""
    info = boxlite.inspect(box)
    raw = f"{boxlite.directory}/{box}.raw"
    bases = os.listdir(f"{boxlite.home}/bases")
    base, = [f"{boxlite.home}/bases/{name}" for name in bases if info["image_id"].split(":")[1] in name]
    overlay = (f'json:{{"driver":"qcow2","file":{{"driver":"file","filename":"{boxlite.home}/boxes/{info["id"]}/disk.qcow2"}},'
               f'"backing":{{"driver":"raw","file":{{"driver":"file","filename":"{base}"}}}}}}')
    subprocess.run(identity.as_user(["qemu-img", "convert", "-O", "raw", overlay, raw]), check=True)
    checked = subprocess.run(["e2fsck", "-fn", raw], capture_output=True, text=True)
    os.unlink(raw)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_stop_and_start_keep_the_disk_and_it_is_clean(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
    for round_number in range(3):
        boxlite.ok("exec", "a", "sh", "-c", f"echo {round_number} >>/root/kept; mkdir -p /var/many; cd /var/many; "
                                            "for i in $(seq 300); do echo $i >file$i; done; "
                                            "head -c 8000000 /dev/urandom >/root/big")
        boxlite.ok("stop", "-t", "1", "a")
        check_disk(boxlite, "a")
        boxlite.ok("start", "a")
    assert boxlite.ok("exec", "a", "cat", "/root/kept") == "0\n1\n2\n"
    assert boxlite.ok("exec", "a", "sh", "-c", "ls /var/many | wc -l").strip() == "300"
    assert boxlite.inspect("a")["generation"] == 4


def test_the_disk_of_a_command_that_ends_by_itself_is_clean(boxlite, demo):
    boxlite.ok("run", "--name", "a", demo, "sh", "-c", "head -c 8000000 /dev/urandom >/root/big; md5sum </root/big >/root/sum")
    check_disk(boxlite, "a")


def test_two_boxes_of_one_image_share_nothing_they_write(boxlite, demo):
    for name in ("a", "b"):
        boxlite.ok("run", "-d", "--name", name, demo, "sleep", "infinity")
        boxlite.ok("exec", name, "sh", "-c", f"echo {name} >/root/mine; sync")
    assert [boxlite.ok("exec", name, "cat", "/root/mine") for name in ("a", "b")] == ["a\n", "b\n"]


def test_logs_keep_both_streams_and_follow_until_the_end(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sh", "-c",
               "echo first; echo to-stderr >&2; until [ -e /tmp/go ]; do sleep 0.1; done; echo last")
    wait_until(lambda: boxlite("logs", "a").stderr == b"to-stderr\n", "the log has the first lines")
    assert boxlite.ok("logs", "a") == "first\n"
    follower = boxlite.spawn("logs", "-f", "a")
    assert follower.stdout.readline() == b"first\n"
    boxlite.ok("exec", "-d", "a", "touch", "/tmp/go")  # the end of PID 1 may be its own
    assert follower.communicate(timeout=60)[0] == b"last\n" and follower.returncode == 0
    assert boxlite.ok("logs", "a") == "first\nlast\n"


def test_wait_returns_the_exit_code_when_the_box_ends_and_at_once_afterwards(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sh", "-c", "until [ -e /tmp/go ]; do sleep 0.1; done; exit 42")
    waiter = boxlite.spawn("wait", "a")
    boxlite.ok("exec", "-d", "a", "touch", "/tmp/go")  # the end of PID 1 may be its own
    assert waiter.communicate(timeout=60)[0] == b"42\n"
    assert boxlite.ok("wait", "a") == "42\n"


def test_the_end_of_the_main_command_ends_the_box_and_its_other_commands(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sh", "-c", "until [ -e /tmp/go ]; do sleep 0.1; done")
    child = boxlite.spawn("exec", "a", "sh", "-c", "echo here; sleep 1000")
    assert child.stdout.readline() == b"here\n"
    boxlite.ok("exec", "-d", "a", "touch", "/tmp/go")  # the end of PID 1 may be its own
    boxlite.ok("wait", "a")
    child.communicate(timeout=60)
    assert child.returncode in (125, 137)
    assert boxlite.census().shims == 0 and boxlite.status("a") == "stopped"


def test_rm_refuses_a_running_box_and_says_how(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
    boxlite.refused("rm", "a", mentions=["a", "-f"])
    assert boxlite.status("a") == "running"
    boxlite.ok("stop", "-t", "1", "a")
    boxlite.ok("rm", "a")
    boxlite.assert_nothing_left()


def test_a_kept_box_can_be_used_from_a_home_that_was_moved(fresh, demo):
    fresh.ok("run", "--name", "a", demo, "sh", "-c", "echo kept >/root/kept")
    moved = f"{fresh.directory}/moved"
    os.rename(fresh.home, moved)
    fresh.home = fresh.environment["BOXLITE_HOME"] = moved
    fresh.ok("create", "--name", "b", demo, "cat", "/root/kept")
    fresh.ok("start", "a")
    assert fresh.ok("wait", "a") == "0\n"


def test_a_long_path_of_the_home_is_no_hindrance(fresh, demo):
    deep = os.path.join(fresh.directory, *["a-rather-long-name-of-a-folder"] * 6)
    os.makedirs(deep)
    identity.give(fresh.directory)
    fresh.home = fresh.environment["BOXLITE_HOME"] = f"{deep}/home"
    assert len(fresh.home) > 150
    fresh.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
    fresh.ok("exec", "a", "true")
    fresh.ok("rm", "-f", "a")
