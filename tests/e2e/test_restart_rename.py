"""`restart` and `rename`."""

import signal

from boxlite_testing import identity
from boxlite_testing.fixtures import used as boxlite  # noqa: F401
from boxlite_testing.waiting import wait_until

pytestmark = identity.by_user


def test_restart_keeps_disk_id_and_options_and_prints_the_operand(boxlite, demo):
    box = boxlite.ok("run", "-d", "--name", "a", "-l", "k=v", "-h", "kept", demo, "sh", "-c", "hostname >> /count; exec sleep infinity").strip()
    wait_until(lambda: boxlite("exec", "a", "cat", "/count").out == "kept\n", "the command was run")
    boxlite.ok("exec", "a", "sh", "-c", "echo precious > /file; sync")
    before = boxlite.inspect("a")
    assert boxlite.ok("restart", "-t", "0", "a") == "a\n"
    after = boxlite.inspect("a")
    assert (after["id"], after["options"], after["labels"]) == (box, before["options"], before["labels"])
    assert after["status"] == "running" and after["generation"] == before["generation"] + 1
    assert after["shim_pid"] != before["shim_pid"] and boxlite.census().shims == 1
    assert boxlite.ok("exec", "a", "cat", "/file") == "precious\n"
    wait_until(lambda: boxlite.ok("exec", "a", "cat", "/count") == "kept\nkept\n", "the command was run twice")


def test_restart_sends_the_stop_signal_and_waits_the_boxs_own_time(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "polite", "--stop-signal", "USR1", "--stop-timeout", "1000", demo, "sh", "-c",
               "trap 'sleep 1; echo bye; exit' USR1; echo ready; while :; do sleep 0.05; done")
    boxlite.ok("run", "-d", "--name", "deaf", "--stop-timeout", "1", demo, "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
    wait_until(lambda: "ready" in boxlite.ok("logs", "polite"), "the trap is set")
    boxlite.ok("restart", "polite", "deaf")  # docker's ten seconds would do here, a thousand would not
    assert "bye" in boxlite.ok("logs", "polite")
    assert [boxlite.status(box) for box in ("polite", "deaf")] == ["running", "running"]


def test_a_box_that_does_not_run_is_started_by_restart(boxlite, demo):
    boxlite.ok("create", "--name", "a", demo, "sleep", "infinity")
    assert boxlite.ok("restart", "a") == "a\n" and boxlite.status("a") == "running"
    boxlite.ok("kill", "a")
    boxlite.ok("wait", "a")
    boxlite.ok("restart", "a")
    assert boxlite.status("a") == "running"


def test_a_box_that_removes_itself_outlives_a_restart_but_not_its_next_end(boxlite, demo):
    box = boxlite.ok("run", "-d", "--rm", "--name", "a", demo, "sleep", "infinity").strip()
    boxlite.ok("restart", "-t", "0", "a")
    assert boxlite.inspect("a")["id"] == box and boxlite.status("a") == "running"
    boxlite.ok("stop", "-t", "0", "a")
    assert boxlite.list() == []
    boxlite.assert_nothing_left()


def test_of_several_restarts_each_error_is_told(boxlite, demo):
    boxlite.ok("create", "--name", "a", demo, "sleep", "infinity")
    finished = boxlite("restart", "no-such", "a")
    assert (finished.code, finished.out) == (125, "a\n") and "no-such" in finished.err
    boxlite.refused("restart", "-t", "soon", "a", mentions="--time soon")
    boxlite.refused("restart", mentions="BOX")


# --- rename

def test_a_renamed_box_answers_to_its_new_name_only_running_or_not(boxlite, demo):
    box = boxlite.ok("run", "-d", "--name", "old", demo, "sleep", "infinity").strip()
    assert boxlite.ok("rename", "old", "new") == ""
    assert boxlite.ok("exec", "new", "hostname").strip() == box
    boxlite.refused("exec", "old", "true", mentions="old")
    assert [b["name"] for b in boxlite.list()] == ["new"] and "new" in boxlite.ok("ls")
    boxlite.refused("rm", "new", mentions=["box new is running", "rm -f new"])
    boxlite.ok("stop", "-t", "0", "new")
    boxlite.refused("kill", "new", mentions="box new")
    boxlite.ok("rename", box[:8], "newer")
    boxlite.ok("start", "newer")
    assert boxlite.inspect(box)["name"] == "newer" and boxlite.inspect(box)["options"].get("name") is None


def test_a_taken_name_is_refused_naming_its_holder(boxlite, demo):
    holder = boxlite.ok("create", "--name", "taken", demo).strip()
    boxlite.ok("create", "--name", "mine", demo)
    boxlite.refused("rename", "mine", "taken", mentions=["taken", holder])
    boxlite.refused("rename", "mine", "mine", mentions="mine")
    for bad in ("a b", "-x", "a/b", "x" * 64):
        boxlite.refused("rename", "--", "mine", bad, mentions=bad)
    boxlite.refused("rename", "no-such", "other", mentions="no-such")
    boxlite.refused("rename", "mine", mentions="NAME")
    assert {b["name"] for b in boxlite.list()} == {"taken", "mine"}
    boxlite.ok("rm", "taken")
    boxlite.ok("rename", "mine", "taken")
    assert [b["name"] for b in boxlite.list()] == ["taken"]


def test_of_many_renamings_to_one_name_at_once_exactly_one_wins(boxlite, demo):
    ids = [boxlite.ok("create", "--name", f"b{i}", demo).strip() for i in range(6)]
    commands = [boxlite.spawn("rename", box, "prize") for box in ids]
    results = [(command.communicate(timeout=60), command.returncode) for command in commands]
    assert sorted(code for _, code in results) == [0] + [125] * 5, results
    winner = boxlite.inspect("prize")["id"]
    for (_, stderr), code in results:
        assert code == 0 or winner in stderr.decode(), results
    assert len({box["name"] for box in boxlite.list()}) == 6


def test_renamings_of_one_box_at_once_leave_one_of_the_names(boxlite, demo):
    box = boxlite.ok("run", "-d", "--name", "start", demo, "sleep", "infinity").strip()
    commands = [boxlite.spawn("rename", box, f"n{i}") for i in range(6)]
    for command in commands:
        assert command.wait(timeout=60) == 0, command.stderr.read()
    assert [b["name"] for b in boxlite.list()][0] in {f"n{i}" for i in range(6)}
    assert boxlite.status(box) == "running"


def test_a_rename_during_a_stop_and_a_killed_rename_do_no_harm(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", "--stop-timeout", "60", demo, "sh", "-c",
               "trap 'until test -e /end; do sleep 0.1; done; exit 3' TERM; echo ready; while :; do sleep 0.05; done")
    wait_until(lambda: "ready" in boxlite.ok("logs", "a"), "the trap is set")
    stop = boxlite.spawn("stop", "a")
    wait_until(lambda: boxlite.status("a") == "stopping", "the stop is on its way")
    boxlite.ok("rename", "a", "b")
    boxlite.ok("exec", "-d", "b", "touch", "/end")
    assert stop.wait(timeout=60) == 0, stop.stderr.read()
    assert boxlite.inspect("b")["exit_code"] == 3
    for i in range(5):
        child = boxlite.spawn("rename", boxlite.list()[0]["id"], f"c{i}")
        child.send_signal(signal.SIGKILL)
        child.wait(timeout=60)
    boxlite.ok("rename", boxlite.list()[0]["id"], "z")
    boxlite.ok("start", "z")
