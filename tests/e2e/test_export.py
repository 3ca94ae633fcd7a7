"""Boxes as archives, and boxes from them: elsewhere, without the image, and whoever wrote the archive."""

import io
import json
import os
import re
import struct
import subprocess
import tarfile

import pytest
from boxlite_testing import identity
from boxlite_testing.cli import Boxlite
from boxlite_testing.fixtures import used_warm as boxlite  # noqa: F401
from boxlite_testing.registry import free_port
from boxlite_testing.waiting import wait_until

pytestmark = identity.by_user

COUNT = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done"
SLEEP = ("sleep", "10000")
FRAME = b"\x50\x2a\x4d\x18" + struct.pack("<I", 22) + b"boxlite box archive 1\n"


@pytest.fixture
def elsewhere():
    """Another home, where nothing is known of the first."""
    runner = Boxlite()
    yield runner
    runner.close()


def members(path):
    """[(TarInfo, bytes)], as other people's programs read it: zstd and tar. Of the disk the beginning."""
    plain = subprocess.run(["zstd", "-dc", path], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        return [(entry, tar.extractfile(entry).read(1 << 20 if entry.name == "base.ext4" else -1)) for entry in tar.getmembers()]


def pack(path, plain, frame=FRAME):
    packed = subprocess.run(["zstd", "-c", "--check"], input=plain, check=True, capture_output=True).stdout
    with open(path, "wb") as file:
        file.write(frame + packed)
    os.chmod(path, 0o644)


def write(path, entries):
    """An archive of [(name or TarInfo, bytes)]."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in entries:
            entry = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    pack(path, plain.getvalue())


@pytest.fixture
def archive(folder):
    return f"{folder}/a.boxlite"


def output_of(boxlite, box):
    boxlite.ok("start", box)
    boxlite.ok("wait", box)
    return boxlite.ok("logs", box)


def nothing_new(boxlite):
    assert boxlite.list() == []
    for place in ("tmp", "bases", "boxes"):
        left = os.listdir(f"{boxlite.home}/{place}") if os.path.isdir(f"{boxlite.home}/{place}") else []
        assert left == [], (place, left)


def test_a_box_goes_elsewhere_with_its_disk_and_needs_no_image_there(boxlite, elsewhere, demo, archive):
    boxlite.ok("run", "-d", "--name", "web", "-w", "/home", "-m", "256m", "--cpus", "2", "-l", "label=x", "--network", "none", demo, *SLEEP)
    boxlite.ok("exec", "web", "sh", "-c", "echo word >/word; mkfifo /fifo; head -c 3000000 /dev/urandom >/data; sha256sum </data >/sum")
    assert boxlite.ok("export", "-o", archive, "web") == ""
    boxlite.ok("exec", "web", "sh", "-c", "echo later >/word")
    assert boxlite.status("web") == "running" and os.stat(archive).st_mode & 0o777 == 0o600
    box_id = elsewhere.ok("import", archive).strip()
    assert re.fullmatch("[0-9a-f]{12}", box_id) and elsewhere.ok("images", "-q") == ""
    box = elsewhere.inspect("web")
    assert (box["id"], box["status"], box["image"]) == (box_id, "created", "oci:demo"), "where it was on that host is nobody's business"
    assert box["labels"]["label"] == "x" and elsewhere.ok("start", "web")
    look = "pwd; cat /word; sha256sum </data | cmp - /sum && test -p /fifo && echo whole; hostname; nproc"
    assert elsewhere.ok("exec", "web", "sh", "-c", look).splitlines() == ["/home", "word", "whole", box_id, "2"]
    assert elsewhere.ok("exec", "web", "sh", "-c", "echo $GREETING") == boxlite.ok("exec", "web", "sh", "-c", "echo $GREETING")
    assert elsewhere.ok("doctor")
    again = elsewhere.ok("import", archive).strip()
    assert elsewhere.inspect(again)["name"] != "web", "the name was taken"
    elsewhere.ok("rm", "-f", "web", again)
    nothing_new(elsewhere)


def test_a_stopped_box_and_one_that_never_ran_are_exported_through_a_pipe(boxlite, elsewhere, demo):
    boxlite.ok("create", "--name", "a", demo, "sh", "-c", "cat /word || echo nothing >/word")
    for told in ("", "nothing\n"):
        packed = boxlite("export", "a")
        assert packed.code == 0, str(packed)
        imported = elsewhere("import", "--name", "b", "-", input=packed.stdout)
        assert imported.code == 0, str(imported)
        assert output_of(elsewhere, "b") == told
        elsewhere.ok("rm", "b")
        output_of(boxlite, "a")


def test_a_box_with_its_images_command_is_listed_with_it_where_the_image_is_not(boxlite, elsewhere, demo, archive):
    def command(runner):
        return runner.ok("ls", "-a", "--no-trunc").splitlines()[1].split('"')[1]

    boxlite.ok("create", "--name", "a", demo)
    boxlite.ok("export", "-o", archive, "a")
    elsewhere.ok("import", archive)
    assert command(boxlite) == command(elsewhere) != ""


def test_with_memory_the_machine_goes_on_elsewhere_any_number_of_times(boxlite, elsewhere, demo, archive):
    boxlite.ok("run", "-d", "--name", "a", demo, "sh", "-c", COUNT)
    wait_until(lambda: boxlite.ok("logs", "a").count("\n") > 3, "it counts")
    boxlite.ok("exec", "a", "sh", "-c", "echo memory >/dev/shm/word; echo disk >/word; sleep 10000 & echo $! >/pid")
    boxlite.ok("export", "--memory", "-o", archive, "a")
    ids = [elsewhere.ok("import", "--name", name, archive).strip() for name in ("b", "c")]
    assert [elsewhere.status(box) for box in ids] == ["suspended"] * 2
    for box in ids:
        elsewhere.ok("start", box)
        assert elsewhere.ok("exec", box, "sh", "-c", "cat /dev/shm/word /word; kill -0 $(cat /pid) && echo lives; hostname") == f"memory\ndisk\nlives\n{box}\n"
        wait_until(lambda box=box: elsewhere.ok("logs", box).count("\n") > 3, "it counts on")
        seen = [int(line) for line in elsewhere.ok("logs", box).split()]
        assert seen == list(range(seen[0], seen[0] + len(seen))) and seen[0] > 3
    identities = {elsewhere.ok("exec", box, "cat", "/dev/boxlite-generation") for box in ids}
    assert len(identities | {boxlite.ok("exec", "a", "cat", "/dev/boxlite-generation")}) == 3
    # What was imported is a box like any other.
    elsewhere.ok("snapshot", "create", "--memory", "b", "s")
    kid = elsewhere.ok("fork", "b").strip()
    assert elsewhere.ok("exec", kid, "cat", "/dev/shm/word") == "memory\n"
    elsewhere.ok("rm", "-f", "b")
    elsewhere.ok("restart", "-t", "0", kid)
    assert elsewhere.ok("exec", kid, "cat", "/word") == "disk\n", "it needs no parent"
    packed = elsewhere("export", kid)
    boxlite.ok("import", "--name", "back", "-", input=packed.stdout)
    boxlite.ok("start", "back")
    assert boxlite.ok("exec", "back", "cat", "/word") == "disk\n"


def test_a_suspended_box_is_exported_with_what_is_on_the_disk(boxlite, elsewhere, demo, archive):
    boxlite.ok("run", "-d", "--name", "a", demo, *SLEEP)
    boxlite.ok("exec", "a", "sh", "-c", "echo memory >/dev/shm/word")
    boxlite.ok("pause", "--to-disk", "a")
    boxlite.ok("export", "--memory", "-o", archive, "a")
    elsewhere.ok("import", archive)
    elsewhere.ok("start", "a")
    assert elsewhere.ok("exec", "a", "cat", "/dev/shm/word") == "memory\n"
    boxlite.ok("start", "--discard-memory", "a")
    boxlite.ok("stop", "-t", "0", "a")
    boxlite.refused("export", "--memory", "-o", archive, "a", mentions=["box a does not run", "without --memory"])


def test_a_stream_of_100_mb_is_whole_while_its_box_is_exported(boxlite, elsewhere, demo, archive):
    boxlite.ok("run", "-d", "--name", "a", demo, *SLEEP)
    count = 100 * 1024 * 1024
    make = f"yes 0123456789abcdef | head -c {count}"
    reader = boxlite.spawn("exec", "a", "sh", "-c", make)
    assert reader.stdout.read(1000)
    boxlite.ok("export", "--memory", "-o", archive, "a", timeout=600)
    rest = sum(len(part) for part in iter(lambda: reader.stdout.read(1 << 20), b""))
    assert (reader.wait(), rest + 1000) == (0, count)
    elsewhere.ok("import", archive)
    elsewhere.ok("start", "a")
    assert elsewhere.ok("exec", "a", "echo", "lives") == "lives\n"


def test_what_a_box_has_of_its_host_stays_there_and_is_given_anew(boxlite, elsewhere, demo, folder, archive):
    port = free_port()
    boxlite.ok("create", "--name", "a", "-e", "TOKEN=sesame", "-p", f"{port}:80", "--host-access", "--add-host", "up:host-gateway", "--rm",
               "-v", f"{folder}:/srv", "-v", "/anonymous", demo, "sh", "-c", "echo token=$TOKEN; ls -A /srv")
    boxlite.ok("export", "-o", archive, "a")
    plain = subprocess.run(["zstd", "-dc", archive], check=True, capture_output=True).stdout
    for secret in ("sesame", str(folder), f"{port}:80", os.path.dirname(demo.removeprefix("oci:"))):
        assert secret.encode() not in plain, secret
    records = [data for entry, data in members(archive) if entry.name.endswith(".json")]
    assert len(records) == 2 and not any(str(port).encode() in record for record in records), "elsewhere, any five digits may be"
    elsewhere.refused("import", archive, mentions=["host-gateway", "--host-access"])
    boxlite.ok("rm", "a")
    boxlite.ok("create", "--name", "a", "-e", "TOKEN=sesame", "-p", f"{port}:80", "--host-access", "--rm", "-v", f"{folder}:/srv", "-v", "/anonymous",
               demo, "sh", "-c", "echo token=$TOKEN; ls -A /srv")
    boxlite.ok("export", "-o", archive, "a")
    finished = elsewhere("import", archive)
    notes = finished.err.splitlines()
    assert finished.code == 0 and len(notes) == 5, str(finished)
    for note, words in zip(notes, (["TOKEN", "--env"], ["80/tcp", "--publish"], ["/anonymous, /srv"], ["--host-access"], ["--rm"])):
        assert note.startswith("not imported: ") and all(word in note for word in words), note
    box = elsewhere.inspect("a")
    assert (box["ports"], box["mounts"], box["options"]["auto_remove"], box["options"]["host_access"]) == ([], [], False, False)
    assert output_of(elsewhere, "a") == "token=\n"
    finished = elsewhere("import", "--name", "b", "-e", "TOKEN=word", "-p", f"{port}:80", "--host-access", "--cpus", "2", "-m", "256m", archive)
    assert finished.code == 0 and len(finished.err.splitlines()) == 2, str(finished)
    options = elsewhere.inspect("b")["options"]
    assert (options["host_access"], options["publish"], options["cpus"], options["memory_mib"]) == (True, [f"{port}:80"], 2, 256)
    assert output_of(elsewhere, "b") == "token=word\n"


def test_the_usual_tools_read_an_archive(boxlite, demo, archive):
    boxlite.ok("create", "--name", "a", demo, *SLEEP)
    boxlite.ok("export", "-o", archive, "a")
    subprocess.run(["zstd", "-qt", archive], check=True)
    listed = subprocess.run(["tar", "--use-compress-program=zstd", "-tf", archive], check=True, capture_output=True, text=True).stdout
    assert listed.split() == ["boxlite.json", "checkpoint.json", "base.ext4", "layer-0.qcow2"]
    contents = {entry.name: (entry, data) for entry, data in members(archive)}
    (base,) = os.listdir(f"{boxlite.home}/bases")
    with open(f"{boxlite.home}/bases/{base}", "rb") as base:
        size = os.fstat(base.fileno()).st_size
        assert contents["base.ext4"][0].size == size and contents["base.ext4"][1][:4096] == base.read(4096)
    assert json.loads(contents["boxlite.json"][1])["version"] == 1
    assert os.stat(archive).st_size < size / 1000, "holes cost nothing"


def test_commands_say_what_they_cannot_do(boxlite, demo, folder, archive):
    boxlite.ok("create", "--name", "a", demo, *SLEEP)
    boxlite.refused("export", "nobody", mentions="no box named nobody")
    boxlite.refused("export", mentions="one BOX")
    boxlite.refused("export", "-o", "/no/such/place", "a", mentions="/no/such/place")
    boxlite.ok("export", "-o", archive, "a")
    boxlite.refused("import", "--name", "a", archive, mentions=["a", "name"])
    boxlite.refused("import", "--name", "a/b", archive, mentions="a/b")
    boxlite.refused("import", "-p", "nonsense", archive, mentions="nonsense")
    boxlite.refused("import", "--cpus", "1000", archive, mentions="--cpus 1000")
    boxlite.refused("import", archive, "image:1", mentions=["archive of a box", "--name"])
    boxlite.refused("import", "-c", "CMD sh", archive, mentions=["archive of a box"])
    with tarfile.open(f"{folder}/root.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("file"))
    boxlite.refused("import", "--name", "b", f"{folder}/root.tar", mentions=["not the archive of a box", "image"])
    assert boxlite.ok("import", f"{folder}/root.tar", "root:1").startswith("sha256:")
    assert [box["name"] for box in boxlite.list()] == ["a"]


def test_an_archive_that_is_cut_or_changed_is_refused_and_nothing_is_left(boxlite, elsewhere, demo, archive, folder):
    boxlite.ok("run", "-d", "--name", "a", "-m", "128m", demo, *SLEEP)
    boxlite.ok("export", "--memory", "-o", archive, "a")
    with open(archive, "rb") as file:
        whole = file.read()
    plain = subprocess.run(["zstd", "-dc"], input=whole, check=True, capture_output=True).stdout
    bad = f"{folder}/bad.boxlite"

    def refused(data, *mentions):
        with open(bad, "wb") as file:
            file.write(data)
        os.chmod(bad, 0o644)
        elsewhere.refused("import", bad, mentions=[bad, *mentions])
        nothing_new(elsewhere)

    for cut in (len(FRAME), len(FRAME) + 1, len(FRAME) + 1000, len(whole) // 3, len(whole) // 2, len(whole) - 5, len(whole) - 1):
        refused(whole[:cut])
    for place in (len(FRAME), len(FRAME) + 5, len(whole) // 4, len(whole) // 2, len(whole) * 3 // 4, len(whole) - 100, len(whole) - 1):
        flipped = whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1:]
        # Not every bit of a compressed file matters: where zstd finds what was there before, with its checksum, nothing is wrong.
        if subprocess.run(["zstd", "-dc"], input=flipped, capture_output=True).stdout != plain:
            refused(flipped)
    refused(whole.replace(b"archive 1\n", b"archive 2\n", 1), "version")
    refused(whole + b"x")
    elsewhere.refused("import", "--cpus", "2", archive, mentions=["--cpus", "running machine"])
    for padding in range(0, 140_000, 10_000):  # the checksum is read wherever the tar ends
        pack(bad, plain + b"\0" * padding)
        with open(bad, "rb") as file:
            data = file.read()
        refused(data[:-1] + bytes([data[-1] ^ 1]), "zstd")
    pack(bad, plain + b"\0" * (2 << 20))
    elsewhere.refused("import", bad, mentions=[bad, "behind its end"])
    with open(bad, "wb") as file:
        file.write(FRAME + plain)
    elsewhere.refused("import", bad, mentions=[bad, "zstd"])
    nothing_new(elsewhere)
    packed = elsewhere("import", "-", input=whole[:len(whole) // 2])
    assert packed.code == 125 and "standard input" in packed.err


# What is wrong with an archive, and a word of the refusal. Every one is a well-formed tar in zstd.
def link(name, target, kind):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def with_header(layer, offset, data):
    return layer[:offset] + data + layer[offset + len(data):]


def changed(record, **changes):
    return json.dumps({**json.loads(record), **changes}).encode()


def changed_config(record, **changes):
    return changed(record, config={**json.loads(record)["config"], **changes})


HOSTILE = {
    "a symbolic link in place of the disk": lambda m: [m[0], m[1], (link("base.ext4", "/etc/passwd", tarfile.SYMTYPE), b""), m[3]],
    "a hard link in place of the disk": lambda m: [m[0], m[1], (link("base.ext4", "boxlite.json", tarfile.LNKTYPE), b""), m[3]],
    "a device in place of the disk": lambda m: [m[0], m[1], (link("base.ext4", "", tarfile.BLKTYPE), b""), m[3]],
    "a path out of the folder": lambda m: [*m, ("../../escaped", b"x")],
    "an absolute path": lambda m: [*m, ("/tmp/boxlite-escaped", b"x")],
    "a member nobody knows": lambda m: [*m, ("secrets", b"{}")],
    "a member twice": lambda m: [m[0], *m],
    "another order": lambda m: [m[1], m[0], m[2], m[3]],
    "no layer": lambda m: m[:3],
    "a layer left out": lambda m: [*m[:3], ("layer-1.qcow2", m[3][1])],
    "memory without devices": lambda m: [*m, ("memory", b"x" * 4096)],
    "memory of another size": lambda m: [*m, ("memory", b"x" * 4096), ("device-state", b"x")],
    "no record": lambda m: [("boxlite.json", b"{}"), *m[1:]],
    "a record that is no JSON": lambda m: [("boxlite.json", b"{" * 100000), *m[1:]],
    "a record of another version": lambda m: [("boxlite.json", changed(m[0][1], version=2)), *m[1:]],
    "no main command": lambda m: [("boxlite.json", changed_config(m[0][1], args=[])), *m[1:]],
    "more CPUs than there are": lambda m: [("boxlite.json", changed_config(m[0][1], cpus=1000000)), *m[1:]],
    "more memory than there is": lambda m: [("boxlite.json", changed_config(m[0][1], memory_mib=1 << 50)), *m[1:]],
    "a disk of no size": lambda m: [("boxlite.json", changed_config(m[0][1], disk_bytes=0)), *m[1:]],
    "options of wrong types": lambda m: [("boxlite.json", changed_config(m[0][1], cpus="all", env=7)), *m[1:]],
    "a variable without a value in the image": lambda m: [("boxlite.json", changed(m[0][1], image_env=["NAME"])), *m[1:]],
    "labels of megabytes": lambda m: [("boxlite.json", changed_config(m[0][1], labels={"a": "x" * (3 << 20)})), *m[1:]],
    "folders that are none": lambda m: [("boxlite.json", changed_config(m[0][1], directories=["/a\x00b"])), *m[1:]],
    "an image's name that steers a terminal": lambda m: [("boxlite.json", changed(m[0][1], image="\x1b]0;owned\x07")), *m[1:]],
    "a huge record": lambda m: [("boxlite.json", b" " * (5 << 20) + m[0][1]), *m[1:]],
    "a checkpoint that is none": lambda m: [m[0], ("checkpoint.json", b"[]"), *m[2:]],
    "a checkpoint of memory that is not there": lambda m: [m[0], ("checkpoint.json", changed(m[1][1], memory_bytes=1 << 29)), *m[2:]],
    "an empty disk": lambda m: [m[0], m[1], ("base.ext4", b""), m[3]],
    "a disk of odd size": lambda m: [m[0], m[1], ("base.ext4", b"x" * 1000), m[3]],
    "a layer that is none": lambda m: [*m[:3], ("layer-0.qcow2", b"x" * 70000)],
    "an empty layer": lambda m: [*m[:3], ("layer-0.qcow2", b"")],
    "a layer on a file of the host": lambda m: [*m[:3], ("layer-0.qcow2", on_file(m[3][1], b"/etc/passwd"))],
    "a layer on a file beside": lambda m: [*m[:3], ("layer-0.qcow2", on_file(m[3][1], b"../../boxlite.db"))],
    "a layer whose backing file is nowhere": lambda m: [*m[:3], ("layer-0.qcow2", with_header(m[3][1], 8, struct.pack(">QI", (1 << 64) - 16, 16)))],
    "a layer on a protocol": lambda m: [*m[:3], ("layer-0.qcow2", on_file(m[3][1], b"nbd:unix:/x.ext4"))],
    "a layer with its data elsewhere": lambda m: [*m[:3], ("layer-0.qcow2", with_header(m[3][1], 79, b"\x04"))],
    "a layer that is encrypted": lambda m: [*m[:3], ("layer-0.qcow2", with_header(m[3][1], 35, b"\x02"))],
    "a layer with snapshots": lambda m: [*m[:3], ("layer-0.qcow2", with_header(m[3][1], 63, b"\x01"))],
    "a layer of the old version": lambda m: [*m[:3], ("layer-0.qcow2", with_header(m[3][1], 7, b"\x02"))],
}


def on_file(layer, name):
    """The qcow2 file with another backing file in its header."""
    offset = 4096
    return with_header(with_header(layer, 8, struct.pack(">QI", offset, len(name))), offset, name)


MACHINES = [None, 7, [], {}, {"tsc_khz": "fast"}, {"tsc_khz": 1e300}, {"qemu": "x" * 60000}, {"cpus": {"a": [1]}}]


@pytest.fixture(scope="module")
def small(tmp_path_factory, images, demo):
    """The members of an archive, with a small disk."""
    runner = Boxlite()
    try:
        runner.ok("create", "--name", "a", demo, *SLEEP)
        packed = runner("export", "a")
        path = tmp_path_factory.mktemp("small") / "a.boxlite"
        path.write_bytes(packed.stdout)
        entries = [(entry.name, data) for entry, data in members(str(path))]
    finally:
        runner.close()
    return entries


def test_the_small_archive_is_taken_as_it_is(boxlite, small, archive):
    write(archive, small)
    boxlite.ok("import", archive)
    assert boxlite.status("a") == "created"


def test_a_memory_without_its_checksum_is_no_boxs(boxlite, elsewhere, demo, archive):
    boxlite.ok("run", "-d", "--name", "a", demo, *SLEEP)
    boxlite.ok("export", "--memory", "-o", archive, "a")
    plain = subprocess.run(["zstd", "-dc", archive], check=True, capture_output=True).stdout
    changed = re.sub(rb'("memory_crc32": ?\d*)(\d)', lambda found: found[1] + (b"1" if found[2] == b"0" else b"0"), plain, count=1)
    assert len(changed) == len(plain) and changed != plain
    for data, code in ((plain, 0), (changed, 125)):
        pack(archive, data)
        finished = elsewhere("import", archive)
        assert finished.code == code and ("does not have its checksum" in finished.err) == (code != 0), str(finished)


@pytest.mark.parametrize("what", HOSTILE)
def test_nothing_in_an_archive_is_trusted(fresh, small, archive, folder, what):
    write(archive, HOSTILE[what](small))
    fresh.refused("import", archive, mentions=archive)
    nothing_new(fresh)
    assert not os.path.exists("/tmp/boxlite-escaped") and sorted(os.listdir(folder)) == ["a.boxlite"]


def test_wishes_of_the_host_in_an_archive_are_not_heard(boxlite, small, archive, folder):
    port = free_port()
    wishes = dict(publish=[f"0.0.0.0:{port}:80"], publish_all=True, host_access=True, volumes=[f"{folder}:/srv"], auto_remove=True,
                  mounts=[f"type=bind,source={folder},target=/srv2"],
                  resolved_mounts=[{"type": "bind", "name": "", "anonymous": False, "source": str(folder), "make_source": True, "target": "/srv",
                                    "read_only": False, "copy": True}],
                  resolved_ports=[{"host_ip": "0.0.0.0", "first": port, "last": port, "box_port": 80, "protocol": "tcp"}])
    write(archive, [("boxlite.json", changed_config(small[0][1], **wishes)), *small[1:]])
    boxlite.ok("import", archive)
    box = boxlite.inspect("a")
    assert (box["ports"], box["mounts"], box["options"]["auto_remove"], box["options"]["host_access"]) == ([], [], False, False), box


def test_memory_that_somebody_made_up_is_a_guests_matter(boxlite, elsewhere, demo, archive, folder):
    boxlite.ok("run", "-d", "--name", "a", "-m", "128m", demo, *SLEEP)
    boxlite.ok("export", "--memory", "-o", archive, "a")
    entries = [(entry.name, data) for entry, data in members(archive)]
    bad = f"{folder}/bad.boxlite"
    noise = os.urandom(1 << 20) * 128
    # Its checksum is for accidents: who makes a memory up leaves it out, or makes it up too.
    told = {key: value for key, value in json.loads(dict(entries)["checkpoint.json"]).items() if key != "memory_crc32"}
    made_up = {"memory": noise, "checkpoint.json": json.dumps(told).encode()}
    write(bad, [(name, made_up.get(name, data)) for name, data in entries])
    elsewhere.ok("import", bad)
    finished = elsewhere("start", "a")
    assert finished.code == 125 and "box a" in finished.err, str(finished)
    assert elsewhere.ok("doctor") and elsewhere.census().vms == 0
    for machine in MACHINES:
        if isinstance(machine, dict) and machine:  # the rest is as it was
            machine = {**json.loads(dict(entries)["checkpoint.json"])["machine"], **machine}
        record = changed(dict(entries)["checkpoint.json"], machine=machine)
        write(bad, [(name, record if name == "checkpoint.json" else data) for name, data in entries])
        elsewhere.ok("import", "--name", "b", bad)
        assert len(elsewhere.refused("start", "b", mentions=["box b", "--discard-memory"])) < 2000
        elsewhere.ok("rm", "b")
    # Devices need their checksum, which is no secret.
    state = bytearray(dict(entries)["device-state"])
    for place in range(100, len(state), 37):
        state[place] ^= 0xff
    write(bad, [(name, bytes(state) if name == "device-state" else data) for name, data in entries])
    elsewhere.refused("import", bad, mentions=["device-state", "checksum"])


def sparse_member(name, pieces, size):
    """A file of pieces [(offset, bytes)] as GNU tar's format 1.0 has it."""
    table = "".join(f"{offset}\n{len(data)}\n" for offset, data in pieces)
    table = f"{len(pieces)}\n{table}".encode()
    data = table + b"\0" * (-len(table) % 512) + b"".join(data for _, data in pieces)
    entry = tarfile.TarInfo(name)
    entry.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": name, "GNU.sparse.realsize": str(size)}
    return entry, data


@pytest.mark.skipif(not identity.OBSERVER_IS_ROOT, reason="needs root to mount")
def test_the_last_of_the_disk_is_not_an_archives(fresh, small, archive):
    """256 MiB are spared, of a disk that has 300, whether they are asked for by megabytes or by single bytes far apart."""
    os.mkdir(fresh.home)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=300m,mode=700,uid={identity.UID},gid={identity.GID}", "tmpfs", fresh.home], check=True)
    try:
        for pieces in ([(0, b"x" * (80 << 20))], [(index << 14, b"x") for index in range(20_000)]):
            write(archive, [*small[:2], sparse_member("base.ext4", pieces, 1 << 30), small[3]])
            fresh.refused("import", archive, mentions=[archive, "room", fresh.home])
            nothing_new(fresh)
            assert os.statvfs(fresh.home).f_bavail * 4096 > 290 << 20
        write(archive, [*small[:2], sparse_member("base.ext4", [(index << 14, b"x") for index in range(2000)], 1 << 30), small[3]])
        fresh.ok("rm", fresh.ok("import", archive).strip())
    finally:
        subprocess.run(["umount", "--lazy", fresh.home], check=True)


def test_a_map_of_holes_is_bounded(fresh, small, archive):
    entry, data = sparse_member("base.ext4", [(0, b"")] * 3_000_000, 1 << 30)
    write(archive, [*small[:2], (entry, data), small[3]])
    fresh.refused("import", archive, mentions=[archive, "pieces"])
    nothing_new(fresh)


def test_the_archive_of_a_box_that_is_removed_meanwhile_is_whole(boxlite, elsewhere, demo):
    """What is exported is open before the first byte is written: nobody waits for a slow reader."""
    boxlite.ok("create", "--name", "a", demo, "echo", "ran")
    export = boxlite.spawn("export", "a")
    head = os.read(export.stdout.fileno(), 10)  # not by a buffer, which communicate() knows nothing of
    boxlite.ok("rm", "a")
    boxlite.ok("image", "prune", "-af")
    rest, error = export.communicate(timeout=600)
    assert export.returncode == 0, error
    elsewhere.ok("import", "-", input=head + rest)
    assert output_of(elsewhere, "a") == "ran\n"
