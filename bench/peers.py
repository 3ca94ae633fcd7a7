"""What boxlite is compared with: QEMU alone, and podman."""

import contextlib
import os
import subprocess

from boxlite_testing import oci

_INIT = "#!/bin/busybox sh\n/bin/busybox mount -t proc proc /proc\nexec /bin/busybox reboot -f\n"


def option(argv, name):
    return argv[argv.index(name) + 1]


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
        self._initramfs = f"{directory}/busybox.cpio"
        self._write_initramfs(f"{directory}/initramfs")

    def _write_initramfs(self, root):
        if os.path.exists(self._initramfs):
            return
        for folder in ("bin", "proc", "dev"):
            os.makedirs(f"{root}/{folder}")
        subprocess.run(["cp", oci.BUSYBOX, f"{root}/bin/busybox"], check=True)
        with open(f"{root}/init", "w", opener=lambda path, flags: os.open(path, flags, 0o755)) as file:
            file.write(_INIT)
        with open(self._initramfs, "wb") as file:
            subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=root, stdout=file, check=True,
                           input="init\nbin\nbin/busybox\nproc\ndev\n".encode())

    def _argv(self, initramfs, *more):
        return ["qemu-system-x86_64", *self._machine, "-kernel", f"{self._guest}/vmlinux", "-initrd", initramfs,
                "-append", self._parameters, *more]

    def boot_and_power_off(self):
        subprocess.run(self._argv(self._initramfs, "-serial", "null"), check=True, timeout=120, stdin=subprocess.DEVNULL)

    @contextlib.contextmanager
    def idle(self):
        """A VM with the box's own initramfs: its agent is up and waits for a host that never speaks."""
        process = subprocess.Popen(
            self._argv(f"{self._guest}/initramfs.cpio", "-serial", "null", "-device", "virtio-serial-device",
                       "-chardev", "null,id=portal", "-device", "virtserialport,chardev=portal,name=boxlite.portal"),
            stdin=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


class Podman:
    """One running container of a root file system, with a storage of its own.

    runc, since crun refuses hosts with cgroups of both versions; resource limits as low as any host allows, since raising them
    may be forbidden even to root."""

    def __init__(self, directory, rootfs):
        self._storage = f"{directory}/podman"
        self._command = ["podman", "--root", f"{self._storage}/root", "--runroot", f"{self._storage}/run",
                         "--cgroup-manager=cgroupfs", "--events-backend=none", "--runtime=runc"]
        self._rootfs = rootfs

    def _podman(self, *arguments, **options):
        return subprocess.run([*self._command, *arguments], check=True, capture_output=True, **options)

    def __enter__(self):
        os.makedirs(self._storage)
        self._podman("import", "-", "peer:latest", input=self._rootfs)
        self._podman("run", "-d", "--name", "peer", "--network", "none", "--ulimit", "nofile=1024:1024",
                     "--ulimit", "nproc=1000:1000", "peer:latest", "sleep", "1000000")
        return self

    def exec(self, *command):
        self._podman("exec", "peer", *command, timeout=600)

    def __exit__(self, *_):
        self._podman("rm", "-f", "-t", "0", "peer")
        self._podman("rmi", "-f", "peer:latest")
        # overlay storage leaves its own bind mount behind
        subprocess.run(["umount", f"{self._storage}/root/overlay"], capture_output=True)
        subprocess.run(["rm", "-rf", self._storage], check=True)
