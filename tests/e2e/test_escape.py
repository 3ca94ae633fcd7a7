"""Being the escaped VMM and the escaped network process: programs in their place try what somebody would who has taken them over."""

import hashlib
import os
import pathlib
import re
import shutil
import tempfile

import pytest
from boxlite_testing import census, identity
from boxlite_testing.cli import BIN_DIR, PATH
from boxlite_testing.waiting import wait_until

pytestmark = pytest.mark.skipif(not identity.OBSERVER_IS_ROOT, reason="makes other users' files")


@pytest.fixture(scope="module")
def victim(home, demo):
    """A box with a secret, of the same home and user."""
    home.ok("run", "-d", "--name", "victim", "-e", "TOKEN=secret-of-the-victim", "-p", "0:80", demo, "sleep", "infinity")
    yield home
    home.ok("rm", "-f", "victim")


@pytest.fixture
def place():
    """Where the product's user may go, and no folder of which is one above the home: the jail shows the folders above its programs."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="boxlite-escape-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def targets(home, place):
    box_id = home.inspect("victim")["id"]
    box = f"{home.home}/boxes/{box_id}"
    others = place / "of-another-user"
    others.write_text("x")
    os.chown(others, 65534, 65534)
    files = [home.home, home.home + "/boxlite.db", home.directory, *[f"{box}/{name}" for name in ("secrets", "disk.qcow2", "state.json", "shim.log")],
             f"{home.home}/locks/{box_id}.lease", str(others), "/etc/passwd", "/etc/shadow", "/root/.bashrc", "/proc/self/mem", "/proc/1/environ",
             "/sys/kernel", "/dev/mem", "/dev/kmsg", "/run", "/var/run", "/home", "/bin/sh"]
    shim = census.shim(home.home, box_id)
    pids = [shim.pid, census.qemu(home.home, box_id).pid, os.getpid()]
    port = home.inspect("victim")["ports"][0]["host_port"]
    return [*(f"file {path}" for path in files), f"socket {box}/portal.sock", "socket /run/docker.sock", "socket /run/dbus/system_bus_socket",
            f"port {port}", *(f"port {p}" for p in (22, 111)), *(f"pid {pid}" for pid in pids)]


def plant(path, program, what):
    """Puts one of our programs in another's place, with what it is to try."""
    with open(f"{BIN_DIR}/{program}", "rb") as file:
        binary = file.read()
    path.write_bytes(binary + ("\nTARGETS\n" + "\n".join(what) + "\n").encode())
    path.chmod(0o755)


def report(path):
    with open(path, errors="replace") as file:
        return [line.removeprefix("escape: ") for line in file.read().splitlines() if line.startswith("escape: ")]


def judge(lines, least, finished):
    assert lines and lines[-1].startswith("tried"), f"it did not come to its end: {lines}; {finished}"
    tried, got = map(int, re.fullmatch(r"tried (\d+), got (\d+)", lines[-1]).groups())
    print(f"\n{tried} attempts")
    assert [line for line in lines if line.startswith("GOT ")] == [] and got == 0
    assert tried >= least


def test_an_escaped_vmm_reaches_nothing_but_its_box(victim, demo, place):
    """In QEMU's jail, without QEMU's own filter of system calls."""
    bl = victim
    programs = place / "bin"
    programs.mkdir()
    plant(programs / "qemu-system-x86_64", "escaped_vmm", targets(bl, place))
    base_before = {name: os.stat(f"{bl.home}/bases/{name}") for name in os.listdir(f"{bl.home}/bases")}
    bl.ok("create", "--name", "escaped", demo, "true")
    log = f"{bl.home}/boxes/{bl.inspect('escaped')['id']}/console.log"
    finished = bl("--accel", "tcg", "start", "escaped", environment={"PATH": f"{programs}:{PATH}"})
    assert finished.code != 0
    judge(report(log), 120, finished)
    for name, before in base_before.items():
        after = os.stat(f"{bl.home}/bases/{name}")
        assert (after.st_mode, after.st_uid, after.st_mtime_ns, after.st_size) == (before.st_mode, before.st_uid, before.st_mtime_ns, before.st_size)
    assert bl.status("victim") == "running" and bl.ok("exec", "victim", "echo", "well") == "well\n"
    bl.ok("rm", "escaped")


@pytest.mark.parametrize("gone_on_from", ["process image", "device state"])
def test_an_escaped_vmm_cannot_change_what_others_are_restored_from(victim, demo, place, gone_on_from):
    """In a VMM that is to go on from a template: what it was handed of that, with the descriptors and the paths that it has."""
    bl = victim
    bl.ok("run", "--rm", demo, "true", environment={"BOXLITE_COLD": ""})
    programs = place / "libexec"
    shutil.copytree(BIN_DIR, programs)
    if gone_on_from == "process image":
        plant(programs / "boxlite-vm-resume", "escaped_vmm", targets(bl, place))
    else:
        plant(programs / "boxlite-memory-guard.so", "escaped_restored_vmm.so", targets(bl, place))
        for image in pathlib.Path(f"{bl.home}/templates").glob("*/process-image"):
            image.unlink()
    templates = [f"{bl.home}/templates/{name}" for name in os.listdir(f"{bl.home}/templates") if re.fullmatch("[0-9a-f-]*", name)]
    files = [open(f"{path}/{name}", "rb") for path in templates for name in os.listdir(path)]
    before = [(os.fstat(file.fileno()), hashlib.file_digest(file, "sha256").hexdigest()) for file in files]
    bl.ok("create", "--name", "escaped-restored", demo, "sleep", "infinity")
    log = f"{bl.home}/boxes/{bl.inspect('escaped-restored')['id']}/console.log.1"
    # What was restored has ended before it answered: the box boots instead.
    bl.ok("start", "escaped-restored", environment={"BOXLITE_LIBEXEC_DIR": str(programs), "BOXLITE_COLD": ""})
    lines = report(log)
    judge(lines, 150, log)
    # Base disk and memory, and the image or the device state.
    assert "files 3" in lines
    for file, (stat, digest) in zip(files, before):
        after = os.fstat(file.fileno())
        assert (after.st_mode, after.st_uid, after.st_size) == (stat.st_mode, stat.st_uid, stat.st_size), file.name
        file.seek(0)
        assert hashlib.file_digest(file, "sha256").hexdigest() == digest, file.name
        file.close()
    assert bl.ok("exec", "escaped-restored", "echo", "well") == "well\n"
    assert bl.status("victim") == "running" and bl.ok("exec", "victim", "echo", "well") == "well\n"
    bl.ok("rm", "-f", "escaped-restored")


def test_an_escaped_network_process_reaches_nothing_but_the_network(victim, demo, place):
    """In the sandbox that boxlite-net makes for itself."""
    bl = victim
    programs = place / "libexec"
    shutil.copytree(BIN_DIR, programs)
    plant(programs / "boxlite-net", "escaped_net", targets(bl, place))
    bl.ok("create", "--name", "escaped-net", demo, "sleep", "infinity")
    log = f"{bl.home}/boxes/{bl.inspect('escaped-net')['id']}/net.log"
    # Its end ends the box, while it starts or after.
    finished = bl("start", "escaped-net", environment={"BOXLITE_LIBEXEC_DIR": str(programs)})
    wait_until(lambda: bl.status("escaped-net") == "failed", "the box has ended")
    assert "network process" in bl.inspect("escaped-net")["reason"], str(finished)
    judge(report(log), 100, finished)
    assert bl.status("victim") == "running" and bl.ok("exec", "victim", "echo", "well") == "well\n"
    bl.ok("rm", "escaped-net")
