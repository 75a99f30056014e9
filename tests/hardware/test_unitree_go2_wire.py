"""The bytes of the Go2: against hand-made ones, ROS 2's serialisation, an independent one, and rubbish."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest

from dara_ros.hardware.health import Health
from dara_ros.hardware.spec import load_robot
from dara_ros.hardware.state import MotorCommand
from dara_ros.hardware.unitree.go2_wire import COMMAND, STATE, decode_state, encode_command, motor_numbers
from dara_ros.hardware.unitree.low_level import low_command
from dara_ros.hardware.unitree.wire import BadPacket, LowCommand

pytest.importorskip("unitree_go", reason="needs the Go2's messages: make unitree-messages")

from emulators.unitree_go2_wire import (
    COMMAND_IMAGE,
    STATE_IMAGE,
    STATE_STREAM,
    Seal,
    command_image,
    decode_command,
    encode_state,
)
from emulators.unitree_wire import Measured, Refused, crc_by_bits
from rclpy.serialization import deserialize_message, serialize_message
from unitree_go.msg import LowCmd, LowState

MOTORS = np.arange(12)
MEASURED = Measured(
    q=[0.1 * k for k in range(12)],
    dq=[-1.0 * k for k in range(12)],
    torque=[0.5 * k for k in range(12)],
    quaternion_wxyz=(0.5, 0.1, 0.2, 0.3),
    gyroscope=(1.0, 2.0, 3.0),
    accelerometer=(4.0, 5.0, 9.0),
    foot_force=(-1, 2, 3, 300),
    tick=2**32 - 1,
)


def moving(joint: int = 0) -> LowCommand:
    """One joint is asked for something."""
    command = LowCommand()
    command.positions[joint], command.velocities[joint] = 0.5, 0.0
    command.torques[joint], command.kp[joint], command.kd[joint] = -3.25, 50.0, 1.0
    return command


def test_sizes() -> None:
    assert (COMMAND.itemsize, STATE.itemsize) == (COMMAND_IMAGE.size, STATE_IMAGE.size) == (812, 1180)
    assert len(encode_command(LowCommand(), MOTORS)) == 4 + 808
    assert STATE_STREAM.size == 1176


def test_command_bytes() -> None:
    message = encode_command(moving(joint=1), MOTORS)
    first = "01 00 B9 D2 FF 4E 00 00 7A 46"  # no position, no velocity: asked for nothing
    second = "01 00 00 00 00 00 00 3F 00 00 00 00 00 00 50 C0 00 00 48 42 00 00 80 3F"
    expected = "00 01 00 00 FE EF FF 00" + 18 * " 00" + first + 24 * " 00" + second + 12 * " 00"
    expected += "01 00 00 00 B9 D2 FF 4E 00 00 7A 46"
    assert message.startswith(bytes.fromhex(expected))
    assert not any(message[4 + 740 : -4])  # behind the motors is only the checksum
    # The struct that the checksum is of, by hand: two pads before the motors, three after each mode.
    nothing = "01 00 00 00 B9 D2 FF 4E 00 00 7A 46" + 24 * " 00"
    image = "FE EF FF 00" + 20 * " 00" + nothing + second + 12 * " 00" + 18 * nothing + 68 * " 00"
    assert len(bytes.fromhex(image)) == 812
    assert message[-4:] == crc_by_bits(bytes.fromhex(image)).to_bytes(4, "little")


def test_a_command_is_what_ros_reads_and_its_checksum_right() -> None:
    go2 = load_robot("go2")
    rng = np.random.default_rng(0)
    for _ in range(20):
        command = low_command(MotorCommand(rng.uniform(go2.lower, go2.upper), 50.0, 1.0))
        message = encode_command(command, motor_numbers(go2.joint_names))
        read = deserialize_message(message, LowCmd)
        assert read.crc == crc_by_bits(command_image(read))
        requests = decode_command(message)
        assert [r.q for r in requests] == command.positions.astype(np.float32).tolist()
        assert {(r.mode, r.dq, r.torque, r.kp, r.kd) for r in requests} == {(1, 0.0, 0.0, 50.0, 1.0)}
        assert all((m.q, m.kp, m.kd) == (np.float32(2.146e9), 0, 0) for m in read.motor_cmd[12:])


def test_motors_go_by_joint_name() -> None:
    names = load_robot("go2").joint_names
    assert motor_numbers(names).tolist() == list(range(12))
    backwards = motor_numbers(names[::-1])
    requests = decode_command(encode_command(moving(joint=0), backwards))
    assert [r.kp for r in requests] == 11 * [0.0] + [50.0]
    state = decode_state(encode_state(MEASURED), backwards)
    np.testing.assert_allclose(state.joint_positions, MEASURED.q[::-1], rtol=1e-6)


def test_what_is_not_finite_in_the_messages_numbers_is_refused() -> None:
    for value in (math.nan, math.inf, 1e39):
        command = moving()
        command.kp[3] = value
        with pytest.raises(ValueError, match="kp of a command is not finite"):
            encode_command(command, MOTORS)


def test_a_state_is_what_it_says() -> None:
    message = encode_state(MEASURED)
    read = deserialize_message(message, LowState)  # as ROS understands these bytes
    assert (read.tick, read.motor_state[11].tau_est, read.bms_state.soc) == (2**32 - 1, 5.5, 80)
    state = decode_state(message, MOTORS)
    assert state.tick == 2**32 - 1
    np.testing.assert_allclose(state.joint_positions, MEASURED.q, rtol=1e-6)
    np.testing.assert_allclose(state.joint_velocities, MEASURED.dq)
    np.testing.assert_allclose(state.joint_torques, MEASURED.torque)
    np.testing.assert_allclose(state.orientation, [0.1, 0.2, 0.3, 0.5], rtol=1e-6)
    np.testing.assert_allclose(state.angular_velocity, [1.0, 2.0, 3.0])
    np.testing.assert_allclose(state.linear_acceleration, [4.0, 5.0, 9.0])
    assert state.health == Health(charge=80, temperatures=12 * (30,))
    assert state.foot_forces.tolist() == [-1.0, 2.0, 3.0, 300.0]


def test_a_serialiser_may_leave_anything_in_the_pads() -> None:
    message = serialize_message(deserialize_message(encode_state(MEASURED), LowState))
    pads = bytearray(message)
    for pad in (26, 27, 82, 83, 4 + 125, 4 + 109):
        pads[pad] ^= 0xFF
    assert decode_state(bytes(pads), MOTORS).tick == 2**32 - 1


def test_a_joint_that_is_not_finite_stays_so() -> None:
    state = decode_state(encode_state(replace(MEASURED, q=[math.nan] * 12)), MOTORS)
    assert np.isnan(state.joint_positions).all()


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (b"", "^0 bytes encoded as"),
        (encode_state(MEASURED)[:-1], "^1175 bytes"),
        (b"\0\0" + encode_state(MEASURED)[2:], "encoded as 00 00 where"),
        (encode_state(MEASURED, Seal(level=0xEE)), "head and level fe ef ee where"),
        (encode_state(MEASURED, Seal(checksum="wrong")), "wrong checksum"),
    ],
    ids=["nothing", "short", "big_endian", "high_level", "checksum"],
)
def test_what_is_no_state_is_refused(message: bytes, line: str) -> None:
    with pytest.raises(BadPacket, match=line):
        decode_state(message, MOTORS)


def test_a_state_without_checksum_is_taken_and_a_torn_one_is_not() -> None:
    assert decode_state(encode_state(MEASURED, Seal(checksum="none")), MOTORS).tick == 2**32 - 1
    good, chance = encode_state(MEASURED), random.Random(0)
    blank = decode_state(good, MOTORS)
    for _ in range(200):
        torn = bytearray(good)
        torn[chance.randrange(4, len(good))] ^= 1 << chance.randrange(8)
        try:
            state = decode_state(bytes(torn), MOTORS)
        except BadPacket:
            continue
        assert vars(state).keys() == vars(blank).keys()  # a pad was hit, and nothing else
        assert all(np.array_equal(getattr(state, name), value) for name, value in vars(blank).items())


def test_the_emulated_robot_ignores_commands_that_a_robot_would() -> None:
    good = encode_command(moving(), MOTORS)
    assert len(decode_command(good)) == 12
    for place, reason in ((4, "header"), (6, "header"), (30, "checksum"), (-1, "checksum")):
        spoilt = bytearray(good)
        spoilt[place] ^= 1
        with pytest.raises(Refused, match=reason):
            decode_command(bytes(spoilt))
    strange = deserialize_message(good, LowCmd)
    strange.motor_cmd[5].mode = 0x0A  # the A1's servo mode
    strange.crc = crc_by_bits(command_image(strange))
    with pytest.raises(Refused, match="mode"):
        decode_command(serialize_message(strange))
