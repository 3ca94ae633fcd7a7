"""The report this project grew from: a shim that later commands do not recognise is declared dead, and lives on with its
memory, its ports and a second machine of the same name beside it. Every command here is a new process; what is left is counted
from outside."""

from boxlite_testing import identity, proc
from boxlite_testing.census import NOTHING

EXPOSED = {2375, 2376, 27653}  # none that the kernel gives to who asks for any


def machine(boxlite, box):
    """Which boot of which machine answers, and for how long it has been up."""
    boot, uptime = boxlite.ok("exec", box, "cat", "/proc/sys/kernel/random/boot_id", "/proc/uptime").split()[:2]
    return boot, float(uptime)


def opened_ports(before):
    """Ports that were opened since `before` by the product's user, or that the image exposes."""
    now = proc.listeners()
    new = [now[inode] for inode in set(now) - set(before)]
    return [entry for entry in new if entry[1] in EXPOSED or (identity.USER and entry[2] == identity.UID)]


def test_a_box_is_found_again_by_every_later_command_and_removed_without_a_trace(boxlite, registry):
    ports_before = proc.listeners()
    boxlite.ok("pull", registry.demo)
    assert boxlite.census() == NOTHING

    boxlite.ok("run", "-d", "--name", "a", registry.demo, "sleep", "infinity")
    shim = boxlite.shim("a")
    boot, uptime = machine(boxlite, "a")
    one_box = boxlite.census()
    assert (one_box.rows, one_box.directories, one_box.leases, one_box.vm_locks, one_box.shims, one_box.vms) == (1, 1, 1, 1, 1, 1)
    assert one_box.listeners == 0 and opened_ports(ports_before) == []

    for _ in range(3):
        listed = boxlite.list()
        assert [(box["name"], box["status"], box["shim_pid"]) for box in listed] == [("a", "running", shim.pid)]
        assert "a" in boxlite.ok("ls")
        boxlite.ok("exec", "a", "sh", "-c", "echo state >>/root/state")
        assert boxlite.shim("a") == shim
    assert boxlite.ok("exec", "a", "cat", "/root/state") == "state\n" * 3
    later_boot, later_uptime = machine(boxlite, "a")
    assert later_boot == boot and later_uptime >= uptime
    assert boxlite.census().shims == 1 and opened_ports(ports_before) == []

    # The next box of the same image starts beside it, and after it: nothing of the first is in its way.
    boxlite.ok("run", "-d", "--name", "b", registry.demo, "sleep", "infinity")
    assert machine(boxlite, "b")[0] != boot
    boxlite.ok("rm", "-f", "a")
    assert not shim.alive()
    assert (boxlite.census().shims, boxlite.census().vms, boxlite.census().leases) == (1, 1, 1)
    boxlite.ok("run", "-d", "--name", "a", registry.demo, "sleep", "infinity")
    assert machine(boxlite, "a")[0] != boot
    assert boxlite("exec", "a", "cat", "/root/state").code != 0, "the new box has the old one's disk"

    boxlite.ok("rm", "-f", "a", "b")
    boxlite.assert_nothing_left()
    assert boxlite.census().memory_kib == 0 and opened_ports(ports_before) == []


def test_a_box_survives_a_hundred_looks_at_it(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
    shim = boxlite.shim("a")
    for _ in range(100):
        assert boxlite.list()[0]["status"] == "running"
    assert boxlite.shim("a") == shim
    assert boxlite.census().vms == 1
