"""Images from archives and directories, archives of images, names and removal: the command line against skopeo and tar. No box is started."""

import contextlib
import hashlib
import io
import json
import os
import pty
import signal
import subprocess
import sys
import tarfile

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "e2e"))
from boxlite_testing import identity, oci, proc  # noqa: E402
from boxlite_testing.cli import Boxlite  # noqa: E402
from boxlite_testing.waiting import DEADLINE, wait_until  # noqa: E402


@pytest.fixture
def boxlite():
    runner = Boxlite()
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sources")
    for parent in [directory, *directory.parents][:3]:
        os.chmod(parent, 0o755)
    os.chmod(directory, 0o777)
    return str(directory)


@pytest.fixture(scope="module")
def demo(work):
    return oci.write_demo(f"{work}/demo")


def skopeo(*arguments):
    subprocess.run(["skopeo", "--insecure-policy", "copy", "--quiet", *arguments], check=True)


def images(boxlite):
    return json.loads(boxlite.ok("images", "--format", "json"))


def files(boxlite, folder):
    return sorted(os.listdir(f"{boxlite.home}/{folder}"))


def stored(boxlite):
    return files(boxlite, "images/blobs/sha256"), files(boxlite, "bases"), files(boxlite, "tmp")


@pytest.fixture(scope="module")
def archives(work, demo):
    """The demo image as skopeo writes it."""
    made = {}
    for form in ("docker-archive", "oci-archive"):
        made[form] = f"{work}/{form}.tar"
        skopeo(f"oci:{demo}:latest", f"{form}:{made[form]}:quay.io/some/{form}:2")
        os.chmod(made[form], 0o644)
    return made


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
@pytest.mark.parametrize("packer", ["cat", "gzip", "zstd", "xz"])
def test_an_archive_of_skopeo_is_loaded_from_a_pipe_however_it_is_compressed(boxlite, archives, demo, form, packer):
    with open(archives[form], "rb") as file:
        data = subprocess.run([packer], stdin=file, capture_output=True, check=True).stdout
    assert boxlite.ok("load", input=data) == f"Loaded image: quay.io/some/{form}:2\n"
    [image] = images(boxlite)
    assert image["config"]["cmd"] == ["sh"] and image["reference"] == f"quay.io/some/{form}:2"
    boxlite.ok("create", "--name", "a", f"quay.io/some/{form}:2")
    assert boxlite.inspect("a")["image_id"] == image["id"]


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_a_saved_archive_is_read_by_skopeo_and_loaded_again(boxlite, work, demo, form):
    boxlite.ok("pull", f"oci:{demo}")
    boxlite.ok("tag", f"oci:{demo}", "app:1")
    boxlite.ok("tag", "app:1", "other/app")
    before = images(boxlite)
    path = f"{work}/saved-{form}-{os.getpid()}.tar"
    boxlite.ok("save", "-o", path, "app:1", "other/app")
    name = "app:1" if form == "docker-archive" else "1"
    skopeo(f"{form}:{path}:{name}", f"dir:{path}.dir")
    with open(f"{path}.dir/manifest.json") as file:
        assert f"sha256:{hashlib.sha256(open(path + '.dir/' + json.load(file)['config']['digest'][7:], 'rb').read()).hexdigest()}" \
            == before[0]["id"]
    other = Boxlite()
    try:
        assert other.ok("load", "-i", path).splitlines() == ["Loaded image: app:1", "Loaded image: other/app:latest"]
        kept = [image for image in before if not image["reference"].startswith("oci:")]
        for image in [*kept, *(loaded := images(other))]:
            image.pop("manifest_digest"), image.pop("layers"), image.pop("size_bytes")
        assert loaded == kept
    finally:
        other.close()


