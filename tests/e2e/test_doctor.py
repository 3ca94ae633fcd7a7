"""`doctor`: what it finds, what it repairs, and that it finds nothing where nothing is wrong."""

import json
import os
import resource
import shutil
import signal
import threading
from dataclasses import dataclass
from typing import Callable

import pytest
from boxlite_testing import census, identity, leftovers
from boxlite_testing.cli import BIN_DIR, PATH
from boxlite_testing.waiting import wait_until

HOST = ("programs", "kvm", "namespaces", "landlock", "cgroups", "memory", "disk", "limits")
HOME = ("database", "boxes", "volumes", "images", "garbage", "templates", "files", "contents")


def doctor(boxlite, *options, code=0, **more):
    """The findings by subject: a list each."""
    finished = boxlite("doctor", "--format", "json", *options, **more)
    assert (finished.code, finished.err) == (code, ""), str(finished)
    found = {}
    for finding in json.loads(finished.out):
        assert set(finding) == {"area", "subject", "level", "text", "remedy"}
        assert finding["text"] and finding["level"] in ("ok", "note", "problem", "repaired")
        assert finding["remedy"] or finding["level"] in ("ok", "repaired"), f"no way out of it: {finding}"
        found.setdefault(finding["subject"], []).append(finding)
    return found


def levels(found):
    return {subject: sorted({finding["level"] for finding in findings}) for subject, findings in found.items()}


def problems(found):
    return [finding for findings in found.values() for finding in findings if finding["level"] == "problem"]


