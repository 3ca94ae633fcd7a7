"""Boxes that go on from a template instead of booting."""

import concurrent.futures
import glob
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import time

import pytest
from boxlite_testing import census, identity, oci, proc
from boxlite_testing.cli import BIN_DIR
from boxlite_testing.waiting import wait_until


@pytest.fixture(autouse=True)
def warm(boxlite):
    """Whatever the run is like."""
    boxlite.environment.pop("BOXLITE_COLD", None)


# What a kernel makes once and keeps, and what it makes anew.
IDENTITY = "cat /proc/sys/kernel/random/boot_id /proc/sys/kernel/random/uuid; head -c 16 /dev/urandom | od -An -tx1; hostname; date +%s"


def info(boxlite):
    return json.loads(boxlite.ok("info", "--format", "json"))


def starts(boxlite):
    seen = info(boxlite)
    return seen["starts_restored"], seen["starts_booted"]


def templates(boxlite):
    return sorted(f"{boxlite.home}/templates/{name}" for name in os.listdir(f"{boxlite.home}/templates") if re.fullmatch("[0-9a-f-]*", name))


def test_the_first_start_makes_a_template_and_every_later_one_uses_it(boxlite, demo):
    for count in (1, 2, 3):
        assert boxlite.ok("run", "--rm", demo, "echo", "here") == "here\n"
        assert len(templates(boxlite)) == 1 and starts(boxlite) == (count, 0)
    assert info(boxlite)["template_failures"] == []
    (template,) = templates(boxlite)
    assert os.path.exists(f"{template}/process-image") and os.path.getsize(f"{template}/maker.log") == 0
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
    with open(f"{boxlite.home}/boxes/{boxlite.inspect('a')['id']}/shim.log") as file:
        assert file.read() == "", "nothing of the life before is told"


def test_a_box_of_another_shape_has_a_template_of_its_own(boxlite, demo):
    for count, shape in enumerate([(), ("--network", "none"), ("--memory", "256m"), ("--cpus", "2"), ("--disk-size", "20g")], 1):
        assert boxlite.ok("run", "--rm", *shape, demo, "echo", "here") == "here\n"
        assert len(templates(boxlite)) == count, shape
    seen = boxlite.ok("run", "--rm", "--memory", "256m", "--cpus", "1", demo, "sh", "-c", "nproc; free -m | awk '/Mem/{print ($2 < 256)}'")
    assert seen == "1\n1\n" and len(templates(boxlite)) == 5
    size = int(boxlite.ok("run", "--rm", "--disk-size", "20g", demo, "df", "-Pk", "/").splitlines()[-1].split()[1])
    assert size > 19 << 20, "the disk has its size"


