#!/usr/bin/python3
"""The guest agent in a real VM, spoken to by an independent client (agent_testing/portal.py).

    BOXLITE_GUEST_DIR=build/guest pytest tests/integration/agent_vm_test.py

Needs the guest kernel and initramfs, qemu-system-x86_64, busybox-static, e2fsprogs, protoc and python3-protobuf. No root.
"""

import hashlib
import os
import re
import time

import pytest
from agent_testing.portal import WINDOW, epoch_header
from agent_testing.vm import Closed, Failed, Vm, build_image, pb, process

DOCKER_CAPABILITIES = "00000000a80425fb"


@pytest.fixture(scope="session")
def image(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("image") / "base.ext4")
    build_image(path)
    return path


@pytest.fixture
def new_vm(image):
    vms = []

    def make(**options):
        vms.append(Vm(image, **options))
        return vms[-1]

    yield make
    for vm in vms:
        vm.close()


@pytest.fixture(scope="module")
def vm(image):
    box = Vm(image).up()
    yield box
    box.close()


# ---- commands


def test_exit_codes_and_signals_are_told(vm):
    assert vm.run(["true"]).code == 0
    assert vm.run(["sh", "-c", "exit 42"]).code == 42
    killed = vm.run(["sh", "-c", "kill -9 $$"]).exited
    assert (killed.code, killed.signal, killed.oom_killed) == (137, 9, False)


def test_stdout_and_stderr_are_apart(vm):
    result = vm.run(["sh", "-c", "echo out; echo err >&2"])
    assert (result.out, result.err) == (b"out\n", b"err\n")


def prepare(box, **fields):
    box.portal.begin_epoch()
    reply = box.portal.call(timeout=120, prepare=pb.Prepare(disk_bytes=box.disk_bytes, **fields))
    if reply.HasField("failure"):
        raise Failed(reply.failure)


def test_a_vm_that_was_prepared_is_configured_as_any_other(new_vm):
    box = new_vm()
    prepare(box, commands=[b"sh", b"/srv/plain", b"/nowhere", b"\xff", b"../../x"])
    box.up(hostname="late")
    assert box.run(["cat", "/etc/hostname"]).out == b"late\n"
    assert box.run(["sh", "-c", "echo x >/etc/hosts && echo x >/dev/shm/x && echo well"]).out == b"well\n"


def test_a_vm_is_prepared_once_and_for_what_it_becomes(new_vm):
    box = new_vm()
    prepare(box, privileged=True)
    with pytest.raises(Failed, match="prepared already"):
        prepare(box, privileged=True)
    with pytest.raises(Failed, match="other privileges"):
        box.up(privileged=False)


def test_arguments_are_bytes(vm):
    assert vm.run([b"printf", b"%s|", b"a b", b"\xff\xfe", b""]).out == b"a b|\xff\xfe||"


def test_a_megabyte_of_arguments_gets_through(vm):
    args = [os.urandom(40_000).hex()[:60_000].encode() for _ in range(12)]
    result = vm.run([b"sh", b"-c", b'printf %s "$@" | md5sum', b"sh", *args])
    assert result.out.split()[0].decode() == hashlib.md5(b"".join(args)).hexdigest()


@pytest.mark.parametrize("args, code, message", [
    (["nope"], "command_not_found", 'exec: "nope": executable file not found in $PATH'),
    (["/srv/nope"], "command_not_found", 'exec: "/srv/nope": stat /srv/nope: no such file or directory'),
    (["/srv/lost"], "command_not_found", "exec /srv/lost: no such file or directory"),
    (["/srv/plain"], "command_not_executable", 'exec: "/srv/plain": permission denied'),
    (["/srv"], "command_not_executable", 'exec: "/srv": is a directory'),
    (["/srv/noformat"], "command_not_executable", 'exec: "/srv/noformat": exec format error'),
])
def test_a_command_that_cannot_run_is_refused_in_dockers_words(vm, args, code, message):
    with pytest.raises(Failed) as failed:
        vm.exec(args)
    assert (failed.value.code, failed.value.message) == (code, message)


def test_the_commands_own_path_is_searched(vm):
    with pytest.raises(Failed) as failed:
        vm.exec(["plain"], env=["PATH=/bin:/srv"])
    assert failed.value.code == "command_not_executable"
    assert vm.run(["ls", "-d", "/"], env=["PATH=/nowhere:/bin"]).code == 0
    with pytest.raises(Failed):
        vm.exec(["ls"], env=["PATH="])


