"""One image is pulled, loaded, saved, run, removed and pruned by everybody at once, and some are killed at random moments: what is left
is whole or gone."""

import os
import random
import subprocess
import threading
import time

from boxlite_testing import census
from boxlite_testing.waiting import wait_until

SECONDS = 120 if os.environ.get("BOXLITE_FULL_SIZE") else 6  # make soak


def test_everything_at_once_on_one_image_leaves_a_store_that_is_whole(boxlite, registry, folder):
    image = registry.demo
    boxlite.ok("pull", image)
    boxlite.ok("save", "-o", folder / "saved.tar", image)
    deadline = time.monotonic() + SECONDS
    wrong, rounds = [], []

    def repeat(*commands):
        while True:
            for command in commands:
                finished = boxlite(*command)
                rounds.append(command[0])
                expected = finished.code == 0 or any(text in finished.err for text in ("no image", "is used by", "no box named"))
                if not expected or len(finished.err.splitlines()) > 5:
                    wrong.append(str(finished))
            if time.monotonic() > deadline:
                break

    def kill(*commands):
        chance = random.Random(7)
        while time.monotonic() < deadline:
            for command in commands:
                child = boxlite.spawn(*command)
                try:
                    child.communicate(timeout=chance.random() * 0.4)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.communicate()
                boxlite.background.remove(child)

    loops = [(repeat, [["pull", image]]), (repeat, [["rmi", "-f", image]]), (repeat, [["image", "prune", "-af"], ["gc"]]),
             (repeat, [["create", "--name", "x", image, "true"], ["rm", "-f", "x"]]), (repeat, [["images"], ["image", "inspect", image]]),
             (kill, [["pull", image], ["load", "-i", folder / "saved.tar"]]),
             (kill, [["save", "-o", folder / "again.tar", image], ["import", folder / "saved.tar", "imported:1"]])]
    threads = [threading.Thread(target=loop, args=commands) for loop, commands in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and set(rounds) >= {"pull", "rmi", "image", "create", "rm", "images"}, wrong[:3]
    wait_until(lambda: not census.processes(boxlite.home), "who was killed has ended")
    boxlite.ok("pull", image)
    for base in os.listdir(f"{boxlite.home}/bases"):
        subprocess.run(["e2fsck", "-fn", f"{boxlite.home}/bases/{base}"], check=True, capture_output=True)
    assert boxlite.ok("run", "--rm", image, "echo", "fine") == "fine\n"
    boxlite.ok("image", "prune", "-af")
    left = [os.path.join(parent, name) for folder in ("bases", "images", "tmp") for parent, _, names in os.walk(f"{boxlite.home}/{folder}") for name in names]
    assert left == [f"{boxlite.home}/images/lock"], left
