"""boxlite cp: both ways, docker's landing rules, the container's own view, hostile guests, full disks. A guest may do as it likes: the
host gets what was asked for below the destination, or one clear line."""

import hashlib
import io
import os
import signal
import stat
import subprocess
import tarfile

import pytest
from boxlite_testing import identity
from boxlite_testing.fixtures import used as boxlite  # noqa: F401
from boxlite_testing.waiting import wait_until

MIB = 1024 * 1024
FULL_SIZE = bool(os.environ.get("BOXLITE_FULL_SIZE"))  # make soak


def give(path):
    identity.give(str(path))
    return path


def in_box(boxlite, script, **options):
    return boxlite.ok("exec", "box", "sh", "-c", script, **options)


def names(path):
    return sorted(os.path.relpath(os.path.join(parent, name), path) for parent, folders, files in os.walk(path) for name in folders + files)


# ---- Landing

def test_a_file_into_the_box_lands_by_dockers_rules(shared, folder):
    (folder / "f").write_text("new")
    give(folder)
    in_box(shared, "rm -rf /t && mkdir -p /t/dir && echo old and longer >/t/old")
    shared.ok("cp", folder / "f", "box:/t/new")
    shared.ok("cp", folder / "f", "box:/t/dir")
    shared.ok("cp", folder / "f", "box:/t/old")
    shared.ok("cp", folder / "f", "box:t/dir/relative")
    assert in_box(shared, "cd /t && cat new dir/f old dir/relative && find . | sort | tr '\\n' ' '") == \
        "newnewnewnew. ./dir ./dir/f ./dir/relative ./new ./old "
    shared.refused("cp", folder / "f", "box:/t/none/", mentions=["no directory /t/none/"])
    shared.refused("cp", folder / "f", "box:/t/none/f", mentions=["/t/none"])
    shared.refused("cp", folder / "f", "box:/t/old/", mentions=["/t/old/ is not a directory"])
    assert in_box(shared, "ls /t").split() == ["dir", "new", "old"]


def test_a_directory_into_the_box_lands_by_dockers_rules(shared, folder):
    (folder / "d" / "sub").mkdir(parents=True)
    (folder / "d" / "sub" / "f").write_text("x")
    give(folder)
    in_box(shared, "rm -rf /t && mkdir -p /t/dir /t/contents && echo file >/t/file")
    shared.ok("cp", folder / "d", "box:/t/new")
    shared.ok("cp", f"{folder}/d/.", "box:/t/newer/")
    shared.ok("cp", folder / "d", "box:/t/dir")
    shared.ok("cp", f"{folder}/d/.", "box:/t/contents")
    assert in_box(shared, "cd /t && cat new/sub/f newer/sub/f dir/d/sub/f contents/sub/f") == "xxxx"
    shared.refused("cp", folder / "d", "box:/t/file", mentions=["/t/file is not a directory"])
    assert in_box(shared, "cat /t/file") == "file\n"


def test_out_of_the_box_lands_by_dockers_rules(shared, folder):
    in_box(shared, "rm -rf /t && mkdir -p /t/d/sub && echo x >/t/d/sub/f && echo y >/t/file")
    shared.ok("cp", "box:/t/file", folder / "new")
    shared.ok("cp", "box:/t/file", folder)
    shared.ok("cp", "box:/t/d", folder / "copy")
    shared.ok("cp", "box:/t/d", folder)
    shared.ok("cp", "box:/t/d/.", folder)
    assert names(folder) == ["copy", "copy/sub", "copy/sub/f", "d", "d/sub", "d/sub/f", "file", "new", "sub", "sub/f"]
    assert (folder / "sub" / "f").read_text() == "x\n" and (folder / "new").read_text() == "y\n"
    shared.refused("cp", "box:/t/file", f"{folder}/none/", mentions=[f"no directory {folder}/none/"])
    shared.refused("cp", "box:/t/d", folder / "file", mentions=["is not a directory"])
    shared.refused("cp", "box:/t/none", folder, mentions=["there is no /t/none"])
    shared.refused("cp", "box:/t/none", "-", mentions=["there is no /t/none"])
    shared.refused("cp", folder / "none", "box:/t", mentions=[f"there is no {folder}/none"])
    assert in_box(shared, "ls -A /t").split() == ["d", "file"]


