"""One controller at a time: who may command the robot. Against accidents, not against malice."""

from __future__ import annotations

import secrets

SILENCE = 0.5  # s after which somebody else may take the robot over
KEEP_ALIVE = 0.1  # s between two signs of life of a holder that has nothing to command


class Lease:
    """The right to command one robot. Times are s on a monotonic clock.

    Attributes:
        token: of the last holder; empty: nobody.
    """

    def __init__(self) -> None:
        self.token = ""
        self._heard = 0.0  # when it last gave a sign of life

    def held(self, now: float) -> bool:
        """Whether somebody holds the robot."""
        return bool(self.token) and now - self._heard <= SILENCE

    def take(self, now: float) -> str:
        """A fresh token, for whoever asks; empty while somebody else holds the robot."""
        if self.held(now):
            return ""
        self.token, self._heard = secrets.token_hex(8), now
        return self.token

    def renew(self, token: str, now: float) -> bool:
        """Take a sign of life; false where `token` is not the holder's.

        A holder that has been silent for too long goes on where nobody has taken its place.
        """
        if not token or token != self.token:
            return False
        self._heard = now
        return True

    def release(self, token: str) -> None:
        """Give the robot back; nothing where `token` is not the holder's."""
        if token == self.token:
            self.token = ""
