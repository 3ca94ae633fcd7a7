"""Whether anything has grown: files of a home, mounts, and descriptors and memory of a box that has stayed all the while."""

import os

from boxlite_testing import census, proc
from boxlite_testing.waiting import wait_until

# What a shim, QEMU or a network process may take more of after a while, for its own reasons: what leaks with every box is far more.
_SLACK_KIB = 8 * 1024


class Sizes:
    def __init__(self, boxlite, box):
        self.files = _files(boxlite.home)
        self.mounts = _mounts(boxlite.home)
        mine = [boxlite.shim(box), *census.vm_processes(boxlite.home, boxlite.inspect(box)["id"])]
        wait_until(mine[0].waiting, "the shim has closed the connection of who has just asked it")
        self.processes = {p: (len(proc.open_files(p.pid)), proc.memory_kib(p.pid, "Private_Dirty")) for p in mine}

    def grown_since(self, before):
        """What is not as it was, a line each."""
        lines = [f"file {name}" for name in sorted(self.files ^ before.files)]
        lines += [f"mount {line}" for line in self.mounts if line not in before.mounts]
        if self.processes.keys() != before.processes.keys():
            lines.append(f"processes {[*before.processes]} have become {[*self.processes]}")
        for process, (descriptors, kib) in self.processes.items():
            descriptors_before, kib_before = before.processes.get(process, (descriptors, kib))
            if descriptors != descriptors_before:
                lines.append(f"{process.name}: {descriptors_before} descriptors have become {descriptors}")
            if kib > kib_before + _SLACK_KIB:
                lines.append(f"{process.name}: {kib_before} KiB have become {kib}")
        return lines


def _files(home):
    """Without those that SQLite has while somebody has the database open."""
    return {os.path.join(parent, name).removeprefix(home) for parent, _, names in os.walk(home) for name in names
            if not name.startswith("boxlite.db-")}


def _mounts(home):
    """Those that could be boxlite's, but for those of other tests: they come and go with the other suite."""
    with open("/proc/self/mounts") as file:
        return [line.strip() for line in file if os.path.realpath(home) in line or ("boxlite" in line and "/tmp/boxlite-" not in line)]
