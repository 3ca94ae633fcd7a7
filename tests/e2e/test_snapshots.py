"""Snapshots: what a box was at one moment, and going back to it."""

import concurrent.futures
import glob
import hashlib
import json
import os
import subprocess

import pytest
from boxlite_testing import identity
from boxlite_testing.failpoints import Trace
from boxlite_testing.fixtures import used_warm as boxlite  # noqa: F401
from boxlite_testing.waiting import wait_until

pytestmark = identity.by_root

COUNT = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done"
BULK = 600  # under TCG each megabyte takes a slow host 0.7 s of CPU, of which another suite has the half
SLEEP = ("sleep", "10000")


def say(boxlite, word, box="a"):
    boxlite.ok("exec", box, "sh", "-c", f"echo {word} >/word")


def told(boxlite, box="a"):
    return boxlite.ok("exec", box, "cat", "/word").strip()


def names(boxlite, box="a"):
    return boxlite.ok("snapshot", "ls", "-q", box).split()


def restore(boxlite, name, box="a", start=True):
    boxlite.ok("stop", "-t", "0", box)
    assert boxlite.ok("snapshot", "restore", box, name) == f"{name}\n"
    if start:
        boxlite.ok("start", box)


def directory(boxlite, box="a"):
    return f"{boxlite.home}/boxes/{boxlite.inspect(box)['id']}"


@pytest.fixture
def running(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, *SLEEP)
    return boxlite


def test_the_disk_of_a_running_box_is_kept_and_comes_back(running):
    say(running, "one")
    assert running.ok("snapshot", "create", "a", "first") == "first\n"
    say(running, "two")
    running.ok("snapshot", "create", "a", "second")
    say(running, "three")
    assert names(running) == ["first", "second"]
    for name, word in [("first", "one"), ("second", "two"), ("first", "one")]:
        restore(running, name)
        assert told(running) == word
        say(running, "after")
    assert names(running) == ["first", "second"]
    rows = json.loads(running.ok("snapshot", "ls", "--format", "json", "a"))
    assert [(row["name"], row["memory"]) for row in rows] == [("first", False), ("second", False)] and all(row["bytes"] > 0 for row in rows)
    assert running.ok("snapshot", "rm", "a", "first") == "first\n" and names(running) == ["second"]
    restore(running, "second")
    assert told(running) == "two", "what it lies on is its own"


