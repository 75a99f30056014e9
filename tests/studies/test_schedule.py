"""The schedule: every trial has its row, whatever befalls the others, and a stop leaves nothing behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from dara_ros.errors import UserError
from dara_ros.studies.schedule import Failure, Job, over_processes, over_ray


@dataclass(frozen=True)
class Told:
    """A row."""

    trial: str


def act(trials: Sequence[str], folder: Path, done: Callable[[Told], None]) -> None:
    """What a trial's name says; `once` names do so the first time only."""
    for trial in trials:
        mark = folder / trial
        first = not mark.exists()
        mark.touch()
        if trial == "never":
            raise UserError("this\nnever works")
        if trial == "fails once" and first:
            raise ValueError("bad luck")
        if trial == "killed once" and first:
            os.kill(os.getpid(), signal.SIGKILL)
        if trial == "sleeps":
            with tempfile.TemporaryDirectory(dir=folder, prefix="open"):
                (folder / f"sleeping {os.getpid()}").touch()
                time.sleep(600.0)
        done(Told(trial))


def jobs(folder: Path, *groups: tuple[str, ...]) -> list[Job]:
    return [Job(group, partial(act, folder=folder)) for group in groups]


GROUPS = (("a", "never", "b"), ("killed once", "c"), ("d",), ("fails once",))
WHOLE = ["a", "b", "c", "d", "fails once", "killed once"]


def test_what_fails_is_told_and_tried_once_more_and_takes_nothing_with_it(tmp_path: Path) -> None:
    failures: list[Failure] = []
    rows = list(over_processes(jobs(tmp_path, *GROUPS), 2, lambda: False, failures.append))
    assert sorted(row.trial for row in rows) == WHOLE
    assert sorted(map(str, failures)) == [
        "failed twice: never: this never works",
        "failed, to be tried once more: fails once: ValueError: bad luck",
        "failed, to be tried once more: killed once and 1 more: its process ended with status -9",
        "failed, to be tried once more: never and 1 more: this never works",
    ]
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("end", ["stop", "close"])
def test_a_stop_leaves_no_process_and_no_temporary_folder(tmp_path: Path, end: str) -> None:
    stopped = False
    failures: list[Failure] = []
    work = jobs(tmp_path, ("a", "sleeps"), ("sleeps",))
    rows = over_processes(work, 2, lambda: stopped, failures.append)
    assert next(rows).trial == "a"
    while len(list(tmp_path.glob("sleeping *"))) < 2:
        time.sleep(0.01)
    if end == "stop":
        stopped = True
        assert list(rows) == []
    else:
        rows.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children() and not failures
    assert not list(tmp_path.glob("open*"))


class LocalRay(ModuleType):
    """Ray's functions that the schedule calls; a task runs when it is asked for, and the first is lost."""

    class RayError(Exception):
        pass

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self) -> None:
        super().__init__("ray")
        self.log: list[str] = []

    def init(self, address: str, log_to_driver: bool) -> None:
        self.log.append(f"init {address}")

    def remote(self, num_cpus: int, max_retries: int) -> Callable[..., SimpleNamespace]:
        return lambda function: SimpleNamespace(remote=lambda job: partial(function, job))

    def wait(self, tasks: list, timeout: float) -> tuple[list, list]:
        return tasks[:1], tasks[1:]

    def get(self, task: Callable[[], object]) -> object:
        self.log.append("get")
        if self.log.count("get") == 1:
            raise self.RayError("the machine is gone")
        return task()

    def shutdown(self) -> None:
        self.log.append("shutdown")


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalRay]:
    module = LocalRay()
    monkeypatch.setitem(sys.modules, "ray", module)
    yield module


def test_a_cluster_does_as_processes_do(tmp_path: Path, ray: LocalRay) -> None:
    failures: list[Failure] = []
    groups = (("a", "b"), ("c", "never"), ("fails once",))
    rows = list(over_ray(jobs(tmp_path, *groups), "local", lambda: False, failures.append))
    assert sorted(row.trial for row in rows) == ["a", "b", "c", "fails once"]
    assert [failure.trials for failure in failures if failure.final] == [("never",)]
    assert "failed, to be tried once more: a and 1 more: RayError: the machine is gone" in map(str, failures)
    assert (ray.log[0], ray.log[-1]) == ("init local", "shutdown")


def test_without_jobs_no_cluster_is_asked(ray: LocalRay) -> None:
    assert list(over_ray([], "local", lambda: False, lambda failure: None)) == []
    assert ray.log == []


def test_without_ray_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match="ray is not installed; run: pip install"):
        list(over_ray(jobs(tmp_path, ("a",)), "local", lambda: False, lambda failure: None))
