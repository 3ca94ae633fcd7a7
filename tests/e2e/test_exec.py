"""`exec`: a second command in a running box, with docker's meaning. All tests share one box."""

import json
import os
import signal
import subprocess
import time

import pytest
from boxlite_testing import census
from boxlite_testing.terminal import Terminal
from boxlite_testing.waiting import wait_until


def test_output_stays_apart_and_the_exit_code_comes_back(shared):
    finished = shared("exec", "box", "sh", "-c", "echo out; echo err >&2; exit 9")
    assert (finished.out, finished.err, finished.code) == ("out\n", "err\n", 9)


@pytest.mark.parametrize("command, code", [(["no-such"], 127), (["/etc/passwd"], 126), (["/etc"], 126), (["/nowhere/x"], 127),
                                           (["sh", "-c", "kill -KILL $$"], 137), (["sh", "-c", "kill -TERM $$"], 143)])
def test_exit_codes_are_dockers(shared, command, code):
    finished = shared("exec", "box", *command)
    assert finished.code == code, str(finished)


def test_flags_of_the_command_are_left_to_it(shared):
    assert shared.ok("exec", "box", "echo", "-e", "-t", "--help") == "-t --help\n"
    assert shared.ok("exec", "box", "--", "echo", "x") == "x\n"


def test_environment_user_and_directory(shared):
    shown = "echo $FROM_BOX $GREETING; echo ${MINE-unset}; id -un; pwd"
    assert shared.ok("exec", "box", "sh", "-c", shown).splitlines() == ["yes hello from the image", "unset", "root", "/"]
    assert shared.ok("exec", "-e", "MINE=here", "-u", "app", "-w", "/tmp", "box", "sh", "-c", shown).splitlines() == [
        "yes hello from the image", "here", "app", "/tmp"]


def test_stdin_is_passed_on_only_when_asked_for(shared):
    assert shared.ok("exec", "-i", "box", "wc", "-c", input=b"x" * 100000).split() == ["100000"]
    assert shared.ok("exec", "box", "wc", "-c", input=b"x" * 100000).split() == ["0"]


