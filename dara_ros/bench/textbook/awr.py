"""AWR as one writes it down from the paper, with torch.nn, autograd and a loop over each episode.

It is what `dara_ros.policies.algorithms.awr` is tested against and timed beside.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Normal
from torch.nn import functional

from dara_ros.bench.textbook.parts import mlp
from dara_ros.policies.algorithms.awr import AWRConfig
from dara_ros.policies.learning import TensorBatch


class TextbookAWR:
    """The same update as `dara_ros.policies.algorithms.awr.AWR`, written plainly."""

    def __init__(self, states: int, actions: int, config: AWRConfig) -> None:
        self.config, self.steps = config, 0
        self.critic = mlp(states, config.critic_hidden, 1)
        self.actor = mlp(states, config.policy_hidden, actions)
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), lr=config.critic_learning_rate)
        self.actor_optimiser = torch.optim.Adam(self.actor.parameters(), lr=config.learning_rate)
        self.returns = self.weights = torch.empty(0)

    def value(self, states: Tensor) -> Tensor:
        return self.critic(states).squeeze(-1) / (1 - self.config.discount)

    @torch.no_grad()
    def look(self, rows: TensorBatch, episodes: Sequence[tuple[int, int]]) -> None:
        """Recompute returns and weights of all rows; episode (start, end) is rows start to end - 1."""
        config = self.config
        value, next_value = self.value(rows.states), self.value(rows.next_states)
        self.returns = torch.empty(len(rows.rewards))
        for start, end in episodes:
            rest = next_value[end - 1] * (1 - rows.terminals[end - 1])
            for t in reversed(range(start, end)):
                ahead = rest if t == end - 1 else (1 - config.trace) * next_value[t] + config.trace * rest
                self.returns[t] = rest = rows.rewards[t] + config.discount * ahead
        advantage = self.returns - value
        advantage = (advantage - advantage.mean()) / (advantage.std(unbiased=False) + 1e-5)
        self.weights = torch.exp(advantage / config.temperature).clamp(max=config.largest_weight)

    def update(self, batch: TensorBatch) -> dict[str, Tensor]:
        value_loss = functional.mse_loss(self.value(batch.states), self.returns[batch.rows])
        self.critic_optimiser.zero_grad()
        (value_loss * (1 - self.config.discount) ** 2).backward()
        self.critic_optimiser.step()
        figures = {"value_error": value_loss.detach(), "return": self.returns[batch.rows].mean()}
        if self.steps >= self.config.refresh:
            weights = self.weights[batch.rows]
            likelihood = Normal(torch.tanh(self.actor(batch.states)), 1.0).log_prob(batch.actions).sum(-1)
            self.actor_optimiser.zero_grad()
            (-weights * likelihood).mean().backward()
            self.actor_optimiser.step()
            figures["weight"] = weights.mean()
        self.steps += 1
        return figures
