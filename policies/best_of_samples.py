"""What is exported of an algorithm whose policy takes the best of sampled actions.

The papers draw fresh samples for each decision; here the random numbers are drawn once and are constants, so
that the policy is deterministic and a product with them can be made beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .learning import Run
from .networks import Layer


class BestOfSamples(nn.Module):
    """observation (B, S) float32 -> action (B, A) float32: argmax of Q_1 over the state's K candidates."""

    mean: Tensor
    std: Tensor

    def __init__(self, run: Run, critic: Sequence[Layer], samples: int) -> None:
        """Take the weights.

        Args:
            run: its observation statistics go in.
            critic: Q_1 of one run.
            samples: K.
        """
        super().__init__()
        self.samples = samples
        self.register_buffer("mean", torch.as_tensor(run.observation_mean, dtype=torch.float32).clone())
        self.register_buffer("std", torch.as_tensor(run.observation_std, dtype=torch.float32).clone())
        self.critic = OnSamples(critic, len(run.observation_mean), samples)

    def actions(self, state: Tensor) -> Tensor:
        """The candidates (B * K, A) of normalised states (B, S), those of a state one after the other."""
        raise NotImplementedError

    def forward(self, observation: Tensor) -> Tensor:
        """The candidate that Q_1 prefers."""
        actions, q = self.candidates(observation)
        best = q.argmax(1).view(-1, 1, 1).expand(-1, 1, actions.shape[-1])
        return actions.gather(1, best).flatten(1)

    def candidates(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """All candidates, (B, K, A), and Q_1 of them, (B, K)."""
        state = (observation - self.mean) / self.std
        actions = self.actions(state)
        q = self.critic(state, actions)
        return actions.view(-1, self.samples, actions.shape[-1]), q.view(-1, self.samples)


class OnSamples(nn.Module):
    """`networks.on_states` as a module: the state's part of the first layer is computed once per state."""

    def __init__(self, layers: Sequence[Layer], state_size: int, samples: int) -> None:
        super().__init__()
        self.samples = samples
        (weight, bias), *rest = layers
        self.of_state = linear((weight[:state_size], bias))
        self.of_action = linear((weight[state_size:], torch.zeros_like(bias)))
        self.rest = rest_of_layers(rest)

    def forward(self, state: Tensor, actions: Tensor) -> Tensor:
        """(B, S) and K consecutive actions each, (B * K, A) -> (B * K, outputs)."""
        by_state = self.of_state(state).unsqueeze(1)
        first = self.of_action(actions).view(-1, self.samples, by_state.shape[-1]) + by_state
        return self.rest(first.flatten(0, 1))


def linear(layer: Layer) -> nn.Linear:
    """One layer as a module."""
    weight, bias = layer
    module = nn.Linear(*weight.shape)
    with torch.no_grad():
        module.weight.copy_(weight.T)
        module.bias.copy_(bias.view(-1))
    return module.requires_grad_(False)


def rest_of_layers(layers: Sequence[Layer]) -> nn.Sequential:
    """ReLU before each layer: what follows the output of the first layer."""
    return nn.Sequential(*(module for layer in layers for module in (nn.ReLU(), linear(layer))))
