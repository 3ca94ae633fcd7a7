"""`logs`: which part of the output, and with its times."""

import datetime
import re
import time

import pytest
from boxlite_testing import identity
from boxlite_testing.fixtures import used as boxlite  # noqa: F401
from boxlite_testing.waiting import wait_until

pytestmark = identity.by_user

# Two pipes have no order between them: the last line comes when all others are known to be kept.
SCRIPT = "for i in 1 2 3 4 5 6 7 8 9 10; do echo out $i; echo err $i >&2; done; while [ ! -e /go ]; do sleep 0.05; done; printf 'no newline'"


def lines_kept(home, box):
    kept = home("logs", box)
    return len(kept.out.splitlines()) + len(kept.err.splitlines())


@pytest.fixture(scope="module")
def box(home, demo):
    home.ok("run", "-d", "--name", "box", demo, "sh", "-c", SCRIPT)
    wait_until(lambda: lines_kept(home, "box") == 20, "the first twenty lines are kept")
    home.ok("exec", "-d", "box", "touch", "/go")  # the end of PID 1 may be its own
    home.ok("wait", "box")
    yield home
    home.ok("rm", "box")


def test_tail_gives_the_last_lines_of_both_streams_together(box):
    everything = box("logs", "box")
    assert len(everything.out.splitlines()) == 11 and len(everything.err.splitlines()) == 10
    for many in ("all", "21", "1000000"):
        finished = box("logs", "--tail", many, "box")
        assert (finished.out, finished.err) == (everything.out, everything.err)
    finished = box("logs", "-n", "3", "box")
    assert finished.out.endswith("no newline") and len(finished.out.splitlines()) + len(finished.err.splitlines()) == 3, str(finished)
    assert box.ok("logs", "--tail=1", "box") == "no newline"
    assert box("logs", "--tail", "0", "box").stdout == b""


def test_timestamps_stand_before_each_line_once(box):
    lines = box.ok("logs", "-t", "box").splitlines()
    assert len(lines) == 11 and all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (out|no)", line) for line in lines), lines
    stamps = [line.split()[0] for line in lines]
    assert sorted(stamps) == stamps


def test_since_and_until_in_all_notations(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sh", "-c",
               "echo first; until test -e /one; do sleep 0.1; done; echo second; until test -e /two; do sleep 0.1; done; echo third")

    def seconds_since_the_last(count):
        stamps = [line.split()[0] for line in boxlite.ok("logs", "-t", "a").splitlines()]
        return time.time() - datetime.datetime.fromisoformat(stamps[-1][:19] + "+00:00").timestamp() if len(stamps) == count else 0
    for count, file in ((1, "/one"), (2, "/two")):
        wait_until(lambda count=count: seconds_since_the_last(count) > 3, "the next line comes some seconds later")
        boxlite.ok("exec", "-d", "a", "touch", file)  # the end of PID 1 may be its own
    boxlite.ok("wait", "a")
    stamps = [line.split()[0] for line in boxlite.ok("logs", "-t", "a").splitlines()]
    assert boxlite.ok("logs", "--since", stamps[1], "a") == "second\nthird\n", "the time itself counts"
    assert boxlite.ok("logs", "--until", stamps[1], "a") == "first\nsecond\n"
    assert boxlite.ok("logs", "--since", stamps[1], "--until", stamps[1], "a") == "second\n"
    moment = datetime.datetime.strptime(stamps[1][:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=datetime.timezone.utc)
    between = moment - datetime.timedelta(seconds=1)
    east = between.astimezone(datetime.timezone(datetime.timedelta(hours=5, minutes=30)))
    for text in (between.strftime("%Y-%m-%dT%H:%M:%SZ"), east.isoformat(), str(int(between.timestamp())), f"{between.timestamp():.3f}"):
        assert boxlite.ok("logs", "--since", text, "a") == "second\nthird\n", text
    local = between.astimezone(datetime.timezone(datetime.timedelta(hours=-3)))
    assert boxlite.ok("logs", "--since", local.strftime("%Y-%m-%dT%H:%M:%S"), "a", environment={"TZ": "XXX3"}) == "second\nthird\n"
    assert boxlite.ok("logs", "--since", "10m", "a") == boxlite.ok("logs", "--since", "1h30m", "a") == "first\nsecond\nthird\n"
    assert boxlite.ok("logs", "--since", "0s", "a") == boxlite.ok("logs", "--until", "10m", "a") == ""
    assert boxlite.ok("logs", "--since", "10m", "--until", stamps[1], "--tail", "1", "a") == "second\n"


def test_follow_goes_on_after_the_tail_without_loss_or_repetition(boxlite, demo):
    boxlite.ok("run", "-d", "--name", "a", demo, "sh", "-c", "seq 1000; while [ ! -e /go ]; do sleep 0.05; done; seq 1001 3000")
    wait_until(lambda: boxlite.ok("logs", "--tail", "1", "a") == "1000\n", "the first part is there")
    follower = boxlite.spawn("logs", "-f", "--tail", "5", "a")
    assert follower.stdout.readline() == b"996\n"
    boxlite.ok("exec", "a", "touch", "/go")
    rest = follower.stdout.read()
    assert follower.wait(timeout=60) == 0 and rest.decode().split() == [str(i) for i in range(997, 3001)]


@pytest.mark.parametrize("flags, mentions", [
    (["--tail", "few"], "--tail few"), (["--tail", "-1"], "--tail -1"), (["--tail", ""], '--tail ""'), (["--since", "yesterday"], "--since yesterday"),
    (["--since", ""], '--since ""'), (["--until", "10"], None), (["--since", "10x"], "--since 10x"), (["--since", "9999-01-01T00:00:00Z"], "--since 9999"),
    (["--since", "99999999999999"], "--since 9999"), (["--since", "2026-13-01"], "--since 2026-13-01"), (["-f", "--until", "10m"], "--until"),
    (["--details"], "--details")], ids=str)
def test_bad_values_are_refused_by_flag_and_value(box, flags, mentions):
    if mentions is None:
        assert box.ok("logs", *flags, "box") == ""
    else:
        box.refused("logs", *flags, "box", mentions=mentions)