def test_a_restart_goes_on_from_a_template_with_the_disk_of_the_box(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sh", "-c", "trap exit TERM; cat /kept; while :; do sleep 0.1; done")
    wait_until(lambda: "can't open" in boxlite("logs", "a").err, "it has found nothing there")
    boxlite.ok("exec", "a", "sh", "-c", "echo word >/kept")
    for count in (1, 2):
        boxlite.ok("stop", "a")
        boxlite.ok("start", "a")
        wait_until(lambda count=count: boxlite.ok("logs", "a") == "word\n" * count, "it finds what it has written")
    assert starts(boxlite) == (3, 0)
    # One of the image, with its root mounted, and one for a disk that others have written to.
    assert len(templates(boxlite)) == 2


def test_a_box_has_whatever_it_was_given_though_its_template_was_not(boxlite, demo, folder):
    (folder / "file").write_text("from the host\n")
    boxlite.ok("run", "--rm", demo, "true")
    seen = boxlite.ok("run", "--rm", "-e", "SECRET=word", "--hostname", "other", "-v", f"{folder}:/data", "-p", "0:80", "--tmpfs", "/t",
                      "--add-host", "there:10.1.2.3", "-w", "/tmp", "-u", "1000", demo,
                      "sh", "-c", "echo $SECRET; hostname; cat /data/file; grep there /etc/hosts; pwd; id -u; mount | grep -c ' /t '; ip -4 -o addr show eth0 | wc -l")
    assert seen == "word\nother\nfrom the host\n10.1.2.3\tthere\n/tmp\n1000\n1\n1\n"
    assert starts(boxlite) == (2, 0)


def test_nothing_of_a_box_is_in_a_template(boxlite, demo):
    boxlite.ok("run", "--rm", "-e", "TOKEN=9f2c-the-secret-of-the-box", "--hostname", "a-name-of-its-own", demo, "echo", "what-it-says")
    (template,) = templates(boxlite)
    for name in os.listdir(template):
        with open(f"{template}/{name}", "rb") as file:
            seen = file.read()
        for word in (b"9f2c-the-secret", b"a-name-of-its-own", b"what-it-says"):
            assert word not in seen, name


def test_boxes_of_one_template_are_not_each_other(boxlite, demo):
    boxlite.ok("run", "--rm", demo, "true")
    count = 6
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        told = [lines.split("\n") for lines in pool.map(lambda _: boxlite.ok("run", "--rm", demo, "sh", "-c", IDENTITY), range(count))]
    assert starts(boxlite) == (count + 1, 0)
    for what in range(4):
        assert len({lines[what] for lines in told}) == count, told


@pytest.fixture(scope="session")
def keys_image(images):
    """With ssh-keygen of this host and what it is linked with."""
    layer = oci.Layer()
    program = "/usr/bin/ssh-keygen"
    listed = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    for path in {program, *re.findall(r"(/\S+) \(", listed)}:
        with open(path, "rb") as file:
            layer.file(path[1:], file.read(), 0o755)
    return "oci:" + oci.write_demo(f"{images}/keys", layer.tar())


@identity.by_root
def test_fifty_boxes_of_one_template_have_nothing_in_common_that_was_drawn(boxlite, keys_image):
    count = 50
    boxlite.ok("run", "--rm", "--network", "none", keys_image, "true")
    draw = ("head -c 16 /dev/urandom | od -An -tx1; cat /proc/sys/kernel/random/uuid /proc/sys/kernel/random/boot_id /dev/boxlite-generation; "
            "ssh-keygen -q -t ed25519 -N '' -f /root/key && awk '{print $2}' /root/key.pub; date +%s")

    def one(_):
        before = time.time()
        lines = boxlite.ok("run", "--rm", "--network", "none", keys_image, "sh", "-c", draw).splitlines()
        return lines, before, time.time()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        told = list(pool.map(one, range(count)))
    assert starts(boxlite) == (count + 1, 0)
    for what in range(5):
        assert len({lines[what] for lines, _, _ in told}) == count, [lines[what] for lines, _, _ in told]
    assert all(before - 1 <= int(lines[5]) <= after + 1 for lines, before, after in told), "the clock is the host's"


def test_the_clock_of_a_box_is_the_hosts_however_old_its_template_is(boxlite, demo):
    boxlite.ok("run", "--rm", demo, "true")
    with open("/proc/uptime") as file:
        before = float(file.read().split()[0])
    told = boxlite.ok("run", "--rm", demo, "date", "+%s")
    with open("/proc/uptime") as file:
        took = float(file.read().split()[0]) - before
    now = float(boxlite.ok("run", "--rm", demo, "date", "+%s"))
    assert 0 <= now - float(told) <= 2 * took + 60
    assert abs(time.time() - now) < 60


@pytest.mark.parametrize("how", ["flag", "environment"])
def test_a_cold_start_boots_and_makes_no_template(boxlite, demo, how):
    cold = {"environment": {"BOXLITE_COLD": "1"}} if how == "environment" else {}
    argv = ("run", "--rm", demo, "echo", "here") if cold else ("--cold", "run", "--rm", demo, "echo", "here")
    assert boxlite.ok(*argv, **cold) == "here\n"
    assert templates(boxlite) == [] and starts(boxlite) == (0, 1)


def test_starts_at_once_make_one_template(boxlite, demo):
    boxlite.ok("pull", demo)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda n: boxlite.ok("run", "--rm", demo, "echo", str(n)), range(6))) == [f"{n}\n" for n in range(6)]
    assert len(templates(boxlite)) == 1 and starts(boxlite) == (6, 0)


