"""boxlite-net by itself, without a VM: Linux's own TCP/IP in a network namespace is the guest, servers are in another (net_testing/bed.py)."""

import contextlib
import errno
import hashlib
import http.client
import http.server
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "e2e"))
from boxlite_testing import identity  # noqa: E402
from boxlite_testing.sanitizer import plain_build  # noqa: E402
from boxlite_testing.waiting import DEADLINE, wait_until  # noqa: E402
from net_testing import bed as beds  # noqa: E402
from net_testing import frames  # noqa: E402
from net_testing.bed import GATEWAY, GUEST, HOST_ALIAS, HOST_ALIAS6, WORLD, WORLD6, Bed  # noqa: E402

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces; test_net_as_user.py runs it in a user namespace")


@pytest.fixture(scope="module")
def host():
    namespace = beds.host_namespace()
    yield namespace
    namespace.close()


@pytest.fixture
def start(host):
    """Starts boxlite-net with the given configuration; ends it and proves that it lived until then."""
    started = []

    def make(**config):
        started.append(Bed(host, **config))
        return started[-1]

    yield make
    for bed in started:
        bed.close()


def listen(namespace, address, port=0, kind=socket.SOCK_STREAM, backlog=512):
    """A server socket in a namespace, with a generous deadline."""
    def make():
        s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
        if kind == socket.SOCK_STREAM:  # of two UDP sockets with it, bound to any port, both can get the same one
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((address, port))
        if kind == socket.SOCK_STREAM:
            s.listen(backlog)
        s.settimeout(DEADLINE)
        return s
    return namespace.do(make)


