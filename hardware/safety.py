"""The safety supervisor: the last thing before the motors, whoever sends the commands.

A pure state machine: no I/O and no clock of its own. `step` takes the newest state and the newest command
and returns what the motors may do; time is the stamp of the state.

    passive -> standing up -> ready -> walking -> (ready) -> sitting down -> passive
    any -> damped, which only `reset` leaves
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np

from .kinematics import leg_height
from .spec import RobotSpec
from .state import Array, JointCommand, MotorCommand, RobotState, up_in_body


class Mode(str, Enum):
    """State of the supervisor, as published on ~/state."""

    PASSIVE = "passive"
    STANDING_UP = "standing up"
    READY = "ready"
    WALKING = "walking"
    SITTING_DOWN = "sitting down"
    DAMPED = "damped"


ENERGISED = (Mode.STANDING_UP, Mode.READY, Mode.WALKING, Mode.SITTING_DOWN)


@dataclass(frozen=True, eq=False)
class Decision:
    """What the motors may do now. `clamped`: the command was changed to keep it within limits."""

    motors: MotorCommand
    mode: Mode
    clamped: bool = False


@dataclass(frozen=True, eq=False)
class _Move:
    """A straight move of all joints, from `start` at stamp `since` to `goal` within `duration` seconds."""

    start: Array
    goal: Array
    since: int
    duration: float

    def progress(self, stamp: int) -> float:
        return min((stamp - self.since) * 1e-9 / self.duration, 1.0)

    def target(self, stamp: int) -> Array:
        return self.start + self.progress(stamp) * (self.goal - self.start)


class Supervisor:
    """Decides, once per control period, what reaches the motors of one robot.

    Attributes:
        mode: the state of the machine.
        reason: why it is damped, one line; empty otherwise.
    """

    def __init__(self, spec: RobotSpec) -> None:
        self.spec = spec
        self.mode = Mode.PASSIVE
        self.reason = ""
        self._pending: Mode | None = None  # a move that begins with the next state
        self._move: _Move | None = None
        self._walking_since: int | None = None
        self._target = spec.sit_pose  # last position that the motors were given

    # -- requests: each returns an empty string, or why it is refused -----------------------------------

    def stand(self) -> str:
        """Stand up, from passive only."""
        if self.mode is not Mode.PASSIVE:
            return f"can stand up only from passive, not from {self.mode.value}"
        self.mode, self._pending = Mode.STANDING_UP, Mode.STANDING_UP
        return ""

    def sit(self) -> str:
        """Sit down, from ready or walking; ends passive."""
        if self.mode not in (Mode.READY, Mode.WALKING):
            return f"can sit down only from ready or walking, not from {self.mode.value}"
        self.mode, self._pending = Mode.SITTING_DOWN, Mode.SITTING_DOWN
        return ""

    def enable(self, walk: bool) -> str:
        """Let commands through (ready -> walking), or not any more (walking -> ready)."""
        before, after = (Mode.READY, Mode.WALKING) if walk else (Mode.WALKING, Mode.READY)
        if self.mode is not before:
            return f"can go to {after.value} only from {before.value}, not from {self.mode.value}"
        self.mode, self._walking_since = after, None
        return ""

    def damp(self, reason: str) -> None:
        """Damp the motors, from any state. Only `reset` leaves it."""
        if self.mode is not Mode.DAMPED:
            self.mode, self.reason = Mode.DAMPED, reason

    def reset(self) -> str:
        """Leave damped for passive."""
        if self.mode is not Mode.DAMPED:
            return f"nothing to reset: the robot is {self.mode.value}"
        self.mode, self.reason = Mode.PASSIVE, ""
        return ""

    # -- the step ------------------------------------------------------------------------------------

    def step(self, state: RobotState, command: JointCommand | None) -> Decision:
        """What the motors may do in the control period that begins with `state`.

        Args:
            command: the newest one that arrived, whatever its age; used only while walking.
        """
        answer = self._answer(state, command) if self.mode is Mode.WALKING else None
        fault = self._fault(state, answer)
        if fault:
            self.damp(fault)
        if self.mode is Mode.DAMPED:
            return Decision(MotorCommand(state.joint_positions, 0.0, self.spec.safety.damping), self.mode)
        if self.mode is Mode.PASSIVE:
            return Decision(MotorCommand(state.joint_positions, 0.0, 0.0), self.mode)
        if self.mode in (Mode.STANDING_UP, Mode.SITTING_DOWN):
            return self._moving(state)
        return self._limited(self.spec.stand_pose if answer is None else answer.positions)

    def _moving(self, state: RobotState) -> Decision:
        if self._pending or self._move is None:
            self._pending = None
            self._target = state.joint_positions
            self._move = self._begin_move(state)
        decision = self._limited(self._move.target(state.stamp))
        if self._move.progress(state.stamp) >= 1.0:
            self.mode = Mode.READY if self.mode is Mode.STANDING_UP else Mode.PASSIVE
            self._move = None
        return decision

    def _begin_move(self, state: RobotState) -> _Move:
        limits = self.spec.safety
        if self.mode is Mode.STANDING_UP:
            return _Move(state.joint_positions, self.spec.stand_pose, state.stamp, limits.stand_duration)
        return _Move(state.joint_positions, self.spec.sit_pose, state.stamp, limits.sit_duration)

    def _limited(self, wanted: Array) -> Decision:
        """Targets within the joint limits and within reach of the last ones."""
        reach = self.spec.safety.max_target_change
        target = np.clip(wanted, self._target - reach, self._target + reach)
        target = np.clip(target, self.spec.lower, self.spec.upper)
        self._target = target
        gains = self.spec.gains
        clamped = bool((target != wanted).any())
        return Decision(MotorCommand(target, gains.kp, gains.kd), self.mode, clamped)

    # -- faults --------------------------------------------------------------------------------------

    def _answer(self, state: RobotState, command: JointCommand | None) -> JointCommand | None:
        """The command, where it answers a state of this walk: neither an earlier one's nor one to come."""
        if self._walking_since is None:
            self._walking_since = state.stamp
        if command is None or not self._walking_since <= command.stamp <= state.stamp:
            return None
        return command

    def _fault(self, state: RobotState, answer: JointCommand | None) -> str:
        """Why the robot must be damped now; empty where all is well."""
        if self.mode not in ENERGISED:
            return "" if state.is_finite() else NOT_FINITE
        walking = self.mode is Mode.WALKING
        return fault(self.spec, state, walking) or (self._command_fault(state, answer) if walking else "")

    def _command_fault(self, state: RobotState, answer: JointCommand | None) -> str:
        if answer is not None and not np.isfinite(answer.positions).all():
            return "a command is not finite"
        age = (state.stamp - (answer.stamp if answer is not None else self._walking_since)) * 1e-9
        if age > self.spec.safety.command_timeout:
            return f"no command for {1e3 * age:.0f} ms"
        return ""


NOT_FINITE = "the robot's state is not finite"


def fault(spec: RobotSpec, state: RobotState, walking: bool = True) -> str:
    """Why an energised robot in `state` must be damped, one line; empty where all is well.

    The supervisor damps on it, and the task ends a walk with a fall where it is not empty: simulator and
    logger mark the same transitions as terminal that stop the robot.
    """
    if not state.is_finite():
        return NOT_FINITE
    up = up_in_body(state.orientation)
    if up[2] < np.cos(spec.safety.tilt):
        return f"tilt beyond {np.degrees(spec.safety.tilt):.0f} degrees"
    if walking and leg_height(spec, state, up) < spec.safety.height:
        return f"base lower than {spec.safety.height} m above the feet"
    for what, value, limit in (
        ("velocity", state.joint_velocities, spec.max_velocity),
        ("torque", state.joint_torques, spec.max_torque),
    ):
        beyond = np.abs(value) > limit
        if beyond.any():
            joint = int(np.argmax(beyond))
            return f"{what} of {spec.joint_names[joint]} beyond the spec ({value[joint]:.1f})"
    return ""
