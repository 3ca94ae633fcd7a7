"""Connections of a box whose programs wait for data: one with the host, and one within the box."""

import socket

from boxlite_testing.waiting import wait_until

# Nobody ever writes into a fifo that its reader has open for writing, too.
SERVE = """mkfifo /nothing /word
nc -l -p 91 <>/nothing >/inner & until nc 127.0.0.1 91 <>/word >/dev/null; do sleep 0.05; done &
nc -l -p 90 <>/nothing >/outer; echo $? >/ended; sleep 10000"""


def open_in(boxlite, box, image):
    """Runs the box; the end of its connection that is on the host."""
    boxlite.ok("run", "-d", "--name", box, "-p", "0:90", image, "sh", "-c", SERVE)
    port, = boxlite.inspect(box)["ports"]
    connected = []

    def begin():
        # Only one is ever accepted: each is waited for until it is refused.
        try:
            if not connected:
                connected.append(socket.create_connection(("127.0.0.1", port["host_port"]), timeout=60))
                connected[0].sendall(b"begun\n")
                connected[0].settimeout(1)
            if connected[0].recv(1) == b"":
                raise ConnectionError("nobody listens yet")
        except TimeoutError:
            return boxlite("exec", box, "cat", "/outer").out == "begun\n"
        except OSError:
            while connected:
                connected.pop().close()
        return False
    wait_until(begin, "the box has accepted a connection")
    boxlite.ok("exec", box, "sh", "-c", "echo one >/word")
    wait_until(lambda: [boxlite.ok("exec", box, "cat", f"/{file}") for file in ("outer", "inner")] == ["begun\n", "one\n"], "both are in use")
    return connected[0]


def assert_broken(boxlite, box):
    """Of a machine that goes on from one with such connections: that with the host, not that within."""
    wait_until(lambda: boxlite("exec", box, "test", "-e", "/ended").code == 0, "who waited for data from the host goes on")
    boxlite.ok("exec", box, "sh", "-c", "echo two >/word")
    wait_until(lambda: boxlite.ok("exec", box, "cat", "/inner") == "one\ntwo\n", "the connection within the box carries data")
