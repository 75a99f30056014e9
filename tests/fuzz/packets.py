"""Spoilt state packets of the Unitree A1 and Go1, most with a checksum that is right, up to the motors."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from dara_ros.hardware.safety import Mode, Supervisor
from dara_ros.hardware.spec import load_robot
from dara_ros.hardware.state import JointCommand
from dara_ros.hardware.unitree.state_buffer import StateBuffer
from dara_ros.hardware.unitree.wire import JOINTS, WIRES, BadPacket, checksum, decode_state
from tests.fuzz.fuzzing import Target, spoil_bytes

PACKETS = 4  # in one case
PERIOD = 20_000_000  # ns


def target() -> Target:
    def spoil(rng: np.random.Generator) -> bytes:
        robot = ("a1", "go1")[rng.integers(2)]
        packets = [_packet(rng, robot, tick) for tick in range(PACKETS)]
        return robot[:1].encode() + b"".join(struct.pack("<H", len(p)) + p for p in packets)

    def use(path: Path) -> None:
        content = path.read_bytes()
        robot = "a1" if content[:1] == b"a" else "go1"
        place = 1
        walk = _Walk(robot)
        refused = None
        while place < len(content):
            (size,) = struct.unpack_from("<H", content, place)
            packet = content[place + 2 : place + 2 + size]
            place += 2 + size
            try:
                walk.take(packet)
            except BadPacket as error:
                refused = error
        if refused is not None:
            raise refused

    return Target(spoil, use)


class _Walk:
    """A robot that walks on the states of its packets; what its motors are told is looked at every time."""

    def __init__(self, robot: str) -> None:
        self.wire, self.spec = WIRES[robot], load_robot(robot)
        self.buffer = StateBuffer(PERIOD, 10, 0)
        self.supervisor = Supervisor(self.spec)
        self.supervisor.mode = Mode.WALKING
        self.now = 0

    def take(self, packet: bytes) -> None:
        self.buffer.add(decode_state(self.wire, packet), self.now)
        state = self.buffer.take(self.now)
        self.now += PERIOD
        decision = self.supervisor.step(state, JointCommand(state.stamp, state.joint_positions))
        targets = decision.motors.positions
        assert np.isfinite(targets).all()
        assert (targets >= self.spec.lower).all() and (targets <= self.spec.upper).all()
        if not state.is_finite():
            assert decision.mode is Mode.DAMPED and decision.motors.kp == 0.0


def _packet(rng: np.random.Generator, robot: str, tick: int) -> bytes:
    """A state of a robot that stands, spoilt."""
    wire = WIRES[robot]
    record = np.zeros(1, wire.state)
    record["tick"], record["imu"]["quaternion"] = tick, (1, 0, 0, 0)
    record["motors"]["q"][0, :JOINTS] = load_robot(robot).stand_pose
    packet = bytearray(record.tobytes())
    packet[: len(wire.magic)] = wire.magic
    if rng.random() < 0.6:
        odd = (np.nan, np.inf, -np.inf, 1e38, -1e38, 1e-45, 0.0)[rng.integers(7)]
        place = int(rng.integers(len(packet) - 4))
        packet[place : place + 4] = struct.pack("<f", odd)
    if rng.random() < 0.6:
        packet = bytearray(spoil_bytes(rng, bytes(packet), 2))
    if rng.random() < 0.8 and len(packet) >= 8:
        packet[-4:] = struct.pack("<I", checksum(bytes(packet)))
    return bytes(packet)
