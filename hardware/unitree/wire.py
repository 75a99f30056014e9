"""Bytes of the low-level UDP protocol of the Unitree A1 (SDK v3.3.1) and Go1 (SDK v3.8.6).

    packet = encode_command(A1, LowCommand(...))
    state = decode_state(A1, packet)

Sizes, fields, scalings and checksum were compared byte for byte with Unitree's own libraries on loopback, but
not with a robot. All numbers are little endian and packed; both robots share the forms of IMU and motors, and
have 20 motor slots of which the first 12 exist, in the canonical order FR, FL, RR, RL x hip, thigh, calf.
"""

import zlib
from dataclasses import dataclass, field

import numpy as np

from ..health import Health
from ..state import Array

JOINTS = 12
SLOTS = 20
LOW_LEVEL = 0xFF  # the header's level flag
SERVO = 0x0A  # motor mode: torque = tau + kp (q - q_measured) + kd (dq - dq_measured)
NO_POSITION = 2.146e9  # rad: "no position command", goes with kp 0 (SDK: PosStopF)
NO_VELOCITY = 16000.0  # rad/s: "no velocity command", goes with kd 0 (SDK: VelStopF)
TORQUE_SCALE = 256  # i16 = trunc(N m * 256)
KP_SCALE = 32  # u16 = trunc(N m/rad * 32)
KD_SCALE = 16  # u16 = trunc(N m s/rad * 16)

_MOTOR_COMMAND = np.dtype(
    [
        ("mode", "u1"),
        ("q", "<f4"),  # rad
        ("dq", "<f4"),  # rad/s
        ("tau", "<i2"),
        ("kp", "<u2"),
        ("kd", "<u2"),
        ("reserve", "V12"),
    ]
)
_MOTOR_STATE = np.dtype(
    [
        ("mode", "u1"),
        ("q", "<f4"),  # rad
        ("dq", "<f4"),  # rad/s
        ("ddq", "<i2"),
        ("tau", "<i2"),  # estimated
        ("raw", "V10"),  # q, dq f32, ddq i16 at the motor's side of the gear
        ("temperature", "i1"),
        ("reserve", "V8"),
    ]
)
_IMU = np.dtype(
    [
        ("quaternion", "<f4", 4),  # w x y z
        ("gyroscope", "<f4", 3),  # rad/s
        ("accelerometer", "<f4", 3),  # m/s^2
        ("rpy", "<f4", 3),
        ("temperature", "i1"),
    ]
)
_A1_HEADER = np.dtype(
    [("level", "u1"), ("version", "<u2"), ("robot", "<u2"), ("sn", "<u4"), ("bandwidth", "u1")]
)
_GO1_HEADER = np.dtype(
    [
        ("head", "u1", 2),
        ("level", "u1"),
        ("reserve", "u1"),
        ("sn", "<u4", 2),
        ("version", "<u4", 2),
        ("bandwidth", "<u2"),
    ]
)
# As the Go2's in fields and order, with cells of one byte: nobody has compared it with a robot.
_GO1_BATTERY = np.dtype(
    [
        ("version", "u1", 2),
        ("status", "u1"),
        ("charge", "u1"),  # percent
        ("current", "<i4"),
        ("cycles", "<u2"),
        ("temperatures", "i1", 4),
        ("cells", "u1", 10),
    ]
)
_END = [("remote", "V40"), ("reserve", "<u4"), ("crc", "<u4")]
_FEET = [("foot_force", "<i2", 4), ("foot_force_estimate", "<i2", 4), ("tick", "<u4")]


class BadPacket(Exception):  # noqa: N818 (says what it is)
    """Bytes that are no state of this robot; one line says why."""


@dataclass(frozen=True)
class Wire:
    """The form of one robot's packets. `magic`: the bytes that every packet begins with."""

    name: str
    magic: bytes
    command: np.dtype
    state: np.dtype


A1 = Wire(
    name="A1",
    magic=bytes([LOW_LEVEL]),
    command=np.dtype([("header", _A1_HEADER), ("motors", _MOTOR_COMMAND, SLOTS), ("led", "u1", 12), *_END]),
    state=np.dtype([("header", _A1_HEADER), ("imu", _IMU), ("motors", _MOTOR_STATE, SLOTS), *_FEET, *_END]),
)
GO1 = Wire(
    name="Go1",
    magic=bytes([0xFE, 0xEF, LOW_LEVEL]),
    command=np.dtype([("header", _GO1_HEADER), ("motors", _MOTOR_COMMAND, SLOTS), ("bms", "V4"), *_END]),
    state=np.dtype(
        [
            ("header", _GO1_HEADER),
            ("imu", _IMU),
            ("motors", _MOTOR_STATE, SLOTS),
            ("bms", _GO1_BATTERY),
            *_FEET,
            *_END,
        ]
    ),
)
WIRES = {"a1": A1, "go1": GO1}  # by RobotSpec.name


def _zeros() -> Array:
    return np.zeros(JOINTS)


