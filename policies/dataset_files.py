"""The files of a data set: opened one by one, seen to belong together, and repaired."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np

from ..errors import UserError
from .dataset_columns import Column, open_column
from .dataset_format import (
    COMMITTED_ROWS,
    FLAG_COLUMNS,
    FLOAT_COLUMNS,
    LOST_ROWS,
    DataSetInfo,
    first_difference,
    info_from_attributes,
)
from .dataset_layout import CHUNK_ROWS, COMPACT
from .dataset_open import damage_named, open_file, plain_dataset
from .dataset_writer import DataSetWriter
from .whole_files import replaced_when_whole

SUFFIXES = (".h5", ".hdf5")  # of the files that count in a folder


class EmptyFile(UserError):  # noqa: N818 (says what it is)
    """A data set file without a row: its writer was stopped before the first, or all were discarded."""


class DataSetFile:
    """One open file.

    Attributes:
        rows: those that its writer committed.
        lost_rows: rows that are in no file, as the writer says; None in files that do not tell.
        columns: name -> column. One may hold fewer rows than committed, where the file was cut off.
        layout: name -> (type, shape of a row).

    Raises:
        UserError: missing, not a data set, or damaged.
        EmptyFile: it holds no row.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open_file(path)
        self._raw = open(path, "rb", buffering=0)  # noqa: SIM115 (closed by close)
        try:
            with damage_named(path):
                self.info: DataSetInfo = info_from_attributes(self._file.attrs, str(path))
                # Before anything of the columns is read: in a live file they grow, and HDF5 looks only once.
                self.rows = _committed_rows(self._file, path)
                _check_columns(self._file, path, self.info)
                if self.rows <= 0:
                    raise EmptyFile(f"{path}: empty, no transitions were written: collect or record it anew")
                self.lost_rows = _count(self._file, LOST_ROWS, path) if LOST_ROWS in self._file else None
                names = [*FLOAT_COLUMNS, *FLAG_COLUMNS, *(f"infos/{n}" for n in self._file.get("infos", ()))]
                datasets = {name: plain_dataset(self._file, name, path) for name in names}
                self.columns: dict[str, Column] = {
                    name: open_column(dataset, self.rows, self._raw) for name, dataset in datasets.items()
                }
                self.layout = {name: (dataset.dtype, dataset.shape[1:]) for name, dataset in datasets.items()}
        except UserError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file; closing twice is harmless."""
        self._file.close()
        self._raw.close()

    @property
    def whole_rows(self) -> int:
        """Rows that every column holds."""
        return min(column.rows for column in self.columns.values())


def find_files(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """The files meant by a path or several: a file is itself, a folder the data set files right in it.

    Returns:
        each file once: in the order given, and by name within a folder.

    Raises:
        UserError: nothing is given, or a folder holds none.
    """
    found: dict[Path, Path] = {}
    for path in [Path(paths)] if isinstance(paths, str | Path) else map(Path, paths):
        inside = [path]
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and p.name[0] != ".")
            if not inside:
                raise UserError(f"{path}: no data set file (*.h5) in this folder: give another, or a file")
        for file in inside:
            found.setdefault(file.resolve(), file)
    if not found:
        raise UserError("no data set file is given: name a file or a folder")
    return list(found.values())


def open_files(paths: str | Path | Iterable[str | Path]) -> list[DataSetFile]:
    """The files, open, of one data set. Among several, those without rows are left out.

    Raises:
        UserError: one is missing, not a data set, damaged or cut off; all are empty; two differ in robot,
            domain, columns, control period, task or robot spec.
    """
    with contextlib.ExitStack() as on_failure:
        files: list[DataSetFile] = []
        empty: EmptyFile | None = None
        for path in find_files(paths):
            try:
                file = _open_whole(path)
            except EmptyFile as error:
                empty = error
                continue
            files.append(file)
            on_failure.callback(file.close)
        if not files and empty is not None:
            raise empty
        for file in files[1:]:
            check_same_data_set(files[0], file)
        on_failure.pop_all()
    return files


def check_same_data_set(first: DataSetFile, other: DataSetFile) -> None:
    """Raise UserError naming the first difference that keeps two files from being one data set."""
    names = f"{first.path} and {other.path}"
    if first.info.domain != other.info.domain:
        raise UserError(
            f"{names} are of different domains ({first.info.domain}, {other.info.domain}): "
            "give them as two data sets"
        )
    check_same_task(first.info, other.info, names)


def check_same_task(a: DataSetInfo, b: DataSetInfo, names: str) -> None:
    """Raise UserError naming the first difference in robot, columns, control period, task or robot spec."""
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


def joined_info(infos: Sequence[DataSetInfo]) -> DataSetInfo:
    """The header of several files of one data set."""
    worlds = ", ".join(dict.fromkeys(info.world for info in infos))
    made_by = "; ".join(dict.fromkeys(info.made_by for info in infos))
    return replace(infos[0], world=worlds, made_by=made_by)


def _open_whole(path: Path) -> DataSetFile:
    """Open a file that is not cut off; where its writer may be in the middle of a block, look again."""
    for _ in range(2):
        with contextlib.suppress(UserError):
            return _open_once(path)
        time.sleep(0.02)
    return _open_once(path)


def _open_once(path: Path) -> DataSetFile:
    file = DataSetFile(path)
    for name, column in file.columns.items():
        if column.rows < file.rows:
            file.close()
            raise UserError(
                f"{path}: cut off, column {name} holds {column.rows} of {file.rows} rows: "
                f"save what is left with `dara recover {path} --out NEW.h5`"
            )
    return file


def _committed_rows(file: h5py.File, path: Path) -> int:
    for name in (COMMITTED_ROWS, *FLOAT_COLUMNS, *FLAG_COLUMNS):
        if name not in file:
            raise UserError(f"{path}: damaged, it lacks {name!r}: collect or record it anew")
    return _count(file, COMMITTED_ROWS, path)


def _count(file: h5py.File, name: str, path: Path) -> int:
    dataset = plain_dataset(file, name, path)
    if dataset.shape != () or dataset.dtype.kind not in "iu":
        raise UserError(f"{path}: damaged, {name} is no whole number: collect or record it anew")
    return int(dataset[()])


def _check_columns(file: h5py.File, path: Path, info: DataSetInfo) -> None:
    """Look at the columns' names, shapes and types; what they hold is not read."""
    sizes = {"observations": info.observation_size, "actions": info.action_size}
    sizes["next_observations"] = sizes["observations"]
    for name in (*FLOAT_COLUMNS, *FLAG_COLUMNS):
        dataset = plain_dataset(file, name, path)
        shape, dtype = (sizes[name],) if name in sizes else (), "f4" if name in FLOAT_COLUMNS else "?"
        if dataset.shape[1:] != shape or dataset.dtype != dtype:
            raise UserError(
                f"{path}: column {name} is {dataset.dtype} {dataset.shape}, the header says rows of {shape}: "
                "collect or record it anew"
            )


