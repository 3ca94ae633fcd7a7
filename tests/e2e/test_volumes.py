"""Directories and files of the host in a box, and volumes: what each side sees, who owns it, and what a hostile box cannot do."""

import fcntl
import hashlib
import json
import os
import re
import stat
import struct
import subprocess

import pytest
from boxlite_testing import identity, oci
from boxlite_testing.fixtures import used as boxlite  # noqa: F401
from boxlite_testing.ninep import Client, servers
from boxlite_testing.waiting import wait_until

FULL_SIZE = bool(os.environ.get("BOXLITE_FULL_SIZE"))  # make soak
needs_root = pytest.mark.skipif(not identity.OBSERVER_IS_ROOT, reason="needs root to mount")


@pytest.fixture
def folder(tmp_path_factory):
    """A directory of the product's user, reachable by him, with one file."""
    path = str(tmp_path_factory.mktemp("volume"))
    for parent in (os.path.dirname(path), os.path.dirname(os.path.dirname(path))):
        os.chmod(parent, 0o755)
    os.chmod(path, 0o755)
    with open(f"{path}/greeting", "w") as file:
        file.write("hello\n")
    return identity.give(path)


def read(path):
    with open(path) as file:
        return file.read()


# ---- Directories and files of the host


def test_both_sides_see_at_once_what_the_other_writes_into_a_directory(boxlite, demo, folder):
    boxlite.ok("run", "-d", "--name", "a", "-v", f"{folder}:/data", demo, "sleep", "infinity")
    assert boxlite.ok("exec", "a", "cat", "/data/greeting") == "hello\n"
    boxlite.ok("exec", "a", "sh", "-c", "echo from the box >/data/new && mkdir /data/dir && mv /data/greeting /data/dir/moved && ln -s new /data/link")
    assert read(f"{folder}/new") == "from the box\n"
    assert read(f"{folder}/dir/moved") == "hello\n"
    assert os.readlink(f"{folder}/link") == "new"
    with open(f"{folder}/new", "w") as file:
        file.write("from the host\n")
    assert boxlite.ok("exec", "a", "cat", "/data/link") == "from the host\n"
    os.unlink(f"{folder}/new")
    assert boxlite("exec", "a", "cat", "/data/new").code == 1
    boxlite.ok("exec", "a", "rm", "-r", "/data/dir", "/data/link")
    assert os.listdir(folder) == []


@pytest.mark.parametrize("flags", [["-v", "{}:/data:ro"], ["--mount", "type=bind,source={},target=/data,readonly"],
                                   ["--mount=type=bind,src={},dst=/data,ro=true"]], ids=str)
def test_a_read_only_directory_is_not_written_by_root_with_every_privilege(boxlite, demo, folder, flags):
    boxlite.ok("run", "-d", "--privileged", "--name", "a", *[flag.format(folder) for flag in flags], demo, "sleep", "infinity")
    script = "for c in 'echo x >/data/greeting' 'echo x >/data/new' 'rm /data/greeting' 'mkdir /data/d' 'chmod 777 /data/greeting' 'ln -s a /data/l'" \
             " 'mv /data/greeting /data/b' 'truncate -s 0 /data/greeting' 'chown 5 /data/greeting' 'touch /data/greeting' 'mknod /data/p p'; do" \
             " sh -c \"$c\" 2>>/tmp/errors && echo \"done: $c\"; done; cat /data/greeting"
    assert boxlite.ok("exec", "a", "sh", "-c", script) == "hello\n"
    # The guest's kernel forgets that the mount is read-only; the host does not.
    boxlite.ok("exec", "a", "mount", "-o", "remount,rw", "/data")
    assert " rw," in boxlite.ok("exec", "a", "grep", " /data ", "/proc/mounts")
    assert boxlite.ok("exec", "a", "sh", "-c", script) == "hello\n"
    assert "Read-only file system" in boxlite.ok("exec", "a", "cat", "/tmp/errors")
    assert os.listdir(folder) == ["greeting"] and read(f"{folder}/greeting") == "hello\n"


