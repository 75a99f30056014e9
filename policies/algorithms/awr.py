"""Advantage-weighted regression: Peng, Kumar, Zhang, Levine, "Advantage-Weighted Regression: Simple and
Scalable Off-Policy Reinforcement Learning", 2019 (arXiv 1910.00177).

Two regressions. The value function is fitted to the TD(lambda) returns of the data's own trajectories, and
the policy to the data's actions, each weighted by how much better than expected it turned out:

    V <- argmin E_D[(G - V(s))^2],   pi <- argmax E_D[exp((G - V(s)) / beta) log pi(a|s)]

with pi(.|s) = N(mean(s), sigma^2) of fixed sigma. The returns run through whole episodes, so they are
computed for all rows at once, every `refresh` updates, with the value function as it is then.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from ..actors import MeanPolicy
from ..learning import Figures, Learner, Run, TensorBatch
from ..networks import Layer, Mlp, mlp
from ..sampling import UnionBatch, UnionSampler
from ..settings import Settings

SMALLEST_SPREAD = 1e-5  # added to the advantages' standard deviation


@dataclass(frozen=True)
class AWRConfig(Settings):
    """Hyper-parameters; the defaults are those of the authors' code, unless said otherwise."""

    discount: float = 0.99  # gamma
    trace: float = 0.95  # lambda of the TD(lambda) returns
    temperature: float = 1.0  # beta, in standard deviations of the advantage
    largest_weight: float = 20.0  # no row counts for more than this
    batch_size: int = 256
    # Of Adam. The authors take SGD with momentum, at rates that they chose for each robot and that go with
    # the scale of its rewards and actions; Adam's steps do not depend on scale.
    learning_rate: float = 3e-4  # of the policy
    critic_learning_rate: float = 1e-3
    refresh: int = 1000  # updates between two looks at all returns; the authors' policy steps between two
    critic_hidden: tuple[int, ...] = (128, 64)
    policy_hidden: tuple[int, ...] = (128, 64)

    name = "awr"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(1, "refresh")
        if self.discount == 1:
            self.refuse("discount", "give a number from 0 to below 1")
        self.check_shares("trace")
        self.check_positive("temperature", "largest_weight")


# ---------------------------------------------------------------- returns of whole episodes


def discounted_sums(terms: Tensor, factors: Tensor) -> Tensor:
    """S_t = terms_t + factors_t S_{t+1}, both (N,); the last factor has to be 0.

    All rows at once: once each S_t holds the first n terms of its sum and the product of n factors, adding
    the product times S_{t+n} makes it 2 n. No term comes across a factor of 0, not even its rounding error.
    """
    sums, products = terms.clone(), factors.clone()
    reach = 1
    while reach < len(terms) and products.any():
        # of the last `reach` rows the products are 0 by now, and the sums complete
        sums[:-reach] += products[:-reach] * sums[reach:]
        products[:-reach] = products[:-reach] * products[reach:]
        reach *= 2
    return sums


def lambda_returns(
    rewards: Tensor, terminals: Tensor, next_values: Tensor, ends: Tensor, discount: float, trace: float
) -> Tensor:
    """TD(lambda) returns (N,) of rows in order; episodes end before the rows `ends`, (E,).

    An episode that ended in a terminal is worth nothing from there on; one that ran out of time, or of data,
    is worth V(s') of its last row.
    """
    goes_on = torch.ones_like(rewards)
    goes_on[ends - 1] = 0.0
    # G_t = r_t + gamma ((1 - lambda) V(s'_t) + lambda G_{t+1}), and of the last row r_t + gamma V(s'_t)
    bootstrap = (1.0 - trace * goes_on) * (1.0 - terminals) * next_values
    return discounted_sums(rewards + discount * bootstrap, discount * trace * goes_on)


def advantage_weights(
    advantages: Tensor, shares: Tensor, temperature: float, largest_weight: float
) -> Tensor:
    """min(exp(A / beta), largest), (N,), with A of mean 0 and standard deviation 1 among the batches' rows.

    Args:
        advantages: G - V(s), (N,).
        shares: of each row in the batches, (N,), of sum 1.
    """
    mean = (shares * advantages).sum()
    spread = (shares * (advantages - mean).square()).sum().sqrt()
    normalised = (advantages - mean) / (spread + SMALLEST_SPREAD)
    return torch.exp(normalised / temperature).clamp(max=largest_weight)


# ---------------------------------------------------------------- losses


def values(critic: Sequence[Layer], states: Tensor, discount: float) -> Tensor:
    """V (B,), in units of 1 / (1 - gamma): what a reward of 1 in every step adds up to."""
    return mlp(critic, states).squeeze(-1) / (1.0 - discount)


def critic_loss(
    critic: Sequence[Layer], batch: TensorBatch, returns: Tensor, discount: float
) -> tuple[Tensor, Figures]:
    """mean (V(s) - G)^2, in the critic's units; returns (B,)."""
    error = (values(critic, batch.states, discount) - returns).square().mean()
    # back in the unit of the rewards for the figure
    return error * (1.0 - discount) ** 2, {"value_error": error.detach(), "return": returns.mean()}


