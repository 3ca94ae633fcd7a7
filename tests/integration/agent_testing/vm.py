"""A VM with the agent in it, and what a host does with it."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time

from .portal import ROOT, Closed, Portal, pb

GUEST_DIR = os.environ.get("BOXLITE_GUEST_DIR", os.path.join(ROOT, "build", "guest"))
KERNEL = os.path.join(GUEST_DIR, "vmlinux")
INITRAMFS = os.path.join(GUEST_DIR, "initramfs.cpio")

PASSWD = """root:x:0:0:root:/root:/bin/sh
web:x:33:34:Web:/srv/web:/bin/sh
dev:x:1000:1000::/home/dev:/bin/sh
"""
GROUP = "root:x:0:\nwww:x:34:\ndev:x:1000:\nstaff:x:50:dev,web\ndocker:x:999:dev\n"


def host_khz():
    with open("/proc/cpuinfo", encoding="ascii") as info:
        return int(float(re.search(r"cpu MHz\s*:\s*([\d.]+)", info.read()).group(1)) * 1000)


def build_image(path):
    """A small ext4 with busybox, users, and links where the agent mounts its files."""
    with tempfile.TemporaryDirectory() as root:
        for name in ("bin", "etc", "root", "home/dev", "srv", "tmp", "run", "proc"):
            os.makedirs(os.path.join(root, name))
        shutil.copy("/bin/busybox", f"{root}/bin/busybox")
        for applet in subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout.split():
            if applet != "busybox":
                os.symlink("busybox", f"{root}/bin/{applet}")
        os.chmod(f"{root}/tmp", 0o1777)
        for name, text in {"etc/passwd": PASSWD, "etc/group": GROUP, "etc/real-hosts": "the image's own\n",
                           "srv/plain": "not a program\n", "srv/lost": "#!/no/such/interpreter\n", "srv/noformat": "just text\n"}.items():
            with open(f"{root}/{name}", "w", encoding="ascii") as file:
                file.write(text)
        os.chmod(f"{root}/srv/lost", 0o755)
        os.chmod(f"{root}/srv/noformat", 0o755)
        os.symlink("/etc/real-hosts", f"{root}/etc/hosts")
        os.symlink("../../../../run/systemd/resolve/stub-resolv.conf", f"{root}/etc/resolv.conf")
        with open(path, "wb") as file:
            file.truncate(64 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "root_owner=0:0", "-d", root, path], check=True)


class Result:
    def __init__(self, started):
        self.started = started
        self.out, self.err, self.exited = b"", b"", None

    def add(self, message):
        if message.HasField("exited"):
            self.exited = message.exited
        elif message.chunk.stream == pb.Chunk.STDOUT:
            self.out += message.chunk.data
        else:
            self.err += message.chunk.data

    @property
    def code(self):
        return self.exited.code


class Failed(Exception):
    def __init__(self, failure):
        self.code, self.message = failure.code, failure.message.decode()
        super().__init__(f"{self.code}: {self.message}")


def process(args, env=(), user="", cwd="", tty=None, stdin=False):
    rows, cols = tty or (0, 0)
    return pb.Process(args=[a.encode() if isinstance(a, str) else a for a in args], env=[e.encode() for e in env], user=user.encode(),
                      working_dir=cwd.encode(), tty=tty is not None, rows=rows, cols=cols, open_stdin=stdin)


class View:
    """A stream that is a view of a session."""

    def __init__(self, stream, call):
        self.stream = stream
        stream.send(call)
        reply = stream.receive(pb.Reply)
        if reply.HasField("failure"):
            stream.finish()
            raise Failed(reply.failure)
        self.result = Result(reply.started)
        self.id = reply.started.session_id

    def write(self, data):
        for at in range(0, len(data), 65536):
            self.stream.send(pb.SessionInput(data=data[at : at + 65536]))

    def eof(self):
        self.stream.send(pb.SessionInput(eof=pb.Eof()))

    def next(self, timeout=60):
        message = self.stream.receive(pb.SessionOutput, timeout)
        self.result.add(message)
        return message

    def read_until(self, text, timeout=60):
        deadline = time.monotonic() + timeout
        while text not in self.result.out:
            self.next(max(0.1, deadline - time.monotonic()))
        return self.result.out

    def finish(self, timeout=60):
        while self.result.exited is None:
            self.next(timeout)
        self.stream.finish()
        return self.result


class Vm:
    def __init__(self, image, disk_mib=None, memory=256):
        self.dir = tempfile.mkdtemp(prefix="agent-vm-")
        self.disk = f"{self.dir}/disk.qcow2"
        self.disk_bytes = (disk_mib or 64) << 20
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", "raw", self.disk, str(self.disk_bytes)],
                       check=True)
        ours, theirs = socket.socketpair()
        khz = host_khz()
        self.began = time.monotonic()
        self.qemu = subprocess.Popen(
            ["qemu-system-x86_64", "-accel", "tcg", "-M", "microvm,rtc=on", "-cpu", "max", "-m", str(memory),
             "-kernel", KERNEL, "-initrd", INITRAMFS, "-append",
             f"console=ttyS0 quiet loglevel=3 reboot=t panic=-1 tsc_early_khz={khz} tsc=reliable lpj={khz * 4}",
             "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", f"file:{self.dir}/console",
             "-drive", f"if=none,id=d0,file={self.disk},format=qcow2", "-device", "virtio-blk-device,drive=d0",
             "-device", "virtio-serial-device", "-chardev", f"socket,id=p,fd={theirs.fileno()}",
             "-device", "virtserialport,chardev=p,name=boxlite.portal"],
            pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        self.portal = Portal(ours)

    # ---- life

    def configure(self, main, hostname="testbox", entropy=None, **fields):
        reply = self.portal.call(timeout=120, configure=pb.Configure(
            hostname=hostname, main=main, host_time_ns=time.time_ns(), entropy=os.urandom(64) if entropy is None else entropy,
            disk_bytes=self.disk_bytes, resolv_conf=["nameserver 10.0.2.3"], extra_hosts=["10.1.2.3 db"], **fields))
        if reply.HasField("failure"):
            raise Failed(reply.failure)

    def start_main(self):
        reply = self.portal.call(start_main=pb.StartMain())
        if reply.HasField("failure"):
            raise Failed(reply.failure)
        return reply.started

    def up(self, main=None, **fields):
        self.portal.begin_epoch()
        self.hello_s = time.monotonic() - self.began
        self.configure(main or process(["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done"]), **fields)
        self.configured_s = time.monotonic() - self.began
        self.start_main()
        self.started_s = time.monotonic() - self.began
        return self

    def console(self):
        with open(f"{self.dir}/console", encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait_off(self, timeout=60):
        """Reads what is left, until QEMU has ended by itself."""
        deadline = time.monotonic() + timeout
        while self.qemu.poll() is None:
            assert time.monotonic() < deadline, f"the VM did not power off; console:\n{self.console()}"
            if self.portal.closed:
                time.sleep(0.01)
            else:
                self.portal.read_some(0.1)
                self.portal.parse()
        assert self.qemu.returncode == 0

    def shutdown(self):
        reply = self.portal.call(shutdown=pb.Shutdown())
        assert reply.HasField("ok")
        self.wait_off()

    def check_disk(self):
        subprocess.run(["qemu-img", "convert", "-O", "raw", self.disk, f"{self.dir}/raw"], check=True)
        done = subprocess.run(["e2fsck", "-fn", f"{self.dir}/raw"], capture_output=True, text=True, check=False)
        assert done.returncode == 0 and "recover" not in done.stdout + done.stderr, done.stdout + done.stderr

    def read_file(self, path):
        subprocess.run(["qemu-img", "convert", "-O", "raw", self.disk, f"{self.dir}/raw"], check=True)
        return subprocess.run(["debugfs", "-R", f"cat {path}", f"{self.dir}/raw"], capture_output=True, check=True).stdout

    def close(self):
        if self.qemu.poll() is None:
            self.qemu.kill()
        self.qemu.wait()
        self.portal.sock.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    # ---- work

    def exec(self, args, **options):
        return View(self.portal.open(), pb.Call(exec=pb.Exec(process=process(args, **options))))

    def attach(self, session, stdout=0, stderr=0, no_stdin=False):
        return View(self.portal.open(), pb.Call(attach=pb.Attach(session_id=session, stdout_offset=stdout, stderr_offset=stderr,
                                                                  no_stdin=no_stdin)))

    def run(self, args, timeout=60, **options):
        return self.exec(args, **options).finish(timeout)

    def sh(self, script, **options):
        result = self.run(["sh", "-c", script], **options)
        assert result.code == 0, (script, result.code, result.out, result.err)
        return result.out.decode()

    def signal(self, session, number, group=False):
        return self.portal.call(signal=pb.Signal(session_id=session, signal=number, whole_group=group))

    def wait_for(self, script, timeout=60):
        """Until the script succeeds in the container."""
        deadline = time.monotonic() + timeout
        while self.run(["sh", "-c", script]).code != 0:
            assert time.monotonic() < deadline, f"never true: {script}"


__all__ = ["Closed", "Failed", "Vm", "build_image", "pb", "process"]
