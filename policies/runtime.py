"""The policy file on the robot: load, check, run. Needs numpy and onnxruntime only.

Metadata are `metadata_props` of the ONNX file, JSON values with full float precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ObservationField:
    """A named part of the observation; the policy sees raw value * scale."""

    name: str
    size: int
    scale: tuple[float, ...]  # one per column
    unit: str


@dataclass(frozen=True)
class PolicyMetadata:
    """What a policy file says of itself; SI units, joints by name."""

    robot: str
    joint_names: tuple[str, ...]
    stand_pose: tuple[float, ...]  # rad, per joint
    action_scale: tuple[float, ...]  # rad per unit of action, per joint
    kp: tuple[float, ...]  # N m / rad, per joint
    kd: tuple[float, ...]  # N m s / rad, per joint
    control_period: float  # s
    observation: tuple[ObservationField, ...]
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    algorithm: str
    eta: float
    data_set_hashes: Mapping[str, str]  # {"source": sha256, "target": sha256}
    spec_hash: str
    task_hash: str
    version: str  # of dara_ros
    # A few pairs that the trained network gave; filled in by export_policy.
    golden_observations: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))  # (G, S)
    golden_actions: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))  # (G, A)

    @classmethod
    def from_task(
        cls,
        task: Mapping[str, Any],
        *,
        robot: str,
        control_period: float,
        spec_hash: str,
        task_hash: str,
        algorithm: str,
        eta: float,
        data_set_hashes: Mapping[str, str],
    ) -> PolicyMetadata:
        """From ``DataSetInfo.task``: joint_names, stand_pose, action_scale, kp, kd, action_low, action_high
        (a number stands for all joints) and observation: [{name, size, scale, unit}, ...]."""
        raise NotImplementedError
