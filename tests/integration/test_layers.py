"""Layers become the disk exactly, and whatever is in them nothing else happens.

Right trees: the tree that a process in a box sees is the one that umoci unpacks, for a Debian of mmdebstrap and for an image of many
odd layers, in every form images have. Attacks: each is refused with one line or gives the harmless tree it means, strace having seen
that nothing outside the home was written.
"""

import gzip
import hashlib
import io
import json
import os
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
import tempfile
import zlib

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "e2e"))
from boxlite_testing import debian, identity, oci, sanitizer  # noqa: E402
from boxlite_testing.cli import PATH, Boxlite  # noqa: E402
from boxlite_testing.debian import CACHE  # noqa: E402
from boxlite_testing.oci import layout_of_blobs, packed  # noqa: E402
from boxlite_testing.registry import Registry  # noqa: E402
from boxlite_testing.waiting import DEADLINE  # noqa: E402
from image_testing import facts, watch  # noqa: E402
from image_testing.home import PROGRAM, Home  # noqa: E402
from image_testing.layer import OddLayer  # noqa: E402
from image_testing.trees import assert_sound, ext4_tree  # noqa: E402

MIB = 1 << 20
PEAK = 64 * MIB * sanitizer.MEMORY  # of the image process, whatever the layers hold

needs_root = pytest.mark.skipif(not identity.OBSERVER_IS_ROOT, reason="umoci unpacks owners and devices for root only")


@pytest.fixture(scope="module")
def registry():
    server = Registry()
    yield server
    server.close()


def umoci(layout, bundle):
    subprocess.run(["umoci", "unpack", "--image", f"{layout}:latest", bundle], check=True, capture_output=True)
    return f"{bundle}/rootfs"


def facts_layer():
    """The program that tells the tree, and the places where a box mounts: they are there before it starts."""
    layer = OddLayer()
    with open(facts.PROGRAM, "rb") as file:
        layer.add("tree_facts", data=file.read(), mode=0o755)
    for name in ("hosts", "hostname", "resolv.conf"):
        layer.add(f"etc/{name}")
    return layer.tar()


def tree_in_box(boxlite, reference):
    tree = facts.Tree(boxlite.ok("run", "--rm", reference, "/tree_facts", "/"))
    assert {"proc", "sys", "dev"} <= tree.mounts
    del tree.entries["lost%2Bfound"]  # what e2fsck wants
    return tree


def base_of(boxlite):
    (name,) = os.listdir(f"{boxlite.home}/bases")
    return f"{boxlite.home}/bases/{name}"


# A distribution, as it is made by its own tools.


@identity.by_root
@needs_root
def test_a_debian_in_a_box_is_what_umoci_unpacks(work, registry):
    distribution = debian.layer("standard", "gcc", "git", "perl", "iputils-ping", "python3")
    layout = layout_of_blobs(f"{work}/debian", [distribution, packed(facts_layer())])
    boxlite = Boxlite()
    try:
        tree = tree_in_box(boxlite, registry.push(layout, "debian:latest"))
        assert_sound(base_of(boxlite))
        expected = facts.of_directory(umoci(layout, f"{work}/debian-bundle"))
        assert len(expected.entries) > 15000
        assert any("security.capability" in entry["xattrs"] for entry in expected.entries.values())
        facts.assert_same(tree, facts.visible_in_container(expected).without(tree.mounts))
    except BaseException:
        boxlite.close(failed=True)
        raise
    boxlite.close()


# An image of many layers, each with its trick.


class GnuLayer(OddLayer):
    """Headers as GNU tar writes them: long names in entries of their own, large numbers in base 256."""

    def __init__(self):
        self.bytes = io.BytesIO()
        self.tar_file = tarfile.open(fileobj=self.bytes, mode="w", format=tarfile.GNU_FORMAT, errors="surrogateescape")


CAPABILITY_2 = (b"\x01\x00\x00\x02\x00\x20\x00\x00" + b"\x00" * 12).decode("latin-1")
CAPABILITY_3 = (b"\x01\x00\x00\x03\x00\x04\x00\x00" + b"\x00" * 12 + b"\xe8\x03\x00\x00").decode("utf-8", "surrogateescape")


