"""The UDP driver of the A1 and Go1: its stamps, what it refuses, and the emulated robot that it drives."""

from __future__ import annotations

import math
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from emulators.driving import patient, run, settle, stand
from emulators.unitree import UnitreeEmulator
from emulators.unitree_wire import Measured, decode_command, encode_state

from dara_ros.errors import UserError
from dara_ros.hardware.robot import Robot
from dara_ros.hardware.safety import Mode
from dara_ros.hardware.spec import RobotSpec, Sensors, load_robot
from dara_ros.hardware.state import MotorCommand
from dara_ros.hardware.unitree import low_level
from dara_ros.hardware.unitree.low_level import low_command
from dara_ros.hardware.unitree.state_buffer import StateBuffer
from dara_ros.hardware.unitree.udp_driver import UnitreeUdpDriver, unitree_a1, unitree_go1
from dara_ros.hardware.unitree.wire import A1, LowState, decode_state, encode_command

MS = 1_000_000
EPOCH = 1_000_000 * MS


def state(tick: int, **changes: object) -> LowState:
    return replace(decode_state(A1, encode_state("a1", Measured(tick=tick))), **changes)


# -- stamps: no socket, no clock ----------------------------------------------------------------------------


@pytest.fixture
def buffer() -> StateBuffer:
    return StateBuffer(period_ns=20 * MS, samples=10, epoch=EPOCH)


def test_unevenly_read_states_are_stamped_one_period_apart(buffer: StateBuffer) -> None:
    rng = np.random.default_rng(0)
    for k in range(100):
        now = k * 20 * MS + (round(rng.uniform(0, 8 * MS)) if k else 0)
        buffer.add(state(tick=10 * k + 1), received=now - round(rng.uniform(0, 5 * MS)))
        assert buffer.take(now).stamp == EPOCH + k * 20 * MS


def test_no_news_leaves_stamp_and_state_as_they_are(buffer: StateBuffer) -> None:
    buffer.add(state(tick=1), received=0)
    first = buffer.take(0)
    assert buffer.take(20 * MS) is first
    buffer.add(state(tick=1), received=20 * MS)  # the robot's clock stands still
    assert buffer.take(20 * MS) is first
    buffer.add(state(tick=0), received=40 * MS)  # it goes back: an old packet
    assert buffer.take(40 * MS) is first
    assert buffer.repeated == 2
    buffer.add(state(tick=2), received=60 * MS)
    assert buffer.take(61 * MS).stamp == EPOCH + 60 * MS


def test_the_robots_clock_may_wrap(buffer: StateBuffer) -> None:
    buffer.add(state(tick=2**32 - 1), received=0)
    buffer.take(0)
    buffer.add(state(tick=1), received=20 * MS)
    assert buffer.take(20 * MS).stamp == EPOCH + 20 * MS


def test_acceleration_is_averaged_over_the_period_and_the_rest_is_the_newest(buffer: StateBuffer) -> None:
    tick = 0
    for period, (samples, mean) in enumerate(((12, 6.5), (3, 1.0), (10, 4.5))):  # of 12, the oldest two go
        for sample in range(samples):
            tick += 1
            newest = state(tick, linear_acceleration=np.full(3, 100.0 * period + sample))
            buffer.add(replace(newest, joint_positions=np.full(12, float(tick))), received=period * 20 * MS)
        taken = buffer.take(period * 20 * MS)
        assert taken.linear_acceleration.tolist() == [100.0 * period + mean] * 3
        assert taken.joint_positions.tolist() == [float(tick)] * 12


def test_not_finite_stays_so(buffer: StateBuffer) -> None:
    buffer.add(state(tick=1, linear_acceleration=np.array([0.0, math.nan, 9.8])), received=0)
    buffer.add(state(tick=2), received=0)
    assert not buffer.take(0).is_finite()
    with pytest.raises(LookupError):
        StateBuffer(20 * MS, 10, EPOCH).take(0)


# -- commands and refusals ----------------------------------------------------------------------------------


def test_what_the_supervisor_lets_through_is_what_is_asked_of_the_motors(a1: RobotSpec) -> None:
    def requests(kp: float, kd: float):
        command = low_command(MotorCommand(a1.stand_pose, kp, kd))
        return decode_command("a1", encode_command(A1, command))

    for request, position in zip(requests(80.0, 1.0), a1.stand_pose, strict=True):
        assert request.q == np.float32(position)
        assert (request.mode, request.dq, request.torque) == (0x0A, 0.0, 0.0)
        assert (request.kp, request.kd) == (80.0, 1.0)
    for request in requests(0.0, 3.0):
        assert (request.q, request.dq, request.kp, request.kd) == (np.float32(2.146e9), 0.0, 0.0, 3.0)
    for request in requests(0.0, 0.0):
        assert (request.q, request.dq, request.kp, request.kd) == (np.float32(2.146e9), 16000.0, 0.0, 0.0)


