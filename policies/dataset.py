"""Data sets of transitions: HDF5 files written row by row and read lazily, several as one.

Write with :class:`DataSetWriter`, read with :class:`DataSet`. `dataset_format` describes the file.

    with DataSetWriter("source.h5", info) as writer:
        writer.append(Transition(observation, action, reward, next_observation, terminal=fell))
    batch = DataSet("source.h5").rows(np.random.randint(0, 1000, 256))
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from types import TracebackType

import numpy as np

from ..errors import UserError
from .dataset_columns import ArrayColumn, Column, JoinedColumn
from .dataset_files import Recovery, check_same_task, joined_info, open_files, recover
from .dataset_format import (
    FLOAT_COLUMNS,
    SCHEMA_VERSION,
    Batch,
    ColumnStatistics,
    DataSetInfo,
    Transition,
)
from .dataset_writer import DataSetWriter

__all__ = [
    "BLOCK_ROWS",
    "SCHEMA_VERSION",
    "Batch",
    "ColumnStatistics",
    "DataSet",
    "DataSetInfo",
    "DataSetWriter",
    "Recovery",
    "Transition",
    "check_compatible",
    "recover",
]

BLOCK_ROWS = 65536  # for scans: about 30 MB at S=55
BATCH_COLUMNS = (*FLOAT_COLUMNS, "terminals")


class DataSet:
    """Files of one data set, opened read-only. Memory: one batch and an index, or all where that is little.

    Their rows count as one sequence, in the order of the files; no episode goes on from one into the next. A
    file that is still being written, or whose writer was killed, opens with the rows flushed by then.

    Args:
        paths: a file, or a folder (its data set files in the order of their names), or several of either.
        cache_bytes: a data set whose batch columns take no more than this is held in memory from the first
            :meth:`rows` on (30 times faster); a larger one is read row by row from the disk.

    Attributes:
        name: what messages call it.
        paths: the files, one by one.
        info: the header; world and made_by name all where the files differ.
        lost_rows: what the writers say of rows that are in no file; None where no file tells.

    Raises:
        UserError: a file is missing, not a data set, damaged, cut off, or empty, or the files differ in what
            makes them one data set.
    """

    def __init__(self, paths: str | Path | Iterable[str | Path], cache_bytes: int = 512 * 2**20) -> None:
        self._files = open_files(paths)
        self.paths = [file.path for file in self._files]
        more = f" and {len(self.paths) - 1} more" if len(self.paths) > 1 else ""
        self.name = f"{self.paths[0]}{more}"
        self.info: DataSetInfo = joined_info([file.info for file in self._files])
        told = [file.lost_rows for file in self._files if file.lost_rows is not None]
        self.lost_rows = sum(told) if told else None
        self._file_ends = np.cumsum([file.rows for file in self._files])
        self._rows = int(self._file_ends[-1])
        self._columns = self._join_columns()
        # From now on: rows() has yet to move the columns into memory.
        self._cache_pending = self._rows * _row_bytes(self.info) <= cache_bytes

    def __len__(self) -> int:
        return self._rows

    def __enter__(self) -> DataSet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files; closing twice is harmless."""
        for file in self._files:
            file.close()

    @property
    def observation_size(self) -> int:
        """S, the width of an observation."""
        return self.info.observation_size

    @property
    def action_size(self) -> int:
        """A, the width of an action."""
        return self.info.action_size

    @cached_property
    def sha256(self) -> str:
        """Hash of the file's bytes, hex, or of the hashes of several; reads everything the first time."""
        digests = [_sha256(path) for path in self.paths]
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()

    def rows(self, indices: np.ndarray) -> Batch:
        """The rows at ``indices`` (B,), any integers from 0 to len - 1, in that order, repeats allowed.

        Raises:
            IndexError: an index is not an integer or out of range.
        """
        indices = np.asarray(indices)
        if indices.dtype.kind not in "iu" or indices.ndim != 1:
            raise IndexError(f"row indices must be a vector of integers, not {indices.dtype} {indices.shape}")
        if len(indices) and (indices.min() < 0 or indices.max() >= self._rows):
            raise IndexError(
                f"row indices reach from {indices.min()} to {indices.max()}, of {self._rows} rows"
            )
        if self._cache_pending:
            self._cache_pending = False
            self._columns.update(
                {n: ArrayColumn(self._columns[n].read(0, self._rows)) for n in BATCH_COLUMNS}
            )
        indices = indices.astype(np.int64, copy=False)
        return Batch(*(self._columns[name].gather(indices) for name in BATCH_COLUMNS))

    def column_names(self) -> list[str]:
        """The columns that all files have: those of a transition first, then infos/*."""
        return list(self._columns)

    def column(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows start to stop of one column, such as "rewards" or "infos/stamp".

        Raises:
            UserError: there is no such column.
        """
        start, stop, _ = slice(start, stop).indices(self._rows)
        if name not in self._columns:
            raise UserError(f"{self.name}: has no column {name!r}: choose from {', '.join(self._columns)}")
        return self._columns[name].read(start, max(start, stop))

    def blocks(self, size: int = BLOCK_ROWS) -> Iterator[Batch]:
        """All rows in order, ``size`` at a time."""
        for start, stop in self._spans(size):
            yield Batch(*(self._columns[name].read(start, stop) for name in BATCH_COLUMNS))

    def episodes(self) -> tuple[np.ndarray, np.ndarray]:
        """(starts, ends), each (E,) int64: episode e is rows starts[e]:ends[e].

        An episode runs up to a terminal, a timeout, or the end of a file.
        """
        ends = [self._file_ends]
        for start, stop in self._spans(2**20):
            over = self._columns["terminals"].read(start, stop) | self._columns["timeouts"].read(start, stop)
            ends.append(np.flatnonzero(over) + start + 1)
        ends_array = np.unique(np.concatenate(ends))
        return np.concatenate([[0], ends_array[:-1]]), ends_array

    def statistics(self) -> dict[str, ColumnStatistics]:
        """Mean, std, minimum and maximum of every float column, in one pass of bounded memory."""
        return self._statistics

    @cached_property
    def _statistics(self) -> dict[str, ColumnStatistics]:
        return {name: self._column_statistics(name) for name in FLOAT_COLUMNS}

    def check(self) -> None:
        """Read everything once.

        Raises:
            UserError: NaN or infinity, naming the column and its first row.
        """
        for name, column in self._columns.items():
            for start, stop in self._spans(BLOCK_ROWS):
                values = column.read(start, stop)
                if values.dtype.kind != "f" or np.isfinite(values).all():
                    continue
                path, row = self._place(start + int(np.argwhere(~np.isfinite(values))[0][0]))
                raise UserError(
                    f"{path}: column {name} is NaN or infinite in row {row}: "
                    f"save the others with `dara recover {path} --out NEW.h5`, or collect or record it anew"
                )

    def _place(self, row: int) -> tuple[Path, int]:
        """The file of a row, and its number there."""
        number = int(np.searchsorted(self._file_ends, row, side="right"))
        return self.paths[number], row - int(np.append(0, self._file_ends)[number])

    def _join_columns(self) -> dict[str, Column]:
        """The columns that all files have alike."""
        first, *others = self._files
        if not others:
            return dict(first.columns)
        alike = [n for n in first.columns if all(o.layout.get(n) == first.layout[n] for o in others)]
        return {name: JoinedColumn([file.columns[name] for file in self._files]) for name in alike}

    def _spans(self, size: int) -> Iterator[tuple[int, int]]:
        for start in range(0, self._rows, size):
            yield start, min(start + size, self._rows)

    def _column_statistics(self, name: str) -> ColumnStatistics:
        """Blocks are merged by Chan, Golub and LeVeque's rule, which does not cancel for large means."""
        count, mean, squares = 0, np.float64(0), np.float64(0)
        minimum, maximum = np.float64(np.inf), np.float64(-np.inf)
        for start, stop in self._spans(BLOCK_ROWS):
            values = self._columns[name].read(start, stop).astype(np.float64)
            block_mean = values.mean(axis=0)
            shift, total = block_mean - mean, count + len(values)
            squares = (
                squares + ((values - block_mean) ** 2).sum(axis=0) + shift**2 * (count * len(values) / total)
            )
            mean, count = mean + shift * (len(values) / total), total
            minimum = np.minimum(minimum, values.min(axis=0))
            maximum = np.maximum(maximum, values.max(axis=0))
        return ColumnStatistics(mean, np.sqrt(squares / count), minimum, maximum)


def check_compatible(source: DataSet, target: DataSet) -> None:
    """See that one policy can be trained on both data sets.

    Raises:
        UserError: naming the first difference in robot, columns, control period, task or robot spec, or a
            data set whose domain is not the one it was given for.
    """
    for data_set, domain in ((source, "source"), (target, "target")):
        if data_set.info.domain != domain:
            raise UserError(
                f"{data_set.name}: holds {data_set.info.domain} transitions but was given as {domain} data: "
                "swap the two files, or collect it for that domain"
            )
    check_same_task(source.info, target.info, f"{source.name} and {target.name}")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _row_bytes(info: DataSetInfo) -> int:
    """Bytes of one row in memory: s, a, r, s' as float32, terminal."""
    return 4 * (2 * info.observation_size + info.action_size + 1) + 1