# -- repair -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recovery:
    """What `recover` did.

    Attributes:
        rows: in the new file.
        lost: rows that the old files promised but no longer hold, or that are not finite any more.
        refused: one line for each file of which nothing could be saved.
    """

    rows: int
    lost: int
    refused: list[str]


def recover(
    paths: str | Path | Iterable[str | Path], destination: str | Path, compress: bool = False
) -> Recovery:
    """Copy every whole row of damaged or killed files into one new, cleanly closed file; the old ones stay.

    A row that is not finite, or lies in a block that cannot be read, is left out, and its episode ends there.

    Args:
        compress: make the new file smaller, and slower to read at random.

    Raises:
        UserError: nothing can be saved, the files are not of one data set, or ``destination`` exists.
    """
    destination = Path(destination)
    if destination.exists():
        raise UserError(f"{destination}: exists already: choose another name for what is recovered")
    refused: list[str] = []
    with contextlib.ExitStack() as resources:
        files = []
        for path in find_files(paths):
            try:
                file = DataSetFile(path)
                resources.callback(file.close)
                if file.whole_rows == 0:
                    raise UserError(_nothing_left(path))
                files.append(file)
            except UserError as error:
                refused.append(str(error))
        if not files:
            raise UserError(refused[0])
        for file in files[1:]:
            check_same_data_set(files[0], file)
        with replaced_when_whole(destination) as to:
            saved = _copy_rows(files, to, compress)
            refused += [_nothing_left(file.path) for file, rows in zip(files, saved, strict=True) if not rows]
            if not any(saved):
                raise UserError(refused[0])
    return Recovery(sum(saved), sum(file.rows for file in files) - sum(saved), refused)


def _nothing_left(path: Path) -> str:
    return f"{path}: not one whole row is left: collect or record it anew"


def _copy_rows(files: Sequence[DataSetFile], path: Path, compress: bool) -> list[int]:
    """How many rows of each file could be saved."""
    saved = []
    info = joined_info([file.info for file in files])
    names = [n for n in files[0].columns if all(f.layout.get(n) == files[0].layout[n] for f in files)]
    with DataSetWriter(path, info, np.inf, overwrite=True, filters=COMPACT if compress else None) as writer:
        for file in files:
            before = writer.rows
            for start in range(0, file.whole_rows, CHUNK_ROWS):
                _copy_block(file, names, start, min(start + CHUNK_ROWS, file.whole_rows), writer)
            if file is not files[-1]:
                writer.end_episode()  # none goes on from one file into the next
            saved.append(writer.rows - before)
            writer.lost_rows += (file.lost_rows or 0) + file.rows - saved[-1]
    return saved


def _copy_block(
    file: DataSetFile, names: Sequence[str], start: int, stop: int, writer: DataSetWriter
) -> None:
    """Copy those of the rows that are whole; the episode ends where one is left out."""
    try:
        with damage_named(file.path):
            block = {name: file.columns[name].read(start, stop) for name in names}
    except UserError:
        writer.end_episode()
        return
    whole = np.all([_whole(values) for values in block.values()], axis=0)
    for piece in np.split(np.arange(len(whole)), np.flatnonzero(np.diff(whole)) + 1):
        if not whole[piece[0]]:
            writer.end_episode()
            continue
        rows = {name: values[piece] for name, values in block.items()}
        infos = {n.removeprefix("infos/"): v for n, v in rows.items() if n.startswith("infos/")}
        writer.extend(**{n: v for n, v in rows.items() if not n.startswith("infos/")}, infos=infos)


def _whole(values: np.ndarray) -> np.ndarray:
    """(B,) which of the rows of a column can be: numbers are finite, flags are 0 or 1."""
    flags = values.dtype.kind == "b"
    fine = np.ascontiguousarray(values).view(np.uint8) <= 1 if flags else np.isfinite(values)
    return np.all(fine.reshape(len(values), -1), axis=1)
