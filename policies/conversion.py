"""What data sets of other formats are read into and written from: blocks of whole rows, and a header.

Every reader gives a :class:`Reading`, every writer takes its header and blocks:

    reading = read_d4rl("hopper_medium.hdf5")
    write_dara("hopper.h5", reading.info, end_episodes(reading.blocks))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from ..errors import UserError
from .dataset import DataSet
from .dataset_format import FLAG_COLUMNS, FLOAT_COLUMNS, DataSetInfo, Transition
from .dataset_writer import DataSetWriter
from .whole_files import replaced_when_whole

BLOCK_ROWS = 8192
NO_ROBOT = "none"  # of data without a robot: no controller takes a policy that was trained on it


@dataclass(frozen=True, eq=False)
class Rows:
    """B whole rows in order: floats as float32, flags as bool."""

    observations: np.ndarray  # (B, S)
    actions: np.ndarray  # (B, A)
    rewards: np.ndarray  # (B,)
    next_observations: np.ndarray  # (B, S)
    terminals: np.ndarray  # (B,) failures
    timeouts: np.ndarray  # (B,) ends of episodes that are none
    infos: Mapping[str, np.ndarray] = field(default_factory=dict)  # name -> (B, ...)

    def __len__(self) -> int:
        return len(self.rewards)

    def take(self, selection: slice | np.ndarray) -> Rows:
        """Some of the rows."""
        return Rows.of({name: values[selection] for name, values in self.columns().items()})

    def columns(self) -> dict[str, np.ndarray]:
        """Name -> array, as the columns of a file: observations, ..., infos/stamp, ..."""
        core = {name: getattr(self, name) for name in (*FLOAT_COLUMNS, *FLAG_COLUMNS)}
        return core | {f"infos/{name}": values for name, values in self.infos.items()}

    @staticmethod
    def of(columns: Mapping[str, np.ndarray]) -> Rows:
        """From what `columns` gives."""
        core = {name: values for name, values in columns.items() if not name.startswith("infos/")}
        return Rows(**core, infos={n.removeprefix("infos/"): v for n, v in columns.items() if n not in core})

    @staticmethod
    def of_transitions(transitions: Sequence[Transition]) -> Rows:
        """One row each; there is at least one, and all have the same infos."""
        return Rows(
            np.array([t.observation for t in transitions], np.float32),
            np.array([t.action for t in transitions], np.float32),
            np.array([t.reward for t in transitions], np.float32),
            np.array([t.next_observation for t in transitions], np.float32),
            np.array([t.terminal for t in transitions], bool),
            np.array([t.timeout for t in transitions], bool),
            {name: np.array([t.infos[name] for t in transitions]) for name in transitions[0].infos},
        )

    @staticmethod
    def joined(parts: Sequence[Rows]) -> Rows:
        """All rows of all parts, which have the same infos."""
        columns = [part.columns() for part in parts]
        return Rows.of({name: np.concatenate([c[name] for c in columns]) for name in columns[0]})


@dataclass(frozen=True, eq=False)
class Reading:
    """A data set of whatever format while it is read.

    Attributes:
        info: its header.
        total: rows to come, or more: for a progress bar.
        blocks: the rows, once; episodes may go on from one block to the next.
        notes: what the user should know of what was left behind; complete when `blocks` is exhausted.
    """

    info: DataSetInfo
    total: int
    blocks: Iterator[Rows]
    notes: list[str]


def robotless_info(
    observation_size: int, action_size: int, world: str, domain: Literal["source", "target"], made_by: str
) -> DataSetInfo:
    """The header of data that no robot of ours is behind; a policy can be trained on it all the same.

    Its control period, which nobody told, stands as 1 s: one step.
    """
    return DataSetInfo(
        robot=NO_ROBOT,
        world=world,
        domain=domain,
        control_period=1.0,
        observation_names=tuple(f"observation.{i}" for i in range(observation_size)),
        action_names=tuple(f"action.{i}" for i in range(action_size)),
        spec_hash="",
        task_hash="",
        task={
            **{name: [] for name in ("joint_names", "stand_pose", "action_scale", "kp", "kd")},
            "action_low": [-1.0] * action_size,
            "action_high": [1.0] * action_size,
            "observation": [{"name": "observation", "size": observation_size, "scale": 1.0, "unit": ""}],
        },
        made_by=made_by,
    )


# -- episodes ---------------------------------------------------------------------------------------------


def end_episodes(blocks: Iterable[Rows]) -> Iterator[Rows]:
    """The same rows with every episode's end flagged: a timeout also where the next row begins elsewhere.

    Formats without next observations take the next row's observation for s'. So a row whose s' it is not ends
    its episode, as does the last row of all. A terminal row is no timeout.
    """
    previous: Rows | None = None
    for block in blocks:
        if len(block) == 0:
            continue
        if previous is not None:
            yield _ended(previous, block.observations[0])
        previous = block
    if previous is not None:
        yield _ended(previous, None)


def _ended(rows: Rows, following: np.ndarray | None) -> Rows:
    timeouts = rows.timeouts.copy()
    timeouts[:-1] |= (rows.next_observations[:-1] != rows.observations[1:]).any(axis=1)
    timeouts[-1] |= following is None or bool((rows.next_observations[-1] != following).any())
    return replace(rows, timeouts=timeouts & ~rows.terminals)


def episodes(blocks: Iterable[Rows]) -> Iterator[Rows]:
    """One block per episode, of blocks whose last row ends one."""
    parts: list[Rows] = []
    for block in blocks:
        start = 0
        for end in (np.flatnonzero(block.terminals | block.timeouts) + 1).tolist():
            yield Rows.joined([*parts, block.take(slice(start, end))])
            parts, start = [], end
        if start < len(block):
            parts.append(block.take(slice(start, None)))


def check_finite(rows: Rows, first: int, path: str | Path) -> None:
    """Refuse NaN and infinity.

    Args:
        first: number of the first row.

    Raises:
        UserError: naming the column and the row.
    """
    for name, values in rows.columns().items():
        if values.dtype.kind != "f" or np.isfinite(values).all():
            continue
        row = first + int(np.argwhere(~np.isfinite(values))[0][0])
        raise UserError(
            f"{path}: column {name} is NaN or infinite in row {row}, or too large for float32: "
            "mend it with what made the file"
        )


# -- our own format ---------------------------------------------------------------------------------------


def read_dara(path: str | Path) -> Reading:
    """A data set file of ours, closed, alive or killed.

    Raises:
        UserError: it cannot be read.
    """
    with DataSet(path) as data:
        info, total = data.info, len(data)
    return Reading(info, total, _dara_blocks(path), [])


def _dara_blocks(path: str | Path) -> Iterator[Rows]:
    with DataSet(path) as data:
        for start in range(0, len(data), BLOCK_ROWS):
            stop = start + BLOCK_ROWS
            rows = Rows.of({name: data.column(name, start, stop) for name in data.column_names()})
            check_finite(rows, start, path)
            yield rows


def write_dara(path: Path, info: DataSetInfo, blocks: Iterable[Rows]) -> None:
    """A data set file of ours, in place of `path` when it is whole.

    Raises:
        UserError: it cannot be written.
    """
    with replaced_when_whole(path) as to, DataSetWriter(to, info, overwrite=True) as writer:
        for rows in blocks:
            writer.extend(**vars(rows))
