"""What a box's processes have: descriptors and environment by allow-list, on the host and in their jails."""

import os
import re
import signal
import stat

import pytest
from boxlite_testing import census, identity, proc
from boxlite_testing.waiting import wait_until

pytestmark = pytest.mark.skipif(not identity.OBSERVER_IS_ROOT, reason="only root sees what other processes have open")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("served")
    for parent in (path.parent, path.parent.parent):
        os.chmod(parent, 0o755)
    os.chmod(path, 0o755)
    return identity.give(str(path))


@pytest.fixture(scope="module")
def box(home, demo, folder):
    """A box with all the processes there are: a network with a published port, and a volume."""
    home.ok("run", "-d", "--name", "a", "-p", "0:80", "-v", f"{folder}:/data", demo, "sleep", "infinity", environment={"SECRET": "secret-of-the-caller"})
    yield home
    home.ok("rm", "-f", "a")


def processes(home, name="a"):
    """{name: processes}"""
    box_id = home.inspect(name)["id"]
    found = {}
    for process in [census.shim(home.home, box_id), *census.vm_processes(home.home, box_id)]:
        found.setdefault(process.name.split("-x86")[0], []).append(process)
    return found


def descriptors(pid):
    """{number: what it is}: a path, or a kind with what tells it from others of that kind."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{name}"
        try:
            link = os.readlink(path)
            if link.startswith("socket:"):
                link = "socket " + socket_kind(pid, link[len("socket:["):-1])
            elif stat.S_ISFIFO(os.stat(path).st_mode):
                link = "pipe"
        except FileNotFoundError:
            continue  # closed meanwhile
        found[int(name)] = link
    return found


KINDS = {"0001": "stream", "0002": "dgram"}
LISTENING = "00010000"  # __SO_ACCEPTCON


def socket_kind(pid, inode):
    # Pairs are of the shim's network namespace, whoever has their ends.
    with open("/proc/self/net/unix") as file:
        for line in file:
            _, _, _, flags, kind, _, number, *path = line.split()
            if number == inode:
                return f"unix {KINDS[kind]}{' listening ' + os.path.basename(path[0]) if path and flags == LISTENING else ' of a path' if path else ''}"
    return proc.listeners(pid).get(inode, ["of no known kind"])[0]


ANON = "anon_inode:"
# What each process may have open, and how often: (pattern, least, most).
ALLOWED = {
    "boxlite-shim": [
        (r"/dev/null", 1, 1), (r"HOME/boxes/ID/shim\.log", 2, 2), (r"HOME/locks/ID\.lease", 1, 1),
        (r"HOME/boxes/ID/(output|console|net)\.log", 3, 3), (r"socket unix stream listening portal\.sock", 1, 1),
        # Console, QMP, portal, volumes, the network's control; the volume's own connection.
        (r"socket unix stream", 6, 6),
        # The lifeline, what QEMU and the network print; both ends of the pipe that tells of signals.
        (r"pipe", 5, 5), (rf"{ANON}\[pidfd\]", 3, 3),
        (rf"{ANON}\[eventpoll\]", 1, 1), (rf"{ANON}\[eventfd\]", 1, 1), (rf"{ANON}\[timerfd\]", 2, 2),
    ],
    "bwrap": [(r"/dev/null", 1, 1), (r"HOME/boxes/ID/shim\.log|pipe", 2, 2), (rf"{ANON}\[signalfd\]", 1, 1)],
    "vm-init": [
        # The lifeline, and where QEMU complains.
        (r"/dev/null", 1, 1), (r"pipe", 3, 3), (rf"{ANON}\[pidfd\]", 1, 1), (r"HOME/locks/ID\.vm", 1, 1), (rf"{ANON}\[signalfd\]", 1, 1),
    ],
    "qemu-system": [
        (r"/dev/null", 1, 2), (r"pipe", 2, 2), (r"HOME/locks/ID\.vm", 1, 1),
        (r"HOME/bases/.*", 1, 4), (r"HOME/boxes/ID/disk\.qcow2", 1, 4), (r"/boxlite/memory", 0, 1), (r"/dev/urandom", 1, 1),
        (r"socket unix stream", 4, 4), (r"socket unix dgram", 1, 1),
        (rf"{ANON}\[eventfd\]", 0, 64), (rf"{ANON}\[eventpoll\]", 0, 8), (rf"{ANON}\[signalfd\]", 0, 1), (rf"{ANON}\[io_uring\]", 0, 2),
        (r"/dev/kvm", 0, 1), (rf"{ANON}kvm-.*", 0, 64),
    ],
    "boxlite-net": [
        # Standard error twice: its copy is the descriptor kept in reserve (src/net/accept.h).
        (r"/dev/null", 1, 1), (r"pipe", 2, 2), (r"socket unix stream", 1, 1), (r"socket unix dgram", 1, 1),
        (rf"{ANON}\[pidfd\]", 1, 1), (r"HOME/locks/ID\.vm", 1, 1), (r"socket (tcp|udp)6?", 1, 1),
    ],
    "boxlite-volume": [
        (r"/dev/null", 1, 1), (r"HOME/boxes/ID/shim\.log", 2, 2), (r"socket unix stream", 1, 1), (rf"{ANON}\[pidfd\]", 1, 1),
        (r"HOME/locks/ID\.vm", 1, 1), (r"/volume", 1, 1),
    ],
}


def complaints(home, process, allowed):
    box_id = home.inspect("a")["id"]
    if process.name == "boxlite-shim":
        wait_until(process.waiting, "it has closed the connection of who has just asked it")
    left = {number: text.replace(os.path.realpath(home.home), "HOME").replace(box_id, "ID") for number, text in descriptors(process.pid).items()}
    wrong = []
    for pattern, least, most in allowed:
        matching = [number for number, text in left.items() if re.fullmatch(pattern, text)]
        if not least <= len(matching) <= most:
            wrong.append(f"{pattern}: {len(matching)} instead of {least} to {most}")
        for number in matching:
            del left[number]
    return wrong + [f"{number}: {text}" for number, text in left.items()]


@pytest.mark.parametrize("name", ALLOWED)
def test_a_process_has_the_descriptors_of_its_allow_list_open_and_no_other(box, name):
    for process in processes(box)[name]:
        assert complaints(box, process, ALLOWED[name]) == []


def test_every_process_of_a_box_is_in_the_list(box):
    assert set(processes(box)) == set(ALLOWED)


# PATH is for bubblewrap and QEMU to be found by; LD_PRELOAD names what guards the memory of a template; failpoints are of test builds, and unset here.
ENVIRONMENT = {"boxlite-shim": {"PATH"}, "bwrap": set(), "vm-init": {"PATH", "PWD", "LD_PRELOAD"}, "qemu-system": {"PATH", "PWD", "LD_PRELOAD"},
               "boxlite-net": set(), "boxlite-volume": {"PWD"}}


def test_no_process_of_a_box_has_the_environment_of_the_command_that_started_it(box):
    for name, several in processes(box).items():
        for process in several:
            with open(f"/proc/{process.pid}/environ", "rb") as file:
                names = {entry.split(b"=")[0].decode() for entry in file.read().split(b"\0") if entry}
            assert names <= ENVIRONMENT[name], f"{name} has {names}"


def status(pid):
    with open(f"/proc/{pid}/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file)


def test_every_process_that_reads_what_the_guest_says_is_filtered_and_gains_nothing(box):
    everyone = processes(box)
    for name in ("boxlite-shim", "qemu-system", "boxlite-net", "boxlite-volume"):
        (process,) = everyone[name]
        seen = status(process.pid)
        assert (seen["NoNewPrivs"], seen["Seccomp"]) == ("1", "2"), name
        # The jail's, and QEMU's own or what stands for it in one that is made of an image.
        assert int(seen["Seccomp_filters"]) >= (2 if name == "qemu-system" else 1), name
        capabilities = int(seen["CapEff"], 16) | int(seen["CapPrm"], 16) | int(seen["CapInh"], 16) | int(seen["CapAmb"], 16)
        assert capabilities == (CAPABILITIES.get(name, 0) if identity.PRODUCT_IS_ROOT else 0), f"{name}: {capabilities:#x}"
        assert name == "boxlite-volume" or int(seen["CapBnd"], 16) == 0 or not identity.PRODUCT_IS_ROOT, name


# KILL, for a network process of another uid; CHOWN, DAC_OVERRIDE, FOWNER, FSETID, for files of whatever owner.
CAPABILITIES = {"boxlite-shim": 1 << 5, "boxlite-volume": 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4}


def test_a_box_that_removes_itself_has_a_process_for_it_that_knows_one_order(home, demo):
    home.ok("run", "-d", "--rm", "--name", "passing", demo, "sleep", "infinity")
    (remover,) = wait_until(lambda: processes(home, "passing").get("boxlite-remover"), "it has its name")
    assert remover.argv[1:] == (home.inspect("passing")["id"], "remover")
    assert sorted(descriptors(remover.pid).values())[-1] == "socket unix stream" and len(descriptors(remover.pid)) == 3
    home.ok("stop", "-t", "0", "passing")
    wait_until(lambda: not remover.alive() and "passing" not in [box["name"] for box in home.list()], "the box is removed")


def test_a_remover_whose_shim_is_killed_ends_and_the_box_stays_for_the_next_command(home, demo):
    home.ok("run", "-d", "--rm", "--name", "killed", demo, "sleep", "infinity")
    (remover,) = processes(home, "killed")["boxlite-remover"]
    home.shim("killed").kill(signal.SIGKILL)
    wait_until(lambda: not remover.alive(), "it ends")
    assert home.status("killed") == "failed"
    home.ok("rm", "killed")


def test_qemu_is_bounded_by_what_its_box_is_large(home, demo):
    home.ok("run", "-d", "--name", "sized", "--memory", "300m", "--disk-size", "12g", demo, "sleep", "infinity")
    (qemu,) = processes(home, "sized")["qemu-system"]
    with open(f"/proc/{qemu.pid}/limits") as file:
        seen = {line[:26].strip(): (line[26:47].strip(), line[47:68].strip()) for line in file.readlines()[1:]}
    mib = 1 << 20
    disk = 12 << 30
    assert seen["Max data size"] == (str((300 + 256 + 1024) * mib),) * 2
    assert seen["Max file size"] == (str(disk + disk // 50 + 64 * mib),) * 2
    assert seen["Max processes"] == ("81", "81")
    assert seen["Max open files"] == ("1024", "1024")
    assert seen["Max core file size"] == ("0", "0")
    # Within them it works: all of the memory, and a good deal of the disk.
    home.ok("exec", "sized", "sh", "-c", "dd if=/dev/zero of=/dev/shm/x bs=1M count=60 && dd if=/dev/zero of=/x bs=1M count=300 && sync")
    home.ok("rm", "-f", "sized")