def test_links_are_copied_as_links_and_followed_only_when_asked(shared, folder):
    in_box(shared, "rm -rf /t && mkdir -p /t/real && echo x >/t/real/f && ln -s real /t/link && ln -s real/f /t/flink")
    shared.ok("cp", "box:/t/link", folder)
    assert os.readlink(folder / "link") == "real"
    shared.ok("cp", "-L", "box:/t/link", folder / "followed")
    assert (folder / "followed" / "f").read_text() == "x\n"
    shared.ok("cp", "-L", "box:/t/flink", folder)
    assert (folder / "flink").read_text() == "x\n" and not (folder / "flink").is_symlink()
    os.symlink("followed", folder / "hostlink")
    shared.ok("cp", folder / "hostlink", "box:/t/")
    assert in_box(shared, "readlink /t/hostlink") == "followed\n"
    shared.ok("cp", "--follow-link", folder / "hostlink", "box:/t/dir")
    assert in_box(shared, "cat /t/dir/f") == "x\n"


# ---- What is kept

def test_owners_are_roots_in_the_box_and_the_callers_outside_unless_archived(shared, folder):
    (folder / "f").write_text("x")
    os.chmod(folder / "f", 0o6750)
    os.utime(folder / "f", (1_000_000_000, 1_000_000_000))
    give(folder)
    os.chmod(folder / "f", 0o6750)
    in_box(shared, "rm -rf /t && mkdir /t")
    shared.ok("cp", folder / "f", "box:/t/plain")
    shared.ok("cp", "-a", folder / "f", "box:/t/kept")
    assert in_box(shared, "cd /t && stat -c '%n %u:%g %a %Y' kept plain").splitlines() == [
        f"kept {identity.UID}:{identity.GID} 6750 1000000000", "plain 0:0 750 1000000000"]
    in_box(shared, "cd /t && echo x >g && chown 1234:4321 g && chmod 4711 g")
    shared.ok("cp", "box:/t/g", folder)
    found = os.stat(folder / "g")
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (identity.UID, identity.GID, 0o711)
    if identity.PRODUCT_IS_ROOT:
        shared.ok("cp", "-a", "box:/t/g", folder / "kept")
        found = os.stat(folder / "kept")
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 4321, 0o4711)
    else:
        shared.refused("cp", "-a", "box:/t/g", folder / "kept", mentions=["set owner 1234:4321", "not permitted"])
        assert not (folder / "kept").exists()


def test_hard_links_fifos_and_odd_names_survive_a_round_trip(shared, folder):
    name = b"new\nline \xff\xfe " + b"n" * 200
    deep = folder / "tree" / "/".join(["d" * 100] * 30)
    deep.mkdir(parents=True)
    tree = os.fsencode(folder / "tree")
    with open(tree + b"/" + name, "wb") as file:
        file.write(b"odd")
    os.link(tree + b"/" + name, os.fsencode(deep) + b"/hard")
    os.mkfifo(folder / "tree" / "fifo")
    (folder / "tree" / "empty").touch()
    give(folder)
    in_box(shared, "rm -rf /t && mkdir /t")
    shared.ok("cp", folder / "tree", "box:/t")
    assert in_box(shared, "stat -c %h /t/tree/new*").strip() == "2"
    shared.ok("cp", "box:/t/tree", folder / "back")
    assert names(folder / "back") == names(folder / "tree")
    back = os.fsencode(folder / "back")
    assert os.stat(back + b"/" + name).st_nlink == 2
    assert stat.S_ISFIFO(os.stat(folder / "back" / "fifo").st_mode)


def test_devices_come_out_only_for_root_with_archive(shared, folder):
    in_box(shared, "rm -rf /t && mkdir -p /t/d && mknod /t/d/null c 1 3 && echo x >/t/d/f")
    message = shared.refused("cp", "box:/t/d", folder, mentions=["the device node"])
    assert "d/null" in message and names(folder) == ["d", "d/f"]


# ---- The container's own view

