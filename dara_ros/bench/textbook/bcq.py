"""BCQ as one writes it down from the paper, with torch.nn and autograd and nothing else.

It is the yardstick of dara_ros/bench/train.py and the reference that the fast update is tested against. What
needs no gradient runs under no_grad, so that the comparison flatters nobody.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dara_ros.bench.textbook.parts import Critic, Vae, follow, mlp
from dara_ros.policies.algorithms.bcq import BCQConfig, Noise
from dara_ros.policies.learning import TensorBatch


class Perturbation(nn.Module):
    """a + phi tanh(net(s, a))."""

    def __init__(self, states: int, actions: int, config: BCQConfig) -> None:
        super().__init__()
        self.net = mlp(states + actions, config.perturbation_hidden, actions)
        self.phi = config.max_perturbation

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        moved = torch.tanh(self.net(torch.cat([state, action], 1)))
        return (action + self.phi * moved).clamp(-1, 1)


class TextbookBCQ:
    """The same update as `dara_ros.policies.bcq.BCQ`, written plainly."""

    def __init__(self, states: int, actions: int, config: BCQConfig) -> None:
        self.config = config
        self.vae = Vae(states, actions, config.vae_hidden)
        self.perturbation = Perturbation(states, actions, config)
        self.perturbation_target = Perturbation(states, actions, config)
        self.perturbation_target.load_state_dict(self.perturbation.state_dict())
        self.critic = Critic(states, actions, config.critic_hidden)
        self.critic_target = Critic(states, actions, config.critic_hidden)
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

        error, kl = self.vae.loss(batch, noise.posterior)
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

        follow(self.critic, self.critic_target, config.tau)
        follow(self.perturbation, self.perturbation_target, config.tau)
        return {"vae_error": error.detach(), "vae_kl": kl.detach(), "critic_loss": critic_loss.detach()}
