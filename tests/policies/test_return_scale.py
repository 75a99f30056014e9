"""What delta r costs by the target's returns: found where it is known, 0 where they do not say so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_steps_ahead import write_detour
from training_data import INFO, SMALL_BCQ, small_config

from dara_ros.errors import UserError
from dara_ros.policies.dataset import DataSet, DataSetWriter
from dara_ros.policies.dynamics_gap import GapConfig, train_gap
from dara_ros.policies.return_scale import DISCOUNT, WINDOW, ReturnScale, _ahead, fit_return_scale
from dara_ros.policies.runtime import Policy
from dara_ros.policies.training import train
from dara_ros.report import write_training_report

QUICK = GapConfig(hidden=(32, 32), steps=600, learning_rate=3e-3)
LENGTH, FALL = 130, 30


def write_gaits(path: Path, domain: str, seed: int, *, episodes: int, fatal: bool = False) -> Path:
    """Walks whose first action chooses a gait, fast (a near 0.6, reward 1) or slow (-0.6, reward 0.7).

    The second state tells the gait. In the target the fast one does not move what it should, and where it is
    `fatal`, it falls after FALL steps.
    """
    rng = np.random.default_rng(seed)
    with DataSetWriter(path, replace(INFO, domain=domain)) as writer:
        for number in range(episodes):
            gait = 1.0 if number % 2 else -1.0
            falls = domain == "target" and gait > 0 and fatal
            length = FALL if falls else LENGTH
            pace = 0.0 if domain == "target" and gait > 0 else 0.05
            position = np.concatenate(([0.0], np.cumsum(pace + 0.02 * rng.normal(size=length))))
            told = np.concatenate(([0.0], np.full(length, gait))) + 0.02 * rng.normal(size=length + 1)
            states = np.stack((position, told), 1)
            actions = 0.6 * gait + 0.1 * rng.normal(size=(length, 1))
            ends = np.arange(length) == length - 1
            rewards = np.full(length, 1.0 if gait > 0 else 0.7)
            writer.extend(states[:-1], actions, rewards, states[1:], ends & falls, ends & (not falls))
    return path


def write_shaped(path: Path, seed: int, cost: float) -> np.ndarray:
    """Walks of many paces u, which the state shows; rewards are u - cost max(u, 0). Gives max(u, 0)."""
    rng = np.random.default_rng(seed)
    every = []
    with DataSetWriter(path, INFO) as writer:
        for _ in range(60):
            pace = rng.uniform(-1.0, 1.0)
            states = np.stack((rng.normal(size=LENGTH + 1), np.full(LENGTH + 1, pace)), 1)
            actions = 0.5 * pace + 0.1 * rng.normal(size=(LENGTH, 1))
            every.append(np.full(LENGTH, max(pace, 0.0)))
            rewards = pace - cost * every[-1] + 0.5 * rng.normal(size=LENGTH)
            ends = np.arange(LENGTH) == LENGTH - 1
            writer.extend(states[:-1], actions, rewards, states[1:], ends & False, ends)
    return np.concatenate(every)


def scale_of(tmp_path: Path, cost: float) -> ReturnScale:
    torch.set_num_threads(1)
    delta = write_shaped(tmp_path / "source.h5", 0, cost=0.0)
    write_shaped(tmp_path / "target.h5", 1, cost)
    with DataSet(tmp_path / "source.h5") as source, DataSet(tmp_path / "target.h5") as target:
        gap = train_gap(source, target, QUICK, seed=0)
        assert gap is not None
        return fit_return_scale(gap, source, target, delta, seed=0)


def test_it_is_the_cost_that_is_known(tmp_path: Path) -> None:
    found = scale_of(tmp_path, cost=3.0)
    assert found.value == found.fitted == pytest.approx(3.0, rel=0.1)
    assert 2.0 < found.low < found.value


@pytest.mark.parametrize("cost", [0.0, -1.0])
def test_nothing_is_taken_where_returns_do_not_say_so(tmp_path: Path, cost: float) -> None:
    found = scale_of(tmp_path, cost)
    assert found.fitted == pytest.approx(cost, abs=0.15)
    assert found.low < 0.0 and found.value == 0.0


def test_sums_end_with_the_episode_and_a_fall_is_for_ever(tmp_path: Path) -> None:
    with DataSet(write_gaits(tmp_path / "t.h5", "target", 0, episodes=2, fatal=True)) as data:
        sums = _ahead(data, np.ones(len(data)))
    full = (1.0 - DISCOUNT**WINDOW) / (1.0 - DISCOUNT)
    assert sums[: LENGTH - WINDOW + 1] == pytest.approx(full)
    assert np.isnan(sums[LENGTH - WINDOW + 1 : LENGTH]).all()
    fall = (1.0 - DISCOUNT ** np.arange(FALL, 0, -1)) / (1.0 - DISCOUNT)
    assert sums[LENGTH:] == pytest.approx(fall)


@pytest.mark.parametrize(("fatal", "side"), [(True, -1.0), (False, 1.0)])
def test_a_run_gives_up_the_gait_that_falls_and_keeps_one_that_only_differs(
    tmp_path: Path, fatal: bool, side: float
) -> None:
    source = write_gaits(tmp_path / "source.h5", "source", 0, episodes=40)
    target = write_gaits(tmp_path / "target.h5", "target", 1, episodes=12, fatal=fatal)
    config = small_config(
        source, target, tmp_path / "run", eta=1.0, mix=0.1, steps=600, estimator="dynamics", gap=QUICK,
        scale="returns", penalty="centred", beginnings=0.3,
        settings=replace(SMALL_BCQ, discount=0.9, latent_clip=3.0, max_perturbation=0.0),
    )  # fmt: skip
    result = train(config)
    scale = result.figures["return_scale"]
    assert (scale["value"] > 0.05) == fatal
    assert (
        f"a unit of delta r costs {scale['fitted']:.2f} of" in write_training_report(result.out).read_text()
    )
    starts = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32) * 0.02
    assert np.mean(side * Policy.load(result.policy)(starts) > 0.3) > 0.9


def test_what_it_cannot_do_is_refused_in_one_line(tmp_path: Path) -> None:
    source = write_gaits(tmp_path / "source.h5", "source", 0, episodes=4)
    files = source, write_detour(tmp_path / "target.h5", "target", 1)
    with pytest.raises(UserError, match="scale returns needs what estimator dynamics knows"):
        small_config(*files, tmp_path / "run", scale="returns")
    config = small_config(*files, tmp_path / "run", scale="returns", estimator="dynamics", gap=QUICK)
    with pytest.raises(UserError, match="the target data set holds no episode of 100 steps and no fall"):
        train(config)
    with pytest.raises(UserError, match="scale is 'returned': give one of none, returns"):
        replace(config, scale="returned")
