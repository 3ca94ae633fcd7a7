"""Bad input of every kind: one line that names the thing and the next step, exit status 125, and nothing left behind."""

import json
import os
import shutil
import subprocess

import pytest
from boxlite_testing import identity, oci
from boxlite_testing.registry import LayoutServer, Registry, Server, free_port
from boxlite_testing.waiting import DEADLINE, wait_until

pytestmark = identity.by_user

needs_root = pytest.mark.skipif(not identity.OBSERVER_IS_ROOT, reason="needs root to mount")


def assert_home_is_clean(boxlite):
    boxlite.assert_nothing_left()
    images = boxlite.ok("images", "-q")
    assert images == "", images


NAMING_A_BOX = [["start"], ["stop"], ["restart"], ["kill"], ["rm"], ["logs"], ["inspect"], ["wait"], ["attach"], ["top"],
                ["stats", "--no-stream"]]


def assert_no_such_box(boxlite, next_step):
    for command in NAMING_A_BOX:
        # `inspect` prints an empty array first, as docker does.
        finished = boxlite(*command, "no-such-box")
        assert finished.code == 125 and len(finished.err.splitlines()) == 1, str(finished)
        assert "no-such-box" in finished.err and next_step in finished.err, str(finished)
    for command in (["exec", "no-such-box", "true"], ["cp", "no-such-box:/x", "/tmp"], ["rename", "no-such-box", "other"]):
        boxlite.refused(*command, mentions=["no-such-box", next_step])


def test_a_box_that_does_not_exist_is_named(shared):
    assert_no_such_box(shared, "boxlite ls -a")


def test_a_home_that_is_not_there_is_not_made_by_looking_into_it(boxlite):
    assert boxlite.ok("ls", "-aq") == boxlite.ok("images", "-q") == ""
    assert boxlite.ok("ls", "--format", "json") == boxlite.ok("images", "--format", "json") == "[]\n"
    assert json.loads(boxlite.ok("info", "--format", "json"))["boxes_total"] == 0
    boxlite.ok("stats", "--no-stream")
    assert_no_such_box(boxlite, f"there is no home {boxlite.home}")
    assert not os.path.exists(boxlite.home)


def test_a_taken_name_is_named_and_the_box_that_has_it_is_left_alone(shared, demo):
    shared.refused("create", "--name", "box", demo, mentions="box")
    shared.refused("run", "-d", "--name", "box", demo, "true", mentions="box")
    shared.refused("run", "--rm", "--name", "box", demo, "true", mentions="box")
    assert [box["status"] for box in shared.list()] == ["running"]
    shared.ok("exec", "box", "true")


def test_a_box_that_does_not_run_refuses_exec_and_kill_by_name(boxlite, demo):
    boxlite.ok("create", "--name", "idle", demo)
    for command in (["exec", "idle", "true"], ["kill", "idle"], ["attach", "idle"], ["top", "idle"], ["cp", "idle:/etc", "/tmp"]):
        boxlite.refused(*command, mentions=["box idle is not running", "boxlite start idle"])


def test_exec_into_a_box_whose_command_has_ended_tells_how_to_start_it(boxlite, demo):
    boxlite.ok("run", "--name", "a", demo, "true")
    for command in (["exec", "a", "true"], ["kill", "a"]):
        boxlite.refused(*command, mentions=["box a is not running", "boxlite start a"])


@pytest.mark.parametrize("flags, next_step", [((), "boxlite start a"), (("--rm",), "boxlite run")])
def test_exec_into_a_box_that_is_just_ending_says_so(boxlite, demo, flags, next_step):
    # Its command has ended, and the box stays until its output is read: more than a pipe holds, less than the box keeps.
    reader = boxlite.spawn("run", *flags, "--name", "a", demo, "sh", "-c", "head -c 200000 /dev/zero")
    wait_until(lambda: any(box["status"] == "stopping" for box in boxlite.list()), "a is ending")
    for command in (["exec", "a", "true"], ["kill", "a"], ["cp", "-", "a:/tmp"]):
        boxlite.refused(*command, mentions=["box a is ending", next_step])
    out, _ = reader.communicate(timeout=DEADLINE)
    assert (reader.returncode, len(out)) == (0, 200000)