def test_a_single_file_is_mounted_and_its_neighbours_are_not(boxlite, demo, folder):
    with open(f"{folder}/secret", "w") as file:
        file.write("not for the box\n")
    out = boxlite.ok("run", "--rm", "--privileged", "-v", f"{folder}/greeting:/etc/motd", "-v", f"{folder}/greeting:/new/file:ro", demo, "sh", "-c",
                     "cat /etc/motd /new/file; echo changed >/etc/motd; cat /new/file; ls -A /new; umount /etc/motd; mount -o remount,rw /new/file; echo x >/new/file || true")
    assert out == "hello\nhello\nchanged\nfile\n"
    assert read(f"{folder}/greeting") == "changed\n"


def test_volume_makes_a_directory_that_is_not_there_and_mount_refuses_it(boxlite, demo, folder):
    boxlite.ok("run", "--rm", "-v", f"{folder}/x/y:/data", demo, "touch", "/data/made")
    assert os.listdir(f"{folder}/x/y") == ["made"]
    assert os.stat(f"{folder}/x/y").st_uid == identity.UID
    boxlite.refused("run", "--rm", "--mount", f"type=bind,source={folder}/z,target=/data", demo, "true", mentions=[f"{folder}/z", "--volume"])
    assert not os.path.exists(f"{folder}/z")
    assert boxlite.list() == []


def test_a_relative_source_is_looked_up_from_where_the_command_is(boxlite, demo, folder):
    assert boxlite.ok("run", "--rm", "-v", "./:/data", demo, "cat", "/data/greeting", cwd=folder) == "hello\n"
    assert boxlite.ok("run", "--rm", "-v", ".:/data", demo, "cat", "/data/greeting", cwd=folder) == "hello\n"


def test_links_of_the_image_and_of_the_volume_lead_nowhere_on_the_host(boxlite, images, folder):
    layer = oci.Layer().symlink("out", "/../../../../etc").symlink("data", "/srv/real")
    image = "oci:" + oci.write_demo(f"{images}/linked", layer.tar())
    os.symlink("/etc/shadow", f"{folder}/shadow")
    os.symlink("../../../../../../etc/hostname", f"{folder}/up")
    out = boxlite.ok("run", "--rm", "--hostname", "inside", "-v", f"{folder}:/data", "-v", f"{folder}:/out/mounted", image, "sh", "-c",
                     "cat /srv/real/up; cat /etc/mounted/greeting; cat /data/shadow 2>&1; echo evil >/data/shadow; cat /etc/shadow")
    assert out.splitlines() == ["inside", "hello", "cat: can't open '/data/shadow': No such file or directory", "evil"]
    assert not os.path.exists("/etc/mounted")


def test_inspect_shows_what_is_mounted_where(boxlite, demo, folder):
    boxlite.ok("create", "--name", "a", "-v", f"{folder}:/b/../data/:ro", "-v", "keep:/keep", "-v", "/anonymous", demo)
    anonymous, bound, named = boxlite.inspect("a")["mounts"]
    assert bound == {"type": "bind", "name": "", "source": folder, "destination": "/data", "rw": False}
    assert named == {"type": "volume", "name": "keep", "source": f"{boxlite.home}/volumes/keep/data", "destination": "/keep", "rw": True}
    assert re.fullmatch("[0-9a-f]{64}", anonymous["name"]) and anonymous["destination"] == "/anonymous"


@pytest.mark.parametrize("flags, mentions", [
    (["-v", ""], ["--volume"]), (["-v", "a"], ["absolute"]), (["-v", "ab:b"], ["absolute"]), (["-v", "/a:/"], ["root of the box"]),
    (["-v", "/a:/proc/x"], ["/proc"]), (["-v", "/a:/b:wx"], ["wx"]), (["-v", "/a:/b:ro:rw"], ["colons"]), (["-v", "-x:/b"], ["-x"]),
    (["-v", ":/b"], ["empty"]), (["-v", "/a:/b:shared"], ["shared"]), (["-v", "/a:/b", "-v", "/c:/b/."], ["/b", "two mounts"]),
    (["--tmpfs", "/b", "-v", "/c:/b"], ["/b", "two mounts"]), (["-v", "x:/b"], ["two or more"]),
    (["--mount", "type=bind,target=/b"], ["source"]), (["--mount", "type=bind,source=/a"], ["target"]), (["--mount", "type=npipe"], ["npipe"]),
    (["--mount", "type=tmpfs,target=/b"], ["--tmpfs"]), (["--mount", "type=bind,source=/a,target=/b,frob=1"], ["frob"]),
    (["--mount", "type=bind,source=/a,target=/b,readonly=maybe"], ["readonly"]), (["--mount", '"'], ["quote"]),
], ids=str)
def test_what_makes_no_sense_is_refused_before_anything_is_made(fresh, flags, mentions):
    fresh.refused("run", *flags, "oci:/nonexistent/never-looked-at", mentions=mentions)
    assert not os.path.exists(fresh.home)


