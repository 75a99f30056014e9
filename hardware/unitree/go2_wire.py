"""Bytes of the low-level messages of the Unitree Go2, unitree_go/LowCmd and LowState, serialised as by ROS 2.

    message = encode_command(LowCommand(...), motors)
    state = decode_state(message, motors)

Bytes, because to fill and empty message objects of twenty motors 500 times a second takes half a core. The
checksum is that of the C struct with natural alignment; in the serialised form a few of its pads are missing.
Layout and checksum were compared with Unitree's library, but not with a robot.
"""

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ..health import Health
from .wire import LOW_LEVEL, NO_POSITION, NO_VELOCITY, SLOTS, BadPacket, LowCommand, LowState, checksum

SERVO = 0x01  # motor mode: torque = tau + kp (q - q_measured) + kd (dq - dq_measured)
MAGIC = bytes([0xFE, 0xEF, LOW_LEVEL])  # head and level flag
ENCAPSULATION = bytes([0x00, 0x01, 0x00, 0x00])  # before the message: plain CDR, little endian
LEGS, LEG_JOINTS = ("FR", "FL", "RR", "RL"), ("hip", "thigh", "calf")  # in the order of the motors
MOTORS = {f"{leg}_{joint}_joint": number for number, (leg, joint) in enumerate(product(LEGS, LEG_JOINTS))}

_HEADER = [
    ("magic", "u1", 3),
    ("frame_reserve", "u1"),
    ("sn", "<u4", 2),
    ("version", "<u4", 2),
    ("bandwidth", "<u2"),
]
_MOTOR_COMMAND = [
    ("mode", "u1"),
    ("q", "<f4"),  # rad
    ("dq", "<f4"),  # rad/s
    ("tau", "<f4"),  # N m
    ("kp", "<f4"),  # N m/rad
    ("kd", "<f4"),  # N m s/rad
    ("reserve", "<u4", 3),
]
_MOTOR_STATE = [
    ("mode", "u1"),
    ("q", "<f4"),  # rad
    ("dq", "<f4"),  # rad/s
    ("ddq", "<f4"),
    ("tau", "<f4"),  # N m, estimated
    ("raw", "<f4", 3),  # q, dq, ddq at the motor's side of the gear
    ("temperature", "i1"),
    ("lost", "<u4"),
    ("reserve", "<u4", 2),
]
_IMU = [
    ("quaternion", "<f4", 4),  # w x y z
    ("gyroscope", "<f4", 3),  # rad/s
    ("accelerometer", "<f4", 3),  # m/s^2
    ("rpy", "<f4", 3),
    ("temperature", "i1"),
]
_BATTERY = [
    ("version", "u1", 2),
    ("status", "u1"),
    ("charge", "u1"),  # %
    ("current", "<i4"),
    ("cycle", "<u2"),
    ("temperatures", "i1", 4),
    ("cells", "<u2", 15),
]


def _c_struct(fields: list[tuple]) -> np.dtype:
    """The layout that a C compiler gives to these fields."""
    return np.dtype(fields, align=True)


COMMAND = _c_struct(
    [
        *_HEADER,
        ("motors", _c_struct(_MOTOR_COMMAND), SLOTS),
        ("bms", "u1", 4),
        ("remote", "u1", 40),
        ("led", "u1", 12),
        ("fan", "u1", 2),
        ("gpio", "u1"),
        ("reserve", "<u4"),
        ("crc", "<u4"),
    ]
)
STATE = _c_struct(
    [
        *_HEADER,
        ("imu", _c_struct(_IMU)),
        ("motors", _c_struct(_MOTOR_STATE), SLOTS),
        ("battery", _c_struct(_BATTERY)),
        ("foot_force", "<i2", 4),
        ("foot_force_estimate", "<i2", 4),
        ("tick", "<u4"),
        ("remote", "u1", 40),
        ("bit_flag", "u1"),
        ("adc", "<f4"),
        ("temperatures", "i1", 2),
        ("power", "<f4", 2),
        ("fans", "<u2", 4),
        ("reserve", "<u4"),
        ("crc", "<u4"),
    ]
)
STATE_SIZE = 1176  # bytes of a serialised state


