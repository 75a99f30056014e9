"""CQL: every loss by hand, the update is the textbook's, and what it learns."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from learner_checks import (
    ACTIONS,
    ROWS,
    STATES,
    check_dara_turns,
    check_resumes_with_the_same_bits,
    check_runs_together,
    copy_into,
    write_crossings,
)
from small_runs import run_of, tensor_batch
from training_data import small_config

from dara_ros.bench.textbook.cql import TextbookCQL
from dara_ros.bench.train import random_batch
from dara_ros.errors import UserError
from dara_ros.policies.algorithms.cql import (
    CQL,
    CQLConfig,
    Noise,
    bellman_target,
    cloning_loss,
    critic_loss,
    policy_loss,
    proposals,
    temperature_loss,
    weight_loss,
)
from dara_ros.policies.networks import Layer

SMALL = CQLConfig(
    critic_hidden=(24, 24),
    policy_hidden=(16, 16),
    batch_size=64,
    samples=3,
    cloning_steps=15,
    discount=0.1,
    learning_rate=3e-3,
    policy_learning_rate=3e-3,
    conservative_weight=0.3,
)

# Q_2(s, a) = s + a + 2 and Q_1 = 2 Q_2, wherever they are positive
CRITIC: list[Layer] = [
    (torch.ones(2, 2, 1), torch.full((2, 1, 1), 2.0)),
    (torch.tensor([[[2.0]], [[1.0]]]), torch.zeros(2, 1, 1)),
]
# mean 0 and log std -5 + 3.5 (tanh(0) + 1) = -1.5 in every state
ACTOR: list[Layer] = [(torch.zeros(1, 1), torch.zeros(1, 1)), (torch.zeros(1, 2), torch.zeros(1, 2))]
# log pi(0) = log N(0; 0, e^-1.5) - log(1 - 0^2) = 1.5 - log(2 pi) / 2
LOG_PI = 1.5 - 0.918939


def no_noise(rows: int) -> Noise:
    """The policy's actions are its means; K = 1, and the uniform action is 0.5."""
    none = torch.zeros(rows, 1)
    return Noise(none, torch.full((1, rows, 1), 0.5), none[None], none[None], none)


def test_a_timeout_bootstraps_and_a_terminal_does_not_by_hand() -> None:
    # a' = 0, so the smaller of Q' is s' + 2 = 5; y = 1 + 0.5 * 5, or 1
    batch = tensor_batch([[0.0], [0.0]], [[0.5], [0.5]], [1.0, 1.0], [[3.0], [3.0]], [0.0, 1.0])
    assert bellman_target(ACTOR, CRITIC, batch, no_noise(2), 0.5).tolist() == [3.5, 1.0]


def test_proposals_by_hand() -> None:
    actions, log_densities = proposals(ACTOR, tensor_batch([[0.0], [7.0]], [[0.5], [0.5]]), no_noise(2))
    # the three kinds, each of two states and one action: in both states the policy's mean is 0
    assert actions.flatten(1).tolist() == [[0.5, 0.5], [0.0, 0.0], [0.0, 0.0]]
    for densities, expected in zip(
        log_densities.flatten(1).tolist(), (-math.log(2), LOG_PI, LOG_PI), strict=True
    ):
        assert densities == pytest.approx([expected] * 2, abs=1e-5)


def test_critic_loss_by_hand() -> None:
    # Q(0, 0.5) = 5 and 2.5, y = 2: 3^2 + 0.5^2 = 9.25. Others: Q_2 = 1, 2, 3 of densities 1/2, 1/2, 1:
    # gap_2 = log(2 e + 2 e^2 + e^3) - 2.5 = 1.19636, gap_1 = log(2 e^2 + 2 e^4 + e^6) - 5 = 1.26796
    batch = tensor_batch([[0.0]], [[0.5]])
    others = torch.tensor([-1.0, 0.0, 1.0]).view(3, 1, 1, 1)
    log_densities = torch.tensor([math.log(0.5), math.log(0.5), 0.0]).view(3, 1, 1)
    loss, figures = critic_loss(
        CRITIC, torch.tensor(math.log(3.0)), batch, torch.tensor([2.0]), others, log_densities
    )
    assert float(loss) == pytest.approx(9.25 + 3 * (1.19636 + 1.26796), abs=1e-4)
    assert float(figures["conservative_gap"]) == pytest.approx((1.19636 + 1.26796) / 2, abs=1e-5)


def test_policy_losses_by_hand() -> None:
    batch, log_alpha = tensor_batch([[0.0]], [[0.5]]), torch.tensor(math.log(0.5))
    # alpha log pi(0) - min(4, 2)
    loss, figures = policy_loss(ACTOR, CRITIC, log_alpha, batch, no_noise(1))
    assert float(loss) == pytest.approx(0.5 * LOG_PI - 2.0, abs=1e-5)
    assert float(figures["entropy"]) == pytest.approx(-LOG_PI, abs=1e-5)
    # u = atanh(0.5) = 0.549306 is 2.461820 std away: log pi(0.5) = LOG_PI - 3.030279 - log(1 - 0.25)
    loss, _ = cloning_loss(ACTOR, log_alpha, batch, no_noise(1))
    assert float(loss) == pytest.approx(0.5 * LOG_PI - (LOG_PI - 3.030279 + 0.287682), abs=1e-4)


