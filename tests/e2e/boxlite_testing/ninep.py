"""9P2000.L by hand: a guest that speaks to the server of a volume itself."""

import os
import socket
import struct
import subprocess

from boxlite_testing import census, identity, proc


def servers(home):
    """Processes of volume servers that belong to the home, also those whose shim is gone."""
    return [p for p in census.processes(home) if p.name == "boxlite-volume"]


class Client:
    """9P2000.L, by hand, to a server in the jail that the shim of a running box has made for another."""

    def __init__(self, boxlite, read_only):
        (server,) = servers(boxlite.home)
        (monitor,) = [p for p in proc.all_processes() if p.pid == server.parent]
        ours, theirs = socket.socketpair()
        descriptor, pidfd = theirs.fileno(), os.pidfd_open(os.getpid())
        argv = list(monitor.argv)
        assert argv[argv.index("/volume", argv.index("--dir") + 2) - 2] == ("--ro-bind" if read_only else "--bind")
        argv[-4:-1] = [str(descriptor), str(pidfd), "-1"]
        self.process = subprocess.Popen(identity.as_user(argv), pass_fds=[descriptor, pidfd])
        theirs.close()
        os.close(pidfd)
        self.socket = ours
        self.ask(100, struct.pack("<I", 65536) + self.text("9P2000.L"))
        self.ok(104, struct.pack("<II", 1, 0xffffffff) + self.text("") + self.text("0:0") + struct.pack("<I", 0))

    @staticmethod
    def text(value):
        value = value if isinstance(value, bytes) else value.encode()
        return struct.pack("<H", len(value)) + value

    @staticmethod
    def message(kind, body):
        return struct.pack("<IBH", 7 + len(body), kind, 1) + body

    def ask(self, kind, body):
        self.socket.sendall(self.message(kind, body))
        return self.answer()

    def answer(self):
        size, reply, _ = struct.unpack("<IBH", self.exactly(7))
        data = self.exactly(size - 7)
        return (struct.unpack("<I", data)[0], b"") if reply == 7 else (0, data)

    def ok(self, kind, body):
        error, data = self.ask(kind, body)
        assert error == 0, os.strerror(error)
        return data

    def exactly(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def walk(self, fid, new, *names):
        return self.ask(110, struct.pack("<IIH", fid, new, len(names)) + b"".join(map(self.text, names)))

    def open(self, fid, flags=0):
        return self.ask(12, struct.pack("<II", fid, flags))

    def create(self, fid, name, flags=os.O_RDWR, mode=0o644):
        return self.ask(14, struct.pack("<I", fid) + self.text(name) + struct.pack("<III", flags, mode, 0))

    def read(self, fid, count=4096):
        return self.ask(116, struct.pack("<IQI", fid, 0, count))[1][4:]

    def write(self, fid, data):
        return self.ask(118, struct.pack("<IQI", fid, 0, len(data)) + data)

    def clunk(self, fid):
        return self.ask(120, struct.pack("<I", fid))[0]

    def make(self, fid, name):
        return self.ask(72, struct.pack("<I", fid) + self.text(name) + struct.pack("<II", 0o755, 0))[0]

    def rename(self, from_fid, old, to_fid, new):
        return self.ask(74, struct.pack("<I", from_fid) + self.text(old) + struct.pack("<I", to_fid) + self.text(new))[0]

    def link(self, directory, fid, name):
        return self.ask(70, struct.pack("<II", directory, fid) + self.text(name))[0]

    def unlink(self, fid, name, flags=0):
        return self.ask(76, struct.pack("<I", fid) + self.text(name) + struct.pack("<I", flags))[0]

    def set_attributes(self, fid, valid, mode=0, size=0):
        return self.ask(26, struct.pack("<IIIIIQQQQQ", fid, valid, mode, 0, 0, size, 0, 0, 0, 0))[0]

    def list(self, fid, new):
        self.walk(fid, new)
        self.open(new)
        return self.ask(40, struct.pack("<IQI", new, 0, 4096))[1]

    def close(self):
        self.socket.close()
        assert self.process.wait(timeout=60) in (0, 125)
