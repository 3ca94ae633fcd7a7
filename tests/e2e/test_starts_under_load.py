"""A box comes up on a busy host too, booted or restored: under TCG the guest's clock calibration once hung there for ever (7 of 12
boots)."""

import json

import pytest
from boxlite_testing import identity
from boxlite_testing.load import busy_cores


@identity.by_root
@pytest.mark.parametrize("cold,count", [(True, 5), (False, 10)], ids=["booted", "restored"])
def test_every_start_comes_up_while_busy_loops_load_all_cores(boxlite, demo, cold, count):
    boxlite.environment["BOXLITE_COLD"] = "1" if cold else ""
    boxlite.ok("run", "--rm", demo, "true")
    failures = []
    with busy_cores():
        for number in range(count):
            finished = boxlite("run", "--rm", demo, "echo", f"start {number}", timeout=300)
            if finished.out != f"start {number}\n":
                failures.append(str(finished))
    assert failures == []
    seen = json.loads(boxlite.ok("info", "--format", "json"))
    assert seen["starts_booted" if cold else "starts_restored"] == count + 1
