"""The one door to the motors."""

from collections.abc import Callable
from typing import Protocol

from .state import MotorCommand, RobotState


def never() -> bool:
    """Nobody calls it off."""
    return False


class Driver(Protocol):
    """Reaches a robot, real or simulated. Only `hardware.robot.Robot` writes to it, behind the supervisor.

    No call but `open` and `close` may take longer than a fraction of a control period, whatever the robot
    does: while one lasts nobody supervises. And a driver needs a watchdog of its own, which damps the motors
    where `write` stays away: the process may hang (`hardware.unitree.low_level` has one).

    Third parties add a driver through the entry point group `dara_ros.drivers`: a callable that takes a
    RobotSpec and returns a Driver.
    """

    def open(self, called_off: Callable[[], bool] = never) -> None:
        """Connect. Moves nothing, but for a robot that has to lie down before it gives its motors away.

        Args:
            called_off: asked before anything that moves the robot; once it is true nothing more is asked of
                the robot, and `open` raises a UserError.
        """

    def read(self) -> RobotState:
        """The newest state."""

    def write(self, command: MotorCommand) -> None:
        """Hand a command to the motors for the control period that begins now."""

    def damp(self) -> None:
        """Motors resist motion and nothing else, at once, whatever went before."""

    def close(self) -> None:
        """Damp and disconnect. May be called twice."""
