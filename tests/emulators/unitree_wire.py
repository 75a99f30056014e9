"""The robot's side of the low-level UDP protocol, independent of the code under test.

Sizes and fields of the A1 (SDK v3.3.1) and Go1 (SDK v3.8.6); nothing was compared with a physical robot.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

POLYNOMIAL = 0x04C11DB7
MOTOR_COMMAND = struct.Struct("<BffhHH12x")  # mode, q, dq, torque * 256, Kp * 32, Kd * 16
MOTOR_STATE = struct.Struct("<BffhhffhbII")
IMU = struct.Struct("<4f3f3f3fb")
FEET_AND_TICK = struct.Struct("<4h4hI")
END = struct.Struct("<40xI")  # the remote control, reserve; the checksum follows
SLOTS, JOINTS = 20, 12
MODES = (0x00, 0x0A)  # damping, servo


@dataclass(frozen=True)
class Form:
    """Sizes of one robot's packets, headers, and what stands between motors and the rest."""

    command_size: int
    state_size: int
    header: bytes
    header_size: int
    battery_size: int


FORMS = {
    "a1": Form(610, 771, b"\xff", 10, 0),
    "go1": Form(614, 807, b"\xfe\xef\xff", 22, 24),
}


@dataclass(frozen=True)
class MotorRequest:
    """One motor's command."""

    mode: int
    q: float
    dq: float
    torque: float
    kp: float
    kd: float


@dataclass(frozen=True)
class Measured:
    """What a state packet says, in SI units."""

    q: Sequence[float] = (0.0,) * JOINTS
    dq: Sequence[float] = (0.0,) * JOINTS
    torque: Sequence[float] = (0.0,) * JOINTS
    quaternion_wxyz: Sequence[float] = (1.0, 0.0, 0.0, 0.0)
    gyroscope: Sequence[float] = (0.0, 0.0, 0.0)
    accelerometer: Sequence[float] = (0.0, 0.0, 9.81)
    foot_force: Sequence[float] = (30.0,) * 4
    tick: int = 1
    charge: int = 80  # of the battery, %; the A1's packets do not have it


class Refused(Exception):  # noqa: N818 (says what happened)
    """The robot ignores a packet; one word says why."""


def decode_command(robot: str, packet: bytes) -> list[MotorRequest]:
    """The motors' commands in `packet`, checked as the robot does."""
    form = FORMS[robot]
    if len(packet) != form.command_size:
        raise Refused("size")
    if not packet.startswith(form.header):
        raise Refused("header")
    if struct.unpack("<I", packet[-4:])[0] != crc(packet):
        raise Refused("checksum")
    requests = []
    for slot in range(JOINTS):
        start = form.header_size + slot * MOTOR_COMMAND.size
        mode, q, dq, torque, kp, kd = MOTOR_COMMAND.unpack_from(packet, start)
        if mode not in MODES:
            raise Refused("mode")
        requests.append(MotorRequest(mode, q, dq, torque / 256, kp / 32, kd / 16))
    return requests


def encode_state(robot: str, measured: Measured, low_level: bool = True) -> bytes:
    """The packet that says `measured`."""
    form = FORMS[robot]
    header = form.header if low_level else form.header[:-1] + b"\xee"
    body = header.ljust(form.header_size, b"\0")
    body += IMU.pack(
        *measured.quaternion_wxyz, *measured.gyroscope, *measured.accelerometer, 0.0, 0.0, 0.0, 40
    )
    for q, dq, torque in zip(measured.q, measured.dq, measured.torque, strict=True):
        body += MOTOR_STATE.pack(0x0A, q, dq, 0, int(torque * 256), 9.1 * q, 9.1 * dq, 0, 30, 0, 0)
    body += bytes(MOTOR_STATE.size * (SLOTS - JOINTS))
    body += struct.pack("<3xB", measured.charge).ljust(form.battery_size, b"\0")[: form.battery_size]
    feet = [int(force) for force in measured.foot_force]
    body += FEET_AND_TICK.pack(*feet, *feet, measured.tick % 2**32) + END.pack(0)
    return sealed(body + bytes(4))


def sealed(packet: bytes) -> bytes:
    """`packet` with its last four bytes made its checksum."""
    return packet[:-4] + struct.pack("<I", crc(packet))


def crc(packet: bytes) -> int:
    """CRC-32/MPEG-2 of all whole words but the last.

    Exclusive-or is all that it does: so every byte's share, by place and value, comes from a table.
    """
    words = np.frombuffer(packet, "<u4", count=len(packet) // 4 - 1)
    table, start = _shares(words.nbytes)
    return int(np.bitwise_xor.reduce(table[np.arange(words.nbytes), words.byteswap().view(np.uint8)])) ^ start


def crc_by_bits(packet: bytes, register: int = 0xFFFFFFFF) -> int:
    """The same, one bit at a time, as the SDK's own loop does it: slow, and hard to get wrong."""
    for word in struct.unpack_from(f"<{len(packet) // 4 - 1}I", packet):
        for bit in range(31, -1, -1):
            top = register >> 31 ^ word >> bit & 1
            register = (register << 1) & 0xFFFFFFFF ^ (POLYNOMIAL if top else 0)
    return register


@cache
def _shares(size: int) -> tuple[np.ndarray, int]:
    """What which byte (row) of which value (column) adds to the checksum, and what the start adds."""
    one = [crc_by_bits(bytes([byte, 0, 0, 0, 0, 0, 0, 0]), register=0) for byte in range(256)]
    table = np.zeros((size, 256), np.uint32)
    table[-1] = one
    for place in range(size - 1, 0, -1):
        table[place - 1] = table[place] << np.uint32(8) ^ table[-1][table[place] >> np.uint32(24)]
    return table, crc_by_bits(bytes(size + 4))
