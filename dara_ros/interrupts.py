"""Ctrl-C as a question that a loop asks, where an exception would strike in the middle of a write."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """The yielded function says whether Ctrl-C was pressed; a second Ctrl-C interrupts as ever.

    So it is with SIGTERM, and with SIGHUP where the terminal is gone: see `command.main`. (HDF5 calls back
    into Python, and an exception that is raised there is lost.) Signals go to the main thread: in any other
    the answer is always no.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def handler(number: int, frame: FrameType | None) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, handler)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Processes that start in here never see Ctrl-C, nor that their terminal is gone: whoever started them
    decides when they end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGHUP)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]  # inherited, unlike a handler
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