def damage(path, how):
    os.chmod(path, 0o644)
    if how == "shorter":
        os.truncate(path, os.path.getsize(path) - 4096)
    elif how == "missing":
        os.unlink(path)
    else:
        with open(path, "r+b") as file:
            file.seek(os.path.getsize(path) // 2)
            file.write(b"\xff" * 64)


@pytest.mark.skipif(not identity.OBSERVER_IS_ROOT, reason="damages files that are not its own")
@pytest.mark.parametrize("name,how", [("device-state", "other bytes"), ("device-state", "shorter"), ("memory", "shorter"), ("memory", "missing"),
                                      ("checkpoint.json", "other bytes"), ("checkpoint.json", "missing")])
def test_a_damaged_template_is_made_anew(boxlite, demo, name, how):
    boxlite.ok("run", "--rm", demo, "true")
    (template,) = templates(boxlite)
    damage(f"{template}/{name}", how)
    assert boxlite.ok("run", "--rm", demo, "echo", "here") == "here\n"
    (another,) = templates(boxlite)
    assert another != template and starts(boxlite) == (2, 0)


@pytest.mark.skipif(not identity.OBSERVER_IS_ROOT, reason="changes files that are not its own")
def test_a_template_that_cannot_be_restored_is_dropped_and_the_box_boots(boxlite, demo):
    """Its state and its memory are not of one VM: that is told by nothing but the attempt."""
    def break_it():
        (template,) = templates(boxlite)
        os.chmod(f"{template}/memory", 0o644)
        size = os.path.getsize(f"{template}/memory")
        with open(f"{template}/memory", "r+b") as file:
            file.truncate(0)
            file.truncate(size)
        return template

    def run():
        assert boxlite.ok("run", "--rm", "--network", "none", demo, "echo", "here", timeout=600) == "here\n"
        return templates(boxlite), len(info(boxlite)["template_failures"])
    run()
    break_it()
    assert run() == ([], 0)
    run()
    template = break_it()
    # Now it is the image of QEMU that is not tried again, and then the template.
    assert run() == ([template], 0) and not os.path.exists(f"{template}/process-image")
    assert run() == ([], 1)
    # It is not made again until the host boots or the box is of another shape.
    assert boxlite.ok("run", "--rm", "--network", "none", demo, "echo", "here") == "here\n"
    assert starts(boxlite) == (5, 4)
    assert boxlite.ok("ls", "-aq") == ""


# src/vmm/process_image.h: magic, bytes of the tables; counts of segments, threads, descriptors, files; bytes of the paths.
HEADER = struct.Struct("<QQIIIIQ")
SEGMENT, THREAD, DESCRIPTOR, FILE = 40, 160, 24, 48
MEMORY_INODE = HEADER.size + 8  # behind the vdso's address


def spoil(image, how):
    os.chmod(image, 0o644)
    with open(image, "r+b") as file:
        magic, tables, segments, threads, descriptors, files, paths = HEADER.unpack(file.read(HEADER.size))
        if how == "of another version":
            file.seek(0)
            file.write(struct.pack("<Q", magic + 1))
        elif how == "its tables are cut off":
            file.truncate(tables // 2)
        elif how == "its pages are cut off":
            file.truncate(tables)
        elif how == "a segment lies wherever the loader does":
            file.seek(tables - paths - files * FILE - descriptors * DESCRIPTOR - threads * THREAD - segments * SEGMENT)
            file.write(struct.pack("<QQ", 0x10000, 0x7ffffffe0000))
        elif how == "a segment is no user's":
            file.seek(tables - paths - files * FILE - descriptors * DESCRIPTOR - threads * THREAD - segments * SEGMENT)
            file.write(struct.pack("<Q", 0xffff800000000000))
        elif how == "it belongs to another memory":
            file.seek(MEMORY_INODE)
            file.write(struct.pack("<Q", 1))
        elif how == "a library was replaced":
            file.seek(tables - paths - 8)  # the last file's time
            file.write(struct.pack("<q", 1))


@pytest.mark.skipif(not identity.OBSERVER_IS_ROOT, reason="damages files that are not its own")
@pytest.mark.parametrize("how,said", [
    ("of another version", "is none of this version"), ("its tables are cut off", "tables are not whole"), ("its pages are cut off", "pages are not whole"),
    ("a segment lies wherever the loader does", "in the image's way wherever it is put"), ("a segment is no user's", "is where none can be"),
    ("it belongs to another memory", "are not of one template")])
def test_an_image_that_cannot_be_gone_on_from_is_dropped_and_the_box_boots(boxlite, demo, how, said):
    for again in (False, True):
        boxlite.ok("run", "--rm", demo, "true")
        (template,) = templates(boxlite)
        spoil(f"{template}/process-image", how)
        boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
        with open(f"{boxlite.home}/boxes/{boxlite.inspect('a')['id']}/shim.log.1") as file:
            assert said in file.read()
        assert boxlite.ok("exec", "a", "echo", "here") == "here\n"
        boxlite.ok("rm", "-f", "a")
        # Once may have been an accident. The second time it goes without its image, and is as good as before otherwise.
        assert templates(boxlite) == ([template] if again else [])
    assert not os.path.exists(f"{template}/process-image") and starts(boxlite) == (4, 2)
    assert boxlite.ok("run", "--rm", demo, "echo", "here") == "here\n"
    assert templates(boxlite) == [template] and starts(boxlite) == (5, 2)


@pytest.mark.skipif(not identity.OBSERVER_IS_ROOT, reason="changes files that are not its own")
def test_a_template_is_made_anew_when_a_library_of_qemu_was_replaced(boxlite, demo):
    boxlite.ok("run", "--rm", demo, "true")
    for count in (2, 3, 4):
        (template,) = templates(boxlite)
        spoil(f"{template}/process-image", "a library was replaced")
        assert boxlite.ok("run", "--rm", demo, "echo", "here") == "here\n"
        # However often.
        (another,) = templates(boxlite)
        assert another != template and os.path.exists(f"{another}/process-image") and starts(boxlite) == (count, 0)


@pytest.mark.skipif(not identity.OBSERVER_IS_ROOT, reason="needs root to mount")
def test_boxes_go_on_from_an_image_on_a_file_system_that_no_program_may_be_run_from(boxlite, demo):
    os.mkdir(boxlite.home)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"noexec,mode=700,uid={identity.UID},gid={identity.GID}", "tmpfs", boxlite.home], check=True)
    try:
        for _ in range(2):
            assert boxlite.ok("run", "--rm", demo, "echo", "here") == "here\n"
        (template,) = templates(boxlite)
        assert os.path.exists(f"{template}/process-image") and starts(boxlite) == (2, 0)
    finally:
        subprocess.run(["umount", "--lazy", boxlite.home], check=True)


