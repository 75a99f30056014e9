"""Attitude helpers by hand, and what counts as finite."""

from collections.abc import Callable

import numpy as np
import pytest

from dara_ros.hardware.state import RobotState, up_in_body, yaw_of

MEASURED = (
    "joint_positions",
    "joint_velocities",
    "joint_torques",
    "orientation",
    "angular_velocity",
    "linear_acceleration",
    "foot_forces",
)


def about(axis: tuple[float, float, float], angle: float) -> np.ndarray:
    """Quaternion xyzw of a turn by `angle` about a unit axis."""
    return np.array([*(np.sin(angle / 2) * np.array(axis)), np.cos(angle / 2)])


def times(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Hamilton product of xyzw quaternions: first q, then p."""
    vector = p[3] * q[:3] + q[3] * p[:3] + np.cross(p[:3], q[:3])
    return np.array([*vector, p[3] * q[3] - p[:3] @ q[:3]])


@pytest.mark.parametrize(
    ("orientation", "up"),
    [
        (about((1, 0, 0), 0.0), (0, 0, 1)),
        (about((0, 0, 1), 1.2), (0, 0, 1)),  # yaw does not tilt
        (about((1, 0, 0), np.pi / 2), (0, 1, 0)),  # rolled onto its right side: the left points up
        (about((0, 1, 0), np.pi / 2), (-1, 0, 0)),  # nose down: the tail points up
        (about((1, 0, 0), np.pi), (0, 0, -1)),
    ],
)
def test_up_in_body(orientation: np.ndarray, up: tuple[float, float, float]) -> None:
    np.testing.assert_allclose(up_in_body(orientation), up, atol=1e-15)


def test_yaw_is_found_below_any_tilt() -> None:
    for yaw in np.linspace(-3.1, 3.1, 7):
        tilt = times(about((0, 1, 0), 0.4), about((1, 0, 0), -0.3))
        assert yaw_of(times(about((0, 0, 1), yaw), tilt)) == pytest.approx(yaw, abs=1e-12)


def test_a_quaternion_and_its_negative_are_one_attitude() -> None:
    q = times(about((0, 0, 1), 0.7), about((1, 0, 0), 0.2))
    assert yaw_of(q) == pytest.approx(yaw_of(-q))
    np.testing.assert_allclose(up_in_body(q), up_in_body(-q))


@pytest.mark.parametrize("field", MEASURED)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_bad_number_anywhere_is_not_finite(
    standing: Callable[..., RobotState], field: str, value: float
) -> None:
    good = standing()
    assert good.is_finite()
    broken = getattr(good, field).copy()
    broken[-1] = value
    assert not standing(**{field: broken}).is_finite()


def test_a_missing_position_is_no_fault(standing: Callable[..., RobotState]) -> None:
    assert standing(position=None).is_finite()