def test_save_writes_to_a_pipe_but_not_to_a_terminal_and_leaves_no_half_file(boxlite, work, demo):
    boxlite.ok("pull", f"oci:{demo}")
    archive = boxlite("save", f"oci:{demo}").stdout
    names = tarfile.open(fileobj=io.BytesIO(archive)).getnames()
    assert {"oci-layout", "index.json", "manifest.json"} <= set(names)
    main, terminal = pty.openpty()
    try:
        child = boxlite.spawn("save", f"oci:{demo}", stdout=terminal)
        _, stderr = child.communicate(timeout=DEADLINE)
        assert child.returncode == 125 and b"terminal" in stderr and b"-o FILE" in stderr
    finally:
        os.close(main)
        os.close(terminal)
    target = f"{work}/target"
    os.makedirs(target, exist_ok=True)
    identity.give(target)
    boxlite.refused("save", "-o", f"{target}/x.tar", "no/such:image", mentions="no/such:image")
    boxlite.refused("save", "-o", "/dev/full", f"oci:{demo}", mentions=["/dev/full", "No space left"])
    assert os.listdir(target) == []


@pytest.mark.parametrize("data, mentions", [
    (b"hello", "no tar archive"), (b"", "no tar archive"), (b"\x1f\x8b\x08" + b"x" * 100, "standard input")])
def test_what_is_no_archive_is_one_clear_line(boxlite, data, mentions):
    boxlite.refused("load", input=data, mentions=mentions)
    assert stored(boxlite) == ([], [], [])


