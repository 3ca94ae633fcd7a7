"""test_net.py for an ordinary user, who may make network namespaces only as root of a user namespace of his own."""

import os
import subprocess
import sys

import pytest


@pytest.mark.skipif(os.geteuid() == 0, reason="root runs test_net.py itself")
@pytest.mark.skipif(not os.access("/dev/net/tun", os.R_OK | os.W_OK), reason="/dev/net/tun of this host is root's")
def test_the_network_process_holds_in_a_user_namespace():
    tests = os.path.join(os.path.dirname(__file__), "test_net.py")
    child = subprocess.run(["unshare", "-Urn", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests], capture_output=True, text=True)
    assert child.returncode == 0, child.stdout[-10000:] + child.stderr
