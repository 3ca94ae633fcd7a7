"""Docker in a box: an image that starts dockerd as docker's own dind image does, and small images for that dockerd."""

import gzip
import hashlib
import io
import json
import tarfile

from boxlite_testing import debian, oci

PACKAGES = ("docker.io", "iptables", "ca-certificates")

# Without a command, or with flags or "dockerd", the daemon; any other command runs as it is.
ENTRYPOINT = """#!/bin/sh
set -e
if [ $# -eq 0 ] || [ "${1#-}" != "$1" ]; then
    set -- dockerd "$@"
fi
if [ "$1" = dockerd ]; then
    shift
    # One that was killed leaves its pid behind, and by now another process may have that number.
    rm -f /run/docker.pid /run/docker/containerd/containerd.pid
    set -- dockerd --host=unix:///run/docker.sock --host=tcp://0.0.0.0:2375 --tls=false "$@"
fi
exec "$@"
"""

CONFIG = {"Env": [oci.PATH_ENV], "Entrypoint": ["dockerd-entrypoint.sh"], "Volumes": {"/var/lib/docker": {}},
          "ExposedPorts": {"2375/tcp": {}, "2376/tcp": {}}}


def write_image(directory):
    """The layout of the image. Returns the directory."""
    script = oci.Layer().file("usr/local/bin/dockerd-entrypoint.sh", ENTRYPOINT, 0o755)
    return oci.layout_of_blobs(directory, [debian.layer("minbase", *PACKAGES), oci.packed(script.tar())], config=CONFIG)


def archive(**commands):
    """What `docker load` takes: an image of busybox for each NAME=COMMAND, all of one layer."""
    layer = oci.busybox_layer()
    manifest, files = [], {"layer.tar": layer}
    for name, command in commands.items():
        config = {"architecture": "amd64", "os": "linux", "config": {"Env": [oci.PATH_ENV], "Cmd": command},
                  "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]}}
        files[f"{name}.json"] = json.dumps(config).encode()
        manifest.append({"Config": f"{name}.json", "RepoTags": [f"{name}:latest"], "Layers": ["layer.tar"]})
    files["manifest.json"] = json.dumps(manifest).encode()
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(data.getvalue(), compresslevel=1)
