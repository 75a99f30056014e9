"""BCQ as one writes it down from the paper, with torch.nn and autograd and nothing else.

It is the yardstick of dara_ros/bench/bcq.py and the reference that the fast update is tested against. What
needs no gradient runs under no_grad, so that the comparison flatters nobody.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dara_ros.bench.plain_mlp import plain_mlp
from dara_ros.policies.algorithms.bcq import LOG_STD_RANGE, BCQConfig, Noise
from dara_ros.policies.learning import TensorBatch


class Perturbation(nn.Module):
    """a + phi tanh(net(s, a))."""

    def __init__(self, states: int, actions: int, config: BCQConfig) -> None:
        super().__init__()
        self.net = plain_mlp(states + actions, config.perturbation_hidden, actions)
        self.phi = config.max_perturbation

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        moved = torch.tanh(self.net(torch.cat([state, action], 1)))
        return (action + self.phi * moved).clamp(-1, 1)


class Critic(nn.Module):
    """Two Q functions."""

    def __init__(self, states: int, actions: int, config: BCQConfig) -> None:
        super().__init__()
        self.q1_net = plain_mlp(states + actions, config.critic_hidden, 1)
        self.q2_net = plain_mlp(states + actions, config.critic_hidden, 1)

    def forward(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        pair = torch.cat([state, action], 1)
        return self.q1_net(pair), self.q2_net(pair)

    def q1(self, state: Tensor, action: Tensor) -> Tensor:
        return self.q1_net(torch.cat([state, action], 1))


class Vae(nn.Module):
    """The generative model of the actions in the data."""

    def __init__(self, states: int, actions: int, config: BCQConfig) -> None:
        super().__init__()
        self.latent = latent = 2 * actions
        self.encoder = plain_mlp(states + actions, config.vae_hidden, 2 * latent)
        self.decoder = plain_mlp(states + latent, config.vae_hidden, actions)

    def forward(self, state: Tensor, action: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_std = self.encoder(torch.cat([state, action], 1)).chunk(2, dim=1)
        std = log_std.clamp(*LOG_STD_RANGE).exp()
        return self.decode(state, mean + std * noise), mean, std

    def decode(self, state: Tensor, latent: Tensor) -> Tensor:
        return torch.tanh(self.decoder(torch.cat([state, latent], 1)))


class TextbookBCQ:
    """The same update as `dara_ros.policies.bcq.BCQ`, written plainly."""

    def __init__(self, states: int, actions: int, config: BCQConfig) -> None:
        self.config = config
        self.vae = Vae(states, actions, config)
        self.perturbation = Perturbation(states, actions, config)
        self.perturbation_target = Perturbation(states, actions, config)
        self.perturbation_target.load_state_dict(self.perturbation.state_dict())
        self.critic = Critic(states, actions, config)
        self.critic_target = Critic(states, actions, config)
        self.critic_target.load_state_dict(self.critic.state_dict())
        self.vae_optimiser = torch.optim.Adam(self.vae.parameters(), lr=config.learning_rate)
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), lr=config.learning_rate)
        self.perturbation_optimiser = torch.optim.Adam(
            self.perturbation.parameters(), lr=config.learning_rate
        )

    def draw_noise(self, rows: int) -> Noise:
        latent, clip = self.vae.latent, self.config.latent_clip
        return Noise(
            torch.randn(rows, latent),
            torch.randn(rows * self.config.candidates, latent).clamp(-clip, clip),
            torch.randn(rows, latent).clamp(-clip, clip),
        )

    def update(self, batch: TensorBatch, noise: Noise | None = None) -> dict[str, Tensor]:
        config = self.config
        noise = noise or self.draw_noise(len(batch.rewards))

        reconstruction, mean, std = self.vae(batch.states, batch.actions, noise.posterior)
        error = functional.mse_loss(reconstruction, batch.actions)
        kl = -0.5 * (1 + torch.log(std.pow(2)) - mean.pow(2) - std.pow(2)).mean()
        self.vae_optimiser.zero_grad()
        (error + config.kl_weight * kl).backward()
        self.vae_optimiser.step()

        with torch.no_grad():
            next_states = batch.next_states.repeat_interleave(config.candidates, 0)
            actions = self.perturbation_target(next_states, self.vae.decode(next_states, noise.next_latents))
            q1, q2 = self.critic_target(next_states, actions)
            q = config.soft_minimum * torch.min(q1, q2) + (1 - config.soft_minimum) * torch.max(q1, q2)
            best = q.reshape(-1, config.candidates).max(1)[0]
            target = (batch.rewards + config.discount * (1 - batch.terminals) * best).unsqueeze(1)
        q1, q2 = self.critic(batch.states, batch.actions)
        critic_loss = functional.mse_loss(q1, target) + functional.mse_loss(q2, target)
        self.critic_optimiser.zero_grad()
        critic_loss.backward()
        self.critic_optimiser.step()

        with torch.no_grad():
            sampled = self.vae.decode(batch.states, noise.latents)
        loss = -self.critic.q1(batch.states, self.perturbation(batch.states, sampled)).mean()
        self.perturbation_optimiser.zero_grad()
        loss.backward()
        self.perturbation_optimiser.step()

        with torch.no_grad():
            for online, follower in (
                (self.critic, self.critic_target),
                (self.perturbation, self.perturbation_target),
            ):
                for p, target_p in zip(online.parameters(), follower.parameters(), strict=True):
                    target_p.copy_(config.tau * p + (1 - config.tau) * target_p)
        return {"vae_error": error.detach(), "vae_kl": kl.detach(), "critic_loss": critic_loss.detach()}