def test_four_megabytes_go_in_and_out_unchanged(shared):
    data = bytes((i * 7 + i // 251) % 256 for i in range(4 << 20))
    assert shared("exec", "-i", "box", "cat", input=data).stdout == data


def test_a_closed_output_ends_the_command_line(shared):
    child = shared.spawn("exec", "box", "yes")
    assert child.stdout.read(4) == b"y\ny\n"
    child.stdout.close()
    child.wait(timeout=60)
    assert child.returncode != 0
    shared.ok("exec", "box", "true")


def test_a_reader_that_stops_reading_holds_up_nobody_else(shared):
    child = shared.spawn("exec", "box", "yes")
    assert child.stdout.read(2) == b"y\n"
    for _ in range(3):
        assert shared.ok("exec", "box", "echo", "free") == "free\n"
    child.kill()
    child.communicate()
    shared.ok("exec", "box", "sh", "-c", "kill $(pidof yes)")


def test_a_terminal_has_the_size_of_ours_and_follows_it(shared):
    with Terminal(shared, "exec", "-it", "box", "sh", rows=20, columns=60) as terminal:
        terminal.read_until("# ")
        terminal.send("stty size\n")
        terminal.read_until("20 60")
        terminal.resize(33, 101)
        terminal.send("until [ \"$(stty size)\" = '33 101' ]; do :; done; echo fol''lowed\n")
        terminal.read_until("followed")
        terminal.send("tty; exit 4\n")
        terminal.read_until("/dev/")
        assert terminal.wait() == 4


def test_control_d_ends_the_input_of_a_terminal(shared):
    with Terminal(shared, "exec", "-it", "box", "cat") as terminal:
        terminal.send("typed\n")
        terminal.read_until("typed\r\ntyped\r\n")
        terminal.send("\x04")
        assert terminal.wait() == 0


def test_a_terminal_is_refused_where_there_is_none(shared):
    finished = shared("exec", "-it", "box", "true")
    assert finished.code != 0 and len(finished.err.splitlines()) == 1, str(finished)


def test_processes_of_one_exec_see_those_of_the_box(shared):
    assert shared.ok("exec", "box", "cat", "/proc/1/cmdline") == "sleep\0infinity\0"


def test_a_box_has_dockers_files_and_mounts(shared):
    hostname = shared.inspect("box")["id"]
    assert shared.ok("exec", "box", "cat", "/etc/hostname").strip() == hostname == shared.ok("exec", "box", "hostname").strip()
    assert hostname in shared.ok("exec", "box", "cat", "/etc/hosts")
    mounts = {line.split()[1]: line.split()[2] for line in shared.ok("exec", "box", "cat", "/proc/mounts").splitlines()}
    for path, kind in (("/", "ext4"), ("/proc", "proc"), ("/dev", "tmpfs"), ("/dev/pts", "devpts"), ("/dev/shm", "tmpfs"),
                       ("/dev/mqueue", "mqueue"), ("/sys", "sysfs"), ("/sys/fs/cgroup", "cgroup2")):
        assert mounts.get(path) == kind, f"{path}: {mounts}"
    assert shared("exec", "box", "sh", "-c", "echo b >/proc/sysrq-trigger").code != 0
    shared.ok("exec", "box", "sh", "-c", "echo x >/dev/null && head -c 8 /dev/urandom >/dev/shm/x && test -c /dev/tty")


def test_the_clock_is_the_hosts(shared):
    import time
    before = time.time()
    assert before - 3 < int(shared.ok("exec", "box", "date", "+%s")) < time.time() + 3


def test_a_box_is_found_by_name_id_and_beginning_of_its_id(shared):
    box = shared.inspect("box")["id"]
    for reference in ("box", box, box[:4]):
        assert shared.ok("exec", reference, "echo", "it") == "it\n"


def test_inspect_shows_the_state_as_json(shared):
    boxes = json.loads(shared.ok("inspect", "box"))
    assert boxes[0]["name"] == "box" and boxes[0]["status"] == "running" and boxes[0]["generation"] == 1


def test_commands_that_have_ended_are_no_zombies(shared):
    # What a command leaves behind goes to the box's PID 1, which reaps it or not, as under docker: here nothing is left behind.
    for _ in range(5):
        shared.ok("exec", "box", "true")
        shared("exec", "box", "sh", "-c", "kill -KILL $$")
    assert "Z" not in shared.ok("exec", "box", "sh", "-c", "cat /proc/[0-9]*/stat | sed 's/.*) //; s/ .*//'")


def test_stdin_of_an_interactive_exec_can_be_a_conversation(shared):
    child = shared.spawn("exec", "-i", "box", "sh", stdin=subprocess.PIPE)
    for number in range(3):
        child.stdin.write(f"echo answer {number}\n".encode())
        child.stdin.flush()
        assert child.stdout.readline() == f"answer {number}\n".encode()
    child.stdin.write(b"exit 2\n")
    child.stdin.close()
    assert child.wait(timeout=60) == 2


def blocks(pid, number):
    """Whether the process has come to the point from which it handles the signal itself."""
    with open(f"/proc/{pid}/status") as status:
        blocked = next(line.split()[1] for line in status if line.startswith("SigBlk:"))
    return int(blocked, 16) >> (number - 1) & 1 == 1


def interrupt(child, number):
    """Sends the signal; the exit status and the error output of what leaves for it."""
    os.kill(child.pid, number)
    sent_at = time.monotonic()
    _, stderr = child.communicate(timeout=20)  # a box has a minute to answer
    print(f"left {time.monotonic() - sent_at:.1f} s after the signal")
    return child.returncode, stderr.decode()


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_box_that_does_not_answer_keeps_nobody(shared, number, code):
    running = shared.spawn("exec", "box", "sh", "-c", "echo here; exec sleep 1000")
    assert running.stdout.readline() == b"here\n"
    qemu = census.qemu(shared.home, shared.inspect("box")["id"])
    qemu.stop()
    try:
        shared.refused("exec", "box", "echo", "hi", mentions="kill -CONT")
        wait_until(lambda: blocks(running.pid, number), "exec handles signals")
        status, errors = interrupt(running, number)
        assert status == code and len(errors.splitlines()) == 1 and "box" in errors, (status, errors)
    finally:
        qemu.kill(signal.SIGCONT)
    assert shared.ok("exec", "box", "echo", "again") == "again\n"
