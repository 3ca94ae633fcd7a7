"""`attach`, and sessions that outlive whoever looks at them. Most tests share one box."""

import hashlib
import os
import re
import signal
import subprocess
import threading

import pytest
from boxlite_testing import identity
from boxlite_testing.fixtures import used as boxlite  # noqa: F401
from boxlite_testing.terminal import Terminal
from boxlite_testing.waiting import wait_until

pytestmark = identity.by_user


def background(shared, *arguments, flags=()):
    session = shared.ok("exec", "-d", *flags, "box", *arguments).strip()
    assert re.fullmatch("[0-9a-f]+", session), session
    return session


def exists(shared, path):
    return shared("exec", "box", "test", "-e", path).code == 0


def test_a_detached_exec_prints_its_session_and_goes_on(shared):
    session = background(shared, "sh", "-c", "echo out; echo err >&2; exit 7")
    finished = shared("attach", "box", session)
    assert (finished.out, finished.err, finished.code) == ("out\n", "err\n", 7), str(finished)


def test_output_and_exit_of_an_ended_session_can_be_read_again_and_again(shared):
    session = background(shared, "sh", "-c", "seq 5; kill -TERM $$")
    for _ in range(3):
        finished = shared("attach", "box", session)
        assert (finished.out, finished.code) == ("1\n2\n3\n4\n5\n", 143), str(finished)


def test_input_of_a_detached_exec_comes_from_whoever_attaches(shared):
    session = background(shared, "sh", "-c", "read a; echo got $a; read b; echo got $b", flags=["-i"])
    child = shared.spawn("attach", "box", session, stdin=subprocess.PIPE)
    child.stdin.write(b"one\n")
    child.stdin.flush()
    assert child.stdout.readline() == b"got one\n"
    child.kill()
    child.communicate()
    assert shared.ok("attach", "box", session, input=b"two\n") == "got one\ngot two\n"


def test_no_stdin_sends_nothing_not_even_its_end(shared):
    session = background(shared, "sh", "-c", "echo begin; cat; echo end", flags=["-i"])
    watcher = shared.spawn("attach", "--no-stdin", "box", session, stdin=subprocess.PIPE)
    assert watcher.stdout.readline() == b"begin\n"
    watcher.stdin.write(b"not for it\n")
    watcher.stdin.close()
    watcher.stdin = None
    assert shared.ok("attach", "box", session, input=b"for it\n") == "begin\nfor it\nend\n"
    stdout, _ = watcher.communicate(timeout=60)
    assert stdout == b"for it\nend\n" and watcher.returncode == 0


def test_two_views_see_the_same(shared):
    session = background(shared, "sh", "-c", "echo begin; read x; seq 20000; exit 3", flags=["-i"])
    views = [shared.spawn("attach", "--no-stdin", "box", session) for _ in range(2)]
    for view in views:
        assert view.stdout.readline() == b"begin\n"
    shared("attach", "box", session, input=b"go\n")
    wanted = "".join(f"{i}\n" for i in range(1, 20001)).encode()
    for view in views:
        stdout, _ = view.communicate(timeout=120)
        assert stdout == wanted and view.returncode == 3


# The first half is written while somebody reads, a bit more while nobody does, and the rest when somebody reads again.
HALVES = """
mkfifo /tmp/gate
seq 1500000 | head -c 10000000 >/tmp/ten
head -c 1 /tmp/ten
read x </tmp/gate
tail -c +2 /tmp/ten | head -c 4999999
touch /tmp/half
read x </tmp/gate
tail -c +5000001 /tmp/ten | head -c 100000
touch /tmp/unwatched
read x </tmp/gate
tail -c +5100001 /tmp/ten
exit 9
"""