def acl(*entries):
    """system.posix_acl_access as the kernel takes it: (tag, permissions, id)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def sparse_layer(directory, *options):
    """GNU tar's own idea of a sparse file."""
    os.makedirs(directory)
    with open(f"{directory}/holes", "wb") as file:
        for at in (0, 3 * MIB, 3 * MIB + 70000, 19 * MIB):
            file.seek(at)
            file.write(b"data at %d" % at)
        file.truncate(20 * MIB + 17)
    with open(f"{directory}/nothing", "wb") as file:
        file.truncate(5 * MIB)
    with open(f"{directory}/many", "wb") as file:
        for i in range(200):
            file.seek(i * 30000)
            file.write(b"x" * (i + 1))
    for name in os.listdir(directory):
        os.utime(f"{directory}/{name}", (1700000000, 1700000000))
    return subprocess.run(["tar", "--sparse", *options, "--owner=0", "--group=0", "-C", directory, "--transform",
                           f"s,^,{os.path.basename(directory)}-,", "-c", "holes", "nothing", "many"],
                          check=True, capture_output=True).stdout


def many_layers(work):
    layers = []

    def layer(kind=OddLayer):
        layers.append(kind())
        return layers[-1]

    first = layer().folder("./").folder("proc").folder("sys").folder("dev").folder("etc").folder("tmp", 0o1777)
    for name in "abcdefgh":
        first.folder(name, mtime=1600000000).add(f"{name}/one", data=b"1").add(f"{name}/two", data=b"2").hard(f"{name}/uno", f"{name}/one")
    first.folder("set", 0o6755).add("set/uid", mode=0o4711).add("set/gid", mode=0o2711).add("set/all", mode=0o7777).add("set/none", mode=0)
    first.add("owner", uid=4294967294, gid=4294967294).folder("owners", uid=70000, gid=80000)
    first.add("capable", data=b"x", mode=0o755, security__capability=CAPABILITY_2)
    first.add("attributed", data=b"x", user__text="text", trusted__t="trust", security__other="1")
    first.folder("attributed-folder", user__a="b", trusted__overlay__opaque="y")
    first.symlink("attributed-link", "attributed", trusted__t="on a link")
    first.add("time", mtime=1700000000.123456789).add("old", mtime=-86400).add("ancient", mtime=0).add("distant", mtime=5000000000)
    first.add("zero", tarfile.CHRTYPE, mode=0o666, device=(1, 5)).add("nvme", tarfile.BLKTYPE, mode=0o660, gid=6, device=(259, 70000))
    first.add("pipe", tarfile.FIFOTYPE, mode=0o640, uid=3)
    first.hard("zero-again", "zero").hard("pipe-again", "pipe").symlink("link", "a/one").hard("link-again", "link")
    first.symlink("symlink-59", "x" * 59).symlink("symlink-60", "x" * 60).symlink("symlink-4095", "/" + "y/" * 2047)
    first.symlink("loop", "loop").symlink("loop-a", "loop-b").symlink("loop-b", "loop-a")
    first.add("caf\udce9", data=b"latin").folder("d\udcff").add("d\udcff/\udc80", data=b"x").add("\u00fcml\u00e4ut", data=b"utf-8")
    first.add("new\nline\ttab \"quote\" \\ back", data=b"x").add(" ", data=b"space").add("-rf", data=b"x").add("n" * 255, data=b"long")
    first.symlink("to-caf\udce9", "caf\udce9")
    deep = "/".join(["deep"] * 200)
    for i in range(1, 201):
        first.folder("/".join(["deep"] * i))
    first.add(f"{deep}/bottom", data=b"bottom")

    gnu = layer(GnuLayer)
    gnu.folder("gnu").add("gnu/" + "g" * 200, data=b"long name").symlink("gnu/link", "t" * 300).add("gnu/big-owner", uid=3000000, gid=2**31)
    for i in range(1, 6):
        gnu.folder("gnu/" + "/".join(["p" * 90] * i))
    gnu.add("gnu/" + "/".join(["p" * 90] * 5) + "/caf\udce9", data=b"x")
    gnu.hard("gnu/hard", "gnu/" + "g" * 200).add("gnu/old-time", mtime=-1)

    # Hard links across layers: a further name, a name removed, the file replaced under one name, and to a link and a device.
    layer().hard("a/third", "a/two").hard("link-thrice", "link-again").hard("zero-thrice", "zero")
    layer().add("b/.wh.uno").add("c/one", data=b"replaced: the other name keeps the old content")
    layer().add("d/.wh.one").add("d/.wh.uno")
    layer().hard("e/one", "e/two")

    # Directories that become links and go back; files, too.
    layer().symlink("f", "a")
    layer().add("f/through", data=b"into a, through the link")
    layer().folder("f", 0o711).add("f/back", data=b"a directory again")
    layer().add("g", data=b"a file now")
    layer().symlink("g", "h")
    layer().add("g/into-h", data=b"x")
    layer().add(".wh.g")
    layer().folder("g", 0o700)
    layer().symlink("absolute", "/h/../h").add("absolute/via", data=b"x").symlink("up", "../../../../h").add("up/via-up", data=b"x")

    # Whiteouts: of a whole tree, of what is written in the same layer before and after, opaque before and after, of nothing at all.
    base = layer()
    for name in ("w1", "w2", "w3", "w4", "w5", "w6", "w7"):
        base.folder(name).add(f"{name}/old", data=b"old").folder(f"{name}/sub").add(f"{name}/sub/old", data=b"old")
    layer().add(".wh.w1").add("w2/.wh.sub").add(".wh.absent").add("w3/.wh.absent")
    layer().add("w3/old", data=b"new").add("w3/.wh.old").add("w4/.wh.old").add("w4/old", data=b"new")
    layer().folder("w5", 0o750).add("w5/.wh..wh..opq").add("w5/new", data=b"new")
    layer().folder("w6", 0o750).add("w6/new", data=b"new").add("w6/.wh..wh..opq")
    layer().add("w7/.wh.old").add("w7/sub/.wh.old")
    layer().folder("w7/sub", 0o701)

    # Only attributes change, and go away: the last writer's count.
    layer().folder("attributed-folder", 0o500, uid=9, user__new="c", mtime=1650000000)
    layer().add("capable", data=b"x", mode=0o755)
    layer().add("capable-3", data=b"x", mode=0o755, security__capability=CAPABILITY_3)

    # The same name twice in a layer.
    layer().add("twice", data=b"first").add("twice", data=b"second").folder("twice-folder").add("twice-folder", data=b"no folder")

    wide = layer().folder("wide")
    for i in range(3000):
        wide.add(f"wide/{i:04}-{'w' * (i % 150)}", data=b"%d" % i if i % 2 else b"")
    tars = [one.tar() for one in layers]
    for number, version in enumerate(("0.0", "0.1", "1.0")):  # umoci does not know the oldest form
        tars.append(sparse_layer(f"{work}/sparse{number}", "--format=pax", f"--sparse-version={version}"))
    for i in range(90):  # one file by 90 layers, one more each
        tars.append(OddLayer().add("rewritten", data=b"%d" % i, mtime=1600000000 + i).add(f"layer-{i}").add(f".wh.layer-{i - 2}").tar())
    tars.append(facts_layer())
    return tars


