"""What a process says goes through a thread: whoever reads slowly, or not at all, must not hold it up.

A terminal that was stopped with Ctrl-S, a pipe that is full, a disk that stalls: a write to them waits. And
rclpy writes its log lines while it holds Python's interpreter, so that all threads would wait, the one that
talks to the motors too.
"""

from __future__ import annotations

import fcntl
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

STDOUT, STDERR = 1, 2
ROOM = 2**20  # bytes that may wait to be read, where the machine permits it
LAST_WORDS = 1.0  # s in which what was said at the end may still be read


@contextmanager
def never_waited_for() -> Iterator[None]:
    """Meanwhile writing to stdout and stderr never waits; what finds no room any more is lost."""
    with ExitStack() as stack:
        for descriptor in (STDOUT, STDERR):
            stack.enter_context(_relayed(descriptor))
        yield


@contextmanager
def _relayed(descriptor: int) -> Iterator[None]:
    reader, writer = os.pipe()
    with suppress(OSError):
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, ROOM)
    os.set_blocking(writer, False)
    original = os.dup(descriptor)
    os.dup2(writer, descriptor)
    os.close(writer)
    relay = threading.Thread(target=_pass_on, args=(reader, original), name="output", daemon=True)
    relay.start()
    try:
        yield
    finally:
        with suppress(OSError):  # there was no room
            (sys.stdout if descriptor == STDOUT else sys.stderr).flush()
        os.dup2(original, descriptor)  # the pipe's end: the thread passes on the rest, and ends
        relay.join(LAST_WORDS)


def _pass_on(reader: int, original: int) -> None:
    while chunk := os.read(reader, ROOM):
        with suppress(OSError):  # nobody is there any more
            while chunk:
                chunk = chunk[os.write(original, chunk) :]
    os.close(reader)
    os.close(original)
