"""Batches from the union of two data sets, read lazily.

Which rows batch k holds depends on the seed and on k alone, so a run that resumes at batch k needs no saved
state. Several batches are read at once, since one sorted read of many rows is cheaper than many of few.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..errors import UserError
from .classifiers import Rows
from .dara import augment
from .dataset import Batch

BATCHES_PER_READ = 16


class UnionSampler:
    """Random batches of source and target rows, the source's rewards augmented."""

    def __init__(
        self,
        source: Rows,
        target: Rows,
        delta: np.ndarray | None,
        eta: float,
        mix: float | None,
        batch_size: int,
        seed: int,
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            source, target: data sets.
            delta: delta_r of the source rows (N_source,); None: rewards stay as they are.
            eta: DARA's coefficient.
            mix: fraction of target rows in every batch; None: rows are drawn uniformly from the union.
            batch_size: rows of a batch.
            seed: of the choice of rows.

        Raises:
            UserError: `mix` is not a fraction.
        """
        if mix is not None and not 0.0 <= mix <= 1.0:
            raise UserError(f"mix is {mix}: give the fraction of target rows in a batch, from 0 to 1")
        self.source, self.target = source, target
        self.delta, self.eta = delta, eta
        self.mix = mix
        self.batch_size = batch_size
        self.seed = seed

    @property
    def target_fraction(self) -> float:
        """Expected fraction of target rows."""
        if self.mix is not None:
            return round(self.mix * self.batch_size) / self.batch_size
        return len(self.target) / (len(self.source) + len(self.target))

    def batches(self, start: int = 0) -> Iterator[Batch]:
        """Batch number `start` and all that follow, without end."""
        block, skip = divmod(start, BATCHES_PER_READ)
        while True:
            rows = self._read(block)
            for at in range(skip * self.batch_size, len(rows), self.batch_size):
                yield _slice(rows, at, at + self.batch_size)
            block, skip = block + 1, 0

    def _read(self, block: int) -> Batch:
        rng = np.random.default_rng((self.seed, block))
        count = BATCHES_PER_READ * self.batch_size
        if self.mix is None:
            indices = rng.integers(len(self.source) + len(self.target), size=count)
            is_target = indices >= len(self.source)
            indices[is_target] -= len(self.source)
        else:
            is_target = np.arange(count) % self.batch_size < round(self.mix * self.batch_size)
            indices = np.where(
                is_target,
                rng.integers(len(self.target), size=count),
                rng.integers(len(self.source), size=count),
            )
        of_source, of_target = indices[~is_target], indices[is_target]
        source, target = self.source.rows(of_source), self.target.rows(of_target)
        if self.delta is not None:
            source.rewards = augment(source.rewards, self.delta[of_source], self.eta)
        place = np.argsort(np.argsort(is_target, kind="stable"), kind="stable")
        return _interleave(source, target, place)


_COLUMNS = ("observations", "actions", "rewards", "next_observations", "terminals")


def _interleave(source: Batch, target: Batch, place: np.ndarray) -> Batch:
    """Row i of the result is row place[i] of source followed by target."""
    return Batch(
        *(np.concatenate((getattr(source, name), getattr(target, name)))[place] for name in _COLUMNS)
    )


def _slice(batch: Batch, start: int, stop: int) -> Batch:
    return Batch(*(getattr(batch, name)[start:stop] for name in _COLUMNS))
