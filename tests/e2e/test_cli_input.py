"""What one can get wrong on the command line: one line on stderr that names it, exit status 125, and nothing is begun. No box is made."""

import os
import re
import subprocess
import time

import pytest
from boxlite_testing import identity, proc

pytestmark = identity.by_user

IMAGE = "oci:/nonexistent/never-looked-at"

VERBS = ["run", "create", "cp", "start", "stop", "kill", "exec", "attach", "ls", "ps", "list", "rm", "logs", "inspect", "wait", "pull", "login", "logout",
         "images", "image", "rmi", "tag", "load", "save", "import", "volume", "info",
         "version"]


def assert_refused_untouched(boxlite, *arguments, mentions=(), **options):
    """Refused before anything was opened or made: not even the home is there."""
    message = boxlite.refused(*arguments, mentions=mentions, **options)
    assert message.startswith("boxlite: ")
    assert not os.path.exists(boxlite.home), os.listdir(boxlite.home)


@pytest.mark.parametrize("arguments, mentions", [
    ([""], ['""']),
    (["frobnicate"], ["unknown command frobnicate", "boxlite --help"]),
    (["build", "a"], ["build"]),
    (["imags"], ["imags", "did you mean images?"]),
    (["rnu", IMAGE], ["rnu", "did you mean run?"]),
    (["--frobnicate", "ls"], ["--frobnicate"]),
    (["-x", "ls"], ["-x"]),
    (["--home"], ["--home", "needs a value"]),
    (["--accel", "xen", "ls"], ["--accel xen", "kvm or tcg"]),
    (["ls", "--accel=hvf"], ["--accel hvf"]),
    (["line\nbreak"], ["line\\x0abreak"]),
    (["\x1b[2J"], ["\\x1b[2J"]),
], ids=str)
def test_a_wrong_beginning(boxlite, arguments, mentions):
    assert_refused_untouched(boxlite, *arguments, mentions=mentions)


@pytest.mark.parametrize("verb", ["build", "commit", "push", "history"])
def test_a_command_of_dockers_that_is_not_here_is_not_taken_for_a_typo(boxlite, verb):
    assert_refused_untouched(boxlite, verb, "x", mentions=[f"unknown command {verb}", "docker's", "boxlite --help"])


@pytest.mark.parametrize("word", ["lsx", "pss", "up", "ssh"])
def test_a_short_word_is_not_taken_for_a_typo_of_a_command_that_removes_or_lists(boxlite, word):
    assert "did you mean" not in boxlite.refused(word, "x", mentions=[f"unknown command {word}", "boxlite --help"])


@pytest.mark.parametrize("verb", VERBS)
def test_a_flag_that_does_not_exist_is_refused_by_every_verb(boxlite, verb):
    for flag in ("--frobnicate", "--frobnicate=1", "-Z"):
        assert_refused_untouched(boxlite, verb, flag, "x", "y", mentions=[flag.split("=")[0], f"boxlite {verb.replace('ps', 'ls').replace('list', 'ls')} --help"])


@pytest.mark.parametrize("flag", ["--restart", "--network-alias", "--device", "--gpus", "--security-opt", "--label-file"])
def test_a_docker_flag_that_is_not_there_is_refused_by_name(boxlite, flag):
    for verb in ("run", "create"):
        assert_refused_untouched(boxlite, verb, flag, "value", IMAGE, mentions=[f"unknown flag {flag} for {verb}"])


