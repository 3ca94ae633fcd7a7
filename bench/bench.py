#!/usr/bin/env python3
"""Measures the figures of the README: ratios of boxlite to a peer that does the like, from one run, so that a slow or noisy
machine slows both. Ours and the peer's runs alternate; medians are compared.

    make bench                       all of it, with a release build; about ten minutes
    bench/bench.py cold exec …       only these: cold, exec, files, volumes, ports, network, ls, memory, pull, jobs, warm, fork, gvisor

Prints a table and writes it, with every sample, to docs/results/<date>-bench[-<parts>].json. Needs root, for podman and for /proc/<pid>/smaps_rollup.
"""

import concurrent.futures
import contextlib
import datetime
import json
import math
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
os.environ.setdefault("BOXLITE_BIN_DIR", os.path.join(REPOSITORY, "build", "release", "bin"))
sys.path.insert(0, os.path.join(REPOSITORY, "tests", "e2e"))

from boxlite_testing import census, oci, proc  # noqa: E402
from boxlite_testing.cli import BIN_DIR, Boxlite  # noqa: E402
from boxlite_testing.registry import Registry  # noqa: E402
from boxlite_testing.waiting import wait_until  # noqa: E402
import throughput  # noqa: E402
from peers import Podman, RawQemu, RawRestore, passt  # noqa: E402
from toolchain import COMPILE, toolchain_image  # noqa: E402

ROUNDS = 20
HOST_ALIAS = "192.168.127.254"  # host.boxlite.internal

# Native, these take a third of a second or so: enough to drown the cost of the exec itself.
JOBS = {
    "cpu": ["awk", "BEGIN { for (i = 0; i < 2000000; i++) x = (x * 31 + i) % 65537; print x }"],
    "syscall": ["dd", "if=/dev/zero", "of=/dev/null", "bs=1", "count=400000"],
    "compile": ["sh", "-c", COMPILE],
}


def seconds(action):
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


samples = []  # of the figure that is reported next: [{"boxlite": seconds, "peer": seconds}]


def alternate(ours, peer, rounds, before=lambda: None, itself=False, ours_itself=False):
    """Median seconds of both, after one warm-up of each; `before` comes before each and is not counted. `itself`: the peer tells its
    time, or whatever else is compared; `ours_itself`: so does ours."""
    def timed(action):
        before()
        return seconds(action)
    time_peer = peer if itself else lambda: timed(peer)
    time_ours = ours if ours_itself else lambda: timed(ours)
    time_ours(), time_peer()
    pairs = [(time_ours(), time_peer()) for _ in range(rounds)]
    samples[:] = [{"boxlite": round(ours, 5), "peer": round(peer, 5)} for ours, peer in pairs]
    columns = list(zip(*pairs))
    for name, column in zip(("boxlite", "peer"), columns):
        print(f"    {name:<8} median {statistics.median(column):.4f}, p95 {p95(column):.4f} of {rounds}")
    return tuple(statistics.median(column) for column in columns)


def p95(column):
    return sorted(column)[max(0, math.ceil(0.95 * len(column)) - 1)]


def at_once(action, count):
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        list(pool.map(lambda _: action(), range(count)))


class Beat:
    """A program in a box that never rests, seen on the host."""

    def __init__(self, boxlite, box):
        self.boxlite, self.box = boxlite, box
        self.child = boxlite.spawn("exec", box, "sh", "-c", "echo $$ >/beat; while :; do echo; done")
        self.longest = self.last = 0.0
        self.child.stdout.readline()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while self.child.stdout.read1(65536):
            now = time.perf_counter()
            self.longest, self.last = max(self.longest, now - self.last), now

    def longest_gap(self, action):
        """Seconds for which nothing of it was seen, from before `action` to after it."""
        self.last, self.longest = time.perf_counter(), 0.0
        action()
        ended = time.perf_counter()
        wait_until(lambda: self.last > ended, "it goes on", interval=0.001)
        return self.longest

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.boxlite.ok("exec", self.box, "sh", "-c", "kill -9 $(cat /beat)")  # it would go on without its client
        self.child.wait()