def test_environment_has_dockers_defaults(vm):
    env = dict(line.split("=", 1) for line in vm.sh("env", env=["A=1", "A=2"]).splitlines())
    assert env["PATH"] == "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert (env["HOSTNAME"], env["HOME"], env["A"]) == ("testbox", "/root", "2")
    assert "TERM" not in env


@pytest.mark.parametrize("user, uid, gid, groups, home", [
    ("", 0, 0, {0}, "/root"),
    ("dev", 1000, 1000, {1000, 50, 999}, "/home/dev"),
    ("1000", 1000, 1000, {1000, 50, 999}, "/home/dev"),
    ("web:docker", 33, 999, {999}, "/srv/web"),
    ("4711", 4711, 0, {0}, "/"),
    ("4711:4712", 4711, 4712, {4712}, "/"),
])
def test_users_are_dockers(vm, user, uid, gid, groups, home):
    out = vm.sh('id -u; id -g; id -G; echo "$HOME"', user=user).splitlines()
    assert (int(out[0]), int(out[1]), {int(g) for g in out[2].split()}, out[3]) == (uid, gid, groups, home)


def test_an_unknown_user_is_refused(vm):
    with pytest.raises(Failed) as failed:
        vm.exec(["id"], user="ghost")
    assert failed.value.code == "invalid_argument"
    assert failed.value.message.startswith("unable to find user ghost: no matching entries in the image's /etc/passwd")


def test_the_working_directory_is_made(vm):
    assert vm.sh("pwd; stat -c %a .", cwd="/new/deep dir") == "/new/deep dir\n755\n"
    with pytest.raises(Failed):
        vm.exec(["pwd"], cwd="relative")
    with pytest.raises(Failed):
        vm.exec(["pwd"], cwd="/etc/passwd")


def test_a_working_directory_cannot_lead_out_by_a_leaked_descriptor(vm):
    for fd in range(3, 12):
        with pytest.raises(Failed):
            vm.exec(["pwd"], cwd=f"/proc/self/fd/{fd}")


# ---- streams


def test_stdin_reaches_the_command_and_ends(vm):
    view = vm.exec(["md5sum"], stdin=True)
    data = os.urandom(3_000_000)
    view.write(data)
    view.eof()
    assert view.finish().out.split()[0].decode() == hashlib.md5(data).hexdigest()


def test_without_stdin_a_command_reads_end_of_file_and_input_is_refused(vm):
    assert vm.run(["cat"]).out == b""
    view = vm.exec(["sleep", "1000"])
    view.write(b"x")
    with pytest.raises(Closed):
        view.next()
    vm.signal(view.id, 9)


def test_stdin_nobody_reads_stops_only_its_own_stream(vm):
    view = vm.exec(["sleep", "1000"], stdin=True)
    sent = 0
    while view.stream.send_window > 70_000:
        view.write(bytes(32_768))
        sent += 32_768
        vm.portal.read_some(0)
        vm.portal.parse()
        assert sent < 2_000_000, "input is taken without end"
    assert vm.run(["true"]).code == 0
    vm.signal(view.id, 9)
    assert view.finish().exited.signal == 9


def test_large_output_arrives_whole_and_in_order(vm):
    view = vm.exec(["sh", "-c", "seq 1 400000; seq 1 1000 >&2"])
    expected = {pb.Chunk.STDOUT: 0, pb.Chunk.STDERR: 0}
    while not (message := view.next()).HasField("exited"):
        assert message.chunk.offset == expected[message.chunk.stream]
        expected[message.chunk.stream] += len(message.chunk.data)
    view.stream.finish()
    assert view.result.out == b"".join(b"%d\n" % i for i in range(1, 400_001))
    assert view.result.err == b"".join(b"%d\n" % i for i in range(1, 1001))


def test_a_reader_that_does_not_read_stops_its_command_only(vm):
    view = vm.exec(["sh", "-c", "head -c 3000000 /dev/zero; echo done >/tmp/done"])
    vm.portal.until(lambda: len(view.stream.received) > WINDOW - 70_000, "a full window")
    # The command sleeps in write(2): its pipe, the ring and the window are full.
    vm.wait_for("grep -l '^head' /proc/[0-9]*/comm | while read f; do grep -q pipe ${f%comm}wchan ${f%comm}stack 2>/dev/null || "
                "grep -q '^State:.S' ${f%comm}status; done")
    assert vm.run(["test", "-e", "/tmp/done"]).code == 1
    assert view.finish().out == bytes(3_000_000)
    assert vm.run(["test", "-e", "/tmp/done"]).code == 0