def test_what_cannot_be_reached_is_said_in_a_line(a1: RobotSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(low_level, "OPEN_TIMEOUT", 0.1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        driver = UnitreeUdpDriver(a1, deaf.getsockname(), local_port=0)
        for _ in range(2):
            with pytest.raises(UserError, match=r"no state from 127.0.0.1:\d+ .* low-level mode"):
                driver.open()
        driver.damp()
        driver.close()
        taken = UnitreeUdpDriver(a1, deaf.getsockname(), local_port=deaf.getsockname()[1])
        with pytest.raises(UserError, match=r"port \d+ of this computer is not free .* DARA_LOCAL_PORT"):
            taken.open()


def test_the_environment_gives_the_address(a1: RobotSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    for address, local_port, line in (
        ("robot:x", "1", "'x' in DARA_ROBOT_ADDRESS is no port"),
        ("robot:70000", "1", "'70000' in DARA_ROBOT_ADDRESS is no port"),
        ("robot", "-1", "'-1' in DARA_LOCAL_PORT is no port"),
    ):
        monkeypatch.setenv("DARA_ROBOT_ADDRESS", address)
        monkeypatch.setenv("DARA_LOCAL_PORT", local_port)
        with pytest.raises(UserError, match=line):
            unitree_a1(a1)
    monkeypatch.setenv("DARA_ROBOT_ADDRESS", "no.such.robot.invalid")
    monkeypatch.setenv("DARA_LOCAL_PORT", "0")
    with pytest.raises(UserError, match=r"address 'no.such.robot.invalid' does not exist"):
        unitree_a1(a1).open()
    with pytest.raises(UserError, match="cannot drive robot 'a1'; set robot to go1"):
        unitree_go1(a1)
    with pytest.raises(UserError, match="no UDP protocol of robot 'go2'"):
        UnitreeUdpDriver(load_robot("go2"))


def test_feet_feel_newtons_where_the_robot_is_calibrated(
    a1: RobotSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(low_level, "OPEN_TIMEOUT", 10.0)
    sensors = Sensors(foot_offset=(10.0, 20.0, 30.0, 40.0), newtons_per_count=0.5)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as robot:
        robot.bind(("127.0.0.1", 0))
        robot.settimeout(10.0)

        def answer() -> None:
            _, sender = robot.recvfrom(2048)
            robot.sendto(encode_state("a1", Measured(foot_force=(10.0, 30.0, 20.0, 240.0))), sender)

        answers = threading.Thread(target=answer)
        answers.start()
        calibrated = a1.model_copy(update={"sensors": sensors})
        driver = UnitreeUdpDriver(calibrated, robot.getsockname(), local_port=0)
        driver.open()
        answers.join()
        assert driver.read().foot_forces.tolist() == [0.0, 5.0, -5.0, 100.0]
        driver.close()


# -- with the emulated robot --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def emulator() -> Iterator[UnitreeEmulator]:
    pytest.importorskip("pybullet")
    with UnitreeEmulator("a1") as running:
        yield running


@pytest.fixture
def robot(emulator: UnitreeEmulator, a1: RobotSpec) -> Iterator[Robot]:
    """An A1 with its supervisor; its own watchdog is not to be what damps it on a busy machine."""
    emulator.set(watchdog=60.0)
    driver = UnitreeUdpDriver(patient(a1), emulator.address, local_port=0)
    driver.open()
    settle(emulator)
    yield Robot(driver.spec, driver)
    driver.close()
    emulator.set(loss=0.0, delay=0.0, mute=False, stopped_clock=False, not_finite=False, high_level=False)


@pytest.mark.parametrize("name", ["a1", "go1"])
def test_stands_up_is_damped_and_is_damped_when_it_closes(name: str) -> None:
    pytest.importorskip("pybullet")
    spec = patient(load_robot(name))
    with UnitreeEmulator(name) as emulator:
        driver = UnitreeUdpDriver(spec, emulator.address, local_port=0)
        driver.open()
        assert emulator.status().motors == "damped"  # nothing moves before somebody says so
        robot = Robot(spec, driver)
        stand(robot)
        standing = emulator.status()
        assert standing.motors == "servo" and standing.up > 0.99 and standing.position[2] > 0.22
        np.testing.assert_allclose(standing.joint_positions, spec.stand_pose, atol=0.25)
        driver.damp()
        assert emulator.wait_until(lambda s: s.motors == "damped").by == "command"
        stiff = MotorCommand(spec.stand_pose, spec.gains.kp, spec.gains.kd)
        driver.write(stiff)
        emulator.wait_until(lambda s: s.motors == "servo")
        with pytest.raises(ValueError, match="not finite"):
            driver.write(replace(stiff, positions=np.full(12, np.nan)))
        emulator.wait_until(lambda s: s.motors == "damped")
        driver.write(stiff)
        emulator.wait_until(lambda s: s.motors == "servo")
        driver.close()
        driver.close()
        closed = emulator.wait_until(lambda s: s.motors == "damped")
        assert closed.by == "command" and closed.refused == {} and driver.refused == 0


def test_one_packet_in_five_may_get_lost(emulator: UnitreeEmulator, robot: Robot) -> None:
    emulator.set(loss=0.2, delay=0.002)
    stand(robot)
    assert emulator.status().position[2] > 0.22


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("mute", "no new state for"), ("stopped_clock", "no new state for"), ("not_finite", "not finite")],
)
def test_a_state_that_stops_or_is_not_finite_damps(
    emulator: UnitreeEmulator, robot: Robot, fault: str, reason: str
) -> None:
    stand(robot)
    emulator.set(**{fault: True})
    run(robot, lambda: robot.supervisor.mode is Mode.DAMPED)
    assert reason in robot.supervisor.reason
    assert emulator.wait_until(lambda s: s.motors == "damped").by == "command"
    before = robot.driver.read().stamp
    emulator.set(**{fault: False})
    run(robot, lambda: (state := robot.driver.read()).stamp > before and state.is_finite())
    assert robot.supervisor.reset() == ""
    stand(robot)  # the driver goes on


def test_a_control_loop_that_hangs_is_damped_and_stays_so(emulator: UnitreeEmulator, robot: Robot) -> None:
    stand(robot)
    hung = emulator.wait_until(lambda s: (s.motors, s.by) == ("damped", "command"))  # not by its own watchdog
    emulator.wait_until(lambda s: s.commands > hung.commands + 20)  # by the driver: the robot still hears it
    before = robot.driver.read()
    robot.driver.write(MotorCommand(robot.spec.stand_pose, robot.spec.gains.kp, robot.spec.gains.kd))
    later = emulator.status().commands + 20
    emulator.wait_until(lambda s: s.commands > later)
    run(robot, lambda: robot.supervisor.mode is Mode.DAMPED)
    assert "no new state" in robot.supervisor.reason
    assert emulator.status().since == hung.since  # not for a moment was it stiff again
    run(robot, lambda: robot.driver.read().stamp > before.stamp)


def test_a_robot_in_high_level_mode_is_told_so(
    emulator: UnitreeEmulator, robot: Robot, a1: RobotSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(low_level, "OPEN_TIMEOUT", 0.2)
    emulator.set(high_level=True)
    driver = UnitreeUdpDriver(a1, emulator.address, local_port=0)
    with pytest.raises(UserError, match=r"packets refused, the last: header ee .*low-level mode"):
        driver.open()


def test_strangers_are_not_listened_to(robot: Robot) -> None:
    driver = robot.driver
    assert isinstance(driver, UnitreeUdpDriver)
    port = driver._socket.getsockname()[1]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.2", 0))
        stranger.sendto(encode_state("a1", Measured(tick=2**31)), ("127.0.0.1", port))
        stranger.sendto(b"rubbish", ("127.0.0.1", port))
        run(robot, lambda: driver.foreign == 2)
    assert driver.refused == 0


KILLED = """
    import sys, time
    from emulators.driving import patient
    from dara_ros.hardware.robot import Robot
    from dara_ros.hardware.spec import load_robot
    from dara_ros.hardware.unitree.udp_driver import UnitreeUdpDriver
    spec = patient(load_robot("a1"))
    robot = Robot(spec, UnitreeUdpDriver(spec, ("127.0.0.1", int(sys.argv[1])), local_port=0))
    robot.driver.open()
    robot.supervisor.stand()
    while True:
        robot.tick(robot.driver.read(), None)
        time.sleep(spec.control_period)
"""


def test_when_the_driver_is_killed_the_robots_own_watchdog_damps(
    emulator: UnitreeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.set(watchdog=1.0)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[1]))
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(emulator.address[1])]
    process = subprocess.Popen(command)
    try:
        emulator.wait_until(lambda s: s.motors == "servo", timeout=30.0)
        killed = time.monotonic()
    finally:
        process.kill()
        process.wait()
    status = emulator.wait_until(lambda s: s.motors == "damped")
    assert status.by == "watchdog" and status.since >= killed
