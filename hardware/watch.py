"""What only one control period after the other can tell: readings that freeze, a joint that sticks.

Beside `safety.fault`, which sees one state, and which decides what a fall is: what is found here damps the
robot as well, but ends no episode of a data set as a failure.
"""

import numpy as np

from .spec import RobotSpec
from .state import Array, RobotState

SENSORS = {
    "encoders": ("joint_positions", "joint_velocities", "joint_torques"),
    "IMU": ("orientation", "angular_velocity", "linear_acceleration"),
}
STILL = 0.02  # rad; ten standard deviations of an encoder's noise are no motion
SLOW = 0.5  # rad/s, likewise


class Watch:
    """Compares what an energised robot measures with what its motors were told, period by period.

    Args:
        state: the one in which the motors are energised.

    Attributes:
        state: the last one.
        missed: (12,) control periods that each joint has rested since its target went elsewhere.
    """

    def __init__(self, spec: RobotSpec, state: RobotState) -> None:
        self._spec = spec
        self._timeout_ns = round(spec.safety.command_timeout * 1e9)
        self.state = state
        self._target = state.joint_positions
        self._frozen = dict.fromkeys(SENSORS, 0)  # periods without a new reading, since a target moved
        self._rest = self._target, self._target  # where each joint rested last, and its target then
        self.missed = np.zeros(len(self._target), int)

    def problem(self, state: RobotState, target: Array) -> str:
        """Why the robot must be damped, one line; empty where all is well.

        Args:
            target: (12,) rad, what the motors held in the period that ends with `state`.
        """
        # Their stamps, not the calls: a host that is too slow sees one state of several.
        periods = max(1, round((state.stamp - self.state.stamp) / self._spec.period_ns))
        problem = self._frozen_readings(state, target, periods) or self._stuck_joint(state, target, periods)
        self.state, self._target = state, target
        return problem

    def _frozen_readings(self, state: RobotState, target: Array, periods: int) -> str:
        """Stamps that go on do not prove that anybody measures.

        Noise makes two equal readings of a real robot impossible; one simulated without noise may stand
        still for ever, so periods count from the first in which it was told to move.
        """
        told_to_move = bool((target != self._target).any())
        for sensor, fields in SENSORS.items():
            same = all((getattr(self.state, field) == getattr(state, field)).all() for field in fields)
            counts = told_to_move or self._frozen[sensor] > 0
            self._frozen[sensor] = self._frozen[sensor] + periods * counts if same else 0
            frozen = self._frozen[sensor] * self._spec.period_ns
            if frozen >= self._timeout_ns:
                return f"no new reading of the {sensor} for {frozen / 1e6:.0f} ms"
        return ""

    def _stuck_joint(self, state: RobotState, target: Array, periods: int) -> str:
        """A joint that rests although its target went elsewhere, whether or not the target came back since.

        The target is compared with what it was when the joint came to rest, not with the joint: one that
        bears the robot's weight rests beside its target, and that is no fault.
        """
        safety, (position, aim) = self._spec.safety, self._rest
        resting = np.abs(state.joint_positions - position) <= STILL
        resting &= np.abs(state.joint_velocities) <= SLOW
        ignores = (self.missed > 0) | (np.abs(target - aim) > safety.stuck_change)
        begins = ignores & (self.missed == 0)
        self.missed = np.where(resting, self.missed + periods * ignores, 0)
        # It has to move from where it is when its target goes: before, it may have crept away from its rest.
        stays = resting & ~begins
        self._rest = np.where(stays, position, state.joint_positions), np.where(resting, aim, target)
        joint = int(np.argmax(self.missed))
        stuck = int(self.missed[joint]) * self._spec.period_ns
        if stuck < round(safety.stuck_time * 1e9):
            return ""
        return f"{self._spec.joint_names[joint]} sticks: it ignored its target for {stuck / 1e6:.0f} ms"
