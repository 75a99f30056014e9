"""What policies that learn in a model of the environment share: settings, stages, rows to learn from.

The first `model_steps` updates (the warm-up) fit the model to the data. Each later update starts rollouts of
the current policy in it from states of the batch, and the policy learns from their rows and a few real ones.

The papers keep a buffer of rollouts and draw from it; here each update makes its own, as many rows as it
learns from. That costs the model's evaluation once per row as there, is always of the present policy, and
leaves nothing to keep but weights. Real rows are of both domains, with DARA's rewards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .actors import MeanPolicy
from .dynamics import (
    DOMAINS,
    MEASURES,
    LogVarianceBounds,
    RolloutNoise,
    draw_salts,
    dynamics_loss,
    ending_loss,
    rollout,
)
from .learning import Figures, Learner, Run, TensorBatch
from .networks import Layer, Mlp
from .sac import Rows
from .settings import Settings


@dataclass(frozen=True)
class ModelBasedConfig(Settings):
    """Hyper-parameters of the model, its rollouts and the actor-critic; MOPO's where not said otherwise."""

    discount: float = 0.99  # gamma
    tau: float = 0.005  # step of the target networks towards the online ones
    batch_size: int = 256  # rows of data in an update; about as many, of model and data, teach the policy
    learning_rate: float = 3e-4  # of Adam, for all but the model
    actor_hidden: tuple[int, ...] = (256, 256)
    critic_hidden: tuple[int, ...] = (256, 256)
    members: int = 7  # networks of the model
    model_hidden: tuple[int, ...] = (200, 200, 200, 200)
    model_learning_rate: float = 1e-3  # of Adam, for the model
    model_decay: tuple[float, ...] = (2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4)  # of each layer's weights
    model_steps: int = 50_000  # updates of the model before the policy's; MOPO: until a hold-out is content
    model_from: str = "union"  # whose transitions the model learns; rewards: all. With tune: union
    rollout_length: int = 5  # h
    uncertainty_penalty: float = 1.0  # lambda, in units of reward per unit of normalised observation
    uncertainty: str = "sigma"  # MOPO's: what members take for noise; or mixture: how they disagree, too
    real_ratio: float = 0.05  # fraction of real rows among those the policy learns from

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(1, "members", "model_steps", "rollout_length")
        self.check_shares("real_ratio")
        self.check_not_negative("uncertainty_penalty")
        if len(self.model_decay) != len(self.model_hidden) + 1 or not min(self.model_decay) >= 0:
            self.refuse("model_decay", f"give {len(self.model_hidden) + 1} numbers of 0 or more")
        self.check_choice("model_from", DOMAINS)
        self.check_choice("uncertainty", MEASURES)
        if self.rollouts < 1:
            self.refuse("rollout_length", "batch_size has too few rows for one rollout")

    @property
    def real_rows(self) -> int:
        """Real rows among those the policy learns from."""
        return round(self.real_ratio * self.batch_size)

    @property
    def rollouts(self) -> int:
        """Rollouts of one update."""
        return (self.batch_size - self.real_rows) // self.rollout_length


class PolicyNoise(NamedTuple):
    """All randomness of one update of the policy; N: rows it learns from."""

    starts: Tensor  # (rollouts,) int64, rows of the batch where rollouts start
    real: Tensor  # (real rows,) int64, rows of the batch that are learnt from as they are
    rollouts: RolloutNoise
    next_actions: Tensor  # (N, A), standard normal
    actions: Tensor  # (N, A), standard normal


def rows_to_learn_from(
    actor: Sequence[Layer],
    model: Sequence[Layer],
    bounds: Tensor,
    ending: Sequence[Layer],
    batch: TensorBatch,
    noise: PolicyNoise,
    penalty: float,
    measure: str,
) -> tuple[Rows, Figures]:
    """The rows of rollouts from some states of the batch, then some rows of the batch."""
    starts = batch.states[noise.starts]
    imagined, figures = rollout(actor, model, bounds, ending, starts, noise.rollouts, penalty, measure)
    real = [column[noise.real] for column in batch[:5]]  # states, actions, rewards, next states, terminals
    real.append(torch.ones_like(real[2]))
    return Rows(*(torch.cat(pair) for pair in zip(imagined, real, strict=True))), figures


