"""Spoilt data set files: bytes of the file, and fields of its HDF5 structure."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dara_ros.policies.dataset import DataSet, DataSetInfo, DataSetWriter, recover
from tests.fuzz.fuzzing import Target, spoil_bytes

S, A, ROWS = 5, 2, 60
INFO = DataSetInfo(
    robot="a1",
    world="flat",
    domain="target",
    control_period=0.02,
    observation_names=tuple(f"s{i}" for i in range(S)),
    action_names=tuple(f"a{i}" for i in range(A)),
    spec_hash="spec",
    task_hash="task",
)
COLUMNS = ("observations", "actions", "rewards", "next_observations", "terminals", "timeouts", "infos/stamp")
COUNT = "meta/committed_rows"


def target(folder: Path) -> Target:
    (folder / "written.h5").unlink(missing_ok=True)
    written = _written(folder / "written.h5")
    old_format = _copied(written, folder / "old.h5", libver="earliest")
    zipped = _copied(written, folder / "zipped.h5", chunks=True, compression="gzip")
    killed = (folder / "killed.h5").read_bytes()
    contents = [path.read_bytes() for path in (written, old_format, zipped)] + [killed]

    def spoil(rng: np.random.Generator) -> bytes:
        content = contents[rng.integers(len(contents))]
        if rng.random() < 0.5:
            return spoil_bytes(rng, content)
        path = folder / "fields.h5"
        path.write_bytes(contents[rng.integers(3)])
        with h5py.File(path, "r+") as file:
            for _ in range(rng.integers(1, 3)):
                with contextlib.suppress(Exception):  # not every change is possible
                    _spoil_field(rng, file)
        return path.read_bytes()

    return Target(spoil, _use)


def _written(path: Path) -> Path:
    """A file as our writer makes it; beside it one whose writer was killed."""
    rng = np.random.default_rng(0)
    writer = DataSetWriter(path, INFO)
    ends = np.arange(ROWS) % 20 == 19
    writer.extend(
        rng.normal(size=(ROWS, S)), rng.normal(size=(ROWS, A)), rng.normal(size=ROWS),
        rng.normal(size=(ROWS, S)), np.zeros(ROWS, bool), ends, infos={"stamp": np.arange(ROWS)},
    )  # fmt: skip
    writer.flush()
    path.with_name("killed.h5").write_bytes(path.read_bytes())
    writer.close()
    return path


def _copied(path: Path, copy: Path, libver: str = "latest", **layout: Any) -> Path:
    """The same rows in another layout: the oldest format has no checksums, so more damage is reached."""
    with h5py.File(path) as old, h5py.File(copy, "w", libver=libver) as new:
        new.attrs.update(old.attrs)
        for name in (*COLUMNS, COUNT):
            new.create_dataset(name, data=old[name][()], **(layout if name != COUNT else {}))
    return copy


def _spoil_field(rng: np.random.Generator, file: h5py.File) -> None:
    name = str(rng.choice([*COLUMNS, COUNT]))
    match rng.integers(7):
        case 0:
            key = str(rng.choice(list(file.attrs)))
            file.attrs[key] = _odd_value(rng)
        case 1:
            del file.attrs[str(rng.choice(list(file.attrs)))]
        case 2:
            del file[name]
        case 3:
            file[COUNT][()] = rng.choice([-1, 0, 1, ROWS + 1, 2**31, 2**40, 2**62])
        case 4:
            del file[name]
            file.create_dataset(name, data=_odd_value(rng))
        case 5:
            del file[name]
            width = {"observations": (S,), "actions": (A,), "next_observations": (S,)}.get(name, ())
            rows = int(rng.choice([ROWS, 2**33, 2**40, 2**50]))  # declared, never written
            chunks = (int(rng.choice([1, 1024, 2**20, 2**26])), *width)
            kind = rng.choice(["f4", "f8", "?", "i8", "S1000"])
            packing = {"compression": "gzip"} if rng.random() < 0.5 else {}
            file.create_dataset(name, (rows, *width), kind, chunks=chunks, maxshape=(None, *width), **packing)
            file[COUNT][()] = rows
        case _:
            del file[name]
            elsewhere = rng.integers(4)
            if elsewhere == 0:
                file[name] = h5py.ExternalLink("written.h5", f"/{name}")
            elif elsewhere == 1:
                file[name] = h5py.SoftLink(str(rng.choice(["/nowhere", f"/{name}", "/rewards"])))
            elif elsewhere == 2:
                file.create_group(name)
            else:
                external = [("/etc/passwd", 0, 4 * ROWS)]
                file.create_dataset(name, (ROWS,), "f4", external=external)


def _odd_value(rng: np.random.Generator) -> Any:
    return [
        "text", "", "NaN", b"\xff\xfe", 0, -1, 2**40, np.nan, np.inf, True, np.zeros(0), np.zeros((2, 3)),
        [1.5, 2.5], ["a", "a"], ["", "b"], np.zeros(ROWS, "f8"), np.full((ROWS, S), np.nan, "f4"),
        np.array([(1, 2.0)], "i4,f4"), h5py.Empty("f4"), "[" * 100_000, "{}", "[1]", '{"a": 1e999}',
        np.array(["a", "b"], h5py.string_dtype()), np.zeros(ROWS, "c16"), np.zeros(ROWS, "f2"),
    ][rng.integers(26)]  # fmt: skip


def _use(path: Path) -> None:
    """Everything that training, inspection and recovery do with a file."""
    with DataSet(path) as data:
        data.check()
        batch = data.rows(np.arange(len(data))[:10])
        assert np.isfinite(batch.observations).all() and batch.actions.shape[1] == data.action_size
        data.statistics()
        data.episodes()
        for name in data.column_names():
            data.column(name, 0, 10)
    saved = path.with_suffix(".saved")
    try:
        recover(path, saved)
    finally:
        if saved.exists():
            os.remove(saved)