def rewritten(path, change):
    """The archive with each file's bytes changed by `change(name, bytes)`; None drops it."""
    result = io.BytesIO()
    with tarfile.open(path) as source, tarfile.open(fileobj=result, mode="w") as target:
        for entry in source:
            data = source.extractfile(entry).read() if entry.isreg() else b""
            data = change(entry.name, data) if entry.isreg() else data
            if data is not None:
                entry.size = len(data)
                target.addfile(entry, io.BytesIO(data))
    return result.getvalue()


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
@pytest.mark.parametrize("damage", ["a layer is missing", "a layer is another", "cut short", "names outside"])
def test_a_damaged_archive_is_one_clear_line_and_leaves_nothing(boxlite, archives, form, damage):
    def change(name, data):
        is_layer = len(data) > 100_000
        if damage == "a layer is missing" and is_layer:
            return None
        if damage == "a layer is another" and is_layer:
            return oci.Layer().file("evil", b"evil").tar()
        if damage == "names outside" and name == "manifest.json":
            parsed = json.loads(data)
            parsed[0]["Config"] = "../../../../etc/passwd"
            return json.dumps(parsed).encode()
        if damage == "names outside" and name == "index.json":
            return data.replace(b"sha256:", b"sha256:../../../../../../etc/passwd")
        return data

    data = rewritten(archives[form], change)
    boxlite.refused("load", input=data[:len(data) // 2] if damage == "cut short" else data)
    assert stored(boxlite) == ([], [], [])


def test_a_layer_that_is_a_symbolic_link_in_the_archive_is_the_layer_it_names(boxlite, archives):
    data = rewritten(archives["docker-archive"], lambda name, data: data)
    result = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as source, tarfile.open(fileobj=result, mode="w") as target:
        manifest = json.load(source.extractfile("manifest.json"))
        layer = manifest[0]["Layers"][0]
        manifest[0]["Layers"] = ["link/layer.tar"]
        for entry in source:
            if entry.name in ("manifest.json", "repositories") or not entry.isreg():
                continue
            target.addfile(entry, source.extractfile(entry))
        link = tarfile.TarInfo("link/layer.tar")
        link.type, link.linkname = tarfile.SYMTYPE, f"../{layer}"
        target.addfile(link)
        text = json.dumps(manifest).encode()
        entry = tarfile.TarInfo("manifest.json")
        entry.size = len(text)
        target.addfile(entry, io.BytesIO(text))
    assert "Loaded image" in boxlite.ok("load", input=result.getvalue())


def root_tar():
    return oci.busybox_layer()


@pytest.mark.parametrize("packer", ["cat", "gzip", "bzip2", "xz", "zstd"])
def test_a_root_file_system_is_imported_however_it_is_compressed(boxlite, packer):
    data = subprocess.run([packer], input=root_tar(), capture_output=True, check=True).stdout
    printed = boxlite.ok("import", "-c", 'CMD ["sh", "-c", "echo hi"]', "-c", "ENV A=b C='d e'", "--change", "WORKDIR /srv",
                         "-c", "USER app", "-c", "ENTRYPOINT [\"env\"]", "-c", "EXPOSE 80", "-", "root:1", input=data).strip()
    [image] = images(boxlite)
    assert image["id"] == printed and image["reference"] == "docker.io/library/root:1"
    config = image["config"]
    assert (config["cmd"], config["env"], config["working_dir"], config["user"], config["entrypoint"], config["exposed_ports"]) == \
        (["sh", "-c", "echo hi"], ["A=b", "C=d e"], "/srv", "app", ["env"], ["80/tcp"])


def test_what_cannot_be_imported_is_one_clear_line(boxlite, work):
    boxlite.refused("import", "-", input=b"", mentions="no tar archive")
    boxlite.refused("import", "-", input=b"no tar at all", mentions="damaged")
    boxlite.refused("import", "-c", "RUN rm -rf /", "-", input=root_tar(), mentions="RUN rm -rf /")
    boxlite.refused("import", f"{work}/absent.tar", mentions="absent.tar")
    assert stored(boxlite) == ([], [], [])


def test_names_come_and_go_and_the_image_with_the_last(boxlite, demo):
    boxlite.ok("pull", f"oci:{demo}")
    boxlite.ok("tag", f"oci:{demo}", "app:1")
    boxlite.ok("tag", "app:1", "quay.io/b/app")
    identifier = images(boxlite)[0]["id"]
    boxlite.refused("rmi", identifier[7:19], mentions=["3 names", "-f"])
    boxlite.refused("tag", "app:1", "Upper:x", mentions="lower case")
    boxlite.refused("tag", "absent", "b", mentions="no image absent")
    assert boxlite.ok("rmi", "app:1", f"oci:{demo}") == f"Untagged: app:1\nUntagged: oci:{demo}\n"
    boxlite.ok("create", "--name", "a", "quay.io/b/app")
    boxlite.refused("rmi", "quay.io/b/app", mentions=["box a", "-f"])
    assert boxlite.ok("rmi", "-f", "quay.io/b/app") == f"Untagged: quay.io/b/app:latest\nDeleted: {identifier}\n"
    blobs, bases, _ = stored(boxlite)
    assert blobs == [] and len(bases) == 1, "the box still has its disk's base"
    boxlite.ok("rm", "a")
    assert stored(boxlite) == ([], [], [])
    finished = boxlite("rmi", "-f", "quay.io/b/app")
    assert finished.code == 0 and "no image" in finished.err
    boxlite.refused("rmi", "quay.io/b/app", mentions="no image")


def test_a_name_that_moves_leaves_an_image_without_one_and_prune_removes_it(boxlite):
    first = boxlite.ok("import", "-", "root:1", input=root_tar()).strip()
    second = boxlite.ok("import", "-", "root:1", input=oci.Layer().file("x", b"x").tar()).strip()
    assert {(row["reference"], row["id"]) for row in images(boxlite)} == {("docker.io/library/root:1", second), (first, first)}
    assert [line.split()[:2] for line in boxlite.ok("images").splitlines() if first[7:19] in line] == [["<none>", "<none>"]]
    assert boxlite.ok("image", "prune", input=b"n\n").endswith("[y/N] ")
    printed = boxlite.ok("image", "prune", "-f")
    assert f"deleted: {first}" in printed and "Total reclaimed space: " in printed and "space: 0B" not in printed
    boxlite.ok("create", "--name", "a", "root:1", "true")
    assert "Deleted" not in boxlite.ok("image", "prune", "-af"), "a box was made from it"
    boxlite.ok("rm", "a")
    assert f"deleted: {second}" in boxlite.ok("image", "prune", "-a", input=b"y\n")
    assert stored(boxlite) == ([], [], []) and images(boxlite) == []


def test_images_are_listed_and_described_as_docker_does(boxlite, demo):
    boxlite.ok("pull", f"oci:{demo}")
    boxlite.ok("tag", f"oci:{demo}", "app:1")
    boxlite.ok("tag", "app:1", "quay.io/b/app:2")
    [header, row] = boxlite.ok("images", "--digests", "app").splitlines()
    assert header.split() == ["REPOSITORY", "TAG", "DIGEST", "IMAGE", "ID", "CREATED", "SIZE"]
    assert row.split()[:2] == ["app", "1"] and row.split()[2].startswith("sha256:")
    assert len(boxlite.ok("image", "ls", "-aq", "quay.io/*/app").splitlines()) == 1
    [described] = json.loads(boxlite.ok("image", "inspect", "app:1"))
    assert sorted(described["RepoTags"]) == ["app:1", "quay.io/b/app:2"] and described["Os"] == "linux"
    assert described["Config"]["Cmd"] == ["sh"] and described["Architecture"] == "amd64"
    assert described["RootFS"]["Layers"] == ["sha256:" + hashlib.sha256(oci.busybox_layer()).hexdigest()]
    assert json.loads(boxlite.ok("image", "inspect", described["Id"])) == [described]
    finished = boxlite("image", "inspect", "absent")
    assert (finished.code, finished.out) == (125, "[]\n") and "no image absent" in finished.err


def test_a_directory_becomes_a_root_and_no_link_out_of_it_is_followed(boxlite, work):
    root = f"{work}/root"
    os.makedirs(f"{root}/bin", exist_ok=True)
    secret = f"{work}/secret"
    with open(secret, "w") as file:
        file.write("CANARY-4711")
    os.symlink(secret, f"{root}/stolen")
    os.symlink(work, f"{root}/folder")
    subprocess.run(["cp", oci.BUSYBOX, f"{root}/bin/sh"], check=True)
    os.link(f"{root}/bin/sh", f"{root}/bin/busybox")
    identity.give(root)
    boxlite.ok("create", "--name", "a", "--rootfs", root, "/bin/sh")
    assert boxlite.inspect("a")["image"] == f"rootfs:{root}"
    assert images(boxlite) == []
    blobs, [base], left = stored(boxlite)
    assert (blobs, left) == ([], [])
    with open(f"{boxlite.home}/bases/{base}", "rb") as file:
        assert b"CANARY-4711" not in file.read(64 << 20)
    debugfs = lambda command: subprocess.run(["debugfs", "-R", command, f"{boxlite.home}/bases/{base}"], check=True,  # noqa: E731
                                             capture_output=True, text=True).stdout
    assert "symlink" in debugfs("stat /stolen") and f"Size: {len(secret)}" in debugfs("stat /stolen")
    assert "symlink" in debugfs("stat /folder")
    status = debugfs("stat /bin/sh")
    assert "Links: 2" in status and ("User:     0" in status)
    boxlite.ok("image", "prune", "-af")
    assert files(boxlite, "bases") == [base], "a base in use is not deleted"
    boxlite.ok("rm", "a")
    assert files(boxlite, "bases") == []
    boxlite.refused("create", "--rootfs", f"{root}/absent", "sh", mentions="absent")
    boxlite.refused("create", "--rootfs", secret, "sh", mentions="secret")


def kill_at(boxlite, point, *arguments, input=None):
    finished = boxlite(*arguments, input=input, environment={"BOXLITE_FAILPOINTS": f"{point}=kill9"})
    assert finished.code != 0, str(finished)


@pytest.mark.parametrize("point", ["image.blob.commit", "image.base.commit"])
@pytest.mark.parametrize("verb", ["load", "import"])
def test_a_job_killed_at_any_step_leaves_what_the_next_prune_removes(boxlite, archives, point, verb):
    with open(archives["docker-archive"], "rb") as file:
        data = file.read()
    arguments, data = (["load"], data) if verb == "load" else (["import", "-", "root:1"], root_tar())
    kill_at(boxlite, point, *arguments, input=data)
    assert images(boxlite) == []
    boxlite.ok("image", "prune", "-f")
    assert stored(boxlite) == ([], [], [])
    boxlite.ok(*arguments, input=data)
    assert len(images(boxlite)) == 1


@pytest.mark.parametrize("point", ["image.untag", "image.collect"])
@pytest.mark.parametrize("arguments", [["rmi", "root:1"], ["image", "prune", "-af"]], ids=str)
def test_a_removal_killed_at_any_step_is_finished_by_the_next(boxlite, point, arguments):
    boxlite.ok("import", "-", "root:1", input=root_tar())
    kill_at(boxlite, point, *arguments)
    assert images(boxlite) == []
    boxlite.ok("image", "prune", "-f")
    assert stored(boxlite) == ([], [], [])


def test_a_tag_killed_before_its_row_is_not_there(boxlite):
    boxlite.ok("import", "-", "root:1", input=root_tar())
    kill_at(boxlite, "image.tag", "tag", "root:1", "root:2")
    assert [image["reference"] for image in images(boxlite)] == ["docker.io/library/root:1"]


@pytest.mark.parametrize("point", ["image.commit", "image.blob.commit"])
def test_a_prune_while_a_pull_runs_takes_nothing_from_it(boxlite, demo, point):
    """At the first point the pull has all it needs and does not hold the store: prune takes the image of the other name away, its base
    too. At the second it does hold it: prune waits until the pull's image is there, and then removes that."""
    boxlite.ok("pull", f"oci:{demo}")
    pull = boxlite.spawn("pull", f"oci:{demo}:latest", environment={"BOXLITE_FAILPOINTS": f"{point}=stop"})
    job = wait_stopped(pull)
    prune = boxlite.spawn("image", "prune", "-af")
    if point == "image.commit":
        assert prune.wait(timeout=DEADLINE) == 0
        assert stored(boxlite)[:2] == ([], [])
    while job is not None:
        os.kill(job, signal.SIGCONT)
        job = wait_stopped(pull)
    assert pull.wait(timeout=DEADLINE) == 0 and prune.wait(timeout=DEADLINE) == 0
    found = images(boxlite)
    assert [image["reference"] for image in found] == ([f"oci:{demo}:latest"] if point == "image.commit" else [])
    blobs, bases, left = stored(boxlite)
    assert bases == [f"{image['id'][7:]}.ext4" for image in found] and left == []
    wanted = [digest[7:] for image in found for digest in [image["id"], image["manifest_digest"], *image["layers"]]]
    assert blobs == sorted(wanted)


def wait_stopped(process):
    """The pid of the stopped boxlite-image below the process; None when the process has ended."""

    def look():
        if process.poll() is not None:
            return [None]
        for child in proc.all_processes():
            with contextlib.suppress(OSError), open(f"/proc/{child.pid}/stat") as file:
                state, parent = file.read().rsplit(")", 1)[1].split()[:2]
                if state == "T" and int(parent) == process.pid:
                    return [child.pid]
        return None

    return wait_until(look, "the job stands at its failpoint")[0]


def test_an_import_of_what_is_no_archive_says_so(boxlite):
    boxlite.refused("import", "/etc/passwd", "x:1", mentions=["/etc/passwd is no tar archive"])
    boxlite.refused("import", "-c", "ENV A=b c", "-", input=root_tar(), mentions=['ENV NAME="a b"'])
