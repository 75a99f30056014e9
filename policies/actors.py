"""Policies as networks: the tanh-squashed Gaussian of actor-critic methods, and what is exported of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .learning import Run
from .networks import Layer, mlp

LOG_STD_RANGE = (-5.0, 2.0)
BOX_EDGE = 1e-3  # a stored action is moved so far inside the box before its likelihood is asked for


class Gaussian(NamedTuple):
    """a = tanh(u), u ~ N(mean, std^2), for every state."""

    mean: Tensor  # (B, A)
    log_std: Tensor  # (B, A)

    def sample(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions (..., B, A) for standard normal noise (..., B, A), and their log-likelihoods (..., B)."""
        before = self.mean + self.log_std.exp() * noise
        return torch.tanh(before), self._log_likelihood(before)

    def log_likelihood(self, actions: Tensor) -> Tensor:
        """Log-likelihood (..., B) of actions (..., B, A) in [-1, 1]."""
        return self._log_likelihood(torch.atanh(actions.clamp(BOX_EDGE - 1.0, 1.0 - BOX_EDGE)))

    def _log_likelihood(self, before: Tensor) -> Tensor:
        z = (before - self.mean) * torch.exp(-self.log_std)
        normal = -0.5 * z.square() - self.log_std - 0.5 * math.log(2.0 * math.pi)
        # log(1 - tanh^2 u) = 2 (log 2 - u - softplus(-2 u)), exact for large u
        squash = 2.0 * (math.log(2.0) - before - functional.softplus(-2.0 * before))
        return (normal - squash).sum(-1)


def gaussian(
    actor: Sequence[Layer], states: Tensor, log_std_range: tuple[float, float] = LOG_STD_RANGE
) -> Gaussian:
    """pi(.|s) for states (B, S): the network gives mean and log std side by side, (B, 2 A)."""
    return as_gaussian(mlp(actor, states), log_std_range)


def as_gaussian(outputs: Tensor, log_std_range: tuple[float, float] = LOG_STD_RANGE) -> Gaussian:
    """A network's outputs (B, 2 A) as a distribution."""
    mean, log_std = outputs.chunk(2, dim=-1)
    low, high = log_std_range
    # smooth, so that no gradient dies at the edges
    return Gaussian(mean, low + 0.5 * (high - low) * (torch.tanh(log_std) + 1.0))


class MeanPolicy(nn.Module):
    """observation (B, S) float32 -> tanh of the first A outputs of a network, (B, A): deterministic."""

    mean: Tensor
    std: Tensor

    def __init__(self, run: Run, layers: Sequence[Layer], action_size: int | None = None) -> None:
        """Take the weights.

        Args:
            run: its observation statistics go in.
            layers: of one run, from the state to the action (and its log std).
            action_size: A; None: all outputs are the action's.
        """
        super().__init__()
        self.action_size = action_size
        self.register_buffer("mean", torch.as_tensor(run.observation_mean, dtype=torch.float32).clone())
        self.register_buffer("std", torch.as_tensor(run.observation_std, dtype=torch.float32).clone())
        self.weights = nn.ParameterList(nn.Parameter(w.clone(), requires_grad=False) for w, _ in layers)
        self.biases = nn.ParameterList(nn.Parameter(b.clone(), requires_grad=False) for _, b in layers)

    def forward(self, observation: Tensor) -> Tensor:
        """pi((s - mean) / std)."""
        layers = list(zip(self.weights, self.biases, strict=True))
        return torch.tanh(mlp(layers, (observation - self.mean) / self.std)[:, : self.action_size])
