"""What boxlite says about the layers between a box and its host, and --security strict."""

import ctypes
import json
import os
import re
from boxlite_testing.fixtures import used as boxlite  # noqa: F401

PROCESSES = {"vm", "shim", "network", "volumes"}


def landlock_version():
    landlock_create_ruleset, of_the_version = 444, 1
    return ctypes.CDLL(None, use_errno=True).syscall(landlock_create_ruleset, None, 0, of_the_version)


def info(bl, *arguments):
    return json.loads(bl.ok(*arguments, "info", "--format", "json"))


def has_no_cgroup(layers):
    """What says so and why, where the host delegates none."""
    return [f"cgroup of vm ({layer['reason']})" for layer in layers if layer["layer"] == "cgroup" and not layer["on"]]


def test_info_names_the_layers_of_every_process_and_why_one_is_missing(boxlite):
    layers = info(boxlite, "--accel", "tcg")["isolation_layers"]
    assert {layer["process"] for layer in layers} == PROCESSES
    assert all(layer["on"] == (layer["reason"] == "") for layer in layers)
    on = {(layer["process"], layer["layer"]): layer["on"] for layer in layers}
    assert not on["vm", "kvm"] and all(on[process, "seccomp"] for process in PROCESSES)
    assert on["shim", "landlock"] == on["network", "landlock"] == (landlock_version() > 0)
    text = boxlite.ok("--accel", "tcg", "info")
    if os.path.isdir("/sys/fs/cgroup/memory"):  # version 1's
        assert not on["vm", "cgroup"] and re.search("missing:    cgroup of vm: cgroup v2 (has no memory and pids|is not mounted)", text), text
    assert "missing:    kvm of vm: under TCG QEMU promises no isolation" in text and "  shim:       " in text


def test_inspect_has_the_layers_of_a_box_while_it_runs(boxlite, demo):
    boxlite.ok("--accel", "tcg", "run", "-d", "--name", "a", demo, "sleep", "infinity")
    assert boxlite.inspect("a")["isolation"] == info(boxlite, "--accel", "tcg")["isolation_layers"]
    boxlite.ok("stop", "-t", "0", "a")
    assert boxlite.inspect("a")["isolation"] == []


def test_strict_starts_nothing_where_a_layer_is_missing_and_names_it(boxlite, demo):
    boxlite.refused("--accel", "tcg", "run", "--security", "strict", "--name", "a", demo, "true", mentions=["--security strict", "kvm of vm"])
    assert boxlite.status("a") == "created" and boxlite.inspect("a")["options"]["security"] == "strict"
    assert boxlite.census().shims == 0
    boxlite.refused("--accel", "tcg", "start", "a", mentions=["kvm of vm", *has_no_cgroup(info(boxlite)["isolation_layers"])])
    boxlite.refused("create", "--security", "loose", demo, "true", mentions="--security loose")
