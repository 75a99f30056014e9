"""The classifiers know what they know: nothing where there is nothing, the log-ratio where it is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dara_ros.errors import UserError
from dara_ros.policies.calibration import (
    area_under_curve,
    cross_entropy,
    fit_temperature,
    reliability,
)
from dara_ros.policies.classifiers import ClassifierConfig, DomainClassifiers, train_classifiers
from dara_ros.policies.dara import augment, delta_r, shaped
from dara_ros.policies.dataset import Batch

QUICK = ClassifierConfig(
    hidden=(64, 64), max_steps=800, batch_size=128, learning_rate=1e-3, evaluate_every=25
)
NOISE = 0.5  # std of s' - s - a in `Walk`


class Walk:
    """s' = s + a + drift + noise, held in memory, in episodes of 50 rows."""

    def __init__(self, rows: int, seed: int, drift: float = 0.0) -> None:
        rng = np.random.default_rng(seed)
        self.observations = rng.normal(size=(rows, 2)).astype(np.float32)
        self.actions = rng.uniform(-1, 1, (rows, 2)).astype(np.float32)
        step = self.actions + NOISE * rng.normal(size=(rows, 2)) + [drift, 0.0]
        self.next_observations = (self.observations + step).astype(np.float32)

    def __len__(self) -> int:
        return len(self.observations)

    def rows(self, indices: np.ndarray) -> Batch:
        return Batch(
            self.observations[indices],
            self.actions[indices],
            np.zeros(len(indices), np.float32),
            self.next_observations[indices],
            np.zeros(len(indices), bool),
        )

    def blocks(self, size: int = 1000):
        for start in range(0, len(self), size):
            yield self.rows(np.arange(start, min(start + size, len(self))))

    def episodes(self) -> tuple[np.ndarray, np.ndarray]:
        starts = np.arange(0, len(self), 50)
        return starts, np.minimum(starts + 50, len(self))


@pytest.fixture(scope="module")
def drifting() -> tuple[DomainClassifiers, Walk, Walk]:
    torch.set_num_threads(1)
    source, target = Walk(8000, 0), Walk(4000, 1, drift=0.5)
    config = ClassifierConfig(**{**vars(QUICK), "input_noise": 0.0})
    return train_classifiers(source, target, config, seed=0), source, target


def test_two_halves_of_one_data_set_are_indistinguishable() -> None:
    source, target = Walk(6000, 0), Walk(6000, 1)
    classifiers = train_classifiers(source, target, QUICK, seed=0)
    for figures in classifiers.figures.values():
        assert figures.auc == pytest.approx(0.5, abs=0.05)
        assert figures.ece < 0.05
    assert np.abs(delta_r(classifiers, source).values).mean() < 0.1
    assert np.abs(delta_r(classifiers, target).values).mean() < 0.1


def test_delta_r_of_a_known_drift(drifting: tuple[DomainClassifiers, Walk, Walk]) -> None:
    """log N(d; 0, sigma) - log N(d; m, sigma) = (m^2 - 2 m d) / (2 sigma^2), d = s' - s - a."""
    classifiers, source, _ = drifting
    d = (source.next_observations - source.observations - source.actions)[:, 0]
    truth = (0.5**2 - 2 * 0.5 * d) / (2 * NOISE**2)
    found = delta_r(classifiers, source).values
    assert np.corrcoef(found, truth)[0, 1] > 0.95
    assert np.abs(found - truth).mean() < 0.25
    assert found.mean() == pytest.approx(truth.mean(), abs=0.15)
    assert classifiers.figures["sa"].auc == pytest.approx(0.5, abs=0.06)
    assert classifiers.figures["sas"].auc > 0.7


@pytest.mark.parametrize(("apart", "auc"), [(1.0, 0.7), (6.0, 0.999)])
def test_states_that_tell_the_domain_say_nothing_of_the_dynamics(apart: float, auc: float) -> None:
    """The next state tells of the state too here, and so of the domain, but nothing beyond the state."""
    source, target = Walk(6000, 0), Walk(3000, 1)
    target.observations[:, 0] += apart
    for data in (source, target):
        data.next_observations = np.zeros_like(data.observations)
    config = ClassifierConfig(**{**vars(QUICK), "input_noise": 0.5})
    classifiers = train_classifiers(source, target, config, seed=0)
    assert classifiers.figures["sa"].auc > auc
    assert np.abs(delta_r(classifiers, source).values).mean() < 0.1


def test_delta_r_is_what_q_sas_says_beyond_q_sa(drifting: tuple[DomainClassifiers, Walk, Walk]) -> None:
    classifiers, source, _ = drifting
    rows = source.rows(np.arange(100))
    sas, sa = classifiers.logits(rows)
    np.testing.assert_allclose(classifiers.raw_delta_r(rows), sas - sa, atol=1e-5)
    assert np.abs(sas - sa).max() > 1.0


def test_blocks_and_clip_do_not_change_a_row(drifting: tuple[DomainClassifiers, Walk, Walk]) -> None:
    classifiers, source, _ = drifting
    whole = delta_r(classifiers, source, block=8000)
    np.testing.assert_allclose(delta_r(classifiers, source, block=777).values, whole.values, atol=1e-5)
    clipped = delta_r(classifiers, source, clip=0.5)
    np.testing.assert_allclose(clipped.values, np.clip(whole.values, -0.5, 0.5), atol=1e-5)
    assert clipped.fraction_clipped == pytest.approx(np.mean(np.abs(whole.values) > 0.5), abs=1e-3)
    assert whole.values.dtype == np.float32 and whole.fraction_clipped == 0.0