def test_multiplier_losses_by_hand() -> None:
    log_alpha = torch.tensor(-0.5, requires_grad=True)
    loss, _ = temperature_loss(log_alpha, torch.tensor(-3.0), -2.0)  # too little entropy: alpha has to grow
    assert loss.item() == 0.5 and float(torch.autograd.grad(loss, log_alpha)[0]) == -1.0
    log_weight = torch.tensor(math.log(3.0), requires_grad=True)
    loss, _ = weight_loss(log_weight, torch.tensor(2.0), 5.0)  # -3 (2 - 5): the gap is small, w may fall
    assert loss.item() == pytest.approx(9.0) and float(torch.autograd.grad(loss, log_weight)[0]) > 0


@pytest.mark.parametrize("threshold", [-1.0, 2.0])
def test_learning_curve_equals_the_textbook(threshold: float) -> None:
    config = replace(SMALL, lagrange_threshold=threshold, discount=0.99, learning_rate=1e-3)
    ours = CQL(ACTIONS, [run_of(config, STATES, seed=3)])
    plain = TextbookCQL(STATES, ACTIONS, config)
    copy_into(plain.actor, ours.actor)
    for copy in (0, 1):
        copy_into(plain.critics[copy], ours.critic, copy)
        copy_into(plain.targets[copy], ours.critic_target, copy)
    for step in range(30):
        batch, noise = random_batch(ROWS, STATES, ACTIONS, seed=step), ours.draw_noise(ROWS)
        mine, theirs = ours.update(batch, noise), plain.update(batch, noise)
        for name, value in theirs.items():
            assert float(mine[name]) == pytest.approx(float(value), rel=2e-3, abs=2e-4), (step, name)
    torch.testing.assert_close(ours.log_alpha.value, plain.log_alpha, rtol=0, atol=1e-4)
    torch.testing.assert_close(ours.log_weight.value, plain.log_weight, rtol=0, atol=1e-4)
    assert (ours.log_weight.value.item() != pytest.approx(math.log(0.3))) == (threshold >= 0)
    weight = ours.actor.layers[1][0].T
    torch.testing.assert_close(weight, plain.actor[2].weight, rtol=0, atol=2e-3)


def test_a_timeout_bootstraps_and_a_terminal_does_not() -> None:
    """With reward 1 in one state for ever, Q -> 1 / (1 - gamma) unless the step is terminal."""
    config = replace(SMALL, discount=0.8, tau=0.05, conservative_weight=1e-3)
    values = {}
    for terminal in (0.0, 1.0):
        agent = CQL(1, [run_of(config, seed=3)])
        for step in range(300):
            batch = random_batch(32, 1, 1, seed=step)
            nowhere = torch.zeros(32, 1)
            figures = agent.update(
                batch._replace(
                    states=nowhere,
                    next_states=nowhere,
                    rewards=torch.ones(32),
                    terminals=torch.full((32,), terminal),
                )
            )
        values[terminal] = float(figures["q_data"])
    assert values == {0.0: pytest.approx(5.0, rel=0.1), 1.0: pytest.approx(1.0, abs=0.1)}


@pytest.mark.parametrize("threshold", [-1.0, 2.0])
def test_two_runs_together_are_each_as_if_alone(threshold: float) -> None:
    config = replace(SMALL, lagrange_threshold=threshold, cloning_steps=6)
    check_runs_together(CQL, (config, replace(config, policy_learning_rate=1e-3)), 12)


def test_it_resumes_with_the_same_bits(tmp_path: Path) -> None:
    config = small_config(
        *write_crossings(tmp_path),
        tmp_path / "run",
        algorithm="cql",
        settings=SMALL,
        eta=0.0,
        tune=10,
        steps=10,
    )
    # first within the cloning, then where fine-tuning begins and clones again
    check_resumes_with_the_same_bits(config, 7, 25)


def test_it_turns_away_from_what_only_the_source_can_do(tmp_path: Path) -> None:
    settings = replace(SMALL, policy_learning_rate=1e-2)
    check_dara_turns("cql", settings, tmp_path, steps=600)


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"samples": 0},
        {"cloning_steps": -1},
        {"policy_hidden": ()},
        {"discount": 1.1},
        {"policy_learning_rate": 0.0},
        {"conservative_weight": 0.0},
    ],
)
def test_wrong_settings(wrong: dict) -> None:
    with pytest.raises(UserError, match=f"cql.{next(iter(wrong))}"):
        CQLConfig(**wrong)
