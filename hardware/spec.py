"""A robot as data: joints, limits, geometry, gait, safety. Read from hardware/robots/*.yaml."""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, model_validator

from .config import Model, load_named, names_in

ROBOTS = Path(__file__).resolve().parent / "robots"
LEGS = ("FR", "FL", "RR", "RL")
LEG_JOINTS = ("hip", "thigh", "calf")

# What a policy does not depend on, and a RobotSpec's hash therefore neither.
NOT_HASHED: dict[str, Any] = {
    "safety": {"stuck_change", "stuck_time", "limit_margin", "limit_velocity"},
    "sensors": True,
}

Vector3 = tuple[float, float, float]


class Joint(Model):
    """One actuated joint: limits in rad, rad/s and N m; its angle when standing and when sitting, rad."""

    name: str
    lower: float
    upper: float
    max_velocity: PositiveFloat
    max_torque: PositiveFloat
    stand: float
    sit: float

    @model_validator(mode="after")
    def _poses_within_limits(self) -> "Joint":
        for pose in ("stand", "sit"):
            if not self.lower <= getattr(self, pose) <= self.upper:
                raise ValueError(f"{self.name}: the {pose} pose is outside [{self.lower}, {self.upper}]")
        return self


class Leg(Model):
    """Where a leg is fixed: the abduction axis in the body frame (m) and the side, +1 left, -1 right."""

    name: str
    hip_origin: Vector3
    side: Literal[-1, 1]


class Links(Model):
    """Link lengths of every leg, m."""

    hip: PositiveFloat
    thigh: PositiveFloat
    calf: PositiveFloat
    foot_radius: PositiveFloat


class Gait(Model):
    """The trot under the policy: s and m; steering is the largest change of stride, a ratio."""

    period: float = Field(ge=1e-2, le=60.0)
    stride: PositiveFloat
    swing_height: PositiveFloat
    stance_height: PositiveFloat
    steering: float = Field(ge=0, le=1)


class ActionScale(Model):
    """Radians that one unit of action adds to the gait, per kind of joint."""

    hip: PositiveFloat
    thigh: PositiveFloat
    calf: PositiveFloat


class Gains(Model):
    """Joint PD gains: N m/rad and N m s/rad."""

    kp: PositiveFloat
    kd: PositiveFloat


class Safety(Model):
    """The supervisor's limits. tilt rad, height m, times in s, max_target_change rad per control period.

    A joint that does not move although its target did, by stuck_change (rad), sticks after stuck_time. One
    closer than limit_margin (rad) to a limit must not move towards it faster than limit_velocity (rad/s),
    and a robot of which a joint is faster than that may not stand up yet.
    """

    tilt: float = Field(gt=0, lt=np.pi)
    height: PositiveFloat
    command_timeout: PositiveFloat
    max_target_change: PositiveFloat
    stand_duration: PositiveFloat
    sit_duration: PositiveFloat
    damping: PositiveFloat
    stuck_change: PositiveFloat
    stuck_time: PositiveFloat
    limit_margin: float = Field(ge=0)
    limit_velocity: PositiveFloat


class Sensors(Model):
    """Calibration of one physical robot: a foot feels newtons_per_count * (count - foot_offset), in N."""

    foot_offset: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    newtons_per_count: PositiveFloat = 1.0


class RobotSpec(Model):
    """A quadruped with twelve joints in the canonical order FR, FL, RR, RL x hip, thigh, calf.

    Arrays below have shape (12,), float64, SI units, in that order. Everything that comes from
    outside is put into it by joint NAME.
    """

    name: str
    control_period: float = Field(ge=1e-3, le=1.0)
    joints: Annotated[tuple[Joint, ...], Field(min_length=12, max_length=12)]
    gains: Gains
    legs: Annotated[tuple[Leg, ...], Field(min_length=4, max_length=4)]
    links: Links
    contact_force: PositiveFloat
    gait: Gait
    action_scale: ActionScale
    safety: Safety
    sensors: Sensors = Sensors()

    @model_validator(mode="after")
    def _canonical_order(self) -> "RobotSpec":
        expected = tuple(f"{leg}_{joint}_joint" for leg in LEGS for joint in LEG_JOINTS)
        if self.joint_names != expected:
            raise ValueError(f"joints must be, in this order: {', '.join(expected)}")
        if self.foot_names != LEGS:
            raise ValueError(f"legs must be, in this order: {', '.join(LEGS)}")
        return self

    @model_validator(mode="after")
    def _gait_within_reach(self) -> "RobotSpec":
        gait, links = self.gait, self.links
        if gait.swing_height >= gait.stance_height:
            raise ValueError("gait.swing_height must be less than gait.stance_height")
        longest_stride = gait.stride * (1.0 + gait.steering)
        if np.hypot(0.5 * longest_stride, gait.stance_height) > links.thigh + links.calf:
            raise ValueError("gait.stance_height and gait.stride ask for more than the legs' length")
        return self

    @cached_property
    def joint_names(self) -> tuple[str, ...]:
        """Names in canonical order."""
        return tuple(joint.name for joint in self.joints)

    @cached_property
    def foot_names(self) -> tuple[str, ...]:
        """Leg names in canonical order; also the order of foot contacts."""
        return tuple(leg.name for leg in self.legs)

    @cached_property
    def period_ns(self) -> int:
        """Control period in integer nanoseconds."""
        return round(self.control_period * 1e9)

    @cached_property
    def lower(self) -> NDArray[np.float64]:
        """Lower position limits, rad."""
        return self._array("lower")

    @cached_property
    def upper(self) -> NDArray[np.float64]:
        """Upper position limits, rad."""
        return self._array("upper")

    @cached_property
    def max_velocity(self) -> NDArray[np.float64]:
        """Velocity limits, rad/s."""
        return self._array("max_velocity")

    @cached_property
    def max_torque(self) -> NDArray[np.float64]:
        """Torque limits, N m."""
        return self._array("max_torque")

    @cached_property
    def stand_pose(self) -> NDArray[np.float64]:
        """Joint angles when standing, rad."""
        return self._array("stand")

    @cached_property
    def sit_pose(self) -> NDArray[np.float64]:
        """Joint angles when sitting on the ground, rad."""
        return self._array("sit")

    @cached_property
    def action_scales(self) -> NDArray[np.float64]:
        """Radians per unit of action for every joint."""
        return np.array([getattr(self.action_scale, joint) for _ in LEGS for joint in LEG_JOINTS])

    @cached_property
    def hash(self) -> str:
        """SHA-256 over all that makes the task: to a policy, two robots with the same hash are the same."""
        canonical = json.dumps(self.model_dump(mode="json", exclude=NOT_HASHED), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def _array(self, field: str) -> NDArray[np.float64]:
        return np.array([getattr(joint, field) for joint in self.joints])


def robot_names() -> list[str]:
    """The robots that come with the package."""
    return names_in(ROBOTS)


def load_robot(robot: str | Path) -> RobotSpec:
    """Read a RobotSpec by name (`a1`) or from a YAML file.

    Raises:
        UserError: no such robot, not YAML, or a field that is missing, unknown or out of range.
    """
    return load_named(robot, ROBOTS, RobotSpec)
