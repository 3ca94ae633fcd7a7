"""`top` and `stats`: what runs in boxes and what they use."""

import json
import os
import re
import signal
import subprocess

import pytest
from boxlite_testing import identity, oci, proc
from boxlite_testing.fixtures import used as boxlite  # noqa: F401
from boxlite_testing.terminal import Terminal
from boxlite_testing.waiting import wait_until

pytestmark = identity.by_user


@pytest.fixture(scope="module")
def bare(images):
    """An image with one program and nothing else: no ps, no passwd, no /proc of its own."""
    with open(oci.BUSYBOX, "rb") as file:
        layer = oci.Layer().file("busybox", file.read(), 0o755)
    return "oci:" + oci.write_layout(f"{images}/bare", [layer.tar()], {"Entrypoint": ["/busybox"], "Cmd": ["sleep", "infinity"]})


def rows_of(text):
    return [line.split(None, 7) for line in text.splitlines()]


def test_top_shows_dockers_columns_of_the_boxs_own_processes(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", "-u", "app", demo, "sh", "-c", "sleep 1000 & exec sleep 2000")
    executed = boxlite.spawn("exec", "-u", "4242", "-i", "a", "cat", stdin=subprocess.PIPE)
    wait_until(lambda: {"cat", "sleep 1000", "sleep 2000"} == {row[7] for row in rows_of(boxlite.ok("top", "a"))[1:]}, "all three run")
    header, *rows = rows_of(boxlite.ok("top", "a"))
    assert header == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    by_command = {row[7]: row for row in rows}
    assert set(by_command) == {"sleep 2000", "sleep 1000", "cat"}, rows
    assert by_command["sleep 2000"][:3] == ["app", "1", "0"] and by_command["sleep 1000"][:3] == ["app", by_command["sleep 1000"][1], "1"]
    assert by_command["cat"][0] == "4242" and by_command["cat"][2] == "0"
    inside = boxlite.ok("exec", "a", "sh", "-c", "for p in /proc/[0-9]*; do echo ${p#/proc/} $(tr '\\0' ' ' < $p/cmdline); done")
    assert f"{by_command['sleep 1000'][1]} sleep 1000" in inside, "pids are the box's own"
    for row in rows:
        assert re.fullmatch(r"\d+", row[3]) and re.fullmatch(r"\d\d:\d\d|[A-Z][a-z]{2}\d\d", row[4]) and row[5] == "?"
        assert re.fullmatch(r"\d\d:\d\d:\d\d", row[6])
    listed = json.loads(boxlite.ok("top", "--format", "json", "a"))
    assert {p["command"]: (p["pid"], p["parent"], p["user"]) for p in listed}["sleep 2000"] == (1, 0, "app")
    started = subprocess.run(["date", "-ud", listed[0]["started_at"], "+%s"], capture_output=True, check=True).stdout
    assert abs(int(started) - int(subprocess.run(["date", "+%s"], capture_output=True, check=True).stdout)) < 120
    executed.stdin.close()
    executed.wait(timeout=60)


def test_top_needs_nothing_of_the_image_and_no_process_can_steer_the_terminal_or_hide(boxlite, bare, demo):
    boxlite.ok("run", "-d", "--name", "bare", bare)
    _, row = rows_of(boxlite.ok("top", "bare"))
    assert row[:3] + row[7:] == ["0", "1", "0", "/busybox sleep infinity"]
    boxlite.ok("run", "-d", "--privileged", "--name", "evil", demo, "sh", "-c",
               "mount -t tmpfs none /proc; sh -c 'sleep 3000; :' \"$(printf 'evil\\033[2J\\nsecond line')\"; :")
    wait_until(lambda: "3000" in boxlite.ok("top", "evil"), "the evil process runs")
    shown = boxlite.ok("top", "evil")
    assert "\x1b" not in shown and "second line" in shown and all(len(row) == 8 for row in rows_of(shown)), shown
    with Terminal(boxlite, "exec", "-it", "evil", "sh") as terminal:
        terminal.read_until("# ")
        assert "pts/0" in boxlite.ok("top", "evil")
        terminal.send("exit\n")
        terminal.wait()


def test_top_of_many_processes_and_long_commands_is_whole_or_cut_at_a_bound(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sh", "-c",
               "long=$(head -c 60000 /dev/zero | tr '\\0' x); for i in $(seq 200); do sleep 5000 & done; sh -c 'sleep 6000; :' $long & wait")

    def commands():
        return [process["command"] for process in json.loads(boxlite.ok("top", "--format", "json", "a"))]

    wait_until(lambda: any(command.startswith("sh -c sleep 6000") for command in commands()), "all run")
    assert commands().count("sleep 5000") == 200 and max(map(len, commands())) == 4096


def test_top_and_stats_of_boxes_that_do_not_run_or_exist(boxlite, demo):
    boxlite.ok("create", "--name", "a", demo)
    boxlite.refused("top", "a", mentions=["box a is not running", "boxlite start a"])
    boxlite.refused("top", "no-such", mentions="no-such")
    boxlite.refused("top", "a", "-ef", mentions="-e")
    boxlite.refused("top", "a", "aux", mentions="options of ps")
    boxlite.refused("stats", "--no-stream", "no-such", mentions="no-such")
    boxlite.refused("stats", "--format", "yaml", mentions="--format yaml")
    assert boxlite.ok("stats", "--no-stream").split()[:2] == ["BOX", "ID"] and len(boxlite.ok("stats", "--no-stream").splitlines()) == 1
    (row,) = json.loads(boxlite.ok("stats", "--no-stream", "--format", "json", "a"))
    assert row["name"] == "a" and row["cpu_percent"] is None and row["memory_bytes"] is None and row["host_memory_bytes"] is None
    assert " -- " in boxlite.ok("stats", "--no-stream", "a")


def one_sample(boxlite, *boxes):
    return {row["name"]: row for row in json.loads(boxlite.ok("stats", "--no-stream", "--format", "json", *boxes))}


def complete_sample(boxlite, *boxes):
    """One in which every guest has answered in time."""
    def complete():
        rows = one_sample(boxlite, *boxes)
        return rows if all(row["memory_bytes"] is not None and row["cpu_percent"] is not None for row in rows.values()) else None
    return wait_until(complete, "every guest has answered in time")


def private_memory(boxlite, box):
    """Of the shim and all below it, from smaps_rollup: another way than the product's. Pages of files are the host's cache, those of a
    template too, even before they have been written."""
    total = 0
    everyone = proc.all_processes()
    for process in proc.descendants([boxlite.inspect(box)["shim_pid"]], everyone):
        with open(f"/proc/{process.pid}/smaps_rollup") as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith("Anonymous:")) * 1024
    return total