def test_nothing_that_qemu_draws_by_itself_is_seen_in_a_box(boxlite, demo):
    """Its generator goes on the same in every process of one image: it feeds rdrand and rdseed, and could feed /dev/hwrng."""
    draw = "grep -cE ' (rdrand|rdseed)' /proc/cpuinfo; head -c 16 /dev/hwrng | od -An -tx1"
    told = [boxlite.ok("--accel", "tcg", "run", "--rm", "--privileged", demo, "sh", "-c", draw).splitlines() for _ in range(3)]
    assert starts(boxlite) == (3, 0)
    assert [lines[0] for lines in told] == ["0"] * 3 and len({lines[1] for lines in told}) == 3, told


def test_without_the_program_that_makes_templates_nothing_starts(boxlite, demo, tmp_path):
    """As with every other part of boxlite: what is missing is named."""
    boxlite.ok("create", "--name", "a", demo, "true")
    for parent in (tmp_path, tmp_path.parent):
        parent.chmod(0o755)
    programs = tmp_path / "libexec"
    programs.mkdir(mode=0o755)
    for name in os.listdir(BIN_DIR):
        if name.startswith("boxlite") and name != "boxlite-template":
            shutil.copy(f"{BIN_DIR}/{name}", programs)
    boxlite.refused("start", "a", mentions="boxlite-template", environment={"BOXLITE_LIBEXEC_DIR": str(programs)})


def test_a_start_that_fails_before_there_is_a_vm_is_no_fault_of_the_template(boxlite, demo, folder):
    boxlite.ok("run", "--rm", demo, "true")
    (folder / "data").mkdir()
    boxlite.ok("create", "--name", "a", "-v", f"{folder}/data:/data", demo, "true")
    (folder / "data").rmdir()
    for _ in range(3):
        boxlite.refused("start", "a", mentions=f"{folder}/data")
    # The image's, and the one of a box that has been started before.
    assert len(templates(boxlite)) == 2 and [name for name in os.listdir(f"{boxlite.home}/templates") if "." in name] == []


