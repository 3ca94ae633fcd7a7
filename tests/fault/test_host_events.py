"""What happens to a host: a reboot, pids and clocks that are others now, other users, limits, a home that cannot be written."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import time

import pytest
from boxlite_testing import census, identity, proc
from boxlite_testing.cli import BIN_DIR, Boxlite
from boxlite_testing.registry import free_port
from boxlite_testing.waiting import wait_until

needs_root = pytest.mark.skipif(not identity.OBSERVER_IS_ROOT, reason="mounts, or becomes other users")
ANOTHER_BOOT = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def bystander():
    """An unrelated process, which any signal would end or stop."""
    child = subprocess.Popen(["sleep", "infinity"], preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    process = proc.process(child.pid)
    yield process
    assert process.alive(), "an unrelated process was signalled"
    with open(f"/proc/{process.pid}/stat") as file:
        assert file.read().rsplit(")", 1)[1].split()[0] == "S"
    child.kill()
    child.wait()


def lease_path(boxlite, box):
    return f"{boxlite.home}/locks/{boxlite.inspect(box)['id']}.lease"


def rewrite(path, **changes):
    """Another's record in the place of a file's; the file stays the same one, with its lock."""
    with open(path, "r+") as file:
        record = {**json.load(file), **changes}
        file.seek(0)
        file.truncate()
        file.write(json.dumps(record) + "\n")


def edit_database(boxlite, statement, *values):
    with contextlib.closing(sqlite3.connect(f"{boxlite.home}/{census.DATABASE}", timeout=30)) as database, database:
        database.execute(statement, values)


def cut_power(boxlite):
    """Nothing of the home runs any more, nothing has been tidied up, and all that was written is of another boot."""
    for process in census.processes(boxlite.home):
        process.kill(signal.SIGKILL)
    wait_until(lambda: not census.processes(boxlite.home), "all are gone")
    edit_database(boxlite, "UPDATE boxes SET start_boot_id = ? WHERE start_boot_id IS NOT NULL", ANOTHER_BOOT)
    for name in os.listdir(f"{boxlite.home}/locks"):
        if name.endswith(".lease") and os.path.getsize(f"{boxlite.home}/locks/{name}"):
            rewrite(f"{boxlite.home}/locks/{name}", boot_id=ANOTHER_BOOT)
    give(boxlite)


def give(boxlite):
    """What the observer has written is the product's user's again."""
    identity.give(boxlite.home)


def test_after_a_reboot_every_box_is_told_as_it_is_and_starts_again_with_its_disk(boxlite, demo, bystander):
    boxlite.ok("run", "-d", "--name", "running", "-p", "0:80", "-v", "kept:/kept", demo, "sleep", "infinity")
    boxlite.ok("exec", "running", "sh", "-c", "echo disk >/root/word; echo volume >/kept/word; sync")
    boxlite.ok("run", "-d", "--rm", "--name", "passing", demo, "sleep", "infinity")
    assert boxlite("run", "--name", "ended", demo, "sh", "-c", "exit 7").code == 7
    for name, point, command in (("beginning", "start.intent", "start"), ("going", "remove.intent", "rm")):
        boxlite.ok("create", "--name", name, demo, "sleep", "infinity")
        boxlite(command, name, environment={"BOXLITE_FAILPOINTS": f"{point}=kill9"})
    running = boxlite.inspect("running")["id"]
    assert os.path.exists(f"{boxlite.home}/boxes/{running}/portal.sock")
    lease = lease_path(boxlite, "running")
    cut_power(boxlite)
    # Its pid is another's by now, which even began at the same time after its boot.
    rewrite(lease, pid=bystander.pid, start_time=bystander.start_time)

    listed = {box["name"]: (box["status"], box["reason"], box["exit_code"]) for box in boxlite.list()}
    rebooted = ("stopped", "the host was rebooted", None)
    assert listed["running"] == listed["passing"] == listed["beginning"] == rebooted, listed
    assert listed["ended"] == ("stopped", "", 7)
    assert listed.get("going", ("failed",))[0] == "failed"
    seen = boxlite.census()
    assert (seen.leases, seen.vm_locks, seen.listeners) == (0, 0, 0), seen

    boxlite.refused("exec", "running", "true", mentions="boxlite start running")
    boxlite.ok("stop", "running")
    boxlite.ok("start", "running")
    assert boxlite.ok("exec", "running", "cat", "/root/word", "/kept/word") == "disk\nvolume\n"
    boxlite.ok("start", "beginning")
    boxlite.ok("rm", "-f", "running", "passing", "beginning", "ended")
    boxlite("rm", "going")
    boxlite.ok("volume", "rm", "kept")
    boxlite.assert_nothing_left()


@pytest.mark.parametrize("reuse", ["of the same boot", "of another boot"])
def test_an_unrelated_process_with_the_recorded_pid_is_never_signalled(boxlite, demo, bystander, reuse):
    started = {"of the same boot": {"start_time": bystander.start_time + 1},
               "of another boot": {"start_time": bystander.start_time, "boot_id": ANOTHER_BOOT}}[reuse]
    for end in (["stop", "-t", "1", "a"], ["kill", "a"], ["rm", "-f", "a"]):
        boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
        shim = boxlite.shim("a")
        rewrite(lease_path(boxlite, "a"), pid=bystander.pid, **started)
        assert boxlite.status("a") == "running" and boxlite.ok("exec", "a", "echo", "here") == "here\n"
        boxlite.ok(*end)
        wait_until(lambda shim=shim: not shim.alive(), "its own shim has ended")
        assert bystander.alive()
        boxlite("rm", "-f", "a")
        boxlite.assert_nothing_left()


def test_a_clock_that_was_set_back_by_years_changes_nothing_but_what_is_displayed(boxlite, demo):
    """All that was written has a time of the future then."""
    boxlite.ok("run", "-d", "--name", "a", demo, "sh", "-c", "echo word; sleep infinity")
    boxlite.ok("create", "--name", "b", demo)
    wait_until(lambda: boxlite.ok("logs", "a") == "word\n", "it has spoken")
    edit_database(boxlite, "UPDATE boxes SET created_at = '2099-01-01T00:00:00Z', started_at = '2099-01-01T00:00:00Z'")
    box = boxlite.inspect("a")["id"]
    rewrite(f"{boxlite.home}/boxes/{box}/state.json", started_at="2099-01-01T00:00:00Z")
    give(boxlite)
    assert {box["name"]: box["status"] for box in boxlite.list()} == {"a": "running", "b": "created"}
    assert "Up Less than a second" in boxlite.ok("ls", "-a")
    assert boxlite.ok("exec", "a", "echo", "here") == "here\n"
    boxlite.ok("stop", "-t", "0", "a")
    assert boxlite.ok("wait", "a") == "137\n"
    boxlite.ok("start", "a")
    assert boxlite.status("a") == "running"
    boxlite.ok("rm", "-f", "a", "b")
    boxlite.assert_nothing_left()


def test_the_clock_of_a_guest_that_stood_still_is_the_hosts_again(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")

    def is_the_hosts():
        before = time.time()
        return before - 3 < float(boxlite.ok("exec", "a", "date", "+%s")) < time.time() + 3
    assert is_the_hosts()
    qemu = census.qemu(boxlite.home, boxlite.inspect("a")["id"])
    stopped = time.monotonic()
    qemu.stop()
    wait_until(lambda: time.monotonic() > stopped + 10, "ten seconds have passed without it")
    qemu.kill(signal.SIGCONT)
    wait_until(is_the_hosts, "its clock has followed", 30)


# Users that nobody else runs as, another run of these tests beside this one neither.
ANOTHER_UID = 100_000 + os.getpid()
COUNTED_UID = ANOTHER_UID + 5_000_000


class Other(Boxlite):
    """Another user's command line, with a home of his own."""

    def __init__(self, uid, limits=()):
        super().__init__()
        self.uid, self.limits = uid, limits
        os.chown(self.directory, uid, uid)

    def argv(self, *arguments, program="boxlite"):
        return ["/usr/bin/setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups", "--inh-caps=-all",
                "--bounding-set=-all", *self.limits, os.path.join(BIN_DIR, program), *map(str, arguments)]


