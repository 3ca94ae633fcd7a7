"""A guest that has been taken over, hostile_agent in the place of boxlite's agent: what it sends hurts its own box only."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import pytest
from boxlite_testing import identity, proc
from boxlite_testing.cli import BIN_DIR, REPOSITORY
from boxlite_testing.waiting import wait_until

pytestmark = [pytest.mark.skipif(not identity.OBSERVER_IS_ROOT, reason="looks into the shim, which is not dumpable"), identity.by_root]

KIB, MIB = 1 << 10, 1 << 20
AT_ONCE = 10.0  # with two cores that flood and translate
STOP = 1 + 10 + 2  # grace, the agent's shutdown, QEMU's quit: none of them is answered
FLOOD = 64 * MIB
# Of both files of each log; shim.log and what is not named here has a line or two for each thing that happens.
LOG_BOUNDS = {"console.log": 2 * MIB, "output.log": 20 * MIB, "net.log": 512 * KIB}
SHIM_GROWTH_KIB = 8 * KIB


@pytest.fixture(scope="module")
def guests():
    """A function: a directory with the guest's parts, whose agent has the given mode."""
    place = pathlib.Path(tempfile.mkdtemp(prefix="boxlite-hostile-"))
    place.chmod(0o755)

    def make(mode):
        guest = place / mode
        if not guest.exists():
            guest.mkdir()
            agent = place / "agent"
            with open(f"{BIN_DIR}/hostile_agent", "rb") as file:
                agent.write_bytes(file.read() + f"\nMODE\n{mode}".encode())
            subprocess.run([f"{REPOSITORY}/guest/initramfs/build.sh", agent, guest / "initramfs.cpio"], check=True)
            kernel = pathlib.Path(BIN_DIR).parent / "guest" / "vmlinux"
            shutil.copyfile(kernel, guest / "vmlinux")
        return str(guest)
    yield make
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def witness(home, demo):
    """Another box of the same home."""
    home.ok("run", "-d", "--name", "witness", demo, "sleep", "infinity")
    yield home
    home.ok("rm", "-f", "witness")


class Hostile:
    def __init__(self, bl, guests, mode, demo, *flags):
        self.bl, self.guest = bl, guests(mode)
        bl.ok("create", "--name", "hostile", *flags, demo, "true")
        self.directory = f"{bl.home}/boxes/{bl.inspect('hostile')['id']}"
        self.starting = None

    def begin(self):
        self.starting = self.bl.spawn("start", "hostile", environment={"BOXLITE_GUEST_DIR": self.guest, "BOXLITE_COLD": "1"})
        return self

    def start(self):
        self.begin()
        self.wait_for_status("running")
        return self

    def wait_for_status(self, status):
        wait_until(lambda: self.bl.status("hostile") == status, f"the box is {status}")

    def wait_for_failure(self, reason):
        self.wait_for_status("failed")
        assert reason in self.bl.inspect("hostile")["reason"]
        code, error = self.started()
        assert code == 0 or reason in error, error

    def started(self):
        _, error = self.starting.communicate(timeout=60)
        return self.starting.returncode, error.decode()

    def sent(self):
        """How many bytes its shim has read."""
        shim = self.bl.shim("hostile")
        if not shim:
            return 0
        with open(f"/proc/{shim.pid}/io") as file:
            return int(file.readline().removeprefix("rchar: "))

    def check(self):
        """Everybody else works as before, and nothing of its own has grown beyond its bounds."""
        listed = at_once(lambda: {box["name"]: box["status"] for box in self.bl.list()})
        assert listed["witness"] == "running"
        assert at_once(lambda: self.bl.ok("exec", "witness", "echo", "well")) == "well\n"
        if shim := self.bl.shim("hostile"):
            assert peak_kib(shim) <= peak_kib(self.bl.shim("witness")) + SHIM_GROWTH_KIB
        sizes = self.log_sizes()
        for name, size in sizes.items():
            assert size <= LOG_BOUNDS.get(name, 64 * KIB), sizes
        return listed["hostile"]

    def log_sizes(self):
        sizes = {}
        for path in pathlib.Path(self.directory).glob("*.log*"):
            name = path.name.removesuffix(".1")
            with contextlib.suppress(FileNotFoundError):  # it is just begun anew
                sizes[name] = sizes.get(name, 0) + path.stat().st_size
        return sizes

    def stop(self):
        began = time.monotonic()
        self.bl.ok("stop", "-t", "1", "hostile")
        assert time.monotonic() - began < STOP + AT_ONCE
        assert self.bl.status("hostile") in ("stopped", "failed")

    def remove(self):
        at_once(lambda: self.bl.ok("rm", "-f", "hostile"))
        seen = self.bl.census()
        assert (seen.rows, seen.directories, seen.leases, seen.vm_locks, seen.shims, seen.vms, seen.networks) == (1,) * 7, seen
        assert not os.path.exists(self.directory)
        assert self.bl.ok("exec", "witness", "echo", "well") == "well\n"


