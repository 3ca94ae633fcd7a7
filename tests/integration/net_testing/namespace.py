"""Network namespaces. A thread enters one and makes sockets there, which then work from any thread; commands run inside by preexec."""

import concurrent.futures
import ctypes
import os
import subprocess

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000


def _check(result):
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


class Namespace:
    def __init__(self):
        self._thread = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self.fd = self._thread.submit(self._enter).result()
        self.command("ip link set lo up")

    @staticmethod
    def _enter():
        _check(LIBC.unshare(CLONE_NEWNET))
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def do(self, function, *arguments, **more):
        """Runs a function in the namespace. It must not block: there is one thread for it."""
        return self._thread.submit(function, *arguments, **more).result()

    def spawn(self, argv, **more):
        fd = self.fd
        return subprocess.Popen(argv, preexec_fn=lambda: _check(LIBC.setns(fd, CLONE_NEWNET)), **more)

    def command(self, text, check=True):
        child = self.spawn(text.split(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        output, _ = child.communicate(timeout=60)
        assert not check or child.returncode == 0, f"{text}: {output}"
        return output

    def close(self):
        self._thread.shutdown()
        os.close(self.fd)
