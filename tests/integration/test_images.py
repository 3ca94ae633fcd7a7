"""boxlite-image by itself: images of all kinds from a real registry, the resulting ext4 against umoci's unpacking, failures.

Everything is driven as the runtime drives it: one JSON request on stdin, JSON lines on stdout.
"""

import gzip
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import threading

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "e2e"))
from boxlite_testing import identity, oci  # noqa: E402
from boxlite_testing.registry import LayoutServer, Registry, free_port  # noqa: E402
from boxlite_testing.waiting import DEADLINE, wait_until  # noqa: E402
from image_testing.home import DISK_BYTES, PROGRAM, Home  # noqa: E402
from image_testing.layer import OddLayer  # noqa: E402
from image_testing.trees import assert_same_tree, assert_sound, ext4_tree, mounted_tree  # noqa: E402

PASSWORD = "canary-8f3a9c"

needs_root = pytest.mark.skipif(not identity.OBSERVER_IS_ROOT, reason="umoci unpacks owners and devices for root only")


# An image whose layers do everything layers may do.


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
    home.refused(private.demo, "permission_denied", "boxlite login")
    home.refused(private.demo, "permission_denied", "refused the credentials", username="tester", password="wrong")
    event, output = home.run(private.demo, username="tester", password=PASSWORD)
    assert event["event"] == "result" and PASSWORD not in output
    for path in home.files():
        with open(path, "rb") as file:
            assert path.endswith(".ext4") or PASSWORD.encode() not in file.read()
    config = private.write_docker_config(f"{work}/docker")
    identity.give(config)
    assert home.pull(private.demo, auth_files=[config])["id"] == event["image"]["id"]
    home_two = Home()
    try:
        home_two.refused(private.demo, "permission_denied", auth_files=[f"{work}/docker/absent.json"])
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


def test_an_image_that_unpacks_to_more_than_is_allowed(home, work):
    noise = OddLayer().add("noise", data=os.urandom(70 << 20)).tar()
    layout = oci.write_layout(f"{work}/noise", [noise], {})
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
