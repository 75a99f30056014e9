"""A learnt model of an environment: an ensemble of probabilistic networks, and rollouts in it.

Each member gives a Gaussian over (reward, s' - s) for (s, a) (Chua et al., "Deep Reinforcement Learning in a
Handful of Trials using Probabilistic Dynamics Models", NeurIPS 2018, arXiv:1805.12114). Nothing but data is
there that could say when an episode has failed, so a classifier learns that. It is a network of its own: in
the members' it would go unheard, because the gradient of a likelihood grows as its variance falls.

DARA and a model. DARA's rewards r - eta delta_r repair the value of *source* transitions. Delta_r depends on
s', but a value sees only its mean for (s, a), and that mean is what the reward head learns, from all rows:
those of the target, which lose nothing, are averaged in. So the augmentation reaches the policy. Which
transitions the rest of the model learns from is a choice:

- "union": more data. The model moves mostly as the source does, and its rewards say where that is wrong.
- "target": it moves as the target does where target rows are, so no repair is due there. What the reward
  head has learnt of it then only makes the policy wary of where the domains differ; eta = 0 goes without.

Where domains differ, the rewards of source and target rows do too, so the reward's variance grows there,
and with it a penalty on the model's uncertainty.

How unsure the model is: "sigma", MOPO's max_k ||sigma_k(s, a)||, is what the members take for noise. Where
the data's noise is the same everywhere, so is sigma, even far from all data (tests/policies/test_dynamics.py
measures it). "mixture" adds how much the members disagree, which grows there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .actors import gaussian
from .learning import Figures, TensorBatch
from .networks import Layer, Parameters, mlp
from .sac import Rows, weighted_mean

DOMAINS = ("union", "source", "target")
MEASURES = ("sigma", "mixture")  # of uncertainty
LOG_VARIANCE_RANGE = (-10.0, 0.5)  # where the learnt bounds begin
BOUNDS_WEIGHT = 0.01  # of the bounds' distance in the loss

_PRIME = 2**31 - 1  # products of two smaller numbers fit into int64


class LogVarianceBounds(Parameters):
    """The least and the largest log-variance of every output.

    Attributes:
        value: side by side, (2 D,), or (R, 2 D) of R runs; requires a gradient.
    """

    def __init__(self, outputs: int, generators: Sequence[torch.Generator]) -> None:
        self.runs = len(generators)
        bounds = torch.tensor(LOG_VARIANCE_RANGE, device=generators[0].device).repeat_interleave(outputs)
        self.value = bounds.repeat(self.runs, 1) if self.runs > 1 else bounds
        self.value.requires_grad_()

    @property
    def leaves(self) -> list[Tensor]:
        """All bounds, as one tensor."""
        return [self.value]


class Forecast(NamedTuple):
    """What C members say of N outcomes; D = 1 + S: the reward and s' - s."""

    mean: Tensor  # (C, N, D)
    log_variance: Tensor  # (C, N, D)

    def uncertainty(self, measure: str) -> Tensor:
        """How unsure the members are of each outcome, (N,): one of MEASURES."""
        if measure == "sigma":
            # max_k ||sigma_k||
            return torch.exp(0.5 * self.log_variance).norm(dim=-1).amax(0)
        # ||sigma|| of all members as one distribution: sigma^2 = mean_k sigma_k^2 + var_k mu_k
        variance = torch.exp(self.log_variance).mean(0) + self.mean.var(0, correction=0)
        return variance.sum(-1).sqrt()

    def drawn(self, members: Tensor, noise: Tensor) -> Tensor:
        """An outcome (N, D) of the member (N,) given for each row."""
        each = members.view(1, -1, 1).expand(1, *noise.shape)
        mean, log_variance = self.mean.gather(0, each)[0], self.log_variance.gather(0, each)[0]
        return mean + torch.exp(0.5 * log_variance) * noise


def predict(model: Sequence[Layer], bounds: Tensor, states: Tensor, actions: Tensor) -> Forecast:
    """The members' forecasts for states (N, S) and actions (N, A)."""
    outputs = mlp(model, torch.cat((states, actions), -1), functional.silu)
    mean, log_variance = outputs.chunk(2, -1)
    low, high = bounds.chunk(2, -1)
    # softly inside its bounds, so that no gradient dies there
    log_variance = high - functional.softplus(high - log_variance)
    log_variance = low + functional.softplus(log_variance - low)
    return Forecast(mean, log_variance)


def end_logits(ending: Sequence[Layer], states: Tensor, actions: Tensor) -> Tensor:
    """log p / (1 - p), (N,), p the probability that the step ends the episode."""
    return mlp(ending, torch.cat((states, actions), -1), functional.silu).squeeze(-1)


# ---------------------------------------------------------------- learning the model


def rows_of(domain: str, is_target: Tensor) -> Tensor:
    """1.0 for every row (B,) of "union", "source" or "target"."""
    if domain == "union":
        return torch.ones_like(is_target)
    return is_target if domain == "target" else 1.0 - is_target


def draw_salts(members: int, generator: torch.Generator) -> Tensor:
    """What makes each member's bootstrap its own: (C, 2) for `bootstrap_weights`."""
    return torch.randint(1, _PRIME, (members, 2), generator=generator, device=generator.device)


