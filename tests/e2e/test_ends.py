"""How the end of a box is told to those who wait for it, and what may follow at once."""

import signal
import time

from boxlite_testing.waiting import DEADLINE, wait_until


def test_who_waits_for_a_box_that_is_removed_by_force_hears_that_it_was_killed(boxlite, demo):
    for _ in range(3):
        boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
        waiter = boxlite.spawn("wait", "a")
        follower = boxlite.spawn("run", "--name", "b", demo, "sleep", "infinity")
        wait_until(lambda: any(box["name"] == "b" and box["status"] == "running" for box in boxlite.list()), "b runs")
        boxlite.ok("rm", "-f", "a", "b")
        out, err = waiter.communicate(timeout=DEADLINE)
        # Its record may be gone before the waiter looks: then it says that the box was removed, and never that it crashed.
        assert out == b"137\n" or b"was removed" in err, (out, err)
        assert b"crashed" not in err
        _, err = follower.communicate(timeout=DEADLINE)
        assert follower.returncode == 137 or b"was removed" in err, (follower.returncode, err)
        assert b"crashed" not in err


def test_a_killed_box_can_be_removed_or_started_at_once(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
    boxlite.ok("kill", "a")
    assert boxlite.status("a") == "stopped"
    boxlite.ok("start", "a")
    boxlite.ok("kill", "-s", "KILL", "a")
    boxlite.ok("rm", "a")
    boxlite.assert_nothing_left()


def test_exec_into_a_box_whose_shim_is_stopped_says_so_soon(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
    boxlite.shim("a").kill(signal.SIGSTOP)
    began = time.monotonic()
    boxlite.refused("exec", "a", "true", mentions=["box a does not answer", "rm -f a"])
    assert time.monotonic() - began < 40


def test_a_layout_directory_is_remembered_by_its_absolute_path(boxlite, demo, images):
    boxlite.ok("run", "--rm", "oci:demo", "true", cwd=images)
    assert f"oci:{images}/demo" in boxlite.ok("images")
    boxlite.refused("run", "--rm", "oci:demo", "true", mentions="/demo")  # from another directory


def test_a_path_as_an_image_is_told_how_a_layout_is_named(boxlite, images):
    boxlite.refused("run", f"{images}/demo", mentions=f"oci:{images}/demo")
    boxlite.refused("run", "./demo", mentions="oci:./demo")


def test_help_in_all_its_forms(boxlite):
    overview = boxlite.ok("--help")
    assert boxlite.ok() == overview and boxlite.ok("help") == overview
    assert boxlite.ok("help", "run") == boxlite.ok("run", "--help")
