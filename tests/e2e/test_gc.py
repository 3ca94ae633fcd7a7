"""`gc`: what nothing refers to goes, what somebody uses or works on stays."""

import os
import re
import signal
import threading

from boxlite_testing import identity
from boxlite_testing.waiting import wait_until

pytestmark = identity.by_user


def gc(boxlite):
    printed = boxlite.ok("gc")
    assert re.fullmatch(r"Total reclaimed space: [\d.]+[kMG]?B\n", printed), printed
    return printed.split()[-1]


def images_and_temporary_files(home):
    return sorted(os.path.join(parent, name) for folder in ("bases", "images", "tmp", "trash") for parent, _, names in os.walk(f"{home}/{folder}")
                  for name in names)


def killed(boxlite, failpoint, *command, code=-signal.SIGKILL):
    assert boxlite(*command, environment={"BOXLITE_FAILPOINTS": f"{failpoint}=kill9"}).code == code


def test_what_killed_commands_leave_goes_and_what_is_used_stays(boxlite, demo, entrypoint_image):
    boxlite.ok("create", "--name", "a", demo)
    kept = images_and_temporary_files(boxlite.home)
    boxlite.ok("pull", entrypoint_image)
    killed(boxlite, "image.untag", "rmi", entrypoint_image)  # the names are gone, the files are not
    killed(boxlite, "create.dir", "create", "--name", "b", demo)
    boxlite.ok("create", "--name", "c", demo)
    killed(boxlite, "remove.rename", "rm", "c")
    assert set(images_and_temporary_files(boxlite.home)) > set(kept)
    assert "boxlite gc" in boxlite("doctor").out
    assert gc(boxlite) != "0B"
    assert images_and_temporary_files(boxlite.home) == kept
    assert gc(boxlite) == "0B"
    assert boxlite.ok("doctor").count("note      garbage") == 0
    assert boxlite.ok("ls", "-aq").split() == [boxlite.inspect("a")["id"]]
    assert boxlite.ok("run", "--rm", "--pull", "never", demo, "echo", "well") == "well\n"


def test_an_image_without_a_name_is_an_image(boxlite, demo, entrypoint_image):
    boxlite.ok("pull", demo)
    boxlite.ok("pull", entrypoint_image)
    name = "docker.io/library/one:1"
    boxlite.ok("tag", demo, name)
    boxlite.ok("rmi", demo)
    boxlite.ok("tag", entrypoint_image, name)  # demo's has none now
    before = images_and_temporary_files(boxlite.home)
    assert gc(boxlite) == "0B"
    assert images_and_temporary_files(boxlite.home) == before


def test_temporary_files_go_when_their_writer_cannot_come_back(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "runs", demo, "sleep", "infinity")
    boxlite.ok("create", "--name", "rests", demo)
    ids = {name: boxlite.inspect(name)["id"] for name in ("runs", "rests")}
    of_runs, of_rests = (f"{boxlite.home}/boxes/{ids[name]}/state.json.0123456789ab.tmp" for name in ("runs", "rests"))
    young, old = (f"{boxlite.home}/memo/tsc.json.{digits}.tmp" for digits in ("aaaaaaaaaaaa", "bbbbbbbbbbbb"))
    alike = f"{boxlite.home}/memo/mine.tmp"
    for path in (of_runs, of_rests, young, old, alike):
        open(path, "w").close()
    os.utime(old, (0, 0))
    os.utime(alike, (0, 0))
    gc(boxlite)
    assert [os.path.exists(path) for path in (of_runs, of_rests, young, old, alike)] == [True, False, True, False, True]
    boxlite.ok("stop", "-t", "0", "runs")
    gc(boxlite)
    assert not os.path.exists(of_runs)


def test_beside_pulls_creations_and_removals_it_takes_nothing_from_them(boxlite, demo, entrypoint_image):
    over, wrong, rounds = threading.Event(), [], []

    def work(*commands):
        while not over.is_set():
            for command in commands:
                finished = boxlite(*command)
                if finished.code != 0:
                    wrong.append(str(finished))
            rounds.append(commands)

    loops = ([["pull", demo], ["rmi", "-f", demo]],
             [["create", "--name", "x", "-v", "vol:/v", entrypoint_image, "true"], ["rm", "x"], ["volume", "rm", "vol"]])
    threads = [threading.Thread(target=work, args=commands) for commands in loops]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: gc(boxlite) and len(rounds) >= 8, "eight rounds were made")
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert wrong == []
