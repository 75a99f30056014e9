"""Batches from the union of two data sets, read lazily.

Which rows batch k holds depends on the seed and on k alone, so a run that resumes at batch k needs no saved
state. Several batches are read at once, since one sorted read of many rows is cheaper than many of few.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import UserError
from .classifiers import Rows
from .dara import augment
from .dataset import Batch

BATCHES_PER_READ = 16
BEGINNING = 10  # rows of an episode


@dataclass
class UnionBatch(Batch):
    """Rows of the union, the source's rewards augmented."""

    rows: np.ndarray  # (B,) int64: row numbers in the union, the source's first
    is_target: np.ndarray  # (B,) bool


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
        reward_scale: float = 1.0,
        beginnings: float = 0.0,
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            source, target: data sets.
            delta: delta_r of the source rows (N_source,); None: rewards stay as they are.
            eta: DARA's coefficient.
            mix: fraction of target rows in every batch; None: rows are drawn uniformly from the union.
            batch_size: rows of a batch.
            seed: of the choice of rows.
            reward_scale: of all rewards, after they are augmented.
            beginnings: fraction of rows that are drawn from the first BEGINNING of the domain's episodes.

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
        self.reward_scale = np.float32(reward_scale)
        self.beginnings = beginnings
        self._first_rows: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def target_fraction(self) -> float:
        """Expected fraction of target rows."""
        if self.mix is not None:
            return round(self.mix * self.batch_size) / self.batch_size
        return len(self.target) / (len(self.source) + len(self.target))

    def __len__(self) -> int:
        return len(self.source) + len(self.target)

    def episodes(self) -> tuple[np.ndarray, np.ndarray]:
        """First row and one past the last row of every episode of the union."""
        (starts, ends), (more_starts, more_ends) = self.source.episodes(), self.target.episodes()
        offset = len(self.source)
        return np.concatenate((starts, offset + more_starts)), np.concatenate((ends, offset + more_ends))

    @property
    def drawn(self) -> slice:
        """The rows that batches hold: all, or one domain's where the mixture is of it alone."""
        of_source, of_target = self.target_fraction < 1.0, self.target_fraction > 0.0
        return slice(0 if of_source else len(self.source), len(self) if of_target else len(self.source))

    def in_order(self) -> Iterator[UnionBatch]:
        """Every row of `drawn` once, block by block."""
        for block, rows in self.from_files():
            yield self._augmented(block, rows)

    def from_files(self) -> Iterator[tuple[Batch, np.ndarray]]:
        """As `in_order`, with rewards as they are, and the rows' numbers."""
        drawn = self.drawn
        for data, at in ((self.source, 0), (self.target, len(self.source))):
            if drawn.start <= at < drawn.stop:
                for block in data.blocks():
                    yield block, np.arange(at, at + len(block.rewards))
                    at += len(block.rewards)

    def batches(self, start: int = 0) -> Iterator[UnionBatch]:
        """Batch number `start` and all that follow, without end."""
        block, skip = divmod(start, BATCHES_PER_READ)
        while True:
            rows = self._read(block)
            for at in range(skip * self.batch_size, len(rows), self.batch_size):
                yield _slice(rows, at, at + self.batch_size)
            block, skip = block + 1, 0

    def row_numbers(self, block: int) -> np.ndarray:
        """Those of the rows (BATCHES_PER_READ batch_size,) of as many batches; the source's are the first."""
        rng = np.random.default_rng((self.seed, block))
        count = BATCHES_PER_READ * self.batch_size
        if self.mix is None:
            rows = rng.integers(len(self), size=count)
        else:
            is_target = np.arange(count) % self.batch_size < round(self.mix * self.batch_size)
            rows = np.where(
                is_target,
                len(self.source) + rng.integers(len(self.target), size=count),
                rng.integers(len(self.source), size=count),
            )
        if self.beginnings:
            chosen = rng.random(count) < self.beginnings
            rows[chosen] = self._at_a_beginning(rows[chosen] >= len(self.source), rng)
        return rows

    def _read(self, block: int) -> UnionBatch:
        rows = self.row_numbers(block)
        is_target = rows >= len(self.source)
        source = self.source.rows(rows[~is_target])
        target = self.target.rows(rows[is_target] - len(self.source))
        place = np.argsort(np.argsort(is_target, kind="stable"), kind="stable")
        return self._augmented(_interleave(source, target, place), rows)

    def _at_a_beginning(self, is_target: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """For each a random row of its domain that is one of the first of its episode."""
        if self._first_rows is None:
            starts, ends = self.episodes()
            rows = (starts[:, None] + np.arange(BEGINNING))[np.arange(BEGINNING) < (ends - starts)[:, None]]
            of_source = rows < len(self.source)
            self._first_rows = rows[of_source], rows[~of_source]
        of_source, of_target = self._first_rows
        return np.where(is_target, *(rng.choice(rows, len(is_target)) for rows in (of_target, of_source)))

    def rewards(self, raw: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Those of these rows of the union (B,), augmented and scaled, from the files' (B,)."""
        if self.delta is not None:
            of_source = rows < len(self.source)
            penalty = np.zeros(len(rows), np.float32)
            penalty[of_source] = self.delta[rows[of_source]]
            raw = augment(raw, penalty, self.eta)
        return self.reward_scale * raw

    def _augmented(self, batch: Batch, rows: np.ndarray) -> UnionBatch:
        columns = {name: getattr(batch, name) for name in _COLUMNS}
        columns["rewards"] = self.rewards(batch.rewards, rows)
        return UnionBatch(**columns, rows=rows, is_target=rows >= len(self.source))


_COLUMNS = ("observations", "actions", "rewards", "next_observations", "terminals")


def _interleave(source: Batch, target: Batch, place: np.ndarray) -> Batch:
    """Row i of the result is row place[i] of source followed by target."""
    return Batch(
        *(np.concatenate((getattr(source, name), getattr(target, name)))[place] for name in _COLUMNS)
    )


def _slice(batch: UnionBatch, start: int, stop: int) -> UnionBatch:
    return UnionBatch(**{name: column[start:stop] for name, column in vars(batch).items()})
