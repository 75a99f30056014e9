"""BEAR's losses are the paper's, its update is the textbook's, and it stays within the data's support."""

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
    value_of_reward_one,
)
from small_runs import run_of, tensor_batch

from dara_ros.bench.textbook.bear import TextbookBEAR
from dara_ros.bench.train import random_batch
from dara_ros.errors import UserError
from dara_ros.policies.actors import gaussian
from dara_ros.policies.algorithms.bear import (
    BEAR,
    BEARConfig,
    Noise,
    critic_target,
    mmd,
    multiplier_loss,
    policy_loss,
)
from dara_ros.policies.critics import first_critic, q_values
from dara_ros.policies.vae import vae_loss

SMALL = BEARConfig(
    critic_hidden=(24, 24),
    policy_hidden=(24, 20),
    vae_hidden=(32, 32),
    batch_size=20,
    policy_samples=16,
    warm_up=4,
)


CRITICS = affine_critics(([1.0, 2.0], 0.0), ([0.0, -1.0], 1.0))  # Q_1 = s + 2 a, Q_2 = 1 - a
ACTOR = affine_network([[0.0, 0.0]], [0.0, 0.0])  # mean 0, log std -1.5, the middle of -5 to 2: std 0.223130


def test_mmd_by_hand() -> None:
    # Laplacian, sigma 0.5, so k = exp(-|x - y|): x = {0, 1}, y = {0, 2}.
    # kxx = (1 + 1 + 2/e) / 4 = 0.683940, kyy = (2 + 2/e^2) / 4 = 0.567668,
    # kxy = (1 + 1/e^2 + 1/e + 1/e) / 4 = 0.467774; MMD^2 = 0.316060
    x, y = torch.tensor([[[0.0], [1.0]]]), torch.tensor([[[0.0], [2.0]]])
    assert float(mmd(x, y, "laplacian", 0.5)) == pytest.approx(math.sqrt(0.316060 + 1e-6), abs=1e-5)
    # Gaussian, sigma 0.5, so k = exp(-(x - y)^2): kxx = 0.683940, kyy = (2 + 2/e^4) / 4 = 0.509158,
    # kxy = (1 + 1/e^4 + 1/e + 1/e) / 4 = 0.438519; MMD^2 = 0.316060
    assert float(mmd(x, y, "gaussian", 0.5)) == pytest.approx(math.sqrt(0.316060 + 1e-6), abs=1e-5)
    # In two dimensions, one sample each: |x - y|_1 = 0.3 + 0.4 and |x - y|_2^2 = 0.25; MMD^2 = 2 - 2 k
    x, y = torch.zeros(1, 1, 2), torch.tensor([[[0.3, -0.4]]])
    assert float(mmd(x, y, "laplacian", 1.0)) == pytest.approx(math.sqrt(2 - 2 * math.exp(-0.35)), abs=1e-5)
    assert float(mmd(x, y, "gaussian", 1.0)) == pytest.approx(math.sqrt(2 - 2 * math.exp(-0.125)), abs=1e-5)


def test_vae_loss_by_hand() -> None:
    # s = 0, a = 0.5; mean = 2 a = 1, log std = 0: z = 1 + 1 * 0.5 = 1.5, G = tanh(z) = 0.905148
    # error = 0.405148^2 = 0.164145; KL = -1/2 (1 + 0 - 1 - 1) = 0.5
    encoder = affine_network([[0.0, 0.0], [2.0, 0.0]], [0.0, 0.0])
    decoder = affine_network([[0.0], [1.0]], [0.0])
    loss, figures = vae_loss(encoder, decoder, tensor_batch([[0.0]], [[0.5]]), torch.tensor([[0.5]]), 0.5)
    assert float(figures["vae_error"]) == pytest.approx(0.164145, abs=1e-5)
    assert float(loss) == pytest.approx(0.164145 + 0.25, abs=1e-5)


def test_critic_target_by_hand() -> None:
    # Noise +-2: a = +-tanh(0.446260) = +-0.418813. At s' = 1, Q_1 and Q_2 are
    # 1.837626 and 0.581187 of the one, 0.162374 and 1.418813 of the other.
    # 0.75 min + 0.25 max: 0.895297 and 0.476484; the best is 0.895297. y = 2 + 0.9 * 0.895297, or 2.
    batch = tensor_batch([[0.0]] * 2, [[0.0]] * 2, [2.0, 2.0], [[1.0]] * 2, [0.0, 1.0])
    noise = torch.tensor([[[2.0], [-2.0]]] * 2)
    y = critic_target(ACTOR, CRITICS, batch, noise, BEARConfig(discount=0.9))
    assert y.tolist() == pytest.approx([2.805767, 2.0], abs=1e-5)


