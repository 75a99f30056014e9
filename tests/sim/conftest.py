"""Simulators that the tests of sim/ share: each world is built once per module."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from simulated import variant

from dara_ros.hardware.spec import RobotSpec, load_robot
from dara_ros.sim.environment import WalkingEnv
from dara_ros.sim.simulator import PyBulletDriver


@pytest.fixture(scope="session")
def a1() -> RobotSpec:
    return load_robot("a1")


@pytest.fixture(scope="module")
def flat() -> Iterator[WalkingEnv]:
    environment = WalkingEnv("flat")
    yield environment
    environment.close()


@pytest.fixture(scope="module")
def obstructive() -> Iterator[WalkingEnv]:
    environment = WalkingEnv("obstructive")
    yield environment
    environment.close()


@pytest.fixture
def simulate(a1: RobotSpec) -> Iterator[Callable[..., PyBulletDriver]]:
    """Opens simulators of `variant` worlds and closes them after the test."""
    opened = []

    def simulate(name: str = "flat", **changes: Any) -> PyBulletDriver:
        driver = PyBulletDriver(a1, variant(name, **changes))
        driver.open()
        opened.append(driver)
        return driver

    yield simulate
    for driver in opened:
        driver.close()