@pytest.mark.skipif(not identity.OBSERVER_IS_ROOT, reason="changes files that are not its own")
@pytest.mark.parametrize("way", ["later", "gc"])
def test_a_template_that_could_not_be_made_is_told_and_tried_again(boxlite, demo, way):
    boxlite.ok("--cold", "run", "--rm", demo, "true")
    started = boxlite.spawn("run", "--rm", demo, "true", environment=MAKER_STOPS)
    wait_until(lambda: maker(boxlite), "a template is being made")[0].kill(signal.SIGKILL)
    started.communicate(timeout=300)
    assert boxlite.ok("run", "--rm", demo, "echo", "here") == "here\n"
    (note,) = [finding for finding in json.loads(boxlite.ok("doctor", "--format", "json")) if finding["subject"] == "templates"]
    assert note["level"] == "note" and "could not be made" in note["text"] and "boxlite gc" in note["remedy"]
    assert templates(boxlite) == [] and starts(boxlite) == (0, 3)
    if way == "gc":
        boxlite.ok("gc")
    else:
        (failure,) = glob.glob(f"{boxlite.home}/templates/*.failed")
        os.utime(failure, (time.time() - 700,) * 2)
    boxlite.ok("run", "--rm", demo, "true")
    assert starts(boxlite) == (1, 3) and len(templates(boxlite)) == 1 and info(boxlite)["template_failures"] == []


def test_twelve_templates_are_kept_and_the_one_that_was_used_longest_ago_goes(boxlite, demo):
    boxlite.ok("run", "--rm", "--network", "none", demo, "true")
    (first,) = templates(boxlite)
    long_ago = time.time() - 1000
    for number in range(11):  # of other machines, as far as their names tell
        copy = f"{first.rpartition('-')[0][:-2]}{number:02}-{number:08}"
        shutil.copytree(first, copy, copy_function=lambda old, new: (shutil.copy if old.endswith(".json") else os.link)(old, new))
        os.utime(f"{copy}/checkpoint.json", (long_ago - number,) * 2)
    identity.give(f"{boxlite.home}/templates")
    boxlite.ok("run", "--rm", demo, "true")
    kept = templates(boxlite)
    assert len(kept) == 12 and first in kept and copy not in kept


def test_run_tells_where_the_time_went(boxlite, demo):
    for start in ("there is no template", "template is there"):
        if start == "template is there":
            boxlite.ok("run", "--rm", demo, "true")
        environment = {} if start == "template is there" else {"BOXLITE_COLD": "1"}
        finished = boxlite("run", "--rm", "--timing", demo, "echo", "here", environment=environment)
        assert (finished.code, finished.out) == (0, "here\n"), str(finished)
        head, *lines = finished.err.splitlines()
        assert head.split() == ["at", "ms", "step", "ms"]
        steps = [re.fullmatch(r" *(\d+\.\d) +(\d+\.\d)  (.*)", line).groups() for line in lines]
        assert [name for _, _, name in steps][0] == "box is made" and {start, "command has ended", "box is removed"} <= {name for _, _, name in steps}
        at = [float(since) for since, _, _ in steps]
        assert at == sorted(at) and abs(sum(float(more) for _, more, _ in steps) - at[-1]) < 0.1 * len(steps)


def maker(boxlite):
    """The process that makes a template, once its VM is there: (it, that QEMU), or nothing. The kernel keeps 15 letters of a name."""
    mine = census.processes(boxlite.home)
    makers = [p for p in mine if p.name == "boxlite-templat"]
    vms = [p for p in proc.descendants([p.pid for p in makers], mine) if p.name.startswith("qemu-system")]
    return (makers[0], vms[0]) if vms and makers[0].stopped() else None


# It stands still when its VM has been started, so that what happens then does so before the template is there.
MAKER_STOPS = {"BOXLITE_FAILPOINTS": "template.vm_started=stop"}