@dataclass(frozen=True, eq=False)
class LowCommand:
    """What the motors are asked for; every array (12,). The default is no torque at all.

    torque = torques + kp (positions - q) + kd (velocities - dq)
    """

    positions: Array = field(default_factory=lambda: np.full(JOINTS, NO_POSITION))  # rad
    velocities: Array = field(default_factory=lambda: np.full(JOINTS, NO_VELOCITY))  # rad/s
    torques: Array = field(default_factory=_zeros)  # N m
    kp: Array = field(default_factory=_zeros)  # N m/rad
    kd: Array = field(default_factory=_zeros)  # N m s/rad


@dataclass(frozen=True, eq=False)
class LowState:
    """One state packet in SI units. A number that is not finite stays so: the supervisor damps on it."""

    tick: int  # the robot's clock, u32, wraps; its unit differs between firmwares
    joint_positions: Array  # (12,) rad
    joint_velocities: Array  # (12,) rad/s
    joint_torques: Array  # (12,) N m, estimated
    orientation: Array  # (4,) xyzw
    angular_velocity: Array  # (3,) rad/s
    linear_acceleration: Array  # (3,) m/s^2, one raw sample
    foot_forces: Array  # (4,) raw counts: the robot does not calibrate them
    health: Health


def encode_command(wire: Wire, command: LowCommand) -> bytes:
    """The packet that asks for `command`; the slots of motors that do not exist ask for nothing.

    Raises:
        ValueError: a number is not finite or does not fit its field.
    """
    record = np.zeros(1, wire.command)
    header = np.frombuffer(wire.magic, np.uint8)
    record.view(np.uint8)[: len(header)] = header
    slots = record["motors"][0]
    slots["mode"], slots["q"], slots["dq"] = SERVO, NO_POSITION, NO_VELOCITY
    motors = slots[:JOINTS]
    motors["q"] = _finite("positions", command.positions)
    motors["dq"] = _finite("velocities", command.velocities)
    motors["tau"] = _fixed_point("torques", command.torques, TORQUE_SCALE, np.dtype("<i2"))
    motors["kp"] = _fixed_point("kp", command.kp, KP_SCALE, np.dtype("<u2"))
    motors["kd"] = _fixed_point("kd", command.kd, KD_SCALE, np.dtype("<u2"))
    record["crc"] = checksum(record.tobytes())
    return record.tobytes()


def decode_state(wire: Wire, packet: bytes) -> LowState:
    """The state in `packet`.

    Raises:
        BadPacket: its size, header or checksum is wrong.
    """
    size = wire.state.itemsize
    if len(packet) != size:
        raise BadPacket(f"{len(packet)} bytes where a state of the {wire.name} has {size}")
    if not packet.startswith(wire.magic):
        header = packet[: len(wire.magic)].hex(" ")
        raise BadPacket(
            f"header {header} where a low-level state of the {wire.name} has {wire.magic.hex(' ')}"
        )
    record = np.frombuffer(packet, wire.state)[0]
    if checksum(packet) != record["crc"]:
        raise BadPacket(f"wrong checksum in a state of the {wire.name}")
    imu, motors = record["imu"], record["motors"][:JOINTS]
    return LowState(
        tick=int(record["tick"]),
        joint_positions=motors["q"].astype(np.float64),
        joint_velocities=motors["dq"].astype(np.float64),
        joint_torques=motors["tau"] / TORQUE_SCALE,
        orientation=np.roll(imu["quaternion"].astype(np.float64), -1),
        angular_velocity=imu["gyroscope"].astype(np.float64),
        linear_acceleration=imu["accelerometer"].astype(np.float64),
        foot_forces=record["foot_force"].astype(np.float64),
        health=Health(_charge(record), tuple(motors["temperature"].tolist())),
    )


def _charge(record: np.void) -> int | None:
    """Of the battery, percent; the A1's packets do not have it."""
    return int(record["bms"]["charge"]) if "bms" in (record.dtype.names or ()) else None


_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))  # bits of a byte in reverse order


def checksum(packet: bytes) -> int:
    """CRC-32/MPEG-2 over all whole 32-bit words of `packet` but the last, most significant bit first.

    zlib computes the same polynomial with the least significant bit first: so every word's bytes are
    swapped and every byte's bits reversed on the way in, the result's bits on the way out.
    """
    words = np.frombuffer(packet, "<u4", count=len(packet) // 4 - 1)
    crc = zlib.crc32(words.byteswap().tobytes().translate(_REVERSED)) ^ 0xFFFFFFFF
    return int.from_bytes(crc.to_bytes(4, "little").translate(_REVERSED), "big")


def _finite(name: str, values: Array) -> Array:
    if not np.isfinite(values).all():
        raise ValueError(f"{name} of a command are not finite")
    return values


def _fixed_point(name: str, values: Array, scale: int, kind: np.dtype) -> Array:
    """`values` times `scale`, cut towards zero as the SDK's casts do."""
    scaled = np.trunc(_finite(name, values) * scale)
    bounds = np.iinfo(kind)
    if (scaled < bounds.min).any() or (scaled > bounds.max).any():
        raise ValueError(
            f"{name} of a command must be within {bounds.min / scale:g} and {bounds.max / scale:g}"
        )
    return scaled