def test_a_view_that_goes_leaves_the_command_running(vm):
    view = vm.exec(["sh", "-c", "seq 1 300000; echo last; echo done >/tmp/gone"])
    view.stream.reset()
    vm.wait_for("test -e /tmp/gone")
    again = vm.attach(view.id)
    result = again.finish()
    assert result.code == 0
    whole = b"".join(b"%d\n" % i for i in range(1, 300_001)) + b"last\n"
    assert len(result.out) == WINDOW and whole.endswith(result.out)


def test_attaching_again_at_an_offset_loses_and_repeats_nothing(vm):
    view = vm.exec(["sh", "-c", "for i in $(seq 1 20000); do echo line $i; done"])
    view.read_until(b"line 300\n")
    view.stream.reset()
    again = vm.attach(view.id, stdout=len(view.result.out))
    assert view.result.out + again.finish().out == b"".join(b"line %d\n" % i for i in range(1, 20_001))


def test_the_exit_of_an_ended_session_can_be_read_again(vm):
    first = vm.run(["sh", "-c", "echo kept; exit 7"])
    for _ in range(2):
        again = vm.attach(first.started.session_id).finish()
        assert (again.out, again.code) == (b"kept\n", 7)
    with pytest.raises(Failed) as failed:
        vm.attach("0123456789ab")
    assert failed.value.code == "not_found"
    with pytest.raises(Failed):
        vm.attach(first.started.session_id, stdout=6)


def test_two_views_see_the_same(vm):
    one = vm.exec(["cat"], stdin=True)
    two = vm.attach(one.id)
    one.write(b"from one\n")
    one.read_until(b"from one\n")
    two.write(b"from two\n")
    two.eof()
    assert one.finish().out == two.finish().out == b"from one\nfrom two\n"


def test_children_left_behind_do_not_hold_the_session(vm):
    began = time.monotonic()
    assert vm.run(["sh", "-c", "sleep 1000 & echo hi"]).out == b"hi\n"
    assert time.monotonic() - began < 60
    vm.sh("killall sleep; true")


# ---- terminals


def test_a_terminal_is_one(vm):
    result = vm.run(["sh", "-c", "tty; stty size; echo $TERM; echo err >&2; test -t 0 && test -t 1 && test -t 2 && echo yes; ps -o tty,pid"],
                    tty=(33, 99))
    lines = result.out.decode().replace("\r", "").splitlines()
    assert lines[0].startswith("/dev/pts/") and lines[1:5] == ["33 99", "xterm", "err", "yes"]
    assert result.err == b""


def test_a_terminal_belongs_to_the_user(vm):
    assert "1000" in vm.run(["sh", "-c", "stat -c %u $(tty); : >/dev/tty && echo opened"], tty=(24, 80), user="dev").out.decode()


def test_control_c_and_resize_reach_the_foreground(vm):
    # No interactive shell: busybox's line editor takes SIGWINCH for itself while it waits for a line.
    view = vm.exec(["sh", "-c", "trap 'stty size' WINCH; trap 'echo interrupted; exit 5' INT; echo ready; while :; do sleep 0.1; done"],
                   tty=(24, 80), stdin=True)
    view.read_until(b"ready")
    vm.portal.call(resize=pb.Resize(session_id=view.id, rows=50, cols=132))
    view.read_until(b"50 132")
    view.write(b"\x03")
    result = view.finish()
    assert result.code == 5 and b"interrupted" in result.out


def test_end_of_input_on_a_terminal_is_its_eof_character(vm):
    for text in (b"whole line\n", b"no newline"):
        view = vm.exec(["cat"], tty=(24, 80), stdin=True)
        view.write(text)
        view.eof()
        assert view.finish().code == 0


def test_resize_needs_a_terminal(vm):
    view = vm.exec(["cat"], stdin=True)
    assert vm.portal.call(resize=pb.Resize(session_id=view.id, rows=1, cols=1)).failure.code == "invalid_state"
    view.eof()
    view.finish()


# ---- signals


def test_a_signal_reaches_the_process(vm):
    view = vm.exec(["sleep", "1000"])
    assert vm.signal(view.id, 15).HasField("ok")
    assert view.finish().code == 143
    assert vm.signal(view.id, 15).failure.code == "invalid_state"
    assert vm.signal("main", 99).failure.code == "invalid_argument"