def test_no_box_gets_the_files_of_other_boxes(fresh, demo, folder):
    fresh.ok("create", "--name", "other", "-e", "SECRET=1", demo)
    for source in (fresh.home, f"{fresh.home}/boxes", f"{fresh.home}/boxlite.db"):
        for options in ("", ":ro"):
            fresh.refused("create", "-v", f"{source}:/data{options}", demo, mentions=[source, "home of boxlite"])
    # A directory above it may be had, and the home in it is empty.
    out = fresh.ok("run", "--rm", "-v", f"{fresh.directory}:/above", demo, "sh", "-c", "ls /above; ls -A /above/home; touch /above/home/x; touch /above/new")
    assert out == "home\n"
    assert os.path.exists(f"{fresh.directory}/new") and not os.path.exists(f"{fresh.home}/x")


# ---- Ownership


def test_what_root_in_the_box_makes_belongs_outside_to_who_runs_boxlite(boxlite, demo, folder):
    out = boxlite.ok("run", "--rm", "-v", f"{folder}:/data", demo, "sh", "-c",
                     "stat -c %u:%g:%a /data/greeting; touch /data/file; mkdir -m 700 /data/dir; ln -s x /data/link; stat -c %u:%g:%a /data/file /data/dir")
    assert out.splitlines() == ["0:0:644", "0:0:644", "0:0:700"]
    for name in ("file", "dir", "link"):
        assert os.lstat(f"{folder}/{name}").st_uid == identity.UID
    assert os.stat(f"{folder}/dir").st_mode & 0o7777 == 0o700


def test_an_ordinary_user_of_the_box_can_use_the_directory_of_an_ordinary_user(boxlite, demo, folder):
    os.chmod(folder, 0o777 if identity.PRODUCT_IS_ROOT else 0o755)
    out = boxlite.ok("run", "--rm", "-u", "app", "-v", f"{folder}:/data", demo, "sh", "-c",
                     "echo mine >/data/mine && chmod 600 /data/mine && cat /data/mine && stat -c %u:%g:%a /data/mine && rm -f /data/greeting && ls /data")
    assert out.splitlines() == ["mine", "1000:1000:600", "mine"]
    st = os.stat(f"{folder}/mine")
    assert st.st_uid == (1000 if identity.PRODUCT_IS_ROOT else identity.UID)
    assert st.st_mode & 0o7777 == 0o600


def test_owners_and_modes_that_the_box_sets_are_there_at_the_next_start(boxlite, demo, folder):
    boxlite.ok("run", "--rm", "-v", f"{folder}:/data", demo, "sh", "-c",
               "cd /data; touch a b c; mkdir d; chown 1000:50 a d; chown 7 b; chmod 4755 b; chmod 000 c; chmod 1777 d; chown -h 5 a; ln -s a l; chown -h 9 l")
    out = boxlite.ok("run", "--rm", "-v", f"{folder}:/data", demo, "sh", "-c", "cd /data; stat -c %n:%u:%g:%a a b c d; cat c; su app -c 'touch d/x; cat c' 2>&1; stat -c %u d/x")
    assert out.splitlines() == ["a:5:50:644", "b:7:0:4755", "c:0:0:0", "d:1000:50:1777", "cat: can't open 'c': Permission denied", "1000"]
    if not identity.PRODUCT_IS_ROOT:
        for name in "abcd":  # outside all is the user's, he can remove it, and there is no set-uid program of his
            st = os.stat(f"{folder}/{name}")
            assert st.st_uid == identity.UID and st.st_mode & 0o6600 == 0o600
    else:
        assert os.stat(f"{folder}/a").st_uid == 5 and os.stat(f"{folder}/b").st_mode & 0o7777 == 0o4755