class Bench:
    def __init__(self, directory):
        self.directory = directory
        self.figures = []
        self.podman_runtimes = {}
        self.boxlite = Boxlite()
        self.demo = "oci:" + oci.write_demo(f"{directory}/demo")
        self.boxlite.ok("pull", self.demo)

    def report(self, what, ours, peer, unit, at_most=None, at_least=None):
        figure = {"what": what, "ratio": round(ours / peer, 3), "at_most": at_most, "at_least": at_least, "ours": round(ours, 4),
                  "peer": round(peer, 4), "unit": unit, "p95": {name: p95([sample[name] for sample in samples]) for name in samples[0]} if samples else None,
                  "samples": list(samples)}
        samples.clear()
        self.figures.append(figure)
        bound = f"  (≤ {at_most})" if at_most else f"  (≥ {at_least})" if at_least else ""
        print(f"{what:<66} {ours:>10.3f} {peer:>10.3f} {unit:<4} {figure['ratio']:>7.2f}{bound}", flush=True)

    def runtime(self):
        """Podman's, the faster one."""
        if not self.podman_runtimes:
            self._runtime, self.podman_runtimes = Podman.faster(self.directory, oci.busybox_layer())
            print(f"    podman's runtimes: {self.podman_runtimes}")
        return self._runtime

    def idle_box(self):
        self.boxlite.ok("run", "-d", "--name", "idle", self.demo, "sleep", "infinity")
        self.boxlite.ok("exec", "idle", "true")
        return self.boxlite.inspect("idle")["id"]

    @contextlib.contextmanager
    def booting(self):
        self.boxlite.environment["BOXLITE_COLD"] = "1"
        yield
        del self.boxlite.environment["BOXLITE_COLD"]

    def warm(self):
        """The whole command, on an image that the home has."""
        self.boxlite.ok("tag", self.demo, "bench:latest")
        self.boxlite.ok("run", "--rm", "--network", "none", "bench", "true")
        image = self.boxlite.ok("images", "-q", "--no-trunc", "bench").strip().removeprefix("sha256:")
        there = [f"{self.boxlite.home}/templates/{name}" for name in os.listdir(f"{self.boxlite.home}/templates")]
        template = max(filter(os.path.isdir, there), key=lambda path: os.stat(f"{path}/checkpoint.json").st_mtime)  # just used
        with without_image(template):
            restored_id = self.boxlite.ok("run", "-d", "--name", "restored", "--network", "none", "bench", "sleep", "infinity").strip()
            raw = RawRestore(self.directory, census.qemu(self.boxlite.home, restored_id), template, f"{self.boxlite.home}/bases/{image}.ext4")
            self.boxlite.ok("rm", "-f", "restored")

        def restored_mib():
            with raw.running() as process:
                return settled(lambda: private_mib(process.pid))

        def run(*options):
            return lambda: self.boxlite.ok("run", "--rm", *options, "bench", "true")
        with Podman(self.directory, oci.busybox_layer(), self.runtime()) as podman:
            ours, peer = alternate(run("--network", "none"), lambda: podman.run("true", network="none"), ROUNDS)
            self.report("warm `run --rm --network none IMAGE true` ÷ podman's", ours, peer, "s", 1.0)
            ours, floor = alternate(run("--network", "none"), raw.seconds, ROUNDS, itself=True)
            self.report("the same ÷ QEMU alone, restored and running", ours, floor, "s", 4)
            ours, peer = alternate(run(), lambda: podman.run("true"), ROUNDS)
            self.report("warm `run --rm IMAGE true`, its network ÷ podman's, its network", ours, peer, "s", 1.0)
            for many, rounds in ((10, ROUNDS), (50, 4)):
                ours, peer = alternate(lambda many=many: at_once(run("--network", "none"), many),
                                       lambda many=many: at_once(lambda: podman.run("true", network="none"), many), rounds)
                self.report(f"rate of {many} starts at once ÷ podman's", many / ours, many / peer, "/s", at_least=1.5 if many == 50 else None)
        private, restored = alternate(lambda: self.memory_of(1), restored_mib, 5, ours_itself=True, itself=True)
        self.report("private memory of an idle restored box ÷ QEMU alone, restored", private, restored, "MiB", 1.3)
        for many in (10, 30):
            self.report(f"private memory of {many} idle restored boxes ÷ {many} × the same", self.memory_of(many), many * restored, "MiB")

    def memory_of(self, many):
        """MiB, private to all processes of so many idle boxes."""
        names = [f"idle-{index}" for index in range(many)]
        for name in names:
            self.boxlite.ok("run", "-d", "--name", name, "--network", "none", "bench", "sleep", "infinity")
        total = settled(lambda: sum(private_mib(p.pid) for p in census.processes(self.boxlite.home)))
        self.boxlite.ok("rm", "-f", *names)
        return total

    def fork(self):
        """Of a box that has written to 200 MB of its memory, whole command until all children run, against a copy of 200 MB."""
        self.boxlite.ok("run", "-d", "--name", "parent", "--network", "none", "--shm-size", "300m", self.demo, "sleep", "infinity")
        self.boxlite.ok("exec", "parent", "dd", "if=/dev/urandom", "of=/dev/shm/data", "bs=1M", "count=200")
        source = f"{self.directory}/200-mb"
        with open(source, "wb") as file:
            file.write(os.urandom(200 << 20))
        children = []

        def forked(count):
            def action():
                children.extend(self.boxlite.ok("fork", "-n", str(count), "parent").split())
            return action

        def clear():
            if children:
                self.boxlite.ok("rm", "-f", *children)
                children.clear()
        with Beat(self.boxlite, "parent") as beat:
            def stop():
                clear()
                return beat.longest_gap(forked(1))
            ours, peer = alternate(stop, lambda: seconds(lambda: shutil.copyfile(source, f"{source}.copy")), ROUNDS, ours_itself=True, itself=True)
            self.report("parent with 200 MB of its own stands still while it is forked ÷ a copy of 200 MB", ours, peer, "s", 2)
        clear()
        for count, rounds in ((1, ROUNDS), (20, 5)):
            ours, peer = alternate(forked(count), lambda: shutil.copyfile(source, f"{source}.copy"), rounds, before=clear)
            self.report(f"fork of {count}, parent with 200 MB of its own ÷ a copy of 200 MB", ours, peer, "s")
        clear()
        self.boxlite.ok("rm", "-f", "parent")

    def gvisor(self):
        self.boxlite.ok("tag", self.demo, "bench:latest")
        self.boxlite.ok("run", "-d", "--name", "idle", "--network", "none", "bench", "sleep", "infinity")
        with Podman(self.directory, oci.busybox_layer(), Podman.RUNSC) as gvisor:
            ours, peer = alternate(lambda: self.boxlite.ok("run", "--rm", "--network", "none", "bench", "true"),
                                   lambda: gvisor.run("true", network="none"), ROUNDS)
            self.report("warm `run --rm --network none IMAGE true` ÷ podman's with gVisor", ours, peer, "s")
            ours, peer = alternate(lambda: self.boxlite.ok("exec", "idle", "true"), lambda: gvisor.exec("true"), ROUNDS)
            self.report("`exec true` ÷ podman's with gVisor", ours, peer, "s")
        self.boxlite.ok("rm", "-f", "idle")

    def cold(self):
        with self.booting():
            self._cold()

    def _cold(self):
        box = self.idle_box()
        raw = RawQemu(self.directory, census.qemu(self.boxlite.home, box), os.path.join(BIN_DIR, "..", "guest"))
        self.boxlite.ok("rm", "-f", "idle")
        ours, peer = alternate(lambda: self.boxlite.ok("run", "--rm", self.demo, "true"), raw.boot_and_power_off, 10)
        self.report("cold `run --rm IMAGE true` ÷ raw QEMU boot to a busybox init", ours, peer, "s", 1.6)

    def memory(self):
        with self.booting():
            self._memory()

    def _memory(self):
        box = self.idle_box()
        mine = [census.shim(self.boxlite.home, box), *census.vm_processes(self.boxlite.home, box)]
        raw = RawQemu(self.directory, census.qemu(self.boxlite.home, box), os.path.join(BIN_DIR, "..", "guest"))
        # Both have been idle for as long when they are read: until nothing more is faulted in. One after the other: beside another
        # QEMU the pages of its program (40 MiB) would not be private.
        ours = settled(lambda: sum(private_mib(p.pid) for p in mine))
        for p in mine:
            print(f"    {p.name:<20} {private_mib(p.pid):8.1f} MiB private")
        self.boxlite.ok("rm", "-f", "idle")
        with raw.idle() as process:
            peer = settled(lambda: private_mib(process.pid))
        self.report("private memory of an idle 512 MiB box ÷ raw QEMU, same guest", ours, peer, "MiB", 1.5)

    def ports(self):
        """From `rm -f` to the moment its port can be bound again, of which rm itself is all but nothing: it waits for that."""
        def once():
            self.boxlite.ok("run", "-d", "--name", "p", "-p", "18080:80", self.demo, "sleep", "infinity")
            took = seconds(lambda: self.boxlite.ok("rm", "-f", "p"))
            socket.create_server(("127.0.0.1", 18080)).close()
            return took
        took = statistics.median(once() for _ in range(9))
        bare = statistics.median(seconds(lambda: self.boxlite.ok("version")) for _ in range(9))
        self.report("`rm -f` until the port is free ÷ `boxlite version`", took, bare, "s")

    def network(self):
        with self.booting():
            self._network()

    def _network(self):
        """Boxes, QEMU's own network and passt, all at once, each with one connection at a time and never two of them."""
        program = throughput.guest_program(self.directory)
        hosts = {name: throughput.Host() for name in ("box", "box at 1500", "qemu", "passt")}
        for name in ("box", "box at 1500"):
            box = name.replace(" ", "-")
            self.boxlite.ok("run", "-d", "--name", box, "--privileged", "--host-access", self.demo, "sleep", "infinity")
            self.boxlite.ok("cp", program, f"{box}:/bin/")
            if name == "box at 1500":
                self.boxlite.ok("exec", box, "ip", "link", "set", "eth0", "mtu", "1500")
            self.boxlite.ok("exec", "-d", box, "net_load", HOST_ALIAS, str(hosts[name].port))
        qemu = census.qemu(self.boxlite.home, self.boxlite.inspect("box")["id"])
        raw = RawQemu(self.directory, qemu, os.path.join(BIN_DIR, "..", "guest"))
        with passt(self.directory) as passt_netdev, \
                raw.network(program, hosts["qemu"].port, 1500, "user,id=net"), \
                raw.network(program, hosts["passt"].port, 65520, passt_netdev):
            for order, what in ((b"s", "out of the guest"), (b"r", "into the guest")):
                rates = dict(zip(hosts, throughput.alternate(list(hosts.values()), order)))
                self.report(f"TCP {what}, box at MTU 1500 ÷ QEMU -netdev user", rates["box at 1500"], rates["qemu"], "MiB/s", at_least=0.9)
                self.report(f"TCP {what}, box ÷ QEMU -netdev user", rates["box"], rates["qemu"], "MiB/s", at_least=2)
                self.report(f"TCP {what}, box ÷ passt", rates["box"], rates["passt"], "MiB/s")
        self.boxlite.ok("rm", "-f", "box", "box-at-1500")
        for host in hosts.values():
            host.close()

    def exec(self):
        self.idle_box()
        with Podman(self.directory, oci.busybox_layer(), self.runtime()) as podman:
            ours, peer = alternate(lambda: self.boxlite.ok("exec", "idle", "true"), lambda: podman.exec("true"), 25)
        self.boxlite.ok("rm", "-f", "idle")
        self.report("`exec true` ÷ `podman exec`", ours, peer, "s", 0.4)

    def ls(self):
        for number in range(100):
            verb = ["run", "-d"] if number < 5 else ["create"]
            self.boxlite.ok(*verb, "--name", f"ls{number}", self.demo, "sleep", "infinity")
        database = f"{self.boxlite.home}/{census.DATABASE}"
        ours, peer = alternate(lambda: self.boxlite.ok("ls", "-a"),
                               lambda: subprocess.run(["sqlite3", database, "select 1"], check=True, capture_output=True), 40)
        self.boxlite.ok("rm", "-f", *self.boxlite.ok("ls", "-aq").split())
        self.report("`ls -a` of 100 boxes, 5 running ÷ `sqlite3 db 'select 1'`", ours, peer, "s", 4)

    def files(self):
        """200 MB that do not compress, in one file, to and from the box's disk, where no such file is; the peer is what one did
        without cp."""
        self.idle_box()
        with open(f"{self.directory}/data", "wb") as file:
            for _ in range(200):
                file.write(os.urandom(1000 * 1000))
        boxlite = " ".join(self.boxlite.argv())

        def shell(command):
            subprocess.run(["sh", "-c", command], check=True, env=self.boxlite.environment, cwd=self.directory, timeout=600)
        ours, peer = alternate(lambda: self.boxlite.ok("cp", f"{self.directory}/data", "idle:/", timeout=600),
                               lambda: shell(f"tar -c data | {boxlite} exec -i idle tar -x -C /"), 9,
                               before=lambda: self.boxlite.ok("exec", "idle", "rm", "-f", "/data"))
        self.report("`cp` of 200 MB into a box ÷ `tar | exec tar`", ours, peer, "s", 1.0)
        ours, peer = alternate(lambda: self.boxlite.ok("cp", "idle:/data", self.directory, timeout=600),
                               lambda: shell(f"{boxlite} exec idle tar -c -C / data | tar -x"), 9,
                               before=lambda: os.remove(f"{self.directory}/data"))
        self.report("`cp` of 200 MB out of a box ÷ `exec tar | tar`", ours, peer, "s", 1.0)
        self.boxlite.ok("rm", "-f", "idle")

    def volumes(self):
        """The same commands on a directory of the host and on the box's disk, in one box. Reported; there is no limit."""
        folder = f"{self.directory}/volume"
        os.mkdir(folder)
        self.boxlite.ok("run", "-d", "--privileged", "--name", "idle", "-v", f"{folder}:/volume", self.demo, "sleep", "infinity")
        self.boxlite.ok("exec", "idle", "sh", "-c", "mkdir /disk; for d in /volume /disk; do i=0; while [ $i -lt 2000 ]; do : >$d/$i; i=$((i+1)); done; done")
        for what, command in (("write of 64 MB", "dd if=/dev/zero of={}/data bs=1M count=64 conv=fsync"),
                              ("read of 64 MB", "echo 3 >/proc/sys/vm/drop_caches; dd if={}/data of=/dev/null bs=1M"),
                              ("`ls -l` of 2000 files", "echo 3 >/proc/sys/vm/drop_caches; ls -l {} | wc -l")):
            def run(place):
                self.boxlite.ok("exec", "idle", "sh", "-c", command.format(place), timeout=600)
            ours, peer = alternate(lambda: run("/volume"), lambda: run("/disk"), 5)
            self.report(f"volume: {what} ÷ on the box's disk", ours, peer, "s")
        self.boxlite.ok("rm", "-f", "idle")

    def pull(self):
        tar = f"{self.directory}/buildd.tar"
        subprocess.run(["mmdebstrap", "--variant=buildd", "--quiet", "bookworm", tar], check=True)
        with open(tar, "rb") as file:
            layout = oci.write_layout(f"{self.directory}/buildd", [file.read()], oci.DEMO_CONFIG)
        registry = Registry()
        try:
            reference = registry.push(layout, "buildd:latest")
            peaks = []

            def ours():
                with tempfile.TemporaryDirectory(prefix="boxlite-pull-", dir=self.directory) as home:
                    peaks.append(peak_of_pull(home, reference))

            def peer():
                for folder in ("copied", "bundle"):
                    shutil.rmtree(f"{self.directory}/{folder}", ignore_errors=True)
                copied = f"oci:{self.directory}/copied:latest"
                subprocess.run(["skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", f"docker://{reference}",
                                copied], check=True)
                subprocess.run(["umoci", "unpack", "--image", copied[4:], f"{self.directory}/bundle"], check=True, capture_output=True)

            self.report("pull + base disk of a Debian buildd image ÷ skopeo copy + umoci unpack", *alternate(ours, peer, 3), "s", 0.8)
            self.report("peak memory of that pull ÷ 64 MiB", max(peaks), 64, "MiB", 1)
        finally:
            registry.close()

    def jobs(self):
        layer = toolchain_image()
        image = "oci:" + oci.write_layout(f"{self.directory}/toolchain", [layer], oci.DEMO_CONFIG)
        self.boxlite.ok("run", "-d", "--name", "work", "--memory", "1g", image, "sleep", "infinity")
        with Podman(self.directory, layer, self.runtime()) as podman:
            for name, command in JOBS.items():
                ours, peer = alternate(lambda: self.boxlite.ok("exec", "work", *command, timeout=600),
                                       lambda: podman.exec(*command), 3)
                self.report(f"{name}-heavy job in a box ÷ under podman", ours, peer, "s")
        self.boxlite.ok("rm", "-f", "work")


