"""Robot states and commands as ROS messages, and back. Joints go by NAME, stamps are the robot's clock.

A state travels in up to four messages that carry the same stamp; `StateAssembler` puts them together.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from nav_msgs.msg import Odometry
from sensor_msgs.msg import Imu, JointState
from std_msgs.msg import Float32MultiArray, MultiArrayDimension

from .errors import UserError
from .hardware.kinematics import leg_velocity
from .hardware.spec import RobotSpec
from .hardware.state import Array, JointCommand, RobotState

JOINT_STATES, IMU, FOOT_CONTACTS, ODOM = "joint_states", "imu/data", "foot_contacts", "odom"
JOINT_COMMANDS, SENT_COMMANDS = "joint_commands", "sent_commands"
MESSAGE_TYPES = {JOINT_STATES: JointState, IMU: Imu, FOOT_CONTACTS: Float32MultiArray, ODOM: Odometry}
KEPT_STAMPS = 8  # incomplete states that wait for their missing parts
NANO = 1_000_000_000
_STAMP_LABEL = "foot stamp="

Fields = dict[str, Array]
"""Some fields of a RobotState, by name."""


@dataclass(frozen=True, eq=False)
class SentCommand:
    """What the supervisor let through to the motors in one control period of a walk.

    Attributes:
        stamp: of the state that the period begins with, ns.
        positions: (12,) rad.
        walk: which walk since the robot node was started.
        step: which control period of that walk, from 0.
        in_time: it came of the command that answers this very state, not of an older one.
    """

    stamp: int
    positions: Array
    walk: int
    step: int
    in_time: bool


# -- to messages --------------------------------------------------------------------------------------------


def stamp_message(stamp: int) -> Time:
    """A stamp in integer ns as a message."""
    return Time(sec=stamp // NANO, nanosec=stamp % NANO)


def stamp_of(message: Time) -> int:
    """A message's time in integer ns."""
    return message.sec * NANO + message.nanosec


def joint_states_message(spec: RobotSpec, state: RobotState, walk: int | None = None) -> JointState:
    """Joint positions, velocities and torques.

    While the robot walks, header.frame_id says `walk=<n>`: this state asks for an answer. The state itself
    has to say so, because topics overtake each other: after the news that the robot walks, states of its
    standing up may still come.
    """
    message = _joints(spec, state.stamp, state.joint_positions)
    if walk is not None:
        message.header.frame_id = f"walk={walk}"
    message.velocity = array("d", state.joint_velocities.tobytes())
    message.effort = array("d", state.joint_torques.tobytes())
    return message


def imu_message(state: RobotState) -> Imu:
    """Orientation, angular velocity and specific force (REP-145); covariances are unknown."""
    message = Imu()
    message.header.stamp = stamp_message(state.stamp)
    message.header.frame_id = "imu_link"
    _set(message.orientation, "xyzw", state.orientation)
    _set(message.angular_velocity, "xyz", state.angular_velocity)
    _set(message.linear_acceleration, "xyz", state.linear_acceleration)
    return message


def foot_contacts_message(state: RobotState) -> Float32MultiArray:
    """Foot forces, N. The type has no header: the stamp stands in the label of its one dimension."""
    message = Float32MultiArray(data=array("f", state.foot_forces.astype(np.float32).tobytes()))
    size = len(state.foot_forces)
    message.layout.dim = [MultiArrayDimension(label=f"{_STAMP_LABEL}{state.stamp}", size=size, stride=size)]
    return message


def odometry_message(spec: RobotSpec, state: RobotState) -> Odometry:
    """Base in the odometry frame; the twist is leg odometry in the body frame, zero where no foot stands."""
    if state.position is None:
        raise ValueError("this state has no position")
    message = Odometry(child_frame_id="base_link")
    message.header.stamp = stamp_message(state.stamp)
    message.header.frame_id = "odom"
    _set(message.pose.pose.position, "xyz", state.position)
    _set(message.pose.pose.orientation, "xyzw", state.orientation)
    velocity = leg_velocity(spec, state)
    if velocity is not None:
        _set(message.twist.twist.linear, "xyz", velocity)
    _set(message.twist.twist.angular, "xyz", state.angular_velocity)
    return message


def command_message(spec: RobotSpec, command: JointCommand) -> JointState:
    """Position targets; the stamp is that of the state which the command answers."""
    return _joints(spec, command.stamp, command.positions)


def sent_message(spec: RobotSpec, sent: SentCommand) -> JointState:
    """What the motors were sent; header.frame_id says `walk=<n> step=<n> in_time=<0|1>`."""
    message = _joints(spec, sent.stamp, sent.positions)
    message.header.frame_id = f"walk={sent.walk} step={sent.step} in_time={int(sent.in_time)}"
    return message


def _joints(spec: RobotSpec, stamp: int, positions: Array) -> JointState:
    message = JointState(name=list(spec.joint_names), position=array("d", positions.tobytes()))
    message.header.stamp = stamp_message(stamp)
    return message


def _set(message: Any, names: str, values: Array) -> None:
    for name, value in zip(names, values.tolist(), strict=True):
        setattr(message, name, value)


# -- from messages ------------------------------------------------------------------------------------------


