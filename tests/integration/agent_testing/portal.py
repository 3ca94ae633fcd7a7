"""A host's end of the portal in Python: epoch, yamux streams, length-prefixed protobuf. Written from docs and headers, not from the
C++ sources, so that a mistake made on both sides of the C++ code shows here."""

import importlib
import os
import select
import struct
import subprocess
import sys
import tempfile
import time
import zlib

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
WINDOW = 256 * 1024
DATA, WINDOW_UPDATE = 0, 1
SYN, ACK, FIN, RST = 1, 2, 4, 8


def _generate():
    out = tempfile.TemporaryDirectory()
    subprocess.run(["protoc", f"--python_out={out.name}", f"--proto_path={ROOT}/proto", "agent.proto"], check=True)
    sys.path.insert(0, out.name)
    module = importlib.import_module("agent_pb2")
    out.cleanup()
    return module


pb = _generate()


class Closed(Exception):
    """The other side has ended or reset the stream, or the link is gone."""


def epoch_header(nonce, version=1):
    head = b"BOXLITE\x01" + struct.pack(">I", version) + b"H\0\0\0" + nonce + bytes(4)
    return head + struct.pack(">I", zlib.crc32(head))


class Stream:
    def __init__(self, portal, number):
        self.portal, self.id = portal, number
        self.received = bytearray()
        self.send_window = WINDOW
        self.unacknowledged = 0
        self.ended = self.was_reset = False

    def send_bytes(self, data):
        view = memoryview(data)
        while view:
            self.portal.until(lambda: self.send_window > 0 or self.was_reset, "a window to send in")
            if self.was_reset:
                raise Closed("reset")
            part = view[: min(len(view), self.send_window, 32768)]
            self.send_window -= len(part)
            self.portal.frame(DATA, 0, self.id, len(part), part)
            view = view[len(part):]

    def send(self, message):
        body = message.SerializeToString()
        self.send_bytes(struct.pack(">I", len(body)) + body)

    def _message_ready(self):
        return len(self.received) >= 4 and len(self.received) >= 4 + struct.unpack(">I", self.received[:4])[0]

    def receive(self, kind, timeout=60):
        self.portal.until(lambda: self._message_ready() or self.ended or self.was_reset, f"a {kind.__name__}", timeout)
        if not self._message_ready():
            raise Closed("reset" if self.was_reset else "ended")
        size = struct.unpack(">I", self.received[:4])[0]
        message = kind.FromString(bytes(self.received[4 : 4 + size]))
        del self.received[: 4 + size]
        self._consumed(4 + size)
        return message

    def _consumed(self, count):
        self.unacknowledged += count
        if self.unacknowledged >= WINDOW // 2 and not self.ended:
            self.portal.frame(WINDOW_UPDATE, 0, self.id, self.unacknowledged)
            self.unacknowledged = 0

    def finish(self):
        self.portal.frame(WINDOW_UPDATE, FIN, self.id, 0)

    def reset(self):
        self.portal.frame(WINDOW_UPDATE, RST, self.id, 0)
        del self.portal.streams[self.id]


class Portal:
    def __init__(self, sock):
        self.sock = sock
        self.sock.setblocking(False)
        self.buffer = bytearray()
        self.streams, self.next_id = {}, 1
        self.closed = False

    # ---- bytes

    def write(self, data):
        view = memoryview(data)
        while view:
            try:
                view = view[self.sock.send(view):]
            except BlockingIOError:
                select.select([self.sock], [self.sock], [], 60)
                self.read_some(0)

    def read_some(self, timeout):
        if not select.select([self.sock], [], [], timeout)[0]:
            return
        try:
            data = self.sock.recv(1 << 16)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            self.closed = True
            for stream in self.streams.values():
                stream.ended = True
        self.buffer += data

    def until(self, condition, what, timeout=60):
        deadline = time.monotonic() + timeout
        self.parse()
        while not condition():
            if self.closed:
                raise Closed(f"the link is gone while waiting for {what}")
            if time.monotonic() > deadline:
                raise AssertionError(f"no sign of {what} within {timeout} s")
            self.read_some(min(1, max(0, deadline - time.monotonic())))
            self.parse()

    # ---- epoch and frames

    def begin_epoch(self, timeout=120):
        self.streams, self.next_id = {}, 1
        nonce = os.urandom(16)
        self.write(epoch_header(nonce))
        head = b"BOXLITE\x01" + struct.pack(">I", 1) + b"A\0\0\0" + nonce + bytes(4)
        answer = head + struct.pack(">I", zlib.crc32(head))
        deadline = time.monotonic() + timeout
        while (at := self.buffer.find(answer)) < 0:
            assert not self.closed, "the link is gone"
            assert time.monotonic() < deadline, "no answer to the epoch header"
            self.read_some(1)
        del self.buffer[: at + len(answer)]

    def frame(self, kind, flags, stream, length, data=b""):
        self.write(struct.pack(">BBHII", 0, kind, flags, stream, length) + bytes(data))

    def parse(self):
        while len(self.buffer) >= 12 and self.streams:
            version, kind, flags, number, length = struct.unpack(">BBHII", self.buffer[:12])
            assert version == 0 and kind in (DATA, WINDOW_UPDATE), self.buffer[:12].hex()
            size = 12 + (length if kind == DATA else 0)
            if len(self.buffer) < size:
                return
            data = bytes(self.buffer[12:size])
            del self.buffer[:size]
            stream = self.streams.get(number)
            if stream is None:
                continue
            if kind == WINDOW_UPDATE:
                stream.send_window += length
            stream.received += data
            assert len(stream.received) <= WINDOW, "the agent sent more than the window"
            stream.ended |= bool(flags & FIN)
            stream.was_reset |= bool(flags & RST)

    # ---- calls

    def open(self):
        stream = Stream(self, self.next_id)
        self.next_id += 2
        self.streams[stream.id] = stream
        self.frame(WINDOW_UPDATE, SYN, stream.id, 0)
        return stream

    def call(self, timeout=60, **fields):
        """One call that is no view; returns the Reply."""
        stream = self.open()
        stream.send(pb.Call(**fields))
        reply = stream.receive(pb.Reply, timeout)
        stream.finish()
        return reply
