"""Boxes that are paused to disk: the machine is written down and ends, and the next start goes on where it stood."""

import glob
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import time

import pytest
from boxlite_testing import census, connections, identity
from boxlite_testing.failpoints import Trace
from boxlite_testing.fixtures import used_warm as boxlite  # noqa: F401
from boxlite_testing.registry import free_port
from boxlite_testing.waiting import wait_until

pytestmark = identity.by_user

BULK = 600  # under TCG each megabyte takes a slow host 0.7 s of CPU, of which another suite has the half
COUNT = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done"


def counted(boxlite, box="a"):
    return [int(line) for line in boxlite.ok("logs", box).split()]


def suspend(boxlite, box="a"):
    assert boxlite.ok("pause", "--to-disk", box) == f"{box}\n"
    assert boxlite.status(box) == "suspended"


def counts_on(boxlite, box="a"):
    seen = len(counted(boxlite, box))
    wait_until(lambda: len(counted(boxlite, box)) > seen + 3, "it counts on")


@pytest.fixture
def counting(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sh", "-c", COUNT)
    wait_until(lambda: len(counted(boxlite)) > 3, "it counts")
    return boxlite


def test_a_box_goes_on_where_it_stood_time_after_time(counting):
    counting.ok("exec", "a", "sh", "-c", "echo in-memory >/dev/shm/word; echo on-disk >/word; sleep 10000 & echo $! >/pid")
    before = counting.ok("exec", "a", "sh", "-c", "cat /proc/sys/kernel/random/boot_id; hostname")
    for _ in range(3):
        suspend(counting)
        seen = counted(counting)
        assert counted(counting) == seen, "nothing runs"
        assert counting.ok("start", "a") == "a\n" and counting.status("a") == "running"
        counts_on(counting)
        assert counting.ok("exec", "a", "sh", "-c", "cat /dev/shm/word /word; kill -0 $(cat /pid) && echo lives") == "in-memory\non-disk\nlives\n"
    assert counting.ok("exec", "a", "sh", "-c", "cat /proc/sys/kernel/random/boot_id; hostname") == before, "it is the same boot"
    seen = counted(counting)
    assert seen == list(range(1, len(seen) + 1)), "not a line is lost or told twice"
    assert counting.inspect("a")["generation"] == 4


def test_it_holds_nothing_of_the_machine_but_its_files(counting):
    box_id = counting.inspect("a")["id"]
    suspend(counting)
    assert census.processes(counting.home) == []
    assert counting.ok("ls", "-q") == "" and "Suspended" in counting.ok("ls", "-a")
    assert counting.ok("ls", "-aq", "--filter", "status=suspended").strip() == box_id
    for file in ("checkpoint.json", "memory", "device-state"):
        assert os.stat(f"{counting.home}/boxes/{box_id}/{file}").st_mode & 0o077 == 0 or os.stat(f"{counting.home}").st_mode & 0o077 == 0
    counting.ok("start", "a")
    left = set(os.listdir(f"{counting.home}/boxes/{box_id}"))
    assert not left & {"checkpoint.json", "device-state"}, "a checkpoint is used once"
    counting.ok("stop", "-t", "0", "a")
    assert "memory" not in os.listdir(f"{counting.home}/boxes/{box_id}")


@pytest.mark.parametrize("words,mentions", [(("exec", "a", "true"), "is paused to disk; start it"), (("pause", "--to-disk", "a"), "is paused to disk; start it"),
                                            (("pause", "a"), "is paused to disk; start it"), (("unpause", "a"), "is paused to disk; start it"),
                                            (("kill", "a"), "is paused to disk; start it"), (("wait", "a"), "its command has not ended")], ids=lambda words: " ".join(words) if isinstance(words, tuple) else "")
def test_what_needs_the_machine_says_that_it_is_on_the_disk(boxlite, demo, words, mentions):
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "10000")
    suspend(boxlite)
    boxlite.refused(*words, mentions=["box a", mentions])
    assert boxlite.ok("stop", "a") == "a\n" and boxlite.status("a") == "suspended", "there is nothing to stop"
    boxlite.ok("rename", "a", "b")
    boxlite.ok("start", "b")
    assert boxlite.ok("exec", "b", "echo", "well") == "well\n"
    suspend(boxlite, "b")
    boxlite.ok("rm", "b")