def test_a_signal_to_the_group_reaches_children(vm):
    view = vm.exec(["sh", "-c", "sleep 2001 & sleep 2002 & echo started; wait"])
    view.read_until(b"started")
    vm.signal(view.id, 9, group=True)
    assert view.finish().code == 137
    vm.wait_for("! ps | grep -v grep | grep -q 'sleep 200'")


# ---- the container


def test_capabilities_are_dockers(vm):
    def caps(**options):
        return dict(re.findall(r"^(Cap\w+|NoNewPrivs):\s*(\w+)", vm.sh("cat /proc/self/status", **options), re.M))

    root = caps()
    assert root["CapEff"] == root["CapPrm"] == root["CapBnd"] == DOCKER_CAPABILITIES
    assert int(root["CapInh"], 16) == int(root["CapAmb"], 16) == 0 and root["NoNewPrivs"] == "0"
    dev = caps(user="dev")
    assert int(dev["CapEff"], 16) == 0 and dev["CapBnd"] == DOCKER_CAPABILITIES
    assert re.search(rf"CapEff:\s*{DOCKER_CAPABILITIES}", vm.sh("cat /proc/1/status"))


def test_namespaces_are_one_container(vm):
    def namespaces(who):
        return vm.sh(f"cd /proc/{who}/ns; for n in pid mnt uts ipc cgroup net; do readlink $n; done").split()

    assert len(namespaces("self")) == 6 and namespaces("self") == namespaces("1")
    assert re.fullmatch(r"0::/init/[0-9a-f]{12}\n0::/init\n", vm.sh("cat /proc/self/cgroup /proc/1/cgroup"))
    assert vm.sh("hostname; cat /etc/hostname") == "testbox\ntestbox\n"
    assert "trap" in vm.sh("cat /proc/1/cmdline")
    assert "boxlite" not in vm.sh("cat /proc/[0-9]*/cmdline | tr '\\0' ' '").replace("boxlite.portal", "")
    assert vm.run(["true"]).started.pid > 1


def test_no_descriptor_leaks_into_commands(vm):
    assert vm.sh("ls /proc/self/fd").split() == ["0", "1", "2", "3"]  # 3: ls reads the directory
    assert vm.sh("ls /proc/1/fd").split() == ["0", "1", "2"]
    assert vm.sh("ulimit -n; umask") == "1048576\n0022\n"
    assert re.search(r"SigBlk:\s*0+\nSigIgn:\s*0+\n", vm.run(["cat", "/proc/self/status"]).out.decode())


def test_standard_mounts(vm):
    mounts = {line.split()[1]: line.split() for line in vm.sh("cat /proc/mounts").splitlines()}
    for path, kind, options in [("/proc", "proc", "rw,nosuid,nodev,noexec"), ("/dev", "tmpfs", "rw,nosuid"),
                                ("/dev/pts", "devpts", "rw,nosuid,noexec"), ("/dev/shm", "tmpfs", "rw,nosuid,nodev,noexec"),
                                ("/dev/mqueue", "mqueue", "rw,nosuid,nodev,noexec"), ("/sys", "sysfs", "ro,nosuid,nodev,noexec"),
                                ("/sys/fs/cgroup", "cgroup2", "ro,nosuid,nodev,noexec"), ("/proc/sys", "proc", "ro")]:
        assert mounts[path][2] == kind and mounts[path][3].startswith(options), mounts[path]
    assert "size=65536k" in mounts["/dev/shm"][3] and "gid=5,mode=620,ptmxmode=666" in mounts["/dev/pts"][3]
    assert vm.sh("stat -c %a /dev/shm") == "1777\n"
    assert {"/proc/keys", "/proc/timer_list"} <= set(mounts)
    assert vm.sh("cat /proc/keys /proc/timer_list | wc -c; ls /sys/firmware | wc -l") == "0\n0\n"
    assert vm.run(["sh", "-c", "echo 1 >/proc/sys/vm/overcommit_memory"]).code == 1
    assert vm.run(["sh", "-c", "mkdir /sys/fs/cgroup/x"]).code == 1
    assert vm.sh("echo x >/dev/null; head -c 3 /dev/zero | wc -c; ls -l /dev/ptmx | sed 's/.* //'") == "3\npts/ptmx\n"
    assert not {"/container", "/run"} & set(mounts)


def test_the_files_of_etc_are_mounted_over_whatever_the_image_has(vm):
    assert "10.1.2.3 db" in vm.sh("cat /etc/hosts") and "127.0.1.1\ttestbox" in vm.sh("cat /etc/real-hosts")
    assert vm.sh("cat /etc/resolv.conf") == vm.sh("cat /run/systemd/resolve/stub-resolv.conf") == "nameserver 10.0.2.3\n"
    vm.sh("echo 10.0.0.1 more >>/etc/hosts")


