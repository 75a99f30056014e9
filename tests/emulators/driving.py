"""A control loop for tests of drivers: a robot with its supervisor, in real time."""

from __future__ import annotations

import time
from collections.abc import Callable

from dara_ros.hardware.robot import Robot
from dara_ros.hardware.safety import Mode
from dara_ros.hardware.spec import RobotSpec


def patient(spec: RobotSpec, **changes: object) -> RobotSpec:
    """`spec`, for a busy machine, which may hold up a loop that is alive."""
    safety = spec.safety.model_copy(update={"command_timeout": 1.0})
    return spec.model_copy(update={"safety": safety, **changes})


def run(robot: Robot, until: Callable[[], bool], patience: float = 15.0) -> None:
    """The control loop until something is so; fails where that takes more than `patience` seconds."""
    begin = deadline = time.monotonic()
    while not until():
        assert deadline - begin < patience, (robot.supervisor.mode, robot.supervisor.reason)
        robot.tick(robot.driver.read(), None)
        deadline = max(deadline + robot.spec.control_period, time.monotonic())
        time.sleep(max(0.0, deadline - time.monotonic()))


def stand(robot: Robot) -> None:
    """Stand up."""
    assert robot.supervisor.stand() == ""
    run(robot, lambda: robot.supervisor.mode in (Mode.READY, Mode.DAMPED))
    assert robot.supervisor.mode is Mode.READY, robot.supervisor.reason
