"""`pull`, `login` and `--pull` as one sees them: what stands on the terminal, what is asked, which image is run."""

import json
import os
import re

import pytest
from boxlite_testing import identity, oci
from boxlite_testing.registry import Registry
from boxlite_testing.terminal import Terminal

PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def large(registry, images):
    """Reference of an image with two layers of some size, so that bars have something to show."""
    layers = []
    for number in range(2):
        layer = oci.Layer()
        layer.file(f"noise-{number}", os.urandom(3_000_000))
        layers.append(layer.tar())
    return registry.push(oci.write_demo(f"{images}/large", *layers), "large:latest")


@pytest.fixture(scope="module")
def private(images):
    server = Registry(password=PASSWORD)
    server.demo = server.push(oci.write_demo(f"{images}/private-demo"), "team/demo:latest")
    yield server
    server.close()


def configure(boxlite, **settings):
    """The home's config.json (docs/formats/config.md)."""
    boxlite.ok("ls")
    os.makedirs(boxlite.home, mode=0o700, exist_ok=True)
    with open(f"{boxlite.home}/config.json", "w") as file:
        json.dump(settings, file)
    identity.give(boxlite.home)


def push_version(registry, images, name, version):
    layer = oci.Layer()
    layer.file("version", version.encode())
    return registry.push(oci.write_demo(f"{images}/{name}-{version}", layer.tar()), f"{name}:latest")


def test_on_a_terminal_bars_grow_and_each_layer_that_is_here_is_a_line(boxlite, large):
    with Terminal(boxlite, "pull", large, rows=24, columns=100) as terminal:
        assert terminal.wait() == 0
        shown = terminal.seen.decode()
    assert len(re.findall(r"layer [0-9a-f]{12}: [\d.]+ ?[kM]?i?B done", shown)) >= 3, shown
    assert re.search(r"\[=*> *\] ", shown), "a bar"
    assert "\x1b[J" in shown, "drawn over"
    last = [line for line in re.sub(r"\x1b\[\d*[A-Z]", "", shown).replace("\r", "\n").split("\n") if line]
    assert large in last[-1] or re.fullmatch(r"(sha256:)?[0-9a-f]{12,64}", last[-1]), last[-1]


def test_elsewhere_there_are_plain_lines_on_stderr_and_the_image_on_stdout(boxlite, large):
    finished = boxlite("pull", large)
    assert finished.code == 0 and "\x1b" not in finished.err and "\r" not in finished.err
    lines = finished.err.splitlines()
    assert sum(bool(re.fullmatch(r"layer [0-9a-f]{12}: .* done", line)) for line in lines) >= 3, finished
    assert len(finished.out.splitlines()) == 1


def test_quiet_says_nothing_but_the_image(boxlite, large):
    finished = boxlite("pull", "-q", large)
    assert (finished.code, finished.err) == (0, "") and len(finished.out.splitlines()) == 1
    with Terminal(boxlite, "run", "--rm", "-q", "--pull", "always", large, "echo", "hello") as terminal:
        assert terminal.wait() == 0 and terminal.seen == b"hello\r\n", terminal.seen


def test_login_asks_for_name_and_password_without_showing_it_and_logout_ends_it(boxlite, private):
    environment = {"DOCKER_CONFIG": f"{boxlite.directory}/docker"}
    boxlite.environment.update(environment)
    boxlite.refused("pull", private.demo, mentions=["boxlite login"])
    for password, code in (("wrong", 125), (PASSWORD, 0)):
        with Terminal(boxlite, "login", private.address) as terminal:
            terminal.read_until("Username: ")
            terminal.send("tester\n")
            terminal.read_until("Password: ")
            terminal.send(password + "\n")
            assert terminal.wait() == code, terminal.seen
            assert password.encode() not in terminal.seen
    boxlite.ok("pull", private.demo)
    assert os.stat(f"{boxlite.home}/auth.json").st_mode & 0o077 == 0
    boxlite.ok("logout", private.address)
    boxlite.refused("pull", private.demo, mentions=["boxlite login"])


def test_login_without_a_terminal_takes_the_password_from_stdin_or_says_how(boxlite, private):
    boxlite.environment["DOCKER_CONFIG"] = f"{boxlite.directory}/docker"
    boxlite.refused("login", private.address, mentions=["--password-stdin"])
    boxlite.ok("login", "-u", "tester", "--password-stdin", private.address, input=f"{PASSWORD}\n".encode())
    boxlite.ok("pull", private.demo)


def test_pull_policies_choose_which_image_runs(boxlite, registry, images):
    name = "policy" + (identity.USER.pw_name if identity.USER else "")
    reference = push_version(registry, images, name, "one")
    boxlite.refused("run", "--rm", "--pull", "never", reference, "true", mentions=[reference, "boxlite pull"])
    assert boxlite.ok("run", "--rm", reference, "cat", "/version") == "one"
    assert push_version(registry, images, name, "two") == reference
    for policy in ("missing", "never"):
        assert boxlite.ok("run", "--rm", "--pull", policy, reference, "cat", "/version") == "one"
    assert boxlite.ok("run", "--rm", "--pull", "always", reference, "cat", "/version") == "two"
    assert boxlite.ok("run", "--rm", "--pull=never", reference, "cat", "/version") == "two"


def test_a_name_without_a_host_is_looked_for_in_the_list(boxlite, registry):
    empty = Registry()
    try:
        configure(boxlite, search=[empty.address, registry.address])
        assert boxlite.ok("run", "--rm", "-q", "demo", "echo", "found") == "found\n"
        assert f"{registry.address}/demo" in boxlite.ok("images")
        empty.stop()
        boxlite.refused("pull", "-q", "schema2", mentions=[empty.address])  # it does not answer: another's would be another image
    finally:
        empty.close()
