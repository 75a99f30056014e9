"""Behaviour-regularised actor-critic with a policy penalty: Wu, Tucker, Nachum, "Behavior Regularized Offline
Reinforcement Learning", 2019 (arXiv 1911.11361).

First the behaviour is cloned, b. Then an actor-critic keeps its policy near it by a penalty in the policy's
objective (BRAC-p; the critics' target has none):

    max_pi E_s E_{a ~ pi} [min_j Q_j(s, a)] - alpha E_s [KL(pi(.|s), b(.|s))]

Of the divergences and estimates that the paper compares, this is the KL divergence from the policy's samples
("primal"), with a fixed alpha. The policy begins as b and, until the critics know something, follows the
penalty alone; the authors' begins at random, and comes to b in that time.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..actors import MeanPolicy, gaussian
from ..critics import critic_loss, q_values
from ..learning import Figures, Learner, Run, TensorBatch
from ..networks import Layer, Mlp, Scalar
from ..settings import Settings

LOG_STD_RANGE = (-5.0, 0.0)  # of prior and policy
MOST_ENTROPY_WEIGHT = 500.0


@dataclass(frozen=True)
class BRACPConfig(Settings):
    """Hyper-parameters; the defaults are those of the authors' code as it was run for D4RL.

    There the behaviour was cloned for 300,000 to 1,000,000 updates, depending on the script.
    """

    discount: float = 0.99  # gamma
    tau: float = 0.005  # step of the target critics towards the online ones
    batch_size: int = 256
    learning_rate: float = 1e-3  # of Adam, for the critics
    policy_learning_rate: float = 3e-5
    prior_learning_rate: float = 5e-4  # for the prior and its entropy's weight
    clone_steps: int = 300_000  # updates of the prior, before all others
    critic_steps: int = 20_000  # updates that come next, in which the policy follows the penalty alone
    alpha: float = 1.0  # weight of the KL divergence
    divergence_samples: int = 4  # actions of the policy in each state that estimate it
    critic_hidden: tuple[int, ...] = (300, 300)
    policy_hidden: tuple[int, ...] = (200, 200)  # of the prior too

    name = "brac-p"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(0, "critic_steps")
        self.check_at_least(1, "divergence_samples", "clone_steps")
        self.check_not_negative("alpha")


class Noise(NamedTuple):
    """All randomness of one update of policy and critics, standard normal."""

    next_actions: Tensor  # (B, A)
    actions: Tensor  # (1 + divergence samples, B, A): the first is for the critics


# ---------------------------------------------------------------- losses of the first stage


def clone_loss(
    prior: Sequence[Layer], entropy_weight: Tensor, batch: TensorBatch, noise: Tensor
) -> tuple[Tensor, Figures]:
    """The likelihood of the data's actions, and some entropy so that b is no needle; noise is (B, A)."""
    b = gaussian(prior, batch.states, LOG_STD_RANGE)
    log_b = b.sample(noise)[1].mean()
    likelihood = b.log_likelihood(batch.actions).mean()
    # mean [w log b(a'|s) - log b(a|s)],  a' ~ b
    loss = entropy_weight * log_b - likelihood
    return loss, {"prior_likelihood": likelihood.detach(), "prior_entropy": -log_b.detach()}


def entropy_weight_loss(weight: Tensor, entropy: Tensor, least: float) -> tuple[Tensor, Figures]:
    """w (H(b) - H_least): the weight grows while the entropy is too small."""
    return weight * (entropy - least), {"entropy_weight": weight.detach()}


# ---------------------------------------------------------------- losses of the second stage


@torch.no_grad()
def critic_target(
    actor: Sequence[Layer], critic: Sequence[Layer], batch: TensorBatch, noise: Tensor, discount: float
) -> Tensor:
    """The regression target y (B,) of both critics; `critic` are the target networks."""
    actions, _ = gaussian(actor, batch.next_states, LOG_STD_RANGE).sample(noise)
    # y = r + gamma (1 - terminal) min_j Q'_j(s', a'),  a' ~ pi
    q = q_values(critic, batch.next_states, actions).amin(0)
    return batch.rewards + discount * (1.0 - batch.terminals) * q


def policy_loss(
    actor: Sequence[Layer],
    critic: Sequence[Layer],
    prior: Sequence[Layer],
    batch: TensorBatch,
    noise: Tensor,
    alpha: float,
    with_q: bool,
) -> tuple[Tensor, Figures]:
    """What the policy descends; without `with_q` the penalty alone."""
    actions, log_pi = gaussian(actor, batch.states, LOG_STD_RANGE).sample(noise)
    log_b = gaussian(prior, batch.states, LOG_STD_RANGE).log_likelihood(actions[1:])
    # KL = mean_i [log pi(a_i|s) - log b(a_i|s)],  a_i ~ pi
    kl = (log_pi[1:] - log_b).mean()
    loss, figures = alpha * kl, {"kl": kl.detach()}
    if with_q:
        # mean [alpha KL - min_j Q_j(s, a)],  a ~ pi
        q = q_values(critic, batch.states, actions[0]).amin(0).mean()
        loss = loss - q
        figures["q_policy"] = q.detach()
    return loss, figures


