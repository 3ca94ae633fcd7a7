"""Every failpoint of the source × {an error, ENOSPC, kill -9}, in commands that reach it.

A command is run once to see which places it and the programs it starts reach, and how often; then once for each place, turn and
fault. Afterwards new processes must find every count equal (invariants.py), the same command must succeed when it is repeated, and
the next commands sweep up what is left.

BOXLITE_FAULTS   those to try; default: all. Two suites that run side by side, as root and as an ordinary user, share them.
"""

import collections
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from typing import Callable

import pytest
from boxlite_testing import failpoints, identity, invariants, outcome
from boxlite_testing.registry import Registry
from boxlite_testing.waiting import wait_until

FAULTS = tuple(os.environ.get("BOXLITE_FAULTS", "error ENOSPC kill9").split())
assert set(FAULTS) <= {"error", "ENOSPC", "kill9"}, FAULTS
PASSWORD = "correct horse"


def nothing(boxlite):
    pass


def rm(*names):
    return lambda boxlite: boxlite.ok("rm", "-f", *names)


@dataclass(frozen=True)
class Scenario:
    """`command` after `prepare`, which brings about the same state each time. Done: what a dead command has brought about all the
    same, so that its repetition may be refused ("the name is taken")."""
    name: str
    command: list
    prepare: Callable = nothing
    done: Callable = lambda boxlite: False
    wait: Callable = nothing  # after the command, for what it has set going
    undo: Callable = nothing
    input: bytes = None
    plan: str = ""           # is always in force
    again: list = None       # instead of the command itself
    first: list = None       # is run before it, with the same plan: what it starts is struck later
    dear: bool = False       # boots a VM, or takes long: tries only places that no scenario before it has tried in the same program

    def argv(self, boxlite):
        """What in the command depends on the home is a function of it."""
        return [part(boxlite) if callable(part) else part for part in self.command]


def boxes(boxlite):
    return {box["name"]: box["status"] for box in boxlite.list()}


def images(boxlite):
    return {image["reference"] for image in json.loads(boxlite.ok("images", "--format", "json"))}


def volumes(boxlite):
    return {volume["name"] for volume in json.loads(boxlite.ok("volume", "ls", "--format", "json"))}


def credentials(boxlite):
    with open(f"{boxlite.home}/auth.json") as file:
        return json.load(file)["auths"]


def small_tar():
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("file"))
    return data.getvalue()


