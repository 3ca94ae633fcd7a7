"""Waiting for a condition, with a deadline. The tests sleep nowhere else."""

import time

# A 2-core machine without hardware virtualisation, loaded by other tests: generous, since only a failing test waits this long.
DEADLINE = 120.0


def wait_until(condition, what, deadline=DEADLINE, interval=0.02):
    """Returns the condition's first true value; fails naming `what` and the last value seen."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {deadline:.0f} s in vain until {what}; last seen: {value!r}")
        time.sleep(interval)
