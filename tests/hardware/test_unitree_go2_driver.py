"""The Go2's driver against an emulated Go2, over DDS: how it gets the motors, keeps them, and lets them go.

The emulated robot has the A1's body, so its specification here is the A1's with another name.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dara_ros.errors import UserError
from dara_ros.hardware.robot import Robot
from dara_ros.hardware.safety import Mode
from dara_ros.hardware.spec import RobotSpec
from dara_ros.hardware.state import MotorCommand
from dara_ros.hardware.unitree import go2_driver
from dara_ros.hardware.unitree.go2_driver import UnitreeGo2Driver, unitree_go2
from dara_ros.hardware.unitree.go2_wire import decode_state
from dara_ros.hardware.unitree.sport_mode import Rest
from dara_ros.hardware.unitree.wire import LowState
from dara_ros.processes import free_domain_id

pytest.importorskip("pybullet", reason="needs the simulator: pip install 'dara_ros[sim]'")
pytest.importorskip("unitree_go", reason="needs the Go2's messages: make unitree-messages")

from emulators.commander import another_commander
from emulators.driving import patient, run, settle, stand
from emulators.unitree import Status, UnitreeEmulator
from emulators.unitree_go2_wire import encode_state
from emulators.unitree_wire import Measured


@pytest.fixture(scope="module")
def go2(a1: RobotSpec) -> RobotSpec:
    return patient(a1, name="go2")


@pytest.fixture(scope="module")
def running() -> Iterator[UnitreeEmulator]:
    with UnitreeEmulator("go2", hung=True) as emulator:
        yield emulator


@pytest.fixture
def emulator(running: UnitreeEmulator) -> UnitreeEmulator:
    """In order; its own watchdog is not to be what damps it on a busy machine."""
    running.set(healed=True, watchdog=60.0)
    return running


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(go2_driver, "LISTENING", 0.2)


@pytest.fixture
def robot(emulator: UnitreeEmulator, go2: RobotSpec) -> Iterator[Robot]:
    """A Go2 with its supervisor."""
    driver = UnitreeGo2Driver(go2)
    before = emulator.status().commands
    driver.open()
    emulator.wait_until(lambda s: s.commands > before)  # it finds the driver in its own time
    settle(emulator)
    yield Robot(go2, driver)
    driver.close()


def stands(status: Status, spec: RobotSpec) -> bool:
    """Whether the legs are as in a stand; the robot itself hangs in the air, where nothing can fall."""
    return bool(np.abs(np.array(status.joint_positions) - spec.stand_pose).max() < 0.1)


# -- getting the motors -------------------------------------------------------------------------------------


def test_leaves_sport_mode_lying_stands_up_and_is_damped(emulator: UnitreeEmulator, go2: RobotSpec) -> None:
    emulator.set(sport="normal")
    emulator.wait_until(lambda s: s.by == "sport" and stands(s, go2))
    driver = UnitreeGo2Driver(go2)
    driver.open()
    opened = emulator.wait_until(lambda s: s.commands > 0)
    assert opened.motors == "damped"
    assert opened.refused == {}  # it was not dropped, not commanded in sport mode, and asked nothing strange
    robot = Robot(go2, driver)
    stand(robot)
    standing = emulator.status()
    assert standing.motors == "servo" and stands(standing, go2)
    driver.damp()
    assert emulator.wait_until(lambda s: s.motors == "damped").by == "command"
    stiff = MotorCommand(go2.stand_pose, go2.gains.kp, go2.gains.kd)
    driver.write(stiff)
    emulator.wait_until(lambda s: s.motors == "servo")
    with pytest.raises(ValueError, match="not finite"):
        driver.write(MotorCommand(np.full(12, np.nan), go2.gains.kp, go2.gains.kd))
    emulator.wait_until(lambda s: s.motors == "damped")
    driver.write(stiff)
    emulator.wait_until(lambda s: s.motors == "servo")
    driver.close()
    driver.close()
    closed = emulator.wait_until(lambda s: s.motors == "damped")
    assert closed.by == "command" and closed.refused == {} and driver.refused == 0


@pytest.mark.parametrize(
    ("fault", "patience", "line"),
    [
        ({"services": False}, 1.0, "in time: its services do not answer"),
        ({"stands_by": True}, 2.0, "in time: it does not lie still in mode 'normal'"),
        ({"stubborn": True}, 6.0, "in time: it stays in mode 'normal'"),
        ({"refusal": 3203}, 6.0, "motion_switcher refuses 1001 with code 3203"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_robot_that_does_not_leave_sport_mode_is_left_alone(
    emulator: UnitreeEmulator, go2: RobotSpec, fault: dict[str, object], patience: float, line: str
) -> None:
    before = emulator.set(sport="normal", **fault)
    driver = UnitreeGo2Driver(go2, patience)
    with pytest.raises(UserError, match=f"{line}; leave .* with the app or the remote"):
        driver.open()
    after = emulator.status()
    assert (after.motors, after.by) == ("servo", "sport")
    assert after.commands == before.commands and after.refused == before.refused
    driver.damp()  # both do nothing
    driver.close()


def test_called_off_before_it_has_the_motors_it_asks_for_no_motion(
    emulator: UnitreeEmulator, go2: RobotSpec
) -> None:
    before = emulator.set(sport="normal")
    emulator.wait_until(lambda s: s.by == "sport" and stands(s, go2))
    begun = time.monotonic()
    driver = UnitreeGo2Driver(go2)
    # The robot is heard, and then listened to for 0.2 s.
    with pytest.raises(UserError, match="stopped before it had the motors: .* use its remote"):
        driver.open(lambda: time.monotonic() > begun + 0.1)
    time.sleep(2.0)  # it would lie by now
    after = emulator.status()
    assert after.by == "sport" and stands(after, go2) and after.commands == before.commands


def test_called_off_while_the_robot_lies_down_it_does_not_let_go_of_its_motors(
    emulator: UnitreeEmulator, go2: RobotSpec
) -> None:
    emulator.set(sport="normal")
    emulator.wait_until(lambda s: s.by == "sport" and stands(s, go2))
    driver = UnitreeGo2Driver(go2)
    with pytest.raises(UserError, match="stopped before it had the motors"):
        driver.open(lambda: not stands(emulator.status(), go2))
    time.sleep(3.0)  # it would be released by now
    assert emulator.status().by == "sport"


def test_refuses_while_somebody_else_publishes_commands(
    emulator: UnitreeEmulator, go2: RobotSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(go2_driver, "LISTENING", 3.0)
    before = emulator.set(sport="normal")
    driver = UnitreeGo2Driver(go2)
    with another_commander(), pytest.raises(UserError, match="somebody else publishes /lowcmd .*end that"):
        driver.open()
    after = emulator.status()
    assert after.by == "sport" and after.commands == before.commands  # it was not even laid down


def test_what_cannot_be_reached_or_understood_is_said_in_a_line(
    emulator: UnitreeEmulator, go2: RobotSpec, a1: RobotSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(go2_driver, "DISCOVERY", 2.0)
    emulator.set(level=0xEE)
    with pytest.raises(UserError, match=r"no state on .*refused, the last: head and level fe ef ee"):
        UnitreeGo2Driver(go2).open()
    with monkeypatch.context() as elsewhere, pytest.raises(UserError, match=r"no state .* is the robot on"):
        elsewhere.setenv("ROS_DOMAIN_ID", str(free_domain_id()))
        elsewhere.setattr(go2_driver, "DISCOVERY", 0.2)
        UnitreeGo2Driver(go2).open()
    with monkeypatch.context() as bare, pytest.raises(UserError, match="run `make unitree-messages`"):
        bare.setitem(sys.modules, "unitree_go", None)
        bare.setitem(sys.modules, "unitree_go.msg", None)
        UnitreeGo2Driver(go2).open()
    with pytest.raises(UserError, match="unitree_go2 cannot drive robot 'a1'; set robot to go2"):
        unitree_go2(a1)
    for given in ("soon", "nan", "inf", "-1"):
        monkeypatch.setenv("DARA_SPORT_TIMEOUT", given)
        with pytest.raises(UserError, match=f"'{given}' in DARA_SPORT_TIMEOUT is no number of seconds"):
            unitree_go2(go2)


def low_state(go2: RobotSpec, q: np.ndarray, dq: float = 0.0) -> LowState:
    return decode_state(encode_state(Measured(q=q.tolist(), dq=[dq] * 12)), np.arange(12))


def test_a_robot_lies_when_it_is_low_and_still_for_a_while(go2: RobotSpec) -> None:
    lying, standing = low_state(go2, go2.sit_pose), low_state(go2, go2.stand_pose)
    rest = Rest(go2)
    assert not rest.lies(0.0)
    for k in range(100):
        rest.add(standing, 0.01 * k)
        assert not rest.lies(0.01 * k)
    for k in range(100, 150):
        rest.add(lying, 0.01 * k)
        assert not rest.lies(0.01 * k - 0.005)
    rest.add(lying, 1.51)
    assert rest.lies(1.51)
    assert not rest.lies(1.7)  # nothing was heard since
    rest.add(low_state(go2, go2.sit_pose, dq=1.0), 1.71)
    rest.add(lying, 1.72)
    assert not rest.lies(1.72)


# -- keeping them -------------------------------------------------------------------------------------------


def test_who_publishes_commands_later_has_the_motors_damped(robot: Robot, emulator: UnitreeEmulator) -> None:
    stand(robot)
    robot.driver._watchdog_ns = 3600 * 10**9  # that is not to be what damps them
    with another_commander():
        with pytest.raises(UserError, match="somebody else publishes /lowcmd"):
            run(robot, lambda: False)
        damped = emulator.wait_until(lambda s: s.motors == "damped")
        assert damped.by == "command"
        robot.driver.write(MotorCommand(robot.spec.stand_pose, robot.spec.gains.kp, robot.spec.gains.kd))
        later = emulator.wait_until(lambda s: s.commands > damped.commands + 20)
        assert later.since == damped.since  # the driver goes on to damp, whatever is written


def test_a_robot_that_goes_back_to_sport_mode_is_commanded_no_more(
    robot: Robot, emulator: UnitreeEmulator
) -> None:
    stand(robot)
    emulator.set(sport="normal")
    with pytest.raises(UserError, match="the robot went back to its mode 'normal'"):
        run(robot, lambda: False)
    with pytest.raises(UserError, match="the robot went back"):
        robot.driver.read()


def test_one_message_in_five_may_get_lost(emulator: UnitreeEmulator, robot: Robot) -> None:
    emulator.set(loss=0.2, delay=0.002)
    stand(robot)
    assert stands(emulator.status(), robot.spec)


@pytest.mark.parametrize("fault", [{"mute": True}, {"checksum": "wrong"}, {"level": 0xEE}], ids=str)
def test_states_that_stop_or_are_none_damp(
    emulator: UnitreeEmulator, robot: Robot, fault: dict[str, object]
) -> None:
    stand(robot)
    emulator.set(**fault)
    run(robot, lambda: robot.supervisor.mode is Mode.DAMPED)
    assert "no new state for" in robot.supervisor.reason
    assert emulator.wait_until(lambda s: s.motors == "damped").by == "command"


def test_a_control_loop_that_hangs_is_damped_and_stays_so(emulator: UnitreeEmulator, robot: Robot) -> None:
    stand(robot)
    hung = emulator.wait_until(lambda s: s.motors == "damped")
    assert hung.by == "command"  # of the driver, which the robot still hears
    robot.driver.write(MotorCommand(robot.spec.stand_pose, robot.spec.gains.kp, robot.spec.gains.kd))
    later = emulator.status().commands + 20
    emulator.wait_until(lambda s: s.commands > later)
    run(robot, lambda: robot.supervisor.mode is Mode.DAMPED)
    assert emulator.status().since == hung.since  # not for a moment was it stiff again


KILLED = """
    import time
    from emulators.driving import patient
    from dara_ros.hardware.robot import Robot
    from dara_ros.hardware.spec import load_robot
    from dara_ros.hardware.unitree.go2_driver import UnitreeGo2Driver
    robot = Robot(patient(load_robot("a1"), name="go2"), None)
    robot.driver = UnitreeGo2Driver(robot.spec)
    robot.driver.open()
    robot.supervisor.stand()
    while True:
        robot.tick(robot.driver.read(), None)
        time.sleep(robot.spec.control_period)
"""


def test_when_the_driver_is_killed_the_robots_own_watchdog_damps(
    go2: RobotSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", str(free_domain_id()))  # where the dead one's publisher is remembered
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[1]))
    with UnitreeEmulator("go2", hung=True) as emulator:
        emulator.set(watchdog=1.0)
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(KILLED)])
        try:
            emulator.wait_until(lambda s: s.motors == "servo", timeout=30.0)
            killed = time.monotonic()
        finally:
            process.kill()
            process.wait()
        status = emulator.wait_until(lambda s: s.motors == "damped")
        assert status.by == "watchdog" and status.since >= killed
