"""A real docker-registry on a free loopback port, filled by skopeo; and a server that breaks its promises."""

import http.server
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request

from boxlite_testing.waiting import wait_until


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Registry:
    """With `password`, only user "tester" with that password may do anything."""

    def __init__(self, password=None):
        self.directory = tempfile.mkdtemp(prefix="boxlite-registry-")
        self.password = password
        self.address = f"127.0.0.1:{free_port()}"
        auth = ""
        if password:
            with open(f"{self.directory}/htpasswd", "wb") as file:
                subprocess.run(["htpasswd", "-iBn", "tester"], input=password.encode(), stdout=file, check=True)
            auth = f"auth: {{htpasswd: {{realm: test, path: {self.directory}/htpasswd}}}}\n"
        with open(f"{self.directory}/config.yml", "w") as file:
            file.write(f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n{auth}"
                       f"storage: {{filesystem: {{rootdirectory: {self.directory}/storage}}}}\n"
                       f"http: {{addr: '{self.address}'}}\n")
        with open(f"{self.directory}/log", "wb") as log:
            self.process = subprocess.Popen(["docker-registry", "serve", f"{self.directory}/config.yml"],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(self._answers, f"the registry at {self.address} answers")

    def _answers(self):
        assert self.process.poll() is None, open(f"{self.directory}/log").read()
        try:
            urllib.request.urlopen(f"http://{self.address}/v2/", timeout=5).close()
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
        from base64 import b64encode
        os.makedirs(directory, exist_ok=True)
        path = f"{directory}/config.json"
        with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            json.dump({"auths": {self.address: {"auth": b64encode(f"tester:{self.password}".encode()).decode()}}}, file)
        return path

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
