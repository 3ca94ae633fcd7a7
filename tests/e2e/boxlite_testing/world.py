"""A host's network of its own: a network namespace in which boxlite runs and servers listen, with addresses that are not loopback's and a
resolv.conf that names a real DNS server. Needs root, who may let the product run as another user there."""

import ctypes
import functools
import hashlib
import http.server
import os
import queue
import shutil
import socket
import subprocess
import tempfile
import threading

from boxlite_testing.cli import Boxlite
from boxlite_testing.waiting import wait_until

ADDRESS, ADDRESS6 = "203.0.113.1", "2001:db8::1"
METADATA = "169.254.169.254"
DNS_RECORDS = ("--address=/plain.example/203.0.113.1", "--address=/plain.example/2001:db8::1", "--cname=alias.example,target.example",
               "--host-record=target.example,203.0.113.9", "--local=/example/")

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET, _CLONE_NEWNS, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x40000000, 0x00020000, 4096, 16384, 1 << 18


def _check(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class World:
    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="boxlite-world-")
        os.chmod(self.directory, 0o755)
        with open(f"{self.directory}/resolv.conf", "w") as file:
            file.write("nameserver 127.0.0.1\nsearch example\n")
        self._calls = _Thread()
        self.fd = self._calls.do(self._make)
        for command in ("ip link set lo up", f"ip addr add {ADDRESS}/24 dev lo", f"ip addr add {METADATA}/32 dev lo",
                        f"ip addr add {ADDRESS6}/64 dev lo nodad", "ip addr add fd00:ec2::254/128 dev lo nodad"):
            self.run(command)
        self._dns = self.spawn(["dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--pid-file",
                                f"--listen-address=127.0.0.1,{ADDRESS}", "--bind-interfaces", "--user=root", *DNS_RECORDS],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: self.can_connect("127.0.0.1", 53), "dnsmasq listens")
        self._servers = []

    @staticmethod
    def _make():
        _check(_LIBC.unshare(_CLONE_NEWNET))
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def _enter(self):
        """In a child, before exec."""
        _check(_LIBC.setns(self.fd, _CLONE_NEWNET))
        _check(_LIBC.unshare(_CLONE_NEWNS))
        _check(_LIBC.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None))
        _check(_LIBC.mount(f"{self.directory}/resolv.conf".encode(), os.path.realpath("/etc/resolv.conf").encode(), None, _MS_BIND, None))

    def spawn(self, argv, **more):
        return subprocess.Popen(argv, preexec_fn=self._enter, **more)

    def run(self, command):
        child = self.spawn(command.split(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        output, _ = child.communicate(timeout=60)
        assert child.returncode == 0, f"{command}: {output}"
        return output

    def socket(self, *arguments):
        """A socket of this world; usable from any thread."""
        return self._calls.do(lambda: socket.socket(*arguments))

    def connect(self, address, port, timeout=60):
        connection = self.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        connection.settimeout(timeout)
        try:
            connection.connect((address, port))
        except OSError:
            connection.close()
            raise
        return connection

    def can_connect(self, address, port):
        try:
            self.connect(address, port).close()
        except ConnectionResetError:
            return True  # it was connected: a box in which nobody listens may say so before the end of connect() is seen
        except OSError:
            return False
        return True

    def listen(self, address, port=0):
        listener = self.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(64)
        self._servers.append(listener.close)
        return listener

    def serve(self, address, body):
        """A web server that answers everything with `body`; returns its port."""
        server = http.server.ThreadingHTTPServer((address, 0), functools.partial(_Answer, body), bind_and_activate=False)
        server.socket.close()
        server.socket = self.listen(address)
        server.server_address = server.socket.getsockname()[:2]
        server.server_port = server.server_address[1]
        server.server_name = address
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self._servers.append(server.shutdown)
        return server.server_port

    def sink(self, address):
        """Takes one connection and puts the SHA-256 of all that comes into a queue; returns (port, queue)."""
        listener, digests = self.listen(address), queue.Queue()

        def take():
            connection, _ = listener.accept()
            digest = hashlib.sha256()
            with connection:
                while data := connection.recv(1 << 16):
                    digest.update(data)
            digests.put(digest.hexdigest())
        threading.Thread(target=take, daemon=True).start()
        return listener.getsockname()[1], digests

    def close(self):
        for stop in reversed(self._servers):
            stop()
        self._dns.kill()
        self._dns.wait()
        self._calls.stop()
        os.close(self.fd)
        shutil.rmtree(self.directory)


class _Answer(http.server.BaseHTTPRequestHandler):
    def __init__(self, body, *arguments):
        self.body = body
        super().__init__(*arguments)

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *arguments):
        pass


class _Thread:
    """A thread that stays in the namespace it has entered."""

    def __init__(self):
        import concurrent.futures
        self._pool = concurrent.futures.ThreadPoolExecutor(max_workers=1)

    def do(self, function):
        return self._pool.submit(function).result()

    def stop(self):
        self._pool.shutdown()


class WorldlyBoxlite(Boxlite):
    """A command line whose every command, and so every box, lives in a world."""

    def __init__(self, world):
        super().__init__()
        self.world = world

    def spawn(self, *arguments, **popen):
        return super().spawn(*arguments, preexec_fn=self.world._enter, **popen)
