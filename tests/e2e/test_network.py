"""The network of a box, end to end: out, in by published ports, what it may not reach, and what is left when it is gone. What frames can do
is tested without a VM in tests/integration/test_net.py."""

import hashlib
import json
import os
import re
import signal
import socket
import threading

import pytest
from boxlite_testing import census, identity
from boxlite_testing.cli import BIN_DIR
from boxlite_testing.outcome import has_failed
from boxlite_testing.waiting import DEADLINE, wait_until
from boxlite_testing.world import ADDRESS, ADDRESS6, METADATA, World, WorldlyBoxlite

FULL_SIZE = bool(os.environ.get("BOXLITE_FULL_SIZE"))
MEGABYTES = 200 if FULL_SIZE else 12

pytestmark = pytest.mark.skipif(not identity.OBSERVER_IS_ROOT, reason="making a network namespace needs root; as root this runs for both kinds of user")

UDP_ECHO = os.path.join(BIN_DIR, "udp_echo")
ECHO = "exec nc -ll -p 80 -e cat"


@pytest.fixture(scope="module")
def world():
    made = World()
    yield made
    made.close()


@pytest.fixture(scope="module")
def neighbour(request, world):
    """A home for boxes that several tests look at."""
    runner = WorldlyBoxlite(world)
    yield runner
    runner.close(failed=has_failed(request, request.module.__name__))


@pytest.fixture
def bl(request, world):
    runner = WorldlyBoxlite(world)
    yield runner
    runner.close(failed=has_failed(request, request.node.nodeid))


@pytest.fixture(scope="module")
def plain(neighbour, demo):
    neighbour.ok("run", "-d", "--name", "plain", demo, "sleep", "infinity")
    return neighbour


def ask(world, port, text=b"hello\n", address="127.0.0.1"):
    """What the box's echo server makes of it."""
    with world.connect(address, port) as connection:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while data := connection.recv(65536):
            answer += data
        return answer


def answers(world, port, address="127.0.0.1"):
    def attempt():
        try:
            return ask(world, port, address=address) == b"hello\n"
        except OSError:
            return False
    wait_until(attempt, f"port {port} leads to the echo server in the box")


def ports(boxlite, box):
    return {(p["box_port"], p["protocol"]): p["host_port"] for p in boxlite.inspect(box)["ports"]}


# --- what a box has

def test_a_box_has_one_interface_with_its_addresses_routes_and_name_server(plain):
    shown = plain.ok("exec", "plain", "ip", "addr")
    assert re.findall(r"^\d+: ([a-z0-9]+)", shown, re.M) == ["lo", "eth0"]
    assert "192.168.127.2/24" in shown and "fd62:6f78:6c69::2/64" in shown and "mtu 65520" in shown and "5a:94:ef:e4:0c:ee" in shown
    assert "tentative" not in shown
    assert "default via 192.168.127.1 dev eth0" in plain.ok("exec", "plain", "ip", "route")
    assert plain.ok("exec", "plain", "cat", "/etc/resolv.conf") == "nameserver 192.168.127.1\nsearch example\n"
    assert re.search(r"^192\.168\.127\.2\s+[0-9a-f]{12}$", plain.ok("exec", "plain", "cat", "/etc/hosts"), re.M)


def test_names_are_resolved_as_the_host_does(plain):
    look = lambda *words: plain("exec", "plain", "nslookup", *words).out  # noqa: E731
    assert ADDRESS in look("plain.example") and ADDRESS6 in look("-type=aaaa", "plain.example")
    assert "203.0.113.9" in look("alias.example")
    assert "NXDOMAIN" in look("nobody.example")
    assert "192.168.127.254" in look("host.boxlite.internal")
    assert ADDRESS in plain.ok("exec", "plain", "sh", "-c", "ping -c 1 plain 2>&1 | head -1"), "the host's search domain"


