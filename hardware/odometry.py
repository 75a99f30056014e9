"""Where the robot is, from its legs and its IMU: for robots that do not say it themselves.

    odometry = advance(spec, odometry, state)  # every control period; None before the first

The odometry frame is the IMU's, level, with its origin under the base at the beginning: so `position` and
`orientation` of a state belong together, as the task's forward velocity needs it. It drifts, for a foot that
slips is taken for one that stands; and all the more where the feet are not calibrated.
"""

from dataclasses import dataclass

import numpy as np

from .kinematics import leg_height, leg_velocity
from .spec import RobotSpec
from .state import Array, RobotState, up_in_body

GRAVITY = np.array([0.0, 0.0, 9.81])  # m/s^2
# The accelerometer knows how fast a step is, the legs how fast the walk is: it is believed for so long.
LEGS_TIME = 0.3  # s
FLIGHT_TIME = 1.0  # s likewise, where no foot stands: then the robot is taken to come to rest
LONGEST_STEP = 0.1  # s between two states; after more, nobody knows what happened in between


@dataclass(frozen=True, eq=False)
class Odometry:
    """Where the base was at `stamp` (ns), and how fast."""

    stamp: int
    position: Array  # (3,) m
    velocity: Array  # (3,) m/s, in the odometry frame


def _begin(spec: RobotSpec, state: RobotState) -> Odometry:
    """At rest at the origin, as high above the lowest foot as the joints say."""
    height = leg_height(spec, state, up_in_body(state.orientation))
    return Odometry(state.stamp, np.array([0.0, 0.0, height]), np.zeros(3))


def advance(spec: RobotSpec, before: Odometry | None, state: RobotState) -> Odometry | None:
    """Odometry at `state`; that `before` it where the state is not finite or not newer."""
    if not state.is_finite():
        return before
    if before is None:
        return _begin(spec, state)
    dt = 1e-9 * (state.stamp - before.stamp)
    if dt <= 0.0:
        return before
    if dt > LONGEST_STEP:
        return Odometry(state.stamp, before.position, np.zeros(3))
    to_world = _matrix(state.orientation)
    velocity = before.velocity + dt * (to_world @ state.linear_acceleration - GRAVITY)
    legs = leg_velocity(spec, state)
    if legs is None:
        velocity -= dt / FLIGHT_TIME * velocity
    else:
        velocity += dt / LEGS_TIME * (to_world @ legs - velocity)
    return Odometry(state.stamp, before.position + dt * velocity, velocity)


def _matrix(orientation: Array) -> Array:
    """Rotation (3, 3) from the body to the world."""
    x, y, z, w = orientation
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
