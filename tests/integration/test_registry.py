"""boxlite-image and registries: what breaks, what lies, who may know a password, and how much memory it takes."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "e2e"))
from boxlite_testing import identity, oci, sanitizer  # noqa: E402
from boxlite_testing.registry import CuttingProxy, Registry, Server, TokenServer, make_certificate  # noqa: E402
from boxlite_testing.waiting import DEADLINE  # noqa: E402
from image_testing.home import PROGRAM  # noqa: E402
from image_testing.layer import OddLayer  # noqa: E402

PASSWORD = "canary-51c0de"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
PEAK_KIB = 64 * 1024 * sanitizer.MEMORY


@pytest.fixture(scope="module")
def image(work):
    """Six layers of a few megabytes that do not compress."""
    layers = [OddLayer().add(f"noise-{number}", data=os.urandom(3 << 20)).tar() for number in range(6)]
    return oci.write_layout(f"{work}/image", layers, oci.DEMO_CONFIG)


@pytest.fixture(scope="module")
def registry(image):
    server = Registry()
    server.image = server.push(image, "team/image:latest")
    server.layers = server.manifest("team/image:latest")["layers"]
    yield server
    server.close()


def write_config(home, **config):
    with open(f"{home.path}/config.json", "w") as file:
        json.dump(config, file)
    identity.give(f"{home.path}/config.json")


def peak_kib(home, reference, **more):
    """(largest resident memory of the job, its last event)"""
    measured = subprocess.run(["/usr/bin/time", "-f", "%M", *identity.as_user([PROGRAM])], input=home.request(reference, **more),
                              capture_output=True, timeout=DEADLINE, env={"PATH": "/usr/bin:/bin", **sanitizer.ENVIRONMENT})
    return int(measured.stderr.split()[-1]), json.loads(measured.stdout.splitlines()[-1])


# What breaks is mended.


def test_after_a_cut_at_60_percent_of_a_layer_the_rest_comes_by_range(home, registry):
    layer = registry.layers[2]
    limit = layer["size"] * 6 // 10
    before = len(registry.requests())
    with CuttingProxy(registry.address, f"/blobs/{layer['digest']}", limit) as proxy:
        image = home.pull(f"{proxy.address}/team/image:latest")
        assert proxy.cuts == 1
    assert image["layers"] == [layer["digest"] for layer in registry.layers]
    asked = [request for request in registry.requests()[before:] if request[1].endswith(layer["digest"])]
    assert [status for _, _, status in asked] == [200, 206], asked


def test_a_layer_that_is_cut_again_and_again_comes_in_pieces(home, registry):
    layer = registry.layers[0]
    with CuttingProxy(registry.address, f"/blobs/{layer['digest']}", layer["size"] // 8, times=7) as proxy:
        home.pull(f"{proxy.address}/team/image:latest")
        assert proxy.cuts == 7


def passing_on(registry, before):
    """A server that answers with `before(handler, number of the request)`, or as the registry does when that is False."""
    lock, count = threading.Lock(), [0]

    def answer(handler):
        with lock:
            count[0] += 1
            number = count[0]
        if not before(handler, number):
            relay(handler, registry)
    return answer


def relay(handler, registry):
    import urllib.error
    import urllib.request
    names = ("Accept", "Range", "Authorization")
    request = urllib.request.Request(f"http://{registry.address}{handler.path}",
                                     headers={name: handler.headers[name] for name in names if name in handler.headers})
    try:
        answer = urllib.request.urlopen(request, timeout=DEADLINE)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        handler.reply(answer.status, answer.read(), Content_Type=answer.headers["Content-Type"])


def test_errors_that_pass_are_waited_out(home, registry):
    def before(handler, number):
        if number % 3 == 0 and handler.path != "/v2/":
            handler.reply(503 if number % 2 else 429, Retry_After="1")
            return True
        return False

    with Server(passing_on(registry, before)) as server:
        home.pull(f"{server.address}/team/image:latest")


def test_four_pulls_of_one_image_at_once_fetch_each_blob_once(home, registry):
    before = len(registry.requests())
    jobs = [home.spawn(registry.image) for _ in range(4)]
    events = [json.loads(job.communicate(timeout=DEADLINE)[0].splitlines()[-1]) for job in jobs]
    assert all(event["event"] == "result" and event["image"] == events[0]["image"] for event in events), events
    blobs = [path.rsplit("/", 1)[1] for _, path, _ in registry.requests()[before:] if "/blobs/" in path]
    assert len(blobs) == len(set(blobs)) == 7, blobs
    assert os.listdir(f"{home.path}/tmp") == [] and os.listdir(f"{home.path}/images/locks") == []


def test_a_pull_whose_predecessor_is_killed_in_the_middle_takes_over(home, registry):
    reached, released = threading.Event(), threading.Event()

    def before(handler, _):
        if handler.path.endswith(registry.layers[0]["digest"]) and not reached.is_set():
            reached.set()
            released.wait(DEADLINE)
        return False

    with Server(passing_on(registry, before)) as server:
        first = home.spawn(f"{server.address}/team/image:latest")
        assert reached.wait(DEADLINE)
        second = home.spawn(f"{server.address}/team/image:latest")
        waiting = json.loads(second.stdout.readline())
        assert waiting["what"] == "another pull of the same layers"
        first.kill()
        first.communicate()
        event = json.loads(second.communicate(timeout=DEADLINE)[0].splitlines()[-1])
        released.set()
        assert event["event"] == "result", event
    assert os.listdir(f"{home.path}/images/locks") == []


# Who may know a password.


def test_tokens_that_a_server_signs_open_a_registry_that_verifies_them(home, work, image):
    tokens = TokenServer(work, PASSWORD)
    server = Registry(tokens=tokens)
    try:
        reference = server.push(image, "private/image:latest")
        tokens.granted.clear()
        home.refused(reference, "permission_denied", "boxlite login")
        home.refused(reference, "permission_denied", "refused the credentials", username="tester", password="wrong")
        assert tokens.granted == []
        home.pull(reference, username="tester", password=PASSWORD)
        pull = [{"type": "repository", "name": "private/image", "actions": ["pull"]}]
        assert tokens.granted and all(access == pull for access in tokens.granted)
    finally:
        server.close()
        tokens.close()


def manifest_of(layout):
    with open(f"{layout}/index.json") as file:
        digest = json.load(file)["manifests"][0]["digest"]
    with open(f"{layout}/blobs/{digest.replace(':', '/')}", "rb") as file:
        return file.read()


def basic(password=PASSWORD):
    return "Basic " + base64.b64encode(f"tester:{password}".encode()).decode()


def test_a_redirect_that_asks_for_credentials_does_not_get_them(home, image):
    def thief(handler):
        handler.reply(401, WWW_Authenticate='Basic realm="give me"')

    with Server(thief) as evil:
        def answer(handler):
            if handler.headers.get("Authorization") != basic():
                handler.reply(401, WWW_Authenticate='Basic realm="registry"')
            elif "/manifests/" in handler.path:
                handler.reply(200, manifest_of(image), Content_Type=MANIFEST_TYPE)
            else:
                handler.reply(307, Location=f"http://{evil.address}/blob")

        with Server(answer) as server:
            home.refused(f"{server.address}/a/b:t", "permission_denied", "refused the credentials", username="tester", password=PASSWORD)
        assert evil.seen and all("Authorization" not in headers for _, headers in evil.seen)


def test_a_realm_on_another_host_does_not_get_the_password(home):
    with Server(lambda handler: handler.reply(200, b'{"token":"x"}')) as evil:
        realm = f"http://localhost:{evil.address.split(':')[1]}/token"
        with Server(lambda handler: handler.reply(401, WWW_Authenticate=f'Bearer realm="{realm}"')) as server:
            home.refused(f"{server.address}/a/b:t", "permission_denied", "on another host", "token_service",
                         username="tester", password=PASSWORD)
        assert evil.seen == []


def test_foreign_layer_urls_are_not_looked_at(home, image):
    with Server(lambda handler: handler.reply(200, b"foreign")) as elsewhere:
        manifest = json.loads(manifest_of(image))
        for layer in manifest["layers"]:
            layer.update(mediaType="application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", urls=[f"http://{elsewhere.address}/x"])

        def answer(handler):
            if "/manifests/" in handler.path:
                handler.reply(200, json.dumps(manifest).encode(), Content_Type=MANIFEST_TYPE)
            elif "/blobs/" in handler.path:
                with open(f"{image}/blobs/{handler.path.rsplit('/', 1)[1].replace(':', '/')}", "rb") as file:
                    handler.reply(200, file.read())
            else:
                handler.reply(200)

        with Server(answer) as server:
            home.pull(f"{server.address}/a/b:t")
        assert elsewhere.seen == []


@pytest.fixture(scope="module")
def private(image):
    server = Registry(password=PASSWORD)
    server.image = server.push(image, "private/image:latest")
    yield server
    server.close()


def test_podmans_and_dockers_files_and_helpers_are_asked(home, private, work):
    entry = {"auth": base64.b64encode(f"tester:{PASSWORD}".encode()).decode()}
    helper = f"{work}/docker-credential-canary"
    with open(helper, "w", opener=lambda name, flags: os.open(name, flags, 0o755)) as file:
        file.write(f"""#!/bin/sh\nread server; [ "$server" = {private.address} ] && echo '{{"Username":"tester","Secret":"{PASSWORD}"}}'\n""")
    for number, content in enumerate([{"auths": {f"{private.address}/private": entry}}, {"auths": {private.address: entry}},
                                      {"credHelpers": {private.address: "canary"}}, {"credsStore": "canary"}]):
        path = f"{work}/auth-{number}.json"
        with open(path, "w") as file:
            json.dump(content, file)
        os.chmod(path, 0o644)
        event, output = home.run(private.image, auth_files=["/absent", path], helper_environment=[f"PATH={work}:/usr/bin:/bin"])
        assert event["event"] == "result" and PASSWORD not in output, event
    event, _ = home.run(private.image, auth_files=[f"{work}/auth-2.json"], helper_environment=["PATH=/nowhere"])
    assert event["event"] == "error" and "docker-credential-canary is not installed" in event["message"]


