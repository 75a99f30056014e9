"""Keys pressed on the terminal while a command works, one by one, without waiting for Enter."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def pressed_keys() -> Iterator[Callable[[], str]]:
    """The yielded function gives the keys pressed since it was last asked. Ctrl-C stays what it is.

    Where stdin is no terminal, or this process is in its background, there are none.
    """
    descriptor = _terminal()
    if descriptor is None:
        yield lambda: ""
        return
    import termios
    import tty

    def keys() -> str:
        ready, _, _ = select.select([descriptor], [], [], 0.0)
        with suppress(OSError):  # it is gone
            return os.read(descriptor, 100).decode(errors="replace") if ready else ""
        return ""

    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield keys
    finally:
        with suppress(termios.error):  # it is gone
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _terminal() -> int | None:
    """The descriptor of stdin, if keys can be read from it."""
    try:
        descriptor = sys.stdin.fileno()
        if not os.isatty(descriptor):
            return None
    except (AttributeError, OSError, ValueError):  # closed, or something that only looks like a file
        return None
    try:
        return descriptor if os.tcgetpgrp(descriptor) == os.getpgrp() else None
    except OSError:  # a terminal, but not the one that controls this process
        return descriptor
