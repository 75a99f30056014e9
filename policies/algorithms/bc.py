"""Behaviour cloning: the mean action of the data in a state, by least squares (Pomerleau, "ALVINN", 1988).

It looks at no reward, so augmentation changes nothing: what it gives is the measure of what an algorithm
learns beyond its data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..actors import MeanPolicy
from ..learning import Figures, Learner, Run, TensorBatch
from ..networks import Layer, Mlp, mlp
from ..settings import Settings


@dataclass(frozen=True)
class BCConfig(Settings):
    """Hyper-parameters."""

    batch_size: int = 256
    learning_rate: float = 1e-3  # of Adam
    hidden: tuple[int, ...] = (256, 256)

    name = "bc"


def clone(policy: Sequence[Layer], states: Tensor) -> Tensor:
    """pi(s): actions (B, A) in [-1, 1] for states (B, S)."""
    return torch.tanh(mlp(policy, states))


def bc_loss(policy: Sequence[Layer], batch: TensorBatch) -> tuple[Tensor, Figures]:
    """mean (pi(s) - a)^2."""
    loss = (clone(policy, batch.states) - batch.actions).square().mean()
    return loss, {"bc_error": loss.detach()}


class BC(Learner):
    """Behaviour cloning."""

    NAME = "bc"
    Config = BCConfig

    def __init__(self, action_size: int, runs: Sequence[Run], device: str = "cpu") -> None:
        super().__init__(action_size, runs, device)
        self.network = Mlp((self.state_size, *self.config.hidden, action_size), self.generators)
        self.networks = {"policy": self.network}
        self._optimiser = self.adam([self.network])
        self.optimisers = (self._optimiser,)

    def update(self, batch: TensorBatch) -> Figures:
        """One gradient step; returns bc_error."""
        figures = self.descend(self._optimiser, bc_loss, self.network.layers, batch)
        self.steps += 1
        return figures

    def policy(self, run: int = 0) -> nn.Module:
        """The policy of the weights as they are now."""
        return MeanPolicy(self.runs[run], self.network.of_run(run))
