"""boxlite-net between two network namespaces: the host's, where it runs, and a guest's, whose own TCP/IP is the box.

The guest's eth0 is a TAP device; a thread carries frames between it and the NIC's socket, as QEMU does. What a hostile guest sends goes
directly into that socket: inject().
"""

import fcntl
import json
import mmap
import os
import select
import socket
import struct
import subprocess
import threading

from boxlite_testing import identity, sanitizer
from boxlite_testing.cli import BIN_DIR
from boxlite_testing.waiting import DEADLINE, wait_until
from net_testing.namespace import Namespace

PROGRAM = os.path.join(BIN_DIR, "boxlite-net")
GUEST_MAC = bytes.fromhex("5a94efe40cee")
GUEST, GATEWAY, HOST_ALIAS = "192.168.127.2", "192.168.127.1", "192.168.127.254"
PREFIX6 = "fd62:6f78:6c69::"
GUEST6, GATEWAY6, HOST_ALIAS6 = PREFIX6 + "2", PREFIX6 + "1", PREFIX6 + "fe"
# The rest of the world: addresses of the host's namespace that are not loopback's.
WORLD, WORLD6 = "203.0.113.1", "2001:db8::1"
# Nobody answers there.
SILENT = "198.51.100.0/24"
COUNTERS = ("tx_bytes", "tx_packets", "rx_bytes", "rx_packets", "tcp_outward", "tcp_inward", "udp_flows", "denials", "dropped")

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 2, 0x1000
F_ADD_SEALS, F_SEAL_SHRINK, F_SEAL_GROW = 1033, 2, 4


def _write(path, text):
    with open(path, "w") as f:
        f.write(text)


def host_namespace():
    host = Namespace()
    for address in (f"{WORLD}/24", "203.0.113.2/24", "169.254.169.254/32"):
        host.command(f"ip addr add {address} dev lo")
    for address in (f"{WORLD6}/64", "fd00:ec2::254/128"):
        host.command(f"ip addr add {address} dev lo nodad")
    host.command(f"ip route add {SILENT} dev lo")
    host.do(_write, "/proc/sys/net/ipv4/ping_group_range", f"{identity.GID} {identity.GID}")
    return host


class Bed:
    def __init__(self, host, mtu=65520, guest=True, prefix=(), more_fds=(), **config):
        self.host = host
        self.takes = threading.Event()  # cleared: the guest takes no frames
        self.takes.set()
        self.mtu = mtu
        self.nic, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for end in (self.nic, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.control, control = socket.socketpair()
        # Stands for the shim: its end is the network's end.
        self.launcher = subprocess.Popen(["sleep", "infinity"])
        pidfd = os.pidfd_open(self.launcher.pid)
        memory = os.memfd_create("counters", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(memory, 4096)
        fcntl.fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW)
        self._counters = mmap.mmap(memory, 4096, prot=mmap.PROT_READ)
        listeners = config.pop("listeners", [])
        full = {"nic": theirs.fileno(), "launcher": pidfd, "counters": memory, "mtu": mtu,
                "host_access": False, "allow": [], "tx_kbps": 0,
                "rx_kbps": 0, "uid": None, "resolvers": [],
                "listeners": [{"fd": s.fileno(), "protocol": "tcp" if s.type == socket.SOCK_STREAM else "udp", "box_port": port,
                               "ipv6": s.family == socket.AF_INET6} for s, port in listeners]}
        full.update(config)
        log, complaints = os.pipe()  # as from the shim: files it may not write
        self._log = []
        self._logging = threading.Thread(target=self._keep_log, args=(log,))
        self._logging.start()
        self.process = host.spawn(identity.as_user([*prefix, PROGRAM, "test-box"]), stdin=control, stdout=subprocess.DEVNULL,
                                  stderr=complaints, env=sanitizer.ENVIRONMENT, cwd="/",
                                  pass_fds=[theirs.fileno(), pidfd, memory, *more_fds] + [s.fileno() for s, _ in listeners])
        for end in (theirs, control, *(s for s, _ in listeners)):
            end.close()
        os.close(pidfd)
        os.close(memory)
        os.close(complaints)
        self.control.settimeout(DEADLINE)
        self._lines = self.control.makefile("r")
        self.control.sendall(json.dumps(full).encode() + b"\n")
        self.answer = json.loads(self._lines.readline() or "{}")
        self.guest = None
        self._pump = None
        if guest:
            assert self.answer == {"ready": True}, (self.answer, self.log_text())
            self._make_guest()

    def _make_guest(self):
        self.guest = Namespace()
        self.guest.command("sysctl -q -w net.ipv6.conf.default.accept_ra=0", check=False)
        self.tap = self.guest.do(self._open_tap)
        for command in (f"ip link set eth0 address {GUEST_MAC.hex(':')}", f"ip link set eth0 mtu {self.mtu}", f"ip addr add {GUEST}/24 dev eth0",
                        f"ip addr add {GUEST6}/64 dev eth0 nodad", "ip link set eth0 up", f"ip route add default via {GATEWAY}",
                        f"ip -6 route add default via {GATEWAY6}"):
            self.guest.command(command)
        self._wake, self._end = os.pipe()
        self._pump = threading.Thread(target=self._carry, daemon=True)
        self._pump.start()

    @staticmethod
    def _open_tap():
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", b"eth0", IFF_TAP | IFF_NO_PI))
        return tap

    def _carry(self):
        poll = select.poll()
        for fd in (self.tap, self.nic.fileno(), self._wake):
            poll.register(fd, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                try:
                    if fd == self._wake:
                        return
                    if fd == self.tap:
                        self.nic.send(os.read(self.tap, 70000))
                        continue
                    self.takes.wait()
                    os.write(self.tap, self.nic.recv(70000))
                except ConnectionError:
                    return

    def inject(self, frame):
        self.nic.send(frame)

    def counters(self):
        return dict(zip(COUNTERS, struct.unpack_from(f"={len(COUNTERS)}Q", self._counters)))

    def counted(self, name, least=1):
        return wait_until(lambda: self.counters()[name] >= least, f"{name} is {least}: {self.counters()}")

    def say(self, message):
        self.control.sendall(json.dumps(message).encode() + b"\n")

    def next_line(self):
        """But for denials, which are told as they come."""
        while "denied" in (line := json.loads(self._lines.readline())):
            pass
        return line

    def _keep_log(self, pipe):
        with open(pipe) as lines:
            for line in lines:
                self._log.append(line)

    def log_text(self):
        """So far; all of it once the process has ended."""
        if not self.alive():
            self._logging.join()
        return "".join(self._log)

    def alive(self):
        return self.process.poll() is None

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/statm") as f:
            return int(f.read().split()[1]) * mmap.PAGESIZE

    def close(self):
        """Ends everything; the process must still have been there and end by its control socket."""
        lived = self.alive()
        self._lines.close()
        self.control.close()
        code = self.process.wait(timeout=DEADLINE)
        if self._pump:
            os.write(self._end, b"x")
            self._pump.join()
            for fd in (self.tap, self._wake, self._end):
                os.close(fd)
        self.nic.close()
        self.launcher.kill()
        self.launcher.wait()
        if self.guest:
            self.guest.close()
        self._counters.close()
        assert not lived or code == 0, (code, self.log_text())
        return code
