"""Robots and states that the tests of hardware/ share."""

from collections.abc import Callable

import numpy as np
import pytest

from dara_ros.hardware.spec import RobotSpec, load_robot, robot_names
from dara_ros.hardware.state import RobotState


@pytest.fixture(scope="session")
def a1() -> RobotSpec:
    return load_robot("a1")


@pytest.fixture(scope="session", params=robot_names())
def robot(request: pytest.FixtureRequest) -> RobotSpec:
    """Every robot that comes with the package."""
    return load_robot(request.param)


@pytest.fixture
def standing(a1: RobotSpec) -> Callable[..., RobotState]:
    """Makes states of an A1 that stands still and level; keyword arguments replace fields."""

    def state(**changes: object) -> RobotState:
        fields = {
            "stamp": 0,
            "joint_positions": a1.stand_pose,
            "joint_velocities": np.zeros(12),
            "joint_torques": np.zeros(12),
            "orientation": np.array([0.0, 0.0, 0.0, 1.0]),
            "angular_velocity": np.zeros(3),
            "linear_acceleration": np.array([0.0, 0.0, 9.81]),
            "foot_forces": np.full(4, 30.0),
            "position": np.zeros(3),
        }
        return RobotState(**(fields | changes))

    return state
