"""Robot states and commands out of ROS messages. Joints go by NAME, stamps are the robot's clock.

Knows the messages by their fields alone, so that a recording is read where no ROS is installed. A state
travels in up to four messages that carry the same stamp; `StateAssembler` puts them together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import UserError
from .hardware.spec import RobotSpec
from .hardware.state import Array, JointCommand, RobotState

JOINT_STATES, IMU, FOOT_CONTACTS, ODOM = "joint_states", "imu/data", "foot_contacts", "odom"
STATE_TOPICS = (JOINT_STATES, IMU, FOOT_CONTACTS, ODOM)
JOINT_COMMANDS, SENT_COMMANDS = "joint_commands", "sent_commands"
ROBOT_STATE = "robot_node/state"  # the supervisor's mode
LONGEST_NUMBER = 19  # digits in a text: a stamp in ns has that many in the year 2200
KEPT_STAMPS = 8  # incomplete states that wait for their missing parts
NANO = 1_000_000_000
STAMP_LABEL = "foot stamp="  # of foot_contacts: the type has no header
LEASE, RELEASE = "lease=", "release"  # words in the frame_id of a command

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


def stamp_of(message: Any) -> int:
    """A message's time in integer ns."""
    return message.sec * NANO + message.nanosec


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


def walk_of(message: Any) -> int | None:
    """Which walk a joint_states message belongs to; None where the robot does not walk."""
    name, _, number = message.header.frame_id.partition(" ")[0].partition("=")
    return int(number) if name == "walk" and _is_number(number) else None


def lease_of(message: Any) -> str:
    """The token that a message carries in header.frame_id as `lease=<token>`; empty where there is none.

    A command tells by it who sends it, a state of a walking robot whose commands it obeys.
    """
    words = message.header.frame_id.split()
    return next((word.removeprefix(LEASE) for word in words if word.startswith(LEASE)), "")


def is_release(message: Any) -> bool:
    """Whether a command gives the robot back, as `messages.release_message` does."""
    return RELEASE in message.header.frame_id.split()


def parse_command(spec: RobotSpec, message: Any) -> JointCommand:
    """A command from its message.

    Raises:
        UserError: joints are missing or unknown.
    """
    positions = _by_name(message.position, _order(spec, message.name), "positions")
    return JointCommand(stamp_of(message.header.stamp), positions)


def parse_sent(spec: RobotSpec, message: Any) -> SentCommand:
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


def _parse_foot_contacts(spec: RobotSpec, message: Any) -> tuple[int | None, Fields]:
    forces = np.array(message.data, np.float64)
    if len(forces) != len(spec.foot_names):
        raise UserError(
            f"{len(forces)} foot contacts instead of {len(spec.foot_names)}; "
            f"publish one force per foot, in the order {', '.join(spec.foot_names)}"
        )
    label = message.layout.dim[0].label if message.layout.dim else ""
    stamp = label.removeprefix(STAMP_LABEL)
    return int(stamp) if label != stamp and _is_number(stamp) else None, {"foot_forces": forces}


def _is_number(text: str) -> bool:
    """Whether it is a whole number of a size that makes sense."""
    return text.isdecimal() and len(text) <= LONGEST_NUMBER


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


def _by_name(values: Sequence[float], order: list[int] | None, what: str) -> Array:
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
