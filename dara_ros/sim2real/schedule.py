"""Many cells at once: over the processes of this machine, or over a Ray cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path

from ..errors import UserError
from ..interrupts import interrupts_ignored
from ..processes import die_with_parent
from .study import Cell, Row, Study
from .trials import run_cell

Work = Sequence[tuple[Cell, list[Row]]]
POLL = 0.5  # s between two looks at whether to stop


def over_processes(
    study: Study, work: Work, folder: Path, workers: int | None, should_stop: Callable[[], bool]
) -> Iterator[Row]:
    """Run the cells; yields rows as they come. Stopped, or closed, it leaves no process.

    What goes wrong in a cell is raised when all others are done.
    """
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    pool = ProcessPoolExecutor(
        min(workers or os.cpu_count() or 1, len(work)), context, initializer=_begin, initargs=(queue,)
    )
    errors: list[BaseException] = []
    try:
        with interrupts_ignored():
            pending = {pool.submit(_work, study, cell, trials, folder) for cell, trials in work}
        while pending and not should_stop():
            finished, pending = wait(pending, POLL, FIRST_COMPLETED)
            while not queue.empty():
                yield queue.get()
            errors += filter(None, (cell.exception() for cell in finished))
        if errors:
            raise errors[0]
    finally:
        for process in multiprocessing.active_children():
            process.terminate()
        pool.shutdown(cancel_futures=True)
        queue.close()


_queue: multiprocessing.SimpleQueue | None = None  # of a process of the pool


def _begin(queue: multiprocessing.SimpleQueue) -> None:
    global _queue
    _queue = queue
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _work(study: Study, cell: Cell, trials: list[Row], folder: Path) -> None:
    assert _queue is not None
    run_cell(study, cell, trials, folder, _queue.put)


def over_ray(
    study: Study, work: Work, folder: Path, address: str, should_stop: Callable[[], bool]
) -> Iterator[Row]:
    """Run the cells on a Ray cluster; every machine makes its own data sets in `folder`.

    Args:
        address: of the cluster as ray.init takes it; "local" starts one on this machine.

    Raises:
        UserError: ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError("ray is not installed; run: pip install 'dara_ros[ray]'") from error
    ray.init(address=address, log_to_driver=False)
    try:
        remote = ray.remote(num_cpus=1)(run_cell)
        pending = [remote.remote(study, cell, trials, folder) for cell, trials in work]
        while pending and not should_stop():
            finished, pending = ray.wait(pending, timeout=POLL)
            for cell in finished:
                yield from ray.get(cell)
    finally:
        ray.shutdown()