def test_login_is_checked_and_kept_for_the_owner_alone_until_logout(home, private):
    home.refused(private.address, "permission_denied", "refused the user name or the password", action="login", username="tester", password="wrong")
    event, output = home.run(private.address, action="login", username="tester", password=PASSWORD)
    assert event == {"event": "result"} and PASSWORD not in output
    assert os.stat(f"{home.path}/auth.json").st_mode & 0o777 == 0o600
    home.pull(private.image)
    assert home.run(private.address, action="logout")[0] == {"event": "result"}
    event, _ = home.run(private.address, action="logout")
    assert event["event"] == "error" and event["message"].startswith(f"not logged in to {private.address}; ")
    event, _ = home.run(private.image)
    assert event["event"] == "error" and event["code"] == "permission_denied"


# The configuration file.


def test_a_mirror_stands_in_below_its_prefix_and_the_registry_for_a_mirror_that_fails(home, registry):
    with Server(lambda handler: handler.reply(404)) as empty:
        write_config(home, registries={"docker.io": {"mirrors": [empty.address, f"{registry.address}/team"]}})
        shutil.rmtree(f"{home.path}/bases", ignore_errors=True)
        subprocess.run(["skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false",
                        f"docker://{registry.image}", f"docker://{registry.address}/team/library/image:latest"], check=True)
        image = home.pull("docker.io/library/image:latest")
        assert image["reference"] == "docker.io/library/image:latest"
        assert any("/v2/library/image/" in path for path, _ in empty.seen)


