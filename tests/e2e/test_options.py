"""The options of `run` and `create`: seen in the box with docker's meaning, stored, kept over stop and start, shown by inspect."""

import json
import os
import signal

import pytest
from boxlite_testing import identity, oci
from boxlite_testing.fixtures import used as boxlite  # noqa: F401
from boxlite_testing.terminal import Terminal
from boxlite_testing.waiting import wait_until

pytestmark = identity.by_user


@pytest.fixture(scope="module")
def labelled(images):
    return "oci:" + oci.write_demo(f"{images}/labelled", StopSignal="SIGUSR1", Labels={"purpose": "test", "from": "image"})


FLAGS = ["-h", "web.example", "--add-host", "db:10.0.0.7", "--add-host", "six:[fd00::7]", "--dns", "192.0.2.1", "--dns", "fd00::1",
         "--dns-search", "corp.example", "--dns-option", "ndots:3", "-l", "team=red", "--label", "from=flag", "--label", "bare",
         "--ulimit", "nofile=100:200", "--ulimit", "core=0", "--shm-size", "8m", "--tmpfs", "/scratch", "--tmpfs",
         "/var/lib/deep/er:size=4m,mode=0750,uid=1000,gid=50,exec", "--tmpfs", "/frozen:ro", "--read-only", "-w", "/made/by/workdir",
         "--cap-add", "NET_ADMIN", "--cap-add", "cap_sys_time", "--cap-drop", "CAP_CHOWN", "--cap-drop", "mknod",
         "--stop-signal", "SIGUSR2", "--stop-timeout", "77"]

# Reports what it sees, so that one start of a box answers many questions.
SEEN = r"""
show() { echo "== $1"; shift; "$@" 2>&1; }
show hostname hostname
show HOSTNAME sh -c 'echo $HOSTNAME'
show etc-hostname cat /etc/hostname
show hosts cat /etc/hosts
show resolv cat /etc/resolv.conf
show nofile sh -c 'ulimit -Sn; ulimit -Hn'
show core sh -c 'ulimit -c'
show shm sh -c "df -k /dev/shm | tail -n 1 | awk '{print \$2}'"
show mounts cat /proc/mounts
show deep stat -c '%a %u %g' /var/lib/deep/er
show scratch stat -c '%a %u %g' /scratch
show root-write touch /file
show etc-write touch /etc/file
show scratch-write touch /scratch/file
show shm-write touch /dev/shm/file
show hosts-write sh -c 'echo "10.9.9.9 mine" >> /etc/hosts'
show null-write sh -c 'echo x > /dev/null && echo fine'
show frozen-write touch /frozen/file
show run-deep sh -c 'cp /bin/busybox /var/lib/deep/er/sh; /var/lib/deep/er/sh -c "echo ran"'
show run-scratch sh -c 'cp /bin/busybox /scratch/sh; /scratch/sh -c "echo ran"'
show where pwd
show caps grep Cap /proc/self/status
show remount mount -o remount,rw /
echo "== end"
"""


def sections(text):
    return {part.split("\n", 1)[0]: part.split("\n", 1)[1].strip() for part in text.split("== ")[1:]}


DOCKER = 0xa80425fb


