"""Transitions of several steps: what stands for a row, and that delta r then sees what one step hides."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from training_data import INFO, small_config, write_crossing

from dara_ros.errors import UserError
from dara_ros.policies.dataset import DataSet, DataSetWriter
from dara_ros.policies.dynamics_gap import GapConfig
from dara_ros.policies.steps_ahead import StepsAhead
from dara_ros.policies.training import train

LENGTH, EPISODES = 12, 120


def write_detour(path: Path, domain: str, seed: int) -> Path:
    """Episodes whose first action chooses a way, right or left, that then goes on by itself.

    The target's right one is blocked, but only from the fifth step on: the choice itself does not show it.
    """
    rng = np.random.default_rng(seed)
    with DataSetWriter(path, replace(INFO, domain=domain)) as writer:
        for _ in range(EPISODES):
            way = rng.choice([-1.0, 1.0])
            blocked = domain == "target" and way > 0
            pace = np.where(blocked & (np.arange(LENGTH) >= 4), 0.0, 0.3 * way)
            position = np.concatenate(([0.0], np.cumsum(pace))) + 0.05 * rng.normal(size=LENGTH + 1)
            states = np.stack((position, 0.1 * rng.normal(size=LENGTH + 1)), 1)
            actions = np.full((LENGTH, 1), 0.6 * way) + 0.1 * rng.normal(size=(LENGTH, 1))
            ends = np.arange(LENGTH) == LENGTH - 1
            writer.extend(states[:-1], actions, np.zeros(LENGTH), states[1:], np.zeros(LENGTH, bool), ends)
    return path


@pytest.mark.parametrize(("horizon", "apart"), [(1, 0.0), (8, 1.2)])
def test_a_way_that_ends_badly_shows_only_by_looking_ahead(
    tmp_path: Path, horizon: int, apart: float
) -> None:
    ends = {}
    for seed, domain in enumerate(("source", "target")):
        with DataSet(write_detour(tmp_path / f"{domain}.h5", domain, seed)) as data:
            first = StepsAhead(data, horizon).rows(np.arange(0, len(data), LENGTH))
        for way, rows in (("left", first.actions[:, 0] < 0), ("right", first.actions[:, 0] > 0)):
            ends[domain, way] = first.next_observations[rows, 0].mean()
    assert ends["source", "left"] - ends["target", "left"] == pytest.approx(0.0, abs=0.03)
    assert ends["source", "right"] - ends["target", "right"] == pytest.approx(apart, abs=0.03)


def test_what_stands_for_a_row(tmp_path: Path) -> None:
    """Two episodes of six and four rows; the first times out, the second falls."""
    states = np.arange(22, dtype=float).reshape(11, 2)
    with DataSetWriter(tmp_path / "rows.h5", INFO) as writer:
        for part, fell in ((slice(0, 6), False), (slice(6, 10), True)):
            end = np.arange(part.stop - part.start) == part.stop - part.start - 1
            following = states[part.start + 1 : part.stop + 1]
            none = np.zeros(len(end))
            writer.extend(states[part], none[:, None], none, following, end & fell, end & (not fell))
    with DataSet(tmp_path / "rows.h5") as data:
        batch = StepsAhead(data, 3).rows(np.arange(10))
        (block,) = StepsAhead(data, 3).blocks()
        plain = StepsAhead(data, 1).rows(np.arange(10))
        whole = data.rows(np.arange(10))
    begins, leads_to = batch.observations[:, 0] / 2, batch.next_observations[:, 0] / 2
    assert begins.tolist() == [0, 1, 2, 3, 3, 3, 6, 7, 8, 9]
    assert leads_to.tolist() == [3, 4, 5, 6, 6, 6, 9, 10, 10, 10]
    np.testing.assert_array_equal(block.next_observations, batch.next_observations)
    for column in ("observations", "next_observations", "actions", "rewards", "terminals"):
        np.testing.assert_array_equal(getattr(plain, column), getattr(whole, column))


def test_a_run_looks_ahead_where_it_is_told_to(tmp_path: Path) -> None:
    files = [write_crossing(tmp_path / f"{name}.h5", name, 400, seed=1) for name in ("source", "target")]
    gap = GapConfig(hidden=(16,), steps=60)
    config = small_config(*files, tmp_path / "run", estimator="dynamics", gap=gap)
    means = []
    for horizon in (1, 5):
        result = train(replace(config, horizon=horizon, out=str(tmp_path / f"run_{horizon}")))
        means.append(json.loads((Path(result.out) / "figures.json").read_text())["delta_r"]["source"]["mean"])
    assert means[0] != means[1]
    with pytest.raises(UserError, match="horizon is 0: give at least 1"):
        replace(config, horizon=0)