def test_files_come_and_go_whole_over_http(plain, world):
    body = os.urandom(MEGABYTES << 20)
    port = world.serve(ADDRESS, body)
    got = plain.ok("exec", "plain", "sh", "-c", f"wget -q -O - http://plain.example:{port}/file | sha256sum", timeout=600)
    assert got.split()[0] == hashlib.sha256(body).hexdigest()
    port, received = world.sink(ADDRESS)
    plain.ok("exec", "plain", "sh", "-c", f"head -c {MEGABYTES << 20} /dev/urandom > /big; sha256sum < /big > /sum; nc plain.example {port} < /big", timeout=600)
    assert received.get(timeout=DEADLINE) == plain.ok("exec", "plain", "cat", "/sum").split()[0]


def test_ipv6_leads_out(plain, world):
    port = world.serve(ADDRESS6, b"by six")
    assert plain.ok("exec", "plain", "wget", "-q", "-O", "-", f"http://[{ADDRESS6}]:{port}/") == "by six"


def test_what_no_box_may_reach_is_refused_at_once_counted_and_logged(plain, world):
    loopback = world.serve("127.0.0.1", b"secret")
    metadata = world.serve(METADATA, b"secret")
    before = plain.inspect("plain")["network_usage"]
    for target in (f"192.168.127.254:{loopback}", f"{METADATA}:{metadata}", f"127.0.0.2:{loopback}", f"[fd62:6f78:6c69::fe]:{loopback}"):
        finished = plain("exec", "plain", "wget", "-q", "-O", "-", f"http://{target}/", timeout=30)
        assert finished.code != 0 and "secret" not in finished.out, f"{target}: {finished}"
    after = plain.inspect("plain")["network_usage"]
    assert after["denials"] >= before["denials"] + 3
    log = open(f"{plain.home}/boxes/{plain.inspect('plain')['id']}/net.log").read()
    assert METADATA in log


def test_stats_and_inspect_count_what_passes(plain, world):
    port = world.serve(ADDRESS, b"x" * 1_000_000)
    before = plain.inspect("plain")["network_usage"]
    plain.ok("exec", "plain", "wget", "-q", "-O", "/dev/null", f"http://{ADDRESS}:{port}/")
    after = plain.inspect("plain")["network_usage"]
    assert after["rx_bytes"] - before["rx_bytes"] >= 1_000_000 and after["tx_bytes"] > before["tx_bytes"]
    assert after["connections"] == before["connections"] + 1 and after["dropped"] == before["dropped"]
    assert json.loads(plain.ok("stats", "--no-stream", "--format", "json", "plain"))[0]["network"]["rx_bytes"] >= after["rx_bytes"]
    assert "NET I/O" in plain.ok("stats", "--no-stream", "plain")


# --- published ports

def test_a_published_port_leads_into_the_box_and_is_told(bl, world, demo):
    bl.ok("run", "-d", "--name", "web", "-p", "8080:80", "-p", "127.0.0.1::81/udp", "-p", "90", "-P", demo, "sh", "-c", ECHO)
    assert [bl.census().listeners, bl.census().networks] == [6, 1]
    bound = ports(bl, "web")
    assert bound[80, "tcp"] == 8080 and set(bound) == {(80, "tcp"), (81, "udp"), (90, "tcp"), (2375, "tcp"), (2376, "tcp"), (27653, "udp")}
    answers(world, 8080)
    assert ask(world, 8080, b"x" * 300_000) == b"x" * 300_000
    assert bl.ok("port", "web", "80") == "127.0.0.1:8080\n" and bl.ok("port", "web", "81/udp") == f"127.0.0.1:{bound[81, 'udp']}\n"
    assert "80/tcp -> 127.0.0.1:8080\n" in bl.ok("port", "web")
    assert "127.0.0.1:8080->80/tcp" in bl.ok("ls")
    bl.refused("port", "web", "80/udp", mentions=["80/udp", "web"])
    bl.refused("port", "web", "http", mentions="not a port")
    bl.ok("restart", "-t", "0", "web")
    answers(world, 8080)
    bl.ok("stop", "-t", "0", "web")
    assert not world.can_connect("127.0.0.1", 8080) and bl.inspect("web")["ports"] == [] and bl.ok("port", "web") == ""


