"""Soft actor-critic, as losses on weighted rows (Haarnoja et al., "Soft Actor-Critic Algorithms and
Applications", arXiv:1812.05905).

The rows may come from a model: a rollout that has ended leaves rows that nothing may be learnt from, and its
length must not depend on the data, so such rows stay where they are and weigh nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .actors import gaussian
from .critics import q_values
from .learning import Figures
from .networks import Layer


class Rows(NamedTuple):
    """N transitions and what each weighs in a mean."""

    states: Tensor  # (N, S)
    actions: Tensor  # (N, A)
    rewards: Tensor  # (N,)
    next_states: Tensor  # (N, S)
    terminals: Tensor  # (N,)
    weights: Tensor  # (N,), 0.0: not there


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean over the last dimension; a sum of weights below 1 counts as 1, so of nothing it is 0."""
    return (weights * values).sum(-1) / weights.sum(-1).clamp(min=1.0)


@torch.no_grad()
def critic_target(
    actor: Sequence[Layer],
    critic: Sequence[Layer],
    rows: Rows,
    noise: Tensor,
    temperature: Tensor | float,
    discount: float,
) -> Tensor:
    """The regression target y (N,) of both critics.

    Args:
        actor: the policy's weights.
        critic: of the target network.
        rows: to learn from.
        noise: (N, A) standard normal.
        temperature: alpha; 0 for a policy that is not paid for its entropy.
        discount: gamma.
    """
    actions, log_likelihood = gaussian(actor, rows.next_states).sample(noise)
    q = q_values(critic, rows.next_states, actions).amin(0)
    # y = r + gamma (1 - terminal) (min_j Q'_j(s', a') - alpha log pi(a'|s')),   a' ~ pi(.|s')
    return rows.rewards + discount * (1.0 - rows.terminals) * (q - temperature * log_likelihood)


def critic_loss(critic: Sequence[Layer], rows: Rows, target: Tensor) -> tuple[Tensor, Figures]:
    """sum_j mean (Q_j(s, a) - y)^2."""
    q = q_values(critic, rows.states, rows.actions)
    loss = weighted_mean((q - target).square(), rows.weights).sum()
    q_data = weighted_mean(q.detach(), rows.weights).mean()
    return loss, {"critic_loss": loss.detach(), "q_data": q_data}


def actor_loss(
    actor: Sequence[Layer], critic: Sequence[Layer], rows: Rows, noise: Tensor, temperature: Tensor
) -> tuple[Tensor, Figures]:
    """mean alpha log pi(a|s) - min_j Q_j(s, a),   a ~ pi(.|s)."""
    actions, log_likelihood = gaussian(actor, rows.states).sample(noise)
    q = q_values(critic, rows.states, actions).amin(0)
    loss = weighted_mean(temperature * log_likelihood - q, rows.weights)
    entropy = -weighted_mean(log_likelihood.detach(), rows.weights)
    return loss, {"q_policy": weighted_mean(q.detach(), rows.weights), "entropy": entropy}


def temperature_loss(log_temperature: Tensor, entropy: Tensor, least: float) -> tuple[Tensor, Figures]:
    """log alpha (H(pi) - H_0): the temperature falls while the policy's entropy is above H_0."""
    return log_temperature * (entropy - least), {"temperature": log_temperature.detach().exp()}
