"""A real docker-registry on a free loopback port, filled by skopeo; and a server that breaks its promises."""

import base64
import http.server
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from boxlite_testing.waiting import wait_until


_kept = []


def free_port():
    """A port that this process keeps: who binds to it by its number, with SO_REUSEADDR as servers do, gets it, and the kernel gives
    it to nobody who asks for any."""
    probe = socket.socket()
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    probe.bind(("127.0.0.1", 0))
    _kept.append(probe)
    return probe.getsockname()[1]


class Registry:
    """With `password`, only user "tester" with that password may do anything; with a TokenServer, by its tokens. `tls` is a pair
    of paths, certificate and key."""

    def __init__(self, password=None, tokens=None, tls=None):
        self.directory = tempfile.mkdtemp(prefix="boxlite-registry-")
        self.password = tokens.password if tokens else password
        self.address = f"127.0.0.1:{free_port()}"
        auth = ""
        if tokens:
            auth = (f"auth: {{token: {{realm: '{tokens.url}', service: '{TokenServer.SERVICE}', issuer: '{TokenServer.ISSUER}', "
                    f"rootcertbundle: {tokens.certificate}}}}}\n")
        elif password:
            with open(f"{self.directory}/htpasswd", "wb") as file:
                subprocess.run(["htpasswd", "-iBn", "tester"], input=password.encode(), stdout=file, check=True)
            auth = f"auth: {{htpasswd: {{realm: test, path: {self.directory}/htpasswd}}}}\n"
        with open(f"{self.directory}/config.yml", "w") as file:
            secure = f", tls: {{certificate: {tls[0]}, key: {tls[1]}}}" if tls else ""
            file.write(f"version: 0.1\nlog: {{level: error}}\n{auth}"
                       f"storage: {{filesystem: {{rootdirectory: {self.directory}/storage}}}}\n"
                       f"http: {{addr: '{self.address}'{secure}}}\n")
        self._url = f"{'https' if tls else 'http'}://{self.address}/v2/"
        with open(f"{self.directory}/log", "wb") as log:
            self.process = subprocess.Popen(["docker-registry", "serve", f"{self.directory}/config.yml"],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(self._answers, f"the registry at {self.address} answers")

    def _answers(self):
        assert self.process.poll() is None, open(f"{self.directory}/log").read()
        try:
            insecure = ssl._create_unverified_context() if self._url.startswith("https") else None
            urllib.request.urlopen(self._url, timeout=5, context=insecure).close()
        except urllib.error.HTTPError as error:
            return error.code == 401
        except OSError:
            return False
        return True

    def push(self, layout, name, schema2=False):
        """Pushes the image of a layout directory; returns the reference it can be pulled by."""
        reference = f"{self.address}/{name}"
        command = ["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]
        if schema2:
            command += ["--format", "v2s2"]
        environment = dict(os.environ)
        if self.password:
            command += ["--authfile", self.write_docker_config(f"{self.directory}/push")]
        subprocess.run([*command, f"oci:{layout}:latest", f"docker://{reference}"], check=True, env=environment)
        return reference

    def write_docker_config(self, directory):
        """docker's config.json with the password of this registry."""
        os.makedirs(directory, exist_ok=True)
        path = f"{directory}/config.json"
        with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            json.dump({"auths": {self.address: {"auth": base64.b64encode(f"tester:{self.password}".encode()).decode()}}}, file)
        return path

    def requests(self):
        """[(method, path, status)] of boxlite so far, from the registry's access log."""
        with open(f"{self.directory}/log", errors="replace") as file:
            lines = [line for line in file if '"boxlite/' in line]
        return [(method, path, int(status))
                for method, path, status in (re.search(r'"(\S+) (\S+) HTTP/[\d.]+" (\d+)', line).groups() for line in lines)]

    def stored_blobs(self):
        """{digest: path of its file}: for tests that spoil them."""
        root = f"{self.directory}/storage/docker/registry/v2/blobs/sha256"
        return {f"sha256:{digest}": f"{root}/{start}/{digest}/data"
                for start in os.listdir(root) for digest in os.listdir(f"{root}/{start}")}

    def manifest(self, name):
        repository, tag = name.rsplit(":", 1)
        accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
        request = urllib.request.Request(f"http://{self.address}/v2/{repository}/manifests/{tag}", headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def stop(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        self.stop()
        shutil.rmtree(self.directory)


class LayoutServer:
    """Serves one OCI layout as a registry; `spoil(path, body)` may return other (bytes, promised length)."""

    def __init__(self, layout, spoil):
        with open(f"{layout}/index.json") as file:
            descriptor = json.load(file)["manifests"][0]

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                digest = self.path.rsplit("/", 1)[1]
                if "/manifests/" in self.path:
                    digest = descriptor["digest"]
                try:
                    with open(f"{layout}/blobs/{digest.replace(':', '/')}", "rb") as file:
                        body = file.read()
                except OSError:
                    body = b"" if self.path == "/v2/" else None
                if body is None:
                    self.send_error(404)
                    return
                sent, promised = spoil(self.path, body) or (body, len(body))
                self.send_response(200)
                kind = descriptor["mediaType"] if "/manifests/" in self.path else "application/octet-stream"
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(promised))
                self.end_headers()
                self.wfile.write(sent)
                self.close_connection = len(sent) != promised

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Server:
    """HTTP by a function: answer(handler) is called for each GET and sends what it likes. `seen` has (path, headers) of each."""

    def __init__(self, answer, tls=None):
        seen = self.seen = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                seen.append((self.path, dict(self.headers)))
                try:
                    answer(self)
                except OSError:  # the client went away, which may be what is tested
                    self.close_connection = True

            def reply(self, status, body=b"", **headers):
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def make_certificate(directory, name):
    """(certificate, key) for 127.0.0.1, signed by itself; paths."""
    paths = f"{directory}/{name}.pem", f"{directory}/{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext",
                    "subjectAltName=IP:127.0.0.1", "-out", paths[0], "-keyout", paths[1]], check=True, capture_output=True)
    return paths


class TokenServer:
    """Signs JWTs for what is asked (distribution spec, token authentication) for user "tester"; for others none."""

    SERVICE, ISSUER = "test-registry", "test-issuer"

    def __init__(self, directory, password):
        import jwt
        self.password = password
        self.certificate, key_path = make_certificate(directory, "token")
        with open(key_path) as file:
            key = file.read()
        with open(self.certificate) as file:
            chain = "".join(line.strip() for line in file if not line.startswith("-"))
        self.granted = []
        wanted = "Basic " + base64.b64encode(f"tester:{password}".encode()).decode()

        def answer(handler):
            if handler.headers.get("Authorization") != wanted:
                handler.reply(401)
                return
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(handler.path).query)
            access = []
            for scope in " ".join(query.get("scope", [])).split():
                kind, name, actions = scope.split(":")
                access.append({"type": kind, "name": name, "actions": actions.split(",")})
            now = int(time.time())
            claims = {"iss": self.ISSUER, "sub": "tester", "aud": self.SERVICE, "exp": now + 300, "nbf": now - 5, "iat": now,
                      "jti": os.urandom(8).hex(), "access": access}
            token = jwt.encode(claims, key, algorithm="RS256", headers={"x5c": [chain]})
            self.granted.append(access)
            handler.reply(200, json.dumps({"token": token}).encode())

        self._server = Server(answer)
        self.url = f"http://{self._server.address}/token"

    def close(self):
        self._server.close()


class CuttingProxy:
    """Passes bytes to a registry and back, and cuts the first `times` answers to a GET of `path` after `limit` bytes."""

    def __init__(self, target, path, limit, times=1):
        self._target, self._path, self._limit, self._left = target, path.encode(), limit, times
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        host, port = self._target.split(":")
        upstream = socket.create_connection((host, int(port)))
        state = {"left": None}

        def back():
            try:
                while data := upstream.recv(65536):
                    if state["left"] is not None:
                        data = data[:state["left"]]
                        state["left"] -= len(data)
                    client.sendall(data)
                    if state["left"] == 0:
                        self.cuts += 1
                        break
            except OSError:
                pass
            for end in (client, upstream):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

        thread = threading.Thread(target=back, daemon=True)
        thread.start()
        try:
            while data := client.recv(65536):
                if self._path in data and self._left > 0:
                    self._left -= 1
                    state["left"] = self._limit
                upstream.sendall(data)
        except OSError:
            pass
        thread.join()
        client.close()
        upstream.close()

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
