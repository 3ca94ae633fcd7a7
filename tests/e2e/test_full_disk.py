"""The file system of the home fills up under running boxes: they wait for space and lose nothing, and every command still works."""

import contextlib
import os
import signal
import subprocess
import threading

import pytest
from boxlite_testing import census, identity, oci
from boxlite_testing.waiting import wait_until

pytestmark = identity.by_root

needs_root = pytest.mark.skipif(not identity.OBSERVER_IS_ROOT, reason="needs root to mount")


@pytest.fixture
def small(boxlite):
    """A home on a file system of 48 MiB."""
    os.mkdir(boxlite.home)
    options = f"size=48m,mode=700,uid={identity.UID},gid={identity.GID}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", boxlite.home], check=True)
    try:
        yield boxlite
        boxes = boxlite.ok("ls", "-aq").split()
        if boxes:
            boxlite.ok("rm", "-f", *boxes)
    finally:
        subprocess.run(["umount", "--lazy", boxlite.home], check=True)


def fill(boxlite):
    """Leaves not one free block; returns the file that holds them."""
    path = f"{boxlite.home}/filler"
    with open(path, "wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            while True:
                try:
                    file.write(bytes(size))
                except OSError:
                    break
    stat = os.statvfs(boxlite.home)
    assert stat.f_bavail == 0
    return path


@contextlib.contextmanager
def taking_what_is_freed(boxlite):
    """Somebody takes every block that comes free, at once."""
    over = threading.Event()

    def take():
        with open(f"{boxlite.home}/taker", "wb", buffering=0) as file:
            while not over.is_set():
                with contextlib.suppress(OSError):
                    file.write(bytes(4096))

    taker = threading.Thread(target=take)
    taker.start()
    try:
        yield
    finally:
        over.set()
        taker.join()


def writer_at_gate(boxlite, box, script):
    """A command in the box that begins when a line is sent to it: all that it needs here is open by then."""
    writer = boxlite.spawn("exec", "-i", box, "sh", "-c", f"echo here; read x; {script}", stdin=subprocess.PIPE)
    assert writer.stdout.readline() == b"here\n"
    return writer


def is_paused(boxlite, box):
    return "disk is full" in boxlite.inspect(box)["reason"]


@needs_root
def test_a_checkpoint_that_could_fill_the_disk_is_refused_and_the_box_goes_on(small, demo):
    small.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
    for words in (["fork", "a"], ["snapshot", "create", "a", "kept"], ["snapshot", "create", "-m", "a", "kept"], ["pause", "--to-disk", "a"]):
        small.refused(*words, mentions=["box a", "less free", "boxlite gc"])
        assert small.ok("exec", "a", "echo", "here") == "here\n"
    assert [box["status"] for box in small.list()] == ["running"] and small.ok("snapshot", "ls", "-q", "a") == ""


@needs_root
def test_a_vm_that_finds_the_disk_full_is_paused_and_goes_on_when_there_is_space(small, demo):
    small.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
    writer = writer_at_gate(small, "a", "dd if=/dev/urandom of=/root/data bs=1M count=16 && sync && sha256sum </root/data")
    filler = fill(small)
    writer.stdin.write(b"go\n")
    writer.stdin.flush()
    wait_until(lambda: is_paused(small, "a"), "the box is paused")
    assert "paused: the host's disk is full" in small.ok("ls")
    assert small.status("a") == "running"
    os.unlink(filler)
    stdout, stderr = writer.communicate(timeout=120)
    assert writer.returncode == 0, stderr
    again = small.ok("exec", "a", "sh", "-c", "echo 3 >/proc/sys/vm/drop_caches; sha256sum </root/data")
    assert again == stdout.decode()
    wait_until(lambda: not is_paused(small, "a"), "the box is not paused any more")


@needs_root
def test_a_paused_vm_is_stopped_and_removed_as_any_other(small, demo):
    for name in ("a", "b"):
        small.ok("run", "-d", "--name", name, demo, "sleep", "infinity")
    writers = [writer_at_gate(small, name, "dd if=/dev/urandom of=/root/data bs=1M count=64") for name in ("a", "b")]
    fill(small)
    for writer in writers:
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
    for name in ("a", "b"):
        wait_until(lambda name=name: is_paused(small, name), f"{name} is paused")
    with taking_what_is_freed(small):
        small.ok("stop", "-t", "1", "a")
    assert small.status("a") == "stopped", "its exit record found space"
    small.ok("rm", "-f", "b")
    assert [box["name"] for box in small.list()] == ["a"]


@needs_root
def test_a_start_that_finds_the_disk_full_says_so_and_does_not_wait(small, demo):
    """A box that runs has something to lose; one that starts has somebody who waits for it."""
    box = small.ok("create", "--name", "a", demo, "sleep", "infinity").strip()
    start = small.spawn("start", "a", environment={"BOXLITE_FAILPOINTS": "shim.vm_started=stop"})
    shim = wait_until(lambda: census.shim(small.home, box), "the shim is there")
    wait_until(shim.stopped, "its VM has been started")
    filler = fill(small)
    shim.kill(signal.SIGCONT)
    _, stderr = start.communicate(timeout=120)
    message = stderr.decode()
    assert start.returncode == 125 and len(message.splitlines()) == 1, message
    assert "start box a" in message and f"{small.home} is full" in message and "free some space" in message
    assert f"{small.home} is full" in small.inspect("a")["reason"] and small.status("a") == "failed"
    os.unlink(filler)
    small.ok("start", "a")
    assert small.ok("exec", "a", "echo", "here") == "here\n"


@needs_root
def test_boxes_are_listed_and_removed_when_not_one_block_is_free(small, demo):
    for name in ("a", "b"):
        small.ok("create", "--name", name, demo)
    fill(small)
    for _ in range(3):
        assert sorted(box["name"] for box in small.list()) == ["a", "b"]
    # What was set aside may serve to make another box, but not for ever, and not at the cost of listing and removing.
    made = ["a", "b"]
    while len(made) < 20 and small("create", "--name", f"c{len(made)}", demo).code == 0:
        made.append(f"c{len(made)}")
    refused = small.refused("create", "--name", "d", demo, mentions="space")
    assert len(refused.splitlines()) == 1
    assert sorted(box["name"] for box in small.list()) == sorted(made)
    for name in made:
        small.ok("rm", "-f", name)
    small.assert_nothing_left()


def archive_with_noise(images, megabytes):
    """A docker archive of an image with so much that does not compress."""
    path = f"{images}/noise-{megabytes}.tar"
    if not os.path.exists(path):
        layer = oci.Layer()
        layer.file("noise", os.urandom(megabytes << 20))
        layout = oci.write_demo(f"{images}/noise-{megabytes}", layer.tar())
        subprocess.run(["skopeo", "--insecure-policy", "copy", "--quiet", f"oci:{layout}:latest", f"docker-archive:{path}:noise:1"],
                       check=True)
        os.chmod(path, 0o644)
    return path


def stored(boxlite):
    return [name for folder in ("images/blobs/sha256", "bases", "tmp") for name in os.listdir(f"{boxlite.home}/{folder}")]


@needs_root
@pytest.mark.parametrize("verb", ["load", "import"])
@pytest.mark.parametrize("megabytes", [30, 60], ids=["the disk of the image", "the archive"])
def test_an_archive_that_does_not_fit_leaves_nothing_of_itself(small, images, verb, megabytes):
    archive = archive_with_noise(images, megabytes)
    arguments = ["load", "-i", archive] if verb == "load" else ["import", archive, "noise:1"]
    small.refused(*arguments, mentions="No space left")
    assert small.ok("images", "-q") == "" and stored(small) == []
    if verb == "load":
        small.ok("load", "-i", archive_with_noise(images, 1))
        assert small.ok("run", "--rm", "noise:1", "echo", "fits") == "fits\n"


@needs_root
def test_images_are_removed_and_pruned_when_not_one_block_is_free(small, images):
    small.ok("load", "-i", archive_with_noise(images, 1))
    small.ok("tag", "noise:1", "noise:2")
    filler = fill(small)
    small.ok("rmi", "noise:2")
    small.ok("rmi", "noise:1")
    assert small.ok("images", "-q") == ""
    os.unlink(filler)
    small.ok("load", "-i", archive_with_noise(images, 1))
    fill(small)
    small.ok("image", "prune", "-a", "-f")
    assert small.ok("images", "-q") == ""


@needs_root
def test_a_saved_archive_that_does_not_fit_leaves_the_old_one(small, images):
    small.ok("load", "-i", archive_with_noise(images, 1))
    target = f"{small.home}/saved.tar"
    small.ok("save", "-o", target, "noise:1")
    with open(target, "rb") as file:
        before = file.read()
    fill(small)
    small.refused("save", "-o", target, "noise:1", mentions=["saved.tar", "No space left"])
    with open(target, "rb") as file:
        assert file.read() == before


def test_a_save_that_finds_its_output_full_names_the_output_and_not_the_home(boxlite, demo):
    boxlite.ok("pull", demo)
    message = boxlite.refused("save", "-o", "/dev/full", demo, mentions=["/dev/full", "No space left"])
    assert boxlite.home not in message