def test_ten_megabytes_come_without_loss_and_duplicate_through_a_client_that_is_killed(shared):
    wanted = subprocess.run("seq 1500000 | head -c 10000000", shell=True, check=True, capture_output=True).stdout
    session = background(shared, "sh", "-c", HALVES)
    client = shared.spawn("attach", "box", session)
    seen = client.stdout.read(1)
    shared.ok("exec", "box", "sh", "-c", "echo >/tmp/gate")
    seen += client.stdout.read(4_899_999)  # the rest of the half is in the ring, in sockets and in the pipe
    wait_until(lambda: exists(shared, "/tmp/half"), "the first half is written")
    client.send_signal(signal.SIGKILL)
    seen += client.stdout.read()
    client.wait(timeout=60)
    assert 4_900_000 <= len(seen) <= 5_000_000

    shared.ok("exec", "box", "sh", "-c", "echo >/tmp/gate")
    wait_until(lambda: exists(shared, "/tmp/unwatched"), "output that nobody sees is written")
    exact = shared.spawn(shared.home, "box", session, len(seen), program="attach_client")
    # A command line knows no offset: it begins with the oldest that is kept.
    replay = shared.spawn("attach", "box", session)
    rest, replayed = bytearray(), bytearray()

    def drain(stream, into):
        while some := stream.read1(65536):
            into.extend(some)

    readers = [threading.Thread(target=drain, args=(exact.stdout, rest)), threading.Thread(target=drain, args=(replay.stdout, replayed))]
    for reader in readers:
        reader.start()
    wait_until(lambda: rest and replayed, "both see what is kept, before more takes its place")
    shared.ok("exec", "box", "sh", "-c", "echo >/tmp/gate")
    for reader in readers:
        reader.join(timeout=300)
    facts = exact.stderr.read()
    assert replay.wait(timeout=60) == 9

    assert facts.split() == [str(len(seen)).encode(), b"10000000", b"9"], facts
    assert hashlib.sha256(seen + rest).digest() == hashlib.sha256(wanted).digest()
    assert 10_000_000 - len(replayed) <= len(seen), "between what one saw and what the next one sees nothing is missing"
    assert wanted.endswith(bytes(replayed))
    shared.ok("exec", "box", "rm", "-f", "/tmp/ten", "/tmp/gate", "/tmp/half", "/tmp/unwatched")


def test_a_command_whose_client_is_killed_goes_on_and_is_found_again(shared):
    child = shared.spawn("exec", "box", "sh", "-c", "echo here; while [ ! -e /tmp/finish ]; do sleep 0.1; done; echo done; exit 4")
    assert child.stdout.readline() == b"here\n"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    message = shared.refused("attach", "box", "nonesuch", mentions=["nonesuch", "these run: "])
    sessions = message.split("these run: ")[1].strip().split(", ")
    viewer = None
    for session in sessions:
        view = shared.spawn("attach", "box", session)
        if view.stdout.readline() == b"here\n":
            viewer = view
            break
    assert viewer, message
    shared.ok("exec", "box", "touch", "/tmp/finish")
    stdout, _ = viewer.communicate(timeout=60)
    assert (stdout, viewer.returncode) == (b"done\n", 4)
    shared.ok("exec", "box", "rm", "/tmp/finish")


def test_a_command_that_nobody_watches_is_never_held_up(shared):
    session = background(shared, "sh", "-c", "seq 300000; echo the end; exit 5")
    # Two megabytes: more than is kept, and all of it is written before anybody looks.
    wait_until(lambda: "seq" not in shared.ok("exec", "box", "ps", "-o", "args"), "it has written all")
    finished = shared("attach", "box", session)
    assert finished.code == 5 and finished.out.endswith("300000\nthe end\n") and len(finished.stdout) == 256 * 1024


def test_detach_keys_leave_the_command_and_attach_returns(shared):
    with Terminal(shared, "exec", "-it", "box", "sh") as terminal:
        terminal.read_until("# ")
        terminal.send("KEPT=va''lue; echo re''ady\n")
        terminal.read_until("ready")
        terminal.send("\x10\x11")
        terminal.read_until("boxlite attach box ")
        session = terminal.read_until(" returns to it")
        assert terminal.wait() == 0
    with Terminal(shared, "attach", "--detach-keys", "ctrl-a,d", "box", session, rows=30, columns=90) as terminal:
        terminal.send("echo again $KEPT; stty size\n")
        terminal.read_until("again value")
        terminal.read_until("30 90")
        terminal.send("\x10\x11\x01x\n")  # not these keys: they are the shell's
        terminal.send("\x01d")
        terminal.read_until(f"boxlite attach box {session} returns to it")
        assert terminal.wait() == 0
    with Terminal(shared, "attach", "box", session) as terminal:
        terminal.send("\x15exit 6\n")
        assert terminal.wait() == 6


def test_run_can_be_left_with_the_detach_keys_and_its_main_command_attached_to(boxlite, demo):
    with Terminal(boxlite, "run", "-it", "--name", "a", demo, "sh") as terminal:
        terminal.read_until("# ")
        terminal.send("\x10")
        terminal.send("\x11")
        terminal.read_until("boxlite attach a returns to it")
        assert terminal.wait() == 0
    assert boxlite.status("a") == "running"
    with Terminal(boxlite, "attach", "a") as terminal:
        terminal.send("echo st''ill here; exit 8\n")
        terminal.read_until("still here")
        assert terminal.wait() == 8
    assert boxlite.inspect("a")["exit_code"] == 8 and boxlite.status("a") == "stopped"
    boxlite.refused("attach", "a", mentions=["a is not running", "boxlite start a"])