def test_temporary_file_systems_and_proc_are_what_the_box_sees(boxlite, demo, folder):
    boxlite.ok("run", "-d", "--name", "box", "--tmpfs", "/scratch", demo, "sleep", "infinity")
    in_box(boxlite, "echo in tmpfs >/scratch/f; echo shm >/dev/shm/s")
    boxlite.ok("cp", "box:/scratch/f", folder)
    boxlite.ok("cp", "box:/dev/shm/s", folder)
    assert (folder / "f").read_text() == "in tmpfs\n" and (folder / "s").read_text() == "shm\n"
    boxlite.ok("cp", folder / "f", "box:/scratch/back")
    assert in_box(boxlite, "cat /scratch/back") == "in tmpfs\n"
    boxlite.ok("cp", "box:/proc/1/comm", folder)
    assert (folder / "comm").read_text() == "sleep\n"
    boxlite.ok("cp", "box:/etc/hostname", folder)
    assert (folder / "hostname").read_text().strip() == in_box(boxlite, "hostname").strip()


def test_a_file_that_the_kernel_makes_up_comes_whole_or_not_at_all(shared, folder):
    """Its size is told as 0."""
    shared.ok("cp", "box:/proc/kallsyms", folder)
    assert (folder / "kallsyms").read_text() == in_box(shared, "cat /proc/kallsyms")
    assert (folder / "kallsyms").stat().st_size > 100_000
    # Writing one record per read, for ever.
    message = shared.refused("cp", "box:/proc/self/pagemap", folder, mentions=["pagemap", "boxlite exec"])
    assert "64 MiB" in message and names(folder) == ["kallsyms"]


def test_the_whole_tree_comes_without_what_the_kernel_makes_up(shared):
    stream = shared("cp", "box:/", "-")
    assert stream.code == 0, stream
    with tarfile.open(fileobj=io.BytesIO(stream.stdout)) as tar:
        found = {member.name for member in tar}
    assert {"./bin/busybox", "./proc", "./sys", "./dev/null"} <= found
    assert not any(name.startswith(("./proc/", "./sys/")) for name in found)


def test_a_box_without_capabilities_is_copied_from_and_to(boxlite, demo, folder):
    boxlite.ok("run", "-d", "--name", "box", "--cap-drop", "ALL", demo, "sleep", "infinity")
    boxlite.ok("cp", "box:/etc/passwd", folder)
    boxlite.ok("cp", folder / "passwd", "box:/home/app/mine")
    assert in_box(boxlite, "stat -c %u /home/app/mine") == "0\n"


def test_a_read_only_box_takes_nothing(boxlite, demo, folder):
    boxlite.ok("run", "-d", "--name", "box", "--read-only", demo, "sleep", "infinity")
    boxlite.ok("cp", "box:/etc/passwd", folder)
    boxlite.refused("cp", folder / "passwd", "box:/etc/passwd", mentions=["Read-only file system"])


# ---- Streams

def test_a_tar_goes_both_ways_by_the_standard_streams(shared):
    in_box(shared, "rm -rf /t && mkdir -p /t/in /t/out/sub && echo x >/t/out/sub/f")
    stream = shared("cp", "box:/t/out", "-")
    assert stream.code == 0, stream
    with tarfile.open(fileobj=io.BytesIO(stream.stdout)) as tar:
        assert tar.getnames() == ["out", "out/sub", "out/sub/f"]
    shared.ok("cp", "-", "box:/t/in", input=stream.stdout)
    assert in_box(shared, "cat /t/in/out/sub/f") == "x\n"
    shared.refused("cp", "-", "box:/t/none", input=stream.stdout, mentions=["/t/none"])
    shared.refused("cp", "-", "box:/t/in", input=b"no tar at all" * 100, mentions=["not an uncompressed tar"])
    shared.refused("cp", "-", "box:/t/in", input=b"", mentions=["ends too early"])


@pytest.mark.parametrize("form", ["gnu", "pax", "ustar", "v7"])
def test_gnu_tars_archives_are_understood(shared, folder, form):
    (folder / "d").mkdir()
    (folder / "d" / ("n" * 90)).write_text("x")
    os.symlink("target", folder / "d" / "link")
    archive = subprocess.run(["tar", "-C", folder, f"--format={form}", "-c", "d"], check=True, capture_output=True).stdout
    in_box(shared, "rm -rf /t && mkdir /t")
    shared.ok("cp", "-", "box:/t", input=archive)
    assert in_box(shared, "cat /t/d/nnn*; readlink /t/d/link") == "xtarget\n"