def new_socket(namespace, address, kind=socket.SOCK_STREAM):
    s = namespace.do(socket.socket, socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    s.settimeout(DEADLINE)
    return s


def connect(namespace, address, port):
    s = new_socket(namespace, address)
    s.connect((address, port))
    return s


def read_all(s):
    data = b""
    while chunk := s.recv(65536):
        data += chunk
    return data


def serve(listener, handle, count=1):
    """Handles `count` connections, each in a thread; join() waits for all of them."""
    def each():
        threads = []
        for _ in range(count):
            s, _ = listener.accept()
            threads.append(threading.Thread(target=handle, args=(s,), daemon=True))
            threads[-1].start()
        for thread in threads:
            thread.join()
    server = threading.Thread(target=each, daemon=True)
    server.start()
    return server


def echo(s):
    with s:
        while chunk := s.recv(65536):
            s.sendall(chunk)


def digest_of(block, mib):
    total = hashlib.sha256()
    for _ in range(mib):
        total.update(block)
    return total.hexdigest()


def send_blocks(s, block, count):
    for _ in range(count):
        s.sendall(block)
    s.shutdown(socket.SHUT_WR)


def receive_digest(s):
    total, size = hashlib.sha256(), 0
    while chunk := s.recv(1 << 20):
        total.update(chunk)
        size += len(chunk)
    return total.hexdigest(), size


# --- the process itself


def test_it_ends_with_its_control_socket(start):
    bed = start(guest=False)
    assert bed.answer == {"ready": True}
    bed.control.shutdown(socket.SHUT_RDWR)
    assert bed.process.wait(timeout=DEADLINE) == 0


def test_it_ends_with_its_launcher_killed(start):
    bed = start(guest=False)
    bed.launcher.kill()
    assert bed.process.wait(timeout=DEADLINE) == 0


def test_it_ends_when_its_shim_is_killed_in_the_middle_of_traffic(host, start):
    bed = start()
    listener = listen(host, WORLD)
    server = serve(listener, echo)
    with connect(bed.guest, WORLD, listener.getsockname()[1]) as s:
        s.sendall(b"x")
        assert s.recv(1) == b"x"
        bed.launcher.send_signal(signal.SIGKILL)
        assert bed.process.wait(timeout=DEADLINE) == 0
    server.join()


def test_it_ends_when_there_is_no_virtual_machine_to_hand_a_frame_to(host, start):
    published = listen(host, "127.0.0.1")
    address = published.getsockname()
    bed = start(guest=False, listeners=[(published, 80)])
    bed.nic.close()
    with connect(host, *address):
        assert bed.process.wait(timeout=DEADLINE) == 0


@pytest.mark.parametrize("change, message", [({"mtu": 70000}, "MTU 70000"), ({"allow": ["nonsense"]}, "'nonsense'"), ({"nic": "x"}, '"nic"')])
def test_a_configuration_that_cannot_be_is_an_error_in_one_line(start, change, message):
    bed = start(guest=False, **change)
    assert message in bed.answer["error"] and "\n" not in bed.answer["error"]
    assert bed.process.wait(timeout=DEADLINE) == 1


@plain_build
def test_it_gives_up_all_privilege_and_every_descriptor_it_was_not_given(host, start):
    if not os.access("/proc/1/fd", os.R_OK):
        pytest.skip("only root sees another process's descriptors")
    secret = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(secret, True)
    user = 65534 if identity.PRODUCT_IS_ROOT else identity.UID
    bed = start(guest=False, uid=user if identity.PRODUCT_IS_ROOT else None, listeners=[(listen(host, "127.0.0.1"), 80)], more_fds=[secret])
    os.close(secret)
    with open(f"/proc/{bed.process.pid}/status") as f:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
    assert status["Uid"].split() == [str(user)] * 4 and status["Groups"].strip() == ""
    assert {status[kind] for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    if identity.PRODUCT_IS_ROOT:
        assert status["Gid"].split() == [str(user)] * 4 and status["CapBnd"] == "0" * 16
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    folder = f"/proc/{bed.process.pid}/fd"
    targets = [os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)]
    assert not any("passwd" in target or "counters" in target for target in targets), targets
    # control, stdout, stderr and one in reserve, NIC, launcher, the listener
    assert len(targets) == 7, targets


@pytest.fixture
def folder():
    """One that the product's user may write to."""
    path = identity.give(tempfile.mkdtemp(prefix="boxlite-net-test-"))
    yield path
    shutil.rmtree(path)


def test_an_idle_network_wakes_nobody(host, start, folder):
    trace = f"{folder}/trace"
    bed = start(guest=False, prefix=["strace", "-ttt", "-o", trace], tx_kbps=1000, rx_kbps=1000,
                listeners=[(listen(host, "127.0.0.1"), 80), (listen(host, "127.0.0.1", kind=socket.SOCK_DGRAM), 53)])

    def lines():
        with open(trace) as f:
            return f.read().splitlines()

    def quiet_for(seconds):
        before = len(lines())
        begun = time.monotonic()
        wait_until(lambda: time.monotonic() > begun + seconds, "some seconds are over")
        return lines()[before:] == []
    wait_until(lambda: quiet_for(1), "it has begun")
    assert len(lines()) > 100, "it was traced"
    assert quiet_for(4), lines()[-5:]
    assert bed.alive()


# --- outbound


@pytest.mark.parametrize("address", [WORLD, WORLD6])
def test_tcp_goes_out_and_both_halves_close_by_themselves(host, start, address):
    bed = start()
    listener = listen(host, address)

    def reverse_at_the_end(s):
        with s:
            s.sendall(read_all(s)[::-1])

    server = serve(listener, reverse_at_the_end)
    with connect(bed.guest, address, listener.getsockname()[1]) as s:
        s.sendall(b"hello")
        s.shutdown(socket.SHUT_WR)
        assert read_all(s) == b"olleh"
    server.join()
    assert bed.counters()["tcp_outward"] == 1


class _Files(http.server.BaseHTTPRequestHandler):
    """Serves 200 MB; takes as much, and answers with its digest."""

    block, size = os.urandom(1 << 20), 200

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(self.size << 20))
        self.end_headers()
        for _ in range(self.size):
            self.wfile.write(self.block)

    def do_PUT(self):
        total, left = hashlib.sha256(), int(self.headers["Content-Length"])
        while left:
            chunk = self.rfile.read(min(left, 1 << 20))
            total.update(chunk)
            left -= len(chunk)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(total.hexdigest().encode())

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("mtu", [1500, 65520])
def test_200_mb_by_http_arrive_whole_in_both_directions(host, start, mtu):
    bed = start(mtu=mtu)
    server = host.do(http.server.ThreadingHTTPServer, (WORLD, 0), _Files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    whole = hashlib.sha256()
    for _ in range(_Files.size):
        whole.update(_Files.block)

    def request(method, body=None):
        client = http.client.HTTPConnection(*server.server_address)
        client.sock = connect(bed.guest, *server.server_address)
        client.request(method, "/", body=body, headers={"Content-Length": str(_Files.size << 20)} if body else {})
        return client.getresponse()

    begun = time.monotonic()
    digest, answer = hashlib.sha256(), request("GET")
    while chunk := answer.read(1 << 20):
        digest.update(chunk)
    down = time.monotonic() - begun
    assert digest.hexdigest() == whole.hexdigest()
    begun = time.monotonic()
    assert request("PUT", (_Files.block for _ in range(_Files.size))).read().decode() == whole.hexdigest()
    print(f"MTU {mtu}: down {200 / down:.0f} MiB/s, up {200 / (time.monotonic() - begun):.0f} MiB/s")
    server.shutdown()
    server.server_close()
    counters = bed.counters()
    assert counters["rx_bytes"] > 200 << 20 and counters["tx_bytes"] > 200 << 20


def test_200_connections_at_once(host, start):
    bed = start()
    listener = listen(host, WORLD)
    server = serve(listener, echo, 200)
    sockets = [connect(bed.guest, WORLD, listener.getsockname()[1]) for _ in range(200)]
    for i, s in enumerate(sockets):
        s.sendall(bytes([i]) * 10000)
        s.shutdown(socket.SHUT_WR)
    for i, s in enumerate(sockets):
        assert read_all(s) == bytes([i]) * 10000
        s.close()
    server.join()
    assert bed.counters()["tcp_outward"] == 200


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def test_a_reset_goes_through_in_both_directions(host, start):
    bed = start()
    listener = listen(host, WORLD)
    for resetting_side in ("host", "guest"):
        s = connect(bed.guest, WORLD, listener.getsockname()[1])
        accepted, _ = listener.accept()
        s.sendall(b"x")
        assert accepted.recv(1) == b"x"
        ours, theirs = (accepted, s) if resetting_side == "host" else (s, accepted)
        reset(ours)
        theirs.settimeout(DEADLINE)
        with pytest.raises(ConnectionResetError):
            while theirs.recv(1):
                pass
        theirs.close()


@pytest.mark.parametrize("address", [WORLD, WORLD6])
def test_a_closed_port_refuses(host, start, address):
    bed = start()
    closed = listen(host, address)
    port = closed.getsockname()[1]
    closed.close()
    with pytest.raises(ConnectionRefusedError):
        connect(bed.guest, address, port)


@pytest.mark.parametrize("address", [WORLD, WORLD6])
@pytest.mark.parametrize("size", [0, 1, 1400, 9000, 60000])
def test_udp_comes_back_from_whom_it_was_sent_to(host, start, address, size):
    bed = start()
    server = listen(host, address, kind=socket.SOCK_DGRAM)
    s = new_socket(bed.guest, address, socket.SOCK_DGRAM)
    s.sendto(b"x" * size, server.getsockname()[:2])
    data, peer = server.recvfrom(65536)
    assert len(data) == size
    server.sendto(data, peer)
    assert s.recvfrom(65536) == (data, server.getsockname())
    assert bed.counters()["udp_flows"] == 1


def test_fragments_of_the_guest_arrive_as_one_datagram(host, start):
    bed = start(mtu=1500)
    server = listen(host, WORLD, kind=socket.SOCK_DGRAM)
    s = new_socket(bed.guest, WORLD, socket.SOCK_DGRAM)
    data = os.urandom(20000)
    s.sendto(data, server.getsockname())
    assert server.recv(65536) == data


def icmp_echo(namespace, address, identity=7):
    def ping():
        s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        s.connect((address, 0))
        body = struct.pack("!BBHHH", 8, 0, 0, identity, 1) + b"payload!"
        total = sum(struct.unpack("!8H", body))
        total = (total & 0xFFFF) + (total >> 16)
        s.send(body[:2] + struct.pack("!H", ~total & 0xFFFF) + body[4:])
        return s
    s = namespace.do(ping)
    s.settimeout(DEADLINE)
    with s:
        while True:
            kind, _, _, echoed = struct.unpack_from("!BBHH", s.recv(2000), 20)
            if kind == 0 and echoed == identity:
                return True


def test_ping_reaches_the_gateway_and_the_world_and_nothing_forbidden(start):
    bed = start()
    assert icmp_echo(bed.guest, GATEWAY)
    assert icmp_echo(bed.guest, WORLD)
    for address in (HOST_ALIAS, "169.254.169.254"):
        with pytest.raises(OSError) as refused:
            icmp_echo(bed.guest, address)
        assert refused.value.errno == errno.EHOSTUNREACH  # prohibited


# --- names


@pytest.fixture(scope="module")
def dns_server(host):
    texts = [f"--txt-record=big.test,{chr(97 + i) * 200}" for i in range(20)]
    server = host.spawn(["dnsmasq", "-k", "-C", "/dev/null", "--listen-address=127.0.0.53", "--bind-interfaces", "--no-resolv", "--no-hosts",
                         "--pid-file=", "--user=root", "--local=/test/", "--host-record=web.test,203.0.113.1,2001:db8::1",
                         "--cname=alias.test,web.test", *texts], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wait_until(lambda: "127.0.0.53:53" in host.command("ss -lntu"), "dnsmasq listens")
    yield "127.0.0.53"
    server.terminate()
    server.wait()


def ask(bed, name, kind="A", how=dns.query.udp):
    return bed.guest.do(how, dns.message.make_query(name, kind), GATEWAY, timeout=30)


def records(answer):
    return {(dns.rdatatype.to_text(one.rdtype), value.to_text()) for one in answer.answer for value in one}


@pytest.mark.parametrize("how", [dns.query.udp, dns.query.tcp])
def test_names_are_resolved_by_the_hosts_servers(start, dns_server, how):
    bed = start(resolvers=[dns_server])
    assert records(ask(bed, "web.test", "A", how)) == {("A", "203.0.113.1")}
    assert records(ask(bed, "web.test", "AAAA", how)) == {("AAAA", "2001:db8::1")}
    assert records(ask(bed, "alias.test", "A", how)) == {("CNAME", "web.test."), ("A", "203.0.113.1")}
    assert ask(bed, "nobody.test", "A", how).rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize("how", [dns.query.udp, dns.query.tcp])
def test_the_hosts_name_is_answered_here(start, how):
    bed = start()
    assert records(ask(bed, "host.boxlite.internal", "A", how)) == {("A", HOST_ALIAS)}
    empty = ask(bed, "host.boxlite.internal", "AAAA", how)
    assert empty.rcode() == dns.rcode.NOERROR and not empty.answer
    assert ask(bed, "other.boxlite.internal", "A", how).rcode() == dns.rcode.NXDOMAIN
    assert ask(bed, "web.test", "A", how).rcode() == dns.rcode.SERVFAIL, "no server is known"


def test_an_answer_too_long_for_udp_comes_by_tcp(start, dns_server):
    bed = start(resolvers=[dns_server])
    short = ask(bed, "big.test", "TXT")
    assert short.flags & dns.flags.TC
    assert len(records(ask(bed, "big.test", "TXT", dns.query.tcp))) == 20


def test_several_questions_on_one_connection_are_answered_in_order(start, dns_server):
    bed = start(resolvers=[dns_server])
    s = connect(bed.guest, GATEWAY, 53)
    queries = [dns.message.make_query(name, "A") for name in ("web.test", "host.boxlite.internal", "nobody.test", "web.test")]
    s.sendall(b"".join(struct.pack("!H", len(q.to_wire())) + q.to_wire() for q in queries))
    s.shutdown(socket.SHUT_WR)
    data = read_all(s)
    for query in queries:
        size = struct.unpack("!H", data[:2])[0]
        assert dns.message.from_wire(data[2:2 + size]).id == query.id
        data = data[2 + size:]
    assert data == b""


def test_a_server_that_refuses_or_is_mute_is_passed_over(host, start, dns_server):
    mute = listen(host, "127.0.0.98", 53, socket.SOCK_DGRAM)
    bed = start(resolvers=["127.0.0.99", "127.0.0.98", dns_server])
    assert records(ask(bed, "web.test")) == {("A", "203.0.113.1")}
    mute.close()


def test_an_answer_that_is_not_to_the_question_is_no_answer(host, start):
    liar = listen(host, "127.0.0.97", 53, socket.SOCK_DGRAM)

    def lie():
        wire, peer = liar.recvfrom(65536)
        query = dns.message.from_wire(wire)
        for change in ("id", "name", "right"):
            answer = dns.message.make_response(query)
            if change == "id":
                answer.id ^= 1
            if change == "name":
                answer = dns.message.make_response(dns.message.make_query("evil.test", "A", id=query.id))
            answer.answer.append(dns.rrset.from_text(answer.question[0].name, 1, "IN", "A", "192.0.2.1" if change == "right" else "192.0.2.66"))
            liar.sendto(answer.to_wire(), peer)

    server = threading.Thread(target=lie)
    server.start()
    bed = start(resolvers=["127.0.0.97"])
    assert records(ask(bed, "asked.test")) == {("A", "192.0.2.1")}
    server.join()
    liar.close()


def test_fresh_servers_are_asked_for_when_the_known_are_old(start, dns_server):
    bed = start(resolvers=["127.0.0.99"])
    asked = []
    reader = threading.Thread(target=lambda: asked.append(bed.next_line()))
    reader.start()
    # The first question comes with servers just known; one of the later ones finds them old.
    wait_until(lambda: ask(bed, "web.test").rcode() == dns.rcode.SERVFAIL and asked, "fresh servers are asked for", interval=0.2)
    assert asked == [{"ask": "resolvers"}]
    bed.say({"resolvers": [dns_server]})
    wait_until(lambda: records(ask(bed, "web.test")) == {("A", "203.0.113.1")}, "the new server is asked")
    reader.join()


# --- published ports


@pytest.mark.parametrize("client, seen", [("127.0.0.1", HOST_ALIAS), ("::1", HOST_ALIAS), (WORLD6, HOST_ALIAS), (WORLD, WORLD)])
def test_a_published_tcp_port_reaches_an_ipv4_service(host, start, client, seen):
    published = listen(host, "::" if ":" in client else "0.0.0.0")
    port = published.getsockname()[1]
    bed = start(listeners=[(published, 8000)])
    service = listen(bed.guest, GUEST, 8000)
    peers = []

    def echo_and_note(s):
        peers.append(s.getpeername()[0])
        echo(s)

    server = serve(service, echo_and_note)
    with connect(host, client, port) as s:
        s.sendall(b"x" * 100000)
        s.shutdown(socket.SHUT_WR)
        assert read_all(s) == b"x" * 100000
    server.join()
    assert peers == [seen]
    assert bed.counters()["tcp_inward"] == 1


def test_clients_of_a_published_tcp_port_with_the_same_port_are_two(host, start):
    published4, published6 = listen(host, "127.0.0.1"), listen(host, "::1")
    ports = published4.getsockname()[1], published6.getsockname()[1]
    bed = start(listeners=[(published4, 8000), (published6, 8000)])
    server = serve(listen(bed.guest, GUEST, 8000), echo, 3)
    clients = []
    for source, port in (("127.0.0.1", ports[0]), ("127.0.0.2", ports[0]), ("::1", ports[1])):
        s = new_socket(host, source)
        s.bind((source, 5555))
        s.connect(("::1" if ":" in source else "127.0.0.1", port))
        clients.append(s)
    for i, s in enumerate(clients):
        s.sendall(bytes([i]) * 1000)
        s.shutdown(socket.SHUT_WR)
    for i, s in enumerate(clients):
        assert read_all(s) == bytes([i]) * 1000
        s.close()
    server.join()


def test_100_clients_of_a_published_tcp_port_at_once(host, start):
    published = listen(host, "127.0.0.1")
    address = published.getsockname()
    bed = start(listeners=[(published, 8000)])
    server = serve(listen(bed.guest, GUEST, 8000), echo, 100)
    clients = [connect(host, *address) for _ in range(100)]
    for i, s in enumerate(clients):
        s.sendall(bytes([i]) * 10000)
        s.shutdown(socket.SHUT_WR)
    for i, s in enumerate(clients):
        assert read_all(s) == bytes([i]) * 10000
        s.close()
    server.join()
    assert bed.counters()["tcp_inward"] == 100


def test_a_published_port_nobody_serves_ends_its_client(host, start):
    published = listen(host, "127.0.0.1")
    address = published.getsockname()
    start(listeners=[(published, 8000)])
    with connect(host, *address) as s:
        try:
            assert s.recv(1) == b""
        except ConnectionResetError:
            pass


def test_clients_of_a_published_udp_port_get_their_own_answers(host, start):
    published4 = listen(host, "0.0.0.0", kind=socket.SOCK_DGRAM)
    published6 = listen(host, "::", kind=socket.SOCK_DGRAM)
    other = listen(host, "127.0.0.1", kind=socket.SOCK_DGRAM)
    ports = [s.getsockname()[1] for s in (published4, published6, other)]
    bed = start(listeners=[(published4, 9000), (published6, 9000), (other, 9000)])
    service = listen(bed.guest, GUEST, 9000, socket.SOCK_DGRAM)
    clients = []
    for source, port in (("127.0.0.1", ports[0]), (WORLD, ports[0]), ("::1", ports[1]), (WORLD6, ports[1]), ("127.0.0.1", ports[2])):
        for _ in range(20):
            s = listen(host, source, kind=socket.SOCK_DGRAM)
            s.connect((source, port))
            clients.append(s)
    for i, s in enumerate(clients):
        s.send(b"%d" % i)
    seen = {}
    for _ in clients:
        data, peer = service.recvfrom(1000)
        seen[data] = peer
        service.sendto(b"answer to " + data, peer)
    for i, s in enumerate(clients):
        assert s.recv(1000) == b"answer to %d" % i
    assert {peer[0] for peer in seen.values()} == {HOST_ALIAS, WORLD}
    assert len(set(seen.values())) == len(clients)
    assert bed.counters()["udp_flows"] == len(clients)
    for s in clients:
        s.close()


def test_a_published_udp_port_carries_datagrams_of_any_size(host, start):
    published = listen(host, "127.0.0.1", kind=socket.SOCK_DGRAM)
    address = published.getsockname()
    bed = start(mtu=1500, listeners=[(published, 9000)])
    service = listen(bed.guest, GUEST, 9000, socket.SOCK_DGRAM)
    s = new_socket(host, "127.0.0.1", socket.SOCK_DGRAM)
    for size in (0, 1, 1472, 1473, 40000, 65507):
        data = os.urandom(size)
        s.sendto(data, address)
        got, peer = service.recvfrom(65536)
        assert got == data
        service.sendto(data, peer)
        assert s.recv(65536) == data


# --- what is forbidden


def marked(bed, host):
    """Returns when every frame sent before has been dealt with: a datagram to the world comes after them."""
    server = listen(host, WORLD, kind=socket.SOCK_DGRAM)
    s = new_socket(bed.guest, WORLD, socket.SOCK_DGRAM)
    s.sendto(b"mark", server.getsockname())
    assert server.recv(10) == b"mark"


def test_the_hosts_loopback_is_reached_by_its_alias_with_host_access_only(host, start):
    for loopback, alias in (("127.0.0.1", HOST_ALIAS), ("::1", HOST_ALIAS6)):
        listener = listen(host, loopback)
        port = listener.getsockname()[1]
        closed = start()
        begun = time.monotonic()
        with pytest.raises(ConnectionRefusedError):
            connect(closed.guest, alias, port)
        assert time.monotonic() - begun < 1, "the first SYN is answered, not a repeated one"
        assert closed.counters()["denials"] == 1
        shown = f"[{alias}]" if ":" in alias else alias
        wait_until(lambda: f"denied tcp to {shown}:{port}\n" in closed.log_text(), "the denial is logged")
        open_bed = start(host_access=True)
        with connect(open_bed.guest, alias, port):
            listener.accept()[0].close()
        listener.close()


def test_with_a_list_only_what_is_on_it_is_reached(host, start):
    listener, other = listen(host, WORLD), listen(host, "203.0.113.2")
    port = listener.getsockname()[1]
    bed = start(allow=[f"{WORLD}:{port}"])
    with connect(bed.guest, WORLD, port):
        listener.accept()[0].close()
    for address in (other.getsockname(), (WORLD, port + 1)):
        with pytest.raises(ConnectionRefusedError):
            connect(bed.guest, *address)
    s = new_socket(bed.guest, WORLD, socket.SOCK_DGRAM)
    s.connect((WORLD, port + 1))
    s.send(b"x")
    with pytest.raises(OSError) as refused:
        s.recv(1)
    assert refused.value.errno == errno.EHOSTUNREACH
    assert bed.counters()["denials"] == 3


def test_no_spelling_of_a_forbidden_address_is_reached(host, start):
    """Raw frames, as only a hostile guest makes them; the services they are for are really there."""
    tcp4, tcp6 = listen(host, "0.0.0.0"), listen(host, "::")
    udp4, udp6 = listen(host, "0.0.0.0", kind=socket.SOCK_DGRAM), listen(host, "::", kind=socket.SOCK_DGRAM)
    bed = start()
    for address in FORBIDDEN:
        v6 = ":" in address
        for kind, service in ((socket.SOCK_STREAM, tcp6 if v6 else tcp4), (socket.SOCK_DGRAM, udp6 if v6 else udp4)):
            bed.inject(frames.packet(address, kind, service.getsockname()[1]))
    marked(bed, host)
    assert select.select([tcp4, tcp6, udp4, udp6], [], [], 0)[0] == []
    counters = bed.counters()
    assert counters["denials"] == 2 * (len(FORBIDDEN) - len(GROUPS))
    assert counters["tcp_outward"] == 0
    # The same frames to an address that is not forbidden do arrive, so the test can fail.
    bed.inject(frames.packet(WORLD, socket.SOCK_STREAM, tcp4.getsockname()[1]))
    bed.inject(frames.packet(WORLD6, socket.SOCK_DGRAM, udp6.getsockname()[1]))
    assert udp6.recv(100) == b"payload"
    tcp4.accept()[0].close()


# Multicast and broadcast are ignored, not denied.
GROUPS = ["255.255.255.255", "192.168.127.255", "224.0.0.1", "ff02::1", "ff01::1"]
FORBIDDEN = [*GROUPS, "127.0.0.1", "127.1.2.3", "0.0.0.0", "0.0.0.1", "192.168.127.254", "192.168.127.1", "192.168.127.3",
             "169.254.169.254", "240.0.0.1", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0",
             "::ffff:203.0.113.1", "fd62:6f78:6c69::fe", "fd62:6f78:6c69::1", "fd62:6f78:6c69::3", "fd62:6f78:6c69::1234:5678", "fe80::1", "fe80::fe",
             "fd00:ec2::254", "64:ff9b::127.0.0.1", "2002:7f00:1::1"]


def test_spoofed_sources_are_dropped_and_counted(host, start):
    tcp4, tcp6 = listen(host, WORLD), listen(host, WORLD6)
    bed = start()
    marked(bed, host)
    before = bed.counters()["dropped"]
    spoofs = [(WORLD, source) for source in ("192.168.127.3", "10.0.0.1", "127.0.0.1", HOST_ALIAS, "203.0.113.2", "0.0.0.0")]
    spoofs += [(WORLD6, source) for source in ("fd62:6f78:6c69::3", "::1", "fe80::1", "2001:db8::2", "::")]
    for to, source in spoofs:
        bed.inject(frames.packet(to, socket.SOCK_STREAM, (tcp6 if ":" in to else tcp4).getsockname()[1], source=source))
    bed.inject(frames.packet(WORLD, socket.SOCK_STREAM, tcp4.getsockname()[1], mac=b"\x02\0\0\0\0\1"))
    bed.inject(frames.arp(GATEWAY))
    bed.inject(frames.arp(HOST_ALIAS))
    marked(bed, host)
    assert select.select([tcp4, tcp6], [], [], 0)[0] == []
    assert bed.counters()["dropped"] >= before + len(spoofs) + 3
    # The gateway's ARP entry in libslirp is the box's still: an answer arrives.
    assert icmp_echo(bed.guest, GATEWAY)


def test_one_box_does_not_reach_anothers_published_port(host, start):
    published = listen(host, "127.0.0.1")
    port = published.getsockname()[1]
    first = start(listeners=[(published, 8000)])
    listen(first.guest, GUEST, 8000)
    second = start()
    for address in (HOST_ALIAS, HOST_ALIAS6, GATEWAY):
        with pytest.raises(ConnectionRefusedError):
            connect(second.guest, address, port)
    assert first.counters()["tcp_inward"] == 0


# --- floods


BOUND = 200 << 20


def test_a_flood_of_garbage_is_survived(host, start):
    bed = start()
    random = __import__("random").Random(565)
    for i in range(30000):
        frame = bytearray(frames.packet(WORLD if i % 2 else WORLD6, (socket.SOCK_STREAM, socket.SOCK_DGRAM)[i // 2 % 2], 9))
        for _ in range(random.randrange(4)):
            frame[random.randrange(12, len(frame))] = random.randrange(256)
        bed.inject(bytes(frame[:random.randrange(len(frame) + 1)] if i % 3 == 0 else frame))
    marked(bed, host)
    assert bed.resident_bytes() < BOUND


def test_a_flood_of_connections_to_nowhere_ends_at_its_bound(host, start):
    bed = start()
    for i in range(20000):
        bed.inject(frames.packet(f"198.51.100.{1 + i % 250}", socket.SOCK_STREAM, 1 + i % 60000, source_port=1 + i % 65000))
    assert icmp_echo(bed.guest, GATEWAY)
    assert bed.counters()["tcp_outward"] == 1792 and bed.counters()["denials"] == 20000 - 1792
    assert bed.resident_bytes() < BOUND


def test_clients_of_a_service_that_hangs_leave_the_other_ports_and_the_box_itself_their_share(host, start):
    """They give up, the service does not: libslirp keeps each connection."""
    hanging, healthy = listen(host, "127.0.0.1"), listen(host, "127.0.0.1")
    hanging_at, healthy_at = hanging.getsockname(), healthy.getsockname()
    outside = listen(host, WORLD)
    bed = start(listeners=[(hanging, 8000), (healthy, 8001)])
    service = listen(bed.guest, GUEST, 8000, backlog=4096)
    other = listen(bed.guest, GUEST, 8001)
    for _ in range(1200):
        with contextlib.suppress(ConnectionResetError):  # one that is refused may be told so within connect() already
            connect(host, *hanging_at).close()
    wait_until(lambda: bed.counters()["tcp_inward"] + bed.counters()["denials"] == 1200, "each has come in or was refused")
    assert bed.counters()["denials"] == 1200 - 1024
    wait_until(lambda: f"denied a client of published port {hanging_at[1]}" in bed.log_text(), "the denial is logged")

    for client, server in ((connect(host, *healthy_at), other), (connect(bed.guest, *outside.getsockname()), outside)):
        served, _ = server.accept()
        client.sendall(b"through")
        assert served.recv(100) == b"through"
    # What the box closes makes room again.
    for _ in range(1024):
        service.accept()[0].close()
    def comes_in():
        with contextlib.suppress(ConnectionResetError):
            connect(host, *hanging_at).close()
        return bed.counters()["tcp_inward"] > before
    before = bed.counters()["tcp_inward"]
    wait_until(comes_in, "one more has come in")


def test_a_peer_that_vanishes_is_noticed_by_the_kernel(host, start):
    published, outside = listen(host, "127.0.0.1"), listen(host, WORLD)
    at = published.getsockname()
    bed = start(listeners=[(published, 8000)])
    service = listen(bed.guest, GUEST, 8000)
    connections = [connect(host, *at), service.accept()[0], connect(bed.guest, *outside.getsockname()), outside.accept()[0]]
    ours = [line for line in host.command("ss -tnopH").splitlines() if "boxlite-net" in line]
    assert len(ours) == 2 and all("timer:(keepalive," in line for line in ours), ours
    for connection in connections:
        connection.close()


@plain_build
def test_a_flood_of_udp_flows_ends_at_its_bound(host, start):
    bed = start()
    payload = b"x" * 30000
    for i in range(10000):
        bed.inject(frames.packet("198.51.100.1", socket.SOCK_DGRAM, 9, source_port=1 + i, payload=payload))
    assert icmp_echo(bed.guest, GATEWAY)
    assert bed.counters()["udp_flows"] < 2048
    assert bed.resident_bytes() < BOUND


@plain_build
def test_a_flood_of_fragments_without_end_is_bounded(host, start):
    bed = start()
    for i in range(20000):
        bed.inject(frames.fragment(WORLD, i, b"x" * 30000, offset=8 * (i % 4), more=True))
    marked(bed, host)
    assert bed.resident_bytes() < 50 << 20


def test_a_flood_of_questions_is_bounded(host, start):
    mute = listen(host, "127.0.0.96", 53, socket.SOCK_DGRAM)
    bed = start(resolvers=["127.0.0.96"])
    query = dns.message.make_query("web.test", "A").to_wire()
    for i in range(5000):
        bed.inject(frames.packet(GATEWAY, socket.SOCK_DGRAM, 53, source_port=1024 + i, payload=query))
    assert records(ask(bed, "host.boxlite.internal")) == {("A", HOST_ALIAS)}
    mute.close()


def test_a_guest_that_takes_no_frames_holds_its_senders_back(host, start):
    bed = start()
    listener = listen(host, WORLD)
    block = os.urandom(1 << 20)

    def send(s):
        with s:
            for _ in range(64):
                s.sendall(block)

    s = connect(bed.guest, WORLD, listener.getsockname()[1])
    bed.takes.clear()
    server = serve(listener, send)
    before = bed.resident_bytes()
    port = f":{listener.getsockname()[1]}"

    def held_back():
        rows = [line.split() for line in host.command("ss -tnH").splitlines()]
        return any(row[3].endswith(port) and int(row[2]) > 100000 for row in rows)

    wait_until(held_back, "the sender waits")
    assert bed.resident_bytes() - before < 20 << 20
    bed.takes.set()
    total = hashlib.sha256()
    for _ in range(64):
        total.update(block)
    assert receive_digest(s) == (total.hexdigest(), 64 << 20)
    server.join()


# --- limits


@pytest.mark.parametrize("limit", ["tx_kbps", "rx_kbps"])
def test_a_limit_is_kept_without_losing_a_byte(host, start, limit):
    bed = start(mtu=1500, **{limit: 8000})  # a million bytes a second
    listener = listen(host, WORLD)
    block = os.urandom(1 << 20)
    s = connect(bed.guest, WORLD, listener.getsockname()[1])
    accepted, _ = listener.accept()
    accepted.settimeout(DEADLINE)
    sender, receiver = (s, accepted) if limit == "tx_kbps" else (accepted, s)
    marked(bed, host)
    before = bed.counters()["dropped"]
    begun = time.monotonic()
    thread = threading.Thread(target=send_blocks, args=(sender, block, 3))
    thread.start()
    digest, size = receive_digest(receiver)
    taken = time.monotonic() - begun
    thread.join()
    assert (digest, size) == (digest_of(block, 3), 3 << 20)
    assert 2.8 < taken < 10, taken
    assert bed.counters()["dropped"] == before