def test_what_cannot_be_paused_is_refused_and_goes_on(boxlite, demo):
    boxlite.refused("pause", "--to-disk", "nobody", mentions="no box named nobody")
    boxlite.ok("create", "--name", "a", demo, "sh", "-c", COUNT)
    boxlite.refused("pause", "--to-disk", "a", mentions="box a is not running; start it")
    boxlite.ok("start", "a")
    boxlite.ok("pause", "a")
    boxlite.refused("pause", "--to-disk", "a", mentions=["box a is paused", "unpause"])
    boxlite.ok("unpause", "a")
    counts_on(boxlite)


def test_a_box_with_volumes_is_not_paused_to_disk_and_says_why(boxlite, demo, folder):
    boxlite.ok("run", "-d", "--name", "a", "-v", f"{folder}:/data", demo, "sh", "-c", COUNT)
    boxlite.refused("pause", "--to-disk", "a", mentions=["box a", "it has volumes", "snapshot of its disk alone"])
    counts_on(boxlite)
    assert boxlite.ok("exec", "a", "sh", "-c", "echo x >/data/f; cat /data/f") == "x\n"


def test_the_clock_is_the_hosts_and_a_time_limit_counts_what_was_run(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "10000")
    suspend(boxlite)
    time.sleep(3)
    boxlite.ok("start", "a")
    before = time.time()
    assert before - 2 < float(boxlite.ok("exec", "a", "date", "+%s")) < time.time() + 2


def test_ports_are_free_meanwhile_and_lead_into_the_box_again(boxlite, demo):
    port = free_port()
    boxlite.ok("run", "-d", "--name", "a", "-p", f"127.0.0.1:{port}:80", demo, "sh", "-c", "while :; do echo answer | nc -l -p 80; done")

    def answer():
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                return connection.makefile().readline()
        except OSError:
            return ""
    wait_until(lambda: answer() == "answer\n", "it answers")
    for _ in range(2):
        suspend(boxlite)
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", port))
            other.listen()
            boxlite.refused("start", "a", mentions=[str(port)])
        assert boxlite.status("a") == "suspended"
        boxlite.ok("start", "a")
        wait_until(lambda: answer() == "answer\n", "it answers again")
    assert boxlite.ok("exec", "a", "sh", "-c", "ip -4 -o addr show eth0 | wc -l") == "1\n"


