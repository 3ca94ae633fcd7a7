"""The audit log of a box (docs/formats/audit.md)."""

import json
import os
import re
import signal

from boxlite_testing import identity
from boxlite_testing.fixtures import used as boxlite  # noqa: F401
from boxlite_testing.waiting import wait_until

pytestmark = identity.by_user


def events(boxlite, box):
    with open(f"{boxlite.home}/boxes/{boxlite.inspect(box)['id']}/audit.jsonl") as file:
        lines = [json.loads(line) for line in file]
    for line in lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", line["time"]), line
    assert sorted(line["time"] for line in lines) == [line["time"] for line in lines]
    return lines


def pick(line, *keys):
    return tuple(line[key] for key in keys)


def test_starts_execs_copies_and_ends_are_lines_with_who_and_why(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", "-e", "SECRET=canary", "-u", "app", demo, "sleep", "infinity")
    shim = boxlite.shim("a")
    client = boxlite.spawn("exec", "-e", "TOKEN=canary", "-u", "0", "a", "sh", "-c", "exit 3")
    assert client.wait(timeout=120) == 3
    assert boxlite("exec", "a", "no-such-command").code == 127
    boxlite.ok("cp", "a:/etc/passwd", f"{boxlite.directory}/passwd")
    boxlite.ok("cp", "/etc/hostname", "a:/tmp/")
    boxlite.ok("stop", "-t", "0", "a")
    start, first, second, out, into, stop = events(boxlite, "a")
    assert pick(start, "event", "generation", "command", "user", "privileged", "shim_pid", "uid") == \
        ("start", 1, ["sleep", "infinity"], "app", False, shim.pid, identity.UID)
    assert start["accelerator"] in ("kvm", "tcg")
    assert pick(first, "event", "generation", "command", "user", "pid", "uid") == ("exec", 1, ["sh", "-c", "exit 3"], "0", client.pid, identity.UID)
    assert pick(second, "event", "command") == ("exec", ["no-such-command"])
    assert pick(out, "event", "path") == ("copy_out", "/etc/passwd")
    assert pick(into, "event", "path") == ("copy_in", "/tmp/")
    assert pick(stop, "event", "generation", "failed", "code", "signal") == ("stop", 1, False, 137, 9)
    path = f"{boxlite.home}/boxes/{boxlite.inspect('a')['id']}/audit.jsonl"
    assert os.stat(path).st_mode & 0o777 == 0o600
    with open(path) as file:
        assert "canary" not in file.read()


def test_a_box_that_ends_by_itself_and_starts_again_goes_on_in_its_log(boxlite, demo):
    boxlite.ok("run", "--name", "a", demo, "true")
    boxlite.ok("start", "a")
    wait_until(lambda: boxlite.status("a") == "stopped", "it has ended again")
    assert [pick(line, "event", "generation") for line in events(boxlite, "a")] == [("start", 1), ("stop", 1), ("start", 2), ("stop", 2)]


def test_of_a_shim_that_was_killed_there_is_no_word_and_of_one_that_was_given_up_there_is(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
    shim = boxlite.shim("a")
    shim.kill(signal.SIGKILL)
    wait_until(lambda: boxlite.census().vm_locks == 0, "its VM is gone")
    boxlite.ok("start", "a")
    boxlite.shim("a").stop()
    boxlite.ok("stop", "-t", "0", "a")
    lines = events(boxlite, "a")
    assert [pick(line, "event", "generation") for line in lines] == [("start", 1), ("start", 2), ("stop", 2)]
    assert lines[-1]["reason"] == "killed by stop: its shim did not answer"


def test_connections_that_are_refused_are_told(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", "--allow-net", "192.0.2.1:80", demo, "sleep", "infinity")
    for target in (("169.254.169.254", "80"), ("198.51.100.7", "8080")):
        assert boxlite("exec", "a", "nc", "-w", "20", *target).code == 1

    def denied():
        return {line["connection"] for line in events(boxlite, "a") if line["event"] == "denied"}

    wait_until(lambda: denied() >= {"tcp to 169.254.169.254:80", "tcp to 198.51.100.7:8080"}, "both are told")


def test_a_fifo_in_the_place_of_a_log_keeps_nobody_waiting(boxlite, demo):
    """The shim's own log is begun anew; without an audit log a box runs."""
    boxlite.ok("create", "--name", "a", demo, "sleep", "infinity")
    directory = f"{boxlite.home}/boxes/{boxlite.inspect('a')['id']}"
    for name in ("shim.log", "audit.jsonl"):
        os.mkfifo(f"{directory}/{name}")
    boxlite.ok("start", "a")
    assert boxlite.ok("exec", "a", "echo", "here") == "here\n"
    boxlite.ok("rm", "-f", "a")
