"""What reaches a robot, by name: PyBullet, and the installed drivers."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Protocol

from .errors import UserError
from .hardware.driver import Driver
from .hardware.spec import RobotSpec

Connect = Callable[[str, RobotSpec, str, int], Driver]
"""Makes a driver, as `make_driver` does: its name, the robot, and a simulation's world and seed."""


class Simulation(Driver, Protocol):
    """What a simulated robot can do beyond a Driver."""

    def restart(self, seed: int, stamp: int = 0) -> None:
        """Put the robot back to its start; the clock shows `stamp` (ns)."""


def make_driver(name: str, spec: RobotSpec, world: str, seed: int) -> Driver:
    """The driver called `name`: pybullet, or one of the entry point group `dara_ros.drivers`.

    Raises:
        UserError: there is none, or the world or robot does not suit it.
    """
    if name == "pybullet":
        from .sim.world import load_world

        loaded = load_world(world)  # first: PyBullet greets on stderr, and a wrong world is to be one line
        from .sim.simulator import PyBulletDriver

        return PyBulletDriver(spec, loaded, seed)
    found = importlib.metadata.entry_points(group="dara_ros.drivers")
    if name not in found.names:
        known = ", ".join(sorted({"pybullet", *found.names}))
        raise UserError(f"driver '{name}' does not exist; known drivers: {known}")
    return found[name].load()(spec)
