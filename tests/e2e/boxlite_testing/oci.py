"""Writes OCI images (image-spec v1.1) as layout directories, from trees given as values: needs no root, unpacks nothing."""

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile

BUSYBOX = "/bin/busybox"  # package busybox-static

PASSWD = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/:/bin/false\napp:x:1000:1000:app:/home/app:/bin/sh\n"
GROUP = "root:x:0:\ndaemon:x:1:\napp:x:1000:\nstaff:x:50:app\naudio:x:29:app\n"


class Layer:
    """A tar archive being written. Paths are relative to the root."""

    def __init__(self):
        self._bytes = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._bytes, mode="w", format=tarfile.PAX_FORMAT)

    def _add(self, path, kind, mode, data=b"", uid=0, gid=0, target=""):
        entry = tarfile.TarInfo(path)
        entry.type, entry.mode, entry.uid, entry.gid, entry.linkname, entry.size = kind, mode, uid, gid, target, len(data)
        self._tar.addfile(entry, io.BytesIO(data))
        return self

    def folder(self, path, mode=0o755, **owner):
        return self._add(path, tarfile.DIRTYPE, mode, **owner)

    def file(self, path, data, mode=0o644, **owner):
        return self._add(path, tarfile.REGTYPE, mode, data if isinstance(data, bytes) else data.encode(), **owner)

    def symlink(self, path, target):
        return self._add(path, tarfile.SYMTYPE, 0o777, target=target)

    def tar(self):
        self._tar.close()
        return self._bytes.getvalue()


def busybox_layer():
    layer = Layer()
    add_busybox(layer)
    return layer.tar()


def add_busybox(layer):
    """A small Linux system: busybox with all its applets, and the users of PASSWD."""
    for path in ("bin", "etc", "root", "home", "proc", "sys", "dev", "var", "usr", "usr/bin"):
        layer.folder(path)
    layer.folder("tmp", 0o1777).folder("home/app", 0o755, uid=1000, gid=1000)
    with open(BUSYBOX, "rb") as file:
        layer.file("bin/busybox", file.read(), 0o755)
    for applet in subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True).stdout.split():
        if applet != "busybox":
            layer.symlink(f"bin/{applet}", "busybox")
    layer.file("etc/passwd", PASSWD).file("etc/group", GROUP)


def _blob(directory, data):
    digest = hashlib.sha256(data).hexdigest()
    os.makedirs(f"{directory}/blobs/sha256", exist_ok=True)
    with open(f"{directory}/blobs/sha256/{digest}", "wb") as file:
        file.write(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}


def write_layout(directory, layers, config, tag="latest"):
    """layers: tar archives, lowest first. config: the image's "config" object. Returns the directory."""
    os.makedirs(directory, exist_ok=True)
    descriptors, diff_ids = [], []
    for tar in layers:
        descriptors.append({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                            **_blob(directory, gzip.compress(tar, compresslevel=1, mtime=0))})
        diff_ids.append("sha256:" + hashlib.sha256(tar).hexdigest())
    image = {"created": "2024-01-01T00:00:00Z", "architecture": "amd64", "os": "linux", "config": config,
             "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                           **_blob(directory, json.dumps(image).encode())},
                "layers": descriptors}
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
        {"mediaType": manifest["mediaType"], **_blob(directory, json.dumps(manifest).encode()),
         "platform": {"architecture": "amd64", "os": "linux"}, "annotations": {"org.opencontainers.image.ref.name": tag}}]}
    for name, value in (("index.json", index), ("oci-layout", {"imageLayoutVersion": "1.0.0"})):
        with open(f"{directory}/{name}", "w") as file:
            json.dump(value, file)
    return directory


PATH_ENV = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

DEMO_CONFIG = {"Env": [PATH_ENV, "GREETING=hello from the image"], "Cmd": ["sh"],
               "ExposedPorts": {"2375/tcp": {}, "2376/tcp": {}, "27653/udp": {}}, "Labels": {"purpose": "test"}}


def write_demo(directory, *extra_layers, **config):
    return write_layout(directory, [busybox_layer(), *extra_layers], {**DEMO_CONFIG, **config})


def packed(tar):
    """A layer for layout_of_blobs."""
    return gzip.compress(tar, compresslevel=1, mtime=0), hashlib.sha256(tar).hexdigest()


def layout_of_blobs(directory, layers, media_type="application/vnd.oci.image.layer.v1.tar+gzip", config=DEMO_CONFIG):
    """layers: (blob or its path, diff_id), lowest first."""
    write_layout(directory, [], config)
    with open(f"{directory}/index.json") as file:
        index = json.load(file)

    def blob(digest):
        return f"{directory}/blobs/{digest.replace(':', '/')}"

    def put(data):
        digest = hashlib.sha256(data).hexdigest()
        with open(f"{directory}/blobs/sha256/{digest}", "wb") as file:
            file.write(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    with open(blob(index["manifests"][0]["digest"])) as file:
        manifest = json.load(file)
    with open(blob(manifest["config"]["digest"])) as file:
        image = json.load(file)
    for content, diff_id in layers:
        if isinstance(content, bytes):
            descriptor = put(content)
        else:
            with open(content, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            shutil.copyfile(content, f"{directory}/blobs/sha256/{digest}")
            descriptor = {"digest": f"sha256:{digest}", "size": os.path.getsize(content)}
        manifest["layers"].append({"mediaType": media_type, **descriptor})
        image["rootfs"]["diff_ids"].append(f"sha256:{diff_id}")
    manifest["config"].update(put(json.dumps(image).encode()))
    index["manifests"][0].update(put(json.dumps(manifest).encode()))
    with open(f"{directory}/index.json", "w") as file:
        json.dump(index, file)
    return directory


if __name__ == "__main__":  # python3 -m boxlite_testing.oci DIRECTORY: the demo image, for scripts and for trying things out
    write_demo(sys.argv[1])
