"""What tests/integration/tree_facts.cc tells of a tree, as values to compare."""

import os
import subprocess

from boxlite_testing.cli import BIN_DIR

PROGRAM = os.path.join(BIN_DIR, "tree_facts")
FIELDS = ("kind", "mode", "uid", "gid", "links", "inode", "device", "seconds", "nanoseconds", "size", "hash", "target", "xattrs")


class Tree:
    """entries: {path: facts without the inode}; links: the groups of names that are one file; mounts: what was not looked into."""

    def __init__(self, text):
        self.entries, self.mounts, groups = {}, set(), {}
        for line in text.splitlines():
            path, *values = line.split("\t")
            if values == ["mount"]:
                self.mounts.add(path)
                continue
            facts = dict(zip(FIELDS, values, strict=True))
            inode = facts.pop("inode")
            if facts["kind"] != "d" and facts["links"] != "1":
                groups.setdefault(inode, set()).add(path)
            self.entries[path] = facts
        self.links = {frozenset(group) for group in groups.values()}

    def without(self, mounts):
        """As it looks when other file systems are mounted there."""
        hidden = lambda path: any(path == mount or path.startswith(mount + "/") for mount in mounts)  # noqa: E731
        self.entries = {path: facts for path, facts in self.entries.items() if not hidden(path)}
        self.links = {group for group in self.links if not any(map(hidden, group))}
        return self


def of_directory(path):
    return Tree(subprocess.run([PROGRAM, path], check=True, capture_output=True, text=True).stdout)


def visible_in_container(tree):
    """Attributes of the class trusted are for processes with CAP_SYS_ADMIN only."""
    for facts in tree.entries.values():
        facts["xattrs"] = ",".join(x for x in facts["xattrs"].split(",") if not x.startswith("trusted."))
    return tree


def assert_same(actual, expected, no_time=()):
    """no_time: what has no time of its own in the image."""
    assert actual.entries.keys() == expected.entries.keys(), actual.entries.keys() ^ expected.entries.keys()
    different = {}
    for path, facts in expected.entries.items():
        found = dict(actual.entries[path])
        if path in no_time:
            found["seconds"], found["nanoseconds"] = facts["seconds"], facts["nanoseconds"]
        if found != facts:
            different[path] = {key: (found[key], facts[key]) for key in facts if found[key] != facts[key]}
    assert not different, "\n".join(f"{path}: {difference}" for path, difference in different.items())
    assert actual.links == expected.links
