"""What the algorithms share: batches as tensors, checkpoints, an optimiser step with no other gradient."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import UserError
from .networks import Mlp

Figures = dict[str, Tensor]


class TensorBatch(NamedTuple):
    """A batch of B transitions, observations normalised; all float32."""

    states: Tensor  # (B, S)
    actions: Tensor  # (B, A), in [-1, 1]
    rewards: Tensor  # (B,)
    next_states: Tensor  # (B, S)
    terminals: Tensor  # (B,), 1.0 where the episode failed; a timeout is 0.0 and bootstraps


class Learner(ABC):
    """One training run of one algorithm, made from (observation mean (S,), observation std (S,), action size,
    hyper-parameters, seed).

    A subclass draws its networks and optimisers, in attributes of these names; with its random numbers they
    are all that its updates depend on.

    Attributes:
        steps: updates done so far.
        networks: by name, for checkpoints.
        optimisers: in a fixed order.
        generator: of all its random numbers.
    """

    networks: dict[str, Mlp]
    optimisers: tuple[torch.optim.Optimizer, ...]

    def __init__(self, observation_mean: np.ndarray, observation_std: np.ndarray, seed: int) -> None:
        self.steps = 0
        self.mean = torch.as_tensor(observation_mean, dtype=torch.float32)
        self.std = torch.as_tensor(observation_std, dtype=torch.float32)
        self.generator = torch.Generator().manual_seed(seed)

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

    @abstractmethod
    def update(self, batch: TensorBatch) -> Figures:
        """One gradient step; 0-dimensional figures by name."""

    @abstractmethod
    def policy(self) -> nn.Module:
        """observation (B, S) float32 -> action (B, A) float32 in [-1, 1], deterministic, for export."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that `update` depends on, as tensors and plain values."""
        return {
            "steps": self.steps,
            "networks": {name: net.flat.clone() for name, net in self.networks.items()},
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state_dict` was taken.

        Raises:
            UserError: the state is of networks of another size.
        """
        for name, network in self.networks.items():
            if state["networks"][name].shape != network.flat.shape:
                raise UserError(
                    f"the checkpoint's {name} network has another size: resume with the same settings"
                )
        with torch.no_grad():
            for name, network in self.networks.items():
                network.flat.copy_(state["networks"][name])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.generator.set_state(state["generator"])
        self.steps = state["steps"]


def adam(leaves: Iterable[Tensor], learning_rate: float) -> torch.optim.Adam:
    """Adam as the papers have it, all weights in one kernel."""
    return torch.optim.Adam(leaves, lr=learning_rate, fused=True)


def descend(loss: Tensor, optimiser: torch.optim.Optimizer) -> None:
    """One optimiser step on its own weights; no other gradient is computed."""
    leaves = optimiser.param_groups[0]["params"]
    for leaf, gradient in zip(leaves, torch.autograd.grad(loss, leaves), strict=True):
        leaf.grad = gradient
    optimiser.step()
