"""Behaviour cloning: the mean action of the data in a state, by least squares (Pomerleau, "ALVINN", 1988).

It looks at no reward, so augmentation changes nothing: what it gives is the measure of what an algorithm
learns beyond its data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import UserError
from .learning import Figures, Learner, TensorBatch, adam, descend
from .networks import Layer, Mlp, mlp


@dataclass(frozen=True)
class BCConfig:
    """Hyper-parameters."""

    batch_size: int = 256
    learning_rate: float = 1e-3  # of Adam
    hidden: tuple[int, ...] = (256, 256)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UserError(f"bc.batch_size is {self.batch_size}: give a whole number of at least 1")
        if not self.hidden or min(self.hidden) < 1:
            raise UserError(f"bc.hidden is {list(self.hidden)}: give at least one layer of at least 1 unit")
        if not self.learning_rate > 0:
            raise UserError(f"bc.learning_rate is {self.learning_rate}: give a positive number")


def clone(policy: Sequence[Layer], states: Tensor) -> Tensor:
    """pi(s): actions (B, A) in [-1, 1] for states (B, S)."""
    return torch.tanh(mlp(policy, states))


def bc_loss(policy: Sequence[Layer], batch: TensorBatch) -> tuple[Tensor, Figures]:
    """mean (pi(s) - a)^2."""
    loss = (clone(policy, batch.states) - batch.actions).square().mean()
    return loss, {"bc_error": loss.detach()}


class BC(Learner):
    """One training run of behaviour cloning."""

    def __init__(
        self,
        observation_mean: np.ndarray,
        observation_std: np.ndarray,
        action_size: int,
        config: BCConfig,
        seed: int,
    ) -> None:
        """Draw the network.

        Args:
            observation_mean, observation_std: (S,) statistics of the union of the data sets.
            action_size: A; actions are in [-1, 1].
            config: hyper-parameters.
            seed: of the weights.
        """
        super().__init__(observation_mean, observation_std, seed)
        self.network = Mlp((len(self.mean), *config.hidden, action_size), self.generator)
        self.networks = {"policy": self.network}
        self._optimiser = adam(self.network.leaves, config.learning_rate)
        self.optimisers = (self._optimiser,)

    def update(self, batch: TensorBatch) -> Figures:
        """One gradient step; returns bc_error."""
        loss, figures = bc_loss(self.network.layers, batch)
        descend(loss, self._optimiser)
        self.steps += 1
        return figures

    def policy(self) -> nn.Module:
        """The policy of the weights as they are now."""
        return BCPolicy(self.mean, self.std, self.network.frozen())


class BCPolicy(nn.Module):
    """observation (B, S) float32 -> action (B, A) float32."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.register_buffer("mean", mean.clone())
        self.register_buffer("std", std.clone())
        self.weights = nn.ParameterList(nn.Parameter(w.clone(), requires_grad=False) for w, _ in layers)
        self.biases = nn.ParameterList(nn.Parameter(b.clone(), requires_grad=False) for _, b in layers)

    def forward(self, observation: Tensor) -> Tensor:
        """pi((s - mean) / std)."""
        layers = list(zip(self.weights, self.biases, strict=True))
        return clone(layers, (observation - self.mean) / self.std)