def test_udp_goes_both_ways(bl, world, demo):
    bl.ok("run", "-d", "--name", "a", "-p", "9999:9/udp", "-v", f"{UDP_ECHO}:/udp_echo:ro", demo, "/udp_echo", "9")
    client = world.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(0.5)
    client.connect(("127.0.0.1", 9999))

    def echoed():
        try:
            client.send(b"ping")
            return client.recv(100) == b"ping"
        except OSError:
            return False
    wait_until(echoed, "the datagram comes back")
    client.close()


def test_expose_alone_opens_nothing(plain):
    assert plain.inspect("plain")["ports"] == []  # that nothing listens is counted in test_issue_565.py


def test_a_taken_port_is_named_with_its_holder_and_nothing_else_is_touched(bl, world, demo):
    taken = world.listen("127.0.0.1")
    port = taken.getsockname()[1]
    message = bl.refused("run", "-d", "--name", "a", "-p", f"{port}:80", "-p", "8081:81", demo, "sleep", "infinity",
                         mentions=[f"127.0.0.1:{port}/tcp is taken", "box a", "boxlite start a"])
    told = bl.refused("run", "--rm", "-p", f"{port}:80", demo, "true", mentions=f"127.0.0.1:{port}/tcp is taken")
    assert "boxlite start" not in told and told.endswith("; free it, or publish another\n"), told
    if identity.PRODUCT_IS_ROOT:
        assert f"pid {os.getpid()}" in message
    assert bl.status("a") == "created" and bl.inspect("a")["generation"] == 0
    assert not world.can_connect("127.0.0.1", 8081)
    taken.close()
    bl.ok("start", "a")
    assert world.can_connect("127.0.0.1", port)
    # The holder may be a box.
    message = bl.refused("run", "-d", "--name", "b", "-p", f"{port}:80", demo, "sleep", "infinity", mentions=["is taken by box a;"])
    # A stopped box stays as it was, too.
    bl.ok("stop", "-t", "0", "a")
    before = bl.inspect("a")
    with world.listen("127.0.0.1", port):
        bl.refused("start", "a", mentions="is taken")
    assert bl.inspect("a") == before
    bl.ok("start", "a")


def test_two_boxes_of_one_image_get_ports_of_their_own_by_publish_all(bl, world, demo):
    for name in ("a", "b"):
        bl.ok("run", "-d", "--name", name, "-P", demo, "sh", "-c", "while :; do nc -l -p 2375 -e hostname; done", "-h", name)
    first, second = ports(bl, "a"), ports(bl, "b")
    assert len({*first.values(), *second.values()}) == 6
    bl.ok("rm", "-f", "a")
    assert not any(world.can_connect("127.0.0.1", port) for (_, protocol), port in first.items() if protocol == "tcp")
    assert world.can_connect("127.0.0.1", second[2375, "tcp"])


@pytest.mark.parametrize("victim", ["boxlite-shim", "qemu-system", "boxlite-net"])
def test_whatever_is_killed_its_ports_are_free(bl, world, demo, victim):
    bl.ok("run", "-d", "--name", "a", "-p", "8080:80", demo, "sleep", "infinity")
    box = bl.inspect("a")["id"]
    shim = bl.shim("a")
    processes = [shim, *census.vm_processes(bl.home, box)]
    target = [p for p in processes if p.name.startswith(victim)]
    assert len(target) == 1
    target[0].kill(signal.SIGKILL)
    wait_until(lambda: bl.status("a") == "failed", "the box has failed")
    wait_until(lambda: not any(p.alive() for p in processes), "all its processes are gone")
    assert not world.can_connect("127.0.0.1", 8080)
    if victim == "boxlite-net":
        assert "network process was ended by signal 9" in bl.inspect("a")["reason"]
    bl.ok("start", "a")
    assert world.can_connect("127.0.0.1", 8080)


