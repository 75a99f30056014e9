"""What a robot says of itself that no policy needs, and its owner does."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Health:
    """Battery and motors.

    Attributes:
        charge: of the battery, percent; None where the robot does not say it.
        temperatures: of the motors, degrees Celsius, in the spec's order of joints.
    """

    charge: int | None
    temperatures: tuple[int, ...]

    def figures(self) -> dict[str, int]:
        """For diagnostics: what is known."""
        known = {"hottest_motor_celsius": max(self.temperatures)}
        return known if self.charge is None else known | {"battery_percent": self.charge}
