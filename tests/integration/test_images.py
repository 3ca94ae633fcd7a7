"""boxlite-image by itself: images of all kinds from a real registry, the resulting ext4 against umoci's unpacking, failures.

Everything is driven as the runtime drives it: one JSON request on stdin, JSON lines on stdout.
"""

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "e2e"))
from boxlite_testing import identity, oci  # noqa: E402
from boxlite_testing.cli import BIN_DIR, PATH  # noqa: E402
from boxlite_testing.registry import LayoutServer, Registry, free_port  # noqa: E402
from boxlite_testing.waiting import DEADLINE, wait_until  # noqa: E402

PROGRAM = os.path.join(BIN_DIR, "boxlite-image")
DISK_BYTES = 1 << 30
PASSWORD = "canary-8f3a9c"

needs_root = pytest.mark.skipif(not identity.OBSERVER_IS_ROOT, reason="umoci unpacks owners and devices for root only")


class Home:
    """A home directory and the jobs on it."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="boxlite-image-test-")
        identity.give(self.path)

    def request(self, reference, **more):
        return json.dumps({"home": self.path, "reference": reference, "disk_bytes": DISK_BYTES,
                           "max_unpacked_bytes": 20 << 30, **more}).encode()

    def spawn(self, reference, environment=None, **more):
        child = subprocess.Popen(identity.as_user([PROGRAM]), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, env={"PATH": PATH, **(environment or {})}, cwd="/")
        child.stdin.write(self.request(reference, **more))
        child.stdin.close()
        child.stdin = None
        return child

    def run(self, reference, **more):
        """(exit status, last event, standard output)"""
        stdout, stderr = self.spawn(reference, **more).communicate(timeout=DEADLINE)[0:2]
        assert stderr == b"", stderr.decode()
        return json.loads(stdout.splitlines()[-1]), stdout.decode()

    def pull(self, reference, **more):
        event, _ = self.run(reference, **more)
        assert event["event"] == "result", event
        return event["image"]

    def refused(self, reference, code, *mentions, **more):
        event, _ = self.run(reference, **more)
        assert event["event"] == "error" and event["code"] == code, event
        for text in mentions:
            assert text in event["message"], event
        assert "\n" not in event["message"]
        assert self.files() == [], self.files()

    def files(self):
        return [os.path.join(parent, name) for parent, _, names in os.walk(self.path) for name in names]

    def base(self, image):
        return f"{self.path}/bases/{image['id'].removeprefix('sha256:')}.ext4"


@pytest.fixture
def home():
    home = Home()
    yield home
    shutil.rmtree(home.path)


# An image whose layers do everything layers may do.


class OddLayer:
    def __init__(self):
        self.bytes = io.BytesIO()
        self.tar_file = tarfile.open(fileobj=self.bytes, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape")

    def add(self, path, kind=tarfile.REGTYPE, data=b"", mode=0o644, uid=0, gid=0, mtime=1700000000, target="", device=(0, 0), **xattrs):
        entry = tarfile.TarInfo(path)
        entry.type, entry.mode, entry.uid, entry.gid, entry.mtime, entry.linkname = kind, mode, uid, gid, mtime, target
        entry.size, (entry.devmajor, entry.devminor) = len(data), device
        entry.pax_headers = {f"SCHILY.xattr.{name.replace('__', '.')}": value for name, value in xattrs.items()}
        self.tar_file.addfile(entry, io.BytesIO(data))
        return self

    def folder(self, path, mode=0o755, **more):
        return self.add(path, tarfile.DIRTYPE, mode=mode, **more)

    def symlink(self, path, target, **more):
        return self.add(path, tarfile.SYMTYPE, mode=0o777, target=target, **more)

    def hard(self, path, target):
        return self.add(path, tarfile.LNKTYPE, target=target)

    def tar(self):
        self.tar_file.close()
        return self.bytes.getvalue()


def odd_layers():
    # cap_net_raw+ep, VFS_CAP_REVISION_2, as the kernel stores it.
    capability = (b"\x01\x00\x00\x02\x00\x20\x00\x00" + b"\x00" * 12).decode("latin-1")
    first = OddLayer()
    first.folder("./", 0o755).folder("bin").folder("usr").folder("usr/bin", 0o751, uid=3, gid=4, mtime=1500000000)
    first.add("bin/su", data=b"#!su", mode=0o4755).add("bin/wall", data=b"w" * 70000, mode=0o2755, gid=5)
    first.add("bin/ping", data=b"ping", mode=0o755, security__capability=capability)
    first.folder("tmp", 0o1777).add("bin/noted", data=b"n", user__note="something")
    first.add("dev-null", tarfile.CHRTYPE, mode=0o666, device=(1, 3)).add("disk", tarfile.BLKTYPE, mode=0o660, gid=6, device=(8, 17))
    first.add("pipe", tarfile.FIFOTYPE, mode=0o600)
    first.symlink("usr/link", "../bin/su").symlink("long", "x" * 200).symlink("lib", "usr/lib").symlink("abs", "/usr")
    first.folder("usr/lib").add("usr/lib/a", data=b"a")
    first.add("late", data=b"in the future", mtime=4000000000).add("early", data=b"before", mtime=-86400)
    first.add("owned", data=b"o", uid=4000000, gid=4000001, mode=0o640)
    first.add("caf\udce9", data=b"latin-1").add("u\u0308", data=b"decomposed").add("n" * 255, data=b"long name")
    first.add("sparse", data=b"\0" * 3000000 + b"end")
    first.add("one", data=b"hard").hard("two", "one").folder("d").hard("d/three", "two")
    first.folder("hidden").add("hidden/x", data=b"x").add("doomed", data=b"d").add("was-file", data=b"f")
    first.folder("was-folder").add("was-folder/x", data=b"x").folder("opaque").add("opaque/old", data=b"o")
    first.folder("opaque/sub").add("opaque/sub/old", data=b"o")
    first.folder("many")
    for i in range(1500):
        first.add(f"many/file-{i:04}", data=str(i).encode())

    second = OddLayer()
    second.add(".wh.hidden").add(".wh.doomed").folder("was-file").add("was-file/now", data=b"now").add("was-folder", data=b"now a file")
    second.folder("opaque", 0o700).add("opaque/.wh..wh..opq").add("opaque/new", data=b"n")
    second.add("lib/b", data=b"through a link").add("abs/bin/tool", data=b"t", mode=0o755)
    second.folder("bin", 0o711, mtime=1600000000).add("bin/wall", data=b"new wall", mode=0o755)
    second.hard("four", "d/three")

    third = OddLayer()
    third.folder("hidden", 0o500).add("hidden/again", data=b"again").add("d/.wh.three").add("empty")
    third.add("deep/er/still", data=b"parents were never mentioned")
    return [first.tar(), second.tar(), third.tar()]


@pytest.fixture(scope="module")
def work():
    directory = tempfile.mkdtemp(prefix="boxlite-image-work-")
    os.chmod(directory, 0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def odd(work):
    return oci.write_layout(f"{work}/odd", odd_layers(), oci.DEMO_CONFIG)


@pytest.fixture(scope="module")
def demo(work):
    return oci.write_demo(f"{work}/demo")


@pytest.fixture(scope="module")
def registry():
    server = Registry()
    yield server
    server.close()


# Reading trees, from umoci's unpacking and from the ext4.


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


@pytest.fixture(scope="module")
def unpacked(odd, work):
    subprocess.run(["umoci", "unpack", "--image", f"{odd}:latest", f"{work}/bundle"], check=True, capture_output=True)
    return mounted_tree(f"{work}/bundle/rootfs")


@needs_root
def test_the_odd_image_is_what_umoci_makes_of_it(home, odd, unpacked):
    image = home.pull(f"oci:{odd}:latest")
    assert_sound(home.base(image))
    assert_same_tree(ext4_tree(home.base(image)), unpacked)
    assert image["unpacked_bytes"] > 3000000


@needs_root
@pytest.mark.parametrize("form", ["gzip", "zstd", "schema2"])
def test_every_form_of_it_in_a_registry_gives_the_same_tree(home, odd, work, unpacked, registry, form):
    layout = odd
    if form == "zstd":
        layout = f"{work}/odd-zstd"
        if not os.path.exists(layout):
            write_zstd(odd, layout)
    reference = registry.push(layout, f"odd-{form}:latest", schema2=form == "schema2")
    types = {layer["mediaType"] for layer in registry.manifest(f"odd-{form}:latest")["layers"]}
    assert types == {{"gzip": "application/vnd.oci.image.layer.v1.tar+gzip", "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
                      "schema2": "application/vnd.docker.image.rootfs.diff.tar.gzip"}[form]}
    image = home.pull(reference)
    assert image["reference"] == reference
    assert_sound(home.base(image))
    assert_same_tree(ext4_tree(home.base(image)), unpacked)


def write_zstd(source, target):
    """The same image with its layers as zstd."""
    with open(f"{source}/index.json") as file:
        index = json.load(file)
    manifest = read_blob(source, index["manifests"][0]["digest"])
    os.makedirs(target)
    for layer in manifest["layers"]:
        with open(f"{source}/blobs/{layer['digest'].replace(':', '/')}", "rb") as file:
            tar = gzip.decompress(file.read())
        packed = subprocess.run(["zstd", "-q", "-c"], input=tar, capture_output=True, check=True).stdout
        layer.update(write_blob(target, packed), mediaType="application/vnd.oci.image.layer.v1.tar+zstd")
    shutil.copy(f"{source}/blobs/{manifest['config']['digest'].replace(':', '/')}", f"{target}/blobs/sha256")
    index["manifests"][0].update(write_blob(target, json.dumps(manifest).encode()))
    with open(f"{target}/index.json", "w") as file:
        json.dump(index, file)
    shutil.copy(f"{source}/oci-layout", target)


def read_blob(layout, digest):
    with open(f"{layout}/blobs/{digest.replace(':', '/')}") as file:
        return json.load(file)


def write_blob(layout, data):
    digest = hashlib.sha256(data).hexdigest()
    os.makedirs(f"{layout}/blobs/sha256", exist_ok=True)
    with open(f"{layout}/blobs/sha256/{digest}", "wb") as file:
        file.write(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}


def test_an_index_is_followed_by_platform(home, work, registry, demo):
    layout = shutil.copytree(demo, f"{work}/index")
    with open(f"{layout}/index.json") as file:
        index = json.load(file)
    amd64 = index["manifests"][0]
    manifest = read_blob(layout, amd64["digest"])
    config = read_blob(layout, manifest["config"]["digest"])
    config["architecture"] = "arm64"
    manifest["config"].update(write_blob(layout, json.dumps(config).encode()))
    arm64 = {**amd64, **write_blob(layout, json.dumps(manifest).encode()), "platform": {"os": "linux", "architecture": "arm64"}}
    nested = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [arm64, amd64]}
    for descriptor in nested["manifests"]:
        descriptor.pop("annotations", None)
    index["manifests"] = [{"mediaType": nested["mediaType"], **write_blob(layout, json.dumps(nested).encode()),
                           "annotations": {"org.opencontainers.image.ref.name": "latest"}}]
    with open(f"{layout}/index.json", "w") as file:
        json.dump(index, file)
    reference = f"{registry.address}/index:latest"
    subprocess.run(["skopeo", "--insecure-policy", "copy", "--all", "--quiet", "--dest-tls-verify=false", f"oci:{layout}:latest",
                    f"docker://{reference}"], check=True)
    for source in (reference, f"oci:{layout}:latest"):
        home.refused(source, "not_found", "linux/s390x", "linux/arm64, linux/amd64", platform="linux/s390x")
    assert home.pull(reference, platform="linux/arm64")["platform"] == "linux/arm64"
    image = home.pull(reference)
    assert image["platform"] == "linux/amd64"
    by_digest = home.pull(f"{registry.address}/index@{image['manifest_digest']}")
    assert by_digest["id"] == image["id"]


def test_the_record_says_what_the_image_says(home, demo):
    image = home.pull(f"oci:{demo}")
    assert image["config"]["cmd"] == ["sh"] and image["config"]["entrypoint"] == []
    assert image["config"]["env"] == oci.DEMO_CONFIG["Env"]
    assert sorted(image["config"]["exposed_ports"]) == sorted(oci.DEMO_CONFIG["ExposedPorts"])
    assert image["config"]["labels"] == {"purpose": "test"}
    assert stat.S_IMODE(os.stat(home.base(image)).st_mode) == 0o444
    assert os.stat(home.base(image)).st_size == DISK_BYTES


@pytest.fixture(scope="module")
def private(demo):
    server = Registry(password=PASSWORD)
    server.demo = server.push(demo, "private/demo:latest")
    yield server
    server.close()


def test_a_password_opens_a_private_registry_and_shows_nowhere(home, private, work):
    home.refused(private.demo, "permission_denied", "docker login")
    home.refused(private.demo, "permission_denied", "refused the credentials", username="tester", password="wrong")
    event, output = home.run(private.demo, username="tester", password=PASSWORD)
    assert event["event"] == "result" and PASSWORD not in output
    for path in home.files():
        with open(path, "rb") as file:
            assert path.endswith(".ext4") or PASSWORD.encode() not in file.read()
    config = private.write_docker_config(f"{work}/docker")
    identity.give(config)
    assert home.pull(private.demo, docker_config=config)["id"] == event["image"]["id"]
    home_two = Home()
    try:
        home_two.refused(private.demo, "permission_denied", docker_config=f"{work}/docker/absent.json")
    finally:
        shutil.rmtree(home_two.path)


# Failures: one line that names the thing, and nothing left.


def test_references_that_cannot_be(home):
    home.refused("docker.io/Upper/case", "invalid_argument", "lower case")
    home.refused("a@sha256:12", "invalid_argument", "digest")
    home.refused("oci:/no/such/dir", "not_found", "/no/such/dir")


def test_a_registry_that_is_down(home):
    address = f"127.0.0.1:{free_port()}"
    home.refused(f"{address}/a:b", "unavailable", f"registry {address} refused the connection; is it running?")


def test_an_image_that_is_not_there(home, registry):
    home.refused(f"{registry.address}/no/such:tag", "not_found", f"image {registry.address}/no/such:tag not found in registry")


@pytest.mark.parametrize("part", ["manifest", "config", "layer"])
@pytest.mark.parametrize("lie", ["flipped", "cut short", "shorter", "longer"])
def test_content_that_is_not_what_was_promised(home, demo, part, lie):
    def spoil(path, body):
        what = "manifest" if "/manifests/" in path else "config" if body.startswith(b"{") else "layer"
        if what != part:
            return None
        half = body[:len(body) // 2]
        return {"flipped": (body[:-1] + bytes([body[-1] ^ 1]), len(body)), "cut short": (half, len(body)),
                "shorter": (half, len(half)), "longer": (body + b"x", len(body) + 1)}[lie]

    with open(f"{demo}/index.json") as file:
        digest = json.load(file)["manifests"][0]["digest"]
    server = LayoutServer(demo, spoil)
    try:
        says = {"flipped": "wrong digest", "cut short": "truncated: got ", "shorter": "truncated: got ", "longer": "longer than"}[lie]
        if part == "manifest" and lie != "cut short":
            says = "wrong digest"
        home.refused(f"{server.address}/demo@{digest}", "corrupt", says, server.address)
    finally:
        server.close()


def test_a_disk_that_is_too_small_for_the_image(home, work):
    noise = OddLayer().add("noise", data=os.urandom(70 << 20)).tar()
    layout = oci.write_layout(f"{work}/noise", [noise], {})
    home.refused(f"oci:{layout}", "resource_exhausted", "does not fit", "--disk-size", disk_bytes=64 << 20)
    home.refused(f"oci:{layout}", "resource_exhausted", "more than is allowed", max_unpacked_bytes=1 << 20)


# The disk fills while a layer comes, and while the base is written.
@pytest.mark.parametrize("megabytes", [1, 75])
def test_a_full_host_disk(home, work, megabytes):
    probe = subprocess.run(identity.as_user(["unshare", "-Urm", "true"]), capture_output=True)
    if probe.returncode != 0:
        pytest.skip("this host allows no user namespaces")
    layout = f"{work}/noise"
    if not os.path.exists(layout):
        oci.write_layout(layout, [OddLayer().add("noise", data=os.urandom(70 << 20)).tar()], {})
    script = f'mount -t tmpfs -o size={megabytes}m tmpfs "$1" && "$2"; echo "exit $?"; find "$1" -type f'
    run = subprocess.run(identity.as_user(["unshare", "-Urm", "sh", "-c", script, "sh", home.path, PROGRAM]), capture_output=True,
                         input=home.request(f"oci:{layout}"), timeout=DEADLINE)
    lines = run.stdout.decode().splitlines()
    assert lines[-1] == "exit 1", run
    event = json.loads(lines[-2])
    assert event["code"] == "resource_exhausted" and home.path in event["message"] and "No space left" in event["message"], event


# Jobs that end early, and jobs beside each other.


def tmp_entries(home):
    return os.listdir(f"{home.path}/tmp")


def test_sigterm_in_the_middle_of_a_layer_leaves_nothing(home, demo):
    asked, released = threading.Event(), threading.Event()

    def stall(path, body):
        if "/blobs/" in path and body[:1] != b"{":
            asked.set()
            released.wait(DEADLINE)

    server = LayoutServer(demo, stall)
    try:
        job = home.spawn(f"{server.address}/demo:latest")
        assert asked.wait(DEADLINE)
        assert len(tmp_entries(home)) == 2
        job.send_signal(signal.SIGTERM)
        event = json.loads(job.communicate(timeout=DEADLINE)[0].splitlines()[-1])
        assert event["message"].endswith("interrupted") and job.returncode == 1
        assert home.files() == []
    finally:
        released.set()
        server.close()


def process_state(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0]


@pytest.mark.parametrize("point", ["image.blob.commit", "image.base.commit"])
def test_what_a_killed_job_left_is_swept_by_the_next(home, demo, point):
    job = home.spawn(f"oci:{demo}", environment={"BOXLITE_FAILPOINTS": f"{point}=kill9"})
    job.communicate(timeout=DEADLINE)
    assert job.returncode == -signal.SIGKILL
    assert len(tmp_entries(home)) == 2
    assert not os.listdir(f"{home.path}/bases")
    image = home.pull(f"oci:{demo}")
    assert tmp_entries(home) == []
    assert_sound(home.base(image))


def test_a_job_whose_reader_is_gone_ends(home, demo):
    job = home.spawn(f"oci:{demo}", environment={"BOXLITE_FAILPOINTS": "image.base.commit=stop"})
    wait_until(lambda: process_state(job.pid) == "T", "the job stops at its failpoint")
    job.stdout.close()
    job.send_signal(signal.SIGCONT)
    assert job.wait(timeout=DEADLINE) == 1
    assert tmp_entries(home) == []


def test_jobs_beside_each_other_agree(home, demo):
    jobs = [home.spawn(f"oci:{demo}") for _ in range(4)]
    results = [json.loads(job.communicate(timeout=DEADLINE)[0].splitlines()[-1]) for job in jobs]
    assert all(result["event"] == "result" and result["image"] == results[0]["image"] for result in results), results
    assert tmp_entries(home) == []
    assert len(os.listdir(f"{home.path}/bases")) == 1


def test_an_existing_base_is_left_alone(home, demo):
    image = home.pull(f"oci:{demo}")
    before = os.stat(home.base(image))
    assert home.pull(f"oci:{demo}") == image
    after = os.stat(home.base(image))
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_failure_point_reports_its_error_and_leaves_nothing(home, demo):
    job = home.spawn(f"oci:{demo}", environment={"BOXLITE_FAILPOINTS": "image.blob.commit=error"})
    event = json.loads(job.communicate(timeout=DEADLINE)[0].splitlines()[-1])
    assert event["event"] == "error" and job.returncode == 1
    assert home.files() == []