def test_devices_are_restricted(vm):
    assert vm.run(["sh", "-c", "mknod /tmp/disk b 254 0 && cat /tmp/disk >/dev/null"]).code == 1
    assert b"not permitted" in vm.run(["sh", "-c", "mknod /tmp/kmsg c 1 11; cat /tmp/kmsg"]).err
    assert vm.run(["sh", "-c", "mknod /tmp/null c 1 3 && echo x >/tmp/null"]).code == 0
    vm.sh("rm -f /tmp/disk /tmp/kmsg /tmp/null")


def test_any_user_may_bind_low_ports_and_loopback_works(vm):
    view = vm.exec(["sh", "-c", "echo hello | nc -l -p 80"], user="dev")
    vm.wait_for("echo x | nc 127.0.0.1 80 | grep -q hello || grep -q ':0050 .* 01 ' /proc/net/tcp")
    vm.signal(view.id, 9, group=True)
    view.finish()


def test_the_clock_is_the_hosts(vm):
    assert abs(int(vm.sh("date +%s")) - time.time()) < 30
    assert vm.portal.call(set_clock=pb.SetClock(host_time_ns=2_000_000_000 * 10**9)).HasField("ok")
    assert vm.sh("date +%Y") == "2033\n"
    vm.portal.call(set_clock=pb.SetClock(host_time_ns=time.time_ns()))


def test_orphans_are_reaped_by_the_container_and_sessions_by_the_agent(vm):
    for _ in range(5):
        vm.run(["sh", "-c", "(sleep 0.01 &) ; true"])
    vm.wait_for("! ps -o stat,comm | grep -v sh | grep -q '^Z.*true'")


# ---- the link


def test_many_commands_at_once(vm):
    views = [vm.exec(["sh", "-c", f"echo {i}; exit {i}"]) for i in range(30)]
    for i, view in enumerate(views):
        result = view.finish()
        assert (result.out, result.code) == (b"%d\n" % i, i)


def test_a_new_epoch_keeps_the_sessions(vm):
    view = vm.exec(["sh", "-c", "echo before; cat; echo after"], stdin=True)
    view.read_until(b"before\n")
    vm.portal.begin_epoch()
    again = vm.attach(view.id, stdout=7)
    again.write(b"middle\n")
    again.eof()
    assert again.finish().out == b"middle\nafter\n"


def test_an_epoch_header_in_a_payload_is_payload(vm):
    data = epoch_header(os.urandom(16)) * 100
    view = vm.exec(["md5sum"], stdin=True)
    view.write(data)
    view.eof()
    assert view.finish().out.split()[0].decode() == hashlib.md5(data).hexdigest()


def test_garbage_on_a_stream_ends_the_stream(vm):
    for garbage in (b"\xff\xff\xff\xff", b"\0\0\0\4\xff\xff\xff\xff"):
        stream = vm.portal.open()
        stream.send_bytes(garbage)
        with pytest.raises(Closed):
            stream.receive(pb.Reply)
    stream = vm.portal.open()
    stream.send_bytes(b"\0\0\0\0")  # an empty message: a call this agent does not know
    assert stream.receive(pb.Reply).failure.code == "unsupported"
    assert vm.portal.call(ping=pb.Ping()).HasField("ok")


def test_garbage_frames_end_the_epoch_and_the_next_one_works(vm):
    vm.portal.write(b"\0\x77" + os.urandom(5000))
    vm.portal.begin_epoch()
    assert vm.run(["true"]).code == 0


def test_calls_out_of_order_are_refused(vm):
    assert vm.portal.call(start_main=pb.StartMain()).failure.code == "invalid_state"
    assert vm.portal.call(configure=pb.Configure(hostname="x", main=process(["true"]))).failure.code == "invalid_state"


# ---- the end


def test_the_end_of_main_is_told_and_powers_off_with_a_clean_disk(new_vm):
    box = new_vm().up(process(["sh", "-c", "read line; echo $line >/written; echo bye; exit 3"], stdin=True))
    main = box.attach("main")
    other = box.exec(["sleep", "1000"])
    main.write(b"precious\n")
    result = main.finish()
    assert (result.out, result.code) == (b"bye\n", 3)
    assert other.finish().exited.signal == 9
    box.wait_off()
    box.check_disk()
    assert box.read_file("/written") == b"precious\n"