def scenarios(demo, empty, registry):
    """`empty` is a folder, `registry` the address of one that wants tester's password."""
    main = (demo, "sleep", "infinity")
    here = ("--pull", "never")

    def have_image(boxlite):
        boxlite.ok("pull", demo)

    def no_image(boxlite):
        boxlite.ok("image", "prune", "-af")

    def imported(boxlite):
        boxlite.ok("import", "-", "a:1", input=small_tar())

    def archived(boxlite):
        imported(boxlite)
        boxlite.ok("save", "-o", archive(boxlite), "a:1")
        no_image_a(boxlite)

    def archive(boxlite):
        return f"{boxlite.directory}/saved/a.tar"

    def no_archive(boxlite):
        folder = os.path.dirname(archive(boxlite))
        shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(folder)
        identity.give(folder)

    def one_archive(boxlite):
        assert os.listdir(os.path.dirname(archive(boxlite))) == ["a.tar"]

    def logged_out(boxlite):
        boxlite("logout", registry)

    def logged_in(boxlite):
        boxlite.ok("login", "-u", "tester", "--password-stdin", registry, input=PASSWORD.encode())

    def created(*options):
        def prepare(boxlite):
            if "a" not in boxes(boxlite):
                boxlite.ok("create", "--name", "a", *options, *main)
        return prepare

    def created_without_templates(boxlite):
        created()(boxlite)
        for name in os.listdir(f"{boxlite.home}/templates"):
            if name != "lock":
                subprocess.run(["rm", "-rf", f"{boxlite.home}/templates/{name}"], check=True)

    def created_on_an_unknown_host(boxlite):
        created()(boxlite)
        shutil.rmtree(f"{boxlite.home}/memo")  # so that what is found out about the host is written down anew

    def stopped(boxlite):
        created("-p", "0:80", "-v", "vol:/var")(boxlite)
        boxlite.ok("stop", "-t", "0", "a")

    def running(boxlite):
        created()(boxlite)
        boxlite.ok("start", "a")

    def suspended(boxlite):
        running(boxlite)
        boxlite.ok("pause", "--to-disk", "a")

    def kept(boxlite):
        created()(boxlite)
        boxlite.ok("snapshot", "create", "a", "s")

    def has_snapshot(boxlite):
        return boxlite.ok("snapshot", "ls", "-q", "a") == "s\n"

    def exported(boxlite):
        no_archive(boxlite)
        created()(boxlite)
        boxlite.ok("export", "-o", archive(boxlite), "a")
        boxlite.ok("rm", "a")

    def silent(boxlite):
        running(boxlite)
        boxlite.shim("a").stop()

    def ended(boxlite):
        wait_until(lambda: boxlite.census().shims == 0, "the box has ended")

    def no_boxes_and_volumes(boxlite):
        boxlite.ok("rm", "-f", "-v", *boxes(boxlite), "a")
        boxlite.ok("volume", "prune", "-af")

    def unpopulated(boxlite):
        no_boxes_and_volumes(boxlite)
        boxlite.ok("create", "--name", "a", "-v", "vol:/home", *main)

    def populated(boxlite):
        assert boxlite.ok("exec", "a", "ls", "/home") == "app\n"
        no_boxes_and_volumes(boxlite)

    no_image_a = lambda boxlite: boxlite.ok("rmi", "-f", "a:1", "b:1")  # noqa: E731
    return [
        Scenario("first command", ["volume", "create", "vol"], prepare=lambda boxlite: shutil.rmtree(boxlite.home, ignore_errors=True)),
        Scenario("pull", ["pull", demo], prepare=no_image),
        Scenario("import", ["import", "-", "a:1"], input=small_tar(), prepare=no_image_a),
        Scenario("tag", ["tag", "a:1", "b:1"], prepare=imported, undo=no_image_a),
        Scenario("rmi", ["rmi", "a:1"], prepare=imported, done=lambda boxlite: not images(boxlite)),
        Scenario("image prune", ["image", "prune", "-af"], prepare=imported),
        Scenario("save", ["save", "-o", archive, "a:1"], prepare=lambda boxlite: (imported(boxlite), no_archive(boxlite)), undo=one_archive),
        Scenario("load", ["load", "-i", archive], prepare=lambda boxlite: (no_archive(boxlite), archived(boxlite)), undo=no_image_a, dear=True),
        Scenario("login", ["login", "-u", "tester", "--password-stdin", registry], input=PASSWORD.encode(), prepare=logged_out),
        Scenario("logout", ["logout", registry], prepare=logged_in, done=lambda boxlite: not credentials(boxlite)),
        Scenario("create of a folder", ["create", "--rootfs", empty, "--name", "a", "true"], prepare=have_image,
                 done=lambda boxlite: "a" in boxes(boxlite), undo=rm("a"), dear=True),
        Scenario("volume create", ["volume", "create", "vol"], prepare=lambda boxlite: boxlite.ok("volume", "create", "other"),
                 undo=no_boxes_and_volumes),
        Scenario("volume rm", ["volume", "rm", "vol"], prepare=lambda boxlite: boxlite.ok("volume", "create", "vol"),
                 done=lambda boxlite: not volumes(boxlite)),
        Scenario("volume prune", ["volume", "prune", "-af"], prepare=lambda boxlite: boxlite.ok("volume", "create", "vol")),
        Scenario("create", ["create", "--name", "a", "-v", "vol:/v", "-v", "/anonymous", *main], prepare=have_image,
                 done=lambda boxlite: "a" in boxes(boxlite), undo=no_boxes_and_volumes),
        Scenario("rename", ["rename", "a", "b"], prepare=created(), done=lambda boxlite: "b" in boxes(boxlite), undo=rm("a", "b")),
        Scenario("rm", ["rm", "-v", "a"], prepare=created("-v", "/anonymous"), done=lambda boxlite: not boxes(boxlite),
                 undo=no_boxes_and_volumes),
        Scenario("start that fails", ["start", "a"], plan="start.spawn=error;", prepare=created_on_an_unknown_host, undo=rm("a"), dear=True),
        Scenario("start that makes a template", ["start", "a"], prepare=created_without_templates, undo=rm("a"), dear=True),
        Scenario("start", ["start", "a"], prepare=stopped, dear=True),
        Scenario("stop", ["stop", "-t", "0", "a"], prepare=running, dear=True),
        Scenario("stop of a silent shim", ["stop", "-t", "0", "a"], prepare=silent, dear=True),
        Scenario("rm of a running box", ["rm", "-f", "a"], prepare=running, dear=True),
        Scenario("first start with a volume", ["start", "a"], prepare=unpopulated, undo=populated, dear=True),
        Scenario("pause to disk", ["pause", "--to-disk", "a"], first=["start", "a"], prepare=created(), again=["start", "a"], undo=rm("a"), dear=True),
        Scenario("start of what is on the disk", ["start", "a"], prepare=suspended, undo=rm("a"), dear=True),
        Scenario("snapshot", ["snapshot", "create", "--memory", "a", "s"], prepare=running, done=has_snapshot, undo=rm("a"), dear=True),
        Scenario("snapshot of a box at rest", ["snapshot", "create", "a", "s"], prepare=created(), done=has_snapshot, undo=rm("a")),
        Scenario("snapshot rm", ["snapshot", "rm", "a", "s"], prepare=kept, done=lambda boxlite: not has_snapshot(boxlite), undo=rm("a")),
        Scenario("snapshot restore", ["snapshot", "restore", "a", "s"], prepare=kept, undo=rm("a")),
        Scenario("fork", ["fork", "--name", "b", "a"], prepare=running, done=lambda boxlite: "b" in boxes(boxlite), undo=rm("a", "b"), dear=True),
        Scenario("export", ["export", "-o", archive, "a"], prepare=lambda boxlite: (no_archive(boxlite), created()(boxlite)),
                 undo=lambda boxlite: (one_archive(boxlite), rm("a")(boxlite))),
        Scenario("export of a running box", ["export", "--memory", "-o", archive, "a"], prepare=lambda boxlite: (no_archive(boxlite), running(boxlite)),
                 undo=lambda boxlite: (one_archive(boxlite), rm("a")(boxlite)), dear=True),
        Scenario("import of a box", ["import", archive], prepare=exported, done=lambda boxlite: "a" in boxes(boxlite), undo=rm("a")),
        Scenario("run in the foreground", ["run", *here, "--name", "a", demo, "true"], prepare=have_image, again=["rm", "-f", "a"],
                 undo=rm("a"), dear=True),
        Scenario("run of a box that removes itself", ["run", *here, "--rm", "-d", "--name", "a", "-v", "/anonymous", demo, "true"],
                 prepare=have_image, wait=ended, again=["rm", "-f", "-v", "a"], undo=no_boxes_and_volumes, dear=True),
    ]