@pytest.fixture(scope="module")
def many(work):
    return oci.write_layout(f"{work}/many", many_layers(work), oci.DEMO_CONFIG)


@pytest.fixture(scope="module")
def many_unpacked(many, work):
    return umoci(many, f"{work}/many-bundle")


def zstd_layout(source, target):
    """The same image with its layers as zstd."""
    with open(f"{source}/index.json") as file:
        index = json.load(file)
    read = lambda digest: open(f"{source}/blobs/{digest.replace(':', '/')}", "rb").read()  # noqa: E731
    manifest = json.loads(read(index["manifests"][0]["digest"]))
    config = json.loads(read(manifest["config"]["digest"]))
    blobs = []
    for layer, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"]):
        tar = gzip.decompress(read(layer["digest"]))
        blobs.append((subprocess.run(["zstd", "-q", "-c"], input=tar, capture_output=True, check=True).stdout, diff_id[7:]))
    return layout_of_blobs(target, blobs, "application/vnd.oci.image.layer.v1.tar+zstd")


# What a layer mentions only as a parent has no time in the image; umoci leaves the root's alone.
NO_TIME = {"."}


@needs_root
@pytest.mark.parametrize("form", ["layout", "gzip", *(pytest.param(form, marks=identity.by_root) for form in ("zstd", "schema2"))])
def test_many_odd_layers_in_a_box_are_what_umoci_unpacks(many, many_unpacked, work, registry, form):
    if form == "layout":
        reference = f"oci:{many}"
    else:
        layout = zstd_layout(many, f"{work}/many-zstd") if form == "zstd" else many
        reference = registry.push(layout, f"many-{form}:latest", schema2=form == "schema2")
    boxlite = Boxlite()
    try:
        tree = tree_in_box(boxlite, reference)
        assert_sound(base_of(boxlite))
        expected = facts.visible_in_container(facts.of_directory(many_unpacked)).without(tree.mounts)
        facts.assert_same(tree, expected, NO_TIME)
    except BaseException:
        boxlite.close(failed=True)
        raise
    boxlite.close()