def bootstrap_weights(rows: Tensor, salts: Tensor) -> Tensor:
    """Weights (C, B), exponential of mean 1, of the rows numbered (B,): a Bayesian bootstrap.

    A row weighs the same for a member whenever it comes, as it would in a bootstrap sample of the data;
    weights drawn anew for each batch would show every member the same data in the long run. So they are a
    hash of the row's number.
    """
    hashed = (rows * salts[:, :1] + salts[:, 1:]) % _PRIME
    hashed = hashed * hashed % _PRIME
    return -torch.log((hashed.float() + 0.5) / _PRIME)


def dynamics_loss(
    model: Sequence[Layer],
    bounds: Tensor,
    batch: TensorBatch,
    salts: Tensor,
    model_from: str,
    decay: Sequence[float],
) -> tuple[Tensor, Figures]:
    """Negative log-likelihood of the outcomes, summed over members, and weight decay.

    Args:
        model, bounds: what is learnt.
        batch: B rows.
        salts: (C, 2), of `draw_salts`.
        model_from: the domain whose transitions count; rewards count of all rows.
        decay: of each layer's weights.
    """
    forecast = predict(model, bounds, batch.states, batch.actions)
    outcome = torch.cat((batch.rewards.unsqueeze(-1), batch.next_states - batch.states), -1)
    squared = (forecast.mean - outcome).square()
    # (mu - y)^2 / sigma^2 + log sigma^2
    likelihood = squared * torch.exp(-forecast.log_variance) + forecast.log_variance

    of_all = bootstrap_weights(batch.rows, salts)
    counts = rows_of(model_from, batch.is_target)
    reward = weighted_mean(likelihood[..., 0], of_all)
    motion = weighted_mean(likelihood[..., 1:].sum(-1), of_all * counts)
    loss = ((reward + motion) / outcome.shape[-1]).sum()

    low, high = bounds.chunk(2, -1)
    loss = loss + BOUNDS_WEIGHT * (high.sum() - low.sum())
    for (weight, _), rate in zip(model, decay, strict=True):
        loss = loss + 0.5 * rate * weight.square().sum()
    error = weighted_mean(squared[..., 1:].detach().mean(-1), counts).mean()
    figures = {"model_loss": loss.detach(), "model_error": error}
    return loss, figures | {"reward_error": squared[..., 0].detach().mean()}


def ending_loss(ending: Sequence[Layer], batch: TensorBatch, model_from: str) -> tuple[Tensor, Figures]:
    """-mean log p(terminal|s, a) over the rows of a domain."""
    logits = end_logits(ending, batch.states, batch.actions)
    # for a logit l: log(1 + e^l) - terminal l
    errors = functional.softplus(logits) - batch.terminals * logits
    loss = weighted_mean(errors, rows_of(model_from, batch.is_target))
    return loss, {"ending_loss": loss.detach()}


# ---------------------------------------------------------------- rollouts


class RolloutNoise(NamedTuple):
    """All randomness of N rollouts of H steps."""

    actions: Tensor  # (H, N, A), standard normal
    outcomes: Tensor  # (H, N, 1 + S), standard normal
    members: Tensor  # (H, N) int64, whose outcome it is
    ends: Tensor  # (H, N), uniform


@torch.no_grad()
def rollout(
    actor: Sequence[Layer],
    model: Sequence[Layer],
    bounds: Tensor,
    ending: Sequence[Layer],
    states: Tensor,
    noise: RolloutNoise,
    penalty: float,
    measure: str,
) -> tuple[Rows, Figures]:
    """H steps of the policy in the model from each of N states: (H * N) rows, step by step.

    Rows after the end of a rollout weigh nothing. Rewards are r - penalty * uncertainty(s, a).

    Args:
        actor: the policy's weights.
        model, bounds, ending: the model's.
        states: (N, S), where rollouts start.
        noise: of all steps.
        penalty: lambda.
        measure: of uncertainty, one of MEASURES.
    """
    steps: list[Rows] = []
    doubts: list[Tensor] = []
    going_on = torch.ones_like(states[:, 0])
    for action_noise, outcome_noise, members, ends in zip(*(each.unbind(0) for each in noise), strict=True):
        actions, _ = gaussian(actor, states).sample(action_noise)
        forecast = predict(model, bounds, states, actions)
        outcome = forecast.drawn(members, outcome_noise)
        doubt = forecast.uncertainty(measure)
        following = states + outcome[:, 1:]
        terminals = (ends < torch.sigmoid(end_logits(ending, states, actions))).float()
        rewards = outcome[:, 0] - penalty * doubt
        steps.append(Rows(states, actions, rewards, following, terminals, going_on))
        doubts.append(doubt)
        states, going_on = following, going_on * (1.0 - terminals)
    rows = Rows(*(torch.cat(column) for column in zip(*steps, strict=True)))
    return rows, {
        "rollout_reward": weighted_mean(rows.rewards, rows.weights),
        "uncertainty": weighted_mean(torch.cat(doubts), rows.weights),
        "rollout_ended": 1.0 - going_on.mean(),
    }