def peak_of_pull(home, reference):
    """MiB; time(1) starts it, since a child of this large process would have its memory counted, too."""
    request = {"home": home, "reference": reference, "disk_bytes": 10 << 30, "max_unpacked_bytes": 20 << 30}
    done = subprocess.run(["/usr/bin/time", "-f", "%M", os.path.join(BIN_DIR, "boxlite-image")], input=json.dumps(request).encode(),
                          check=True, capture_output=True)
    return int(done.stderr.split()[-1]) / 1024


@contextlib.contextmanager
def without_image(template):
    """Boxes are restored from the state of the devices, by a QEMU that is started."""
    image = f"{template}/process-image"
    os.rename(image, f"{image}.away")
    try:
        yield
    finally:
        os.rename(f"{image}.away", image)


def private_mib(pid):
    return proc.memory_kib(pid, "Private_Clean", "Private_Dirty", "Private_Hugetlb") / 1024


def settled(read):
    """The value once it has not grown by more than 1 % for two seconds."""
    seen = []

    def quiet():
        seen.append(read())
        return len(seen) > 20 and seen[-1] <= seen[-20] * 1.01
    wait_until(quiet, "the memory in use is steady", interval=0.1)
    return seen[-1]


def machine():
    """What the figures were taken on."""
    def first(*command):
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[0]
    with open("/proc/cpuinfo") as file:
        cpu = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    return {"cores": os.cpu_count(), "cpu": cpu, "memory_mib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
            "kernel": os.uname().release, "qemu": first("qemu-system-x86_64", "--version"), "podman": first("podman", "--version"),
            "runc": first("runc", "--version"), "load": round(os.getloadavg()[0], 2)}


