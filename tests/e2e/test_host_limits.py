"""A host that has no room for one more box says so before it starts one, and a VM that it has killed for memory is told as such."""

import os
import re
import subprocess

import pytest
from boxlite_testing import census, identity
from boxlite_testing.waiting import wait_until

pytestmark = identity.by_root

needs_root = pytest.mark.skipif(not identity.OBSERVER_IS_ROOT, reason="needs root to mount and to make cgroups")


def memory_mib():
    """What the host has, and what of it could be had now."""
    with open("/proc/meminfo", encoding="ascii") as file:
        fields = dict(re.findall(r"^(\w+):\s+(\d+)", file.read(), re.MULTILINE))
    return int(fields["MemTotal"]) // 1024, (int(fields["MemAvailable"]) + int(fields["SwapFree"])) // 1024


def test_a_box_with_more_memory_than_the_host_has_left_is_not_started(boxlite, demo):
    all_of_it, available = memory_mib()
    if available >= all_of_it:
        pytest.skip("this host has swap enough for a box as large as its memory")
    refused = boxlite.refused("run", "--rm", "-m", f"{all_of_it}m", demo, "true", mentions=["MiB are available", "--memory"])
    assert f"a box of {all_of_it} MiB" in refused
    assert boxlite.list() == []
    boxlite.ok("create", "--name", "a", "-m", f"{all_of_it}m", demo, "true")
    boxlite.refused("start", "a", mentions="MiB are available")
    assert boxlite.status("a") == "created", "a start that was not begun leaves the box as it was"
    boxlite.ok("rm", "a")
    boxlite.assert_nothing_left()


@needs_root
def test_a_box_is_not_started_where_the_home_has_hardly_room(boxlite, demo):
    os.mkdir(boxlite.home)
    options = f"size=40m,mode=700,uid={identity.UID},gid={identity.GID}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", boxlite.home], check=True)
    try:
        boxlite.ok("create", "--name", "a", demo, "echo", "room")
        free = os.statvfs(boxlite.home)
        filler = f"{boxlite.home}/filler"
        with open(filler, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - (12 << 20))
        refused = boxlite.refused("start", "a", mentions="needs 16 MiB to begin")
        assert boxlite.home in refused
        assert boxlite.status("a") == "created"
        os.unlink(filler)
        boxlite.ok("start", "a")
        assert boxlite.ok("wait", "a").strip() == "0"
        boxlite.ok("rm", "-f", "a")
    finally:
        subprocess.run(["umount", "--lazy", boxlite.home], check=True)


class Cgroup:
    """One with a limit on memory, of either version, that processes can be put into."""

    def __init__(self, name, limit):
        first = os.path.isdir("/sys/fs/cgroup/memory")
        self._path = f"/sys/fs/cgroup/memory/{name}" if first else f"/sys/fs/cgroup/{name}"
        os.mkdir(self._path)
        self._write("memory.limit_in_bytes" if first else "memory.max", limit)

    def _write(self, file, value):
        with open(f"{self._path}/{file}", "w", encoding="ascii") as target:
            target.write(str(value))

    def add(self, pid):
        self._write("cgroup.procs", pid)

    def remove(self):
        os.rmdir(self._path)


@needs_root
def test_a_vm_that_the_host_has_killed_for_memory_is_told_as_such(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
    # What it has stays counted where it was: this is what it may take from now on.
    cgroup = Cgroup(f"boxlite-test-{os.getpid()}", 32 << 20)
    try:
        cgroup.add(census.qemu(boxlite.home, boxlite.inspect("a")["id"]).pid)
        boxlite("exec", "a", "dd", "if=/dev/zero", "of=/dev/shm/x", "bs=1M", "count=60")
        wait_until(lambda: boxlite.status("a") == "failed", "the box has failed")
        reason = boxlite.inspect("a")["reason"]
        assert "signal 9" in reason and "lack of memory" in reason, reason
    finally:
        boxlite.ok("rm", "-f", "a")
        cgroup.remove()
