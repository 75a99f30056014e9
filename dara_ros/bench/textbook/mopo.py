"""MOPO as one writes it down, with torch.nn and autograd: one network after the other, one step at a time.

The reference of the tests and the yardstick of speed. What needs no gradient runs under no_grad.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional

from dara_ros.policies.actors import LOG_STD_RANGE
from dara_ros.policies.dynamics import BOUNDS_WEIGHT, LOG_VARIANCE_RANGE, bootstrap_weights, rows_of
from dara_ros.policies.learning import TensorBatch
from dara_ros.policies.model_based import ModelBasedConfig, PolicyNoise


def perceptron(
    inputs: int, hidden: tuple[int, ...], outputs: int, activation: type[nn.Module] = nn.ReLU
) -> nn.Sequential:
    sizes = (inputs, *hidden)
    layers = [m for pair in zip(sizes[:-1], sizes[1:], strict=True) for m in (nn.Linear(*pair), activation())]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))


class Actor(nn.Module):
    """A Gaussian, before tanh."""

    def __init__(self, states: int, actions: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.net = perceptron(states, hidden, 2 * actions)

    def forward(self, state: Tensor) -> Normal:
        mean, log_std = self.net(state).chunk(2, 1)
        low, high = LOG_STD_RANGE
        return Normal(mean, (low + 0.5 * (high - low) * (torch.tanh(log_std) + 1)).exp())

    def sample(self, state: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        normal = self(state)
        before = normal.mean + normal.stddev * noise
        action = torch.tanh(before)
        squash = 2 * (torch.log(torch.tensor(2.0)) - before - functional.softplus(-2 * before))
        return action, (normal.log_prob(before) - squash).sum(1)


class Ensemble(nn.Module):
    """Probabilistic networks of (reward, s' - s)."""

    def __init__(self, states: int, actions: int, config: ModelBasedConfig) -> None:
        super().__init__()
        self.config = config
        self.outputs = states + 1
        self.nets = nn.ModuleList(
            perceptron(states + actions, config.model_hidden, 2 * self.outputs, nn.SiLU)
            for _ in range(config.members)
        )
        low, high = LOG_VARIANCE_RANGE
        self.low = nn.Parameter(torch.full((self.outputs,), low))
        self.high = nn.Parameter(torch.full((self.outputs,), high))

    def member(self, number: int, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        out = self.nets[number](torch.cat([state, action], 1))
        mean, log_variance = out.chunk(2, 1)
        log_variance = self.high - functional.softplus(self.high - log_variance)
        return mean, self.low + functional.softplus(log_variance - self.low)

    def loss(self, batch: TensorBatch, salts: Tensor) -> Tensor:
        config = self.config
        outcome = torch.cat([batch.rewards[:, None], batch.next_states - batch.states], 1)
        counts = rows_of(config.model_from, batch.is_target)
        loss = BOUNDS_WEIGHT * (self.high.sum() - self.low.sum())
        for number, weights in enumerate(bootstrap_weights(batch.rows, salts)):
            mean, log_variance = self.member(number, batch.states, batch.actions)
            likelihood = (mean - outcome) ** 2 / log_variance.exp() + log_variance
            loss = loss + (weights * likelihood[:, 0]).sum() / weights.sum() / self.outputs
            weights = weights * counts
            motion = (weights * likelihood[:, 1:].sum(1)).sum() / weights.sum().clamp(min=1)
            loss = loss + motion / self.outputs
            linears = [m for m in self.nets[number].modules() if isinstance(m, nn.Linear)]
            for linear, rate in zip(linears, config.model_decay, strict=True):
                loss = loss + 0.5 * rate * linear.weight.square().sum()
        return loss


class TextbookModelBased:
    """What MOPO and MABE share."""

    def __init__(self, states: int, actions: int, config: ModelBasedConfig, salts: Tensor) -> None:
        self.config, self.salts, self.steps = config, salts, 0
        self.model = Ensemble(states, actions, config)
        self.ending = perceptron(states + actions, config.model_hidden, 1, nn.SiLU)
        self.ending_optimiser = torch.optim.Adam(self.ending.parameters(), lr=config.model_learning_rate)
        self.actor = Actor(states, actions, config.actor_hidden)
        self.critics = nn.ModuleList(perceptron(states + actions, config.critic_hidden, 1) for _ in range(2))
        self.critic_targets = copy.deepcopy(self.critics)
        self.model_optimiser = torch.optim.Adam(self.model.parameters(), lr=config.model_learning_rate)
        self.actor_optimiser = torch.optim.Adam(self.actor.parameters(), lr=config.learning_rate)
        self.critic_optimiser = torch.optim.Adam(self.critics.parameters(), lr=config.learning_rate)

    def fit_model(self, batch: TensorBatch) -> dict[str, Tensor]:
        loss = self.model.loss(batch, self.salts)
        step(self.model_optimiser, loss)
        logits = self.ending(torch.cat([batch.states, batch.actions], 1)).squeeze(1)
        errors = functional.binary_cross_entropy_with_logits(logits, batch.terminals, reduction="none")
        counts = rows_of(self.config.model_from, batch.is_target)
        ending_loss = (counts * errors).sum() / counts.sum()
        step(self.ending_optimiser, ending_loss)
        return {"model_loss": loss.detach(), "ending_loss": ending_loss.detach()}

    @torch.no_grad()
    def rows(self, batch: TensorBatch, noise: PolicyNoise) -> list[Tensor]:
        """States, actions, rewards, next states, terminals and weights."""
        state = batch.states[noise.starts]
        columns: list[tuple[Tensor, ...]] = []
        alive = torch.ones(len(state))
        for eps, outcome_eps, members, ends in zip(*noise.rollouts, strict=True):
            action, _ = self.actor.sample(state, eps)
            said = [self.model.member(k, state, action) for k in range(self.config.members)]
            means, variances = torch.stack([m for m, _ in said]), torch.stack([v.exp() for _, v in said])
            if self.config.uncertainty == "sigma":
                doubt = variances.sqrt().norm(dim=2).max(0)[0]
            else:
                doubt = (variances.mean(0) + means.var(0, correction=0)).sum(1).sqrt()
            of_row = [tuple(part[row] for part in said[k]) for row, k in enumerate(members.tolist())]
            mean, log_variance = (torch.stack(part) for part in zip(*of_row, strict=True))
            outcome = mean + (0.5 * log_variance).exp() * outcome_eps
            reward = outcome[:, 0] - self.config.uncertainty_penalty * doubt
            end = self.ending(torch.cat([state, action], 1)).squeeze(1)
            terminal = (ends < torch.sigmoid(end)).float()
            columns.append((state, action, reward, state + outcome[:, 1:], terminal, alive))
            state, alive = state + outcome[:, 1:], alive * (1 - terminal)
        columns.append((*(column[noise.real] for column in batch[:5]), torch.ones(len(noise.real))))
        return [torch.cat(parts) for parts in zip(*columns, strict=True)]

    def q(self, critics: nn.ModuleList, state: Tensor, action: Tensor) -> Tensor:
        return torch.stack([critic(torch.cat([state, action], 1)).squeeze(1) for critic in critics])

    def fit_critics(self, rows: list[Tensor], noise: Tensor, temperature: float | Tensor) -> Tensor:
        state, action, reward, following, terminal, weight = rows
        with torch.no_grad():
            next_action, log_likelihood = self.actor.sample(following, noise)
            q = self.q(self.critic_targets, following, next_action).min(0)[0] - temperature * log_likelihood
            target = reward + self.config.discount * (1 - terminal) * q
        errors = (self.q(self.critics, state, action) - target) ** 2
        loss = (weight * errors).sum() / weight.sum()
        step(self.critic_optimiser, loss)
        return loss.detach()


def step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step down."""
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


@torch.no_grad()
def follow(target: nn.Module, online: nn.Module, tau: float) -> None:
    """theta' <- tau theta + (1 - tau) theta'."""
    for p, target_p in zip(online.parameters(), target.parameters(), strict=True):
        target_p.copy_(tau * p + (1 - tau) * target_p)


class TextbookMOPO(TextbookModelBased):
    """The same update as `dara_ros.policies.algorithms.mopo.MOPO`, written plainly."""

    def __init__(self, states: int, actions: int, config: ModelBasedConfig, salts: Tensor) -> None:
        super().__init__(states, actions, config, salts)
        self.least = -actions
        self.log_temperature = torch.zeros((), requires_grad=True)
        self.temperature_optimiser = torch.optim.Adam([self.log_temperature], lr=config.learning_rate)

    def update(self, batch: TensorBatch, noise: PolicyNoise) -> dict[str, Tensor]:
        self.steps += 1
        if self.steps <= self.config.model_steps:
            return self.fit_model(batch)
        rows = self.rows(batch, noise)
        state, weight = rows[0], rows[-1]
        temperature = self.log_temperature.detach().exp()
        critic_loss = self.fit_critics(rows, noise.next_actions, temperature)
        action, log_likelihood = self.actor.sample(state, noise.actions)
        q = self.q(self.critics, state, action).min(0)[0]
        step(self.actor_optimiser, (weight * (temperature * log_likelihood - q)).sum() / weight.sum())
        entropy = -(weight * log_likelihood.detach()).sum() / weight.sum()
        step(self.temperature_optimiser, self.log_temperature * (entropy - self.least))
        follow(self.critic_targets, self.critics, self.config.tau)
        return {"critic_loss": critic_loss, "entropy": entropy, "temperature": temperature}
