"""A joystick as data, and what its buttons ask for. Read from hardware/joysticks/*.yaml."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import NonNegativeInt, model_validator

from ..errors import UserError
from .config import Model, load_named

JOYSTICKS = Path(__file__).resolve().parent / "joysticks"
SILENCE = 0.5  # s after which a dead man's button counts as released


class Joystick(Model):
    """Which button does what, by its number in sensor_msgs/Joy."""

    name: str
    deadman: NonNegativeInt
    estop: NonNegativeInt
    stand: NonNegativeInt | None = None
    sit: NonNegativeInt | None = None

    @model_validator(mode="after")
    def _buttons_differ(self) -> "Joystick":
        buttons = (self.deadman, self.estop, *self.presses.values())
        if len(set(buttons)) != len(buttons):
            raise ValueError("two functions have the same button")
        return self

    @property
    def presses(self) -> dict[str, int]:
        """The buttons that count when they go down, by what they ask for."""
        optional = {"stand": self.stand, "sit": self.sit}
        return {request: button for request, button in optional.items() if button is not None}


def load_joystick(joystick: str | Path) -> Joystick:
    """Read a Joystick by name (`xbox`) or from a YAML file.

    Raises:
        UserError: no such joystick, not YAML, or a field that is missing, unknown or out of range.
    """
    return load_named(joystick, JOYSTICKS, Joystick)


class Operator:
    """The person who holds the joystick. Times are s on a monotonic clock."""

    def __init__(self, joystick: Joystick) -> None:
        self._joystick = joystick
        self._holds = False  # the dead man's button, as last heard
        self._heard = 0.0  # when
        self._down = set(joystick.presses)  # as far as we know: a press begins with a button that is up

    def hear(self, buttons: Sequence[int], now: float) -> list[str]:
        """Take the state of all buttons; returns what they ask for: estop, stop, stand, sit.

        Raises:
            UserError: there are fewer buttons than the joystick should have, the emergency stop not pressed
                among them; no dead man's button is held then.
        """
        asked_for = {"estop": self._joystick.estop, "stop": self._joystick.deadman, **self._joystick.presses}
        if len(buttons) > self._joystick.estop and buttons[self._joystick.estop]:
            self._holds, self._down = False, set(self._joystick.presses)
            return ["estop"]
        if len(buttons) <= max(asked_for.values()):
            self._holds = False
            raise UserError(
                f"joystick {self._joystick.name} has {len(buttons)} buttons but should have one number "
                f"{max(asked_for.values())}; correct its YAML file or choose another"
            )
        self._holds, self._heard = bool(buttons[self._joystick.deadman]), now
        down = {request for request, button in self._joystick.presses.items() if buttons[button]}
        pressed, self._down = sorted(down - self._down), down
        return ([] if self._holds else ["stop"]) + pressed

    def holds(self, now: float) -> bool:
        """Whether the dead man's button is held, by somebody who is still heard."""
        return self._holds and now - self._heard <= SILENCE
