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
from .watch import Watch


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
        self._entered = False  # the mode is new: it begins with the next state
        self._target = spec.sit_pose  # last position that the motors were given; always within limits
        self._move = _Move(spec.sit_pose, spec.sit_pose, 0, spec.safety.sit_duration)
        self._wanted = self._target  # positions of the last command of this walk
        self._heard = 0  # its stamp, or that of the state in which the walk began
        self._stamp: int | None = None  # of the last state
        self._repeats = 0  # control periods in a row with that same stamp
        self._stopped = ""  # what was wrong with the robot's clock then
        self._state: RobotState | None = None  # the last one
        self._watch: Watch | None = None  # since the motors were energised
        self._timeout_ns = round(spec.safety.command_timeout * 1e9)

    # -- requests: each returns an empty string, or why it is refused -----------------------------------

    def stand(self) -> str:
        """Stand up, from passive only: it begins where the robot lies, so its state must be new and at rest.

        A robot that still sinks would be caught in mid-fall, with joints that run into their limits.
        """
        if self.mode is not Mode.PASSIVE:
            return f"can stand up only from passive, not from {self.mode.value}"
        if self._stopped:
            return f"cannot stand up: {self._stopped}"
        moves = "" if self._state is None else unrest(self.spec, self._state)
        if moves:
            return f"cannot stand up: {moves}; wait until the robot rests"
        self._watch = None
        self._enter(Mode.STANDING_UP)
        return ""

    def sit(self) -> str:
        """Sit down, from ready or walking; ends passive."""
        if self.mode not in (Mode.READY, Mode.WALKING):
            return f"can sit down only from ready or walking, not from {self.mode.value}"
        self._enter(Mode.SITTING_DOWN)
        return ""

    def enable(self, walk: bool) -> str:
        """Let commands through (ready -> walking), or not any more (walking -> ready)."""
        before, after = (Mode.READY, Mode.WALKING) if walk else (Mode.WALKING, Mode.READY)
        if self.mode is not before:
            return f"can go to {after.value} only from {before.value}, not from {self.mode.value}"
        self._enter(after)
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

    def _enter(self, mode: Mode) -> None:
        self.mode, self._entered = mode, True

    # -- the step ------------------------------------------------------------------------------------

    def step(self, state: RobotState, command: JointCommand | None, periods: int = 1) -> Decision:
        """What the motors may do in the control period that begins with `state`.

        Args:
            command: the newest one that arrived, whatever its age; used only while walking.
            periods: control periods since the last step: more than one where the host was too slow.
        """
        problem = self._state_fault(state, periods)
        if not problem and self._entered:
            self._entered = False
            self._begin(state)
        if not problem and self.mode is Mode.WALKING:
            problem = self._listen(state.stamp, command)
        if problem:
            self.damp(problem)
        if self.mode is Mode.DAMPED:
            return Decision(MotorCommand(self._target, 0.0, self.spec.safety.damping), self.mode)
        if self.mode is Mode.PASSIVE:
            return Decision(MotorCommand(self._target, 0.0, 0.0), self.mode)
        if self.mode is Mode.WALKING:
            return self._limited(self._wanted)
        return self._moving(state.stamp)

    def _begin(self, state: RobotState) -> None:
        """Start what the mode does, in `state`."""
        if self.mode is Mode.STANDING_UP:
            self._target = np.clip(state.joint_positions, self.spec.lower, self.spec.upper)
            stand, duration = self.spec.stand_pose, self.spec.safety.stand_duration
            self._move = _Move(self._target, stand, state.stamp, duration)
        elif self.mode is Mode.WALKING:
            self._wanted, self._heard = self._target, state.stamp
        elif self.mode is Mode.READY:
            # Out of a walk with feet in the air: back to the stand as fast as a foot swings, no faster.
            half_gait = 0.5 * self.spec.gait.period
            self._move = _Move(self._target, self.spec.stand_pose, state.stamp, half_gait)
        elif self.mode is Mode.SITTING_DOWN:
            # From the last target, not from the measured pose: that would let go of the robot's weight.
            self._move = _Move(self._target, self.spec.sit_pose, state.stamp, self.spec.safety.sit_duration)

    def _listen(self, stamp: int, command: JointCommand | None) -> str:
        """Take `command` where it is one of this walk and no older than the last; return what is wrong."""
        if command is not None and self._heard <= command.stamp <= stamp:
            if not np.isfinite(command.positions).all():
                return "a command is not finite"
            self._wanted, self._heard = command.positions, command.stamp
        age = stamp - self._heard
        return f"no command for {age / 1e6:.0f} ms" if age >= self._timeout_ns else ""

    def _moving(self, stamp: int) -> Decision:
        decision = self._limited(self._move.target(stamp))
        if self._move.progress(stamp) >= 1.0 and self.mode is not Mode.READY:
            self.mode = Mode.READY if self.mode is Mode.STANDING_UP else Mode.PASSIVE
        return decision

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

    def _state_fault(self, state: RobotState, periods: int) -> str:
        """Why the robot must be damped in `state`; empty where all is well."""
        self._stopped = self._clock_fault(state.stamp, periods)
        self._state = state
        if self.mode not in ENERGISED:
            return "" if state.is_finite() else NOT_FINITE
        # Only in a walk: a robot that is told to stand up may just have sunk onto its stops, limp.
        before = self._watch.state if self._watch and self.mode is Mode.WALKING else state
        return (
            fault(self.spec, state, self._stands(state.stamp))
            or limit_fault(self.spec, before, state)
            or self._stopped
            or self._motion_fault(state)
        )

    def _stands(self, stamp: int) -> bool:
        """Whether the base must be up: in a walk, and on legs that have come to rest after it."""
        rests = self.mode is Mode.READY and self._move.progress(stamp) >= 1.0
        return self.mode is Mode.WALKING or rests

    def _clock_fault(self, stamp: int, periods: int) -> str:
        """A robot whose state stands still, or comes in leaps, is walked blindly.

        The supervisor has no clock, but it is told how many control periods have passed: so it counts.
        """
        before, self._stamp = self._stamp, stamp
        if before is None:
            return ""
        self._repeats = self._repeats + periods if stamp == before else 0
        if stamp < before:
            return "the robot's clock went back"
        silence = max(stamp - before, self._repeats * self.spec.period_ns)
        return f"no new state for {silence / 1e6:.0f} ms" if silence >= self._timeout_ns else ""

    def _motion_fault(self, state: RobotState) -> str:
        if self._watch is None:
            self._watch = Watch(self.spec, state)
            return ""
        return self._watch.problem(state, self._target)


