"""A test session talks in a ROS domain of its own, on loopback only; no module leaves a process behind.

Shared memory is off (UDP instead), so that a node that a test kills leaves nothing in /dev/shm.
"""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from dara_ros.network import LOCALHOST, middleware_environment
from dara_ros.processes import free_domain_id

MARK = "DARA_TEST_SESSION"  # in the environment of every process that descends from this one
SERVANTS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")  # they end with this process
PATIENCE = 5.0  # s that a process may take to end after its test

# Before any test module is imported: rclpy reads these when a context starts, children inherit them.
os.environ |= middleware_environment(LOCALHOST)
os.environ |= {"ROS_DOMAIN_ID": str(free_domain_id()), MARK: uuid.uuid4().hex}
# A shell that starts the tests in the background has them ignore SIGINT, and the children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def no_process_is_left_behind() -> Iterator[None]:
    """Fail a module whose tests leave processes, and end these; orphans in other sessions count too."""
    before = descendants()
    yield
    deadline = time.monotonic() + PATIENCE
    left = descendants(but=before)
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = descendants(but=before)
    for process in left:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    assert not left, f"left behind: {left}"


def descendants(but: Collection[int] = ()) -> dict[int, str]:
    """Process id -> command line of the running processes that carry this session's mark, `but` these."""
    mark = f"{MARK}={os.environ[MARK]}".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            marked = mark in (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:  # it has ended, or belongs to somebody else
            continue
        if marked and command and not any(servant in command for servant in SERVANTS):
            found[int(folder.name)] = command
    return {process: command for process, command in found.items() if process not in {os.getpid(), *but}}
