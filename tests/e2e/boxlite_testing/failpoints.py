"""The places where the programs under test can be made to fail (src/base/failpoint.h), as the source has them, and what was reached."""

import collections
import os
import re
import tempfile
from dataclasses import dataclass

from boxlite_testing import identity
from boxlite_testing.cli import REPOSITORY

_PLACE = re.compile(r'\bFAILPOINT\("([^"]+)"\)')


def places():
    """{name: [file, …]}; a name that is given twice has two files."""
    found = collections.defaultdict(list)
    for parent, _, files in os.walk(os.path.join(REPOSITORY, "src")):
        for name in files:
            if name.endswith(".cc") and not name.endswith("_test.cc"):
                with open(os.path.join(parent, name)) as file:
                    for place in _PLACE.findall(file.read()):
                        found[place].append(name)
    return dict(found)


@dataclass(frozen=True)
class Reached:
    program: str
    pid: int
    name: str
    action: str


class Trace:
    """A file that programs write what they reach into: Trace().environment("start.intent=kill9") is for their environment."""

    def __init__(self):
        fd, self._path = tempfile.mkstemp(prefix="boxlite-trace-")
        os.close(fd)
        identity.give(self._path)

    def environment(self, plan=""):
        return {"BOXLITE_FAILPOINTS": plan, "BOXLITE_FAILPOINTS_TRACE": self._path}

    def reached(self):
        with open(self._path) as file:
            return [Reached(program, int(pid), name, action) for program, pid, name, action in map(str.split, file)]

    def clear(self):
        os.truncate(self._path, 0)

    def close(self):
        os.unlink(self._path)