@pytest.fixture
def other():
    runner = Other(ANOTHER_UID)
    yield runner
    runner.close()


@needs_root
def test_two_users_neither_see_nor_hurt_each_others_boxes(boxlite, other, demo):
    for runner in (boxlite, other):
        runner.ok("run", "-d", "--name", "a", demo, "sh", "-c", "echo secret; sleep infinity")
    mine, box = boxlite.home, boxlite.inspect("a")["id"]
    assert [found["id"] for found in other.list()] != [box]
    other.refused("exec", box, "true", mentions="no box named")
    other.refused("rm", box, mentions="no box named")
    for verb in (["ls"], ["exec", "a", "true"], ["logs", "a"], ["rm", "-f", "a"], ["stop", "a"], ["create", demo]):
        other.refused("--home", mine, *verb, mentions=mine)
    if not identity.PRODUCT_IS_ROOT:
        shim = boxlite.shim("a")
        killed = subprocess.run(["setpriv", f"--reuid={ANOTHER_UID}", f"--regid={ANOTHER_UID}", "--clear-groups", "kill", "-9", str(shim.pid)], capture_output=True)
        assert killed.returncode != 0 and shim.alive()
    # Were the modes of the way to it lost, the shim looks who comes.
    connect = ("import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(b'control 1\\n{\"call\": \"stop\", "
               "\"grace_ms\": 0}\\n'); sys.exit(len(s.recv(100)))")
    path = f"{mine}/boxes/{box}/portal.sock"
    opened = [boxlite.directory, mine, f"{mine}/boxes", f"{mine}/boxes/{box}", path]
    modes = [os.stat(name).st_mode & 0o7777 for name in opened]
    for name in opened:
        os.chmod(name, 0o777)
    try:
        tried = subprocess.run(["setpriv", f"--reuid={ANOTHER_UID}", f"--regid={ANOTHER_UID}", "--clear-groups", "/usr/bin/python3", "-c", connect, path],
                               capture_output=True, text=True)
        assert tried.returncode == 0 or "ConnectionReset" in tried.stderr or "BrokenPipe" in tried.stderr, tried
    finally:
        for name, mode in zip(opened, modes):
            os.chmod(name, mode)
    for runner in (boxlite, other):
        assert runner.status("a") == "running" and runner.ok("exec", "a", "echo", "here") == "here\n"
    # A port is one user's or the other's.
    port = free_port()
    boxlite.ok("run", "-d", "--name", "b", "-p", f"{port}:80", demo, "sleep", "infinity")
    other.refused("run", "-d", "--name", "b", "-p", f"{port}:80", demo, "sleep", "infinity", mentions=[str(port), "taken"])
    boxlite.ok("rm", "-f", "b")
    assert [found["name"] for found in other.list() if found["status"] == "running"] == ["a"]