def test_files_of_others_are_nobodys_for_an_ordinary_user(boxlite, demo, folder):
    if identity.PRODUCT_IS_ROOT or not identity.OBSERVER_IS_ROOT:
        pytest.skip("an ordinary user's boxlite, watched by root")
    with open(f"{folder}/roots", "w") as file:
        file.write("root's\n")
    os.chmod(f"{folder}/roots", 0o644)
    out = boxlite.ok("run", "--rm", "-v", f"{folder}:/data", demo, "sh", "-c", "stat -c %u:%g /data/roots; cat /data/roots; echo x >/data/roots || chown 0 /data/roots || echo refused")
    assert out.splitlines() == ["65534:65534", "root's", "refused"]
    assert read(f"{folder}/roots") == "root's\n"


# ---- Programs


def test_what_programs_expect_of_a_file_system(boxlite, demo, folder):
    boxlite.ok("run", "-d", "--name", "a", "-v", f"{folder}:/data", demo, "sleep", "infinity")
    out = boxlite.ok("exec", "a", "sh", "-c", """cd /data
exec 3<>open; rm open; echo unlinked >&3; [ ! -e open ] && echo written
echo one >f; ln f g; echo two >>g; cat f; stat -c %h f
mkfifo p; (echo through >p &) ; cat p
cp /bin/busybox ./busybox-copy; ./busybox-copy echo executed
mkdir -p x/y/z; mv x w; ls w/y
touch -d '2001-02-03 04:05:06' f; stat -c %Y f
[ -e nothing ] || echo no nothing
mknod dev c 1 3 2>/dev/null || echo no device
df . | tail -1 | grep -q volume && echo df""")
    assert out.splitlines() == ["written", "one", "two", "2", "through", "executed", "z", "981173106", "no nothing", "no device", "df"]
    assert not os.path.exists(f"{folder}/dev")


@identity.by_root
def test_many_files_and_a_large_one_arrive_whole(boxlite, demo, folder):
    files, blocks = (100_000, 16384) if FULL_SIZE else (1500, 320)
    boxlite.ok("run", "-d", "--name", "a", "-v", f"{folder}:/data", demo, "sleep", "infinity")
    out = boxlite.ok("exec", "a", "sh", "-c", f"mkdir /data/many; cd /data/many; i=0; while [ $i -lt {files} ]; do echo $i >file-with-a-name-$i; i=$((i+1)); done; ls | wc -l;"
                     f"dd if=/dev/urandom of=/data/large bs=64k count={blocks} 2>/dev/null; sha256sum </data/large", timeout=3600)
    count, digest = out.split()[:2]
    assert count == str(files)
    assert sorted(os.listdir(f"{folder}/many")) == sorted(f"file-with-a-name-{i}" for i in range(files))
    with open(f"{folder}/large", "rb") as file:
        assert os.fstat(file.fileno()).st_size == blocks << 16
        assert hashlib.file_digest(file, "sha256").hexdigest() == digest


def test_cp_reaches_volumes(boxlite, demo, folder):
    boxlite.ok("run", "-d", "--name", "a", "-v", f"{folder}:/data", "-v", "named:/named", demo, "sleep", "infinity")
    boxlite.ok("cp", f"{folder}/greeting", "a:/named/copy")
    assert boxlite.ok("exec", "a", "cat", "/named/copy") == "hello\n"
    boxlite.ok("cp", f"{folder}/greeting", "a:/data/again")
    assert read(f"{folder}/again") == "hello\n"
    assert b"hello\n" in boxlite("cp", "a:/data/again", "-").stdout
    large = os.urandom(5 << 20)
    with open(f"{folder}/large", "wb") as file:
        file.write(large)
    assert large in boxlite("cp", "a:/data/large", "-").stdout


def test_a_read_only_root_and_a_volume_below_a_tmpfs(boxlite, demo, folder):
    out = boxlite.ok("run", "--rm", "--read-only", "--tmpfs", "/t", "-v", f"{folder}:/t/deep/er", demo, "sh", "-c",
                     "cat /t/deep/er/greeting; touch /t/deep/er/new /t/x && echo yes; touch /y 2>/dev/null || echo no")
    assert out == "hello\nyes\nno\n"


