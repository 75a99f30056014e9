"""Write a data set row by row, so that SIGKILL at any moment leaves a file with every flushed row.

HDF5's single-writer-multiple-readers mode (SWMR) keeps the file's own structure whole at all times. On top
of it every flush ends by writing ``meta/committed_rows``: rows beyond that number do not count, so a block
that was cut short, and the rows of a discarded episode, never show up as data.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from ..errors import UserError
from .dataset_format import COMMITTED_ROWS, LOST_ROWS, DataSetInfo, Transition
from .dataset_layout import (
    CHUNK_ROWS,
    LIBRARY_FORMAT,
    StorageError,
    create_columns,
    create_file,
    reason,
    synchronise,
)

_SCALARS = (int, float)


class DataSetWriter:
    """Append transitions to a new data set file.

    Rows are buffered and reach the file when ``flush_interval`` seconds have passed since the last flush
    (looked at on each append; call :meth:`flush` from a timer where rows may stop coming) or 1,024 rows wait.
    Not thread-safe. A live file may be read by :class:`DataSet` in another process.

    Args:
        path: the file to make; missing folders are made too.
        info: the header.
        flush_interval: s; what a SIGKILL can cost.
        overwrite: replace an existing file; otherwise an existing file is refused.
        filters: of h5py's create_dataset, for all columns; see COMPACT.

    Attributes:
        lost_rows: what the file says of rows that are in no file; a change reaches it with the next flush.

    Raises:
        UserError: the file exists.
        StorageError: it cannot be made.
    """

    def __init__(
        self,
        path: str | Path,
        info: DataSetInfo,
        flush_interval: float = 0.1,
        overwrite: bool = False,
        filters: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        self.info = info
        self.lost_rows = 0
        self._flush_interval = flush_interval
        self._filters = filters or {}
        self._file = create_file(self.path, info, overwrite)
        self._columns: dict[str, h5py.Dataset] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}  # of one row
        self._buffers: dict[str, np.ndarray] = {}
        self._float_blocks: list[np.ndarray] = []
        self._rows = 0  # appended and not discarded
        self._committed = 0  # of these, in the file
        self._committed_lost = 0
        self._episode_start = 0
        self._last_flush = time.monotonic()

    @property
    def rows(self) -> int:
        """Rows in the data set so far, flushed or not."""
        return self._rows

    @property
    def rows_in_episode(self) -> int:
        """Rows since the last episode end."""
        return self._rows - self._episode_start

    def append(self, transition: Transition) -> None:
        """Add one row. Its arrays are copied.

        Raises:
            UserError: a value is not finite or has the wrong shape, or the info columns are not those of the
                first row; the row is not added, and the writer may be used on.
        """
        t = transition
        # The order of the columns' creation: most wanted first.
        row: dict[str, Any] = {
            "observations": t.observation,
            "actions": t.action,
            "rewards": t.reward,
            "next_observations": t.next_observation,
            "terminals": t.terminal,
            "timeouts": t.timeout,
        }
        for name, value in t.infos.items():
            row["infos/" + name] = value
        if not self._buffers:
            self._start({name: np.asarray(value) for name, value in row.items()})
        self._check_names(row)
        self._store(row, self._rows - self._committed)
        self._advance(1, 1 if t.terminal or t.timeout else 0)

    def extend(
        self,
        observations: np.ndarray,
        actions: np.ndarray,
        rewards: np.ndarray,
        next_observations: np.ndarray,
        terminals: np.ndarray,
        timeouts: np.ndarray,
        infos: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Add a block of B rows: (B,S), (B,A), (B,), (B,S), (B,), (B,) and infos of (B,...).

        Raises:
            UserError: as :meth:`append`; then none of the rows is added.
        """
        block = {
            "observations": np.asarray(observations),
            "actions": np.asarray(actions),
            "rewards": np.asarray(rewards),
            "next_observations": np.asarray(next_observations),
            "terminals": np.asarray(terminals, bool),
            "timeouts": np.asarray(timeouts, bool),
        }
        block.update({"infos/" + name: np.asarray(value) for name, value in (infos or {}).items()})
        count = len(block["rewards"])
        if count == 0:
            return
        if not self._buffers:
            self._start({name: value[0] for name, value in block.items()})
        self._check_names(block)
        converted = {name: self._convert(name, block[name], count) for name in self._buffers}
        ends = np.flatnonzero(converted["terminals"] | converted["timeouts"]) + 1
        for start in range(0, count, CHUNK_ROWS):
            piece = {name: values[start : start + CHUNK_ROWS] for name, values in converted.items()}
            size = len(piece["rewards"])
            if self._rows - self._committed + size > CHUNK_ROWS:
                self.flush()
            slot = self._rows - self._committed
            for name, values in piece.items():
                self._buffers[name][slot : slot + size] = values
            inside = ends[(ends > start) & (ends <= start + size)]
            self._advance(size, int(inside[-1]) - start if len(inside) else 0)

    def end_episode(self) -> None:
        """Cut the episode after the last row: a timeout, unless that row is terminal. No rows, no effect."""
        if self.rows_in_episode == 0:
            return
        last = self._rows - 1
        if last >= self._committed:
            self._buffers["timeouts"][last - self._committed] = True
        else:
            with self._writing():
                self._columns["timeouts"][last] = True
                self._columns["timeouts"].flush()
        self._episode_start = self._rows

    def discard_episode(self) -> None:
        """Drop the rows since the last episode end, flushed or not."""
        self.truncate(self._episode_start)

    def truncate(self, rows: int) -> None:
        """Drop all but the first ``rows`` rows, flushed or not; the next row begins an episode.

        Raises:
            StorageError: the file cannot be written; those rows that were flushed are still in it.
        """
        if rows >= self._rows:
            return
        if self._committed > rows:
            self._commit_counts(rows)
        self._rows = self._episode_start = rows

    def flush(self) -> None:
        """Bring all rows into the file; after this no SIGKILL can lose them.

        Raises:
            StorageError: the file cannot be written (disk full); rows flushed before are safe.
        """
        self._last_flush = time.monotonic()
        waiting = self._rows - self._committed
        if not self._columns or (waiting == 0 and self.lost_rows == self._committed_lost):
            return
        with self._writing():
            for name, buffer in self._buffers.items():  # there are none before the first row
                column = self._columns[name]
                if len(column) < self._rows:
                    column.resize(self._rows, axis=0)
                column[self._committed : self._rows] = buffer[:waiting]
            self._file.flush()
        self._commit_counts(self._rows)

    def close(self) -> None:
        """Flush and close; the file is then plain HDF5, and on the disk: no power cut takes it any more.

        Closing twice is harmless.
        """
        if not self._file:
            return
        with self._writing():
            if not self._columns:  # not one row came
                self._columns = create_columns(self._file, self.info, {}, self._filters)
            self.flush()
            longer = any(len(column) > self._rows for column in self._columns.values())
            self._file.close()
            if longer:  # discarded rows: SWMR cannot shrink, and other libraries would take them for data
                with h5py.File(self.path, "r+", libver=LIBRARY_FORMAT) as file:
                    for name in self._columns:
                        file[name].resize(self._rows, axis=0)
            synchronise(self.path)

    def abandon(self) -> None:
        """Let go of a file that cannot be written any more, as a SIGKILL would: flushed rows stay in it."""
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            self._file.close()

    def size_in_place(self) -> int | None:
        """The file's bytes; None where it is gone from its name: what goes into a deleted file is lost."""
        with contextlib.suppress(OSError):
            there = os.stat(self.path)
            if os.path.samestat(there, os.fstat(self._file.id.get_vfd_handle())):
                return there.st_size
        return None

    def __enter__(self) -> DataSetWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, first_row: Mapping[str, np.ndarray]) -> None:
        """Make the columns after the first row's pattern and go over to SWMR; nothing can be added after."""
        infos = {name: value for name, value in first_row.items() if name.startswith("infos/")}
        with self._writing():
            self._columns = create_columns(self._file, self.info, infos, self._filters)
            self._file.flush()
            self._file.swmr_mode = True
        self._shapes = {name: column.shape[1:] for name, column in self._columns.items()}
        types = {name: column.dtype for name, column in self._columns.items()}
        self._buffers, self._float_blocks = _make_buffers(self._shapes, types)

    def _advance(self, count: int, episode_rows: int) -> None:
        """Count new rows, the first ``episode_rows`` of which close an episode; flush where it is due."""
        if episode_rows:
            self._episode_start = self._rows + episode_rows
        self._rows += count
        full = self._rows - self._committed == CHUNK_ROWS
        if full or time.monotonic() - self._last_flush >= self._flush_interval:
            self.flush()

    def _commit_counts(self, rows: int) -> None:
        with self._writing():
            self._file[LOST_ROWS][()] = self.lost_rows
            self._file[COMMITTED_ROWS][()] = rows
            self._file.flush()
        self._committed, self._committed_lost = rows, self.lost_rows

    def _check_names(self, row: Mapping[str, object]) -> None:
        if row.keys() != self._buffers.keys():
            name = min(row.keys() ^ self._buffers.keys())
            raise UserError(
                f"{self.path}: column {name} is {'new' if name in row else 'missing'} in this row: "
                "every row needs the info columns of the first one"
            )

    def _store(self, row: Mapping[str, Any], slot: int) -> None:
        """Put one row into its slot, or raise; this is the hot path of :meth:`append`."""
        for name, buffer in self._buffers.items():
            value = row[name]
            shape = _shape(value)
            if shape != self._shapes[name]:
                raise self._wrong_shape(name, shape, self._shapes[name])
            buffer[slot] = value
        for block in self._float_blocks:  # one look per type of float, not one per column
            if not np.isfinite(block[slot]).all():
                bad = (name for name, b in self._buffers.items() if not np.isfinite(b[slot]).all())
                raise self._not_finite(next(bad))

    def _convert(self, name: str, values: np.ndarray, count: int) -> np.ndarray:
        buffer = self._buffers[name]
        if values.shape != (count, *buffer.shape[1:]):
            raise self._wrong_shape(name, values.shape, (count, *buffer.shape[1:]))
        with np.errstate(over="ignore"):  # what overflows float32 is infinite, and refused below
            converted = values.astype(buffer.dtype, copy=False)
        if buffer.dtype.kind == "f" and not np.isfinite(converted).all():
            raise self._not_finite(name)
        return converted

    def _wrong_shape(self, name: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> UserError:
        return UserError(f"{self.path}: column {name} has shape {shape}, not {expected}: the row is refused")

    def _not_finite(self, name: str) -> UserError:
        return UserError(
            f"{self.path}: column {name} is NaN or infinite: the row is refused, check its sensor"
        )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn an I/O failure into the one line that a user can act on."""
        try:
            yield
        except (
            OSError,
            RuntimeError,
            KeyError,
            ValueError,
        ) as error:  # HDF5's words for one thing or another
            raise StorageError(
                f"{self.path}: cannot be written ({reason(error)}): make room or mend the disk; "
                f"{self._committed} rows are safe"
            ) from error


def _make_buffers(
    shapes: Mapping[str, tuple[int, ...]], types: Mapping[str, np.dtype]
) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """(buffers, float_blocks): a (CHUNK_ROWS, ...) buffer per column; those of one float type are views into
    one (CHUNK_ROWS, width) block, so that a whole row is checked for NaN at once."""
    buffers = {name: np.zeros((CHUNK_ROWS, *shapes[name]), types[name]) for name in shapes}
    blocks = []
    for dtype in {t for t in types.values() if t.kind == "f"}:
        members = [name for name in shapes if types[name] == dtype]
        widths = [math.prod(shapes[name]) for name in members]
        block = np.zeros((CHUNK_ROWS, sum(widths)), dtype)
        parts = np.split(block, np.cumsum(widths)[:-1], axis=1)
        for name, part in zip(members, parts, strict=True):
            buffers[name] = part.reshape(CHUNK_ROWS, *shapes[name])
        blocks.append(block)
    return buffers, blocks


def _shape(value: Any) -> tuple[int, ...]:
    """`np.shape`, at a third of its price for what a row is made of."""
    if isinstance(value, np.ndarray):
        return value.shape
    return () if isinstance(value, _SCALARS) else np.shape(value)