def assert_seen(seen):
    assert (seen["hostname"], seen["HOSTNAME"], seen["etc-hostname"]) == ("web.example",) * 3
    assert "192.168.127.2\tweb.example web\n" in seen["hosts"] + "\n"
    assert "10.0.0.7\tdb" in seen["hosts"] and "fd00::7\tsix" in seen["hosts"] and "localhost" in seen["hosts"]
    assert seen["resolv"].splitlines() == ["nameserver 192.0.2.1", "nameserver fd00::1", "search corp.example", "options ndots:3"]
    assert seen["nofile"].split() == ["100", "200"] and seen["core"] == "0"
    assert seen["shm"] == "8192"
    mounts = {line.split()[1]: line.split()[2:4] for line in seen["mounts"].splitlines()}
    assert {"noexec", "nosuid", "nodev", "rw"} <= set(mounts["/scratch"][1].split(",")) and mounts["/scratch"][0] == "tmpfs"
    assert "noexec" not in mounts["/var/lib/deep/er"][1] and "size=4096k" in mounts["/var/lib/deep/er"][1]
    assert "ro" in mounts["/frozen"][1].split(",") and "ro" in mounts["/"][1].split(",")
    assert (seen["scratch"], seen["deep"]) == ("1777 0 0", "750 1000 50")
    for refused in ("root-write", "etc-write", "frozen-write"):
        assert "Read-only file system" in seen[refused], refused
    assert seen["scratch-write"] == seen["shm-write"] == seen["hosts-write"] == "" and seen["null-write"] == "fine"
    assert seen["run-deep"] == "ran" and "ermission denied" in seen["run-scratch"]
    assert seen["where"] == "/made/by/workdir"
    caps = {line.split()[0]: int(line.split()[1], 16) for line in seen["caps"].splitlines()}
    wanted = (DOCKER | 1 << 12 | 1 << 25) & ~1 & ~(1 << 27)
    assert caps["CapEff:"] == caps["CapPrm:"] == caps["CapBnd:"] == wanted, {k: hex(v) for k, v in caps.items()}
    assert seen["remount"] != ""


def test_every_option_is_seen_in_the_box_kept_over_a_restart_and_shown(boxlite, labelled):
    boxlite.ok("run", "-d", "--name", "a", *FLAGS, labelled, "sh", "-c",
               "trap 'echo asked; exit 9' USR2; echo ready; while :; do sleep 0.1; done")
    assert_seen(sections(boxlite.ok("exec", "a", "sh", "-c", SEEN)))
    assert boxlite.ok("exec", "-u", "1000", "a", "sh", "-c", "grep CapEff /proc/self/status; ulimit -Hn").split()[1:] == [
        "0000000000000000", "200"], "an exec has the limits, and another user no capabilities"
    wait_until(lambda: "ready" in boxlite.ok("logs", "a"), "the trap is set")
    boxlite.ok("stop", "a")  # waits 77 s at most, and the trap ends it at once
    assert boxlite.inspect("a")["exit_code"] == 9, "the stop signal is the option's, not the image's"
    boxlite.ok("start", "a")
    assert_seen(sections(boxlite.ok("exec", "a", "sh", "-c", SEEN)))

    shown = boxlite.inspect("a")
    assert shown["labels"] == {"team": "red", "from": "flag", "bare": "", "purpose": "test"}
    wanted = {
        "hostname": "web.example", "add_hosts": ["db:10.0.0.7", "six:[fd00::7]"], "dns": ["192.0.2.1", "fd00::1"],
        "dns_search": ["corp.example"], "dns_options": ["ndots:3"], "labels": {"team": "red", "from": "flag", "bare": ""},
        "ulimits": ["nofile=100:200", "core=0"], "shm_bytes": 8 << 20, "read_only": True, "init": False,
        "tmpfs": {"/scratch": "", "/var/lib/deep/er": "size=4m,mode=0750,uid=1000,gid=50,exec", "/frozen": "ro"},
        "cap_add": ["NET_ADMIN", "cap_sys_time"], "cap_drop": ["CAP_CHOWN", "mknod"], "stop_signal": "SIGUSR2", "stop_seconds": 77}
    assert {key: shown["options"][key] for key in wanted} == wanted


def test_without_the_options_a_box_is_as_dockers(boxlite, demo):
    box = boxlite.ok("run", "-d", demo, "sleep", "infinity").strip()
    seen = sections(boxlite.ok("exec", box, "sh", "-c", SEEN))
    assert seen["hostname"] == box and seen["hosts"].endswith(f"192.168.127.2\t{box}")
    assert seen["resolv"].startswith("nameserver 192.168.127.1") and seen["shm"] == "65536" and seen["nofile"].split() == ["1048576", "1048576"]
    assert seen["root-write"] == seen["etc-write"] == ""
    assert {int(line.split()[1], 16) for line in seen["caps"].splitlines() if "CapEff" in line} == {DOCKER}
    options = boxlite.inspect(box)["options"]
    assert options["stop_signal"] == options["hostname"] == "" and options["stop_seconds"] is None and options["tmpfs"] == {}


