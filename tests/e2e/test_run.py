"""`run` and `create` mean what docker's mean."""

import json
import re
import subprocess

import pytest
from boxlite_testing import identity
from boxlite_testing.fixtures import used as boxlite  # noqa: F401
from boxlite_testing.terminal import Terminal
from boxlite_testing.waiting import wait_until


def test_output_and_exit_code_of_the_command_come_back(home, demo):
    finished = home("run", "--rm", demo, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (finished.out, finished.err, finished.code) == ("out\n", "err\n", 7), str(finished)


@pytest.mark.parametrize("command, code", [
    (["no-such-command"], 127), (["/etc/passwd"], 126), (["/no/such/path"], 127), (["/etc"], 126),
    (["sh", "-c", "kill -TERM $$; sleep 5"], 128 + 15), (["sh", "-c", "exit 255"], 255)])
def test_exit_codes_are_dockers(home, demo, command, code):
    # The shell is PID 1 of its box, which a signal of its own without a handler does not end: so it is run below another one.
    command = ["sh", "-c", 'sh -c "$0"; exit $?', command[2]] if "kill" in command[-1] else command
    finished = home("run", "--rm", demo, *command)
    assert finished.code == code, str(finished)
    if code in (126, 127):
        assert len(finished.err.splitlines()) == 1 and command[0] in finished.err, str(finished)


def test_with_rm_nothing_is_left_even_of_a_command_that_cannot_run(home, demo):
    home("run", "--rm", demo, "no-such-command")
    home("run", "--rm", demo, "false")
    home.assert_nothing_left()


def test_the_command_replaces_cmd_and_entrypoint_is_kept(home, entrypoint_image):
    assert home.ok("run", "--rm", entrypoint_image) == "entry from-cmd\n"
    assert home.ok("run", "--rm", entrypoint_image, "mine") == "entry mine\n"
    assert home.ok("run", "--rm", "--entrypoint", "printf", entrypoint_image, "%s\\n", "other") == "other\n"


def test_the_command_is_pid_1(home, demo):
    assert home.ok("run", "--rm", demo, "sh", "-c", "echo $$") == "1\n"


def test_environment_user_and_directory_are_the_images_then_the_flags(home, user_image):
    shown = "id -un; id -gn; pwd; echo $GREETING; echo $HOME; echo ${MINE-unset}; echo ${NOT_SET_HERE-unset}"
    default = home.ok("run", "--rm", user_image, "sh", "-c", shown).splitlines()
    assert default == ["app", "app", "/home/app", "hello from the image", "/home/app", "unset", "unset"]
    changed = home.ok("run", "--rm", "-u", "1:29", "-w", "/tmp/new/dir", "-e", "GREETING=bye", "-e", "MINE", "-e", "NOT_SET_HERE",
                      user_image, "sh", "-c", shown, environment={"MINE": "by name"}).splitlines()
    assert changed == ["daemon", "audio", "/tmp/new/dir", "bye", "/", "by name", "unset"]


@pytest.mark.parametrize("user, wanted", [("app", "1000 1000"), ("app:staff", "1000 50"), ("1000", "1000 1000"),
                                          ("4242", "4242 0"), ("4242:4343", "4242 4343"), ("root", "0 0")])
def test_users_are_resolved_inside_the_image(shared, user, wanted):
    assert shared.ok("exec", "-u", user, "box", "sh", "-c", "echo $(id -u) $(id -g)") == wanted + "\n"


def test_an_unknown_user_is_named(home, demo):
    finished = home("run", "--rm", "-u", "nobody-here", demo, "true")
    assert finished.code in (125, 126) and "nobody-here" in finished.err, str(finished)
    home.assert_nothing_left()


def test_stdin_reaches_the_command_and_its_end_too(home, demo):
    assert home.ok("run", "--rm", "-i", demo, "sh", "-c", "cat; echo end", input=b"one\ntwo\n") == "one\ntwo\nend\n"
    assert home.ok("run", "--rm", demo, "sh", "-c", "cat; echo end", input=b"ignored\n") == "end\n"


def test_a_megabyte_goes_in_and_out_unchanged(home, demo):
    data = bytes(range(256)) * 4096
    finished = home("run", "--rm", "-i", demo, "cat", input=data)
    assert finished.code == 0 and finished.stdout == data, finished.err


def test_size_of_the_machine_is_seen_inside(home, demo):
    seen = home.ok("run", "--rm", "--cpus", "2", "--memory", "256m", "--disk-size", "12g", demo,
                   "sh", "-c", "nproc; grep MemTotal /proc/meminfo; df -k / | tail -n 1").splitlines()
    assert seen[0] == "2"
    assert 180 < int(seen[1].split()[1]) / 1024 <= 256
    assert 11.0 < int(seen[2].split()[1]) / 1024 / 1024 <= 12.0
    seen = home.ok("run", "--rm", demo, "sh", "-c", "nproc; grep MemTotal /proc/meminfo; df -k / | tail -n 1").splitlines()
    assert seen[0] == "1"
    assert 400 < int(seen[1].split()[1]) / 1024 <= 512
    assert 9.0 < int(seen[2].split()[1]) / 1024 / 1024 <= 10.0


def test_a_terminal_is_a_terminal(home, demo):
    with Terminal(home, "run", "--rm", "-it", demo, "sh", rows=31, columns=97) as terminal:
        terminal.read_until("# ")
        terminal.send("stty size; tty; exit 5\n")
        terminal.read_until("31 97")
        terminal.read_until("/dev/")
        assert terminal.wait() == 5


def test_ctrl_c_on_the_terminal_interrupts_the_command_not_the_command_line(home, demo):
    script = "trap 'echo caught; exit 3' INT; echo rea''dy; while :; do read x; done"
    with Terminal(home, "run", "--rm", "-it", demo, "sh", "-c", script) as terminal:
        terminal.read_until("ready")
        terminal.send("\x03")
        terminal.read_until("caught")
        assert terminal.wait() == 3


def test_detached_prints_the_id_and_returns_while_the_box_runs(boxlite, demo):
    printed = boxlite.ok("run", "-d", demo, "sh", "-c", "echo working; exec sleep infinity").strip()
    box, = boxlite.list()
    assert box["id"] == printed and re.fullmatch("[0-9a-f]{12}", printed)
    assert re.fullmatch("[a-zA-Z0-9][a-zA-Z0-9_.-]*", box["name"]), "a name is made up"
    assert box["status"] == "running"
    wait_until(lambda: boxlite.ok("logs", printed) == "working\n", "the log has the output")


def test_a_detached_box_with_rm_removes_itself(boxlite, demo):
    boxlite.ok("run", "-d", "--rm", "--name", "a", demo, "true")
    wait_until(lambda: boxlite.list() == [] and boxlite.census().shims == 0, "the box has removed itself")
    boxlite.assert_nothing_left()


def test_create_makes_a_box_that_start_runs(boxlite, demo):
    boxlite.ok("create", "--name", "a", demo, "sh", "-c", "echo once more; exit 4")
    assert boxlite.status("a") == "created" and boxlite.census().shims == 0
    assert boxlite.ok("ls", "-q") == "" and len(boxlite.ok("ls", "-aq").split()) == 1
    for _ in range(2):
        boxlite.ok("start", "a")
        assert boxlite.ok("wait", "a") == "4\n"
    assert boxlite.status("a") == "stopped" and boxlite.inspect("a")["exit_code"] == 4
    assert boxlite.ok("logs", "a").count("once more\n") == 2


def test_a_signal_to_the_command_line_goes_to_the_box(home, demo):
    import signal
    child = home.spawn("run", "--rm", demo, "sh", "-c", "trap 'echo got it; exit 6' TERM; echo ready; while :; do sleep 1; done")
    assert child.stdout.readline() == b"ready\n"
    child.send_signal(signal.SIGTERM)
    stdout, _ = child.communicate(timeout=60)
    assert (stdout, child.returncode) == (b"got it\n", 6)
    home.assert_nothing_left()


def test_privileged_gives_all_capabilities_and_the_default_does_not(home, demo):
    capabilities = "grep CapEff /proc/self/status"
    assert home.ok("run", "--rm", demo, "sh", "-c", capabilities).split()[1] == "00000000a80425fb"
    full = home.ok("run", "--rm", "--privileged", demo, "sh", "-c", capabilities).split()[1]
    assert int(full, 16) & 0x1ffffffffff == 0x1ffffffffff


def test_registry_images_of_both_formats_run(home, registry):
    assert home.ok("run", "--rm", registry.demo, "echo", "oci") == "oci\n"
    assert home.ok("run", "--rm", registry.schema2, "echo", "schema 2") == "schema 2\n"
    listed = home.ok("images")
    assert "demo" in listed and "schema2" in listed
    assert isinstance(json.loads(home.ok("images", "--format", "json")), list)


@identity.by_root
def test_a_reader_that_pauses_after_the_end_of_the_command_loses_nothing(home, demo):
    # 450,000 bytes fit into the buffers on the way, so the command ends while its reader, a pager say, has not read a byte.
    # The pause is longer than any patience of the shim with a VM that does not power off (30 s) and with a client (10 s).
    run = home.spawn("run", "--name", "slow", demo, "sh", "-c", "head -c 450000 /dev/zero", stdout=subprocess.PIPE)
    wait_until(lambda: [box["status"] for box in home.list()] == ["stopping"], "the command has ended and its output is not read")
    with pytest.raises(subprocess.TimeoutExpired):
        run.wait(timeout=45)
    output, _ = run.communicate()
    assert len(output) == 450000 and run.returncode == 0
    home.ok("rm", "slow")


@identity.by_root
def test_a_kill_overtakes_a_reader_that_never_reads(home, demo):
    run = home.spawn("run", "--name", "stuck", demo, "yes", stdout=subprocess.PIPE)
    assert run.stdout.read(2) == b"y\n"
    home.ok("kill", "stuck")
    assert (home.status("stuck"), home.inspect("stuck")["exit_code"]) == ("stopped", 137)
    run.kill()
    run.communicate()
    home.ok("rm", "stuck")


@identity.by_root
@pytest.mark.parametrize("when", ["at once", "when the VM has ended"])
def test_a_stop_overtakes_a_reader_that_never_reads(home, demo, when):
    run = home.spawn("run", "--name", "stuck", demo, "sh", "-c", "head -c 450000 /dev/zero", stdout=subprocess.PIPE)
    wait_until(lambda: [box["status"] for box in home.list()] == ["stopping"], "the command has ended and its output is not read")
    if when != "at once":
        wait_until(lambda: home.census().vms == 0, "the VM has ended")
        assert home.inspect("stuck")["status"] == "stopping"
    home.ok("stop", "-t", "0", "stuck")
    seen = home.inspect("stuck")
    assert (seen["status"], seen["exit_code"], seen["reason"]) == ("stopped", 0, "")
    run.kill()
    run.communicate()
    home.ok("rm", "stuck")
