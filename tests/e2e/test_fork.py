"""New boxes with the memory and the disk of a running one."""

import concurrent.futures
import glob
import hashlib
import os
import re
import socket
import time

import pytest
from boxlite_testing import census, connections, identity
from boxlite_testing.failpoints import Trace
from boxlite_testing.fixtures import used_warm as boxlite  # noqa: F401
from boxlite_testing.waiting import wait_until

pytestmark = identity.by_root

BULK = 600  # under TCG each megabyte takes a slow host 0.7 s of CPU, of which another suite has the half
COUNT = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done"


def fork(boxlite, *options, box="a"):
    ids = boxlite.ok("fork", *options, box).split()
    assert all(re.fullmatch("[0-9a-f]{12}", box_id) for box_id in ids)
    return ids


def counts_on(boxlite, box):
    before = boxlite.ok("logs", box).count("\n")
    wait_until(lambda: boxlite.ok("logs", box).count("\n") > before + 3, f"{box} counts on")


@pytest.fixture
def counting(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sh", "-c", COUNT)
    wait_until(lambda: boxlite.ok("logs", "a").count("\n") > 3, "it counts")
    return boxlite


def test_children_go_on_from_the_parents_memory_and_disk_and_then_by_themselves(counting):
    counting.ok("exec", "a", "sh", "-c", "echo memory >/dev/shm/word; echo disk >/word; sleep 10000 & echo $! >/pid")
    ids = fork(counting, "--name", "kid", "-n", "3")
    assert {box["name"]: box["status"] for box in counting.list()} == {name: "running" for name in ("a", "kid-1", "kid-2", "kid-3")}
    assert [counting.inspect(box_id)["name"] for box_id in ids] == ["kid-1", "kid-2", "kid-3"]
    for name in ("kid-1", "kid-2", "kid-3"):
        assert counting.ok("exec", name, "sh", "-c", "cat /dev/shm/word /word; kill -0 $(cat /pid) && echo lives") == "memory\ndisk\nlives\n"
        counting.ok("exec", name, "sh", "-c", f"echo {name} | tee /dev/shm/word >/word")
    for name in ("a", "kid-1", "kid-2", "kid-3"):
        counts_on(counting, name)
        seen = [int(line) for line in counting.ok("logs", name).split()]
        assert seen == list(range(seen[0], seen[0] + len(seen))), "not a line is lost or told twice"
        words = ["memory", "disk"] if name == "a" else [name, name]
        assert counting.ok("exec", name, "cat", "/dev/shm/word", "/word").split() == words
    counting.ok("rm", "-f", "a")
    counting.ok("restart", "-t", "0", "kid-1")
    assert counting.ok("exec", "kid-1", "cat", "/word") == "kid-1\n", "its disk needs no parent"


def test_a_child_is_a_machine_of_its_own(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", "-e", "SECRET=word", "-l", "label=x", demo, "sh", "-c",
               "printf '%032d\\n' 7 >/etc/machine-id; echo 10.0.0.5 db >>/etc/hosts; echo ready; sleep 10000")
    wait_until(lambda: boxlite.ok("logs", "a") == "ready\n", "it is ready")
    watcher = "exec 3</dev/boxlite-generation; cat <&3 >/before; while cmp -s /before /dev/boxlite-generation; do sleep 0.05; done; cat /dev/boxlite-generation >/after"
    boxlite.ok("exec", "a", "sh", "-c", f"({watcher}) </dev/null >/dev/null 2>&1 & until test -s /before; do sleep 0.05; done")
    fork(boxlite, "--name", "b")
    fork(boxlite, "--name", "c")
    fork(boxlite, "--name", "d", box="b")
    look = ("hostname; cat /etc/hostname /etc/machine-id /dev/boxlite-generation; head -c 16 /dev/urandom | od -An -tx1; cat /proc/sys/kernel/random/uuid; "
            "grep -c $(hostname) /etc/hosts; echo $SECRET; date +%s; tail -n 1 /etc/hosts")
    before = time.time()
    told = {name: boxlite.ok("exec", name, "sh", "-c", look).splitlines() for name in "abcd"}
    after = time.time()
    for name, lines in told.items():
        box = boxlite.inspect(name)
        assert lines[0] == lines[1] == box["id"] and lines[6] == "1" and lines[7] == "word" and box["labels"]["label"] == "x"
        assert before - 3 < int(lines[8]) < after + 3 and lines[9] == "10.0.0.5 db"
        if name != "a":
            wait_until(lambda name=name: boxlite("exec", name, "cat", "/after").out, "a program has seen that it goes on in another box")
            assert boxlite.ok("exec", name, "cat", "/after") != boxlite.ok("exec", name, "cat", "/before")
    for what in range(6):
        assert len({lines[what] for lines in told.values()}) == 4, (what, told)
    assert told["a"][2] == f"{7:032d}" and boxlite("exec", "a", "test", "-e", "/after").code == 1


def test_ports_of_the_host_are_given_anew(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", "-p", "0:80", demo, "sh", "-c", "while :; do hostname | nc -l -p 80; done")

    def answer(box):
        port, = boxlite.inspect(box)["ports"]
        try:
            with socket.create_connection(("127.0.0.1", port["host_port"]), timeout=30) as connection:
                return connection.makefile().readline().strip()
        except OSError:
            return ""
    wait_until(lambda: answer("a"), "it answers")
    fork(boxlite, "--name", "kid", "-n", "2")
    ports = {box: boxlite.inspect(box)["ports"][0]["host_port"] for box in ("a", "kid-1", "kid-2")}
    assert len(set(ports.values())) == 3
    for box in ports:
        wait_until(lambda box=box: answer(box) == boxlite.inspect(box)["id"], "each answers by itself")


def test_who_waits_for_data_of_a_connection_is_told_in_a_child_that_it_is_broken(boxlite, demo):
    with connections.open_in(boxlite, "a", demo) as connection:
        fork(boxlite, "--name", "kid")
        connections.assert_broken(boxlite, "kid")
        connection.sendall(b"more\n")
        wait_until(lambda: boxlite.ok("exec", "a", "cat", "/outer") == "begun\nmore\n", "the parent's is as it was")
        assert boxlite("exec", "a", "test", "-e", "/ended").code == 1


def test_twenty_share_what_their_parent_has_written(boxlite, demo):
    size = 200 << 20
    boxlite.ok("run", "-d", "--name", "a", "--network", "none", "--memory", "512m", "--tmpfs", f"/m:size={size + (10 << 20)}", demo, "sleep", "10000")
    boxlite.ok("exec", "a", "sh", "-c", f"head -c {size} /dev/urandom >/m/data", timeout=BULK)
    digest = boxlite.ok("exec", "a", "sha256sum", "/m/data", timeout=BULK)
    boxlite.ok("run", "-d", "--name", "without", "--network", "none", "--memory", "512m", demo, "sleep", "10000")
    fork(boxlite, "--name", "idle", box="without")
    fork(boxlite, "--name", "kid", "-n", "20")
    names = [f"kid-{index + 1}" for index in range(20)]

    # What a QEMU without any guest data takes is each child's own; of the data there is one copy.
    def anonymous(box):
        qemu = census.qemu(boxlite.home, boxlite.inspect(box)["id"])
        with open(f"/proc/{qemu.pid}/smaps_rollup") as file:
            return int(re.search(r"Anonymous: +(\d+)", file.read())[1]) << 10

    def beyond(boxes):
        idle = anonymous("idle")
        more = sum(max(0, anonymous(name) - idle) for name in boxes)
        print(f"\n{more >> 20} MiB beyond {len(boxes)} forks of an idle box, of {idle >> 20} MiB each")
        return more
    assert beyond(names) + size < 1.5 * size
    for name in names[::5]:
        assert boxlite.ok("exec", name, "sha256sum", "/m/data", timeout=BULK) == digest
        boxlite.ok("exec", name, "sh", "-c", f"echo {name} | dd of=/m/data conv=notrunc 2>/dev/null")
    for name in names[::5]:
        assert boxlite.ok("exec", name, "head", "-n1", "/m/data").startswith(name)
    assert boxlite.ok("exec", "a", "sha256sum", "/m/data", timeout=BULK) == digest
    # Nor have those a copy who have read all of it and written some.
    assert beyond(names) + size < 1.5 * size


def test_a_stream_of_100_mb_is_not_disturbed(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "10000")
    size = 100 << 20
    boxlite.ok("exec", "a", "sh", "-c", f"head -c {size} /dev/urandom >/big; sync", timeout=BULK)
    wanted = boxlite.ok("exec", "a", "sha256sum", "/big", timeout=BULK).split()[0]
    data = os.urandom(30 << 20)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        reader = pool.submit(boxlite, "exec", "a", "cat", "/big", timeout=BULK)
        writer = pool.submit(boxlite, "exec", "-i", "a", "sh", "-c", "cat >/in; sha256sum /in", input=data, timeout=BULK)
        fork(boxlite, "--name", "kid")
        fork(boxlite, "--name", "kids", "-n", "2")
        assert hashlib.sha256(reader.result().stdout).hexdigest() == wanted
        assert writer.result().out.split()[0] == hashlib.sha256(data).hexdigest()
    for box in boxlite.list():
        assert boxlite.ok("exec", box["name"], "sha256sum", "/big", timeout=BULK).split()[0] == wanted


def test_generations_of_forks_each_have_the_data_of_all_before(counting):
    box = "a"
    for count in range(10):
        counting.ok("exec", box, "sh", "-c", f"echo {count} >>/words; echo {count} >>/dev/shm/words")
        fork(counting, "--name", f"g{count}", box=box)
        counting.ok("rm", "-f", box)
        box = f"g{count}"
        wanted = "".join(f"{n}\n" for n in range(count + 1))
        assert counting.ok("exec", box, "cat", "/words") == wanted == counting.ok("exec", box, "cat", "/dev/shm/words")
    counting.ok("exec", box, "sync")
    counting.ok("restart", "-t", "0", box)
    assert counting.ok("exec", box, "cat", "/words") == wanted
    assert len(glob.glob(f"{counting.home}/boxes/*/layer-*")) <= 9


def test_a_child_is_paused_to_disk_kept_and_forked_itself(counting):
    fork(counting, "--name", "b")
    counting.ok("pause", "--to-disk", "b")
    counting.ok("start", "b")
    counting.ok("snapshot", "create", "-m", "b", "s")
    fork(counting, "--name", "c", box="b")
    counting.ok("rm", "-f", "b")
    counts_on(counting, "c")


def test_what_is_wrong_is_said_and_nothing_is_made(counting, demo, folder):
    counting.ok("create", "--name", "new", demo, "sleep", "1")
    counting.ok("run", "-d", "--name", "vol", "-v", f"{folder}:/data", demo, "sleep", "10000")
    for words, mentions in [(("nobody",), "no box named nobody"), (("new",), "box new is not running"), (("--name", "new", "a"), "the name new is taken"),
                            (("-n", "0", "a"), "0 boxes"), (("-n", "1001", "a"), "1001 boxes"), (("-n", "x", "a"), "--count x: not a number; use a whole number"), (("--name", "/", "a"), "/"),
                            ((), "usage"), (("a", "b"), "usage"), (("vol",), "it has volumes")]:
        result = counting("fork", *words)
        assert result.code == 125 and mentions in result.err and len(result.err.splitlines()) == 1, str(result)
    assert {box["name"] for box in counting.list()} == {"a", "new", "vol"}
    counts_on(counting, "a")


def test_a_box_that_removes_itself_has_children_that_do(boxlite, demo):
    boxlite.ok("run", "-d", "--rm", "--name", "a", demo, "sh", "-c", "until test -e /end; do sleep 0.1; done")
    fork(boxlite, "--name", "b")
    for name in ("b", "a"):
        boxlite.ok("exec", "-d", name, "touch", "/end")  # the end of PID 1 may be its own
    wait_until(lambda: boxlite.list() == [] and boxlite.census().shims == 0, "both have removed themselves")


@pytest.mark.parametrize("place", ["capture.stopped", "capture.copied", "capture.done", "fork.captured", "fork.built", "fork.row"])
def test_a_command_that_is_killed_leaves_the_parent_running_and_no_half_child(counting, place):
    trace = Trace()
    counting("fork", "--name", "kid", "-n", "2", "a", environment=trace.environment(f"{place}=1*off->kill9" if place == "fork.row" else f"{place}=kill9"))
    assert [seen.name for seen in trace.reached() if seen.action == "kill9"] == [place]
    trace.close()
    counts_on(counting, "a")
    made = sorted(box["name"] for box in counting.list() if box["name"] != "a")
    assert made == (["kid-1", "kid-2"] if place == "fork.row" else [])
    for name in made:
        assert counting.status(name) == "suspended"
        counting.ok("start", name)
        counts_on(counting, name)
    fork(counting, "--name", "next")
    counts_on(counting, "next")
    assert not [name for name in os.listdir(f"{counting.home}/boxes/{counting.inspect('a')['id']}/snapshots")]
