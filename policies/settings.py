"""How hyper-parameters are checked: a wrong one is refused in one line that says what to give instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, ClassVar

from ..errors import UserError


class Settings:
    """Base of the hyper-parameters' dataclasses; what several of them have is checked by its name."""

    name: ClassVar[str]  # what the settings are of

    def __post_init__(self) -> None:
        names = [field.name for field in fields(self)]  # type: ignore[arg-type]  # each subclass is one
        self.check_layers(*(name for name in names if name.endswith("hidden")))
        self.check_positive(*(name for name in names if name.endswith("learning_rate")))
        self.check_at_least(1, *(name for name in names if name == "batch_size"))
        self.check_shares(*(name for name in names if name in ("discount", "tau", "soft_minimum")))

    def refuse(self, name: str, advice: str) -> None:
        """Raise UserError about a setting."""
        value: Any = getattr(self, name)
        shown = list(value) if isinstance(value, tuple) else repr(value) if isinstance(value, str) else value
        raise UserError(f"{self.name}.{name} is {shown}: {advice}")

    def check_layers(self, *names: str) -> None:
        """Refuse widths that are none."""
        for name in names:
            if not getattr(self, name) or min(getattr(self, name)) < 1:
                self.refuse(name, "give at least one layer of at least 1 unit")

    def check_at_least(self, least: int, *names: str) -> None:
        """Refuse a smaller whole number."""
        for name in names:
            if getattr(self, name) < least:
                self.refuse(name, f"give a whole number of at least {least}")

    def check_shares(self, *names: str) -> None:
        """Refuse what is not from 0 to 1."""
        for name in names:
            if not 0 <= getattr(self, name) <= 1:
                self.refuse(name, "give a number from 0 to 1")

    def check_positive(self, *names: str) -> None:
        """Refuse what is not above 0."""
        for name in names:
            if not getattr(self, name) > 0:
                self.refuse(name, "give a positive number")

    def check_not_negative(self, *names: str) -> None:
        """Refuse what is below 0."""
        for name in names:
            if not getattr(self, name) >= 0:
                self.refuse(name, "give 0 or more")

    def check_choice(self, name: str, choices: Sequence[str]) -> None:
        """Refuse what is none of the choices."""
        if getattr(self, name) not in choices:
            self.refuse(name, f"give one of {', '.join(choices)}")
