"""Conservative Q-learning: Kumar, Zhou, Tucker, Levine, "Conservative Q-Learning for Offline Reinforcement
Learning", NeurIPS 2020 (arXiv 2006.04779); the variant CQL(H), on soft actor-critic.

A critic is fitted to the Bellman target and pressed down on actions that the data does not hold:

    min_Q  w (E_s[log sum_a exp Q(s, a)] - E_{s,a ~ D}[Q(s, a)]) + E_D[(Q(s, a) - y)^2]

so that the policy, which climbs Q, gains nothing by leaving the data. The sum over actions is estimated from
uniform actions and from the policy's own, each divided by the density that it was drawn with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..actors import MeanPolicy, gaussian
from ..critics import q_values
from ..learning import Figures, Learner, Run, TensorBatch
from ..networks import Layer, Mlp, Scalar
from ..settings import Settings

LARGEST_WEIGHT = 1e6  # of the conservative term, where it is a Lagrange multiplier


@dataclass(frozen=True)
class CQLConfig(Settings):
    """Hyper-parameters; the defaults are those of the authors' code, unless said otherwise."""

    discount: float = 0.99  # gamma
    tau: float = 0.005  # step of the target critics towards the online ones
    batch_size: int = 256
    learning_rate: float = 3e-4  # of Adam, for the critics and the Lagrange multiplier
    policy_learning_rate: float = 1e-4  # of Adam, for the policy and its entropy's temperature
    cloning_steps: int = 10_000  # first the policy is cloned; the authors: 40 000, of ten times our steps
    samples: int = 10  # actions of each kind: uniform, of the policy in s, of the policy in s'
    conservative_weight: float = 5.0  # w; as a Lagrange multiplier it starts here
    lagrange_threshold: float = -1.0  # the gap that w is tuned to keep, say 5 or 10; below 0: w stays
    critic_hidden: tuple[int, ...] = (256, 256, 256)
    policy_hidden: tuple[int, ...] = (256, 256, 256)

    name = "cql"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(0, "cloning_steps")
        self.check_at_least(1, "samples")
        self.check_positive("conservative_weight")


class Noise(NamedTuple):
    """All randomness of one update, for B rows and K samples."""

    target: Tensor  # (B, A) normal: the next action in the Bellman target
    uniform: Tensor  # (K, B, A) uniform in [-1, 1]: actions as they are
    here: Tensor  # (K, B, A) normal: actions of pi(.|s)
    there: Tensor  # (K, B, A) normal: actions of pi(.|s')
    policy: Tensor  # (B, A) normal: the action of the policy's loss


# ---------------------------------------------------------------- critics


@torch.no_grad()
def bellman_target(
    actor: Sequence[Layer], critic_target: Sequence[Layer], batch: TensorBatch, noise: Noise, discount: float
) -> Tensor:
    """The regression target y (B,) of both critics."""
    next_actions, _ = gaussian(actor, batch.next_states).sample(noise.target)
    # y = r + gamma (1 - terminal) min_j Q'_j(s', a'), a' ~ pi(.|s'), without an entropy bonus
    q = q_values(critic_target, batch.next_states, next_actions).amin(0)
    return batch.rewards + discount * (1.0 - batch.terminals) * q


@torch.no_grad()
def proposals(actor: Sequence[Layer], batch: TensorBatch, noise: Noise) -> tuple[Tensor, Tensor]:
    """K actions of three kinds in every state, (3, B, K, A), and their log densities, (3, B, K)."""
    here, log_here = gaussian(actor, batch.states).sample(noise.here)
    there, log_there = gaussian(actor, batch.next_states).sample(noise.there)
    # mu(a) = 1 / 2^A on the box
    log_uniform = torch.full_like(log_here, -math.log(2.0) * here.shape[-1])
    actions = torch.stack((noise.uniform, here, there))
    return actions.transpose(1, 2), torch.stack((log_uniform, log_here, log_there)).transpose(1, 2)


def critic_loss(
    critic: Sequence[Layer],
    log_weight: Tensor,
    batch: TensorBatch,
    target: Tensor,
    actions: Tensor,
    log_densities: Tensor,
) -> tuple[Tensor, Figures]:
    """sum_j mean (Q_j(s, a) - y)^2 + w gap_j; target (B,), actions and log_densities as in `proposals`."""
    q_data = q_values(critic, batch.states, batch.actions)
    error = (q_data - target).square().mean(1).sum()
    # One kind at a time: what the layers give for all would not fit the cache.
    kinds = [q_values(critic, batch.states, kind.flatten(0, 1)) for kind in actions]
    q_others = torch.stack(kinds, 1).view(2, *log_densities.shape)
    # gap_j = E_s[log sum_i exp(Q_j(s, a_i)) / mu(a_i|s)] - E_D[Q_j(s, a)]
    gap = (torch.logsumexp(q_others - log_densities, (1, 3)) - q_data).mean(1)
    loss = error + conservative_weight(log_weight) * gap.sum()
    return loss, {
        "critic_error": error.detach(),
        "conservative_gap": gap.detach().mean(),
        "q_data": q_data.detach().mean(),
        "q_target": target.mean(),
    }


def conservative_weight(log_weight: Tensor) -> Tensor:
    """w, from its logarithm."""
    return log_weight.exp().clamp(max=LARGEST_WEIGHT)


def weight_loss(log_weight: Tensor, gap: Tensor, threshold: float) -> tuple[Tensor, Figures]:
    """-w (gap - threshold): the multiplier grows for as long as the gap is above the threshold."""
    weight = conservative_weight(log_weight)
    return -weight * (gap - threshold), {"conservative_weight": weight.detach()}


