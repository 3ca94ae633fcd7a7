"""What boxlite is compared with: QEMU alone, and podman."""

import contextlib
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import time

from boxlite_testing import oci
from boxlite_testing.waiting import wait_until

_INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
exec /bin/busybox reboot -f
"""
_NETWORK_INIT = """#!/bin/busybox sh
/bin/busybox ip address add 10.0.2.15/24 dev eth0
/bin/busybox ip link set eth0 mtu {mtu} up
exec /bin/net_load 10.0.2.2 {port}
"""


def option(argv, name):
    return argv[argv.index(name) + 1]


@contextlib.contextmanager
def _running(argv, pass_fds=()):
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, pass_fds=pass_fds)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class RawQemu:
    """The same QEMU with the same machine, kernel and kernel parameters as a box has (taken from the command line of a running
    one), and nothing else: no jail, no disk, no shim, no agent protocol."""

    def __init__(self, directory, box_qemu, guest):
        self._guest = guest
        argv = list(box_qemu.argv)
        self._machine = [word for name in ("-accel", "-M", "-cpu", "-m", "-smp") if name in argv
                         for word in (name, option(argv, name))]
        self._machine += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
        self._parameters = option(argv, "-append")
        self._directory = directory
        self._initramfs = self._write_initramfs("busybox", _INIT)

    def _write_initramfs(self, name, init, programs=()):
        """busybox, `programs` of the host, and `init` as what the kernel runs."""
        root, path = f"{self._directory}/{name}", f"{self._directory}/{name}.cpio"
        for folder in ("bin", "proc", "dev"):
            os.makedirs(f"{root}/{folder}", exist_ok=True)
        files = [oci.BUSYBOX, *programs]
        subprocess.run(["cp", *files, f"{root}/bin"], check=True)
        with open(f"{root}/init", "w", opener=lambda path, flags: os.open(path, flags, 0o755)) as file:
            file.write(init)
        names = ["init", "bin", "proc", "dev", *(f"bin/{os.path.basename(file)}" for file in files)]
        with open(path, "wb") as file:
            subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=root, stdout=file, check=True, input="\n".join(names).encode())
        return path

    def _argv(self, initramfs, *more):
        return ["qemu-system-x86_64", *self._machine, "-kernel", f"{self._guest}/vmlinux", "-initrd", initramfs,
                "-append", self._parameters, *more]

    def boot_and_power_off(self):
        subprocess.run(self._argv(self._initramfs, "-serial", "null"), check=True, timeout=120, stdin=subprocess.DEVNULL)

    def network(self, program, port, mtu, *netdev):
        """A VM whose only process is `program`, the guest's end of a throughput figure, at 10.0.2.15 of the network `netdev`."""
        initramfs = self._write_initramfs(f"network{port}", _NETWORK_INIT.format(mtu=mtu, port=port), [program])
        return _running(self._argv(initramfs, "-serial", "null", "-netdev", *netdev,
                                   "-device", f"virtio-net-device,netdev=net,host_mtu={mtu}"))

    def idle(self):
        """A VM with the box's own initramfs: its agent is up and waits for a host that never speaks."""
        return _running(self._argv(f"{self._guest}/initramfs.cpio", "-serial", "null", "-device", "virtio-serial-device",
                                   "-chardev", "null,id=portal", "-device", "virtserialport,chardev=portal,name=boxlite.portal"))


class RawRestore:
    """The same QEMU restored from the same template as a box (taken from the command line of a running one that has no network), by
    the same commands, and nothing else: no jail, no shim, nobody who speaks to its agent."""

    def __init__(self, directory, box_qemu, template, base):
        self._template, self._base, self._disk = template, base, f"{directory}/restored.qcow2"
        self._argv = list(box_qemu.argv)

    @contextlib.contextmanager
    def running(self):
        """Restored, and running since this moment."""
        shutil.copyfile(f"{self._template}/disk.qcow2", self._disk)
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as stack:
            base = stack.enter_context(open(self._base, "rb"))
            disk = stack.enter_context(open(self._disk, "r+b"))
            state = stack.enter_context(open(f"{self._template}/device-state", "rb"))
            fds = {"1": base.fileno(), "2": disk.fileno()}
            argv = []
            for word in self._argv:
                word = word.replace("/boxlite/memory", f"{self._template}/memory")
                if match := re.fullmatch(r"fd=\d+,set=(\d)", word):
                    word = f"fd={fds[match[1]]},set={match[1]}"
                elif match := re.fullmatch(r"socket,id=(\w+),fd=\d+", word):
                    word = f"socket,id=qmp,fd={theirs.fileno()}" if match[1] == "qmp" else f"null,id={match[1]}"
                argv.append(word)
            with _running(argv, pass_fds=[*fds.values(), state.fileno(), theirs.fileno()]) as process:
                theirs.close()
                qmp = stack.enter_context(ours.makefile("rw"))
                for command, arguments in (("qmp_capabilities", {}),
                                           ("migrate-set-capabilities", {"capabilities": [{"capability": "x-ignore-shared", "state": True}]}),
                                           ("migrate-incoming", {"uri": f"fd:{state.fileno()}"})):
                    qmp.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
                qmp.flush()
                while '"RESUME"' not in (line := qmp.readline()):
                    assert line and '"error"' not in line, line
                yield process
        ours.close()

    def seconds(self):
        begun = time.perf_counter()
        with self.running():
            return time.perf_counter() - begun


