"""Policies and states that the tests of the ROS layer share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs the ROS client library: pip install 'dara_ros[ros]'")

from running_nodes import write_linear_policy

from dara_ros.hardware.spec import RobotSpec, load_robot
from dara_ros.hardware.state import RobotState
from dara_ros.hardware.task import WalkingTask

MILD, WILD = 0.1, 1.5  # scales of a random linear policy: it walks, and it falls within 30 steps


@pytest.fixture(scope="session")
def a1() -> RobotSpec:
    return load_robot("a1")


@pytest.fixture(scope="session")
def task(a1: RobotSpec) -> WalkingTask:
    return WalkingTask(a1)


@pytest.fixture
def state_at(a1: RobotSpec) -> Callable[[int], RobotState]:
    """States of an A1 that stands and sways a little: a different one for every stamp."""

    def state(stamp: int) -> RobotState:
        rng = np.random.default_rng(stamp)
        return RobotState(
            stamp=stamp,
            joint_positions=a1.stand_pose + 0.01 * rng.standard_normal(12),
            joint_velocities=0.1 * rng.standard_normal(12),
            joint_torques=rng.standard_normal(12),
            orientation=np.array([0.0, 0.0, 0.0, 1.0]),
            angular_velocity=0.1 * rng.standard_normal(3),
            linear_acceleration=np.array([0.0, 0.0, 9.81]) + 0.1 * rng.standard_normal(3),
            foot_forces=np.array([30.0, 0.0, 0.0, 30.0]),
            position=np.array([1e-9 * stamp, 0.0, 0.3]),
        )

    return state


@pytest.fixture(scope="session")
def mild_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_linear_policy(tmp_path_factory.mktemp("mild") / "mild.onnx", MILD)


@pytest.fixture(scope="session")
def wild_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_linear_policy(tmp_path_factory.mktemp("wild") / "wild.onnx", WILD)


@pytest.fixture
def policy_copy(mild_policy: Path, tmp_path: Path) -> Path:
    """One to spoil."""
    return Path(shutil.copy(mild_policy, tmp_path / "policy.onnx"))
