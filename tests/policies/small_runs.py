"""Short ways to runs and batches, for the tests of the algorithms."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from dara_ros.policies.learning import Run, TensorBatch
from dara_ros.policies.networks import Mlp
from dara_ros.policies.sampling import UnionBatch


def run_of(config: Any, states: int = 1, seed: int = 0) -> Run:
    """A run on observations that are normalised already."""
    return Run(np.zeros(states), np.ones(states), config, seed)


def union_batch(
    states: np.ndarray,
    actions: np.ndarray,
    rewards: np.ndarray,
    next_states: np.ndarray,
    terminals: np.ndarray | None = None,
    is_target: np.ndarray | None = None,
) -> UnionBatch:
    """A batch as the sampler gives it; no terminals and no target rows unless given."""
    no, rows = np.zeros(len(rewards), bool), np.arange(len(rewards))
    return UnionBatch(
        *(np.asarray(column, np.float32) for column in (states, actions, rewards, next_states)),
        no if terminals is None else terminals,
        rows,
        no if is_target is None else is_target,
    )


def tensor_batch(
    states: Any,
    actions: Any,
    rewards: Any = None,
    next_states: Any = None,
    terminals: Any = None,
    is_target: Any = None,
) -> TensorBatch:
    """A batch for a loss, from nested lists; what is left out is zero, next states are the states."""
    states, actions = torch.tensor(states), torch.tensor(actions)
    zeros = torch.zeros(len(states))

    def or_zeros(column: Any) -> torch.Tensor:
        return zeros if column is None else torch.tensor(column)

    return TensorBatch(
        states,
        actions,
        or_zeros(rewards),
        states if next_states is None else torch.tensor(next_states),
        or_zeros(terminals),
        or_zeros(is_target),
        torch.arange(len(states)),
    )


def copy_into(linears: list[torch.nn.Linear], network: Mlp, copy: int | None = None) -> None:
    """Give a textbook's layers the weights of ours, or of one of its copies."""
    with torch.no_grad():
        for linear, (weight, bias) in zip(linears, network.layers, strict=True):
            linear.weight.copy_((weight if copy is None else weight[copy]).T)
            linear.bias.copy_((bias if copy is None else bias[copy]).view(-1))


def linears(module: torch.nn.Module) -> list[torch.nn.Linear]:
    """The affine layers of a textbook's perceptron."""
    return [m for m in module if isinstance(m, torch.nn.Linear)]