# ---------------------------------------------------------------- policy


def policy_loss(
    actor: Sequence[Layer], critic: Sequence[Layer], log_alpha: Tensor, batch: TensorBatch, noise: Noise
) -> tuple[Tensor, Figures]:
    """E[alpha log pi(a|s) - min_j Q_j(s, a)], a ~ pi(.|s): soft actor-critic's."""
    actions, log_likelihood = gaussian(actor, batch.states).sample(noise.policy)
    q = q_values(critic, batch.states, actions).amin(0)
    loss = (log_alpha.exp() * log_likelihood - q).mean()
    return loss, {"q_policy": q.detach().mean(), "entropy": -log_likelihood.detach().mean()}


def cloning_loss(
    actor: Sequence[Layer], log_alpha: Tensor, batch: TensorBatch, noise: Noise
) -> tuple[Tensor, Figures]:
    """E[alpha log pi(a'|s) - log pi(a|s)], a' ~ pi(.|s), a of the data."""
    policy = gaussian(actor, batch.states)
    _, log_likelihood = policy.sample(noise.policy)
    of_data = policy.log_likelihood(batch.actions)
    loss = (log_alpha.exp() * log_likelihood - of_data).mean()
    return loss, {"log_likelihood": of_data.detach().mean(), "entropy": -log_likelihood.detach().mean()}


def temperature_loss(log_alpha: Tensor, entropy: Tensor, target: float) -> tuple[Tensor, Figures]:
    """log(alpha) (H - H_target): alpha grows for as long as the policy's entropy is below its target."""
    return log_alpha * (entropy - target), {"temperature": log_alpha.detach().exp()}


# ---------------------------------------------------------------- the learner


class CQL(Learner):
    """Conservative Q-learning, CQL(H)."""

    NAME = "cql"
    Config = CQLConfig
    config: CQLConfig

    def __init__(self, action_size: int, runs: Sequence[Run], device: str = "cpu") -> None:
        super().__init__(action_size, runs, device)
        config, states, draw = self.config, self.state_size, self.generators
        self.warm_up = config.cloning_steps
        self.actor = Mlp((states, *config.policy_hidden, 2 * action_size), draw)
        self.critic = Mlp((states + action_size, *config.critic_hidden, 1), draw, copies=2)
        self.critic_target = self.critic.target_copy()
        self.log_alpha = Scalar(0.0, draw)
        self.log_weight = Scalar(math.log(config.conservative_weight), draw)
        self.networks = {
            "actor": self.actor,
            "critic": self.critic,
            "critic_target": self.critic_target,
            "log_alpha": self.log_alpha,
            "log_weight": self.log_weight,
        }
        self._actor_optimiser = self.adam([self.actor], "policy_learning_rate")
        self._critic_optimiser = self.adam([self.critic])
        self._alpha_optimiser = self.adam([self.log_alpha], "policy_learning_rate")
        self._weight_optimiser = self.adam([self.log_weight])
        self.optimisers = (
            self._actor_optimiser,
            self._critic_optimiser,
            self._alpha_optimiser,
            self._weight_optimiser,
        )

    def draw_noise(self, rows: int) -> Noise:
        """Fresh noise for one update on `rows` transitions."""
        one, several = (rows, self.action_size), (self.config.samples, rows, self.action_size)
        return Noise(
            self.normal(*one),
            2.0 * self.uniform(*several) - 1.0,
            self.normal(*several),
            self.normal(*several),
            self.normal(*one),
        )

    def update(self, batch: TensorBatch, noise: Noise | None = None) -> Figures:
        """One step of the critics, the policy and the multipliers, each with what the others are by then.

        Returns:
            critic_error, conservative_gap, q_data, q_target, entropy, temperature; q_policy, or while cloning
            log_likelihood (of the data); conservative_weight, where it is tuned.
        """
        config = self.config
        noise = noise or self.draw_noise(batch.rewards.shape[-1])
        actor, log_alpha, log_weight = self.actor.frozen(), self.log_alpha.value, self.log_weight.value

        of_target = partial(bellman_target, discount=config.discount)
        target = self.over_runs(of_target, actor, self.critic_target.frozen(), batch, noise)
        others = self.over_runs(proposals, actor, batch, noise)
        figures = self.descend(
            self._critic_optimiser, critic_loss, self.critic.layers, log_weight, batch, target, *others
        )
        if config.lagrange_threshold >= 0:
            loss = partial(weight_loss, threshold=config.lagrange_threshold)
            figures |= self.descend(self._weight_optimiser, loss, log_weight, figures["conservative_gap"])

        if self.warming_up:
            figures |= self.descend(
                self._actor_optimiser, cloning_loss, self.actor.layers, log_alpha, batch, noise
            )
        else:
            critic = self.critic.frozen()
            figures |= self.descend(
                self._actor_optimiser, policy_loss, self.actor.layers, critic, log_alpha, batch, noise
            )
        loss = partial(temperature_loss, target=-float(self.action_size))
        figures |= self.descend(self._alpha_optimiser, loss, log_alpha, figures["entropy"])

        self.critic_target.follow(self.critic, config.tau)
        self.steps += 1
        return figures

    def policy(self, run: int = 0) -> nn.Module:
        """tanh of the mean, of the weights as they are now."""
        return MeanPolicy(self.runs[run], self.actor.of_run(run), self.action_size)
