"""AWR's returns and weights: by hand, over files, and as a loop gives them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import run_of
from training_data import INFO

from dara_ros.policies.algorithms.awr import AWR, AWRConfig, advantage_weights, lambda_returns
from dara_ros.policies.dataset import DataSet, DataSetWriter
from dara_ros.policies.sampling import UnionSampler

SMALL = AWRConfig(critic_hidden=(16, 16), policy_hidden=(16, 16))


def union_of(
    folder: Path, rewards: list[float], further: list[float], mix: float | None = None
) -> UnionSampler:
    """A source with an episode that fails, one that runs out of time and one that the file ends in, of rows
    0-1, 2-3 and 4, and a target of rows 5-6; the first number of observation and next one is `further`.
    """
    folder.mkdir()
    terminals, timeouts = np.eye(7, dtype=bool)[1], np.eye(7, dtype=bool)[3]
    states = np.stack((further, np.zeros(7)), 1)
    files = []
    for domain, rows in (("source", slice(0, 5)), ("target", slice(5, 7))):
        files.append(folder / f"{domain}.h5")
        with DataSetWriter(files[-1], replace(INFO, domain=domain)) as writer:
            writer.extend(
                states[rows],
                np.zeros((7, 1))[rows],
                np.array(rewards)[rows],
                states[rows],
                terminals[rows],
                timeouts[rows],
            )
    return UnionSampler(DataSet(files[0]), DataSet(files[1]), None, 0.0, mix, 4, 0)


REWARDS = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
NEXT_VALUES = [2.0, 100.0, 4.0, 8.0, 16.0, 2.0, 4.0]
# With gamma = lambda = 1/2, from the last row of each episode back:
#   failed:      2,  1 + (2 / 2 + 2 / 2) / 2 = 2
#   out of time: 4 + 8 / 2 = 8,  3 + (4 / 2 + 8 / 2) / 2 = 6
#   end of file: 5 + 16 / 2 = 13
#   target:      7 + 4 / 2 = 9,  6 + (2 / 2 + 9 / 2) / 2 = 8.75
RETURNS = [2.0, 2.0, 6.0, 8.0, 13.0, 8.75, 9.0]


def value_is_the_first_number(agent: AWR) -> None:
    """V(s) = relu(s_0)."""
    with torch.no_grad():
        agent.critic.flat.zero_()
        for weight, _ in agent.critic.layers:
            weight[0, 0] = 1.0
        agent.critic.layers[-1][0].mul_(1.0 - agent.config.discount)


def test_returns_of_files_by_hand(tmp_path: Path) -> None:
    agent = AWR(1, [run_of(replace(SMALL, discount=0.5, trace=0.5), states=2)])
    value_is_the_first_number(agent)
    agent.look([union_of(tmp_path / "files", REWARDS, NEXT_VALUES)])
    assert agent.tables[0]["returns"].tolist() == RETURNS
    # A row's advantage is its return less V(s), here NEXT_VALUES too; source rows are 5 of 7 draws.
    advantages = torch.tensor(RETURNS) - torch.tensor(NEXT_VALUES)
    normalised = (advantages - advantages.mean()) / advantages.std(unbiased=False)
    torch.testing.assert_close(agent.tables[0]["weights"], normalised.exp(), rtol=1e-4, atol=0)


def test_no_episode_reaches_into_another(tmp_path: Path) -> None:
    def returns(name: str, rewards: list[float], further: list[float]) -> torch.Tensor:
        agent = AWR(1, [run_of(SMALL, states=2)])
        value_is_the_first_number(agent)
        agent.look([union_of(tmp_path / name, rewards, further)])
        return agent.tables[0]["returns"]

    before = returns("before", REWARDS, NEXT_VALUES)
    for first, end in ((0, 2), (2, 4), (4, 5), (5, 7)):
        rewards, further = (
            [v * 1e9 if first <= i < end else v for i, v in enumerate(c)] for c in (REWARDS, NEXT_VALUES)
        )
        changed = returns(f"{first}", rewards, further) != before
        assert changed.tolist() == [first <= row < end for row in range(7)]


def test_returns_of_long_and_short_episodes_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    ends = np.cumsum(np.concatenate((rng.integers(1, 40, 50), [700, 1, 1, 300])))
    count = ends[-1]
    rewards, following = rng.normal(size=(2, count))
    terminals = np.zeros(count)
    terminals[rng.choice(ends, 20, replace=False) - 1] = 1
    expected = np.empty(count)
    for t in reversed(range(count)):
        bootstrap = (1 - terminals[t]) * following[t]
        ahead = bootstrap if t + 1 in ends else 0.05 * bootstrap + 0.95 * expected[t + 1]
        expected[t] = rewards[t] + 0.99 * ahead
    columns = (torch.from_numpy(column) for column in (rewards, terminals, following, ends))
    np.testing.assert_allclose(lambda_returns(*columns, 0.99, 0.95).numpy(), expected, rtol=0, atol=1e-12)


def test_weights_by_hand() -> None:
    advantages = torch.tensor([0.0, 2.0])
    # mean 1, std 1
    even = advantage_weights(advantages, torch.tensor([0.5, 0.5]), 1.0, 20.0)
    assert even.tolist() == pytest.approx([math.exp(-1), math.exp(1)], rel=1e-4)
    # mean 0.5, variance 0.75 * 0.25 + 0.25 * 2.25 = 0.75: -0.57735 and 1.73205; e^(2 * 1.73205) = 31.9 > 20
    uneven = advantage_weights(advantages, torch.tensor([0.75, 0.25]), 0.5, 20.0)
    assert uneven.tolist() == pytest.approx([math.exp(-2 * 0.57735), 20.0], rel=1e-4)


def test_weights_are_normalised_as_the_batches_mix(tmp_path: Path) -> None:
    """Batches of target rows alone: their weights are of mean advantage 0 and spread 1 among themselves."""
    agent = AWR(1, [run_of(SMALL, states=2)])
    agent.look([union_of(tmp_path / "files", REWARDS, NEXT_VALUES, mix=1.0)])
    low, high = sorted(agent.tables[0]["weights"][5:].tolist())
    assert (low, high) == pytest.approx((math.exp(-1), math.exp(1)), rel=1e-3)