def test_the_oldest_form_of_sparse_files_keeps_its_holes(home, work):
    tar = sparse_layer(f"{work}/old-sparse", "--format=gnu")
    assert b"S" in {tar[at + 156:at + 157] for at in range(0, len(tar), 512)}
    image = home.pull(f"oci:{oci.write_layout(f'{work}/old-sparse-image', [tar], {})}")
    assert_sound(home.base(image))
    tree, _ = ext4_tree(home.base(image))
    for name in ("holes", "nothing", "many"):
        with open(f"{work}/old-sparse/{name}", "rb") as file:
            assert tree[f"old-sparse-{name}".encode()]["content"] == hashlib.file_digest(file, "sha256").hexdigest()
    assert image["unpacked_bytes"] > 30 * MIB and os.stat(home.base(image)).st_blocks * 512 < 24 * MIB


# Attacks. Each gives `tree`: {path: content, None for a directory, "-> target", or "@type"} of all that is in the image, or is
# `refused`: (code, what the message mentions). CANARY is a folder of the host.

CANARY = f"/tmp/boxlite-canary-{os.getpid()}"


def device(number=(1, 3)):
    return {"kind": tarfile.CHRTYPE, "device": number}


def breakouts():
    def layer():
        return OddLayer().folder("etc").add("etc/passwd", data=b"inside")

    etc = {"etc": None, "etc/passwd": "inside"}
    # containerd's list (archive/tar_test.go, TestBreakouts).
    yield "an absolute path", [layer().add("/etc/absolute", data=b"x")], {**etc, "etc/absolute": "x"}
    yield "a path of dots", [layer().add("../../../../etc/up", data=b"x")], {**etc, "etc/up": "x"}
    yield "dots in the middle", [layer().add("etc/../../../etc/up", data=b"x")], {**etc, "etc/up": "x"}
    yield "dots to the canary", [layer().add("../../.." + CANARY + "/passwd", data=b"x")], {**etc, f"{CANARY[1:]}/passwd": "x"}
    yield "write through an absolute link", [layer().symlink("out", "/etc").add("out/broken", data=b"x")], \
        {**etc, "out": "-> /etc", "etc/broken": "x"}
    yield "write through a link up and out", [layer().symlink("out", "../../../../../etc").add("out/broken", data=b"x")], \
        {**etc, "out": "-> ../../../../../etc", "etc/broken": "x"}
    yield "write through a link to the canary", [layer().symlink("out", CANARY).add("out/passwd", data=b"x")], \
        {**etc, "out": f"-> {CANARY}", CANARY[1:]: None, f"{CANARY[1:]}/passwd": "x"}
    yield "the same in a later layer", [layer().symlink("out", CANARY), OddLayer().add("out/passwd", data=b"x")], \
        {**etc, "out": f"-> {CANARY}", CANARY[1:]: None, f"{CANARY[1:]}/passwd": "x"}
    yield "write through links to links", [layer().symlink("one", "/two").symlink("two", "../three").symlink("three", "etc")
                                           .add("one/x", data=b"x")], \
        {**etc, "one": "-> /two", "two": "-> ../three", "three": "-> etc", "etc/x": "x"}
    yield "write over a link", [layer().symlink("out", f"{CANARY}/passwd"), OddLayer().add("out", data=b"x")], {**etc, "out": "x"}
    yield "a folder over a link", [layer().symlink("out", CANARY), OddLayer().folder("out", 0o777).add("out/passwd", data=b"x")], \
        {**etc, "out": None, "out/passwd": "x"}
    yield "a link instead of a folder", [layer().folder("d").add("d/passwd"), OddLayer().symlink("d", CANARY).add("d/passwd", data=b"x")], \
        {**etc, "d": f"-> {CANARY}", CANARY[1:]: None, f"{CANARY[1:]}/passwd": "x"}
    yield "a hard link up and out", [layer().hard("mine", "../../../etc/passwd")], {**etc, "mine": "inside"}
    yield "a hard link to an absolute path", [layer().hard("mine", "/etc/passwd")], {**etc, "mine": "inside"}
    yield "a hard link through a link", [layer().symlink("out", "/etc").hard("mine", "out/passwd")], \
        {**etc, "out": "-> /etc", "mine": "inside"}
    yield "a hard link to the canary", [layer().hard("mine", f"{CANARY}/passwd")], ("corrupt", "mine")
    yield "a hard link to the canary by dots", [layer().hard("mine", f"../../../..{CANARY}/passwd")], ("corrupt", "mine")
    yield "a hard link through a link to the canary", [layer().symlink("out", CANARY).hard("mine", "out/passwd")], ("corrupt", "mine")
    yield "a hard link to a link out, written over", [layer().symlink("out", f"{CANARY}/passwd").hard("mine", "out").add("mine", data=b"x")], \
        {**etc, "out": f"-> {CANARY}/passwd", "mine": "x"}
    yield "a hard link to itself", [layer().hard("self", "self")], ("corrupt", "self")
    yield "a hard link to a folder", [layer().hard("mine", "etc")], ("corrupt", "mine")
    yield "a hard link to the root", [layer().hard("mine", "/")], ("corrupt", "mine")
    yield "a hard link to what comes later", [layer().hard("mine", "later").add("later")], ("corrupt", "mine")
    yield "a whiteout of the root", [layer(), OddLayer().add(".wh.")], ("corrupt", "bad whiteout")
    yield "a whiteout of .", [layer(), OddLayer().add(".wh..")], ("corrupt", "bad whiteout")
    yield "a whiteout of ..", [layer(), OddLayer().add("etc/.wh...")], ("corrupt", "bad whiteout")
    yield "a whiteout up and out", [layer(), OddLayer().add(f"../../..{CANARY}/.wh.passwd")], etc
    yield "a whiteout through a link to the canary", [layer().symlink("out", CANARY), OddLayer().add("out/.wh.passwd")], \
        {**etc, "out": f"-> {CANARY}"}
    yield "an opaque link to the canary", [layer().symlink("out", CANARY), OddLayer().add("out/.wh..wh..opq")], {**etc, "out": f"-> {CANARY}"}
    yield "an opaque root", [layer(), OddLayer().add(".wh..wh..opq").add("new", data=b"x")], {"new": "x"}
    yield "whiteouts as folder, link and device", [layer().add("a").add("b").add("c"), OddLayer().folder(".wh.a").symlink(".wh.b", CANARY)
                                                   .add(".wh.c", **device())], etc
    yield "notes of aufs", [layer(), OddLayer().folder(".wh..wh.plnk").add(".wh..wh.aufs").add("etc/.wh..wh.orph")], etc
    yield "a file instead of the root", [layer().add(".", data=b"x")], ("corrupt", "root")
    yield "a link instead of the root", [layer().symlink("/", CANARY)], ("corrupt", "root")
    yield "a link instead of the root, by dots", [layer().symlink("etc/..", CANARY)], ("corrupt", "root")
    yield "an empty name", [layer().add("", data=b"x")], ("corrupt", "root")
    yield "write through a loop of links", [layer().symlink("a", "b").symlink("b", "a").add("a/x")], ("corrupt", "too many symbolic links")
    yield "write through a link to itself", [layer().symlink("a", "a/a/a").add("a/x")], ("corrupt", "too many symbolic links")
    yield "write through a file", [layer().add("etc/passwd/x", data=b"x")], {"etc": None, "etc/passwd": None, "etc/passwd/x": "x"}
    yield "a link without a target", [layer().symlink("a", "")], ("corrupt", "no target")
    yield "the disk of the host as a device", [layer().add("sda", tarfile.BLKTYPE, mode=0o666, device=(8, 0)).add("sda/x", data=b"x")], \
        {**etc, "sda": None, "sda/x": "x"}
    yield "devices", [layer().add("mem", mode=0o666, **device((1, 1))).add("fuse", mode=0o4777, **device((10, 229)))], \
        {**etc, "mem": "@c", "fuse": "@c"}
    yield "a device number that no kernel has", [layer().add("d", **device((4096, 1)))], ("corrupt", "device number")
    yield "/proc as a link", [layer().symlink("proc", CANARY).add("proc/passwd", data=b"x")], \
        {**etc, "proc": f"-> {CANARY}", CANARY[1:]: None, f"{CANARY[1:]}/passwd": "x"}
    yield "lost+found as a link", [layer().symlink("lost+found", CANARY)], etc
    yield "a name of 256 bytes", [layer().add("n" * 256)], ("corrupt", "longer than 255")
    yield "a path of 5000 bytes", [layer().add("d/" * 2500 + "x")], ("corrupt", "too long")
    yield "1100 folders in each other", [layer(), OddLayer().add("d/" * 700).symlink("s", "d/" * 699 + "d").add("s/" + "e/" * 500)], \
        ("corrupt", "nested deeper")
    yield "70000 links to one file", [links_layer(70000)], ("unsupported", "names")
    yield "a capability for everybody", [layer().add("ping", data=b"x", security__capability=CAPABILITY_2)], {**etc, "ping": "x"}
    yield "a damaged access control list", [layer().add("a", system__posix_acl_access="garbage")], ("corrupt", "posix_acl_access")
    yield "an attribute with a long name", [layer().add("a", **{"user__" + "n" * 300: "x"})], ("corrupt", "extended attribute")
    yield "attributes of unknown classes", [layer().add("a", data=b"x", evil__x="y", system__data="z", user__="e")], {**etc, "a": "x"}
    yield "an attribute of 100 KB", [layer().add("a", user__big="v" * 100000)], ("unsupported", "extended attributes")
    yield "owners out of range", [layer().add("a", uid=2**32)], ("corrupt", "owner")
    yield "times beyond all", [layer().add("a", data=b"x", mtime=2**40)], {**etc, "a": "x"}
    yield "the same name many times", [repeated_layer()], {"twice": "499"}