def test_with_memory_the_machine_goes_on_where_it_stood(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sh", "-c", COUNT)
    wait_until(lambda: boxlite.ok("logs", "a").count("\n") > 3, "it counts")
    boxlite.ok("exec", "a", "sh", "-c", "echo memory >/dev/shm/word; sleep 10000 & echo $! >/pid")
    say(boxlite, "one")
    boxlite.ok("snapshot", "create", "--memory", "a", "alive")
    say(boxlite, "two")
    assert "yes" in boxlite.ok("snapshot", "ls", "a")
    for _ in range(2):
        restore(boxlite, "alive", start=False)
        assert boxlite.status("a") == "suspended"
        before = boxlite.ok("logs", "a").count("\n")
        boxlite.ok("start", "a")
        assert boxlite.ok("exec", "a", "sh", "-c", "cat /dev/shm/word /word; kill -0 $(cat /pid) && echo lives") == "memory\none\nlives\n"
        wait_until(lambda before=before: boxlite.ok("logs", "a").count("\n") > before + 3, "it counts on")
    restore(boxlite, "alive", start=False)
    boxlite.ok("start", "--discard-memory", "a")
    assert told(boxlite) == "one" and boxlite("exec", "a", "cat", "/dev/shm/word").code == 1, "it has booted"


def test_a_stopped_box_and_a_suspended_one_have_snapshots_too(running):
    say(running, "one")
    running.ok("exec", "a", "sh", "-c", "echo memory >/dev/shm/word")
    running.ok("pause", "--to-disk", "a")
    running.ok("snapshot", "create", "a", "disk")
    running.ok("snapshot", "create", "-m", "a", "memory")
    running.ok("start", "a")
    say(running, "two")
    running.ok("stop", "-t", "0", "a")
    running.ok("snapshot", "create", "a", "stopped")
    running.refused("snapshot", "create", "-m", "a", "none", mentions=["box a does not run", "without --memory"])
    for name, word in [("memory", "one"), ("stopped", "two"), ("disk", "one")]:
        running.ok("snapshot", "restore", "a", name)
        running.ok("start", "a")
        assert told(running) == word
        assert (running("exec", "a", "cat", "/dev/shm/word").out == "memory\n") == (name == "memory")
        running.ok("stop", "-t", "0", "a")


def test_a_box_that_has_never_run_has_them_too(boxlite, demo):
    boxlite.ok("create", "--name", "a", demo, *SLEEP)
    boxlite.ok("snapshot", "create", "a", "new")
    boxlite.ok("snapshot", "restore", "a", "new")
    boxlite.ok("start", "a")
    say(boxlite, "one")
    restore(boxlite, "new")
    assert boxlite("exec", "a", "cat", "/word").code == 1


def test_what_is_wrong_is_said_and_changes_nothing(running):
    running.ok("snapshot", "create", "a", "first")
    for words, mentions in [(("create", "a", "first"), ["box a has a snapshot first already", "snapshot rm a first"]),
                            (("create", "a", "../x"), ["snapshot"]), (("create", "a", ""), ["snapshot"]), (("create", "a", ".x"), ["snapshot"]),
                            (("restore", "a", "none"), ["is running", "boxlite stop a"]), (("rm", "a", "none"), ["box a has no snapshot none", "snapshot ls a"]),
                            (("create", "nobody", "x"), ["no box named nobody"]), (("create", "a"), ["usage"]), (("ls",), ["usage"])]:
        running.refused("snapshot", *words, code=running("snapshot", *words).code, mentions=mentions)
    running.ok("stop", "-t", "0", "a")
    running.refused("snapshot", "restore", "a", "none", mentions=["box a has no snapshot none"])
    assert names(running) == ["first"]
    running.ok("rm", "a")


def test_a_box_with_volumes_keeps_its_disk_alone(boxlite, demo, folder):
    boxlite.ok("run", "-d", "--name", "a", "-v", f"{folder}:/data", "-v", "vol:/vol", demo, *SLEEP)
    say(boxlite, "one")
    boxlite.refused("snapshot", "create", "--memory", "a", "alive", mentions=["box a", "it has volumes"])
    boxlite.ok("snapshot", "create", "a", "disk")
    say(boxlite, "two")
    boxlite.ok("exec", "a", "sh", "-c", "echo stays >/data/f")
    restore(boxlite, "disk")
    assert told(boxlite) == "one" and boxlite.ok("exec", "a", "cat", "/data/f") == "stays\n"


@pytest.mark.parametrize("memory", [False, True], ids=["disk", "memory"])
def test_a_stream_of_100_mb_and_a_writer_are_not_disturbed(boxlite, demo, memory):
    boxlite.ok("run", "-d", "--name", "a", demo, *SLEEP)
    size = 100 << 20
    boxlite.ok("exec", "a", "sh", "-c", f"head -c {size} /dev/urandom >/big; sync", timeout=BULK)
    wanted = boxlite.ok("exec", "a", "sha256sum", "/big", timeout=BULK).split()[0]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        reader = pool.submit(boxlite, "exec", "a", "cat", "/big", timeout=BULK)
        data = os.urandom(30 << 20)
        writer = pool.submit(boxlite, "exec", "-i", "a", "sh", "-c", "cat >/in; sha256sum /in", input=data, timeout=BULK)
        for name in ("first", "second"):
            boxlite.ok("snapshot", "create", *(["--memory"] if memory else []), "a", name)
        assert hashlib.sha256(reader.result().stdout).hexdigest() == wanted
        assert writer.result().out.split()[0] == hashlib.sha256(data).hexdigest()
    restore(boxlite, "second")
    assert boxlite.ok("exec", "a", "sha256sum", "/big", timeout=BULK).split()[0] == wanted


@pytest.mark.skipif(not identity.OBSERVER_IS_ROOT, reason="damages files that are not its own")
def test_a_box_whose_frozen_disk_is_lost_does_not_start_with_what_is_left(boxlite, demo):
    boxlite.ok("create", "--name", "a", demo, *SLEEP)
    boxlite.ok("snapshot", "create", "a", "kept")
    restore(boxlite, "kept", start=False)
    os.unlink(f"{boxlite.home}/boxes/{boxlite.inspect('a')['id']}/layer-0.qcow2")
    for words in (["start", "a"], ["snapshot", "create", "a", "other"], ["export", "-o", "/dev/null", "a"]):
        boxlite.refused(*words, mentions=["layer-0.qcow2", "boxlite snapshot ls a"])
    restore(boxlite, "kept", start=False)
    boxlite.ok("start", "a")
    boxlite.ok("snapshot", "create", "a", "second")
    os.unlink(f"{directory(boxlite)}/snapshots/second/layer-1.qcow2")
    boxlite.ok("stop", "-t", "0", "a")
    boxlite.refused("snapshot", "restore", "a", "second", mentions=["2 disks", "boxlite snapshot ls a"])
    boxlite.ok("start", "a")


def test_the_file_system_of_a_snapshot_is_whole_though_it_was_written_to(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sh", "-c", "i=0; while :; do i=$((i+1)); mkdir -p /d/$((i%50)); dd if=/dev/zero of=/d/$((i%50))/$i bs=4k count=8 2>/dev/null; rm -f /d/$(((i+25)%50))/*; done")
    wait_until(lambda: boxlite.ok("exec", "a", "sh", "-c", "ls /d | wc -l").strip() == "50", "it writes")
    boxlite.ok("snapshot", "create", "a", "s")
    boxlite.ok("stop", "-t", "0", "a")
    layer, = glob.glob(f"{directory(boxlite)}/snapshots/s/layer-*")
    base = glob.glob(f"{boxlite.home}/bases/*.ext4")[0]
    raw = f"{boxlite.directory}/raw"
    image = f"json:{json.dumps({'driver': 'qcow2', 'file': {'driver': 'file', 'filename': layer}, 'backing': {'driver': 'raw', 'file': {'driver': 'file', 'filename': base}}})}"
    subprocess.run(["qemu-img", "convert", "-O", "raw", image, raw], check=True)
    checked = subprocess.run(["/sbin/e2fsck", "-fn", raw], capture_output=True, text=True)
    # It was mounted: the journal is to be gone through; but nothing in it is missing, since the file system was frozen.
    assert checked.returncode == 0, checked.stdout


def test_many_rounds_do_not_make_the_disk_a_long_chain(running):
    for count in range(12):
        say(running, count)
        running.ok("snapshot", "create", "a", f"s{count}")
        restore(running, f"s{count}")
        assert told(running) == str(count)
        assert len(glob.glob(f"{directory(running)}/layer-*")) <= 9
    for count in (0, 11, 5):
        restore(running, f"s{count}")
        assert told(running) == str(count)
    boxes = glob.glob(f"{directory(running)}/snapshots/*")
    assert len(boxes) == 12
    running.ok("snapshot", "rm", "a", *names(running))
    assert os.listdir(f"{directory(running)}/snapshots") == []


# ---- Whoever dies

@pytest.mark.parametrize("memory", [False, True], ids=["disk", "memory"])
def test_a_command_that_is_killed_while_it_keeps_one_leaves_the_box_running_and_no_half(boxlite, demo, memory):
    boxlite.ok("run", "-d", "--name", "a", demo, "sh", "-c", COUNT)
    options = ["--memory"] if memory else []
    boxlite.ok("snapshot", "create", *options, "a", "old")
    places = ["capture.prepared", "snapshot.written", "snapshot.renamed"] + (["capture.stopped", "capture.copied", "capture.done"] if memory else [])
    for place in places:
        trace = Trace()
        boxlite("snapshot", "create", *options, "a", place, environment=trace.environment(f"{place}=kill9"))
        assert [seen.name for seen in trace.reached() if seen.action == "kill9"] == [place]
        trace.close()
        before = boxlite.ok("logs", "a").count("\n")
        wait_until(lambda before=before: boxlite.ok("logs", "a").count("\n") > before + 3, "it counts on")
    assert names(boxlite) == ["old", "snapshot.renamed"]
    boxlite.ok("snapshot", "create", *options, "a", "new")
    assert sorted(os.listdir(f"{directory(boxlite)}/snapshots")) == ["new", "old", "snapshot.renamed"]
    for name in ("snapshot.renamed", "new", "old"):
        restore(boxlite, name)
    assert boxlite("snapshot", "rm", "a", "old", environment={"BOXLITE_FAILPOINTS": "snapshot.removed=kill9"}).code != 0
    assert names(boxlite) == ["snapshot.renamed", "new"]


@pytest.mark.parametrize("memory", [False, True], ids=["disk", "memory"])
@pytest.mark.parametrize("place", ["restore.built", "restore.begun", "restore.layers", "restore.disk", "restore.placed"])
def test_a_restore_that_is_killed_is_the_old_box_or_the_new_one(boxlite, demo, place, memory):
    boxlite.ok("run", "-d", "--name", "a", demo, *SLEEP)
    say(boxlite, "one")
    boxlite.ok("exec", "a", "sh", "-c", "echo memory >/dev/shm/word")
    boxlite.ok("snapshot", "create", *(["--memory"] if memory else []), "a", "s")
    say(boxlite, "two")
    boxlite.ok("stop", "a")
    assert boxlite("snapshot", "restore", "a", "s", environment={"BOXLITE_FAILPOINTS": f"{place}=kill9"}).code != 0
    boxlite.ok("start", "a")
    assert told(boxlite) == ("two" if place == "restore.built" else "one")
    assert (boxlite("exec", "a", "cat", "/dev/shm/word").out == "memory\n") == (memory and place != "restore.built")
    restore(boxlite, "s")
    assert told(boxlite) == "one"
    assert not glob.glob(f"{directory(boxlite)}/restore*")


def test_a_restore_that_was_killed_among_the_layers_leaves_no_old_one(running):
    for count in range(3):
        say(running, count)
        running.ok("snapshot", "create", "a", f"s{count}")
        restore(running, f"s{count}")
    running.ok("stop", "-t", "0", "a")
    here = directory(running)
    assert len(glob.glob(f"{here}/layer-*")) == 3
    assert running("snapshot", "restore", "a", "s0", environment={"BOXLITE_FAILPOINTS": "restore.begun=kill9"}).code != 0
    os.unlink(f"{here}/layer-0.qcow2")  # as a command that was killed between two of its steps
    running.ok("start", "a")
    assert told(running) == "0"
    assert [os.path.basename(path) for path in glob.glob(f"{here}/layer-*")] == ["layer-0.qcow2"]
