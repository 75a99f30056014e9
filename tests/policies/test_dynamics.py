"""The model knows what it was shown and where it was shown nothing; its rollouts end with the episode."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from model_based_runs import constant, single
from small_runs import run_of, tensor_batch, union_batch

from dara_ros.policies import dynamics
from dara_ros.policies.algorithms.mopo import MOPO, MOPOConfig
from dara_ros.policies.dynamics import (
    RolloutNoise,
    bootstrap_weights,
    draw_salts,
    dynamics_loss,
    end_logits,
    ending_loss,
    predict,
    rollout,
)
from dara_ros.policies.sac import Rows, actor_loss, critic_loss, critic_target, temperature_loss

WIDE = torch.tensor([-100.0, -100.0, 100.0, 100.0])  # bounds that change nothing
LOG_4 = 1.386294


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def fitted(one_thread: None) -> MOPO:
    """A model of s' = s + (0.5 a, -0.2 s_1), r = s_1 + a, the end where s_1 > 0.8.

    Seen for |s|, |a| < 1, s' with a noise of 0.05.
    """
    config = MOPOConfig(
        batch_size=128,
        members=4,
        model_hidden=(32, 32),
        model_decay=(1e-6, 1e-6, 1e-6),
        model_steps=1000,
        model_learning_rate=3e-3,
    )
    agent = MOPO(1, [run_of(config, states=2)])
    rng = np.random.default_rng(0)
    for _ in range(config.model_steps):
        states, actions = rng.uniform(-1, 1, (128, 2)), rng.uniform(-1, 1, (128, 1))
        following = states + np.concatenate((0.5 * actions, -0.2 * states[:, :1]), 1)
        following += 0.05 * rng.normal(size=(128, 2))
        rewards, ends = states[:, 0] + actions[:, 0], states[:, 0] > 0.8
        agent.update(agent.batch(union_batch(states, actions, rewards, following, ends)))
    return agent


def test_the_model_learns_a_linear_system(fitted: MOPO) -> None:
    states = torch.tensor([[0.5, 0.0], [-0.5, 0.3], [0.95, 0.0]])
    actions = torch.tensor([[0.4], [-0.6], [0.0]])
    forecast = predict(fitted.model.frozen(), fitted.bounds.value.detach(), states, actions)
    expected = torch.tensor([[0.9, 0.2, -0.1], [-1.1, -0.3, 0.1], [0.95, 0.0, -0.19]])
    torch.testing.assert_close(forecast.mean, expected.expand(4, -1, -1), rtol=0, atol=0.1)
    assert (end_logits(fitted.ending.frozen(), states, actions) > 0).tolist() == [False, False, True]


def test_disagreement_grows_away_from_the_data_and_sigma_does_not(fitted: MOPO) -> None:
    """The noise of the data is the same everywhere, and sigma is what the members take for noise."""
    ways = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    ways = torch.nn.functional.normalize(ways)
    doubts: dict[str, list[float]] = {"sigma": [], "mixture": []}
    for distance in (0.5, 4.0, 8.0):
        states = distance * ways
        forecast = predict(fitted.model.frozen(), fitted.bounds.value.detach(), states, torch.zeros(50, 1))
        for measure, found in doubts.items():
            found.append(float(forecast.uncertainty(measure).mean()))
    near, far, farther = doubts["mixture"]
    assert far > 1.5 * near and farther > 1.5 * far, doubts
    assert doubts["sigma"][1] < 1.1 * doubts["sigma"][0], doubts


def test_measures_of_uncertainty_by_hand() -> None:
    # sigma (1, 1) and (3, 4): the larger norm is 5. Of both: mean variances 5 and 8.5; means 1 and 2, 0.5 and
    # -1.5 have variances 0.25 and 1.
    model = constant([[1.0, 0.5, 0.0, 0.0], [2.0, -1.5, 2.197225, 2.772589]], inputs=2)
    forecast = predict(model, WIDE, torch.zeros(1, 1), torch.zeros(1, 1))
    assert float(forecast.uncertainty("sigma")) == pytest.approx(5.0, rel=1e-4)
    assert float(forecast.uncertainty("mixture")) == pytest.approx(14.75**0.5, rel=1e-4)


def test_rollouts_end_where_the_model_says_so(fitted: MOPO) -> None:
    # a = 0: s_1 stays, so a rollout from s_1 = 0.95 ends at once and one from 0 does not.
    actor = [(torch.zeros(2, 1), torch.zeros(1, 1)), (torch.zeros(1, 2), torch.tensor([[0.0, -9.0]]))]
    noise = RolloutNoise(
        torch.zeros(3, 2, 1), torch.zeros(3, 2, 3), torch.zeros(3, 2).long(), torch.full((3, 2), 0.5)
    )
    starts = torch.tensor([[0.95, 0.0], [0.0, 0.0]])
    model, bounds = fitted.model.frozen(), fitted.bounds.value.detach()
    rows, _ = rollout(actor, model, bounds, fitted.ending.frozen(), starts, noise, 0.0, "sigma")
    assert rows.weights.tolist() == [1.0, 1.0, 0.0, 1.0, 0.0, 1.0]
    assert rows.terminals[:2].tolist() == [1.0, 0.0]


def test_rollout_by_hand() -> None:
    # Outputs: r, s' - s and their log variances. sigma is (1, 1) or (3, 4): at most 5.
    model = constant([[1.0, 0.5, 0.0, 0.0], [2.0, -1.0, 2.197225, 2.772589]], inputs=2)
    actor, ending = single([0.0, 0.0], inputs=1), single([0.0], inputs=2)
    noise = RolloutNoise(
        torch.zeros(3, 2, 1),
        torch.tensor([[[0.0, 0.0], [1.0, -1.0]], [[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]),
        torch.tensor([[0, 1], [0, 0], [0, 0]]),
        torch.tensor([[0.9, 0.9], [0.4, 0.9], [0.9, 0.9]]),  # the end has probability 0.5
    )
    rows, figures = rollout(actor, model, WIDE, ending, torch.zeros(2, 1), noise, 0.1, "sigma")
    # Member 1: r = 2 + 3 * 1, s' - s = -1 + 4 * -1; from each reward 0.1 * 5.
    torch.testing.assert_close(rows.rewards, torch.tensor([0.5, 4.5, 0.5, 0.5, 0.5, 0.5]))
    torch.testing.assert_close(rows.states[:, 0], torch.tensor([0.0, 0.0, 0.5, -5.0, 1.0, -4.5]))
    torch.testing.assert_close(rows.next_states[:, 0], torch.tensor([0.5, -5.0, 1.0, -4.5, 1.5, -4.0]))
    assert rows.terminals.tolist() == [0, 0, 1, 0, 0, 0]
    assert rows.weights.tolist() == [1, 1, 1, 1, 0, 1]
    assert float(figures["rollout_reward"]) == pytest.approx((4 * 0.5 + 4.5) / 5)
    assert float(figures["rollout_ended"]) == 0.5


@pytest.mark.parametrize(("model_from", "motion"), [("target", 1.636294), ("source", 1.386294)])
def test_model_loss_by_hand(model_from: str, motion: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamics, "bootstrap_weights", lambda rows, salts: torch.tensor([[1.0, 2.0]]))
    model = constant([[1.0, 0.5, 0.0, LOG_4]], inputs=2)
    batch = tensor_batch(
        [[0.0], [0.0]], [[0.0], [0.0]], [2.0, 1.0], [[0.5], [1.5]], [0.0, 1.0], is_target=[0.0, 1.0]
    )
    loss, figures = dynamics_loss(model, WIDE, batch, torch.zeros(1, 2), model_from, (0.1, 0.2))
    # r: ((1 - 2)^2 * 1 + (1 - 1)^2 * 2) / 3 of all rows; s' - s: 0^2 / 4 + log 4 of the source's row, or
    # 1^2 / 4 + log 4 of the target's. Bounds: 0.01 * 400. Decay: the last layer has four weights of 1,
    # 0.5 * 0.2 * 4.
    assert float(loss) == pytest.approx((1 / 3 + motion) / 2 + 4.0 + 0.4, abs=1e-5)
    assert float(figures["model_error"]) == (1.0 if model_from == "target" else 0.0)
    # A logit of 1 costs log(1 + e) - 1 = 0.313262 where the episode ended, log(1 + e) = 1.313262 elsewhere.
    loss, _ = ending_loss(single([1.0], inputs=2), batch, model_from)
    assert float(loss) == pytest.approx(0.313262 if model_from == "target" else 1.313262, abs=1e-5)


def test_a_batch_without_rows_of_the_domain_teaches_only_rewards() -> None:
    model = [(weight.requires_grad_(), bias.requires_grad_()) for weight, bias in constant([[0.5] * 4], 2)]
    batch = tensor_batch([[0.0]], [[0.0]], [2.0], [[0.5]])
    loss, _ = dynamics_loss(model, WIDE, batch, torch.ones(1, 2).long(), "target", (0.0, 0.0))
    (of_outputs,) = torch.autograd.grad(loss, [model[1][1]])
    assert (of_outputs[0, 0] != 0).tolist() == [True, False, True, False]
    assert float(ending_loss(single([1.0], inputs=2), batch, "target")[0]) == 0.0


def test_a_row_weighs_the_same_whenever_it_comes_and_differs_between_members() -> None:
    salts = draw_salts(4, torch.Generator().manual_seed(0))
    weights = bootstrap_weights(torch.arange(100_000), salts)
    assert torch.equal(weights[:, [7, 3]], bootstrap_weights(torch.tensor([7, 3]), salts))
    # exponential: mean and standard deviation 1
    torch.testing.assert_close(weights.mean(1), torch.ones(4), rtol=0, atol=0.02)
    torch.testing.assert_close(weights.std(1), torch.ones(4), rtol=0, atol=0.03)
    assert (torch.corrcoef(weights) - torch.eye(4)).abs().max() < 0.02
    following = torch.stack([torch.corrcoef(torch.stack((w[1:], w[:-1])))[0, 1] for w in weights])
    assert following.abs().max() < 0.02


def test_actor_critic_losses_by_hand() -> None:
    critic = constant([[1.0], [3.0]], inputs=2)
    actor = single([0.0, 0.0], inputs=1)
    zeros = torch.zeros(3, 1)
    rewards, terminals, weights = torch.tensor([[1.0, 1.0, 9.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
    rows = Rows(zeros, zeros, rewards, zeros, terminals, weights)
    # log std = -1.5 and u = 0: log pi = 1.5 - log(2 pi) / 2 = 0.581061
    y = critic_target(actor, critic, rows, zeros, torch.tensor(0.5), discount=0.9)
    torch.testing.assert_close(y[:2], torch.tensor([1.0 + 0.9 * (1.0 - 0.5 * 0.581061), 1.0]))
    loss, _ = critic_loss(critic, rows, torch.tensor([2.0, 1.0, 100.0]))
    assert float(loss) == pytest.approx((1 + 0) / 2 + (1 + 4) / 2)  # the third row is not there
    loss, figures = actor_loss(actor, critic, rows, zeros, torch.tensor(0.5))
    assert float(loss) == pytest.approx(0.5 * 0.581061 - 1.0, abs=1e-5)
    assert float(figures["entropy"]) == pytest.approx(-0.581061, abs=1e-5)
    loss, _ = temperature_loss(torch.tensor(0.5), torch.tensor(2.0), least=-1.0)
    assert float(loss) == pytest.approx(0.5 * 3.0)
