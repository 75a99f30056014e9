"""MABE is the textbook's, its prior and model come from the domains they are told, and DARA reaches it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from learner_checks import copy_into
from model_based_runs import (
    ACTIONS,
    CROSSING,
    STATES,
    TINY,
    batch_of,
    constant,
    copy_shared,
    learners,
    resumes,
    same_curve,
    sides_taken,
    single,
    together_as_alone,
    value_of_staying,
)
from small_runs import run_of, tensor_batch, union_batch
from training_data import write_crossing

from dara_ros.bench.textbook.mabe import TextbookMABE
from dara_ros.errors import UserError
from dara_ros.policies.actors import Gaussian, gaussian
from dara_ros.policies.algorithms.mabe import (
    MABE,
    MABEConfig,
    kl_divergence,
    policy_loss,
    prior_loss,
    value_loss,
)
from dara_ros.policies.dynamics import predict
from dara_ros.policies.sac import Rows

SMALL = MABEConfig(**TINY, value_hidden=(16, 12), uncertainty_penalty=0.5)


def test_prior_losses_by_hand() -> None:
    config = MABEConfig(discount=0.5, prior_from="target", max_weight=2.0)
    value, prior = single([2.0], inputs=1), single([0.0, 0.0], inputs=1)
    batch = tensor_batch(
        [[0.0]] * 3,
        [[0.0]] * 3,
        rewards=[0.0, 3.0, 50.0],
        terminals=[0.0, 1.0, 0.0],
        is_target=[1.0, 1.0, 0.0],
    )
    # V = 2: A = 0 + 0.5 * 2 - 2 = -1 and 3 - 2 = 1, of mean 0 and deviation 1; w = e^-1 and min(e, 2). The
    # source's row is not looked at. log std = -1.5: log pi(0) = 1.5 - log(2 pi) / 2 = 0.581061.
    loss, figures = prior_loss(prior, value, batch, config)
    assert float(loss) == pytest.approx(-0.581061 * (0.367879 + 2.0) / 2, abs=1e-4)
    assert float(figures["prior_weight"]) == pytest.approx((0.367879 + 2.0) / 2, abs=1e-4)
    # V' = 4: 2 - (0 + 0.5 * 4) and 2 - 3, squared.
    loss, _ = value_loss(value, single([4.0], inputs=1), batch, "target", 0.5)
    assert float(loss) == pytest.approx((0 + 1) / 2)


def test_policy_loss_by_hand() -> None:
    # log 2 + (1^2 + 1^2) / (2 * 2^2) - 1/2 = 0.443147
    policy = Gaussian(torch.tensor([[1.0]]), torch.tensor([[0.0]]))
    prior = Gaussian(torch.tensor([[0.0]]), torch.tensor([[0.693147]]))
    assert float(kl_divergence(policy, prior)) == pytest.approx(0.443147, abs=1e-5)
    # Both have log std -1.5 and means are 0.2 apart: KL = 0.04 e^3 / 2 = 0.401711. min Q = 1.
    zeros = torch.zeros(2, 1)
    rows = Rows(zeros, zeros, zeros[:, 0], zeros, zeros[:, 0], torch.tensor([1.0, 0.0]))
    actor, prior_net = single([0.2, 0.0], inputs=1), single([0.0, 0.0], inputs=1)
    loss, figures = policy_loss(actor, prior_net, constant([[1.0], [3.0]], 2), rows, zeros, kl_weight=2.0)
    assert float(loss) == pytest.approx(2.0 * 0.401711 - 1.0, abs=1e-4)
    assert float(figures["kl"]) == pytest.approx(0.401711, abs=1e-4)


@pytest.mark.parametrize(("prior_from", "model_from"), [("source", "target"), ("target", "source")])
def test_learning_curve_equals_the_textbook(prior_from: str, model_from: str) -> None:
    ours = learners(MABE, replace(SMALL, prior_from=prior_from, model_from=model_from), 3)
    plain = TextbookMABE(STATES, ACTIONS, ours.config, ours.tables[0]["bootstrap"])
    copy_shared(plain, ours)
    copy_into(plain.prior.net, ours.prior)
    copy_into(plain.value, ours.value)
    copy_into(plain.value_target, ours.value)
    compared = same_curve(ours, plain)
    assert compared == {"model_loss", "ending_loss", "value_loss", "prior_loss", "critic_loss", "kl"}


@pytest.mark.parametrize(("prior_from", "model_from"), [("source", "target"), ("target", "source")])
def test_prior_and_model_are_of_the_domains_they_are_told(prior_from: str, model_from: str) -> None:
    """The source acts to the right and moves; the target acts to the left and stays."""
    settings = CROSSING | {"model_steps": 250}
    agent = MABE(1, [run_of(MABEConfig(**settings, prior_from=prior_from, model_from=model_from))])
    rng = np.random.default_rng(0)
    for _ in range(250):
        is_target = rng.uniform(size=64) < 0.5
        states = rng.normal(size=(64, 1))
        actions = np.where(is_target, -0.5, 0.5)[:, None] + 0.2 * rng.normal(size=(64, 1)).clip(-1, 1)
        following = states + np.where(is_target[:, None], 0.0, 1.0)
        batch = union_batch(states, actions, np.zeros(64), following, is_target=is_target)
        agent.update(agent.batch(batch))
    acts = float(torch.tanh(gaussian(agent.prior.frozen(), torch.zeros(1, 1)).mean))
    assert acts == pytest.approx(0.5 if prior_from == "source" else -0.5, abs=0.15)
    action = torch.tensor([[-0.5 if model_from == "target" else 0.5]])
    said = predict(agent.model.frozen(), agent.bounds.value.detach(), torch.zeros(1, 1), action)
    assert float(said.mean[..., 1].mean()) == pytest.approx(1.0 if model_from == "source" else 0.0, abs=0.15)


def test_a_batch_without_rows_of_the_domain_moves_no_prior() -> None:
    agent = learners(MABE, replace(SMALL, prior_from="target", model_from="target"), 3)
    before = [network.flat.clone() for network in (agent.prior, agent.value, agent.ending)]
    figures = agent.update(batch_of(0)._replace(is_target=torch.zeros(20)))
    assert all(torch.isfinite(value) for value in figures.values())
    for network, flat in zip((agent.prior, agent.value, agent.ending), before, strict=True):
        assert torch.equal(network.flat, flat)


def test_the_policy_begins_as_the_prior_but_not_in_a_later_phase() -> None:
    agent = learners(MABE, replace(SMALL, learning_rate=1e-9), 3)
    for number in range(11):
        agent.update(batch_of(number))
    torch.testing.assert_close(agent.actor.flat, agent.prior.flat, rtol=0, atol=1e-6)
    agent.begin_phase()
    agent.prior.flat.add_(1.0)
    for number in range(11):
        agent.update(batch_of(number))
    assert (agent.actor.flat - agent.prior.flat).abs().min() > 0.9


def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    resumes(MABE, SMALL, tmp_path / "state.pt")


def test_runs_together_are_each_as_if_alone() -> None:
    together_as_alone(MABE, SMALL)


def test_a_timeout_bootstraps_and_a_terminal_does_not() -> None:
    changes = {"batch_size": 32, "model_steps": 200, "discount": 0.8, "tau": 0.2, "learning_rate": 3e-3}
    config = MABEConfig(**{**TINY, **changes}, model_learning_rate=3e-3, value_hidden=(16,))
    assert value_of_staying(MABE, config, terminal=True) == pytest.approx(1.0, abs=0.15)
    assert value_of_staying(MABE, config, terminal=False) == pytest.approx(5.0, rel=0.1)


def test_dara_turns_away_from_what_only_the_source_can_do(tmp_path: Path) -> None:
    files = (
        write_crossing(tmp_path / "source.h5", "source", 3000, seed=0),
        write_crossing(tmp_path / "target.h5", "target", 400, seed=1),
    )
    settings = MABEConfig(**CROSSING, value_hidden=(24, 24), kl_weight=0.02)
    assert min(sides_taken("mabe", settings, files, tmp_path, steps=150)) > 0.9


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("prior_from", "robot"),
        ("model_from", ""),
        ("kl_weight", -0.1),
        ("advantage_temperature", 0.0),
        ("max_weight", 0.0),
        ("value_hidden", ()),
        ("members", 0),
    ],
)
def test_senseless_settings_are_refused(setting: str, value: object) -> None:
    with pytest.raises(UserError, match=f"mabe.{setting}"):
        MABEConfig(**{setting: value})