def hostile(*members):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, link, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, link, len(content)
            tar.addfile(info, io.BytesIO(content))
    return data.getvalue()


@pytest.mark.parametrize("archive", [
    hostile(("../../etc/evil", tarfile.REGTYPE, "", b"x")),
    hostile(("/etc/evil", tarfile.REGTYPE, "", b"x")),
    hostile(("l", tarfile.SYMTYPE, "/etc", b""), ("l/evil", tarfile.REGTYPE, "", b"x")),
    hostile(("h", tarfile.LNKTYPE, "../etc/passwd", b"")),
], ids=["dots", "absolute", "link", "hardlink"])
def test_a_hostile_archive_stays_in_the_directory_that_was_named(shared, archive):
    in_box(shared, "rm -rf /t && mkdir /t")
    shared.refused("cp", "-", "box:/t", input=archive, mentions=["copy - to box:/t"])
    assert in_box(shared, "ls /etc/evil /t/h 2>/dev/null; true") == ""


# ---- Races

RACE = """
mkdir -p /t/r/d; echo inside >/t/r/d/f; echo outside >/t/secret
while [ ! -e /t/stop ]; do mv /t/r/d /t/r/e; ln -s /etc /t/r/d; rm /t/r/d; mv /t/r/e /t/r/d; done
"""


def test_a_tree_that_is_renamed_and_linked_meanwhile_is_copied_without_following(shared, folder):
    in_box(shared, "rm -rf /t")
    racer = shared.spawn("exec", "box", "sh", "-c", RACE)
    wait_until(lambda: shared("exec", "box", "test", "-e", "/t/secret").code == 0, "the race is on")
    for number in range(8):
        finished = shared("cp", "box:/t/r", folder / str(number))
        assert finished.code in (0, 125), finished
        for name in names(folder / str(number)) if (folder / str(number)).exists() else []:
            assert name in ("d", "e", "d/f", "e/f"), name
    in_box(shared, "touch /t/stop")
    assert racer.wait(60) == 0


def test_the_destination_on_the_host_may_be_raced_and_nothing_lands_outside(shared, folder):
    """Somebody swaps a directory of the destination for a link to another all the time."""
    in_box(shared, "rm -rf /t && mkdir -p /t/d/sub && for i in $(seq 300); do echo x >/t/d/sub/$i; done")
    outside = folder / "outside"
    outside.mkdir()
    (folder / "into" / "d" / "sub").mkdir(parents=True)
    give(folder)
    script = "while :; do mv d/sub d/x && ln -s ../../outside d/sub; rm -f d/sub; mv d/x d/sub; done"
    racer = subprocess.Popen(["sh", "-c", script], cwd=folder / "into", stderr=subprocess.DEVNULL)
    try:
        for _ in range(10):
            finished = shared("cp", "box:/t/d", folder / "into")
            assert finished.code in (0, 125), finished
    finally:
        racer.kill()
        racer.wait()
    assert os.listdir(outside) == []


# ---- Ends

def test_a_box_that_does_not_run_says_how_to_start_it(boxlite, demo, folder):
    boxlite.ok("create", "--name", "box", demo, "true")
    boxlite.refused("cp", "box:/etc/passwd", folder, mentions=["box is not running", "boxlite start"])
    boxlite.refused("cp", "nobox:/etc/passwd", folder, mentions=["nobox"])
    assert os.listdir(folder) == []


def test_a_full_disk_in_the_box_leaves_no_half_file(boxlite, demo, folder):
    boxlite.ok("run", "-d", "--name", "box", "--tmpfs", "/small:size=4m", demo, "sleep", "infinity")
    in_box(boxlite, "echo old >/small/big")
    (folder / "big").write_bytes(b"x" * 8 * MIB)
    give(folder)
    boxlite.refused("cp", folder / "big", "box:/small/big", mentions=["No space left on device", "/small"])
    assert in_box(boxlite, "cat /small/big; ls -A /small") == "old\nbig\n"