@pytest.mark.parametrize("flags, wanted", [
    (["--cap-drop", "ALL"], 0), (["--cap-drop", "all", "--cap-add", "CHOWN"], 1), (["--cap-add", "ALL", "--cap-drop", "CHOWN"], 0x1fffffffffe),
    (["--privileged", "--cap-drop", "CHOWN"], 0x1fffffffffe)], ids=str)
def test_all_capabilities_can_be_added_and_dropped(home, demo, flags, wanted):
    seen = home.ok("run", "--rm", *flags, demo, "sh", "-c", "grep -E 'CapEff|CapBnd' /proc/self/status").split()
    assert int(seen[1], 16) == int(seen[3], 16) == wanted, seen


# --- the init

INIT_SCRIPT = """
trap 'echo got TERM; exit 7' TERM
(sh -c 'sleep 0.2; echo orphan done' &)
echo ready
while :; do sleep 0.05; done
"""


def test_with_an_init_the_command_is_its_child_signals_reach_it_and_orphans_are_reaped(boxlite, demo):
    boxlite.ok("run", "-d", "--init", "--name", "a", demo, "sh", "-c", INIT_SCRIPT)
    boxlite.ok("exec", "a", "sh", "-c", "(sleep 0.1 &); true")
    wait_until(lambda: "orphan done" in boxlite.ok("logs", "a"), "the orphan has run")
    listed = "for p in /proc/[0-9]*; do awk '{print $1, $2, $3, $4}' $p/stat 2>/dev/null; done"

    def processes():
        return {line.split()[0]: line.split()[1:] for line in boxlite.ok("exec", "a", "sh", "-c", listed).splitlines()}

    first = processes()
    assert first["1"][0] == "(boxlite-init)" and first["2"] == ["(sh)", first["2"][1], "1"], first
    wait_until(lambda: not any(state == "Z" for _, state, _ in processes().values()), "no zombie is left")
    # Nothing of the agent can be looked into or written, and the init has no more rights than the command.
    script = """
    grep -E 'CapEff|CapPrm|CapBnd' /proc/1/status
    for f in mem environ maps exe fd/0 root/bin/sh; do head -c 1 /proc/1/$f >/dev/null 2>&1 && echo "readable $f"; done
    kill -9 1; sleep 0.1; kill -0 1 && echo alive"""
    seen = boxlite.ok("exec", "a", "sh", "-c", script).split()
    assert [int(seen[i], 16) for i in (1, 3, 5)] == [DOCKER] * 3 and seen[6:] == ["alive"], seen
    boxlite.ok("kill", "-s", "TERM", "a")
    assert boxlite.ok("wait", "a") == "7\n"
    assert "got TERM" in boxlite.ok("logs", "a")


@pytest.mark.parametrize("command, code", [(["sh", "-c", "exit 33"], 33), (["sh", "-c", "kill -9 $$"], 137), (["no-such-command"], 127),
                                           (["/etc"], 126)])
def test_an_init_ends_as_its_command_ends(home, demo, command, code):
    finished = home("run", "--rm", "--init", demo, *command)
    assert finished.code == code, str(finished)
    home.assert_nothing_left()


def test_an_init_passes_input_output_and_users_through(home, demo):
    assert home.ok("run", "--rm", "-i", "--init", "-u", "app", demo, "sh", "-c", "cat; id -un; awk '/Uid/{print $2}' /proc/1/status",
                   input=b"in\n").split() == ["in", "app", "1000"]


def test_a_signal_to_a_foreground_run_reaches_the_command_below_its_init(home, demo):
    child = home.spawn("run", "--rm", "--init", demo, "sh", "-c", "trap 'echo got it; exit 6' INT; echo ready; while :; do sleep 0.1; done")
    assert child.stdout.readline() == b"ready\n"
    child.send_signal(signal.SIGINT)
    stdout, _ = child.communicate(timeout=60)
    assert (stdout, child.returncode) == (b"got it\n", 6)


def test_a_terminal_below_an_init_has_job_control_and_ctrl_c_reaches_the_command_once(home, demo):
    script = "trap 'echo cau''ght; sleep 0.3; exit 3' INT; echo rea''dy; while :; do sleep 0.05; done"
    with Terminal(home, "run", "--rm", "-it", "--init", demo, "sh", "-c", script) as terminal:
        terminal.read_until("ready")
        terminal.send("\x03")
        terminal.read_until("caught")
        assert terminal.wait() == 3


