"""Columns of a data set file, read by block or by scattered rows.

HDF5's own selection of scattered rows takes tens of microseconds a row. For the uncompressed chunks that
`DataSetWriter` makes, a row's place in the file is simple arithmetic, so it is read from there directly: no
memory but the batch and one offset per 1,024 rows, however large the file.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import h5py
import numpy as np

from ..errors import UserError
from .dataset_open import damage_named


class Column(Protocol):
    """The first ``rows`` rows of a column; fewer than asked for where the file does not hold them."""

    rows: int

    def gather(self, indices: np.ndarray) -> np.ndarray:
        """(B, ...) rows in the order asked for; ``indices`` are valid int64."""
        ...

    def read(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, ...) rows."""
        ...


class ArrayColumn:
    """A column held in memory."""

    def __init__(self, array: np.ndarray) -> None:
        self.rows = len(array)
        self._array = array

    def gather(self, indices: np.ndarray) -> np.ndarray:
        return self._array.take(indices, axis=0)

    def read(self, start: int, stop: int) -> np.ndarray:
        return self._array[start:stop].copy()


class HDF5Column:
    """Any HDF5 dataset (compressed, contiguous), through HDF5 itself: right always, fast for blocks only."""

    def __init__(self, dataset: h5py.Dataset, rows: int, path: Path) -> None:
        self.rows = min(rows, len(dataset))
        self._dataset = dataset
        self._path = path
        self._remedy = f"save the other rows with `dara recover {path} --out NEW.h5`"

    def gather(self, indices: np.ndarray) -> np.ndarray:
        unique, inverse = np.unique(indices, return_inverse=True)  # HDF5 wants rising indices
        with damage_named(self._path, self._remedy):
            return self._dataset[unique][inverse]

    def read(self, start: int, stop: int) -> np.ndarray:
        with damage_named(self._path, self._remedy):
            return self._dataset[start:stop]


class ChunkedColumn:
    """Uncompressed chunks, one after the other along the rows; read at their file offsets."""

    def __init__(self, dataset: h5py.Dataset, rows: int, descriptor: int) -> None:
        self._descriptor = descriptor
        self._dtype = dataset.dtype
        self._shape = dataset.shape[1:]
        self._row_bytes = dataset.dtype.itemsize * int(np.prod(self._shape))
        self._chunk_rows = dataset.chunks[0]
        size = os.fstat(descriptor).st_size
        # A file may declare any number of rows: of what cannot be in it, not even an index is made.
        possible = (size // (self._chunk_rows * self._row_bytes) + 1) * self._chunk_rows
        rows = min(rows, len(dataset), possible)
        self._offsets = _chunk_offsets(dataset, rows)
        self.rows = self._rows_within(rows, size)

    @staticmethod
    def fits(dataset: h5py.Dataset) -> bool:
        """Whether the dataset is laid out as this class reads it."""
        plain = (
            dataset.chunks is not None
            and dataset.size > 0
            and dataset.id.get_create_plist().get_nfilters() == 0
        )
        return plain and dataset.chunks[1:] == dataset.shape[1:] and dataset.dtype.isnative

    def gather(self, indices: np.ndarray) -> np.ndarray:
        chunks, within = np.divmod(indices, self._chunk_rows)
        places = (self._offsets[chunks] + within * self._row_bytes).tolist()
        size, descriptor, content = (
            self._row_bytes,
            self._descriptor,
            bytearray(len(indices) * self._row_bytes),
        )
        view, got = memoryview(content), 0
        for number, place in enumerate(places):
            got += os.preadv(descriptor, (view[number * size : (number + 1) * size],), place)
        return self._array(content, got)

    def read(self, start: int, stop: int) -> np.ndarray:
        content = bytearray((stop - start) * self._row_bytes)
        view, got, row = memoryview(content), 0, start
        while row < stop:
            chunk, within = divmod(row, self._chunk_rows)
            count = min(self._chunk_rows - within, stop - row)
            part = view[(row - start) * self._row_bytes : (row - start + count) * self._row_bytes]
            got += os.preadv(self._descriptor, (part,), int(self._offsets[chunk]) + within * self._row_bytes)
            row += count
        return self._array(content, got)

    def _array(self, content: bytearray, got: int) -> np.ndarray:
        if got != len(content):
            raise UserError(
                "a data set file became shorter while it was read: leave it alone until training ends"
            )
        return np.frombuffer(content, self._dtype).reshape(-1, *self._shape)

    def _rows_within(self, rows: int, file_size: int) -> int:
        """How many of the first ``rows`` rows lie wholly inside the file."""
        starts = np.arange(len(self._offsets)) * self._chunk_rows
        counts = np.minimum(self._chunk_rows, rows - starts)
        whole = (self._offsets >= 0) & (self._offsets + counts * self._row_bytes <= file_size)
        if whole.all():
            return rows
        first = int(np.argmin(whole))
        inside = (
            (file_size - int(self._offsets[first])) // self._row_bytes if self._offsets[first] >= 0 else 0
        )
        return int(starts[first]) + max(0, min(inside, int(counts[first])))


class JoinedColumn:
    """The columns of several files, one after the other."""

    def __init__(self, parts: Sequence[Column]) -> None:
        self._parts = parts
        self._ends = np.cumsum([part.rows for part in parts])
        self.rows = int(self._ends[-1])

    def gather(self, indices: np.ndarray) -> np.ndarray:
        owners = np.searchsorted(self._ends, indices, side="right")
        pieces, places = [self._parts[0].gather(indices[:0])], [np.flatnonzero(owners < 0)]
        for number in np.unique(owners):
            place = np.flatnonzero(owners == number)
            first = self._ends[number] - self._parts[number].rows
            pieces.append(self._parts[number].gather(indices[place] - first))
            places.append(place)
        return np.concatenate(pieces)[np.argsort(np.concatenate(places))]

    def read(self, start: int, stop: int) -> np.ndarray:
        pieces = [self._parts[0].read(0, 0)]
        for part, end in zip(self._parts, self._ends.tolist(), strict=True):
            first = end - part.rows
            if start < end and stop > first:
                pieces.append(part.read(max(start - first, 0), min(stop - first, part.rows)))
        return np.concatenate(pieces)


def open_column(dataset: h5py.Dataset, rows: int, raw: io.FileIO) -> Column:
    """The fastest way to read the first ``rows`` rows; ``raw`` is the same file, open."""
    if ChunkedColumn.fits(dataset):
        return ChunkedColumn(dataset, rows, raw.fileno())
    return HDF5Column(dataset, rows, Path(raw.name))


def _chunk_offsets(dataset: h5py.Dataset, rows: int) -> np.ndarray:
    """(chunks,) int64: where in the file each chunk of the first ``rows`` rows begins; -1: it is missing."""
    chunk_rows = dataset.chunks[0]
    offsets = np.full(-(-rows // chunk_rows), -1, np.int64)

    def note(chunk: h5py.h5d.StoreInfo) -> None:
        number = chunk.chunk_offset[0] // chunk_rows
        if number < len(offsets):
            offsets[number] = chunk.byte_offset

    # Where a block of the index is damaged, the chunks that it would have named are missing.
    with contextlib.suppress(OSError, RuntimeError):
        if len(offsets):
            dataset.id.chunk_iter(note)
    return offsets
