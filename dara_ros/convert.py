"""Data sets from one format into another: ours, D4RL's HDF5, Minari, and recordings by rosbag2.

    convert([Path("walk_bag")], "dara", Path("walk.h5"), Choices(robot="a1"))

Every format is read into blocks of rows and written from them; see `policies.conversion`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import h5py

from .errors import UserError
from .hardware.spec import load_robot
from .interrupts import stop_on_interrupt
from .policies.conversion import Reading, Rows, end_episodes, read_dara, write_dara
from .policies.dataset_files import check_same_task, joined_info
from .policies.dataset_format import DataSetInfo

Target = Literal["dara", "d4rl", "minari"]
MINARI_ID = re.compile(r"[-\w/]+-v\d+")


@dataclass(frozen=True)
class Choices:
    """What the user says of the input; None: what it says of itself, or is usual.

    Attributes:
        format: "dara", "d4rl", "minari" or "rosbag"; None: guessed.
        robot: of a recording, by name or YAML file.
        namespace: of a recording's topics.
        world, domain: for the header.
        episode_steps: of a D4RL file that does not tell where episodes end.
    """

    format: str | None = None
    robot: str | None = None
    namespace: str | None = None
    world: str | None = None
    domain: Literal["source", "target"] | None = None
    episode_steps: int | None = None


@dataclass(frozen=True)
class Converted:
    """What a conversion gave; `notes` is what did not come along."""

    file: str
    format: str
    robot: str
    domain: str
    rows: int
    episodes: int
    failures: int
    notes: list[str]


def convert(
    inputs: Sequence[Path],
    to: Target,
    out: Path,
    choices: Choices | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Converted:
    """Write all inputs, one after the other, as one data set.

    `out` appears when it is whole: what was there before stays until then, whatever happens.

    Args:
        inputs: files or folders, or ids of local Minari data sets.
        progress: called with (rows, rows to come or more).

    Raises:
        UserError: an input is damaged or of another robot or task, has no rows, or `out` exists.
        KeyboardInterrupt: after Ctrl-C; nothing was written.
    """
    choices = choices or Choices()
    _check_out(out, to, overwrite)
    readings = [_read(path, choices) for path in inputs]
    info = _common_header(inputs, readings, choices)
    tally = _Tally(inputs, sum(reading.total for reading in readings), progress)
    write = _writer(to)
    with stop_on_interrupt() as interrupted:
        write(out, info, tally.count(readings, interrupted))
    notes = [note for reading in readings for note in reading.notes]
    return Converted(str(out), to, info.robot, info.domain, tally.rows, tally.episodes, tally.failures, notes)


class _Tally:
    """Counts the rows on their way from readers to a writer, and sees that they fit together."""

    def __init__(self, inputs: Sequence[Path], total: int, progress: Callable[[int, int], None]) -> None:
        self.rows = self.episodes = self.failures = 0
        self._names: Set[str] = frozenset()
        self._inputs, self._total, self._progress = inputs, total, progress

    def count(self, readings: Sequence[Reading], interrupted: Callable[[], bool]) -> Iterator[Rows]:
        for path, reading in zip(self._inputs, readings, strict=True):
            before = self.rows
            for rows in end_episodes(reading.blocks):
                if interrupted():
                    raise KeyboardInterrupt
                self._check_columns(rows, path)
                self.rows += len(rows)
                self.episodes += int((rows.terminals | rows.timeouts).sum())
                self.failures += int(rows.terminals.sum())
                self._progress(self.rows, max(self.rows, self._total))
                yield rows
            if self.rows == before:
                notes = "; ".join(reading.notes)
                raise UserError(f"{path}: not one transition came of it ({notes}): give a longer recording")

    def _check_columns(self, rows: Rows, path: Path) -> None:
        names = rows.columns().keys()
        self._names = self._names or names
        if names != self._names:
            name = min(names ^ self._names)
            raise UserError(f"{path} and {self._inputs[0]} differ in {name}: convert them one by one")


def guess_format(path: Path) -> str:
    """dara, d4rl, minari or rosbag, by what is there; dara where nothing tells."""
    if path.suffix in (".mcap", ".db3") or (path / "metadata.yaml").is_file():
        return "rosbag"
    if (path / "data" / "metadata.json").is_file() or (not path.exists() and MINARI_ID.fullmatch(str(path))):
        return "minari"
    try:
        with h5py.File(path, "r") as file:
            return "dara" if "schema_version" in file.attrs else "d4rl"
    except OSError:  # a folder, missing, damaged, or ours and not closed: the reader tells
        return "dara"


def _read(path: Path, choices: Choices) -> Reading:
    kind = choices.format or guess_format(path)
    if choices.robot is not None and kind != "rosbag":
        # Arrays from elsewhere have no joint names to check: their policies must not pass for a robot's.
        raise UserError(f"{path}: --robot is for recordings by rosbag2; other data says itself whose it is")
    if kind == "rosbag":
        from .rosbag import read_bag

        return read_bag(path, load_robot(choices.robot or "a1"), choices.namespace)
    if kind == "minari":
        from .policies.minari_files import read_minari

        return read_minari(path)
    if kind == "d4rl":
        from .policies.d4rl import read_d4rl

        return read_d4rl(path, choices.episode_steps)
    return read_dara(path)


def _writer(to: Target) -> Callable[[Path, DataSetInfo, Iterable[Rows]], None]:
    if to == "minari":
        from .policies.minari_files import write_minari

        return write_minari
    if to == "d4rl":
        from .policies.d4rl import write_d4rl

        return write_d4rl
    return write_dara


def _common_header(inputs: Sequence[Path], readings: Sequence[Reading], choices: Choices) -> DataSetInfo:
    """One header for all inputs, with what the user says over it.

    Raises:
        UserError: an input is of another robot, task or domain.
    """
    infos = [reading.info for reading in readings]
    for path, info in zip(inputs, infos, strict=True):
        check_same_task(infos[0], info, f"{inputs[0]} and {path}")
        if info.domain != infos[0].domain and choices.domain is None:
            raise UserError(f"{inputs[0]} and {path} are of different domains: say which one with --domain")
    joined = joined_info(infos)
    return replace(joined, world=choices.world or joined.world, domain=choices.domain or joined.domain)


def _check_out(out: Path, to: Target, overwrite: bool) -> None:
    """Refuse to write over what is there, or over what is none of ours."""
    if not out.exists():
        return
    if not overwrite:
        raise UserError(f"{out}: exists already: choose another name, or give --overwrite")
    fits = (out / "data" / "metadata.json").is_file() if to == "minari" else out.is_file()
    if not fits:
        raise UserError(f"{out}: is no {to} data set that could be replaced: choose another name")