@pytest.mark.parametrize("victim", ["boxlite-template", "qemu-system", "boxlite"])
def test_whoever_is_killed_while_a_template_is_made_leaves_nothing_in_the_way(boxlite, demo, victim):
    boxlite.ok("--cold", "run", "--rm", demo, "true")  # finds out about the host, which takes a VM too
    boxlite.ok("create", "--name", "a", demo, "sleep", "infinity")
    started = boxlite.spawn("start", "a", environment=MAKER_STOPS)
    template, qemu = wait_until(lambda: maker(boxlite), "a template is being made")
    if victim == "boxlite":
        started.send_signal(signal.SIGKILL)
    else:
        (template if victim == "boxlite-template" else qemu).kill(signal.SIGKILL)
    template.kill(signal.SIGCONT)
    started.communicate(timeout=300)
    assert (started.returncode == 0) == (victim != "boxlite"), "without a template it boots"
    assert templates(boxlite) == [] and len(info(boxlite)["template_failures"]) == (0 if victim == "boxlite" else 1)
    boxlite.ok("start", "a")
    assert boxlite.ok("exec", "a", "echo", "here") == "here\n"
    boxlite.ok("rm", "-f", "a")
    wait_until(lambda: not census.processes(boxlite.home), "nothing is left")
    assert [name for name in os.listdir(f"{boxlite.home}/templates") if name.endswith(".new")] == [] or victim == "boxlite"


def test_a_template_whose_image_could_not_be_taken_is_one_without(boxlite, demo):
    boxlite.ok("--cold", "run", "--rm", demo, "true")
    started = boxlite.spawn("run", "--rm", demo, "echo", "here", environment=MAKER_STOPS)
    template, _ = wait_until(lambda: maker(boxlite), "a template is being made")

    def imager():
        return next((p for p in census.processes(boxlite.home) if p.name == "boxlite-imager"), None)
    wait_until(imager, "it waits for its order").kill(signal.SIGKILL)
    template.kill(signal.SIGCONT)
    out, err = started.communicate(timeout=300)
    assert (started.returncode, out) == (0, b"here\n"), err
    (template,) = templates(boxlite)
    assert not os.path.exists(f"{template}/process-image") and starts(boxlite) == (1, 1)
    with open(f"{template}/maker.log") as file:
        assert "the process that takes the image has ended" in file.read()


def test_gc_removes_templates_that_nobody_will_use(boxlite, demo):
    boxlite.ok("run", "--rm", demo, "true")
    (template,) = templates(boxlite)
    old = f"{boxlite.home}/templates/00000000-0123456789abcdef"
    for copy in (old, template + ".new"):
        shutil.copytree(template, copy)
        identity.give(copy)
    boxlite.ok("gc")
    assert templates(boxlite) == [template] and not os.path.exists(template + ".new")


def test_gc_removes_templates_of_images_that_are_gone(boxlite, demo):
    for shape in ((), ("--network", "none")):
        boxlite.ok("run", "--rm", *shape, demo, "true")
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
    boxlite.ok("restart", "-t", "0", "a")
    assert len(templates(boxlite)) == 3
    boxlite.ok("rm", "-f", "a")
    boxlite.ok("rmi", demo)
    boxlite.ok("gc")
    (of_the_shape,) = templates(boxlite)
    assert not os.path.exists(f"{of_the_shape}/disk.qcow2")
    assert boxlite.ok("run", "--rm", demo, "echo", "here") == "here\n"


def test_a_box_goes_on_when_its_template_is_removed(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
    for template in templates(boxlite):
        shutil.rmtree(template)
    assert boxlite.ok("exec", "a", "sh", "-c", "ls -lR /bin /etc /usr >/dev/null; head -c 50000000 /dev/zero >/dev/shm/f && echo here") == "here\n"


@pytest.mark.skipif(not identity.OBSERVER_IS_ROOT, reason="needs root to mount")
def test_without_room_for_a_template_boxes_boot(boxlite, demo):
    os.mkdir(boxlite.home)
    options = f"size=300m,mode=700,uid={identity.UID},gid={identity.GID}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", boxlite.home], check=True)
    try:
        assert boxlite.ok("run", "--rm", demo, "echo", "here") == "here\n"
        assert templates(boxlite) == [] and starts(boxlite) == (0, 1)
    finally:
        subprocess.run(["umount", "--lazy", boxlite.home], check=True)
