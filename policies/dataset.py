"""Data sets of transitions: HDF5 files written row by row and read lazily.

Write with :class:`DataSetWriter`, read with :class:`DataSet`. The file's format is in `dataset_format`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .dataset_format import SCHEMA_VERSION, Batch, ColumnStatistics, DataSetInfo, Transition
from .dataset_writer import DataSetWriter

__all__ = [
    "SCHEMA_VERSION",
    "Batch",
    "ColumnStatistics",
    "DataSet",
    "DataSetInfo",
    "DataSetWriter",
    "Transition",
    "check_compatible",
]


class DataSet:
    """A data set file, opened read-only; rows are read when asked for."""

    info: DataSetInfo
    sha256: str

    def __init__(self, path: str | Path, cache_bytes: int = 512 * 2**20) -> None: ...

    def __len__(self) -> int: ...

    @property
    def observation_size(self) -> int: ...

    @property
    def action_size(self) -> int: ...

    def rows(self, indices: np.ndarray) -> Batch: ...

    def column(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray: ...

    def blocks(self, size: int = 65536) -> Iterator[Batch]: ...

    def episodes(self) -> tuple[np.ndarray, np.ndarray]:
        """(starts, ends): row index arrays; an episode is rows[start:end]."""

    def statistics(self) -> dict[str, ColumnStatistics]: ...

    def check(self) -> None: ...


def check_compatible(source: DataSet, target: DataSet) -> None:
    """Raise UserError naming the first difference that forbids training on both."""