def test_policy_and_multiplier_losses_by_hand() -> None:
    # One sample each: the policy's is 0.223130 * 1 before the tanh, the VAE's is z = 0.5.
    # MMD = sqrt(2 - 2 exp(-0.276870 / 2)) = 0.508533 (sigma 1); a = tanh(0.223130) = 0.219500;
    # at s = 0: Q_1 = 0.439001, Q_2 = 0.780500. Multiplier 2: loss = 2 (0.508533 - 0.05) - 0.439001.
    decoder = affine_network([[0.0], [1.0]], [0.0])
    empty = torch.zeros(1, 1)
    noise = Noise(empty, torch.tensor([[0.5]]), torch.tensor([[[1.0]]]), empty)
    config = BEARConfig(kernel_width=1.0, mmd_samples=1)
    multiplier = torch.tensor(math.log(2.0))
    arguments = ACTOR, CRITICS, decoder, multiplier, tensor_batch([[0.0]], [[0.0]]), noise, config
    loss, figures = policy_loss(*arguments, with_q=True)
    assert float(figures["mmd"]) == pytest.approx(0.508533, abs=1e-4)
    assert float(loss) == pytest.approx(2 * 0.458533 - 0.439001, abs=1e-4)
    assert float(policy_loss(*arguments, with_q=False)[0]) == pytest.approx(2 * 0.458533, abs=1e-4)

    # d/d log alpha of -alpha (MMD - epsilon) = -alpha (MMD - epsilon): broken, so down the loss it grows
    log_multiplier = multiplier.clone().requires_grad_()
    loss, _ = multiplier_loss(log_multiplier, figures["mmd"], 0.05)
    (slope,) = torch.autograd.grad(loss, log_multiplier)
    assert float(slope) == pytest.approx(-2 * 0.458533, abs=1e-4)


@pytest.mark.parametrize("kernel", ["laplacian", "gaussian"])
def test_learning_curve_equals_the_textbook(kernel: str) -> None:
    ours = BEAR(3, [run_of(replace(SMALL, kernel=kernel, kernel_width=2.0, warm_up=10), 7, seed=3)])
    plain = TextbookBEAR(7, 3, ours.config)
    copy_into(plain.vae.encoder, ours.encoder)
    copy_into(plain.vae.decoder, ours.decoder)
    copy_into(plain.actor.net, ours.actor)
    copy_critics(plain, ours)
    for step in range(30):
        batch, noise = random_batch(20, 7, 3, seed=step), ours.draw_noise(20)
        mine, theirs = ours.update(batch, noise), plain.update(batch, noise)
        assert ("q_policy" in mine) == (step >= 10)
        for name, value in theirs.items():
            assert float(mine[name]) == pytest.approx(float(value), rel=2e-3, abs=1e-5), (step, name)
    weight = ours.actor.layers[0][0].detach().T
    torch.testing.assert_close(weight, linears(plain.actor.net)[0].weight.data, rtol=0, atol=2e-4)


def test_policy_is_the_plain_evaluation() -> None:
    ours = BEAR(3, [run_of(SMALL, 7, seed=1)])
    noise = torch.randn(16, 3, generator=torch.Generator().manual_seed(1))
    observations = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    for state, action in zip(observations, ours.policy()(observations), strict=True):
        pi = gaussian(ours.actor.frozen(), state[None])
        actions = torch.tanh(pi.mean + pi.log_std.exp() * noise)
        q = q_values(first_critic(ours.critic.frozen()), state.expand(16, -1), actions)
        torch.testing.assert_close(action, actions[q.argmax()], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("threshold", "low", "high"), [(0.05, -0.65, -0.2), (10.0, 0.8, 1.0)])
def test_the_constraint_keeps_the_policy_where_the_data_is(threshold: float, low: float, high: float) -> None:
    """The data's actions are about -0.5 and the reward is the action: without a constraint, the end is 1."""
    config = replace(
        SMALL,
        mmd_threshold=threshold,
        discount=0.0,
        learning_rate=3e-3,
        policy_learning_rate=3e-3,
        multiplier_learning_rate=3e-2,
        warm_up=50,
    )
    agent, rng = BEAR(1, [run_of(config)]), torch.Generator().manual_seed(0)
    for _ in range(400):
        states, actions = torch.randn(64, 1, generator=rng), -0.5 + 0.1 * torch.randn(64, 1, generator=rng)
        agent.update(tensor_batch(states.tolist(), actions.tolist(), rewards=actions[:, 0].tolist()))
    assert low < float(agent.policy()(torch.linspace(-1, 1, 9)[:, None]).mean()) < high


def test_a_timeout_bootstraps_and_a_terminal_does_not() -> None:
    config = replace(SMALL, discount=0.8, tau=0.05, learning_rate=3e-3, candidates=3)
    values = [value_of_reward_one(BEAR(1, [run_of(config)]), terminal, 400) for terminal in (1.0, 0.0)]
    assert values == pytest.approx([1.0, 5.0], rel=0.1)


def test_dara_turns_away_from_what_only_the_source_can_do(tmp_path: Path) -> None:
    settings = replace(
        SMALL,
        batch_size=64,
        discount=0.1,
        learning_rate=3e-3,
        policy_learning_rate=3e-3,
        kl_weight=0.05,
        candidates=4,
        warm_up=50,
    )
    check_dara_turns("bear", settings, tmp_path, steps=250)


def test_resumed_in_and_after_the_warm_up(tmp_path: Path) -> None:
    check_resume(BEAR, SMALL, (2, 4, 6), tmp_path)


def test_runs_together_are_as_if_alone() -> None:
    check_runs_together(BEAR, (SMALL, replace(SMALL, learning_rate=1e-3, policy_learning_rate=3e-4)), 8)


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"warm_up": -1},
        {"vae_hidden": ()},
        {"soft_minimum": 1.5},
        {"multiplier_learning_rate": 0.0},
        {"kl_weight": -0.1},
        {"kernel": "cosine"},
    ],
)
def test_wrong_settings(wrong: dict) -> None:
    with pytest.raises(UserError, match=f"bear.{next(iter(wrong))}"):
        BEARConfig(**wrong)
