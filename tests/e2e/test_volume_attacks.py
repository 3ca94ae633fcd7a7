"""A guest that has taken its kernel over speaks 9P itself: it asks for what no kernel asks, exhausts what there is, and races the
host. The server answers or ends its own connection; nothing outside of the volume is read or written, and nothing hangs."""

import errno
import os
import stat
import struct
import subprocess
import threading
import time

import pytest
from boxlite_testing import identity
from boxlite_testing.ninep import Client, servers

pytestmark = identity.by_root

FULL_SIZE = bool(os.environ.get("BOXLITE_FULL_SIZE"))  # make soak
RACE_SECONDS = 120 if FULL_SIZE else 5


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory of the product's user, and beside it one that no guest may reach."""
    path = tmp_path_factory.mktemp("attack")
    for parent in (path, path.parent, path.parent.parent):
        os.chmod(parent, 0o755)
    for name in ("volume", "outside"):
        (path / name).mkdir()
    (path / "outside" / "canary").write_text("canary\n")
    identity.give(str(path))
    yield path
    subprocess.run(["rm", "-rf", path / "volume"], check=True)  # which may be too deep for python


@pytest.fixture(scope="module")
def box(home, demo, place):
    home.ok("run", "-d", "--privileged", "--name", "a", "-v", f"{place}/volume:/data", demo, "sleep", "infinity")
    yield home
    home.ok("rm", "-f", "a")  # before its volume goes


@pytest.fixture
def guest(box):
    client = Client(box, read_only=False)
    yield client
    if client.process.poll() is None:
        assert client.walk(1, 9_999_999)[0] == 0, "it does not answer any more"
    client.close()
    assert client.process.returncode == 0


def alive(guest):
    assert guest.list(1, 8_888_888) != b""
    assert guest.clunk(8_888_888) == 0
    return True


def descriptors(guest):
    (server,) = [pid for pid in map(int, subprocess.check_output(["ps", "-o", "pid=", "--ppid", str(guest.process.pid)]).split())]
    return len(os.listdir(f"/proc/{server}/fd"))


def test_files_in_use_are_bounded_and_come_back(guest):
    fid = 100
    while (error := guest.walk(1, fid)[0]) == 0:
        fid += 1
    assert error == errno.EMFILE and 1000 < fid < 20_000
    assert guest.clunk(100) == 0 and alive(guest)
    # Every fid goes with a new session.
    guest.ok(100, struct.pack("<I", 8192) + guest.text("9P2000.L"))
    assert guest.walk(1, 2)[0] == errno.EBADF
    guest.ok(104, struct.pack("<II", 1, 0xffffffff) + guest.text("") + guest.text("0:0") + struct.pack("<I", 0))


def test_a_chain_of_directories_as_long_as_it_gets_ends_in_an_error_and_not_in_the_server(guest):
    assert guest.walk(1, 2)[0] == 0
    depth = 0
    while guest.make(2, "d") in (0, errno.EEXIST) and guest.walk(2, 2, "d")[0] == 0:
        depth += 1
    assert depth > 900
    # All that has been walked through is let go at once.
    guest.ok(100, struct.pack("<I", 8192) + guest.text("9P2000.L"))
    guest.ok(104, struct.pack("<II", 1, 0xffffffff) + guest.text("") + guest.text("0:0") + struct.pack("<I", 0))
    assert alive(guest)


@pytest.mark.skipif(not identity.OBSERVER_IS_ROOT, reason="looks into the server")
def test_directories_that_the_host_moves_below_one_another_do_not_keep_each_other(guest, place):
    root = place / "volume"
    before = descriptors(guest)
    for number in range(50):
        assert guest.make(1, "x") == 0
        assert guest.walk(1, 10, "x")[0] == 0 and guest.make(10, "c") == 0 and guest.walk(10, 11, "c")[0] == 0
        # The name is another's now, and c is nobody's child; then the name goes below what was below it.
        os.rename(root / "x" / "c", root / f"moved{number}")
        os.rename(root / "x", root / f"old{number}")
        assert guest.make(1, "x") == 0
        guest.rename(1, "x", 11, "x")
        assert guest.clunk(10) == 0 and guest.clunk(11) == 0
    assert descriptors(guest) == before