@needs_root
def test_a_full_disk_of_the_host_is_told_and_leaves_no_file_that_looks_whole(boxlite, demo, folder):
    options = f"size=4m,mode=755,uid={identity.UID},gid={identity.GID}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        boxlite.ok("run", "-d", "--name", "a", "-v", f"{folder}:/data", demo, "sleep", "infinity")
        written = boxlite("exec", "a", "sh", "-c", "dd if=/dev/zero of=/data/x bs=64k count=128; s=$?; rm /data/x; exit $s")
        assert written.code == 1 and "No space left on device" in written.err
        big = f"{boxlite.directory}/big"
        with open(big, "wb") as file:
            file.write(os.urandom(8 << 20))
        copied = boxlite("cp", big, "a:/data/big")
        assert copied.code == 125 and "No space left" in copied.err
        assert os.listdir(folder) == []
        boxlite.ok("rm", "-f", "a")
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


# ---- Named and anonymous volumes


def volumes(boxlite):
    return {volume["name"]: volume for volume in json.loads(boxlite.ok("volume", "ls", "--format", "json"))}


def test_a_named_volume_outlives_its_boxes(boxlite, demo):
    boxlite.ok("run", "--rm", "-v", "kept:/data", demo, "sh", "-c", "echo first >/data/file; chown 1000 /data/file")
    assert boxlite.ok("run", "--rm", "--mount", "source=kept,target=/elsewhere", demo, "sh", "-c", "cat /elsewhere/file; stat -c %u /elsewhere/file") == "first\n1000\n"
    assert list(volumes(boxlite)) == ["kept"] and boxlite.ok("volume", "ls", "-q") == "kept\n"
    boxlite.ok("create", "--name", "holder", "-v", "kept:/data", demo)
    boxlite.refused("volume", "rm", "kept", mentions=["kept", "in use by box holder"])
    assert volumes(boxlite)["kept"]["boxes"] == ["holder"]
    boxlite.ok("rm", "-v", "holder")
    assert boxlite.ok("volume", "rm", "kept") == "kept\n"
    assert volumes(boxlite) == {} and os.listdir(f"{boxlite.home}/volumes") == [] and os.listdir(f"{boxlite.home}/trash") == []
    boxlite.refused("volume", "rm", "kept", mentions=["no volume named kept"])
    boxlite.ok("volume", "rm", "-f", "kept")


def test_a_volume_can_be_made_before_it_is_used(boxlite, demo):
    assert boxlite.ok("volume", "create", "--label", "purpose=test", "mine") == "mine\n"
    assert boxlite.ok("volume", "create", "mine") == "mine\n"
    shown = json.loads(boxlite.ok("volume", "inspect", "mine"))[0]
    assert shown["labels"] == {"purpose": "test"} and shown["path"] == f"{boxlite.home}/volumes/mine/data" and not shown["anonymous"]
    assert os.path.isdir(shown["path"])
    name = boxlite.ok("volume", "create").strip()
    assert re.fullmatch("[0-9a-f]{64}", name)
    for wrong in ("../x", "a/b", ".x", "x", ""):
        boxlite.refused("volume", "create", wrong)
    missing = boxlite("volume", "inspect", "mine", "nothing")
    assert missing.code == 125 and "nothing" in missing.err and json.loads(missing.out)[0]["name"] == "mine"


@pytest.fixture(scope="module")
def volume_image(images):
    layer = oci.Layer().folder("filled", 0o750, uid=1000, gid=50).file("filled/file", "from the image\n", uid=1000).folder("filled/sub", 0o1777)
    layer.symlink("filled/link", "file").file("filled/tool", "#!/bin/sh\necho runs\n", 0o4755).folder("empty")
    return "oci:" + oci.write_demo(f"{images}/volumes", layer.tar(), Volumes={"/filled": {}, "/new": {}})


SHOW = "cd /filled; stat -c %n:%u:%g:%a . file sub tool; readlink link; cat link; ./tool"
SHOWN = [".:1000:50:750", "file:1000:0:644", "sub:0:0:1777", "tool:0:0:4755", "file", "from the image", "runs"]


def test_an_empty_volume_gets_what_the_image_has_there(boxlite, volume_image):
    assert boxlite.ok("run", "--rm", "-v", "data:/filled", volume_image, "sh", "-c", SHOW).splitlines() == SHOWN
    boxlite.ok("run", "--rm", "-v", "data:/filled", volume_image, "rm", "/filled/file")
    assert boxlite.ok("run", "--rm", "-v", "data:/filled", volume_image, "ls", "/filled").split() == ["link", "sub", "tool"]
    assert boxlite.ok("run", "--rm", "-v", "other:/filled:nocopy", volume_image, "ls", "/filled") == ""
    assert boxlite.ok("run", "--rm", "-v", "data:/empty", volume_image, "ls", "/empty").split() == ["link", "sub", "tool"]
    assert os.listdir(f"{boxlite.home}/volumes/data") == ["data"]


