"""Rows that lie on the device give the batches that the files give."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import run_of

from dara_ros.policies.algorithms.bcq import BCQ
from dara_ros.policies.dataset import Batch
from dara_ros.policies.device_rows import RowsOnDevice, training_batches
from dara_ros.policies.sampling import BATCHES_PER_READ, UnionSampler

STATES, ACTIONS, SIZE = 3, 2, 8
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


class Rows:
    """Rows of noise, in episodes of 40."""

    def __init__(self, count: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        columns = [rng.normal(size=(count, n)).astype(np.float32) for n in (STATES, ACTIONS, 1, STATES)]
        self.all = Batch(*columns[:2], columns[2][:, 0], columns[3], rng.random(count) < 0.1)
        self.reads = 0

    def __len__(self) -> int:
        return len(self.all.rewards)

    def rows(self, indices: np.ndarray) -> Batch:
        return Batch(*(column[indices] for column in vars(self.all).values()))

    def episodes(self) -> tuple[np.ndarray, np.ndarray]:
        starts = np.arange(0, len(self), 40)
        return starts, np.minimum(starts + 40, len(self))

    def blocks(self) -> Any:
        self.reads += 1
        for start in range(0, len(self), 70):
            yield self.rows(np.arange(start, min(start + 70, len(self))))


SOURCE, TARGET = Rows(400, 0), Rows(90, 1)


def samplers(runs: int) -> list[UnionSampler]:
    """The union, with and without delta r, half of each, either alone, and beginnings more often."""
    delta = np.random.default_rng(2).normal(size=len(SOURCE)).astype(np.float32)
    of_runs: list[tuple[Any, ...]] = [
        (delta, 0.1, None, SIZE, 5, 0.7),
        (None, 0.0, None, SIZE, 1),
        (delta, 0.3, 0.5, SIZE, 2, 1.0, 0.5),
        (None, 0.0, 1.0, SIZE, 3),
        (None, 0.0, 0.0, SIZE, 4),
    ]
    return [UnionSampler(SOURCE, TARGET, *each) for each in of_runs[:runs]]


def learner_of(runs: int, device: str = "cpu") -> BCQ:
    each = [run_of(BCQ.Config(batch_size=SIZE), STATES, seed) for seed in range(runs)]
    for seed, run in enumerate(each):
        run.observation_mean[:] = 0.1 * seed
        run.observation_std[:] = 1.0 + seed
    return BCQ(ACTIONS, each, device)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])
@pytest.mark.parametrize("runs", [1, 5])
@pytest.mark.parametrize("start", [0, BATCHES_PER_READ - 3])
def test_the_batches_are_those_of_the_files(runs: int, start: int, device: str) -> None:
    learner = learner_of(runs, device)
    from_files = zip(*(sampler.batches(start) for sampler in samplers(runs)), strict=True)
    on_device = RowsOnDevice(learner, samplers(runs)).batches(start)
    for given, batch in zip(islice(from_files, BATCHES_PER_READ + 5), on_device, strict=False):
        for column, ours in zip(learner.batch(*given), batch, strict=True):
            assert ours.dtype == column.dtype
            assert torch.equal(ours, column)


def test_runs_of_the_same_files_share_them() -> None:
    before = SOURCE.reads
    RowsOnDevice(learner_of(3), samplers(3))
    assert SOURCE.reads == before + 1


@pytest.mark.parametrize(("free", "resident"), [(10**9, True), (20_000, False)])
def test_a_gpu_holds_the_rows_where_they_fit(
    free: int, resident: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else they are read from the files, as for a CPU."""
    made = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**9))
    monkeypatch.setattr(RowsOnDevice, "__init__", lambda self, learner, samplers: made.append(self))
    monkeypatch.setattr(RowsOnDevice, "batches", lambda self, start: iter(()))
    learner = learner_of(2)
    training_batches(learner, samplers(2))
    assert not made
    monkeypatch.setattr(learner, "device", torch.device("cuda"))
    training_batches(learner, samplers(2))
    assert bool(made) == resident
