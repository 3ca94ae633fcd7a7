"""Trees of files with all their facts: of a directory, and of an ext4 image without mounting it."""

import hashlib
import os
import re
import shutil
import stat
import subprocess
import tempfile

from boxlite_testing.cli import PATH


def mounted_tree(root):
    """{path: facts} of a directory, hard links by their group."""
    tree, groups = {}, {}
    for parent, folders, files in os.walk(os.fsencode(root)):
        for name in [b"."] * (parent == os.fsencode(root)) + folders + files:
            path = os.path.join(parent, name)
            relative = os.path.normpath(os.path.relpath(path, os.fsencode(root)))
            status = os.lstat(path)
            kind = stat.S_IFMT(status.st_mode)
            facts = {"mode": stat.S_IMODE(status.st_mode), "kind": kind, "owner": (status.st_uid, status.st_gid),
                     "mtime": int(status.st_mtime)}
            facts["xattrs"] = {name: os.getxattr(path, name, follow_symlinks=False)
                               for name in os.listxattr(path, follow_symlinks=False)}
            if kind == stat.S_IFREG:
                with open(path, "rb") as file:
                    facts["content"] = hashlib.sha256(file.read()).hexdigest()
            if kind == stat.S_IFLNK:
                facts["target"] = os.readlink(path)
            if kind in (stat.S_IFCHR, stat.S_IFBLK):
                facts["device"] = (os.major(status.st_rdev), os.minor(status.st_rdev))
            if kind != stat.S_IFDIR:
                facts["links"] = status.st_nlink
                groups.setdefault(status.st_ino, set()).add(relative)
            tree[relative] = facts
    return tree, {frozenset(group) for group in groups.values() if len(group) > 1}


class Ext4:
    """Reads an ext4 image with debugfs, without mounting it."""

    def __init__(self, path):
        self.path = path
        self.scratch = tempfile.mkdtemp(prefix="boxlite-debugfs-")

    def commands(self, lines):
        """The output of each command."""
        script = os.path.join(self.scratch, "script")
        with open(script, "w") as file:
            file.writelines(f"{line}\n" for line in lines)
        output = subprocess.run(["debugfs", "-f", script, self.path], check=True, capture_output=True,
                                env={"PATH": PATH, "DEBUGFS_PAGER": "cat", "LC_ALL": "C"}).stdout
        pieces = re.split(rb"^debugfs: .*\n", output, flags=re.M)[1:]
        assert len(pieces) == len(lines), (len(pieces), len(lines))
        return pieces

    def names(self):
        """[(path, inode)] of everything but lost+found."""
        found, pending = [(b".", 2)], [(b"", 2)]
        while pending:
            lists = self.commands([f"ls -p <{inode}>" for _, inode in pending])
            following = []
            for (prefix, _), text in zip(pending, lists):
                for line in text.splitlines():
                    fields = line.split(b"/")
                    if len(fields) < 6 or fields[5] in (b".", b"..") or (prefix == b"" and fields[5] == b"lost+found"):
                        continue
                    path, inode = prefix + fields[5], int(fields[1])
                    found.append((path, inode))
                    if int(fields[2], 8) & 0o170000 == stat.S_IFDIR:
                        following.append((path + b"/", inode))
            pending = following
        return found

    def tree(self):
        names = self.names()
        inodes = sorted({inode for _, inode in names})
        facts = {}
        for inode, text in zip(inodes, self.commands([f"stat <{inode}>" for inode in inodes])):
            facts[inode] = self._facts(inode, text.decode("latin-1"))
        regular = [inode for inode in inodes if facts[inode]["kind"] == stat.S_IFREG]
        self.commands([f"dump <{inode}> {self.scratch}/{inode}" for inode in regular])
        for inode in regular:
            with open(f"{self.scratch}/{inode}", "rb") as file:
                facts[inode]["content"] = hashlib.sha256(file.read()).hexdigest()
        self._read_xattrs(facts)
        groups = {}
        for path, inode in names:
            if facts[inode]["kind"] != stat.S_IFDIR:
                groups.setdefault(inode, set()).add(path)
        return {path: facts[inode] for path, inode in names}, {frozenset(g) for g in groups.values() if len(g) > 1}

    def _facts(self, inode, text):
        kinds = {"regular": stat.S_IFREG, "directory": stat.S_IFDIR, "symlink": stat.S_IFLNK, "FIFO": stat.S_IFIFO,
                 "character special": stat.S_IFCHR, "block special": stat.S_IFBLK}
        number = lambda pattern, base=10: int(re.search(pattern, text).group(1), base)  # noqa: E731
        low, extra = re.search(r"mtime: 0x([0-9a-f]+):([0-9a-f]+)", text).groups()
        seconds = int.from_bytes(bytes.fromhex(low), "big", signed=True) + ((int(extra, 16) & 3) << 32)
        facts = {"kind": kinds[re.search(r"Type: (.*?)\s+Mode:", text).group(1)], "mode": number(r"Mode:\s+(\d+)", 8),
                 "owner": (number(r"User:\s+(\d+)"), number(r"Group:\s+(\d+)")), "mtime": seconds, "xattrs": {}}
        if facts["kind"] != stat.S_IFDIR:
            facts["links"] = number(r"Links: (\d+)")
        if facts["kind"] == stat.S_IFLNK:
            fast = re.search(r'Fast link dest: "(.*)"', text)
            facts["target"] = fast.group(1).encode("latin-1") if fast else self.commands([f"cat <{inode}>"])[0]
        if facts["kind"] in (stat.S_IFCHR, stat.S_IFBLK):
            facts["device"] = tuple(map(int, re.search(r"Device major/minor number: (\d+):(\d+)", text).groups()))
        facts["has_xattrs"] = re.findall(r"^  ([a-z.]+) \(\d+\)", text, re.M)
        return facts

    def _read_xattrs(self, facts):
        for inode, entry in facts.items():
            for number, name in enumerate(entry.pop("has_xattrs")):
                target = f"{self.scratch}/{inode}-{number}"
                self.commands([f"ea_get -f {target} <{inode}> {name}"])
                with open(target, "rb") as file:
                    entry["xattrs"][name] = file.read()

    def close(self):
        shutil.rmtree(self.scratch)


def assert_sound(path):
    check = subprocess.run(["e2fsck", "-fn", path], capture_output=True, text=True)
    assert check.returncode == 0, check.stdout + check.stderr


def ext4_tree(path):
    image = Ext4(path)
    try:
        return image.tree()
    finally:
        image.close()


# Folders that a layer names only as parents have no time of their own, and umoci leaves the root's time alone.
NO_TIME_TO_COMPARE = {b".", b"deep", b"deep/er"}


def assert_same_tree(actual, expected):
    assert actual[0].keys() == expected[0].keys()
    for path, facts in expected[0].items():
        found = dict(actual[0][path])
        if path in NO_TIME_TO_COMPARE:
            found["mtime"] = facts["mtime"]
        assert found == facts, path
    assert actual[1] == expected[1]