def test_answers_that_nobody_reads_stop_the_asking_and_nothing_else(guest, box):
    storm = guest.message(108, struct.pack("<H", 1)) * 200_000
    sender = threading.Thread(target=guest.socket.sendall, args=(storm,))
    sender.start()
    assert box.ok("exec", "a", "ls", "-d", "/data") == "/data\n"
    for _ in range(200_000):
        assert guest.answer() == (0, b"")
    sender.join()
    assert alive(guest)


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFSOCK], ids=["fifo", "socket"])
def test_what_would_block_is_never_opened(guest, place, kind):
    name = f"special{kind}"
    assert guest.ask(18, struct.pack("<I", 1) + guest.text(name) + struct.pack("<IIII", kind | 0o666, 0, 0, 0))[0] == 0
    assert guest.walk(1, 2, name)[0] == 0
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
        assert guest.open(2, flags)[0] == errno.EOPNOTSUPP
        assert guest.walk(1, 3)[0] == 0
        assert guest.create(3, name, flags)[0] == errno.EOPNOTSUPP
        guest.clunk(3)
    # A file that becomes one after it was walked to.
    (place / "volume" / f"file{kind}").write_text("x")
    identity.give(str(place / "volume"))
    assert guest.walk(1, 4, f"file{kind}")[0] == 0
    os.replace(place / "volume" / name, place / "volume" / f"file{kind}")
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
        assert guest.open(4, flags)[0] in (errno.ESTALE, errno.ENXIO)
        assert guest.set_attributes(4, 8, size=0) in (errno.ESTALE, errno.ENXIO)
    assert alive(guest)


