"""What an image has where a volume is mounted gets into the volume once, whole, whoever is killed or comes at the same time."""

import os
import signal

import pytest
from boxlite_testing import census, oci
from boxlite_testing.fixtures import used as boxlite  # noqa: F401
from boxlite_testing.waiting import wait_until

FILES = 100


@pytest.fixture(scope="module")
def filled(images):
    layer = oci.Layer().folder("filled", 0o750, uid=1000, gid=50)
    for number in range(FILES):
        layer.file(f"filled/{number}", content(number), uid=1000)
    return "oci:" + oci.write_demo(f"{images}/filled", layer.tar())


def content(number):
    return f"{number}\n" * 100_000  # so that filling takes long, compared with a few commands


def begin(boxlite, image, *command):
    """A start that is filling the volume; returns it and the volume's files."""
    files = f"{boxlite.home}/volumes/data/data"
    starter = boxlite.spawn("run", "-d", "--name", "a", "-v", "data:/filled", image, *command)
    wait_until(lambda: os.path.isdir(files) and len(os.listdir(files)) > 5, "the volume is being filled", interval=0.001)
    return starter, files


def assert_whole(files):
    assert sorted(os.listdir(files)) == sorted(map(str, range(FILES)))
    for number in range(FILES):
        with open(f"{files}/{number}") as file:
            assert file.read() == content(number), number
    assert os.listdir(os.path.dirname(files)) == ["data"]


@pytest.mark.parametrize("victim", ["shim", "qemu", "server", "starter"])
def test_a_start_killed_while_a_volume_is_filled_is_made_good_by_the_next(boxlite, filled, victim):
    box = boxlite.ok("create", "--name", "a", "-v", "data:/filled", filled, "sleep", "infinity").strip()
    files = f"{boxlite.home}/volumes/data/data"
    starter = boxlite.spawn("start", "a")

    def machine():
        return next((p for p in census.vm_processes(boxlite.home, box) if p.name.startswith("qemu-system")), None)
    qemu = wait_until(machine, "its machine is there", interval=0.001)
    wait_until(lambda: len(os.listdir(files)) > 5, "the volume is being filled", interval=0.001)
    qemu.stop()  # so that it stays half filled until somebody is killed
    assert "populating" in os.listdir(os.path.dirname(files))
    if victim == "starter":
        starter.kill()
    elif victim == "shim":
        census.shim(boxlite.home, box).kill(signal.SIGKILL)
    else:
        named = {"qemu": "qemu-system", "server": "boxlite-volume"}[victim]
        (target,) = [p for p in census.vm_processes(boxlite.home, box) if p.name.startswith(named)]
        target.kill(signal.SIGKILL)
    qemu.kill(signal.SIGCONT)
    starter.communicate()
    wait_until(lambda: boxlite.status("a") in (("running",) if victim == "starter" else ("failed",)), "the start has ended")
    if victim != "starter":
        assert len(os.listdir(files)) <= FILES and "populating" in os.listdir(os.path.dirname(files))
    boxlite.ok("start", "a")
    assert_whole(files)
    assert boxlite.ok("exec", "a", "stat", "-c", "%u:%g:%a", "/filled", "/filled/7").split() == ["1000:50:750", "1000:0:644"]


def test_a_box_that_comes_while_another_fills_a_volume_waits_and_copies_nothing_over_what_that_has_changed(boxlite, filled):
    boxlite.ok("pull", filled)
    first, files = begin(boxlite, filled, "sh", "-c", "for f in /filled/*; do echo mine >$f; done; echo >/filled/done; sleep infinity")
    second = boxlite.spawn("run", "-d", "--name", "b", "-v", "data:/filled", filled, "sleep", "infinity")
    assert (first.wait(120), second.wait(120)) == (0, 0)
    wait_until(lambda: os.path.exists(f"{files}/done"), "all is changed")
    assert boxlite.ok("exec", "b", "sh", "-c", "cat /filled/[0-9]* | sort -u") == "mine\n"
    assert boxlite.ok("exec", "b", "sh", "-c", "ls /filled | wc -l").strip() == str(FILES + 1)


def test_two_boxes_that_fill_the_same_two_volumes_do_not_wait_for_each_other(boxlite, filled):
    boxlite.ok("pull", filled)
    starts = [boxlite.spawn("run", "-d", "--name", name, *[f"-v{volume}:{where}" for volume, where in mounts], filled, "sleep", "infinity")
              for name, mounts in (("a", (("one", "/filled"), ("two", "/home"))), ("b", (("two", "/filled"), ("one", "/home"))))]
    assert [start.wait(120) for start in starts] == [0, 0]
    # Whoever was second found both filled.
    for volume in ("one", "two"):
        assert os.listdir(f"{boxlite.home}/volumes/{volume}") == ["data"]
    boxlite.ok("run", "--rm", "-v", "one:/filled", "-v", "one:/home", filled, "true")
    boxlite.ok("run", "--rm", "-v", "new:/filled", "-v", "new:/home", filled, "true")