def discover(boxlite, scenario, trace):
    """[(program, name, turn)] in the order in which they are reached."""
    scenario.prepare(boxlite)
    trace.clear()
    if scenario.first:
        boxlite.ok(*scenario.first, environment=trace.environment(scenario.plan))
    by_first = {reached.name for reached in trace.reached()}  # would be struck there: they have scenarios of their own
    finished = boxlite(*scenario.argv(boxlite), input=scenario.input, environment=trace.environment(scenario.plan))
    assert (finished.code == 0) != bool(scenario.plan), str(finished)
    scenario.wait(boxlite)
    invariants.settle(boxlite)
    turns, found = collections.Counter(), []
    for reached in trace.reached():
        if reached.action == "off" and reached.name not in by_first:
            found.append((reached.program, reached.name, turns[reached.pid, reached.name]))
        turns[reached.pid, reached.name] += 1
    scenario.undo(boxlite)
    return list(dict.fromkeys(found))


def strike(boxlite, scenario, trace, empty, name, turn, fault):
    scenario.prepare(boxlite)
    trace.clear()
    skip = f"{turn}*off->" if turn else ""
    plan = f"{scenario.plan}{name}={skip}1*{fault}"
    if scenario.first:
        boxlite.ok(*scenario.first, environment=trace.environment(plan))
    finished = boxlite(*scenario.argv(boxlite), input=scenario.input, environment=trace.environment(plan))
    assert finished.code in (0, 125, -signal.SIGKILL), str(finished)
    assert finished.code != 125 or finished.err, f"no word about it: {finished}"
    scenario.wait(boxlite)
    invariants.settle(boxlite)
    assert any((reached.name, reached.action) == (name, fault) for reached in trace.reached()), f"was not reached: {finished}"
    if not scenario.done(boxlite):
        again = boxlite(*(scenario.again or scenario.argv(boxlite)), input=scenario.input)
        assert again.code == 0, f"after {finished}\nthe same again: {again}"
    scenario.undo(boxlite)
    # What the dead leave besides is swept up by the next that come.
    boxlite.ok("create", "--rootfs", empty, "--name", "next", "true")
    boxlite.ok("rm", "next")
    invariants.check(boxlite)