def test_state_dict_round_trip(drifting: tuple[DomainClassifiers, Walk, Walk], tmp_path) -> None:
    classifiers, _, target = drifting
    torch.save(classifiers.state_dict(), tmp_path / "c.pt")
    again = DomainClassifiers.from_state_dict(torch.load(tmp_path / "c.pt", weights_only=True))
    np.testing.assert_array_equal(delta_r(again, target).values, delta_r(classifiers, target).values)
    assert again.figures["sas"].reliability == classifiers.figures["sas"].reliability


def test_same_seed_same_classifiers() -> None:
    config = ClassifierConfig(**{**vars(QUICK), "max_steps": 30})
    source, target = Walk(500, 0), Walk(500, 1)
    twice = [delta_r(train_classifiers(source, target, config, 5), source).values for _ in range(2)]
    np.testing.assert_array_equal(*twice)


def test_held_out_episodes_are_never_trained_on() -> None:
    """Every episode has a mark of its own; a row-wise hold-out would learn it and see AUC 1."""
    rng = np.random.default_rng(0)
    source, target = Walk(1500, 0), Walk(1500, 1)
    for data in (source, target):
        mark = np.repeat(rng.normal(size=(30, 2)) * 3, 50, axis=0).astype(np.float32)
        data.observations = mark + 0.01 * data.observations
        data.next_observations = data.observations + data.actions
    classifiers = train_classifiers(source, target, QUICK, seed=0)
    assert classifiers.figures["sa"].auc < 0.8


def test_one_episode_is_refused() -> None:
    with pytest.raises(UserError, match="target data set holds 1 episode"):
        train_classifiers(Walk(200, 0), Walk(50, 1), QUICK, seed=0)


def test_stop_request_ends_training() -> None:
    assert train_classifiers(Walk(200, 0), Walk(200, 1), QUICK, 0, should_stop=lambda: True) is None


def test_temperature_repairs_overconfidence() -> None:
    rng = np.random.default_rng(0)
    probability = rng.uniform(0.05, 0.95, 20_000)
    is_source = rng.uniform(size=20_000) < probability
    logits = 3.0 * np.log(probability / (1 - probability))  # three times too sure
    of_source, of_target = logits[is_source], logits[~is_source]
    temperature = fit_temperature(of_source, of_target)
    assert temperature == pytest.approx(3.0, rel=0.05)
    cooled = of_source / temperature, of_target / temperature
    assert cross_entropy(*cooled) < cross_entropy(of_source, of_target)
    assert reliability(*cooled).expected_error < 0.02 < 0.1 < reliability(of_source, of_target).expected_error


def test_temperature_of_what_is_added_to_a_known_logit() -> None:
    rng = np.random.default_rng(0)
    known, added = rng.normal(size=(2, 20_000))
    is_source = rng.uniform(size=20_000) < 1.0 / (1.0 + np.exp(-known - added))
    of_source, of_target = 3.0 * added[is_source], 3.0 * added[~is_source]
    found = fit_temperature(of_source, of_target, known[is_source], known[~is_source])
    assert found == pytest.approx(3.0, rel=0.07)


def test_rows_told_apart_without_an_error_are_not_certain() -> None:
    """Of 99 the next may be the first error: odds of 100 to 1."""
    for sure in (0.5, 50.0):
        temperature = fit_temperature(np.full(99, sure), np.full(99, -sure))
        assert sure / temperature == pytest.approx(np.log(100.0), rel=1e-3)


def test_area_under_curve_counts_pairs() -> None:
    assert area_under_curve(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1.0
    assert area_under_curve(np.array([0.0]), np.array([0.0])) == 0.5
    assert area_under_curve(np.array([1.0, 0.0]), np.array([0.5])) == 0.5


def test_augment_subtracts_and_leaves_the_rewards_alone() -> None:
    rewards = np.array([1.0, 2.0], np.float32)
    np.testing.assert_allclose(augment(rewards, np.array([4.0, -2.0], np.float32), 0.5), [-1.0, 3.0])
    np.testing.assert_array_equal(rewards, [1.0, 2.0])


@pytest.mark.parametrize("eta", [-0.1, float("nan"), float("inf")])
def test_senseless_eta_is_refused(eta: float) -> None:
    with pytest.raises(UserError, match="eta"):
        augment(np.zeros(1, np.float32), np.zeros(1, np.float32), eta)


def test_what_is_left_of_delta_r_without_the_rows_or_without_the_mean() -> None:
    delta = np.array([1.0, 2.0, 6.0], np.float32)
    assert shaped(delta, "rows") is delta
    np.testing.assert_array_equal(shaped(delta, "constant"), np.array([3.0, 3.0, 3.0], np.float32))
    np.testing.assert_array_equal(shaped(delta, "centred"), np.array([-2.0, -1.0, 3.0], np.float32))
    with pytest.raises(UserError, match="give one of rows, constant, centred"):
        shaped(delta, "none")