def test_volumes_of_the_image_are_anonymous_and_go_with_rm(boxlite, volume_image):
    assert boxlite.ok("run", "--rm", volume_image, "sh", "-c", SHOW + "; touch /new/x").splitlines() == SHOWN
    assert volumes(boxlite) == {}
    boxlite.ok("run", "--name", "a", volume_image, "touch", "/new/x")
    mounts = {mount["destination"]: mount["name"] for mount in boxlite.inspect("a")["mounts"]}
    assert sorted(mounts) == ["/filled", "/new"] and all(volumes(boxlite)[name]["anonymous"] for name in mounts.values())
    boxlite.ok("start", "a")
    assert {m["destination"]: m["name"] for m in boxlite.inspect("a")["mounts"]} == mounts
    wait_until(lambda: boxlite.status("a") == "stopped", "the box has stopped")
    boxlite.ok("rm", "-v", "a")
    assert volumes(boxlite) == {}
    boxlite.ok("run", "--name", "b", volume_image, "true")
    boxlite.ok("run", "--name", "c", "-v", "keep:/new", volume_image, "true")
    boxlite.ok("rm", "b", "c")
    assert len(volumes(boxlite)) == 4
    assert "Total reclaimed space" not in boxlite.ok("volume", "prune", input=b"n\n") and len(volumes(boxlite)) == 4
    assert len(boxlite.ok("volume", "prune", "-f").splitlines()) == 6
    assert list(volumes(boxlite)) == ["keep"]
    boxlite.ok("volume", "prune", "-af")
    assert volumes(boxlite) == {}


def test_volumes_of_the_image_are_directories_of_the_disk_of_a_privileged_box(boxlite, volume_image):
    boxlite.ok("run", "-d", "--privileged", "--name", "a", volume_image, "sleep", "infinity")
    assert boxlite.ok("exec", "a", "sh", "-c", SHOW).splitlines() == SHOWN
    assert len(set(boxlite.ok("exec", "a", "stat", "-c", "%d", "/", "/filled", "/new").split())) == 1
    assert boxlite.inspect("a")["mounts"] == [] and volumes(boxlite) == {}
    # An overlay can lie there, which is what docker does.
    overlay = "cd /new && mkdir lower upper work all && echo low >lower/file && mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay all"
    boxlite.ok("exec", "a", "sh", "-c", f"{overlay} && mv all/file all/moved && cat upper/moved")
    boxlite.ok("restart", "-t", "1", "a")
    assert boxlite.ok("exec", "a", "cat", "/new/upper/moved") == "low\n"
    # What is asked for is mounted, privileged or not.
    boxlite.ok("create", "--privileged", "--name", "b", "-v", "keep:/new", "-v", "/filled", volume_image)
    assert {mount["destination"]: mount["type"] for mount in boxlite.inspect("b")["mounts"]} == {"/filled": "volume", "/new": "volume"}
    boxlite.ok("create", "--privileged", "--name", "c", "--tmpfs", "/new", volume_image)
    assert boxlite.inspect("c")["mounts"] == []


def test_rm_f_of_a_running_box_that_removes_itself_takes_its_anonymous_volumes(boxlite, volume_image):
    boxlite.ok("run", "-d", "--rm", "--name", "a", volume_image, "sleep", "infinity")
    assert len(volumes(boxlite)) == 2
    boxlite.ok("rm", "-f", "a")
    assert volumes(boxlite) == {}


def test_two_boxes_share_a_volume(boxlite, demo):
    for name in "ab":
        boxlite.ok("run", "-d", "--name", name, "-v", "shared:/data", demo, "sleep", "infinity")
    boxlite.ok("exec", "a", "sh", "-c", "echo from a >/data/file")
    assert boxlite.ok("exec", "b", "cat", "/data/file") == "from a\n"
    boxlite.ok("exec", "b", "rm", "/data/file")
    assert boxlite.ok("exec", "a", "ls", "/data") == ""


