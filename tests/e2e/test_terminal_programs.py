"""Programs that own the screen, in a real terminal: tmux runs the command line, types, resizes, and reads the screen."""

import os
import shlex
import subprocess

import pytest
from boxlite_testing import identity
from boxlite_testing.waiting import DEADLINE, wait_until

pytestmark = identity.by_user


class Tmux:
    """A tmux server of its own with one window that runs a shell outside of the box."""

    def __init__(self, boxlite, directory, rows=24, columns=80):
        self._socket = os.path.join(directory, "tmux.sock")
        environment = {**boxlite.environment, "PS1": "outside> ", "TERM": "xterm-256color", "ENV": "", "SHELL": "/bin/sh"}
        self._run("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows), "sh", env=environment)
        self.wait_for_prompt("outside>")

    def _run(self, *arguments, **options):
        return subprocess.run(["tmux", "-S", self._socket, *arguments], check=True, capture_output=True, text=True,
                              timeout=DEADLINE, **options).stdout

    def screen(self):
        return self._run("capture-pane", "-p")

    def keys(self, *names):
        """tmux's names of keys: C-c, Escape, Enter."""
        self._run("send-keys", *names)

    def type(self, text):
        self._run("send-keys", "-l", text)

    def line(self, text):
        self.type(text)
        self.keys("Enter")

    def resize(self, rows, columns):
        self._run("resize-window", "-x", str(columns), "-y", str(rows))

    def wait_for(self, text):
        wait_until(lambda: text in self.screen(), f"{text!r} is on the screen; it shows:\n{self.screen()}")

    def wait_for_prompt(self, prompt):
        """It is what the last line begins with, and all of it: what was typed does not count."""
        wait_until(lambda: self.screen().rstrip().split("\n")[-1].rstrip() == prompt, f"{prompt} waits; the screen shows:\n{self.screen()}")

    def close(self):
        subprocess.run(["tmux", "-S", self._socket, "kill-server"], check=False, capture_output=True)


@pytest.fixture
def tmux(shared, tmp_path):
    terminal = Tmux(shared, str(tmp_path))
    yield terminal
    terminal.close()


def enter(tmux, shared):
    """A shell in the box, in the window."""
    tmux.line("clear; " + shlex.join(shared.argv("exec", "-it", "-e", "PS1=inside> ", "box", "sh")))
    tmux.wait_for_prompt("inside>")


def test_vi_edits_a_file(tmux, shared):
    enter(tmux, shared)
    tmux.line("vi /tmp/edited")
    tmux.wait_for("~\n")
    tmux.type("ihello")
    tmux.keys("Enter")
    tmux.type("worlx")
    tmux.keys("BSpace")
    tmux.type("d")
    tmux.wait_for("world")
    tmux.keys("Escape")
    tmux.wait_for("- /tmp/edited")  # no longer "I": what comes next is not taken for a key's escape sequence
    tmux.line(":wq")
    wait_until(lambda: shared("exec", "box", "cat", "/tmp/edited").out == "hello\nworld\n", "vi has written the file")
    tmux.wait_for_prompt("inside>")
    shared.ok("exec", "box", "rm", "/tmp/edited")


def test_top_fills_the_screen_and_follows_its_size(tmux, shared):
    enter(tmux, shared)
    tmux.line("top -d 1")
    tmux.wait_for("Load average")
    tmux.wait_for("sleep infinity")
    tmux.keys("q")
    tmux.wait_for_prompt("inside>")


def test_control_c_and_control_z_are_the_commands(tmux, shared):
    enter(tmux, shared)
    tmux.line("sleep 1004")
    wait_until(lambda: "sleep 1004" in shared.ok("exec", "box", "ps", "-o", "args"), "sleep runs")
    tmux.keys("C-c")
    tmux.wait_for_prompt("inside>")
    tmux.line("echo code=$?")
    tmux.wait_for("code=130")
    tmux.line("sleep 1005")
    wait_until(lambda: "sleep 1005" in shared.ok("exec", "box", "ps", "-o", "args"), "sleep runs")
    tmux.keys("C-z")
    tmux.wait_for("Stopped")
    tmux.line("kill %1; fg; echo ag''ain")
    tmux.wait_for("again")
    tmux.line("exit 7")
    tmux.wait_for_prompt("outside>")
    tmux.line("echo status=$?")
    tmux.wait_for("status=7")


def test_the_size_follows_the_window(tmux, shared):
    enter(tmux, shared)
    tmux.line("stty size")
    tmux.wait_for("24 80")
    tmux.resize(40, 120)
    tmux.line("until [ \"$(stty size)\" = '40 120' ]; do :; done; echo fol''lowed")
    tmux.wait_for("followed")
    tmux.resize(10, 50)
    tmux.line("until [ \"$(stty size)\" = '10 50' ]; do :; done; echo ag''ain")
    tmux.wait_for("again")


def test_detach_keys_give_the_terminal_back_as_it_was_and_attach_repaints(tmux, shared):
    enter(tmux, shared)
    tmux.line("vi /tmp/kept")
    tmux.wait_for("~\n")
    tmux.type("ithe words")
    tmux.wait_for("the words")
    tmux.keys("C-p", "C-q")
    wait_until(lambda: "returns to it" in tmux.screen().replace("\n", ""), "the way back is shown")
    session = tmux.screen().replace("\n", "").split("boxlite attach box ")[1].split()[0]
    tmux.line("clear; stty -a | grep -o ' icanon'; echo ec''ho")
    tmux.wait_for("icanon")
    tmux.wait_for("echo")
    tmux.line("clear; " + shlex.join(shared.argv("attach", "box", session)))
    tmux.wait_for("the words")
    tmux.keys("Escape")
    tmux.wait_for("- /tmp/kept")
    tmux.line(":wq")
    wait_until(lambda: shared("exec", "box", "cat", "/tmp/kept").out == "the words\n", "vi has written the file")
    tmux.line("exit 7")
    tmux.wait_for_prompt("outside>")
    shared.ok("exec", "box", "rm", "/tmp/kept")