def links_layer(count):
    layer = OddLayer().add("one", data=b"1")
    for i in range(count):
        layer.hard(f"l{i}", "one")
    return layer


def repeated_layer():
    layer = OddLayer()
    for i in range(500):
        (layer.folder("twice") if i % 2 == 0 else layer.add("twice", data=b"%d" % i))
    return layer


def broken_archives():
    good = OddLayer().add("a", data=os.urandom(200000)).tar()
    packed_good = gzip.compress(good)
    yield "garbage", b"this is not an archive" * 1000
    yield "random bytes", os.urandom(100000)
    yield "a tar cut short", good[:100000]
    yield "a header cut short", good[:300]
    yield "a gzip cut short", packed_good[:100000]
    yield "a gzip of garbage", gzip.compress(b"nothing" * 1000)
    yield "a zstd cut short", zstd(good)[:100000]
    # A frame header for a window of 8 MiB, then a block of the type that is reserved.
    yield "a zstd of garbage after its header", b"\x28\xb5\x2f\xfd\x00\x68" + b"\xff" * 1000
    yield "a zip", b"PK\x03\x04" + os.urandom(1000)
    yield "a cpio", b"070701" + b"0" * 1000
    yield "xz, which layers are not", subprocess.run(["xz", "-c"], input=good, capture_output=True, check=True).stdout
    yield "a wrong checksum", b"x" + good[1:]
    yield "a size below nothing", with_size(good, b"\xff" * 12)
    yield "a size of all that can be said", with_size(good, b"\x80" + b"\xff" * 11)
    yield "a pax header of 2 GB", with_size(OddLayer().add("n" * 300).tar(), b"20000000000\0")
    yield "headers of headers without end", b"".join(pax_header(b"") for _ in range(100)) + good
    yield "a map of a sparse file that never ends", endless_map()
    yield "a zstd window of 1 GiB", zstd_window(30)


