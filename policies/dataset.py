"""Data sets of transitions: HDF5 files written row by row and read lazily.

Write with :class:`DataSetWriter`, read with :class:`DataSet`. `dataset_format` describes the file.

    with DataSetWriter("source.h5", info) as writer:
        writer.append(Transition(observation, action, reward, next_observation, terminal=fell))
    batch = DataSet("source.h5").rows(np.random.randint(0, 1000, 256))
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType

import h5py
import numpy as np

from ..errors import UserError
from .dataset_columns import ArrayColumn, Column, open_column
from .dataset_format import (
    COMMITTED_ROWS,
    FLAG_COLUMNS,
    FLOAT_COLUMNS,
    SCHEMA_VERSION,
    Batch,
    ColumnStatistics,
    DataSetInfo,
    Transition,
    first_difference,
    info_from_attributes,
)
from .dataset_open import damage_named, open_file
from .dataset_writer import DataSetWriter

__all__ = [
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
    """A data set file, opened read-only. Memory: one batch and an index, or the whole where that is small.

    A file that is still being written, or whose writer was killed, opens with the rows flushed by then.

    Args:
        path: the file.
        cache_bytes: a file whose batch columns take no more than this is held in memory from the first
            :meth:`rows` on (30 times faster); a larger one is read row by row from the disk.

    Raises:
        UserError: the file is missing, not a data set, damaged, cut off, or empty.
    """

    def __init__(self, path: str | Path, cache_bytes: int = 512 * 2**20) -> None:
        self.path = Path(path)
        self.info: DataSetInfo
        for attempts_left in (2, 1, 0):
            try:
                self._open()
                break
            except UserError:
                if not attempts_left:
                    raise
                time.sleep(0.02)  # a live writer may have been in the middle of a block
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
        """Let go of the file; closing twice is harmless."""
        self._file.close()
        self._raw.close()

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
        """Hash of the file's bytes, hex; reads the whole file the first time."""
        digest = hashlib.sha256()
        with open(self.path, "rb") as file:
            while block := file.read(2**20):
                digest.update(block)
        return digest.hexdigest()

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
        """All columns of the file: those of a transition first, then infos/*."""
        return list(self._columns)

    def column(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows start to stop of one column, such as "rewards" or "infos/stamp".

        Raises:
            UserError: there is no such column.
        """
        start, stop, _ = slice(start, stop).indices(self._rows)
        if name not in self._columns:
            raise UserError(f"{self.path}: has no column {name!r}: choose from {', '.join(self._columns)}")
        return self._columns[name].read(start, max(start, stop))

    def blocks(self, size: int = BLOCK_ROWS) -> Iterator[Batch]:
        """All rows in order, ``size`` at a time."""
        for start, stop in self._spans(size):
            yield Batch(*(self._columns[name].read(start, stop) for name in BATCH_COLUMNS))

    def episodes(self) -> tuple[np.ndarray, np.ndarray]:
        """(starts, ends), each (E,) int64: episode e is rows starts[e]:ends[e].

        An episode runs up to a terminal or a timeout; an unfinished last one counts.
        """
        ends = []
        for start, stop in self._spans(2**20):
            over = self._columns["terminals"].read(start, stop) | self._columns["timeouts"].read(start, stop)
            ends.append(np.flatnonzero(over) + start + 1)
        ends_array = np.concatenate(ends)
        if len(ends_array) == 0 or ends_array[-1] != self._rows:
            ends_array = np.append(ends_array, self._rows)
        return np.concatenate([[0], ends_array[:-1]]), ends_array

    def statistics(self) -> dict[str, ColumnStatistics]:
        """Mean, std, minimum and maximum of every float column, in one pass of bounded memory."""
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
                bad = start + int(np.argwhere(~np.isfinite(values))[0][0])
                raise UserError(
                    f"{self.path}: column {name} is NaN or infinite in row {bad}: "
                    "find what wrote it, and collect or record the file anew"
                )

    def _spans(self, size: int) -> Iterator[tuple[int, int]]:
        for start in range(0, self._rows, size):
            yield start, min(start + size, self._rows)

    def _open(self) -> None:
        self._file = open_file(self.path)
        self._raw = open(self.path, "rb", buffering=0)  # noqa: SIM115 (closed by close)
        try:
            with damage_named(self.path):
                self.info = info_from_attributes(self._file.attrs, str(self.path))
                self._rows = _committed_rows(self._file, self.path, self.info)
                self._columns = {name: self._open_column(name) for name in _column_names(self._file)}
        except UserError:
            self.close()
            raise

    def _open_column(self, name: str) -> Column:
        column = open_column(self._file[name], self._rows, self._raw.fileno())
        if column.rows < self._rows:
            raise UserError(
                f"{self.path}: cut off, column {name} holds {column.rows} of {self._rows} rows: "
                f"save what is left with `dara recover {self.path} --out NEW.h5`"
            )
        return column

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
    """See that one policy can be trained on both files.

    Raises:
        UserError: naming the first difference in robot, columns, control period, task or robot spec, or a
            file whose domain is not the one it was given for.
    """
    for data_set, domain in ((source, "source"), (target, "target")):
        if data_set.info.domain != domain:
            raise UserError(
                f"{data_set.path}: holds {data_set.info.domain} transitions but was given as {domain} data: "
                "swap the two files, or collect it for that domain"
            )
    a, b = source.info, target.info
    names = f"{source.path} and {target.path}"
    if a.robot != b.robot:
        raise UserError(
            f"{names} are of different robots ({a.robot}, {b.robot}): give two files of one robot"
        )
    for kind in ("observation_names", "action_names"):
        if difference := first_difference(getattr(a, kind), getattr(b, kind)):
            raise UserError(f"{names} differ in {kind}: {difference}: collect both with the same task")
    for kind, unit in (("control_period", " s"), ("task_hash", ""), ("spec_hash", "")):
        left, right = getattr(a, kind), getattr(b, kind)
        if left != right:
            raise UserError(
                f"{names} differ in {kind} ({left}{unit}, {right}{unit}): "
                "collect both with the same task and robot spec"
            )


@dataclass(frozen=True)
class Recovery:
    """What `recover` saved: rows in the new file, and rows that the old one promised but no longer holds."""

    rows: int
    lost: int


def recover(path: str | Path, destination: str | Path) -> Recovery:
    """Copy every whole row of a damaged or killed file into a new, cleanly closed one; the old one stays.

    Raises:
        UserError: nothing can be saved, or ``destination`` exists.
    """
    path, destination = Path(path), Path(destination)
    if destination.exists():
        raise UserError(f"{destination}: exists already: choose another name for what is recovered")
    temporary = destination.with_name(destination.name + ".part")
    try:
        with open_file(path) as file, open(path, "rb", buffering=0) as raw, damage_named(path):
            info = info_from_attributes(file.attrs, str(path))
            promised = _committed_rows(file, path, info)
            columns = {name: open_column(file[name], promised, raw.fileno()) for name in _column_names(file)}
            rows = min(column.rows for column in columns.values())
            if rows == 0:
                raise UserError(f"{path}: not one whole row is left: collect or record it anew")
            _copy_rows(columns, rows, info, temporary)
        os.replace(temporary, destination)
    finally:
        temporary.unlink(missing_ok=True)
    return Recovery(rows, promised - rows)


def _copy_rows(columns: dict[str, Column], rows: int, info: DataSetInfo, path: Path) -> None:
    with DataSetWriter(path, info, overwrite=True) as writer:
        for start in range(0, rows, BLOCK_ROWS):
            block = {
                name: column.read(start, min(start + BLOCK_ROWS, rows)) for name, column in columns.items()
            }
            core = {name: values for name, values in block.items() if not name.startswith("infos/")}
            infos = {name[len("infos/") :]: values for name, values in block.items() if name not in core}
            writer.extend(**core, infos=infos)


def _committed_rows(file: h5py.File, path: Path, info: DataSetInfo) -> int:
    """N, after a look at the columns' names, shapes and types; what they hold is not read."""
    sizes = {"observations": info.observation_size, "actions": info.action_size}
    sizes["next_observations"] = sizes["observations"]
    for name in (COMMITTED_ROWS, *FLOAT_COLUMNS, *FLAG_COLUMNS):
        if name not in file:
            raise UserError(f"{path}: damaged, it lacks {name!r}: collect or record it anew")
    # Before the columns: in a live file they may have grown since, but never are shorter than promised.
    rows = int(file[COMMITTED_ROWS][()])
    for name in (*FLOAT_COLUMNS, *FLAG_COLUMNS):
        dataset = file[name]
        shape, dtype = (sizes[name],) if name in sizes else (), "f4" if name in FLOAT_COLUMNS else "?"
        if dataset.shape[1:] != shape or dataset.dtype != dtype:
            raise UserError(
                f"{path}: column {name} is {dataset.dtype} {dataset.shape}, the header says rows of {shape}: "
                "collect or record it anew"
            )
    if rows <= 0:
        raise UserError(f"{path}: empty, no transitions were written: collect or record it anew")
    return rows


def _column_names(file: h5py.File) -> list[str]:
    return [*FLOAT_COLUMNS, *FLAG_COLUMNS, *("infos/" + name for name in file.get("infos", ()))]


def _row_bytes(info: DataSetInfo) -> int:
    """Bytes of one row in memory: s, a, r, s' as float32, terminal."""
    return 4 * (2 * info.observation_size + info.action_size + 1) + 1
