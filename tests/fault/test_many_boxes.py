"""Many boxes, in batches beside each other: none fails, and nothing has grown. BOXLITE_MANY_BOXES: how many; default 100."""

import concurrent.futures
import os

from boxlite_testing import growth, invariants

BOXES = int(os.environ.get("BOXLITE_MANY_BOXES", "100"))
BATCH = 10
PATIENCE = 600.0  # for a command beside nine others on a machine with two cores


def live(boxlite, demo, name):
    boxlite.ok("run", "-d", "--name", name, "--memory", "128m", "-p", "0:80", "-v", "/data", demo, "sleep", "infinity",
               timeout=PATIENCE)
    assert boxlite.ok("exec", name, "echo", name, timeout=PATIENCE) == f"{name}\n"


def test_many_boxes_run_in_batches_none_fails_and_nothing_has_grown(boxlite, demo):
    live(boxlite, demo, "witness")
    invariants.check(boxlite)
    before = growth.Sizes(boxlite, "witness")
    with concurrent.futures.ThreadPoolExecutor(BATCH) as pool:
        for first in range(0, BOXES, BATCH):
            names = [f"box{number}" for number in range(first, min(first + BATCH, BOXES))]
            list(pool.map(lambda name: live(boxlite, demo, name), names))
            seen = boxlite.census()
            alive = len(names) + 1
            assert (seen.rows, seen.leases, seen.shims, seen.vms, seen.networks, seen.volume_servers) == (alive,) * 6, seen
            boxlite.ok("rm", "-f", "-v", *names, timeout=PATIENCE)
            seen = boxlite.census()
            assert (seen.rows, seen.leases, seen.shims, seen.vms, seen.networks, seen.volume_servers) == (1,) * 6, seen
    invariants.check(boxlite)
    assert growth.Sizes(boxlite, "witness").grown_since(before) == []
    assert boxlite.ok("exec", "witness", "echo", "here") == "here\n"
