"""Recordings of the nodes' topics by rosbag2 (MCAP or sqlite3), read without a ROS installation.

A recording gives the rows that the logger node would have written live: both hear through `WalkListener`.

    ros2 bag record joint_states imu/data foot_contacts odom joint_commands sent_commands robot_node/state
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rosbags.interfaces import Connection
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from .collection import data_set_info
from .errors import UserError
from .hardware.spec import RobotSpec
from .listening import WalkListener
from .parsing import (
    FOOT_CONTACTS,
    IMU,
    JOINT_COMMANDS,
    JOINT_STATES,
    ODOM,
    ROBOT_STATE,
    SENT_COMMANDS,
    STATE_TOPICS,
)
from .policies.conversion import Reading, Rows
from .policies.dataset_format import Transition

ROWS_AT_ONCE = 500
KINDS = {
    JOINT_STATES: "sensor_msgs/msg/JointState",
    IMU: "sensor_msgs/msg/Imu",
    FOOT_CONTACTS: "std_msgs/msg/Float32MultiArray",
    ODOM: "nav_msgs/msg/Odometry",
    JOINT_COMMANDS: "sensor_msgs/msg/JointState",
    SENT_COMMANDS: "sensor_msgs/msg/JointState",
    ROBOT_STATE: "std_msgs/msg/String",
}
NEEDED = (*STATE_TOPICS, JOINT_COMMANDS)
# Our types are the same in every ROS 2 since Humble; definitions that a recording carries are not looked at.
TYPES = get_typestore(Stores.ROS2_JAZZY)


def read_bag(path: Path, spec: RobotSpec, namespace: str | None = None) -> Reading:
    """The walks in a recording.

    Args:
        path: rosbag2's folder, or one of its .mcap or .db3 files.
        spec: the robot that it is of.
        namespace: of the robot's topics; needed where several robots were recorded.

    Raises:
        UserError: it is damaged, or lacks a topic that a row needs.
    """
    with _damage_named(path), Reader(path) as reader:
        counts = {connection.topic: connection.msgcount for connection in reader.connections}
        kinds = {connection.topic: connection.msgtype for connection in reader.connections}
    prefix = _prefix(path, counts, namespace)
    for topic, kind in KINDS.items():
        if (found := kinds.get(prefix + topic, kind)) != kind:
            raise UserError(f"{path}: {prefix + topic} is {found}, not {kind}: record our nodes")
    sent_is_told = counts.get(prefix + SENT_COMMANDS, 0) > 0
    listener = WalkListener(spec, lambda: sent_is_told)
    notes: list[str] = []
    info = data_set_info(spec, "real", "target", f"rosbag2 recording {path.name}")
    return Reading(info, counts[prefix + JOINT_COMMANDS], _blocks(path, prefix, listener, notes), notes)


def _prefix(path: Path, topics: Collection[str], namespace: str | None) -> str:
    """What stands before our topics' names.

    Raises:
        UserError: several robots' topics are there, or one of a robot's is not.
    """
    found = sorted({t.removesuffix(JOINT_STATES) for t in topics if f"/{t}".endswith(f"/{JOINT_STATES}")})
    if namespace is not None:
        prefix = f"/{namespace.strip('/')}/".replace("//", "/")
    elif len(found) > 1:
        raise UserError(f"{path}: holds several robots: give one as --namespace: {', '.join(found)}")
    else:
        prefix = found[0] if found else "/"
    if missing := [prefix + topic for topic in NEEDED if prefix + topic not in topics]:
        raise UserError(f"{path}: lacks {', '.join(missing)}: record {' '.join(KINDS)}, or give --namespace")
    return prefix


def _messages(path: Path, prefix: str) -> Iterator[tuple[str, Any, int]]:
    """(topic without the prefix, message, ns when it was recorded), in the order of time."""
    with _damage_named(path), Reader(path) as reader:
        used = [c for c in reader.connections if c.topic.removeprefix(prefix) in KINDS]
        for connection, time, content in reader.messages(used):
            message, _ = _parse(content, connection.msgtype)
            yield connection.topic.removeprefix(prefix), message, time


def _parse(content: bytes | memoryview, kind: str) -> tuple[Any, int]:
    """A message and how many bytes it takes.

    `TYPES.deserialize_cdr` refuses bytes after a message's end. ROS does not, and its own serialize_message
    leaves some, which recordings made by Python programs then hold.
    """
    if len(content) < 4 or content[0] != 0 or content[1] > 1:
        raise ValueError("a message is not in CDR")
    definition = TYPES.get_msgdef(kind)
    parse = definition.deserialize_cdr_le if content[1] else definition.deserialize_cdr_be
    message, length = parse(content[4:], 0, definition.cls, TYPES)
    return message, 4 + length


def _blocks(path: Path, prefix: str, listener: WalkListener, notes: list[str]) -> Iterator[Rows]:
    refused = broken = 0
    waiting: list[Transition] = []
    for topic, message, time in _messages(path, prefix):
        try:
            listener.hear(topic, message, time)
        except UserError:
            refused += 1
        for step in listener.steps():
            if _is_finite(step.transition):
                waiting.append(step.transition)
            else:
                broken += 1
        if len(waiting) >= ROWS_AT_ONCE:
            yield Rows.of_transitions(waiting)
            waiting = []
    if waiting:
        yield Rows.of_transitions(waiting)
    counts = {
        "control periods of which a message is missing": listener.builder.lost,
        "control periods whose command came late": listener.builder.late,
        "states of which a part is missing": listener.assembler.incomplete,
        "messages that are not what they should be": refused,
        "rows with NaN or infinity": broken,
    }
    notes += [f"{path}: left out {count} {what}" for what, count in counts.items() if count]
    notes.append(f"{path}: infos/receive_time is when it was recorded")


def _is_finite(transition: Transition) -> bool:
    t = transition
    columns = (t.observation, t.action, t.reward, t.next_observation, *t.infos.values())
    return all(np.isfinite(column).all() for column in columns)


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """A recording is whatever the disk gives: all that its reader can raise is the file's fault."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise UserError(
            f"{path}: no whole rosbag2 recording ({reason}): try `ros2 bag reindex` or `mcap recover` on it"
        ) from error


@contextmanager
def write_bag(
    path: Path, storage: Literal["mcap", "sqlite3"] = "mcap", compress: bool = True
) -> Iterator[Callable[[str, Any, int], None]]:
    """Make a recording; the yielded function takes (topic, message, ns), messages as rclpy has them.

    Args:
        path: the folder to make.
        storage: MCAP, or sqlite3 as before ROS 2 Iron.
        compress: with zstd, MCAP by chunk and sqlite3 by message.
    """
    from rclpy.serialization import serialize_message

    connections: dict[str, Connection] = {}
    plugin = StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3
    writer = Writer(path, version=Writer.VERSION_LATEST, storage_plugin=plugin)
    if compress:
        mode = CompressionMode.STORAGE if storage == "mcap" else CompressionMode.MESSAGE
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:

        def write(topic: str, message: Any, time: int) -> None:
            if topic not in connections:
                kind = type(message)
                name = f"{kind.__module__.partition('.')[0]}/msg/{kind.__name__}"
                connections[topic] = writer.add_connection(topic, name, typestore=TYPES)
            content = serialize_message(message)
            _, length = _parse(content, connections[topic].msgtype)
            writer.write(connections[topic], time, content[:length])

        yield write