def parse_part(spec: RobotSpec, topic: str, message: Any) -> tuple[int | None, Fields]:
    """Stamp (None where the publisher gave none) and fields of the RobotState in a message of `topic`.

    Raises:
        UserError: joints are missing or unknown, or a length is wrong.
    """
    if topic == FOOT_CONTACTS:
        return _parse_foot_contacts(spec, message)
    stamp = stamp_of(message.header.stamp)
    if topic == JOINT_STATES:
        order = _order(spec, message.name)
        return stamp, {
            "joint_positions": _by_name(message.position, order, "positions"),
            "joint_velocities": _by_name(message.velocity, order, "velocities"),
            "joint_torques": _by_name(message.effort, order, "efforts"),
        }
    if topic == IMU:
        return stamp, {
            "orientation": _get(message.orientation, "xyzw"),
            "angular_velocity": _get(message.angular_velocity, "xyz"),
            "linear_acceleration": _get(message.linear_acceleration, "xyz"),
        }
    return stamp, {"position": _get(message.pose.pose.position, "xyz")}


def walk_of(message: JointState) -> int | None:
    """Which walk a joint_states message belongs to; None where the robot does not walk."""
    name, _, number = message.header.frame_id.partition("=")
    return int(number) if name == "walk" and number.isdecimal() else None


def parse_command(spec: RobotSpec, message: JointState) -> JointCommand:
    """A command from its message.

    Raises:
        UserError: joints are missing or unknown.
    """
    positions = _by_name(message.position, _order(spec, message.name), "positions")
    return JointCommand(stamp_of(message.header.stamp), positions)


def parse_sent(spec: RobotSpec, message: JointState) -> SentCommand:
    """What the robot node said that it sent.

    Raises:
        UserError: joints are missing or unknown, or the frame_id is not `sent_message`'s.
    """
    command = parse_command(spec, message)
    try:
        said = dict(part.split("=") for part in message.header.frame_id.split())
        walk, step, in_time = int(said["walk"]), int(said["step"]), said["in_time"] == "1"
    except (ValueError, KeyError) as error:
        raise UserError(
            f"sent command: frame_id '{message.header.frame_id}' does not say walk and step; "
            "remap the topic sent_commands to the robot node's"
        ) from error
    return SentCommand(command.stamp, command.positions, walk, step, in_time)


def _parse_foot_contacts(spec: RobotSpec, message: Float32MultiArray) -> tuple[int | None, Fields]:
    forces = np.array(message.data, np.float64)
    if len(forces) != len(spec.foot_names):
        raise UserError(
            f"{len(forces)} foot contacts instead of {len(spec.foot_names)}; "
            f"publish one force per foot, in the order {', '.join(spec.foot_names)}"
        )
    label = message.layout.dim[0].label if message.layout.dim else ""
    stamp = label.removeprefix(_STAMP_LABEL)
    return int(stamp) if label != stamp and stamp.isdecimal() else None, {"foot_forces": forces}


def _order(spec: RobotSpec, names: Sequence[str]) -> list[int] | None:
    """Where every joint of the spec is in a message; None where they are in order."""
    if tuple(names) == spec.joint_names:
        return None
    missing = [name for name in spec.joint_names if name not in names]
    unknown = [name for name in names if name not in spec.joint_names]
    for what, joints in (("missing", missing), ("unknown", unknown)):
        if joints:
            raise UserError(
                f"joint {joints[0]} is {what} in a message; publish the twelve joints of robot {spec.name}"
            )
    if len(names) != len(spec.joint_names):
        raise UserError(f"a joint is twice in a message; publish each of robot {spec.name}'s once")
    return [names.index(name) for name in spec.joint_names]


def _by_name(values: array[float], order: list[int] | None, what: str) -> Array:
    found = np.array(values, np.float64)
    if found.shape != (12,):
        raise UserError(f"a message has {len(found)} joint {what} instead of 12; publish one per joint name")
    return found if order is None else found[order]


def _get(message: Any, names: str) -> Array:
    return np.array([getattr(message, name) for name in names])


class StateAssembler:
    """Puts the parts of a state together by their stamp.

    Parts may come in any order, twice, late or never: memory is bounded by `KEPT_STAMPS`. A part without a
    stamp (foreign foot contacts) goes with every state until the next such part comes.

    Attributes:
        incomplete: states that were given up because a part never came.
    """

    def __init__(self, *topics: str) -> None:
        self.incomplete = 0
        self._topics = frozenset(topics)
        self._parts: dict[int, dict[str, Fields]] = {}  # by stamp, the oldest arrival first
        self._stampless: dict[str, Fields] = {}

    def add(self, topic: str, stamp: int | None, fields: Fields) -> RobotState | None:
        """Take one part; returns the state that it completes, if it does."""
        if stamp is None:
            self._stampless[topic] = fields
            return None
        parts = self._parts.setdefault(stamp, {})
        parts[topic] = fields
        if not self._topics <= parts.keys() | self._stampless.keys():
            self._forget_oldest()
            return None
        del self._parts[stamp]
        merged: Fields = {}
        for part in (self._stampless | parts).values():
            merged |= part
        return RobotState(stamp=stamp, **merged)

    def _forget_oldest(self) -> None:
        if len(self._parts) > KEPT_STAMPS:
            del self._parts[next(iter(self._parts))]
            self.incomplete += 1
