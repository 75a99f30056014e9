"""Robot states and commands as ROS messages; `parsing` is the way back."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from nav_msgs.msg import Odometry
from rclpy.node import Node
from sensor_msgs.msg import Imu, JointState
from std_msgs.msg import Float32MultiArray, Header, MultiArrayDimension

from .hardware.kinematics import leg_velocity
from .hardware.spec import RobotSpec
from .hardware.state import Array, JointCommand, RobotState
from .parsing import (
    FOOT_CONTACTS,
    IMU,
    JOINT_COMMANDS,
    JOINT_STATES,
    LEASE,
    NANO,
    ODOM,
    RELEASE,
    STAMP_LABEL,
    SentCommand,
)

MESSAGE_TYPES = {JOINT_STATES: JointState, IMU: Imu, FOOT_CONTACTS: Float32MultiArray, ODOM: Odometry}


def unpublished(node: Node) -> list[str]:
    """Which of the topics that a row needs nobody publishes, as far as `node` knows."""
    return [topic for topic in (*MESSAGE_TYPES, JOINT_COMMANDS) if node.count_publishers(topic) == 0]


def stamp_message(stamp: int) -> Time:
    """A stamp in integer ns as a message."""
    return Time(sec=stamp // NANO, nanosec=stamp % NANO)


def joint_states_message(
    spec: RobotSpec, state: RobotState, walk: int | None = None, lease: str = ""
) -> JointState:
    """Joint positions, velocities and torques.

    While the robot walks, header.frame_id says `walk=<n> lease=<token>`: this state asks for an answer, and
    from whom. The state itself has to say so, because topics overtake each other: after the news that the
    robot walks, states of its standing up may still come.
    """
    message = _joints(spec, state.stamp, state.joint_positions)
    if walk is not None:
        message.header.frame_id = f"walk={walk} {LEASE}{lease}"
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
    message.layout.dim = [MultiArrayDimension(label=f"{STAMP_LABEL}{state.stamp}", size=size, stride=size)]
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


def command_message(spec: RobotSpec, command: JointCommand, lease: str = "") -> JointState:
    """Position targets; the stamp is that of the state which the command answers. `lease`: the token."""
    message = _joints(spec, command.stamp, command.positions)
    message.header.frame_id = f"{LEASE}{lease}" if lease else ""
    return message


def keep_alive_message(lease: str) -> JointState:
    """A command without joints: it renews the lease and moves nothing."""
    return JointState(header=Header(frame_id=f"{LEASE}{lease}"))


def release_message(lease: str) -> JointState:
    """A command without joints that gives the robot back."""
    return JointState(header=Header(frame_id=f"{LEASE}{lease} {RELEASE}"))


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