NOT_FINITE = "the robot's state is not finite"


def fault(spec: RobotSpec, state: RobotState, walking: bool = True) -> str:
    """Why an energised robot in `state` must be damped, one line; empty where all is well."""
    if not state.is_finite():
        return NOT_FINITE
    # An IMU that has not started says (0, 0, 0, 0), which would pass for upright.
    if abs(state.orientation @ state.orientation - 1.0) > 0.1:
        return "the orientation is not a unit quaternion"
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


def fall(spec: RobotSpec, before: RobotState, state: RobotState) -> str:
    """Why a walk that went from `before` to `state` in one control period has ended in a fall; empty if not.

    The supervisor damps on all of it, and simulator and logger mark the same transitions as terminal. A
    damping for what the two states do not tell (a joint that sticks, a silent controller) is none.
    """
    return fault(spec, state) or limit_fault(spec, before, state)


def unrest(spec: RobotSpec, state: RobotState) -> str:
    """Which joint moves too fast for a robot that lies still, one phrase; empty where none does."""
    joint = int(np.argmax(np.abs(state.joint_velocities)))
    speed = abs(state.joint_velocities[joint])
    resting = speed <= spec.safety.limit_velocity
    return "" if resting else f"{spec.joint_names[joint]} still moves at {speed:.1f} rad/s"


def limit_fault(spec: RobotSpec, before: RobotState, state: RobotState) -> str:
    """Why a joint's position must damp an energised robot; empty where it need not.

    Args:
        before: the state one control period before `state`: a joint that has hit its stop is at rest again
            when it is next looked at, but it has come there fast.
    """
    positions, safety = state.joint_positions, spec.safety
    beyond = np.maximum(positions - spec.upper, spec.lower - positions)
    joint = int(np.argmax(beyond))
    if beyond[joint] > safety.max_target_change:
        name, angle = spec.joint_names[joint], positions[joint]
        return f"{name} says {angle:.2f} rad, far outside its limits; check its encoder"
    side = np.where(2.0 * positions > spec.lower + spec.upper, 1.0, -1.0)
    covered = (positions - before.joint_positions) / spec.control_period
    outward = np.maximum(side * state.joint_velocities, side * covered)
    hits = (beyond > -safety.limit_margin) & (outward > safety.limit_velocity)
    if hits.any():
        joint = int(np.argmax(hits))
        return f"{spec.joint_names[joint]} runs into its limit at {outward[joint]:.1f} rad/s"
    return ""