def test_a_wrong_session_or_command_names_the_box(shared):
    shared.refused("attach", "box", "nosuch", mentions=["box box", "nosuch"])
    shared.refused("exec", "box", "nosuch", code=127, mentions=["box box", "nosuch"])
    shared.refused("cp", "box:/no/such", "/tmp", mentions=["box:/no/such"])


def test_more_memory_or_cpus_than_the_host_has(boxlite):
    cpus = os.cpu_count()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    for verb in ("run", "create"):
        boxlite.refused(verb, "-m", "900t", "alpine", mentions=["--memory 921600g", f"at most {memory}m"])
        boxlite.refused(verb, "--cpus", str(cpus + 1), "alpine", mentions=[f"--cpus {cpus + 1}", f"1 to {cpus} CPUs"])
    assert not os.path.exists(boxlite.home)


@pytest.mark.parametrize("user, file", [("nobody-here", "passwd"), ("root:nobody-here", "group")])
def test_a_user_that_the_image_does_not_have(boxlite, shared, demo, user, file):
    wanted = ["nobody-here", f"/etc/{file}", "or a number"]
    boxlite.refused("run", "--rm", "--name", "a", "-u", user, demo, "true", mentions=["box a", *wanted])
    boxlite.assert_nothing_left()
    shared.refused("exec", "-u", user, "box", "true", mentions=["box box", *wanted])


@pytest.mark.parametrize("command", [["run", "--env-file", "FILE", "alpine"], ["run", "--cidfile", "FILE", "alpine"], ["load", "-i", "FILE"],
                                     ["import", "FILE", "root:1"]], ids=str)
def test_a_file_that_is_not_there(boxlite, command):
    path = f"{boxlite.directory}/no/such"
    boxlite.refused(*[path if word == "FILE" else word for word in command], mentions=[path, "check the path"])
    assert_home_is_clean(boxlite)


def test_a_place_for_an_archive_or_a_root_that_is_not_there(boxlite, demo):
    boxlite.ok("pull", demo)
    boxlite.refused("save", "-o", f"{boxlite.directory}/no/such", demo, mentions=[f"{boxlite.directory}/no/such", "check the path"])
    boxlite.refused("run", "--rm", "--rootfs", f"{boxlite.directory}/no", "true", mentions=[f"{boxlite.directory}/no", "name a directory"])
    boxlite.assert_nothing_left()


def test_a_working_directory_that_cannot_be_one(boxlite, shared, demo):
    boxlite.refused("run", "--rm", "--name", "a", "-w", "/etc/passwd", demo, "true", mentions=["box a", "/etc/passwd", "another with -w"])
    boxlite.assert_nothing_left()
    shared.refused("exec", "-w", "/etc/passwd", "box", "true", mentions=["box box", "/etc/passwd", "another with -w"])


def test_kvm_where_it_does_not_work_is_refused_with_the_reason(boxlite, demo):
    host = json.loads(boxlite.ok("info", "--format", "json"))
    command = ["--accel", "kvm", "run", "--rm", demo, "true"]
    if host["accelerator"] == "kvm":
        boxlite.ok(*command)
        return
    boxlite.refused(*command, mentions=["--accel kvm cannot be used here", host["accelerator_reason"], "--accel tcg"])
    boxlite.assert_nothing_left()


def test_an_image_that_the_registry_does_not_have(boxlite, registry):
    reference = f"{registry.address}/no/such:image"
    for command in (["pull", reference], ["run", "--rm", reference, "true"], ["create", reference]):
        boxlite.refused(*command, mentions=[reference, "check its name and tag"])
    boxlite.refused("pull", registry.demo.replace(":latest", ":no-such-tag"), mentions=["no-such-tag", "check its name and tag"])
    assert_home_is_clean(boxlite)


@pytest.mark.parametrize("status", [401, 403])
def test_an_image_that_the_registry_denies(boxlite, status):
    server = Server(lambda request: request.reply(200 if request.path == "/v2/" else status, b'{"errors":[{"code":"DENIED"}]}'))
    try:
        boxlite.refused("pull", f"{server.address}/private:1",
                        mentions=[f"{server.address}/private:1", "check the name", f"boxlite login {server.address}"])
    finally:
        server.close()
    assert_home_is_clean(boxlite)