@pytest.mark.skipif(not identity.OBSERVER_IS_ROOT, reason="mounts a small file system")
def test_a_full_disk_on_the_host_leaves_no_half_file(shared, folder):
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=4m,uid={identity.UID},gid={identity.GID}", "small", folder], check=True)
    try:
        (folder / "big").write_text("old")
        in_box(shared, "rm -rf /t; mkdir /t; dd if=/dev/zero of=/t/big bs=1M count=8 2>/dev/null")
        shared.refused("cp", "box:/t/big", folder, mentions=["No space left on device", str(folder)])
        assert os.listdir(folder) == ["big"] and (folder / "big").read_text() == "old"
    finally:
        subprocess.run(["umount", folder], check=True)



@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_copy_leaves_nothing_in_the_box(shared, folder, how):
    (folder / "big").touch()
    os.truncate(folder / "big", 1024 * MIB)
    give(folder)
    in_box(shared, "rm -rf /t; mkdir /t")
    child = shared.spawn("cp", folder / "big", "box:/t/")
    wait_until(lambda: in_box(shared, "ls -A /t").startswith(".boxlite-"), "the copy has begun")
    child.send_signal(how)
    assert child.wait(60) == (128 + how if how == signal.SIGINT else -how)
    wait_until(lambda: in_box(shared, "ls -A /t") == "", "the temporary file is gone")


def test_an_interrupted_copy_leaves_nothing_on_the_host(shared, folder):
    in_box(shared, "rm -rf /t; mkdir /t; dd if=/dev/zero of=/t/big bs=1M seek=1024 count=0 2>/dev/null")
    child = shared.spawn("cp", "box:/t/big", folder)
    wait_until(lambda: os.listdir(folder), "the copy has begun")
    child.send_signal(signal.SIGINT)
    assert child.wait(60) == 128 + signal.SIGINT
    assert os.listdir(folder) == []


# ---- Size

@identity.by_user
def test_many_files_go_in_and_out(boxlite, demo, folder):
    for group in range(100 if FULL_SIZE else 10):
        (folder / "many" / str(group)).mkdir(parents=True)
        for number in range(1000):
            with open(folder / "many" / str(group) / str(number), "w") as file:
                file.write(str(number))
    give(folder)
    boxlite.ok("run", "-d", "--name", "box", demo, "sleep", "infinity")
    boxlite.ok("cp", folder / "many", "box:/many", timeout=900)
    boxlite.ok("cp", "box:/many", folder / "back", timeout=900)
    assert subprocess.run(["diff", "-r", folder / "many", folder / "back"]).returncode == 0


def test_a_large_file_goes_in_and_out_unharmed(boxlite, demo, folder):
    block = os.urandom(MIB)
    digest = hashlib.sha256()
    with open(folder / "big", "wb") as file:
        for number in range(1024 if FULL_SIZE else 100):
            piece = number.to_bytes(4, "big") + block[4:]
            file.write(piece)
            digest.update(piece)
    give(folder)
    boxlite.ok("run", "-d", "--name", "box", demo, "sleep", "infinity")
    boxlite.ok("cp", folder / "big", "box:/", timeout=900)
    os.unlink(folder / "big")
    boxlite.ok("cp", "box:/big", folder, timeout=900)
    with open(folder / "big", "rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == digest.hexdigest()


# ---- Input

@pytest.mark.parametrize("arguments, mentions", [
    ([], "source and a destination"), (["a"], "source and a destination"), (["a:b", "c", "d"], "source and a destination"),
    (["/a", "/b"], "neither path is BOX:PATH"), (["./a:b", "/c"], "neither path"), (["a:/x", "b:/y"], "from box to box"),
    (["a:", "/x"], "a path is empty"), (["-q", "a:/x", "/y"], "unknown flag -q for cp"),
], ids=str)
def test_bad_operands_are_refused(fresh, arguments, mentions):
    fresh.refused("cp", *arguments, mentions=mentions)
    assert not os.path.exists(fresh.home)


@pytest.mark.parametrize("program", ["gzip", "bzip2", "xz", "zstd"])
def test_a_compressed_archive_is_refused_with_the_way_to_unpack_it(shared, program):
    archive = subprocess.run(f"tar -c -C /etc passwd | {program} -c", shell=True, capture_output=True, check=True).stdout
    shared.refused("cp", "-", "box:/tmp", input=archive, mentions=["is compressed", f"{program} -dc | boxlite cp -"])
