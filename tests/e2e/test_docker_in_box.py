"""Docker in a box, as the report this project grew from wanted it: an image like docker's own dind, run with --privileged. Nothing is
arranged for it but that; dockerd is the distribution's."""

import json
import os
import socket
import urllib.request

import pytest
from boxlite_testing import docker, identity
from boxlite_testing.cli import Boxlite
from boxlite_testing.registry import free_port
from boxlite_testing.waiting import wait_until
from boxlite_testing.outcome import has_failed

# Two suites beside each other, on two cores that have to translate the guest's code: only a test that fails waits this long.
PATIENCE = 600
ROUNDS = 10 if os.environ.get("BOXLITE_FULL_SIZE") else 2  # make soak
READY = "API listen on /run/docker.sock"
HOST_NAME = "host.boxlite.internal"


def read(path):
    with open(path, errors="replace") as file:
        return file.read()


def get(port, path):
    """What the host's port answers to a GET; "" when it does not."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
            return answer.read().decode()
    except (OSError, ValueError):
        return ""


def assert_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        probe.listen()


class Host(Boxlite):
    """A home with boxes that have a docker."""

    def start(self, name, image, *arguments, flags=()):
        self.ok("run", "-d", "--privileged", "--cpus", "2", "-m", "2g", "--host-access", "--name", name, *flags, image, *arguments, timeout=PATIENCE)

    def wait_ready(self, box, starts=1):
        """Until dockerd has come up for the `starts`th time."""
        wait_until(lambda: self("logs", box).err.count(READY) >= starts, f"dockerd answers in {box}", PATIENCE, interval=0.2)

    def run_daemon(self, box):
        """Starts dockerd by `exec` and waits until it answers."""
        path = f"{self.directory}/dockerd.log"
        with open(path, "wb") as log:
            self.spawn("exec", box, "dockerd-entrypoint.sh", stdout=log, stderr=log)
        wait_until(lambda: READY in read(path), f"dockerd answers in {box}", PATIENCE, interval=0.2)

    def docker(self, box, *arguments, **options):
        return self.ok("exec", box, "docker", *arguments, timeout=PATIENCE, **options)

    def ports(self, box):
        """{"80/tcp": port of the host}"""
        lines = [line.split(" -> ") for line in self.ok("port", box).splitlines()]
        assert all(address.startswith("127.0.0.1:") for _, address in lines), lines
        return {port: int(address.rsplit(":", 1)[1]) for port, address in lines}

    def assert_gets_out(self, box, registry):
        """To the registry of this host by name, with nothing but bash."""
        port = registry.address.rsplit(":", 1)[1]
        script = f"exec 3<>/dev/tcp/{HOST_NAME}/{port} && printf 'GET /v2/ HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3"
        assert " 200 OK" in self.ok("exec", box, "bash", "-c", script)

    def load(self, box, archive):
        self.ok("exec", "-i", box, "docker", "load", input=archive, timeout=PATIENCE)

    def daemon(self, box):
        """Which dockerd answers: its pid and when it was started, and the id it shows."""
        stat = self.ok("exec", box, "sh", "-c", "cat /proc/$(cat /run/docker.pid)/stat")
        assert "(dockerd)" in stat
        return stat.split()[0], stat.split()[21], self.docker(box, "info", "--format", "{{.ID}}")


@pytest.fixture(scope="module")
def image(images):
    return "oci:" + docker.write_image(f"{images}/docker")


@pytest.fixture(scope="module")
def host(request, image, registry):
    """One box `a` with a docker that has the images alpha, whose command tells its name, and beta, which serves files of /www."""
    runner = Host()
    try:
        runner.start("a", image, "--insecure-registry", f"{HOST_NAME}:{registry.address.rsplit(':', 1)[1]}",
                     flags=["-p", f"{free_port()}:2375", "-p", "8080"])
        runner.wait_ready("a")
        runner.load("a", docker.archive(alpha=["echo", "this is alpha"],
                                        beta=["sh", "-c", "mkdir -p /www; hostname >/www/name; exec httpd -f -p 80 -h /www"]))
        yield runner
    finally:
        runner.close(failed=has_failed(request, request.module.__name__))


@identity.by_user
def test_docker_has_overlays_on_the_boxs_own_disk_and_cgroups_without_warnings(host):
    info = json.loads(host.docker("a", "info", "--format", "{{json .}}"))
    status = dict(info["DriverStatus"])
    assert (info["Driver"], status["Backing Filesystem"], status["Native Overlay Diff"]) == ("overlay2", "extfs", "true")
    assert (info["CgroupVersion"], info["CgroupDriver"]) == ("2", "cgroupfs")
    assert all(info[limit] for limit in ("MemoryLimit", "SwapLimit", "CpuCfsQuota", "CpuCfsPeriod", "CPUShares", "CPUSet", "PidsLimit"))
    assert all(info[working] for working in ("IPv4Forwarding", "BridgeNfIptables", "BridgeNfIp6tables"))
    # The one warning is of the port that the image opens without TLS.
    assert [warning.splitlines()[0] for warning in info["Warnings"] or []] == [
        "WARNING: API is accessible on http://0.0.0.0:2375 without encryption."]
    assert (info["NCPU"], info["Name"]) == (2, host.inspect("a")["id"])
    assert host.inspect("a")["mounts"] == []


@identity.by_user
def test_an_image_is_built_and_several_images_run(host):
    dockerfile = b"FROM alpha\nRUN echo made by a step >/made\nCOPY greeting /greeting\nCMD cat /made /greeting\n"
    host.ok("exec", "-i", "a", "sh", "-c", "mkdir /root/context; cat >/root/context/Dockerfile; echo copied >/root/context/greeting", input=dockerfile)
    host.docker("a", "build", "-q", "-t", "built", "/root/context")
    assert host.docker("a", "run", "--rm", "built") == "made by a step\ncopied\n"
    assert host.docker("a", "run", "--rm", "alpha") == "this is alpha\n"
    assert sorted(host.docker("a", "images", "--format", "{{.Repository}}").split()) == ["alpha", "beta", "built"]


@identity.by_user
def test_linked_containers_of_a_user_network_reach_each_other_by_name_within_their_limits(host):
    host.docker("a", "network", "create", "net")
    host.docker("a", "run", "-d", "--network", "net", "--name", "one", "-p", "8080:80", "beta")
    host.docker("a", "run", "-d", "--network", "net", "--name", "two", "--link", "one:first", "-h", "second", "-m", "64m", "--cpus", "0.5",
                "--pids-limit", "50", "beta")
    # exec into containers, both ways, by name and by the link's.
    one = host.docker("a", "exec", "one", "hostname")
    for name in ("one", "two"):
        host.docker("a", "exec", "two", "sh", "-c", f"until wget -qO /dev/null http://{name}/name; do sleep 0.2; done")
    assert host.docker("a", "exec", "two", "sh", "-c", "wget -qO- http://one/name && wget -qO- http://first/name") == one * 2
    assert host.docker("a", "exec", "one", "wget", "-qO-", "http://two/name") == "second\n"
    limits = host.docker("a", "exec", "two", "sh", "-c", "cd /sys/fs/cgroup && cat memory.max cpu.max pids.max")
    assert limits.split() == ["67108864", "50000", "100000", "50"]
    # From the host: a port of this host leads to one of the box, and that to one of a container.
    assert get(host.ports("a")["8080/tcp"], "/name") == one
    # A port that a container has is refused to the next, in docker's words and with docker's status.
    taken = host("exec", "a", "docker", "run", "-d", "--name", "three", "-p", "8080:80", "beta", timeout=PATIENCE)
    assert taken.code == 125 and "Bind for 0.0.0.0:8080 failed: port is already allocated" in taken.err, str(taken)
    host.docker("a", "rm", "-f", "one", "two", "three")


@identity.by_user
def test_docker_pulls_from_a_registry_of_the_host_and_its_containers_get_out(host, registry):
    repository = registry.demo.replace("127.0.0.1", HOST_NAME)
    assert host.docker("a", "run", "--rm", repository, "sh", "-c", "echo $GREETING") == "hello from the image\n"
    server = repository.split("/")[0]
    assert host.docker("a", "run", "--rm", "alpha", "wget", "-qO-", f"http://{server}/v2/") == "{}"
    host.docker("a", "rmi", repository)


@identity.by_user
def test_two_boxes_side_by_side_never_share_a_port_and_both_get_out(host, image, registry):
    port = host.ports("a")["2375/tcp"]
    assert json.loads(get(port, "/version"))["Os"] == "linux"
    host.refused("run", "-d", "--privileged", "--name", "b", "-p", f"{port}:2375", image, mentions=[str(port), "is taken"])
    assert host.status("b") == "created" and host.census().shims == 1
    host.ok("rm", "b")
    host.start("b", image, "sleep", "infinity", flags=["-P"])
    others = host.ports("b")
    assert sorted(others) == ["2375/tcp", "2376/tcp"] and not set(others.values()) & set(host.ports("a").values())
    for box in ("a", "b"):
        host.assert_gets_out(box, registry)
    host.ok("rm", "-f", "b")
    for free in others.values():
        assert_free(free)
    host.assert_gets_out("a", registry)
    assert json.loads(get(port, "/version"))["Os"] == "linux"


@identity.by_user
def test_it_is_the_same_docker_after_ten_looks_at_it_from_outside(host):
    before, shim = host.daemon("a"), host.shim("a")
    for _ in range(10):
        assert [(box["name"], box["status"], box["shim_pid"]) for box in host.list()] == [("a", "running", shim.pid)]
    assert host.daemon("a") == before and host.shim("a") == shim


@identity.by_user
def test_volumes_images_and_containers_are_there_after_a_restart(host):
    identity = host.docker("a", "info", "--format", "{{.ID}}")
    host.docker("a", "volume", "create", "data")
    host.docker("a", "run", "--name", "writer", "-v", "data:/data", "alpha", "sh", "-c", "echo kept >/data/file")
    host.ok("restart", "-t", "60", "a", timeout=PATIENCE)
    host.wait_ready("a", starts=2)
    assert host.docker("a", "info", "--format", "{{.ID}}") == identity
    assert host.docker("a", "ps", "-a", "--format", "{{.Names}} {{.Status}}").startswith("writer Exited (0)")
    assert host.docker("a", "run", "--rm", "-v", "data:/data", "alpha", "cat", "/data/file") == "kept\n"


@identity.by_root
def test_the_scenario_of_the_report_time_after_time(request, image, registry):
    """Issue #565: the first box was lost and its machine went on with its ports, exec led to another, and the next box had no network."""
    host = Host()
    inner, port = docker.archive(alpha=["echo", "docker works"]), free_port()
    try:
        for _ in range(ROUNDS):
            host.start("a", image, "sleep", "infinity", flags=["-p", f"{port}:2375"])
            shim = host.shim("a")
            host.run_daemon("a")
            boot = host.ok("exec", "a", "cat", "/proc/sys/kernel/random/boot_id")
            assert [(box["status"], box["shim_pid"]) for box in host.list()] == [("running", shim.pid)]
            assert json.loads(get(port, "/version"))["Os"] == "linux"
            host.load("a", inner)
            assert host.docker("a", "run", "--rm", "alpha") == "docker works\n"
            host.assert_gets_out("a", registry)
            assert host.ok("exec", "a", "cat", "/proc/sys/kernel/random/boot_id") == boot
            assert host.shim("a") == shim and (host.census().shims, host.census().vms) == (1, 1)
            host.ok("rm", "-f", "a")
            assert not shim.alive()
            host.assert_nothing_left()
            assert_free(port)
    finally:
        host.close(failed=has_failed(request, request.node.nodeid))