@pytest.mark.parametrize("victim, end", [("boxlite-net", "rm"), ("boxlite-net", "stop"), ("boxlite-net", "kill the shim"), ("bwrap", "rm"),
                                         ("boxlite-volume", "rm"), ("boxlite-volume", "kill the shim"), ("vm-init", "stop"),
                                         ("vm-init", "kill the shim")])
def test_a_process_of_the_box_that_is_stopped_holds_nothing_up(bl, world, demo, victim, end):
    bl.ok("run", "-d", "--name", "a", "-p", "8080:80", "-v", "data:/data", demo, "sleep", "infinity")
    shim = bl.shim("a")
    mine = [shim, *census.vm_processes(bl.home, bl.inspect("a")["id"])]
    stopped = [p for p in mine if p.name == victim]
    assert stopped
    for process in stopped:
        process.stop()
    if end == "rm":
        bl.ok("rm", "-f", "a")
    elif end == "stop":
        bl.ok("stop", "-t", "0", "a")
        assert bl.status("a") == "stopped"
    else:
        shim.kill(signal.SIGKILL)
        wait_until(lambda: bl.status("a") == "failed", "the box has failed")
        bl.ok("start", "a")
        bl.ok("rm", "-f", "a")
    assert [p for p in mine if p.alive()] == [] and not world.can_connect("127.0.0.1", 8080)


def test_a_tunnel_whose_client_is_killed_leaves_nothing_in_the_box(bl, world, demo):
    bl.ok("run", "-d", "--name", "a", demo, "nc", "-ll", "-p", "81", "-e", "sleep", "1000")
    wait_until(lambda: "0.0.0.0:81" in bl.ok("exec", "a", "netstat", "-tln") or ":::81" in bl.ok("exec", "a", "netstat", "-tln"), "it listens")
    child = bl.spawn("network", "tunnel", "a", "81", stdin=open("/dev/zero"))

    def filled():
        """All that is between it and the program, which reads nothing, holds as much as it can."""
        connections = [bl.ok("exec", "a", "netstat", "-tn") for _ in range(2)]
        return "ESTABLISHED" in connections[0] and connections[0] == connections[1]
    wait_until(filled, "the tunnel is connected and full")
    assert "/init" in bl.ok("exec", "a", "ps")
    child.kill()
    child.wait(DEADLINE)
    wait_until(lambda: "/init" not in bl.ok("exec", "a", "ps"), "its helper in the box is gone")


def test_a_start_that_is_killed_with_its_ports_bound_leaves_the_box_and_the_ports_as_they_were(bl, world, demo):
    bl.ok("create", "--name", "a", "-p", "8080:80", demo, "sleep", "infinity")
    finished = bl("start", "a", environment={"BOXLITE_FAILPOINTS": "start.bound=kill9"})
    assert finished.code == -signal.SIGKILL
    assert bl.status("a") == "created" and not world.can_connect("127.0.0.1", 8080)
    bl.ok("start", "a")


# --- what the flags do

def test_without_a_network_there_is_no_device_no_process_and_a_tunnel_all_the_same(bl, demo):
    bl.ok("run", "-d", "--name", "a", "--network", "none", demo, "sh", "-c", ECHO)
    assert re.findall(r"^\d+: ([a-z0-9]+)", bl.ok("exec", "a", "ip", "addr"), re.M) == ["lo"]
    assert bl.census().networks == 0 and bl.inspect("a")["network_usage"] is None
    assert "nameserver" not in bl.ok("exec", "a", "cat", "/etc/resolv.conf")
    wait_until(lambda: bl("network", "tunnel", "a", "80", input=b"hello\n").stdout == b"hello\n", "the tunnel leads to the echo server")
    for flag in (["-p", "80:80"], ["-P"], ["--host-access"], ["--allow-net", "10.0.0.0/8"], ["--net-tx-kbps", "5"]):
        bl.refused("create", "--network", "none", *flag, demo, mentions="--network none")
    bl.refused("create", "--network", "host", demo, mentions=["--network host", "--host-access"])
    bl.refused("create", "--add-host", "h:host-gateway", demo, mentions="--host-access")


