"""Processes, locks and sockets as /proc shows them."""

import contextlib
import errno
import fcntl
import os
import struct
from dataclasses import dataclass
from signal import SIGSTOP, pidfd_send_signal

from boxlite_testing.waiting import wait_until

F_OFD_GETLK = 36
_FLOCK = "hhqqi4x"  # struct flock on x86-64 and arm64: type, whence, start, length, pid


def lock_held(path):
    """Whether anybody holds the OFD lock on the file; asks the kernel and takes nothing."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        question = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        answer = struct.unpack(_FLOCK, fcntl.fcntl(fd, F_OFD_GETLK, question))
        return answer[0] != fcntl.F_UNLCK
    finally:
        os.close(fd)


@dataclass(frozen=True)
class Process:
    pid: int
    start_time: int
    parent: int
    name: str
    argv: tuple

    def alive(self):
        try:
            return _stat(self.pid)[2] == self.start_time and _stat(self.pid)[3] not in "ZX"
        except OSError:
            return False

    def stopped(self):
        return _stat(self.pid)[3] == "T"

    def waiting(self):
        """It has done what it was asked to do, and waits for more."""
        return _stat(self.pid)[3] == "S"

    def stop(self):
        """SIGSTOP, which takes a while to be obeyed by one that has no CPU."""
        self.kill(SIGSTOP)
        wait_until(self.stopped, f"{self.name} stands still", interval=0.001)

    def kill(self, signal):
        """By pidfd, so that a pid used again is never hit."""
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if self.alive():
                with contextlib.suppress(ProcessLookupError):
                    pidfd_send_signal(fd, signal)
        finally:
            os.close(fd)


def _stat(pid):
    with open(f"/proc/{pid}/stat", "rb") as file:
        text = file.read().decode(errors="replace")
    name = text[text.index("(") + 1:text.rindex(")")]
    fields = text[text.rindex(")") + 2:].split()
    return name, int(fields[1]), int(fields[19]), fields[0]


def process(pid):
    """The process, or None when it has ended (a zombie has)."""
    try:
        name, parent, start_time, state = _stat(pid)
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            argv = tuple(part.decode(errors="surrogateescape") for part in file.read().split(b"\0")[:-1])
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else Process(pid, start_time, parent, name, argv)


def all_processes():
    return [p for p in (process(int(name)) for name in os.listdir("/proc") if name.isdigit()) if p]


def descendants(roots, everyone):
    """The processes of `everyone` that are below those with the given pids, themselves included."""
    wanted = set(roots)
    grew = True
    while grew:
        more = {p.pid for p in everyone if p.parent in wanted} - wanted
        wanted |= more
        grew = bool(more)
    return [p for p in everyone if p.pid in wanted]


def open_files(pid):
    """What the descriptors of a process point to; empty when we may not look."""
    links = []
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                links.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.EACCES, errno.ENAMETOOLONG):  # deeper than any home
                    raise
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        pass
    return links


def listeners(pid="self"):
    """Listening TCP and bound UDP sockets of a process's network namespace: {inode: (protocol, port, uid)}."""
    found = {}
    for protocol in ("tcp", "tcp6", "udp", "udp6"):
        try:
            with open(f"/proc/{pid}/net/{protocol}") as file:
                lines = file.readlines()[1:]
        except FileNotFoundError:
            if pid == "self" or os.path.exists(f"/proc/{pid}/net/tcp"):
                raise
            return {}  # it has ended, or is about to and has no network namespace any more
        except OSError:
            if process(pid):
                raise
            return {}
        for line in lines:
            fields = line.split()
            if protocol.startswith("udp") or fields[3] == "0A":
                found[fields[9]] = (protocol, int(fields[1].split(":")[1], 16), int(fields[7]))
    return found


def memory_kib(pid, *fields):
    """Sum of the named fields of smaps_rollup ("Pss", "Private_Dirty", …); the resident set when we may not look."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            values = dict(line.split(":", 1) for line in file.read().splitlines()[1:])
        return sum(int(values[field].split()[0]) for field in fields)
    except PermissionError:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
    except (FileNotFoundError, ProcessLookupError, KeyError):
        return 0