# ---- The end of servers and shims


def test_no_server_outlives_its_shim(boxlite, demo, folder):
    boxlite.ok("run", "-d", "--name", "a", "-v", f"{folder}:/data", "-v", "named:/named", demo, "sleep", "infinity")
    assert len(servers(boxlite.home)) == 2
    ours = servers(boxlite.home)
    boxlite.shim("a").kill(9)
    wait_until(lambda: not any(p.alive() for p in ours), "the servers are gone")
    wait_until(lambda: boxlite.status("a") == "failed", "the box has failed")
    boxlite.ok("start", "a")
    assert boxlite.ok("exec", "a", "cat", "/data/greeting") == "hello\n"
    boxlite.ok("rm", "-f", "a")
    assert servers(boxlite.home) == []


def test_a_box_whose_server_dies_stays_and_gets_errors_there(boxlite, demo, folder):
    boxlite.ok("run", "-d", "--name", "a", "-v", f"{folder}:/data", demo, "sleep", "infinity")
    (server,) = servers(boxlite.home)
    server.kill(9)
    wait_until(lambda: "volume /data: its server has ended" in read(f"{boxlite.home}/boxes/{boxlite.inspect('a')['id']}/shim.log"), "the log tells of it")
    failed = boxlite("exec", "a", "cat", "/data/greeting")
    assert failed.code == 1 and re.search("error|reset", failed.err)
    assert boxlite.ok("exec", "a", "echo", "alive") == "alive\n"
    boxlite.ok("stop", "a")
    boxlite.ok("start", "a")
    assert boxlite.ok("exec", "a", "cat", "/data/greeting") == "hello\n"


def test_a_source_that_has_gone_or_become_a_link_fails_the_start_by_name(boxlite, demo, folder):
    os.mkdir(f"{folder}/d")
    boxlite.ok("create", "--name", "a", "-v", f"{folder}/d:/data", demo, "true")
    os.rmdir(f"{folder}/d")
    boxlite.refused("start", "a", mentions=["start box a", f"{folder}/d", "/data"])
    os.symlink("/etc", f"{folder}/d")
    boxlite.refused("start", "a", mentions=["start box a", f"{folder}/d", "link to /etc"])
    os.unlink(f"{folder}/d")
    os.mkdir(f"{folder}/d")
    boxlite.ok("start", "a")


# ---- A guest that speaks to the server by itself


@pytest.fixture
def client(boxlite, demo, folder):
    made = []

    def make(options=""):
        boxlite.ok("run", "-d", "--name", "a", "-v", f"{folder}:/data{options}", demo, "sleep", "infinity")
        made.append(Client(boxlite, options == ":ro"))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_raw_messages_cannot_leave_the_volume(client, folder):
    guest = client()
    os.symlink("/", f"{folder}/root")
    os.symlink("..", f"{folder}/parent")
    os.mkdir(f"{folder}/dir")
    identity.give(folder)
    root = os.stat(folder).st_ino
    # ".." of the root is the root; names with slashes, NULs or nothing in them are none.
    error, data = guest.walk(1, 2, "..", "..", "..")
    assert error == 0 and struct.unpack("<Q", data[-8:])[0] == root
    for number, name in enumerate(["../etc", "/etc", "dir/..", "", ".", "a\0b", "/"]):
        assert guest.walk(1, 10 + number, name)[0] != 0, name
        assert guest.create(1, name)[0] != 0, name
    # Links are not walked through, opened or written through.
    for link in ("root", "parent"):
        assert struct.unpack("<H", guest.walk(1, 30, link, "etc")[1][:2])[0] == 1
        assert guest.walk(1, 31 if link == "root" else 32, link)[0] == 0
        assert guest.open(31 if link == "root" else 32)[0] != 0
        assert guest.create(31 if link == "root" else 32, "new")[0] != 0
    # What was a directory when it was walked to is that directory still, whatever has its name now.
    assert guest.walk(1, 40, "dir")[0] == 0
    os.rename(f"{folder}/dir", f"{folder}/moved")
    os.symlink("/tmp", f"{folder}/dir")
    assert guest.create(40, "in-moved")[0] == 0
    assert os.listdir(f"{folder}/moved") == ["in-moved"] and not os.path.exists("/tmp/in-moved")
    # A file that became a link after it was walked to is not opened.
    assert guest.walk(1, 50, "greeting")[0] == 0
    os.unlink(f"{folder}/greeting")
    os.symlink("/etc/passwd", f"{folder}/greeting")
    assert guest.open(50)[0] != 0
    # Device nodes are not made, and neither are hard links out.
    for mode in (stat.S_IFCHR, stat.S_IFBLK):
        assert guest.ask(18, struct.pack("<I", 1) + guest.text("node") + struct.pack("<IIII", mode | 0o666, 1, 3, 0))[0] == 1
    assert guest.ask(74, struct.pack("<I", 1) + guest.text("moved") + struct.pack("<I", 1) + guest.text("../moved"))[0] != 0
    assert guest.ask(76, struct.pack("<I", 1) + guest.text("../x") + struct.pack("<I", 0))[0] != 0


