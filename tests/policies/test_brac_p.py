"""BRAC-p's losses are the paper's, its updates are the textbook's, and it stays near its prior."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from learner_checks import (
    affine_critics,
    affine_network,
    check_dara_turns,
    check_resume,
    check_runs_together,
    copy_critics,
    copy_into,
    linears,
    random_rows,
    value_of_reward_one,
)
from small_runs import run_of, tensor_batch
from training_data import small_config, write_crossing

from dara_ros.bench.textbook.brac_p import TextbookBRACP
from dara_ros.bench.train import random_batch
from dara_ros.errors import UserError
from dara_ros.policies.actors import gaussian
from dara_ros.policies.algorithms.brac_p import (
    BRACP,
    LOG_STD_RANGE,
    BRACPConfig,
    clone_loss,
    critic_target,
    entropy_weight_loss,
    policy_loss,
)
from dara_ros.policies.training import train
from dara_ros.report import write_training_report

SMALL = BRACPConfig(
    critic_hidden=(24, 24), policy_hidden=(24, 20), batch_size=20, clone_steps=3, critic_steps=2
)
CRITICS = affine_critics(([1.0, 2.0], 0.0), ([0.0, -1.0], 1.0))  # Q_1 = s + 2 a, Q_2 = 1 - a
# mean 0, log std -2.5, the middle of -5 to 0: std 0.082085
NARROW = affine_network([[0.0, 0.0]], [0.0, 0.0])
# mean 0.1, log std 0 but for 2e-9: std 1
WIDE = affine_network([[0.0, 0.0]], [0.1, 10.0])


def test_clone_loss_by_hand() -> None:
    # b is WIDE. Noise 0.4: u = 0.5, tanh u = 0.462117; log b = -0.08 - 0.918939 - log(1 - 0.213552)
    # = -0.758710. Data a = 0: u = 0, log b = -0.005 - 0.918939 = -0.923939.
    # Data a = 1, moved to 0.999: u = 3.800201,
    # log b = -3.700201^2 / 2 - 0.918939 - log(0.001999) = -1.549405
    batch, noise = tensor_batch([[0.0]] * 2, [[0.0], [1.0]]), torch.tensor([[0.4], [0.4]])
    loss, figures = clone_loss(WIDE, torch.tensor(3.0), batch, noise)
    assert float(figures["prior_entropy"]) == pytest.approx(0.758710, abs=1e-4)
    assert float(figures["prior_likelihood"]) == pytest.approx((-0.923939 - 1.549405) / 2, abs=1e-3)
    assert float(loss) == pytest.approx(3 * -0.758710 + (0.923939 + 1.549405) / 2, abs=1e-3)


def test_entropy_weight_loss_by_hand() -> None:
    # w (H - H_least) = 2 (-3 + 1) = -4, slope -2: going down, the weight grows
    weight = torch.tensor(2.0, requires_grad=True)
    loss, _ = entropy_weight_loss(weight, torch.tensor(-3.0), -1.0)
    (slope,) = torch.autograd.grad(loss, weight)
    assert (float(loss.detach()), float(slope)) == (-4.0, -2.0)


def test_critic_target_by_hand() -> None:
    # pi is NARROW, noise 2: a' = tanh(0.164170) = 0.162711. At s' = 1: Q_1 = 1.325422, Q_2 = 0.837289;
    # y = 2 + 0.9 * 0.837289, or 2 at the end.
    batch = tensor_batch([[0.0]] * 2, [[0.0]] * 2, [2.0, 2.0], [[1.0]] * 2, [0.0, 1.0])
    y = critic_target(NARROW, CRITICS, batch, torch.full((2, 1), 2.0), 0.9)
    assert y.tolist() == pytest.approx([2.753560, 2.0], abs=1e-5)


def test_policy_loss_by_hand() -> None:
    # pi is NARROW and b is WIDE; the squash cancels: log pi - log b of u = 0.082085 e is
    # (-e^2 / 2 + 2.5) - (-(u - 0.1)^2 / 2). e = 1: 2.0 + 0.000160 = 2.000160; e = -2: 0.5 + 0.034891 =
    # 0.534891; KL = 1.267526. The first noise, 2, is the critics': at s = 0, Q_1 = 0.325422, Q_2 = 0.837289.
    batch, noise = tensor_batch([[0.0]], [[0.0]]), torch.tensor([[[2.0]], [[1.0]], [[-2.0]]])
    arguments = NARROW, CRITICS, WIDE, batch, noise, 0.5
    loss, figures = policy_loss(*arguments, with_q=True)
    assert float(figures["kl"]) == pytest.approx(1.267526, abs=1e-4)
    assert float(loss) == pytest.approx(0.5 * 1.267526 - 0.325422, abs=1e-4)
    assert float(policy_loss(*arguments, with_q=False)[0]) == pytest.approx(0.5 * 1.267526, abs=1e-4)


def test_learning_curve_equals_the_textbook() -> None:
    config = replace(SMALL, clone_steps=15, critic_steps=5, policy_learning_rate=1e-3)
    ours = BRACP(3, [run_of(config, 7, seed=3)])
    plain = TextbookBRACP(7, 3, config)
    copy_into(plain.prior.net, ours.prior)
    copy_into(plain.actor.net, ours.actor)
    copy_critics(plain, ours)
    for step in range(40):
        batch = random_batch(20, 7, 3, seed=step)
        state = ours.generators[0].get_state()
        noise = ours.normal(20, 3) if ours.cloning else ours.draw_noise(20)
        ours.generators[0].set_state(state)  # so that the update draws the same
        mine = ours.update(batch)
        if step == 15:
            plain.actor.net.load_state_dict(plain.prior.net.state_dict())
        theirs = plain.clone(batch, noise) if step < 15 else plain.improve(batch, noise)
        assert ("q_policy" in mine) == (step >= 20)
        for name, value in theirs.items():
            assert float(mine[name]) == pytest.approx(float(value), rel=2e-3, abs=1e-5), (step, name)
    weight = ours.actor.layers[0][0].detach().T
    torch.testing.assert_close(weight, linears(plain.actor.net)[0].weight.data, rtol=0, atol=1e-3)


def test_the_prior_finds_the_spread_of_the_data() -> None:
    """Actions tanh(u), u ~ N(0.3, 0.5^2), whatever the state; that is more entropy than the least, -1."""
    agent = BRACP(1, [run_of(replace(SMALL, clone_steps=1000, prior_learning_rate=3e-3))])
    rng = torch.Generator().manual_seed(0)
    for _ in range(600):
        actions = torch.tanh(0.3 + 0.5 * torch.randn(64, 1, generator=rng))
        figures = agent.update(tensor_batch(torch.randn(64, 1, generator=rng).tolist(), actions.tolist()))
    b = gaussian(agent.prior.frozen(), torch.linspace(-1, 1, 5)[:, None], LOG_STD_RANGE)
    assert (b.mean - 0.3).abs().max() < 0.15
    assert (b.log_std - math.log(0.5)).abs().max() < 0.25
    assert float(figures["entropy_weight"]) < 0.2  # from 1: it is not needed
    # Nothing is learnt but the prior yet, so it is what a policy file gets.
    torch.testing.assert_close(agent.policy()(torch.zeros(1, 1)), torch.tanh(b.mean[2:3]), rtol=0, atol=1e-6)


def test_the_policy_begins_as_the_prior_and_goes_on_in_a_later_phase() -> None:
    agent = BRACP(2, [run_of(replace(SMALL, policy_learning_rate=1e-12), 5)])
    begun = agent.actor.flat
    for phase in range(2):
        if phase:
            agent.begin_phase()
        for step in range(SMALL.clone_steps + 1):
            agent.update(agent.batch(random_rows(step, 5, 2)))
        begun = begun if phase else agent.actor.flat.clone()
        assert torch.allclose(agent.actor.flat, begun, rtol=0, atol=1e-6)
        assert torch.allclose(agent.actor.flat, agent.prior.flat, rtol=0, atol=1e-6) == (phase == 0)


def test_the_penalty_draws_the_policy_to_the_prior() -> None:
    far = BRACP(2, [run_of(replace(SMALL, critic_steps=200, policy_learning_rate=3e-3), 5)])
    kl = []
    for step in range(150):
        if step == SMALL.clone_steps + 1:
            with torch.no_grad():
                far.actor.flat += 0.3 * torch.randn(far.actor.flat.shape, generator=far.generators[0])
        figures = far.update(far.batch(random_rows(step, 5, 2)))
        kl += [float(figures["kl"])] if step > SMALL.clone_steps else []
    assert abs(sum(kl[-10:])) < 0.1 * sum(kl[:10])


def test_a_timeout_bootstraps_and_a_terminal_does_not() -> None:
    config = replace(SMALL, discount=0.8, tau=0.05, learning_rate=3e-3)
    values = [value_of_reward_one(BRACP(1, [run_of(config)]), terminal, 400) for terminal in (1.0, 0.0)]
    assert values == pytest.approx([1.0, 5.0], rel=0.1)


def test_dara_turns_away_from_what_only_the_source_can_do(tmp_path: Path) -> None:
    settings = replace(
        SMALL,
        batch_size=64,
        discount=0.1,
        learning_rate=3e-3,
        prior_learning_rate=3e-3,
        policy_learning_rate=3e-3,
        clone_steps=150,
        critic_steps=50,
        alpha=0.1,
    )
    check_dara_turns("brac-p", settings, tmp_path, steps=300)


def test_curve_and_report_of_a_run_whose_figures_change_on_the_way(tmp_path: Path) -> None:
    source = write_crossing(tmp_path / "source.h5", "source", 400, seed=0)
    settings = replace(SMALL, clone_steps=3, critic_steps=10)
    target = write_crossing(tmp_path / "target.h5", "target", 200, seed=1)
    config = small_config(source, target, tmp_path / "run", algorithm="brac-p", settings=settings, eta=0.0)
    result = train(replace(config, steps=12))
    first, second, third = result.figures["curve"]
    # Three of the first ten steps had it: it was 1, and has gone down by at most 0.0005 a step.
    assert first["entropy_weight"] == pytest.approx(1.0, abs=0.0025)
    assert "kl" in first and "q_policy" not in first
    assert "q_policy" in second and "entropy_weight" not in third
    assert "Learning curves" in write_training_report(result.out).read_text()


def test_resumed_in_every_stage(tmp_path: Path) -> None:
    check_resume(BRACP, SMALL, (2, 3, 4, 5, 7), tmp_path)


def test_runs_together_are_as_if_alone() -> None:
    check_runs_together(BRACP, (SMALL, replace(SMALL, learning_rate=3e-3, prior_learning_rate=1e-4)), 9)


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"clone_steps": 0},
        {"critic_steps": -1},
        {"policy_hidden": ()},
        {"tau": 1.5},
        {"prior_learning_rate": 0.0},
        {"alpha": -0.1},
    ],
)
def test_wrong_settings(wrong: dict) -> None:
    with pytest.raises(UserError, match=f"brac-p.{next(iter(wrong))}"):
        BRACPConfig(**wrong)