@pytest.fixture(scope="session")
def empty():
    with tempfile.TemporaryDirectory(prefix="boxlite-empty-") as directory:
        os.chmod(directory, 0o755)
        yield directory


@pytest.fixture(scope="module")
def private():
    server = Registry(password=PASSWORD)
    yield server.address
    server.close()


@pytest.fixture(scope="module")
def tried(request):
    """The places that were tried, as discover() gives them, and with which faults."""
    places = {}
    yield places
    programs = collections.Counter(program for program, _, _ in places)
    faults = collections.Counter(fault for tried in places.values() for fault in tried)
    request.config.stash.setdefault(outcome.TRIED, []).append(
        f"fault matrix: {faults.total()} faults ({', '.join(f'{count} {fault}' for fault, count in faults.items())}) at "
        f"{len({name for _, name, _ in places})} failpoints, in "
        + ", ".join(f"{count} turns of {program}" for program, count in programs.items()))


@pytest.mark.parametrize("name", [scenario.name for scenario in scenarios("", "", "")])
def test_after_every_fault_all_counts_are_equal_and_the_command_succeeds(boxlite, demo, empty, private, trace, tried, name):
    scenario = next(scenario for scenario in scenarios(demo, empty, private) if scenario.name == name)
    boxlite.environment.pop("BOXLITE_COLD", None)  # each fault is tried in one of the two suites only
    if scenario.dear:
        boxlite.ok("run", "--rm", demo, "true")  # finds out about the host
    places = [place for place in discover(boxlite, scenario, trace) if not (scenario.dear and place in tried)]
    for place in places:
        program, failpoint, turn = place
        for fault in FAULTS:
            try:
                strike(boxlite, scenario, trace, empty, failpoint, turn, fault)
            except AssertionError as error:
                raise AssertionError(f"{failpoint} ({program}, turn {turn}) = {fault}: {error}") from None
        tried[place] = FAULTS
    boxlite.ok("doctor")  # status 0: there is nothing to repair


def test_every_failpoint_was_tried(tried):
    """After all of the above: of a selection it says what that leaves out."""
    assert set(failpoints.places()) - {name for _, name, _ in tried} == set()