def test_a_host_and_a_home_in_use_have_nothing_wrong_and_a_line_for_everything(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", "-p", "0:80", "-p", "127.0.0.1:0:53/udp", "-v", "vol:/v", "-v", "/anonymous", demo, "sleep", "infinity")
    boxlite.ok("run", "-d", "--name", "b", "--network", "none", demo, "sleep", "infinity")
    boxlite.ok("create", "--name", "c", demo)
    found = doctor(boxlite)
    assert tuple(found) == HOST + HOME
    assert {subject for subject in HOME if levels(found)[subject] != ["ok"]} == set(), found
    assert "3 with a row" in found["boxes"][0]["text"] and "2 of them run" in found["boxes"][0]["text"]
    assert "1 network processes, 2 volume servers, 2 published ports" in found["boxes"][0]["text"]
    text = boxlite.ok("doctor")
    assert text.startswith("Host:\n  ok        programs: ") and "\nHome:\n  ok        database: whole\n" in text
    boxlite.ok("rm", "-f", "-v", "a", "b", "c")
    boxlite.ok("volume", "rm", "vol")


def test_a_home_that_is_not_there_is_no_problem_and_is_not_made(boxlite):
    found = doctor(boxlite)
    assert tuple(found) == (*HOST, "home") and levels(found)["home"] == ["ok"]
    assert not os.path.exists(boxlite.home)


# ---- The host

@pytest.fixture
def programs(boxlite):
    """A directory for programs that the product's user reaches."""
    directory = f"{boxlite.directory}/bin"
    os.mkdir(directory)
    os.chmod(directory, 0o755)
    return directory


def test_a_program_that_is_missing_is_named_with_its_package(boxlite, programs):
    os.symlink(shutil.which("qemu-system-x86_64"), f"{programs}/qemu-system-x86_64")
    found = doctor(boxlite, code=1, environment={"PATH": programs})
    (finding,) = found["programs"]
    assert "bwrap is not installed" in finding["text"] and "install the package bubblewrap" in finding["remedy"]


@identity.by_user
@pytest.mark.parametrize("missing", ["boxlite-shim", "boxlite-vm-init", "boxlite-vm-resume", "boxlite-volume", "boxlite-image", "boxlite-net", "boxlite-template", "boxlite-memory-guard.so"])
def test_a_part_of_boxlite_that_is_missing_is_named(boxlite, programs, missing):
    for name in os.listdir(BIN_DIR):
        if name != missing:
            os.symlink(os.path.join(BIN_DIR, name), os.path.join(programs, name))
    (finding,) = doctor(boxlite, code=1, environment={"BOXLITE_LIBEXEC_DIR": programs})["programs"]
    assert f"{missing} is not in BOXLITE_LIBEXEC_DIR={programs}" in finding["text"], finding


def test_a_host_that_allows_no_namespaces_is_found_by_trying(boxlite, programs):
    """A program in bubblewrap's place says what bubblewrap says on such a host."""
    with open(f"{programs}/bwrap", "w") as file:
        file.write("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    os.chmod(f"{programs}/bwrap", 0o755)
    found = doctor(boxlite, code=1, environment={"PATH": f"{programs}:{PATH}"})
    (finding,) = found["namespaces"]
    assert finding["level"] == "problem" and "No permissions to create new namespace" in finding["text"] and finding["remedy"]


@pytest.mark.parametrize("what, limit, mentions", [(resource.RLIMIT_NOFILE, 500, "500 files open"), (resource.RLIMIT_FSIZE, 1 << 30, "ulimit -f"),
                                                   (resource.RLIMIT_AS, 1 << 32, "ulimit -v")])
def test_a_limit_that_a_box_would_meet_is_a_problem(boxlite, what, limit, mentions):
    child = boxlite.spawn("doctor", "--format", "json", preexec_fn=lambda: resource.setrlimit(what, (limit, limit)))
    out, err = child.communicate(timeout=120)
    assert (child.returncode, err) == (1, b"")
    (finding,) = [finding for finding in json.loads(out) if finding["subject"] == "limits"]
    assert finding["level"] == "problem" and mentions in finding["text"] and finding["remedy"]


# ---- The home

def test_a_folder_of_another_purpose_is_not_to_be_closed_to_others(boxlite):
    folder, file = f"{boxlite.directory}/photos", f"{boxlite.directory}/photos/one"
    os.mkdir(folder, 0o755)
    open(file, "w").close()
    identity.give(folder)
    finding = doctor(boxlite, code=1, environment={"BOXLITE_HOME": folder})["home"][0]
    assert finding["text"].startswith(f"{folder} is no home of boxlite") and finding["remedy"] == "use another --home DIR"
    finding = doctor(boxlite, code=1, environment={"BOXLITE_HOME": file})["home"][0]
    assert finding["text"] == f"home {file} is not a directory" and finding["remedy"] == "use another --home DIR"


def test_a_home_that_cannot_be_used_is_a_problem_with_its_way_out(boxlite):
    boxlite.ok("volume", "create", "vol")
    os.chmod(boxlite.home, 0o755)
    found = doctor(boxlite, code=1)
    (finding,) = found["home"]
    assert "open to other users" in finding["text"] and finding["remedy"] == f"run: chmod 700 {boxlite.home}"
    assert set(HOST) <= set(found)
    os.chmod(boxlite.home, 0o700)


def killed(boxlite, plan, *command):
    assert boxlite(*command, environment={"BOXLITE_FAILPOINTS": f"{plan}=kill9"}).code == -signal.SIGKILL


def interrupted_removal(boxlite, demo):
    boxlite.ok("create", "--name", "a", demo)
    killed(boxlite, "remove.intent", "rm", "a")


def interrupted_creation(boxlite, demo):
    killed(boxlite, "create.dir", "create", "--name", "a", demo)


def interrupted_pull(boxlite, demo):
    assert boxlite("pull", demo, environment={"BOXLITE_FAILPOINTS": "image.blob.commit=kill9"}).code == 125


def interrupted_volume_removal(boxlite, demo):
    boxlite.ok("volume", "create", "vol")
    killed(boxlite, "volume.row", "volume", "rm", "vol")


def interrupted_volume_creation(boxlite, demo):
    boxlite.ok("volume", "create", "other")
    killed(boxlite, "volume.mkdir", "volume", "create", "vol")


def volume_without_files(boxlite, demo):
    boxlite.ok("volume", "create", "vol")
    shutil.rmtree(f"{boxlite.home}/volumes/vol")


def writable_base(boxlite, demo):
    boxlite.ok("pull", demo)
    for name in os.listdir(f"{boxlite.home}/bases"):
        os.chmod(f"{boxlite.home}/bases/{name}", 0o644)


def vm_without_shim(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
    shim, stopped = boxlite.shim("a"), []
    for process in census.vm_processes(boxlite.home, boxlite.inspect("a")["id"]):
        if process.name != "boxlite-net":  # which the kernel ends
            process.stop()  # so that they cannot see its end
            stopped.append(process)
    shim.kill(signal.SIGKILL)
    wait_until(lambda: not shim.alive(), "the shim has ended")
    return stopped


def cgroup_of_a_killed_shim(boxlite, demo):
    boxlite.ok("run", "--name", "a", demo, "true")
    leftovers.leave_cgroup(boxlite, "a")


@dataclass
class Repairable:
    break_it: Callable
    subject: str
    text: str

    def __str__(self):
        return self.break_it.__name__


@identity.by_user
@pytest.mark.parametrize("case", [
    Repairable(interrupted_removal, "box ", "was killed"), Repairable(interrupted_creation, "box ", "was killed"),
    Repairable(interrupted_pull, "files", "tmp/image-"), Repairable(interrupted_volume_removal, "files", "trash/volume-"), Repairable(interrupted_volume_creation, "volume vol", "empty directories"),
    Repairable(volume_without_files, "volume vol", "its files are missing"), Repairable(writable_base, "images", "can be written to"),
    Repairable(vm_without_shim, "box a", "without their shim"), Repairable(cgroup_of_a_killed_shim, "box a", "has left the cgroup")], ids=str)
def test_what_is_safe_to_repair_is_found_repaired_and_then_gone(boxlite, demo, case):
    stopped = case.break_it(boxlite, demo) or []
    found = problems(doctor(boxlite, code=1))
    assert found and all(finding["subject"].startswith(case.subject) and case.text in finding["text"] for finding in found), found
    assert all("doctor --repair" in finding["remedy"] for finding in found)
    assert problems(doctor(boxlite, code=1)) == found, "looking changes nothing"
    repaired = doctor(boxlite, "--repair")
    assert [(finding["subject"], finding["text"]) for findings in repaired.values() for finding in findings if finding["level"] == "repaired"] \
        == [(finding["subject"], finding["text"]) for finding in found]
    assert problems(doctor(boxlite)) == []
    seen = boxlite.census()
    assert (seen.rows, seen.vms, seen.vm_locks) == (seen.directories, 0, 0)
    for process in stopped:  # bubblewrap, which has nothing of the box any more
        process.kill(signal.SIGCONT)
    wait_until(lambda: not any(process.alive() for process in stopped), "all have ended")


def missing_disk(boxlite):
    os.unlink(f"{boxlite.home}/boxes/{boxlite.inspect('a')['id']}/disk.qcow2")
    return "box a", "disk.qcow2 is missing"


def missing_directory(boxlite):
    shutil.rmtree(f"{boxlite.home}/boxes/{boxlite.inspect('a')['id']}")
    return "box a", "its directory is missing"


def missing_blob(boxlite):
    layer = json.loads(boxlite.ok("images", "--format", "json"))[0]["layers"][0]
    os.unlink(f"{boxlite.home}/images/blobs/sha256/{layer.removeprefix('sha256:')}")
    return "images", f"{layer} of image"


def largest_blob(boxlite):
    folder = f"{boxlite.home}/images/blobs/sha256"
    return max((f"{folder}/{name}" for name in os.listdir(folder)), key=os.path.getsize)


def damaged_blob(boxlite):
    path = largest_blob(boxlite)
    flip(path, os.path.getsize(path) // 2)
    return "contents", f"blob {path} is damaged"


def blob_that_is_a_fifo(boxlite):
    path = largest_blob(boxlite)
    os.unlink(path)
    os.mkfifo(path)
    return "contents", f"blob {path} is not a regular file"


def damaged_base(boxlite):
    (name,) = os.listdir(f"{boxlite.home}/bases")
    path = f"{boxlite.home}/bases/{name}"
    os.chmod(path, 0o644)
    flip(path, 4096 + 8)  # a group descriptor
    os.chmod(path, 0o444)
    return "contents", f"base disk {path} is damaged"


def files_of_no_volume(boxlite):
    os.makedirs(f"{boxlite.home}/volumes/mine/data")
    with open(f"{boxlite.home}/volumes/mine/data/file", "w") as file:
        file.write("data")
    identity.give(f"{boxlite.home}/volumes")
    return "volume mine", "holds files, and there is no such volume"


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 0xff]))


def files_of(home):
    return {os.path.join(parent, name): os.path.getsize(os.path.join(parent, name))
            for folder in ("boxes", "bases", "images", "volumes") for parent, _, names in os.walk(f"{home}/{folder}") for name in names}


@identity.by_root
@pytest.mark.parametrize("break_it", [missing_disk, missing_directory, missing_blob, damaged_blob, blob_that_is_a_fifo, damaged_base, files_of_no_volume],
                         ids=lambda case: case.__name__)
def test_where_data_could_be_lost_it_is_said_and_left_as_it_is(boxlite, demo, break_it):
    boxlite.ok("create", "--name", "a", demo)
    subject, text = break_it(boxlite)
    before = files_of(boxlite.home)
    for options in ([], ["--repair"]):
        (finding,) = problems(doctor(boxlite, *options, code=1))
        assert finding["subject"] == subject and text in finding["text"] and finding["remedy"], finding
    assert files_of(boxlite.home) == before


def test_files_of_others_are_noted_and_left_alone(boxlite, demo):
    boxlite.ok("create", "--name", "a", demo)
    strays = [f"{boxlite.home}/{path}" for path in ("notes.txt", "boxes/mine", "tmp/mine", "trash/mine", "trash/0123456789ab", "locks/mine")]
    for path in strays:
        open(path, "w").close()
    for blob in ("e" * 64, "f" * 64):  # nothing refers to them, so nothing of them is read
        os.mkfifo(f"{boxlite.home}/images/blobs/sha256/{blob}")
    found = doctor(boxlite, "--repair")
    assert sorted(finding["text"] for finding in found["files"]) == sorted(f"{path} is not boxlite's" for path in strays)
    assert levels(found)["files"] == ["note"]
    for path in strays:
        os.unlink(path)


def test_a_shim_that_is_stopped_is_told_with_the_way_out(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
    shim = boxlite.shim("a")
    shim.stop()
    (finding,) = problems(doctor(boxlite, "--repair", code=1))
    assert finding["subject"] == "box a" and f"kill -CONT {shim.pid}" in finding["remedy"]
    shim.kill(signal.SIGCONT)
    assert boxlite.ok("exec", "a", "echo", "well") == "well\n"
    wait_until(lambda: boxlite("doctor").code == 0, "nothing is wrong any more")


def test_a_volume_server_that_has_ended_is_missed(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", "-v", "vol:/v", demo, "sleep", "infinity")
    (server,) = [p for p in census.vm_processes(boxlite.home, boxlite.inspect("a")["id"]) if p.name == "boxlite-volume"]
    server.kill(signal.SIGKILL)
    wait_until(lambda: not os.path.exists(f"/proc/{server.pid}"), "it is gone")
    (finding,) = problems(doctor(boxlite, code=1))
    assert finding["subject"] == "box a" and "it has 1, 1 and 0 instead of 1, 1 and 1" in finding["text"]
    boxlite.ok("restart", "-t", "0", "a")
    assert problems(doctor(boxlite)) == []


def test_beside_commands_at_work_nothing_seems_wrong(boxlite, demo):
    boxlite.ok("pull", demo)
    over, wrong = threading.Event(), []

    def work(name):
        while not over.is_set():
            for command in (["create", "--name", name, "-v", f"vol-{name}:/v", demo, "true"], ["rm", name], ["volume", "rm", f"vol-{name}"], ["pull", demo]):
                finished = boxlite(*command)
                if finished.code != 0:
                    wrong.append(str(finished))

    threads = [threading.Thread(target=work, args=(name,)) for name in ("x", "y")]
    for thread in threads:
        thread.start()
    try:
        for options in ([], ["--repair"]) * 4:
            assert problems(doctor(boxlite, *options)) == []
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert wrong == []