def within(figure):
    return figure["ratio"] <= (figure["at_most"] or math.inf) and figure["ratio"] >= (figure["at_least"] or 0)


def main():
    everything = ["cold", "exec", "files", "volumes", "ports", "network", "ls", "memory", "pull", "jobs", "warm", "fork", "gvisor"]
    wanted = sys.argv[1:] or everything
    print(f"{'':<66} {'boxlite':>10} {'peer':>10} {'':<4} {'ratio':>7}")
    with tempfile.TemporaryDirectory(prefix="boxlite-bench-") as directory:
        bench = Bench(directory)
        try:
            for name in wanted:
                getattr(bench, name)()
            accelerator = json.loads(bench.boxlite.ok("info", "--format", "json"))["accelerator"]
        finally:
            bench.boxlite.close()
    now = datetime.datetime.now(datetime.timezone.utc)
    result = {"date": now.strftime("%Y-%m-%dT%H:%M:%SZ"), **machine(), "accelerator": accelerator, "podman_runtimes": bench.podman_runtimes,
              "figures": bench.figures}
    parts = "" if wanted == everything else "-" + "-".join(wanted)
    path = os.path.join(REPOSITORY, "docs", "results", f"{result['date'][:10]}-bench{parts}.json")
    with open(path, "w") as file:
        json.dump(result, file, indent=1, ensure_ascii=False)
        file.write("\n")
    print(f"written to {os.path.relpath(path, REPOSITORY)}")
    missed = [figure["what"] for figure in bench.figures if not within(figure)]
    for what in missed:
        print(f"not within its limit: {what}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
