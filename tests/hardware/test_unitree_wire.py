"""The bytes of the A1 and Go1: against hand-made ones, an independent implementation, and rubbish."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from emulators.unitree_wire import (
    FORMS,
    JOINTS,
    Measured,
    MotorRequest,
    Refused,
    crc,
    crc_by_bits,
    decode_command,
    encode_state,
    sealed,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from dara_ros.hardware.unitree.wire import (
    A1,
    GO1,
    WIRES,
    BadPacket,
    LowCommand,
    Wire,
    checksum,
    decode_state,
    encode_command,
)

ROBOTS = pytest.mark.parametrize("robot", ["a1", "go1"])
NOTHING = "0A B9 D2 FF 4E 00 00 7A 46" + 18 * " 00"  # a motor that is asked for nothing (SDK: InitCmdData)
FIRST_MOTOR = {"a1": 10, "go1": 22}
REASON = {"a1": "771", "go1": "807"}


def moving(joint: int = 0) -> LowCommand:
    """One joint is asked for the numbers whose bytes the facts give."""
    command = LowCommand()
    command.positions[joint], command.velocities[joint] = 0.5, 0.0
    command.torques[joint], command.kp[joint], command.kd[joint] = -3.2, 20.3, 1.7
    return command


@pytest.mark.parametrize(("wire", "sizes"), [(A1, (610, 771)), (GO1, (614, 807))])
def test_sizes(wire: Wire, sizes: tuple[int, int]) -> None:
    assert (wire.command.itemsize, wire.state.itemsize) == sizes


@ROBOTS
def test_command_bytes(robot: str) -> None:
    packet = encode_command(WIRES[robot], moving(joint=1))
    start = FIRST_MOTOR[robot]
    header = {"a1": "FF" + 9 * " 00", "go1": "FE EF FF" + 19 * " 00"}[robot]
    assert packet[:start] == bytes.fromhex(header)
    motor = "0A 00 00 00 3F 00 00 00 00 CD FC 89 02 1B 00" + 12 * " 00"
    slots = [bytes.fromhex(text) for text in (NOTHING, motor, *(18 * [NOTHING]))]
    assert packet[start : start + 540] == b"".join(slots)
    assert not any(packet[start + 540 : -4])
    assert packet[-4:] == struct.pack("<I", crc_by_bits(packet))


@ROBOTS
def test_state_bytes(robot: str) -> None:
    form = FORMS[robot]
    packet = bytearray(form.state_size)
    packet[: len(form.header)] = form.header
    feet = {"a1": 703, "go1": 739}[robot]  # as a library's own run showed for the Go1
    assert form.header_size + 53 + 640 + form.battery_size == feet
    struct.pack_into("<4f3f3f", packet, form.header_size, 0.5, 0.1, 0.2, 0.3, 1.0, 2.0, 3.0, 4.0, 5.0, 9.0)
    motor = form.header_size + 53 + 2 * 32  # the third
    packet[motor : motor + 13] = bytes.fromhex("0A 00 00 00 3F 00 00 00 C0 00 00 CD FC")
    struct.pack_into("<4h", packet, feet, -1, 2, 3, 300)
    struct.pack_into("<I", packet, feet + 16, 123456)
    packet[-4:] = struct.pack("<I", crc_by_bits(bytes(packet)))
    state = decode_state(WIRES[robot], bytes(packet))
    assert state.tick == 123456
    np.testing.assert_allclose(state.orientation, [0.1, 0.2, 0.3, 0.5], rtol=1e-6)
    assert state.angular_velocity.tolist() == [1.0, 2.0, 3.0]
    assert state.linear_acceleration.tolist() == [4.0, 5.0, 9.0]
    assert state.foot_forces.tolist() == [-1.0, 2.0, 3.0, 300.0]
    third = np.arange(12) == 2
    np.testing.assert_array_equal(state.joint_positions, 0.5 * third)
    np.testing.assert_array_equal(state.joint_velocities, -2.0 * third)
    np.testing.assert_array_equal(state.joint_torques, -819 / 256 * third)


def test_checksum_is_crc_32_mpeg_2_without_the_last_word() -> None:
    for word, expected in ((bytes(4), 0xC704DD7B), (b"\xff\xff\xff\xff", 0)):
        assert checksum(word + b"last") == crc_by_bits(word + b"last") == expected
    rng = np.random.default_rng(0)
    for size in (610, 614, 771, 807):
        packet = rng.bytes(size)
        assert crc_by_bits(packet) == crc(packet) == checksum(packet)


@ROBOTS
def test_both_implementations_understand_each_other(robot: str) -> None:
    requests = decode_command(robot, encode_command(WIRES[robot], moving(joint=7)))
    assert requests[7] == MotorRequest(0x0A, 0.5, 0.0, -819 / 256, 649 / 32, 27 / 16)
    assert len(requests) == JOINTS
    rng = np.random.default_rng(1)
    measured = Measured(
        q=rng.normal(size=12).tolist(),
        dq=rng.normal(size=12).tolist(),
        torque=rng.normal(size=12).tolist(),
        quaternion_wxyz=(0.5, -0.5, 0.5, 0.5),
        tick=2**32 - 1,
    )
    state = decode_state(WIRES[robot], encode_state(robot, measured))
    np.testing.assert_allclose(state.joint_positions, measured.q, rtol=1e-6)
    np.testing.assert_allclose(state.joint_velocities, measured.dq, rtol=1e-6)
    np.testing.assert_allclose(state.joint_torques, measured.torque, atol=1 / 256)
    assert state.orientation.tolist() == [-0.5, 0.5, 0.5, 0.5]
    assert state.tick == 2**32 - 1


@ROBOTS
def test_commands_that_do_not_fit_are_refused(robot: str) -> None:
    for field, value, line in (
        ("positions", np.nan, "positions of a command are not finite"),
        ("velocities", np.inf, "velocities of a command are not finite"),
        ("torques", 128.0, "torques of a command must be within -128 and 127"),
        ("kp", -1.0, "kp of a command must be within 0 and 2047"),
        ("kd", 5000.0, "kd of a command must be within 0 and 4095"),
        ("kd", np.nan, "kd of a command are not finite"),
    ):
        command = moving()
        getattr(command, field)[5] = value
        with pytest.raises(ValueError, match=line):
            encode_command(WIRES[robot], command)


@ROBOTS
def test_wrong_states_are_refused_with_a_line(robot: str) -> None:
    good = encode_state(robot, Measured())
    other = encode_state({"a1": "go1", "go1": "a1"}[robot], Measured())
    spoilt = bytes([*good[:100], good[100] ^ 1, *good[101:]])
    for packet, line in (
        (b"", "0 bytes where a state of the (A1|Go1) has"),
        (good[:-1], REASON[robot]),
        (other, REASON[robot]),
        (spoilt, "wrong checksum"),
        (encode_state(robot, Measured(), low_level=False), "header .*ee where a low-level state .* has .*ff"),
        (sealed(bytes(len(good))), "header 00"),
    ):
        with pytest.raises(BadPacket, match=line) as refusal:
            decode_state(WIRES[robot], packet)
        assert "\n" not in str(refusal.value)


@ROBOTS
def test_the_emulated_robot_refuses_wrong_commands(robot: str) -> None:
    good = encode_command(WIRES[robot], moving())
    wrong_mode = bytearray(good)
    wrong_mode[FIRST_MOTOR[robot]] = 0x05
    for packet, reason in (
        (good + b"\0", "size"),
        (b"\xee" + good[1:], "header"),
        (good[:-1] + bytes([good[-1] ^ 1]), "checksum"),
        (sealed(bytes(wrong_mode)), "mode"),
    ):
        with pytest.raises(Refused, match=reason):
            decode_command(robot, packet)


@ROBOTS
@given(data=st.data())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_rubbish_never_passes_for_a_state(robot: str, data: st.DataObject) -> None:
    """Random bytes are refused; with header and checksum made good, a number that is not finite stays so."""
    form = FORMS[robot]
    rubbish = data.draw(st.binary(max_size=1000))
    with pytest.raises(BadPacket):
        decode_state(WIRES[robot], rubbish)
    patches = data.draw(
        st.lists(st.tuples(st.integers(0, form.state_size - 8), st.binary(min_size=4, max_size=4)))
    )
    packet = bytearray(encode_state(robot, Measured()))
    for start, patch in patches:
        packet[start : start + 4] = patch
    packet[: len(form.header)] = form.header
    state = decode_state(WIRES[robot], sealed(bytes(packet)))
    motors = form.header_size + 53
    q = [struct.unpack_from("<f", packet, motors + 32 * joint + 1)[0] for joint in range(JOINTS)]
    np.testing.assert_array_equal(state.joint_positions, q)
    imu = struct.unpack_from("<10f", packet, form.header_size)
    np.testing.assert_array_equal(state.orientation, [*imu[1:4], imu[0]])
    np.testing.assert_array_equal(state.angular_velocity, imu[4:7])
