"""A home directory and the jobs that boxlite-image does on it, driven as the runtime drives them."""

import json
import os
import subprocess
import tempfile

from boxlite_testing import identity, sanitizer
from boxlite_testing.cli import BIN_DIR, PATH
from boxlite_testing.waiting import DEADLINE

PROGRAM = os.path.join(BIN_DIR, "boxlite-image")
DISK_BYTES = 1 << 30


class Home:
    """A home directory and the jobs on it."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="boxlite-image-test-")
        identity.give(self.path)

    def request(self, reference, **more):
        return json.dumps({"home": self.path, "reference": reference, "disk_bytes": DISK_BYTES,
                           "max_unpacked_bytes": 20 << 30, **more}).encode()

    def spawn(self, reference, environment=None, **more):
        child = subprocess.Popen(identity.as_user([PROGRAM]), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, env={"PATH": PATH, **sanitizer.ENVIRONMENT, **(environment or {})}, cwd="/")
        child.stdin.write(self.request(reference, **more))
        child.stdin.close()
        child.stdin = None
        return child

    def run(self, reference, **more):
        """(exit status, last event, standard output)"""
        stdout, stderr = self.spawn(reference, **more).communicate(timeout=DEADLINE)[0:2]
        assert stderr == b"", stderr.decode()
        return json.loads(stdout.splitlines()[-1]), stdout.decode()

    def pull(self, reference, **more):
        event, _ = self.run(reference, **more)
        assert event["event"] == "result", event
        return event["image"]

    def refused(self, reference, code, *mentions, **more):
        event, _ = self.run(reference, **more)
        assert event["event"] == "error" and event["code"] == code, event
        for text in mentions:
            assert text in event["message"], event
        assert "\n" not in event["message"]
        assert self.files() == [], self.files()

    def files(self):
        return [os.path.join(parent, name) for parent, _, names in os.walk(self.path) for name in names]

    def base(self, image):
        return f"{self.path}/bases/{image['id'].removeprefix('sha256:')}.ext4"