def test_a_registry_that_is_down(boxlite):
    address = f"127.0.0.1:{free_port()}"
    boxlite.refused("pull", f"{address}/demo:latest", mentions=address)
    assert_home_is_clean(boxlite)


def test_a_layout_directory_that_is_none(boxlite, images):
    os.makedirs(f"{images}/empty", exist_ok=True)
    with open(f"{images}/archive", "w"):
        pass
    for command in (["run", "--rm"], ["create"], ["pull"]):
        boxlite.refused(*command, f"oci:{images}/nowhere", mentions=[f"no directory {images}/nowhere", "check the path"])
        boxlite.refused(*command, f"oci:{images}/archive", mentions=[f"{images}/archive is not a directory", "oci:DIR"])
        boxlite.refused(*command, f"oci:{images}/empty", mentions=[f"{images}/empty is not an OCI image layout", "oci:DIR"])
    assert_home_is_clean(boxlite)


@pytest.fixture
def spoiled(demo):
    """A registry of one test, to be damaged by it."""
    server = Registry()
    server.demo = server.push(demo[len("oci:"):], "demo:latest")
    yield server
    server.close()


@pytest.mark.parametrize("part", ["layer", "config", "manifest"])
def test_content_that_is_not_what_its_digest_says(boxlite, images, demo, part):
    def spoil(path, body):
        what = "manifest" if "/manifests/" in path else "config" if body.startswith(b"{") else "layer"
        return (body[:-1] + bytes([body[-1] ^ 1]), len(body)) if what == part else None

    layout = demo[len("oci:"):]
    server = LayoutServer(layout, spoil)
    try:
        # By digest, so that a wrong manifest is noticed too.
        with open(f"{layout}/index.json") as file:
            digest = json.load(file)["manifests"][0]["digest"]
        boxlite.refused("pull", f"{server.address}/demo@{digest}", mentions="sha256:")
        assert_home_is_clean(boxlite)
    finally:
        server.close()