def test_raw_messages_cannot_write_a_read_only_volume(client, folder):
    guest = client(":ro")
    assert guest.walk(1, 2, "greeting")[0] == 0
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
        assert guest.open(2, flags)[0] == 30  # EROFS
    assert guest.open(2)[0] == 0 and guest.read(2) == b"hello\n"
    assert guest.write(2, b"evil")[0] != 0
    assert guest.create(1, "new")[0] == 30
    assert guest.ask(72, struct.pack("<I", 1) + guest.text("d") + struct.pack("<II", 0o755, 0))[0] == 30
    setattr_ = struct.pack("<IIIIIQQQQQ", 2, 1 | 8, 0o777, 0, 0, 0, 0, 0, 0, 0)
    assert guest.ask(26, setattr_)[0] != 0
    assert guest.ask(76, struct.pack("<I", 1) + guest.text("greeting") + struct.pack("<I", 0))[0] == 30
    assert os.listdir(folder) == ["greeting"] and read(f"{folder}/greeting") == "hello\n"


def test_the_jail_of_a_server_holds_the_volume_and_nothing_else(client, boxlite):
    client()
    (server,) = servers(boxlite.home)
    root = f"/proc/{server.pid}/root"
    if identity.OBSERVER_IS_ROOT:
        assert sorted(os.listdir(root)) == ["boxlite-volume", "volume"]
        status = read(f"/proc/{server.pid}/status")
        for name, wanted in (("Inh", 0), ("Amb", 0), ("Eff", 0b11011), ("Prm", 0b11011)):  # CHOWN, DAC_OVERRIDE, FOWNER, FSETID
            held = int(re.search(rf"Cap{name}:\s*(\w+)", status).group(1), 16)
            assert held == (wanted if identity.PRODUCT_IS_ROOT else 0), name
        assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status
        for line in read(f"/proc/{server.pid}/mountinfo").splitlines():
            where, options = line.split()[4], line.split()[5].split(",")
            assert "nosuid" in options and (where != "/" or "ro" in options), line
            assert where != "/volume" or "nodev" in options


@pytest.mark.parametrize("message", [b"\0" * 7, struct.pack("<IBH", 3, 100, 1), struct.pack("<IBH", 0xffffffff, 118, 1), b"\xff" * 64,
                                     struct.pack("<IBH", 1 << 20, 118, 1)], ids=lambda m: m[:8].hex())
def test_what_is_no_9p_ends_the_connection_and_nothing_else(client, boxlite, message):
    guest = client()
    guest.socket.sendall(message)
    with pytest.raises((EOFError, ConnectionResetError)):
        guest.exactly(1)
    assert boxlite.ok("exec", "a", "cat", "/data/greeting") == "hello\n"


def test_a_lock_of_the_box_holds_on_the_host_and_the_other_way_round(client, folder):
    first = client()
    assert first.create(1, "locked")[0] == 0
    exclusive = struct.pack("<BIQQI", 1, 0, 0, 0, 7)
    assert first.ok(52, struct.pack("<I", 1) + exclusive + first.text("one")) == b"\0"
    with open(f"{folder}/locked", "r+b") as file:
        with pytest.raises(OSError):
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert first.ok(52, struct.pack("<IBIQQI", 1, 2, 0, 0, 0, 7) + first.text("one")) == b"\0"
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert first.ok(52, struct.pack("<I", 1) + exclusive + first.text("one")) == b"\1"
