"""What the textbook versions of the algorithms are made of: torch.nn and torch.distributions, plainly."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal, TanhTransform, TransformedDistribution
from torch.nn import functional

from dara_ros.policies.learning import TensorBatch
from dara_ros.policies.vae import LOG_STD_RANGE


def mlp(inputs: int, hidden: tuple[int, ...], outputs: int) -> nn.Sequential:
    """ReLU between layers, nothing after the last."""
    sizes = (inputs, *hidden)
    layers = [m for pair in zip(sizes[:-1], sizes[1:], strict=True) for m in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))


class Critic(nn.Module):
    """Two Q functions."""

    def __init__(self, states: int, actions: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.q1_net = mlp(states + actions, hidden, 1)
        self.q2_net = mlp(states + actions, hidden, 1)

    def forward(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        pair = torch.cat([state, action], 1)
        return self.q1_net(pair), self.q2_net(pair)

    def q1(self, state: Tensor, action: Tensor) -> Tensor:
        return self.q1_net(torch.cat([state, action], 1))


class Vae(nn.Module):
    """The generative model of the actions in the data."""

    def __init__(self, states: int, actions: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.latent = latent = 2 * actions
        self.encoder = mlp(states + actions, hidden, 2 * latent)
        self.decoder = mlp(states + latent, hidden, actions)

    def forward(self, state: Tensor, action: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_std = self.encoder(torch.cat([state, action], 1)).chunk(2, dim=1)
        std = log_std.clamp(*LOG_STD_RANGE).exp()
        return self.decode(state, mean + std * noise), mean, std

    def loss(self, batch: TensorBatch, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruction error and KL divergence."""
        reconstruction, mean, std = self(batch.states, batch.actions, noise)
        error = functional.mse_loss(reconstruction, batch.actions)
        return error, -0.5 * (1 + torch.log(std.pow(2)) - mean.pow(2) - std.pow(2)).mean()

    def decode(self, state: Tensor, latent: Tensor) -> Tensor:
        return torch.tanh(self.decode_raw(state, latent))

    def decode_raw(self, state: Tensor, latent: Tensor) -> Tensor:
        return self.decoder(torch.cat([state, latent], 1))


class Actor(nn.Module):
    """A tanh-squashed Gaussian whose log std is bent into a range."""

    def __init__(
        self, states: int, actions: int, hidden: tuple[int, ...], log_std_range: tuple[float, float]
    ) -> None:
        super().__init__()
        self.net = mlp(states, hidden, 2 * actions)
        self.low, self.high = log_std_range

    def forward(self, state: Tensor) -> Normal:
        """The distribution before the tanh."""
        mean, log_std = self.net(state).chunk(2, dim=-1)
        log_std = self.low + (self.high - self.low) * (torch.tanh(log_std) + 1) / 2
        return Normal(mean, log_std.exp())


def squashed(normal: Normal) -> TransformedDistribution:
    return TransformedDistribution(Independent(normal, 1), [TanhTransform(cache_size=1)])


def sample(normal: Normal, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Squashed actions for standard normal noise, reparametrised, and their log-likelihoods."""
    policy = squashed(normal)
    actions = policy.transforms[0](normal.mean + normal.stddev * noise)
    return actions, policy.log_prob(actions)


def follow(online: nn.Module, target: nn.Module, tau: float) -> None:
    """theta' <- tau * theta + (1 - tau) * theta'."""
    with torch.no_grad():
        for p, target_p in zip(online.parameters(), target.parameters(), strict=True):
            target_p.copy_(tau * p + (1 - tau) * target_p)
