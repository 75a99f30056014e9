"""Worlds and motions that the tests of sim/ share."""

from typing import Any

import numpy as np

from dara_ros.hardware.state import MotorCommand, RobotState
from dara_ros.sim.simulator import PyBulletDriver
from dara_ros.sim.world import World, load_world


def variant(name: str = "flat", **changes: Any) -> World:
    """A world with some fields changed; dictionaries change fields of a field."""
    content = load_world(name).model_dump()
    for field, value in changes.items():
        content[field] = content[field] | value if isinstance(value, dict) else value
    return World.model_validate(content)


def hold(driver: PyBulletDriver, positions: np.ndarray, periods: int) -> list[RobotState]:
    """True states while the motors hold `positions` for so many control periods."""
    gains = driver.spec.gains
    states = []
    for _ in range(periods):
        driver.write(MotorCommand(positions, gains.kp, gains.kd))
        states.append(driver.state)
    return states
