"""Boxes of images that came in other ways than from a registry run."""

import os
import shutil
import subprocess
import tempfile

from boxlite_testing import identity, oci


def test_an_imported_root_file_system_runs(boxlite):
    boxlite.ok("import", "-c", 'CMD ["sh", "-c", "echo $A in $PWD"]', "-c", "ENV A=imported", "-c", "WORKDIR /srv", "-", "root:1",
               input=oci.busybox_layer())
    assert boxlite.ok("run", "--rm", "root:1") == "imported in /srv\n"


def test_a_loaded_image_runs_and_one_in_use_is_not_removed(boxlite, demo):
    boxlite.ok("pull", demo)
    boxlite.ok("tag", demo, "app:1")
    archive = boxlite("save", "app:1").stdout
    boxlite.ok("rmi", "app:1", demo)
    assert boxlite.ok("load", input=archive) == "Loaded image: app:1\n"
    boxlite.ok("run", "-d", "--name", "a", "app:1", "sleep", "infinity")
    boxlite.refused("rmi", "-f", "app:1", mentions=["running box a"])
    boxlite.ok("image", "prune", "-af")
    assert boxlite.ok("exec", "a", "cat", "/etc/passwd") == oci.PASSWD


def test_a_directory_of_the_host_is_a_root(boxlite):
    root = tempfile.mkdtemp(prefix="boxlite-rootfs-")
    try:
        os.chmod(root, 0o755)
        subprocess.run(["tar", "-x", "-C", root, "--no-same-owner"], input=oci.busybox_layer(), check=True)
        identity.give(root)
        assert boxlite.ok("run", "--rm", "--rootfs", root, "sh", "-c", "echo changed >/etc/passwd; id -u; stat -c %u /bin/busybox") \
            .splitlines()[0] == "0"
        with open(f"{root}/etc/passwd") as file:
            assert file.read() == oci.PASSWD, "the directory is copied, never written"
    finally:
        shutil.rmtree(root)