def test_a_command_of_exec_goes_on_and_what_it_writes_is_whole(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", "--memory", "256m", demo, "sleep", "10000")
    size = 100 << 20
    client = boxlite.spawn("exec", "a", "sh", "-c", f"head -c {size} /dev/urandom | tee /written | sha256sum >/sum; echo done >/over")
    wait_until(lambda: boxlite("exec", "a", "stat", "-c", "%s", "/written").out.strip() not in ("", "0"), "it writes")
    suspend(boxlite)
    out, err = client.communicate(timeout=60)
    assert client.returncode != 0 and b"a" in err, (out, err)
    boxlite.ok("start", "a")
    suspend(boxlite)
    boxlite.ok("start", "a")
    wait_until(lambda: boxlite("exec", "a", "cat", "/over").out == "done\n", "it comes to its end", BULK)
    assert boxlite.ok("exec", "a", "sh", "-c", "stat -c %s /written; sha256sum </written | diff - /sum && echo same", timeout=BULK) == f"{size}\nsame\n"


def test_a_session_is_found_again(boxlite, demo):
    boxlite.ok("run", "-d", "-i", "--name", "a", demo, "sh", "-c", "echo ready; read line; echo got $line; sleep 10000")
    wait_until(lambda: "ready" in boxlite.ok("logs", "a"), "it waits for a line")
    suspend(boxlite)
    boxlite.ok("start", "a")
    client = boxlite.spawn("attach", "a", stdin=subprocess.PIPE)
    client.stdin.write(b"word\n")
    client.stdin.flush()
    wait_until(lambda: "got word" in boxlite.ok("logs", "a"), "it has read the line")


def test_a_box_that_removes_itself_stays_while_it_is_on_the_disk(boxlite, demo):
    boxlite.ok("run", "-d", "--rm", "--name", "a", demo, "sh", "-c", "until test -e /end; do sleep 0.1; done")
    suspend(boxlite)
    boxlite.ok("start", "a")
    boxlite.ok("exec", "a", "touch", "/end")
    wait_until(lambda: boxlite.list() == [] and boxlite.census().shims == 0, "it has removed itself")


def test_a_command_line_that_runs_it_says_what_has_become_of_it(boxlite, demo):
    client = boxlite.spawn("run", "--name", "a", demo, "sh", "-c", COUNT)
    wait_until(lambda: boxlite("logs", "a").out.count("\n") > 3, "it counts")
    suspend(boxlite)
    out, err = client.communicate(timeout=60)
    assert client.returncode != 0 and b"paused to disk" in err, err
    assert [int(line) for line in out.split()] == counted(boxlite), "what it said before has come"


def test_a_privileged_box_and_one_with_two_cpus(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", "--privileged", "--cpus", "2", "--network", "none", demo, "sh", "-c", COUNT)
    wait_until(lambda: len(counted(boxlite)) > 3, "it counts")
    suspend(boxlite)
    boxlite.ok("start", "a")
    counts_on(boxlite)


def test_a_box_that_has_booted_goes_on_too(boxlite, demo):
    boxlite.environment["BOXLITE_COLD"] = "1"
    boxlite.ok("run", "-d", "--name", "a", demo, "sh", "-c", COUNT)
    wait_until(lambda: len(counted(boxlite)) > 3, "it counts")
    for _ in range(2):
        suspend(boxlite)
        boxlite.ok("start", "a")
        counts_on(boxlite)
    boxlite.environment.pop("BOXLITE_COLD")
    suspend(boxlite)
    boxlite.ok("start", "a")
    counts_on(boxlite)
    seen = counted(boxlite)
    assert seen == list(range(1, len(seen) + 1))


# ---- What does not fit any more

def checkpoint(boxlite, box="a"):
    return f"{boxlite.home}/boxes/{boxlite.inspect(box)['id']}"


def change_record(boxlite, change):
    path = f"{checkpoint(boxlite)}/checkpoint.json"
    with open(path) as file:
        record = json.load(file)
    change(record)
    with open(path, "w") as file:
        json.dump(record, file)


@pytest.mark.parametrize("key,value,words", [("qemu", "1 bytes, CRC-32 00000000", "its QEMU is another by now"), ("memory_mib", 100, "another size of memory"),
                                             ("tsc_khz", 1, "clock has another frequency")])
def test_where_it_cannot_go_on_it_says_why_and_boots_only_when_told_to(counting, key, value, words):
    counting.ok("exec", "a", "sh", "-c", "echo kept >/word")
    suspend(counting)
    change_record(counting, lambda record: record["machine"].update({key: value}))
    for _ in range(2):
        counting.refused("start", "a", mentions=["box a", words, "boxlite start --discard-memory a"])
        assert counting.status("a") == "suspended"
    assert counting.ok("start", "--discard-memory", "a") == "a\n"
    assert counting.ok("exec", "a", "cat", "/word") == "kept\n"
    suspend(counting)


@pytest.mark.parametrize("damage", ["state", "no-memory", "short-memory", "record", "version"])
def test_what_is_damaged_is_refused_and_the_disk_is_not(counting, damage):
    counting.ok("exec", "a", "sh", "-c", "echo kept >/word")
    suspend(counting)
    directory = checkpoint(counting)
    if damage == "state":
        os.chmod(f"{directory}/device-state", 0o600)
        with open(f"{directory}/device-state", "r+b") as file:
            file.seek(1000)
            file.write(b"\xff" * 100)
    elif damage == "no-memory":
        os.unlink(f"{directory}/memory")
    elif damage == "short-memory":
        os.truncate(f"{directory}/memory", 4096)
    elif damage == "record":
        with open(f"{directory}/checkpoint.json", "w") as file:
            file.write("{")
    else:
        change_record(counting, lambda record: record.update(version=99))
    counting.refused("start", "a", mentions=["box a", directory, "--discard-memory"])
    counting.ok("start", "--discard-memory", "a")
    assert counting.ok("exec", "a", "cat", "/word") == "kept\n"


# ---- Whoever dies

@pytest.mark.parametrize("place", ["capture.prepared", "capture.stopped", "capture.copied", "capture.recorded"])
def test_a_command_that_is_killed_leaves_the_box_running(counting, place):
    trace = Trace()
    counting("pause", "--to-disk", "a", environment=trace.environment(f"{place}=kill9"))
    assert [seen.name for seen in trace.reached() if seen.action == "kill9"] == [place]
    trace.close()
    counts_on(counting)
    assert counting.status("a") == "running"
    suspend(counting)
    assert not glob.glob(f"{checkpoint(counting)}/*.new")
    counting.ok("start", "a")
    counts_on(counting)
    seen = counted(counting)
    assert seen == list(range(1, len(seen) + 1))


@pytest.mark.parametrize("place", ["capture.prepared", "capture.stopped", "capture.copied", "capture.recorded"])
@pytest.mark.parametrize("fault", ["error", "ENOSPC"])
def test_a_command_that_fails_leaves_the_box_running(counting, place, fault):
    action = fault
    counting.refused("pause", "--to-disk", "a", environment={"BOXLITE_FAILPOINTS": f"{place}={action}"}, mentions="box a")
    counts_on(counting)
    assert not glob.glob(f"{checkpoint(counting)}/*.new")
    suspend(counting)


def test_a_command_that_stands_still_holds_up_nobody_who_ends_the_box(counting):
    trace = Trace()
    client = counting.spawn("pause", "--to-disk", "a", environment={"BOXLITE_FAILPOINTS": "capture.stopped=stop"})
    wait_until(lambda: counting.inspect("a")["status"] == "paused", "the machine stands still")
    counting.refused("pause", "--to-disk", "a", mentions=["a", "paused"])
    counting.refused("unpause", "a", mentions="a checkpoint of it is being taken")
    counting.ok("stop", "-t", "1", "a")
    assert counting.status("a") == "stopped"
    client.kill()
    client.communicate()
    trace.close()
    counting.ok("start", "a")
    counts_on(counting)


@pytest.mark.parametrize("victim", ["shim", "qemu"])
def test_what_is_killed_while_it_stands_still_is_told_as_such(counting, victim):
    client = counting.spawn("pause", "--to-disk", "a", environment={"BOXLITE_FAILPOINTS": "capture.stopped=stop"})
    wait_until(lambda: counting.inspect("a")["status"] == "paused", "the machine stands still")
    process = counting.shim("a") if victim == "shim" else census.qemu(counting.home, counting.inspect("a")["id"])
    process.kill(signal.SIGKILL)
    wait_until(lambda: counting.status("a") == "failed", "it has failed")
    client.kill()
    client.communicate()
    counting.ok("start", "a")
    assert not glob.glob(f"{checkpoint(counting)}/*.new")
    counts_on(counting)
    suspend(counting)


@pytest.mark.parametrize("place,status", [("suspend.begun", "failed"), ("suspend.memory", "failed")])
def test_a_shim_that_is_killed_leaves_a_whole_checkpoint_or_none(boxlite, demo, place, status):
    boxlite.ok("run", "-d", "--name", "a", demo, "sh", "-c", COUNT, environment={"BOXLITE_FAILPOINTS": f"{place}=kill9"})
    boxlite("pause", "--to-disk", "a")
    assert boxlite.status("a") == status
    boxlite.ok("start", "a")
    counts_on(boxlite)
    suspend(boxlite)


@pytest.mark.parametrize("place,status", [("resume.loaded", "suspended"), ("resume.used", "failed")])
def test_a_shim_that_is_killed_when_it_goes_on_has_the_checkpoint_or_has_used_it(counting, place, status):
    suspend(counting)
    assert counting("start", "a", environment={"BOXLITE_FAILPOINTS": f"{place}=kill9"}).code != 0
    assert counting.status("a") == status
    counting.ok("start", "a")
    counts_on(counting)


def test_who_waits_for_data_of_a_connection_is_told_that_it_is_broken(boxlite, demo):
    with connections.open_in(boxlite, "a", demo) as connection:
        suspend(boxlite)
        connection.settimeout(60)
        try:
            assert connection.recv(1) == b""
        except ConnectionResetError:
            pass
    boxlite.ok("start", "a")
    connections.assert_broken(boxlite, "a")


def test_what_a_box_has_written_into_files_that_tell_who_it_is_stays(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "10000")
    files = "/etc/hosts /etc/hostname /etc/resolv.conf /etc/machine-id"
    boxlite.ok("exec", "a", "sh", "-c", "echo 10.0.0.5 db >>/etc/hosts; echo mine >/etc/hostname; echo options ndots:2 >>/etc/resolv.conf; printf '%032d\\n' 7 >/etc/machine-id")
    before = boxlite.ok("exec", "a", "sh", "-c", f"hostname; head -n 99 {files}")
    assert "10.0.0.5 db" in before and "mine" in before and "ndots:2" in before
    suspend(boxlite)
    boxlite.ok("start", "a")
    assert boxlite.ok("exec", "a", "sh", "-c", f"hostname; head -n 99 {files}") == before


@pytest.mark.skipif(not identity.OBSERVER_IS_ROOT, reason="damages files that are not its own")
def test_a_memory_that_is_damaged_on_the_disk_is_found_by_doctor(counting):
    counting.ok("snapshot", "create", "--memory", "a", "kept")
    suspend(counting)
    assert boxes_and_memories(counting) == []
    for path in (f"{checkpoint(counting)}/memory", f"{checkpoint(counting)}/snapshots/kept/memory"):
        with open(path, "r+b") as file:
            file.seek(5 << 20)
            byte = file.read(1)
            file.seek(5 << 20)
            file.write(bytes([byte[0] ^ 1]))
    found = boxes_and_memories(counting)
    assert [finding["text"].rpartition("/boxes/")[2].partition("/")[2] for finding in found] == [
        "memory does not have its checksum", "snapshots/kept/memory does not have its checksum"], found
    assert "--discard-memory a" in found[0]["remedy"] and "snapshot rm a kept" in found[1]["remedy"]
    counting.ok("start", "--discard-memory", "a")
    counting.ok("snapshot", "rm", "a", "kept")
    assert boxes_and_memories(counting) == []


def boxes_and_memories(boxlite):
    findings = json.loads(boxlite("doctor", "--format", "json").out)
    return [finding for finding in findings if finding["subject"] == "contents" and finding["level"] == "problem"]


@pytest.mark.parametrize("place", ["resume.loaded", "resume.used"])
def test_a_start_that_fails_before_it_has_used_the_checkpoint_keeps_it(counting, place):
    suspend(counting)
    assert counting("start", "a", environment={"BOXLITE_FAILPOINTS": f"{place}=error"}).code != 0
    assert counting.status("a") == ("suspended" if place == "resume.loaded" else "failed")
    counting.ok("start", "a")
    counts_on(counting)


@pytest.mark.parametrize("place", ["start.bound", "start.intent", "start.spawn", "start.config"])
@pytest.mark.parametrize("fault", ["error", "kill9"])
def test_a_box_that_removes_itself_is_not_lost_by_a_start_that_fails_early(boxlite, demo, place, fault):
    boxlite.ok("run", "-d", "--rm", "--name", "a", demo, "sh", "-c", COUNT)
    suspend(boxlite)
    assert boxlite("start", "a", environment={"BOXLITE_FAILPOINTS": f"{place}={fault}"}).code != 0
    wait_until(lambda: boxlite.status("a") in ("suspended", "running"), "the start is over")
    boxlite.ok("start", "a")
    counts_on(boxlite)


def begun(boxlite, box="a"):
    """A pause to disk that stands still where all is prepared and nothing asked for yet."""
    client = boxlite.spawn("pause", "--to-disk", box, environment={"BOXLITE_FAILPOINTS": "capture.prepared=stop"})
    stat = f"/proc/{client.pid}/stat"  # proc(5): the third field
    wait_until(lambda: open(stat).read().rpartition(") ")[2].startswith("T"), "it has begun and stopped itself")
    return client


def test_a_box_whose_command_ends_before_it_stands_still_is_told_as_ended(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sh", "-c", "until test -e /end; do sleep 0.1; done; exit 7")
    client = begun(boxlite)
    boxlite.ok("exec", "a", "touch", "/end")
    wait_until(lambda: boxlite.status("a") == "stopped", "the command has ended")
    os.kill(client.pid, signal.SIGCONT)
    client.communicate(timeout=120)
    assert client.returncode == 125 and boxlite.inspect("a")["exit_code"] == 7


@pytest.mark.parametrize("cold", ["", "1"], ids=["from_a_template", "booted"])
def test_no_checkpoint_is_of_two_runs_of_a_box(boxlite, demo, cold):
    boxlite.ok("run", "-d", "--name", "a", demo, "sh", "-c", COUNT, environment={"BOXLITE_COLD": ""})
    client = begun(boxlite)
    boxlite.ok("restart", "-t", "0", "a", environment={"BOXLITE_COLD": cold})
    os.kill(client.pid, signal.SIGCONT)
    _, err = client.communicate(timeout=120)
    assert client.returncode == 125 and b"restarted" in err, err
    counts_on(boxlite)
    assert boxlite.status("a") == "running"


def test_the_clock_does_not_fall_behind_by_what_it_stood_still(counting):
    for name in ("a", "b", "c"):
        counting.ok("snapshot", "create", "--memory", "a", name)
    before = time.time()
    assert before - 1.5 < float(counting.ok("exec", "a", "date", "+%s")) < time.time() + 1
