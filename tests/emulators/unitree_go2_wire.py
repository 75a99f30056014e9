"""The robot's side of the Go2's low-level messages, independent of the code under test."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from emulators.unitree_wire import JOINTS, Measured, MotorRequest, Refused, crc
from rclpy.serialization import deserialize_message
from unitree_go.msg import LowCmd

HEADER = (0xFE, 0xEF, 0xFF)
MODES = (0x00, 0x01)  # stop, servo
SLOTS = 20
COMMAND_IMAGE = struct.Struct("<4B4IH2x" + 20 * "B3x5f3I" + "4B55Bx2I")  # of the C struct
_MOTOR = "7fb3x3I"  # after the mode
_REST = "4BiH4b15H8hI40sB3xf2b2x2f4H2I"
STATE_STREAM = struct.Struct("<4B4IH2x13fbB2x" + _MOTOR + 19 * ("B3x" + _MOTOR) + _REST)  # CDR
STATE_IMAGE = struct.Struct("<4B4IH2x13fb3x" + 20 * ("B3x" + _MOTOR) + _REST)


def command_image(command: LowCmd) -> bytes:
    """The C struct that the checksum of a command is taken over, with it."""
    values = [*command.head, command.level_flag, command.frame_reserve]
    values += [*command.sn, *command.version, command.bandwidth]
    for m in command.motor_cmd:
        values += [m.mode, m.q, m.dq, m.tau, m.kp, m.kd, *m.reserve]
    values += [command.bms_cmd.off, *command.bms_cmd.reserve, *command.wireless_remote, *command.led]
    values += [*command.fan, command.gpio, command.reserve, command.crc]
    return COMMAND_IMAGE.pack(*map(_number, values))


def _number(value: object) -> int | float:
    return value if isinstance(value, float) else int(value)


def decode_command(message: bytes) -> list[MotorRequest]:
    """The motors' commands in a serialised LowCmd, checked as the robot does."""
    command = deserialize_message(message, LowCmd)
    if (*command.head, command.level_flag) != HEADER:
        raise Refused("header")
    if crc(command_image(command)) != command.crc:
        raise Refused("checksum")
    motors = command.motor_cmd[:JOINTS]
    if any(m.mode not in MODES for m in motors):
        raise Refused("mode")
    return [MotorRequest(m.mode, m.q, m.dq, m.tau, m.kp, m.kd) for m in motors]


@dataclass(frozen=True)
class Seal:
    """How a state is marked.

    Attributes:
        level: its level flag; 0xFF is low level.
        checksum: "right", "wrong" or "none".
    """

    level: int = 0xFF
    checksum: str = "right"


def encode_state(measured: Measured, seal: Seal = Seal()) -> bytes:  # noqa: B008 (frozen)
    """The serialised LowState that says `measured`."""
    values: list[object] = [0xFE, 0xEF, seal.level, 0, 1, 2, 3, 4, 5]
    values += [*measured.quaternion_wxyz, *measured.gyroscope, *measured.accelerometer, 0.0, 0.0, 0.0, 40]
    for q, dq, torque in zip(measured.q, measured.dq, measured.torque, strict=True):
        values += [1, q, dq, 0.0, torque, 0.0, 0.0, 0.0, 30, 0, 0, 0]
    values += (SLOTS - JOINTS) * [0, *7 * [0.0], *4 * [0]]
    values += [1, 2, 3, 80, -1500, 7, 28, 28, 27, 27, *15 * [3900]]
    feet = [int(force) for force in measured.foot_force]
    values += [*feet, *feet, measured.tick % 2**32, bytes(40), 0, 0.0, 30, 30, 29.5, 1.5, *4 * [0], 0]
    checksum = {"none": 0, "right": crc(STATE_IMAGE.pack(*values, 0)), "wrong": 1}[seal.checksum]
    return b"\0\1\0\0" + STATE_STREAM.pack(*values, checksum)