def test_the_vm_waits_for_a_slow_reader_of_the_last_output(new_vm):
    box = new_vm().up(process(["sh", "-c", "read line; head -c 700000 /dev/zero; echo end"], stdin=True))
    main = box.attach("main")
    main.write(b"\n")
    box.portal.until(lambda: len(main.stream.received) > WINDOW - 70_000, "a full window")
    time.sleep(0.5)  # not waiting for anything: the reader is slow
    assert main.finish().out == bytes(700_000) + b"end\n"
    box.wait_off()


def test_without_a_reader_the_end_of_main_powers_off_at_once(new_vm):
    box = new_vm().up(process(["true"]))
    box.wait_off()
    box.check_disk()


def test_a_main_command_that_is_not_there_is_refused(new_vm):
    box = new_vm()
    with pytest.raises(Failed) as failed:
        box.up(process(["nope"]))
    assert failed.value.code == "command_not_found"
    box.wait_off()
    box.check_disk()


def test_shutdown_kills_syncs_and_powers_off(new_vm):
    box = new_vm(disk_mib=512).up(process(["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]))
    assert int(box.sh("df -m / | tail -1 | awk '{print $2}'")) > 400, "the file system was not grown"
    writer = box.exec(["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i >/data$((i%50)); done"])
    box.sh("head -c 30000000 /dev/zero >/big; echo precious >/written")
    box.shutdown()
    assert writer.result.exited is None
    box.check_disk()
    assert box.read_file("/written") == b"precious\n"


def test_shutdown_before_main_was_started(new_vm):
    box = new_vm()
    box.portal.begin_epoch()
    box.configure(process(["true"]))
    box.shutdown()
    box.check_disk()


def test_shutdown_of_a_fresh_vm(new_vm):
    box = new_vm()
    box.portal.begin_epoch()
    box.shutdown()


def test_main_may_have_a_terminal_and_its_console(new_vm):
    box = new_vm().up(process(["sh"], tty=(20, 70), stdin=True))
    main = box.attach("main")
    main.write(b"tty; stty size; echo to console >/dev/console; exit 9\n")
    result = main.finish()
    assert result.code == 9
    assert b"/dev/pts/0" in result.out and b"20 70" in result.out and b"to console" in result.out.replace(b"echo to console", b"")
    box.wait_off()


def test_a_privileged_container_has_everything(new_vm):
    box = new_vm().up(privileged=True)
    status = box.sh("cat /proc/self/status")
    assert re.search(r"CapEff:\s*000001ffffffffff", status) and re.search(r"CapBnd:\s*000001ffffffffff", status)
    assert "vda" in box.sh("ls /dev") and "vport" not in box.sh("ls /dev")
    box.sh("mkdir /sys/fs/cgroup/inner && echo 1 >/proc/sys/vm/overcommit_memory && head -c 512 /dev/vda >/dev/null")
    assert {"cpu", "memory", "pids"} <= set(box.sh("cat /sys/fs/cgroup/cgroup.subtree_control").split())
    box.sh("mkdir -p /mnt && mount -t tmpfs none /mnt")
    mounts = box.sh("cat /proc/mounts")
    assert " /run tmpfs" in mounts and " /tmp tmpfs" in mounts
    box.shutdown()
    box.check_disk()


def test_running_out_of_memory_is_told(new_vm):
    box = new_vm(memory=192).up()
    exited = box.run(["sh", "-c", "exec tail /dev/zero"], timeout=180).exited
    assert (exited.signal, exited.oom_killed) == (9, True)
    assert box.run(["true"]).code == 0


def test_a_vm_whose_host_has_left_does_not_burn_cpu(new_vm):
    box = new_vm().up()
    box.portal.sock.close()

    def cpu_seconds():
        with open(f"/proc/{box.qemu.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    deadline = time.monotonic() + 60
    while True:  # after some settling, a second with nearly no CPU
        before = cpu_seconds()
        time.sleep(1)
        if cpu_seconds() - before < 0.2:
            return
        assert time.monotonic() < deadline, "the VM is never idle"


@pytest.mark.parametrize("fields, word", [
    ({"hostname": "bad name"}, "host name"),
    ({"entropy": b"short"}, "entropy"),
])
def test_a_configuration_that_cannot_be_right_is_refused(new_vm, fields, word):
    box = new_vm()
    box.portal.begin_epoch()
    with pytest.raises(Failed) as failed:
        box.configure(process(["true"]), **fields)
    assert failed.value.code == "invalid_argument" and word in failed.value.message
