"""What a robot says and what it is told: frozen arrays in SI units, REP-103 frames, quaternions xyzw.

Joint arrays have shape (12,) in the canonical order of the RobotSpec; stamps are integer nanoseconds on
the robot's clock.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RobotState:
    """One sample of everything that the robot measures.

    `linear_acceleration` is the specific force, averaged over the control period that ends at `stamp`.
    `position` is the base in the odometry frame: leg odometry, an estimator, or the truth in simulation;
    None where nobody estimates it.
    """

    stamp: int
    joint_positions: Array  # (12,) rad
    joint_velocities: Array  # (12,) rad/s
    joint_torques: Array  # (12,) N m
    orientation: Array  # (4,) xyzw, body in the world
    angular_velocity: Array  # (3,) rad/s, body frame
    linear_acceleration: Array  # (3,) m/s^2, body frame
    foot_forces: Array  # (4,) N
    position: Array | None = None  # (3,) m

    def is_finite(self) -> bool:
        """Whether every measured number is finite."""
        measured = np.concatenate(
            (
                self.joint_positions,
                self.joint_velocities,
                self.joint_torques,
                self.orientation,
                self.angular_velocity,
                self.linear_acceleration,
                self.foot_forces,
            )
        )
        return bool(np.isfinite(measured).all())


@dataclass(frozen=True, eq=False)
class JointCommand:
    """What a controller asks for: position targets. `stamp` IS the stamp of the state that it answers."""

    stamp: int
    positions: Array  # (12,) rad


@dataclass(frozen=True, eq=False)
class MotorCommand:
    """What the supervisor lets through to the motors: torque = kp * (positions - q) - kd * dq."""

    positions: Array  # (12,) rad
    kp: float  # N m/rad
    kd: float  # N m s/rad


def up_in_body(orientation: Array) -> Array:
    """World's up axis in the body frame, (3,): the third row of an xyzw quaternion's matrix."""
    x, y, z, w = orientation
    return np.array([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)])


def yaw_of(orientation: Array) -> float:
    """Heading of an xyzw quaternion, rad, REP-103 (counter-clockwise from x)."""
    x, y, z, w = orientation
    return float(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)))