def cpu_seconds(boxlite, box):
    total = 0
    for process in proc.descendants([boxlite.inspect(box)["shim_pid"]], proc.all_processes()):
        with open(f"/proc/{process.pid}/stat") as file:
            total += sum(map(int, file.read().rsplit(")", 1)[1].split()[11:13]))
    return total / os.sysconf("SC_CLK_TCK")


def test_stats_agree_with_the_guest_and_with_the_host(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "busy", "-m", "256m", demo, "sh", "-c", "while :; do :; done")
    boxlite.ok("run", "-d", "--name", "idle", demo, "sh", "-c",
               "dd if=/dev/zero of=/file bs=1M count=40 2>/dev/null; sync; head -c 50000000 /dev/zero | tail -c 50000000 | (sleep 100000)")

    def filled():  # the last of it may come a while after there are 50 MB in all
        now = complete_sample(boxlite, "idle")["idle"]
        return now["memory_bytes"] > 50_000_000 and now["cpu_percent"] < 5
    wait_until(filled, "the pipe's tail holds its 50 MB and waits")
    rows = complete_sample(boxlite)
    assert set(rows) == {"busy", "idle"}, "all that run"
    busy, idle = rows["busy"], rows["idle"]
    assert busy["cpu_percent"] > 50 > idle["cpu_percent"], rows
    assert busy["cpu_percent"] < 115 and busy["host_cpu_percent"] > 2, rows
    assert busy["pids"] == 1 and idle["pids"] in (3, 4), rows
    assert 200 << 20 < busy["memory_limit_bytes"] <= 256 << 20 and 400 << 20 < idle["memory_limit_bytes"] <= 512 << 20
    assert idle["memory_percent"] == pytest.approx(100 * idle["memory_bytes"] / idle["memory_limit_bytes"])
    # What the guest says of itself.
    inside = boxlite.ok("exec", "idle", "sh", "-c", "cat /sys/fs/cgroup/memory.current; grep -E '^inactive_file' /sys/fs/cgroup/memory.stat; cat /sys/fs/cgroup/io.stat").split()
    assert abs(int(inside[0]) - int(inside[2]) - idle["memory_bytes"]) < 8 << 20, (inside, idle)
    assert idle["block_write_bytes"] >= 40 << 20, (inside, idle)
    written = int(next(word for word in inside if word.startswith("wbytes="))[7:])
    assert idle["block_write_bytes"] <= written < idle["block_write_bytes"] + (16 << 20), (inside, idle)
    # What the host says of its processes.
    for name in ("busy", "idle"):
        assert rows[name]["host_memory_bytes"] == pytest.approx(private_memory(boxlite, name), rel=0.1), rows
    assert abs(complete_sample(boxlite, "idle")["idle"]["host_cpu_ns"] / 1e9 - cpu_seconds(boxlite, "idle")) < 1.0
    table = boxlite.ok("stats", "--no-stream", "idle")
    assert "HOST CPU %" in table and re.search(r"idle +\d+\.\d\d% +[\d.]+MiB / [\d.]+MiB +\d+\.\d\d% +[\d.]+k?B / [\d.]+k?B +[\d.]+k?M?B / [\d.]+MB +[34] ", table), table


