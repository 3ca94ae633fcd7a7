"""BOXLITE_FAILPOINTS itself, and what single places of it have found."""

import os
import signal

import pytest
from boxlite_testing import failpoints


def test_every_failpoint_has_a_name_of_its_own():
    places = failpoints.places()
    assert places
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


@pytest.mark.parametrize("plan", ["database.commit=kil9", "database.commit", "database.commit=0*error", "database.commit=off->error"])
def test_a_plan_that_cannot_be_read_ends_the_program(boxlite, plan):
    finished = boxlite("ls", environment={"BOXLITE_FAILPOINTS": plan})
    assert (finished.code, finished.stdout) == (125, b"")
    assert finished.err.startswith("boxlite: BOXLITE_FAILPOINTS: ") and len(finished.err.splitlines()) == 1, str(finished)


def test_the_turn_the_action_and_the_trace_are_what_was_asked_for(boxlite, trace):
    finished = boxlite("volume", "create", "vol", environment=trace.environment("database.commit=1*off->1*ENOSPC"))
    assert finished.code == 125 and "No space left on device" in finished.err, str(finished)
    commits = [(reached.program, reached.action) for reached in trace.reached() if reached.name == "database.commit"]
    assert commits == [("boxlite", "off"), ("boxlite", "ENOSPC")], "the home's first transaction makes its tables"
    assert boxlite("volume", "create", "vol", environment=trace.environment("database.commit=kill9")).code == -signal.SIGKILL
    assert boxlite.ok("volume", "create", "vol") == "vol\n"


def test_an_anonymous_volume_whose_removal_was_killed_half_way_is_gone_with_the_next_command(boxlite, demo, trace):
    """Its files were on their way out, its row was not: found by chaos."""
    boxlite.ok("create", "--name", "a", "-v", "/anonymous", demo, "true")
    assert boxlite("rm", "-v", "a", environment=trace.environment("volume.trash=kill9")).code == -signal.SIGKILL
    boxlite.ok("create", "--name", "b", demo, "true")
    assert boxlite.ok("volume", "ls", "-q") == ""
    assert os.listdir(f"{boxlite.home}/volumes") == [] and boxlite.ok("doctor")