def test_the_hosts_loopback_is_reached_by_name_when_that_is_allowed(bl, world, demo):
    port = world.serve("127.0.0.1", b"from the host")
    bl.ok("run", "-d", "--name", "a", "--host-access", demo, "sleep", "infinity")
    assert bl.ok("exec", "a", "wget", "-q", "-O", "-", f"http://host.boxlite.internal:{port}/") == "from the host"
    assert bl("exec", "a", "wget", "-q", "-O", "-", f"http://{METADATA}:{port}/", timeout=30).code != 0
    # docker's way to write it
    assert bl.ok("run", "--rm", "--host-access", "--add-host", "thehost:host-gateway", demo, "wget", "-q", "-O", "-", f"http://thehost:{port}/") == "from the host"


def test_an_allow_list_leaves_only_what_it_names(bl, world, demo):
    good = world.serve(ADDRESS, b"good")
    bad = world.serve(ADDRESS, b"bad")
    bl.ok("run", "-d", "--name", "a", "--allow-net", f"{ADDRESS}:{good}", demo, "sleep", "infinity")
    assert bl.ok("exec", "a", "wget", "-q", "-O", "-", f"http://plain.example:{good}/") == "good"
    assert bl("exec", "a", "wget", "-q", "-O", "-", f"http://plain.example:{bad}/", timeout=30).code != 0
    assert bl.inspect("a")["network_usage"]["denials"] >= 1
    # What other flags name is meant too: a name server, and the host's loopback.
    local = world.serve("127.0.0.1", b"from the host")
    out = bl.ok("run", "--rm", "--allow-net", f"{ADDRESS}:{good}", "--host-access", "--dns", ADDRESS, demo, "sh", "-c",
                f"wget -q -O - http://plain.example:{good}/; wget -q -O - http://host.boxlite.internal:{local}/")
    assert out == "goodfrom the host"
    bl.refused("create", "--allow-net", "example.com", demo, mentions=["--allow-net", "example.com"])
    # What would have no effect.
    bl.refused("create", "--allow-net", "192.168.127.254:80", demo, mentions=["--allow-net", "192.168.127.254:80", "--host-access"])
    bl.refused("create", "--dns", "169.254.169.254", demo, mentions=["--dns", "169.254.169.254"])


def test_a_rate_is_kept(bl, world, demo):
    port = world.serve(ADDRESS, b"x" * 250_000)
    command = f"time wget -q -O /dev/null http://{ADDRESS}:{port}/"
    slow = bl("run", "--rm", "--net-rx-kbps", "1000", demo, "sh", "-c", command).err
    minutes, seconds = (float(part or 0) for part in re.search(r"real\s+(?:(\d+)m )?([\d.]+)s", slow).groups())
    seconds += 60 * minutes
    assert seconds >= 1.2, slow  # 2 Mbit at 1 Mbit/s, less what the bucket held


# --- tunnels