def at_once(call):
    began = time.monotonic()
    result = call()
    assert time.monotonic() - began < AT_ONCE
    return result


def peak_kib(process):
    with open(f"/proc/{process.pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))


@pytest.fixture
def hostile(witness, guests, demo):
    def make(mode, *flags):
        box = Hostile(witness, guests, mode, demo, *flags)
        made.append(box)
        return box
    made = []
    yield make
    if [box for box in witness.list() if box["name"] == "hostile"]:
        witness.ok("rm", "-f", "hostile")


@pytest.mark.parametrize("mode, reason", [
    ("long-frame", "a data frame of 4294967295 bytes"),
    ("long-message", "a message of 4294967295 bytes was announced"),
    ("never-opened", "a frame for stream 9999, which was never opened"),
    ("own-stream", "the agent opened stream 2; only the host may"),
    ("second-epoch", "a frame of version 66"),
    ("cut-frame", "the VM ended unexpectedly"),
    ("exit-code", "an exit with code 70000 and signal 0"),
    ("exit-signal", "an exit with code 0 and signal 99"),
])
def test_a_guest_that_breaks_the_protocol_fails_its_own_box_with_the_reason(hostile, mode, reason):
    box = hostile(mode).begin()
    box.wait_for_failure(reason)
    box.check()
    box.remove()


def test_a_guest_of_another_version_fails_its_start(hostile):
    box = hostile("other-version").begin()
    box.wait_for_failure("speaks version 2 of the portal")
    box.remove()


def test_a_reply_with_many_small_parts_is_refused_before_it_takes_memory(hostile, witness):
    box = hostile("many-processes").begin()
    box.wait_for_failure("a message of 1080005 bytes was announced")
    box.remove()


def test_a_guest_that_makes_noise_and_never_answers_is_given_up(hostile):
    box = hostile("noise").begin()
    wait_until(lambda: box.sent() > FLOOD // 4, "a lot of noise has come")
    assert box.check() == "starting"
    box.wait_for_failure("does not answer after 30 s of CPU time")
    box.remove()


@pytest.mark.parametrize("end", ["stop", "remove"])
def test_a_start_of_a_guest_that_says_nothing_can_be_ended(hostile, end):
    box = hostile("silent").begin()
    box.wait_for_status("starting")
    box.check()
    getattr(box, end)()
    code, error = box.started()
    assert code != 0 and "hostile" in error, error
    if end == "stop":
        box.remove()


@pytest.mark.parametrize("mode", ["frames", "log"])
def test_a_guest_that_floods_its_link_is_bounded_and_ended_as_any_other(hostile, mode):
    box = hostile(mode).start()
    wait_until(lambda: box.sent() > FLOOD, "a lot has come")
    assert box.check() == "running"
    box.stop()
    box.start()
    wait_until(lambda: box.sent() > FLOOD, "a lot has come again")
    box.check()
    box.remove()


def test_a_guest_that_floods_its_console_keeps_the_newest_of_it_only(hostile):
    box = hostile("console").start()
    console = f"{box.directory}/console.log"
    first = os.stat(console).st_ino
    wait_until(lambda: os.path.exists(console + ".1") and os.stat(console + ".1").st_ino != first, "two logs have been filled", 600)
    assert box.check() == "running"
    box.stop()
    box.remove()


@pytest.mark.parametrize("mode", ["never-reads", "never-answers"])
def test_a_guest_that_does_not_read_or_answer_takes_no_memory_and_is_ended_as_any_other(hostile, witness, mode):
    box = hostile(mode).start()
    shim = witness.shim("hostile")
    wait_until(shim.waiting, "it has closed the connection of who has just asked it")
    before = len(proc.open_files(shim.pid))
    calls = [witness.spawn(*call) for call in (
        ["exec", "hostile", "true"], ["exec", "hostile", "true", "x" * 100_000], ["top", "hostile"], ["kill", "hostile"],
        ["cp", "hostile:/etc/passwd", "-"], ["attach", "hostile"])]
    wait_until(lambda: len(proc.open_files(shim.pid)) >= before + len(calls), "all of them wait for an answer")
    assert witness.ok("stats", "--no-stream", "--format", "json", "hostile").count("null") > 5
    assert box.check() == "running"
    box.stop()
    for call in calls:
        call.communicate(timeout=60)
        assert call.returncode == 125, call.args
    box.remove()


LIES = {
    "failure": "box hostile",
    "session": "the agent named a session",
    "code": "an exit with code -1",
    "signal": "an exit with code 227 and signal 99",
    "offset": "output at byte 18446744073709551615",
    "chunk": "a chunk of 65537 bytes",
    "nothing": "an output message that says nothing",
    "processes": "replied without a session",
    "end": "ended or was removed before",
}


def test_a_guest_that_lies_to_a_command_is_told_of_and_writes_nothing_to_the_terminal(hostile, witness):
    box = hostile("lies").start()
    for lie, told in LIES.items():
        error = witness.refused("exec", "hostile", lie, mentions=told)
        assert not set(error) & {"\x1b", "\a", "\r", "\x9b"}, (lie, error)
    for call in (["top", "hostile"], ["top", "--format", "json", "hostile"], ["stats", "--no-stream", "hostile"]):
        text = witness.ok(*call)
        assert not set(text) & {"\x1b", "\a", "\r", "\x9b"} and len(text) < 10_000, text
    flood = witness.spawn("exec", "hostile", "flood")
    read = 0
    while read < FLOOD:
        read += len(flood.stdout.read(MIB))
    assert box.check() == "running"  # and now nobody reads
    flood.send_signal(signal.SIGKILL)
    box.check()
    box.remove()


def test_an_archive_from_a_hostile_guest_lands_where_it_was_asked_for_or_nowhere(hostile, witness):
    hostile("lies").start()
    parent = pathlib.Path(witness.directory) / "copies"
    target = parent / "into"
    target.mkdir(parents=True)
    (parent / "secret").write_text("secret")
    identity.give(str(parent))
    for attack in ("dots", "absolute", "link", "hard", "other"):
        witness.refused("cp", f"hostile:/{attack}", target)
    outside = [path.relative_to(parent) for path in parent.rglob("*") if path.is_file() and not path.is_symlink()]
    assert outside == [pathlib.Path("secret")], outside
    assert (parent / "secret").stat().st_nlink == 1 and not os.path.exists("/tmp/boxlite-escaped")
    assert not list(pathlib.Path(witness.directory).rglob("escaped"))


def test_a_flood_on_the_port_of_the_volumes_costs_the_volumes_only(hostile, witness, demo):
    box = hostile("volumes", "-v", "kept:/data").start()
    wait_until(lambda: "the box's volumes: portal: the agent opened stream 2" in open(f"{box.directory}/shim.log").read(), "it is told")
    assert box.check() == "running"
    box.stop()
    box.remove()
    assert witness.ok("run", "--rm", "-v", "kept:/data", demo, "sh", "-c", "echo x >/data/x; cat /data/x") == "x\n"
    witness.ok("volume", "rm", "kept")


def test_a_guest_that_spoils_its_disk_has_spoilt_its_own_disk(hostile, witness):
    box = hostile("disk").start()
    wait_until(lambda: "spoilt" in open(f"{box.directory}/console.log").read(), "all is written")
    disk = f"{box.directory}/disk.qcow2"
    assert 32 * MIB < os.stat(disk).st_blocks * 512 < 64 * MIB
    assert box.check() == "running"
    box.stop()
    base = next(pathlib.Path(witness.home, "bases").iterdir())
    checked = subprocess.run(["qemu-img", "check", "-f", "qcow2", disk], capture_output=True, text=True)
    assert checked.returncode == 0, checked
    assert subprocess.run(["e2fsck", "-fn", base], capture_output=True).returncode == 0
    error = witness.refused("start", "hostile", mentions=["hostile"])  # with boxlite's own agent
    assert "shadow" not in error
    box.remove()
