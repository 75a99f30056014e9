"""What a process does to be on time, as far as the machine permits it (Linux). Knows no ROS."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from .errors import UserError

LIMITS_FILE = "/etc/security/limits.d/dara.conf"
PERMIT_PRIORITY = f'echo "$USER - rtprio 90" | sudo tee -a {LIMITS_FILE}; log in anew'
PERMIT_MEMORY = f'echo "$USER - memlock unlimited" | sudo tee -a {LIMITS_FILE}; log in anew'
MCL_CURRENT, MCL_FUTURE = 1, 2  # sys/mman.h
PR_SET_TIMERSLACK = 29  # linux/prctl.h
CAP_IPC_LOCK = 14  # linux/capability.h


def prepare(priority: int = 0, lock_memory: bool = False, cpus: str = "") -> list[str]:
    """Take the measures that are asked for, for all threads that there are and those that they start.

    Objects that exist are frozen (see `freeze_objects`) and timers made exact without being asked: neither
    needs a permission.

    Args:
        priority: of SCHED_FIFO, 1 to 90; 0: ordinary scheduling.
        lock_memory: keep all memory, also future memory, from being paged out.
        cpus: cores to stay on, as in "1" or "0,1"; empty: any.

    Returns:
        A line for every measure that the machine refused, which says how to permit it.

    Raises:
        UserError: `cpus` is no list of cores.
    """
    asked: list[tuple[str, Callable[[], None], str]] = []
    if cpus:
        usable = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        asked.append((f"cores {cpus}", partial(_pin, _cores(cpus)), f"choose of {usable} (parameter cpus)"))
    if lock_memory:
        asked.append(("locked memory", _lock_memory, PERMIT_MEMORY))
    if priority:
        asked.append((f"SCHED_FIFO priority {priority}", partial(_prioritise, priority), PERMIT_PRIORITY))
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)  # ns; by default timers are up to 50 us late
    freeze_objects()
    refusals = []
    for measure, take, permit in asked:
        try:
            take()
        except OSError as error:
            refusals.append(f"no {measure} ({error.strerror}); to permit it: {permit}")
    return refusals


def freeze_objects() -> None:
    """Spare the garbage collector all objects that exist: a full collection would hold all threads up.

    It stays on: what it still looks at is little, and cycles of a driver's making shall not fill the memory.
    """
    gc.collect()
    gc.freeze()


def in_force() -> str:
    """The measures that hold for this process, as the kernel sees them, in a few words; or "none"."""
    measures = []
    main_thread = os.getpid()
    if os.sched_getscheduler(main_thread) == os.SCHED_FIFO:
        measures.append(f"SCHED_FIFO {os.sched_getparam(main_thread).sched_priority}")
    if _status("VmLck") != "0 kB":
        measures.append("memory locked")
    cores = os.sched_getaffinity(main_thread)
    if len(cores) < (os.cpu_count() or 1):
        measures.append(f"cores {','.join(map(str, sorted(cores)))}")
    return ", ".join(measures) or "none"


def permit_locked_memory() -> None:
    """Lift this process's limit of locked memory, where it has one.

    Below a limit nothing is locked: an allocation beyond it would fail, perhaps in the middle of a walk.

    Raises:
        OSError: it may not be lifted.
    """
    if int(_status("CapEff"), 16) >> CAP_IPC_LOCK & 1:
        return
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except ValueError as error:  # Python's word for EPERM
        limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
        raise PermissionError(1, f"limited to {limit / 2**20:.0f} MiB") from error


def _lock_memory() -> None:
    permit_locked_memory()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(MCL_CURRENT | MCL_FUTURE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _prioritise(priority: int) -> None:
    _for_all_threads(lambda thread: os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(priority)))


def _pin(cores: set[int]) -> None:
    _for_all_threads(lambda thread: os.sched_setaffinity(thread, cores))


def _for_all_threads(take: Callable[[int], None]) -> None:
    """Those of the middleware too: they receive the messages."""
    for thread in os.listdir("/proc/self/task"):
        with suppress(ProcessLookupError):  # it has ended meanwhile
            take(int(thread))


def _status(key: str) -> str:
    """What the kernel says of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{key}:"))


def _cores(cpus: str) -> set[int]:
    words = [word.strip() for word in cpus.split(",")]
    if not all(word.isdecimal() for word in words):
        raise UserError(f"cpus '{cpus}' is no list of cores; write it as 1 or 0,1")
    return {int(word) for word in words}


class Deadlines:
    """Absolute deadlines, one every period: a late one does not move those after it.

    Attributes:
        at: the next deadline, s of the clock that `begin` and `advance` are told.
    """

    def __init__(self, period: float) -> None:
        self.period = period
        self.at = 0.0

    def begin(self, now: float) -> None:
        """The first deadline is now."""
        self.at = now

    def advance(self, now: float) -> int:
        """On to the next deadline. Those that have passed are left out, never caught up in a burst.

        Returns:
            How many were left out.
        """
        self.at += self.period
        if now <= self.at:
            return 0
        missed = int((now - self.at) // self.period) + 1
        self.at += missed * self.period
        return missed

    def sleep(self) -> None:
        """Sleep till the deadline."""
        remaining = self.at - time.monotonic()
        if remaining > 0:
            time.sleep(remaining)
