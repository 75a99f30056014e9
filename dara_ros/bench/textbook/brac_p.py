"""BRAC-p as one writes it down from the paper: the reference that the fast update is tested against."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dara_ros.bench.textbook.parts import Actor, Critic, follow, sample, squashed
from dara_ros.policies.algorithms.brac_p import LOG_STD_RANGE, BRACPConfig, Noise
from dara_ros.policies.learning import TensorBatch

INSIDE = 1 - 1e-3


class TextbookBRACP:
    """The same updates as `dara_ros.policies.algorithms.brac_p.BRACP`, written plainly."""

    def __init__(self, states: int, actions: int, config: BRACPConfig) -> None:
        self.config = config
        self.steps = 0
        self.action_size = actions
        self.prior = Actor(states, actions, config.policy_hidden, LOG_STD_RANGE)
        self.actor = Actor(states, actions, config.policy_hidden, LOG_STD_RANGE)
        self.critic = Critic(states, actions, config.critic_hidden)
        self.critic_target = Critic(states, actions, config.critic_hidden)
        self.critic_target.load_state_dict(self.critic.state_dict())
        self.entropy_weight = torch.ones((), requires_grad=True)
        adam = torch.optim.Adam
        self.prior_optimiser = adam(self.prior.parameters(), lr=config.prior_learning_rate)
        self.entropy_optimiser = adam([self.entropy_weight], lr=config.prior_learning_rate)
        self.actor_optimiser = adam(self.actor.parameters(), lr=config.policy_learning_rate)
        self.critic_optimiser = adam(self.critic.parameters(), lr=config.learning_rate)

    def clone(self, batch: TensorBatch, noise: Tensor) -> dict[str, Tensor]:
        b = self.prior(batch.states)
        log_b = sample(b, noise)[1].mean()
        likelihood = squashed(b).log_prob(batch.actions.clamp(-INSIDE, INSIDE)).mean()
        self.prior_optimiser.zero_grad()
        (self.entropy_weight.detach() * log_b - likelihood).backward()
        self.prior_optimiser.step()

        weight = self.entropy_weight.detach().clone()
        self.entropy_optimiser.zero_grad()
        (self.entropy_weight * (-log_b.detach() + self.action_size)).backward()
        self.entropy_optimiser.step()
        with torch.no_grad():
            self.entropy_weight.clamp_(0, 500)
        self.steps += 1
        return {
            "prior_likelihood": likelihood.detach(),
            "prior_entropy": -log_b.detach(),
            "entropy_weight": weight,
        }

    def improve(self, batch: TensorBatch, noise: Noise) -> dict[str, Tensor]:
        config = self.config
        with torch.no_grad():
            actions, _ = sample(self.actor(batch.next_states), noise.next_actions)
            q = torch.min(*self.critic_target(batch.next_states, actions)).squeeze(1)
            target = (batch.rewards + config.discount * (1 - batch.terminals) * q).unsqueeze(1)
        q1, q2 = self.critic(batch.states, batch.actions)
        critic_loss = functional.mse_loss(q1, target) + functional.mse_loss(q2, target)
        self.critic_optimiser.zero_grad()
        critic_loss.backward()
        self.critic_optimiser.step()

        actions, log_pi = sample(self.actor(batch.states), noise.actions)
        b = squashed(self.prior(batch.states))
        log_b = b.log_prob(actions[1:].clamp(-INSIDE, INSIDE))
        kl = (log_pi[1:] - log_b).mean()
        loss = config.alpha * kl
        if self.steps >= config.clone_steps + config.critic_steps:
            loss = loss - torch.min(*self.critic(batch.states, actions[0])).mean()
        self.actor_optimiser.zero_grad()
        loss.backward()
        self.actor_optimiser.step()

        follow(self.critic, self.critic_target, config.tau)
        self.steps += 1
        return {"critic_loss": critic_loss.detach(), "kl": kl.detach()}