def test_a_host_may_have_a_certificate_authority_of_its_own_or_be_insecure(home, work, image):
    certificate, key = make_certificate(work, "server")
    other, _ = make_certificate(work, "other")
    for path in (certificate, other):
        os.chmod(path, 0o644)

    def answer(handler):
        if "/manifests/" in handler.path:
            handler.reply(200, manifest_of(image), Content_Type=MANIFEST_TYPE)
        elif "/blobs/" in handler.path:
            with open(f"{image}/blobs/{handler.path.rsplit('/', 1)[1].replace(':', '/')}", "rb") as file:
                handler.reply(200, file.read())
        else:
            handler.reply(200)

    with Server(answer, tls=(certificate, key)) as server:
        reference = f"{server.address}/a/b:t"
        for settings in ({}, {"ca": other}):
            write_config(home, registries={server.address: settings})
            event, _ = home.run(reference)
            assert event["code"] == "permission_denied" and "not trusted" in event["message"], event
        for settings in ({"ca": certificate}, {"insecure": True}):
            write_config(home, registries={server.address: settings})
            home.pull(reference)


def test_a_misspelt_key_is_refused_by_name(home):
    write_config(home, registries={"r.io": {"insecur": True}})
    event, _ = home.run("r.io/a:b")
    assert event["code"] == "invalid_argument" and f'{home.path}/config.json: registries."r.io": "insecur" is not known' in event["message"]


