"""Many trials at once: over the processes of this machine, or over a Ray cluster.

A job is some trials that one process runs. Where it fails, that is told in one line, and each of its trials
that has no row yet is tried once more, alone: no trial is lost to another's failure, or killed with it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from ..errors import UserError
from ..interrupts import interrupts_ignored
from ..processes import die_with_parent

POLL = 0.5  # s between two looks at whether to stop
GRACE = 10.0  # s that a process has to clear up in


@dataclass(frozen=True)
class Job:
    """Trials that one process runs.

    Attributes:
        trials: hashable, with a text for people.
        run: called as run(trials, done=...), where `done` takes the row of each trial that is through;
            row.trial is the trial. To be pickled. A job that ends without an exception has done all.
        again: whether this is the second attempt.
    """

    trials: tuple[Any, ...]
    run: Callable[..., object]
    again: bool = False


@dataclass(frozen=True)
class Failure:
    """What became of trials that have no row.

    Attributes:
        reason: one line.
        final: they are not tried once more.
    """

    trials: tuple[Any, ...]
    reason: str
    final: bool

    def __str__(self) -> str:
        more = f" and {len(self.trials) - 1} more" if len(self.trials) > 1 else ""
        told = "failed twice" if self.final else "failed, to be tried once more"
        return f"{told}: {self.trials[0]}{more}: {self.reason}"


OnFailure = Callable[[Failure], None]


def over_processes(
    jobs: Sequence[Job], workers: int | None, should_stop: Callable[[], bool], on_failure: OnFailure
) -> Iterator[Any]:
    """Run the jobs, each in a process of its own; yields rows as they come.

    Stopped, or closed, it leaves no process.

    Args:
        workers: processes at a time; None: as many as there are cores.
        on_failure: told of each, also of those that are tried again.
    """
    context = multiprocessing.get_context("spawn")
    waiting = deque(jobs)
    running: dict[Connection, _Attempt] = {}
    try:
        while (waiting or running) and not should_stop():
            while waiting and len(running) < (workers or os.cpu_count() or 1):
                attempt = _start(context, waiting.popleft())
                running[attempt.messages] = attempt
            for messages in wait(list(running), POLL):
                attempt = running[messages]  # type: ignore[index]
                message = attempt.receive()
                if not isinstance(message, _End):
                    attempt.done.add(message.trial)
                    yield message
                    continue
                attempt.process.join()
                del running[attempt.messages]
                if message.reason:
                    waiting += _second_attempts(attempt.job, attempt.done, message.reason, on_failure)
    finally:
        _stop(list(running.values()))


def over_ray(
    jobs: Sequence[Job], address: str, should_stop: Callable[[], bool], on_failure: OnFailure
) -> Iterator[Any]:
    """Run the jobs on a Ray cluster; every machine makes what files it lacks.

    Args:
        address: of the cluster as ray.init takes it; "local" starts one on this machine.

    Raises:
        UserError: ray is not installed.
    """
    if not jobs:
        return
    try:
        import ray
    except ImportError as error:
        raise UserError("ray is not installed; run: pip install 'dara_ros[ray]'") from error
    ray.init(address=address, log_to_driver=False)
    try:
        remote = ray.remote(num_cpus=1, max_retries=0)(_attempted)  # retries are ours, and told
        running = {remote.remote(job): job for job in jobs}
        while running and not should_stop():
            finished, _ = ray.wait(list(running), timeout=POLL)
            for task in finished:
                job = running.pop(task)
                try:
                    rows, reason = ray.get(task)
                except ray.exceptions.RayError as error:  # its machine or its process has gone
                    rows, reason = [], one_line(error)
                yield from rows
                if reason:
                    again = _second_attempts(job, {row.trial for row in rows}, reason, on_failure)
                    running |= {remote.remote(job): job for job in again}
    finally:
        ray.shutdown()


def one_line(error: BaseException) -> str:
    """What a failure is told as."""
    return str(error) if isinstance(error, UserError) else str(UserError(f"{type(error).__name__}: {error}"))


def _second_attempts(job: Job, done: set[Any], reason: str, on_failure: OnFailure) -> list[Job]:
    """The trials of a failed job that have no row, each alone; none after a second attempt."""
    left = tuple(trial for trial in job.trials if trial not in done)
    if left:
        on_failure(Failure(left, reason, final=job.again))
    return [] if job.again else [Job((trial,), job.run, again=True) for trial in left]


@dataclass(frozen=True)
class _End:
    """A process has no more rows; `reason` is empty where nothing went wrong."""

    reason: str


@dataclass
class _Attempt:
    """A job that runs, and which of its trials have a row."""

    job: Job
    process: SpawnProcess
    messages: Connection
    done: set[Any] = field(default_factory=set)

    def receive(self) -> Any:
        """The next row, or the end."""
        try:
            return self.messages.recv()
        except (EOFError, OSError):  # it was killed: for memory, perhaps
            self.process.join()
            return _End(f"its process ended with status {self.process.exitcode}")


def _start(context: SpawnContext, job: Job) -> _Attempt:
    messages, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(job, theirs))
    with interrupts_ignored():
        process.start()
    theirs.close()  # so that the pipe ends when the process does
    return _Attempt(job, process, messages)


def _stop(attempts: Sequence[_Attempt]) -> None:
    """Stop them, in order where they can."""
    for attempt in attempts:
        attempt.process.terminate()
    for attempt in attempts:
        attempt.process.join(GRACE)
        attempt.process.kill()
        attempt.process.join()


def _work(job: Job, messages: Connection) -> None:
    """In a process of its own."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # temporary folders go first
    messages.send(_End(_run(job, messages.send)))


def _attempted(job: Job) -> tuple[list[Any], str]:
    """On a machine of a cluster: the rows, and what went wrong."""
    rows: list[Any] = []
    return rows, _run(job, rows.append)


def _run(job: Job, done: Callable[[Any], None]) -> str:
    """What went wrong, in a line."""
    try:
        job.run(job.trials, done=done)
    except Exception as error:  # whatever it is, the other jobs go on
        return one_line(error)
    return ""
