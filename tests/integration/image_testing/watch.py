"""Watches what a program does to the host's file system: every system call that could change it, and a tree it must not touch."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile

CALLS = ("creat,open,openat,openat2,mkdir,mkdirat,mknod,mknodat,symlink,symlinkat,link,linkat,rename,renameat,renameat2,unlink,unlinkat,"
         "rmdir,truncate,chmod,fchmodat,chown,lchown,fchownat,utime,utimes,utimensat,futimesat,setxattr,lsetxattr,removexattr,"
         "lremovexattr,mount,umount2,chroot,pivot_root")
TWO_PATHS = ("rename", "link")
IN_DIRECTORY = re.compile(r'(?:AT_FDCWD|\d+)(?:<(?P<directory>[^>]*)>)?, "(?P<path>(?:[^"\\]|\\.)*)"')
PLAIN = re.compile(r'"(?P<path>(?:[^"\\]|\\.)*)"')


def traced(argv, log):
    """argv, with every such call of it written to `log`."""
    return ["strace", "-f", "--seccomp-bpf", "-qq", "-y", "-s", "8192", "-e", f"trace={CALLS}", "-o", log, *argv]


def written_paths(log):
    """The absolute path of everything that was opened for writing, made, changed or removed."""
    paths = []
    with open(log, errors="surrogateescape") as file:
        for line in file:
            call = re.match(r"\d+ +(\w+)\((.*)", line)
            if not call:
                continue
            name, arguments = call.groups()
            if name.startswith(("open", "creat")) and not re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC", arguments):
                continue
            pattern = IN_DIRECTORY if "at" in name.replace("creat", "").replace("utimes", "") and "<" in arguments else PLAIN
            found = list(pattern.finditer(arguments))
            assert found, f"not understood: {line}"
            for one in found[:2 if name.startswith(TWO_PATHS) else 1]:
                directory = one.groupdict().get("directory") or "/"
                paths.append(os.path.normpath(os.path.join(directory, one["path"])))
    return paths


class Canary:
    """A tree that attacks aim at."""

    def __init__(self, path):
        self.path = path
        os.mkdir(self.path)
        os.chmod(self.path, 0o777)
        os.mkdir(f"{self.path}/folder", 0o777)
        for name in ("passwd", "folder/file"):
            with open(f"{self.path}/{name}", "w") as file:
                file.write("sings\n")
            os.chmod(f"{self.path}/{name}", 0o666)
        os.symlink("passwd", f"{self.path}/link")
        self.before = self.state()

    def state(self):
        seen = {}
        for parent, folders, files in os.walk(self.path):
            for path in [parent, *(os.path.join(parent, name) for name in folders + files)]:
                status = os.lstat(path)
                content = open(path, "rb").read() if os.path.isfile(path) else b""
                seen[path] = (status.st_mode, status.st_ino, status.st_nlink, status.st_uid, status.st_mtime_ns, status.st_ctime_ns,
                              hashlib.sha256(content).hexdigest())
        return seen

    def close(self):
        try:
            assert self.state() == self.before
        finally:
            shutil.rmtree(self.path)


# Started by a process that is small itself: what a child has between fork and exec counts as its own.
MEASURE = ("import resource, subprocess, sys; subprocess.run(sys.argv[1:]); "
           "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)")


def peak_memory(argv, data):
    """(standard output, peak resident bytes) of a program that reads `data`."""
    run = subprocess.run(["/usr/bin/python3", "-IS", "-c", MEASURE, *argv], input=data, capture_output=True, check=True, cwd="/")
    return run.stdout, int(run.stderr) * 1024