def zstd(data, *options):
    return subprocess.run(["zstd", "-q", "-c", *options], input=data, capture_output=True, check=True).stdout


def zstd_window(log):
    """A frame that asks for a window of 2^log bytes and holds one block of zeros (RFC 8878)."""
    return b"\x28\xb5\x2f\xfd\x00" + bytes([(log - 10) << 3]) + struct.pack("<I", 1 | 1 << 1 | 1024 << 3)[:3] + b"\0"


def with_size(tar, field):
    return with_checksum(tar[:124] + field + tar[136:512]) + tar[512:]


def with_checksum(header):
    header = header[:148] + b" " * 8 + header[156:]
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]


def header(name, kind=b"0", size=0, magic=b"ustar\x0000"):
    block = name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size + b"14524741400\0" + b" " * 8 + kind
    return with_checksum(block.ljust(257, b"\0") + magic + bytes(512 - 265))


def pax_header(records):
    return header(b"pax", b"x", len(records)) + records + bytes(-len(records) % 512)


def pax_record(text):
    length = len(text) + 3
    while length != len(b"%d %s\n" % (length, text)):
        length = len(b"%d %s\n" % (length, text))
    return b"%d %s\n" % (length, text)


def endless_map():
    records = b"".join(map(pax_record, (b"GNU.sparse.major=1", b"GNU.sparse.minor=0", b"GNU.sparse.name=a", b"GNU.sparse.realsize=9")))
    numbers = b"100000000\n" + b"1\n0\n" * (16 * MIB)
    return gzip.compress(pax_header(records) + header(b"a", size=len(numbers)) + numbers, compresslevel=1)


