"""What drives a robot: the trot, random residuals, a shipped behaviour, or any policy file."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import UserError
from .hardware.spec import RobotSpec
from .hardware.task import ACTION_SIZE, FIELDS, WalkingTask

if TYPE_CHECKING:
    from .policies.runtime import Policy

LARGEST_NOISE = 1.0  # standard deviation on actions, which lie in [-1, 1]
BEHAVIOURS = Path(__file__).resolve().parent / "sim" / "behaviours"

ActionSource = Callable[[np.ndarray], np.ndarray]
"""Observation (S,) float32 -> action (A,) float64, not yet clipped."""


def shipped_behaviours(robot: str) -> list[str]:
    """Names of the learned behaviours that come with the package for one robot."""
    return sorted(path.stem.removeprefix(f"{robot}_") for path in BEHAVIOURS.glob(f"{robot}_*.onnx"))


def behaviour_path(behaviour: str, robot: str) -> Path:
    """The ONNX file of a learned behaviour: shipped ones by name, others by path.

    Raises:
        UserError: there is no such file.
    """
    shipped = BEHAVIOURS / f"{robot}_{behaviour}.onnx"
    path = shipped if shipped.is_file() else Path(behaviour)
    if not path.is_file():
        known = ", ".join(("trot", "random", *shipped_behaviours(robot)))
        raise UserError(f"{behaviour}: no such behaviour or ONNX file; known behaviours: {known}")
    return path


def action_source(behaviour: str, task: WalkingTask, rng: np.random.Generator) -> ActionSource:
    """What gives the actions of a behaviour.

    Args:
        behaviour: `trot` (zero action), `random` (uniform, from `rng`), a shipped one, or an ONNX file.

    Raises:
        UserError: there is no such behaviour, or the policy file is damaged or does not fit the robot.
    """
    if behaviour == "trot":
        return lambda observation: np.zeros(ACTION_SIZE)
    if behaviour == "random":
        return lambda observation: rng.uniform(-1.0, 1.0, ACTION_SIZE)
    policy = _load_policy(behaviour_path(behaviour, task.spec.name), task.spec)
    return lambda observation: np.asarray(policy(observation), np.float64)


def _load_policy(path: Path, spec: RobotSpec) -> Policy:
    """A policy that fits; loaded once for as long as the file stays the same."""
    from .policies.runtime import ObservationField

    task = WalkingTask(spec)
    policy = _load_file(path, path.stat().st_mtime_ns)
    policy.require(
        robot=spec.name,
        joint_names=spec.joint_names,
        control_period=spec.control_period,
        observation=[ObservationField(field.name, field.size, field.scale, field.unit) for field in FIELDS],
        task_hash=task.hash(),
        spec_hash=spec.hash,
    )
    return policy


@lru_cache(maxsize=8)
def _load_file(path: Path, changed: int) -> Policy:
    from .policies.runtime import Policy

    return Policy.load(path)