@contextlib.contextmanager
def passt(directory):
    """The -netdev of a passt on the same addresses as QEMU's own network, with the host's loopback at the gateway."""
    socket = f"{directory}/passt.socket"
    with _running(["passt", "--foreground", "--quiet", "--runas", "0", "--socket", socket, "--address", "10.0.2.15", "--netmask", "24",
                   "--gateway", "10.0.2.2", "--ipv4-only"]):
        wait_until(lambda: os.path.exists(socket), "passt listens")
        yield f"stream,id=net,addr.type=unix,addr.path={socket}"


class Podman:
    """One running container of a root file system, with a storage of its own.

    Resource limits as low as any host allows, since raising them may be forbidden even to root."""

    CRUN = ("--runtime=crun",)
    RUNC = ("--runtime=runc",)
    # gVisor. Its KVM platform does not come up on every host, and network and cgroups are left out: less work than a container's.
    RUNSC = ("--runtime=/usr/bin/runsc", "--runtime-flag=platform=ptrace", "--runtime-flag=network=none", "--runtime-flag=ignore-cgroups")

    def __init__(self, directory, rootfs, runtime=RUNC):
        self._storage = f"{directory}/podman"
        self._command = ["podman", "--root", f"{self._storage}/root", "--runroot", f"{self._storage}/run",
                         "--cgroup-manager=cgroupfs", "--events-backend=none", *runtime]
        self._rootfs = rootfs

    def _podman(self, *arguments, **options):
        return subprocess.run([*self._command, *arguments], check=True, capture_output=True, **options)

    @classmethod
    def faster(cls, directory, rootfs):
        """crun or runc, and of both the median seconds of five runs, or why it refuses: crun does so where there are cgroups of both
        versions."""
        seen = {}
        for name, runtime in (("crun", cls.CRUN), ("runc", cls.RUNC)):
            podman = cls(directory, rootfs, runtime)
            try:
                with podman:
                    times = []
                    for _ in range(6):
                        begun = time.perf_counter()
                        podman.run("true", network="none")
                        times.append(time.perf_counter() - begun)
                    seen[name] = statistics.median(times[1:])
            except subprocess.CalledProcessError as refused:
                seen[name] = refused.stderr.decode().strip().splitlines()[-1]
                subprocess.run([*podman._command, "rm", "-f", "peer"], capture_output=True)
                podman.remove()
        return min((time, runtime) for time, runtime in ((seen["crun"], cls.CRUN), (seen["runc"], cls.RUNC)) if isinstance(time, float))[1], seen

    def __enter__(self):
        os.makedirs(self._storage)
        self._podman("import", "-", "peer:latest", input=self._rootfs)
        self._podman("run", "-d", "--name", "peer", "--network", "none", "--ulimit", "nofile=1024:1024",
                     "--ulimit", "nproc=1000:1000", "peer:latest", "sleep", "1000000")
        return self

    def run(self, *command, network=None):
        """One more container, until it is gone; with its own network, or whatever podman gives it."""
        options = ["--network", network] if network else []
        self._podman("run", "--rm", *options, "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000", "peer:latest", *command)

    def exec(self, *command):
        self._podman("exec", "peer", *command, timeout=600)

    def __exit__(self, *_):
        self._podman("rm", "-f", "-t", "0", "peer")
        self._podman("rmi", "-f", "peer:latest")
        self.remove()

    def remove(self):
        # A container that has failed is cleaned up in the background.
        wait_until(lambda: subprocess.run(["pgrep", "-f", self._storage], capture_output=True).returncode != 0, "podman is done")
        # overlay storage leaves its own bind mount behind
        subprocess.run(["umount", "--recursive", "--lazy", f"{self._storage}/root/overlay"], capture_output=True)
        subprocess.run(["rm", "-rf", self._storage], check=True)
