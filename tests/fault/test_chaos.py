"""Commands of several processes at random, while parts of what they run are killed and stopped at random. Then everything is counted.

BOXLITE_CHAOS_SECONDS   how long; default 60
BOXLITE_CHAOS_SEED      of the choices; a failure prints it. What the kernel makes of them is another matter.
"""

import collections
import os
import random
import signal
import threading
import time

import pytest
from boxlite_testing import census, invariants, outcome

SECONDS = float(os.environ.get("BOXLITE_CHAOS_SECONDS", "60"))
SEED = int(os.environ.get("BOXLITE_CHAOS_SEED", str(random.SystemRandom().randrange(1 << 32))))
WORKERS = 3
NAMES = ("a", "b", "c")
VOLUMES = ("one", "two")
# Longest: a command that waits for another's lock while that is stopped, and then does a stop of its own.
COMMAND_DEADLINE = 180.0
LONGEST_STOP = 4.0
# What a command whose box, image or helper is taken away under it may end with: its own signal, the box's command's status.
FINE = {0, 1, 125, 126, 127, 128 + signal.SIGKILL, 128 + signal.SIGTERM, -signal.SIGKILL}


class Tally(collections.Counter):
    def __str__(self):
        return ", ".join(f"{count} {what}" for what, count in sorted(self.items()))


class Chaos:
    def __init__(self, boxlite, demo, source):
        self.boxlite, self.demo, self.source = boxlite, demo, source
        self.end = time.monotonic() + SECONDS
        self.verbs, self.blows, self.faults = Tally(), Tally(), []

    def over(self):
        return time.monotonic() > self.end or self.faults

    # --- the commands

    def command(self, chance):
        name, volume = chance.choice(NAMES), chance.choice(VOLUMES)
        options = ["--name", name, "--memory", "256m", *chance.choice(([], ["-v", f"{volume}:/v"], ["-v", "/anonymous"], ["-v", f"{self.source}:/host"])),
                   *chance.choice(([], ["-p", "0:80"], ["--network", "none"]))]
        privileged = chance.choice(([], ["--privileged"]))
        return chance.choices([
            ["run", "-d", *options, *privileged, self.demo, "sleep", "infinity"],
            ["run", *chance.choice((["--rm"], ["--rm", "-d"])), *options, self.demo, "sh", "-c", "echo x; sleep 0.2"],
            ["create", *options, self.demo, "sleep", "infinity"],
            ["start", name],
            ["stop", "-t", chance.choice("01"), name],
            ["restart", "-t", "0", name],
            ["kill", name],
            ["exec", name, "sh", "-c", "dd if=/dev/zero of=/root/f bs=64k count=16 2>/dev/null; sync"],
            ["exec", name, "sh", "-c", "echo c >/proc/sysrq-trigger"],  # of a privileged box: the end of its kernel and agent
            ["cp", f"{name}:/bin/busybox", "-"],
            ["logs", name],
            ["rename", name, chance.choice(NAMES)],
            ["rm", *chance.choice(([], ["-f"], ["-f", "-v"])), name],
            ["ls", "-a"],
            ["stats", "--no-stream"],
            ["inspect", name],
            ["volume", "create", volume],
            ["volume", "rm", volume],
            ["pull", self.demo],
            ["image", "prune", "-af"],
        ], weights=[6, 4, 3, 6, 4, 2, 2, 4, 1, 2, 1, 1, 5, 2, 1, 1, 1, 1, 2, 1])[0]

    def work(self, chance):
        while not self.over():
            arguments = self.command(chance)
            try:
                finished = self.boxlite(*arguments, timeout=COMMAND_DEADLINE)
            except AssertionError as error:
                self.faults.append(str(error))
                return
            self.verbs[arguments[0]] += 1
            told = finished.err.strip()
            if finished.code not in FINE or (finished.code == 125 and not told):
                self.faults.append(str(finished))

    # --- the blows

    def victims(self):
        mine = census.processes(self.boxlite.home)
        commands = {child.pid for child in list(self.boxlite.background) if child.poll() is None}
        return [p for p in mine if p.pid in commands or p.name.startswith(("boxlite", "bwrap", "qemu-system"))]

    def strike(self, chance):
        stopped = []  # (when to continue, process)
        while not self.over():
            time.sleep(chance.uniform(0.05, 0.8))
            now = time.monotonic()
            for due, process in [entry for entry in stopped if entry[0] <= now]:
                process.kill(signal.SIGCONT)
                stopped.remove((due, process))
            victims = self.victims()
            if not victims:
                continue
            # A kind first, then one of it: else it would nearly always be a bwrap.
            kind = chance.choice(sorted({p.name for p in victims}))
            victim = chance.choice([p for p in victims if p.name == kind])
            if chance.random() < 0.6:
                victim.kill(signal.SIGKILL)
                self.blows[f"SIGKILL to {kind}"] += 1
            else:
                victim.kill(signal.SIGSTOP)
                self.blows[f"SIGSTOP to {kind}"] += 1
                stopped.append((now + chance.uniform(0, LONGEST_STOP), victim))
        for _, process in stopped:
            process.kill(signal.SIGCONT)

    def run(self):
        seeds = random.Random(SEED)
        threads = [threading.Thread(target=self.work, args=(random.Random(seeds.random()),)) for _ in range(WORKERS)]
        threads.append(threading.Thread(target=self.strike, args=(random.Random(seeds.random()),)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def __str__(self):
        return f"seed {SEED}, {SECONDS:.0f} s; blows: {self.blows}; commands: {self.verbs}"


def test_after_chaos_every_count_is_equal(boxlite, demo, tmp_path_factory, request):
    source = tmp_path_factory.mktemp("chaos")
    for directory in (source, source.parent):
        directory.chmod(0o755)
    chaos = Chaos(boxlite, demo, source)
    boxlite.ok("pull", demo)
    chaos.run()
    print(chaos)
    request.config.stash.setdefault(outcome.TRIED, []).append(f"chaos: {chaos}")
    assert not chaos.faults, chaos.faults[0]
    assert chaos.blows
    # What the dead leave is swept up by the next that come.
    boxlite.ok("pull", demo)
    boxlite.ok("create", "--name", "next", demo)
    boxlite.ok("rm", "next")
    invariants.settle(boxlite)
    for box in boxlite.list():
        if box["command"] != ["sleep", "infinity"]:  # one that removes itself, and could not
            boxlite.ok("rm", "-f", box["name"])
            continue
        # Also of one that runs: a volume whose server was killed is served again.
        boxlite.ok("restart", "-t", "0", box["name"])
        assert boxlite.ok("exec", box["name"], "echo", "well") == "well\n"
    invariants.check(boxlite)
    boxlite.ok("doctor")  # status 0: there is nothing to repair
    boxlite.ok("rm", "-f", "-v", *[box["name"] for box in boxlite.list()], "none")
    boxlite.ok("volume", "prune", "-af")
    boxlite.assert_nothing_left()
