"""A control loop for tests of drivers: a robot with its supervisor, in real time."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from emulators.unitree import Status, UnitreeEmulator

from dara_ros.hardware.robot import Robot
from dara_ros.hardware.safety import Mode
from dara_ros.hardware.spec import ROBOTS, RobotSpec

PATIENT = {"command_timeout": 1.0, "max_target_change": 0.1, "stuck_time": 2.0}
CALM = PATIENT | {
    "command_timeout": 10.0,
    "stand_duration": 2.0,
    "period": 1.2,
    "stride": 0.14,
    "swing_height": 0.04,
    "stance_height": 0.25,
}


def patient(spec: RobotSpec, **changes: object) -> RobotSpec:
    """`spec`, for a busy machine, which may hold up a loop that is alive."""
    safety = spec.safety.model_copy(update=PATIENT)
    return spec.model_copy(update={"safety": safety, **changes})


def calm_robot(folder: Path, name: str = "a1") -> Path:
    """A specification in `folder`: the A1's body, the robot's name, and a gait that a slow machine can walk.

    A simulated body that gets a tenth of a processor lives in slow motion, and to it our commands come ten
    times as fast: it must neither jump when it stands up nor fall where it walks or is kept waiting.
    """
    text = (ROBOTS / "a1.yaml").read_text().replace("name: a1\n", f"name: {name}\n")
    for field, value in CALM.items():
        text, found = re.subn(rf"\b{field}: [\d.]+", f"{field}: {value}", text)
        assert found == 1, field
    path = folder / f"calm_{name}.yaml"
    path.write_text(text)
    return path


def settle(emulator: UnitreeEmulator) -> None:
    """Wait until a robot that was let go lies still: the supervisor damps one that stands up in its fall."""
    before = emulator.status().joint_positions

    def still(status: Status) -> bool:
        nonlocal before
        moved = max(abs(q - p) for q, p in zip(status.joint_positions, before, strict=True))
        before = status.joint_positions
        time.sleep(0.1)
        return moved < 0.02

    emulator.wait_until(still)


def run(robot: Robot, until: Callable[[], bool], patience: float = 15.0) -> None:
    """The control loop until something is so; fails where that takes more than `patience` seconds."""
    begin = deadline = time.monotonic()
    while not until():
        assert deadline - begin < patience, (robot.supervisor.mode, robot.supervisor.reason)
        robot.tick(robot.driver.read(), None)
        deadline = max(deadline + robot.spec.control_period, time.monotonic())
        time.sleep(max(0.0, deadline - time.monotonic()))


def stand(robot: Robot) -> None:
    """Stand up, as soon as the robot's states are new."""
    run(robot, lambda: robot.supervisor.stand() == "")
    run(robot, lambda: robot.supervisor.mode in (Mode.READY, Mode.DAMPED))
    assert robot.supervisor.mode is Mode.READY, robot.supervisor.reason