class Attack:
    """Runs boxlite-image on one layout of layers, under strace, with a canary beside it."""

    def __init__(self, directory):
        self.directory, self.number = directory, 0

    def run(self, layers):
        """(home, last event); layers: tar archives or (blob, diff_id)."""
        self.number += 1
        aimed = [(layer, None) if isinstance(layer, bytes) else layer for layer in layers]
        layout = layout_of_blobs(f"{self.directory}/{self.number}", [
            (blob, diff_id or hashlib.sha256(blob).hexdigest()) for blob, diff_id in aimed])
        home, log = Home(), f"{self.directory}/log"
        run = subprocess.run(watch.traced(identity.as_user([PROGRAM]), log), input=home.request(f"oci:{layout}:latest"),
                             capture_output=True, timeout=DEADLINE, env={"PATH": PATH, **sanitizer.ENVIRONMENT}, cwd="/")
        assert run.stderr == b"", run.stderr
        outside = [path for path in watch.written_paths(log) if path != home.path and not path.startswith(home.path + "/")]
        assert not outside, outside
        assert any(path.startswith(home.path) for path in watch.written_paths(log)), "strace saw nothing"
        shutil.rmtree(layout)
        return home, json.loads(run.stdout.splitlines()[-1])


@pytest.fixture
def attack(work):
    canary = watch.Canary(CANARY)
    directory = tempfile.mkdtemp(dir=work)
    os.chmod(directory, 0o755)
    yield Attack(directory)
    canary.close()
    shutil.rmtree(directory)


def assert_refused(home, event, code, mentions):
    assert event["event"] == "error" and event["code"] == code and mentions in event["message"], event
    assert "\n" not in event["message"] and len(event["message"]) < 1000
    assert home.files() == []
    assert os.listdir(f"{home.path}/tmp") == []


def described(entry):
    kind = entry["kind"]
    if kind == stat.S_IFDIR:
        return None
    if kind == stat.S_IFLNK:
        return "-> " + entry["target"].decode()
    return entry["content"] if kind == stat.S_IFREG else "@" + {stat.S_IFCHR: "c", stat.S_IFBLK: "b", stat.S_IFIFO: "p"}[kind]


def whole(tree):
    """With the parents that are not mentioned, and contents as their digests."""
    full = {}
    for path, value in tree.items():
        for at, byte in enumerate(path):
            if byte == "/":
                full.setdefault(path[:at], None)
        is_content = value is not None and not value.startswith(("->", "@"))
        full[path] = hashlib.sha256(value.encode()).hexdigest() if is_content else value
    return full


BREAKOUTS = {name: (layers, expected) for name, layers, expected in breakouts()}


@identity.by_root
@pytest.mark.parametrize("name", BREAKOUTS)
def test_a_layer_cannot_break_out_by(attack, name):
    layers, expected = BREAKOUTS[name]
    home, event = attack.run([layer.tar() for layer in layers])
    try:
        if isinstance(expected, tuple):
            assert_refused(home, event, *expected)
            return
        assert event["event"] == "result", event
        assert_sound(home.base(event["image"]))
        tree, _ = ext4_tree(home.base(event["image"]))
        assert {path.decode(): described(entry) for path, entry in tree.items() if path != b"."} == whole(expected)
    finally:
        shutil.rmtree(home.path)


ARCHIVES = dict(broken_archives())


@identity.by_root
@pytest.mark.parametrize("name", ARCHIVES)
def test_a_layer_that_is(attack, name):
    home, event = attack.run([(ARCHIVES[name], "0" * 64)])
    try:
        code = "unsupported" if "window" in name else "corrupt"
        assert_refused(home, event, code, "layer sha256:")
        assert "unpacks to" not in event["message"], "only the digest of the whole was wrong"
    finally:
        shutil.rmtree(home.path)


# Bombs: refused early, and in little memory.