# ---------------------------------------------------------------- the learner


class BRACP(Learner):
    """Behaviour-regularised actor-critic, the penalty in the policy's objective."""

    NAME = "brac-p"
    Config = BRACPConfig
    config: BRACPConfig

    def __init__(self, action_size: int, runs: Sequence[Run], device: str = "cpu") -> None:
        super().__init__(action_size, runs, device)
        config, states, draw = self.config, self.state_size, self.generators
        self.warm_up = config.clone_steps + config.critic_steps
        self.prior = Mlp((states, *config.policy_hidden, 2 * action_size), draw)
        self.entropy_weight = Scalar(1.0, draw)
        self.actor = Mlp((states, *config.policy_hidden, 2 * action_size), draw)
        self.critic = Mlp((states + action_size, *config.critic_hidden, 1), draw, copies=2)
        self.critic_target = self.critic.target_copy()
        self._prior_optimiser = self.adam([self.prior], "prior_learning_rate")
        self._entropy_optimiser = self.adam([self.entropy_weight], "prior_learning_rate")
        self._actor_optimiser = self.adam([self.actor], "policy_learning_rate")
        self._critic_optimiser = self.adam([self.critic])
        self.networks = {
            "prior": self.prior,
            "entropy_weight": self.entropy_weight,
            "actor": self.actor,
            "critic": self.critic,
            "critic_target": self.critic_target,
        }
        self.optimisers = (
            self._prior_optimiser,
            self._entropy_optimiser,
            self._actor_optimiser,
            self._critic_optimiser,
        )

    @property
    def cloning(self) -> bool:
        """Whether the next update is one of the prior."""
        return self.steps - self.phase_began < self.config.clone_steps

    @property
    def stage(self) -> Hashable:
        """The warm-up is of two parts."""
        return super().stage, self.cloning

    def draw_noise(self, rows: int) -> Noise:
        """Fresh noise for one update of policy and critics on `rows` transitions."""
        samples = 1 + self.config.divergence_samples
        return Noise(self.normal(rows, self.action_size), self.normal(samples, rows, self.action_size))

    def update(self, batch: TensorBatch) -> Figures:
        """One step of the prior, or of policy and critics, on a batch of B rows.

        Returns:
            First prior_likelihood, prior_entropy, entropy_weight; then critic_loss, q_data, q_target, kl;
            after the warm-up q_policy too.
        """
        rows = batch.rewards.shape[-1]
        if self.cloning:
            figures = self.clone(batch, self.normal(rows, self.action_size))
        else:
            if self.steps == self.config.clone_steps:  # not again where a later phase goes on with the policy
                self.actor.flat.copy_(self.prior.flat)
            figures = self.improve(batch, self.draw_noise(rows))
        self.steps += 1
        return figures

    def clone(self, batch: TensorBatch, noise: Tensor) -> Figures:
        """One step of the prior and of the weight of its entropy, which is not to fall below -A."""
        weight = self.entropy_weight.value
        figures = self.descend(
            self._prior_optimiser, clone_loss, self.prior.layers, weight.detach(), batch, noise
        )
        loss = partial(entropy_weight_loss, least=-self.action_size)
        figures |= self.descend(self._entropy_optimiser, loss, weight, figures["prior_entropy"])
        with torch.no_grad():
            weight.clamp_(0.0, MOST_ENTROPY_WEIGHT)
        return figures

    def improve(self, batch: TensorBatch, noise: Noise) -> Figures:
        """One step of critics and policy."""
        config = self.config
        target = self.over_runs(
            partial(critic_target, discount=config.discount),
            self.actor.frozen(),
            self.critic_target.frozen(),
            batch,
            noise.next_actions,
        )
        figures = self.descend(self._critic_optimiser, critic_loss, self.critic.layers, batch, target)
        figures |= self.descend(
            self._actor_optimiser,
            partial(policy_loss, alpha=config.alpha, with_q=not self.warming_up),
            self.actor.layers,
            self.critic.frozen(),
            self.prior.frozen(),
            batch,
            noise.actions,
        )
        self.critic_target.follow(self.critic, config.tau)
        return figures

    def policy(self, run: int = 0) -> nn.Module:
        """tanh of the policy's mean; of the prior's as long as that is all there is."""
        network = self.prior if self.steps <= self.config.clone_steps else self.actor
        return MeanPolicy(self.runs[run], network.of_run(run), self.action_size)
