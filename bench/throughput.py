"""TCP throughput between guests and the host: who listens on the host's loopback tells the guests what to send or to take."""

import os
import socket
import statistics
import subprocess
import time

COUNT = 64 << 20
ROUNDS = 9


def guest_program(directory):
    path = f"{directory}/net_load"
    subprocess.run(["g++", "-std=c++20", "-O2", "-static", "-o", path, os.path.join(os.path.dirname(__file__), "net_load.cc")], check=True)
    return path


class Host:
    """Where one guest's net_load connects to."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(300)
        self.port = self._listener.getsockname()[1]
        self._buffer = bytearray(1 << 20)

    def mib_per_second(self, order):
        """`order`: what the guest is to do, b"s" (send) or b"r" (receive)."""
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(300)
            begun = time.perf_counter()
            connection.sendall(order + COUNT.to_bytes(8, "big"))
            if order == b"r":
                for _ in range(COUNT // len(self._buffer)):
                    connection.sendall(self._buffer)
                assert connection.recv(1) == b"k"
            else:
                left = COUNT
                while left > 0:
                    got = connection.recv_into(self._buffer)
                    assert got > 0, "the guest has hung up"
                    left -= got
            return COUNT / (time.perf_counter() - begun) / (1 << 20)

    def close(self):
        self._listener.close()


def alternate(hosts, order):
    """The median MiB/s of each, measured in turns after one warm-up."""
    for host in hosts:
        host.mib_per_second(order)
    rounds = [[host.mib_per_second(order) for host in hosts] for _ in range(ROUNDS)]
    return [statistics.median(column) for column in zip(*rounds)]
