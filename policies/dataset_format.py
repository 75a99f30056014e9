"""What one data set file says: its header, one row of it, one batch of it.

The file is flat HDF5 with D4RL's keys, so that any offline RL library opens it:

    observations (N,S) f32    actions (N,A) f32    rewards (N) f32    next_observations (N,S) f32
    terminals (N) bool        timeouts (N) bool    infos/* (N,...)
    meta/committed_rows () int64                   meta/lost_rows () int64

Root attributes hold :class:`DataSetInfo`. ``meta/committed_rows`` is written last of all: rows beyond it
belong to a write that was cut short (or to a discarded episode) and do not count. ``meta/lost_rows`` counts
what was walked while the file was written and is in no file; files of the first versions lack it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np

from .. import __version__
from ..errors import UserError

SCHEMA_VERSION = 1
COMMITTED_ROWS = "meta/committed_rows"
LOST_ROWS = "meta/lost_rows"
FLOAT_COLUMNS = ("observations", "actions", "rewards", "next_observations")
FLAG_COLUMNS = ("terminals", "timeouts")


@dataclass(frozen=True)
class DataSetInfo:
    """The header of a data set: which robot, which world, what every column means.

    Raises:
        UserError: on construction, where a field has the wrong type or makes no sense.
    """

    robot: str
    world: str
    domain: Literal["source", "target"]
    control_period: float  # s
    observation_names: tuple[str, ...]  # one per column of S, in order
    action_names: tuple[str, ...]  # one per column of A, in order
    spec_hash: str  # of the RobotSpec
    task_hash: str  # of the observation, action and reward definitions
    # Goes on into the policy file: see runtime.PolicyMetadata.from_task for its keys.
    task: dict[str, Any] = field(default_factory=dict)
    made_by: str = ""  # command, seed, behaviour policy

    def __post_init__(self) -> None:
        for name in ("robot", "world", "spec_hash", "task_hash", "made_by"):
            if not _is_text(getattr(self, name)):
                raise UserError(f"data set info: {name} must be a string, not {getattr(self, name)!r}")
        if self.domain not in ("source", "target"):
            raise UserError(f"data set info: domain must be 'source' or 'target', not {self.domain!r}")
        period = self.control_period
        if not isinstance(period, int | float) or not math.isfinite(period) or period <= 0:
            raise UserError(f"data set info: control_period must be positive seconds, not {period!r}")
        for name in ("observation_names", "action_names"):
            names = tuple(getattr(self, name))
            object.__setattr__(self, name, names)
            if not names or not all(_is_text(n) and n for n in names) or len(set(names)) != len(names):
                raise UserError(f"data set info: {name} must be distinct, non-empty strings, one per column")
        try:
            # Round trip, so that what is in memory equals what a reader of the file will see.
            object.__setattr__(self, "task", json.loads(json.dumps(self.task, allow_nan=False)))
        except (TypeError, ValueError) as error:
            raise UserError(f"data set info: task must be plain JSON values ({error})") from error

    @property
    def observation_size(self) -> int:
        """S, the width of an observation."""
        return len(self.observation_names)

    @property
    def action_size(self) -> int:
        """A, the width of an action."""
        return len(self.action_names)


@dataclass(frozen=True)
class Transition:
    """One step of the MDP, (s, a, r, s').

    ``terminal`` is a failure (no value beyond it); ``timeout`` only cuts the episode (the value goes on).
    ``infos`` are further columns; their names, shapes and types are fixed by the first row of a file.
    """

    observation: np.ndarray  # (S,)
    action: np.ndarray  # (A,)
    reward: float
    next_observation: np.ndarray  # (S,), never the next episode's first state
    terminal: bool = False
    timeout: bool = False
    infos: Mapping[str, np.ndarray | float | int] = field(default_factory=dict)


@dataclass
class Batch:
    """B rows of a data set, float32 but for the flags."""

    observations: np.ndarray  # (B, S)
    actions: np.ndarray  # (B, A)
    rewards: np.ndarray  # (B,)
    next_observations: np.ndarray  # (B, S)
    terminals: np.ndarray  # (B,) bool: failures only

    def __len__(self) -> int:
        return len(self.rewards)


@dataclass(frozen=True)
class ColumnStatistics:
    """Per-column figures of an (N, D) array, float64, each (D,); ``std`` is the population's."""

    mean: np.ndarray
    std: np.ndarray
    minimum: np.ndarray
    maximum: np.ndarray


def _is_text(value: Any) -> bool:
    """Whether it is a string that a file can hold; what HDF5 reads from a damaged one may not be."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def info_to_attributes(info: DataSetInfo) -> dict[str, Any]:
    """The root attributes that hold ``info``: strings, numbers, lists of strings; the task as JSON."""
    attributes: dict[str, Any] = {f.name: getattr(info, f.name) for f in fields(info)}
    attributes["observation_names"] = list(info.observation_names)
    attributes["action_names"] = list(info.action_names)
    attributes["task"] = json.dumps(info.task)
    return {"schema_version": SCHEMA_VERSION, "dara_ros_version": __version__, **attributes}


def info_from_attributes(attributes: Mapping[str, Any], path: str) -> DataSetInfo:
    """Read the header back.

    Raises:
        UserError: the attributes are missing, damaged, or of another schema version.
    """
    if "schema_version" not in attributes:
        raise UserError(
            f"{path}: is HDF5, but not a dara_ros data set (no schema_version): "
            f"make it one with `dara convert {path} --out NEW.h5`, if it is in D4RL's layout"
        )
    version = attributes["schema_version"]
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{path}: has data set schema version {version}, this dara_ros reads {SCHEMA_VERSION}: "
            f"use the dara_ros that wrote it ({attributes.get('dara_ros_version', 'unknown')})"
        )
    values: dict[str, Any] = {}
    for entry in fields(DataSetInfo):
        if entry.name not in attributes:
            raise UserError(f"{path}: the header lacks {entry.name!r}: record or collect the file anew")
        values[entry.name] = attributes[entry.name]
    try:
        values["control_period"] = float(values["control_period"])
        values["task"] = json.loads(values["task"])
        values["observation_names"] = tuple(map(str, values["observation_names"]))
        values["action_names"] = tuple(map(str, values["action_names"]))
        return DataSetInfo(**values)
    except (TypeError, ValueError, UserError) as error:
        raise UserError(f"{path}: damaged header ({error}): record or collect the file anew") from error


def first_difference(left: Sequence[str], right: Sequence[str]) -> str:
    """Where two lists of names part, in words; empty where they are the same."""
    for index, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return f"column {index} is {a!r} in one and {b!r} in the other"
    if len(left) != len(right):
        return f"{len(left)} columns in one and {len(right)} in the other"
    return ""
