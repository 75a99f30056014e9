"""From the robot's packets, some hundred a second, to one RobotState per control period.

No I/O and no clock of its own: times come in as arguments (ns of a monotonic clock).
"""

from collections import deque

import numpy as np

from ..state import Array, RobotState
from .wire import LowState

TICKS = 2**32  # the robot's clock wraps here


class StateBuffer:
    """Keeps the newest state and stamps it on a grid of control periods that begins with the first `take`.

    The stamp is that of the control period in which the state CAME: without a new one it stands still, and
    the supervisor counts that. So consecutive periods are exactly one period apart, as the logger wants
    them, though neither the reader nor the packets are ever exactly in time.

    Attributes:
        repeated: packets that were no news: the robot's clock stood still or went back in them.
    """

    def __init__(self, period_ns: int, samples: int, epoch: int) -> None:
        """
        Args:
            period_ns: control period.
            samples: packets in it, over which the acceleration is averaged at most.
            epoch: stamp of the first `take`, ns.
        """
        self.repeated = 0
        self._period = period_ns
        self._epoch = epoch
        self._origin: int | None = None  # time of the first take
        self._newest: LowState | None = None
        self._received = 0  # when it came
        self._accelerations: deque[Array] = deque(maxlen=samples)  # since the last state that was taken
        self._taken: RobotState | None = None

    def add(self, state: LowState, received: int) -> None:
        """A state that came at `received`."""
        if self._newest is not None and not 0 < (state.tick - self._newest.tick) % TICKS < TICKS // 2:
            self.repeated += 1
            return
        self._newest, self._received = state, received
        self._accelerations.append(state.linear_acceleration)

    def take(self, now: int) -> RobotState:
        """The newest state; the one that was taken before where none has come in this control period.

        Raises:
            LookupError: no state has come yet.
        """
        if self._newest is None:
            raise LookupError("no state has come yet")
        if self._origin is None:
            self._origin = now
        period = (self._received - self._origin + self._period // 2) // self._period
        stamp = self._epoch + period * self._period
        if self._taken is None or stamp > self._taken.stamp:
            self._taken = _robot_state(self._newest, stamp, np.mean(self._accelerations, axis=0))
            self._accelerations.clear()
        return self._taken


def _robot_state(state: LowState, stamp: int, acceleration: Array) -> RobotState:
    return RobotState(
        stamp=stamp,
        joint_positions=state.joint_positions,
        joint_velocities=state.joint_velocities,
        joint_torques=state.joint_torques,
        orientation=state.orientation,
        angular_velocity=state.angular_velocity,
        linear_acceleration=acceleration,
        foot_forces=state.foot_forces,
    )
