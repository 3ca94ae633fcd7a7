"""Counts what a home uses: rows, directories, locks, processes, listeners, memory. Seen from outside, without asking boxlite.

A process belongs to a home when a lease names it, when it is below such a process, when its argv names one of the home's boxes
to people, or when it has a file of the home open: several ways, since the one that matters is the one a leak escapes by.
"""

import json
import os
import re
import sqlite3
from dataclasses import dataclass

from boxlite_testing import proc

DATABASE = "boxlite.db"


@dataclass
class Census:
    rows: int
    directories: int
    leases: int
    vm_locks: int
    shims: int
    vms: int
    networks: int
    volume_servers: int
    listeners: int
    sockets: int
    memory_kib: int


NOTHING = Census(*[0] * len(Census.__dataclass_fields__))


def _names(folder):
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []


def _held(home, suffix):
    return [name for name in _names(f"{home}/locks") if name.endswith(suffix) and proc.lock_held(f"{home}/locks/{name}")]


def _lease(path):
    try:
        with open(path) as file:
            return json.loads(file.read() or "{}")
    except (FileNotFoundError, ValueError):
        return {}


def shim(home, box_id):
    """The shim of a box by its lease, or None."""
    path = f"{home}/locks/{box_id}.lease"
    found = proc.process(_lease(path).get("pid", 0)) if proc.lock_held(path) else None
    return found if found and found.start_time == _lease(path)["start_time"] else None


def vm_processes(home, box_id):
    """The shim's children and theirs: bwrap, the jail's init, QEMU."""
    owner = shim(home, box_id)
    return [p for p in proc.descendants([owner.pid], proc.all_processes()) if p.pid != owner.pid] if owner else []


def qemu(home, box_id):
    found = [p for p in vm_processes(home, box_id) if p.name.startswith("qemu-system")]
    assert len(found) == 1, f"one QEMU was expected for box {box_id}: {found}"
    return found[0]


def processes(home):
    everyone = proc.all_processes()
    ids = {name.split(".")[0] for name in _names(f"{home}/locks")} | set(_names(f"{home}/boxes"))
    roots = set()
    for name in _names(f"{home}/locks"):
        lease = _lease(f"{home}/locks/{name}") if name.endswith(".lease") else {}
        owner = proc.process(lease.get("pid", 0))
        if owner and owner.start_time == lease.get("start_time"):
            roots.add(owner.pid)
    inside = os.path.realpath(home) + "/"
    for p in everyone:
        if p.argv[:1] == ("boxlite-shim",) and p.argv[1:2] and p.argv[1] in ids:
            roots.add(p.pid)
        elif p.pid != os.getpid() and any(link.startswith(inside) for link in proc.open_files(p.pid)):
            roots.add(p.pid)
        elif any(inside in part for part in p.argv) and p.name in ("bwrap", "boxlite-vm-init", "boxlite-volume", "boxlite-image", "boxlite-net", "boxlite-shim", "boxlite-template"):
            roots.add(p.pid)
    return proc.descendants(roots, everyone)


def take(home):
    mine = processes(home)
    networks = [p for p in mine if p.name == "boxlite-net"]
    listening = set().union(*(set(proc.listeners(p.pid)) for p in networks), proc.listeners())
    inodes = {link[len("socket:["):-1] for p in mine for link in proc.open_files(p.pid) if link.startswith("socket:[")}
    return Census(
        rows=_rows(home),
        directories=len(_names(f"{home}/boxes")),
        leases=len(_held(home, ".lease")),
        vm_locks=len(_held(home, ".vm")),
        shims=sum(p.name == "boxlite-shim" for p in mine),
        vms=sum(p.name.startswith("qemu-system") for p in mine),
        networks=len(networks),
        volume_servers=sum(p.name == "boxlite-volume" for p in mine),
        listeners=len(inodes & listening),
        sockets=sum(_is_socket(os.path.join(parent, name)) for parent, _, files in os.walk(home) for name in files),
        memory_kib=sum(proc.memory_kib(p.pid, "Pss") for p in mine),
    )


def _is_socket(path):
    try:
        return (os.lstat(path).st_mode & 0o170000) == 0o140000
    except FileNotFoundError:
        return False


def _rows(home):
    if not os.path.exists(f"{home}/{DATABASE}"):
        return 0
    database = sqlite3.connect(f"file:{home}/{DATABASE}?mode=ro", uri=True, timeout=30)
    try:
        return database.execute("select count(*) from boxes").fetchone()[0]
    finally:
        database.close()


def assert_empty(home):
    """No box, no process, no listener, no lock, no file of a box."""
    if not os.path.isdir(home):
        return
    seen = take(home)
    assert seen == NOTHING, f"something is left in {home}: {seen}; {processes(home)}"
    for folder in ("boxes", "locks", "trash", "tmp"):
        left = [name for name in _names(f"{home}/{folder}") if not _belongs_to_home(folder, name)]
        assert not left, f"files are left in {home}/{folder}: {left}"


def _belongs_to_home(folder, name):
    """Locks of the home itself (not of a box) stay."""
    return folder == "locks" and not re.fullmatch("[0-9a-f]{12}", name.split(".")[0])