@pytest.mark.skipif(not identity.OBSERVER_IS_ROOT, reason="makes a device node")
def test_a_device_node_that_is_there_is_not_opened(guest, place):
    os.mknod(place / "volume" / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    os.chmod(place / "volume" / "zero", 0o666)
    assert guest.walk(1, 2, "zero")[0] == 0 and guest.open(2)[0] == errno.EOPNOTSUPP
    assert guest.walk(1, 3)[0] == 0 and guest.create(3, "zero", os.O_RDONLY)[0] == errno.EOPNOTSUPP
    (place / "volume" / "was").write_text("x")
    assert guest.walk(1, 4, "was")[0] == 0
    os.replace(place / "volume" / "zero", place / "volume" / "was")
    assert guest.open(4)[0] in (errno.EACCES, errno.ESTALE)


def test_sizes_and_places_beyond_all_bounds_are_errors(guest, place):
    assert guest.walk(1, 2)[0] == 0 and guest.create(2, "sparse")[0] == 0
    for offset in (1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1):
        assert guest.ask(118, struct.pack("<IQI", 2, offset, 1) + b"x")[0] in (errno.EFBIG, errno.EINVAL), offset
        assert guest.set_attributes(2, 8, size=offset) in (0, errno.EFBIG, errno.EINVAL), offset
        assert guest.ask(116, struct.pack("<IQI", 2, offset, 1 << 31))[0] in (0, errno.EINVAL)
    assert guest.ask(118, struct.pack("<IQI", 2, 0, 0xffffffff) + b"x")[0] == errno.EBADF  # says more than it has
    assert guest.ask(110, struct.pack("<IIH", 1, 7, 0xffff))[0] == errno.EBADF
    assert guest.ask(110, struct.pack("<IIH", 1, 7, 17) + guest.text("..") * 17)[0] == errno.EBADF
    assert os.stat(place / "volume" / "sparse").st_blocks < 100
    for count in (0, 1, 23, 24, 1 << 31, 0xffffffff):
        for offset in (0, 1, 1 << 40, 1 << 63):
            guest.walk(1, 3)
            guest.open(3)
            guest.ask(40, struct.pack("<IQI", 3, offset, count))
            guest.clunk(3)
    for size in (0, 1, 4095):
        assert guest.ask(100, struct.pack("<I", size) + guest.text("9P2000.L"))[0] == errno.EINVAL
    assert alive(guest)


def test_no_message_is_larger_than_a_mebibyte_whatever_was_agreed_on(guest):
    assert struct.unpack("<I", guest.ok(100, struct.pack("<I", 0xffffffff) + guest.text("9P2000.L"))[:4])[0] == 1 << 20
    guest.ok(104, struct.pack("<II", 1, 0xffffffff) + guest.text("") + guest.text("0:0") + struct.pack("<I", 0))


def test_attributes_of_the_host_are_out_of_reach_and_their_memory_is_bounded(guest):
    assert guest.walk(1, 2)[0] == 0 and guest.create(2, "attributes")[0] == 0
    for name in ("security.capability", "trusted.x", "system.posix_acl_access", "user.boxlite.stat", "user.x\0y", "user." + "x" * 300, "user"):
        assert guest.ask(30, struct.pack("<II", 2, 50) + guest.text(name))[0] == errno.EOPNOTSUPP, name
        assert guest.walk(1, 3, "attributes")[0] == 0
        assert guest.ask(32, struct.pack("<I", 3) + guest.text(name) + struct.pack("<QI", 4, 0))[0] == errno.EOPNOTSUPP, name
        guest.clunk(3)
    assert guest.walk(1, 3, "attributes")[0] == 0
    assert guest.ask(32, struct.pack("<I", 3) + guest.text("user.x") + struct.pack("<QI", 1 << 40, 0))[0] == errno.E2BIG
    # One that is not written whole is not set.
    assert guest.ask(32, struct.pack("<I", 3) + guest.text("user.x") + struct.pack("<QI", 100, 0))[0] == 0
    assert guest.write(3, b"half")[0] == 0 and guest.write(3, b"from the beginning")[0] == errno.EINVAL
    assert guest.clunk(3) == errno.EINVAL and guest.ask(30, struct.pack("<II", 2, 50) + guest.text("user.x"))[0] == errno.ENODATA
    fid = 1000
    while (error := guest.ask(30, struct.pack("<II", 2, fid) + guest.text(""))[0]) == 0:
        fid += 1
    assert error == errno.EMFILE and fid < 1300 and alive(guest)


def test_the_root_is_neither_renamed_nor_linked_nor_removed(guest):
    for name in ("..", ".", ""):
        assert guest.rename(1, name, 1, "x") == errno.EINVAL and guest.rename(1, "x", 1, name) == errno.EINVAL
        assert guest.unlink(1, name, 0x200) == errno.EINVAL
    assert guest.link(1, 1, "root") == errno.EINVAL and alive(guest)


def test_nothing_outside_is_read_or_written_in_a_race_that_goes_on_under_load(box, place):
    """The guest walks, makes, links, renames and sets attributes below a name that the host, another guest and the box itself make a
    directory, a link to one outside, and a link upwards, in turns."""
    root = place / "volume"
    deadline = time.monotonic() + RACE_SECONDS
    (root / "d").mkdir(exist_ok=True)
    (root / "d" / "canary").write_text("inside\n")
    identity.give(str(root))
    # Inside is 7 bytes long and outside 7: what is read is told apart by its first.
    errors, rounds = [], [0]

    def swap_on_the_host():
        while not errors and (time.monotonic() < deadline or rounds[0] <= 100):
            for target in ("../outside", str(place / "outside"), "..", "/"):
                try:
                    os.rename(root / "d", root / "e")
                    os.symlink(target, root / "d")
                    os.unlink(root / "d")
                    os.rename(root / "e", root / "d")
                except OSError:  # somebody else was faster
                    if not os.path.lexists(root / "d") and os.path.lexists(root / "e"):
                        os.rename(root / "e", root / "d")

    def attack(guest):
        try:
            while time.monotonic() < deadline or rounds[0] <= 100:
                rounds[0] += 1
                if guest.walk(1, 2, "d")[0] == 0:
                    guest.create(2, "made")
                    guest.write(2, b"evil")
                    guest.clunk(2)
                for names in (("d", "canary"), ("d", "..", "d", "canary"), ("d", "outside", "canary")):
                    error, ids = guest.walk(1, 3, *names)
                    if error == 0 and struct.unpack("<H", ids[:2])[0] == len(names):
                        guest.set_attributes(3, 1, mode=0o666)
                        guest.link(1, 3, "linked")
                        if guest.open(3, os.O_RDWR)[0] == 0:
                            if guest.read(3).startswith(b"canary"):
                                errors.append("read outside")
                            guest.write(3, b"inside\n")
                        guest.clunk(3)
                if guest.walk(1, 4, "d")[0] == 0:
                    guest.rename(4, "made", 1, "taken")
                    guest.rename(1, "taken", 4, "made")
                    guest.unlink(4, "made")
                    guest.set_attributes(4, 1, mode=0o755)
                    guest.clunk(4)
                guest.unlink(1, "linked")
        except Exception as error:  # noqa: BLE001
            errors.append(repr(error))

    guests = [Client(box, read_only=False) for _ in range(2)]
    load = box.spawn("exec", "a", "sh", "-c", "cd /data; while :; do mv d f; ln -s ../outside d; echo x >d/new; rm -f d; mv f d; cat d/canary; done 2>/dev/null")
    threads = [threading.Thread(target=swap_on_the_host), *[threading.Thread(target=attack, args=(guest,)) for guest in guests]]
    before = os.stat(place / "outside"), os.stat(place / "outside" / "canary")
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    load.kill()
    load.communicate()
    for guest in guests:
        guest.close()
    assert errors == [] and rounds[0] > 100, (errors, rounds)
    after = os.stat(place / "outside"), os.stat(place / "outside" / "canary")
    for old, new in zip(before, after):
        assert (old.st_mode, old.st_mtime_ns, old.st_ctime_ns, old.st_nlink) == (new.st_mode, new.st_mtime_ns, new.st_ctime_ns, new.st_nlink)
    assert os.listdir(place / "outside") == ["canary"] and (place / "outside" / "canary").read_text() == "canary\n"
    assert len(servers(box.home)) == 1 and box.ok("exec", "a", "ls", "-d", "/data") == "/data\n"
    print(f"{rounds[0]} rounds in {RACE_SECONDS} s")