def test_a_tunnel_listens_and_serves_many_connections(bl, world, demo):
    bl.ok("run", "-d", "--name", "a", demo, "sh", "-c", ECHO)
    child = bl.spawn("network", "tunnel", "a", "80", "--listen", "0")
    address = child.stdout.readline().decode().strip()
    port = int(address.rsplit(":", 1)[1])
    answers(world, port)
    data = os.urandom(3_000_000)
    assert ask(world, port, data) == data
    results = []
    threads = [threading.Thread(target=lambda: results.append(_ask_patiently(world, port))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert results == [b"hello\n"] * 8
    child.send_signal(signal.SIGINT)
    assert child.wait(DEADLINE) == 128 + signal.SIGINT and not world.can_connect("127.0.0.1", port)


def _ask_patiently(world, port):
    """nc takes one connection at a time, and the port is closed for a moment between two."""

    def attempt():
        try:
            return ask(world, port)
        except OSError:
            return b""
    return wait_until(attempt, "the echo server answers")


def test_a_tunnel_listens_at_a_path_and_takes_it_away(bl, demo):
    bl.ok("run", "-d", "--name", "a", demo, "sh", "-c", ECHO)
    path = f"{bl.directory}/tunnel.sock"
    child = bl.spawn("network", "tunnel", "a", "80", f"--listen=unix:{path}")
    assert child.stdout.readline().decode() == f"unix:{path}\n"
    assert os.stat(path).st_mode & 0o777 == 0o600

    def echoed():
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            try:
                client.sendall(b"hello\n")
                client.shutdown(socket.SHUT_WR)
                return client.recv(100) == b"hello\n"
            except (ConnectionResetError, BrokenPipeError):
                return False  # nobody listens yet
    wait_until(echoed, "the tunnel leads to the echo server")
    bl.refused("network", "tunnel", "a", "80", f"--listen=unix:{path}", mentions=path)
    child.send_signal(signal.SIGTERM)
    assert child.wait(DEADLINE) == 128 + signal.SIGTERM and not os.path.exists(path)

    # One that a killed tunnel has left behind is in nobody's way; a file is not taken for one.
    for _ in range(2):
        child = bl.spawn("network", "tunnel", "a", "80", f"--listen=unix:{path}")
        assert child.stdout.readline().decode() == f"unix:{path}\n"
        child.kill()
        child.wait(DEADLINE)
        assert os.path.exists(path)
    os.unlink(path)
    with open(path, "w") as file:
        file.write("precious")
    bl.refused("network", "tunnel", "a", "80", f"--listen=unix:{path}", mentions=path)
    assert open(path).read() == "precious"


def test_a_tunnel_whose_two_sides_do_not_read_rests(bl, world, demo):
    bl.ok("run", "-d", "--name", "a", demo, "sh", "-c", ECHO)
    child = bl.spawn("network", "tunnel", "a", "80", "--listen", "0")
    port = int(child.stdout.readline().decode().rsplit(":", 1)[1])
    answers(world, port)
    with world.connect("127.0.0.1", port) as connection:
        connection.settimeout(2)
        with pytest.raises(TimeoutError):  # what comes back is not read, so the echo stops reading, and so on until here
            while True:
                connection.send(b"x" * 65536)
        used = lambda: sum(map(int, open(f"/proc/{child.pid}/stat").read().rpartition(")")[2].split()[11:13]))  # noqa: E731
        before = used()
        bl.ok("stats", "--no-stream", "a")  # a second and more
        assert used() - before < 30, "hundredths of a second of CPU time, with nothing to do"


def test_a_tunnel_to_nobody_says_so(plain):
    plain.refused("network", "tunnel", "plain", "81", mentions=["plain", "nobody listens on port 81"])
    plain.refused("network", "tunnel", "plain", "0", mentions="not a port")
    plain.refused("network", "tunnel", "no-such", "80", mentions="no-such")
    plain.refused("network", "tunnel", "plain", "80", "--listen", "nowhere", mentions="--listen nowhere")


def test_an_idle_network_process_sleeps(plain):
    box = plain.inspect("plain")["id"]
    process, = [p for p in census.vm_processes(plain.home, box) if p.name == "boxlite-net"]
    switches = lambda: int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", open(f"/proc/{process.pid}/status").read(), re.M).group(1))  # noqa: E731
    before = switches()
    plain.ok("stats", "--no-stream", "plain")  # a second and more
    assert switches() - before <= 5
