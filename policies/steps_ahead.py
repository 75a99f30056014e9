"""delta r over several steps: transitions (s_t, a_t, s_{t+k}) in place of (s_t, a_t, s_{t+1}).

What ends a walk seldom shows in one step: on a weak battery a gait that collapses differs from the
simulator's hardly more than one that walks on, until it does. So with a horizon k > 1 delta r is that of the
outcomes k steps on, under whatever the data did in between:

    delta_r(s_t, a_t, s_{t+k}) = log P_source(s_{t+k}|s_t, a_t) / P_target(s_{t+k}|s_t, a_t)

It is ours, not the paper's, and the dynamics alone are in it only where both data sets hold the same
behaviours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from .dataset import BLOCK_ROWS, DataSet
from .dataset_format import Batch


class StepsAhead:
    """The rows of a data set with the state that comes `horizon` steps later as the next one.

    A fall is for ever: what would come later is the state of the fall. Where an episode ends otherwise
    before, its last `horizon` steps stand for the row.
    """

    def __init__(self, data: DataSet, horizon: int) -> None:
        self._data = data
        starts, ends = data.episodes()
        start, last = (np.repeat(edge, ends - starts) for edge in (starts, ends - 1))
        row = np.arange(len(data))
        latest = np.where(data.column("terminals")[last], row, last + 1 - horizon)
        self._first = np.maximum(np.minimum(row, latest), start)
        self._last = np.minimum(self._first + horizon - 1, last)

    def __len__(self) -> int:
        return len(self._data)

    def rows(self, indices: np.ndarray) -> Batch:
        """As those of the data set, (B,)."""
        now, then = self._data.rows(self._first[indices]), self._data.rows(self._last[indices])
        return replace(now, next_observations=then.next_observations)

    def blocks(self, size: int = BLOCK_ROWS) -> Iterator[Batch]:
        """All rows in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.rows(np.arange(start, min(start + size, len(self))))

    def episodes(self) -> tuple[np.ndarray, np.ndarray]:
        """(starts, ends) of the data set's."""
        return self._data.episodes()