# Attacks: one line, nothing left, little memory.


def attack(home, answer, code, *mentions, **more):
    with Server(answer) as server:
        peak, event = peak_kib(home, f"{server.address}/a/b:t", **more)
    assert event["event"] == "error" and event["code"] == code, event
    for text in mentions:
        assert text in event["message"], event
    assert "\n" not in event["message"] and home.files() == []
    print(f"peak memory {peak} KiB: {event['message']}")
    assert peak < PEAK_KIB


def endless(handler, piece):
    handler.send_response(200)
    handler.send_header("Content-Type", MANIFEST_TYPE)
    handler.end_headers()
    handler.close_connection = True
    for _ in range(100):
        handler.wfile.write(piece)


def test_a_manifest_of_100_mb(home):
    attack(home, lambda handler: endless(handler, b" " * (1 << 20)) if "/manifests/" in handler.path else handler.reply(200), "corrupt",
           "manifest is larger than")


def test_a_layer_that_never_ends(home, image):
    def answer(handler):
        if "/manifests/" in handler.path:
            handler.reply(200, manifest_of(image), Content_Type=MANIFEST_TYPE)
        elif handler.path.endswith(json.loads(manifest_of(image))["config"]["digest"]):
            with open(f"{image}/blobs/{handler.path.rsplit('/', 1)[1].replace(':', '/')}", "rb") as file:
                handler.reply(200, file.read())
        elif "/blobs/" in handler.path:
            endless(handler, b"x" * (1 << 20))
        else:
            handler.reply(200)
    attack(home, answer, "corrupt", "is longer than its")


def test_headers_without_end(home):
    def answer(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(100_000):
            handler.wfile.write(f"X-{number}: {'y' * 1000}\r\n".encode())
    attack(home, answer, "corrupt", "headers")


def test_redirects_in_a_circle(home):
    attack(home, lambda handler: handler.reply(307, Location=handler.path), "permission_denied", "redirects")


@identity.by_root
def test_a_registry_that_stalls_is_given_up_after_a_minute(home, image):
    released = threading.Event()

    def answer(handler):
        if "/manifests/" in handler.path:
            handler.send_response(200)
            handler.send_header("Content-Length", "1000")
            handler.end_headers()
            handler.wfile.write(b"{")
            handler.wfile.flush()
            released.wait(DEADLINE)
        else:
            handler.reply(200)
    try:
        attack(home, answer, "unavailable", "does not answer")
    finally:
        released.set()


def test_attestations_in_an_index_are_no_platforms(home, image):
    manifest = manifest_of(image)
    digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
    entry = {"mediaType": MANIFEST_TYPE, "digest": digest, "size": len(manifest)}
    attestation = {**entry, "digest": "sha256:" + "0" * 64, "platform": {"os": "unknown", "architecture": "unknown"},
                   "annotations": {"vnd.docker.reference.type": "attestation-manifest"}}
    index = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
        attestation, {**entry, "platform": {"os": "linux", "architecture": "amd64"}}]}).encode()

    def answer(handler):
        if handler.path.endswith("/manifests/t"):
            handler.reply(200, index, Content_Type="application/vnd.oci.image.index.v1+json")
        elif "/manifests/" in handler.path:
            assert handler.path.endswith(digest)
            handler.reply(200, manifest, Content_Type=MANIFEST_TYPE)
        elif "/blobs/" in handler.path:
            with open(f"{image}/blobs/{handler.path.rsplit('/', 1)[1].replace(':', '/')}", "rb") as file:
                handler.reply(200, file.read())
        else:
            handler.reply(200)

    with Server(answer) as server:
        home.refused(f"{server.address}/a/b:t", "not_found", "it has: linux/amd64", platform="linux/s390x")
        home.refused(f"{server.address}/a/b:t", "not_found", "it has: linux/amd64", platform="unknown/unknown")
        home.pull(f"{server.address}/a/b:t")


def test_a_pull_takes_little_memory_whatever_the_size_of_the_layers(home, registry):
    peak, event = peak_kib(home, registry.image)
    assert event["event"] == "result", event
    print(f"peak memory {peak} KiB")
    assert peak < PEAK_KIB
