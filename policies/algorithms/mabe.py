"""Model-based learning with a behavioural prior: a model to look ahead in, a policy to stay near.

Cang, Rajeswaran, Abbeel and Laskin, "Behavioral Priors and Dynamics Models: Improving Performance and Domain
Transfer in Offline RL", 2021, arXiv:2106.09119. Its three parts are a model of the dynamics, an
advantage-weighted behavioural prior pi_p, and policy improvement in the model, regularised towards the prior:

    pi_p = argmax E_D [ w(A(s, a)) log pi_p(a|s) ]
    pi   = argmax E_model [ Q(s, a) ] - alpha E_s [ KL(pi(.|s) || pi_p(.|s)) ]

The paper's abstract says this much, and that doubt of the model need not be penalised. All else here is ours,
because no code and no hyper-parameters of it were found:

- w = min(exp(A / beta), max_weight), A = r + gamma (1 - terminal) V(s') - V(s), standardised over a batch,
  as advantage-weighted regression has it; V learns by TD on the same rows,
  from the mean reward for ever on.
- The model is MOPO's (dynamics.py), without its penalty by default; prior and V learn beside it in the
  warm-up and then stand still. The policy begins as the prior.
- alpha is fixed. KL is that of the Gaussians before tanh, which is the same number and exact.
- Twin critics learn y = r + gamma (1 - terminal) min_j Q'_j(s', a'), without a KL or entropy term.

Prior and model may come from different domains (`prior_from`, `model_from`):

- prior_from "source", model_from "target": act as was found good in the source, where the target's dynamics
  allow it.
- prior_from "target", model_from "source": stay near what was done in the target, and look ahead as the
  source moves.

Rewards are DARA's in all of it: a penalised source row has less advantage, and the prior turns from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..actors import Gaussian, gaussian
from ..critics import q_values
from ..dynamics import DOMAINS, rows_of
from ..learning import Figures, Run, TensorBatch
from ..model_based import ModelBased, ModelBasedConfig, PolicyNoise
from ..networks import Layer, Mlp, mlp
from ..sac import Rows, critic_loss, critic_target, weighted_mean

SMALLEST_SPREAD = 1e-5  # of advantages, added to their standard deviation


@dataclass(frozen=True)
class MABEConfig(ModelBasedConfig):
    """Hyper-parameters; those of the model, rollouts and actor-critic are MOPO's, for want of the paper's."""

    uncertainty_penalty: float = 0.0
    value_hidden: tuple[int, ...] = (256, 256)  # of V; the prior has the actor's
    prior_from: str = "union"  # whose rows the prior and V learn from. With tune: union
    advantage_temperature: float = 1.0  # beta, in standard deviations of the advantage
    max_weight: float = 20.0  # of a row in the prior's likelihood
    kl_weight: float = 1.0  # alpha, in units of Q

    name = "mabe"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_positive("advantage_temperature", "max_weight")
        self.check_not_negative("kl_weight")
        self.check_choice("prior_from", DOMAINS)


# ---------------------------------------------------------------- the prior


def state_values(value: Sequence[Layer], states: Tensor) -> Tensor:
    """V (B,) of states (B, S)."""
    return mlp(value, states).squeeze(-1)


def returns_ahead(value: Sequence[Layer], batch: TensorBatch, discount: float) -> Tensor:
    """r + gamma (1 - terminal) V(s'), (B,)."""
    following = state_values(value, batch.next_states)
    return batch.rewards + discount * (1.0 - batch.terminals) * following


def value_loss(
    value: Sequence[Layer], target: Sequence[Layer], batch: TensorBatch, prior_from: str, discount: float
) -> tuple[Tensor, Figures]:
    """mean (V(s) - r - gamma (1 - terminal) V'(s'))^2 over the rows of a domain."""
    with torch.no_grad():
        ahead = returns_ahead(target, batch, discount)
    error = (state_values(value, batch.states) - ahead).square()
    loss = weighted_mean(error, rows_of(prior_from, batch.is_target))
    return loss, {"value_loss": loss.detach()}


def advantage_weights(
    value: Sequence[Layer], batch: TensorBatch, counts: Tensor, config: MABEConfig
) -> Tensor:
    """min(exp(A / beta), max_weight), (B,), A standardised over the rows that count."""
    # A = r + gamma (1 - terminal) V(s') - V(s)
    advantages = returns_ahead(value, batch, config.discount) - state_values(value, batch.states)
    centred = advantages - weighted_mean(advantages, counts)
    spread = weighted_mean(centred.square(), counts).sqrt() + SMALLEST_SPREAD
    return torch.exp(centred / spread / config.advantage_temperature).clamp(max=config.max_weight)


def prior_loss(
    prior: Sequence[Layer], value: Sequence[Layer], batch: TensorBatch, config: MABEConfig
) -> tuple[Tensor, Figures]:
    """-mean w(A) log pi_p(a|s) over the rows of a domain."""
    counts = rows_of(config.prior_from, batch.is_target)
    with torch.no_grad():
        weights = advantage_weights(value, batch, counts, config)
    log_likelihood = gaussian(prior, batch.states).log_likelihood(batch.actions)
    loss = -weighted_mean(weights * log_likelihood, counts)
    return loss, {"prior_loss": loss.detach(), "prior_weight": weighted_mean(weights, counts)}


# ---------------------------------------------------------------- the policy


def kl_divergence(policy: Gaussian, prior: Gaussian) -> Tensor:
    """KL(pi || pi_p), (B,): squashing both alike changes it in nothing."""
    # log sigma_p - log sigma + (sigma^2 + (mu - mu_p)^2) / (2 sigma_p^2) - 1/2, summed over actions
    squares = torch.exp(2.0 * policy.log_std) + (policy.mean - prior.mean).square()
    ratio = squares * torch.exp(-2.0 * prior.log_std)
    return (prior.log_std - policy.log_std + 0.5 * ratio - 0.5).sum(-1)


def policy_loss(
    actor: Sequence[Layer],
    prior: Sequence[Layer],
    critic: Sequence[Layer],
    rows: Rows,
    noise: Tensor,
    kl_weight: float,
) -> tuple[Tensor, Figures]:
    """mean alpha KL(pi(.|s) || pi_p(.|s)) - min_j Q_j(s, a),   a ~ pi(.|s)."""
    policy = gaussian(actor, rows.states)
    actions, _ = policy.sample(noise)
    q = q_values(critic, rows.states, actions).amin(0)
    kl = kl_divergence(policy, gaussian(prior, rows.states))
    loss = weighted_mean(kl_weight * kl - q, rows.weights)
    return loss, {
        "q_policy": weighted_mean(q.detach(), rows.weights),
        "kl": weighted_mean(kl.detach(), rows.weights),
    }


# ---------------------------------------------------------------- the learner


class MABE(ModelBased):
    """Model-based offline learning with an adaptive behavioural prior."""

    NAME = "mabe"
    Config = MABEConfig
    config: MABEConfig

    def __init__(self, action_size: int, runs: Sequence[Run], device: str = "cpu") -> None:
        super().__init__(action_size, runs, device)
        config, states, draw = self.config, self.state_size, self.generators
        self.prior = Mlp((states, *config.actor_hidden, 2 * action_size), draw)
        self.value = Mlp((states, *config.value_hidden, 1), draw)
        self.start_at_the_mean(self.value, config.discount)
        self.value_target = self.value.target_copy()
        self.networks |= {"prior": self.prior, "value": self.value, "value_target": self.value_target}
        self.prior_optimiser = self.adam([self.prior])
        self.value_optimiser = self.adam([self.value])
        self.optimisers = (*self.optimisers, self.prior_optimiser, self.value_optimiser)

    def update(self, batch: TensorBatch, noise: PolicyNoise | None = None) -> Figures:
        """One step of model, V and prior, or, after the warm-up, of critics and policy.

        Returns:
            model_loss, model_error, reward_error, ending_loss, value_loss, prior_loss, prior_weight; or
            rollout_reward, uncertainty, rollout_ended, critic_loss, q_data, q_policy, kl.
        """
        if self.warming_up:
            figures = self.fit_model(batch) | self.fit_prior(batch)
        else:
            if self.steps == self.warm_up:  # not again where a later phase goes on with the policy
                self.actor.flat.copy_(self.prior.flat)
            figures = self.improve(batch, noise or self.draw_noise(batch.rewards.shape[-1]))
        self.steps += 1
        return figures

    def fit_prior(self, batch: TensorBatch) -> Figures:
        """A step of V and of the prior."""
        config = self.config
        figures = self.descend(
            self.value_optimiser,
            partial(value_loss, prior_from=config.prior_from, discount=config.discount),
            self.value.layers,
            self.value_target.frozen(),
            batch,
        )
        self.value_target.follow(self.value, config.tau)
        return figures | self.descend(
            self.prior_optimiser,
            partial(prior_loss, config=config),
            self.prior.layers,
            self.value.frozen(),
            batch,
        )

    def improve(self, batch: TensorBatch, noise: PolicyNoise) -> Figures:
        """A step of critics and policy on rollouts of the policy in the model."""
        config = self.config
        rows, figures = self.imagine(batch, noise)
        target = self.over_runs(
            partial(critic_target, temperature=0.0, discount=config.discount),
            self.actor.frozen(),
            self.critic_target.frozen(),
            rows,
            noise.next_actions,
        )
        figures |= self.descend(self.critic_optimiser, critic_loss, self.critic.layers, rows, target)
        figures |= self.descend(
            self.actor_optimiser,
            partial(policy_loss, kl_weight=config.kl_weight),
            self.actor.layers,
            self.prior.frozen(),
            self.critic.frozen(),
            rows,
            noise.actions,
        )
        self.critic_target.follow(self.critic, config.tau)
        return figures
