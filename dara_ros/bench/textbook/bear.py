"""BEAR as one writes it down from the paper: the reference that the fast update is tested against."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dara_ros.bench.textbook.parts import Actor, Critic, Vae, follow
from dara_ros.policies.actors import LOG_STD_RANGE
from dara_ros.policies.algorithms.bear import BEARConfig, Noise
from dara_ros.policies.learning import TensorBatch


def mmd(x: Tensor, y: Tensor, config: BEARConfig) -> Tensor:
    """(B, n, A) and (B, n, A) -> (B,)."""

    def kernel(one: Tensor, other: Tensor) -> Tensor:
        power = 1 if config.kernel == "laplacian" else 2
        distances = (one[:, :, None] - other[:, None, :]).abs().pow(power).sum(-1)
        return torch.exp(-distances / (2 * config.kernel_width)).mean(dim=(1, 2))

    return (kernel(x, x) + kernel(y, y) - 2 * kernel(x, y) + 1e-6).sqrt()


class TextbookBEAR:
    """The same update as `dara_ros.policies.algorithms.bear.BEAR` with two critics, written plainly."""

    def __init__(self, states: int, actions: int, config: BEARConfig) -> None:
        self.config = config
        self.steps = 0
        self.vae = Vae(states, actions, config.vae_hidden)
        self.actor = Actor(states, actions, config.policy_hidden, LOG_STD_RANGE)
        self.critic = Critic(states, actions, config.critic_hidden)
        self.critic_target = Critic(states, actions, config.critic_hidden)
        self.critic_target.load_state_dict(self.critic.state_dict())
        self.log_multiplier = torch.zeros((), requires_grad=True)
        adam = torch.optim.Adam
        self.vae_optimiser = adam(self.vae.parameters(), lr=config.learning_rate)
        self.critic_optimiser = adam(self.critic.parameters(), lr=config.learning_rate)
        self.actor_optimiser = adam(self.actor.parameters(), lr=config.policy_learning_rate)
        self.multiplier_optimiser = adam([self.log_multiplier], lr=config.multiplier_learning_rate)

    def draw_noise(self, rows: int) -> Noise:
        config, latent, clip = self.config, self.vae.latent, self.config.latent_clip
        return Noise(
            torch.randn(rows, latent),
            torch.randn(rows * config.mmd_samples, latent).clamp(-clip, clip),
            torch.randn(rows, config.mmd_samples, latent // 2),
            torch.randn(rows, config.candidates, latent // 2),
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
            policy = self.actor(next_states)
            actions = torch.tanh(policy.mean + policy.stddev * noise.next_actions.flatten(0, 1))
            q1, q2 = self.critic_target(next_states, actions)
            q = config.soft_minimum * torch.min(q1, q2) + (1 - config.soft_minimum) * torch.max(q1, q2)
            best = q.reshape(-1, config.candidates).max(1)[0]
            target = (batch.rewards + config.discount * (1 - batch.terminals) * best).unsqueeze(1)
        q1, q2 = self.critic(batch.states, batch.actions)
        critic_loss = functional.mse_loss(q1, target) + functional.mse_loss(q2, target)
        self.critic_optimiser.zero_grad()
        critic_loss.backward()
        self.critic_optimiser.step()

        states = batch.states.repeat_interleave(config.mmd_samples, 0)
        policy = self.actor(states)
        samples = (policy.mean + policy.stddev * noise.actions.flatten(0, 1)).view(noise.actions.shape)
        with torch.no_grad():
            behaviour = self.vae.decode_raw(states, noise.latents).view(noise.actions.shape)
        discrepancy = mmd(behaviour, samples, config).mean()
        loss = self.log_multiplier.detach().exp() * (discrepancy - config.mmd_threshold)
        if self.steps >= config.warm_up:
            loss = loss - torch.min(*self.critic(batch.states, torch.tanh(samples[:, 0]))).mean()
        self.actor_optimiser.zero_grad()
        loss.backward()
        self.actor_optimiser.step()

        multiplier = self.log_multiplier.exp()
        self.multiplier_optimiser.zero_grad()
        (-multiplier * (discrepancy.detach() - config.mmd_threshold)).backward()
        self.multiplier_optimiser.step()
        with torch.no_grad():
            self.log_multiplier.clamp_(-5, 10)

        follow(self.critic, self.critic_target, config.tau)
        self.steps += 1
        return {
            "vae_error": error.detach(),
            "vae_kl": kl.detach(),
            "critic_loss": critic_loss.detach(),
            "mmd": discrepancy.detach(),
            "multiplier": multiplier.detach(),
        }
