"""What the algorithms share: batches as tensors, and an optimiser step that computes no other gradient."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

Figures = dict[str, Tensor]


class TensorBatch(NamedTuple):
    """A batch of B transitions, observations normalised; all float32."""

    states: Tensor  # (B, S)
    actions: Tensor  # (B, A), in [-1, 1]
    rewards: Tensor  # (B,)
    next_states: Tensor  # (B, S)
    terminals: Tensor  # (B,), 1.0 where the episode failed; a timeout is 0.0 and bootstraps


class Normaliser:
    """Brings observations to mean 0 and standard deviation 1.

    Args:
        mean, std: (S,) statistics of the observations as the batches mix them.
    """

    def __init__(self, mean: np.ndarray, std: np.ndarray) -> None:
        self.mean = torch.as_tensor(mean, dtype=torch.float32)
        self.std = torch.as_tensor(std, dtype=torch.float32)

    def batch(
        self,
        observations: np.ndarray,
        actions: np.ndarray,
        rewards: np.ndarray,
        next_observations: np.ndarray,
        terminals: np.ndarray,
    ) -> TensorBatch:
        """Raw arrays, (B, S), (B, A), (B,), (B, S), (B,), as a batch with normalised observations."""
        return TensorBatch(
            (torch.from_numpy(observations) - self.mean) / self.std,
            torch.from_numpy(actions),
            torch.from_numpy(rewards),
            (torch.from_numpy(next_observations) - self.mean) / self.std,
            torch.from_numpy(terminals).float(),
        )


def adam(leaves: Iterable[Tensor], learning_rate: float) -> torch.optim.Adam:
    """Adam as the papers have it, all weights in one kernel."""
    return torch.optim.Adam(leaves, lr=learning_rate, fused=True)


def descend(loss: Tensor, optimiser: torch.optim.Optimizer) -> None:
    """One optimiser step on its own weights; no other gradient is computed."""
    leaves = optimiser.param_groups[0]["params"]
    for leaf, gradient in zip(leaves, torch.autograd.grad(loss, leaves), strict=True):
        leaf.grad = gradient
    optimiser.step()