class ModelBased(Learner):
    """A model, an actor and two critics."""

    config: ModelBasedConfig

    def __init__(self, action_size: int, runs: Sequence[Run], device: str = "cpu") -> None:
        super().__init__(action_size, runs, device)
        config, states, draw = self.config, self.state_size, self.generators
        self.warm_up = config.model_steps
        outputs = states + 1  # the reward and s' - s, each with mean and log-variance
        self.model = Mlp(
            (states + action_size, *config.model_hidden, 2 * outputs), draw, copies=config.members
        )
        self.bounds = LogVarianceBounds(outputs, draw)
        self.ending = Mlp((states + action_size, *config.model_hidden, 1), draw)
        self.actor = Mlp((states, *config.actor_hidden, 2 * action_size), draw)
        self.critic = Mlp((states + action_size, *config.critic_hidden, 1), draw, copies=2)
        self.critic_target = self.critic.target_copy()
        self.model_optimiser = self.adam([self.model, self.bounds], "model_learning_rate")
        self.ending_optimiser = self.adam([self.ending], "model_learning_rate")
        self.actor_optimiser = self.adam([self.actor])
        self.critic_optimiser = self.adam([self.critic])
        self.networks = {
            "model": self.model,
            "bounds": self.bounds,
            "ending": self.ending,
            "actor": self.actor,
            "critic": self.critic,
            "critic_target": self.critic_target,
        }
        self.optimisers = (
            self.model_optimiser,
            self.ending_optimiser,
            self.actor_optimiser,
            self.critic_optimiser,
        )
        self.tables = [{"bootstrap": draw_salts(config.members, generator)} for generator in draw]

    def draw_noise(self, rows: int) -> PolicyNoise:
        """Fresh noise for one update of the policy on a batch of `rows` rows."""
        config = self.config
        steps, count = config.rollout_length, config.rollouts
        order = self.uniform(rows).argsort(-1)  # the sampler may put the target's rows first
        learnt = steps * count + config.real_rows
        return PolicyNoise(
            order[..., :count],
            order[..., rows - config.real_rows :],
            RolloutNoise(
                self.normal(steps, count, self.action_size),
                self.normal(steps, count, self.state_size + 1),
                (self.uniform(steps, count) * config.members).long(),
                self.uniform(steps, count),
            ),
            self.normal(learnt, self.action_size),
            self.normal(learnt, self.action_size),
        )

    def fit_model(self, batch: TensorBatch) -> Figures:
        """A step of the model: model_loss, model_error, reward_error, ending_loss."""
        config = self.config
        figures = self.descend(
            self.model_optimiser,
            partial(dynamics_loss, model_from=config.model_from, decay=config.model_decay),
            self.model.layers,
            self.bounds.value,
            batch,
            self.stack([table["bootstrap"] for table in self.tables]),
        )
        loss = partial(ending_loss, model_from=config.model_from)
        return figures | self.descend(self.ending_optimiser, loss, self.ending.layers, batch)

    def imagine(self, batch: TensorBatch, noise: PolicyNoise) -> tuple[Rows, Figures]:
        """Rows for one update of the policy; rollout_reward, uncertainty, rollout_ended."""
        config = self.config
        return self.over_runs(
            partial(rows_to_learn_from, penalty=config.uncertainty_penalty, measure=config.uncertainty),
            self.actor.frozen(),
            self.model.frozen(),
            self.bounds.value.detach(),
            self.ending.frozen(),
            batch,
            noise,
        )

    def policy(self, run: int = 0) -> nn.Module:
        """The mean action of the weights as they are now."""
        return MeanPolicy(self.runs[run], self.actor.of_run(run), self.action_size)
