"""The walking task of the MDP: observation, action, reward. A fall is what `safety.fault` says.

The one implementation that the simulator, the logger and the controller share, and it uses only what a
real robot measures. A `Walk` is what one walk has to remember; every function here is pure.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .kinematics import leg_velocity, trot
from .spec import RobotSpec
from .state import Array, JointCommand, RobotState, up_in_body, yaw_of

WINDOW = 10  # control periods over which forward velocity is averaged
VELOCITY_WEIGHT = 2.0  # per m/s
POWER_WEIGHT = 0.001  # per W
TILT_WEIGHT = 2.0  # per 1 - cos(tilt)
# A fall ends the walk. With DARA's default dose (eta 0.1, |delta r| <= 10, gamma 0.99) staying upright can
# lose at most eta * 10 / (1 - gamma) = 100 to the augmentation: falling must cost at least that.
FALL_PENALTY = 100.0


@dataclass(frozen=True)
class Field:
    """One field of the observation: `scale` multiplies a value in `unit`."""

    name: str
    size: int
    scale: float
    unit: str


FIELDS = (
    Field("up", 3, 1.0, "1"),
    Field("heading", 1, 1.0, "rad"),
    Field("angular_velocity", 3, 0.25, "rad/s"),
    Field("base_velocity", 3, 1.0, "m/s"),
    Field("specific_force", 3, 0.1, "m/s^2"),
    Field("joint_position", 12, 1.0, "rad"),
    Field("joint_velocity", 12, 0.1, "rad/s"),
    Field("last_action", 12, 1.0, "1"),
    Field("foot_contact", 4, 1.0, "1"),
    Field("gait_phase", 2, 1.0, "1"),
)
OBSERVATION_SIZE = sum(field.size for field in FIELDS)
ACTION_SIZE = 12


@dataclass(frozen=True, eq=False)
class Walk:
    """What one walk has to remember.

    Attributes:
        heading: yaw where the walk began, rad; forward is this direction.
        last_action: (12,) zeros at the beginning.
        base_velocity: (3,) m/s, leg odometry; the last estimate while no foot stands.
        forward: m along the heading, the newest last, at most WINDOW + 1; empty without odometry.
    """

    heading: float
    last_action: Array
    base_velocity: Array
    forward: tuple[float, ...]


class WalkingTask:
    """The task for one robot."""

    def __init__(self, spec: RobotSpec) -> None:
        self.spec = spec
        self._gait_ns = round(spec.gait.period * 1e9)
        self._scales = np.concatenate([np.full(field.size, field.scale) for field in FIELDS])
        self._offset = np.zeros(OBSERVATION_SIZE)
        self._offset[13:25] = spec.stand_pose

    # -- the walk ---------------------------------------------------------------------------------

    def begin(self, state: RobotState) -> Walk:
        """A walk that begins in `state`; forward is where the robot points now."""
        walk = Walk(yaw_of(state.orientation), np.zeros(ACTION_SIZE), np.zeros(3), ())
        return self._remember(walk, state)

    def advance(self, walk: Walk, action: Array, state: RobotState) -> Walk:
        """The walk after `action` (12,) led to `state`."""
        return self._remember(replace(walk, last_action=np.asarray(action, np.float64)), state)

    def _remember(self, walk: Walk, state: RobotState) -> Walk:
        velocity = leg_velocity(self.spec, state)
        forward = walk.forward
        if state.position is not None:
            x, y = state.position[0], state.position[1]
            forward = (*forward[-WINDOW:], float(x * np.cos(walk.heading) + y * np.sin(walk.heading)))
        if velocity is None:
            velocity = walk.base_velocity
        return replace(walk, base_velocity=velocity, forward=forward)

    # -- observation ------------------------------------------------------------------------------

    def observation(self, walk: Walk, state: RobotState) -> np.ndarray:
        """Observation (55,) float32 in the order of FIELDS."""
        phase = 2 * np.pi * self._phase(state.stamp)
        raw = np.concatenate(
            (
                up_in_body(state.orientation),
                (_wrap(yaw_of(state.orientation) - walk.heading),),
                state.angular_velocity,
                walk.base_velocity,
                state.linear_acceleration,
                state.joint_positions,
                state.joint_velocities,
                walk.last_action,
                state.foot_forces > self.spec.contact_force,
                (np.sin(phase), np.cos(phase)),
            )
        )
        return ((raw - self._offset) * self._scales).astype(np.float32)

    def _phase(self, stamp: int) -> float:
        """Gait phase [0, 1) of the robot's clock: every node finds the same one without being told."""
        return (stamp % self._gait_ns) / self._gait_ns

    # -- action -----------------------------------------------------------------------------------

    def command(self, walk: Walk, state: RobotState, action: Array) -> JointCommand:
        """Joint targets for an action (12,) in [-1, 1]: the trot plus scaled residuals.

        Nothing is clipped here: limits are the supervisor's, and so the logger can undo the mapping.
        """
        return JointCommand(state.stamp, self._gait(walk, state) + self.spec.action_scales * action)

    def action(self, walk: Walk, state: RobotState, command: JointCommand) -> Array:
        """The action (12,) that `command` stands for: the inverse of `command`."""
        return (command.positions - self._gait(walk, state)) / self.spec.action_scales

    def _gait(self, walk: Walk, state: RobotState) -> Array:
        return trot(self.spec, self._phase(state.stamp), _wrap(yaw_of(state.orientation) - walk.heading))

    # -- reward -----------------------------------------------------------------------------------

    def reward(self, walk: Walk, state: RobotState, fell: bool) -> float:
        """Reward for having come to `state`: forward velocity minus power and tilt, minus a fall.

        r = 2 v - 0.001 P - 2 (1 - cos tilt) - 100 [fell], with v (m/s) averaged over the last WINDOW
        periods and P = sum |torque * velocity| (W). Needs `state.position`.
        """
        power = float(np.abs(state.joint_torques * state.joint_velocities).sum())
        tilt = 1.0 - float(up_in_body(state.orientation)[2])
        reward = VELOCITY_WEIGHT * self.forward_velocity(walk) - POWER_WEIGHT * power - TILT_WEIGHT * tilt
        return reward - FALL_PENALTY * fell

    def forward_velocity(self, walk: Walk) -> float:
        """Velocity along the heading, m/s, averaged over the last WINDOW periods or the walk so far."""
        periods = len(walk.forward) - 1
        if periods < 1:
            return 0.0
        return (walk.forward[-1] - walk.forward[0]) / (periods * self.spec.control_period)

    # -- description ------------------------------------------------------------------------------

    def description(self) -> dict[str, Any]:
        """The task as plain data, for data set and policy files: all that a policy depends on."""
        spec = self.spec
        return {
            "robot": spec.name,
            "control_period": spec.control_period,
            "joint_names": list(spec.joint_names),
            "stand_pose": spec.stand_pose.tolist(),
            "action_scale": spec.action_scales.tolist(),
            "action_low": [-1.0] * ACTION_SIZE,
            "action_high": [1.0] * ACTION_SIZE,
            "kp": [spec.gains.kp] * ACTION_SIZE,
            "kd": [spec.gains.kd] * ACTION_SIZE,
            "gait": spec.gait.model_dump(),
            "observation": [vars(field) for field in FIELDS],
            "reward": {
                "window": WINDOW,
                "velocity": VELOCITY_WEIGHT,
                "power": POWER_WEIGHT,
                "tilt": TILT_WEIGHT,
                "fall": FALL_PENALTY,
            },
        }

    def hash(self) -> str:
        """SHA-256 of the description: data and policies with the same hash fit together."""
        return hashlib.sha256(json.dumps(self.description(), sort_keys=True).encode()).hexdigest()

    def observation_names(self) -> tuple[str, ...]:
        """Column names of the observation, e.g. `joint_position.FR_hip_joint`."""
        parts = {3: ("x", "y", "z"), 4: self.spec.foot_names, 12: self.spec.joint_names, 2: ("sin", "cos")}
        return tuple(
            f"{field.name}.{part}" if part else field.name
            for field in FIELDS
            for part in parts.get(field.size, ("",))
        )

    def action_names(self) -> tuple[str, ...]:
        """Column names of the action: the joints."""
        return self.spec.joint_names


def _wrap(angle: float) -> float:
    """An angle into [-pi, pi)."""
    return float((angle + np.pi) % (2 * np.pi) - np.pi)