@pytest.mark.parametrize("arguments, mentions", [
    (["run"], ["IMAGE", "boxlite run"]),
    (["run", "-d", "--rm"], ["IMAGE"]),
    (["run", ""], ["IMAGE"]),
    (["create", "--"], ["IMAGE"]),
    (["exec"], ["BOX"]),
    (["exec", "a"], ["COMMAND"]),
    (["exec", "a", "--"], ["COMMAND"]),
    (["exec", "", "true"], ["BOX"]),
    (["start"], ["BOX"]), (["stop"], ["BOX"]), (["kill"], ["BOX"]), (["rm"], ["BOX"]), (["rm", "-f"], ["BOX"]), (["wait"], ["BOX"]),
    (["inspect"], ["BOX"]), (["logs"], ["BOX"]), (["rm", ""], ["BOX"]), (["logs", "a", "b"], ["one BOX"]),
    (["login", "a", "b"], ["one REGISTRY"]), (["logout", "a", "b"], ["one REGISTRY"]), (["login", "--password-stdin"], ["-u USER"]),
    (["pull"], ["IMAGE"]), (["pull", "a", "b"], ["one IMAGE"]),
    (["ls", "a"], ["a"]), (["images", "a", "b"], ["b"]), (["info", "a"], ["a"]), (["version", "a"], ["a"]),
], ids=str)
def test_missing_and_surplus_operands(boxlite, arguments, mentions):
    assert_refused_untouched(boxlite, *arguments, mentions=mentions)


@pytest.mark.parametrize("flag, value, mentions", [
    ("--memory", "lots", "--memory lots"), ("-m", "-1", "--memory -1"), ("--memory", "", '--memory ""'), ("--memory", "16m", "128m"),
    ("--memory", "99999999999999999999", "too large"), ("--memory", "512mm", "--memory 512mm"),
    ("--disk-size", "big", "--disk-size big"), ("--disk-size", "0", "--disk-size 0"),
    ("--cpus", "1.5", "use --cpus 2"), ("--cpus", "0", "--cpus 0"), ("--cpus", "two", "--cpus two"), ("--cpus", "-1", "--cpus -1"),
    ("-e", "=value", "--env"), ("-e", "", "--env"), ("--name", "", "--name"),
    ("--pull", "newer", "--pull newer"), ("--pull", "", '--pull ""'), ("--platform", "amd64", "--platform amd64"),
    ("--platform", "linux/", "--platform linux/"), ("-w", "relative/dir", "--workdir relative/dir"),
], ids=str)
def test_bad_values_name_flag_and_value(boxlite, flag, value, mentions):
    for verb in ("run", "create"):
        assert_refused_untouched(boxlite, verb, flag, value, IMAGE, mentions=mentions)


@pytest.mark.parametrize("arguments, mentions", [
    (["stop", "-t", "soon", "a"], "--time soon"), (["stop", "-t", "-1", "a"], "--time -1"), (["stop", "--time=1.5", "a"], "--time 1.5"),
    (["kill", "-s", "NOPE", "a"], "--signal NOPE"), (["kill", "-s", "0", "a"], "--signal 0"), (["kill", "--signal=", "a"], '--signal ""'),
    (["ls", "--format", "yaml"], "--format yaml"), (["images", "--format", "{{.ID}}"], "--format {{.ID}}"),
    (["info", "--format", ""], "--format"), (["run", "--rm=maybe", IMAGE], "--rm=maybe"), (["run", "--name"], "--name needs a value"),
    (["run", "-e"], "-e needs a value"), (["stop", "a", "-t"], "-t needs a value"), (["exec", "-e", "=x", "a", "true"], "--env"),
    (["start", "-a", "a"], "boxlite attach BOX"), (["start", "-ai", "a"], "boxlite attach BOX"), (["login", "-p", "secret", "a"], "--password-stdin"),
    (["ls", "-f", "status=gone"], "stopped (or exited)"), (["run", "--memory", "9999g", IMAGE], "--memory 9999g: more than"),
    (["logs", "--since", "2026-11-24T17", "a"], "--since 2026-11-24T17"), (["run", "-it", IMAGE], "not a TTY"), (["exec", "-it", "a", "sh"], "not a TTY"),
], ids=str)
def test_bad_values_of_other_verbs(boxlite, arguments, mentions):
    assert_refused_untouched(boxlite, *arguments, mentions=mentions)


@pytest.mark.parametrize("name", ["a b", "-a", ".a", "a/b", "ä", "a" * 64, "a\nb"], ids=repr)
def test_a_name_that_cannot_be_one_makes_no_box(boxlite, name):
    boxlite.refused("create", f"--name={name}", IMAGE, mentions=["name"])
    boxlite.assert_nothing_left()


