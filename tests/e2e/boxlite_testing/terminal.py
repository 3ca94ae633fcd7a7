"""A command on a real terminal."""

import os
import pty
import select
import subprocess
import time

from boxlite_testing.waiting import DEADLINE


class Terminal:
    """Runs a command of a Boxlite with a pseudo-terminal for stdin, stdout and stderr."""

    def __init__(self, boxlite, *arguments, rows=24, columns=80):
        self._fd, inner = pty.openpty()
        self.resize(rows, columns)
        self.seen = b""
        try:
            # A session of its own with the terminal as its controlling one, as a shell gives it.
            self.child = boxlite.spawn(*arguments, stdin=inner, stdout=inner, stderr=inner, start_new_session=True,
                                       preexec_fn=lambda: _take_terminal(inner))
        finally:
            os.close(inner)

    def resize(self, rows, columns):
        import fcntl
        import struct
        import termios
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, text):
        os.write(self._fd, text.encode())

    def read_until(self, text, deadline=DEADLINE):
        """Reads until the text has been seen and returns what was before it; everything read is in `seen`."""
        end = time.monotonic() + deadline
        wanted = text.encode()
        begin = getattr(self, "_mark", 0)
        while wanted not in self.seen[begin:]:
            left = end - time.monotonic()
            assert left > 0 and select.select([self._fd], [], [], left)[0], f"{text!r} was not seen in {self.seen!r}"
            try:
                piece = os.read(self._fd, 65536)
            except OSError:
                piece = b""
            assert piece, f"the terminal ended before {text!r}: {self.seen!r}"
            self.seen += piece
        position = self.seen.index(wanted, begin)
        self._mark = position + len(wanted)
        return self.seen[begin:position].decode(errors="replace")

    def wait(self):
        """The exit status; the rest of the output is read meanwhile, so that the command is never held up by it."""
        end = time.monotonic() + DEADLINE
        while (left := end - time.monotonic()) > 0:
            try:
                piece = os.read(self._fd, 65536) if select.select([self._fd], [], [], left)[0] else b""
            except OSError:
                piece = b""
            if not piece:
                break
            self.seen += piece
        try:
            return self.child.wait(timeout=max(1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the command does not end: {self.seen!r}") from None

    def close(self):
        os.close(self._fd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _take_terminal(fd):
    import fcntl
    import termios
    fcntl.ioctl(fd, termios.TIOCSCTTY, 0)