def test_stats_go_on_every_second_follow_boxes_that_come_and_go_and_hardly_use_the_cpu(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
    stats = boxlite.spawn("stats", "--format", "json")
    assert [row["name"] for row in json.loads(stats.stdout.readline())] == ["a"]
    boxlite.ok("run", "-d", "--name", "b", demo, "sleep", "infinity")

    def names():
        return {row["name"] for row in json.loads(stats.stdout.readline())}

    wait_until(lambda: names() == {"a", "b"}, "the new box is seen")
    boxlite.ok("rm", "-f", "a")
    wait_until(lambda: names() == {"b"}, "the removed box is gone")
    with open(f"/proc/{stats.pid}/stat") as file:
        before = sum(map(int, file.read().rsplit(")", 1)[1].split()[11:13]))
    for _ in range(3):
        names()
    with open(f"/proc/{stats.pid}/stat") as file:
        used = (sum(map(int, file.read().rsplit(")", 1)[1].split()[11:13])) - before) / os.sysconf("SC_CLK_TCK")
    assert used < 0.6, f"{used} s of CPU in three seconds: it waits on a timer"
    stats.kill()


def test_a_box_that_does_not_answer_holds_up_no_other(boxlite, demo):
    for name in ("a", "stuck"):
        boxlite.ok("run", "-d", "--name", name, demo, "sleep", "infinity")
    qemu, = [p for p in proc.descendants([boxlite.inspect("stuck")["shim_pid"]], proc.all_processes()) if p.name.startswith("qemu")]
    qemu.stop()
    try:
        def sample():
            rows = one_sample(boxlite, "a", "stuck")
            assert rows["stuck"]["memory_bytes"] is None
            return rows["a"]["memory_bytes"] is not None
        wait_until(sample, "a answers")
    finally:
        qemu.kill(signal.SIGCONT)


def test_on_a_terminal_the_table_is_redrawn_in_place(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sleep", "infinity")
    with Terminal(boxlite, "stats", "a") as terminal:
        terminal.read_until("\x1b[2J\x1b[H")
        terminal.read_until("CPU %")
        terminal.read_until("\x1b[2J\x1b[H")
        terminal.read_until("a ")
        terminal.send("\x03")
        assert terminal.wait() != 0