def policy_loss(policy: Sequence[Layer], batch: TensorBatch, weights: Tensor) -> tuple[Tensor, Figures]:
    """mean w |a - mean(s)|^2 / 2; weights (B,)."""
    # -log pi(a|s) = |a - mean(s)|^2 / (2 sigma^2) + const: sigma is fixed, so it scales the loss and no more,
    # and Adam takes the same steps whatever the scale. It is 1 here.
    error = 0.5 * (batch.actions - torch.tanh(mlp(policy, batch.states))).square().sum(-1)
    loss = (weights * error).mean()
    return loss, {"policy_error": loss.detach(), "weight": weights.mean()}


# ---------------------------------------------------------------- the learner


class AWR(Learner):
    """Advantage-weighted regression.

    The paper's iterations (returns, many steps of the value function, returns, many steps of the policy)
    become one update of both on each batch, with new returns every `refresh` updates. As in an iteration the
    value function comes first: the warm-up, one `refresh` long, is its alone.
    """

    NAME = "awr"
    Config = AWRConfig
    config: AWRConfig

    def __init__(self, action_size: int, runs: Sequence[Run], device: str = "cpu") -> None:
        super().__init__(action_size, runs, device)
        config = self.config
        self.warm_up = config.refresh
        self.critic = Mlp((self.state_size, *config.critic_hidden, 1), self.generators)
        self.actor = Mlp((self.state_size, *config.policy_hidden, action_size), self.generators)
        self.networks = {"critic": self.critic, "actor": self.actor}
        self._critic_optimiser = self.adam([self.critic], "critic_learning_rate")
        self._actor_optimiser = self.adam([self.actor])
        self.optimisers = self._critic_optimiser, self._actor_optimiser

    def look(self, unions: Sequence[UnionSampler]) -> None:
        """Every `refresh` updates: the return and the weight of each row of each run's data."""
        if (self.steps - self.phase_began) % self.config.refresh == 0:
            self.tables = [self._table(run, union) for run, union in enumerate(unions)]

    @property
    def stage(self) -> Hashable:
        """Every look makes new tables."""
        return super().stage, (self.steps - self.phase_began) // self.config.refresh

    def update(self, batch: TensorBatch) -> Figures:
        """One step of the value function and, after the warm-up, of the policy.

        Returns:
            value_error and return; after the warm-up policy_error and weight.
        """
        loss = partial(critic_loss, discount=self.config.discount)
        returns = self._of_rows("returns", batch)
        figures = self.descend(self._critic_optimiser, loss, self.critic.layers, batch, returns)
        if not self.warming_up:
            weights = self._of_rows("weights", batch)
            figures |= self.descend(self._actor_optimiser, policy_loss, self.actor.layers, batch, weights)
        self.steps += 1
        return figures

    def policy(self, run: int = 0) -> nn.Module:
        """The policy's mean, of the weights as they are now."""
        return MeanPolicy(self.runs[run], self.actor.of_run(run))

    def _of_rows(self, name: str, batch: TensorBatch) -> Tensor:
        """What the tables hold under this name for the batch's rows."""
        of_runs = batch.rows.view(len(self.runs), -1)
        return self.stack([table[name][rows] for table, rows in zip(self.tables, of_runs, strict=True)])

    @torch.no_grad()
    def _table(self, run: int, union: UnionSampler) -> dict[str, Tensor]:
        """`returns` and `weights` (N,) of a run's rows, both with the value function as it is now.

        Only numbers, not observations, are kept of more than a block of rows. What no batch holds has 0.
        """
        config, drawn = self.config, union.drawn
        blocks = [self._valued(run, block) for block in union.in_order()]
        rewards, terminals, here, there = (torch.cat(parts) for parts in zip(*blocks, strict=True))
        over = union.episodes()[1] - drawn.start
        ends = torch.from_numpy(over[(over > 0) & (over <= len(rewards))]).to(self.device)
        returns = lambda_returns(rewards, terminals, there, ends, config.discount, config.trace)
        shares = self._shares(union)[drawn]
        weights = advantage_weights(returns - here, shares, config.temperature, config.largest_weight)
        table = {name: torch.zeros(len(union), device=self.device) for name in ("returns", "weights")}
        table["returns"][drawn], table["weights"][drawn] = returns.float(), weights.float()
        return table

    def _valued(self, run: int, block: UnionBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Rewards, terminals, V(s) and V(s') of a block, (B,) each, float64: sums over episodes are long."""
        mean, std = self.runs[run].observation_mean, self.runs[run].observation_std
        critic = [(weight.to(self.device), bias.to(self.device)) for weight, bias in self.critic.of_run(run)]

        def value(observations: np.ndarray) -> Tensor:
            states = torch.from_numpy(((observations - mean) / std).astype(np.float32)).to(self.device)
            return values(critic, states, self.config.discount).double()

        rewards, terminals = (
            torch.from_numpy(column).to(self.device).double() for column in (block.rewards, block.terminals)
        )
        here = value(block.observations)
        # Within an episode s' is the next row's s, whose value is known.
        there = here.roll(-1)
        apart = (block.next_observations != np.roll(block.observations, -1, 0)).any(1)
        there[torch.from_numpy(apart)] = value(block.next_observations[apart])
        return rewards, terminals, here, there

    def _shares(self, union: UnionSampler) -> Tensor:
        """Each row's share of the batches, (N,): they may hold more of a domain than the files do."""
        of_target = union.target_fraction
        sizes = ((1.0 - of_target, len(union.source)), (of_target, len(union.target)))
        parts = [torch.full((size,), share / size, dtype=torch.float64) for share, size in sizes]
        return torch.cat(parts).to(self.device)
