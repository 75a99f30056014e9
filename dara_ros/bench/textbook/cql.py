"""CQL(H) as one writes it down from the paper, with torch.nn, torch.distributions and autograd.

It is what the update of `dara_ros.policies.algorithms.cql` is tested against and timed beside.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform
from torch.nn import functional

from dara_ros.bench.textbook.parts import mlp
from dara_ros.policies.actors import BOX_EDGE, LOG_STD_RANGE
from dara_ros.policies.algorithms.cql import CQLConfig, Noise
from dara_ros.policies.learning import TensorBatch


class TextbookCQL:
    """The same update as `dara_ros.policies.algorithms.cql.CQL`, written plainly."""

    def __init__(self, states: int, actions: int, config: CQLConfig) -> None:
        self.config, self.actions, self.steps = config, actions, 0
        self.actor = mlp(states, config.policy_hidden, 2 * actions)
        self.critics = nn.ModuleList(mlp(states + actions, config.critic_hidden, 1) for _ in "12")
        self.targets = nn.ModuleList(mlp(states + actions, config.critic_hidden, 1) for _ in "12")
        self.targets.load_state_dict(self.critics.state_dict())
        self.log_alpha = torch.zeros((), requires_grad=True)
        self.log_weight = torch.tensor(math.log(config.conservative_weight), requires_grad=True)
        self.actor_optimiser = torch.optim.Adam(self.actor.parameters(), lr=config.policy_learning_rate)
        self.critic_optimiser = torch.optim.Adam(self.critics.parameters(), lr=config.learning_rate)
        self.alpha_optimiser = torch.optim.Adam([self.log_alpha], lr=config.policy_learning_rate)
        self.weight_optimiser = torch.optim.Adam([self.log_weight], lr=config.learning_rate)

    def draw_noise(self, rows: int) -> Noise:
        several = (self.config.samples, rows, self.actions)
        one, uniform = several[1:], 2 * torch.rand(several) - 1
        return Noise(torch.randn(one), uniform, torch.randn(several), torch.randn(several), torch.randn(one))

    def distribution(self, states: Tensor) -> TransformedDistribution:
        mean, log_std = self.actor(states).chunk(2, dim=-1)
        low, high = LOG_STD_RANGE
        std = (low + 0.5 * (high - low) * (torch.tanh(log_std) + 1)).exp()
        return TransformedDistribution(Normal(mean, std), TanhTransform(cache_size=1))

    def sample(self, states: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        policy = self.distribution(states)
        before = policy.base_dist.mean + policy.base_dist.stddev * noise
        action = torch.tanh(before)
        squash = policy.transforms[0].log_abs_det_jacobian(before, action)
        return action, (policy.base_dist.log_prob(before) - squash).sum(-1)

    def update(self, batch: TensorBatch, noise: Noise | None = None) -> dict[str, Tensor]:
        config = self.config
        noise = noise or self.draw_noise(len(batch.rewards))
        states, next_states = batch.states, batch.next_states

        with torch.no_grad():
            next_action, _ = self.sample(next_states, noise.target)
            pair = torch.cat([next_states, next_action], 1)
            next_q = torch.min(self.targets[0](pair), self.targets[1](pair)).squeeze(1)
            target = batch.rewards + config.discount * (1 - batch.terminals) * next_q
            here, log_here = self.sample(states, noise.here)
            there, log_there = self.sample(next_states, noise.there)
        repeated = states.expand(config.samples, *states.shape)
        weight = self.log_weight.exp().clamp(max=1e6).detach()
        loss, gaps = torch.zeros(()), []
        for critic in self.critics:
            q_data = critic(torch.cat([states, batch.actions], 1)).squeeze(1)
            q_uniform, q_here, q_there = (
                critic(torch.cat([repeated, actions], 2)).squeeze(2)
                for actions in (noise.uniform, here, there)
            )
            log_uniform = self.actions * math.log(0.5)
            every = torch.cat([q_uniform - log_uniform, q_here - log_here, q_there - log_there])
            gaps.append((torch.logsumexp(every, 0) - q_data).mean())
            loss = loss + functional.mse_loss(q_data, target) + weight * gaps[-1]
        self._step(self.critic_optimiser, loss)
        gap = (0.5 * (gaps[0] + gaps[1])).detach()
        if config.lagrange_threshold >= 0:
            multiplier = self.log_weight.exp().clamp(max=1e6)
            self._step(self.weight_optimiser, -multiplier * (gap - config.lagrange_threshold))

        action, log_likelihood = self.sample(states, noise.policy)
        alpha = self.log_alpha.exp().detach()
        if self.steps < config.cloning_steps:
            inside = batch.actions.clamp(BOX_EDGE - 1, 1 - BOX_EDGE)
            of_data = self.distribution(states).log_prob(inside).sum(-1)
            actor_loss = (alpha * log_likelihood - of_data).mean()
        else:
            pair = torch.cat([states, action], 1)
            q = torch.min(self.critics[0](pair), self.critics[1](pair)).squeeze(1)
            actor_loss = (alpha * log_likelihood - q).mean()
        self._step(self.actor_optimiser, actor_loss)
        excess = (log_likelihood - self.actions).mean().detach()  # log pi + target entropy, which is -A
        self._step(self.alpha_optimiser, -self.log_alpha * excess)

        with torch.no_grad():
            for p, target_p in zip(self.critics.parameters(), self.targets.parameters(), strict=True):
                target_p.copy_(config.tau * p + (1 - config.tau) * target_p)
        self.steps += 1
        return {
            "conservative_gap": gap,
            "q_target": target.mean(),
            "entropy": -log_likelihood.mean().detach(),
        }

    def _step(self, optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
