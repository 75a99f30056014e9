"""What algorithms with several critics share: values, the best of candidates, regression on a target."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .learning import Figures, TensorBatch
from .networks import Layer, on_states


def q_values(critic: Sequence[Layer], states: Tensor, actions: Tensor) -> Tensor:
    """Q_1 to Q_C, (C, B * K), for states (B, S) and K consecutive actions each."""
    return on_states(critic, states, actions).squeeze(-1)


def first_critic(critic: Sequence[Layer]) -> list[Layer]:
    """The weights of Q_1 alone."""
    return [(weight[0], bias[0]) for weight, bias in critic]


def best_value(critic: Sequence[Layer], states: Tensor, actions: Tensor, soft_minimum: float) -> Tensor:
    """What the best of each state's K consecutive actions is worth, (B,)."""
    q = q_values(critic, states, actions)
    # max_i [lambda min_j Q_j(s, a_i) + (1 - lambda) max_j Q_j(s, a_i)]
    q = torch.lerp(q.amax(0), q.amin(0), soft_minimum)
    return q.view(states.shape[0], -1).amax(1)


def critic_loss(critic: Sequence[Layer], batch: TensorBatch, target: Tensor) -> tuple[Tensor, Figures]:
    """sum_j mean (Q_j(s, a) - y)^2."""
    q = q_values(critic, batch.states, batch.actions)
    loss = (q - target).square().mean(1).sum()
    return loss, {"critic_loss": loss.detach(), "q_data": q.detach().mean(), "q_target": target.mean()}
