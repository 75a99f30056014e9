"""delta r from two dynamics: what it is where it is known, nothing where nothing differs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_classifiers import NOISE, Walk
from training_data import small_config, write_crossing

from dara_ros.errors import UserError
from dara_ros.policies.dara import delta_r
from dara_ros.policies.dynamics_gap import LEAST_VARIANCE, DynamicsGap, GapConfig, train_gap
from dara_ros.policies.runtime import Policy
from dara_ros.policies.training import train

QUICK = GapConfig(hidden=(32, 32), steps=800, learning_rate=3e-3)


class WeakWalk(Walk):
    """As `Walk`, but the second action moves a share of what it should: the shift depends on the action."""

    def __init__(self, rows: int, seed: int, share: float) -> None:
        super().__init__(rows, seed)
        self.next_observations[:, 1] -= ((1.0 - share) * self.actions[:, 1]).astype(np.float32)


@pytest.fixture(scope="module")
def weak() -> tuple[DynamicsGap, Walk, Walk]:
    torch.set_num_threads(1)
    source, target = Walk(8000, 0), WeakWalk(2000, 1, share=0.3)
    return train_gap(source, target, QUICK, seed=0), source, target


def test_it_is_the_divergence_that_is_known(weak: tuple[DynamicsGap, Walk, Walk]) -> None:
    gap, source, target = weak
    for data in (source, target):
        found = delta_r(gap, data).values
        # the mean over two columns of (0.7 a_2)^2 / (2 sigma^2), and of nothing
        known = np.square(0.7 * data.actions[:, 1]) / (2 * NOISE**2) / 2
        assert np.corrcoef(found, known)[0, 1] > 0.97
        assert found.mean() == pytest.approx(known.mean(), rel=0.15)


def test_it_sees_no_next_state(weak: tuple[DynamicsGap, Walk, Walk]) -> None:
    gap, source, _ = weak
    batch = source.rows(np.arange(100))
    moved = replace(batch, next_observations=batch.next_observations + 3.0)
    np.testing.assert_array_equal(gap.raw_delta_r(batch), gap.raw_delta_r(moved))


def test_what_is_left_tells_how_well_it_fits(weak: tuple[DynamicsGap, Walk, Walk]) -> None:
    found = weak[0].figures
    variance = NOISE**2 / (1 / 3 + NOISE**2)  # of the noise, in variances of a step
    assert found.source_variance == pytest.approx(variance, rel=0.1)
    assert found.target_variance == pytest.approx(variance, rel=0.1)
    assert found.gap_variance > found.target_variance + 0.05


def test_of_one_dynamics_nothing_is_taken() -> None:
    source, target = Walk(8000, 0), Walk(2000, 1)
    gap = train_gap(source, target, QUICK, seed=0)
    assert delta_r(gap, source).values.mean() < 0.01


def test_a_column_that_follows_from_state_and_action_is_not_blown_up() -> None:
    class WithMemory(Walk):
        """Its first column is the last action: no noise at all."""

        def __init__(self, rows: int, seed: int) -> None:
            super().__init__(rows, seed)
            self.next_observations[:, 0] = self.actions[:, 0]

    source, target = WithMemory(8000, 0), WithMemory(2000, 1)
    gap = train_gap(source, target, QUICK, seed=0)
    assert float(gap.variance.min()) == pytest.approx(2 * LEAST_VARIANCE)
    assert delta_r(gap, source).values.max() < 0.1


def test_the_same_again_and_from_its_state(weak: tuple[DynamicsGap, Walk, Walk]) -> None:
    gap, source, target = weak
    again = train_gap(source, target, QUICK, seed=0)
    read = DynamicsGap.from_state_dict(gap.state_dict())
    expected = delta_r(gap, source).values
    np.testing.assert_array_equal(delta_r(again, source).values, expected)
    np.testing.assert_array_equal(delta_r(read, source).values, expected)
    assert read.figures == gap.figures


def test_one_episode_is_too_few_and_it_can_be_stopped() -> None:
    with pytest.raises(UserError, match=r"target data set holds 1 episode"):
        train_gap(Walk(200, 0), Walk(50, 1), QUICK, seed=0)
    assert train_gap(Walk(200, 0), Walk(200, 1), QUICK, 0, should_stop=lambda: True) is None


@pytest.mark.parametrize("wrong", [{"holdout": 1.0}, {"steps": 0}])
def test_wrong_settings(wrong: dict) -> None:
    with pytest.raises(UserError, match=f"gap.{next(iter(wrong))}"):
        GapConfig(**wrong)


def test_it_turns_a_policy_away_from_what_only_the_source_can_do(tmp_path) -> None:
    """The shift of `write_crossing` is in one of two columns, and large: the dose is chosen for that."""
    files = (
        write_crossing(tmp_path / "source.h5", "source", 3000, seed=0),
        write_crossing(tmp_path / "target.h5", "target", 400, seed=1),
    )
    states = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    for eta, side in ((0.0, 1.0), (0.5, -1.0)):
        config = small_config(*files, tmp_path / str(eta), eta=eta, steps=500, mix=0.1, seed=1)
        result = train(replace(config, estimator="dynamics", gap=QUICK))
        assert np.mean(side * Policy.load(result.policy)(states) > 0.3) > 0.9
        assert ("dynamics" in result.figures) == (eta > 0)