# --- refusals

IMAGE = "oci:/nonexistent/never-looked-at"


@pytest.mark.parametrize("flag, value", [
    ("--hostname", "a b"), ("-h", "x" * 64), ("--hostname", "-x"), ("--add-host", "db"), ("--add-host", "db:not-an-address"),
    ("--add-host", "db:gateway"), ("--dns", "one.one"), ("--dns-search", "a b"), ("--dns-option", "a b"), ("--label", "=x"),
    ("--ulimit", "nofile"), ("--ulimit", "nofile=2:1"), ("--ulimit", "files=1"), ("--ulimit", "nofile=2000000"), ("--shm-size", "0"),
    ("--shm-size", "big"), ("--tmpfs", "relative"), ("--tmpfs", "/"), ("--tmpfs", "/proc"), ("--tmpfs", "/a/../b"),
    ("--tmpfs", "/run:size=x"), ("--tmpfs", "/run:bind"), ("--cap-add", "ROOT"), ("--cap-drop", "CAP_"), ("--stop-signal", "NOPE"),
    ("--stop-signal", "65"), ("--stop-timeout", "soon"), ("--stop-timeout", "-1"), ("--hostname", ""), ("--stop-signal", "")], ids=str)
def test_a_bad_value_is_refused_by_flag_and_value_before_anything_is_made(fresh, flag, value):
    for verb in ("run", "create"):
        message = fresh.refused(verb, flag, value, IMAGE)
        name = {"-h": "--hostname"}.get(flag, flag)
        assert f"{name} " in message and (value.split(":")[0] or '""') in message, message
        assert not os.path.exists(fresh.home)
# --- cidfile

def test_the_id_is_written_to_the_cidfile_and_one_that_is_there_is_refused(boxlite, demo):
    path = os.path.join(boxlite.directory, "cid")
    box = boxlite.ok("create", "--cidfile", path, demo, "true").strip()
    with open(path) as file:
        assert file.read() == box
    boxlite.refused("create", "--cidfile", path, demo, "true", mentions=[path, "exists"])
    assert len(boxlite.list()) == 1
    os.unlink(path)
    boxlite.refused("create", "--cidfile", path, IMAGE, mentions="never-looked-at")
    assert not os.path.exists(path), "a creation that failed leaves no file"
    boxlite.refused("create", "--cidfile", "/no/such/dir/cid", demo, mentions="/no/such/dir/cid")


# --- ls --filter

def test_ls_filters_by_label_name_id_and_status(boxlite, labelled):
    ids = {name: boxlite.ok("create", "--name", name, *flags, labelled, "true").strip() for name, flags in (
        ("web-1", ["-l", "team=red", "-l", "tier=front"]), ("web-2", ["-l", "team=blue"]), ("db", ["-l", "team=red", "-l", "bare"]))}
    boxlite.ok("start", "db")
    boxlite.ok("wait", "db")

    def names(*filters):
        return {box["name"] for box in json.loads(boxlite.ok("ls", "-a", "--format", "json", *(x for f in filters for x in ("--filter", f))))}

    assert names("label=team=red") == {"web-1", "db"}
    assert names("label=team=red", "label=tier") == {"web-1"}, "labels are all wanted"
    assert names("label=purpose=test") == {"web-1", "web-2", "db"} and names("label=bare=") == {"db"}, "the image's labels count"
    assert names("label=team=green") == names("label=absent") == set()
    assert names("name=web") == {"web-1", "web-2"} and names("name=web-1", "name=db") == {"web-1", "db"}
    assert names(f"id={ids['db'][:6]}") == {"db"} or ids["db"][:6] in (ids["web-1"][:6], ids["web-2"][:6])
    assert names("status=created", "label=team=red") == {"web-1"} and names("status=exited") == names("status=stopped") == {"db"}
    assert boxlite.ok("ls", "-q") == "" and boxlite.ok("ls", "-q", "-f", "status=exited").strip() == ids["db"]
    for bad in ("color=red", "label", "label=", "status=gone", "", "name="):
        boxlite.refused("ls", "--filter", bad, mentions=["--filter", bad or '""'])
