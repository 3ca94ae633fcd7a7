"""Any number of processes use one home at once; there always are as many rows as leases, shims, VMs and directories."""

import os
import random
import threading

from boxlite_testing import identity
from boxlite_testing.fixtures import used as boxlite  # noqa: F401
from boxlite_testing.waiting import wait_until

pytestmark = identity.by_root

SEED = int(os.environ.get("BOXLITE_TEST_SEED", "565"))
BOXES = ["b0", "b1", "b2", "b3", "b4"]


def test_what_one_exec_writes_the_next_one_sees_whatever_ran_in_between(shared):
    shared.ok("exec", "box", "sh", "-c", "echo 1 >/tmp/state; echo 2 >/root/state")
    for command in (["ls"], ["ls", "-a"], ["inspect", "box"], ["logs", "box"], ["images"], ["info"], ["start", "box"]):
        shared.ok(*command)
    assert shared.ok("exec", "box", "cat", "/tmp/state", "/root/state") == "1\n2\n"


def commands(dice, demo):
    """An endless stream of random commands, each with the exit statuses that are no bug."""
    while True:
        box = dice.choice(BOXES)
        yield dice.choices(
            [(["ls", "-a"], {0}), (["inspect", box], {0, 125}), (["exec", box, "true"], {0, 125, 137}), (["logs", box], {0, 125}),
             (["start", box], {0, 125}), (["stop", "-t", "1", box], {0, 125}), (["kill", box], {0, 125}),
             (["rm", box], {0, 125}), (["rm", "-f", box], {0, 125}),
             (["run", "-d", "--name", box, demo, "sleep", "infinity"], {0, 125})],
            weights=[30, 15, 50, 10, 12, 10, 5, 5, 8, 15])[0]


def test_four_processes_issue_random_commands_and_nothing_is_lost_or_leaked(boxlite, demo):
    for box in BOXES:
        boxlite.ok("create", "--name", box, demo, "sleep", "infinity")
    surprises = []

    def issue(number):
        dice = random.Random(f"{SEED}/{number}")
        stream = commands(dice, demo)
        for _ in range(50):
            arguments, allowed = next(stream)
            finished = boxlite(*arguments, timeout=300)
            if finished.code not in allowed or len(finished.err.splitlines()) > 1:
                surprises.append(str(finished))

    workers = [threading.Thread(target=issue, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not surprises, f"seed {SEED}:\n" + "\n".join(surprises)

    # Every start has ended by itself or is over; what is called running has exactly one of everything.
    boxes = wait_until(lambda: settled(boxlite.list()), "no box is on its way up or down")
    running = sum(box["status"] == "running" for box in boxes)
    seen = boxlite.census()
    assert (seen.rows, seen.directories) == (len(boxes), len(boxes))
    assert (seen.leases, seen.vm_locks, seen.shims, seen.vms) == (running, running, running, running)

    # …and every box that is left can still be used.
    for box in boxes:
        boxlite.ok("start", box["name"])
        boxlite.ok("exec", box["name"], "true")
    seen = boxlite.census()
    assert seen.rows == seen.leases == seen.shims == seen.vms == seen.directories == len(boxes)


def settled(boxes):
    return boxes if all(box["status"] in ("created", "running", "stopped", "failed") for box in boxes) else None


def test_two_starts_of_one_box_at_once_make_one_machine(boxlite, demo):
    boxlite.ok("create", "--name", "a", demo, "sleep", "infinity")
    children = [boxlite.spawn("start", "a") for _ in range(4)]
    outcomes = [(*child.communicate(timeout=300), child.returncode) for child in children]
    assert all(code == 0 for _, _, code in outcomes), outcomes
    seen = boxlite.census()
    assert (seen.leases, seen.shims, seen.vms) == (1, 1, 1)
    assert boxlite.inspect("a")["generation"] == 1


def test_one_of_two_boxes_with_the_same_name_is_refused(boxlite, demo):
    boxlite.ok("pull", demo)
    children = [boxlite.spawn("create", "--name", "a", demo) for _ in range(4)]
    outcomes = [(*child.communicate(timeout=300), child.returncode) for child in children]
    assert sorted(code for _, _, code in outcomes) == [0, 125, 125, 125], outcomes
    assert boxlite.census().rows == boxlite.census().directories == 1


def test_boxes_are_removed_in_parallel(boxlite, demo):
    for box in BOXES[:3]:
        boxlite.ok("run", "-d", "--name", box, demo, "sleep", "infinity")
    children = [boxlite.spawn("rm", "-f", box) for box in BOXES[:3] for _ in range(2)]
    outcomes = [(*child.communicate(timeout=300), child.returncode) for child in children]
    # Of two removals of one box at least one succeeds; the other may find it gone.
    assert all(code in (0, 125) for _, _, code in outcomes), outcomes
    assert all(0 in (first[2], second[2]) for first, second in zip(outcomes[::2], outcomes[1::2])), outcomes
    boxlite.assert_nothing_left()
