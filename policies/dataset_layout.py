"""The layout of a data set file in HDF5: chunks, columns, compression, and what the disk says to it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..errors import UserError
from .dataset_format import COMMITTED_ROWS, FLAG_COLUMNS, LOST_ROWS, DataSetInfo, info_to_attributes

# Rows per HDF5 chunk, and in the write buffer. Large enough that the index of 10 million rows is small, small
# enough that the unused end of the last chunks (about 0.6 MB at S=55) does not matter.
CHUNK_ROWS = 1024
# HDF5 1.10's format: the oldest with SWMR, so the oldest libraries in use can read the file.
LIBRARY_FORMAT = ("v110", "v110")
#: Compression for files that are written in blocks and not flushed in between. A flush of a few rows would
#: write their whole chunk once more, elsewhere: `dara bench filters` shows what becomes of the file.
COMPACT: Mapping[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}


class StorageError(UserError):
    """The disk does not take it: full, gone, or read-only."""


def create_file(path: Path, info: DataSetInfo, overwrite: bool) -> h5py.File:
    """A new file that holds the header only.

    Raises:
        UserError: it exists.
        StorageError: it cannot be made.
    """
    if path.exists() and not overwrite:
        raise UserError(f"{path}: exists already: choose another name, or ask for it to be overwritten")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # No chunk cache: the buffer already makes blocks, and every byte goes straight to the file, once.
        file = h5py.File(path, "w", libver=LIBRARY_FORMAT, rdcc_nbytes=0)
        try:
            file.attrs.update(info_to_attributes(info))
            file.flush()
        except (OSError, RuntimeError):
            with contextlib.suppress(OSError, RuntimeError):  # it would hide the reason
                file.close()
            raise
    except (OSError, RuntimeError) as error:
        raise StorageError(
            f"{path}: cannot be made ({reason(error)}): check the disk, the folder and its permissions"
        ) from error
    return file


def reason(error: Exception) -> str:
    """What the operating system says, without the pages that HDF5 says around it."""
    told = re.search(r"errno = (\d+)", str(error))
    number = int(told[1]) if told else getattr(error, "errno", None)
    return os.strerror(number) if number else str(error).splitlines()[0]


def synchronise(path: Path) -> None:
    """Bring what the kernel holds of a file to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_columns(
    file: h5py.File, info: DataSetInfo, infos: Mapping[str, np.ndarray], filters: Mapping[str, Any]
) -> dict[str, h5py.Dataset]:
    """The empty columns, and the counts."""
    states, actions = (info.observation_size,), (info.action_size,)
    pattern: dict[str, tuple[tuple[int, ...], np.dtype]] = {
        "observations": (states, np.dtype("f4")),
        "actions": (actions, np.dtype("f4")),
        "rewards": ((), np.dtype("f4")),
        "next_observations": (states, np.dtype("f4")),
        **{name: ((), np.dtype(bool)) for name in FLAG_COLUMNS},
        **{name: (value.shape, stored_type(name, value.dtype)) for name, value in infos.items()},
    }
    for name in (COMMITTED_ROWS, LOST_ROWS):
        file.create_dataset(name, data=np.int64(0))
    return {
        name: file.create_dataset(
            name,
            shape=(0, *shape),
            maxshape=(None, *shape),
            chunks=(CHUNK_ROWS, *shape),
            dtype=dtype,
            fill_time="never",
            **filters,
        )
        for name, (shape, dtype) in pattern.items()
    }


def stored_type(name: str, dtype: np.dtype) -> np.dtype:
    """Floats keep their precision, whole numbers become int64 (stamps are ns), flags stay flags."""
    if dtype.kind in "iu":
        return np.dtype("i8")
    if dtype.kind in "fb":
        return dtype
    raise UserError(f"column {name} has type {dtype}: info columns are numbers or flags")
