"""MABE as one writes it down, with torch.nn and autograd: the reference of the tests."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from dara_ros.bench.textbook.mopo import Actor, TextbookModelBased, follow, perceptron, step
from dara_ros.policies.actors import BOX_EDGE
from dara_ros.policies.algorithms.mabe import SMALLEST_SPREAD, MABEConfig
from dara_ros.policies.dynamics import rows_of
from dara_ros.policies.learning import TensorBatch
from dara_ros.policies.model_based import PolicyNoise


class TextbookMABE(TextbookModelBased):
    """The same update as `dara_ros.policies.algorithms.mabe.MABE`, written plainly."""

    config: MABEConfig

    def __init__(self, states: int, actions: int, config: MABEConfig, salts: Tensor) -> None:
        super().__init__(states, actions, config, salts)
        self.prior = Actor(states, actions, config.actor_hidden)
        self.value = perceptron(states, config.value_hidden, 1)
        self.value_target = copy.deepcopy(self.value)
        self.prior_optimiser = torch.optim.Adam(self.prior.parameters(), lr=config.learning_rate)
        self.value_optimiser = torch.optim.Adam(self.value.parameters(), lr=config.learning_rate)

    def fit_prior(self, batch: TensorBatch) -> dict[str, Tensor]:
        config = self.config
        keep = rows_of(config.prior_from, batch.is_target) == 1
        state, action, reward, following, terminal = (column[keep] for column in batch[:5])
        going_on = config.discount * (1 - terminal)
        with torch.no_grad():
            ahead = reward + going_on * self.value_target(following).squeeze(1)
        value_loss = (self.value(state).squeeze(1) - ahead).square().mean()
        step(self.value_optimiser, value_loss)
        follow(self.value_target, self.value, config.tau)
        with torch.no_grad():
            advantage = reward + going_on * self.value(following).squeeze(1) - self.value(state).squeeze(1)
            spread = advantage.std(correction=0) + SMALLEST_SPREAD
            advantage = (advantage - advantage.mean()) / spread
            weight = (advantage / config.advantage_temperature).exp().clamp(max=config.max_weight)
        before = torch.atanh(action.clamp(BOX_EDGE - 1, 1 - BOX_EDGE))
        log_likelihood = self.prior(state).log_prob(before) - torch.log(1 - torch.tanh(before) ** 2)
        prior_loss = -(weight * log_likelihood.sum(1)).mean()
        step(self.prior_optimiser, prior_loss)
        return {"value_loss": value_loss.detach(), "prior_loss": prior_loss.detach()}

    def update(self, batch: TensorBatch, noise: PolicyNoise) -> dict[str, Tensor]:
        self.steps += 1
        if self.steps <= self.config.model_steps:
            return self.fit_model(batch) | self.fit_prior(batch)
        if self.steps == self.config.model_steps + 1:
            self.actor.load_state_dict(self.prior.state_dict())
        rows = self.rows(batch, noise)
        state, weight = rows[0], rows[-1]
        critic_loss = self.fit_critics(rows, noise.next_actions, 0.0)
        action, _ = self.actor.sample(state, noise.actions)
        kl = kl_divergence(self.actor(state), self.prior(state)).sum(1)
        q = self.q(self.critics, state, action).min(0)[0]
        step(self.actor_optimiser, (weight * (self.config.kl_weight * kl - q)).sum() / weight.sum())
        follow(self.critic_targets, self.critics, self.config.tau)
        return {"critic_loss": critic_loss, "kl": ((weight * kl).sum() / weight.sum()).detach()}