@needs_root
def test_a_limit_of_processes_is_told_wherever_it_strikes_and_leaves_nothing(demo):
    """From one process, which is the command itself, to as many as a box needs; they are this user's only ones."""
    unlimited = Other(COUNTED_UID)
    unlimited.ok("pull", demo)
    told = []
    try:
        for processes in range(1, 64):
            unlimited.limits = ("/usr/bin/prlimit", f"--nproc={processes}")
            finished = unlimited("run", "--rm", "--network", "none", demo, "echo", "enough")
            unlimited.limits = ()
            unlimited.assert_nothing_left()
            assert unlimited.list() == []
            if finished.code == 0:
                break
            told.append(finished)
        assert finished.out == "enough\n" and len(told) >= 3, f"not even with {processes}: {finished}"
        for failed in told:
            assert failed.code == 125 and failed.out == "" and len(failed.err.splitlines()) == 1, str(failed)
            assert "temporarily unavailable" in failed.err, str(failed)
        # A command that has threads of its own does without them, or says that it cannot.
        unlimited.ok("tag", demo, "here:1")
        unlimited.ok("create", "--name", "a", demo)
        unlimited.limits = ("/usr/bin/prlimit", "--nproc=1")
        for verb in (["start", "a"], ["run", "--rm", demo, "true"], ["run", "--rm", "here:1", "true"]):
            unlimited.refused(*verb, mentions=["temporarily unavailable", "ulimit -u"])
        assert len(unlimited.list()) == 1 and unlimited.ok("stop", "a") == "a\n" and unlimited.ok("rm", "-f", "a") == "a\n"
        unlimited.assert_nothing_left()
    finally:
        unlimited.limits = ()
        unlimited.close()


@needs_root
def test_a_home_that_cannot_be_written_any_more_is_told_of_by_every_command(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
    shim = boxlite.shim("a")
    subprocess.run(["mount", "--bind", boxlite.home, boxlite.home], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", boxlite.home], check=True)
        for verb in (["ls"], ["inspect", "a"], ["exec", "a", "true"], ["logs", "a"], ["stop", "a"], ["rm", "-f", "a"], ["create", demo]):
            boxlite.refused(*verb, mentions=[boxlite.home, "Read-only file system"])
        assert shim.alive()
    finally:
        subprocess.run(["umount", "--lazy", boxlite.home], check=True)
    assert boxlite.status("a") == "running" and boxlite.ok("exec", "a", "echo", "here") == "here\n"
