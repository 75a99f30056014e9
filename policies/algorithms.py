"""The offline RL algorithms. To add one: write its file, and name it here and in `TrainConfig`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from .bc import BC
from .bcq import BCQ


class Learner(Protocol):
    """One training run of one algorithm.

    Made from (observation mean (S,), observation std (S,), action size, hyper-parameters, seed); normalises
    observations itself, here and in its policy.
    """

    steps: int

    def batch(
        self,
        observations: np.ndarray,
        actions: np.ndarray,
        rewards: np.ndarray,
        next_observations: np.ndarray,
        terminals: np.ndarray,
    ) -> Any:
        """B raw rows as `update` wants them."""

    def update(self, batch: Any) -> dict[str, Tensor]:
        """One gradient step; 0-dimensional figures by name."""

    def policy(self) -> nn.Module:
        """observation (B, S) float32 -> action (B, A) float32 in [-1, 1], deterministic, for export."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values on which everything that follows depends."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state_dict` was taken."""


ALGORITHMS: dict[str, Callable[..., Learner]] = {"bcq": BCQ, "bc": BC}