def _meaningful(kind: np.dtype) -> NDArray[np.uint8]:
    """A mask of the bytes that are no pads: serialisers leave what they find in those."""
    if kind.subdtype:
        element, shape = kind.subdtype
        return np.tile(_meaningful(element), math.prod(shape))
    if not kind.fields:
        return np.full(kind.itemsize, 0xFF, np.uint8)
    mask = np.zeros(kind.itemsize, np.uint8)
    for field, offset, *_ in kind.fields.values():
        mask[offset : offset + field.itemsize] = _meaningful(field)
    return mask


_STATE_MASK = _meaningful(STATE)


def motor_numbers(joint_names: Sequence[str]) -> NDArray[np.intp]:
    """Number of the motor of each joint, (12,)."""
    return np.array([MOTORS[name] for name in joint_names])


def encode_command(command: LowCommand, motors: NDArray[np.intp]) -> bytes:
    """The serialised LowCmd that asks for `command`; motors that do not exist are asked for nothing.

    Args:
        motors: (12,) number of the motor of each of the command's joints.

    Raises:
        ValueError: a number is not finite.
    """
    record = np.zeros(1, COMMAND)
    record["magic"] = np.frombuffer(MAGIC, np.uint8)
    slots = record["motors"][0]
    slots["mode"], slots["q"], slots["dq"] = SERVO, NO_POSITION, NO_VELOCITY
    for field, values in (
        ("q", command.positions),
        ("dq", command.velocities),
        ("tau", command.torques),
        ("kp", command.kp),
        ("kd", command.kd),
    ):
        with np.errstate(over="ignore"):
            slots[field][motors] = values
        if not np.isfinite(slots[field]).all():
            raise ValueError(f"{field} of a command is not finite in 32 bits")
    record["crc"] = checksum(record.tobytes())
    image = record.tobytes()
    # Serialised, nothing is between the header and the first motor's mode, and one pad after that.
    return ENCAPSULATION + image[:22] + image[24:26] + image[28:]


def decode_state(message: bytes, motors: NDArray[np.intp]) -> LowState:
    """The state in a serialised LowState.

    A checksum of 0 is none; any other must be right.

    Args:
        motors: (12,) number of the motor of each joint.

    Raises:
        BadPacket: its form, head, level flag or checksum is wrong.
    """
    body = message[len(ENCAPSULATION) :]
    if len(body) != STATE_SIZE or message[:2] != ENCAPSULATION[:2]:
        raise BadPacket(
            f"{len(body)} bytes encoded as {message[:2].hex(' ')} where a state of the Go2 has {STATE_SIZE} "
            f"encoded as {ENCAPSULATION[:2].hex(' ')}"
        )
    if not body.startswith(MAGIC):
        raise BadPacket(
            f"head and level {body[:3].hex(' ')} where a low-level state of the Go2 has {MAGIC.hex(' ')}"
        )
    # The other way round: pads after the IMU, and after the first motor's mode.
    image = np.frombuffer(body[:77] + bytes(3) + body[77:80] + bytes(1) + body[80:], np.uint8) & _STATE_MASK
    record = image.view(STATE)[0]
    if record["crc"] and checksum(image.tobytes()) != record["crc"]:
        raise BadPacket("wrong checksum in a state of the Go2")
    imu, joints = record["imu"], record["motors"][motors]
    return LowState(
        tick=int(record["tick"]),
        joint_positions=joints["q"].astype(np.float64),
        joint_velocities=joints["dq"].astype(np.float64),
        joint_torques=joints["tau"].astype(np.float64),
        orientation=np.roll(imu["quaternion"].astype(np.float64), -1),
        angular_velocity=imu["gyroscope"].astype(np.float64),
        linear_acceleration=imu["accelerometer"].astype(np.float64),
        foot_forces=record["foot_force"].astype(np.float64),
        health=Health(int(record["battery"]["charge"]), tuple(joints["temperature"].tolist())),
    )