def zeros(kind):
    """100 GB of zeros in one file."""
    size = 100 * 10**9
    records = pax_record(b"size=%d" % size)
    head, chunk = pax_header(records) + header(b"zeros"), bytes(100 * 10**6)
    if kind == "gzip":
        return gzip.compress(head) + gzip.compress(chunk, compresslevel=9) * 1000
    return zstd(head) + zstd(chunk) * 1000


def tiny_entries(count, folder="d/%05d/"):
    """Empty files, thousand by thousand, made by hand: tarfile would take minutes. Their names end in three digits."""
    pack = zlib.compressobj(1, zlib.DEFLATED, 31)
    digits = [b"%03d" % i for i in range(1000)]
    for thousand in range(count // 1000):
        begin = folder.encode() % thousand
        block = header(begin + b"000")
        plain = sum(block[:148]) + sum(block[156:]) + 8 * 32 - sum(b"000")
        at = len(begin)
        start, middle, end = block[:at], block[at + 3:148], block[156:]
        yield pack.compress(b"".join(b"".join((start, d, middle, b"%06o\0 " % (plain + sum(d)), end)) for d in digits))
    yield pack.flush()


def ten_million_entries():
    path = f"{CACHE}/ten-million-entries.tar.gz"
    if not os.path.exists(path):
        os.makedirs(CACHE, exist_ok=True)
        with open(f"{path}.{os.getpid()}", "wb") as file:
            file.writelines(tiny_entries(10_000_000))
        os.rename(f"{path}.{os.getpid()}", path)
    return path


def assert_bounded(home, layout, code, mentions):
    output, peak = watch.peak_memory(identity.as_user([PROGRAM]), home.request(f"oci:{layout}:latest"))
    event = json.loads(output.splitlines()[-1])
    print(f"peak of boxlite-image: {peak / MIB:.1f} MiB; {event.get('message', '')}")
    if code is None:
        assert event["event"] == "result", event
        assert_sound(home.base(event["image"]))
    else:
        assert_refused(home, event, code, mentions)
    assert peak < PEAK


@identity.by_root
@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_100_gb_of_zeros_in_a_small_layer_are_refused(home, work, kind):
    layout = layout_of_blobs(f"{work}/zeros-{kind}", [(zeros(kind), "0" * 64)])
    assert_bounded(home, layout, "resource_exhausted", "50 times its size")


@identity.by_root
def test_ten_million_tiny_entries_are_refused(home, work):
    layout = layout_of_blobs(f"{work}/tiny", [(ten_million_entries(), "0" * 64)])
    assert_bounded(home, layout, "resource_exhausted", "more than 2000000 entries")


@identity.by_root
def test_half_a_million_entries_are_a_sound_disk(home, work):
    blob = b"".join(tiny_entries(500_000))
    digest = hashlib.sha256(zlib.decompress(blob, 31)).hexdigest()
    assert_bounded(home, layout_of_blobs(f"{work}/half", [(blob, digest)]), None, "")


@identity.by_root
def test_one_folder_of_half_a_million_names_that_the_next_layer_hides_is_a_sound_disk(home, work):
    layers = [b"".join(tiny_entries(500_000, "d/%05d")), gzip.compress(OddLayer().add("d/.wh..wh..opq").add("d/new").tar())]
    blobs = [(blob, hashlib.sha256(zlib.decompress(blob, 31)).hexdigest()) for blob in layers]
    assert_bounded(home, layout_of_blobs(f"{work}/flat", blobs[:1]), None, "")
    assert_bounded(home, layout_of_blobs(f"{work}/hidden", blobs), None, "")


def test_a_large_zstd_window_stays_within_the_bound(home, work):
    layer = OddLayer().add("noise", data=os.urandom(40 * MIB)).tar()
    packed_layer = zstd(layer, "-1", "--zstd=wlog=25")
    layout = layout_of_blobs(f"{work}/window", [(packed_layer, hashlib.sha256(layer).hexdigest())])
    assert_bounded(home, layout, None, "")


@identity.by_root
def test_a_layer_of_whiteouts_of_one_large_folder_ends_soon(home, work):
    first, second = OddLayer().folder("d"), OddLayer().folder("d")
    for i in range(5000):
        first.add(f"d/old-{i}")
        second.add(f"d/new-{i}")
    for i in range(5000):
        second.add("d/.wh..wh..opq").add(f"d/.wh.old-{i}")
    image = home.pull(f"oci:{oci.write_layout(f'{work}/whiteouts', [first.tar(), second.tar()], {})}")
    tree, _ = ext4_tree(home.base(image))
    assert len(tree) == 5002
