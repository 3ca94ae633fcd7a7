"""Homes that are handed from test to test, as a user's is: with the test image, its base and its templates, and nothing else.

To make those takes as long as three boxes. What a test leaves behind beyond them, or a failed one, ends its home.
"""

import json
import os
import shutil
import tempfile

from boxlite_testing import identity
from boxlite_testing.cli import Boxlite


class Homes:
    def __init__(self, demo):
        self.demo = demo
        self.free = []  # paths

    def take(self):
        if self.free:
            return Boxlite(home=self.free.pop())
        parent = tempfile.mkdtemp(prefix="boxlite-e2e-")
        os.chmod(parent, 0o755)
        identity.give(parent)
        return Boxlite(home=os.path.join(parent, "home"))

    def give_back(self, runner, failed):
        """Ends a test's use of a home, with the proof that no box is left."""
        runner.close(failed)
        if failed:
            return
        if self._can_be_used_again(runner.home):
            self.free.append(runner.home)
        else:
            shutil.rmtree(os.path.dirname(runner.home))

    def _can_be_used_again(self, home):
        if not os.path.exists(f"{home}/boxlite.db"):
            return True
        other = Boxlite(home=home)
        images = {image["reference"] for image in json.loads(other.ok("images", "-a", "--format", "json"))}
        volumes = json.loads(other.ok("volume", "ls", "--format", "json"))
        other.close()
        names = set(os.listdir(home))
        bad_templates = [name for name in os.listdir(f"{home}/templates") if name.endswith((".failed", ".dropped", ".new"))]
        return images <= {self.demo} and not volumes and not bad_templates and "auth.json" not in names

    def close(self):
        for home in self.free:
            shutil.rmtree(os.path.dirname(home))