def test_a_secret_value_is_not_in_the_message(boxlite):
    assert "hunter2" not in boxlite.refused("run", "-e", "=hunter2", IMAGE)


def test_every_verb_has_help_that_needs_no_home(boxlite):
    environment = {"BOXLITE_HOME": "/proc/no/home"}
    for verb in VERBS:
        text = boxlite.ok(verb, "--help", environment=environment)
        assert "Usage: boxlite " in text and "--home" in text
    everything = boxlite.ok("--help", environment=environment)
    assert all(verb in everything for verb in VERBS if verb not in ("ps", "list"))


def test_the_version_is_told_in_all_ways(boxlite):
    version = boxlite.ok("--version")
    assert re.fullmatch(r"boxlite \d+\.\d+\.\d+\n", version)
    assert boxlite.ok("version") == boxlite.ok("-v") == version
    assert version.split()[1] in boxlite.ok("version", "--format", "json")


def test_an_empty_home_lists_nothing(boxlite):
    assert boxlite.ok("ls").split() == ["BOX", "ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    assert boxlite.ok("ls", "-aq") == boxlite.ok("ps", "-q") == boxlite.ok("images", "-q") == ""
    assert boxlite.ok("list", "--format", "json") == boxlite.ok("images", "--format=json") == "[]\n"
    boxlite.assert_nothing_left()


def test_of_several_boxes_each_error_is_told(boxlite):
    for verb in ("start", "stop", "kill", "rm", "wait"):
        finished = boxlite(verb, "one", "two")
        assert finished.code == 125 and finished.out == "", str(finished)
        lines = finished.err.splitlines()
        assert len(lines) == 2 and "one" in lines[0] and "two" in lines[1], str(finished)
    finished = boxlite("inspect", "one")
    assert (finished.code, finished.out) == (125, "[]\n")


def test_an_output_that_is_closed_is_an_error(boxlite):
    finished = subprocess.run(["sh", "-c", " ".join(boxlite.argv("ls")) + " >&-"], env=boxlite.environment, capture_output=True, check=False)
    assert finished.returncode == 125 and b"standard output: " in finished.stderr and b"Bad file descriptor" in finished.stderr, finished


def test_a_question_that_is_answered_with_no_or_nothing_removes_nothing_and_says_no_more(boxlite):
    for verb in ("image", "volume"):
        assert boxlite.ok(verb, "prune", input=b"n\n").endswith("[y/N] ")
        assert boxlite.ok(verb, "prune", input=b"").endswith("[y/N] \n")


def test_an_output_that_cannot_be_written_is_an_error(boxlite):
    with open("/dev/full", "w") as full:
        child = boxlite.spawn("ls", stdout=full)
        _, stderr = child.communicate(timeout=60)
    assert child.returncode == 125 and b"No space left" in stderr


def test_a_reader_that_went_away_ends_the_program_as_any_other(boxlite):
    reader, writer = os.pipe()
    os.close(reader)
    child = boxlite.spawn("ls", stdout=writer)
    os.close(writer)
    _, stderr = child.communicate(timeout=60)
    assert (child.returncode, stderr) == (-13, b"")


def test_closed_standard_descriptors_are_no_ones_files(boxlite):
    """With 0, 1 and 2 closed the database would get one of the numbers, and messages would be written into it."""
    boxlite.refused("run", IMAGE)  # the home is there now
    command = " ".join(boxlite.argv("rm", "no-such-box")) + " <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], env=boxlite.environment, check=False).returncode == 125
    assert boxlite.ok("ls", "-aq") == ""


def test_no_process_is_left_by_a_refusal(boxlite):
    boxlite.refused("run", "--rm", IMAGE, "true", mentions="/nonexistent/never-looked-at")
    deadline = time.monotonic() + 30
    while any(boxlite.home in " ".join(p.argv) for p in proc.all_processes()):
        assert time.monotonic() < deadline, "a process of the home is left"
    boxlite.assert_nothing_left()
