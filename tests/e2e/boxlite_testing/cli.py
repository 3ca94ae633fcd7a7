"""The command line under test: one private home, every command a new process with a deadline and a clean environment."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass

from boxlite_testing import census, identity, sanitizer
from boxlite_testing.waiting import DEADLINE

REPOSITORY = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
BIN_DIR = os.environ.get("BOXLITE_BIN_DIR", os.path.join(REPOSITORY, "build", "bin"))
# A run in which all boxes boot: BOXLITE_TEST_COLD=1, or all (fixtures.py). In any other they go on from templates.
COLD = {"BOXLITE_COLD": "1"} if os.environ.get("BOXLITE_TEST_COLD") else {}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass
class Finished:
    argv: list
    code: int
    stdout: bytes
    stderr: bytes

    @property
    def out(self):
        return self.stdout.decode(errors="replace")

    @property
    def err(self):
        return self.stderr.decode(errors="replace")

    def __str__(self):
        return f"{' '.join(self.argv)}\n  exit {self.code}\n  stdout: {self.out[-2000:]}\n  stderr: {self.err[-2000:]}"


class Boxlite:
    """bl("ls", "-a") runs a command; bl.ok(…) also wants exit status 0 and returns its output."""

    def __init__(self, home=None, **environment):
        self.directory = tempfile.mkdtemp(prefix="boxlite-e2e-")
        os.chmod(self.directory, 0o755)
        identity.give(self.directory)
        self.home = home or os.path.join(self.directory, "home")
        self.environment = {"PATH": PATH, "HOME": self.directory, "LANG": "C.UTF-8", "BOXLITE_HOME": self.home, **COLD, **sanitizer.ENVIRONMENT, **environment}
        self.background = []

    def argv(self, *arguments, program="boxlite"):
        return identity.as_user([os.path.join(BIN_DIR, program), *map(str, arguments)])

    def spawn(self, *arguments, environment=None, program="boxlite", **popen):
        """Starts a command and returns its Popen (its pid is the command's own). Ended at the end of the test."""
        settings = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": "/", **popen}
        child = subprocess.Popen(self.argv(*arguments, program=program), env={**self.environment, **(environment or {})},
                                 **settings)
        self.background.append(child)
        return child

    def __call__(self, *arguments, input=None, environment=None, timeout=DEADLINE, program="boxlite", cwd="/"):
        child = self.spawn(*arguments, environment=environment, program=program, cwd=cwd,
                           stdin=subprocess.DEVNULL if input is None else subprocess.PIPE)
        try:
            stdout, stderr = child.communicate(input, timeout)
        except subprocess.TimeoutExpired as late:
            child.kill()
            raise AssertionError(f"no end within {timeout:.0f} s: {' '.join(child.args)}\n"
                                 f"  stdout: {late.stdout!r}\n  stderr: {late.stderr!r}") from None
        self.background.remove(child)
        return Finished(child.args, child.returncode, stdout, stderr)

    def ok(self, *arguments, **options):
        finished = self(*arguments, **options)
        assert finished.code == 0, f"{finished}\n{self.tails(lines=12, ended_only=True)}"
        return finished.out

    def refused(self, *arguments, code=125, mentions=(), **options):
        """Wants an error: the exit status, nothing on stdout, one line on stderr that has all of `mentions`."""
        finished = self(*arguments, **options)
        assert finished.code == code, str(finished)
        assert finished.stdout == b"", str(finished)
        assert len(finished.err.splitlines()) == 1, f"one line was wanted on stderr: {finished}"
        for text in [mentions] if isinstance(mentions, str) else mentions:
            assert text in finished.err, f"'{text}' is not mentioned: {finished}"
        return finished.err

    # --- what the product says about itself

    def list(self):
        return json.loads(self.ok("ls", "-a", "--format", "json"))

    def inspect(self, box):
        return json.loads(self.ok("inspect", box))[0]

    def status(self, box):
        return self.inspect(box)["status"]

    # --- what is really there

    def census(self):
        return census.take(self.home)

    def shim(self, box):
        return census.shim(self.home, self.inspect(box)["id"])

    def assert_nothing_left(self):
        census.assert_empty(self.home)

    # --- the end

    def close(self, failed=False):
        """Removes all boxes and proves that nothing is left of them; keeps the files of a failed test."""
        told = self.tails() if failed else ""  # the removal takes the logs with it
        try:
            for child in self.background:
                child.kill()
                child.wait(timeout=DEADLINE)
                for stream in filter(None, (child.stdin, child.stdout, child.stderr)):
                    stream.close()
            if os.path.exists(os.path.join(self.home, "locks")):
                boxes = self.ok("ls", "-aq").split()
                if boxes:
                    self.ok("rm", "-f", *boxes)
            self.assert_nothing_left()
        except BaseException:
            failed = True
            raise
        finally:
            for process in census.processes(self.home):
                process.kill(signal.SIGKILL)
            if failed:
                print(f"\nkept: {self.directory}, home {self.home}\n{told or self.tails()}")
            else:
                shutil.rmtree(self.directory)

    def tails(self, lines=25, ended_only=False):
        """The last lines of every log of every box (that has ended), for the report of a failed test."""
        text = []
        for folder in ("boxes", "trash"):
            for parent, _, files in os.walk(os.path.join(self.home, folder)):
                if ended_only and not os.path.exists(os.path.join(parent, "exit.json")):
                    continue
                for name in sorted(files):
                    if name.endswith((".log", "exit.json", "state.json")):
                        path = os.path.join(parent, name)
                        with open(path, "rb") as file:
                            tail = file.read()[-8192:].decode(errors="replace").splitlines()[-lines:]
                        text.append(f"--- {path}\n" + "\n".join(tail))
        return "\n".join(text)