def test_attach_to_a_main_command_replays_passes_signals_and_ends_with_the_box(boxlite, demo):
    script = "trap 'echo got it; exit 6' TERM; echo ready; while :; do sleep 1; done"
    boxlite.ok("run", "-d", "--name", "a", demo, "sh", "-c", script)
    alone = boxlite.spawn("attach", "--sig-proxy=false", "a")
    assert alone.stdout.readline() == b"ready\n"
    alone.send_signal(signal.SIGTERM)
    stdout, stderr = alone.communicate(timeout=60)
    assert (stdout, alone.returncode) == (b"", 143) and b"boxlite attach a returns to it" in stderr
    assert boxlite.status("a") == "running"

    both = boxlite.spawn("attach", "a")
    assert both.stdout.readline() == b"ready\n"
    both.send_signal(signal.SIGTERM)
    stdout, _ = both.communicate(timeout=60)
    assert (stdout, both.returncode) == (b"got it\n", 6)
    assert boxlite.status("a") == "stopped"


def test_run_without_sig_proxy_keeps_signals_to_itself(boxlite, demo):
    child = boxlite.spawn("run", "--sig-proxy=false", "--name", "a", demo, "sh", "-c", "echo ready; exec sleep 1000")
    assert child.stdout.readline() == b"ready\n"
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == 130 and b"rm -f a" in stderr
    assert boxlite.status("a") == "running"


def test_a_killed_view_of_the_main_command_ends_nothing(boxlite, demo):
    child = boxlite.spawn("run", "-i", "--name", "a", demo, "sh", "-c", "echo ready; read x; echo $x; exit 2", stdin=subprocess.PIPE)
    assert child.stdout.readline() == b"ready\n"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert boxlite.status("a") == "running"
    finished = boxlite("attach", "a", input=b"still\n")
    assert (finished.out, finished.code) == ("ready\nstill\n", 2)


@pytest.mark.parametrize("arguments, mentions", [
    (["attach"], "BOX"), (["attach", "a", "b", "c"], "c"), (["attach", "--detach-keys", "ctrl-1", "a"], "--detach-keys ctrl-1"),
    (["run", "--detach-keys", "a,,b", "image"], "--detach-keys a,,b"), (["exec", "--detach-keys", "x-y", "a", "true"], "--detach-keys x-y"),
    (["exec", "--timeout", "soon", "a", "true"], "--timeout soon"), (["run", "--timeout", "-1", "image"], "--timeout -1"),
    (["exec", "--env-file", "/no/such", "a", "true"], "--env-file /no/such"), (["create", "--env-file", "/no/such", "image"], "/no/such"),
], ids=str)
def test_what_is_wrong_is_named_before_anything_is_done(fresh, arguments, mentions):
    fresh.refused(*arguments, mentions=mentions)
    assert not os.path.exists(fresh.home)


def test_a_terminal_needs_a_terminal_here_unless_no_input_is_sent(shared):
    session = background(shared, "sh", "-c", "echo shown; read x; exit 3", flags=["-it"])
    shared.refused("attach", "box", session, mentions="not a TTY")
    watcher = shared.spawn("attach", "--no-stdin", "box", session)
    assert watcher.stdout.readline() == b"shown\r\n"
    with Terminal(shared, "attach", "box", session) as terminal:
        terminal.read_until("shown")
        terminal.send("\n")
        assert terminal.wait() == 3
    assert watcher.wait(timeout=60) == 3


def test_questions_to_the_terminal_are_not_asked_again_by_a_replay(shared):
    script = r"stty -echo; printf 'first\033[6n\033[c\033[1mbold'; read x; printf 'then\033[6n'; read y; echo got:$x:$y:"
    session = background(shared, "sh", "-c", script, flags=["-it"])
    watcher = shared.spawn("attach", "--no-stdin", "box", session)
    seen = more = b"?"
    while more and not seen.endswith(b"bold"):  # then it is written, so the next client gets it as a replay
        more = watcher.stdout.read(1)
        seen += more
    with Terminal(shared, "attach", "box", session) as terminal:
        terminal.read_until("bold")
        assert b"first\x1b[1mbold" in terminal.seen
        terminal.send("one\n")
        terminal.read_until("then\x1b[6n")  # what is new is shown as it is
        terminal.send("two\n")
        terminal.read_until("got:one:two:")
        assert terminal.wait() == 0
    watched = shared("attach", "--no-stdin", "box", session)
    assert b"first\x1b[6n\x1b[c\x1b[1mbold" in watched.stdout  # no terminal here: every byte