@pytest.mark.parametrize("lie", ["cut short", "shorter than said", "longer than said"])
def test_a_layer_that_is_truncated_or_has_another_length(boxlite, demo, lie):
    def spoil(path, body):
        if "/blobs/" not in path or body.startswith(b"{"):
            return None
        half = body[:len(body) // 2]
        return {"cut short": (half, len(body)), "shorter than said": (half, len(half)),
                "longer than said": (body + b"x", len(body) + 1)}[lie]

    server = LayoutServer(demo[len("oci:"):], spoil)
    try:
        boxlite.refused("run", "--rm", f"{server.address}/demo:latest", "true", mentions=server.address)
        assert_home_is_clean(boxlite)
    finally:
        server.close()


def test_a_damaged_blob_in_a_real_registry(boxlite, spoiled):
    layer = spoiled.manifest("demo:latest")["layers"][0]["digest"]
    path = spoiled.stored_blobs()[layer]
    with open(path, "r+b") as file:
        original = file.read()
        file.seek(1000)
        file.write(b"not what it was")
    boxlite.refused("pull", spoiled.demo, mentions=layer[:19])
    assert_home_is_clean(boxlite)

    # The registry is mended: the same pull goes through, nothing of the first is in its way.
    with open(path, "r+b") as file:
        file.write(original)
    boxlite.ok("pull", spoiled.demo)


def test_a_layer_that_is_no_archive(boxlite, images):
    layout = oci.write_layout(f"{images}/garbage", [b"this is no tar archive" * 100], oci.DEMO_CONFIG)
    boxlite.refused("pull", "-q", f"oci:{layout}", mentions=["garbage", "made anew"])
    assert_home_is_clean(boxlite)


def test_an_image_for_another_processor(boxlite, images, demo):
    layout = shutil.copytree(demo[len("oci:"):], f"{images}/arm")
    with open(f"{layout}/index.json") as file:
        index = json.load(file)
    index["manifests"][0]["platform"]["architecture"] = "arm64"
    with open(f"{layout}/index.json", "w") as file:
        json.dump(index, file)
    boxlite.refused("pull", f"oci:{layout}", mentions=["amd64", "--platform", "it has: linux/arm64"])
    assert_home_is_clean(boxlite)


def test_a_home_that_cannot_be_made(boxlite, demo):
    with open(f"{boxlite.directory}/file", "w"):
        pass
    boxlite.refused("--home", f"{boxlite.directory}/file/home", "ls", mentions=f"{boxlite.directory}/file/home")


@pytest.mark.skipif(identity.PRODUCT_IS_ROOT, reason="root may write everywhere")
def test_a_home_that_cannot_be_written(boxlite, demo):
    os.makedirs(boxlite.home)
    identity.give(boxlite.directory)
    os.chmod(boxlite.home, 0o500)
    boxlite.refused("run", "--rm", demo, "true", mentions=boxlite.home)
    os.chmod(boxlite.home, 0o700)
    boxlite.refused("--home", "/proc/home", "run", "--rm", demo, "true", mentions="/proc/home")


@needs_root
def test_a_home_of_another_user(boxlite, demo):
    os.makedirs(boxlite.home)
    os.chown(boxlite.home, 12345, 12345)
    os.chmod(boxlite.home, 0o700)
    boxlite.refused("ls", mentions=boxlite.home)
    os.rmdir(boxlite.home)


@needs_root
def test_a_home_on_a_file_system_whose_locks_are_not_the_kernels(boxlite, demo):
    source, mount = f"{boxlite.directory}/source", f"{boxlite.directory}/fuse"
    for path in (source, mount):
        os.mkdir(path)
        os.chown(path, identity.UID, identity.GID)
    subprocess.run(["bindfs", source, mount], check=True)
    try:
        message = boxlite.refused("--home", f"{mount}/home", "run", "--rm", demo, "true", mentions=f"{mount}/home")
        assert "file system" in message.lower() or "fuse" in message.lower()
        # Not one box, image or database was begun there.
        assert [name for _, _, files in os.walk(source) for name in files] == []
    finally:
        subprocess.run(["umount", mount], check=True)


@pytest.mark.parametrize("program, package", [("qemu-system-x86_64", "qemu-system-x86"), ("bwrap", "bubblewrap")])
def test_a_missing_program_is_named_with_its_package(boxlite, demo, program, package):
    boxlite.ok("pull", demo)
    others = f"{boxlite.directory}/path"
    os.mkdir(others)
    for name in {"qemu-system-x86_64", "qemu-img", "bwrap"} - {program}:
        os.symlink(f"/usr/bin/{name}", f"{others}/{name}")
    boxlite.refused("run", "--rm", demo, "true", environment={"PATH": others}, mentions=[program, package])
    boxlite.assert_nothing_left()


@needs_root
@pytest.mark.parametrize("size", ["1m", "3m", "12m"])
def test_a_disk_that_fills_up_during_a_pull(boxlite, images, size):
    layout = f"{images}/big"
    if not os.path.exists(layout):
        oci.write_demo(layout, oci.Layer().file("opt", os.urandom(16 << 20)).tar())
    os.mkdir(boxlite.home)
    options = f"size={size},mode=700,uid={identity.UID},gid={identity.GID}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", boxlite.home], check=True)
    try:
        boxlite.refused("pull", "-q", f"oci:{layout}", mentions="space")
        assert_home_is_clean(boxlite)
        used = int(subprocess.run(["du", "-sk", boxlite.home], check=True, capture_output=True, text=True).stdout.split()[0])
        assert used < 600, "what the pull wrote is still there"
    finally:
        subprocess.run(["umount", boxlite.home], check=True)
        os.rmdir(boxlite.home)


def test_flags_and_verbs_that_do_not_exist_are_refused_by_name(boxlite, demo):
    boxlite.refused("run", "--restart", "always", demo, "true", mentions="--restart")
    boxlite.refused("run", "--expose", "80", demo, "true", mentions="--expose")
    boxlite.refused("frobnicate", mentions="frobnicate")
    boxlite.assert_nothing_left()
