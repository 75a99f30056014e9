"""The one door to the motors."""

from typing import Protocol

from .state import MotorCommand, RobotState


class Driver(Protocol):
    """Reaches a robot, real or simulated. Only `hardware.robot.Robot` calls it, behind the supervisor.

    Third parties add a driver through the entry point group `dara_ros.drivers`: a callable that takes a
    RobotSpec and returns a Driver.
    """

    def open(self) -> None:
        """Connect. Moves nothing."""

    def read(self) -> RobotState:
        """The newest state."""

    def write(self, command: MotorCommand) -> None:
        """Hand a command to the motors for the control period that begins now."""

    def damp(self) -> None:
        """Motors resist motion and nothing else, at once, whatever went before."""

    def close(self) -> None:
        """Damp and disconnect. May be called twice."""
